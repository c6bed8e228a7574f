//! An HTTP/1 parser for bytes that arrive piece by piece. It accepts, refuses and reports what llhttp 9.4 does, the
//! parser of Node 22: where two parsers disagree about a message, requests can be smuggled past one of them.
//!
//! ```text
//! bytes --> Parser::next() --> Event, Event, ... , Event::End
//!              ^                  |
//!              +-- reply, pause, fail (what the caller makes of an event)
//! ```
//!
//! The caller asks for events one at a time, so nothing of the parser is borrowed while it acts on one. Text that spans
//! two pieces of input comes as two events. The parser holds no input and does not grow.
//!
//! Source: `src/llhttp/http.ts`, `src/llhttp/url.ts`, `src/native/http.c` and `src/native/api.c` of llhttp.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented
)]

mod chars;
mod error;
mod event;
mod method;
mod parser;
mod word;

pub use error::{Code, Failure};
pub use event::{Event, Kind, Lenient, Text};
pub use method::{ALL_METHODS, HTTP_METHODS};
pub use parser::Parser;
