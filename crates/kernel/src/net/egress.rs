//! The way out of a VM: who decides, what a decision proves, and who then does it.
//!
//! ```text
//!   connect(addr) -- own? --> this VM's sockets
//!        |  no
//!        v
//!   NetPolicy --> CheckedAddr (a proof) --> Egress (the embedder) --> Dial: a connection's far end
//! ```
//! Without an [`Egress`] there is no way out, whatever a policy says.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use crate::errno::{Errno, Result};
use crate::net::address::{canonical, is_public};
use crate::net::socket::Socket;
use crate::net::stream::StreamEnd;
use crate::permissions::Granted;

/// What a process wants of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetOp {
    /// Take connections or datagrams at an address.
    Listen,
    /// Connect a stream.
    Connect,
    /// Send a datagram.
    Send,
    /// Find the addresses of a name.
    Resolve,
}

impl NetOp {
    /// The name of the operation in messages and rules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NetOp::Listen => "listen",
            NetOp::Connect => "connect",
            NetOp::Send => "send",
            NetOp::Resolve => "resolve",
        }
    }
}

/// One question to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetRequest {
    /// What is to be done.
    pub op: NetOp,
    /// The name to resolve, or the one that the address was found for.
    pub host: Option<String>,
    /// The address, as it will be dialled.
    pub address: Option<SocketAddr>,
    /// Whether the address is the VM's own.
    pub own: bool,
    /// The process that asks.
    pub pid: u32,
}

/// Decides about addresses. Called without any lock held, on the calling process's thread; it may take its time.
pub trait NetPolicy: Send + Sync {
    /// `Err` refuses; the guest sees that errno. An address outside that is not of the public internet is dialled only
    /// when the grant says that it was named.
    fn check(&self, request: &NetRequest) -> Result<Granted>;
}

/// The proof that an address outside of the VM was checked. Only this file makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedAddr(SocketAddr);

impl CheckedAddr {
    /// The address.
    #[must_use]
    pub fn get(self) -> SocketAddr {
        self.0
    }
}

/// The proof that a name may be resolved. Only this file makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedName(String);

impl CheckedName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Called once with the addresses of a name.
pub type Resolved = Box<dyn FnOnce(Result<Vec<IpAddr>>) + Send>;

/// Does what was allowed. Called on the calling process's thread; it must not block.
pub trait Egress: Send + Sync {
    /// Opens a connection; `dial` is told how that went.
    fn connect(&self, to: CheckedAddr, dial: Dial);

    /// Finds the addresses of a name, and answers them through `resolved`; each is checked again when it is dialled.
    fn resolve(&self, name: CheckedName, resolved: Resolved);
}

/// A guest's connection to the outside, while it is being opened. Dropping it refuses.
#[derive(Debug)]
pub struct Dial {
    socket: Weak<Socket>,
    settled: bool,
}

impl Dial {
    pub(crate) fn new(socket: &Arc<Socket>) -> Dial {
        Dial {
            socket: Arc::downgrade(socket),
            settled: false,
        }
    }

    /// The connection stands; the answer is its far end. `local` is the address that the guest sees as its own. `None`
    /// when the guest has given up.
    #[must_use]
    pub fn established(mut self, local: SocketAddr) -> Option<StreamEnd> {
        self.settled = true;
        self.socket.upgrade()?.established(local)
    }

    /// The connection failed.
    pub fn refused(mut self, errno: Errno) {
        self.settle(errno);
    }

    fn settle(&mut self, errno: Errno) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        if let Some(socket) = self.socket.upgrade() {
            socket.refused(errno);
        }
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.settle(Errno::ECONNREFUSED);
    }
}

/// The gate: policy and egress together.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    pub policy: Option<Arc<dyn NetPolicy>>,
    pub egress: Option<Arc<dyn Egress>>,
}

impl Gate {
    /// Whether the VM's own address may be used: unless a policy refuses.
    pub fn own(&self, op: NetOp, address: SocketAddr, pid: u32) -> Result<()> {
        match &self.policy {
            None => Ok(()),
            Some(policy) => policy
                .check(&NetRequest {
                    op,
                    host: None,
                    address: Some(address),
                    own: true,
                    pid,
                })
                .map(drop),
        }
    }

    /// Whether an address outside may be used, and by whom it is then dialled: only when a policy allows, and beyond the
    /// public internet only when it names the address.
    pub fn outside(
        &self,
        op: NetOp,
        address: SocketAddr,
        host: Option<String>,
        pid: u32,
    ) -> Result<(CheckedAddr, &Arc<dyn Egress>)> {
        let (Some(policy), Some(egress)) = (&self.policy, &self.egress) else {
            return Err(Errno::EACCES);
        };
        let address = SocketAddr::new(canonical(address.ip()), address.port());
        let granted = policy.check(&NetRequest {
            op,
            host,
            address: Some(address),
            own: false,
            pid,
        })?;
        if granted.is_named || is_public(address.ip()) {
            Ok((CheckedAddr(address), egress))
        } else {
            Err(Errno::EACCES)
        }
    }

    /// Whether a name may be looked up outside, and by whom.
    pub fn name(&self, name: &str, pid: u32) -> Result<(CheckedName, &Arc<dyn Egress>)> {
        let (Some(policy), Some(egress)) = (&self.policy, &self.egress) else {
            return Err(Errno::EACCES);
        };
        policy.check(&NetRequest {
            op: NetOp::Resolve,
            host: Some(name.to_owned()),
            address: None,
            own: false,
            pid,
        })?;
        Ok((CheckedName(name.to_owned()), egress))
    }
}
