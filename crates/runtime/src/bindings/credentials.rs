//! `internalBinding('credentials')`: the process's user and its environment variables. Source: `src/node_credentials.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "credentials",
    functions: &[("safeGetenv", function!(safe_getenv)), ("getTempDir", function!(get_temp_dir))],
    init: Some(init),
    ..Binding::DEFAULT
};

fn init(scope: &mut v8::PinScope<'_, '_>, _env: &Env, target: v8::Local<v8::Object>) {
    let yes = v8::Boolean::new(scope, true).into();
    set(scope, target, "implementsPosixCredentials", yes);
}

fn safe_getenv<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = args.get(0).to_rust_string_lossy(scope);
    Ok(match Env::of(scope).variables.get(&name) {
        Some(value) => v8::String::new(scope, &value).ok_or(Throw::Pending)?.into(),
        None => v8::undefined(scope).into(),
    })
}

fn get_temp_dir<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let variables = &Env::of(scope).variables;
    let named = ["TMPDIR", "TMP", "TEMP"].iter().find_map(|name| variables.get(name)).filter(|path| !path.is_empty());
    let mut path = named.unwrap_or_else(|| "/tmp".to_owned());
    if path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    Ok(v8::String::new(scope, &path).ok_or(Throw::Pending)?.into())
}
