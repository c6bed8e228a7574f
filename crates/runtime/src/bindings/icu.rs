//! `internalBinding('icu')`. Source: `src/node_i18n.cc`.

use std::cell::RefCell;
use std::rc::Rc;

use encoding_rs::{CoderResult, Decoder, DecoderResult};
use v8::simdutf;

use super::encoding_binding::invalid_data;
use super::string_width::RANGES;
use crate::array_buffer::{Contents, buffer_of};
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::env::Env;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "icu",
    functions: &[
        ("decode", function!(decode)),
        ("getConverter", function!(get_converter)),
        ("getStringWidth", function!(get_string_width)),
        ("hasConverter", function!(has_converter)),
        ("icuErrName", function!(icu_err_name)),
        ("transcode", function!(transcode)),
    ],
    classes: &[Class {
        name: "Converter",
        hidden: true,
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const FLUSH: u32 = 1;
const FATAL: u32 = 2;
const IGNORE_MARK: u32 = 4;
const MARK: u16 = 0xfeff;

const ILLEGAL_ARGUMENT: i32 = 1;
const INVALID_CHARACTER: i32 = 10;

/// The state of one `TextDecoder`.
struct Converter {
    encoding: &'static encoding_rs::Encoding,
    fatal: bool,
    /// Whether a byte order mark at the start is dropped.
    drops_mark: bool,
    stream: RefCell<Stream>,
}

struct Stream {
    decoder: Decoder,
    /// Whether something was decoded already, so that a mark is a character.
    started: bool,
}

impl Converter {
    /// Decodes the next part of the stream; `None` when it is not valid and that is fatal.
    fn decode(&self, input: &[u8], flush: bool) -> Option<Vec<u16>> {
        let mut stream = self.stream.borrow_mut();
        let mut units = vec![0; stream.decoder.max_utf16_buffer_length(input.len())?];
        let (valid, written) = if self.fatal {
            let (result, _, written) = stream
                .decoder
                .decode_to_utf16_without_replacement(input, &mut units, flush);
            (result == DecoderResult::InputEmpty, written)
        } else {
            let (result, _, written, _) = stream.decoder.decode_to_utf16(input, &mut units, flush);
            (result == CoderResult::InputEmpty, written)
        };
        units.truncate(written);
        if valid && !units.is_empty() && !stream.started {
            stream.started = true;
            if self.drops_mark && units.first() == Some(&MARK) {
                units.remove(0);
            }
        }
        if flush {
            stream.started = false;
            stream.decoder = self.encoding.new_decoder_without_bom_handling();
        }
        valid.then_some(units)
    }
}

fn string_argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<String, Throw> {
    let string = v8::Local::<v8::String>::try_from(value)
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a string"))?;
    Ok(string.to_rust_string_lossy(scope))
}

/// The encodings of the Encoding Standard that Node's ICU has too.
fn encoding_of(label: &str) -> Option<&'static encoding_rs::Encoding> {
    let encoding = encoding_rs::Encoding::for_label(label.as_bytes())?;
    let absent = [
        encoding_rs::ISO_8859_16,
        encoding_rs::REPLACEMENT,
        encoding_rs::X_USER_DEFINED,
    ];
    (!absent.contains(&encoding)).then_some(encoding)
}

fn has_converter<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let label = string_argument(scope, args.get(0))?;
    Ok(v8::Boolean::new(scope, encoding_of(&label).is_some()).into())
}

