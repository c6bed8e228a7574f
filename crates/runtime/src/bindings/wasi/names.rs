//! Calls on paths.

#![expect(clippy::too_many_arguments, reason = "as many as WASI passes")]

use std::rc::Rc;

use secure_exec_kernel::{HandleKind, oflag};

use super::Call;
use super::errno::{Errno, Outcome};
use super::files::{
    FLAG_APPEND, FLAG_DSYNC, FLAG_NONBLOCK, FLAG_RSYNC, FLAG_SYNC, check_stat, times, write_stat,
};
use super::paths::{Beneath, Ending};
use super::rights;
use super::table::{DESCRIPTOR_BYTES, Descriptor};
use crate::bindings::messaging::memory_budget;

type Scope<'a, 's, 'i> = &'a mut v8::PinScope<'s, 'i>;

const LOOKUP_FOLLOW: u32 = 1;
const OPEN_CREATE: u16 = 1 << 0;
const OPEN_DIRECTORY: u16 = 1 << 1;
const OPEN_EXCLUSIVE: u16 = 1 << 2;
const OPEN_TRUNCATE: u16 = 1 << 3;

fn ending(lookup: u32) -> Ending {
    if lookup & LOOKUP_FOLLOW != 0 {
        Ending::Follow
    } else {
        Ending::Link
    }
}

/// A path of the program: the directory that it is beneath, where, and the kernel's path of it.
struct Place {
    descriptor: Rc<Descriptor>,
    beneath: Beneath,
    real: Vec<u8>,
}

impl Place {
    fn new(
        call: &Call<'_>,
        (fd, base, inheriting): (u32, u64, u64),
        path: &[u8],
        ending: Ending,
    ) -> Outcome<Self> {
        let descriptor = call.wasi.table.with(fd, base, inheriting)?;
        descriptor.file(&call.process)?;
        let directory = descriptor.directory()?;
        let beneath = directory.resolve(call, path, ending)?;
        let real = directory.real_path(&beneath);
        Ok(Self {
            descriptor,
            beneath,
            real,
        })
    }

    fn of(
        call: &Call<'_>,
        fd: u32,
        right: u64,
        (path, length): (u32, u32),
        ending: Ending,
    ) -> Outcome<Self> {
        let path = call.memory().path(path, length)?;
        Self::new(call, (fd, right, 0), &path, ending)
    }
}

pub fn path_create_directory(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    path: u32,
    length: u32,
) -> Outcome {
    const MODE: u32 = 0o777;
    let right = rights::PATH_CREATE_DIRECTORY;
    let place = Place::of(call, fd, right, (path, length), Ending::Entry)?;
    Ok(call.kernel.mkdir(&call.process, &place.real, MODE)?)
}

pub fn path_filestat_get(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    length: u32,
    at: u32,
) -> Outcome {
    check_stat(call, at)?;
    let right = rights::PATH_FILESTAT_GET;
    let place = Place::of(call, fd, right, (path, length), ending(lookup))?;
    let stat = call.kernel.lstat(&call.process, &place.real)?;
    let number = rights::file_type_number(stat.file_type, HandleKind::Unknown);
    write_stat(call, at, &stat, number)
}

pub fn path_filestat_set_times(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    length: u32,
    access: u64,
    modify: u64,
    flags: u32,
) -> Outcome {
    let (access, modify) = times(call, access, modify, flags)?;
    let right = rights::PATH_FILESTAT_SET_TIMES;
    let place = Place::of(call, fd, right, (path, length), ending(lookup))?;
    Ok(call
        .kernel
        .lutimes(&call.process, &place.real, access, modify)?)
}

