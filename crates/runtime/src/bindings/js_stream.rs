//! `internalBinding('js_stream')`: a stream that JavaScript is behind, for what takes the streams of bindings only.
//! Source: `src/js_stream.cc`.
//!
//! ```text
//!   readStart, write*, shutdown --> JSStream --onreadstart, onwrite, onshutdown--> JavaScript
//!   onread <--------------------------- JSStream <--readBuffer, emitEOF, finish*-- JavaScript
//! ```

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use secure_exec_kernel::Errno;

use crate::array_buffer::{Contents, buffer_of};
use crate::binding::{Args, Binding, Class, Function, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::argument;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::stream_base::{
    self, Chunk, MAX_QUEUED_WRITES, Pending, Requester, Stream, StreamBase, StreamHandle, Write,
};
use crate::env::Env;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "js_stream",
    classes: &[Class {
        name: "JSStream",
        parent: Some("fs.AsyncWrap"),
        constructor: Some(function!(construct)),
        methods: &METHODS,
        accessors: &stream_base::ACCESSORS,
        extra_fields: stream_base::EXTRA_FIELDS,
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

static METHODS: [Function; 14] = {
    let [a, b, c, d, e, f, g, h, i, j] = stream_base::METHODS;
    let finish_write = ("finishWrite", function!(finish_write));
    let finish_shutdown = ("finishShutdown", function!(finish_shutdown));
    let read_buffer = ("readBuffer", function!(read_buffer));
    let emit_eof = ("emitEOF", function!(emit_eof));
    [
        finish_write,
        finish_shutdown,
        read_buffer,
        emit_eof,
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

const PROVIDER: Provider = Provider {
    name: "JSSTREAM",
    number: 19,
};

/// See the module's text.
#[derive(Default)]
struct JsStream {
    base: StreamBase,
    /// What JavaScript has not finished yet.
    writes: RefCell<Vec<Pending>>,
    shutdowns: RefCell<Vec<Pending>>,
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("JSStream"));
    }
    let env = Env::of(scope);
    let stream = Rc::new(JsStream::default());
    let handle = Rc::new(StreamHandle(stream.clone()));
    let resource = Resource::wrap(scope, &env, args.this(), PROVIDER, handle);
    stream.base.attach_weak(scope, &resource, args.this());
    Ok(v8::undefined(scope).into())
}

impl JsStream {
    fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Self>, Throw> {
        stream_base::stream_of(scope, args.this())
            .and_then(|(_, stream)| stream.as_any().downcast().ok())
            .ok_or_else(|| {
                Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
            })
    }

    /// Calls a method that JavaScript gave the object; its exceptions are uncaught ones.
    fn call<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        name: &str,
        args: &[v8::Local<'s, v8::Value>],
    ) -> Option<v8::Local<'s, v8::Value>> {
        let context = self.base.resource()?.context();
        let object = self.base.object(scope)?;
        env.make_callback_named(scope, object, name, args, context)
    }

    fn call_for_status<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        name: &str,
        args: &[v8::Local<'s, v8::Value>],
    ) -> i32 {
        self.call(scope, env, name, args)
            .and_then(|status| env.guarded(scope, |scope| status.to_int32(scope).map(Into::into)))
            .and_then(|status| status.int32_value(scope))
            .unwrap_or(Errno::EPROTO.uv())
    }

    /// Takes what was asked for with a request object out of `list`.
    fn take(
        scope: &mut v8::PinScope<'_, '_>,
        list: &RefCell<Vec<Pending>>,
        object: v8::Local<v8::Value>,
    ) -> Option<Pending> {
        let mut list = list.borrow_mut();
        let at = list
            .iter()
            .position(|pending| object == pending.object(scope))?;
        Some(list.remove(at))
    }

    /// Hands a write or a shutdown to JavaScript.
    fn delegate<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        list: &RefCell<Vec<Pending>>,
        pending: Result<Pending, Errno>,
        name: &str,
        data: Option<v8::Local<'s, v8::Value>>,
    ) -> i32 {
        let mut pending = match pending {
            Ok(pending) => pending,
            Err(errno) => return errno.uv(),
        };
        pending.unref();
        let object = pending.object(scope).into();
        if list.borrow().len() >= MAX_QUEUED_WRITES {
            return Errno::ENOBUFS.uv();
        }
        list.borrow_mut().push(pending);
        let status = match data {
            Some(data) => self.call_for_status(scope, env, name, &[object, data]),
            None => self.call_for_status(scope, env, name, &[object]),
        };
        if status != 0 {
            let refused = Self::take(scope, list, object);
            drop(refused);
        }
        status
    }
}

impl Stream for JsStream {
    fn base(&self) -> &StreamBase {
        &self.base
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn read_start(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        v8::scope!(let scope, scope);
        self.call_for_status(scope, env, "onreadstart", &[])
    }

    fn read_stop(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> i32 {
        v8::scope!(let scope, scope);
        self.call_for_status(scope, env, "onreadstop", &[])
    }

    /// All goes to `onwrite`.
    fn try_write(&self, _env: &Env, _data: &[u8]) -> Result<usize, Errno> {
        Err(Errno::EAGAIN)
    }

    fn write(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        write: Write<'_>,
    ) -> i32 {
        v8::scope!(let scope, scope);
        let pending = self
            .base
            .start_write(scope, env, write.request, &write.chunks);
        let mut buffers = Vec::with_capacity(write.chunks.len());
        let mut offset = write.offset;
        for chunk in &write.chunks {
            let buffer = match chunk {
                Chunk::Bytes(bytes) => buffer_of(scope, bytes.get(offset..).unwrap_or_default()),
                Chunk::View(view) => {
                    let view = v8::Local::new(scope, view);
                    let mut contents = Contents::default();
                    let bytes = contents.of(scope, view);
                    buffer_of(scope, bytes.get(offset..).unwrap_or_default())
                }
            };
            offset = 0;
            match buffer {
                Ok(buffer) => buffers.push(buffer.into()),
                Err(_) => return Errno::ENOMEM.uv(),
            }
        }
        let buffers = v8::Array::new_with_elements(scope, &buffers).into();
        self.delegate(scope, env, &self.writes, pending, "onwrite", Some(buffers))
    }

    fn shutdown<'s>(
        self: Rc<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        request: Requester<'s>,
    ) -> i32 {
        let pending = self.base.start_shutdown(scope, env, request);
        self.delegate(scope, env, &self.shutdowns, pending, "onshutdown", None)
    }

    fn fd(&self) -> i32 {
        -1
    }

    fn is_going(self: Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> bool {
        v8::scope!(let scope, scope);
        self.call(scope, env, "isClosing", &[])
            .is_none_or(|closing| closing.is_true())
    }
}

/// `finishWrite(req, status)`
fn finish_write<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    finish(scope, args, |stream| &stream.writes)
}

/// `finishShutdown(req, status)`
fn finish_shutdown<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    finish(scope, args, |stream| &stream.shutdowns)
}

fn finish<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    list: impl FnOnce(&JsStream) -> &RefCell<Vec<Pending>>,
) -> Ret<'s> {
    let stream = JsStream::this(scope, args)?;
    let status = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    if let Some(pending) = JsStream::take(scope, list(&stream), args.get(0)) {
        let env = Env::of(scope);
        pending.complete(scope, &env, &stream.base, status);
    }
    Ok(v8::undefined(scope).into())
}

/// `readBuffer(buffer)`: bytes that the stream read.
fn read_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = JsStream::this(scope, args)?;
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0))
        .map_err(|_| argument::invalid("buffer"))?;
    let bytes = Contents::default().of(scope, view).to_vec();
    let env = Env::of(scope);
    let handle: Rc<dyn Stream> = stream.clone();
    stream.base.emit_bytes(scope, &env, &handle, &bytes);
    Ok(v8::undefined(scope).into())
}

/// `emitEOF()`
fn emit_eof<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let stream = JsStream::this(scope, args)?;
    let env = Env::of(scope);
    let handle: Rc<dyn Stream> = stream.clone();
    stream.base.emit_error(scope, &env, &handle, Errno::EOF);
    Ok(v8::undefined(scope).into())
}
