//! The way out of a VM: who decides, what a decision proves, and who then does it.
//!
//! ```text
//!   connect(addr) -- own? --> this VM's sockets
//!        |  no
//!        v
//!   NetPolicy --> CheckedAddr (a proof) --> Egress (the embedder) --> Dial: a connection's far end
//!                                                                --> Datagrams, and an Inbox for what comes back
//! ```
//! Without an [`Egress`] there is no way out, whatever a policy says.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::net::account::Slot;
use crate::net::address::{canonical, is_public};
use crate::net::socket::Socket;
use crate::net::stream::StreamEnd;
use crate::net::udp::UdpSocket;
use crate::net::wakes::Wakes;
use crate::permissions::Granted;
use crate::pipe::Wake;

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
    /// Whether the embedder gave this way out itself: a port of its loopback that it exempted.
    pub given: bool,
    /// Whether `host` stands for the address because the embedder said so, and not because a DNS server did.
    pub pinned: bool,
    /// Whether each HTTP request over it will be a question of its own, and nothing else goes over it.
    pub asked_again: bool,
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

/// What a DNS server says of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRecords {
    /// Its answer as a DNS message, with its response code.
    pub message: Vec<u8>,
    /// The addresses in it.
    pub addresses: Vec<IpAddr>,
}

/// Called once with what is known of a name. An `Err` is a server that could not be asked.
pub type Answered = Box<dyn FnOnce(Result<NameRecords>) + Send>;

/// Does what was allowed. Called on the calling process's thread; it must not block.
pub trait Egress: Send + Sync {
    /// Opens a connection; `dial` is told how that went.
    fn connect(&self, to: CheckedAddr, dial: Dial);

    /// Whether connections go to the names that addresses were found for, and no such address is ever dialled. Nothing but
    /// HTTP goes over them then, and each request is a question to the policy.
    fn takes_names(&self) -> bool {
        false
    }

    /// Finds the addresses of a name, and answers them through `resolved`; each is checked again when it is dialled.
    fn resolve(&self, name: CheckedName, resolved: Resolved);

    /// Asks DNS for the records of a name that have this type's number.
    fn query(&self, name: CheckedName, kind: u16, answered: Answered);

    /// Opens a socket for datagrams of one family; what arrives goes to `inbox`.
    fn datagrams(&self, v6: bool, inbox: Inbox) -> Result<Box<dyn Datagrams>>;

    /// The VM has ended: so does all that is open or asked.
    fn close(&self);
}

/// The outside's side of a guest's datagram socket, until it is dropped.
pub trait Datagrams: Send + Sync {
    /// Sends a datagram, or loses it: it must not block.
    fn send(&self, to: CheckedAddr, data: &[u8]);
}

/// Where datagrams from the outside go.
#[derive(Clone, Debug)]
pub struct Inbox {
    socket: Weak<UdpSocket>,
}

impl Inbox {
    pub(crate) fn new(socket: &Arc<UdpSocket>) -> Inbox {
        Inbox {
            socket: Arc::downgrade(socket),
        }
    }

    /// Hands over a datagram. Lost when the guest has sent nothing there, or has no room.
    pub fn deliver(&self, from: SocketAddr, data: &[u8]) {
        if let Some(socket) = self.socket.upgrade() {
            socket.arrived(data, from);
        }
    }
}

/// What a guest's socket keeps of a connection that is being opened: with it goes the guest's wish for one.
#[derive(Debug)]
pub(crate) struct Wish(Arc<GivenUp>);

struct GivenUp {
    /// Callbacks, or `None` once the guest has given up.
    wakes: Mutex<Option<Wakes>>,
}

impl std::fmt::Debug for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GivenUp").finish_non_exhaustive()
    }
}

impl Wish {
    pub fn new() -> Wish {
        Wish(Arc::new(GivenUp {
            wakes: Mutex::new(Some(Wakes::default())),
        }))
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        let wakes = self.0.wakes.lock().take();
        if let Some(wakes) = wakes {
            wakes.call();
        }
    }
}

/// A guest's connection to the outside, while it is being opened. Dropping it refuses. It counts as a connection of the
/// VM from the start, so that what a guest gives up on is bounded too.
#[derive(Debug)]
pub struct Dial {
    socket: Weak<Socket>,
    wish: Arc<GivenUp>,
    slot: Option<Slot>,
    leave: Leave,
    settled: bool,
}

