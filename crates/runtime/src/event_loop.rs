//! The event loop of one process, with libuv's phases as Node runs them: timers, completions, immediates, closing.
//!
//! ```text
//!    +-> timers -> completions and messages -> V8's tasks -> immediates -> closing --+
//!    +------------------------- sleep while nothing is ready ------------------------+
//! ```
//! Source: `SpinEventLoopInternal`, `RunTimers` and `CheckImmediate` of Node 22's `src/api/embed_helpers.cc` and
//! `src/env.cc`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::callback_scope::AsyncContext;
use crate::env::{Env, Shared};
use crate::tracer::ENVIRONMENT;

/// Work for a later phase of the loop, made on the loop's own thread.
pub type Task = Box<dyn for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>, &Rc<Env>)>;
/// Work that another thread hands to the loop.
pub type Message = Box<dyn for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>, &Rc<Env>) + Send>;

#[derive(Default)]
struct InboxState {
    /// Each with whether it keeps the process alive.
    messages: VecDeque<(bool, Message)>,
    woken: bool,
}

/// Where other threads leave messages for a process's loop.
#[derive(Clone, Default)]
pub struct Inbox(Arc<(Mutex<InboxState>, Condvar)>);

impl Inbox {
    /// Leaves a message and wakes the loop.
    pub fn send(&self, message: Message) {
        self.push(true, message);
    }

    /// Like [`Self::send`], without keeping the process alive for it.
    pub fn send_unref(&self, message: Message) {
        self.push(false, message);
    }

    // V8 wakes loops from anywhere: a thread must not be parked while it holds the lock of one.
    fn push(&self, keeps_alive: bool, message: Message) {
        let _section = crate::critical::section();
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.messages.push_back((keeps_alive, message));
        state.woken = true;
        drop(state);
        self.0.1.notify_one();
    }

    /// Wakes the loop without a message.
    pub fn wake(&self) {
        let _section = crate::critical::section();
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .woken = true;
        self.0.1.notify_one();
    }

    /// Takes the oldest message, if there is one.
    pub fn take(&self) -> Option<Message> {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .messages
            .pop_front()
            .map(|entry| entry.1)
    }

    /// Number of messages that wait.
    pub fn len(&self) -> usize {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .messages
            .len()
    }

    /// Whether no messages wait that keep the process alive.
    pub fn is_empty(&self) -> bool {
        !self
            .0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .messages
            .iter()
            .any(|entry| entry.0)
    }

    /// Sleeps until [`Self::wake`] or until `deadline`, whatever messages wait.
    pub fn wait_for_wake(&self, deadline: Option<Instant>) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.woken {
            state = match deadline {
                None => self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.0
                        .1
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        state.woken = false;
    }

    /// Sleeps until woken or until `deadline`.
    pub fn wait(&self, deadline: Option<Instant>) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.woken && state.messages.is_empty() {
            state = match deadline {
                None => self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.0
                        .1
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        state.woken = false;
    }
}

/// How often the loop looks whether V8's background work is done.
const BACKGROUND_POLL: Duration = Duration::from_millis(20);

/// Indexes of `timers.immediateInfo`.
mod immediate_field {
    pub const COUNT: usize = 0;
    pub const REF_COUNT: usize = 1;
    pub const HAS_OUTSTANDING: usize = 2;
}

/// What other threads may know of a loop's time.
#[derive(Default)]
pub struct LoopTimes {
    started: OnceLock<Instant>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// How long it slept before.
    before: Duration,
    /// Since when it sleeps now.
    asleep: Option<Instant>,
}

impl LoopTimes {
    /// When the loop started.
    pub fn started(&self) -> Option<Instant> {
        self.started.get().copied()
    }

    /// How long the loop has slept, up to now.
    pub fn idle(&self) -> Duration {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.before + idle.asleep.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn falls_asleep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.asleep = Some(Instant::now());
    }

    fn wakes(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = idle.asleep.take() {
            idle.before += since.elapsed();
        }
    }
}

/// See the module's text.
pub struct EventLoop {
    inbox: Inbox,
    shared: Arc<Shared>,
    /// When the library's one timer is due, in loop time (ms).
    timer_due: Cell<Option<f64>>,
    timer_ref: Cell<bool>,
    immediate_ref: Cell<bool>,
    completions: RefCell<VecDeque<Task>>,
    idle_completions: RefCell<VecDeque<Task>>,
    closing: RefCell<VecDeque<Task>>,
    /// Immediates of bindings.
    immediates: RefCell<VecDeque<Task>>,
    /// Requests in flight and handles that keep the process alive.
    active: Cell<u32>,
    /// Timers of bindings, by due time (ms, whole) and order; none keeps the process alive.
    own_timers: RefCell<BTreeMap<(u64, u64), Task>>,
    next_timer: Cell<u64>,
    turns: Cell<u64>,
    events: Cell<u64>,
    pub(crate) idle: crate::idle::Idle,
}

/// Keeps the process alive while it exists.
pub struct ActiveGuard(Rc<Env>);

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        let active = &self.0.event_loop.active;
        active.set(active.get().saturating_sub(1));
    }
}

