//! Values of the host built in a guest, from the encoding of `encoding.rs`.
//!
//! No guest code runs: objects get own data properties only, and collections are filled by V8 itself. Errors are new ones
//! of the guest's own classes, without the host's stack.

use crate::encoding::{Cursor, Malformed, body, tag};
use crate::marshal::HostValue;
use crate::throw::{ErrorClass, Throw};

impl From<Malformed> for Throw {
    fn from(error: Malformed) -> Self {
        Self::error("ERR_INVALID_STATE", format!("Invalid state: {error}"))
    }
}

/// Builds `value` in the guest.
///
/// # Errors
/// What V8 throws when there is no memory, and an error for bytes that are no value.
pub fn to_guest<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: &HostValue,
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    let mut cursor = Cursor::new(value.as_bytes());
    let root = read_value(scope, &mut cursor)?;
    let mut objects = Vec::new();
    let mut fills = Vec::new();
    while !cursor.is_done() {
        let object = read_body(scope, &mut cursor, &mut fills, objects.len())?;
        objects.push(object);
    }
    for fill in fills {
        fill.apply(scope, &objects)?;
    }
    root.resolve(&objects)
}

/// A value whose objects may not exist yet.
#[derive(Clone, Copy)]
enum Slot<'s> {
    Is(v8::Local<'s, v8::Value>),
    Object(u32),
}

impl<'s> Slot<'s> {
    fn resolve(
        self,
        objects: &[v8::Local<'s, v8::Object>],
    ) -> Result<v8::Local<'s, v8::Value>, Throw> {
        match self {
            Self::Is(value) => Ok(value),
            Self::Object(number) => objects
                .get(number as usize)
                .map(|object| (*object).into())
                .ok_or_else(|| Malformed.into()),
        }
    }
}

/// What is put into an object once all exist.
enum Fill<'s> {
    Property(usize, v8::Local<'s, v8::Name>, Slot<'s>),
    Hidden(usize, &'static str, Slot<'s>),
    Element(usize, u32, Slot<'s>),
    Entry(v8::Local<'s, v8::Map>, Slot<'s>, Slot<'s>),
    Member(v8::Local<'s, v8::Set>, Slot<'s>),
}

impl<'s> Fill<'s> {
    fn apply(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        objects: &[v8::Local<'s, v8::Object>],
    ) -> Result<(), Throw> {
        let object = |index: usize| objects.get(index).copied().ok_or(Malformed);
        let done = match self {
            Self::Property(target, name, slot) => {
                let value = slot.resolve(objects)?;
                object(target)?.create_data_property(scope, name, value)
            }
            Self::Hidden(target, name, slot) => {
                let value = slot.resolve(objects)?;
                let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
                let attributes = v8::PropertyAttribute::DONT_ENUM;
                object(target)?.define_own_property(scope, name.into(), value, attributes)
            }
            Self::Element(target, index, slot) => {
                let value = slot.resolve(objects)?;
                let name = v8::Integer::new_from_unsigned(scope, index);
                let name = name.to_string(scope).ok_or(Throw::Pending)?;
                object(target)?.create_data_property(scope, name.into(), value)
            }
            Self::Entry(map, key, value) => {
                let (key, value) = (key.resolve(objects)?, value.resolve(objects)?);
                map.set(scope, key, value).map(|_| true)
            }
            Self::Member(set, member) => {
                let member = member.resolve(objects)?;
                set.add(scope, member).map(|_| true)
            }
        };
        done.map(drop).ok_or(Throw::Pending)
    }
}

fn read_value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cursor: &mut Cursor<'_>,
) -> Result<Slot<'s>, Throw> {
    Ok(Slot::Is(match cursor.u8()? {
        tag::UNDEFINED | tag::ABSENT => v8::undefined(scope).into(),
        tag::NULL => v8::null(scope).into(),
        tag::FALSE => v8::Boolean::new(scope, false).into(),
        tag::TRUE => v8::Boolean::new(scope, true).into(),
        tag::NUMBER => v8::Number::new(scope, cursor.f64()?).into(),
        tag::LATIN1 => {
            v8::String::new_from_one_byte(scope, cursor.bytes()?, v8::NewStringType::Normal)
                .ok_or(Throw::Pending)?
                .into()
        }
        tag::UTF16 => {
            v8::String::new_from_two_byte(scope, &cursor.units()?, v8::NewStringType::Normal)
                .ok_or(Throw::Pending)?
                .into()
        }
        tag::BIGINT => {
            let is_negative = cursor.u8()? == 1;
            let count = cursor.count(size_of::<u64>())?;
            let words: Vec<u64> = cursor
                .take(count * size_of::<u64>())?
                .chunks_exact(size_of::<u64>())
                .filter_map(|word| word.try_into().ok().map(u64::from_le_bytes))
                .collect();
            v8::BigInt::new_from_words(scope, is_negative, &words)
                .ok_or(Throw::Pending)?
                .into()
        }
        tag::OBJECT => return Ok(Slot::Object(cursor.u32()?)),
        _ => return Err(Malformed.into()),
    }))
}

