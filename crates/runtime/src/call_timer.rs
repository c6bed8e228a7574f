//! The `timeout` and the `breakOnSigint` of one call into JavaScript (`vm.Script.runInContext`, `vm.Module.evaluate`).
//!
//! One thread serves all processes. It requests termination; the call itself turns that into an error afterwards, and
//! only if no process-wide end is set and no outer call has run out of time as well.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::env::Env;
use crate::sigint::Watch;

struct Entry {
    isolate: v8::IsolateHandle,
    fired: Arc<AtomicBool>,
}

#[derive(Default)]
struct Queue {
    /// By deadline and a number that makes it unique.
    entries: BTreeMap<(Instant, u64), Entry>,
    next: u64,
    running: bool,
}

#[derive(Default)]
struct Timers {
    queue: Mutex<Queue>,
    changed: Condvar,
}

static TIMERS: OnceLock<Timers> = OnceLock::new();

fn timers() -> &'static Timers {
    TIMERS.get_or_init(Timers::default)
}

fn serve() {
    let timers = timers();
    let mut queue = timers.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = Instant::now();
        let wait = match queue.entries.first_entry() {
            Some(entry) if entry.key().0 <= now => {
                let entry = entry.remove();
                entry.fired.store(true, Ordering::SeqCst);
                entry.isolate.terminate_execution();
                continue;
            }
            Some(entry) => Some(entry.key().0 - now),
            None => None,
        };
        queue = match wait {
            Some(wait) => {
                timers
                    .changed
                    .wait_timeout(queue, wait)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => timers
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner),
        };
    }
}

/// The timers and watches of the calls that one process is in, outermost first.
#[derive(Default)]
struct Nested(std::cell::RefCell<Vec<Arc<AtomicBool>>>);

/// A running timer. [`CallTimer::stop`] must be called when the call is over.
pub struct CallTimer {
    key: (Instant, u64),
    fired: Arc<AtomicBool>,
}

/// How a call with a timer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not by this timer.
    Elsewhere,
    /// By this timer or by this watch; termination is withdrawn, so that an error can be thrown.
    Fired,
    /// By this timer, and by an outer one or by the process's end: termination goes on.
    Terminated,
}

impl CallTimer {
    /// Starts the timer; `None` when the operating system gives no thread for it.
    pub fn start(env: &Env, timeout: Duration) -> Option<Self> {
        let timers = timers();
        let now = Instant::now();
        let deadline = now
            .checked_add(timeout)
            .unwrap_or_else(|| now + Duration::from_secs(1 << 31));
        let mut queue = timers.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.running {
            crate::engine::spawn("secure-exec timer".to_owned(), 256 << 10, serve).ok()?;
            queue.running = true;
        }
        let key = (deadline, queue.next);
        queue.next += 1;
        let fired = Arc::new(AtomicBool::new(false));
        queue.entries.insert(
            key,
            Entry {
                isolate: env.shared().isolate.clone(),
                fired: fired.clone(),
            },
        );
        drop(queue);
        timers.changed.notify_one();
        env.extension::<Nested>().0.borrow_mut().push(fired.clone());
        Some(Self { key, fired })
    }

    /// Stops the timer after the call, while a `TryCatch` around the call is still open.
    pub fn stop(self, env: &Env, isolate: &v8::Isolate) -> Outcome {
        timers()
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entries
            .remove(&self.key);
        leave(env, isolate, &self.fired)
    }
}

/// What lets `SIGINT` end one call (`breakOnSigint`). [`SigintBreak::stop`] must be called when the call is over.
pub struct SigintBreak(Watch);

impl SigintBreak {
    /// Starts to watch; `None` when too many do.
    pub fn start(env: &Env) -> Option<Self> {
        let watch = Watch::call(env)?;
        let nested = env.extension::<Nested>();
        nested.0.borrow_mut().push(watch.fired().clone());
        Some(Self(watch))
    }

    /// Ends the watch after the call, while a `TryCatch` around the call is still open.
    pub fn stop(self, env: &Env, isolate: &v8::Isolate) -> Outcome {
        let fired = self.0.fired().clone();
        self.0.end(env);
        leave(env, isolate, &fired)
    }
}

/// Leaves the innermost call; `fired` is its own flag.
fn leave(env: &Env, isolate: &v8::Isolate, fired: &AtomicBool) -> Outcome {
    let nested = env.extension::<Nested>();
    nested.0.borrow_mut().pop();
    if !fired.load(Ordering::SeqCst) {
        return Outcome::Elsewhere;
    }
    if env.is_ending() {
        return Outcome::Terminated;
    }
    isolate.cancel_terminate_execution();
    // The end of the process or an outer call may have asked for the very termination that was just withdrawn.
    if env.is_ending()
        || nested
            .0
            .borrow()
            .iter()
            .any(|outer| outer.load(Ordering::SeqCst))
    {
        isolate.terminate_execution();
        return Outcome::Terminated;
    }
    Outcome::Fired
}

/// Asks again for the termination of a call whose time is up: code in between may have withdrawn it.
pub(crate) fn insist(env: &Env, isolate: &v8::Isolate) {
    let nested = env.extension::<Nested>();
    let is_up = nested
        .0
        .borrow()
        .iter()
        .any(|call| call.load(Ordering::SeqCst));
    if is_up {
        isolate.terminate_execution();
    }
}
