//! `internalBinding('uv')`: libuv's error numbers, names and texts. Source: `src/uv.cc`.

use secure_exec_kernel::Errno;

use crate::binding::{Args, Binding, Ret, function};
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "uv",
    functions: &[
        ("errname", function!(errname)),
        ("getErrorMap", function!(get_error_map)),
        ("getErrorMessage", function!(get_error_message)),
    ],
    ..Binding::DEFAULT
};

/// The error of libuv's number in the first argument, or libuv's text for a number that it does not know.
fn lookup(
    scope: &mut v8::PinScope<'_, '_>,
    args: &Args<'_>,
) -> Result<Result<Errno, String>, Throw> {
    let number = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let known = number
        .checked_neg()
        .filter(|number| *number > 0)
        .and_then(Errno::from_number);
    Ok(known.ok_or_else(|| format!("Unknown system error {number}")))
}

fn string<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> Ret<'s> {
    Ok(v8::String::new(scope, text).ok_or(Throw::Pending)?.into())
}

fn errname<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    match lookup(scope, args)? {
        Ok(errno) => string(scope, errno.name()),
        Err(text) => string(scope, &text),
    }
}

fn get_error_message<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    match lookup(scope, args)? {
        Ok(errno) => string(scope, errno.message()),
        Err(text) => string(scope, &text),
    }
}

/// A map from libuv's number to `[name, text]`.
fn get_error_map<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let map = v8::Map::new(scope);
    for errno in Errno::ALL {
        let number = v8::Integer::new(scope, errno.uv()).into();
        let entry = [
            string(scope, errno.name())?,
            string(scope, errno.message())?,
        ];
        let entry = v8::Array::new_with_elements(scope, &entry).into();
        map.set(scope, number, entry).ok_or(Throw::Pending)?;
    }
    Ok(map.into())
}
