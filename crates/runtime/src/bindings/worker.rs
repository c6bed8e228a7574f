//! `internalBinding('worker')`: worker threads, as the thread that starts them sees them. Source: `src/node_worker.cc`.
//!
//! What a worker is on its own thread stands in `crate::worker`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::array_buffer;
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::{messaging, shared_cells};
use crate::clock::Mitigation;
use crate::env::{Env, ProcessOptions};
use crate::environment::Store;
use crate::event_loop::Message;
use crate::latch::End;
use crate::memory::HeapLimits;
use crate::message_port::{Group, PortData};
use crate::node_command::{self, WorkerOptionsError};
use crate::permission_model::Scope;
use crate::process::Control;
use crate::realm::set;
use crate::threads::{TERMINATED, Thread, WorkerThread};
use crate::throw::Throw;
use crate::tree::Current;
use crate::worker::{self, Place, Running, WorkerJob, exit_of};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "worker",
    functions: &[("getEnvMessagePort", function!(get_env_message_port))],
    classes: &[
        Class {
            name: "Worker",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct)),
            methods: &[
                ("startThread", function!(start_thread)),
                ("stopThread", function!(stop_thread)),
                ("hasRef", function!(has_ref)),
                ("ref", function!(reference)),
                ("unref", function!(unreference)),
                ("getResourceLimits", function!(get_resource_limits)),
                ("takeHeapSnapshot", function!(take_heap_snapshot)),
                ("loopIdleTime", function!(loop_idle_time)),
                ("loopStartTime", function!(loop_start_time)),
                ("getHeapStatistics", function!(get_heap_statistics)),
                ("cpuUsage", function!(cpu_usage)),
                ("startCpuProfile", function!(cpu_profile)),
                ("stopCpuProfile", function!(cpu_profile)),
            ],
            ..Class::DEFAULT
        },
        shared_cells::CLASS,
    ],
    references: shared_cells::references,
    init: Some(init),
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "WORKER",
    number: 45,
};
const MEBIBYTE: f64 = 1_048_576.0;
/// Indexes of `resourceLimits`.
const YOUNG: usize = 0;
const OLD: usize = 1;
const CODE_RANGE: usize = 2;
const STACK: usize = 3;
/// `stackSizeMb` where none is given. Threads of guests have stacks of one size here.
const STACK_MIB: f64 = 4.0;
/// Bytes of a worker's name.
const MAX_NAME: usize = 1 << 16;
/// Entries of `execArgv`, and variables of `env`.
const MAX_ENTRIES: u32 = 1 << 16;

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// A worker, for the thread that starts it.
struct Worker {
    key: u64,
    thread_id: u64,
    /// Until it is started.
    job: RefCell<Option<WorkerJob>>,
    control: RefCell<Option<Arc<Control>>>,
    running: Running,
    limits: [f64; 4],
    /// Whether it was started and has not ended.
    lives: Cell<bool>,
    /// The last reading of its idle time, and when that was.
    idle: Cell<Option<(Duration, f64)>>,
}

/// A worker's resource and its object.
type Child = (Rc<Resource>, v8::Global<v8::Object>);

/// The workers of this thread that live, and who waits for an answer of theirs.
#[derive(Default)]
struct Children {
    workers: RefCell<HashMap<u64, Child>>,
    takers: RefCell<HashMap<u64, v8::Global<v8::Object>>>,
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// What a worker's thread has in the place of the main thread's recorded constants.
fn init(scope: &mut v8::PinScope<'_, '_>, env: &Env, target: v8::Local<v8::Object>) {
    shared_cells::init(scope, target);
    let thread = env.extension::<Thread>();
    let Some(worker) = thread.worker() else {
        return;
    };
    for (name, value) in [
        ("isMainThread", false),
        ("ownsProcessState", false),
        ("isInternalThread", worker.is_internal),
    ] {
        let value = v8::Boolean::new(scope, value).into();
        set(scope, target, name, value);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of workers")]
    let id = v8::Number::new(scope, worker.id as f64).into();
    set(scope, target, "threadId", id);
    if let Some(name) = v8::String::new(scope, &worker.name) {
        set(scope, target, "threadName", name.into());
    }
    if let Some(limits) = limits_array(scope, worker.resource_limits) {
        set(scope, target, "resourceLimits", limits);
    }
}

fn limits_array<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    limits: [f64; 4],
) -> Option<v8::Local<'s, v8::Value>> {
    let buffer = array_buffer::new_array_buffer(scope, size_of_val(&limits)).ok()?;
    let array = v8::Float64Array::new(scope, buffer, 0, limits.len())?;
    let view = crate::aliased_buffer::AliasedBuffer::new(scope, array.into())?;
    for (index, limit) in limits.into_iter().enumerate() {
        view.set(index, limit);
    }
    Some(array.into())
}

