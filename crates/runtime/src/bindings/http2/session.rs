//! A connection: reads its socket, hands what happened to JavaScript, and writes what nghttp2 wants to be sent.
//!
//! ```text
//!   socket --bytes--> receive: nghttp2 (one frame) -> events -> JavaScript, and again
//!   socket <--bytes-- send: nghttp2 -> events -> JavaScript, until there is nothing more
//! ```
//! JavaScript runs only between two calls into nghttp2, so it may do anything there. What it does is sent when the input
//! is read, or in the next phase of immediates.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use secure_exec_kernel::Errno;

use super::nghttp2::{LibError, Role, Session, Side, frame_type, lib_error, setting};
use super::requests::Acknowledged;
use super::settings::CustomSettings;
use super::stream::Http2Stream;
use super::wire::{Event, Field, Outgoing, Wire};
use super::{callback, statistics};
use crate::aliased_buffer::AliasedBuffer;
use crate::array_buffer::buffer_of;
use crate::bindings::fs::resource::Resource;
use crate::bindings::stream_base::{self, Chunk, Requester, Stream, StreamListener, Write};
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::text;

/// Bits of a session's first field: which events JavaScript wants to hear of.
mod listener {
    pub const REMOTE_SETTINGS: u8 = 1;
    pub const REMOTE_SETTINGS_ARE_KNOWN: u8 = 1 << 1;
    pub const PING: u8 = 1 << 2;
    pub const ALTSVC: u8 = 1 << 3;
}

/// Indexes of a session's fields.
mod field {
    pub const BITFIELD: usize = 0;
    pub const PRIORITY_LISTENERS: usize = 1;
}

/// A field that must not be put into the table of header compression.
const NO_INDEX: u8 = 1;
/// What one write to the socket takes; the rest follows when that is done.
const MAX_OUTPUT: usize = 1 << 20;

/// What is behind an `Http2Session` object.
pub struct Http2Session {
    own: Weak<Http2Session>,
    pub resource: RefCell<Weak<Resource>>,
    pub object: v8::Weak<v8::Object>,
    pub role: Role,
    pub wire: RefCell<Session<Wire>>,
    fields: AliasedBuffer,
    socket: RefCell<Option<Socket>>,
    pub streams: RefCell<HashMap<i32, Rc<Http2Stream>>>,
    pub pings: RefCell<VecDeque<Acknowledged>>,
    pub settings: RefCell<VecDeque<Acknowledged>>,
    pub local_custom: RefCell<CustomSettings>,
    pub remote_custom: RefCell<CustomSettings>,
    /// Streams to reset when what was written before is out.
    pending_resets: RefCell<Vec<i32>>,
    in_scope: Cell<bool>,
    write_scheduled: Cell<bool>,
    write_in_progress: Cell<bool>,
    sending: Cell<bool>,
    receiving: Cell<bool>,
    reading_stopped: Cell<bool>,
    closing: Cell<bool>,
    destroyed: Cell<bool>,
    pending_close: Cell<Option<(u32, bool)>>,
    pub graceful_close: Cell<bool>,
    pub chunks_sent: Cell<u32>,
}

/// The stream that a session reads and writes.
struct Socket {
    stream: Weak<dyn Stream>,
    listener: Weak<Listener>,
}

/// A session as the listener of its socket, which keeps it and its object.
struct Listener {
    session: Rc<Http2Session>,
    own: Weak<Listener>,
    _object: v8::Global<v8::Object>,
}

impl StreamListener for Listener {
    fn on_read(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        data: Result<Rc<[u8]>, Errno>,
    ) {
        match data {
            Ok(bytes) => self.session.receive(scope, env, &bytes),
            Err(errno) => {
                let Some(own) = self.own.upgrade() else {
                    return;
                };
                let own: Rc<dyn StreamListener> = own;
                let entered = self.session.enter();
                stream.base().pass_on(scope, env, stream, Err(errno), &own);
                self.session.leave(env, entered);
            }
        }
    }

    fn on_destroy(&self, _env: &Env) {
        self.session.socket.take();
    }
}

