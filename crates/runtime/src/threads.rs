//! The threads of one process: its main thread and its workers.
//!
//! ```text
//! Thread (extension of each Env) --> Arc<Threads>: one for the process
//! Shared of a thread --> Workers: the controls of the workers that it started; they end with it
//! ```

use std::cell::{OnceCell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::latch::End;
use crate::message_port::PortData;
use crate::process::Control;
use crate::tracer::Tracer;

/// What a worker that ends with its parent, or is terminated, exits with.
pub const TERMINATED: i32 = 1;

/// What all threads of a process have in common.
#[derive(Debug)]
pub struct Threads {
    /// The id of the next worker.
    next_id: AtomicU64,
    /// Where all of them trace to.
    tracer: Arc<Tracer>,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            next_id: AtomicU64::new(1),
            tracer: Arc::default(),
        }
    }
}

impl Threads {
    /// Where the threads of this process trace to.
    pub fn tracer(&self) -> &Arc<Tracer> {
        &self.tracer
    }

    /// An id for a worker, never given twice in a process.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a worker is told of itself.
pub struct WorkerThread {
    /// `threadId`
    pub id: u64,
    /// `threadName`
    pub name: String,
    /// Whether it runs the library's own code.
    pub is_internal: bool,
    /// `resourceLimits`, by the indexes of the binding.
    pub resource_limits: [f64; 4],
    /// Whether descriptors that it leaves open are closed at its end.
    pub tracks_fds: bool,
    /// Its end of the channel to its parent, until it is asked for.
    pub port: RefCell<Option<Arc<PortData>>>,
    /// The port of that end.
    pub port_object: RefCell<Option<v8::Global<v8::Object>>>,
}

/// The thread that an `Env` belongs to.
#[derive(Default)]
pub struct Thread {
    threads: RefCell<Arc<Threads>>,
    worker: OnceCell<WorkerThread>,
}

impl Thread {
    /// What it shares with the other threads of its process.
    pub fn threads(&self) -> Arc<Threads> {
        self.threads.borrow().clone()
    }

    /// Makes it a worker, for good.
    pub fn set_worker(&self, threads: Arc<Threads>, worker: WorkerThread) {
        self.threads.replace(threads);
        // The first one stays.
        let _ = self.worker.set(worker);
    }

    /// What it is told of itself, when it is a worker.
    pub fn worker(&self) -> Option<&WorkerThread> {
        self.worker.get()
    }

    /// Whether it is a worker.
    pub fn is_worker(&self) -> bool {
        self.worker.get().is_some()
    }
}

#[derive(Default)]
struct WorkersState {
    ended: bool,
    controls: Vec<Weak<Control>>,
}

/// Waits until workers that were told to end have done so; not for long, since one may be parked.
pub fn wait_for(workers: &[Arc<Control>]) {
    const LONGEST: Duration = Duration::from_secs(1);
    const LOOK: Duration = Duration::from_millis(1);
    let deadline = Instant::now() + LONGEST;
    while workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
}

/// The workers that a thread started.
#[derive(Default)]
pub struct Workers(Mutex<WorkersState>);

impl Workers {
    /// Lets a worker end with this thread; `false` when that has ended already.
    pub fn add(&self, control: &Arc<Control>) -> bool {
        let _section = crate::critical::section();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return false;
        }
        state.controls.retain(|control| control.strong_count() > 0);
        state.controls.push(Arc::downgrade(control));
        true
    }

    /// Ends them, and refuses further ones. Answers those that it has told to end.
    pub fn end(&self) -> Vec<Arc<Control>> {
        let _section = crate::critical::section();
        let controls = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended = true;
            std::mem::take(&mut state.controls)
        };
        let controls: Vec<_> = controls.iter().filter_map(Weak::upgrade).collect();
        for control in &controls {
            control.kill(End::Exit(TERMINATED));
        }
        controls
    }
}
