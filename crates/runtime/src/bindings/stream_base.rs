//! What all streams of the library have in common: `readStart`, `writeUtf8String`, `onread`, ...
//! Sources: `src/stream_base.cc`, `src/stream_base.h`.
//!
//! ```text
//!   JavaScript --write*, shutdown--> Stream (a socket, a pipe, a stream of JavaScript's)
//!   JavaScript <--onread-- top of the stack of listeners <--bytes-- Stream
//! ```
//! A listener, such as an HTTP parser, takes the bytes before JavaScript sees them. Rust writes to a stream by
//! [`write_bytes`] and ends it by [`end`].

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use secure_exec_kernel::Errno;

use crate::array_buffer::{self, Contents};
use crate::binding::{Args, Callback, Function, Ret, function};
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::request::{self, Request};
use crate::env::Env;
use crate::memory::NativeCharge;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// The internal field that holds the function that is called for what was read.
const ON_READ: usize = 1;
/// Internal fields of a stream beside the object table's.
pub const EXTRA_FIELDS: usize = 1;
/// The most that one read takes.
pub const READ_BYTES: usize = 64 << 10;
/// Writes of one stream that wait, beyond which the guest has lost its mind.
pub const MAX_QUEUED_WRITES: usize = 1 << 20;
/// Strings up to this length are written without memory of their own.
const SMALL_STRING: usize = 16 << 10;
/// The longest string that is written, as libuv's buffers have it.
const MAX_STRING: usize = i32::MAX as usize;

const SHUTDOWN_PROVIDER: Provider = Provider {
    name: "SHUTDOWNWRAP",
    number: 34,
};
const WRITE_PROVIDER: Provider = Provider {
    name: "WRITEWRAP",
    number: 50,
};

/// Indexes of `stream_wrap.streamBaseState`.
mod state_field {
    pub const READ_BYTES_OR_ERROR: usize = 0;
    pub const ARRAY_BUFFER_OFFSET: usize = 1;
    pub const BYTES_WRITTEN: usize = 2;
    pub const LAST_WRITE_WAS_ASYNC: usize = 3;
}

/// Takes what a stream reads before JavaScript does.
pub trait StreamListener {
    /// Bytes, or the error or end ([`Errno::EOF`]) that the stream met.
    fn on_read(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        data: Result<Rc<[u8]>, Errno>,
    );

    /// The most that it takes in one call.
    fn room(&self) -> usize {
        READ_BYTES
    }

    /// The stream, which says so ([`Stream::asks_for_writes`]), would take about so many bytes now.
    fn on_wants_write(
        &self,
        _scope: &mut v8::PinScope<'_, '_>,
        _env: &Rc<Env>,
        _stream: &Rc<dyn Stream>,
        _size: usize,
    ) {
    }

    /// The stream is gone. No JavaScript may run from here.
    fn on_destroy(&self, _env: &Env) {}
}

/// Runs when a write or a shutdown that Rust asked for is done, with 0 or libuv's error.
pub type OnDone = Box<dyn FnOnce(&mut v8::PinScope<'_, '_>, &Rc<Env>, i32)>;

/// Who asked for a write or a shutdown.
pub enum Requester<'s> {
    /// JavaScript, with a request object that [`request::unused`] answered.
    Object(v8::Local<'s, v8::Object>),
    /// Rust.
    Rust(OnDone),
}

/// A write or a shutdown in flight.
pub struct Pending {
    request: Request,
    on_done: Option<OnDone>,
    /// For bytes that only the write holds.
    charge: Option<NativeCharge>,
}

impl Pending {
    /// Tells whoever asked; `stream` is where it was asked for.
    pub fn complete(
        self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &StreamBase,
        status: i32,
    ) {
        if let Some(on_done) = self.on_done {
            self.request.finish(scope, env);
            return on_done(scope, env, status);
        }
        let undefined = v8::undefined(scope).into();
        let object = stream.object(scope).map_or(undefined, Into::into);
        let status = v8::Integer::new(scope, status).into();
        self.request
            .complete(scope, env, &[status, object, undefined]);
    }

