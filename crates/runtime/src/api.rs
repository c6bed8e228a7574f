//! Commands to a VM and what comes back: plain data, no V8 and no host handles.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secure_exec_kernel::permissions::PermissionSpec;
use secure_exec_kernel::{
    Egress, ExitStatus, Image, NetPolicy, OsConfig, OutputChannel, PipeReader, SIGABRT, SIGKILL,
    Terminal, UserConfig,
};

use crate::clock::Mitigation;
use crate::host::Host;
use crate::marshal::{HostValue, MarshalError};

/// Bytes of one MiB.
pub const MIB: usize = 1 << 20;

/// What a VM's processes may use. Ranges are checked in [`crate::vm::Vm::new`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// V8 heap, ArrayBuffers and what bindings hold, of one process. Default 128 MiB.
    pub memory_bytes: usize,
    /// CPU time of one process. Default 30 s.
    pub cpu: Option<Duration>,
    /// Wall time of one process. Default ten times the CPU limit.
    pub wall: Option<Duration>,
    /// Bytes of a structured value that crosses to the host. Default 4 MiB.
    pub json_payload_bytes: usize,
    /// Bytes of binary data that cross to the host. Default 16 MiB.
    pub base64_transfer_bytes: usize,
    /// Bytes that one process may write to its standard streams; what is beyond is dropped and counted. Default 64 MiB.
    pub max_output_bytes: u64,
    /// Active timers and immediates of one process. Default 10,000.
    pub max_timers: u32,
    /// Open handles of one process. Default 10,000.
    pub max_handles: u32,
    /// Processes that guests of the VM have started and that live. Default 64.
    pub max_child_processes: u32,
    /// Open descriptors of one process. Default 1,024.
    pub max_open_fds: u32,
    /// Bytes in the VM's own file system. Default 256 MiB.
    pub max_filesystem_bytes: u64,
    /// Entries in the VM's own file system. Default 131,072.
    pub max_inodes: u64,
    /// Directories one below the other.
    pub max_directory_depth: u32,
    /// Sockets of the VM. Default 4,096.
    pub max_sockets: u32,
    /// Connections inside the VM, with the host, and to the outside. Default 4,096.
    pub max_connections: u32,
    /// Calls of host functions by one process. Default 1,000,000.
    pub max_bridge_calls: u64,
    /// Parked threads of the OS process with which nothing is started in this VM any more. Default
    /// [`MAX_PARKED`](crate::fatal::MAX_PARKED).
    pub max_parked_threads: u32,
}

impl Limits {
    /// Whether a process with these limits may be started now.
    ///
    /// # Errors
    /// See [`crate::memory::admit`].
    pub fn admit(&self) -> Result<(), crate::budget::LimitError> {
        crate::memory::admit(self.memory_bytes, self.max_parked_threads as usize)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 * MIB,
            cpu: Some(Duration::from_secs(30)),
            wall: Some(Duration::from_mins(5)),
            json_payload_bytes: 4 * MIB,
            base64_transfer_bytes: 16 * MIB,
            max_output_bytes: 64 << 20,
            max_timers: 10_000,
            max_handles: 10_000,
            max_child_processes: 64,
            max_open_fds: 1024,
            max_filesystem_bytes: 256 << 20,
            max_inodes: 131_072,
            max_directory_depth: 1024,
            max_sockets: 4096,
            max_connections: 4096,
            max_bridge_calls: 1_000_000,
            max_parked_threads: crate::fatal::MAX_PARKED,
        }
    }
}

/// How a VM is made.
#[derive(Clone, Default)]
pub struct VmOptions {
    /// A name for reports.
    pub name: String,
    /// Limits of its processes.
    pub limits: Limits,
    /// Whether clocks stand still while guest code runs.
    pub mitigation: Mitigation,
    /// The tree to start from.
    pub image: Option<Arc<Image>>,
    /// Tar archives that are laid over that tree, one after the other.
    pub snapshot: Vec<Vec<u8>>,
    /// Whether code of modules in its read-only mounts is taken from the cache that the VMs of this OS process share.
    pub code_cache: bool,
    /// Directories of modules that the host gave: native addons there are refused by a name of their own.
    pub module_roots: Vec<String>,
    /// Files to put there, by absolute path; parents are made.
    pub files: Vec<(String, Vec<u8>)>,
    /// Environment of its processes. Nothing is added.
    pub env: Vec<(String, String)>,
    /// Where its processes start; made if missing. Empty for `/workspace`.
    pub cwd: String,
    /// Arguments of its processes, after the program.
    pub argv: Vec<String>,
    /// What the machine says of itself.
    pub os: OsConfig,
    /// The user.
    pub user: UserConfig,
    /// Asked about every address that a process uses; `None`: `permissions` decide.
    pub net_policy: Option<Arc<dyn NetPolicy>>,
    /// The way out of the VM's network; `None`: there is none.
    pub egress: Option<Arc<dyn Egress>>,
    /// Addresses of names, before anything else is asked.
    pub dns_overrides: Vec<(String, Vec<IpAddr>)>,
    /// Ports of the host's loopback that its processes reach at theirs, where nothing of the VM's own listens.
    pub exempt_ports: Vec<u16>,
    /// What its processes may do beyond its own memory.
    pub permissions: PermissionSpec,
    /// How long a function of the host may take to permit something. Default 30 s.
    pub permission_limit: Option<Duration>,
    /// The host's JavaScript; without one nobody is asked or told.
    pub host: Option<Arc<dyn Host>>,
    /// Dotted paths of the host's functions.
    pub host_functions: Vec<String>,
    /// Whether the host runs commands that the VM does not have.
    pub host_commands: bool,
    /// Whether the host wants to hear of limits that are nearly reached.
    pub warns: bool,
}

