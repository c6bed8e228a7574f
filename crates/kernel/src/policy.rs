//! Who may touch which path: the one choke point of every file system call that takes a path.
//!
//! ```text
//!   path text --resolve--> Location --Gate::decide--> CheckedPath --> MemFs
//!                             ^                |
//!                             |                +-- asks the policy, outside the lock, about the canonical path
//!                             +--- resolved again after the answer; another place means asking again
//! ```
//!
//! A VM's own memory tree belongs to the guest, so without a policy everything in it is granted. A policy sees the
//! path after all links are resolved, and for a path that cannot be resolved its lexical form, so that it can refuse
//! before the guest learns whether something is there. A path that leads into a foreign file system is asked about before
//! that file system is, so a refused call does nothing on the host.

use crate::errno::Result;
use crate::resolve::{Location, Query};

/// What a call wants to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named after the calls")]
pub enum FsOp {
    Read,
    Write,
    Stat,
    Access,
    ReadDir,
    ReadLink,
    RealPath,
    StatFs,
    Mkdir,
    Rmdir,
    Unlink,
    Rename,
    Link,
    Symlink,
    Truncate,
    Chmod,
    Chown,
    Utimes,
    Watch,
    Chdir,
}

impl FsOp {
    /// The name of the operation in messages and rules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FsOp::Read => "read",
            FsOp::Write => "write",
            FsOp::Stat => "stat",
            FsOp::Access => "access",
            FsOp::ReadDir => "readdir",
            FsOp::ReadLink => "readlink",
            FsOp::RealPath => "realpath",
            FsOp::StatFs => "statfs",
            FsOp::Mkdir => "mkdir",
            FsOp::Rmdir => "rmdir",
            FsOp::Unlink => "unlink",
            FsOp::Rename => "rename",
            FsOp::Link => "link",
            FsOp::Symlink => "symlink",
            FsOp::Truncate => "truncate",
            FsOp::Chmod => "chmod",
            FsOp::Chown => "chown",
            FsOp::Utimes => "utimes",
            FsOp::Watch => "watch",
            FsOp::Chdir => "chdir",
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub const fn is_change(self) -> bool {
        !matches!(
            self,
            FsOp::Read
                | FsOp::Stat
                | FsOp::Access
                | FsOp::ReadDir
                | FsOp::ReadLink
                | FsOp::RealPath
                | FsOp::StatFs
                | FsOp::Watch
                | FsOp::Chdir
        )
    }
}

/// One question to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsRequest {
    /// What is to be done.
    pub op: FsOp,
    /// The canonical absolute path.
    pub path: Vec<u8>,
    /// The process that asks.
    pub pid: u32,
    /// Whether the path is in a file system that the embedder gave, not in the VM's own.
    pub foreign: bool,
}

/// Decides about paths. Called without any lock held, on the calling process's thread; it may take its time.
pub trait FsPolicy: Send + Sync {
    /// `Err` refuses; the guest sees that errno.
    fn check(&self, request: &FsRequest) -> Result<()>;
}

/// The proof that a location was checked. Only this file makes one.
#[derive(Debug)]
pub struct CheckedPath {
    location: Location,
}

impl CheckedPath {
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }
}

/// What `decide` found.
pub(crate) enum Decision {
    Granted(CheckedPath),
    /// The policy has not said.
    Ask(FsRequest),
    /// Where the path leads is for a foreign file system to say; the policy lets it be asked.
    Look(Query),
}

/// The questions that a policy has answered with yes during one call.
#[derive(Default)]
pub(crate) struct Answers(Vec<FsRequest>);

impl Answers {
    pub fn add(&mut self, request: FsRequest) {
        self.0.push(request);
    }

    pub fn covers(&self, request: &FsRequest) -> bool {
        self.0.contains(request)
    }
}

/// Grants in the VM's own tree, where nobody is asked.
pub(crate) fn grant_own_tree(location: Location) -> CheckedPath {
    CheckedPath { location }
}

/// Grants what the policy has already allowed, else says what to ask.
pub(crate) fn decide(location: Location, request: FsRequest, answers: &Answers) -> Decision {
    if answers.covers(&request) {
        Decision::Granted(CheckedPath { location })
    } else {
        Decision::Ask(request)
    }
}
