//! Builds a binding object from Node's recorded surface and our tables.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::binding::{Args, Binding, Callback, Class, Ret, function};
use crate::env::Env;
use crate::realm::set;
use crate::throw::Throw;

/// One recorded property.
#[derive(Deserialize)]
struct Entry {
    /// f function, c class, v value, inf Infinity, u undefined, big BigInt, s symbol, t typed array, a array, o object
    #[serde(rename = "k")]
    kind: String,
    #[serde(rename = "v", default)]
    value: Json,
    #[serde(rename = "t", default)]
    array_type: String,
    #[serde(rename = "l", default)]
    length: usize,
    #[serde(rename = "m", default)]
    methods: Vec<String>,
    #[serde(rename = "name", default)]
    name: String,
    #[serde(rename = "nul", default)]
    null_prototype: bool,
    /// Its numbers and texts can be neither changed nor deleted.
    #[serde(rename = "ro", default)]
    read_only: bool,
}

#[derive(Deserialize)]
struct Surface {
    bindings: BTreeMap<String, serde_json::Map<String, Json>>,
}

#[expect(
    clippy::expect_used,
    reason = "our own data file, parsed when the snapshot is built"
)]
static SURFACE: LazyLock<Surface> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/surface.json"))
        .expect("data/surface.json is valid")
});

const UNAVAILABLE: Callback = function!(unavailable);
const CONSTRUCT: Callback = function!(construct);
const ILLEGAL_CONSTRUCTOR: Callback = function!(illegal_constructor);

/// The callbacks that this file's functions need.
pub fn external_references() -> [v8::ExternalReference; 3] {
    [
        v8::ExternalReference {
            function: UNAVAILABLE,
        },
        v8::ExternalReference {
            function: CONSTRUCT,
        },
        v8::ExternalReference {
            function: ILLEGAL_CONSTRUCTOR,
        },
    ]
}

/// Stands in for a function that this platform does not have; its data is its name.
fn unavailable<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = args.data().to_rust_string_lossy(scope);
    Err(Throw::unavailable(&name))
}

/// The constructor of a class that we do not have: its instances can be made (modules make some when they load), its
/// methods throw.
fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if args.is_construct_call() {
        return Ok(v8::undefined(scope).into());
    }
    unavailable(scope, args)
}

fn illegal_constructor<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    if Env::of(scope).constructing_from_rust.get() {
        return Ok(v8::undefined(scope).into());
    }
    Err(Throw::type_error(
        "ERR_ILLEGAL_CONSTRUCTOR",
        "Illegal constructor",
    ))
}

/// The object for `internalBinding(name)`; `None` when Node has no such binding.
pub fn build<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    env: &Env,
    name: &str,
) -> Result<Option<v8::Local<'s, v8::Object>>, Throw> {
    let recorded = SURFACE.bindings.get(name);
    let own = super::BINDINGS.iter().find(|binding| binding.name == name);
    if recorded.is_none() && own.is_none() {
        return Ok(None);
    }
    let target = v8::Object::new(scope);
    let mut builder = Builder {
        env,
        own: own.copied(),
        binding: name,
    };
    if let Some(own) = own {
        for class in own.classes {
            builder.class(scope, target, class)?;
        }
    }
    for (key, json) in recorded.into_iter().flatten() {
        if own.is_some_and(|own| own.classes.iter().any(|class| class.name == key)) {
            continue;
        }
        let value = match own.and_then(|own| own.functions.iter().find(|(name, _)| name == key)) {
            Some((name, callback)) => builder.function(scope, name, *callback, None)?.into(),
            None => builder.value(scope, key, json)?,
        };
        set(scope, target, key, value);
    }
    if let Some(own) = own {
        for (key, callback) in own.functions {
            if recorded.is_none_or(|recorded| !recorded.contains_key(*key)) {
                let value = builder.function(scope, key, *callback, None)?;
                set(scope, target, key, value.into());
            }
        }
        if let Some(init) = own.init {
            init(scope, env, target);
        }
    }
    Ok(Some(target))
}

struct Builder<'a> {
    env: &'a Env,
    own: Option<&'static Binding>,
    binding: &'a str,
}

