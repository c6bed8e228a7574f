//! The state of one guest process on its isolate's thread.
//!
//! An `Env` lives in a slot of its isolate and never leaves that thread. Everything that other threads may touch stands
//! in [`Shared`]. JavaScript values that Rust needs are kept in one object, the *registry*, which the startup snapshot
//! carries: aliased buffers (`"timers.immediateInfo"`), classes (`"fs.FileHandle"`) and callbacks that Node's library
//! hands to its bindings (`"tickCallback"`).

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use secure_exec_kernel::{Errno, Interest};

use crate::aliased_buffer::AliasedBuffer;
use crate::event_loop::EventLoop;
use crate::latch::{End, Latch};
use crate::object_table::ObjectTable;
use crate::permission_model::PermissionModel;
use crate::throw::Throw;
use crate::tracer::Tracer;

/// What the threads of the host may touch of a running process.
pub struct Shared {
    /// How the process ends; set once.
    pub latch: Latch,
    /// Stops JavaScript from any thread.
    pub isolate: v8::IsolateHandle,
    /// Wakes the event loop and carries work to it.
    pub inbox: crate::event_loop::Inbox,
    /// Signals that wait for their listeners.
    pub pending_signals: std::sync::atomic::AtomicU32,
    /// Who runs the process in the place of this isolate (`process.execve`).
    pub successor: std::sync::OnceLock<Arc<dyn secure_exec_kernel::Supervisor>>,
    /// Who watches for `SIGINT`.
    pub sigint: crate::sigint::Sigint,
    /// The workers that this thread started.
    pub workers: crate::threads::Workers,
    /// When its loop started and how long it slept.
    pub loop_times: crate::event_loop::LoopTimes,
}

impl Shared {
    /// Of an isolate that was just made.
    pub fn new(isolate: v8::IsolateHandle, inbox: crate::event_loop::Inbox) -> Arc<Self> {
        Arc::new(Self {
            latch: Latch::default(),
            isolate,
            inbox,
            pending_signals: std::sync::atomic::AtomicU32::default(),
            successor: std::sync::OnceLock::new(),
            sigint: crate::sigint::Sigint::default(),
            workers: crate::threads::Workers::default(),
            loop_times: crate::event_loop::LoopTimes::default(),
        })
    }
}

/// The resource of one entered async context, for `executionAsyncResource()`.
pub(crate) struct AsyncFrame {
    pub depth: u32,
    pub resource: v8::Global<v8::Object>,
}

/// Resources of entered async contexts, by rising depth. The library enters and leaves contexts by itself, too: only a
/// push or a pop of ours tells which of these have been left.
#[derive(Default)]
pub(crate) struct AsyncFrames(pub Vec<AsyncFrame>);

impl AsyncFrames {
    /// Forgets what was entered at `depth` or deeper.
    pub fn truncate_from(&mut self, depth: u32) {
        let kept = self.0.partition_point(|frame| frame.depth < depth);
        self.0.truncate(kept);
    }
}

