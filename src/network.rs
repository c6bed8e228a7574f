//! The VM's network as the host uses it: connections to guests' servers, and who waits for a listener.
//!
//! ```text
//!   JavaScript --read, write--> kernel's buffers            never waits: "not now" is an answer
//!   guest's thread --wake--> Notifier --> JavaScript        "worth another try", or "here is a listener"
//! ```
//! One thread-safe function a VM carries the wakes. It does not keep the host's event loop alive: a guest that lives does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::{BufferSlice, Error, FnArgs, Function, Result, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use secure_exec_runtime::kernel::{
    Errno, Interest, ListenerInfo, ListenerQuery, ListenerWait, StreamEnd,
};
use secure_exec_runtime::vm::Vm;

use crate::adapter::{self, AdapterNetwork, Target};
use crate::host_ports::{HostPortTable, NOTHING};
use crate::vm::{CODE_END, failure};

/// What `read` and `write` answer when they would have to wait; the callback tells when to ask again.
pub const WAIT: i32 = -1;

/// Second argument of the JavaScript callback.
mod kind {
    pub const READABLE: u32 = 0;
    pub const WRITABLE: u32 = 1;
    pub const LISTENER: u32 = 2;
    pub const ROOM: u32 = 3;
    pub const HOST_PORT: u32 = 4;
    pub const GUEST_CONNECTION: u32 = 5;
    pub const GUEST_NAME: u32 = 6;
    pub const GUEST_GONE: u32 = 7;
}

/// A socket of a guest that takes connections.
#[napi(object)]
pub struct NativeListenerInfo {
    /// Its process.
    pub pid: u32,
    /// Its port; 0 for a local socket.
    pub port: u32,
    /// The address that it is bound to.
    pub host: Option<String>,
    /// The path of a local socket.
    pub path: Option<String>,
}

/// Which listener is meant; what is absent does not matter.
#[napi(object)]
pub struct NativeListenerQuery {
    /// Its process.
    pub pid: Option<u32>,
    /// Its port.
    pub port: Option<u32>,
    /// An address that reaches it.
    pub host: Option<String>,
    /// The path of a local socket.
    pub path: Option<String>,
}

impl From<ListenerInfo> for NativeListenerInfo {
    fn from(info: ListenerInfo) -> Self {
        Self {
            pid: info.pid,
            port: info.port.into(),
            host: info.host.map(|host| host.to_string()),
            path: info
                .path
                .map(|path| String::from_utf8_lossy(&path).into_owned()),
        }
    }
}

impl TryFrom<NativeListenerQuery> for ListenerQuery {
    type Error = Error;

    fn try_from(query: NativeListenerQuery) -> Result<Self> {
        let unusable = |what: &str| {
            Error::from_reason(format!(
                "ERR_INVALID_ARG_VALUE{CODE_END}{what} is not valid"
            ))
        };
        let port = query.port.map(u16::try_from).transpose();
        let host = query.host.as_deref().map(str::parse).transpose();
        Ok(Self {
            port: port.map_err(|_| unusable("port"))?,
            host: host.map_err(|_| unusable("host"))?,
            path: query.path.map(String::into_bytes),
            pid: query.pid,
        })
    }
}

/// Arguments of the JavaScript callback: who waits, a number of [`kind`], and the listener that was found.
pub type NetworkEventArgs = FnArgs<(u32, u32, Option<NativeListenerInfo>)>;

struct Event {
    id: u32,
    kind: u32,
    listener: Option<ListenerInfo>,
}

type Channel =
    ThreadsafeFunction<Event, Unknown<'static>, NetworkEventArgs, napi::Status, false, true>;

/// Tells JavaScript that something is worth another try.
pub struct Notifier(Channel);

impl Notifier {
    fn notify(&self, id: u32, kind: u32, listener: Option<ListenerInfo>) {
        let event = Event { id, kind, listener };
        // Fails only when the JavaScript thread is gone, and with it whoever waits.
        self.0.call(event, ThreadsafeFunctionCallMode::NonBlocking);
    }
}

impl adapter::Listener for Notifier {
    fn connections(&self) {
        self.notify(0, kind::GUEST_CONNECTION, None);
    }

    fn name(&self, id: u32) {
        self.notify(id, kind::GUEST_NAME, None);
    }
}

/// The error of a system call, with its code.
pub fn call_error(errno: Errno, call: &str) -> Error {
    let name = errno.name();
    Error::from_reason(format!(
        "{name}{CODE_END}{call} {name}: {}",
        errno.message()
    ))
}

/// The error of this name.
fn errno_named(name: &str) -> Option<Errno> {
    Errno::ALL
        .iter()
        .copied()
        .find(|errno| errno.name() == name)
}

