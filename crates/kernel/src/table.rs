//! The process table: who lives, whose child it is, in which group, and what is left of those that have ended.
//!
//! ```text
//!   spawn --> running --exit--> zombie --wait--> gone
//!                        |
//!                        +-- parent is gone or never waits (pid 1) --> gone
//! ```
//!
//! A *tree* is what one command of the host started: its first process, the root, and everything that descends from
//! it, whoever is its parent now. When the root ends, the tree ends: `exit` of a root kills the others. So a detached
//! child outlives its parent and its group, but not the command that owns it.
//!
//! The host (pid 1) is the parent of roots and of orphans, and ignores signals.
//!
//! The table's lock is a leaf, taken after none and held across no callback.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::kernel::{HOST_PID, Kernel};
use crate::pipe::Wake;
use crate::process::Process;
use crate::quota::{Limit, LimitError};
use crate::signal::{MAX_SIGNAL, SIGCHLD, SIGKILL};

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitStatus {
    /// What it exited with; 0 when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// An exit by itself.
    #[must_use]
    pub fn exited(code: i32) -> ExitStatus {
        // The kernel keeps eight bits, as POSIX does.
        ExitStatus {
            code: code & 0xff,
            signal: None,
        }
    }

    /// An end by a signal.
    #[must_use]
    pub fn signalled(signal: i32) -> ExitStatus {
        ExitStatus {
            code: 0,
            signal: Some(signal),
        }
    }

    /// One number for both, as a shell's `$?` gives it: 128 and the signal's number for a signal.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        self.signal.map_or(self.code, |signal| 128 + signal)
    }
}

/// Whoever runs a process. Called from any thread without a lock of the kernel held.
pub trait Supervisor: Send + Sync {
    /// A signal that the process catches.
    fn deliver(&self, signal: i32);
    /// The process is to end now, by this signal. It calls [`Kernel::exit`] when it has.
    fn terminate(&self, signal: i32);
}

/// What the table says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Its group.
    pub group: u32,
    /// Whether it has ended and nobody has waited for it.
    pub is_zombie: bool,
    /// Its command line.
    pub argv: Vec<String>,
}

struct Entry {
    process: Weak<Process>,
    ppid: u32,
    group: u32,
    /// The pid of its tree's root.
    root: u32,
    argv: Vec<String>,
    /// Set when it has ended.
    status: Option<ExitStatus>,
    on_exit: Vec<Wake>,
}

impl Entry {
    /// A process whose keeper dropped it without a word has ended as well.
    fn is_alive(&self) -> bool {
        self.status.is_none() && self.process.strong_count() > 0
    }
}

#[derive(Default)]
struct State {
    /// In the order of pids.
    entries: BTreeMap<u32, Entry>,
}

/// Why a process may not be entered.
pub(crate) enum Refused {
    Limit(LimitError),
    TreeEnded,
}

/// See the module's header.
#[derive(Default)]
pub(crate) struct ProcessTable(Mutex<State>);

impl ProcessTable {
    /// The pid of the root of a process's tree.
    pub fn root_of(&self, pid: u32) -> Option<u32> {
        self.0.lock().entries.get(&pid).map(|entry| entry.root)
    }

    /// Enters a process. Refuses one more child than `max_children` in all trees, and children of a tree that has ended.
    pub fn add(
        &self,
        process: &Arc<Process>,
        new_group: bool,
        max_children: u32,
    ) -> Result<(), Refused> {
        let mut state = self.0.lock();
        state
            .entries
            .retain(|_, entry| entry.status.is_some() || entry.process.strong_count() > 0);
        let (pid, ppid) = (process.pid(), process.ppid());
        let parent = state
            .entries
            .get(&ppid)
            .map(|parent| (parent.group, parent.root));
        let (group, root) = parent.unwrap_or((pid, pid));
        if root != pid {
            if !state.entries.get(&root).is_some_and(Entry::is_alive) {
                return Err(Refused::TreeEnded);
            }
            let children = state
                .entries
                .iter()
                .filter(|(pid, entry)| entry.root != **pid)
                .count() as u64;
            let max = u64::from(max_children);
            if children >= max {
                return Err(Refused::Limit(LimitError::new(
                    Limit::ChildProcesses,
                    max,
                    children,
                )));
            }
        }
        let entry = Entry {
            process: Arc::downgrade(process),
            ppid,
            group: if new_group { pid } else { group },
            root,
            argv: process.argv().to_vec(),
            status: None,
            on_exit: Vec::new(),
        };
        state.entries.insert(pid, entry);
        Ok(())
    }

    fn is_zombie(&self, pid: u32) -> bool {
        let state = self.0.lock();
        state
            .entries
            .get(&pid)
            .is_some_and(|entry| entry.status.is_some())
    }

    /// The living processes that `wanted` picks.
    fn living(&self, wanted: impl Fn(u32, &Entry) -> bool) -> Vec<Arc<Process>> {
        let state = self.0.lock();
        let picked = state
            .entries
            .iter()
            .filter(|(pid, entry)| entry.is_alive() && wanted(**pid, entry));
        picked
            .filter_map(|(_, entry)| entry.process.upgrade())
            .collect()
    }
}

