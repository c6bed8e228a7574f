//! `internalBinding('builtins')`: the sources of Node's library. Source: `src/node_builtins.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::node_lib::SOURCES;
use crate::realm::{compile_builtin, set};
use crate::throw::Throw;

/// Node's own record of how it was built, which `process.config` shows.
const CONFIG: &str = include_str!("../../data/config.json");

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "builtins",
    functions: &[
        ("compileFunction", function!(compile_function)),
        ("setInternalLoaders", function!(set_internal_loaders)),
        ("hasCachedBuiltins", function!(has_cached_builtins)),
    ],
    init: Some(init),
    ..Binding::DEFAULT
};

fn init(scope: &mut v8::PinScope<'_, '_>, _env: &Env, target: v8::Local<v8::Object>) {
    let ids: Vec<v8::Local<v8::Value>> = SOURCES
        .iter()
        .filter_map(|source| v8::String::new(scope, source.id))
        .map(Into::into)
        .collect();
    let ids = v8::Array::new_with_elements(scope, &ids);
    set(scope, target, "builtinIds", ids.into());
    if let Some(config) = v8::String::new(scope, CONFIG) {
        set(scope, target, "config", config.into());
    }
    let natives = v8::Object::new(scope);
    set(scope, target, "natives", natives.into());
}

fn compile_function<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = args.get(0).to_rust_string_lossy(scope);
    Ok(compile_builtin(scope, &id)?.into())
}

fn set_internal_loaders<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    if env.registered(scope, "requireBuiltin").is_some() {
        return Err(Throw::error(
            "ERR_INVALID_STATE",
            "Invalid state: the loaders are set already",
        ));
    }
    env.register(scope, "internalBinding", args.get(0));
    env.register(scope, "requireBuiltin", args.get(1));
    Ok(v8::undefined(scope).into())
}

fn has_cached_builtins<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, true).into())
}
