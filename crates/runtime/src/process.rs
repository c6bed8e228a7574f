//! One guest process: an isolate on its own thread, from its job to its outcome.
//!
//! ```text
//!   pool --> thread: isolate from the snapshot -> prepare -> wait for a job
//!                    job -> kernel process -> main script -> event loop -> exit -> outcome
//! ```
//! The outcome is reported exactly once: by this thread, or by the watchdog or a fatal error when the thread is parked.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use secure_exec_kernel::permissions::Request;
use secure_exec_kernel::{
    ClockMode, Kernel, OutputSink, ProcessOptions as KernelProcessOptions, Program, Stdin, Stdio,
};

use crate::api::{Captured, ExecOptions, GuestError, Outcome, Reason, Usage, Want};
use crate::budget::{BudgetLimits, Budgets, Installed};
use crate::callback_scope::AsyncContext;
use crate::clock::Mitigation;
use crate::env::{Env, ProcessOptions, Shared};
use crate::latch::End;
use crate::marshal::{HostValue, MarshalError};
use crate::memory::{HeapLimits, MemoryBudget};
use crate::output::Output;
use crate::permission_model::PermissionModel;
use crate::placement::Placement;
use crate::signals::IsolateSupervisor;
use crate::snapshot;
use crate::throw::Throw;
use crate::tree::{Current, Tree};
use crate::typescript::{self, Classification, JsxRuntime, SourceKind, SyntaxFailure};
use crate::vm::{OnDone, Vm};
use crate::warm_up::WarmUp;

/// Key of the registry for the functions of our main script.
pub const MAIN_SCRIPT: &str = "mainScript";

/// A program on its way to a thread.
pub struct Job {
    /// The VM it belongs to.
    pub vm: Arc<Vm>,
    /// What to run.
    pub options: ExecOptions,
    /// How others end it.
    pub control: Arc<Control>,
}

/// What an isolate's thread is told.
pub enum Order {
    /// Work may follow soon: what it will use should be in the processor's caches by then.
    GetReady,
    /// The one thing that the isolate is for.
    Run(Box<Work>),
}

/// What a thread is handed.
pub enum Work {
    /// A program: one run from start to exit.
    Program(Job),
    /// A context: state that is kept between calls.
    Context(crate::context::ContextJob),
    /// A `node` that a guest started.
    Child(crate::child::ChildJob),
}

impl Work {
    /// The VM it belongs to.
    pub fn vm(&self) -> &Arc<Vm> {
        match self {
            Self::Program(job) => &job.vm,
            Self::Context(job) => &job.vm,
            Self::Child(job) => &job.vm,
        }
    }

    /// Whether it may run in an isolate whose library was prepared without knowing it.
    pub fn may_be_late(&self) -> bool {
        let reads_environment_early = |(name, _): &(String, String)| name.starts_with("NODE_");
        let options = match self {
            Self::Program(job) => &job.options,
            Self::Context(job) => &job.options,
            Self::Child(job) => {
                let variables = job.process.env_all();
                // `startChild` of the main script takes up the channel.
                let mut early = variables
                    .iter()
                    .filter(|(name, _)| !name.starts_with("NODE_CHANNEL_"));
                return job.is_plain()
                    && !early.any(reads_environment_early)
                    && !(0..3).any(|fd| crate::child::is_terminal(&job.process, fd));
            }
        };
        let mut env = self.vm().options().env.iter().chain(&options.env);
        options.terminal.is_none()
            && options.node_options.is_empty()
            && options.exec_argv.is_empty()
            && !env.any(reads_environment_early)
    }
}

/// Whose outcome a thread that is parked reports.
pub type CurrentControl = Arc<Mutex<Option<Arc<Control>>>>;

#[derive(Default)]
struct ControlState {
    shared: Option<Arc<Shared>>,
    pending: Option<End>,
    done: Option<OnDone>,
    output: Option<Arc<Output>>,
    memory: Option<Arc<MemoryBudget>>,
    started: Option<Instant>,
    pid: u32,
    process: Option<Arc<secure_exec_kernel::Process>>,
    /// The process of the kernel that ends with the outcome.
    ends: Option<(Weak<Kernel>, Weak<secure_exec_kernel::Process>)>,
}

/// The handle by which others end a process, and where its outcome is reported once.
pub struct Control(Mutex<ControlState>);