impl Kernel {
    /// `kill(2)`: a positive pid is one process, 0 the caller's group, -1 everyone but the caller, and -n the group n.
    /// The signal 0 only asks whether there is someone who may be signalled.
    pub fn kill(&self, p: &Process, pid: i32, signal: i32) -> Result<()> {
        if !(0..=MAX_SIGNAL).contains(&signal) {
            return Err(Errno::EINVAL);
        }
        let named = u32::try_from(pid).unwrap_or_default();
        if named == HOST_PID {
            return Err(Errno::EPERM);
        }
        let group = match pid {
            0 => self.group(p),
            _ => pid.unsigned_abs(),
        };
        let targets = self.table.living(|other, entry| match pid {
            1.. => other == named,
            -1 => other != p.pid(),
            _ => entry.group == group,
        });
        let uid = p.uid();
        let mut answer = if self.table.is_zombie(named) {
            Ok(())
        } else {
            Err(Errno::ESRCH)
        };
        for target in targets {
            if uid == 0 || uid == target.uid() {
                answer = Ok(());
                target.signal(signal);
            } else if answer.is_err() {
                answer = Err(Errno::EPERM);
            }
        }
        answer
    }

    /// The group of a process; its own pid once it has ended.
    #[must_use]
    pub fn group(&self, p: &Process) -> u32 {
        let state = self.table.0.lock();
        state
            .entries
            .get(&p.pid())
            .map_or(p.pid(), |entry| entry.group)
    }

    /// The process ends: its descriptors close, its children become orphans, its parent hears of it. Only the first
    /// call counts. When it is the root of a tree, the tree ends with it.
    pub fn exit(&self, p: &Process, status: ExitStatus) {
        p.end();
        let pid = p.pid();
        let (wakes, parent, orphans, tree) = {
            let mut state = self.table.0.lock();
            let Some(entry) = state
                .entries
                .get_mut(&pid)
                .filter(|entry| entry.status.is_none())
            else {
                return;
            };
            entry.status = Some(status);
            let (ppid, is_root) = (entry.ppid, entry.root == pid);
            let wakes = std::mem::take(&mut entry.on_exit);
            let mut orphans = Vec::new();
            for entry in state.entries.values_mut().filter(|entry| entry.ppid == pid) {
                entry.ppid = HOST_PID;
                orphans.extend(entry.process.upgrade());
            }
            // Nobody waits for what the host started or inherited.
            state
                .entries
                .retain(|_, entry| entry.ppid != HOST_PID || entry.status.is_none());
            let tree = if is_root {
                let others = state
                    .entries
                    .values()
                    .filter(|entry| entry.root == pid && entry.is_alive());
                others.filter_map(|entry| entry.process.upgrade()).collect()
            } else {
                Vec::new()
            };
            let parent = state
                .entries
                .get(&ppid)
                .and_then(|entry| entry.process.upgrade());
            (wakes, parent, orphans, tree)
        };
        for orphan in orphans {
            orphan.set_ppid(HOST_PID);
        }
        for process in tree {
            process.signal(SIGKILL);
        }
        for wake in wakes {
            wake();
        }
        if let Some(parent) = parent {
            parent.signal(SIGCHLD);
        }
    }

    /// Takes a process back that never ran; nobody hears of it.
    pub fn discard(&self, p: &Process) {
        p.end();
        self.table.0.lock().entries.remove(&p.pid());
    }

    /// Kills every process of the tree whose root is `p`, `p` too.
    pub fn kill_tree(&self, p: &Process) {
        let root = p.pid();
        for process in self.table.living(|_, entry| entry.root == root) {
            process.signal(SIGKILL);
        }
    }

    /// `waitpid` without waiting: the status of a child that has ended, which then is gone; `None` while it lives.
    /// `ESRCH` when `pid` is no child of the caller.
    pub fn try_wait(&self, p: &Process, pid: u32) -> Result<Option<ExitStatus>> {
        let mut state = self.table.0.lock();
        let entry = state
            .entries
            .get(&pid)
            .filter(|entry| entry.ppid == p.pid())
            .ok_or(Errno::ESRCH)?;
        let status = match entry.status {
            Some(status) => status,
            None if entry.is_alive() => return Ok(None),
            None => ExitStatus::signalled(SIGKILL),
        };
        state.entries.remove(&pid);
        Ok(Some(status))
    }

    /// Calls back once when `pid` has ended; at once if it has.
    pub fn on_exit(&self, pid: u32, wake: Wake) {
        {
            let mut state = self.table.0.lock();
            if let Some(entry) = state.entries.get_mut(&pid).filter(|entry| entry.is_alive()) {
                entry.on_exit.push(wake);
                return;
            }
        }
        wake();
    }

    /// Every process but the host, by pid.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let state = self.table.0.lock();
        let listed = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_alive() || entry.status.is_some());
        listed
            .map(|(pid, entry)| ProcessInfo {
                pid: *pid,
                ppid: entry.ppid,
                group: entry.group,
                is_zombie: entry.status.is_some(),
                argv: entry.argv.clone(),
            })
            .collect()
    }
}
