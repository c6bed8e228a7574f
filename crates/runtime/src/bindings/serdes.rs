//! `internalBinding('serdes')`: V8's serializer and deserializer for the guest. Source: `src/node_serdes.cc`.
//!
//! A guest may hand the deserializer any bytes. It reads them in the guest's own isolate, from a copy that the guest
//! cannot change meanwhile, and makes neither WebAssembly modules nor shared memory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use v8::{ValueDeserializerHelper, ValueSerializerHelper};

use crate::allocator::Budget;
use crate::array_buffer::Contents;
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::messaging::memory_budget;
use crate::env::Env;
use crate::message::{Charge, ROOM};
use crate::throw::{ErrorClass, Throw};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "serdes",
    classes: &[
        Class {
            name: "Serializer",
            constructor: Some(function!(new_serializer)),
            methods: &[
                ("writeHeader", function!(write_header)),
                ("writeValue", function!(write_value)),
                ("releaseBuffer", function!(release_buffer)),
                ("transferArrayBuffer", function!(transfer_out)),
                ("writeUint32", function!(write_uint32)),
                ("writeUint64", function!(write_uint64)),
                ("writeDouble", function!(write_double)),
                ("writeRawBytes", function!(write_raw_bytes)),
                (
                    "_setTreatArrayBufferViewsAsHostObjects",
                    function!(treat_views_as_host_objects),
                ),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "Deserializer",
            constructor: Some(function!(new_deserializer)),
            methods: &[
                ("readHeader", function!(read_header)),
                ("readValue", function!(read_value)),
                ("getWireFormatVersion", function!(get_wire_format_version)),
                ("transferArrayBuffer", function!(transfer_in)),
                ("readUint32", function!(read_uint32)),
                ("readUint64", function!(read_uint64)),
                ("readDouble", function!(read_double)),
                ("_readRawBytes", function!(read_raw_bytes)),
            ],
            ..Class::DEFAULT
        },
    ],
    ..Binding::DEFAULT
};

const OUT_OF_MEMORY: &str = "Data cannot be cloned, out of memory.";
const CANNOT_DESERIALIZE: &str = "Unable to deserialize cloned data.";
/// What a serializer or deserializer costs beside its buffer.
const OVERHEAD: usize = 8192;

/// The JavaScript object that a call is made on, while the call runs. V8's callbacks call its methods.
#[derive(Default)]
struct Receiver(RefCell<Option<v8::Global<v8::Object>>>);

impl Receiver {
    /// Runs `body` with `object` as the receiver. Calls may nest, always on the same object.
    fn during<T>(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        object: v8::Local<v8::Object>,
        body: impl FnOnce(&mut v8::PinScope<'_, '_>) -> T,
    ) -> T {
        let outer = self.0.replace(Some(v8::Global::new(scope, object)));
        let result = body(scope);
        self.0.replace(outer);
        result
    }

    fn get<'s>(&self, scope: &v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Object>> {
        self.0
            .borrow()
            .as_ref()
            .map(|object| v8::Local::new(scope, object))
    }

    /// Calls `this[name](...args)`; `Ok(None)` when that is no function.
    fn call<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
        args: &[v8::Local<'s, v8::Value>],
    ) -> Result<Option<v8::Local<'s, v8::Value>>, Throw> {
        let object = self.get(scope).ok_or(Throw::Pending)?;
        let key = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        let method = object.get(scope, key.into()).ok_or(Throw::Pending)?;
        match v8::Local::<v8::Function>::try_from(method) {
            Ok(method) => method
                .call(scope, object.into(), args)
                .map(Some)
                .ok_or(Throw::Pending),
            Err(_) => Ok(None),
        }
    }

    /// Throws what `_getDataCloneError(message)` makes.
    fn throw_data_clone<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        message: v8::Local<'s, v8::String>,
    ) {
        match self.call(scope, "_getDataCloneError", &[message.into()]) {
            Ok(Some(error)) => {
                scope.throw_exception(error);
            }
            Ok(None) => {
                let error = v8::Exception::error(scope, message);
                scope.throw_exception(error);
            }
            Err(_) => {}
        }
    }

    fn data_clone_error(&self, scope: &mut v8::PinScope<'_, '_>, message: &str) -> Throw {
        if let Some(message) = v8::String::new(scope, message) {
            self.throw_data_clone(scope, message);
        }
        Throw::Pending
    }
}

/// V8's description of an object that cannot be cloned.
fn could_not_be_cloned<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
) -> String {
    let name = v8::Local::new(scope, object.get_constructor_name()).to_rust_string_lossy(scope);
    format!("#<{name}> could not be cloned.")
}

struct SerializerDelegate(Rc<Receiver>);