pub fn path_link(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    old_fd: u32,
    lookup: u32,
    old: u32,
    old_length: u32,
    new_fd: u32,
    new: u32,
    new_length: u32,
) -> Outcome {
    let new = call.memory().path(new, new_length)?;
    let right = rights::PATH_LINK_SOURCE;
    let old = Place::of(call, old_fd, right, (old, old_length), ending(lookup))?;
    let new = Place::new(
        call,
        (new_fd, rights::PATH_LINK_TARGET, 0),
        &new,
        Ending::Entry,
    )?;
    Ok(call.kernel.link(&call.process, &old.real, &new.real)?)
}

/// What a program asks for when it opens a file, in the kernel's terms.
struct Opening {
    flags: i32,
    /// Rights that the directory must have, itself and to give.
    base: u64,
    inheriting: u64,
}

impl Opening {
    fn new(open: u16, base: u64, inheriting: u64, flags: u16) -> Self {
        let reads = base & (rights::FD_READ | rights::FD_READDIR) != 0;
        let writes = base
            & (rights::FD_DATASYNC
                | rights::FD_WRITE
                | rights::FD_ALLOCATE
                | rights::FD_FILESTAT_SET_SIZE)
            != 0;
        let mut opening = Self {
            flags: match (reads, writes) {
                (true, true) => oflag::O_RDWR,
                (false, true) => oflag::O_WRONLY,
                (_, false) => oflag::O_RDONLY,
            },
            base: rights::PATH_OPEN,
            inheriting: base | inheriting,
        };
        let mut also = |is_set: bool, flag: i32, base: u64, inheriting: u64| {
            if is_set {
                opening.flags |= flag;
                opening.base |= base;
                opening.inheriting |= inheriting;
            }
        };
        let sync = rights::FD_SYNC;
        also(
            open & OPEN_CREATE != 0,
            oflag::O_CREAT,
            rights::PATH_CREATE_FILE,
            0,
        );
        also(open & OPEN_DIRECTORY != 0, oflag::O_DIRECTORY, 0, 0);
        also(open & OPEN_EXCLUSIVE != 0, oflag::O_EXCL, 0, 0);
        also(
            open & OPEN_TRUNCATE != 0,
            oflag::O_TRUNC,
            rights::PATH_FILESTAT_SET_SIZE,
            0,
        );
        also(flags & FLAG_APPEND != 0, oflag::O_APPEND, 0, 0);
        also(
            flags & FLAG_DSYNC != 0,
            oflag::O_DSYNC,
            0,
            rights::FD_DATASYNC,
        );
        also(flags & FLAG_NONBLOCK != 0, oflag::O_NONBLOCK, 0, 0);
        also(
            flags & (FLAG_RSYNC | FLAG_SYNC) != 0,
            oflag::O_SYNC,
            0,
            sync,
        );
        let keeps_position = flags & FLAG_APPEND == 0 && open & OPEN_TRUNCATE == 0;
        also(writes && keeps_position, 0, 0, rights::FD_SEEK);
        opening
    }
}

pub fn path_open(
    scope: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    length: u32,
    open: u32,
    base: u64,
    inheriting: u64,
    flags: u32,
    told_at: u32,
) -> Outcome {
    const MODE: u32 = 0o666;
    let path = call.memory().path(path, length)?;
    call.memory().check(told_at, 4)?;
    let (open, flags) = (open as u16, flags as u16);
    let opening = Opening::new(open, base, inheriting, flags);
    let needed = (fd, opening.base, opening.inheriting);
    let place = Place::new(call, needed, &path, ending(lookup))?;
    // Links that may be followed were; one that is there now is not.
    let how = opening.flags | oflag::O_NOFOLLOW;
    let own = call.kernel.open(&call.process, &place.real, how, MODE)?;
    match insert(scope, call, own, &place, (base, inheriting), flags) {
        Ok(number) => Ok(call.memory().write_u32(told_at, number)?),
        Err(errno) => {
            // Nobody else has it yet.
            let _ = call.kernel.close(&call.process, own);
            Err(errno.into())
        }
    }
}

