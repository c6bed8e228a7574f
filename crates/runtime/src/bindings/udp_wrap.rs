//! `internalBinding('udp_wrap')`: datagram sockets. Source: `src/udp_wrap.cc`.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use secure_exec_kernel::{
    Errno, FdHandle, HandleKind, Interest, Kernel, Membership, Process, SocketName, UdpOption,
};

use crate::array_buffer::{self, Contents};
use crate::binding::{Args, Binding, Callback, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::argument;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::options;
use crate::bindings::request::{self, Request};
use crate::bindings::tcp_wrap::{address, fill_address, status};
use crate::env::Env;
use crate::readiness::Ready;
use crate::realm::set;
use crate::throw::Throw;

const REQUEST: Callback = function!(request::construct);

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "udp_wrap",
    classes: &[
        Class {
            name: "UDP",
            parent: Some("fs.HandleWrap"),
            constructor: Some(function!(construct)),
            methods: &[
                ("recvStart", function!(recv_start)),
                ("recvStop", function!(recv_stop)),
                ("open", function!(open)),
                ("bind", function!(bind)),
                ("connect", function!(connect)),
                ("send", function!(send)),
                ("bind6", function!(bind6)),
                ("connect6", function!(connect6)),
                ("send6", function!(send6)),
                ("disconnect", function!(disconnect)),
                ("getpeername", function!(get_peer_name)),
                ("getsockname", function!(get_sock_name)),
                ("addMembership", function!(add_membership)),
                ("dropMembership", function!(drop_membership)),
                (
                    "addSourceSpecificMembership",
                    function!(add_source_specific_membership),
                ),
                (
                    "dropSourceSpecificMembership",
                    function!(drop_source_specific_membership),
                ),
                ("setMulticastInterface", function!(set_multicast_interface)),
                ("setMulticastTTL", function!(set_multicast_ttl)),
                ("setMulticastLoopback", function!(set_multicast_loopback)),
                ("setBroadcast", function!(set_broadcast)),
                ("setTTL", function!(set_ttl)),
                ("bufferSize", function!(buffer_size)),
                ("getSendQueueSize", function!(nothing_queued)),
                ("getSendQueueCount", function!(nothing_queued_either)),
            ],
            accessors: &[("fd", function!(get_fd), None)],
            ..Class::DEFAULT
        },
        Class {
            name: "SendWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

const SEND_PROVIDER: Provider = Provider {
    name: "UDPSENDWRAP",
    number: 42,
};
const UDP_PROVIDER: Provider = Provider {
    name: "UDPWRAP",
    number: 43,
};
/// Datagrams that are told in one turn of the loop.
const DATAGRAMS_A_TURN: usize = 32;
/// What one datagram is made of at most.
const MAX_PIECES: u32 = 1024;

/// Flags of `bind`.
mod bind_flag {
    pub const ONLY_V6: u32 = 1;
    pub const REUSE_ADDRESS: u32 = 4;
    pub const REUSE_PORT: u32 = 64;
}

/// The state of a `UDP`.
struct Udp {
    own: Weak<Udp>,
    resource: RefCell<Weak<Resource>>,
    fd: Cell<Option<FdHandle>>,
    receiving: Cell<bool>,
    armed: Cell<bool>,
}

/// What a method works with.
struct Call {
    env: Rc<Env>,
    kernel: Arc<Kernel>,
    process: Arc<Process>,
    udp: Rc<Udp>,
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, number: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, number).into())
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("UDP"));
    }
    let env = Env::of(scope);
    let udp = Rc::new_cyclic(|own| Udp {
        own: own.clone(),
        resource: RefCell::default(),
        fd: Cell::default(),
        receiving: Cell::default(),
        armed: Cell::default(),
    });
    let resource = Resource::wrap_handle(scope, &env, args.this(), UDP_PROVIDER, stop, udp.clone());
    resource.hold(scope, args.this());
    udp.resource.replace(Rc::downgrade(&resource));
    Ok(v8::undefined(scope).into())
}

