//! `internalBinding('undici_parser')`: the HTTP parser of `fetch`, in the shape of the WebAssembly module that undici
//! otherwise compiles in each process. `crates/node-lib/build.rs` makes undici ask for it.
//!
//! ```text
//!   instantiate({ env }) --> { exports }: llhttp_alloc, llhttp_execute, malloc, memory.buffer, ...
//!   llhttp_execute(parser, at, length) --> env.wasm_on_status, wasm_on_header_field, ...
//! ```
//! Numbers that are called pointers are names of parsers, and places in `memory.buffer`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use secure_exec_http_parser::{Code, Event, Failure, Kind, Lenient, Parser, Text};

use crate::array_buffer::{self, Contents};
use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "undici_parser",
    functions: &[
        ("instantiate", function!(instantiate)),
        ("llhttp_alloc", function!(alloc)),
        ("llhttp_free", function!(free_parser)),
        ("llhttp_execute", function!(execute)),
        ("llhttp_finish", function!(finish)),
        ("llhttp_resume", function!(resume)),
        ("llhttp_get_error_pos", function!(get_error_pos)),
        ("llhttp_get_error_reason", function!(get_error_reason)),
        ("malloc", function!(malloc)),
        ("free", function!(nothing)),
    ],
    ..Binding::DEFAULT
};

/// Key of the registry for undici's callbacks.
const CALLBACKS: &str = "undici_parser.callbacks";
/// Where the reason of the last error stands in the memory, and how long it may be.
const REASON_AT: usize = 8;
const REASON_BYTES: usize = 248;
/// Where the input begins in the memory.
const INPUT_AT: usize = REASON_AT + REASON_BYTES;
/// Parsers that a process may have; undici has one for each connection.
const MAX_PARSERS: usize = 65_536;

#[derive(Default)]
struct Parsers {
    next: Cell<u32>,
    living: RefCell<HashMap<u32, Rc<Living>>>,
}

struct Living {
    machine: RefCell<Parser>,
    executing: Cell<bool>,
    /// Where it stopped, in the memory, and why.
    stopped: Cell<(usize, &'static str)>,
}

/// Why a parser reads no further.
enum Stop {
    Failed(Failure),
    /// An exception is pending.
    Thrown,
}

/// llhttp's number of an error.
fn number_of(code: Code) -> i32 {
    match code {
        Code::Strict => 2,
        Code::LfExpected => 3,
        Code::UnexpectedContentLength => 4,
        Code::ClosedConnection => 5,
        Code::InvalidMethod => 6,
        Code::InvalidUrl => 7,
        Code::InvalidConstant => 8,
        Code::InvalidVersion => 9,
        Code::InvalidHeaderToken => 10,
        Code::InvalidContentLength => 11,
        Code::InvalidChunkSize => 12,
        Code::InvalidStatus => 13,
        Code::InvalidEofState => 14,
        Code::InvalidTransferEncoding => 15,
        Code::CbHeadersComplete => 17,
        Code::CbMessageComplete => 18,
        Code::Paused => PAUSED,
        Code::PausedUpgrade => 22,
        Code::PausedH2Upgrade => 23,
        Code::User => 24,
        Code::CrExpected => 25,
        Code::UnexpectedSpace => 30,
    }
}
const PAUSED: i32 = 21;

fn integer<'s>(scope: &mut v8::PinScope<'s, '_>, number: i32) -> Ret<'s> {
    Ok(v8::Integer::new(scope, number).into())
}

fn place<'s>(scope: &mut v8::PinScope<'s, '_>, place: usize) -> Ret<'s> {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    Ok(v8::Integer::new_from_unsigned(scope, place).into())
}

/// The binding's own object, which is undici's `exports`.
fn exports<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let exports = env.registered(scope, "binding undici_parser");
    exports
        .and_then(|exports| v8::Local::try_from(exports).ok())
        .ok_or(Throw::Pending)
}

