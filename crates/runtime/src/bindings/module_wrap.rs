//! `internalBinding('module_wrap')`: ECMAScript modules. Source: `src/module_wrap.cc`.
//!
//! A wrapper keeps its V8 module, its context and what it was linked to in internal fields, so that V8's collector sees
//! every reference. Rust keeps an index from a module's identity hash to its wrapper, weakly.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::contextify::{
    cache_of, checked_source, construct_call_required, context_of_holder, host_options, new_buffer,
    plain_error, run_own_microtasks, shared_symbol, timed,
};
use crate::bindings::options;
use crate::bindings::symbols::symbol;
use crate::code_cache::{Form, Lookup};
use crate::compile_cache::Compilation;
use crate::env::Env;
use crate::fatal_exception;
use crate::realm::{private_symbol, set};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "module_wrap",
    functions: &[
        (
            "setImportModuleDynamicallyCallback",
            function!(set_import_module_dynamically_callback),
        ),
        (
            "setInitializeImportMetaObjectCallback",
            function!(set_initialize_import_meta_object_callback),
        ),
        (
            "createRequiredModuleFacade",
            function!(create_required_module_facade),
        ),
        (
            "throwIfPromiseRejected",
            function!(throw_if_promise_rejected),
        ),
    ],
    classes: &[Class {
        name: "ModuleWrap",
        constructor: Some(function!(new_module)),
        methods: &[
            ("link", function!(link)),
            ("getModuleRequests", function!(get_module_requests)),
            ("instantiateSync", function!(instantiate_sync)),
            ("evaluateSync", function!(evaluate_sync)),
            ("getNamespaceSync", function!(get_namespace_sync)),
            ("instantiate", function!(instantiate)),
            ("evaluate", function!(evaluate)),
            ("setExport", function!(set_export)),
            ("createCachedData", function!(create_cached_data)),
            ("getNamespace", function!(get_namespace)),
            ("getStatus", function!(get_status)),
            ("isGraphAsync", function!(is_graph_async)),
            ("hasTopLevelAwait", function!(has_top_level_await)),
            ("getError", function!(get_error)),
        ],
        extra_fields: 4,
        ..Class::DEFAULT
    }],
    restore: Some(restore),
    ..Binding::DEFAULT
};

/// Internal fields of a wrapper.
mod field {
    /// The V8 module.
    pub const MODULE: usize = 1;
    /// An object whose creation context is the module's context.
    pub const CONTEXT: usize = 2;
    /// What `link()` received.
    pub const LINKED: usize = 3;
    /// The function that evaluates a synthetic module.
    pub const STEPS: usize = 4;
}

fn restore(scope: &mut v8::PinScope<'_, '_>, _env: &Env) {
    scope.set_host_import_module_dynamically_callback(import_module_dynamically);
    scope.set_host_initialize_import_meta_object_callback(initialize_import_meta);
}

type Wrappers = HashMap<i32, Vec<(u64, v8::Weak<v8::Object>)>>;

/// From a module's identity hash to the wrappers with that hash.
#[derive(Default)]
struct ModuleIndex {
    wrappers: Rc<RefCell<Wrappers>>,
    next: Cell<u64>,
}

/// What Rust knows of a wrapper.
struct ModuleState {
    hash: i32,
    number: u64,
    wrappers: Rc<RefCell<Wrappers>>,
    synthetic: bool,
    linked: Cell<bool>,
    /// The first request's index for a specifier with its attributes.
    requests: HashMap<String, usize>,
    /// Bytes for `createCachedData`.
    cache: Vec<u8>,
}

impl Drop for ModuleState {
    fn drop(&mut self) {
        let mut wrappers = self.wrappers.borrow_mut();
        if let Some(same_hash) = wrappers.get_mut(&self.hash) {
            same_hash.retain(|(number, _)| *number != self.number);
            if same_hash.is_empty() {
                wrappers.remove(&self.hash);
            }
        }
    }
}

/// A wrapper, taken apart.
struct Wrapped<'s> {
    state: Rc<ModuleState>,
    module: v8::Local<'s, v8::Module>,
    context: v8::Local<'s, v8::Context>,
}

fn invalid(what: &str) -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", format!("{what} is invalid"))
}

fn unwrap<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    wrapper: v8::Local<'s, v8::Object>,
) -> Result<Wrapped<'s>, Throw> {
    let illegal = || {
        Throw::type_error(
            "ERR_INVALID_THIS",
            "Value of \"this\" must be of type ModuleWrap",
        )
    };
    let env = Env::of(scope);
    let state = env
        .objects
        .unwrap::<ModuleState>(scope, wrapper)
        .ok_or_else(illegal)?;
    let module = wrapper
        .get_internal_field(scope, field::MODULE)
        .ok_or_else(illegal)?;
    let module = v8::Local::<v8::Module>::try_from(module).map_err(|_| illegal())?;
    let holder = field_value(scope, wrapper, field::CONTEXT).ok_or_else(illegal)?;
    let holder = v8::Local::<v8::Object>::try_from(holder).map_err(|_| illegal())?;
    let context = holder.get_creation_context(scope).ok_or_else(illegal)?;
    Ok(Wrapped {
        state,
        module,
        context,
    })
}

