//! Signals to a guest process: to its `Signal` handles, or the default action.

use std::cell::{Cell, RefCell};

use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::event_loop::Message;
use crate::latch::End;

/// The highest signal number.
pub const MAX_SIGNAL: i32 = 64;
const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;
/// Signals whose default action is nothing: CHLD, CONT, URG, WINCH; and those that would stop a process, which here
/// nothing could continue: STOP, TSTP, TTIN, TTOU.
const IGNORED: &[i32] = &[17, 18, 23, 28, SIGSTOP, 20, 21, 22];

/// Signals that wait for their listeners at most, as many as libuv's pipe holds; further ones are lost.
const MAX_PENDING: u32 = 4096;

/// The started `Signal` handles: number of the signal and the handle's object.
#[derive(Default)]
pub struct Handles(pub RefCell<Vec<(i32, v8::Global<v8::Object>)>>);

/// How many signals wait for their listeners.
#[derive(Default)]
struct Pending(Cell<u32>);

/// Whether a process can listen for `signal`.
pub fn can_listen(signal: i32) -> bool {
    (1..=MAX_SIGNAL).contains(&signal) && signal != SIGKILL && signal != SIGSTOP
}

impl Env {
    /// Delivers `signal` to this process, on its own thread: its listeners run in a later turn of the loop.
    ///
    /// Answers how the process ends, when nothing listens and the signal's default action is to end it.
    pub fn deliver_signal(&self, signal: i32) -> Option<End> {
        let handles = self.extension::<Handles>();
        let listening = handles
            .0
            .borrow()
            .iter()
            .any(|(number, _)| *number == signal);
        if signal == 0 || (!listening && IGNORED.contains(&signal)) {
            return None;
        }
        if !listening {
            return Some(End::Signal(signal));
        }
        let pending = self.extension::<Pending>();
        if pending.0.get() >= MAX_PENDING {
            return None;
        }
        pending.0.set(pending.0.get() + 1);
        let message: Message = Box::new(move |scope, env| {
            let pending = env.extension::<Pending>();
            pending.0.set(pending.0.get().saturating_sub(1));
            let handles: Vec<_> = {
                let all = env.extension::<Handles>();
                let all = all.0.borrow();
                let started = all.iter().filter(|(number, _)| *number == signal);
                started
                    .map(|(_, handle)| v8::Local::new(scope, handle))
                    .collect()
            };
            for handle in handles {
                let number = v8::Integer::new(scope, signal).into();
                let context = AsyncContext::default();
                env.make_callback_named(scope, handle, "onsignal", &[number], context);
            }
        });
        self.shared().inbox.send(message);
        None
    }
}