impl EventLoop {
    /// The loop of the thread that `shared` stands for.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self {
            inbox: shared.inbox.clone(),
            shared: shared.clone(),
            timer_due: Cell::new(None),
            // Set by the first timer that keeps the process alive.
            timer_ref: Cell::new(false),
            immediate_ref: Cell::new(false),
            completions: RefCell::default(),
            idle_completions: RefCell::default(),
            closing: RefCell::default(),
            immediates: RefCell::default(),
            active: Cell::new(0),
            own_timers: RefCell::default(),
            next_timer: Cell::new(0),
            turns: Cell::new(0),
            events: Cell::new(0),
            idle: crate::idle::Idle::default(),
        }
    }

    /// Drops all work.
    pub fn clear(&self) {
        self.completions.take();
        self.idle_completions.take();
        self.closing.take();
        self.immediates.take();
        self.own_timers.take();
        self.timer_due.set(None);
    }

    /// Runs `task` in the next turn's completion phase, as a finished request of libuv's thread pool would.
    pub fn complete(&self, task: Task) {
        self.completions.borrow_mut().push_back(task);
    }

    /// Like [`Self::complete`], without keeping the process alive for it.
    pub fn complete_unref(&self, task: Task) {
        self.idle_completions.borrow_mut().push_back(task);
    }

    /// Runs `task` in the next phase of immediates, before those of JavaScript.
    pub fn immediate(&self, task: Task) {
        self.immediates.borrow_mut().push_back(task);
    }

    /// Runs `task` in the closing phase, as `uv_close` does with its callback.
    pub fn close(&self, task: Task) {
        self.closing.borrow_mut().push_back(task);
    }

    /// Runs `task` in the timer phase once the loop's time is `due` (ms), if the process lives so long.
    pub fn after_unref(&self, due: f64, task: Task) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, as wanted"
        )]
        let key = (
            due.ceil().max(0.0) as u64,
            self.next_timer.replace(self.next_timer.get() + 1),
        );
        self.own_timers.borrow_mut().insert(key, task);
    }

    /// How long the loop has slept.
    pub fn idle_time(&self) -> Duration {
        self.shared.loop_times.idle()
    }

    /// Turns of the loop and completions that it ran.
    #[expect(
        clippy::cast_precision_loss,
        reason = "JavaScript's numbers are doubles"
    )]
    pub fn metrics(&self) -> (f64, f64) {
        (self.turns.get() as f64, self.events.get() as f64)
    }

    /// Arms the library's timer `duration` milliseconds from the loop's time.
    pub fn schedule_timer(&self, now: f64, duration: f64) {
        self.timer_due.set(Some(now + duration.max(1.0)));
    }

    /// Whether the timer keeps the process alive.
    pub fn set_timer_ref(&self, referenced: bool) {
        self.timer_ref.set(referenced);
    }

    /// Whether immediates keep the process alive.
    pub fn set_immediate_ref(&self, referenced: bool) {
        self.immediate_ref.set(referenced);
    }
}

impl Env {
    /// Keeps the process alive until the guard is dropped.
    pub fn keep_alive(self: &Rc<Self>) -> ActiveGuard {
        let active = self.event_loop.active.get() + 1;
        self.event_loop.active.set(active);
        let budgets = self.extension::<crate::budget::Installed>().get();
        if let Err(error) = budgets.handles.observe(u64::from(active)) {
            crate::watchdog::kill(self.shared(), crate::latch::End::Budget(error.option));
        }
        ActiveGuard(self.clone())
    }

    /// Milliseconds since the process started, as of the start of this turn.
    pub fn loop_now(&self) -> f64 {
        self.clock().loop_now_ms()
    }

