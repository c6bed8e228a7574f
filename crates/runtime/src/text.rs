//! Bytes to strings and back, in the encodings of `Buffer`. Source: `src/string_bytes.cc`.

use v8::simdutf::{self, Base64Options, LastChunkHandling};

use crate::binding::Ret;
use crate::throw::Throw;

#[cfg(target_endian = "big")]
compile_error!("UTF-16 is copied as it lies in memory");

/// An encoding, numbered as `internalBinding('string_decoder').encodings` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Seven bits; the eighth is dropped when decoding.
    Ascii,
    /// UTF-8
    Utf8,
    /// Base64 with `+` and `/`, padded
    Base64,
    /// UTF-16, little endian
    Ucs2,
    /// ISO 8859-1, also called `binary`
    Latin1,
    /// Hexadecimal digits
    Hex,
    /// No string at all
    Buffer,
    /// Base64 with `-` and `_`, not padded
    Base64Url,
}

impl Encoding {
    /// The encoding of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Ascii,
            1 => Self::Utf8,
            2 => Self::Base64,
            3 => Self::Ucs2,
            4 => Self::Latin1,
            5 => Self::Hex,
            6 => Self::Buffer,
            7 => Self::Base64Url,
            _ => return None,
        })
    }

    /// The encoding of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf8" | "utf-8" => Self::Utf8,
            "ucs2" | "ucs-2" | "utf16le" | "utf-16le" => Self::Ucs2,
            "latin1" | "binary" => Self::Latin1,
            "buffer" => Self::Buffer,
            "base64" => Self::Base64,
            "base64url" => Self::Base64Url,
            "ascii" => Self::Ascii,
            "hex" => Self::Hex,
            _ => return None,
        })
    }

    /// What an argument names, by name or number; `default` when it names nothing.
    pub fn from_value(
        scope: &mut v8::PinScope<'_, '_>,
        value: v8::Local<v8::Value>,
        default: Self,
    ) -> Self {
        let known = match v8::Local::<v8::String>::try_from(value) {
            // No name is longer; a long string is not copied for nothing.
            Ok(name) if name.length() <= 16 => Self::from_name(&name.to_rust_string_lossy(scope)),
            Ok(_) => None,
            Err(_) => value
                .is_uint32()
                .then(|| value.uint32_value(scope))
                .flatten()
                .and_then(Self::from_number),
        };
        known.unwrap_or(default)
    }
}

/// The digits of every byte.
#[expect(clippy::indexing_slicing, reason = "the compiler computes it")]
static HEX_PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// What Node throws for a result that no V8 string can hold.
pub fn too_long() -> Throw {
    Throw::error(
        "ERR_STRING_TOO_LONG",
        format!(
            "Cannot create a string longer than {:#x} characters",
            v8::String::MAX_LENGTH
        ),
    )
}

/// A string of Latin-1 `bytes`.
pub fn one_byte<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8]) -> Ret<'s> {
    if bytes.len() > v8::String::MAX_LENGTH {
        return Err(too_long());
    }
    let string = v8::String::new_from_one_byte(scope, bytes, v8::NewStringType::Normal);
    string.map(Into::into).ok_or_else(too_long)
}

/// A string of UTF-16 `units`.
pub fn two_byte<'s>(scope: &mut v8::PinScope<'s, '_>, units: &[u16]) -> Ret<'s> {
    if units.len() > v8::String::MAX_LENGTH {
        return Err(too_long());
    }
    let string = v8::String::new_from_two_byte(scope, units, v8::NewStringType::Normal);
    string.map(Into::into).ok_or_else(too_long)
}

/// A string of UTF-8 `bytes`; what is not UTF-8 becomes U+FFFD as the Encoding Standard says.
pub fn utf8<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8]) -> Ret<'s> {
    if bytes.len() > v8::String::MAX_LENGTH {
        return Err(too_long());
    }
    let string = v8::String::new_from_utf8(scope, bytes, v8::NewStringType::Normal);
    string.map(Into::into).ok_or_else(too_long)
}

