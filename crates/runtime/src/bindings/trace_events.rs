//! `internalBinding('trace_events')`: which categories are enabled, and events of the library's. Sources:
//! `src/node_trace_events.cc`, V8's `trace` of the extras binding.

use std::cell::Cell;
use std::rc::Rc;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::env::Env;
use crate::throw::{ErrorClass, Throw};
use crate::tracer::{Event, MAX_CATEGORIES};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "trace_events",
    functions: &[
        (
            "getCategoryEnabledBuffer",
            function!(get_category_enabled_buffer),
        ),
        (
            "isTraceCategoryEnabled",
            function!(is_trace_category_enabled),
        ),
        (
            "setTraceCategoryStateUpdateHandler",
            function!(set_trace_category_state_update_handler),
        ),
        ("trace", function!(trace)),
        ("getEnabledCategories", function!(get_enabled_categories)),
    ],
    classes: &[Class {
        name: "CategorySet",
        constructor: Some(function!(new_category_set)),
        methods: &[
            ("enable", function!(enable)),
            ("disable", function!(disable)),
        ],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

/// An object with the buffer of each category that was asked for.
const BUFFERS: &str = "trace_events.buffers";
const HANDLER: &str = "trace_events.handler";
/// The category that the library's handler is told of.
const ASYNC_HOOKS: &str = "node.async_hooks";

/// The state of a `CategorySet`.
struct CategorySet {
    categories: Vec<String>,
    enabled: Cell<bool>,
}

fn type_error(text: &str) -> Throw {
    Throw::Plain(ErrorClass::Type, text.to_owned())
}

fn category(value: v8::Local<'_, v8::Value>) -> Result<v8::Local<'_, v8::String>, Throw> {
    v8::Local::try_from(value).map_err(|_| type_error("Trace event category must be a string."))
}

fn is_enabled(env: &Env, group: &str) -> bool {
    env.tracer().is_some_and(|tracer| tracer.is_enabled(group))
}

/// A byte that is not 0 while the category is enabled, the same for everybody who asks for it.
fn get_category_enabled_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = category(args.get(0))?;
    let env = Env::of(scope);
    let buffers = if let Some(buffers) = env.registered(scope, BUFFERS) {
        v8::Local::<v8::Object>::try_from(buffers).map_err(|_| Throw::Pending)?
    } else {
        let null = v8::null(scope).into();
        let buffers = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
        env.register(scope, BUFFERS, buffers.into());
        buffers
    };
    let known = buffers.get(scope, name.into()).ok_or(Throw::Pending)?;
    if known.is_uint8_array() {
        return Ok(known);
    }
    let names = buffers
        .get_own_property_names(scope, v8::GetPropertyNamesArgs::default())
        .ok_or(Throw::Pending)?;
    let memory = crate::array_buffer::new_array_buffer(scope, 1)?;
    let buffer = v8::Uint8Array::new(scope, memory, 0, 1).ok_or(Throw::Pending)?;
    if names.length() as usize >= MAX_CATEGORIES {
        // Nobody could tell it of a change.
        return Ok(buffer.into());
    }
    buffers
        .create_data_property(scope, name.into(), buffer.into())
        .ok_or(Throw::Pending)?;
    let group = name.to_rust_string_lossy(scope);
    fill(scope, buffer, is_enabled(&env, &group));
    Ok(buffer.into())
}

fn fill(scope: &mut v8::PinScope<'_, '_>, buffer: v8::Local<v8::Uint8Array>, enabled: bool) {
    // A buffer that was given away has no bytes.
    if let Some(byte) = crate::array_buffer::writable(scope, buffer.into()).first_mut() {
        *byte = u8::from(enabled);
    }
}

/// Sets the bytes that the library reads to what is enabled now.
pub fn refresh(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    v8::scope!(let scope, scope);
    let buffers = env
        .registered(scope, BUFFERS)
        .and_then(|buffers| v8::Local::<v8::Object>::try_from(buffers).ok());
    let Some(buffers) = buffers else { return };
    let names = buffers.get_own_property_names(scope, v8::GetPropertyNamesArgs::default());
    let Some(names) = names else { return };
    for index in 0..names.length() {
        let Some(name) = names.get_index(scope, index) else {
            return;
        };
        let buffer = buffers
            .get(scope, name)
            .and_then(|buffer| v8::Local::<v8::Uint8Array>::try_from(buffer).ok());
        if let Some(buffer) = buffer {
            let group = name.to_rust_string_lossy(scope);
            let enabled = is_enabled(env, &group);
            fill(scope, buffer, enabled);
        }
    }
}

/// After a change: the library traces resources of `async_hooks` by hooks of its own.
fn changed(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Result<(), Throw> {
    refresh(scope, env);
    let Some(handler) = env.function(scope, HANDLER) else {
        return Ok(());
    };
    let enabled = v8::Boolean::new(scope, is_enabled(env, ASYNC_HOOKS)).into();
    let undefined = v8::undefined(scope).into();
    handler
        .call(scope, undefined, &[enabled])
        .ok_or(Throw::Pending)?;
    Ok(())
}

fn is_trace_category_enabled<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let group = category(args.get(0))?.to_rust_string_lossy(scope);
    let enabled = is_enabled(&Env::of(scope), &group);
    Ok(v8::Boolean::new(scope, enabled).into())
}

fn set_trace_category_state_update_handler<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    if args.get(0).is_function() {
        Env::of(scope).register(scope, HANDLER, args.get(0));
    }
    Ok(v8::undefined(scope).into())
}

/// `trace(phase, category, name, id, data)`: whether the event was kept.
fn trace<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let group = category(args.get(1))?.to_rust_string_lossy(scope);
    let no = v8::Boolean::new(scope, false).into();
    if !is_enabled(&env, &group) {
        return Ok(no);
    }
    if !args.get(0).is_number() {
        return Err(type_error("Trace event phase must be a number."));
    }
    let phase = args.get(0).uint32_value(scope).unwrap_or_default();
    let phase = u8::try_from(phase).map_or('\0', char::from);
    let name = v8::Local::<v8::String>::try_from(args.get(2))
        .map_err(|_| type_error("Trace event name must be a string."))?;
    if name.length() == 0 {
        return Err(type_error("Trace event name must not be an empty string."));
    }
    let id = match args.get(3) {
        id if id.is_null_or_undefined() => None,
        id if id.is_number() => Some(u64::from(id.uint32_value(scope).unwrap_or_default())),
        _ => return Err(type_error("Trace event id must be a number.")),
    };
    let args = match args.get(4) {
        data if data.is_undefined() => "{}".to_owned(),
        data => {
            // Runs the guest's `toJSON`.
            let text = v8::json::stringify(scope, data).ok_or(Throw::Pending)?;
            let text = text.to_rust_string_lossy(scope);
            // What has no JSON is told as the text "undefined".
            let text = if text == "undefined" { "null" } else { &text };
            format!("{{\"data\":{text}}}")
        }
    };
    let name = name.to_rust_string_lossy(scope);
    let event = Event {
        id,
        args,
        ..Event::now(&env, phase, &group, &name)
    };
    let kept = env.trace(&event);
    Ok(v8::Boolean::new(scope, kept).into())
}

