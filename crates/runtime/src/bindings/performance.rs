//! `internalBinding('performance')`: clocks, milestones, garbage collection entries and histograms.
//! Sources: `src/node_perf.cc`, `src/histogram.cc`.
//!
//! All times come from the process's clock, so that they stand still where it does.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::binding::{Args, Binding, Callback, Class, Function, Ret, function};
use crate::bindings::messaging::memory_budget;
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::histogram::Histogram;
use crate::message::{Charge, HostType, TransferData};
use crate::throw::Throw;
use crate::tracer::{BOOTSTRAP, Event};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "performance",
    functions: &[
        ("now", function!(now)),
        ("setupObservers", function!(setup_observers)),
        (
            "installGarbageCollectionTracking",
            function!(install_gc_tracking),
        ),
        (
            "removeGarbageCollectionTracking",
            function!(remove_gc_tracking),
        ),
        ("notify", function!(notify)),
        ("loopIdleTime", function!(loop_idle_time)),
        ("markBootstrapComplete", function!(mark_bootstrap_complete)),
        ("uvMetricsInfo", function!(uv_metrics_info)),
        ("createELDHistogram", function!(create_eld_histogram)),
    ],
    classes: &[
        Class {
            name: "Histogram",
            constructor: Some(function!(new_histogram)),
            methods: &[
                ("add", function!(add)),
                READ[0],
                READ[1],
                READ[2],
                READ[3],
                READ[4],
                READ[5],
                READ[6],
                READ[7],
                READ[8],
                READ[9],
                READ[10],
                READ[11],
                READ[12],
                READ[13],
                READ[14],
                ("record", function!(record)),
                ("recordDelta", function!(record_delta)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "IntervalHistogram",
            methods: &[
                READ[0],
                READ[1],
                READ[2],
                READ[3],
                READ[4],
                READ[5],
                READ[6],
                READ[7],
                READ[8],
                READ[9],
                READ[10],
                READ[11],
                READ[12],
                READ[13],
                READ[14],
                ("start", function!(start_interval)),
                ("stop", function!(stop_interval)),
            ],
            hidden: true,
            ..Class::DEFAULT
        },
    ],
    restore: Some(restore),
    ..Binding::DEFAULT
};

/// What both kinds of histograms can be asked.
const READ: [Function; 15] = [
    ("countBigInt", COUNT_BIG),
    ("exceedsBigInt", EXCEEDS_BIG),
    ("minBigInt", MIN_BIG),
    ("maxBigInt", MAX_BIG),
    ("percentileBigInt", PERCENTILE_BIG),
    ("percentiles", PERCENTILES),
    ("percentilesBigInt", PERCENTILES_BIG),
    ("count", COUNT),
    ("exceeds", EXCEEDS),
    ("min", MIN),
    ("max", MAX),
    ("mean", MEAN),
    ("stddev", STDDEV),
    ("percentile", PERCENTILE),
    ("reset", RESET),
];
const COUNT_BIG: Callback = function!(count_big);
const EXCEEDS_BIG: Callback = function!(exceeds_big);
const MIN_BIG: Callback = function!(min_big);
const MAX_BIG: Callback = function!(max_big);
const PERCENTILE_BIG: Callback = function!(percentile_big);
const PERCENTILES: Callback = function!(percentiles);
const PERCENTILES_BIG: Callback = function!(percentiles_big);
const COUNT: Callback = function!(count);
const EXCEEDS: Callback = function!(exceeds);
const MIN: Callback = function!(min);
const MAX: Callback = function!(max);
const MEAN: Callback = function!(mean);
const STDDEV: Callback = function!(stddev);
const PERCENTILE: Callback = function!(percentile);
const RESET: Callback = function!(reset);

/// Indexes of `milestones`.
pub mod milestone {
    /// Wall time of the origin, in microseconds.
    pub const TIME_ORIGIN_TIMESTAMP: usize = 0;
    /// The origin itself, in nanoseconds of `process.hrtime`.
    pub const TIME_ORIGIN: usize = 1;
    /// When the environment was made.
    pub const ENVIRONMENT: usize = 2;
    /// When Node started.
    pub const NODE_START: usize = 3;
    /// When V8 started.
    pub const V8_START: usize = 4;
    /// When the event loop started; -1 before.
    pub const LOOP_START: usize = 5;
    /// When the event loop ended; -1 before.
    pub const LOOP_EXIT: usize = 6;
    /// When the guest's program could start.
    pub const BOOTSTRAP_COMPLETE: usize = 7;
}

/// Milestones before the guest's program, one nanosecond apart.
const MILESTONES: u8 = 4;

/// Indexes of `observerCounts` by the entry type's name.
const ENTRY_TYPES: [&str; 5] = ["gc", "http", "http2", "net", "dns"];
const ENTRY_TYPE_GC: usize = 0;
const ENTRY_TYPE_HTTP2: usize = 2;

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Sets `milestone` to the present.
pub fn mark(scope: &mut v8::PinScope<'_, '_>, env: &Env, milestone: usize) {
    if let Some(milestones) = env.buffer(scope, "performance.milestones") {
        milestones.set(milestone, nanoseconds(env.clock().monotonic()));
    }
    if env.traces() {
        let name = match milestone {
            milestone::LOOP_START => "loopStart",
            milestone::LOOP_EXIT => "loopExit",
            _ => "bootstrapComplete",
        };
        env.trace(&Event::now(env, 'I', BOOTSTRAP, name));
    }
}

/// Sets the milestones of a process whose clock was just started.
pub fn start(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    let Some(milestones) = env.buffer(scope, "performance.milestones") else {
        return;
    };
    let clock = env.clock();
    let elapsed = clock.elapsed();
    milestones.set(
        milestone::TIME_ORIGIN_TIMESTAMP,
        clock.wall().saturating_sub(elapsed).as_secs_f64() * 1e6,
    );
    let origin = nanoseconds(clock.monotonic().saturating_sub(elapsed));
    // What happened while the startup snapshot was built has no time of its own here, only its order.
    let order = [
        milestone::TIME_ORIGIN,
        milestone::NODE_START,
        milestone::V8_START,
        milestone::ENVIRONMENT,
        milestone::BOOTSTRAP_COMPLETE,
    ];
    for (index, step) in order.into_iter().zip(0_u32..) {
        milestones.set(index, origin + f64::from(step));
    }
    for name in ["nodeStart", "v8Start", "environment"] {
        env.trace(&Event {
            at: Duration::ZERO,
            ..Event::now(env, 'I', BOOTSTRAP, name)
        });
    }
    milestones.set(milestone::LOOP_START, -1.0_f64);
    milestones.set(milestone::LOOP_EXIT, -1.0_f64);
}

fn restore(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    start(scope, env);
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, value: f64) -> Ret<'s> {
    Ok(v8::Number::new(scope, value).into())
}

