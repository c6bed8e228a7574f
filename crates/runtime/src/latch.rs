//! The one truth about how a process ends: set once, from Rust, out of the guest's reach.

use std::sync::OnceLock;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `process.exit`, or nothing left to do. Carries the exit code.
    Exit(i32),
    /// An uncaught exception. Carries the exit code.
    Error(i32),
    /// The CPU time limit.
    Cpu,
    /// The wall time limit.
    Wall,
    /// The memory limit. Carries what was exceeded.
    Memory(&'static str),
    /// The embedder's `AbortSignal`.
    Aborted,
    /// Its runtime was disposed of.
    Disposed,
    /// Ended by a signal (its number), from the host or from the guest itself.
    Signal(i32),
    /// A budget that ends the process. Carries the option's name.
    Budget(&'static str),
    /// A failure of ours: a panic in a binding, or a fatal error of V8. Carries a report.
    Crash(String),
}

/// A cell for [`End`] that is written once.
#[derive(Debug, Default)]
pub struct Latch(OnceLock<End>);

impl Latch {
    /// Sets the end; the first one stays. Answers whether this was the first.
    pub fn set(&self, end: End) -> bool {
        self.0.set(end).is_ok()
    }

    /// The end, if there is one.
    pub fn get(&self) -> Option<&End> {
        self.0.get()
    }

    /// Whether the process has an end.
    pub fn is_set(&self) -> bool {
        self.0.get().is_some()
    }
}
