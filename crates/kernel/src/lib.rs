//! The machine that a guest sees: files, descriptors, pipes, processes, clock, quotas. No V8, no host access.
//!
//! ```text
//!   bindings (crates/runtime)                        the host, as Kernel::host()
//!        |  &Process, path bytes, fd                        |
//!        v                                                  v
//!   +-------------------------------- Kernel (one per VM) ---------------------------------+
//!   |  calls/   open io attrs dirs names whole      one method per system call             |
//!   |     |                                                                                |
//!   |  kernel.rs  check(): resolve.rs walks names --> policy.rs --> CheckedPath (a proof)  |
//!   |     |                                                                                |
//!   |  memfs.rs   inodes, entries, contents --- image.rs: the shared tree underneath       |
//!   |  mount.rs   what is mounted where --- mounted_fs.rs: what the embedder gives (traits) |
//!   |             copy_up.rs: what a change brings into memory first                        |
//!   |     content.rs   inode.rs   quota.rs   watch.rs   device.rs   procfs.rs              |
//!   |  permissions/  what the host allows: rules and questions to it                        |
//!   +--------------------------------------------------------------------------------------+
//!   process.rs  who, where, environment;  fd.rs  descriptors --> file.rs  open files
//!   net/  sockets: TCP, UDP, local; egress
//!   pipe.rs, stdio.rs  what is not a file;  clock.rs  the only time;  errno.rs  the only errors
//! ```
//!
//! One lock per kernel guards the tree; it is never held while something outside is called. Guests can reach every
//! call with any arguments: no call panics, and nothing grows that no quota counts.

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

mod calls;
mod changes;
mod clock;
mod content;
mod copy_up;
mod device;
mod errno;
mod exec;
mod fd;
mod file;
mod flags;
mod flock;
mod image;
mod inode;
mod kernel;
mod machine;
mod memfs;
mod mount;
mod mounted_fs;
mod net;
mod path;
pub mod permissions;
mod pipe;
mod policy;
mod process;
mod procfs;
mod quota;
mod resolve;
mod signal;
mod stat;
mod stdio;
mod table;
mod terminal;
mod untar;
mod watch;

pub use calls::{ExportOptions, FileBytes, HandleKind, Interest, Lookup, Outgoing, Watch, Whence};
pub use changes::{Changes, Mark};
pub use clock::{Clock, ClockMode, RealNow, TimeSpec};
pub use device::fill_random;
pub use errno::{Errno, Result};
pub use exec::{
    DEFAULT_PATH, Executable, MACHINE_PROGRAMS, MAX_ARGUMENT_BYTES, ProcessPolicy, ProcessRequest,
};
pub use fd::{Fd, FdHandle};
pub use file::OpenFile;
pub use flags::{
    COPYFILE_EXCL, COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE, F_OK, Follow, R_OK, W_OK, X_OK, oflag,
};
pub use flock::FileLock;
pub use image::{Image, ImageBuilder};
pub use kernel::{Kernel, KernelOptions, NetOptions};
pub use machine::{Machine, OsConfig, UserConfig};
pub use memfs::PermissionBits;
pub use mount::{MountInfo, MountKind, MountOptions, MountSource};
pub use mounted_fs::{Caller, Found, MountedFile, MountedFs, OpenHow, VM_OWNER};
pub use net::{
    Answered, CheckedAddr, CheckedName, Connect, Datagram, Datagrams, Dial, Domain, Egress,
    HostPorts, Inbox, ListenerInfo, ListenerQuery, ListenerWait, Membership, NameRecords,
    NetLimits, NetOp, NetPolicy, NetRequest, Resolved, SocketName, StreamEnd, UdpOption,
};
pub use path::{GuestPath, LINK_DEPTH_MAX, NAME_MAX, PATH_MAX, normalize};
pub use pipe::{PIPE_CAPACITY, PipeReader, PipeWriter, Wake, pipe};
pub use policy::{CheckedPath, FsOp, FsPolicy, FsRequest};
pub use process::{DEFAULT_CWD, EXEC_PATH, InterruptGuard, Process, ProcessOptions, Program};
pub use quota::{Limit, LimitError, OnNearLimit, Quotas, Usage};
pub use signal::{
    MAX_SIGNAL, SIGABRT, SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT,
    SIGSTOP, SIGTERM, SIGWINCH, SignalSet, can_catch, ends_by_default, signal_name, signal_number,
};
pub use stat::{DirEntry, FileType, ModuleStat, S_IFMT, Stat, StatFs};
pub use stdio::{
    CaptureSink, Captured, NullSink, OutputChannel, OutputLook, OutputSink, Stdin, Stdio,
};
pub use table::{ExitStatus, ProcessInfo, Supervisor};
pub use terminal::{OnSignal, Terminal, WindowSize};
pub use untar::{TarError, TarLimits};
pub use watch::{WatchEvent, WatchKind, WatchSink};