fn now<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let elapsed = Env::of(scope).clock().elapsed();
    number(scope, elapsed.as_secs_f64() * 1e3)
}

fn setup_observers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "performance.observerCallback", args.get(0));
    undefined(scope)
}

fn notify<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let kind = args.get(0).to_rust_string_lossy(scope);
    let env = Env::of(scope);
    let index = ENTRY_TYPES.iter().position(|name| *name == kind);
    let observed = index.is_some_and(|index| is_observed(scope, &env, index));
    if let Some(callback) = env
        .function(scope, "performance.observerCallback")
        .filter(|_| observed)
    {
        let receiver = v8::undefined(scope).into();
        callback
            .call(scope, receiver, &[args.get(1)])
            .ok_or(Throw::Pending)?;
    }
    undefined(scope)
}

fn is_observed(scope: &mut v8::PinScope<'_, '_>, env: &Env, index: usize) -> bool {
    env.buffer(scope, "performance.observerCounts")
        .is_some_and(|counts| counts.get::<u32>(index) > 0)
}

/// Whether anybody observes entries of HTTP/2.
pub fn observes_http2(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> bool {
    is_observed(scope, env, ENTRY_TYPE_HTTP2)
}

/// Hands an entry to whoever observes; times are start and duration in milliseconds.
pub fn enqueue<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    name: &str,
    kind: &str,
    (start, duration): (f64, f64),
    details: v8::Local<'s, v8::Object>,
) {
    let Some(callback) = env.function(scope, "performance.observerCallback") else {
        return;
    };
    let (Some(name), Some(kind)) = (v8::String::new(scope, name), v8::String::new(scope, kind))
    else {
        return;
    };
    let start = v8::Number::new(scope, start).into();
    let duration = v8::Number::new(scope, duration).into();
    let args = [name.into(), kind.into(), start, duration, details.into()];
    let receiver = v8::Object::new(scope);
    env.make_callback(scope, receiver, callback, &args, AsyncContext::default());
}

