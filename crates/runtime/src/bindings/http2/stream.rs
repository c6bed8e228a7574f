//! One request and its response: a stream whose bytes are the bodies, and the methods that send headers.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use secure_exec_kernel::Errno;

use super::nghttp2::{LibError, error_code};
use super::session::{Http2Session, complete_all};
use super::wire::Outgoing;
use super::{headers, invalid, number, statistics, undefined};
use crate::array_buffer::Contents;
use crate::binding::{Args, Function, Ret, function};
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::stream_base::{
    self, Chunk, Requester, Stream, StreamBase, StreamHandle, Write,
};
use crate::env::Env;
use crate::throw::Throw;

const PROVIDER: Provider = Provider {
    name: "HTTP2STREAM",
    number: 14,
};

/// Bits of the options of requests and responses.
mod option {
    /// There is no body.
    pub const EMPTY_PAYLOAD: i32 = 1;
    /// Trailers may follow the body.
    pub const GET_TRAILERS: i32 = 2;
}

/// What `shutdown` answers when it is done at once.
const DONE_AT_ONCE: i32 = 1;
/// A body that does not come from a window of the peer's, but from the guest, waits in pieces of this many at most.
const MAX_QUEUED_WRITES: usize = 1 << 20;

/// `Http2Stream.prototype`: its own methods before a stream's.
pub static METHODS: [Function; 19] = {
    let [a, b, c, d, e, f, g, h, i, j] = stream_base::METHODS;
    [
        ("id", function!(id)),
        ("destroy", function!(destroy)),
        ("priority", function!(priority)),
        ("pushPromise", function!(push_promise)),
        ("info", function!(info)),
        ("trailers", function!(trailers)),
        ("respond", function!(respond)),
        ("rstStream", function!(rst_stream)),
        ("refreshState", function!(refresh_state)),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
    ]
};

/// What is behind an `Http2Stream` object.
pub struct Http2Stream {
    own: Weak<Http2Stream>,
    base: StreamBase,
    id: i32,
    session: RefCell<Weak<Http2Session>>,
    /// Keeps the object as long as the session has the stream.
    object: RefCell<Option<v8::Global<v8::Object>>>,
    code: Cell<u32>,
    destroyed: Cell<bool>,
}

impl Http2Stream {
    /// Makes the object of a stream that the session's wire has.
    pub fn create(
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        session: &Rc<Http2Session>,
        id: i32,
    ) -> Result<Rc<Self>, Throw> {
        let object = env.new_instance(scope, "http2.Http2Stream")?;
        let stream = Rc::new_cyclic(|own| Self {
            own: own.clone(),
            base: StreamBase::default(),
            id,
            session: RefCell::new(Rc::downgrade(session)),
            object: RefCell::new(Some(v8::Global::new(scope, object))),
            code: Cell::new(error_code::NO_ERROR),
            destroyed: Cell::default(),
        });
        let handle = Rc::new(StreamHandle(stream.clone()));
        let resource = Resource::wrap(scope, env, object, PROVIDER, handle);
        stream.base.attach_weak(scope, &resource, object);
        session.streams.borrow_mut().insert(id, stream.clone());
        Ok(stream)
    }

    /// As [`Self::create`], for a stream that this end opened with `options`.
    fn open(
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        session: &Rc<Http2Session>,
        id: i32,
        options: i32,
    ) -> Result<Rc<Self>, Throw> {
        /// The category of headers that open no stream and answer none.
        const HEADERS: u32 = 3;
        let max = session.max_header_list_size();
        session.with_wire(|wire| wire.add_stream(id, HEADERS, max));
        let stream = Self::create(scope, env, session, id)?;
        stream.keep_options(session, options);
        if options & option::EMPTY_PAYLOAD != 0 {
            stream.end_writing(env);
        }
        Ok(stream)
    }

    fn keep_options(&self, session: &Http2Session, options: i32) {
        if options & option::GET_TRAILERS != 0 {
            session.with_wire(|wire| {
                if let Some(stream) = wire.stream(self.id) {
                    stream.trailers = true;
                }
            });
        }
    }

