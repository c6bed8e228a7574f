//! The way out of a VM whose embedder gave a network adapter: nothing is dialled here, its JavaScript is asked.
//!
//! ```text
//!   guest's socket --> kernel's gate --> AdapterNetwork --(5)--> JavaScript: takes the connection, speaks HTTP on it
//!   guest's lookup --> kernel's gate --> AdapterNetwork --(6)--> JavaScript: answers with an address
//!          a port of the host's loopback that was given --> the host's network, as without an adapter
//! ```

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use secure_exec_runtime::kernel::{
    Answered, CheckedAddr, CheckedName, Datagrams, Dial, Egress, Errno, Inbox, NameRecords,
    Resolved, StreamEnd,
};

/// What guests see as their own address towards the outside.
const SHOWN_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SHOWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x15);
/// Names that wait for an answer, of processes that have ended too.
const MAX_NAMES: usize = 8192;
/// Numbers of types of records.
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// Tells JavaScript of something.
pub trait Listener: Send + Sync {
    /// The first connection waits for [`AdapterNetwork::next_connection`]; those after it are not told of.
    fn connections(&self);
    /// A name waits under this number.
    fn name(&self, id: u32);
}

/// A connection of a guest that JavaScript has not taken yet.
pub struct Arrived {
    /// JavaScript's end.
    pub end: StreamEnd,
    /// Where the guest wanted to go.
    pub to: Target,
}

/// Where a guest wanted to go.
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// The name that it was last found for.
    pub name: Option<String>,
    /// Whether the address itself was allowed, not only as the name's.
    pub by_address: bool,
}

/// A name that JavaScript has not answered yet.
struct Question {
    name: String,
    resolved: Resolved,
}

#[derive(Default)]
struct Waiting {
    closed: bool,
    connections: VecDeque<Arrived>,
    names: HashMap<u32, Question>,
    last_name: u32,
    last_port: u16,
}

/// See the module's text.
pub struct AdapterNetwork {
    /// For the ports of the host's loopback that were given.
    host: Option<Arc<dyn Egress>>,
    given_ports: Arc<[u16]>,
    listener: OnceLock<Arc<dyn Listener>>,
    waiting: Mutex<Waiting>,
}

impl AdapterNetwork {
    /// A way to JavaScript, and by `host` to the given ports of the host's loopback.
    pub fn new(host: Option<Arc<dyn Egress>>, given_ports: Vec<u16>) -> Self {
        Self {
            host: host.filter(|_| !given_ports.is_empty()),
            given_ports: given_ports.into(),
            listener: OnceLock::new(),
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who asks JavaScript. Until there is somebody everything is refused. The first call counts.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(listener);
    }

    /// The connection that has waited longest.
    pub fn next_connection(&self) -> Option<Arrived> {
        self.waiting().connections.pop_front()
    }

    /// A name that waits.
    pub fn name(&self, id: u32) -> Option<String> {
        let waiting = self.waiting();
        waiting.names.get(&id).map(|question| question.name.clone())
    }

    /// Answers a name.
    pub fn answer(&self, id: u32, answer: Result<Vec<IpAddr>, Errno>) {
        let question = self.waiting().names.remove(&id);
        if let Some(question) = question {
            (question.resolved)(answer);
        }
    }

    fn is_given(&self, to: SocketAddr) -> bool {
        is_given(&self.given_ports, to)
    }
}

fn is_given(ports: &[u16], to: SocketAddr) -> bool {
    to.ip().is_loopback() && ports.contains(&to.port())
}

impl Egress for AdapterNetwork {
    fn connect(&self, to: CheckedAddr, dial: Dial) {
        let address = to.get();
        if let Some(host) = self.host.as_ref().filter(|_| self.is_given(address)) {
            return host.connect(to, dial);
        }
        let Some(listener) = self.listener.get() else {
            return dial.refused(Errno::ECONNREFUSED);
        };
        let port = {
            const FIRST: u16 = 32_768;
            const COUNT: u16 = 28_232;
            let mut waiting = self.waiting();
            if waiting.closed {
                drop(waiting);
                return dial.refused(Errno::ENETDOWN);
            }
            waiting.last_port = (waiting.last_port + 1) % COUNT;
            FIRST + waiting.last_port
        };
        let own: IpAddr = if address.is_ipv6() {
            SHOWN_V6.into()
        } else {
            SHOWN_V4.into()
        };
        let to = Target {
            address,
            name: dial.name().map(str::to_owned),
            by_address: dial.is_by_address(),
        };
        let Some(end) = dial.established_without_tls(SocketAddr::new(own, port)) else {
            return;
        };
        let arrived = Arrived { end, to };
        let mut waiting = self.waiting();
        if waiting.closed {
            drop(waiting);
            // Its guest hears of it now; not under the lock.
            return arrived.end.reset();
        }
        let is_first = waiting.connections.is_empty();
        waiting.connections.push_back(arrived);
        drop(waiting);
        if is_first {
            listener.connections();
        }
    }

