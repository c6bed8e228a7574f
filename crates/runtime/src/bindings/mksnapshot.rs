//! `internalBinding('mksnapshot')`: how the library takes part in building our startup snapshot.
//! Source: `src/node_snapshotable.cc`. A guest's own `v8.startupSnapshot` is not available.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "mksnapshot",
    functions: &[
        ("setSerializeCallback", function!(set_serialize_callback)),
        (
            "setDeserializeCallback",
            function!(set_deserialize_callback),
        ),
        (
            "setDeserializeMainFunction",
            function!(set_deserialize_main_function),
        ),
    ],
    ..Binding::DEFAULT
};

fn keep<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, key: &str) -> Ret<'s> {
    if args.get(0).is_function() {
        Env::of(scope).register(scope, key, args.get(0));
    }
    Ok(v8::undefined(scope).into())
}

fn set_serialize_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args, "snapshotSerialize")
}

fn set_deserialize_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args, "snapshotDeserialize")
}

fn set_deserialize_main_function<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    keep(scope, args, "snapshotMain")
}
