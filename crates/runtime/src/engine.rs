//! V8 in this OS process: flags, platform, and the root thread.
//!
//! V8 is initialised once, on a root thread that lives for ever and starts every isolate's thread: the rights of memory
//! protection keys are inherited from the thread that initialised V8 (reference/security.md R4). V8 is never disposed of
//! and its WebAssembly trap handler is never installed: both would touch the host's own V8 and signal handlers.

use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Flags for every isolate, set once before initialisation.
///
/// WebAssembly: the trap handler is off, so that its memories need no guard regions of 8 GB and check their bounds; one
/// memory holds 1 GB at most.
const FLAGS: &[&str] = &[
    "--stack-size=1500",
    "--no-wasm-native-module-cache",
    "--wasm-enforce-bounds-checks",
    "--wasm-max-mem-pages=16384",
    "--wasm-max-table-size=1000000",
    "--wasm-max-module-size=16777216",
    "--no-harmony-shadow-realm",
    "--enable-sharedarraybuffer-per-context",
    "--js-float16array",
];

/// Gives the startup snapshot of this program; the first call counts. Without it the library is booted at first use.
pub fn set_startup_snapshot(blob: &'static [u8]) {
    let _ = SNAPSHOT.set(blob);
}

static SNAPSHOT: OnceLock<&'static [u8]> = OnceLock::new();

/// The startup snapshot; empty when there is none.
pub fn startup_snapshot() -> &'static [u8] {
    SNAPSHOT.get().copied().unwrap_or_default()
}

type Job = Box<dyn FnOnce() + Send>;

static ROOT: OnceLock<Sender<Job>> = OnceLock::new();

/// Why the engine cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The root thread has died; nothing more can be started in this OS process.
    #[error("the engine's root thread is gone")]
    RootGone,
}

/// Initialises V8 if that has not been done yet.
fn root() -> &'static Sender<Job> {
    ROOT.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        let (ready, is_ready) = channel::<()>();
        let spawned = thread::Builder::new().name("secure-exec root".to_owned()).spawn(move || {
            initialize();
            let _ = ready.send(());
            for job in inbox {
                job();
            }
        });
        match spawned {
            Ok(_) => {
                let _ = is_ready.recv();
            }
            Err(error) => tracing::error!(%error, "cannot start the root thread"),
        }
        jobs
    })
}

fn initialize() {
    // The first argument stands for the program and is left alone.
    let flags = std::iter::once("v8").chain(FLAGS.iter().copied()).map(str::to_owned).collect();
    let unknown = v8::V8::set_flags_from_command_line(flags);
    if unknown.len() > 1 {
        tracing::error!(?unknown, "V8 does not know these flags");
    }
    v8::icu::set_default_locale("en-US");
    let platform = v8::new_default_platform(2, false).make_shared();
    v8::V8::initialize_platform(platform);
    v8::V8::initialize();
    crate::fatal::install();
    if cfg!(target_os = "linux") && !crate::link_wrap::is_linked() {
        tracing::warn!("linked without crates/runtime/link-args.txt: clocks and WebAssembly memory are not the guest's");
    }
}

/// How many guest threads sleep for ever because V8 left them no way back; see `fatal.rs`.
pub fn parked_threads() -> usize {
    crate::fatal::parked_threads()
}

/// Starts a thread that may run an isolate.
///
/// # Errors
/// [`EngineError`] when the operating system refuses the thread.
pub fn spawn(name: String, stack_bytes: usize, body: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
    let (done, outcome) = channel();
    let job: Job = Box::new(move || {
        let thread = thread::Builder::new().name(name).stack_size(stack_bytes).spawn(body);
        let _ = done.send(thread.map(drop));
    });
    root().send(job).map_err(|_| EngineError::RootGone)?;
    outcome.recv().map_err(|_| EngineError::RootGone)??;
    Ok(())
}

/// Runs `job` on the root thread when it is next free.
pub fn later(job: fn()) {
    if root().send(Box::new(job)).is_err() {
        tracing::warn!("the engine's root thread is gone");
    }
}

/// Runs V8's own tasks for this isolate that are due; answers whether there were any.
pub fn run_foreground_tasks(scope: &mut v8::PinScope<'_, '_>) -> bool {
    let platform = v8::V8::get_current_platform();
    let mut any = false;
    while v8::Platform::pump_message_loop(&platform, scope, false) {
        any = true;
    }
    any
}
