//! `internalBinding('buffer')`. Source: `src/node_buffer.cc`.

use std::cmp::Ordering;

use v8::simdutf::{self, Base64Options, ErrorCode, LastChunkHandling};

use crate::array_buffer::{Contents, new_array_buffer, raw_parts, writable};
use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "buffer",
    functions: &[
        ("asciiSlice", function!(ascii_slice)),
        ("base64Slice", function!(base64_slice)),
        ("base64urlSlice", function!(base64url_slice)),
        ("hexSlice", function!(hex_slice)),
        ("latin1Slice", function!(latin1_slice)),
        ("ucs2Slice", function!(ucs2_slice)),
        ("utf8Slice", function!(utf8_slice)),
        ("base64Write", function!(base64_write)),
        ("base64urlWrite", function!(base64url_write)),
        ("hexWrite", function!(hex_write)),
        ("ucs2Write", function!(ucs2_write)),
        ("asciiWriteStatic", function!(ascii_write_static)),
        ("latin1WriteStatic", function!(latin1_write_static)),
        ("utf8WriteStatic", function!(utf8_write_static)),
        ("byteLengthUtf8", function!(byte_length_utf8)),
        ("compare", function!(compare)),
        ("compareOffset", function!(compare_offset)),
        ("copy", function!(copy)),
        ("copyArrayBuffer", function!(copy_array_buffer)),
        (
            "createUnsafeArrayBuffer",
            function!(create_unsafe_array_buffer),
        ),
        ("fill", function!(fill)),
        ("indexOfBuffer", function!(index_of_buffer)),
        ("indexOfNumber", function!(index_of_number)),
        ("indexOfString", function!(index_of_string)),
        ("isAscii", function!(is_ascii)),
        ("isUtf8", function!(is_utf8)),
        ("atob", function!(atob)),
        ("btoa", function!(btoa)),
        ("setBufferPrototype", function!(set_buffer_prototype)),
        ("swap16", function!(swap16)),
        ("swap32", function!(swap32)),
        ("swap64", function!(swap64)),
    ],
    ..Binding::DEFAULT
};

fn not_a_buffer() -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a buffer")
}

fn out_of_range() -> Throw {
    Throw::range_error("ERR_OUT_OF_RANGE", "Index out of range")
}

fn bad_argument() -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", "Invalid argument")
}

fn view_of(value: v8::Local<'_, v8::Value>) -> Result<v8::Local<'_, v8::ArrayBufferView>, Throw> {
    v8::Local::try_from(value).map_err(|_| not_a_buffer())
}

fn string_of(value: v8::Local<'_, v8::Value>) -> Result<v8::Local<'_, v8::String>, Throw> {
    v8::Local::try_from(value)
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a string"))
}

/// An index; `default` for `undefined`. May run the guest's `valueOf`.
fn index(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
    default: usize,
) -> Result<usize, Throw> {
    if value.is_undefined() {
        return Ok(default);
    }
    let index = value.integer_value(scope).ok_or(Throw::Pending)?;
    usize::try_from(index).map_err(|_| out_of_range())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "lengths and offsets are below 2^53"
)]
fn number<'s>(scope: &mut v8::PinScope<'s, '_>, value: usize) -> v8::Local<'s, v8::Value> {
    match u32::try_from(value) {
        Ok(value) => v8::Integer::new_from_unsigned(scope, value).into(),
        Err(_) => v8::Number::new(scope, value as f64).into(),
    }
}

fn slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, encoding: Encoding) -> Ret<'s> {
    let view = view_of(args.this().into())?;
    let length = view.byte_length();
    if length == 0 {
        return Ok(v8::String::empty(scope).into());
    }
    let start = index(scope, args.get(0), 0)?;
    let end = index(scope, args.get(1), length)?;
    let mut contents = Contents::default();
    let bytes = contents
        .of_range(scope, view, start..end.max(start))
        .ok_or_else(out_of_range)?;
    text::decode(scope, bytes, encoding)
}

fn ascii_slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    slice(scope, args, Encoding::Ascii)
}

