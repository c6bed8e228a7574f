//! Boots Node's library in a fresh context, in the order of Node's own `node_realm.cc` and `api/environment.cc`.
//!
//! Everything here happens once, at build time: the result is the startup snapshot. Steps that depend on the process
//! (its arguments, environment, clock) run after the snapshot was restored, see [`start`].

use std::cell::RefCell;
use std::rc::Rc;

use v8::script_compiler::{CachedData, CompileOptions, NoCacheReason, Source};

use crate::bindings;
use crate::env::Env;
use crate::node_lib;
use crate::rehearsal::{self, Building};
use crate::throw::Throw;

/// Version of Node whose library this is; `process.version` without the `v`.
pub const NODE_VERSION: &str = "22.23.3";

const PER_CONTEXT: &[&str] = &[
    "internal/per_context/primordials",
    "internal/per_context/domexception",
    "internal/per_context/messageport",
];
const BOOTSTRAP: &[&str] = &[
    "internal/bootstrap/node",
    "internal/bootstrap/web/exposed-wildcard",
    "internal/bootstrap/web/exposed-window-or-worker",
];
const MAIN_THREAD: &[&str] = &[
    "internal/bootstrap/switches/is_main_thread",
    "internal/bootstrap/switches/does_own_process_state",
];
const WORKER_THREAD: &[&str] = &[
    "internal/bootstrap/switches/is_not_main_thread",
    "internal/bootstrap/switches/does_not_own_process_state",
];
/// Names of the V8 privates that the library reads through `internalBinding('util').privateSymbols`.
pub const PRIVATE_SYMBOLS: &[(&str, &str)] = &[
    ("arrow_message_private_symbol", "node:arrowMessage"),
    (
        "contextify_context_private_symbol",
        "node:contextify:context",
    ),
    ("decorated_private_symbol", "node:decorated"),
    ("transfer_mode_private_symbol", "node:transfer_mode"),
    (
        "host_defined_option_symbol",
        "node:host_defined_option_symbol",
    ),
    (
        "js_transferable_wrapper_private_symbol",
        "node:js_transferable_wrapper",
    ),
    (
        "entry_point_module_private_symbol",
        "node:entry_point_module",
    ),
    (
        "entry_point_promise_private_symbol",
        "node:entry_point_promise",
    ),
    ("module_source_private_symbol", "node:module_source"),
    (
        "module_export_names_private_symbol",
        "node:module_export_names",
    ),
    (
        "module_circular_visited_private_symbol",
        "node:module_circular_visited",
    ),
    ("module_export_private_symbol", "node:module_export"),
    (
        "module_first_parent_private_symbol",
        "node:module_first_parent",
    ),
    (
        "module_last_parent_private_symbol",
        "node:module_last_parent",
    ),
    ("napi_type_tag", "node:napi:type_tag"),
    ("napi_wrapper", "node:napi:wrapper"),
    (
        "untransferable_object_private_symbol",
        "node:untransferableObject",
    ),
    ("exit_info_private_symbol", "node:exit_info_private_symbol"),
    ("promise_trace_id", "node:promise_trace_id"),
    (
        "source_map_data_private_symbol",
        "node:source_map_data_private_symbol",
    ),
];

/// The V8 private called `name` (the library's name for it, the first column of [`PRIVATE_SYMBOLS`]).
pub fn private_symbol<'s>(
    scope: &v8::PinScope<'s, '_, ()>,
    name: &str,
) -> v8::Local<'s, v8::Private> {
    let description = PRIVATE_SYMBOLS
        .iter()
        .find(|(key, _)| *key == name)
        .map_or(name, |(_, text)| text);
    let description = v8::String::new(scope, description);
    v8::Private::for_api(scope, description)
}

/// What a builtin module's function takes, by the kind of its id.
fn parameters(id: &str) -> &'static [&'static str] {
    if id.starts_with("internal/per_context/") {
        &[
            "exports",
            "primordials",
            "privateSymbols",
            "perIsolateSymbols",
        ]
    } else if id == "internal/bootstrap/realm" {
        &[
            "process",
            "getLinkedBinding",
            "getInternalBinding",
            "primordials",
        ]
    } else if id.starts_with("internal/bootstrap/") || id.starts_with("internal/main/") {
        &["process", "require", "internalBinding", "primordials"]
    } else {
        &[
            "exports",
            "require",
            "module",
            "process",
            "internalBinding",
            "primordials",
        ]
    }
}

