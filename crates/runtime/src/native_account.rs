//! Memory of C libraries that work for a guest: each block is charged to the guest's process.

use std::ffi::c_void;
use std::sync::Arc;

use crate::memory::MemoryBudget;

/// What a library's memory is charged to. The library's allocator functions hold a pointer to it.
#[derive(Clone)]
pub struct Account(Option<Arc<MemoryBudget>>);

/// Before each block: its size. As large as the strictest alignment that C's allocator promises.
const HEADER: usize = 16;

impl Account {
    /// An account of the process that `budget` belongs to.
    pub fn new(budget: Option<Arc<MemoryBudget>>) -> Self {
        Self(budget)
    }

    /// Charges `bytes`; `false` when the process may not have them.
    pub fn take(&self, bytes: usize) -> bool {
        self.0
            .as_ref()
            .is_none_or(|budget| budget.take_native(bytes))
    }

    /// Gives back what [`Self::take`] granted.
    pub fn release(&self, bytes: usize) {
        if let Some(budget) = &self.0 {
            budget.release_native(bytes);
        }
    }

    /// A block of zeros, or null.
    pub fn allocate(&self, bytes: usize) -> *mut c_void {
        let Some(total) = bytes.checked_add(HEADER) else {
            return std::ptr::null_mut();
        };
        if !self.take(total) {
            return std::ptr::null_mut();
        }
        // SAFETY: any size will do; zlib's callers rely on zeros nowhere, but a decoder's window must hold nothing old.
        let block = unsafe { libc::calloc(1, total) };
        if block.is_null() {
            self.release(total);
            return block;
        }
        // SAFETY: the block is larger than the header, and aligned for it.
        unsafe {
            block.cast::<usize>().write(total);
            block.byte_add(HEADER)
        }
    }

    /// What a block holds.
    ///
    /// # Safety
    /// `address` came from [`Self::allocate`] and was not freed.
    pub unsafe fn size(address: *mut c_void) -> usize {
        // SAFETY: the header stands before the address, see `allocate`.
        unsafe { address.byte_sub(HEADER).cast::<usize>().read() - HEADER }
    }

    /// # Safety
    /// `address` is null, or came from [`Self::allocate`] of this account and was not freed.
    pub unsafe fn free(&self, address: *mut c_void) {
        if address.is_null() {
            return;
        }
        // SAFETY: the header stands before the address, see `allocate`.
        unsafe {
            let block = address.byte_sub(HEADER);
            self.release(block.cast::<usize>().read());
            libc::free(block);
        }
    }

    /// The `opaque` argument of a library's allocator functions; valid as long as this account does not move.
    pub fn opaque(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}