/// The count that a call of the kernel gives; buffers are far smaller than 2 GiB.
pub fn counted(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// The host's use of one VM's network.
#[napi]
pub struct NativeNetwork {
    pub(crate) vm: Arc<Vm>,
    pub(crate) notifier: Arc<Notifier>,
    waits: Mutex<HashMap<u32, ListenerWait>>,
    host_ports: Arc<HostPortTable>,
    adapter: Option<Arc<AdapterNetwork>>,
}

impl NativeNetwork {
    pub fn new(
        vm: Arc<Vm>,
        adapter: Option<Arc<AdapterNetwork>>,
        callback: &Function<'_, NetworkEventArgs, Unknown<'static>>,
    ) -> Result<Self> {
        let channel: Channel = callback
            .build_threadsafe_function::<Event>()
            .weak::<true>()
            .callee_handled::<false>()
            .build_callback(|context| {
                let Event { id, kind, listener } = context.value;
                Ok((id, kind, listener.map(NativeListenerInfo::from)).into())
            })?;
        let notifier = Arc::new(Notifier(channel));
        let of_ports = notifier.clone();
        Ok(Self {
            vm,
            notifier,
            host_ports: Arc::new(HostPortTable::new(move |port| {
                of_ports.notify(port.into(), kind::HOST_PORT, None);
            })),
            waits: Mutex::default(),
            adapter,
        })
    }
}

#[napi]
impl NativeNetwork {
    /// Connects to a guest's server; `null` while its backlog is full: the callback gets `(id, 3)` when to ask again.
    #[napi]
    pub fn connect(&self, id: u32, port: u32) -> Result<Option<NativeConnection>> {
        if self.vm.is_disposed() {
            return Err(failure(&secure_exec_runtime::vm::VmError::Disposed));
        }
        let kernel = self.vm.kernel();
        let port = u16::try_from(port).map_err(|_| call_error(Errno::EINVAL, "connect"))?;
        match kernel.connect_from_host(port) {
            Ok(end) => Ok(Some(NativeConnection::new(
                id,
                Arc::new(end),
                self.notifier.clone(),
                None,
            ))),
            Err(Errno::EAGAIN) => {
                let notifier = self.notifier.clone();
                kernel.on_host_room(
                    port,
                    Box::new(move || notifier.notify(id, kind::ROOM, None)),
                );
                Ok(None)
            }
            Err(errno) => Err(kernel.host().take_limit_error().map_or_else(
                || call_error(errno, "connect"),
                |limit| {
                    Error::from_reason(format!("ERR_RESOURCE_BUDGET_EXCEEDED{CODE_END}{limit}"))
                },
            )),
        }
    }

    /// A listener that the query means.
    #[napi]
    pub fn find_listener(&self, query: NativeListenerQuery) -> Result<Option<NativeListenerInfo>> {
        let found = self.vm.kernel().find_listener(&query.try_into()?);
        Ok(found.map(NativeListenerInfo::from))
    }

    /// Has the callback get `(id, 2, listener)` once there is a listener that the query means.
    #[napi]
    pub fn wait_for_listener(&self, id: u32, query: NativeListenerQuery) -> Result<()> {
        let notifier = self.notifier.clone();
        let wait = self.vm.kernel().on_listener(
            query.try_into()?,
            Box::new(move |listener| notifier.notify(id, kind::LISTENER, Some(listener))),
        );
        self.waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, wait);
        Ok(())
    }

    /// From now on each port that guests listen on is bound on the host's 127.0.0.1 too. The callback gets `(port, 4)`
    /// whenever [`NativeNetwork::host_port`] has something new to say.
    #[napi]
    pub fn open_host_ports(&self) {
        self.vm.kernel().set_host_ports(self.host_ports.clone());
    }

    /// What is to be done about a port of the host's: take over a bound socket (its descriptor), nothing (-1), or close
    /// it (-2).
    #[napi]
    pub fn host_port(&self, port: u32) -> i32 {
        u16::try_from(port).map_or(NOTHING, |port| self.host_ports.next(port))
    }

    /// From now on what guests want of the outside is asked for: the callback gets `(0, 5)` when
    /// [`NativeNetwork::next_guest_connection`] has one again, and `(id, 6)` for each name.
    #[napi]
    pub fn serve_guests(&self) {
        if let Some(adapter) = &self.adapter {
            adapter.listen(self.notifier.clone());
        }
    }

    /// A connection of a guest to the outside, of which this is the far end. The callback gets `(id, 7)` once the guest has
    /// closed it.
    #[napi]
    pub fn next_guest_connection(&self, id: u32) -> Option<NativeConnection> {
        let arrived = self.adapter.as_ref()?.next_connection()?;
        let (end, notifier) = (Arc::new(arrived.end), self.notifier.clone());
        let of_end = notifier.clone();
        end.on_peer_closed(Box::new(move || {
            of_end.notify(id, kind::GUEST_GONE, None);
        }));
        Some(NativeConnection::new(id, end, notifier, Some(arrived.to)))
    }

    /// The name that a guest looks up under this number.
    #[napi]
    pub fn guest_name(&self, id: u32) -> Option<String> {
        self.adapter.as_ref()?.name(id)
    }

    /// What it means: an address, or the error of this name.
    #[napi]
    pub fn answer_guest_name(&self, id: u32, address: Option<String>, error: Option<String>) {
        let Some(adapter) = &self.adapter else { return };
        let address = address.and_then(|text| text.parse::<IpAddr>().ok());
        let errno = error.and_then(|name| errno_named(&name));
        let answer = address.map(|ip| vec![ip]);
        adapter.answer(id, answer.ok_or(errno.unwrap_or(Errno::EAI_NONAME)));
    }

    /// Ends the waiting for a listener.
    #[napi]
    pub fn stop_waiting(&self, id: u32) {
        let wait = self
            .waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        // Dropping it may run what it keeps; not under the lock.
        drop(wait);
    }
}

