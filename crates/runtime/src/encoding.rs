//! How values are written down between guest and host.
//!
//! Little endian. First the value itself, then the bodies of all objects in the order of their numbers, so that cycles
//! and shared references survive. `marshal.rs` writes a guest's values and `unmarshal.rs` builds them; `plain.rs` does
//! both for data of Rust, `lib/values.ts` for the host's JavaScript.

/// Tags of the encoding: values.
pub mod tag {
    #![allow(missing_docs, reason = "named after what they are")]

    pub const UNDEFINED: u8 = 0;
    pub const NULL: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const TRUE: u8 = 3;
    /// f64
    pub const NUMBER: u8 = 4;
    /// u32 length, bytes
    pub const LATIN1: u8 = 5;
    /// u32 length in units, units of 16 bits
    pub const UTF16: u8 = 6;
    /// u8 sign, u32 number of words, words of 64 bits
    pub const BIGINT: u8 = 7;
    /// u32 number of an object
    pub const OBJECT: u8 = 8;
    /// Nothing here, not even `undefined`.
    pub const ABSENT: u8 = 9;
}

/// Tags of the encoding: bodies of objects. "Properties" is u32 count, then key and value each.
pub mod body {
    /// Properties.
    pub const PLAIN: u8 = 16;
    /// Properties.
    pub const NULL_PROTOTYPE: u8 = 17;
    /// u32 length, u32 count, (u32 index, value) each, properties.
    pub const ARRAY: u8 = 18;
    /// u32 count, (value, value) each.
    pub const MAP: u8 = 20;
    /// u32 count, value each.
    pub const SET: u8 = 21;
    /// f64
    pub const DATE: u8 = 22;
    /// Source and flags (values), f64 lastIndex.
    pub const REGEXP: u8 = 23;
    /// u32 length, bytes.
    pub const ARRAY_BUFFER: u8 = 24;
    /// u8 kind (`DataView` is 0, then the typed arrays as `view_kind` counts them), u32 length, bytes.
    pub const VIEW: u8 = 25;
    /// Five values: name, message, stack, cause, errors; properties.
    pub const ERROR: u8 = 26;
    /// One value.
    pub const BOXED: u8 = 27;

    /// Kind of a view that is a `Uint8Array`.
    pub const UINT8_ARRAY: u8 = 2;
}

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed value")]
pub struct Malformed;

/// Reads an encoding from front to back.
pub struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    /// Reads `bytes`.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all was read.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Malformed`] when there are not so many.
    pub fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// A number or length.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A count of things that take `least` bytes each: never more than can follow.
    ///
    /// # Errors
    /// [`Malformed`] when so many cannot follow.
    pub fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > self.0.len() / least.max(1) {
            return Err(Malformed);
        }
        Ok(count)
    }

    /// A float.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn f64(&mut self) -> Result<f64, Malformed> {
        self.array().map(f64::from_le_bytes)
    }

    /// UTF-16 units behind their length.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn units(&mut self) -> Result<Vec<u16>, Malformed> {
        let length = self.count(2)?;
        let bytes = self.take(length * 2)?;
        Ok(bytes
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok().map(u16::from_le_bytes))
            .collect())
    }

    /// Bytes behind their length.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = self.count(1)?;
        self.take(length)
    }
}
