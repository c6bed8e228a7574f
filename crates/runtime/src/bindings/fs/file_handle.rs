//! `FileHandle`: owns a descriptor until it is closed, released or transferred, and can be read as a stream.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use secure_exec_kernel::{Errno, OpenFile};

use super::answer::{Answer, Target, constructor_call, failed};
use super::argument;
use super::resource::{Provider, Resource};
use crate::binding::{Args, Function, Ret, function};
use crate::bindings::stream_base::{
    self, READ_BYTES, ReadOutcome, Requester, Stream, StreamBase, StreamHandle, Write,
};
use crate::env::Env;
use crate::message::TransferData;
use crate::throw::Throw;

const PROVIDER: Provider = Provider {
    name: "FILEHANDLE",
    number: 4,
};
const CLOSE_PROVIDER: Provider = Provider {
    name: "FILEHANDLECLOSEREQ",
    number: 5,
};
/// When a pipe that was empty is asked again (ms).
const RETRY_MS: f64 = 10.0;

/// `FileHandle.prototype`: a stream's methods after its own.
pub static METHODS: [Function; 12] = {
    let [a, b, c, d, e, f, g, h, i, j] = stream_base::METHODS;
    let close = ("close", function!(close));
    let release_fd = ("releaseFD", function!(release_fd));
    [close, release_fd, a, b, c, d, e, f, g, h, i, j]
};

/// See the module's text.
pub struct FileHandle {
    fd: Cell<Option<i32>>,
    closing: RefCell<Option<v8::Global<v8::Promise>>>,
    env: Weak<Env>,
    base: StreamBase,
    /// Its own object, which is kept only while it is read as a stream.
    object: v8::Weak<v8::Object>,
    reading: Cell<bool>,
    in_flight: Cell<bool>,
    /// Where the next read of the stream begins; `None` is where the descriptor stands.
    offset: Cell<Option<u64>>,
    /// What is left of the range that the stream reads.
    left: Cell<Option<u64>>,
}

/// A new object for `fd`.
pub fn create<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    fd: i32,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let constructor = env.function(scope, "fs.FileHandle").ok_or(Throw::Pending)?;
    let fd = v8::Integer::new(scope, fd).into();
    constructor.new_instance(scope, &[fd]).ok_or(Throw::Pending)
}

/// `new FileHandle(fd, offset, length)`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("FileHandle"));
    }
    let fd = argument::fd(scope, args.get(0))?;
    let env = Env::of(scope);
    let handle = Rc::new(FileHandle {
        fd: Cell::new(Some(fd)),
        closing: RefCell::default(),
        env: Rc::downgrade(&env),
        base: StreamBase::default(),
        object: v8::Weak::new(scope, args.this()),
        reading: Cell::default(),
        in_flight: Cell::default(),
        offset: Cell::new(argument::position(args.get(1))),
        left: Cell::new(argument::position(args.get(2))),
    });
    let stream = Rc::new(StreamHandle(handle.clone()));
    let stop = |_: &Env, _: &Resource| {};
    let resource = Resource::wrap_handle(scope, &env, args.this(), PROVIDER, stop, stream);
    handle.base.attach_weak(scope, &resource, args.this());
    Ok(v8::undefined(scope).into())
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<FileHandle>, Throw> {
    Resource::of(scope, args.this())
        .and_then(|resource| FileHandle::of(&resource))
        .ok_or_else(|| {
            Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
        })
}

/// `fileHandle.close()`
pub fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    if let Some(promise) = &*handle.closing.borrow() {
        return Ok(v8::Local::new(scope, promise).into());
    }
    let env = Env::of(scope);
    let outcome = handle.close_now(&env);
    let (target, promise) = Target::promise(scope, &env, CLOSE_PROVIDER, "fs.FileHandleCloseReq")?;
    if let Ok(promise) = v8::Local::<v8::Promise>::try_from(promise) {
        handle
            .closing
            .replace(Some(v8::Global::new(scope, promise)));
    }
    target.settle_later(
        &env,
        outcome.map(|()| Answer::Undefined).map_err(failed("close")),
    );
    Ok(promise)
}

/// `fileHandle.releaseFD()`
pub fn release_fd<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let fd = handle.fd.take().unwrap_or(-1);
    Ok(v8::Integer::new(scope, fd).into())
}

impl FileHandle {
    /// The file handle behind a resource.
    pub fn of(resource: &Resource) -> Option<Rc<Self>> {
        let stream = resource.inner::<StreamHandle>()?.0.clone();
        stream.as_any().downcast().ok()
    }