fn loop_idle_time<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let idle = Env::of(scope).event_loop.idle_time();
    number(scope, idle.as_secs_f64() * 1e3)
}

fn mark_bootstrap_complete<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    if env.clock().elapsed().as_nanos() > MILESTONES.into() {
        mark(scope, &env, milestone::BOOTSTRAP_COMPLETE);
    }
    undefined(scope)
}

/// `[loopCount, events, eventsWaiting]`.
fn uv_metrics_info<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let (turns, events) = Env::of(scope).event_loop.metrics();
    let values = [turns, events, 0.0].map(|value| v8::Number::new(scope, value).into());
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

/// State of garbage collection tracking.
#[derive(Default)]
struct Collections {
    installed: Cell<bool>,
    started: Cell<Duration>,
    /// Entries that wait for the loop: kind, flags, start and duration in milliseconds.
    entries: RefCell<Vec<(u32, u32, f64, f64)>>,
}

/// `NODE_PERFORMANCE_GC_FLAGS_FORCED`
const FORCED: u32 = 1 << 2;
/// Entries that may wait; a loop that does not turn gets no more.
const MAX_ENTRIES: usize = 10_000;

unsafe extern "C" fn on_collection_start(
    isolate: v8::UnsafeRawIsolatePtr,
    _kind: v8::GCType,
    _flags: v8::GCCallbackFlags,
    _data: *mut c_void,
) {
    // SAFETY: V8 passes the isolate that runs on this thread.
    let isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    let env = Env::of(&isolate);
    env.extension::<Collections>()
        .started
        .set(env.clock().elapsed());
}

unsafe extern "C" fn on_collection_end(
    isolate: v8::UnsafeRawIsolatePtr,
    kind: v8::GCType,
    flags: v8::GCCallbackFlags,
    _data: *mut c_void,
) {
    // SAFETY: V8 passes the isolate that runs on this thread.
    let isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    let env = Env::of(&isolate);
    let state = env.extension::<Collections>();
    let started = state.started.get();
    let duration = env.clock().elapsed().saturating_sub(started);
    let mut entries = state.entries.borrow_mut();
    if entries.len() >= MAX_ENTRIES {
        return;
    }
    if entries.is_empty() {
        env.event_loop.complete_unref(Box::new(deliver_collections));
    }
    let flags = if crate::exposed_gc::is_forced(&env) {
        FORCED
    } else {
        flags.0
    };
    entries.push((
        kind.0,
        flags,
        started.as_secs_f64() * 1e3,
        duration.as_secs_f64() * 1e3,
    ));
}

