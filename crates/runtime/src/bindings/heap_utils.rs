//! `internalBinding('heap_utils')`: heap snapshots would show the library's and our own objects, so there are none.
//! Source: `src/heap_utils.cc`.

use crate::binding::{Args, Binding, Ret, function};
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

fn trigger_heap_snapshot<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(Throw::unavailable("v8.writeHeapSnapshot"))
}
