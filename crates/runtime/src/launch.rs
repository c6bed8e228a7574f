//! Starts the processes that guests ask for.
//!
//! ```text
//!   process_wrap, spawn_sync, the shell --Executable, Start--> Launcher
//!        kernel process, under a Runner --+--> node: pool -> isolate (child.rs)
//!                                         +--> other programs of the machine: a thread (secure_exec_userland)
//! ```
//! A process of a program may become another one (`exec`): the kernel's process stays, the Runner changes hands.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use secure_exec_kernel::{
    ClockMode, Errno, Executable, ExitStatus, MAX_SIGNAL, Process, ProcessOptions, SIGABRT,
    SIGKILL, SIGPIPE, SignalSet, Supervisor,
};
use secure_exec_userland::{Body, Context, Finish, Host, Start, Waker};

use crate::api::Outcome;
use crate::child::ChildJob;
use crate::clock::Mitigation;
use crate::env::Env;
use crate::host_command::HostCommand;
use crate::latch::End;
use crate::node_command::{Entry, NodeCommand};
use crate::process::{Control, Work};
use crate::tree::{Current, Member, Replaced, Tree};
use crate::vm::Vm;

/// Signals that Node ignores from its start: `PlatformInit` of `src/node.cc`.
const NODE_IGNORES: [i32; 2] = [SIGPIPE, 25];

/// See the module's text. One for each process that starts others.
#[derive(Clone)]
pub struct Launcher {
    vm: Arc<Vm>,
    tree: Arc<Tree>,
    mitigation: Mitigation,
}

/// What runs a process now.
enum Running {
    Nothing,
    Program(Waker),
    Node(Arc<Control>),
}

struct RunnerState {
    running: Running,
    ending: Option<i32>,
}

/// Who runs a child; the kernel's signals come here.
struct Runner {
    process: OnceLock<Weak<Process>>,
    state: Mutex<RunnerState>,
    exited: Mutex<Option<ExitStatus>>,
    has_exited: Condvar,
}

impl Runner {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            process: OnceLock::new(),
            state: Mutex::new(RunnerState {
                running: Running::Nothing,
                ending: None,
            }),
            exited: Mutex::new(None),
            has_exited: Condvar::new(),
        })
    }

    fn set_exited(&self, status: ExitStatus) {
        let mut exited = self.exited.lock().unwrap_or_else(PoisonError::into_inner);
        exited.get_or_insert(status);
        drop(exited);
        self.has_exited.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, RunnerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the process over. A signal that came before takes effect.
    fn set(&self, running: Running) {
        let mut state = self.lock();
        state.running = running;
        if let (Running::Node(control), Some(signal)) = (&state.running, state.ending) {
            let control = control.clone();
            drop(state);
            control.kill(End::Signal(signal));
        }
    }

    /// The signal that is to end the process.
    fn ending(&self) -> Option<i32> {
        self.lock().ending
    }
}

impl Supervisor for Runner {
    fn deliver(&self, signal: i32) {
        let state = self.lock();
        if let Running::Node(control) = &state.running {
            let control = control.clone();
            drop(state);
            control.deliver(signal);
        }
    }

    fn terminate(&self, signal: i32) {
        let mut state = self.lock();
        state.ending.get_or_insert(signal);
        match &state.running {
            Running::Nothing => {}
            Running::Program(waker) => {
                let waker = waker.clone();
                drop(state);
                if let Some(process) = self.process.get().and_then(Weak::upgrade) {
                    process.interrupt();
                }
                waker.wake();
            }
            Running::Node(control) => {
                let control = control.clone();
                drop(state);
                control.kill(End::Signal(signal));
            }
        }
    }
}

impl Launcher {
    /// For the process of this isolate.
    pub fn of(env: &Env) -> Option<Self> {
        Some(Self {
            vm: env.vm()?,
            tree: env.extension::<Current>().get(),
            mitigation: env.clock().mitigation(),
        })
    }

    /// The kernel's process, without anything that runs it yet.
    fn process(
        &self,
        argv: Vec<String>,
        start: Start,
        program: Option<&Executable>,
    ) -> Result<(Arc<Process>, Arc<Runner>), Errno> {
        let clock = match (self.mitigation, self.vm.kernel().clock().mode()) {
            (Mitigation::Freeze, ClockMode::Frozen) | (Mitigation::Off, ClockMode::Real) => {
                self.vm.kernel().clock().fork()
            }
            (Mitigation::Freeze, _) => secure_exec_kernel::Clock::new(ClockMode::Frozen),
            (Mitigation::Off, _) => secure_exec_kernel::Clock::new(ClockMode::Real),
        };
        let runner = Runner::new();
        let ignored: &[i32] = match program {
            Some(program) if program.name() == "node" => &NODE_IGNORES,
            _ => &[],
        };
        let process = self.vm.kernel().spawn(ProcessOptions {
            argv,
            env: start.env,
            cwd_of: start.cwd.is_none().then(|| start.parent.clone()),
            cwd: start.cwd.unwrap_or_default(),
            uid: Some(start.parent.uid()),
            gid: Some(start.parent.gid()),
            umask: start.parent.umask(),
            files: Some(start.files),
            program: start.parent.program().cloned(),
            ppid: start.parent.pid(),
            new_group: start.new_group,
            ignored_signals: SignalSet::of(ignored),
            supervisor: Some(runner.clone()),
            clock: Some(Arc::new(clock)),
            ..ProcessOptions::default()
        })?;
        let _ = runner.process.set(Arc::downgrade(&process));
        Ok((process, runner))
    }

