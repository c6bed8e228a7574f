//! Charges the memory of ICU (`Intl`, `normalize`, time zones) to the process on whose thread it is allocated.
//!
//! ICU allocates through functions that a program may set once. A request cannot be refused: neither ICU's callers nor V8
//! bear it. So when a process has taken much more it is interrupted where V8 can collect garbage, hears of the memory, and
//! ends if it is still over its limit then.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::critical;
use crate::wasm_memory::thread_budget;

/// V8 hears of ICU's memory in steps of this size.
const STEP_BYTES: usize = 4 << 20;
/// In front of each block; keeps what follows as aligned as `malloc` does.
const HEADER_BYTES: usize = size_of::<Header>();

#[repr(C, align(16))]
struct Header {
    size: usize,
    /// `Arc::into_raw` of the count that the block is part of; null for a thread without a guest.
    count: *const IcuBytes,
}

/// Bytes that ICU holds for one process.
#[derive(Debug, Default)]
pub struct IcuBytes {
    held: AtomicUsize,
    /// What V8 knows of.
    told: AtomicUsize,
}

impl IcuBytes {
    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Notes more; answers whether V8 should hear of it.
    fn add(&self, bytes: usize) -> bool {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let told = self.told.load(Ordering::Relaxed);
        held > told.saturating_add(STEP_BYTES)
            // One asks.
            && self
                .told
                .compare_exchange(told, held, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn remove(&self, bytes: usize) {
        let held = self
            .held
            .fetch_sub(bytes, Ordering::Relaxed)
            .saturating_sub(bytes);
        if held.saturating_add(STEP_BYTES) < self.told.load(Ordering::Relaxed) {
            self.told.store(held, Ordering::Relaxed);
        }
    }
}

type Allocate = unsafe extern "C" fn(*const c_void, usize) -> *mut c_void;
type Reallocate = unsafe extern "C" fn(*const c_void, *mut c_void, usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*const c_void, *mut c_void);

unsafe extern "C" {
    // Of ICU 78, the one in the pinned V8.
    fn u_setMemoryFunctions_78(
        context: *const c_void,
        allocate: Allocate,
        reallocate: Reallocate,
        free: Free,
        status: *mut i32,
    );
}

/// Makes ICU allocate here. Must come before anything else uses ICU.
pub fn install() {
    let mut status = 0;
    // SAFETY: the functions keep to the contract of `malloc`, `realloc` and `free`, and ICU has allocated nothing yet.
    unsafe {
        u_setMemoryFunctions_78(
            std::ptr::null(),
            allocate,
            reallocate,
            free,
            &raw mut status,
        );
    }
    if status > 0 {
        tracing::error!(
            status,
            "ICU does not take our allocator: its memory is not charged"
        );
    }
}

unsafe extern "C" fn allocate(_context: *const c_void, size: usize) -> *mut c_void {
    let Some(total) = size.checked_add(HEADER_BYTES) else {
        return std::ptr::null_mut();
    };
    let budget = thread_budget();
    if let Some(budget) = &budget
        && budget.icu().held().saturating_add(size) > budget.most_in_one_icu_call()
    {
        crate::large_blocks::end_guest("Intl");
    }
    // SAFETY: plain `malloc`.
    let block = unsafe { libc::malloc(total) }.cast::<Header>();
    if block.is_null() {
        return std::ptr::null_mut();
    }
    let count = match budget {
        Some(budget) => {
            let count = budget.icu().clone();
            if count.add(size) {
                ask_for_a_look(&budget);
            }
            Arc::into_raw(count)
        }
        None => std::ptr::null(),
    };
    // SAFETY: the block has room for the header and `malloc` aligns it; what follows is within the block.
    unsafe {
        block.write(Header { size, count });
        block.add(1).cast()
    }
}

unsafe extern "C" fn reallocate(
    context: *const c_void,
    memory: *mut c_void,
    size: usize,
) -> *mut c_void {
    if memory.is_null() {
        // SAFETY: as ICU would call it.
        return unsafe { allocate(context, size) };
    }
    let Some(total) = size.checked_add(HEADER_BYTES) else {
        return std::ptr::null_mut();
    };
    // SAFETY: ICU gives back what `allocate` or this function gave it, so a header is in front.
    let block = unsafe { memory.cast::<Header>().sub(1) };
    // SAFETY: see above.
    let before = unsafe { (*block).size };
    // SAFETY: the block is `malloc`'s.
    let block = unsafe { libc::realloc(block.cast(), total) }.cast::<Header>();
    if block.is_null() {
        return std::ptr::null_mut();
    }
    // SAFETY: the header was moved with the block; its count is held by the block.
    unsafe {
        (*block).size = size;
        if let Some(count) = (*block).count.as_ref() {
            count.remove(before);
            if count.add(size)
                && let Some(budget) = thread_budget()
            {
                ask_for_a_look(&budget);
            }
        }
        block.add(1).cast()
    }
}

unsafe extern "C" fn free(_context: *const c_void, memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: ICU gives back what `allocate` gave it, once.
    unsafe {
        let block = memory.cast::<Header>().sub(1);
        let Header { size, count } = block.read();
        if !count.is_null() {
            let count = Arc::from_raw(count);
            count.remove(size);
        }
        libc::free(block.cast());
    }
}

fn ask_for_a_look(budget: &crate::memory::MemoryBudget) {
    let _section = critical::section();
    if let Some(shared) = budget.shared() {
        shared.isolate.request_interrupt(look, std::ptr::null_mut());
    }
}

/// Runs where V8 may collect garbage.
unsafe extern "C" fn look(isolate: v8::UnsafeRawIsolatePtr, _data: *mut c_void) {
    // SAFETY: V8 calls this with the isolate that was interrupted, on its thread.
    let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    let Some(budget) = thread_budget() else {
        return;
    };
    budget.note_icu(&mut isolate);
}
