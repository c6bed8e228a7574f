//! Giving, moving and taking names.

use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::file::InodeHold;
use crate::flags::Follow;
use crate::inode::Kind;
use crate::kernel::{Ask, Kernel, Shared};
use crate::memfs::MAY_READ;
use crate::mounted_fs::Caller;
use crate::path::{GuestPath, split_last};
use crate::policy::FsOp;
use crate::process::Process;
use crate::resolve::{Last, Location, Node};
use crate::stat::FileType;
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
        if at.location().last != Last::Name {
            return Err(Errno::EISDIR);
        }
        let Some(entry) = at.location().foreign_entry(&fs)? else {
            return fs.unlink(&at, &cx);
        };
        drop(fs);
        match at.location().existing()? {
            Node::Foreign(place) if place.file_type() == FileType::Directory => Err(Errno::EISDIR),
            Node::Foreign(_) if at.location().slash => Err(Errno::ENOTDIR),
            Node::Foreign(_) => entry.changeable()?.unlink(&Caller::new(&cx), &entry.path),
            other => Err(other.refuse_change()),
        }
    }

    /// `rename`.
    pub fn rename(&self, p: &Process, from: &[u8], to: &[u8]) -> Result<()> {
        let cx = p.cx();
        let from = Ask::new(FsOp::Rename, from, Follow::Entry);
        let to = Ask::new(FsOp::Rename, to, Follow::Entry);
        let (mut fs, from, to) = self.check_two(&cx, from, to)?;
        let (old, new) = (from.location(), to.location());
        if let (Some(a), Some(b)) = (&old.parent, &new.parent)
            && a.tree() != b.tree()
        {
            return Err(Errno::EXDEV);
        }
        if old.last != Last::Name || new.last != Last::Name {
            return Err(Errno::EBUSY);
        }
        old.name_fits()?;
        old.existing()?;
        let (Some(source), Some(target)) = (old.foreign_entry(&fs)?, new.foreign_entry(&fs)?)
        else {
            return fs.rename(&from, &to, &cx);
        };
        let busy = |location: &Location| match &location.target {
            Some(Node::Foreign(place)) => fs.mounts.any_beneath(place),
            _ => false,
        };
        if busy(old) || busy(new) {
            return Err(Errno::EBUSY);
        }
        drop(fs);
        match (old.existing()?, &new.target) {
            (Node::Foreign(place), None | Some(Node::Foreign(_))) => {
                if place.file_type() != FileType::Directory && (old.slash || new.slash) {
                    return Err(Errno::ENOTDIR);
                }
                let mount = source.changeable()?;
                mount.rename(&Caller::new(&cx), &source.path, &target.path)
            }
            (Node::Foreign(_), Some(other)) => Err(other.refuse_change()),
            (other, _) => Err(other.refuse_change()),
        }
    }

    /// `link`: another name for a file; a symbolic link is linked itself, not followed.
    pub fn link(&self, p: &Process, existing: &[u8], new: &[u8]) -> Result<()> {
        let cx = p.cx();
        let existing = Ask::new(FsOp::Link, existing, Follow::Link);
        let new = Ask::new(FsOp::Link, new, Follow::Entry);
        let (mut fs, existing, new) = self.check_two(&cx, existing, new)?;
        let node = existing.location().existing()?;
        free_name(new.location())?;
        let entry = new.location().foreign_entry(&fs)?;
        match (node, entry) {
            (node, _) if new.location().parent.as_ref().map(Node::tree) != Some(node.tree()) => {
                Err(Errno::EXDEV)
            }
            (Node::Mem(ino), None) => fs.link(ino, &new, &cx),
            (Node::Foreign(place), Some(entry)) => {
                if place.file_type() == FileType::Directory {
                    return Err(Errno::EPERM);
                }
                drop(fs);
                let mount = entry.changeable()?;
                mount.link(&Caller::new(&cx), &place.path, &entry.path)
            }
            _ => Err(Errno::EXDEV),
        }
    }

    /// `symlink`: makes a link at `path` that leads to `target`.
    pub fn symlink(&self, p: &Process, target: &[u8], path: &[u8]) -> Result<()> {
        let target = GuestPath::new(target)?;
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Symlink, path, Follow::Entry))?;
        free_name(at.location())?;
        if let Some(entry) = at.location().foreign_entry(&fs)? {
            drop(fs);
            let mount = entry.changeable()?;
            return mount.symlink(&Caller::new(&cx), target.as_bytes(), &entry.path);
        }
        fs.create(&at, Kind::Symlink(Arc::from(target.as_bytes())), 0o777, &cx)?;
        Ok(())
    }

    /// Watches a file or a directory until the returned handle is dropped. `ENOSPC` when the VM has too many watches,
    /// `ENOSYS` in a foreign file system that cannot watch. In a copy-on-write mount it is brought into memory first: the
    /// VM's own changes are what can happen to it.
    pub fn watch(&self, p: &Process, path: &[u8], sink: Arc<dyn WatchSink>) -> Result<Watch> {
        let cx = p.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Watch, path, Follow::Final))?;
        fs.watchers.has_room()?;
        let ino = match at.location().existing()? {
            Node::Mem(ino) => ino,
            Node::Foreign(place) => {
                fs.watchers.add_foreign();
                drop(fs);
                let mut watch = Watch {
                    shared: self.shared.clone(),
                    source: WatchSource::Foreign(None),
                };
                let kept = place
                    .mount
                    .fs()?
                    .watch(&Caller::new(&cx), &place.path, sink)?;
                watch.source = WatchSource::Foreign(Some(kept));
                return Ok(watch);
            }
            _ => return Err(Errno::EINVAL),
        };
        fs.may(ino, &cx, MAY_READ)?;
        let mut name = at.location().name.clone();
        if name.is_empty() {
            name = Arc::from(split_last(&fs.path_of(ino)?).1);
        }
        let id = fs.watchers.add(ino, name, sink);
        let hold = InodeHold::new(&self.shared, &mut fs, ino);
        Ok(Watch {
            shared: self.shared.clone(),
            source: WatchSource::Memory { hold, id },
        })
    }
}

/// A running watch.
pub struct Watch {
    shared: Arc<Shared>,
    source: WatchSource,
}

enum WatchSource {
    Memory {
        hold: InodeHold,
        id: u64,
    },
    /// What a foreign file system keeps for it.
    Foreign(Option<Box<dyn Send + Sync>>),
}

impl Drop for Watch {
    fn drop(&mut self) {
        match &mut self.source {
            WatchSource::Memory { hold, id } => {
                self.shared.lock().watchers.remove(hold.ino(), *id);
            }
            WatchSource::Foreign(kept) => {
                // Not under the lock: it is the embedder's code.
                drop(kept.take());
                self.shared.lock().watchers.remove_foreign();
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
