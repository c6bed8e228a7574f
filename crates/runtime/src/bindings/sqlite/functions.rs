//! Functions and aggregates of JavaScript's that SQL calls.

use std::any::Any;

use secure_exec_sqlite::{Aggregate, Answer, Arguments, Scalar, Traits, Value};

use super::database::Database;
use super::machine::after_call;
use super::values::{CallBack, Options, failed, options, to_js, utf8_of, with_sqlite};
use super::{invalid_type, this};
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::text;
use crate::throw::{ErrorClass, Throw};

struct Function {
    function: v8::Global<v8::Function>,
    big_ints: bool,
    call_back: CallBack,
}

struct Accumulator {
    start: v8::Global<v8::Value>,
    step: v8::Global<v8::Function>,
    inverse: Option<v8::Global<v8::Function>>,
    result: Option<v8::Global<v8::Function>>,
    big_ints: bool,
    call_back: CallBack,
}

/// The arguments of a call as JavaScript's, behind `first`.
fn to_js_all<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    first: Option<v8::Local<'s, v8::Value>>,
    mut arguments: Arguments<'_>,
    big_ints: bool,
) -> Result<Vec<v8::Local<'s, v8::Value>>, Throw> {
    let mut values: Vec<_> = first.into_iter().collect();
    for index in 0..arguments.count() {
        values.push(to_js(scope, arguments.get(index), big_ints)?);
    }
    Ok(values)
}

/// What a function of JavaScript's answered.
fn answer<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Answer, Throw> {
    if value.is_null_or_undefined() {
        return Ok(Answer::Null);
    }
    if value.is_promise() {
        return Ok(Answer::Error(
            "Asynchronous user-defined functions are not supported".to_owned(),
        ));
    }
    let too_large = || Throw::Plain(ErrorClass::Error, String::new());
    let copied = with_sqlite(scope, value, too_large, |value| match value {
        Value::Null | Value::Refused => Answer::Null,
        Value::Integer(number) => Answer::Integer(number),
        Value::Real(number) => Answer::Real(number),
        Value::Text(text) => Answer::Text(text.to_vec()),
        Value::Blob(bytes) => Answer::Blob(bytes.to_vec()),
    });
    Ok(match copied {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::Error(
            "Returned JavaScript value cannot be converted to a SQLite value".to_owned(),
        ),
        Err(_) => Answer::Error("BigInt value is too large for SQLite".to_owned()),
    })
}

impl Scalar for Function {
    fn call(&self, arguments: Arguments<'_>) -> Answer {
        let called = self.call_back.enter(|scope| {
            let values = to_js_all(scope, None, arguments, self.big_ints)?;
            let function = v8::Local::new(scope, &self.function);
            let receiver = v8::undefined(scope).into();
            let result = function
                .call(scope, receiver, &values)
                .ok_or(Throw::Pending)?;
            answer(scope, result)
        });
        called.unwrap_or(Answer::Thrown)
    }
}

impl Aggregate for Accumulator {
    fn start(&self) -> Option<Box<dyn Any>> {
        let start = self.call_back.enter(|scope| {
            let start = v8::Local::new(scope, &self.start);
            let value = match v8::Local::<v8::Function>::try_from(start) {
                Ok(function) => {
                    let receiver = v8::null(scope).into();
                    function.call(scope, receiver, &[]).ok_or(Throw::Pending)?
                }
                Err(_) => start,
            };
            Ok(v8::Global::new(scope, value))
        })?;
        Some(Box::new(start))
    }

    fn step(&self, state: &mut Box<dyn Any>, arguments: Arguments<'_>, inverse: bool) -> bool {
        let function = match &self.inverse {
            Some(inverse_function) if inverse => inverse_function,
            _ => &self.step,
        };
        let Some(state) = state.downcast_mut::<v8::Global<v8::Value>>() else {
            return false;
        };
        let next = self.call_back.enter(|scope| {
            let value = v8::Local::new(scope, &*state);
            let values = to_js_all(scope, Some(value), arguments, self.big_ints)?;
            let function = v8::Local::new(scope, function);
            let receiver = v8::undefined(scope).into();
            let result = function
                .call(scope, receiver, &values)
                .ok_or(Throw::Pending)?;
            Ok(v8::Global::new(scope, result))
        });
        let went = next.is_some();
        if let Some(next) = next {
            *state = next;
        }
        went
    }

