//! Values of the guest as plain data for the host (reference/security.md R32 to R34).
//!
//! One pass, breadth first, straight into bytes. No guest code runs: JavaScript is forbidden in the scope, proxies are
//! refused before they are touched, and only own enumerable data properties with string keys are read. Bytes, objects
//! and depth have limits. Cycles and shared references survive: an object is written once and referred to by number.
//!
//! What becomes of what:
//!
//! | guest | host |
//! |---|---|
//! | primitives, `NaN`, `-0`, `BigInt`, strings with lone surrogates | the same |
//! | plain objects, instances of classes, `arguments`, module namespaces | plain objects of their own data properties |
//! | objects without a prototype | the same |
//! | arrays (holes stay holes), `Map`, `Set`, `Date`, `RegExp`, boxed primitives | the same |
//! | `ArrayBuffer`, typed arrays, `DataView` | copies of what the view shows, each with its own buffer |
//! | errors | errors of the nearest standard class with `name`, `message`, `stack`, `cause`, `errors` and own properties |
//! | functions and promises that are exported themselves | left out; a promise that is fulfilled counts as its value |
//! | symbol keys, properties that are not enumerable | left out |
//! | accessors, proxies, functions and promises further in, symbols, weak collections, other exotic objects | an error that names the path |
//!
//! Not counted: time (the process's own limits go on), and memory of V8 for the lists of keys (the heap limit).
//!
//! The bytes are those of `encoding.rs`; `lib/values.ts` reads them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::api::Limits;
use crate::encoding::{body, tag};
use crate::env::Env;

/// Deepest nesting that crosses.
pub const MAX_DEPTH: u32 = 1000;
/// Most values that cross at once.
pub const MAX_VALUES: u64 = 1_000_000;

/// Bytes that an object counts, beside what is in it.
const OBJECT_COST: u64 = 16;
/// Bytes that a primitive counts.
const PRIMITIVE_COST: u64 = 8;
/// How many values are read between two looks at whether the process is ending.
const LOOK_EVERY: u64 = 1024;
/// Most characters of a path in an error.
const MAX_PATH: usize = 200;
/// Longest prototype chain that is searched for an error's standard class.
const MAX_CHAIN: usize = 32;

/// A value that was copied out of a guest, in the encoding of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostValue(Vec<u8>);

impl HostValue {
    /// A value that is encoded already.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its encoding.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Why a value cannot cross.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MarshalError {
    /// The public error code.
    pub code: &'static str,
    /// What was asked and what the limit is.
    pub message: String,
}

impl MarshalError {
    fn too_large(limit: &str, used: u64, configured: u64, option: &str) -> Self {
        Self {
            code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE",
            message: format!(
                "{limit} exceeded: at least {used} needed, the limit is {configured}{option}"
            ),
        }
    }

    fn unsupported(what: &str, path: &str) -> Self {
        Self {
            code: "ERR_SANDBOX_UNSUPPORTED_VALUE",
            message: format!("{what} cannot leave the sandbox: {path}"),
        }
    }
}

/// Copies a value out of the guest without running guest code.
///
/// # Errors
/// [`MarshalError`] when it does not fit the limits or has no data form.
pub fn to_host(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
    limits: &Limits,
) -> Result<HostValue, MarshalError> {
    copy_out(scope, value, limits, "exports")
}

/// The same for the arguments of a call, an array: nothing in it is left out.
///
/// # Errors
/// As [`to_host`].
pub fn arguments_to_host(
    scope: &mut v8::PinScope<'_, '_>,
    arguments: v8::Local<v8::Value>,
    limits: &Limits,
) -> Result<HostValue, MarshalError> {
    copy_out(scope, arguments, limits, "arguments")
}

fn copy_out(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<v8::Value>,
    limits: &Limits,
    root: &'static str,
) -> Result<HostValue, MarshalError> {
    v8::scope!(let scope, scope);
    v8::tc_scope!(let scope, scope);
    v8::disallow_javascript_execution_scope!(let scope, scope, v8::OnFailure::ThrowOnFailure);
    let value = v8::Local::new(scope, value);
    Writer::new(limits, root).run(scope, value)
}

/// The name by which a parent knows a value.
#[derive(Clone, Copy)]
enum Step<'s> {
    Root,
    Key(v8::Local<'s, v8::Name>),
    Index(u32),
    Named(&'static str),
}

/// An object that has a number.
struct Found<'s> {
    object: v8::Local<'s, v8::Object>,
    parent: u32,
    step: Step<'s>,
    depth: u32,
    /// The next object with the same identity hash.
    same_hash: Option<u32>,
}

