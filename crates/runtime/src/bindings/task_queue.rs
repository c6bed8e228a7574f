//! `internalBinding('task_queue')`: microtasks, ticks and unhandled rejections. Source: `src/node_task_queue.cc`.

use std::cell::Cell;

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::throw::Throw;
use crate::tracer::{Event, REJECTIONS};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "task_queue",
    functions: &[
        ("enqueueMicrotask", function!(enqueue_microtask)),
        ("setTickCallback", function!(set_tick_callback)),
        ("runMicrotasks", function!(run_microtasks)),
        (
            "setPromiseRejectCallback",
            function!(set_promise_reject_callback),
        ),
    ],
    restore: Some(restore),
    ..Binding::DEFAULT
};

fn restore(scope: &mut v8::PinScope<'_, '_>, _env: &Env) {
    scope.set_promise_reject_callback(on_promise_reject);
}

fn enqueue_microtask<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let function = v8::Local::<v8::Function>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"callback\" argument must be of type function",
        )
    })?;
    scope.enqueue_microtask(function);
    Ok(v8::undefined(scope).into())
}

fn set_tick_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "tickCallback", args.get(0));
    Ok(v8::undefined(scope).into())
}

fn run_microtasks<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    scope.perform_microtask_checkpoint();
    Ok(v8::undefined(scope).into())
}

fn set_promise_reject_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "promiseRejectCallback", args.get(0));
    Ok(v8::undefined(scope).into())
}

/// Rejections of this thread so far: without a handler, and those of them that got one later.
#[derive(Default)]
struct Rejections {
    unhandled: Cell<u64>,
    handled_after: Cell<u64>,
}

/// Traces the counts of rejections after each that counts.
fn count_rejection(env: &Env, event: v8::PromiseRejectEvent) {
    let counts = env.extension::<Rejections>();
    let count = match event {
        v8::PromiseRejectEvent::PromiseRejectWithNoHandler => &counts.unhandled,
        v8::PromiseRejectEvent::PromiseHandlerAddedAfterReject => &counts.handled_after,
        _ => return,
    };
    count.set(count.get() + 1);
    if env.traces() {
        let (unhandled, handled_after) = (counts.unhandled.get(), counts.handled_after.get());
        env.trace(&Event {
            args: format!("{{\"unhandled\":{unhandled},\"handledAfter\":{handled_after}}}"),
            ..Event::now(env, 'C', REJECTIONS, "rejections")
        });
    }
}

/// Hands rejections to the library, which decides about `unhandledRejection`.
unsafe extern "C" fn on_promise_reject(message: v8::PromiseRejectMessage) {
    v8::callback_scope!(unsafe scope, &message);
    v8::scope!(let scope, scope);
    let env = Env::of(scope);
    if env.is_ending() {
        return;
    }
    count_rejection(&env, message.get_event());
    let Some(callback) = env.function(scope, "promiseRejectCallback") else {
        return;
    };
    let event = message.get_event();
    let kind = match event {
        v8::PromiseRejectEvent::PromiseRejectWithNoHandler => 0,
        v8::PromiseRejectEvent::PromiseHandlerAddedAfterReject => 1,
        v8::PromiseRejectEvent::PromiseRejectAfterResolved => 2,
        v8::PromiseRejectEvent::PromiseResolveAfterResolved => 3,
    };
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    let value = message.get_value().unwrap_or(undefined);
    let args = [
        v8::Integer::new(scope, kind).into(),
        message.get_promise().into(),
        value,
    ];
    // The library's own handler only queues; an exception here is a termination, which V8 keeps pending.
    v8::tc_scope!(catch, scope);
    let _ = callback.call(catch, undefined, &args);
}
