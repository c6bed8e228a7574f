//! Ends processes that use too much time, and those that the host wants gone.
//!
//! One thread watches all processes. CPU time is the guest thread's own clock; wall time is monotonic. The ladder:
//!
//! ```text
//! 0 ms    latch, terminate_execution, wake the loop; again every 5 ms
//! 25 ms   of the thread's CPU time later: the process is reported as ended, although its thread is still busy in one
//!         builtin or in the collector
//! 250 ms  of CPU time (2 s for memory): signal, which parks the thread where it holds nothing that others need; again
//!         every 5 ms
//! ```
//!
//! In the steady state the watchdog's thread allocates nothing.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::budget::{NearLimit, OnWarning};
use crate::env::Shared;
use crate::fatal::{GuestThread, ThreadState};
use crate::latch::End;
use crate::tree::{Member, Tree};

/// Time between two requests to a process that is being ended.
const REPEAT: Duration = Duration::from_millis(5);
/// CPU time in which a process may end by itself before it is reported as ended.
const REPORT_AFTER: Duration = Duration::from_millis(25);
/// The same in real time, for a thread that waits in the kernel and does not come back.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);
/// CPU time in which a thread may finish its builtin before it is parked.
const PARK_AFTER: Duration = Duration::from_millis(250);
/// The same for a process that is out of memory: its memory would stay for ever.
const PARK_AFTER_MEMORY: Duration = Duration::from_secs(2);
/// The watchdog never sleeps shorter than this for a process that has time left.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
/// A process that used no CPU time since the last look is looked at again after this time at the earliest.
const IDLE_SLEEP: Duration = Duration::from_millis(15);
const CPU_OPTION: &str = "cpuTimeLimitMs";
const WALL_OPTION: &str = "wallTimeLimitMs";
/// How often the memory of this OS process is looked at.
const MEMORY_PERIOD: Duration = Duration::from_secs(1);

/// How long the watchdog stays half awake after the last process: the next one need not wake it.
const LINGER: Duration = Duration::from_secs(1);

/// How long a process that is spared runs before it is looked at again.
const SPARED_FOR: Duration = Duration::from_secs(1);

/// Whether a process may go on although its wall time is over. Called on the watchdog's thread: must not block.
pub type Spares = Box<dyn Fn() -> bool + Send>;

/// What to watch of a process.
pub struct WatchSpec {
    /// The account that its CPU time goes to, with the limit.
    pub tree: Arc<Tree>,
    /// Time that it may take from now on.
    pub wall_limit: Option<Duration>,
    /// Whether the wall limit waits, asked when it has been reached.
    pub spares: Option<Spares>,
    /// Its latch, isolate and inbox.
    pub shared: Arc<Shared>,
    /// Hears when the time is nearly over.
    pub on_warning: Option<OnWarning>,
}

struct Entry {
    id: u64,
    shared: Arc<Shared>,
    thread: Arc<ThreadState>,
    member: Arc<Member>,
    cpu_base: Duration,
    charged: Arc<AtomicU64>,
    deadline: Option<Instant>,
    spares: Option<Spares>,
    near_cpu: Option<NearLimit>,
    near_wall: Option<(NearLimit, Instant)>,
    last_cpu: Duration,
    /// When it was first asked to end.
    ending_since: Option<Instant>,
    /// Its CPU time by then.
    ending_cpu: Duration,
    reported: bool,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    last_id: u64,
    /// Somebody changed the entries while the watchdog slept.
    changed: bool,
    /// When the watchdog looks again by itself, while it sleeps.
    wakes_at: Option<Instant>,
}

static STATE: Mutex<State> = Mutex::new(State {
    entries: Vec::new(),
    last_id: 0,
    changed: false,
    wakes_at: None,
});
static CHANGED: Condvar = Condvar::new();
static START: Once = Once::new();

