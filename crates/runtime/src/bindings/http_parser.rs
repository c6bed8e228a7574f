//! `internalBinding('http_parser')`: HTTP/1 messages from bytes. Source: `src/node_http_parser.cc`.
//!
//! ```text
//! execute(buffer) --> secure_exec_http_parser::Parser --events--> HttpParser --> object[kOnHeadersComplete], ...
//! ```
//!
//! A callback may pause, close, initialize or free the parser that calls it. Nothing is borrowed while one runs, and a
//! parser that was initialized anew drops the rest of the old input.

mod connections;
mod consumer;
mod message;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use secure_exec_http_parser::{
    ALL_METHODS, Code, Event, Failure, HTTP_METHODS, Kind, Lenient, Parser, Text,
};

use self::connections::Connections;
use self::message::Headers;
use crate::array_buffer::{Contents, buffer_of};
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::options;
use crate::env::Env;
use crate::memory::NativeCharge;
use crate::realm::set;
use crate::text;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "http_parser",
    classes: &[
        Class {
            name: "HTTPParser",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct)),
            methods: &[
                ("close", function!(close)),
                ("free", function!(free)),
                ("remove", function!(remove)),
                ("execute", function!(execute)),
                ("finish", function!(finish)),
                ("initialize", function!(initialize)),
                ("pause", function!(pause)),
                ("resume", function!(resume)),
                ("consume", function!(consumer::consume)),
                ("unconsume", function!(consumer::unconsume)),
                ("getCurrentBuffer", function!(get_current_buffer)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "ConnectionsList",
            constructor: Some(function!(connections::construct)),
            methods: &[
                ("all", function!(connections::all)),
                ("idle", function!(connections::idle)),
                ("active", function!(connections::active)),
                ("expired", function!(connections::expired)),
            ],
            ..Class::DEFAULT
        },
    ],
    init: Some(init),
    ..Binding::DEFAULT
};

/// Where a parser's object keeps its callbacks.
mod callback {
    pub const MESSAGE_BEGIN: u32 = 0;
    pub const HEADERS: u32 = 1;
    pub const HEADERS_COMPLETE: u32 = 2;
    pub const BODY: u32 = 3;
    pub const MESSAGE_COMPLETE: u32 = 4;
}

const REQUEST: i32 = 1;
const RESPONSE: i32 = 2;

const CONSTANTS: &[(&str, i32)] = &[
    ("REQUEST", REQUEST),
    ("RESPONSE", RESPONSE),
    ("kOnMessageBegin", 0),
    ("kOnHeaders", 1),
    ("kOnHeadersComplete", 2),
    ("kOnBody", 3),
    ("kOnMessageComplete", 4),
    ("kOnExecute", 5),
    ("kOnTimeout", 6),
    ("kLenientNone", 0),
    ("kLenientHeaders", 1),
    ("kLenientChunkedLength", 1 << 1),
    ("kLenientKeepAlive", 1 << 2),
    ("kLenientTransferEncoding", 1 << 3),
    ("kLenientVersion", 1 << 4),
    ("kLenientDataAfterClose", 1 << 5),
    ("kLenientOptionalLFAfterCR", 1 << 6),
    ("kLenientOptionalCRLFAfterChunk", 1 << 7),
    ("kLenientOptionalCRBeforeLF", 1 << 8),
    ("kLenientSpacesAfterChunkSize", 1 << 9),
    ("kLenientAll", LENIENT_ALL),
];
const LENIENT_ALL: i32 = (1 << 10) - 1;

const SERVER: Provider = Provider {
    name: "HTTPINCOMINGMESSAGE",
    number: 17,
};
const CLIENT: Provider = Provider {
    name: "HTTPCLIENTREQUEST",
    number: 18,
};

/// Bytes of one chunk's extensions.
const MAX_CHUNK_EXTENSIONS: usize = 16 << 10;
/// What a parser holds without being charged for it.
const FREE_BYTES: usize = 64 << 10;

const HEADER_OVERFLOW: &str = "HPE_HEADER_OVERFLOW:Header overflow";
const EXTENSIONS_OVERFLOW: &str = "HPE_CHUNK_EXTENSIONS_OVERFLOW:Chunk extensions overflow";
const EXCEPTION: &str = "HPE_JS_EXCEPTION:JS Exception";