/// The receiver of a method; `EBADF` when it is closed or no datagram socket.
fn call(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<Result<Call, Errno>, Throw> {
    let env = Env::of(scope);
    let (kernel, process) = (env.kernel()?, env.process()?);
    let found = Resource::of(scope, args.this())
        .and_then(|resource| Some((resource.inner::<Udp>()?, resource)))
        .filter(|(_, resource)| !resource.is_closing());
    Ok(found
        .map(|(udp, _)| Call {
            env,
            kernel,
            process,
            udp,
        })
        .ok_or(Errno::EBADF))
}

/// The descriptor of a `UDP`'s object.
pub(super) fn fd_of(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    object: v8::Local<v8::Object>,
) -> Result<i32, Errno> {
    let process = env.process().map_err(|_| Errno::ESRCH)?;
    Resource::of(scope, object)
        .and_then(|resource| resource.inner::<Udp>())
        .ok_or(Errno::EINVAL)?
        .open_fd(&process)
}

/// Gives a new `UDP`'s object a descriptor.
pub(super) fn set_fd(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    object: v8::Local<v8::Object>,
    fd: i32,
) -> Result<(), Errno> {
    let udp = Resource::of(scope, object)
        .and_then(|resource| resource.inner::<Udp>())
        .ok_or(Errno::EINVAL)?;
    udp.fd.set(Some(env.own_fd(fd, &udp.resource.borrow())?));
    Ok(())
}

impl Udp {
    fn open_fd(&self, process: &Process) -> Result<i32, Errno> {
        let handle = self.fd.get().ok_or(Errno::EBADF)?;
        process.file_of(handle)?;
        Ok(handle.fd)
    }

    fn update(&self, env: &Rc<Env>) {
        if let Some(resource) = self.resource.borrow().upgrade() {
            resource.set_active(env, self.receiving.get());
        }
    }

    fn arm(&self, env: &Env) {
        let Ok(process) = env.process() else { return };
        let own: Weak<dyn Ready> = self.own.clone();
        if !self.armed.get()
            && let Ok(fd) = self.open_fd(&process)
            && env.when_ready(fd, Interest::Readable, own).is_ok()
        {
            self.armed.set(true);
        }
    }

    /// `onmessage(count, handle, buffer, sender)` for each datagram that waits.
    fn receive(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        for _ in 0..DATAGRAMS_A_TURN {
            if !self.receiving.get() || env.is_ending() {
                return;
            }
            let Ok(fd) = self.open_fd(&process) else {
                return;
            };
            v8::scope!(let scope, scope);
            match kernel.udp_receive(&process, fd) {
                Ok(datagram) => {
                    if self
                        .tell(scope, env, &datagram.bytes, datagram.from)
                        .is_err()
                    {
                        return;
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(errno) => self.call(scope, env, errno.uv(), None, None),
            }
        }
        if self.receiving.get() {
            self.arm(env);
        }
    }

    fn tell(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        bytes: &[u8],
        from: SocketAddr,
    ) -> Result<(), Throw> {
        let sender = v8::Object::new(scope);
        fill_address(scope, sender, from)?;
        let buffer = array_buffer::buffer_of(scope, bytes)?;
        let count = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.call(scope, env, count, Some(buffer.into()), Some(sender.into()));
        Ok(())
    }

    fn call<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        count: i32,
        buffer: Option<v8::Local<'s, v8::Value>>,
        sender: Option<v8::Local<'s, v8::Value>>,
    ) {
        let Some(resource) = self.resource.borrow().upgrade() else {
            return;
        };
        let Some(object) = resource.object(scope) else {
            return;
        };
        let count = v8::Integer::new(scope, count).into();
        let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
        let args = [
            count,
            object.into(),
            buffer.unwrap_or(undefined),
            sender.unwrap_or(undefined),
        ];
        env.make_callback_named(scope, object, "onmessage", &args, resource.context());
    }
}

impl Ready for Udp {
    fn ready(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, _: Interest) {
        self.armed.set(false);
        self.receive(scope, env);
    }
}

fn stop(env: &Env, resource: &Resource) {
    let Some(udp) = resource.inner::<Udp>() else {
        return;
    };
    udp.receiving.set(false);
    env.disown_fd(udp.fd.get(), resource);
    if let (Ok(kernel), Ok(process)) = (env.kernel(), env.process())
        && let Ok(fd) = udp.open_fd(&process)
    {
        // It was open just now.
        let _ = kernel.close(&process, fd);
    }
    udp.fd.set(None);
}

impl Call {
    /// The socket, made now if there is none.
    fn socket(&self, v6: bool) -> Result<i32, Errno> {
        if self.udp.fd.get().is_some() {
            return self.udp.open_fd(&self.process);
        }
        let fd = self.kernel.udp_socket(&self.process, v6)?;
        let owner = self.udp.resource.borrow().clone();
        self.udp.fd.set(Some(self.env.own_fd(fd, &owner)?));
        Ok(fd)
    }

    fn fd(&self) -> Result<i32, Errno> {
        self.udp.open_fd(&self.process)
    }
}

fn get_fd<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = call(scope, args)?.and_then(|call| call.fd());
    number(scope, fd.unwrap_or(Errno::EBADF.uv()))
}

fn recv_start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let result = call(scope, args)?.and_then(|call| {
        call.fd()?;
        call.udp.receiving.set(true);
        call.udp.update(&call.env);
        call.udp.arm(&call.env);
        Ok(())
    });
    status(scope, result)
}

