//! `internalBinding('messaging')`: ports, channels and `structuredClone`. Source: `src/node_messaging.cc`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::binding::{Args, Binding, Callback, Class, Function, Ret, accessor_reference, function};
use crate::bindings::symbols::symbol;
use crate::callback_scope::AsyncContext;
use crate::env::Env;
use crate::event_loop::ActiveGuard;
use crate::message::{HostType, MemoryBudget, Message, TransferData, read_iterable};
use crate::message_port::{Channels, Group, Owner, Pending, PortData, Sent};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "messaging",
    functions: &[
        ("stopMessagePort", function!(stop_message_port)),
        ("drainMessagePort", function!(drain_message_port)),
        ("receiveMessageOnPort", function!(receive_message_on_port)),
        (
            "moveMessagePortToContext",
            function!(move_message_port_to_context),
        ),
        (
            "setDeserializerCreateObjectFunction",
            function!(set_deserializer_create_object_function),
        ),
        ("broadcastChannel", function!(broadcast_channel)),
        ("structuredClone", function!(structured_clone)),
        (
            "exposeLazyDOMExceptionProperty",
            function!(expose_lazy_dom_exception_property),
        ),
    ],
    classes: &[
        Class {
            name: "AsyncWrap",
            methods: &[
                ("getAsyncId", function!(get_async_id)),
                ("asyncReset", function!(async_reset)),
                ("getProviderType", function!(get_provider_type)),
            ],
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "HandleWrap",
            parent: Some("messaging.AsyncWrap"),
            methods: &[
                ("close", CLOSE),
                ("hasRef", HAS_REF),
                ("ref", REF),
                ("unref", UNREF),
            ],
            hidden: true,
            ..Class::DEFAULT
        },
        Class {
            name: "MessageChannel",
            constructor: Some(function!(message_channel)),
            ..Class::DEFAULT
        },
        Class {
            name: "MessagePort",
            parent: Some("messaging.HandleWrap"),
            constructor: Some(MESSAGE_PORT),
            methods: &[("postMessage", POST_MESSAGE), ("start", START)],
            ..Class::DEFAULT
        },
    ],
    references: || vec![accessor_reference(dom_exception_getter)],
    init: Some(init),
    ..Binding::DEFAULT
};

/// What a port holds beside itself: its end of the channel, its place among the ports, two handles of V8.
const PORT_DATA_BYTES: usize = 512;
const MESSAGE_PORT: Callback = function!(message_port);
const POST_MESSAGE: Callback = function!(post_message);
const START: Callback = function!(start);
const CLOSE: Callback = function!(close);
const HAS_REF: Callback = function!(has_ref);
const REF: Callback = function!(reference);
const UNREF: Callback = function!(unreference);
/// Bytes of a `BroadcastChannel`'s name.
const MAX_NAME: usize = 1 << 20;
/// Messages that one visit of a port delivers at most, unless more waited when it began.
const LEAST_BATCH: usize = 1000;
/// Provider type of message ports for async hooks.
const PROVIDER: &str = "MESSAGEPORT";
/// Its number among `async_wrap.Providers`.
const PROVIDER_NUMBER: i32 = 21;

/// The ports of this process and what they share.
#[derive(Default)]
struct Messaging {
    ports: RefCell<HashMap<u64, Rc<MessagePort>>>,
    channels: RefCell<Channels>,
    memory: RefCell<Option<MemoryBudget>>,
    pending: Pending,
    /// `MessagePort` and the class above it, for contexts of `node:vm`.
    foreign: RefCell<Option<[v8::Global<v8::FunctionTemplate>; 2]>>,
}

static NEXT_PORT: AtomicU64 = AtomicU64::new(1);

/// Classes of other bindings whose objects can be cloned.
pub fn host_types() -> impl Iterator<Item = &'static HostType> {
    use crate::bindings::{blob, block_list, crypto, performance, shared_cells};
    [
        &blob::HOST_TYPE,
        &block_list::HOST_TYPE,
        &performance::HOST_TYPE,
        &shared_cells::HOST_TYPE,
        &crypto::keys::HOST_TYPE,
        &crypto::x509::HOST_TYPE,
    ]
    .into_iter()
}