fn base64_slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    slice(scope, args, Encoding::Base64)
}

fn base64url_slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    slice(scope, args, Encoding::Base64Url)
}

fn hex_slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    slice(scope, args, Encoding::Hex)
}

fn latin1_slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    slice(scope, args, Encoding::Latin1)
}

fn ucs2_slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    slice(scope, args, Encoding::Ucs2)
}

fn utf8_slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    slice(scope, args, Encoding::Utf8)
}

/// Writes a string into `target`; `offset` and `length` are arguments of the guest.
fn write<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    target: v8::Local<'s, v8::Value>,
    [string, offset, length]: [v8::Local<'s, v8::Value>; 3],
    encoding: Encoding,
) -> Ret<'s> {
    let view = view_of(target)?;
    let string = string_of(string)?;
    let size = view.byte_length();
    let offset = index(scope, offset, 0)?;
    let rest = size.checked_sub(offset).ok_or_else(|| {
        Throw::range_error(
            "ERR_BUFFER_OUT_OF_BOUNDS",
            "\"offset\" is outside of buffer bounds",
        )
    })?;
    let length = index(scope, length, rest)?.min(rest);
    if length == 0 {
        return Ok(v8::Integer::new(scope, 0).into());
    }
    let target = writable(scope, view)
        .get_mut(offset..offset + length)
        .ok_or_else(out_of_range)?;
    let written = text::encode_into(scope, string, encoding, target);
    Ok(number(scope, written))
}

fn write_method<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    encoding: Encoding,
) -> Ret<'s> {
    write(
        scope,
        args.this().into(),
        [args.get(0), args.get(1), args.get(2)],
        encoding,
    )
}

fn write_static<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    encoding: Encoding,
) -> Ret<'s> {
    write(
        scope,
        args.get(0),
        [args.get(1), args.get(2), args.get(3)],
        encoding,
    )
}

fn base64_write<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_method(scope, args, Encoding::Base64)
}

fn base64url_write<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_method(scope, args, Encoding::Base64Url)
}

fn hex_write<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_method(scope, args, Encoding::Hex)
}

fn ucs2_write<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_method(scope, args, Encoding::Ucs2)
}

fn ascii_write_static<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_static(scope, args, Encoding::Latin1)
}

fn latin1_write_static<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_static(scope, args, Encoding::Latin1)
}

fn utf8_write_static<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_static(scope, args, Encoding::Utf8)
}

fn byte_length_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let string = string_of(args.get(0))?;
    let length = text::utf8_length(scope, string);
    Ok(number(scope, length))
}

fn ordering<'s>(scope: &mut v8::PinScope<'s, '_>, ordering: Ordering) -> v8::Local<'s, v8::Value> {
    v8::Integer::new(scope, ordering as i32).into()
}

fn compare<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (left, right) = (view_of(args.get(0))?, view_of(args.get(1))?);
    let (mut left_contents, mut right_contents) = (Contents::default(), Contents::default());
    let order = left_contents
        .of(scope, left)
        .cmp(right_contents.of(scope, right));
    Ok(ordering(scope, order))
}

/// `compareOffset(source, target, targetStart, sourceStart, targetEnd, sourceEnd)`
fn compare_offset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (source, target) = (view_of(args.get(0))?, view_of(args.get(1))?);
    let target_start = index(scope, args.get(2), 0)?;
    let source_start = index(scope, args.get(3), 0)?;
    let target_end = index(scope, args.get(4), target.byte_length())?;
    let source_end = index(scope, args.get(5), source.byte_length())?;
    let (mut source_contents, mut target_contents) = (Contents::default(), Contents::default());
    let (source, target) = (
        source_contents.of(scope, source),
        target_contents.of(scope, target),
    );
    let out_of = |name| {
        Throw::range_error(
            "ERR_OUT_OF_RANGE",
            format!("The value of \"{name}\" is out of range."),
        )
    };
    let source = source
        .get(source_start..)
        .ok_or_else(|| out_of("sourceStart"))?;
    let target = target
        .get(target_start..)
        .ok_or_else(|| out_of("targetStart"))?;
    let source_length = source_end
        .checked_sub(source_start)
        .ok_or_else(|| out_of("sourceStart"))?;
    let target_length = target_end
        .checked_sub(target_start)
        .ok_or_else(|| out_of("targetStart"))?;
    let length = source_length
        .min(target_length)
        .min(source.len())
        .min(target.len());
    let order = source
        .get(..length)
        .cmp(&target.get(..length))
        .then(source_length.cmp(&target_length));
    Ok(ordering(scope, order))
}

