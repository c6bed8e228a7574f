//! Charges WebAssembly memories and resizable buffers to their process, and refuses shared memories
//! to guests with frozen clocks.
//!
//! Neither goes through the `ArrayBuffer` allocator: V8 reserves address space for them and makes its pages accessible
//! as they grow. The linker sends those calls through here (see `link_wrap.rs`).

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::memory::MemoryBudget;

/// Address space that the growable buffers of one process may reserve, if that is not less than twice what it may hold. V8
/// tries smaller reservations when one fails.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
const MAX_RESERVED_BYTES: usize = 3 << 29;

thread_local! {
    /// The budget of the guest on this thread.
    static BUDGET: RefCell<Option<Arc<MemoryBudget>>> = const { RefCell::new(None) };
    /// Whether V8 is making a WebAssembly memory on this thread.
    static MAKES_MEMORY: Cell<bool> = const { Cell::new(false) };
    /// Whether the guest on this thread may share memory.
    static SHARES: Cell<bool> = const { Cell::new(false) };
}

/// Says whose memory this thread allocates from now on.
pub(crate) fn set_thread_budget(budget: Option<Arc<MemoryBudget>>) {
    BUDGET.set(budget);
    SHARES.set(false);
}

/// Says whether the guest on this thread may share memory, until the next guest comes.
pub(crate) fn set_thread_shares(shares: bool) {
    SHARES.set(shares);
}