/// What serialized values of this process may hold.
pub fn memory_budget(env: &Env) -> MemoryBudget {
    let state = env.extension::<Messaging>();
    if let Some(memory) = &*state.memory.borrow() {
        return memory.clone();
    }
    let memory = MemoryBudget::new(env.memory_account());
    state.memory.replace(Some(memory.clone()));
    memory
}

/// The `BroadcastChannel`s that this thread shares with the others of its process.
pub fn channels(env: &Env) -> Channels {
    env.extension::<Messaging>().channels.borrow().clone()
}

/// Makes this thread a part of `channels`.
pub fn set_channels(env: &Env, channels: Channels) {
    env.extension::<Messaging>().channels.replace(channels);
}

/// A new `MessagePort` for one end of a channel.
pub fn new_port<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    data: Arc<PortData>,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    MessagePort::create(scope, env, data).map(|(object, _)| object)
}

/// The Rust side of a `MessagePort` object. It lives until it is closed.
pub struct MessagePort {
    key: u64,
    data: RefCell<Option<Arc<PortData>>>,
    receiving: Cell<bool>,
    closing: Cell<bool>,
    closed: Cell<bool>,
    refed: Cell<bool>,
    alive: RefCell<Option<ActiveGuard>>,
    /// The object is strong until the port is closed.
    object: RefCell<Option<v8::Global<v8::Object>>>,
    context: Cell<AsyncContext>,
    frame: RefCell<Option<v8::Global<v8::Value>>>,
    /// `emitMessage` of the context of `node:vm` that the port was moved to.
    emit: Option<v8::Global<v8::Function>>,
}

/// A channel end on its way.
pub struct PortTransfer(Arc<PortData>);

impl TransferData for PortTransfer {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        match MessagePort::create(scope, env, self.0) {
            Ok((object, _)) => Some(object),
            Err(throw) => {
                throw.throw(scope);
                None
            }
        }
    }

    fn port(&self) -> Option<&PortData> {
        Some(&self.0)
    }
}

impl MessagePort {
    /// A new object for `data`.
    fn create<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        data: Arc<PortData>,
    ) -> Result<(v8::Local<'s, v8::Object>, Rc<Self>), Throw> {
        let object = env.new_instance(scope, "messaging.MessagePort")?;
        Self::bind(scope, env, object, data, None)
    }

    /// Makes `object` a port for `data`.
    fn bind<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        object: v8::Local<'s, v8::Object>,
        data: Arc<PortData>,
        emit: Option<v8::Global<v8::Function>>,
    ) -> Result<(v8::Local<'s, v8::Object>, Rc<Self>), Throw> {
        let context = env.new_async_context(scope);
        let frame = scope.get_continuation_preserved_embedder_data();
        let port = Rc::new(Self {
            key: NEXT_PORT.fetch_add(1, Ordering::Relaxed),
            data: RefCell::new(Some(data.clone())),
            receiving: Cell::new(false),
            closing: Cell::new(false),
            closed: Cell::new(false),
            refed: Cell::new(false),
            alive: RefCell::default(),
            object: RefCell::new(Some(v8::Global::new(scope, object))),
            context: Cell::new(context),
            frame: RefCell::new(Some(v8::Global::new(scope, frame))),
            emit,
        });
        env.objects
            .wrap_with(scope, object, port.clone(), PORT_DATA_BYTES);
        env.extension::<Messaging>()
            .ports
            .borrow_mut()
            .insert(port.key, port.clone());
        env.emit_async_init(scope, PROVIDER, context, object);
        port.set_ref(env, true);
        let name = symbol(scope, env, "oninit");
        let initialized = match object.get(scope, name) {
            Some(init) => match v8::Local::<v8::Function>::try_from(init) {
                Ok(init) => init.call(scope, object.into(), &[]).is_some(),
                Err(_) => true,
            },
            None => false,
        };
        if !initialized {
            port.close(env);
            return Err(Throw::Pending);
        }
        data.set_owner(Some(Owner {
            inbox: env.shared().inbox.clone(),
            port: port.key,
            pending: env.extension::<Messaging>().pending.clone(),
        }));
        if data.waiting() > 0 {
            data.trigger();
        }
        Ok((object, port))
    }

    /// Whether it has no channel end any more.
    pub fn is_detached(&self) -> bool {
        self.closing.get() || self.data.borrow().is_none()
    }

    fn data(&self) -> Option<Arc<PortData>> {
        self.data.borrow().clone()
    }

    /// Takes the channel end away for a transfer.
    pub fn detach(&self, env: &Rc<Env>) -> Option<PortTransfer> {
        self.close(env);
        let data = self.data.take()?;
        data.set_owner(None);
        Some(PortTransfer(data))
    }

    /// Starts to close; the rest happens in the closing phase.
    pub fn close(&self, env: &Rc<Env>) {
        if self.closing.replace(true) {
            return;
        }
        self.alive.take();
        let key = self.key;
        env.event_loop
            .close(Box::new(move |scope, env| finish_close(scope, env, key)));
    }

    fn set_ref(&self, env: &Rc<Env>, refed: bool) {
        self.refed.set(refed);
        if self.closing.get() {
            return;
        }
        let mut alive = self.alive.borrow_mut();
        if !refed {
            *alive = None;
        } else if alive.is_none() {
            *alive = Some(env.keep_alive());
        }
    }

    fn trigger(&self) {
        if let Some(data) = self.data() {
            data.trigger();
        }
    }
}

