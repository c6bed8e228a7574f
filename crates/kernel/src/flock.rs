//! Advisory locks of whole files, as `flock` gives them: held by an open-file description, shared by its duplicates, gone
//! with the last of them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::inode::Ino;
use crate::mount::MountId;

/// What is asked of `flock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileLock {
    /// Others may share it (`LOCK_SH`).
    Shared,
    /// Nobody else has it (`LOCK_EX`).
    Exclusive,
    /// Nothing any more (`LOCK_UN`).
    Unlocked,
}

/// A file, whatever its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LockKey {
    Inode(Ino),
    /// The file system does not tell which names are one file.
    Place(MountId, Arc<[u8]>),
}

#[derive(Clone, Copy, Debug)]
enum Held {
    Shared(u32),
    Exclusive,
}

/// All locks of a kernel. A leaf: nothing else is locked under it. No larger than the number of open files.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<LockKey, Held>>);

/// A lock that a description has; dropping it unlocks.
#[derive(Debug)]
pub(crate) struct LockHold {
    locks: Arc<Locks>,
    key: LockKey,
    /// Whether the table counts it.
    counted: bool,
}

impl Locks {
    /// Takes a lock in place of the one that `old` is; `EAGAIN` while others are in the way, and then `old` stays.
    pub fn take(
        self: &Arc<Locks>,
        key: LockKey,
        old: &mut Option<LockHold>,
        wanted: FileLock,
    ) -> Result<()> {
        let mut held = self.0.lock();
        let now = held.get(&key).copied();
        // What it has itself is not in the way.
        let others = match (now, &old) {
            (Some(Held::Shared(1) | Held::Exclusive), Some(_)) | (None, _) => None,
            (Some(Held::Shared(n)), Some(_)) => Some(Held::Shared(n - 1)),
            (Some(held), None) => Some(held),
        };
        let next = match (others, wanted) {
            (others, FileLock::Unlocked) => others,
            (None, FileLock::Shared) => Some(Held::Shared(1)),
            (None, FileLock::Exclusive) => Some(Held::Exclusive),
            (Some(Held::Shared(n)), FileLock::Shared) => Some(Held::Shared(n + 1)),
            (Some(_), _) => return Err(Errno::EAGAIN),
        };
        match next {
            Some(next) => held.insert(key.clone(), next),
            None => held.remove(&key),
        };
        drop(held);
        // What was held is counted already.
        if let Some(old) = old {
            old.counted = false;
        }
        *old = None;
        if wanted != FileLock::Unlocked {
            *old = Some(LockHold {
                locks: self.clone(),
                key,
                counted: true,
            });
        }
        Ok(())
    }
}

impl Drop for LockHold {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut held = self.locks.0.lock();
        match held.get_mut(&self.key) {
            Some(Held::Shared(n)) if *n > 1 => *n -= 1,
            _ => {
                held.remove(&self.key);
            }
        }
    }
}