/// `new Worker(url, env, execArgv, resourceLimits, trackUnmanagedFds, isInternal, name)`
fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Worker"));
    }
    let env = Env::of(scope);
    let is_internal = args.get(5).is_true();
    // The library's own workers need it, too: guests can have them run their hooks.
    env.require_permission(Scope::WorkerThreads, b"")?;
    let variables = variables_of(scope, &env, args.get(1))?;
    let exec_argv = strings_of(scope, args.get(2))?;
    let asked = limits_of(scope, args.get(3))?;
    let tracks_fds = args.get(4).boolean_value(scope);
    let name = match v8::Local::<v8::String>::try_from(args.get(6)) {
        Ok(name) if name.length() <= MAX_NAME => name.to_rust_string_lossy(scope),
        Ok(_) => {
            return Err(Throw::range_error(
                "ERR_OUT_OF_RANGE",
                "The name of the worker is too long",
            ));
        }
        Err(_) => String::new(),
    };
    let parent = env.options().clone();
    // Options of the parent count where nothing else is given.
    let given = exec_argv.is_some() || args.get(1).is_object();
    let options = if given {
        let parent_variable = env.variables.get("NODE_OPTIONS");
        let read = node_command::worker_options(
            exec_argv.as_deref(),
            |name| variables.get(name),
            parent_variable.as_deref(),
        );
        match read {
            Ok(options) => options,
            Err(WorkerOptionsError::ExecArgv(words)) => {
                return refuse(scope, args.this(), "invalidExecArgv", &words);
            }
            Err(WorkerOptionsError::NodeOptions(words)) if args.get(1).is_object() => {
                return refuse(scope, args.this(), "invalidNodeOptions", &words);
            }
            Err(WorkerOptionsError::NodeOptions(_)) => parent.node_options.clone(),
        }
    } else {
        parent.node_options.clone()
    };
    let failed = |errno: &str| {
        Throw::error(
            "ERR_WORKER_INIT_FAILED",
            format!("Worker initialization failure: {errno}"),
        )
    };
    let vm = env.vm().ok_or_else(|| failed("ESRCH"))?;
    let place = Place::take(&vm).ok_or_else(|| failed("EAGAIN"))?;
    let memory = env.memory_account();
    let memory_bytes = memory
        .as_ref()
        .map_or(vm.options().limits.memory_bytes, |memory| memory.limit());
    let max_parked = vm.options().limits.max_parked_threads as usize;
    crate::memory::admit(memory_bytes, max_parked).map_err(|_| failed("EAGAIN"))?;
    let threads = env.extension::<Thread>().threads();
    let thread_id = threads.next_id();
    let limits = effective_limits(asked, memory_bytes);

    let (own, other) = (Arc::new(PortData::default()), Arc::new(PortData::default()));
    let port = messaging::new_port(scope, &env, own.clone())?;
    Group::pair(&own, &other);
    let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
    let inbox = env.shared().inbox.clone();
    let control = Control::new(Box::new(move |outcome| {
        let (code, error) = exit_of(&outcome);
        let message: Message = Box::new(move |scope, env| on_exit(scope, env, key, code, error));
        inbox.send(message);
    }));
    let running = Running::default();
    let job = WorkerJob {
        place,
        vm,
        kernel: env.kernel()?,
        process: env.process()?,
        options: ProcessOptions {
            node_options: options,
            exec_argv: exec_argv.unwrap_or_else(|| parent.exec_argv.clone()),
            argv: parent.argv.iter().take(1).cloned().collect(),
            ..parent
        },
        variables,
        time_zone: crate::time_zone::current(),
        control: control.clone(),
        tree: env.extension::<Current>().get(),
        mitigation: env.clock().mitigation(),
        permission_model: env.permission_model().cloned(),
        threads,
        channels: messaging::channels(&env),
        thread: WorkerThread {
            id: thread_id,
            name: name.clone(),
            is_internal,
            resource_limits: limits,
            tracks_fds,
            port: RefCell::new(Some(other)),
            port_object: RefCell::default(),
        },
        heap: HeapLimits {
            old: bytes_of(asked[OLD]),
            young: bytes_of(asked[YOUNG]),
        },
        memory,
        running: running.clone(),
    };
    let worker = Rc::new(Worker {
        key,
        thread_id,
        job: RefCell::new(Some(job)),
        control: RefCell::new(Some(control)),
        running,
        limits,
        lives: Cell::new(false),
        idle: Cell::default(),
    });
    Resource::wrap_handle(
        scope,
        &env,
        args.this(),
        PROVIDER,
        |_, _| (),
        worker.clone(),
    );
    set(scope, args.this(), "messagePort", port.into());
    #[expect(clippy::cast_precision_loss, reason = "a count of workers")]
    let id = v8::Number::new(scope, worker.thread_id as f64).into();
    set(scope, args.this(), "threadId", id);
    let name = v8::String::new(scope, &name).ok_or(Throw::Pending)?;
    set(scope, args.this(), "threadName", name.into());
    undefined(scope)
}

