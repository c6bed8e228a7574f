//! The startup snapshot: Node's library, booted once.
//!
//! [`build`] runs at build time and gives the blob; [`restore`] makes an isolate from it. Both use the same table of
//! external references. The blob is our own build product, never an input from a guest.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;

use crate::env::{Env, Shared};
use crate::rehearsal::Building;
use crate::throw::Throw;
use crate::{bindings, realm};

/// Index of the context with Node's library, beside the default context.
const MAIN_CONTEXT: usize = 0;
/// Index of the registry object among the context's data.
const REGISTRY_DATA: usize = 0;

/// Classes that those of bindings which are built later inherit from, in the order of the isolate's data.
const PARENTS: &[&str] = &["fs.AsyncWrap", "fs.HandleWrap"];

/// Why no snapshot could be built.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Node's library threw while it was booted.
    #[error("Node's library does not boot: {0}")]
    Boot(String),
    /// V8 could not serialize the heap.
    #[error("V8 made no snapshot")]
    Serialize,
}

/// Boots the library and serializes the heap. Call on a thread from [`crate::engine::spawn`].
///
/// # Errors
/// [`SnapshotError`] when the library throws or V8 refuses.
pub fn build() -> Result<Vec<u8>, SnapshotError> {
    let caches = crate::rehearsal::code_caches()?;
    create(Building {
        keeps_functions: false,
        caches,
        shared_caches: None,
    })
}

fn create(building: Building) -> Result<Vec<u8>, SnapshotError> {
    let references = Cow::Owned(bindings::external_references());
    let mut isolate = v8::Isolate::snapshot_creator(Some(references), None);
    isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
    let shared = Shared::new(
        isolate.thread_safe_handle(),
        crate::event_loop::Inbox::default(),
    );
    let tasks = crate::engine::TaskOwner::new(&isolate, shared.inbox.clone());
    let env = Env::install(&mut isolate, shared);
    env.extension::<RefCell<Building>>().replace(building);
    let outcome = boot_for_snapshot(&mut isolate, &env);
    env.release_handles();
    isolate.remove_slot::<Rc<Env>>();
    drop(env);
    if let Err(error) = outcome {
        // V8 aborts when a snapshot creator is dropped or serialized without a context: leave it, the build ends anyway.
        std::mem::forget(isolate);
        return Err(error);
    }
    // Targets of fresh WeakRefs are roots of the isolate until the job ends: they would be serialized a second time, with
    // everything that they reach, and typed arrays would lose their memory.
    isolate.clear_kept_objects();
    let blob = isolate.create_blob(v8::FunctionCodeHandling::Keep);
    drop(tasks);
    Ok(blob.ok_or(SnapshotError::Serialize)?.to_vec())
}

fn boot_for_snapshot(isolate: &mut v8::OwnedIsolate, env: &Rc<Env>) -> Result<(), SnapshotError> {
    v8::scope!(let scope, isolate);
    // The default context is what `vm.createContext` starts from: JavaScript's own globals and nothing else.
    let plain = v8::Context::new(scope, v8::ContextOptions::default());
    {
        let scope = &mut v8::ContextScope::new(scope, plain);
        let global = plain.global(scope);
        realm::restrict_global(scope, global);
    }
    scope.set_default_context(plain);
    let context = v8::Context::new(scope, v8::ContextOptions::default());
    let scope = &mut v8::ContextScope::new(scope, context);
    boot(scope, env, context)?;
    let registry = env.registry(scope).ok_or(SnapshotError::Serialize)?;
    let index = scope.add_context(context);
    debug_assert_eq!(index, MAIN_CONTEXT);
    let index = scope.add_context_data(context, registry);
    debug_assert_eq!(index, REGISTRY_DATA);
    for name in PARENTS {
        let templates = env.templates.borrow();
        let template = templates.get(*name).ok_or(SnapshotError::Serialize)?;
        let template = v8::Local::new(scope, template);
        scope.add_isolate_data(template);
    }
    Ok(())
}