/// The closing phase of a port.
fn finish_close(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, key: u64) {
    let Some(port) = env.extension::<Messaging>().ports.borrow_mut().remove(&key) else {
        return;
    };
    port.closed.set(true);
    if let Some(data) = port.data.take() {
        data.set_owner(None);
        data.disentangle();
    }
    if let Some(object) = port.object.take() {
        let object = v8::Local::new(scope, object);
        let name = symbol(scope, env, "handle_onclose");
        let handler = env.guarded(scope, |scope| object.get(scope, name));
        if let Some(handler) =
            handler.and_then(|handler| v8::Local::<v8::Function>::try_from(handler).ok())
        {
            call_port(scope, env, &port, object, handler, &[]);
        }
    }
    env.queue_destroy(port.context.get().async_id);
}

/// Calls `function` for a port: with its async ids and with the async context frame that it was made in.
fn call_port<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    port: &MessagePort,
    object: v8::Local<'s, v8::Object>,
    function: v8::Local<'s, v8::Function>,
    args: &[v8::Local<'s, v8::Value>],
) -> bool {
    let frame = port
        .frame
        .borrow()
        .as_ref()
        .map(|frame| v8::Local::new(scope, frame));
    let previous = scope.get_continuation_preserved_embedder_data();
    if let Some(frame) = frame {
        scope.set_continuation_preserved_embedder_data(frame);
    }
    let result = env.make_callback(scope, object, function, args, port.context.get());
    scope.set_continuation_preserved_embedder_data(previous);
    result.is_some()
}

/// What [`receive`] found.
enum Received<'s> {
    Nothing,
    Closed,
    Value(v8::Local<'s, v8::Value>),
    Failed,
}

fn receive<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    port: &MessagePort,
    any: bool,
    ports: Option<&mut Vec<v8::Local<'s, v8::Value>>>,
) -> Received<'s> {
    let Some(message) = port
        .data()
        .and_then(|data| data.take(any || port.receiving.get()))
    else {
        return Received::Nothing;
    };
    if message.is_close() {
        port.close(env);
        return Received::Closed;
    }
    match message.deserialize(scope, env, ports) {
        Some(value) => Received::Value(value),
        None => Received::Failed,
    }
}

/// `emitMessage` of the main context.
fn main_emit<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
) -> Option<v8::Local<'s, v8::Function>> {
    let exports =
        v8::Local::<v8::Object>::try_from(env.registered(scope, "perContextExports")?).ok()?;
    let name = v8::String::new(scope, "emitMessage")?;
    v8::Local::try_from(exports.get(scope, name.into())?).ok()
}