    /// Its object, as long as anybody has it.
    pub fn object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        self.base.object(scope)
    }

    /// Its part that all streams have.
    pub fn stream_base(&self) -> &StreamBase {
        &self.base
    }

    /// Whether nothing can be done with it any more.
    pub fn is_destroyed(&self) -> bool {
        self.destroyed.get()
    }

    /// Its session, unless either is gone.
    fn live_session(&self) -> Option<Rc<Http2Session>> {
        if self.destroyed.get() {
            return None;
        }
        self.session.borrow().upgrade()
    }

    fn handle(&self) -> Option<Rc<dyn Stream>> {
        let own: Rc<dyn Stream> = self.own.upgrade()?;
        Some(own)
    }

    // ---- what the session tells ------------------------------------------------------------------------------------

    /// Calls one of the library's callbacks on the stream's object.
    pub fn tell<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        name: &'static str,
        args: &[v8::Local<'s, v8::Value>],
    ) -> Option<v8::Local<'s, v8::Value>> {
        let function = env.function(scope, name)?;
        let object = self.object(scope)?;
        let context = self.base.resource()?.context();
        env.make_callback(scope, object, function, args, context)
    }

    /// Hands on bytes of the body that arrived.
    pub fn tell_bytes(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, bytes: &[u8]) {
        if let Some(handle) = self.handle() {
            self.base.emit_bytes(scope, env, &handle, bytes);
        }
    }

    /// The body that arrives has ended.
    pub fn tell_end(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if let Some(handle) = self.handle() {
            self.base.emit_error(scope, env, &handle, Errno::EOF);
        }
    }

    /// About `size` bytes could be sent now.
    pub fn ask_for_write(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, size: usize) {
        if let Some(handle) = self.handle() {
            self.base.ask_for_write(scope, env, &handle, size);
        }
    }

    // ---- its end ---------------------------------------------------------------------------------------------------

    /// Ends the body that is sent.
    fn end_writing(&self, env: &Rc<Env>) {
        let Some(session) = self.live_session() else {
            return;
        };
        let entered = session.enter();
        session.with_wire(|wire| {
            if let Some(stream) = wire.stream(self.id) {
                stream.writable = false;
            }
        });
        session.library(|library| library.resume_data(self.id));
        session.leave(env, entered);
    }

    /// Resets the stream once what was written before is sent.
    fn reset(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, code: u32) {
        let Some(session) = self.live_session() else {
            return;
        };
        self.code.set(code);
        let waits = if session.is_receiving() {
            let available =
                session.with_wire(|wire| wire.stream(self.id).map_or(0, |stream| stream.available));
            available > 0 || code == error_code::CANCEL
        } else if session.is_in_scope() && code == error_code::CANCEL {
            true
        } else if session.is_in_scope() && code == error_code::REFUSED_STREAM {
            false
        } else {
            !session.send(scope, env)
        };
        if waits {
            session.add_pending_reset(self.id);
        } else {
            self.flush_reset(env);
        }
    }

    /// Resets the stream.
    pub fn flush_reset(&self, env: &Rc<Env>) {
        let Some(session) = self.session.borrow().upgrade() else {
            return;
        };
        session.remove_pending_reset(self.id);
        let entered = session.enter();
        // It fails for streams that are gone already.
        let _ = session.library(|library| library.submit_rst_stream(self.id, self.code.get()));
        session.leave(env, entered);
    }

    /// Makes the stream unusable. It goes when whatever still uses it is done.
    pub fn destroy(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if self.destroyed.replace(true) {
            return;
        }
        let session = self.session.borrow().upgrade();
        let (Some(session), Some(stream)) = (session, self.own.upgrade()) else {
            return self.detach(scope, env);
        };
        session.with_wire(|wire| {
            if let Some(stream) = wire.stream(self.id) {
                stream.destroyed = true;
            }
        });
        if session.is_receiving() {
            // What was written so far goes out first.
            env.event_loop.immediate(Box::new(move |scope, env| {
                stream.finish_destroy(scope, env);
            }));
        } else {
            self.finish_destroy(scope, env);
        }
    }

    fn finish_destroy(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let session = self.session.borrow().upgrade();
        let (Some(session), Some(stream)) = (session, self.own.upgrade()) else {
            return self.detach(scope, env);
        };
        if session.has_pending_reset(self.id) {
            self.flush_reset(env);
        }
        session.streams.borrow_mut().remove(&self.id);
        let ended = session.with_wire(|wire| {
            let mut ended = wire.remove_stream(self.id)?;
            ended.statistics.end = wire.now();
            let lived = ended.statistics.end.saturating_sub(ended.statistics.start);
            #[expect(
                clippy::cast_precision_loss,
                reason = "JavaScript's numbers are doubles"
            )]
            let count = wire.statistics.stream_count as f64;
            wire.statistics.stream_average_duration = lived.as_secs_f64() * 1e3 / count;
            Some(ended)
        });
        let Some(ended) = ended else { return };
        statistics::stream_ended(scope, env, ended.statistics);
        env.event_loop.immediate(Box::new(move |scope, env| {
            complete_all(scope, env, ended.outgoing, Errno::ECANCELED.uv());
            stream.detach(scope, env);
        }));
    }

    /// Lets its object go.
    fn detach(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let object = self.object.take();
        if object.is_none() {
            return;
        }
        self.base.clear_listeners(env);
        if let Some(resource) = self.base.resource() {
            resource.destroy(scope, env);
        }
        drop(object);
    }
}