    /// The request's object.
    pub fn object<'s>(&self, scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Object> {
        self.request.object(scope)
    }

    /// Lets the process end although this is not done: only the guest can bring it about.
    pub fn unref(&mut self) {
        self.request.unref();
    }
}

/// One piece of a write.
pub enum Chunk {
    /// Bytes of our own.
    Bytes(Vec<u8>),
    /// A view of the guest's, read when it is written.
    View(v8::Global<v8::ArrayBufferView>),
}

/// A write that was not done at once.
pub struct Write<'s> {
    /// Whom to tell.
    pub request: Requester<'s>,
    /// What is to be written.
    pub chunks: Vec<Chunk>,
    /// How much of the first chunk was written.
    pub offset: usize,
    /// A handle that goes with it, over an IPC pipe.
    pub handle: Option<v8::Local<'s, v8::Object>>,
}

/// What a kind of stream does. Numbers are 0 or libuv's errors.
pub trait Stream: Any {
    /// Its common part.
    fn base(&self) -> &StreamBase;
    /// Itself, for whoever knows the kind.
    fn as_any(self: Rc<Self>) -> Rc<dyn Any>;
    /// Starts reading.
    fn read_start(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32;
    /// Stops reading.
    fn read_stop(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32;
    /// Writes what can be written now. `EAGAIN`: nothing.
    fn try_write(&self, env: &Env, data: &[u8]) -> Result<usize, Errno>;
    /// Writes later; completes the request when that is done.
    fn write(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        write: Write<'_>,
    ) -> i32;
    /// Ends the writable side after all writes; completes the request then.
    fn shutdown<'s>(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        request: Requester<'s>,
    ) -> i32;
    /// Its descriptor, or a negative number.
    fn fd(&self) -> i32;
    /// Whether handles can go over it.
    fn is_ipc(&self) -> bool {
        false
    }
    /// Whether it tells its listeners when it would take more ([`StreamBase::ask_for_write`]). Others take what there
    /// is.
    fn asks_for_writes(&self) -> bool {
        false
    }
    /// Whether it is being closed.
    fn is_going(self: Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, _env: &Rc<Env>) -> bool {
        self.base()
            .resource()
            .is_none_or(|resource| resource.is_closing())
    }
}

/// What is behind the object of a stream.
pub struct StreamHandle(pub Rc<dyn Stream>);

/// The common part of a stream.
#[derive(Default)]
pub struct StreamBase {
    resource: RefCell<Weak<Resource>>,
    /// The object, where the resource does not hold it.
    own: RefCell<Option<v8::Weak<v8::Object>>>,
    listeners: RefCell<Vec<Rc<dyn StreamListener>>>,
    /// The guest's own buffer to read into.
    user_buffer: RefCell<Option<v8::Global<v8::ArrayBufferView>>>,
    bytes_read: Cell<u64>,
    bytes_written: Cell<u64>,
}

/// What a read found.
pub enum ReadOutcome {
    /// So many bytes were read and told.
    Bytes(usize),
    /// Nothing is there yet.
    Nothing,
    /// The end or an error; the stream tells it by [`StreamBase::emit_error`].
    Failed(Errno),
}

impl StreamBase {
    /// Binds it to its resource.
    pub fn attach(&self, resource: &Rc<Resource>) {
        self.resource.replace(Rc::downgrade(resource));
    }

    /// Binds it to the resource of an object that only JavaScript keeps.
    pub fn attach_weak(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        resource: &Rc<Resource>,
        object: v8::Local<v8::Object>,
    ) {
        self.attach(resource);
        self.own.replace(Some(v8::Weak::new(scope, object)));
    }

    /// The stream's object, while it lives.
    pub fn object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let held = self.resource().and_then(|resource| resource.object(scope));
        held.or_else(|| self.own.borrow().as_ref()?.to_local(scope))
    }

