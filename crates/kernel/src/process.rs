//! A process: who it is, where it stands, what it has open.
//!
//! Its lock is a leaf: nothing else is locked, dropped or called back while it is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use indexmap::IndexMap;
use parking_lot::Mutex;

use crate::clock::{Clock, TimeSpec};
use crate::errno::{Errno, Result};
use crate::fd::{Fd, FdHandle, FdTable, Refused};
use crate::file::{InodeHold, Object, OpenFile};
use crate::flags::{OpenFlags, oflag};
use crate::machine::Machine;
use crate::mount::Place;
use crate::path::{GuestPath, normalize, split_last};
use crate::quota::{Limit, LimitError, Quotas};
use crate::resolve::Node;
use crate::signal::{SIGKILL, SignalSet, can_catch, ends_by_default};
use crate::stdio::{OutputChannel, Stdin, Stdio};
use crate::table::Supervisor;

/// A process's program: its source appears as a read-only file at `path`, for this process only, and is not listed.
#[derive(Clone, Debug)]
pub struct Program {
    path: Vec<u8>,
    source: Arc<[u8]>,
}

impl Program {
    /// `path` must be absolute.
    pub fn new(path: &[u8], source: impl Into<Arc<[u8]>>) -> Result<Program> {
        let path = GuestPath::new(path)?;
        if !path.is_absolute() {
            return Err(Errno::EINVAL);
        }
        let path = normalize(b"/", path.as_bytes());
        if path.len() == 1 {
            return Err(Errno::EISDIR);
        }
        Ok(Program {
            path,
            source: source.into(),
        })
    }

    /// The absolute path, normalized.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The bytes.
    #[must_use]
    pub fn source(&self) -> &Arc<[u8]> {
        &self.source
    }

    pub(crate) fn parent(&self) -> &[u8] {
        split_last(&self.path).0
    }

    pub(crate) fn name(&self) -> &[u8] {
        split_last(&self.path).1
    }
}

/// How a process is made.
#[derive(Clone)]
pub struct ProcessOptions {
    /// `process.argv` as the kernel shows it in `/proc/self/cmdline`.
    pub argv: Vec<String>,
    /// `process.execPath`.
    pub exec_path: String,
    /// The environment; nothing is added.
    pub env: Vec<(String, String)>,
    /// Must be a directory.
    pub cwd: Vec<u8>,
    /// The process whose working directory it shares instead, even one that has no path any more.
    pub cwd_of: Option<Arc<Process>>,
    /// `None`: the VM's user.
    pub uid: Option<u32>,
    /// `None`: the VM's user's group.
    pub gid: Option<u32>,
    /// Bits that new files do not get.
    pub umask: u32,
    /// Descriptors 0, 1 and 2.
    pub stdio: Stdio,
    /// Descriptors from 0 on, instead of `stdio`: files of whoever starts it. `None` leaves a number free.
    pub files: Option<Vec<Option<Arc<OpenFile>>>>,
    /// See [`Program`].
    pub program: Option<Program>,
    /// The process that started it; 1 is the VM itself.
    pub ppid: u32,
    /// Whether it leads a group of its own; else it is in its parent's.
    pub new_group: bool,
    /// Signals that it ignores from the start.
    pub ignored_signals: SignalSet,
    /// Who runs it; without one, signals do nothing.
    pub supervisor: Option<Arc<dyn Supervisor>>,
    /// `None`: the VM's own clock.
    pub clock: Option<Arc<Clock>>,
}

/// What one variable costs beside its text.
const ENV_ENTRY_BYTES: usize = 64;

fn cost(name: &str, value: &str) -> u64 {
    (name.len() + value.len() + ENV_ENTRY_BYTES) as u64
}

/// Where Node's binary would be; a placeholder is there.
pub const EXEC_PATH: &str = "/usr/local/bin/node";
/// Where a process starts.
pub const DEFAULT_CWD: &str = "/workspace";

impl Default for ProcessOptions {
    fn default() -> Self {
        ProcessOptions {
            argv: vec![EXEC_PATH.to_owned()],
            exec_path: EXEC_PATH.to_owned(),
            env: Vec::new(),
            cwd: DEFAULT_CWD.into(),
            cwd_of: None,
            uid: None,
            gid: None,
            umask: 0o022,
            stdio: Stdio::default(),
            files: None,
            program: None,
            ppid: 1,
            new_group: false,
            ignored_signals: SignalSet::default(),
            supervisor: None,
            clock: None,
        }
    }
}

/// A working directory.
#[derive(Clone)]
pub(crate) enum Cwd {
    Inode(Arc<InodeHold>),
    Place(Arc<Place>),
}

