//! V8's inspector for a guest that inspects itself: `node:inspector`, coverage and profiles.
//!
//! ```text
//! internalBinding('inspector') --post--> policy.rs --message of ours--> V8InspectorSession
//!            ^                                                               |
//!            +-------- Link::deliver <---- responses, notifications ---------+
//! internalBinding('profiler'), --cpu-prof, --heap-prof: profiles.rs, over sessions of their own
//! ```
//!
//! Nothing exists before the first session: a process that never inspects itself pays nothing. A session lives in the
//! isolate that it inspects, as Node's `Session.connect()` does; nothing listens and nobody else can connect, so a pause
//! tells its listeners and goes on. What V8 keeps for a session is charged to the process ([`Session::charge`]); what one
//! answer takes is bounded (counted.rs).
//!
//! A listener may end its session while V8 still works for it further up the stack. Such sessions hear nothing more and
//! are dropped where no code of the inspector can be on the stack.
//! Sources: `src/inspector_agent.cc`, `src/inspector_js_api.cc`.

mod counted;
mod cpu_profiler;
mod policy;
pub(crate) mod profiles;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use v8::inspector::{
    Channel, ChannelImpl, StringBuffer, StringView, V8Inspector, V8InspectorClient,
    V8InspectorClientImpl, V8InspectorClientTrustLevel, V8InspectorSession,
};

use crate::allocator::Suspended;
use crate::call_timer::CallTimer;
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::latch::End;
use crate::memory::MemoryBudget;
use crate::throw::Throw;

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(crate) use counted::{giving_back, taking};
pub(crate) use policy::MAX_MESSAGE;
use policy::Verdict;

/// All contexts of an isolate are inspected together.
const GROUP: i32 = 1;
/// What a session costs before it does anything.
const SESSION_BYTES: usize = 64 << 10;
/// What V8 keeps for an object that an answer names.
const REMOTE_OBJECT_BYTES: usize = 512;
/// Groups of remote objects that are counted by name; the others are released with the session.
const MAX_GROUPS: usize = 256;
/// What a message takes for each unit of UTF-16 while it is handed on: UTF-8, and a string of the guest's.
const MESSAGE_COPIES: usize = 4;
/// UTF-16 units of a context's name.
const MAX_CONTEXT_NAME: usize = 256;
/// How an answer names an object.
const OBJECT_ID: &str = "\"objectId\":\"";
/// Told when V8 finds a context dead, in the middle of a garbage collection.
const CONTEXT_DESTROYED: &str = "{\"method\":\"Runtime.executionContextDestroyed\"";

/// The inspector of one isolate.
#[derive(Default)]
pub(crate) struct Agent {
    /// Connected sessions, in the order in which they came.
    sessions: RefCell<Vec<Rc<Session>>>,
    /// Sessions that ended and are dropped later.
    ended: RefCell<Vec<Rc<Session>>>,
    inspector: RefCell<Option<Rc<Inspector>>>,
    /// Dispatches and deliveries on the stack.
    depth: Cell<u32>,
    /// Dispatches alone.
    dispatches: Cell<u32>,
    /// What a listener threw during the innermost dispatch.
    thrown: RefCell<Option<v8::Global<v8::Value>>>,
    /// Whether V8 may call listeners from anywhere: a domain with notifications was enabled.
    notifies: Cell<bool>,
    drops_later: Cell<bool>,
    /// Whether `console` of V8 is being called.
    pub(crate) in_console_call: Cell<bool>,
    /// Contexts of `vm` so far.
    contexts: Cell<u32>,
    /// Asynchronous tasks that were started and have not finished.
    tasks: Cell<u32>,
}

/// V8's inspector; sessions keep it.
struct Inspector {
    v8: V8Inspector,
    /// Dropped after the inspector, which asks for it.
    main: MainContext,
}

/// The main context, for as long as it is asked for.
struct MainContext {
    isolate: v8::UnsafeRawIsolatePtr,
    slot: NonNull<v8::Context>,
}

impl Drop for MainContext {
    fn drop(&mut self) {
        // SAFETY: the isolate lives until every session and the agent are gone, see `shut_down`; the handle was made by
        // `into_raw` and is given back once.
        drop(unsafe {
            let mut isolate = v8::Isolate::from_raw_isolate_ptr(self.isolate);
            v8::Global::from_raw(&mut isolate, self.slot)
        });
    }
}

