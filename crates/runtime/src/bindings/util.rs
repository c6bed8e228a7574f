//! `internalBinding('util')`. Source: `src/node_util.cc`.

use crate::binding::{Args, Binding, Ret, accessor_reference, function};
use crate::bindings::types;
use crate::env::Env;
use crate::realm::{PRIVATE_SYMBOLS, private_symbol, set};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "util",
    functions: &[
        ("defineLazyProperties", function!(define_lazy_properties)),
        ("guessHandleType", function!(guess_handle_type)),
        ("isInsideNodeModules", function!(is_inside_node_modules)),
        ("getPromiseDetails", function!(get_promise_details)),
        ("getProxyDetails", function!(get_proxy_details)),
        ("getConstructorName", function!(get_constructor_name)),
        ("getOwnNonIndexProperties", function!(get_own_non_index_properties)),
        ("previewEntries", function!(preview_entries)),
        ("isArrayBuffer", function!(types::is_array_buffer)),
        ("isArrayBufferView", function!(is_array_buffer_view)),
        ("isAsyncFunction", function!(types::is_async_function)),
        ("isDataView", function!(types::is_data_view)),
        ("isDate", function!(types::is_date)),
        ("isExternal", function!(types::is_external)),
        ("isMap", function!(types::is_map)),
        ("isMapIterator", function!(types::is_map_iterator)),
        ("isNativeError", function!(types::is_native_error)),
        ("isPromise", function!(types::is_promise)),
        ("isRegExp", function!(types::is_reg_exp)),
        ("isSet", function!(types::is_set)),
        ("isSetIterator", function!(types::is_set_iterator)),
        ("isTypedArray", function!(is_typed_array)),
        ("isUint8Array", function!(is_uint8_array)),
        ("isAnyArrayBuffer", function!(types::is_any_array_buffer)),
    ],
    references: || vec![accessor_reference(lazy_property_getter)],
    init: Some(init),
    ..Binding::DEFAULT
};

/// Index of `FILE` among the library's handle types.
const HANDLE_TYPE_FILE: i32 = 3;

fn init(scope: &mut v8::PinScope<'_, '_>, env: &Env, target: v8::Local<v8::Object>) {
    if let Some(privates) = env.registered(scope, "privateSymbols") {
        set(scope, target, "privateSymbols", privates);
    }
}

/// The object whose values are V8 privates.
pub fn private_symbols_object<'s>(scope: &mut v8::PinScope<'s, '_>) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let template = v8::ObjectTemplate::new(scope);
    for (name, _) in PRIVATE_SYMBOLS {
        let private = private_symbol(scope, name);
        let key = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        template.set(key.into(), private.into());
    }
    template.new_instance(scope).ok_or(Throw::Pending)
}

fn is_array_buffer_view<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, args.get(0).is_array_buffer_view()).into())
}

fn is_typed_array<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, args.get(0).is_typed_array()).into())
}

fn is_uint8_array<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, args.get(0).is_uint8_array()).into())
}

/// `defineLazyProperties(target, id, keys, enumerable)`: each key is taken from `require(id)` on first use.
fn define_lazy_properties<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let invalid = || Throw::type_error("ERR_INVALID_ARG_TYPE", "defineLazyProperties needs an object, an id and keys");
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid())?;
    let id = v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid())?;
    let keys = v8::Local::<v8::Array>::try_from(args.get(2)).map_err(|_| invalid())?;
    let enumerable = args.length() < 4 || args.get(3).is_true();
    for index in 0..keys.length() {
        let key = keys.get_index(scope, index).ok_or(Throw::Pending)?;
        let key = v8::Local::<v8::Name>::try_from(key).map_err(|_| invalid())?;
        let attribute = if enumerable { v8::PropertyAttribute::NONE } else { v8::PropertyAttribute::DONT_ENUM };
        target.set_lazy_data_property_with_data(
            scope,
            key,
            lazy_property_getter,
            id.into(),
            attribute,
            v8::SideEffectType::HasNoSideEffect,
            v8::SideEffectType::HasSideEffect,
        );
    }
    Ok(v8::undefined(scope).into())
}

