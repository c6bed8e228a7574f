//! The globals of a context made by `vm.createContext(object)`: every access goes to the object first, then to the
//! context's real global. Source: the property callbacks of `src/node_contextify.cc`.
//!
//! V8 no longer tells interceptors the receiver. Node needs it to leave `x = 1` in strict mode alone when `x` is not
//! declared; V8 throws the `ReferenceError` before it asks the interceptor, so nothing is lost.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{ContextState, SANDBOX_SLOT};
use crate::env::Env;

/// One template for all contexts of an isolate.
#[derive(Default)]
struct Template(RefCell<Option<v8::Global<v8::ObjectTemplate>>>);

/// The template of a global object whose properties live on a sandbox.
pub fn global_template<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
) -> v8::Local<'s, v8::ObjectTemplate> {
    let kept = env.extension::<Template>();
    if let Some(known) = kept.0.borrow().as_ref() {
        return v8::Local::new(scope, known);
    }
    let template = v8::ObjectTemplate::new(scope);
    template.set_named_property_handler(
        v8::NamedPropertyHandlerConfiguration::new()
            .getter(named_getter)
            .setter(named_setter)
            .query(named_query)
            .deleter(named_deleter)
            .enumerator(named_enumerator)
            .definer(named_definer)
            .descriptor(named_descriptor)
            .flags(v8::PropertyHandlerFlags::HAS_NO_SIDE_EFFECT),
    );
    template.set_indexed_property_handler(
        v8::IndexedPropertyHandlerConfiguration::new()
            .getter(indexed_getter)
            .setter(indexed_setter)
            .query(indexed_query)
            .deleter(indexed_deleter)
            .enumerator(indexed_enumerator)
            .definer(indexed_definer)
            .descriptor(indexed_descriptor)
            .flags(v8::PropertyHandlerFlags::HAS_NO_SIDE_EFFECT),
    );
    kept.0.replace(Some(v8::Global::new(scope, template)));
    template
}

use v8::Intercepted::{kNo as NO, kYes as YES};

type Key<'s> = v8::Local<'s, v8::Name>;
type Info<'s> = v8::PropertyCallbackArguments<'s>;

/// The two objects behind a global.
#[derive(Clone, Copy)]
struct Sides<'s> {
    sandbox: v8::Local<'s, v8::Object>,
    global: v8::Local<'s, v8::Object>,
}

/// Runs `body` in the global's own context; `fallback` while that context is still being made. A panic ends the process.
fn within<'s, T: Copy>(
    scope: &mut v8::PinScope<'s, '_>,
    info: &Info<'s>,
    fallback: T,
    body: impl FnOnce(&mut v8::PinScope<'s, '_>, Sides<'s>) -> T,
) -> T {
    let guarded = AssertUnwindSafe(|| {
        let context = info.holder().get_creation_context(scope)?;
        if !context.get_slot::<ContextState>()?.has_sandbox {
            return None;
        }
        let sandbox = context.get_embedder_data(scope, SANDBOX_SLOT)?;
        let sandbox = v8::Local::<v8::Object>::try_from(sandbox).ok()?;
        let global = context.global(scope);
        let scope = &mut v8::ContextScope::new(scope, context);
        Some(body(scope, Sides { sandbox, global }))
    });
    match catch_unwind(guarded) {
        Ok(answer) => answer.unwrap_or(fallback),
        Err(panic) => {
            Env::of(scope).condemn(scope, panic.as_ref());
            fallback
        }
    }
}

fn name_of<'s>(scope: &mut v8::PinScope<'s, '_>, index: u32) -> Option<Key<'s>> {
    v8::Integer::new_from_unsigned(scope, index)
        .to_string(scope)
        .map(Into::into)
}

fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    sides: Sides<'s>,
) -> Option<v8::Local<'s, v8::Value>> {
    // As in Node, an accessor of the sandbox that throws counts as no property.
    v8::tc_scope!(let scope, scope);
    let found = match sides.sandbox.get_real_named_property(scope, key) {
        Some(value) => Some(value),
        None if scope.has_terminated() => None,
        None => sides.global.get_real_named_property(scope, key),
    };
    found.map(|value| {
        if value == sides.sandbox {
            sides.global.into()
        } else {
            value
        }
    })
}

fn attributes(
    scope: &mut v8::PinScope<'_, '_>,
    object: v8::Local<v8::Object>,
    key: Key<'_>,
) -> Option<v8::PropertyAttribute> {
    if object.has_real_named_property(scope, key)? {
        object.get_real_named_property_attributes(scope, key)
    } else {
        None
    }
}

fn store<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    value: v8::Local<'s, v8::Value>,
    sides: Sides<'s>,
) -> v8::Intercepted {
    let on_global = sides.global.get_real_named_property_attributes(scope, key);
    let on_sandbox = sides.sandbox.get_real_named_property_attributes(scope, key);
    let read_only = |found: &Option<v8::PropertyAttribute>| {
        found
            .as_ref()
            .is_some_and(v8::PropertyAttribute::is_read_only)
    };
    if read_only(&on_global) || read_only(&on_sandbox) {
        return NO;
    }
    if on_global.is_none() && on_sandbox.is_none() && key.is_symbol() {
        return NO;
    }
    if sides.sandbox.set(scope, key.into(), value).is_none() || on_sandbox.is_none() {
        return NO;
    }
    // An accessor has taken the value: the real global must not get a data property of that name.
    let Some(descriptor) = sides.sandbox.get_own_property_descriptor(scope, key) else {
        return NO;
    };
    let Ok(descriptor) = v8::Local::<v8::Object>::try_from(descriptor) else {
        return NO;
    };
    for accessor in ["get", "set"] {
        if let Some(name) = v8::String::new(scope, accessor)
            && descriptor.has_own_property(scope, name.into()) == Some(true)
        {
            return YES;
        }
    }
    NO
}

fn query(scope: &mut v8::PinScope<'_, '_>, key: Key<'_>, sides: Sides<'_>) -> Option<u32> {
    let found =
        attributes(scope, sides.sandbox, key).or_else(|| attributes(scope, sides.global, key));
    found.map(|found| found.as_u32())
}

fn descriptor<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    sides: Sides<'s>,
) -> Option<v8::Local<'s, v8::Value>> {
    if sides.sandbox.has_own_property(scope, key) != Some(true) {
        return None;
    }
    sides.sandbox.get_own_property_descriptor(scope, key)
}

fn define<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    wanted: &v8::PropertyDescriptor,
    sides: Sides<'s>,
) {
    let on_global = sides.global.get_real_named_property_attributes(scope, key);
    if on_global.is_some_and(|found| found.is_read_only() && found.is_dont_delete()) {
        return;
    }
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    let mut copy = if wanted.has_get() || wanted.has_set() {
        let getter = if wanted.has_get() {
            wanted.get()
        } else {
            undefined
        };
        let setter = if wanted.has_set() {
            wanted.set()
        } else {
            undefined
        };
        v8::PropertyDescriptor::new_from_get_set(getter, setter)
    } else {
        let value = if wanted.has_value() {
            wanted.value()
        } else {
            undefined
        };
        if wanted.has_writable() {
            v8::PropertyDescriptor::new_from_value_writable(value, wanted.writable())
        } else {
            v8::PropertyDescriptor::new_from_value(value)
        }
    };
    if wanted.has_enumerable() {
        copy.set_enumerable(wanted.enumerable());
    }
    if wanted.has_configurable() {
        copy.set_configurable(wanted.configurable());
    }
    // As in Node the definition goes on to the real global as well.
    let _ = sides.sandbox.define_property(scope, key, &copy);
}

fn named_getter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Value>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        match get(scope, key, sides) {
            Some(value) => {
                answer.set(value);
                YES
            }
            None => NO,
        }
    })
}