/// Whose memory this thread allocates.
pub(crate) fn thread_budget() -> Option<Arc<MemoryBudget>> {
    // A thread that is ending has no guest any more.
    BUDGET
        .try_with(|budget| budget.try_borrow().ok()?.clone())
        .ok()
        .flatten()
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod wrapped {
    use std::collections::BTreeMap;
    use std::ffi::c_void;
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    use super::{BUDGET, MAKES_MEMORY, MAX_RESERVED_BYTES, SHARES};
    use crate::critical;
    use crate::link_wrap::wrap;
    use crate::memory::MemoryBudget;
    use std::sync::atomic::Ordering;

    type Address = *mut c_void;

    /// `v8::PageAllocator::AllocationHint`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Hint {
        address: Address,
        may_grow: bool,
    }

    const WASM_PAGE_BYTES: usize = 64 << 10;

    /// `v8::PageAllocator::Permission`.
    const NO_ACCESS: i32 = 0;
    const READ_WRITE: i32 = 2;

    wrap!(
        "_ZN2v88internal13AllocatePagesEPNS_13PageAllocatorEmmNS1_10PermissionENS1_14AllocationHintE" => allocate_pages,
        fn real_allocate_pages(allocator: Address, size: usize, alignment: usize, access: i32, hint: Hint) -> Address
    );
    wrap!(
        "_ZN2v88internal14SetPermissionsEPNS_13PageAllocatorEPvmNS1_10PermissionE" => set_permissions,
        fn real_set_permissions(allocator: Address, start: Address, size: usize, access: i32) -> bool
    );
    wrap!(
        "_ZN2v88internal9FreePagesEPNS_13PageAllocatorEPvm" => free_pages,
        fn real_free_pages(allocator: Address, start: Address, size: usize)
    );
    wrap!(
        "_ZN2v88internal12BackingStore18AllocateWasmMemoryEPNS0_7IsolateEmmNS0_14WasmMemoryFlagENS_4base11StrongAliasINS0_13SharedFlagTagEbEE" => allocate_wasm_memory,
        fn real_allocate_wasm_memory(isolate: Address, initial: usize, maximum: usize, kind: u8, shared: bool) -> Address
    );

    /// One growable buffer of a guest.
    struct Region {
        size: usize,
        committed: usize,
        is_memory: bool,
        budget: Arc<MemoryBudget>,
    }

    static REGIONS: Mutex<BTreeMap<usize, Region>> = Mutex::new(BTreeMap::new());
    static PAGE_ALLOCATOR: OnceLock<usize> = OnceLock::new();

    fn most_reserved(budget: &MemoryBudget) -> usize {
        MAX_RESERVED_BYTES.max(budget.limit().saturating_mul(2))
    }

    unsafe extern "C" fn allocate_wasm_memory(
        isolate: Address,
        initial: usize,
        maximum: usize,
        kind: u8,
        shared: bool,
    ) -> Address {
        // An empty result makes V8 throw a RangeError.
        if shared && !SHARES.get() {
            return std::ptr::null_mut();
        }
        // No more than the process may ever hold is reserved. V8 moves a memory that grows beyond its reservation, but not
        // one that is shared.
        let maximum = BUDGET.with_borrow(|budget| {
            let Some(budget) = budget else { return maximum };
            let left =
                most_reserved(budget).saturating_sub(budget.reserved.load(Ordering::Relaxed));
            let twice = initial.saturating_mul(2 * WASM_PAGE_BYTES);
            let wanted = if shared {
                twice.max(left / 4).min(left)
            } else {
                left / 4
            };
            maximum
                .min(budget.limit().min(wanted) / WASM_PAGE_BYTES)
                .max(initial)
        });
        MAKES_MEMORY.set(true);
        // SAFETY: V8's own call, passed on.
        let memory = unsafe { real_allocate_wasm_memory(isolate, initial, maximum, kind, shared) };
        MAKES_MEMORY.set(false);
        memory
    }

    unsafe extern "C" fn allocate_pages(
        allocator: Address,
        size: usize,
        alignment: usize,
        access: i32,
        hint: Hint,
    ) -> Address {
        let _section = critical::section();
        let budget = BUDGET.with_borrow(Clone::clone).filter(|_| {
            let buffers = PAGE_ALLOCATOR
                .get_or_init(|| crate::array_buffer_allocator::default_page_allocator() as usize);
            access == NO_ACCESS && *buffers == allocator as usize
        });
        if let Some(budget) = &budget
            && budget.reserved.load(Ordering::Relaxed).saturating_add(size) > most_reserved(budget)
        {
            budget.refuse_reservation();
            return std::ptr::null_mut();
        }
        // SAFETY: V8's own call, passed on.
        let start = unsafe { real_allocate_pages(allocator, size, alignment, access, hint) };
        if let Some(budget) = budget
            && !start.is_null()
        {
            budget.reserved.fetch_add(size, Ordering::Relaxed);
            let region = Region {
                size,
                committed: 0,
                // V8 copies a memory that could not grow where it was by a way of its own.
                is_memory: MAKES_MEMORY.get() || budget.awaits_copy(),
                budget,
            };
            REGIONS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(start as usize, region);
        }
        start
    }

    unsafe extern "C" fn set_permissions(
        allocator: Address,
        start: Address,
        size: usize,
        access: i32,
    ) -> bool {
        let _section = critical::section();
        let mut regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let at = start as usize;
        let region = regions
            .range_mut(..=at)
            .next_back()
            .filter(|(base, region)| at - **base < region.size);
        let Some((base, region)) = region else {
            drop(regions);
            // SAFETY: V8's own call, passed on.
            return unsafe { real_set_permissions(allocator, start, size, access) };
        };
        // V8 makes these regions accessible from their start and takes pages away from their end only.
        let before = region.committed;
        let after = match access {
            READ_WRITE => before.max((at - base).saturating_add(size)),
            NO_ACCESS => before.min(at - base),
            _ => before,
        };
        let granted = match before {
            _ if after <= before => true,
            0 => region.budget.charge_external(after),
            _ => region.budget.charge_growth(after - before),
        };
        if !granted {
            // V8 collects no garbage for a resizable buffer. One step that alone is beyond the limit is an error that
            // the guest can handle.
            if before > 0 && !region.is_memory && after - before <= region.budget.limit() {
                region.budget.condemn("external");
            }
            return false;
        }
        // SAFETY: V8's own call, passed on.
        let done = unsafe { real_set_permissions(allocator, start, size, access) };
        if done {
            region.committed = after;
            region.budget.release_external(before.saturating_sub(after));
        } else {
            region.budget.release_external(after.saturating_sub(before));
        }
        done
    }

    unsafe extern "C" fn free_pages(allocator: Address, start: Address, size: usize) {
        let _section = critical::section();
        let region = REGIONS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(start as usize));
        // SAFETY: V8's own call, passed on.
        unsafe { real_free_pages(allocator, start, size) };
        if let Some(region) = region {
            region.budget.release_external(region.committed);
            region
                .budget
                .reserved
                .fetch_sub(region.size, Ordering::Relaxed);
        }
    }
}
