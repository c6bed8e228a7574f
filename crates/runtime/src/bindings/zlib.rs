//! `internalBinding('zlib')`: deflate, gzip, Brotli and Zstandard streams. Source: `src/node_zlib.cc`.
//!
//! ```text
//! write(flush, in, ...)      copies of the input, in windows --> Codec --> output --> the guest's memory
//!    sync: on the spot                                                       |
//!    async: on a thread of crate::work                           writeState, callback or onerror
//! ```
//!
//! No codec sees the guest's memory: it may change, or go, while another thread works.

mod account;
mod brotli;
mod codec;
mod deflate;
mod zstd;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use self::account::Account;
use self::codec::{Codec, CodecError, Source, Written};
use self::deflate::{Mode, Settings, Zlib};
use crate::aliased_buffer::AliasedBuffer;
use crate::array_buffer::{Contents, writable};
use crate::binding::{Args, Binding, Class, Function, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::env::Env;
use crate::text;
use crate::throw::{ErrorClass, Throw};
use crate::work::Meter;

const METHODS: [Function; 5] = [
    ("write", function!(write_async)),
    ("writeSync", function!(write_sync)),
    ("close", function!(close)),
    ("params", function!(params)),
    ("reset", function!(reset)),
];

/// [`METHODS`] and `init`.
macro_rules! methods {
    ($init:path) => {{
        const INIT: Function = ("init", function!($init));
        const LIST: &[Function] = &[
            METHODS[0], METHODS[1], METHODS[2], METHODS[3], METHODS[4], INIT,
        ];
        LIST
    }};
}

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "zlib",
    functions: &[("crc32", function!(crc32))],
    classes: &[
        Class {
            name: "Zlib",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct_zlib)),
            methods: methods!(init_zlib),
            ..Class::DEFAULT
        },
        Class {
            name: "BrotliEncoder",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct)),
            methods: methods!(init_brotli_encoder),
            ..Class::DEFAULT
        },
        Class {
            name: "BrotliDecoder",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct)),
            methods: methods!(init_brotli_decoder),
            ..Class::DEFAULT
        },
        Class {
            name: "ZstdCompress",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct)),
            methods: methods!(init_zstd_compress),
            ..Class::DEFAULT
        },
        Class {
            name: "ZstdDecompress",
            parent: Some("fs.AsyncWrap"),
            constructor: Some(function!(construct)),
            methods: methods!(init_zstd_decompress),
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "ZLIB",
    number: 51,
};

/// Indexes of a stream's `writeState`.
mod state_field {
    pub const AVAILABLE_OUT: usize = 0;
    pub const AVAILABLE_IN: usize = 1;
}

/// The Rust side of a stream's handle.
#[derive(Default)]
struct Stream {
    /// What a `Zlib` was constructed for.
    mode: Cell<Option<Mode>>,
    /// Nothing before `init`, and while another thread has it.
    codec: RefCell<Option<Box<dyn Codec>>>,
    state: RefCell<Option<AliasedBuffer>>,
    callback: RefCell<Option<v8::Global<v8::Function>>>,
    writing: Cell<bool>,
    close_pending: Cell<bool>,
    closed: Cell<bool>,
}

fn invalid(name: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("The \"{name}\" argument is not valid"),
    )
}

fn invalid_state(text: &str) -> Throw {
    Throw::error("ERR_INVALID_STATE", format!("Invalid state: {text}"))
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// `new Zlib(mode)`
fn construct_zlib<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mode = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let mode = Mode::from_number(mode).ok_or_else(|| invalid("mode"))?;
    wrap(scope, args, Some(mode))
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    wrap(scope, args, None)
}

fn wrap<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, mode: Option<Mode>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Zlib"));
    }
    let stream = Stream {
        mode: Cell::new(mode),
        ..Stream::default()
    };
    Resource::wrap(
        scope,
        &Env::of(scope),
        args.this(),
        PROVIDER,
        Rc::new(stream),
    );
    undefined(scope)
}