/// Boots the library in `context`, which must be entered, as it goes into the snapshot.
///
/// # Errors
/// [`SnapshotError::Boot`] when it throws.
pub(crate) fn boot<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    context: v8::Local<'s, v8::Context>,
) -> Result<(), SnapshotError> {
    v8::tc_scope!(let scope, scope);
    realm::boot(scope, env, context)
        .and_then(|()| preload(scope, env))
        .and_then(|()| serialize_callbacks(scope, env))
        .map_err(|throw| SnapshotError::Boot(describe(scope, throw)))
}

/// Modules that nearly every program loads: they go into the snapshot, compiled and run.
const PRELOADED: &[&str] = &[
    "internal/fs/sync_write_stream",
    "internal/fs/streams",
    "internal/fs/promises",
    "internal/modules/esm/assert",
    "internal/modules/esm/get_format",
    "internal/modules/esm/load",
    "internal/modules/esm/loader",
    "internal/modules/esm/module_job",
    "internal/modules/esm/module_map",
    "internal/modules/esm/resolve",
    "internal/modules/run_main",
    "internal/source_map/source_map_cache",
    "internal/abort_controller",
    "stream",
    "stream/promises",
    "string_decoder",
    "timers/promises",
];

/// Options that modules of [`OPTION_READERS`] read when they are loaded.
const EARLY_OPTIONS: &[&str] = &[
    "--experimental-addon-modules",
    "--experimental-default-type",
    "--experimental-detect-module",
    "--experimental-import-meta-resolve",
    "--experimental-strip-types",
    "--input-type",
    "--preserve-symlinks",
    "--preserve-symlinks-main",
];

/// Modules of the snapshot that read options when they are loaded, and those that keep what these export.
const OPTION_READERS: &[&str] = &[
    "internal/modules/esm/assert",
    "internal/modules/esm/formats",
    "internal/modules/esm/get_format",
    "internal/modules/esm/initialize_import_meta",
    "internal/modules/esm/load",
    "internal/modules/esm/loader",
    "internal/modules/esm/module_job",
    "internal/modules/esm/module_map",
    "internal/modules/esm/resolve",
    "internal/modules/run_main",
];

/// Has the library read its options anew where they are not the usual ones, which the snapshot holds, and lets modules that
/// have read theirs while it was built be loaded once more.
pub(crate) fn apply_options(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Result<(), Throw> {
    if env.options().node_options.is_empty() {
        return Ok(());
    }
    let options = realm::require_builtin(scope, env, "internal/options")?;
    let refresh = property(scope, options, "refreshOptions")?;
    let refresh = v8::Local::<v8::Function>::try_from(refresh).map_err(|_| Throw::Pending)?;
    let undefined = v8::undefined(scope).into();
    refresh.call(scope, undefined, &[]).ok_or(Throw::Pending)?;
    let is_early = |(name, _): &(String, _)| EARLY_OPTIONS.contains(&name.as_str());
    if !env.options().node_options.iter().any(is_early) {
        return Ok(());
    }
    let realm = realm::require_builtin(scope, env, "internal/bootstrap/realm")?;
    let class = property(scope, realm, "BuiltinModule")?;
    let map = property(scope, class, "map")?;
    let get = v8::Local::<v8::Function>::try_from(property(scope, map, "get")?)
        .map_err(|_| Throw::Pending)?;
    for id in OPTION_READERS {
        let id = v8::String::new(scope, id).ok_or(Throw::Pending)?;
        let module = get
            .call(scope, map.into(), &[id.into()])
            .ok_or(Throw::Pending)?;
        let Ok(module) = v8::Local::<v8::Object>::try_from(module) else {
            continue;
        };
        let exports = v8::Object::new(scope).into();
        realm::set(scope, module, "exports", exports);
        let no = v8::Boolean::new(scope, false).into();
        realm::set(scope, module, "loaded", no);
    }
    Ok(())
}

fn property<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    key: &str,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let key = v8::String::new(scope, key).ok_or(Throw::Pending)?;
    let value = object.get(scope, key.into()).ok_or(Throw::Pending)?;
    value.try_into().map_err(|_| Throw::Pending)
}