fn lazy_property_getter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    let Some(require) = Env::of(scope).function(scope, "requireBuiltin") else { return };
    let undefined = v8::undefined(scope).into();
    let Some(exports) = require.call(scope, undefined, &[args.data()]) else { return };
    let Ok(exports) = v8::Local::<v8::Object>::try_from(exports) else { return };
    if let Some(value) = exports.get(scope, key.into()) {
        result.set(value);
    }
}

fn guess_handle_type<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Integer::new(scope, HANDLE_TYPE_FILE).into())
}

fn is_inside_node_modules<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, false).into())
}

/// `[state, result]`; `[state]` alone while pending.
fn get_promise_details<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Ok(promise) = v8::Local::<v8::Promise>::try_from(args.get(0)) else {
        return Ok(v8::undefined(scope).into());
    };
    let state = promise.state();
    let number = match state {
        v8::PromiseState::Pending => 0,
        v8::PromiseState::Fulfilled => 1,
        v8::PromiseState::Rejected => 2,
    };
    let number = v8::Integer::new(scope, number).into();
    Ok(if number_is_pending(state) {
        v8::Array::new_with_elements(scope, &[number]).into()
    } else {
        let result = promise.result(scope);
        v8::Array::new_with_elements(scope, &[number, result]).into()
    })
}

fn number_is_pending(state: v8::PromiseState) -> bool {
    matches!(state, v8::PromiseState::Pending)
}

/// `[target, handler]`, or the target alone when the second argument is `false`.
fn get_proxy_details<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Ok(proxy) = v8::Local::<v8::Proxy>::try_from(args.get(0)) else {
        return Ok(v8::undefined(scope).into());
    };
    let target = proxy.get_target(scope);
    if args.length() == 1 || args.get(1).is_true() {
        let handler = proxy.get_handler(scope);
        return Ok(v8::Array::new_with_elements(scope, &[target, handler]).into());
    }
    Ok(target)
}

fn get_constructor_name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let object = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "The \"object\" argument must be an object"))?;
    Ok(v8::Local::new(scope, object.get_constructor_name()).into())
}

/// `getOwnNonIndexProperties(object, filter)`; the filter is V8's own bit set.
fn get_own_non_index_properties<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const ONLY_ENUMERABLE: u32 = 2;
    let Ok(object) = v8::Local::<v8::Object>::try_from(args.get(0)) else {
        return Ok(v8::undefined(scope).into());
    };
    let filter = args.get(1).uint32_value(scope).unwrap_or(0);
    let filter = if filter & ONLY_ENUMERABLE == 0 {
        v8::PropertyFilter::ALL_PROPERTIES
    } else {
        v8::PropertyFilter::ONLY_ENUMERABLE
    };
    let options = v8::GetPropertyNamesArgsBuilder::new()
        .mode(v8::KeyCollectionMode::OwnOnly)
        .property_filter(filter)
        .index_filter(v8::IndexFilter::SkipIndices)
        .build();
    Ok(object.get_property_names(scope, options).ok_or(Throw::Pending)?.into())
}

/// `previewEntries(object)` for maps, sets and their iterators; with a second argument `[entries, isKeyValue]`.
fn preview_entries<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Ok(object) = v8::Local::<v8::Object>::try_from(args.get(0)) else {
        return Ok(v8::undefined(scope).into());
    };
    let (entries, is_key_value) = object.preview_entries(scope);
    let Some(entries) = entries else { return Ok(v8::undefined(scope).into()) };
    if args.length() < 2 {
        return Ok(entries.into());
    }
    let is_key_value = v8::Boolean::new(scope, is_key_value).into();
    Ok(v8::Array::new_with_elements(scope, &[entries.into(), is_key_value]).into())
}