    /// Takes a write of `chunks` that is not done at once. Their bytes count until it is.
    pub fn start_write<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        requester: Requester<'s>,
        chunks: &[Chunk],
    ) -> Result<Pending, Errno> {
        let held = chunks.iter().map(|chunk| match chunk {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::View(_) => 0,
        });
        let charge = env
            .memory_account()
            .map(|budget| budget.charge_native(held.sum()))
            .transpose()
            .map_err(|_| Errno::ENOMEM)?;
        let mut pending = self.start(
            scope,
            env,
            requester,
            WRITE_PROVIDER,
            "stream_wrap.WriteWrap",
        )?;
        pending.charge = charge;
        Ok(pending)
    }

    /// Takes a shutdown.
    pub fn start_shutdown<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        requester: Requester<'s>,
    ) -> Result<Pending, Errno> {
        self.start(
            scope,
            env,
            requester,
            SHUTDOWN_PROVIDER,
            "stream_wrap.ShutdownWrap",
        )
    }

    fn start<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        requester: Requester<'s>,
        provider: Provider,
        class: &'static str,
    ) -> Result<Pending, Errno> {
        let trigger = self.resource().map(|resource| resource.context().async_id);
        let (object, on_done) = match requester {
            Requester::Object(object) => (object, None),
            Requester::Rust(on_done) => {
                let object = env.new_instance(scope, class).map_err(|_| Errno::ENOMEM)?;
                (object, Some(on_done))
            }
        };
        Ok(Pending {
            charge: None,
            request: Request::start(scope, env, object, provider, trigger),
            on_done,
        })
    }

    /// The resource, while it lives.
    pub fn resource(&self) -> Option<Rc<Resource>> {
        self.resource.borrow().upgrade()
    }

    /// The same, for those who do not keep it.
    pub fn weak_resource(&self) -> Weak<Resource> {
        self.resource.borrow().clone()
    }

    /// Puts a listener before JavaScript and all earlier listeners.
    pub fn push_listener(&self, listener: Rc<dyn StreamListener>) {
        self.listeners.borrow_mut().push(listener);
    }

    /// Takes a listener away.
    pub fn remove_listener(&self, listener: &Rc<dyn StreamListener>) {
        self.listeners
            .borrow_mut()
            .retain(|known| !Rc::ptr_eq(known, listener));
    }

    /// Forgets all listeners: the stream is gone.
    pub fn clear_listeners(&self, env: &Env) {
        let listeners = self.listeners.take();
        for listener in listeners.iter().rev() {
            listener.on_destroy(env);
        }
    }

    fn listener(&self) -> Option<Rc<dyn StreamListener>> {
        self.listeners.borrow().last().cloned()
    }

    /// The listener that `above` stands before; `None` is JavaScript.
    fn listener_below(&self, above: &Rc<dyn StreamListener>) -> Option<Rc<dyn StreamListener>> {
        let listeners = self.listeners.borrow();
        let at = listeners
            .iter()
            .position(|known| Rc::ptr_eq(known, above))?;
        listeners.get(at.checked_sub(1)?).cloned()
    }

    /// Tells listeners that the stream would take about `size` bytes now.
    pub fn ask_for_write(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        size: usize,
    ) {
        if let Some(listener) = self.listener() {
            listener.on_wants_write(scope, env, stream, size);
        }
    }

    /// Bytes that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// Counts what was written.
    pub fn wrote(&self, bytes: usize) {
        self.bytes_written
            .set(self.bytes_written.get().saturating_add(bytes as u64));
    }

    fn count_read(&self, bytes: usize) {
        self.bytes_read
            .set(self.bytes_read.get().saturating_add(bytes as u64));
    }

    /// Reads up to `available` bytes with `read` and hands them on.
    pub fn read_from(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        available: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> ReadOutcome {
        let read = |bytes: &mut [u8]| read(bytes).inspect(|count| self.count_read(*count));
        self.hand_on(scope, env, stream, available, read, self.listener())
    }

    fn hand_on(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        available: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
        listener: Option<Rc<dyn StreamListener>>,
    ) -> ReadOutcome {
        if let Some(listener) = listener {
            let room = listener.room().clamp(1, READ_BYTES);
            let (outcome, bytes) = env.with_scratch(READ_BYTES, |scratch| {
                let outcome = ReadOutcome::of(read(scratch.get_mut(..room).unwrap_or_default()));
                let n = match outcome {
                    ReadOutcome::Bytes(n) => n,
                    _ => 0,
                };
                (
                    outcome,
                    Rc::<[u8]>::from(scratch.get(..n).unwrap_or_default()),
                )
            });
            if let ReadOutcome::Bytes(_) = outcome {
                listener.on_read(scope, env, stream, Ok(bytes));
            }
            return outcome;
        }
        let user_buffer = self.user_buffer.borrow().clone();
        if let Some(user_buffer) = user_buffer {
            let view = v8::Local::new(scope, user_buffer);
            let outcome = ReadOutcome::of(read(array_buffer::writable(scope, view)));
            if let ReadOutcome::Bytes(n) = outcome {
                self.emit_to_user_buffer(scope, env, n);
            }
            return outcome;
        }
        let Ok(buffer) = array_buffer::new_array_buffer(scope, available.clamp(1, READ_BYTES))
        else {
            return ReadOutcome::Failed(Errno::ENOBUFS);
        };
        let length = buffer.byte_length();
        let outcome = match buffer.data() {
            Some(data) => {
                // SAFETY: the buffer is new, nothing else knows it, and no JavaScript runs until `read` returns.
                let bytes =
                    unsafe { std::slice::from_raw_parts_mut(data.as_ptr().cast::<u8>(), length) };
                ReadOutcome::of(read(bytes))
            }
            None => ReadOutcome::Failed(Errno::ENOBUFS),
        };
        if let ReadOutcome::Bytes(n) = outcome {
            self.call_on_read(scope, env, signed(n), buffer.into());
        }
        outcome
    }

    /// Hands on bytes that are there already.
    pub fn emit_bytes(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        bytes: &[u8],
    ) {
        self.count_read(bytes.len());
        self.hand_bytes_on(scope, env, stream, bytes, Self::listener);
    }

    fn hand_bytes_on(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        mut bytes: &[u8],
        listener: impl Fn(&Self) -> Option<Rc<dyn StreamListener>>,
    ) {
        while !bytes.is_empty() && !env.is_ending() {
            v8::scope!(let scope, scope);
            let available = bytes.len();
            let copy = |target: &mut [u8]| {
                let n = target.len().min(bytes.len());
                let (head, rest) = bytes.split_at(n);
                if let Some(target) = target.get_mut(..n) {
                    target.copy_from_slice(head);
                }
                bytes = rest;
                Ok(n)
            };
            let outcome = self.hand_on(scope, env, stream, available, copy, listener(self));
            if !matches!(outcome, ReadOutcome::Bytes(_)) {
                return;
            }
        }
    }

    /// Tells the end ([`Errno::EOF`]) or an error.
    pub fn emit_error(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        errno: Errno,
    ) {
        self.tell_error(scope, env, stream, errno, self.listener());
    }

    /// For a listener that leaves what it was told to whoever stands behind it.
    pub fn pass_on(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        data: Result<Rc<[u8]>, Errno>,
        from: &Rc<dyn StreamListener>,
    ) {
        match data {
            Ok(bytes) => {
                self.hand_bytes_on(scope, env, stream, &bytes, |base| base.listener_below(from));
            }
            Err(errno) => self.tell_error(scope, env, stream, errno, self.listener_below(from)),
        }
    }

    fn tell_error(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        errno: Errno,
        listener: Option<Rc<dyn StreamListener>>,
    ) {
        if let Some(listener) = listener {
            listener.on_read(scope, env, stream, Err(errno));
        } else {
            let undefined = v8::undefined(scope).into();
            self.call_on_read(scope, env, errno.uv(), undefined);
        }
    }

    /// Calls JavaScript's `onread` for bytes in an array buffer, or for an error. For listeners that pass on.
    pub fn call_on_read<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        count: i32,
        buffer: v8::Local<'s, v8::Value>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let resource = self.resource()?;
        let object = self.object(scope)?;
        let function = object
            .get_internal_field(scope, ON_READ)
            .and_then(|field| v8::Local::<v8::Function>::try_from(field).ok())?;
        if let Some(state) = env.buffer(scope, "stream_wrap.streamBaseState") {
            state.set(state_field::READ_BYTES_OR_ERROR, count);
            state.set(state_field::ARRAY_BUFFER_OFFSET, 0_i32);
        }
        env.make_callback(scope, object, function, &[buffer], resource.context())
    }

    /// After a read into the guest's own buffer; the callback may answer the next buffer.
    fn emit_to_user_buffer(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, n: usize) {
        let undefined = v8::undefined(scope).into();
        let next = self
            .call_on_read(scope, env, signed(n), undefined)
            .and_then(|next| v8::Local::<v8::ArrayBufferView>::try_from(next).ok());
        if let Some(next) = next {
            self.user_buffer.replace(Some(v8::Global::new(scope, next)));
        }
    }

    fn set_write_result(scope: &mut v8::PinScope<'_, '_>, env: &Env, bytes: usize, later: bool) {
        if let Some(state) = env.buffer(scope, "stream_wrap.streamBaseState") {
            state.set(state_field::BYTES_WRITTEN, signed(bytes));
            state.set(state_field::LAST_WRITE_WAS_ASYNC, i32::from(later));
        }
    }
}