/// `instantiate({ env })`
fn instantiate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let imports = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "imports must be an object"))?;
    let key = v8::String::new(scope, "env").ok_or(Throw::Pending)?;
    let callbacks = imports.get(scope, key.into()).ok_or(Throw::Pending)?;
    env.register(scope, CALLBACKS, callbacks);
    let exports = exports(scope, &env)?;
    let memory = v8::Object::new(scope);
    let buffer = array_buffer::new_array_buffer(scope, INPUT_AT)?;
    set(scope, memory, "buffer", buffer.into());
    set(scope, exports, "memory", memory.into());
    let instance = v8::Object::new(scope);
    set(scope, instance, "exports", exports.into());
    Ok(instance.into())
}

/// `memory.buffer`
fn buffer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
) -> Result<v8::Local<'s, v8::ArrayBuffer>, Throw> {
    let mut value: v8::Local<v8::Value> = exports(scope, env)?.into();
    for name in ["memory", "buffer"] {
        let object = v8::Local::<v8::Object>::try_from(value)
            .map_err(|_| Throw::error("ERR_INVALID_STATE", "Invalid state: no memory"))?;
        let key = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        value = object.get(scope, key.into()).ok_or(Throw::Pending)?;
    }
    v8::Local::try_from(value)
        .map_err(|_| Throw::error("ERR_INVALID_STATE", "Invalid state: no memory"))
}

/// `malloc(size)`: the one buffer for input, larger than before.
fn malloc<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let size = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let env = Env::of(scope);
    let buffer = array_buffer::new_array_buffer(scope, INPUT_AT.saturating_add(size))?;
    let exports = exports(scope, &env)?;
    let memory = v8::Object::new(scope);
    set(scope, memory, "buffer", buffer.into());
    set(scope, exports, "memory", memory.into());
    place(scope, INPUT_AT)
}

/// `free(place)`: the garbage collector does.
fn nothing<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// `llhttp_alloc(type)`: undici reads responses only.
fn alloc<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let parsers = Env::of(scope).extension::<Parsers>();
    if parsers.living.borrow().len() >= MAX_PARSERS {
        return Err(Throw::error(
            "ERR_OUT_OF_RANGE",
            format!("a process may have {MAX_PARSERS} parsers"),
        ));
    }
    let name = parsers.next.get().wrapping_add(1).max(1);
    parsers.next.set(name);
    let parser = Living {
        machine: RefCell::new(Parser::new(Kind::Response, Lenient::default())),
        executing: Cell::new(false),
        stopped: Cell::new((INPUT_AT, "")),
    };
    parsers.living.borrow_mut().insert(name, Rc::new(parser));
    Ok(v8::Integer::new_from_unsigned(scope, name).into())
}

/// The parser that the first argument names.
fn named(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<(u32, Rc<Living>), Throw> {
    let name = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let parsers = Env::of(scope).extension::<Parsers>();
    let parser = parsers.living.borrow().get(&name).cloned();
    parser
        .map(|parser| (name, parser))
        .ok_or_else(|| Throw::error("ERR_INVALID_STATE", "Invalid state: no such parser"))
}

fn free_parser<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (name, _) = named(scope, args)?;
    let parsers = Env::of(scope).extension::<Parsers>();
    parsers.living.borrow_mut().remove(&name);
    Ok(v8::undefined(scope).into())
}

fn resume<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, parser) = named(scope, args)?;
    parser.machine.borrow_mut().resume();
    Ok(v8::undefined(scope).into())
}

fn get_error_pos<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, parser) = named(scope, args)?;
    place(scope, parser.stopped.get().0)
}