/// The bytes of an optional dictionary.
fn dictionary<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>) -> Vec<u8> {
    let mut contents = Contents::default();
    match v8::Local::<v8::ArrayBufferView>::try_from(value) {
        Ok(view) => contents.of(scope, view).to_vec(),
        Err(_) => Vec::new(),
    }
}

/// Keeps what every `init` gets: the shared state and the callback of asynchronous writes.
fn begin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    stream: &Stream,
    state: v8::Local<'s, v8::Value>,
    callback: v8::Local<'s, v8::Value>,
) -> Result<Account, Throw> {
    let state = v8::Local::<v8::Uint32Array>::try_from(state).map_err(|_| invalid("writeState"))?;
    let callback =
        v8::Local::<v8::Function>::try_from(callback).map_err(|_| invalid("processCallback"))?;
    if stream.codec.borrow().is_some() || stream.writing.get() || stream.closed.get() {
        return Err(invalid_state("init was called already"));
    }
    let state = AliasedBuffer::new(scope, state.into()).ok_or_else(|| invalid("writeState"))?;
    stream.state.replace(Some(state));
    stream
        .callback
        .replace(Some(v8::Global::new(scope, callback)));
    Ok(Account::new(Env::of(scope).memory_account()))
}

/// `init(windowBits, level, memLevel, strategy, writeState, processCallback, dictionary)`
fn init_zlib<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let number = |index, range: std::ops::RangeInclusive<i32>, name| {
        let value = args.get(index).int32_value(scope).ok_or(Throw::Pending)?;
        Some(value)
            .filter(|value| range.contains(value))
            .ok_or_else(|| invalid(name))
    };
    let settings = Settings {
        window_bits: number(0, 0..=15, "windowBits")?,
        level: number(1, -1..=9, "level")?,
        mem_level: number(2, 1..=9, "memLevel")?,
        strategy: number(3, 0..=4, "strategy")?,
    };
    let dictionary = dictionary(scope, args.get(6));
    let (_, stream) = Resource::this::<Stream>(scope, args)?;
    let mode = stream.mode.get().ok_or_else(|| invalid("this"))?;
    let account = begin(scope, &stream, args.get(4), args.get(5))?;
    let codec = Zlib::new(mode, settings, dictionary, account);
    stream.codec.replace(Some(Box::new(codec)));
    undefined(scope)
}

/// The parameters that are set: those that are not `-1`.
fn parameters<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<brotli::Params, Throw> {
    const UNSET: u32 = u32::MAX;
    let array = v8::Local::<v8::Uint32Array>::try_from(value).map_err(|_| invalid("params"))?;
    let mut contents = Contents::default();
    let (words, _) = contents.of(scope, array.into()).as_chunks::<4>();
    let values = words.iter().map(|word| u32::from_ne_bytes(*word));
    Ok((0..)
        .zip(values)
        .filter(|(_, value)| *value != UNSET)
        .collect())
}

/// Ends an `init` that made a codec, or did not.
fn finish_init<'s, C: Codec + 'static>(
    scope: &mut v8::PinScope<'s, '_>,
    stream: &Stream,
    codec: Result<C, CodecError>,
    message: impl FnOnce(CodecError) -> String,
) -> Ret<'s> {
    match codec {
        Ok(codec) => {
            stream.codec.replace(Some(Box::new(codec)));
            undefined(scope)
        }
        Err(error) => Err(Throw::error(
            "ERR_ZLIB_INITIALIZATION_FAILED",
            message(error),
        )),
    }
}

fn initialization_failed(_error: CodecError) -> String {
    "Initialization failed".to_owned()
}

/// `init(params, writeState, processCallback)`
fn init_brotli_encoder<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let params = parameters(scope, args.get(0))?;
    let (_, stream) = Resource::this::<Stream>(scope, args)?;
    let account = begin(scope, &stream, args.get(1), args.get(2))?;
    let codec = brotli::Encoder::new(&params, account);
    finish_init(scope, &stream, codec, initialization_failed)
}

