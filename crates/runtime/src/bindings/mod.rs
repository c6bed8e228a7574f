//! `internalBinding(name)`: the registry of all bindings, one file each, named as Node names them.
//!
//! The shape of every binding of Node 22.23.3 is recorded in `data/surface.json` (constants, function names, classes,
//! shared arrays). [`surface`] builds an object of that shape whose functions throw
//! `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM`; the tables of the files here replace what we have.

pub(crate) mod surface;

pub mod async_context_frame;
pub mod async_wrap;
pub mod blob;
pub mod block_list;
pub mod buffer;
pub mod builtins;
pub mod cares_wrap;
pub mod config;
pub mod contextify;
pub mod credentials;
pub mod crypto;
pub mod encoding_binding;
pub mod errors;
pub mod fs;
pub mod fs_dir;
pub mod fs_event_wrap;
pub mod heap_utils;
pub mod http2;
pub mod http_parser;
pub mod icu;
pub mod inspector;
pub mod js_stream;
pub mod js_udp_wrap;
pub mod messaging;
pub mod mksnapshot;
pub mod module_wrap;
pub mod modules;
pub mod options;
pub mod os;
pub mod performance;
pub mod permission;
pub mod pipe_wrap;
pub mod process_methods;
pub mod process_wrap;
pub mod profiler;
pub mod report;
pub mod request;
pub mod sea;
pub mod serdes;
pub mod shared_cells;
pub mod signal_wrap;
pub mod spawn_options;
pub mod spawn_sync;
pub mod sqlite;
pub mod stream_base;
pub mod stream_pipe;
pub mod stream_wrap;
pub mod string_decoder;
mod string_width;
pub mod symbols;
pub mod task_queue;
pub mod tcp_wrap;
pub mod timers;
pub mod tls_wrap;
pub mod trace_events;
pub mod tty_wrap;
pub mod types;
pub mod typescript;
pub mod udp_wrap;
pub mod undici_parser;
pub mod url;
pub mod util;
pub mod uv;
#[path = "v8.rs"]
pub mod v8_binding;
pub mod wasi;
pub mod wasm_web_api;
pub mod watchdog;
pub mod worker;
pub mod zlib;

use crate::binding::{Args, Binding, Callback, Ret, function};
use crate::env::Env;
use crate::throw::Throw;

/// Every binding that has code of its own, in the order of their external references.
pub static BINDINGS: &[&Binding] = &[
    &async_context_frame::BINDING,
    &async_wrap::BINDING,
    &blob::BINDING,
    &block_list::BINDING,
    &buffer::BINDING,
    &builtins::BINDING,
    &cares_wrap::BINDING,
    &config::BINDING,
    &contextify::BINDING,
    &credentials::BINDING,
    &crypto::BINDING,
    &encoding_binding::BINDING,
    &errors::BINDING,
    &fs::BINDING,
    &fs_dir::BINDING,
    &fs_event_wrap::BINDING,
    &heap_utils::BINDING,
    &http2::BINDING,
    &http_parser::BINDING,
    &icu::BINDING,
    &inspector::BINDING,
    &js_stream::BINDING,
    &js_udp_wrap::BINDING,
    &messaging::BINDING,
    &mksnapshot::BINDING,
    &module_wrap::BINDING,
    &modules::BINDING,
    &options::BINDING,
    &os::BINDING,
    &performance::BINDING,
    &permission::BINDING,
    &pipe_wrap::BINDING,
    &process_methods::BINDING,
    &process_wrap::BINDING,
    &profiler::BINDING,
    &report::BINDING,
    &sea::BINDING,
    &serdes::BINDING,
    &signal_wrap::BINDING,
    &spawn_sync::BINDING,
    &sqlite::BINDING,
    &stream_pipe::BINDING,
    &stream_wrap::BINDING,
    &string_decoder::BINDING,
    &symbols::BINDING,
    &task_queue::BINDING,
    &tcp_wrap::BINDING,
    &timers::BINDING,
    &tls_wrap::BINDING,
    &trace_events::BINDING,
    &tty_wrap::BINDING,
    &types::BINDING,
    &typescript::BINDING,
    &udp_wrap::BINDING,
    &undici_parser::BINDING,
    &url::BINDING,
    &util::BINDING,
    &uv::BINDING,
    &v8_binding::BINDING,
    &wasi::BINDING,
    &wasm_web_api::BINDING,
    &watchdog::BINDING,
    &worker::BINDING,
    &zlib::BINDING,
];