impl Control {
    /// A handle for a process that has not started.
    pub fn new(done: OnDone) -> Arc<Self> {
        Arc::new(Self(Mutex::new(ControlState {
            done: Some(done),
            ..ControlState::default()
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ControlState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process, before or after it started. The first end stays.
    pub fn kill(&self, end: End) {
        let shared = {
            let mut state = self.lock();
            if let Some(shared) = &state.shared {
                shared.clone()
            } else {
                state.pending.get_or_insert(end);
                return;
            }
        };
        crate::watchdog::kill(&shared, end);
    }

    /// The guest's process id; 0 before it has one.
    pub fn pid(&self) -> u32 {
        self.lock().pid
    }

    pub(crate) fn set_process(&self, process: Arc<secure_exec_kernel::Process>) {
        let mut state = self.lock();
        state.pid = process.pid();
        state.process = Some(process);
    }

    /// From now on the outcome ends this process of the kernel, and what it started.
    pub(crate) fn end_with(
        &self,
        kernel: &Arc<Kernel>,
        process: &Arc<secure_exec_kernel::Process>,
    ) {
        self.lock().ends = Some((Arc::downgrade(kernel), Arc::downgrade(process)));
    }

    /// Passes on a signal that the process catches.
    pub fn deliver(&self, signal: i32) {
        let shared = self.lock().shared.clone();
        if let Some(shared) = shared {
            crate::signals::post(&shared, signal);
        }
    }

    /// Whether its outcome has been reported.
    pub(crate) fn is_finished(&self) -> bool {
        self.lock().done.is_none()
    }

    /// Whether it has an end, so that nothing needs to wait for it.
    pub fn is_ending(&self) -> bool {
        let state = self.lock();
        state.done.is_none()
            || state.pending.is_some()
            || state
                .shared
                .as_ref()
                .is_some_and(|shared| shared.latch.is_set())
    }

    /// What it holds now.
    pub(crate) fn memory(&self) -> crate::memory::Usage {
        let memory = self.lock().memory.clone();
        memory.map_or_else(Default::default, |memory| memory.used())
    }

    /// Binds the process to its isolate, on that isolate's thread; an end that came earlier takes effect.
    pub(crate) fn attach(&self, shared: &Arc<Shared>, output: &Arc<Output>) {
        let pending = {
            let mut state = self.lock();
            state.shared = Some(shared.clone());
            state.output = Some(output.clone());
            state.memory = crate::wasm_memory::thread_budget();
            state.started = Some(Instant::now());
            state.pending.take()
        };
        if let Some(end) = pending {
            crate::watchdog::kill(shared, end);
        }
    }

    /// Reports the outcome, unless that has been done.
    pub fn finish(&self, outcome: Outcome) {
        let (done, ends) = {
            let mut state = self.lock();
            if let Some(shared) = state.shared.take() {
                shared.workers.end();
            }
            state.output = None;
            state.memory = None;
            state.process = None;
            (state.done.take(), state.ends.take())
        };
        if let Some((kernel, process)) = ends
            && let (Some(kernel), Some(process)) = (kernel.upgrade(), process.upgrade())
        {
            kernel.exit(&process, outcome.exit_status());
        }
        if let Some(done) = done {
            done(outcome);
        }
    }

    /// Forgets the callback: whoever made this handle reports by itself.
    pub(crate) fn abandon(&self) {
        self.lock().done = None;
    }

    /// Reports the end of a process whose thread will not report it itself, or not soon.
    pub fn finish_parked(&self, end: &End) {
        let (output, started, shared, process) = {
            let mut state = self.lock();
            (
                state.output.clone(),
                state.started,
                state.shared.clone(),
                state.process.take(),
            )
        };
        if let Some(process) = process {
            // Its thread will not: whoever is connected with it must hear of its end.
            process.end();
        }
        let [stdout, stderr] = output.map(|output| output.take()).unwrap_or_default();
        let usage = Usage {
            cpu: shared
                .as_ref()
                .and_then(crate::watchdog::cpu_time)
                .unwrap_or_default(),
            wall: started.map(|started| started.elapsed()).unwrap_or_default(),
            peak_heap_bytes: 0,
        };
        self.finish(outcome_of(end, None, stdout, stderr, usage, None));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let done = self
            .0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .done
            .take();
        if let Some(done) = done {
            let end = End::Crash("the process ended without a report".to_owned());
            done(outcome_of(
                &end,
                None,
                Captured::default(),
                Captured::default(),
                Usage::default(),
                None,
            ));
        }
    }
}

/// How an isolate's thread is made.
#[derive(Clone, Copy, Debug)]
pub struct IsolateSpec {
    /// Limit of heap and external memory.
    pub memory_bytes: usize,
    /// Whether the library is prepared before the job is known.
    pub prepare_early: bool,
    /// Whether it also runs a program of ours then: the job is not there yet.
    pub warm_up: bool,
}

/// The body of an isolate's thread: makes the isolate, waits for one job and runs it.
pub fn thread_main(spec: IsolateSpec, placement: &Placement, orders: &Receiver<Order>) {
    // Known only when the job comes; a thread that is parked before has nobody to tell.
    let current = CurrentControl::default();
    let _report = ReportOnUnwind(current.clone());
    let outcome = run_isolate(
        spec,
        (HeapLimits::default(), None),
        &current,
        |isolate, env, guest| {
            run_in_isolate(isolate, env, guest, spec, (orders, placement), &current)
        },
        |outcome, isolate, budget| {
            let (job, mut outcome) = outcome?;
            budget.sample(isolate);
            outcome.usage.peak_heap_bytes = budget.peak();
            job.control.finish(outcome);
            // Where this thread has the processor that the host waits for, the host goes first.
            std::thread::yield_now();
            Some(())
        },
    );
    if outcome.is_some() {
        crate::pool::refill();
    }
}

/// Makes an isolate on this thread and gives it to `body`. `last` gets the answer when the handles into the isolate are
/// gone; what that answers is the answer, when the isolate is gone, too.
pub(crate) fn run_isolate<R, T>(
    spec: IsolateSpec,
    (heap, relative): (HeapLimits, Option<&Arc<MemoryBudget>>),
    current: &CurrentControl,
    body: impl FnOnce(&mut v8::OwnedIsolate, &Rc<Env>, &crate::fatal::GuestThread) -> R,
    last: impl FnOnce(R, &mut v8::OwnedIsolate, &Arc<MemoryBudget>) -> T,
) -> T {
    let parked = current.clone();
    let guest = crate::fatal::enter_guest_thread(Box::new(move |end| {
        let control = parked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = control {
            control.finish_parked(&end);
        }
    }));
    let params = snapshot::create_params(crate::engine::startup_snapshot());
    let (params, budget) = crate::memory::configure(params, spec.memory_bytes, heap);
    if let Some(relative) = relative {
        budget.join(relative);
    }
    let mut isolate = v8::Isolate::new(params);
    isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
    let shared = Shared::new(
        isolate.thread_safe_handle(),
        crate::event_loop::Inbox::default(),
    );
    guest.attach(&shared);
    crate::memory::install(&mut isolate, &budget, &shared);
    let tasks = crate::engine::TaskOwner::new(&isolate, shared.inbox.clone());
    let env = Env::install(&mut isolate, shared);
    env.set_memory_account(budget.clone());
    let _waits = crate::host::enter(env.shared());
    let result = body(&mut isolate, &env, &guest);
    let workers = env.shared().workers.end();
    crate::inspector::shut_down(&mut isolate, &env);
    env.release_handles();
    isolate.remove_slot::<Rc<Env>>();
    drop(env);
    crate::threads::wait_for(&workers);
    drop(workers);
    let result = last(result, &mut isolate, &budget);
    budget.finish_marking(&mut isolate);
    drop(isolate);
    budget.forget_heap();
    drop(tasks);
    drop(budget);
    drop(guest);
    result
}

/// Reports a process whose thread panicked outside of any binding.
pub(crate) struct ReportOnUnwind(pub CurrentControl);

impl Drop for ReportOnUnwind {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let control = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = control {
            control.finish_parked(&End::Crash("the process's thread panicked".to_owned()));
        }
    }
}

/// Waits for what the isolate is for.
fn next_work(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    spec: IsolateSpec,
    prepared: bool,
    (orders, placement): (&Receiver<Order>, &Placement),
) -> Option<Work> {
    let mut warm_up = (prepared && spec.warm_up)
        .then(|| WarmUp::new(env))
        .flatten();
    let mut order = warm_up
        .as_mut()
        .and_then(|warm_up| warm_up.run(scope, env, orders));
    loop {
        let next = order.take().or_else(|| orders.recv().ok())?;
        placement.settle();
        match next {
            Order::Run(work) => return Some(*work),
            Order::GetReady => {
                order = warm_up
                    .as_mut()
                    .and_then(|warm_up| warm_up.get_ready(scope, env, orders));
            }
        }
    }
}

fn run_in_isolate(
    isolate: &mut v8::OwnedIsolate,
    env: &Rc<Env>,
    guest: &crate::fatal::GuestThread,
    spec: IsolateSpec,
    orders: (&Receiver<Order>, &Placement),
    current: &CurrentControl,
) -> Option<(Job, Outcome)> {
    v8::scope!(let scope, isolate);
    // Without a snapshot that fits there is no library: `restored` is false then.
    let main = snapshot::main_context(scope);
    let context = main.unwrap_or_else(|| v8::Context::new(scope, v8::ContextOptions::default()));
    let scope = &mut v8::ContextScope::new(scope, context);
    let restored = main.is_some() && snapshot::restore(scope, env, context);
    if spec.prepare_early && restored {
        crate::shared_memory::withhold(scope, env);
    }
    let prepared = spec.prepare_early
        && restored
        && call_main(scope, env, "prepare", |_| Ok(Vec::new())).is_ok();
    let job = match next_work(scope, env, spec, prepared, orders)? {
        Work::Program(job) => job,
        Work::Context(job) => {
            crate::context::serve(
                scope,
                env,
                guest,
                &job,
                restored.then_some(prepared),
                current,
            );
            return None;
        }
        Work::Child(job) => {
            let prepared = restored.then_some(prepared);
            crate::child::serve(scope, env, guest, &job, prepared, current);
            return None;
        }
    };
    current
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(job.control.clone());
    let started = Instant::now();
    let options = &job.options;
    let limits = &job.vm.options().limits;
    let output = Arc::new(Output::new(
        options.capture_bytes,
        limits.max_output_bytes,
        options.on_output.clone(),
        job.vm.on_warning(),
    ));
    job.control.attach(env.shared(), &output);
    let tree = Tree::new(options.cpu.or(limits.cpu));
    env.extension::<Current>().set(tree.clone());
    let watch = crate::watchdog::register(
        crate::watchdog::WatchSpec {
            tree: tree.clone(),
            wall_limit: options.wall.or(limits.wall),
            spares: options
                .wall_spares_listeners
                .then(|| spares_listeners(&job)),
            shared: env.shared().clone(),
            on_warning: job.vm.on_warning(),
        },
        guest,
    );
    if !restored {
        env.shared().latch.set(End::Crash(
            "the startup snapshot could not be restored".to_owned(),
        ));
    }
    let mut exports = None;
    match run_job(scope, env, &job, &output, prepared) {
        Ok(main) => {
            env.run_event_loop(scope);
            if options.waits_for_await
                && !env.is_ending()
                && crate::bindings::module_wrap::has_unsettled_top_level_await(scope, env)
            {
                let _waiting = env.keep_alive();
                env.run_event_loop(scope);
            }
            if options.want == Want::Exports && !env.is_ending() {
                exports = read_exports(scope, env, &job, &main);
            }
            if !env.is_ending() {
                let code = env.emit_exit(scope);
                env.shared().latch.set(End::Exit(code));
            }
        }
        Err(failure) => failure.report(env, &output),
    }
    let end = env.shared().latch.get().cloned().unwrap_or(End::Exit(0));
    at_exit(env, &end);
    let usage = Usage {
        cpu: watch.cpu_time(),
        wall: started.elapsed(),
        peak_heap_bytes: 0,
    };
    drop(watch);
    let [stdout, stderr] = output.take();
    let outcome = outcome_of(&end, env.take_uncaught(), stdout, stderr, usage, exports);
    if let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) {
        kernel.exit(&process, outcome.exit_status());
    }
    Some((job, outcome))
}

/// Spares a program of which somebody listens for connections.
fn spares_listeners(job: &Job) -> crate::watchdog::Spares {
    let kernel = Arc::downgrade(job.vm.kernel());
    let control = Arc::downgrade(&job.control);
    Box::new(move || match (kernel.upgrade(), control.upgrade()) {
        (Some(kernel), Some(control)) => kernel.tree_listens(control.pid()),
        _ => false,
    })
}

/// Why a program did not start.
pub(crate) enum StartFailure {
    /// Its source is not valid.
    Syntax(SyntaxFailure, String),
    /// The kernel refused; text for the host.
    Kernel(String),
    /// An option asks for what is not there.
    Option(String),
    /// An exception of the library; its end is set.
    Thrown,
}

impl StartFailure {
    pub(crate) fn report(self, env: &Env, output: &Output) {
        use secure_exec_kernel::OutputChannel;
        let (text, error) = match self {
            Self::Thrown => return,
            Self::Syntax(failure, path) => {
                let SyntaxFailure {
                    message,
                    line,
                    column,
                    code_frame,
                    ..
                } = failure;
                let text =
                    format!("{path}:{line}:{column}\n{code_frame}\n\nSyntaxError: {message}\n");
                let message = format!("{message} ({path}:{line}:{column})");
                let stack = format!("SyntaxError: {message}\n    at {path}:{line}:{column}");
                (
                    text,
                    GuestError {
                        name: "SyntaxError".to_owned(),
                        message,
                        stack,
                        code: None,
                    },
                )
            }
            Self::Option(message) => {
                let _ = output.write(OutputChannel::Stderr, format!("{message}\n").as_bytes());
                env.shared().latch.set(End::Exit(INVALID_ARGUMENT));
                return;
            }
            Self::Kernel(message) => (
                format!("{message}\n"),
                GuestError {
                    name: "Error".to_owned(),
                    message,
                    ..GuestError::default()
                },
            ),
        };
        let _ = output.write(OutputChannel::Stderr, text.as_bytes());
        env.set_uncaught(error);
        env.shared().latch.set(End::Error(1));
    }
}

/// A program without a file name is read to tell its language only up to this size: reading cannot be interrupted.
const MAX_CLASSIFIED_BYTES: usize = 1 << 20;

/// The source to run and the absolute path that it stands at.
fn program(options: &ExecOptions, cwd: &str) -> Result<(String, Option<Vec<u8>>), StartFailure> {
    let absolute = |path: &str| {
        if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", cwd.trim_end_matches('/'))
        }
    };
    if let Some(path) = &options.file_path {
        let path = absolute(path);
        if options.from_file {
            return Ok((path, None));
        }
        let mut jsx = typescript::TranspileOptions::for_path(&path);
        if !matches!(jsx.kind, SourceKind::Tsx | SourceKind::Jsx) {
            return Ok((path, Some(options.code.clone().into_bytes())));
        }
        if binds_react(&options.code) {
            jsx.jsx = JsxRuntime::Classic;
        }
        return match typescript::transpile(&options.code, &jsx) {
            // Node's loader knows no such extension: what runs is the JavaScript that was made of it.
            Ok(transpiled) => {
                let extension = if transpiled.is_module { "mjs" } else { "cjs" };
                let code = transpiled.code.into_bytes();
                Ok((format!("{path}.{extension}"), Some(code)))
            }
            Err(failure) => Err(StartFailure::Syntax(failure, path)),
        };
    }
    if options.code.len() > MAX_CLASSIFIED_BYTES {
        // Node's own detection tells a module from a script.
        return Ok((absolute("main.js"), Some(options.code.clone().into_bytes())));
    }
    let extension = match typescript::classify(&options.code) {
        Classification::JavaScriptScript => "cjs",
        Classification::JavaScriptModule => "mjs",
        Classification::TypeScript => {
            let options_ts = typescript::TranspileOptions::for_path("main.ts");
            match typescript::transpile(&options.code, &options_ts) {
                Ok(transpiled) if transpiled.is_module => "mts",
                Ok(_) => "cts",
                Err(failure) => return Err(StartFailure::Syntax(failure, absolute("main.ts"))),
            }
        }
        // V8 words JavaScript's own syntax errors, as Node's users know them.
        Classification::Invalid(failure) => return invalid(options, failure, &absolute),
    };
    Ok((
        absolute(&format!("main.{extension}")),
        Some(options.code.clone().into_bytes()),
    ))
}

/// Whether JSX means the `React` that the source itself names, as it did before `react/jsx-runtime`.
fn binds_react(source: &str) -> bool {
    ["import React", "* as React", "const React"]
        .iter()
        .any(|binding| source.contains(binding))
}

fn invalid(
    options: &ExecOptions,
    failure: SyntaxFailure,
    absolute: &dyn Fn(&str) -> String,
) -> Result<(String, Option<Vec<u8>>), StartFailure> {
    if failure.kind == typescript::FailureKind::Syntax {
        return Ok((
            absolute("main.cjs"),
            Some(options.code.clone().into_bytes()),
        ));
    }
    Err(StartFailure::Syntax(failure, absolute("main.js")))
}

/// Gives the isolate its process and runs the main script; answers the program's path.
pub(crate) fn run_job(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    job: &Job,
    output: &Arc<Output>,
    prepared: bool,
) -> Result<String, StartFailure> {
    let cwd = job
        .options
        .cwd
        .clone()
        .unwrap_or_else(|| job.vm.options().cwd.clone());
    if let (Some(memory), Some(on_warning)) = (env.memory_account(), job.vm.on_warning()) {
        memory.warn(on_warning);
    }
    let (main, source) = program(&job.options, &cwd)?;
    let process = setup(env, &job.vm, &job.options, &main, source, output.clone())?;
    job.control.set_process(process.clone());
    job.control.end_with(job.vm.kernel(), &process);
    apply_options(scope, env, &job.vm, &process, &main);
    crate::bindings::performance::start(scope, env);
    if !prepared && call_main(scope, env, "prepare", |_| Ok(Vec::new())).is_err() {
        return Err(StartFailure::Thrown);
    }
    install_host_functions(scope, env, &job.vm)?;
    let argv = job
        .options
        .argv
        .clone()
        .unwrap_or_else(|| job.vm.options().argv.clone());
    if let Some(on_start) = &job.options.on_start {
        on_start(process.pid());
    }
    call_start(scope, env, "start", &main, &argv, &process)?;
    Ok(main)
}

/// Node's exit code for a command line that is wrong.
pub(crate) const INVALID_ARGUMENT: i32 = 9;

/// The variables of `--env-file` and `--env-file-if-exists`, where a later file's count; or what is wrong with them.
pub(crate) fn variables_of_files(
    kernel: &secure_exec_kernel::Kernel,
    process: &secure_exec_kernel::Process,
    node_options: &[(String, serde_json::Value)],
    program: &str,
    say: impl Fn(&str),
) -> Result<BTreeMap<String, String>, String> {
    /// Bytes of a file that is read at most.
    const MAX_BYTES: u64 = 4 << 20;
    let mut variables = BTreeMap::new();
    for (option, value) in node_options {
        let must_exist = match option.as_str() {
            "--env-file" => true,
            "--env-file-if-exists" => false,
            _ => continue,
        };
        let Some(path) = value.as_str().filter(|path| !path.is_empty()) else {
            continue;
        };
        match kernel.read_file(process, path.as_bytes(), MAX_BYTES) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                variables.extend(crate::dotenv::parse(&text));
            }
            Err(_) if must_exist => {
                return Err(format!("{program}: {path}: not found"));
            }
            Err(_) => say(&format!("{path} not found. Continuing without it.\n")),
        }
    }
    Ok(variables)
}

