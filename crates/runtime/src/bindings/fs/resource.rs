//! What every object of these bindings has: async ids, and for handles a place in the event loop.
//!
//! ```text
//! JS object -- env.objects --> Resource { async ids, handle?, inner: FileHandle | Request | DirHandle | ... }
//! ```
//! Sources: `src/async_wrap.cc`, `src/handle_wrap.cc`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::binding::{Args, Ret};
use crate::callback_scope::{AsyncContext, hook_field};
use crate::env::Env;
use crate::event_loop::ActiveGuard;
use crate::throw::Throw;

/// A kind of async resource.
#[derive(Clone, Copy)]
pub struct Provider {
    /// Its name for `init` hooks.
    pub name: &'static str,
    /// Its number among `async_wrap.Providers`.
    pub number: i32,
}

/// The id of what is no async resource yet.
const NO_ID: f64 = -1.0;

/// See the module's text.
pub struct Resource {
    context: Cell<AsyncContext>,
    provider: Cell<Provider>,
    handle: Option<Handle>,
    inner: Rc<dyn Any>,
}

/// A handle's place in the event loop.
struct Handle {
    /// Stops what the handle does, when it is closed.
    stop: fn(&Env, &Resource),
    unrefed: Cell<bool>,
    active: Cell<bool>,
    closing: Cell<bool>,
    alive: RefCell<Option<ActiveGuard>>,
    /// The object is strong while the handle is active or closing.
    object: RefCell<Option<v8::Global<v8::Object>>>,
}

