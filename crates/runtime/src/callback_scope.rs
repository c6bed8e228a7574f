//! Calls from Rust into the guest's JavaScript, with Node's semantics: async ids, microtasks, `process.nextTick`.
//!
//! Sources: `src/api/callback.cc`, `src/env.cc` (AsyncHooks), `src/node_task_queue.cc`, `src/node_errors.cc` of Node 22.

use crate::aliased_buffer::AliasedBuffer;
use crate::bindings::options;
use crate::env::Env;
use crate::fatal_exception::{Enhance, frames, report};
use crate::latch::End;
use crate::tracer::ResourceEvent;

/// The async ids of the resource on whose behalf a callback runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AsyncContext {
    /// `executionAsyncId()` during the callback; 0 for none.
    pub async_id: f64,
    /// `triggerAsyncId()` during the callback.
    pub trigger_async_id: f64,
}

/// Indexes of `async_wrap.async_hook_fields`.
pub mod hook_field {
    /// Number of active `init` hooks.
    pub const INIT: usize = 0;
    /// Number of active `before` hooks.
    pub const BEFORE: usize = 1;
    /// Number of active `after` hooks.
    pub const AFTER: usize = 2;
    /// Number of active `destroy` hooks.
    pub const DESTROY: usize = 3;
    /// Whether ids are checked for consistency.
    pub const CHECK: usize = 6;
    /// Depth of the stack of ids.
    pub const STACK_LENGTH: usize = 7;
}

/// Indexes of `async_wrap.async_id_fields`.
pub mod id_field {
    /// Id of the running resource.
    pub const EXECUTION: usize = 0;
    /// Id of its cause.
    pub const TRIGGER: usize = 1;
    /// The last id given out.
    pub const COUNTER: usize = 2;
    /// Trigger id for new resources; negative for "the running one".
    pub const DEFAULT_TRIGGER: usize = 3;
}

const HAS_TICK_SCHEDULED: usize = 0;
const HAS_REJECTION_TO_WARN: usize = 1;

impl Env {
    /// A new async id.
    pub fn new_async_id(&self, scope: &mut v8::PinScope<'_, '_>) -> f64 {
        let Some(fields) = self.buffer(scope, "async_wrap.async_id_fields") else {
            return 0.0;
        };
        let id = fields.get::<f64>(id_field::COUNTER) + 1.0;
        fields.set(id_field::COUNTER, id);
        id
    }

    /// The ids for a resource that is made now.
    pub fn new_async_context(&self, scope: &mut v8::PinScope<'_, '_>) -> AsyncContext {
        let async_id = self.new_async_id(scope);
        let Some(fields) = self.buffer(scope, "async_wrap.async_id_fields") else {
            return AsyncContext::default();
        };
        let default = fields.get::<f64>(id_field::DEFAULT_TRIGGER);
        let trigger_async_id = if default < 0.0 {
            fields.get::<f64>(id_field::EXECUTION)
        } else {
            default
        };
        AsyncContext {
            async_id,
            trigger_async_id,
        }
    }

    /// Tells the `init` hooks of a new resource of type `kind`.
    pub fn emit_async_init(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        kind: &str,
        context: AsyncContext,
        resource: v8::Local<v8::Object>,
    ) {
        let Some(fields) = self.buffer(scope, "async_wrap.async_hook_fields") else {
            return;
        };
        if self.traces() {
            let execution = self.buffer(scope, "async_wrap.async_id_fields");
            let execution = execution.map(|fields| fields.get::<f64>(id_field::EXECUTION));
            let args = serde_json::json!({
                "executionAsyncId": execution.unwrap_or_default(),
                "triggerAsyncId": context.trigger_async_id,
            });
            self.trace_resource(kind, context.async_id, &args);
        }
        if fields.get::<u32>(hook_field::INIT) == 0 {
            return;
        }
        v8::scope!(let scope, scope);
        let Some(function) = self.function(scope, "async_wrap.init") else {
            return;
        };
        let Some(kind) = v8::String::new(scope, kind) else {
            return;
        };
        let id = v8::Number::new(scope, context.async_id).into();
        let trigger = v8::Number::new(scope, context.trigger_async_id).into();
        let undefined = v8::undefined(scope).into();
        let resource = v8::Local::new(scope, resource).into();
        self.guarded(scope, |scope| {
            function.call(scope, undefined, &[id, kind.into(), trigger, resource])
        });
    }

