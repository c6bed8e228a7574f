//! `node` as a child process: its command line, its isolate's life, and `node --run`.

use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use secure_exec_kernel::{ExitStatus, OpenFile, Process};
use secure_exec_userland::{Context, Finish};

use crate::api::{Captured, Usage};
use crate::callback_scope::AsyncContext;
use crate::clock::Mitigation;
use crate::env::{Env, ProcessOptions};
use crate::latch::End;
use crate::node_command::{Entry, NodeCommand};
use crate::output::Output;
use crate::process::{
    Control, CurrentControl, INVALID_ARGUMENT, apply_options, at_exit, call_start, install_budgets,
    outcome_of, variables_of_files,
};
use crate::tree::{Current, Tree};
use crate::vm::Vm;

/// A `node` on its way to a thread. The kernel's process is there already.
pub struct ChildJob {
    /// The VM it belongs to.
    pub vm: Arc<Vm>,
    /// Its process.
    pub process: Arc<Process>,
    /// `process.execPath`.
    pub exec_path: String,
    /// `process.argv0`.
    pub argv0: String,
    /// What it runs.
    pub command: NodeCommand,
    /// How others end it; told when it has ended.
    pub control: Arc<Control>,
    /// The account of its CPU time.
    pub tree: Arc<Tree>,
    /// Its clocks are those of its parent.
    pub mitigation: Mitigation,
}

impl ChildJob {
    /// Whether it may run in an isolate that was prepared for a program without options. `process.argv0` was set then;
    /// a plain `node` sees its path there.
    pub fn is_plain(&self) -> bool {
        let usual = |name: &str| name == secure_exec_kernel::EXEC_PATH || name == "node";
        self.command.is_plain()
            && self.exec_path == secure_exec_kernel::EXEC_PATH
            && usual(&self.argv0)
    }
}

/// Runs a child on its isolate. `prepared` tells whether the library was prepared before; `None` when there is none.
pub(crate) fn serve(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    guest: &crate::fatal::GuestThread,
    job: &ChildJob,
    prepared: Option<bool>,
    current: &CurrentControl,
) {
    current
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(job.control.clone());
    let started = Instant::now();
    // Its streams are descriptors; nothing is kept for a result.
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
    if prepared.is_none() {
        env.shared().latch.set(End::Crash(
            "the startup snapshot could not be restored".to_owned(),
        ));
    }
    set_up(scope, env, job);
    if !env.is_ending() {
        start(scope, env, job, prepared == Some(true));
        env.run_event_loop(scope);
    }
    if !env.is_ending() {
        let code = env.emit_exit(scope);
        env.shared().latch.set(End::Exit(code));
    }
    let end = env.shared().latch.get().cloned().unwrap_or(End::Exit(0));
    at_exit(env, &end);
    let usage = Usage {
        cpu: watch.cpu_time(),
        wall: started.elapsed(),
        peak_heap_bytes: 0,
    };
    drop(watch);
    let none = Captured::default;
    job.control.finish(outcome_of(
        &end,
        env.take_uncaught(),
        none(),
        none(),
        usage,
        None,
    ));
}

/// Gives the isolate its process.
fn set_up(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, job: &ChildJob) {
    install_budgets(env, &job.vm);
    let process = &job.process;
    for fd in 0..3 {
        // As Node does: what is opened later must not be taken for a standard stream.
        if process.file(fd).is_err()
            && let Err(errno) = job.vm.kernel().replace(process, fd, OpenFile::null())
        {
            tracing::warn!(?errno, fd, "a closed standard stream stays closed");
        }
    }
    env.set_machine(job.vm.kernel().clone(), process.clone());
    env.set_vm(&job.vm);
    env.extension::<Current>().set(job.tree.clone());
    env.variables.replace(process.env_all());
    let options = &job.command.options;
    let say = |text: &str| env.print(2, text);
    match variables_of_files(job.vm.kernel(), process, options, &job.argv0, say) {
        Ok(variables) => {
            for (name, value) in variables {
                // A variable that is there already stays, and so does one that does not fit.
                if !process.has_env(&name) {
                    let _ = env.variables.set(name, value);
                }
            }
        }
        Err(text) => {
            env.print(2, &format!("{text}\n"));
            env.shared().latch.set(End::Exit(INVALID_ARGUMENT));
            return;
        }
    }
    env.set_options(ProcessOptions {
        node_options: job.command.options.clone(),
        exec_argv: job.command.exec_argv.clone(),
        exec_path: job.exec_path.clone(),
        argv: std::iter::once(job.argv0.clone())
            .chain(job.command.args.iter().cloned())
            .collect(),
        pid: process.pid(),
        ppid: process.ppid(),
        module_roots: job.vm.options().module_roots.clone(),
    });
    crate::bindings::process_methods::set_first_title(env, &job.argv0);
    env.clock().restart(job.mitigation);
    env.advance_clock();
    // Without a file, `--permission` grants none for it.
    let main = job.command.args.first().map(|file| absolute(job, file));
    let main = main.unwrap_or_default();
    apply_options(scope, env, &job.vm, process, &main);
    crate::bindings::performance::start(scope, env);
}

