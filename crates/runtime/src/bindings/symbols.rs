//! `internalBinding('symbols')`: symbols that the library and Rust share. Source: `src/node_symbols.cc`.

use crate::binding::Binding;
use crate::env::Env;
use crate::realm::set;

/// The recorded surface lists the symbols; each comes from [`symbol`].
pub static BINDING: Binding = Binding {
    name: "symbols",
    ..Binding::DEFAULT
};

/// Names on `perIsolateSymbols` beside their descriptions.
const PER_ISOLATE: &[(&str, &str)] = &[
    ("fs_use_promises_symbol", "fs_use_promises_symbol"),
    ("async_id_symbol", "async_id_symbol"),
    ("constructor_key_symbol", "constructor_key_symbol"),
    ("handle_onclose_symbol", "handle_onclose"),
    ("no_message_symbol", "no_message_symbol"),
    (
        "messaging_deserialize_symbol",
        "messaging_deserialize_symbol",
    ),
    ("imported_cjs_symbol", "imported_cjs_symbol"),
    ("messaging_transfer_symbol", "messaging_transfer_symbol"),
    ("messaging_clone_symbol", "messaging_clone_symbol"),
    (
        "messaging_transfer_list_symbol",
        "messaging_transfer_list_symbol",
    ),
    ("oninit_symbol", "oninit"),
    ("owner_symbol", "owner_symbol"),
    ("onpskexchange_symbol", "onpskexchange"),
    ("resource_symbol", "resource_symbol"),
    ("trigger_async_id_symbol", "trigger_async_id_symbol"),
    (
        "source_text_module_default_hdo",
        "source_text_module_default_hdo",
    ),
    ("vm_context_no_contextify", "vm_context_no_contextify"),
    (
        "vm_dynamic_import_default_internal",
        "vm_dynamic_import_default_internal",
    ),
    (
        "vm_dynamic_import_main_context_default",
        "vm_dynamic_import_main_context_default",
    ),
    (
        "vm_dynamic_import_missing_flag",
        "vm_dynamic_import_missing_flag",
    ),
    (
        "vm_dynamic_import_no_callback",
        "vm_dynamic_import_no_callback",
    ),
];

/// The one symbol with this description; kept in the registry, so that the snapshot carries it.
pub fn symbol<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    description: &str,
) -> v8::Local<'s, v8::Value> {
    let key = format!("symbol {description}");
    if let Some(known) = env.registered(scope, &key) {
        return known;
    }
    let text = v8::String::new(scope, description);
    let symbol = v8::Symbol::new(scope, text).into();
    env.register(scope, &key, symbol);
    symbol
}

/// The object that `internal/per_context/*` receive.
pub fn per_isolate_symbols<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
) -> v8::Local<'s, v8::Object> {
    let object = v8::Object::new(scope);
    for (name, description) in PER_ISOLATE {
        let value = symbol(scope, env, description);
        set(scope, object, name, value);
    }
    object
}
