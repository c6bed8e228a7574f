//! Datagram sockets.
//!
//! What arrives waits in a bounded queue; beyond it datagrams are lost, as they may be. A sender never waits.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::net::account::Slot;
use crate::net::address::{destination, is_own, shown_on};
use crate::net::egress::{Datagrams, Inbox, NetOp};
use crate::net::table::{BindOptions, Lease, Net, Protocol};
use crate::net::wakes::Wakes;
use crate::pipe::Wake;

/// The longest datagram of IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;
/// Bytes that wait in one socket unless the guest asks for more, as Linux's `net.core.rmem_default`.
const DEFAULT_BUFFER: usize = 212_992;
/// The largest buffer that a guest may ask for.
const MAX_BUFFER: usize = 425_984;
/// What the kernel counts for a datagram beside its bytes, so that empty ones cannot wait without end.
const OVERHEAD: usize = 256;
/// Groups that one socket may be in, as Linux's `igmp_max_memberships`.
const MAX_MEMBERSHIPS: usize = 20;

/// Addresses outside from which one socket takes datagrams, because it has sent some there.
const MAX_CORRESPONDENTS: usize = 1024;

/// A datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who sent it.
    pub from: SocketAddr,
}

/// A group that a socket listens to, and for one source only if that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The group.
    pub group: IpAddr,
    /// The only sender that is listened to.
    pub source: Option<IpAddr>,
}

/// Options of a datagram socket that are numbers or flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpOption {
    /// Whether it may send to a broadcast address.
    Broadcast(bool),
    /// Hops of a datagram.
    Ttl(u8),
    /// Hops of a datagram to a group.
    MulticastTtl(u8),
    /// Whether what it sends to a group comes back to this machine.
    MulticastLoopback(bool),
}

struct State {
    bound: Option<(SocketAddr, Lease)>,
    peer: Option<SocketAddr>,
    queue: VecDeque<Datagram>,
    queued: usize,
    receive_buffer: usize,
    send_buffer: usize,
    /// What became known of an earlier send.
    error: Option<Errno>,
    groups: HashSet<Membership>,
    broadcast: bool,
    loops_back: bool,
    closed: bool,
    on_readable: Wakes,
    outside: Outside,
}

/// What a socket has outside of the VM, once it has sent something there.
#[derive(Default)]
struct Outside {
    v4: Option<Arc<dyn Datagrams>>,
    v6: Option<Arc<dyn Datagrams>>,
    /// Where it sent to; the oldest is forgotten first.
    correspondents: VecDeque<SocketAddr>,
}

/// See the module's text.
pub(crate) struct UdpSocket {
    net: Arc<Net>,
    v6: bool,
    pid: u32,
    slot: Slot,
    state: Mutex<State>,
}

impl UdpSocket {
    pub fn new(net: &Arc<Net>, slot: Slot, v6: bool, pid: u32) -> Arc<UdpSocket> {
        Arc::new(UdpSocket {
            net: net.clone(),
            v6,
            pid,
            slot,
            state: Mutex::new(State {
                bound: None,
                peer: None,
                queue: VecDeque::new(),
                queued: 0,
                receive_buffer: DEFAULT_BUFFER,
                send_buffer: DEFAULT_BUFFER,
                error: None,
                groups: HashSet::new(),
                broadcast: false,
                loops_back: true,
                closed: false,
                on_readable: Wakes::default(),
                outside: Outside::default(),
            }),
        })
    }

    pub fn bind(self: &Arc<Self>, address: SocketAddr, options: BindOptions) -> Result<()> {
        if address.is_ipv6() != self.v6 {
            return Err(Errno::EINVAL);
        }
        if !is_own(address.ip()) && !address.ip().is_multicast() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.net.gate.own(NetOp::Listen, address, self.pid)?;
        let mut state = self.state.lock();
        if state.bound.is_some() {
            return Err(Errno::EINVAL);
        }
        let (port, lease) = self.net.bind(
            Protocol::Udp,
            address,
            options,
            self.pid,
            Some(Arc::downgrade(self)),
        )?;
        state.bound = Some((SocketAddr::new(address.ip(), port), lease));
        Ok(())
    }

    fn bind_any(self: &Arc<Self>) -> Result<SocketAddr> {
        if let Some((address, _)) = &self.state.lock().bound {
            return Ok(*address);
        }
        let any: IpAddr = if self.v6 {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        };
        let options = BindOptions {
            only_v6: false,
            shares: false,
        };
        self.bind(SocketAddr::new(any, 0), options)?;
        self.local()
    }

    pub fn local(&self) -> Result<SocketAddr> {
        let state = self.state.lock();
        state
            .bound
            .as_ref()
            .map(|(address, _)| *address)
            .ok_or(Errno::EBADF)
    }

