//! Bounds the types that guests' WebAssembly modules define.
//!
//! V8 keeps one table of canonical types for the whole OS process: it never shrinks and is fatal when it is full (two
//! million). So modules are read here before V8 reads them: `WebAssembly.Module`, `compile`, `instantiate` and `validate`
//! are ours and pass on a copy of the bytes that nobody can change any more. A type section that some VM has brought
//! before costs nothing, since V8 has its types already.
//!
//! V8 counts a module's bytes nowhere: they are charged here while it is compiled, and then as long as it lives.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use wasmparser::{Parser, Payload, TypeSectionReader};

use crate::array_buffer::{self, Contents};
use crate::binding::{Args, Callback, Ret, function};
use crate::env::Env;
use crate::memory::NativeCharge;
use crate::throw::{ErrorClass, Throw};

/// Types that the modules of one VM may define.
const MAX_TYPES_OF_VM: usize = 20_000;
/// Types of all VMs of this OS process; half of what V8's table holds.
const MAX_TYPES: usize = 1_000_000;
/// Bytes of a module; V8 has the same limit (`--wasm-max-module-size`).
pub const MAX_MODULE_BYTES: usize = 64 << 20;
/// The shortest type is a structure without fields.
const SHORTEST_TYPE: usize = 2;

/// Functions of `WebAssembly` that take a module's bytes.
const FUNCTIONS: &[(&str, Callback)] = &[
    ("compile", function!(compile)),
    ("instantiate", function!(compile)),
    ("validate", function!(validate)),
    ("compileStreaming", function!(compile_streaming)),
    ("instantiateStreaming", function!(compile_streaming)),
];
/// Classes of `WebAssembly` whose instances bring types.
const CLASSES: &[(&str, Callback)] = &[
    ("Module", function!(new_module)),
    ("Tag", function!(new_tag)),
];
/// Functions that those classes have.
const STATICS: &[&str] = &["imports", "exports", "customSections"];

#[derive(Default)]
struct Known {
    /// Hashes of type sections, with keys that no guest knows.
    sections: HashSet<u64>,
    types: usize,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// How many types the modules of a VM have defined.
#[derive(Debug, Default)]
pub struct WasmTypes(AtomicUsize);

impl WasmTypes {
    /// Takes `count` more, unless that are too many.
    fn take(&self, count: usize) -> Result<(), TooMany> {
        let added = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(count)
                    .filter(|sum| *sum <= MAX_TYPES_OF_VM)
            });
        added.map(|_| ()).map_err(|used| TooMany {
            types: used.saturating_add(count),
            limit: MAX_TYPES_OF_VM,
            of: "a VM",
        })
    }
}

/// More types than there may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{types} WebAssembly types are more than the {limit} that {of} may define")]
pub struct TooMany {
    types: usize,
    limit: usize,
    of: &'static str,
}

/// The callbacks of this module, for the snapshot's table.
pub fn external_references() -> impl Iterator<Item = v8::ExternalReference> {
    FUNCTIONS
        .iter()
        .chain(CLASSES)
        .map(|(_, callback)| v8::ExternalReference {
            function: *callback,
        })
}

/// Looks at a module before V8 does, for the VM of this isolate.
///
/// # Errors
/// [`TooMany`] when V8 must not see it.
pub fn admit(env: &Env, module: &[u8]) -> Result<(), TooMany> {
    let vm = env.vm();
    let default = WasmTypes::default();
    let used = vm.as_ref().map_or(&default, |vm| vm.wasm_types());
    for section in type_sections(module) {
        admit_section(used, section)?;
    }
    Ok(())
}

fn admit_section(used: &WasmTypes, section: &[u8]) -> Result<(), TooMany> {
    // No thread is parked while it holds the lock.
    let _section = crate::critical::section();
    let hash = KEYS.hash_one(section);
    let is_known = |known: &Known| known.sections.contains(&hash);
    if is_known(&KNOWN.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(());
    }
    let count = count_types(section);
    used.take(count)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if is_known(&known) {
        return Ok(());
    }
    let types = known.types.saturating_add(count);
    if types > MAX_TYPES {
        return Err(TooMany {
            types,
            limit: MAX_TYPES,
            of: "all VMs of a host process",
        });
    }
    known.types = types;
    known.sections.insert(hash);
    Ok(())
}

/// The contents of the type sections of a module, as far as it can be read.
fn type_sections(module: &[u8]) -> impl Iterator<Item = &[u8]> {
    Parser::new(0)
        .parse_all(module)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::TypeSection(section) => {
                let range = section.range();
                let start = usize::try_from(range.start).ok()?;
                module.get(start..usize::try_from(range.end).ok()?)
            }
            _ => None,
        })
}

