//! `internalBinding('stream_wrap')`: streams on descriptors of the kernel. Source: `src/stream_wrap.cc`; what libuv does
//! between it and the kernel: `src/unix/stream.c`.
//!
//! ```text
//!   readStart --> armed for Readable --> read while there is something and JavaScript has not said stop
//!   write     --> at once, the rest queued --> armed for Writable --> oncomplete
//! ```

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use secure_exec_kernel::{Connect, Errno, FdHandle, HandleKind, Interest, OpenFile};

use crate::array_buffer::Contents;
use crate::binding::{Args, Binding, Callback, Class, Function, Ret, function};
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::request::{self, Request};
use crate::bindings::stream_base::{
    self, Chunk, MAX_QUEUED_WRITES, Pending, ReadOutcome, Requester, Stream, StreamBase,
    StreamHandle, Write,
};
use crate::bindings::udp_wrap;
use crate::env::Env;
use crate::readiness::Ready;
use crate::realm::set;
use crate::throw::Throw;

const REQUEST: Callback = function!(request::construct);

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "stream_wrap",
    classes: &[
        Class {
            name: "LibuvStreamWrap",
            parent: Some("fs.HandleWrap"),
            methods: &METHODS,
            accessors: &ACCESSORS,
            hidden: true,
            extra_fields: stream_base::EXTRA_FIELDS,
            ..Class::DEFAULT
        },
        Class {
            name: "ShutdownWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
        Class {
            name: "WriteWrap",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(REQUEST),
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

/// `LibuvStreamWrap.prototype`: what this adds to every stream's methods.
static METHODS: [Function; 11] = {
    let [a, b, c, d, e, f, g, h, i, j] = stream_base::METHODS;
    let set_blocking = ("setBlocking", function!(set_blocking));
    [a, b, c, d, e, f, g, h, i, j, set_blocking]
};
static ACCESSORS: [(&str, Callback, Option<Callback>); 7] = {
    let [a, b, c, d, e, f] = stream_base::ACCESSORS;
    let queue = ("writeQueueSize", function!(write_queue_size), None);
    [a, b, c, d, e, f, queue]
};

/// Reads of one turn of the loop, so that one busy stream does not keep the others waiting.
const READS_A_TURN: usize = 32;

/// What kind of descriptor a stream is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP socket.
    Tcp,
    /// A pipe or local socket.
    Pipe {
        /// Whether handles can go over it.
        ipc: bool,
    },
    /// A terminal.
    Tty,
}

/// Descriptors that handles of this process are on.
#[derive(Default)]
struct OwnedFds(RefCell<HashMap<FdHandle, Vec<Weak<Resource>>>>);

impl Env {
    /// Takes a descriptor for a handle; `EEXIST` while another handle on it is active, as libuv has it.
    pub fn own_fd(&self, fd: i32, owner: &Weak<Resource>) -> Result<FdHandle, Errno> {
        let process = self.process().map_err(|_| Errno::EBADF)?;
        let handle = process.fd_handle(fd)?;
        let owned = self.extension::<OwnedFds>();
        let mut owned = owned.0.borrow_mut();
        let owners = owned.entry(handle).or_default();
        owners.retain(|owner| owner.strong_count() > 0);
        let is_active = |owner: &Weak<Resource>| owner.upgrade().is_some_and(|it| it.is_active());
        if owners.iter().any(is_active) {
            return Err(Errno::EEXIST);
        }
        owners.push(owner.clone());
        Ok(handle)
    }

    /// A handle that took a descriptor is closed.
    pub fn disown_fd(&self, handle: Option<FdHandle>, owner: &Resource) {
        let Some(handle) = handle else { return };
        let owned = self.extension::<OwnedFds>();
        let mut owned = owned.0.borrow_mut();
        let Some(owners) = owned.get_mut(&handle) else {
            return;
        };
        owners.retain(|known| !std::ptr::eq(known.as_ptr(), owner));
        if owners.is_empty() {
            owned.remove(&handle);
        }
    }
}

/// A write that waits.
struct QueuedWrite {
    request: Pending,
    chunks: VecDeque<Chunk>,
    offset: usize,
    /// Goes with the first byte.
    file: Option<Arc<OpenFile>>,
}

/// A stream on a descriptor.
pub struct KernelStream {
    base: StreamBase,
    kind: Kind,
    /// Weak hold on itself, for those who wait.
    own: Weak<KernelStream>,
    fd: Cell<Option<FdHandle>>,
    /// Makes an object for a connection that was accepted.
    client: &'static str,
    reading: Cell<bool>,
    listening: Cell<bool>,
    armed_to_read: Cell<bool>,
    armed_to_write: Cell<bool>,
    writes: RefCell<VecDeque<QueuedWrite>>,
    shutdown: RefCell<Option<Pending>>,
    ended: Cell<bool>,
    connect: RefCell<Option<Request>>,
    /// An error of `bind` that the next call tells, as libuv does.
    pub(super) delayed_error: Cell<Option<Errno>>,
    /// The path of a local socket that listens, which goes when it is closed.
    pub(super) path: RefCell<Option<Vec<u8>>>,
}

impl KernelStream {
    /// Makes the stream behind a new object; `client` is the class of connections that it accepts.
    pub fn wrap<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        kind: Kind,
        provider: Provider,
        client: &'static str,
    ) {
        let env = Env::of(scope);
        let stream = Rc::new_cyclic(|own| KernelStream {
            base: StreamBase::default(),
            kind,
            own: own.clone(),
            fd: Cell::default(),
            client,
            reading: Cell::default(),
            listening: Cell::default(),
            armed_to_read: Cell::default(),
            armed_to_write: Cell::default(),
            writes: RefCell::default(),
            shutdown: RefCell::default(),
            ended: Cell::default(),
            connect: RefCell::default(),
            delayed_error: Cell::default(),
            path: RefCell::default(),
        });
        let handle = Rc::new(StreamHandle(stream.clone()));
        let resource = Resource::wrap_handle(scope, &env, object, provider, stop, handle);
        resource.hold(scope, object);
        stream.base.attach(&resource);
    }

    /// The stream behind an object, if it is one on a descriptor.
    pub fn of(
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<v8::Object>,
    ) -> Option<(Rc<Resource>, Rc<KernelStream>)> {
        let (resource, stream) = stream_base::stream_of(scope, object)?;
        let stream = stream.as_any().downcast::<KernelStream>().ok()?;
        Some((resource, stream))
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its descriptor's number, if it has one that was not closed behind its back.
    pub fn open_fd(&self, env: &Env) -> Result<i32, Errno> {
        let handle = self.fd.get().ok_or(Errno::EBADF)?;
        let process = env.process().map_err(|_| Errno::EBADF)?;
        process.file_of(handle)?;
        Ok(handle.fd)
    }

    /// Gives it a descriptor.
    pub fn set_fd(&self, env: &Env, fd: i32) -> Result<(), Errno> {
        self.fd
            .set(Some(env.own_fd(fd, &self.base.weak_resource())?));
        Ok(())
    }

    /// Whether it has a descriptor.
    pub fn has_fd(&self) -> bool {
        self.fd.get().is_some()
    }

    /// Whether its writable side is ending.
    pub fn shutting_down(&self) -> bool {
        self.shutdown.borrow().is_some()
    }

    fn handle(self: &Rc<Self>) -> Rc<dyn Stream> {
        self.clone()
    }

    fn is_closing(&self) -> bool {
        self.base
            .resource()
            .is_none_or(|resource| resource.is_closing())
    }

    fn update(&self, env: &Rc<Env>) {
        if let Some(resource) = self.base.resource() {
            resource.set_active(env, self.reading.get() || self.listening.get());
        }
    }

    fn arm(&self, env: &Env, interest: Interest) {
        let armed = match interest {
            Interest::Readable => &self.armed_to_read,
            Interest::Writable => &self.armed_to_write,
        };
        if armed.get() {
            return;
        }
        let own: Weak<dyn Ready> = self.own.clone();
        if let Ok(fd) = self.open_fd(env)
            && env.when_ready(fd, interest, own).is_ok()
        {
            armed.set(true);
        }
    }

    /// Reads while there is something and somebody wants it.
    fn read_some(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        for _ in 0..READS_A_TURN {
            if !self.reading.get() || self.is_closing() || env.is_ending() {
                return;
            }
            v8::scope!(let scope, scope);
            let fd = match self.open_fd(env) {
                Ok(fd) => fd,
                Err(errno) => return self.end_reading(scope, env, errno),
            };
            if self.is_ipc() {
                let outcome = self.receive(scope, env, fd);
                match outcome {
                    ReadOutcome::Bytes(_) => continue,
                    ReadOutcome::Nothing => break,
                    ReadOutcome::Failed(errno) => return self.end_reading(scope, env, errno),
                }
            }
            let available = kernel.available(&process, fd);
            let read = |bytes: &mut [u8]| kernel.read(&process, fd, bytes, None);
            match self
                .base
                .read_from(scope, env, &self.handle(), available, read)
            {
                ReadOutcome::Bytes(_) => {}
                ReadOutcome::Nothing => break,
                ReadOutcome::Failed(errno) => return self.end_reading(scope, env, errno),
            }
        }
        if self.reading.get() && !self.is_closing() {
            self.arm(env, Interest::Readable);
        }
    }

    fn end_reading(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, errno: Errno) {
        self.reading.set(false);
        self.update(env);
        self.base.emit_error(scope, env, &self.handle(), errno);
    }

    /// Reads from a pipe that carries handles. One that comes with the bytes is `pendingHandle` while JavaScript hears of
    /// them.
    fn receive(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        fd: i32,
    ) -> ReadOutcome {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return ReadOutcome::Failed(Errno::ESRCH);
        };
        let mut bytes = vec![0; stream_base::READ_BYTES];
        let (count, file) = match kernel.receive_file(&process, fd, &mut bytes) {
            // A pipe that is no socket carries none.
            Err(Errno::ENOTSOCK) => {
                let read = kernel.read(&process, fd, &mut bytes, None);
                match read {
                    Ok(count) => (count, None),
                    Err(errno) => return ReadOutcome::of(Err(errno)),
                }
            }
            Ok(received) => received,
            Err(errno) => return ReadOutcome::of(Err(errno)),
        };
        let outcome = ReadOutcome::of(Ok(count));
        if let ReadOutcome::Bytes(_) = outcome {
            let handle = file.and_then(|file| handle_for(scope, env, file).ok());
            if let (Some(handle), Some(own)) = (handle, self.base.object(scope)) {
                set(scope, own, "pendingHandle", handle.into());
            }
            bytes.truncate(count);
            self.base.emit_bytes(scope, env, &self.handle(), &bytes);
        }
        outcome
    }

    // ---- writing ---------------------------------------------------------------------------------------------------

    fn write_now(&self, env: &Env, data: &[u8]) -> Result<usize, Errno> {
        let fd = self.open_fd(env)?;
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return Err(Errno::ESRCH);
        };
        let mut written = 0;
        while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
            match kernel.write(&process, fd, rest, None) {
                Ok(n) => written += n,
                Err(Errno::EAGAIN) if written > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(written)
    }

    /// Writes of the front of the queue what can be written; whether all of it was.
    fn write_front(&self, scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Result<bool, Errno> {
        let mut writes = self.writes.borrow_mut();
        let Some(front) = writes.front_mut() else {
            return Ok(false);
        };
        if let (Some(file), Some(chunk)) = (&front.file, front.chunks.front()) {
            let mut contents = Contents::default();
            let bytes = match chunk {
                Chunk::Bytes(bytes) => bytes.as_slice(),
                Chunk::View(view) => contents.of(scope, v8::Local::new(scope, view)),
            };
            let fd = self.open_fd(env)?;
            let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
                return Err(Errno::ESRCH);
            };
            match kernel.send_file(&process, fd, bytes, file) {
                Ok(count) => front.offset = count,
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
            front.file = None;
        }
        while let Some(chunk) = front.chunks.front() {
            let (length, written) = match chunk {
                Chunk::Bytes(bytes) => {
                    let rest = bytes.get(front.offset..).unwrap_or_default();
                    (rest.len(), self.write_now(env, rest))
                }
                Chunk::View(view) => {
                    let view = v8::Local::new(scope, view);
                    let mut contents = Contents::default();
                    let bytes = contents.of(scope, view);
                    let rest = bytes.get(front.offset..).unwrap_or_default();
                    (rest.len(), self.write_now(env, rest))
                }
            };
            match written {
                Ok(n) if n == length => {
                    front.chunks.pop_front();
                    front.offset = 0;
                }
                Ok(n) => {
                    front.offset += n;
                    return Ok(false);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    fn flush(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        while !self.writes.borrow().is_empty() && !self.is_closing() {
            v8::scope!(let scope, scope);
            let status = match self.write_front(scope, env) {
                Ok(true) => 0,
                Ok(false) => return self.arm(env, Interest::Writable),
                Err(errno) => errno.uv(),
            };
            let done = self.writes.borrow_mut().pop_front();
            if let Some(done) = done {
                done.request.complete(scope, env, &self.base, status);
            }
            if env.is_ending() {
                return;
            }
        }
        self.end_if_asked(scope, env);
    }

    /// Ends the writable side when that was asked for and nothing waits to be written.
    fn end_if_asked(self: &Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if !self.writes.borrow().is_empty() || self.ended.get() {
            return;
        }
        if self.shutdown.borrow().is_none() || self.connect.borrow().is_some() {
            return;
        }
        self.ended.set(true);
        let status = match (self.open_fd(env), env.kernel(), env.process()) {
            (Ok(fd), Ok(kernel), Ok(process)) => {
                kernel.shutdown(&process, fd).map_or_else(Errno::uv, |()| 0)
            }
            _ => Errno::ENOTCONN.uv(),
        };
        let stream = self.clone();
        env.event_loop.complete(Box::new(move |scope, env| {
            let request = stream.shutdown.borrow_mut().take();
            if let Some(request) = request {
                request.complete(scope, env, &stream.base, status);
            }
        }));
    }

    // ---- connecting and accepting ----------------------------------------------------------------------------------

    /// Follows a `connect` to its end; `started` is what the kernel said to it, `target` what traces tell of it.
    pub fn follow_connect(
        self: &Rc<Self>,
        env: &Rc<Env>,
        request: Request,
        started: Result<Connect, Errno>,
        target: &serde_json::Value,
    ) {
        if env.traces() {
            env.trace_connect('b', request.async_id(), target);
        }
        self.connect.replace(Some(request));
        match started {
            Ok(Connect::Pending) => self.arm(env, Interest::Writable),
            Ok(Connect::Done) => self.finish_connect(env, 0),
            Err(errno) => self.finish_connect(env, errno.uv()),
        }
    }

    fn finish_connect(self: &Rc<Self>, env: &Rc<Env>, status: i32) {
        let stream = self.clone();
        env.event_loop.complete(Box::new(move |scope, env| {
            stream.tell_connected(scope, env, status);
        }));
    }

    /// `oncomplete(status, handle, req, readable, writable)`
    fn tell_connected(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        status: i32,
    ) {
        let Some(request) = self.connect.borrow_mut().take() else {
            return;
        };
        // Once it is being closed, what the kernel said before no longer counts.
        let status = if self.is_closing() {
            Errno::ECANCELED.uv()
        } else {
            status
        };
        let undefined = v8::undefined(scope).into();
        let object = self
            .base
            .resource()
            .and_then(|resource| resource.object(scope))
            .map_or(undefined, Into::into);
        if env.traces() {
            let told = serde_json::json!({ "status": status });
            env.trace_connect('e', request.async_id(), &told);
        }
        let connected = v8::Boolean::new(scope, status == 0).into();
        let status = v8::Integer::new(scope, status).into();
        let request_object = request.object(scope).into();
        let args = [status, object, request_object, connected, connected];
        request.complete(scope, env, &args);
        if !env.is_ending() {
            self.flush(scope, env);
        }
    }

    /// A pending `connect` may have an outcome.
    fn look_at_connect(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let outcome = match (self.open_fd(env), env.kernel(), env.process()) {
            (Ok(fd), Ok(kernel), Ok(process)) => kernel.connect_outcome(&process, fd),
            _ => Err(Errno::ECANCELED),
        };
        match outcome {
            Ok(Connect::Pending) => self.arm(env, Interest::Writable),
            Ok(Connect::Done) => self.tell_connected(scope, env, 0),
            Err(errno) => self.tell_connected(scope, env, errno.uv()),
        }
    }

    /// Starts telling JavaScript of connections.
    pub fn start_listening(&self, env: &Rc<Env>) {
        self.listening.set(true);
        self.update(env);
        self.arm(env, Interest::Readable);
    }

    /// `onconnection(status, client)` for each connection that waits.
    fn accept_all(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        while self.listening.get() && !self.is_closing() && !env.is_ending() {
            v8::scope!(let scope, scope);
            let Ok(fd) = self.open_fd(env) else { return };
            match kernel.accept(&process, fd) {
                Ok(client) => {
                    // The object took the descriptor, or nothing did.
                    let _ = self.tell_connection(scope, env, client);
                }
                Err(Errno::EAGAIN) => break,
                // No descriptor is left: whoever waits is sent away, so that the loop does not spin.
                Err(Errno::EMFILE | Errno::ENFILE) => {
                    if kernel.refuse(&process, fd).is_err() {
                        break;
                    }
                }
                Err(errno) => {
                    self.tell(scope, env, errno.uv(), None);
                    break;
                }
            }
        }
        if self.listening.get() && !self.is_closing() {
            self.arm(env, Interest::Readable);
        }
    }

    fn tell_connection(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        fd: i32,
    ) -> Option<()> {
        let resource = self.base.resource()?;
        let trigger = resource.context().async_id;
        let made = env.with_trigger(scope, trigger, |scope| env.new_instance(scope, self.client));
        let client = made.ok().and_then(|object| {
            let (_, stream) = KernelStream::of(scope, object)?;
            stream.set_fd(env, fd).ok()?;
            Some(object)
        });
        if let Some(client) = client {
            self.tell(scope, env, 0, Some(client))
        } else {
            if let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) {
                // Nobody has it; it goes as it came.
                let _ = kernel.close(&process, fd);
            }
            None
        }
    }

    fn tell<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        status: i32,
        client: Option<v8::Local<'s, v8::Object>>,
    ) -> Option<()> {
        let resource = self.base.resource()?;
        let object = resource.object(scope)?;
        let status = v8::Integer::new(scope, status).into();
        let client = client.map_or_else(|| v8::undefined(scope).into(), Into::into);
        env.make_callback_named(
            scope,
            object,
            "onconnection",
            &[status, client],
            resource.context(),
        )
        .map(drop)
    }
}

impl Ready for KernelStream {
    fn ready(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, interest: Interest) {
        match interest {
            Interest::Readable => {
                self.armed_to_read.set(false);
                if self.listening.get() {
                    self.accept_all(scope, env);
                } else {
                    self.read_some(scope, env);
                }
            }
            Interest::Writable => {
                self.armed_to_write.set(false);
                if self.is_closing() {
                    return;
                }
                if self.connect.borrow().is_some() {
                    self.look_at_connect(scope, env);
                } else {
                    self.flush(scope, env);
                }
            }
        }
    }
}

impl Stream for KernelStream {
    fn base(&self) -> &StreamBase {
        &self.base
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn read_start(self: Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        if !self.has_fd() {
            return Errno::ENOTCONN.uv();
        }
        self.reading.set(true);
        self.update(env);
        self.arm(env, Interest::Readable);
        0
    }

    fn read_stop(self: Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        self.reading.set(false);
        self.update(env);
        0
    }

    fn try_write(&self, env: &Env, data: &[u8]) -> Result<usize, Errno> {
        if !self.writes.borrow().is_empty() || self.connect.borrow().is_some() {
            return Err(Errno::EAGAIN);
        }
        if self.ended.get() || self.shutdown.borrow().is_some() {
            return Err(Errno::EPIPE);
        }
        self.write_now(env, data)
    }

    fn write(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        write: Write<'_>,
    ) -> i32 {
        if !self.has_fd() {
            return Errno::EBADF.uv();
        }
        if self.writes.borrow().len() >= MAX_QUEUED_WRITES {
            return Errno::ENOBUFS.uv();
        }
        v8::scope!(let scope, scope);
        let file = match write.handle {
            Some(handle) => match file_of(scope, env, handle) {
                Ok(file) => Some(file),
                Err(errno) => return errno.uv(),
            },
            None => None,
        };
        let request = match self
            .base
            .start_write(scope, env, write.request, &write.chunks)
        {
            Ok(request) => request,
            Err(errno) => return errno.uv(),
        };
        self.writes.borrow_mut().push_back(QueuedWrite {
            request,
            chunks: write.chunks.into(),
            offset: write.offset,
            file,
        });
        if self.writes.borrow().len() == 1 && self.connect.borrow().is_none() {
            // A process may end before the loop turns; what fails now fails again then.
            let _ = self.write_front(scope, env);
        }
        self.arm(env, Interest::Writable);
        0
    }

    fn shutdown<'s>(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        request: Requester<'s>,
    ) -> i32 {
        if !self.has_fd() || self.ended.get() || self.shutdown.borrow().is_some() {
            return Errno::ENOTCONN.uv();
        }
        let request = match self.base.start_shutdown(scope, env, request) {
            Ok(request) => request,
            Err(errno) => return errno.uv(),
        };
        self.shutdown.replace(Some(request));
        self.end_if_asked(scope, env);
        0
    }

    fn fd(&self) -> i32 {
        self.fd.get().map_or(-1, |handle| handle.fd)
    }

    fn is_ipc(&self) -> bool {
        self.kind == Kind::Pipe { ipc: true }
    }
}

/// The open file behind a handle that is to be sent.
fn file_of(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    handle: v8::Local<v8::Object>,
) -> Result<Arc<OpenFile>, Errno> {
    let process = env.process().map_err(|_| Errno::ESRCH)?;
    let fd = match KernelStream::of(scope, handle) {
        Some((_, stream)) => stream.open_fd(env)?,
        None => udp_wrap::fd_of(scope, env, handle)?,
    };
    process.file(fd)
}

/// A new handle on an open file that was received.
fn handle_for<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    file: Arc<OpenFile>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let failed = |errno| Throw::system(errno, "recvmsg");
    let kind = file.handle_kind();
    let class = match kind {
        HandleKind::Tcp => "tcp_wrap.TCP",
        HandleKind::Pipe => "pipe_wrap.Pipe",
        HandleKind::Udp => "udp_wrap.UDP",
        HandleKind::File | HandleKind::Tty | HandleKind::Unknown => {
            return Err(failed(Errno::EINVAL));
        }
    };
    let (kernel, process) = (env.kernel()?, env.process()?);
    let object = env.new_instance(scope, class)?;
    let fd = kernel.adopt(&process, file).map_err(failed)?;
    let taken = match KernelStream::of(scope, object) {
        Some((_, stream)) => stream.set_fd(env, fd),
        None => udp_wrap::set_fd(scope, env, object, fd),
    };
    taken.map_err(failed)?;
    Ok(object)
}

/// `writeQueueSize`: bytes that wait.
fn write_queue_size<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let bytes = KernelStream::of(scope, args.this()).map_or(0, |(_, stream)| {
        let writes = stream.writes.borrow();
        let waiting = writes.iter().map(|write| {
            let chunks = write.chunks.iter().map(|chunk| match chunk {
                Chunk::Bytes(bytes) => bytes.len(),
                Chunk::View(view) => v8::Local::new(scope, view).byte_length(),
            });
            chunks.sum::<usize>().saturating_sub(write.offset)
        });
        waiting.sum()
    });
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Ok(v8::Integer::new_from_unsigned(scope, bytes).into())
}

/// `setBlocking(enable)`: of no use to a stream that writes at once what it can, as on Linux.
fn set_blocking<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let result = match KernelStream::of(scope, args.this()) {
        Some((_, stream)) if stream.has_fd() => 0,
        _ => Errno::EBADF.uv(),
    };
    Ok(v8::Integer::new(scope, result).into())
}

/// Closes the descriptor; whoever waits is told `ECANCELED` before the close callback runs.
fn stop(env: &Env, resource: &Resource) {
    let Some(stream) = resource
        .inner::<StreamHandle>()
        .and_then(|handle| handle.0.clone().as_any().downcast::<KernelStream>().ok())
    else {
        return;
    };
    env.disown_fd(stream.fd.get(), resource);
    if let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) {
        if let Some(path) = stream.path.take() {
            // libuv takes away the name of a pipe that it bound; it may be gone.
            let _ = kernel.unlink(&process, &path);
        }
        if let Ok(fd) = stream.open_fd(env) {
            // It was open just now.
            let _ = kernel.close(&process, fd);
        }
    }
    stream.base.clear_listeners(env);
    stream.fd.set(None);
    stream.reading.set(false);
    stream.listening.set(false);
    env.event_loop.close(Box::new(move |scope, env| {
        let canceled = Errno::ECANCELED.uv();
        stream.tell_connected(scope, env, canceled);
        let writes = stream.writes.take();
        for write in writes {
            if env.is_ending() {
                return;
            }
            write.request.complete(scope, env, &stream.base, canceled);
        }
        let shutdown = stream.shutdown.take();
        if let Some(request) = shutdown.filter(|_| !env.is_ending()) {
            request.complete(scope, env, &stream.base, canceled);
        }
    }));
}
