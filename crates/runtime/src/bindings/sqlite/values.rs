//! Values and errors of SQLite as JavaScript's.

use std::cell::RefCell;
use std::rc::Rc;

use secure_exec_sqlite::{SqlError, Value};

use super::invalid_type;
use crate::array_buffer::{Contents, array_buffer_of};
use crate::binding::Ret;
use crate::env::Env;
use crate::realm::set;
use crate::text;
use crate::throw::Throw;

const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// An exception of a function that SQL called: it goes on once SQLite has returned.
#[derive(Default)]
pub struct Pending(RefCell<Option<v8::Global<v8::Value>>>);

impl Pending {
    /// Keeps an exception; the first one stays.
    pub fn keep(&self, exception: v8::Global<v8::Value>) {
        self.0.borrow_mut().get_or_insert(exception);
    }

    /// Throws what is kept.
    pub fn rethrow(&self, scope: &mut v8::PinScope<'_, '_>) -> Result<(), Throw> {
        let Some(exception) = self.0.take() else {
            return Ok(());
        };
        let exception = v8::Local::new(scope, exception);
        scope.throw_exception(exception);
        Err(Throw::Pending)
    }
}

/// The text before its first zero, as Node reads SQLite's texts.
pub fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
}

/// A value of SQLite's.
pub fn to_js<'s>(scope: &mut v8::PinScope<'s, '_>, value: Value<'_>, big_ints: bool) -> Ret<'s> {
    match value {
        Value::Refused => Err(Throw::error("ERR_SQLITE_ERROR", "out of memory")),
        Value::Null => Ok(v8::null(scope).into()),
        Value::Integer(number) if big_ints => Ok(v8::BigInt::new_from_i64(scope, number).into()),
        // The smallest number of all has no magnitude, and passes in Node.
        Value::Integer(number) if number.wrapping_abs() <= MAX_SAFE_INTEGER => {
            Ok(v8::Number::new(scope, number as f64).into())
        }
        Value::Integer(number) => Err(Throw::range_error(
            "ERR_OUT_OF_RANGE",
            format!("Value is too large to be represented as a JavaScript number: {number}"),
        )),
        Value::Real(number) => Ok(v8::Number::new(scope, number).into()),
        Value::Text(bytes) => text::utf8(scope, until_zero(bytes)),
        Value::Blob(bytes) => bytes_to_js(scope, bytes),
    }
}

/// A `Uint8Array` of these bytes.
pub fn bytes_to_js<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8]) -> Ret<'s> {
    let buffer = array_buffer_of(scope, bytes)?;
    let array = v8::Uint8Array::new(scope, buffer, 0, bytes.len()).ok_or(Throw::Pending)?;
    Ok(array.into())
}

/// Runs `body` with a value of JavaScript's as SQLite's; `None` for one that SQLite does not have.
pub fn with_sqlite<'s, T>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    too_large: impl FnOnce() -> Throw,
    body: impl FnOnce(Value<'_>) -> T,
) -> Result<Option<T>, Throw> {
    if let Ok(number) = v8::Local::<v8::Number>::try_from(value) {
        return Ok(Some(body(Value::Real(number.value()))));
    }
    if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
        let bytes = text::encode(scope, string, text::Encoding::Utf8);
        return Ok(Some(body(Value::Text(&bytes))));
    }
    if value.is_null() {
        return Ok(Some(body(Value::Null)));
    }
    if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        let mut contents = Contents::default();
        let bytes = contents.of(scope, view);
        return Ok(Some(body(Value::Blob(bytes))));
    }
    if let Ok(big) = v8::Local::<v8::BigInt>::try_from(value) {
        let (number, lossless) = big.i64_value();
        if !lossless {
            return Err(too_large());
        }
        return Ok(Some(body(Value::Integer(number))));
    }
    Ok(None)
}

/// Throws an error of SQLite's, or the exception of the function that made it.
pub fn failed(scope: &mut v8::PinScope<'_, '_>, pending: &Pending, error: &SqlError) -> Throw {
    if let Err(throw) = pending.rethrow(scope) {
        return throw;
    }
    if Env::of(scope).is_ending() {
        return Throw::Pending;
    }
    match error_object(scope, error, true) {
        Some(error) => {
            scope.throw_exception(error.into());
            Throw::Pending
        }
        None => Throw::Pending,
    }
}

/// An error of SQLite's with `code`, `errcode` and perhaps `errstr`.
pub fn error_object<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: &SqlError,
    with_meaning: bool,
) -> Option<v8::Local<'s, v8::Object>> {
    let message = v8::String::new(scope, &error.message)?;
    let object = v8::Exception::error(scope, message);
    let object = v8::Local::<v8::Object>::try_from(object).ok()?;
    let code = v8::String::new(scope, "ERR_SQLITE_ERROR")?.into();
    set(scope, object, "code", code);
    let number = v8::Integer::new(scope, error.code).into();
    set(scope, object, "errcode", number);
    if with_meaning {
        let meaning = v8::String::new(scope, &error.meaning)?.into();
        set(scope, object, "errstr", meaning);
    }
    Some(object)
}

