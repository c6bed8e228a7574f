use std::borrow::Cow;
use std::sync::Mutex;

use super::*;
use crate::policy::FsOp;

fn fs(op: FsOp, path: &str, is_own: bool) -> Request<'_> {
    Request::Fs {
        op,
        path: Cow::Borrowed(path.as_bytes()),
        is_own,
    }
}

fn network(op: NetworkOp, hostname: &str, port: u16) -> NetworkRequest {
    NetworkRequest {
        op,
        hostname: hostname.to_owned(),
        port,
        address: None,
        url: None,
        method: None,
        is_internal: false,
        is_given: false,
        is_pinned: false,
        is_asked_again: false,
    }
}

fn rule(mode: Mode, operations: &[&str], patterns: &[&str]) -> RuleSpec {
    let list = |items: &[&str]| {
        (!items.is_empty()).then(|| items.iter().map(|item| (*item).to_owned()).collect())
    };
    RuleSpec {
        mode,
        operations: list(operations),
        patterns: list(patterns),
        ..RuleSpec::default()
    }
}

fn with(scope: Scope, spec: ScopeSpec) -> Permissions {
    let mut all = PermissionSpec::default();
    *all.scope_mut(scope) = spec;
    Permissions::new(&all, None).unwrap()
}

fn rules(scope: Scope, default: Mode, rules: Vec<RuleSpec>) -> Permissions {
    let spec = RuleListSpec {
        default,
        rules,
        hides_denied: false,
    };
    with(scope, ScopeSpec::Rules(spec))
}

fn rules_error(rule: RuleSpec) -> String {
    let mut all = PermissionSpec::default();
    *all.scope_mut(Scope::Network) = ScopeSpec::Rules(RuleListSpec {
        rules: vec![rule],
        ..RuleListSpec::default()
    });
    Permissions::new(&all, None).unwrap_err().to_string()
}

#[test]
fn what_reaches_outside_needs_a_grant() {
    let none = Permissions::new(&PermissionSpec::default(), None).unwrap();
    let allows = |request: &Request<'_>| none.check(request).is_ok();
    assert!(allows(&fs(FsOp::Write, "/tmp/x", true)));
    assert!(
        allows(&fs(FsOp::Read, "/mnt/x", false)),
        "the host mounted it"
    );
    let mut request = network(NetworkOp::Connect, "example.com", 443);
    assert!(!allows(&Request::Network(Cow::Borrowed(&request))));
    request.is_internal = true;
    assert!(allows(&Request::Network(Cow::Borrowed(&request))));
    let spawn = SpawnRequest::default();
    assert!(
        allows(&Request::ChildProcess(Cow::Borrowed(&spawn))),
        "it runs inside"
    );
    assert!(allows(&Request::HostFunction { name: "a.b".into() }));
    request.is_internal = false;
    let denied = none.check(&Request::Network(Cow::Owned(request)));
    assert_eq!(
        denied.unwrap_err().to_string(),
        "EACCES: permission denied, connect 'example.com:443': not granted (option permissions.network)"
    );
}

#[test]
fn a_word_does_not_speak_of_the_vms_own_files_but_of_its_loopback() {
    let deny = with(Scope::Fs, ScopeSpec::Deny);
    assert!(deny.check(&fs(FsOp::Write, "/tmp/x", true)).is_ok());
    assert!(deny.check(&fs(FsOp::Read, "/mnt/x", false)).is_err());
    let deny = with(Scope::Network, ScopeSpec::Deny);
    let mut request = network(NetworkOp::Listen, "127.0.0.1", 80);
    request.is_internal = true;
    assert!(deny.check(&Request::Network(Cow::Owned(request))).is_err());
}

#[test]
fn the_last_match_wins_and_the_default_leaves_the_vms_own_alone() {
    let policy = rules(
        Scope::Fs,
        Mode::Deny,
        vec![
            rule(Mode::Deny, &[], &["/secret/**"]),
            rule(Mode::Allow, &["read", "stat"], &["/secret/public/*"]),
            rule(Mode::Deny, &["write"], &["/workspace/*.lock"]),
        ],
    );
    let allows = |op, path, own| policy.check(&fs(op, path, own)).is_ok();
    assert!(!allows(FsOp::Read, "/secret", true));
    assert!(!allows(FsOp::Read, "/secret/a/b", true));
    assert!(allows(FsOp::Read, "/secret/public/a", true));
    assert!(!allows(FsOp::Write, "/secret/public/a", true));
    assert!(!allows(FsOp::Read, "/secret/public/a/b", true));
    assert!(allows(FsOp::Write, "/workspace/x", true));
    assert!(!allows(FsOp::Write, "/workspace/x.lock", true));
    assert!(allows(FsOp::Read, "/workspace/x.lock", true));
    assert!(
        !allows(FsOp::Read, "/mnt/x", false),
        "the default guards what is mounted"
    );
}