impl Resource {
    /// Puts a request or another plain resource behind `object` and tells the `init` hooks.
    pub fn wrap<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        object: v8::Local<'s, v8::Object>,
        provider: Provider,
        inner: Rc<dyn Any>,
    ) -> Rc<Self> {
        Self::wrap_with(scope, env, object, provider, None, inner)
    }

    /// Puts an object behind `object` that is no async resource until [`Self::begin`].
    pub fn wrap_idle<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        object: v8::Local<'s, v8::Object>,
        inner: Rc<dyn Any>,
    ) {
        let resource = Rc::new(Self {
            context: Cell::new(AsyncContext {
                async_id: NO_ID,
                trigger_async_id: 0.0,
            }),
            provider: Cell::new(Provider {
                name: "NONE",
                number: 0,
            }),
            handle: None,
            inner,
        });
        let held = size_of_val(&*resource.inner);
        env.objects.wrap_with(scope, object, resource, held);
    }

    /// Gives it new ids, as a resource of another kind; `init` hooks and `executionAsyncResource()` see `resource` in
    /// the place of its own `object`.
    pub fn begin<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Env,
        provider: Provider,
        object: v8::Local<'s, v8::Object>,
        resource: v8::Local<'s, v8::Object>,
    ) {
        if resource != object {
            let symbol = crate::bindings::symbols::symbol(scope, env, "resource_symbol");
            if let Ok(symbol) = v8::Local::<v8::Name>::try_from(symbol) {
                object.create_data_property(scope, symbol, resource.into());
            }
        }
        if self.context.get().async_id != NO_ID {
            self.destroy(scope, env);
        }
        let context = env.new_async_context(scope);
        self.context.set(context);
        self.provider.set(provider);
        env.emit_async_init(scope, provider.name, context, resource);
    }

    /// Its `destroy` hooks run soon; it is no async resource until [`Self::begin`] again. The object no longer keeps what
    /// stood in its place.
    pub fn end<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Env,
        object: v8::Local<'s, v8::Object>,
    ) {
        let symbol = crate::bindings::symbols::symbol(scope, env, "resource_symbol");
        if let Ok(symbol) = v8::Local::<v8::Name>::try_from(symbol) {
            object.create_data_property(scope, symbol, object.into());
        }
        self.destroy(scope, env);
        let trigger_async_id = self.context.get().trigger_async_id;
        self.context.set(AsyncContext {
            async_id: NO_ID,
            trigger_async_id,
        });
    }

    /// As [`Self::wrap`], for a handle, which `stop` stops when it is closed.
    pub fn wrap_handle<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        object: v8::Local<'s, v8::Object>,
        provider: Provider,
        stop: fn(&Env, &Self),
        inner: Rc<dyn Any>,
    ) -> Rc<Self> {
        let handle = Handle {
            stop,
            unrefed: Cell::default(),
            active: Cell::default(),
            closing: Cell::default(),
            alive: RefCell::default(),
            object: RefCell::default(),
        };
        Self::wrap_with(scope, env, object, provider, Some(handle), inner)
    }

    fn wrap_with<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        object: v8::Local<'s, v8::Object>,
        provider: Provider,
        handle: Option<Handle>,
        inner: Rc<dyn Any>,
    ) -> Rc<Self> {
        let context = env.new_async_context(scope);
        let resource = Rc::new(Self {
            context: Cell::new(context),
            provider: Cell::new(provider),
            handle,
            inner,
        });
        let held = size_of_val(&*resource.inner);
        env.objects.wrap_with(scope, object, resource.clone(), held);
        env.emit_async_init(scope, provider.name, context, object);
        resource
    }

    /// The resource behind a JS object.
    pub fn of(scope: &mut v8::PinScope<'_, '_>, object: v8::Local<v8::Object>) -> Option<Rc<Self>> {
        Env::of(scope).objects.unwrap::<Self>(scope, object)
    }

    /// The receiver of a method, whose state is a `T`.
    pub fn this<'s, T: Any>(
        scope: &mut v8::PinScope<'s, '_>,
        args: &Args<'s>,
    ) -> Result<(Rc<Self>, Rc<T>), Throw> {
        Self::of(scope, args.this())
            .and_then(|resource| resource.inner::<T>().map(|inner| (resource, inner)))
            .ok_or_else(|| {
                Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
            })
    }

    /// What is behind it, when that is a `T`.
    pub fn inner<T: Any>(&self) -> Option<Rc<T>> {
        self.inner.clone().downcast().ok()
    }

    /// Its async ids.
    pub fn context(&self) -> AsyncContext {
        self.context.get()
    }

    /// Its `destroy` hooks run soon, if there are any.
    pub fn destroy(&self, scope: &mut v8::PinScope<'_, '_>, env: &Env) {
        destroy(scope, env, self.context.get());
    }

    /// Starts the handle: it keeps its object, and the process unless it is unrefed.
    pub fn activate<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        object: v8::Local<'s, v8::Object>,
    ) {
        let Some(handle) = &self.handle else { return };
        handle.active.set(true);
        handle.object.replace(Some(v8::Global::new(scope, object)));
        self.update(env);
    }

    /// Keeps the handle's object from now until it is closed, started or not.
    pub fn hold<'s>(&self, scope: &mut v8::PinScope<'s, '_>, object: v8::Local<'s, v8::Object>) {
        if let Some(handle) = &self.handle {
            handle.object.replace(Some(v8::Global::new(scope, object)));
        }
    }

    /// Keeps the handle's object no longer.
    pub fn let_go(&self) {
        if let Some(handle) = &self.handle {
            let object = handle.object.take();
            drop(object);
        }
    }

    /// Starts or pauses a handle that [`Self::hold`] keeps.
    pub fn set_active(&self, env: &Rc<Env>, active: bool) {
        if let Some(handle) = &self.handle {
            handle.active.set(active);
            self.update(env);
        }
    }

    /// Whether the handle was closed.
    pub fn is_closing(&self) -> bool {
        self.handle
            .as_ref()
            .is_some_and(|handle| handle.closing.get())
    }

    /// Whether the handle keeps the process alive.
    pub fn keeps_alive(&self) -> bool {
        self.handle
            .as_ref()
            .is_some_and(|handle| handle.alive.borrow().is_some())
    }

    /// Its kind.
    pub fn provider(&self) -> Provider {
        self.provider.get()
    }

    /// Whether the handle was started and is not closed.
    pub fn is_active(&self) -> bool {
        self.handle
            .as_ref()
            .is_some_and(|handle| handle.active.get() && !handle.closing.get())
    }

    /// The handle's object while it is active.
    pub fn object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let object = self.handle.as_ref()?.object.borrow();
        object.as_ref().map(|object| v8::Local::new(scope, object))
    }

    /// Lets the handle keep the process alive or not.
    pub fn set_ref(&self, env: &Rc<Env>, refed: bool) {
        if let Some(handle) = self.handle.as_ref().filter(|handle| !handle.closing.get()) {
            handle.unrefed.set(!refed);
            self.update(env);
        }
    }

    fn update(&self, env: &Rc<Env>) {
        let Some(handle) = &self.handle else { return };
        let keeps = handle.active.get() && !handle.unrefed.get() && !handle.closing.get();
        let mut alive = handle.alive.borrow_mut();
        if !keeps {
            *alive = None;
        } else if alive.is_none() {
            *alive = Some(env.keep_alive());
        }
    }
}

