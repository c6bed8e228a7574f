//! What an uncaught exception writes to standard error, in Node's form. Source: `src/node_errors.cc`.

use crate::env::Env;

/// Writes the report of an uncaught exception to the guest's standard error and keeps it for the host.
pub fn report<'s>(
    env: &Env,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    _message: Option<v8::Local<'s, v8::Message>>,
) {
    let text = exception.to_detail_string(scope).map(|text| text.to_rust_string_lossy(scope)).unwrap_or_default();
    let stack = v8::Local::<v8::Object>::try_from(exception).ok().and_then(|o| {
        let k = v8::String::new(scope, "stack")?;
        o.get(scope, k.into())
    }).map(|s| s.to_rust_string_lossy(scope)).unwrap_or_default();
    env.write_stderr(&format!("Uncaught {text}\n{stack}\n"));
}