struct Writer<'s> {
    out: Vec<u8>,
    found: Vec<Found<'s>>,
    by_hash: HashMap<std::num::NonZeroI32, u32>,
    json_used: u64,
    json_limit: u64,
    binary_used: u64,
    binary_limit: u64,
    values: u64,
    /// What paths in errors begin with.
    root: &'static str,
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'s> {
    parent: u32,
    step: Step<'s>,
    depth: u32,
}

impl<'s> Writer<'s> {
    fn new(limits: &Limits, root: &'static str) -> Self {
        Self {
            root,
            out: Vec::new(),
            found: Vec::new(),
            by_hash: HashMap::new(),
            json_used: 0,
            json_limit: limits.json_payload_bytes as u64,
            binary_used: 0,
            binary_limit: limits.base64_transfer_bytes as u64,
            values: 0,
        }
    }

    fn run(
        mut self,
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
    ) -> Result<HostValue, MarshalError> {
        let root = Place {
            parent: 0,
            step: Step::Root,
            depth: 0,
        };
        let value = settled(scope, value);
        if value.is_function() || value.is_promise() {
            self.out.push(tag::UNDEFINED);
            return Ok(HostValue(self.out));
        }
        self.value(scope, value, root)?;
        let mut next = 0;
        while let Some(found) = self.found.get(next as usize) {
            let (object, depth) = (found.object, found.depth);
            self.body(scope, object, next, depth)?;
            next += 1;
        }
        Ok(HostValue(self.out))
    }

    fn charge(&mut self, bytes: u64) -> Result<(), MarshalError> {
        self.json_used = self.json_used.saturating_add(bytes);
        if self.json_used > self.json_limit {
            let option = " bytes (option payloadLimits.jsonPayloadBytes)";
            return Err(MarshalError::too_large(
                "payload size",
                self.json_used,
                self.json_limit,
                option,
            ));
        }
        Ok(())
    }

    fn charge_binary(&mut self, bytes: usize) -> Result<(), MarshalError> {
        self.binary_used = self.binary_used.saturating_add(bytes as u64);
        if self.binary_used > self.binary_limit {
            let option = " bytes (option payloadLimits.base64TransferBytes)";
            return Err(MarshalError::too_large(
                "binary payload size",
                self.binary_used,
                self.binary_limit,
                option,
            ));
        }
        Ok(())
    }

    fn u32(&mut self, number: usize) {
        // Lengths are bounded by the limits, which are far below 2^32.
        self.out
            .extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn number(&mut self, number: f64) {
        self.out.push(tag::NUMBER);
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    fn string(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        string: v8::Local<v8::String>,
    ) -> Result<(), MarshalError> {
        let length = string.length();
        let one_byte = string.is_onebyte() || string.contains_only_onebyte();
        self.charge(PRIMITIVE_COST + (length as u64).saturating_mul(if one_byte { 1 } else { 2 }))?;
        if one_byte {
            self.out.push(tag::LATIN1);
            self.u32(length);
            let start = self.out.len();
            self.out.resize(start + length, 0);
            if let Some(target) = self.out.get_mut(start..) {
                string.write_one_byte_v2(scope, 0, target, v8::WriteFlags::empty());
            }
        } else {
            self.out.push(tag::UTF16);
            self.u32(length);
            let mut units = vec![0_u16; length];
            string.write_v2(scope, 0, &mut units, v8::WriteFlags::empty());
            self.out
                .extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), MarshalError> {
        self.charge(PRIMITIVE_COST + text.len() as u64)?;
        if text.is_ascii() {
            self.out.push(tag::LATIN1);
            self.u32(text.len());
            self.out.extend_from_slice(text.as_bytes());
        } else {
            self.out.push(tag::UTF16);
            self.u32(text.encode_utf16().count());
            self.out
                .extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        }
        Ok(())
    }

    /// Writes a value: a primitive in place, an object as its number.
    fn value(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
        place: Place<'s>,
    ) -> Result<(), MarshalError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(MarshalError::too_large(
                "payload values",
                self.values,
                MAX_VALUES,
                " values",
            ));
        }
        if self.values.is_multiple_of(LOOK_EVERY) && scope.is_execution_terminating() {
            return Err(MarshalError {
                code: "ERR_RUNTIME_DISPOSED",
                message: "the process is ending".to_owned(),
            });
        }
        if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
            return self.string(scope, string);
        }
        if let Ok(number) = v8::Local::<v8::Number>::try_from(value) {
            self.charge(PRIMITIVE_COST)?;
            self.number(number.value());
            return Ok(());
        }
        if let Ok(bigint) = v8::Local::<v8::BigInt>::try_from(value) {
            let count = bigint.word_count();
            self.charge(PRIMITIVE_COST.saturating_mul(1 + count as u64))?;
            let mut words = vec![0_u64; count];
            let (negative, words) = bigint.to_words_array(&mut words);
            self.out.push(tag::BIGINT);
            self.out.push(u8::from(negative));
            self.u32(words.len());
            self.out
                .extend(words.iter().flat_map(|word| word.to_le_bytes()));
            return Ok(());
        }
        let simple = if value.is_undefined() {
            Some(tag::UNDEFINED)
        } else if value.is_null() {
            Some(tag::NULL)
        } else if value.is_true() {
            Some(tag::TRUE)
        } else if value.is_false() {
            Some(tag::FALSE)
        } else {
            None
        };
        if let Some(simple) = simple {
            self.charge(PRIMITIVE_COST)?;
            self.out.push(simple);
            return Ok(());
        }
        if let Some(what) = refused(value) {
            return Err(MarshalError::unsupported(what, &self.path(scope, place)));
        }
        let Ok(object) = v8::Local::<v8::Object>::try_from(value) else {
            return Err(MarshalError::unsupported(
                "this kind of value",
                &self.path(scope, place),
            ));
        };
        let number = self.number_of(object, place)?;
        self.out.push(tag::OBJECT);
        self.u32(number as usize);
        Ok(())
    }