impl ReadOutcome {
    /// What a read answered.
    pub fn of(read: Result<usize, Errno>) -> Self {
        match read {
            Ok(0) => Self::Failed(Errno::EOF),
            Ok(n) => Self::Bytes(n),
            Err(Errno::EAGAIN) => Self::Nothing,
            Err(errno) => Self::Failed(errno),
        }
    }
}

fn signed(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Memory that is used for one call and kept for the next.
#[derive(Default)]
struct Scratch(Cell<Vec<u8>>);

impl Env {
    /// Runs `body` with `length` bytes of memory.
    pub fn with_scratch<T>(&self, length: usize, body: impl FnOnce(&mut [u8]) -> T) -> T {
        let kept = self.extension::<Scratch>();
        let mut memory = kept.0.take();
        if memory.len() < length {
            memory.resize(length, 0);
        }
        let result = body(memory.get_mut(..length).unwrap_or_default());
        kept.0.set(memory);
        result
    }
}

// ---- for Rust ------------------------------------------------------------------------------------------------------

/// Writes bytes. Answers whether that is done; if not, `on_done` is called when it is.
pub fn write_bytes(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    stream: &Rc<dyn Stream>,
    bytes: Vec<u8>,
    on_done: OnDone,
) -> Result<bool, Errno> {
    v8::scope!(let scope, scope);
    let length = bytes.len();
    let written = match stream.try_write(env, &bytes) {
        Err(Errno::EAGAIN) => 0,
        other => other?,
    };
    stream.base().wrote(length);
    if written == length {
        return Ok(true);
    }
    let write = Write {
        request: Requester::Rust(on_done),
        chunks: vec![Chunk::Bytes(bytes)],
        offset: written,
        handle: None,
    };
    match stream.clone().write(scope, env, write) {
        0 => Ok(false),
        error => Err(Errno::from_uv(error)),
    }
}

/// Ends the writable side after all writes; `on_done` is called when it has ended, unless this fails.
pub fn end(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    stream: &Rc<dyn Stream>,
    on_done: OnDone,
) -> Result<(), Errno> {
    v8::scope!(let scope, scope);
    match stream
        .clone()
        .shutdown(scope, env, Requester::Rust(on_done))
    {
        0 => Ok(()),
        error => Err(Errno::from_uv(error)),
    }
}

// ---- methods -------------------------------------------------------------------------------------------------------

/// Methods of every stream class.
pub static METHODS: [Function; 10] = [
    ("readStart", function!(read_start)),
    ("readStop", function!(read_stop)),
    ("shutdown", function!(shutdown)),
    ("useUserBuffer", function!(use_user_buffer)),
    ("writev", function!(writev)),
    ("writeBuffer", function!(write_buffer)),
    ("writeAsciiString", function!(write_latin1)),
    ("writeUtf8String", function!(write_utf8)),
    ("writeUcs2String", function!(write_ucs2)),
    ("writeLatin1String", function!(write_latin1)),
];

/// Accessors of every stream class.
pub static ACCESSORS: [(&str, Callback, Option<Callback>); 6] = [
    ("fd", function!(get_fd), None),
    ("_externalStream", function!(get_external), None),
    ("bytesRead", function!(get_bytes_read), None),
    ("bytesWritten", function!(get_bytes_written), None),
    ("isStreamBase", function!(is_stream_base), None),
    (
        "onread",
        function!(get_on_read),
        Some(function!(set_on_read)),
    ),
];

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, number: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, number).into())
}

