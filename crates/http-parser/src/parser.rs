//! The state machine. Its states are named after llhttp's, so that the two can be compared.

use crate::chars::{ALPHA, FIELD, LIST_ITEM, QDTEXT, TOKEN, URL, USERINFO, is};
use crate::error::{Code, Failure};
use crate::event::{Event, Kind, Lenient, Text};
use crate::method::{ALL_METHODS, CONNECT, PRI, PROTOCOLS, Protocol};
use crate::word::{Found, Word};

mod body;
mod headers;
mod line;

/// Headers that the parser itself understands, and what their values mean to it.
const SPECIAL_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];
/// Words of `Connection` that the parser itself understands.
const CONNECTION_OPTIONS: &[&str] = &["close", "upgrade", "keep-alive"];
const CHUNKED: &[&str] = &["chunked"];
const DOUBLE_SLASH: &[&str] = &["//"];
const CRLF: &[&str] = &["\r\n"];
const HTTP2_PREFACE: &[&str] = &["\r\n\r\nSM\r\n\r\n"];

/// What is known of a message so far.
mod flag {
    pub const KEEP_ALIVE: u16 = 1;
    pub const CLOSE: u16 = 1 << 1;
    pub const CONNECTION_UPGRADE: u16 = 1 << 2;
    pub const CHUNKED: u16 = 1 << 3;
    pub const UPGRADE: u16 = 1 << 4;
    pub const CONTENT_LENGTH: u16 = 1 << 5;
    pub const SKIP_BODY: u16 = 1 << 6;
    pub const TRAILING: u16 = 1 << 7;
    pub const TRANSFER_ENCODING: u16 = 1 << 8;
}

/// What the current header means to the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    General,
    Connection,
    ContentLength,
    TransferEncoding,
    Upgrade,
    ConnectionKeepAlive,
    ConnectionClose,
    ConnectionUpgrade,
    TransferEncodingChunked,
}

/// What the end of the input would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    /// Nothing is open.
    Safe,
    /// It completes the message.
    CompletesMessage,
    /// A message would be cut off.
    Unsafe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    AfterStart,

    ResProtocol,
    ResSlash,
    ResMajor,
    ResDot,
    ResMinor,
    ResAfterVersion,
    ResStatusCode(u8),
    ResStatusCodeOtherwise,
    ResStatusStart,
    ResStatus,
    ResLineAlmostDone,
    ResLineLf,

    ReqMethod,
    ReqFirstSpaceBeforeUrl,
    ReqSpacesBeforeUrl,
    UrlEntry,
    UrlStart,
    UrlSchema,
    UrlSchemaDelimiter,
    UrlServer { with_at: bool },
    UrlPath,
    UrlQuery,
    UrlFragment,
    UrlSkipToHttp,
    UrlSkipCrlf,
    UrlSkipLf,
    UrlToHttp,
    UrlToHttp09,
    ReqHttpStart,
    ReqProtocol,
    ReqSlash,
    ReqMajor,
    ReqDot,
    ReqMinor,
    ReqHttpEnd,
    ReqHttpComplete,
    ReqHttpCompleteCrlf,
    ReqPriUpgrade,

    HeadersStart,
    HeaderFieldStart,
    HeaderField,
    HeaderFieldColon,
    HeaderFieldColonDiscardWs,
    HeaderFieldGeneral,
    HeaderFieldRefused,
    HeaderFieldComplete,
    HeaderValueDiscardWs,
    HeaderValueDiscardWsAlmostDone,
    HeaderValueDiscardLws,
    HeaderValueStart,
    HeaderValue,
    HeaderValueOtherwise,
    HeaderValueLenient,
    HeaderValueRefused,
    HeaderValueLfWithoutCr,
    HeaderValueAlmostDone,
    HeaderValueLws,
    TeRefused,
    TeChunked,
    TeChunkedLast,
    TeToken,
    TeTokenOws,
    ContentLength,
    ContentLengthWs,
    ContentLengthOverflow,
    ContentLengthRefused,
    Connection,
    ConnectionWs,
    ConnectionToken,
    HeadersAlmostDone,
    HeadersComplete,
    HeadersDone,

    ChunkSizeStart,
    ChunkSizeDigit,
    ChunkSize,
    ChunkSizeOtherwise,
    ChunkSizeAlmostDone,
    ChunkSizeAlmostDoneLf,
    ChunkExtensions,
    ChunkExtensionName,
    ChunkExtensionNameDone(AfterExtension),
    ChunkExtensionValue,
    ChunkExtensionValueDone(AfterExtension),
    ChunkExtensionQuotedValue,
    ChunkExtensionQuotedPair,
    ChunkExtensionQuotedValueDone,
    ChunkStart,
    ChunkData,
    ChunkDataAlmostDone,
    ChunkDataLf,
    ChunkComplete,

    BodyIdentity,
    BodyIdentityEof,

    MessageDone,
    UpgradePause,
    Cleanup,
    Closed,
    Restart,
}