/// Loads what nearly every program loads, and our main script.
fn preload(scope: &mut v8::PinScope<'_, '_>, env: &Rc<Env>) -> Result<(), Throw> {
    bindings::load_families(scope, env)?;
    for id in PRELOADED {
        realm::require_builtin(scope, env, id)?;
    }
    let script = realm::run_main(scope, env, "internal/main/secure_exec")?;
    env.register(scope, crate::process::MAIN_SCRIPT, script);
    Ok(())
}

/// Lets the library drop what must not go into a snapshot.
pub(crate) fn serialize_callbacks(
    scope: &mut v8::PinScope<'_, '_>,
    env: &Rc<Env>,
) -> Result<(), Throw> {
    if let Some(serialize) = env.function(scope, "snapshotSerialize") {
        let undefined = v8::undefined(scope).into();
        serialize
            .call(scope, undefined, &[])
            .ok_or(Throw::Pending)?;
    }
    if let Some(flag) = env.buffer(scope, "mksnapshot.isBuildingSnapshotBuffer") {
        flag.set(0, 0_u8);
    }
    Ok(())
}

fn describe(
    scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, '_, v8::HandleScope<'_>>>,
    throw: Throw,
) -> String {
    let value = match scope.exception() {
        Some(value) => value,
        None => match throw.into_value(scope) {
            Some(value) => value,
            None => return "an exception without a value".to_owned(),
        },
    };
    let text = value.to_rust_string_lossy(scope);
    let stack = v8::Local::<v8::Object>::try_from(value)
        .ok()
        .and_then(|error| {
            let key = v8::String::new(scope, "stack")?;
            let stack = error
                .get(scope, key.into())
                .filter(|stack| stack.is_string())?;
            Some(stack.to_rust_string_lossy(scope))
        });
    stack.unwrap_or(text)
}

/// Parameters for an isolate from `blob`.
pub fn create_params(blob: &'static [u8]) -> v8::CreateParams {
    static REFERENCES: OnceLock<References> = OnceLock::new();
    let References(references) = REFERENCES.get_or_init(|| {
        let mut references = bindings::external_references();
        // With the end that V8 looks for, the list is not copied for each isolate.
        references.push(v8::ExternalReference {
            pointer: std::ptr::null_mut(),
        });
        References(references)
    });
    v8::CreateParams::default()
        .snapshot_blob(v8::StartupData::from(blob))
        .external_references(Cow::Borrowed(references.as_slice()))
}

/// What all isolates' snapshots refer to outside their heaps.
struct References(Vec<v8::ExternalReference>);

// SAFETY: addresses of functions, which no thread changes.
unsafe impl Send for References {}
// SAFETY: as above.
unsafe impl Sync for References {}

/// The context with Node's library, deserialized; [`restore`] binds it.
pub fn main_context<'s>(
    scope: &mut v8::PinScope<'s, '_, ()>,
) -> Option<v8::Local<'s, v8::Context>> {
    // V8 gives a new context `WebAssembly.compileStreaming` only if the isolate can stream by then.
    bindings::wasm_web_api::install(scope);
    v8::Context::from_snapshot(scope, MAIN_CONTEXT, v8::ContextOptions::default())
}

/// Binds a context restored from the snapshot to `env`.
pub fn restore<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Rc<Env>,
    context: v8::Local<'s, v8::Context>,
) -> bool {
    let Ok(registry) = scope.get_context_data_from_snapshot_once::<v8::Object>(REGISTRY_DATA)
    else {
        return false;
    };
    env.set_context(
        v8::Global::new(scope, context),
        v8::Global::new(scope, registry),
    );
    for (index, name) in PARENTS.iter().enumerate() {
        let Ok(data) = scope.get_isolate_data_from_snapshot_once::<v8::Data>(index) else {
            return false;
        };
        if !data.is_function_template() {
            return false;
        }
        // SAFETY: V8 has just said that it is one.
        let template = unsafe { v8::Local::<v8::FunctionTemplate>::cast_unchecked(data) };
        let template = v8::Global::new(scope, template);
        env.templates
            .borrow_mut()
            .insert((*name).to_owned(), template);
    }
    // V8 makes `WebAssembly` anew for each context: it is in no snapshot.
    let global = context.global(scope);
    crate::wasm_types::install(scope, global);
    bindings::restore(scope, env);
    true
}
