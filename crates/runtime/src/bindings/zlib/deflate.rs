//! zlib's formats: deflate with and without headers, gzip. Source: `ZlibContext` of `src/node_zlib.cc`.

use std::ffi::{CStr, c_int};

use libz_rs_sys as z;

use super::account::{self, Account};
use super::codec::{Codec, CodecError, Progress, Rest};

/// What a stream does, numbered as the library does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Compresses, with zlib's header.
    Deflate,
    /// Decompresses what has zlib's header.
    Inflate,
    /// Compresses, with gzip's header.
    Gzip,
    /// Decompresses what has gzip's header.
    Gunzip,
    /// Compresses, without a header.
    DeflateRaw,
    /// Decompresses what has no header.
    InflateRaw,
    /// Decompresses either kind of header.
    Unzip,
}

impl Mode {
    /// The mode of this number.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Deflate,
            2 => Self::Inflate,
            3 => Self::Gzip,
            4 => Self::Gunzip,
            5 => Self::DeflateRaw,
            6 => Self::InflateRaw,
            7 => Self::Unzip,
            _ => return None,
        })
    }

    fn compresses(self) -> bool {
        matches!(self, Self::Deflate | Self::Gzip | Self::DeflateRaw)
    }
}

/// How a stream is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Base two logarithm of the window's size.
    pub window_bits: i32,
    /// From 0, fast, to 9, small; -1 for the default.
    pub level: i32,
    /// Memory for the compressor, from 1 to 9.
    pub mem_level: i32,
    /// One of zlib's strategies.
    pub strategy: i32,
}

/// See the module's text. The stream's state is made when it is first used, as Node does.
pub struct Zlib {
    mode: Mode,
    settings: Settings,
    dictionary: Vec<u8>,
    stream: Box<z::z_stream>,
    initialized: bool,
    status: c_int,
    gzip_id_bytes_read: u8,
    /// The state's memory is charged to it; it must outlive the state.
    account: Box<Account>,
}

// SAFETY: the stream's pointers lead to memory of its own, and to input and output only during a call.
unsafe impl Send for Zlib {}

const STREAM_SIZE: c_int = size_of::<z::z_stream>() as c_int;
const GZIP_ID: [u8; 2] = [0x1f, 0x8b];

/// zlib's name for a status.
fn name(status: c_int) -> &'static str {
    match status {
        z::Z_OK => "Z_OK",
        z::Z_STREAM_END => "Z_STREAM_END",
        z::Z_NEED_DICT => "Z_NEED_DICT",
        z::Z_ERRNO => "Z_ERRNO",
        z::Z_STREAM_ERROR => "Z_STREAM_ERROR",
        z::Z_DATA_ERROR => "Z_DATA_ERROR",
        z::Z_MEM_ERROR => "Z_MEM_ERROR",
        z::Z_BUF_ERROR => "Z_BUF_ERROR",
        z::Z_VERSION_ERROR => "Z_VERSION_ERROR",
        _ => "Z_UNKNOWN_ERROR",
    }
}

impl Zlib {
    /// A stream; an empty dictionary is none.
    pub fn new(mode: Mode, settings: Settings, dictionary: Vec<u8>, account: Account) -> Self {
        let account = Box::new(account);
        let stream = Box::new(z::z_stream {
            zalloc: Some(account::zlib_alloc),
            zfree: Some(account::free),
            opaque: account.opaque(),
            ..z::z_stream::default()
        });
        Self {
            mode,
            settings,
            dictionary,
            stream,
            initialized: false,
            status: z::Z_OK,
            gzip_id_bytes_read: 0,
            account,
        }
    }

    fn failure(&self, message: &str) -> CodecError {
        let message = if self.stream.msg.is_null() {
            message.to_owned()
        } else {
            // SAFETY: zlib's messages are static C strings.
            let text = unsafe { CStr::from_ptr(self.stream.msg) };
            text.to_string_lossy().into_owned()
        };
        CodecError::new(message, name(self.status), self.status)
    }

