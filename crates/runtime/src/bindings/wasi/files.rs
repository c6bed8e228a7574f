//! Calls on descriptors.

use std::rc::Rc;

use secure_exec_kernel::{
    Errno as KernelErrno, FileType, HandleKind, Interest, Stat, TimeSpec, Whence, oflag,
};

use super::Call;
use super::errno::{Errno, Outcome};
use super::memory::Memory;
use super::rights;
use super::table::{Descriptor, Listing};
use crate::bindings::fs::io::block;
use crate::bindings::messaging::memory_budget;

pub const FLAG_APPEND: u16 = 1 << 0;
pub const FLAG_DSYNC: u16 = 1 << 1;
pub const FLAG_NONBLOCK: u16 = 1 << 2;
pub const FLAG_RSYNC: u16 = 1 << 3;
pub const FLAG_SYNC: u16 = 1 << 4;

/// Buffers that one read fills at most, as on Linux; what is left is for the next one.
const READ_BUFFERS: u32 = 1024;
/// Bytes that go through a copy at once, where memory is shared with other threads.
const COPY_BYTES: usize = 64 << 10;
/// So many buffers are looked at before it is asked whether the process has an end.
const LOOK_EVERY: u32 = 1024;
const BUFFER_BYTES: u64 = 8;
const STAT_BYTES: u64 = 64;
/// Bytes of a directory's entry before its name.
const ENTRY_BYTES: usize = 24;

type Scope<'a, 's, 'i> = &'a mut v8::PinScope<'s, 'i>;

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// The buffers that a call names: `count` pairs of pointer and length at `at`.
struct Buffers {
    at: u32,
    count: u32,
}

impl Buffers {
    /// Checks the list and every buffer in it.
    fn check(call: &Call<'_>, at: u32, count: u32) -> Outcome<Self> {
        let buffers = Self { at, count };
        let memory = call.memory();
        memory.check(at, u64::from(count) * BUFFER_BYTES)?;
        for index in 0..count {
            if index % LOOK_EVERY == 0 {
                call.go_on()?;
            }
            let (offset, length) = buffers.get(&memory, index)?;
            memory.check(offset, length.into())?;
        }
        Ok(buffers)
    }

    fn get(&self, memory: &Memory<'_>, index: u32) -> Result<(u32, u32), Errno> {
        let offset = u64::from(index) * BUFFER_BYTES + u64::from(self.at);
        let offset = u32::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let [a, b, c, d, e, f, g, h] = memory.bytes(offset)?;
        Ok((
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        ))
    }
}

/// Moves bytes between a file and one buffer. Answers how many, and whether that is all there was room for.
fn transfer(
    call: &Call<'_>,
    descriptor: &Descriptor,
    way: Way,
    (offset, length): (u32, u32),
    position: Option<u64>,
) -> Result<usize, Errno> {
    let (fd, file) = descriptor.file(&call.process)?;
    let mut memory = call.memory();
    if !memory.is_shared() {
        let bytes = memory.own_slice(offset, length)?;
        return Ok(match way {
            Way::Read => call
                .kernel
                .read_from(&call.process, &file, bytes, position)?,
            Way::Write => call.kernel.write(&call.process, fd, bytes, position)?,
        });
    }
    memory.check(offset, length.into())?;
    let mut total = 0;
    let mut copy = vec![0; COPY_BYTES.min(length as usize)];
    loop {
        let left = (length as usize - total).min(COPY_BYTES);
        let Some(part) = copy.get_mut(..left) else {
            return Ok(total);
        };
        // Below the end of a buffer that was checked.
        let to = offset.saturating_add(u32::try_from(total).unwrap_or(u32::MAX));
        let at = position.map(|position| position.saturating_add(total as u64));
        let moved = match way {
            Way::Read => call.kernel.read_from(&call.process, &file, part, at),
            Way::Write => {
                if left > 0 {
                    memory.read(to, part)?;
                }
                call.kernel.write(&call.process, fd, part, at)
            }
        };
        let moved = match moved {
            Ok(moved) => moved,
            Err(_) if total > 0 => return Ok(total),
            Err(errno) => return Err(errno.into()),
        };
        if way == Way::Read && moved > 0 {
            memory.write(to, part.get(..moved).unwrap_or_default())?;
        }
        total += moved;
        if moved < left || total >= length as usize || call.env.is_ending() {
            return Ok(total);
        }
    }
}

