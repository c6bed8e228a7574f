//! What stands behind descriptors 0, 1 and 2.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::errno::Result;
use crate::pipe::PipeReader;
use crate::terminal::Terminal;

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputChannel {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Where a process's output goes. Called on the process's thread without any lock of the kernel held.
pub trait OutputSink: Send + Sync {
    /// Takes bytes and says how many; an error reaches the guest.
    fn write(&self, channel: OutputChannel, data: &[u8]) -> Result<usize>;
}

/// Drops all output.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl OutputSink for NullSink {
    fn write(&self, _channel: OutputChannel, data: &[u8]) -> Result<usize> {
        Ok(data.len())
    }
}

/// Keeps the first bytes of each channel and drops the rest.
#[derive(Debug)]
pub struct CaptureSink {
    max_bytes: usize,
    kept: Mutex<[Captured; 2]>,
}

/// What a [`CaptureSink`] has of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The kept bytes.
    pub bytes: Vec<u8>,
    /// Bytes that were dropped.
    pub dropped: u64,
}

impl CaptureSink {
    /// Keeps up to `max_bytes` of each channel.
    #[must_use]
    pub fn new(max_bytes: usize) -> CaptureSink {
        CaptureSink {
            max_bytes,
            kept: Mutex::default(),
        }
    }

    /// What was captured so far; starts anew.
    pub fn take(&self, channel: OutputChannel) -> Captured {
        let [out, err] = &mut *self.kept.lock();
        std::mem::take(match channel {
            OutputChannel::Stdout => out,
            OutputChannel::Stderr => err,
        })
    }
}

impl OutputSink for CaptureSink {
    fn write(&self, channel: OutputChannel, data: &[u8]) -> Result<usize> {
        let [out, err] = &mut *self.kept.lock();
        let captured = match channel {
            OutputChannel::Stdout => out,
            OutputChannel::Stderr => err,
        };
        let room = self
            .max_bytes
            .saturating_sub(captured.bytes.len())
            .min(data.len());
        let (keep, rest) = data.split_at(room);
        captured.bytes.extend_from_slice(keep);
        captured.dropped += rest.len() as u64;
        Ok(data.len())
    }
}

/// What a process reads from descriptor 0.
#[derive(Clone, Debug, Default)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// Bytes given up front; looks like a regular file.
    Bytes(Arc<[u8]>),
    /// Fed by whoever holds the other end; looks like a pipe.
    Pipe(PipeReader),
}

/// What descriptors 1 and 2 look like to `fstat`, and so which stream class Node's library makes for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OutputLook {
    /// A regular file: synchronous writes.
    #[default]
    File,
    /// A pipe.
    Pipe,
}

/// Descriptors 0, 1 and 2 of a process.
#[derive(Clone)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: Stdin,
    /// Descriptors 1 and 2.
    pub output: Arc<dyn OutputSink>,
    /// How 1 and 2 look.
    pub look: OutputLook,
    /// What all three are, instead. The caller connects it.
    pub terminal: Option<Arc<Terminal>>,
}

impl Default for Stdio {
    fn default() -> Self {
        Stdio {
            stdin: Stdin::Null,
            output: Arc::new(NullSink),
            look: OutputLook::File,
            terminal: None,
        }
    }
}

impl std::fmt::Debug for Stdio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdio")
            .field("stdin", &self.stdin)
            .field("look", &self.look)
            .finish()
    }
}