/// The stream behind an object.
pub fn stream_of(
    scope: &mut v8::PinScope<'_, '_>,
    object: v8::Local<v8::Object>,
) -> Option<(Rc<Resource>, Rc<dyn Stream>)> {
    let resource = Resource::of(scope, object)?;
    let stream = resource.inner::<StreamHandle>()?.0.clone();
    Some((resource, stream))
}

/// Runs a method on the receiver's stream unless that is closed.
fn on_stream<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    method: impl FnOnce(&mut v8::PinScope<'s, '_>, &Rc<Env>, Rc<dyn Stream>) -> Result<i32, Throw>,
) -> Ret<'s> {
    let Some((resource, stream)) = stream_of(scope, args.this()) else {
        return Ok(v8::undefined(scope).into());
    };
    if resource.is_closing() {
        return number(scope, Errno::EINVAL.uv());
    }
    let env = Env::of(scope);
    let result = method(scope, &env, stream)?;
    number(scope, result)
}

fn read_start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    on_stream(scope, args, |scope, env, stream| {
        Ok(stream.read_start(scope, env))
    })
}

fn read_stop<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    on_stream(scope, args, |scope, env, stream| {
        Ok(stream.read_stop(scope, env))
    })
}

/// `shutdown(req)`
fn shutdown<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    on_stream(scope, args, |scope, env, stream| {
        let request = request::unused(scope, args.get(0))?;
        Ok(stream.shutdown(scope, env, Requester::Object(request)))
    })
}