/// Options of a call.
pub struct Options<'s>(pub v8::Local<'s, v8::Object>);

impl<'s> Options<'s> {
    /// An option's value; `None` when it is undefined.
    pub fn get(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
    ) -> Result<Option<v8::Local<'s, v8::Value>>, Throw> {
        let key = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        let value = self.0.get(scope, key.into()).ok_or(Throw::Pending)?;
        Ok((!value.is_undefined()).then_some(value))
    }

    /// An own option's value, undefined or not; `None` when there is none.
    pub fn own(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
    ) -> Result<Option<v8::Local<'s, v8::Value>>, Throw> {
        let key = v8::String::new(scope, name).ok_or(Throw::Pending)?;
        let has = self.0.has_own_property(scope, key.into());
        if !has.ok_or(Throw::Pending)? {
            return Ok(None);
        }
        self.0
            .get(scope, key.into())
            .ok_or(Throw::Pending)
            .map(Some)
    }

    /// A boolean.
    pub fn flag(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
        default: bool,
    ) -> Result<bool, Throw> {
        match self.get(scope, name)? {
            None => Ok(default),
            Some(value) if value.is_boolean() => Ok(value.is_true()),
            Some(_) => Err(wrong(name, "a boolean")),
        }
    }

    /// An integer of 32 bits.
    pub fn int(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
        default: i32,
    ) -> Result<i32, Throw> {
        match self.get(scope, name)? {
            None => Ok(default),
            Some(value) if value.is_int32() => value.int32_value(scope).ok_or(Throw::Pending),
            Some(_) => Err(wrong(name, "an integer")),
        }
    }

    /// A function.
    pub fn function(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        name: &str,
    ) -> Result<Option<v8::Local<'s, v8::Function>>, Throw> {
        match self.get(scope, name)? {
            None => Ok(None),
            Some(value) => v8::Local::try_from(value)
                .map(Some)
                .map_err(|_| wrong(name, "a function")),
        }
    }
}

/// The error for an option of the wrong type.
pub fn wrong(name: &str, kind: &str) -> Throw {
    invalid_type(&format!("The \"options.{name}\" argument must be {kind}."))
}

/// The argument as options; an error unless it is an object.
pub fn options(value: v8::Local<'_, v8::Value>) -> Result<Options<'_>, Throw> {
    v8::Local::try_from(value)
        .map(Options)
        .map_err(|_| invalid_type("The \"options\" argument must be an object."))
}

/// A string's UTF-8.
pub fn utf8_of(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
) -> Option<Vec<u8>> {
    let string = v8::Local::<v8::String>::try_from(value).ok()?;
    Some(text::encode(scope, string, text::Encoding::Utf8))
}

/// What functions that SQL calls need of the process.
#[derive(Clone)]
pub struct CallBack {
    isolate: v8::UnsafeRawIsolatePtr,
    pending: Rc<Pending>,
}

impl CallBack {
    /// For functions of a database.
    pub fn new(scope: &mut v8::PinScope<'_, '_>, pending: &Rc<Pending>) -> Self {
        Self {
            // SAFETY: only used by `enter`, on this thread, while the isolate lives.
            isolate: unsafe { scope.as_raw_isolate_ptr() },
            pending: pending.clone(),
        }
    }

    /// Enters JavaScript from within a call of SQLite; `None` when that threw or the process is ending.
    pub fn enter<T>(
        &self,
        body: impl for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>) -> Result<T, Throw>,
    ) -> Option<T> {
        // SAFETY: SQLite calls back on the thread that called it, which is the isolate's, in a binding's call: the isolate
        // is entered, and the scope of that call is not used until SQLite returns.
        let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(self.isolate) };
        let env = Env::of(&isolate);
        if env.is_ending() {
            return None;
        }
        v8::scope!(let scope, &mut isolate);
        let context = env.context(scope)?;
        let scope = &mut v8::ContextScope::new(scope, context);
        v8::tc_scope!(catch, scope);
        let result = match body(catch) {
            Ok(value) => Some(value),
            Err(throw) => {
                throw.throw(catch);
                None
            }
        };
        if result.is_none()
            && !catch.has_terminated()
            && let Some(exception) = catch.exception()
        {
            let exception = v8::Global::new(catch, exception);
            self.pending.keep(exception);
        }
        result.filter(|_| !env.is_ending())
    }
}