fn field_value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    wrapper: v8::Local<'s, v8::Object>,
    index: usize,
) -> Option<v8::Local<'s, v8::Value>> {
    v8::Local::try_from(wrapper.get_internal_field(scope, index)?).ok()
}

/// The wrapper of a V8 module.
fn wrapper_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    module: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Object>> {
    let wrappers = Env::of(scope).extension::<ModuleIndex>().wrappers.clone();
    let candidates: Vec<_> = {
        let wrappers = wrappers.borrow();
        let same_hash = wrappers.get(&module.get_identity_hash().get())?;
        same_hash
            .iter()
            .filter_map(|(_, weak)| weak.to_local(scope))
            .collect()
    };
    candidates.into_iter().find(|wrapper| {
        wrapper
            .get_internal_field(scope, field::MODULE)
            .and_then(|data| v8::Local::<v8::Module>::try_from(data).ok())
            .is_some_and(|known| known == module)
    })
}

/// `new ModuleWrap(url, context, source, lineOffset, columnOffset[, cachedData | idSymbol])` or
/// `new ModuleWrap(url, context, exportNames, evaluationSteps[, commonJsModule])`
fn new_module<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(construct_call_required("ModuleWrap"));
    }
    let env = Env::of(scope);
    let this = args.this();
    let url = v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| invalid("The URL"))?;
    let context = if args.get(1).is_undefined() {
        env.context(scope).ok_or(Throw::Pending)?
    } else {
        context_of_holder(scope, args.get(1)).ok_or_else(|| invalid("The context"))?
    };
    let synthetic = args.get(2).is_array();
    let (module, cache) = if synthetic {
        (new_synthetic_module(scope, args, url, context)?, Vec::new())
    } else {
        new_source_text_module(scope, args, url, context)?
    };
    let value = v8::Boolean::new(scope, synthetic).into();
    set(scope, this, "synthetic", value);
    set(scope, this, "url", url.into());
    if synthetic && args.get(4).is_object() {
        let key = v8::Local::<v8::Name>::try_from(symbol(scope, &env, "imported_cjs_symbol"));
        let key = key.map_err(|_| Throw::Pending)?;
        this.create_data_property(scope, key, args.get(4))
            .ok_or(Throw::Pending)?;
    }
    let key = private_symbol(scope, "source_map_data_private_symbol");
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    this.set_private(scope, key, undefined)
        .ok_or(Throw::Pending)?;

    let holder = context.get_extras_binding_object(scope);
    let steps = if synthetic { args.get(3) } else { undefined };
    this.set_internal_field(field::MODULE, module.into());
    this.set_internal_field(field::CONTEXT, holder.into());
    this.set_internal_field(field::LINKED, undefined.into());
    this.set_internal_field(field::STEPS, steps.into());

    let mut requests = HashMap::new();
    if !synthetic {
        for (index, request) in requests_of(scope, module)?.into_iter().enumerate() {
            let attributes = request.get_import_attributes();
            let key = request_key(scope, request.get_specifier(), attributes, 3);
            requests.entry(key).or_insert(index);
        }
    }
    let index = env.extension::<ModuleIndex>();
    let number = index.next.get();
    index.next.set(number + 1);
    let hash = module.get_identity_hash().get();
    let weak = v8::Weak::new(scope, this);
    index
        .wrappers
        .borrow_mut()
        .entry(hash)
        .or_default()
        .push((number, weak));
    let state = ModuleState {
        hash,
        number,
        wrappers: index.wrappers.clone(),
        synthetic,
        linked: Cell::new(false),
        requests,
        cache,
    };
    env.objects.wrap(scope, this, Rc::new(state));
    Ok(this.into())
}

fn new_synthetic_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    url: v8::Local<'s, v8::String>,
    context: v8::Local<'s, v8::Context>,
) -> Result<v8::Local<'s, v8::Module>, Throw> {
    let names = v8::Local::<v8::Array>::try_from(args.get(2))
        .map_err(|_| invalid("The list of exports"))?;
    if !args.get(3).is_function() {
        return Err(invalid("The evaluation callback"));
    }
    let mut exports = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for index in 0..names.length() {
        let name = names.get_index(scope, index).ok_or(Throw::Pending)?;
        let name = v8::Local::<v8::String>::try_from(name)
            .map_err(|_| invalid("The name of an export"))?;
        // V8 requires distinct names.
        let mut units = vec![0; name.length()];
        name.write_v2(scope, 0, &mut units, v8::WriteFlags::empty());
        if seen.insert(units) {
            exports.push(name);
        }
    }
    let scope = &mut v8::ContextScope::new(scope, context);
    Ok(v8::Module::create_synthetic_module(
        scope,
        url,
        &exports,
        evaluate_synthetic_module,
    ))
}