impl v8::ValueSerializerImpl for SerializerDelegate {
    fn throw_data_clone_error<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        message: v8::Local<'s, v8::String>,
    ) {
        self.0.throw_data_clone(scope, message);
    }

    fn write_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        _serializer: &dyn ValueSerializerHelper,
    ) -> Option<bool> {
        match self.0.call(scope, "_writeHostObject", &[object.into()]) {
            Ok(Some(_)) => Some(true),
            Ok(None) => {
                let message = could_not_be_cloned(scope, object);
                self.0.data_clone_error(scope, &message);
                None
            }
            Err(_) => None,
        }
    }

    fn get_shared_array_buffer_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        buffer: v8::Local<'s, v8::SharedArrayBuffer>,
    ) -> Option<u32> {
        match self
            .0
            .call(scope, "_getSharedArrayBufferId", &[buffer.into()])
        {
            Ok(Some(id)) => id.uint32_value(scope),
            Ok(None) => {
                self.0
                    .data_clone_error(scope, "#<SharedArrayBuffer> could not be cloned.");
                None
            }
            Err(_) => None,
        }
    }

    fn get_wasm_module_transfer_id(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        _module: v8::Local<v8::WasmModuleObject>,
    ) -> Option<u32> {
        self.0
            .data_clone_error(scope, "#<Module> could not be cloned.");
        None
    }
}

/// The Rust side of a `Serializer`.
struct Serializer {
    /// Nothing once V8 was refused memory: the buffer is incomplete then and is never given out.
    inner: RefCell<Option<Rc<v8::ValueSerializer<'static>>>>,
    receiver: Rc<Receiver>,
    /// For the buffer that V8 holds.
    charge: RefCell<Option<Charge>>,
    held: Cell<usize>,
}

impl Serializer {
    fn give_up(&self) {
        self.inner.take();
        self.charge.take();
        self.held.set(0);
    }
}

fn invalid(message: &str) -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", message)
}

fn undefined<'s>(scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
    Ok(v8::undefined(scope).into())
}

fn construct_call_required(class: &str) -> Throw {
    let message = format!("Class constructor {class} cannot be invoked without 'new'");
    Throw::type_error("ERR_CONSTRUCT_CALL_REQUIRED", message)
}

fn new_serializer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(construct_call_required("Serializer"));
    }
    let env = Env::of(scope);
    let receiver = Rc::new(Receiver::default());
    let charge = memory_budget(&env).charge(scope, OVERHEAD);
    let charge = charge
        .ok_or_else(|| Throw::error("ERR_MEMORY_ALLOCATION_FAILED", "Failed to allocate memory"))?;
    let serializer = Serializer {
        inner: RefCell::new(Some(Rc::new(v8::ValueSerializer::new(
            scope,
            Box::new(SerializerDelegate(receiver.clone())),
        )))),
        receiver,
        charge: RefCell::new(Some(charge)),
        held: Cell::new(OVERHEAD),
    };
    env.objects.wrap(scope, args.this(), Rc::new(serializer));
    undefined(scope)
}

fn serializer_of(
    scope: &mut v8::PinScope<'_, '_>,
    args: &Args<'_>,
) -> Result<Rc<Serializer>, Throw> {
    Env::of(scope)
        .objects
        .unwrap::<Serializer>(scope, args.this())
        .ok_or_else(|| invalid("Not a Serializer"))
}

/// Runs `write` with the buffer's growth bounded and accounted for.
fn writing<T>(
    scope: &mut v8::PinScope<'_, '_>,
    args: &Args<'_>,
    write: impl FnOnce(&mut v8::PinScope<'_, '_>, &v8::ValueSerializer<'static>) -> Option<T>,
) -> Result<T, Throw> {
    let serializer = serializer_of(scope, args)?;
    let env = Env::of(scope);
    let memory = memory_budget(&env);
    let receiver = serializer.receiver.clone();
    receiver.during(scope, args.this(), |scope| {
        let limit = memory
            .left_for(scope, ROOM)
            .saturating_add(serializer.held.get());
        let inner = serializer.inner.borrow().clone();
        let (Some(inner), Some(budget)) = (inner, Budget::new(limit)) else {
            return Err(serializer.receiver.data_clone_error(scope, OUT_OF_MEMORY));
        };
        let written = write(scope, &inner);
        let usage = budget.usage();
        drop(budget);
        drop(inner);
        let held = usage.granted.saturating_add(OVERHEAD);
        let mut broken = usage.denied || serializer.inner.borrow().is_none();
        if held > serializer.held.get() && !broken {
            serializer.charge.take();
            let charge = memory.charge(scope, held);
            broken = charge.is_none();
            serializer.held.set(held);
            serializer.charge.replace(charge);
        }
        if broken {
            serializer.give_up();
        }
        match written {
            None => Err(Throw::Pending),
            Some(_) if broken => Err(serializer.receiver.data_clone_error(scope, OUT_OF_MEMORY)),
            Some(value) => Ok(value),
        }
    })
}

fn write_header<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    writing(scope, args, |_, serializer| {
        serializer.write_header();
        Some(())
    })?;
    undefined(scope)
}

