//! What V8's own threads do for guests: for whom, how much memory it takes and for how long.
//!
//! ```text
//! guest's thread --makes a job--> Job { the guest's budget, V8's task }
//! V8's thread ----runs it-------> zones over the budget, memory out, a failed check: the guest ends, the thread is parked
//! watchdog -------looks---------> busy for long: another thread beside it; its guest long gone: the thread is parked
//! ```
//!
//! V8's compilers look at no request to end, and the memory and time of a job have no bound of V8's: a WebAssembly function
//! of half a megabyte can ask for gigabytes, or for hours.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::latch::End;
use crate::link_wrap::wrap;
use crate::memory::MemoryBudget;

type Pointer = *mut c_void;

/// CPU time of one job after which V8 gets another thread: other guests' jobs wait behind it.
const BUSY_AFTER: Duration = Duration::from_secs(1);
/// CPU time for which a job goes on after its guest's end.
const PARK_AFTER: Duration = Duration::from_secs(10);
/// So many threads are added for busy ones at most.
const MOST_ADDED: usize = 6;

/// So many threads may work at V8's one job of TurboFan, those that are parked included: `--concurrent-turbofan-max-threads`,
/// and the most that a job of V8's may have.
const TURBOFAN_THREADS: usize = 32;

/// Threads that were added because others were busy.
static ADDED: AtomicUsize = AtomicUsize::new(0);
/// All threads that have run a job.
static THREADS: Mutex<Vec<&'static JobThread>> = Mutex::new(Vec::new());

thread_local! {
    /// What this thread is as one of V8's; null elsewhere.
    static THREAD: Cell<*const JobThread> = const { Cell::new(ptr::null()) };
    /// Bytes of zones that this thread holds for its job.
    static HELD: Cell<usize> = const { Cell::new(0) };
    /// What they may come to; 0 outside of jobs.
    static MOST: Cell<usize> = const { Cell::new(0) };
    /// Whether the job that is made now is that of TurboFan, for all isolates.
    static MAKES_TURBOFAN: Cell<bool> = const { Cell::new(false) };
}

/// A thread of V8's. Lives for ever: there are few.
struct JobThread {
    thread: libc::pthread_t,
    work: Mutex<Option<Work>>,
    /// The segments of zones that it holds for its job, with the allocator that each came from.
    segments: Mutex<HashMap<usize, usize>>,
    /// Whether it is to be parked.
    condemned: AtomicBool,
    /// Whether it sleeps for ever.
    parked: AtomicBool,
}

