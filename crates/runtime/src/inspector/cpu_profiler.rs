//! CPU profiles of a guest, in the place of V8's profiler.
//!
//! V8's takes its samples by signals, whose handler belongs to the whole OS process, keeps memory that nobody counts, and
//! stamps with the host's clock. Here a thread asks for an interrupt now and then, and the guest's thread notes its own
//! stack where it looks at interrupts: at loops and calls. A sample tells how long the code before it ran, so there is
//! none while clocks are frozen.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::policy::{self, CpuProfiler as Request};
use super::{Agent, Depth};
use crate::clock::Mitigation;
use crate::env::Env;
use crate::memory::MemoryBudget;

/// Between two samples, unless the guest says otherwise.
const INTERVAL: Duration = Duration::from_millis(1);
/// Between two samples, at least: the thread that asks is the host's.
const LEAST_INTERVAL: Duration = Duration::from_micros(500);
/// How long to wait for a guest that takes no sample.
const PATIENCE: Duration = Duration::from_millis(50);
/// Frames of a sample.
const MAX_FRAMES: usize = 128;
/// Nodes and samples of one profile; what comes later is not noted.
const MAX_NODES: usize = 1 << 16;
const MAX_SAMPLES: usize = 1 << 20;
/// UTF-8 bytes of a function's name or a script's.
const MAX_NAME: usize = 1024;
/// Profiles that one isolate takes at a time.
const MAX_PROFILES: usize = 4;

/// The CPU profiler of one session.
#[derive(Default)]
pub(super) struct CpuProfiler {
    interval: RefCell<Option<Duration>>,
    running: RefCell<Option<Running>>,
}

struct Running {
    asker: Asker,
    profile: Profile,
}

/// The thread that asks for samples; ends when this is dropped.
struct Asker(Arc<Asking>);

struct Asking {
    isolate: v8::IsolateHandle,
    /// Whether a sample was asked for and not taken.
    waits: AtomicBool,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Asker {
    fn start(isolate: v8::IsolateHandle, interval: Duration) -> Option<Self> {
        let asking = Arc::new(Asking {
            isolate,
            waits: AtomicBool::new(false),
            is_over: Mutex::new(false),
            over: Condvar::new(),
        });
        let own = asking.clone();
        std::thread::Builder::new()
            .name("secure-exec profiler".to_owned())
            .stack_size(64 << 10)
            .spawn(move || own.run(interval))
            .ok()?;
        Some(Self(asking))
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        *self
            .0
            .is_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.0.over.notify_one();
    }
}

impl Asking {
    fn run(&self, interval: Duration) {
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pause = interval;
        loop {
            is_over = self
                .over
                .wait_timeout(is_over, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if *is_over {
                return;
            }
            // A guest that sleeps, or for ever does not look, is not woken.
            pause = if self.waits.swap(true, Ordering::SeqCst) {
                PATIENCE
            } else {
                self.isolate
                    .request_interrupt(take_samples, std::ptr::null_mut());
                interval
            };
        }
    }
}

/// Runs where the guest's code was interrupted.
unsafe extern "C" fn take_samples(isolate: v8::UnsafeRawIsolatePtr, _data: *mut std::ffi::c_void) {
    // SAFETY: V8 calls this with the isolate that was interrupted, on its thread.
    let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    let _uncounted = crate::allocator::Suspended::new();
    let env = Env::of(&isolate);
    v8::scope!(let scope, &mut isolate);
    let Some(context) = env.context(scope) else {
        return;
    };
    let scope = &mut v8::ContextScope::new(scope, context);
    let agent = env.extension::<Agent>();
    let sessions = agent.sessions.borrow().clone();
    // An unwinding would end the OS process here.
    let taken = catch_unwind(AssertUnwindSafe(|| {
        for session in sessions {
            session.cpu.sample(scope, &env);
        }
    }));
    if let Err(panic) = taken {
        env.condemn(scope, panic.as_ref());
    }
}

/// What tells one function from another: its script and its name, or its line when it has none.
type Key = (usize, i32, String, usize);

struct Node {
    function: String,
    script: i32,
    url: String,
    line: usize,
    column: usize,
    hits: u32,
    children: Vec<usize>,
    ticks: BTreeMap<usize, u32>,
}

pub(super) struct Profile {
    nodes: Vec<Node>,
    known: HashMap<Key, usize>,
    /// Node and time in microseconds.
    samples: Vec<(usize, u64)>,
    start: u64,
    budget: Option<Arc<MemoryBudget>>,
    charged: usize,
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.release_native(self.charged);
        }
    }
}

