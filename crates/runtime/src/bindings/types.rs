//! `internalBinding('types')`: brand checks, spread into `util.types`. Source: `src/node_types.cc`.

use crate::binding::{Args, Binding, Ret, function};

macro_rules! predicates {
    ($($name:literal $function:ident $method:ident),+ $(,)?) => {
        $(pub(super) fn $function<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
            Ok(v8::Boolean::new(scope, args.get(0).$method()).into())
        })+
        /// See the module's text.
        pub static BINDING: Binding = Binding {
            name: "types",
            functions: &[
                $(($name, function!($function)),)+
                ("isAnyArrayBuffer", function!(is_any_array_buffer)),
                ("isBoxedPrimitive", function!(is_boxed_primitive)),
            ],
            ..Binding::DEFAULT
        };
    };
}

predicates! {
    "isExternal" is_external is_external,
    "isDate" is_date is_date,
    "isArgumentsObject" is_arguments_object is_arguments_object,
    "isBigIntObject" is_big_int_object is_big_int_object,
    "isBooleanObject" is_boolean_object is_boolean_object,
    "isNumberObject" is_number_object is_number_object,
    "isStringObject" is_string_object is_string_object,
    "isSymbolObject" is_symbol_object is_symbol_object,
    "isNativeError" is_native_error is_native_error,
    "isRegExp" is_reg_exp is_reg_exp,
    "isAsyncFunction" is_async_function is_async_function,
    "isGeneratorFunction" is_generator_function is_generator_function,
    "isGeneratorObject" is_generator_object is_generator_object,
    "isPromise" is_promise is_promise,
    "isMap" is_map is_map,
    "isSet" is_set is_set,
    "isMapIterator" is_map_iterator is_map_iterator,
    "isSetIterator" is_set_iterator is_set_iterator,
    "isWeakMap" is_weak_map is_weak_map,
    "isWeakSet" is_weak_set is_weak_set,
    "isArrayBuffer" is_array_buffer is_array_buffer,
    "isDataView" is_data_view is_data_view,
    "isSharedArrayBuffer" is_shared_array_buffer is_shared_array_buffer,
    "isProxy" is_proxy is_proxy,
    "isModuleNamespaceObject" is_module_namespace_object is_module_namespace_object,

}

pub(super) fn is_any_array_buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let value = args.get(0);
    Ok(v8::Boolean::new(
        scope,
        value.is_array_buffer() || value.is_shared_array_buffer(),
    )
    .into())
}

fn is_boxed_primitive<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(0);
    let boxed = value.is_number_object()
        || value.is_string_object()
        || value.is_boolean_object()
        || value.is_big_int_object()
        || value.is_symbol_object();
    Ok(v8::Boolean::new(scope, boxed).into())
}
