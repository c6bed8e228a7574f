//! `internalBinding('async_wrap')`: async ids, hooks and the stack of entered resources.
//! Sources: `src/async_wrap.cc`, `AsyncHooks` in `src/env.cc`.

use std::cell::RefCell;

use crate::binding::{Args, Binding, Ret, function};
use crate::callback_scope::{AsyncContext, hook_field, id_field};
use crate::env::Env;
use crate::event_loop::Task;
use crate::realm::set;
use crate::throw::Throw;
use crate::tracer::ResourceEvent;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "async_wrap",
    functions: &[
        ("setupHooks", function!(setup_hooks)),
        ("setCallbackTrampoline", function!(set_callback_trampoline)),
        ("pushAsyncContext", function!(push_async_context)),
        ("popAsyncContext", function!(pop_async_context)),
        (
            "executionAsyncResource",
            function!(execution_async_resource),
        ),
        ("clearAsyncIdStack", function!(clear_async_id_stack)),
        ("queueDestroyAsyncId", function!(queue_destroy_async_id)),
        ("setPromiseHooks", function!(set_promise_hooks)),
        ("getPromiseHooks", function!(get_promise_hooks)),
        ("registerDestroyHook", function!(register_destroy_hook)),
    ],
    init: Some(init),
    ..Binding::DEFAULT
};

/// Ids whose resources are gone and whose `destroy` hooks have yet to run.
#[derive(Default)]
struct DestroyQueue(RefCell<Vec<f64>>);

/// Weak handles of `AsyncResource`s whose collection emits `destroy`.
#[derive(Default)]
struct DestroyHooks(RefCell<Vec<v8::Weak<v8::Object>>>);

fn init(scope: &mut v8::PinScope<'_, '_>, env: &Env, target: v8::Local<v8::Object>) {
    if let Some(fields) = env.buffer(scope, "async_wrap.async_hook_fields") {
        fields.set(hook_field::CHECK, 1_u32);
    }
    if let Some(ids) = env.buffer(scope, "async_wrap.async_id_fields") {
        ids.set(id_field::COUNTER, 1.0_f64);
        ids.set(id_field::DEFAULT_TRIGGER, -1.0_f64);
    }
    let resources = v8::Array::new(scope, 0);
    set(scope, target, "execution_async_resources", resources.into());
    env.register(
        scope,
        "async_wrap.execution_async_resources",
        resources.into(),
    );
}

fn setup_hooks<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let hooks = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "hooks must be an object"))?;
    for (key, name) in [
        ("async_wrap.init", "init"),
        ("async_wrap.before", "before"),
        ("async_wrap.after", "after"),
        ("async_wrap.destroy", "destroy"),
        ("async_wrap.promise_resolve", "promise_resolve"),
    ] {
        let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        let value = hooks.get(scope, name.into()).ok_or(Throw::Pending)?;
        if value.is_function() {
            env.register(scope, key, value);
        }
    }
    Ok(v8::undefined(scope).into())
}

fn set_callback_trampoline<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "async_wrap.trampoline", args.get(0));
    Ok(v8::undefined(scope).into())
}

fn push_async_context<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let context = AsyncContext {
        async_id: args.get(0).number_value(scope).unwrap_or(0.0),
        trigger_async_id: args.get(1).number_value(scope).unwrap_or(0.0),
    };
    let resource = v8::Local::<v8::Object>::try_from(args.get(2)).ok();
    Env::of(scope).push_async_context(scope, context, resource);
    Ok(v8::undefined(scope).into())
}

fn pop_async_context<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = args.get(0).number_value(scope).unwrap_or(0.0);
    let more = Env::of(scope).pop_async_context(scope, id);
    Ok(v8::Boolean::new(scope, more).into())
}

fn execution_async_resource<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let depth = args.get(0).uint32_value(scope).unwrap_or(0);
    let env = Env::of(scope);
    let frames = env.async_stack.borrow();
    let frame = frames
        .0
        .binary_search_by_key(&depth, |frame| frame.depth)
        .ok()
        .and_then(|index| frames.0.get(index));
    Ok(match frame {
        Some(frame) => v8::Local::new(scope, &frame.resource).into(),
        None => v8::undefined(scope).into(),
    })
}

fn clear_async_id_stack<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).clear_async_id_stack(scope);
    Ok(v8::undefined(scope).into())
}

fn queue_destroy_async_id<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = args.get(0).number_value(scope).unwrap_or(0.0);
    Env::of(scope).queue_destroy(id);
    Ok(v8::undefined(scope).into())
}

/// Contexts of `vm`, which have the promise hooks too.
#[derive(Default)]
struct HookedContexts(RefCell<Vec<v8::Weak<v8::Context>>>);

fn set_promise_hooks<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let values = [args.get(0), args.get(1), args.get(2), args.get(3)];
    hook_promises(scope, values);
    let contexts = env.extension::<HookedContexts>();
    for context in contexts.0.borrow().iter() {
        if let Some(context) = context.to_local(scope) {
            let scope = &mut v8::ContextScope::new(scope, context);
            hook_promises(scope, values);
        }
    }
    let hooks = v8::Array::new_with_elements(scope, &values);
    env.register(scope, "async_wrap.promise_hooks", hooks.into());
    Ok(v8::undefined(scope).into())
}

