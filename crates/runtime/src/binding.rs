//! How a Rust function becomes a function of an `internalBinding`.
//!
//! ```text
//! guest JavaScript -> extern "C" entry made by function! -> dispatch() -> fn(scope, args) -> Ret
//!                                                             |  catches panics, throws errors
//! ```
//!
//! Every function here is a system call: the guest can call it with any receiver and any arguments. Methods of a
//! [`Class`] carry a V8 signature, so that V8 itself refuses a foreign receiver with "Illegal invocation".

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::env::Env;
use crate::throw::Throw;

/// The arguments of one call.
pub type Args<'s> = v8::FunctionCallbackArguments<'s>;
/// What a binding function answers: a value for the guest or an exception.
pub type Ret<'s> = Result<v8::Local<'s, v8::Value>, Throw>;
/// A function as V8 calls it.
pub type Callback = v8::FunctionCallback;

/// One function of a binding: its name in the guest and its entry.
pub type Function = (&'static str, Callback);

/// A class of a binding. Its constructor becomes a property of the binding object unless `hidden`.
pub struct Class {
    /// Name as the guest sees it, and the key for [`Env::class`] together with the binding's name.
    pub name: &'static str,
    /// The class it inherits from, as `"binding.Class"`; it must stand earlier in the registry.
    pub parent: Option<&'static str>,
    /// Runs for `new Class()`; `None` makes a class that the guest cannot construct ("Illegal constructor").
    pub constructor: Option<Callback>,
    /// Methods of the prototype; their receiver is checked by V8.
    pub methods: &'static [Function],
    /// Methods of each instance itself; their receiver is checked by V8.
    pub own_methods: &'static [Function],
    /// Accessors of the prototype: name, getter, setter.
    pub accessors: &'static [(&'static str, Callback, Option<Callback>)],
    /// Getters of each instance's own properties: name, getter.
    pub instance_getters: &'static [(&'static str, Callback)],
    /// Whether the constructor stays off the binding object.
    pub hidden: bool,
    /// Internal fields of an instance beside the one that the object table uses (index 0).
    pub extra_fields: usize,
}

impl Class {
    /// A class with nothing but a name, for struct update syntax.
    pub const DEFAULT: Self = Self {
        name: "",
        parent: None,
        constructor: None,
        methods: &[],
        own_methods: &[],
        accessors: &[],
        instance_getters: &[],
        hidden: false,
        extra_fields: 0,
    };
}

/// Fills in what a table cannot say. Runs once, while the startup snapshot is built.
pub type Init = for<'s, 'i> fn(&mut v8::PinScope<'s, 'i>, &Env, v8::Local<'s, v8::Object>);

/// An `internalBinding`, named as Node names it.
pub struct Binding {
    /// The name that `internalBinding()` is called with.
    pub name: &'static str,
    /// Functions that replace the throwing stubs of the recorded surface.
    pub functions: &'static [Function],
    /// Classes that replace those of the recorded surface.
    pub classes: &'static [Class],
    /// Callbacks that are reached by neither table (interceptors, accessors made in `init`).
    pub references: fn() -> Vec<v8::ExternalReference>,
    /// Sets properties that are neither function nor class.
    pub init: Option<Init>,
    /// Runs in every process after the snapshot was restored, before any guest code: binds isolate-level callbacks.
    pub restore: Option<for<'s, 'i> fn(&mut v8::PinScope<'s, 'i>, &Env)>,
}

impl Binding {
    /// A binding with nothing but a name, for struct update syntax.
    pub const DEFAULT: Self = Self {
        name: "",
        functions: &[],
        classes: &[],
        references: Vec::new,
        init: None,
        restore: None,
    };

    /// Every callback of this binding, in a fixed order, for the snapshot's table of external references.
    pub fn external_references(&self) -> Vec<v8::ExternalReference> {
        let functions = self.functions.iter().map(|(_, callback)| *callback);
        let classes = self.classes.iter().flat_map(|class| {
            let methods = class
                .methods
                .iter()
                .chain(class.own_methods)
                .map(|(_, callback)| *callback);
            let accessors = class
                .accessors
                .iter()
                .flat_map(|(_, getter, setter)| Some(*getter).into_iter().chain(*setter));
            class
                .constructor
                .into_iter()
                .chain(methods)
                .chain(accessors)
                .chain(class.instance_getters.iter().map(|(_, getter)| *getter))
        });
        let mut references: Vec<_> = functions
            .chain(classes)
            .map(|function| v8::ExternalReference { function })
            .collect();
        references.extend((self.references)());
        references
    }
}

/// Makes V8's entry for a binding function of type `fn(&mut v8::PinScope<'s, '_>, &Args<'s>) -> Ret<'s>`.
macro_rules! function {
    ($function:path) => {{
        unsafe extern "C" fn entry(info: *const v8::FunctionCallbackInfo) {
            // SAFETY: V8 calls this entry with a valid info that outlives the call.
            unsafe { $crate::binding::dispatch(info, $function) }
        }
        entry as $crate::binding::Callback
    }};
}
pub(crate) use function;

/// Runs a binding function: throws its error, turns a panic into the end of the process.
///
/// # Safety
/// `info` must be what V8 passed to the callback that is running.
pub unsafe fn dispatch<F>(info: *const v8::FunctionCallbackInfo, function: F)
where
    F: for<'s, 'i> Fn(&mut v8::PinScope<'s, 'i>, &Args<'s>) -> Ret<'s>,
{
    // SAFETY: the caller passes V8's own pointer, valid for this call.
    let info = unsafe { &*info };
    let _unlimited = crate::allocator::Suspended::new();
    v8::callback_scope!(unsafe scope, info);
    let args = v8::FunctionCallbackArguments::from_function_callback_info(info);
    let mut result = v8::ReturnValue::<v8::Value>::from_function_callback_info(info);
    match catch_unwind(AssertUnwindSafe(|| function(scope, &args))) {
        Ok(Ok(value)) => result.set(value),
        Ok(Err(throw)) => throw.throw(scope),
        Err(panic) => Env::of(scope).condemn(scope, panic.as_ref()),
    }
}

/// The external reference of a native data property's getter.
pub fn accessor_reference(
    getter: impl v8::MapFnTo<v8::AccessorNameGetterCallback>,
) -> v8::ExternalReference {
    let getter: v8::AccessorNameGetterCallback = getter.map_fn_to();
    v8::ExternalReference {
        pointer: getter as *mut std::ffi::c_void,
    }
}