/// Delivers what waits at port `key`. With `force`, also when it was not started.
pub fn on_message(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>, key: u64, force: bool) {
    let known = env
        .extension::<Messaging>()
        .ports
        .borrow()
        .get(&key)
        .cloned();
    let Some(port) = known else { return };
    let object = port
        .object
        .borrow()
        .as_ref()
        .map(|object| v8::Local::new(scope, object));
    let Some(context) = object.and_then(|object| object.get_creation_context(scope)) else {
        return;
    };
    let scope = &mut v8::ContextScope::new(scope, context);
    let emit = match &port.emit {
        Some(emit) => Some(v8::Local::new(scope, emit)),
        None => main_emit(scope, env),
    };
    let Some(emit) = emit else { return };
    let waiting = port.data().map_or(0, |data| data.waiting());
    let mut left = if force {
        usize::MAX
    } else {
        waiting.max(LEAST_BATCH)
    };
    while port.data.borrow().is_some() && !env.is_ending() {
        if left == 0 {
            port.trigger();
            return;
        }
        left -= 1;
        v8::scope!(let scope, scope);
        if !deliver(scope, env, &port, emit, force) {
            return;
        }
    }
}

/// Delivers one message; answers whether to go on with the next.
fn deliver<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    port: &MessagePort,
    emit: v8::Local<'s, v8::Function>,
    force: bool,
) -> bool {
    let mut ports = Vec::new();
    let mut failure = None;
    let received = {
        v8::tc_scope!(catch, scope);
        let received = receive(catch, env, port, force, Some(&mut ports));
        if let Received::Failed = received {
            failure = catch.exception().filter(|_| !catch.has_terminated());
        }
        received
    };
    let object = port
        .object
        .borrow()
        .as_ref()
        .map(|object| v8::Local::new(scope, object));
    let Some(object) = object else { return false };
    let undefined = v8::undefined(scope).into();
    match received {
        Received::Nothing | Received::Closed => return false,
        Received::Value(value) => {
            let list = if ports.is_empty() {
                undefined
            } else {
                v8::Array::new_with_elements(scope, &ports).into()
            };
            let Some(kind) = v8::String::new(scope, "message") else {
                return false;
            };
            if call_port(scope, env, port, object, emit, &[value, list, kind.into()]) {
                return true;
            }
        }
        Received::Failed => {
            if let (Some(error), Some(kind)) = (failure, v8::String::new(scope, "messageerror")) {
                call_port(
                    scope,
                    env,
                    port,
                    object,
                    emit,
                    &[error, undefined, kind.into()],
                );
            }
        }
    }
    port.trigger();
    false
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

/// The open port behind `value`.
fn open_port(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
) -> Option<Rc<MessagePort>> {
    let object = v8::Local::<v8::Object>::try_from(value).ok()?;
    let port = Env::of(scope)
        .objects
        .unwrap::<MessagePort>(scope, object)?;
    (!port.closed.get()).then_some(port)
}

fn get_async_id<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = open_port(scope, args.this().into()).map_or(-1.0, |port| port.context.get().async_id);
    Ok(v8::Number::new(scope, id).into())
}

fn async_reset<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some(port) = open_port(scope, args.this().into()) {
        let env = Env::of(scope);
        env.queue_destroy(port.context.get().async_id);
        port.context.set(env.new_async_context(scope));
        env.emit_async_init(scope, PROVIDER, port.context.get(), args.this());
    }
    undefined(scope)
}

fn get_provider_type<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(v8::Integer::new(scope, PROVIDER_NUMBER).into())
}

fn close<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    if let Some(port) = open_port(scope, args.this().into()).filter(|port| !port.closing.get()) {
        if args.get(0).is_function() {
            let name = symbol(scope, &env, "handle_onclose");
            args.this()
                .set(scope, name, args.get(0))
                .ok_or(Throw::Pending)?;
        }
        port.close(&env);
    }
    undefined(scope)
}

fn has_ref<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    match open_port(scope, args.this().into()) {
        Some(port) => Ok(v8::Boolean::new(scope, port.refed.get()).into()),
        None => undefined(scope),
    }
}

fn reference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some(port) = open_port(scope, args.this().into()) {
        port.set_ref(&Env::of(scope), true);
    }
    undefined(scope)
}

