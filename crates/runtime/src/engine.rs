//! V8 in this OS process: flags, platform, and the root thread.
//!
//! V8 is initialised once, on a root thread that lives for ever and starts every isolate's thread: the rights of memory
//! protection keys are inherited from the thread that initialised V8 (reference/security.md R4). V8 is never disposed of
//! and its WebAssembly trap handler is never installed: both would touch the host's own V8 and signal handlers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::c_void;
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::event_loop::Inbox;

/// Flags for every isolate, set once before initialisation.
///
/// WebAssembly: the trap handler is off, so that its memories need no guard regions of 8 GB and check their bounds; one
/// memory holds 4 GB at most.
const FLAGS: &[&str] = &[
    "--stack-size=1500",
    "--no-verify-snapshot-checksum",
    "--no-wasm-native-module-cache",
    "--wasm-enforce-bounds-checks",
    "--wasm-max-mem-pages=65536",
    "--wasm-max-table-size=1000000",
    "--wasm-max-module-size=67108864",
    // asm.js stays JavaScript: its functions would be types of WebAssembly that nobody counts.
    "--no-validate-asm",
    "--no-harmony-shadow-realm",
    "--enable-sharedarraybuffer-per-context",
    "--js-float16array",
    // See `v8_jobs.rs`.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    "--concurrent-turbofan-max-threads=32",
];

/// Gives the startup snapshot of this program; the first call counts. Without it the library is booted at first use.
pub fn set_startup_snapshot(blob: &'static [u8]) {
    let _ = SNAPSHOT.set(blob);
}

static SNAPSHOT: OnceLock<&'static [u8]> = OnceLock::new();

/// The startup snapshot; empty when there is none.
pub fn startup_snapshot() -> &'static [u8] {
    SNAPSHOT.get().copied().unwrap_or_default()
}

type Job = Box<dyn FnOnce() + Send>;

static ROOT: OnceLock<Sender<Job>> = OnceLock::new();

/// Why the engine cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The root thread has died; nothing more can be started in this OS process.
    #[error("the engine's root thread is gone")]
    RootGone,
}

thread_local! {
    /// Whether this is the root thread, which must not wait for itself.
    static IS_ROOT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Initialises V8 if that has not been done yet.
fn root() -> &'static Sender<Job> {
    ROOT.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        let (ready, is_ready) = channel::<()>();
        let spawned = thread::Builder::new()
            .name("secure-exec root".to_owned())
            .spawn(move || {
                IS_ROOT.set(true);
                initialize();
                let _ = ready.send(());
                for job in inbox {
                    job();
                }
            });
        match spawned {
            Ok(_) => {
                let _ = is_ready.recv();
            }
            Err(error) => tracing::error!(%error, "cannot start the root thread"),
        }
        jobs
    })
}

/// Tasks that V8 wants to run on the thread of one isolate.
#[derive(Default)]
struct TaskQueue {
    ready: VecDeque<v8::Task>,
    /// By due time and order of arrival.
    delayed: BTreeMap<(Instant, u64), v8::Task>,
    next: u64,
    inbox: Option<Inbox>,
}

/// Queues by the isolate's address. An entry lives from [`TaskOwner::new`] to its end, or, for tasks that V8 posts while
/// it makes an isolate, from the first task on.
static TASKS: LazyLock<Mutex<HashMap<usize, TaskQueue>>> = LazyLock::new(Mutex::default);

/// All queues, locked. V8 posts tasks from anywhere: a thread that was parked in the middle would stop all isolates.
struct Tasks {
    queues: MutexGuard<'static, HashMap<usize, TaskQueue>>,
    /// Dropped after the lock.
    _section: crate::critical::Section,
}

impl std::ops::Deref for Tasks {
    type Target = HashMap<usize, TaskQueue>;

    fn deref(&self) -> &Self::Target {
        &self.queues
    }
}

impl std::ops::DerefMut for Tasks {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.queues
    }
}

fn tasks() -> Tasks {
    let section = crate::critical::section();
    Tasks {
        queues: TASKS.lock().unwrap_or_else(PoisonError::into_inner),
        _section: section,
    }
}

/// V8's platform: background work on its own threads, foreground tasks on the event loop of their process.
struct Platform;

impl Platform {
    /// Never runs the task here: this is any thread, perhaps under a lock of V8's.
    fn post(isolate: *mut c_void, task: v8::Task, delay: f64) {
        let mut queues = tasks();
        let queue = queues.entry(isolate as usize).or_default();
        let delay = Duration::try_from_secs_f64(delay)
            .unwrap_or_default()
            .min(Duration::from_hours(1));
        if delay.is_zero() {
            queue.ready.push_back(task);
        } else {
            queue.next += 1;
            queue
                .delayed
                .insert((Instant::now() + delay, queue.next), task);
        }
        let inbox = queue.inbox.clone();
        drop(queues);
        if let Some(inbox) = inbox {
            inbox.wake();
        }
    }
}

impl v8::PlatformImpl for Platform {
    fn post_task(&self, isolate: *mut c_void, task: v8::Task) {
        Self::post(isolate, task, 0.0);
    }

    fn post_non_nestable_task(&self, isolate: *mut c_void, task: v8::Task) {
        Self::post(isolate, task, 0.0);
    }

    fn post_delayed_task(&self, isolate: *mut c_void, task: v8::Task, delay: f64) {
        Self::post(isolate, task, delay);
    }

    fn post_non_nestable_delayed_task(&self, isolate: *mut c_void, task: v8::Task, delay: f64) {
        Self::post(isolate, task, delay);
    }

    /// The platform says that it has no idle time; such a task is not to be run.
    fn post_idle_task(&self, _isolate: *mut c_void, task: v8::IdleTask) {
        drop(task);
    }
}

