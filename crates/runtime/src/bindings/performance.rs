//! `internalBinding('performance')`. Source: `src/node_perf.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "performance",
    functions: &[("markBootstrapComplete", function!(mark_bootstrap_complete)), ("now", function!(now))],
    ..Binding::DEFAULT
};

fn mark_bootstrap_complete<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn now<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let now = Env::of(scope).clock().elapsed().as_secs_f64() * 1e3;
    Ok(v8::Number::new(scope, now).into())
}