fn deliver_collections(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
    for (kind, flags, started, duration) in env.extension::<Collections>().entries.take() {
        v8::scope!(let scope, scope);
        if !is_observed(scope, env, ENTRY_TYPE_GC) {
            return;
        }
        let details = v8::Object::new(scope);
        for (key, value) in [("kind", kind), ("flags", flags)] {
            let value = v8::Integer::new_from_unsigned(scope, value).into();
            crate::realm::set(scope, details, key, value);
        }
        enqueue(scope, env, "gc", "gc", (started, duration), details);
    }
}

fn install_gc_tracking<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let state = Env::of(scope).extension::<Collections>();
    if !state.installed.replace(true) {
        let all = v8::GCType::kGCTypeAll;
        scope.add_gc_prologue_callback(on_collection_start, std::ptr::null_mut(), all);
        scope.add_gc_epilogue_callback(on_collection_end, std::ptr::null_mut(), all);
    }
    undefined(scope)
}

fn remove_gc_tracking<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let state = Env::of(scope).extension::<Collections>();
    if state.installed.replace(false) {
        scope.remove_gc_prologue_callback(on_collection_start, std::ptr::null_mut());
        scope.remove_gc_epilogue_callback(on_collection_end, std::ptr::null_mut());
    }
    undefined(scope)
}

/// A histogram that several JavaScript objects share, here or in another process of the guest.
#[derive(Clone)]
struct Shared(Arc<Mutex<(Histogram, Option<Charge>)>>);

impl Shared {
    fn new(lowest: i64, highest: i64, figures: u32) -> Result<Self, Throw> {
        let histogram = Histogram::new(lowest, highest, figures).ok_or_else(|| {
            Throw::range_error(
                "ERR_OUT_OF_RANGE",
                "The options of the histogram are out of range",
            )
        })?;
        Ok(Self(Arc::new(Mutex::new((histogram, None)))))
    }

    fn lock(&self) -> MutexGuard<'_, (Histogram, Option<Charge>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Histogram {
        self.lock().0.clone()
    }

    /// Changes the histogram and accounts for its memory.
    fn change<T>(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Env,
        change: impl FnOnce(&mut Histogram) -> T,
    ) -> Result<T, Throw> {
        let (result, after) = {
            let mut state = self.lock();
            let before = state.0.bytes();
            let result = change(&mut state.0);
            let after = state.0.bytes();
            if before == after && state.1.is_some() {
                return Ok(result);
            }
            state.1 = None;
            (result, after)
        };
        // Without the lock: taking memory may collect garbage.
        let charge = memory_budget(env).charge(scope, after);
        let mut state = self.lock();
        if charge.is_none() {
            state.0.reset();
            return Err(Throw::error(
                "ERR_MEMORY_ALLOCATION_FAILED",
                "Failed to allocate memory",
            ));
        }
        state.1 = charge;
        Ok(result)
    }
}

/// How `Histogram` objects travel: the copy shows the same histogram.
pub static HOST_TYPE: HostType = HostType {
    clone_object: |host: &Rc<dyn Any>| {
        let shared = match host.downcast_ref::<Interval>() {
            Some(interval) => interval.shared.clone(),
            None => host.downcast_ref::<Shared>()?.clone(),
        };
        Some(Box::new(shared) as Box<dyn TransferData>)
    },
};

impl TransferData for Shared {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        match env.new_instance(scope, "performance.Histogram") {
            Ok(object) => {
                env.objects.wrap(scope, object, Rc::new(*self));
                Some(object)
            }
            Err(throw) => {
                throw.throw(scope);
                None
            }
        }
    }
}

/// The histogram of `monitorEventLoopDelay`, which records by itself.
struct Interval {
    shared: Shared,
    milliseconds: f64,
    /// Changes with each start and stop; a timer of another generation does nothing.
    generation: Cell<u64>,
    enabled: Cell<bool>,
}

fn invalid() -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", "Not a histogram or not a number")
}

