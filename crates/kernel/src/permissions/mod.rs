//! What a guest may do beyond its own memory: data that the host gave, evaluated here.
//!
//! ```text
//!   Request (all fields, canonical) --> Permissions::check --> Policy of its scope
//!                                                               Given   what the host put into the VM
//!                                                               Allow | Deny
//!                                                               Rules   globs, last match wins
//!                                                               Ask --> Approver: a function of the host
//! ```
//!
//! A VM's memory is its own: plain words (`allow`, `deny`) do not speak of its files, rules do where they name them, and a
//! function is asked about all. What the host itself put into a VM (variables, mounts, functions) is granted by that
//! unless a scope takes it back, and so are programs, which run inside the VM. What reaches further (the network) needs a
//! grant.

mod blocks;
mod gates;
mod net;
mod pattern;
mod request;
mod rules;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::errno::Errno;

pub use request::{
    NetworkOp, NetworkRequest, ProcessRequest, Request, Scope, SpawnRequest, fs_operation,
};
pub use rules::{RuleListSpec, RuleSpec};

/// Longest reason that reaches a guest, in characters.
const MAX_REASON: usize = 256;

/// Yes or no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Yes.
    Allow,
    /// No.
    #[default]
    Deny,
}

/// What the host said about one scope.
#[derive(Clone, Debug, Default)]
pub enum ScopeSpec {
    /// Nothing.
    #[default]
    Given,
    /// All of it.
    Allow,
    /// Nothing of it.
    Deny,
    /// It depends on the request.
    Rules(RuleListSpec),
    /// A function of the host answers.
    Ask,
}

/// What the host said about every scope.
#[derive(Clone, Debug, Default)]
pub struct PermissionSpec {
    /// Paths.
    pub fs: ScopeSpec,
    /// Sockets and names.
    pub network: ScopeSpec,
    /// Programs.
    pub child_process: ScopeSpec,
    /// Processes.
    pub process: ScopeSpec,
    /// Variables.
    pub env: ScopeSpec,
    /// Functions of the host.
    pub host_function: ScopeSpec,
}

impl PermissionSpec {
    /// What was said about `scope`.
    pub fn scope_mut(&mut self, scope: Scope) -> &mut ScopeSpec {
        match scope {
            Scope::Fs => &mut self.fs,
            Scope::Network => &mut self.network,
            Scope::ChildProcess => &mut self.child_process,
            Scope::Process => &mut self.process,
            Scope::Env => &mut self.env,
            Scope::HostFunction => &mut self.host_function,
        }
    }
}

/// An option that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    option: String,
    reason: String,
    value: String,
}

impl ConfigError {
    fn new(option: String, reason: &str, value: &str) -> ConfigError {
        ConfigError {
            option,
            reason: reason.to_owned(),
            value: value.chars().take(MAX_REASON).collect(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, got {:?}", self.option, self.reason, self.value)
    }
}

impl std::error::Error for ConfigError {}

/// What a function of the host answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Allow {
        /// To an address that is not of the public internet, too.
        private: bool,
    },
    /// No, and why.
    Deny(Option<String>),
}

/// Asks the host. Called without a lock, on the thread of the process that wants to know, which waits meanwhile.
pub trait Approver: Send + Sync {
    /// What the host says; anything that is not clearly yes is no.
    fn approve(&self, request: &Request<'_>) -> Answer;
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Whose policy refused.
    pub scope: Scope,
    /// The operation's name.
    pub operation: &'static str,
    /// What it was about.
    pub subject: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, {} '{}': {}",
            Errno::EACCES.name(),
            Errno::EACCES.message(),
            self.operation,
            self.subject,
            self.reason
        )
    }
}

impl std::error::Error for Denial {}

/// How a request was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Whether the host named this very place: a private address is reached only then.
    pub is_named: bool,
}

#[derive(Clone, Debug)]
enum Policy {
    Given,
    Allow,
    Deny,
    Rules(rules::Rules),
    Ask,
}

impl Policy {
    fn new(spec: &ScopeSpec, scope: Scope) -> Result<Policy, ConfigError> {
        Ok(match spec {
            ScopeSpec::Given => Policy::Given,
            ScopeSpec::Allow => Policy::Allow,
            ScopeSpec::Deny => Policy::Deny,
            ScopeSpec::Rules(spec) => Policy::Rules(rules::Rules::new(spec, scope)?),
            ScopeSpec::Ask => Policy::Ask,
        })
    }
}

