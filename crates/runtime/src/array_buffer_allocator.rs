//! An allocator for `ArrayBuffer`s that charges the process's memory budget.
//!
//! V8's own allocator, which stays inside V8's sandbox, does the work. The crate `v8` offers no way to put another one
//! in front of it while the sandbox is on, so this is an object as a C++ compiler would lay it out: a pointer to a
//! table of functions, in the order of `v8::ArrayBuffer::Allocator` in V8's `v8-array-buffer.h`.

use std::ffi::c_void;
use std::sync::Arc;

use crate::critical;
use crate::memory::MemoryBudget;

/// What a buffer costs besides its bytes: V8's bookkeeping for it.
const OVERHEAD_BYTES: usize = 256;
/// The smallest block.
const GRANULE_BYTES: usize = 128;
/// Buffers up to this size are never refused: V8 makes some where it cannot report a failure.
const ALWAYS_BYTES: usize = 64;
/// Blocks of these sizes get their pages at once. Smaller ones are parts of pages that are there; of larger ones guests
/// often use a part.
#[cfg(target_os = "linux")]
const POPULATED_BYTES: std::ops::RangeInclusive<usize> = (128 << 10)..=(8 << 20);
/// V8's own maximum (`ArrayBuffer::kMaxByteLength` of a 64-bit build, 2^53 - 1, cut to what the sandbox holds).
const MAX_BYTES: usize = 8 << 30;

/// The functions of `v8::ArrayBuffer::Allocator`, in its order, for an object of type `T`.
#[repr(C)]
struct Table<T> {
    destroy: unsafe extern "C" fn(*mut T),
    destroy_and_free: unsafe extern "C" fn(*mut T),
    allocate: unsafe extern "C" fn(*mut T, usize) -> *mut c_void,
    allocate_uninitialized: unsafe extern "C" fn(*mut T, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut T, *mut c_void, usize),
    max_allocation_size: unsafe extern "C" fn(*const T) -> usize,
    page_allocator: unsafe extern "C" fn(*mut T) -> *mut c_void,
}

/// V8's own allocator.
#[repr(C)]
struct Inner {
    table: *const Table<Inner>,
}

#[repr(C)]
struct Counting {
    table: *const Table<Counting>,
    inner: *mut Inner,
    budget: Arc<MemoryBudget>,
}

static TABLE: Table<Counting> = Table {
    destroy,
    destroy_and_free,
    allocate,
    allocate_uninitialized,
    free,
    max_allocation_size,
    page_allocator,
};

/// An allocator that charges `budget`.
pub(crate) fn counting(budget: &Arc<MemoryBudget>) -> v8::SharedPtr<v8::Allocator> {
    let inner = v8::new_default_allocator().into_raw().cast::<Inner>();
    let counting = Box::new(Counting {
        table: &raw const TABLE,
        inner,
        budget: budget.clone(),
    });
    // SAFETY: `Counting` begins with the table pointer that C++ expects, and its deleting destructor frees the box.
    unsafe { v8::UniquePtr::from_raw(Box::into_raw(counting).cast::<v8::Allocator>()) }
        .make_shared()
}

/// V8's page allocator for buffers, which it also uses for WebAssembly memories.
pub(crate) fn default_page_allocator() -> *mut c_void {
    let inner = v8::new_default_allocator().into_raw().cast::<Inner>();
    // SAFETY: a live allocator of V8, destroyed after use.
    unsafe {
        let table = (*inner).table;
        let pages = ((*table).page_allocator)(inner);
        ((*table).destroy_and_free)(inner);
        pages
    }
}

/// What a buffer of `length` bytes is charged.
fn cost(length: usize) -> usize {
    length.max(GRANULE_BYTES).saturating_add(OVERHEAD_BYTES)
}

