//! Waiting for descriptors: the kernel's wakes come from any thread, what waits is called in the loop.
//!
//! ```text
//!   wake (any thread) --> Queue of tokens --> inbox: "deliver", once for all that wait --> Ready::ready
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};

use secure_exec_kernel::{Errno, Interest};

use crate::env::Env;

/// What waits for a descriptor.
pub trait Ready {
    /// The descriptor is worth another try.
    fn ready(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, interest: Interest);
}

/// Who waits, and for what.
type Waiting = (Weak<dyn Ready>, Interest);

/// Those who wait in this process. What waits is not kept alive by waiting.
#[derive(Default)]
pub struct Readiness {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waiting>>,
    queue: Arc<Queue>,
}

/// Tokens of descriptors that became ready. Each who waits is in it at most once.
#[derive(Default)]
struct Queue(Mutex<Vec<u64>>);

impl Env {
    /// Calls `target` in the loop, once, when the descriptor is ready. Does not keep the process alive.
    pub fn when_ready(
        &self,
        fd: i32,
        interest: Interest,
        target: Weak<dyn Ready>,
    ) -> Result<(), Errno> {
        let readiness = self.extension::<Readiness>();
        let (Ok(kernel), Ok(process)) = (self.kernel(), self.process()) else {
            return Err(Errno::ESRCH);
        };
        let token = readiness.next.get();
        readiness.next.set(token + 1);
        readiness
            .waiting
            .borrow_mut()
            .insert(token, (target, interest));
        let (queue, shared) = (readiness.queue.clone(), self.shared().clone());
        let wake = Box::new(move || {
            let mut tokens = queue.0.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.push(token);
            let first = tokens.len() == 1;
            drop(tokens);
            if first {
                shared.inbox.send_unref(Box::new(deliver));
            }
        });
        kernel
            .on_ready(&process, fd, interest, wake)
            .inspect_err(|_| {
                readiness.waiting.borrow_mut().remove(&token);
            })
    }
}

/// Calls those whose descriptors became ready.
fn deliver(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let readiness = env.extension::<Readiness>();
    let tokens = std::mem::take(
        &mut *readiness
            .queue
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    for token in tokens {
        let waiting = readiness.waiting.borrow_mut().remove(&token);
        let Some((target, interest)) = waiting else {
            continue;
        };
        if env.is_ending() {
            return;
        }
        if let Some(target) = target.upgrade() {
            v8::scope!(let scope, scope);
            target.ready(scope, env, interest);
        }
    }
}