fn read_text(cursor: &mut Cursor<'_>) -> Result<String, Throw> {
    Ok(match cursor.u8()? {
        tag::LATIN1 => cursor
            .bytes()?
            .iter()
            .map(|byte| char::from(*byte))
            .collect(),
        tag::UTF16 => String::from_utf16_lossy(&cursor.units()?),
        _ => return Err(Malformed.into()),
    })
}

fn read_properties<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cursor: &mut Cursor<'_>,
    fills: &mut Vec<Fill<'s>>,
    index: usize,
) -> Result<(), Throw> {
    for _ in 0..cursor.count(2)? {
        let Slot::Is(name) = read_value(scope, cursor)? else {
            return Err(Malformed.into());
        };
        let name = v8::Local::<v8::Name>::try_from(name).map_err(|_| Malformed)?;
        fills.push(Fill::Property(index, name, read_value(scope, cursor)?));
    }
    Ok(())
}

/// Makes the next object, number `index`.
fn read_body<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cursor: &mut Cursor<'_>,
    fills: &mut Vec<Fill<'s>>,
    index: usize,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    Ok(match cursor.u8()? {
        body::PLAIN => {
            let object = v8::Object::new(scope);
            read_properties(scope, cursor, fills, index)?;
            object
        }
        body::NULL_PROTOTYPE => {
            let null = v8::null(scope).into();
            let object = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
            read_properties(scope, cursor, fills, index)?;
            object
        }
        body::ARRAY => {
            let length = i32::try_from(cursor.u32()?).map_err(|_| Malformed)?;
            let count = cursor.count(5)?;
            let array = v8::Array::new(scope, if length as usize == count { length } else { 0 });
            for _ in 0..count {
                let at = cursor.u32()?;
                fills.push(Fill::Element(index, at, read_value(scope, cursor)?));
            }
            read_properties(scope, cursor, fills, index)?;
            array.into()
        }
        body::MAP => {
            let map = v8::Map::new(scope);
            for _ in 0..cursor.count(2)? {
                let key = read_value(scope, cursor)?;
                fills.push(Fill::Entry(map, key, read_value(scope, cursor)?));
            }
            map.into()
        }
        body::SET => {
            let set = v8::Set::new(scope);
            for _ in 0..cursor.count(1)? {
                fills.push(Fill::Member(set, read_value(scope, cursor)?));
            }
            set.into()
        }
        body::DATE => v8::Date::new(scope, cursor.f64()?)
            .ok_or(Throw::Pending)?
            .into(),
        body::REGEXP => read_regexp(scope, cursor)?,
        body::ARRAY_BUFFER => crate::array_buffer::array_buffer_of(scope, cursor.bytes()?)?.into(),
        body::VIEW => {
            let kind = cursor.u8()?;
            let buffer = crate::array_buffer::array_buffer_of(scope, cursor.bytes()?)?;
            view(scope, kind, buffer)?
        }
        body::ERROR => read_error(scope, cursor, fills, index)?,
        body::BOXED => {
            let Slot::Is(primitive) = read_value(scope, cursor)? else {
                return Err(Malformed.into());
            };
            primitive.to_object(scope).ok_or(Throw::Pending)?
        }
        _ => return Err(Malformed.into()),
    })
}