/// The permissions of one VM. See the module's header.
pub struct Permissions {
    fs: Policy,
    network: Policy,
    child_process: Policy,
    process: Policy,
    env: Policy,
    host_function: Policy,
    approver: Option<Arc<dyn Approver>>,
}

impl Permissions {
    /// Checks and compiles what the host said. Without an approver every question to one is answered with no.
    pub fn new(
        spec: &PermissionSpec,
        approver: Option<Arc<dyn Approver>>,
    ) -> Result<Permissions, ConfigError> {
        Ok(Permissions {
            fs: Policy::new(&spec.fs, Scope::Fs)?,
            network: Policy::new(&spec.network, Scope::Network)?,
            child_process: Policy::new(&spec.child_process, Scope::ChildProcess)?,
            process: Policy::new(&spec.process, Scope::Process)?,
            env: Policy::new(&spec.env, Scope::Env)?,
            host_function: Policy::new(&spec.host_function, Scope::HostFunction)?,
            approver,
        })
    }

    /// Whether any path has to be checked: with plain words only what is mounted, and only by a no.
    #[must_use]
    pub fn guards_files(&self) -> bool {
        matches!(self.fs, Policy::Rules(_) | Policy::Ask | Policy::Deny)
    }

    /// Decides a request.
    pub fn check(&self, request: &Request<'_>) -> Result<Granted, Denial> {
        let scope = request.scope();
        let policy = match scope {
            Scope::Fs => &self.fs,
            Scope::Network => &self.network,
            Scope::ChildProcess => &self.child_process,
            Scope::Process => &self.process,
            Scope::Env => &self.env,
            Scope::HostFunction => &self.host_function,
        };
        let own = request.is_own();
        let (allows, is_named) = match policy {
            Policy::Given => {
                let given = scope != Scope::Network;
                (own || given, false)
            }
            Policy::Allow => (true, false),
            Policy::Deny => (own && scope == Scope::Fs, false),
            Policy::Rules(rules) => {
                // The VM's own is left alone by a default: only a rule speaks of it.
                let left_alone = own && matches!(scope, Scope::Fs | Scope::Network);
                let mode = rules.decide(request);
                let allows = mode.map_or(left_alone || rules.default == Mode::Allow, |mode| {
                    mode == Mode::Allow
                });
                (allows, allows && rules.names_place(request))
            }
            Policy::Ask => match self.approver.as_ref().map(|host| host.approve(request)) {
                Some(Answer::Allow { private }) => (true, private),
                Some(Answer::Deny(reason)) => return Err(denial(request, reason.as_deref())),
                None => (false, false),
            },
        };
        if allows {
            Ok(Granted { is_named })
        } else if matches!(policy, Policy::Given) {
            let reason = format!("not granted (option permissions.{})", scope.name());
            Err(denial(request, Some(&reason)))
        } else {
            Err(denial(request, None))
        }
    }

    fn hides_denied(&self) -> bool {
        matches!(&self.fs, Policy::Rules(rules) if rules.hides_denied)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permissions")
            .field("fs", &self.fs)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

fn denial(request: &Request<'_>, reason: Option<&str>) -> Denial {
    let scope = request.scope();
    let reason = match reason.map(clean).filter(|reason| !reason.is_empty()) {
        Some(reason) => reason,
        None => format!("blocked by permissions.{}", scope.name()),
    };
    Denial {
        scope,
        operation: request.operation(),
        subject: request.subject(),
        reason,
    }
}

/// One line of bounded length.
fn clean(reason: &str) -> String {
    reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect::<String>()
        .trim()
        .to_owned()
}

thread_local! {
    /// Why the last call on this thread was refused, as `errno` says what went wrong.
    static REASON: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Why the last call of this thread that took a path ended in `EACCES`, if a policy refused it. Answers once.
pub fn take_denial_reason() -> Option<String> {
    REASON.take()
}

pub(crate) fn clear_denial_reason() {
    REASON.set(None);
}

#[cfg(test)]
mod tests;
