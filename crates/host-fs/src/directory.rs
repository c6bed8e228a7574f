//! The directory as the kernel's [`MountedFs`].

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use secure_exec_kernel::{
    Caller, DirEntry, Errno, FileType, Found, MountedFile, MountedFs, OpenHow, Result, Stat,
    StatFs, TimeSpec, WatchSink,
};

use crate::beneath::{Root, Walk, split};
use crate::budget::{Budget, HostLimits};
use crate::errno;
use crate::file::{HostFile, chown, permissions, timestamps};
use crate::stat::{file_type, of_fd, of_name};

/// Entries of one directory that are listed; more are `EOVERFLOW`.
const ENTRIES_MAX: usize = 1 << 20;

/// What a guest may do in a directory of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Access {
    /// Nothing changes, whatever the mount's own options say.
    #[default]
    ReadOnly,
    /// Everything changes in place.
    ReadWrite,
}

/// How a directory is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HostOptions {
    /// Whether it can be changed.
    pub access: Access,
    /// Whether file systems that the host has mounted inside are part of it. `/proc` never is.
    pub enter_mounts: bool,
    /// What may be written.
    pub limits: HostLimits,
}

/// A directory of the host. See the crate's header.
#[derive(Debug)]
pub struct HostDirectory {
    root: Root,
    access: Access,
    budget: Arc<Budget>,
}