/// `init(params, writeState, processCallback)`
fn init_brotli_decoder<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let params = parameters(scope, args.get(0))?;
    let (_, stream) = Resource::this::<Stream>(scope, args)?;
    let account = begin(scope, &stream, args.get(1), args.get(2))?;
    let codec = brotli::Decoder::new(&params, account);
    finish_init(scope, &stream, codec, initialization_failed)
}

/// `init(params, pledgedSrcSize, writeState, processCallback, dictionary)`
fn init_zstd_compress<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let params = parameters(scope, args.get(0))?;
    let pledged = match args.get(1) {
        value if value.is_number() => {
            let size = value.integer_value(scope).unwrap_or(-1);
            Some(u64::try_from(size).map_err(|_| invalid("pledgedSrcSize"))?)
        }
        _ => None,
    };
    let dictionary = dictionary(scope, args.get(4));
    let (_, stream) = Resource::this::<Stream>(scope, args)?;
    let account = begin(scope, &stream, args.get(2), args.get(3))?;
    let codec = zstd::Compress::new(&params, pledged, &dictionary, account);
    finish_init(scope, &stream, codec, |error| error.message)
}

/// `init(params, pledgedSrcSize, writeState, processCallback, dictionary)`
fn init_zstd_decompress<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let params = parameters(scope, args.get(0))?;
    let dictionary = dictionary(scope, args.get(4));
    let (_, stream) = Resource::this::<Stream>(scope, args)?;
    let account = begin(scope, &stream, args.get(2), args.get(3))?;
    let codec = zstd::Decompress::new(&params, &dictionary, account);
    finish_init(scope, &stream, codec, |error| error.message)
}

/// Input that lies in the guest's memory: read piece by piece, by whichever thread.
struct GuestInput {
    memory: InputMemory,
    start: usize,
    length: usize,
}

enum InputMemory {
    /// Held; it is neither moved nor given back to the system while it is.
    Held(v8::SharedRef<v8::BackingStore>),
    /// A copy, of memory that may shrink.
    Copied(Vec<u8>),
}

// SAFETY: the C++ shared pointer counts atomically. The memory is only copied, byte by byte, never borrowed: what
// another thread writes meanwhile tears the copy, not more.
unsafe impl Send for GuestInput {}

impl Source for GuestInput {
    fn length(&self) -> usize {
        self.length
    }

    fn copy(&self, start: usize, length: usize, target: &mut Vec<u8>) {
        let from = self.start.saturating_add(start);
        match &self.memory {
            InputMemory::Copied(bytes) => {
                let range = bytes.get(from..from.saturating_add(length));
                target.extend_from_slice(range.unwrap_or_default());
            }
            InputMemory::Held(store) => {
                let fits = from
                    .checked_add(length)
                    .is_some_and(|end| end <= store.byte_length());
                let (Some(data), true) = (store.data(), fits) else {
                    return;
                };
                target.reserve(length);
                // SAFETY: the range lies in the held store, which is not resizable; the vector has room.
                unsafe {
                    let from = data.as_ptr().cast::<u8>().add(from);
                    let end = target.as_mut_ptr().add(target.len());
                    std::ptr::copy_nonoverlapping(from, end, length);
                    target.set_len(target.len() + length);
                }
            }
        }
    }
}

/// The arguments of one write.
struct WriteCall<'s> {
    flush: u32,
    input: GuestInput,
    output: v8::Local<'s, v8::ArrayBufferView>,
    offset: usize,
    room: usize,
}