/// A job on a thread.
#[derive(Clone)]
struct Work {
    budget: Arc<MemoryBudget>,
    /// The thread's CPU time when it began.
    began: Duration,
    /// The same when the guest was first seen to have ended.
    ended: Option<Duration>,
    /// Whether a thread was added for it.
    is_helped: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The functions of a `v8::JobTask`.
#[repr(C)]
struct VirtualTable {
    /// Never called: V8 deletes jobs.
    destroy: unsafe extern "C" fn(*mut Job),
    delete: unsafe extern "C" fn(*mut Job),
    run: unsafe extern "C" fn(*mut Job, Pointer),
    max_concurrency: unsafe extern "C" fn(*const Job, usize) -> usize,
}

/// The functions of the task that V8 made.
#[repr(C)]
struct OwnTable {
    destroy: unsafe extern "C" fn(*mut OwnTask),
    delete: unsafe extern "C" fn(*mut OwnTask),
    run: unsafe extern "C" fn(*mut OwnTask, Pointer),
    max_concurrency: unsafe extern "C" fn(*const OwnTask, usize) -> usize,
}

#[repr(C)]
struct OwnTask {
    table: *const OwnTable,
}

/// A `v8::JobTask` around V8's own, which knows for whom it is.
#[repr(C)]
struct Job {
    table: *const VirtualTable,
    task: *mut OwnTask,
    budget: Arc<MemoryBudget>,
}

static TABLE: VirtualTable = VirtualTable {
    destroy,
    delete,
    run,
    max_concurrency,
};

unsafe extern "C" fn destroy(job: *mut Job) {
    // SAFETY: V8 owns the job and ends it once; so does the job with its task.
    unsafe {
        let task = (*job).task;
        ((*(*task).table).delete)(task);
        ptr::drop_in_place(&raw mut (*job).budget);
    }
}

unsafe extern "C" fn delete(job: *mut Job) {
    let _section = crate::critical::section();
    // SAFETY: see `destroy`; the job was made by `Box::into_raw`.
    unsafe {
        let job = Box::from_raw(job);
        ((*(*job.task).table).delete)(job.task);
    }
}

unsafe extern "C" fn max_concurrency(job: *const Job, workers: usize) -> usize {
    // SAFETY: V8 calls this on a job that it has not ended.
    unsafe {
        let task = (*job).task;
        ((*(*task).table).max_concurrency)(task, workers)
    }
}

unsafe extern "C" fn run(job: *mut Job, delegate: Pointer) {
    // SAFETY: V8 runs a job that it has not ended.
    let (task, budget) = unsafe { ((*job).task, &(*job).budget) };
    // A guest's thread that waits for its job does a part of it, as part of its own work.
    let _during = crate::v8_workers::is_one().then(|| During::new(budget));
    // SAFETY: as above.
    unsafe { ((*(*task).table).run)(task, delegate) }
}

/// This thread of V8's works for a guest while this exists.
struct During {
    before: Option<Work>,
    most_before: usize,
    held_before: usize,
}

impl During {
    fn new(budget: &Arc<MemoryBudget>) -> Self {
        let _section = crate::critical::section();
        crate::v8_workers::prepare();
        let thread = this_thread();
        let before = lock(&thread.work).replace(Work {
            budget: budget.clone(),
            began: crate::watchdog::thread_cpu_time(),
            ended: None,
            is_helped: false,
        });
        Self {
            before,
            most_before: MOST.replace(budget.most_in_zones()),
            held_before: HELD.replace(0),
        }
    }
}

impl Drop for During {
    fn drop(&mut self) {
        let _section = crate::critical::section();
        MOST.set(self.most_before);
        HELD.set(self.held_before);
        // What is left belongs to the code that the job made, and goes on the guest's thread.
        lock(&this_thread().segments).clear();
        let work = std::mem::replace(&mut *lock(&this_thread().work), self.before.take());
        drop(work);
    }
}

fn this_thread() -> &'static JobThread {
    // SAFETY: null or a value that was leaked below.
    if let Some(known) = unsafe { THREAD.get().as_ref() } {
        return known;
    }
    let thread: &'static JobThread = Box::leak(Box::new(JobThread {
        // SAFETY: has no preconditions.
        thread: unsafe { libc::pthread_self() },
        work: Mutex::new(None),
        segments: Mutex::default(),
        condemned: AtomicBool::new(false),
        parked: AtomicBool::new(false),
    }));
    THREAD.set(thread);
    lock(&THREADS).push(thread);
    thread
}

/// The memory of the guest for which this thread of V8's works, if it is one and does.
pub(crate) fn budget() -> Option<Arc<MemoryBudget>> {
    // SAFETY: see `this_thread`.
    let thread = unsafe { THREAD.get().as_ref() }?;
    let _section = crate::critical::section();
    let work = lock(&thread.work);
    Some(work.as_ref()?.budget.clone())
}

/// Whether a block of `size` bytes is more than the guest may hold for which this thread of V8's works.
pub(crate) fn is_too_large(size: usize) -> bool {
    let most = MOST.get();
    most != 0 && size > most
}

wrap!(
    "_ZN2v88platform15DefaultJobStateC1EPNS_8PlatformENSt4__Cr10unique_ptrINS_7JobTaskENS4_14default_deleteIS6_EEEENS_12TaskPriorityEm" =>
    make_job,
    fn real_make_job(state: Pointer, platform: Pointer, task: *mut OwnTask, priority: u8, threads: usize)
);