impl Stream for Http2Stream {
    fn base(&self) -> &StreamBase {
        &self.base
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn read_start(self: Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        let Some(session) = self.live_session() else {
            return 0;
        };
        let entered = session.enter();
        let consumed = session.with_wire(|wire| {
            let stream = wire.stream(self.id)?;
            stream.reading = true;
            Some(std::mem::take(&mut stream.consumed_while_paused))
        });
        if let Some(consumed) = consumed {
            session.library(|library| library.consume_stream(self.id, consumed));
        }
        session.leave(env, entered);
        0
    }

    fn read_stop(self: Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, _env: &Rc<Env>) -> i32 {
        if let Some(session) = self.live_session() {
            session.with_wire(|wire| {
                if let Some(stream) = wire.stream(self.id) {
                    stream.reading = false;
                }
            });
        }
        0
    }

    fn try_write(&self, _env: &Env, _data: &[u8]) -> Result<usize, Errno> {
        let writable = self.live_session().is_some_and(|session| {
            session.with_wire(|wire| wire.stream(self.id).is_some_and(|stream| stream.writable))
        });
        // What is written waits for nghttp2.
        Err(if writable { Errno::EAGAIN } else { Errno::EOF })
    }

    fn write(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        write: Write<'_>,
    ) -> i32 {
        let Some(session) = self.live_session() else {
            return Errno::EOF.uv();
        };
        let queued = session.with_wire(|wire| {
            let stream = wire.stream(self.id).filter(|stream| stream.writable);
            stream.map(|stream| stream.outgoing.len())
        });
        match queued {
            None => return Errno::EOF.uv(),
            Some(queued) if queued >= MAX_QUEUED_WRITES => return Errno::ENOBUFS.uv(),
            Some(_) => {}
        }
        v8::scope!(let scope, scope);
        let mut bytes = Vec::new();
        for chunk in &write.chunks {
            match chunk {
                Chunk::Bytes(chunk) => bytes.extend_from_slice(chunk),
                Chunk::View(view) => {
                    let view = v8::Local::new(scope, view);
                    let mut contents = Contents::default();
                    bytes.extend_from_slice(contents.of(scope, view));
                }
            }
        }
        bytes.drain(..write.offset.min(bytes.len()));
        let charge = env
            .memory_account()
            .map(|budget| budget.charge_native(bytes.len()))
            .transpose();
        let (Ok(charge), Ok(mut pending)) = (
            charge,
            self.base.start_write(scope, env, write.request, &[]),
        ) else {
            return Errno::ENOMEM.uv();
        };
        // The connection keeps the process, not what waits for it.
        pending.unref();
        let entered = session.enter();
        let outgoing = Outgoing {
            bytes,
            sent: 0,
            pending: Some((self.clone(), pending)),
            _charge: charge,
        };
        session.with_wire(|wire| wire.push_outgoing(self.id, outgoing));
        session.library(|library| library.resume_data(self.id));
        session.leave(env, entered);
        0
    }

    fn shutdown<'s>(
        self: Rc<Self>,
        _scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        _request: Requester<'s>,
    ) -> i32 {
        if self.destroyed.get() {
            return Errno::EPIPE.uv();
        }
        self.end_writing(env);
        DONE_AT_ONCE
    }

    fn fd(&self) -> i32 {
        -1
    }

    fn asks_for_writes(&self) -> bool {
        true
    }

    fn is_going(self: Rc<Self>, _scope: &mut v8::PinScope<'_, '_>, _env: &Rc<Env>) -> bool {
        self.destroyed.get()
    }
}

// ---- methods -------------------------------------------------------------------------------------------------------

/// The receiver of a method.
fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Http2Stream>, Throw> {
    stream_base::stream_of(scope, args.this())
        .and_then(|(_, stream)| stream.as_any().downcast().ok())
        .ok_or_else(|| {
            Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
        })
}

