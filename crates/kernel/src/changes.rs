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
    /// The last generation of which not all is known.
    forgot: Option<Generation>,
}

impl Default for ChangeLog {
    fn default() -> ChangeLog {
        ChangeLog {
            generation: 1,
            tracking: false,
            removed: BTreeMap::new(),
            removed_bytes: 0,
            forgot: None,
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

    pub fn removed(&mut self, path: Vec<u8>) {
        if self.removed_bytes.saturating_add(path.len()) > REMOVED_BYTES_MAX {
            self.forgot = Some(self.generation);
            return;
        }
        let len = path.len();
        if self.removed.insert(path, self.generation).is_none() {
            self.removed_bytes += len;
        }
    }

    /// What went after a mark. What went before it is forgotten.
    pub fn removed_since(&mut self, mark: Mark) -> (Vec<Vec<u8>>, bool) {
        self.removed.retain(|path, generation| {
            let keeps = *generation > mark.0;
            if !keeps {
                self.removed_bytes = self.removed_bytes.saturating_sub(path.len());
            }
            keeps
        });
        let incomplete = self.forgot.is_some_and(|generation| generation > mark.0);
        (self.removed.keys().cloned().collect(), incomplete)
    }
}