    pub fn peer(&self) -> Result<SocketAddr> {
        self.state.lock().peer.ok_or(Errno::ENOTCONN)
    }

    /// Sends to and receives from `peer` only.
    pub fn connect(self: &Arc<Self>, peer: SocketAddr) -> Result<()> {
        if peer.is_ipv6() != self.v6 {
            return Err(Errno::EAFNOSUPPORT);
        }
        let to = SocketAddr::new(destination(peer.ip()), peer.port());
        if is_own(to.ip()) && !self.is_given(to) {
            self.net.gate.own(NetOp::Send, to, self.pid)?;
        } else if !to.ip().is_multicast() {
            let host = self.net.name_of(to.ip());
            self.net.gate.outside(NetOp::Send, to, host, self.pid)?;
        }
        self.bind_any()?;
        let mut state = self.state.lock();
        if state.peer.is_some() {
            return Err(Errno::EISCONN);
        }
        if let Some((address, _)) = &mut state.bound
            && address.ip().is_unspecified()
            && is_own(to.ip())
        {
            address.set_ip(shown_on(to.ip(), self.v6));
        }
        state.peer = Some(SocketAddr::new(shown_on(to.ip(), self.v6), to.port()));
        Ok(())
    }

    pub fn disconnect(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.peer.take().map(drop).ok_or(Errno::ENOTCONN)
    }

    /// Sends one datagram, to the peer if no address is given.
    pub fn send(self: &Arc<Self>, data: &[u8], to: Option<SocketAddr>) -> Result<usize> {
        let peer = {
            let mut state = self.state.lock();
            if let Some(errno) = state.error.take() {
                return Err(errno);
            }
            state.peer
        };
        let to = match (to, peer) {
            (Some(_), Some(_)) => return Err(Errno::EISCONN),
            (Some(to), None) | (None, Some(to)) => to,
            (None, None) => return Err(Errno::EDESTADDRREQ),
        };
        if to.is_ipv6() != self.v6 {
            return Err(Errno::EINVAL);
        }
        if data.len() > MAX_DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        let ip = destination(to.ip());
        if ip.is_multicast() {
            return self.send_to_group(data, SocketAddr::new(ip, to.port()));
        }
        if let IpAddr::V4(ip) = ip
            && ip.is_broadcast()
        {
            // To all of somebody's network: no rule can mean that.
            return Err(Errno::EACCES);
        }
        let to = SocketAddr::new(ip, to.port());
        if !is_own(ip) || self.is_given(to) {
            return self.send_outside(data, to);
        }
        self.net.gate.own(NetOp::Send, to, self.pid)?;
        let from = self.source(self.bind_any()?, ip);
        match self.net.datagrams_at(to) {
            Some(socket) => socket.receive(data, from, ip),
            // The machine says that nobody is there; only a connected socket hears of it.
            None if peer.is_some() => self.fail(Errno::ECONNREFUSED),
            None => {}
        }
        Ok(data.len())
    }

    /// Whether a loopback address is the host's, because the embedder gave it and nothing of the VM's own is there.
    fn is_given(&self, to: SocketAddr) -> bool {
        self.net.gate.is_exempt(to) && self.net.datagrams_at(to).is_none()
    }

    fn send_outside(self: &Arc<Self>, data: &[u8], to: SocketAddr) -> Result<usize> {
        let host = self.net.name_of(to.ip());
        let (checked, egress, _) = self.net.gate.outside(NetOp::Send, to, host, self.pid)?;
        self.bind_any()?;
        let v6 = checked.get().is_ipv6();
        let known = {
            let mut state = self.state.lock();
            let outside = &mut state.outside;
            if !outside.correspondents.contains(&to) {
                if outside.correspondents.len() >= MAX_CORRESPONDENTS {
                    outside.correspondents.pop_front();
                }
                outside.correspondents.push_back(to);
            }
            if v6 { &outside.v6 } else { &outside.v4 }.clone()
        };
        let way = if let Some(way) = known {
            way
        } else {
            let way: Arc<dyn Datagrams> = egress.datagrams(v6, Inbox::new(self))?.into();
            let mut state = self.state.lock();
            let outside = &mut state.outside;
            let place = if v6 { &mut outside.v6 } else { &mut outside.v4 };
            place.get_or_insert(way).clone()
        };
        way.send(checked, data);
        Ok(data.len())
    }

