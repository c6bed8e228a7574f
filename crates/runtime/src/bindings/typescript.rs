//! `internalBinding('typescript')`: what Node takes from the package amaro. Ours alone; the library's module
//! `internal/deps/amaro/dist/index` (crates/node-lib/js/replace) calls it.

use crate::binding::{Args, Binding, Ret, function};
use crate::realm::set;
use crate::throw::Throw;
use crate::typescript::{FailureKind, SourceKind, SyntaxFailure, TranspileOptions, transpile};

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "typescript",
    functions: &[("transform", function!(transform))],
    ..Binding::DEFAULT
};

/// `transform(source, filename, sourceMap)`: `{ code, map }`, or `{ failure }` with what amaro would throw.
fn transform<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let source = v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "The \"source\" argument must be of type string",
        )
    })?;
    let source = source.to_rust_string_lossy(scope);
    let filename = if args.get(1).is_string() {
        args.get(1).to_rust_string_lossy(scope)
    } else {
        String::new()
    };
    let mut options = TranspileOptions::for_path(&filename);
    if !options.kind.needs_transpile() {
        options.kind = SourceKind::TypeScript;
    }
    options.source_map = args.get(2).is_true();
    let result = v8::Object::new(scope);
    match transpile(&source, &options) {
        Ok(output) => {
            set_text(scope, result, "code", &output.code)?;
            if let Some(map) = output.map {
                set_text(scope, result, "map", &map)?;
            }
        }
        Err(failure) => {
            let failure = failure_object(scope, &failure, &filename)?;
            set(scope, result, "failure", failure.into());
        }
    }
    Ok(result.into())
}

fn failure_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    failure: &SyntaxFailure,
    filename: &str,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let code = match failure.kind {
        FailureKind::Unsupported => "UnsupportedSyntax",
        FailureKind::Internal => {
            return Err(Throw::error(
                "ERR_INTERNAL_ASSERTION",
                failure.message.clone(),
            ));
        }
        _ => "InvalidSyntax",
    };
    let object = v8::Object::new(scope);
    set_text(scope, object, "message", &failure.message)?;
    set_text(scope, object, "code", code)?;
    set_text(scope, object, "filename", filename)?;
    let line = v8::Integer::new_from_unsigned(scope, failure.line).into();
    set(scope, object, "startLine", line);
    let column = v8::Integer::new_from_unsigned(scope, failure.column.saturating_sub(1)).into();
    set(scope, object, "startColumn", column);
    set_text(scope, object, "snippet", &failure.code_frame)?;
    Ok(object)
}

fn set_text(
    scope: &mut v8::PinScope<'_, '_>,
    target: v8::Local<v8::Object>,
    key: &str,
    text: &str,
) -> Result<(), Throw> {
    let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
    set(scope, target, key, text.into());
    Ok(())
}