    /// The number of an object, which is queued when it is new.
    fn number_of(
        &mut self,
        object: v8::Local<'s, v8::Object>,
        place: Place<'s>,
    ) -> Result<u32, MarshalError> {
        let hash = object.get_identity_hash();
        let first = self.by_hash.get(&hash).copied();
        let mut candidate = first;
        while let Some(found) = candidate.and_then(|number| self.found.get(number as usize)) {
            if found.object == object {
                return Ok(candidate.unwrap_or_default());
            }
            candidate = found.same_hash;
        }
        if place.depth >= MAX_DEPTH {
            return Err(MarshalError::too_large(
                "payload depth",
                u64::from(place.depth) + 1,
                MAX_DEPTH.into(),
                " levels",
            ));
        }
        self.charge(OBJECT_COST)?;
        let number = u32::try_from(self.found.len()).unwrap_or(u32::MAX);
        self.found.push(Found {
            object,
            parent: place.parent,
            step: place.step,
            depth: place.depth + 1,
            same_hash: first,
        });
        self.by_hash.insert(hash, number);
        Ok(number)
    }

    /// Writes what an object is and holds.
    fn body(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        number: u32,
        depth: u32,
    ) -> Result<(), MarshalError> {
        let at = |step| Place {
            parent: number,
            step,
            depth,
        };
        if let Ok(array) = v8::Local::<v8::Array>::try_from(object) {
            return self.array(scope, array, number, depth);
        }
        if let Ok(date) = v8::Local::<v8::Date>::try_from(object) {
            self.out.push(body::DATE);
            self.out.extend_from_slice(&date.value_of().to_le_bytes());
            return Ok(());
        }
        if let Ok(map) = v8::Local::<v8::Map>::try_from(object) {
            self.charge((map.size() as u64).saturating_mul(2))?;
            self.out.push(body::MAP);
            self.u32(map.size());
            let entries = map.as_array(scope);
            return self.elements(scope, entries, number, depth);
        }
        if let Ok(set) = v8::Local::<v8::Set>::try_from(object) {
            self.charge(set.size() as u64)?;
            self.out.push(body::SET);
            self.u32(set.size());
            let entries = set.as_array(scope);
            return self.elements(scope, entries, number, depth);
        }
        if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(object) {
            let length = view.byte_length();
            self.charge_binary(length)?;
            self.out.push(body::VIEW);
            self.out.push(view_kind(object));
            self.u32(length);
            let start = self.out.len();
            self.out.resize(start + length, 0);
            if let Some(target) = self.out.get_mut(start..) {
                view.copy_contents(target);
            }
            return Ok(());
        }
        if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(object) {
            return self.array_buffer(buffer);
        }
        if object.is_reg_exp() {
            return self.regexp(scope, object, at(Step::Named("lastIndex")));
        }
        if object.is_native_error() {
            return self.error(scope, object, number, depth);
        }
        if let Some(primitive) = unboxed(scope, object) {
            self.out.push(body::BOXED);
            return self.value(scope, primitive, at(Step::Named("valueOf()")));
        }
        let null_prototype = object
            .get_prototype(scope)
            .is_none_or(|prototype| prototype.is_null());
        let plain = !null_prototype || object.is_module_namespace_object();
        self.out.push(if plain {
            body::PLAIN
        } else {
            body::NULL_PROTOTYPE
        });
        let keys = self.keys(scope, object, at(Step::Root))?;
        self.properties(scope, object, keys, 0, number, depth)
    }

