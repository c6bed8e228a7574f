//! What comes up from a process: its output as it is written, then its outcome.
//!
//! One thread-safe function a process carries both, so that output arrives before the outcome. It keeps the event loop
//! alive while the process lives. Node does not bound its queue; [`Gate`] does: a guest that writes faster than the host
//! listens waits on its own thread, where its limits go on counting, until the host has caught up or the guest is ended.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use napi::bindgen_prelude::{Buffer, Either, FnArgs, Function, Result, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use secure_exec_runtime::api::{OnOutput, OnStart, Outcome};
use secure_exec_runtime::kernel::OutputChannel;
use secure_exec_runtime::process::Control;
use secure_exec_runtime::vm::OnDone;

use crate::outcome::NativeOutcome;

/// Bytes of output that may wait for the host.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Writes that may wait for the host.
const MAX_WAITING_WRITES: usize = 4096;
/// How often a waiting guest looks whether it was ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// First argument of the JavaScript callback.
mod kind {
    pub const STDOUT: u32 = 0;
    pub const STDERR: u32 = 1;
    pub const OUTCOME: u32 = 2;
    pub const STARTED: u32 = 3;
    pub const STDIN: u32 = 4;
}

/// Arguments of the JavaScript callback: a number of [`kind`], what goes with it, and the guest's process id.
pub type EventArgs = FnArgs<(u32, Option<Either<Buffer, NativeOutcome>>, u32)>;

/// Something for the host.
pub enum Event {
    /// Which stream, the bytes that the guest wrote, and its process id.
    Output(u32, Vec<u8>, u32),
    /// The end.
    Outcome(Box<Outcome>),
    /// It has its process id.
    Started(u32),
    /// Its standard input has room again.
    Stdin,
}

type Channel = ThreadsafeFunction<Event, Unknown<'static>, EventArgs, napi::Status, false>;

#[derive(Default)]
struct Waiting {
    bytes: usize,
    writes: usize,
    /// The host wants no more for now.
    held: bool,
    closed: bool,
}

/// Bounds the output that waits for the host.
#[derive(Default)]
pub struct Gate {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    control: OnceLock<Weak<Control>>,
}

impl Gate {
    /// Tells which process writes through it.
    pub fn bind(&self, control: &Arc<Control>) {
        let _ = self.control.set(Arc::downgrade(control));
        self.changed.notify_all();
    }

    /// The process id of the guest. The host may still be on its way to [`Self::bind`].
    fn pid(&self) -> u32 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while self.control.get().is_none() && !waiting.closed {
            waiting = self
                .changed
                .wait_timeout(waiting, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(waiting);
        self.control
            .get()
            .and_then(Weak::upgrade)
            .map(|control| control.pid())
            .unwrap_or_default()
    }

    fn is_ending(&self) -> bool {
        self.control
            .get()
            .and_then(Weak::upgrade)
            .is_some_and(|control| control.is_ending())
    }

    /// Waits for room; answers whether the bytes may be sent.
    fn enter(&self, bytes: usize) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.closed {
                return false;
            }
            // One write always fits an empty queue, however long it is.
            let fits = waiting.bytes.saturating_add(bytes) <= MAX_WAITING_BYTES
                && waiting.writes < MAX_WAITING_WRITES;
            if !waiting.held && (fits || waiting.writes == 0) {
                waiting.bytes = waiting.bytes.saturating_add(bytes);
                waiting.writes += 1;
                return true;
            }
            if self.is_ending() {
                return false;
            }
            waiting = self
                .changed
                .wait_timeout(waiting, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Lets nothing more in, or lets in again.
    pub fn hold(&self, held: bool) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .held = held;
        self.changed.notify_all();
    }

    fn leave(&self, bytes: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        waiting.writes = waiting.writes.saturating_sub(1);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Lets everybody go; nothing more is sent.
    fn close(&self) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.changed.notify_all();
    }
}

/// The ways up of one process.
pub struct Ways {
    /// For its output.
    pub on_output: OnOutput,
    /// For its outcome.
    pub on_done: OnDone,
    /// For its start.
    pub on_start: OnStart,
    /// For the moment when its standard input has room again.
    pub on_stdin: Arc<dyn Fn() + Send + Sync>,
    /// Bounds the output; wants to know the process.
    pub gate: Arc<Gate>,
}

/// Connects a process to `callback`.
pub fn connect(callback: &Function<'_, EventArgs, Unknown<'static>>) -> Result<Ways> {
    let gate = Arc::<Gate>::default();
    let drained = gate.clone();
    let channel: Channel = callback
        .build_threadsafe_function::<Event>()
        .callee_handled::<false>()
        .build_callback(move |context| {
            Ok(match context.value {
                Event::Output(kind, bytes, pid) => {
                    drained.leave(bytes.len());
                    (kind, Some(Either::A(bytes.into())), pid).into()
                }
                Event::Outcome(outcome) => {
                    (kind::OUTCOME, Some(Either::B((*outcome).into())), 0).into()
                }
                Event::Started(pid) => (kind::STARTED, None, pid).into(),
                Event::Stdin => (kind::STDIN, None, 0).into(),
            })
        })?;
    let channel = Arc::new(channel);
    let output_channel = channel.clone();
    let output_gate = gate.clone();
    let on_output: OnOutput = Arc::new(move |from, bytes| {
        if !output_gate.enter(bytes.len()) {
            return;
        }
        let kind = match from {
            OutputChannel::Stdout => kind::STDOUT,
            OutputChannel::Stderr => kind::STDERR,
        };
        let event = Event::Output(kind, bytes.to_vec(), output_gate.pid());
        if output_channel.call(event, ThreadsafeFunctionCallMode::NonBlocking) != napi::Status::Ok {
            // The JavaScript thread that listened is gone.
            output_gate.close();
        }
    });
    let start_channel = channel.clone();
    let on_start: OnStart = Arc::new(move |pid| {
        start_channel.call(Event::Started(pid), ThreadsafeFunctionCallMode::NonBlocking);
    });
    let stdin_channel = Arc::downgrade(&channel);
    let on_stdin = Arc::new(move || {
        if let Some(channel) = stdin_channel.upgrade() {
            channel.call(Event::Stdin, ThreadsafeFunctionCallMode::NonBlocking);
        }
    });
    let on_done: OnDone = Box::new(move |outcome| {
        channel.call(
            Event::Outcome(Box::new(outcome)),
            ThreadsafeFunctionCallMode::NonBlocking,
        );
    });
    Ok(Ways {
        on_output,
        on_done,
        on_start,
        on_stdin,
        gate,
    })
}
