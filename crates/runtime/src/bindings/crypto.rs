//! `internalBinding('crypto')`: for now what loading `node:crypto` needs; its functions throw until they are written.
//! Source: `src/crypto/crypto_keys.cc`.

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::env::Env;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "crypto",
    functions: &[
        (
            "createNativeKeyObjectClass",
            function!(create_native_key_object_class),
        ),
        ("getFipsCrypto", function!(get_fips_crypto)),
        ("getCachedAliases", function!(empty_object)),
        ("secureHeapUsed", function!(nothing)),
        ("startLoadingCertificatesOffThread", function!(nothing)),
    ],
    classes: &[Class {
        name: "NativeKeyObject",
        constructor: Some(function!(new_native_key_object)),
        hidden: true,
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

fn new_native_key_object<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// Hands the native base class to the library, which answers its `KeyObject`.
fn create_native_key_object_class<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let callback = v8::Local::<v8::Function>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"callback\" argument must be of type function",
        )
    })?;
    let class = Env::of(scope)
        .function(scope, "crypto.NativeKeyObject")
        .ok_or(Throw::Pending)?;
    let undefined = v8::undefined(scope).into();
    callback
        .call(scope, undefined, &[class.into()])
        .ok_or(Throw::Pending)
}

fn get_fips_crypto<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Integer::new(scope, 0).into())
}

/// Aliases of hash algorithms whose numbers the library may cache: none.
fn empty_object<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Object::new(scope).into())
}

/// There is no secure heap and there are no certificates to load.
fn nothing<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}