/// `useUserBuffer(buffer)`
fn use_user_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    on_stream(scope, args, |scope, _, stream| {
        let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0))
            .map_err(|_| not_a_buffer("First"))?;
        stream
            .base()
            .user_buffer
            .replace(Some(v8::Global::new(scope, view)));
        Ok(0)
    })
}

fn not_a_buffer(which: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("{which} argument must be a buffer"),
    )
}

/// Writes what can be written now, the rest later.
fn write<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    stream: Rc<dyn Stream>,
    request: v8::Local<'s, v8::Object>,
    mut chunks: Vec<Chunk>,
    handle: Option<v8::Local<'s, v8::Object>>,
) -> i32 {
    let mut bytes = 0;
    for chunk in &chunks {
        bytes += match chunk {
            Chunk::Bytes(chunk) => chunk.len(),
            Chunk::View(view) => v8::Local::new(scope, view).byte_length(),
        };
    }
    stream.base().wrote(bytes);
    let mut done = 0;
    let mut offset = 0;
    if handle.is_none() {
        for chunk in &chunks {
            let (length, written) = match chunk {
                Chunk::Bytes(chunk) => (chunk.len(), stream.try_write(env, chunk)),
                Chunk::View(view) => {
                    let view = v8::Local::new(scope, view);
                    let mut contents = Contents::default();
                    let bytes = contents.of(scope, view);
                    (bytes.len(), stream.try_write(env, bytes))
                }
            };
            match written {
                Ok(n) if n == length => done += 1,
                Ok(n) => {
                    offset = n;
                    break;
                }
                Err(Errno::EAGAIN) => break,
                Err(errno) => {
                    StreamBase::set_write_result(scope, env, bytes, false);
                    return errno.uv();
                }
            }
        }
    }
    let later = done < chunks.len() || handle.is_some();
    let mut result = 0;
    if later {
        chunks.drain(..done);
        let write = Write {
            request: Requester::Object(request),
            chunks,
            offset,
            handle,
        };
        result = stream.write(scope, env, write);
    }
    StreamBase::set_write_result(scope, env, bytes, later && result == 0);
    result
}