/// The path of a `file:` URL, as far as it says it without escapes.
fn file_path(url: &str) -> Option<String> {
    let path = url.strip_prefix("file://")?;
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let path = path.get(..end)?;
    (path.starts_with('/') && !path.contains('%')).then(|| path.to_owned())
}

fn new_source_text_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    url: v8::Local<'s, v8::String>,
    context: v8::Local<'s, v8::Context>,
) -> Result<(v8::Local<'s, v8::Module>, Vec<u8>), Throw> {
    let this = args.this();
    let code = checked_source(args.get(2))?;
    let line = args.get(3).int32_value(scope).unwrap_or(0);
    let column = args.get(4).int32_value(scope).unwrap_or(0);
    let id = match v8::Local::<v8::Symbol>::try_from(args.get(5)) {
        Ok(id) => id,
        Err(_) => v8::Symbol::new(scope, Some(url)),
    };
    let key = private_symbol(scope, "host_defined_option_symbol");
    this.set_private(scope, key, id.into())
        .ok_or(Throw::Pending)?;
    let options = host_options(scope, id);
    let module = {
        let scope = &mut v8::ContextScope::new(scope, context);
        let origin = v8::ScriptOrigin::new(
            scope,
            url.into(),
            line,
            column,
            true,
            -1,
            None,
            false,
            false,
            true,
            Some(options),
        );
        let name = url.to_rust_string_lossy(scope);
        // Only what the loader compiles has this identifier.
        let is_loaded = shared_symbol(scope, "source_text_module_default_hdo")
            .is_ok_and(|default| default.strict_equals(id.into()));
        let compilation = if is_loaded {
            Compilation::begin(scope, code, &name, Form::Module)
        } else {
            None
        };
        let cache = match (&compilation, file_path(&name)) {
            (Some(compilation), _) => compilation.lookup(scope, code, Form::Module),
            (None, Some(path)) => Lookup::of(scope, code, &path, Form::Module),
            (None, None) => Lookup::NONE,
        };
        let module = with_exception_line(scope, |scope| {
            cache.compile(code, &origin, |source, options| {
                let reason = v8::script_compiler::NoCacheReason::NoReason;
                v8::script_compiler::compile_module2(scope, source, options, reason)
            })
        })?;
        if let Some(compilation) = compilation {
            compilation.succeeded();
        }
        module
    };
    if args.get(5).is_array_buffer_view() {
        return Err(Throw::error(
            "ERR_VM_MODULE_CACHED_DATA_REJECTED",
            "cachedData buffer was rejected",
        ));
    }
    let script = module.get_unbound_module_script(scope);
    let source_url = script.get_source_url(scope);
    set(scope, this, "sourceURL", source_url);
    let map_url = script.get_source_mapping_url(scope);
    set(scope, this, "sourceMapURL", map_url);
    Ok((module, cache_of(scope, code)))
}

/// Runs `body`; the error that it leaves gets its source line, where the library finds it.
fn with_exception_line<'s, T>(
    scope: &mut v8::PinScope<'s, '_>,
    body: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Option<T>,
) -> Result<T, Throw> {
    let (exception, message) = {
        v8::tc_scope!(let catch, scope);
        match body(catch) {
            Some(value) => return Ok(value),
            None if catch.has_terminated() => return Err(Throw::Pending),
            None => {}
        }
        let exception = catch.exception().ok_or(Throw::Pending)?;
        let message = catch
            .message()
            .map(|message| v8::Global::new(catch, message));
        (v8::Global::new(catch, exception), message)
    };
    let exception = v8::Local::new(scope, exception);
    if let Some(message) = message {
        let message = v8::Local::new(scope, message);
        fatal_exception::append_line(&Env::of(scope), scope, exception, message, false);
    }
    scope.throw_exception(exception);
    Err(Throw::Pending)
}

fn requests_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    module: v8::Local<'s, v8::Module>,
) -> Result<Vec<v8::Local<'s, v8::ModuleRequest>>, Throw> {
    let list = module.get_module_requests();
    let mut requests = Vec::with_capacity(list.length());
    for index in 0..list.length() {
        let request = list.get(scope, index).ok_or(Throw::Pending)?;
        requests.push(v8::Local::try_from(request).map_err(|_| Throw::Pending)?);
    }
    Ok(requests)
}

