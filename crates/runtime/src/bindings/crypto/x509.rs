//! Certificates. Source: `src/crypto/crypto_x509.cc`.

use std::any::Any;
use std::rc::Rc;

use secure_exec_tls::certificate::{Certificate, KeyDetails};
use secure_exec_tls::host::{self, Flags};
use secure_exec_tls::name::Name;
use secure_exec_tls::{TlsError, der};

use super::argument::{bytes, invalid, string};
use super::encoding::{self, Structure};
use super::keys::KeyData;
use super::tls_error;
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Function, Ret, function};
use crate::env::Env;
use crate::message::{HostType, TransferData};
use crate::realm::set;
use crate::text;
use crate::throw::Throw;
use crate::work::Meter;

/// Methods of `X509Certificate`.
pub const METHODS: &[Function] = &[
    ("subject", function!(subject)),
    ("subjectAltName", function!(subject_alt_name)),
    ("infoAccess", function!(info_access)),
    ("issuer", function!(issuer)),
    ("validTo", function!(valid_to)),
    ("validFrom", function!(valid_from)),
    ("validToDate", function!(valid_to_date)),
    ("validFromDate", function!(valid_from_date)),
    ("fingerprint", function!(fingerprint)),
    ("fingerprint256", function!(fingerprint256)),
    ("fingerprint512", function!(fingerprint512)),
    ("keyUsage", function!(key_usage)),
    ("serialNumber", function!(serial_number)),
    ("pem", function!(pem)),
    ("raw", function!(raw)),
    ("publicKey", function!(public_key)),
    ("checkCA", function!(check_ca)),
    ("checkHost", function!(check_host)),
    ("checkEmail", function!(check_email)),
    ("checkIP", function!(check_ip)),
    ("checkIssued", function!(check_issued)),
    ("checkPrivateKey", function!(check_private_key)),
    ("verify", function!(verify)),
    ("toLegacy", function!(to_legacy)),
    ("getIssuerCert", function!(get_issuer_cert)),
];

/// What is behind an object of the class.
#[derive(Clone)]
struct Handle {
    certificate: Certificate,
    /// The rest of the chain that it came with.
    above: Vec<Certificate>,
}

/// Of the handle of an `X509Certificate`.
pub static HOST_TYPE: HostType = HostType {
    clone_object: |host: &Rc<dyn Any>| {
        let handle = host.downcast_ref::<Handle>()?;
        Some(Box::new(handle.clone()))
    },
};

impl TransferData for Handle {
    fn is_of_main_context(&self) -> bool {
        true
    }

    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        // Loads the class of handles, too.
        crate::realm::require_builtin(scope, env, "internal/crypto/x509").ok()?;
        match wrap(scope, self.certificate, self.above) {
            Ok(handle) => handle.try_into().ok(),
            Err(throw) => {
                throw.throw(scope);
                None
            }
        }
    }
}

/// A new object for a certificate, and for those that came with it.
pub fn wrap<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    certificate: Certificate,
    above: Vec<Certificate>,
) -> Ret<'s> {
    let env = Env::of(scope);
    let object = env.new_instance(scope, "crypto.X509Certificate")?;
    env.objects
        .wrap(scope, object, Rc::new(Handle { certificate, above }));
    Ok(object.into())
}

fn of<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>) -> Option<Rc<Handle>> {
    if value.is_array_buffer_view() {
        return None;
    }
    let object = v8::Local::<v8::Object>::try_from(value).ok()?;
    Env::of(scope).objects.unwrap::<Handle>(scope, object)
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Certificate, Throw> {
    let handle = of(scope, args.this().into()).ok_or_else(|| invalid("this"))?;
    Ok(handle.certificate.clone())
}

/// `parseX509(buffer)`
pub fn parse<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let bytes = bytes(scope, args.get(0), "buffer")?;
    match Certificate::from_any(&bytes) {
        Some(certificate) => wrap(scope, certificate, Vec::new()),
        None => Err(tls_error::throw(scope, TlsError::NO_START_LINE)),
    }
}

fn utf8<'s>(scope: &mut v8::PinScope<'s, '_>, text: &str) -> Ret<'s> {
    text::utf8(scope, text.as_bytes())
}

fn optional<'s>(scope: &mut v8::PinScope<'s, '_>, text: Option<String>) -> Ret<'s> {
    match text {
        Some(text) => utf8(scope, &text),
        None => Ok(v8::undefined(scope).into()),
    }
}

fn subject<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.subject().lines();
    optional(scope, Some(text).filter(|text| !text.is_empty()))
}

fn issuer<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.issuer().lines();
    optional(scope, Some(text).filter(|text| !text.is_empty()))
}