impl HostDirectory {
    /// Opens a directory. Links in its own path are followed, once and now.
    pub fn open(path: impl AsRef<Path>, options: HostOptions) -> Result<HostDirectory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path.as_ref(), flags, Mode::empty()).map_err(errno)?;
        HostDirectory::from_fd(fd, options)
    }

    /// Takes a directory that is already open.
    pub fn from_fd(fd: OwnedFd, options: HostOptions) -> Result<HostDirectory> {
        Ok(HostDirectory {
            root: Root::new(fd, options.enter_mounts)?,
            access: options.access,
            budget: Arc::new(Budget::new(options.limits)),
        })
    }

    /// Walks paths name by name even where the host's kernel could walk them at once.
    #[must_use]
    pub fn walking_by_name(mut self) -> HostDirectory {
        self.root.walk = Walk::ByName;
        self
    }

    fn changeable(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Errno::EROFS),
        }
    }

    fn open_file(&self, path: &[u8], flags: OFlags, mode: Mode, append: bool) -> Result<HostFile> {
        let fd = self.root.open(path, flags, mode)?;
        match of_fd(&fd)?.stat.file_type {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            FileType::Symlink => return Err(Errno::ELOOP),
            // Pipes, sockets and devices are the host's.
            _ => return Err(Errno::ENXIO),
        }
        Ok(HostFile {
            fd,
            append,
            budget: self.budget.clone(),
        })
    }

    /// Walks name by name up to the first link.
    fn lookup_by_name(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Found> {
        let mut len = 0;
        loop {
            if caller.interrupted() {
                return Err(Errno::EINTR);
            }
            let rest = path.get(len..).unwrap_or(&[]);
            let skip = usize::from(rest.first() == Some(&b'/'));
            let name = rest.get(skip..).unwrap_or(&[]);
            len += skip + name.iter().position(|b| *b == b'/').unwrap_or(name.len());
            let stat = self.root.stat(path.get(..len).unwrap_or(path))?.stat;
            if len >= path.len() || stat.is_symlink() {
                return Ok(Found { len, stat });
            }
            if !stat.is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
    }
}

/// A link that leads out of the directory would lead the host's own programs there, whatever it means to the guest.
fn stays_inside(text: &[u8], path: &[u8]) -> bool {
    if text.first() == Some(&b'/') {
        return false;
    }
    let (dir, _) = split(path);
    let mut depth = dir.split(|b| *b == b'/').filter(|n| !n.is_empty()).count();
    for name in text.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

impl MountedFs for HostDirectory {
    #[cfg(target_os = "linux")]
    fn watch(
        &self,
        _caller: &Caller<'_>,
        path: &[u8],
        sink: Arc<dyn WatchSink>,
    ) -> Result<Box<dyn Send + Sync>> {
        let fd = self.root.open(path, OFlags::PATH, Mode::empty())?;
        match of_fd(&fd)?.stat.file_type {
            FileType::Regular | FileType::Directory => {}
            FileType::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        let (_, name) = split(path);
        Ok(Box::new(crate::watches::watch(&fd, name, sink)?))
    }

    fn lstat(&self, _: &Caller<'_>, path: &[u8]) -> Result<Stat> {
        Ok(self.root.stat(path)?.stat)
    }

    fn lookup(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Found> {
        match self.root.stat(path) {
            Ok(found) => Ok(Found {
                len: path.len(),
                stat: found.stat,
            }),
            Err(Errno::ELOOP | Errno::ENOTDIR) => self.lookup_by_name(caller, path),
            Err(error) => Err(error),
        }
    }

    fn readlink(&self, _: &Caller<'_>, path: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = self.root.parent(path)?;
        let text = rustix::fs::readlinkat(&parent, name, Vec::new()).map_err(errno)?;
        Ok(text.into_bytes())
    }

    fn readdir(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Vec<DirEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.root.open(path, flags, Mode::empty())?;
        let mut entries = Vec::new();
        let listing = Dir::read_from(&fd).map_err(errno)?;
        for entry in listing {
            if caller.interrupted() {
                return Err(Errno::EINTR);
            }
            let entry = entry.map_err(errno)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if entries.len() >= ENTRIES_MAX {
                return Err(Errno::EOVERFLOW);
            }
            let file_type = match entry.file_type() {
                rustix::fs::FileType::Unknown => match of_name(&fd, name) {
                    Ok(found) => found.stat.file_type,
                    // It went meanwhile.
                    Err(_) => continue,
                },
                known => file_type(known),
            };
            entries.push(DirEntry {
                name: Arc::from(name),
                file_type,
            });
        }
        Ok(entries)
    }

    fn open(&self, _: &Caller<'_>, path: &[u8], how: OpenHow) -> Result<Arc<dyn MountedFile>> {
        if how.write || how.create || how.truncate {
            // What is there can still be read.
            match self.changeable() {
                Err(_) if !how.write && !how.truncate => {}
                answer => answer?,
            }
        }
        let mut flags = match (how.read, how.write || how.truncate) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        flags.set(OFlags::APPEND, how.append);
        let creates = how.create && self.access == Access::ReadWrite;
        let file = if creates {
            // First alone, so that what is made is known and counted.
            let made = flags | OFlags::CREATE | OFlags::EXCL;
            let made = self
                .budget
                .making(|| self.open_file(path, made, permissions(how.mode), how.append));
            match made {
                Err(Errno::EEXIST) if !how.exclusive => {
                    self.open_file(path, flags, Mode::empty(), how.append)?
                }
                answer => answer?,
            }
        } else {
            self.open_file(path, flags, Mode::empty(), how.append)?
        };
        if how.truncate {
            file.resize(0)?;
        }
        Ok(Arc::new(file))
    }

    fn statfs(&self, _: &Caller<'_>, _: &[u8]) -> Result<StatFs> {
        Ok(self.budget.statfs())
    }

    fn mkdir(&self, _: &Caller<'_>, path: &[u8], mode: u32) -> Result<()> {
        self.changeable()?;
        let (parent, name) = self.root.parent(path)?;
        self.budget
            .making(|| rustix::fs::mkdirat(&parent, name, permissions(mode)).map_err(errno))
    }

    fn rmdir(&self, _: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.changeable()?;
        let (parent, name) = self.root.parent(path)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(errno)
    }

    fn unlink(&self, _: &Caller<'_>, path: &[u8]) -> Result<()> {
        self.changeable()?;
        let (parent, name) = self.root.parent(path)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map_err(errno)
    }

    fn rename(&self, _: &Caller<'_>, from: &[u8], to: &[u8]) -> Result<()> {
        self.changeable()?;
        let (old_dir, old) = self.root.parent(from)?;
        let (new_dir, new) = self.root.parent(to)?;
        rustix::fs::renameat(&old_dir, old, &new_dir, new).map_err(errno)
    }

    fn link(&self, _: &Caller<'_>, existing: &[u8], new: &[u8]) -> Result<()> {
        self.changeable()?;
        let (old_dir, old) = self.root.parent(existing)?;
        let (new_dir, new) = self.root.parent(new)?;
        let none = AtFlags::empty();
        self.budget
            .making(|| rustix::fs::linkat(&old_dir, old, &new_dir, new, none).map_err(errno))
    }

    fn symlink(&self, _: &Caller<'_>, text: &[u8], path: &[u8]) -> Result<()> {
        self.changeable()?;
        if !stays_inside(text, path) {
            return Err(Errno::EPERM);
        }
        let (parent, name) = self.root.parent(path)?;
        self.budget
            .making(|| rustix::fs::symlinkat(text, &parent, name).map_err(errno))
    }

    fn chmod(&self, _: &Caller<'_>, path: &[u8], mode: u32) -> Result<()> {
        self.changeable()?;
        let fd = self.root.open(path, OFlags::RDONLY, Mode::empty())?;
        match of_fd(&fd)?.stat.file_type {
            FileType::Regular | FileType::Directory => {
                rustix::fs::fchmod(&fd, permissions(mode)).map_err(errno)
            }
            _ => Err(Errno::EPERM),
        }
    }

    fn chown(
        &self,
        caller: &Caller<'_>,
        _: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        self.changeable()?;
        chown(caller, uid, gid)
    }

    fn utimes(
        &self,
        _: &Caller<'_>,
        path: &[u8],
        access: Option<TimeSpec>,
        modify: Option<TimeSpec>,
    ) -> Result<()> {
        self.changeable()?;
        let times = timestamps(access, modify);
        if path.is_empty() {
            let fd = self.root.open(path, OFlags::RDONLY, Mode::empty())?;
            return rustix::fs::futimens(&fd, &times).map_err(errno);
        }
        let (parent, name) = self.root.parent(path)?;
        rustix::fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
    }

    fn truncate(&self, _: &Caller<'_>, path: &[u8], len: u64) -> Result<()> {
        self.changeable()?;
        self.open_file(path, OFlags::WRONLY, Mode::empty(), false)?
            .resize(len)
    }
}
