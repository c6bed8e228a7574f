//! Zstandard. Source: `ZstdCompressContext` and `ZstdDecompressContext` of `src/node_zlib.cc`.

use std::ffi::{CStr, c_int, c_void};

use zstd_sys as sys;

use super::account::{self, Account};
use super::brotli::Params;
use super::codec::{Codec, CodecError, Progress, Rest};

fn initialization(message: &str) -> CodecError {
    CodecError::new(message, "ERR_ZLIB_INITIALIZATION_FAILED", -1)
}

fn dictionary_failed() -> CodecError {
    CodecError::new(
        "Failed to load zstd dictionary",
        "ERR_ZLIB_DICTIONARY_LOAD_FAILED",
        -1,
    )
}

fn param_failed() -> CodecError {
    CodecError::new("Setting parameter failed", "ERR_ZSTD_PARAM_SET_FAILED", -1)
}

/// The allocator of a context, which `account` must outlive without being moved.
fn memory(account: &Account) -> sys::ZSTD_customMem {
    sys::ZSTD_customMem {
        customAlloc: Some(account::zstd_alloc),
        customFree: Some(account::free),
        opaque: account.opaque(),
    }
}

/// Whether a result of the library is an error; which one.
fn check(result: usize) -> Result<usize, CodecError> {
    // SAFETY: these functions take any number, and answer static C strings.
    unsafe {
        if sys::ZSTD_isError(result) == 0 {
            return Ok(result);
        }
        let code = sys::ZSTD_getErrorCode(result);
        let text = CStr::from_ptr(sys::ZSTD_getErrorString(code));
        Err(CodecError::new(
            text.to_string_lossy(),
            format!("{code:?}"),
            code as i32,
        ))
    }
}

fn signed(value: u32) -> c_int {
    // Negative levels come as their two's complement.
    value.cast_signed()
}

/// Compresses.
pub struct Compress {
    context: *mut sys::ZSTD_CCtx,
    error: Option<CodecError>,
    pledged: u64,
    /// The context's memory is charged to it; it must outlive the context.
    _account: Box<Account>,
}

// SAFETY: the context is ours alone, and is used by one thread at a time.
unsafe impl Send for Compress {}

impl Compress {
    /// A compressor with these parameters. `pledged` is the size of the input, if that is known.
    ///
    /// # Errors
    /// There is no memory, or an argument is not valid.
    pub fn new(
        params: &Params,
        pledged: Option<u64>,
        dictionary: &[u8],
        account: Account,
    ) -> Result<Self, CodecError> {
        const UNKNOWN: u64 = u64::MAX;
        let account = Box::new(account);
        // SAFETY: the functions and their account are valid as long as the context.
        let context = unsafe { sys::ZSTD_createCCtx_advanced(memory(&account)) };
        if context.is_null() {
            return Err(initialization("Could not initialize zstd instance"));
        }
        let this = Self {
            context,
            error: None,
            pledged: pledged.unwrap_or(UNKNOWN),
            _account: account,
        };
        if !dictionary.is_empty() {
            // SAFETY: the context is valid; it copies the dictionary, which is of the given length.
            let loaded = unsafe {
                sys::ZSTD_CCtx_loadDictionary(
                    context,
                    dictionary.as_ptr().cast::<c_void>(),
                    dictionary.len(),
                )
            };
            check(loaded).map_err(|_| dictionary_failed())?;
        }
        this.pledge()?;
        for (key, value) in params {
            // SAFETY: the numbers of parameters that the library does not know are refused below.
            let parameter = parameter(*key).ok_or_else(param_failed)?;
            // SAFETY: the context is valid.
            let set = unsafe { sys::ZSTD_CCtx_setParameter(context, parameter, signed(*value)) };
            check(set).map_err(|_| param_failed())?;
        }
        Ok(this)
    }

    fn pledge(&self) -> Result<(), CodecError> {
        // SAFETY: the context is valid.
        let set = unsafe { sys::ZSTD_CCtx_setPledgedSrcSize(self.context, self.pledged) };
        check(set)
            .map(|_| ())
            .map_err(|_| initialization("Could not set pledged src size"))
    }
}

/// The compressor's parameters that the library names.
fn parameter(key: u32) -> Option<sys::ZSTD_cParameter> {
    use sys::ZSTD_cParameter as P;
    Some(match key {
        100 => P::ZSTD_c_compressionLevel,
        101 => P::ZSTD_c_windowLog,
        102 => P::ZSTD_c_hashLog,
        103 => P::ZSTD_c_chainLog,
        104 => P::ZSTD_c_searchLog,
        105 => P::ZSTD_c_minMatch,
        106 => P::ZSTD_c_targetLength,
        107 => P::ZSTD_c_strategy,
        160 => P::ZSTD_c_enableLongDistanceMatching,
        161 => P::ZSTD_c_ldmHashLog,
        162 => P::ZSTD_c_ldmMinMatch,
        163 => P::ZSTD_c_ldmBucketSizeLog,
        164 => P::ZSTD_c_ldmHashRateLog,
        200 => P::ZSTD_c_contentSizeFlag,
        201 => P::ZSTD_c_checksumFlag,
        202 => P::ZSTD_c_dictIDFlag,
        400 => P::ZSTD_c_nbWorkers,
        401 => P::ZSTD_c_jobSize,
        402 => P::ZSTD_c_overlapLog,
        _ => return None,
    })
}

