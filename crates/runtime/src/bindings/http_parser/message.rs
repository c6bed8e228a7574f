//! The headers of a message, as far as they were read.

use crate::text;

/// Headers that are handed over at once, at most.
const MAX_PAIRS: usize = 32;

/// Names and values in turn, one after another in one text.
#[derive(Default)]
pub struct Headers {
    text: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<usize>,
}

impl Headers {
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Memory that it holds.
    pub fn bytes(&self) -> usize {
        self.text.capacity()
    }

    /// What follows belongs to a name. Answers `true`, and does nothing, when the headers so far must be handed over.
    pub fn begin_name(&mut self) -> bool {
        if !self.ends.len().is_multiple_of(2) {
            return false;
        }
        if self.ends.len() == 2 * (MAX_PAIRS - 1) {
            return true;
        }
        self.ends.push(self.text.len());
        false
    }

    /// What follows belongs to a value.
    pub fn begin_value(&mut self) {
        if !self.ends.len().is_multiple_of(2) {
            self.ends.push(self.text.len());
        }
    }

    /// Goes on with the name or the value that was begun last.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        if let Some(end) = self.ends.last_mut() {
            *end = self.text.len();
        }
    }

    /// `[name, value, ...]`, without the white space after values; `None` when an exception is pending.
    pub fn to_array<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let mut strings = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        let whole_pairs = self.ends.len() / 2 * 2;
        for (index, end) in self.ends.iter().take(whole_pairs).enumerate() {
            let mut bytes = self.text.get(start..*end).unwrap_or_default();
            start = *end;
            while index % 2 == 1
                && let Some((b' ' | b'\t', rest)) = bytes.split_last()
            {
                bytes = rest;
            }
            match text::one_byte(scope, bytes) {
                Ok(string) => strings.push(string),
                Err(throw) => {
                    throw.throw(scope);
                    return None;
                }
            }
        }
        Some(v8::Array::new_with_elements(scope, &strings).into())
    }
}