    /// Makes the state. A stream that cannot be made fails with every use.
    fn initialize(&mut self) -> bool {
        if self.initialized {
            return true;
        }
        let bits = self.settings.window_bits;
        let bits = match self.mode {
            Mode::Deflate | Mode::Inflate => bits,
            Mode::Gzip | Mode::Gunzip => bits + 16,
            Mode::DeflateRaw | Mode::InflateRaw => -bits,
            Mode::Unzip => bits + 32,
        };
        let stream = &raw mut *self.stream;
        // SAFETY: the stream is ours, with allocation functions and no state yet; the version and the size are those of
        // the library that it is linked with.
        self.status = unsafe {
            if self.mode.compresses() {
                z::deflateInit2_(
                    stream,
                    self.settings.level,
                    z::Z_DEFLATED,
                    bits,
                    self.settings.mem_level,
                    self.settings.strategy,
                    z::zlibVersion(),
                    STREAM_SIZE,
                )
            } else {
                z::inflateInit2_(stream, bits, z::zlibVersion(), STREAM_SIZE)
            }
        };
        if self.status != z::Z_OK {
            return false;
        }
        self.initialized = true;
        self.status = self.set_dictionary();
        self.status == z::Z_OK
    }

    /// Gives the dictionary to a stream that wants it from the start.
    fn set_dictionary(&mut self) -> c_int {
        if self.dictionary.is_empty() {
            return z::Z_OK;
        }
        match self.mode {
            // SAFETY: the state was made; the dictionary is of the given length.
            Mode::Deflate | Mode::DeflateRaw => unsafe {
                z::deflateSetDictionary(
                    &raw mut *self.stream,
                    self.dictionary.as_ptr(),
                    u32::try_from(self.dictionary.len()).unwrap_or(u32::MAX),
                )
            },
            Mode::InflateRaw => self.set_inflate_dictionary(),
            _ => z::Z_OK,
        }
    }

    fn set_inflate_dictionary(&mut self) -> c_int {
        // SAFETY: the state was made; the dictionary is of the given length.
        unsafe {
            z::inflateSetDictionary(
                &raw mut *self.stream,
                self.dictionary.as_ptr(),
                u32::try_from(self.dictionary.len()).unwrap_or(u32::MAX),
            )
        }
    }

    fn reset_state(&mut self) -> c_int {
        // SAFETY: the state was made, by the function of the same kind.
        unsafe {
            if self.mode.compresses() {
                z::deflateReset(&raw mut *self.stream)
            } else {
                z::inflateReset(&raw mut *self.stream)
            }
        }
    }

    /// # Safety
    /// The stream's input and output are those of a call that is running, and the state was made.
    unsafe fn inflate(&mut self, flush: c_int) -> c_int {
        // SAFETY: see above.
        unsafe { z::inflate(&raw mut *self.stream, flush) }
    }

    /// Whether the first bytes are gzip's; what is not is zlib's.
    fn look_at_header(&mut self, input: &[u8]) {
        for byte in input {
            let Some(expected) = GZIP_ID.get(usize::from(self.gzip_id_bytes_read)) else {
                return;
            };
            if byte != expected {
                self.mode = Mode::Inflate;
                return;
            }
            self.gzip_id_bytes_read += 1;
            if usize::from(self.gzip_id_bytes_read) == GZIP_ID.len() {
                self.mode = Mode::Gunzip;
                return;
            }
        }
    }
}

impl Codec for Zlib {
    fn run(&mut self, input: &[u8], output: &mut [u8], flush: u32) -> Progress {
        if !self.initialize() {
            return Progress {
                failed: true,
                ..Progress::default()
            };
        }
        let flush = c_int::try_from(flush).unwrap_or(z::Z_NO_FLUSH);
        if self.mode == Mode::Unzip {
            self.look_at_header(input);
        }
        let (available_in, available_out) = (
            u32::try_from(input.len()).unwrap_or(u32::MAX),
            u32::try_from(output.len()).unwrap_or(u32::MAX),
        );
        self.stream.next_in = input.as_ptr();
        self.stream.avail_in = available_in;
        self.stream.next_out = output.as_mut_ptr();
        self.stream.avail_out = available_out;
        // SAFETY: input and output are those of this call, with their lengths, and the state was made.
        unsafe {
            if self.mode.compresses() {
                self.status = z::deflate(&raw mut *self.stream, flush);
            } else {
                self.status = self.inflate(flush);
                if self.status == z::Z_NEED_DICT
                    && self.mode != Mode::InflateRaw
                    && !self.dictionary.is_empty()
                {
                    self.status = self.set_inflate_dictionary();
                    if self.status == z::Z_OK {
                        self.status = self.inflate(flush);
                    } else if self.status == z::Z_DATA_ERROR {
                        // A bad dictionary is told from bad input.
                        self.status = z::Z_NEED_DICT;
                    }
                }
                // Another member of the same file may follow. Zeros are padding.
                while self.mode == Mode::Gunzip && self.status == z::Z_STREAM_END {
                    let at = input.len() - self.stream.avail_in as usize;
                    if input.get(at).is_none_or(|byte| *byte == 0) {
                        break;
                    }
                    self.status = self.reset_state();
                    if self.status == z::Z_OK {
                        self.status = self.inflate(flush);
                    }
                }
            }
        }
        let progress = Progress {
            read: (available_in - self.stream.avail_in) as usize,
            written: (available_out - self.stream.avail_out) as usize,
            failed: !matches!(self.status, z::Z_OK | z::Z_BUF_ERROR | z::Z_STREAM_END),
        };
        self.stream.next_in = std::ptr::null();
        self.stream.next_out = std::ptr::null_mut();
        progress
    }

