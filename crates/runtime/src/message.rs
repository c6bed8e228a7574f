//! Messages between ports and `structuredClone`: V8's serializer with Node's rules for host objects.
//!
//! A message holds bytes of V8's own format, written and read by V8 only, plus what travels beside them: memory of
//! transferred buffers, compiled WebAssembly modules and [`TransferData`] of host objects, which the bytes name by index.
//! Source: `src/node_messaging.cc`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use v8::{ValueDeserializerHelper, ValueSerializerHelper};

use crate::allocator::Budget;
use crate::bindings::fs::file_handle::FileHandle;
use crate::bindings::fs::resource::Resource;
use crate::bindings::messaging::{self, MessagePort, dom_exception};
use crate::env::Env;
use crate::message_port::PortData;
use crate::throw::Throw;

const CLONE_UNSUPPORTED: &str = "Cannot clone object of unsupported type.";
const TRANSFER_UNSUPPORTED: &str = "Cannot transfer object of unsupported type.";
const TRANSFER_NEEDED: &str =
    "Object that needs transfer was found in message but not listed in transferList";
const OUT_OF_MEMORY: &str = "Data cannot be cloned, out of memory.";

/// Instead of an index: an ordinary object follows, which stands for a host object.
const PLAIN_OBJECT: u32 = u32::MAX;
/// What every message costs beside its bytes.
const MESSAGE_OVERHEAD: usize = 512;
/// With less than this left, garbage is collected before a value is written.
pub const ROOM: usize = 16 << 20;
/// Entries of a transfer list.
const MAX_TRANSFERS: usize = 1 << 20;

/// How a host object may travel; bits of Node's `TransferMode`.
pub mod transfer_mode {
    /// Not at all.
    pub const NONE: u32 = 0;
    /// It moves.
    pub const TRANSFERABLE: u32 = 1;
    /// It is copied.
    pub const CLONEABLE: u32 = 2;
}

/// A host object on its way. It may arrive in another process of the same guest.
pub trait TransferData: Send {
    /// Makes the JavaScript object on arrival; `None` with an exception pending.
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>>;

    /// The end of a channel that this is.
    fn port(&self) -> Option<&PortData> {
        None
    }

    /// Whether it can be made in the main context only.
    fn is_of_main_context(&self) -> bool {
        false
    }

    /// Whether the object was made by the library's JavaScript and reads its own data after the message.
    fn has_payload(&self) -> bool {
        false
    }
}

/// Makes the data of a host object, or `None` when the object is of another type.
pub type CloneObject = fn(&Rc<dyn Any>) -> Option<Box<dyn TransferData>>;

/// What a binding says of a class whose objects may travel.
pub struct HostType {
    /// See the type.
    pub clone_object: CloneObject,
}

/// Memory that a guest's serialized values may hold, messages and serializers together. It is part of the process's
/// memory; meeting it throws, instead of ending the process.
#[derive(Clone)]
pub struct MemoryBudget {
    used: Arc<AtomicUsize>,
    limit: usize,
    process: Option<Arc<crate::memory::MemoryBudget>>,
}

/// A share of a [`MemoryBudget`], given back when it is dropped.
pub struct Charge {
    used: Arc<AtomicUsize>,
    bytes: usize,
    _native: Option<crate::memory::NativeCharge>,
}

impl MemoryBudget {
    const MOST: usize = 1 << 30;

    /// As much as `process` may have, and 1 GiB at most.
    pub fn new(process: Option<Arc<crate::memory::MemoryBudget>>) -> Self {
        let limit = process
            .as_ref()
            .map_or(Self::MOST, |process| process.limit().min(Self::MOST));
        Self {
            used: Arc::default(),
            limit,
            process,
        }
    }

    /// What is left.
    pub fn left(&self) -> usize {
        let own = self.limit.saturating_sub(self.used.load(Ordering::Relaxed));
        let process = self.process.as_ref();
        own.min(process.map_or(own, |process| {
            process.limit().saturating_sub(process.used().total())
        }))
    }