/// What V8 asks its embedder.
struct Client {
    main: NonNull<v8::Context>,
}

impl V8InspectorClientImpl for Client {
    fn ensure_default_context_in_group(&self, _group: i32) -> Option<v8::Local<'_, v8::Context>> {
        // SAFETY: a local handle is the address of a slot that holds the object, and so is a global one; this one lives
        // as long as the inspector, which is the only one to ask.
        Some(unsafe {
            std::mem::transmute::<NonNull<v8::Context>, v8::Local<'_, v8::Context>>(self.main)
        })
    }

    fn resource_name_to_url(&self, name: &StringView) -> Option<v8::UniquePtr<StringBuffer>> {
        let _uncounted = Suspended::new();
        let text = name.to_string();
        let url = file_url(&text)?;
        Some(StringBuffer::create(StringView::from(url.as_bytes())))
    }
}

/// The URL of an absolute path, in ASCII.
fn file_url(path: &str) -> Option<String> {
    use std::fmt::Write as _;
    if !path.starts_with('/') {
        return None;
    }
    let mut url = String::with_capacity(path.len() + 16);
    url.push_str("file://");
    for byte in path.bytes() {
        match byte {
            b'\0'..=b' '
            | b'"'
            | b'#'
            | b'%'
            | b'<'
            | b'>'
            | b'?'
            | b'\\'
            | b'`'
            | b'{'
            | b'}'
            | 0x7f.. => {
                let _ = write!(url, "%{byte:02X}");
            }
            _ => url.push(char::from(byte)),
        }
    }
    Some(url)
}

/// Who hears what a session says.
pub(crate) enum Listener {
    /// A function of the guest, called with each message as text.
    Guest {
        callback: v8::Global<v8::Function>,
        receiver: v8::Global<v8::Object>,
        context: AsyncContext,
    },
    /// Our own code, which takes the answers.
    Answers(RefCell<Vec<(i32, String)>>),
}

/// One session.
pub(crate) struct Session {
    link: Rc<Link>,
    cpu: cpu_profiler::CpuProfiler,
    /// V8's session, which is dropped before the inspector that it is of.
    v8: RefCell<Option<(V8InspectorSession, Rc<Inspector>)>>,
}

/// What a session and its channel have in common.
struct Link {
    isolate: v8::UnsafeRawIsolatePtr,
    listener: Listener,
    has_ended: Cell<bool>,
    budget: Option<Arc<MemoryBudget>>,
    charged: Cell<usize>,
    /// Remote objects by their group.
    objects: RefCell<HashMap<String, usize>>,
    /// The group of those that the running dispatch makes.
    group: RefCell<String>,
    /// The number of the request whose answer holds a time of the host's clock.
    timed: Cell<Option<i32>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.release_native(self.charged.get());
        }
    }
}

impl Link {
    /// Charges what V8 keeps for the session; the process ends when it may not have it.
    fn charge(&self, bytes: usize) {
        let Some(budget) = &self.budget else { return };
        if budget.take_native(bytes) {
            self.charged.set(self.charged.get().saturating_add(bytes));
        }
    }

    fn release(&self, bytes: usize) {
        let Some(budget) = &self.budget else { return };
        let bytes = bytes.min(self.charged.get());
        self.charged.set(self.charged.get() - bytes);
        budget.release_native(bytes);
    }

    fn note_objects(&self, text: &str) {
        let count = text.matches(OBJECT_ID).count();
        if count == 0 {
            return;
        }
        self.charge(count.saturating_mul(REMOTE_OBJECT_BYTES));
        let mut objects = self.objects.borrow_mut();
        let group = self.group.borrow();
        if objects.len() < MAX_GROUPS || objects.contains_key(group.as_str()) {
            *objects.entry(group.clone()).or_default() += count;
        }
    }

    fn release_group(&self, group: &str) {
        // Objects without a group are in none that could be released.
        if group.is_empty() {
            return;
        }
        if let Some(count) = self.objects.borrow_mut().remove(group) {
            self.release(count.saturating_mul(REMOTE_OBJECT_BYTES));
        }
    }