    fn no_flush(&self) -> u32 {
        0
    }

    fn error(&self, flush: u32, rest: Rest) -> Option<CodecError> {
        const FINISH: u32 = 4;
        match self.status {
            z::Z_OK | z::Z_BUF_ERROR if rest.room && flush == FINISH => {
                let mut error = self.failure("unexpected end of file");
                if self.status == z::Z_OK {
                    (error.code, error.errno) = (name(z::Z_BUF_ERROR).to_owned(), z::Z_BUF_ERROR);
                }
                Some(error)
            }
            z::Z_OK | z::Z_BUF_ERROR | z::Z_STREAM_END => None,
            z::Z_NEED_DICT if self.dictionary.is_empty() => {
                Some(self.failure("Missing dictionary"))
            }
            z::Z_NEED_DICT => Some(self.failure("Bad dictionary")),
            _ => Some(self.failure("Zlib error")),
        }
    }

    fn reset(&mut self) -> Result<(), CodecError> {
        if !self.initialize() {
            return Err(self.failure("Failed to init stream before reset"));
        }
        self.status = self.reset_state();
        if self.status != z::Z_OK {
            return Err(self.failure("Failed to reset stream"));
        }
        self.status = self.set_dictionary();
        if self.status != z::Z_OK {
            return Err(self.failure("Failed to set dictionary"));
        }
        Ok(())
    }

    fn set_params(&mut self, level: i32, strategy: i32) -> Result<(), CodecError> {
        if !self.initialize() {
            return Err(self.failure("Failed to init stream before set parameters"));
        }
        if matches!(self.mode, Mode::Deflate | Mode::DeflateRaw) {
            let mut rest = [0; 16];
            self.stream.next_in = std::ptr::null();
            self.stream.avail_in = 0;
            self.stream.next_out = rest.as_mut_ptr();
            self.stream.avail_out = 0;
            // SAFETY: the state was made; there is no input and no room for output.
            self.status = unsafe { z::deflateParams(&raw mut *self.stream, level, strategy) };
            self.stream.next_out = std::ptr::null_mut();
            if !matches!(self.status, z::Z_OK | z::Z_BUF_ERROR) {
                return Err(self.failure("Failed to set parameters"));
            }
        }
        Ok(())
    }
}

impl Drop for Zlib {
    fn drop(&mut self) {
        if !self.initialized {
            return;
        }
        // SAFETY: the state was made by the function of the same kind, and is freed once; its account is still there.
        unsafe {
            if self.mode.compresses() {
                z::deflateEnd(&raw mut *self.stream);
            } else {
                z::inflateEnd(&raw mut *self.stream);
            }
        }
        debug_assert!(
            !self.account.opaque().is_null(),
            "the account outlives the state"
        );
    }
}

/// The CRC-32 of what `value` is the sum of, followed by `bytes`.
pub fn crc32(value: u32, bytes: &[u8]) -> u32 {
    let sum = bytes.chunks(1 << 30).fold(u64::from(value), |sum, chunk| {
        let length = u32::try_from(chunk.len()).unwrap_or_default();
        // SAFETY: the chunk is of the given length.
        unsafe { z::crc32(sum, chunk.as_ptr(), length) }
    });
    u32::try_from(sum).unwrap_or_default()
}
