//! `internalBinding('http2')`: HTTP/2 over any stream. Sources: `src/node_http2.cc`, `src/node_http_common.h`.
//!
//! ```text
//!   Http2Session (session.rs)  <-- its socket's bytes           http2.Http2Session, one a connection
//!     |  nghttp2.rs            frames, header compression, flow control: nghttp2
//!     |  wire.rs               what nghttp2 calls; turns it into events
//!     |  messaging.rs          whether that is HTTP
//!   Http2Stream (stream.rs)    --> a Stream like any other      http2.Http2Stream, one a request
//! ```
//! What a peer may cost is bounded as in Node: memory of a session (`maxSessionMemory`), streams, header fields, pings,
//! settings, invalid frames, rejected streams and resets, each by the session's option; all memory counts for the
//! process's own limit too.

mod headers;
mod messaging;
mod nghttp2;
mod requests;
mod session;
mod settings;
mod statistics;
mod stream;
mod wire;

use std::cell::Cell;
use std::rc::Rc;

use self::nghttp2::{LibError, Role, Session, Side};
use self::requests::Acknowledged;
use self::session::{Http2Session, Parts};
use self::settings::CustomSettings;
use self::wire::Wire;
use crate::aliased_buffer::AliasedBuffer;
use crate::array_buffer::{Contents, buffer_of, new_array_buffer};
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::stream_base;
use crate::env::Env;
use crate::native_account::Account;
use crate::realm::set;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "http2",
    functions: &[
        ("nghttp2ErrorString", function!(error_string)),
        (
            "refreshDefaultSettings",
            function!(refresh_default_settings),
        ),
        ("packSettings", function!(pack_settings)),
        ("setCallbackFunctions", function!(set_callback_functions)),
    ],
    classes: &[
        Class {
            name: "Http2Stream",
            parent: Some("fs.AsyncWrap"),
            methods: &stream::METHODS,
            accessors: &stream_base::ACCESSORS,
            extra_fields: stream_base::EXTRA_FIELDS,
            ..Class::DEFAULT
        },
        Class {
            name: "Http2Session",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct)),
            methods: &[
                ("origin", function!(origin)),
                ("altsvc", function!(altsvc)),
                ("ping", function!(ping)),
                ("consume", function!(consume)),
                ("receive", function!(receive)),
                ("destroy", function!(destroy)),
                ("goaway", function!(goaway)),
                ("hasPendingData", function!(has_pending_data)),
                ("settings", function!(send_settings)),
                ("request", function!(request)),
                ("setNextStreamID", function!(set_next_stream_id)),
                ("setLocalWindowSize", function!(set_local_window_size)),
                ("updateChunksSent", function!(update_chunks_sent)),
                ("refreshState", function!(refresh_state)),
                ("localSettings", function!(local_settings)),
                ("remoteSettings", function!(remote_settings)),
                ("setGracefulClose", function!(set_graceful_close)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "Http2Ping",
            parent: Some("fs.AsyncWrap"),
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "Http2Settings",
            parent: Some("fs.AsyncWrap"),
            hidden: true,
            ..Class::DEFAULT
        },
    ],
    init: Some(init),
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "HTTP2SESSION",
    number: 13,
};

/// The library's callbacks, as they are registered.
mod callback {
    pub const ERROR: &str = "http2.onError";
    pub const PRIORITY: &str = "http2.onPriority";
    pub const SETTINGS: &str = "http2.onSettings";
    pub const PING: &str = "http2.onPing";
    pub const HEADERS: &str = "http2.onHeaders";
    pub const FRAME_ERROR: &str = "http2.onFrameError";
    pub const GOAWAY_DATA: &str = "http2.onGoawayData";
    pub const ALTSVC: &str = "http2.onAltSvc";
    pub const ORIGIN: &str = "http2.onOrigin";
    pub const STREAM_TRAILERS: &str = "http2.onStreamTrailers";
    pub const STREAM_CLOSE: &str = "http2.onStreamClose";

