//! A VM: one kernel and the processes that run in it.
//!
//! Commands come from any thread and are plain data; outcomes go to a callback, exactly once a process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use secure_exec_kernel::permissions::{Approver, ConfigError, Permissions};
use secure_exec_kernel::{
    Clock, ClockMode, Errno, FsPolicy, Image, Kernel, KernelOptions, NetLimits, NetOptions,
    NetPolicy, OnNearLimit, Quotas, TarError, TarLimits,
};

use crate::api::{ExecOptions, Outcome, VmOptions};
use crate::archive_stream::ArchiveStreams;
use crate::budget::{LimitError, LimitWarning, OnWarning};
use crate::clock::Mitigation;
use crate::code_cache;
use crate::host::{Host, PermissionHost};
use crate::host_functions::Link;
use crate::host_watches::{HostWatches, Listeners};
use crate::latch::End;
use crate::process::{Control, Job, Work};
use crate::wasm_types::WasmTypes;

/// How long a function of the host may take to permit something.
const PERMISSION_LIMIT: Duration = Duration::from_secs(30);
/// `O_WRONLY | O_CREAT | O_TRUNC` of Linux.
const O_WRONLY_CREAT_TRUNC: i32 = 0o1101;

/// Called with a process's outcome.
pub type OnDone = Box<dyn FnOnce(Outcome) + Send>;

/// Why a VM or a process could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The VM was disposed of.
    #[error("the runtime was disposed of")]
    Disposed,
    /// The kernel refused a file, a directory or a process.
    #[error("{}: {}, {what}", errno.name(), errno.message())]
    Kernel {
        /// Why.
        errno: Errno,
        /// What was asked.
        what: String,
    },
    /// Too much lives in this OS process already.
    #[error("{0}")]
    Limit(#[from] LimitError),
    /// An option cannot be meant.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A snapshot cannot be read.
    #[error("snapshot is not an archive that can be restored: {0}")]
    Snapshot(#[from] TarError),
    /// No isolate could be started.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
}

impl VmError {
    /// The public error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disposed => "ERR_RUNTIME_DISPOSED",
            Self::Limit(_) => "ERR_RESOURCE_BUDGET_EXCEEDED",
            Self::Kernel { errno, .. } => errno.name(),
            Self::Config(_) | Self::Snapshot(_) => "ERR_INVALID_ARG_VALUE",
            Self::Engine(_) => "ERR_WORKER_CRASHED",
        }
    }
}

/// One virtual machine.
pub struct Vm {
    kernel: Arc<Kernel>,
    permissions: Arc<Permissions>,
    host_functions: Mutex<Vec<String>>,
    options: VmOptions,
    disposed: AtomicBool,
    processes: Mutex<HashMap<u64, Weak<Control>>>,
    archives: ArchiveStreams,
    code_share: code_cache::Share,
    watches: HostWatches,
    listeners: Arc<Listeners>,
    workers: crate::worker::Count,
    next_id: std::sync::atomic::AtomicU64,
    wasm_types: WasmTypes,
    sqlite_locks: Arc<secure_exec_sqlite::LockTable>,
}

impl Vm {
    /// Locks that SQLite has on the VM's files.
    pub(crate) fn sqlite_locks(&self) -> &Arc<secure_exec_sqlite::LockTable> {
        &self.sqlite_locks
    }

