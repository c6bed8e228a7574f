//! Whether what a peer sends is an HTTP message: RFC 9113, section 8. nghttp2 would end the whole connection for one bad
//! message; Node ends its stream only.

use super::nghttp2::valid;

/// Which list of fields a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Request,
    Response,
    Trailers,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldVerdict {
    Keep,
    /// It is left out.
    Ignore,
    /// The message is none.
    Malformed,
}

/// How strict a session is.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub is_server: bool,
    /// Whether `:protocol` is allowed.
    pub connect_protocol: bool,
    pub allow_surrounding_whitespace: bool,
}

/// Pseudo-header fields and `host`, by bits.
mod seen {
    pub const AUTHORITY: u8 = 1;
    pub const METHOD: u8 = 1 << 1;
    pub const PATH: u8 = 1 << 2;
    pub const SCHEME: u8 = 1 << 3;
    pub const PROTOCOL: u8 = 1 << 4;
    pub const HOST: u8 = 1 << 5;
    pub const STATUS: u8 = 1 << 6;
}

/// The request's method, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    Connect,
    Head,
    Options,
    #[default]
    Other,
}

impl Method {
    /// The method of this name.
    pub fn new(name: &[u8]) -> Self {
        match name {
            b"CONNECT" => Self::Connect,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// A `:path`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Path {
    /// `/...`
    Regular,
    /// `*`
    Asterisk,
    #[default]
    Other,
}

/// The message that arrives on one stream.
#[derive(Debug, Default)]
pub struct Message {
    /// The method of the request, whoever made it.
    pub method: Method,
    seen: u8,
    /// A regular field was there: pseudo-header fields come first.
    pseudo_is_over: bool,
    path: Path,
    scheme_is_http: bool,
    status: u16,
    content_length: Option<u64>,
    received: u64,
    /// An informational response was there and the final one was not.
    expects_final: bool,
}

impl Message {
    /// Which block begins; `category` is one of `NGHTTP2_HCAT_*`.
    pub fn block(&self, rules: Rules, category: u32) -> Block {
        match (category, rules.is_server) {
            (0, _) => Block::Request,
            (3, true) => Block::Trailers,
            (3, false) if !self.expects_final => Block::Trailers,
            _ => Block::Response,
        }
    }

    /// A field of a block.
    pub fn field(&mut self, rules: Rules, block: Block, name: &[u8], value: &[u8]) -> FieldVerdict {
        let is_pseudo = name.first() == Some(&b':');
        if !valid::name(name) {
            if is_pseudo || name.iter().any(u8::is_ascii_uppercase) {
                return FieldVerdict::Malformed;
            }
            self.pseudo_is_over = true;
            return FieldVerdict::Ignore;
        }
        // A response has no authority, whatever it says.
        let is_request = rules.is_server || block == Block::Request;
        let strict = !rules.allow_surrounding_whitespace;
        let is_valid = match name {
            b":method" => valid::method(value),
            b":path" => valid::path(value),
            b":authority" | b"host" if is_request => authority(value),
            b":scheme" => scheme(value),
            _ => valid::value(value, strict),
        };
        if !is_valid {
            if is_pseudo {
                return FieldVerdict::Malformed;
            }
            self.pseudo_is_over = true;
            return FieldVerdict::Ignore;
        }
        if is_pseudo && (block == Block::Trailers || self.pseudo_is_over) {
            return FieldVerdict::Malformed;
        }
        let verdict = if is_request {
            self.request_field(rules, name, value)
        } else {
            self.response_field(name, value)
        };
        if !is_pseudo {
            self.pseudo_is_over = true;
        }
        verdict
    }

    fn once(&mut self, bit: u8, value: &[u8]) -> FieldVerdict {
        if self.seen & bit != 0 || value.is_empty() {
            return FieldVerdict::Malformed;
        }
        self.seen |= bit;
        FieldVerdict::Keep
    }

    fn request_field(&mut self, rules: Rules, name: &[u8], value: &[u8]) -> FieldVerdict {
        match name {
            b":authority" => self.once(seen::AUTHORITY, value),
            b":method" => {
                self.method = Method::new(value);
                if self.method == Method::Connect && !rules.is_server {
                    // Nobody promises a tunnel.
                    return FieldVerdict::Malformed;
                }
                self.once(seen::METHOD, value)
            }
            b":path" => {
                self.path = match value {
                    b"*" => Path::Asterisk,
                    [b'/', ..] => Path::Regular,
                    _ => Path::Other,
                };
                self.once(seen::PATH, value)
            }
            b":scheme" => {
                self.scheme_is_http =
                    value.eq_ignore_ascii_case(b"http") || value.eq_ignore_ascii_case(b"https");
                self.once(seen::SCHEME, value)
            }
            b":protocol" if rules.connect_protocol => self.once(seen::PROTOCOL, value),
            b"host" => self.once(seen::HOST, value),
            b"content-length" => self.length(value),
            _ => common_field(name, value),
        }
    }

    fn response_field(&mut self, name: &[u8], value: &[u8]) -> FieldVerdict {
        match name {
            b":status" => {
                let status = match value {
                    [_, _, _] => number(value).and_then(|status| u16::try_from(status).ok()),
                    _ => None,
                };
                // Nobody switches protocols here.
                let Some(status) = status.filter(|status| *status != 101) else {
                    return FieldVerdict::Malformed;
                };
                self.status = status;
                self.once(seen::STATUS, value)
            }
            b"content-length" if self.status == 204 => {
                // Some servers say that nothing has length 0.
                if self.content_length.is_some() || value != b"0" {
                    return FieldVerdict::Malformed;
                }
                self.content_length = Some(0);
                FieldVerdict::Ignore
            }
            b"content-length" if self.status / 100 == 1 => FieldVerdict::Malformed,
            b"content-length" if self.status / 100 == 2 && self.method == Method::Connect => {
                FieldVerdict::Ignore
            }
            b"content-length" => self.length(value),
            _ => common_field(name, value),
        }
    }

    fn length(&mut self, value: &[u8]) -> FieldVerdict {
        let length = number(value).filter(|_| self.content_length.is_none());
        self.content_length = length;
        match length {
            Some(_) => FieldVerdict::Keep,
            None => FieldVerdict::Malformed,
        }
    }

    /// A block is complete; answers whether it is as it must be.
    pub fn end_block(&mut self, block: Block, ends_stream: bool) -> bool {
        let is_complete = match block {
            Block::Request => self.end_request(),
            Block::Response => self.end_response(),
            Block::Trailers => ends_stream,
        };
        is_complete && (!ends_stream || self.end())
    }

    /// A promise is complete: its response follows on the same stream.
    pub fn end_promise(&mut self) -> bool {
        let is_complete = self.end_request();
        *self = Self {
            method: self.method,
            ..Self::default()
        };
        is_complete
    }

    fn end_request(&mut self) -> bool {
        const REQUIRED: u8 = seen::METHOD | seen::PATH | seen::SCHEME;
        let has = |bits: u8| self.seen & bits != 0;
        let is_connect = self.method == Method::Connect;
        if is_connect && !has(seen::PROTOCOL) {
            let is_complete = !has(seen::SCHEME | seen::PATH) && has(seen::AUTHORITY);
            self.content_length = None;
            return is_complete;
        }
        let path_fits = !self.scheme_is_http
            || match self.path {
                Path::Regular => true,
                Path::Asterisk => self.method == Method::Options,
                Path::Other => false,
            };
        self.seen & REQUIRED == REQUIRED
            && has(seen::AUTHORITY | seen::HOST)
            && (!has(seen::PROTOCOL) || (is_connect && has(seen::AUTHORITY)))
            && path_fits
    }

    fn end_response(&mut self) -> bool {
        if self.seen & seen::STATUS == 0 {
            return false;
        }
        if self.status / 100 == 1 {
            *self = Self {
                method: self.method,
                expects_final: true,
                ..Self::default()
            };
            return true;
        }
        self.expects_final = false;
        if self.method == Method::Head || matches!(self.status, 204 | 304) {
            self.content_length = Some(0);
        } else if self.method == Method::Connect {
            self.content_length = None;
        }
        true
    }

    /// So many bytes of the body arrived; answers whether they may.
    pub fn data(&mut self, length: usize) -> bool {
        self.received = self.received.saturating_add(length as u64);
        !self.expects_final
            && self
                .content_length
                .is_none_or(|expected| self.received <= expected)
    }

    /// The message has ended; answers whether it was complete.
    pub fn end(&self) -> bool {
        !self.expects_final
            && self
                .content_length
                .is_none_or(|expected| self.received == expected)
    }
}

/// Fields that belong to a connection of HTTP/1.
fn common_field(name: &[u8], value: &[u8]) -> FieldVerdict {
    match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            FieldVerdict::Malformed
        }
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => FieldVerdict::Malformed,
        // A pseudo-header field that nobody knows.
        [b':', ..] => FieldVerdict::Malformed,
        _ => FieldVerdict::Keep,
    }
}

/// A number of decimal digits, as large as nghttp2 takes.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_i64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(i64::from(digit))
    })?;
    u64::try_from(number).ok()
}

/// An authority without user information.
fn authority(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte))
}

fn scheme(value: &[u8]) -> bool {
    value.first().is_some_and(u8::is_ascii_alphabetic)
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}
