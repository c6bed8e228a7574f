//! `internalBinding('options')`: Node's command-line options, which only the embedder sets.
//! Source: `src/node_options.cc`. Defaults are recorded in `data/options.json`.

use std::sync::LazyLock;

use serde::Deserialize;
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
        (
            "getEnvOptionsInputType",
            function!(get_env_options_input_type),
        ),
    ],
    ..Binding::DEFAULT
};

#[expect(
    clippy::expect_used,
    reason = "our own data file, checked by every start"
)]
static DEFAULTS: LazyLock<serde_json::Map<String, Json>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/options.json"))
        .expect("data/options.json is valid")
});

fn get_cli_options_values<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let null = v8::null(scope).into();
    let values = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    let overrides = env.options().node_options.clone();
    for (name, default) in DEFAULTS.iter() {
        let value = if default.is_array() {
            json_value(scope, &Json::from(listed(&overrides, name)))?
        } else {
            let chosen = chosen(&overrides, name).unwrap_or_else(|| default.clone());
            json_value(scope, &chosen)?
        };
        set(scope, values, name, value);
    }
    Ok(values.into())
}

/// What was chosen for `name`. A boolean option and its `--no-` form are one.
fn chosen(overrides: &[(String, Json)], name: &str) -> Option<Json> {
    let positive = name
        .strip_prefix("--no-")
        .map(|rest| format!("--{rest}"))
        .filter(|positive| DEFAULTS.get(positive).is_some_and(Json::is_boolean));
    overrides.iter().rev().find_map(|(key, value)| {
        if key == name {
            return Some(value.clone());
        }
        (Some(key) == positive.as_ref())
            .then(|| value.as_bool().map(|value| Json::Bool(!value)))
            .flatten()
    })
}

/// What Node says of its options, recorded from the pinned Node.
#[derive(Deserialize)]
struct Info {
    options: Vec<(String, OptionInfo)>,
    aliases: Vec<(String, Vec<String>)>,
}

/// One option.
#[derive(Deserialize)]
pub struct OptionInfo {
    #[serde(rename = "helpText")]
    help_text: Json,
    #[serde(rename = "envVarSettings")]
    env_var_settings: Json,
    /// Its number among `options.types`.
    #[serde(rename = "type")]
    pub kind: i32,
    #[serde(rename = "defaultIsTrue")]
    default_is_true: Json,
}

#[expect(
    clippy::expect_used,
    reason = "our own data file, read by the unit test"
)]
static INFO: LazyLock<Info> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/options-info.json"))
        .expect("data/options-info.json is valid")
});

/// The names of option types, by their number in `options.types`, as `getEnvOptionsInputType` gives them.
const INPUT_TYPES: &[&str] = &[
    "", "", "boolean", "number", "number", "string", "string", "array",
];
/// `envSettings.kAllowedInEnvvar`.
const ALLOWED_IN_ENVIRONMENT: u64 = 0;

/// `{ options, aliases }` as maps, for `node --help` and `process.allowedNodeEnvironmentFlags`.
fn get_cli_options_info<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let options = v8::Map::new(scope);
    for (name, option) in &INFO.options {
        let info = v8::Object::new(scope);
        let kind = Json::from(option.kind);
        for (key, value) in [
            ("helpText", &option.help_text),
            ("envVarSettings", &option.env_var_settings),
            ("type", &kind),
            ("defaultIsTrue", &option.default_is_true),
        ] {
            let value = json_value(scope, value)?;
            set(scope, info, key, value);
        }
        let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        options
            .set(scope, name.into(), info.into())
            .ok_or(Throw::Pending)?;
    }
    let aliases = v8::Map::new(scope);
    for (name, expansion) in &INFO.aliases {
        let expansion = json_value(scope, &Json::from(expansion.clone()))?;
        let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        aliases
            .set(scope, name.into(), expansion)
            .ok_or(Throw::Pending)?;
    }
    let info = v8::Object::new(scope);
    set(scope, info, "options", options.into());
    set(scope, info, "aliases", aliases.into());
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

