//! Arguments of calls, checked as Node's binding checks them.

use std::ops::{Deref, Range};

use secure_exec_kernel::TimeSpec;

use crate::binding::Args;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// Bytes of a path that stay off the heap.
const INLINE: usize = 192;
/// Characters of a text that can be a path; of a longer one as much is copied as the kernel needs to refuse it.
const LONGEST: usize = 16 << 10;
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// A path that the guest gave.
pub struct PathBytes {
    inline: [u8; INLINE],
    length: usize,
    heap: Vec<u8>,
}

impl Deref for PathBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.heap.is_empty() {
            self.inline.get(..self.length).unwrap_or(&[])
        } else {
            &self.heap
        }
    }
}

/// The error for an argument of a type that the library never passes.
pub fn invalid(name: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("The \"{name}\" argument is invalid"),
    )
}

/// A path: a string as UTF-8, or the bytes of a view.
pub fn path<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<PathBytes, Throw> {
    let mut path = PathBytes {
        inline: [0; INLINE],
        length: 0,
        heap: Vec::new(),
    };
    if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
        let length = string.length();
        if length * 3 <= INLINE {
            path.length = text::encode_into(scope, string, Encoding::Utf8, &mut path.inline);
        } else if length <= LONGEST {
            path.heap = text::encode(scope, string, Encoding::Utf8);
        } else {
            path.heap = vec![0; LONGEST];
            let written = text::encode_into(scope, string, Encoding::Utf8, &mut path.heap);
            path.heap.truncate(written);
        }
    } else if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        let mut contents = crate::array_buffer::Contents::default();
        let bytes = contents.of(scope, view);
        path.heap = bytes
            .get(..bytes.len().min(LONGEST))
            .unwrap_or(bytes)
            .to_vec();
    } else {
        return Err(invalid("path"));
    }
    if path.contains(&0) {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_VALUE",
            "The argument 'path' must be a string, Uint8Array, or URL without null bytes.",
        ));
    }
    Ok(path)
}

/// A descriptor.
pub fn fd<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<i32, Throw> {
    let Ok(number) = v8::Local::<v8::Number>::try_from(value) else {
        let received = received(scope, value);
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            format!("The \"fd\" argument must be of type number. Received {received}"),
        ));
    };
    let number = number.value();
    if number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number) {
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        return Ok(number as i32);
    }
    let shown = value.to_rust_string_lossy(scope);
    let wanted = if number.fract() == 0.0 {
        ">= 0 && <= 2147483647"
    } else {
        "an integer"
    };
    Err(Throw::range_error(
        "ERR_OUT_OF_RANGE",
        format!("The value of \"fd\" is out of range. It must be {wanted}. Received {shown}"),
    ))
}

/// How Node's errors describe a value.
fn received<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>) -> String {
    /// Characters of a string that are shown.
    const SHOWN: usize = 25;
    if value.is_null_or_undefined() {
        return value.to_rust_string_lossy(scope);
    }
    if let Ok(function) = v8::Local::<v8::Function>::try_from(value) {
        // V8 has no name for a proxy that can be called, and the crate would take what it answers for a string.
        let name = if value.is_proxy() {
            String::new()
        } else {
            function.get_name(scope).to_rust_string_lossy(scope)
        };
        return format!("function {name}");
    }
    if let Ok(object) = v8::Local::<v8::Object>::try_from(value) {
        return format!(
            "an instance of {}",
            object.get_constructor_name().to_rust_string_lossy(scope)
        );
    }
    if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
        let shown = if string.length() > SHOWN + 3 {
            let head: String = string
                .to_rust_string_lossy(scope)
                .chars()
                .take(SHOWN)
                .collect();
            format!("{head}...")
        } else {
            string.to_rust_string_lossy(scope)
        };
        return format!("type string ('{shown}')");
    }
    let kind = value.type_of(scope).to_rust_string_lossy(scope);
    let shown = match v8::Local::<v8::Symbol>::try_from(value) {
        Ok(symbol) => format!(
            "Symbol({})",
            symbol.description(scope).to_rust_string_lossy(scope)
        ),
        Err(_) => value.to_rust_string_lossy(scope),
    };
    format!("type {kind} ({shown})")
}