/// How many types V8 may find in a type section, whether or not it is valid.
fn count_types(section: &[u8]) -> usize {
    let reader = wasmparser::BinaryReader::new(section, 0);
    let Ok(mut groups) = TypeSectionReader::new(reader).map(IntoIterator::into_iter) else {
        return section.len() / SHORTEST_TYPE;
    };
    let mut count = 0;
    loop {
        let at = usize::try_from(groups.original_position()).unwrap_or(0);
        match groups.next() {
            None => return count,
            Some(Ok(group)) => count += group.types().len(),
            // What is not understood here may be to V8.
            Some(Err(_)) => return count + section.len().saturating_sub(at) / SHORTEST_TYPE,
        }
    }
}

/// Puts our functions in the place of V8's. The context must be entered, and no guest may have run in it.
pub(crate) fn install(scope: &mut v8::PinScope<'_, '_>, global: v8::Local<v8::Object>) {
    // Past the interceptors that a context of `node:vm` has.
    let webassembly = v8::String::new(scope, "WebAssembly")
        .and_then(|name| global.get_real_named_property(scope, name.into()))
        .and_then(|value| v8::Local::<v8::Object>::try_from(value).ok());
    let Some(webassembly) = webassembly else {
        return;
    };
    for (name, callback) in FUNCTIONS {
        replace(scope, webassembly, name, *callback);
    }
    for (name, callback) in CLASSES {
        replace_class(scope, webassembly, name, *callback);
    }
}

fn replace_class(
    scope: &mut v8::PinScope<'_, '_>,
    webassembly: v8::Local<v8::Object>,
    name: &str,
    callback: Callback,
) {
    let Some(original) = object(scope, webassembly, name) else {
        return;
    };
    let (Some(prototype), Some(class)) = (
        object(scope, original, "prototype"),
        replace(scope, webassembly, name, callback),
    ) else {
        return;
    };
    for name in STATICS {
        if let (Some(function), Some(key)) =
            (object(scope, original, name), v8::String::new(scope, name))
        {
            class.set(scope, key.into(), function.into());
        }
    }
    if let Some(key) = v8::String::new(scope, "prototype") {
        let fixed = v8::PropertyAttribute::READ_ONLY
            | v8::PropertyAttribute::DONT_ENUM
            | v8::PropertyAttribute::DONT_DELETE;
        class.define_own_property(scope, key.into(), prototype.into(), fixed);
    }
    if let Some(key) = v8::String::new(scope, "constructor") {
        let attributes = v8::PropertyAttribute::DONT_ENUM;
        prototype.define_own_property(scope, key.into(), class.into(), attributes);
    }
}

fn object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    of: v8::Local<v8::Object>,
    name: &str,
) -> Option<v8::Local<'s, v8::Object>> {
    let key = v8::String::new(scope, name)?;
    v8::Local::try_from(of.get(scope, key.into())?).ok()
}

/// Puts a function in the place of an original, which it holds as its data.
fn replace<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    target: v8::Local<v8::Object>,
    name: &str,
    callback: Callback,
) -> Option<v8::Local<'s, v8::Function>> {
    let key = v8::String::new(scope, name)?;
    // A context has no streaming functions when its isolate cannot stream.
    let original = target.get(scope, key.into())?;
    if !original.is_function() {
        return None;
    }
    let behavior = if CLASSES.iter().any(|(class, _)| *class == name) {
        v8::ConstructorBehavior::Allow
    } else {
        v8::ConstructorBehavior::Throw
    };
    let function = v8::FunctionBuilder::<v8::Function>::new_raw(callback)
        .data(original)
        .length(1)
        .constructor_behavior(behavior)
        .build(scope)?;
    function.set_name(key);
    let attributes = v8::PropertyAttribute::NONE;
    target.define_own_property(scope, key.into(), function.into(), attributes)?;
    Some(function)
}

/// A module's bytes for V8, and what holding them costs.
type Admitted<'s> = (Vec<v8::Local<'s, v8::Value>>, Option<NativeCharge>);

/// How many bytes an argument has that V8 would take for a module.
fn length_of(value: v8::Local<v8::Value>) -> Option<usize> {
    if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        return Some(view.byte_length());
    }
    array_buffer::raw_parts(value).map(|(_, length)| length)
}

