//! A context: one isolate whose JavaScript state is kept between calls, as `NodeRuntime.createContext` offers.
//!
//! Calls run one after the other on the context's thread. Each has its own limits, its own output and its own outcome,
//! and ends when its value is settled and nothing keeps the process alive. A call that meets a limit takes the isolate
//! with it, and so the state: later calls report that the context is gone.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secure_exec_kernel::{Errno, ExitStatus, OutputChannel, OutputSink};

use crate::api::{Captured, ExecOptions, OnOutput, Usage, Want};
use crate::env::Env;
use crate::latch::End;
use crate::output::Output;
use crate::process::{Control, CurrentControl, Work, call_main, call_start, outcome_of, setup};
use crate::throw::Throw;
use crate::tree::{Current, Tree};
use crate::typescript::{self, Classification};
use crate::vm::{OnDone, Vm, VmError};

/// What runs in the context.
pub struct Call {
    /// JavaScript or TypeScript: a script, whose top-level variables stay, with `await` allowed.
    pub code: String,
    /// Whether the value of its last expression is wanted.
    pub want: Want,
    /// CPU limit instead of the VM's.
    pub cpu: Option<Duration>,
    /// Wall limit instead of the VM's.
    pub wall: Option<Duration>,
    /// Bytes of each standard stream to keep.
    pub capture_bytes: usize,
    /// Where output goes as it is written.
    pub on_output: Option<OnOutput>,
}

/// A context on its way to a thread.
pub struct ContextJob {
    /// The VM it belongs to.
    pub vm: Arc<Vm>,
    /// Environment, working directory, arguments and clocks of its process.
    pub options: ExecOptions,
    calls: Receiver<(Call, Arc<Control>)>,
    gone: Arc<AtomicBool>,
}

type Calls = Sender<(Call, Arc<Control>)>;

/// The host's side of a context. Dropping it ends the isolate.
pub struct Context {
    vm: Arc<Vm>,
    calls: Mutex<Option<Calls>>,
    current: Arc<Mutex<Vec<std::sync::Weak<Control>>>>,
    gone: Arc<AtomicBool>,
}

/// What stands at the path of a script that came as text.
const SCRIPT_NAME: &str = "context.js";

impl Context {
    /// Starts a context in `vm`.
    ///
    /// # Errors
    /// [`VmError`] when the VM is disposed of or no isolate can be started.
    pub fn start(vm: &Arc<Vm>, options: ExecOptions) -> Result<Self, VmError> {
        if vm.is_disposed() {
            return Err(VmError::Disposed);
        }
        vm.options().limits.admit()?;
        let (calls, inbox) = channel();
        let gone = Arc::<AtomicBool>::default();
        let job = ContextJob {
            vm: vm.clone(),
            options,
            calls: inbox,
            gone: gone.clone(),
        };
        crate::pool::run(Work::Context(job))?;
        Ok(Self {
            vm: vm.clone(),
            calls: Mutex::new(Some(calls)),
            current: Arc::default(),
            gone,
        })
    }

    /// Whether its isolate has ended: known before the outcome of the call that ended it is reported.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Queues a call; `done` gets its outcome.
    ///
    /// # Errors
    /// [`VmError::Disposed`] when the context has ended; then `done` is not called.
    pub fn call(&self, call: Call, done: OnDone) -> Result<Arc<Control>, VmError> {
        if self.vm.is_disposed() {
            return Err(VmError::Disposed);
        }
        let control = self.vm.track(done)?;
        let calls = self
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let sent = calls.is_some_and(|calls| calls.send((call, control.clone())).is_ok());
        if !sent {
            control.abandon();
            return Err(VmError::Disposed);
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.retain(|control| control.strong_count() > 0);
        current.push(Arc::downgrade(&control));
        Ok(control)
    }

    /// Ends the context; running and queued calls end with `end`. Idempotent.
    pub fn end(&self, end: &End) {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let pending =
            std::mem::take(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner));
        for control in pending.iter().filter_map(std::sync::Weak::upgrade) {
            control.kill(end.clone());
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.end(&End::Disposed);
    }
}

/// Passes output to the call that runs; drops it between calls.
#[derive(Default)]
struct Switch(Mutex<Option<Arc<Output>>>);

impl Switch {
    fn set(&self, output: Option<Arc<Output>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = output;
    }
}

impl OutputSink for Switch {
    fn write(&self, channel: OutputChannel, data: &[u8]) -> Result<usize, Errno> {
        let output = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match output {
            Some(output) => output.write(channel, data),
            None => Ok(data.len()),
        }
    }
}

/// Runs a context's calls until its host side is dropped or its isolate has an end. `prepared` tells whether the library
/// was prepared before; `None` when there is no library.
pub(crate) fn serve(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    guest: &crate::fatal::GuestThread,
    job: &ContextJob,
    prepared: Option<bool>,
    current: &CurrentControl,
) {
    let switch = Arc::new(Switch::default());
    let mut started = prepared.is_none().then_some(Err(()));
    while let Some((call, control)) = next_call(scope, env, &job.calls) {
        let limits = &job.vm.options().limits;
        let output = Arc::new(Output::new(
            call.capture_bytes,
            limits.max_output_bytes,
            call.on_output.clone(),
            job.vm.on_warning(),
        ));
        switch.set(Some(output.clone()));
        current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(control.clone());
        control.attach(env.shared(), &output);
        let tree = Tree::new(call.cpu.or(limits.cpu));
        env.extension::<Current>().set(tree.clone());
        let watch = crate::watchdog::register(
            crate::watchdog::WatchSpec {
                tree: tree.clone(),
                wall_limit: call.wall.or(limits.wall),
                spares: None,
                shared: env.shared().clone(),
                on_warning: job.vm.on_warning(),
            },
            guest,
        );
        let begun = Instant::now();
        env.advance_clock();
        let ready = *started.get_or_insert_with(|| {
            start(scope, env, job, &switch, &output, prepared == Some(true)).map_err(|()| {
                env.shared().latch.set(End::Error(1));
            })
        });
        if let Ok(process) = env.process() {
            control.set_process(process.clone());
        }
        let mut value = None;
        let failed = if ready.is_ok() && !env.is_ending() {
            run(scope, env, job, &call, &mut value)
        } else {
            true
        };
        let error = env.take_uncaught();
        let end = match env.shared().latch.get() {
            Some(end) => end.clone(),
            None if failed || error.is_some() => End::Error(1),
            None => End::Exit(env.exit_code(scope).unwrap_or(0)),
        };
        let peak_heap_bytes = env.memory_account().map_or(0, |budget| {
            budget.sample(scope);
            budget.peak()
        });
        let usage = Usage {
            cpu: watch.cpu_time(),
            wall: begun.elapsed(),
            peak_heap_bytes,
        };
        drop(watch);
        switch.set(None);
        current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let [stdout, stderr] = output.take();
        let is_gone = env.is_ending();
        job.gone.store(is_gone, Ordering::Release);
        control.finish(outcome_of(&end, error, stdout, stderr, usage, value));
        if is_gone {
            break;
        }
    }
    // What was queued behind the end reports it too.
    let end = env.shared().latch.get().cloned().unwrap_or(End::Disposed);
    while let Ok((_, control)) = job.calls.try_recv() {
        let none = Captured::default;
        control.finish(outcome_of(
            &end,
            None,
            none(),
            none(),
            Usage::default(),
            None,
        ));
    }
    if let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) {
        kernel.exit(&process, ExitStatus::default());
    }
}