    /// A message of V8's; `id` is that of the request which it answers.
    fn hear(&self, id: Option<i32>, message: Option<&StringBuffer>) {
        let _uncounted = Suspended::new();
        // An unwinding would end the OS process here.
        let heard = catch_unwind(AssertUnwindSafe(|| {
            let Some(message) = message.filter(|_| !self.has_ended.get()) else {
                return;
            };
            // SAFETY: V8 calls this on the isolate's thread, with the isolate alive.
            let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(self.isolate) };
            let env = Env::of(&isolate);
            if env.is_ending() {
                return;
            }
            let bytes = message.string().len().saturating_mul(MESSAGE_COPIES);
            let budget = self.budget.as_ref();
            let Ok(_charge) = budget.map(|budget| budget.charge_native(bytes)).transpose() else {
                return;
            };
            let mut text = message.string().to_string();
            if id.is_some() && id == self.timed.get() {
                replace_timestamp(&mut text, env.clock().monotonic().as_secs_f64());
            }
            self.note_objects(&text);
            if text.starts_with("{\"method\":\"Debugger.script") {
                self.charge(text.len().saturating_mul(2));
            }
            if let Listener::Answers(answers) = &self.listener {
                if let Some(id) = id {
                    answers.borrow_mut().push((id, text));
                }
                return;
            }
            v8::scope!(let scope, &mut isolate);
            let Some(context) = env.context(scope) else {
                return;
            };
            let scope = &mut v8::ContextScope::new(scope, context);
            self.deliver(scope, &env, &text);
        }));
        if let Err(panic) = heard {
            // SAFETY: as above.
            let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(self.isolate) };
            let env = Env::of(&isolate);
            v8::scope!(let scope, &mut isolate);
            if let Some(context) = env.context(scope) {
                let scope = &mut v8::ContextScope::new(scope, context);
                env.condemn(scope, panic.as_ref());
            }
        }
    }

    /// Calls the guest's listener with a message.
    fn deliver(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, text: &str) {
        let Listener::Guest {
            callback,
            receiver,
            context,
        } = &self.listener
        else {
            return;
        };
        if self.has_ended.get() || env.is_ending() {
            return;
        }
        v8::scope!(let scope, scope);
        let Some(argument) = v8::String::new(scope, text) else {
            return;
        };
        let callback = v8::Local::new(scope, callback);
        let receiver = v8::Local::new(scope, receiver);
        let agent = env.extension::<Agent>();
        let _inside = Depth::enter(&agent.depth);
        // Ticks wait until V8 is done with what it tells.
        let _ticks = Depth::enter(&env.callback_depth);
        if agent.dispatches.get() == 0 {
            env.make_callback(scope, receiver, callback, &[argument.into()], *context);
        } else {
            v8::tc_scope!(catch, scope);
            env.call_nested(catch, receiver, callback, &[argument.into()], *context);
            if let Some(exception) = catch.exception().filter(|_| !catch.has_terminated()) {
                // V8 has to go on; whoever asked gets it afterwards.
                let exception = v8::Global::new(catch, exception);
                agent.thrown.borrow_mut().get_or_insert(exception);
            }
        }
        if env.is_ending() {
            scope.terminate_execution();
        }
    }
}

/// Puts `seconds` in the place of the host's time at the end of an answer.
fn replace_timestamp(text: &mut String, seconds: f64) {
    const KEY: &str = "\"timestamp\":";
    let Some(start) = text.rfind(KEY).map(|at| at + KEY.len()) else {
        return;
    };
    let Some(length) = text.get(start..).and_then(|rest| rest.find(['}', ','])) else {
        return;
    };
    text.replace_range(start..start + length, &seconds.to_string());
}

/// Counts one level up until it is dropped.
struct Depth<'a>(&'a Cell<u32>);

