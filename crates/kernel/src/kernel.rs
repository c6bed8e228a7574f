//! The kernel of one VM: the tree, the processes, and the gate between them.
//!
//! ```text
//!   Process.inner (leaf)      OpenFile.position      Shared.state (the one VFS lock)      Pipe (leaf)
//!         taken alone or inside state   -- before -->        never held across a callback
//! ```
//!
//! Sinks, wakes, watches, policies and foreign file systems are called with no lock held: `Locked` collects the events of a call and
//! delivers them after it has released the lock.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::clock::{Clock, ClockMode};
use crate::content::Content;
use crate::copy_up::{Role, needed};
use crate::errno::{Errno, Result};
use crate::exec::ProcessPolicy;
use crate::file::InodeHold;
use crate::flags::Follow;
use crate::flock::Locks;
use crate::image::Image;
use crate::inode::{Ino, Kind, ROOT};
use crate::machine::{Machine, OsConfig, UserConfig};
use crate::memfs::{MAY_EXEC, MemFs, PermissionBits};
use crate::net::{Account, Egress, Gate, Net, NetLimits, NetPolicy};
use crate::path::{GuestPath, is_ancestor, normalize};
use crate::permissions::clear_denial_reason;
use crate::policy::{
    Answers, CheckedPath, Decision, FsOp, FsPolicy, FsRequest, decide, grant_own_tree,
};
use crate::process::{Cwd, Cx, Process, ProcessOptions};
use crate::quota::{LimitError, OnNearLimit, Quotas, Usage};
use crate::resolve::{Halt, Known, Location, Node, Walk, beside_the_tree, canonical, resolve};
use crate::stat::FileType;
use crate::table::{ProcessTable, Refused};

/// The pid of the VM itself, in whose name the host acts.
pub(crate) const HOST_PID: u32 = 1;
/// How often a path may lead elsewhere while a policy thinks about it.
const POLICY_ROUNDS: u32 = 16;

/// How a kernel is made.
#[derive(Clone, Default)]
pub struct KernelOptions {
    /// The tree to start from; [`Image::standard`] if none.
    pub image: Option<Arc<Image>>,
    /// Limits.
    pub quotas: Quotas,
    /// The VM's clock; a frozen one if none.
    pub clock: Option<Arc<Clock>>,
    /// What the machine says of itself.
    pub os: OsConfig,
    /// Whose machine it is: owner of the image's files and user of processes.
    pub user: UserConfig,
    /// Asked about every path that a process uses, not about the host's own; `None` grants the VM's own tree.
    pub policy: Option<Arc<dyn FsPolicy>>,
    /// Whether permission bits refuse.
    pub permission_bits: PermissionBits,
    /// Asked about every program that a process starts; `None` grants all.
    pub process_policy: Option<Arc<dyn ProcessPolicy>>,
    /// Whether programs that the tree does not have are taken for commands of the embedder's.
    pub host_commands: bool,
    /// The network.
    pub net: NetOptions,
    /// Hears once of each of the file system's limits when four fifths of it are in use, on the thread of the call.
    pub on_near_limit: Option<OnNearLimit>,
}

/// How a VM's network is made.
#[derive(Clone, Default)]
pub struct NetOptions {
    /// Limits.
    pub limits: NetLimits,
    /// Asked about every address; `None` grants the VM's own and nothing else.
    pub policy: Option<Arc<dyn NetPolicy>>,
    /// The way out; `None`: there is none.
    pub egress: Option<Arc<dyn Egress>>,
    /// Addresses of names, before anything else is asked.
    pub dns_overrides: Vec<(String, Vec<IpAddr>)>,
    /// Ports of the host's loopback that guests reach at theirs, where nothing of the VM's own listens.
    pub exempt_ports: Vec<u16>,
}

/// See the module's header.
pub struct Kernel {
    pub(crate) shared: Arc<Shared>,
    policy: Option<Arc<dyn FsPolicy>>,
    machine: Arc<Machine>,
    clock: Arc<Clock>,
    quotas: Quotas,
    pub(crate) locks: Arc<Locks>,
    next_pid: AtomicU32,
    host: Process,
    pub(crate) table: ProcessTable,
    pub(crate) process_policy: Option<Arc<dyn ProcessPolicy>>,
    pub(crate) host_commands: bool,
    pub(crate) net: Arc<Net>,
    pub(crate) dns_overrides: Vec<(String, Vec<IpAddr>)>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.net.account.in_flight().clear();
    }
}