#[test]
fn operations_have_the_names_that_hosts_use() {
    let policy = rules(
        Scope::Fs,
        Mode::Allow,
        vec![rule(Mode::Deny, &["rm", "exists", "createDir"], &["/x/*"])],
    );
    for op in [FsOp::Unlink, FsOp::Rmdir, FsOp::Access, FsOp::Mkdir] {
        assert!(policy.check(&fs(op, "/x/y", true)).is_err(), "{op:?}");
    }
    assert!(policy.check(&fs(FsOp::Stat, "/x/y", true)).is_ok());
}

#[test]
fn who_may_make_some_requests_of_a_host_may_connect_where_each_is_asked() {
    let mut get = rule(Mode::Allow, &["fetch", "dns"], &[]);
    get.hosts = Some(vec!["api.test".into()]);
    get.methods = Some(vec!["GET".into()]);
    get.url_pattern = Some("https://api.test/v1/*".into());
    let mut trace = rule(Mode::Deny, &[], &[]);
    trace.methods = Some(vec!["TRACE".into()]);
    let policy = rules(Scope::Network, Mode::Deny, vec![get, trace]);
    let check = |request: NetworkRequest| policy.check(&Request::Network(Cow::Owned(request)));
    for op in [NetworkOp::Connect, NetworkOp::Dns] {
        let request = network(op, "api.test", 443);
        assert!(check(request.clone()).is_err(), "{op:?}");
        let again = |hostname: &str| NetworkRequest {
            is_asked_again: true,
            hostname: hostname.to_owned(),
            ..request.clone()
        };
        assert!(check(again("api.test")).is_ok(), "{op:?}");
        assert!(check(again("other.test")).is_err(), "{op:?}");
    }
}

#[test]
fn network_rules_look_at_every_field() {
    let mut https = rule(Mode::Allow, &["connect"], &[]);
    https.hosts = Some(vec!["*.Example.com".into()]);
    https.ports = Some(vec![(443, 443), (8000, 8999)]);
    let mut get = rule(Mode::Allow, &["fetch"], &[]);
    get.methods = Some(vec!["GET".into()]);
    get.url_pattern = Some("https://api.test/v1/*".into());
    let policy = rules(
        Scope::Network,
        Mode::Deny,
        vec![
            https,
            get,
            rule(Mode::Allow, &[], &["dns://*.test", "tcp://10.0.0.1:53"]),
        ],
    );
    let check = |request: NetworkRequest| policy.check(&Request::Network(Cow::Owned(request)));
    assert!(check(network(NetworkOp::Connect, "a.example.com", 443)).is_ok());
    assert!(check(network(NetworkOp::Connect, "a.example.com", 8001)).is_ok());
    assert!(check(network(NetworkOp::Connect, "a.example.com", 80)).is_err());
    assert!(check(network(NetworkOp::Listen, "a.example.com", 443)).is_err());
    assert!(check(network(NetworkOp::Connect, "example.com.evil", 443)).is_err());
    assert!(check(network(NetworkOp::Dns, "x.test", 0)).is_ok());
    assert!(
        check(network(NetworkOp::Connect, "10.0.0.1", 53))
            .unwrap()
            .is_named
    );
    let mut fetch = network(NetworkOp::Fetch, "api.test", 443);
    fetch.url = Some("https://api.test/v1/x".into());
    fetch.method = Some("GET".into());
    assert!(check(fetch.clone()).is_ok());
    fetch.url = Some("https://api.test/v1/x/y".into());
    assert!(check(fetch.clone()).is_err());
    fetch.url = Some("https://api.test/v1/x".into());
    fetch.method = Some("POST".into());
    assert!(check(fetch).is_err());
    let again = |op, hostname| NetworkRequest {
        is_asked_again: true,
        ..network(op, hostname, 443)
    };
    assert!(check(again(NetworkOp::Connect, "api.test")).is_err());
    assert!(check(again(NetworkOp::Dns, "api.other")).is_err());
    let allow = with(Scope::Network, ScopeSpec::Allow);
    let request = network(NetworkOp::Connect, "10.0.0.1", 53);
    let granted = allow.check(&Request::Network(Cow::Owned(request)));
    assert!(!granted.unwrap().is_named, "a word names no place");
}