/// `llhttp_get_error_reason(parser)`: where its text stands, or 0.
fn get_error_reason<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, parser) = named(scope, args)?;
    let (_, reason) = parser.stopped.get();
    if reason.is_empty() {
        return integer(scope, 0);
    }
    let env = Env::of(scope);
    let buffer = buffer(scope, &env)?;
    let length = buffer.byte_length();
    let view = v8::Uint8Array::new(scope, buffer, 0, length).ok_or(Throw::Pending)?;
    let memory = array_buffer::writable(scope, view.into());
    let text = reason.as_bytes();
    let text = text.get(..text.len().min(REASON_BYTES - 1)).unwrap_or(text);
    let room = memory.get_mut(REASON_AT..).unwrap_or_default();
    for (to, from) in room.iter_mut().zip(text.iter().chain(&[0])) {
        *to = *from;
    }
    place(scope, REASON_AT)
}

/// `llhttp_execute(parser, at, length)`: 0 or the number of an error.
fn execute<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (name, parser) = named(scope, args)?;
    let at = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let length = args.get(2).uint32_value(scope).ok_or(Throw::Pending)?;
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let env = Env::of(scope);
    let memory = buffer(scope, &env)?;
    // Callbacks may change the guest's memory.
    let mut contents = Contents::default();
    let input: Rc<[u8]> = contents
        .of_value(scope, memory.into())
        .and_then(|memory| memory.get(at..at.checked_add(length)?))
        .ok_or_else(|| Throw::range_error("ERR_OUT_OF_RANGE", "input out of range"))?
        .into();
    if parser.executing.replace(true) {
        return Err(Throw::error(
            "ERR_INVALID_STATE",
            "Invalid state: the parser is reading already",
        ));
    }
    let call = Call {
        env: &env,
        parser: &parser,
        name,
        input: &input,
        at,
    };
    let stop = call.read(scope);
    parser.executing.set(false);
    match stop {
        Ok(()) => integer(scope, 0),
        Err(Stop::Thrown) => Err(Throw::Pending),
        Err(Stop::Failed(failure)) => {
            let position = at.saturating_add(failure.position);
            parser.stopped.set((position, failure.reason));
            integer(scope, number_of(failure.code))
        }
    }
}

/// `llhttp_finish(parser)`: 0 or the number of an error.
fn finish<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (name, parser) = named(scope, args)?;
    let env = Env::of(scope);
    let event = parser.machine.borrow_mut().finish();
    let call = Call {
        env: &env,
        parser: &parser,
        name,
        input: &[],
        at: INPUT_AT,
    };
    let stop = match event {
        Event::MessageComplete => call.on_message_complete(scope),
        Event::Stopped(failure) => Err(Stop::Failed(failure)),
        _ => Ok(()),
    };
    match stop {
        Ok(()) => integer(scope, 0),
        Err(Stop::Thrown) => Err(Throw::Pending),
        Err(Stop::Failed(failure)) => {
            parser.stopped.set((INPUT_AT, failure.reason));
            integer(scope, number_of(failure.code))
        }
    }
}

/// One call into a parser.
struct Call<'c> {
    env: &'c Rc<Env>,
    parser: &'c Living,
    name: u32,
    input: &'c [u8],
    /// Where the input stands in the memory.
    at: usize,
}