/// Sets the hooks of the entered context.
fn hook_promises<'s>(scope: &mut v8::PinScope<'s, '_>, hooks: [v8::Local<'s, v8::Value>; 4]) {
    let [init, before, after, resolve] =
        hooks.map(|hook| v8::Local::<v8::Function>::try_from(hook).ok());
    scope.set_promise_hooks(init, before, after, resolve);
}

/// How many contexts of `vm` there are.
pub fn contexts_of_vm(env: &Env) -> usize {
    let contexts = env.extension::<HookedContexts>();
    let mut contexts = contexts.0.borrow_mut();
    contexts.retain(|context| !context.is_empty());
    contexts.len()
}

/// Gives a new context, which is entered, the promise hooks of this process, now and whenever they change.
pub fn add_context(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    let context = scope.get_current_context();
    let weak = v8::Weak::new(scope, context);
    let contexts = env.extension::<HookedContexts>();
    let mut contexts = contexts.0.borrow_mut();
    contexts.retain(|context| !context.is_empty());
    contexts.push(weak);
    drop(contexts);
    let Some(hooks) = env
        .registered(scope, "async_wrap.promise_hooks")
        .and_then(|hooks| v8::Local::<v8::Array>::try_from(hooks).ok())
    else {
        return;
    };
    let undefined = v8::undefined(scope).into();
    let hooks = [0, 1, 2, 3].map(|index| hooks.get_index(scope, index).unwrap_or(undefined));
    hook_promises(scope, hooks);
}

fn get_promise_hooks<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    if let Some(hooks) = Env::of(scope).registered(scope, "async_wrap.promise_hooks") {
        return Ok(hooks);
    }
    let undefined = v8::undefined(scope).into();
    Ok(v8::Array::new_with_elements(scope, &[undefined; 4]).into())
}

/// `registerDestroyHook(resource, asyncId, destroyed?)`: `destroy` runs when `resource` is collected.
fn register_destroy_hook<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let Ok(resource) = v8::Local::<v8::Object>::try_from(args.get(0)) else {
        return Ok(v8::undefined(scope).into());
    };
    let id = args.get(1).number_value(scope).unwrap_or(0.0);
    let flag = v8::Local::<v8::Object>::try_from(args.get(2))
        .ok()
        .map(|flag| v8::Global::new(scope, flag));
    let env = Env::of(scope);
    let weak = v8::Weak::with_finalizer(
        scope,
        resource,
        Box::new(move |isolate| {
            let env = Env::of(isolate);
            env.event_loop.complete(Box::new(move |scope, env| {
                let destroyed = flag.and_then(|flag| {
                    let flag = v8::Local::new(scope, flag);
                    let key = v8::String::new(scope, "destroyed")?;
                    Some(flag.get(scope, key.into())?.boolean_value(scope))
                });
                if destroyed != Some(true) {
                    env.queue_destroy(id);
                }
            }));
        }),
    );
    let hooks = env.extension::<DestroyHooks>();
    let mut hooks = hooks.0.borrow_mut();
    hooks.retain(|weak| !weak.is_empty());
    hooks.push(weak);
    Ok(v8::undefined(scope).into())
}

impl Env {
    /// Leaves every entered resource, as after an uncaught exception that was handled.
    pub fn clear_async_id_stack(&self, scope: &mut v8::PinScope<'_, '_>) {
        self.async_stack.take();
        if let Some(fields) = self.buffer(scope, "async_wrap.async_hook_fields") {
            fields.set(hook_field::STACK_LENGTH, 0_u32);
        }
        if let Some(ids) = self.buffer(scope, "async_wrap.async_id_fields") {
            ids.set(id_field::EXECUTION, 0.0_f64);
            ids.set(id_field::TRIGGER, 0.0_f64);
        }
    }

    /// Runs `destroy` hooks for `id` in the loop's next turn.
    pub fn queue_destroy(&self, id: f64) {
        if self.traces() {
            self.trace_resource_event(id, ResourceEvent::Destroy);
        }
        let queue = self.extension::<DestroyQueue>();
        let first = queue.0.borrow().is_empty();
        queue.0.borrow_mut().push(id);
        if first {
            let task: Task = Box::new(|scope, env| env.run_destroy_hooks(scope));
            self.event_loop.complete_unref(task);
        }
    }

    /// Runs the queued `destroy` hooks.
    pub fn run_destroy_hooks(&self, scope: &mut v8::PinScope<'_, '_>) {
        let queue = self.extension::<DestroyQueue>();
        loop {
            let ids = queue.0.take();
            if ids.is_empty() || self.is_ending() {
                return;
            }
            let Some(destroy) = self.function(scope, "async_wrap.destroy") else {
                return;
            };
            for id in ids {
                v8::scope!(let scope, scope);
                let id = v8::Number::new(scope, id).into();
                let undefined = v8::undefined(scope).into();
                self.guarded(scope, |scope| destroy.call(scope, undefined, &[id]));
            }
        }
    }
}
