//! What changed since a moment, for exports that only carry the difference.
//!
//! Every inode knows the generation in which it was changed last, and a mark ends a generation, so that nothing is kept
//! per change. Only names that go are: from the first mark on, up to a bound.

use std::collections::BTreeMap;

/// Bytes of removed paths that are kept.
const REMOVED_BYTES_MAX: usize = 4 << 20;

/// Number of a span of time between two marks.
pub(crate) type Generation = u64;

/// A moment in the life of a VM's file system; see [`Kernel::mark`](crate::Kernel::mark).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(crate) Generation);

impl Mark {
    /// A number that stands for it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The mark of the same kernel that a number stands for.
    #[must_use]
    pub const fn from_number(number: u64) -> Mark {
        Mark(number)
    }
}

/// What changed since a mark. A path can be in both lists: it went, and another came.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Changes {
    /// Paths that are new or not what they were, sorted, so that a directory comes before what is in it.
    pub changed: Vec<Vec<u8>>,
    /// Paths that went, with all that was in them, sorted.
    pub removed: Vec<Vec<u8>>,
    /// Whether so much was removed that not all of it is known: only a whole export tells the rest.
    pub incomplete: bool,
}

/// What a tree keeps for marks.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    pub generation: Generation,
    /// Whether there was a mark.
    tracking: bool,
    removed: BTreeMap<Vec<u8>, Generation>,
    removed_bytes: usize,
    /// The last generation of which not all is known; 0 when all is.
    forgot: Generation,
}

impl Default for ChangeLog {
    fn default() -> ChangeLog {
        ChangeLog {
            generation: 1,
            tracking: false,
            removed: BTreeMap::new(),
            removed_bytes: 0,
            forgot: 0,
        }
    }
}

impl ChangeLog {
    pub fn is_tracking(&self) -> bool {
        self.tracking
    }

    /// Ends a generation.
    pub fn mark(&mut self) -> Mark {
        self.tracking = true;
        let mark = Mark(self.generation);
        self.generation += 1;
        mark
    }

    /// A name went. When there is no room for it, all that is known is given up: what is asked about marks before now is
    /// incomplete, and there is room again for those that come.
    pub fn removed(&mut self, path: Vec<u8>) {
        let len = path.len();
        if self.removed_bytes.saturating_add(len) > REMOVED_BYTES_MAX {
            self.removed.clear();
            self.removed_bytes = 0;
            self.forgot = self.generation;
            return;
        }
        if self.removed.insert(path, self.generation).is_none() {
            self.removed_bytes += len;
        }
    }

    /// What went after a mark, and whether that is not all.
    pub fn removed_since(&self, mark: Mark) -> (Vec<Vec<u8>>, bool) {
        let after = |(path, generation): (&Vec<u8>, &Generation)| {
            (*generation > mark.0).then(|| path.clone())
        };
        let removed = self.removed.iter().filter_map(after).collect();
        (removed, self.forgot > mark.0)
    }
}
