//! Input of a command: descriptors read by pieces and by lines.

use secure_exec_kernel::{Errno, Fd, oflag};

use crate::{Context, MAX_TEXT};

const CHUNK_BYTES: usize = 32 << 10;

/// A file or standard input, read in order.
pub(crate) struct Input<'c> {
    context: &'c Context,
    fd: Fd,
    owned: bool,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

impl<'c> Input<'c> {
    /// A descriptor, which stays open.
    pub fn of(context: &'c Context, fd: Fd) -> Input<'c> {
        Input {
            context,
            fd,
            owned: false,
            buffer: Vec::new(),
            start: 0,
            ended: false,
        }
    }

    /// The file at `path`; `-` is standard input.
    pub fn open(context: &'c Context, path: &str) -> Result<Input<'c>, Errno> {
        if path == "-" {
            return Ok(Input::of(context, 0));
        }
        let fd = context
            .kernel()
            .open(context.process(), path.as_bytes(), oflag::O_RDONLY, 0)?;
        let mut input = Input::of(context, fd);
        input.owned = true;
        Ok(input)
    }

    /// The next piece; `None` at the end.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Errno> {
        if self.start < self.buffer.len() {
            let rest = self.buffer.split_off(self.start);
            self.buffer.clear();
            self.start = 0;
            return Ok(Some(rest));
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = self.context.read(self.fd, &mut chunk)?;
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }

    /// The next line with its newline, if it has one; `None` at the end.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, Errno> {
        let mut searched = self.start;
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let end = searched + at + 1;
                let line = self
                    .buffer
                    .get(self.start..end)
                    .unwrap_or_default()
                    .to_vec();
                self.start = end;
                return Ok(Some(line));
            }
            if self.ended {
                let line = self.buffer.split_off(self.start);
                self.start = self.buffer.len();
                return Ok((!line.is_empty()).then_some(line));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            if self.buffer.len() > MAX_TEXT {
                return Err(Errno::EFBIG);
            }
            searched = self.buffer.len();
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = self.context.read(self.fd, &mut chunk)?;
            self.ended = length == 0;
            self.buffer
                .extend_from_slice(chunk.get(..length).unwrap_or_default());
        }
    }

    /// All that is left; `EFBIG` beyond the limit.
    pub fn all(&mut self) -> Result<Vec<u8>, Errno> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk()? {
            if all.len() + chunk.len() > MAX_TEXT {
                return Err(Errno::EFBIG);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if self.owned {
            // A descriptor that a builtin of a shell opened must not stay with the shell.
            let _ = self.context.kernel().close(self.context.process(), self.fd);
        }
    }
}

/// A line without its newline.
pub(crate) fn chomp(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}
