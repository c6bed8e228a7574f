//! Data of Rust in the encoding of values: questions to the host's JavaScript and its answers.

use std::collections::VecDeque;

use crate::encoding::{Cursor, Malformed, body, tag};
use crate::marshal::HostValue;

/// Deepest nesting of an answer.
const MAX_DEPTH: u32 = 64;

/// A tree of data.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    /// `undefined` or `null`.
    Nothing,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string; lone surrogates are replaced.
    Text(String),
    /// A `Uint8Array`.
    Bytes(Vec<u8>),
    /// An array.
    List(Vec<Plain>),
    /// An object of data properties.
    Record(Vec<(String, Plain)>),
}

impl From<&str> for Plain {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Plain {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Plain {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Plain {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<T: Into<Plain>> From<Option<T>> for Plain {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

impl Plain {
    /// A record of these properties.
    pub fn record<const N: usize>(properties: [(&str, Plain); N]) -> Self {
        Self::Record(
            properties
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// A property of a record.
    pub fn get(&self, name: &str) -> Option<&Plain> {
        match self {
            Self::Record(properties) => properties
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The truth value that it is.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number that it is.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// The string that it is.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The elements of the array that it is.
    pub fn as_list(&self) -> Option<&[Plain]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Writes it down.
    pub fn encode(&self) -> HostValue {
        let mut out = Vec::new();
        let mut objects = VecDeque::new();
        let mut count = 0;
        write_value(&mut out, self, &mut objects, &mut count);
        while let Some(object) = objects.pop_front() {
            match object {
                Self::Bytes(bytes) => {
                    out.extend([body::VIEW, body::UINT8_ARRAY]);
                    write_u32(&mut out, bytes.len());
                    out.extend_from_slice(bytes);
                }
                Self::List(items) => {
                    out.push(body::ARRAY);
                    write_u32(&mut out, items.len());
                    write_u32(&mut out, items.len());
                    for (index, item) in items.iter().enumerate() {
                        write_u32(&mut out, index);
                        write_value(&mut out, item, &mut objects, &mut count);
                    }
                    write_u32(&mut out, 0);
                }
                Self::Record(properties) => {
                    out.push(body::PLAIN);
                    write_u32(&mut out, properties.len());
                    for (name, value) in properties {
                        write_text(&mut out, name);
                        write_value(&mut out, value, &mut objects, &mut count);
                    }
                }
                Self::Nothing | Self::Bool(_) | Self::Number(_) | Self::Text(_) => {}
            }
        }
        HostValue::from_bytes(out)
    }

    /// Reads what the host wrote down.
    ///
    /// # Errors
    /// [`Malformed`] when it is no tree of the kinds above.
    pub fn decode(value: &HostValue) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(value.as_bytes());
        let root = Slot::read(&mut cursor)?;
        let mut bodies = Vec::new();
        while !cursor.is_done() {
            bodies.push(Body::read(&mut cursor)?);
        }
        let mut bodies: Vec<Option<Body>> = bodies.into_iter().map(Some).collect();
        root.resolve(&mut bodies, 0)
    }
}

fn write_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.is_ascii() {
        out.push(tag::LATIN1);
        write_u32(out, text.len());
        out.extend_from_slice(text.as_bytes());
    } else {
        out.push(tag::UTF16);
        write_u32(out, text.encode_utf16().count());
        out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    }
}

fn write_value<'v>(
    out: &mut Vec<u8>,
    value: &'v Plain,
    objects: &mut VecDeque<&'v Plain>,
    count: &mut usize,
) {
    match value {
        Plain::Nothing => out.push(tag::UNDEFINED),
        Plain::Bool(value) => out.push(if *value { tag::TRUE } else { tag::FALSE }),
        Plain::Number(number) => {
            out.push(tag::NUMBER);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Plain::Text(text) => write_text(out, text),
        Plain::Bytes(_) | Plain::List(_) | Plain::Record(_) => {
            out.push(tag::OBJECT);
            write_u32(out, *count);
            *count += 1;
            objects.push_back(value);
        }
    }
}

/// A value whose objects have not been read.
enum Slot {
    Is(Plain),
    Object(u32),
}

impl Slot {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        Ok(Self::Is(match cursor.u8()? {
            tag::UNDEFINED | tag::NULL | tag::ABSENT => Plain::Nothing,
            tag::FALSE => Plain::Bool(false),
            tag::TRUE => Plain::Bool(true),
            tag::NUMBER => Plain::Number(cursor.f64()?),
            tag::LATIN1 => {
                let text = cursor.bytes()?.iter().map(|byte| char::from(*byte));
                Plain::Text(text.collect())
            }
            tag::UTF16 => Plain::Text(String::from_utf16_lossy(&cursor.units()?)),
            tag::OBJECT => return Ok(Self::Object(cursor.u32()?)),
            _ => return Err(Malformed),
        }))
    }

    /// Each object is taken once: what is shared or refers to itself is no tree.
    fn resolve(self, bodies: &mut [Option<Body>], depth: u32) -> Result<Plain, Malformed> {
        let number = match self {
            Self::Is(value) => return Ok(value),
            Self::Object(number) => number as usize,
        };
        if depth >= MAX_DEPTH {
            return Err(Malformed);
        }
        let body = bodies.get_mut(number).and_then(Option::take);
        Ok(match body.ok_or(Malformed)? {
            Body::Bytes(bytes) => Plain::Bytes(bytes),
            Body::List(slots) => Plain::List(
                slots
                    .into_iter()
                    .map(|slot| slot.resolve(bodies, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Body::Record(slots) => Plain::Record(
                slots
                    .into_iter()
                    .map(|(name, slot)| Ok((name, slot.resolve(bodies, depth + 1)?)))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }
}

enum Body {
    Bytes(Vec<u8>),
    List(Vec<Slot>),
    Record(Vec<(String, Slot)>),
}

impl Body {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        Ok(match cursor.u8()? {
            body::PLAIN | body::NULL_PROTOTYPE => Self::Record(properties(cursor)?),
            body::ARRAY => {
                let length = cursor.u32()?;
                let count = cursor.count(5)?;
                let mut slots = Vec::with_capacity(count);
                for index in 0..count {
                    // No holes, nothing beyond the end.
                    if cursor.u32()? as usize != index {
                        return Err(Malformed);
                    }
                    slots.push(Slot::read(cursor)?);
                }
                if length as usize != count || !properties(cursor)?.is_empty() {
                    return Err(Malformed);
                }
                Self::List(slots)
            }
            body::VIEW => {
                let _kind = cursor.u8()?;
                Self::Bytes(cursor.bytes()?.to_vec())
            }
            body::ARRAY_BUFFER => Self::Bytes(cursor.bytes()?.to_vec()),
            _ => return Err(Malformed),
        })
    }
}

fn properties(cursor: &mut Cursor<'_>) -> Result<Vec<(String, Slot)>, Malformed> {
    let count = cursor.count(2)?;
    let mut slots = Vec::with_capacity(count);
    for _ in 0..count {
        let Slot::Is(Plain::Text(name)) = Slot::read(cursor)? else {
            return Err(Malformed);
        };
        slots.push((name, Slot::read(cursor)?));
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_survives() {
        let tree = Plain::record([
            ("op", "read".into()),
            ("path", "/ä/\u{1F600}".into()),
            ("port", 443_u32.into()),
            ("allow", true.into()),
            ("nothing", Plain::Nothing),
            (
                "list",
                Plain::List(vec![Plain::Bytes(vec![0, 255]), Plain::List(Vec::new())]),
            ),
        ]);
        assert_eq!(Plain::decode(&tree.encode()), Ok(tree));
    }

    #[test]
    fn garbage_is_refused() {
        let tree = Plain::List(vec!["x".into(), Plain::record([("a", 1_u32.into())])]);
        let bytes = tree.encode().into_bytes();
        for end in 0..bytes.len() {
            let cut = HostValue::from_bytes(bytes.get(..end).unwrap_or_default().to_vec());
            assert_eq!(Plain::decode(&cut), Err(Malformed), "{end}");
        }
        // An array of four billion elements, an object inside itself, one that does not exist.
        let object = |number: u8| vec![tag::OBJECT, number, 0, 0, 0];
        let many = [object(0), vec![body::ARRAY], vec![0xff; 8]].concat();
        let own = [
            object(0),
            vec![body::ARRAY, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            object(0),
            vec![0; 4],
        ];
        for bytes in [many, own.concat(), object(7)] {
            assert_eq!(Plain::decode(&HostValue::from_bytes(bytes)), Err(Malformed));
        }
    }
}
