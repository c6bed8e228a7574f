//! Guards on code that a guest makes at run time: `eval`, `Function` and WebAssembly.
//!
//! Every context has V8's own permission off, so that V8 asks [`from_strings`] each time.

use crate::bindings::contextify::ContextState;
use crate::bindings::errors::source_maps_enabled;
use crate::bindings::options;
use crate::env::Env;

/// The longest source that is compiled, in UTF-16 units. The parser's own memory is outside the heap limit.
pub const MAX_SOURCE_LENGTH: usize = 16 << 20;

/// What is thrown for a longer one.
pub fn too_long_message() -> String {
    format!("Cannot compile a source of more than {MAX_SOURCE_LENGTH} characters")
}

/// Binds the guards to an isolate and its main context.
pub fn install(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    scope.set_modify_code_generation_from_strings_callback(from_strings);
    scope.set_allow_wasm_code_generation_callback(from_wasm);
    if let Some(main) = env.context(scope) {
        main.set_allow_generation_from_strings(false);
    }
}

/// Lets the library keep the source map of code that the main context generates, while source maps are on.
fn cache_source_map<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    source: v8::Local<'s, v8::Value>,
) {
    let context = scope.get_current_context();
    if env.is_ending()
        || env.context(scope).is_none_or(|main| main != context)
        || !source_maps_enabled(env, scope)
    {
        return;
    }
    if let Some(cache) = env.function(scope, "errors.maybeCacheGeneratedSourceMap") {
        v8::tc_scope!(let scope, scope);
        let global = context.global(scope).into();
        cache.call(scope, global, &[source]);
    }
}

/// V8's hints to its optimizer, which `--allow-natives-syntax` names. The syntax itself is a flag of the whole OS process
/// and holds functions that end it, so that nothing but the hints is taken, and none has an effect.
const HINTS: &[&str] = &[
    "%PrepareFunctionForOptimization(",
    "%OptimizeFunctionOnNextCall(",
    "%OptimizeMaglevOnNextCall(",
    "%CompileBaseline(",
    "%NeverOptimizeFunction(",
    "%DeoptimizeFunction(",
    "%ClearFunctionFeedback(",
    "%EnsureFeedbackVectorForFunction(",
];

/// The source with `void` for each hint, in as many characters; `None` when it has none, or is too long.
fn without_hints(source: &str) -> Option<String> {
    if source.len() > MAX_SOURCE_LENGTH || !HINTS.iter().any(|hint| source.contains(hint)) {
        return None;
    }
    let mut source = source.to_owned();
    for hint in HINTS {
        let plain = format!("void{}(", " ".repeat(hint.len().saturating_sub(5)));
        source = source.replace(hint, &plain);
    }
    Some(source)
}

fn from_strings<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    source: v8::Local<'s, v8::Value>,
    _is_code_like: bool,
) -> v8::ModifyCodeGenerationFromStringsResult<'s> {
    let context = scope.get_current_context();
    let env = Env::of(scope);
    let allowed = match context.get_slot::<ContextState>() {
        Some(state) => state.strings,
        None => !options::flag(&env, "--disallow-code-generation-from-strings"),
    };
    if allowed {
        cache_source_map(scope, &env, source);
    }
    if allowed
        && options::flag(&env, "--allow-natives-syntax")
        && let Ok(text) = v8::Local::<v8::String>::try_from(source)
        && let Some(plain) = without_hints(&text.to_rust_string_lossy(scope))
    {
        return v8::ModifyCodeGenerationFromStringsResult {
            codegen_allowed: true,
            modified_source: v8::String::new(scope, &plain),
        };
    }
    let too_long = v8::Local::<v8::String>::try_from(source)
        .is_ok_and(|source| source.length() > MAX_SOURCE_LENGTH);
    // V8 would replace an exception of ours with its own, so the code that is compiled instead throws it.
    let modified_source = if allowed && too_long {
        v8::String::new(
            scope,
            &format!("throw new RangeError('{}')", too_long_message()),
        )
    } else {
        None
    };
    v8::ModifyCodeGenerationFromStringsResult {
        codegen_allowed: allowed,
        modified_source,
    }
}

/// WebAssembly modules, per context (`codeGeneration.wasm` of `vm.createContext`).
unsafe extern "C" fn from_wasm(
    context: v8::Local<v8::Context>,
    _source: v8::Local<v8::String>,
) -> bool {
    context
        .get_slot::<ContextState>()
        .is_none_or(|state| state.wasm)
}
