//! What stands in for shared memory between the library's own threads: `internalBinding('worker').sharedCells`.
//!
//! Guests with frozen clocks have no `SharedArrayBuffer`: memory that two threads see is a clock. Node's library waits for its hooks thread
//! and for answers of `postMessageToThread` on such memory; the build of its sources points the few names that do so
//! here. A cell holds two numbers, behind a lock, and never leaves the library.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::binding::{Args, Callback, Class, Function, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::env::Env;
use crate::event_loop::Inbox;
use crate::message::{HostType, TransferData};
use crate::realm::set;
use crate::throw::Throw;

/// The class of the cells.
pub const CLASS: Class = Class {
    name: "SharedCells",
    constructor: Some(function!(construct)),
    hidden: true,
    ..Class::DEFAULT
};

/// Cells are cloned by reference.
pub static HOST_TYPE: HostType = HostType { clone_object };

const FUNCTIONS: &[Function] = &[
    ("Int32Array", VIEW),
    ("AtomicsAdd", ADD),
    ("AtomicsLoad", LOAD),
    ("AtomicsStore", STORE),
    ("AtomicsNotify", NOTIFY),
    ("AtomicsWait", WAIT),
    ("AtomicsWaitAsync", WAIT_ASYNC),
];
const VIEW: Callback = function!(view);
const ADD: Callback = function!(add);
const LOAD: Callback = function!(load);
const STORE: Callback = function!(store);
const NOTIFY: Callback = function!(notify);
const WAIT: Callback = function!(wait);
const WAIT_ASYNC: Callback = function!(wait_async);

/// Numbers of one cell.
const COUNT: usize = 2;
/// Time between two looks whether the process has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Promises that wait for one cell at most.
const MAX_WAITING: usize = 1 << 16;

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// A promise of some thread that waits for a number to change.
struct Waiting {
    index: usize,
    key: u64,
    inbox: Inbox,
}

#[derive(Default)]
struct State {
    values: [i32; COUNT],
    waiting: Vec<Waiting>,
}

#[derive(Default)]
struct Cells {
    state: Mutex<State>,
    changed: Condvar,
}

impl Cells {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, index: usize, change: impl FnOnce(i32) -> i32) -> i32 {
        let mut state = self.lock();
        let before = state.values.get(index).copied().unwrap_or(0);
        if let Some(value) = state.values.get_mut(index) {
            *value = change(before);
        }
        before
    }

    fn load(&self, index: usize) -> i32 {
        self.lock().values.get(index).copied().unwrap_or(0)
    }
}

/// The promises of this thread that wait.
#[derive(Default)]
struct Promises(RefCell<HashMap<u64, v8::Global<v8::PromiseResolver>>>);

struct Transfer(Arc<Cells>);

impl TransferData for Transfer {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let object = env.new_instance(scope, "worker.SharedCells").ok()?;
        env.objects.wrap(scope, object, Rc::new(self.0));
        Some(object)
    }
}

fn clone_object(host: &Rc<dyn Any>) -> Option<Box<dyn TransferData>> {
    let cells = host.downcast_ref::<Arc<Cells>>()?;
    Some(Box::new(Transfer(cells.clone())))
}

/// The callbacks of [`init`].
pub fn references() -> Vec<v8::ExternalReference> {
    let entry = |(_, function): &Function| v8::ExternalReference {
        function: *function,
    };
    FUNCTIONS.iter().map(entry).collect()
}

/// Gives the binding its `sharedCells`, under the names that the library knows them by.
pub fn init(scope: &mut v8::PinScope<'_, '_>, target: v8::Local<v8::Object>) {
    let cells = v8::Object::new(scope);
    for (name, callback) in FUNCTIONS {
        let function = v8::FunctionTemplate::new_raw(scope, *callback).get_function(scope);
        if let Some(function) = function {
            set(scope, cells, name, function.into());
        }
    }
    let env = Env::of(scope);
    if let Some(class) = env.function(scope, "worker.SharedCells") {
        set(scope, cells, "SharedArrayBuffer", class.into());
    }
    set(scope, target, "sharedCells", cells.into());
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("SharedCells"));
    }
    let env = Env::of(scope);
    if !env.constructing_from_rust.get() {
        env.objects
            .wrap(scope, args.this(), Rc::new(Arc::<Cells>::default()));
    }
    Ok(v8::undefined(scope).into())
}

/// `new Int32Array(cells)`: the cells themselves.
fn view<'s>(_scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Ok(args.get(0))
}