impl Dial {
    pub(crate) fn new(socket: &Arc<Socket>, wish: &Wish, slot: Slot, leave: Leave) -> Dial {
        Dial {
            leave,
            socket: Arc::downgrade(socket),
            wish: wish.0.clone(),
            slot: Some(slot),
            settled: false,
        }
    }

    /// The name that the address was last found for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.leave.name.as_deref()
    }

    /// Whether the address itself may be dialled, and is not only allowed as that of its name.
    #[must_use]
    pub fn is_by_address(&self) -> bool {
        self.leave.by_address
    }

    /// Calls back once when the guest has given up; at once if it has.
    pub fn on_given_up(&self, wake: Wake) {
        if let Some(wakes) = &mut *self.wish.wakes.lock() {
            return wakes.push(wake);
        }
        wake();
    }

    /// The connection stands; the answer is its far end. `local` is the address that the guest sees as its own. `None`
    /// when the guest has given up.
    #[must_use]
    pub fn established(mut self, local: SocketAddr) -> Option<StreamEnd> {
        self.settled = true;
        let slot = self.slot.take()?;
        self.socket.upgrade()?.established(local, slot, |_| {})
    }

    /// As [`Self::established`], and the far end takes what would be inside of TLS as it is.
    #[must_use]
    pub fn established_without_tls(mut self, local: SocketAddr) -> Option<StreamEnd> {
        self.settled = true;
        let slot = self.slot.take()?;
        let offer = StreamEnd::offer_plain_tls;
        self.socket.upgrade()?.established(local, slot, offer)
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

/// A name that an address was found for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFor {
    pub name: String,
    /// Whether the embedder said so.
    pub pinned: bool,
}

/// Why an address may be used.
#[derive(Clone, Debug)]
pub(crate) struct Leave {
    /// The name that it was last found for.
    pub name: Option<String>,
    /// Whether it may be dialled itself.
    pub by_address: bool,
}

/// The gate: policy and egress together.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    pub policy: Option<Arc<dyn NetPolicy>>,
    pub egress: Option<Arc<dyn Egress>>,
    /// Ports of the host's loopback that the embedder gave to the VM.
    pub exempt_ports: Vec<u16>,
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
                    given: false,
                    pinned: false,
                    asked_again: false,
                    pid,
                })
                .map(drop),
        }
    }

    /// Whether a loopback address stands for the host's, where nothing of the VM's own answers.
    pub fn is_exempt(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback()
            && self.egress.is_some()
            && self.exempt_ports.contains(&address.port())
    }

    /// Whether an address only stands for the name that it was found for.
    pub fn takes_name(&self, host: Option<&FoundFor>) -> bool {
        host.is_some()
            && self
                .egress
                .as_ref()
                .is_some_and(|egress| egress.takes_names())
    }

    /// Whether an address outside may be used, and by whom it is then dialled: only when a policy allows, and beyond the
    /// public internet only when it names the address, or when not the address is dialled but its name.
    pub fn outside(
        &self,
        op: NetOp,
        address: SocketAddr,
        host: Option<FoundFor>,
        pid: u32,
    ) -> Result<(CheckedAddr, &Arc<dyn Egress>, Leave)> {
        let (Some(policy), Some(egress)) = (&self.policy, &self.egress) else {
            return Err(Errno::EACCES);
        };
        let address = SocketAddr::new(canonical(address.ip()), address.port());
        let given = self.is_exempt(address);
        let pinned = host.as_ref().is_some_and(|host| host.pinned);
        let is_name = op == NetOp::Connect && self.takes_name(host.as_ref());
        let name = host.map(|host| host.name);
        let granted = policy.check(&NetRequest {
            op,
            host: name.clone(),
            address: Some(address),
            own: false,
            given,
            pinned,
            asked_again: op == NetOp::Connect && !given && egress.takes_names(),
            pid,
        })?;
        let by_address = given || granted.is_named || is_public(address.ip());
        if by_address || is_name {
            Ok((CheckedAddr(address), egress, Leave { name, by_address }))
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
            given: false,
            pinned: false,
            asked_again: egress.takes_names(),
            pid,
        })?;
        Ok((CheckedName(name.to_owned()), egress))
    }
}
