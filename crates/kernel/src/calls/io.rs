//! Reading and writing through descriptors.
//!
//! `position: None` means the description's own position, which moves; `Some` leaves it alone.

use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::file::{Object, OpenFile, Opened};
use crate::flock::{FileLock, LockKey};
use crate::kernel::Kernel;
use crate::mounted_fs::Caller;
use crate::net::Domain;
use crate::pipe::Wake;
use crate::process::{Cx, Process};
use crate::stdio::OutputLook;

/// What to be told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// `read` would not say `EAGAIN`.
    Readable,
    /// `write` would not say `EAGAIN`.
    Writable,
}

/// What the offset of [`Kernel::seek`] counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The beginning.
    Set,
    /// The description's position.
    Current,
    /// The end.
    End,
}

/// What libuv would guess of a descriptor, by Node's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleKind {
    /// A regular file or a character device.
    File,
    /// A pipe.
    Pipe,
    /// A TCP socket.
    Tcp,
    /// A UDP socket.
    Udp,
    /// A terminal.
    Tty,
    /// Anything else.
    Unknown,
}

impl HandleKind {
    /// The name that `guessHandleType` returns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            HandleKind::File => "FILE",
            HandleKind::Pipe => "PIPE",
            HandleKind::Tcp => "TCP",
            HandleKind::Udp => "UDP",
            HandleKind::Tty => "TTY",
            HandleKind::Unknown => "UNKNOWN",
        }
    }
}

fn copy_from(bytes: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let tail = bytes.get(start..).unwrap_or(&[]);
    let n = tail.len().min(buf.len());
    for (to, from) in buf.iter_mut().zip(tail) {
        *to = *from;
    }
    n
}

impl Kernel {
    /// `read` and `pread`. `EAGAIN`: ask [`Kernel::on_ready`].
    pub fn read(
        &self,
        p: &Process,
        fd: Fd,
        buf: &mut [u8],
        position: Option<u64>,
    ) -> Result<usize> {
        let file = p.file(fd)?;
        self.read_from(p, &file, buf, position)
    }

    /// As `read`, on a description.
    pub fn read_from(
        &self,
        p: &Process,
        file: &OpenFile,
        buf: &mut [u8],
        position: Option<u64>,
    ) -> Result<usize> {
        file.readable()?;
        match &file.object {
            Object::Inode {
                hold,
                opened: Opened::Regular,
                ..
            } => {
                if let Some(offset) = position {
                    self.shared.lock().read(hold.ino(), offset, buf)
                } else {
                    let mut position = file.position.lock();
                    let n = self.shared.lock().read(hold.ino(), *position, buf)?;
                    *position += n as u64;
                    Ok(n)
                }
            }
            Object::Inode {
                opened: Opened::Device(device),
                ..
            } => device.read(buf),
            Object::Inode {
                opened: Opened::Directory,
                ..
            }
            | Object::Directory { .. } => Err(Errno::EISDIR),
            Object::Bytes { bytes, .. } => {
                if let Some(offset) = position {
                    Ok(copy_from(bytes, offset, buf))
                } else {
                    let mut position = file.position.lock();
                    let n = copy_from(bytes, *position, buf);
                    *position += n as u64;
                    Ok(n)
                }
            }
            Object::Foreign {
                file: foreign,
                place,
            } => {
                place.mount.alive()?;
                let cx = p.cx();
                let caller = Caller::new(&cx);
                if let Some(offset) = position {
                    Ok(foreign.read_at(&caller, buf, offset)?.min(buf.len()))
                } else {
                    let mut position = file.position.lock();
                    let n = foreign.read_at(&caller, buf, *position)?.min(buf.len());
                    *position += n as u64;
                    Ok(n)
                }
            }
            Object::Null => Ok(0),
            Object::Reader(_) if position.is_some() => Err(Errno::ESPIPE),
            Object::Reader(end) => end.read(buf),
            Object::Socket(_) if position.is_some() => Err(Errno::ESPIPE),
            Object::Socket(socket) => socket.end()?.read(buf),
            Object::Terminal(_) if position.is_some() => Err(Errno::ESPIPE),
            Object::Terminal(terminal) => terminal.read(buf),
            Object::Udp(_) => Err(Errno::EINVAL),
            Object::Writer(_) | Object::Output { .. } => Err(Errno::EBADF),
        }
    }

