//! Whole files: reading, writing and copying in one call, without a descriptor.

use std::ops::Deref;
use std::sync::Arc;

use crate::content::Content;
use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::file::{Object, OpenFile, Opened};
use crate::flags::{
    COPYFILE_EXCL, COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE, Follow, OpenFlags, oflag,
};
use crate::inode::{Ino, Kind};
use crate::kernel::{Ask, Kernel};
use crate::memfs::{MAY_READ, MAY_WRITE, MemFs};
use crate::mount::Place;
use crate::policy::FsOp;
use crate::process::Process;
use crate::resolve::{Node, Walk};
use crate::stat::FileType;
use crate::watch::WatchKind;

const STEP: usize = 64 << 10;

/// Contents of a file: shared with the image where nobody has written.
#[derive(Clone, Debug)]
pub enum FileBytes {
    /// Not copied.
    Shared(Arc<[u8]>),
    /// A copy.
    Owned(Vec<u8>),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Shared(bytes) => bytes,
            FileBytes::Owned(bytes) => bytes,
        }
    }
}

impl FileBytes {
    /// The bytes as a vector.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            FileBytes::Shared(bytes) => bytes.to_vec(),
            FileBytes::Owned(bytes) => bytes,
        }
    }
}

fn bounded(len: usize, max: u64) -> Result<()> {
    if len as u64 > max {
        Err(Errno::EFBIG)
    } else {
        Ok(())
    }
}

