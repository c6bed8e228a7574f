//! Trace events (`--trace-event-categories`, `trace_events.createTracing`) and the file that they go to. Sources:
//! `src/tracing/`, V8's JSON trace writer.
//!
//! One tracer serves all threads of a process. Events become text at once, in a buffer of bounded size that goes to the
//! process's file in its own file system whenever it is full, and when the process exits.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secure_exec_kernel::{Kernel, Process, normalize, oflag};
use serde_json::json;

use crate::bindings::options;
use crate::env::Env;
use crate::threads::Thread;

/// Categories of the environment and its loop.
pub const ENVIRONMENT: &str = "node,node.environment";
/// Categories of Node's start.
pub const BOOTSTRAP: &str = "node,node.bootstrap";
/// Categories of scripts of `vm`.
pub const VM_SCRIPT: &str = "node,node.vm,node.vm.script";
/// Categories of calls of `fs` that answer at once.
pub const FS_SYNC: &str = "node,node.fs,node.fs.sync";
/// Categories of other calls of `fs`.
pub const FS_ASYNC: &str = "node,node.fs,node.fs.async";
/// Categories of calls on open directories.
pub const FS_DIR_ASYNC: &str = "node,node.fs_dir,node.fs_dir.async";
/// Categories of sockets.
pub const NET_NATIVE: &str = "node,node.net,node.net.native";
/// Categories of promises.
pub const REJECTIONS: &str = "node,node.promises,node.promises.rejections";
/// Categories of resources of `async_hooks`.
pub const ASYNC_HOOKS: &str = "node,node.async_hooks";
const WORK_SYNC: &str = "node,node.threadpoolwork,node.threadpoolwork.sync";
const WORK_ASYNC: &str = "node,node.threadpoolwork,node.threadpoolwork.async";
const METADATA: &str = "__metadata";

/// Categories that all sets of a process hold together at most, and the bytes of a name.
pub const MAX_CATEGORIES: usize = 4096;
/// A larger event is left out.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Text that waits for its file.
const BUFFER_BYTES: usize = 1 << 20;
/// Events of one file.
const EVENTS_OF_FILE: u64 = 1 << 19;
/// Resources whose types are remembered for their later events.
const MAX_RESOURCES: usize = 1 << 16;

#[derive(Default)]
struct State {
    /// How often each category is enabled.
    categories: BTreeMap<String, usize>,
    /// Where files are made, and how they are named.
    folder: Vec<u8>,
    pattern: String,
    /// The file that is written.
    file: Option<String>,
    rotation: u64,
    events: u64,
    buffer: String,
    has_ended: bool,
}

/// See the module's text.
#[derive(Default)]
pub struct Tracer {
    active: AtomicBool,
    state: Mutex<State>,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

/// One event.
pub struct Event<'a> {
    /// As in the trace event format.
    pub phase: char,
    /// Categories, separated by commas.
    pub categories: &'a str,
    /// Its name.
    pub name: &'a str,
    /// When it began, on the process's clock.
    pub at: Duration,
    /// How long it took; for complete events.
    pub duration: Duration,
    /// What joins it to others.
    pub id: Option<u64>,
    /// JSON of its arguments.
    pub args: String,
}