    fn is_alive(&self) -> bool {
        let work = &self.event_loop;
        (work.timer_due.get().is_some() && work.timer_ref.get())
            || work.immediate_ref.get()
            || !work.completions.borrow().is_empty()
            || !work.immediates.borrow().is_empty()
            || !work.closing.borrow().is_empty()
            || work.active.get() > 0
    }

    /// Runs the loop until nothing keeps the process alive or it has an end. `beforeExit` is emitted each time the loop
    /// runs dry.
    pub fn run_event_loop(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        use crate::bindings::performance::{mark, milestone};
        mark(scope, self, milestone::LOOP_START);
        self.shared().loop_times.started.get_or_init(Instant::now);
        loop {
            self.set_sync_trace(true);
            self.spin(scope);
            self.set_sync_trace(false);
            let begun = self.trace_time();
            if self.is_ending() {
                return;
            }
            self.emit_before_exit(scope);
            self.trace_since(begun, ENVIRONMENT, "BeforeExit");
            if self.is_ending() {
                return;
            }
            if !self.is_alive() {
                mark(scope, self, milestone::LOOP_EXIT);
                return;
            }
        }
    }

    fn spin(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        while !self.is_ending() && self.has_reason_to_turn(scope) {
            self.event_loop.turns.set(self.event_loop.turns.get() + 1);
            self.advance_clock();
            self.run_own_timers(scope);
            self.run_timers(scope);
            self.run_completions(scope);
            crate::engine::run_foreground_tasks(scope, |scope| self.drain(scope));
            self.run_immediates(scope);
            self.run_closing(scope);
            if self.is_ending() || !self.has_reason_to_turn(scope) {
                return;
            }
            self.sleep(scope);
        }
    }

    /// Whether another turn may find work. Like libuv's, a loop that nothing keeps alive does not turn even once.
    fn has_reason_to_turn(&self, scope: &mut v8::PinScope<'_, '_>) -> bool {
        self.is_alive()
            || !self.event_loop.inbox.is_empty()
            || crate::engine::has_foreground_tasks(scope)
            || scope.has_pending_background_tasks()
    }

