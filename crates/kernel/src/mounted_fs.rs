//! What the kernel asks of a file system that the embedder gives.
//!
//! ```text
//!   guest path --resolve.rs--> links and `..` are gone --> policy --> MountedFs, with a path beneath its root
//! ```
//!
//! The kernel walks names and links itself, so that a link inside a mount means what it means in the guest's tree. What
//! reaches a file system here is a path beneath its root: names joined by `/`, none of them empty, `.` or `..`, without a
//! slash at either end; the root is the empty path. No name on the way was a symbolic link when the kernel looked, but it
//! can be one by now: an implementation must not follow it.
//!
//! All calls come on the calling process's thread, without a lock of the kernel, and may block. One that waits must give
//! up with `EINTR` when [`Caller::interrupted`] says so; [`Caller::on_interrupt`] wakes it.

use std::sync::Arc;

use crate::clock::TimeSpec;
use crate::errno::{Errno, Result};
use crate::process::{Cx, InterruptGuard, Process};
use crate::stat::{DirEntry, FileType, Stat, StatFs};
use crate::watch::WatchSink;

/// As `uid` or `gid` of a [`Stat`]: the VM's own user or group.
pub const VM_OWNER: u32 = u32::MAX;

/// Who makes a call.
#[derive(Clone, Copy)]
pub struct Caller<'c> {
    process: &'c Process,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The VM's time.
    pub now: TimeSpec,
}

impl<'c> Caller<'c> {
    pub(crate) fn new(cx: &Cx<'c>) -> Caller<'c> {
        Caller {
            process: cx.process,
            uid: cx.uid,
            gid: cx.gid,
            now: cx.now,
        }
    }

    /// The process's number; 1 is the host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether the process has to stop: answer with `EINTR`.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.process.interrupted()
    }