/// The part that open files keep alive.
pub(crate) struct Shared {
    state: Mutex<MemFs>,
    released: Mutex<Vec<Ino>>,
    has_released: AtomicBool,
}

impl Shared {
    pub fn lock(&self) -> Locked<'_> {
        let mut guard = self.state.lock();
        self.settle(&mut guard);
        Locked { guard }
    }

    fn settle(&self, fs: &mut MemFs) {
        if self.has_released.swap(false, Ordering::AcqRel) {
            let released = std::mem::take(&mut *self.released.lock());
            for ino in released {
                fs.release(ino);
            }
        }
    }

    /// Releases an inode now, or when whoever has the lock is done.
    pub fn release_later(&self, ino: Ino) {
        self.released.lock().push(ino);
        self.has_released.store(true, Ordering::Release);
        if let Some(mut guard) = self.state.try_lock() {
            self.settle(&mut guard);
        }
    }
}

/// The tree under its lock; delivers the watch events of the call when it is dropped.
pub(crate) struct Locked<'s> {
    guard: MutexGuard<'s, MemFs>,
}

impl Deref for Locked<'_> {
    type Target = MemFs;

    fn deref(&self) -> &MemFs {
        &self.guard
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut MemFs {
        &mut self.guard
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.guard.watchers.pending.is_empty() && self.guard.ledger.near.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.guard.watchers.pending);
        let near = std::mem::take(&mut self.guard.ledger.near);
        let on_near = self.guard.on_near_limit.clone();
        MutexGuard::unlocked(&mut self.guard, || {
            for (sink, event) in pending {
                sink.event(event);
            }
            if let Some(on_near) = on_near {
                for limit in near {
                    on_near(limit);
                }
            }
        });
    }
}

/// One path that a call works on.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub op: FsOp,
    pub path: &'a [u8],
    pub walk: Walk,
}

impl<'a> Ask<'a> {
    pub fn new(op: FsOp, path: &'a [u8], follow: Follow) -> Ask<'a> {
        Ask {
            op,
            path,
            walk: follow.into(),
        }
    }
}

impl Kernel {
    /// Boots a machine.
    pub fn new(options: KernelOptions) -> Result<Arc<Kernel>> {
        let clock = options
            .clock
            .unwrap_or_else(|| Arc::new(Clock::new(ClockMode::Frozen)));
        let machine = Arc::new(Machine {
            os: options.os,
            user: options.user,
        });
        let owner = (machine.user.uid, machine.user.gid);
        let furnished = match options.image {
            None => machine.furnished_image(),
            Some(_) => None,
        };
        let is_furnished = furnished.is_some();
        let image = furnished.or(options.image).unwrap_or_else(Image::standard);
        let fs = MemFs::new(image, owner, clock.time(), options.permission_bits);
        let shared = Arc::new(Shared {
            state: Mutex::new(fs),
            released: Mutex::default(),
            has_released: AtomicBool::new(false),
        });
        let root = InodeHold::new(&shared, &mut shared.state.lock(), ROOT);
        let host = Process::new(
            HOST_PID,
            machine.clone(),
            clock.clone(),
            &options.quotas,
            Cwd::Inode(Arc::new(root)),
            ProcessOptions {
                uid: Some(0),
                gid: Some(0),
                ppid: 0,
                ..ProcessOptions::default()
            },
        )?;
        let kernel = Kernel {
            shared,
            policy: options.policy,
            machine,
            clock,
            quotas: options.quotas,
            locks: Arc::default(),
            next_pid: AtomicU32::new(HOST_PID + 1),
            host,
            table: ProcessTable::default(),
            process_policy: options.process_policy,
            host_commands: options.host_commands,
            net: Net::new(
                Account::new(options.net.limits),
                Gate {
                    policy: options.net.policy,
                    egress: options.net.egress,
                    exempt_ports: options.net.exempt_ports,
                },
            ),
            dns_overrides: options.net.dns_overrides,
        };
        if !is_furnished {
            kernel.furnish()?;
        }
        // What the machine came with is not on the VM's account.
        let mut fs = kernel.shared.lock();
        fs.ledger.start(kernel.quotas);
        fs.on_near_limit = options.on_near_limit;
        drop(fs);
        Ok(Arc::new(kernel))
    }