/// Has the operating system give a fresh block its pages in one call; each would be a fault of its own when it is first
/// written, which costs more than the copying. Where that is not possible the faults do it.
#[cfg(target_os = "linux")]
fn populate(block: *mut c_void, length: usize) {
    const PAGE_BYTES: usize = 4096;
    if block.is_null() || !is_populated(length) {
        return;
    }
    let start = block.addr().next_multiple_of(PAGE_BYTES);
    let end = (block.addr() + length) & !(PAGE_BYTES - 1);
    if let Some(bytes) = end.checked_sub(start) {
        // SAFETY: these are whole pages inside a block that is ours, and the call changes no contents.
        unsafe { libc::madvise(block.with_addr(start), bytes, libc::MADV_POPULATE_WRITE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn populate(_block: *mut c_void, _length: usize) {}

/// Whether [`populate`] does something for blocks of this size.
#[cfg(target_os = "linux")]
fn is_populated(length: usize) -> bool {
    POPULATED_BYTES.contains(&length)
}

#[cfg(not(target_os = "linux"))]
fn is_populated(_length: usize) -> bool {
    false
}

impl Counting {
    fn charge(&self, length: usize) -> bool {
        if length <= ALWAYS_BYTES {
            self.budget.charge_external_always(cost(length));
            return true;
        }
        self.budget.charge_external(cost(length))
    }
}

unsafe extern "C" fn destroy(_this: *mut Counting) {}

unsafe extern "C" fn destroy_and_free(this: *mut Counting) {
    // SAFETY: V8 owns the object that `counting` made and destroys it once.
    unsafe {
        let counting = Box::from_raw(this);
        let table = (*counting.inner).table;
        ((*table).destroy_and_free)(counting.inner);
    }
}

unsafe extern "C" fn allocate(this: *mut Counting, length: usize) -> *mut c_void {
    let _section = critical::section();
    // SAFETY: V8 calls with its own live object.
    let counting = unsafe { &*this };
    if !counting.charge(length) {
        return std::ptr::null_mut();
    }
    // SAFETY: as above, for V8's own allocator.
    let table = unsafe { &*(*counting.inner).table };
    let block = if is_populated(length) {
        // SAFETY: as above.
        let block = unsafe { (table.allocate_uninitialized)(counting.inner, length) };
        populate(block, length);
        if !block.is_null() {
            // SAFETY: a block of `length` bytes that nobody else knows yet.
            unsafe { block.cast::<u8>().write_bytes(0, length) };
        }
        block
    } else {
        // SAFETY: as above.
        unsafe { (table.allocate)(counting.inner, length) }
    };
    if block.is_null() {
        counting.budget.release_external(cost(length));
    }
    block
}

unsafe extern "C" fn allocate_uninitialized(this: *mut Counting, length: usize) -> *mut c_void {
    let _section = critical::section();
    // SAFETY: V8 calls with its own live object.
    let counting = unsafe { &*this };
    if !counting.charge(length) {
        return std::ptr::null_mut();
    }
    // SAFETY: as above, for V8's own allocator.
    let block =
        unsafe { ((*(*counting.inner).table).allocate_uninitialized)(counting.inner, length) };
    populate(block, length);
    if block.is_null() {
        counting.budget.release_external(cost(length));
    }
    block
}

unsafe extern "C" fn free(this: *mut Counting, block: *mut c_void, length: usize) {
    let _section = critical::section();
    // SAFETY: V8 calls with its own live object and a block that came from it.
    unsafe {
        let counting = &*this;
        ((*(*counting.inner).table).free)(counting.inner, block, length);
        counting.budget.release_external(cost(length));
    }
}

unsafe extern "C" fn max_allocation_size(this: *const Counting) -> usize {
    // SAFETY: V8 calls with its own live object.
    let counting = unsafe { &*this };
    counting.budget.limit().min(MAX_BYTES)
}

unsafe extern "C" fn page_allocator(this: *mut Counting) -> *mut c_void {
    // SAFETY: V8 calls with its own live object.
    unsafe {
        let inner = (*this).inner;
        ((*(*inner).table).page_allocator)(inner)
    }
}

// SAFETY: a table of functions, never written to.
unsafe impl Sync for Table<Counting> {}
