//! The descriptors of one `WASI`: numbers of its own, over those of the process.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use secure_exec_kernel::{DirEntry, Errno as KernelErrno, FdHandle, Kernel, OpenFile, Process};

use super::errno::Errno;
use super::paths::Directory;
use super::rights;
use crate::message::Charge;

/// What a descriptor costs beside its paths.
pub const DESCRIPTOR_BYTES: usize = 512;

/// The kernel's file behind a descriptor.
#[derive(Clone, Copy)]
pub enum Behind {
    /// Whatever has this number in the process: for standard input, output and error.
    Number(i32),
    /// This file and no later one of the same number.
    Own(FdHandle),
}

/// A directory's entries as they were when the program began to read them.
pub struct Listing {
    pub entries: Vec<DirEntry>,
    pub _charge: Charge,
}

/// One descriptor.
pub struct Descriptor {
    pub behind: Behind,
    /// Its type, by WASI's number.
    pub file_type: u8,
    /// What it may do, and what may be opened through it.
    pub base: Cell<u64>,
    pub inheriting: Cell<u64>,
    /// The name that the program was told, where it was given the directory from the start.
    pub preopen: Option<Vec<u8>>,
    /// Where it is, when it is a directory.
    pub directory: Option<Directory>,
    /// `NONBLOCK` and the flags of synchronization, which change nothing here but are told.
    pub flags: Cell<u16>,
    pub listing: RefCell<Option<Rc<Listing>>>,
    pub _charge: Option<Charge>,
}

impl Descriptor {
    /// A descriptor of what `fd` is now, as one of the three that every program has: those are always said to be open both
    /// ways.
    pub fn standard(kernel: &Kernel, process: &Process, fd: i32) -> Result<Self, KernelErrno> {
        let mut descriptor = Self::new(kernel, process, fd)?;
        let file_type = kernel.fstat(process, fd)?.file_type;
        let (base, _) = rights::of(file_type, kernel.handle_kind(process, fd)?, true, true);
        descriptor.base.set(base);
        descriptor.behind = Behind::Number(fd);
        Ok(descriptor)
    }

    /// A descriptor of what `fd` is now.
    pub fn new(kernel: &Kernel, process: &Process, fd: i32) -> Result<Self, KernelErrno> {
        let stat = kernel.fstat(process, fd)?;
        let kind = kernel.handle_kind(process, fd)?;
        let access = process.file(fd)?.flags() & ACCESS;
        let (read, write) = (access != O_WRONLY, access != 0);
        let (base, inheriting) = rights::of(stat.file_type, kind, read, write);
        Ok(Self {
            behind: Behind::Own(process.fd_handle(fd)?),
            file_type: rights::file_type_number(stat.file_type, kind),
            base: Cell::new(base),
            inheriting: Cell::new(inheriting),
            preopen: None,
            directory: None,
            flags: Cell::new(0),
            listing: RefCell::default(),
            _charge: None,
        })
    }

    /// The same, with what its memory counts.
    pub fn with_charge(self, charge: Charge) -> Self {
        Self {
            _charge: Some(charge),
            ..self
        }
    }

    /// The process's number for it, and the file. `EBADF` once it was closed there.
    pub fn file(&self, process: &Process) -> Result<(i32, Arc<OpenFile>), KernelErrno> {
        match self.behind {
            Behind::Number(fd) => Ok((fd, process.file(fd)?)),
            Behind::Own(handle) => Ok((handle.fd, process.file_of(handle)?)),
        }
    }

    /// `ENOTCAPABLE` unless it has all these rights.
    pub fn require(&self, base: u64, inheriting: u64) -> Result<(), Errno> {
        if base & !self.base.get() != 0 || inheriting & !self.inheriting.get() != 0 {
            return Err(Errno::ENOTCAPABLE);
        }
        Ok(())
    }

    /// `ENOTDIR` unless it is a directory.
    pub fn directory(&self) -> Result<&Directory, Errno> {
        self.directory.as_ref().ok_or(Errno::ENOTDIR)
    }

    /// Closes it in the process, if it is still there.
    pub fn close(&self, kernel: &Kernel, process: &Process) -> Result<(), KernelErrno> {
        let (fd, _) = self.file(process)?;
        kernel.close(process, fd)
    }
}

const ACCESS: i32 = 3;
const O_WRONLY: i32 = 1;

/// See the module's text.
#[derive(Default)]
pub struct Table(RefCell<Vec<Option<Rc<Descriptor>>>>);

impl Table {
    /// Puts a descriptor at the lowest free number.
    pub fn insert(&self, descriptor: Descriptor) -> Result<u32, Errno> {
        let mut slots = self.0.borrow_mut();
        let free = slots.iter().position(Option::is_none);
        let number = free.unwrap_or(slots.len());
        let answer = u32::try_from(number).map_err(|_| Errno::ENFILE)?;
        let descriptor = Some(Rc::new(descriptor));
        match slots.get_mut(number) {
            Some(slot) => *slot = descriptor,
            None => slots.push(descriptor),
        }
        Ok(answer)
    }

    /// The descriptor of that number.
    pub fn get(&self, number: u32) -> Result<Rc<Descriptor>, Errno> {
        self.0
            .borrow()
            .get(number as usize)
            .cloned()
            .flatten()
            .ok_or(Errno::EBADF)
    }

    /// The descriptor of that number, if it has these rights.
    pub fn with(&self, number: u32, base: u64, inheriting: u64) -> Result<Rc<Descriptor>, Errno> {
        let descriptor = self.get(number)?;
        descriptor.require(base, inheriting)?;
        Ok(descriptor)
    }

    /// Takes a descriptor out.
    pub fn remove(&self, number: u32) -> Option<Rc<Descriptor>> {
        self.0.borrow_mut().get_mut(number as usize)?.take()
    }

    /// Puts the descriptor of one number at another, which is taken.
    pub fn renumber(&self, from: u32, to: u32) {
        let mut slots = self.0.borrow_mut();
        let moved = slots.get_mut(from as usize).and_then(Option::take);
        if let Some(slot) = slots.get_mut(to as usize) {
            *slot = moved;
        }
    }

    /// Takes all out.
    pub fn take_all(&self) -> Vec<Rc<Descriptor>> {
        self.0.take().into_iter().flatten().collect()
    }
}