#[test]
fn names_of_functions_are_matched_by_level() {
    let policy = rules(
        Scope::HostFunction,
        Mode::Deny,
        vec![rule(Mode::Allow, &[], &["tools.*", "db.**"])],
    );
    let allows = |name: &str| {
        policy
            .check(&Request::HostFunction { name: name.into() })
            .is_ok()
    };
    assert!(allows("tools.add"));
    assert!(!allows("tools.a.b"));
    assert!(allows("db.a.b"));
    assert!(!allows("other"));
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    let refused = |scope, rules| {
        let mut all = PermissionSpec::default();
        *all.scope_mut(scope) = ScopeSpec::Rules(RuleListSpec {
            rules,
            ..RuleListSpec::default()
        });
        Permissions::new(&all, None).unwrap_err().to_string()
    };
    let text = refused(Scope::Fs, vec![rule(Mode::Allow, &["eat"], &[])]);
    assert!(
        text.starts_with("permissions.fs.rules[0].operations[0] is not an operation"),
        "{text}"
    );
    let text = refused(Scope::Fs, vec![rule(Mode::Allow, &[], &["data/*"])]);
    assert_eq!(
        text,
        "permissions.fs.rules[0].paths[0] must be an absolute path, got \"data/*\""
    );
    let text = refused(Scope::Env, vec![rule(Mode::Allow, &[], &["A["])]);
    assert!(
        text.starts_with("permissions.env.rules[0].patterns[0] is not a glob"),
        "{text}"
    );
}

#[test]
fn private_addresses_need_a_name() {
    let named = |rule: RuleSpec, request: &NetworkRequest| {
        let policy = rules(Scope::Network, Mode::Deny, vec![rule]);
        let granted = policy.check(&Request::Network(Cow::Borrowed(request)));
        granted.map(|granted| granted.is_named).ok()
    };
    let hosts = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        RuleSpec {
            hosts: Some(hosts),
            ..rule(Mode::Allow, &[], &[])
        }
    };
    let mut request = network(NetworkOp::Connect, "db.test", 5432);
    request.address = Some("10.0.0.7".parse().unwrap());
    assert_eq!(named(hosts(&["10.0.0.7"]), &request), Some(true));
    assert_eq!(named(hosts(&["10.0.0.0/8"]), &request), Some(true));
    assert_eq!(named(hosts(&["0.0.0.0/0"]), &request), Some(false));
    assert_eq!(named(hosts(&["*"]), &request), Some(false));
    assert_eq!(named(hosts(&["11.0.0.0/8"]), &request), None);
    // A server of names may say anything; the host itself means what it says.
    assert_eq!(named(hosts(&["db.test"]), &request), Some(false));
    request.is_pinned = true;
    assert_eq!(named(hosts(&["db.test"]), &request), Some(true));
    assert_eq!(named(hosts(&["*.test"]), &request), Some(false));
    let mut ports = hosts(&["db.test"]);
    ports.ports = Some(vec![(5432, 5432)]);
    let lookup = network(NetworkOp::Dns, "db.test", 0);
    assert_eq!(
        named(ports.clone(), &lookup),
        Some(true),
        "who may connect may look up"
    );
    ports.mode = Mode::Deny;
    let policy = rules(Scope::Network, Mode::Allow, vec![ports]);
    assert!(policy.check(&Request::Network(Cow::Owned(lookup))).is_ok());
    let wrong = rules_error(hosts(&["10.0.0.0/99"]));
    assert!(
        wrong.contains("permissions.network.rules[0].hosts[0]"),
        "{wrong}"
    );
}

#[test]
fn what_the_host_gave_needs_no_grant_and_can_be_taken_back() {
    let mut request = network(NetworkOp::Connect, "127.0.0.1", 5432);
    request.is_given = true;
    let asked = Request::Network(Cow::Owned(request));
    assert!(with(Scope::Network, ScopeSpec::Given).check(&asked).is_ok());
    assert!(with(Scope::Network, ScopeSpec::Deny).check(&asked).is_err());
    let mut rule = rule(Mode::Deny, &[], &[]);
    rule.ports = Some(vec![(5432, 5432)]);
    assert!(
        rules(Scope::Network, Mode::Deny, vec![])
            .check(&asked)
            .is_ok()
    );
    assert!(
        rules(Scope::Network, Mode::Allow, vec![rule])
            .check(&asked)
            .is_err()
    );
}

struct Host(Mutex<Vec<String>>);

impl Approver for Host {
    fn approve(&self, request: &Request<'_>) -> Answer {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {}", request.operation(), request.subject()));
        if request.subject().contains("no") {
            Answer::Deny(Some("because\n\u{1b}[31m".repeat(100)))
        } else {
            Answer::Allow { private: false }
        }
    }
}

#[test]
fn a_function_is_asked_about_all_and_its_reason_is_cleaned() {
    let host = Arc::new(Host(Mutex::default()));
    let spec = PermissionSpec {
        fs: ScopeSpec::Ask,
        ..PermissionSpec::default()
    };
    let policy = Permissions::new(&spec, Some(host.clone())).unwrap();
    assert!(policy.check(&fs(FsOp::Unlink, "/a", true)).is_ok());
    let denied = policy.check(&fs(FsOp::Read, "/no", true)).unwrap_err();
    assert!(denied.reason.len() <= MAX_REASON && !denied.reason.contains(char::is_control));
    assert_eq!(*host.0.lock().unwrap(), ["rm /a", "read /no"]);
    let nobody = Permissions::new(&spec, None).unwrap();
    assert!(nobody.check(&fs(FsOp::Read, "/a", true)).is_err());
}