/// What ended the name or the value of a chunk's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterExtension {
    Value,
    Next,
    Line,
    LfWithoutCr,
    Refused,
    PairRefused,
    QuotedRefused,
}

/// A parser of one direction of one connection. See the crate's text.
#[derive(Clone, Debug)]
pub struct Parser {
    kind: Kind,
    lenient: Lenient,
    state: State,
    word: Word,
    /// Where the text that is open began in this input.
    open: Option<(Text, usize)>,
    at: usize,
    failure: Option<Failure>,

    header: Header,
    flags: u16,
    finish: Finish,
    content_length: u64,
    method: u8,
    major: u8,
    minor: u8,
    status_code: u16,
    upgrade: bool,
}

/// What one step of the machine came to.
enum Step<'d> {
    /// Look again.
    Go,
    /// All input is read.
    NeedsInput,
    Event(Event<'d>),
    Fail(Code, &'static str),
}

impl Parser {
    /// A parser for messages of `kind`.
    pub fn new(kind: Kind, lenient: Lenient) -> Self {
        Self {
            kind,
            lenient,
            state: State::Start,
            word: Word::default(),
            open: None,
            at: 0,
            failure: None,
            header: Header::General,
            flags: 0,
            finish: Finish::Safe,
            content_length: 0,
            method: 0,
            major: 0,
            minor: 0,
            status_code: 0,
            upgrade: false,
        }
    }

    /// What it expects.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The request's method, as its place in [`ALL_METHODS`].
    pub fn method(&self) -> u8 {
        self.method
    }

    /// The message's version: major and minor.
    pub fn version(&self) -> (u8, u8) {
        (self.major, self.minor)
    }

    /// The response's status code.
    pub fn status_code(&self) -> u16 {
        self.status_code
    }

    /// Whether the connection goes on in another protocol after this message.
    pub fn is_upgrade(&self) -> bool {
        self.upgrade
    }

    /// How much of the input was read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether another message may follow this one.
    pub fn should_keep_alive(&self) -> bool {
        let persistent = if self.major > 0 && self.minor > 0 {
            self.flags & flag::CLOSE == 0
        } else {
            self.flags & flag::KEEP_ALIVE != 0
        };
        persistent && !self.needs_eof()
    }

    /// Whether only the end of the connection ends the body.
    fn needs_eof(&self) -> bool {
        if self.kind == Kind::Request
            || self.status_code / 100 == 1
            || matches!(self.status_code, 204 | 304)
            || self.flags & flag::SKIP_BODY != 0
        {
            return false;
        }
        if self.flags & flag::TRANSFER_ENCODING != 0 && self.flags & flag::CHUNKED == 0 {
            return true;
        }
        self.flags & (flag::CHUNKED | flag::CONTENT_LENGTH) == 0
    }

    /// Begins a new piece of input, of which [`Self::next`] then answers the events.
    ///
    /// # Errors
    /// The parser was stopped or paused before, and has read nothing of this input.
    pub fn begin(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failure {
            Err(Failure {
                position: 0,
                ..failure
            })
        } else {
            self.at = 0;
            if let Some((_, start)) = &mut self.open {
                *start = 0;
            }
            Ok(())
        }
    }

    /// The next event of `input`, which must be the same until [`Event::End`] or [`Event::Stopped`].
    pub fn next<'d>(&mut self, input: &'d [u8]) -> Event<'d> {
        loop {
            match self.step(input) {
                Step::Go => {}
                Step::Event(event) => return event,
                Step::Fail(code, reason) => return Event::Stopped(self.fail(code, reason)),
                Step::NeedsInput => {
                    // The rest of an open text; then there is nothing more to say.
                    if let Some((text, start)) = self.open
                        && start < input.len()
                    {
                        self.open = Some((text, input.len()));
                        return Event::Text(text, input.get(start..).unwrap_or_default());
                    }
                    return Event::End;
                }
            }
        }
    }

    /// The end of the connection: [`Event::End`], [`Event::Stopped`], or a message that it completes.
    pub fn finish(&mut self) -> Event<'static> {
        if self.failure.is_some() {
            return Event::End;
        }
        match self.finish {
            Finish::Safe => Event::End,
            Finish::CompletesMessage => Event::MessageComplete,
            Finish::Unsafe => Event::Stopped(Failure {
                code: Code::InvalidEofState,
                reason: "Invalid EOF state",
                position: 0,
            }),
        }
    }

    /// Answers [`Event::HeadersComplete`]: 0 to read the body, 1 when there is none, 2 when the connection goes on in
    /// another protocol.
    ///
    /// # Errors
    /// Any other number stops the parser.
    pub fn reply(&mut self, answer: i64) -> Result<(), Failure> {
        const PAUSED: i64 = 21;
        match answer {
            0 => Ok(()),
            1 => {
                self.flags |= flag::SKIP_BODY;
                Ok(())
            }
            2 => {
                self.upgrade = true;
                self.flags |= flag::SKIP_BODY;
                Ok(())
            }
            PAUSED => Err(self.fail(Code::Paused, "Paused by on_headers_complete")),
            _ => Err(self.fail(Code::CbHeadersComplete, "User callback error")),
        }
    }

    /// Stops the parser where it is.
    pub fn fail(&mut self, code: Code, reason: &'static str) -> Failure {
        let position = self.at;
        let failure = Failure {
            code,
            reason,
            position,
        };
        self.failure = Some(failure);
        failure
    }

    /// Takes no more input, unless it was stopped already. The input at hand is still read.
    pub fn pause(&mut self) {
        if self.failure.is_none() {
            self.fail(Code::Paused, "Paused");
        }
    }

    /// Takes input again after [`Self::pause`].
    pub fn resume(&mut self) {
        self.resume_from(Code::Paused);
    }

    /// Takes input again after it was stopped by a change of protocol.
    pub fn resume_after_upgrade(&mut self) {
        self.resume_from(Code::PausedUpgrade);
    }

    fn resume_from(&mut self, code: Code) {
        if self.failure.is_some_and(|failure| failure.code == code) {
            self.failure = None;
        }
    }

    // What the steps are made of.

    fn go<'d>(&mut self, state: State) -> Step<'d> {
        self.state = state;
        Step::Go
    }

    /// Takes the byte at hand.
    fn take<'d>(&mut self, state: State) -> Step<'d> {
        self.at += 1;
        self.go(state)
    }

    /// Takes the byte at hand, which is refused.
    fn take_and_fail<'d>(&mut self, code: Code, reason: &'static str) -> Step<'d> {
        self.at += 1;
        Step::Fail(code, reason)
    }

    /// Goes on when a rule is relaxed.
    fn leniently<'d>(
        &mut self,
        rule: Lenient,
        state: State,
        code: Code,
        reason: &'static str,
    ) -> Step<'d> {
        if self.lenient.has(rule) {
            return self.go(state);
        }
        Step::Fail(code, reason)
    }

    fn start(&mut self, text: Text) {
        self.open = Some((text, self.at));
    }

    /// Ends the open text before the byte at hand.
    fn end<'d>(&mut self, input: &'d [u8], state: State) -> Step<'d> {
        self.state = state;
        let Some((text, start)) = self.open.take() else {
            return Step::Go;
        };
        Step::Event(Event::Text(
            text,
            input.get(start..self.at).unwrap_or_default(),
        ))
    }

    /// Ends the open text before the byte at hand, and takes that.
    fn end_and_take<'d>(&mut self, input: &'d [u8], state: State) -> Step<'d> {
        let step = self.end(input, state);
        self.at += 1;
        step
    }

    /// Takes bytes of a class; answers whether a byte of another class is at hand.
    fn skip(&mut self, input: &[u8], class: u8) -> bool {
        let rest = input.get(self.at..).unwrap_or_default();
        if let Some(length) = rest.iter().position(|byte| !is(*byte, class)) {
            self.at += length;
            true
        } else {
            self.at = input.len();
            false
        }
    }

    fn skip_spaces(&mut self, input: &[u8], tabs: bool) -> bool {
        let rest = input.get(self.at..).unwrap_or_default();
        let other = |byte: &u8| *byte != b' ' && !(tabs && *byte == b'\t');
        self.at = rest
            .iter()
            .position(other)
            .map_or(input.len(), |length| self.at + length);
        self.at < input.len()
    }

    /// Reads a word of `words`; `None` when more input is needed.
    fn word(&mut self, input: &[u8], words: &[&str], fold: fn(u8) -> u8) -> Option<Result<u8, ()>> {
        while let Some(byte) = input.get(self.at) {
            match self.word.read(words, fold(*byte)) {
                Found::More => self.at += 1,
                Found::Whole(index) => {
                    self.at += 1;
                    self.word = Word::default();
                    return Some(Ok(index));
                }
                Found::Before(index) => {
                    self.word = Word::default();
                    return Some(Ok(index));
                }
                Found::None => {
                    self.word = Word::default();
                    return Some(Err(()));
                }
            }
        }
        None
    }

    fn step<'d>(&mut self, input: &'d [u8]) -> Step<'d> {
        use State as S;
        // States that look at no byte.
        match self.state {
            S::AfterStart => {
                self.finish = Finish::Unsafe;
                self.state = match self.kind {
                    Kind::Request => S::ReqMethod,
                    Kind::Response => S::ResProtocol,
                };
                return Step::Event(Event::MessageBegin);
            }
            S::HeaderFieldComplete => return self.header_field_complete(),
            S::HeaderFieldRefused => {
                return Step::Fail(Code::InvalidHeaderToken, "Invalid header field char");
            }
            S::HeaderValueStart => return self.header_value_start(input),
            S::HeaderValueRefused => {
                return Step::Fail(Code::InvalidHeaderToken, "Invalid header value char");
            }
            S::HeaderValueLfWithoutCr => {
                return self.leniently(
                    Lenient::OPTIONAL_CR_BEFORE_LF,
                    S::HeaderValueAlmostDone,
                    Code::CrExpected,
                    "Missing expected CR after header value",
                );
            }
            S::TeRefused => {
                return Step::Fail(
                    Code::InvalidTransferEncoding,
                    "Invalid `Transfer-Encoding` header value",
                );
            }
            S::ContentLengthOverflow => {
                return Step::Fail(Code::InvalidContentLength, "Content-Length overflow");
            }
            S::ContentLengthRefused => {
                return Step::Fail(
                    Code::InvalidContentLength,
                    "Invalid character in Content-Length",
                );
            }
            S::ResLineLf => {
                return self.leniently(
                    Lenient::OPTIONAL_CR_BEFORE_LF,
                    S::HeadersStart,
                    Code::CrExpected,
                    "Missing expected CR after response line",
                );
            }
            S::ReqHttpEnd => {
                let state = if self.method == PRI {
                    S::ReqPriUpgrade
                } else {
                    S::ReqHttpComplete
                };
                return self.go(state);
            }
            S::HeadersComplete => return self.headers_complete(),
            S::HeadersDone => return self.headers_done(),
            S::ChunkSizeStart
            | S::ChunkSizeAlmostDoneLf
            | S::ChunkExtensionNameDone(_)
            | S::ChunkExtensionValueDone(_)
            | S::ChunkStart
            | S::ChunkDataLf
            | S::ChunkComplete => return self.chunk_step(),
            S::BodyIdentityEof if self.open.is_none() => {
                self.finish = Finish::CompletesMessage;
                self.start(Text::Body);
            }
            S::MessageDone => {
                self.state = if self.upgrade {
                    S::UpgradePause
                } else {
                    S::Cleanup
                };
                return Step::Event(Event::MessageComplete);
            }
            S::UpgradePause => {
                self.state = S::Cleanup;
                return Step::Fail(Code::PausedUpgrade, "Pause on CONNECT/Upgrade");
            }
            S::Cleanup => return self.cleanup(),
            S::Restart => {
                self.finish = Finish::Safe;
                return self.go(S::Start);
            }
            _ => {}
        }
        let Some(&byte) = input.get(self.at) else {
            return Step::NeedsInput;
        };
        match self.state {
            S::Start => match byte {
                b'\r' | b'\n' => self.take(S::Start),
                _ => self.go(S::AfterStart),
            },
            S::ResProtocol
            | S::ResSlash
            | S::ResMajor
            | S::ResDot
            | S::ResMinor
            | S::ResAfterVersion
            | S::ResStatusCode(_)
            | S::ResStatusCodeOtherwise
            | S::ResStatusStart
            | S::ResStatus
            | S::ResLineAlmostDone => self.response_line(input, byte),
            S::ReqMethod
            | S::ReqFirstSpaceBeforeUrl
            | S::ReqSpacesBeforeUrl
            | S::ReqHttpStart
            | S::ReqProtocol
            | S::ReqSlash
            | S::ReqMajor
            | S::ReqDot
            | S::ReqMinor
            | S::ReqHttpComplete
            | S::ReqHttpCompleteCrlf
            | S::ReqPriUpgrade => self.request_line(input, byte),
            S::UrlEntry
            | S::UrlStart
            | S::UrlSchema
            | S::UrlSchemaDelimiter
            | S::UrlServer { .. }
            | S::UrlPath
            | S::UrlQuery
            | S::UrlFragment
            | S::UrlSkipToHttp
            | S::UrlSkipCrlf
            | S::UrlSkipLf
            | S::UrlToHttp
            | S::UrlToHttp09 => self.url(input, byte),
            S::HeadersStart
            | S::HeaderFieldStart
            | S::HeaderField
            | S::HeaderFieldColon
            | S::HeaderFieldColonDiscardWs
            | S::HeaderFieldGeneral => self.header_field(input, byte),
            S::BodyIdentity | S::ChunkData => self.counted_body(input),
            S::BodyIdentityEof => {
                self.at = input.len();
                Step::NeedsInput
            }
            S::Closed => match byte {
                b'\r' | b'\n' => self.take(S::Closed),
                _ => {
                    self.at += 1;
                    self.leniently(
                        Lenient::DATA_AFTER_CLOSE,
                        S::Closed,
                        Code::ClosedConnection,
                        "Data after `Connection: close`",
                    )
                }
            },
            S::ChunkSizeDigit
            | S::ChunkSize
            | S::ChunkSizeOtherwise
            | S::ChunkSizeAlmostDone
            | S::ChunkExtensions
            | S::ChunkExtensionName
            | S::ChunkExtensionValue
            | S::ChunkExtensionQuotedValue
            | S::ChunkExtensionQuotedPair
            | S::ChunkExtensionQuotedValueDone
            | S::ChunkDataAlmostDone => self.chunk(input, byte),
            _ => self.header_value(input, byte),
        }
    }

    /// After a message: the next one, or nothing more on this connection.
    fn cleanup<'d>(&mut self) -> Step<'d> {
        let keep_alive = self.should_keep_alive();
        self.finish = Finish::Safe;
        self.flags = 0;
        if keep_alive {
            self.content_length = 0;
            return self.go(State::Restart);
        }
        if self.lenient.has(Lenient::KEEP_ALIVE) {
            return self.go(State::Restart);
        }
        self.go(State::Closed)
    }
}

fn as_is(byte: u8) -> u8 {
    byte
}

fn lower_case(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}