/// The state of one guest process. See the module's text.
pub struct Env {
    shared: Arc<Shared>,
    context: RefCell<Option<v8::Global<v8::Context>>>,
    registry: RefCell<Option<v8::Global<v8::Object>>>,
    buffers: RefCell<HashMap<&'static str, AliasedBuffer>>,
    functions: RefCell<HashMap<&'static str, v8::Global<v8::Function>>>,
    /// Templates of classes, for inheritance.
    pub(crate) templates: RefCell<HashMap<String, v8::Global<v8::FunctionTemplate>>>,
    /// Rust objects behind the guest's wrapper objects.
    pub objects: ObjectTable,
    /// Timers, immediates, completions and messages.
    pub event_loop: EventLoop,
    clock: crate::clock::Clock,
    /// Environment variables.
    pub variables: crate::environment::Variables,
    pub(crate) async_stack: RefCell<AsyncFrames>,
    /// Nesting of callback scopes; ticks run when it falls to zero.
    pub(crate) callback_depth: Cell<u32>,
    pub(crate) constructing_from_rust: Cell<bool>,
    /// Whether an inspector's session is connected.
    pub(crate) inspected: Cell<bool>,
    keeps_running: Cell<bool>,
    process: RefCell<Option<Arc<secure_exec_kernel::Process>>>,
    kernel: RefCell<Option<Arc<secure_exec_kernel::Kernel>>>,
    vm: RefCell<Option<std::sync::Weak<crate::vm::Vm>>>,
    uncaught: RefCell<Option<crate::api::GuestError>>,
    options: RefCell<ProcessOptions>,
    memory: RefCell<Option<Arc<crate::memory::MemoryBudget>>>,
    permission_model: OnceCell<Arc<PermissionModel>>,
    tracer: OnceCell<Arc<Tracer>>,
    /// Further state of single bindings, one value a type.
    extensions: RefCell<HashMap<std::any::TypeId, Rc<dyn Any>>>,
}

/// What the embedder decides for one process.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Overrides of Node's command-line options (`--name` to JSON value). Never taken from the guest.
    pub node_options: Vec<(String, serde_json::Value)>,
    /// `process.execArgv`.
    pub exec_argv: Vec<String>,
    /// `process.execPath`.
    pub exec_path: String,
    /// `process.argv`, with the program first.
    pub argv: Vec<String>,
    /// `process.pid`.
    pub pid: u32,
    /// `process.ppid`.
    pub ppid: u32,
    /// Directories of modules that the host gave.
    pub module_roots: Vec<String>,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            node_options: Vec::new(),
            exec_argv: Vec::new(),
            exec_path: secure_exec_kernel::EXEC_PATH.to_owned(),
            argv: vec![secure_exec_kernel::EXEC_PATH.to_owned()],
            pid: 0,
            ppid: 0,
            module_roots: Vec::new(),
        }
    }
}

impl Env {
    /// Puts a new `Env` into the isolate's slot.
    pub fn install(isolate: &mut v8::Isolate, shared: Arc<Shared>) -> Rc<Self> {
        let env = Rc::new(Self {
            event_loop: EventLoop::new(&shared),
            shared,
            context: RefCell::default(),
            registry: RefCell::default(),
            buffers: RefCell::default(),
            functions: RefCell::default(),
            templates: RefCell::default(),
            objects: ObjectTable::default(),
            clock: crate::clock::Clock::default(),
            variables: crate::environment::Variables::default(),
            async_stack: RefCell::default(),
            callback_depth: Cell::new(0),
            constructing_from_rust: Cell::new(false),
            inspected: Cell::new(false),
            keeps_running: Cell::new(false),
            process: RefCell::default(),
            kernel: RefCell::default(),
            vm: RefCell::default(),
            options: RefCell::default(),
            uncaught: RefCell::default(),
            memory: RefCell::default(),
            permission_model: OnceCell::new(),
            tracer: OnceCell::new(),
            extensions: RefCell::default(),
        });
        isolate.set_slot(env.clone());
        env
    }

