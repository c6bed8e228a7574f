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
    /// What this thread took for zones since the last look.
    static ZONES: Cell<usize> = const { Cell::new(0) };
}

/// The memory of V8's zones is looked at when a thread has taken so much since the last look.
const ZONES_STEP: usize = 32 << 20;

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
    if !is_large(size) || IS_RUST.get() {
        return;
    }
    if !crate::fatal::is_guest_thread() {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if crate::v8_jobs::is_too_large(size) {
            crate::fatal::park_thread_of_v8(crate::latch::End::Memory("native"));
        }
        return;
    }
    let too_large = crate::wasm_memory::thread_budget()
        .is_some_and(|budget| size > budget.limit().saturating_add(LARGE));
    if too_large {
        end_guest("native");
    }
}

/// V8's zones are about to take `size` bytes more. Does not return when they hold more than they may: a regular
/// expression of 300 KB would take gigabytes, and its compiler looks at no request to end.
pub(crate) fn judge_zones(size: usize) {
    let taken = ZONES.get().saturating_add(size);
    if taken < ZONES_STEP {
        ZONES.set(taken);
        return;
    }
    ZONES.set(0);
    let Some(budget) = crate::wasm_memory::thread_budget() else {
        return;
    };
    if crate::fatal::zone_bytes().is_some_and(|held| held > budget.most_in_zones()) {
        end_guest("native");
    }
}

/// Ends the guest of this thread where it stands.
pub(crate) fn end_guest(what: &'static str) {
    // With a lock of this OS process held the thread must go on, so far as it can.
    if crate::critical::is_inside() {
        if let Some(budget) = crate::wasm_memory::thread_budget() {
            budget.condemn(what);
        }
        return;
    }
    crate::fatal::out_of_memory(what);
}