fn unreference<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some(port) = open_port(scope, args.this().into()) {
        port.set_ref(&Env::of(scope), false);
    }
    undefined(scope)
}

fn message_port<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    if Env::of(scope).constructing_from_rust.get() {
        return undefined(scope);
    }
    Err(Throw::type_error(
        "ERR_CONSTRUCT_CALL_INVALID",
        "Constructor cannot be called",
    ))
}

fn message_channel<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(Throw::type_error(
            "ERR_CONSTRUCT_CALL_REQUIRED",
            "Cannot call constructor without `new`",
        ));
    }
    let env = Env::of(scope);
    let (first, second) = (Arc::new(PortData::default()), Arc::new(PortData::default()));
    let (object1, port1) = MessagePort::create(scope, &env, first.clone())?;
    let object2 = match MessagePort::create(scope, &env, second.clone()) {
        Ok((object, _)) => object,
        Err(throw) => {
            port1.close(&env);
            return Err(throw);
        }
    };
    Group::pair(&first, &second);
    for (name, port) in [("port1", object1), ("port2", object2)] {
        let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        args.this()
            .set(scope, name.into(), port.into())
            .ok_or(Throw::Pending)?;
    }
    undefined(scope)
}

fn invalid_argument(message: &str) -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", message)
}

/// The transfer list of `postMessage` and `structuredClone`: an iterable, or an object with one as `transfer`.
fn transfer_option<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Object>,
) -> Result<Vec<v8::Local<'s, v8::Value>>, Throw> {
    let key = v8::String::new(scope, "transfer").ok_or(Throw::Pending)?;
    let value = options.get(scope, key.into()).ok_or(Throw::Pending)?;
    if value.is_undefined() {
        return Ok(Vec::new());
    }
    read_iterable(scope, value)?
        .ok_or_else(|| invalid_argument("Optional options.transfer argument must be an iterable"))
}

fn post_message<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if args.length() == 0 {
        return Err(Throw::type_error(
            "ERR_MISSING_ARGS",
            "Not enough arguments to MessagePort.postMessage",
        ));
    }
    let options = args.get(1);
    let transfer = if options.is_null_or_undefined() {
        Vec::new()
    } else {
        let object = v8::Local::<v8::Object>::try_from(options)
            .map_err(|_| invalid_argument("Optional transferList argument must be an iterable"))?;
        match read_iterable(scope, options)? {
            Some(list) => list,
            None => transfer_option(scope, object)?,
        }
    };
    let env = Env::of(scope);
    // The message is written even if the port is closed: transferred objects are lost then, as the standard says.
    let message = Message::serialize(scope, &env, args.get(0), &transfer, Some(args.this()))?;
    let Some(data) = open_port(scope, args.this().into()).and_then(|port| port.data()) else {
        return undefined(scope);
    };
    match data.send(message) {
        Sent::Yes => Ok(v8::Boolean::new(scope, true).into()),
        Sent::NoDestination => Ok(v8::Boolean::new(scope, false).into()),
        Sent::NotEntangled => undefined(scope),
        Sent::Lost(text) => {
            emit_warning(scope, &env, text)?;
            Ok(v8::Boolean::new(scope, true).into())
        }
    }
}

/// `process.emitWarning(text)`.
fn emit_warning(scope: &mut v8::PinScope<'_, '_>, env: &Env, text: &str) -> Result<(), Throw> {
    let process = env.process_object(scope).ok_or(Throw::Pending)?;
    let key = v8::String::new(scope, "emitWarning").ok_or(Throw::Pending)?;
    let emit = process.get(scope, key.into()).ok_or(Throw::Pending)?;
    if let Ok(emit) = v8::Local::<v8::Function>::try_from(emit) {
        let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
        emit.call(scope, process.into(), &[text.into()])
            .ok_or(Throw::Pending)?;
    }
    Ok(())
}

fn start<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some(port) = open_port(scope, args.this().into())
        && let Some(data) = port.data()
    {
        port.receiving.set(true);
        if data.waiting() > 0 {
            data.trigger();
        }
    }
    undefined(scope)
}