// Each `function!` makes an entry of its own, so what is used twice has a name.
const GET_INTERNAL_BINDING: Callback = function!(get_internal_binding);
const GET_LINKED_BINDING: Callback = function!(get_linked_binding);

/// The table of external references, the same in the process that builds the snapshot and in those that restore it.
pub fn external_references() -> Vec<v8::ExternalReference> {
    let mut references = vec![
        v8::ExternalReference {
            function: GET_INTERNAL_BINDING,
        },
        v8::ExternalReference {
            function: GET_LINKED_BINDING,
        },
    ];
    references.extend(surface::external_references());
    references.extend(
        BINDINGS
            .iter()
            .flat_map(|binding| binding.external_references()),
    );
    references.extend(crate::wasm_types::external_references());
    references.extend(crate::node_lib::external_references());
    references
}

/// The `getInternalBinding` function for `internal/bootstrap/realm`.
pub fn make_loader<'s>(
    scope: &mut v8::PinScope<'s, '_>,
) -> Result<v8::Local<'s, v8::Function>, Throw> {
    v8::FunctionTemplate::new_raw(scope, GET_INTERNAL_BINDING)
        .get_function(scope)
        .ok_or(Throw::Pending)
}

/// The `getLinkedBinding` function for `internal/bootstrap/realm`: there are no linked addons.
pub fn make_linked_loader<'s>(
    scope: &mut v8::PinScope<'s, '_>,
) -> Result<v8::Local<'s, v8::Function>, Throw> {
    v8::FunctionTemplate::new_raw(scope, GET_LINKED_BINDING)
        .get_function(scope)
        .ok_or(Throw::Pending)
}

fn no_such(name: &str) -> Throw {
    Throw::error("ERR_INVALID_MODULE", format!("No such binding: {name}"))
}

fn get_linked_binding<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = args.get(0).to_rust_string_lossy(scope);
    Err(Throw::error(
        "ERR_INVALID_MODULE",
        format!("No such binding was linked: {name}"),
    ))
}

fn get_internal_binding<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name =
        v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| no_such("(not a string)"))?;
    let name = name.to_rust_string_lossy(scope);
    let env = Env::of(scope);
    load(scope, &env, &name)
}

/// The binding `name`, built now if it was not before.
fn load<'s>(scope: &mut v8::PinScope<'s, '_>, env: &Env, name: &str) -> Ret<'s> {
    let key = format!("binding {name}");
    if let Some(known) = env.registered(scope, &key) {
        return Ok(known);
    }
    let object = surface::build(scope, env, name)?.ok_or_else(|| no_such(name))?;
    env.register(scope, &key, object.into());
    Ok(object.into())
}

/// Builds every binding whose classes inherit from another's: templates do not outlive the process that builds the
/// snapshot, so later is too late.
pub fn load_families(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Result<(), Throw> {
    for binding in BINDINGS {
        if binding.classes.iter().any(|class| class.parent.is_some()) {
            v8::scope!(let scope, scope);
            load(scope, env, binding.name)?;
        }
    }
    Ok(())
}

/// Binds isolate-level callbacks after the snapshot was restored.
pub fn restore(scope: &mut v8::PinScope<'_, '_>, env: &Env) {
    for binding in BINDINGS {
        if let Some(restore) = binding.restore {
            restore(scope, env);
        }
    }
}
