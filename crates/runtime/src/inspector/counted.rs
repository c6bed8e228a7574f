//! Bounds what V8's inspector allocates while it answers one message.
//!
//! An answer can be far larger than its question: a graph whose nodes are shared is written out as a tree, with no look at
//! a request to end. Its memory is C++'s, which the guest's limit does not count. So while a message is dispatched, what
//! this thread takes by `operator new` and gives back is counted, and beyond a bound its guest ends where it stands.

use std::cell::Cell;
use std::ffi::c_void;

use crate::allocator::{Suspended, counts, set_counts};

/// A guest near its limit may still have so much for an answer.
const LEAST: usize = 64 << 20;

thread_local! {
    /// Bytes taken and not given back.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(isize::MAX) };
}

/// Counts on this thread until it is dropped. Counts nest: the inner one begins anew.
pub(super) struct Count {
    before: (bool, isize, isize),
}

impl Count {
    /// What the guest of this thread may have.
    pub fn begin() -> Self {
        let free = crate::wasm_memory::thread_budget().map_or(LEAST, |budget| {
            budget
                .limit()
                .saturating_sub(budget.used().total())
                .max(LEAST)
        });
        let most = isize::try_from(free).unwrap_or(isize::MAX);
        Self {
            before: (set_counts(true), TAKEN.replace(0), MOST.replace(most)),
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let (counts, taken, most) = self.before;
        set_counts(counts);
        TAKEN.set(taken);
        MOST.set(most);
    }
}

/// C++ code is about to take `size` bytes. Does not return when this thread's guest may not have them.
pub(crate) fn taking(size: usize) {
    if !counts() {
        return;
    }
    let taken = TAKEN
        .get()
        .saturating_add(isize::try_from(size).unwrap_or(isize::MAX));
    TAKEN.set(taken);
    if taken > MOST.get() {
        // Ending takes memory, too.
        let _uncounted = Suspended::new();
        crate::large_blocks::end_guest("native");
    }
}

/// C++ code gives a block back.
pub(crate) fn giving_back(block: *mut c_void) {
    if !counts() || block.is_null() {
        return;
    }
    // SAFETY: a block of the allocator that this function belongs to, which is about to be freed there.
    let size = unsafe { usable_size(block) };
    TAKEN.set(
        TAKEN
            .get()
            .saturating_sub(isize::try_from(size).unwrap_or(isize::MAX)),
    );
}

unsafe extern "C" {
    #[link_name = "malloc_usable_size"]
    fn usable_size(block: *mut c_void) -> usize;
}