/// Keys and values of import attributes, in V8's lists of `step` elements each.
fn attributes_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    list: v8::Local<'s, v8::FixedArray>,
    step: usize,
) -> Vec<(v8::Local<'s, v8::String>, v8::Local<'s, v8::String>)> {
    let mut pairs = Vec::new();
    for at in (0..list.length()).step_by(step) {
        let text = |index| {
            list.get(scope, index)
                .and_then(|data| v8::Local::<v8::String>::try_from(data).ok())
        };
        if let (Some(key), Some(value)) = (text(at), text(at + 1)) {
            pairs.push((key, value));
        }
    }
    pairs
}

/// What makes two requests of a module the same; also how Node's errors name a request.
fn request_key<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    specifier: v8::Local<'s, v8::String>,
    attributes: v8::Local<'s, v8::FixedArray>,
    step: usize,
) -> String {
    let mut key = format!(
        "ModuleCacheKey(\"{}\"",
        specifier.to_rust_string_lossy(scope)
    );
    let pairs: Vec<String> = attributes_of(scope, attributes, step)
        .into_iter()
        .map(|(name, value)| {
            format!(
                "{}: {}",
                name.to_rust_string_lossy(scope),
                value.to_rust_string_lossy(scope)
            )
        })
        .collect();
    if !pairs.is_empty() {
        key.push_str(&format!(", {{{}}}", pairs.join(", ")));
    }
    key.push(')');
    key
}

/// A frozen object without prototype.
fn frozen<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    names: &[v8::Local<'s, v8::Name>],
    values: &[v8::Local<'s, v8::Value>],
) -> Ret<'s> {
    let null = v8::null(scope).into();
    let object = v8::Object::with_prototype_and_properties(scope, null, names, values);
    object
        .set_integrity_level(scope, v8::IntegrityLevel::Frozen)
        .ok_or(Throw::Pending)?;
    Ok(object.into())
}

fn attributes_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    list: v8::Local<'s, v8::FixedArray>,
    step: usize,
) -> Ret<'s> {
    let (names, values): (Vec<v8::Local<v8::Name>>, Vec<v8::Local<v8::Value>>) =
        attributes_of(scope, list, step)
            .into_iter()
            .map(|(name, value)| {
                (
                    v8::Local::<v8::Name>::from(name),
                    v8::Local::<v8::Value>::from(value),
                )
            })
            .unzip();
    frozen(scope, &names, &values)
}

fn get_module_requests<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    if wrapped.state.synthetic {
        return Ok(v8::Array::new(scope, 0).into());
    }
    let specifier_key = v8::String::new(scope, "specifier").ok_or(Throw::Pending)?;
    let attributes_key = v8::String::new(scope, "attributes").ok_or(Throw::Pending)?;
    let mut requests = Vec::new();
    for request in requests_of(scope, wrapped.module)? {
        let attributes = attributes_object(scope, request.get_import_attributes(), 3)?;
        let values = [request.get_specifier().into(), attributes];
        requests.push(frozen(
            scope,
            &[specifier_key.into(), attributes_key.into()],
            &values,
        )?);
    }
    Ok(v8::Array::new_with_elements(scope, &requests).into())
}

/// `module.link(modules)`: one wrapper for each request, in their order.
fn link<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    let modules = v8::Local::<v8::Array>::try_from(args.get(0))
        .map_err(|_| invalid("The list of modules"))?;
    let requests = if wrapped.state.synthetic {
        Vec::new()
    } else {
        requests_of(scope, wrapped.module)?
    };
    if modules.length() as usize != requests.len() {
        return Err(invalid("The list of modules"));
    }
    let mut linked: Vec<v8::Local<v8::Value>> = Vec::with_capacity(requests.len());
    for index in 0..modules.length() {
        let module = modules.get_index(scope, index).ok_or(Throw::Pending)?;
        let wrapper =
            v8::Local::<v8::Object>::try_from(module).map_err(|_| invalid("A linked module"))?;
        unwrap(scope, wrapper)?;
        linked.push(module);
    }
    for (index, request) in requests.into_iter().enumerate() {
        let key = request_key(
            scope,
            request.get_specifier(),
            request.get_import_attributes(),
            3,
        );
        let first = wrapped.state.requests.get(&key).copied().unwrap_or(index);
        if linked
            .get(first)
            .zip(linked.get(index))
            .is_none_or(|(a, b)| a != b)
        {
            return Err(Throw::error(
                "ERR_MODULE_LINK_MISMATCH",
                format!(
                    "Module request '{key}' at index {index} must be linked to the same module requested at index \
                     {first}"
                ),
            ));
        }
    }
    // A list of our own: the guest may still hold the one it gave.
    let list = v8::Array::new_with_elements(scope, &linked);
    args.this().set_internal_field(field::LINKED, list.into());
    wrapped.state.linked.set(true);
    Ok(v8::undefined(scope).into())
}

