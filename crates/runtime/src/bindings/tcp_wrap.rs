//! `internalBinding('tcp_wrap')`: TCP sockets. Sources: `src/tcp_wrap.cc`, `src/connection_wrap.cc`.
//!
//! As with libuv, a socket is made when its family is known, and an address in use is told by `listen` or `connect`.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use secure_exec_kernel::{Domain, Errno, HandleKind, Kernel, Process, SocketName};

use crate::binding::{Args, Binding, Callback, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{self, Provider, Resource};
use crate::bindings::request::{self, Request};
use crate::bindings::stream_base::Stream;
use crate::bindings::stream_wrap::{KernelStream, Kind};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

const REQUEST: Callback = function!(request::construct);

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "tcp_wrap",
    classes: &[
        Class {
            name: "TCP",
            parent: Some("stream_wrap.LibuvStreamWrap"),
            constructor: Some(function!(construct)),
            methods: &[
                ("open", function!(open)),
                ("bind", function!(bind)),
                ("listen", function!(listen)),
                ("connect", function!(connect)),
                ("bind6", function!(bind6)),
                ("connect6", function!(connect6)),
                ("getsockname", function!(get_sock_name)),
                ("getpeername", function!(get_peer_name)),
                ("setNoDelay", function!(set_no_delay)),
                ("setKeepAlive", function!(set_keep_alive)),
                ("reset", function!(reset)),
            ],
            extra_fields: crate::bindings::stream_base::EXTRA_FIELDS,
            ..Class::DEFAULT
        },
        Class {
            name: "TCPConnectWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

const CONNECT_PROVIDER: Provider = Provider {
    name: "TCPCONNECTWRAP",
    number: 38,
};
const SERVER_PROVIDER: Provider = Provider {
    name: "TCPSERVERWRAP",
    number: 39,
};
const SOCKET_PROVIDER: Provider = Provider {
    name: "TCPWRAP",
    number: 40,
};

/// Values of the constructor's argument.
mod socket_type {
    pub const SOCKET: i32 = 0;
    pub const SERVER: i32 = 1;
}

/// Flags of `bind6`.
mod bind_flag {
    pub const ONLY_V6: u32 = 1;
    pub const SHARES: u32 = 2;
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, number: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, number).into())
}

/// 0, or libuv's number of an error.
pub(super) fn status<'s>(scope: &mut v8::PinScope<'s, '_>, result: Result<(), Errno>) -> Ret<'s> {
    number(scope, result.map_or_else(Errno::uv, |()| 0))
}

/// What a constructor is to make: its argument, or a plain socket when Rust calls it.
pub(super) fn type_argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    class: &'static str,
) -> Result<i32, Throw> {
    if !args.is_construct_call() {
        return Err(constructor_call(class));
    }
    if Env::of(scope).constructing_from_rust.get() {
        return Ok(socket_type::SOCKET);
    }
    args.get(0).int32_value(scope).ok_or(Throw::Pending)
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let provider = match type_argument(scope, args, "TCP")? {
        socket_type::SOCKET => SOCKET_PROVIDER,
        socket_type::SERVER => SERVER_PROVIDER,
        _ => {
            return Err(Throw::type_error(
                "ERR_INVALID_ARG_VALUE",
                "type must be SOCKET or SERVER",
            ));
        }
    };
    KernelStream::wrap(scope, args.this(), Kind::Tcp, provider, "tcp_wrap.TCP");
    Ok(v8::undefined(scope).into())
}

/// What a method works with.
pub(super) struct Call {
    pub env: Rc<Env>,
    pub kernel: std::sync::Arc<Kernel>,
    pub process: std::sync::Arc<Process>,
    pub resource: Rc<Resource>,
    pub stream: Rc<KernelStream>,
}

/// The receiver of a method; `EBADF` when it is closed or no stream on a descriptor.
pub(super) fn call(
    scope: &mut v8::PinScope<'_, '_>,
    args: &Args<'_>,
) -> Result<Result<Call, Errno>, Throw> {
    let env = Env::of(scope);
    let (kernel, process) = (env.kernel()?, env.process()?);
    let Some((resource, stream)) = KernelStream::of(scope, args.this()) else {
        return Ok(Err(Errno::EBADF));
    };
    if resource.is_closing() {
        return Ok(Err(Errno::EBADF));
    }
    Ok(Ok(Call {
        env,
        kernel,
        process,
        resource,
        stream,
    }))
}

impl Call {
    /// The socket, made now if there is none.
    fn socket(&self, domain: Domain) -> Result<i32, Errno> {
        if self.stream.has_fd() {
            return self.stream.open_fd(&self.env);
        }
        let fd = self.kernel.socket(&self.process, domain)?;
        self.stream.set_fd(&self.env, fd)?;
        Ok(fd)
    }
}

/// An address that JavaScript gives as text and port.
pub(super) fn address<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    ip: v8::Local<'s, v8::Value>,
    port: v8::Local<'s, v8::Value>,
    v6: bool,
) -> Result<Result<SocketAddr, Errno>, Throw> {
    let text = ip.to_string(scope).ok_or(Throw::Pending)?;
    let port = port.uint32_value(scope).ok_or(Throw::Pending)?;
    let text = text.to_rust_string_lossy(scope);
    // The zone of an IPv6 address says which interface; there is one.
    let plain = text.split_once('%').map_or(text.as_str(), |parts| parts.0);
    let parsed = match (plain.parse::<IpAddr>(), u16::try_from(port)) {
        (Ok(ip), Ok(port)) if ip.is_ipv6() == v6 => Ok(SocketAddr::new(ip, port)),
        _ => Err(Errno::EINVAL),
    };
    Ok(parsed)
}