    fn result(&self, state: &dyn Any) -> Answer {
        let Some(state) = state.downcast_ref::<v8::Global<v8::Value>>() else {
            return Answer::Thrown;
        };
        let result = self.call_back.enter(|scope| {
            let mut value = v8::Local::new(scope, state);
            if let Some(function) = &self.result {
                let function = v8::Local::new(scope, function);
                let receiver = v8::null(scope).into();
                value = function
                    .call(scope, receiver, &[value])
                    .ok_or(Throw::Pending)?;
            }
            answer(scope, value)
        });
        result.unwrap_or(Answer::Thrown)
    }
}

/// `function.length`, which a guest may have changed.
fn length_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    function: v8::Local<'s, v8::Function>,
) -> Result<i32, Throw> {
    let key = v8::String::new(scope, "length").ok_or(Throw::Pending)?;
    let length = function.get(scope, key.into()).ok_or(Throw::Pending)?;
    if length.is_int32() {
        return length.int32_value(scope).ok_or(Throw::Pending);
    }
    Ok(0)
}

/// `function(name[, options], function)`
pub fn define_function<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    database.connection()?;
    let name = utf8_of(scope, args.get(0))
        .ok_or_else(|| invalid_type("The \"name\" argument must be a string."))?;
    let mut traits = Traits::default();
    let (mut big_ints, mut varargs) = (false, false);
    let has_options = args.length() >= 3;
    if has_options {
        let options = options(args.get(1))?;
        big_ints = options.flag(scope, "useBigIntArguments", false)?;
        varargs = options.flag(scope, "varargs", false)?;
        traits.deterministic = options.flag(scope, "deterministic", false)?;
        traits.direct_only = options.flag(scope, "directOnly", false)?;
    }
    let function = args.get(if has_options { 2 } else { 1 });
    let function = v8::Local::<v8::Function>::try_from(function)
        .map_err(|_| invalid_type("The \"function\" argument must be a function."))?;
    traits.arguments = if varargs {
        -1
    } else {
        length_of(scope, function)?
    };
    let own = Box::new(Function {
        function: v8::Global::new(scope, function),
        big_ints,
        call_back: CallBack::new(scope, &database.pending),
    });
    // A getter of the options' may have closed it.
    let defined = database.connection()?.create_function(&name, traits, own);
    defined.map_err(|error| failed(scope, &database.pending, &error))?;
    let env = Env::of(scope);
    after_call(scope, &env);
    Ok(v8::undefined(scope).into())
}

/// `aggregate(name, options)`
pub fn define_aggregate<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let database = this::<Database>(scope, args)?;
    database.connection()?;
    let name = args.get(0).to_string(scope).ok_or(Throw::Pending)?;
    let name = text::encode(scope, name, text::Encoding::Utf8);
    if args.get(1).is_null_or_undefined() {
        let kind = if args.get(1).is_null() {
            "null"
        } else {
            "undefined"
        };
        return Err(Throw::Plain(
            ErrorClass::Type,
            format!("Cannot read properties of {kind} (reading 'start')"),
        ));
    }
    let options = Options(args.get(1).to_object(scope).ok_or(Throw::Pending)?);
    let start = options.get(scope, "start")?.ok_or_else(|| {
        invalid_type("The \"options.start\" argument must be a function or a primitive value.")
    })?;
    let step = options
        .function(scope, "step")?
        .ok_or_else(|| super::values::wrong("step", "a function"))?;
    let result = options.get(scope, "result")?;
    let result = result.and_then(|result| v8::Local::<v8::Function>::try_from(result).ok());
    let big_ints = options.flag(scope, "useBigIntArguments", false)?;
    let varargs = options.flag(scope, "varargs", false)?;
    let direct_only = options.flag(scope, "directOnly", false)?;
    let inverse = options.function(scope, "inverse")?;
    let mut arguments = -1;
    if !varargs {
        // The first argument is what the steps before have come to.
        arguments = length_of(scope, step)?.saturating_sub(1).max(0);
        if let Some(inverse) = inverse {
            arguments = arguments.max(length_of(scope, inverse)?.saturating_sub(1));
        }
    }
    let traits = Traits {
        arguments,
        deterministic: false,
        direct_only,
    };
    let own = Box::new(Accumulator {
        start: v8::Global::new(scope, start),
        step: v8::Global::new(scope, step),
        inverse: inverse.map(|inverse| v8::Global::new(scope, inverse)),
        result: result.map(|result| v8::Global::new(scope, result)),
        big_ints,
        call_back: CallBack::new(scope, &database.pending),
    });
    let defined = database
        .connection()?
        .create_aggregate(&name, traits, inverse.is_some(), own);
    defined.map_err(|error| failed(scope, &database.pending, &error))?;
    let env = Env::of(scope);
    after_call(scope, &env);
    Ok(v8::undefined(scope).into())
}