/// `bytes` as a string in `encoding`.
pub fn decode<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8], encoding: Encoding) -> Ret<'s> {
    match encoding {
        Encoding::Latin1 => one_byte(scope, bytes),
        Encoding::Utf8 | Encoding::Buffer => utf8(scope, bytes),
        Encoding::Ascii if simdutf::validate_ascii(bytes) => one_byte(scope, bytes),
        Encoding::Ascii => {
            if bytes.len() > v8::String::MAX_LENGTH {
                return Err(too_long());
            }
            let masked: Vec<u8> = bytes.iter().map(|byte| byte & 0x7f).collect();
            one_byte(scope, &masked)
        }
        Encoding::Ucs2 => {
            // SAFETY: any bits are a number.
            let (before, units, _) = unsafe { bytes.align_to::<u16>() };
            if before.is_empty() {
                return two_byte(scope, units);
            }
            if bytes.len() / 2 > v8::String::MAX_LENGTH {
                return Err(too_long());
            }
            two_byte(scope, &units_of(bytes))
        }
        Encoding::Hex => {
            if bytes.len() > v8::String::MAX_LENGTH / 2 {
                return Err(too_long());
            }
            let mut text = vec![0; bytes.len() * 2];
            let (pairs, _) = text.as_chunks_mut::<2>();
            for (pair, byte) in pairs.iter_mut().zip(bytes) {
                *pair = HEX_PAIRS
                    .get(usize::from(*byte))
                    .copied()
                    .unwrap_or_default();
            }
            one_byte(scope, &text)
        }
        Encoding::Base64 => base64(scope, bytes, Base64Options::Default),
        Encoding::Base64Url => base64(scope, bytes, Base64Options::Url),
    }
}

fn base64<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8], options: Base64Options) -> Ret<'s> {
    if bytes.len() > v8::String::MAX_LENGTH {
        return Err(too_long());
    }
    let length = simdutf::base64_length_from_binary(bytes.len(), options);
    if length > v8::String::MAX_LENGTH {
        return Err(too_long());
    }
    let mut text = vec![0; length];
    // SAFETY: `text` has the length that simdutf asks for.
    let written = unsafe { simdutf::binary_to_base64(bytes, &mut text, options) };
    text.truncate(written);
    one_byte(scope, &text)
}

/// The UTF-16 units of little-endian `bytes`; an odd last byte is dropped.
pub fn units_of(bytes: &[u8]) -> Vec<u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

/// The number of bytes of `string` in UTF-8, where a lone surrogate counts as U+FFFD.
pub fn utf8_length(scope: &mut v8::PinScope<'_, '_>, string: v8::Local<v8::String>) -> usize {
    {
        let view = v8::ValueView::new(scope, string);
        if let v8::ValueViewData::OneByte(bytes) = view.data() {
            return simdutf::utf8_length_from_latin1(bytes);
        }
    }
    string.utf8_length(scope)
}

/// Writes as much of `string` as fits into `target`, whole characters only; answers the number of bytes.
pub fn encode_into(
    scope: &mut v8::PinScope<'_, '_>,
    string: v8::Local<v8::String>,
    encoding: Encoding,
    target: &mut [u8],
) -> usize {
    match encoding {
        Encoding::Ascii | Encoding::Latin1 => {
            let length = string.length().min(target.len());
            string.write_one_byte_v2(scope, 0, target, v8::WriteFlags::empty());
            length
        }
        Encoding::Utf8 | Encoding::Buffer => utf8_into(scope, string, target).1,
        _ => {
            let view = v8::ValueView::new(scope, string);
            match (encoding, view.data()) {
                (Encoding::Ucs2, v8::ValueViewData::OneByte(bytes)) => {
                    let (pairs, _) = target.as_chunks_mut::<2>();
                    pairs
                        .iter_mut()
                        .zip(bytes)
                        .for_each(|(pair, byte)| *pair = [*byte, 0]);
                    pairs.len().min(bytes.len()) * 2
                }
                (Encoding::Ucs2, v8::ValueViewData::TwoByte(units)) => {
                    let units = units.get(..target.len() / 2).unwrap_or(units);
                    // SAFETY: any unit is two bytes, in the order of this machine: little-endian.
                    let (_, bytes, _) = unsafe { units.align_to::<u8>() };
                    if let Some(target) = target.get_mut(..bytes.len()) {
                        target.copy_from_slice(bytes);
                    }
                    bytes.len()
                }
                (Encoding::Hex, v8::ValueViewData::OneByte(bytes)) => hex_into(bytes, target),
                (Encoding::Hex, v8::ValueViewData::TwoByte(units)) => {
                    hex_into(&low_bytes(units), target)
                }
                (_, v8::ValueViewData::OneByte(bytes)) => {
                    base64_into(bytes, encoding == Encoding::Base64Url, target)
                }
                (_, v8::ValueViewData::TwoByte(units)) => {
                    // Fails like an unknown character would in the strict decoder, then only low bytes count.
                    base64_leniently_into(&low_bytes(units), target)
                }
            }
        }
    }
}

