//! `internalBinding('contextify')`: `vm` and the CommonJS compiler. Source: `src/node_contextify.cc`.
//!
//! Cached code of a guest's is never read: V8 trusts what its cache holds. `createCachedData` gives bytes that say only
//! which source they stand for, and `cachedData` is accepted when it is these bytes. Our own is in `code_cache.rs`.

mod sandbox;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::surface::json_value;
use crate::bindings::symbols::symbol;
use crate::call_timer::{CallTimer, Outcome, SigintBreak};
use crate::code_cache::{Form, Lookup};
use crate::code_generation::{MAX_SOURCE_LENGTH, install, too_long_message};
use crate::compile_cache::Compilation;
use crate::env::Env;
use crate::fatal_exception;
use crate::realm::{private_symbol, set};
use crate::sigint;
use crate::throw::{ErrorClass, Throw};
use crate::tracer::VM_SCRIPT;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "contextify",
    functions: &[
        ("makeContext", function!(make_context)),
        ("compileFunction", function!(compile_function)),
        (
            "compileFunctionForCJSLoader",
            function!(compile_function_for_cjs_loader),
        ),
        ("containsModuleSyntax", function!(contains_module_syntax)),
        ("startSigintWatchdog", function!(start_sigint_watchdog)),
        ("stopSigintWatchdog", function!(stop_sigint_watchdog)),
        ("watchdogHasPendingSigint", function!(has_pending_sigint)),
        ("measureMemory", function!(measure_memory)),
    ],
    classes: &[Class {
        name: "ContextifyScript",
        constructor: Some(function!(new_script)),
        methods: &[
            ("createCachedData", function!(create_cached_data)),
            ("runInContext", function!(run_in_context)),
        ],
        ..Class::DEFAULT
    }],
    restore: Some(install),
    ..Binding::DEFAULT
};

/// What a context made by `vm.createContext` may do.
pub struct ContextState {
    /// Whether code may be made from strings in it.
    pub strings: bool,
    /// Whether WebAssembly may be compiled in it.
    pub wasm: bool,
    /// Whether globals live on a sandbox object, the context's embedder data [`SANDBOX_SLOT`].
    pub(super) has_sandbox: bool,
    /// Whether its microtasks run after each evaluation, apart from those of the process.
    pub own_microtasks: bool,
}

/// Where a context with `has_sandbox` keeps its sandbox object.
const SANDBOX_SLOT: i32 = 0;

/// What a `ContextifyScript` wraps.
struct ScriptState {
    script: v8::Global<v8::UnboundScript>,
    cache: Vec<u8>,
}

fn invalid(what: &str) -> Throw {
    Throw::type_error("ERR_INVALID_ARG_TYPE", format!("{what} is invalid"))
}

/// Runs the queue of a context that has its own.
pub fn run_own_microtasks(scope: &mut v8::PinScope<'_, '_>, context: v8::Local<v8::Context>) {
    if context
        .get_slot::<ContextState>()
        .is_some_and(|state| state.own_microtasks)
        && let Some(queue) = context.get_microtask_queue()
    {
        queue.perform_checkpoint(scope);
    }
}

/// The source as V8 takes it; refuses what is too long to be compiled.
pub fn checked_source(value: v8::Local<'_, v8::Value>) -> Result<v8::Local<'_, v8::String>, Throw> {
    let source = v8::Local::<v8::String>::try_from(value).map_err(|_| invalid("The source"))?;
    if source.length() > MAX_SOURCE_LENGTH {
        return Err(Throw::range_error(
            "ERR_STRING_TOO_LONG",
            too_long_message(),
        ));
    }
    Ok(source)
}

/// Host-defined options: the one symbol by which `import()` finds its referrer.
pub fn host_options<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    id: v8::Local<'s, v8::Symbol>,
) -> v8::Local<'s, v8::Data> {
    let options = v8::PrimitiveArray::new(scope, 1);
    options.set(scope, 0, id.into());
    options.into()
}

/// The shared symbol called `name`.
pub fn shared_symbol<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
) -> Result<v8::Local<'s, v8::Symbol>, Throw> {
    let env = Env::of(scope);
    v8::Local::try_from(symbol(scope, &env, name)).map_err(|_| invalid(name))
}

