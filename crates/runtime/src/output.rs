//! Where a process's standard streams go: kept for the result up to a size, and passed on as written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use secure_exec_kernel::{Errno, OutputChannel, OutputSink};

use crate::api::{Captured, OnOutput};
use crate::budget::{NearLimit, OnWarning};

/// See the module's text.
pub struct Output {
    keep: usize,
    max: u64,
    written: AtomicU64,
    kept: Mutex<[Captured; 2]>,
    on_output: Option<OnOutput>,
    near: NearLimit,
}

impl Output {
    /// Keeps `keep` bytes of each stream; drops what is beyond `max` bytes in all.
    pub fn new(
        keep: usize,
        max: u64,
        on_output: Option<OnOutput>,
        on_warning: Option<OnWarning>,
    ) -> Self {
        Self {
            keep,
            max,
            written: AtomicU64::new(0),
            kept: Mutex::default(),
            on_output,
            near: NearLimit::new("maxOutputBytes", max, on_warning),
        }
    }

    /// What was kept of both streams, standard output first. Leaves nothing.
    pub fn take(&self) -> [Captured; 2] {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes written so far, with those that were dropped.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

impl OutputSink for Output {
    fn write(&self, channel: OutputChannel, data: &[u8]) -> Result<usize, Errno> {
        let before = self.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.near.look(before.saturating_add(data.len() as u64));
        let allowed = usize::try_from(self.max.saturating_sub(before))
            .unwrap_or(usize::MAX)
            .min(data.len());
        let (passed, over) = data.split_at(allowed);
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let [stdout, stderr] = &mut *kept;
            let captured = match channel {
                OutputChannel::Stdout => stdout,
                OutputChannel::Stderr => stderr,
            };
            let room = self
                .keep
                .saturating_sub(captured.bytes.len())
                .min(passed.len());
            let (keep, beyond) = passed.split_at(room);
            captured.bytes.extend_from_slice(keep);
            captured.dropped += (beyond.len() + over.len()) as u64;
        }
        if let (Some(on_output), false) = (&self.on_output, passed.is_empty()) {
            on_output(channel, passed);
        }
        Ok(data.len())
    }
}