fn receiver(
    scope: &mut v8::PinScope<'_, '_>,
    object: v8::Local<v8::Object>,
) -> Result<Shared, Throw> {
    let host = Env::of(scope)
        .objects
        .unwrap_any(scope, object)
        .ok_or_else(invalid)?;
    match host.downcast_ref::<Interval>() {
        Some(interval) => Ok(interval.shared.clone()),
        None => host.downcast_ref::<Shared>().cloned().ok_or_else(invalid),
    }
}

/// An integer from a number or a BigInt; `None` when it does not fit.
#[expect(clippy::cast_possible_truncation, reason = "saturates, as wanted")]
fn integer(value: v8::Local<v8::Value>) -> Option<i64> {
    if let Ok(big) = v8::Local::<v8::BigInt>::try_from(value) {
        let (value, lossless) = big.i64_value();
        return lossless.then_some(value);
    }
    v8::Local::<v8::Number>::try_from(value)
        .ok()
        .map(|number| number.value() as i64)
}

fn new_histogram<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    if env.constructing_from_rust.get() {
        return undefined(scope);
    }
    if !args.is_construct_call() {
        return Err(Throw::type_error(
            "ERR_CONSTRUCT_CALL_REQUIRED",
            "Cannot call constructor without `new`",
        ));
    }
    let lowest = integer(args.get(0)).ok_or_else(invalid)?;
    let highest = integer(args.get(1)).unwrap_or(i64::MAX);
    let figures = v8::Local::<v8::Uint32>::try_from(args.get(2))
        .map_err(|_| invalid())?
        .value();
    let shared = Shared::new(lowest, highest, figures)?;
    env.objects.wrap(scope, args.this(), Rc::new(shared));
    undefined(scope)
}

fn record<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = integer(args.get(0)).filter(|value| *value >= 1);
    let value =
        value.ok_or_else(|| Throw::range_error("ERR_OUT_OF_RANGE", "value is out of range"))?;
    let shared = receiver(scope, args.this())?;
    let env = Env::of(scope);
    shared.change(scope, &env, |histogram| histogram.record(value))?;
    undefined(scope)
}

fn hrtime(env: &Env) -> u64 {
    u64::try_from(env.clock().monotonic().as_nanos()).unwrap_or(u64::MAX)
}

fn record_delta<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let shared = receiver(scope, args.this())?;
    let env = Env::of(scope);
    let time = hrtime(&env);
    shared.change(scope, &env, |histogram| histogram.record_delta(time))?;
    undefined(scope)
}

fn add<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let other = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid())?;
    let other = receiver(scope, other)?.snapshot();
    let shared = receiver(scope, args.this())?;
    let env = Env::of(scope);
    let dropped = shared.change(scope, &env, |histogram| histogram.add(&other))?;
    #[expect(clippy::cast_precision_loss, reason = "Node answers with a double")]
    number(scope, dropped as f64)
}

fn reset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let shared = receiver(scope, args.this())?;
    let env = Env::of(scope);
    shared.change(scope, &env, Histogram::reset)?;
    undefined(scope)
}

/// Functions that answer with one value of a histogram.
macro_rules! readers {
    ($($name:ident, $histogram:ident => $value:expr, $make:ident;)*) => { $(
        #[allow(clippy::cast_precision_loss, reason = "Node answers with a double")]
        fn $name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
            let shared = receiver(scope, args.this())?;
            let value = { let $histogram = &shared.lock().0; $value };
            $make(scope, value)
        }
    )* };
}

fn big<'s>(scope: &mut v8::PinScope<'s, '_>, value: i64) -> Ret<'s> {
    Ok(v8::BigInt::new_from_i64(scope, value).into())
}

fn big_unsigned<'s>(scope: &mut v8::PinScope<'s, '_>, value: u64) -> Ret<'s> {
    Ok(v8::BigInt::new_from_u64(scope, value).into())
}