fn write_value<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(0);
    let written = writing(scope, args, |scope, serializer| {
        let context = scope.get_current_context();
        serializer.write_value(context, value)
    })?;
    Ok(v8::Boolean::new(scope, written).into())
}

fn release_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let serializer = serializer_of(scope, args)?;
    let inner = serializer.inner.borrow().clone();
    let Some(inner) = inner else {
        let receiver = serializer.receiver.clone();
        return receiver.during(scope, args.this(), |scope| {
            Err(receiver.data_clone_error(scope, OUT_OF_MEMORY))
        });
    };
    let bytes = inner.release();
    let buffer = crate::array_buffer::buffer_of(scope, &bytes)?;
    drop(bytes);
    let env = Env::of(scope);
    serializer.charge.take();
    serializer
        .charge
        .replace(memory_budget(&env).charge(scope, OVERHEAD));
    serializer.held.set(OVERHEAD);
    Ok(buffer.into())
}

fn transfer_out<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let serializer = serializer_of(scope, args)?;
    let id = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let buffer = v8::Local::<v8::ArrayBuffer>::try_from(args.get(1))
        .map_err(|_| invalid("arrayBuffer must be an ArrayBuffer"))?;
    if let Some(inner) = &*serializer.inner.borrow() {
        inner.transfer_array_buffer(id, buffer);
    }
    undefined(scope)
}

fn write_uint32<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    writing(scope, args, |_, serializer| {
        serializer.write_uint32(value);
        Some(())
    })?;
    undefined(scope)
}

fn write_uint64<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let high = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    let low = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    writing(scope, args, |_, serializer| {
        serializer.write_uint64(u64::from(high) << 32 | u64::from(low));
        Some(())
    })?;
    undefined(scope)
}

fn write_double<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(0).number_value(scope).ok_or(Throw::Pending)?;
    writing(scope, args, |_, serializer| {
        serializer.write_double(value);
        Some(())
    })?;
    undefined(scope)
}

fn write_raw_bytes<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0))
        .map_err(|_| invalid("source must be a TypedArray or a DataView"))?;
    writing(scope, args, |scope, serializer| {
        let mut bytes = Contents::default();
        serializer.write_raw_bytes(bytes.of(scope, view));
        Some(())
    })?;
    undefined(scope)
}

fn treat_views_as_host_objects<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mode = args.get(0).boolean_value(scope);
    if let Some(inner) = &*serializer_of(scope, args)?.inner.borrow() {
        inner.set_treat_array_buffer_views_as_host_objects(mode);
    }
    undefined(scope)
}

struct DeserializerDelegate(Rc<Receiver>);

fn cannot_deserialize(scope: &mut v8::PinScope<'_, '_>) {
    Throw::Plain(ErrorClass::Error, CANNOT_DESERIALIZE.to_owned()).throw(scope);
}

impl v8::ValueDeserializerImpl for DeserializerDelegate {
    fn read_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        _deserializer: &dyn ValueDeserializerHelper,
    ) -> Option<v8::Local<'s, v8::Object>> {
        // V8 ends the process when JavaScript runs while it reads, unless told that it may.
        v8::allow_javascript_execution_scope!(let scope, scope);
        match self.0.call(scope, "_readHostObject", &[]) {
            Ok(Some(value)) => {
                if let Ok(object) = v8::Local::<v8::Object>::try_from(value) {
                    Some(object)
                } else {
                    Throw::Plain(
                        ErrorClass::Type,
                        "readHostObject must return an object".to_owned(),
                    )
                    .throw(scope);
                    None
                }
            }
            Ok(None) => {
                cannot_deserialize(scope);
                None
            }
            Err(_) => None,
        }
    }

    fn get_shared_array_buffer_from_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        _id: u32,
    ) -> Option<v8::Local<'s, v8::SharedArrayBuffer>> {
        cannot_deserialize(scope);
        None
    }

    fn get_wasm_module_from_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        _id: u32,
    ) -> Option<v8::Local<'s, v8::WasmModuleObject>> {
        cannot_deserialize(scope);
        None
    }
}

/// The Rust side of a `Deserializer`. Fields are dropped in order: V8's object points into `bytes`.
struct Deserializer {
    inner: v8::ValueDeserializer<'static>,
    receiver: Rc<Receiver>,
    bytes: Box<[u8]>,
    _charge: Charge,
}

