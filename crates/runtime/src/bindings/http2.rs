//! `internalBinding('http2')`: for now what loading `node:http2` needs. Source: `src/node_http2.cc`.

use crate::binding::{Args, Binding, Ret, function};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "http2",
    functions: &[("setCallbackFunctions", function!(set_callback_functions))],
    ..Binding::DEFAULT
};

/// No session can be made, so no callback is ever called.
fn set_callback_functions<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}