/// Gives the process the host's functions, if its VM has any.
pub(crate) fn install_host_functions(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    vm: &Vm,
) -> Result<(), StartFailure> {
    match vm.host_functions() {
        Some((link, names)) => crate::host_functions::install(scope, env, link, &names)
            .map_err(|_| StartFailure::Thrown),
        None => Ok(()),
    }
}

/// Gives the isolate its counts.
pub(crate) fn install_budgets(env: &Env, vm: &Vm) {
    let limits = &vm.options().limits;
    env.extension::<Installed>().install(Budgets::new(
        BudgetLimits {
            timers: limits.max_timers.into(),
            handles: limits.max_handles.into(),
            open_fds: limits.max_open_fds.into(),
            output_bytes: limits.max_output_bytes,
            filesystem_bytes: limits.max_filesystem_bytes,
            inodes: limits.max_inodes,
            bridge_calls: limits.max_bridge_calls,
            ..BudgetLimits::default()
        },
        vm.on_warning(),
    ));
}

/// Makes the kernel's process and gives it to the isolate.
pub(crate) fn setup(
    env: &Rc<Env>,
    vm: &Arc<Vm>,
    options: &ExecOptions,
    main: &str,
    source: Option<Vec<u8>>,
    output: Arc<dyn OutputSink>,
) -> Result<Arc<secure_exec_kernel::Process>, StartFailure> {
    let defaults = vm.options();
    install_budgets(env, vm);
    let cwd = options.cwd.clone().unwrap_or_else(|| defaults.cwd.clone());
    let refused = |errno: secure_exec_kernel::Errno, what: &str| {
        StartFailure::Kernel(format!("{}: {}, {what}", errno.name(), errno.message()))
    };
    let mut variables = defaults.env.clone();
    for (name, value) in &options.env {
        variables.retain(|(known, _)| known != name);
        variables.push((name.clone(), value.clone()));
    }
    variables.retain(|(name, value)| {
        let request = Request::Env {
            key: name.into(),
            value: value.into(),
        };
        vm.permissions().check(&request).is_ok()
    });
    let mitigation = options.mitigation.unwrap_or(defaults.mitigation);
    let clock = match (mitigation, vm.kernel().clock().mode()) {
        (Mitigation::Freeze, ClockMode::Frozen) | (Mitigation::Off, ClockMode::Real) => {
            vm.kernel().clock().fork()
        }
        (Mitigation::Freeze, _) => secure_exec_kernel::Clock::new(ClockMode::Frozen),
        (Mitigation::Off, _) => secure_exec_kernel::Clock::new(ClockMode::Real),
    };
    let argv = options.argv.as_ref().unwrap_or(&defaults.argv);
    let program = match source {
        Some(source) => Some(
            Program::new(main.as_bytes(), source)
                .map_err(|errno| refused(errno, &format!("open '{main}'")))?,
        ),
        None => None,
    };
    let kernel_options = KernelProcessOptions {
        argv: [secure_exec_kernel::EXEC_PATH.to_owned(), main.to_owned()]
            .into_iter()
            .chain(argv.iter().cloned())
            .collect(),
        env: variables.clone(),
        cwd: cwd.clone().into_bytes(),
        stdio: Stdio {
            stdin: match &options.stdin_pipe {
                Some(pipe) => Stdin::Pipe(pipe.clone()),
                None if options.stdin.is_empty() => Stdin::Null,
                None => Stdin::Bytes(options.stdin.clone().into()),
            },
            output: output.clone(),
            terminal: options.terminal.clone(),
            ..Stdio::default()
        },
        // Keys of a terminal reach the whole tree.
        new_group: options.terminal.is_some(),
        program,
        supervisor: Some(Arc::new(IsolateSupervisor(env.shared().clone()))),
        clock: Some(Arc::new(clock)),
        ..KernelProcessOptions::default()
    };
    let process = vm
        .kernel()
        .spawn(kernel_options)
        .map_err(|errno| refused(errno, &format!("chdir '{cwd}'")))?;
    if let Some(terminal) = &options.terminal {
        connect_terminal(vm, terminal, output, process.pid());
    }
    let say = |text: &str| {
        // A closed descriptor loses the text.
        let _ = vm.kernel().write(&process, 2, text.as_bytes(), None);
    };
    let of_files = variables_of_files(vm.kernel(), &process, &options.node_options, "node", say);
    for (name, value) in of_files.map_err(StartFailure::Option)? {
        if variables.iter().all(|(known, _)| *known != name) {
            variables.push((name, value));
        }
    }
    env.set_machine(vm.kernel().clone(), process.clone());
    env.set_vm(vm);
    env.variables.replace(variables);
    env.set_options(ProcessOptions {
        node_options: options.node_options.clone(),
        exec_argv: options.exec_argv.clone(),
        exec_path: secure_exec_kernel::EXEC_PATH.to_owned(),
        argv: vec![secure_exec_kernel::EXEC_PATH.to_owned()],
        pid: process.pid(),
        ppid: process.ppid(),
        module_roots: defaults.module_roots.clone(),
    });
    env.clock().restart(mitigation);
    env.advance_clock();
    Ok(process)
}