/// Reads or writes all buffers in turn until one is not filled; waits while nothing at all can be moved.
fn transfer_all(
    call: &Call<'_>,
    descriptor: &Descriptor,
    way: Way,
    buffers: &Buffers,
    position: Option<u64>,
) -> Outcome<u32> {
    let count = match way {
        Way::Read => buffers.count.min(READ_BUFFERS),
        Way::Write => buffers.count,
    };
    let mut total: u32 = 0;
    let mut index = 0;
    while index < count {
        if index % LOOK_EVERY == 0 {
            call.go_on()?;
        }
        let mut buffer = buffers.get(&call.memory(), index)?;
        // The sum is told as 32 bits.
        buffer.1 = buffer.1.min(u32::MAX - total);
        let at = position.map(|position| position.saturating_add(total.into()));
        match transfer(call, descriptor, way, buffer, at) {
            Ok(moved) => {
                total = total.saturating_add(u32::try_from(moved).unwrap_or(u32::MAX));
                if moved < buffer.1 as usize {
                    break;
                }
                index += 1;
            }
            Err(_) if total > 0 => break,
            Err(Errno::EAGAIN) if descriptor.flags.get() & FLAG_NONBLOCK == 0 => {
                let interest = match way {
                    Way::Read => Interest::Readable,
                    Way::Write => Interest::Writable,
                };
                let (fd, _) = descriptor.file(&call.process)?;
                block(&call.env, fd, interest)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(total)
}

/// A position in a file, as libuv takes it.
fn position(offset: u64) -> Result<Option<u64>, Errno> {
    if i64::try_from(offset).is_err() {
        return Err(Errno::EINVAL);
    }
    Ok(Some(offset))
}

fn move_bytes(
    call: &Call<'_>,
    fd: u32,
    way: Way,
    (list, count): (u32, u32),
    offset: Option<u64>,
    told_at: u32,
) -> Outcome {
    let buffers = Buffers::check(call, list, count)?;
    call.memory().check(told_at, 4)?;
    let right = match way {
        Way::Read => rights::FD_READ,
        Way::Write => rights::FD_WRITE,
    };
    let seek = if offset.is_some() { rights::FD_SEEK } else { 0 };
    let descriptor = call.wasi.table.with(fd, right | seek, 0)?;
    let at = offset.map_or(Ok(None), position)?;
    let moved = transfer_all(call, &descriptor, way, &buffers, at)?;
    Ok(call.memory().write_u32(told_at, moved)?)
}

pub fn fd_read(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    list: u32,
    count: u32,
    told_at: u32,
) -> Outcome {
    move_bytes(call, fd, Way::Read, (list, count), None, told_at)
}

pub fn fd_write(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    list: u32,
    count: u32,
    told_at: u32,
) -> Outcome {
    move_bytes(call, fd, Way::Write, (list, count), None, told_at)
}

pub fn fd_pread(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    list: u32,
    count: u32,
    offset: u64,
    told_at: u32,
) -> Outcome {
    move_bytes(call, fd, Way::Read, (list, count), Some(offset), told_at)
}

pub fn fd_pwrite(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    list: u32,
    count: u32,
    offset: u64,
    told_at: u32,
) -> Outcome {
    move_bytes(call, fd, Way::Write, (list, count), Some(offset), told_at)
}

pub fn fd_advise(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    _offset: u64,
    _length: u64,
    advice: u32,
) -> Outcome {
    const LAST_ADVICE: u8 = 5;
    const PIPE: u8 = 6;
    if advice as u8 > LAST_ADVICE {
        return Err(Errno::EINVAL.into());
    }
    let descriptor = call.wasi.table.with(fd, rights::FD_ADVISE, 0)?;
    descriptor.file(&call.process)?;
    if descriptor.directory.is_some() {
        return Err(Errno::EBADF.into());
    }
    if descriptor.file_type == PIPE {
        return Err(Errno::ESPIPE.into());
    }
    Ok(())
}

pub fn fd_allocate(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    offset: u64,
    length: u64,
) -> Outcome {
    let descriptor = call.wasi.table.with(fd, rights::FD_ALLOCATE, 0)?;
    let (own, _) = descriptor.file(&call.process)?;
    let end = offset
        .checked_add(length)
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or(Errno::EINVAL)?;
    if call.kernel.fstat(&call.process, own)?.size < end {
        call.kernel.ftruncate(&call.process, own, end)?;
    }
    Ok(())
}

pub fn fd_close(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32) -> Outcome {
    call.wasi.table.get(fd)?;
    if let Some(descriptor) = call.wasi.table.remove(fd) {
        descriptor.close(&call.kernel, &call.process)?;
    }
    Ok(())
}

fn sync(call: &Call<'_>, fd: u32, right: u64) -> Outcome {
    let descriptor = call.wasi.table.with(fd, right, 0)?;
    let (own, _) = descriptor.file(&call.process)?;
    Ok(call.kernel.fsync(&call.process, own)?)
}

pub fn fd_datasync(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32) -> Outcome {
    sync(call, fd, rights::FD_DATASYNC)
}

pub fn fd_sync(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32) -> Outcome {
    sync(call, fd, rights::FD_SYNC)
}

pub fn fd_fdstat_get(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32, at: u32) -> Outcome {
    const BYTES: usize = 24;
    call.memory().check(at, BYTES as u64)?;
    let descriptor = call.wasi.table.get(fd)?;
    let (_, file) = descriptor.file(&call.process)?;
    let mut flags = descriptor.flags.get();
    if file.flags() & oflag::O_APPEND != 0 {
        flags |= FLAG_APPEND;
    }
    let mut record = Record::<BYTES>::default();
    record.put(0, &[descriptor.file_type]);
    record.put(2, &flags.to_le_bytes());
    record.put(8, &descriptor.base.get().to_le_bytes());
    record.put(16, &descriptor.inheriting.get().to_le_bytes());
    Ok(call.memory().write(at, &record.0)?)
}

pub fn fd_fdstat_set_flags(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32, flags: u32) -> Outcome {
    let descriptor = call.wasi.table.with(fd, rights::FD_FDSTAT_SET_FLAGS, 0)?;
    let (_, file) = descriptor.file(&call.process)?;
    let flags = flags as u16;
    file.set_appends(flags & FLAG_APPEND != 0)?;
    let kept = FLAG_NONBLOCK | FLAG_DSYNC | FLAG_RSYNC | FLAG_SYNC;
    descriptor.flags.set(flags & kept);
    Ok(())
}

pub fn fd_fdstat_set_rights(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    base: u64,
    inheriting: u64,
) -> Outcome {
    let descriptor = call.wasi.table.get(fd)?;
    descriptor.require(base, inheriting)?;
    descriptor.base.set(base);
    descriptor.inheriting.set(inheriting);
    Ok(())
}

/// A structure of WASI that is put together before it is stored.
pub struct Record<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Record<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Record<N> {
    /// Sets the bytes from `offset`.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }
}

fn nanos(time: TimeSpec) -> u64 {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

/// Stores what is known of a file.
pub fn write_stat(call: &Call<'_>, at: u32, stat: &Stat, file_type: u8) -> Outcome {
    let mut record = Record::<{ STAT_BYTES as usize }>::default();
    record.put(0, &stat.dev.to_le_bytes());
    record.put(8, &stat.ino.to_le_bytes());
    record.put(16, &[file_type]);
    record.put(24, &stat.nlink.to_le_bytes());
    record.put(32, &stat.size.to_le_bytes());
    record.put(40, &nanos(stat.atime).to_le_bytes());
    record.put(48, &nanos(stat.mtime).to_le_bytes());
    record.put(56, &nanos(stat.ctime).to_le_bytes());
    Ok(call.memory().write(at, &record.0)?)
}

/// Checks the place for [`write_stat`].
pub fn check_stat(call: &Call<'_>, at: u32) -> Result<(), Errno> {
    call.memory().check(at, STAT_BYTES)
}

pub fn fd_filestat_get(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32, at: u32) -> Outcome {
    check_stat(call, at)?;
    let descriptor = call.wasi.table.with(fd, rights::FD_FILESTAT_GET, 0)?;
    let (own, _) = descriptor.file(&call.process)?;
    let stat = call.kernel.fstat(&call.process, own)?;
    write_stat(call, at, &stat, descriptor.file_type)
}

pub fn fd_filestat_set_size(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32, size: u64) -> Outcome {
    let descriptor = call.wasi.table.with(fd, rights::FD_FILESTAT_SET_SIZE, 0)?;
    let (own, _) = descriptor.file(&call.process)?;
    position(size)?;
    Ok(call.kernel.ftruncate(&call.process, own, size)?)
}

/// The times that `flags` choose: the given one, now, or none.
pub fn times(
    call: &Call<'_>,
    access: u64,
    modify: u64,
    flags: u32,
) -> Result<(Option<TimeSpec>, Option<TimeSpec>), Errno> {
    const GIVEN: u16 = 1;
    const NOW: u16 = 2;
    const ALL: u16 = 0b1111;
    const MODIFY: u32 = 2;
    let flags = flags as u16;
    if flags & !ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let spec = |nanos: u64| TimeSpec::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX));
    let choose = |time: u64, flags: u16| match (flags & GIVEN != 0, flags & NOW != 0) {
        (true, true) => Err(Errno::EINVAL),
        (true, false) => Ok(Some(spec(time))),
        (false, true) => {
            let now = call.env.clock().wall().as_nanos();
            Ok(Some(spec(u64::try_from(now).unwrap_or(u64::MAX))))
        }
        (false, false) => Ok(None),
    };
    Ok((choose(access, flags)?, choose(modify, flags >> MODIFY)?))
}

pub fn fd_filestat_set_times(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    access: u64,
    modify: u64,
    flags: u32,
) -> Outcome {
    let (access, modify) = times(call, access, modify, flags)?;
    let descriptor = call.wasi.table.with(fd, rights::FD_FILESTAT_SET_TIMES, 0)?;
    let (own, _) = descriptor.file(&call.process)?;
    Ok(call.kernel.futimes(&call.process, own, access, modify)?)
}

pub fn fd_prestat_get(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32, at: u32) -> Outcome {
    const BYTES: usize = 8;
    call.memory().check(at, BYTES as u64)?;
    let descriptor = call.wasi.table.get(fd)?;
    let name = descriptor.preopen.as_ref().ok_or(Errno::EINVAL)?;
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    // The type, 0, is that of a directory.
    let mut record = Record::<BYTES>::default();
    record.put(4, &length.to_le_bytes());
    Ok(call.memory().write(at, &record.0)?)
}

pub fn fd_prestat_dir_name(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    at: u32,
    room: u32,
) -> Outcome {
    call.memory().check(at, room.into())?;
    let descriptor = call.wasi.table.get(fd)?;
    let name = descriptor.preopen.as_ref().ok_or(Errno::EBADF)?;
    if name.len() > room as usize {
        return Err(Errno::ENOBUFS.into());
    }
    Ok(call.memory().write(at, name)?)
}

/// The entries of a directory, as of the last time that a program read it from the start.
fn listing(
    scope: Scope<'_, '_, '_>,
    call: &Call<'_>,
    descriptor: &Descriptor,
    from_start: bool,
) -> Outcome<Rc<Listing>> {
    let directory = descriptor.directory()?;
    let kept = descriptor.listing.borrow().clone();
    if let Some(kept) = kept.filter(|_| !from_start) {
        return Ok(kept);
    }
    descriptor.listing.take();
    let entries = call.kernel.readdir(&call.process, directory.real())?;
    let cost = entries
        .iter()
        .map(|entry| size_of_val(entry) + entry.name.len())
        .sum();
    let charge = memory_budget(&call.env)
        .charge(scope, cost)
        .ok_or(Errno::ENOMEM)?;
    let listing = Rc::new(Listing {
        entries,
        _charge: charge,
    });
    descriptor.listing.replace(Some(listing.clone()));
    Ok(listing)
}

/// A cookie is the number of entries that were read.
pub fn fd_readdir(
    scope: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    at: u32,
    room: u32,
    cookie: u64,
    told_at: u32,
) -> Outcome {
    call.memory().check(at, room.into())?;
    call.memory().check(told_at, 4)?;
    let descriptor = call.wasi.table.with(fd, rights::FD_READDIR, 0)?;
    descriptor.file(&call.process)?;
    let listing = listing(scope, call, &descriptor, cookie == 0)?;
    let first = usize::try_from(cookie).unwrap_or(usize::MAX);
    let memory = call.memory();
    let mut used: u32 = 0;
    for (index, entry) in listing.entries.iter().enumerate().skip(first) {
        if used >= room {
            break;
        }
        let length = u32::try_from(entry.name.len()).unwrap_or(u32::MAX);
        let number = match entry.file_type {
            // Pipes have no type in a listing.
            FileType::Fifo => 0,
            other => rights::file_type_number(other, HandleKind::Unknown),
        };
        let mut head = Record::<ENTRY_BYTES>::default();
        head.put(0, &(index as u64 + 1).to_le_bytes());
        head.put(16, &length.to_le_bytes());
        head.put(20, &[number]);
        for part in [&head.0[..], &*entry.name] {
            let part = part.get(..part.len().min((room - used) as usize));
            let part = part.unwrap_or_default();
            if part.is_empty() {
                continue;
            }
            memory.write(at.checked_add(used).ok_or(Errno::EOVERFLOW)?, part)?;
            used += u32::try_from(part.len()).unwrap_or(0);
        }
    }
    Ok(memory.write_u32(told_at, used)?)
}

pub fn fd_renumber(_: Scope<'_, '_, '_>, call: &Call<'_>, from: u32, to: u32) -> Outcome {
    let table = &call.wasi.table;
    table.get(from)?;
    let replaced = table.get(to)?;
    if from == to {
        return Ok(());
    }
    table.renumber(from, to);
    match replaced.close(&call.kernel, &call.process) {
        // It may be closed by its number already.
        Ok(()) | Err(KernelErrno::EBADF) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn seek(call: &Call<'_>, descriptor: &Descriptor, offset: i64, whence: Whence) -> Outcome<u64> {
    let (own, _) = descriptor.file(&call.process)?;
    Ok(call.kernel.seek(&call.process, own, offset, whence)?)
}

pub fn fd_seek(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    told_at: u32,
) -> Outcome {
    call.memory().check(told_at, 8)?;
    let descriptor = call.wasi.table.with(fd, rights::FD_SEEK, 0)?;
    let whence = match whence as u8 {
        0 => Whence::Set,
        1 => Whence::Current,
        2 => Whence::End,
        _ => return Err(Errno::EINVAL.into()),
    };
    let position = seek(call, &descriptor, offset, whence)?;
    Ok(call.memory().write_u64(told_at, position)?)
}

pub fn fd_tell(_: Scope<'_, '_, '_>, call: &Call<'_>, fd: u32, told_at: u32) -> Outcome {
    call.memory().check(told_at, 8)?;
    let descriptor = call.wasi.table.with(fd, rights::FD_TELL, 0)?;
    let position = seek(call, &descriptor, 0, Whence::Current)?;
    Ok(call.memory().write_u64(told_at, position)?)
}

/// The one thing that a program can be given a socket for here is standard input, output or error.
fn socket(call: &Call<'_>, fd: u32, right: u64) -> Result<(), Errno> {
    const DATAGRAMS: u8 = 5;
    const STREAM: u8 = 6;
    let descriptor = call.wasi.table.with(fd, right, 0)?;
    match descriptor.file_type {
        DATAGRAMS | STREAM => Ok(()),
        _ => Err(Errno::ENOTSOCK),
    }
}

#[expect(clippy::too_many_arguments, reason = "as many as WASI passes")]
pub fn sock_recv(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    list: u32,
    count: u32,
    flags: u32,
    told_at: u32,
    flags_at: u32,
) -> Outcome {
    call.memory().check(flags_at, 4)?;
    Buffers::check(call, list, count)?;
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags != 0 {
        return Err(Errno::ENOTSUP.into());
    }
    socket(call, fd, rights::FD_READ)?;
    move_bytes(call, fd, Way::Read, (list, count), None, told_at)?;
    Ok(call.memory().write(flags_at, &[0; 2])?)
}

pub fn sock_send(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    list: u32,
    count: u32,
    flags: u32,
    told_at: u32,
) -> Outcome {
    Buffers::check(call, list, count)?;
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags != 0 {
        return Err(Errno::ENOTSUP.into());
    }
    socket(call, fd, rights::FD_WRITE)?;
    move_bytes(call, fd, Way::Write, (list, count), None, told_at)
}

pub fn sock_shutdown(_: Scope<'_, '_, '_>, _: &Call<'_>, _fd: u32, _how: u32) -> Outcome {
    Err(Errno::ENOTSUP.into())
}

/// No socket that listens can be given to a program.
pub fn sock_accept(
    _: Scope<'_, '_, '_>,
    call: &Call<'_>,
    fd: u32,
    flags: u32,
    _told_at: u32,
) -> Outcome {
    if flags & !u32::from(FLAG_NONBLOCK) != 0 {
        return Err(Errno::ENOTSUP.into());
    }
    socket(call, fd, rights::SOCK_ACCEPT)?;
    Err(Errno::EINVAL.into())
}
