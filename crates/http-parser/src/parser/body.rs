//! Bodies, whole and in chunks.

use super::*;

impl Parser {
    /// As many bytes as `content_length` says.
    pub(super) fn counted_body<'d>(&mut self, input: &'d [u8]) -> Step<'d> {
        if self.open.is_none() {
            self.start(Text::Body);
        }
        let available = input.len().saturating_sub(self.at);
        match usize::try_from(self.content_length) {
            Ok(left) if left <= available => {
                self.at += left;
                self.content_length = 0;
                let next = if self.state == State::ChunkData {
                    State::ChunkDataAlmostDone
                } else {
                    State::MessageDone
                };
                self.end(input, next)
            }
            _ => {
                self.at = input.len();
                self.content_length = self
                    .content_length
                    .saturating_sub(u64::try_from(available).unwrap_or(u64::MAX));
                Step::NeedsInput
            }
        }
    }

    /// The states of a chunk that look at no byte.
    pub(super) fn chunk_step<'d>(&mut self) -> Step<'d> {
        use AfterExtension as A;
        use State as S;
        match self.state {
            S::ChunkSizeStart => {
                self.content_length = 0;
                self.go(S::ChunkSizeDigit)
            }
            S::ChunkSizeAlmostDoneLf => {
                self.state = S::ChunkStart;
                Step::Event(Event::ChunkHeader)
            }
            S::ChunkStart => {
                if self.content_length == 0 {
                    self.flags |= flag::TRAILING;
                    return self.go(S::HeaderFieldStart);
                }
                self.go(S::ChunkData)
            }
            S::ChunkDataLf => self.leniently(
                Lenient::OPTIONAL_CR_BEFORE_LF,
                S::ChunkComplete,
                Code::CrExpected,
                "Missing expected CR after chunk data",
            ),
            S::ChunkComplete => {
                self.state = S::ChunkSizeStart;
                Step::Event(Event::ChunkComplete)
            }
            S::ChunkExtensionNameDone(after) => match after {
                A::Value => {
                    self.start(Text::ChunkExtensionValue);
                    self.go(S::ChunkExtensionValue)
                }
                A::Next => self.go(S::ChunkExtensions),
                A::Line => self.go(S::ChunkSizeAlmostDone),
                A::LfWithoutCr => self.leniently(
                    Lenient::OPTIONAL_CR_BEFORE_LF,
                    S::ChunkSizeAlmostDone,
                    Code::CrExpected,
                    "Missing expected CR after chunk extension name",
                ),
                _ => Step::Fail(Code::Strict, "Invalid character in chunk extensions name"),
            },
            S::ChunkExtensionValueDone(after) => match after {
                A::Value => self.go(S::ChunkExtensionQuotedValueDone),
                A::Next => self.go(S::ChunkExtensions),
                A::Line => self.go(S::ChunkSizeAlmostDone),
                A::LfWithoutCr => self.leniently(
                    Lenient::OPTIONAL_CR_BEFORE_LF,
                    S::ChunkSizeAlmostDone,
                    Code::CrExpected,
                    "Missing expected CR after chunk extension value",
                ),
                A::Refused => {
                    Step::Fail(Code::Strict, "Invalid character in chunk extensions value")
                }
                A::QuotedRefused => Step::Fail(
                    Code::Strict,
                    "Invalid character in chunk extensions quoted value",
                ),
                A::PairRefused => Step::Fail(
                    Code::Strict,
                    "Invalid quoted-pair in chunk extensions quoted value",
                ),
            },
            _ => Step::Go,
        }
    }

    pub(super) fn chunk<'d>(&mut self, input: &'d [u8], byte: u8) -> Step<'d> {
        use AfterExtension as A;
        use State as S;
        const SIZE: &str = "Invalid character in chunk size";
        match self.state {
            S::ChunkSizeDigit | S::ChunkSize => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    if self.state == S::ChunkSize {
                        return self.go(S::ChunkSizeOtherwise);
                    }
                    return Step::Fail(Code::InvalidChunkSize, SIZE);
                };
                self.at += 1;
                let length = self.content_length.checked_mul(16);
                match length.and_then(|length| length.checked_add(u64::from(digit))) {
                    Some(length) => {
                        self.content_length = length;
                        self.go(S::ChunkSize)
                    }
                    None => Step::Fail(Code::InvalidChunkSize, "Chunk size overflow"),
                }
            }
            S::ChunkSizeOtherwise => match byte {
                b' ' | b'\t' => {
                    self.at += 1;
                    self.leniently(
                        Lenient::SPACES_AFTER_CHUNK_SIZE,
                        S::ChunkSizeOtherwise,
                        Code::InvalidChunkSize,
                        SIZE,
                    )
                }
                b'\r' => self.take(S::ChunkSizeAlmostDone),
                b'\n' => {
                    self.at += 1;
                    self.leniently(
                        Lenient::OPTIONAL_CR_BEFORE_LF,
                        S::ChunkSizeAlmostDone,
                        Code::CrExpected,
                        "Missing expected CR after chunk size",
                    )
                }
                b';' => self.take(S::ChunkExtensions),
                _ => Step::Fail(Code::InvalidChunkSize, SIZE),
            },
            S::ChunkSizeAlmostDone => match byte {
                b'\n' => self.take(S::ChunkSizeAlmostDoneLf),
                _ => self.leniently(
                    Lenient::OPTIONAL_LF_AFTER_CR,
                    S::ChunkSizeAlmostDoneLf,
                    Code::Strict,
                    "Expected LF after chunk size",
                ),
            },
            S::ChunkExtensions => match byte {
                b' ' | b'\r' => {
                    self.take_and_fail(Code::Strict, "Invalid character in chunk extensions")
                }
                _ => {
                    self.start(Text::ChunkExtensionName);
                    self.go(S::ChunkExtensionName)
                }
            },
            S::ChunkExtensionName => {
                if !self.skip(input, TOKEN) {
                    return Step::NeedsInput;
                }
                match input.get(self.at) {
                    Some(b'=') => self.end_and_take(input, S::ChunkExtensionNameDone(A::Value)),
                    Some(b';') => self.end_and_take(input, S::ChunkExtensionNameDone(A::Next)),
                    Some(b'\r') => self.end_and_take(input, S::ChunkExtensionNameDone(A::Line)),
                    Some(b'\n') => self.end(input, S::ChunkExtensionNameDone(A::LfWithoutCr)),
                    _ => self.end_and_take(input, S::ChunkExtensionNameDone(A::Refused)),
                }
            }
            S::ChunkExtensionValue => {
                if !self.skip(input, TOKEN) {
                    return Step::NeedsInput;
                }
                match input.get(self.at) {
                    Some(b'"') => self.take(S::ChunkExtensionQuotedValue),
                    Some(b';') => self.end_and_take(input, S::ChunkExtensionValueDone(A::Next)),
                    Some(b'\r') => self.end_and_take(input, S::ChunkExtensionValueDone(A::Line)),
                    Some(b'\n') => self.end(input, S::ChunkExtensionValueDone(A::LfWithoutCr)),
                    _ => self.end_and_take(input, S::ChunkExtensionValueDone(A::Refused)),
                }
            }
            S::ChunkExtensionQuotedValue => {
                if !self.skip(input, QDTEXT) {
                    return Step::NeedsInput;
                }
                match input.get(self.at) {
                    Some(b'"') => {
                        self.at += 1;
                        self.end(input, S::ChunkExtensionValueDone(A::Value))
                    }
                    Some(b'\\') => self.take(S::ChunkExtensionQuotedPair),
                    _ => self.end_and_take(input, S::ChunkExtensionValueDone(A::QuotedRefused)),
                }
            }
            S::ChunkExtensionQuotedPair => {
                if is(byte, FIELD) {
                    return self.take(S::ChunkExtensionQuotedValue);
                }
                self.end_and_take(input, S::ChunkExtensionValueDone(A::PairRefused))
            }
            S::ChunkExtensionQuotedValueDone => match byte {
                b';' => self.take(S::ChunkExtensions),
                b'\r' => self.take(S::ChunkSizeAlmostDone),
                b'\n' => self.leniently(
                    Lenient::OPTIONAL_CR_BEFORE_LF,
                    S::ChunkSizeAlmostDone,
                    Code::CrExpected,
                    "Missing expected CR after chunk extension value",
                ),
                _ => Step::Fail(
                    Code::Strict,
                    "Invalid character in chunk extensions quote value",
                ),
            },
            _ => {
                if self.word.is_empty() && byte == b'\n' {
                    return self.take(S::ChunkDataLf);
                }
                match self.word(input, CRLF, as_is) {
                    None => Step::NeedsInput,
                    Some(Ok(_)) => self.go(S::ChunkComplete),
                    Some(Err(())) => self.leniently(
                        Lenient::OPTIONAL_CRLF_AFTER_CHUNK,
                        S::ChunkComplete,
                        Code::Strict,
                        "Expected LF after chunk data",
                    ),
                }
            }
        }
    }
}
