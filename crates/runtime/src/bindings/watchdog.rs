//! `internalBinding('watchdog')`: `--trace-sigint`. Source: `src/node_watchdog.cc`.

use std::cell::RefCell;
use std::rc::Rc;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::env::Env;
use crate::sigint::Watch;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "watchdog",
    classes: &[Class {
        name: "TraceSigintWatchdog",
        parent: Some("fs.HandleWrap"),
        constructor: Some(function!(construct)),
        methods: &[("start", function!(start)), ("stop", function!(stop))],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "SIGINTWATCHDOG",
    number: 44,
};

/// The Rust side of a `TraceSigintWatchdog`.
struct TraceSigint(RefCell<Option<Watch>>);

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("TraceSigintWatchdog"));
    }
    let env = Env::of(scope);
    let state = Rc::new(TraceSigint(RefCell::default()));
    Resource::wrap_handle(scope, &env, args.this(), PROVIDER, close, state);
    Ok(args.this().into())
}

fn end(env: &Env, state: &TraceSigint) {
    let watch = state.0.take();
    if let Some(watch) = watch {
        watch.end(env);
    }
}

fn close(env: &Env, resource: &Resource) {
    if let Some(state) = resource.inner::<TraceSigint>() {
        end(env, &state);
    }
}

fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, state) = Resource::this::<TraceSigint>(scope, args)?;
    let env = Env::of(scope);
    if !resource.is_closing() && state.0.borrow().is_none() {
        state.0.replace(Watch::trace(&env));
    }
    Ok(v8::undefined(scope).into())
}

fn stop<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, state) = Resource::this::<TraceSigint>(scope, args)?;
    end(&Env::of(scope), &state);
    Ok(v8::undefined(scope).into())
}