/// What [`Http2Session::new`] needs beside the library's session.
pub struct Parts {
    pub object: v8::Weak<v8::Object>,
    pub role: Role,
    pub wire: Session<Wire>,
    pub fields: AliasedBuffer,
    pub remote_custom: CustomSettings,
}

impl Http2Session {
    /// A session without a socket.
    pub fn new(parts: Parts) -> Rc<Self> {
        Rc::new_cyclic(|own| Self {
            own: own.clone(),
            resource: RefCell::default(),
            object: parts.object,
            role: parts.role,
            wire: RefCell::new(parts.wire),
            fields: parts.fields,
            socket: RefCell::default(),
            streams: RefCell::default(),
            pings: RefCell::default(),
            settings: RefCell::default(),
            local_custom: RefCell::default(),
            remote_custom: RefCell::new(parts.remote_custom),
            pending_resets: RefCell::default(),
            in_scope: Cell::default(),
            write_scheduled: Cell::default(),
            write_in_progress: Cell::default(),
            sending: Cell::default(),
            receiving: Cell::default(),
            reading_stopped: Cell::default(),
            closing: Cell::default(),
            destroyed: Cell::default(),
            pending_close: Cell::default(),
            graceful_close: Cell::default(),
            chunks_sent: Cell::default(),
        })
    }

    /// Its async ids.
    pub fn context(&self) -> AsyncContext {
        self.resource
            .borrow()
            .upgrade()
            .map_or_else(AsyncContext::default, |resource| resource.context())
    }

    /// Calls into the library. The answer of [`Self::leave`] or [`Self::send`] makes it write.
    pub fn library<T>(&self, call: impl FnOnce(&mut Session<Wire>) -> T) -> T {
        call(&mut self.wire.borrow_mut())
    }

    /// The part that the library calls.
    pub fn with_wire<T>(&self, body: impl FnOnce(&mut Wire) -> T) -> T {
        body(self.wire.borrow_mut().handler())
    }

    /// Whether it has said goodbye.
    pub fn is_destroyed(&self) -> bool {
        self.destroyed.get()
    }

    /// Whether input is being read.
    pub fn is_receiving(&self) -> bool {
        self.receiving.get()
    }

    /// Whether what is submitted will be sent by somebody further up.
    pub fn is_in_scope(&self) -> bool {
        self.in_scope.get()
    }

    fn socket(&self) -> Option<Rc<dyn Stream>> {
        self.socket.borrow().as_ref()?.stream.upgrade()
    }

    // ---- calls of JavaScript ---------------------------------------------------------------------------------------

    /// Calls one of the library's callbacks on the session's object.
    fn tell<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        name: &'static str,
        args: &[v8::Local<'s, v8::Value>],
    ) {
        let function = env.function(scope, name);
        if let (Some(function), Some(object)) = (function, self.object.to_local(scope)) {
            env.make_callback(scope, object, function, args, self.context());
        }
    }

    /// Calls a method of the session's object that JavaScript has set.
    fn tell_method(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, name: &str) {
        v8::scope!(let scope, scope);
        if let Some(object) = self.object.to_local(scope) {
            env.make_callback_named(scope, object, name, &[], self.context());
        }
    }

    fn tell_error(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        error: i32,
        code: Option<&str>,
    ) {
        v8::scope!(let scope, scope);
        let error = v8::Integer::new(scope, error).into();
        let code = code
            .and_then(|code| v8::String::new(scope, code))
            .map_or_else(|| v8::null(scope).into(), Into::into);
        self.tell(scope, env, callback::ERROR, &[error, code]);
    }

    // ---- scopes ----------------------------------------------------------------------------------------------------

    /// Begins something that may make the library want to write. [`Self::leave`] ends it.
    pub fn enter(&self) -> bool {
        if self.in_scope.get() || self.write_scheduled.get() {
            return false;
        }
        self.in_scope.set(true);
        true
    }

    /// Ends what [`Self::enter`] began, with its answer.
    pub fn leave(&self, env: &Rc<Env>, entered: bool) {
        if entered {
            self.in_scope.set(false);
            if !self.write_scheduled.get() {
                self.schedule_write(env);
            }
        }
    }

