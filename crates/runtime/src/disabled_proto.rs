//! `--disable-proto`: what becomes of `Object.prototype.__proto__`, in every context. Source: `src/api/environment.cc`.

use crate::binding::{Args, Callback, Ret, function};
use crate::bindings::options;
use crate::env::Env;
use crate::throw::Throw;

const THROWER: Callback = function!(refuse);

/// Applies the option to the context that is entered.
pub fn apply(scope: &mut v8::PinScope<'_, '_>, env: &Env) -> Result<(), Throw> {
    let Some(mode) = options::text(env, "--disable-proto").filter(|mode| !mode.is_empty()) else {
        return Ok(());
    };
    // A plain object's prototype is the context's own, whatever the global object says by now.
    let plain = v8::Object::new(scope);
    let prototype = plain.get_prototype(scope).ok_or(Throw::Pending)?;
    let prototype = v8::Local::<v8::Object>::try_from(prototype).map_err(|_| Throw::Pending)?;
    let name = v8::String::new(scope, "__proto__").ok_or(Throw::Pending)?;
    if mode == "throw" {
        let thrower = v8::FunctionBuilder::<v8::Function>::new_raw(THROWER)
            .constructor_behavior(v8::ConstructorBehavior::Throw)
            .build(scope)
            .ok_or(Throw::Pending)?;
        let mut descriptor =
            v8::PropertyDescriptor::new_from_get_set(thrower.into(), thrower.into());
        descriptor.set_enumerable(false);
        descriptor.set_configurable(true);
        prototype
            .define_property(scope, name.into(), &descriptor)
            .ok_or(Throw::Pending)?;
    } else {
        prototype.delete(scope, name.into()).ok_or(Throw::Pending)?;
    }
    Ok(())
}

fn refuse<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(Throw::error(
        "ERR_PROTO_ACCESS",
        "Accessing Object.prototype.__proto__ has been disallowed with --disable-proto=throw",
    ))
}
