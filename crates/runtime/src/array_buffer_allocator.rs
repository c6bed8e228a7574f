//! An allocator for `ArrayBuffer`s that charges the process's memory budget.
//!
//! V8's own allocator, which stays inside V8's sandbox, does the work. The crate `v8` offers no way to put another one
//! in front of it while the sandbox is on, so this is an object as a C++ compiler would lay it out: a pointer to a
//! table of functions, in the order of `v8::ArrayBuffer::Allocator` in V8's `v8-array-buffer.h`.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

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
/// Blocks of these sizes are kept when they are freed, for the next buffer of the same length: reading files makes one
/// after the other, and giving pages back and getting them again costs as much as filling them.
const KEPT_SIZES: std::ops::RangeInclusive<usize> = (128 << 10)..=(4 << 20);
/// How many, and bytes of all of them.
const KEPT_BLOCKS: usize = 8;
const KEPT_BYTES: usize = 8 << 20;
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
    kept: Mutex<Kept>,
}

/// Freed blocks, which stay charged. V8 frees buffers on its own threads, too.
#[derive(Default)]
struct Kept {
    /// Address and length, the oldest first.
    blocks: Vec<(usize, usize)>,
    bytes: usize,
}

impl Kept {
    /// The newest block of this length.
    fn take(&mut self, length: usize) -> Option<usize> {
        let at = self
            .blocks
            .iter()
            .rposition(|(_, known)| *known == length)?;
        self.bytes -= length;
        Some(self.blocks.remove(at).0)
    }

    /// The oldest block.
    fn pop(&mut self) -> Option<(usize, usize)> {
        if self.blocks.is_empty() {
            return None;
        }
        let (block, length) = self.blocks.remove(0);
        self.bytes -= length;
        Some((block, length))
    }

    fn has_room(&self, length: usize) -> bool {
        self.blocks.len() < KEPT_BLOCKS && self.bytes + length <= KEPT_BYTES
    }
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
        kept: Mutex::default(),
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
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges for a new block; what is kept goes first when there is no room.
    fn charge(&self, length: usize) -> bool {
        if length <= ALWAYS_BYTES {
            self.budget.charge_external_always(cost(length));
            return true;
        }
        while !self.budget.charge_external(cost(length)) {
            let Some((block, freed)) = self.kept().pop() else {
                return false;
            };
            self.give_back(block, freed);
        }
        true
    }

    /// A block that was freed, with what it held then.
    fn reuse(&self, length: usize) -> Option<*mut c_void> {
        if !KEPT_SIZES.contains(&length) {
            return None;
        }
        let block = self.kept().take(length)?;
        Some(std::ptr::with_exposed_provenance_mut(block))
    }

    /// Keeps a freed block, in the place of older ones; answers whether it did.
    fn keep(&self, block: *mut c_void, length: usize) -> bool {
        if !KEPT_SIZES.contains(&length) {
            return false;
        }
        let mut kept = self.kept();
        while !kept.has_room(length) {
            let Some((old, freed)) = kept.pop() else {
                return false;
            };
            self.give_back(old, freed);
        }
        kept.bytes += length;
        kept.blocks.push((block.expose_provenance(), length));
        true
    }

    /// Frees a block that is kept no longer.
    fn give_back(&self, block: usize, length: usize) {
        // SAFETY: a block of this length that came from V8's own allocator, in nobody's hands.
        unsafe {
            let block = std::ptr::with_exposed_provenance_mut(block);
            ((*(*self.inner).table).free)(self.inner, block, length);
        }
        self.budget.release_external(cost(length));
    }
}

unsafe extern "C" fn destroy(_this: *mut Counting) {}

unsafe extern "C" fn destroy_and_free(this: *mut Counting) {
    // SAFETY: V8 owns the object that `counting` made and destroys it once.
    unsafe {
        let counting = Box::from_raw(this);
        while let Some((block, length)) = { counting.kept().pop() } {
            counting.give_back(block, length);
        }
        let table = (*counting.inner).table;
        ((*table).destroy_and_free)(counting.inner);
    }
}

unsafe extern "C" fn allocate(this: *mut Counting, length: usize) -> *mut c_void {
    let _section = critical::section();
    // SAFETY: V8 calls with its own live object.
    let counting = unsafe { &*this };
    if let Some(block) = counting.reuse(length) {
        // SAFETY: a block of `length` bytes that is in nobody's hands.
        unsafe { block.cast::<u8>().write_bytes(0, length) };
        return block;
    }
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
    if let Some(block) = counting.reuse(length) {
        return block;
    }
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
        if counting.keep(block, length) {
            return;
        }
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
