//! TLS connections and X.509 certificates with the names, texts and verdicts of Node's OpenSSL. No V8 and no sockets: bytes
//! go in and come out.
//!
//! ```text
//!   Context (certificates, key, trust, versions) --> Session --rustls--> bytes
//!   Certificate --> chain::verify --> OpenSSL's verdict       ciphers, groups: OpenSSL's names
//! ```

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

pub mod alt_name;
pub mod certificate;
pub mod chain;
pub mod cipher;
pub mod context;
pub mod der;
pub mod error;
pub mod host;
pub mod name;
pub mod pem;
pub mod revocation;
pub mod root;
pub mod session;
pub mod session_store;
mod signature;
mod ticket;
mod verifier;

/// Where the time comes from.
pub mod clock {
    pub use rustls::pki_types::UnixTime;
    pub use rustls::time_provider::TimeProvider;
}

pub use certificate::Certificate;
pub use context::Context;
pub use error::TlsError;
pub use session::Session;
