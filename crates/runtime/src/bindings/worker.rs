//! `internalBinding('worker')`. Source: `src/node_worker.cc`.
//!
//! The recorded surface holds the main thread's constants. A process has one thread: `new Worker` says so with Node's
//! error for a feature that a platform lacks, before the library does anything else.

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::env::Env;
use crate::permission_model::Scope;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "worker",
    functions: &[("getEnvMessagePort", function!(get_env_message_port))],
    classes: &[Class {
        name: "Worker",
        constructor: Some(function!(worker)),
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

fn worker<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).require_permission(Scope::WorkerThreads, b"")?;
    Err(Throw::unavailable("worker_threads.Worker"))
}

/// The main thread has no parent to talk to.
fn get_env_message_port<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}