/// Sets `address`, `family` and `port` of an object.
pub(super) fn fill_address<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    target: v8::Local<'s, v8::Object>,
    address: SocketAddr,
) -> Result<(), Throw> {
    let ip = v8::String::new(scope, &address.ip().to_string()).ok_or(Throw::Pending)?;
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    let family = v8::String::new(scope, family).ok_or(Throw::Pending)?;
    let port = v8::Integer::new(scope, i32::from(address.port()));
    set(scope, target, "address", ip.into());
    set(scope, target, "family", family.into());
    set(scope, target, "port", port.into());
    Ok(())
}

/// `open(fd)`
fn open<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let result = call(scope, args)?.and_then(|call| {
        if call.stream.has_fd() {
            return Err(Errno::EBUSY);
        }
        match call.kernel.handle_kind(&call.process, fd)? {
            HandleKind::Tcp => call.stream.set_fd(&call.env, fd),
            _ => Err(Errno::ENOTSOCK),
        }
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
        let fd = call.socket(if v6 { Domain::Inet6 } else { Domain::Inet })?;
        let only_v6 = v6 && flags & bind_flag::ONLY_V6 != 0;
        let shares = flags & bind_flag::SHARES != 0;
        match call
            .kernel
            .bind(&call.process, fd, address?, only_v6, shares)
        {
            Err(Errno::EADDRINUSE) => {
                call.stream.delayed_error.set(Some(Errno::EADDRINUSE));
                Ok(())
            }
            other => other,
        }
    });
    status(scope, result)
}

/// `listen(backlog)`
fn listen<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let backlog = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let backlog = usize::try_from(backlog).unwrap_or(0);
    let result = call(scope, args)?.and_then(|call| {
        if let Some(errno) = call.stream.delayed_error.get() {
            return Err(errno);
        }
        let fd = call.socket(Domain::Inet)?;
        call.kernel.listen(&call.process, fd, backlog)?;
        call.stream.start_listening(&call.env);
        Ok(())
    });
    status(scope, result)
}

fn connect<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    connect_to(scope, args, false)
}

fn connect6<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    connect_to(scope, args, true)
}

/// `connect(req, address, port)`
fn connect_to<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, v6: bool) -> Ret<'s> {
    let object = request::unused(scope, args.get(0))?;
    let address = address(scope, args.get(1), args.get(2), v6)?;
    let call = match (call(scope, args)?, address) {
        (Ok(call), Ok(address)) => (call, address),
        (Err(errno), _) | (_, Err(errno)) => return number(scope, errno.uv()),
    };
    let (call, address) = call;
    let started = if let Some(errno) = call.stream.delayed_error.get() {
        Err(errno)
    } else {
        let domain = if v6 { Domain::Inet6 } else { Domain::Inet };
        let started = call
            .socket(domain)
            .and_then(|fd| call.kernel.connect(&call.process, fd, address));
        match started {
            // Told later, as the network would.
            Err(Errno::ECONNREFUSED) => Err(Errno::ECONNREFUSED),
            Err(errno) => return number(scope, errno.uv()),
            Ok(connect) => Ok(connect),
        }
    };
    let trigger = Some(call.resource.context().async_id);
    let request = Request::start(scope, &call.env, object, CONNECT_PROVIDER, trigger);
    let target = serde_json::json!({ "ip": address.ip().to_string(), "port": address.port() });
    call.stream
        .follow_connect(&call.env, request, started, &target);
    number(scope, 0)
}

fn get_sock_name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    name(scope, args, |call| {
        if let Some(errno) = call.stream.delayed_error.get() {
            return Err(errno);
        }
        let fd = call.stream.open_fd(&call.env).map_err(|_| Errno::EINVAL)?;
        call.kernel.socket_name(&call.process, fd)
    })
}

fn get_peer_name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    name(scope, args, |call| {
        let fd = call.stream.open_fd(&call.env).map_err(|_| Errno::EINVAL)?;
        call.kernel.peer_name(&call.process, fd)
    })
}

/// Fills the object in the first argument with a name.
fn name<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    name: impl FnOnce(&Call) -> Result<SocketName, Errno>,
) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "out must be an object"))?;
    match call(scope, args)?.and_then(|call| name(&call)) {
        Ok(SocketName::Inet(address)) => {
            fill_address(scope, target, address)?;
            number(scope, 0)
        }
        Ok(SocketName::Local(_)) => number(scope, Errno::EINVAL.uv()),
        Err(errno) => number(scope, errno.uv()),
    }
}

/// `setNoDelay(enable)`
fn set_no_delay<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let on = args.get(0).boolean_value(scope);
    let result = call(scope, args)?.and_then(|call| match call.stream.open_fd(&call.env) {
        Ok(fd) => call.kernel.set_no_delay(&call.process, fd, on),
        // Without a socket there is nothing to set yet.
        Err(_) => Ok(()),
    });
    status(scope, result)
}

/// `setKeepAlive(enable, seconds)`
fn set_keep_alive<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let on = args.get(0).boolean_value(scope);
    let seconds = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let result = call(scope, args)?.and_then(|call| match call.stream.open_fd(&call.env) {
        Ok(fd) => call.kernel.set_keep_alive(&call.process, fd, on, seconds),
        Err(_) => Ok(()),
    });
    status(scope, result)
}

/// `reset(callback)`: closes with a reset.
fn reset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let result = call(scope, args)?.and_then(|call| {
        if call.stream.shutting_down() {
            // libuv refuses: the end is on its way already.
            return Err(Errno::EINVAL);
        }
        if call.stream.fd() >= 0 {
            call.kernel
                .reset(&call.process, call.stream.open_fd(&call.env)?)?;
        }
        Ok(())
    });
    if result.is_ok() {
        resource::close(scope, args)?;
    }
    status(scope, result)
}