    /// Own enumerable string keys; indexes come first, as numbers.
    fn keys(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        place: Place<'s>,
    ) -> Result<v8::Local<'s, v8::Array>, MarshalError> {
        let arguments = v8::GetPropertyNamesArgsBuilder::new()
            .mode(v8::KeyCollectionMode::OwnOnly)
            .property_filter(v8::PropertyFilter::ONLY_ENUMERABLE | v8::PropertyFilter::SKIP_SYMBOLS)
            .index_filter(v8::IndexFilter::IncludeIndices)
            .key_conversion(v8::KeyConversionMode::KeepNumbers)
            .build();
        if let Some(keys) = object.get_own_property_names(scope, arguments) {
            self.charge(keys.length().into())?;
            Ok(keys)
        } else {
            let path = self.path_of(scope, place.parent);
            Err(MarshalError::unsupported(
                "an object whose properties cannot be listed",
                &path,
            ))
        }
    }

    /// Writes properties `keys[from..]`.
    fn properties(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        keys: v8::Local<'s, v8::Array>,
        from: u32,
        number: u32,
        depth: u32,
    ) -> Result<(), MarshalError> {
        let count_at = self.out.len();
        self.u32(0);
        let mut count = 0_usize;
        // What is exported itself: the entries of the first object.
        let exported = number == 0;
        for index in from..keys.length() {
            let Some(key) = keys.get_index(scope, index) else {
                continue;
            };
            let name = match v8::Local::<v8::Name>::try_from(key) {
                Ok(name) => name,
                Err(_) => match key.to_string(scope) {
                    Some(name) => name.into(),
                    None => continue,
                },
            };
            let place = Place {
                parent: number,
                step: Step::Key(name),
                depth,
            };
            let mut value = self.own_value(scope, object, name, place)?;
            if exported {
                value = settled(scope, value);
                if value.is_function() || value.is_promise() {
                    continue;
                }
            }
            if let Ok(name) = v8::Local::<v8::String>::try_from(name) {
                self.string(scope, name)?;
            }
            self.value(scope, value, place)?;
            count += 1;
        }
        self.patch_u32(count_at, count);
        Ok(())
    }

    fn patch_u32(&mut self, at: usize, number: usize) {
        let bytes = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(target) = self.out.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(&bytes);
        }
    }

    /// The value of an own property; an error when it is an accessor.
    fn own_value(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        name: v8::Local<'s, v8::Name>,
        place: Place<'s>,
    ) -> Result<v8::Local<'s, v8::Value>, MarshalError> {
        // The property is the object's own, so nothing further up is asked; a getter cannot run in this scope and throws.
        object.get(scope, name.into()).ok_or_else(|| {
            MarshalError::unsupported("a property with a getter", &self.path(scope, place))
        })
    }

    fn array(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        array: v8::Local<'s, v8::Array>,
        number: u32,
        depth: u32,
    ) -> Result<(), MarshalError> {
        self.out.push(body::ARRAY);
        self.u32(array.length() as usize);
        let object: v8::Local<v8::Object> = array.into();
        let keys = self.keys(
            scope,
            object,
            Place {
                parent: number,
                step: Step::Root,
                depth,
            },
        )?;
        let count_at = self.out.len();
        self.u32(0);
        let mut named = 0;
        while named < keys.length() {
            let Some(index) = keys.get_index(scope, named).filter(|key| key.is_uint32()) else {
                break;
            };
            let Some(index) = index.uint32_value(scope) else {
                break;
            };
            let place = Place {
                parent: number,
                step: Step::Index(index),
                depth,
            };
            let Some(value) = object.get_index(scope, index) else {
                return Err(MarshalError::unsupported(
                    "an element with a getter",
                    &self.path(scope, place),
                ));
            };
            self.u32(index as usize);
            self.value(scope, value, place)?;
            named += 1;
        }
        self.patch_u32(count_at, named as usize);
        self.properties(scope, object, keys, named, number, depth)
    }

    /// Writes the elements of a list that V8 made.
    fn elements(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        list: v8::Local<'s, v8::Array>,
        number: u32,
        depth: u32,
    ) -> Result<(), MarshalError> {
        for index in 0..list.length() {
            let value = list
                .get_index(scope, index)
                .unwrap_or_else(|| v8::undefined(scope).into());
            self.value(
                scope,
                value,
                Place {
                    parent: number,
                    step: Step::Index(index),
                    depth,
                },
            )?;
        }
        Ok(())
    }

    fn array_buffer(&mut self, buffer: v8::Local<v8::ArrayBuffer>) -> Result<(), MarshalError> {
        let store = buffer.get_backing_store();
        let length = buffer.byte_length().min(store.byte_length());
        self.charge_binary(length)?;
        self.out.push(body::ARRAY_BUFFER);
        self.u32(length);
        self.out
            .extend(store.iter().take(length).map(std::cell::Cell::get));
        Ok(())
    }

    fn regexp(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        place: Place<'s>,
    ) -> Result<(), MarshalError> {
        const FLAGS: [(&str, char); 8] = [
            ("RegExpPrototypeGetHasIndices", 'd'),
            ("RegExpPrototypeGetGlobal", 'g'),
            ("RegExpPrototypeGetIgnoreCase", 'i'),
            ("RegExpPrototypeGetMultiline", 'm'),
            ("RegExpPrototypeGetDotAll", 's'),
            ("RegExpPrototypeGetUnicode", 'u'),
            ("RegExpPrototypeGetUnicodeSets", 'v'),
            ("RegExpPrototypeGetSticky", 'y'),
        ];
        let mut flags = String::new();
        for (getter, flag) in FLAGS {
            if intrinsic(scope, getter, object).is_some_and(|value| value.is_true()) {
                flags.push(flag);
            }
        }
        let Ok(regexp) = v8::Local::<v8::RegExp>::try_from(object) else {
            return Err(MarshalError::unsupported(
                "this regular expression",
                &self.path(scope, place),
            ));
        };
        let source = regexp.get_source(scope);
        self.out.push(body::REGEXP);
        self.string(scope, source)?;
        self.text(&flags)?;
        let last_index = v8::String::new(scope, "lastIndex")
            .and_then(|name| object.get(scope, name.into()))
            .filter(|value| value.is_number())
            .and_then(|value| value.number_value(scope))
            .unwrap_or(0.0);
        self.out.extend_from_slice(&last_index.to_le_bytes());
        Ok(())
    }

    fn error(
        &mut self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        number: u32,
        depth: u32,
    ) -> Result<(), MarshalError> {
        self.out.push(body::ERROR);
        let text = ErrorText::read(scope, object);
        self.text(&text.name)?;
        self.text(&text.message)?;
        self.text(&text.stack)?;
        for name in ["cause", "errors"] {
            let key = v8::String::new(scope, name);
            let value =
                key.filter(|key| object.has_own_property(scope, (*key).into()) == Some(true));
            match value.and_then(|key| object.get(scope, key.into())) {
                Some(value) => self.value(
                    scope,
                    value,
                    Place {
                        parent: number,
                        step: Step::Named(name),
                        depth,
                    },
                )?,
                None => self.out.push(tag::ABSENT),
            }
        }
        let keys = self.keys(
            scope,
            object,
            Place {
                parent: number,
                step: Step::Root,
                depth,
            },
        )?;
        self.properties(scope, object, keys, 0, number.max(1), depth)
    }

    /// How a program would reach a value, from what was exported.
    fn path(&self, scope: &mut v8::PinScope<'s, '_>, place: Place<'s>) -> String {
        let mut steps = Vec::new();
        let (mut parent, mut step) = (place.parent, place.step);
        loop {
            let text = match step {
                Step::Root => break,
                Step::Key(name) => match v8::Local::<v8::String>::try_from(name) {
                    Ok(name) => format!(".{}", name.to_rust_string_lossy(scope)),
                    Err(_) => ".?".to_owned(),
                },
                Step::Index(index) => format!("[{index}]"),
                Step::Named(name) => format!(".{name}"),
            };
            steps.push(text);
            let Some(found) = self.found.get(parent as usize) else {
                break;
            };
            (parent, step) = (found.parent, found.step);
        }
        steps.reverse();
        let path = format!("{}{}", self.root, steps.concat());
        match path.char_indices().nth(MAX_PATH) {
            None => path,
            Some((end, _)) => format!("{}...", path.get(..end).unwrap_or_default()),
        }
    }

    fn path_of(&self, scope: &mut v8::PinScope<'s, '_>, number: u32) -> String {
        match self.found.get(number as usize) {
            Some(found) => self.path(
                scope,
                Place {
                    parent: found.parent,
                    step: found.step,
                    depth: 0,
                },
            ),
            None => self.root.to_owned(),
        }
    }
}