    /// A VM with its own kernel; no process yet.
    ///
    /// # Errors
    /// [`VmError::Kernel`] when a file of `options.files` or the working directory cannot be made.
    pub fn new(mut options: VmOptions) -> Result<Arc<Self>, VmError> {
        if options.cwd.is_empty() {
            secure_exec_kernel::DEFAULT_CWD.clone_into(&mut options.cwd);
        }
        let limits = &options.limits;
        let quotas = Quotas {
            max_filesystem_bytes: limits.max_filesystem_bytes,
            max_inodes: limits.max_inodes,
            max_directory_depth: limits.max_directory_depth,
            max_open_fds: limits.max_open_fds,
            max_child_processes: limits.max_child_processes,
            ..Quotas::default()
        };
        let mode = match options.mitigation {
            Mitigation::Freeze => ClockMode::Frozen,
            Mitigation::Off => ClockMode::Real,
        };
        let mut image = options.image.take();
        let archives = std::mem::take(&mut options.snapshot);
        if !archives.is_empty() {
            let mut builder = Image::builder();
            for archive in archives {
                builder.tar(archive.as_slice(), TarLimits::default())?;
            }
            image = Some(builder.build());
        }
        let limit = options.permission_limit.unwrap_or(PERMISSION_LIMIT);
        let approver = options
            .host
            .clone()
            .map(|host| -> Arc<dyn Approver> { Arc::new(PermissionHost::new(host, limit)) });
        let permissions = Arc::new(Permissions::new(&options.permissions, approver)?);
        let policy = permissions
            .guards_files()
            .then(|| permissions.clone() as Arc<dyn FsPolicy>);
        let net_policy: Arc<dyn NetPolicy> = match &options.net_policy {
            Some(policy) => policy.clone(),
            None => permissions.clone(),
        };
        let kernel = Kernel::new(KernelOptions {
            image,
            quotas,
            clock: Some(Arc::new(Clock::new(mode))),
            os: options.os.clone(),
            user: options.user.clone(),
            policy,
            process_policy: Some(permissions.clone()),
            host_commands: options.host_commands && options.host.is_some(),
            net: NetOptions {
                limits: NetLimits {
                    max_sockets: limits.max_sockets.into(),
                    max_connections: limits.max_connections.into(),
                    ..NetLimits::default()
                },
                policy: Some(net_policy),
                egress: options.egress.clone(),
                dns_overrides: options.dns_overrides.clone(),
                exempt_ports: options.exempt_ports.clone(),
            },
            on_near_limit: options.host.clone().filter(|_| options.warns).map(
                |host| -> OnNearLimit {
                    Arc::new(move |near| {
                        host.warn(LimitWarning {
                            option: near.limit.name(),
                            used: near.used,
                            max: near.configured,
                        });
                    })
                },
            ),
            ..KernelOptions::default()
        })
        .map_err(|errno| VmError::Kernel {
            errno,
            what: "start".to_owned(),
        })?;
        let vm = Arc::new(Self {
            kernel,
            permissions,
            host_functions: Mutex::new(std::mem::take(&mut options.host_functions)),
            disposed: AtomicBool::new(false),
            processes: Mutex::default(),
            archives: ArchiveStreams::default(),
            code_share: code_cache::Share::default(),
            watches: HostWatches::default(),
            listeners: Arc::default(),
            workers: crate::worker::Count::default(),
            next_id: std::sync::atomic::AtomicU64::new(1),
            wasm_types: WasmTypes::default(),
            sqlite_locks: Arc::default(),
            options,
        });
        crate::pool::refill();
        vm.make_directory(&vm.options.cwd.clone())?;
        for (path, bytes) in &vm.options.files {
            vm.write_file(path, bytes)?;
        }
        Ok(vm)
    }

    /// The kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Archives of its files that are being written.
    pub fn archives(&self) -> &ArchiveStreams {
        &self.archives
    }

    /// What the host watches in its tree.
    pub fn watches(&self) -> &HostWatches {
        &self.watches
    }

    /// Who hears of the file systems that the host wrote.
    pub fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// What it may still have compiled for the cache of code.
    pub fn code_share(&self) -> &code_cache::Share {
        &self.code_share
    }

    /// What its processes may do beyond its own memory.
    pub fn permissions(&self) -> &Arc<Permissions> {
        &self.permissions
    }

    /// How many types the WebAssembly modules of its processes have defined.
    pub(crate) fn wasm_types(&self) -> &WasmTypes {
        &self.wasm_types
    }

    /// Gives processes that start from now on these functions of the host, too.
    pub fn add_host_functions(&self, names: Vec<String>) {
        let mut known = self
            .host_functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }

    /// Who answers a new process's calls, and the functions that it has; `None` when there are none.
    pub(crate) fn host_functions(&self) -> Option<(Link, Vec<String>)> {
        let names = self
            .host_functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let host = self.options.host.clone().filter(|_| !names.is_empty())?;
        let link = Link {
            host,
            permissions: self.permissions.clone(),
            limits: self.options.limits.clone(),
        };
        Some((link, names))
    }

    /// Where limits that are nearly reached are told; `None` when nobody wants to know.
    pub(crate) fn on_warning(&self) -> Option<OnWarning> {
        let host: Arc<dyn Host> = self.options.host.clone().filter(|_| self.options.warns)?;
        Some(Arc::new(move |warning| host.warn(warning)))
    }

    /// How it was made.
    pub fn options(&self) -> &VmOptions {
        &self.options
    }

