//! `internalBinding('config')`. Source: `src/node_config.cc`. The recorded surface gives the constants.

use crate::binding::{Args, Binding, Ret, function};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "config",
    functions: &[("getDefaultLocale", function!(get_default_locale))],
    ..Binding::DEFAULT
};

fn get_default_locale<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::String::new(scope, "en-US")
        .ok_or(Throw::Pending)?
        .into())
}
