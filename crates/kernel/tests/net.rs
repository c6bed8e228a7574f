//! Sockets as processes and the host use them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use secure_exec_kernel::permissions::{Granted, PermissionSpec, Permissions, ScopeSpec};
use secure_exec_kernel::{
    Answered, CheckedAddr, CheckedName, Connect, Datagrams, Dial, Domain, Egress, Errno, Fd, Inbox,
    Interest, Kernel, KernelOptions, ListenerQuery, Lookup, Membership, NameRecords, NetLimits,
    NetOptions, NetPolicy, NetRequest, Process, ProcessOptions, Resolved, SocketName, StreamEnd,
    UdpOption,
};

fn kernel_with(net: NetOptions) -> Arc<Kernel> {
    Kernel::new(KernelOptions {
        net,
        ..KernelOptions::default()
    })
    .unwrap()
}

fn machine() -> (Arc<Kernel>, Arc<Process>) {
    let kernel = kernel_with(NetOptions::default());
    let process = spawn(&kernel);
    (kernel, process)
}

fn spawn(kernel: &Kernel) -> Arc<Process> {
    kernel
        .spawn(ProcessOptions {
            cwd: "/tmp".into(),
            ..ProcessOptions::default()
        })
        .unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A socket that listens, and its port.
fn listen(kernel: &Kernel, p: &Process, at: &str) -> (Fd, u16) {
    let at = address(at);
    let domain = if at.is_ipv6() {
        Domain::Inet6
    } else {
        Domain::Inet
    };
    let fd = kernel.socket(p, domain).unwrap();
    kernel.bind(p, fd, at, false, false).unwrap();
    kernel.listen(p, fd, 511).unwrap();
    (fd, port_of(kernel, p, fd))
}

fn port_of(kernel: &Kernel, p: &Process, fd: Fd) -> u16 {
    match kernel.socket_name(p, fd).unwrap() {
        SocketName::Inet(name) => name.port(),
        SocketName::Local(_) => panic!("not an internet socket"),
    }
}

fn connect(kernel: &Kernel, p: &Process, to: SocketAddr) -> Result<Fd, Errno> {
    let domain = if to.is_ipv6() {
        Domain::Inet6
    } else {
        Domain::Inet
    };
    let fd = kernel.socket(p, domain).unwrap();
    kernel.connect(p, fd, to).map(|_| fd)
}

fn counter() -> (Arc<AtomicU32>, impl Fn() -> secure_exec_kernel::Wake) {
    let count = Arc::new(AtomicU32::new(0));
    let shared = count.clone();
    (count, move || {
        let count = shared.clone();
        Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        })
    })
}

#[test]
fn a_server_and_a_client_talk() {
    let (kernel, p) = machine();
    let (server, port) = listen(&kernel, &p, "127.0.0.1:0");
    assert!((32_768..61_000).contains(&port));
    assert_eq!(kernel.accept(&p, server), Err(Errno::EAGAIN));
    let (woken, wake) = counter();
    kernel
        .on_ready(&p, server, Interest::Readable, wake())
        .unwrap();
    let client = connect(
        &kernel,
        &p,
        SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port),
    )
    .unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(kernel.write(&p, client, b"before accept", None), Ok(13));
    let accepted = kernel.accept(&p, server).unwrap();
    let mut buf = [0; 32];
    assert_eq!(kernel.read(&p, accepted, &mut buf, None), Ok(13));
    assert_eq!(kernel.write(&p, accepted, b"answer", None), Ok(6));
    kernel.shutdown(&p, accepted).unwrap();
    assert_eq!(kernel.read(&p, client, &mut buf, None), Ok(6));
    assert_eq!(kernel.read(&p, client, &mut buf, None), Ok(0));
    assert_eq!(
        kernel.peer_name(&p, accepted).unwrap(),
        kernel.socket_name(&p, client).unwrap()
    );
    assert_eq!(kernel.write(&p, client, b"still open", None), Ok(10));
    assert_eq!(kernel.read(&p, accepted, &mut buf, None), Ok(10));
}