/// The arguments for V8's own function: the bytes are a copy that has been admitted.
fn admitted<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Admitted<'s>, Throw> {
    let mut list: Vec<_> = (0..args.length()).map(|index| args.get(index)).collect();
    let length = length_of(args.get(0));
    if let Some(length) = length.filter(|length| *length > MAX_MODULE_BYTES) {
        let message =
            format!("buffer source exceeds maximum size of {MAX_MODULE_BYTES} (is {length})");
        return Err(Throw::Plain(ErrorClass::Range, message));
    }
    let charge = charge(scope, length.unwrap_or(0).saturating_add(PENDING_BYTES))?;
    let mut contents = Contents::default();
    if let (Some(first), Some(bytes)) = (
        list.first_mut(),
        contents.of_value(scope, args.get(0)).map(<[u8]>::to_vec),
    ) {
        if bytes.len() > length.unwrap_or(0) {
            return Err(Throw::Plain(
                ErrorClass::Range,
                "buffer source has grown".into(),
            ));
        }
        let admitted = admit(&Env::of(scope), &bytes);
        admitted.map_err(|error| Throw::Plain(ErrorClass::Range, error.to_string()))?;
        *first = array_buffer::array_buffer_of(scope, &bytes)?.into();
    }
    Ok((list, charge))
}

fn original<'s>(args: &Args<'s>) -> Result<v8::Local<'s, v8::Function>, Throw> {
    v8::Local::try_from(args.data()).map_err(|_| Throw::Pending)
}

/// `WebAssembly.compile` and `WebAssembly.instantiate`: errors become rejections.
fn compile<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
    let promise = resolver.get_promise(scope);
    let (list, charge) = match admitted(scope, args) {
        Ok(admitted) => admitted,
        Err(throw) => {
            let Some(exception) = throw.into_value(scope) else {
                return Err(Throw::Pending);
            };
            resolver.reject(scope, exception).ok_or(Throw::Pending)?;
            return Ok(promise.into());
        }
    };
    await_original(scope, args, (resolver, charge), &list, false)?;
    Ok(promise.into())
}

/// `WebAssembly.compileStreaming` and `WebAssembly.instantiateStreaming`: the bytes come later, see [`hold_stream`].
fn compile_streaming<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let charge = charge(scope, PENDING_BYTES)?;
    let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
    let promise = resolver.get_promise(scope);
    let list: Vec<_> = (0..args.length()).map(|index| args.get(index)).collect();
    await_original(scope, args, (resolver, charge), &list, true)?;
    Ok(promise.into())
}

/// Charges the bytes of a stream that V8 is about to get, until it has compiled them.
///
/// # Errors
/// [`Throw::Pending`] when the process has no room for them: it ends.
pub(crate) fn hold_stream(scope: &mut v8::PinScope<'_, '_>, bytes: usize) -> Result<(), Throw> {
    let Some(charge) = charge(scope, bytes)? else {
        return Ok(());
    };
    let charges = Env::of(scope).extension::<Charges>();
    charges.streamed.borrow_mut().push((bytes, charge));
    Ok(())
}

/// Calls V8's own function; `resolver` settles as its promise does, once the module is charged.
fn await_original<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    (resolver, charge): (v8::Local<'s, v8::PromiseResolver>, Option<NativeCharge>),
    list: &[v8::Local<'s, v8::Value>],
    is_stream: bool,
) -> Result<(), Throw> {
    let result = original(args)?
        .call(scope, args.this().into(), list)
        .ok_or(Throw::Pending)?;
    let result = v8::Local::<v8::Promise>::try_from(result).map_err(|_| Throw::Pending)?;
    let compilation = Compilation {
        resolver: v8::Global::new(scope, resolver),
        _charge: charge,
        is_stream,
    };
    let id = Env::of(scope).extension::<Charges>().begin(compilation);
    #[expect(clippy::cast_precision_loss, reason = "nobody compiles 2^53 modules")]
    let id = v8::Number::new(scope, id as f64);
    let [on_success, on_failure] = [SUCCEEDED, FAILED].map(|callback| {
        v8::FunctionBuilder::<v8::Function>::new_raw(callback)
            .data(id.into())
            .constructor_behavior(v8::ConstructorBehavior::Throw)
            .build(scope)
    });
    // V8's promise never reaches the guest: nobody sees what it answers before it is charged.
    result
        .then2(
            scope,
            on_success.ok_or(Throw::Pending)?,
            on_failure.ok_or(Throw::Pending)?,
        )
        .ok_or(Throw::Pending)?;
    Ok(())
}

const SUCCEEDED: Callback = function!(succeeded);
const FAILED: Callback = function!(failed);

fn succeeded<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let resolver = end_compilation(scope, args)?;
    let value = args.get(0);
    if let Ok(module) = v8::Local::<v8::WasmModuleObject>::try_from(value) {
        keep(scope, module)?;
    } else if let (Ok(pair), Some(key)) = (
        v8::Local::<v8::Object>::try_from(value),
        v8::String::new(scope, "module"),
    ) && let Some(module) = pair.get(scope, key.into())
        && let Ok(module) = v8::Local::<v8::WasmModuleObject>::try_from(module)
    {
        keep(scope, module)?;
    }
    resolver.resolve(scope, value).ok_or(Throw::Pending)?;
    Ok(v8::undefined(scope).into())
}

