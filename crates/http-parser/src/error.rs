//! Why input was refused, with llhttp's codes and texts.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The kind of a [`Failure`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Its name as Node gives it in `error.code`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("HPE_", $text),)*
                }
            }
        }
    };
}

codes! {
    /// A rule that only lenient parsers relax.
    Strict = "STRICT",
    /// A line ended without CR.
    CrExpected = "CR_EXPECTED",
    /// A CR without its LF.
    LfExpected = "LF_EXPECTED",
    /// A second `Content-Length`.
    UnexpectedContentLength = "UNEXPECTED_CONTENT_LENGTH",
    /// A space where a header's name was to start.
    UnexpectedSpace = "UNEXPECTED_SPACE",
    /// Data after the last message of a connection.
    ClosedConnection = "CLOSED_CONNECTION",
    /// No method that is known.
    InvalidMethod = "INVALID_METHOD",
    /// No URL.
    InvalidUrl = "INVALID_URL",
    /// Another word than the protocol's name.
    InvalidConstant = "INVALID_CONSTANT",
    /// A version that is not HTTP/0.9, 1.0, 1.1 or 2.0.
    InvalidVersion = "INVALID_VERSION",
    /// A header with a character that may not be there.
    InvalidHeaderToken = "INVALID_HEADER_TOKEN",
    /// A `Content-Length` that is no number, or too large.
    InvalidContentLength = "INVALID_CONTENT_LENGTH",
    /// A chunk's size that is no number, or too large.
    InvalidChunkSize = "INVALID_CHUNK_SIZE",
    /// A status code that is not three digits.
    InvalidStatus = "INVALID_STATUS",
    /// The connection ended inside a message.
    InvalidEofState = "INVALID_EOF_STATE",
    /// A `Transfer-Encoding` that leaves the body's length open.
    InvalidTransferEncoding = "INVALID_TRANSFER_ENCODING",
    /// The caller refused [`crate::Event::HeadersComplete`].
    CbHeadersComplete = "CB_HEADERS_COMPLETE",
    /// The caller refused [`crate::Event::MessageComplete`].
    CbMessageComplete = "CB_MESSAGE_COMPLETE",
    /// The caller paused the parser.
    Paused = "PAUSED",
    /// The rest of the input is of another protocol.
    PausedUpgrade = "PAUSED_UPGRADE",
    /// The input is HTTP/2.
    PausedH2Upgrade = "PAUSED_H2_UPGRADE",
    /// The caller refused more than [`Code`] can say.
    User = "USER",
}

/// Why a parser stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// What was wrong, in words.
    pub reason: &'static str,
    /// How much of the input was read.
    pub position: usize,
}