impl Builder<'_> {
    fn string<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        text: &str,
    ) -> Result<v8::Local<'s, v8::String>, Throw> {
        v8::String::new(scope, text).ok_or(Throw::Pending)
    }

    fn function<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
        callback: Callback,
        data: Option<&str>,
    ) -> Result<v8::Local<'s, v8::Function>, Throw> {
        let mut builder = v8::FunctionTemplate::builder_raw(callback);
        if let Some(data) = data {
            builder = builder.data(Self::string(scope, data)?.into());
        }
        let template = builder
            .constructor_behavior(v8::ConstructorBehavior::Throw)
            .build(scope);
        let name = Self::string(scope, name)?;
        template.set_class_name(name);
        let function = template.get_function(scope).ok_or(Throw::Pending)?;
        function.set_name(name);
        Ok(function)
    }

    fn class<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        target: v8::Local<'s, v8::Object>,
        class: &Class,
    ) -> Result<(), Throw> {
        let constructor = class.constructor.unwrap_or(ILLEGAL_CONSTRUCTOR);
        let template = v8::FunctionTemplate::new_raw(scope, constructor);
        let name = Self::string(scope, class.name)?;
        template.set_class_name(name);
        template
            .instance_template(scope)
            .set_internal_field_count(1 + class.extra_fields);
        if let Some(parent) = class.parent {
            if !self.env.templates.borrow().contains_key(parent)
                && let Some((binding, _)) = parent.split_once('.')
            {
                super::load(scope, self.env, binding)?;
            }
            let parent = self
                .env
                .templates
                .borrow()
                .get(parent)
                .map(|parent| v8::Local::new(scope, parent));
            template.inherit(parent.ok_or(Throw::Pending)?);
        }
        let signature = v8::Signature::new(scope, template);
        let prototype = template.prototype_template(scope);
        let instance = template.instance_template(scope);
        let methods = class.methods.iter().map(|method| (true, method));
        let own = class.own_methods.iter().map(|method| (false, method));
        for (is_inherited, (name, callback)) in methods.chain(own) {
            let method = v8::FunctionTemplate::builder_raw(*callback)
                .signature(signature)
                .constructor_behavior(v8::ConstructorBehavior::Throw)
                .build(scope);
            let name = Self::string(scope, name)?;
            method.set_class_name(name);
            if is_inherited {
                prototype.set(name.into(), method.into());
            } else {
                instance.set(name.into(), method.into());
            }
        }
        for (name, getter, setter) in class.accessors {
            let getter = v8::FunctionTemplate::builder_raw(*getter)
                .signature(signature)
                .build(scope);
            let setter = setter.map(|setter| {
                v8::FunctionTemplate::builder_raw(setter)
                    .signature(signature)
                    .build(scope)
            });
            let name = Self::string(scope, name)?;
            prototype.set_accessor_property(
                name.into(),
                Some(getter),
                setter,
                v8::PropertyAttribute::DONT_DELETE | v8::PropertyAttribute::DONT_ENUM,
            );
        }
        let instance = template.instance_template(scope);
        for (name, getter) in class.instance_getters {
            let getter = v8::FunctionTemplate::builder_raw(*getter)
                .signature(signature)
                .constructor_behavior(v8::ConstructorBehavior::Throw)
                .build(scope);
            let name = Self::string(scope, name)?;
            instance.set_accessor_property(
                name.into(),
                Some(getter),
                None,
                v8::PropertyAttribute::DONT_DELETE,
            );
        }
        let key = format!("{}.{}", self.binding, class.name);
        let function = template.get_function(scope).ok_or(Throw::Pending)?;
        self.env
            .templates
            .borrow_mut()
            .insert(key.clone(), v8::Global::new(scope, template));
        self.env.register(scope, &key, function.into());
        if !class.hidden {
            set(scope, target, class.name, function.into());
        }
        Ok(())
    }

    /// A recorded class of which we have no code: constructible, with methods that throw.
    fn recorded_class<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        key: &str,
        entry: &Entry,
    ) -> Result<v8::Local<'s, v8::Value>, Throw> {
        let name = if entry.name.is_empty() {
            key
        } else {
            &entry.name
        };
        let data = Self::string(scope, &format!("{}.{name}", self.binding))?.into();
        let template = v8::FunctionTemplate::builder_raw(CONSTRUCT)
            .data(data)
            .build(scope);
        template.set_class_name(Self::string(scope, name)?);
        // Marks its instances as host objects, which cannot be cloned.
        template
            .instance_template(scope)
            .set_internal_field_count(1);
        let prototype = template.prototype_template(scope);
        for method in &entry.methods {
            let data = Self::string(scope, &format!("{}.{name}.{method}", self.binding))?.into();
            let function = v8::FunctionTemplate::builder_raw(UNAVAILABLE)
                .data(data)
                .build(scope);
            prototype.set(Self::string(scope, method)?.into(), function.into());
        }
        Ok(template.get_function(scope).ok_or(Throw::Pending)?.into())
    }

    fn value<'s>(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        path: &str,
        json: &Json,
    ) -> Result<v8::Local<'s, v8::Value>, Throw> {
        let entry = Entry::deserialize(json).map_err(|error| {
            Throw::error(
                "ERR_INTERNAL_ASSERTION",
                format!("{}.{path}: {error}", self.binding),
            )
        })?;
        let key = path.rsplit('.').next().unwrap_or(path);
        Ok(match entry.kind.as_str() {
            "f" => {
                if let Some((_, callback)) = self
                    .own
                    .and_then(|own| own.functions.iter().find(|(name, _)| *name == path))
                {
                    self.function(scope, key, *callback, None)?.into()
                } else {
                    let full = format!("{}.{path}", self.binding);
                    self.function(scope, key, UNAVAILABLE, Some(&full))?.into()
                }
            }
            "c" => self.recorded_class(scope, key, &entry)?,
            "inf" => v8::Number::new(scope, f64::INFINITY).into(),
            "t" => {
                let array = typed_array(scope, &entry.array_type, entry.length)?;
                self.env
                    .register(scope, &format!("{}.{path}", self.binding), array);
                array
            }
            "s" => {
                let name = entry.value.as_str().unwrap_or_default();
                super::symbols::symbol(scope, self.env, name)
            }
            "big" => {
                let number = entry
                    .value
                    .as_str()
                    .and_then(|text| text.parse::<i64>().ok())
                    .unwrap_or_default();
                v8::BigInt::new_from_i64(scope, number).into()
            }
            "a" => {
                let items = entry
                    .value
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    values.push(self.value(scope, &format!("{path}.{index}"), item)?);
                }
                v8::Array::new_with_elements(scope, &values).into()
            }
            "o" => {
                let object = v8::Object::new(scope);
                if entry.null_prototype {
                    let null = v8::null(scope).into();
                    object.set_prototype(scope, null);
                }
                for (key, item) in entry.value.as_object().into_iter().flatten() {
                    let value = self.value(scope, &format!("{path}.{key}"), item)?;
                    if entry.read_only && !value.is_object() {
                        let key = Self::string(scope, key)?.into();
                        let constant =
                            v8::PropertyAttribute::READ_ONLY | v8::PropertyAttribute::DONT_DELETE;
                        object.define_own_property(scope, key, value, constant);
                    } else {
                        set(scope, object, key, value);
                    }
                }
                object.into()
            }
            "u" => v8::undefined(scope).into(),
            _ => json_value(scope, &entry.value)?,
        })
    }
}