/// V8 asks for a request's module while it links a graph.
fn resolve_module<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    attributes: v8::Local<'s, v8::FixedArray>,
    referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    // SAFETY: V8 calls this with the entered context, on the isolate's thread.
    v8::callback_scope!(unsafe scope, context);
    match catch_unwind(AssertUnwindSafe(|| {
        find_linked(scope, specifier, attributes, referrer)
    })) {
        Ok(Ok(module)) => Some(module),
        Ok(Err(throw)) => {
            throw.throw(scope);
            None
        }
        Err(panic) => {
            Env::of(scope).condemn(scope, panic.as_ref());
            None
        }
    }
}

fn find_linked<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    specifier: v8::Local<'s, v8::String>,
    attributes: v8::Local<'s, v8::FixedArray>,
    referrer: v8::Local<'s, v8::Module>,
) -> Result<v8::Local<'s, v8::Module>, Throw> {
    let name = specifier.to_rust_string_lossy(scope);
    let failure = |what: &str| {
        Throw::error(
            "ERR_VM_MODULE_LINK_FAILURE",
            format!("request for '{name}' is {what}"),
        )
    };
    let wrapper = wrapper_of(scope, referrer).ok_or_else(|| failure("from invalid module"))?;
    let wrapped = unwrap(scope, wrapper)?;
    if !wrapped.state.linked.get() {
        return Err(failure("from a module not been linked"));
    }
    let key = request_key(scope, specifier, attributes, 3);
    let index = wrapped
        .state
        .requests
        .get(&key)
        .copied()
        .ok_or_else(|| failure("not in cache"))?;
    let list = field_value(scope, wrapper, field::LINKED)
        .and_then(|list| v8::Local::<v8::Array>::try_from(list).ok());
    let list = list.ok_or_else(|| failure("not in cache"))?;
    let index = u32::try_from(index).map_err(|_| failure("not in cache"))?;
    let target = list.get_index(scope, index).ok_or(Throw::Pending)?;
    let target = v8::Local::<v8::Object>::try_from(target).map_err(|_| failure("not in cache"))?;
    Ok(unwrap(scope, target)?.module)
}

fn instantiate_wrapped(
    scope: &mut v8::PinScope<'_, '_>,
    wrapped: &Wrapped<'_>,
) -> Result<(), Throw> {
    let context = v8::Local::new(scope, wrapped.context);
    let scope = &mut v8::ContextScope::new(scope, context);
    with_exception_line(scope, |scope| {
        wrapped.module.instantiate_module(scope, resolve_module)
    })
    .map(|_| ())
}

fn instantiate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    if !wrapped.state.linked.get() {
        return Err(Throw::error(
            "ERR_VM_MODULE_LINK_FAILURE",
            "module is not linked",
        ));
    }
    instantiate_wrapped(scope, &wrapped)?;
    Ok(v8::undefined(scope).into())
}

/// As [`instantiate`]; a module that requests nothing need not be linked, as when `require()` meets it half imported.
fn instantiate_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    instantiate_wrapped(scope, &wrapped)?;
    let is_async = graph_is_async(wrapped.module);
    Ok(v8::Boolean::new(scope, is_async).into())
}

/// Whether V8 knows the module's exports.
fn is_instantiated(module: v8::Local<v8::Module>) -> bool {
    !matches!(
        module.get_status(),
        v8::ModuleStatus::Uninstantiated | v8::ModuleStatus::Instantiating
    )
}

/// Whether the module or a dependency awaits at its top; V8 answers that only once the graph is linked.
fn graph_is_async(module: v8::Local<v8::Module>) -> bool {
    is_instantiated(module) && module.is_graph_async()
}

/// V8 dies of being asked to evaluate a module that is not ready, or is in the middle of it.
fn check_can_evaluate(module: v8::Local<v8::Module>) -> Result<(), Throw> {
    match module.get_status() {
        v8::ModuleStatus::Uninstantiated | v8::ModuleStatus::Instantiating => Err(plain_error(
            "cannot evaluate, module has not been instantiated",
        )),
        v8::ModuleStatus::Evaluating => {
            Err(plain_error("cannot evaluate, module is being evaluated"))
        }
        _ => Ok(()),
    }
}

/// `module.evaluate(timeout, breakOnSigint)`
fn evaluate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let wrapped = unwrap(scope, args.this())?;
    let timeout = args.get(0).integer_value(scope).unwrap_or(-1);
    check_can_evaluate(wrapped.module)?;
    let scope = &mut v8::ContextScope::new(scope, wrapped.context);
    let break_on_sigint = args.get(1).is_true();
    timed(scope, &env, timeout, break_on_sigint, false, |scope| {
        let result = wrapped.module.evaluate(scope)?;
        run_own_microtasks(scope, wrapped.context);
        Some(result)
    })
}

