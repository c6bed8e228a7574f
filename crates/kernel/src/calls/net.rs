//! Sockets. A socket has a descriptor like a file: `read`, `write`, `close`, `dup` and `on_ready` are those of files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::file::{Object, OpenFile};
use crate::flags::{Follow, OpenFlags, oflag};
use crate::inode::Kind;
use crate::kernel::{Ask, Kernel};
use crate::memfs::MAY_WRITE;
use crate::net::{
    Answered, BindOptions, Connect, Counted, Datagram, Domain, HostPorts, Incoming, ListenerInfo,
    ListenerQuery, ListenerWait, LocalKey, Manners, Membership, NameRecords, Resolved, Socket,
    SocketName, StreamEnd, UdpOption, UdpSocket, connection, destination,
};
use crate::pipe::Wake;
use crate::policy::FsOp;
use crate::process::Process;
use crate::resolve::Node;

/// The longest path of a local socket: `sun_path` without its NUL.
const MAX_LOCAL_NAME: usize = 107;
/// The longest name that DNS knows.
const MAX_HOST_NAME: usize = 255;

/// What became of a look at the names that the VM itself knows.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The addresses.
    Known(Vec<IpAddr>),
    /// The embedder was asked; it answers through the callback.
    Asked,
}

/// A connection that the host opens.
#[derive(Debug)]
pub struct Outgoing(Arc<Socket>);

impl Outgoing {
    /// Its end, or `EAGAIN` while it is being opened: ask [`Self::on_settled`]. A refusal is told once.
    pub fn end(&self) -> Result<Arc<StreamEnd>> {
        match self.0.outcome()? {
            Connect::Done => self.0.end(),
            Connect::Pending => Err(Errno::EAGAIN),
        }
    }

    /// Calls back once when it stands or has failed; at once if that is so now.
    pub fn on_settled(&self, wake: Wake) {
        self.0.on_writable(wake);
    }
}

impl Kernel {
    fn install_object(&self, p: &Process, object: Object) -> Result<Fd> {
        let flags = OpenFlags::parse(oflag::O_RDWR)?;
        p.install(OpenFile::new(object, flags))
    }