/// The receiver and its session, unless one of them is gone.
fn live<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(Rc<Http2Stream>, Rc<Http2Session>), Throw> {
    let stream = this(scope, args)?;
    let session = stream
        .live_session()
        .ok_or_else(|| Throw::error("ERR_HTTP2_INVALID_STREAM", "The stream has been destroyed"))?;
    Ok((stream, session))
}

/// 0 or an id, or the library's error.
fn outcome<'s>(scope: &mut v8::PinScope<'s, '_>, result: Result<i32, LibError>) -> Ret<'s> {
    number(scope, result.unwrap_or_else(|error| error.0))
}

/// `id()`
fn id<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = this(scope, args)?;
    number(scope, stream.id)
}

/// `destroy()`
fn destroy<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = this(scope, args)?;
    let env = Env::of(scope);
    stream.destroy(scope, &env);
    undefined(scope)
}

/// `priority(parent, weight, exclusive, silent)`
fn priority<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let parent = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let weight = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let (exclusive, silent) = (args.get(2).is_true(), args.get(3).is_true());
    let (stream, session) = live(scope, args)?;
    let env = Env::of(scope);
    if !silent {
        let entered = session.enter();
        let result = session
            .library(|library| library.submit_priority(stream.id, parent, weight, exclusive));
        session.leave(&env, entered);
        result.map_err(|_| invalid("parent"))?;
    }
    undefined(scope)
}

/// `pushPromise(headers, options)`: the stream, or an error's number.
fn push_promise<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let headers = headers::from_value(scope, args.get(0))?;
    let options = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let (stream, session) = live(scope, args)?;
    let env = Env::of(scope);
    let entered = session.enter();
    let promised = session.library(|library| library.submit_push_promise(stream.id, &headers));
    let answer = opened(scope, &env, &session, promised, options);
    session.leave(&env, entered);
    answer
}

/// The object of a stream that this end opened, or why it could not.
pub fn opened<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    session: &Rc<Http2Session>,
    id: Result<i32, LibError>,
    options: i32,
) -> Ret<'s> {
    match id {
        Ok(id) if id > 0 => {
            let stream = Http2Stream::open(scope, env, session, id, options)?;
            let object = stream.object(scope).ok_or(Throw::Pending)?;
            Ok(object.into())
        }
        other => outcome(scope, other),
    }
}

/// Whether a request with these options has a body.
pub fn has_body(options: i32) -> bool {
    options & option::EMPTY_PAYLOAD == 0
}

/// `info(headers)`
fn info<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let headers = headers::from_value(scope, args.get(0))?;
    let (stream, session) = live(scope, args)?;
    let env = Env::of(scope);
    let entered = session.enter();
    let result = session.library(|library| library.submit_info(stream.id, &headers));
    session.leave(&env, entered);
    outcome(scope, result)
}

/// `trailers(headers)`
fn trailers<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let headers = headers::from_value(scope, args.get(0))?;
    let (stream, session) = live(scope, args)?;
    let env = Env::of(scope);
    let entered = session.enter();
    let result = session.library(|library| {
        if headers.fields.is_empty() {
            // Browsers do not like an empty list of trailers.
            library.submit_end(stream.id)
        } else {
            library.submit_trailers(stream.id, &headers)
        }
    });
    session.leave(&env, entered);
    outcome(scope, result)
}

/// `respond(headers, options)`
fn respond<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let headers = headers::from_value(scope, args.get(0))?;
    let options = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let (stream, session) = live(scope, args)?;
    let env = Env::of(scope);
    let entered = session.enter();
    stream.keep_options(&session, options);
    let writable =
        session.with_wire(|wire| wire.stream(stream.id).is_some_and(|stream| stream.writable));
    let result = session.library(|library| {
        library.submit_response(stream.id, &headers, writable && has_body(options))
    });
    session.leave(&env, entered);
    outcome(scope, result)
}

/// `rstStream(code)`
fn rst_stream<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let stream = this(scope, args)?;
    let env = Env::of(scope);
    stream.reset(scope, &env, code);
    undefined(scope)
}

/// `refreshState()`
fn refresh_state<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// The state of a stream that does not exist, in place of all numbers.
    const IDLE: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let (stream, session) = live(scope, args)?;
    let state = session.library(|library| library.stream_state(stream.id));
    let env = Env::of(scope);
    if let Some(buffer) = env.buffer(scope, "http2.streamState") {
        for (index, value) in state.unwrap_or(IDLE).into_iter().enumerate() {
            buffer.set(index, value);
        }
    }
    undefined(scope)
}
