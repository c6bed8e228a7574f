//! Giving, moving and taking names.

use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::file::InodeHold;
use crate::flags::Follow;
use crate::inode::Kind;
use crate::kernel::{Ask, Kernel, Shared};
use crate::memfs::MAY_READ;
use crate::path::{GuestPath, split_last};
use crate::policy::FsOp;
use crate::process::Process;
use crate::resolve::{Last, Location, Node};
use crate::watch::WatchSink;

/// A new name must be one, and free.
fn free_name(location: &Location) -> Result<()> {
    location.name_fits()?;
    if location.last != Last::Name || location.target.is_some() {
        return Err(Errno::EEXIST);
    }
    if location.slash {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

impl Kernel {
    /// `unlink`.
    pub fn unlink(&self, p: &Process, path: &[u8]) -> Result<()> {
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Unlink, path, Follow::Entry))?;
        fs.unlink(&at, &cx)
    }

    /// `rename`.
    pub fn rename(&self, p: &Process, from: &[u8], to: &[u8]) -> Result<()> {
        let cx = p.cx();
        let from = Ask::new(FsOp::Rename, from, Follow::Entry);
        let to = Ask::new(FsOp::Rename, to, Follow::Entry);
        let (mut fs, from, to) = self.check_two(&cx, from, to)?;
        fs.rename(&from, &to, &cx)
    }

    /// `link`: another name for a file; a symbolic link is linked itself, not followed.
    pub fn link(&self, p: &Process, existing: &[u8], new: &[u8]) -> Result<()> {
        let cx = p.cx();
        let existing = Ask::new(FsOp::Link, existing, Follow::Link);
        let new = Ask::new(FsOp::Link, new, Follow::Entry);
        let (mut fs, existing, new) = self.check_two(&cx, existing, new)?;
        let node = existing.location().existing()?;
        free_name(new.location())?;
        let Node::Mem(ino) = node else {
            return Err(Errno::EXDEV);
        };
        fs.link(ino, &new, &cx)
    }

    /// `symlink`: makes a link at `path` that leads to `target`.
    pub fn symlink(&self, p: &Process, target: &[u8], path: &[u8]) -> Result<()> {
        let target = GuestPath::new(target)?;
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Symlink, path, Follow::Entry))?;
        free_name(at.location())?;
        fs.create(&at, Kind::Symlink(Arc::from(target.as_bytes())), 0o777, &cx)?;
        Ok(())
    }

    /// Watches a file or a directory until the returned handle is dropped. `ENOSPC` when the VM has too many watches.
    pub fn watch(&self, p: &Process, path: &[u8], sink: Arc<dyn WatchSink>) -> Result<Watch> {
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Watch, path, Follow::Final))?;
        let Node::Mem(ino) = at.location().existing()? else {
            return Err(Errno::EINVAL);
        };
        fs.may(ino, &cx, MAY_READ)?;
        fs.watchers.has_room()?;
        let mut name = at.location().name.clone();
        if name.is_empty() {
            name = Arc::from(split_last(&fs.path_of(ino)?).1);
        }
        let id = fs.watchers.add(ino, name, sink);
        let hold = InodeHold::new(&self.shared, &mut fs, ino);
        Ok(Watch {
            shared: self.shared.clone(),
            hold,
            id,
        })
    }
}

/// A running watch.
pub struct Watch {
    shared: Arc<Shared>,
    hold: InodeHold,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().watchers.remove(self.hold.ino(), self.id);
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