impl<'a> Event<'a> {
    /// An event of this moment without arguments.
    pub fn now(env: &Env, phase: char, categories: &'a str, name: &'a str) -> Self {
        Self {
            phase,
            categories,
            name,
            at: env.clock().elapsed(),
            duration: Duration::ZERO,
            id: None,
            args: "{}".to_owned(),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name as it stands in the file: the library escapes its names itself, as V8 writes them unchanged.
fn quoted_name(name: &str) -> String {
    let whole = format!("\"{name}\"");
    match serde_json::from_str::<String>(&whole) {
        Ok(_) => whole,
        Err(_) => quoted(name),
    }
}

impl State {
    fn is_enabled(&self, group: &str) -> bool {
        !self.has_ended
            && group
                .split(',')
                .any(|category| self.categories.contains_key(category.trim()))
    }

    fn push(&mut self, pid: u32, tid: u64, event: &Event<'_>) {
        let id = event.id.map(|id| format!(",\"id\":\"0x{id:x}\""));
        // Instants are of their thread.
        let scope = if event.phase == 'I' {
            ",\"s\":\"t\""
        } else {
            ""
        };
        if event.args.len() + event.name.len() + event.categories.len() > MAX_EVENT_BYTES {
            return;
        }
        if !self.buffer.is_empty() {
            self.buffer.push_str(",\n");
        }
        // Writing to a string cannot fail.
        let _ = write!(
            self.buffer,
            "{{\"pid\":{pid},\"tid\":{tid},\"ts\":{},\"tts\":0,\"ph\":{},\"cat\":{},\"name\":{},\"dur\":{},\"tdur\":0{}{scope},\"args\":{}}}",
            event.at.as_micros(),
            quoted(&event.phase.to_string()),
            quoted(event.categories),
            quoted_name(event.name),
            event.duration.as_micros(),
            id.unwrap_or_default(),
            event.args,
        );
        self.events += 1;
    }

    /// Writes what waits; `last` closes the file.
    fn write(&mut self, kernel: &Kernel, process: &Process, last: bool) {
        let append = oflag::O_WRONLY | oflag::O_APPEND;
        let create = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;
        let (mut text, flags) = match &self.file {
            Some(_) => (String::new(), append),
            None => ("{\"traceEvents\":[".to_owned(), create),
        };
        if self.file.is_some() && !self.buffer.is_empty() {
            text.push_str(",\n");
        }
        text.push_str(&std::mem::take(&mut self.buffer));
        let ends = last || self.events >= EVENTS_OF_FILE;
        if ends {
            text.push_str("]}");
        }
        let file = self.file.take().unwrap_or_else(|| {
            self.rotation += 1;
            let name = self
                .pattern
                .replace("${pid}", &process.pid().to_string())
                .replace("${rotation}", &self.rotation.to_string());
            let path = normalize(&self.folder, name.as_bytes());
            String::from_utf8_lossy(&path).into_owned()
        });
        // What cannot be written is lost, as in Node; the next try makes a file of its own.
        if kernel
            .write_file(process, file.as_bytes(), text.as_bytes(), flags, 0o644)
            .is_ok()
            && !ends
        {
            self.file = Some(file);
        }
        if ends {
            self.events = 0;
        }
    }
}

impl Tracer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any category was ever enabled.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether one of these categories, which commas separate, is enabled.
    pub fn is_enabled(&self, group: &str) -> bool {
        self.is_active() && self.lock().is_enabled(group)
    }

    /// The enabled categories.
    pub fn categories(&self) -> Vec<String> {
        self.lock().categories.keys().cloned().collect()
    }
}

/// Resources of one thread by their ids, for events that come after their first one.
#[derive(Default)]
struct Resources(RefCell<HashMap<u64, String>>);

fn thread_id(env: &Env) -> u64 {
    let thread = env.extension::<Thread>();
    let worker = thread.worker().map_or(0, |worker| worker.id);
    u64::from(env.options().pid) + worker
}

impl Env {
    /// Whether anything is traced: what costs little to ask.
    pub fn traces(&self) -> bool {
        self.tracer().is_some_and(|tracer| tracer.is_active())
    }

    /// Starts tracing when the options ask for it.
    pub fn trace_from_options(&self) {
        let given = options::text(self, "--trace-event-categories").unwrap_or_default();
        if given.is_empty() {
            return;
        }
        let categories: Vec<String> = given.split(',').map(str::to_owned).collect();
        self.enable_tracing(&categories);
        let id = 0;
        let begun = Event {
            id: Some(id),
            ..Event::now(self, 'b', ENVIRONMENT, "Environment")
        };
        self.trace(&begun);
    }

    /// Enables categories; `false` when there would be too many.
    pub fn enable_tracing(&self, categories: &[String]) -> bool {
        let (Some(tracer), Ok(kernel), Ok(process)) =
            (self.tracer(), self.kernel(), self.process())
        else {
            return false;
        };
        let mut state = tracer.lock();
        if state.categories.len() + categories.len() > MAX_CATEGORIES {
            return false;
        }
        for category in categories {
            *state.categories.entry(category.clone()).or_default() += 1;
        }
        if !tracer.active.swap(true, Ordering::Relaxed) {
            state.folder = kernel.getcwd(&process).unwrap_or_else(|_| b"/".to_vec());
            state.pattern = options::text(self, "--trace-event-file-pattern").unwrap_or_default();
            drop(state);
            self.trace_metadata();
        }
        true
    }

    /// Takes back what [`Self::enable_tracing`] did.
    pub fn disable_tracing(&self, categories: &[String]) {
        let Some(tracer) = self.tracer() else { return };
        let mut state = tracer.lock();
        for category in categories {
            if let Some(count) = state.categories.get_mut(category) {
                *count -= 1;
                if *count == 0 {
                    state.categories.remove(category);
                }
            }
        }
    }

    fn trace_metadata(&self) {
        let versions: serde_json::Map<_, _> = crate::bindings::process_methods::VERSIONS
            .iter()
            .map(|(name, version)| ((*name).to_owned(), json!(version)))
            .collect();
        self.write_metadata("version", &json!({ "node": crate::realm::NODE_VERSION }));
        self.write_metadata(
            "node",
            &json!({ "process": {
                "versions": versions, "arch": "x64", "platform": "linux",
                "release": { "name": "node", "lts": "Jod" },
            } }),
        );
        self.trace_thread_name("JavaScriptMainThread");
    }

    /// Tells the name of this thread.
    pub fn trace_thread_name(&self, name: &str) {
        self.write_metadata("thread_name", &json!({ "name": name }));
    }

    fn write_metadata(&self, name: &str, args: &serde_json::Value) {
        let event = Event {
            args: args.to_string(),
            ..Event::now(self, 'M', METADATA, name)
        };
        self.write_event(&event, |_| true);
    }

    /// Keeps an event whose categories are enabled; answers whether they are.
    pub fn trace(&self, event: &Event<'_>) -> bool {
        self.traces() && self.write_event(event, |state| state.is_enabled(event.categories))
    }

    fn write_event(&self, event: &Event<'_>, wanted: impl Fn(&State) -> bool) -> bool {
        let Some(tracer) = self.tracer() else {
            return false;
        };
        let mut state = tracer.lock();
        if !wanted(&state) {
            return false;
        }
        state.push(self.options().pid, thread_id(self), event);
        if (state.buffer.len() > BUFFER_BYTES || state.events >= EVENTS_OF_FILE)
            && let (Ok(kernel), Ok(process)) = (self.kernel(), self.process())
        {
            state.write(&kernel, &process, false);
        }
        true
    }

    /// The time to give to [`Self::trace_since`]; `None` when nothing is traced.
    pub fn trace_time(&self) -> Option<Duration> {
        self.traces().then(|| self.clock().elapsed())
    }

    /// What lasted from `begun` until now.
    pub fn trace_since(&self, begun: Option<Duration>, categories: &str, name: &str) {
        let Some(at) = begun else { return };
        let event = Event {
            at,
            duration: self.clock().elapsed().saturating_sub(at),
            ..Event::now(self, 'X', categories, name)
        };
        self.trace(&event);
    }

    /// Work that other threads did since `begun`.
    pub fn trace_work(&self, begun: Option<Duration>, name: &str, id: u64) {
        let Some(at) = begun else { return };
        let now = self.clock().elapsed();
        let (id, no) = (Some(id), None);
        for (phase, at, categories, id) in [
            ('b', at, WORK_ASYNC, id),
            ('B', at, WORK_SYNC, no),
            ('E', now, WORK_SYNC, no),
            ('e', now, WORK_ASYNC, id),
        ] {
            let event = Event {
                at,
                id,
                ..Event::now(self, phase, categories, name)
            };
            self.trace(&event);
        }
    }

    /// A connection that a socket asks for, or gets.
    pub fn trace_connect(&self, phase: char, async_id: f64, args: &serde_json::Value) {
        self.trace(&Event {
            id: Some(resource_id(async_id)),
            args: args.to_string(),
            ..Event::now(self, phase, NET_NATIVE, "connect")
        });
    }

    /// A resource of `async_hooks` that was made.
    pub fn trace_resource(&self, kind: &str, async_id: f64, args: &serde_json::Value) {
        let id = resource_id(async_id);
        let event = Event {
            id: Some(id),
            args: json!({ "data": args }).to_string(),
            ..Event::now(self, 'b', ASYNC_HOOKS, kind)
        };
        if self.trace(&event) {
            let resources = self.extension::<Resources>();
            let mut resources = resources.0.borrow_mut();
            if resources.len() < MAX_RESOURCES {
                resources.insert(id, kind.to_owned());
            }
        }
    }

    /// What happens to a resource: its callback begins or ends, or it is gone.
    pub fn trace_resource_event(&self, async_id: f64, what: ResourceEvent) {
        let id = resource_id(async_id);
        let resources = self.extension::<Resources>();
        let kind = match what {
            ResourceEvent::Destroy => resources.0.borrow_mut().remove(&id),
            _ => resources
                .0
                .borrow()
                .get(&id)
                .map(|kind| format!("{kind}_CALLBACK")),
        };
        let Some(kind) = kind else { return };
        let phase = if what == ResourceEvent::Before {
            'b'
        } else {
            'e'
        };
        let event = Event {
            id: Some(id),
            ..Event::now(self, phase, ASYNC_HOOKS, &kind)
        };
        self.trace(&event);
    }

    /// Writes the rest and closes the file, at the end of the process.
    pub fn end_tracing(&self) {
        let (Some(tracer), Ok(kernel), Ok(process)) =
            (self.tracer(), self.kernel(), self.process())
        else {
            return;
        };
        if !tracer.is_active() {
            return;
        }
        let now = self.trace_time();
        self.trace_since(now, ENVIRONMENT, "RunCleanup");
        self.trace_since(now, ENVIRONMENT, "AtExit");
        let ended = Event {
            id: Some(0),
            ..Event::now(self, 'e', ENVIRONMENT, "Environment")
        };
        self.trace(&ended);
        self.write_metadata(
            "process_name",
            &json!({ "name": crate::bindings::process_methods::title(self) }),
        );
        let mut state = tracer.lock();
        if !std::mem::replace(&mut state.has_ended, true) {
            state.write(&kernel, &process, true);
        }
    }
}

/// What happens to a resource of `async_hooks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceEvent {
    /// Its callback begins.
    Before,
    /// Its callback has ended.
    After,
    /// It is gone.
    Destroy,
}

fn resource_id(async_id: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ids count up from 1"
    )]
    let id = async_id as u64;
    id
}