/// Writes as much of `string` as fits as UTF-8, whole characters only; answers the units read and the bytes written.
pub fn utf8_into(
    scope: &mut v8::PinScope<'_, '_>,
    string: v8::Local<v8::String>,
    target: &mut [u8],
) -> (usize, usize) {
    {
        let view = v8::ValueView::new(scope, string);
        if let Some(counts) = whole_utf8_into(&view.data(), target) {
            return counts;
        }
    }
    let mut read = 0;
    let flags = v8::WriteFlags::kReplaceInvalidUtf8;
    let written = string.write_utf8_v2(scope, target, flags, Some(&mut read));
    (read, written)
}

/// The fast way of [`utf8_into`]: `None` for a string that does not fit or has lone surrogates.
fn whole_utf8_into(data: &v8::ValueViewData<'_>, target: &mut [u8]) -> Option<(usize, usize)> {
    match *data {
        v8::ValueViewData::OneByte([]) => Some((0, 0)),
        v8::ValueViewData::OneByte(bytes) => {
            if simdutf::validate_ascii(bytes) {
                target.get_mut(..bytes.len())?.copy_from_slice(bytes);
                return Some((bytes.len(), bytes.len()));
            }
            if target.len() < bytes.len() * 2
                && target.len() < simdutf::utf8_length_from_latin1(bytes)
            {
                return None;
            }
            // SAFETY: the target has room for the result.
            let written = unsafe { simdutf::convert_latin1_to_utf8(bytes, target) };
            Some((bytes.len(), written))
        }
        v8::ValueViewData::TwoByte(units) => {
            let fits = target.len() / 3 >= units.len()
                || (simdutf::validate_utf16le(units)
                    && simdutf::utf8_length_from_utf16le(units) <= target.len());
            if !fits {
                return None;
            }
            // SAFETY: the target has room for the result, or for any at all.
            let written = unsafe { simdutf::convert_utf16le_to_utf8(units, target) };
            (written != 0).then_some((units.len(), written))
        }
    }
}

/// `string` in `encoding`, whole.
pub fn encode(
    scope: &mut v8::PinScope<'_, '_>,
    string: v8::Local<v8::String>,
    encoding: Encoding,
) -> Vec<u8> {
    let length = match encoding {
        Encoding::Utf8 | Encoding::Buffer => utf8_length(scope, string),
        Encoding::Ucs2 => string.length() * 2,
        _ => string.length(),
    };
    let mut bytes = vec![0; length];
    let written = encode_into(scope, string, encoding, &mut bytes);
    bytes.truncate(written);
    bytes
}

/// Node reads a digit of a two-byte string by its low byte.
#[expect(clippy::cast_possible_truncation, reason = "the low byte is meant")]
fn low_bytes(units: &[u16]) -> Vec<u8> {
    units.iter().map(|unit| *unit as u8).collect()
}

/// Pairs of hexadecimal digits up to the first that is none.
fn hex_into(text: &[u8], target: &mut [u8]) -> usize {
    const INVALID: u8 = 0xff;
    #[expect(clippy::indexing_slicing, reason = "the compiler computes it")]
    static VALUES: [u8; 256] = {
        let mut values = [INVALID; 256];
        let mut byte = 0_u8;
        loop {
            values[byte as usize] = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => INVALID,
            };
            if byte == u8::MAX {
                break;
            }
            byte += 1;
        }
        values
    };
    let value = |byte: u8| VALUES.get(usize::from(byte)).copied().unwrap_or(INVALID);
    let (pairs, _) = text.as_chunks::<2>();
    let mut written = 0;
    for ([high, low], out) in pairs.iter().zip(target) {
        let (high, low) = (value(*high), value(*low));
        if high > 15 || low > 15 {
            break;
        }
        *out = high << 4 | low;
        written += 1;
    }
    written
}

/// Base64: the strict decoder, and when it finds fault or too little room, Node's lenient one.
fn base64_into(text: &[u8], url: bool, target: &mut [u8]) -> usize {
    let options = if url {
        Base64Options::Url
    } else {
        Base64Options::Default
    };
    if simdutf::maximal_binary_length_from_base64(text) <= target.len() {
        // SAFETY: the target is as long as simdutf asks for.
        let result =
            unsafe { simdutf::base64_to_binary(text, target, options, LastChunkHandling::Loose) };
        if result.is_ok() {
            return result.count;
        }
    }
    base64_leniently_into(text, target)
}

/// Skips what is no digit of either alphabet, stops at the first `=`.
fn base64_leniently_into(text: &[u8], target: &mut [u8]) -> usize {
    let mut out = target.iter_mut();
    let mut written = 0;
    let mut bits = 0_u32;
    let mut count = 0_u32;
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            let Some(out) = out.next() else { break };
            #[expect(clippy::cast_possible_truncation, reason = "the low byte is meant")]
            let byte = (bits >> count) as u8;
            *out = byte;
            written += 1;
        }
    }
    written
}