    /// Makes a directory and its parents, as the host; what is new belongs to the user.
    ///
    /// # Errors
    /// [`VmError::Kernel`].
    pub fn make_directory(&self, path: &str) -> Result<(), VmError> {
        let refused = |errno| VmError::Kernel {
            errno,
            what: format!("mkdir '{path}'"),
        };
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .skip(1)
            .chain([path.len()]);
        for parent in ends
            .filter_map(|end| path.get(..end))
            .filter(|parent| !parent.ends_with('/'))
        {
            match self
                .kernel
                .mkdir(self.kernel.host(), parent.as_bytes(), 0o777)
            {
                Ok(()) => self.give_to_user(parent).map_err(refused)?,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
        Ok(())
    }

    /// Writes a file and its parent directories, as the host; they belong to the user.
    ///
    /// # Errors
    /// [`VmError::Kernel`].
    pub fn write_file(&self, path: &str, bytes: &[u8]) -> Result<(), VmError> {
        if let Some((parent, _)) = path
            .rsplit_once('/')
            .filter(|(parent, _)| !parent.is_empty())
        {
            self.make_directory(parent)?;
        }
        self.kernel
            .write_file(
                self.kernel.host(),
                path.as_bytes(),
                bytes,
                O_WRONLY_CREAT_TRUNC,
                0o666,
            )
            .and_then(|()| self.give_to_user(path))
            .map_err(|errno| VmError::Kernel {
                errno,
                what: format!("open '{path}'"),
            })
    }

    fn give_to_user(&self, path: &str) -> Result<(), Errno> {
        let user = &self.options.user;
        self.kernel.chown(
            self.kernel.host(),
            path.as_bytes(),
            Some(user.uid),
            Some(user.gid),
        )
    }

    /// Starts a program; `done` gets its outcome, on a thread of ours.
    ///
    /// # Errors
    /// [`VmError`]; then `done` is not called.
    pub fn exec(
        self: &Arc<Self>,
        options: ExecOptions,
        done: OnDone,
    ) -> Result<Arc<Control>, VmError> {
        self.options.limits.admit()?;
        let control = self.track(done)?;
        let job = Job {
            vm: self.clone(),
            options,
            control: control.clone(),
        };
        if let Err(error) = crate::pool::run(Work::Program(job)) {
            control.abandon();
            return Err(error.into());
        }
        Ok(control)
    }

    /// A handle for something that runs in this VM: it ends with the VM, and `done` gets its outcome.
    pub(crate) fn track(self: &Arc<Self>, done: OnDone) -> Result<Arc<Control>, VmError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.disposed.load(Ordering::Acquire) {
            return Err(VmError::Disposed);
        }
        let vm = Arc::downgrade(self);
        let control = Control::new(Box::new(move |outcome| {
            if let Some(vm) = vm.upgrade() {
                vm.forget(id);
            }
            done(outcome);
        }));
        // Handles that were given up before their process began have not forgotten themselves.
        processes.retain(|_, control| control.strong_count() > 0);
        processes.insert(id, Arc::downgrade(&control));
        Ok(control)
    }

    fn forget(&self, id: u64) {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.remove(&id);
    }

    /// Starts a context: an isolate whose state is kept between calls.
    ///
    /// # Errors
    /// [`VmError`].
    pub fn context(
        self: &Arc<Self>,
        options: ExecOptions,
    ) -> Result<crate::context::Context, VmError> {
        crate::context::Context::start(self, options)
    }

    /// Ends every process; the VM stays usable.
    pub fn terminate(&self, end: &End) {
        let controls: Vec<_> = {
            let processes = self
                .processes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            processes.values().filter_map(Weak::upgrade).collect()
        };
        for control in controls {
            control.kill(end.clone());
        }
    }

    /// Lets go of the files once everything has ended: who holds the VM may do so for long.
    pub fn forget_files(&self) {
        /// More take a while, which is not the caller's thread to spend.
        const FEW_INODES: u64 = 4096;
        const FEW_BYTES: u64 = 16 << 20;
        const STACK_BYTES: usize = 256 << 10;
        let usage = self.kernel.usage();
        let many = usage.inodes > FEW_INODES || usage.filesystem_bytes > FEW_BYTES;
        let files = self.kernel.take_files();
        if many {
            let name = "secure-exec files".to_owned();
            if let Err(error) = crate::engine::spawn(name, STACK_BYTES, move || drop(files)) {
                tracing::warn!(%error, "files are dropped on the caller's thread");
            }
        }
    }

    /// Ends every process and refuses new ones. Idempotent.
    pub fn dispose(&self) {
        {
            let _processes = self
                .processes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.disposed.store(true, Ordering::Release);
        }
        self.terminate(&End::Disposed);
        self.watches.clear();
        if let Some(egress) = &self.options.egress {
            egress.close();
        }
    }

    /// Whether it was disposed of.
    pub fn is_disposed(&self) -> bool {
        self.disposed.load(Ordering::Acquire)
    }

    /// How many worker threads its processes have.
    pub(crate) fn worker_count(&self) -> &crate::worker::Count {
        &self.workers
    }

    /// Number of worker threads that live.
    pub fn live_workers(&self) -> u32 {
        self.workers.load(Ordering::Relaxed)
    }

    /// Number of processes that live.
    pub fn process_count(&self) -> usize {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// What living processes hold together.
    pub fn memory(&self) -> crate::memory::Usage {
        let processes: Vec<_> = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut total = crate::memory::Usage::default();
        for usage in processes.iter().map(|process| process.memory()) {
            total.heap = total.heap.saturating_add(usage.heap);
            total.external = total.external.saturating_add(usage.external);
            total.native = total.native.saturating_add(usage.native);
        }
        total
    }
}
