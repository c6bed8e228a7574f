//! The system calls, as methods of [`Kernel`](crate::Kernel): each takes the calling process first.
//!
//! Paths are the guest's bytes as they are; a call copies nothing of them. A call that takes a path passes the gate in
//! `kernel.rs`; a call that takes a descriptor does not, because `open` did.

mod attrs;
mod dirs;
mod export;
mod io;
mod mounts;
mod names;
mod net;
mod open;
mod whole;

pub use export::ExportOptions;
pub use io::{HandleKind, Interest, Whence};
pub use names::Watch;
pub use net::{Lookup, Outgoing};
pub use whole::FileBytes;