impl<'a> Depth<'a> {
    fn enter(depth: &'a Cell<u32>) -> Self {
        depth.set(depth.get().saturating_add(1));
        Self(depth)
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Where V8 puts the messages of a session.
struct Wire(Weak<Link>);

impl Wire {
    fn hear(&self, id: Option<i32>, mut message: v8::UniquePtr<StringBuffer>) {
        let Some(link) = self.0.upgrade() else { return };
        let message = message.as_mut().map(|message| &**message);
        if id.is_none() && is_of_a_collection(message) {
            later(&link, message);
            return;
        }
        link.hear(id, message);
    }
}

fn is_of_a_collection(message: Option<&StringBuffer>) -> bool {
    message.is_some_and(|message| {
        let start = message.string().into_iter().take(CONTEXT_DESTROYED.len());
        start.eq(CONTEXT_DESTROYED.encode_utf16())
    })
}

/// Tells in the loop what must not run code of the guest now.
fn later(link: &Rc<Link>, message: Option<&StringBuffer>) {
    let _uncounted = Suspended::new();
    let Some(text) = message.map(|message| message.string().to_string()) else {
        return;
    };
    if link.has_ended.get() {
        return;
    }
    // SAFETY: V8 calls this on the isolate's thread, with the isolate alive.
    let isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(link.isolate) };
    let link = link.clone();
    Env::of(&isolate)
        .event_loop
        .complete_unref(Box::new(move |scope, env| link.deliver(scope, env, &text)));
}

impl ChannelImpl for Wire {
    fn send_response(&self, id: i32, message: v8::UniquePtr<StringBuffer>) {
        self.hear(Some(id), message);
    }

    fn send_notification(&self, message: v8::UniquePtr<StringBuffer>) {
        self.hear(None, message);
    }

    fn flush_protocol_notifications(&self) {}
}

impl Agent {
    /// Whether somebody is connected.
    pub fn is_active(&self) -> bool {
        !self.sessions.borrow().is_empty()
    }

    /// V8's inspector, made now if there was none.
    fn inspector(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Env,
    ) -> Result<Rc<Inspector>, Throw> {
        if let Some(inspector) = self.inspector.borrow().as_ref() {
            return Ok(inspector.clone());
        }
        let context = env.context(scope).ok_or(Throw::Pending)?;
        let slot = v8::Global::new(scope, context).into_raw();
        let client = V8InspectorClient::new(Box::new(Client { main: slot }));
        let inspector = Rc::new(Inspector {
            v8: V8Inspector::create(scope, client),
            main: MainContext {
                // SAFETY: only the address is taken.
                isolate: unsafe { scope.as_raw_isolate_ptr() },
                slot,
            },
        });
        let thread = env.extension::<crate::threads::Thread>();
        let name = match thread.worker() {
            Some(worker) => format!("Worker[{}]", worker.id),
            None => format!("node[{}]", env.options().pid),
        };
        inspector.v8.context_created(
            context,
            GROUP,
            StringView::from(name.as_bytes()),
            StringView::from(&br#"{"isDefault":true}"#[..]),
        );
        self.inspector.replace(Some(inspector.clone()));
        Ok(inspector)
    }

    /// Starts a session.
    ///
    /// # Errors
    /// When Node's permission model forbids it, or there is no memory for it.
    pub fn connect(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        listener: Listener,
    ) -> Result<Rc<Session>, Throw> {
        env.require_permission(crate::permission_model::Scope::Inspector, b"Connect")?;
        self.drop_ended(env);
        let inspector = self.inspector(scope, env)?;
        let link = Rc::new(Link {
            isolate: inspector.main.isolate,
            listener,
            has_ended: Cell::new(false),
            budget: env.memory_account(),
            charged: Cell::new(0),
            objects: RefCell::default(),
            group: RefCell::default(),
            timed: Cell::new(None),
        });
        link.charge(SESSION_BYTES);
        if env.is_ending() {
            return Err(env.end(scope, End::Memory("native")));
        }
        let session = inspector.v8.connect(
            GROUP,
            Channel::new(Box::new(Wire(Rc::downgrade(&link)))),
            StringView::empty(),
            V8InspectorClientTrustLevel::FullyTrusted,
        );
        let session = Rc::new(Session {
            link,
            cpu: cpu_profiler::CpuProfiler::default(),
            v8: RefCell::new(Some((session, inspector))),
        });
        self.sessions.borrow_mut().push(session.clone());
        env.inspected.set(true);
        Ok(session)
    }

    /// Ends a session.
    pub fn disconnect(&self, env: &Rc<Env>, session: &Rc<Session>) {
        if session.link.has_ended.replace(true) {
            return;
        }
        session.cpu.stop();
        self.sessions
            .borrow_mut()
            .retain(|known| !Rc::ptr_eq(known, session));
        env.inspected.set(self.is_active());
        self.ended.borrow_mut().push(session.clone());
        self.drop_ended(env);
    }

    /// Drops the sessions that ended, or sees to it that the loop does.
    fn drop_ended(&self, env: &Rc<Env>) {
        if self.ended.borrow().is_empty() {
            return;
        }
        if self.depth.get() == 0 && !self.notifies.get() {
            self.drop_all_ended();
        } else if !self.drops_later.replace(true) {
            // No code of the inspector is on the stack of the loop.
            env.event_loop.complete_unref(Box::new(|_, env| {
                let agent = env.extension::<Self>();
                agent.drops_later.set(false);
                if agent.depth.get() == 0 {
                    agent.drop_all_ended();
                    if !agent.is_active() {
                        agent.notifies.set(false);
                    }
                }
            }));
        }
    }

    fn drop_all_ended(&self) {
        let ended = self.ended.take();
        for session in &ended {
            let gone = session.v8.take();
            drop(gone);
        }
    }

    /// Tells of a context that `vm` made.
    pub fn context_created(&self, context: v8::Local<'_, v8::Context>, name: &str) {
        let inspector = self.inspector.borrow().clone();
        let Some(inspector) = inspector else { return };
        let number = self.contexts.get().saturating_add(1);
        self.contexts.set(number);
        let own;
        let name = if name.is_empty() {
            own = format!("VM Context {number}");
            &own
        } else {
            name
        };
        // V8 keeps it until the context is collected.
        let name: Vec<u16> = name.encode_utf16().take(MAX_CONTEXT_NAME).collect();
        let _inside = Depth::enter(&self.depth);
        inspector.v8.context_created(
            context,
            GROUP,
            StringView::from(name.as_slice()),
            StringView::from(&br#"{"isDefault":false}"#[..]),
        );
    }

    /// Tells of asynchronous work, by its async id.
    pub fn note_task(&self, event: TaskEvent<'_>) {
        /// As many as JavaScript's own stack of ids holds.
        const MOST: u32 = 1 << 16;
        let inspector = self.inspector.borrow().clone();
        let Some(inspector) = inspector else { return };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "ids are whole numbers; others name no task"
        )]
        // V8 takes even numbers for tasks of its embedder, and never looks behind them.
        let task = |id: f64| {
            std::ptr::without_provenance::<std::ffi::c_void>(
                (id as i64).cast_unsigned() as usize * 2,
            )
        };
        let _inside = Depth::enter(&self.depth);
        // SAFETY: V8 compares the pointers only.
        unsafe {
            match event {
                TaskEvent::Scheduled(name, id) => {
                    let name: Vec<u16> = name.encode_utf16().take(256).collect();
                    let name = StringView::from(name.as_slice());
                    inspector.v8.async_task_scheduled(name, task(id), true);
                }
                TaskEvent::Canceled(id) => inspector.v8.async_task_canceled(task(id)),
                TaskEvent::Started(id) => {
                    if self.tasks.get() < MOST {
                        self.tasks.set(self.tasks.get() + 1);
                        inspector.v8.async_task_started(task(id));
                    }
                }
                TaskEvent::Finished(id) => {
                    self.tasks.set(self.tasks.get().saturating_sub(1));
                    inspector.v8.async_task_finished(task(id));
                }
            }
        }
    }

