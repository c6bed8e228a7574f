//! A worker thread: an isolate of its own in the process of the thread that started it.
//!
//! ```text
//!  parent: bindings/worker.rs --WorkerJob--> thread: isolate -> library booted as a worker's -> worker_thread.js -> loop
//!     ^                                                                                                 |
//!     +----------------------- inbox: the outcome, told as `onexit(code, error, reason)` <--------------+
//! ```
//! Source of behaviour: `src/node_worker.cc`. The startup snapshot holds the library as a main thread has it, so that a
//! worker's is booted anew, with V8's code caches of those that were booted before in this OS process.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use secure_exec_kernel::{Kernel, Process};

use crate::api::{Captured, Outcome, Reason, Usage};
use crate::callback_scope::AsyncContext;
use crate::clock::Mitigation;
use crate::env::{Env, ProcessOptions, Shared};
use crate::environment::Store;
use crate::latch::End;
use crate::memory::{HeapLimits, MemoryBudget};
use crate::message_port::Channels;
use crate::output::Output;
use crate::permission_model::PermissionModel;
use crate::process::{
    Control, CurrentControl, IsolateSpec, ReportOnUnwind, install_budgets, outcome_of, run_isolate,
};
use crate::rehearsal::{Building, CodeCaches};
use crate::threads::{Thread, Threads, WorkerThread};
use crate::tree::{Current, Tree};
use crate::vm::Vm;

/// What a parent's thread may see of its worker while that runs.
pub type Running = Arc<OnceLock<Arc<Shared>>>;

/// A place among the workers of a VM.
pub struct Place(Arc<Vm>);