impl Cwd {
    fn node(&self) -> Node {
        match self {
            Cwd::Inode(hold) => Node::Mem(hold.ino()),
            Cwd::Place(place) => Node::Foreign(place.clone()),
        }
    }
}

type InterruptWake = Box<dyn FnOnce() + Send>;

struct Inner {
    fds: FdTable,
    cwd: Option<Cwd>,
    uid: u32,
    gid: u32,
    umask: u32,
    env: IndexMap<String, String>,
    env_bytes: u64,
    caught: SignalSet,
    ignored: SignalSet,
    last_limit: Option<LimitError>,
}

impl std::fmt::Debug for ProcessOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessOptions")
            .field("argv", &self.argv)
            .field("cwd", &self.cwd)
            .field("ppid", &self.ppid)
            .finish_non_exhaustive()
    }
}

/// See the module's header. Made by [`Kernel::spawn`](crate::Kernel::spawn).
pub struct Process {
    pid: u32,
    ppid: AtomicU32,
    machine: Arc<Machine>,
    clock: Arc<Clock>,
    argv: Vec<String>,
    exec_path: String,
    program: Option<Program>,
    max_env_bytes: u64,
    interrupted: AtomicBool,
    wakes: Mutex<Vec<(u64, InterruptWake)>>,
    next_wake: AtomicU64,
    supervisor: Option<Arc<dyn Supervisor>>,
    inner: Mutex<Inner>,
}

/// What one call knows of its process: a snapshot, so that the process's lock is not held during the call.
#[derive(Clone)]
pub(crate) struct Cx<'p> {
    pub process: &'p Process,
    pub cwd: Node,
    pub uid: u32,
    pub gid: u32,
    pub umask: u32,
    pub now: TimeSpec,
}

impl Process {
    pub(crate) fn new(
        pid: u32,
        machine: Arc<Machine>,
        clock: Arc<Clock>,
        quotas: &Quotas,
        cwd: Cwd,
        options: ProcessOptions,
    ) -> Result<Process> {
        let process = Process {
            pid,
            ppid: AtomicU32::new(options.ppid),
            clock: options.clock.unwrap_or(clock),
            argv: options.argv,
            exec_path: options.exec_path,
            program: options.program,
            max_env_bytes: quotas.max_env_bytes,
            interrupted: AtomicBool::new(false),
            wakes: Mutex::default(),
            next_wake: AtomicU64::new(0),
            supervisor: options.supervisor,
            inner: Mutex::new(Inner {
                fds: FdTable::new(quotas.max_open_fds),
                cwd: Some(cwd),
                uid: options.uid.unwrap_or(machine.user.uid),
                gid: options.gid.unwrap_or(machine.user.gid),
                umask: options.umask & 0o777,
                env: IndexMap::new(),
                env_bytes: 0,
                caught: SignalSet::default(),
                ignored: options.ignored_signals,
                last_limit: None,
            }),
            machine,
        };
        for (name, value) in options.env {
            process.set_env(&name, &value)?;
        }
        if let Some(files) = options.files {
            for (fd, file) in (0..).zip(files) {
                if let Some(file) = file {
                    process.replace_fd(fd, file)?;
                }
            }
            return Ok(process);
        }
        let read = OpenFlags::parse(oflag::O_RDONLY)?;
        let write = OpenFlags::parse(oflag::O_WRONLY | oflag::O_APPEND)?;
        let Stdio {
            stdin,
            output,
            look,
            terminal,
        } = options.stdio;
        if let Some(terminal) = terminal {
            let flags = OpenFlags::parse(oflag::O_RDWR)?;
            let file = OpenFile::new(Object::Terminal(terminal), flags);
            for _ in 0..3 {
                process.install(file.clone())?;
            }
            return Ok(process);
        }
        let stdin = match stdin {
            Stdin::Null => Object::Null,
            Stdin::Bytes(bytes) => Object::Bytes { bytes, node: None },
            Stdin::Pipe(end) => Object::Reader(end),
        };
        process.install(OpenFile::new(stdin, read))?;
        for channel in [OutputChannel::Stdout, OutputChannel::Stderr] {
            let object = Object::Output {
                channel,
                sink: output.clone(),
                look,
            };
            process.install(OpenFile::new(object, write))?;
        }
        Ok(process)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The number of its parent: the process that started it, or 1 when that has ended.
    #[must_use]
    pub fn ppid(&self) -> u32 {
        self.ppid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ppid(&self, ppid: u32) {
        self.ppid.store(ppid, Ordering::Relaxed);
    }

    // ---- signals ---------------------------------------------------------------------------------------------------

    /// From now on `signal` goes to the process itself, or again does what it does by default.
    pub fn set_caught(&self, signal: i32, caught: bool) -> Result<()> {
        if !can_catch(signal) {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        if caught {
            inner.caught.insert(signal);
        } else {
            inner.caught.remove(signal);
        }
        Ok(())
    }

    /// Whether `signal` would end this process.
    #[must_use]
    pub fn ends_by(&self, signal: i32) -> bool {
        let inner = self.inner.lock();
        let is_ignored = inner.ignored.contains(signal);
        !inner.caught.contains(signal)
            && (signal == SIGKILL || (!is_ignored && ends_by_default(signal)))
    }

    /// Does what a signal does to this process.
    pub(crate) fn signal(&self, signal: i32) {
        let (caught, ignored) = {
            let inner = self.inner.lock();
            (
                inner.caught.contains(signal),
                inner.ignored.contains(signal),
            )
        };
        let Some(supervisor) = &self.supervisor else {
            return;
        };
        if caught {
            supervisor.deliver(signal);
        } else if signal == SIGKILL || (!ignored && ends_by_default(signal)) {
            supervisor.terminate(signal);
        }
    }

    /// The machine's own description.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Its command line.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// `process.execPath`.
    #[must_use]
    pub fn exec_path(&self) -> &str {
        &self.exec_path
    }

    /// Its program, if it was given as source.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// User.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.inner.lock().uid
    }

    /// Group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.inner.lock().gid
    }

    /// `setuid`: only root may become someone else.
    pub fn set_uid(&self, uid: u32) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.uid != 0 && inner.uid != uid {
            return Err(Errno::EPERM);
        }
        inner.uid = uid;
        Ok(())
    }