    /// What is left when `wanted` bytes are needed: garbage is collected first if that is too little.
    pub fn left_for(&self, scope: &mut v8::PinScope<'_, '_>, wanted: usize) -> usize {
        if self.left() < wanted {
            scope.low_memory_notification();
        }
        self.left()
    }

    /// Takes `bytes`, if so much is left after a garbage collection.
    pub fn charge(&self, scope: &mut v8::PinScope<'_, '_>, bytes: usize) -> Option<Charge> {
        if self.left_for(scope, bytes) < bytes {
            return None;
        }
        let native = match &self.process {
            Some(process) => Some(process.charge_native(bytes).ok()?),
            None => None,
        };
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Some(Charge {
            used: self.used.clone(),
            bytes,
            _native: native,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Memory of a buffer on its way.
struct Store(v8::SharedRef<v8::BackingStore>);
// SAFETY: the C++ shared pointer counts atomically, and nothing but the receiving isolate reads the memory it points to
// (or, for shared memory, it is meant to be read by several threads).
unsafe impl Send for Store {}

#[derive(Default)]
struct Luggage {
    transferables: Vec<Option<Box<dyn TransferData>>>,
    array_buffers: Vec<Option<Store>>,
}

/// See the module's text.
pub struct Message {
    bytes: Option<Vec<u8>>,
    luggage: Mutex<Luggage>,
    has_transferables: bool,
    shared_buffers: Mutex<Vec<Store>>,
    modules: Vec<v8::CompiledWasmModule>,
    /// The thread that wrote it.
    origin: usize,
    _charge: Option<Charge>,
}

/// Tells threads apart.
fn origin_of(env: &Env) -> usize {
    Arc::as_ptr(env.shared()).addr()
}

impl Message {
    /// The message that says that the other end is closed.
    pub fn close() -> Self {
        Self {
            bytes: None,
            luggage: Mutex::default(),
            has_transferables: false,
            shared_buffers: Mutex::default(),
            modules: Vec::new(),
            origin: 0,
            _charge: None,
        }
    }

    /// Whether this is [`Self::close`].
    pub fn is_close(&self) -> bool {
        self.bytes.is_none()
    }

    /// Whether host objects travel with it.
    pub fn has_transferables(&self) -> bool {
        self.has_transferables
    }

    fn luggage(&self) -> std::sync::MutexGuard<'_, Luggage> {
        self.luggage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the channel end `id` travels with it.
    pub fn carries_port(&self, id: u64) -> bool {
        self.has_transferables
            && self
                .luggage()
                .transferables
                .iter()
                .flatten()
                .any(|data| data.port().is_some_and(|port| port.id() == id))
    }
}

/// Throws a `DataCloneError`.
pub fn throw_data_clone(scope: &mut v8::PinScope<'_, '_>, message: v8::Local<v8::String>) {
    let Some(class) =
        dom_exception(scope).and_then(|class| v8::Local::<v8::Function>::try_from(class).ok())
    else {
        return;
    };
    let Some(name) = v8::String::new(scope, "DataCloneError") else {
        return;
    };
    if let Some(error) = class.new_instance(scope, &[message.into(), name.into()]) {
        scope.throw_exception(error.into());
    }
}

fn data_clone_error(scope: &mut v8::PinScope<'_, '_>, message: &str) -> Throw {
    if let Some(message) = v8::String::new(scope, message) {
        throw_data_clone(scope, message);
    }
    Throw::Pending
}

/// Objects by identity, with the order in which they came.
#[derive(Default)]
struct Identities {
    by_hash: HashMap<i32, Vec<usize>>,
    objects: Vec<v8::Global<v8::Object>>,
}

impl Identities {
    fn find(&self, object: v8::Local<v8::Object>) -> Option<usize> {
        let candidates = self.by_hash.get(&object.get_identity_hash().get())?;
        candidates.iter().copied().find(|index| {
            self.objects
                .get(*index)
                .is_some_and(|known| *known == object)
        })
    }

    fn add(&mut self, scope: &v8::PinScope<'_, '_>, object: v8::Local<v8::Object>) -> usize {
        let index = self.objects.len();
        self.objects.push(v8::Global::new(scope, object));
        self.by_hash
            .entry(object.get_identity_hash().get())
            .or_default()
            .push(index);
        index
    }
}

/// What the serializer's callbacks and its caller share.
struct Writer<'a> {
    env: Rc<Env>,
    transfer_mode: v8::Local<'a, v8::Private>,
    host_objects: RefCell<Identities>,
    /// Index of the first host object that was met in the value instead of being in the transfer list.
    first_cloned: Cell<Option<usize>>,
    shared_buffers: RefCell<Identities>,
    shared_stores: RefCell<Vec<Store>>,
    modules: RefCell<Vec<v8::CompiledWasmModule>>,
}

/// The file handle that an object is.
fn file_handle_of(host: &Rc<dyn Any>) -> Option<Rc<FileHandle>> {
    FileHandle::of(host.downcast_ref::<Resource>()?)
}

/// How `object` may travel, or `None` when it is an ordinary object.
fn mode_of(
    scope: &mut v8::PinScope<'_, '_>,
    writer: &Writer<'_>,
    object: v8::Local<v8::Object>,
) -> Option<u32> {
    if let Some(host) = writer.env.objects.unwrap_any(scope, object) {
        if let Some(port) = host.downcast_ref::<MessagePort>() {
            return Some(if port.is_detached() {
                transfer_mode::NONE
            } else {
                transfer_mode::TRANSFERABLE
            });
        }
        if let Some(handle) = file_handle_of(&host) {
            return Some(if handle.is_open() {
                transfer_mode::TRANSFERABLE
            } else {
                transfer_mode::NONE
            });
        }
        let cloneable = messaging::host_types().any(|kind| (kind.clone_object)(&host).is_some());
        return Some(if cloneable {
            transfer_mode::CLONEABLE
        } else {
            transfer_mode::NONE
        });
    }
    if !object.has_private(scope, writer.transfer_mode)? {
        return None;
    }
    let mode = object.get_private(scope, writer.transfer_mode)?;
    Some(if mode.is_uint32() {
        mode.uint32_value(scope).unwrap_or(0)
    } else {
        transfer_mode::NONE
    })
}

struct Delegate<'a>(Rc<Writer<'a>>);

impl v8::ValueSerializerImpl for Delegate<'_> {
    fn throw_data_clone_error<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        message: v8::Local<'s, v8::String>,
    ) {
        throw_data_clone(scope, message);
    }