    /// In the order of `setCallbackFunctions`.
    pub const ALL: [&str; 11] = [
        ERROR,
        PRIORITY,
        SETTINGS,
        PING,
        HEADERS,
        FRAME_ERROR,
        GOAWAY_DATA,
        ALTSVC,
        ORIGIN,
        STREAM_TRAILERS,
        STREAM_CLOSE,
    ];
}

/// Values of the constructor's argument.
mod session_type {
    pub const SERVER: i32 = 0;
    pub const CLIENT: i32 = 1;
}

/// Constants that are there but not listed.
const HIDDEN_CONSTANTS: &[(&str, i32)] = &[
    ("NGHTTP2_HCAT_REQUEST", 0),
    ("NGHTTP2_HCAT_RESPONSE", 1),
    ("NGHTTP2_HCAT_PUSH_RESPONSE", 2),
    ("NGHTTP2_HCAT_HEADERS", 3),
    ("NGHTTP2_NV_FLAG_NONE", 0),
    ("NGHTTP2_NV_FLAG_NO_INDEX", 1),
    ("NGHTTP2_ERR_DEFERRED", -508),
    ("NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE", -509),
    ("NGHTTP2_ERR_INVALID_ARGUMENT", -501),
    ("NGHTTP2_ERR_STREAM_CLOSED", -510),
    ("NGHTTP2_ERR_NOMEM", -901),
    ("STREAM_OPTION_EMPTY_PAYLOAD", 1),
    ("STREAM_OPTION_GET_TRAILERS", 2),
];

/// Bytes of a session's fields: flags and counts, then two words of 32 bits.
const FIELDS_BYTES: usize = 12;
/// Index and default of `maxSessionInvalidFrames` among the words.
const MAX_INVALID_FRAMES: (usize, u32) = (1, 1000);
/// Index and default of `maxSessionRejectedStreams`.
const MAX_REJECTED_STREAMS: (usize, u32) = (2, 100);
/// What an ALTSVC frame can hold.
const MAX_ALTSVC: usize = 16_382;
/// What an ORIGIN frame's text can hold, and more.
const MAX_ORIGINS: usize = 64 << 10;
/// What a goodbye can say: one frame of the size that every peer takes, less its own fields.
const MAX_GOAWAY_DATA: usize = 16_384 - 8;

fn init(scope: &mut v8::PinScope<'_, '_>, _env: &Env, target: v8::Local<v8::Object>) {
    let constants = v8::String::new(scope, "constants")
        .and_then(|name| target.get(scope, name.into()))
        .and_then(|constants| v8::Local::<v8::Object>::try_from(constants).ok());
    let Some(constants) = constants else { return };
    for (name, value) in HIDDEN_CONSTANTS {
        if let Some(name) = v8::String::new(scope, name) {
            let value = v8::Integer::new(scope, *value).into();
            let hidden = v8::PropertyAttribute::READ_ONLY
                | v8::PropertyAttribute::DONT_DELETE
                | v8::PropertyAttribute::DONT_ENUM;
            constants.define_own_property(scope, name.into(), value, hidden);
        }
    }
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn number<'s>(scope: &mut v8::PinScope<'s, '_>, number: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, number).into())
}

fn boolean<'s>(scope: &mut v8::PinScope<'s, '_>, value: bool) -> Ret<'s> {
    Ok(v8::Boolean::new(scope, value).into())
}

fn invalid(name: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("The \"{name}\" argument is not valid"),
    )
}

fn settings_buffer(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Result<AliasedBuffer, Throw> {
    env.buffer(scope, "http2.settingsBuffer")
        .ok_or_else(|| invalid("settingsBuffer"))
}

/// `nghttp2ErrorString(error)`
fn error_string<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let error = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    text::one_byte(scope, nghttp2::error_text(error).as_bytes())
}

/// `refreshDefaultSettings()`
fn refresh_default_settings<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    settings::store_defaults(&settings_buffer(scope, &env)?);
    undefined(scope)
}

