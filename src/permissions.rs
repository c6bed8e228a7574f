//! The option `permissions` as the TypeScript side hands it over: its shape was checked there.

use secure_exec_runtime::kernel::permissions::{
    Mode, PermissionSpec, RuleListSpec, RuleSpec, Scope, ScopeSpec,
};
use serde::Deserialize;

/// One rule.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeRule {
    /// Whether it allows.
    pub allow: bool,
    /// Names of operations.
    pub operations: Option<Vec<String>>,
    /// Globs.
    pub patterns: Option<Vec<String>>,
    /// Globs over names of hosts.
    pub hosts: Option<Vec<String>>,
    /// First and last port, in turn.
    pub ports: Option<Vec<u32>>,
    /// HTTP methods.
    pub methods: Option<Vec<String>>,
    /// A glob over URLs.
    pub url_pattern: Option<String>,
}

/// One scope.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeScope {
    /// Its name.
    pub scope: String,
    /// `allow`, `deny`, `rules` or `ask`.
    pub policy: String,
    /// Whether what no rule decides is allowed.
    pub default_allow: Option<bool>,
    /// Whether denied paths look absent.
    pub hides_denied: Option<bool>,
    /// The rules.
    pub rules: Option<Vec<NativeRule>>,
}

fn mode(allow: bool) -> Mode {
    if allow { Mode::Allow } else { Mode::Deny }
}

fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

impl From<NativeRule> for RuleSpec {
    fn from(native: NativeRule) -> Self {
        let pairs = |ports: Vec<u32>| {
            ports
                .chunks_exact(2)
                .filter_map(|pair| match pair {
                    [first, last] => Some((port(*first), port(*last))),
                    _ => None,
                })
                .collect()
        };
        Self {
            mode: mode(native.allow),
            operations: native.operations,
            patterns: native.patterns,
            hosts: native.hosts,
            ports: native.ports.map(pairs),
            methods: native.methods,
            url_pattern: native.url_pattern,
        }
    }
}

/// The runtime's form. A scope that is not known cannot be meant and is left as it is.
pub fn permissions(scopes: Vec<NativeScope>) -> PermissionSpec {
    let mut spec = PermissionSpec::default();
    for native in scopes {
        let Some(scope) = Scope::from_name(&native.scope) else {
            continue;
        };
        *spec.scope_mut(scope) = match native.policy.as_str() {
            "allow" => ScopeSpec::Allow,
            "ask" => ScopeSpec::Ask,
            "rules" => ScopeSpec::Rules(RuleListSpec {
                default: mode(native.default_allow.unwrap_or(false)),
                rules: native
                    .rules
                    .unwrap_or_default()
                    .into_iter()
                    .map(Into::into)
                    .collect(),
                hides_denied: native.hides_denied.unwrap_or(false),
            }),
            _ => ScopeSpec::Deny,
        };
    }
    spec
}