impl Call<'_> {
    fn read(&self, scope: &mut v8::PinScope<'_, '_>) -> Result<(), Stop> {
        let machine = &self.parser.machine;
        machine.borrow_mut().begin().map_err(Stop::Failed)?;
        loop {
            v8::scope!(let scope, scope);
            let event = machine.borrow_mut().next(self.input);
            match event {
                Event::End => return Ok(()),
                Event::Stopped(failure) => return Err(Stop::Failed(failure)),
                Event::MessageBegin => {
                    let answer = self.call(scope, "wasm_on_message_begin", &[])?;
                    self.obey(answer, "`on_message_begin` callback error")?;
                }
                Event::Text(text, bytes) => self.on_text(scope, text, bytes)?,
                Event::HeadersComplete => self.on_headers_complete(scope)?,
                Event::MessageComplete => self.on_message_complete(scope)?,
                Event::ChunkHeader | Event::ChunkComplete => {}
            }
        }
    }

    /// Stops the parser when a callback says so: to pause, or with an error.
    fn obey(&self, answer: i32, reason: &'static str) -> Result<(), Stop> {
        let (code, reason) = match answer {
            0 => return Ok(()),
            PAUSED => (Code::Paused, "Paused"),
            _ => (Code::User, reason),
        };
        let failure = self.parser.machine.borrow_mut().fail(code, reason);
        Err(Stop::Failed(failure))
    }

    /// Calls `env[name](parser, ...args)`; its answer as a number.
    fn call(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        name: &'static str,
        args: &[u32],
    ) -> Result<i32, Stop> {
        let callbacks = self.env.registered(scope, CALLBACKS).ok_or(Stop::Thrown)?;
        let key = v8::String::new(scope, name).ok_or(Stop::Thrown)?;
        let function = v8::Local::<v8::Object>::try_from(callbacks)
            .ok()
            .and_then(|callbacks| callbacks.get(scope, key.into()))
            .and_then(|function| v8::Local::<v8::Function>::try_from(function).ok());
        let Some(function) = function else {
            return Ok(0);
        };
        let mut values = vec![v8::Integer::new_from_unsigned(scope, self.name).into()];
        for arg in args {
            values.push(v8::Integer::new_from_unsigned(scope, *arg).into());
        }
        let undefined = v8::undefined(scope).into();
        let answer = function
            .call(scope, undefined, &values)
            .ok_or(Stop::Thrown)?;
        answer.int32_value(scope).ok_or(Stop::Thrown)
    }

    fn on_text(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        text: Text,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        let (name, reason) = match text {
            Text::Status => ("wasm_on_status", "Span callback error in on_status"),
            Text::HeaderField => (
                "wasm_on_header_field",
                "Span callback error in on_header_field",
            ),
            Text::HeaderValue => (
                "wasm_on_header_value",
                "Span callback error in on_header_value",
            ),
            Text::Body if bytes.is_empty() => return Ok(()),
            Text::Body => ("wasm_on_body", "Span callback error in on_body"),
            Text::Url | Text::ChunkExtensionName | Text::ChunkExtensionValue => return Ok(()),
        };
        // The text is a part of the input.
        let offset = (bytes.as_ptr() as usize).saturating_sub(self.input.as_ptr() as usize);
        let at = self.at.saturating_add(offset.min(self.input.len()));
        let (Ok(at), Ok(length)) = (u32::try_from(at), u32::try_from(bytes.len())) else {
            return Err(Stop::Thrown);
        };
        let answer = self.call(scope, name, &[at, length])?;
        self.obey(answer, reason)
    }

    fn on_headers_complete(&self, scope: &mut v8::PinScope<'_, '_>) -> Result<(), Stop> {
        let (status, upgrade, keep_alive) = {
            let machine = self.parser.machine.borrow();
            (
                u32::from(machine.status_code()),
                u32::from(machine.is_upgrade()),
                u32::from(machine.should_keep_alive()),
            )
        };
        let args = [status, upgrade, keep_alive];
        let answer = self.call(scope, "wasm_on_headers_complete", &args)?;
        let mut machine = self.parser.machine.borrow_mut();
        machine.reply(answer.into()).map_err(Stop::Failed)
    }

    fn on_message_complete(&self, scope: &mut v8::PinScope<'_, '_>) -> Result<(), Stop> {
        match self.call(scope, "wasm_on_message_complete", &[])? {
            0 => Ok(()),
            PAUSED => self.obey(PAUSED, ""),
            _ => {
                let reason = "`on_message_complete` callback error";
                let mut machine = self.parser.machine.borrow_mut();
                Err(Stop::Failed(machine.fail(Code::CbMessageComplete, reason)))
            }
        }
    }
}