fn failed<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let resolver = end_compilation(scope, args)?;
    resolver.reject(scope, args.get(0)).ok_or(Throw::Pending)?;
    Ok(v8::undefined(scope).into())
}

/// Lets the charge of a compilation go, and answers whom to tell of its end.
fn end_compilation<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<v8::Local<'s, v8::PromiseResolver>, Throw> {
    let id = args.data().integer_value(scope);
    let id = id.and_then(|id| u64::try_from(id).ok());
    let compilation = id.and_then(|id| Env::of(scope).extension::<Charges>().end(id));
    let compilation = compilation.ok_or(Throw::Pending)?;
    Ok(v8::Local::new(scope, &compilation.resolver))
}

/// What V8 holds for a compilation that is not done, beside copies of the bytes.
const PENDING_BYTES: usize = 8 << 10;

/// Whom to tell of the end of a compilation, and what it costs until then.
struct Compilation {
    resolver: v8::Global<v8::PromiseResolver>,
    _charge: Option<NativeCharge>,
    is_stream: bool,
}

/// What compilations and modules of this isolate cost.
#[derive(Default)]
struct Charges {
    last: Cell<u64>,
    compilations: RefCell<HashMap<u64, Compilation>>,
    /// Bytes of streams that V8 compiles: nobody can tell which compilation they belong to.
    streamed: RefCell<Vec<(usize, NativeCharge)>>,
    streams: Cell<usize>,
    modules: RefCell<HashMap<u64, (v8::Weak<v8::WasmModuleObject>, NativeCharge)>>,
}

impl Charges {
    fn next(&self) -> u64 {
        self.last.set(self.last.get().wrapping_add(1));
        self.last.get()
    }

    fn begin(&self, compilation: Compilation) -> u64 {
        let id = self.next();
        if compilation.is_stream {
            self.streams.set(self.streams.get().saturating_add(1));
        }
        self.compilations.borrow_mut().insert(id, compilation);
        id
    }

    fn end(&self, id: u64) -> Option<Compilation> {
        let ended = self.compilations.borrow_mut().remove(&id)?;
        if ended.is_stream {
            self.streams.set(self.streams.get().saturating_sub(1));
            if self.streams.get() == 0 {
                self.streamed.take();
            }
        }
        Some(ended)
    }

    /// Lets the charge of a stream go that has become a module of `bytes`.
    fn end_stream(&self, bytes: usize) {
        let mut streamed = self.streamed.borrow_mut();
        if let Some(at) = streamed.iter().position(|(length, _)| *length == bytes) {
            streamed.swap_remove(at);
        }
    }
}

/// Charges the process, after a look for garbage when there is no room.
fn charge(scope: &mut v8::PinScope<'_, '_>, bytes: usize) -> Result<Option<NativeCharge>, Throw> {
    let Some(budget) = Env::of(scope).memory_account() else {
        return Ok(None);
    };
    budget
        .charge_kept(scope, bytes)
        .map(Some)
        .map_err(|_| Throw::Pending)
}

/// Charges a module's bytes for as long as it lives.
///
/// # Errors
/// [`Throw::Pending`] when the process has no room for them: it ends.
pub(crate) fn keep(
    scope: &mut v8::PinScope<'_, '_>,
    module: v8::Local<v8::WasmModuleObject>,
) -> Result<(), Throw> {
    let bytes = module.get_compiled_module().get_wire_bytes_ref().len();
    let charges = Env::of(scope).extension::<Charges>();
    charges.end_stream(bytes);
    let Some(charge) = charge(scope, bytes)? else {
        return Ok(());
    };
    let id = charges.next();
    let weak = v8::Weak::with_finalizer(
        scope,
        module,
        Box::new(move |isolate| {
            let charges = Env::of(isolate).extension::<Charges>();
            let gone = charges.modules.borrow_mut().remove(&id);
            drop(gone);
        }),
    );
    charges.modules.borrow_mut().insert(id, (weak, charge));
    Ok(())
}