/// The mode of `access` and `copyFile`: absent, or three bits.
pub fn bits(value: v8::Local<v8::Value>) -> Result<i32, Throw> {
    if value.is_null_or_undefined() {
        return Ok(0);
    }
    let number = v8::Local::<v8::Number>::try_from(value).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "mode must be int32 or null/undefined",
        )
    })?;
    let mode = number.value();
    if (0.0..8.0).contains(&mode) {
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        return Ok(mode as i32);
    }
    let text = if mode.is_finite() {
        "mode is out of range: >= 0 && <= 7"
    } else {
        "mode is out of range"
    };
    Err(Throw::range_error("ERR_OUT_OF_RANGE", text))
}

/// A 32-bit number.
pub fn int(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
    name: &str,
) -> Result<i32, Throw> {
    if !value.is_number() {
        return Err(invalid(name));
    }
    value.int32_value(scope).ok_or(Throw::Pending)
}

/// A 32-bit number without a sign.
pub fn uint(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
    name: &str,
) -> Result<u32, Throw> {
    if !value.is_number() {
        return Err(invalid(name));
    }
    value.uint32_value(scope).ok_or(Throw::Pending)
}

/// A count of bytes.
pub fn size(value: v8::Local<v8::Value>, name: &str) -> Result<usize, Throw> {
    let number = v8::Local::<v8::Number>::try_from(value)
        .map_err(|_| invalid(name))?
        .value();
    if !(0.0..=MAX_SAFE_INTEGER).contains(&number) {
        return Err(Throw::range_error(
            "ERR_OUT_OF_RANGE",
            format!("The value of \"{name}\" is out of range."),
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above"
    )]
    Ok(number as usize)
}

/// A position in a file: a number or BigInt of at least zero, else "where the descriptor stands".
pub fn position(value: v8::Local<v8::Value>) -> Option<u64> {
    if let Ok(big) = v8::Local::<v8::BigInt>::try_from(value) {
        return u64::try_from(big.i64_value().0).ok();
    }
    let number = v8::Local::<v8::Number>::try_from(value).ok()?.value();
    if number.fract() != 0.0 || !(0.0..=MAX_SAFE_INTEGER).contains(&number) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above"
    )]
    Some(number as u64)
}

/// An owner's number; -1 leaves it as it is.
pub fn owner(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
) -> Result<Option<u32>, Throw> {
    let id = uint(scope, value, "uid")?;
    Ok((id != u32::MAX).then_some(id))
}

/// Seconds since the epoch.
pub fn time(value: v8::Local<v8::Value>) -> Result<Option<TimeSpec>, Throw> {
    let number = v8::Local::<v8::Number>::try_from(value).map_err(|_| invalid("time"))?;
    Ok(Some(TimeSpec::from_seconds_f64(number.value())))
}

/// The range `offset`, `length` (arguments 2 and 3) of a view, as the view is now.
pub fn range<'s>(
    view: v8::Local<'s, v8::ArrayBufferView>,
    args: &Args<'s>,
) -> Result<Range<usize>, Throw> {
    let offset = size(args.get(2), "offset")?;
    let length = size(args.get(3), "length")?;
    let end = offset
        .checked_add(length)
        .filter(|end| *end <= view.byte_length());
    let end = end.ok_or_else(|| {
        Throw::range_error(
            "ERR_OUT_OF_RANGE",
            "The value of \"length\" is out of range.",
        )
    })?;
    Ok(offset..end)
}

/// A view.
pub fn view(value: v8::Local<'_, v8::Value>) -> Result<v8::Local<'_, v8::ArrayBufferView>, Throw> {
    v8::Local::<v8::ArrayBufferView>::try_from(value).map_err(|_| invalid("buffer"))
}

/// An array of views.
pub fn views<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Vec<v8::Local<'s, v8::ArrayBufferView>>, Throw> {
    let array = v8::Local::<v8::Array>::try_from(value).map_err(|_| invalid("buffers"))?;
    let mut views = Vec::new();
    for index in 0..array.length() {
        let view = array.get_index(scope, index).ok_or(Throw::Pending)?;
        views.push(v8::Local::try_from(view).map_err(|_| invalid("buffers"))?);
    }
    Ok(views)
}