fn stop_message_port<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some(port) = open_port(scope, args.get(0)).filter(|port| port.data.borrow().is_some()) {
        port.receiving.set(false);
    }
    undefined(scope)
}

fn drain_message_port<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Some(port) = open_port(scope, args.get(0)) {
        on_message(scope, &Env::of(scope), port.key, true);
    }
    undefined(scope)
}

/// The port behind an argument, open or closed.
fn port_argument(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
) -> Result<Rc<MessagePort>, Throw> {
    v8::Local::<v8::Object>::try_from(value)
        .ok()
        .and_then(|object| Env::of(scope).objects.unwrap::<MessagePort>(scope, object))
        .ok_or_else(|| invalid_argument("The \"port\" argument must be a MessagePort instance"))
}

fn receive_message_on_port<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let port = port_argument(scope, args.get(0))?;
    let env = Env::of(scope);
    match receive(scope, &env, &port, true, None) {
        Received::Value(value) => Ok(value),
        Received::Failed => Err(Throw::Pending),
        Received::Nothing | Received::Closed => Ok(symbol(scope, &env, "no_message_symbol")),
    }
}

/// `moveMessagePortToContext(port, contextifiedObject)`: a new port of that context, which shares nothing else with ours.
fn move_message_port_to_context<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let port = port_argument(scope, args.get(0))?;
    let context = crate::bindings::contextify::context_of_holder(scope, args.get(1))
        .ok_or_else(|| invalid_argument("Invalid context argument"))?;
    let env = Env::of(scope);
    let data = if port.is_detached() {
        Arc::new(PortData::default())
    } else {
        let data = port.data.take().unwrap_or_default();
        data.set_owner(None);
        port.alive.take();
        data
    };
    let scope = &mut v8::ContextScope::new(scope, context);
    let emit = foreign_emit(scope)?;
    let [_, template] = foreign_templates(scope, &env);
    let object = template
        .instance_template(scope)
        .new_instance(scope)
        .ok_or(Throw::Pending)?;
    let (object, _) = MessagePort::bind(scope, &env, object, data, Some(emit))?;
    Ok(object.into())
}

/// `HandleWrap` and `MessagePort` for other contexts: their methods are theirs alone.
fn foreign_templates<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
) -> [v8::Local<'s, v8::FunctionTemplate>; 2] {
    let state = env.extension::<Messaging>();
    if let Some(known) = &*state.foreign.borrow() {
        return known
            .each_ref()
            .map(|template| v8::Local::new(scope, template));
    }
    let base = foreign_template(
        scope,
        "HandleWrap",
        &[
            ("close", CLOSE),
            ("hasRef", HAS_REF),
            ("ref", REF),
            ("unref", UNREF),
        ],
    );
    let port = foreign_template(
        scope,
        "MessagePort",
        &[("postMessage", POST_MESSAGE), ("start", START)],
    );
    port.inherit(base);
    port.instance_template(scope).set_internal_field_count(1);
    state.foreign.replace(Some(
        [base, port].map(|template| v8::Global::new(scope, template)),
    ));
    [base, port]
}

fn foreign_template<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    methods: &[Function],
) -> v8::Local<'s, v8::FunctionTemplate> {
    let template = v8::FunctionTemplate::new_raw(scope, MESSAGE_PORT);
    if let Some(name) = v8::String::new(scope, name) {
        template.set_class_name(name);
    }
    let signature = v8::Signature::new(scope, template);
    let prototype = template.prototype_template(scope);
    for (name, callback) in methods {
        let method = v8::FunctionTemplate::builder_raw(*callback)
            .signature(signature)
            .constructor_behavior(v8::ConstructorBehavior::Throw)
            .build(scope);
        if let Some(name) = v8::String::new(scope, name) {
            method.set_class_name(name);
            prototype.set(name.into(), method.into());
        }
    }
    template
}