/// Waits for the next call; `None` when the host side is dropped.
fn next_call(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    calls: &Receiver<(Call, Arc<Control>)>,
) -> Option<(Call, Arc<Control>)> {
    match calls.recv_timeout(crate::idle::REST) {
        Ok(call) => return Some(call),
        Err(RecvTimeoutError::Disconnected) => return None,
        Err(RecvTimeoutError::Timeout) => {}
    }
    env.event_loop
        .idle
        .rest(scope, env.memory_account().as_deref());
    calls.recv().ok()
}

fn start(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    job: &ContextJob,
    switch: &Arc<Switch>,
    output: &Output,
    prepared: bool,
) -> Result<(), ()> {
    let defaults = job.vm.options();
    let cwd = job
        .options
        .cwd
        .clone()
        .unwrap_or_else(|| defaults.cwd.clone());
    let main = format!("{}/{SCRIPT_NAME}", cwd.trim_end_matches('/'));
    env.set_keeps_running(true);
    let outcome =
        setup(env, &job.vm, &job.options, &main, None, switch.clone()).and_then(|process| {
            crate::process::apply_options(scope, env, &job.vm, &process, &main);
            crate::bindings::performance::start(scope, env);
            if !prepared && call_main(scope, env, "prepare", |_| Ok(Vec::new())).is_err() {
                return Err(crate::process::StartFailure::Thrown);
            }
            crate::process::install_host_functions(scope, env, &job.vm)?;
            let argv = job
                .options
                .argv
                .clone()
                .unwrap_or_else(|| defaults.argv.clone());
            call_start(scope, env, "startContext", &main, &argv, &process)
        });
    outcome.map_err(|failure| failure.report(env, output))
}

/// Runs one call's code; answers whether it failed.
fn run(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    job: &ContextJob,
    call: &Call,
    value: &mut Option<Result<crate::marshal::HostValue, crate::marshal::MarshalError>>,
) -> bool {
    v8::scope!(let scope, scope);
    let code = match typescript::classify(&call.code) {
        Classification::TypeScript => {
            match typescript::transpile(
                &call.code,
                &typescript::TranspileOptions::for_path("context.ts"),
            ) {
                Ok(transpiled) => transpiled.code,
                Err(_) => call.code.clone(),
            }
        }
        _ => call.code.clone(),
    };
    let record = call_main(scope, env, "evaluate", |scope| {
        Ok(vec![
            v8::String::new(scope, &code).ok_or(Throw::Pending)?.into(),
        ])
    });
    let Ok(record) = record else { return true };
    env.run_event_loop(scope);
    if env.is_ending() {
        return true;
    }
    let Ok(promise) = v8::Local::<v8::Promise>::try_from(record) else {
        return true;
    };
    match promise.state() {
        v8::PromiseState::Fulfilled => {
            if call.want == Want::Exports {
                let result = promise.result(scope);
                let inner = v8::Local::<v8::Array>::try_from(result)
                    .ok()
                    .and_then(|array| array.get_index(scope, 0));
                let Some(inner) = inner else { return true };
                *value = Some(crate::marshal::to_host(
                    scope,
                    inner,
                    &job.vm.options().limits,
                ));
            }
            false
        }
        // Reported as an unhandled rejection already.
        v8::PromiseState::Rejected => true,
        v8::PromiseState::Pending => {
            env.set_uncaught(crate::api::GuestError {
                name: "Error".to_owned(),
                message: "the code awaits something that will never happen".to_owned(),
                ..crate::api::GuestError::default()
            });
            true
        }
    }
}