/// Leaves the options that are wrong where the library looks for them.
fn refuse<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    target: v8::Local<'s, v8::Object>,
    key: &str,
    words: &[String],
) -> Ret<'s> {
    let words: Vec<v8::Local<v8::Value>> = words
        .iter()
        .filter_map(|word| v8::String::new(scope, word))
        .map(Into::into)
        .collect();
    let words = v8::Array::new_with_elements(scope, &words).into();
    set(scope, target, key, words);
    undefined(scope)
}

/// The worker's variables: a copy of this thread's for `null`, those of an object, else those that this thread has.
fn variables_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    value: v8::Local<'s, v8::Value>,
) -> Result<Store, Throw> {
    if value.is_null() {
        return Ok(Store::new(env.variables.all()));
    }
    let Ok(object) = v8::Local::<v8::Object>::try_from(value) else {
        return Ok(env.variables.store());
    };
    let variables = crate::environment::Variables::default();
    let names = object
        .get_own_property_names(scope, v8::GetPropertyNamesArgs::default())
        .ok_or(Throw::Pending)?;
    for index in 0..names.length().min(MAX_ENTRIES) {
        v8::scope!(let scope, scope);
        let name = names.get_index(scope, index).ok_or(Throw::Pending)?;
        let value = object.get(scope, name).ok_or(Throw::Pending)?;
        let value = value.to_string(scope).ok_or(Throw::Pending)?;
        let name = name.to_string(scope).ok_or(Throw::Pending)?;
        let name = name.to_rust_string_lossy(scope);
        variables.set(name, value.to_rust_string_lossy(scope))?;
    }
    Ok(variables.store())
}

/// The texts of an array; `None` for what is none.
fn strings_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Option<Vec<String>>, Throw> {
    let Ok(array) = v8::Local::<v8::Array>::try_from(value) else {
        return Ok(None);
    };
    let mut words = Vec::new();
    for index in 0..array.length().min(MAX_ENTRIES) {
        v8::scope!(let scope, scope);
        let word = array.get_index(scope, index).ok_or(Throw::Pending)?;
        let word = word.to_string(scope).ok_or(Throw::Pending)?;
        words.push(word.to_rust_string_lossy(scope));
    }
    Ok(Some(words))
}

/// The numbers of `resourceLimits`; -1 where none is given.
fn limits_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<[f64; 4], Throw> {
    let mut limits = [-1.0; 4];
    let Ok(array) = v8::Local::<v8::Float64Array>::try_from(value) else {
        return Ok(limits);
    };
    for (index, limit) in (0..).zip(&mut limits) {
        let value = array.get_index(scope, index).ok_or(Throw::Pending)?;
        *limit = value.number_value(scope).unwrap_or(-1.0);
    }
    Ok(limits)
}

/// A limit in bytes, if it was given.
fn bytes_of(mebibytes: f64) -> Option<usize> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and saturates as wanted"
    )]
    let bytes = (mebibytes * MEBIBYTE) as usize;
    (mebibytes > 0.0).then_some(bytes)
}