/// Runs the library's message port script in the entered context; answers its `emitMessage`.
fn foreign_emit(scope: &mut v8::PinScope<'_, '_>) -> Result<v8::Global<v8::Function>, Throw> {
    let script = crate::realm::compile_builtin(scope, "internal/per_context/messageport")?;
    let exports = v8::Object::new(scope);
    let primordials = v8::Object::new(scope);
    let read = |scope: &mut v8::PinScope<'_, '_>, name: &str, key: &str| {
        let name = v8::String::new(scope, name)?;
        let key = v8::String::new(scope, key)?;
        let global = scope.get_current_context().global(scope);
        let holder = v8::Local::<v8::Object>::try_from(global.get(scope, name.into())?).ok()?;
        let value = holder.get(scope, key.into())?;
        Some(v8::Global::new(scope, value))
    };
    let symbol_for = read(scope, "Symbol", "for").ok_or(Throw::Pending)?;
    let symbol_for = v8::Local::new(scope, symbol_for);
    crate::realm::set(scope, primordials, "SymbolFor", symbol_for);
    let undefined = v8::undefined(scope).into();
    script
        .call(scope, undefined, &[exports.into(), primordials.into()])
        .ok_or(Throw::Pending)?;
    let key = v8::String::new(scope, "emitMessage").ok_or(Throw::Pending)?;
    let emit = exports.get(scope, key.into()).ok_or(Throw::Pending)?;
    let emit = v8::Local::<v8::Function>::try_from(emit).map_err(|_| Throw::Pending)?;
    Ok(v8::Global::new(scope, emit))
}

fn broadcast_channel<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = v8::Local::<v8::String>::try_from(args.get(0))
        .map_err(|_| invalid_argument("The name must be a string"))?;
    if name.length() > MAX_NAME {
        return Err(Throw::range_error(
            "ERR_OUT_OF_RANGE",
            "The name of the channel is too long",
        ));
    }
    let name = name.to_rust_string_lossy(scope);
    let env = Env::of(scope);
    let data = Arc::new(PortData::default());
    let (object, _) = MessagePort::create(scope, &env, data.clone())?;
    channels(&env).join(&name, &data);
    Ok(object.into())
}

fn structured_clone<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if args.length() == 0 {
        return Err(Throw::type_error(
            "ERR_MISSING_ARGS",
            "The value argument must be specified",
        ));
    }
    let options = args.get(1);
    let transfer = if options.is_null_or_undefined() {
        Vec::new()
    } else {
        let options = v8::Local::<v8::Object>::try_from(options).map_err(|_| {
            invalid_argument("The options argument must be either an object or undefined")
        })?;
        transfer_option(scope, options)?
    };
    let env = Env::of(scope);
    let message = Message::serialize(scope, &env, args.get(0), &transfer, None)?;
    message.deserialize(scope, &env, None).ok_or(Throw::Pending)
}

fn set_deserializer_create_object_function<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    Env::of(scope).register(scope, "messaging.deserializerCreateObject", args.get(0));
    undefined(scope)
}

fn init(scope: &mut v8::PinScope<'_, '_>, _env: &Env, target: v8::Local<v8::Object>) {
    if let Some(class) = dom_exception(scope) {
        crate::realm::set(scope, target, "DOMException", class);
    }
}

/// `DOMException` of this context, from `internal/per_context/domexception`.
pub fn dom_exception<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Value>> {
    let exports = Env::of(scope).registered(scope, "perContextExports")?;
    let exports = v8::Local::<v8::Object>::try_from(exports).ok()?;
    let key = v8::String::new(scope, "DOMException")?;
    exports.get(scope, key.into())
}

fn dom_exception_getter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _key: v8::Local<'s, v8::Name>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) {
    if let Some(value) = dom_exception(scope) {
        result.set(value);
    }
}

fn expose_lazy_dom_exception_property<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0))
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_TYPE", "The target must be an object"))?;
    let key = v8::String::new(scope, "DOMException").ok_or(Throw::Pending)?;
    let undefined = v8::undefined(scope).into();
    target.set_lazy_data_property_with_data(
        scope,
        key.into(),
        dom_exception_getter,
        undefined,
        v8::PropertyAttribute::DONT_ENUM,
        v8::SideEffectType::HasNoSideEffect,
        v8::SideEffectType::HasSideEffect,
    );
    Ok(v8::undefined(scope).into())
}