/// A buffer that stands for compiled code: a mark, the source's length and its FNV-1a hash.
pub fn cache_of(scope: &mut v8::PinScope<'_, '_>, source: v8::Local<v8::String>) -> Vec<u8> {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let text = source.to_rust_string_lossy(scope);
    let hash = text.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    let mut bytes = b"secure-exec code\0".to_vec();
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&hash.to_le_bytes());
    bytes
}

/// A `Buffer` with these bytes.
pub fn new_buffer<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: Vec<u8>) -> Ret<'s> {
    Ok(crate::array_buffer::buffer_of(scope, &bytes)?.into())
}

/// The context behind `holder`: an object given to `vm.createContext`, or the global of a context made without one.
pub fn context_of_holder<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    holder: v8::Local<'s, v8::Value>,
) -> Option<v8::Local<'s, v8::Context>> {
    let holder = v8::Local::<v8::Object>::try_from(holder).ok()?;
    let key = private_symbol(scope, "contextify_context_private_symbol");
    let wrapper = v8::Local::<v8::Object>::try_from(holder.get_private(scope, key)?).ok()?;
    let context = wrapper.get_creation_context(scope)?;
    context
        .get_slot::<ContextState>()
        .is_some()
        .then_some(context)
}

fn context_or_main<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    holder: v8::Local<'s, v8::Value>,
) -> Result<v8::Local<'s, v8::Context>, Throw> {
    if holder.is_null_or_undefined() {
        return Env::of(scope).context(scope).ok_or(Throw::Pending);
    }
    context_of_holder(scope, holder).ok_or_else(|| invalid("The context"))
}

/// `makeContext(sandbox | vm_context_no_contextify, name, origin, strings, wasm, ownMicrotasks, hostDefinedOptionId)`
fn make_context<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let main = env.context(scope).ok_or(Throw::Pending)?;
    let sandbox = v8::Local::<v8::Object>::try_from(args.get(0)).ok();
    if sandbox.is_none() && !args.get(0).is_symbol() {
        return Err(invalid("The sandbox"));
    }
    let id = v8::Local::<v8::Symbol>::try_from(args.get(6))
        .map_err(|_| invalid("The host defined option"))?;
    let wrapper_key = private_symbol(scope, "contextify_context_private_symbol");
    if let Some(sandbox) = sandbox
        && sandbox.has_private(scope, wrapper_key) != Some(false)
    {
        return Err(invalid("The sandbox"));
    }
    let state = ContextState {
        strings: args.get(3).is_true(),
        wasm: args.get(4).is_true(),
        has_sandbox: sandbox.is_some(),
        own_microtasks: args.get(5).is_true(),
    };
    // The context keeps its queue alive; the handle is needed only until then.
    let queue = state
        .own_microtasks
        .then(|| v8::MicrotaskQueue::new(scope, v8::MicrotasksPolicy::Explicit));
    let global_template = sandbox
        .is_some()
        .then(|| sandbox::global_template(scope, &env));
    let context = v8::Context::new(
        scope,
        v8::ContextOptions {
            global_template,
            global_object: None,
            microtask_queue: queue
                .as_deref()
                .map(|queue| std::ptr::from_ref(queue).cast_mut()),
        },
    );
    drop(queue);
    let token = main.get_security_token(scope);
    context.set_security_token(token);
    context.set_allow_generation_from_strings(false);
    let global = context.global(scope);
    let option_key = private_symbol(scope, "host_defined_option_symbol");
    let wrapper = {
        let scope = &mut v8::ContextScope::new(scope, context);
        if let Some(sandbox) = sandbox {
            let name = v8::Local::new(scope, sandbox.get_constructor_name());
            if name.to_rust_string_lossy(scope) != "Object" {
                let tag = v8::Symbol::get_to_string_tag(scope);
                global
                    .define_own_property(
                        scope,
                        tag.into(),
                        name.into(),
                        v8::PropertyAttribute::DONT_ENUM,
                    )
                    .ok_or(Throw::Pending)?;
            }
        }
        global
            .set_private(scope, option_key, id.into())
            .ok_or(Throw::Pending)?;
        crate::bindings::async_wrap::add_context(scope, &env);
        crate::wasm_types::install(scope, global);
        crate::exposed_gc::install(scope, &env, global)?;
        crate::disabled_proto::apply(scope, &env)?;
        crate::shared_memory::install(scope, &env, global)?;
        v8::Object::new(scope)
    };
    if let Some(sandbox) = sandbox {
        context.set_embedder_data(SANDBOX_SLOT, sandbox.into());
    }
    context.set_slot(Rc::new(state));
    let holder = sandbox.unwrap_or(global);
    holder
        .set_private(scope, wrapper_key, wrapper.into())
        .ok_or(Throw::Pending)?;
    if let Some(sandbox) = sandbox {
        sandbox
            .set_private(scope, option_key, id.into())
            .ok_or(Throw::Pending)?;
    }
    let name = v8::Local::<v8::String>::try_from(args.get(1))
        .map_or_else(|_| String::new(), |name| name.to_rust_string_lossy(scope));
    env.extension::<crate::inspector::Agent>()
        .context_created(context, &name);
    Ok(holder.into())
}

