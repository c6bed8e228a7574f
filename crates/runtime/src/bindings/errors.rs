//! `internalBinding('errors')`: stack traces and uncaught exceptions. Source: `src/node_errors.cc`.

use std::cell::Cell;

use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::options;
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::fatal_exception::{Enhance, report};
use crate::latch::End;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "errors",
    functions: &[
        (
            "setPrepareStackTraceCallback",
            function!(set_prepare_stack_trace_callback),
        ),
        (
            "setGetSourceMapErrorSource",
            function!(set_get_source_map_error_source),
        ),
        ("setSourceMapsEnabled", function!(set_source_maps_enabled)),
        (
            "setMaybeCacheGeneratedSourceMap",
            function!(set_maybe_cache_generated_source_map),
        ),
        (
            "setEnhanceStackForFatalException",
            function!(set_enhance_stack_for_fatal_exception),
        ),
        (
            "noSideEffectsToString",
            function!(no_side_effects_to_string),
        ),
        (
            "triggerUncaughtException",
            function!(trigger_uncaught_exception),
        ),
        (
            "getErrorSourcePositions",
            function!(get_error_source_positions),
        ),
    ],
    init: Some(init),
    restore: Some(restore),
    ..Binding::DEFAULT
};

/// Frames that V8 captures of an uncaught exception with `--trace-uncaught`.
const UNCAUGHT_FRAMES: i32 = 10;

/// Whether stacks may be formatted now, which runs the guest's `Error.prepareStackTrace`.
#[derive(Default)]
pub struct Formatting(Cell<bool>);

impl Formatting {
    /// Forbids formatting, or allows it again.
    pub fn forbid(&self, forbidden: bool) {
        self.0.set(forbidden);
    }
}

fn init(scope: &mut v8::PinScope<'_, '_>, env: &Env, _target: v8::Local<v8::Object>) {
    // V8's own getter of `stack`, to be told from the guest's.
    let text = v8::String::empty(scope);
    let getter = v8::Local::<v8::Object>::try_from(v8::Exception::error(scope, text))
        .ok()
        .and_then(|error| {
            let stack = v8::String::new(scope, "stack")?;
            let descriptor = error.get_own_property_descriptor(scope, stack.into())?;
            let key = v8::String::new(scope, "get")?;
            v8::Local::<v8::Object>::try_from(descriptor)
                .ok()?
                .get(scope, key.into())
        });
    if let Some(getter) = getter.filter(|getter| getter.is_function()) {
        env.register(scope, "errors.stackGetter", getter);
    }
}

fn restore(scope: &mut v8::PinScope<'_, '_>, _env: &Env) {
    scope.set_prepare_stack_trace_callback(prepare_stack_trace);
    scope.add_message_listener_with_error_level(
        on_message,
        v8::MessageErrorLevel::WARNING | v8::MessageErrorLevel::ERROR,
    );
}

/// Applies the options of the process, which are known after its isolate was made.
pub fn apply_options(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    let given = |(name, _): &(String, _)| name == "--stack-trace-limit";
    if env.options().node_options.iter().any(given)
        && let Some(limit) = options::number(env, "--stack-trace-limit")
    {
        set_stack_trace_limit(scope, limit);
    }
    // An abort tells where the exception was thrown.
    if options::flag(env, "--trace-uncaught") || options::flag(env, "--abort-on-uncaught-exception")
    {
        scope.set_capture_stack_trace_for_uncaught_exceptions(true, UNCAUGHT_FRAMES);
    }
}

/// Sets `Error.stackTraceLimit`.
fn set_stack_trace_limit(scope: &mut v8::PinScope<'_, '_>, limit: f64) {
    let global = scope.get_current_context().global(scope);
    let (Some(name), Some(key)) = (
        v8::String::new(scope, "Error"),
        v8::String::new(scope, "stackTraceLimit"),
    ) else {
        return;
    };
    let error = global.get(scope, name.into());
    if let Some(error) = error.and_then(|error| v8::Local::<v8::Object>::try_from(error).ok()) {
        let limit = v8::Number::new(scope, limit).into();
        error.set(scope, key.into(), limit);
    }
}

/// Formats `error.stack` through the library, which honours the guest's `Error.prepareStackTrace`.
fn prepare_stack_trace<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    trace: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    let env = Env::of(scope);
    let allowed = !env.is_ending() && !env.extension::<Formatting>().0.get();
    let Some(callback) = env
        .function(scope, "errors.prepareStackTrace")
        .filter(|_| allowed)
    else {
        return error
            .to_detail_string(scope)
            .map_or_else(|| v8::undefined(scope).into(), Into::into);
    };
    let undefined = v8::undefined(scope).into();
    let global = scope.get_current_context().global(scope).into();
    let args = [global, error, trace.into()];
    callback.call(scope, undefined, &args).unwrap_or(undefined)
}

