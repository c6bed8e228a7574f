//! The sources of Node's JavaScript library, as static strings outside every V8 heap.
//!
//! A crate of its own, because the compiler checks 8 MB of text for ASCII and that should happen once.

#![allow(
    long_running_const_eval,
    reason = "V8 wants it proven at compile time that a source is ASCII"
)]

/// One builtin module.
pub struct Source {
    /// Its id, for example `internal/bootstrap/node`.
    pub id: &'static str,
    /// Its text.
    pub text: Text,
}

/// A source text.
pub enum Text {
    /// ASCII: V8 reads it in place, and a snapshot refers to it by its index in the external references.
    OneByte(&'static v8::OneByteConst),
    /// Anything else: copied onto the heap when it is compiled.
    Utf8(&'static str),
}

include!(concat!(env!("OUT_DIR"), "/node_lib.rs"));

/// The builtin module `id`.
pub fn source(id: &str) -> Option<&'static Source> {
    SOURCES
        .binary_search_by(|source| source.id.cmp(id))
        .ok()
        .and_then(|index| SOURCES.get(index))
}

/// The external strings, in a fixed order, for the snapshot's table of external references.
pub fn external_references() -> impl Iterator<Item = v8::ExternalReference> {
    SOURCES.iter().filter_map(|source| match source.text {
        Text::OneByte(text) => Some(v8::ExternalReference {
            pointer: std::ptr::from_ref(text).cast_mut().cast(),
        }),
        Text::Utf8(_) => None,
    })
}

impl Source {
    /// The text as a V8 string.
    pub fn to_v8<'s>(&self, scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::String>> {
        match self.text {
            Text::OneByte(text) => v8::String::new_from_onebyte_const(scope, text),
            Text::Utf8(text) => v8::String::new(scope, text),
        }
    }
}
