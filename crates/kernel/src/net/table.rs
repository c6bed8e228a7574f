//! The socket table of one VM: which ports and names are taken, and by whom.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::device::fill_random;
use crate::errno::{Errno, Result};
use crate::inode::Ino;
use crate::net::account::Account;
use crate::net::address::{Reach, canonical};
use crate::net::egress::{FoundFor, Gate};
use crate::net::listener::Listener;
use crate::net::udp::UdpSocket;

/// Ports that are given out for port 0, as on Linux.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Ports that guests see the host come from; a guest's socket gets one of them only if it asks for it.
const HOST_PORTS: std::ops::RangeInclusive<u16> = 61_000..=u16::MAX;

/// A socket that takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// The port; 0 for a local socket.
    pub port: u16,
    /// The address it is bound to; `None` for a local socket.
    pub host: Option<IpAddr>,
    /// The path or abstract name of a local socket.
    pub path: Option<Vec<u8>>,
    /// The process that listens.
    pub pid: u32,
}

/// Ports of the host that lead to the ports that guests listen on.
pub trait HostPorts: Send + Sync {
    /// A guest is about to listen on this port. An error is what its `listen` gives. Must not block.
    fn open(&self, port: u16) -> Result<()>;
    /// One of those that listened on this port does no more.
    fn close(&self, port: u16);
}

/// Which listener is meant; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerQuery {
    /// Its port.
    pub port: Option<u16>,
    /// An address that reaches it.
    pub host: Option<IpAddr>,
    /// Its path.
    pub path: Option<Vec<u8>>,
    /// Its process.
    pub pid: Option<u32>,
}

impl ListenerQuery {
    fn matches(&self, listener: &ListenerInfo) -> bool {
        let reaches = |ip: IpAddr| {
            let reach = listener.host.map(|ip| Reach { ip, only_v6: false });
            reach.is_some_and(|reach| {
                canonical(ip).is_unspecified() || reach.fits(canonical(ip)).is_some()
            })
        };
        self.port
            .is_none_or(|port| listener.path.is_none() && listener.port == port)
            && self.host.is_none_or(reaches)
            && (self.path.is_none() || self.path == listener.path)
            && self.pid.is_none_or(|pid| listener.pid == pid)
    }
}

/// Which of the two port spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// How a socket wants to be bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BindOptions {
    pub only_v6: bool,
    /// Others may bind the same, if they want that too.
    pub shares: bool,
}

enum Target {
    /// Bound, or the local end of a connection.
    Bound,
    Listening(Weak<Listener>),
    Datagrams(Weak<UdpSocket>),
}

struct Entry {
    id: u64,
    reach: Reach,
    shares: bool,
    pid: u32,
    target: Target,
}

/// The name of a local socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LocalKey {
    Inode(Ino),
    Abstract(Vec<u8>),
}

struct LocalEntry {
    id: u64,
    pid: u32,
    name: Vec<u8>,
    listener: Option<Weak<Listener>>,
}

type Found = Box<dyn FnOnce(ListenerInfo) + Send>;

struct Waiter {
    id: u64,
    query: ListenerQuery,
    found: Found,
}

#[derive(Default)]
struct Tables {
    tcp: BTreeMap<u16, Vec<Entry>>,
    udp: BTreeMap<u16, Vec<Entry>>,
    local: HashMap<LocalKey, LocalEntry>,
    waiters: Vec<Waiter>,
    next_id: u64,
    next_port: u16,
}

/// See the module's text.
pub(crate) struct Net {
    tables: Mutex<Tables>,
    host_connections: AtomicU16,
    /// Addresses and the names that they were found for, oldest first.
    names: Mutex<VecDeque<(IpAddr, FoundFor)>>,
    pub host_ports: OnceLock<Arc<dyn HostPorts>>,
    pub account: Arc<Account>,
    pub gate: Gate,
}

/// A taken port or name, until it is dropped.
pub(crate) struct Lease {
    net: Arc<Net>,
    id: u64,
    key: LeaseKey,
    /// Where the host's port was opened for it.
    host_ports: OnceLock<Arc<dyn HostPorts>>,
}

#[derive(Clone)]
enum LeaseKey {
    Port(Protocol, u16),
    Local(LocalKey),
}