    /// Runs a program in a process.
    fn run(
        &self,
        process: &Arc<Process>,
        runner: Arc<Runner>,
        executable: &Executable,
    ) -> Result<(), Errno> {
        let argv = executable.argv().to_vec();
        if executable.is_of_host() {
            return self.host_command(process.clone(), runner, executable);
        }
        if executable.name() != "node" {
            let name = executable.name().to_owned();
            let body: Body =
                Box::new(move |context| secure_exec_userland::run(&name, context, &argv));
            return self.thread(process.clone(), runner, body);
        }
        let command = NodeCommand::parse(&argv, |name| process.env(name));
        if let Entry::Run(script) = &command.entry {
            let (script, args) = (script.clone(), command.args.clone());
            let body: Body =
                Box::new(move |context| crate::child::run_script(context, &script, &args));
            return self.thread(process.clone(), runner, body);
        }
        self.node(process.clone(), &runner, executable, command)
    }

    /// Runs a command of the host as a process.
    fn host_command(
        &self,
        process: Arc<Process>,
        runner: Arc<Runner>,
        executable: &Executable,
    ) -> Result<(), Errno> {
        let host = self.vm.options().host.clone().ok_or(Errno::ENOENT)?;
        let cwd = self.vm.kernel().getcwd(&process)?;
        let mut argv = executable.argv().to_vec();
        if let Some(name) = argv.first_mut() {
            executable.name().clone_into(name);
        }
        let command = HostCommand::begin(host, &argv, &cwd, &process.env_all())?;
        let ends = runner.clone();
        let body: Body = Box::new(move |context| command.run(context, || ends.ending()));
        self.thread(process, runner, body)
    }

    fn node(
        &self,
        process: Arc<Process>,
        runner: &Arc<Runner>,
        executable: &Executable,
        command: NodeCommand,
    ) -> Result<(), Errno> {
        let refused = |_| Errno::EAGAIN;
        self.vm.options().limits.admit().map_err(refused)?;
        // The outcome is the kernel's to tell, see `Control::end_with`.
        let ends = Arc::downgrade(runner);
        let done = Box::new(move |outcome: Outcome| {
            if let Some(runner) = ends.upgrade() {
                runner.set_exited(outcome.exit_status());
            }
        });
        let control = self.vm.track(done).map_err(|_| Errno::EAGAIN)?;
        control.set_process(process.clone());
        control.end_with(self.vm.kernel(), &process);
        runner.set(Running::Node(control.clone()));
        let job = ChildJob {
            vm: self.vm.clone(),
            process,
            exec_path: executable.path().to_owned(),
            argv0: executable.argv().first().cloned().unwrap_or_default(),
            command,
            control: control.clone(),
            tree: self.tree.clone(),
            mitigation: self.mitigation,
        };
        crate::pool::run(Work::Child(job)).map_err(|_| {
            control.abandon();
            Errno::EAGAIN
        })
    }

    /// Runs `body` on a thread of its own, as the process.
    fn thread(&self, process: Arc<Process>, runner: Arc<Runner>, body: Body) -> Result<(), Errno> {
        let launcher = self.clone();
        let thread = std::thread::Builder::new()
            .name("secure-exec program".to_owned())
            .stack_size(secure_exec_userland::STACK_BYTES);
        thread
            .spawn(move || launcher.program(&process, &runner, body))
            .map(drop)
            .map_err(|_| Errno::EAGAIN)
    }