fn new_deserializer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(construct_call_required("Deserializer"));
    }
    let view = v8::Local::<v8::ArrayBufferView>::try_from(args.get(0))
        .map_err(|_| invalid("buffer must be a TypedArray or a DataView"))?;
    let env = Env::of(scope);
    let key = v8::String::new(scope, "buffer").ok_or(Throw::Pending)?;
    args.this()
        .set(scope, key.into(), view.into())
        .ok_or(Throw::Pending)?;
    let memory = memory_budget(&env);
    let length = view.byte_length();
    let charge = memory.charge(scope, length.saturating_add(OVERHEAD));
    let charge = charge
        .ok_or_else(|| Throw::error("ERR_MEMORY_ALLOCATION_FAILED", "Failed to allocate memory"))?;
    let mut storage = Contents::default();
    // Not more than what is paid for: shared memory may have grown.
    let bytes: Box<[u8]> = storage
        .of_range(scope, view, 0..length)
        .unwrap_or_default()
        .into();
    let receiver = Rc::new(Receiver::default());
    let inner = v8::ValueDeserializer::new(
        scope,
        Box::new(DeserializerDelegate(receiver.clone())),
        &bytes,
    );
    let deserializer = Deserializer {
        inner,
        receiver,
        bytes,
        _charge: charge,
    };
    env.objects.wrap(scope, args.this(), Rc::new(deserializer));
    undefined(scope)
}

fn deserializer_of(
    scope: &mut v8::PinScope<'_, '_>,
    args: &Args<'_>,
) -> Result<Rc<Deserializer>, Throw> {
    Env::of(scope)
        .objects
        .unwrap::<Deserializer>(scope, args.this())
        .ok_or_else(|| invalid("Not a Deserializer"))
}

fn read_header<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let deserializer = deserializer_of(scope, args)?;
    let context = scope.get_current_context();
    let read = deserializer
        .inner
        .read_header(context)
        .ok_or(Throw::Pending)?;
    Ok(v8::Boolean::new(scope, read).into())
}

fn read_value<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let deserializer = deserializer_of(scope, args)?;
    let context = scope.get_current_context();
    let outer = deserializer
        .receiver
        .0
        .replace(Some(v8::Global::new(scope, args.this())));
    let value = deserializer.inner.read_value(context);
    deserializer.receiver.0.replace(outer);
    value.ok_or(Throw::Pending)
}

fn get_wire_format_version<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let version = deserializer_of(scope, args)?
        .inner
        .get_wire_format_version();
    Ok(v8::Integer::new_from_unsigned(scope, version).into())
}

fn transfer_in<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let deserializer = deserializer_of(scope, args)?;
    let id = args.get(0).uint32_value(scope).ok_or(Throw::Pending)?;
    if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(args.get(1)) {
        deserializer.inner.transfer_array_buffer(id, buffer);
    } else if let Ok(buffer) = v8::Local::<v8::SharedArrayBuffer>::try_from(args.get(1)) {
        deserializer.inner.transfer_shared_array_buffer(id, buffer);
    } else {
        return Err(invalid(
            "arrayBuffer must be an ArrayBuffer or SharedArrayBuffer",
        ));
    }
    undefined(scope)
}

fn failed(what: &str) -> Throw {
    Throw::Plain(ErrorClass::Error, format!("{what}() failed"))
}

fn read_uint32<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut value = 0;
    if !deserializer_of(scope, args)?.inner.read_uint32(&mut value) {
        return Err(failed("ReadUint32"));
    }
    Ok(v8::Integer::new_from_unsigned(scope, value).into())
}

/// `[high, low]`.
fn read_uint64<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut value = 0;
    if !deserializer_of(scope, args)?.inner.read_uint64(&mut value) {
        return Err(failed("ReadUint64"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let halves = [(value >> 32) as u32, value as u32];
    let halves = halves.map(|half| v8::Integer::new_from_unsigned(scope, half).into());
    Ok(v8::Array::new_with_elements(scope, &halves).into())
}

fn read_double<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut value = 0.0;
    if !deserializer_of(scope, args)?.inner.read_double(&mut value) {
        return Err(failed("ReadDouble"));
    }
    Ok(v8::Number::new(scope, value).into())
}

/// Skips `length` bytes; answers where they are in the buffer.
fn read_raw_bytes<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let length = args.get(0).integer_value(scope).ok_or(Throw::Pending)?;
    let deserializer = deserializer_of(scope, args)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= deserializer.bytes.len());
    let bytes = length.and_then(|length| deserializer.inner.read_raw_bytes(length));
    let bytes = bytes.ok_or_else(|| failed("ReadRawBytes"))?;
    let offset = (bytes.as_ptr() as usize).saturating_sub(deserializer.bytes.as_ptr() as usize);
    let offset = u32::try_from(offset).map_err(|_| failed("ReadRawBytes"))?;
    Ok(v8::Integer::new_from_unsigned(scope, offset).into())
}
