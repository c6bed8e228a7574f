//! `internalBinding('profiler')`: coverage in files. Source: `src/inspector_profiler.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::inspector::profiles;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "profiler",
    functions: &[
        ("setCoverageDirectory", function!(set_coverage_directory)),
        (
            "setSourceMapCacheGetter",
            function!(set_source_map_cache_getter),
        ),
        ("takeCoverage", function!(take_coverage)),
        ("stopCoverage", function!(stop_coverage)),
        ("endCoverage", function!(end_coverage)),
    ],
    ..Binding::DEFAULT
};

fn set_coverage_directory<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let directory = crate::bindings::fs::argument::path(scope, args.get(0))?;
    profiles::set_directory(
        &Env::of(scope),
        String::from_utf8_lossy(&directory).into_owned(),
    );
    Ok(v8::undefined(scope).into())
}

fn set_source_map_cache_getter<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.get(0).is_function() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"getter\" argument must be of type function.",
        ));
    }
    Env::of(scope).register(scope, "profiler.sourceMapCacheGetter", args.get(0));
    Ok(v8::undefined(scope).into())
}

fn take_coverage<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    profiles::take_coverage(scope, &Env::of(scope));
    Ok(v8::undefined(scope).into())
}

fn stop_coverage<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    profiles::stop_coverage(scope, &Env::of(scope));
    Ok(v8::undefined(scope).into())
}

fn end_coverage<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    profiles::end_coverage(scope, &Env::of(scope));
    Ok(v8::undefined(scope).into())
}
