//! Signals to a guest process: to its `Signal` handles, or the default action.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use secure_exec_kernel::Supervisor;

use crate::bindings::fs::resource::Resource;
use crate::callback_scope::AsyncContext;
use crate::env::{Env, Shared};
use crate::event_loop::Message;
use crate::latch::End;

/// Signals that wait for their listeners at most, as many as libuv's pipe holds; further ones are lost.
const MAX_PENDING: u32 = 4096;

/// A `Signal` handle that was started.
pub struct Started {
    /// Number of the signal.
    pub number: i32,
    /// The handle.
    pub id: u64,
    /// Its object.
    pub object: v8::Global<v8::Object>,
}

/// The `Signal` handles that were started.
#[derive(Default)]
pub struct Handles(pub RefCell<Vec<Started>>);

/// Leaves a signal for the listeners of a process, which run in a later turn of its loop. From any thread.
pub fn post(shared: &Arc<Shared>, signal: i32) {
    if let Some(successor) = shared.successor.get() {
        successor.deliver(signal);
        return;
    }
    if signal == secure_exec_kernel::SIGINT && crate::sigint::deliver(shared) {
        return;
    }
    let pending = &shared.pending_signals;
    let taken = pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
        (count < MAX_PENDING).then_some(count + 1)
    });
    if taken.is_err() {
        return;
    }
    let message: Message = Box::new(move |scope, env| {
        env.shared().pending_signals.fetch_sub(1, Ordering::Relaxed);
        let handles: Vec<_> = {
            let all = env.extension::<Handles>();
            let all = all.0.borrow();
            let started = all.iter().filter(|started| started.number == signal);
            started
                .map(|started| v8::Local::new(scope, &started.object))
                .collect()
        };
        for handle in handles {
            let number = v8::Integer::new(scope, signal).into();
            let context = Resource::of(scope, handle)
                .map_or_else(AsyncContext::default, |resource| resource.context());
            env.make_callback_named(scope, handle, "onsignal", &[number], context);
        }
    });
    shared.inbox.send(message);
}

/// Passes the kernel's signals to a process that has its isolate.
pub struct IsolateSupervisor(pub Arc<Shared>);

impl Supervisor for IsolateSupervisor {
    fn deliver(&self, signal: i32) {
        post(&self.0, signal);
    }

    fn terminate(&self, signal: i32) {
        crate::watchdog::kill(&self.0, End::Signal(signal));
    }
}

impl Env {
    /// Tells the kernel whether something listens for `signal`.
    pub fn update_caught(&self, signal: i32) {
        let handles = self.extension::<Handles>();
        let caught = handles
            .0
            .borrow()
            .iter()
            .any(|started| started.number == signal)
            || (signal == secure_exec_kernel::SIGINT && self.shared().sigint.is_watched());
        if let Ok(process) = self.process() {
            // Signals that cannot be caught have no handles.
            let _ = process.set_caught(signal, caught);
        }
    }
}