/// `packSettings()`: the payload of a SETTINGS frame.
fn pack_settings<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let entries = settings::entries(&settings_buffer(scope, &env)?);
    match nghttp2::pack_settings(&entries) {
        Some(payload) => Ok(buffer_of(scope, &payload)?.into()),
        None => undefined(scope),
    }
}

/// `setCallbackFunctions(...)`
fn set_callback_functions<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    for (name, index) in callback::ALL.into_iter().zip(0..) {
        if !args.get(index).is_function() {
            return Err(invalid("callback"));
        }
        env.register(scope, name, args.get(index));
    }
    undefined(scope)
}

/// `new Http2Session(type)`
fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Http2Session"));
    }
    let role = match args.get(0).int32_value(scope).ok_or(Throw::Pending)? {
        session_type::SERVER => Role::Server,
        session_type::CLIENT => Role::Client,
        _ => return Err(invalid("type")),
    };
    let env = Env::of(scope);
    let buffer = new_array_buffer(scope, FIELDS_BYTES)?;
    let array = v8::Uint8Array::new(scope, buffer, 0, FIELDS_BYTES).ok_or(Throw::Pending)?;
    let fields = AliasedBuffer::new(scope, array.into()).ok_or(Throw::Pending)?;
    for (index, value) in [MAX_INVALID_FRAMES, MAX_REJECTED_STREAMS] {
        fields.set(index, value);
    }
    let options = env
        .buffer(scope, "http2.optionsBuffer")
        .ok_or_else(|| invalid("optionsBuffer"))?;
    let (options, limits) = settings::options(&options, role == Role::Server);
    let remote_custom = CustomSettings::wanted(&settings_buffer(scope, &env)?);
    let memory = Rc::new(Cell::new(0));
    let wire = Wire::new(limits, fields.clone(), memory.clone(), &env);
    let account = Account::new(env.memory_account());
    let library = Session::new(role, &options, wire, account, memory).ok_or_else(out_of_memory)?;
    let session = Http2Session::new(Parts {
        object: v8::Weak::new(scope, args.this()),
        role,
        wire: library,
        fields,
        remote_custom,
    });
    let resource = Resource::wrap(scope, &env, args.this(), PROVIDER, session.clone());
    session.resource.replace(Rc::downgrade(&resource));
    set(scope, args.this(), "fields", array.into());
    undefined(scope)
}

fn out_of_memory() -> Throw {
    Throw::error("ERR_MEMORY_ALLOCATION_FAILED", "Failed to allocate memory")
}

/// The receiver of a method.
fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Http2Session>, Throw> {
    Ok(Resource::this::<Http2Session>(scope, args)?.1)
}

/// Submits something to the receiver's library; it is sent when the scope ends.
fn submit<'s, T>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    submit: impl FnOnce(&mut Session<Wire>) -> Result<T, LibError>,
) -> Result<Result<T, LibError>, Throw> {
    let session = this(scope, args)?;
    let env = Env::of(scope);
    let entered = session.enter();
    let result = session.library(submit);
    session.leave(&env, entered);
    Ok(result)
}

fn refused(error: LibError) -> Throw {
    Throw::error("ERR_HTTP2_ERROR", nghttp2::error_text(error.0))
}

/// `origin(origins, count)`: origins, each with a zero behind it.
fn origin<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let origins = v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| invalid("origins"))?;
    let count = args.get(1).uint32_value(scope).ok_or(Throw::Pending)? as usize;
    if origins.length() > MAX_ORIGINS {
        return Err(invalid("origins"));
    }
    let text = text::encode(scope, origins, Encoding::Latin1);
    let mut entries: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
    // What is behind the last zero.
    entries.pop();
    if entries.len() != count {
        return Err(invalid("count"));
    }
    submit(scope, args, |library| library.submit_origin(&entries))?.map_err(refused)?;
    undefined(scope)
}

