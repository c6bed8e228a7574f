//! Memory of codecs, charged to the process that they work for.

use std::ffi::{c_uint, c_void};
use std::sync::Arc;

use brotli::enc::BrotliAlloc;
use brotli::{Allocator, SliceWrapper, SliceWrapperMut};

use crate::memory::MemoryBudget;

/// What a codec's memory is charged to. The codec's allocator functions hold a pointer to it.
#[derive(Clone)]
pub struct Account(Option<Arc<MemoryBudget>>);

/// Before each block: its size. As large as the strictest alignment that C's allocator promises.
const HEADER: usize = 16;

impl Account {
    /// An account of the process that `budget` belongs to.
    pub fn new(budget: Option<Arc<MemoryBudget>>) -> Self {
        Self(budget)
    }

    fn take(&self, bytes: usize) -> bool {
        self.0
            .as_ref()
            .is_none_or(|budget| budget.take_native(bytes))
    }

    fn release(&self, bytes: usize) {
        if let Some(budget) = &self.0 {
            budget.release_native(bytes);
        }
    }

    fn allocate(&self, bytes: usize) -> *mut c_void {
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

    /// # Safety
    /// `address` is null, or came from [`Self::allocate`] of this account and was not freed.
    unsafe fn free(&self, address: *mut c_void) {
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

    /// The `opaque` argument for the functions below; valid as long as this account does not move.
    pub fn opaque(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// zlib's allocation function.
///
/// # Safety
/// `opaque` is that of a living account.
pub unsafe extern "C" fn zlib_alloc(
    opaque: *mut c_void,
    items: c_uint,
    size: c_uint,
) -> *mut c_void {
    // SAFETY: see above.
    let account = unsafe { &*opaque.cast::<Account>() };
    match (items as usize).checked_mul(size as usize) {
        Some(bytes) => account.allocate(bytes),
        None => std::ptr::null_mut(),
    }
}

/// Zstandard's allocation function.
///
/// # Safety
/// `opaque` is that of a living account.
pub unsafe extern "C" fn zstd_alloc(opaque: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: see above.
    unsafe { &*opaque.cast::<Account>() }.allocate(size)
}

/// Frees what either function gave.
///
/// # Safety
/// `opaque` is that of a living account, `address` is null or came from it and was not freed.
pub unsafe extern "C" fn free(opaque: *mut c_void, address: *mut c_void) {
    // SAFETY: see above.
    unsafe { (*opaque.cast::<Account>()).free(address) }
}

/// A block of Brotli's.
#[derive(Default)]
pub struct Cells<T> {
    cells: Box<[T]>,
    account: Option<Account>,
}

impl<T> Cells<T> {
    fn bytes(&self) -> usize {
        std::mem::size_of_val::<[T]>(&self.cells)
    }
}

impl<T> Drop for Cells<T> {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.release(self.bytes());
        }
    }
}

impl<T> SliceWrapper<T> for Cells<T> {
    fn slice(&self) -> &[T] {
        &self.cells
    }
}

impl<T> SliceWrapperMut<T> for Cells<T> {
    fn slice_mut(&mut self) -> &mut [T] {
        &mut self.cells
    }
}

impl<T: Clone + Default> Allocator<T> for Account {
    type AllocatedMemory = Cells<T>;

    /// Brotli cannot be refused memory: a process that is over its limit is condemned, and gets it.
    fn alloc_cell(&mut self, length: usize) -> Cells<T> {
        let cells = vec![T::default(); length].into_boxed_slice();
        let mut block = Cells {
            cells,
            account: None,
        };
        if self.take(block.bytes()) {
            block.account = Some(self.clone());
        }
        block
    }

    fn free_cell(&mut self, _block: Cells<T>) {}
}

impl BrotliAlloc for Account {}
