//! Archives of a VM's files while they are written: a thread of their own writes, the host reads piece by piece.
//!
//! What is written and not yet read is bounded; a thread whose reader went away ends with its next piece.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use secure_exec_kernel::{ExportOptions, Kernel, Mark, TarError};

/// Bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait to be read.
const PIECES: usize = 4;
/// Archives of one VM that are written at once.
const MAX_STREAMS: usize = 32;

/// What goes into an archive.
pub enum Contents {
    /// A directory with all that is in it.
    Tree(Vec<u8>),
    /// What changed in the VM's memory.
    Changes(Mark),
}

impl Contents {
    /// Writes the archive.
    pub fn write(
        &self,
        kernel: &Kernel,
        options: ExportOptions,
        sink: &mut dyn Write,
    ) -> Result<(), TarError> {
        match self {
            Self::Tree(root) => kernel.export_tar(root, options, sink),
            Self::Changes(mark) => kernel.export_changes(*mark, options, sink),
        }
    }
}

type Piece = Result<Vec<u8>, TarError>;

/// The archives of one VM.
#[derive(Default)]
pub struct ArchiveStreams {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u32,
    open: HashMap<u32, Arc<Mutex<Receiver<Piece>>>>,
}

struct Sender {
    pieces: SyncSender<Piece>,
    buffer: Vec<u8>,
}

impl Sender {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.pieces.send(Ok(piece)).map_err(gone)
    }
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES.saturating_sub(self.buffer.len());
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            self.send()
        }
    }
}

impl ArchiveStreams {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an archive; its number.
    ///
    /// # Errors
    /// When too many are being written, or no thread can be started.
    pub fn open(
        &self,
        kernel: Arc<Kernel>,
        contents: Contents,
        options: ExportOptions,
    ) -> io::Result<u32> {
        let mut state = self.state();
        if state.open.len() >= MAX_STREAMS {
            return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
        }
        let (pieces, receiver) = sync_channel(PIECES);
        std::thread::Builder::new()
            .name("secure-exec archive".to_owned())
            .spawn(move || {
                let mut sender = Sender {
                    pieces: pieces.clone(),
                    buffer: Vec::new(),
                };
                if let Err(error) = contents.write(&kernel, options, &mut sender) {
                    // Nobody reads any more: nobody is to be told.
                    let _ = pieces.send(Err(error));
                }
            })?;
        let id = state.next;
        state.next = state.next.wrapping_add(1);
        state.open.insert(id, Arc::new(Mutex::new(receiver)));
        Ok(id)
    }

    /// The next piece, waiting for it; `None` after the last.
    ///
    /// # Errors
    /// What went wrong while it was written; then it is closed.
    pub fn read(&self, id: u32) -> Result<Option<Vec<u8>>, TarError> {
        let Some(receiver) = self.state().open.get(&id).cloned() else {
            return Ok(None);
        };
        let piece = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match piece {
            Ok(Ok(piece)) => Ok(Some(piece)),
            Ok(Err(error)) => {
                self.close(id);
                Err(error)
            }
            Err(_) => {
                self.close(id);
                Ok(None)
            }
        }
    }

    /// Gives an archive up. Idempotent.
    pub fn close(&self, id: u32) {
        let receiver = self.state().open.remove(&id);
        drop(receiver);
    }
}
