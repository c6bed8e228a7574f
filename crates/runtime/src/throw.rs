//! What a binding throws into the guest: Node's own errors with `code`, `errno`, `syscall`, `path` and `dest`.

use secure_exec_kernel::Errno;

/// The constructor of a thrown error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// `Error`
    Error,
    /// `TypeError`
    Type,
    /// `RangeError`
    Range,
    /// `SyntaxError`
    Syntax,
}

/// An error of a system call, as libuv words it: `CODE: text, syscall 'path' -> 'dest'`.
#[derive(Clone, Debug)]
pub struct SystemError {
    /// What went wrong.
    pub errno: Errno,
    /// The call's name as Node gives it, for example `open`.
    pub syscall: &'static str,
    /// The path that the guest named.
    pub path: Option<String>,
    /// The second path of `rename`, `link`, `symlink` and `copyfile`.
    pub dest: Option<String>,
    /// Replaces libuv's text where Node does so.
    pub message: Option<String>,
    /// Why a policy refused; stands behind libuv's text.
    pub reason: Option<String>,
}

/// An error of OpenSSL's, from which Node makes `library`, `reason` and `code`.
#[derive(Clone, Debug)]
pub struct OpenSslError {
    /// OpenSSL's number for it: the library in the upper bits, the reason in the lower ones.
    pub number: u32,
    /// What the number means.
    pub reason: &'static str,
    /// Errors that led to this one, the first one first, as text: `opensslErrorStack`.
    pub stack: Vec<String>,
}

/// Why a binding function did not return a value.
#[derive(Debug)]
pub enum Throw {
    /// An exception is pending in V8 already, or the process is being terminated.
    Pending,
    /// A plain error.
    Plain(ErrorClass, String),
    /// An error with Node's `code` property.
    Coded(ErrorClass, &'static str, String),
    /// An error of a system call.
    System(Box<SystemError>),
    /// What the permission model does not permit.
    Denied(Box<AccessDenied>),
    /// An error in OpenSSL's form.
    OpenSsl(Box<OpenSslError>),
}

/// What the permission model says no to.
#[derive(Clone, Debug)]
pub struct AccessDenied {
    /// The scope.
    pub permission: &'static str,
    /// The option that would grant it; empty when there is none.
    pub option: &'static str,
    /// The path, or what else was asked for.
    pub resource: String,
}

impl Throw {
    /// `TypeError` with Node's `code`.
    pub fn type_error(code: &'static str, message: impl Into<String>) -> Self {
        Self::Coded(ErrorClass::Type, code, message.into())
    }

    /// `RangeError` with Node's `code`.
    pub fn range_error(code: &'static str, message: impl Into<String>) -> Self {
        Self::Coded(ErrorClass::Range, code, message.into())
    }

    /// `Error` with Node's `code`.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::Coded(ErrorClass::Error, code, message.into())
    }

    /// A system call that failed, without paths.
    pub fn system(errno: Errno, syscall: &'static str) -> Self {
        Self::System(Box::new(SystemError {
            errno,
            syscall,
            path: None,
            dest: None,
            message: None,
            reason: denial_reason(errno),
        }))
    }

    /// A system call on a path that failed.
    pub fn system_path(errno: Errno, syscall: &'static str, path: impl Into<String>) -> Self {
        Self::System(Box::new(SystemError {
            errno,
            syscall,
            path: Some(path.into()),
            dest: None,
            message: None,
            reason: denial_reason(errno),
        }))
    }

    /// What Node throws for a feature that this platform does not have.
    pub fn unavailable(feature: &str) -> Self {
        Self::error(
            "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
            format!(
                "The feature {feature} is unavailable on the current platform, which is being used to run Node.js"
            ),
        )
    }

    /// Makes the exception's value; `None` when V8 already has one pending.
    pub fn into_value<'s>(
        self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Option<v8::Local<'s, v8::Value>> {
        match self {
            Self::Pending => None,
            Self::Plain(class, message) => Some(new_error(scope, class, &message)),
            Self::Coded(class, code, message) => {
                let error = new_error(scope, class, &message);
                let value = v8::String::new(scope, code)?.into();
                set_property(scope, error, "code", value);
                Some(error)
            }
            Self::System(error) => Some(error.into_value(scope)),
            Self::Denied(denied) => Some(denied.into_value(scope)),
            Self::OpenSsl(error) => Some(error.into_value(scope)),
        }
    }

    /// Throws into V8.
    pub fn throw(self, scope: &mut v8::PinScope<'_, '_>) {
        if let Some(value) = self.into_value(scope) {
            scope.throw_exception(value);
        }
    }
}