struct Frame {
    function: String,
    script: i32,
    url: String,
    line: usize,
    column: usize,
}

fn now(env: &Env) -> u64 {
    u64::try_from(env.clock().monotonic().as_micros()).unwrap_or(u64::MAX)
}

impl Profile {
    fn new(env: &Env) -> Self {
        let root = Node {
            function: "(root)".to_owned(),
            script: 0,
            url: String::new(),
            line: 0,
            column: 0,
            hits: 0,
            children: Vec::new(),
            ticks: BTreeMap::new(),
        };
        Self {
            nodes: vec![root],
            known: HashMap::new(),
            samples: Vec::new(),
            start: now(env),
            budget: env.memory_account(),
            charged: 0,
        }
    }

    /// Charges `bytes`; the process ends when it may not have them.
    fn charge(&mut self, bytes: usize) -> bool {
        let Some(budget) = &self.budget else {
            return true;
        };
        let may = budget.take_native(bytes);
        if may {
            self.charged += bytes;
        }
        may
    }

    /// Notes a stack, its innermost frame first.
    fn add(&mut self, frames: Vec<Frame>, time: u64) {
        const SAMPLE_BYTES: usize = 2 * size_of::<(usize, u64)>();
        if self.samples.len() >= MAX_SAMPLES || !self.charge(SAMPLE_BYTES) {
            return;
        }
        let line = frames.first().map_or(0, |frame| frame.line);
        let mut at = 0;
        for frame in frames.into_iter().rev() {
            match self.child(at, frame) {
                Some(child) => at = child,
                None => break,
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.hits = node.hits.saturating_add(1);
            if line > 0 {
                *node.ticks.entry(line).or_default() += 1;
            }
        }
        self.samples.push((at, time));
    }

    fn child(&mut self, parent: usize, frame: Frame) -> Option<usize> {
        const NODE_BYTES: usize = 512;
        let line = if frame.function.is_empty() {
            frame.line
        } else {
            0
        };
        let key = (parent, frame.script, frame.function.clone(), line);
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        let bytes = NODE_BYTES + 2 * (frame.function.len() + frame.url.len());
        if self.nodes.len() >= MAX_NODES || !self.charge(bytes) {
            return None;
        }
        let index = self.nodes.len();
        self.nodes.push(Node {
            function: frame.function,
            script: frame.script,
            url: frame.url,
            line: frame.line,
            column: frame.column,
            hits: 0,
            children: Vec::new(),
            ticks: BTreeMap::new(),
        });
        self.known.insert(key, index);
        self.nodes.get_mut(parent)?.children.push(index);
        Some(index)
    }

    /// As the protocol has it.
    fn to_json(&self, end: u64) -> serde_json::Value {
        let nodes = self.nodes.iter().enumerate().map(|(index, node)| {
            let ticks = node.ticks.iter();
            json!({
                "id": index + 1,
                "callFrame": {
                    "functionName": node.function,
                    "scriptId": node.script.to_string(),
                    "url": node.url,
                    "lineNumber": node.line.checked_sub(1).map_or(-1, |line| i64::try_from(line).unwrap_or(-1)),
                    "columnNumber": node.column.checked_sub(1).map_or(-1, |column| i64::try_from(column).unwrap_or(-1)),
                },
                "hitCount": node.hits,
                "children": node.children.iter().map(|child| child + 1).collect::<Vec<_>>(),
                "positionTicks": ticks
                    .map(|(line, ticks)| json!({ "line": line, "ticks": ticks }))
                    .collect::<Vec<_>>(),
            })
        });
        let mut before = self.start;
        let deltas = self.samples.iter().map(|(_, time)| {
            let delta = time.saturating_sub(before);
            before = *time;
            delta
        });
        json!({
            "nodes": nodes.collect::<Vec<_>>(),
            "startTime": self.start,
            "endTime": end,
            "samples": self.samples.iter().map(|(node, _)| node + 1).collect::<Vec<_>>(),
            "timeDeltas": deltas.collect::<Vec<_>>(),
        })
    }
}

/// The stack of JavaScript, its innermost frame first.
fn stack(scope: &mut v8::PinScope<'_, '_>) -> Vec<Frame> {
    v8::scope!(let scope, scope);
    let Some(stack) = v8::StackTrace::current_stack_trace(scope, MAX_FRAMES) else {
        return Vec::new();
    };
    let mut frames = Vec::with_capacity(stack.get_frame_count());
    for index in 0..stack.get_frame_count() {
        let Some(frame) = stack.get_frame(scope, index) else {
            break;
        };
        let function = frame.get_function_name(scope);
        let script = frame.get_script_name_or_source_url(scope);
        let url = name(scope, script);
        frames.push(Frame {
            function: name(scope, function),
            script: i32::try_from(frame.get_script_id()).unwrap_or(0),
            url: super::file_url(&url).unwrap_or(url),
            line: frame.get_line_number(),
            column: frame.get_column(),
        });
    }
    frames
}

fn name(scope: &mut v8::PinScope<'_, '_>, name: Option<v8::Local<v8::String>>) -> String {
    let Some(name) = name else {
        return String::new();
    };
    let mut units = vec![0_u16; name.length().min(MAX_NAME / 4)];
    name.write_v2(scope, 0, &mut units, v8::WriteFlags::empty());
    String::from_utf16_lossy(&units)
}

impl CpuProfiler {
    /// Does what a message asks; the answer to it.
    pub fn answer(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        id: i32,
        request: Request,
    ) -> String {
        let done = match request {
            Request::Interval(micros) => self.set_interval(micros),
            Request::Start => self.start(scope, env),
            Request::Stop => match self.stop() {
                None => Err("No recording profiles found".to_owned()),
                Some(mut profile) => {
                    profile.add(stack(scope), now(env));
                    Ok(json!({ "profile": profile.to_json(now(env)) }))
                }
            },
        };
        match done {
            Ok(result) => json!({ "id": id, "result": result }).to_string(),
            Err(message) => policy::failure(id, &message),
        }
    }

