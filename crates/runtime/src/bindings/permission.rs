//! `internalBinding('permission')`: Node's own permission model is off in guests; the kernel decides.

use crate::binding::{Args, Binding, Ret, function};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "permission",
    functions: &[("has", function!(has))],
    ..Binding::DEFAULT
};

fn has<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, true).into())
}