fn recv_stop<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let result = call(scope, args)?.map(|call| {
        call.udp.receiving.set(false);
        call.udp.update(&call.env);
    });
    status(scope, result)
}

/// `open(fd)`
fn open<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let result = call(scope, args)?.and_then(|call| {
        if call.udp.fd.get().is_some() {
            return Err(Errno::EBUSY);
        }
        if call.kernel.handle_kind(&call.process, fd)? != HandleKind::Udp {
            return Err(Errno::ENOTSOCK);
        }
        let owner = call.udp.resource.borrow().clone();
        call.udp.fd.set(Some(call.env.own_fd(fd, &owner)?));
        Ok(())
    });
    status(scope, result)
}

fn bind<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    bind_to(scope, args, false)
}

fn bind6<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    bind_to(scope, args, true)
}

/// `bind(address, port, flags)`
fn bind_to<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, v6: bool) -> Ret<'s> {
    let address = address(scope, args.get(0), args.get(1), v6)?;
    let flags = args.get(2).uint32_value(scope).ok_or(Throw::Pending)?;
    let result = call(scope, args)?.and_then(|call| {
        let address = address?;
        let fd = call.socket(v6)?;
        let only_v6 = flags & bind_flag::ONLY_V6 != 0;
        let shares = flags & (bind_flag::REUSE_ADDRESS | bind_flag::REUSE_PORT) != 0;
        call.kernel
            .udp_bind(&call.process, fd, address, only_v6, shares)
    });
    status(scope, result)
}

fn connect<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    connect_to(scope, args, false)
}

fn connect6<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    connect_to(scope, args, true)
}

/// `connect(address, port)`
fn connect_to<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, v6: bool) -> Ret<'s> {
    let address = address(scope, args.get(0), args.get(1), v6)?;
    let result = call(scope, args)?.and_then(|call| {
        let address = address?;
        let fd = call.socket(v6)?;
        call.kernel.udp_connect(&call.process, fd, address)
    });
    status(scope, result)
}

fn disconnect<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let result =
        call(scope, args)?.and_then(|call| call.kernel.udp_disconnect(&call.process, call.fd()?));
    status(scope, result)
}

fn get_sock_name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    name(scope, args, |call, fd| {
        call.kernel.socket_name(&call.process, fd)
    })
}

fn get_peer_name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    name(scope, args, |call, fd| {
        call.kernel.peer_name(&call.process, fd)
    })
}

/// Fills the object in the first argument with a name.
fn name<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    name: impl FnOnce(&Call, i32) -> Result<SocketName, Errno>,
) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "out must be an object"))?;
    match call(scope, args)?.and_then(|call| {
        let fd = call.fd()?;
        name(&call, fd)
    }) {
        Ok(SocketName::Inet(address)) => {
            fill_address(scope, target, address)?;
            number(scope, 0)
        }
        Ok(SocketName::Local(_)) => number(scope, Errno::EINVAL.uv()),
        Err(errno) => number(scope, errno.uv()),
    }
}

fn send<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    send_to(scope, args, false)
}

