//! What a parser tells its caller.

use crate::error::Failure;

/// What a parser expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests, as a server does.
    Request,
    /// Responses, as a client does.
    Response,
}

/// A run of text inside a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The URL of a request.
    Url,
    /// The reason phrase of a response.
    Status,
    /// The name of a header or a trailer.
    HeaderField,
    /// The value of a header or a trailer.
    HeaderValue,
    /// The name of a chunk's extension.
    ChunkExtensionName,
    /// The value of a chunk's extension.
    ChunkExtensionValue,
    /// The body.
    Body,
}

/// The next thing in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'d> {
    /// A message starts.
    MessageBegin,
    /// Some text, or a piece of it. It may be empty.
    Text(Text, &'d [u8]),
    /// All headers were read. The caller must [`crate::Parser::reply`].
    HeadersComplete,
    /// The size of a chunk was read.
    ChunkHeader,
    /// A chunk, or the trailers, were read.
    ChunkComplete,
    /// The message is complete.
    MessageComplete,
    /// All input was read.
    End,
    /// The parser stopped, and answers the same to further input.
    Stopped(Failure),
}

/// Rules that a parser does not insist on, one bit each, numbered as Node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lenient(pub u16);

impl Lenient {
    /// Any character in a header's value, spaces before the colon, folded lines.
    pub const HEADERS: Self = Self(1);
    /// `Content-Length` together with `Transfer-Encoding`.
    pub const CHUNKED_LENGTH: Self = Self(1 << 1);
    /// A new message although the last one closed the connection.
    pub const KEEP_ALIVE: Self = Self(1 << 2);
    /// Another encoding after `chunked` in a request.
    pub const TRANSFER_ENCODING: Self = Self(1 << 3);
    /// Any version.
    pub const VERSION: Self = Self(1 << 4);
    /// Data after the last message is dropped.
    pub const DATA_AFTER_CLOSE: Self = Self(1 << 5);
    /// CR without LF.
    pub const OPTIONAL_LF_AFTER_CR: Self = Self(1 << 6);
    /// No CRLF after a chunk.
    pub const OPTIONAL_CRLF_AFTER_CHUNK: Self = Self(1 << 7);
    /// LF without CR.
    pub const OPTIONAL_CR_BEFORE_LF: Self = Self(1 << 8);
    /// Spaces after a chunk's size.
    pub const SPACES_AFTER_CHUNK_SIZE: Self = Self(1 << 9);

    /// Whether all of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}
