//! Rule lists: the last rule that matches decides, else the default.

use super::blocks::Blocks;
use super::pattern::Patterns;
use super::request::{NetworkRequest, Request, Scope};
use super::{ConfigError, Mode, NetworkOp};

/// Most rules of one scope.
const MAX_RULES: usize = 1000;
/// Operations of each scope, by the names that rules use. `createDir` is the first generation's name for `mkdir`.
const FS_OPERATIONS: &[&str] = &[
    "read",
    "write",
    "stat",
    "exists",
    "readdir",
    "readlink",
    "realpath",
    "statfs",
    "mkdir",
    "createDir",
    "rm",
    "rename",
    "link",
    "symlink",
    "truncate",
    "chmod",
    "chown",
    "utimes",
    "watch",
    "chdir",
];
const NETWORK_OPERATIONS: &[&str] = &["connect", "listen", "send", "dns", "http", "fetch"];
const PROCESS_OPERATIONS: &[&str] = &["kill", "setPriority", "setuid", "setgid", "umask"];

/// One rule, as the host wrote it. An absent field matches everything.
#[derive(Clone, Debug, Default)]
pub struct RuleSpec {
    /// What it says.
    pub mode: Mode,
    /// Names of operations.
    pub operations: Option<Vec<String>>,
    /// Globs over what the scope is about: paths, commands, names of variables, dotted names of functions, or
    /// `tcp://host:port` and `dns://host`.
    pub patterns: Option<Vec<String>>,
    /// Globs over names of hosts.
    pub hosts: Option<Vec<String>>,
    /// Ranges of ports, both ends included.
    pub ports: Option<Vec<(u16, u16)>>,
    /// HTTP methods, in upper case.
    pub methods: Option<Vec<String>>,
    /// A glob over the whole URL.
    pub url_pattern: Option<String>,
}

/// A rule list, as the host wrote it.
#[derive(Clone, Debug, Default)]
pub struct RuleListSpec {
    /// What no rule decides.
    pub default: Mode,
    /// In order; the last one that matches decides.
    pub rules: Vec<RuleSpec>,
    /// Whether the guest sees `ENOENT` for a path that is denied, as if nothing were there.
    pub hides_denied: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    mode: Mode,
    operations: Option<Vec<String>>,
    patterns: Option<Patterns>,
    hosts: Option<Patterns>,
    /// Those of `hosts` that are addresses or blocks of addresses.
    blocks: Blocks,
    /// Those of both that do not begin with a wildcard.
    places: Option<Patterns>,
    ports: Option<Vec<(u16, u16)>>,
    methods: Option<Vec<String>>,
    url: Option<Patterns>,
}

/// A compiled rule list.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub default: Mode,
    pub hides_denied: bool,
    rules: Vec<Rule>,
}

impl Rules {
    /// Checks and compiles the rules of a scope.
    pub fn new(spec: &RuleListSpec, scope: Scope) -> Result<Rules, ConfigError> {
        let option = format!("permissions.{}.rules", scope.name());
        if spec.rules.len() > MAX_RULES {
            return Err(ConfigError::new(option, "must have at most 1000 rules", ""));
        }
        let rules = spec
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| Rule::new(rule, scope, &format!("{option}[{index}]")))
            .collect::<Result<_, _>>()?;
        Ok(Rules {
            default: spec.default,
            hides_denied: spec.hides_denied,
            rules,
        })
    }

    /// What the last rule that matches says; `None` when none does.
    pub fn decide(&self, request: &Request<'_>) -> Option<Mode> {
        let subject = Subject::of(request);
        self.rules
            .iter()
            .rev()
            .find(|rule| rule.matches(request, &subject))
            .map(|rule| rule.mode)
    }

    /// Whether the rule that allows a place of the network names it, not only by a star: such a rule reaches where a
    /// general permission does not.
    pub fn names_place(&self, request: &Request<'_>) -> bool {
        let subject = Subject::of(request);
        let Request::Network(network) = request else {
            return false;
        };
        self.rules
            .iter()
            .rev()
            .find(|rule| rule.matches(request, &subject))
            .is_some_and(|rule| {
                if network.address.is_some_and(|ip| rule.blocks.name(ip)) {
                    return true;
                }
                let Some(places) = &rule.places else {
                    return false;
                };
                // What is dialled counts: a name may lead anywhere, unless the host itself said where.
                let mut hosts = match network.address {
                    Some(address) => vec![address.to_string()],
                    None => vec![network.hostname.clone()],
                };
                if network.is_pinned {
                    hosts.push(network.hostname.clone());
                }
                hosts.iter().any(|host| {
                    let whole = format!("{}://{host}:{}", scheme(network.op), network.port);
                    places.matches(host.as_bytes()) || places.matches(whole.as_bytes())
                })
            })
    }
}