fn send6<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    send_to(scope, args, true)
}

/// `send(req, list, count, port, address, hasCallback)`, or `send(req, list, count, hasCallback)` on a connected socket:
/// the number of bytes plus 1, or an error.
fn send_to<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, v6: bool) -> Ret<'s> {
    const TO_PEER: i32 = 4;
    let object = request::unused(scope, args.get(0))?;
    let has_callback = args.get(args.length() - 1).is_true();
    let list =
        v8::Local::<v8::Array>::try_from(args.get(1)).map_err(|_| argument::invalid("list"))?;
    let count = args.get(2).uint32_value(scope).ok_or(Throw::Pending)?;
    let to = if args.length() <= TO_PEER {
        None
    } else {
        Some(address(scope, args.get(4), args.get(3), v6)?)
    };
    let mut views = Vec::new();
    for index in 0..count.min(list.length()).min(MAX_PIECES) {
        let piece = list.get_index(scope, index).ok_or(Throw::Pending)?;
        let view = v8::Local::<v8::ArrayBufferView>::try_from(piece);
        views.push(view.map_err(|_| argument::invalid("list"))?);
    }
    let bytes = join(scope, &views);
    let call = match call(scope, args)? {
        Ok(call) => call,
        Err(errno) => return number(scope, errno.uv()),
    };
    let sent = to.transpose().and_then(|to| {
        let fd = call.socket(v6)?;
        call.kernel.udp_send(&call.process, fd, &bytes, to)
    });
    if let Ok(size) = sent
        && options::flag(&call.env, "--test-udp-no-try-send")
    {
        let resource = call.udp.resource.borrow().upgrade();
        let trigger = resource.map(|resource| resource.context().async_id);
        let request = Request::start(scope, &call.env, object, SEND_PROVIDER, trigger);
        call.env.event_loop.complete(Box::new(move |scope, env| {
            if !has_callback {
                return request.finish(scope, env);
            }
            let status = v8::Integer::new(scope, 0).into();
            #[expect(clippy::cast_precision_loss, reason = "no datagram is that large")]
            let size = v8::Number::new(scope, size as f64).into();
            request.complete(scope, env, &[status, size]);
        }));
        return number(scope, 0);
    }
    // A datagram never waits, so there is nothing to complete later.
    number(
        scope,
        sent.map_or_else(Errno::uv, |sent| {
            i32::try_from(sent + 1).unwrap_or(i32::MAX)
        }),
    )
}

/// The bytes of one datagram; of more than any may have, enough to be refused.
fn join(scope: &v8::PinScope<'_, '_>, views: &[v8::Local<'_, v8::ArrayBufferView>]) -> Vec<u8> {
    const ENOUGH: usize = 1 << 16;
    let mut bytes = Vec::new();
    for view in views {
        let mut contents = Contents::default();
        let piece = contents.of(scope, *view);
        let room = ENOUGH.saturating_sub(bytes.len()).min(piece.len());
        bytes.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
    bytes
}

// ---- groups and options --------------------------------------------------------------------------------------------

/// An address without a port; `None` when it is none.
fn ip_argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Option<IpAddr>, Throw> {
    let text = value.to_string(scope).ok_or(Throw::Pending)?;
    let text = text.to_rust_string_lossy(scope);
    let plain = text.split_once('%').map_or(text.as_str(), |parts| parts.0);
    Ok(plain.parse().ok())
}

fn membership<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    group: Option<IpAddr>,
    source: Option<IpAddr>,
    join: bool,
) -> Ret<'s> {
    let result = call(scope, args)?.and_then(|call| {
        let group = group.ok_or(Errno::EINVAL)?;
        let fd = call.socket(group.is_ipv6())?;
        let membership = Membership { group, source };
        call.kernel
            .udp_membership(&call.process, fd, membership, join)
    });
    status(scope, result)
}

/// `addMembership(group, interface)`
fn add_membership<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    any_source(scope, args, true)
}

fn drop_membership<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    any_source(scope, args, false)
}

fn any_source<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, join: bool) -> Ret<'s> {
    let group = ip_argument(scope, args.get(0))?;
    if !args.get(1).is_null_or_undefined() && !is_own_interface(scope, args.get(1))? {
        return number(scope, Errno::ENODEV.uv());
    }
    membership(scope, args, group, None, join)
}