/// Stops every handle of a thread that ends before its process: what they hold of the process goes with them.
pub fn stop_all(env: &Rc<Env>) {
    for resource in env.objects.values::<Resource>() {
        let Some(handle) = &resource.handle else {
            continue;
        };
        if !handle.closing.replace(true) {
            resource.update(env);
            (handle.stop)(env, &resource);
        }
    }
}

/// Runs the `destroy` hooks of a resource soon, if there are any.
pub fn destroy(scope: &mut v8::PinScope<'_, '_>, env: &Env, context: AsyncContext) {
    let hooks = env.buffer(scope, "async_wrap.async_hook_fields");
    if hooks.is_some_and(|hooks| hooks.get::<u32>(hook_field::DESTROY) > 0) {
        env.queue_destroy(context.async_id);
    }
}

/// `AsyncWrap.prototype.getAsyncId()`
pub fn get_async_id<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id =
        Resource::of(scope, args.this()).map_or(NO_ID, |resource| resource.context.get().async_id);
    Ok(v8::Number::new(scope, id).into())
}

/// `AsyncWrap.prototype.asyncReset([resource])`: new ids for an object that is used again.
pub fn async_reset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some(resource) = Resource::of(scope, args.this()) {
        let env = Env::of(scope);
        let shown = v8::Local::<v8::Object>::try_from(args.get(0)).unwrap_or(args.this());
        resource.begin(scope, &env, resource.provider.get(), args.this(), shown);
    }
    Ok(v8::undefined(scope).into())
}

/// `AsyncWrap.prototype.getProviderType()`
pub fn get_provider_type<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let number =
        Resource::of(scope, args.this()).map_or(0, |resource| resource.provider.get().number);
    Ok(v8::Integer::new(scope, number).into())
}

/// `HandleWrap.prototype.close(callback)`
pub fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let undefined = v8::undefined(scope).into();
    let Some(resource) = Resource::of(scope, args.this()) else {
        return Ok(undefined);
    };
    let Some(handle) = resource
        .handle
        .as_ref()
        .filter(|handle| !handle.closing.get())
    else {
        return Ok(undefined);
    };
    let env = Env::of(scope);
    let callback = v8::Local::<v8::Function>::try_from(args.get(0)).ok();
    handle.closing.set(true);
    resource.update(&env);
    (handle.stop)(&env, &resource);
    let callback = callback.map(|callback| v8::Global::new(scope, callback));
    let object = v8::Global::new(scope, args.this());
    let closing = resource.clone();
    env.event_loop.close(Box::new(move |scope, env| {
        if let Some(handle) = &closing.handle {
            handle.object.take();
        }
        if let Some(callback) = callback {
            let (object, callback) = (
                v8::Local::new(scope, object),
                v8::Local::new(scope, callback),
            );
            env.make_callback(scope, object, callback, &[], closing.context.get());
        }
        closing.destroy(scope, env);
    }));
    Ok(undefined)
}

/// `HandleWrap.prototype.hasRef()`
pub fn has_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let refed = Resource::of(scope, args.this()).is_some_and(|resource| {
        resource
            .handle
            .as_ref()
            .is_some_and(|handle| !handle.closing.get() && !handle.unrefed.get())
    });
    Ok(v8::Boolean::new(scope, refed).into())
}

/// `HandleWrap.prototype.ref()`
pub fn reference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_ref(scope, args, true)
}

/// `HandleWrap.prototype.unref()`
pub fn unreference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    set_ref(scope, args, false)
}

fn set_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, refed: bool) -> Ret<'s> {
    if let Some(resource) = Resource::of(scope, args.this()) {
        resource.set_ref(&Env::of(scope), refed);
    }
    Ok(v8::undefined(scope).into())
}