    /// What depends on the configuration: `/etc` where the image has nothing there, and the home directory.
    fn furnish(&self) -> Result<()> {
        let (uid, gid) = (self.machine.user.uid, self.machine.user.gid);
        for (path, text) in self.machine.etc() {
            self.furnish_file(path.as_bytes(), text.into_bytes())?;
        }
        let home = normalize(b"/", self.machine.user.home.as_bytes());
        if self.stat(&self.host, &home).is_err() {
            self.mkdir_recursive(&self.host, &home, 0o755)?;
            self.chown(&self.host, &home, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn furnish_file(&self, path: &[u8], bytes: Vec<u8>) -> Result<()> {
        let cx = self.host.cx();
        let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Write, path, Follow::Entry))?;
        if at.location().target.is_none() {
            let ino = fs.create(&at, Kind::File(Content::Shared(bytes.into())), 0o644, &cx)?;
            let (uid, gid) = (self.machine.user.uid, self.machine.user.gid);
            fs.chown(ino, Some(uid), Some(gid), &cx)?;
        }
        Ok(())
    }

    /// Starts a process. `EAGAIN` when there are too many, or when the tree that it would belong to has ended.
    pub fn spawn(&self, options: ProcessOptions) -> Result<Arc<Process>> {
        let cwd = if let Some(process) = &options.cwd_of {
            process.shared_cwd()?
        } else {
            let mut cx = self.host.cx();
            cx.uid = options.uid.unwrap_or(self.machine.user.uid);
            cx.gid = options.gid.unwrap_or(self.machine.user.gid);
            let ask = Ask::new(FsOp::Chdir, &options.cwd, Follow::Final);
            let (mut fs, at) = self.check(&cx, ask)?;
            self.hold_directory(&mut fs, &cx, at.location().existing()?)?
        };
        let new_group = options.new_group;
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        let process = Arc::new(Process::new(
            pid,
            self.machine.clone(),
            self.clock.clone(),
            &self.quotas,
            cwd,
            options,
        )?);
        match self
            .table
            .add(&process, new_group, self.quotas.max_child_processes)
        {
            Ok(()) => Ok(process),
            Err(Refused::Limit(error)) => Err(self.shared.lock().ledger.report(error)),
            Err(Refused::TreeEnded) => Err(Errno::EAGAIN),
        }
    }

    /// The process in whose name the host uses the machine: root, at `/`.
    #[must_use]
    pub fn host(&self) -> &Process {
        &self.host
    }

    /// The VM's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// What the machine says of itself.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The limits.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// What is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.lock().ledger.usage()
    }

    /// All files and mounts, to be dropped: nothing runs any more, and who still holds the kernel may do so for long.
    #[must_use]
    pub fn take_files(&self) -> impl Send + use<> {
        self.shared.lock().take_all()
    }

    /// Open sockets and connections of all processes.
    #[must_use]
    pub fn open_sockets(&self) -> (u64, u64) {
        self.net.account.open()
    }

    /// The last file system limit that a call met, once. The guest has seen its errno.
    pub fn take_limit_error(&self) -> Option<LimitError> {
        self.shared.lock().ledger.take_last()
    }

