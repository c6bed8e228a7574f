//! A parser that reads a stream by itself: bytes go from the socket to the parser without a stop in JavaScript.

use std::rc::{Rc, Weak};

use secure_exec_kernel::Errno;

use super::{Call, HttpParser, this};
use crate::binding::{Args, Ret};
use crate::bindings::fs::resource::Resource;
use crate::bindings::stream_base::{self, Stream, StreamListener};
use crate::env::Env;
use crate::throw::Throw;

/// Where a parser's object keeps the callback for what was read.
const ON_EXECUTE: u32 = 5;

/// The stream that a parser reads.
pub struct Source {
    stream: Weak<dyn Stream>,
    listener: Rc<dyn StreamListener>,
}

/// A parser as the listener of a stream, which keeps it.
struct Consumer {
    resource: Rc<Resource>,
    parser: Rc<HttpParser>,
    object: v8::Global<v8::Object>,
}

/// `consume(handle)`
pub fn consume<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Some((resource, parser)) = this(scope, args)? else {
        return Ok(v8::undefined(scope).into());
    };
    let stream = v8::Local::<v8::Object>::try_from(args.get(0))
        .ok()
        .and_then(|object| stream_base::stream_of(scope, object));
    let Some((_, stream)) = stream else {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"handle\" argument must be a stream",
        ));
    };
    detach(&parser);
    let listener: Rc<dyn StreamListener> = Rc::new(Consumer {
        resource,
        parser: parser.clone(),
        object: v8::Global::new(scope, args.this()),
    });
    stream.base().push_listener(listener.clone());
    parser.source.replace(Some(Source {
        stream: Rc::downgrade(&stream),
        listener,
    }));
    Ok(v8::undefined(scope).into())
}

/// `unconsume()`
pub fn unconsume<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some((_, parser)) = this(scope, args)? {
        detach(&parser);
    }
    Ok(v8::undefined(scope).into())
}

/// Gives the stream back to JavaScript.
pub fn detach(parser: &HttpParser) {
    let source = parser.source.take();
    if let Some(Source { stream, listener }) = source
        && let Some(stream) = stream.upgrade()
    {
        stream.base().remove_listener(&listener);
    }
}

impl StreamListener for Consumer {
    fn on_read(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        stream: &Rc<dyn Stream>,
        data: Result<Rc<[u8]>, Errno>,
    ) {
        let input = match data {
            Ok(input) => input,
            Err(errno) => {
                let undefined = v8::undefined(scope).into();
                stream
                    .base()
                    .call_on_read(scope, env, errno.uv(), undefined);
                return;
            }
        };
        v8::scope!(let scope, scope);
        let object = v8::Local::new(scope, &self.object);
        let call = Call {
            env,
            resource: &self.resource,
            parser: &self.parser,
            object,
        };
        let read = input.clone();
        let result = env.guarded(scope, |scope| match call.execute(scope, read) {
            Ok(result) => Some(result),
            Err(throw) => {
                throw.throw(scope);
                None
            }
        });
        let Some(result) = result.filter(|_| !env.is_ending()) else {
            return;
        };
        let on_execute = object
            .get_index(scope, ON_EXECUTE)
            .and_then(|value| v8::Local::<v8::Function>::try_from(value).ok());
        if let Some(on_execute) = on_execute {
            self.parser.input.replace(Some(input));
            let context = self.resource.context();
            env.make_callback(scope, object, on_execute, &[result], context);
            self.parser.input.take();
        }
    }
}
