//! Work off the isolate's thread, as on libuv's pool: a process has up to four pieces of it in flight, the rest waits.
//!
//! ```text
//! Env::queue_work(work, done) --> a thread of ours: work(meter) --> inbox --> done(scope, env, result)
//! ```
//!
//! A piece of work is charged to its process as it goes, and asked to stop when the process ends. It touches nothing of
//! the isolate. Threads are shared between processes, made when none is idle, and end when they were idle for long.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::{Env, Shared};
use crate::event_loop::ActiveGuard;
use crate::latch::End;

/// Pieces of one process that run at the same time; libuv's default.
const IN_FLIGHT: usize = 4;
/// Pieces of one process that may wait.
const MAX_WAITING: usize = 1 << 16;
/// Stack of a thread: the deepest of what runs there is regular arithmetic.
const STACK_BYTES: usize = 1 << 20;
/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(5);

type Work = Box<dyn FnOnce() + Send>;
type Answer = Box<dyn Any + Send>;
type Done = Box<dyn for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>, &Rc<Env>, Answer)>;

#[derive(Default)]
struct Pool {
    work: VecDeque<Work>,
    idle: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    work: VecDeque::new(),
    idle: 0,
});
static ARRIVED: Condvar = Condvar::new();

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands `work` to an idle thread, or to a new one.
fn dispatch(work: Work) {
    let _section = crate::critical::section();
    let mut pool = pool();
    pool.work.push_back(work);
    if pool.idle >= pool.work.len() {
        ARRIVED.notify_one();
        return;
    }
    drop(pool);
    if let Err(error) = crate::engine::spawn("secure-exec work".to_owned(), STACK_BYTES, serve) {
        // A thread that is busy now takes it later; without any, the process waits until its limit.
        tracing::error!(%error, "no thread for work");
    }
}

fn serve() {
    let mut pool = pool();
    loop {
        if let Some(work) = pool.work.pop_front() {
            drop(pool);
            work();
            pool = self::pool();
            continue;
        }
        pool.idle += 1;
        let (next, waited) = ARRIVED
            .wait_timeout(pool, IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        pool = next;
        pool.idle -= 1;
        if waited.timed_out() && pool.work.is_empty() {
            return;
        }
    }
}

/// Charges a process for what is done on its behalf.
pub struct Meter {
    shared: Arc<Shared>,
    /// CPU time of this thread that was charged; `None` on the isolate's own thread, which is measured anyway.
    charged: Option<Duration>,
}

impl Meter {
    /// For work on the isolate's own thread.
    pub fn on_own_thread(env: &Env) -> Self {
        Self {
            shared: env.shared().clone(),
            charged: None,
        }
    }

    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            charged: Some(thread_cpu_time()),
        }
    }

    /// Charges the time since the last call; answers whether to go on.
    pub fn checkpoint(&mut self) -> bool {
        if let Some(charged) = &mut self.charged {
            let now = thread_cpu_time();
            crate::watchdog::charge(&self.shared, now.saturating_sub(*charged));
            *charged = now;
        }
        !self.shared.latch.is_set()
    }
}

/// CPU time of this thread.
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills the given structure.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The work of one process.
#[derive(Default)]
struct Queue {
    /// What to do with the answers, and what keeps the process alive until then.
    pending: RefCell<HashMap<u64, (Done, ActiveGuard)>>,
    waiting: RefCell<VecDeque<Work>>,
    in_flight: Cell<usize>,
    next: Cell<u64>,
}

impl Queue {
    fn start(&self, work: Work) {
        if self.in_flight.get() >= IN_FLIGHT {
            self.waiting.borrow_mut().push_back(work);
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        dispatch(work);
    }

    /// One piece is done: the next one may start.
    fn finish(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        let next = self.waiting.borrow_mut().pop_front();
        if let Some(work) = next {
            self.start(work);
        }
    }
}

impl Env {
    /// Runs `work`, which traces call `name`, on another thread, then `done` in the event loop. The process lives until
    /// then.
    pub fn queue_work<T: Send + 'static>(
        self: &Rc<Self>,
        name: &'static str,
        work: impl FnOnce(&mut Meter) -> T + Send + 'static,
        done: impl for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>, &Rc<Env>, T) + 'static,
    ) {
        let queue = self.extension::<Queue>();
        if queue.waiting.borrow().len() >= MAX_WAITING {
            crate::watchdog::kill(self.shared(), End::Memory("native"));
            return;
        }
        let id = queue.next.replace(queue.next.get() + 1);
        let begun = self.trace_time();
        let done: Done = Box::new(move |scope, env, answer| {
            env.trace_work(begun, name, id);
            if let Ok(answer) = answer.downcast::<T>() {
                done(scope, env, *answer);
            }
        });
        queue
            .pending
            .borrow_mut()
            .insert(id, (done, self.keep_alive()));
        let shared = self.shared().clone();
        queue.start(Box::new(move || {
            let mut meter = Meter::new(shared.clone());
            let answer = if shared.latch.is_set() {
                None
            } else {
                let work = || crate::fatal::work_for(&shared, || work(&mut meter));
                catch_unwind(AssertUnwindSafe(work))
                    .map_err(|_| {
                        tracing::error!("work of a process panicked; it ends");
                        crate::watchdog::kill(&shared, End::Crash("panic".to_owned()));
                    })
                    .ok()
            };
            meter.checkpoint();
            let answer = answer.map(|answer| Box::new(answer) as Answer);
            shared.inbox.send(Box::new(move |scope, env| {
                let queue = env.extension::<Queue>();
                queue.finish();
                let pending = queue.pending.borrow_mut().remove(&id);
                if let (Some((done, _alive)), Some(answer)) = (pending, answer) {
                    done(scope, env, answer);
                }
            }));
        }));
    }
}
