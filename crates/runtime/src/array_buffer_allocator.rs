//! An allocator for `ArrayBuffer`s that charges the process's memory budget.
//!
//! V8's own allocator, which stays inside V8's sandbox, does the work. The crate `v8` offers no way to put another one
//! in front of it while the sandbox is on, so this is an object as a C++ compiler would lay it out: a pointer to a
//! table of functions, in the order of `v8::ArrayBuffer::Allocator` in V8's `v8-array-buffer.h`.
//!
//! Fresh pages cost more than what is then written to them, so blocks of the usual sizes are kept for the next buffer of
//! the same process when V8 frees them, within its limit and only while it is busy.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::critical;
use crate::memory::MemoryBudget;

/// What a buffer costs besides its bytes: V8's bookkeeping for it.
const OVERHEAD_BYTES: usize = 256;
/// The smallest block.
const GRANULE_BYTES: usize = 128;
/// Buffers up to this size are never refused: V8 makes some where it cannot report a failure.
const ALWAYS_BYTES: usize = 64;
/// Blocks of these sizes get their pages at once, and are kept when they are freed. Smaller ones are parts of pages that
/// are there; of larger ones guests often use a part.
const POPULATED_BYTES: std::ops::RangeInclusive<usize> = (128 << 10)..=(8 << 20);
const PAGE_BYTES: usize = 4096;
/// All threads of a process together keep at most this much of what they freed: V8 finds most buffers dead only when the
/// budget refuses another, a whole limit's worth of them at once.
pub(crate) const KEPT_BYTES: usize = 128 << 20;
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

/// What a block for `length` bytes has.
fn block_bytes(length: usize) -> usize {
    if is_populated(length) {
        length.next_multiple_of(PAGE_BYTES)
    } else {
        length
    }
}

