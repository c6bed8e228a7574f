//! Opening what is beneath a directory, and nothing else.
//!
//! Where the host's kernel has `openat2`, it walks the whole path in one call and refuses links and ways out itself.
//! Elsewhere the names are opened one by one, none of them a link; since no `..` is ever passed, a directory that someone
//! moves away meanwhile leads to no other place than to itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use secure_exec_kernel::{Errno, Result};

use crate::errno;
use crate::stat::{HostStat, of_fd, of_name};

/// For all opens: nothing is inherited, waited for or made a terminal.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
#[cfg(target_os = "linux")]
const PLACE: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PLACE: OFlags = OFlags::RDONLY;
/// `PROC_SUPER_MAGIC`.
#[cfg(target_os = "linux")]
const PROC: i64 = 0x9fa0;
/// How often the host's kernel may say that a walk was disturbed.
#[cfg(target_os = "linux")]
const DISTURBED_MAX: u32 = 16;

/// How paths are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    #[cfg(target_os = "linux")]
    AtOnce,
    ByName,
}

/// A directory that cannot be left.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    device: u64,
    enter_mounts: bool,
    pub walk: Walk,
}

/// The directory of a path's last name.
pub(crate) enum Parent<'r> {
    Root(&'r Root),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Root(root) => root.fd.as_fd(),
            Parent::Below(fd) => fd.as_fd(),
        }
    }
}

/// A path's directory and its last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(cut) => {
            let (dir, name) = path.split_at(cut);
            (dir, name.strip_prefix(b"/").unwrap_or(name))
        }
        None => (&[], path),
    }
}

/// The kernel passes nothing else; what a mistake there would pass must not leave the root either.
fn must_be_names(path: &[u8]) -> Result<()> {
    let bad = |name: &[u8]| matches!(name, b"" | b"." | b"..") || name.contains(&0);
    if !path.is_empty() && path.split(|b| *b == b'/').any(bad) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

impl Root {
    pub fn new(fd: OwnedFd, enter_mounts: bool) -> Result<Root> {
        let device = of_fd(&fd)?.device;
        let mut root = Root {
            fd,
            device,
            enter_mounts,
            walk: Walk::ByName,
        };
        root.not_proc(&root.fd)?;
        #[cfg(target_os = "linux")]
        {
            // An old kernel does not have the call, a strict seccomp filter does not let it through.
            root.walk = Walk::AtOnce;
            if root.at_once(b".", OFlags::PATH, Mode::empty()).is_err() {
                root.walk = Walk::ByName;
            }
        }
        Ok(root)
    }

    /// Opens what is at a path; `ELOOP` if a link is on the way or at its end, unless only the place is wanted.
    pub fn open(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        must_be_names(path)?;
        let path = if path.is_empty() { &b"."[..] } else { path };
        let fd = match self.walk {
            #[cfg(target_os = "linux")]
            Walk::AtOnce => self.at_once(path, flags, mode)?,
            Walk::ByName => self.by_name(path, flags, mode)?,
        };
        if self.enter_mounts {
            self.not_proc(&fd)?;
        }
        Ok(fd)
    }

    #[cfg(target_os = "linux")]
    fn at_once(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        let mut resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        if !self.enter_mounts {
            resolve |= ResolveFlags::NO_XDEV;
        }
        // Other flags with it are `EINVAL`.
        let flags = if flags.contains(OFlags::PATH) {
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW
        } else {
            flags | ALWAYS
        };
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags, mode, resolve) {
                Ok(fd) => return Ok(fd),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)
                    if tries < DISTURBED_MAX =>
                {
                    tries += 1;
                }
                Err(rustix::io::Errno::XDEV) => return Err(Errno::EACCES),
                Err(error) => return Err(errno(error)),
            }
        }
    }

    fn by_name(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let (dir, name) = split(path);
        let parent = self.directory_by_name(dir)?;
        let fd = rustix::fs::openat(&parent, name, flags | ALWAYS, mode).map_err(errno)?;
        self.same_device(&of_fd(&fd)?)?;
        Ok(fd)
    }

    fn directory_by_name(&self, path: &[u8]) -> Result<Parent<'_>> {
        let mut here = Parent::Root(self);
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let flags = PLACE | OFlags::DIRECTORY | ALWAYS;
            let next = match rustix::fs::openat(&here, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                // A link is no directory when it is not followed; the caller has to know that it is a link.
                Err(rustix::io::Errno::NOTDIR) => {
                    let stat = of_name(&here, name)?.stat;
                    return Err(if stat.is_symlink() {
                        Errno::ELOOP
                    } else {
                        Errno::ENOTDIR
                    });
                }
                Err(error) => return Err(errno(error)),
            };
            self.same_device(&of_fd(&next)?)?;
            here = Parent::Below(next);
        }
        Ok(here)
    }

    /// The directory above a path's last name, and that name, for the calls that take both.
    pub fn parent<'p>(&self, path: &'p [u8]) -> Result<(Parent<'_>, &'p [u8])> {
        must_be_names(path)?;
        let (dir, name) = split(path);
        if name.is_empty() {
            return Err(Errno::EBUSY);
        }
        if dir.is_empty() {
            return Ok((Parent::Root(self), name));
        }
        let parent = match self.walk {
            #[cfg(target_os = "linux")]
            Walk::AtOnce => {
                Parent::Below(self.open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?)
            }
            Walk::ByName => self.directory_by_name(dir)?,
        };
        Ok((parent, name))
    }

    /// What is at a path, the link itself if it is one.
    pub fn stat(&self, path: &[u8]) -> Result<HostStat> {
        if path.is_empty() {
            return of_fd(&self.fd);
        }
        let (parent, name) = self.parent(path)?;
        let stat = of_name(&parent, name)?;
        self.same_device(&stat)?;
        Ok(stat)
    }

    /// `EACCES` in a file system that is mounted on the host, unless those may be entered.
    fn same_device(&self, stat: &HostStat) -> Result<()> {
        if self.enter_mounts || stat.device == self.device {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// `/proc` holds ways to everywhere and secrets of the host; no option opens it.
    #[cfg(target_os = "linux")]
    fn not_proc(&self, fd: &OwnedFd) -> Result<()> {
        let fs = rustix::fs::fstatfs(fd).map_err(errno)?;
        if fs.f_type == PROC {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn not_proc(&self, _: &OwnedFd) -> Result<()> {
        Ok(())
    }
}
