//! `internalBinding('wasm_web_api')`: `WebAssembly.compileStreaming`. Source: `src/node_wasm_web_api.cc`.
//!
//! V8 keeps what it is fed outside every limit, so the bytes stay in the guest's own buffers until the last one came.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::array_buffer::{Contents, array_buffer_of};
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::env::Env;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "wasm_web_api",
    functions: &[("setImplementation", function!(set_implementation))],
    classes: &[Class {
        name: "WasmStreamingObject",
        methods: &[
            ("setURL", function!(set_url)),
            ("push", function!(push)),
            ("finish", function!(finish)),
            ("abort", function!(abort)),
        ],
        hidden: true,
        extra_fields: 1,
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

/// The internal field with the chunks that came.
const CHUNKS: usize = 1;

/// V8's end of a stream, until it is finished or aborted.
type Stream = RefCell<Option<v8::WasmStreaming<false>>>;

/// Lets the isolate stream WebAssembly. Contexts made after that have `compileStreaming` and `instantiateStreaming`.
pub fn install(isolate: &mut v8::Isolate) {
    isolate.set_wasm_streaming_callback(start);
}

fn set_implementation<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "wasm_web_api.implementation", args.get(0));
    Ok(v8::undefined(scope).into())
}

/// V8 calls this for `compileStreaming(source)`; the library reads the source.
fn start<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    source: v8::Local<'s, v8::Value>,
    streaming: v8::WasmStreaming<false>,
) {
    let work = AssertUnwindSafe(|| {
        let env = Env::of(scope);
        let state = env.new_instance(scope, "wasm_web_api.WasmStreamingObject")?;
        let chunks = v8::Array::new(scope, 0);
        state.set_internal_field(CHUNKS, chunks.into());
        env.objects
            .wrap(scope, state, Rc::new(Stream::new(Some(streaming))));
        let implementation = env
            .function(scope, "wasm_web_api.implementation")
            .ok_or(Throw::Pending)?;
        let undefined = v8::undefined(scope).into();
        implementation
            .call(scope, undefined, &[state.into(), source])
            .ok_or(Throw::Pending)
    });
    match catch_unwind(work) {
        Ok(Ok(_)) => {}
        Ok(Err(throw)) => throw.throw(scope),
        Err(panic) => Env::of(scope).condemn(scope, panic.as_ref()),
    }
}

fn stream_of<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Stream>, Throw> {
    let env = Env::of(scope);
    env.objects
        .unwrap::<Stream>(scope, args.this())
        .ok_or_else(|| {
            Throw::type_error(
                "ERR_INVALID_THIS",
                "Value of \"this\" must be of type WasmStreamingObject",
            )
        })
}

fn chunks_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<v8::Local<'s, v8::Array>, Throw> {
    let chunks = args
        .this()
        .get_internal_field(scope, CHUNKS)
        .ok_or(Throw::Pending)?;
    v8::Local::try_from(chunks).map_err(|_| Throw::Pending)
}

fn set_url<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = stream_of(scope, args)?;
    let url = args.get(0).to_rust_string_lossy(scope);
    if let Some(streaming) = stream.borrow_mut().as_mut() {
        streaming.set_url(&url.replace('\0', ""));
    }
    Ok(v8::undefined(scope).into())
}

/// `push(chunk)`: keeps a copy, which the guest cannot change any more.
fn push<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = stream_of(scope, args)?;
    let view = if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0)) {
        view
    } else {
        let buffer = v8::Local::<v8::ArrayBuffer>::try_from(args.get(0)).map_err(|_| {
            Throw::type_error(
                "ERR_INVALID_ARG_TYPE",
                "chunk must be an ArrayBufferView or an ArrayBuffer",
            )
        })?;
        v8::Uint8Array::new(scope, buffer, 0, buffer.byte_length())
            .ok_or(Throw::Pending)?
            .into()
    };
    if stream.borrow().is_none() {
        return Ok(v8::undefined(scope).into());
    }
    let mut contents = Contents::default();
    let copy = array_buffer_of(scope, contents.of(scope, view))?;
    let chunks = chunks_of(scope, args)?;
    let count = chunks.length();
    chunks
        .set_index(scope, count, copy.into())
        .ok_or(Throw::Pending)?;
    Ok(v8::undefined(scope).into())
}

fn finish<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = stream_of(scope, args)?;
    let Some(mut streaming) = stream.take() else {
        return Ok(v8::undefined(scope).into());
    };
    let chunks = chunks_of(scope, args)?;
    let mut module = Vec::new();
    for index in 0..chunks.length() {
        let chunk = chunks.get_index(scope, index).ok_or(Throw::Pending)?;
        let chunk = v8::Local::<v8::ArrayBuffer>::try_from(chunk).map_err(|_| Throw::Pending)?;
        let store = chunk.get_backing_store();
        module.extend(store.iter().map(std::cell::Cell::get));
    }
    if let Err(error) = crate::wasm_types::admit(&Env::of(scope), &module) {
        let message = v8::String::new(scope, &error.to_string()).ok_or(Throw::Pending)?;
        let exception = v8::Exception::range_error(scope, message);
        streaming.abort(Some(exception));
        return Ok(v8::undefined(scope).into());
    }
    crate::wasm_types::hold_stream(scope, module.len())?;
    streaming.on_bytes_received(&module);
    args.this()
        .set_internal_field(CHUNKS, v8::undefined(scope).into());
    streaming.finish();
    Ok(v8::undefined(scope).into())
}

fn abort<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = stream_of(scope, args)?;
    if let Some(streaming) = stream.take() {
        args.this()
            .set_internal_field(CHUNKS, v8::undefined(scope).into());
        streaming.abort(Some(args.get(0)));
    }
    Ok(v8::undefined(scope).into())
}
