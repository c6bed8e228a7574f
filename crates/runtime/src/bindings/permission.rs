//! `internalBinding('permission')`: `process.permission.has`. Source: `src/permission/permission.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::bindings::fs::argument;
use crate::env::Env;
use crate::permission_model::Scope;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "permission",
    functions: &[("has", function!(has))],
    ..Binding::DEFAULT
};

/// `has(scope, reference)`
fn has<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// No label is longer.
    const LONGEST: usize = 32;
    let label = v8::Local::<v8::String>::try_from(args.get(0))
        .ok()
        .filter(|label| label.length() <= LONGEST)
        .map(|label| label.to_rust_string_lossy(scope));
    let permitted = match label.as_deref().and_then(Scope::from_label) {
        None => false,
        Some(asked) => {
            let reference = if args.get(1).is_null_or_undefined() {
                None
            } else {
                Some(argument::path(scope, args.get(1))?)
            };
            Env::of(scope).is_permitted(asked, reference.as_deref())?
        }
    };
    Ok(v8::Boolean::new(scope, permitted).into())
}