/// `WebAssembly.validate`.
fn validate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (list, _charge) = admitted(scope, args)?;
    original(args)?
        .call(scope, args.this().into(), &list)
        .ok_or(Throw::Pending)
}

/// `new WebAssembly.Module`.
fn new_module<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let instance = construct(scope, args, "WebAssembly.Module", |scope| {
        admitted(scope, args)
    })?;
    if let Ok(module) = v8::Local::<v8::WasmModuleObject>::try_from(instance) {
        keep(scope, module)?;
    }
    Ok(instance)
}

/// `new WebAssembly.Tag`: V8 enters the type of its parameters.
fn new_tag<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    construct(scope, args, "WebAssembly.Tag", |scope| {
        if let Some(vm) = Env::of(scope).vm() {
            let taken = vm.wasm_types().take(1);
            taken.map_err(|error| Throw::Plain(ErrorClass::Range, error.to_string()))?;
        }
        let list = (0..args.length()).map(|index| args.get(index)).collect();
        Ok((list, None))
    })
}

/// Makes an instance by V8's own constructor, with the prototype of the class that was asked for.
fn construct<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    args: &Args<'s>,
    name: &str,
    list: impl FnOnce(&mut v8::PinScope<'s, 'i>) -> Result<Admitted<'s>, Throw>,
) -> Ret<'s> {
    let Ok(target) = v8::Local::<v8::Object>::try_from(args.new_target()) else {
        let message = format!("{name}(): {name} must be invoked with 'new'");
        return Err(Throw::Plain(ErrorClass::Type, message));
    };
    let (list, _charge) = list(scope)?;
    let instance = original(args)?
        .new_instance(scope, &list)
        .ok_or(Throw::Pending)?;
    let key = v8::String::new(scope, "prototype").ok_or(Throw::Pending)?;
    let prototype = target.get(scope, key.into()).ok_or(Throw::Pending)?;
    if prototype.is_object() {
        instance.set_prototype(scope, prototype);
    }
    Ok(instance.into())
}

#[cfg(test)]
mod tests {
    use super::{MAX_TYPES_OF_VM, WasmTypes, admit_section, count_types, type_sections};

    fn leb(mut value: usize, into: &mut Vec<u8>) {
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            into.push(if value == 0 { byte } else { byte | 0x80 });
            if value == 0 {
                return;
            }
        }
    }

    /// `groups` recursive groups of `each` structures, the first with a field of `kind`.
    fn section(groups: usize, each: usize, kind: u8) -> Vec<u8> {
        let mut section = Vec::new();
        leb(groups, &mut section);
        for _ in 0..groups {
            section.push(0x4e);
            leb(each, &mut section);
            for _ in 0..each {
                section.extend([0x5f, 1, kind, 0]);
            }
        }
        section
    }

    fn module(section: &[u8]) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0\x01".to_vec();
        leb(section.len(), &mut module);
        module.extend(section);
        module
    }

    #[test]
    fn types_of_groups_are_counted() {
        let section = section(3, 5, 0x7f);
        let module = module(&section);
        assert_eq!(type_sections(&module).collect::<Vec<_>>(), [&section[..]]);
        assert_eq!(count_types(&section), 15);
        assert_eq!(count_types(&[1, 0x60, 0, 0]), 1);
    }

    #[test]
    fn what_is_not_understood_counts_as_much_as_it_can() {
        let mut section = section(1, 2, 0x7f);
        section[0] = 100;
        section.extend([0x0a; 200]);
        assert!(count_types(&section) >= 2 + 100);
        assert!(count_types(&[0xff; 9]) >= 4);
    }

    #[test]
    fn a_vm_has_a_limit_and_what_is_known_is_free() {
        let vm = WasmTypes::default();
        let large = section(1, MAX_TYPES_OF_VM, 0x7e);
        admit_section(&vm, &large).expect("as many as allowed");
        admit_section(&vm, &large).expect("known");
        let error = admit_section(&vm, &section(1, 1, 0x7d)).expect_err("one more");
        assert!(error.to_string().contains("20001 WebAssembly types"));
        let other = WasmTypes::default();
        admit_section(&other, &large).expect("known to all");
        admit_section(&other, &section(1, 2, 0x7c)).expect("its own");
    }
}