/// Does what options ask of V8, once they are known.
pub(crate) fn apply_options(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    vm: &Vm,
    process: &secure_exec_kernel::Process,
    main: &str,
) {
    env.trace_variables(scope);
    crate::time_zone::read_variable(scope, env);
    crate::bindings::errors::apply_options(scope, env);
    if crate::snapshot::apply_options(scope, env).is_err() {
        tracing::error!("modules of the snapshot keep the options of its build");
    }
    if let Some(model) = PermissionModel::from_options(env, vm.kernel(), process, main) {
        env.set_permission_model(Arc::new(model));
        if !crate::bindings::options::flag(env, "--allow-addons") {
            let off = ("--addons".to_owned(), serde_json::Value::Bool(false));
            env.update_options(|options| options.node_options.push(off));
        }
    }
    let global = scope.get_current_context().global(scope);
    // They fail only for a process that is being ended.
    let _ = crate::exposed_gc::install(scope, env, global);
    let _ = crate::disabled_proto::apply(scope, env);
    let _ = crate::shared_memory::install_main(scope, env);
    crate::compile_cache::enable_from_environment(env);
    env.set_tracer();
    env.trace_from_options();
    if env.traces() {
        crate::bindings::trace_events::refresh(scope, env);
    }
    crate::inspector::profiles::start(scope, env);
}

