//! Profiles that a process writes when it ends: coverage (`NODE_V8_COVERAGE`, `v8.takeCoverage()`), `--cpu-prof` and
//! `--heap-prof`. Source: `src/inspector_profiler.cc`.
//!
//! Each has a session of its own, and writes the result of one request to a file of the process's own file system.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use secure_exec_kernel::oflag::{O_CREAT, O_TRUNC, O_WRONLY};
use serde_json::json;

use super::{Agent, Listener, Session};
use crate::bindings::options;
use crate::bindings::report::compact_time;
use crate::env::Env;

/// The profiles of one thread.
#[derive(Default)]
pub(crate) struct Profiles {
    coverage: RefCell<Option<Rc<Session>>>,
    cpu: RefCell<Option<Rc<Session>>>,
    heap: RefCell<Option<Rc<Session>>>,
    /// Number of the last request of ours.
    last_id: Cell<i32>,
    /// Where coverage goes, absolute; empty until the library says so.
    directory: RefCell<String>,
    /// Milliseconds in the name of the last file with coverage.
    last_ms: Cell<u128>,
    has_ended: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Kind {
    Coverage,
    Cpu,
    Heap,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Coverage => "coverage",
            Self::Cpu => "CPU",
            Self::Heap => "heap",
        }
    }

    /// The option, and the beginning and the end of a file's name.
    fn option(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Heap => ("--heap-prof", "Heap", "heapprofile"),
            _ => ("--cpu-prof", "CPU", "cpuprofile"),
        }
    }
}

impl Profiles {
    fn id(&self) -> i32 {
        let id = self.last_id.get().saturating_add(1);
        self.last_id.set(id);
        id
    }

    fn session(&self, kind: Kind) -> Option<Rc<Session>> {
        match kind {
            Kind::Coverage => &self.coverage,
            Kind::Cpu => &self.cpu,
            Kind::Heap => &self.heap,
        }
        .borrow()
        .clone()
    }

    fn connect(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        kind: Kind,
    ) -> Option<Rc<Session>> {
        let agent = env.extension::<Agent>();
        let session = agent
            .connect(scope, env, Listener::Answers(RefCell::default()))
            .ok()?;
        match kind {
            Kind::Coverage => &self.coverage,
            Kind::Cpu => &self.cpu,
            Kind::Heap => &self.heap,
        }
        .replace(Some(session.clone()));
        Some(session)
    }

    fn ask(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        kind: Kind,
        method: &str,
        params: &serde_json::Value,
    ) -> Option<String> {
        let session = self.session(kind)?;
        session.request(scope, env, self.id(), method, params)
    }
}

/// Starts what the options and the environment ask for.
pub(crate) fn start(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let covers = env
        .variables
        .get("NODE_V8_COVERAGE")
        .is_some_and(|directory| !directory.is_empty())
        || options::flag(env, "--experimental-test-coverage");
    let profiles = env.extension::<Profiles>();
    if covers && profiles.connect(scope, env, Kind::Coverage).is_some() {
        let none = json!({});
        profiles.ask(scope, env, Kind::Coverage, "Profiler.enable", &none);
        let params = json!({ "callCount": true, "detailed": true });
        let method = "Profiler.startPreciseCoverage";
        profiles.ask(scope, env, Kind::Coverage, method, &params);
    }
    if options::flag(env, "--cpu-prof") && profiles.connect(scope, env, Kind::Cpu).is_some() {
        let interval = options::number(env, "--cpu-prof-interval").unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, reason = "saturates, as wanted")]
        let params = json!({ "interval": interval as i64 });
        profiles.ask(
            scope,
            env,
            Kind::Cpu,
            "Profiler.setSamplingInterval",
            &params,
        );
        if profiles
            .ask(scope, env, Kind::Cpu, "Profiler.start", &json!({}))
            .is_none()
            && !env.is_ending()
        {
            env.write_stderr(
                "--cpu-prof: CPU profiles need a clock that runs, and clocks are frozen here (option timingMitigation)\n",
            );
            profiles.cpu.take();
        }
    }
    if options::flag(env, "--heap-prof") && profiles.connect(scope, env, Kind::Heap).is_some() {
        let interval = options::number(env, "--heap-prof-interval").unwrap_or(0.0);
        profiles.ask(scope, env, Kind::Heap, "HeapProfiler.enable", &json!({}));
        let params = json!({ "samplingInterval": interval });
        profiles.ask(
            scope,
            env,
            Kind::Heap,
            "HeapProfiler.startSampling",
            &params,
        );
    }
}

/// Writes every profile that was started, once. The process has not ended yet.
pub(crate) fn end(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let profiles = env.extension::<Profiles>();
    if profiles.session(Kind::Cpu).is_some() {
        write_sampled(scope, env, Kind::Cpu, "Profiler.stop");
        profiles.cpu.take();
    }
    if profiles.session(Kind::Heap).is_some() {
        write_sampled(scope, env, Kind::Heap, "HeapProfiler.stopSampling");
        profiles.heap.take();
    }
    end_coverage(scope, env);
}