thread_local! {
    /// What is charged to the guest that is watched on this thread.
    static CHARGED: RefCell<Option<Arc<AtomicU64>>> = const { RefCell::new(None) };
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches a process until it is dropped. Must be dropped on the guest's thread, before its isolate.
pub struct Registration {
    id: u64,
    thread: Arc<ThreadState>,
    cpu_base: Duration,
    start: Instant,
    charged: Arc<AtomicU64>,
    member: Arc<Member>,
}

impl Registration {
    /// CPU time that the process's tree has used since its first process was registered, with what was charged to it.
    pub fn cpu_time(&self) -> Duration {
        self.publish();
        self.member.tree().used()
    }

    fn publish(&self) {
        let own = self
            .thread
            .cpu_time()
            .unwrap_or_default()
            .saturating_sub(self.cpu_base);
        self.member
            .publish(own + Duration::from_nanos(self.charged.load(Ordering::Relaxed)));
    }

    /// Time since the process was registered.
    pub fn wall_time(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Charges CPU time that another thread used for the guest of this thread, if there is one.
pub fn charge_guest_of_thread(time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    CHARGED.with_borrow(|charged| {
        if let Some(charged) = charged {
            charged.fetch_add(nanos, Ordering::Relaxed);
        }
    });
    // The limit may be reached now.
    let _section = crate::critical::section();
    wake(&mut state());
}

/// CPU time that this thread has used so far.
#[cfg(unix)]
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes into `time`, which lives on this stack.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// CPU time that this thread has used so far; not known here.
#[cfg(not(unix))]
pub fn thread_cpu_time() -> Duration {
    Duration::ZERO
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.publish();
        CHARGED.set(None);
        let _section = crate::critical::section();
        let mut state = state();
        if let Some(at) = state.entries.iter().position(|entry| entry.id == self.id) {
            state.entries.swap_remove(at);
        }
    }
}

/// Watches the process of `guest`, from now on.
pub fn register(spec: WatchSpec, guest: &GuestThread) -> Registration {
    START.call_once(start);
    let _section = crate::critical::section();
    let thread = guest.state().clone();
    let cpu_base = thread.cpu_time().unwrap_or_default();
    let start = Instant::now();
    let charged = Arc::new(AtomicU64::new(0));
    CHARGED.set(Some(charged.clone()));
    let member = Member::new(spec.tree.clone());
    let mut state = state();
    state.last_id += 1;
    let id = state.last_id;
    let mut entry = Entry {
        id,
        shared: spec.shared,
        thread: thread.clone(),
        member: member.clone(),
        cpu_base,
        charged: charged.clone(),
        deadline: spec.wall_limit.and_then(|limit| start.checked_add(limit)),
        spares: spec.spares,
        near_cpu: near(CPU_OPTION, spec.tree.limit(), spec.on_warning.as_ref()),
        near_wall: near(WALL_OPTION, spec.wall_limit, spec.on_warning.as_ref())
            .map(|near| (near, start)),
        last_cpu: Duration::ZERO,
        ending_since: None,
        ending_cpu: Duration::ZERO,
        reported: false,
    };
    let at = entry.next_look(start);
    state.entries.push(entry);
    // Waking a thread takes as long as a good part of a short program.
    let is_soon_enough = match (state.wakes_at, at) {
        (Some(wakes_at), Some(at)) => wakes_at <= at,
        (wakes_at, _) => wakes_at.is_some(),
    };
    if !is_soon_enough {
        wake(&mut state);
    }
    Registration {
        id,
        thread,
        cpu_base,
        start,
        charged,
        member,
    }
}

/// What tells of a time limit in milliseconds, where somebody listens.
fn near(
    option: &'static str,
    limit: Option<Duration>,
    on_warning: Option<&OnWarning>,
) -> Option<NearLimit> {
    let on_warning = on_warning?.clone();
    Some(NearLimit::new(option, millis(limit?), Some(on_warning)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Ends a process from any thread. Answers whether this gave it its end.
pub fn kill(shared: &Arc<Shared>, end: End) -> bool {
    // The thread may be the guest's own, inside V8.
    let _section = crate::critical::section();
    let first = shared.latch.set(end);
    shared.isolate.terminate_execution();
    shared.inbox.wake();
    wake(&mut state());
    first
}

fn wake(state: &mut State) {
    state.changed = true;
    CHANGED.notify_one();
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::v8_jobs as jobs;

/// Without the wrapped functions nobody knows what V8's own threads do.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod jobs {
    pub fn any_works() -> bool {
        false
    }
    pub fn check() {}
}

fn start() {
    let thread = std::thread::Builder::new().name("secure-exec watchdog".to_owned());
    if let Err(error) = thread.stack_size(256 << 10).spawn(watch) {
        tracing::error!(%error, "no watchdog: time limits will not hold");
    }
}

fn watch() {
    raise_priority();
    let mut next_memory = Instant::now() + MEMORY_PERIOD;
    let mut idle_at = Instant::now();
    let mut state = state();
    loop {
        state.changed = false;
        state.wakes_at = None;
        let now = Instant::now();
        let is_idle = state.entries.is_empty() && !jobs::any_works();
        let mut next = if is_idle {
            Some(idle_at).filter(|at| now < *at)
        } else {
            idle_at = now + LINGER;
            Some(next_memory)
        };
        let mut finished = None;
        for entry in &mut state.entries {
            if entry.look(now) {
                finished = Some(entry.id);
                break;
            }
            let at = entry.next_look(now);
            next = match (next, at) {
                (Some(next), Some(at)) => Some(next.min(at)),
                (next, at) => next.or(at),
            };
        }
        if let Some(id) = finished {
            finish(state, id);
            state = self::state();
            continue;
        }
        if !is_idle && now >= next_memory {
            next_memory = now + MEMORY_PERIOD;
            drop(state);
            crate::memory::check();
            jobs::check();
            state = self::state();
            continue;
        }
        if state.changed {
            continue;
        }
        state.wakes_at = next;
        state = match next {
            None => CHANGED.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(next) => {
                let sleep = next.saturating_duration_since(Instant::now());
                CHANGED
                    .wait_timeout(state, sleep)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
    }
}

/// Reports a process as ended: its thread is parked, or busy with what cannot be interrupted.
fn finish(mut state: MutexGuard<'_, State>, id: u64) {
    let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == id) else {
        return;
    };
    entry.reported = true;
    let (thread, shared) = (entry.thread.clone(), entry.shared.clone());
    let parked = thread.is_parked();
    drop(state);
    let end = shared.latch.get().cloned().unwrap_or(End::Cpu);
    tracing::warn!(?end, parked, "a process did not end by itself");
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thread.report(end)));
    if parked {
        crate::memory::release_headroom_of(thread.id());
        self::state().entries.retain(|entry| entry.id != id);
    }
}

/// Charges CPU time that another thread used for a process, if that is still watched.
pub fn charge(shared: &Arc<Shared>, time: Duration) {
    let _section = crate::critical::section();
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let state = state();
    let mut entries = state.entries.iter();
    if let Some(entry) = entries.find(|entry| Arc::ptr_eq(&entry.shared, shared)) {
        entry.charged.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// CPU time that a process's tree has used; `None` when the process is not watched.
pub fn cpu_time(shared: &Arc<Shared>) -> Option<Duration> {
    let _section = crate::critical::section();
    state()
        .entries
        .iter()
        .find(|entry| Arc::ptr_eq(&entry.shared, shared))
        .map(|entry| {
            entry.publish();
            entry.member.tree().used()
        })
}

impl Entry {
    /// Publishes what the thread has used.
    fn publish(&self) {
        let Some(time) = self.thread.cpu_time() else {
            return;
        };
        let own = time.saturating_sub(self.cpu_base);
        self.member
            .publish(own + Duration::from_nanos(self.charged.load(Ordering::Relaxed)));
    }

    /// Looks after the process; answers whether its thread is to be reported as gone.
    fn look(&mut self, now: Instant) -> bool {
        if self.thread.is_parked() {
            return true;
        }
        if !self.shared.latch.is_set() {
            self.publish();
            if self.member.tree().is_spent() {
                self.shared.latch.set(End::Cpu);
            }
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                if self.spares.as_ref().is_some_and(|spares| spares()) {
                    self.deadline = now.checked_add(SPARED_FOR);
                } else {
                    self.shared.latch.set(End::Wall);
                }
            }
        }
        if !self.shared.latch.is_set() {
            if let Some(near) = &self.near_cpu {
                near.look(millis(self.member.tree().used()));
            }
            if let Some((near, start)) = &self.near_wall {
                near.look(millis(now.saturating_duration_since(*start)));
            }
            return false;
        }
        let cpu = self.thread.cpu_time().unwrap_or_default();
        let since = *self.ending_since.get_or_insert_with(|| {
            self.ending_cpu = cpu;
            now
        });
        self.shared.isolate.terminate_execution();
        self.shared.inbox.wake();
        // A thread that did not run could not end. One that waits in the kernel was woken and needs no signal.
        let used = cpu.saturating_sub(self.ending_cpu);
        let memory = matches!(self.shared.latch.get(), Some(End::Memory(_)));
        if used
            >= if memory {
                PARK_AFTER_MEMORY
            } else {
                PARK_AFTER
            }
        {
            self.thread.signal();
        }
        let waited = now.saturating_duration_since(since);
        !self.reported && (used >= REPORT_AFTER || waited >= GIVE_UP_AFTER)
    }

    /// When to look again; never before anything can have happened.
    fn next_look(&mut self, now: Instant) -> Option<Instant> {
        if self.ending_since.is_some() {
            return Some(now + REPEAT);
        }
        self.publish();
        let tree = self.member.tree();
        let cpu = tree.left().map(|left| {
            // Its threads cannot use more CPU time than time passes for each of them.
            let used = tree.used();
            let idle = used == self.last_cpu;
            self.last_cpu = used;
            let shortest = if idle { IDLE_SLEEP } else { SHORTEST_SLEEP };
            let near = self.near_cpu.as_ref().and_then(NearLimit::threshold);
            let left = near.map_or(left, |near| {
                left.min(Duration::from_millis(near).saturating_sub(used))
            });
            now + (left / tree.members()).max(shortest)
        });
        let near_wall = self.near_wall.as_ref().and_then(|(near, start)| {
            let at = *start + Duration::from_millis(near.threshold()?);
            Some(at.max(now + SHORTEST_SLEEP))
        });
        [cpu, self.deadline, near_wall].into_iter().flatten().min()
    }
}

#[cfg(target_os = "linux")]
fn raise_priority() {
    for nice in [-20, -10, -5] {
        // SAFETY: sets the priority of the calling thread (id 0); fails without the right to.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } == 0 {
            return;
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn raise_priority() {}