/// What is left to do for a process that ended by itself: its code does not run any more.
pub(crate) fn at_exit(env: &Env, end: &End) {
    if *end != End::Signal(secure_exec_kernel::SIGKILL) {
        crate::bindings::tty_wrap::reset(env);
    }
    let has_successor = env.shared().successor.get().is_some();
    if matches!(end, End::Exit(_) | End::Error(_)) && !has_successor {
        crate::compile_cache::flush(env);
        env.end_tracing();
    }
}

/// Calls a function of the main script that starts something: with the path, the arguments and the ids.
pub(crate) fn call_start(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    name: &'static str,
    main: &str,
    argv: &[String],
    process: &secure_exec_kernel::Process,
) -> Result<(), StartFailure> {
    let started = call_main(scope, env, name, |scope| {
        let text = |scope: &mut v8::PinScope<'_, '_>,
                    text: &str|
         -> Result<v8::Global<v8::Value>, Throw> {
            let value: v8::Local<v8::Value> =
                v8::String::new(scope, text).ok_or(Throw::Pending)?.into();
            Ok(v8::Global::new(scope, value))
        };
        let path = text(scope, main)?;
        let mut items = Vec::with_capacity(argv.len());
        for argument in argv {
            items.push(text(scope, argument)?);
        }
        let path = v8::Local::new(scope, path);
        let items: Vec<_> = items
            .into_iter()
            .map(|item| v8::Local::new(scope, item))
            .collect();
        let items = v8::Array::new_with_elements(scope, &items).into();
        let pid = v8::Integer::new_from_unsigned(scope, process.pid()).into();
        let ppid = v8::Integer::new_from_unsigned(scope, process.ppid()).into();
        Ok(vec![path, items, pid, ppid])
    });
    if started.is_err() && env.is_ending() {
        return Err(StartFailure::Thrown);
    }
    Ok(())
}