/// V8's warnings (of `asm.js`, for example) become `process.emitWarning(text, 'V8')`; exceptions that V8 itself catches
/// (in promise hooks) are uncaught ones.
unsafe extern "C" fn on_message(message: v8::Local<v8::Message>, error: v8::Local<v8::Value>) {
    v8::callback_scope!(unsafe scope, message);
    v8::scope!(let scope, scope);
    let env = Env::of(scope);
    if env.is_ending() {
        return;
    }
    if message.error_level() == v8::MessageErrorLevel::ERROR.bits() {
        let (error, message) = (v8::Local::new(scope, error), v8::Local::new(scope, message));
        env.trigger_uncaught_exception(scope, error, Some(message), false);
        return;
    }
    v8::tc_scope!(let scope, scope);
    let resource = message
        .get_script_resource_name(scope)
        .filter(|name| name.is_string());
    let resource = resource
        .map(|name| name.to_rust_string_lossy(scope))
        .unwrap_or_default();
    let line = message
        .get_line_number(scope)
        .and_then(|line| i64::try_from(line).ok())
        .unwrap_or(-1);
    let text = format!(
        "{resource}:{line} {}",
        message.get(scope).to_rust_string_lossy(scope)
    );
    let (Some(process), Some(text), Some(kind)) = (
        env.process_object(scope),
        v8::String::new(scope, &text),
        v8::String::new(scope, "V8"),
    ) else {
        return;
    };
    env.make_callback_named(
        scope,
        process,
        "emitWarning",
        &[text.into(), kind.into()],
        AsyncContext::default(),
    );
}

/// Whether stack traces are mapped through source maps.
pub(crate) fn source_maps_enabled(env: &Env, scope: &mut v8::PinScope<'_, '_>) -> bool {
    env.registered(scope, "errors.sourceMapsEnabled")
        .is_some_and(|value| value.is_true())
}

fn keep<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    key: &str,
) -> Ret<'s> {
    if !value.is_function() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"callback\" argument must be of type function.",
        ));
    }
    Env::of(scope).register(scope, key, value);
    Ok(v8::undefined(scope).into())
}

fn set_prepare_stack_trace_callback<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    keep(scope, args.get(0), "errors.prepareStackTrace")
}

fn set_get_source_map_error_source<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    keep(scope, args.get(0), "errors.getSourceMapErrorSource")
}

fn set_source_maps_enabled<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let enabled = args.get(0).is_true();
    let value = v8::Boolean::new(scope, enabled).into();
    env.register(scope, "errors.sourceMapsEnabled", value);
    Ok(v8::undefined(scope).into())
}

fn set_maybe_cache_generated_source_map<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    keep(scope, args.get(0), "errors.maybeCacheGeneratedSourceMap")
}

fn set_enhance_stack_for_fatal_exception<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    keep(scope, args.get(0), "errors.enhanceBeforeInspector")?;
    keep(scope, args.get(1), "errors.enhanceAfterInspector")
}

/// V8's description of a value, for which it runs none of the guest's code.
fn no_side_effects_to_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Ok(args
        .get(0)
        .to_detail_string(scope)
        .map_or_else(|| v8::undefined(scope).into(), Into::into))
}

fn trigger_uncaught_exception<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let message = v8::Exception::create_message(scope, args.get(0));
    let from_promise = args.get(1).is_true();
    let env = Env::of(scope);
    let is_worker = env.extension::<crate::threads::Thread>().is_worker();
    if options::flag(&env, "--abort-on-uncaught-exception") && !is_worker {
        report(&env, scope, args.get(0), Some(message), Enhance::Yes);
        return Err(env.end(scope, End::Signal(secure_exec_kernel::SIGABRT)));
    }
    env.trigger_uncaught_exception(scope, args.get(0), Some(message), from_promise);
    if env.is_ending() {
        return Err(Throw::Pending);
    }
    Ok(v8::undefined(scope).into())
}

/// Where `error` was made: `{ sourceLine, scriptResourceName, lineNumber, startColumn }`.
fn get_error_source_positions<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.get(0).is_object() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"error\" argument must be an object.",
        ));
    }
    let message = v8::Exception::create_message(scope, args.get(0));
    let line = message
        .get_source_line(scope)
        .map_or_else(|| v8::undefined(scope).into(), Into::into);
    let resource = message
        .get_script_resource_name(scope)
        .unwrap_or_else(|| v8::undefined(scope).into());
    let number = message
        .get_line_number(scope)
        .and_then(|number| i32::try_from(number).ok())
        .unwrap_or(0);
    let number = v8::Integer::new(scope, number).into();
    let column = i32::try_from(message.get_start_column()).unwrap_or(0);
    let column = v8::Integer::new(scope, column).into();
    let null = v8::null(scope).into();
    let positions = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    for (key, value) in [
        ("sourceLine", line),
        ("scriptResourceName", resource),
        ("lineNumber", number),
        ("startColumn", column),
    ] {
        set(scope, positions, key, value);
    }
    Ok(positions.into())
}
