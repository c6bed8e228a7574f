//! `internalBinding('sea')`: guests are no single executable applications. Source: `src/node_sea.cc`.

use crate::binding::{Args, Binding, Ret, function};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "sea",
    functions: &[
        ("isSea", function!(is_sea)),
        ("isExperimentalSeaWarningNeeded", function!(warns)),
        ("getAsset", function!(get_asset)),
    ],
    ..Binding::DEFAULT
};

fn is_sea<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}

fn warns<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}

fn get_asset<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}