impl Rule {
    fn new(spec: &RuleSpec, scope: Scope, option: &str) -> Result<Rule, ConfigError> {
        let known = match scope {
            Scope::Fs => FS_OPERATIONS,
            Scope::Network => NETWORK_OPERATIONS,
            Scope::ChildProcess => &["spawn"],
            Scope::Process => PROCESS_OPERATIONS,
            Scope::Env => &["read"],
            Scope::HostFunction => &["call"],
        };
        for (index, operation) in spec.operations.iter().flatten().enumerate() {
            if !known.contains(&operation.as_str()) {
                let reason = format!("is not an operation; known are {}", known.join(", "));
                return Err(ConfigError::new(
                    format!("{option}.operations[{index}]"),
                    &reason,
                    operation,
                ));
            }
        }
        if scope == Scope::Fs
            && let Some((index, path)) = spec
                .patterns
                .iter()
                .flatten()
                .enumerate()
                .find(|(_, path)| !is_absolute(path))
        {
            let option = format!("{option}.paths[{index}]");
            return Err(ConfigError::new(option, "must be an absolute path", path));
        }
        let compile = |patterns: &Option<Vec<String>>, field: &str| {
            let list = patterns.as_ref()?;
            let list = list.iter().map(|pattern| match scope {
                Scope::HostFunction => levels(pattern),
                Scope::Network => pattern.to_lowercase(),
                _ => pattern.clone(),
            });
            let list: Vec<String> = list.collect();
            Some(Patterns::new(
                list.iter().map(String::as_str),
                &format!("{option}.{field}"),
            ))
        };
        Ok(Rule {
            mode: spec.mode,
            operations: spec.operations.clone(),
            patterns: compile(&spec.patterns, "patterns").transpose()?,
            hosts: compile(&spec.hosts, "hosts").transpose()?,
            blocks: Blocks::new(spec.hosts.iter().flatten(), &format!("{option}.hosts"))?,
            places: if scope == Scope::Network {
                let places = spec.hosts.iter().chain(&spec.patterns).flatten();
                let places: Vec<String> = places
                    .filter(|place| names_something(place))
                    .map(|place| place.to_lowercase())
                    .collect();
                Some(Patterns::new(places.iter().map(String::as_str), option)?)
            } else {
                None
            },
            ports: spec.ports.clone(),
            methods: spec.methods.clone(),
            url: spec
                .url_pattern
                .as_deref()
                .map(|url| Patterns::new([url], &format!("{option}.urlPattern")))
                .transpose()?,
        })
    }

    fn matches(&self, request: &Request<'_>, subject: &Subject<'_>) -> bool {
        let operation = request.operation();
        let allows_later = match request {
            Request::Network(request) => request.is_asked_again && self.mode == Mode::Allow,
            _ => false,
        };
        let has_operation = self.operations.as_ref().is_none_or(|operations| {
            operations.iter().any(|known| {
                known == operation
                    || (known == "createDir" && operation == "mkdir")
                    || (allows_later && (known == "fetch" || known == "http"))
            })
        });
        has_operation
            && self
                .patterns
                .as_ref()
                .is_none_or(|patterns| subject.texts.iter().any(|text| patterns.matches(text)))
            && self.matches_network(match request {
                Request::Network(request) => Some(request),
                _ => None,
            })
    }