    /// The `Env` of the running isolate.
    #[expect(
        clippy::expect_used,
        reason = "every isolate that runs bindings was given its Env by `install`"
    )]
    pub fn of(isolate: &v8::Isolate) -> Rc<Self> {
        isolate
            .get_slot::<Rc<Self>>()
            .expect("Env is installed")
            .clone()
    }

    /// The process's clock.
    pub fn clock(&self) -> &crate::clock::Clock {
        &self.clock
    }

    /// Lets frozen time catch up, in this process and in its view of the kernel.
    pub fn advance_clock(&self) {
        self.clock.advance();
        // The process's view of time is its main thread's: another thread's turn must not move it.
        if self.extension::<crate::threads::Thread>().is_worker() {
            return;
        }
        if let Some(process) = self.process.borrow().as_ref() {
            process.clock().catch_up();
        }
    }

    /// Lets frozen time move by what the guest has just waited for, and by no more.
    pub fn pass_time(&self, time: std::time::Duration) {
        if self.clock.mitigation() != crate::clock::Mitigation::Freeze {
            return;
        }
        self.clock.pass(time);
        if self.extension::<crate::threads::Thread>().is_worker() {
            return;
        }
        if let Some(process) = self.process.borrow().as_ref() {
            process.clock().advance(time);
        }
    }

    /// What other threads may touch.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Drops every handle into the isolate, so that the isolate can be disposed of or serialized.
    pub fn release_handles(&self) {
        self.context.take();
        self.registry.take();
        self.buffers.take();
        self.functions.take();
        self.extensions.take();
        self.async_stack.take();
        self.templates.take();
        self.objects.clear();
        self.event_loop.clear();
    }

    /// The kernel's process; an error while the snapshot is built, when there is none.
    pub fn process(&self) -> Result<Arc<secure_exec_kernel::Process>, Throw> {
        self.process
            .borrow()
            .clone()
            .ok_or_else(|| Throw::error("ERR_INVALID_STATE", "Invalid state: no process"))
    }

    /// The kernel; an error while the snapshot is built, when there is none.
    pub fn kernel(&self) -> Result<Arc<secure_exec_kernel::Kernel>, Throw> {
        self.kernel
            .borrow()
            .clone()
            .ok_or_else(|| Throw::error("ERR_INVALID_STATE", "Invalid state: no kernel"))
    }

    /// The VM, while it lives.
    pub fn vm(&self) -> Option<Arc<crate::vm::Vm>> {
        self.vm.borrow().as_ref()?.upgrade()
    }

    /// Says which VM this isolate belongs to.
    pub fn set_vm(&self, vm: &Arc<crate::vm::Vm>) {
        self.vm.replace(Some(Arc::downgrade(vm)));
    }

    /// Gives this isolate its machine and its process.
    pub fn set_machine(
        &self,
        kernel: Arc<secure_exec_kernel::Kernel>,
        process: Arc<secure_exec_kernel::Process>,
    ) {
        self.kernel.replace(Some(kernel));
        self.process.replace(Some(process));
    }

    /// Takes them away again.
    pub(crate) fn clear_machine(&self) {
        self.kernel.take();
        self.process.take();
    }

    /// Keeps the uncaught error for the host; the first one stays.
    pub fn set_uncaught(&self, error: crate::api::GuestError) {
        self.uncaught.borrow_mut().get_or_insert(error);
    }

    /// Whether an uncaught error leaves the process running, as in a context between its calls.
    pub fn keeps_running(&self) -> bool {
        self.keeps_running.get()
    }

    /// Sets [`Self::keeps_running`].
    pub fn set_keeps_running(&self, keeps_running: bool) {
        self.keeps_running.set(keeps_running);
    }

    /// The uncaught error, for the host.
    pub fn take_uncaught(&self) -> Option<crate::api::GuestError> {
        self.uncaught.take()
    }

    /// What the embedder decided for this process.
    pub fn options(&self) -> std::cell::Ref<'_, ProcessOptions> {
        self.options.borrow()
    }

    /// Sets what the embedder decided.
    pub fn set_options(&self, options: ProcessOptions) {
        self.options.replace(options);
    }

    /// Changes them, for what one option makes of another.
    pub fn update_options(&self, update: impl FnOnce(&mut ProcessOptions)) {
        update(&mut self.options.borrow_mut());
    }

    /// Node's permission model, if this process has it.
    pub fn permission_model(&self) -> Option<&Arc<PermissionModel>> {
        self.permission_model.get()
    }

    /// Gives this process Node's permission model, for good.
    pub fn set_permission_model(&self, model: Arc<PermissionModel>) {
        // A model that is there already stays.
        let _ = self.permission_model.set(model);
    }

    /// Where this thread traces to; nothing while the snapshot is built.
    pub fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.get()
    }

    /// Gives this thread its process's tracer, once it is known which process it belongs to.
    pub fn set_tracer(&self) {
        let threads = self.extension::<crate::threads::Thread>().threads();
        // The one that is there already stays.
        let _ = self.tracer.set(threads.tracer().clone());
    }

    /// What the process may hold and holds; nothing while the snapshot is built.
    pub fn memory_account(&self) -> Option<Arc<crate::memory::MemoryBudget>> {
        self.memory.borrow().clone()
    }

    /// Gives this isolate its memory budget.
    pub fn set_memory_account(&self, memory: Arc<crate::memory::MemoryBudget>) {
        self.memory.replace(Some(memory));
    }

    /// State of type `T` that one binding keeps, made on first use.
    pub fn extension<T: Default + 'static>(&self) -> Rc<T> {
        let entry = self
            .extensions
            .borrow_mut()
            .entry(std::any::TypeId::of::<T>())
            .or_insert_with(|| Rc::new(T::default()))
            .clone();
        entry.downcast::<T>().unwrap_or_default()
    }

    /// Binds the main context and the registry, new or restored.
    pub fn set_context(&self, context: v8::Global<v8::Context>, registry: v8::Global<v8::Object>) {
        self.context.replace(Some(context));
        self.registry.replace(Some(registry));
    }

    /// The main context.
    pub fn context<'s>(
        &self,
        scope: &v8::PinScope<'s, '_, ()>,
    ) -> Option<v8::Local<'s, v8::Context>> {
        self.context
            .borrow()
            .as_ref()
            .map(|context| v8::Local::new(scope, context))
    }

    /// The registry object, which goes into the snapshot.
    pub fn registry<'s>(
        &self,
        scope: &v8::PinScope<'s, '_, ()>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        self.registry
            .borrow()
            .as_ref()
            .map(|registry| v8::Local::new(scope, registry))
    }

    /// Keeps `value` under `key` for Rust, through the snapshot.
    pub fn register(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        key: &str,
        value: v8::Local<v8::Value>,
    ) {
        let (Some(registry), Some(name)) = (self.registry(scope), v8::String::new(scope, key))
        else {
            return;
        };
        registry.create_data_property(scope, name.into(), value);
        self.functions.borrow_mut().retain(|known, _| *known != key);
        self.buffers.borrow_mut().retain(|known, _| *known != key);
    }

    /// The value kept under `key`.
    pub fn registered<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        key: &str,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let registry = self.registry(scope)?;
        let name = v8::String::new(scope, key)?;
        registry
            .get(scope, name.into())
            .filter(|value| !value.is_undefined())
    }

    /// The function kept under `key` (a callback of Node's library, or a class as `"binding.Class"`).
    pub fn function<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        key: &'static str,
    ) -> Option<v8::Local<'s, v8::Function>> {
        if let Some(known) = self.functions.borrow().get(key) {
            return Some(v8::Local::new(scope, known));
        }
        let function = v8::Local::<v8::Function>::try_from(self.registered(scope, key)?).ok()?;
        self.functions
            .borrow_mut()
            .insert(key, v8::Global::new(scope, function));
        Some(function)
    }

    /// The typed array `key` (`"binding.property"`) that the guest's library and Rust share.
    pub fn buffer(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        key: &'static str,
    ) -> Option<AliasedBuffer> {
        if let Some(known) = self.buffers.borrow().get(key) {
            return Some(known.clone());
        }
        let array = v8::Local::<v8::TypedArray>::try_from(self.registered(scope, key)?).ok()?;
        let buffer = AliasedBuffer::new(scope, array)?;
        self.buffers.borrow_mut().insert(key, buffer.clone());
        Some(buffer)
    }

    /// Lets [`Self::buffer`] look for `key` again.
    pub(crate) fn forget_buffer(&self, key: &'static str) {
        self.buffers.borrow_mut().remove(key);
    }

    /// A new instance of the class `"binding.Class"`, made without running its guest-visible constructor's checks.
    pub fn new_instance<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        class: &'static str,
    ) -> Result<v8::Local<'s, v8::Object>, Throw> {
        let constructor = self.function(scope, class).ok_or(Throw::Pending)?;
        self.constructing_from_rust.set(true);
        let instance = constructor.new_instance(scope, &[]);
        self.constructing_from_rust.set(false);
        instance.ok_or(Throw::Pending)
    }

    /// Whether this process has an end already, so that no more JavaScript may run in it.
    pub fn is_ending(&self) -> bool {
        self.shared.latch.is_set()
    }

    /// Ends the process: sets the latch and raises termination at once.
    ///
    /// Returns [`Throw::Pending`] for the caller to return.
    pub fn end(&self, scope: &mut v8::PinScope<'_, '_>, end: End) -> Throw {
        self.shared.latch.set(end);
        scope.terminate_execution();
        // Entering JavaScript makes V8 raise the requested termination before control goes back to the guest.
        if let Some(source) = v8::String::new(scope, "0") {
            let _ = v8::json::stringify(scope, source.into());
        }
        Throw::Pending
    }

    /// Ends the process because of a panic in our own code.
    pub fn condemn(&self, scope: &mut v8::PinScope<'_, '_>, panic: &(dyn Any + Send)) {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic".to_owned());
        tracing::error!(panic = %text, "a binding panicked; its process ends");
        self.end(scope, End::Crash(text));
    }
}

