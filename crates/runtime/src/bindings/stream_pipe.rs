//! `internalBinding('stream_pipe')`: copies one stream to another without JavaScript. Source: `src/stream_pipe.cc`.
//!
//! ```text
//!   sink asks (or its last write is done) --> source.readStart --> bytes --> write to the sink
//!   end of the source --> shutdown of the sink --> onunpipe
//! ```
//! The objects of both streams and of the pipe hold each other (`source`, `sink`, `pipeTarget`, `pipeSource`); here all
//! is weak, so that they are collected together.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use secure_exec_kernel::Errno;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::argument;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::bindings::stream_base::{self, READ_BYTES, Stream, StreamListener};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "stream_pipe",
    classes: &[Class {
        name: "StreamPipe",
        parent: Some("fs.AsyncWrap"),
        constructor: Some(function!(construct)),
        methods: &[
            ("unpipe", function!(unpipe)),
            ("start", function!(start)),
            ("isClosed", function!(is_closed)),
            ("pendingWrites", function!(pending_writes)),
        ],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

const PROVIDER: Provider = Provider {
    name: "STREAMPIPE",
    number: 37,
};

/// See the module's text.
struct StreamPipe {
    object: v8::Weak<v8::Object>,
    resource: RefCell<Weak<Resource>>,
    source: Weak<dyn Stream>,
    sink: Weak<dyn Stream>,
    on_source: Rc<dyn StreamListener>,
    on_sink: Rc<dyn StreamListener>,
    closed: Cell<bool>,
    eof: Cell<bool>,
    reading: Cell<bool>,
    /// How much the sink would take.
    wanted: Cell<usize>,
    writes: Cell<usize>,
}

/// Stands before the readers of the source.
struct OnSource(Weak<StreamPipe>);

/// Stands before the readers of the sink.
struct OnSink(Weak<StreamPipe>);

/// `new StreamPipe(source, sink)`
fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("StreamPipe"));
    }
    let (source_object, source) = stream_argument(scope, args, 0, "source")?;
    let (sink_object, sink) = stream_argument(scope, args, 1, "sink")?;
    let env = Env::of(scope);
    let pipe = Rc::new_cyclic(|own: &Weak<StreamPipe>| StreamPipe {
        object: v8::Weak::new(scope, args.this()),
        resource: RefCell::default(),
        source: Rc::downgrade(&source),
        sink: Rc::downgrade(&sink),
        on_source: Rc::new(OnSource(own.clone())),
        on_sink: Rc::new(OnSink(own.clone())),
        closed: Cell::new(true),
        eof: Cell::default(),
        reading: Cell::default(),
        wanted: Cell::default(),
        writes: Cell::default(),
    });
    let resource = Resource::wrap(scope, &env, args.this(), PROVIDER, pipe.clone());
    pipe.resource.replace(Rc::downgrade(&resource));
    source.base().push_listener(pipe.on_source.clone());
    sink.base().push_listener(pipe.on_sink.clone());
    set(scope, args.this(), "source", source_object.into());
    set(scope, source_object, "pipeTarget", args.this().into());
    set(scope, args.this(), "sink", sink_object.into());
    set(scope, sink_object, "pipeSource", args.this().into());
    Ok(v8::undefined(scope).into())
}

fn stream_argument<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    index: i32,
    name: &'static str,
) -> Result<(v8::Local<'s, v8::Object>, Rc<dyn Stream>), Throw> {
    let object =
        v8::Local::<v8::Object>::try_from(args.get(index)).map_err(|_| argument::invalid(name))?;
    let (_, stream) =
        stream_base::stream_of(scope, object).ok_or_else(|| argument::invalid(name))?;
    Ok((object, stream))
}

impl StreamPipe {
    /// Runs `body` as the pipe's own callback.
    fn in_own_scope(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        body: impl FnOnce(&mut v8::PinScope<'_, '_>),
    ) {
        v8::scope!(let scope, scope);
        let resource = self.resource.borrow().upgrade();
        let (Some(resource), Some(object)) = (resource, self.object.to_local(scope)) else {
            return;
        };
        env.in_callback_scope(scope, object, resource.context(), |scope| {
            body(scope);
            Some(v8::undefined(scope).into())
        });
    }

    fn call(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, name: &str) {
        v8::scope!(let scope, scope);
        let resource = self.resource.borrow().upgrade();
        if let (Some(resource), Some(object)) = (resource, self.object.to_local(scope)) {
            env.make_callback_named(scope, object, name, &[], resource.context());
        }
    }

    /// Whether the sink never says that it wants more, so that it takes what there is.
    fn takes_all(&self) -> bool {
        self.sink
            .upgrade()
            .is_some_and(|sink| !sink.asks_for_writes())
    }

    fn want(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, size: usize) {
        self.wanted.set(size);
        if self.reading.get() || self.closed.get() || self.eof.get() {
            return;
        }
        let Some(source) = self.source.upgrade() else {
            return;
        };
        self.reading.set(true);
        self.in_own_scope(scope, env, |scope| {
            source.read_start(scope, env);
        });
    }

    /// The source read something: it goes to the sink.
    fn pass(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, bytes: &[u8]) {
        let Some(sink) = self.sink.upgrade() else {
            return self.close(env);
        };
        self.writes.set(self.writes.get() + 1);
        let done = {
            let pipe = self.clone();
            Box::new(
                move |scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, status: i32| {
                    pipe.written(scope, env, status);
                },
            )
        };
        match stream_base::write_bytes(scope, env, &sink, bytes.to_vec(), done) {
            Ok(true) => self.written(scope, env, 0),
            Ok(false) => {
                self.reading.set(false);
                if let Some(source) = self.source.upgrade() {
                    source.read_stop(scope, env);
                }
            }
            Err(errno) => self.written(scope, env, errno.uv()),
        }
    }

