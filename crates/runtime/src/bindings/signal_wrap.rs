//! `internalBinding('signal_wrap')`: handles that listen for signals. Source: `src/signal_wrap.cc`.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use secure_exec_kernel::{Errno, can_catch};

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::env::Env;
use crate::signals::{Handles, Started};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "signal_wrap",
    classes: &[Class {
        name: "Signal",
        parent: Some("fs.HandleWrap"),
        constructor: Some(function!(construct)),
        methods: &[("start", function!(start)), ("stop", function!(stop))],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "SIGNALWRAP",
    number: 35,
};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The Rust side of a `Signal` object.
struct Signal {
    id: u64,
    /// 0 while it listens to none.
    number: Cell<i32>,
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Signal"));
    }
    let signal = Signal {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        number: Cell::new(0),
    };
    let env = Env::of(scope);
    Resource::wrap_handle(scope, &env, args.this(), PROVIDER, close, Rc::new(signal));
    Ok(args.this().into())
}

/// Stops listening.
fn forget(env: &Env, signal: &Signal) {
    let number = signal.number.replace(0);
    let forgotten: Vec<Started> = {
        let handles = env.extension::<Handles>();
        let mut started = handles.0.borrow_mut();
        started
            .extract_if(.., |started| started.id == signal.id)
            .collect()
    };
    drop(forgotten);
    env.update_caught(number);
}

fn close(env: &Env, resource: &Resource) {
    if let Some(signal) = resource.inner::<Signal>() {
        forget(env, &signal);
    }
}

/// `start(signal)`; answers libuv's error number or 0.
fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, signal) = Resource::this::<Signal>(scope, args)?;
    let number = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    if resource.is_closing() || !can_catch(number) {
        return Ok(v8::Integer::new(scope, Errno::EINVAL.uv()).into());
    }
    let env = Env::of(scope);
    forget(&env, &signal);
    signal.number.set(number);
    let object = v8::Global::new(scope, args.this());
    env.extension::<Handles>().0.borrow_mut().push(Started {
        number,
        id: signal.id,
        object,
    });
    resource.activate(scope, &env, args.this());
    env.update_caught(number);
    Ok(v8::Integer::new(scope, 0).into())
}

fn stop<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (resource, signal) = Resource::this::<Signal>(scope, args)?;
    let env = Env::of(scope);
    forget(&env, &signal);
    resource.set_active(&env, false);
    resource.let_go();
    Ok(v8::Integer::new(scope, 0).into())
}