// V8 makes a job on the thread of the guest that it is for; what a job makes is for the same one. Its `unique_ptr`s are one
// pointer each, passed as such.
unsafe extern "C" fn make_job(
    state: Pointer,
    platform: Pointer,
    task: *mut OwnTask,
    priority: u8,
    threads: usize,
) {
    let section = crate::critical::section();
    let (threads, budget) = if MAKES_TURBOFAN.get() {
        (TURBOFAN_THREADS, None)
    } else {
        (threads, crate::wasm_memory::thread_budget())
    };
    let task = match budget {
        None => task,
        Some(budget) => Box::into_raw(Box::new(Job {
            table: &raw const TABLE,
            task,
            budget,
        }))
        .cast(),
    };
    drop(section);
    // SAFETY: V8's own call, passed on with a task that behaves as its own and owns that.
    unsafe { real_make_job(state, platform, task, priority, threads) }
}

wrap!(
    "_ZN2v88internal29OptimizingCompileTaskExecutor13EnsureStartedEv" => start_turbofan,
    fn real_start_turbofan(executor: Pointer)
);

// A thread that is parked counts as one that works at the job for ever; others must be able to.
unsafe extern "C" fn start_turbofan(executor: Pointer) {
    MAKES_TURBOFAN.set(true);
    // SAFETY: V8's own call, passed on.
    unsafe { real_start_turbofan(executor) };
    MAKES_TURBOFAN.set(false);
}

wrap!(
    "_ZN2v88internal23OptimizedCompilationJob10ExecuteJobEPNS0_16RuntimeCallStatsEPNS0_12LocalIsolateE" =>
    execute_job,
    fn real_execute_job(job: Pointer, stats: Pointer, isolate: Pointer) -> i32
);

// One function of one isolate, in a job that may be for all of them.
unsafe extern "C" fn execute_job(job: Pointer, stats: Pointer, isolate: Pointer) -> i32 {
    let budget = crate::v8_workers::is_one()
        .then(crate::fatal::budget_of_local_heap)
        .flatten();
    let _during = budget.as_ref().map(During::new);
    // SAFETY: V8's own call, passed on.
    unsafe { real_execute_job(job, stats, isolate) }
}

/// The beginning of V8's `Segment`.
#[repr(C)]
struct Segment {
    zone: Pointer,
    next: Pointer,
    size: usize,
}

wrap!(
    "_ZN2v88internal19AccountingAllocator15AllocateSegmentEm" => allocate_segment,
    fn real_allocate_segment(allocator: Pointer, size: usize) -> *const Segment
);
wrap!(
    "_ZN2v88internal19AccountingAllocator13ReturnSegmentEPNS0_7SegmentE" => return_segment,
    fn real_return_segment(allocator: Pointer, segment: *const Segment)
);

unsafe extern "C" fn allocate_segment(allocator: Pointer, size: usize) -> *const Segment {
    let most = MOST.get();
    if most != 0 && HELD.get().saturating_add(size) > most {
        // Returns while the thread holds a lock.
        crate::fatal::park_thread_of_v8(End::Memory("native"));
    }
    // SAFETY: V8's own call, passed on.
    let segment = unsafe { real_allocate_segment(allocator, size) };
    if most != 0
        // SAFETY: null or a segment that was just made.
        && let Some(made) = unsafe { segment.as_ref() }
    {
        let _section = crate::critical::section();
        HELD.set(HELD.get().saturating_add(made.size));
        lock(&this_thread().segments).insert(segment as usize, allocator as usize);
    }
    segment
}