    fn has_custom_host_object(&self, _isolate: &v8::Isolate) -> bool {
        true
    }

    fn is_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
    ) -> Option<bool> {
        // The serializer itself does not look whether its process has ended.
        if self.0.env.is_ending() {
            return None;
        }
        Some(object.internal_field_count() > 0 || object.has_private(scope, self.0.transfer_mode)?)
    }

    fn write_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        serializer: &dyn ValueSerializerHelper,
    ) -> Option<bool> {
        let known = self.0.host_objects.borrow().find(object);
        let index = match known {
            Some(index) => index,
            None => match mode_of(scope, &self.0, object) {
                Some(mode) if mode & transfer_mode::CLONEABLE != 0 => {
                    let index = self.0.host_objects.borrow_mut().add(scope, object);
                    if self.0.first_cloned.get().is_none() {
                        self.0.first_cloned.set(Some(index));
                    }
                    index
                }
                Some(mode) if mode & transfer_mode::TRANSFERABLE != 0 => {
                    data_clone_error(scope, TRANSFER_NEEDED);
                    return None;
                }
                mode => {
                    if mode.is_none() && is_process_env(scope, &self.0.env, object) {
                        let copy = plain_copy(scope, &self.0.env);
                        let context = scope.get_current_context();
                        serializer.write_uint32(PLAIN_OBJECT);
                        return serializer.write_value(context, copy.into());
                    }
                    data_clone_error(scope, CLONE_UNSUPPORTED);
                    return None;
                }
            },
        };
        serializer.write_uint32(u32::try_from(index).ok()?);
        Some(true)
    }

    fn get_shared_array_buffer_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        buffer: v8::Local<'s, v8::SharedArrayBuffer>,
    ) -> Option<u32> {
        let object = v8::Local::<v8::Object>::from(buffer);
        let known = self.0.shared_buffers.borrow().find(object);
        let index = if let Some(index) = known {
            index
        } else {
            self.0
                .shared_stores
                .borrow_mut()
                .push(Store(buffer.get_backing_store()));
            self.0.shared_buffers.borrow_mut().add(scope, object)
        };
        u32::try_from(index).ok()
    }

    fn get_wasm_module_transfer_id(
        &self,
        _scope: &mut v8::PinScope<'_, '_>,
        module: v8::Local<v8::WasmModuleObject>,
    ) -> Option<u32> {
        let mut modules = self.0.modules.borrow_mut();
        modules.push(module.get_compiled_module());
        u32::try_from(modules.len() - 1).ok()
    }
}

