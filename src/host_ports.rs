//! Ports of the host's 127.0.0.1 that stand for the ports of guests, as the first generation of the API has them.
//!
//! A port is bound while the guest listens, on its thread, so that one that is taken is `EADDRINUSE` there. JavaScript
//! takes the socket over and accepts; it is asked to close it when nobody listens any more.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secure_exec_runtime::kernel::{Errno, HostPorts};

/// Nothing is to be done about a port.
pub const NOTHING: i32 = -1;
/// The port is to be closed.
const CLOSE: i32 = -2;
/// A port that JavaScript is about to close is tried again.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

struct Port {
    /// How many of the guests' sockets listen on it.
    listeners: u32,
    /// Bound, until JavaScript takes it over.
    socket: Option<TcpListener>,
}

/// The ports of one VM.
pub struct HostPortTable {
    ports: Mutex<HashMap<u16, Port>>,
    changed: Box<dyn Fn(u16) + Send + Sync>,
}

impl HostPortTable {
    /// A table that calls `changed` when [`HostPortTable::next`] is worth asking.
    pub fn new(changed: impl Fn(u16) + Send + Sync + 'static) -> Self {
        Self {
            ports: Mutex::default(),
            changed: Box::new(changed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What JavaScript is to do: take over a descriptor, [`NOTHING`] or [`CLOSE`].
    pub fn next(&self, port: u16) -> i32 {
        let mut ports = self.lock();
        let Some(entry) = ports.get_mut(&port) else {
            return NOTHING;
        };
        if entry.listeners == 0 {
            let taken = entry.socket.is_none();
            ports.remove(&port);
            return if taken { CLOSE } else { NOTHING };
        }
        entry.socket.take().map_or(NOTHING, descriptor)
    }
}

#[cfg(unix)]
fn descriptor(socket: TcpListener) -> i32 {
    use std::os::fd::IntoRawFd;
    socket.into_raw_fd()
}

/// Node takes over descriptors only where sockets have them.
#[cfg(not(unix))]
fn descriptor(_socket: TcpListener) -> i32 {
    NOTHING
}

fn bind(port: u16) -> io::Result<TcpListener> {
    let mut tries = 1;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                tries += 1;
                std::thread::sleep(BETWEEN_TRIES);
            }
            bound => return bound,
        }
    }
}

impl HostPorts for HostPortTable {
    fn open(&self, port: u16) -> Result<(), Errno> {
        if let Some(entry) = self.lock().get_mut(&port) {
            entry.listeners += 1;
            return Ok(());
        }
        let socket = bind(port).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Errno::EACCES,
            _ => Errno::EADDRINUSE,
        })?;
        {
            let mut ports = self.lock();
            let entry = ports.entry(port).or_insert(Port {
                listeners: 0,
                socket: None,
            });
            entry.listeners += 1;
            entry.socket = Some(socket);
        }
        (self.changed)(port);
        Ok(())
    }

    fn close(&self, port: u16) {
        let is_unused = self.lock().get_mut(&port).is_some_and(|entry| {
            entry.listeners = entry.listeners.saturating_sub(1);
            entry.listeners == 0
        });
        if is_unused {
            (self.changed)(port);
        }
    }
}