impl Tables {
    fn ports(&mut self, protocol: Protocol) -> &mut BTreeMap<u16, Vec<Entry>> {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Two sockets may have one port if neither takes connections yet, or if both want to share.
    fn is_taken(
        &mut self,
        protocol: Protocol,
        port: u16,
        reach: Reach,
        shares: bool,
        own: Option<u64>,
    ) -> bool {
        let Some(entries) = self.ports(protocol).get(&port) else {
            return false;
        };
        entries.iter().any(|entry| {
            let excludes = match entry.target {
                Target::Bound => false,
                Target::Listening(_) | Target::Datagrams(_) => !(entry.shares && shares),
            };
            excludes && Some(entry.id) != own && entry.reach.meets(reach)
        })
    }

    fn free_port(&mut self, protocol: Protocol, reach: Reach) -> Result<u16> {
        for _ in EPHEMERAL {
            let port = if EPHEMERAL.contains(&self.next_port) {
                self.next_port
            } else {
                *EPHEMERAL.start()
            };
            self.next_port = port.wrapping_add(1);
            let entries = self.ports(protocol).get(&port);
            if entries.is_none_or(|entries| entries.iter().all(|entry| !entry.reach.meets(reach))) {
                return Ok(port);
            }
        }
        Err(Errno::EADDRINUSE)
    }

    fn listeners(&self) -> impl Iterator<Item = ListenerInfo> {
        let inet = self.tcp.iter().flat_map(|(port, entries)| {
            entries
                .iter()
                .filter(|entry| matches!(entry.target, Target::Listening(_)))
                .map(|entry| ListenerInfo {
                    port: *port,
                    host: Some(entry.reach.ip),
                    path: None,
                    pid: entry.pid,
                })
        });
        let local = self
            .local
            .values()
            .filter(|entry| entry.listener.is_some())
            .map(|entry| ListenerInfo {
                port: 0,
                host: None,
                path: Some(entry.name.clone()),
                pid: entry.pid,
            });
        inet.chain(local)
    }

    /// Those who wait for this listener.
    fn waiters_for(&mut self, listener: &ListenerInfo) -> Vec<Found> {
        let (found, left) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| waiter.query.matches(listener));
        self.waiters = left;
        let found: Vec<Waiter> = found;
        found.into_iter().map(|waiter| waiter.found).collect()
    }
}

impl Net {
    pub fn new(account: Arc<Account>, gate: Gate) -> Arc<Net> {
        let mut random = [0; 2];
        // Without random numbers the first port is the first of the range.
        let _ = fill_random(&mut random);
        let span = EPHEMERAL.end() - EPHEMERAL.start();
        let tables = Tables {
            next_port: EPHEMERAL.start() + u16::from_ne_bytes(random) % span,
            ..Tables::default()
        };
        Arc::new(Net {
            tables: Mutex::new(tables),
            host_connections: AtomicU16::new(0),
            names: Mutex::default(),
            host_ports: OnceLock::new(),
            account,
            gate,
        })
    }

    /// Takes a port; 0 means any that is free. Answers the port.
    pub fn bind(
        self: &Arc<Self>,
        protocol: Protocol,
        address: SocketAddr,
        options: BindOptions,
        pid: u32,
        datagrams: Option<Weak<UdpSocket>>,
    ) -> Result<(u16, Lease)> {
        let reach = Reach {
            ip: address.ip(),
            only_v6: options.only_v6,
        };
        let mut tables = self.tables.lock();
        let port = match address.port() {
            0 => tables.free_port(protocol, reach)?,
            port if tables.is_taken(protocol, port, reach, options.shares, None) => {
                return Err(Errno::EADDRINUSE);
            }
            port => port,
        };
        let id = tables.new_id();
        let entry = Entry {
            id,
            reach,
            shares: options.shares,
            pid,
            target: datagrams.map_or(Target::Bound, Target::Datagrams),
        };
        tables.ports(protocol).entry(port).or_default().push(entry);
        let lease = Lease {
            net: self.clone(),
            id,
            key: LeaseKey::Port(protocol, port),
            host_ports: OnceLock::new(),
        };
        Ok((port, lease))
    }

    /// Takes a local name.
    pub fn bind_local(self: &Arc<Self>, key: LocalKey, name: Vec<u8>, pid: u32) -> Result<Lease> {
        let mut tables = self.tables.lock();
        if tables.local.contains_key(&key) {
            return Err(Errno::EADDRINUSE);
        }
        let id = tables.new_id();
        let entry = LocalEntry {
            id,
            pid,
            name,
            listener: None,
        };
        tables.local.insert(key.clone(), entry);
        Ok(Lease {
            net: self.clone(),
            id,
            key: LeaseKey::Local(key),
            host_ports: OnceLock::new(),
        })
    }

