//! OpenSSL's errors as JavaScript's, with `library`, `reason` and `code`.

use secure_exec_tls::TlsError;

use crate::realm::set;
use crate::text;
use crate::throw::{ErrorClass, Throw};

/// The error's value.
pub fn value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: TlsError,
) -> Option<v8::Local<'s, v8::Value>> {
    let value = Throw::Plain(ErrorClass::Error, error.message()).into_value(scope)?;
    let object = v8::Local::<v8::Object>::try_from(value).ok()?;
    if error.is_coded() {
        let code = error.code();
        for (name, text) in [
            ("library", error.library),
            ("reason", error.reason),
            ("code", &code),
        ] {
            let text = text::utf8(scope, text.as_bytes()).ok()?;
            set(scope, object, name, text);
        }
    }
    Some(value)
}

/// Throws the error.
pub fn throw(scope: &mut v8::PinScope<'_, '_>, error: TlsError) -> Throw {
    if let Some(value) = value(scope, error) {
        scope.throw_exception(value);
    }
    Throw::Pending
}