impl Place {
    /// Takes one, if there is one left.
    pub fn take(vm: &Arc<Vm>) -> Option<Self> {
        let most = vm.options().limits.max_child_processes;
        let taken = vm
            .worker_count()
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            });
        taken.is_ok().then(|| Self(vm.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.worker_count().fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many workers a VM has.
pub type Count = AtomicU32;

/// A worker on its way to its thread.
pub struct WorkerJob {
    /// Its place; given back when its thread is gone.
    pub place: Place,
    /// The VM.
    pub vm: Arc<Vm>,
    /// The machine.
    pub kernel: Arc<Kernel>,
    /// The process that it is a part of.
    pub process: Arc<Process>,
    /// Options of Node and what `process` shows.
    pub options: ProcessOptions,
    /// Its environment variables.
    pub variables: Store,
    /// The time zone of its process.
    pub time_zone: String,
    /// How others end it; told when it has ended.
    pub control: Arc<Control>,
    /// The account of its CPU time.
    pub tree: Arc<Tree>,
    /// As its parent's.
    pub mitigation: Mitigation,
    /// The permission model of its process.
    pub permission_model: Option<Arc<PermissionModel>>,
    /// What it shares with the other threads.
    pub threads: Arc<Threads>,
    /// The `BroadcastChannel`s of its process.
    pub channels: Channels,
    /// What it is told of itself.
    pub thread: WorkerThread,
    /// Limits of its heap beside that of the process.
    pub heap: HeapLimits,
    /// The memory of the thread that starts it.
    pub memory: Option<Arc<MemoryBudget>>,
    /// Told when its isolate is there.
    pub running: Running,
}

/// Starts the worker's thread.
///
/// # Errors
/// [`crate::engine::EngineError`] when no thread can be started.
pub fn start(job: WorkerJob) -> Result<(), crate::engine::EngineError> {
    crate::engine::spawn(
        "secure-exec worker".to_owned(),
        crate::fatal::STACK_BYTES,
        move || thread_main(job),
    )
}

fn thread_main(job: WorkerJob) {
    crate::time_zone::adopt(job.time_zone.clone());
    let control = job.control.clone();
    let current = CurrentControl::default();
    current
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .replace(control.clone());
    let _report = ReportOnUnwind(current.clone());
    let spec = IsolateSpec {
        memory_bytes: job
            .memory
            .as_ref()
            .map_or(job.vm.options().limits.memory_bytes, |memory| {
                memory.limit()
            }),
        prepare_early: false,
        warm_up: false,
    };
    let (heap, family) = (job.heap, job.memory.clone());
    let mut place = None;
    let outcome = run_isolate(
        spec,
        (heap, family.as_ref()),
        &current,
        |isolate, env, guest| {
            let (outcome, taken) = serve(isolate, env, guest, job);
            place = Some(taken);
            outcome
        },
        |outcome, _, _| outcome,
    );
    // Its place is free before its parent hears of its end.
    drop(place);
    control.finish(outcome);
}

fn serve(
    isolate: &mut v8::OwnedIsolate,
    env: &Rc<Env>,
    guest: &crate::fatal::GuestThread,
    job: WorkerJob,
) -> (Outcome, Place) {
    v8::scope!(let scope, isolate);
    // V8 gives a new context `WebAssembly.compileStreaming` only if the isolate can stream by then.
    crate::bindings::wasm_web_api::install(scope);
    let context = v8::Context::new(scope, v8::ContextOptions::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    let started = Instant::now();
    // Its streams are its parent's; nothing is kept for a result.
    job.control
        .attach(env.shared(), &Arc::new(Output::new(0, 0, None, None)));
    let watch = crate::watchdog::register(
        crate::watchdog::WatchSpec {
            tree: job.tree.clone(),
            wall_limit: None,
            spares: None,
            shared: env.shared().clone(),
            on_warning: None,
        },
        guest,
    );
    // Set once, here.
    let _ = job.running.set(env.shared().clone());
    let place = set_up(env, job);
    if !env.is_ending() {
        if boot(scope, env, context).is_none() && !env.is_ending() {
            env.shared().latch.set(End::Crash(
                "the library of a worker does not boot".to_owned(),
            ));
        }
        if !env.is_ending() {
            run(scope, env);
            keep_code(scope, env);
            env.run_event_loop(scope);
        }
    }
    if !env.is_ending() {
        let code = env.emit_exit(scope);
        env.shared().latch.set(End::Exit(code));
    }
    crate::bindings::fs::resource::stop_all(env);
    crate::bindings::fs::unmanaged::close_all(env);
    let end = env.shared().latch.get().cloned().unwrap_or(End::Exit(0));
    let usage = Usage {
        cpu: watch.cpu_time(),
        wall: started.elapsed(),
        peak_heap_bytes: 0,
    };
    drop(watch);
    let none = Captured::default;
    let outcome = outcome_of(&end, env.take_uncaught(), none(), none(), usage, None);
    (outcome, place)
}

/// Gives the isolate its place in the process.
fn set_up(env: &Rc<Env>, job: WorkerJob) -> Place {
    env.extension::<Thread>()
        .set_worker(job.threads, job.thread);
    install_budgets(env, &job.vm);
    env.set_machine(job.kernel, job.process);
    env.set_vm(&job.vm);
    env.extension::<Current>().set(job.tree);
    env.variables.adopt(job.variables);
    env.set_options(job.options);
    crate::bindings::messaging::set_channels(env, job.channels);
    env.clock().restart(job.mitigation);
    if let Some(model) = job.permission_model {
        env.set_permission_model(model);
    }
    env.set_tracer();
    if env.traces() {
        let thread = env.extension::<Thread>();
        let (id, name) = thread
            .worker()
            .map(|worker| (worker.id, worker.name.clone()))
            .unwrap_or_default();
        env.trace_thread_name(&match name.as_str() {
            "" => format!("WorkerThread {id}"),
            name => format!("[worker {id}] {name}"),
        });
    }
    job.place
}

/// Bytecode of the library as the first worker of this OS process ran it, before any code of a guest.
static CODE: OnceLock<Arc<CodeCaches>> = OnceLock::new();

/// Keeps the library's bytecode for later workers.
fn keep_code(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    if !env
        .extension::<RefCell<Building>>()
        .replace(Building::default())
        .keeps_functions
    {
        return;
    }
    v8::scope!(let scope, scope);
    if let Some(caches) = crate::rehearsal::collect(scope, env) {
        // The first one stays.
        let _ = CODE.set(Arc::new(caches));
    }
}

/// Boots the library as a worker's.
fn boot<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    context: v8::Local<'s, v8::Context>,
) -> Option<()> {
    let code = CODE.get().cloned();
    env.extension::<RefCell<Building>>().replace(Building {
        keeps_functions: code.is_none(),
        shared_caches: code,
        ..Building::default()
    });
    let (booted, error) = {
        v8::tc_scope!(let scope, scope);
        let booted = crate::realm::boot(scope, env, context)
            .and_then(|()| crate::snapshot::serialize_callbacks(scope, env));
        let error = scope
            .exception()
            .map(|error| error.to_rust_string_lossy(scope));
        (booted, error)
    };
    if booted.is_err() {
        if !env.is_ending() {
            tracing::error!(?error, "the library of a worker does not boot");
        }
        return None;
    }
    crate::bindings::restore(scope, env);
    crate::bindings::errors::apply_options(scope, env);
    let global = context.global(scope);
    // They fail only for a worker that is being ended.
    let _ = crate::exposed_gc::install(scope, env, global);
    let _ = crate::disabled_proto::apply(scope, env);
    let _ = crate::shared_memory::install(scope, env, global);
    crate::bindings::performance::start(scope, env);
    crate::inspector::profiles::start(scope, env);
    Some(())
}

/// Runs Node's main script of workers.
fn run(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let Some(object) = env.process_object(scope) else {
        return;
    };
    env.in_callback_scope(scope, object, AsyncContext::default(), |scope| {
        // The program itself is resource 1, of which hooks are not told.
        let program = AsyncContext {
            async_id: 1.0,
            trigger_async_id: 0.0,
        };
        let resource = v8::Object::new(scope);
        env.push_async_context(scope, program, Some(resource));
        let result = crate::realm::run_main(scope, env, "internal/main/worker_thread").ok();
        env.pop_async_context(scope, program.async_id);
        result
    });
}

/// The exit code for the parent, and the error that it emits before: code and reason.
pub fn exit_of(outcome: &Outcome) -> (i32, Option<(&'static str, &'static str)>) {
    match outcome.reason {
        Reason::Exit | Reason::Error => (outcome.code, None),
        Reason::Memory => (
            1,
            Some(("ERR_WORKER_OUT_OF_MEMORY", "JS heap out of memory")),
        ),
        _ => (1, None),
    }
}