    /// Calls `function` as the event loop calls a resource's callback: with its async ids, its before and after hooks,
    /// and with microtasks and ticks run when the outermost such call ends. `None` when it threw (the exception went to
    /// `process._fatalException`) or when the process is ending.
    pub fn make_callback<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        receiver: v8::Local<'s, v8::Object>,
        function: v8::Local<'s, v8::Function>,
        args: &[v8::Local<'s, v8::Value>],
        context: AsyncContext,
    ) -> Option<v8::Local<'s, v8::Value>> {
        self.in_callback_scope(scope, receiver, context, |scope| {
            function.call(scope, receiver.into(), args)
        })
    }

    /// Calls `receiver[name](...args)` as [`Self::make_callback`] does; nothing when it is not a function.
    pub fn make_callback_named<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        receiver: v8::Local<'s, v8::Object>,
        name: &str,
        args: &[v8::Local<'s, v8::Value>],
        context: AsyncContext,
    ) -> Option<v8::Local<'s, v8::Value>> {
        self.in_callback_scope(scope, receiver, context, |scope| {
            let key = v8::String::new(scope, name)?;
            let value = receiver.get(scope, key.into())?;
            match v8::Local::<v8::Function>::try_from(value) {
                Ok(function) => function.call(scope, receiver.into(), args),
                Err(_) => Some(v8::undefined(scope).into()),
            }
        })
    }

    /// Calls `function` with a resource's async ids from inside a call that JavaScript made: an exception stays pending
    /// for that caller, and neither microtasks nor ticks run. `None` when it threw or when the process is ending.
    pub fn call_nested<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        receiver: v8::Local<'s, v8::Object>,
        function: v8::Local<'s, v8::Function>,
        args: &[v8::Local<'s, v8::Value>],
        context: AsyncContext,
    ) -> Option<v8::Local<'s, v8::Value>> {
        if self.is_ending() {
            return None;
        }
        self.callback_depth.set(self.callback_depth.get() + 1);
        self.push_async_context(scope, context, Some(receiver));
        let id = context.async_id;
        self.emit_hook(scope, hook_field::BEFORE, "async_wrap.before", id);
        let result = function.call(scope, receiver.into(), args);
        if result.is_some() {
            self.emit_hook(scope, hook_field::AFTER, "async_wrap.after", id);
        }
        self.pop_async_context(scope, id);
        self.callback_depth.set(self.callback_depth.get() - 1);
        if self.is_ending() { None } else { result }
    }

    /// Runs `body`, which calls into JavaScript, inside a callback scope.
    pub fn in_callback_scope<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        resource: v8::Local<'s, v8::Object>,
        context: AsyncContext,
        body: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Value>>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        if self.is_ending() {
            return None;
        }
        self.callback_depth.set(self.callback_depth.get() + 1);
        self.push_async_context(scope, context, Some(resource));
        let has_id = context.async_id != 0.0;
        if has_id {
            self.emit_hook(
                scope,
                hook_field::BEFORE,
                "async_wrap.before",
                context.async_id,
            );
        }
        let result = self.guarded(scope, body);
        if result.is_some() && has_id {
            self.emit_hook(
                scope,
                hook_field::AFTER,
                "async_wrap.after",
                context.async_id,
            );
        }
        self.pop_async_context(scope, context.async_id);
        let depth = self.callback_depth.get() - 1;
        if depth == 0 && result.is_some() {
            self.drain_ticks_at_depth_one(scope);
        }
        self.callback_depth.set(depth);
        if self.is_ending() { None } else { result }
    }

    /// Runs `body`; an exception goes to `process._fatalException`.
    pub fn guarded<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        body: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Value>>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let (result, caught) = {
            v8::tc_scope!(catch, scope);
            let result = body(catch);
            let terminated = catch.has_terminated() || self.is_ending();
            let caught = if terminated {
                None
            } else {
                catch.exception().zip(Some(catch.message()))
            };
            let caught = caught.map(|(exception, message)| {
                (
                    v8::Global::new(catch, exception),
                    message.map(|message| v8::Global::new(catch, message)),
                )
            });
            if terminated && !catch.has_terminated() {
                catch.reset();
            }
            (result, caught)
        };
        if let Some((exception, message)) = caught {
            let exception = v8::Local::new(scope, exception);
            let message = message.map(|message| v8::Local::new(scope, message));
            self.trigger_uncaught_exception(scope, exception, message, false);
            return None;
        }
        result
    }

    /// What the outermost callback scope does when it ends: microtasks, then ticks while there are any.
    fn drain_ticks_at_depth_one(&self, scope: &mut v8::PinScope<'_, '_>) {
        if self.is_ending() {
            return;
        }
        let Some(tick_info) = self.buffer(scope, "task_queue.tickInfo") else {
            return;
        };
        if tick_info.get::<u8>(HAS_TICK_SCHEDULED) == 0 {
            scope.perform_microtask_checkpoint();
        }
        if self.is_ending() {
            return;
        }
        if tick_info.get::<u8>(HAS_TICK_SCHEDULED) == 0
            && tick_info.get::<u8>(HAS_REJECTION_TO_WARN) == 0
        {
            return;
        }
        let Some(tick) = self.function(scope, "tickCallback") else {
            return;
        };
        let Some(process) = self.process_object(scope) else {
            return;
        };
        self.guarded(scope, |scope| tick.call(scope, process.into(), &[]));
    }

    /// `process` of the guest.
    pub fn process_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        self.registered(scope, "process")
            .and_then(|value| v8::Local::try_from(value).ok())
    }

    /// Enters a resource's async ids.
    pub fn push_async_context<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        context: AsyncContext,
        resource: Option<v8::Local<'s, v8::Object>>,
    ) {
        let (Some(fields), Some(ids)) = (
            self.buffer(scope, "async_wrap.async_hook_fields"),
            self.buffer(scope, "async_wrap.async_id_fields"),
        ) else {
            return;
        };
        let depth = fields.get::<u32>(hook_field::STACK_LENGTH);
        // The library reads and writes the same stack in its own push and pop, while it is large enough.
        let at = depth as usize * 2;
        let Some(stack) = self.async_ids_stack(scope, at + 2) else {
            return;
        };
        stack.set(at, ids.get::<f64>(id_field::EXECUTION));
        stack.set(at + 1, ids.get::<f64>(id_field::TRIGGER));
        fields.set(hook_field::STACK_LENGTH, depth + 1);
        ids.set(id_field::EXECUTION, context.async_id);
        ids.set(id_field::TRIGGER, context.trigger_async_id);
        let mut frames = self.async_stack.borrow_mut();
        frames.truncate_from(depth);
        if let Some(resource) = resource {
            frames.0.push(crate::env::AsyncFrame {
                depth,
                resource: v8::Global::new(scope, resource),
            });
        }
    }

    /// The stack of entered ids, with room for `length` numbers. It grows for the library, too.
    fn async_ids_stack(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        length: usize,
    ) -> Option<AliasedBuffer> {
        /// JavaScript's own stack ends long before.
        const MOST: usize = 1 << 20;
        const KEY: &str = "async_wrap.async_ids_stack";
        let stack = self.buffer(scope, KEY)?;
        let old = stack.count::<f64>();
        if old >= length {
            return Some(stack);
        }
        if length > MOST {
            return None;
        }
        v8::scope!(let scope, scope);
        let new = length.saturating_mul(3);
        let memory = crate::array_buffer::new_array_buffer(scope, new * size_of::<f64>()).ok()?;
        let array = v8::Float64Array::new(scope, memory, 0, new)?;
        self.register(scope, KEY, array.into());
        self.forget_buffer(KEY);
        let grown = self.buffer(scope, KEY)?;
        for index in 0..old {
            grown.set(index, stack.get::<f64>(index));
        }
        let binding =
            v8::Local::<v8::Object>::try_from(self.registered(scope, "binding async_wrap")?)
                .ok()?;
        crate::realm::set(scope, binding, "async_ids_stack", array.into());
        Some(grown)
    }

    /// Leaves a resource's async ids; answers whether outer frames remain. `async_id` must be what was entered last: the
    /// process ends otherwise, while hooks are checked.
    pub fn pop_async_context(&self, scope: &mut v8::PinScope<'_, '_>, async_id: f64) -> bool {
        let (Some(fields), Some(ids)) = (
            self.buffer(scope, "async_wrap.async_hook_fields"),
            self.buffer(scope, "async_wrap.async_id_fields"),
        ) else {
            return false;
        };
        // Emptied already, after an exception that the guest handled.
        let Some(depth) = fields.get::<u32>(hook_field::STACK_LENGTH).checked_sub(1) else {
            return false;
        };
        let actual = ids.get::<f64>(id_field::EXECUTION);
        if self.is_ending() {
            return false;
        }
        if fields.get::<u32>(hook_field::CHECK) > 0 && actual != async_id {
            self.write_stderr(&format!(
                "Error: async hook stack has become corrupted (actual: {actual:.0}, expected: {async_id:.0})\n"
            ));
            self.end(scope, End::Error(1));
            return false;
        }
        let at = depth as usize * 2;
        if let Some(stack) = self.buffer(scope, "async_wrap.async_ids_stack") {
            ids.set(id_field::EXECUTION, stack.get::<f64>(at));
            ids.set(id_field::TRIGGER, stack.get::<f64>(at + 1));
        }
        fields.set(hook_field::STACK_LENGTH, depth);
        self.async_stack.borrow_mut().truncate_from(depth);
        depth > 0
    }

    fn emit_hook(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        field: usize,
        hook: &'static str,
        async_id: f64,
    ) {
        if self.traces() {
            let what = match field {
                hook_field::BEFORE => ResourceEvent::Before,
                _ => ResourceEvent::After,
            };
            self.trace_resource_event(async_id, what);
        }
        let Some(fields) = self.buffer(scope, "async_wrap.async_hook_fields") else {
            return;
        };
        if fields.get::<u32>(field) == 0 {
            return;
        }
        let Some(function) = self.function(scope, hook) else {
            return;
        };
        let id = v8::Number::new(scope, async_id).into();
        let undefined = v8::undefined(scope).into();
        self.guarded(scope, |scope| function.call(scope, undefined, &[id]));
    }

    /// Hands an uncaught exception to the guest's `process._fatalException`; ends the process unless it was handled.
    pub fn trigger_uncaught_exception<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        exception: v8::Local<'s, v8::Value>,
        message: Option<v8::Local<'s, v8::Message>>,
        from_promise: bool,
    ) {
        if self.is_ending() {
            return;
        }
        if !from_promise && self.aborts_on_uncaught_exception(scope) {
            self.abort(scope, exception, message);
            return;
        }
        let handler = self.process_object(scope).and_then(|process| {
            let key = v8::String::new(scope, "_fatalException")?;
            let value = process.get(scope, key.into())?;
            v8::Local::<v8::Function>::try_from(value)
                .ok()
                .map(|function| (process, function))
        });
        let Some((process, handler)) = handler else {
            report(self, scope, exception, message, Enhance::No);
            self.end(scope, End::Error(6));
            return;
        };
        let from_promise = v8::Boolean::new(scope, from_promise).into();
        let outcome = {
            v8::tc_scope!(catch, scope);
            let handled = handler.call(catch, process.into(), &[exception, from_promise]);
            match handled {
                Some(value) => Ok(!value.is_false()),
                None if catch.has_terminated() || self.is_ending() => return,
                None => Err(catch.exception().map(|second| {
                    let message = catch
                        .message()
                        .map(|message| v8::Global::new(catch, message));
                    (v8::Global::new(catch, second), message)
                })),
            }
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                report(self, scope, exception, message, Enhance::Yes);
                crate::bindings::report::of_uncaught_exception(scope, self, exception);
                if self.keeps_running() {
                    self.clear_async_id_stack(scope);
                    return;
                }
                let code = self.exit_code(scope).unwrap_or(1);
                crate::inspector::profiles::end(scope, &Self::of(scope));
                self.end(scope, End::Error(code));
            }
            Err(second) => {
                if let Some((second, message)) = second {
                    let second = v8::Local::new(scope, second);
                    let message = message.map(|message| v8::Local::new(scope, message));
                    if self.aborts_on_uncaught_exception(scope) {
                        self.abort(scope, second, message);
                        return;
                    }
                    report(self, scope, second, message, Enhance::Yes);
                }
                self.end(scope, End::Error(7));
            }
        }
    }

    /// Whether an exception that nothing catches ends the process as a crash would (`--abort-on-uncaught-exception`).
    /// The library forbids it while somebody captures such exceptions, and a worker's are its parent's to handle.
    pub fn aborts_on_uncaught_exception(&self, scope: &mut v8::PinScope<'_, '_>) -> bool {
        options::flag(self, "--abort-on-uncaught-exception")
            && !self.extension::<crate::threads::Thread>().is_worker()
            && self
                .buffer(scope, "util.shouldAbortOnUncaughtToggle")
                .is_none_or(|toggle| toggle.get::<u32>(0) != 0)
    }

    /// Writes where an uncaught exception comes from, as V8 does, and ends the process by `SIGABRT`.
    fn abort<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        exception: v8::Local<'s, v8::Value>,
        message: Option<v8::Local<'s, v8::Message>>,
    ) {
        let message = message.unwrap_or_else(|| v8::Exception::create_message(scope, exception));
        let mut text = message.get(scope).to_rust_string_lossy(scope);
        text.push_str("\n\nFROM\n");
        if let Some(stack) = message.get_stack_trace(scope) {
            for frame in frames(scope, stack, usize::MAX) {
                text.push_str(&frame);
                text.push('\n');
            }
        }
        self.write_stderr(&text);
        self.end(scope, End::Signal(secure_exec_kernel::SIGABRT));
    }

    /// `process.exitCode`, when the guest has set it.
    pub fn exit_code(&self, scope: &mut v8::PinScope<'_, '_>) -> Option<i32> {
        const EXIT_CODE: usize = 1;
        const HAS_EXIT_CODE: usize = 2;
        let fields = self.buffer(scope, "exit_info")?;
        (fields.get::<i32>(HAS_EXIT_CODE) != 0).then(|| fields.get::<i32>(EXIT_CODE))
    }
}