/// What is wanted of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// Its exit.
    #[default]
    Exit,
    /// Its exports too.
    Exports,
}

/// Chunks of output go here as they are written, on the process's thread.
pub type OnOutput = Arc<dyn Fn(OutputChannel, &[u8]) + Send + Sync>;

/// Called with the process's id before its program runs, on the process's thread.
pub type OnStart = Arc<dyn Fn(u32) + Send + Sync>;

/// One program to run.
#[derive(Clone, Default)]
pub struct ExecOptions {
    /// Its source: JavaScript or TypeScript.
    pub code: String,
    /// The path it stands at in the guest; its extension tells the language. Relative to the working directory.
    pub file_path: Option<String>,
    /// Whether the file at `file_path` is run instead of `code`.
    pub from_file: bool,
    /// Exports or exit.
    pub want: Want,
    /// Environment variables over those of the VM.
    pub env: Vec<(String, String)>,
    /// Working directory instead of the VM's.
    pub cwd: Option<String>,
    /// Arguments instead of the VM's.
    pub argv: Option<Vec<String>>,
    /// What its standard input holds.
    pub stdin: Vec<u8>,
    /// Its standard input is a pipe that somebody feeds, instead.
    pub stdin_pipe: Option<PipeReader>,
    /// Its standard streams are this terminal, instead.
    pub terminal: Option<Arc<Terminal>>,
    /// Told when it starts.
    pub on_start: Option<OnStart>,
    /// CPU limit instead of the VM's.
    pub cpu: Option<Duration>,
    /// Wall limit instead of the VM's.
    pub wall: Option<Duration>,
    /// Whether the wall limit waits while a process of the tree listens for connections.
    pub wall_spares_listeners: bool,
    /// Whether a top-level await that nothing can settle any more is waited for until a limit or the host ends it.
    pub waits_for_await: bool,
    /// Clocks instead of the VM's.
    pub mitigation: Option<Mitigation>,
    /// Bytes of each standard stream to keep for the result.
    pub capture_bytes: usize,
    /// Where output goes as it is written.
    pub on_output: Option<OnOutput>,
    /// Node's own command-line options for this process. Only our conformance runner sets them.
    pub node_options: Vec<(String, serde_json::Value)>,
    /// `process.execArgv`.
    pub exec_argv: Vec<String>,
}

/// Why a process ended, as the public API words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It ran to its end or called `process.exit`.
    Exit,
    /// An uncaught error.
    Error,
    /// The CPU time limit.
    Cpu,
    /// The wall time limit.
    Wall,
    /// The memory limit.
    Memory,
    /// The embedder's signal.
    Aborted,
    /// The runtime was disposed of.
    Disposed,
    /// A failure of ours.
    Crash,
}

impl Reason {
    /// The public word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Error => "error",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Memory => "memory",
            Self::Aborted => "aborted",
            Self::Disposed => "disposed",
            Self::Crash => "crash",
        }
    }
}

/// An uncaught error of the guest, as capped text that was read without running guest code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestError {
    /// Its class, for example `TypeError`.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Its stack as text.
    pub stack: String,
    /// Node's code, if it had one.
    pub code: Option<String>,
}

/// One captured stream.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The kept bytes.
    pub bytes: Vec<u8>,
    /// Bytes that were written beyond what is kept.
    pub dropped: u64,
}

/// What a process used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of its thread.
    pub cpu: Duration,
    /// Time from its start to its end.
    pub wall: Duration,
    /// The most that its heap held.
    pub peak_heap_bytes: usize,
}

impl Outcome {
    /// What a parent sees. What a limit ended looks like a kill; out of memory, like Node's own abort.
    pub fn exit_status(&self) -> ExitStatus {
        match self.reason {
            Reason::Exit | Reason::Error => match self.signal {
                Some(signal) => ExitStatus::signalled(signal),
                None => ExitStatus::exited(self.code),
            },
            Reason::Memory | Reason::Crash => ExitStatus::signalled(SIGABRT),
            Reason::Cpu | Reason::Wall | Reason::Aborted | Reason::Disposed => {
                ExitStatus::signalled(SIGKILL)
            }
        }
    }
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why.
    pub reason: Reason,
    /// Its exit code.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// One line on what went wrong, unless it exited by itself.
    pub error_message: Option<String>,
    /// The uncaught error.
    pub error: Option<GuestError>,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// What it used.
    pub usage: Usage,
    /// Its exports, when they were wanted and it ran to its end.
    pub exports: Option<Result<HostValue, MarshalError>>,
}