impl<'s> WriteCall<'s> {
    /// `(flush, in, in_off, in_len, out, out_off, out_len)`
    fn parse(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Self, Throw> {
        let number = |index| args.get(index).uint32_value(scope).ok_or(Throw::Pending);
        let flush = number(0)?;
        let (start, length) = (number(2)? as usize, number(3)? as usize);
        let (offset, room) = (number(5)? as usize, number(6)? as usize);
        let output =
            v8::Local::<v8::ArrayBufferView>::try_from(args.get(4)).map_err(|_| invalid("out"))?;
        let within = |start: usize, length: usize, whole: usize| {
            start.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !within(offset, room, output.byte_length()) {
            return Err(invalid("out_len"));
        }
        let input = if args.get(1).is_null() {
            GuestInput {
                memory: InputMemory::Copied(Vec::new()),
                start: 0,
                length: 0,
            }
        } else {
            let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(1))
                .map_err(|_| invalid("in"))?;
            if !within(start, length, view.byte_length()) {
                return Err(invalid("in_len"));
            }
            Self::input(scope, view, start, length)?
        };
        Ok(Self {
            flush,
            input,
            output,
            offset,
            room,
        })
    }

    fn input(
        scope: &mut v8::PinScope<'s, '_>,
        view: v8::Local<'s, v8::ArrayBufferView>,
        start: usize,
        length: usize,
    ) -> Result<GuestInput, Throw> {
        let buffer = view.buffer(scope).ok_or_else(|| invalid("in"))?;
        let store = buffer.get_backing_store();
        if store.is_resizable_by_user_javascript() {
            let mut contents = Contents::default();
            let bytes = contents.of_range(scope, view, start..start.saturating_add(length));
            return Ok(GuestInput {
                memory: InputMemory::Copied(bytes.unwrap_or_default().to_vec()),
                start: 0,
                length,
            });
        }
        Ok(GuestInput {
            memory: InputMemory::Held(store),
            start: view.byte_offset().saturating_add(start),
            length,
        })
    }
}

/// A stream that is ready for a write, and its codec, which goes back when the write is done.
type Writer = (Rc<Resource>, Rc<Stream>, Box<dyn Codec>);

/// The receiver, ready for a write.
fn writable_stream<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Writer, Throw> {
    let (resource, stream) = Resource::this::<Stream>(scope, args)?;
    if stream.closed.get() {
        return Err(invalid_state("already finalized"));
    }
    if stream.writing.get() || stream.close_pending.get() {
        return Err(invalid_state("write already in progress"));
    }
    let codec = stream.codec.take();
    let codec = codec.ok_or_else(|| invalid_state("write before init"))?;
    Ok((resource, stream, codec))
}

/// Puts the output into the guest's memory, as far as that is still there.
fn store_output<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    view: v8::Local<'s, v8::ArrayBufferView>,
    offset: usize,
    output: &[u8],
) {
    let target = writable(scope, view);
    let range = offset..offset.saturating_add(output.len());
    if let Some(target) = target.get_mut(range) {
        target.copy_from_slice(output);
    }
}

/// Tells how much input and room are left.
fn store_state(stream: &Stream, length: usize, room: usize, written: &Written) {
    if let Some(state) = stream.state.borrow().as_ref() {
        let left = |whole: usize, used: usize| u32::try_from(whole - used).unwrap_or(u32::MAX);
        state.set(state_field::AVAILABLE_OUT, left(room, written.output.len()));
        state.set(state_field::AVAILABLE_IN, left(length, written.read));
    }
}

/// Calls `onerror(message, errno, code)` of the handle. An exception passes to the JavaScript that called, if any.
fn emit_error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    resource: &Resource,
    object: v8::Local<'s, v8::Object>,
    error: &CodecError,
) -> Result<(), Throw> {
    let args = [
        text::utf8(scope, error.message.as_bytes())?,
        v8::Integer::new(scope, error.errno).into(),
        text::utf8(scope, error.code.as_bytes())?,
    ];
    let context = resource.context();
    if env.callback_depth.get() == 0 {
        env.make_callback_named(scope, object, "onerror", &args, context);
        return Ok(());
    }
    let key = v8::String::new(scope, "onerror").ok_or(Throw::Pending)?;
    let handler = object.get(scope, key.into()).ok_or(Throw::Pending)?;
    if let Ok(handler) = v8::Local::<v8::Function>::try_from(handler) {
        env.call_nested(scope, object, handler, &args, context)
            .ok_or(Throw::Pending)?;
    }
    Ok(())
}

