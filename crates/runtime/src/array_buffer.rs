//! Array buffers: how bindings make them, read them and write them.
//!
//! Nothing here trusts a length that the guest could change: a buffer may be detached, resizable or shared with another
//! thread. What [`Contents`] and [`writable`] answer is valid until JavaScript runs again, so every conversion of an
//! argument (which may call `valueOf`) comes first.

use std::ops::Range;

use crate::env::Env;
use crate::throw::{ErrorClass, Throw};

/// Key of the registry for the realm's own `ArrayBuffer`.
const CONSTRUCTOR: &str = "ArrayBuffer";

/// What V8's sandbox can hold. V8 words its refusal of more another way than Node's V8 does.
const MAX_LENGTH: usize = 1 << 35;

/// Keeps the realm's `ArrayBuffer`, before guest code can replace it.
pub fn capture(scope: &mut v8::PinScope<'_, '_>, env: &Env, global: v8::Local<v8::Object>) {
    let Some(name) = v8::String::new(scope, CONSTRUCTOR) else {
        return;
    };
    if let Some(constructor) = global.get(scope, name.into()) {
        env.register(scope, CONSTRUCTOR, constructor);
    }
}

/// What V8 throws when there is no memory for an array buffer.
pub fn allocation_failed() -> Throw {
    Throw::Plain(ErrorClass::Range, "Array buffer allocation failed".into())
}

/// A new array buffer of `length` zeros. Goes through JavaScript's constructor, which throws a `RangeError` when there
/// is no memory; V8's own `ArrayBuffer::New` would end the host process.
pub fn new_array_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    length: usize,
) -> Result<v8::Local<'s, v8::ArrayBuffer>, Throw> {
    if length > MAX_LENGTH {
        return Err(allocation_failed());
    }
    let constructor = Env::of(scope)
        .function(scope, CONSTRUCTOR)
        .ok_or_else(allocation_failed)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let length = v8::Number::new(scope, length as f64).into();
    let buffer = constructor
        .new_instance(scope, &[length])
        .ok_or(Throw::Pending)?;
    v8::Local::try_from(buffer).map_err(|_| allocation_failed())
}

/// A new array buffer that holds a copy of `bytes`.
pub fn array_buffer_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: &[u8],
) -> Result<v8::Local<'s, v8::ArrayBuffer>, Throw> {
    let buffer = new_array_buffer(scope, bytes.len())?;
    if let (Some(data), true) = (buffer.data(), buffer.byte_length() >= bytes.len()) {
        // SAFETY: the new buffer has room for `bytes`, and nothing else knows it yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.as_ptr().cast(), bytes.len()) };
    }
    Ok(buffer)
}

/// A new `Buffer` over all of `buffer`.
pub fn new_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    buffer: v8::Local<'s, v8::ArrayBuffer>,
) -> Result<v8::Local<'s, v8::Uint8Array>, Throw> {
    let length = buffer.byte_length();
    let array = v8::Uint8Array::new(scope, buffer, 0, length).ok_or(Throw::Pending)?;
    if let Some(prototype) = Env::of(scope).registered(scope, "buffer.prototype") {
        array.set_prototype(scope, prototype);
    }
    Ok(array)
}

/// A new `Buffer` that holds a copy of `bytes`.
pub fn buffer_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: &[u8],
) -> Result<v8::Local<'s, v8::Uint8Array>, Throw> {
    let buffer = array_buffer_of(scope, bytes)?;
    new_buffer(scope, buffer)
}

/// Reads the bytes of a view or a buffer without a copy where it can: bytes inside V8's heap are copied, since V8 may
/// move them, and shared ones too, since another thread may change them.
pub struct Contents {
    inline: [u8; v8::TYPED_ARRAY_MAX_SIZE_IN_HEAP],
    copy: Vec<u8>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            inline: [0; v8::TYPED_ARRAY_MAX_SIZE_IN_HEAP],
            copy: Vec::new(),
        }
    }
}