/// Sets what the caller asked about cached code: `given` is accepted when it is what this source's cache would be.
fn answer_cache<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    target: v8::Local<'s, v8::Object>,
    given: v8::Local<'s, v8::Value>,
    cache: &[u8],
    produce: bool,
) -> Result<(), Throw> {
    if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(given) {
        let mut contents = crate::array_buffer::Contents::default();
        let rejected = contents.of(scope, view) != cache;
        let rejected = v8::Boolean::new(scope, rejected).into();
        set(scope, target, "cachedDataRejected", rejected);
    }
    if produce {
        let buffer = new_buffer(scope, cache.to_vec())?;
        set(scope, target, "cachedData", buffer);
        let produced = v8::Boolean::new(scope, true).into();
        set(scope, target, "cachedDataProduced", produced);
    }
    Ok(())
}

/// `new ContextifyScript(code, filename, lineOffset, columnOffset, cachedData, produceCachedData, parsingContext, id)`
fn new_script<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(construct_call_required("ContextifyScript"));
    }
    let env = Env::of(scope);
    let code = checked_source(args.get(0))?;
    let filename =
        v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid("The filename"))?;
    let line = args.get(2).int32_value(scope).unwrap_or(0);
    let column = args.get(3).int32_value(scope).unwrap_or(0);
    let parsing_context = context_or_main(scope, args.get(6))?;
    let id = v8::Local::<v8::Symbol>::try_from(args.get(7))
        .map_err(|_| invalid("The host defined option"))?;
    let options = host_options(scope, id);
    let begun = env.trace_time();
    let script = {
        let scope = &mut v8::ContextScope::new(scope, parsing_context);
        let origin = v8::ScriptOrigin::new(
            scope,
            filename.into(),
            line,
            column,
            true,
            -1,
            None,
            false,
            false,
            false,
            Some(options),
        );
        let mut source = v8::script_compiler::Source::new(code, Some(&origin));
        compiling(scope, |scope| {
            v8::script_compiler::compile_unbound_script(
                scope,
                &mut source,
                v8::script_compiler::CompileOptions::NoCompileOptions,
                v8::script_compiler::NoCacheReason::NoReason,
            )
        })?
    };
    env.trace_since(begun, VM_SCRIPT, "ContextifyScript::New");
    let this = args.this();
    let key = private_symbol(scope, "host_defined_option_symbol");
    this.set_private(scope, key, id.into())
        .ok_or(Throw::Pending)?;
    let cache = cache_of(scope, code);
    answer_cache(scope, this, args.get(4), &cache, args.get(5).is_true())?;
    let source_url = script.get_source_url(scope);
    set(scope, this, "sourceURL", source_url);
    let map_url = script.get_source_mapping_url(scope);
    set(scope, this, "sourceMapURL", map_url);
    let state = ScriptState {
        script: v8::Global::new(scope, script),
        cache,
    };
    let held = state.cache.len();
    env.objects.wrap_with(scope, this, Rc::new(state), held);
    Ok(this.into())
}

/// What Node throws when a class is called without `new`.
pub fn construct_call_required(class: &str) -> Throw {
    Throw::type_error(
        "ERR_CONSTRUCT_CALL_REQUIRED",
        format!("Class constructor {class} cannot be invoked without `new`"),
    )
}

/// Compiles; a syntax error gets its source line before it goes on.
fn compiling<'s, T>(
    scope: &mut v8::PinScope<'s, '_>,
    compile: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, T>>,
) -> Result<v8::Local<'s, T>, Throw> {
    let failure = {
        v8::tc_scope!(let catch, scope);
        match compile(catch) {
            Some(compiled) => return Ok(compiled),
            None if catch.has_terminated() => return Err(Throw::Pending),
            None => caught(catch),
        }
    };
    rethrow_decorated(scope, failure);
    Err(Throw::Pending)
}