/// `copy(source, target, targetStart, sourceStart, count)`; ranges may overlap.
fn copy<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (source, target) = (view_of(args.get(0))?, view_of(args.get(1))?);
    let target_start = index(scope, args.get(2), 0)?;
    let source_start = index(scope, args.get(3), 0)?;
    let count = index(scope, args.get(4), 0)?;
    let target = writable(scope, target);
    let target = target
        .get_mut(target_start..)
        .and_then(|target| target.get_mut(..count));
    let target = target.ok_or_else(out_of_range)?.as_mut_ptr();
    let mut inline = [0; v8::TYPED_ARRAY_MAX_SIZE_IN_HEAP];
    // SAFETY: the storage has V8's greatest size of an array inside its heap.
    let (data, length) = unsafe { source.get_contents_raw_parts(&mut inline) };
    if source_start
        .checked_add(count)
        .is_none_or(|end| end > length)
    {
        return Err(out_of_range());
    }
    if count != 0 {
        // SAFETY: both ranges were checked against the current memory of their views; `copy` allows an overlap.
        unsafe { std::ptr::copy(data.add(source_start), target, count) };
    }
    Ok(args.get(4))
}

/// `copyArrayBuffer(destination, destinationOffset, source, sourceOffset, count)`
fn copy_array_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target_start = index(scope, args.get(1), 0)?;
    let source_start = index(scope, args.get(3), 0)?;
    let count = index(scope, args.get(4), 0)?;
    let (target, target_length) = raw_parts(args.get(0)).ok_or_else(bad_argument)?;
    let (source, source_length) = raw_parts(args.get(2)).ok_or_else(bad_argument)?;
    let fits = |start: usize, length| start.checked_add(count).is_some_and(|end| end <= length);
    if !fits(target_start, target_length) || !fits(source_start, source_length) {
        return Err(out_of_range());
    }
    if count != 0 {
        // SAFETY: both ranges were just checked; `copy` allows an overlap.
        unsafe { std::ptr::copy(source.add(source_start), target.add(target_start), count) };
    }
    Ok(v8::undefined(scope).into())
}

fn create_unsafe_array_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let length = index(scope, args.get(0), 0)?;
    let env = crate::env::Env::of(scope);
    if crate::bindings::options::flag(&env, "--zero-fill-buffers") {
        return new_array_buffer(scope, length).map(Into::into);
    }
    if let Some(budget) = env.memory_account() {
        crate::array_buffer_allocator::look_for_dead(&budget, length);
    }
    crate::array_buffer_allocator::unfilled(length, || new_array_buffer(scope, length))
        .map(Into::into)
}