impl Codec for Compress {
    fn run(&mut self, input: &[u8], output: &mut [u8], flush: u32) -> Progress {
        use sys::ZSTD_EndDirective as E;
        let directive = match flush {
            1 => E::ZSTD_e_flush,
            2 => E::ZSTD_e_end,
            _ => E::ZSTD_e_continue,
        };
        let mut input = sys::ZSTD_inBuffer {
            src: input.as_ptr().cast(),
            size: input.len(),
            pos: 0,
        };
        let mut output = sys::ZSTD_outBuffer {
            dst: output.as_mut_ptr().cast(),
            size: output.len(),
            pos: 0,
        };
        // SAFETY: the context is valid, and so are both buffers, with their lengths.
        let result = unsafe {
            sys::ZSTD_compressStream2(self.context, &raw mut output, &raw mut input, directive)
        };
        self.error = check(result).err();
        Progress {
            read: input.pos,
            written: output.pos,
            failed: self.error.is_some(),
        }
    }

    fn no_flush(&self) -> u32 {
        0
    }

    fn error(&self, _flush: u32, _rest: Rest) -> Option<CodecError> {
        self.error.clone()
    }

    fn reset(&mut self) -> Result<(), CodecError> {
        // SAFETY: the context is valid.
        let reset = unsafe {
            sys::ZSTD_CCtx_reset(
                self.context,
                sys::ZSTD_ResetDirective::ZSTD_reset_session_only,
            )
        };
        check(reset)?;
        self.error = None;
        self.pledge()
    }
}

impl Drop for Compress {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and is freed once.
        unsafe { sys::ZSTD_freeCCtx(self.context) };
    }
}

/// Decompresses.
pub struct Decompress {
    context: *mut sys::ZSTD_DCtx,
    error: Option<CodecError>,
    /// The context's memory is charged to it; it must outlive the context.
    _account: Box<Account>,
}

// SAFETY: the context is ours alone, and is used by one thread at a time.
unsafe impl Send for Decompress {}

impl Decompress {
    /// A decompressor with these parameters.
    ///
    /// # Errors
    /// There is no memory, or an argument is not valid.
    pub fn new(params: &Params, dictionary: &[u8], account: Account) -> Result<Self, CodecError> {
        const WINDOW_LOG_MAX: u32 = 100;
        let account = Box::new(account);
        // SAFETY: the functions and their account are valid as long as the context.
        let context = unsafe { sys::ZSTD_createDCtx_advanced(memory(&account)) };
        if context.is_null() {
            return Err(initialization("Could not initialize zstd instance"));
        }
        let this = Self {
            context,
            error: None,
            _account: account,
        };
        if !dictionary.is_empty() {
            // SAFETY: the context is valid; it copies the dictionary, which is of the given length.
            let loaded = unsafe {
                sys::ZSTD_DCtx_loadDictionary(
                    context,
                    dictionary.as_ptr().cast::<c_void>(),
                    dictionary.len(),
                )
            };
            check(loaded).map_err(|_| dictionary_failed())?;
        }
        for (key, value) in params {
            if *key != WINDOW_LOG_MAX {
                return Err(param_failed());
            }
            let parameter = sys::ZSTD_dParameter::ZSTD_d_windowLogMax;
            // SAFETY: the context is valid.
            let set = unsafe { sys::ZSTD_DCtx_setParameter(context, parameter, signed(*value)) };
            check(set).map_err(|_| param_failed())?;
        }
        Ok(this)
    }
}

impl Codec for Decompress {
    fn run(&mut self, input: &[u8], output: &mut [u8], _flush: u32) -> Progress {
        let mut input = sys::ZSTD_inBuffer {
            src: input.as_ptr().cast(),
            size: input.len(),
            pos: 0,
        };
        let mut output = sys::ZSTD_outBuffer {
            dst: output.as_mut_ptr().cast(),
            size: output.len(),
            pos: 0,
        };
        // SAFETY: the context is valid, and so are both buffers, with their lengths.
        let result =
            unsafe { sys::ZSTD_decompressStream(self.context, &raw mut output, &raw mut input) };
        self.error = check(result).err();
        Progress {
            read: input.pos,
            written: output.pos,
            failed: self.error.is_some(),
        }
    }

    fn no_flush(&self) -> u32 {
        0
    }

    fn error(&self, _flush: u32, _rest: Rest) -> Option<CodecError> {
        self.error.clone()
    }

    fn reset(&mut self) -> Result<(), CodecError> {
        // SAFETY: the context is valid.
        let reset = unsafe {
            sys::ZSTD_DCtx_reset(
                self.context,
                sys::ZSTD_ResetDirective::ZSTD_reset_session_only,
            )
        };
        check(reset)?;
        self.error = None;
        Ok(())
    }
}

impl Drop for Decompress {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and is freed once.
        unsafe { sys::ZSTD_freeDCtx(self.context) };
    }
}