    /// Drops everything of V8's inspector. Must come before the isolate is disposed of.
    fn shut_down(&self) {
        let sessions = self.sessions.take();
        for session in &sessions {
            session.link.has_ended.set(true);
            session.cpu.stop();
        }
        self.drop_all_ended();
        for session in sessions {
            let gone = session.v8.take();
            drop(gone);
        }
        let inspector = self.inspector.take();
        drop(inspector);
    }
}

/// What happens to asynchronous work.
pub(crate) enum TaskEvent<'a> {
    /// It was scheduled, under a name.
    Scheduled(&'a str, f64),
    /// It will not run again.
    Canceled(f64),
    /// Its callback begins.
    Started(f64),
    /// Its callback has ended.
    Finished(f64),
}

/// Drops what V8's inspector has in this isolate.
pub(crate) fn shut_down(isolate: &mut v8::OwnedIsolate, env: &Rc<Env>) {
    let agent = env.extension::<Agent>();
    if agent.inspector.borrow().is_none() {
        return;
    }
    v8::scope!(let scope, isolate);
    if let Some(context) = env.context(scope) {
        let _scope = &mut v8::ContextScope::new(scope, context);
        agent.shut_down();
    }
}

impl Session {
    /// Hands a message to whom it is for; answers come to the listener, most of them before this returns.
    ///
    /// # Errors
    /// When the process is to end.
    pub fn dispatch(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        text: &str,
    ) -> Result<(), Throw> {
        if self.link.has_ended.get() {
            return Ok(());
        }
        let agent = env.extension::<Agent>();
        let dispatching = Depth::enter(&agent.dispatches);
        match policy::judge(text) {
            Verdict::Answer(answer) => self.link.deliver(scope, env, &answer),
            Verdict::Profile(id, request) => {
                let answer = self.cpu.answer(scope, env, id, request);
                if let Listener::Answers(answers) = &self.link.listener {
                    answers.borrow_mut().push((id, answer));
                } else {
                    self.link.deliver(scope, env, &answer);
                }
            }
            Verdict::Forward(request) => self.forward(scope, env, &request),
        }
        drop(dispatching);
        agent.drop_ended(env);
        let thrown = agent.thrown.take();
        if env.is_ending() {
            // The end that is set already stays.
            return Err(env.end(scope, End::Exit(0)));
        }
        crate::call_timer::insist(env, scope);
        if let Some(thrown) = thrown {
            let exception = v8::Local::new(scope, thrown);
            scope.throw_exception(exception);
            return Err(Throw::Pending);
        }
        Ok(())
    }

