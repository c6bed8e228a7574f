//! A directory of the host, as a file system that a kernel can mount. Linux and other Unix systems.
//!
//! ```text
//!   HostDirectory (MountedFs)   what the kernel asks for, by path beneath the root
//!        |
//!        |----- watches.rs     inotify, on handles that beneath.rs opened
//!        |
//!   beneath.rs                  the only place that opens: from the root's handle, names only, no link followed
//!        |
//!   rustix                      openat2, or openat name by name
//! ```
//!
//! The root is opened once; its own path is never looked at again. Nothing that a guest, or anyone who can write in the
//! directory, does meanwhile leads out: no link is followed by the host, no `..` is passed to it, mounted file systems are
//! not entered unless the embedder says so, and `/proc` never is. Links are data here; the kernel walks them in the guest's
//! own tree.
//!
//! What a guest sees of the host: names, contents, sizes, permission bits, times and inode numbers of what is in the
//! directory. Not: owners (the VM's user stands for all of them), device numbers, how full the disk is.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented
)]
#![cfg(unix)]

mod beneath;
mod budget;
mod directory;
mod file;
mod stat;
#[cfg(target_os = "linux")]
mod watches;

pub use budget::HostLimits;
pub use directory::{Access, HostDirectory, HostOptions};

use secure_exec_kernel::Errno;

/// The guest's error for one of the host.
fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_number(error.raw_os_error()).unwrap_or(Errno::EIO)
}