/// `altsvc(stream, origin, value)`
fn altsvc<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let origin = args.get(1).to_string(scope).ok_or(Throw::Pending)?;
    let value = args.get(2).to_string(scope).ok_or(Throw::Pending)?;
    if origin.length().saturating_add(value.length()) > MAX_ALTSVC
        || (origin.length() == 0) == (stream == 0)
    {
        return Err(invalid("origin"));
    }
    let origin = text::encode(scope, origin, Encoding::Latin1);
    let value = text::encode(scope, value, Encoding::Latin1);
    submit(scope, args, |library| {
        library.submit_altsvc(stream, &origin, &value)
    })?
    .map_err(refused)?;
    undefined(scope)
}

/// `ping(payload, callback)`: whether it was sent.
fn ping<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut payload = None;
    if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0)) {
        let mut contents = Contents::default();
        let bytes = <[u8; 8]>::try_from(contents.of(scope, view));
        payload = Some(bytes.map_err(|_| invalid("payload"))?);
    }
    let callback =
        v8::Local::<v8::Function>::try_from(args.get(1)).map_err(|_| invalid("callback"))?;
    let session = this(scope, args)?;
    let env = Env::of(scope);
    let request = Acknowledged::ping(scope, &env, callback)?;
    let max = session.with_wire(|wire| wire.limits.max_outstanding_pings);
    if session.is_destroyed() || session.pings.borrow().len() >= max {
        request.done(scope, &env, Some(&session), Err(()));
        return boolean(scope, false);
    }
    let payload = payload.unwrap_or_else(|| request.start().as_secs_f64().to_ne_bytes());
    let entered = session.enter();
    let submitted = session.library(|library| library.submit_ping(payload));
    if submitted.is_ok() {
        session.pings.borrow_mut().push_back(request);
    }
    session.leave(&env, entered);
    boolean(scope, submitted.is_ok())
}

/// `consume(handle)`
fn consume<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let session = this(scope, args)?;
    let stream = v8::Local::<v8::Object>::try_from(args.get(0))
        .ok()
        .and_then(|object| stream_base::stream_of(scope, object));
    let (_, stream) = stream.ok_or_else(|| invalid("handle"))?;
    session.consume(scope, &stream, args.this());
    undefined(scope)
}

/// `receive(bytes)`: input that was read before the session was there.
fn receive<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let session = this(scope, args)?;
    let view =
        v8::Local::<v8::ArrayBufferView>::try_from(args.get(0)).map_err(|_| invalid("buffer"))?;
    let env = Env::of(scope);
    let _charge = env
        .memory_account()
        .map(|budget| budget.charge_native(view.byte_length()))
        .transpose()
        .map_err(|_| Throw::Pending)?;
    let mut contents = Contents::default();
    let bytes = contents.of(scope, view).to_vec();
    for piece in bytes.chunks(stream_base::READ_BYTES) {
        session.receive(scope, &env, piece);
    }
    undefined(scope)
}

/// `destroy(code, socketDestroyed)`
fn destroy<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let socket_closed = args.get(1).is_true();
    let session = this(scope, args)?;
    let env = Env::of(scope);
    session.close(scope, &env, code, socket_closed);
    undefined(scope)
}

/// `goaway(code, lastStreamID[, data])`
fn goaway<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let last_stream = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let mut contents = Contents::default();
    let data = match v8::Local::<v8::ArrayBufferView>::try_from(args.get(2)) {
        Ok(view) => contents.of(scope, view).to_vec(),
        Err(_) => Vec::new(),
    };
    let session = this(scope, args)?;
    if session.is_destroyed() {
        return undefined(scope);
    }
    session.with_wire(|wire| wire.says_goodbye = true);
    // A longer one cannot be sent, and says nothing.
    let data = data
        .get(..data.len().min(MAX_GOAWAY_DATA))
        .unwrap_or_default();
    let submitted = submit(scope, args, |library| {
        let last_stream = if last_stream > 0 {
            last_stream
        } else {
            library.last_stream()
        };
        library.submit_goaway(last_stream, code, data)
    })?;
    // A last stream that cannot be is refused; as in Node nobody hears of it.
    let _ = submitted;
    undefined(scope)
}

/// `hasPendingData()`
fn has_pending_data<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let pending = this(scope, args)?.has_pending_data();
    boolean(scope, pending)
}