fn async_module_error<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Throw {
    let mut message = "require() cannot be used on an ESM graph with top-level await. Use import() instead. To see \
                       where the top-level await comes from, use --experimental-print-required-tla."
        .to_owned();
    for (index, what) in [(1, "From"), (0, "Requiring")] {
        if args.get(index).is_string() {
            message.push_str(&format!(
                "\n  {what} {} ",
                args.get(index).to_rust_string_lossy(scope)
            ));
        }
    }
    Throw::error("ERR_REQUIRE_ASYNC_MODULE", message)
}

/// `module.evaluateSync(filename, parentFilename)`: evaluates a graph without top-level await.
fn evaluate_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    check_can_evaluate(wrapped.module)?;
    let result = {
        let scope = &mut v8::ContextScope::new(scope, wrapped.context);
        wrapped.module.evaluate(scope).ok_or(Throw::Pending)?
    };
    let promise = v8::Local::<v8::Promise>::try_from(result).map_err(|_| Throw::Pending)?;
    throw_if_rejected(scope, promise)?;
    if wrapped.module.is_graph_async() {
        print_stalled(
            scope,
            wrapped.module,
            "Error: unexpected top-level await at ",
        );
        return Err(async_module_error(scope, args));
    }
    Ok(wrapped.module.get_module_namespace())
}

/// Writes where the modules of a graph wait; answers whether there was any such place.
fn print_stalled(
    scope: &mut v8::PinScope<'_, '_>,
    module: v8::Local<v8::Module>,
    what: &str,
) -> bool {
    let env = Env::of(scope);
    let stalled = module.get_stalled_top_level_await_message(scope);
    let any = !stalled.is_empty();
    for (_, message) in stalled {
        let place = fatal_exception::source_line(&env, scope, message).unwrap_or_default();
        env.write_stderr(&format!("{what}{place}\n\n\n"));
    }
    any
}

/// The entry module, if it waits at its top level for what has not been settled.
fn unsettled_entry<'s>(scope: &mut v8::PinScope<'s, '_>, env: &Env) -> Option<Wrapped<'s>> {
    let main = env.context(scope)?;
    let key = private_symbol(scope, "entry_point_module_private_symbol");
    let promise_key = private_symbol(scope, "entry_point_promise_private_symbol");
    let promise = main.global(scope).get_private(scope, promise_key)?;
    let promise = v8::Local::<v8::Promise>::try_from(promise).ok()?;
    if promise.state() != v8::PromiseState::Pending {
        return None;
    }
    let entry = main.global(scope).get_private(scope, key)?;
    let wrapper = v8::Local::<v8::Object>::try_from(entry).ok()?;
    let wrapped = unwrap(scope, wrapper).ok()?;
    (!wrapped.state.synthetic && graph_is_async(wrapped.module)).then_some(wrapped)
}

/// Whether the entry module waits at its top level for what has not been settled.
pub fn has_unsettled_top_level_await(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> bool {
    v8::scope!(let scope, scope);
    unsettled_entry(scope, env).is_some()
}

/// What Node does when the loop has run dry: warns about the entry module's unsettled top-level await, unless warnings
/// are off. Answers whether there is one (the exit code is 13 then).
pub fn warn_unsettled_top_level_await(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> bool {
    let Some(wrapped) = unsettled_entry(scope, env) else {
        return false;
    };
    if !options::flag(env, "--warnings") {
        return !wrapped
            .module
            .get_stalled_top_level_await_message(scope)
            .is_empty();
    }
    print_stalled(
        scope,
        wrapped.module,
        "Warning: Detected unsettled top-level await at ",
    )
}

/// Throws the reason of a rejected promise, and takes it back from the unhandled rejections.
fn throw_if_rejected<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    promise: v8::Local<'s, v8::Promise>,
) -> Result<(), Throw> {
    const HANDLER_ADDED_AFTER_REJECT: i32 = 1;
    if promise.state() != v8::PromiseState::Rejected {
        return Ok(());
    }
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    if let Some(callback) = Env::of(scope).function(scope, "promiseRejectCallback") {
        let kind = v8::Integer::new(scope, HANDLER_ADDED_AFTER_REJECT).into();
        callback
            .call(scope, undefined, &[kind, promise.into(), undefined])
            .ok_or(Throw::Pending)?;
    }
    let exception = promise.result(scope);
    let message = v8::Exception::create_message(scope, exception);
    fatal_exception::append_line(&Env::of(scope), scope, exception, message, false);
    scope.throw_exception(exception);
    Err(Throw::Pending)
}

fn throw_if_promise_rejected<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if let Ok(promise) = v8::Local::<v8::Promise>::try_from(args.get(0)) {
        throw_if_rejected(scope, promise)?;
    }
    Ok(v8::undefined(scope).into())
}