fn init(scope: &mut v8::PinScope<'_, '_>, _env: &Env, target: v8::Local<v8::Object>) {
    let class = v8::String::new(scope, "HTTPParser")
        .and_then(|name| target.get(scope, name.into()))
        .and_then(|class| v8::Local::<v8::Object>::try_from(class).ok());
    if let Some(class) = class {
        for (name, value) in CONSTANTS {
            let value = v8::Integer::new(scope, *value).into();
            set(scope, class, name, value);
        }
    }
    for (name, methods) in [("methods", HTTP_METHODS), ("allMethods", ALL_METHODS)] {
        let names: Vec<v8::Local<v8::Value>> = methods
            .iter()
            .filter_map(|method| v8::String::new(scope, method))
            .map(Into::into)
            .collect();
        let array = v8::Array::new_with_elements(scope, &names);
        set(scope, target, name, array.into());
    }
}

/// The Rust side of an `HTTPParser` object.
struct HttpParser {
    machine: RefCell<Parser>,
    /// Counts `initialize` and `close`: work for an older generation stops.
    generation: Cell<u64>,
    /// The generation whose input is being read.
    executing: Cell<Option<u64>>,
    closed: Cell<bool>,
    headers: RefCell<Headers>,
    url: RefCell<Vec<u8>>,
    status: RefCell<Vec<u8>>,
    flushed: Cell<bool>,
    /// Bytes of headers and of chunk extensions so far.
    header_bytes: Cell<u64>,
    extension_bytes: Cell<usize>,
    max_header_bytes: Cell<u64>,
    /// The input that is being read, for `getCurrentBuffer`.
    input: RefCell<Option<Rc<[u8]>>>,
    charge: RefCell<Option<NativeCharge>>,
    /// Its place in a [`Connections`].
    membership: connections::Membership,
    /// The stream that it reads by itself.
    source: RefCell<Option<consumer::Source>>,
}

/// Why a parser reads no further.
enum Stop {
    Failed(Failure),
    /// An exception is pending.
    Thrown,
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("HTTPParser"));
    }
    let env = Env::of(scope);
    let object = args.this();
    let parser = HttpParser {
        machine: RefCell::new(Parser::new(Kind::Request, Lenient::default())),
        generation: Cell::default(),
        executing: Cell::default(),
        closed: Cell::default(),
        headers: RefCell::default(),
        url: RefCell::default(),
        status: RefCell::default(),
        flushed: Cell::default(),
        header_bytes: Cell::default(),
        extension_bytes: Cell::default(),
        max_header_bytes: Cell::new(default_max_header_bytes(&env)),
        input: RefCell::default(),
        charge: RefCell::default(),
        membership: connections::Membership::new(scope, object),
        source: RefCell::default(),
    };
    Resource::wrap_idle(scope, &env, object, Rc::new(parser));
    Ok(v8::undefined(scope).into())
}

/// A parser and its async ids.
type Receiver = (Rc<Resource>, Rc<HttpParser>);

/// The receiver, unless it was closed.
fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Option<Receiver>, Throw> {
    let found = Resource::this::<HttpParser>(scope, args)?;
    Ok(Some(found).filter(|(_, parser)| !parser.closed.get()))
}

fn default_max_header_bytes(env: &Env) -> u64 {
    options::number(env, "--max-http-header-size").map_or(0, bytes_of)
}

/// A number of bytes from a JavaScript number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, as wanted"
)]
fn bytes_of(number: f64) -> u64 {
    number as u64
}

