//! `internalBinding('pipe_wrap')`: pipes and local sockets. Source: `src/pipe_wrap.cc`.

use secure_exec_kernel::{Connect, Domain, Errno, HandleKind};

use crate::binding::{Args, Binding, Callback, Class, Ret, function};
use crate::bindings::fs::argument;
use crate::bindings::fs::resource::Provider;
use crate::bindings::request::{self, Request};
use crate::bindings::stream_wrap::{KernelStream, Kind};
use crate::bindings::tcp_wrap::{Call, call, status, type_argument};
use crate::text::{self, Encoding};
use crate::throw::Throw;

const REQUEST: Callback = function!(request::construct);

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "pipe_wrap",
    classes: &[
        Class {
            name: "Pipe",
            parent: Some("stream_wrap.LibuvStreamWrap"),
            constructor: Some(function!(construct)),
            methods: &[
                ("bind", function!(bind)),
                ("listen", function!(listen)),
                ("connect", function!(connect)),
                ("open", function!(open)),
                ("fchmod", function!(fchmod)),
            ],
            extra_fields: crate::bindings::stream_base::EXTRA_FIELDS,
            ..Class::DEFAULT
        },
        Class {
            name: "PipeConnectWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

const CONNECT_PROVIDER: Provider = Provider {
    name: "PIPECONNECTWRAP",
    number: 22,
};
const SERVER_PROVIDER: Provider = Provider {
    name: "PIPESERVERWRAP",
    number: 23,
};
const PIPE_PROVIDER: Provider = Provider {
    name: "PIPEWRAP",
    number: 24,
};

/// Values of the constructor's argument.
mod socket_type {
    pub const SOCKET: i32 = 0;
    pub const SERVER: i32 = 1;
    pub const IPC: i32 = 2;
}

/// Flags of `fchmod`.
mod access {
    pub const READABLE: i32 = 1;
    pub const WRITABLE: i32 = 2;
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (provider, ipc) = match type_argument(scope, args, "Pipe")? {
        socket_type::SOCKET => (PIPE_PROVIDER, false),
        socket_type::SERVER => (SERVER_PROVIDER, false),
        socket_type::IPC => (PIPE_PROVIDER, true),
        _ => {
            return Err(Throw::type_error(
                "ERR_INVALID_ARG_VALUE",
                "type must be SOCKET, SERVER or IPC",
            ));
        }
    };
    KernelStream::wrap(
        scope,
        args.this(),
        Kind::Pipe { ipc },
        provider,
        "pipe_wrap.Pipe",
    );
    Ok(v8::undefined(scope).into())
}

impl Call {
    fn local_socket(&self) -> Result<i32, Errno> {
        if self.stream.has_fd() {
            return self.stream.open_fd(&self.env);
        }
        let fd = self.kernel.socket(&self.process, Domain::Local)?;
        self.stream.set_fd(&self.env, fd)?;
        Ok(fd)
    }
}

/// The name of a local socket. Unlike a path it may begin with NUL.
fn local_name<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Vec<u8>, Throw> {
    /// Beyond what any name may have.
    const LONGEST: usize = 4096;
    let string = v8::Local::<v8::String>::try_from(value).map_err(|_| argument::invalid("name"))?;
    let mut name = vec![0; LONGEST];
    let length = text::encode_into(scope, string, Encoding::Utf8, &mut name);
    name.truncate(length);
    Ok(name)
}

/// `bind(name)`
fn bind<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = local_name(scope, args.get(0))?;
    let result = call(scope, args)?.and_then(|call| {
        if call.stream.has_fd() {
            return Err(Errno::EINVAL);
        }
        let fd = call.local_socket()?;
        match call.kernel.bind_local(&call.process, fd, &name) {
            Ok(()) => {
                if name.first() != Some(&0) {
                    call.stream.path.replace(Some(name));
                }
                Ok(())
            }
            // libuv says so, to be like Windows.
            Err(Errno::ENOENT) => Err(Errno::EACCES),
            Err(errno) => Err(errno),
        }
    });
    status(scope, result)
}

/// `listen(backlog)`
fn listen<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let backlog = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let backlog = usize::try_from(backlog).unwrap_or(0);
    let result = call(scope, args)?.and_then(|call| {
        let fd = call.stream.open_fd(&call.env).map_err(|_| Errno::EINVAL)?;
        call.kernel.listen(&call.process, fd, backlog)?;
        call.stream.start_listening(&call.env);
        Ok(())
    });
    status(scope, result)
}

/// `connect(req, name)`: every failure is told later.
fn connect<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let object = request::unused(scope, args.get(0))?;
    let name = local_name(scope, args.get(1))?;
    let call = match call(scope, args)? {
        Ok(call) => call,
        Err(errno) => return status(scope, Err(errno)),
    };
    let started: Result<Connect, Errno> = call
        .local_socket()
        .and_then(|fd| call.kernel.connect_local(&call.process, fd, &name));
    if started == Err(Errno::EINVAL) {
        return status(scope, Err(Errno::EINVAL));
    }
    let trigger = Some(call.resource.context().async_id);
    let request = Request::start(scope, &call.env, object, CONNECT_PROVIDER, trigger);
    let path = String::from_utf8_lossy(&name);
    let kind = if name.first() == Some(&0) {
        "abstract socket"
    } else {
        "file"
    };
    let target = serde_json::json!({ "path_type": kind, "pipe_path": path });
    call.stream
        .follow_connect(&call.env, request, started, &target);
    status(scope, Ok(()))
}

/// `open(fd)`
fn open<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let result = call(scope, args)?.and_then(|call| {
        if call.stream.has_fd() {
            return Err(Errno::EBUSY);
        }
        match call.kernel.handle_kind(&call.process, fd)? {
            HandleKind::Pipe | HandleKind::Tcp => call.stream.set_fd(&call.env, fd),
            HandleKind::File | HandleKind::Udp | HandleKind::Tty | HandleKind::Unknown => {
                Err(Errno::EINVAL)
            }
        }
    });
    status(scope, result)
}

/// `fchmod(mode)`: who may use the name of a pipe that is bound.
fn fchmod<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const READ_BITS: u32 = 0o444;
    const WRITE_BITS: u32 = 0o222;
    let mode = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let result = call(scope, args)?.and_then(|call| {
        if mode & !(access::READABLE | access::WRITABLE) != 0 || mode == 0 {
            return Err(Errno::EINVAL);
        }
        let path = call.stream.path.borrow().clone().ok_or(Errno::EBADF)?;
        let stat = call.kernel.stat(&call.process, &path)?;
        let mut bits = stat.mode & 0o7777;
        if mode & access::READABLE != 0 {
            bits |= READ_BITS;
        }
        if mode & access::WRITABLE != 0 {
            bits |= WRITE_BITS;
        }
        call.kernel.chmod(&call.process, &path, bits)
    });
    status(scope, result)
}
