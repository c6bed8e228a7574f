//! `internalBinding('messaging')`. Source: `src/node_messaging.cc`.

use crate::binding::{Args, Binding, Ret, accessor_reference, function};
use crate::env::Env;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "messaging",
    functions: &[
        ("setDeserializerCreateObjectFunction", function!(set_deserializer_create_object_function)),
        ("exposeLazyDOMExceptionProperty", function!(expose_lazy_dom_exception_property)),
    ],
    references: || vec![accessor_reference(dom_exception_getter)],
    ..Binding::DEFAULT
};

fn set_deserializer_create_object_function<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "messaging.deserializerCreateObject", args.get(0));
    Ok(v8::undefined(scope).into())
}

/// `DOMException` of this context, from `internal/per_context/domexception`.
pub fn dom_exception<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Value>> {
    let exports = Env::of(scope).registered(scope, "perContextExports")?;
    let exports = v8::Local::<v8::Object>::try_from(exports).ok()?;
    let key = v8::String::new(scope, "DOMException")?;
    exports.get(scope, key.into())
}

fn dom_exception_getter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _key: v8::Local<'s, v8::Name>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    if let Some(value) = dom_exception(scope) {
        result.set(value);
    }
}

fn expose_lazy_dom_exception_property<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "The target must be an object"))?;
    let key = v8::String::new(scope, "DOMException").ok_or(Throw::Pending)?;
    let undefined = v8::undefined(scope).into();
    target.set_lazy_data_property_with_data(
        scope,
        key.into(),
        dom_exception_getter,
        undefined,
        v8::PropertyAttribute::DONT_ENUM,
        v8::SideEffectType::HasNoSideEffect,
        v8::SideEffectType::HasSideEffect,
    );
    Ok(v8::undefined(scope).into())
}
