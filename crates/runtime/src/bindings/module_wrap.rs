//! `internalBinding('module_wrap')`: ECMAScript modules. Source: `src/module_wrap.cc`.

use crate::binding::{Args, Binding, Ret, function};
use crate::env::Env;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "module_wrap",
    functions: &[
        ("setImportModuleDynamicallyCallback", function!(set_import_module_dynamically_callback)),
        ("setInitializeImportMetaObjectCallback", function!(set_initialize_import_meta_object_callback)),
    ],
    ..Binding::DEFAULT
};

fn set_import_module_dynamically_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "module_wrap.importModuleDynamically", args.get(0));
    Ok(v8::undefined(scope).into())
}

fn set_initialize_import_meta_object_callback<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    Env::of(scope).register(scope, "module_wrap.initializeImportMeta", args.get(0));
    Ok(v8::undefined(scope).into())
}