    fn matches_network(&self, request: Option<&NetworkRequest>) -> bool {
        let Some(request) = request else {
            return true;
        };
        // Whoever may make some requests of a host may connect to it, where each is asked for.
        let allows_later = request.is_asked_again && self.mode == Mode::Allow;
        let text =
            |text: &Option<String>, is: &dyn Fn(&str) -> bool| text.as_deref().is_some_and(is);
        self.hosts.as_ref().is_none_or(|hosts| {
            hosts_of(request).any(|host| hosts.matches(host.as_bytes()))
                || request.address.is_some_and(|ip| self.blocks.have(ip))
                || request
                    .hostname
                    .parse()
                    .is_ok_and(|ip| request.address.is_none() && self.blocks.have(ip))
        }) && self.ports.as_ref().is_none_or(|ports| {
            // Whoever may connect to a port of a host may find the host; who may not may still find it.
            if request.op == NetworkOp::Dns {
                return self.mode == Mode::Allow;
            }
            ports
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&request.port))
        }) && self.methods.as_ref().is_none_or(|methods| {
            allows_later
                || text(&request.method, &|method| {
                    methods.iter().any(|known| known == method)
                })
        }) && self.url.as_ref().is_none_or(|url| {
            // Without hosts a URL would let every name be looked up.
            (allows_later && self.hosts.is_some())
                || text(&request.url, &|text| url.matches(text.as_bytes()))
        })
    }
}

/// Whether the host in a pattern begins with something other than a wildcard.
fn names_something(pattern: &str) -> bool {
    let host = pattern.split_once("://").map_or(pattern, |(_, host)| host);
    !host.starts_with(['*', '?', '[', '{'])
}

/// Both names of a host.
fn hosts_of(request: &NetworkRequest) -> impl Iterator<Item = String> {
    std::iter::once(request.hostname.clone())
        .chain(request.address.map(|address| address.to_string()))
}

/// What patterns call an operation of the network.
fn scheme(op: NetworkOp) -> &'static str {
    match op {
        NetworkOp::Dns => "dns",
        NetworkOp::Send => "udp",
        _ => "tcp",
    }
}

/// What patterns are compared with.
struct Subject<'s> {
    texts: Vec<std::borrow::Cow<'s, [u8]>>,
}

impl<'s> Subject<'s> {
    fn of(request: &'s Request<'_>) -> Subject<'s> {
        let bytes = |text: &'s str| std::borrow::Cow::Borrowed(text.as_bytes());
        let texts = match request {
            Request::Fs { path, .. } => vec![std::borrow::Cow::Borrowed(&**path)],
            Request::Network(request) => {
                let scheme = scheme(request.op);
                let texts = hosts_of(request).map(|host| match request.op {
                    NetworkOp::Dns => format!("{scheme}://{host}"),
                    _ => format!("{scheme}://{host}:{}", request.port),
                });
                texts
                    .map(|text| std::borrow::Cow::Owned(text.into_bytes()))
                    .collect()
            }
            Request::ChildProcess(request) => vec![bytes(&request.command)],
            Request::Process(request) => {
                vec![std::borrow::Cow::Owned(
                    request.pid.to_string().into_bytes(),
                )]
            }
            Request::Env { key, .. } => vec![bytes(key)],
            Request::HostFunction { name } => {
                vec![std::borrow::Cow::Owned(levels(name).into_bytes())]
            }
        };
        Subject { texts }
    }
}

/// A dotted name with its levels parted as globs part them.
fn levels(name: &str) -> String {
    name.replace('.', "/")
}

fn is_absolute(pattern: &str) -> bool {
    pattern.starts_with(['/', '{']) || pattern.starts_with("**/") || pattern == "**"
}