/// The value of a fulfilled promise, for what is exported itself.
fn settled<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> v8::Local<'s, v8::Value> {
    match v8::Local::<v8::Promise>::try_from(value) {
        Ok(promise) if promise.state() == v8::PromiseState::Fulfilled => promise.result(scope),
        _ => value,
    }
}

/// What a value is, when it has no data form.
fn refused(value: v8::Local<v8::Value>) -> Option<&'static str> {
    Some(if value.is_proxy() {
        "a Proxy"
    } else if value.is_function() {
        "a function"
    } else if value.is_symbol() || value.is_symbol_object() {
        "a symbol"
    } else if value.is_promise() {
        "a promise"
    } else if value.is_external() {
        "a native pointer"
    } else if value.is_weak_map() || value.is_weak_set() {
        "a weak collection"
    } else if value.is_shared_array_buffer() {
        "a SharedArrayBuffer"
    } else if value.is_wasm_memory_object() || value.is_wasm_module_object() {
        "a WebAssembly object"
    } else if value.is_generator_object() || value.is_map_iterator() || value.is_set_iterator() {
        "an iterator"
    } else {
        return None;
    })
}

/// Number of a view's class in the encoding.
fn view_kind(view: v8::Local<v8::Object>) -> u8 {
    type Check = fn(&v8::Value) -> bool;
    const KINDS: [Check; 12] = [
        v8::Value::is_data_view,
        v8::Value::is_int8_array,
        v8::Value::is_uint8_array,
        v8::Value::is_uint8_clamped_array,
        v8::Value::is_int16_array,
        v8::Value::is_uint16_array,
        v8::Value::is_int32_array,
        v8::Value::is_uint32_array,
        v8::Value::is_float32_array,
        v8::Value::is_float64_array,
        v8::Value::is_big_int64_array,
        v8::Value::is_big_uint64_array,
    ];
    /// Where `Float16Array` is missing the host shows the bytes.
    const FLOAT16: u8 = 12;
    KINDS
        .iter()
        .position(|is| is(&view))
        .and_then(|kind| u8::try_from(kind).ok())
        .unwrap_or(FLOAT16)
}