/// The address that V8 names an isolate by.
fn address_of(isolate: &v8::Isolate) -> usize {
    // SAFETY: the pointer is a number to us; nothing is read through it.
    let pointer = unsafe { isolate.as_raw_isolate_ptr() };
    const { assert!(size_of::<v8::UnsafeRawIsolatePtr>() == size_of::<usize>()) };
    // SAFETY: `UnsafeRawIsolatePtr` is a transparent pointer of the same size, see the assertion.
    unsafe { std::mem::transmute::<v8::UnsafeRawIsolatePtr, usize>(pointer) }
}

/// Binds V8's tasks for one isolate to its process. Drop it after the isolate: tasks that are left then, and those that
/// V8 posted while it tore the isolate down, are dropped and never run for another isolate at the same address.
pub struct TaskOwner(usize);

impl TaskOwner {
    /// Tasks for `isolate` wake `inbox` from now on.
    pub fn new(isolate: &v8::Isolate, inbox: Inbox) -> Self {
        let address = address_of(isolate);
        tasks().entry(address).or_default().inbox = Some(inbox);
        Self(address)
    }
}

impl Drop for TaskOwner {
    fn drop(&mut self) {
        let left = tasks().remove(&self.0);
        // Dropped without the lock: a task's destructor may post another.
        drop(left);
    }
}

fn initialize() {
    // The first argument stands for the program and is left alone.
    let flags = std::iter::once("v8")
        .chain(FLAGS.iter().copied())
        .map(str::to_owned)
        .collect();
    let unknown = v8::V8::set_flags_from_command_line(flags);
    if unknown.len() > 1 {
        tracing::error!(?unknown, "V8 does not know these flags");
    }
    crate::icu_memory::install();
    v8::icu::set_default_locale("en-US");
    crate::time_zone::initialize();
    let platform = v8::new_custom_platform(2, false, false, Platform).make_shared();
    // V8's own source opens a file for each of the tables of an isolate.
    v8::V8::set_entropy_source(fill_random);
    v8::V8::initialize_platform(platform);
    v8::V8::initialize();
    crate::fatal::install();
    if cfg!(target_os = "linux") && !crate::link_wrap::is_linked() {
        tracing::warn!(
            "linked without crates/runtime/link-args.txt: clocks and WebAssembly memory are not the guest's"
        );
    }
}

fn fill_random(bytes: &mut [u8]) -> bool {
    secure_exec_kernel::fill_random(bytes).is_ok()
}

/// Keeps one isolate, of which nothing but its existence is used: with the last isolate of an OS process V8 tears down
/// what all of them share, above all the read-only heap, and the next one would make it again. Call on the root thread.
pub(crate) fn keep_shared_heap() {
    static KEPT: Once = Once::new();
    if startup_snapshot().is_empty() {
        return;
    }
    KEPT.call_once(|| {
        let params = crate::snapshot::create_params(startup_snapshot());
        // It lives as long as the OS process.
        std::mem::forget(v8::Isolate::new(params));
    });
}

/// How many guest threads sleep for ever because V8 left them no way back; see `fatal.rs`.
pub fn parked_threads() -> usize {
    crate::fatal::parked_threads()
}

/// Starts a thread that may run an isolate.
///
/// # Errors
/// [`EngineError`] when the operating system refuses the thread.
pub fn spawn(
    name: String,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    if IS_ROOT.get() {
        thread::Builder::new()
            .name(name)
            .stack_size(stack_bytes)
            .spawn(body)?;
        return Ok(());
    }
    let (done, outcome) = channel();
    let job: Job = Box::new(move || {
        let thread = thread::Builder::new()
            .name(name)
            .stack_size(stack_bytes)
            .spawn(body);
        let _ = done.send(thread.map(drop));
    });
    root().send(job).map_err(|_| EngineError::RootGone)?;
    outcome.recv().map_err(|_| EngineError::RootGone)??;
    Ok(())
}

/// Runs `job` on the root thread when it is next free.
pub fn later(job: fn()) {
    if root().send(Box::new(job)).is_err() {
        tracing::warn!("the engine's root thread is gone");
    }
}

fn next_task(isolate: usize) -> Option<v8::Task> {
    let mut queues = tasks();
    let queue = queues.get_mut(&isolate)?;
    if let Some(first) = queue.delayed.first_entry()
        && first.key().0 <= Instant::now()
    {
        return Some(first.remove());
    }
    queue.ready.pop_front()
}

/// Runs V8's own tasks for this isolate that are due, each with `after`; answers whether there were any.
pub fn run_foreground_tasks(
    scope: &mut v8::PinScope<'_, '_>,
    mut after: impl FnMut(&mut v8::PinScope<'_, '_>),
) -> bool {
    let isolate = address_of(scope);
    // A task may post another: that one is for the next turn.
    let count = tasks()
        .get(&isolate)
        .map_or(0, |queue| queue.ready.len() + queue.delayed.len());
    let mut any = false;
    for _ in 0..count {
        let Some(task) = next_task(isolate) else {
            break;
        };
        task.run();
        any = true;
        after(scope);
    }
    any
}

/// Whether tasks for this isolate could run now.
pub fn has_foreground_tasks(scope: &v8::Isolate) -> bool {
    tasks()
        .get(&address_of(scope))
        .is_some_and(|queue| !queue.ready.is_empty())
}

/// When the next delayed task for this isolate is due.
pub fn next_delayed_task(scope: &v8::Isolate) -> Option<Instant> {
    let queues = tasks();
    queues
        .get(&address_of(scope))?
        .delayed
        .first_key_value()
        .map(|(key, _)| key.0)
}