readers! {
    count, histogram => histogram.count() as f64, number;
    count_big, histogram => histogram.count(), big_unsigned;
    exceeds, histogram => histogram.exceeds() as f64, number;
    exceeds_big, histogram => histogram.exceeds(), big_unsigned;
    min, histogram => histogram.min() as f64, number;
    min_big, histogram => histogram.min(), big;
    max, histogram => histogram.max() as f64, number;
    max_big, histogram => histogram.max(), big;
    mean, histogram => histogram.mean(), number;
    stddev, histogram => histogram.stddev(), number;
}

fn percentile_of<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<i64, Throw> {
    let percentile = v8::Local::<v8::Number>::try_from(args.get(0))
        .map_err(|_| invalid())?
        .value();
    let shared = receiver(scope, args.this())?;
    let value = shared.lock().0.percentile(percentile);
    Ok(value)
}

#[expect(clippy::cast_precision_loss, reason = "Node answers with a double")]
fn percentile<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = percentile_of(scope, args)?;
    number(scope, value as f64)
}

fn percentile_big<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = percentile_of(scope, args)?;
    big(scope, value)
}

#[expect(clippy::cast_precision_loss, reason = "Node answers with a double")]
fn percentiles<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    fill(scope, args, |scope, value| number(scope, value as f64))
}

fn percentiles_big<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    fill(scope, args, big)
}

fn fill<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    make: impl Fn(&mut v8::PinScope<'s, '_>, i64) -> Ret<'s>,
) -> Ret<'s> {
    let map = v8::Local::<v8::Map>::try_from(args.get(0)).map_err(|_| invalid())?;
    let entries = receiver(scope, args.this())?.lock().0.percentiles();
    for (key, value) in entries {
        let key = v8::Number::new(scope, key).into();
        let value = make(scope, value)?;
        map.set(scope, key, value).ok_or(Throw::Pending)?;
    }
    undefined(scope)
}

fn create_eld_histogram<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let milliseconds = args
        .get(0)
        .number_value(scope)
        .filter(|value| *value >= 1.0)
        .ok_or_else(invalid)?;
    let env = Env::of(scope);
    let object = env.new_instance(scope, "performance.IntervalHistogram")?;
    let interval = Interval {
        shared: Shared::new(1, 3_600_000_000_000, 3)?,
        milliseconds,
        generation: Cell::new(0),
        enabled: Cell::new(false),
    };
    env.objects.wrap(scope, object, Rc::new(interval));
    Ok(object.into())
}

fn interval_of(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<Rc<Interval>, Throw> {
    Env::of(scope)
        .objects
        .unwrap::<Interval>(scope, args.this())
        .ok_or_else(invalid)
}

fn start_interval<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let interval = interval_of(scope, args)?;
    let env = Env::of(scope);
    if !interval.enabled.replace(true) {
        if args.get(0).is_true() {
            interval.shared.change(scope, &env, Histogram::reset)?;
        }
        interval.generation.set(interval.generation.get() + 1);
        schedule(&env, &interval);
    }
    undefined(scope)
}

fn stop_interval<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let interval = interval_of(scope, args)?;
    if interval.enabled.replace(false) {
        interval.generation.set(interval.generation.get() + 1);
    }
    undefined(scope)
}

/// Arms the next tick. The timer holds the histogram weakly: it ends when the JavaScript object is collected.
fn schedule(env: &Env, interval: &Rc<Interval>) {
    let generation = interval.generation.get();
    let interval_ms = interval.milliseconds;
    let weak = Rc::downgrade(interval);
    env.event_loop.after_unref(
        env.loop_now() + interval_ms,
        Box::new(move |scope, env| {
            let Some(interval) = weak
                .upgrade()
                .filter(|interval| interval.generation.get() == generation)
            else {
                return;
            };
            let time = hrtime(env);
            // Without memory for another bucket there is nobody to tell: the histogram starts anew.
            let _ = interval
                .shared
                .change(scope, env, |histogram| histogram.record_delta(time));
            schedule(env, &interval);
        }),
    );
}
