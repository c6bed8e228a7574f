//! What a guest asks for, with every field that a rule or a function of the host can look at.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::policy::FsOp;

/// The six things that are permitted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Paths.
    Fs,
    /// Sockets and names.
    Network,
    /// Programs that a guest starts.
    ChildProcess,
    /// What a process does to processes.
    Process,
    /// Environment variables.
    Env,
    /// Functions of the host.
    HostFunction,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 6] = [
        Scope::Fs,
        Scope::Network,
        Scope::ChildProcess,
        Scope::Process,
        Scope::Env,
        Scope::HostFunction,
    ];

    /// Its name in the option `permissions`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Fs => "fs",
            Scope::Network => "network",
            Scope::ChildProcess => "childProcess",
            Scope::Process => "process",
            Scope::Env => "env",
            Scope::HostFunction => "hostFunction",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What is done with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkOp {
    /// A stream to an address.
    Connect,
    /// Waiting for streams.
    Listen,
    /// Datagrams to an address.
    Send,
    /// A name's addresses.
    Dns,
    /// An HTTP request whose parts are known.
    Http,
    /// The same, by `fetch`.
    Fetch,
}

impl NetworkOp {
    /// Its name in rules and requests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NetworkOp::Connect => "connect",
            NetworkOp::Listen => "listen",
            NetworkOp::Send => "send",
            NetworkOp::Dns => "dns",
            NetworkOp::Http => "http",
            NetworkOp::Fetch => "fetch",
        }
    }
}

/// One use of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRequest {
    /// What is done.
    pub op: NetworkOp,
    /// The name or address that the guest gave, in lower case; the literal address where it gave none.
    pub hostname: String,
    /// The port; 0 where there is none yet.
    pub port: u16,
    /// The address that is dialled, once it is known.
    pub address: Option<IpAddr>,
    /// The whole URL, for HTTP.
    pub url: Option<String>,
    /// The method, for HTTP.
    pub method: Option<String>,
    /// Whether it stays inside the VM.
    pub is_internal: bool,
    /// Whether the host gave this very way out itself: a port of its loopback that it exempted.
    pub is_given: bool,
    /// Whether the host itself said that the name stands for the address.
    pub is_pinned: bool,
    /// Whether each HTTP request over it will be a question of its own, and nothing else goes over it.
    pub is_asked_again: bool,
}

/// A program that a guest starts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SpawnRequest {
    /// The program, as the guest named it.
    pub command: String,
    /// Its arguments, without the program.
    pub args: Vec<String>,
    /// Where it starts.
    pub cwd: String,
    /// Its environment.
    pub env: Vec<(String, String)>,
}

/// What a process does to processes, itself included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRequest {
    /// `kill`, `setPriority`, `setuid`, `setgid`, `umask`, ...
    pub op: &'static str,
    /// The process that it is done to.
    pub pid: u32,
    /// The signal, for `kill`.
    pub signal: Option<i32>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'r> {
    /// A path.
    Fs {
        /// What is done.
        op: FsOp,
        /// The canonical absolute path.
        path: Cow<'r, [u8]>,
        /// Whether it lies in the VM's own memory.
        is_own: bool,
    },
    /// The network.
    Network(Cow<'r, NetworkRequest>),
    /// A program.
    ChildProcess(Cow<'r, SpawnRequest>),
    /// A process.
    Process(ProcessRequest),
    /// A variable that a new process would see.
    Env {
        /// Its name.
        key: Cow<'r, str>,
        /// Its value.
        value: Cow<'r, str>,
    },
    /// A call of a function of the host, by its dotted path.
    HostFunction {
        /// Its path.
        name: Cow<'r, str>,
    },
}

impl Request<'_> {
    /// The scope that decides.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Request::Fs { .. } => Scope::Fs,
            Request::Network(_) => Scope::Network,
            Request::ChildProcess(_) => Scope::ChildProcess,
            Request::Process(_) => Scope::Process,
            Request::Env { .. } => Scope::Env,
            Request::HostFunction { .. } => Scope::HostFunction,
        }
    }

    /// The operation's name in rules, requests and messages.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Request::Fs { op, .. } => fs_operation(*op),
            Request::Network(request) => request.op.name(),
            Request::ChildProcess(_) => "spawn",
            Request::Process(request) => request.op,
            Request::Env { .. } => "read",
            Request::HostFunction { .. } => "call",
        }
    }

    /// What it is about, for messages.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Request::Fs { path, .. } => String::from_utf8_lossy(path).into_owned(),
            Request::Network(request) => match &request.url {
                Some(url) => url.clone(),
                None if request.port == 0 => request.hostname.clone(),
                None if request.hostname.contains(':') => {
                    format!("[{}]:{}", request.hostname, request.port)
                }
                None => format!("{}:{}", request.hostname, request.port),
            },
            Request::ChildProcess(request) => request.command.clone(),
            Request::Process(request) => request.pid.to_string(),
            Request::Env { key, .. } => key.clone().into_owned(),
            Request::HostFunction { name } => name.clone().into_owned(),
        }
    }

    /// Whether what is asked for stays inside the VM, or was put there by the host.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match self {
            Request::Fs { is_own, .. } => *is_own,
            Request::Network(request) => request.is_internal || request.is_given,
            Request::Process(_) => true,
            Request::ChildProcess(_) | Request::Env { .. } | Request::HostFunction { .. } => false,
        }
    }
}

/// The name of a call on a path as rules and functions of the host know it.
#[must_use]
pub const fn fs_operation(op: FsOp) -> &'static str {
    match op {
        FsOp::Access => "exists",
        FsOp::Rmdir | FsOp::Unlink => "rm",
        _ => op.name(),
    }
}
