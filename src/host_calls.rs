//! Questions of guests to the host's JavaScript: one thread-safe function a VM.
//!
//! The function does not keep Node's event loop alive: what waits for a guest does. Questions wait in a table for
//! `NativeVm.answer`; closing the table ends every wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::{Buffer, FnArgs, Function, Result, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use secure_exec_runtime::budget::LimitWarning;
use secure_exec_runtime::host::{Answer, Host, HostCall, Reply, Target};
use secure_exec_runtime::kernel::{WatchEvent, WatchKind};

/// Second argument of the JavaScript callback.
mod kind {
    pub const PERMISSION: u32 = 0;
    pub const FILE_SYSTEM: u32 = 1;
    pub const FUNCTION: u32 = 2;
    pub const WARNING: u32 = 3;
    pub const COMMAND: u32 = 4;
    pub const WATCH: u32 = 5;
}

/// Arguments of the JavaScript callback: the question's number, a number of [`kind`], who is asked, and what.
pub type HostArgs = FnArgs<(f64, u32, String, Buffer)>;

/// Events of watches that may wait for Node's thread; more are lost, as inotify's are.
const MAX_EVENTS: usize = 4096;

/// Counts an event that waits.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Message {
    waiting: Option<Waiting>,
    id: u64,
    kind: u32,
    target: String,
    payload: Vec<u8>,
}

type Channel = ThreadsafeFunction<Message, Unknown<'static>, HostArgs, napi::Status, false, true>;

/// The host of one VM.
pub struct HostCalls {
    channel: Channel,
    next: AtomicU64,
    /// `None` once it is closed.
    waiting: Mutex<Option<HashMap<u64, Reply>>>,
    events: Arc<AtomicUsize>,
}

impl HostCalls {
    /// Connects a VM to `callback`.
    pub fn connect(callback: &Function<'_, HostArgs, Unknown<'static>>) -> Result<Arc<Self>> {
        let channel: Channel = callback
            .build_threadsafe_function::<Message>()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(|context| {
                let Message {
                    waiting,
                    id,
                    kind,
                    target,
                    payload,
                } = context.value;
                drop(waiting);
                Ok((crate::outcome::number(id), kind, target, payload.into()).into())
            })?;
        Ok(Arc::new(Self {
            channel,
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            events: Arc::default(),
        }))
    }

    fn send(&self, message: Message) -> bool {
        self.channel
            .call(message, ThreadsafeFunctionCallMode::NonBlocking)
            == napi::Status::Ok
    }

    fn take(&self, id: u64) -> Option<Reply> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|waiting| waiting.remove(&id))
    }

    /// Answers a question. One that nobody waits for any more is left alone.
    pub fn answer(&self, id: u64, answer: Answer) {
        if let Some(reply) = self.take(id) {
            reply.send(answer);
        }
    }

    /// Ends every wait, and those to come.
    pub fn close(&self) {
        // Dropped without the lock: a reply may do anything.
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(waiting);
    }
}

impl Host for HostCalls {
    fn call(&self, call: HostCall, reply: Reply) {
        let (kind, target) = match call.target {
            Target::Permission(scope) => (kind::PERMISSION, scope.to_owned()),
            Target::FileSystem(number) => (kind::FILE_SYSTEM, number.to_string()),
            Target::Function(name) => (kind::FUNCTION, name),
            Target::Command => (kind::COMMAND, String::new()),
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(waiting) = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            waiting.insert(id, reply);
        } else {
            return;
        }
        let payload = call.payload.into_bytes();
        let message = Message {
            waiting: None,
            id,
            kind,
            target,
            payload,
        };
        if !self.send(message) {
            // The JavaScript thread that would answer is gone.
            drop(self.take(id));
        }
    }

    fn warn(&self, warning: LimitWarning) {
        let LimitWarning { option, used, max } = warning;
        let payload = [used.to_le_bytes(), max.to_le_bytes()].concat();
        self.send(Message {
            waiting: None,
            id: 0,
            kind: kind::WARNING,
            target: option.to_owned(),
            payload,
        });
    }

    fn watch_event(&self, number: u32, event: WatchEvent) {
        let kind = match event.kind {
            WatchKind::Rename => "rename",
            WatchKind::Change => "change",
        };
        let waiting = Waiting(self.events.clone());
        if self.events.fetch_add(1, Ordering::Relaxed) >= MAX_EVENTS {
            return;
        }
        self.send(Message {
            waiting: Some(waiting),
            id: number.into(),
            kind: kind::WATCH,
            target: kind.to_owned(),
            payload: event.name.to_vec(),
        });
    }
}