    /// The listener that a connection to `address` reaches.
    pub fn listener_at(&self, address: SocketAddr) -> Result<Arc<Listener>> {
        let tables = self.tables.lock();
        let entries = tables.tcp.get(&address.port());
        entries
            .into_iter()
            .flatten()
            .filter_map(|entry| match &entry.target {
                Target::Listening(listener) => {
                    entry.reach.fits(address.ip()).map(|fit| (fit, listener))
                }
                Target::Bound | Target::Datagrams(_) => None,
            })
            .max_by_key(|(fit, _)| *fit)
            .and_then(|(_, listener)| listener.upgrade())
            .ok_or(Errno::ECONNREFUSED)
    }

    /// Remembers what a name was found to mean, so that rules about names hold for its addresses.
    pub fn remember(&self, name: &str, found: &[IpAddr], pinned: bool) {
        /// Addresses whose names are known.
        const MAX_NAMES: usize = 1024;
        let mut names = self.names.lock();
        for ip in found.iter().map(|ip| canonical(*ip)) {
            names.retain(|(known, found)| *known != ip || found.name != name);
            if names.len() >= MAX_NAMES {
                names.pop_front();
            }
            let name = name.to_owned();
            names.push_back((ip, FoundFor { name, pinned }));
        }
    }

    /// Whether an address was found for a name.
    pub fn is_name_of(&self, ip: IpAddr, name: &str) -> bool {
        let ip = canonical(ip);
        let names = self.names.lock();
        names
            .iter()
            .any(|(known, found)| *known == ip && found.name == name)
    }

    /// The name that an address was last found for.
    pub fn name_of(&self, ip: IpAddr) -> Option<FoundFor> {
        let ip = canonical(ip);
        let names = self.names.lock();
        let found = names.iter().rev().find(|(known, _)| *known == ip);
        found.map(|(_, name)| name.clone())
    }

    /// The port that the host's next connection comes from, as guests see it.
    pub fn host_port(&self) -> u16 {
        let count = self.host_connections.fetch_add(1, Ordering::Relaxed);
        let span = HOST_PORTS.end() - HOST_PORTS.start() + 1;
        HOST_PORTS.start() + count % span
    }

    /// The listener behind a local name.
    pub fn local_listener(&self, key: &LocalKey) -> Result<(Arc<Listener>, Vec<u8>)> {
        let tables = self.tables.lock();
        let entry = tables.local.get(key).ok_or(Errno::ECONNREFUSED)?;
        let listener = entry.listener.as_ref().and_then(Weak::upgrade);
        Ok((listener.ok_or(Errno::ECONNREFUSED)?, entry.name.clone()))
    }

    /// The socket that a datagram to `address` reaches: the best fit, and of several the one bound last.
    pub fn datagrams_at(&self, address: SocketAddr) -> Option<Arc<UdpSocket>> {
        let tables = self.tables.lock();
        let entries = tables.udp.get(&address.port())?;
        // Only the answer is upgraded: the last hold on a socket must not be dropped under this lock.
        entries
            .iter()
            .filter_map(|entry| match &entry.target {
                Target::Datagrams(socket) if socket.strong_count() > 0 => {
                    let fit = entry.reach.fits(address.ip())?;
                    Some((fit, entry.id, socket))
                }
                _ => None,
            })
            .max_by_key(|(fit, id, _)| (*fit, *id))
            .and_then(|(_, _, socket)| socket.upgrade())
    }

    /// Every socket that datagrams to this port may reach.
    pub fn datagrams_on(&self, port: u16) -> Vec<Arc<UdpSocket>> {
        let tables = self.tables.lock();
        let entries = tables.udp.get(&port).into_iter().flatten();
        entries
            .filter_map(|entry| match &entry.target {
                Target::Datagrams(socket) => socket.upgrade(),
                Target::Bound | Target::Listening(_) => None,
            })
            .collect()
    }

    /// A listener that the query means.
    pub fn find_listener(&self, query: &ListenerQuery) -> Option<ListenerInfo> {
        let tables = self.tables.lock();
        tables.listeners().find(|listener| query.matches(listener))
    }

    /// The processes that have listeners.
    pub fn listening_pids(&self) -> Vec<u32> {
        let tables = self.tables.lock();
        tables.listeners().map(|listener| listener.pid).collect()
    }