    fn close_now(&self, env: &Env) -> Result<(), Errno> {
        self.reading.set(false);
        self.base.clear_listeners(env);
        let fd = self.fd.take().ok_or(Errno::EBADF)?;
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return Err(Errno::EINTR);
        };
        kernel.close(&process, fd)
    }

    /// Reads the stream's next piece in the loop's next turn.
    fn schedule(self: Rc<Self>, env: &Rc<Env>, object: v8::Global<v8::Object>) {
        self.in_flight.set(true);
        env.event_loop
            .complete(Box::new(move |scope, env| self.step(scope, env, object)));
    }

    fn step(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        object: v8::Global<v8::Object>,
    ) {
        self.in_flight.set(false);
        let Some(resource) = self.base.resource().filter(|_| self.reading.get()) else {
            return;
        };
        {
            let object = v8::Local::new(scope, &object);
            resource.hold(scope, object);
        }
        let stream: Rc<dyn Stream> = self.clone();
        let room = self.left.get().map_or(READ_BYTES, |left| {
            usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES)
        });
        let outcome = self.base.read_from(scope, env, &stream, room, |bytes| {
            let room = bytes.len().min(room);
            self.read(env, bytes.get_mut(..room).unwrap_or_default())
        });
        match outcome {
            ReadOutcome::Bytes(_) if self.reading.get() && !self.in_flight.get() => {
                self.schedule(env, object);
            }
            ReadOutcome::Bytes(_) => {}
            ReadOutcome::Nothing => {
                self.in_flight.set(true);
                let alive = env.keep_alive();
                env.event_loop.after_unref(
                    env.loop_now() + RETRY_MS,
                    Box::new(move |scope, env| {
                        drop(alive);
                        self.step(scope, env, object);
                    }),
                );
            }
            ReadOutcome::Failed(errno) => {
                self.reading.set(false);
                self.base.emit_error(scope, env, &stream, errno);
            }
        }
        resource.let_go();
    }

    fn read(&self, env: &Env, bytes: &mut [u8]) -> Result<usize, Errno> {
        let fd = self.fd.get().ok_or(Errno::EBADF)?;
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return Err(Errno::EINTR);
        };
        let count = kernel.read(&process, fd, bytes, self.offset.get())?;
        let after = |at: u64| at.saturating_add(count as u64);
        self.offset.set(self.offset.get().map(after));
        let rest = |left: u64| left.saturating_sub(count as u64);
        self.left.set(self.left.get().map(rest));
        Ok(count)
    }

    /// Whether it owns a descriptor that can move to another process.
    pub fn is_open(&self) -> bool {
        self.fd.get().is_some()
    }

    /// Takes the open file for a message.
    pub fn detach(&self) -> Option<Transfer> {
        let env = self.env.upgrade()?;
        let (kernel, process) = (env.kernel().ok()?, env.process().ok()?);
        let fd = self.fd.take()?;
        let file = process.file(fd).ok()?;
        kernel.close(&process, fd).ok()?;
        Some(Transfer(file))
    }
}

impl Stream for FileHandle {
    fn base(&self) -> &StreamBase {
        &self.base
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn read_start(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        if self.fd.get().is_none() {
            return Errno::EOF.uv();
        }
        self.reading.set(true);
        if !self.in_flight.get()
            && let Some(object) = self.object.to_global(scope)
        {
            self.schedule(env, object);
        }
        0
    }

    fn read_stop(self: Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, _env: &Rc<Env>) -> i32 {
        self.reading.set(false);
        0
    }

    /// As in Node, a handle is written by its descriptor only.
    fn try_write(&self, _env: &Env, _data: &[u8]) -> Result<usize, Errno> {
        Err(Errno::ENOSYS)
    }

    fn write(
        self: Rc<Self>,
        _scope: &mut v8::PinScope<'_, '_>,
        _env: &Rc<Env>,
        _write: Write<'_>,
    ) -> i32 {
        Errno::ENOSYS.uv()
    }

    /// Closes the descriptor.
    fn shutdown<'s>(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        request: Requester<'s>,
    ) -> i32 {
        let request = match self.base.start_shutdown(scope, env, request) {
            Ok(request) => request,
            Err(errno) => return errno.uv(),
        };
        let status = self.close_now(env).map_or_else(Errno::uv, |()| 0);
        env.event_loop.complete(Box::new(move |scope, env| {
            request.complete(scope, env, &self.base, status);
        }));
        0
    }

    fn fd(&self) -> i32 {
        self.fd.get().unwrap_or(-1)
    }
}

impl Drop for FileHandle {
    /// The object was collected while open: the descriptor is closed, with a warning.
    fn drop(&mut self) {
        let (Some(fd), Some(env)) = (self.fd.take(), self.env.upgrade()) else {
            return;
        };
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return;
        };
        let closed = kernel.close(&process, fd);
        if env.is_ending() {
            return;
        }
        env.event_loop
            .complete_unref(Box::new(move |scope, env| warn(scope, env, fd, closed)));
    }
}

fn warn(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, fd: i32, closed: Result<(), Errno>) {
    #[derive(Default)]
    struct Deprecated(Cell<bool>);
    const TEXT: &str = "Closing a FileHandle object on garbage collection is deprecated. Please close FileHandle \
                        objects explicitly using FileHandle.prototype.close(). In the future, an error will be \
                        thrown if a file descriptor is closed during garbage collection.";
    if let Err(errno) = closed {
        let text = format!("Closing file descriptor {fd} on garbage collection failed");
        let error = crate::throw::SystemError {
            errno,
            syscall: "close",
            path: None,
            dest: None,
            message: Some(text),
            reason: None,
        };
        let error = error.into_value(scope);
        env.trigger_uncaught_exception(scope, error, None, false);
        return;
    }
    super::emit_warning(
        scope,
        env,
        &[&format!(
            "Closing file descriptor {fd} on garbage collection"
        )],
    );
    if !env.extension::<Deprecated>().0.replace(true) {
        super::emit_warning(scope, env, &[TEXT, "DeprecationWarning", "DEP0137"]);
    }
}

/// An open file on its way to another object; closed if it never arrives.
pub struct Transfer(Arc<OpenFile>);

impl TransferData for Transfer {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let created = receive(scope, env, self.0);
        created.map_err(|throw| throw.throw(scope)).ok()
    }
}

fn receive<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    file: Arc<OpenFile>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let fd = env
        .kernel()?
        .adopt(&*env.process()?, file)
        .map_err(|errno| Throw::system(errno, "open"))?;
    create(scope, env, fd)
}
