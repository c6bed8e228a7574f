//! `internalBinding('wasm_web_api')`: `WebAssembly.compileStreaming`. Source: `src/node_wasm_web_api.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;

/// See the module's text.
pub static BINDING: Binding =
    Binding { name: "wasm_web_api", functions: &[("setImplementation", function!(set_implementation))], ..Binding::DEFAULT };

fn set_implementation<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "wasm_web_api.implementation", args.get(0));
    Ok(v8::undefined(scope).into())
}