    /// `setgid`: only root may change to another group.
    pub fn set_gid(&self, gid: u32) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.uid != 0 && inner.gid != gid {
            return Err(Errno::EPERM);
        }
        inner.gid = gid;
        Ok(())
    }

    /// The bits that new files do not get.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.inner.lock().umask
    }

    /// Sets the umask and returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        std::mem::replace(&mut self.inner.lock().umask, umask & 0o777)
    }

    // ---- environment -----------------------------------------------------------------------------------------------

    /// A variable.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<String> {
        self.inner.lock().env.get(name).cloned()
    }

    /// Whether a variable is set.
    #[must_use]
    pub fn has_env(&self, name: &str) -> bool {
        self.inner.lock().env.contains_key(name)
    }

    /// Sets a variable; an empty name or one with `=` or NUL is `EINVAL`, more than the limit `ENOMEM`.
    pub fn set_env(&self, name: &str, value: &str) -> Result<()> {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let old = inner.env.get(name).map_or(0, |old| cost(name, old));
        let total = inner.env_bytes - old + cost(name, value);
        if total > self.max_env_bytes {
            let error = LimitError::new(Limit::EnvBytes, self.max_env_bytes, inner.env_bytes);
            inner.last_limit = Some(error);
            return Err(error.into());
        }
        inner.env_bytes = total;
        inner.env.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Takes a variable away; whether it was there.
    pub fn remove_env(&self, name: &str) -> bool {
        let mut inner = self.inner.lock();
        match inner.env.shift_remove(name) {
            Some(old) => {
                inner.env_bytes -= cost(name, &old);
                true
            }
            None => false,
        }
    }

    /// Names of all variables, in the order they were set.
    #[must_use]
    pub fn env_names(&self) -> Vec<String> {
        self.inner.lock().env.keys().cloned().collect()
    }

    /// All variables, in the order they were set.
    #[must_use]
    pub fn env_all(&self) -> Vec<(String, String)> {
        self.inner
            .lock()
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    // ---- descriptors -----------------------------------------------------------------------------------------------

    /// The file behind a descriptor.
    pub fn file(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        self.inner.lock().fds.file(fd)
    }

    /// A handle that outlives neither a `close` nor the reuse of the number.
    pub fn fd_handle(&self, fd: Fd) -> Result<FdHandle> {
        self.inner.lock().fds.handle(fd)
    }

    /// The file behind a handle; `EBADF` once its descriptor was closed.
    pub fn file_of(&self, handle: FdHandle) -> Result<Arc<OpenFile>> {
        self.inner.lock().fds.file_of(handle)
    }

    /// The open descriptors, in order.
    #[must_use]
    pub fn fds(&self) -> Vec<Fd> {
        self.inner.lock().fds.numbers()
    }

    /// How many descriptors may be open.
    #[must_use]
    pub fn max_fds(&self) -> u32 {
        self.inner.lock().fds.max()
    }

    /// How many descriptors are open.
    #[must_use]
    pub fn open_fds(&self) -> u32 {
        self.inner.lock().fds.open_count()
    }

    /// The last limit that this process met, once.
    pub fn take_limit_error(&self) -> Option<LimitError> {
        self.inner.lock().last_limit.take()
    }

    /// Closes everything and lets go of the working directory. The process must not be used for calls afterwards; they
    /// fail with `EBADF` or `ENOENT`.
    pub fn end(&self) {
        let (files, cwd) = {
            let mut inner = self.inner.lock();
            (inner.fds.take_all(), inner.cwd.take())
        };
        drop((files, cwd));
    }

    /// From now on long calls of this process (`remove_all`, whole reads) end with `EINTR`: for the watchdog, from any
    /// thread.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        let wakes = std::mem::take(&mut *self.wakes.lock());
        for (_, wake) in wakes {
            wake();
        }
    }

    /// Whether the process has been interrupted.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Has `wake` called once when the process is interrupted, until the guard is dropped; at once if it already is.
    #[must_use]
    pub fn on_interrupt(&self, wake: Box<dyn FnOnce() + Send>) -> InterruptGuard<'_> {
        let id = self.next_wake.fetch_add(1, Ordering::Relaxed);
        self.wakes.lock().push((id, wake));
        // An interrupt that came before the wake was there has not seen it.
        if self.interrupted() {
            self.interrupt();
        }
        InterruptGuard { process: self, id }
    }

    /// Whether it is the host that acts.
    pub(crate) fn is_host(&self) -> bool {
        self.pid == crate::kernel::HOST_PID
    }

    pub(crate) fn go_on(&self) -> Result<()> {
        if self.interrupted() {
            Err(Errno::EINTR)
        } else {
            Ok(())
        }
    }

    /// Keeps a limit's error for the host; the guest gets its errno.
    pub(crate) fn report(&self, error: LimitError) -> Errno {
        self.inner.lock().last_limit = Some(error);
        error.into()
    }

    pub(crate) fn has_fd_room(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        let room = inner.fds.has_room();
        room.map_err(|error| {
            inner.last_limit = Some(error);
            error.into()
        })
    }

    pub(crate) fn install(&self, file: Arc<OpenFile>) -> Result<Fd> {
        // The clone keeps the file alive when the table refuses it, so that it is dropped without the lock.
        let _keep = file.clone();
        let mut inner = self.inner.lock();
        let installed = inner.fds.insert(file);
        installed.map_err(|error| {
            inner.last_limit = Some(error);
            error.into()
        })
    }

    /// Puts a file at a number; what was there is closed.
    pub(crate) fn replace_fd(&self, fd: Fd, file: Arc<OpenFile>) -> Result<()> {
        let _keep = file.clone();
        let old = {
            let mut inner = self.inner.lock();
            match inner.fds.replace(fd, file) {
                Ok(old) => old,
                Err(Refused::Limit(error)) => {
                    inner.last_limit = Some(error);
                    return Err(error.into());
                }
                Err(Refused::Number) => return Err(Errno::EBADF),
            }
        };
        drop(old);
        Ok(())
    }

    pub(crate) fn remove_fd(&self, fd: Fd) -> Result<Arc<OpenFile>> {
        self.inner.lock().fds.remove(fd)
    }

    pub(crate) fn shared_cwd(&self) -> Result<Cwd> {
        self.inner.lock().cwd.clone().ok_or(Errno::ENOENT)
    }

    pub(crate) fn set_cwd(&self, cwd: Cwd) {
        let old = self.inner.lock().cwd.replace(cwd);
        drop(old);
    }

    pub(crate) fn cx(&self) -> Cx<'_> {
        let now = self.clock.time();
        let inner = self.inner.lock();
        Cx {
            process: self,
            // No tree has an inode 0, so a process that has ended finds nothing.
            cwd: inner.cwd.as_ref().map_or(Node::Mem(0), Cwd::node),
            uid: inner.uid,
            gid: inner.gid,
            umask: inner.umask,
            now,
        }
    }
}

/// Keeps a wake registered; see [`Process::on_interrupt`].
pub struct InterruptGuard<'p> {
    process: &'p Process,
    id: u64,
}

impl Drop for InterruptGuard<'_> {
    fn drop(&mut self) {
        let mut wakes = self.process.wakes.lock();
        let at = wakes.iter().position(|(id, _)| *id == self.id);
        let wake = at.map(|at| wakes.swap_remove(at));
        // What the wake keeps is dropped without the lock.
        drop(wakes);
        drop(wake);
    }
}

impl std::fmt::Debug for InterruptGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterruptGuard").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
