//! Arguments of these functions: bytes and names, copied out.

use crate::array_buffer::Contents;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// What is thrown for an argument that the library would not pass.
pub fn invalid(name: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("The \"{name}\" argument is not valid"),
    )
}

/// The bytes of a view or a buffer.
pub fn bytes<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    name: &str,
) -> Result<Vec<u8>, Throw> {
    let mut contents = Contents::default();
    contents
        .of_value(scope, value)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| invalid(name))
}

/// The bytes of a string in an encoding, or those of a view or a buffer.
pub fn text_or_bytes<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    encoding: v8::Local<'s, v8::Value>,
    name: &str,
) -> Result<Vec<u8>, Throw> {
    match v8::Local::<v8::String>::try_from(value) {
        Ok(string) => {
            let encoding = Encoding::from_value(scope, encoding, Encoding::Utf8);
            Ok(text::encode(scope, string, encoding))
        }
        Err(_) => bytes(scope, value, name),
    }
}

/// A string.
pub fn string<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    name: &str,
) -> Result<String, Throw> {
    let string = v8::Local::<v8::String>::try_from(value).map_err(|_| invalid(name))?;
    Ok(string.to_rust_string_lossy(scope))
}

/// A whole number that is not negative.
pub fn number<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    name: &str,
) -> Result<u64, Throw> {
    if !value.is_number() {
        return Err(invalid(name));
    }
    let number = value.integer_value(scope).ok_or(Throw::Pending)?;
    u64::try_from(number).map_err(|_| invalid(name))
}