    fn takes_names(&self) -> bool {
        true
    }

    fn resolve(&self, name: CheckedName, resolved: Resolved) {
        let Some(listener) = self.listener.get() else {
            return resolved(Err(Errno::EAI_AGAIN));
        };
        let mut waiting = self.waiting();
        if waiting.closed {
            drop(waiting);
            return resolved(Err(Errno::EAI_AGAIN));
        }
        if waiting.names.len() >= MAX_NAMES {
            drop(waiting);
            return resolved(Err(Errno::EAI_AGAIN));
        }
        let id = waiting.last_name.wrapping_add(1);
        waiting.last_name = id;
        let name = name.as_str().to_owned();
        waiting.names.insert(id, Question { name, resolved });
        drop(waiting);
        listener.name(id);
    }

    fn query(&self, name: CheckedName, kind: u16, answered: Answered) {
        if kind != TYPE_A && kind != TYPE_AAAA {
            return answered(Err(Errno::ECONNREFUSED));
        }
        let asked = name.as_str().to_owned();
        let resolved = Box::new(move |found: Result<Vec<IpAddr>, Errno>| {
            answered(match found {
                Ok(mut addresses) => {
                    addresses.retain(|ip| ip.is_ipv6() == (kind == TYPE_AAAA));
                    Ok(NameRecords {
                        message: message(&asked, &addresses, false),
                        addresses,
                    })
                }
                Err(Errno::EAI_NONAME | Errno::EAI_NODATA) => Ok(NameRecords {
                    message: message(&asked, &[], true),
                    addresses: Vec::new(),
                }),
                Err(errno) => Err(errno),
            });
        });
        self.resolve(name, resolved);
    }

    /// Nothing but TCP goes to the adapter.
    fn datagrams(&self, v6: bool, inbox: Inbox) -> Result<Box<dyn Datagrams>, Errno> {
        let host = self.host.as_ref().ok_or(Errno::ENETUNREACH)?;
        Ok(Box::new(GivenDatagrams {
            way: host.datagrams(v6, inbox)?,
            given_ports: self.given_ports.clone(),
        }))
    }

    fn close(&self) {
        if let Some(host) = &self.host {
            host.close();
        }
        let (connections, names) = {
            let mut waiting = self.waiting();
            waiting.closed = true;
            let connections = std::mem::take(&mut waiting.connections);
            (connections, std::mem::take(&mut waiting.names))
        };
        // Guests hear of it now; not under the lock.
        for arrived in connections {
            arrived.end.reset();
        }
        for (_, question) in names {
            (question.resolved)(Err(Errno::EAI_AGAIN));
        }
    }
}

/// Datagrams to the given ports; others are lost.
struct GivenDatagrams {
    way: Box<dyn Datagrams>,
    given_ports: Arc<[u16]>,
}

impl Datagrams for GivenDatagrams {
    fn send(&self, to: CheckedAddr, data: &[u8]) {
        if is_given(&self.given_ports, to.get()) {
            self.way.send(to, data);
        }
    }
}

/// A DNS message that says what a name's addresses are, or that there is no such name.
fn message(name: &str, addresses: &[IpAddr], is_unknown: bool) -> Vec<u8> {
    const RESPONSE: u8 = 0x81;
    const RECURSION: u8 = 0x80;
    const NO_SUCH_NAME: u8 = 3;
    const CLASS_IN: u16 = 1;
    const MAX_LABEL: usize = 63;
    let code = RECURSION | if is_unknown { NO_SUCH_NAME } else { 0 };
    let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![0, 0, RESPONSE, code, 0, 0, 0, count, 0, 0, 0, 0];
    for ip in addresses.iter().take(count.into()) {
        for label in name.split('.') {
            let label = label.as_bytes();
            let label = label.get(..MAX_LABEL.min(label.len())).unwrap_or_default();
            bytes.push(u8::try_from(label.len()).unwrap_or_default());
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        let (kind, data) = match ip {
            IpAddr::V4(ip) => (TYPE_A, ip.octets().to_vec()),
            IpAddr::V6(ip) => (TYPE_AAAA, ip.octets().to_vec()),
        };
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        // Good for this answer only.
        bytes.extend_from_slice(&0_u32.to_be_bytes());
        let length = u16::try_from(data.len()).unwrap_or_default();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&data);
    }
    bytes
}
