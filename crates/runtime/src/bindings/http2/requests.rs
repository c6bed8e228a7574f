//! Pings and settings that wait for the peer's acknowledgement.

use std::rc::Rc;
use std::time::Duration;

use super::session::Http2Session;
use crate::array_buffer::buffer_of;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::env::Env;
use crate::throw::Throw;

const PING: (Provider, &str) = (
    Provider {
        name: "HTTP2PING",
        number: 15,
    },
    "http2.Http2Ping",
);
const SETTINGS: (Provider, &str) = (
    Provider {
        name: "HTTP2SETTINGS",
        number: 16,
    },
    "http2.Http2Settings",
);

/// What is behind the object of a request: nothing, it only has async ids.
struct Waiting;

/// A frame that the peer is to acknowledge.
pub struct Acknowledged {
    object: v8::Global<v8::Object>,
    resource: Rc<Resource>,
    callback: v8::Global<v8::Function>,
    start: Duration,
    is_ping: bool,
}

impl Acknowledged {
    /// A ping that `callback` hears of.
    pub fn ping<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        callback: v8::Local<'s, v8::Function>,
    ) -> Result<Self, Throw> {
        Self::new(scope, env, callback, PING, true)
    }

    /// Settings whose acknowledgement `callback` hears of.
    pub fn settings<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        callback: v8::Local<'s, v8::Function>,
    ) -> Result<Self, Throw> {
        Self::new(scope, env, callback, SETTINGS, false)
    }

    fn new<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        callback: v8::Local<'s, v8::Function>,
        (provider, class): (Provider, &'static str),
        is_ping: bool,
    ) -> Result<Self, Throw> {
        let object = env.new_instance(scope, class)?;
        let resource = Resource::wrap(scope, env, object, provider, Rc::new(Waiting));
        Ok(Self {
            object: v8::Global::new(scope, object),
            resource,
            callback: v8::Global::new(scope, callback),
            start: env.clock().elapsed(),
            is_ping,
        })
    }

    /// When it was made, which is a ping's payload where JavaScript gives none.
    pub fn start(&self) -> Duration {
        self.start
    }

    /// Calls `callback(acknowledged, duration[, payload])`.
    pub fn done(
        self,
        scope: &mut v8::PinScope<'_, '_>,
        env: &Rc<Env>,
        session: Option<&Http2Session>,
        answer: Result<Option<[u8; 8]>, ()>,
    ) {
        if env.is_ending() {
            return;
        }
        v8::scope!(let scope, scope);
        let duration = env.clock().elapsed().saturating_sub(self.start);
        if let Some(session) = session.filter(|_| self.is_ping) {
            session.with_wire(|wire| wire.statistics.ping_rtt = duration);
        }
        let mut args = vec![
            v8::Boolean::new(scope, answer.is_ok()).into(),
            v8::Number::new(scope, duration.as_secs_f64() * 1e3).into(),
        ];
        if self.is_ping {
            let payload = answer.ok().flatten();
            let payload = payload.and_then(|payload| buffer_of(scope, &payload).ok());
            args.push(payload.map_or_else(|| v8::undefined(scope).into(), Into::into));
        }
        let object = v8::Local::new(scope, &self.object);
        let callback = v8::Local::new(scope, &self.callback);
        env.make_callback(scope, object, callback, &args, self.resource.context());
        self.resource.destroy(scope, env);
    }
}