/// `getConverter(encoding, flags)`; `undefined` for an encoding that is not known.
fn get_converter<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let label = string_argument(scope, args.get(0))?;
    let flags = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let Some(encoding) = encoding_of(&label) else {
        return Ok(v8::undefined(scope).into());
    };
    let unicode = [
        encoding_rs::UTF_8,
        encoding_rs::UTF_16LE,
        encoding_rs::UTF_16BE,
    ]
    .contains(&encoding);
    let converter = Converter {
        encoding,
        fatal: flags & FATAL != 0,
        drops_mark: unicode && flags & IGNORE_MARK == 0,
        stream: RefCell::new(Stream {
            decoder: encoding.new_decoder_without_bom_handling(),
            started: false,
        }),
    };
    let env = Env::of(scope);
    let handle = env.new_instance(scope, "icu.Converter")?;
    env.objects.wrap(scope, handle, Rc::new(converter));
    Ok(handle.into())
}

/// `decode(converter, input, flags, encoding)`
fn decode<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let flags = args.get(2).uint32_value(scope).ok_or(Throw::Pending)?;
    let converter = v8::Local::<v8::Object>::try_from(args.get(0))
        .ok()
        .and_then(|handle| Env::of(scope).objects.unwrap::<Converter>(scope, handle))
        .ok_or_else(|| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a converter"))?;
    let mut contents = Contents::default();
    let input = contents.of_value(scope, args.get(1)).ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"input\" argument must be an instance of SharedArrayBuffer, ArrayBuffer or ArrayBufferView.",
        )
    })?;
    if let Some(units) = converter.decode(input, flags & FLUSH != 0) {
        text::two_byte(scope, &units)
    } else {
        let encoding = string_argument(scope, args.get(3))?;
        Err(invalid_data(&encoding))
    }
}

/// What the class of a code point in the table of widths means.
struct Width {
    narrow: u32,
    wide: u32,
    joins: bool,
}

fn width_of(point: u32) -> Width {
    let after = RANGES.partition_point(|range| range >> 3 <= point);
    let class = after
        .checked_sub(1)
        .and_then(|index| RANGES.get(index))
        .map_or(1, |range| range & 7);
    let (narrow, wide) = match class {
        0 => (0, 0),
        2 => (1, 2),
        3 => (0, 2),
        4 | 5 => (2, 2),
        _ => (1, 1),
    };
    Width {
        narrow,
        wide,
        joins: class == 5,
    }
}

/// `getStringWidth(string, ambiguousAsFullWidth, expandEmojiSequence)`
fn get_string_width<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const ZERO_WIDTH_JOINER: u32 = 0x200d;
    let string = args.get(0).to_string(scope).ok_or(Throw::Pending)?;
    let (ambiguous_is_wide, expand) = (args.get(1).is_true(), !args.get(2).is_false());
    let mut width = 0_u32;
    let mut previous = 0;
    let mut count = |point: u32| {
        let Width {
            narrow,
            wide,
            joins,
        } = width_of(point);
        let joined = !expand && previous == ZERO_WIDTH_JOINER && joins;
        previous = point;
        if !joined {
            width = width.saturating_add(if ambiguous_is_wide { wide } else { narrow });
        }
    };
    {
        let view = v8::ValueView::new(scope, string);
        match view.data() {
            v8::ValueViewData::OneByte(bytes) => {
                for byte in bytes {
                    count(u32::from(*byte));
                }
            }
            v8::ValueViewData::TwoByte(units) => char::decode_utf16(units.iter().copied())
                .for_each(|point| {
                    count(
                        point.map_or_else(|lone| u32::from(lone.unpaired_surrogate()), u32::from),
                    );
                }),
        }
    }
    Ok(v8::Integer::new_from_unsigned(scope, width).into())
}

/// `transcode(source, from, to)`: a `Buffer`, or the number of ICU's error.
fn transcode<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let names = (
        string_argument(scope, args.get(1))?,
        string_argument(scope, args.get(2))?,
    );
    let mut contents = Contents::default();
    let source = contents
        .of_value(scope, args.get(0))
        .ok_or_else(|| Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a buffer"))?;
    let result = match (Encoding::from_name(&names.0), Encoding::from_name(&names.1)) {
        (Some(from), Some(to)) => transcoded(source, from, to),
        _ => Err(ILLEGAL_ARGUMENT),
    };
    match result {
        Ok(bytes) => buffer_of(scope, &bytes).map(Into::into),
        Err(number) => Ok(v8::Integer::new(scope, number).into()),
    }
}

