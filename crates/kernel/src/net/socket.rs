//! Stream sockets: from `socket` over `bind`, `listen` or `connect` to a connection.
//!
//! ```text
//!   New --bind--> New --listen--> Listening
//!    |             +---connect--+
//!    +--connect--> Waiting (full backlog) or Dialling (outside) --> Connected | Failed
//! ```
//! The state's lock is never held while a connection is used or a wake is called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::errno::{Errno, Result};
use crate::file::OpenFile;
use crate::net::account::{Counted, Slot};
use crate::net::address::{SocketName, destination, is_own, shown_on};
use crate::net::egress::{Dial, NetOp, Wish};
use crate::net::in_flight::InFlight;
use crate::net::listener::{Incoming, Listener};
use crate::net::stream::{Manners, StreamEnd, connection};
use crate::net::table::{BindOptions, Lease, LocalKey, Net, Protocol};
use crate::net::wakes::Wakes;
use crate::pipe::Wake;
use crate::quota::LimitError;

/// The family of a stream socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// TCP over IPv4.
    Inet,
    /// TCP over IPv6, and IPv4 unless it was bound to IPv6 only.
    Inet6,
    /// A local ("unix") socket.
    Local,
}

/// How far a `connect` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// The connection stands.
    Done,
    /// It will stand or fail later: wait until the socket is writable, then ask again.
    Pending,
}

/// A bound name and what keeps it.
struct Bound {
    name: SocketName,
    lease: Option<Lease>,
}

/// Where a connection leads.
#[derive(Clone)]
enum Destination {
    Inet(SocketAddr),
    Local(LocalKey),
}

enum State {
    New,
    Listening(Arc<Listener>),
    /// The listener's backlog is full.
    Waiting(Destination),
    /// The embedder opens the connection.
    Dialling {
        to: SocketAddr,
        /// Held for its end, which the embedder hears of.
        _wish: Wish,
    },
    Connected {
        end: Arc<StreamEnd>,
        peer: SocketName,
    },
    Failed(Errno),
}

struct Inner {
    state: State,
    bound: Option<Bound>,
    only_v6: bool,
    on_change: Wakes,
}

/// See the module's text.
pub(crate) struct Socket {
    net: Arc<Net>,
    domain: Domain,
    pid: u32,
    _slot: Option<Slot>,
    inner: Mutex<Inner>,
    no_delay: AtomicBool,
    /// Seconds before the first probe; 0 when probes are off.
    keep_alive: AtomicU32,
}

impl Socket {
    pub fn new(net: &Arc<Net>, slot: Slot, domain: Domain, pid: u32) -> Arc<Socket> {
        Arc::new(Self::with(net, Some(slot), domain, pid, State::New, None))
    }

    fn with(
        net: &Arc<Net>,
        slot: Option<Slot>,
        domain: Domain,
        pid: u32,
        state: State,
        bound: Option<Bound>,
    ) -> Socket {
        Socket {
            net: net.clone(),
            domain,
            pid,
            _slot: slot,
            inner: Mutex::new(Inner {
                state,
                bound,
                only_v6: false,
                on_change: Wakes::default(),
            }),
            no_delay: AtomicBool::new(false),
            keep_alive: AtomicU32::new(0),
        }
    }

    fn connected(
        net: &Arc<Net>,
        slot: Slot,
        domain: Domain,
        pid: u32,
        end: StreamEnd,
        names: (SocketName, SocketName),
    ) -> Arc<Socket> {
        let (local, peer) = names;
        let state = State::Connected {
            end: Arc::new(end),
            peer,
        };
        let bound = Bound {
            name: local,
            lease: None,
        };
        Arc::new(Self::with(net, Some(slot), domain, pid, state, Some(bound)))
    }

    /// Two local sockets, connected with each other.
    pub fn pair(net: &Arc<Net>, pid: u32) -> Result<[Arc<Socket>; 2], crate::quota::LimitError> {
        let one = net.account.take(Counted::Socket)?;
        let two = net.account.take(Counted::Socket)?;
        let (first, second) = connection(net.account.take(Counted::Connection)?, Manners::Local);
        let names = || (SocketName::Local(None), SocketName::Local(None));
        Ok([
            Self::connected(net, one, Domain::Local, pid, first, names()),
            Self::connected(net, two, Domain::Local, pid, second, names()),
        ])
    }

    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// `bind` of a TCP socket.
    pub fn bind(&self, address: SocketAddr, options: BindOptions) -> Result<()> {
        let fits = match self.domain {
            Domain::Inet => address.is_ipv4(),
            Domain::Inet6 => address.is_ipv6(),
            Domain::Local => false,
        };
        if !fits {
            return Err(Errno::EINVAL);
        }
        if !is_own(address.ip()) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.net.gate.own(NetOp::Listen, address, self.pid)?;
        let mut inner = self.inner.lock();
        if inner.bound.is_some() || !matches!(inner.state, State::New) {
            return Err(Errno::EINVAL);
        }
        let (port, lease) = self
            .net
            .bind(Protocol::Tcp, address, options, self.pid, None)?;
        inner.only_v6 = options.only_v6;
        inner.bound = Some(Bound {
            name: SocketName::Inet(SocketAddr::new(address.ip(), port)),
            lease: Some(lease),
        });
        Ok(())
    }

