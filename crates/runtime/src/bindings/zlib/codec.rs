//! What the compressors have in common, and how one write runs through one of them.

use crate::work::Meter;

/// Input is read in pieces of this size: between two of them a process can be stopped.
const WINDOW: usize = 64 << 10;
/// Output grows by this much.
const STEP: usize = 64 << 10;

/// Why a stream failed, as Node tells it.
#[derive(Clone, Debug)]
pub struct CodecError {
    /// `error.message`
    pub message: String,
    /// `error.errno`
    pub errno: i32,
    /// `error.code`
    pub code: String,
}

impl CodecError {
    /// An error with these texts.
    pub fn new(message: impl Into<String>, code: impl Into<String>, errno: i32) -> Self {
        Self {
            message: message.into(),
            errno,
            code: code.into(),
        }
    }
}

/// How far one call into a library came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes of input that were read.
    pub read: usize,
    /// Bytes of output that were written.
    pub written: usize,
    /// Whether nothing more can be done.
    pub failed: bool,
}

/// What a write has left over.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// Input that was not read.
    pub input: bool,
    /// Room for output.
    pub room: bool,
}

/// A compressor or a decompressor with its state.
pub trait Codec: Send {
    /// Reads and writes as much as it can.
    fn run(&mut self, input: &[u8], output: &mut [u8], flush: u32) -> Progress;

    /// The flush value for input that more will follow.
    fn no_flush(&self) -> u32;

    /// Whether input may be given in pieces with this flush value.
    fn may_split(&self, _flush: u32) -> bool {
        true
    }

    /// Why the last write failed.
    fn error(&self, flush: u32, rest: Rest) -> Option<CodecError>;

    /// Begins a new stream.
    fn reset(&mut self) -> Result<(), CodecError>;

    /// Changes level and strategy.
    fn set_params(&mut self, _level: i32, _strategy: i32) -> Result<(), CodecError> {
        Ok(())
    }
}

/// The input of a write, wherever it is.
pub trait Source {
    /// Its length in bytes.
    fn length(&self) -> usize;
    /// Appends the given range to `target`; less when the memory has shrunk.
    fn copy(&self, start: usize, length: usize, target: &mut Vec<u8>);
}

/// What one write came to.
pub struct Written {
    /// Bytes of input that were read.
    pub read: usize,
    /// The output.
    pub output: Vec<u8>,
    /// Why it failed.
    pub error: Option<CodecError>,
}

/// Runs one write: until the input is read, or `room` bytes of output were made.
pub fn write(
    codec: &mut dyn Codec,
    source: &dyn Source,
    room: usize,
    flush: u32,
    meter: &mut Meter,
) -> Written {
    let length = source.length();
    let window = if codec.may_split(flush) {
        WINDOW
    } else {
        length
    };
    let mut output = Vec::new();
    let mut written = 0;
    // A window of the input, where it starts, and how much of it was read.
    let mut input = Vec::new();
    let (mut start, mut read) = (0, 0);
    source.copy(0, window.min(length), &mut input);
    loop {
        let last = start + input.len() >= length;
        let step = STEP.min(room - written);
        output.resize(written + step, 0);
        let progress = codec.run(
            input.get(read..).unwrap_or_default(),
            output.get_mut(written..).unwrap_or_default(),
            if last { flush } else { codec.no_flush() },
        );
        read += progress.read;
        written += progress.written;
        let drained = progress.written < step;
        if progress.failed || written >= room || !meter.checkpoint() {
            break;
        }
        if !last && read == input.len() {
            start += read;
            read = 0;
            input.clear();
            source.copy(start, window.min(length - start), &mut input);
            if input.is_empty() {
                break;
            }
        } else if drained {
            break;
        }
    }
    output.truncate(written);
    let read = start + read;
    let rest = Rest {
        input: read < length,
        room: written < room,
    };
    Written {
        read,
        error: codec.error(flush, rest),
        output,
    }
}
