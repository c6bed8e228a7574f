//! `internalBinding('util')`. Source: `src/node_util.cc`.

use std::time::{Duration, Instant};

use secure_exec_kernel::HandleKind;

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
        ("getCallSites", function!(get_call_sites)),
        ("getCallerLocation", function!(get_caller_location)),
        ("getExternalValue", function!(get_external_value)),
        (
            "arrayBufferViewHasBuffer",
            function!(array_buffer_view_has_buffer),
        ),
        ("parseEnv", function!(parse_env)),
        ("sleep", function!(sleep)),
        ("getPromiseDetails", function!(get_promise_details)),
        ("getProxyDetails", function!(get_proxy_details)),
        ("getConstructorName", function!(get_constructor_name)),
        (
            "getOwnNonIndexProperties",
            function!(get_own_non_index_properties),
        ),
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

/// Indexes into the library's list of handle types.
mod handle_type {
    pub const TCP: i32 = 0;
    pub const TTY: i32 = 1;
    pub const UDP: i32 = 2;
    pub const FILE: i32 = 3;
    pub const PIPE: i32 = 4;
    pub const UNKNOWN: i32 = 5;
}

fn init(scope: &mut v8::PinScope<'_, '_>, env: &Env, target: v8::Local<v8::Object>) {
    if let Some(privates) = env.registered(scope, "privateSymbols") {
        set(scope, target, "privateSymbols", privates);
    }
    if let Some(toggle) = env.buffer(scope, "util.shouldAbortOnUncaughtToggle") {
        toggle.set(0, 1_u32);
    }
}

/// The object whose values are V8 privates.
pub fn private_symbols_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
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
    let invalid = || {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "defineLazyProperties needs an object, an id and keys",
        )
    };
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid())?;
    let id = v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid())?;
    let keys = v8::Local::<v8::Array>::try_from(args.get(2)).map_err(|_| invalid())?;
    let enumerable = args.length() < 4 || args.get(3).is_true();
    for index in 0..keys.length() {
        let key = keys.get_index(scope, index).ok_or(Throw::Pending)?;
        let key = v8::Local::<v8::Name>::try_from(key).map_err(|_| invalid())?;
        let attribute = if enumerable {
            v8::PropertyAttribute::NONE
        } else {
            v8::PropertyAttribute::DONT_ENUM
        };
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
    let Some(require) = Env::of(scope).function(scope, "requireBuiltin") else {
        return;
    };
    let undefined = v8::undefined(scope).into();
    let Some(exports) = require.call(scope, undefined, &[args.data()]) else {
        return;
    };
    let Ok(exports) = v8::Local::<v8::Object>::try_from(exports) else {
        return;
    };
    if let Some(value) = exports.get(scope, key.into()) {
        result.set(value);
    }
}

/// What libuv would say of a descriptor, as an index into the library's list of names.
fn guess_handle_type<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    let kind = env.kernel().and_then(|kernel| {
        let process = env.process()?;
        Ok(kernel
            .handle_kind(&process, fd)
            .unwrap_or(HandleKind::Unknown))
    });
    let number = match kind {
        Ok(HandleKind::Pipe) => handle_type::PIPE,
        Ok(HandleKind::Tcp) => handle_type::TCP,
        Ok(HandleKind::Udp) => handle_type::UDP,
        Ok(HandleKind::Tty) => handle_type::TTY,
        Ok(HandleKind::Unknown) => handle_type::UNKNOWN,
        Ok(HandleKind::File) | Err(_) => handle_type::FILE,
    };
    Ok(v8::Integer::new(scope, number).into())
}

/// Whether the first frame outside the library, among the first `limit` frames, is in a `node_modules`.
fn is_inside_node_modules<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const DEFAULT_LIMIT: usize = 10;
    let limit = v8::Local::<v8::Int32>::try_from(args.get(0)).ok();
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| {
        usize::try_from(limit.value()).unwrap_or(0)
    });
    let mut inside = false;
    if let Some(stack) = v8::StackTrace::current_stack_trace(scope, limit.min(MAX_FRAMES)) {
        for index in 0..stack.get_frame_count() {
            let Some(frame) = stack.get_frame(scope, index) else {
                break;
            };
            let Some(name) = frame.get_script_name(scope) else {
                continue;
            };
            let name = name.to_rust_string_lossy(scope);
            if name.is_empty() || name.starts_with("node:") {
                continue;
            }
            inside = name.replace('\\', "/").contains("/node_modules/");
            break;
        }
    }
    Ok(v8::Boolean::new(scope, inside).into())
}

/// Frames that are looked at or answered at most.
const MAX_FRAMES: usize = 201;

fn integer<'s>(scope: &mut v8::PinScope<'s, '_>, number: usize) -> v8::Local<'s, v8::Value> {
    v8::Integer::new_from_unsigned(scope, u32::try_from(number).unwrap_or(0)).into()
}