    /// `bind` of a local socket.
    pub fn bind_local(&self, key: LocalKey, name: Vec<u8>) -> Result<()> {
        if self.domain != Domain::Local {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        if inner.bound.is_some() || !matches!(inner.state, State::New) {
            return Err(Errno::EINVAL);
        }
        let lease = self.net.bind_local(key, name.clone(), self.pid)?;
        inner.bound = Some(Bound {
            name: SocketName::Local(Some(name)),
            lease: Some(lease),
        });
        Ok(())
    }

    /// `listen`; a socket that is not bound gets a port.
    pub fn listen(&self, backlog: usize) -> Result<()> {
        if self.domain != Domain::Local && self.inner.lock().bound.is_none() {
            self.bind_any()?;
        }
        let mut inner = self.inner.lock();
        match &inner.state {
            State::New => {}
            State::Listening(listener) => {
                listener.set_backlog(backlog);
                return Ok(());
            }
            _ => return Err(Errno::EINVAL),
        }
        let listener = Arc::new(Listener::new(backlog));
        let lease = inner.bound.as_ref().and_then(|bound| bound.lease.as_ref());
        // Whoever waits for a listener is told without the state's lock: the lease outlives the call.
        let found = lease.ok_or(Errno::EINVAL)?.listen(&listener)?;
        inner.state = State::Listening(listener);
        drop(inner);
        found.call();
        Ok(())
    }

    fn any(&self) -> IpAddr {
        match self.domain {
            Domain::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            Domain::Inet | Domain::Local => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    fn bind_any(&self) -> Result<()> {
        let options = BindOptions {
            only_v6: false,
            shares: false,
        };
        self.bind(SocketAddr::new(self.any(), 0), options)
    }

    fn listener(&self) -> Result<Arc<Listener>> {
        match &self.inner.lock().state {
            State::Listening(listener) => Ok(listener.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Sends away the connection that has waited longest.
    pub fn refuse(&self) -> Result<()> {
        let incoming = self.listener()?.accept()?;
        incoming.end.reset();
        Ok(())
    }

    /// Takes the connection that has waited longest.
    pub fn accept(&self) -> Result<Arc<Socket>> {
        let listener = self.listener()?;
        let incoming = listener.accept()?;
        let slot = match self.net.account.take(Counted::Socket) {
            Ok(slot) => slot,
            Err(error) => {
                listener.put_back(incoming);
                return Err(error.into());
            }
        };
        let Incoming { end, local, peer } = incoming;
        let (local, peer) = (self.shown(local), self.shown(peer));
        Ok(Self::connected(
            &self.net,
            slot,
            self.domain,
            self.pid,
            end,
            (local, peer),
        ))
    }

    /// A name as a socket of this family shows it.
    fn shown(&self, name: SocketName) -> SocketName {
        match name {
            SocketName::Inet(address) => {
                let ip = shown_on(address.ip(), self.domain == Domain::Inet6);
                SocketName::Inet(SocketAddr::new(ip, address.port()))
            }
            local @ SocketName::Local(_) => local,
        }
    }

    /// `connect` of a TCP socket.
    pub fn connect(self: &Arc<Self>, to: SocketAddr) -> Result<Connect> {
        if self.domain == Domain::Local || (self.domain == Domain::Inet && to.is_ipv6()) {
            return Err(Errno::EAFNOSUPPORT);
        }
        self.must_be_new()?;
        if to.port() == 0 {
            // Nobody listens there, and no packet would say so sooner.
            return Err(Errno::ECONNREFUSED);
        }
        let to = SocketAddr::new(destination(to.ip()), to.port());
        // What the VM itself opened is its own, whatever else has that port.
        let host = self.net.name_of(to.ip());
        let may_be_outside = self.net.gate.is_exempt(to) || self.net.gate.takes_name(host.as_ref());
        if is_own(to.ip()) && !(may_be_outside && self.net.listener_at(to).is_err()) {
            self.net.gate.own(NetOp::Connect, to, self.pid)?;
            return self.attempt(Destination::Inet(to));
        }
        let (checked, egress, leave) = self.net.gate.outside(NetOp::Connect, to, host, self.pid)?;
        let slot = self.net.account.take(Counted::Connection)?;
        let wish = Wish::new();
        let dial = Dial::new(self, &wish, slot, leave);
        self.inner.lock().state = State::Dialling { to, _wish: wish };
        egress.connect(checked, dial);
        self.outcome()
    }

    /// `connect` of a local socket.
    pub fn connect_local(&self, key: LocalKey) -> Result<Connect> {
        if self.domain != Domain::Local {
            return Err(Errno::EAFNOSUPPORT);
        }
        self.must_be_new()?;
        self.attempt(Destination::Local(key))
    }

    fn must_be_new(&self) -> Result<()> {
        match self.inner.lock().state {
            State::New | State::Failed(_) => Ok(()),
            State::Connected { .. } => Err(Errno::EISCONN),
            State::Waiting(_) | State::Dialling { .. } => Err(Errno::EALREADY),
            State::Listening(_) => Err(Errno::EISCONN),
        }
    }

    /// Puts a new connection into the backlog of the listener at `to`, or waits until there is room.
    fn attempt(&self, to: Destination) -> Result<Connect> {
        let (listener, peer) = match &to {
            Destination::Inet(to) => (
                self.net.listener_at(*to)?,
                SocketName::Inet(SocketAddr::new(
                    shown_on(to.ip(), self.domain == Domain::Inet6),
                    to.port(),
                )),
            ),
            Destination::Local(key) => {
                let (listener, name) = self.net.local_listener(key)?;
                (listener, SocketName::Local(Some(name)))
            }
        };
        match listener.has_room() {
            Ok(()) => {}
            Err(Errno::EAGAIN) => {
                self.inner.lock().state = State::Waiting(to);
                return Ok(Connect::Pending);
            }
            Err(errno) => return Err(errno),
        }
        if let Destination::Inet(to) = to {
            self.name_towards(to.ip())?;
        }
        let manners = match self.domain {
            Domain::Local => Manners::Local,
            Domain::Inet | Domain::Inet6 => Manners::Tcp,
        };
        let (own, other) = connection(self.net.account.take(Counted::Connection)?, manners);
        let local = self.local()?;
        let incoming = Incoming {
            end: other,
            local: peer.clone(),
            peer: local,
        };
        listener.offer(incoming)?;
        self.inner.lock().state = State::Connected {
            end: Arc::new(own),
            peer,
        };
        Ok(Connect::Done)
    }

    /// Gives a connecting socket its own address.
    fn name_towards(&self, to: IpAddr) -> Result<()> {
        let own: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let own = shown_on(own, self.domain == Domain::Inet6);
        if self.inner.lock().bound.is_none() {
            let options = BindOptions {
                only_v6: false,
                shares: false,
            };
            let (port, lease) = self.net.bind(
                Protocol::Tcp,
                SocketAddr::new(own, 0),
                options,
                self.pid,
                None,
            )?;
            self.inner.lock().bound = Some(Bound {
                name: SocketName::Inet(SocketAddr::new(own, port)),
                lease: Some(lease),
            });
        } else if let Some(Bound {
            name: SocketName::Inet(name),
            ..
        }) = &mut self.inner.lock().bound
            && name.ip().is_unspecified()
        {
            name.set_ip(own);
        }
        Ok(())
    }

    /// What became of a `connect` that was pending. A refusal is told once.
    pub fn outcome(&self) -> Result<Connect> {
        let to = {
            let mut inner = self.inner.lock();
            match &inner.state {
                State::Connected { .. } => return Ok(Connect::Done),
                State::Dialling { .. } => return Ok(Connect::Pending),
                State::Waiting(to) => to.clone(),
                State::Failed(errno) => {
                    let errno = *errno;
                    inner.state = State::New;
                    return Err(errno);
                }
                State::New | State::Listening(_) => return Err(Errno::ENOTCONN),
            }
        };
        self.inner.lock().state = State::New;
        self.attempt(to)
    }

    /// The embedder has opened the connection; answers its far end unless the guest has given up.
    pub(super) fn established(
        &self,
        local: SocketAddr,
        slot: Slot,
        prepare: impl FnOnce(&StreamEnd),
    ) -> Option<StreamEnd> {
        let (far, before, wakes) = {
            let mut inner = self.inner.lock();
            let State::Dialling { to, .. } = inner.state else {
                return None;
            };
            let (own, far) = connection(slot, Manners::Tcp);
            prepare(&far);
            let v6 = self.domain == Domain::Inet6;
            let shown = |address: SocketAddr| {
                SocketName::Inet(SocketAddr::new(shown_on(address.ip(), v6), address.port()))
            };
            let connected = State::Connected {
                end: Arc::new(own),
                peer: shown(to),
            };
            match &mut inner.bound {
                Some(bound) => bound.name = shown(local),
                none => {
                    *none = Some(Bound {
                        name: shown(local),
                        lease: None,
                    });
                }
            }
            let before = std::mem::replace(&mut inner.state, connected);
            (far, before, inner.on_change.take())
        };
        // What hung on the wish hears of its end now; not under the lock.
        drop(before);
        wakes.call();
        Some(far)
    }

    /// The embedder could not open the connection.
    pub(super) fn refused(&self, errno: Errno) {
        let (before, wakes) = {
            let mut inner = self.inner.lock();
            if !matches!(inner.state, State::Dialling { .. }) {
                return;
            }
            let before = std::mem::replace(&mut inner.state, State::Failed(errno));
            (before, inner.on_change.take())
        };
        drop(before);
        wakes.call();
    }

    /// Takes an open file that is to go over this socket.
    pub fn carry(&self, file: Arc<OpenFile>) -> Result<InFlight, LimitError> {
        InFlight::new(&self.net.account, file)
    }

    /// The connection, if there is one.
    pub fn end(&self) -> Result<Arc<StreamEnd>> {
        match &self.inner.lock().state {
            State::Connected { end, .. } => Ok(end.clone()),
            State::Waiting(_) | State::Dialling { .. } => Err(Errno::EAGAIN),
            State::New | State::Listening(_) | State::Failed(_) => Err(Errno::ENOTCONN),
        }
    }

    pub fn local(&self) -> Result<SocketName> {
        let inner = self.inner.lock();
        match &inner.bound {
            Some(bound) => Ok(bound.name.clone()),
            None if self.domain == Domain::Local => Ok(SocketName::Local(None)),
            None => Ok(SocketName::Inet(SocketAddr::new(self.any(), 0))),
        }
    }

    pub fn peer(&self) -> Result<SocketName> {
        match &self.inner.lock().state {
            State::Connected { peer, .. } => Ok(peer.clone()),
            _ => Err(Errno::ENOTCONN),
        }
    }

    pub fn is_listening(&self) -> bool {
        matches!(self.inner.lock().state, State::Listening(_))
    }

    /// Calls back once when `accept` or `read` would not say `EAGAIN`; at once if that is so now.
    pub fn on_readable(&self, wake: Wake) {
        let mut inner = self.inner.lock();
        match &inner.state {
            State::Listening(listener) => {
                let listener = listener.clone();
                drop(inner);
                listener.on_readable(wake);
            }
            State::Connected { end, .. } => {
                let end = end.clone();
                drop(inner);
                end.on_readable(wake);
            }
            State::Waiting(_) | State::Dialling { .. } => inner.on_change.push(wake),
            State::New | State::Failed(_) => {
                drop(inner);
                wake();
            }
        }
    }

    /// Calls back once when a pending `connect` has an outcome, or `write` would not say `EAGAIN`.
    pub fn on_writable(&self, wake: Wake) {
        let mut inner = self.inner.lock();
        let to = match &inner.state {
            State::Connected { end, .. } => {
                let end = end.clone();
                drop(inner);
                return end.on_writable(wake);
            }
            State::Dialling { .. } => return inner.on_change.push(wake),
            State::Waiting(to) => Some(to.clone()),
            State::New | State::Listening(_) | State::Failed(_) => None,
        };
        drop(inner);
        let listener = to.map(|to| match to {
            Destination::Inet(to) => self.net.listener_at(to),
            Destination::Local(key) => self.net.local_listener(&key).map(|found| found.0),
        });
        match listener {
            Some(Ok(listener)) => listener.on_room(wake),
            Some(Err(_)) | None => wake(),
        }
    }

    /// Closes with a reset instead of an end.
    pub fn reset(&self) {
        if let Ok(end) = self.end() {
            end.reset();
        }
    }

    pub fn set_no_delay(&self, on: bool) {
        self.no_delay.store(on, Ordering::Relaxed);
    }

    pub fn set_keep_alive(&self, on: bool, seconds: u32) -> Result<()> {
        // The range of TCP_KEEPIDLE.
        if on && !(1..=32_767).contains(&seconds) {
            return Err(Errno::EINVAL);
        }
        self.keep_alive
            .store(if on { seconds } else { 0 }, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if let State::Listening(listener) = &inner.state {
            listener.close();
        }
        // The name is free before anybody hears that the connection ended.
        inner.bound = None;
        let wakes = inner.on_change.take();
        inner.state = State::New;
        wakes.call();
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}