    /// Sends in the next phase of immediates, if there is anything to send.
    fn schedule_write(&self, env: &Rc<Env>) {
        if !self.wire.borrow().wants_write() {
            return;
        }
        let Some(session) = self.own.upgrade() else {
            return;
        };
        self.write_scheduled.set(true);
        env.event_loop.immediate(Box::new(move |scope, env| {
            if !session.write_scheduled.get() || env.is_ending() {
                return;
            }
            let Some(object) = session.object.to_local(scope) else {
                return;
            };
            let context = session.context();
            env.in_callback_scope(scope, object, context, |scope| {
                session.send(scope, env);
                Some(v8::undefined(scope).into())
            });
        }));
    }

    // ---- input -----------------------------------------------------------------------------------------------------

    /// Reads from `stream` from now on.
    pub fn consume<'s>(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        stream: &Rc<dyn Stream>,
        object: v8::Local<'s, v8::Object>,
    ) {
        self.let_socket_go();
        let listener = Rc::new_cyclic(|own| Listener {
            session: self.clone(),
            own: own.clone(),
            _object: v8::Global::new(scope, object),
        });
        self.socket.replace(Some(Socket {
            stream: Rc::downgrade(stream),
            listener: Rc::downgrade(&listener),
        }));
        stream.base().push_listener(listener);
    }

    fn let_socket_go(&self) {
        let socket = self.socket.take();
        let parts = socket.and_then(|socket| {
            let listener: Rc<dyn StreamListener> = socket.listener.upgrade()?;
            Some((socket.stream.upgrade()?, listener))
        });
        if let Some((stream, listener)) = parts {
            stream.base().remove_listener(&listener);
        }
    }

    /// Input of the peer.
    pub fn receive(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, bytes: &[u8]) {
        if self.receiving.get() || self.destroyed.get() {
            return;
        }
        let entered = self.enter();
        let length = bytes.len() as u64;
        self.with_wire(|wire| {
            wire.statistics.data_received += length;
            wire.memory += length;
            wire.input_error = None;
        });
        self.receiving.set(true);
        let result = self.read_frames(scope, env, bytes);
        self.receiving.set(false);
        let input_error = self.with_wire(|wire| {
            wire.memory = wire.memory.saturating_sub(length);
            wire.input_error.take()
        });
        if let Some((code, socket_closed)) = self.pending_close.take() {
            self.finish_close(scope, env, code, socket_closed);
        }
        if !env.is_ending() {
            match result {
                Ok(()) => {
                    self.send(scope, env);
                }
                Err(error) => self.tell_error(scope, env, error.0, input_error),
            }
            self.stop_reading_if_done(scope, env);
        }
        self.leave(env, entered);
    }

    fn read_frames(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        mut rest: &[u8],
    ) -> Result<(), LibError> {
        let mut more = false;
        while (more || !rest.is_empty())
            && !self.destroyed.get()
            && self.pending_close.get().is_none()
            && !env.is_ending()
        {
            let received = self.library(|library| library.receive(rest));
            let received = match received {
                Ok(received) => received,
                Err(error) => {
                    self.deliver(scope, env);
                    return Err(error);
                }
            };
            rest = rest.get(received.taken..).unwrap_or_default();
            more = received.more;
            let told = self.deliver(scope, env);
            if received.taken == 0 && !more && !told {
                // It wants no input any more.
                return Ok(());
            }
        }
        Ok(())
    }

    fn stop_reading_if_done(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if self.reading_stopped.get() || self.closing.get() || self.wire.borrow().wants_read() {
            return;
        }
        self.reading_stopped.set(true);
        if let Some(socket) = self.socket() {
            socket.read_stop(scope, env);
        }
    }

    fn read_again(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        self.reading_stopped.set(false);
        if let Some(socket) = self.socket() {
            socket.read_start(scope, env);
        }
    }

    // ---- events ----------------------------------------------------------------------------------------------------

    /// Tells JavaScript what happened; answers whether anything did.
    fn deliver(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> bool {
        let mut told = false;
        while !env.is_ending() {
            let event = self.with_wire(|wire| wire.events.pop_front());
            let Some(event) = event else { break };
            told = true;
            v8::scope!(let scope, scope);
            self.deliver_one(scope, env, event);
        }
        told
    }

    fn has_listener(&self, bit: u8) -> bool {
        self.fields.get::<u8>(field::BITFIELD) & bit != 0
    }

    fn deliver_one(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, event: Event) {
        match event {
            Event::Headers {
                stream,
                category,
                flags,
                fields,
            } => self.tell_headers(scope, env, (stream, category, flags), &fields),
            Event::Data { stream, bytes } => self.tell_data(scope, env, stream, &bytes),
            Event::End { stream } => {
                if let Some(stream) = self.stream(stream) {
                    stream.tell_end(scope, env);
                }
            }
            Event::Closed { stream, code } => self.tell_closed(scope, env, stream, code),
            Event::Trailers { stream } => {
                if let Some(stream) = self.stream(stream) {
                    stream.tell(scope, env, callback::STREAM_TRAILERS, &[]);
                }
            }
            Event::WantsWrite { stream, size } => {
                if let Some(stream) = self.stream(stream) {
                    stream.ask_for_write(scope, env, size);
                }
            }
            Event::SettingsAck => {
                let request = self.settings.borrow_mut().pop_front();
                match request {
                    Some(request) => {
                        request.done(scope, env, Some(self), Ok(None));
                    }
                    None => self.tell_error(scope, env, lib_error::PROTO, None),
                }
            }
            Event::PingAck(payload) => {
                let request = self.pings.borrow_mut().pop_front();
                match request {
                    Some(request) => {
                        request.done(scope, env, Some(self), Ok(Some(payload)));
                    }
                    // Nobody asked: such a peer is broken or hostile.
                    None => self.tell_error(scope, env, lib_error::PROTO, None),
                }
            }
            Event::Settings { entries } => self.tell_settings(scope, env, &entries),
            Event::Error(error) => self.tell_error(scope, env, error, None),
            event => self.tell_frame(scope, env, event),
        }
    }

    /// Frames that are only told.
    fn tell_frame(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, event: Event) {
        match event {
            Event::Priority {
                stream,
                parent,
                weight,
                exclusive,
            } if self.fields.get::<u8>(field::PRIORITY_LISTENERS) > 0 => {
                let args = [
                    v8::Integer::new(scope, stream).into(),
                    v8::Integer::new(scope, parent).into(),
                    v8::Integer::new(scope, weight).into(),
                    v8::Boolean::new(scope, exclusive).into(),
                ];
                self.tell(scope, env, callback::PRIORITY, &args);
            }
            Event::Ping(payload) if self.has_listener(listener::PING) => {
                if let Ok(payload) = buffer_of(scope, &payload) {
                    self.tell(scope, env, callback::PING, &[payload.into()]);
                }
            }
            Event::Goaway {
                code,
                last_stream,
                data,
            } => {
                let mut args = [
                    v8::Integer::new_from_unsigned(scope, code).into(),
                    v8::Integer::new(scope, last_stream).into(),
                    v8::undefined(scope).into(),
                ];
                if let (false, Ok(data)) = (data.is_empty(), buffer_of(scope, &data)) {
                    args[2] = data.into();
                }
                self.tell(scope, env, callback::GOAWAY_DATA, &args);
            }
            Event::AltSvc {
                stream,
                origin,
                value,
            } if self.has_listener(listener::ALTSVC) => {
                let (origin, value) = (
                    text::one_byte(scope, &origin),
                    text::one_byte(scope, &value),
                );
                if let (Ok(origin), Ok(value)) = (origin, value) {
                    let stream = v8::Integer::new(scope, stream).into();
                    self.tell(scope, env, callback::ALTSVC, &[stream, origin, value]);
                }
            }
            Event::Origin(origins) => {
                let origins: Vec<_> = origins
                    .iter()
                    .filter_map(|origin| text::one_byte(scope, origin).ok())
                    .collect();
                let origins = v8::Array::new_with_elements(scope, &origins).into();
                self.tell(scope, env, callback::ORIGIN, &[origins]);
            }
            Event::FrameError { stream, kind, code } => {
                let args = [
                    v8::Integer::new(scope, stream).into(),
                    v8::Integer::new(scope, i32::from(kind)).into(),
                    v8::Integer::new_from_unsigned(scope, code).into(),
                ];
                self.tell(scope, env, callback::FRAME_ERROR, &args);
            }
            _ => {}
        }
    }

    fn tell_headers(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        (id, category, flags): (i32, u32, u8),
        fields: &[Field],
    ) {
        if self.with_wire(|wire| wire.stream(id).is_none()) {
            return;
        }
        let known = self.streams.borrow().get(&id).cloned();
        let stream = match known {
            Some(stream) => stream,
            None => match Http2Stream::create(scope, env, self, id) {
                Ok(stream) => stream,
                Err(_) => return,
            },
        };
        let Some(object) = stream.object(scope) else {
            return;
        };
        let mut headers = Vec::with_capacity(fields.len() * 2);
        let mut sensitive = Vec::new();
        for field in fields {
            let name =
                v8::String::new_from_one_byte(scope, &field.name, v8::NewStringType::Internalized);
            let (Some(name), Ok(value)) = (name, text::one_byte(scope, &field.value)) else {
                return;
            };
            headers.extend([name.into(), value]);
            if field.flags & NO_INDEX != 0 {
                sensitive.push(name.into());
            }
        }
        let args = [
            object.into(),
            v8::Integer::new(scope, id).into(),
            v8::Integer::new_from_unsigned(scope, category).into(),
            v8::Integer::new(scope, i32::from(flags)).into(),
            v8::Array::new_with_elements(scope, &headers).into(),
            v8::Array::new_with_elements(scope, &sensitive).into(),
        ];
        self.tell(scope, env, callback::HEADERS, &args);
    }

    /// A stream that JavaScript knows and has not destroyed.
    pub fn stream(&self, id: i32) -> Option<Rc<Http2Stream>> {
        let stream = self.streams.borrow().get(&id).cloned();
        stream.filter(|stream| !stream.is_destroyed())
    }

    fn tell_data(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        id: i32,
        bytes: &[u8],
    ) {
        let Some(stream) = self.stream(id) else {
            return;
        };
        stream.tell_bytes(scope, env, bytes);
        let reading = self.with_wire(|wire| {
            let stream = wire.stream(id)?;
            if !stream.reading {
                stream.consumed_while_paused += bytes.len();
            }
            Some(stream.reading)
        });
        if reading == Some(true) {
            self.library(|library| library.consume_stream(id, bytes.len()));
        }
    }

    fn tell_closed(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        id: i32,
        code: u32,
    ) {
        let Some(stream) = self.stream(id) else {
            // It ended before JavaScript heard of it.
            if !self.streams.borrow().contains_key(&id) {
                self.with_wire(|wire| wire.remove_stream(id));
            }
            return;
        };
        let argument = v8::Integer::new_from_unsigned(scope, code).into();
        let answer = stream.tell(scope, env, callback::STREAM_CLOSE, &[argument]);
        if answer.is_none_or(|answer| answer.is_false()) {
            stream.destroy(scope, env);
        }
    }

    fn tell_settings(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        entries: &[(i32, u32)],
    ) {
        let known = self.fields.get::<u8>(field::BITFIELD);
        self.fields.set(
            field::BITFIELD,
            known & !listener::REMOTE_SETTINGS_ARE_KNOWN,
        );
        self.remote_custom.borrow_mut().receive(entries);
        if self.has_listener(listener::REMOTE_SETTINGS) {
            self.tell(scope, env, callback::SETTINGS, &[]);
        }
    }

    // ---- output ----------------------------------------------------------------------------------------------------

    /// Sends what there is. Answers whether everything that was submitted is on its way; if not, an earlier write must
    /// be done first.
    pub fn send(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> bool {
        if self.destroyed.get() {
            return true;
        }
        self.write_scheduled.set(false);
        if self.sending.get() || self.receiving.get() {
            return false;
        }
        self.sending.set(true);
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        loop {
            let gathered = self.gather(&mut bytes, &mut frames);
            let told = self.deliver(scope, env);
            if env.is_ending() {
                return true;
            }
            if gathered.is_err() || !told || bytes.len() >= MAX_OUTPUT {
                break;
            }
        }
        let is_full = bytes.len() >= MAX_OUTPUT;
        let Some(socket) = self.socket() else {
            self.clear_outgoing(scope, env);
            return true;
        };
        if bytes.is_empty() {
            self.clear_outgoing(scope, env);
            return true;
        }
        self.with_wire(|wire| wire.statistics.data_sent += bytes.len() as u64);
        self.chunks_sent.set(self.chunks_sent.get().wrapping_add(1));
        self.write_in_progress.set(true);
        let session = self.clone();
        let done: stream_base::OnDone =
            Box::new(move |scope, env, _status| session.after_write(scope, env));
        if write(scope, env, &socket, bytes, &frames, done) {
            // It is done, or failed: the socket tells JavaScript of that.
            self.write_in_progress.set(false);
            self.clear_outgoing(scope, env);
            self.tell_graceful_close(scope, env);
            if is_full && !self.write_scheduled.get() && !self.destroyed.get() {
                self.schedule_write(env);
            }
        }
        self.stop_reading_if_done(scope, env);
        let gave_up = self.with_wire(|wire| std::mem::take(&mut wire.gave_up));
        if gave_up && !self.closing.get() && !env.is_ending() {
            self.tell_error(scope, env, lib_error::PROTO, None);
        }
        true
    }

    /// Takes all that the library wants to send, and where its frames end.
    fn gather(&self, bytes: &mut Vec<u8>, frames: &mut Vec<usize>) -> Result<(), LibError> {
        while bytes.len() < MAX_OUTPUT && self.library(|library| library.send(bytes))? > 0 {
            frames.push(bytes.len());
        }
        Ok(())
    }

    fn after_write(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if env.is_ending() {
            return;
        }
        self.tell_graceful_close(scope, env);
        self.write_in_progress.set(false);
        self.clear_outgoing(scope, env);
        if self.reading_stopped.get()
            && !self.write_in_progress.get()
            && self.wire.borrow().wants_read()
        {
            self.read_again(scope, env);
        }
        if self.destroyed.get() {
            self.tell_done(scope, env);
        } else if !self.write_scheduled.get() {
            self.schedule_write(env);
        }
    }

    /// Tells those whose bytes were taken, and resets streams that waited for that.
    fn clear_outgoing(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        self.sending.set(false);
        let taken = self.with_wire(|wire| std::mem::take(&mut wire.taken));
        complete_all(scope, env, taken, 0);
        let resets = self.pending_resets.take();
        if resets.is_empty() || env.is_ending() {
            return;
        }
        self.send(scope, env);
        for id in resets {
            let stream = self.streams.borrow().get(&id).cloned();
            if let Some(stream) = stream {
                stream.flush_reset(env);
            }
        }
    }

    /// Resets a stream when what was written before is out.
    pub fn add_pending_reset(&self, id: i32) {
        let mut resets = self.pending_resets.borrow_mut();
        if !resets.contains(&id) {
            resets.push(id);
        }
    }

    /// Whether a stream waits to be reset.
    pub fn has_pending_reset(&self, id: i32) -> bool {
        self.pending_resets.borrow().contains(&id)
    }

    /// A stream is reset now.
    pub fn remove_pending_reset(&self, id: i32) {
        self.pending_resets
            .borrow_mut()
            .retain(|known| *known != id);
    }

    // ---- the end ---------------------------------------------------------------------------------------------------

    /// Says goodbye with `code`, unless the socket is closed, and lets go.
    pub fn close(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        code: u32,
        socket_closed: bool,
    ) {
        if self.closing.replace(true) {
            return;
        }
        self.with_wire(|wire| {
            wire.closing = true;
            wire.says_goodbye = true;
        });
        if self.receiving.get() {
            self.pending_close.set(Some((code, socket_closed)));
            return;
        }
        self.finish_close(scope, env, code, socket_closed);
    }

    fn finish_close(
        self: &Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        code: u32,
        socket_closed: bool,
    ) {
        if let Some(socket) = self.socket() {
            self.reading_stopped.set(true);
            socket.read_stop(scope, env);
        }
        if socket_closed {
            self.let_socket_go();
        } else {
            // It fails for no memory, and then there is nobody to say goodbye.
            let _ = self.library(|library| library.terminate(code));
            self.send(scope, env);
        }
        self.destroyed.set(true);
        if env.is_ending() {
            return;
        }
        if !self.write_in_progress.get() || self.socket().is_none() {
            self.tell_done(scope, env);
        }
        let pings = self.pings.take();
        for ping in pings {
            env.event_loop.immediate(Box::new(move |scope, env| {
                ping.done(scope, env, None, Err(()));
            }));
        }
        let statistics = self.with_wire(|wire| {
            wire.statistics.end = wire.now();
            wire.statistics
        });
        statistics::session_ended(scope, env, self.role, statistics);
    }

    fn tell_done(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        self.tell_method(scope, env, "ondone");
        let resource = self.resource.borrow().upgrade();
        if let Some(resource) = resource {
            resource.destroy(scope, env);
        }
        if !env.is_ending() && self.socket().is_some() {
            // To notice when the other end is done.
            self.read_again(scope, env);
        }
    }

    /// Tells JavaScript, which waits for it, that nothing is left to be sent or read.
    fn tell_graceful_close(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        let done = self.graceful_close.get() && !self.has_pending_data();
        if done && !env.is_ending() {
            self.tell_method(scope, env, "ongracefulclosecomplete");
        }
    }

    /// Whether anything is to be sent or read.
    pub fn has_pending_data(&self) -> bool {
        let wire = self.wire.borrow();
        wire.wants_write() || wire.wants_read()
    }

    /// The longest list of header fields that this end takes.
    pub fn max_header_list_size(&self) -> u32 {
        self.wire
            .borrow()
            .setting(Side::Local, setting::MAX_HEADER_LIST_SIZE)
    }
}

/// Writes to a session's stream; answers whether that is done or failed, so that `done` is not called. A stream that
/// takes nothing at once, such as one of JavaScript's, gets each frame by itself, as from Node.
fn write(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    socket: &Rc<dyn Stream>,
    bytes: Vec<u8>,
    frames: &[usize],
    done: stream_base::OnDone,
) -> bool {
    v8::scope!(let scope, scope);
    let written = match socket.try_write(env, &bytes) {
        Err(Errno::EAGAIN) => 0,
        Ok(written) => written,
        // The stream tells JavaScript of it.
        Err(_) => return true,
    };
    socket.base().wrote(bytes.len());
    if written == bytes.len() {
        return true;
    }
    let chunks = if written == 0 {
        pieces(&bytes, frames)
    } else {
        vec![Chunk::Bytes(bytes)]
    };
    let write = Write {
        request: Requester::Rust(done),
        chunks,
        offset: written,
        handle: None,
    };
    socket.clone().write(scope, env, write) != 0
}

/// Splits output into frames, and those of bodies into header, length of the padding, body and padding.
fn pieces(bytes: &[u8], frames: &[usize]) -> Vec<Chunk> {
    const HEADER: usize = 9;
    const PADDED: u8 = 8;
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in frames {
        let frame = bytes.get(start..*end).unwrap_or_default();
        start = *end;
        let [_, _, _, kind, flags, ..] = frame else {
            pieces.push(Chunk::Bytes(frame.to_vec()));
            continue;
        };
        let padding = frame.get(HEADER).filter(|_| flags & PADDED != 0);
        let mut cuts = Vec::new();
        if *kind == frame_type::DATA {
            cuts.push(HEADER);
            if let Some(padding) = padding {
                cuts.push(HEADER + 1);
                cuts.push(frame.len().saturating_sub(usize::from(*padding)));
            }
        }
        cuts.push(frame.len());
        let mut from = 0;
        for cut in cuts {
            let piece = frame.get(from..cut).unwrap_or_default();
            if !piece.is_empty() {
                pieces.push(Chunk::Bytes(piece.to_vec()));
            }
            from = cut;
        }
    }
    pieces
}

/// Tells whoever waits for these pieces.
pub fn complete_all(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
    outgoing: impl IntoIterator<Item = Outgoing>,
    status: i32,
) {
    for piece in outgoing {
        if env.is_ending() {
            return;
        }
        if let Some((stream, pending)) = piece.pending {
            v8::scope!(let scope, scope);
            pending.complete(scope, env, stream.stream_base(), status);
        }
    }
}