    /// Calls back once when there is a listener that the query means, at once if there is; never, once the answer was
    /// dropped.
    pub fn on_listener(self: &Arc<Self>, query: ListenerQuery, found: Found) -> ListenerWait {
        let mut tables = self.tables.lock();
        let known = tables.listeners().find(|listener| query.matches(listener));
        let id = tables.new_id();
        if let Some(listener) = known {
            drop(tables);
            found(listener);
        } else {
            tables.waiters.push(Waiter { id, query, found });
        }
        ListenerWait {
            net: Arc::downgrade(self),
            id,
        }
    }
}

impl Lease {
    /// From now on connections to the port or name reach `listener`. The answer tells those who waited for it.
    pub fn listen(&self, listener: &Arc<Listener>) -> Result<Told> {
        self.open_host_port()?;
        let told = {
            let mut tables = self.net.tables.lock();
            let tables = &mut *tables;
            let info = match &self.key {
                LeaseKey::Port(protocol, port) => {
                    let entries = tables.ports(*protocol).get(port);
                    let entry = entries
                        .and_then(|entries| entries.iter().find(|entry| entry.id == self.id))
                        .ok_or(Errno::EINVAL)?;
                    let (reach, shares, pid) = (entry.reach, entry.shares, entry.pid);
                    if tables.is_taken(*protocol, *port, reach, shares, Some(self.id)) {
                        return Err(Errno::EADDRINUSE);
                    }
                    let entries = tables.ports(*protocol).entry(*port).or_default();
                    if let Some(entry) = entries.iter_mut().find(|entry| entry.id == self.id) {
                        entry.target = Target::Listening(Arc::downgrade(listener));
                    }
                    ListenerInfo {
                        port: *port,
                        host: Some(reach.ip),
                        path: None,
                        pid,
                    }
                }
                LeaseKey::Local(key) => {
                    let entry = tables.local.get_mut(key).ok_or(Errno::EINVAL)?;
                    entry.listener = Some(Arc::downgrade(listener));
                    ListenerInfo {
                        port: 0,
                        host: None,
                        path: Some(entry.name.clone()),
                        pid: entry.pid,
                    }
                }
            };
            let found = tables.waiters_for(&info);
            Told {
                listener: info,
                found,
            }
        };
        Ok(told)
    }

    /// Opens the host's port, once.
    fn open_host_port(&self) -> Result<()> {
        let LeaseKey::Port(Protocol::Tcp, port) = &self.key else {
            return Ok(());
        };
        match self.net.host_ports.get() {
            Some(host_ports) if self.host_ports.get().is_none() => {
                host_ports.open(*port)?;
                // Two threads that listen with one socket at once: the second port that was opened closes again.
                if self.host_ports.set(host_ports.clone()).is_err() {
                    host_ports.close(*port);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Those who waited for a listener that is there now.
pub(crate) struct Told {
    listener: ListenerInfo,
    found: Vec<Found>,
}

impl Told {
    /// Calls them. No lock may be held.
    pub fn call(self) {
        for found in self.found {
            found(self.listener.clone());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(host_ports), LeaseKey::Port(_, port)) = (self.host_ports.get(), &self.key) {
            host_ports.close(*port);
        }
        let mut tables = self.net.tables.lock();
        match &self.key {
            LeaseKey::Port(protocol, port) => {
                let ports = tables.ports(*protocol);
                if let Some(entries) = ports.get_mut(port) {
                    entries.retain(|entry| entry.id != self.id);
                    if entries.is_empty() {
                        ports.remove(port);
                    }
                }
            }
            LeaseKey::Local(key) => {
                if tables
                    .local
                    .get(key)
                    .is_some_and(|entry| entry.id == self.id)
                {
                    tables.local.remove(key);
                }
            }
        }
    }
}

/// Somebody who waits for a listener, until it is dropped.
#[derive(Debug)]
pub struct ListenerWait {
    net: Weak<Net>,
    id: u64,
}

impl Drop for ListenerWait {
    fn drop(&mut self) {
        let Some(net) = self.net.upgrade() else {
            return;
        };
        let given_up = {
            let mut tables = net.tables.lock();
            let at = tables
                .waiters
                .iter()
                .position(|waiter| waiter.id == self.id);
            at.map(|at| tables.waiters.swap_remove(at))
        };
        drop(given_up);
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}