    fn forward(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, request: &policy::Request) {
        let agent = env.extension::<Agent>();
        let link = &self.link;
        link.charge(request.kept_bytes);
        if env.is_ending() {
            return;
        }
        match request.method {
            "Runtime.enable" | "Console.enable" | "Debugger.enable" | "Runtime.addBinding" => {
                agent.notifies.set(true);
            }
            "Runtime.releaseObjectGroup" => link.release_group(&request.object_group),
            "Profiler.startPreciseCoverage" | "Profiler.takePreciseCoverage" => {
                link.timed.set(Some(request.id));
            }
            _ => {}
        }
        let group = link.group.replace(request.object_group.clone());
        let message: Vec<u16> = request.text.encode_utf16().collect();
        let timer = request
            .timeout
            .and_then(|timeout| CallTimer::start(env, timeout));
        {
            let _inside = Depth::enter(&agent.depth);
            let session = self.v8.borrow();
            if let Some((session, _)) = session.as_ref() {
                let _count = counted::Count::begin();
                session.dispatch_protocol_message(StringView::from(message.as_slice()));
            }
        }
        // V8 has answered by itself that the evaluation was ended.
        let _ = timer.map(|timer| timer.stop(env, scope));
        link.group.replace(group);
        if let Some(depth) = request.async_depth {
            follow_tasks(scope, env, depth > 0);
        }
    }

    /// The answer to a request of our own: its `result` as JSON.
    fn request(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        id: i32,
        method: &str,
        params: &serde_json::Value,
    ) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            result: &'a serde_json::value::RawValue,
        }
        let message = serde_json::json!({ "id": id, "method": method, "params": params });
        self.dispatch(scope, env, &message.to_string()).ok()?;
        let Listener::Answers(answers) = &self.link.listener else {
            return None;
        };
        let (_, text) = answers.take().into_iter().find(|(known, _)| *known == id)?;
        let answer: Answer = serde_json::from_str(&text).ok()?;
        Some(answer.result.get().to_owned())
    }
}

/// Switches the library's hook on or off that tells V8 of asynchronous work.
fn follow_tasks(scope: &mut v8::PinScope<'_, '_>, env: &Env, follows: bool) {
    let name = if follows {
        "inspector.enableAsyncHook"
    } else {
        "inspector.disableAsyncHook"
    };
    if let Some(function) = env.function(scope, name) {
        let undefined = v8::undefined(scope).into();
        env.guarded(scope, |scope| function.call(scope, undefined, &[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_paths_are_those_of_node() {
        assert_eq!(
            file_url("/a b/ü#.js").unwrap(),
            "file:///a%20b/%C3%BC%23.js"
        );
        assert_eq!(file_url("node:fs"), None);
    }

    #[test]
    fn only_the_last_timestamp_is_replaced() {
        let mut text =
            r#"{"id":1,"result":{"result":[{"url":"\"timestamp\":1}"}],"timestamp":9.5}}"#
                .to_owned();
        replace_timestamp(&mut text, 2.0);
        assert!(text.ends_with(r#"],"timestamp":2}}"#), "{text}");
    }
}
