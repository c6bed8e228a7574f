//! `internalBinding('async_context_frame')`: the value that V8 carries across promises, for `AsyncLocalStorage`.
//! Source: `src/async_context_frame.cc`.

use crate::binding::{Args, Binding, Ret, function};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "async_context_frame",
    functions: &[
        ("getContinuationPreservedEmbedderData", function!(get)),
        ("setContinuationPreservedEmbedderData", function!(set)),
    ],
    ..Binding::DEFAULT
};

fn get<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Ok(scope.get_continuation_preserved_embedder_data())
}

fn set<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    scope.set_continuation_preserved_embedder_data(args.get(0));
    Ok(v8::undefined(scope).into())
}
