//! `internalBinding('js_udp_wrap')`: a datagram socket that JavaScript is behind. Source: `src/js_udp_wrap.cc`.
//!
//! Only QUIC listens to datagram sockets below JavaScript. Without it, what such a socket receives goes nowhere, as in a
//! Node without QUIC.

use std::rc::Rc;

use secure_exec_kernel::Errno;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::argument;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::env::Env;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "js_udp_wrap",
    classes: &[Class {
        name: "JSUDPWrap",
        parent: Some("fs.AsyncWrap"),
        constructor: Some(function!(construct)),
        methods: &[
            ("recvStart", function!(recv_start)),
            ("recvStop", function!(recv_stop)),
            ("emitReceived", function!(emit_received)),
            ("onSendDone", function!(on_send_done)),
            ("onAfterBind", function!(on_after_bind)),
        ],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "JSUDPWRAP",
    number: 20,
};

/// What is behind a `JSUDPWrap`: nothing, all is in its object.
struct JsUdp;

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("JSUDPWrap"));
    }
    let env = Env::of(scope);
    Resource::wrap(scope, &env, args.this(), PROVIDER, Rc::new(JsUdp));
    Ok(v8::undefined(scope).into())
}

fn recv_start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    call(scope, args, "onreadstart")
}

fn recv_stop<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    call(scope, args, "onreadstop")
}

fn call<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, name: &str) -> Ret<'s> {
    let (resource, _) = Resource::this::<JsUdp>(scope, args)?;
    let env = Env::of(scope);
    let status = env
        .make_callback_named(scope, args.this(), name, &[], resource.context())
        .and_then(|status| status.int32_value(scope))
        .unwrap_or(Errno::EPROTO.uv());
    Ok(v8::Integer::new(scope, status).into())
}

/// `emitReceived(buffer, family, address, port, flags)`
fn emit_received<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Resource::this::<JsUdp>(scope, args)?;
    let valid = args.get(0).is_array_buffer_view()
        && args.get(1).is_int32()
        && args.get(2).is_string()
        && args.get(3).is_int32()
        && args.get(4).is_int32();
    if !valid {
        return Err(argument::invalid("datagram"));
    }
    Ok(v8::undefined(scope).into())
}

/// `onSendDone(req, status)`
fn on_send_done<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Resource::this::<JsUdp>(scope, args)?;
    if !args.get(0).is_object() || !args.get(1).is_int32() {
        return Err(argument::invalid("req"));
    }
    Ok(v8::undefined(scope).into())
}

/// `onAfterBind()`
fn on_after_bind<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Resource::this::<JsUdp>(scope, args)?;
    Ok(v8::undefined(scope).into())
}
