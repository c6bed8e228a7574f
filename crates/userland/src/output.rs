//! Buffered output of a command.

use secure_exec_kernel::{Errno, Fd};

use crate::Context;

const BUFFER_BYTES: usize = 32 << 10;

/// Collects small writes. What is left is written by [`Output::finish`].
pub(crate) struct Output<'c> {
    context: &'c Context,
    fd: Fd,
    buffer: Vec<u8>,
}

impl<'c> Output<'c> {
    /// Standard output.
    pub fn new(context: &'c Context) -> Output<'c> {
        Output {
            context,
            fd: 1,
            buffer: Vec::new(),
        }
    }

    /// Writes bytes.
    pub fn put(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Errno> {
        self.buffer.extend_from_slice(bytes.as_ref());
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes bytes and a newline.
    pub fn line(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Errno> {
        self.put(bytes)?;
        self.put(b"\n")
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> Result<(), Errno> {
        let buffer = std::mem::take(&mut self.buffer);
        self.context.write(self.fd, &buffer)
    }

    /// Writes what is buffered and answers `code`.
    pub fn finish(mut self, code: i32) -> Result<i32, Errno> {
        self.flush()?;
        Ok(code)
    }
}