fn subject_alt_name<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.subject_alt_name();
    optional(scope, text)
}

fn info_access<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.info_access();
    optional(scope, text)
}

fn valid_from<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.valid_from();
    utf8(scope, &text)
}

fn valid_to<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.valid_to();
    utf8(scope, &text)
}

#[expect(clippy::cast_precision_loss, reason = "JavaScript's dates are doubles")]
fn date<'s>(scope: &mut v8::PinScope<'s, '_>, seconds: i64) -> Ret<'s> {
    let date = v8::Date::new(scope, seconds as f64 * 1e3).ok_or(Throw::Pending)?;
    Ok(date.into())
}

fn valid_from_date<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let seconds = this(scope, args)?.not_before();
    date(scope, seconds)
}

fn valid_to_date<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let seconds = this(scope, args)?.not_after();
    date(scope, seconds)
}

fn fingerprint<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.fingerprint();
    utf8(scope, &text)
}

fn fingerprint256<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.fingerprint256();
    utf8(scope, &text)
}

fn fingerprint512<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.fingerprint512();
    utf8(scope, &text)
}

fn usages<'s>(scope: &mut v8::PinScope<'s, '_>, certificate: &Certificate) -> Ret<'s> {
    let Some(usages) = certificate.extended_key_usage() else {
        return Ok(v8::undefined(scope).into());
    };
    let mut values = Vec::with_capacity(usages.len());
    for usage in usages {
        values.push(utf8(scope, &usage)?);
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

fn key_usage<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    usages(scope, &certificate)
}

fn serial_number<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.serial_number();
    utf8(scope, &text)
}

fn pem<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let text = this(scope, args)?.pem();
    utf8(scope, &text)
}

fn raw<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    Ok(buffer_of(scope, certificate.der())?.into())
}

fn public_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    let unlock = &mut encoding::Unlock {
        passphrase: None,
        meter: &mut Meter::on_own_thread(&Env::of(scope)),
    };
    let key = encoding::public_from_der(certificate.spki(), Structure::Spki, unlock);
    let Ok(key) = key else {
        return Err(tls_error::throw(scope, TlsError::KEY_DECODE_ERROR));
    };
    KeyData::Public(key).into_handle(scope)
}

fn check_ca<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let ca = this(scope, args)?.is_ca();
    Ok(v8::Boolean::new(scope, ca).into())
}

fn flags<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Flags, Throw> {
    Ok(Flags(
        args.get(1).uint32_value(scope).ok_or(Throw::Pending)?,
    ))
}

fn check_host<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    let name = string(scope, args.get(0), "name")?;
    let flags = flags(scope, args)?;
    if name.contains('\0') {
        return Err(Throw::type_error("ERR_INVALID_ARG_VALUE", "Invalid name"));
    }
    optional(scope, host::check_host(&certificate, &name, flags))
}

fn check_email<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    let email = string(scope, args.get(0), "email")?;
    let flags = flags(scope, args)?;
    if email.contains('\0') {
        return Err(Throw::type_error("ERR_INVALID_ARG_VALUE", "Invalid name"));
    }
    optional(scope, host::check_email(&certificate, &email, flags))
}

fn check_ip<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    let address = string(scope, args.get(0), "ip")?;
    match host::check_ip(&certificate, &address) {
        Some(matches) => optional(scope, matches.then_some(address)),
        None => Err(Throw::type_error("ERR_INVALID_ARG_VALUE", "Invalid IP")),
    }
}

fn check_issued<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    let issuer = of(scope, args.get(0)).ok_or_else(|| invalid("otherCert"))?;
    let issued = certificate.is_issued_by(&issuer.certificate);
    Ok(v8::Boolean::new(scope, issued).into())
}

/// The public half of a key in an argument, as `SubjectPublicKeyInfo`.
fn spki_argument<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Vec<u8>, Throw> {
    let key = KeyData::of(scope, args.get(0)).and_then(|key| key.public_half());
    key.and_then(|key| encoding::public_to_der(&key, Structure::Spki))
        .ok_or_else(|| invalid("pkey"))
}

fn check_private_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    let spki = spki_argument(scope, args)?;
    Ok(v8::Boolean::new(scope, certificate.spki() == spki).into())
}

fn verify<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    let spki = spki_argument(scope, args)?;
    Ok(v8::Boolean::new(scope, certificate.is_signed_with(&spki)).into())
}

fn get_issuer_cert<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = of(scope, args.this().into()).ok_or_else(|| invalid("this"))?;
    match handle.above.split_first() {
        Some((issuer, above)) => wrap(scope, issuer.clone(), above.to_vec()),
        None => Ok(v8::undefined(scope).into()),
    }
}