    fn run_own_timers(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        let now = self.loop_now();
        let mut due = Vec::new();
        {
            let mut timers = self.event_loop.own_timers.borrow_mut();
            #[expect(
                clippy::cast_precision_loss,
                reason = "milliseconds of a process's life"
            )]
            while let Some(first) = timers
                .first_entry()
                .filter(|first| first.key().0 as f64 <= now)
            {
                due.push(first.remove());
            }
        }
        for task in due {
            v8::scope!(let scope, scope);
            task(scope, self);
        }
    }

    /// Microtasks and ticks, as after any callback.
    pub fn drain(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        v8::scope!(let scope, scope);
        if let Some(process) = self.process_object(scope) {
            self.in_callback_scope(scope, process, AsyncContext::default(), |scope| {
                Some(v8::undefined(scope).into())
            });
        }
    }

    fn sleep(&self, scope: &mut v8::PinScope<'_, '_>) {
        let work = &self.event_loop;
        if crate::engine::has_foreground_tasks(scope)
            || work.immediate_ref.get()
            || !work.completions.borrow().is_empty()
            || !work.idle_completions.borrow().is_empty()
            || !work.immediates.borrow().is_empty()
            || !work.closing.borrow().is_empty()
        {
            return;
        }
        let mut deadline = work.timer_due.get().map(|due| self.clock().instant_of(due));
        if let Some(due) = crate::engine::next_delayed_task(scope) {
            deadline = Some(deadline.map_or(due, |deadline| deadline.min(due)));
        }
        if scope.has_pending_background_tasks() {
            // Its end posts a task, which wakes the loop; this is for work that ends without one.
            let soon = Instant::now() + BACKGROUND_POLL;
            deadline = Some(deadline.map_or(soon, |deadline| deadline.min(soon)));
        }
        if let Some(((due, _), _)) = work.own_timers.borrow().first_key_value() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "milliseconds of a process's life"
            )]
            let due = self.clock().instant_of(*due as f64);
            deadline = Some(deadline.map_or(due, |deadline| deadline.min(due)));
        }
        let rest = work
            .idle
            .rest_at()
            .filter(|rest| deadline.is_none_or(|deadline| *rest < deadline));
        work.shared.loop_times.falls_asleep();
        work.inbox.wait(rest.or(deadline));
        work.shared.loop_times.wakes();
        if rest.is_some_and(|rest| rest <= Instant::now()) && !self.is_ending() {
            work.idle.rest(scope, self.memory_account().as_deref());
        } else {
            work.idle.wake();
        }
    }

    fn run_timers(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        let Some(due) = self.event_loop.timer_due.get() else {
            return;
        };
        let now = self.loop_now();
        if now < due || self.is_ending() {
            return;
        }
        self.event_loop.timer_due.set(None);
        let begun = self.trace_time();
        v8::scope!(let scope, scope);
        let (Some(process), Some(run)) = (
            self.process_object(scope),
            self.function(scope, "processTimers"),
        ) else {
            return;
        };
        self.in_callback_scope(scope, process, AsyncContext::default(), |scope| {
            // An exception that the guest handled leaves due timers: go on with them, as Node does.
            let next = loop {
                let now = v8::Number::new(scope, self.loop_now()).into();
                match self.guarded(scope, |scope| run.call(scope, process.into(), &[now])) {
                    Some(next) => break next,
                    None if self.is_ending() => return None,
                    None => {}
                }
            };
            let expiry = next.number_value(scope).unwrap_or(0.0);
            if expiry == 0.0 {
                self.event_loop.timer_ref.set(false);
            } else {
                let now = self.loop_now();
                self.event_loop
                    .schedule_timer(now, (expiry.abs() - now).max(1.0));
                self.event_loop.timer_ref.set(expiry > 0.0);
            }
            Some(next)
        });
        self.trace_since(begun, ENVIRONMENT, "RunTimers");
    }

    fn run_completions(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        // Only what was ready when the phase began: what a callback starts completes in a later turn.
        let ready = self.event_loop.completions.borrow().len();
        for _ in 0..ready {
            let Some(task) = self.event_loop.completions.borrow_mut().pop_front() else {
                break;
            };
            self.event_loop.events.set(self.event_loop.events.get() + 1);
            v8::scope!(let scope, scope);
            task(scope, self);
            if self.is_ending() {
                return;
            }
        }
        let ready = self.event_loop.idle_completions.borrow().len();
        for _ in 0..ready {
            let Some(task) = self.event_loop.idle_completions.borrow_mut().pop_front() else {
                break;
            };
            v8::scope!(let scope, scope);
            task(scope, self);
        }
        // Ports that answer each other's messages must not keep timers waiting.
        for _ in 0..self.event_loop.inbox.len() {
            let Some(message) = self.event_loop.inbox.take() else {
                break;
            };
            v8::scope!(let scope, scope);
            message(scope, self);
            if self.is_ending() {
                return;
            }
        }
    }

    fn run_immediates(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        let begun = self.trace_time();
        // What these add runs in the next turn.
        for task in self.event_loop.immediates.take() {
            if self.is_ending() {
                return;
            }
            v8::scope!(let scope, scope);
            task(scope, self);
        }
        self.trace_since(begun, ENVIRONMENT, "RunAndClearNativeImmediates");
        v8::scope!(let scope, scope);
        let Some(info) = self.buffer(scope, "timers.immediateInfo") else {
            return;
        };
        if info.get::<u32>(immediate_field::COUNT) == 0 {
            return;
        }
        let budgets = self.extension::<crate::budget::Installed>().get();
        if u64::from(info.get::<u32>(immediate_field::COUNT)) > budgets.timers.max() {
            crate::watchdog::kill(
                self.shared(),
                crate::latch::End::Budget(budgets.timers.option()),
            );
            return;
        }
        let (Some(process), Some(run)) = (
            self.process_object(scope),
            self.function(scope, "processImmediate"),
        ) else {
            return;
        };
        loop {
            self.make_callback(scope, process, run, &[], AsyncContext::default());
            if self.is_ending() || info.get::<u32>(immediate_field::HAS_OUTSTANDING) == 0 {
                break;
            }
        }
        self.trace_since(begun, ENVIRONMENT, "CheckImmediate");
        if info.get::<u32>(immediate_field::REF_COUNT) == 0 {
            self.event_loop.immediate_ref.set(false);
        }
    }

    fn run_closing(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) {
        let ready = self.event_loop.closing.borrow().len();
        for _ in 0..ready {
            let Some(task) = self.event_loop.closing.borrow_mut().pop_front() else {
                return;
            };
            v8::scope!(let scope, scope);
            task(scope, self);
            if self.is_ending() {
                return;
            }
        }
    }
}