/// `initialize(type, resource[, maxHeaderSize[, lenientFlags[, connectionsList]]])`
fn initialize<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let invalid = |name: &str| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            format!("The \"{name}\" argument is not valid"),
        )
    };
    let undefined = v8::undefined(scope).into();
    let env = Env::of(scope);
    let (kind, provider) = match args.get(0).int32_value(scope).ok_or(Throw::Pending)? {
        REQUEST => (Kind::Request, SERVER),
        RESPONSE => (Kind::Response, CLIENT),
        _ => return Err(invalid("type")),
    };
    let object = v8::Local::<v8::Object>::try_from(args.get(1)).map_err(|_| invalid("resource"))?;
    let max_header_bytes = match args.get(2) {
        value if value.is_undefined() => 0,
        value if value.is_number() => bytes_of(value.number_value(scope).unwrap_or_default()),
        _ => return Err(invalid("maxHeaderSize")),
    };
    let lenient = match args.get(3) {
        value if value.is_undefined() => 0,
        value if value.is_int32() => value.int32_value(scope).unwrap_or_default(),
        _ => return Err(invalid("lenientFlags")),
    };
    let list = match args.get(4) {
        value if value.is_null_or_undefined() => None,
        value => Some(Connections::of(scope, value).ok_or_else(|| invalid("connectionsList"))?),
    };
    let Some((resource, parser)) = this(scope, args)? else {
        return Ok(undefined);
    };
    resource.begin(scope, &env, provider, args.this(), object);
    let lenient = Lenient(u16::try_from(lenient & LENIENT_ALL).unwrap_or_default());
    parser.machine.replace(Parser::new(kind, lenient));
    parser.generation.set(parser.generation.get() + 1);
    parser.executing.set(None);
    parser.headers.borrow_mut().clear();
    parser.url.take();
    parser.status.take();
    parser.flushed.set(false);
    parser.header_bytes.set(0);
    parser.extension_bytes.set(0);
    parser.max_header_bytes.set(match max_header_bytes {
        0 => default_max_header_bytes(&env),
        bytes => bytes,
    });
    parser.charge.take();
    parser.membership.join(&env, list);
    Ok(undefined)
}

/// `close()`: nothing can be done with the parser any more.
fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some((resource, parser)) = this(scope, args)? {
        resource.end(scope, &Env::of(scope), args.this());
        parser.closed.set(true);
        parser.generation.set(parser.generation.get() + 1);
        parser.headers.take();
        parser.url.take();
        parser.status.take();
        parser.charge.take();
        parser.membership.leave();
        consumer::detach(&parser);
    }
    Ok(v8::undefined(scope).into())
}

/// `free()`: the parser goes back to the library's list of free ones.
fn free<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some((resource, _)) = this(scope, args)? {
        let env = Env::of(scope);
        resource.end(scope, &env, args.this());
    }
    Ok(v8::undefined(scope).into())
}

/// `remove()`: the parser leaves its list of connections.
fn remove<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some((_, parser)) = this(scope, args)? {
        parser.membership.leave();
    }
    Ok(v8::undefined(scope).into())
}

fn pause<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some((_, parser)) = this(scope, args)? {
        parser.machine.borrow_mut().pause();
    }
    Ok(v8::undefined(scope).into())
}

fn resume<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some((_, parser)) = this(scope, args)? {
        parser.machine.borrow_mut().resume();
    }
    Ok(v8::undefined(scope).into())
}

/// `getCurrentBuffer()`: a copy of the input that is being read.
fn get_current_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Some((_, parser)) = this(scope, args)? else {
        return Ok(v8::undefined(scope).into());
    };
    let input = parser.input.borrow().clone();
    Ok(buffer_of(scope, input.as_deref().unwrap_or_default())?.into())
}

/// `execute(buffer)`: how much of it was read, or an error.
fn execute<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Some((resource, parser)) = this(scope, args)? else {
        return Ok(v8::undefined(scope).into());
    };
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"buffer\" argument must be an instance of Buffer, TypedArray, or DataView.",
        )
    })?;
    let env = Env::of(scope);
    let length = view.byte_length();
    let _charge = charge(&env, length)?;
    let mut contents = Contents::default();
    // Callbacks may change the guest's memory.
    let input: Rc<[u8]> = contents
        .of_range(scope, view, 0..length)
        .unwrap_or_default()
        .into();
    let call = Call {
        env: &env,
        resource: &resource,
        parser: &parser,
        object: args.this(),
    };
    call.execute(scope, input)
}

/// `finish()`: the end of the input. Answers an error when that cuts a message off.
fn finish<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Some((resource, parser)) = this(scope, args)? else {
        return Ok(v8::undefined(scope).into());
    };
    let call = Call {
        env: &Env::of(scope),
        resource: &resource,
        parser: &parser,
        object: args.this(),
    };
    call.finish(scope)
}

/// Charges what is more than a little.
fn charge(env: &Env, bytes: usize) -> Result<Option<NativeCharge>, Throw> {
    let budget = env.memory_account().filter(|_| bytes > FREE_BYTES);
    budget
        .map(|budget| budget.charge_native(bytes))
        .transpose()
        .map_err(|_| Throw::Pending)
}

/// One call into a parser.
struct Call<'c, 's> {
    env: &'c Rc<Env>,
    resource: &'c Rc<Resource>,
    parser: &'c Rc<HttpParser>,
    object: v8::Local<'s, v8::Object>,
}