/// A JSON scalar, array or object as a plain value.
pub fn json_value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    json: &Json,
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    Ok(match json {
        Json::Null => v8::null(scope).into(),
        Json::Bool(value) => v8::Boolean::new(scope, *value).into(),
        Json::Number(number) => v8::Number::new(scope, number.as_f64().unwrap_or_default()).into(),
        Json::String(text) => v8::String::new(scope, text).ok_or(Throw::Pending)?.into(),
        Json::Array(items) => {
            let mut values = Vec::with_capacity(items.len());
            for item in items {
                values.push(json_value(scope, item)?);
            }
            v8::Array::new_with_elements(scope, &values).into()
        }
        Json::Object(entries) => {
            let object = v8::Object::new(scope);
            for (key, item) in entries {
                let value = json_value(scope, item)?;
                set(scope, object, key, value);
            }
            object.into()
        }
    })
}

fn typed_array<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    kind: &str,
    length: usize,
) -> Result<v8::Local<'s, v8::Value>, Throw> {
    let width = match kind {
        "Uint8Array" => 1,
        "Uint32Array" | "Int32Array" => 4,
        "Float64Array" | "BigInt64Array" | "BigUint64Array" => 8,
        other => {
            return Err(Throw::error(
                "ERR_INTERNAL_ASSERTION",
                format!("no typed array {other}"),
            ));
        }
    };
    let buffer = v8::ArrayBuffer::new(scope, length * width);
    let array: Option<v8::Local<v8::Value>> = match kind {
        "Uint8Array" => v8::Uint8Array::new(scope, buffer, 0, length).map(Into::into),
        "Uint32Array" => v8::Uint32Array::new(scope, buffer, 0, length).map(Into::into),
        "Int32Array" => v8::Int32Array::new(scope, buffer, 0, length).map(Into::into),
        "Float64Array" => v8::Float64Array::new(scope, buffer, 0, length).map(Into::into),
        "BigInt64Array" => v8::BigInt64Array::new(scope, buffer, 0, length).map(Into::into),
        _ => v8::BigUint64Array::new(scope, buffer, 0, length).map(Into::into),
    };
    array.ok_or(Throw::Pending)
}
