//! Typed arrays that Node's library and its bindings share.
//!
//! The guest can write them at any time (through `process.binding` or a leaked view), so what is read back is a hint.

use std::cell::Cell;

/// A view of a shared typed array's memory. The backing store is held, so a detached array leaves it valid.
#[derive(Clone)]
pub struct AliasedBuffer {
    store: v8::SharedRef<v8::BackingStore>,
    offset: usize,
    bytes: usize,
}

impl AliasedBuffer {
    /// The memory behind `array`; `None` for memory that may shrink, whose pages V8 takes away then.
    pub fn new(scope: &mut v8::PinScope<'_, '_>, array: v8::Local<v8::TypedArray>) -> Option<Self> {
        let store = array.buffer(scope)?.get_backing_store();
        if store.is_resizable_by_user_javascript() {
            return None;
        }
        let (offset, bytes) = (array.byte_offset(), array.byte_length());
        // JavaScript must see the memory that we see (a snapshot once broke this, see `snapshot::build`).
        let seen = array.get_contents(&mut []).as_ptr();
        debug_assert!(
            bytes == 0 || std::ptr::eq(seen, array.data().cast()),
            "a typed array lost its memory"
        );
        (offset.checked_add(bytes)? <= store.byte_length()).then_some(Self {
            store,
            offset,
            bytes,
        })
    }

    fn cells<T: Copy>(&self) -> &[Cell<T>] {
        let Some(data) = self.store.data() else {
            return &[];
        };
        // SAFETY: offset + bytes lie inside the store, which is not resizable (both checked in `new`).
        let start = unsafe { data.as_ptr().cast::<u8>().add(self.offset) };
        if !start.cast::<T>().is_aligned() {
            return &[];
        }
        // SAFETY: the range is inside the held store and aligned; `Cell` allows the guest's writes between our reads,
        // each of which is one load of a plain number T: what another thread writes meanwhile can tear it, not more.
        unsafe { std::slice::from_raw_parts(start.cast(), self.bytes / size_of::<T>()) }
    }

    /// Element `index`, or the default beyond the end.
    pub fn get<T: Copy + Default>(&self, index: usize) -> T {
        self.cells::<T>()
            .get(index)
            .map(Cell::get)
            .unwrap_or_default()
    }

    /// Sets element `index`; nothing beyond the end.
    pub fn set<T: Copy>(&self, index: usize, value: T) {
        if let Some(cell) = self.cells::<T>().get(index) {
            cell.set(value);
        }
    }

    /// Number of elements of type `T`.
    pub fn count<T: Copy>(&self) -> usize {
        self.bytes / size_of::<T>()
    }
}
