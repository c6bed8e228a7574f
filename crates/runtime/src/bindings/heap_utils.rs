//! `internalBinding('heap_utils')`: there are no heap snapshots. V8 allocates up to 4 KiB of native memory for each index of
//! an array, each entry of a `WeakMap` and each context that it names, gigabytes for a heap of 32 MB, in one call that
//! nothing can stop and no limit counts.
//! Source: `src/heap_utils.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::fs::argument;
use crate::env::Env;
use crate::permission_model::Scope;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "heap_utils",
    functions: &[
        (
            "createHeapSnapshotStream",
            function!(create_heap_snapshot_stream),
        ),
        ("triggerHeapSnapshot", function!(trigger_heap_snapshot)),
    ],
    ..Binding::DEFAULT
};

fn create_heap_snapshot_stream<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(Throw::unavailable("v8.getHeapSnapshot"))
}

/// `triggerHeapSnapshot(path, options)`
fn trigger_heap_snapshot<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let env = Env::of(scope);
    let path = if args.get(0).is_undefined() {
        let cwd = env.kernel()?.getcwd(&*env.process()?);
        cwd.map_err(|errno| Throw::system(errno, "uv_cwd"))?
    } else {
        argument::path(scope, args.get(0))?.to_vec()
    };
    env.require_permission(Scope::FileSystemWrite, &path)?;
    Err(Throw::unavailable("v8.writeHeapSnapshot"))
}
