//! What a VM may use of the kernel, what it uses, and the error that says which limit was met.
//!
//! Counted in bytes: what the VM itself wrote (contents and link texts). Not counted: contents of the shared image
//! until the VM writes to them, names and inode records (bounded through `max_inodes`, about 0.5 KB each with the
//! longest name), and the allocator's slack (at most an eighth of a file's length).

use std::fmt;
use std::sync::Arc;

use crate::errno::{Errno, Result};

/// Limits of one VM's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Bytes of file contents; `resourceBudgets.maxFilesystemBytes`.
    pub max_filesystem_bytes: u64,
    /// Directory entries that the VM makes, hard links included; `resourceBudgets.maxInodes`.
    pub max_inodes: u64,
    /// Directories above one another in memory; `resourceBudgets.maxDirectoryDepth`.
    pub max_directory_depth: u32,
    /// Descriptors of one process; `resourceBudgets.maxOpenFds`.
    pub max_open_fds: u32,
    /// Bytes of one process's environment: names, values, and 64 for each variable.
    pub max_env_bytes: u64,
    /// Processes that guests started and that live or wait to be waited for; `resourceBudgets.maxChildProcesses`.
    pub max_child_processes: u32,
}

impl Quotas {
    /// Descriptors of one process.
    pub const DEFAULT_OPEN_FDS: u32 = 1024;
    /// 256 MiB: twice the default heap, so that a build tool fits and a hundred VMs do not take a machine.
    pub const DEFAULT_FILESYSTEM_BYTES: u64 = 256 << 20;
    /// Enough for a large `node_modules` that the guest unpacks by itself.
    pub const DEFAULT_INODES: u64 = 131_072;
    /// Deeper than a path can say from the root at once only with names of a few characters.
    pub const DEFAULT_DIRECTORY_DEPTH: u32 = 1024;
    /// 1 MiB.
    pub const DEFAULT_ENV_BYTES: u64 = 1 << 20;
    /// Enough for a build tool's workers.
    pub const DEFAULT_CHILD_PROCESSES: u32 = 64;
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas {
            max_filesystem_bytes: Quotas::DEFAULT_FILESYSTEM_BYTES,
            max_inodes: Quotas::DEFAULT_INODES,
            max_directory_depth: Quotas::DEFAULT_DIRECTORY_DEPTH,
            max_open_fds: Quotas::DEFAULT_OPEN_FDS,
            max_env_bytes: Quotas::DEFAULT_ENV_BYTES,
            max_child_processes: Quotas::DEFAULT_CHILD_PROCESSES,
        }
    }
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// See [`Quotas::max_filesystem_bytes`].
    FilesystemBytes,
    /// See [`Quotas::max_inodes`].
    Inodes,
    /// See [`Quotas::max_directory_depth`].
    DirectoryDepth,
    /// See [`Quotas::max_open_fds`].
    OpenFds,
    /// See [`Quotas::max_env_bytes`].
    EnvBytes,
    /// See [`Quotas::max_child_processes`].
    ChildProcesses,
    /// See [`NetLimits::max_sockets`](crate::NetLimits::max_sockets).
    Sockets,
    /// See [`NetLimits::max_connections`](crate::NetLimits::max_connections).
    Connections,
}

impl Limit {
    /// The name of the limit.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Limit::FilesystemBytes => "maxFilesystemBytes",
            Limit::Inodes => "maxInodes",
            Limit::DirectoryDepth => "maxDirectoryDepth",
            Limit::OpenFds => "maxOpenFds",
            Limit::EnvBytes => "maxEnvBytes",
            Limit::ChildProcesses => "maxChildProcesses",
            Limit::Sockets => "maxSockets",
            Limit::Connections => "maxConnections",
        }
    }

    /// The host's option that raises it.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Limit::FilesystemBytes => "resourceBudgets.maxFilesystemBytes",
            Limit::Inodes => "resourceBudgets.maxInodes",
            Limit::DirectoryDepth => "resourceBudgets.maxDirectoryDepth",
            Limit::OpenFds => "resourceBudgets.maxOpenFds",
            Limit::EnvBytes => "env",
            Limit::ChildProcesses => "resourceBudgets.maxChildProcesses",
            Limit::Sockets => "resourceBudgets.maxSockets",
            Limit::Connections => "resourceBudgets.maxConnections",
        }
    }

    /// What the guest sees.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Limit::FilesystemBytes | Limit::Inodes => Errno::ENOSPC,
            Limit::DirectoryDepth => Errno::ENAMETOOLONG,
            Limit::OpenFds => Errno::EMFILE,
            Limit::EnvBytes => Errno::ENOMEM,
            Limit::ChildProcesses => Errno::EAGAIN,
            Limit::Sockets | Limit::Connections => Errno::ENFILE,
        }
    }
}

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitError {
    /// Which one.
    pub limit: Limit,
    /// Its value.
    pub configured: u64,
    /// What was in use when more was asked for.
    pub used: u64,
    /// The host's option that raises it.
    pub option: &'static str,
}