impl OpenSslError {
    /// The name of the library as messages have it, and as codes have it; most have none there.
    fn library(&self) -> (&'static str, &'static str) {
        match self.number >> 23 {
            3 => ("bignum routines", "BN_"),
            4 => ("rsa routines", "RSA_"),
            5 => ("Diffie-Hellman routines", "DH_"),
            6 => ("digital envelope routines", "EVP_"),
            9 => ("PEM routines", "PEM_"),
            10 => ("dsa routines", "DSA_"),
            11 => ("x509 certificate routines", "X509_"),
            13 => ("asn1 encoding routines", "ASN1_"),
            15 => ("common libcrypto routines", "CRYPTO_"),
            16 => ("elliptic curve routines", "EC_"),
            20 => ("SSL routines", "SSL_"),
            35 => ("PKCS12 routines", "PKCS12_"),
            57 => ("Provider routines", ""),
            59 => ("ENCODER routines", ""),
            60 => ("DECODER routines", ""),
            _ => ("lib(0)", ""),
        }
    }

    /// `error:NUMBER:library::reason`
    pub fn text(&self) -> String {
        let (library, _) = self.library();
        format!("error:{:08X}:{library}::{}", self.number, self.reason)
    }

    /// The error object, with its properties in Node's order.
    pub fn into_value<'s>(&self, scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Value> {
        let error = new_error(scope, ErrorClass::Error, &self.text());
        if !self.stack.is_empty() {
            let lines: Vec<v8::Local<v8::Value>> = self
                .stack
                .iter()
                .filter_map(|line| v8::String::new(scope, line))
                .map(Into::into)
                .collect();
            let stack = v8::Array::new_with_elements(scope, &lines).into();
            set_property(scope, error, "opensslErrorStack", stack);
        }
        let (library, prefix) = self.library();
        let reason = self.reason.to_ascii_uppercase().replace(' ', "_");
        // There are no codes that begin with "ERR_OSSL_SSL_".
        let code = match prefix {
            "SSL_" => format!("ERR_SSL_{reason}"),
            prefix => format!("ERR_OSSL_{prefix}{reason}"),
        };
        for (key, text) in [
            ("library", library),
            ("reason", self.reason),
            ("code", &code),
        ] {
            if let Some(value) = v8::String::new(scope, text) {
                set_property(scope, error, key, value.into());
            }
        }
        error
    }
}

impl AccessDenied {
    /// The error object, with its properties in Node's order.
    pub fn into_value<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Value> {
        let advice = match self.option {
            "" => String::new(),
            option => format!("Use {option} to manage permissions."),
        };
        let message = format!("Access to this API has been restricted. {advice}");
        let error = new_error(scope, ErrorClass::Error, &message);
        for (key, text) in [
            ("code", "ERR_ACCESS_DENIED"),
            ("permission", self.permission),
            ("resource", &self.resource),
        ] {
            if let Some(value) = v8::String::new(scope, text) {
                set_property(scope, error, key, value.into());
            }
        }
        error
    }
}

impl SystemError {
    /// The message in libuv's wording.
    pub fn text(&self) -> String {
        let message = self
            .message
            .as_deref()
            .unwrap_or_else(|| self.errno.message());
        let mut text = format!("{}: {message}, {}", self.errno.name(), self.syscall);
        if let Some(path) = &self.path {
            text.push_str(&format!(" '{path}'"));
        }
        if let Some(dest) = &self.dest {
            text.push_str(&format!(" -> '{dest}'"));
        }
        if let Some(reason) = &self.reason {
            text.push_str(": ");
            text.push_str(reason);
        }
        text
    }

    /// The error object, with its properties in Node's order.
    pub fn into_value<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Value> {
        let error = new_error(scope, ErrorClass::Error, &self.text());
        let errno = v8::Integer::new(scope, -self.errno.number()).into();
        set_property(scope, error, "errno", errno);
        for (key, text) in [
            ("code", Some(self.errno.name())),
            ("syscall", Some(self.syscall)),
            ("path", self.path.as_deref()),
            ("dest", self.dest.as_deref()),
        ] {
            if let Some(value) = text.and_then(|text| v8::String::new(scope, text)) {
                set_property(scope, error, key, value.into());
            }
        }
        error
    }
}

/// Why the call that just failed with `errno` on this thread was refused, if a policy refused it.
pub fn denial_reason(errno: Errno) -> Option<String> {
    (errno == Errno::EACCES)
        .then(secure_exec_kernel::permissions::take_denial_reason)
        .flatten()
}

fn new_error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    class: ErrorClass,
    message: &str,
) -> v8::Local<'s, v8::Value> {
    let message = v8::String::new(scope, message).unwrap_or_else(|| v8::String::empty(scope));
    match class {
        ErrorClass::Error => v8::Exception::error(scope, message),
        ErrorClass::Type => v8::Exception::type_error(scope, message),
        ErrorClass::Range => v8::Exception::range_error(scope, message),
        ErrorClass::Syntax => v8::Exception::syntax_error(scope, message),
    }
}

/// Defines an own data property, which runs no setter of the guest's.
fn set_property(
    scope: &mut v8::PinScope<'_, '_>,
    target: v8::Local<v8::Value>,
    key: &str,
    value: v8::Local<v8::Value>,
) {
    let Ok(target) = v8::Local::<v8::Object>::try_from(target) else {
        return;
    };
    if let Some(key) = v8::String::new(scope, key) {
        // A failure leaves an exception pending (termination): the caller is about to throw anyway.
        let _ = target.create_data_property(scope, key.into(), value);
    }
}