/// Whether `object` is the `process.env` of this process.
fn is_process_env(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Env,
    object: v8::Local<v8::Object>,
) -> bool {
    let current = env.process_object(scope).and_then(|process| {
        let key = v8::String::new(scope, "env")?;
        process.get(scope, key.into())
    });
    current.is_some_and(|current| current.strict_equals(object.into()))
}

fn plain_copy<'s>(scope: &mut v8::PinScope<'s, '_>, env: &Env) -> v8::Local<'s, v8::Object> {
    let copy = v8::Object::new(scope);
    for (name, value) in env.variables.all() {
        if let Some(value) = v8::String::new(scope, &value) {
            crate::realm::set(scope, copy, &name, value.into());
        }
    }
    copy
}

/// What JavaScript's `kClone` or `kTransfer` method gave: the class to make on arrival.
struct ScriptData {
    deserialize_info: String,
}

impl TransferData for ScriptData {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let create = env.function(scope, "messaging.deserializerCreateObject")?;
        let info = v8::String::new(scope, &self.deserialize_info)?;
        let receiver = v8::null(scope).into();
        let made = create.call(scope, receiver, &[info.into()])?;
        let made = v8::Local::<v8::Object>::try_from(made).ok()?;
        let mode = crate::realm::private_symbol(scope, "transfer_mode_private_symbol");
        made.has_private(scope, mode)?.then_some(made)
    }

    fn is_of_main_context(&self) -> bool {
        true
    }

    fn has_payload(&self) -> bool {
        true
    }
}

/// What to write for one host object.
struct Written<'s> {
    data: Box<dyn TransferData>,
    payload: Option<v8::Local<'s, v8::Value>>,
}

/// Calls `object[kTransfer]()` or `object[kClone]()`.
fn script_data<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    object: v8::Local<'s, v8::Object>,
    transfer: bool,
) -> Option<Written<'s>> {
    let name = if transfer {
        "messaging_transfer_symbol"
    } else {
        "messaging_clone_symbol"
    };
    let name = crate::bindings::symbols::symbol(scope, env, name);
    let method = object.get(scope, name)?;
    if let Ok(method) = v8::Local::<v8::Function>::try_from(method) {
        let result = method.call(scope, object.into(), &[])?;
        if let Ok(result) = v8::Local::<v8::Object>::try_from(result) {
            let key = v8::String::new(scope, "data")?;
            let payload = result.get(scope, key.into())?;
            let key = v8::String::new(scope, "deserializeInfo")?;
            let info = result.get(scope, key.into())?.to_string(scope)?;
            let data = ScriptData {
                deserialize_info: info.to_rust_string_lossy(scope),
            };
            return Some(Written {
                data: Box::new(data),
                payload: Some(payload),
            });
        }
    }
    if transfer {
        script_data(scope, env, object, false)
    } else {
        None
    }
}