impl Contents {
    /// The bytes of `view` as of now; see the module's text.
    pub fn of<'a>(
        &'a mut self,
        scope: &v8::PinScope<'_, '_>,
        view: v8::Local<'_, v8::ArrayBufferView>,
    ) -> &'a [u8] {
        let length = view.byte_length();
        self.of_range(scope, view, 0..length).unwrap_or_default()
    }

    /// A range of the bytes of `view` as of now; `None` when it is not inside.
    pub fn of_range<'a>(
        &'a mut self,
        scope: &v8::PinScope<'_, '_>,
        view: v8::Local<'_, v8::ArrayBufferView>,
        range: Range<usize>,
    ) -> Option<&'a [u8]> {
        // SAFETY: the storage has V8's greatest size of an array inside its heap.
        let (data, length) = unsafe { view.get_contents_raw_parts(&mut self.inline) };
        if range.start > range.end || range.end > length {
            return None;
        }
        if data.is_null() {
            return Some(&[]);
        }
        let shared = view.has_buffer()
            && view.buffer(scope).is_some_and(|buffer| {
                v8::Local::<v8::Value>::from(buffer).is_shared_array_buffer()
            });
        // SAFETY: the range was checked against the one that V8 answered; the caller's handle keeps its memory.
        Some(unsafe { Self::range(&mut self.copy, data.add(range.start), range.len(), shared) })
    }

    /// The bytes of a view, an `ArrayBuffer` or a `SharedArrayBuffer`; `None` for any other value.
    pub fn of_value<'a>(
        &'a mut self,
        scope: &v8::PinScope<'_, '_>,
        value: v8::Local<'_, v8::Value>,
    ) -> Option<&'a [u8]> {
        if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
            return Some(self.of(scope, view));
        }
        if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(value) {
            let data = buffer
                .data()
                .map_or(std::ptr::null(), |data| data.as_ptr().cast_const().cast());
            // SAFETY: V8's own data and length; the caller's handle keeps the memory.
            return Some(unsafe { Self::range(&mut self.copy, data, buffer.byte_length(), false) });
        }
        let buffer = v8::Local::<v8::SharedArrayBuffer>::try_from(value).ok()?;
        let store = buffer.get_backing_store();
        let data = store
            .data()
            .map_or(std::ptr::null(), |data| data.as_ptr().cast_const().cast());
        // SAFETY: shared memory never shrinks, and the store is held until it was copied.
        Some(unsafe {
            Self::range(
                &mut self.copy,
                data,
                store.byte_length().min(buffer.byte_length()),
                true,
            )
        })
    }

    /// # Safety
    /// `data` must be readable for `length` bytes as long as the answer is used, or until it returns when `shared`.
    unsafe fn range(copy: &mut Vec<u8>, data: *const u8, length: usize, shared: bool) -> &[u8] {
        if data.is_null() || length == 0 {
            return &[];
        }
        if shared {
            *copy = Vec::with_capacity(length);
            // SAFETY: the caller's range; the vector has room. Another thread's writes may tear the copy, not more.
            unsafe {
                std::ptr::copy_nonoverlapping(data, copy.as_mut_ptr(), length);
                copy.set_len(length);
            }
            return copy;
        }
        // SAFETY: the caller's range.
        unsafe { std::slice::from_raw_parts(data, length) }
    }
}

/// The memory of `view` for writing, as of now; see the module's text. Two views may share memory: a caller that holds
/// one such slice must not make another. Another thread may write to shared memory meanwhile: a caller stores into the slice
/// and decides nothing by what it reads there.
pub fn writable<'s>(
    scope: &v8::PinScope<'s, '_>,
    view: v8::Local<'s, v8::ArrayBufferView>,
) -> &'s mut [u8] {
    // Moves an array inside V8's heap out of it, so that the memory stays where it is.
    if view.buffer(scope).is_none() {
        return &mut [];
    }
    // SAFETY: nothing is copied into the storage, since the array is not in V8's heap any more.
    let (data, length) = unsafe { view.get_contents_raw_parts(&mut []) };
    if data.is_null() || length == 0 {
        return &mut [];
    }
    // SAFETY: V8 answered the view's current range, which the handle keeps alive; no JavaScript runs while it is used.
    unsafe { std::slice::from_raw_parts_mut(data, length) }
}

/// The memory of a whole `ArrayBuffer` or `SharedArrayBuffer` as pointer and length; `None` for any other value.
pub fn raw_parts(value: v8::Local<'_, v8::Value>) -> Option<(*mut u8, usize)> {
    if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(value) {
        let data = buffer
            .data()
            .map_or(std::ptr::null_mut(), |data| data.as_ptr().cast());
        return Some((data, buffer.byte_length()));
    }
    let buffer = v8::Local::<v8::SharedArrayBuffer>::try_from(value).ok()?;
    let store = buffer.get_backing_store();
    let data = store
        .data()
        .map_or(std::ptr::null_mut(), |data| data.as_ptr().cast());
    Some((data, store.byte_length().min(buffer.byte_length())))
}