type Caught = Option<(v8::Global<v8::Value>, Option<v8::Global<v8::Message>>)>;

/// The exception of a `TryCatch`, to outlive it.
fn caught(catch: &mut v8::PinnedRef<'_, v8::TryCatch<'_, '_, v8::HandleScope<'_>>>) -> Caught {
    let exception = catch.exception()?;
    let message = catch
        .message()
        .map(|message| v8::Global::new(catch, message));
    Some((v8::Global::new(catch, exception), message))
}

fn rethrow_decorated(scope: &mut v8::PinScope<'_, '_>, failure: Caught) {
    if let Some((exception, message)) = failure {
        let exception = v8::Local::new(scope, exception);
        if let Some(message) = message {
            let message = v8::Local::new(scope, message);
            fatal_exception::decorate_stack(&Env::of(scope), scope, exception, message);
        }
        scope.throw_exception(exception);
    }
}

fn create_cached_data<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let state = env
        .objects
        .unwrap::<ScriptState>(scope, args.this())
        .ok_or_else(not_a_script)?;
    new_buffer(scope, state.cache.clone())
}

fn not_a_script() -> Throw {
    Throw::type_error(
        "ERR_INVALID_THIS",
        "Script methods can only be called on script instances.",
    )
}

/// `script.runInContext(sandbox | null, timeout, displayErrors, breakOnSigint, breakOnFirstLine)`
fn run_in_context<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let state = env
        .objects
        .unwrap::<ScriptState>(scope, args.this())
        .ok_or_else(not_a_script)?;
    let context = context_or_main(scope, args.get(0))?;
    let timeout = args.get(1).integer_value(scope).unwrap_or(-1);
    let display_errors = args.get(2).is_true();
    let scope = &mut v8::ContextScope::new(scope, context);
    let begun = env.trace_time();
    let break_on_sigint = args.get(3).is_true();
    let decorate = display_errors;
    let ran = timed(scope, &env, timeout, break_on_sigint, decorate, |scope| {
        let script = v8::Local::new(scope, &state.script).bind_to_current_context(scope);
        let result = script.run(scope)?;
        run_own_microtasks(scope, context);
        Some(result)
    });
    env.trace_since(begun, VM_SCRIPT, "RunInContext");
    ran
}

/// Calls `body` with Node's `timeout` (milliseconds, negative for none). `decorate` gives an error its source line.
pub fn timed<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    timeout: i64,
    break_on_sigint: bool,
    decorate: bool,
    body: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Value>>,
) -> Ret<'s> {
    if env.is_ending() {
        return Err(Throw::Pending);
    }
    v8::tc_scope!(let catch, scope);
    let timer = match u64::try_from(timeout) {
        Ok(timeout) => Some(
            CallTimer::start(env, Duration::from_millis(timeout)).ok_or_else(|| {
                Throw::error(
                    "ERR_WORKER_INIT_FAILED",
                    "No thread for the timeout of this call",
                )
            })?,
        ),
        Err(_) => None,
    };
    let sigint = break_on_sigint.then(|| SigintBreak::start(env)).flatten();
    let result = body(catch);
    match sigint.map_or(Outcome::Elsewhere, |sigint| sigint.stop(env, catch)) {
        Outcome::Fired => {
            if let Some(timer) = timer {
                // The signal was first.
                timer.stop(env, catch);
            }
            catch.reset();
            return Err(Throw::error(
                "ERR_SCRIPT_EXECUTION_INTERRUPTED",
                "Script execution was interrupted by `SIGINT`",
            ));
        }
        Outcome::Terminated | Outcome::Elsewhere => {}
    }
    match timer.map_or(Outcome::Elsewhere, |timer| timer.stop(env, catch)) {
        Outcome::Fired => {
            catch.reset();
            return Err(Throw::error(
                "ERR_SCRIPT_EXECUTION_TIMEOUT",
                format!("Script execution timed out after {timeout}ms"),
            ));
        }
        Outcome::Terminated => return Err(Throw::Pending),
        Outcome::Elsewhere => {}
    }
    match result {
        Some(value) => Ok(value),
        None if catch.has_terminated() => Err(Throw::Pending),
        None => {
            if decorate
                && let (Some(exception), Some(message)) = (catch.exception(), catch.message())
            {
                fatal_exception::decorate_stack(env, catch, exception, message);
            }
            // Thrown anew, it would come from the library's line that called, not from the guest's.
            catch.rethrow();
            Err(Throw::Pending)
        }
    }
}