fn get_namespace_sync<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    if !is_instantiated(wrapped.module) {
        return Err(plain_error(
            "Cannot get namespace, module has not been instantiated",
        ));
    }
    if wrapped.module.is_graph_async() {
        return Err(async_module_error(scope, args));
    }
    Ok(wrapped.module.get_module_namespace())
}

fn get_namespace<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    if !is_instantiated(wrapped.module) {
        return Err(plain_error(
            "cannot get namespace, module has not been instantiated",
        ));
    }
    Ok(wrapped.module.get_module_namespace())
}

fn get_status<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    let number = match wrapped.module.get_status() {
        v8::ModuleStatus::Uninstantiated => 0,
        v8::ModuleStatus::Instantiating => 1,
        v8::ModuleStatus::Instantiated => 2,
        v8::ModuleStatus::Evaluating => 3,
        v8::ModuleStatus::Evaluated => 4,
        v8::ModuleStatus::Errored => 5,
    };
    Ok(v8::Integer::new(scope, number).into())
}

fn is_graph_async<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    let is_async = graph_is_async(wrapped.module);
    Ok(v8::Boolean::new(scope, is_async).into())
}

fn has_top_level_await<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    let awaits = !wrapped.state.synthetic && graph_is_async(wrapped.module);
    Ok(v8::Boolean::new(scope, awaits).into())
}

fn get_error<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    if wrapped.module.get_status() != v8::ModuleStatus::Errored {
        return Ok(v8::undefined(scope).into());
    }
    Ok(wrapped.module.get_exception())
}

/// `module.setExport(name, value)` of a synthetic module.
fn set_export<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    let name = v8::Local::<v8::String>::try_from(args.get(0))
        .map_err(|_| invalid("The name of an export"))?;
    if !wrapped.state.synthetic || !is_instantiated(wrapped.module) {
        return Err(plain_error("cannot set an export of this module"));
    }
    wrapped
        .module
        .set_synthetic_module_export(scope, name, args.get(1))
        .ok_or(Throw::Pending)?;
    Ok(v8::undefined(scope).into())
}

fn create_cached_data<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrapped = unwrap(scope, args.this())?;
    new_buffer(scope, wrapped.state.cache.clone())
}

/// V8 evaluates a synthetic module.
fn evaluate_synthetic_module<'s>(
    context: v8::Local<'s, v8::Context>,
    module: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Value>> {
    // SAFETY: V8 calls this with the entered context, on the isolate's thread.
    v8::callback_scope!(unsafe scope, context);
    match catch_unwind(AssertUnwindSafe(|| run_steps(scope, module))) {
        Ok(result) => result,
        Err(panic) => {
            Env::of(scope).condemn(scope, panic.as_ref());
            None
        }
    }
}

fn run_steps<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    module: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Value>> {
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    if let Some(wrapper) = wrapper_of(scope, module) {
        let steps = field_value(scope, wrapper, field::STEPS);
        wrapper.set_internal_field(field::STEPS, undefined.into());
        if let Some(steps) = steps.and_then(|steps| v8::Local::<v8::Function>::try_from(steps).ok())
        {
            steps.call(scope, wrapper.into(), &[])?;
        }
    }
    let resolver = v8::PromiseResolver::new(scope)?;
    resolver.resolve(scope, undefined)?;
    Some(resolver.get_promise(scope).into())
}

fn set_import_module_dynamically_callback<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    Env::of(scope).register(scope, "module_wrap.importModuleDynamically", args.get(0));
    Ok(v8::undefined(scope).into())
}

fn set_initialize_import_meta_object_callback<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    Env::of(scope).register(scope, "module_wrap.initializeImportMeta", args.get(0));
    Ok(v8::undefined(scope).into())
}

/// `import()`. The promise settles in every case but the end of the process.
fn import_module_dynamically<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    host_defined_options: v8::Local<'s, v8::Data>,
    resource_name: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    import_attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    let work = AssertUnwindSafe(|| {
        let resolver = v8::PromiseResolver::new(scope)?;
        let failure = {
            v8::tc_scope!(let catch, scope);
            match call_importer(
                catch,
                host_defined_options,
                resource_name,
                specifier,
                import_attributes,
            ) {
                Ok(result) => {
                    resolver.resolve(catch, result)?;
                    return Some(resolver.get_promise(catch));
                }
                Err(_) if catch.has_terminated() => return None,
                Err(throw) => match catch.exception() {
                    Some(exception) => exception,
                    None => throw.into_value(catch)?,
                },
            }
        };
        resolver.reject(scope, failure)?;
        Some(resolver.get_promise(scope))
    });
    match catch_unwind(work) {
        Ok(promise) => promise,
        Err(panic) => {
            Env::of(scope).condemn(scope, panic.as_ref());
            None
        }
    }
}

