//! `internalBinding('string_decoder')`. Source: `src/string_decoder.cc`.
//!
//! A decoder's state is a small buffer of the guest's: up to four bytes of an unfinished character, how many bytes it
//! misses, how many are held, and the encoding. The guest can write anything into it.

use crate::array_buffer::{Contents, writable};
use crate::binding::{Args, Binding, Ret, function};
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "string_decoder",
    functions: &[("decode", function!(decode)), ("flush", function!(flush))],
    ..Binding::DEFAULT
};

const SIZE: usize = 7;
const MISSING: usize = 4;
const ENCODING: usize = 6;

/// The state, outside of the guest's reach.
struct State {
    /// The unfinished character: `bytes[..held]`.
    bytes: [u8; MISSING],
    held: usize,
    missing: usize,
    encoding: Encoding,
}

impl State {
    fn read(scope: &v8::PinScope<'_, '_>, view: v8::Local<v8::ArrayBufferView>) -> Option<Self> {
        let mut contents = Contents::default();
        let [first, second, third, fourth, missing, held, encoding] =
            *contents.of(scope, view).first_chunk::<SIZE>()?;
        let (held, missing) = (usize::from(held), usize::from(missing));
        if held + missing > MISSING {
            return None;
        }
        let encoding = Encoding::from_number(u32::from(encoding))?;
        Some(Self {
            bytes: [first, second, third, fourth],
            held,
            missing,
            encoding,
        })
    }

    fn store(&self, scope: &v8::PinScope<'_, '_>, view: v8::Local<v8::ArrayBufferView>) {
        let byte = |count: usize| u8::try_from(count).unwrap_or_default();
        if let Some(state) = writable(scope, view).get_mut(..ENCODING) {
            let (bytes, counts) = state.split_at_mut(MISSING);
            bytes.copy_from_slice(&self.bytes);
            counts.copy_from_slice(&[byte(self.missing), byte(self.held)]);
        }
    }

    fn held_bytes(&self) -> &[u8] {
        self.bytes.get(..self.held).unwrap_or_default()
    }

    fn hold(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.held) {
                *place = *byte;
                self.held += 1;
            }
        }
    }

    /// Finishes the held character with the start of `data`; answers the rest and, when it is complete, its bytes.
    fn finish<'a>(&mut self, mut data: &'a [u8]) -> (&'a [u8], Option<Vec<u8>>) {
        if self.encoding == Encoding::Utf8 {
            let continuations = data
                .iter()
                .take(self.missing)
                .take_while(|byte| **byte & 0xc0 == 0x80)
                .count();
            if continuations < self.missing.min(data.len()) {
                // The next byte starts another character: this one stays broken.
                self.missing = continuations;
            }
        }
        let found = self.missing.min(data.len());
        let (taken, rest) = data.split_at(found);
        self.hold(taken);
        self.missing -= found;
        data = rest;
        if self.missing > 0 {
            return (data, None);
        }
        let complete = self.held_bytes().to_vec();
        self.held = 0;
        (data, Some(complete))
    }

    /// Cuts an unfinished character off the end of `data` and holds it.
    fn cut<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let (held, missing) = match self.encoding {
            Encoding::Utf8 => unfinished_utf8(data),
            Encoding::Ucs2 if data.len() % 2 == 1 => (1, 1),
            Encoding::Ucs2 if data.last().is_some_and(|byte| byte & 0xfc == 0xd8) => (2, 2),
            Encoding::Base64 | Encoding::Base64Url if !data.len().is_multiple_of(3) => {
                (data.len() % 3, 3 - data.len() % 3)
            }
            _ => (0, 0),
        };
        let (whole, cut) = data.split_at(data.len().saturating_sub(held));
        self.held = 0;
        self.missing = missing;
        self.hold(cut);
        whole
    }
}

/// How many bytes at the end start a character that is not complete, and how many it still needs.
fn unfinished_utf8(data: &[u8]) -> (usize, usize) {
    for (index, byte) in data.iter().rev().take(4).enumerate() {
        let held = index + 1;
        let length = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => return (0, 0),
        };
        return if held >= length {
            (0, 0)
        } else {
            (held, length - held)
        };
    }
    (0, 0)
}

fn state_of<'s>(
    scope: &v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(v8::Local<'s, v8::ArrayBufferView>, State), Throw> {
    let invalid =
        || Throw::type_error("ERR_INVALID_ARG_TYPE", "argument must be a decoder's state");
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0)).map_err(|_| invalid())?;
    let state = State::read(scope, view).ok_or_else(invalid)?;
    Ok((view, state))
}

fn decode<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (state_view, mut state) = state_of(scope, args)?;
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(1)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"buf\" argument must be an instance of Buffer, TypedArray, or DataView.",
        )
    })?;
    let mut contents = Contents::default();
    let data = contents.of(scope, view);
    if !matches!(
        state.encoding,
        Encoding::Utf8 | Encoding::Ucs2 | Encoding::Base64 | Encoding::Base64Url
    ) {
        return text::decode(scope, data, state.encoding);
    }
    let (data, finished) = if state.missing > 0 {
        state.finish(data)
    } else {
        (data, None)
    };
    // The lead half of a surrogate pair waits for its other half, and so does what it was finished into.
    let whole = if data.is_empty() {
        data
    } else {
        state.cut(data)
    };
    let body = text::decode(scope, whole, state.encoding);
    let result = match finished {
        None => body,
        Some(bytes) => text::decode(scope, &bytes, state.encoding).and_then(|first| {
            let (first, body) = (first.cast::<v8::String>(), body?.cast::<v8::String>());
            v8::String::concat(scope, first, body)
                .map(Into::into)
                .ok_or_else(text::too_long)
        }),
    };
    state.store(scope, state_view);
    result
}

fn flush<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (view, mut state) = state_of(scope, args)?;
    if state.encoding == Encoding::Ucs2 && state.held % 2 == 1 {
        state.held -= 1;
    }
    let result = text::decode(scope, state.held_bytes(), state.encoding);
    state.held = 0;
    state.missing = 0;
    state.store(scope, view);
    result
}