    fn written(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, status: i32) {
        self.writes.set(self.writes.get().saturating_sub(1));
        if self.closed.get() {
            if self.writes.get() == 0 {
                self.call(scope, env, "oncomplete");
                self.leave_sink();
            }
        } else if self.eof.get() {
            self.in_own_scope(scope, env, |scope| {
                self.end_sink(scope, env);
                self.close(env);
            });
        } else if status != 0 {
            self.close(env);
        } else if self.takes_all() {
            self.want(scope, env, READ_BYTES);
        }
    }

    fn end_sink(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        if let Some(sink) = self.sink.upgrade() {
            // A sink that cannot be ended any more has ended.
            let _ = stream_base::end(scope, env, &sink, Box::new(|_, _, _| {}));
        }
    }

    fn leave_sink(&self) {
        if let Some(sink) = self.sink.upgrade() {
            sink.base().remove_listener(&self.on_sink);
        }
    }

    /// Lets go of both streams now, and tells JavaScript later: whoever calls may be inside of a stream's end.
    fn close(self: &Rc<Self>, env: &Env) {
        if self.closed.replace(true) {
            return;
        }
        self.reading.set(false);
        if let Some(source) = self.source.upgrade() {
            source.base().remove_listener(&self.on_source);
        }
        if self.writes.get() == 0 {
            self.leave_sink();
        }
        let pipe = self.clone();
        env.event_loop.complete(Box::new(move |scope, env| {
            pipe.call(scope, env, "onunpipe");
            pipe.unlink(scope, env);
        }));
    }

    /// Takes away what the constructor set.
    fn unlink(&self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        v8::scope!(let scope, scope);
        let Some(object) = self.object.to_local(scope).filter(|_| !env.is_ending()) else {
            return;
        };
        env.guarded(scope, |scope| {
            let null = v8::null(scope).into();
            for (link, back) in [("source", "pipeTarget"), ("sink", "pipeSource")] {
                let key = v8::String::new(scope, link)?;
                let other = object.get(scope, key.into())?;
                set(scope, object, link, null);
                if let Ok(other) = v8::Local::<v8::Object>::try_from(other) {
                    set(scope, other, back, null);
                }
            }
            Some(null)
        });
    }
}

impl StreamListener for OnSource {
    fn on_read(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        data: Result<Rc<[u8]>, Errno>,
    ) {
        let Some(pipe) = self.0.upgrade() else { return };
        pipe.in_own_scope(scope, env, |scope| match data {
            Ok(bytes) => pipe.pass(scope, env, &bytes),
            Err(errno) => {
                pipe.eof.set(true);
                stream.clone().read_stop(scope, env);
                stream
                    .base()
                    .pass_on(scope, env, stream, Err(errno), &pipe.on_source);
                if pipe.writes.get() == 0 {
                    pipe.end_sink(scope, env);
                    pipe.close(env);
                }
            }
        });
    }

    fn room(&self) -> usize {
        self.0
            .upgrade()
            .map_or(READ_BYTES, |pipe| pipe.wanted.get())
    }

    /// As if it had ended; in a while, since JavaScript may run.
    fn on_destroy(&self, env: &Env) {
        let Some(pipe) = self.0.upgrade().filter(|pipe| !pipe.eof.replace(true)) else {
            return;
        };
        if pipe.writes.get() > 0 {
            return;
        }
        let ending = pipe.clone();
        env.event_loop
            .complete(Box::new(move |scope, env| ending.end_sink(scope, env)));
        pipe.close(env);
    }
}

impl StreamListener for OnSink {
    fn on_read(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        data: Result<Rc<[u8]>, Errno>,
    ) {
        let Some(pipe) = self.0.upgrade() else { return };
        stream
            .base()
            .pass_on(scope, env, stream, data, &pipe.on_sink);
    }

    fn on_wants_write(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        _stream: &Rc<dyn Stream>,
        size: usize,
    ) {
        if let Some(pipe) = self.0.upgrade() {
            pipe.want(scope, env, size);
        }
    }

    fn on_destroy(&self, env: &Env) {
        if let Some(pipe) = self.0.upgrade() {
            pipe.eof.set(true);
            pipe.close(env);
        }
    }
}

/// `start()`
fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, pipe) = Resource::this::<StreamPipe>(scope, args)?;
    pipe.closed.set(false);
    let env = Env::of(scope);
    let wanted = if pipe.takes_all() {
        READ_BYTES
    } else {
        pipe.wanted.get()
    };
    if wanted > 0 {
        pipe.want(scope, &env, wanted);
    }
    Ok(v8::undefined(scope).into())
}

/// `unpipe()`
fn unpipe<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, pipe) = Resource::this::<StreamPipe>(scope, args)?;
    pipe.close(&Env::of(scope));
    Ok(v8::undefined(scope).into())
}

/// `isClosed()`
fn is_closed<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, pipe) = Resource::this::<StreamPipe>(scope, args)?;
    Ok(v8::Boolean::new(scope, pipe.closed.get()).into())
}

/// `pendingWrites()`
fn pending_writes<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (_, pipe) = Resource::this::<StreamPipe>(scope, args)?;
    let count = u32::try_from(pipe.writes.get()).unwrap_or(u32::MAX);
    Ok(v8::Integer::new_from_unsigned(scope, count).into())
}