/// The options that `NODE_OPTIONS` may hold, with the kind of their value.
fn get_env_options_input_type<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let types = v8::Map::new(scope);
    for (name, option) in &INFO.options {
        let kind = usize::try_from(option.kind)
            .ok()
            .and_then(|kind| INPUT_TYPES.get(kind))
            .unwrap_or(&"");
        if kind.is_empty() || option.env_var_settings.as_u64() != Some(ALLOWED_IN_ENVIRONMENT) {
            continue;
        }
        let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        let kind = v8::String::new(scope, kind).ok_or(Throw::Pending)?;
        types
            .set(scope, name.into(), kind.into())
            .ok_or(Throw::Pending)?;
    }
    Ok(types.into())
}

impl OptionInfo {
    /// Whether `NODE_OPTIONS` may hold it.
    pub fn is_allowed_in_environment(&self) -> bool {
        self.env_var_settings.as_u64() == Some(ALLOWED_IN_ENVIRONMENT)
    }
}

/// What is known of an option; `None` when Node has no such option.
pub fn info(name: &str) -> Option<&'static OptionInfo> {
    let mut options = INFO.options.iter();
    // Names in brackets are Node's own notes.
    let found = options.find(|(known, _)| known == name && known.starts_with('-'));
    found.map(|(_, info)| info)
}

/// The names of options and aliases, but for Node's own notes.
pub fn names() -> impl Iterator<Item = &'static str> {
    let options = INFO.options.iter().map(|(name, _)| name.as_str());
    let aliases = INFO.aliases.iter().map(|(name, _)| name.as_str());
    options.chain(aliases).filter(|name| !name.starts_with('['))
}

/// What an alias stands for.
pub fn alias(name: &str) -> Option<&'static [String]> {
    let mut aliases = INFO.aliases.iter();
    let found = aliases.find(|(known, _)| known == name);
    found.map(|(_, expansion)| expansion.as_slice())
}

/// The value of the boolean option `name` in this process.
pub fn flag(env: &Env, name: &str) -> bool {
    value(env, name, Json::as_bool).unwrap_or(false)
}

/// The value of the numeric option `name` in this process.
pub fn number(env: &Env, name: &str) -> Option<f64> {
    value(env, name, Json::as_f64)
}

/// The value of the text option `name` in this process.
pub fn text(env: &Env, name: &str) -> Option<String> {
    value(env, name, |value| value.as_str().map(str::to_owned))
}

fn value<T>(env: &Env, name: &str, convert: fn(&Json) -> Option<T>) -> Option<T> {
    let options = env.options();
    let chosen = options
        .node_options
        .iter()
        .rev()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value);
    chosen.or_else(|| DEFAULTS.get(name)).and_then(convert)
}

/// The values of the option `name`, which may be given more than once.
pub fn list(env: &Env, name: &str) -> Vec<String> {
    listed(&env.options().node_options, name)
}

fn listed(options: &[(String, Json)], name: &str) -> Vec<String> {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    options
        .iter()
        .filter(|(key, _)| key == name)
        .flat_map(|(_, value)| match value {
            Json::Array(items) => items.iter().filter_map(text).collect(),
            one => Vec::from_iter(text(one)),
        })
        .collect()
}

/// The default of the option `name`.
pub fn default_of(name: &str) -> Result<&'static Json, Throw> {
    DEFAULTS
        .get(name)
        .ok_or_else(|| Throw::error("ERR_INVALID_ARG_VALUE", format!("no option {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negated_option_is_the_option() {
        let off = [("--addons".to_owned(), Json::Bool(false))];
        assert_eq!(chosen(&off, "--addons"), Some(Json::Bool(false)));
        assert_eq!(chosen(&off, "--no-addons"), Some(Json::Bool(true)));
        assert_eq!(chosen(&off, "--warnings"), None);
    }
}
