//! `internalBinding('encoding_binding')`. Source: `src/encoding_binding.cc`.

use ada_url::Idna;
use v8::simdutf;

use crate::array_buffer::{Contents, new_array_buffer, writable};
use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "encoding_binding",
    functions: &[
        ("decodeUTF8", function!(decode_utf8)),
        ("decodeWindows1252", function!(decode_windows1252)),
        ("encodeInto", function!(encode_into)),
        ("encodeUtf8String", function!(encode_utf8_string)),
        ("toASCII", function!(to_ascii)),
        ("toUnicode", function!(to_unicode)),
    ],
    ..Binding::DEFAULT
};

const READ: usize = 0;
const WRITTEN: usize = 1;

fn string_of(value: v8::Local<'_, v8::Value>) -> Result<v8::Local<'_, v8::String>, Throw> {
    v8::Local::try_from(value)
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a string"))
}

/// What a decoder throws for data that its encoding does not allow.
pub fn invalid_data(encoding: &str) -> Throw {
    Throw::type_error(
        "ERR_ENCODING_INVALID_ENCODED_DATA",
        format!("The encoded data was not valid for encoding {encoding}"),
    )
}

/// `encodeInto(string, array)`: the counts of units read and bytes written go into `encodeIntoResults`.
fn encode_into<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let string = string_of(args.get(0))?;
    let array = v8::Local::<v8::Uint8Array>::try_from(args.get(1))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a Uint8Array"))?;
    let target = writable(scope, array.into());
    let (read, written) = text::utf8_into(scope, string, target);
    if let Some(results) = Env::of(scope).buffer(scope, "encoding_binding.encodeIntoResults") {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        results.set(READ, count(read));
        results.set(WRITTEN, count(written));
    }
    Ok(v8::undefined(scope).into())
}

fn encode_utf8_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let string = string_of(args.get(0))?;
    let length = text::utf8_length(scope, string);
    let buffer = new_array_buffer(scope, length)?;
    let array = v8::Uint8Array::new(scope, buffer, 0, length).ok_or(Throw::Pending)?;
    let target = writable(scope, array.into());
    text::encode_into(scope, string, Encoding::Utf8, target);
    Ok(array.into())
}

/// `decodeUTF8(list, ignoreBOM, fatal)`
fn decode_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let (ignore_mark, fatal) = (args.get(1).is_true(), args.get(2).is_true());
    let mut contents = Contents::default();
    let bytes = contents.of_value(scope, args.get(0)).ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"list\" argument must be an instance of SharedArrayBuffer, ArrayBuffer or ArrayBufferView.",
        )
    })?;
    if fatal && !simdutf::validate_utf8(bytes) {
        return Err(invalid_data("utf-8"));
    }
    let rest = if ignore_mark {
        None
    } else {
        bytes.strip_prefix(BYTE_ORDER_MARK)
    };
    text::utf8(scope, rest.unwrap_or(bytes))
}

/// `decodeWindows1252(input, ignoreBOM, fatal)`. Every byte is a character, so `fatal` changes nothing; Node takes a
/// first 0xff for a mark to ignore.
fn decode_windows1252<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut contents = Contents::default();
    let mut bytes = contents.of_value(scope, args.get(0)).ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"input\" argument must be an instance of ArrayBuffer, SharedArrayBuffer, or ArrayBufferView.",
        )
    })?;
    if args.get(1).is_true() {
        bytes = bytes.strip_prefix(b"\xff").unwrap_or(bytes);
    }
    if bytes.len() > v8::String::MAX_LENGTH {
        return Err(text::too_long());
    }
    if !bytes.iter().any(|byte| matches!(byte, 0x80..=0x9f)) {
        return text::one_byte(scope, bytes);
    }
    let (characters, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes);
    text::utf8(scope, characters.as_bytes())
}

fn to_ascii<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let input = string_of(args.get(0))?.to_rust_string_lossy(scope);
    text::utf8(scope, Idna::ascii(&input).as_bytes())
}

fn to_unicode<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let input = string_of(args.get(0))?.to_rust_string_lossy(scope);
    text::utf8(scope, Idna::unicode(&input).as_bytes())
}