/// `getCallSites(count)`: the callers of the library's function, as plain objects.
fn get_call_sites<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let count = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    // The first frame is the library's own.
    let limit = usize::try_from(count)
        .unwrap_or(MAX_FRAMES)
        .saturating_add(1)
        .min(MAX_FRAMES);
    let mut sites = Vec::new();
    if let Some(stack) = v8::StackTrace::current_stack_trace(scope, limit) {
        for index in 1..stack.get_frame_count() {
            let Some(frame) = stack.get_frame(scope, index) else {
                break;
            };
            let empty = v8::String::empty(scope);
            let function = frame.get_function_name(scope).unwrap_or(empty).into();
            let script = frame.get_script_name(scope).unwrap_or(empty).into();
            let id = v8::String::new(scope, &frame.get_script_id().to_string())
                .ok_or(Throw::Pending)?
                .into();
            let line = integer(scope, frame.get_line_number());
            let column = integer(scope, frame.get_column());
            let null = v8::null(scope).into();
            let site = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
            for (key, value) in [
                ("functionName", function),
                ("scriptId", id),
                ("scriptName", script),
                ("lineNumber", line),
                ("columnNumber", column),
                ("column", column),
            ] {
                set(scope, site, key, value);
            }
            sites.push(site.into());
        }
    }
    Ok(v8::Array::new_with_elements(scope, &sites).into())
}

/// `[line, column, file]` of the caller's caller.
fn get_caller_location<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    const FRAMES: usize = 2;
    let undefined = v8::undefined(scope).into();
    let Some(stack) = v8::StackTrace::current_stack_trace(scope, FRAMES) else {
        return Ok(undefined);
    };
    if stack.get_frame_count() != FRAMES {
        return Ok(undefined);
    }
    let Some(frame) = stack.get_frame(scope, FRAMES - 1) else {
        return Ok(undefined);
    };
    let Some(file) = frame.get_script_name_or_source_url(scope) else {
        return Ok(undefined);
    };
    let values = [
        integer(scope, frame.get_line_number()),
        integer(scope, frame.get_column()),
        file.into(),
    ];
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

/// Node answers the address behind an external, for `inspect`. Addresses of ours are not for the guest.
fn get_external_value<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let external = v8::Local::<v8::External>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"value\" argument must be an External",
        )
    })?;
    // What guests get of these holds a number of ours, see `stream_base.rs`.
    let number = external.value().addr() as u64;
    Ok(v8::BigInt::new_from_u64(scope, number).into())
}

fn array_buffer_view_has_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"view\" argument must be an instance of ArrayBufferView",
        )
    })?;
    Ok(v8::Boolean::new(scope, view.has_buffer()).into())
}

/// `util.parseEnv(content)`.
fn parse_env<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let content = v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"content\" argument must be of type string.",
        )
    })?;
    let variables = crate::dotenv::parse(&content.to_rust_string_lossy(scope));
    let object = v8::Object::new(scope);
    for (name, value) in variables {
        let name = v8::String::new(scope, &name).ok_or(Throw::Pending)?;
        let value = v8::String::new(scope, &value).ok_or(Throw::Pending)?;
        object
            .set(scope, name.into(), value.into())
            .ok_or(Throw::Pending)?;
    }
    Ok(object.into())
}

/// Blocks for that many milliseconds, or until the process has an end. Frozen time catches up afterwards.
fn sleep<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// How soon the end of the process is noticed.
    const SLICE: Duration = Duration::from_millis(5);
    let millis = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let env = Env::of(scope);
    let deadline = Instant::now() + Duration::from_millis(u64::from(millis));
    loop {
        if env.is_ending() || scope.is_execution_terminating() {
            return Err(Throw::Pending);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(SLICE));
    }
    env.advance_clock();
    Ok(v8::undefined(scope).into())
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
    let object = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"object\" argument must be an object",
        )
    })?;
    Ok(v8::Local::new(scope, object.get_constructor_name()).into())
}

/// `getOwnNonIndexProperties(object, filter)`; the filter is V8's own set of bits.
fn get_own_non_index_properties<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const FILTERS: &[(u32, v8::PropertyFilter)] = &[
        (1, v8::PropertyFilter::ONLY_WRITABLE),
        (2, v8::PropertyFilter::ONLY_ENUMERABLE),
        (4, v8::PropertyFilter::ONLY_CONFIGURABLE),
        (8, v8::PropertyFilter::SKIP_STRINGS),
        (16, v8::PropertyFilter::SKIP_SYMBOLS),
    ];
    let Ok(object) = v8::Local::<v8::Object>::try_from(args.get(0)) else {
        return Ok(v8::undefined(scope).into());
    };
    let bits = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let chosen = FILTERS.iter().filter(|(bit, _)| bits & bit != 0);
    let filter = chosen.fold(v8::PropertyFilter::ALL_PROPERTIES, |all, (_, filter)| {
        all | *filter
    });
    let options = v8::GetPropertyNamesArgsBuilder::new()
        .mode(v8::KeyCollectionMode::OwnOnly)
        .property_filter(filter)
        .index_filter(v8::IndexFilter::SkipIndices)
        .build();
    Ok(object
        .get_property_names(scope, options)
        .ok_or(Throw::Pending)?
        .into())
}

/// `previewEntries(object)` for maps, sets and their iterators; with a second argument `[entries, isKeyValue]`.
fn preview_entries<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Ok(object) = v8::Local::<v8::Object>::try_from(args.get(0)) else {
        return Ok(v8::undefined(scope).into());
    };
    let (entries, is_key_value) = object.preview_entries(scope);
    let Some(entries) = entries else {
        return Ok(v8::undefined(scope).into());
    };
    if args.length() < 2 {
        return Ok(entries.into());
    }
    let is_key_value = v8::Boolean::new(scope, is_key_value).into();
    Ok(v8::Array::new_with_elements(scope, &[entries.into(), is_key_value]).into())
}
