//! `gc()`, which contexts have under `--expose-gc`. V8's own needs a flag of the whole OS process, so this one is ours.
//! Source of behaviour: V8's `src/extensions/gc-extension.cc`.

use std::cell::Cell;

use crate::binding::{Args, Callback, Ret, function};
use crate::bindings::options;
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::throw::Throw;

const GC: Callback = function!(collect);

#[derive(Default)]
struct Exposed {
    /// Whether `v8.setFlagsFromString` asked for `gc` in this process.
    by_flag: Cell<bool>,
    collecting: Cell<bool>,
}

/// Whether the collection that runs was asked for by `gc()`.
pub fn is_forced(env: &Env) -> bool {
    env.extension::<Exposed>().collecting.get()
}

/// Gives `gc` to the contexts that are made from now on.
pub fn expose(env: &Env, exposed: bool) {
    env.extension::<Exposed>().by_flag.set(exposed);
}

/// Puts `gc` on `global`, if this process is to have it. Its context must be entered.
pub fn install(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    global: v8::Local<v8::Object>,
) -> Result<(), Throw> {
    if !options::flag(env, "--expose-gc") && !env.extension::<Exposed>().by_flag.get() {
        return Ok(());
    }
    let name = v8::String::new(scope, "gc").ok_or(Throw::Pending)?;
    let function = v8::FunctionBuilder::<v8::Function>::new_raw(GC)
        .constructor_behavior(v8::ConstructorBehavior::Throw)
        .build(scope)
        .ok_or(Throw::Pending)?;
    function.set_name(name);
    global
        .define_own_property(
            scope,
            name.into(),
            function.into(),
            v8::PropertyAttribute::DONT_DELETE,
        )
        .ok_or(Throw::Pending)?;
    Ok(())
}

/// `gc(options)`: a promise for `{ execution: 'async' }`. Every kind of collection is a full one.
fn collect<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !is_async(scope, args.get(0))? {
        full(scope);
        return Ok(v8::undefined(scope).into());
    }
    let env = Env::of(scope);
    let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
    let promise = resolver.get_promise(scope);
    let resolver = v8::Global::new(scope, resolver);
    // No JavaScript is on the stack then, so that nothing is kept that only a caller holds.
    env.event_loop.complete(Box::new(move |scope, env| {
        full(scope);
        let Some(process) = env.process_object(scope) else {
            return;
        };
        env.in_callback_scope(scope, process, AsyncContext::default(), |scope| {
            let undefined = v8::undefined(scope).into();
            let resolver = v8::Local::new(scope, &resolver);
            resolver.resolve(scope, undefined).map(|_| undefined)
        });
    }));
    Ok(promise.into())
}

fn is_async<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Value>,
) -> Result<bool, Throw> {
    let Ok(options) = v8::Local::<v8::Object>::try_from(options) else {
        return Ok(false);
    };
    let key = v8::String::new(scope, "execution").ok_or(Throw::Pending)?;
    let execution = options.get(scope, key.into()).ok_or(Throw::Pending)?;
    let wanted = v8::String::new(scope, "async").ok_or(Throw::Pending)?;
    Ok(execution.strict_equals(wanted.into()))
}

/// One collection of the whole heap, as V8 makes it when memory is short.
fn full(scope: &mut v8::PinScope<'_, '_>) {
    let exposed = Env::of(scope).extension::<Exposed>();
    exposed.collecting.set(true);
    scope.memory_pressure_notification(v8::MemoryPressureLevel::Critical);
    exposed.collecting.set(false);
}
