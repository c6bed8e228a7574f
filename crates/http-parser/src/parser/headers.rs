//! Headers and trailers.

use super::*;

impl Parser {
    pub(super) fn header_field<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        match self.state {
            S::HeadersStart => match byte {
                b' ' => {
                    self.at += 1;
                    self.leniently(
                        Lenient::HEADERS,
                        S::HeaderFieldStart,
                        Code::UnexpectedSpace,
                        "Unexpected space after start line",
                    )
                }
                _ => self.go(S::HeaderFieldStart),
            },
            S::HeaderFieldStart => match byte {
                b'\r' => self.take(S::HeadersAlmostDone),
                b'\n' => {
                    self.at += 1;
                    self.leniently(
                        Lenient::OPTIONAL_CR_BEFORE_LF,
                        S::HeadersComplete,
                        Code::InvalidHeaderToken,
                        "Invalid header field char",
                    )
                }
                b':' => Step::Fail(Code::InvalidHeaderToken, "Invalid header token"),
                _ => {
                    self.start(Text::HeaderField);
                    self.go(S::HeaderField)
                }
            },
            S::HeaderField => match self.word(input, SPECIAL_HEADERS, lower_case) {
                None => Step::NeedsInput,
                Some(Ok(index)) => {
                    self.header = match index {
                        0 | 2 => Header::Connection,
                        1 => Header::ContentLength,
                        3 => Header::TransferEncoding,
                        _ => Header::Upgrade,
                    };
                    self.go(S::HeaderFieldColon)
                }
                Some(Err(())) => {
                    self.header = Header::General;
                    self.go(S::HeaderFieldGeneral)
                }
            },
            S::HeaderFieldColon => match byte {
                b' ' if self.lenient.has(Lenient::HEADERS) => self.go(S::HeaderFieldColonDiscardWs),
                b' ' => self.end_and_take(input, S::HeaderFieldRefused),
                b':' => self.end_and_take(input, S::HeaderFieldComplete),
                _ => {
                    self.header = Header::General;
                    self.go(S::HeaderFieldGeneral)
                }
            },
            S::HeaderFieldColonDiscardWs => match byte {
                b' ' => self.take(S::HeaderFieldColonDiscardWs),
                _ => self.go(S::HeaderFieldColon),
            },
            _ => {
                if !self.skip(input, TOKEN) {
                    return Step::NeedsInput;
                }
                match input.get(self.at) {
                    Some(b':') => self.end_and_take(input, S::HeaderFieldComplete),
                    _ => Step::Fail(Code::InvalidHeaderToken, "Invalid header token"),
                }
            }
        }
    }

    /// A message may tell its length in one way only.
    pub(super) fn header_field_complete<'d>(&mut self) -> Step<'d> {
        let both = !self.lenient.has(Lenient::CHUNKED_LENGTH);
        match self.header {
            Header::TransferEncoding if both && self.flags & flag::CONTENT_LENGTH != 0 => {
                Step::Fail(
                    Code::InvalidTransferEncoding,
                    "Transfer-Encoding can't be present with Content-Length",
                )
            }
            Header::ContentLength if both && self.flags & flag::TRANSFER_ENCODING != 0 => {
                Step::Fail(
                    Code::InvalidContentLength,
                    "Content-Length can't be present with Transfer-Encoding",
                )
            }
            _ => self.go(State::HeaderValueDiscardWs),
        }
    }

    pub(super) fn header_value_start<'d>(&mut self, input: &'d [u8]) -> Step<'d> {
        use State as S;
        match self.header {
            Header::Upgrade => {
                self.flags |= flag::UPGRADE;
                self.header = Header::General;
                self.go(S::HeaderValue)
            }
            Header::TransferEncoding => {
                if self.flags & flag::CHUNKED != 0 && !self.may_follow_chunked() {
                    return self.end_and_take(input, S::TeRefused);
                }
                self.flags |= flag::TRANSFER_ENCODING;
                self.flags &= !flag::CHUNKED;
                self.go(S::TeChunked)
            }
            Header::ContentLength if self.flags & flag::CONTENT_LENGTH != 0 => {
                Step::Fail(Code::UnexpectedContentLength, "Duplicate Content-Length")
            }
            Header::ContentLength => self.go(S::ContentLength),
            Header::Connection => self.go(S::Connection),
            _ => self.go(S::HeaderValue),
        }
    }

    /// Whether an encoding may come after `chunked`: in a request it may not.
    fn may_follow_chunked(&self) -> bool {
        self.kind != Kind::Request || self.lenient.has(Lenient::TRANSFER_ENCODING)
    }

    /// What a header's value has told the parser, when the value ends.
    fn set_header_flags(&mut self) {
        let set = match self.header {
            Header::ConnectionKeepAlive => flag::KEEP_ALIVE,
            Header::ConnectionClose => flag::CLOSE,
            Header::ConnectionUpgrade => flag::CONNECTION_UPGRADE,
            Header::TransferEncodingChunked => {
                self.flags |= flag::CHUNKED;
                return;
            }
            _ => return,
        };
        self.flags |= set;
        self.header = Header::Connection;
    }

    pub(super) fn header_value<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        match self.state {
            S::HeaderValueDiscardWs => match byte {
                b' ' | b'\t' => self.take(S::HeaderValueDiscardWs),
                b'\r' => self.take(S::HeaderValueDiscardWsAlmostDone),
                b'\n' => {
                    self.at += 1;
                    self.leniently(
                        Lenient::OPTIONAL_CR_BEFORE_LF,
                        S::HeaderValueDiscardLws,
                        Code::InvalidHeaderToken,
                        "Invalid header value char",
                    )
                }
                _ => {
                    self.start(Text::HeaderValue);
                    self.go(S::HeaderValueStart)
                }
            },
            S::HeaderValueDiscardWsAlmostDone => match byte {
                b'\n' => self.take(S::HeaderValueDiscardLws),
                _ => self.leniently(
                    Lenient::HEADERS,
                    S::HeaderValueDiscardLws,
                    Code::Strict,
                    "Expected LF after CR",
                ),
            },
            S::HeaderValueDiscardLws => match (byte, self.header) {
                (b' ' | b'\t', _) => {
                    self.at += 1;
                    self.leniently(
                        Lenient::HEADERS,
                        S::HeaderValueDiscardWs,
                        Code::InvalidHeaderToken,
                        "Invalid header value char",
                    )
                }
                (_, Header::ContentLength) => {
                    Step::Fail(Code::InvalidContentLength, "Empty Content-Length")
                }
                (_, Header::TransferEncoding) => {
                    Step::Fail(Code::InvalidTransferEncoding, "Empty Transfer-Encoding")
                }
                _ => {
                    self.set_header_flags();
                    self.start(Text::HeaderValue);
                    self.end(input, S::HeaderFieldStart)
                }
            },
            S::HeaderValue => {
                if !self.skip(input, FIELD) {
                    return Step::NeedsInput;
                }
                self.go(S::HeaderValueOtherwise)
            }
            S::HeaderValueOtherwise => match byte {
                b'\r' => self.end_and_take(input, S::HeaderValueAlmostDone),
                b'\n' => self.end(input, S::HeaderValueLfWithoutCr),
                _ if self.lenient.has(Lenient::HEADERS) => self.go(S::HeaderValueLenient),
                _ => self.end(input, S::HeaderValueRefused),
            },
            S::HeaderValueLenient => match byte {
                b'\r' => self.end_and_take(input, S::HeaderValueAlmostDone),
                b'\n' => self.end(input, S::HeaderValueAlmostDone),
                _ => self.take(S::HeaderValueLenient),
            },
            S::HeaderValueAlmostDone => match byte {
                b'\n' => self.take(S::HeaderValueLws),
                _ => Step::Fail(Code::LfExpected, "Missing expected LF after header value"),
            },
            S::HeaderValueLws => match byte {
                b' ' | b'\t' => {
                    if !self.lenient.has(Lenient::HEADERS) {
                        return Step::Fail(
                            Code::InvalidHeaderToken,
                            "Unexpected whitespace after header value",
                        );
                    }
                    if self.header == Header::TransferEncodingChunked {
                        self.header = Header::General;
                    }
                    self.start(Text::HeaderValue);
                    self.go(S::HeaderValueStart)
                }
                _ => {
                    self.set_header_flags();
                    self.go(S::HeaderFieldStart)
                }
            },
            S::TeChunked | S::TeChunkedLast | S::TeToken | S::TeTokenOws => {
                self.transfer_encoding(input, byte)
            }
            S::ContentLength | S::ContentLengthWs => self.content_length(input, byte),
            S::Connection | S::ConnectionWs | S::ConnectionToken => self.connection(input, byte),
            _ => match byte {
                b'\n' => self.take(S::HeadersComplete),
                _ => self.leniently(
                    Lenient::OPTIONAL_LF_AFTER_CR,
                    S::HeadersComplete,
                    Code::Strict,
                    "Expected LF after headers",
                ),
            },
        }
    }

    fn transfer_encoding<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        match self.state {
            S::TeChunked => match self.word(input, CHUNKED, lower_case) {
                None => Step::NeedsInput,
                Some(Ok(_)) => self.go(S::TeChunkedLast),
                Some(Err(())) => self.go(S::TeToken),
            },
            S::TeChunkedLast => match byte {
                b' ' => self.take(S::TeChunkedLast),
                b'\r' | b'\n' => {
                    self.header = Header::TransferEncodingChunked;
                    self.go(S::HeaderValueOtherwise)
                }
                b',' if self.may_follow_chunked() => self.go(S::TeChunked),
                b',' => self.end_and_take(input, S::TeRefused),
                _ => self.go(S::TeToken),
            },
            S::TeToken => {
                if !self.skip(input, LIST_ITEM) {
                    return Step::NeedsInput;
                }
                if input.get(self.at) == Some(&b',') {
                    return self.take(S::TeTokenOws);
                }
                self.header = Header::General;
                self.go(S::HeaderValue)
            }
            _ => {
                if !self.skip_spaces(input, true) {
                    return Step::NeedsInput;
                }
                self.go(S::TeChunked)
            }
        }
    }

    fn content_length<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        if self.state == S::ContentLength {
            if !byte.is_ascii_digit() {
                return self.go(S::ContentLengthWs);
            }
            let digit = u64::from(byte - b'0');
            let length = self.content_length.checked_mul(10);
            self.at += 1;
            return match length.and_then(|length| length.checked_add(digit)) {
                Some(length) => {
                    self.content_length = length;
                    Step::Go
                }
                None => self.end(input, S::ContentLengthOverflow),
            };
        }
        match byte {
            b' ' | b'\t' => self.take(S::ContentLengthWs),
            b'\r' | b'\n' => {
                self.flags |= flag::CONTENT_LENGTH;
                self.go(S::HeaderValueOtherwise)
            }
            _ => self.end(input, S::ContentLengthRefused),
        }
    }

    fn connection<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use State as S;
        match self.state {
            S::Connection => {
                if self.word.is_empty() && matches!(byte, b' ' | b'\t') {
                    return self.take(S::Connection);
                }
                match self.word(input, CONNECTION_OPTIONS, lower_case) {
                    None => Step::NeedsInput,
                    Some(Ok(index)) => {
                        self.header = match index {
                            0 => Header::ConnectionClose,
                            1 => Header::ConnectionUpgrade,
                            _ => Header::ConnectionKeepAlive,
                        };
                        self.go(S::ConnectionWs)
                    }
                    Some(Err(())) => self.go(S::ConnectionToken),
                }
            }
            S::ConnectionWs => match byte {
                b',' => {
                    self.set_header_flags();
                    self.take(S::Connection)
                }
                b' ' | b'\t' => self.take(S::ConnectionWs),
                b'\r' | b'\n' => self.go(S::HeaderValueOtherwise),
                _ => {
                    self.header = Header::General;
                    self.go(S::ConnectionToken)
                }
            },
            _ => {
                if !self.skip(input, LIST_ITEM) {
                    return Step::NeedsInput;
                }
                if input.get(self.at) == Some(&b',') {
                    return self.take(S::Connection);
                }
                self.go(S::HeaderValueOtherwise)
            }
        }
    }

    /// The empty line after headers or trailers.
    pub(super) fn headers_complete<'d>(&mut self) -> Step<'d> {
        if self.flags & flag::TRAILING != 0 {
            self.state = State::MessageDone;
            return Step::Event(Event::ChunkComplete);
        }
        let both = flag::UPGRADE | flag::CONNECTION_UPGRADE;
        self.upgrade = if self.flags & both == both {
            self.kind == Kind::Request || self.status_code == 101
        } else {
            self.method == CONNECT
        };
        self.state = State::HeadersDone;
        Step::Event(Event::HeadersComplete)
    }

    /// What follows the headers.
    pub(super) fn headers_done<'d>(&mut self) -> Step<'d> {
        use State as S;
        let has = |flags: u16| self.flags & flags != 0;
        let response = self.kind == Kind::Response;
        let has_body = has(flag::CHUNKED) || self.content_length > 0;
        let leaves = self.upgrade && (self.method == CONNECT || has(flag::SKIP_BODY) || !has_body);
        let next = if leaves || (response && self.status_code == 101) {
            S::UpgradePause
        } else if has(flag::SKIP_BODY)
            || (response && matches!(self.status_code, 100 | 102 | 103 | 204 | 304))
        {
            S::Cleanup
        } else if has(flag::CHUNKED) {
            return self.go(S::ChunkSizeStart);
        } else if has(flag::TRANSFER_ENCODING) {
            let lax = Lenient(Lenient::CHUNKED_LENGTH.0 | Lenient::TRANSFER_ENCODING.0);
            if !response && self.lenient.0 & lax.0 == 0 {
                return Step::Fail(
                    Code::InvalidTransferEncoding,
                    "Request has invalid `Transfer-Encoding`",
                );
            }
            return self.go(S::BodyIdentityEof);
        } else if !has(flag::CONTENT_LENGTH) {
            if self.needs_eof() {
                return self.go(S::BodyIdentityEof);
            }
            S::Cleanup
        } else if self.content_length == 0 {
            S::Cleanup
        } else {
            return self.go(S::BodyIdentity);
        };
        self.state = next;
        Step::Event(Event::MessageComplete)
    }
}
