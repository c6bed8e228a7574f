//! `internalBinding('signal_wrap')`: handles that listen for signals. Source: `src/signal_wrap.cc`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use secure_exec_kernel::{Errno, can_catch};

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::env::Env;
use crate::event_loop::ActiveGuard;
use crate::signals::Handles;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "signal_wrap",
    classes: &[Class {
        name: "Signal",
        constructor: Some(function!(construct)),
        methods: &[
            ("start", function!(start)),
            ("stop", function!(stop)),
            ("close", function!(close)),
            ("ref", function!(reference)),
            ("unref", function!(unreference)),
            ("hasRef", function!(has_ref)),
            ("getAsyncId", function!(get_async_id)),
        ],
        ..Class::DEFAULT
    }],
    ..Binding::DEFAULT
};

/// The Rust side of a `Signal` object.
struct Signal {
    async_id: f64,
    number: Cell<i32>,
    referenced: Cell<bool>,
    closed: Cell<bool>,
    /// Held while it is started and referenced.
    alive: RefCell<Option<ActiveGuard>>,
}

impl Signal {
    /// Holds the process alive, or lets it go.
    fn update(&self, env: &Rc<Env>) {
        let wanted = self.number.get() != 0 && self.referenced.get();
        let mut alive = self.alive.borrow_mut();
        if wanted && alive.is_none() {
            *alive = Some(env.keep_alive());
        } else if !wanted {
            *alive = None;
        }
    }
}

fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        let text = "Class constructor Signal cannot be invoked without `new`";
        return Err(Throw::type_error("ERR_CONSTRUCT_CALL_REQUIRED", text));
    }
    let env = Env::of(scope);
    let signal = Signal {
        async_id: env.new_async_id(scope),
        number: Cell::new(0),
        referenced: Cell::new(true),
        closed: Cell::new(false),
        alive: RefCell::default(),
    };
    env.objects.wrap(scope, args.this(), Rc::new(signal));
    Ok(args.this().into())
}

fn this(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>) -> Result<Rc<Signal>, Throw> {
    let signal = Env::of(scope).objects.unwrap::<Signal>(scope, args.this());
    signal.ok_or_else(|| {
        Throw::type_error(
            "ERR_INVALID_THIS",
            "Value of \"this\" must be of type Signal",
        )
    })
}

/// Stops listening.
fn forget(scope: &mut v8::PinScope<'_, '_>, args: &Args<'_>, signal: &Signal) {
    let env = Env::of(scope);
    let object = args.this();
    let number = signal.number.replace(0);
    signal.update(&env);
    let handles = env.extension::<Handles>();
    handles
        .0
        .borrow_mut()
        .retain(|(_, handle)| v8::Local::new(scope, handle) != object);
    env.update_caught(number);
}

/// `start(signal)`; answers libuv's error number or 0.
fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let signal = this(scope, args)?;
    let number = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    if signal.closed.get() || !can_catch(number) {
        return Ok(v8::Integer::new(scope, Errno::EINVAL.uv()).into());
    }
    forget(scope, args, &signal);
    let env = Env::of(scope);
    let object = v8::Global::new(scope, args.this());
    env.extension::<Handles>()
        .0
        .borrow_mut()
        .push((number, object));
    signal.number.set(number);
    signal.update(&env);
    env.update_caught(number);
    Ok(v8::Integer::new(scope, 0).into())
}

fn stop<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let signal = this(scope, args)?;
    forget(scope, args, &signal);
    Ok(v8::Integer::new(scope, 0).into())
}

/// `close(callback)`; the callback runs in the loop's closing phase.
fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let signal = this(scope, args)?;
    if signal.closed.replace(true) {
        return Ok(v8::undefined(scope).into());
    }
    forget(scope, args, &signal);
    if let Ok(callback) = v8::Local::<v8::Function>::try_from(args.get(0)) {
        let (object, callback) = (
            v8::Global::new(scope, args.this()),
            v8::Global::new(scope, callback),
        );
        let context = crate::callback_scope::AsyncContext {
            async_id: signal.async_id,
            trigger_async_id: 0.0,
        };
        Env::of(scope).event_loop.close(Box::new(move |scope, env| {
            let (object, callback) = (
                v8::Local::new(scope, object),
                v8::Local::new(scope, callback),
            );
            env.make_callback(scope, object, callback, &[], context);
        }));
    }
    Ok(v8::undefined(scope).into())
}

fn reference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let signal = this(scope, args)?;
    signal.referenced.set(true);
    signal.update(&Env::of(scope));
    Ok(v8::undefined(scope).into())
}

fn unreference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let signal = this(scope, args)?;
    signal.referenced.set(false);
    signal.update(&Env::of(scope));
    Ok(v8::undefined(scope).into())
}

fn has_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let signal = this(scope, args)?;
    Ok(v8::Boolean::new(scope, signal.referenced.get() && !signal.closed.get()).into())
}

fn get_async_id<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let signal = this(scope, args)?;
    Ok(v8::Number::new(scope, signal.async_id).into())
}