/// `fill(buffer, value, start, end, encoding)`: answers -1 for a value that gives no bytes, -2 for a bad range.
fn fill<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let view = view_of(args.get(0))?;
    let start = index(scope, args.get(2), 0)?;
    let end = index(scope, args.get(3), 0)?;
    let bad_range = v8::Integer::new(scope, -2).into();
    if start > end || end > view.byte_length() {
        return Ok(bad_range);
    }
    let value = args.get(1);
    let bytes = if let Ok(pattern) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        let mut contents = Contents::default();
        let bytes = contents.of(scope, pattern);
        // Copied: the pattern may lie in the buffer that is filled.
        bytes
            .get(..bytes.len().min(end - start))
            .unwrap_or_default()
            .to_vec()
    } else if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
        match Encoding::from_value(scope, args.get(4), Encoding::Utf8) {
            // Cut anywhere, even inside a character.
            encoding @ (Encoding::Utf8 | Encoding::Ucs2) => text::encode(scope, string, encoding),
            encoding => {
                let mut bytes = vec![0; string.length().min(end - start)];
                let written = text::encode_into(scope, string, encoding, &mut bytes);
                bytes.truncate(written);
                bytes
            }
        }
    } else {
        let byte = value.uint32_value(scope).ok_or(Throw::Pending)? & 0xff;
        let Some(target) = writable(scope, view).get_mut(start..end) else {
            return Ok(bad_range);
        };
        target.fill(u8::try_from(byte).unwrap_or_default());
        return Ok(v8::undefined(scope).into());
    };
    let Some(target) = writable(scope, view).get_mut(start..end) else {
        return Ok(bad_range);
    };
    if target.is_empty() {
        return Ok(v8::undefined(scope).into());
    }
    let mut filled = bytes.len().min(target.len());
    if filled == 0 {
        return Ok(v8::Integer::new(scope, -1).into());
    }
    if let (Some(first), Some(bytes)) = (target.get_mut(..filled), bytes.get(..filled)) {
        first.copy_from_slice(bytes);
    }
    while filled < target.len() {
        let count = filled.min(target.len() - filled);
        target.copy_within(..count, filled);
        filled += count;
    }
    Ok(v8::undefined(scope).into())
}

/// Where a search starts; `None` when nothing can match.
fn search_start(length: usize, offset: i64, needle: usize, forward: bool) -> Option<usize> {
    let (signed, needle_length) = (i64::try_from(length).ok()?, i64::try_from(needle).ok()?);
    if offset < 0 {
        return match usize::try_from(signed.saturating_add(offset)) {
            Ok(start) => Some(start),
            Err(_) if forward || needle == 0 => Some(0),
            Err(_) => None,
        };
    }
    if offset.saturating_add(needle_length) <= signed {
        return usize::try_from(offset).ok();
    }
    match (needle, forward) {
        (0, _) => Some(length),
        (_, true) => None,
        (_, false) => length.checked_sub(1),
    }
}

/// The first match at or after `start`, or the last at or before it.
fn find_bytes(haystack: &[u8], needle: &[u8], start: usize, forward: bool) -> Option<usize> {
    if forward {
        return memchr::memmem::find(haystack.get(start..)?, needle).map(|at| at + start);
    }
    let last = haystack.len().checked_sub(needle.len())?.min(start);
    memchr::memmem::rfind(haystack.get(..last + needle.len())?, needle)
}

/// As [`find_bytes`], in units of two bytes; `start` and the answer count units.
fn find_units(haystack: &[u8], needle: &[u8], start: usize, forward: bool) -> Option<usize> {
    let (haystack, _) = haystack.as_chunks::<2>();
    let (needle, _) = needle.as_chunks::<2>();
    let last = haystack.len().checked_sub(needle.len())?;
    if forward {
        find_in_order(haystack.get(start..)?.iter(), needle.iter()).map(|at| at + start)
    } else {
        let last = last.min(start);
        let units = haystack.get(..last + needle.len())?;
        find_in_order(units.iter().rev(), needle.iter().rev()).map(|at| last - at)
    }
}

/// Knuth, Morris and Pratt: linear however the guest chooses its data.
fn find_in_order<'a>(
    haystack: impl Iterator<Item = &'a [u8; 2]>,
    needle: impl Iterator<Item = &'a [u8; 2]>,
) -> Option<usize> {
    let needle: Vec<[u8; 2]> = needle.copied().collect();
    // borders[n]: length of the longest proper border of the needle's first n + 1 units.
    let mut borders: Vec<u32> = Vec::with_capacity(needle.len());
    let border = |borders: &[u32], at: usize| {
        borders
            .get(at)
            .and_then(|border| usize::try_from(*border).ok())
            .unwrap_or(0)
    };
    let advance = |borders: &[u32], mut matched: usize, unit: &[u8; 2]| {
        while matched > 0 && needle.get(matched) != Some(unit) {
            matched = border(borders, matched - 1);
        }
        matched + usize::from(needle.get(matched) == Some(unit))
    };
    for (position, unit) in needle.iter().enumerate() {
        let length = match position.checked_sub(1) {
            Some(before) => advance(&borders, border(&borders, before), unit),
            None => 0,
        };
        borders.push(u32::try_from(length).ok()?);
    }
    let mut matched = 0;
    for (position, unit) in haystack.enumerate() {
        matched = advance(&borders, matched, unit);
        if matched == needle.len() {
            return Some(position + 1 - matched);
        }
    }
    None
}

