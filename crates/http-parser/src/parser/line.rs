//! The first line of a message.

use super::*;

impl Parser {
    pub(super) fn response_line<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        const EXPECTED: &str = "Expected HTTP/, RTSP/ or ICE/";
        match self.state {
            S::ResProtocol => match self.word(input, PROTOCOLS, as_is) {
                None => Step::NeedsInput,
                Some(Ok(_)) => self.go(S::ResSlash),
                Some(Err(())) => Step::Fail(Code::InvalidConstant, EXPECTED),
            },
            S::ResSlash => match byte {
                b'/' => self.take(S::ResMajor),
                _ => Step::Fail(Code::InvalidConstant, EXPECTED),
            },
            S::ResMajor => self.major(byte, S::ResDot),
            S::ResDot => self.dot(byte, S::ResMinor),
            S::ResMinor => self.minor(byte, S::ResAfterVersion),
            S::ResAfterVersion => match byte {
                b' ' => {
                    self.status_code = 0;
                    self.take(S::ResStatusCode(0))
                }
                _ => Step::Fail(Code::InvalidVersion, "Expected space after version"),
            },
            S::ResStatusCode(digits) => match byte {
                b'0'..=b'9' => {
                    self.status_code = self.status_code * 10 + u16::from(byte - b'0');
                    self.take(if digits == 2 {
                        S::ResStatusCodeOtherwise
                    } else {
                        S::ResStatusCode(digits + 1)
                    })
                }
                _ => Step::Fail(Code::InvalidStatus, "Invalid status code"),
            },
            S::ResStatusCodeOtherwise => match byte {
                b' ' => self.take(S::ResStatusStart),
                b'\r' => self.take(S::ResLineAlmostDone),
                b'\n' => {
                    self.at += 1;
                    self.leniently(
                        Lenient::OPTIONAL_CR_BEFORE_LF,
                        S::HeadersStart,
                        Code::InvalidStatus,
                        "Invalid response status",
                    )
                }
                _ => Step::Fail(Code::InvalidStatus, "Invalid response status"),
            },
            S::ResStatusStart => {
                self.start(Text::Status);
                self.go(S::ResStatus)
            }
            S::ResStatus => {
                let rest = input.get(self.at..).unwrap_or_default();
                match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
                    None => {
                        self.at = input.len();
                        Step::NeedsInput
                    }
                    Some(length) => {
                        self.at += length;
                        let state = if rest.get(length) == Some(&b'\r') {
                            S::ResLineAlmostDone
                        } else {
                            S::ResLineLf
                        };
                        self.end_and_take(input, state)
                    }
                }
            }
            _ => match byte {
                b'\n' => self.take(S::HeadersStart),
                _ => self.leniently(
                    Lenient::OPTIONAL_LF_AFTER_CR,
                    S::HeadersStart,
                    Code::Strict,
                    "Expected LF after CR",
                ),
            },
        }
    }

    fn major<'d>(&mut self, byte: u8, next: State) -> Step<'d> {
        if !byte.is_ascii_digit() {
            return Step::Fail(Code::InvalidVersion, "Invalid major version");
        }
        self.major = byte - b'0';
        self.take(next)
    }

    fn dot<'d>(&mut self, byte: u8, next: State) -> Step<'d> {
        match byte {
            b'.' => self.take(next),
            _ => Step::Fail(Code::InvalidVersion, "Expected dot"),
        }
    }

    fn minor<'d>(&mut self, byte: u8, next: State) -> Step<'d> {
        if !byte.is_ascii_digit() {
            return Step::Fail(Code::InvalidVersion, "Invalid minor version");
        }
        self.minor = byte - b'0';
        self.at += 1;
        let known = matches!((self.major, self.minor), (0, 9) | (1, 0 | 1) | (2, 0));
        if known || self.lenient.has(Lenient::VERSION) {
            return self.go(next);
        }
        Step::Fail(Code::InvalidVersion, "Invalid HTTP version")
    }

    pub(super) fn request_line<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        const EXPECTED: &str = "Expected HTTP/, RTSP/ or ICE/";
        match self.state {
            S::ReqMethod => match self.word(input, ALL_METHODS, as_is) {
                None => Step::NeedsInput,
                Some(Ok(method)) => {
                    self.method = method;
                    self.go(S::ReqFirstSpaceBeforeUrl)
                }
                Some(Err(())) => Step::Fail(Code::InvalidMethod, "Invalid method encountered"),
            },
            S::ReqFirstSpaceBeforeUrl => match byte {
                b' ' => self.take(S::ReqSpacesBeforeUrl),
                _ => Step::Fail(Code::InvalidMethod, "Expected space after method"),
            },
            S::ReqSpacesBeforeUrl => match byte {
                b' ' => self.take(S::ReqSpacesBeforeUrl),
                _ => self.go(S::UrlEntry),
            },
            S::ReqHttpStart => match byte {
                b' ' => self.take(S::ReqHttpStart),
                _ => self.go(S::ReqProtocol),
            },
            S::ReqProtocol => match self.word(input, PROTOCOLS, as_is) {
                None => Step::NeedsInput,
                Some(Ok(index)) => {
                    let protocol = Protocol::from_index(index);
                    if protocol.allows(self.method) {
                        return self.go(S::ReqSlash);
                    }
                    Step::Fail(Code::InvalidConstant, protocol.refusal())
                }
                Some(Err(())) => Step::Fail(Code::InvalidConstant, EXPECTED),
            },
            S::ReqSlash => match byte {
                b'/' => self.take(S::ReqMajor),
                _ => Step::Fail(Code::InvalidConstant, EXPECTED),
            },
            S::ReqMajor => self.major(byte, S::ReqDot),
            S::ReqDot => self.dot(byte, S::ReqMinor),
            S::ReqMinor => self.minor(byte, S::ReqHttpEnd),
            S::ReqHttpComplete => match byte {
                b'\r' => self.take(S::ReqHttpCompleteCrlf),
                b'\n' => {
                    self.at += 1;
                    self.leniently(
                        Lenient::OPTIONAL_CR_BEFORE_LF,
                        S::ReqHttpCompleteCrlf,
                        Code::InvalidVersion,
                        "Expected CRLF after version",
                    )
                }
                _ => Step::Fail(Code::InvalidVersion, "Expected CRLF after version"),
            },
            S::ReqHttpCompleteCrlf => match byte {
                b'\n' => self.take(S::HeadersStart),
                _ => self.leniently(
                    Lenient::OPTIONAL_LF_AFTER_CR,
                    S::HeadersStart,
                    Code::Strict,
                    "Expected CRLF after version",
                ),
            },
            _ => match self.word(input, HTTP2_PREFACE, as_is) {
                None => Step::NeedsInput,
                Some(Ok(_)) => Step::Fail(Code::PausedH2Upgrade, "Pause on PRI/Upgrade"),
                Some(Err(())) => {
                    Step::Fail(Code::InvalidVersion, "Expected HTTP/2 Connection Preface")
                }
            },
        }
    }

    pub(super) fn url<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        const INVALID: &str = "Invalid characters in url";
        match self.state {
            S::UrlSkipToHttp => return self.take(S::UrlToHttp),
            S::UrlSkipCrlf => {
                return match self.word(input, CRLF, as_is) {
                    None => Step::NeedsInput,
                    Some(Ok(_)) => self.go(S::UrlToHttp09),
                    Some(Err(())) => Step::Fail(Code::InvalidUrl, "Expected CRLF"),
                };
            }
            S::UrlSkipLf => return self.take(S::UrlToHttp09),
            _ => {}
        }
        if matches!(self.state, S::UrlPath | S::UrlQuery | S::UrlFragment) && !self.skip(input, URL)
        {
            return Step::NeedsInput;
        }
        let byte = input.get(self.at).copied().unwrap_or(byte);
        if matches!(byte, b'\t' | b'\x0c') {
            return self.take_and_fail(Code::InvalidUrl, INVALID);
        }
        match (self.state, byte) {
            (S::UrlToHttp, _) => self.go(S::ReqHttpStart),
            (S::UrlToHttp09, _) => {
                // A request line without a version.
                (self.major, self.minor) = (0, 9);
                self.go(S::HeadersStart)
            }
            (S::UrlEntry, _) => {
                self.start(Text::Url);
                self.go(if self.method == CONNECT {
                    S::UrlServer { with_at: false }
                } else {
                    S::UrlStart
                })
            }
            (S::UrlStart | S::UrlSchema | S::UrlSchemaDelimiter, b' ' | b'\r' | b'\n') => {
                self.take_and_fail(Code::InvalidUrl, INVALID)
            }
            (S::UrlStart, b'/' | b'*') => self.take(S::UrlPath),
            (S::UrlStart, _) if is(byte, ALPHA) => self.go(S::UrlSchema),
            (S::UrlStart, _) => Step::Fail(Code::InvalidUrl, "Unexpected start char in url"),
            (S::UrlSchema, _) if is(byte, ALPHA) => self.take(S::UrlSchema),
            (S::UrlSchema, b':') => self.take(S::UrlSchemaDelimiter),
            (S::UrlSchema, _) => Step::Fail(Code::InvalidUrl, "Unexpected char in url schema"),
            (S::UrlSchemaDelimiter, _) => match self.word(input, DOUBLE_SLASH, as_is) {
                None => Step::NeedsInput,
                Some(Ok(_)) => self.go(S::UrlServer { with_at: false }),
                Some(Err(())) => Step::Fail(Code::InvalidUrl, "Unexpected char in url schema"),
            },
            (_, b' ') => self.end(input, S::UrlSkipToHttp),
            (_, b'\r') => self.end(input, S::UrlSkipCrlf),
            (_, b'\n') => self.end(input, S::UrlSkipLf),
            (S::UrlServer { .. }, b'/') => self.take(S::UrlPath),
            (S::UrlServer { .. }, b'?') => self.take(S::UrlQuery),
            (S::UrlServer { with_at: true }, b'@') => {
                self.take_and_fail(Code::InvalidUrl, "Double @ in url")
            }
            (S::UrlServer { .. }, b'@') => self.take(S::UrlServer { with_at: true }),
            (S::UrlServer { .. }, _) if is(byte, USERINFO) => {
                self.take(S::UrlServer { with_at: false })
            }
            (S::UrlServer { .. }, _) => {
                Step::Fail(Code::InvalidUrl, "Unexpected char in url server")
            }
            (S::UrlPath, b'?') => self.take(S::UrlQuery),
            (S::UrlPath | S::UrlQuery, b'#') => self.take(S::UrlFragment),
            (S::UrlPath, _) => Step::Fail(Code::InvalidUrl, "Invalid char in url path"),
            (S::UrlQuery, b'?') => self.take(S::UrlQuery),
            (S::UrlQuery, _) => Step::Fail(Code::InvalidUrl, "Invalid char in url query"),
            (_, b'?' | b'#') => self.take(S::UrlFragment),
            _ => Step::Fail(Code::InvalidUrl, "Invalid char in url fragment start"),
        }
    }
}