fn read_regexp<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cursor: &mut Cursor<'_>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let Slot::Is(source) = read_value(scope, cursor)? else {
        return Err(Malformed.into());
    };
    let source = v8::Local::<v8::String>::try_from(source).map_err(|_| Malformed)?;
    let mut flags = v8::RegExpCreationFlags::empty();
    for flag in read_text(cursor)?.chars() {
        flags |= match flag {
            'd' => v8::RegExpCreationFlags::HAS_INDICES,
            'g' => v8::RegExpCreationFlags::GLOBAL,
            'i' => v8::RegExpCreationFlags::IGNORE_CASE,
            'm' => v8::RegExpCreationFlags::MULTILINE,
            's' => v8::RegExpCreationFlags::DOT_ALL,
            'u' => v8::RegExpCreationFlags::UNICODE,
            'v' => v8::RegExpCreationFlags::UNICODE_SETS,
            'y' => v8::RegExpCreationFlags::STICKY,
            _ => return Err(Malformed.into()),
        };
    }
    let last_index = cursor.f64()?;
    let regexp: v8::Local<v8::Object> = v8::RegExp::new(scope, source, flags)
        .ok_or(Throw::Pending)?
        .into();
    if last_index != 0.0 {
        let name = v8::String::new(scope, "lastIndex").ok_or(Throw::Pending)?;
        let last_index = v8::Number::new(scope, last_index).into();
        // An own data property of every regular expression.
        regexp.set(scope, name.into(), last_index);
    }
    Ok(regexp)
}

fn read_error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cursor: &mut Cursor<'_>,
    fills: &mut Vec<Fill<'s>>,
    index: usize,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let name = read_text(cursor)?;
    let message = read_text(cursor)?;
    let _stack = read_text(cursor)?;
    let error = new_error(scope, &name, &message).ok_or(Throw::Pending)?;
    for name in ["cause", "errors"] {
        let slot = read_value(scope, cursor)?;
        let is_absent = matches!(slot, Slot::Is(value) if value.is_undefined());
        if !is_absent {
            fills.push(Fill::Hidden(index, name, slot));
        }
    }
    read_properties(scope, cursor, fills, index)?;
    Ok(error)
}

/// A new error of the nearest class of the guest's, with its name. `None` when an exception is pending instead.
pub fn new_error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    message: &str,
) -> Option<v8::Local<'s, v8::Object>> {
    let class = match name {
        "TypeError" => ErrorClass::Type,
        "RangeError" => ErrorClass::Range,
        "SyntaxError" => ErrorClass::Syntax,
        _ => ErrorClass::Error,
    };
    let error = Throw::Plain(class, message.to_owned()).into_value(scope)?;
    let error = v8::Local::<v8::Object>::try_from(error).ok()?;
    if class == ErrorClass::Error && !name.is_empty() && name != "Error" {
        let key = v8::String::new(scope, "name")?.into();
        let name = v8::String::new(scope, name)?.into();
        error.define_own_property(scope, key, name, v8::PropertyAttribute::DONT_ENUM)?;
    }
    Some(error)
}

/// A view of kind `kind` over all of `buffer`.
fn view<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    kind: u8,
    buffer: v8::Local<'s, v8::ArrayBuffer>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let bytes = buffer.byte_length();
    macro_rules! typed {
        ($class:ident, $size:literal) => {
            v8::$class::new(scope, buffer, 0, bytes / $size)
                .ok_or(Throw::Pending)?
                .into()
        };
    }
    Ok(match kind {
        0 => v8::DataView::new(scope, buffer, 0, bytes).into(),
        1 => typed!(Int8Array, 1),
        body::UINT8_ARRAY => typed!(Uint8Array, 1),
        3 => typed!(Uint8ClampedArray, 1),
        4 => typed!(Int16Array, 2),
        5 => typed!(Uint16Array, 2),
        6 => typed!(Int32Array, 4),
        7 => typed!(Uint32Array, 4),
        8 => typed!(Float32Array, 4),
        9 => typed!(Float64Array, 8),
        10 => typed!(BigInt64Array, 8),
        11 => typed!(BigUint64Array, 8),
        // The guest's V8 has no view for what is left (`Float16Array`): it sees the bytes.
        12 => typed!(Uint8Array, 1),
        _ => return Err(Malformed.into()),
    })
}
