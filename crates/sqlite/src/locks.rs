//! Locks that the connections of one machine have on its files, and the memory that they share for a write-ahead log.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// A file, whatever its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileId {
    /// Device and number.
    Inode(u64, u64),
    /// The file system does not tell which names are one file.
    Path(Vec<u8>),
}

/// The lock of a connection on a file; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Level {
    /// Of SQLite's `SQLITE_LOCK_*`.
    pub fn of(number: i32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Shared,
            2 => Self::Reserved,
            3 => Self::Pending,
            _ => Self::Exclusive,
        }
    }
}

/// Files of a machine that SQLite has open.
#[derive(Default)]
pub struct LockTable(Mutex<HashMap<FileId, Weak<Entry>>>);

/// The number of kinds of lock on a write-ahead log.
const SLOTS: usize = 8;
/// Size of a piece of shared memory; SQLite asks for no other.
pub(crate) const REGION_BYTES: usize = 32 << 10;
/// Pieces that one file may have: enough for a log of 4 GiB.
const MAX_REGIONS: usize = 256;

/// Shared memory. Only SQLite looks at what is in it, by addresses, with its own locks and barriers.
struct Region(Box<UnsafeCell<[u64; REGION_BYTES / 8]>>);

// SAFETY: nothing here reads or writes what is inside; only its address is given away.
unsafe impl Send for Region {}

#[derive(Clone, Copy, Default)]
struct Slot {
    shared: u32,
    is_exclusive: bool,
}

#[derive(Default)]
struct State {
    shared: u32,
    has_reserved: bool,
    has_pending: bool,
    has_exclusive: bool,
    slots: [Slot; SLOTS],
    regions: Vec<Region>,
    /// Handles that use the shared memory.
    mapped: u32,
}

struct Entry(Mutex<State>);

/// A connection's part in the locks of one file.
pub(crate) struct Handle {
    entry: Arc<Entry>,
    level: Cell<Level>,
    /// Slots that it holds shared and exclusively.
    slots: RefCell<[Slot; SLOTS]>,
    is_mapped: Cell<bool>,
}

/// Another connection is in the way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

impl LockTable {
    pub(crate) fn handle(&self, id: FileId) -> Handle {
        let mut files = self.0.lock();
        let known = files.get(&id).and_then(Weak::upgrade);
        let entry = known.unwrap_or_else(|| {
            files.retain(|_, entry| entry.strong_count() > 0);
            let entry = Arc::new(Entry(Mutex::default()));
            files.insert(id, Arc::downgrade(&entry));
            entry
        });
        Handle {
            entry,
            level: Cell::new(Level::None),
            slots: RefCell::default(),
            is_mapped: Cell::new(false),
        }
    }
}

impl Handle {
    pub fn lock(&self, wanted: Level) -> Result<(), Busy> {
        let level = self.level.get();
        if wanted <= level {
            return Ok(());
        }
        let mut state = self.entry.0.lock();
        if level == Level::None {
            if state.has_pending || state.has_exclusive {
                return Err(Busy);
            }
            state.shared += 1;
            self.level.set(Level::Shared);
        }
        if wanted == Level::Reserved {
            if state.has_reserved || state.has_pending {
                return Err(Busy);
            }
            state.has_reserved = true;
            self.level.set(Level::Reserved);
        }
        if wanted >= Level::Pending {
            if self.level.get() < Level::Pending {
                let reserved_by_other = state.has_reserved && self.level.get() < Level::Reserved;
                if state.has_pending || reserved_by_other {
                    return Err(Busy);
                }
                state.has_pending = true;
                self.level.set(Level::Pending);
            }
            if wanted == Level::Exclusive {
                if state.shared > 1 {
                    return Err(Busy);
                }
                state.has_exclusive = true;
                state.has_reserved = true;
                self.level.set(Level::Exclusive);
            }
        }
        Ok(())
    }

    pub fn unlock(&self, wanted: Level) {
        let level = self.level.get();
        if wanted >= level {
            return;
        }
        let mut state = self.entry.0.lock();
        if level >= Level::Reserved {
            // One that went from shared to pending has not reserved; then nobody else has.
            state.has_reserved = false;
        }
        if level >= Level::Pending {
            state.has_pending = false;
            state.has_exclusive = false;
        }
        if wanted == Level::None {
            state.shared = state.shared.saturating_sub(1);
        }
        self.level.set(wanted.min(Level::Shared));
    }

    pub fn is_reserved(&self) -> bool {
        let state = self.entry.0.lock();
        state.has_reserved || state.has_pending
    }

