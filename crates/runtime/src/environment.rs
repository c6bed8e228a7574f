//! The environment variables of one process, and the `process.env` object.
//!
//! Variables are per process: the guest's changes reach neither the host nor other processes, except children that
//! inherit them. Source of behaviour: `src/node_env_var.cc`.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bindings::options;
use crate::env::Env;
use crate::throw::Throw;

/// Bytes that all names and values of one process may hold together.
const MAX_BYTES: usize = 4 << 20;

/// Variables in the order in which they were set, for the threads that have them in common.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<Mutex<Vec<(String, String)>>>);

impl Store {
    /// A store of its own.
    pub fn new(variables: Vec<(String, String)>) -> Self {
        Self(Arc::new(Mutex::new(variables)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<String> {
        self.lock()
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    }

    /// Every variable.
    pub fn all(&self) -> Vec<(String, String)> {
        self.lock().clone()
    }
}

/// The variables that one thread sees.
#[derive(Debug, Default)]
pub struct Variables {
    store: RefCell<Store>,
    /// Whether the guest's uses of them are told on standard error (`--trace-env`).
    traced: Cell<bool>,
}

impl Variables {
    /// Replaces all variables.
    pub fn replace(&self, variables: Vec<(String, String)>) {
        self.store.replace(Store::new(variables));
    }

    /// What this thread sees, to be seen by another one, too.
    pub fn store(&self) -> Store {
        self.store.borrow().clone()
    }

    /// Makes this thread see `store`.
    pub fn adopt(&self, store: Store) {
        self.store.replace(store);
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<String> {
        self.store.borrow().get(name)
    }

    /// Every variable.
    pub fn all(&self) -> Vec<(String, String)> {
        self.store.borrow().all()
    }

    /// Sets `name`.
    ///
    /// # Errors
    /// `E2BIG` when all variables together would be too long.
    pub fn set(&self, name: String, value: String) -> Result<(), Throw> {
        // `setenv` refuses such a name, and Node says nothing of it.
        if name.is_empty() || name.contains('=') {
            return Ok(());
        }
        let store = self.store();
        let mut variables = store.lock();
        let used: usize = variables
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if used + name.len() + value.len() > MAX_BYTES {
            return Err(Throw::error(
                "E2BIG",
                format!("E2BIG: environment variables may hold {MAX_BYTES} bytes"),
            ));
        }
        match variables.iter_mut().find(|(key, _)| *key == name) {
            Some(variable) => variable.1 = value,
            None => variables.push((name, value)),
        }
        Ok(())
    }

    fn remove(&self, name: &str) {
        self.store.borrow().lock().retain(|(key, _)| key != name);
    }
}

/// What Node's start reads before any JavaScript runs.
const READ_AT_START: &[&str] = &[
    "NODE_DEBUG_NATIVE",
    "NODE_ICU_DATA",
    "NODE_EXTRA_CA_CERTS",
    "OPENSSL_CONF",
    "NODE_COMPILE_CACHE",
];

/// Frames that `--trace-env-js-stack` tells.
const TRACED_FRAMES: usize = 10;

impl Env {
    /// From now on `--trace-env`, if it is given, tells of uses of variables.
    pub fn trace_variables(&self, scope: &mut v8::PinScope<'_, '_>) {
        self.variables
            .traced
            .set(options::flag(self, "--trace-env"));
        for name in READ_AT_START {
            self.trace_variable(scope, "get", Some(name));
        }
    }

    /// Tells of one use of a variable, or of all.
    pub fn trace_variable(&self, scope: &mut v8::PinScope<'_, '_>, what: &str, name: Option<&str>) {
        if !self.variables.traced.get() {
            return;
        }
        let name = name.map_or_else(String::new, |name| format!(" \"{name}\""));
        let text = format!("[--trace-env] {what}{name}\n");
        if options::flag(self, "--trace-env-js-stack") {
            self.write_with_stack(scope, text, TRACED_FRAMES);
        } else {
            self.write_stderr(&text);
        }
    }
}

/// A `process.env` object for this isolate.
pub fn make_object<'s>(scope: &mut v8::PinScope<'s, '_>) -> Option<v8::Local<'s, v8::Object>> {
    let template = v8::ObjectTemplate::new(scope);
    let handlers = v8::NamedPropertyHandlerConfiguration::new()
        .getter(get)
        .setter(set)
        .query(query)
        .deleter(delete)
        .enumerator(enumerate)
        .definer(define)
        .flags(v8::PropertyHandlerFlags::HAS_NO_SIDE_EFFECT);
    template.set_named_property_handler(handlers);
    template.new_instance(scope)
}

fn name_of(scope: &mut v8::PinScope<'_, '_>, key: v8::Local<v8::Name>) -> Option<String> {
    v8::Local::<v8::String>::try_from(key)
        .ok()
        .map(|key| key.to_rust_string_lossy(scope))
}

fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Value>,
) -> v8::Intercepted {
    let env = Env::of(scope);
    let value = name_of(scope, key).and_then(|name| {
        env.trace_variable(scope, "get", Some(&name));
        env.variables.get(&name)
    });
    match value.and_then(|value| v8::String::new(scope, &value)) {
        Some(value) => {
            result.set(value.into());
            v8::Intercepted::kYes
        }
        None => v8::Intercepted::kNo,
    }
}

fn set<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    value: v8::Local<'s, v8::Value>,
    _args: v8::PropertyCallbackArguments<'s>,
    _result: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    if let Err(throw) = store(scope, key, value) {
        throw.throw(scope);
    }
    v8::Intercepted::kYes
}

fn store<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    value: v8::Local<'s, v8::Value>,
) -> Result<(), Throw> {
    let Some(name) = name_of(scope, key) else {
        return Err(Throw::Plain(
            crate::throw::ErrorClass::Type,
            "Cannot convert a Symbol value to a string".to_owned(),
        ));
    };
    warn_of_other_types(scope, value)?;
    let value = value
        .to_string(scope)
        .ok_or(Throw::Pending)?
        .to_rust_string_lossy(scope);
    let env = Env::of(scope);
    env.trace_variable(scope, "set", Some(&name));
    env.variables.set(name.clone(), value)?;
    crate::time_zone::variable_changed(scope, &env, &name);
    Ok(())
}

/// Whether DEP0104 was emitted.
#[derive(Default)]
struct Warned(std::cell::Cell<bool>);

/// DEP0104, once, with `--pending-deprecation`.
fn warn_of_other_types<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<(), Throw> {
    const TEXT: &str = "Assigning any value other than a string, number, or boolean to a process.env property is \
        deprecated. Please make sure to convert the value to a string before setting process.env with it.";
    let env = Env::of(scope);
    if value.is_string()
        || value.is_number()
        || value.is_boolean()
        || !options::flag(&env, "--pending-deprecation")
        || env.extension::<Warned>().0.replace(true)
    {
        return Ok(());
    }
    let process = env.process_object(scope).ok_or(Throw::Pending)?;
    let key = v8::String::new(scope, "emitWarning").ok_or(Throw::Pending)?;
    let emit = process.get(scope, key.into()).ok_or(Throw::Pending)?;
    let Ok(emit) = v8::Local::<v8::Function>::try_from(emit) else {
        return Ok(());
    };
    let mut args = Vec::with_capacity(3);
    for text in [TEXT, "DeprecationWarning", "DEP0104"] {
        args.push(v8::String::new(scope, text).ok_or(Throw::Pending)?.into());
    }
    emit.call(scope, process.into(), &args)
        .ok_or(Throw::Pending)?;
    Ok(())
}

fn query<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Integer>,
) -> v8::Intercepted {
    let env = Env::of(scope);
    let found = name_of(scope, key).and_then(|name| {
        env.trace_variable(scope, "query", Some(&name));
        env.variables.get(&name)
    });
    match found {
        Some(_) => {
            result.set_int32(0);
            v8::Intercepted::kYes
        }
        None => v8::Intercepted::kNo,
    }
}

