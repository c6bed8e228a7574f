//! A kernel whose guests reach this machine's loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;

use secure_exec_egress::{HostNetwork, HostNetworkOptions};
use secure_exec_kernel::permissions::{PermissionSpec, Permissions};
use secure_exec_kernel::{
    Connect, Domain, Egress, Errno, Fd, Interest, Kernel, KernelOptions, NetOptions, Process,
    ProcessOptions,
};

struct Guest {
    kernel: Arc<Kernel>,
    process: Arc<Process>,
    network: Arc<HostNetwork>,
}

impl Guest {
    fn new(ports: Vec<u16>) -> Guest {
        let network = Arc::new(HostNetwork::new(HostNetworkOptions::default()));
        let policy = Permissions::new(&PermissionSpec::default(), None).unwrap();
        let net = NetOptions {
            policy: Some(Arc::new(policy)),
            egress: Some(network.clone()),
            exempt_ports: ports,
            ..NetOptions::default()
        };
        let kernel = Kernel::new(KernelOptions {
            net,
            ..KernelOptions::default()
        })
        .unwrap();
        let process = kernel
            .spawn(ProcessOptions {
                cwd: "/tmp".into(),
                ..ProcessOptions::default()
            })
            .unwrap();
        Guest {
            kernel,
            process,
            network,
        }
    }

    fn wait(&self, fd: Fd, interest: Interest) {
        let (told, ready) = channel();
        let wake = Box::new(move || told.send(()).unwrap_or_default());
        self.kernel
            .on_ready(&self.process, fd, interest, wake)
            .unwrap();
        ready.recv().unwrap();
    }

    fn connect(&self, to: SocketAddr) -> Result<Fd, Errno> {
        let fd = self.kernel.socket(&self.process, Domain::Inet)?;
        if self.kernel.connect(&self.process, fd, to)? == Connect::Pending {
            self.wait(fd, Interest::Writable);
            self.kernel.connect_outcome(&self.process, fd)?;
        }
        Ok(fd)
    }

    fn read(&self, fd: Fd) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.kernel.read(&self.process, fd, &mut buffer, None) {
                Err(Errno::EAGAIN) => self.wait(fd, Interest::Readable),
                Err(errno) => return Err(errno),
                Ok(read) => {
                    buffer.truncate(read);
                    return Ok(buffer);
                }
            }
        }
    }

    fn write(&self, fd: Fd, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.kernel.write(&self.process, fd, bytes, None) {
                Err(Errno::EAGAIN) => self.wait(fd, Interest::Writable),
                written => bytes = bytes.get(written.unwrap()..).unwrap(),
            }
        }
    }
}

fn server() -> (TcpListener, SocketAddr, Guest) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address, Guest::new(vec![address.port()]))
}

fn is_over(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    // An end or a reset, but not waiting.
    let _ = stream.read_to_end(&mut rest);
    true
}

#[test]
fn bytes_pass_whole_and_halves_end_alone() {
    let (listener, address, guest) = server();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
        all.len()
    });
    let fd = guest.connect(address).unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    guest.write(fd, &sent);
    guest.kernel.shutdown(&guest.process, fd).unwrap();
    let mut received = Vec::new();
    loop {
        let part = guest.read(fd).unwrap();
        if part.is_empty() {
            break;
        }
        received.extend(part);
    }
    assert!(received == sent);
    assert_eq!(echo.join().unwrap(), sent.len());
}

#[test]
fn nobody_there_is_told() {
    let (listener, address, guest) = server();
    drop(listener);
    assert_eq!(guest.connect(address), Err(Errno::ECONNREFUSED));
}

#[test]
fn a_reset_is_passed_on_both_ways() {
    let (listener, address, guest) = server();
    let fd = guest.connect(address).unwrap();
    let (stream, _) = listener.accept().unwrap();
    socket2::SockRef::from(&stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(stream);
    assert_eq!(guest.read(fd), Err(Errno::ECONNRESET));
    let fd = guest.connect(address).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    guest.kernel.reset(&guest.process, fd).unwrap();
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn what_was_written_leaves_after_the_guest_has_closed() {
    let (listener, address, guest) = server();
    let fd = guest.connect(address).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    guest.write(fd, &[7; 200_000]);
    guest.kernel.close(&guest.process, fd).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 200_000);
}

#[test]
fn all_ends_with_the_process_and_with_the_vm() {
    let (listener, address, guest) = server();
    guest.connect(address).unwrap();
    let (stream, _) = listener.accept().unwrap();
    guest.process.end();
    assert!(is_over(stream));
    let guest = Guest::new(vec![address.port()]);
    let fd = guest.connect(address).unwrap();
    let (stream, _) = listener.accept().unwrap();
    guest.network.close();
    assert!(is_over(stream));
    assert_eq!(guest.read(fd), Ok(Vec::new()));
    assert_eq!(guest.connect(address), Err(Errno::ECONNREFUSED));
}
