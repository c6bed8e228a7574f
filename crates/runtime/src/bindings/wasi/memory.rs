//! The memory of the program that calls.
//!
//! Every pointer is checked when it is used, against the memory as it is then. A [`Memory`] is made anew after each wait:
//! another thread may have grown a shared memory meanwhile. No JavaScript runs while one exists.

use std::marker::PhantomData;

use super::errno::Errno;

/// See the module's text.
pub struct Memory<'a> {
    data: *mut u8,
    length: usize,
    shared: Option<v8::SharedRef<v8::BackingStore>>,
    object: PhantomData<&'a v8::WasmMemoryObject>,
}

impl<'a> Memory<'a> {
    /// The memory as it is now.
    pub fn of(object: v8::Local<'a, v8::WasmMemoryObject>) -> Self {
        let buffer: v8::Local<v8::Value> = object.buffer().into();
        if let Ok(buffer) = v8::Local::<v8::SharedArrayBuffer>::try_from(buffer) {
            // The store knows of growth that the buffer was made before.
            let store = buffer.get_backing_store();
            let data = store
                .data()
                .map_or(std::ptr::null_mut(), |data| data.as_ptr().cast());
            return Self {
                data,
                length: store.byte_length(),
                shared: Some(store),
                object: PhantomData,
            };
        }
        let (data, length) =
            crate::array_buffer::raw_parts(buffer).unwrap_or((std::ptr::null_mut(), 0));
        Self {
            data,
            length,
            shared: None,
            object: PhantomData,
        }
    }

    /// Whether other threads may write to it.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// `EOVERFLOW` unless `length` bytes at `offset` are inside. The end itself is outside, even for no bytes.
    pub fn check(&self, offset: u32, length: u64) -> Result<(), Errno> {
        self.range(offset, length).map(drop)
    }

    fn range(&self, offset: u32, length: u64) -> Result<*mut u8, Errno> {
        let offset = offset as usize;
        let room = self.length.checked_sub(offset).filter(|room| *room > 0);
        if self.data.is_null() || room.is_none_or(|room| length > room as u64) {
            return Err(Errno::EOVERFLOW);
        }
        // SAFETY: `offset` is below the memory's length, as was just checked.
        Ok(unsafe { self.data.add(offset) })
    }

    /// Stores bytes.
    pub fn write(&self, offset: u32, bytes: &[u8]) -> Result<(), Errno> {
        let to = self.range(offset, bytes.len() as u64)?;
        // SAFETY: `range` checked so many bytes; the source is not guest memory.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Stores a number of 32 bits.
    pub fn write_u32(&self, offset: u32, value: u32) -> Result<(), Errno> {
        self.write(offset, &value.to_le_bytes())
    }

    /// Stores a number of 64 bits.
    pub fn write_u64(&self, offset: u32, value: u64) -> Result<(), Errno> {
        self.write(offset, &value.to_le_bytes())
    }

    /// Copies `buffer.len()` bytes out.
    pub fn read(&self, offset: u32, buffer: &mut [u8]) -> Result<(), Errno> {
        let from = self.range(offset, buffer.len() as u64)?;
        // SAFETY: `range` checked so many bytes; the target is not guest memory. A write of another thread may tear the
        // copy, not more.
        unsafe { std::ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// Copies `N` bytes out.
    pub fn bytes<const N: usize>(&self, offset: u32) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies a path out; one that is too long for any file is not copied.
    pub fn path(&self, offset: u32, length: u32) -> Result<Vec<u8>, Errno> {
        self.check(offset, length.into())?;
        if length as usize > secure_exec_kernel::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut bytes = vec![0; length as usize];
        if length > 0 {
            self.read(offset, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// The bytes themselves, of a memory that no other thread has. Nothing else may touch it while the slice lives.
    pub fn own_slice(&mut self, offset: u32, length: u32) -> Result<&mut [u8], Errno> {
        if self.is_shared() {
            return Err(Errno::EFAULT);
        }
        let data = self.range(offset, length.into())?;
        // SAFETY: `range` checked so many bytes; `self` is borrowed mutably as long as the slice, and the memory has this
        // thread only.
        Ok(unsafe { std::slice::from_raw_parts_mut(data, length as usize) })
    }
}