/// The data of a host object that was met while writing.
fn host_data<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    object: v8::Local<'s, v8::Object>,
    transfer: bool,
) -> Option<Written<'s>> {
    let Some(host) = env.objects.unwrap_any(scope, object) else {
        return script_data(scope, env, object, transfer);
    };
    if let Some(port) = host.downcast_ref::<MessagePort>() {
        let data = transfer.then(|| port.detach(env)).flatten()?;
        return Some(Written {
            data: Box::new(data),
            payload: None,
        });
    }
    if let Some(handle) = file_handle_of(&host) {
        let data = transfer.then(|| handle.detach()).flatten()?;
        return Some(Written {
            data: Box::new(data),
            payload: None,
        });
    }
    let data = messaging::host_types().find_map(|kind| (kind.clone_object)(&host))?;
    Some(Written {
        data,
        payload: None,
    })
}

/// Adds what the objects of the transfer list bring along themselves.
fn add_nested(scope: &mut v8::PinScope<'_, '_>, writer: &Writer<'_>) -> Result<(), Throw> {
    let name =
        crate::bindings::symbols::symbol(scope, &writer.env, "messaging_transfer_list_symbol");
    let mut index = 0;
    loop {
        let object = writer.host_objects.borrow().objects.get(index).cloned();
        let Some(object) = object else { return Ok(()) };
        index += 1;
        v8::scope!(let scope, scope);
        let object = v8::Local::new(scope, object);
        if writer.env.objects.unwrap_any(scope, object).is_some() {
            continue;
        }
        let method = object.get(scope, name).ok_or(Throw::Pending)?;
        let Ok(method) = v8::Local::<v8::Function>::try_from(method) else {
            continue;
        };
        let list = method
            .call(scope, object.into(), &[])
            .ok_or(Throw::Pending)?;
        let Ok(list) = v8::Local::<v8::Array>::try_from(list) else {
            continue;
        };
        for at in 0..list.length() {
            let value = list.get_index(scope, at).ok_or(Throw::Pending)?;
            let Ok(nested) = v8::Local::<v8::Object>::try_from(value) else {
                continue;
            };
            let travels = mode_of(scope, writer, nested).is_some();
            if travels && writer.host_objects.borrow().find(nested).is_none() {
                let count = writer.host_objects.borrow_mut().add(scope, nested);
                if count > MAX_TRANSFERS {
                    return Err(Throw::range_error(
                        "ERR_OUT_OF_RANGE",
                        "The transfer list is too long",
                    ));
                }
            }
        }
    }
}