#[test]
fn addresses_in_use_and_not_there() {
    let (kernel, p) = machine();
    let (_, port) = listen(&kernel, &p, "127.0.0.1:0");
    let in_use = |at: &str| {
        let at = SocketAddr::new(at.parse().unwrap(), port);
        let domain = if at.is_ipv6() {
            Domain::Inet6
        } else {
            Domain::Inet
        };
        let fd = kernel.socket(&p, domain).unwrap();
        let bound = kernel.bind(&p, fd, at, false, false);
        kernel.close(&p, fd).unwrap();
        bound
    };
    assert_eq!(in_use("127.0.0.1"), Err(Errno::EADDRINUSE));
    assert_eq!(in_use("0.0.0.0"), Err(Errno::EADDRINUSE));
    assert_eq!(in_use("::"), Err(Errno::EADDRINUSE));
    assert_eq!(in_use("::1"), Ok(()));
    assert_eq!(in_use("127.0.0.2"), Ok(()));
    assert_eq!(in_use("192.168.1.1"), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(
        connect(&kernel, &p, address("127.0.0.1:1")),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(
        connect(&kernel, &p, address("10.0.0.1:80")),
        Err(Errno::EACCES)
    );
    let (kernel, p) = machine();
    assert_eq!(
        listen(&kernel, &p, &format!("127.0.0.1:{port}")).1,
        port,
        "another VM has ports of its own"
    );
}

#[test]
fn a_dual_stack_server_is_reached_by_both_families() {
    let (kernel, p) = machine();
    let (server, port) = listen(&kernel, &p, "[::]:0");
    for from in ["127.0.0.1", "::1", "0.0.0.0"] {
        let to = SocketAddr::new(from.parse().unwrap(), port);
        connect(&kernel, &p, to).unwrap();
    }
    let accepted = kernel.accept(&p, server).unwrap();
    let SocketName::Inet(peer) = kernel.peer_name(&p, accepted).unwrap() else {
        panic!("an internet socket");
    };
    assert_eq!(peer.ip().to_string(), "::ffff:127.0.0.1");
}

#[test]
fn a_full_backlog_makes_connectors_wait() {
    let (kernel, p) = machine();
    let server = kernel.socket(&p, Domain::Inet).unwrap();
    kernel
        .bind(&p, server, address("127.0.0.1:4000"), false, false)
        .unwrap();
    kernel.listen(&p, server, 1).unwrap();
    let to = address("127.0.0.1:4000");
    connect(&kernel, &p, to).unwrap();
    connect(&kernel, &p, to).unwrap();
    let third = kernel.socket(&p, Domain::Inet).unwrap();
    assert_eq!(kernel.connect(&p, third, to), Ok(Connect::Pending));
    assert_eq!(kernel.write(&p, third, b"x", None), Err(Errno::EAGAIN));
    let (woken, wake) = counter();
    kernel
        .on_ready(&p, third, Interest::Writable, wake())
        .unwrap();
    kernel.accept(&p, server).unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(kernel.connect_outcome(&p, third), Ok(Connect::Done));
    let fourth = kernel.socket(&p, Domain::Inet).unwrap();
    assert_eq!(kernel.connect(&p, fourth, to), Ok(Connect::Pending));
    kernel.close(&p, server).unwrap();
    assert_eq!(kernel.connect_outcome(&p, fourth), Err(Errno::ECONNREFUSED));
    assert_eq!(
        kernel.read(&p, third, &mut [0; 4], None),
        Err(Errno::ECONNRESET),
        "whoever was not accepted is reset"
    );
}

#[test]
fn what_a_process_had_ends_with_it() {
    let (kernel, p) = machine();
    let other = spawn(&kernel);
    let (server, port) = listen(&kernel, &other, "127.0.0.1:0");
    let to = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
    let client = connect(&kernel, &p, to).unwrap();
    let accepted = kernel.accept(&other, server).unwrap();
    let waiting = connect(&kernel, &p, to).unwrap();
    kernel.write(&p, client, b"never read", None).unwrap();
    assert!(kernel.file_is_open(&other, accepted));
    other.end();
    assert_eq!(
        kernel.read(&p, client, &mut [0; 4], None),
        Err(Errno::ECONNRESET)
    );
    assert_eq!(
        kernel.read(&p, waiting, &mut [0; 4], None),
        Err(Errno::ECONNRESET)
    );
    assert_eq!(connect(&kernel, &p, to), Err(Errno::ECONNREFUSED));
    assert_eq!(kernel.find_listener(&ListenerQuery::default()), None);
    listen(&kernel, &p, &format!("127.0.0.1:{port}"));
}

/// Reads the open descriptors of a process.
trait Open {
    fn file_is_open(&self, p: &Process, fd: Fd) -> bool;
}

impl Open for Kernel {
    fn file_is_open(&self, p: &Process, fd: Fd) -> bool {
        p.fds().contains(&fd)
    }
}

#[test]
fn limits_are_met_with_their_names() {
    let kernel = kernel_with(NetOptions {
        limits: NetLimits {
            max_sockets: 3,
            max_connections: 1,
            ..NetLimits::default()
        },
        ..NetOptions::default()
    });
    let p = spawn(&kernel);
    let (_, port) = listen(&kernel, &p, "127.0.0.1:0");
    let to = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
    let first = connect(&kernel, &p, to).unwrap();
    assert_eq!(connect(&kernel, &p, to), Err(Errno::ENFILE));
    assert_eq!(kernel.socket(&p, Domain::Inet), Err(Errno::ENFILE));
    let error = p.take_limit_error().unwrap();
    assert_eq!(
        error.to_string(),
        "maxSockets exceeded: 3 of 3 in use; raise it with resourceBudgets.maxSockets"
    );
    kernel.close(&p, first).unwrap();
    assert_eq!(kernel.net_usage().0, 2);
}

#[test]
fn a_reader_who_never_reads_holds_a_bounded_amount() {
    let (kernel, p) = machine();
    let (_, port) = listen(&kernel, &p, "127.0.0.1:0");
    let to = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
    let client = connect(&kernel, &p, to).unwrap();
    let chunk = vec![1; 1 << 20];
    let mut total = 0;
    while let Ok(n) = kernel.write(&p, client, &chunk, None) {
        total += n;
    }
    assert_eq!(total, 256 << 10);
    assert_eq!(kernel.net_usage().2, total);
    kernel.reset(&p, client).unwrap();
    p.end();
    assert_eq!(kernel.net_usage(), (0, 0, 0));
}

#[test]
fn local_sockets_have_names_in_the_tree() {
    let (kernel, p) = machine();
    let server = kernel.socket(&p, Domain::Local).unwrap();
    let connect = |name: &[u8]| {
        let fd = kernel.socket(&p, Domain::Local).unwrap();
        kernel.connect_local(&p, fd, name).map(|_| fd)
    };
    assert_eq!(connect(b"/tmp/s"), Err(Errno::ENOENT));
    kernel.bind_local(&p, server, b"/tmp/s").unwrap();
    assert_eq!(connect(b"/tmp/s"), Err(Errno::ECONNREFUSED));
    kernel.listen(&p, server, 5).unwrap();
    let client = connect(b"/tmp/s").unwrap();
    let accepted = kernel.accept(&p, server).unwrap();
    kernel.write(&p, client, b"hi", None).unwrap();
    assert_eq!(kernel.read(&p, accepted, &mut [0; 4], None), Ok(2));
    assert_eq!(
        kernel.peer_name(&p, client).unwrap(),
        SocketName::Local(Some(b"/tmp/s".to_vec()))
    );
    assert_eq!(
        kernel.stat(&p, b"/tmp/s").unwrap().mode & secure_exec_kernel::S_IFMT,
        0o140_000
    );
    assert_eq!(kernel.open(&p, b"/tmp/s", 0, 0), Err(Errno::ENXIO));
    let second = kernel.socket(&p, Domain::Local).unwrap();
    assert_eq!(
        kernel.bind_local(&p, second, b"/tmp/s"),
        Err(Errno::EADDRINUSE)
    );
    assert_eq!(
        kernel.bind_local(&p, second, &[b'a'; 108]),
        Err(Errno::EINVAL)
    );
    kernel.close(&p, server).unwrap();
    assert_eq!(connect(b"/tmp/s"), Err(Errno::ECONNREFUSED));
    kernel.write_file(&p, b"/tmp/f", b"", 0o101, 0o644).unwrap();
    assert_eq!(connect(b"/tmp/f"), Err(Errno::ECONNREFUSED));
    kernel.bind_local(&p, second, b"\0abstract").unwrap();
    kernel.listen(&p, second, 5).unwrap();
    connect(b"\0abstract").unwrap();
    let (one, two) = kernel.socketpair(&p).unwrap();
    kernel.write(&p, one, b"pair", None).unwrap();
    assert_eq!(kernel.read(&p, two, &mut [0; 8], None), Ok(4));
    kernel.close(&p, one).unwrap();
    assert_eq!(kernel.write(&p, two, b"x", None), Err(Errno::EPIPE));
}

#[test]
fn datagrams() {
    let (kernel, p) = machine();
    let bind = |at: &str, shares| {
        let at = address(at);
        let fd = kernel.udp_socket(&p, at.is_ipv6()).unwrap();
        kernel.udp_bind(&p, fd, at, false, shares).map(|()| fd)
    };
    let one = bind("127.0.0.1:5000", false).unwrap();
    assert_eq!(bind("0.0.0.0:5000", false), Err(Errno::EADDRINUSE));
    let two = kernel.udp_socket(&p, false).unwrap();
    let to_one = Some(address("127.0.0.1:5000"));
    assert_eq!(kernel.udp_send(&p, two, b"hello", to_one), Ok(5));
    let datagram = kernel.udp_receive(&p, one).unwrap();
    assert_eq!(datagram.bytes, b"hello");
    assert_eq!(datagram.from.port(), port_of(&kernel, &p, two));
    assert_eq!(kernel.udp_receive(&p, one), Err(Errno::EAGAIN));
    assert_eq!(
        kernel.udp_send(&p, two, &vec![0; 65_508], to_one),
        Err(Errno::EMSGSIZE)
    );
    assert_eq!(
        kernel.udp_send(&p, two, b"x", Some(address("8.8.8.8:53"))),
        Err(Errno::EACCES)
    );
    assert_eq!(
        kernel.udp_send(&p, two, b"x", Some(address("255.255.255.255:53"))),
        Err(Errno::EACCES)
    );
    for _ in 0..10_000 {
        kernel.udp_send(&p, two, &[0; 100], to_one).unwrap();
    }
    assert!(kernel.net_usage().2 <= 212_992, "a flood is dropped");
    kernel
        .udp_connect(&p, two, address("127.0.0.1:5999"))
        .unwrap();
    assert_eq!(kernel.udp_send(&p, two, b"x", None), Ok(1));
    assert_eq!(
        kernel.udp_send(&p, two, b"x", None),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(kernel.udp_send(&p, two, b"x", to_one), Err(Errno::EISCONN));
}

#[test]
fn groups_hear_what_is_sent_to_them() {
    let (kernel, p) = machine();
    let group: IpAddr = "224.0.0.114".parse().unwrap();
    let fds: Vec<Fd> = (0..2)
        .map(|_| {
            let fd = kernel.udp_socket(&p, false).unwrap();
            kernel
                .udp_bind(&p, fd, address("0.0.0.0:6000"), false, true)
                .unwrap();
            let membership = Membership {
                group,
                source: None,
            };
            kernel.udp_membership(&p, fd, membership, true).unwrap();
            assert_eq!(
                kernel.udp_membership(&p, fd, membership, true),
                Err(Errno::EADDRINUSE)
            );
            fd
        })
        .collect();
    let sender = kernel.udp_socket(&p, false).unwrap();
    let to = Some(SocketAddr::new(group, 6000));
    kernel.udp_send(&p, sender, b"all", to).unwrap();
    for fd in &fds {
        assert_eq!(kernel.udp_receive(&p, *fd).unwrap().bytes, b"all");
    }
    kernel
        .udp_set(&p, sender, UdpOption::MulticastLoopback(false))
        .unwrap();
    kernel.udp_send(&p, sender, b"nobody", to).unwrap();
    assert_eq!(kernel.udp_receive(&p, fds[0]), Err(Errno::EAGAIN));
}

#[test]
fn the_host_connects_and_waits_for_listeners() {
    let (kernel, p) = machine();
    assert_eq!(
        kernel.connect_from_host(3000).map(drop),
        Err(Errno::ECONNREFUSED)
    );
    let (sender, found) = channel();
    let query = ListenerQuery {
        port: Some(3000),
        ..ListenerQuery::default()
    };
    let wait = kernel.on_listener(
        query.clone(),
        Box::new(move |listener| sender.send(listener).unwrap()),
    );
    let gone = kernel.on_listener(query.clone(), Box::new(|_| panic!("nobody waits any more")));
    drop(gone);
    listen(&kernel, &p, "127.0.0.1:3001");
    assert!(found.try_recv().is_err());
    let (server, _) = listen(&kernel, &p, "[::]:3000");
    let listener = found.try_recv().unwrap();
    assert_eq!((listener.port, listener.pid), (3000, p.pid()));
    drop(wait);
    assert_eq!(kernel.find_listener(&query), Some(listener));
    let reached = ListenerQuery {
        port: Some(3000),
        host: Some("127.0.0.1".parse().unwrap()),
        ..ListenerQuery::default()
    };
    assert!(kernel.find_listener(&reached).is_some());
    let end = kernel.connect_from_host(3000).unwrap();
    assert_eq!(end.write(b"GET"), Ok(3));
    let accepted = kernel.accept(&p, server).unwrap();
    let mut buf = [0; 8];
    assert_eq!(kernel.read(&p, accepted, &mut buf, None), Ok(3));
    let (woken, wake) = counter();
    end.on_readable(wake());
    kernel.write(&p, accepted, b"200", None).unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(end.read(&mut buf), Ok(3));
    p.end();
    assert_eq!(end.read(&mut buf), Ok(0));
}

/// Dials nothing: keeps what it was asked.
#[derive(Default)]
struct Outside {
    dials: Mutex<Vec<(CheckedAddr, Dial)>>,
    names: Mutex<Vec<String>>,
    inbox: Mutex<Option<Inbox>>,
    sent: SentList,
    /// Takes names, each of which has this address.
    stand_in: Option<IpAddr>,
}

impl Egress for Outside {
    fn takes_names(&self) -> bool {
        self.stand_in.is_some()
    }

    fn connect(&self, to: CheckedAddr, dial: Dial) {
        self.dials.lock().unwrap().push((to, dial));
    }

    fn resolve(&self, name: CheckedName, resolved: Resolved) {
        self.names.lock().unwrap().push(name.as_str().to_owned());
        let usual = || "93.184.216.34".parse().unwrap();
        resolved(Ok(vec![self.stand_in.unwrap_or_else(usual)]));
    }

    fn query(&self, name: CheckedName, kind: u16, answered: Answered) {
        self.names
            .lock()
            .unwrap()
            .push(format!("{} {kind}", name.as_str()));
        answered(Ok(NameRecords {
            message: vec![1],
            addresses: vec!["93.184.216.35".parse().unwrap()],
        }));
    }

    fn datagrams(&self, _v6: bool, inbox: Inbox) -> Result<Box<dyn Datagrams>, Errno> {
        *self.inbox.lock().unwrap() = Some(inbox);
        Ok(Box::new(Sent(self.sent.clone())))
    }

    fn close(&self) {}
}

type SentList = Arc<Mutex<Vec<(SocketAddr, Vec<u8>)>>>;

struct Sent(SentList);

impl Datagrams for Sent {
    fn send(&self, to: CheckedAddr, data: &[u8]) {
        self.0.lock().unwrap().push((to.get(), data.to_vec()));
    }
}

/// Allows everything, keeps what it was asked, and names one private address.
#[derive(Default)]
struct Asked(Mutex<Vec<NetRequest>>);

impl NetPolicy for Asked {
    fn check(&self, request: &NetRequest) -> Result<Granted, Errno> {
        self.0.lock().unwrap().push(request.clone());
        let named = request.address == Some(address("10.1.1.1:80"));
        Ok(Granted { is_named: named })
    }
}

#[test]
fn the_way_out_is_checked_as_it_is_dialled() {
    let outside = Arc::new(Outside::default());
    let policy = Arc::new(Asked::default());
    let kernel = kernel_with(NetOptions {
        policy: Some(policy.clone()),
        egress: Some(outside.clone()),
        dns_overrides: vec![("db".to_owned(), vec!["127.0.0.9".parse().unwrap()])],
        ..NetOptions::default()
    });
    let p = spawn(&kernel);
    for refused in [
        "10.0.0.1:80",
        "169.254.169.254:80",
        "[::ffff:192.168.0.1]:80",
        "[64:ff9b::a00:1]:80",
    ] {
        assert_eq!(
            connect(&kernel, &p, address(refused)),
            Err(Errno::EACCES),
            "{refused}"
        );
    }
    assert!(connect(&kernel, &p, address("10.1.1.1:80")).is_ok());
    let lookup = |name: &str| kernel.lookup(&p, name, || Box::new(|_| {}));
    assert_eq!(
        lookup("DB."),
        Ok(Lookup::Known(vec!["127.0.0.9".parse().unwrap()]))
    );
    assert_eq!(lookup("example.com"), Ok(Lookup::Asked));
    assert_eq!(*outside.names.lock().unwrap(), ["example.com"]);
    let fd = connect(&kernel, &p, address("93.184.216.34:80")).unwrap();
    let asked = policy.0.lock().unwrap().last().cloned().unwrap();
    assert_eq!(asked.host.as_deref(), Some("example.com"));
    assert_eq!(kernel.connect_outcome(&p, fd), Ok(Connect::Pending));
    let (to, dial) = outside.dials.lock().unwrap().pop().unwrap();
    assert_eq!(to.get(), address("93.184.216.34:80"));
    let (woken, wake) = counter();
    kernel.on_ready(&p, fd, Interest::Writable, wake()).unwrap();
    let far = dial.established(address("192.0.2.7:40000")).unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(kernel.connect_outcome(&p, fd), Ok(Connect::Done));
    kernel.write(&p, fd, b"out", None).unwrap();
    assert_eq!(far.read(&mut [0; 8]), Ok(3));
    let fd = connect(&kernel, &p, address("93.184.216.34:81")).unwrap();
    outside.dials.lock().unwrap().clear();
    assert_eq!(
        kernel.connect_outcome(&p, fd),
        Err(Errno::ECONNREFUSED),
        "a dial that is dropped is refused"
    );
}

#[test]
fn an_address_may_stand_for_names() {
    for (stand_in, other) in [("10.0.0.5", "10.0.0.6:80"), ("127.0.0.1", "127.0.0.2:80")] {
        let outside = Arc::new(Outside {
            stand_in: Some(stand_in.parse().unwrap()),
            ..Outside::default()
        });
        let policy = Arc::new(Asked::default());
        let kernel = kernel_with(NetOptions {
            policy: Some(policy.clone()),
            egress: Some(outside.clone()),
            ..NetOptions::default()
        });
        let p = spawn(&kernel);
        let to = SocketAddr::new(stand_in.parse().unwrap(), 80);
        assert!(connect(&kernel, &p, to).is_err());
        for name in ["a.test", "B.test"] {
            kernel.lookup(&p, name, || Box::new(|_| {})).unwrap();
        }
        assert!(connect(&kernel, &p, address(other)).is_err());
        let fd = connect(&kernel, &p, to).unwrap();
        let asked = policy.0.lock().unwrap().last().cloned().unwrap();
        assert_eq!((asked.host.as_deref(), asked.own), (Some("b.test"), false));
        for (name, is) in [("a.test", true), ("b.TEST.", true), ("c.test", false)] {
            assert_eq!(kernel.is_name_of(to.ip(), name), is, "{name}");
        }
        let (checked, dial) = outside.dials.lock().unwrap().pop().unwrap();
        assert_eq!((checked.get(), dial.name()), (to, Some("b.test")));
        assert!(!dial.is_by_address());
        assert!(!kernel.takes_plain_tls(&p, fd));
        let far = dial.established_without_tls(address("192.0.2.7:40000"));
        let far = far.unwrap();
        assert!(kernel.takes_plain_tls(&p, fd));
        kernel.leave_out_tls(&p, fd, "a.test").unwrap();
        assert_eq!(far.plain_tls().as_deref(), Some("a.test"));
        assert!(outside.dials.lock().unwrap().is_empty());
    }
}

#[test]
fn what_the_vm_opened_is_its_own_whatever_names_its_address_has() {
    let outside = Arc::new(Outside {
        stand_in: Some("127.0.0.1".parse().unwrap()),
        ..Outside::default()
    });
    let kernel = kernel_with(NetOptions {
        policy: Some(Arc::new(Asked::default())),
        egress: Some(outside.clone()),
        ..NetOptions::default()
    });
    let p = spawn(&kernel);
    kernel.lookup(&p, "a.test", || Box::new(|_| {})).unwrap();
    listen(&kernel, &p, "127.0.0.1:80");
    let fd = connect(&kernel, &p, address("127.0.0.1:80")).unwrap();
    assert!(!kernel.takes_plain_tls(&p, fd));
    assert!(outside.dials.lock().unwrap().is_empty());
}

#[test]
fn without_a_grant_nothing_leaves() {
    let outside = Arc::new(Outside::default());
    let with = |network| {
        let spec = PermissionSpec {
            network,
            ..PermissionSpec::default()
        };
        kernel_with(NetOptions {
            policy: Some(Arc::new(Permissions::new(&spec, None).unwrap())),
            egress: Some(outside.clone()),
            ..NetOptions::default()
        })
    };
    let kernel = with(ScopeSpec::Given);
    let p = spawn(&kernel);
    listen(&kernel, &p, "127.0.0.1:80");
    assert!(connect(&kernel, &p, address("127.0.0.1:80")).is_ok());
    assert_eq!(
        connect(&kernel, &p, address("93.184.216.34:80")),
        Err(Errno::EACCES)
    );
    assert_eq!(
        kernel.lookup(&p, "example.com", || Box::new(|_| {})),
        Err(Errno::EACCES)
    );
    let kernel = with(ScopeSpec::Deny);
    let p = spawn(&kernel);
    let fd = kernel.socket(&p, Domain::Inet).unwrap();
    let bound = kernel.bind(&p, fd, address("127.0.0.1:80"), false, false);
    assert_eq!(bound, Err(Errno::EACCES));
    let kernel = with(ScopeSpec::Allow);
    let p = spawn(&kernel);
    assert!(connect(&kernel, &p, address("93.184.216.34:80")).is_ok());
    assert_eq!(outside.dials.lock().unwrap().len(), 1);
}

// ---- against the sockets of this machine ---------------------------------------------------------------------------

/// One step of a conversation between two ends.
#[derive(Clone, Debug)]
enum Step {
    Write(bool, Vec<u8>),
    Read(bool, usize),
    Shutdown(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..2000);
    let step = prop_oneof![
        4 => (any::<bool>(), bytes).prop_map(|(side, bytes)| Step::Write(side, bytes)),
        4 => (any::<bool>(), 1..3000_usize).prop_map(|(side, n)| Step::Read(side, n)),
        1 => any::<bool>().prop_map(Step::Shutdown),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What a step came to: bytes, a count, or the error's number.
type Seen = Result<Vec<u8>, i32>;

fn step_on_real(ends: &mut [std::net::TcpStream; 2], step: &Step) -> Seen {
    let number = |error: std::io::Error| error.raw_os_error().unwrap_or(0);
    match step {
        Step::Write(side, bytes) => ends[usize::from(*side)]
            .write(bytes)
            .map(|n| bytes[..n].to_vec())
            .map_err(number),
        Step::Read(side, n) => {
            let mut buf = vec![0; *n];
            ends[usize::from(*side)]
                .read(&mut buf)
                .map(|n| buf[..n].to_vec())
                .map_err(number)
        }
        Step::Shutdown(side) => ends[usize::from(*side)]
            .shutdown(std::net::Shutdown::Write)
            .map(|()| Vec::new())
            .map_err(number),
    }
}

/// As `step_on_real`, until it comes to what is expected: this machine may deliver bytes and ends a little later.
fn step_on_real_until(ends: &mut [std::net::TcpStream; 2], step: &Step, expected: &Seen) -> Seen {
    const TRIES: u32 = 5000;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(1);
    let mut read = Vec::new();
    for _ in 0..TRIES {
        let rest = match step {
            Step::Read(side, n) => Step::Read(*side, n - read.len()),
            other => other.clone(),
        };
        let mut seen = step_on_real(ends, &rest);
        if let (Step::Read(..), Ok(bytes)) = (&rest, &seen) {
            read.extend_from_slice(bytes);
            seen = Ok(read.clone());
        }
        if seen == *expected {
            return seen;
        }
        std::thread::sleep(PAUSE);
    }
    step_on_real(ends, step)
}

fn step_on_ours(kernel: &Kernel, p: &Process, ends: [Fd; 2], step: &Step) -> Seen {
    match step {
        Step::Write(side, bytes) => kernel
            .write(p, ends[usize::from(*side)], bytes, None)
            .map(|n| bytes[..n].to_vec())
            .map_err(Errno::number),
        Step::Read(side, n) => {
            let mut buf = vec![0; *n];
            kernel
                .read(p, ends[usize::from(*side)], &mut buf, None)
                .map(|n| buf[..n].to_vec())
                .map_err(Errno::number)
        }
        Step::Shutdown(side) => kernel
            .shutdown(p, ends[usize::from(*side)])
            .map(|()| Vec::new())
            .map_err(Errno::number),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    /// Small conversations go as over a real loopback: the same bytes, ends and errors, step by step.
    #[test]
    fn conversations_go_as_on_this_machine(steps in steps()) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut real = [client, server];
        for end in &real {
            end.set_nonblocking(true).unwrap();
        }
        let (kernel, p) = machine();
        let (server, port) = listen(&kernel, &p, "127.0.0.1:0");
        let to = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
        let client = connect(&kernel, &p, to).unwrap();
        let ours = [client, kernel.accept(&p, server).unwrap()];
        for step in &steps {
            let seen = step_on_ours(&kernel, &p, ours, step);
            prop_assert_eq!(step_on_real_until(&mut real, step, &seen), seen, "{:?}", step);
        }
    }

    /// Whatever two threads write arrives once and in order, through buffers that are smaller than the message.
    #[test]
    fn a_stream_arrives_whole(chunks in proptest::collection::vec(1..200_000_usize, 1..8)) {
        let (kernel, p) = machine();
        let (server, port) = listen(&kernel, &p, "127.0.0.1:0");
        let host = kernel.connect_from_host(port).unwrap();
        let guest = kernel.accept(&p, server).unwrap();
        let total: usize = chunks.iter().sum();
        let sent: Vec<u8> = (0..total).map(|at| (at % 251) as u8).collect();
        let expected = sent.clone();
        let writer = std::thread::spawn(move || write_all(&host, &sent, &chunks));
        let mut received = Vec::new();
        let mut buf = vec![0; 30_000];
        loop {
            match kernel.read(&p, guest, &mut buf, None) {
                Ok(0) => break,
                Ok(n) => received.extend_from_slice(&buf[..n]),
                Err(Errno::EAGAIN) => wait(|wake| {
                    kernel.on_ready(&p, guest, Interest::Readable, wake).unwrap();
                }),
                Err(errno) => panic!("{errno}"),
            }
        }
        writer.join().unwrap();
        prop_assert!(received == expected);
    }
}

fn wait(arm: impl FnOnce(secure_exec_kernel::Wake)) {
    let (sender, woken) = channel();
    arm(Box::new(move || sender.send(()).unwrap()));
    woken.recv().unwrap();
}

fn write_all(end: &StreamEnd, bytes: &[u8], chunks: &[usize]) {
    let mut at = 0;
    for chunk in chunks {
        let until = at + chunk;
        while at < until {
            match end.write(&bytes[at..until]) {
                Ok(n) => at += n,
                Err(Errno::EAGAIN) => wait(|wake| end.on_writable(wake)),
                Err(errno) => panic!("{errno}"),
            }
        }
    }
    end.shutdown().unwrap();
}

#[test]
fn a_dial_counts_until_it_ends_and_hears_when_it_is_given_up() {
    let outside = Arc::new(Outside::default());
    let kernel = kernel_with(NetOptions {
        policy: Some(Arc::new(Asked::default())),
        egress: Some(outside.clone()),
        limits: NetLimits {
            max_connections: 1,
            ..NetLimits::default()
        },
        ..NetOptions::default()
    });
    let p = spawn(&kernel);
    let fd = connect(&kernel, &p, address("93.184.216.34:80")).unwrap();
    let (_, dial) = outside.dials.lock().unwrap().pop().unwrap();
    let (woken, wake) = counter();
    dial.on_given_up(wake());
    assert_eq!(
        connect(&kernel, &p, address("93.184.216.34:81")),
        Err(Errno::ENFILE)
    );
    kernel.close(&p, fd).unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(kernel.net_usage().1, 1, "it is still being opened");
    assert!(dial.established(address("192.0.2.7:40000")).is_none());
    assert_eq!(kernel.net_usage().1, 0);
}

#[test]
fn an_exempt_port_is_the_hosts_unless_the_vm_listens_there() {
    let outside = Arc::new(Outside::default());
    let kernel = kernel_with(NetOptions {
        policy: Some(Arc::new(Asked::default())),
        egress: Some(outside.clone()),
        exempt_ports: vec![5432],
        ..NetOptions::default()
    });
    let p = spawn(&kernel);
    let to = address("127.0.0.1:5432");
    connect(&kernel, &p, to).unwrap();
    let (dialled, dial) = outside.dials.lock().unwrap().pop().unwrap();
    assert_eq!(dialled.get(), to);
    dial.refused(Errno::ECONNREFUSED);
    assert_eq!(
        connect(&kernel, &p, address("127.0.0.1:5433")),
        Err(Errno::ECONNREFUSED)
    );
    let listening = kernel.socket(&p, Domain::Inet).unwrap();
    kernel.bind(&p, listening, to, false, false).unwrap();
    kernel.listen(&p, listening, 1).unwrap();
    connect(&kernel, &p, to).unwrap();
    assert!(outside.dials.lock().unwrap().is_empty());
    kernel.accept(&p, listening).unwrap();
}

#[test]
fn datagrams_go_out_when_each_is_allowed_and_come_back_from_where_they_went() {
    let outside = Arc::new(Outside::default());
    let kernel = kernel_with(NetOptions {
        policy: Some(Arc::new(Asked::default())),
        egress: Some(outside.clone()),
        ..NetOptions::default()
    });
    let p = spawn(&kernel);
    let fd = kernel.udp_socket(&p, false).unwrap();
    let (allowed, private) = (address("93.184.216.34:53"), address("10.0.0.1:53"));
    assert_eq!(kernel.udp_send(&p, fd, b"a", Some(allowed)), Ok(1));
    assert_eq!(
        kernel.udp_send(&p, fd, b"b", Some(private)),
        Err(Errno::EACCES)
    );
    assert_eq!(*outside.sent.lock().unwrap(), [(allowed, b"a".to_vec())]);
    let inbox = outside.inbox.lock().unwrap().clone().unwrap();
    inbox.deliver(private, b"stranger");
    inbox.deliver(allowed, b"answer");
    let datagram = kernel.udp_receive(&p, fd).unwrap();
    assert_eq!((datagram.from, &*datagram.bytes), (allowed, &b"answer"[..]));
    assert_eq!(kernel.udp_receive(&p, fd).unwrap_err(), Errno::EAGAIN);
}

#[test]
fn names_of_rules_hold_for_records_and_for_what_the_embedder_pinned() {
    let outside = Arc::new(Outside::default());
    let policy = Arc::new(Asked::default());
    let kernel = kernel_with(NetOptions {
        policy: Some(policy.clone()),
        egress: Some(outside.clone()),
        dns_overrides: vec![("db".to_owned(), vec!["93.184.216.36".parse().unwrap()])],
        ..NetOptions::default()
    });
    let p = spawn(&kernel);
    let ask =
        |name: &str, addresses| kernel.query_records(&p, name, 1, addresses, || Box::new(|_| {}));
    assert_eq!(ask("example.com", true), Ok(Lookup::Asked));
    assert_eq!(*outside.names.lock().unwrap(), ["example.com 1"]);
    let found = vec!["93.184.216.36".parse().unwrap()];
    assert_eq!(ask("db", true), Ok(Lookup::Known(found)));
    for (to, name, pinned) in [
        ("93.184.216.35:80", "example.com", false),
        ("93.184.216.36:80", "db", true),
    ] {
        connect(&kernel, &p, address(to)).unwrap();
        let asked = policy.0.lock().unwrap().last().cloned().unwrap();
        assert_eq!((asked.host.as_deref(), asked.pinned), (Some(name), pinned));
    }
}