/// The primitive in a wrapper object.
fn unboxed<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
) -> Option<v8::Local<'s, v8::Value>> {
    let value_of = if object.is_string_object() {
        "StringPrototypeValueOf"
    } else if object.is_number_object() {
        "NumberPrototypeValueOf"
    } else if object.is_boolean_object() {
        "BooleanPrototypeValueOf"
    } else if object.is_big_int_object() {
        "BigIntPrototypeValueOf"
    } else {
        return None;
    };
    intrinsic(scope, value_of, object)
}

/// Calls a builtin that reads nothing but an internal slot of `object`: the original one, kept from before any guest.
fn intrinsic<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    object: v8::Local<'s, v8::Object>,
) -> Option<v8::Local<'s, v8::Value>> {
    let env = scope.get_slot::<Rc<Env>>()?.clone();
    let primordials =
        v8::Local::<v8::Object>::try_from(env.registered(scope, "primordials")?).ok()?;
    let key = v8::String::new(scope, name)?;
    let builtin = v8::Local::<v8::Function>::try_from(primordials.get(scope, key.into())?).ok()?;
    v8::allow_javascript_execution_scope!(let allowed, scope);
    let undefined = v8::undefined(allowed).into();
    let value = builtin.call(allowed, undefined, &[object.into()])?;
    Some(value)
}

/// An error's text, read without running guest code and capped.
pub struct ErrorText {
    /// Its `name`.
    pub name: String,
    /// Its `message`.
    pub message: String,
    /// Its `stack`, or name and message where it has no text yet.
    pub stack: String,
}

impl ErrorText {
    const MAX_MESSAGE: usize = 8192;
    const MAX_STACK: usize = 32_768;
    const MAX_FRAMES: usize = 50;

    /// Reads an error inside a scope where JavaScript is forbidden.
    pub fn read(scope: &mut v8::PinScope<'_, '_>, error: v8::Local<v8::Object>) -> Self {
        let text = |scope: &mut v8::PinScope<'_, '_>, name: &str, most: usize| {
            let key = v8::String::new(scope, name)?;
            let value =
                v8::Local::<v8::String>::try_from(data_property(scope, error, key.into())?).ok()?;
            Some(capped(scope, value, most))
        };
        let name = text(scope, "name", Self::MAX_MESSAGE).unwrap_or_else(|| "Error".to_owned());
        let message = text(scope, "message", Self::MAX_MESSAGE).unwrap_or_default();
        let stack = if let Some(stack) = text(scope, "stack", Self::MAX_STACK) {
            stack
        } else {
            let mut stack = match (name.is_empty(), message.is_empty()) {
                (_, true) => name.clone(),
                (true, false) => message.clone(),
                (false, false) => format!("{name}: {message}"),
            };
            if let Some(trace) = v8::Exception::get_stack_trace(scope, error.into()) {
                for frame in crate::fatal_exception::frames(scope, trace, Self::MAX_FRAMES) {
                    stack.push('\n');
                    stack.push_str(&frame);
                }
            }
            stack
        };
        Self {
            name,
            message,
            stack,
        }
    }
}