impl Message {
    /// Writes `input` and takes what `transfer_list` names. `source_port` is the port that the message is sent on.
    pub fn serialize<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        input: v8::Local<'s, v8::Value>,
        transfer_list: &[v8::Local<'s, v8::Value>],
        source_port: Option<v8::Local<'s, v8::Object>>,
    ) -> Result<Self, Throw> {
        let writer = Rc::new(Writer {
            env: env.clone(),
            transfer_mode: crate::realm::private_symbol(scope, "transfer_mode_private_symbol"),
            host_objects: RefCell::default(),
            first_cloned: Cell::new(None),
            shared_buffers: RefCell::default(),
            shared_stores: RefCell::default(),
            modules: RefCell::default(),
        });
        let serializer = v8::ValueSerializer::new(scope, Box::new(Delegate(writer.clone())));
        let array_buffers =
            add_transfer_list(scope, &writer, &serializer, transfer_list, source_port)?;
        add_nested(scope, &writer)?;

        let memory = messaging::memory_budget(env);
        let Some(budget) = Budget::new(memory.left_for(scope, ROOM)) else {
            return Err(data_clone_error(scope, OUT_OF_MEMORY));
        };
        let context = scope.get_current_context();
        serializer.write_header();
        serializer
            .write_value(context, input)
            .ok_or(Throw::Pending)?;

        let mut luggage = Luggage::default();
        for buffer in array_buffers {
            // A getter of the value may have detached or resized it meanwhile: what is there now is taken.
            luggage
                .array_buffers
                .push(Some(Store(buffer.get_backing_store())));
            buffer.detach(None);
        }
        let mut index = 0;
        loop {
            let object = writer.host_objects.borrow().objects.get(index).cloned();
            let Some(object) = object else { break };
            let transfer = writer.first_cloned.get().is_none_or(|first| index < first);
            index += 1;
            v8::scope!(let scope, scope);
            let object = v8::Local::new(scope, object);
            let written = host_data(scope, env, object, transfer).ok_or(Throw::Pending)?;
            if let Some(payload) = written.payload {
                serializer
                    .write_value(context, payload)
                    .ok_or(Throw::Pending)?;
            }
            luggage.transferables.push(Some(written.data));
        }
        if budget.usage().denied {
            drop(budget);
            return Err(data_clone_error(scope, OUT_OF_MEMORY));
        }
        drop(budget);
        let mut bytes = serializer.release();
        bytes.shrink_to_fit();
        // A message keeps a module alive when its sender has forgotten it.
        let modules = writer.modules.take();
        let held = modules
            .iter()
            .map(|module| module.get_wire_bytes_ref().len())
            .fold(bytes.len(), usize::saturating_add);
        let Some(charge) = memory.charge(scope, held.saturating_add(MESSAGE_OVERHEAD)) else {
            return Err(data_clone_error(scope, OUT_OF_MEMORY));
        };
        Ok(Self {
            bytes: Some(bytes),
            has_transferables: !luggage.transferables.is_empty(),
            luggage: Mutex::new(luggage),
            shared_buffers: Mutex::new(writer.shared_stores.take()),
            modules,
            origin: origin_of(env),
            _charge: Some(charge),
        })
    }

    /// Makes the value. Host objects and transferred memory arrive once only. `ports` receives the message ports.
    pub fn deserialize<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
        ports: Option<&mut Vec<v8::Local<'s, v8::Value>>>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let bytes = self.bytes.as_deref()?;
        let shares = !self
            .shared_buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        if shares && self.origin != origin_of(env) && !crate::shared_memory::is_allowed(env) {
            // Memory that two threads see is a clock.
            data_clone_error(scope, "#<SharedArrayBuffer> could not be cloned.");
            return None;
        }
        let Luggage {
            transferables,
            array_buffers,
        } = std::mem::take(&mut *self.luggage());
        let mut objects = Vec::with_capacity(transferables.len());
        let mut reads_payload = Vec::with_capacity(transferables.len());
        let outcome = (|| {
            for data in transferables.into_iter().flatten() {
                let context = scope.get_current_context();
                if data.is_of_main_context() && env.context(scope) != Some(context) {
                    Throw::error(
                        "ERR_MESSAGE_TARGET_CONTEXT_UNAVAILABLE",
                        "A message object could not be deserialized successfully in the target vm.Context",
                    )
                    .throw(scope);
                    return None;
                }
                reads_payload.push(data.has_payload());
                objects.push(data.deserialize(scope, env)?);
            }
            if let Some(ports) = ports {
                for object in &objects {
                    if env.objects.unwrap::<MessagePort>(scope, *object).is_some() {
                        ports.push((*object).into());
                    }
                }
            }
            self.read(scope, bytes, &objects, &reads_payload, array_buffers)
        })();
        if outcome.is_none() {
            // Ports that the guest never sees would keep their other ends waiting.
            for object in objects {
                if let Some(port) = env.objects.unwrap::<MessagePort>(scope, object) {
                    port.close(env);
                }
            }
        }
        outcome
    }

    fn read<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        bytes: &[u8],
        objects: &[v8::Local<'s, v8::Object>],
        reads_payload: &[bool],
        array_buffers: Vec<Option<Store>>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        let mut shared = Vec::new();
        for store in self
            .shared_buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let buffer = v8::SharedArrayBuffer::with_backing_store(scope, &store.0);
            shared.push(v8::Global::new(scope, buffer));
        }
        let reader = Reader {
            objects: objects
                .iter()
                .map(|object| v8::Global::new(scope, *object))
                .collect(),
            shared,
            modules: &self.modules,
        };
        let deserializer = v8::ValueDeserializer::new(scope, Box::new(reader), bytes);
        for (id, store) in array_buffers.into_iter().enumerate() {
            let Some(store) = store else { continue };
            let buffer = v8::ArrayBuffer::with_backing_store(scope, &store.0);
            deserializer.transfer_array_buffer(u32::try_from(id).ok()?, buffer);
        }
        let context = scope.get_current_context();
        deserializer.read_header(context)?;
        let value = deserializer.read_value(context)?;
        let env = Env::of(scope);
        let name = crate::bindings::symbols::symbol(scope, &env, "messaging_deserialize_symbol");
        for (object, reads) in objects.iter().zip(reads_payload) {
            if !reads {
                continue;
            }
            let data = deserializer.read_value(context)?;
            let method = object.get(scope, name)?;
            if let Ok(method) = v8::Local::<v8::Function>::try_from(method) {
                method.call(scope, (*object).into(), &[data])?;
            }
        }
        Some(value)
    }
}