    /// The address of a piece of the shared memory; null when it is not there and is not to be made.
    pub fn map(&self, index: usize, extend: bool) -> Option<*mut c_void> {
        let mut state = self.entry.0.lock();
        if !self.is_mapped.replace(true) {
            state.mapped += 1;
        }
        while state.regions.len() <= index {
            if !extend {
                return Some(std::ptr::null_mut());
            }
            if state.regions.len() >= MAX_REGIONS {
                return None;
            }
            state
                .regions
                .push(Region(Box::new(UnsafeCell::new([0; REGION_BYTES / 8]))));
        }
        let region = state.regions.get(index)?;
        Some(region.0.get().cast())
    }

    pub fn unmap(&self) {
        if !self.is_mapped.replace(false) {
            return;
        }
        let mut state = self.entry.0.lock();
        let mut mine = self.slots.borrow_mut();
        for (slot, mine) in state.slots.iter_mut().zip(mine.iter_mut()) {
            slot.shared = slot.shared.saturating_sub(mine.shared);
            slot.is_exclusive &= !mine.is_exclusive;
            *mine = Slot::default();
        }
        state.mapped = state.mapped.saturating_sub(1);
        if state.mapped == 0 {
            state.regions.clear();
        }
    }

    pub fn lock_slots(&self, first: usize, count: usize, exclusive: bool) -> Result<(), Busy> {
        let mut state = self.entry.0.lock();
        let mut mine = self.slots.borrow_mut();
        let taken = state.slots.iter().zip(mine.iter()).skip(first).take(count);
        for (slot, mine) in taken {
            let others = slot.shared.saturating_sub(mine.shared);
            let by_other = slot.is_exclusive && !mine.is_exclusive;
            if by_other || exclusive && others > 0 {
                return Err(Busy);
            }
        }
        let taken = state.slots.iter_mut().zip(mine.iter_mut());
        for (slot, mine) in taken.skip(first).take(count) {
            if exclusive {
                slot.is_exclusive = true;
                mine.is_exclusive = true;
            } else if mine.shared == 0 {
                slot.shared += 1;
                mine.shared = 1;
            }
        }
        Ok(())
    }

    pub fn unlock_slots(&self, first: usize, count: usize) {
        let mut state = self.entry.0.lock();
        let mut mine = self.slots.borrow_mut();
        let given = state.slots.iter_mut().zip(mine.iter_mut());
        for (slot, mine) in given.skip(first).take(count) {
            slot.shared = slot.shared.saturating_sub(mine.shared);
            slot.is_exclusive &= !mine.is_exclusive;
            *mine = Slot::default();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.unmap();
        self.unlock(Level::None);
    }
}

#[cfg(test)]
mod tests {
    use super::{Busy, FileId, Level, LockTable};

    #[test]
    fn one_writer_waits_for_all_readers() {
        let table = LockTable::default();
        let file = || table.handle(FileId::Inode(1, 1));
        let (one, two, three) = (file(), file(), file());
        assert_eq!(one.lock(Level::Shared), Ok(()));
        assert_eq!(two.lock(Level::Shared), Ok(()));
        assert_eq!(one.lock(Level::Reserved), Ok(()));
        assert_eq!(two.lock(Level::Reserved), Err(Busy));
        assert!(two.is_reserved());
        assert_eq!(one.lock(Level::Exclusive), Err(Busy));
        assert_eq!(three.lock(Level::Shared), Err(Busy));
        two.unlock(Level::None);
        assert_eq!(one.lock(Level::Exclusive), Ok(()));
        one.unlock(Level::Shared);
        assert_eq!(three.lock(Level::Shared), Ok(()));
        drop(one);
        assert_eq!(three.lock(Level::Exclusive), Ok(()));
        drop(three);
        assert_eq!(two.lock(Level::Shared), Ok(()));
        assert!(!two.is_reserved());
    }

    #[test]
    fn slots_and_memory_are_shared() {
        let table = LockTable::default();
        let file = || table.handle(FileId::Path(b"/x".to_vec()));
        let (one, two) = (file(), file());
        assert_eq!(one.map(0, false), Some(std::ptr::null_mut()));
        assert_eq!(one.map(1, true), two.map(1, false));
        assert!(one.map(100_000, true).is_none());
        assert_eq!(one.lock_slots(3, 1, false), Ok(()));
        assert_eq!(two.lock_slots(3, 1, false), Ok(()));
        assert_eq!(two.lock_slots(3, 5, true), Err(Busy));
        one.unmap();
        assert_eq!(two.lock_slots(3, 5, true), Ok(()));
        assert_eq!(one.lock_slots(4, 1, false), Err(Busy));
        drop(two);
        assert_eq!(one.lock_slots(4, 1, false), Ok(()));
    }
}