/// Gives the program a descriptor for the process's `own` one.
fn insert(
    scope: Scope<'_, '_, '_>,
    call: &Call<'_>,
    own: i32,
    place: &Place,
    (base, inheriting): (u64, u64),
    flags: u16,
) -> Result<u32, Errno> {
    const DIRECTORY: u8 = 3;
    let mut descriptor = Descriptor::new(&call.kernel, &call.process, own)?;
    descriptor.base.set(base & descriptor.base.get());
    descriptor
        .inheriting
        .set(inheriting & descriptor.inheriting.get());
    let kept = FLAG_NONBLOCK | FLAG_DSYNC | FLAG_RSYNC | FLAG_SYNC;
    descriptor.flags.set(flags & kept);
    let mut cost = DESCRIPTOR_BYTES;
    if descriptor.file_type == DIRECTORY {
        let inner = place.descriptor.directory()?.inner(&place.beneath);
        cost += inner.cost();
        descriptor.directory = Some(inner);
    }
    let charge = memory_budget(&call.env)
        .charge(scope, cost)
        .ok_or(Errno::ENOMEM)?;
    call.wasi.table.insert(descriptor.with_charge(charge))
}

pub fn path_readlink(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    path: u32,
    length: u32,
    at: u32,
    room: u32,
    told_at: u32,
) -> Outcome {
    call.memory().check(at, room.into())?;
    call.memory().check(told_at, 4)?;
    let right = rights::PATH_READLINK;
    let place = Place::of(call, fd, right, (path, length), Ending::Link)?;
    let text = call.kernel.readlink(&call.process, &place.real)?;
    // There has to be room for a terminator, which is not counted.
    if text.len() >= room as usize {
        return Err(Errno::ENOBUFS.into());
    }
    let memory = call.memory();
    memory.write(at, &[&*text, b"\0"].concat())?;
    let used = u32::try_from(text.len()).unwrap_or(u32::MAX);
    Ok(memory.write_u32(told_at, used)?)
}

pub fn path_remove_directory(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    path: u32,
    length: u32,
) -> Outcome {
    let right = rights::PATH_REMOVE_DIRECTORY;
    let place = Place::of(call, fd, right, (path, length), Ending::Entry)?;
    Ok(call.kernel.rmdir(&call.process, &place.real)?)
}

pub fn path_rename(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    old_fd: u32,
    old: u32,
    old_length: u32,
    new_fd: u32,
    new: u32,
    new_length: u32,
) -> Outcome {
    let new = call.memory().path(new, new_length)?;
    let right = rights::PATH_RENAME_SOURCE;
    let old = Place::of(call, old_fd, right, (old, old_length), Ending::Entry)?;
    let new = Place::new(
        call,
        (new_fd, rights::PATH_RENAME_TARGET, 0),
        &new,
        Ending::Entry,
    )?;
    Ok(call.kernel.rename(&call.process, &old.real, &new.real)?)
}

/// A link that leads out of the directory cannot be made.
pub fn path_symlink(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    target: u32,
    target_length: u32,
    fd: u32,
    path: u32,
    length: u32,
) -> Outcome {
    let target = call.memory().path(target, target_length)?;
    let path = call.memory().path(path, length)?;
    let right = rights::PATH_SYMLINK;
    call.wasi.table.with(fd, right, 0)?;
    if target.is_empty() || target.contains(&0) {
        return Err(Errno::EINVAL.into());
    }
    if target.starts_with(b"/") {
        return Err(Errno::EPERM.into());
    }
    let place = Place::new(call, (fd, right, 0), &path, Ending::Entry)?;
    let directory = place.descriptor.directory()?;
    directory.may_link(&place.beneath, &target)?;
    Ok(call.kernel.symlink(&call.process, &target, &place.real)?)
}

pub fn path_unlink_file(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    path: u32,
    length: u32,
) -> Outcome {
    let right = rights::PATH_UNLINK_FILE;
    let place = Place::of(call, fd, right, (path, length), Ending::Entry)?;
    Ok(call.kernel.unlink(&call.process, &place.real)?)
}