/// Whether ticks and microtasks run after a callback that nothing else surrounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ticks {
    Run,
    Skip,
}

impl<'s> Call<'_, 's> {
    fn execute(&self, scope: &mut v8::PinScope<'s, '_>, input: Rc<[u8]>) -> Ret<'s> {
        let parser = self.parser;
        let generation = parser.generation.get();
        if parser.executing.get() == Some(generation) {
            return Err(Throw::error(
                "ERR_INVALID_STATE",
                "Invalid state: the parser is reading already",
            ));
        }
        parser.executing.set(Some(generation));
        parser.input.replace(Some(input.clone()));
        let stop = self.read(scope, &input, generation);
        if parser.generation.get() != generation {
            return match stop {
                Err(Stop::Thrown) => Err(Throw::Pending),
                _ => length(scope, input.len()),
            };
        }
        parser.executing.set(None);
        parser.input.take();
        let held = parser.headers.borrow().bytes()
            + parser.url.borrow().capacity()
            + parser.status.borrow().capacity();
        parser.charge.replace(charge(self.env, held)?);
        match stop {
            Ok(()) => length(scope, input.len()),
            Err(Stop::Thrown) => Err(Throw::Pending),
            Err(Stop::Failed(failure)) => self.answer(scope, failure),
        }
    }

    /// Reads `input` until its end, or until the parser is another one.
    fn read(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        input: &[u8],
        generation: u64,
    ) -> Result<(), Stop> {
        let machine = &self.parser.machine;
        machine.borrow_mut().begin().map_err(Stop::Failed)?;
        while self.parser.generation.get() == generation {
            let event = machine.borrow_mut().next(input);
            match event {
                Event::End => break,
                Event::Stopped(failure) => return Err(Stop::Failed(failure)),
                event => self.on_event(scope, event, generation)?,
            }
        }
        Ok(())
    }

    fn finish(&self, scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
        let event = self.parser.machine.borrow_mut().finish();
        let stop = match event {
            Event::MessageComplete => self.on_message_complete(scope),
            Event::Stopped(failure) => Err(Stop::Failed(failure)),
            _ => Ok(()),
        };
        match stop {
            Ok(()) => Ok(v8::undefined(scope).into()),
            Err(Stop::Thrown) => Err(Throw::Pending),
            Err(Stop::Failed(_)) if self.parser.machine.borrow().is_upgrade() => {
                Ok(v8::undefined(scope).into())
            }
            Err(Stop::Failed(failure)) => error(scope, failure),
        }
    }

    /// What `execute` answers when the parser has stopped.
    fn answer(&self, scope: &mut v8::PinScope<'s, '_>, failure: Failure) -> Ret<'s> {
        let upgrade = {
            let mut machine = self.parser.machine.borrow_mut();
            machine.resume_after_upgrade();
            machine.is_upgrade() || failure.code == Code::PausedUpgrade
        };
        if upgrade {
            return length(scope, failure.position);
        }
        error(scope, failure)
    }

    fn on_event(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        event: Event<'_>,
        generation: u64,
    ) -> Result<(), Stop> {
        v8::scope!(let scope, scope);
        let parser = self.parser;
        let call = Call {
            env: self.env,
            resource: self.resource,
            parser,
            object: v8::Local::new(scope, self.object),
        };
        match event {
            Event::MessageBegin => call.on_message_begin(scope),
            Event::Text(Text::Url, bytes) => {
                call.track_header(bytes)?;
                parser.url.borrow_mut().extend_from_slice(bytes);
                Ok(())
            }
            Event::Text(Text::Status, bytes) => {
                call.track_header(bytes)?;
                parser.status.borrow_mut().extend_from_slice(bytes);
                Ok(())
            }
            Event::Text(Text::HeaderField, bytes) => {
                call.track_header(bytes)?;
                let full = parser.headers.borrow_mut().begin_name();
                if full {
                    call.flush(scope)?;
                    if parser.generation.get() != generation {
                        return Ok(());
                    }
                    parser.headers.borrow_mut().begin_name();
                }
                parser.headers.borrow_mut().extend(bytes);
                Ok(())
            }
            Event::Text(Text::HeaderValue, bytes) => {
                call.track_header(bytes)?;
                let mut headers = parser.headers.borrow_mut();
                headers.begin_value();
                headers.extend(bytes);
                Ok(())
            }
            Event::Text(Text::ChunkExtensionName | Text::ChunkExtensionValue, bytes) => {
                let read = parser.extension_bytes.get().saturating_add(bytes.len());
                parser.extension_bytes.set(read);
                if read > MAX_CHUNK_EXTENSIONS {
                    return Err(call.fail(EXTENSIONS_OVERFLOW));
                }
                Ok(())
            }
            Event::Text(Text::Body, bytes) => call.on_body(scope, bytes),
            Event::HeadersComplete => call.on_headers_complete(scope, generation),
            Event::ChunkHeader => {
                parser.header_bytes.set(0);
                parser.extension_bytes.set(0);
                Ok(())
            }
            Event::ChunkComplete => {
                parser.header_bytes.set(0);
                Ok(())
            }
            Event::MessageComplete => {
                let outcome = call.on_message_complete(scope);
                if matches!(outcome, Err(Stop::Thrown)) && parser.generation.get() == generation {
                    parser.machine.borrow_mut().fail(
                        Code::CbMessageComplete,
                        "`on_message_complete` callback error",
                    );
                }
                outcome
            }
            Event::End | Event::Stopped(_) => Ok(()),
        }
    }

    fn fail(&self, reason: &'static str) -> Stop {
        Stop::Failed(self.parser.machine.borrow_mut().fail(Code::User, reason))
    }

    fn track_header(&self, bytes: &[u8]) -> Result<(), Stop> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let read = self.parser.header_bytes.get().saturating_add(length);
        self.parser.header_bytes.set(read);
        if read >= self.parser.max_header_bytes.get() {
            return Err(self.fail(HEADER_OVERFLOW));
        }
        Ok(())
    }

    /// Calls `object[index]`, when that is a function; `Ok(None)` when it is not.
    fn call(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        index: u32,
        args: &[v8::Local<'s, v8::Value>],
        ticks: Ticks,
    ) -> Result<Option<v8::Local<'s, v8::Value>>, Stop> {
        let value = self.object.get_index(scope, index).ok_or(Stop::Thrown)?;
        let Ok(function) = v8::Local::<v8::Function>::try_from(value) else {
            return Ok(None);
        };
        let context = self.resource.context();
        let outermost = self.env.callback_depth.get() == 0;
        let result = if ticks == Ticks::Run && outermost {
            self.env
                .make_callback(scope, self.object, function, args, context)
        } else {
            self.env
                .call_nested(scope, self.object, function, args, context)
        };
        result.map(Some).ok_or(Stop::Thrown)
    }

    /// As [`Self::call`]; the parser stops when the callback throws.
    fn notify(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        index: u32,
        args: &[v8::Local<'s, v8::Value>],
        ticks: Ticks,
    ) -> Result<(), Stop> {
        let outcome = self.call(scope, index, args, ticks);
        outcome.map(|_| ()).inspect_err(|_| {
            self.fail(EXCEPTION);
        })
    }

    fn on_message_begin(&self, scope: &mut v8::PinScope<'s, '_>) -> Result<(), Stop> {
        let parser = self.parser;
        parser.headers.borrow_mut().clear();
        parser.extension_bytes.set(0);
        parser.url.borrow_mut().clear();
        parser.status.borrow_mut().clear();
        parser.membership.begin_message(self.env);
        self.notify(scope, callback::MESSAGE_BEGIN, &[], Ticks::Skip)
    }

    fn on_headers_complete(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        generation: u64,
    ) -> Result<(), Stop> {
        let parser = self.parser;
        parser.membership.complete_headers();
        parser.header_bytes.set(0);
        let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
        let (mut headers, mut url) = (undefined, undefined);
        let is_request = parser.machine.borrow().kind() == Kind::Request;
        let function = self
            .object
            .get_index(scope, callback::HEADERS_COMPLETE)
            .ok_or(Stop::Thrown)?;
        if !function.is_function() {
            return Ok(());
        }
        if parser.flushed.get() {
            self.flush(scope)?;
            if parser.generation.get() != generation {
                return Ok(());
            }
        } else {
            headers = parser
                .headers
                .borrow()
                .to_array(scope)
                .ok_or(Stop::Thrown)?;
            if is_request {
                url = self.latin1(scope, &parser.url)?;
            }
        }
        parser.headers.borrow_mut().clear();
        let (mut method, mut status_code, mut status) = (undefined, undefined, undefined);
        if is_request {
            let number = u32::from(parser.machine.borrow().method());
            method = v8::Integer::new_from_unsigned(scope, number).into();
        } else {
            let number = u32::from(parser.machine.borrow().status_code());
            status_code = v8::Integer::new_from_unsigned(scope, number).into();
            status = self.latin1(scope, &parser.status)?;
        }
        let (major, minor) = parser.machine.borrow().version();
        let keep_alive = parser.machine.borrow().should_keep_alive();
        let upgrade = parser.machine.borrow().is_upgrade();
        let args = [
            v8::Integer::new(scope, i32::from(major)).into(),
            v8::Integer::new(scope, i32::from(minor)).into(),
            headers,
            method,
            url,
            status_code,
            status,
            v8::Boolean::new(scope, upgrade).into(),
            v8::Boolean::new(scope, keep_alive).into(),
        ];
        let answer = self
            .call(scope, callback::HEADERS_COMPLETE, &args, Ticks::Skip)
            .and_then(|answer| match answer {
                Some(answer) => answer.integer_value(scope).ok_or(Stop::Thrown),
                None => Ok(0),
            });
        if parser.generation.get() != generation {
            return answer.map(|_| ());
        }
        let mut machine = parser.machine.borrow_mut();
        match answer {
            Ok(answer) => machine.reply(answer).map_err(Stop::Failed),
            Err(stop) => {
                let refused = machine.reply(-1);
                debug_assert!(refused.is_err(), "-1 is refused");
                Err(stop)
            }
        }
    }

    fn latin1(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        bytes: &RefCell<Vec<u8>>,
    ) -> Result<v8::Local<'s, v8::Value>, Stop> {
        text::one_byte(scope, &bytes.borrow()).map_err(|throw| {
            throw.throw(scope);
            Stop::Thrown
        })
    }

    fn on_body(&self, scope: &mut v8::PinScope<'s, '_>, bytes: &[u8]) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        let buffer = buffer_of(scope, bytes).map_err(|throw| {
            throw.throw(scope);
            self.fail(EXCEPTION);
            Stop::Thrown
        })?;
        self.notify(scope, callback::BODY, &[buffer.into()], Ticks::Run)
    }

    fn on_message_complete(&self, scope: &mut v8::PinScope<'s, '_>) -> Result<(), Stop> {
        self.parser.membership.complete_message();
        if !self.parser.headers.borrow().is_empty() {
            self.flush(scope)?;
        }
        self.call(scope, callback::MESSAGE_COMPLETE, &[], Ticks::Skip)
            .map(|_| ())
    }

    /// Hands over the headers so far, and the URL: there are too many for one call, or they are trailers.
    fn flush(&self, scope: &mut v8::PinScope<'s, '_>) -> Result<(), Stop> {
        let parser = self.parser;
        let headers = parser
            .headers
            .borrow()
            .to_array(scope)
            .ok_or(Stop::Thrown)?;
        let url = self.latin1(scope, &parser.url)?;
        parser.headers.borrow_mut().clear();
        let function = self
            .object
            .get_index(scope, callback::HEADERS)
            .ok_or(Stop::Thrown)?;
        if !function.is_function() {
            return Ok(());
        }
        parser.url.borrow_mut().clear();
        parser.flushed.set(true);
        self.notify(scope, callback::HEADERS, &[headers, url], Ticks::Run)
    }
}

fn length<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: usize) -> Ret<'s> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let bytes = bytes as f64;
    Ok(v8::Number::new(scope, bytes).into())
}

/// The error that `execute` and `finish` answer.
fn error<'s>(scope: &mut v8::PinScope<'s, '_>, failure: Failure) -> Ret<'s> {
    let message = v8::String::new(scope, "Parse Error").ok_or(Throw::Pending)?;
    let error = v8::Exception::error(scope, message);
    let object = v8::Local::<v8::Object>::try_from(error).map_err(|_| Throw::Pending)?;
    // What the binding itself refuses carries its own code.
    let (code, reason) = match failure.reason.split_once(':') {
        Some(parts) if failure.code == Code::User => parts,
        _ => (failure.code.name(), failure.reason),
    };
    let position = length(scope, failure.position)?;
    set(scope, object, "bytesParsed", position);
    for (key, text) in [("code", code), ("reason", reason)] {
        let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
        set(scope, object, key, text.into());
    }
    Ok(error)
}
