//! Header fields from JavaScript: one string, `name\0value\0flags` for each, and their number.

use super::invalid;
use super::nghttp2::HeaderBlock;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// What one list may hold, far beyond what any peer takes.
const MAX_BYTES: usize = 16 << 20;

/// The fields in `[string, count]`.
pub fn from_value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<HeaderBlock, Throw> {
    let list = v8::Local::<v8::Array>::try_from(value).map_err(|_| invalid("headers"))?;
    let string = list.get_index(scope, 0).ok_or(Throw::Pending)?;
    let count = list.get_index(scope, 1).ok_or(Throw::Pending)?;
    let string = v8::Local::<v8::String>::try_from(string).map_err(|_| invalid("headers"))?;
    let count = count.uint32_value(scope).ok_or(Throw::Pending)? as usize;
    if string.length() > MAX_BYTES {
        return Err(invalid("headers"));
    }
    let text = text::encode(scope, string, Encoding::Latin1);
    Ok(parse(&text, count))
}

/// Splits the string. Where it does not have `count` fields, a name or a value has a zero inside: the answer is a list
/// that nghttp2 refuses.
fn parse(text: &[u8], count: usize) -> HeaderBlock {
    let mut block = HeaderBlock {
        bytes: Vec::with_capacity(text.len()),
        fields: Vec::new(),
    };
    let mut rest = text;
    while !rest.is_empty() {
        let field = split_at_zero(rest).and_then(|(name, rest)| {
            let (value, rest) = split_at_zero(rest)?;
            let (flags, rest) = rest.split_first()?;
            Some((name, value, *flags, rest))
        });
        let Some((name, value, flags, after)) = field.filter(|_| block.fields.len() < count) else {
            return HeaderBlock {
                bytes: vec![0, 0],
                fields: vec![(1, 1, 0)],
            };
        };
        block.bytes.extend_from_slice(name);
        block.bytes.extend_from_slice(value);
        block.fields.push((name.len(), value.len(), flags));
        rest = after;
    }
    block
}

fn split_at_zero(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(0, text)?;
    let (head, tail) = text.split_at_checked(at)?;
    Some((head, tail.split_first()?.1))
}