    /// Changes the working directory.
    pub fn chdir(&self, p: &Process, path: &[u8]) -> Result<()> {
        let cx = p.cx();
        let cwd = {
            let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Chdir, path, Follow::Final))?;
            self.hold_directory(&mut fs, &cx, at.location().existing()?)?
        };
        p.set_cwd(cwd);
        Ok(())
    }

    /// The working directory; `ENOENT` once it is removed.
    pub fn getcwd(&self, p: &Process) -> Result<Vec<u8>> {
        let cx = p.cx();
        self.shared.lock().path_of_node(&cx.cwd)
    }

    fn hold_directory(&self, fs: &mut MemFs, cx: &Cx<'_>, node: Node) -> Result<Cwd> {
        let ino = match node {
            Node::Mem(ino) => ino,
            Node::Foreign(place) if place.file_type() == FileType::Directory => {
                // What it is like now will be asked when it matters.
                return Ok(Cwd::Place(Arc::new(place.at(&place.path, None))));
            }
            // Other directories without an inode cannot be held.
            _ => return Err(Errno::ENOTDIR),
        };
        if fs.get(ino)?.kind.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        fs.may(ino, cx, MAY_EXEC)?;
        Ok(Cwd::Inode(Arc::new(InodeHold::new(&self.shared, fs, ino))))
    }

    // ---- the gate --------------------------------------------------------------------------------------------------

    /// Resolves and checks one path. The result is valid as long as the lock is held.
    pub(crate) fn check(&self, cx: &Cx<'_>, ask: Ask<'_>) -> Result<(Locked<'_>, CheckedPath)> {
        let path = GuestPath::new(ask.path)?;
        if self.asks(cx) {
            clear_denial_reason();
        } else {
            let fs = self.shared.lock();
            if fs.mounts.is_empty() {
                return match resolve(&fs, cx, path, ask.walk, &Known::default()) {
                    Ok(location) => Ok((fs, grant_own_tree(location))),
                    Err(Halt::Failed(error)) => Err(error),
                    // Without a mount there is nobody to ask.
                    Err(Halt::Ask(_)) => Err(Errno::EIO),
                };
            }
        }
        let mut answers = Answers::default();
        let mut known = Known::default();
        let mut rounds = POLICY_ROUNDS;
        loop {
            let fs = self.shared.lock();
            match self.try_check(&fs, cx, &ask, path, &known, &answers)? {
                Decision::Granted(at) => {
                    let Some(work) = needed(&fs, cx, &ask, Role::Only, at.location(), &known)?
                    else {
                        return Ok((fs, at));
                    };
                    drop(fs);
                    self.copy_up(cx, work, &mut known)?;
                }
                Decision::Look(query) => {
                    drop(fs);
                    known.ask(cx, query)?;
                }
                Decision::Ask(request) => {
                    drop(fs);
                    let is_above = leads_to_program(cx, request.op, &request.path);
                    match self.put(request, &mut answers, &mut rounds) {
                        // Whoever runs a program knows that its directories are there; nothing else is told of them.
                        Err(error @ (Errno::EACCES | Errno::ENOENT)) if is_above => {
                            let fs = self.shared.lock();
                            let beside = beside_the_tree(&fs, cx, path).ok_or(error)??;
                            return Ok((fs, grant_own_tree(beside)));
                        }
                        answer => answer?,
                    }
                }
            }
        }
    }

    /// As `check`, for two paths.
    pub(crate) fn check_two(
        &self,
        cx: &Cx<'_>,
        first: Ask<'_>,
        second: Ask<'_>,
    ) -> Result<(Locked<'_>, CheckedPath, CheckedPath)> {
        // A source must be there before its destination is looked at; a call on entries walks both first.
        let first_exists = |location: &Location| match first.walk.follow {
            Follow::Entry => Ok(()),
            Follow::Final | Follow::Link => location.existing().map(drop),
        };
        let first_path = GuestPath::new(first.path)?;
        if self.asks(cx) {
            clear_denial_reason();
        }
        let mut answers = Answers::default();
        let mut known = Known::default();
        let mut rounds = 2 * POLICY_ROUNDS;
        loop {
            let fs = self.shared.lock();
            let decision = match self.try_check(&fs, cx, &first, first_path, &known, &answers)? {
                Decision::Granted(one) => {
                    first_exists(one.location())?;
                    let second_path = GuestPath::new(second.path)?;
                    match self.try_check(&fs, cx, &second, second_path, &known, &answers)? {
                        Decision::Granted(two) => {
                            let mut work =
                                needed(&fs, cx, &first, Role::Source, one.location(), &known)?;
                            if work.is_none() {
                                work =
                                    needed(&fs, cx, &second, Role::Target, two.location(), &known)?;
                            }
                            let Some(work) = work else {
                                return Ok((fs, one, two));
                            };
                            drop(fs);
                            self.copy_up(cx, work, &mut known)?;
                            continue;
                        }
                        other => other,
                    }
                }
                other => other,
            };
            drop(fs);
            match decision {
                Decision::Granted(_) => {}
                Decision::Look(query) => known.ask(cx, query)?,
                Decision::Ask(request) => self.put(request, &mut answers, &mut rounds)?,
            }
        }
    }

    /// The host is not asked about what it does to its own VM.
    fn asks(&self, cx: &Cx<'_>) -> bool {
        self.policy.is_some() && !cx.process.is_host()
    }

    fn put(&self, request: FsRequest, answers: &mut Answers, rounds: &mut u32) -> Result<()> {
        *rounds = rounds.checked_sub(1).ok_or(Errno::EBUSY)?;
        if let Some(policy) = &self.policy {
            policy.check(&request)?;
        }
        answers.add(request);
        Ok(())
    }

    /// A path that does not resolve is asked about by its lexical form first, and fails only when that is allowed. So is
    /// one that leads into a foreign file system, before that hears of it.
    fn try_check(
        &self,
        fs: &MemFs,
        cx: &Cx<'_>,
        ask: &Ask<'_>,
        path: GuestPath<'_>,
        known: &Known,
        answers: &Answers,
    ) -> Result<Decision> {
        let found = resolve(fs, cx, path, ask.walk, known);
        if !self.asks(cx) {
            return match found {
                Ok(location) => Ok(Decision::Granted(grant_own_tree(location))),
                Err(Halt::Ask(query)) => Ok(Decision::Look(query)),
                Err(Halt::Failed(error)) => Err(error),
            };
        }
        let request = |op: FsOp, path: Vec<u8>, foreign: bool| FsRequest {
            op,
            path,
            pid: cx.process.pid(),
            foreign,
        };
        let error = match found {
            // The host gave the process its program: there is nothing to ask.
            Ok(location)
                if matches!(location.target, Some(Node::Program | Node::ProgramDir(_))) =>
            {
                return Ok(Decision::Granted(grant_own_tree(location)));
            }
            Ok(location) => match canonical(fs, cx, &location) {
                Ok(path) => {
                    let node = location.target.as_ref().or(location.parent.as_ref());
                    let foreign = node.is_some_and(|node| fs.is_foreign(node));
                    if !foreign && leads_to_program(cx, ask.op, &path) {
                        return Ok(Decision::Granted(grant_own_tree(location)));
                    }
                    return Ok(decide(location, request(ask.op, path, foreign), answers));
                }
                Err(error) => error,
            },
            Err(Halt::Ask(query)) if query.follows_link() => return Ok(Decision::Look(query)),
            Err(Halt::Ask(query)) => {
                let op = if query.is_last { ask.op } else { FsOp::Stat };
                let place = fs.path_of_place(&query.place)?;
                // The host gave the program its path: a walk to it may go on, and the path's end is asked about.
                if !query.is_last && leads_to_program(cx, op, &place) {
                    return Ok(Decision::Look(query));
                }
                let about = request(op, place, true);
                if answers.covers(&about) {
                    return Ok(Decision::Look(query));
                }
                let whole = self.lexical(fs, cx, ask.op, path);
                return Ok(Decision::Ask(if answers.covers(&whole) {
                    about
                } else {
                    whole
                }));
            }
            Err(Halt::Failed(error)) => error,
        };
        let whole = self.lexical(fs, cx, ask.op, path);
        if answers.covers(&whole) {
            Err(error)
        } else {
            Ok(Decision::Ask(whole))
        }
    }

    fn lexical(&self, fs: &MemFs, cx: &Cx<'_>, op: FsOp, path: GuestPath<'_>) -> FsRequest {
        let base = fs.path_of_node(&cx.cwd).unwrap_or_else(|_| b"/".to_vec());
        let path = normalize(&base, path.as_bytes());
        FsRequest {
            op,
            foreign: fs.leads_to_foreign(&path),
            path,
            pid: cx.process.pid(),
        }
    }
}

/// Whether a call looks at a directory above the program: module loaders look at each of them, so they are there for
/// whoever runs it.
fn leads_to_program(cx: &Cx<'_>, op: FsOp, path: &[u8]) -> bool {
    matches!(op, FsOp::Stat | FsOp::RealPath | FsOp::ReadLink)
        && cx
            .process
            .program()
            .is_some_and(|program| is_ancestor(path, program.path()))
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("quotas", &self.quotas)
            .finish_non_exhaustive()
    }
}
