//! Memory of codecs, charged to the process that they work for.

use std::ffi::{c_uint, c_void};

use brotli::enc::BrotliAlloc;
use brotli::{Allocator, SliceWrapper, SliceWrapperMut};

pub use crate::native_account::Account;

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