fn strings_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Vec<v8::Local<'s, v8::String>>, Throw> {
    let Ok(array) = v8::Local::<v8::Array>::try_from(value) else {
        return Ok(Vec::new());
    };
    let mut strings = Vec::new();
    for index in 0..array.length() {
        let item = array.get_index(scope, index).ok_or(Throw::Pending)?;
        strings.push(v8::Local::try_from(item).map_err(|_| invalid("The parameter's name"))?);
    }
    Ok(strings)
}

/// `compileFunction(code, filename, lineOffset, columnOffset, cachedData, produceCachedData, parsingContext,
/// contextExtensions, params, hostDefinedOptionId)`
fn compile_function<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = checked_source(args.get(0))?;
    let filename =
        v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid("The filename"))?;
    let line = args.get(2).int32_value(scope).unwrap_or(0);
    let column = args.get(3).int32_value(scope).unwrap_or(0);
    let context = context_or_main(scope, args.get(6))?;
    let mut extensions = Vec::new();
    if let Ok(array) = v8::Local::<v8::Array>::try_from(args.get(7)) {
        for index in 0..array.length() {
            let item = array.get_index(scope, index).ok_or(Throw::Pending)?;
            extensions.push(
                v8::Local::<v8::Object>::try_from(item)
                    .map_err(|_| invalid("The context extension"))?,
            );
        }
    }
    let parameters = strings_of(scope, args.get(8))?;
    let id = v8::Local::<v8::Symbol>::try_from(args.get(9))
        .map_err(|_| invalid("The host defined option"))?;
    let options = host_options(scope, id);
    let function = {
        let scope = &mut v8::ContextScope::new(scope, context);
        let origin = v8::ScriptOrigin::new(
            scope,
            filename.into(),
            line,
            column,
            true,
            -1,
            None,
            false,
            false,
            false,
            Some(options),
        );
        let mut source = v8::script_compiler::Source::new(code, Some(&origin));
        compiling(scope, |scope| {
            v8::script_compiler::compile_function(
                scope,
                &mut source,
                &parameters,
                &extensions,
                v8::script_compiler::CompileOptions::NoCompileOptions,
                v8::script_compiler::NoCacheReason::NoReason,
            )
        })?
    };
    let key = private_symbol(scope, "host_defined_option_symbol");
    function
        .set_private(scope, key, id.into())
        .ok_or(Throw::Pending)?;
    let result = v8::Object::new(scope);
    set(scope, result, "function", function.into());
    let (source_url, map_url) = urls_of(scope, function);
    set(scope, result, "sourceURL", source_url);
    set(scope, result, "sourceMapURL", map_url);
    let produce = args.get(5).is_true();
    if produce || !args.get(4).is_undefined() {
        let cache = cache_of(scope, code);
        answer_cache(scope, result, args.get(4), &cache, produce)?;
    }
    Ok(result.into())
}

/// The function's name of origin (or its `sourceURL` comment) and the URL of its source map.
fn urls_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    function: v8::Local<'s, v8::Function>,
) -> (v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>) {
    let undefined = v8::undefined(scope).into();
    let origin = function.get_script_origin(scope);
    (
        origin.resource_name().unwrap_or(undefined),
        origin.source_map_url().unwrap_or(undefined),
    )
}

/// What V8 says about syntax that only a module may have.
const ESM_SYNTAX: &[&str] = &[
    "Cannot use import statement outside a module",
    "Unexpected token 'export'",
    "Cannot use 'import.meta' outside a module",
];

/// What V8 says about syntax that is wrong in CommonJS and may be right in a module.
const WRONG_ONLY_IN_COMMON_JS: &[&str] = &[
    "Identifier 'module' has already been declared",
    "Identifier 'exports' has already been declared",
    "Identifier 'require' has already been declared",
    "Identifier '__filename' has already been declared",
    "Identifier '__dirname' has already been declared",
    "await is only valid in async functions and the top level bodies of modules",
    // `f(await x)` and `[await x]`: without the keyword, V8 takes `await` for a name and stumbles over what follows it.
    "missing ) after argument list",
    "SyntaxError: Unexpected",
];