/// `addSourceSpecificMembership(source, group, interface)`
fn add_source_specific_membership<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    one_source(scope, args, true)
}

fn drop_source_specific_membership<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    one_source(scope, args, false)
}

fn one_source<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, join: bool) -> Ret<'s> {
    let source = ip_argument(scope, args.get(0))?;
    let group = ip_argument(scope, args.get(1))?;
    if source.is_none() {
        return number(scope, Errno::EINVAL.uv());
    }
    membership(scope, args, group, source, join)
}

/// Whether text names the VM's interface: one of its addresses, or none.
fn is_own_interface<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<bool, Throw> {
    let ip = ip_argument(scope, value)?;
    Ok(ip.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified()))
}

/// `setMulticastInterface(address)`
fn set_multicast_interface<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let ip = ip_argument(scope, args.get(0))?;
    let result = call(scope, args)?.and_then(|call| {
        let v6 = call.kernel.udp_is_v6(&call.process, call.fd()?)?;
        match ip {
            Some(ip) if ip.is_ipv6() != v6 => Err(Errno::EINVAL),
            Some(ip) if ip.is_loopback() || ip.is_unspecified() => Ok(()),
            Some(_) => Err(Errno::EADDRNOTAVAIL),
            None => Err(Errno::EINVAL),
        }
    });
    status(scope, result)
}

/// Sets an option whose argument is a number.
fn set_option<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    option: impl FnOnce(i32) -> Result<UdpOption, Errno>,
) -> Ret<'s> {
    let value = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let result = call(scope, args)?.and_then(|call| {
        let fd = call.fd()?;
        call.kernel.udp_set(&call.process, fd, option(value)?)
    });
    status(scope, result)
}

/// A number of hops; 0 only where a group may be kept to this machine.
fn hops(value: i32, least: u8) -> Result<u8, Errno> {
    u8::try_from(value)
        .ok()
        .filter(|hops| *hops >= least)
        .ok_or(Errno::EINVAL)
}

fn set_ttl<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_option(scope, args, |value| hops(value, 1).map(UdpOption::Ttl))
}

fn set_multicast_ttl<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_option(scope, args, |value| {
        hops(value, 0).map(UdpOption::MulticastTtl)
    })
}

fn set_multicast_loopback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_option(scope, args, |value| {
        Ok(UdpOption::MulticastLoopback(value != 0))
    })
}

fn set_broadcast<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_option(scope, args, |value| Ok(UdpOption::Broadcast(value != 0)))
}

/// `bufferSize(size, isReceive, context)`: the size, or `undefined` with the error in `context`.
fn buffer_size<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let receive = args.get(1).is_true();
    let context = v8::Local::<v8::Object>::try_from(args.get(2)).ok();
    let size = v8::Local::<v8::Number>::try_from(args.get(0)).map_or(f64::NAN, |size| size.value());
    let result = call(scope, args)?.and_then(|call| {
        if size.fract() != 0.0 || !(0.0..=f64::from(i32::MAX)).contains(&size) {
            return Err(Errno::EINVAL);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        let size = (size > 0.0).then_some(size as usize);
        call.kernel
            .udp_buffer(&call.process, call.fd()?, receive, size)
    });
    match result {
        Ok(size) => number(scope, i32::try_from(size).unwrap_or(i32::MAX)),
        Err(errno) => {
            if let Some(context) = context {
                let syscall = if receive {
                    "uv_recv_buffer_size"
                } else {
                    "uv_send_buffer_size"
                };
                let number = v8::Integer::new(scope, errno.uv()).into();
                set(scope, context, "errno", number);
                for (key, text) in [
                    ("code", errno.name()),
                    ("message", errno.message()),
                    ("syscall", syscall),
                ] {
                    let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
                    set(scope, context, key, text.into());
                }
            }
            Ok(v8::undefined(scope).into())
        }
    }
}

/// A datagram is sent at once or not at all, so none ever waits.
fn nothing_queued<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    number(scope, 0)
}

fn nothing_queued_either<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    nothing_queued(scope, args)
}