/// Announces the transfer list to the serializer; answers its array buffers.
fn add_transfer_list<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    writer: &Writer<'_>,
    serializer: &v8::ValueSerializer<'_>,
    list: &[v8::Local<'s, v8::Value>],
    source_port: Option<v8::Local<'s, v8::Object>>,
) -> Result<Vec<v8::Local<'s, v8::ArrayBuffer>>, Throw> {
    let untransferable =
        crate::realm::private_symbol(scope, "untransferable_object_private_symbol");
    let mut array_buffers = Vec::new();
    let mut known_buffers = Identities::default();
    for entry in list {
        let Ok(object) = v8::Local::<v8::Object>::try_from(*entry) else {
            return Err(data_clone_error(
                scope,
                "Found invalid value in transferList.",
            ));
        };
        if object
            .has_private(scope, untransferable)
            .ok_or(Throw::Pending)?
        {
            return Err(data_clone_error(scope, TRANSFER_UNSUPPORTED));
        }
        if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(*entry) {
            if !buffer.is_detachable() || buffer.was_detached() {
                return Err(data_clone_error(scope, TRANSFER_UNSUPPORTED));
            }
            if known_buffers.find(object).is_some() {
                return Err(data_clone_error(
                    scope,
                    "Transfer list contains duplicate ArrayBuffer",
                ));
            }
            let id = known_buffers.add(scope, object);
            serializer
                .transfer_array_buffer(u32::try_from(id).map_err(|_| Throw::Pending)?, buffer);
            array_buffers.push(buffer);
            continue;
        }
        let Some(mode) = mode_of(scope, writer, object) else {
            return Err(data_clone_error(
                scope,
                "Found invalid value in transferList.",
            ));
        };
        if source_port == Some(object) {
            return Err(data_clone_error(
                scope,
                "Transfer list contains source port",
            ));
        }
        let port = writer.env.objects.unwrap::<MessagePort>(scope, object);
        if port.is_some_and(|port| port.is_detached()) {
            return Err(data_clone_error(
                scope,
                "MessagePort in transfer list is already detached",
            ));
        }
        if writer.host_objects.borrow().find(object).is_some() {
            let name =
                v8::Local::new(scope, object.get_constructor_name()).to_rust_string_lossy(scope);
            return Err(data_clone_error(
                scope,
                &format!("Transfer list contains duplicate {name}"),
            ));
        }
        if mode & transfer_mode::TRANSFERABLE == 0 {
            return Err(data_clone_error(scope, TRANSFER_UNSUPPORTED));
        }
        writer.host_objects.borrow_mut().add(scope, object);
    }
    Ok(array_buffers)
}

