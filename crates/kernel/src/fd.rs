//! A process's descriptor table.
//!
//! A new descriptor is the lowest free number, as POSIX wants. Every use of a number has its own generation, so that a
//! handle kept over a `close` cannot reach the next file of the same number.

use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::file::OpenFile;
use crate::quota::{Limit, LimitError};

/// A file descriptor.
pub type Fd = i32;

/// A descriptor together with the generation of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FdHandle {
    /// The number.
    pub fd: Fd,
    generation: u64,
}

struct Slot {
    file: Arc<OpenFile>,
    generation: u64,
}

pub(crate) struct FdTable {
    slots: Vec<Option<Slot>>,
    lowest: usize,
    open: u32,
    max: u32,
    next_generation: u64,
}

/// Why a file cannot be put at a number.
pub(crate) enum Refused {
    Limit(LimitError),
    /// The number is negative or beyond the limit.
    Number,
}

fn index(fd: Fd) -> Result<usize> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

impl FdTable {
    pub fn new(max: u32) -> FdTable {
        FdTable {
            slots: Vec::new(),
            lowest: 0,
            open: 0,
            max,
            next_generation: 0,
        }
    }

    /// How many files may be open.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Whether one more file can be opened.
    pub fn has_room(&self) -> Result<(), LimitError> {
        if self.open < self.max {
            Ok(())
        } else {
            Err(LimitError::new(
                Limit::OpenFds,
                u64::from(self.max),
                u64::from(self.open),
            ))
        }
    }

    /// Puts a file at the lowest free number.
    pub fn insert(&mut self, file: Arc<OpenFile>) -> Result<Fd, LimitError> {
        self.has_room()?;
        while self.slots.get(self.lowest).is_some_and(Option::is_some) {
            self.lowest += 1;
        }
        self.next_generation += 1;
        let slot = Some(Slot {
            file,
            generation: self.next_generation,
        });
        match self.slots.get_mut(self.lowest) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.open += 1;
        let fd = self.lowest;
        self.lowest += 1;
        // The table is never longer than `max`, which fits.
        Ok(Fd::try_from(fd).unwrap_or(Fd::MAX))
    }

    /// Puts a file at `fd`; answers what was there.
    pub fn replace(
        &mut self,
        fd: Fd,
        file: Arc<OpenFile>,
    ) -> Result<Option<Arc<OpenFile>>, Refused> {
        let at = index(fd).map_err(|_| Refused::Number)?;
        if at >= self.max as usize {
            return Err(Refused::Number);
        }
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        let is_free = self.slots.get(at).is_none_or(Option::is_none);
        if is_free {
            self.has_room().map_err(Refused::Limit)?;
        }
        self.next_generation += 1;
        let slot = Slot {
            file,
            generation: self.next_generation,
        };
        let old = self.slots.get_mut(at).and_then(|entry| entry.replace(slot));
        if old.is_none() {
            self.open += 1;
        }
        Ok(old.map(|slot| slot.file))
    }

    fn slot(&self, fd: Fd) -> Result<&Slot> {
        self.slots
            .get(index(fd)?)
            .and_then(Option::as_ref)
            .ok_or(Errno::EBADF)
    }

    pub fn file(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        Ok(self.slot(fd)?.file.clone())
    }

    pub fn handle(&self, fd: Fd) -> Result<FdHandle> {
        Ok(FdHandle {
            fd,
            generation: self.slot(fd)?.generation,
        })
    }

    pub fn file_of(&self, handle: FdHandle) -> Result<Arc<OpenFile>> {
        let slot = self.slot(handle.fd)?;
        if slot.generation == handle.generation {
            Ok(slot.file.clone())
        } else {
            Err(Errno::EBADF)
        }
    }

    /// The caller drops the file after it has released its locks.
    pub fn remove(&mut self, fd: Fd) -> Result<Arc<OpenFile>> {
        let at = index(fd)?;
        let slot = self
            .slots
            .get_mut(at)
            .and_then(Option::take)
            .ok_or(Errno::EBADF)?;
        self.lowest = self.lowest.min(at);
        self.open = self.open.saturating_sub(1);
        Ok(slot.file)
    }

    pub fn take_all(&mut self) -> Vec<Arc<OpenFile>> {
        self.lowest = 0;
        self.open = 0;
        std::mem::take(&mut self.slots)
            .into_iter()
            .flatten()
            .map(|slot| slot.file)
            .collect()
    }

    pub fn numbers(&self) -> Vec<Fd> {
        (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.is_some())
            .map(|(fd, _)| fd)
            .collect()
    }

    pub fn open_count(&self) -> u32 {
        self.open
    }
}