/// The handle that goes with a write, if the stream can carry one.
fn handle_argument<'s>(
    stream: &Rc<dyn Stream>,
    value: v8::Local<'s, v8::Value>,
) -> Option<v8::Local<'s, v8::Object>> {
    v8::Local::<v8::Object>::try_from(value)
        .ok()
        .filter(|_| stream.is_ipc())
}

/// `writeBuffer(req, buffer[, handle])`
fn write_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    on_stream(scope, args, |scope, env, stream| {
        let request = request::unused(scope, args.get(0))?;
        let view = v8::Local::<v8::Uint8Array>::try_from(args.get(1))
            .map_err(|_| not_a_buffer("Second"))?;
        let view: v8::Local<v8::ArrayBufferView> = view.into();
        let handle = handle_argument(&stream, args.get(2));
        if handle.is_none() {
            let mut contents = Contents::default();
            let bytes = contents.of(scope, view);
            let length = bytes.len();
            match stream.try_write(env, bytes) {
                Ok(written) if written == length => {
                    stream.base().wrote(length);
                    StreamBase::set_write_result(scope, env, length, false);
                    return Ok(0);
                }
                Ok(written) => {
                    let chunk = Chunk::View(v8::Global::new(scope, view));
                    return Ok(write_rest(
                        scope, env, stream, request, chunk, written, length,
                    ));
                }
                Err(_) => {}
            }
        }
        let chunk = Chunk::View(v8::Global::new(scope, view));
        Ok(write(scope, env, stream, request, vec![chunk], handle))
    })
}

/// Writes the rest of one chunk, of which a part was written at once.
fn write_rest<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    stream: Rc<dyn Stream>,
    request: v8::Local<'s, v8::Object>,
    chunk: Chunk,
    offset: usize,
    bytes: usize,
) -> i32 {
    let write = Write {
        request: Requester::Object(request),
        chunks: vec![chunk],
        offset,
        handle: None,
    };
    stream.base().wrote(bytes);
    let result = stream.write(scope, env, write);
    StreamBase::set_write_result(scope, env, bytes, result == 0);
    result
}

fn write_latin1<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_string(scope, args, Encoding::Latin1)
}

fn write_utf8<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_string(scope, args, Encoding::Utf8)
}

fn write_ucs2<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    write_string(scope, args, Encoding::Ucs2)
}

/// How much room `string` needs at most.
fn room_for(string: v8::Local<v8::String>, encoding: Encoding) -> usize {
    let length = string.length();
    match encoding {
        Encoding::Latin1 | Encoding::Ascii => length,
        Encoding::Ucs2 => length.saturating_mul(2),
        _ => length.saturating_mul(3),
    }
}

/// `write<Encoding>String(req, string[, handle])`
fn write_string<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    encoding: Encoding,
) -> Ret<'s> {
    on_stream(scope, args, |scope, env, stream| {
        let request = request::unused(scope, args.get(0))?;
        let string = v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| {
            Throw::type_error("ERR_INVALID_ARG_TYPE", "Second argument must be a string")
        })?;
        let handle = handle_argument(&stream, args.get(2));
        let room = room_for(string, encoding);
        if room <= SMALL_STRING && handle.is_none() {
            let (length, written, rest) = env.with_scratch(SMALL_STRING, |scratch| {
                let length = text::encode_into(scope, string, encoding, scratch);
                let bytes = scratch.get(..length).unwrap_or_default();
                let (written, waits) = match stream.try_write(env, bytes) {
                    // A write of nothing waits too, for what goes before it.
                    Err(Errno::EAGAIN) => (Ok(0), true),
                    Ok(written) => (Ok(written), written < length),
                    Err(errno) => (Err(errno), false),
                };
                let rest = match written {
                    Ok(written) if waits => bytes.get(written..).map(<[u8]>::to_vec),
                    _ => None,
                };
                (length, written, rest)
            });
            return Ok(match (written, rest) {
                (Err(errno), _) => {
                    StreamBase::set_write_result(scope, env, length, false);
                    errno.uv()
                }
                (Ok(_), None) => {
                    stream.base().wrote(length);
                    StreamBase::set_write_result(scope, env, length, false);
                    0
                }
                (Ok(_), Some(rest)) => {
                    write_rest(scope, env, stream, request, Chunk::Bytes(rest), 0, length)
                }
            });
        }
        if room > MAX_STRING {
            return Ok(Errno::ENOBUFS.uv());
        }
        let bytes = text::encode(scope, string, encoding);
        Ok(write(
            scope,
            env,
            stream,
            request,
            vec![Chunk::Bytes(bytes)],
            handle,
        ))
    })
}