unsafe extern "C" fn return_segment(allocator: Pointer, segment: *const Segment) {
    if MOST.get() != 0 {
        let _section = crate::critical::section();
        if lock(&this_thread().segments)
            .remove(&(segment as usize))
            .is_some()
            // SAFETY: a segment that V8 gives back, which is its own until the call below.
            && let Some(segment) = unsafe { segment.as_ref() }
        {
            HELD.set(HELD.get().saturating_sub(segment.size));
        }
    }
    // SAFETY: V8's own call, passed on.
    unsafe { real_return_segment(allocator, segment) }
}

/// Gives back the zones of a thread that sleeps for ever: nobody but that thread knew of them.
fn release(thread: &JobThread) {
    // The thread itself comes here when memory is out, perhaps while it notes a segment.
    let Ok(mut segments) = thread.segments.try_lock() else {
        return;
    };
    let segments = std::mem::take(&mut *segments);
    for (segment, allocator) in segments {
        // SAFETY: the allocator made the segment and lives: it is that of V8's engine for WebAssembly, or of an isolate that
        // waits for this thread for ever. The job's own thread, the only one to use its zones, is parked or about to be.
        unsafe { real_return_segment(allocator as Pointer, segment as *const Segment) };
    }
}

/// Whether there is anything for [`check`] to look after.
pub(crate) fn any_works() -> bool {
    let _section = crate::critical::section();
    lock(&THREADS).iter().any(|thread| {
        thread.condemned.load(Ordering::Acquire)
            || !thread.parked.load(Ordering::Acquire) && lock(&thread.work).is_some()
    })
}

/// Looks after the threads that work for long. Called by the watchdog about once in a second.
pub(crate) fn check() {
    for thread in lock(&THREADS).iter() {
        if thread.condemned.load(Ordering::Acquire) {
            if thread.parked.load(Ordering::Acquire) {
                if thread.condemned.swap(false, Ordering::AcqRel) {
                    release(thread);
                    crate::engine::later(crate::v8_workers::add);
                }
            } else {
                signal(thread);
            }
            continue;
        }
        if thread.parked.load(Ordering::Acquire) {
            continue;
        }
        let mut work = lock(&thread.work);
        let Some(work) = work.as_mut() else { continue };
        // SAFETY: threads of V8's live as long as the OS process.
        let Some(now) = (unsafe { crate::fatal::cpu_time_of(thread.thread) }) else {
            continue;
        };
        let is_over = work
            .budget
            .shared()
            .is_some_and(|shared| shared.latch.is_set());
        if is_over {
            let since = *work.ended.get_or_insert(now);
            if now.saturating_sub(since) >= PARK_AFTER {
                tracing::error!(
                    "a thread of V8's works on for a guest that has ended; it is parked"
                );
                thread.condemned.store(true, Ordering::Release);
                signal(thread);
                continue;
            }
        }
        if !work.is_helped
            && now.saturating_sub(work.began) >= BUSY_AFTER
            && ADDED.load(Ordering::Relaxed) < MOST_ADDED
        {
            work.is_helped = true;
            ADDED.fetch_add(1, Ordering::Relaxed);
            crate::engine::later(crate::v8_workers::add);
        }
    }
}

fn signal(thread: &JobThread) {
    let signal = crate::fatal::parking_signal();
    if signal != 0 {
        // SAFETY: threads of V8's live as long as the OS process.
        unsafe { libc::pthread_kill(thread.thread, signal) };
    }
}

/// In the signal's handler, on a thread that runs no guest: whether it is to sleep for ever now.
pub(crate) fn must_park() -> bool {
    // SAFETY: see `this_thread`; nothing here allocates or locks.
    let Some(thread) = (unsafe { THREAD.get().as_ref() }) else {
        return false;
    };
    if !thread.condemned.load(Ordering::Acquire) || crate::critical::is_inside() {
        return false;
    }
    thread.parked.store(true, Ordering::Release);
    true
}

/// This thread of V8's is about to sleep for ever.
pub(crate) fn note_parked() {
    // SAFETY: see `this_thread`.
    if let Some(thread) = unsafe { THREAD.get().as_ref() } {
        thread.parked.store(true, Ordering::Release);
        release(thread);
    }
}