fn call_importer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    host_defined_options: v8::Local<'s, v8::Data>,
    resource_name: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    import_attributes: v8::Local<'s, v8::FixedArray>,
) -> Ret<'s> {
    let options = v8::Local::<v8::FixedArray>::try_from(host_defined_options)
        .ok()
        .filter(|list| list.length() == 1);
    let given = options
        .and_then(|list| list.get(scope, 0))
        .and_then(|data| v8::Local::<v8::Symbol>::try_from(data).ok());
    let id: v8::Local<v8::Value> = match given {
        Some(id) => id.into(),
        // Code without options of its own (eval of a vm context, for one) belongs to its context.
        None => {
            let key = private_symbol(scope, "host_defined_option_symbol");
            let global = scope.get_current_context().global(scope);
            let id = global.get_private(scope, key).ok_or(Throw::Pending)?;
            if id.is_symbol() {
                id
            } else {
                shared_symbol(scope, "vm_dynamic_import_no_callback")?.into()
            }
        }
    };
    let attributes = attributes_object(scope, import_attributes, 2)?;
    let callback = Env::of(scope)
        .function(scope, "module_wrap.importModuleDynamically")
        .ok_or_else(|| {
            Throw::type_error(
                "ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING",
                "A dynamic import callback was not specified.",
            )
        })?;
    let undefined = v8::undefined(scope).into();
    let args = [id, specifier.into(), attributes, resource_name];
    callback.call(scope, undefined, &args).ok_or(Throw::Pending)
}

/// Fills `import.meta` when a module first asks for it.
unsafe extern "C" fn initialize_import_meta(
    context: v8::Local<v8::Context>,
    module: v8::Local<v8::Module>,
    meta: v8::Local<v8::Object>,
) {
    // SAFETY: V8 calls this with the entered context, on the isolate's thread.
    v8::callback_scope!(unsafe scope, context);
    v8::scope!(let scope, scope);
    let (module, meta) = (v8::Local::new(scope, module), v8::Local::new(scope, meta));
    let work = AssertUnwindSafe(|| {
        let wrapper = wrapper_of(scope, module)?;
        let callback = Env::of(scope).function(scope, "module_wrap.initializeImportMeta")?;
        let key = private_symbol(scope, "host_defined_option_symbol");
        let id = wrapper.get_private(scope, key)?;
        let undefined = v8::undefined(scope).into();
        callback.call(scope, undefined, &[id, meta.into(), wrapper.into()])
    });
    if let Err(panic) = catch_unwind(work) {
        Env::of(scope).condemn(scope, panic.as_ref());
    }
}

/// The original of the facade that is being made.
#[derive(Default)]
struct FacadeOriginal(RefCell<Option<v8::Global<v8::Module>>>);

fn resolve_original<'s>(
    context: v8::Local<'s, v8::Context>,
    _specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
    _referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    // SAFETY: V8 calls this with the entered context, on the isolate's thread.
    v8::callback_scope!(unsafe scope, context);
    let original = Env::of(scope).extension::<FacadeOriginal>();
    let original = original.0.borrow();
    original
        .as_ref()
        .map(|original| v8::Local::new(scope, original))
}

/// `createRequiredModuleFacade(module)`: the namespace of a module that adds `__esModule` to another's exports.
fn create_required_module_facade<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const SOURCE: &str = "export * from 'original'; export { default } from 'original'; export const __esModule = true;";
    const URL: &str = "node:internal/require_module_default_facade";
    let wrapper =
        v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("The module"))?;
    let original = unwrap(scope, wrapper)?.module;
    if !is_instantiated(original) {
        return Err(plain_error("cannot wrap, module has not been instantiated"));
    }
    let url = v8::String::new(scope, URL).ok_or(Throw::Pending)?;
    let text = v8::String::new(scope, SOURCE).ok_or(Throw::Pending)?;
    let origin = v8::ScriptOrigin::new(
        scope,
        url.into(),
        0,
        0,
        true,
        -1,
        None,
        false,
        false,
        true,
        None,
    );
    let mut source = v8::script_compiler::Source::new(text, Some(&origin));
    let facade = v8::script_compiler::compile_module(scope, &mut source).ok_or(Throw::Pending)?;
    let slot = Env::of(scope).extension::<FacadeOriginal>();
    slot.0.replace(Some(v8::Global::new(scope, original)));
    let instantiated = facade.instantiate_module(scope, resolve_original);
    slot.0.replace(None);
    instantiated.ok_or(Throw::Pending)?;
    let promise = facade.evaluate(scope).ok_or(Throw::Pending)?;
    if let Ok(promise) = v8::Local::<v8::Promise>::try_from(promise) {
        throw_if_rejected(scope, promise)?;
    }
    Ok(facade.get_module_namespace())
}