/// `writev(req, chunks, allBuffers)`: buffers, or strings and buffers each with an encoding.
fn writev<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    on_stream(scope, args, |scope, env, stream| {
        let request = request::unused(scope, args.get(0))?;
        let list = v8::Local::<v8::Array>::try_from(args.get(1))
            .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "chunks must be an array"))?;
        let all_buffers = args.get(2).is_true();
        let step = if all_buffers { 1 } else { 2 };
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut total = 0_usize;
        for index in (0..list.length()).step_by(step) {
            let chunk = list.get_index(scope, index).ok_or(Throw::Pending)?;
            if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(chunk) {
                chunks.push(Chunk::View(v8::Global::new(scope, view)));
                continue;
            }
            if all_buffers {
                return Err(not_a_buffer("Each"));
            }
            let string = chunk.to_string(scope).ok_or(Throw::Pending)?;
            let encoding = list.get_index(scope, index + 1).ok_or(Throw::Pending)?;
            let encoding = Encoding::from_value(scope, encoding, Encoding::Utf8);
            total = total.saturating_add(room_for(string, encoding));
            if total > MAX_STRING {
                return Ok(Errno::ENOBUFS.uv());
            }
            // Strings that follow each other are written as one.
            let bytes = text::encode(scope, string, encoding);
            match chunks.last_mut() {
                Some(Chunk::Bytes(last)) => last.extend_from_slice(&bytes),
                _ => chunks.push(Chunk::Bytes(bytes)),
            }
        }
        Ok(write(scope, env, stream, request, chunks, None))
    })
}

fn get_fd<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let fd = match stream_of(scope, args.this()) {
        Some((resource, stream)) if !resource.is_closing() => stream.fd(),
        _ => Errno::EINVAL.uv(),
    };
    number(scope, fd)
}

/// Node gives a pointer to its stream; nothing may know ours.
/// What stands for the stream in code of others. It is its async id, not an address: nothing here takes it back.
fn get_external<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Some((resource, _)) = stream_of(scope, args.this()) else {
        return Ok(v8::undefined(scope).into());
    };
    let id = whole_number(resource.context().async_id);
    let id = std::ptr::without_provenance_mut(id.max(1));
    Ok(v8::External::new(scope, id).into())
}

/// A number that counts up from 1, as a size.
fn whole_number(number: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, as wanted"
    )]
    let index = number as usize;
    index
}

#[expect(
    clippy::cast_precision_loss,
    reason = "JavaScript's numbers are doubles"
)]
fn counted<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    counter: impl FnOnce(&StreamBase) -> &Cell<u64>,
) -> Ret<'s> {
    let bytes = stream_of(scope, args.this()).map_or(0, |(_, stream)| counter(stream.base()).get());
    Ok(v8::Number::new(scope, bytes as f64).into())
}

fn get_bytes_read<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    counted(scope, args, |base| &base.bytes_read)
}

fn get_bytes_written<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    counted(scope, args, |base| &base.bytes_written)
}

fn is_stream_base<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, true).into())
}

fn get_on_read<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let undefined = v8::undefined(scope).into();
    if args.this().internal_field_count() <= ON_READ {
        return Ok(undefined);
    }
    let field = args.this().get_internal_field(scope, ON_READ);
    Ok(field
        .and_then(|field| v8::Local::<v8::Value>::try_from(field).ok())
        .unwrap_or(undefined))
}

fn set_on_read<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(0);
    if value.is_function() && args.this().internal_field_count() > ON_READ {
        args.this().set_internal_field(ON_READ, value.into());
    }
    Ok(v8::undefined(scope).into())
}