    fn stream_socket(&self, p: &Process, fd: Fd) -> Result<Arc<Socket>> {
        match &p.file(fd)?.object {
            Object::Socket(socket) => Ok(socket.clone()),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    fn udp(&self, p: &Process, fd: Fd) -> Result<Arc<UdpSocket>> {
        match &p.file(fd)?.object {
            Object::Udp(socket) => Ok(socket.clone()),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    // ---- stream sockets --------------------------------------------------------------------------------------------

    /// `socket(domain, SOCK_STREAM)`.
    pub fn socket(&self, p: &Process, domain: Domain) -> Result<Fd> {
        p.has_fd_room()?;
        let slot = self.net.account.take(Counted::Socket);
        let slot = slot.map_err(|error| p.report(error))?;
        let socket = Socket::new(&self.net, slot, domain, p.pid());
        self.install_object(p, Object::Socket(socket))
    }

    /// `socketpair(AF_UNIX, SOCK_STREAM)`.
    pub fn socketpair(&self, p: &Process) -> Result<(Fd, Fd)> {
        let [one, two] = self.socketpair_files(p)?;
        let one = p.install(one)?;
        match p.install(two) {
            Ok(two) => Ok((one, two)),
            Err(errno) => {
                self.close(p, one)?;
                Err(errno)
            }
        }
    }

    /// As [`Self::socketpair`], without descriptors: for ends that go to different processes.
    pub fn socketpair_files(&self, p: &Process) -> Result<[Arc<OpenFile>; 2]> {
        let pair = Socket::pair(&self.net, p.pid()).map_err(|error| p.report(error))?;
        let flags = OpenFlags::parse(oflag::O_RDWR)?;
        Ok(pair.map(|socket| OpenFile::new(Object::Socket(socket), flags)))
    }

    /// `sendmsg` with a descriptor (`SCM_RIGHTS`), which goes with the first byte. Local sockets only.
    pub fn send_file(
        &self,
        p: &Process,
        fd: Fd,
        data: &[u8],
        file: &Arc<OpenFile>,
    ) -> Result<usize> {
        let socket = self.stream_socket(p, fd)?;
        if socket.domain() != Domain::Local {
            return Err(Errno::EINVAL);
        }
        let carried = socket.carry(file.clone());
        let carried = carried.map_err(|error| p.report(error))?;
        socket.end()?.send(data, Some(carried))
    }

    /// `recvmsg`: bytes, and the descriptor that goes with them.
    pub fn receive_file(
        &self,
        p: &Process,
        fd: Fd,
        buf: &mut [u8],
    ) -> Result<(usize, Option<Arc<OpenFile>>)> {
        self.stream_socket(p, fd)?.end()?.receive(buf)
    }

    /// The family of a stream socket.
    pub fn socket_domain(&self, p: &Process, fd: Fd) -> Result<Domain> {
        Ok(self.stream_socket(p, fd)?.domain())
    }

    /// `bind` of a TCP socket; `shares` is `SO_REUSEPORT`.
    pub fn bind(
        &self,
        p: &Process,
        fd: Fd,
        address: SocketAddr,
        only_v6: bool,
        shares: bool,
    ) -> Result<()> {
        let options = BindOptions { only_v6, shares };
        self.stream_socket(p, fd)?.bind(address, options)
    }

    /// `bind` of a local socket: to a path, which is made, or to an abstract name, which begins with NUL.
    pub fn bind_local(&self, p: &Process, fd: Fd, name: &[u8]) -> Result<()> {
        let socket = self.stream_socket(p, fd)?;
        if name.is_empty() || name.len() > MAX_LOCAL_NAME {
            return Err(Errno::EINVAL);
        }
        if name.first() == Some(&0) {
            return socket.bind_local(LocalKey::Abstract(name.to_vec()), name.to_vec());
        }
        let cx = p.cx();
        let ino = {
            let (mut fs, at) = self.check(&cx, Ask::new(FsOp::Write, name, Follow::Entry))?;
            if at.location().target.is_some() {
                return Err(Errno::EADDRINUSE);
            }
            fs.create(&at, Kind::Socket, 0o777 & !cx.umask, &cx)?
        };
        socket
            .bind_local(LocalKey::Inode(ino), name.to_vec())
            .inspect_err(|_| {
                // The name that was made for nothing; whoever took it away meanwhile did what is wanted.
                let _ = self.unlink(p, name);
            })
    }

    /// `listen`.
    pub fn listen(&self, p: &Process, fd: Fd, backlog: usize) -> Result<()> {
        self.stream_socket(p, fd)?.listen(backlog)
    }

    /// Whether a descriptor is a socket that listens.
    pub fn is_listening(&self, p: &Process, fd: Fd) -> Result<bool> {
        Ok(self.stream_socket(p, fd)?.is_listening())
    }

    /// `accept`. `EAGAIN`: ask [`Kernel::on_ready`].
    pub fn accept(&self, p: &Process, fd: Fd) -> Result<Fd> {
        let listening = self.stream_socket(p, fd)?;
        p.has_fd_room()?;
        let socket = listening.accept()?;
        self.install_object(p, Object::Socket(socket))
    }

    /// Sends away the connection that has waited longest, for a process that cannot take it.
    pub fn refuse(&self, p: &Process, fd: Fd) -> Result<()> {
        self.stream_socket(p, fd)?.refuse()
    }

    /// `connect` of a TCP socket. [`Connect::Pending`]: ask [`Kernel::on_ready`] for `Writable`, then
    /// [`Kernel::connect_outcome`].
    pub fn connect(&self, p: &Process, fd: Fd, to: SocketAddr) -> Result<Connect> {
        self.stream_socket(p, fd)?.connect(to)
    }

    /// `connect` of a local socket.
    pub fn connect_local(&self, p: &Process, fd: Fd, name: &[u8]) -> Result<Connect> {
        let socket = self.stream_socket(p, fd)?;
        if name.is_empty() || name.len() > MAX_LOCAL_NAME {
            return Err(Errno::EINVAL);
        }
        if name.first() == Some(&0) {
            return socket.connect_local(LocalKey::Abstract(name.to_vec()));
        }
        let cx = p.cx();
        let key = {
            let (fs, at) = self.check(&cx, Ask::new(FsOp::Write, name, Follow::Final))?;
            match at.location().existing()? {
                Node::Mem(ino) if matches!(fs.get(ino)?.kind, Kind::Socket) => {
                    fs.may(ino, &cx, MAY_WRITE)?;
                    LocalKey::Inode(ino)
                }
                _ => return Err(Errno::ECONNREFUSED),
            }
        };
        socket.connect_local(key)
    }

    /// What became of a pending `connect`.
    pub fn connect_outcome(&self, p: &Process, fd: Fd) -> Result<Connect> {
        self.stream_socket(p, fd)?.outcome()
    }

    /// Whether the far end of a connection takes what would be inside of TLS as it is: it is the embedder's, and nothing
    /// else can read there.
    #[must_use]
    pub fn takes_plain_tls(&self, p: &Process, fd: Fd) -> bool {
        let socket = self.stream_socket(p, fd);
        let end = socket.and_then(|socket| socket.end());
        end.is_ok_and(|end| end.takes_plain_tls())
    }

    /// What is sent from now on would be inside of TLS, to the server of this name. `EPROTO` once bytes were sent.
    pub fn leave_out_tls(&self, p: &Process, fd: Fd, server_name: &str) -> Result<()> {
        let end = self.stream_socket(p, fd)?.end()?;
        end.leave_out_tls(server_name)
    }

    /// `shutdown(SHUT_WR)`.
    pub fn shutdown(&self, p: &Process, fd: Fd) -> Result<()> {
        match &p.file(fd)?.object {
            Object::Socket(socket) => socket.end()?.shutdown(),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// Ends a connection with a reset; the descriptor stays to be closed.
    pub fn reset(&self, p: &Process, fd: Fd) -> Result<()> {
        self.stream_socket(p, fd)?.reset();
        Ok(())
    }

    /// `getsockname`.
    pub fn socket_name(&self, p: &Process, fd: Fd) -> Result<SocketName> {
        match &p.file(fd)?.object {
            Object::Socket(socket) => socket.local(),
            Object::Udp(socket) => socket.local().map(SocketName::Inet),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// `getpeername`.
    pub fn peer_name(&self, p: &Process, fd: Fd) -> Result<SocketName> {
        match &p.file(fd)?.object {
            Object::Socket(socket) => socket.peer(),
            Object::Udp(socket) => socket.peer().map(SocketName::Inet),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// `TCP_NODELAY`: kept; no data of this network is ever delayed.
    pub fn set_no_delay(&self, p: &Process, fd: Fd, on: bool) -> Result<()> {
        self.stream_socket(p, fd)?.set_no_delay(on);
        Ok(())
    }

    /// `SO_KEEPALIVE` and `TCP_KEEPIDLE`: kept; both ends of a connection always know of each other.
    pub fn set_keep_alive(&self, p: &Process, fd: Fd, on: bool, seconds: u32) -> Result<()> {
        self.stream_socket(p, fd)?.set_keep_alive(on, seconds)
    }

    /// Bytes that a read of a pipe or a connection finds; 0 for anything else.
    #[must_use]
    pub fn available(&self, p: &Process, fd: Fd) -> usize {
        match p.file(fd).as_ref().map(|file| &file.object) {
            Ok(Object::Socket(socket)) => socket.end().map_or(0, |end| end.available()),
            Ok(Object::Reader(end)) => end.available(),
            Ok(Object::Terminal(terminal)) => terminal.available(),
            _ => 0,
        }
    }

    // ---- datagrams -------------------------------------------------------------------------------------------------

    /// `socket(SOCK_DGRAM)`.
    pub fn udp_socket(&self, p: &Process, v6: bool) -> Result<Fd> {
        p.has_fd_room()?;
        let slot = self.net.account.take(Counted::Socket);
        let slot = slot.map_err(|error| p.report(error))?;
        let socket = UdpSocket::new(&self.net, slot, v6, p.pid());
        self.install_object(p, Object::Udp(socket))
    }

    /// Whether a datagram socket is of IPv6.
    pub fn udp_is_v6(&self, p: &Process, fd: Fd) -> Result<bool> {
        Ok(self.udp(p, fd)?.is_v6())
    }

    /// `bind` of a datagram socket; `shares` is `SO_REUSEADDR`.
    pub fn udp_bind(
        &self,
        p: &Process,
        fd: Fd,
        address: SocketAddr,
        only_v6: bool,
        shares: bool,
    ) -> Result<()> {
        let options = BindOptions { only_v6, shares };
        self.udp(p, fd)?.bind(address, options)
    }

    /// `connect` of a datagram socket.
    pub fn udp_connect(&self, p: &Process, fd: Fd, to: SocketAddr) -> Result<()> {
        self.udp(p, fd)?.connect(to)
    }

    /// Undoes [`Self::udp_connect`].
    pub fn udp_disconnect(&self, p: &Process, fd: Fd) -> Result<()> {
        self.udp(p, fd)?.disconnect()
    }

    /// `sendto`; to the peer if no address is given.
    pub fn udp_send(
        &self,
        p: &Process,
        fd: Fd,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize> {
        self.udp(p, fd)?.send(data, to)
    }

    /// `recvfrom`. `EAGAIN`: ask [`Kernel::on_ready`].
    pub fn udp_receive(&self, p: &Process, fd: Fd) -> Result<Datagram> {
        self.udp(p, fd)?.take()
    }

    /// Joins or leaves a group.
    pub fn udp_membership(
        &self,
        p: &Process,
        fd: Fd,
        membership: Membership,
        join: bool,
    ) -> Result<()> {
        let socket = self.udp(p, fd)?;
        if join {
            socket.join(membership)
        } else {
            socket.leave(membership)
        }
    }

    /// Sets an option of a datagram socket.
    pub fn udp_set(&self, p: &Process, fd: Fd, option: UdpOption) -> Result<()> {
        self.udp(p, fd)?.set(option);
        Ok(())
    }

    /// Sets or reads the size of a datagram socket's buffer.
    pub fn udp_buffer(
        &self,
        p: &Process,
        fd: Fd,
        receive: bool,
        size: Option<usize>,
    ) -> Result<usize> {
        Ok(self.udp(p, fd)?.buffer_size(receive, size))
    }

    // ---- names -----------------------------------------------------------------------------------------------------

    /// Finds the addresses of a name: overrides, `localhost`, `/etc/hosts`, then, if the policy allows, whatever the
    /// embedder's egress finds. `EACCES` when it may not be asked, `EAI_NONAME` when there is no such name.
    pub fn lookup(
        &self,
        p: &Process,
        name: &str,
        answer: impl FnOnce() -> Resolved,
    ) -> Result<Lookup> {
        let plain = plain_name(name).ok_or(Errno::EAI_NONAME)?;
        if let Some(known) = self.known_addresses(&plain) {
            return Ok(Lookup::Known(known));
        }
        let (name, egress) = self.net.gate.name(&plain, p.pid())?;
        let (net, answer) = (self.net.clone(), answer());
        let resolved = Box::new(move |found: Result<Vec<IpAddr>>| {
            if let Ok(found) = &found {
                net.remember(&plain, found, false);
            }
            answer(found);
        });
        egress.resolve(name, resolved);
        Ok(Lookup::Asked)
    }

    /// Asks DNS for the records of a name that have this type's number, if the policy allows. Addresses that the VM
    /// itself knows are answered at once, when `addresses` are asked for.
    pub fn query_records(
        &self,
        p: &Process,
        name: &str,
        kind: u16,
        addresses: bool,
        answer: impl FnOnce() -> Answered,
    ) -> Result<Lookup> {
        let plain = plain_name(name).ok_or(Errno::EAI_NONAME)?;
        if addresses && let Some(known) = self.known_addresses(&plain) {
            return Ok(Lookup::Known(known));
        }
        let (name, egress) = self.net.gate.name(&plain, p.pid())?;
        let (net, answer) = (self.net.clone(), answer());
        let answered = Box::new(move |found: Result<NameRecords>| {
            if let Ok(found) = &found {
                net.remember(&plain, &found.addresses, false);
            }
            answer(found);
        });
        egress.query(name, kind, answered);
        Ok(Lookup::Asked)
    }

    /// Whether an address was found for a name.
    #[must_use]
    pub fn is_name_of(&self, ip: IpAddr, name: &str) -> bool {
        plain_name(name).is_some_and(|plain| self.net.is_name_of(ip, &plain))
    }

    /// Whether the policy lets the process ask a server outside for a name.
    pub fn may_query(&self, p: &Process, name: &str) -> Result<()> {
        let plain = plain_name(name).ok_or(Errno::EAI_NONAME)?;
        self.net.gate.name(&plain, p.pid()).map(drop)
    }

    /// Addresses that nobody outside has to be asked for.
    fn known_addresses(&self, plain: &str) -> Option<Vec<IpAddr>> {
        if let Ok(ip) = plain.parse::<IpAddr>() {
            return Some(vec![ip]);
        }
        let overridden = self.dns_overrides.iter().find(|(name, _)| *name == plain);
        if let Some((_, addresses)) = overridden {
            self.net.remember(plain, addresses, true);
            return Some(addresses.clone());
        }
        let known = self.known_hosts(plain);
        if !known.is_empty() {
            return Some(known);
        }
        if plain == "localhost" || plain.ends_with(".localhost") {
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        None
    }

    /// Addresses of a name in `/etc/hosts`, in the file's order.
    fn known_hosts(&self, name: &str) -> Vec<IpAddr> {
        let entries = self.hosts();
        let of_name = entries
            .into_iter()
            .filter(|(_, names)| names.iter().any(|known| known.eq_ignore_ascii_case(name)));
        of_name.map(|(ip, _)| ip).collect()
    }

    /// The name of an address in `/etc/hosts`.
    #[must_use]
    pub fn name_of_address(&self, ip: IpAddr) -> Option<String> {
        self.hosts()
            .into_iter()
            .find(|(known, _)| *known == ip)
            .and_then(|(_, names)| names.into_iter().next())
    }

    fn hosts(&self) -> Vec<(IpAddr, Vec<String>)> {
        /// A longer file is not looked at.
        const MAX_BYTES: u64 = 1 << 20;
        let Ok(bytes) = self.read_file(self.host(), b"/etc/hosts", MAX_BYTES) else {
            return Vec::new();
        };
        let text = String::from_utf8_lossy(&bytes);
        text.lines()
            .filter_map(|line| {
                let mut words = line.split('#').next()?.split_whitespace();
                let ip = words.next()?.parse().ok()?;
                Some((ip, words.map(str::to_owned).collect()))
            })
            .collect()
    }

    // ---- the host --------------------------------------------------------------------------------------------------

    /// Connects the host to a guest's server; works whatever the policy says, because nothing leaves the machine.
    /// `ECONNREFUSED` when nobody listens, `EAGAIN` while the backlog is full: ask [`Kernel::on_host_room`].
    pub fn connect_from_host(&self, port: u16) -> Result<StreamEnd> {
        let mut last = Errno::ECONNREFUSED;
        for to in loopback(port) {
            let listener = match self.net.listener_at(to) {
                Ok(listener) => listener,
                Err(errno) => {
                    last = errno;
                    continue;
                }
            };
            listener.has_room()?;
            let slot = self.net.account.take(Counted::Connection);
            let slot = slot.map_err(|error| self.host().report(error))?;
            let (own, other) = connection(slot, Manners::Tcp);
            let peer = SocketAddr::new(destination(to.ip()), self.net.host_port());
            listener.offer(Incoming {
                end: other,
                local: SocketName::Inet(to),
                peer: SocketName::Inet(peer),
            })?;
            return Ok(own);
        }
        Err(last)
    }

    /// Calls back once when [`Kernel::connect_from_host`] would not say `EAGAIN`; at once if that is so now.
    pub fn on_host_room(&self, port: u16, wake: Wake) {
        let listener = loopback(port).find_map(|to| self.net.listener_at(to).ok());
        match listener {
            Some(listener) => listener.on_room(wake),
            None => wake(),
        }
    }

    /// Opens a connection on the host's own behalf, as a guest would: to what the VM itself opened, or to the outside as
    /// far as the policy lets guests go. The policy may take its time.
    pub fn dial_as_guest(&self, to: SocketAddr) -> Result<Outgoing> {
        let slot = self.net.account.take(Counted::Socket);
        let slot = slot.map_err(|error| self.host().report(error))?;
        let domain = match to {
            SocketAddr::V4(_) => Domain::Inet,
            SocketAddr::V6(_) => Domain::Inet6,
        };
        let socket = Socket::new(&self.net, slot, domain, self.host().pid());
        socket.connect(to)?;
        Ok(Outgoing(socket))
    }

    /// A listener that the query means.
    #[must_use]
    pub fn find_listener(&self, query: &ListenerQuery) -> Option<ListenerInfo> {
        self.net.find_listener(query)
    }

    /// From now on each port that guests listen on is opened on the host as well. The first call counts.
    pub fn set_host_ports(&self, ports: Arc<dyn HostPorts>) {
        let _ = self.net.host_ports.set(ports);
    }

    /// Whether a process of the tree with this root has a listener.
    #[must_use]
    pub fn tree_listens(&self, root: u32) -> bool {
        let pids = self.net.listening_pids();
        pids.into_iter()
            .any(|pid| self.table.root_of(pid) == Some(root))
    }

    /// Calls back once when there is a listener that the query means, at once if there is one; never once the answer was
    /// dropped. The callback runs on the thread that listens and must not block.
    #[must_use = "dropping it stops the waiting"]
    pub fn on_listener(
        &self,
        query: ListenerQuery,
        found: Box<dyn FnOnce(ListenerInfo) + Send>,
    ) -> ListenerWait {
        self.net.on_listener(query, found)
    }

    /// Open sockets, connections, and bytes that wait in their buffers.
    #[must_use]
    pub fn net_usage(&self) -> (u64, u64, usize) {
        self.net.account.used()
    }
}

/// A name as it is compared and asked for; `None` when no server can know it.
fn plain_name(name: &str) -> Option<String> {
    let plain = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let usable = !plain.is_empty() && plain.len() <= MAX_HOST_NAME && !plain.contains('\0');
    usable.then_some(plain)
}

fn loopback(port: u16) -> impl Iterator<Item = SocketAddr> {
    [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ]
    .into_iter()
    .map(move |ip| SocketAddr::new(ip, port))
}