    /// The life of a program's thread.
    fn program(&self, process: &Arc<Process>, runner: &Arc<Runner>, body: Body) {
        let waker = Waker::default();
        runner.set(Running::Program(waker.clone()));
        if runner.ending().is_some() {
            process.interrupt();
        }
        let host = Arc::new(ProgramHost {
            launcher: self.clone(),
            member: Member::new(self.tree.clone()),
        });
        let context = Context::new(
            self.vm.kernel().clone(),
            process.clone(),
            host.clone(),
            waker,
        );
        let run = std::panic::AssertUnwindSafe(|| body(&context));
        let finish = std::panic::catch_unwind(run).unwrap_or_else(|_| {
            tracing::error!("a program of the machine panicked; its process ends");
            Finish::Exit(ExitStatus::signalled(SIGABRT))
        });
        host.member.publish(crate::watchdog::thread_cpu_time());
        let status = match (runner.ending(), finish) {
            (Some(signal), _) => ExitStatus::signalled(signal),
            (None, _) if self.tree.is_spent() => ExitStatus::signalled(SIGKILL),
            (None, Finish::Exit(status)) => status,
            (None, Finish::Exec(executable)) => {
                runner.set(Running::Nothing);
                match self.run(process, runner.clone(), &executable) {
                    Ok(()) => return,
                    Err(Errno::ENOENT) => ExitStatus::exited(127),
                    Err(_) => ExitStatus::exited(126),
                }
            }
        };
        runner.set_exited(status);
        self.vm.kernel().exit(process, status);
    }

    /// Runs a program in the place of the one that the caller is, in the caller's process. Descriptors beyond the standard
    /// streams close, as Node opens them all so; nothing is caught any more.
    pub fn exec(
        &self,
        process: &Arc<Process>,
        executable: &Executable,
        env: &[(String, String)],
    ) -> Result<Successor, Errno> {
        let replaced = Replaced::new(&self.tree).ok_or(Errno::EAGAIN)?;
        const LAST_STANDARD_STREAM: i32 = 2;
        for name in process.env_names() {
            process.remove_env(&name);
        }
        for (name, value) in env {
            process.set_env(name, value)?;
        }
        for fd in process.fds() {
            if fd > LAST_STANDARD_STREAM {
                self.vm.kernel().close(process, fd)?;
            }
        }
        for signal in 1..=MAX_SIGNAL {
            // What cannot be caught is not.
            let _ = process.set_caught(signal, false);
        }
        let runner = Runner::new();
        let _ = runner.process.set(Arc::downgrade(process));
        self.run(process, runner.clone(), executable)?;
        Ok(Successor {
            runner,
            _replaced: replaced,
        })
    }
}

/// A program that runs in the place of another one. The thread of that one waits for it.
pub struct Successor {
    runner: Arc<Runner>,
    _replaced: Replaced,
}

impl Successor {
    /// Where the process's signals go from now on.
    pub fn supervisor(&self) -> Arc<dyn Supervisor> {
        self.runner.clone()
    }

    /// Waits until it ends. It is ended by the signal that `ends` tells.
    pub fn wait(&self, mut ends: impl FnMut() -> Option<i32>) -> ExitStatus {
        const LOOK: Duration = Duration::from_millis(10);
        /// Looks after which it is given up: its thread may be parked.
        const LAST_LOOK: u32 = 100;
        let runner = &self.runner;
        let mut looks_left = None;
        let mut exited = runner.exited.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(status) = *exited {
                return status;
            }
            match &mut looks_left {
                Some(0) => return ExitStatus::signalled(SIGKILL),
                Some(left) => *left -= 1,
                None => {
                    if let Some(signal) = ends() {
                        looks_left = Some(LAST_LOOK);
                        drop(exited);
                        runner.terminate(signal);
                        exited = runner.exited.lock().unwrap_or_else(PoisonError::into_inner);
                        continue;
                    }
                }
            }
            exited = runner
                .has_exited
                .wait_timeout(exited, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// What a program's thread may ask for.
struct ProgramHost {
    launcher: Launcher,
    member: Arc<Member>,
}

impl Host for ProgramHost {
    fn start(&self, executable: Executable, start: Start) -> Result<Arc<Process>, Errno> {
        self.launcher.start(executable, start)
    }

    fn fork(&self, argv: Vec<String>, start: Start, body: Body) -> Result<Arc<Process>, Errno> {
        let (process, runner) = self.launcher.process(argv, start, None)?;
        self.launcher.begun(&process, |launcher| {
            launcher.thread(process.clone(), runner, body)
        })
    }

    fn charge_cpu(&self) -> bool {
        self.member.publish(crate::watchdog::thread_cpu_time());
        !self.launcher.tree.is_spent()
    }
}

impl Launcher {
    /// Starts a program as a child.
    ///
    /// # Errors
    /// `EAGAIN` when there are too many processes, or no room for one more isolate.
    pub fn start(&self, executable: Executable, start: Start) -> Result<Arc<Process>, Errno> {
        let (process, runner) =
            self.process(executable.argv().to_vec(), start, Some(&executable))?;
        self.begun(&process, |launcher| {
            launcher.run(&process, runner, &executable)
        })
    }

    /// A process that could not be begun leaves the table at once.
    fn begun(
        &self,
        process: &Arc<Process>,
        begin: impl FnOnce(&Self) -> Result<(), Errno>,
    ) -> Result<Arc<Process>, Errno> {
        match begin(self) {
            Ok(()) => Ok(process.clone()),
            Err(error) => {
                self.vm.kernel().discard(process);
                Err(error)
            }
        }
    }
}