/// The arguments that all three searches share: byte offset and direction.
fn search_args<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    offset: v8::Local<'s, v8::Value>,
    forward: v8::Local<'s, v8::Value>,
) -> Result<(i64, bool), Throw> {
    let offset = offset.integer_value(scope).ok_or(Throw::Pending)?;
    Ok((offset, forward.is_true()))
}

fn search<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    haystack: &[u8],
    needle: &[u8],
    (offset, forward): (i64, bool),
    units: bool,
) -> v8::Local<'s, v8::Value> {
    let Some(start) = search_start(haystack.len(), offset, needle.len(), forward) else {
        return v8::Integer::new(scope, -1).into();
    };
    if needle.is_empty() {
        return number(scope, start);
    }
    let found = if !units {
        find_bytes(haystack, needle, start, forward)
    } else if haystack.len() < 2
        || needle.len() < 2
        || (forward && start + needle.len() > haystack.len())
    {
        None
    } else {
        let found = find_units(haystack, needle, start / 2, forward).map(|at| at * 2);
        // Node tells "not found" by the haystack's length, and so names the last byte of one that is odd.
        let fits = needle.len() <= haystack.len();
        found.or_else(|| (fits && haystack.len() % 2 == 1).then(|| haystack.len() - 1))
    };
    match found {
        Some(at) => number(scope, at),
        None => v8::Integer::new(scope, -1).into(),
    }
}

/// `indexOfString(buffer, string, offset, encoding, forward)`
fn index_of_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let haystack = view_of(args.get(0))?;
    let needle = string_of(args.get(1))?;
    let position = search_args(scope, args.get(2), args.get(4))?;
    let encoding = Encoding::from_value(scope, args.get(3), Encoding::Utf8);
    let needle = text::encode(scope, needle, encoding);
    let mut contents = Contents::default();
    let haystack = contents.of(scope, haystack);
    let units = encoding == Encoding::Ucs2;
    let even = if units {
        haystack.len() & !1
    } else {
        haystack.len()
    };
    Ok(search(
        scope,
        haystack.get(..even).unwrap_or_default(),
        &needle,
        position,
        units,
    ))
}

/// `indexOfBuffer(buffer, needle, offset, encoding, forward)`
fn index_of_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (haystack, needle) = (view_of(args.get(0))?, view_of(args.get(1))?);
    let position = search_args(scope, args.get(2), args.get(4))?;
    let encoding = Encoding::from_value(scope, args.get(3), Encoding::Utf8);
    let (mut haystack_contents, mut needle_contents) = (Contents::default(), Contents::default());
    let haystack = haystack_contents.of(scope, haystack);
    let needle = needle_contents.of(scope, needle);
    Ok(search(
        scope,
        haystack,
        needle,
        position,
        encoding == Encoding::Ucs2,
    ))
}

/// `indexOfNumber(buffer, byte, offset, forward)`
fn index_of_number<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let haystack = view_of(args.get(0))?;
    let byte = args.get(1).uint32_value(scope).ok_or(Throw::Pending)? & 0xff;
    let byte = u8::try_from(byte).unwrap_or_default();
    let (offset, forward) = search_args(scope, args.get(2), args.get(3))?;
    let mut contents = Contents::default();
    let haystack = contents.of(scope, haystack);
    let found = search_start(haystack.len(), offset, 1, forward).and_then(|start| {
        if forward {
            memchr::memchr(byte, haystack.get(start..)?).map(|at| at + start)
        } else {
            memchr::memrchr(byte, haystack.get(..=start)?)
        }
    });
    Ok(match found {
        Some(at) => number(scope, at),
        None => v8::Integer::new(scope, -1).into(),
    })
}