struct Reader<'a> {
    objects: Vec<v8::Global<v8::Object>>,
    shared: Vec<v8::Global<v8::SharedArrayBuffer>>,
    modules: &'a [v8::CompiledWasmModule],
}

impl v8::ValueDeserializerImpl for Reader<'_> {
    fn read_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        deserializer: &dyn ValueDeserializerHelper,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let mut index = 0;
        if !deserializer.read_uint32(&mut index) {
            return None;
        }
        if index == PLAIN_OBJECT {
            let context = scope.get_current_context();
            return deserializer
                .read_value(context)
                .and_then(|value| v8::Local::try_from(value).ok());
        }
        self.objects
            .get(index as usize)
            .map(|object| v8::Local::new(scope, object))
    }

    fn get_shared_array_buffer_from_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        id: u32,
    ) -> Option<v8::Local<'s, v8::SharedArrayBuffer>> {
        self.shared
            .get(id as usize)
            .map(|buffer| v8::Local::new(scope, buffer))
    }

    fn get_wasm_module_from_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        id: u32,
    ) -> Option<v8::Local<'s, v8::WasmModuleObject>> {
        let module =
            v8::WasmModuleObject::from_compiled_module(scope, self.modules.get(id as usize)?)?;
        crate::wasm_types::keep(scope, module).ok()?;
        Some(module)
    }
}

/// The entries of an iterable; `None` when `value` is none. An array is read by its indexes.
pub fn read_iterable<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Option<Vec<v8::Local<'s, v8::Value>>>, Throw> {
    let too_long = || Throw::range_error("ERR_OUT_OF_RANGE", "The transfer list is too long");
    let Ok(object) = v8::Local::<v8::Object>::try_from(value) else {
        return Ok(None);
    };
    let mut entries = Vec::new();
    if let Ok(array) = v8::Local::<v8::Array>::try_from(value) {
        let length = array.length();
        if length as usize > MAX_TRANSFERS {
            return Err(too_long());
        }
        for index in 0..length {
            entries.push(array.get_index(scope, index).ok_or(Throw::Pending)?);
        }
        return Ok(Some(entries));
    }
    let key = v8::Symbol::get_iterator(scope);
    let method = object.get(scope, key.into()).ok_or(Throw::Pending)?;
    let Ok(method) = v8::Local::<v8::Function>::try_from(method) else {
        return Ok(None);
    };
    let iterator = method.call(scope, value, &[]).ok_or(Throw::Pending)?;
    let Ok(iterator) = v8::Local::<v8::Object>::try_from(iterator) else {
        return Ok(None);
    };
    let [next_key, done_key, value_key] =
        ["next", "done", "value"].map(|name| v8::String::new(scope, name));
    let (Some(next_key), Some(done_key), Some(value_key)) = (next_key, done_key, value_key) else {
        return Err(Throw::Pending);
    };
    let next = iterator.get(scope, next_key.into()).ok_or(Throw::Pending)?;
    let Ok(next) = v8::Local::<v8::Function>::try_from(next) else {
        return Ok(None);
    };
    loop {
        let result = next
            .call(scope, iterator.into(), &[])
            .ok_or(Throw::Pending)?;
        let Ok(result) = v8::Local::<v8::Object>::try_from(result) else {
            return Ok(None);
        };
        if result
            .get(scope, done_key.into())
            .ok_or(Throw::Pending)?
            .boolean_value(scope)
        {
            return Ok(Some(entries));
        }
        if entries.len() >= MAX_TRANSFERS {
            return Err(too_long());
        }
        entries.push(result.get(scope, value_key.into()).ok_or(Throw::Pending)?);
    }
}