/// The enabled categories, separated by commas; `undefined` when there are none.
fn get_enabled_categories<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let names = env
        .tracer()
        .map_or_else(Vec::new, |tracer| tracer.categories());
    if names.is_empty() {
        return Ok(v8::undefined(scope).into());
    }
    let names = v8::String::new(scope, &names.join(",")).ok_or(Throw::Pending)?;
    Ok(names.into())
}

/// `new CategorySet(categories)`
fn new_category_set<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// Characters of a category.
    const LONGEST: usize = 256;
    if !args.is_construct_call() {
        return Err(Throw::type_error(
            "ERR_CONSTRUCT_CALL_REQUIRED",
            "Class constructor CategorySet cannot be invoked without `new`",
        ));
    }
    let list = v8::Local::<v8::Array>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error("ERR_INVALID_ARG_TYPE", "The categories must be an array")
    })?;
    if list.length() as usize > MAX_CATEGORIES {
        return Err(Throw::range_error(
            "ERR_OUT_OF_RANGE",
            "There are too many categories",
        ));
    }
    let mut categories = Vec::new();
    for index in 0..list.length() {
        let category = list.get_index(scope, index).ok_or(Throw::Pending)?;
        let category = category.to_string(scope).ok_or(Throw::Pending)?;
        if category.length() <= LONGEST {
            categories.push(category.to_rust_string_lossy(scope));
        }
    }
    categories.sort_unstable();
    categories.dedup();
    let set = CategorySet {
        categories,
        enabled: Cell::default(),
    };
    Env::of(scope)
        .objects
        .wrap(scope, args.this(), Rc::new(set));
    Ok(v8::undefined(scope).into())
}

fn this(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<Rc<CategorySet>, Throw> {
    let set = Env::of(scope)
        .objects
        .unwrap::<CategorySet>(scope, args.this());
    set.ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_THIS",
            "Value of \"this\" must be of type CategorySet",
        )
    })
}

fn enable<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let set = this(scope, args)?;
    let env = Env::of(scope);
    if !set.enabled.get() && env.enable_tracing(&set.categories) {
        set.enabled.set(true);
        changed(scope, &env)?;
    }
    Ok(v8::undefined(scope).into())
}

fn disable<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let set = this(scope, args)?;
    let env = Env::of(scope);
    if set.enabled.replace(false) {
        env.disable_tracing(&set.categories);
        changed(scope, &env)?;
    }
    Ok(v8::undefined(scope).into())
}