fn named_setter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    value: v8::Local<'s, v8::Value>,
    info: Info<'s>,
    _answer: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        store(scope, key, value, sides)
    })
}

fn named_query<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Integer>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        match query(scope, key, sides) {
            Some(attributes) => {
                answer.set_uint32(attributes);
                YES
            }
            None => NO,
        }
    })
}

fn named_deleter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        if sides.sandbox.delete(scope, key.into()) == Some(true) {
            return NO;
        }
        answer.set_bool(false);
        YES
    })
}

fn named_definer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    wanted: &v8::PropertyDescriptor,
    info: Info<'s>,
    _answer: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    within(scope, &info, (), |scope, sides| {
        define(scope, key, wanted, sides);
    });
    NO
}

fn named_descriptor<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: Key<'s>,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Value>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        match descriptor(scope, key, sides) {
            Some(value) => {
                answer.set(value);
                YES
            }
            None => NO,
        }
    })
}

fn named_enumerator<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Array>,
) {
    within(scope, &info, (), |scope, sides| {
        let wanted = v8::GetPropertyNamesArgsBuilder::new()
            .mode(v8::KeyCollectionMode::OwnOnly)
            .property_filter(v8::PropertyFilter::ALL_PROPERTIES)
            .index_filter(v8::IndexFilter::SkipIndices)
            .build();
        if let Some(names) = sides.sandbox.get_property_names(scope, wanted) {
            answer.set(names);
        }
    });
}

fn indexed_getter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    index: u32,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Value>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        match name_of(scope, index).and_then(|key| get(scope, key, sides)) {
            Some(value) => {
                answer.set(value);
                YES
            }
            None => NO,
        }
    })
}

fn indexed_setter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    index: u32,
    value: v8::Local<'s, v8::Value>,
    info: Info<'s>,
    _answer: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        match name_of(scope, index) {
            Some(key) => store(scope, key, value, sides),
            None => NO,
        }
    })
}

fn indexed_query<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    index: u32,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Integer>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        match name_of(scope, index).and_then(|key| query(scope, key, sides)) {
            Some(attributes) => {
                answer.set_uint32(attributes);
                YES
            }
            None => NO,
        }
    })
}

fn indexed_deleter<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    index: u32,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        if sides.sandbox.delete_index(scope, index) == Some(true) {
            return NO;
        }
        answer.set_bool(false);
        YES
    })
}

fn indexed_definer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    index: u32,
    wanted: &v8::PropertyDescriptor,
    info: Info<'s>,
    _answer: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    within(scope, &info, (), |scope, sides| {
        if let Some(key) = name_of(scope, index) {
            define(scope, key, wanted, sides);
        }
    });
    NO
}

fn indexed_descriptor<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    index: u32,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Value>,
) -> v8::Intercepted {
    within(scope, &info, NO, |scope, sides| {
        match name_of(scope, index).and_then(|key| descriptor(scope, key, sides)) {
            Some(value) => {
                answer.set(value);
                YES
            }
            None => NO,
        }
    })
}

fn indexed_enumerator<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    info: Info<'s>,
    mut answer: v8::ReturnValue<v8::Array>,
) {
    within(scope, &info, (), |scope, sides| {
        let wanted = v8::GetPropertyNamesArgsBuilder::new()
            .mode(v8::KeyCollectionMode::OwnOnly)
            .property_filter(v8::PropertyFilter::SKIP_SYMBOLS)
            .index_filter(v8::IndexFilter::IncludeIndices)
            .build();
        let Some(names) = sides.sandbox.get_property_names(scope, wanted) else {
            return;
        };
        let mut indices = Vec::new();
        for at in 0..names.length() {
            match names.get_index(scope, at) {
                Some(name) if name.is_number() => indices.push(name),
                Some(_) => {}
                None => return,
            }
        }
        answer.set(v8::Array::new_with_elements(scope, &indices));
    });
}