/// The cells and the index that a call names.
fn cell_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(Arc<Cells>, usize), Throw> {
    let cells = v8::Local::<v8::Object>::try_from(args.get(0))
        .ok()
        .and_then(|object| Env::of(scope).objects.unwrap::<Arc<Cells>>(scope, object))
        .ok_or_else(|| {
            Throw::type_error("ERR_INVALID_ARG_TYPE", "The argument must be shared cells")
        })?;
    let index = args.get(1).uint32_value(scope).ok_or(Throw::Pending)? as usize;
    if index >= COUNT {
        return Err(Throw::range_error(
            "ERR_OUT_OF_RANGE",
            "The index is out of range",
        ));
    }
    Ok(((*cells).clone(), index))
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, value: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, value).into())
}

fn text<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> Ret<'s> {
    Ok(v8::String::new(scope, text).ok_or(Throw::Pending)?.into())
}

fn add<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (cells, index) = cell_of(scope, args)?;
    let by = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    number(scope, cells.change(index, |value| value.wrapping_add(by)))
}

fn load<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (cells, index) = cell_of(scope, args)?;
    number(scope, cells.load(index))
}

fn store<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (cells, index) = cell_of(scope, args)?;
    let value = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    cells.change(index, |_| value);
    number(scope, value)
}

/// Wakes all who wait for a number, whatever the count that is asked for: each of them looks by itself.
fn notify<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (cells, index) = cell_of(scope, args)?;
    let woken: Vec<Waiting> = {
        let mut state = cells.lock();
        state
            .waiting
            .extract_if(.., |waiting| waiting.index == index)
            .collect()
    };
    cells.changed.notify_all();
    let count = i32::try_from(woken.len()).unwrap_or(i32::MAX);
    for Waiting { key, inbox, .. } in woken {
        inbox.send_unref(Box::new(move |scope, env| settle(scope, env, key, "ok")));
    }
    number(scope, count)
}

/// What a call waits for: the expected number, and how long.
fn expectation<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(i32, Option<f64>), Throw> {
    let expected = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    let timeout = args.get(3).number_value(scope).ok_or(Throw::Pending)?;
    Ok((expected, timeout.is_finite().then_some(timeout.max(0.0))))
}

/// `AtomicsWait(cells, index, expected[, timeout])`
fn wait<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (cells, index) = cell_of(scope, args)?;
    let (expected, timeout) = expectation(scope, args)?;
    let env = Env::of(scope);
    let deadline = timeout
        .and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok())
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let mut state = cells.lock();
    let mut slept = false;
    loop {
        if state.values.get(index).copied() != Some(expected) {
            drop(state);
            return text(scope, if slept { "ok" } else { "not-equal" });
        }
        if env.is_ending() {
            return Err(Throw::Pending);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            drop(state);
            return text(scope, "timed-out");
        }
        slept = true;
        state = cells
            .changed
            .wait_timeout(state, LOOK)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// `AtomicsWaitAsync(cells, index, expected[, timeout])`
fn wait_async<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (cells, index) = cell_of(scope, args)?;
    let (expected, timeout) = expectation(scope, args)?;
    let env = Env::of(scope);
    let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
    let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
    let waits = {
        let mut state = cells.lock();
        let waits = state.values.get(index).copied() == Some(expected);
        if waits {
            if state.waiting.len() >= MAX_WAITING {
                return Err(Throw::range_error(
                    "ERR_OUT_OF_RANGE",
                    "Too many promises wait",
                ));
            }
            state.waiting.push(Waiting {
                index,
                key,
                inbox: env.shared().inbox.clone(),
            });
        }
        waits
    };
    let result = v8::Object::new(scope);
    let is_async = v8::Boolean::new(scope, waits).into();
    set(scope, result, "async", is_async);
    let value = if waits {
        let promises = env.extension::<Promises>();
        promises
            .0
            .borrow_mut()
            .insert(key, v8::Global::new(scope, resolver));
        if let Some(timeout) = timeout {
            env.event_loop.after_unref(
                env.loop_now() + timeout,
                Box::new(move |scope, env| {
                    cells.lock().waiting.retain(|waiting| waiting.key != key);
                    settle(scope, env, key, "timed-out");
                }),
            );
        }
        resolver.get_promise(scope).into()
    } else {
        text(scope, "not-equal")?
    };
    set(scope, result, "value", value);
    Ok(result.into())
}

/// Settles a promise of this thread, if it waits still.
fn settle(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, key: u64, how: &str) {
    let resolver = env.extension::<Promises>().0.borrow_mut().remove(&key);
    let (Some(resolver), Some(how)) = (resolver, v8::String::new(scope, how)) else {
        return;
    };
    let resolver = v8::Local::new(scope, resolver);
    resolver.resolve(scope, how.into());
    env.drain(scope);
}