/// Calls a function of our main script inside a callback scope; an exception goes to `process._fatalException`.
pub(crate) fn call_main<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    name: &'static str,
    args: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Result<Vec<v8::Local<'s, v8::Value>>, Throw>,
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    let process = env.process_object(scope).ok_or(Throw::Pending)?;
    let result = env.in_callback_scope(scope, process, AsyncContext::default(), |scope| {
        let script = env.registered(scope, MAIN_SCRIPT)?;
        let script = v8::Local::<v8::Object>::try_from(script).ok()?;
        let key = v8::String::new(scope, name)?;
        let function = v8::Local::<v8::Function>::try_from(script.get(scope, key.into())?).ok()?;
        let args = args(scope).ok()?;
        // The program itself is resource 1, of which hooks are not told.
        let program = AsyncContext {
            async_id: 1.0,
            trigger_async_id: 0.0,
        };
        let resource = v8::Object::new(scope);
        env.push_async_context(scope, program, Some(resource));
        let result = function.call(scope, script.into(), &args);
        env.pop_async_context(scope, program.async_id);
        result
    });
    result.ok_or(Throw::Pending)
}

/// Copies out what the program exports. Runs guest code only to import a module that was loaded already.
fn read_exports(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    job: &Job,
    main: &str,
) -> Option<Result<HostValue, MarshalError>> {
    let record = call_main(scope, env, "getExports", |scope| {
        Ok(vec![
            v8::String::new(scope, main).ok_or(Throw::Pending)?.into(),
        ])
    })
    .ok()?;
    let record = v8::Local::<v8::Object>::try_from(record).ok()?;
    let key = v8::String::new(scope, "module")?;
    let module = record.get(scope, key.into())?;
    let value = if let Ok(promise) = v8::Local::<v8::Promise>::try_from(module) {
        env.run_event_loop(scope);
        match promise.state() {
            v8::PromiseState::Fulfilled => promise.result(scope),
            _ => return None,
        }
    } else {
        let key = v8::String::new(scope, "exports")?;
        record.get(scope, key.into())?
    };
    Some(crate::marshal::to_host(
        scope,
        value,
        &job.vm.options().limits,
    ))
}