fn write_sampled(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, kind: Kind, method: &str) {
    #[derive(serde::Deserialize)]
    struct Result<'a> {
        #[serde(borrow)]
        profile: &'a serde_json::value::RawValue,
    }
    let profiles = env.extension::<Profiles>();
    let Some(result) = profiles.ask(scope, env, kind, method, &json!({})) else {
        return;
    };
    let Ok(result) = serde_json::from_str::<Result>(&result) else {
        return;
    };
    let (option, prefix, extension) = kind.option();
    let (pid, thread) = (env.options().pid, thread_id(env));
    let name = options::text(env, &format!("{option}-name"))
        .filter(|name| !name.is_empty())
        .map_or_else(
            || {
                let time = compact_time(env);
                format!("{prefix}.{time}.{pid}.{thread}.001.{extension}")
            },
            |name| name.replace("${pid}", &pid.to_string()),
        );
    let directory = [format!("{option}-dir"), "--diagnostic-dir".to_owned()]
        .iter()
        .filter_map(|option| options::text(env, option))
        .find(|directory| !directory.is_empty())
        .unwrap_or_default();
    write(env, kind, &directory, &name, result.profile.get());
}

fn thread_id(env: &Env) -> u64 {
    let thread = env.extension::<crate::threads::Thread>();
    thread.worker().map_or(0, |worker| worker.id)
}

/// Writes a file below `directory`, which is made if need be; says on standard error when that cannot be.
fn write(env: &Env, kind: Kind, directory: &str, name: &str, text: &str) {
    let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
        return;
    };
    let path = if directory.is_empty() {
        name.to_owned()
    } else {
        if let Err(errno) = kernel.mkdir_recursive(&process, directory.as_bytes(), 0o777) {
            env.write_stderr(&format!(
                "{}: Failed to create {} profile directory {directory}\n",
                errno.message(),
                kind.name()
            ));
            return;
        }
        format!("{}/{name}", directory.trim_end_matches('/'))
    };
    let flags = O_WRONLY | O_CREAT | O_TRUNC;
    if let Err(errno) = kernel.write_file(&process, path.as_bytes(), text.as_bytes(), flags, 0o600)
    {
        env.write_stderr(&format!(
            "{}: Failed to write file {path}\n",
            errno.message()
        ));
    }
}

/// Says where coverage goes.
pub(crate) fn set_directory(env: &Env, directory: String) {
    env.extension::<Profiles>().directory.replace(directory);
}

/// Writes the coverage since the last time.
pub(crate) fn take_coverage(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let profiles = env.extension::<Profiles>();
    let none = json!({});
    let method = "Profiler.takePreciseCoverage";
    let Some(mut result) = profiles.ask(scope, env, Kind::Coverage, method, &none) else {
        return;
    };
    // The library says where once it has started.
    let directory = profiles.directory.borrow().clone();
    if directory.is_empty() {
        return;
    }
    let Some(cache) = source_map_cache(scope, env) else {
        return;
    };
    if !cache.is_empty() && result.ends_with('}') {
        result.pop();
        result.push_str(",\"source-map-cache\":");
        result.push_str(&cache);
        result.push('}');
    }
    // With frozen clocks two files of one turn would have one name.
    let ms = env
        .clock()
        .wall()
        .as_millis()
        .max(profiles.last_ms.get() + 1);
    profiles.last_ms.set(ms);
    let (pid, thread) = (env.options().pid, thread_id(env));
    let name = format!("coverage-{pid}-{ms}-{thread}.json");
    write(env, Kind::Coverage, &directory, &name, &result);
}

/// The library's source maps as JSON; empty when there are none, nothing when their getter threw.
fn source_map_cache(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Option<String> {
    v8::scope!(let scope, scope);
    let getter = env.function(scope, "profiler.sourceMapCacheGetter")?;
    let undefined = v8::undefined(scope).into();
    v8::tc_scope!(let scope, scope);
    let cache = getter.call(scope, undefined, &[])?;
    if cache.is_undefined() {
        return Some(String::new());
    }
    let text = v8::json::stringify(scope, cache)?;
    Some(text.to_rust_string_lossy(scope))
}

/// Counts no longer.
pub(crate) fn stop_coverage(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let profiles = env.extension::<Profiles>();
    let method = "Profiler.stopPreciseCoverage";
    profiles.ask(scope, env, Kind::Coverage, method, &json!({}));
}

/// Writes the coverage for the last time.
pub(crate) fn end_coverage(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    let profiles = env.extension::<Profiles>();
    if profiles.session(Kind::Coverage).is_some() && !profiles.has_ended.replace(true) {
        take_coverage(scope, env);
    }
}
