//! Brotli. Source: `BrotliEncoderContext` and `BrotliDecoderContext` of `src/node_zlib.cc`.

use brotli::enc::encode::{
    BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct,
};
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use brotli_decompressor::BrotliDecoderParameter;

use super::account::Account;
use super::codec::{Codec, CodecError, Progress, Rest};

const FINISH: u32 = 2;
const EMIT_METADATA: u32 = 3;

/// Parameters by their numbers.
pub type Params = Vec<(u32, u32)>;

fn param_failed() -> CodecError {
    CodecError::new(
        "Setting parameter failed",
        "ERR_BROTLI_PARAM_SET_FAILED",
        -1,
    )
}

/// Compresses.
pub struct Encoder {
    state: BrotliEncoderStateStruct<Account>,
    account: Account,
    failed: bool,
}

impl Encoder {
    /// An encoder with these parameters.
    ///
    /// # Errors
    /// A parameter or its value is unknown.
    pub fn new(params: &Params, account: Account) -> Result<Self, CodecError> {
        use BrotliEncoderParameter as P;
        let mut state = BrotliEncoderStateStruct::new(account.clone());
        for (key, value) in params {
            let parameter = match key {
                0 => P::BROTLI_PARAM_MODE,
                1 => P::BROTLI_PARAM_QUALITY,
                2 => P::BROTLI_PARAM_LGWIN,
                3 => P::BROTLI_PARAM_LGBLOCK,
                4 => P::BROTLI_PARAM_DISABLE_LITERAL_CONTEXT_MODELING,
                5 => P::BROTLI_PARAM_SIZE_HINT,
                6 => P::BROTLI_PARAM_LARGE_WINDOW,
                // The encoder that we have leaves these two to itself.
                7 | 8 => continue,
                _ => return Err(param_failed()),
            };
            if !state.set_parameter(parameter, *value) {
                return Err(param_failed());
            }
        }
        Ok(Self {
            state,
            account,
            failed: false,
        })
    }
}

impl Codec for Encoder {
    fn run(&mut self, input: &[u8], output: &mut [u8], flush: u32) -> Progress {
        use BrotliEncoderOperation as Op;
        let operation = match flush {
            1 => Op::BROTLI_OPERATION_FLUSH,
            FINISH => Op::BROTLI_OPERATION_FINISH,
            EMIT_METADATA => Op::BROTLI_OPERATION_EMIT_METADATA,
            _ => Op::BROTLI_OPERATION_PROCESS,
        };
        let (mut available_in, mut read) = (input.len(), 0);
        let (mut available_out, mut written) = (output.len(), 0);
        self.failed = !self.state.compress_stream(
            operation,
            &mut available_in,
            input,
            &mut read,
            &mut available_out,
            output,
            &mut written,
            &mut None,
            &mut |_, _, _, _| {},
        );
        Progress {
            read,
            written,
            failed: self.failed,
        }
    }

    fn no_flush(&self) -> u32 {
        0
    }

    fn may_split(&self, flush: u32) -> bool {
        flush != EMIT_METADATA
    }

    fn error(&self, _flush: u32, _rest: Rest) -> Option<CodecError> {
        self.failed
            .then(|| CodecError::new("Compression failed", "ERR_BROTLI_COMPRESSION_FAILED", -1))
    }

    fn reset(&mut self) -> Result<(), CodecError> {
        self.state = BrotliEncoderStateStruct::new(self.account.clone());
        self.failed = false;
        Ok(())
    }
}

/// Decompresses.
pub struct Decoder {
    state: Box<BrotliState<Account, Account, Account>>,
    account: Account,
    result: BrotliResult,
}

impl Decoder {
    /// A decoder with these parameters.
    ///
    /// # Errors
    /// A parameter or its value is unknown.
    pub fn new(params: &Params, account: Account) -> Result<Self, CodecError> {
        let mut decoder = Self {
            state: Self::state(&account),
            account,
            result: BrotliResult::NeedsMoreInput,
        };
        for (key, value) in params {
            let parameter = match key {
                0 => BrotliDecoderParameter::BROTLI_DECODER_PARAM_DISABLE_RING_BUFFER_REALLOCATION,
                1 => BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW,
                _ => return Err(param_failed()),
            };
            if !decoder.state.set_parameter(parameter, *value) {
                return Err(param_failed());
            }
        }
        Ok(decoder)
    }

    fn state(account: &Account) -> Box<BrotliState<Account, Account, Account>> {
        Box::new(BrotliState::new_strict(
            account.clone(),
            account.clone(),
            account.clone(),
        ))
    }
}

impl Codec for Decoder {
    fn run(&mut self, input: &[u8], output: &mut [u8], _flush: u32) -> Progress {
        let (mut available_in, mut read) = (input.len(), 0);
        let (mut available_out, mut written) = (output.len(), 0);
        let mut total = 0;
        self.result = BrotliDecompressStream(
            &mut available_in,
            &mut read,
            input,
            &mut available_out,
            &mut written,
            output,
            &mut total,
            &mut self.state,
        );
        Progress {
            read,
            written,
            failed: matches!(self.result, BrotliResult::ResultFailure),
        }
    }

    fn no_flush(&self) -> u32 {
        0
    }

    fn error(&self, flush: u32, rest: Rest) -> Option<CodecError> {
        /// zlib's number for an input that ends too early.
        const BUFFER: i32 = -5;
        match self.result {
            BrotliResult::ResultFailure => {
                let code = self.state.error_code;
                let name = format!("{code:?}");
                let text = name.trim_start_matches("BROTLI_DECODER");
                Some(CodecError::new(
                    "Decompression failed",
                    format!("ERR_{text}"),
                    code as i32,
                ))
            }
            BrotliResult::NeedsMoreInput if flush == FINISH && !rest.input => Some(
                CodecError::new("unexpected end of file", "Z_BUF_ERROR", BUFFER),
            ),
            _ => None,
        }
    }

    fn reset(&mut self) -> Result<(), CodecError> {
        self.state = Self::state(&self.account);
        self.result = BrotliResult::NeedsMoreInput;
        Ok(())
    }
}