fn start(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, job: &ChildJob, prepared: bool) {
    let main = match &job.command.entry {
        Entry::Print(text) => {
            env.print(1, text);
            env.shared().latch.set(End::Exit(0));
            return;
        }
        Entry::Refuse(text, code) => {
            env.print(2, text);
            env.shared().latch.set(End::Exit(*code));
            return;
        }
        Entry::File if prepared => {
            let Some((file, args)) = job.command.args.split_first() else {
                return;
            };
            let path = absolute(job, file);
            // An exception has gone to the process's own handlers.
            let _ = call_start(scope, env, "startChild", &path, args, &job.process);
            return;
        }
        Entry::File => "internal/main/run_main_module",
        Entry::Main("internal/main/eval_stdin") if is_terminal(&job.process, 0) => {
            "internal/main/repl"
        }
        Entry::Main(id) => id,
        // Not Node's: `run_script` does it.
        Entry::Run(_) => return,
    };
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
        let result = crate::realm::run_main(scope, env, main).ok();
        env.pop_async_context(scope, program.async_id);
        result
    });
}

/// Whether a descriptor is a terminal.
pub(crate) fn is_terminal(process: &Process, fd: i32) -> bool {
    process.file(fd).is_ok_and(|file| file.terminal().is_some())
}

/// The path of the program, as `path.resolve` gives it.
fn absolute(job: &ChildJob, file: &str) -> String {
    let cwd = job
        .vm
        .kernel()
        .getcwd(&job.process)
        .unwrap_or_else(|_| b"/".to_vec());
    let path = secure_exec_kernel::normalize(&cwd, file.as_bytes());
    String::from_utf8_lossy(&path).into_owned()
}

/// `node --run script [-- argument...]`: the script of the nearest `package.json`, with `node_modules/.bin` in `PATH`.
/// Source: `src/node_task_runner.cc`.
pub(crate) fn run_script(context: &Context, script: &str, args: &[String]) -> Finish {
    match find_script(context, script, args) {
        Ok(finish) => finish,
        Err(text) => {
            // A closed descriptor loses the text.
            let _ = context.write(2, text.as_bytes());
            Finish::Exit(ExitStatus::exited(1))
        }
    }
}

/// Bytes of a `package.json` that is read.
const MAX_PACKAGE_JSON: u64 = 16 << 20;

fn find_script(context: &Context, script: &str, args: &[String]) -> Result<Finish, String> {
    let cwd = context
        .cwd()
        .map_err(|error| format!("{}\n", error.message()))?;
    let cwd = String::from_utf8_lossy(&cwd).into_owned();
    let (kernel, process) = (context.kernel(), context.process());
    let mut bins = Vec::new();
    let mut folder = cwd.as_str();
    let (path, text) = loop {
        bins.push(format!(
            "{}/node_modules/.bin",
            folder.trim_end_matches('/')
        ));
        let path = format!("{}/package.json", folder.trim_end_matches('/'));
        if let Ok(bytes) = kernel.read_file(process, path.as_bytes(), MAX_PACKAGE_JSON) {
            break (path, bytes.into_vec());
        }
        match folder.rsplit_once('/') {
            Some(("", _)) if folder.len() > 1 => folder = "/",
            Some((parent, _)) if !parent.is_empty() => folder = parent,
            _ => return Err(format!("Can't find package.json for directory {cwd}\n\n")),
        }
    };
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|_| format!("Can't parse {path}\n\n"))?;
    let scripts = json.get("scripts").and_then(serde_json::Value::as_object);
    let scripts = scripts.ok_or_else(|| format!("Can't find \"scripts\" field in {path}\n\n"))?;
    let Some(command) = scripts.get(script).and_then(serde_json::Value::as_str) else {
        let mut text = format!("Missing script: \"{script}\" for {path}\n\n");
        let known: Vec<_> = scripts
            .iter()
            .filter_map(|(name, text)| Some((name, text.as_str()?)))
            .collect();
        if !known.is_empty() {
            text.push_str("Available scripts are:\n");
            for (name, command) in known {
                text.push_str(&format!("  {name}: {command}\n"));
            }
        }
        return Err(text);
    };
    let search = process
        .env("PATH")
        .unwrap_or_else(|| secure_exec_kernel::DEFAULT_PATH.to_owned());
    bins.push(search);
    let variables = [
        ("PATH", bins.join(":")),
        ("NODE_RUN_SCRIPT_NAME", script.to_owned()),
        ("NODE_RUN_PACKAGE_JSON_PATH", path),
    ];
    kernel
        .chdir(process, folder.as_bytes())
        .map_err(|error| format!("{}\n", error.message()))?;
    for (name, value) in variables {
        process
            .set_env(name, &value)
            .map_err(|error| format!("{}\n", error.message()))?;
    }
    let quoted = args
        .iter()
        .map(|word| format!(" '{}'", word.replace('\'', "'\\''")));
    let line = format!("{command}{}", quoted.collect::<String>());
    let argv = ["sh", "-c", &line].map(str::to_owned).to_vec();
    kernel
        .find_program(process, "/bin/sh", argv, None, None)
        .map(Finish::Exec)
        .map_err(|error| format!("{}\n", error.message()))
}
