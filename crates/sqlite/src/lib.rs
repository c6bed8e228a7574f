//! SQLite without an operating system: its files, memory, locks, clock and chance come from a [`Machine`].
//!
//! ```text
//! Connection, Statement, Session, Backup --(machine::in_c)--> SQLite
//! SQLite --(machine::callback)--> vfs, memory, mutex, functions --> Machine
//! ```
//! A connection belongs to one thread. What it holds lives until the last statement, session or backup of it is gone, so
//! a function that SQL calls may close it while it works.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented,
    clippy::undocumented_unsafe_blocks,
    missing_docs
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod connection;
mod function;
mod locks;
mod machine;
mod memory;
mod mutex;
mod session;
mod setup;
mod statement;
mod vfs;

pub use connection::{Connection, Limits, OpenOptions, SqlError};
pub use function::{Aggregate, Answer, Arguments, Scalar, Traits};
pub use locks::{FileId, LockTable};
pub use machine::{Account, Charge, Fault, File, Machine, OpenHow, is_parkable};
pub use session::{Backup, Session, SetKind};
pub use statement::{Statement, Step, Value};

/// Codes of results that callers tell apart.
pub mod code {
    /// Nothing is wrong.
    pub const OK: i32 = 0;
    /// An operation was given up.
    pub const ABORT: i32 = 4;
    /// Another connection has the lock.
    pub const BUSY: i32 = 5;
    /// A table is locked within this connection.
    pub const LOCKED: i32 = 6;
    /// Memory is out.
    pub const NOMEM: i32 = 7;
    /// Work is done.
    pub const DONE: i32 = 101;
}