/// A data property of an object or of its prototypes, as long as none of them is a proxy.
fn data_property<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<v8::Object>,
    key: v8::Local<v8::Name>,
) -> Option<v8::Local<'s, v8::Value>> {
    let mut holder = v8::Local::new(scope, object);
    for _ in 0..MAX_CHAIN {
        if holder.is_proxy() {
            return None;
        }
        if holder.has_own_property(scope, key)? {
            return holder.get(scope, key.into());
        }
        holder = v8::Local::try_from(holder.get_prototype(scope)?).ok()?;
    }
    None
}

fn capped(scope: &mut v8::PinScope<'_, '_>, string: v8::Local<v8::String>, most: usize) -> String {
    let mut units = vec![0_u16; string.length().min(most)];
    string.write_v2(scope, 0, &mut units, v8::WriteFlags::empty());
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    /// Runs `code` in a plain isolate and copies out its value.
    fn host(code: &str, limits: &Limits) -> Result<HostValue, MarshalError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (code, limits) = (code.to_owned(), limits.clone());
        crate::engine::spawn("test".to_owned(), 8 << 20, move || {
            let mut isolate = v8::Isolate::new(v8::CreateParams::default());
            v8::scope!(let scope, &mut isolate);
            let context = v8::Context::new(scope, v8::ContextOptions::default());
            let scope = &mut v8::ContextScope::new(scope, context);
            let source = v8::String::new(scope, &code).unwrap();
            let value = v8::Script::compile(scope, source, None)
                .unwrap()
                .run(scope)
                .unwrap();
            let answer = to_host(scope, value, &limits);
            // Nothing of the guest ran: every program counts its calls here.
            let source =
                v8::String::new(scope, "typeof calls === 'undefined' ? 0 : calls").unwrap();
            let calls = v8::Script::compile(scope, source, None)
                .unwrap()
                .run(scope)
                .unwrap();
            assert_eq!(calls.uint32_value(scope), Some(0), "{code}");
            sender.send(answer).unwrap();
        })
        .unwrap();
        receiver.recv().unwrap()
    }

    fn bytes(code: &str) -> Vec<u8> {
        host(code, &Limits::default()).unwrap().into_bytes()
    }

    fn refusal(code: &str) -> MarshalError {
        host(code, &Limits::default()).unwrap_err()
    }

    #[test]
    fn primitives() {
        assert_eq!(bytes("undefined"), [tag::UNDEFINED]);
        assert_eq!(bytes("null"), [tag::NULL]);
        assert_eq!(bytes("true"), [tag::TRUE]);
        assert_eq!(bytes("-0")[1..], (-0.0_f64).to_le_bytes());
        assert_eq!(bytes("'hé'"), [tag::LATIN1, 2, 0, 0, 0, b'h', 0xe9]);
        assert_eq!(bytes("'\\ud800'"), [tag::UTF16, 1, 0, 0, 0, 0x00, 0xd8]);
        assert_eq!(
            bytes("-1n"),
            [tag::BIGINT, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn an_object_is_written_once() {
        let all = bytes("const o = {}; o.o = o; o");
        assert_eq!(
            all,
            [
                tag::OBJECT,
                0,
                0,
                0,
                0,
                body::PLAIN,
                1,
                0,
                0,
                0,
                tag::LATIN1,
                1,
                0,
                0,
                0,
                b'o',
                tag::OBJECT,
                0,
                0,
                0,
                0
            ]
        );
    }

    #[test]
    fn functions_are_left_out_only_where_they_are_exported() {
        assert_eq!(bytes("() => 1"), [tag::UNDEFINED]);
        assert_eq!(
            bytes("({ f() {} })"),
            [tag::OBJECT, 0, 0, 0, 0, body::PLAIN, 0, 0, 0, 0]
        );
        assert_eq!(
            refusal("[[() => 1]]").message,
            "a function cannot leave the sandbox: exports[0][0]"
        );
    }

    #[test]
    fn code_of_the_guest_does_not_run() {
        for code in [
            "var calls = 0; ({ get a() { calls++ } })",
            "var calls = 0; [[Object.defineProperty([], 0, { get() { calls++ }, enumerable: true })]]",
            "var calls = 0; [new Proxy({}, { ownKeys() { calls++; return [] } })]",
            "var calls = 0; const e = new Error(); Object.defineProperty(e, 'name', { get() { calls++ } }); e",
            "var calls = 0; const e = new Error(); Object.setPrototypeOf(e, new Proxy({}, { get() { calls++ } })); e",
            "var calls = 0; Object.assign(/x/g, { toString() { calls++ } })",
            "var calls = 0; Error.prepareStackTrace = () => { calls++ }; new Error('x')",
            "var calls = 0; Object.defineProperty(Array.prototype, 1, { get() { calls++ } }); [[0, , 2]]",
            "var calls = 0; Object.defineProperty(Object.prototype, 'value', { get() { calls++ } }); [{ a: 1 }]",
            "var calls = 0; class A extends Map { get size() { calls++ } }; [new A([[1, 2]])]",
        ] {
            // Either answer will do; `host` looks at the count.
            let _ = host(code, &Limits::default());
        }
    }

    #[test]
    fn what_has_no_data_form_is_refused_by_its_path() {
        for (code, path) in [
            ("({ a: [{ b: new Proxy({}, {}) }] })", "exports.a[0].b"),
            ("[new Map([[1, Symbol()]])]", "exports[0][1]"),
            ("({ a: { get b() { return 1 } } })", "exports.a.b"),
            ("[new WeakSet()]", "exports[0]"),
            (
                "[new Error('x', { cause: [() => 1] })]",
                "exports[0].cause[0]",
            ),
        ] {
            let MarshalError {
                code: name,
                message,
            } = refusal(code);
            assert_eq!(name, "ERR_SANDBOX_UNSUPPORTED_VALUE");
            assert!(message.ends_with(&format!(": {path}")), "{message}");
        }
    }

    #[test]
    fn limits_hold_before_anything_is_copied() {
        let limits = Limits {
            json_payload_bytes: 1 << 20,
            base64_transfer_bytes: 1 << 20,
            ..Limits::default()
        };
        for code in [
            "const s = 'x'.repeat(1e6); new Array(1e5).fill(s)",
            "new Uint8Array(2 ** 20 + 1)",
            "const b = new Uint8Array(2 ** 19); [b, b.slice(), b.slice()]",
            "let o = {}; const r = o; for (let i = 0; i < 2000; i++) o = o.a = {}; r",
            "1n << 10_000_000n",
            "new Set(Array.from({ length: 1e6 }, (_, i) => i))",
            "Array.from({ length: 2e5 }, () => ({}))",
        ] {
            let error = host(code, &limits).unwrap_err();
            assert_eq!(error.code, "ERR_SANDBOX_PAYLOAD_TOO_LARGE", "{code}");
        }
        let shared = host("const b = new Uint8Array(2 ** 20); [b, b, b]", &limits).unwrap();
        assert!(shared.into_bytes().len() < (1 << 20) + 200);
    }

    /// Programs made from a grammar of odd values: no answer may be a crash, and no answer may run the guest's code.
    #[test]
    fn random_values() {
        const LEAVES: &[&str] = &[
            "undefined",
            "-0",
            "NaN",
            "10n ** 40n",
            "'\\udfff\\u0100'",
            "Symbol('s')",
            "() => calls++",
            "new Date(NaN)",
            "/(?<a>.)/dgimsuy",
            "new Float32Array(3)",
            "new DataView(new ArrayBuffer(8), 2)",
            "Object(Symbol())",
            "new Proxy([], { get() { calls++ }, ownKeys() { calls++ } })",
            "{ get x() { calls++ } }",
            "new WeakMap()",
            "Promise.reject(1).catch(() => {}) && Promise.resolve(2)",
            "(function* () { calls++ })()",
            "arguments_()",
            "new ArrayBuffer(4, { maxByteLength: 8 })",
            "Object.create(null)",
            "new Error('e', { cause: 1 })",
            "globalThis",
            "new Intl.NumberFormat()",
            "JSON",
            "Math",
            "new (class { #p = 1; a = 2 })()",
            "Object.freeze([1, , 3])",
        ];
        /// Each `%` is a place for another value.
        const BRANCHES: &[&str] = &[
            "[%, , %]",
            "{ a: %, '': %, 7: % }",
            "new Map([[%, %]])",
            "new Set([%, %])",
            "new Error('x', { cause: % })",
            "new AggregateError([%, %])",
            "Object.assign([%], { length: 9, extra: % })",
            "Object.create(null, { a: { value: %, enumerable: true } })",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % bound as u64).unwrap()
        };
        for _ in 0..60 {
            let mut code = "%".to_owned();
            for _ in 0..5 {
                code = code.replacen('%', BRANCHES[next(BRANCHES.len())], 1);
            }
            while code.contains('%') {
                code = code.replacen('%', LEAVES[next(LEAVES.len())], 1);
            }
            let program =
                format!("var calls = 0; function arguments_() {{ return arguments }} ({code})");
            let _ = host(&program, &Limits::default());
        }
    }
}