/// What `resourceLimits` shows: what was asked for, else what there is.
fn effective_limits(asked: [f64; 4], memory_bytes: usize) -> [f64; 4] {
    #[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
    let memory = memory_bytes as f64 / MEBIBYTE;
    let mut limits = asked;
    for (index, default) in [
        (YOUNG, (memory / 4.0).min(48.0)),
        (OLD, memory),
        (CODE_RANGE, 0.0),
        (STACK, STACK_MIB),
    ] {
        if let Some(limit) = limits.get_mut(index).filter(|limit| **limit <= 0.0) {
            *limit = default;
        }
    }
    limits
}

/// The receiver.
fn this<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(Rc<Resource>, Rc<Worker>), Throw> {
    Resource::this::<Worker>(scope, args)
}

fn start_thread<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, worker) = this(scope, args)?;
    let Some(job) = worker.job.take() else {
        return undefined(scope);
    };
    let env = Env::of(scope);
    let failed = || {
        Throw::error(
            "ERR_WORKER_INIT_FAILED",
            "Worker initialization failure: EAGAIN",
        )
    };
    let control = job.control.clone();
    if !env.shared().workers.add(&control) {
        control.abandon();
        return Err(failed());
    }
    let object = v8::Global::new(scope, args.this());
    let children = env.extension::<Children>();
    children
        .workers
        .borrow_mut()
        .insert(worker.key, (resource.clone(), object));
    worker.lives.set(true);
    resource.activate(scope, &env, args.this());
    if worker::start(job).is_err() {
        control.abandon();
        children.workers.borrow_mut().remove(&worker.key);
        worker.lives.set(false);
        resource.set_active(&env, false);
        resource.let_go();
        return Err(failed());
    }
    undefined(scope)
}

/// A worker has ended: tells its object.
fn on_exit(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    key: u64,
    code: i32,
    error: Option<(&'static str, &'static str)>,
) {
    let children = env.extension::<Children>();
    let child = children.workers.borrow_mut().remove(&key);
    let Some((resource, object)) = child else {
        return;
    };
    if let Some(worker) = resource.inner::<Worker>() {
        worker.lives.set(false);
        worker.control.take();
    }
    let object = v8::Local::new(scope, object);
    resource.set_active(env, false);
    let undefined = v8::undefined(scope).into();
    set(scope, object, "messagePort", undefined);
    let code = v8::Integer::new(scope, code).into();
    let null: v8::Local<v8::Value> = v8::null(scope).into();
    let text = |text: &str| v8::String::new(scope, text).map_or(null, Into::into);
    let [custom, reason] = error.map_or([null, null], |(code, reason)| [text(code), text(reason)]);
    let context = resource.context();
    env.make_callback_named(scope, object, "onexit", &[code, custom, reason], context);
    resource.let_go();
    resource.destroy(scope, env);
}

fn stop_thread<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, worker) = this(scope, args)?;
    let control = worker.control.borrow().clone();
    if let Some(control) = control {
        control.kill(End::Exit(TERMINATED));
    }
    undefined(scope)
}

fn has_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, worker) = this(scope, args)?;
    let refed = worker.lives.get() && resource.keeps_alive();
    Ok(v8::Boolean::new(scope, refed).into())
}

fn reference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_ref(scope, args, true)
}

fn unreference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_ref(scope, args, false)
}

fn set_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, refed: bool) -> Ret<'s> {
    let (resource, _) = this(scope, args)?;
    resource.set_ref(&Env::of(scope), refed);
    undefined(scope)
}

fn get_resource_limits<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, worker) = this(scope, args)?;
    limits_array(scope, worker.limits).ok_or(Throw::Pending)
}

/// As with the main thread's: nothing bounds what V8 allocates for one.
fn take_heap_snapshot<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    this(scope, args)?;
    Err(Throw::unavailable("worker.getHeapSnapshot"))
}

fn cpu_profile<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    this(scope, args)?;
    Err(Throw::unavailable("worker.startCpuProfile"))
}