/// Has the operating system give a fresh block its pages in one call; each would be a fault of its own when it is first
/// written, which costs more than the copying. Where that is not possible the faults do it.
#[cfg(target_os = "linux")]
fn populate(block: *mut c_void, bytes: usize) {
    let start = block.addr().next_multiple_of(PAGE_BYTES);
    let end = (block.addr() + bytes) & !(PAGE_BYTES - 1);
    if let Some(bytes) = end.checked_sub(start) {
        // SAFETY: these are whole pages inside a block that is ours, and the call changes no contents.
        unsafe { libc::madvise(block.with_addr(start), bytes, libc::MADV_POPULATE_WRITE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn populate(_block: *mut c_void, _bytes: usize) {}

/// Whether blocks of this size are populated and kept.
fn is_populated(length: usize) -> bool {
    POPULATED_BYTES.contains(&length)
}

struct Block {
    start: *mut c_void,
    bytes: usize,
}

// SAFETY: a block is memory that nobody uses; any thread may use or free it.
unsafe impl Send for Block {}

/// What a new block holds.
#[derive(Clone, Copy, PartialEq)]
enum Contents {
    /// Zeros: what JavaScript may read at once.
    Zeros,
    /// What this process freed before, or zeros: Node's `Buffer.allocUnsafe`.
    Own,
    /// Anything, another VM's bytes included: V8 writes to all of it before a guest sees it.
    Any,
}

/// The freed blocks that a process keeps, oldest first. They do not count against its limit: they go when what counts
/// would not fit beside them.
#[derive(Default)]
pub(crate) struct KeptBlocks {
    blocks: Mutex<Vec<Block>>,
    bytes: AtomicUsize,
    /// Bytes of blocks that were not kept ones, since the last garbage collection.
    fresh: AtomicUsize,
}

impl KeptBlocks {
    fn take(&self, bytes: usize) -> Option<*mut c_void> {
        if self.bytes() < bytes {
            return None;
        }
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.iter().rposition(|block| block.bytes == bytes)?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(blocks.remove(at).start)
    }

    fn put(&self, block: Block) {
        // The thread of an isolate must not be parked while it holds the lock: those that sweep for V8 take it, too.
        let _section = critical::section();
        self.bytes.fetch_add(block.bytes, Ordering::Relaxed);
        self.blocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(block);
    }

    /// Notes a garbage collection.
    pub(crate) fn collected(&self) {
        self.fresh.store(0, Ordering::Relaxed);
    }

    /// What is kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts a block that is not there.
    #[cfg(test)]
    pub(crate) fn pretend(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Frees the oldest blocks until at most `bytes` are kept.
    pub(crate) fn trim(&self, bytes: usize) {
        if self.bytes() <= bytes {
            return;
        }
        let _section = critical::section();
        // Every allocator of V8's frees for all.
        let inner = v8::new_default_allocator().into_raw().cast::<Inner>();
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        while self.bytes() > bytes && !blocks.is_empty() {
            let block = blocks.remove(0);
            self.bytes.fetch_sub(block.bytes, Ordering::Relaxed);
            // SAFETY: a live allocator of V8's, and a block that came from one and that only the list knew.
            unsafe { ((*(*inner).table).free)(inner, block.start, block.bytes) };
        }
        // SAFETY: made above and not used after.
        unsafe { ((*(*inner).table).destroy_and_free)(inner) };
    }
}

impl Counting {
    fn charge(&self, length: usize) -> bool {
        if length <= ALWAYS_BYTES {
            self.budget.charge_external_always(cost(length));
            return true;
        }
        self.budget.charge_external(cost(length))
    }

    /// A block for `length` bytes, charged; null when there is none.
    fn allocate(&self, length: usize, contents: Contents) -> *mut c_void {
        if !self.charge(length) {
            return std::ptr::null_mut();
        }
        let bytes = block_bytes(length);
        let block = if is_populated(length) {
            self.populated(bytes, contents)
        } else {
            // SAFETY: a live allocator of V8's.
            let table = unsafe { &*(*self.inner).table };
            let allocate = if contents == Contents::Any {
                table.allocate_uninitialized
            } else {
                table.allocate
            };
            // SAFETY: as above.
            unsafe { allocate(self.inner, bytes) }
        };
        if block.is_null() {
            self.budget.release_external(cost(length));
        }
        block
    }

    fn populated(&self, bytes: usize, contents: Contents) -> *mut c_void {
        let kept = self.budget.kept_blocks();
        if let Some(block) = kept.take(bytes) {
            if contents == Contents::Zeros {
                // SAFETY: a block of `bytes` bytes that nobody else knows.
                unsafe { block.cast::<u8>().write_bytes(0, bytes) };
            }
            return block;
        }
        kept.trim(self.budget.keepable());
        kept.fresh.fetch_add(bytes, Ordering::Relaxed);
        // SAFETY: a live allocator of V8's.
        let block = unsafe { ((*(*self.inner).table).allocate_uninitialized)(self.inner, bytes) };
        if !block.is_null() {
            populate(block, bytes);
            if contents != Contents::Any {
                // SAFETY: a block of `bytes` bytes that nobody else knows yet.
                unsafe { block.cast::<u8>().write_bytes(0, bytes) };
            }
        }
        block
    }
}

/// Has V8 look for dead young buffers before a large one of `length` bytes is made, when there were many since it looked
/// last and none is kept: V8 itself begins at 64 MiB of them. On an isolate's own thread, where garbage may be collected.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn look_for_dead(budget: &MemoryBudget, length: usize) {
    /// `v8::internal::NEW_SPACE` and `GarbageCollectionReason::kExternalMemoryPressure`.
    const NEW_SPACE: i32 = 1;
    const EXTERNAL_MEMORY_PRESSURE: i32 = 7;
    /// So much is made anew before; a collection of the young objects costs as much as a few blocks' pages.
    const FRESH_BYTES: usize = 16 << 20;

    unsafe extern "C" {
        /// `v8::internal::Heap::CollectGarbage(space, reason, flags, check limit, check efficiency)`.
        #[link_name = "_ZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceENS0_23GarbageCollectionReasonENS_15GCCallbackFlagsENS_4base11StrongAliasINS0_24PerformHeapLimitCheckTagEbEENS6_INS0_37PerformIneffectiveMarkCompactCheckTagEbEE"]
        fn collect_garbage(
            heap: *mut c_void,
            space: i32,
            reason: i32,
            flags: i32,
            limit: bool,
            efficiency: bool,
        );
    }

    let kept = budget.kept_blocks();
    if !is_populated(length)
        || kept.bytes() >= length
        || kept.fresh.load(Ordering::Relaxed) < FRESH_BYTES
    {
        return;
    }
    let heap = crate::fatal::heap_of_thread();
    if !heap.is_null() {
        // SAFETY: the heap of this thread's isolate, and what V8 itself passes when it makes a buffer.
        unsafe { collect_garbage(heap, NEW_SPACE, EXTERNAL_MEMORY_PRESSURE, 0, true, true) };
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn look_for_dead(_budget: &MemoryBudget, _length: usize) {}

thread_local! {
    /// Length of the buffer that this thread is making for [`unfilled`]; 0 for none.
    static UNFILLED: Cell<usize> = const { Cell::new(0) };
}

/// Runs `make`, which has V8 allocate a buffer of `length` bytes: its block may hold what this process freed before.
/// `make` must not run code of a guest, whose buffers are all zeros.
pub(crate) fn unfilled<R>(length: usize, make: impl FnOnce() -> R) -> R {
    UNFILLED.set(length);
    let made = make();
    UNFILLED.set(0);
    made
}

unsafe extern "C" fn destroy(_this: *mut Counting) {}

unsafe extern "C" fn destroy_and_free(this: *mut Counting) {
    // SAFETY: V8 owns the object that `counting` made and destroys it once.
    unsafe {
        let counting = Box::from_raw(this);
        counting.budget.kept_blocks().trim(0);
        let table = (*counting.inner).table;
        ((*table).destroy_and_free)(counting.inner);
    }
}

unsafe extern "C" fn allocate(this: *mut Counting, length: usize) -> *mut c_void {
    let _section = critical::section();
    // The collection that V8 may begin with frees buffers, and makes none.
    let contents = if length != 0 && UNFILLED.get() == length {
        Contents::Own
    } else {
        Contents::Zeros
    };
    // SAFETY: V8 calls with its own live object.
    unsafe { &*this }.allocate(length, contents)
}

unsafe extern "C" fn allocate_uninitialized(this: *mut Counting, length: usize) -> *mut c_void {
    let _section = critical::section();
    // SAFETY: V8 calls with its own live object.
    unsafe { &*this }.allocate(length, Contents::Any)
}

unsafe extern "C" fn free(this: *mut Counting, block: *mut c_void, length: usize) {
    let _section = critical::section();
    // SAFETY: V8 calls with its own live object.
    let counting = unsafe { &*this };
    let bytes = block_bytes(length);
    counting.budget.release_external(cost(length));
    if is_populated(length) {
        let kept = counting.budget.kept_blocks();
        let most = counting.budget.keepable();
        // Shared buffers may outlive the isolate that made them.
        if bytes <= most && !counting.budget.is_left_behind() {
            kept.put(Block {
                start: block,
                bytes,
            });
            kept.trim(if counting.budget.is_left_behind() {
                0
            } else {
                most
            });
            return;
        }
    }
    // SAFETY: V8 frees a block that came from its own allocator.
    unsafe { ((*(*counting.inner).table).free)(counting.inner, block, bytes) };
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