/// Descriptor of standard error.
const STDERR: i32 = 2;

impl Env {
    /// Writes to the guest's standard error, past its own `process.stderr`.
    pub fn write_stderr(&self, text: &str) {
        self.print(STDERR, text);
    }

    /// Writes a text to a descriptor and waits while there is no room. A closed descriptor loses the text, as in Node.
    pub fn print(&self, fd: i32, text: &str) {
        let (Ok(kernel), Ok(process)) = (self.kernel(), self.process()) else {
            return;
        };
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match kernel.write(&process, fd, rest, None) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EAGAIN) => {
                    if crate::bindings::fs::io::block(self, fd, Interest::Writable).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Emits `beforeExit` on `process`, with the exit code so far.
    pub fn emit_before_exit(&self, scope: &mut v8::PinScope<'_, '_>) {
        self.run_destroy_hooks(scope);
        self.emit_with_exit_code(scope, "beforeExit");
    }

    /// Emits `exit` on `process`; answers the exit code after its listeners ran.
    pub fn emit_exit(self: &Rc<Self>, scope: &mut v8::PinScope<'_, '_>) -> i32 {
        const EXITING: usize = 0;
        const EXIT_CODE: usize = 1;
        const HAS_EXIT_CODE: usize = 2;
        const UNSETTLED_TOP_LEVEL_AWAIT: i32 = 13;
        let unsettled = self.exit_code(scope).is_none()
            && crate::bindings::module_wrap::warn_unsettled_top_level_await(scope, self);
        if let Some(fields) = self.buffer(scope, "exit_info") {
            fields.set(EXITING, 1_i32);
            if unsettled {
                fields.set(EXIT_CODE, UNSETTLED_TOP_LEVEL_AWAIT);
                fields.set(HAS_EXIT_CODE, 1_i32);
            }
        }
        self.emit_with_exit_code(scope, "exit");
        crate::inspector::profiles::end(scope, self);
        self.exit_code(scope).unwrap_or(0)
    }

    fn emit_with_exit_code(&self, scope: &mut v8::PinScope<'_, '_>, event: &str) {
        v8::scope!(let scope, scope);
        let code = self.exit_code(scope).unwrap_or(0);
        let (Some(process), Some(event)) =
            (self.process_object(scope), v8::String::new(scope, event))
        else {
            return;
        };
        let code = v8::Integer::new(scope, code).into();
        let context = crate::callback_scope::AsyncContext::default();
        self.make_callback_named(scope, process, "emit", &[event.into(), code], context);
    }
}
