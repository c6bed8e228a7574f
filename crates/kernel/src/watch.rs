//! Watching files and directories.
//!
//! Events are collected while the kernel's lock is held and delivered after it is released, on the thread of the call
//! that caused them. A sink must be quick and must not wait for that thread; it usually posts to a loop.
//! As with inotify, one watch covers one inode; Node's library builds recursive watches out of these.

use std::collections::HashMap;
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::inode::{Ino, Name};

/// Watches of one kernel.
const WATCHES_MAX: usize = 8192;

/// What happened, in the terms of `fs.watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// An entry appeared, disappeared or changed its name.
    Rename,
    /// Contents or attributes changed.
    Change,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: WatchKind,
    /// The entry's name: within the watched directory, or the last name of the watched file's path.
    pub name: Arc<[u8]>,
}

/// Receives the events of a watch.
pub trait WatchSink: Send + Sync {
    /// Called without any lock of the kernel held.
    fn event(&self, event: WatchEvent);
}

impl<F: Fn(WatchEvent) + Send + Sync> WatchSink for F {
    fn event(&self, event: WatchEvent) {
        self(event);
    }
}

/// Events that wait for the lock to be released.
pub(crate) type Pending = Vec<(Arc<dyn WatchSink>, WatchEvent)>;

struct Watcher {
    id: u64,
    own_name: Name,
    sink: Arc<dyn WatchSink>,
}

/// All watches of a kernel, by inode.
#[derive(Default)]
pub(crate) struct Watchers {
    by_inode: HashMap<Ino, Vec<Watcher>>,
    next_id: u64,
    count: usize,
    pub pending: Pending,
}

impl Watchers {
    /// As inotify has a limit.
    pub fn has_room(&self) -> Result<()> {
        if self.count < WATCHES_MAX {
            Ok(())
        } else {
            Err(Errno::ENOSPC)
        }
    }

    pub fn add(&mut self, ino: Ino, own_name: Name, sink: Arc<dyn WatchSink>) -> u64 {
        self.count += 1;
        self.next_id += 1;
        let id = self.next_id;
        self.by_inode
            .entry(ino)
            .or_default()
            .push(Watcher { id, own_name, sink });
        id
    }

    /// Counts a watch that a foreign file system keeps.
    pub fn add_foreign(&mut self) {
        self.count += 1;
    }

    pub fn remove_foreign(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    pub fn remove(&mut self, ino: Ino, id: u64) {
        if let Some(list) = self.by_inode.get_mut(&ino) {
            let before = list.len();
            list.retain(|w| w.id != id);
            self.count -= before - list.len();
            if list.is_empty() {
                self.by_inode.remove(&ino);
            }
        }
    }

    /// Something happened to an entry of a directory.
    pub fn entry(&mut self, dir: Ino, name: &[u8], kind: WatchKind) {
        if self.by_inode.is_empty() {
            return;
        }
        for watcher in self.by_inode.get(&dir).into_iter().flatten() {
            let event = WatchEvent {
                kind,
                name: Arc::from(name),
            };
            self.pending.push((watcher.sink.clone(), event));
        }
    }

    /// Something happened to an inode itself.
    pub fn inode(&mut self, ino: Ino, kind: WatchKind) {
        if self.by_inode.is_empty() {
            return;
        }
        for watcher in self.by_inode.get(&ino).into_iter().flatten() {
            let event = WatchEvent {
                kind,
                name: watcher.own_name.clone(),
            };
            self.pending.push((watcher.sink.clone(), event));
        }
    }
}