    /// Has `wake` called, on any thread, when the process is interrupted, until the guard is dropped; at once if it
    /// already is.
    #[must_use]
    pub fn on_interrupt(&self, wake: impl FnOnce() + Send + 'static) -> InterruptGuard<'c> {
        self.process.on_interrupt(Box::new(wake))
    }
}

/// How far a path leads without passing through a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Bytes of the path up to the end of what was found: all of it, or up to the first link that is not the last name.
    pub len: usize,
    /// What is there.
    pub stat: Stat,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenHow {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Every write goes to the end.
    pub append: bool,
    /// Make the file if it is missing.
    pub create: bool,
    /// With `create`: fail if it is there.
    pub exclusive: bool,
    /// Cut it to nothing.
    pub truncate: bool,
    /// Mode of a new file, without the bits of the umask.
    pub mode: u32,
}

/// A file system that is mounted in a VM. See the module's header for paths and threads.
///
/// What a file system cannot do it need not implement: a change is refused with `EROFS`, anything else with `ENOSYS`.
pub trait MountedFs: Send + Sync {
    /// What is at a path, the link itself if it is one.
    fn lstat(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Stat>;

    /// Walks a path as far as no link has to be followed. By default one `lstat` a name; worth replacing where the whole
    /// path can be walked at once.
    fn lookup(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Found> {
        let mut len = 0;
        loop {
            let rest = path.get(len..).unwrap_or(&[]);
            let skip = usize::from(rest.first() == Some(&b'/'));
            let name = rest.get(skip..).unwrap_or(&[]);
            len += skip + name.iter().position(|b| *b == b'/').unwrap_or(name.len());
            let stat = self.lstat(caller, path.get(..len).unwrap_or(path))?;
            if len >= path.len() || stat.file_type == FileType::Symlink {
                return Ok(Found { len, stat });
            }
            if stat.file_type != FileType::Directory {
                return Err(Errno::ENOTDIR);
            }
        }
    }

    /// The text of a symbolic link.
    fn readlink(&self, _caller: &Caller<'_>, _path: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// The entries of a directory, in any order, without `.` and `..`.
    fn readdir(&self, caller: &Caller<'_>, path: &[u8]) -> Result<Vec<DirEntry>>;

    /// Opens a regular file.
    fn open(&self, caller: &Caller<'_>, path: &[u8], how: OpenHow) -> Result<Arc<dyn MountedFile>>;

    /// Room in the file system; `ENOSYS` has the kernel say that it is empty and full.
    fn statfs(&self, _caller: &Caller<'_>, _path: &[u8]) -> Result<StatFs> {
        Err(Errno::ENOSYS)
    }

    /// Tells `sink` what happens at a path, whoever does it, until the answer is dropped. Events may come on any thread.
    fn watch(
        &self,
        _caller: &Caller<'_>,
        _path: &[u8],
        _sink: Arc<dyn WatchSink>,
    ) -> Result<Box<dyn Send + Sync>> {
        Err(Errno::ENOSYS)
    }

    /// Makes a directory.
    fn mkdir(&self, _caller: &Caller<'_>, _path: &[u8], _mode: u32) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Removes an empty directory.
    fn rmdir(&self, _caller: &Caller<'_>, _path: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Removes a name that is not a directory's.
    fn unlink(&self, _caller: &Caller<'_>, _path: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Moves an entry, replacing what is at the new name as POSIX allows.
    fn rename(&self, _caller: &Caller<'_>, _from: &[u8], _to: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Gives a file another name.
    fn link(&self, _caller: &Caller<'_>, _existing: &[u8], _new: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Makes a symbolic link at `path`. Its text is the guest's, and a guest's path if it is absolute.
    fn symlink(&self, _caller: &Caller<'_>, _text: &[u8], _path: &[u8]) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Sets the permission bits.
    fn chmod(&self, _caller: &Caller<'_>, _path: &[u8], _mode: u32) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Sets owner and group, of the link itself if it is one; `None` leaves one as it is.
    fn chown(
        &self,
        _caller: &Caller<'_>,
        _path: &[u8],
        _uid: Option<u32>,
        _gid: Option<u32>,
    ) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Sets the times of access and modification, of the link itself if it is one; `None` leaves one as it is.
    fn utimes(
        &self,
        _caller: &Caller<'_>,
        _path: &[u8],
        _access: Option<TimeSpec>,
        _modify: Option<TimeSpec>,
    ) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Cuts a regular file or extends it with zeros.
    fn truncate(&self, _caller: &Caller<'_>, _path: &[u8], _len: u64) -> Result<()> {
        Err(Errno::EROFS)
    }
}

/// An open regular file of a [`MountedFs`]. The kernel keeps the position and knows whether it may be read and written.
pub trait MountedFile: Send + Sync {
    /// Reads at an offset; 0 at the end.
    fn read_at(&self, caller: &Caller<'_>, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes at an offset, or at the end if the file was opened to append. Says how many bytes, and where they end.
    fn write_at(&self, caller: &Caller<'_>, data: &[u8], offset: u64) -> Result<(usize, u64)>;

    /// What it is.
    fn stat(&self, caller: &Caller<'_>) -> Result<Stat>;

    /// Cuts it or extends it with zeros.
    fn truncate(&self, caller: &Caller<'_>, len: u64) -> Result<()>;

    /// Makes what was written durable.
    fn sync(&self, _caller: &Caller<'_>) -> Result<()> {
        Ok(())
    }

    /// Sets the permission bits.
    fn chmod(&self, _caller: &Caller<'_>, _mode: u32) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Sets owner and group; `None` leaves one as it is.
    fn chown(&self, _caller: &Caller<'_>, _uid: Option<u32>, _gid: Option<u32>) -> Result<()> {
        Err(Errno::EROFS)
    }

    /// Sets the times of access and modification; `None` leaves one as it is.
    fn utimes(
        &self,
        _caller: &Caller<'_>,
        _access: Option<TimeSpec>,
        _modify: Option<TimeSpec>,
    ) -> Result<()> {
        Err(Errno::EROFS)
    }
}