/// The bytes to validate; Node refuses a detached buffer, but not a view of one.
fn validated<'a>(
    scope: &v8::PinScope<'_, '_>,
    contents: &'a mut Contents,
    value: v8::Local<'_, v8::Value>,
) -> Result<&'a [u8], Throw> {
    if v8::Local::<v8::ArrayBuffer>::try_from(value).is_ok_and(|buffer| buffer.was_detached()) {
        return Err(Throw::error(
            "ERR_INVALID_STATE",
            "Cannot validate on a detached buffer",
        ));
    }
    contents.of_value(scope, value).ok_or_else(not_a_buffer)
}

fn is_ascii<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut contents = Contents::default();
    let valid = simdutf::validate_ascii(validated(scope, &mut contents, args.get(0))?);
    Ok(v8::Boolean::new(scope, valid).into())
}

fn is_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut contents = Contents::default();
    let valid = simdutf::validate_utf8(validated(scope, &mut contents, args.get(0))?);
    Ok(v8::Boolean::new(scope, valid).into())
}

/// The Latin-1 bytes of `string`; `None` when it has others.
fn latin1_bytes(
    scope: &mut v8::PinScope<'_, '_>,
    string: v8::Local<v8::String>,
) -> Option<Vec<u8>> {
    let view = v8::ValueView::new(scope, string);
    match view.data() {
        v8::ValueViewData::OneByte(bytes) => Some(bytes.to_vec()),
        v8::ValueViewData::TwoByte(units) => {
            units.iter().map(|unit| u8::try_from(*unit).ok()).collect()
        }
    }
}

/// Base64 of a string's Latin-1 bytes; -1 when it has others.
fn btoa<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let string = string_of(args.get(0))?;
    match latin1_bytes(scope, string) {
        Some(bytes) => text::decode(scope, &bytes, Encoding::Base64),
        None => Ok(v8::Integer::new(scope, -1).into()),
    }
}

/// The bytes of a base64 string as Latin-1; -1 for a lone last character, -2 for a wrong one, -3 for any other fault.
fn atob<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const LONE: i32 = -1;
    const INVALID: i32 = -2;
    const OTHER: i32 = -3;
    let string = string_of(args.get(0))?;
    let Some(input) = latin1_bytes(scope, string) else {
        return Ok(v8::Integer::new(scope, INVALID).into());
    };
    let mut bytes = vec![0; simdutf::maximal_binary_length_from_base64(&input)];
    // SAFETY: `bytes` is as long as simdutf asks for.
    let result = unsafe {
        simdutf::base64_to_binary(
            &input,
            &mut bytes,
            Base64Options::Default,
            LastChunkHandling::Loose,
        )
    };
    let fault = match result.error {
        ErrorCode::Success => {
            return text::one_byte(scope, bytes.get(..result.count).unwrap_or_default());
        }
        ErrorCode::InvalidBase64Character => INVALID,
        ErrorCode::Base64InputRemainder => LONE,
        _ => OTHER,
    };
    Ok(v8::Integer::new(scope, fault).into())
}

fn set_buffer_prototype<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "buffer.prototype", args.get(0));
    Ok(v8::undefined(scope).into())
}

fn swap<'s, const N: usize>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (words, rest) = writable(scope, view_of(args.get(0))?).as_chunks_mut::<N>();
    if !rest.is_empty() {
        return Err(Throw::range_error(
            "ERR_INVALID_BUFFER_SIZE",
            format!("Buffer size must be a multiple of {}-bits", N * 8),
        ));
    }
    for word in words {
        word.reverse();
    }
    Ok(args.get(0))
}

fn swap16<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    swap::<2>(scope, args)
}

fn swap32<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    swap::<4>(scope, args)
}

fn swap64<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    swap::<8>(scope, args)
}