/// `settings(callback)`: whether those in the array were sent.
fn send_settings<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let callback =
        v8::Local::<v8::Function>::try_from(args.get(0)).map_err(|_| invalid("callback"))?;
    let session = this(scope, args)?;
    let env = Env::of(scope);
    let entries = settings::entries(&settings_buffer(scope, &env)?);
    let request = Acknowledged::settings(scope, &env, callback)?;
    let max = session.with_wire(|wire| wire.limits.max_outstanding_settings);
    if session.settings.borrow().len() >= max {
        request.done(scope, &env, Some(&session), Err(()));
        return boolean(scope, false);
    }
    let entered = session.enter();
    let submitted = session.library(|library| library.submit_settings(&entries));
    if submitted.is_ok() {
        if settings::allow_connect_protocol(&entries) {
            session.with_wire(|wire| wire.limits.rules.connect_protocol = true);
        }
        session.local_custom.borrow_mut().send(&entries);
        session.settings.borrow_mut().push_back(request);
    }
    session.leave(&env, entered);
    submitted.map_err(refused)?;
    boolean(scope, true)
}

/// `request(headers, options, parent, weight, exclusive)`: the stream, or an error's number. Nothing follows priorities
/// since RFC 9113.
fn request<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let headers = headers::from_value(scope, args.get(0))?;
    let options = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let session = this(scope, args)?;
    let env = Env::of(scope);
    let entered = session.enter();
    let id = session.library(|library| library.submit_request(&headers, stream::has_body(options)));
    let answer = stream::opened(scope, &env, &session, id, options);
    if let Ok(id) = id {
        session.with_wire(|wire| {
            if let Some(stream) = wire.stream(id) {
                stream.message.method = headers.method();
            }
        });
    }
    session.leave(&env, entered);
    answer
}

/// `setNextStreamID(id)`: whether that can be.
fn set_next_stream_id<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let result = this(scope, args)?.library(|library| library.set_next_stream_id(id));
    boolean(scope, result.is_ok())
}

/// `setLocalWindowSize(size)`: 0 or an error's number.
fn set_local_window_size<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let size = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let result = this(scope, args)?.library(|library| library.set_local_window_size(size));
    number(scope, result.unwrap_or_else(|error| error.0))
}

/// `updateChunksSent()`: how often the session has written since JavaScript last set the count to 0.
fn update_chunks_sent<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let chunks = this(scope, args)?.chunks_sent.get();
    let chunks: v8::Local<v8::Value> = v8::Integer::new_from_unsigned(scope, chunks).into();
    let key = v8::String::new(scope, "chunksSentSinceLastWrite").ok_or(Throw::Pending)?;
    args.this()
        .set(scope, key.into(), chunks)
        .ok_or(Throw::Pending)?;
    Ok(chunks)
}

/// `refreshState()`
fn refresh_state<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let state = this(scope, args)?.library(|library| library.state());
    let env = Env::of(scope);
    if let Some(buffer) = env.buffer(scope, "http2.sessionState") {
        for (index, value) in state.into_iter().enumerate() {
            buffer.set(index, value);
        }
    }
    undefined(scope)
}

/// `localSettings()`
fn local_settings<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let session = this(scope, args)?;
    let env = Env::of(scope);
    let buffer = settings_buffer(scope, &env)?;
    let custom = session.local_custom.borrow();
    session.library(|library| settings::store(&buffer, library, Side::Local, &custom));
    undefined(scope)
}

/// `remoteSettings()`
fn remote_settings<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let session = this(scope, args)?;
    let env = Env::of(scope);
    let buffer = settings_buffer(scope, &env)?;
    let custom = session.remote_custom.borrow();
    session.library(|library| settings::store(&buffer, library, Side::Remote, &custom));
    undefined(scope)
}

/// `setGracefulClose()`
fn set_graceful_close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let session = this(scope, args)?;
    session.graceful_close.set(true);
    session.with_wire(|wire| wire.says_goodbye = true);
    undefined(scope)
}
