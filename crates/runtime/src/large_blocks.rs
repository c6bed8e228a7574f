//! Judges large blocks that V8 and its libraries allocate for a guest.
//!
//! What V8 uses while it works (the stack of `JSON.parse`, tables of its compilers) is not counted against the memory limit,
//! and grows by doubling. None of it may be larger than all that the process may hold: the guest's thread ends there, since
//! C++ code has no way back from a refused block. Rust code counts what it allocates for a guest before it does, and may
//! hold locks, so its blocks are not judged here.

use std::cell::Cell;

/// Smaller blocks are not looked at.
const LARGE: usize = 64 << 20;

thread_local! {
    /// Whether Rust code is allocating on this thread.
    static IS_RUST: Cell<bool> = const { Cell::new(false) };
}

/// Whether a block of this size is looked at.
pub(crate) fn is_large(size: usize) -> bool {
    size >= LARGE
}

/// Allocates for Rust code.
pub(crate) fn for_rust<T>(allocate: impl FnOnce() -> T) -> T {
    let before = IS_RUST.replace(true);
    let block = allocate();
    IS_RUST.set(before);
    block
}

/// A block of `size` bytes is about to be allocated. Does not return when this thread's guest may not have it.
pub(crate) fn judge(size: usize) {
    if !is_large(size) || IS_RUST.get() || !crate::fatal::is_guest_thread() {
        return;
    }
    let too_large = crate::wasm_memory::thread_budget()
        .is_some_and(|budget| size > budget.limit().saturating_add(LARGE));
    if !too_large {
        return;
    }
    // With a lock of this OS process held the thread must go on, so far as it can.
    if crate::critical::is_inside() {
        if let Some(budget) = crate::wasm_memory::thread_budget() {
            budget.condemn("native");
        }
        return;
    }
    crate::fatal::out_of_memory("native");
}
