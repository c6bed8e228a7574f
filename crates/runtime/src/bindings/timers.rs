//! `internalBinding('timers')`: the library's one timer and its immediates. Source: `src/timers.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::budget::Installed;
use crate::env::Env;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "timers",
    functions: &[
        ("setupTimers", function!(setup_timers)),
        ("getLibuvNow", function!(get_libuv_now)),
        ("scheduleTimer", function!(schedule_timer)),
        ("toggleTimerRef", function!(toggle_timer_ref)),
        ("toggleImmediateRef", function!(toggle_immediate_ref)),
    ],
    ..Binding::DEFAULT
};

fn setup_timers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    env.register(scope, "processImmediate", args.get(0));
    env.register(scope, "processTimers", args.get(1));
    Ok(v8::undefined(scope).into())
}

fn get_libuv_now<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    // The library asks for the time when it is about to arm a timer, which it has counted by then. That count lies in
    // memory that the guest's code does not reach.
    if let Some(info) = env.buffer(scope, "timers.timeoutInfo") {
        let active = info.get::<i32>(0);
        let budgets = env.extension::<Installed>().get();
        if let Err(error) = budgets.timers.observe(u64::try_from(active).unwrap_or(0)) {
            info.set(0, active - 1);
            return Err(error.into_throw());
        }
    }
    let now = env.loop_now();
    Ok(v8::Number::new(scope, now).into())
}

fn schedule_timer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let duration = args.get(0).number_value(scope).unwrap_or(1.0);
    let env = Env::of(scope);
    env.event_loop
        .schedule_timer(env.loop_now(), duration.trunc());
    Ok(v8::undefined(scope).into())
}

fn toggle_timer_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let referenced = args.get(0).boolean_value(scope);
    Env::of(scope).event_loop.set_timer_ref(referenced);
    Ok(v8::undefined(scope).into())
}

fn toggle_immediate_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let referenced = args.get(0).boolean_value(scope);
    Env::of(scope).event_loop.set_immediate_ref(referenced);
    Ok(v8::undefined(scope).into())
}