    /// `readv` and `preadv`: fills the buffers in turn.
    pub fn readv(
        &self,
        p: &Process,
        fd: Fd,
        bufs: &mut [&mut [u8]],
        position: Option<u64>,
    ) -> Result<usize> {
        let file = p.file(fd)?;
        file.readable()?;
        let mut total = 0;
        for buf in bufs {
            let at = position.map(|offset| offset.saturating_add(total as u64));
            match self.read_from(p, &file, buf, at) {
                Ok(n) => {
                    total += n;
                    if n < buf.len() {
                        break;
                    }
                }
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// `write` and `pwrite`. May write less than all; `EAGAIN`: ask [`Kernel::on_ready`].
    pub fn write(&self, p: &Process, fd: Fd, data: &[u8], position: Option<u64>) -> Result<usize> {
        let file = p.file(fd)?;
        self.write_to(&p.cx(), &file, data, position)
    }

    /// As `write`, on a description.
    pub fn write_file_to(
        &self,
        p: &Process,
        file: &OpenFile,
        data: &[u8],
        position: Option<u64>,
    ) -> Result<usize> {
        self.write_to(&p.cx(), file, data, position)
    }

    pub(crate) fn write_to(
        &self,
        cx: &Cx<'_>,
        file: &OpenFile,
        data: &[u8],
        position: Option<u64>,
    ) -> Result<usize> {
        file.writable()?;
        match &file.object {
            Object::Inode {
                hold,
                opened: Opened::Regular,
                entry,
            } => {
                let ino = hold.ino();
                let mut own_position = position.is_none().then(|| file.position.lock());
                let mut fs = self.shared.lock();
                let offset = match (&own_position, position) {
                    _ if file.appends() => fs.content(ino)?.len(),
                    (_, Some(offset)) => offset,
                    (Some(own), None) => **own,
                    (None, None) => 0,
                };
                let n = fs.write(ino, offset, data, cx.now)?;
                if let Some(own) = &mut own_position {
                    **own = offset + n as u64;
                }
                fs.changed(ino, entry.as_ref().map(|(dir, name)| (*dir, name)));
                Ok(n)
            }
            Object::Inode {
                opened: Opened::Device(device),
                ..
            } => device.write(data),
            Object::Foreign {
                file: foreign,
                place,
            } => {
                place.mount.changeable()?;
                let caller = Caller::new(cx);
                let mut own_position = position.is_none().then(|| file.position.lock());
                let offset = match (&own_position, position) {
                    (_, Some(offset)) => offset,
                    (Some(own), None) => **own,
                    (None, None) => 0,
                };
                let (n, end) = foreign.write_at(&caller, data, offset)?;
                if let Some(own) = &mut own_position {
                    **own = end;
                }
                Ok(n.min(data.len()))
            }
            Object::Null => Ok(data.len()),
            Object::Writer(_) if position.is_some() => Err(Errno::ESPIPE),
            Object::Writer(end) => end.write(data),
            Object::Socket(_) if position.is_some() => Err(Errno::ESPIPE),
            Object::Socket(socket) => socket.end()?.write(data),
            Object::Udp(socket) => socket.send(data, None),
            Object::Terminal(_) if position.is_some() => Err(Errno::ESPIPE),
            Object::Terminal(terminal) => terminal.write(data),
            Object::Output {
                look: OutputLook::Pipe,
                ..
            } if position.is_some() => Err(Errno::ESPIPE),
            Object::Output { channel, sink, .. } => sink.write(*channel, data),
            Object::Inode {
                opened: Opened::Directory,
                ..
            }
            | Object::Directory { .. }
            | Object::Bytes { .. }
            | Object::Reader(_) => Err(Errno::EBADF),
        }
    }

    /// `writev` and `pwritev`: writes the buffers in turn.
    pub fn writev(
        &self,
        p: &Process,
        fd: Fd,
        bufs: &[&[u8]],
        position: Option<u64>,
    ) -> Result<usize> {
        let file = p.file(fd)?;
        file.writable()?;
        let cx = p.cx();
        let mut total = 0;
        for data in bufs {
            let at = position.map(|offset| offset.saturating_add(total as u64));
            match self.write_to(&cx, &file, data, at) {
                Ok(n) => {
                    total += n;
                    if n < data.len() {
                        break;
                    }
                }
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// `lseek`: moves the description's position and answers it. It may lie behind the end.
    pub fn seek(&self, p: &Process, fd: Fd, offset: i64, whence: Whence) -> Result<u64> {
        let file = p.file(fd)?;
        let mut position = file.position.lock();
        let end = match &file.object {
            Object::Inode {
                opened: Opened::Device(_),
                ..
            }
            | Object::Null => return Ok(0),
            Object::Inode {
                hold,
                opened: Opened::Regular,
                ..
            } => match whence {
                Whence::End => self.shared.lock().content(hold.ino())?.len(),
                Whence::Set | Whence::Current => 0,
            },
            Object::Bytes { bytes, .. } => bytes.len() as u64,
            Object::Foreign {
                file: foreign,
                place,
            } => {
                place.mount.alive()?;
                match whence {
                    Whence::End => foreign.stat(&Caller::new(&p.cx()))?.size,
                    Whence::Set | Whence::Current => 0,
                }
            }
            Object::Inode {
                opened: Opened::Directory,
                ..
            }
            | Object::Directory { .. } => return Err(Errno::EISDIR),
            Object::Reader(_)
            | Object::Writer(_)
            | Object::Socket(_)
            | Object::Udp(_)
            | Object::Terminal(_)
            | Object::Output { .. } => return Err(Errno::ESPIPE),
        };
        let base = match whence {
            Whence::Set => 0,
            Whence::Current => *position,
            Whence::End => end,
        };
        let moved = base.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
        if i64::try_from(moved).is_err() {
            return Err(Errno::EINVAL);
        }
        *position = moved;
        Ok(moved)
    }

    /// `ftruncate`.
    pub fn ftruncate(&self, p: &Process, fd: Fd, len: u64) -> Result<()> {
        let file = p.file(fd)?;
        if !file.flags.write {
            return Err(Errno::EINVAL);
        }
        self.cut(p, &file, len)
    }

    /// As `ftruncate`, on a description that can be written.
    pub fn cut(&self, p: &Process, file: &OpenFile, len: u64) -> Result<()> {
        match &file.object {
            Object::Inode {
                hold,
                opened: Opened::Regular,
                entry,
            } => {
                let cx = p.cx();
                let mut fs = self.shared.lock();
                fs.truncate(hold.ino(), len, cx.now)?;
                if let Some((dir, name)) = entry {
                    fs.watchers
                        .entry(*dir, name, crate::watch::WatchKind::Change);
                }
                Ok(())
            }
            Object::Foreign { file, place } => {
                place.mount.changeable()?;
                file.truncate(&Caller::new(&p.cx()), len)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `fsync` and `fdatasync`: memory is always in step.
    pub fn fsync(&self, p: &Process, fd: Fd) -> Result<()> {
        self.sync(p, &*p.file(fd)?)
    }

    /// As `fsync`, on a description.
    pub fn sync(&self, p: &Process, file: &OpenFile) -> Result<()> {
        match &file.object {
            Object::Foreign { file, place } => {
                place.mount.alive()?;
                file.sync(&Caller::new(&p.cx()))
            }
            Object::Reader(_)
            | Object::Writer(_)
            | Object::Socket(_)
            | Object::Udp(_)
            | Object::Terminal(_) => Err(Errno::EINVAL),
            Object::Output {
                look: OutputLook::Pipe,
                ..
            } => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    }

    /// `flock` that does not wait: `EAGAIN` while another description's lock is in the way.
    pub fn flock(&self, p: &Process, fd: Fd, lock: FileLock) -> Result<()> {
        let file = p.file(fd)?;
        let key = match (file.inode(), file.place()) {
            (Some((ino, _)), _) => LockKey::Inode(ino),
            (None, Some(place)) => LockKey::Place(place.mount.id, place.path.clone()),
            (None, None) => return Err(Errno::EINVAL),
        };
        self.locks.take(key, &mut file.lock.lock(), lock)
    }

    /// Calls back once when a descriptor is ready; at once if it is now. Files are always ready.
    pub fn on_ready(&self, p: &Process, fd: Fd, interest: Interest, wake: Wake) -> Result<()> {
        let file = p.file(fd)?;
        match (&file.object, interest) {
            (Object::Reader(end), Interest::Readable) => end.on_readable(wake),
            (Object::Writer(end), Interest::Writable) => end.on_writable(wake),
            (Object::Socket(socket), Interest::Readable) => socket.on_readable(wake),
            (Object::Socket(socket), Interest::Writable) => socket.on_writable(wake),
            (Object::Udp(socket), Interest::Readable) => socket.on_readable(wake),
            (Object::Terminal(terminal), Interest::Readable) => terminal.on_readable(wake),
            _ => wake(),
        }
        Ok(())
    }

    /// What libuv would guess of a descriptor.
    pub fn handle_kind(&self, p: &Process, fd: Fd) -> Result<HandleKind> {
        Ok(p.file(fd)?.handle_kind())
    }
}

impl OpenFile {
    /// The number of its inode, if it lies in the kernel's own file system. Foreign file systems do not tell which names are
    /// one file.
    #[must_use]
    pub fn own_inode(&self) -> Option<u64> {
        self.inode().map(|(ino, _)| ino)
    }

    /// What libuv would guess of it.
    #[must_use]
    pub fn handle_kind(&self) -> HandleKind {
        match &self.object {
            Object::Inode {
                opened: Opened::Directory,
                ..
            }
            | Object::Directory { .. } => HandleKind::Unknown,
            Object::Inode { .. } | Object::Foreign { .. } | Object::Bytes { .. } | Object::Null => {
                HandleKind::File
            }
            Object::Reader(_) | Object::Writer(_) => HandleKind::Pipe,
            Object::Socket(socket) => match socket.domain() {
                Domain::Local => HandleKind::Pipe,
                Domain::Inet | Domain::Inet6 => HandleKind::Tcp,
            },
            Object::Udp(_) => HandleKind::Udp,
            Object::Terminal(_) => HandleKind::Tty,
            Object::Output { look, .. } => match look {
                OutputLook::File => HandleKind::File,
                OutputLook::Pipe => HandleKind::Pipe,
            },
        }
    }
}