/// The public outcome of an end.
pub(crate) fn outcome_of(
    end: &End,
    error: Option<GuestError>,
    stdout: Captured,
    stderr: Captured,
    usage: Usage,
    exports: Option<Result<HostValue, MarshalError>>,
) -> Outcome {
    /// Exit code of a process that met a time limit, as `timeout(1)` gives it.
    const TIMED_OUT: i32 = 124;
    /// What a shell reports for a process that a signal ended, without the signal.
    const SIGNALLED: i32 = 128;
    const SIGKILL: i32 = 9;
    let line = |error: &GuestError| {
        if error.name.is_empty() {
            error.message.clone()
        } else {
            format!("{}: {}", error.name, error.message)
        }
    };
    let (reason, code, signal, error_message) = match end {
        End::Exit(code) => (Reason::Exit, *code, None, None),
        End::Error(code) => (
            Reason::Error,
            *code,
            None,
            Some(error.as_ref().map_or_else(String::new, line)),
        ),
        End::Cpu => (
            Reason::Cpu,
            TIMED_OUT,
            None,
            Some("CPU time limit exceeded (option cpuTimeLimitMs)".to_owned()),
        ),
        End::Wall => (
            Reason::Wall,
            TIMED_OUT,
            None,
            Some("wall time limit exceeded (option wallTimeLimitMs)".to_owned()),
        ),
        End::Memory(what) => (
            Reason::Memory,
            SIGNALLED + SIGKILL,
            None,
            Some(format!(
                "memory limit exceeded: {what} (option memoryLimit)"
            )),
        ),
        End::Aborted => (
            Reason::Aborted,
            1,
            None,
            Some("The operation was aborted".to_owned()),
        ),
        End::Disposed => (
            Reason::Disposed,
            1,
            None,
            Some("the runtime was disposed of".to_owned()),
        ),
        End::Signal(number) => (
            Reason::Exit,
            SIGNALLED + number,
            Some(*number),
            Some(format!("ended by signal {number}")),
        ),
        End::Budget(option) => (
            Reason::Error,
            1,
            None,
            Some(format!(
                "resource budget exceeded (option resourceBudgets.{option})"
            )),
        ),
        End::Crash(text) => (Reason::Crash, 1, None, Some(text.clone())),
    };
    Outcome {
        reason,
        code,
        signal,
        error_message,
        error,
        stdout,
        stderr,
        usage,
        exports,
    }
}

/// Shows what is written to a terminal as the process's output, and sends its signals to the process's group.
fn connect_terminal(
    vm: &Arc<Vm>,
    terminal: &secure_exec_kernel::Terminal,
    screen: Arc<dyn OutputSink>,
    pid: u32,
) {
    let kernel = Arc::downgrade(vm.kernel());
    let group = i32::try_from(pid).map_or(0, |pid| -pid);
    let on_signal = move |signal| {
        if let Some(kernel) = kernel.upgrade().filter(|_| group != 0) {
            // Nobody may be left in it.
            let _ = kernel.kill(kernel.host(), group, signal);
        }
    };
    terminal.connect(screen, Arc::new(on_signal));
}
