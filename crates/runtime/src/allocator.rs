//! The allocator of this library, with a limit for V8's serializer.
//!
//! rusty_v8 grows the buffer of a `v8::ValueSerializer` through Rust's allocator and knows no limit: one long string
//! that is referenced a million times would take the host's memory. While a [`Budget`] is active on a thread, one
//! allocation beyond it fails, and V8 throws "Data cannot be cloned, out of memory".

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

use crate::large_blocks::{for_rust, is_large};

/// Smaller requests are neither limited nor recorded.
const SMALL: usize = 4096;

thread_local! {
    static STATE: State = const {
        State {
            limit: Cell::new(usize::MAX),
            counts: Cell::new(false),
        }
    };
    static GRANTED: Cell<usize> = const { Cell::new(0) };
    static DENIED: Cell<bool> = const { Cell::new(false) };
    /// What the outer budgets granted.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// What each binding call changes, in one place.
struct State {
    limit: Cell<usize>,
    /// Whether C++'s allocations are counted, see `inspector/counted.rs`.
    counts: Cell<bool>,
}

/// See the module's text.
pub struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Whether this thread may have `size` bytes in one piece. Only byte buffers are judged: the serializer's is one.
fn permits(size: usize, align: usize) -> bool {
    if size < SMALL || align != 1 {
        return true;
    }
    let Ok(limit) = STATE.try_with(|state| state.limit.get()) else {
        return true;
    };
    if limit == usize::MAX {
        return true;
    }
    let permitted = size <= limit;
    let _ = if permitted {
        GRANTED.try_with(|granted| granted.set(granted.get().max(size)))
    } else {
        DENIED.try_with(|denied| denied.set(true))
    };
    permitted
}

// SAFETY: every request goes to the system's allocator unchanged, or is refused with a null pointer, as the trait allows.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !permits(layout.size(), layout.align()) {
            return null_mut();
        }
        if is_large(layout.size()) {
            // SAFETY: the caller's promises are passed on.
            return for_rust(|| unsafe { System.alloc(layout) });
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, see `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size()) {
            // SAFETY: the caller's promises are passed on.
            return for_rust(|| unsafe { System.alloc_zeroed(layout) });
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !permits(size, layout.align()) {
            return null_mut();
        }
        if is_large(size) {
            // SAFETY: the pointer came from `System`, and the caller's promises are passed on.
            return for_rust(|| unsafe { System.realloc(pointer, layout, size) });
        }
        // SAFETY: the pointer came from `System`, and the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What happened under a [`Budget`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The largest piece that was granted.
    pub granted: usize,
    /// Whether a piece was refused.
    pub denied: bool,
}

/// Limits single byte buffers on this thread until it is dropped. Budgets nest; the inner one counts.
pub struct Budget {
    previous: (usize, usize, bool, usize),
}

impl Budget {
    /// What a budget is worth at least. Our own code under a budget needs less than that in one piece.
    const LEAST: usize = 8 << 20;

    /// No byte buffer may grow beyond `limit` less what outer budgets of this thread granted. `None` when too little
    /// is left.
    pub fn new(limit: usize) -> Option<Self> {
        let held = HELD.get().saturating_add(GRANTED.get());
        let limit = limit
            .checked_sub(held)
            .filter(|limit| *limit >= Self::LEAST)?;
        let previous = (
            STATE.with(|state| state.limit.replace(limit)),
            GRANTED.replace(0),
            DENIED.replace(false),
            HELD.replace(held),
        );
        Some(Self { previous })
    }

    /// What happened so far.
    pub fn usage(&self) -> Usage {
        Usage {
            granted: GRANTED.get(),
            denied: DENIED.get(),
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let (limit, granted, denied, held) = self.previous;
        STATE.with(|state| state.limit.set(limit));
        GRANTED.set(granted);
        DENIED.set(denied);
        HELD.set(held);
    }
}

/// Whether C++'s allocations on this thread are counted.
pub(crate) fn counts() -> bool {
    STATE.with(|state| state.counts.get())
}

/// Changes [`counts`]; answers what it was.
pub(crate) fn set_counts(counts: bool) -> bool {
    STATE.with(|state| state.counts.replace(counts))
}

/// Lifts the limit on this thread, and ends counting, until it is dropped: for binding functions, which the guest's
/// JavaScript may call while a value is serialized or inspected. What our own code takes is not V8's, and it may hold what
/// must not be left for ever.
pub struct Suspended(usize, bool);

impl Suspended {
    /// See the type.
    pub fn new() -> Self {
        STATE.with(|state| Self(state.limit.replace(usize::MAX), state.counts.replace(false)))
    }
}

impl Default for Suspended {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        STATE.with(|state| {
            state.limit.set(self.0);
            state.counts.set(self.1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_beyond_the_limit_only() {
        let budget = Budget::new(32 << 20).unwrap();
        let mut bytes: Vec<u8> = Vec::new();
        assert!(bytes.try_reserve_exact(16 << 20).is_ok());
        assert!(bytes.try_reserve_exact(33 << 20).is_err());
        assert_eq!(
            budget.usage(),
            Usage {
                granted: 16 << 20,
                denied: true
            }
        );
        assert!(
            Budget::new(20 << 20).is_none(),
            "the outer budget's bytes count"
        );
        {
            let _suspended = Suspended::new();
            assert!(Vec::<u8>::new().try_reserve_exact(33 << 20).is_ok());
        }
        drop(budget);
        assert!(bytes.try_reserve_exact(33 << 20).is_ok());
    }
}
