//! `internalBinding('trace_events')`: tracing is off in guests. Source: `src/node_trace_events.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "trace_events",
    functions: &[
        (
            "getCategoryEnabledBuffer",
            function!(get_category_enabled_buffer),
        ),
        (
            "isTraceCategoryEnabled",
            function!(is_trace_category_enabled),
        ),
        ("setTraceCategoryStateUpdateHandler", function!(ignore)),
        ("trace", function!(ignore)),
        ("getEnabledCategories", function!(ignore)),
    ],
    ..Binding::DEFAULT
};

fn get_category_enabled_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let buffer = v8::ArrayBuffer::new(scope, 1);
    Ok(v8::Uint8Array::new(scope, buffer, 0, 1)
        .ok_or(Throw::Pending)?
        .into())
}

fn is_trace_category_enabled<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}

fn ignore<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}