/// `writeSync(flush, in, in_off, in_len, out, out_off, out_len)`
fn write_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let call = WriteCall::parse(scope, args)?;
    let (resource, stream, mut codec) = writable_stream(scope, args)?;
    let written = codec::write(
        codec.as_mut(),
        &call.input,
        call.room,
        call.flush,
        &mut Meter::on_own_thread(&Env::of(scope)),
    );
    stream.codec.replace(Some(codec));
    store_output(scope, call.output, call.offset, &written.output);
    if let Some(error) = &written.error {
        emit_error(scope, &Env::of(scope), &resource, args.this(), error)?;
    } else {
        store_state(&stream, call.input.length, call.room, &written);
    }
    undefined(scope)
}

/// `write(flush, in, in_off, in_len, out, out_off, out_len)`
fn write_async<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let call = WriteCall::parse(scope, args)?;
    let (resource, stream, mut codec) = writable_stream(scope, args)?;
    stream.writing.set(true);
    let object = v8::Global::new(scope, args.this());
    let output = v8::Global::new(scope, call.output);
    let (input, room, flush) = (call.input, call.room, call.flush);
    let (length, offset) = (input.length, call.offset);
    Env::of(scope).queue_work(
        "zlib",
        move |meter| {
            let written = codec::write(codec.as_mut(), &input, room, flush, meter);
            // The input is let go on the isolate's thread.
            (codec, written, input)
        },
        move |scope, env, (codec, written, _input)| {
            stream.codec.replace(Some(codec));
            stream.writing.set(false);
            let object = v8::Local::new(scope, object);
            let output = v8::Local::new(scope, output);
            store_output(scope, output, offset, &written.output);
            if let Some(error) = &written.error {
                // Fails only when the process is ending.
                let _ = emit_error(scope, env, &resource, object, error);
            } else {
                store_state(&stream, length, room, &written);
                let callback = stream.callback.borrow().clone();
                if let Some(callback) = callback {
                    let callback = v8::Local::new(scope, callback);
                    env.make_callback(scope, object, callback, &[], resource.context());
                }
            }
            if stream.close_pending.get() {
                finish_close(&stream);
            }
        },
    );
    undefined(scope)
}

fn finish_close(stream: &Stream) {
    stream.close_pending.set(false);
    stream.closed.set(true);
    stream.codec.take();
    stream.callback.take();
}

/// `close()`; a write that is in progress comes to its end first.
fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, stream) = Resource::this::<Stream>(scope, args)?;
    if stream.writing.get() {
        stream.close_pending.set(true);
    } else {
        finish_close(&stream);
    }
    undefined(scope)
}

/// Runs `act` on the codec, if there is one, and tells `onerror` when it fails.
fn with_codec<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    busy: &str,
    act: impl FnOnce(&mut dyn Codec) -> Result<(), CodecError>,
) -> Ret<'s> {
    let (resource, stream) = Resource::this::<Stream>(scope, args)?;
    if stream.writing.get() {
        return Err(Throw::Plain(ErrorClass::Error, busy.to_owned()));
    }
    let outcome = {
        let mut codec = stream.codec.borrow_mut();
        codec.as_mut().map(|codec| act(codec.as_mut()))
    };
    if let Some(Err(error)) = outcome {
        emit_error(scope, &Env::of(scope), &resource, args.this(), &error)?;
    }
    undefined(scope)
}

/// `params(level, strategy)`
fn params<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let level = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let strategy = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let busy = "Cannot change the parameters of a zlib stream while a write is in progress";
    with_codec(scope, args, busy, |codec| codec.set_params(level, strategy))
}

/// `reset()`
fn reset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let busy = "Cannot reset zlib stream while a write is in progress";
    with_codec(scope, args, busy, |codec| codec.reset())
}

/// `crc32(data, value)`
fn crc32<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let mut contents = Contents::default();
    let sum = if let Ok(string) = v8::Local::<v8::String>::try_from(args.get(0)) {
        let bytes = text::encode(scope, string, text::Encoding::Utf8);
        deflate::crc32(value, &bytes)
    } else {
        let bytes = contents.of_value(scope, args.get(0));
        deflate::crc32(value, bytes.ok_or_else(|| invalid("data"))?)
    };
    Ok(v8::Integer::new_from_unsigned(scope, sum).into())
}
