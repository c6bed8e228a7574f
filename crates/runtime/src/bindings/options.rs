//! `internalBinding('options')`: Node's command-line options, which only the embedder sets.
//! Source: `src/node_options.cc`. Defaults are recorded in `data/options.json`.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::surface::json_value;
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "options",
    functions: &[
        ("getCLIOptionsValues", function!(get_cli_options_values)),
        ("getCLIOptionsInfo", function!(get_cli_options_info)),
        ("getEmbedderOptions", function!(get_embedder_options)),
        ("getEnvOptionsInputType", function!(get_env_options_input_type)),
    ],
    ..Binding::DEFAULT
};

#[expect(clippy::expect_used, reason = "our own data file, checked by every start")]
static DEFAULTS: LazyLock<serde_json::Map<String, Json>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/options.json")).expect("data/options.json is valid"));

fn get_cli_options_values<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let null = v8::null(scope).into();
    let values = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    let overrides = env.options().node_options.clone();
    for (name, default) in DEFAULTS.iter() {
        let chosen = overrides.iter().rev().find(|(key, _)| key == name).map_or(default, |(_, value)| value);
        let value = json_value(scope, chosen)?;
        set(scope, values, name, value);
    }
    Ok(values.into())
}

/// `{ options, aliases }` as maps, of which the library uses the names for `process.allowedNodeEnvironmentFlags`.
fn get_cli_options_info<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let info = v8::Object::new(scope);
    for key in ["options", "aliases"] {
        let map = v8::Map::new(scope);
        set(scope, info, key, map.into());
    }
    Ok(info.into())
}

fn get_embedder_options<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let options = v8::Object::new(scope);
    for (key, value) in [
        ("shouldNotRegisterESMLoader", false),
        ("noGlobalSearchPaths", false),
        ("noBrowserGlobals", false),
        ("hasEmbedderPreload", false),
    ] {
        let value = v8::Boolean::new(scope, value).into();
        set(scope, options, key, value);
    }
    Ok(options.into())
}

fn get_env_options_input_type<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Map::new(scope).into())
}

/// The value of the boolean option `name` in this process.
pub fn flag(env: &Env, name: &str) -> bool {
    let options = env.options();
    let chosen = options.node_options.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
    chosen.or_else(|| DEFAULTS.get(name)).and_then(Json::as_bool).unwrap_or(false)
}

/// The default of the option `name`, for tests of overrides.
pub fn default_of(name: &str) -> Result<&'static Json, Throw> {
    DEFAULTS.get(name).ok_or_else(|| Throw::error("ERR_INVALID_ARG_VALUE", format!("no option {name}")))
}