    /// Takes a datagram from outside, if it comes from where this socket has sent to.
    pub(super) fn arrived(&self, data: &[u8], from: SocketAddr) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if self.state.lock().outside.correspondents.contains(&from) {
            self.receive(data, from, from.ip());
        }
    }

    /// The address that a receiver sees.
    fn source(&self, local: SocketAddr, towards: IpAddr) -> SocketAddr {
        let ip = destination(local.ip());
        let ip = match (local.ip().is_unspecified(), towards) {
            (true, IpAddr::V4(_)) => std::net::Ipv4Addr::LOCALHOST.into(),
            (true, IpAddr::V6(_)) => std::net::Ipv6Addr::LOCALHOST.into(),
            (false, _) => ip,
        };
        SocketAddr::new(ip, local.port())
    }

    fn send_to_group(self: &Arc<Self>, data: &[u8], to: SocketAddr) -> Result<usize> {
        self.net.gate.own(NetOp::Send, to, self.pid)?;
        let loopback: IpAddr = match to {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let from = self.source(self.bind_any()?, loopback);
        if self.state.lock().loops_back {
            for socket in self.net.datagrams_on(to.port()) {
                if socket.listens_to(to.ip(), from.ip()) {
                    socket.receive(data, from, to.ip());
                }
            }
        }
        Ok(data.len())
    }

    fn listens_to(&self, group: IpAddr, source: IpAddr) -> bool {
        let state = self.state.lock();
        state.groups.iter().any(|membership| {
            membership.group == group && membership.source.is_none_or(|only| only == source)
        })
    }

    fn receive(&self, data: &[u8], from: SocketAddr, to: IpAddr) {
        let from = SocketAddr::new(shown_on(from.ip(), self.v6), from.port());
        let wakes = {
            let mut state = self.state.lock();
            let wanted = state.peer.is_none_or(|peer| peer == from) || to.is_multicast();
            let cost = data.len() + OVERHEAD;
            let room = state.queued.saturating_add(cost) <= state.receive_buffer.max(cost);
            if state.closed || !wanted || !room {
                return;
            }
            state.queued += cost;
            state.queue.push_back(Datagram {
                bytes: data.to_vec(),
                from,
            });
            self.slot.account().add(cost);
            state.on_readable.take()
        };
        wakes.call();
    }

    fn fail(&self, errno: Errno) {
        let wakes = {
            let mut state = self.state.lock();
            state.error = Some(errno);
            state.on_readable.take()
        };
        wakes.call();
    }

    /// The datagram that has waited longest.
    pub fn take(&self) -> Result<Datagram> {
        let mut state = self.state.lock();
        if let Some(errno) = state.error.take() {
            return Err(errno);
        }
        let datagram = state.queue.pop_front().ok_or(Errno::EAGAIN)?;
        let cost = datagram.bytes.len() + OVERHEAD;
        state.queued = state.queued.saturating_sub(cost);
        drop(state);
        self.slot.account().remove(cost);
        Ok(datagram)
    }

    pub fn on_readable(&self, wake: Wake) {
        let mut state = self.state.lock();
        if state.queue.is_empty() && state.error.is_none() && !state.closed {
            state.on_readable.push(wake);
            return;
        }
        drop(state);
        wake();
    }

    /// Whether its family is IPv6.
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    pub fn join(&self, membership: Membership) -> Result<()> {
        self.check_group(membership)?;
        let mut state = self.state.lock();
        if state.groups.contains(&membership) {
            return Err(Errno::EADDRINUSE);
        }
        if state.groups.len() >= MAX_MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        state.groups.insert(membership);
        Ok(())
    }

    pub fn leave(&self, membership: Membership) -> Result<()> {
        self.check_group(membership)?;
        if self.state.lock().groups.remove(&membership) {
            Ok(())
        } else {
            Err(Errno::EADDRNOTAVAIL)
        }
    }

    fn check_group(&self, membership: Membership) -> Result<()> {
        if membership.group.is_ipv6() == self.v6 && membership.group.is_multicast() {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// Sets an option. Hop counts are checked by their type and change nothing: no datagram makes more than one hop.
    pub fn set(&self, option: UdpOption) {
        let mut state = self.state.lock();
        match option {
            UdpOption::Broadcast(on) => state.broadcast = on,
            UdpOption::MulticastLoopback(on) => state.loops_back = on,
            UdpOption::Ttl(_) | UdpOption::MulticastTtl(_) => {}
        }
    }

    /// Sets or reads the size of the send or the receive buffer. Linux doubles what it is asked for.
    pub fn buffer_size(&self, receive: bool, size: Option<usize>) -> usize {
        const LEAST: usize = 2304;
        let mut state = self.state.lock();
        let buffer = if receive {
            &mut state.receive_buffer
        } else {
            &mut state.send_buffer
        };
        if let Some(size) = size {
            *buffer = size.saturating_mul(2).clamp(LEAST, MAX_BUFFER);
        }
        *buffer
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.slot.account().remove(state.queued);
        let wakes = state.on_readable.take();
        wakes.call();
    }
}

impl std::fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpSocket")
            .field("v6", &self.v6)
            .finish_non_exhaustive()
    }
}