fn to_legacy<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let certificate = this(scope, args)?;
    Ok(legacy(scope, &certificate)?.into())
}

/// What `getPeerCertificate()` answers for a certificate.
pub fn legacy<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    certificate: &Certificate,
) -> Result<v8::Local<'s, v8::Object>, Throw> {
    let target = v8::Object::new(scope);
    let subject = name_object(scope, &certificate.subject())?;
    set(scope, target, "subject", subject);
    let issuer = name_object(scope, &certificate.issuer())?;
    set(scope, target, "issuer", issuer);
    let texts = [
        ("subjectaltname", certificate.subject_alt_name()),
        ("infoAccess", certificate.info_access()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            let value = utf8(scope, &text)?;
            set(scope, target, name, value);
        }
    }
    let ca = v8::Boolean::new(scope, certificate.is_ca()).into();
    set(scope, target, "ca", ca);
    set_key(scope, target, certificate)?;
    let texts = [
        ("valid_from", certificate.valid_from()),
        ("valid_to", certificate.valid_to()),
        ("fingerprint", certificate.fingerprint()),
        ("fingerprint256", certificate.fingerprint256()),
        ("fingerprint512", certificate.fingerprint512()),
    ];
    for (name, text) in texts {
        let value = utf8(scope, &text)?;
        set(scope, target, name, value);
    }
    let usages = usages(scope, certificate)?;
    if !usages.is_undefined() {
        set(scope, target, "ext_key_usage", usages);
    }
    let serial = utf8(scope, &certificate.serial_number())?;
    set(scope, target, "serialNumber", serial);
    let raw = buffer_of(scope, certificate.der())?.into();
    set(scope, target, "raw", raw);
    Ok(target)
}

fn set_key<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    target: v8::Local<'s, v8::Object>,
    certificate: &Certificate,
) -> Result<(), Throw> {
    match certificate.key_details() {
        KeyDetails::Rsa(modulus, exponent) => {
            let bits = modulus.len() * 8
                - modulus
                    .first()
                    .map_or(0, |first| first.leading_zeros() as usize);
            let value = utf8(scope, &der::hex(&modulus))?;
            set(scope, target, "modulus", value);
            set_bits(scope, target, bits);
            let exponent = exponent
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            let value = utf8(scope, &format!("0x{exponent:x}"))?;
            set(scope, target, "exponent", value);
            let key = buffer_of(scope, certificate.spki())?.into();
            set(scope, target, "pubkey", key);
        }
        KeyDetails::Ec(curve, point) => {
            let (bits, asn1, nist) = match curve.as_str() {
                "1.2.840.10045.3.1.7" => (256, "prime256v1", Some("P-256")),
                "1.3.132.0.34" => (384, "secp384r1", Some("P-384")),
                "1.3.132.0.35" => (521, "secp521r1", Some("P-521")),
                "1.3.132.0.33" => (224, "secp224r1", Some("P-224")),
                "1.3.132.0.10" => (256, "secp256k1", None),
                other => (0, other, None),
            };
            if bits > 0 {
                set_bits(scope, target, bits);
            }
            let key = buffer_of(scope, &point)?.into();
            set(scope, target, "pubkey", key);
            let value = utf8(scope, asn1)?;
            set(scope, target, "asn1Curve", value);
            if let Some(nist) = nist {
                let value = utf8(scope, nist)?;
                set(scope, target, "nistCurve", value);
            }
        }
        KeyDetails::Other => {}
    }
    Ok(())
}

fn set_bits<'s>(scope: &mut v8::PinScope<'s, '_>, target: v8::Local<'s, v8::Object>, bits: usize) {
    let bits = u32::try_from(bits).unwrap_or(u32::MAX);
    let bits = v8::Integer::new_from_unsigned(scope, bits).into();
    set(scope, target, "bits", bits);
}

/// The attributes of a name; those that come more than once as arrays.
fn name_object<'s>(scope: &mut v8::PinScope<'s, '_>, name: &Name) -> Ret<'s> {
    let mut members: Vec<(String, Vec<v8::Local<'s, v8::Value>>)> = Vec::new();
    for attribute in name.attributes() {
        let value = utf8(scope, &attribute.value)?;
        match members.iter_mut().find(|(key, _)| *key == attribute.key) {
            Some((_, values)) => values.push(value),
            None => members.push((attribute.key.clone(), vec![value])),
        }
    }
    let null = v8::null(scope).into();
    let target = v8::Object::with_prototype_and_properties(scope, null, &[], &[]);
    for (key, values) in members {
        let value = match values.as_slice() {
            [value] => *value,
            values => v8::Array::new_with_elements(scope, values).into(),
        };
        set(scope, target, &key, value);
    }
    Ok(target.into())
}
