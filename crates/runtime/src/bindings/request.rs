//! Request objects (`WriteWrap`, `TCPConnectWrap`, ...): JavaScript makes them, a call takes them, `oncomplete` ends
//! them. Source: `src/req_wrap.h`.
//!
//! An object that no call has taken yet carries a mark in its internal field, so that no other object, whatever the
//! guest passes, is ever taken for a request.

use std::cell::Cell;
use std::rc::Rc;

use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::{Provider, Resource};
use crate::callback_scope::id_field;
use crate::env::Env;
use crate::event_loop::ActiveGuard;
use crate::throw::Throw;

/// The internal field of the object table, which holds numbers only.
const FIELD: usize = 0;

/// What is behind the object of a request: whether it is still in flight.
pub struct InFlight(Cell<bool>);

impl InFlight {
    /// Whether it was not completed yet.
    pub fn get(&self) -> bool {
        self.0.get()
    }
}

/// A request in flight: keeps its object and the process until it is completed.
pub struct Request {
    in_flight: Rc<InFlight>,
    resource: Rc<Resource>,
    object: v8::Global<v8::Object>,
    alive: Option<ActiveGuard>,
}

/// The constructor of every request class.
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Request"));
    }
    let mark = v8::Boolean::new(scope, true).into();
    args.this().set_internal_field(FIELD, mark);
    Ok(v8::undefined(scope).into())
}

/// The request object in an argument, if no call has taken it yet.
pub fn unused<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let object = v8::Local::<v8::Object>::try_from(value)
        .ok()
        .filter(|object| object.internal_field_count() > FIELD)
        .filter(|object| {
            let mark = object.get_internal_field(scope, FIELD);
            mark.and_then(|mark| v8::Local::<v8::Value>::try_from(mark).ok())
                .is_some_and(|mark| mark.is_true())
        });
    object.ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"req\" argument must be a request object that is not in use",
        )
    })
}

impl Request {
    /// Takes a request object that [`unused`] answered, on behalf of a handle with the async id `trigger`.
    pub fn start<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        object: v8::Local<'s, v8::Object>,
        provider: Provider,
        trigger: Option<f64>,
    ) -> Self {
        let in_flight = Rc::new(InFlight(Cell::new(true)));
        let wrap = |scope: &mut v8::PinScope<'s, '_>| {
            Resource::wrap(scope, env, object, provider, in_flight.clone())
        };
        let resource = match trigger {
            Some(trigger) => env.with_trigger(scope, trigger, wrap),
            None => wrap(scope),
        };
        Self {
            in_flight,
            resource,
            object: v8::Global::new(scope, object),
            alive: Some(env.keep_alive()),
        }
    }

    /// The request's object.
    pub fn object<'s>(&self, scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Object> {
        v8::Local::new(scope, &self.object)
    }

    /// Its async id.
    pub fn async_id(&self) -> f64 {
        self.resource.context().async_id
    }

    /// Lets the process end before the request does.
    pub fn unref(&mut self) {
        self.alive = None;
    }

    /// Ends it without a call.
    pub fn finish(self, scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) {
        self.in_flight.0.set(false);
        self.resource.destroy(scope, env);
    }

    /// Calls `oncomplete(...args)`.
    pub fn complete<'s>(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        args: &[v8::Local<'s, v8::Value>],
    ) {
        self.in_flight.0.set(false);
        let object = v8::Local::new(scope, &self.object);
        env.make_callback_named(scope, object, "oncomplete", args, self.resource.context());
        self.resource.destroy(scope, env);
    }
}

impl Env {
    /// Runs `body` with `trigger` as the cause of resources that it makes.
    pub fn with_trigger<'s, T>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        trigger: f64,
        body: impl FnOnce(&mut v8::PinScope<'s, '_>) -> T,
    ) -> T {
        let fields = self.buffer(scope, "async_wrap.async_id_fields");
        let before = fields.as_ref().map(|fields| {
            let before = fields.get::<f64>(id_field::DEFAULT_TRIGGER);
            fields.set(id_field::DEFAULT_TRIGGER, trigger);
            before
        });
        let result = body(scope);
        if let (Some(fields), Some(before)) = (fields, before) {
            fields.set(id_field::DEFAULT_TRIGGER, before);
        }
        result
    }
}
