//! `SharedArrayBuffer`, shared WebAssembly memories, `Atomics.wait` and `Atomics.waitAsync`, for guests whose clocks are
//! real.
//!
//! Memory that two threads see is a clock: with frozen clocks a guest has none by any road. The snapshot's contexts are
//! made without `SharedArrayBuffer`, and this gives it to those of a process with `timingMitigation: "off"`; from the
//! others it takes `Atomics.waitAsync`. Its bytes are charged like those of other buffers.

use std::cell::Cell;

use crate::binding::{Args, Callback, Ret, function};
use crate::budget::{Installed, LimitError};
use crate::clock::Mitigation;
use crate::env::Env;
use crate::throw::Throw;

const WAIT_ASYNC: Callback = function!(wait_async);
const WAIT_ENDED: Callback = function!(wait_ended);

/// How many promises of `Atomics.waitAsync` are pending on this thread. V8 keeps a record outside of its heap for each.
#[derive(Default)]
struct Waits(Cell<u64>);

/// Whether the main context is without `Atomics.waitAsync` already.
#[derive(Default)]
struct Withheld(Cell<bool>);

/// Key of the registry for what was withheld.
const WITHHELD: &str = "shared_memory.waitAsync";

/// Whether threads of the process may share memory.
pub fn is_allowed(env: &Env) -> bool {
    env.clock().mitigation() == Mitigation::Off
}

/// Does what [`install_main`] usually does before it is known which process the isolate is for.
pub fn withhold(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    let global = scope.get_current_context().global(scope);
    let Ok(atomics) = atomics_of(scope, global) else {
        return;
    };
    let Ok(name) = key(scope, "waitAsync") else {
        return;
    };
    let Some(original) = atomics.get(scope, name.into()) else {
        return;
    };
    env.register(scope, WITHHELD, original);
    if atomics.delete(scope, name.into()) == Some(true) {
        env.extension::<Withheld>().0.set(true);
    }
}

/// [`install`] for the main context.
///
/// # Errors
/// As there.
pub fn install_main(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Result<(), Throw> {
    let is_withheld = env.extension::<Withheld>().0.replace(false);
    if is_withheld && !is_allowed(env) {
        return Ok(());
    }
    let global = scope.get_current_context().global(scope);
    if is_withheld && let Some(original) = env.registered(scope, WITHHELD) {
        let atomics = atomics_of(scope, global)?;
        let name = key(scope, "waitAsync")?;
        atomics
            .define_own_property(
                scope,
                name.into(),
                original,
                v8::PropertyAttribute::DONT_ENUM,
            )
            .ok_or(Throw::Pending)?;
    }
    install(scope, env, global)
}

fn atomics_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    global: v8::Local<'s, v8::Object>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let name = key(scope, "Atomics")?;
    global
        .get(scope, name.into())
        .and_then(|atomics| v8::Local::<v8::Object>::try_from(atomics).ok())
        .ok_or(Throw::Pending)
}

/// Gives `global`, whose context must be entered and has run no code of a guest, what it may have.
///
/// # Errors
/// Whatever V8 throws, such as in a process that is being ended.
pub fn install<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    global: v8::Local<'s, v8::Object>,
) -> Result<(), Throw> {
    let atomics = atomics_of(scope, global)?;
    let wait_async = key(scope, "waitAsync")?;
    if !is_allowed(env) {
        atomics
            .delete(scope, wait_async.into())
            .ok_or(Throw::Pending)?;
        return Ok(());
    }
    // A waiting thread is woken by the request to terminate it, as by every interrupt of V8's.
    scope.set_allow_atomics_wait(true);
    crate::wasm_memory::set_thread_shares(true);
    let constructor = key(scope, "constructor")?;
    let name = key(scope, "SharedArrayBuffer")?;
    // Only the name on the global object is missing.
    let class = v8::SharedArrayBuffer::new(scope, 0)
        .and_then(|buffer| v8::Local::<v8::Object>::from(buffer).get(scope, constructor.into()))
        .ok_or(Throw::Pending)?;
    global
        .define_own_property(scope, name.into(), class, v8::PropertyAttribute::DONT_ENUM)
        .ok_or(Throw::Pending)?;
    bound_waits(scope, atomics, wait_async)
}

/// Puts [`wait_async`] in the place of V8's function, which it calls.
fn bound_waits(
    scope: &mut v8::PinScope<'_, '_>,
    atomics: v8::Local<v8::Object>,
    name: v8::Local<v8::String>,
) -> Result<(), Throw> {
    let original = atomics.get(scope, name.into()).ok_or(Throw::Pending)?;
    let ended = v8::FunctionBuilder::<v8::Function>::new_raw(WAIT_ENDED)
        .constructor_behavior(v8::ConstructorBehavior::Throw)
        .build(scope)
        .ok_or(Throw::Pending)?;
    let data = v8::Array::new_with_elements(scope, &[original, ended.into()]);
    let bounded = v8::FunctionBuilder::<v8::Function>::new_raw(WAIT_ASYNC)
        .constructor_behavior(v8::ConstructorBehavior::Throw)
        .length(4)
        .data(data.into())
        .build(scope)
        .ok_or(Throw::Pending)?;
    bounded.set_name(name);
    atomics
        .define_own_property(
            scope,
            name.into(),
            bounded.into(),
            v8::PropertyAttribute::DONT_ENUM,
        )
        .ok_or(Throw::Pending)?;
    Ok(())
}

fn key<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
) -> Result<v8::Local<'s, v8::String>, Throw> {
    v8::String::new(scope, name).ok_or(Throw::Pending)
}

/// `Atomics.waitAsync(array, index, value, timeout)`, for as many at a time as there may be timers.
fn wait_async<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let data = v8::Local::<v8::Array>::try_from(args.data()).map_err(|_| Throw::Pending)?;
    let original = data
        .get_index(scope, 0)
        .and_then(|original| v8::Local::<v8::Function>::try_from(original).ok())
        .ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    let max = env.extension::<Installed>().get().timers.max();
    let pending = env.extension::<Waits>().0.get();
    if pending >= max {
        return Err(LimitError {
            limit: "asynchronous wait",
            configured: max,
            used: pending.saturating_add(1),
            option: "maxTimers",
        }
        .into_throw());
    }
    let values = [args.get(0), args.get(1), args.get(2), args.get(3)];
    let count = usize::try_from(args.length()).map_or(0, |count| count.min(values.len()));
    let result = original
        .call(
            scope,
            args.this().into(),
            values.get(..count).unwrap_or_default(),
        )
        .ok_or(Throw::Pending)?;
    // A fresh object of V8's with data properties of its own: the value is a promise when it waits, else a string.
    let value = key(scope, "value")?;
    let promise = v8::Local::<v8::Object>::try_from(result)
        .ok()
        .and_then(|result| result.get(scope, value.into()))
        .and_then(|value| v8::Local::<v8::Promise>::try_from(value).ok());
    if let Some(promise) = promise {
        let waits = &env.extension::<Waits>().0;
        waits.set(waits.get().saturating_add(1));
        let ended = data
            .get_index(scope, 1)
            .and_then(|ended| v8::Local::<v8::Function>::try_from(ended).ok())
            .ok_or(Throw::Pending)?;
        // Runs `Symbol.species` of the guest's; a wait whose end is not heard of then counts until the thread ends.
        promise.then(scope, ended).ok_or(Throw::Pending)?;
    }
    Ok(result)
}

fn wait_ended<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let waits = &env.extension::<Waits>().0;
    waits.set(waits.get().saturating_sub(1));
    Ok(v8::undefined(scope).into())
}