    fn set_interval(&self, micros: u64) -> Result<serde_json::Value, String> {
        if self.running.borrow().is_some() {
            return Err("Cannot change sampling interval when profiling.".to_owned());
        }
        let interval = Duration::from_micros(micros).max(LEAST_INTERVAL);
        self.interval.replace(Some(interval));
        Ok(json!({}))
    }

    fn start(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
    ) -> Result<serde_json::Value, String> {
        if self.running.borrow().is_some() {
            return Ok(json!({}));
        }
        if env.clock().mitigation() == Mitigation::Freeze {
            return Err(
                "CPU profiles need a clock that runs, and clocks are frozen here (option timingMitigation)"
                    .to_owned(),
            );
        }
        let agent = env.extension::<Agent>();
        let sessions = agent.sessions.borrow();
        let running = sessions.iter();
        if running
            .filter(|session| session.cpu.running.borrow().is_some())
            .count()
            >= MAX_PROFILES
        {
            return Err(format!(
                "{MAX_PROFILES} CPU profiles are being taken already"
            ));
        }
        drop(sessions);
        let interval = self.interval.borrow().unwrap_or(INTERVAL);
        let asker = Asker::start(scope.thread_safe_handle(), interval)
            .ok_or_else(|| "No thread can be started for the profiler".to_owned())?;
        let mut profile = Profile::new(env);
        profile.add(stack(scope), now(env));
        self.running.replace(Some(Running { asker, profile }));
        Ok(json!({}))
    }

    /// Ends the profile that is being taken, if there is one.
    pub fn stop(&self) -> Option<Profile> {
        self.running.take().map(|running| running.profile)
    }

    fn sample(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if self.running.borrow().is_none() {
            return;
        }
        let agent = env.extension::<Agent>();
        let _inside = Depth::enter(&agent.depth);
        let frames = stack(scope);
        let time = now(env);
        if let Some(running) = self.running.borrow_mut().as_mut() {
            running.asker.0.waits.store(false, Ordering::SeqCst);
            running.profile.add(frames, time);
        }
    }
}

/// V8's own profiler never starts for a guest, whatever way of the inspector leads to it.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod wrapped {
    use std::ffi::{c_int, c_void};

    use crate::link_wrap::wrap;

    type Pointer = *mut c_void;

    wrap!(
        "_ZN2v811CpuProfiler14StartProfilingENS_5LocalINS_6StringEEENS_19CpuProfilingOptionsENSt4__Cr10unique_ptrINS_24DiscardedSamplesDelegateENS5_14default_deleteIS7_EEEE" =>
        start_profiling,
        fn real_start_profiling(profiler: Pointer, title: Pointer, options: Pointer, delegate: Pointer) -> c_int
    );

    unsafe extern "C" fn start_profiling(
        profiler: Pointer,
        title: Pointer,
        options: Pointer,
        delegate: Pointer,
    ) -> c_int {
        const TOO_MANY_PROFILERS: c_int = 2;
        if crate::fatal::is_guest_thread() {
            return TOO_MANY_PROFILERS;
        }
        // SAFETY: V8's own call, passed on; the ABI passes what has a destructor by its address.
        unsafe { real_start_profiling(profiler, title, options, delegate) }
    }
}
