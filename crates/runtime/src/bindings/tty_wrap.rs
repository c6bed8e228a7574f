//! `internalBinding('tty_wrap')`: no descriptor of a guest is a terminal. Source: `src/tty_wrap.cc`.

use crate::binding::{Args, Binding, Ret, function};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "tty_wrap",
    functions: &[("isTTY", function!(is_tty))],
    ..Binding::DEFAULT
};

fn is_tty<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}