/// The host's end of a connection.
#[napi]
pub struct NativeConnection {
    id: u32,
    end: Mutex<Option<Arc<StreamEnd>>>,
    notifier: Arc<Notifier>,
    /// Where a guest wanted to go.
    to: Option<Target>,
}

impl NativeConnection {
    pub(crate) fn new(
        id: u32,
        end: Arc<StreamEnd>,
        notifier: Arc<Notifier>,
        to: Option<Target>,
    ) -> Self {
        Self {
            id,
            end: Mutex::new(Some(end)),
            notifier,
            to,
        }
    }

    fn end(&self) -> Option<Arc<StreamEnd>> {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn when(&self, end: &StreamEnd, interest: Interest) {
        let (id, notifier) = (self.id, self.notifier.clone());
        match interest {
            Interest::Readable => {
                end.on_readable(Box::new(move || notifier.notify(id, kind::READABLE, None)));
            }
            Interest::Writable => {
                end.on_writable(Box::new(move || notifier.notify(id, kind::WRITABLE, None)));
            }
        }
    }
}

#[napi]
impl NativeConnection {
    /// Reads into `buffer` from `offset` on. Answers how much, 0 at the end, or [`WAIT`]; then the callback gets
    /// `(id, 0)` once.
    #[napi]
    pub fn read(&self, mut buffer: BufferSlice<'_>, offset: u32) -> Result<i32> {
        let Some(end) = self.end() else { return Ok(0) };
        let room = buffer.get_mut(offset as usize..).unwrap_or_default();
        match end.read(room) {
            Ok(bytes) => Ok(counted(bytes)),
            Err(Errno::EAGAIN) => {
                self.when(&end, Interest::Readable);
                Ok(WAIT)
            }
            Err(errno) => Err(call_error(errno, "read")),
        }
    }

    /// Writes from `buffer`, from `offset` on. Answers how much, or [`WAIT`]; then the callback gets `(id, 1)` once.
    #[napi]
    pub fn write(&self, buffer: BufferSlice<'_>, offset: u32) -> Result<i32> {
        let Some(end) = self.end() else {
            return Err(call_error(Errno::EPIPE, "write"));
        };
        match end.write(buffer.get(offset as usize..).unwrap_or_default()) {
            Ok(bytes) => Ok(counted(bytes)),
            Err(Errno::EAGAIN) => {
                self.when(&end, Interest::Writable);
                Ok(WAIT)
            }
            Err(errno) => Err(call_error(errno, "write")),
        }
    }

    /// Writes no more; the guest reads to the end of what was written.
    #[napi]
    pub fn shutdown(&self) -> Result<()> {
        match self.end().map(|end| end.shutdown()) {
            None | Some(Ok(()) | Err(Errno::ENOTCONN)) => Ok(()),
            Some(Err(errno)) => Err(call_error(errno, "shutdown")),
        }
    }

    /// The address that a guest wanted to go to; empty for a connection of the host's.
    #[napi(getter)]
    pub fn address(&self) -> String {
        let to = self.to.as_ref();
        to.map(|to| to.address.ip().to_string()).unwrap_or_default()
    }

    /// The port that a guest wanted to go to.
    #[napi(getter)]
    pub fn port(&self) -> u32 {
        self.to.as_ref().map_or(0, |to| to.address.port().into())
    }

    /// The name that the address was last found for when the guest connected.
    #[napi(getter)]
    pub fn name(&self) -> Option<String> {
        self.to.as_ref()?.name.clone()
    }

    /// Whether the address itself was allowed, not only as the name's.
    #[napi(getter)]
    pub fn by_address(&self) -> bool {
        self.to.as_ref().is_some_and(|to| to.by_address)
    }

    /// The name of the server that the guest speaks TLS to, which is left out here; `null` when it speaks none. Final once
    /// there is something to read.
    #[napi(getter)]
    pub fn plain_tls(&self) -> Option<String> {
        self.end()?.plain_tls()
    }

    /// Ends the connection: the guest's next operation fails with the error of this name, or else with `ECONNRESET`.
    #[napi]
    pub fn fail(&self, error: String) {
        if let Some(end) = self.take() {
            end.fail(errno_named(&error).unwrap_or(Errno::ECONNRESET));
        }
    }

    fn take(&self) -> Option<Arc<StreamEnd>> {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Ends the connection. Idempotent.
    #[napi]
    pub fn close(&self) {
        let end = self.take();
        // Its wakes run now; not under the lock.
        drop(end);
    }
}