/// Compiles the builtin module `id` to a function.
pub fn compile_builtin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    id: &str,
) -> Result<v8::Local<'s, v8::Function>, Throw> {
    let source = node_lib::source(id).ok_or_else(|| {
        Throw::error(
            "ERR_UNKNOWN_BUILTIN_MODULE",
            format!("No such built-in module: {id}"),
        )
    })?;
    let text = source.to_v8(scope).ok_or(Throw::Pending)?;
    let name = v8::String::new(scope, &format!("node:{id}")).ok_or(Throw::Pending)?;
    let origin = v8::ScriptOrigin::new(
        scope,
        name.into(),
        0,
        0,
        true,
        -1,
        None,
        false,
        false,
        false,
        None,
    );
    let env = crate::env::Env::of(scope);
    let building = env.extension::<RefCell<Building>>();
    let building = building.borrow();
    let known = building
        .shared_caches
        .as_deref()
        .unwrap_or(&building.caches)
        .get(id);
    let (mut source, options) = match known {
        Some(cache) => (
            Source::new_with_cached_data(text, Some(&origin), CachedData::new(cache)),
            CompileOptions::ConsumeCodeCache,
        ),
        None => (
            Source::new(text, Some(&origin)),
            CompileOptions::NoCompileOptions,
        ),
    };
    let names: Vec<_> = parameters(id)
        .iter()
        .filter_map(|name| v8::String::new(scope, name))
        .collect();
    let function = v8::script_compiler::compile_function(
        scope,
        &mut source,
        &names,
        &[],
        options,
        NoCacheReason::NoReason,
    )
    .ok_or(Throw::Pending)?;
    if building.shared_caches.is_none() {
        rehearsal::check(id, &source)?;
    }
    if building.keeps_functions {
        rehearsal::keep(scope, &env, id, function);
    }
    Ok(function)
}

/// An own data property, which runs no setter.
pub fn set(
    scope: &mut v8::PinScope<'_, '_>,
    target: v8::Local<v8::Object>,
    key: &str,
    value: v8::Local<v8::Value>,
) {
    if let Some(key) = v8::String::new(scope, key) {
        target.create_data_property(scope, key.into(), value);
    }
}

fn null_object<'s>(scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Object> {
    let null = v8::null(scope).into();
    v8::Object::with_prototype_and_properties(scope, null, &[], &[])
}

/// Boots the library in `context`, which must be entered. An exception means that a binding is wrong.
pub fn boot<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    context: v8::Local<'s, v8::Context>,
) -> Result<(), Throw> {
    let registry = null_object(scope);
    env.set_context(
        v8::Global::new(scope, context),
        v8::Global::new(scope, registry),
    );
    let global = context.global(scope);
    restrict_global(scope, global);
    crate::array_buffer::capture(scope, env, global);

    let exports = v8::Object::new(scope);
    let primordials = null_object(scope);
    let privates = bindings::util::private_symbols_object(scope)?;
    let symbols = bindings::symbols::per_isolate_symbols(scope, env);
    env.register(scope, "perContextExports", exports.into());
    env.register(scope, "primordials", primordials.into());
    env.register(scope, "privateSymbols", privates.into());
    set(scope, exports, "primordials", primordials.into());
    set(scope, exports, "privateSymbols", privates.into());
    set(scope, exports, "perIsolateSymbols", symbols.into());
    for id in PER_CONTEXT {
        let args = [
            exports.into(),
            primordials.into(),
            privates.into(),
            symbols.into(),
        ];
        run_builtin(scope, id, &args)?;
    }

    let process = bindings::process_methods::make_process_object(scope, env)?;
    env.register(scope, "process", process.into());
    let get_internal = bindings::make_loader(scope)?;
    let get_linked = bindings::make_linked_loader(scope)?;
    let args = [
        process.into(),
        get_linked.into(),
        get_internal.into(),
        primordials.into(),
    ];
    run_builtin(scope, "internal/bootstrap/realm", &args)?;
    let is_worker = env.extension::<crate::threads::Thread>().is_worker();
    let switches = if is_worker {
        WORKER_THREAD
    } else {
        MAIN_THREAD
    };
    for id in BOOTSTRAP.iter().chain(switches) {
        run_main(scope, env, id)?;
    }
    Ok(())
}

/// Takes away what no context has here: `Intl.v8BreakIterator`, which is not of the standard. Node does so too. See also
/// [`bindings::inspector::tame_console`].
pub(crate) fn restrict_global<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    global: v8::Local<'s, v8::Object>,
) {
    bindings::inspector::tame_console(scope, global);
    let (Some(intl), Some(name)) = (
        v8::String::new(scope, "Intl"),
        v8::String::new(scope, "v8BreakIterator"),
    ) else {
        return;
    };
    let object = global.get(scope, intl.into());
    if let Some(object) = object.and_then(|object| v8::Local::<v8::Object>::try_from(object).ok()) {
        object.delete(scope, name.into());
    }
}

fn run_builtin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    id: &str,
    args: &[v8::Local<'s, v8::Value>],
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    let function = compile_builtin(scope, id)?;
    let undefined = v8::undefined(scope).into();
    function.call(scope, undefined, args).ok_or(Throw::Pending)
}

/// Runs a builtin of the `bootstrap` or `main` kind; answers what it returns.
pub fn run_main<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    id: &str,
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    let mut args = Vec::with_capacity(4);
    for key in [
        "process",
        "requireBuiltin",
        "internalBinding",
        "primordials",
    ] {
        args.push(env.registered(scope, key).ok_or(Throw::Pending)?);
    }
    run_builtin(scope, id, &args)
}

/// `require(id)` of the library itself.
pub fn require_builtin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    id: &str,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let require = env
        .function(scope, "requireBuiltin")
        .ok_or(Throw::Pending)?;
    let id = v8::String::new(scope, id).ok_or(Throw::Pending)?;
    let undefined = v8::undefined(scope).into();
    let exports = require
        .call(scope, undefined, &[id.into()])
        .ok_or(Throw::Pending)?;
    v8::Local::try_from(exports).map_err(|_| Throw::Pending)
}
