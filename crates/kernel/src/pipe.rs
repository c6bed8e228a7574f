//! Pipes: between descriptors, and between a process's stdin and the host.
//!
//! A pipe has its own small lock and never takes another. Nothing blocks: an operation that would is `EAGAIN`, and
//! `on_readable`/`on_writable` call back once when it is worth another try. Callbacks run without the lock, on the
//! thread whose action made the pipe ready.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::errno::{Errno, Result};

/// Called once, when a descriptor is ready.
pub type Wake = Box<dyn FnOnce() + Send>;

/// Bytes that a pipe holds, as on Linux.
pub const PIPE_CAPACITY: usize = 64 << 10;

#[derive(Default)]
struct State {
    buffer: VecDeque<u8>,
    readers: u32,
    writers: u32,
    on_readable: Vec<Wake>,
    on_writable: Vec<Wake>,
}

struct Pipe {
    id: u64,
    state: Mutex<State>,
}

/// The end to read from. Cloning it makes one more reader; the pipe is broken when the last is dropped.
pub struct PipeReader(Arc<Pipe>);

/// The end to write to. Cloning it makes one more writer; the pipe ends when the last is dropped.
pub struct PipeWriter(Arc<Pipe>);

/// A new pipe.
#[must_use]
pub fn pipe() -> (PipeReader, PipeWriter) {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let pipe = Arc::new(Pipe {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        state: Mutex::new(State {
            readers: 1,
            writers: 1,
            ..State::default()
        }),
    });
    (PipeReader(pipe.clone()), PipeWriter(pipe))
}

fn wake_all(wakes: Vec<Wake>) {
    for wake in wakes {
        wake();
    }
}

impl PipeReader {
    /// Takes what is there; 0 at the end, `EAGAIN` when more may come.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let wakes = {
            let mut state = self.0.state.lock();
            if state.buffer.is_empty() {
                return if state.writers == 0 {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let n = buf.len().min(state.buffer.len());
            for (to, from) in buf.iter_mut().zip(state.buffer.drain(..n)) {
                *to = from;
            }
            (n, std::mem::take(&mut state.on_writable))
        };
        wake_all(wakes.1);
        Ok(wakes.0)
    }

    /// Whether `read` would not say `EAGAIN`.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let state = self.0.state.lock();
        !state.buffer.is_empty() || state.writers == 0
    }

    /// Whether all that will ever come is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.state.lock().writers == 0
    }

    /// Bytes that are there.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.state.lock().buffer.len()
    }

    /// Calls back once when `read` would not say `EAGAIN`; at once if that is so now.
    pub fn on_readable(&self, wake: Wake) {
        let mut state = self.0.state.lock();
        if state.buffer.is_empty() && state.writers > 0 {
            state.on_readable.push(wake);
            return;
        }
        drop(state);
        wake();
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }
}

impl PipeWriter {
    /// Puts in what fits; `EAGAIN` when nothing does, `EPIPE` when nobody reads.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        let (n, wakes) = {
            let mut state = self.0.state.lock();
            if state.readers == 0 {
                return Err(Errno::EPIPE);
            }
            if data.is_empty() {
                return Ok(0);
            }
            let n = data
                .len()
                .min(PIPE_CAPACITY.saturating_sub(state.buffer.len()));
            if n == 0 {
                return Err(Errno::EAGAIN);
            }
            state.buffer.extend(data.iter().take(n));
            (n, std::mem::take(&mut state.on_readable))
        };
        wake_all(wakes);
        Ok(n)
    }

    /// Whether `write` would not say `EAGAIN`.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        let state = self.0.state.lock();
        state.readers == 0 || state.buffer.len() < PIPE_CAPACITY
    }

    /// Calls back once when `write` would not say `EAGAIN`; at once if that is so now.
    pub fn on_writable(&self, wake: Wake) {
        let mut state = self.0.state.lock();
        if state.readers > 0 && state.buffer.len() >= PIPE_CAPACITY {
            state.on_writable.push(wake);
            return;
        }
        drop(state);
        wake();
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }
}

impl Clone for PipeReader {
    fn clone(&self) -> Self {
        self.0.state.lock().readers += 1;
        PipeReader(self.0.clone())
    }
}

impl Clone for PipeWriter {
    fn clone(&self) -> Self {
        self.0.state.lock().writers += 1;
        PipeWriter(self.0.clone())
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let wakes = {
            let mut state = self.0.state.lock();
            state.readers = state.readers.saturating_sub(1);
            if state.readers > 0 {
                return;
            }
            state.buffer = VecDeque::new();
            std::mem::take(&mut state.on_writable)
        };
        wake_all(wakes);
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let wakes = {
            let mut state = self.0.state.lock();
            state.writers = state.writers.saturating_sub(1);
            if state.writers > 0 {
                return;
            }
            std::mem::take(&mut state.on_readable)
        };
        wake_all(wakes);
    }
}

impl std::fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PipeReader({})", self.0.id)
    }
}

impl std::fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PipeWriter({})", self.0.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn bytes_go_through_in_order() {
        let (reader, writer) = pipe();
        assert_eq!(reader.read(&mut [0; 4]), Err(Errno::EAGAIN));
        assert_eq!(writer.write(b"hello"), Ok(5));
        let mut buf = [0; 3];
        assert_eq!(reader.read(&mut buf), Ok(3));
        assert_eq!(&buf, b"hel");
        drop(writer);
        assert_eq!(reader.read(&mut buf), Ok(2));
        assert_eq!(reader.read(&mut buf), Ok(0));
    }

    #[test]
    fn full_and_broken() {
        let (reader, writer) = pipe();
        assert_eq!(writer.write(&vec![1; PIPE_CAPACITY + 1]), Ok(PIPE_CAPACITY));
        assert_eq!(writer.write(b"x"), Err(Errno::EAGAIN));
        drop(reader);
        assert_eq!(writer.write(b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn wakes_once() {
        let (reader, writer) = pipe();
        let count = Arc::new(AtomicU32::new(0));
        let wake = |count: &Arc<AtomicU32>| -> Wake {
            let count = count.clone();
            Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            })
        };
        reader.on_readable(wake(&count));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert_eq!(writer.write(b"a"), Ok(1));
        assert_eq!(writer.write(b"b"), Ok(1));
        assert_eq!(count.load(Ordering::SeqCst), 1);
        reader.on_readable(wake(&count));
        assert_eq!(count.load(Ordering::SeqCst), 2);
        let mut buf = [0; 8];
        assert_eq!(reader.read(&mut buf), Ok(2));
        reader.on_readable(wake(&count));
        let second = writer.clone();
        drop(writer);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        drop(second);
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }
}
