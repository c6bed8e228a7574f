//! Which functions of Node's library a usual program runs.
//!
//! Before the build makes the startup snapshot it boots the library in an isolate of its own, runs [`PROGRAM`] there and
//! takes V8's code cache of every builtin module: bytecode of just the functions that ran. Compiled from these caches,
//! the snapshot holds that bytecode, so that programs start without compiling the library and without deserializing
//! what they do not use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::api::{ExecOptions, VmOptions};
use crate::bindings;
use crate::env::{Env, Shared};
use crate::memory::HeapLimits;
use crate::output::Output;
use crate::process::{Control, Job, run_job};
use crate::snapshot::{self, SnapshotError};
use crate::throw::Throw;
use crate::vm::Vm;

/// What usual programs do. Its modules are files beside it.
const PROGRAM: &str = include_str!("rehearsal/main.cjs");
const FILES: &[(&str, &str)] = &[
    (
        "/workspace/module.mjs",
        include_str!("rehearsal/module.mjs"),
    ),
    ("/workspace/data.json", "{ \"value\": 1 }"),
    ("/workspace/typed.ts", "export const typed: number = 1;\n"),
    ("/workspace/library.cjs", "exports.value = 1;\n"),
];
/// What the program writes last.
const DONE: &[u8] = b"done\n";
/// Key of the registry for a builtin module's function, before its id.
const KEY: &str = "builtin:";

/// Code caches by the id of the builtin module.
pub type CodeCaches = BTreeMap<String, Vec<u8>>;

/// How builtin modules are compiled while a snapshot is built.
#[derive(Default)]
pub struct Building {
    /// Whether the builtin modules' functions are kept for [`code_caches`].
    pub keeps_functions: bool,
    /// What the rehearsal has shown.
    pub caches: CodeCaches,
    /// What an earlier worker of this OS process has shown, in the place of that. V8 compiles what it does not take.
    pub shared_caches: Option<Arc<CodeCaches>>,
}

/// Keeps the function of a builtin module for [`code_caches`].
pub fn keep(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    id: &str,
    function: v8::Local<v8::Function>,
) {
    env.register(scope, &format!("{KEY}{id}"), function.into());
}

/// Runs the program, on this thread.
///
/// V8 takes a code cache only where the read-only heap is the same, so the isolate has no snapshot of ours either.
///
/// # Errors
/// [`SnapshotError::Boot`] when the program does not do what it should.
pub fn code_caches() -> Result<CodeCaches, SnapshotError> {
    let failed = |what: &str| SnapshotError::Boot(format!("the rehearsal failed: {what}"));
    let files = FILES
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect();
    let options = VmOptions {
        files,
        ..VmOptions::default()
    };
    let limits = options.limits.clone();
    let vm = Vm::new(options).map_err(|error| failed(&error.to_string()))?;
    let (params, budget) = crate::memory::configure(
        v8::CreateParams::default(),
        limits.memory_bytes,
        HeapLimits::default(),
    );
    let mut isolate = v8::Isolate::new(params);
    isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
    let shared = Shared::new(
        isolate.thread_safe_handle(),
        crate::event_loop::Inbox::default(),
    );
    let tasks = crate::engine::TaskOwner::new(&isolate, shared.inbox.clone());
    let env = Env::install(&mut isolate, shared);
    env.set_memory_account(budget.clone());
    env.extension::<RefCell<Building>>()
        .borrow_mut()
        .keeps_functions = true;
    let output = Arc::new(Output::new(1 << 20, limits.max_output_bytes, None, None));
    let job = Job {
        vm,
        options: ExecOptions {
            code: PROGRAM.to_owned(),
            file_path: Some("/workspace/main.cjs".to_owned()),
            ..ExecOptions::default()
        },
        control: Control::new(Box::new(|_| ())),
    };
    let caches = run(&mut isolate, &env, &job, &output);
    env.release_handles();
    isolate.remove_slot::<Rc<Env>>();
    drop(env);
    drop(isolate);
    drop(tasks);
    let [stdout, stderr] = output.take();
    let caches = caches?;
    if !stdout.bytes.ends_with(DONE) {
        let text = [stdout.bytes, stderr.bytes].concat();
        return Err(failed(&String::from_utf8_lossy(&text)));
    }
    Ok(caches)
}

fn run(
    isolate: &mut v8::OwnedIsolate,
    env: &Rc<Env>,
    job: &Job,
    output: &Arc<Output>,
) -> Result<CodeCaches, SnapshotError> {
    v8::scope!(let scope, isolate);
    let context = v8::Context::new(scope, v8::ContextOptions::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    snapshot::boot(scope, env, context)?;
    bindings::restore(scope, env);
    if let Err(failure) = run_job(scope, env, job, output, false) {
        failure.report(env, output);
    }
    env.run_event_loop(scope);
    env.emit_exit(scope);
    if let Ok(process) = env.process() {
        process.end();
    }
    collect(scope, env).ok_or(SnapshotError::Serialize)
}

/// The code caches of the functions that were kept.
pub(crate) fn collect(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Option<CodeCaches> {
    let registry = env.registry(scope)?;
    let names = registry.get_own_property_names(scope, v8::GetPropertyNamesArgs::default())?;
    let mut caches = CodeCaches::new();
    for index in 0..names.length() {
        let name = names.get_index(scope, index)?;
        let text = name.to_rust_string_lossy(scope);
        let Some(id) = text.strip_prefix(KEY) else {
            continue;
        };
        let function = v8::Local::<v8::Function>::try_from(registry.get(scope, name)?).ok()?;
        caches.insert(id.to_owned(), function.create_code_cache()?.to_vec());
    }
    Some(caches)
}

/// Refuses a code cache that V8 did not take: it would be missing without a sign.
pub fn check(id: &str, source: &v8::script_compiler::Source) -> Result<(), Throw> {
    match source.get_cached_data() {
        Some(data) if data.rejected() => Err(Throw::error(
            "ERR_INTERNAL_ASSERTION",
            format!("V8 refuses the code cache of {id}"),
        )),
        _ => Ok(()),
    }
}