/// The parameters of a CommonJS module's function.
const COMMON_JS_PARAMETERS: &[&str] = &["exports", "require", "module", "__filename", "__dirname"];

fn compile_common_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    code: v8::Local<'s, v8::String>,
    filename: v8::Local<'s, v8::String>,
    id: v8::Local<'s, v8::Symbol>,
    with_parameters: bool,
) -> Option<v8::Local<'s, v8::Function>> {
    let options = host_options(scope, id);
    let origin = v8::ScriptOrigin::new(
        scope,
        filename.into(),
        0,
        0,
        true,
        -1,
        None,
        false,
        false,
        false,
        Some(options),
    );
    let mut compilation = None;
    let (names, cache) = if with_parameters {
        let path = filename.to_rust_string_lossy(scope);
        compilation = Compilation::begin(scope, code, &path, Form::CommonJs);
        let cache = match &compilation {
            Some(compilation) => compilation.lookup(scope, code, Form::CommonJs),
            None => Lookup::of(scope, code, &path, Form::CommonJs),
        };
        (common_js_parameters(scope), cache)
    } else {
        (Vec::new(), Lookup::NONE)
    };
    let function = cache.compile(code, &origin, |source, options| {
        v8::script_compiler::compile_function(
            scope,
            source,
            &names,
            &[],
            options,
            v8::script_compiler::NoCacheReason::NoReason,
        )
    })?;
    if let Some(compilation) = compilation {
        compilation.succeeded();
    }
    Some(function)
}

/// The names of a CommonJS module's parameters.
pub fn common_js_parameters<'s>(
    scope: &mut v8::PinScope<'s, '_>,
) -> Vec<v8::Local<'s, v8::String>> {
    COMMON_JS_PARAMETERS
        .iter()
        .filter_map(|name| v8::String::new(scope, name))
        .collect()
}

/// Whether source that failed as CommonJS with this message is a module.
fn is_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    message: &str,
    code: v8::Local<'s, v8::String>,
    name: v8::Local<'s, v8::String>,
) -> bool {
    if ESM_SYNTAX.iter().any(|known| message.contains(known)) {
        return true;
    }
    if !WRONG_ONLY_IN_COMMON_JS
        .iter()
        .any(|known| message.contains(known))
    {
        return false;
    }
    let Ok(id) = shared_symbol(scope, "source_text_module_default_hdo") else {
        return false;
    };
    let options = host_options(scope, id);
    v8::tc_scope!(let scope, scope);
    let origin = v8::ScriptOrigin::new(
        scope,
        name.into(),
        0,
        0,
        true,
        -1,
        None,
        false,
        false,
        true,
        Some(options),
    );
    let mut source = v8::script_compiler::Source::new(code, Some(&origin));
    v8::script_compiler::compile_module(scope, &mut source).is_some()
}

/// `compileFunctionForCJSLoader(code, filename, isSeaMain, shouldDetectModule)`
fn compile_function_for_cjs_loader<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Ret<'s> {
    let code = checked_source(args.get(0))?;
    let filename =
        v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid("The filename"))?;
    let should_detect = args.get(3).is_true();
    let id = shared_symbol(scope, "vm_dynamic_import_default_internal")?;
    let (function, failure) = {
        v8::tc_scope!(let catch, scope);
        match compile_common_js(catch, code, filename, id, true) {
            Some(function) => (Some(function), None),
            None if catch.has_terminated() => return Err(Throw::Pending),
            None => {
                let message = catch
                    .message()
                    .map(|message| message.get(catch).to_rust_string_lossy(catch));
                let failure = caught(catch);
                catch.reset();
                (None, Some((failure, message.unwrap_or_default())))
            }
        }
    };
    if let Some((failure, message)) = &failure {
        let url = format!("file://{}", filename.to_rust_string_lossy(scope));
        let url = v8::String::new(scope, &url).ok_or(Throw::Pending)?;
        let is_module = is_module(scope, message, code, url);
        if is_module && !should_detect {
            warn_about_module(scope, filename)?;
        }
        if !is_module || !should_detect {
            rethrow_decorated(scope, failure.clone());
            return Err(Throw::Pending);
        }
    }
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    let (source_url, map_url) = match function {
        Some(function) => urls_of(scope, function),
        None => (undefined, undefined),
    };
    let null = v8::null(scope).into();
    let result = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    let rejected = v8::Boolean::new(scope, false).into();
    set(scope, result, "cachedDataRejected", rejected);
    set(scope, result, "sourceMapURL", map_url);
    set(scope, result, "sourceURL", source_url);
    set(
        scope,
        result,
        "function",
        function.map_or(undefined, Into::into),
    );
    let can_parse = v8::Boolean::new(scope, failure.is_some()).into();
    set(scope, result, "canParseAsESM", can_parse);
    Ok(result.into())
}

