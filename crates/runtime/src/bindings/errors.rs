//! `internalBinding('errors')`: stack traces and uncaught exceptions. Source: `src/node_errors.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "errors",
    functions: &[
        ("setPrepareStackTraceCallback", function!(set_prepare_stack_trace_callback)),
        ("setGetSourceMapErrorSource", function!(set_get_source_map_error_source)),
        ("setSourceMapsEnabled", function!(set_source_maps_enabled)),
        ("setMaybeCacheGeneratedSourceMap", function!(set_maybe_cache_generated_source_map)),
        ("setEnhanceStackForFatalException", function!(set_enhance_stack_for_fatal_exception)),
        ("noSideEffectsToString", function!(no_side_effects_to_string)),
        ("triggerUncaughtException", function!(trigger_uncaught_exception)),
    ],
    restore: Some(restore),
    ..Binding::DEFAULT
};

fn restore(scope: &mut v8::PinScope<'_, '_>, _env: &Env) {
    scope.set_prepare_stack_trace_callback(prepare_stack_trace);
}

/// Formats `error.stack` through the library, which honours the guest's `Error.prepareStackTrace`.
fn prepare_stack_trace<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    trace: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    let env = Env::of(scope);
    let Some(callback) = env.function(scope, "errors.prepareStackTrace").filter(|_| !env.is_ending()) else {
        return error.to_detail_string(scope).map_or_else(|| v8::undefined(scope).into(), Into::into);
    };
    let undefined = v8::undefined(scope).into();
    let global = scope.get_current_context().global(scope).into();
    let args = [global, error, trace.into()];
    callback.call(scope, undefined, &args).unwrap_or(undefined)
}

fn keep<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>, key: &str) -> Ret<'s> {
    Env::of(scope).register(scope, key, value);
    Ok(v8::undefined(scope).into())
}

fn set_prepare_stack_trace_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args.get(0), "errors.prepareStackTrace")
}

fn set_get_source_map_error_source<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args.get(0), "errors.getSourceMapErrorSource")
}

fn set_source_maps_enabled<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args.get(0), "errors.sourceMapsEnabled")
}

fn set_maybe_cache_generated_source_map<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args.get(0), "errors.maybeCacheGeneratedSourceMap")
}

fn set_enhance_stack_for_fatal_exception<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args.get(0), "errors.enhanceBeforeInspector")?;
    keep(scope, args.get(1), "errors.enhanceAfterInspector")
}

fn no_side_effects_to_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Ok(args.get(0).to_detail_string(scope).map_or_else(|| v8::undefined(scope).into(), Into::into))
}

fn trigger_uncaught_exception<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let message = v8::Exception::create_message(scope, args.get(0));
    let from_promise = args.get(1).is_true();
    let env = Env::of(scope);
    env.trigger_uncaught_exception(scope, args.get(0), Some(message), from_promise);
    Ok(v8::undefined(scope).into())
}