/// How long the worker's loop has slept, in milliseconds.
fn loop_idle_time<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, worker) = this(scope, args)?;
    let clock = Env::of(scope);
    let (now, frozen) = (
        clock.clock().elapsed(),
        clock.clock().mitigation() == Mitigation::Freeze,
    );
    // The worker goes on while this thread's clock stands still: one turn sees one value.
    if let Some((_, idle)) = worker.idle.get().filter(|(at, _)| frozen && *at == now) {
        return Ok(v8::Number::new(scope, idle).into());
    }
    let idle = worker
        .running
        .get()
        .map_or(0.0, |shared| shared.loop_times.idle().as_secs_f64() * 1e3);
    worker.idle.set(Some((now, idle)));
    Ok(v8::Number::new(scope, idle).into())
}

/// When the worker's loop started, in milliseconds of this thread's `process.hrtime()`; -1 before.
fn loop_start_time<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, worker) = this(scope, args)?;
    let started = worker
        .running
        .get()
        .and_then(|shared| shared.loop_times.started());
    let clock = Env::of(scope);
    let ms = started.map_or(-1.0, |started| clock.clock().monotonic_ms_of(started));
    Ok(v8::Number::new(scope, ms).into())
}

/// Has the worker's thread run `question`, and this one call `ondone` of the object that is answered with its answer.
fn ask<'s, T: Send + 'static>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    question: fn(&mut v8::PinScope<'_, '_>, &Rc<Env>) -> T,
    answer: for<'a> fn(&mut v8::PinScope<'a, '_>, T) -> Vec<v8::Local<'a, v8::Value>>,
) -> Ret<'s> {
    let (resource, worker) = this(scope, args)?;
    let Some(shared) = worker.running.get().filter(|_| worker.lives.get()) else {
        return undefined(scope);
    };
    let env = Env::of(scope);
    let taker = v8::Object::new(scope);
    let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
    let children = env.extension::<Children>();
    children
        .takers
        .borrow_mut()
        .insert(key, v8::Global::new(scope, taker));
    let context = resource.context();
    let inbox = env.shared().inbox.clone();
    shared.inbox.send_unref(Box::new(move |scope, env| {
        let found = question(scope, env);
        let message: Message = Box::new(move |scope, env| {
            let taker = env.extension::<Children>().takers.borrow_mut().remove(&key);
            let Some(taker) = taker else { return };
            let taker = v8::Local::new(scope, taker);
            let values = answer(scope, found);
            env.make_callback_named(scope, taker, "ondone", &values, context);
        });
        inbox.send(message);
    }));
    Ok(taker.into())
}

fn get_heap_statistics<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const NAMES: [&str; 14] = [
        "total_heap_size",
        "total_heap_size_executable",
        "total_physical_size",
        "total_available_size",
        "used_heap_size",
        "heap_size_limit",
        "malloced_memory",
        "peak_malloced_memory",
        "does_zap_garbage",
        "number_of_native_contexts",
        "number_of_detached_contexts",
        "total_global_handles_size",
        "used_global_handles_size",
        "external_memory",
    ];
    ask(
        scope,
        args,
        |scope, env| env.memory(scope).heap,
        |scope, heap| {
            let null = v8::null(scope).into();
            let record = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
            for (name, value) in NAMES.into_iter().zip(heap) {
                #[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a double")]
                let value = v8::Number::new(scope, value as f64).into();
                set(scope, record, name, value);
            }
            vec![record.into()]
        },
    )
}

fn cpu_usage<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    ask(
        scope,
        args,
        |_, env| env.cpu_micros(),
        |scope, (user, system)| {
            let null: v8::Local<v8::Value> = v8::null(scope).into();
            let record = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
            for (name, value) in [("user", user), ("system", system)] {
                let value = v8::Number::new(scope, value).into();
                set(scope, record, name, value);
            }
            vec![null, record.into()]
        },
    )
}

/// The port to the thread that started this one; nothing on the main thread.
fn get_env_message_port<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let thread = env.extension::<Thread>();
    let Some(worker) = thread.worker() else {
        return undefined(scope);
    };
    if let Some(port) = worker.port_object.borrow().as_ref() {
        return Ok(v8::Local::new(scope, port).into());
    }
    let Some(data) = worker.port.take() else {
        return undefined(scope);
    };
    let port = messaging::new_port(scope, &env, data)?;
    worker
        .port_object
        .replace(Some(v8::Global::new(scope, port)));
    Ok(port.into())
}