impl LimitError {
    pub(crate) fn new(limit: Limit, configured: u64, used: u64) -> LimitError {
        LimitError {
            limit,
            configured,
            used,
            option: limit.option(),
        }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} exceeded: {} of {} in use; raise it with {}",
            self.limit.name(),
            self.used,
            self.configured,
            self.option
        )
    }
}

impl std::error::Error for LimitError {}

impl From<LimitError> for Errno {
    fn from(error: LimitError) -> Errno {
        error.limit.errno()
    }
}

/// Hears of a limit that is nearly reached.
pub type OnNearLimit = Arc<dyn Fn(LimitError) + Send + Sync>;

/// What a VM uses now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Against [`Quotas::max_filesystem_bytes`].
    pub filesystem_bytes: u64,
    /// Against [`Quotas::max_inodes`].
    pub inodes: u64,
}

/// The running account.
#[derive(Debug)]
pub(crate) struct Ledger {
    quotas: Quotas,
    usage: Usage,
    last: Option<LimitError>,
    /// Whether each of bytes and inodes has been told to be nearly used up.
    warned: [bool; 2],
    /// What is to be told once the lock is released.
    pub near: Vec<LimitError>,
}

/// A limit is nearly reached when this part of it is in use: four fifths.
const NEAR: (u64, u64) = (4, 5);

impl Ledger {
    /// Without limits until `start`.
    pub fn new() -> Ledger {
        let quotas = Quotas {
            max_filesystem_bytes: u64::MAX,
            max_inodes: u64::MAX,
            ..Quotas::default()
        };
        Ledger {
            quotas,
            usage: Usage::default(),
            last: None,
            warned: [false; 2],
            near: Vec::new(),
        }
    }

    /// Notes, once for each, that a limit is nearly reached.
    fn look(&mut self) {
        let limits = [
            (
                Limit::FilesystemBytes,
                self.quotas.max_filesystem_bytes,
                self.usage.filesystem_bytes,
            ),
            (Limit::Inodes, self.quotas.max_inodes, self.usage.inodes),
        ];
        for ((limit, max, used), warned) in limits.into_iter().zip(&mut self.warned) {
            if !*warned && used >= max / NEAR.1 * NEAR.0 && max < u64::MAX {
                *warned = true;
                self.near.push(LimitError::new(limit, max, used));
            }
        }
    }

    pub fn usage(&self) -> Usage {
        self.usage
    }

    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub fn bytes_left(&self) -> u64 {
        self.quotas
            .max_filesystem_bytes
            .saturating_sub(self.usage.filesystem_bytes)
    }

    /// Keeps an error for the host to read; the guest gets its errno.
    pub fn report(&mut self, error: LimitError) -> Errno {
        self.last = Some(error);
        error.into()
    }

    pub fn take_last(&mut self) -> Option<LimitError> {
        self.last.take()
    }

    pub fn no_bytes(&mut self) -> Errno {
        self.report(LimitError::new(
            Limit::FilesystemBytes,
            self.quotas.max_filesystem_bytes,
            self.usage.filesystem_bytes,
        ))
    }

    /// Replaces a charge of `old` bytes by one of `new` bytes.
    pub fn recharge_bytes(&mut self, old: u64, new: u64) -> Result<()> {
        if new > old && new - old > self.bytes_left() {
            return Err(self.no_bytes());
        }
        self.usage.filesystem_bytes = self
            .usage
            .filesystem_bytes
            .saturating_sub(old)
            .saturating_add(new);
        if new > old {
            self.look();
        }
        Ok(())
    }

    pub fn charge_inode(&mut self) -> Result<()> {
        if self.usage.inodes >= self.quotas.max_inodes {
            let error = LimitError::new(Limit::Inodes, self.quotas.max_inodes, self.usage.inodes);
            return Err(self.report(error));
        }
        self.usage.inodes += 1;
        self.look();
        Ok(())
    }

    /// From here on it counts, against these limits.
    pub fn start(&mut self, quotas: Quotas) {
        self.quotas = quotas;
        self.usage = Usage::default();
        self.last = None;
        self.warned = [false; 2];
        self.near.clear();
    }

    pub fn refund_inode(&mut self) {
        self.usage.inodes = self.usage.inodes.saturating_sub(1);
    }
}