fn content_from(fs: &MemFs, ino: Ino, offset: u64, max: u64) -> Result<FileBytes> {
    let content = fs.content(ino)?;
    let len = usize::try_from(content.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    bounded(len, max)?;
    if let (Content::Shared(bytes), 0) = (content, offset) {
        return Ok(FileBytes::Shared(bytes.clone()));
    }
    let mut bytes = vec![0; len];
    let n = content.read(offset, &mut bytes);
    bytes.truncate(n);
    Ok(FileBytes::Owned(bytes))
}

impl Kernel {
    /// Contents of the file at a path; more than `max` bytes is `EFBIG`.
    pub fn read_file(&self, p: &Process, path: &[u8], max: u64) -> Result<FileBytes> {
        let cx = p.cx();
        let file = {
            let (fs, at) = self.check(&cx, Ask::new(FsOp::Read, path, Follow::Final))?;
            match at.location().existing()? {
                Node::Mem(ino) if matches!(fs.get(ino)?.kind, Kind::File(_)) => {
                    fs.may(ino, &cx, MAY_READ)?;
                    return content_from(&fs, ino, 0, max);
                }
                node @ (Node::Program | Node::Proc(_))
                    if self.type_of(&fs, &node) == FileType::Regular =>
                {
                    let bytes = super::open::fixed_bytes(&cx, &node);
                    bounded(bytes.len(), max)?;
                    return Ok(FileBytes::Shared(bytes));
                }
                Node::Foreign(place) if place.file_type() == FileType::Directory => {
                    return Err(Errno::EISDIR);
                }
                Node::Foreign(place) => {
                    drop(fs);
                    let flags = OpenFlags::parse(oflag::O_RDONLY)?;
                    self.open_foreign(&cx, Place::clone(&place), flags, 0)?
                }
                _ => {
                    drop(fs);
                    self.open_file(p, path, oflag::O_RDONLY, 0)?
                }
            }
        };
        self.drain(p, &file, max)
    }

    /// Contents from the descriptor's position to the end; more than `max` bytes is `EFBIG`. A pipe whose writers are
    /// not done is `EAGAIN`, and nothing is taken from it.
    pub fn read_file_fd(&self, p: &Process, fd: Fd, max: u64) -> Result<FileBytes> {
        let file = p.file(fd)?;
        file.readable()?;
        self.drain(p, &file, max)
    }

    fn drain(&self, p: &Process, file: &OpenFile, max: u64) -> Result<FileBytes> {
        match &file.object {
            Object::Inode {
                hold,
                opened: Opened::Regular,
                ..
            } => {
                let mut position = file.position.lock();
                let bytes = content_from(&self.shared.lock(), hold.ino(), *position, max)?;
                *position += bytes.len() as u64;
                return Ok(bytes);
            }
            Object::Reader(end) if !end.is_complete() => return Err(Errno::EAGAIN),
            _ => {}
        }
        let mut bytes = Vec::new();
        let mut step = vec![0; STEP];
        loop {
            p.go_on()?;
            let n = self.read_from(p, file, &mut step, None)?;
            if n == 0 {
                return Ok(FileBytes::Owned(bytes));
            }
            bounded(bytes.len().saturating_add(n), max)?;
            bytes.extend_from_slice(step.get(..n).unwrap_or(&[]));
        }
    }

    /// Opens with `flags` (`O_WRONLY | O_CREAT | O_TRUNC` for Node's `'w'`), writes all, closes.
    pub fn write_file(
        &self,
        p: &Process,
        path: &[u8],
        data: &[u8],
        flags: i32,
        mode: u32,
    ) -> Result<()> {
        let file = self.open_file(p, path, flags, mode)?;
        self.write_rest(p, &file, data)
    }

    /// Writes all at the descriptor's position. After an error some may have been written.
    pub fn write_file_fd(&self, p: &Process, fd: Fd, data: &[u8]) -> Result<()> {
        let file = p.file(fd)?;
        self.write_rest(p, &file, data)
    }

    fn write_rest(&self, p: &Process, file: &OpenFile, data: &[u8]) -> Result<()> {
        let cx = p.cx();
        file.writable()?;
        let mut rest = data;
        while !rest.is_empty() {
            match self.write_to(&cx, file, rest, None)? {
                0 => return Err(Errno::EIO),
                n => rest = rest.get(n..).unwrap_or(&[]),
            }
        }
        Ok(())
    }

    /// Copies what is not in the tree on both sides, step by step.
    fn copy_bytes(&self, p: &Process, from: &[u8], to: &[u8], exclusive: bool) -> Result<()> {
        let mode = self.stat(p, from)?.permissions();
        let source = self.open_file(p, from, oflag::O_RDONLY, 0)?;
        let exclusive = if exclusive { oflag::O_EXCL } else { 0 };
        let flags = oflag::O_WRONLY | oflag::O_CREAT | exclusive;
        let target = self.open_file(p, to, flags, mode)?;
        if source.is_same_place(&target) {
            return Ok(());
        }
        if target.is_regular() {
            self.cut(p, &target, 0)?;
        }
        let mut step = vec![0; STEP];
        loop {
            p.go_on()?;
            let n = self.read_from(p, &source, &mut step, None)?;
            if n == 0 {
                return Ok(());
            }
            self.write_rest(p, &target, step.get(..n).unwrap_or(&[]))?;
        }
    }

    /// `copyFile`, with the flags that begin with `COPYFILE_`. The mode is copied too.
    pub fn copy_file(&self, p: &Process, from: &[u8], to: &[u8], flags: i32) -> Result<()> {
        if flags & !(COPYFILE_EXCL | COPYFILE_FICLONE | COPYFILE_FICLONE_FORCE) != 0 {
            return Err(Errno::EINVAL);
        }
        let exclusive = flags & COPYFILE_EXCL != 0;
        let cx = p.cx();
        let follow = if exclusive {
            Follow::Link
        } else {
            Follow::Final
        };
        let source = Ask::new(FsOp::Read, from, Follow::Final);
        let walk = Walk {
            follow,
            creates: true,
            exclusive,
            truncates: false,
        };
        let (mut fs, source, dest) = self.check_two(
            &cx,
            source,
            Ask {
                op: FsOp::Write,
                path: to,
                walk,
            },
        )?;
        let node = source.location().existing()?;
        if self.type_of(&fs, &node) == FileType::Directory {
            return Err(Errno::EISDIR);
        }
        let target = dest.location().target.clone();
        if target.is_some() && exclusive {
            return Err(Errno::EEXIST);
        }
        if flags & COPYFILE_FICLONE_FORCE != 0 {
            return Err(Errno::ENOTSUP);
        }
        let is_file =
            |fs: &MemFs, ino: Ino| Ok::<_, Errno>(matches!(fs.get(ino)?.kind, Kind::File(_)));
        let plain = match (&node, &target, &dest.location().parent) {
            (Node::Mem(source), None, Some(Node::Mem(_))) if is_file(&fs, *source)? => {
                Some((*source, None))
            }
            (Node::Mem(source), Some(Node::Mem(dest)), _)
                if is_file(&fs, *source)? && is_file(&fs, *dest)? =>
            {
                Some((*source, Some(*dest)))
            }
            _ => None,
        };
        let Some((source, existing)) = plain else {
            drop(fs);
            return self.copy_bytes(p, from, to, exclusive);
        };
        fs.may(source, &cx, MAY_READ)?;
        if let Some(ino) = existing {
            fs.may_change(ino)?;
        }
        if existing == Some(source) {
            return Ok(());
        }
        let mode = fs.get(source)?.mode;
        let content = fs.content(source)?;
        let new_charge = content.charge();
        let (ino, old_charge) = match existing {
            Some(ino) => {
                fs.may(ino, &cx, MAY_WRITE)?;
                (ino, fs.content(ino)?.charge())
            }
            None => (
                fs.create(&dest, Kind::File(Content::empty()), mode, &cx)?,
                0,
            ),
        };
        if let Err(error) = fs.ledger.recharge_bytes(old_charge, new_charge) {
            if existing.is_none() {
                fs.discard(&dest, ino, cx.now)?;
            }
            return Err(error);
        }
        let copy = fs.content(source)?.clone();
        let inode = fs.get_mut(ino)?;
        inode.kind = Kind::File(copy);
        inode.mode = mode;
        inode.times.modify = cx.now;
        inode.times.change = cx.now;
        fs.watchers.inode(ino, WatchKind::Change);
        Ok(())
    }
}