/// Whether the warning of [`warn_about_module`] was given in this process.
#[derive(Default)]
struct Warned(RefCell<bool>);

/// Warns once that a file would load if it were called a module.
fn warn_about_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    filename: v8::Local<'s, v8::String>,
) -> Result<(), Throw> {
    let env = Env::of(scope);
    if env.extension::<Warned>().0.replace(true) {
        return Ok(());
    }
    let Some(warn) = env.function(scope, "emitWarningSync") else {
        return Ok(());
    };
    let text = format!(
        "Failed to load the ES module: {}. Make sure to set \"type\": \"module\" in the nearest package.json file or \
         use the .mjs extension.",
        filename.to_rust_string_lossy(scope)
    );
    let text = v8::String::new(scope, &text).ok_or(Throw::Pending)?;
    let undefined = v8::undefined(scope).into();
    // A listener of the guest's that throws wins over the syntax error.
    warn.call(scope, undefined, &[text.into()])
        .map(|_| ())
        .ok_or(Throw::Pending)
}

/// `containsModuleSyntax(code, filename, resourceName, withoutCommonJsVariables)`
fn contains_module_syntax<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let code = checked_source(args.get(0))?;
    let filename =
        v8::Local::<v8::String>::try_from(args.get(1)).map_err(|_| invalid("The filename"))?;
    let name = v8::Local::<v8::String>::try_from(args.get(2)).unwrap_or(filename);
    let with_parameters = !args.get(3).is_string();
    let id = shared_symbol(scope, "vm_dynamic_import_default_internal")?;
    let message = {
        v8::tc_scope!(let catch, scope);
        if compile_common_js(catch, code, filename, id, with_parameters).is_some() {
            None
        } else if catch.has_terminated() {
            return Err(Throw::Pending);
        } else {
            catch
                .message()
                .map(|message| message.get(catch).to_rust_string_lossy(catch))
        }
    };
    let result = message.is_some_and(|message| is_module(scope, &message, code, name));
    Ok(v8::Boolean::new(scope, result).into())
}

/// Guests receive no signal from a terminal: there is never one to watch for.
fn start_sigint_watchdog<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let started = sigint::keep(&Env::of(scope));
    Ok(v8::Boolean::new(scope, started).into())
}

fn stop_sigint_watchdog<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let had_pending = sigint::stop_keeping(&Env::of(scope));
    Ok(v8::Boolean::new(scope, had_pending).into())
}

fn has_pending_sigint<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let is_pending = Env::of(scope).shared().sigint.is_pending();
    Ok(v8::Boolean::new(scope, is_pending).into())
}

/// `measureMemory(mode, execution)`: a promise for the memory of all contexts, or of each. V8's measurement of one
/// context cannot be reached: what one has is told as an equal share, and as anything up to the whole.
fn measure_memory<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// `constants.measureMemory.mode.DETAILED`
    const DETAILED: i32 = 1;
    let detailed = args.get(0).int32_value(scope).ok_or(Throw::Pending)? == DETAILED;
    let env = Env::of(scope);
    let used = env.memory(scope).heap_used();
    let measured = |bytes: usize, least: usize| json!({ "jsMemoryEstimate": bytes, "jsMemoryRange": [least, used] });
    let mut result = json!({ "total": measured(used, used) });
    if detailed && let Some(result) = result.as_object_mut() {
        let others = crate::bindings::async_wrap::contexts_of_vm(&env);
        let share = measured(used / (others + 1), 0);
        result.insert("current".to_owned(), share.clone());
        result.insert("other".to_owned(), vec![share; others].into());
    }
    let result = json_value(scope, &result)?;
    let resolver = v8::PromiseResolver::new(scope).ok_or(Throw::Pending)?;
    resolver.resolve(scope, result).ok_or(Throw::Pending)?;
    Ok(resolver.get_promise(scope).into())
}

/// An error without a code.
pub fn plain_error(message: &str) -> Throw {
    Throw::Plain(ErrorClass::Error, message.to_owned())
}