fn transcoded(source: &[u8], from: Encoding, to: Encoding) -> Result<Vec<u8>, i32> {
    const REPLACEMENT: u16 = 0xfffd;
    let mut units: Vec<u16> = match from {
        Encoding::Utf8 if to == Encoding::Ucs2 && !simdutf::validate_utf8(source) => {
            return Err(INVALID_CHARACTER);
        }
        Encoding::Utf8 => String::from_utf8_lossy(source).encode_utf16().collect(),
        Encoding::Ucs2 => text::units_of(source),
        Encoding::Latin1 => source.iter().map(|byte| u16::from(*byte)).collect(),
        // Node takes ASCII for Latin-1 on this way.
        Encoding::Ascii if to == Encoding::Ucs2 => {
            source.iter().map(|byte| u16::from(*byte)).collect()
        }
        Encoding::Ascii => source
            .iter()
            .map(|byte| {
                if byte.is_ascii() {
                    u16::from(*byte)
                } else {
                    REPLACEMENT
                }
            })
            .collect(),
        _ => return Err(ILLEGAL_ARGUMENT),
    };
    // One replacement for what is cut off at the end, be it half a unit or half a pair as well.
    let lead = units.last().is_some_and(|unit| unit & 0xfc00 == 0xd800);
    if from == Encoding::Ucs2 && to == Encoding::Ucs2 && source.len() % 2 == 1 && !lead {
        units.push(REPLACEMENT);
    }
    let single_bytes = |limit: u32| {
        let points = char::decode_utf16(units.iter().copied());
        points
            .filter_map(|point| match point.map_or(REPLACEMENT.into(), u32::from) {
                point if point < limit => u8::try_from(point).ok(),
                point if is_ignorable(point) => None,
                _ => Some(b'?'),
            })
            .collect()
    };
    match to {
        Encoding::Ucs2 => {
            let units = String::from_utf16_lossy(&units);
            Ok(units.encode_utf16().flat_map(u16::to_le_bytes).collect())
        }
        Encoding::Utf8
            if from == Encoding::Ucs2
                && (!simdutf::validate_utf16le(&units)
                    || units.is_empty() != source.is_empty()) =>
        {
            Err(INVALID_CHARACTER)
        }
        Encoding::Utf8 => Ok(String::from_utf16_lossy(&units).into_bytes()),
        Encoding::Latin1 => Ok(single_bytes(0x100)),
        Encoding::Ascii => Ok(single_bytes(0x80)),
        _ => Err(ILLEGAL_ARGUMENT),
    }
}

/// The characters that ICU leaves out, rather than put `?`, where a character set lacks them.
fn is_ignorable(point: u32) -> bool {
    matches!(
        point,
        0xad | 0x34f
            | 0x61c
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x202a..=0x202e
            | 0x2060..=0x206f
            | 0x3164
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xfff8
            | 0x1_bca0..=0x1_bca3
            | 0x1_d173..=0x1_d17a
            | 0xe_0000..=0xe_0fff
    )
}

/// The name of ICU's error; of those that bindings answer.
fn icu_err_name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = match args.get(0).int32_value(scope).ok_or(Throw::Pending)? {
        0 => "U_ZERO_ERROR",
        ILLEGAL_ARGUMENT => "U_ILLEGAL_ARGUMENT_ERROR",
        INVALID_CHARACTER => "U_INVALID_CHAR_FOUND",
        11 => "U_TRUNCATED_CHAR_FOUND",
        12 => "U_ILLEGAL_CHAR_FOUND",
        15 => "U_BUFFER_OVERFLOW_ERROR",
        _ => "[BOGUS UErrorCode]",
    };
    text::utf8(scope, name.as_bytes())
}
