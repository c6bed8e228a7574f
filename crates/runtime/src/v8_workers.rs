//! The threads of V8's platform: they compile and collect garbage for all isolates of this OS process.
//!
//! Their stacks are as large as ours ought to be, whatever `ulimit -s` says; each handles signals on a stack of its own
//! (see `stack_overflow.rs`); and a thread that is parked has a successor.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use crate::fatal::SignalStack;
use crate::link_wrap::wrap;

type Pointer = *mut c_void;

/// Address space, of which a thread uses what it needs.
const STACK_BYTES: i32 = 64 << 20;

/// The beginning of `v8::base::Thread`.
#[repr(C)]
struct V8Thread {
    vtable: *const c_void,
    /// Its first member is the `pthread_t`.
    data: *const libc::pthread_t,
    name: [u8; 16],
    /// 0 stands for the system's default.
    stack_size: i32,
}

/// Addresses of the platform's `WorkerThread`s, which live as long as the platform: for ever.
static WORKERS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

thread_local! {
    static SIGNAL_STACK: RefCell<Option<SignalStack>> = const { RefCell::new(None) };
    static IS_READY: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is one of the platform's, once that was asked.
    static IS_WORKER: Cell<Option<bool>> = const { Cell::new(None) };
    /// The `WorkerThread` that this thread runs for a parked one.
    static SUCCEEDS: Cell<Pointer> = const { Cell::new(ptr::null_mut()) };
}

unsafe extern "C" {
    /// `DefaultWorkerThreadsTaskRunner::WorkerThread::Run`: takes tasks until the platform ends.
    #[link_name = "_ZN2v88platform30DefaultWorkerThreadsTaskRunner12WorkerThread3RunEv"]
    fn run_worker(worker: Pointer);
}

wrap!("_ZN2v84base6Thread5StartEv" => start, fn real_start(thread: *mut V8Thread) -> bool);

// Called by the platform for its workers, and by nobody else in what we link.
unsafe extern "C" fn start(thread: *mut V8Thread) -> bool {
    // SAFETY: V8 starts a thread that it has made; nobody else knows it yet.
    if let Some(thread) = unsafe { thread.as_mut() }
        && thread.stack_size == 0
    {
        thread.stack_size = STACK_BYTES;
    }
    WORKERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(thread as usize);
    // SAFETY: V8's own call, passed on.
    unsafe { real_start(thread) }
}

/// Called before a thread takes memory for V8's compilers: lets a thread of V8's survive the end of its stack.
pub(crate) fn prepare() {
    if IS_READY.replace(true) || crate::fatal::is_guest_thread() {
        return;
    }
    let _section = crate::critical::section();
    SIGNAL_STACK.set(SignalStack::install());
}

/// Whether this thread is one of the platform's.
pub(crate) fn is_one() -> bool {
    IS_WORKER.get().unwrap_or_else(|| {
        let _section = crate::critical::section();
        let is_one = own_worker().is_some();
        IS_WORKER.set(Some(is_one));
        is_one
    })
}

/// The `WorkerThread` that this thread runs.
fn own_worker() -> Option<Pointer> {
    let own = SUCCEEDS.get();
    if !own.is_null() {
        return Some(own);
    }
    let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    workers.iter().copied().find_map(|worker| {
        // SAFETY: workers live for ever. Each notes its thread before that begins.
        let thread = unsafe { *(*(worker as *const V8Thread)).data };
        // SAFETY: has no preconditions.
        (thread == unsafe { libc::pthread_self() }).then_some(worker as Pointer)
    })
}

/// This thread is about to be parked: if V8's platform counts on it, another takes its place.
pub(crate) fn succeed() {
    if let Some(worker) = own_worker() {
        start_for(worker);
    }
}

/// Gives V8's platform one thread more. It runs a `WorkerThread` that another thread runs too: of that it uses nothing but
/// the right to take tasks, and a condition on which both wait.
pub(crate) fn add() {
    let worker = {
        let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
        workers.first().copied()
    };
    if let Some(worker) = worker {
        start_for(worker as Pointer);
    }
}

/// Starts a thread that runs `worker`. Called on a thread whose rights of memory protection keys are V8's.
fn start_for(worker: Pointer) {
    struct Worker(Pointer);
    // SAFETY: workers live for ever, and all that their threads share is behind the platform's lock.
    unsafe impl Send for Worker {}

    let worker = Worker(worker);
    let started = std::thread::Builder::new()
        .name("V8 worker".to_owned())
        .stack_size(STACK_BYTES as usize)
        .spawn(move || {
            let Worker(worker) = { worker };
            SUCCEEDS.set(worker);
            crate::stack_overflow::unblock();
            // SAFETY: see `Worker`. The platform and its workers live for ever.
            unsafe { run_worker(worker) };
        });
    if let Err(error) = started {
        tracing::error!(%error, "V8 has a thread less");
    }
}