fn delete<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    if let Some(name) = name_of(scope, key) {
        let env = Env::of(scope);
        env.trace_variable(scope, "delete", Some(&name));
        env.variables.remove(&name);
        crate::time_zone::variable_changed(scope, &env, &name);
    }
    result.set_bool(true);
    v8::Intercepted::kYes
}

fn enumerate<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _args: v8::PropertyCallbackArguments<'s>,
    mut result: v8::ReturnValue<v8::Array>,
) {
    let env = Env::of(scope);
    env.trace_variable(scope, "enumerate environment variables", None);
    let names: Vec<v8::Local<v8::Value>> = env
        .variables
        .all()
        .iter()
        .filter_map(|(name, _)| v8::String::new(scope, name))
        .map(Into::into)
        .collect();
    result.set(v8::Array::new_with_elements(scope, &names));
}

fn define<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: v8::Local<'s, v8::Name>,
    descriptor: &v8::PropertyDescriptor,
    _args: v8::PropertyCallbackArguments<'s>,
    _result: v8::ReturnValue<v8::Boolean>,
) -> v8::Intercepted {
    let plain = descriptor.has_value()
        && descriptor.has_configurable()
        && descriptor.configurable()
        && descriptor.has_writable()
        && descriptor.writable()
        && descriptor.has_enumerable()
        && descriptor.enumerable();
    let outcome = if descriptor.has_value() {
        if plain {
            let value = v8::Local::new(scope, descriptor.value());
            store(scope, key, value)
        } else {
            Err(Throw::type_error(
                "ERR_INVALID_OBJECT_DEFINE_PROPERTY",
                "'process.env' only accepts a configurable, writable, and enumerable data descriptor",
            ))
        }
    } else if descriptor.has_get() || descriptor.has_set() {
        Err(Throw::type_error(
            "ERR_INVALID_OBJECT_DEFINE_PROPERTY",
            "'process.env' does not accept an accessor(getter/setter) descriptor",
        ))
    } else {
        Err(Throw::type_error(
            "ERR_INVALID_OBJECT_DEFINE_PROPERTY",
            "'process.env' only accepts a configurable, writable, and enumerable data descriptor",
        ))
    };
    if let Err(throw) = outcome {
        throw.throw(scope);
    }
    v8::Intercepted::kYes
}
