//! Who watches for `SIGINT` in place of its listeners: calls that it breaks (`breakOnSigint`), the REPL between them, and
//! `--trace-sigint`. Source: `src/node_watchdog.cc`.
//!
//! While anything watches, the kernel hands the signal to the process instead of ending it, and it comes here first.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secure_exec_kernel::SIGINT;

use crate::env::{Env, Shared};
use crate::event_loop::Message;
use crate::fatal_exception::frames;
use crate::latch::End;

/// Frames of `--trace-sigint`.
const FRAMES: usize = 10;
/// Watchers of one process at most: nested calls end before.
const MAX_WATCHES: usize = 1 << 12;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

enum Watcher {
    /// A call that the signal ends.
    Call(Arc<AtomicBool>),
    /// The signal is told, with the stack, and ends the process.
    Trace,
    /// The signal is kept until somebody asks for it.
    Keep,
}

#[derive(Default)]
struct State {
    /// In the order in which they began.
    watchers: Vec<(u64, Watcher)>,
    is_pending: bool,
}

/// The watchers of one process.
#[derive(Default)]
pub struct Sigint(Mutex<State>);

impl Sigint {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything watches.
    pub fn is_watched(&self) -> bool {
        !self.lock().watchers.is_empty()
    }

    /// Whether a signal came that no call and no trace took.
    pub fn is_pending(&self) -> bool {
        self.lock().is_pending
    }

    fn begin(&self, watcher: Watcher) -> Option<u64> {
        let mut state = self.lock();
        if state.watchers.len() >= MAX_WATCHES {
            return None;
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        state.watchers.push((id, watcher));
        Some(id)
    }

    fn end(&self, id: u64) {
        self.lock().watchers.retain(|(known, _)| *known != id);
    }
}

/// Gives a signal to the newest watcher that takes it; `false` when nothing watches. From any thread.
pub fn deliver(shared: &Arc<Shared>) -> bool {
    let _section = crate::critical::section();
    let mut state = shared.sigint.lock();
    if state.watchers.is_empty() {
        return false;
    }
    let taker = state
        .watchers
        .iter()
        .rev()
        .find(|(_, watcher)| !matches!(watcher, Watcher::Keep));
    match taker {
        Some((_, Watcher::Call(fired))) => {
            fired.store(true, Ordering::SeqCst);
            // Under the lock: whoever ends the watch sees all of it, or nothing.
            shared.isolate.terminate_execution();
        }
        Some(_) => {
            drop(state);
            // Whichever comes first: code that runs, or the loop.
            shared
                .isolate
                .request_interrupt(tell_interrupted, std::ptr::null_mut());
            let message: Message = Box::new(|scope, env| tell(scope, env, false));
            shared.inbox.send(message);
        }
        None => state.is_pending = true,
    }
    true
}

/// Runs where the code of the process was interrupted.
unsafe extern "C" fn tell_interrupted(isolate: v8::UnsafeRawIsolatePtr, _data: *mut c_void) {
    // SAFETY: V8 calls this with the isolate that was interrupted, on its thread.
    let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    let env = Env::of(&isolate);
    v8::scope!(let scope, &mut isolate);
    let Some(context) = env.context(scope) else {
        return;
    };
    let scope = &mut v8::ContextScope::new(scope, context);
    tell(scope, &env, true);
}

/// Writes what the signal interrupted, and ends the process by it.
fn tell(scope: &mut v8::PinScope<'_, '_>, env: &Env, was_running: bool) {
    if env.is_ending() {
        return;
    }
    let mut text = "KEYBOARD_INTERRUPT: Script execution was interrupted by `SIGINT`\n".to_owned();
    if was_running && let Some(stack) = v8::StackTrace::current_stack_trace(scope, FRAMES) {
        for frame in frames(scope, stack, FRAMES) {
            text.push_str(&frame);
            text.push('\n');
        }
    }
    env.write_stderr(&text);
    env.shared().latch.set(End::Signal(SIGINT));
    scope.terminate_execution();
}

/// A watch that ends with [`Self::end`].
pub struct Watch {
    id: u64,
    fired: Arc<AtomicBool>,
}

impl Watch {
    fn begin(env: &Env, watcher: Watcher, fired: Arc<AtomicBool>) -> Option<Self> {
        let id = env.shared().sigint.begin(watcher)?;
        env.update_caught(SIGINT);
        Some(Self { id, fired })
    }

    /// For a call that the signal ends.
    pub fn call(env: &Env) -> Option<Self> {
        let fired = Arc::new(AtomicBool::new(false));
        Self::begin(env, Watcher::Call(fired.clone()), fired)
    }

    /// For `--trace-sigint`.
    pub fn trace(env: &Env) -> Option<Self> {
        Self::begin(env, Watcher::Trace, Arc::default())
    }

    /// Tells whether the signal came.
    pub fn fired(&self) -> &Arc<AtomicBool> {
        &self.fired
    }

    /// Ends the watch.
    pub fn end(self, env: &Env) {
        env.shared().sigint.end(self.id);
        env.update_caught(SIGINT);
    }
}

/// The watches of `startSigintWatchdog`, by their ids.
#[derive(Default)]
struct Kept(std::cell::RefCell<Vec<u64>>);

/// Keeps signals from now on; `false` when there are too many watches.
pub fn keep(env: &Env) -> bool {
    let Some(id) = env.shared().sigint.begin(Watcher::Keep) else {
        return false;
    };
    env.extension::<Kept>().0.borrow_mut().push(id);
    env.update_caught(SIGINT);
    true
}

/// Ends the last [`keep`]; answers whether a signal came, which is forgotten then.
pub fn stop_keeping(env: &Env) -> bool {
    let Some(id) = env.extension::<Kept>().0.borrow_mut().pop() else {
        return false;
    };
    env.shared().sigint.end(id);
    env.update_caught(SIGINT);
    std::mem::take(&mut env.shared().sigint.lock().is_pending)
}
