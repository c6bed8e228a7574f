//! Keys: what a `KeyObject` holds. Source: `src/crypto/crypto_keys.cc`.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use rsa::traits::PublicKeyParts;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::argument::{bytes, invalid, string};
use super::asymmetric::{PrivateKey, PublicKey, modulus_bits};
use super::curve::Curve;
use super::encoding::{self, Structure};
use super::job::{self, Outcome};
use super::random::random_bytes;
use crate::array_buffer::{array_buffer_of, buffer_of};
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::Provider;
use crate::env::Env;
use crate::message::{HostType, TransferData};
use crate::realm::set;
use crate::text::{self, Encoding};
use crate::throw::Throw;

/// The provider of jobs that make keys.
pub const KEYGEN_REQUEST: Provider = Provider {
    name: "KEYGENREQUEST",
    number: 55,
};

const KEY_EXPORT_REQUEST: Provider = Provider {
    name: "KEYEXPORTREQUEST",
    number: 57,
};

/// `kKeyTypeSecret`
const SECRET: i32 = 0;
/// `kKeyTypePublic`
pub const PUBLIC: i32 = 1;
/// `kKeyTypePrivate`
const PRIVATE: i32 = 2;
/// `kKeyFormatDER`
const DER: i32 = 0;
/// `kKeyFormatPEM`
const PEM: i32 = 1;
/// `kKeyFormatJWK`
const JWK: i32 = 2;

/// A key; any thread may use it.
#[derive(Clone)]
pub enum KeyData {
    /// Bytes that two sides share.
    Secret(Arc<[u8]>),
    /// The half that anybody may have.
    Public(PublicKey),
    /// Both halves.
    Private(PrivateKey),
}

/// The Rust side of a `KeyObjectHandle`, empty until `init`, or of a `KeyObject` (then it can be cloned).
#[derive(Default)]
struct Handle(RefCell<Option<KeyData>>, bool);

/// Of a `KeyObject`.
pub static HOST_TYPE: HostType = HostType {
    clone_object: |host: &Rc<dyn Any>| {
        let handle = host.downcast_ref::<Handle>().filter(|handle| handle.1)?;
        Some(Box::new(handle.0.borrow().clone()?))
    },
};

impl TransferData for KeyData {
    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let class = match &*self {
            Self::Secret(_) => "SecretKeyObject",
            Self::Public(_) => "PublicKeyObject",
            Self::Private(_) => "PrivateKeyObject",
        };
        // Loads the class of handles, too.
        let module = crate::realm::require_builtin(scope, env, "internal/crypto/keys").ok()?;
        let class = v8::String::new(scope, class)?;
        let class = v8::Local::<v8::Function>::try_from(module.get(scope, class.into())?).ok()?;
        let handle = match (*self).into_handle(scope) {
            Ok(handle) => handle,
            Err(throw) => {
                throw.throw(scope);
                return None;
            }
        };
        class.new_instance(scope, &[handle])
    }
}

impl KeyData {
    /// The key behind a `KeyObjectHandle`.
    pub fn of<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
    ) -> Option<Self> {
        // A view has internal fields too, with nothing of ours in them.
        if value.is_array_buffer_view() {
            return None;
        }
        let object = v8::Local::<v8::Object>::try_from(value).ok()?;
        let handle = Env::of(scope).objects.unwrap::<Handle>(scope, object)?;
        let key = handle.0.borrow();
        key.clone()
    }

    /// The secret in an argument: a handle's, or bytes.
    ///
    /// # Errors
    /// It is neither.
    pub fn secret_argument<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
    ) -> Result<Arc<[u8]>, Throw> {
        match Self::of(scope, value) {
            Some(Self::Secret(key)) => Ok(key),
            Some(_) => Err(invalid("key")),
            None => Ok(bytes(scope, value, "key")?.into()),
        }
    }

    /// The private key in four arguments: a handle, or data with its format, structure and passphrase.
    ///
    /// # Errors
    /// There is none in it.
    pub fn private_argument<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        args: &Args<'s>,
        at: i32,
    ) -> Result<PrivateKey, Throw> {
        if let Some(key) = Self::of(scope, args.get(at)) {
            return match key {
                Self::Private(key) => Ok(key),
                _ => Err(invalid("key")),
            };
        }
        let data = Zeroizing::new(bytes(scope, args.get(at), "key")?);
        match form(scope, args, at + 1)? {
            None => encoding::private_from_pem(&data),
            Some(structure) => encoding::private_from_der(&data, structure),
        }
    }

    /// The public key in four arguments, where a private one stands for its public half.
    ///
    /// # Errors
    /// There is none in it.
    pub fn public_argument<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        args: &Args<'s>,
        at: i32,
    ) -> Result<PublicKey, Throw> {
        if let Some(key) = Self::of(scope, args.get(at)) {
            return key.public_half().ok_or_else(|| invalid("key"));
        }
        let data = Zeroizing::new(bytes(scope, args.get(at), "key")?);
        match form(scope, args, at + 1)? {
            None => encoding::public_from_pem(&data),
            Some(structure) => encoding::public_from_der(&data, structure),
        }
    }

    /// The public half; `None` for a secret.
    fn public_half(&self) -> Option<PublicKey> {
        match self {
            Self::Secret(_) => None,
            Self::Public(key) => Some(key.clone()),
            Self::Private(key) => key.public(),
        }
    }

    /// The key as PEM, DER or JWK, as numbers of the library's say.
    ///
    /// # Errors
    /// The key has no such form.
    pub fn encoded<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        format: i32,
        structure: Option<Structure>,
    ) -> Ret<'s> {
        if format == JWK {
            let target = v8::Object::new(scope);
            return self.jwk(scope, target);
        }
        let structure = structure.ok_or_else(|| invalid("type"))?;
        let der = self.der(structure).ok_or_else(|| invalid("type"))?;
        if format == DER {
            return Ok(buffer_of(scope, &der)?.into());
        }
        let private = matches!(self, Self::Private(_));
        let pem = encoding::pem(&der, structure, private).ok_or_else(|| invalid("type"))?;
        text::one_byte(scope, pem.as_bytes())
    }

    fn der(&self, structure: Structure) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Secret(_) => None,
            Self::Public(key) => encoding::public_to_der(key, structure).map(Zeroizing::new),
            Self::Private(key) => encoding::private_to_der(key, structure),
        }
    }

    /// Sets the members of a JWK, in Node's order.
    fn jwk<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        target: v8::Local<'s, v8::Object>,
    ) -> Ret<'s> {
        let mut members: Vec<(&str, Member<'_>)> = Vec::new();
        let public = self.public_half();
        let parts;
        let private = match self {
            Self::Private(key) => Some(key),
            _ => None,
        };
        match (&public, self) {
            (None, Self::Secret(key)) => {
                members.push(("kty", Member::Name("oct")));
                members.push(("k", Member::Bytes(key.to_vec())));
            }
            (Some(PublicKey::Rsa(key)), _) => {
                members.push(("kty", Member::Name("RSA")));
                members.push(("n", Member::Bytes(key.n_bytes().into_vec())));
                members.push(("e", Member::Bytes(key.e_bytes().into_vec())));
                if let Some(PrivateKey::Rsa(key)) = private {
                    parts = PrivateKey::rsa_parts(key).ok_or_else(|| invalid("key"))?;
                    let names = ["d", "p", "q", "dp", "dq", "qi"];
                    for (name, part) in names.into_iter().zip(&parts.parts) {
                        members.push((name, Member::Bytes(part.to_vec())));
                    }
                }
            }
            (Some(PublicKey::Ec(curve, point)), _) => {
                let coordinates = point.get(1..).unwrap_or_default();
                let (x, y) = coordinates
                    .split_at_checked(curve.size())
                    .unwrap_or_default();
                members.push(("kty", Member::Name("EC")));
                members.push(("x", Member::Bytes(x.to_vec())));
                members.push(("y", Member::Bytes(y.to_vec())));
                members.push(("crv", Member::Name(curve.jwk_name())));
                if let Some(PrivateKey::Ec(_, scalar)) = private {
                    members.push(("d", Member::Bytes(scalar.to_vec())));
                }
            }
            (Some(PublicKey::Ed25519(x) | PublicKey::X25519(x)), _) => {
                let curve = match public {
                    Some(PublicKey::Ed25519(_)) => "Ed25519",
                    _ => "X25519",
                };
                members.push(("crv", Member::Name(curve)));
                if let Some(PrivateKey::Ed25519(seed) | PrivateKey::X25519(seed)) = private {
                    members.push(("d", Member::Bytes(seed.to_vec())));
                }
                members.push(("x", Member::Bytes(x.to_vec())));
                members.push(("kty", Member::Name("OKP")));
            }
            (None, _) => return Err(invalid("key")),
        }
        for (name, member) in members {
            let value = match member {
                Member::Name(name) => text::one_byte(scope, name.as_bytes())?,
                Member::Bytes(bytes) => {
                    let bytes = Zeroizing::new(bytes);
                    text::decode(scope, &bytes, Encoding::Base64Url)?
                }
            };
            set(scope, target, name, value);
        }
        Ok(target.into())
    }

    /// A new `KeyObjectHandle` for this key.
    pub fn into_handle<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
        let env = Env::of(scope);
        let object = env.new_instance(scope, "crypto.KeyObjectHandle")?;
        let handle = env.objects.unwrap::<Handle>(scope, object);
        handle
            .ok_or_else(|| invalid("handle"))?
            .0
            .replace(Some(self));
        Ok(object.into())
    }
}

/// A member of a JWK.
enum Member<'a> {
    Name(&'a str),
    Bytes(Vec<u8>),
}

/// How data is encoded, in three arguments: as PEM, or as DER of a structure.
fn form<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    at: i32,
) -> Result<Option<Structure>, Throw> {
    match args.get(at).int32_value(scope) {
        Some(PEM) => Ok(None),
        Some(DER) => {
            let structure = args.get(at + 1).int32_value(scope);
            let structure = structure.and_then(Structure::from_number);
            structure.map(Some).ok_or_else(|| invalid("type"))
        }
        _ => Err(invalid("format")),
    }
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Handle>, Throw> {
    let this = Env::of(scope).objects.unwrap::<Handle>(scope, args.this());
    this.ok_or_else(|| invalid("this"))
}

fn key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<KeyData, Throw> {
    let handle = this(scope, args)?;
    let key = handle.0.borrow();
    key.clone()
        .ok_or_else(|| Throw::error("ERR_INVALID_STATE", "Invalid state: the key is empty"))
}

/// `new KeyObjectHandle()`
pub fn new_handle<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("KeyObjectHandle"));
    }
    let env = Env::of(scope);
    env.objects
        .wrap(scope, args.this(), Rc::new(Handle::default()));
    Ok(v8::undefined(scope).into())
}

/// `new NativeKeyObject(handle)`, the base of the library's `KeyObject`: it has the same key.
pub fn new_native<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("NativeKeyObject"));
    }
    let key = KeyData::of(scope, args.get(0)).ok_or_else(|| invalid("handle"))?;
    let handle = Handle(RefCell::new(Some(key)), true);
    let env = Env::of(scope);
    env.objects.wrap(scope, args.this(), Rc::new(handle));
    Ok(v8::undefined(scope).into())
}

/// `init(type, data, format, encoding, passphrase)`
pub fn init<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let kind = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let key = match kind {
        SECRET => KeyData::Secret(bytes(scope, args.get(1), "key")?.into()),
        PUBLIC => KeyData::Public(KeyData::public_argument(scope, args, 1)?),
        PRIVATE => KeyData::Private(KeyData::private_argument(scope, args, 1)?),
        _ => return Err(invalid("type")),
    };
    handle.0.replace(Some(key));
    Ok(v8::undefined(scope).into())
}

/// `getSymmetricKeySize()`
pub fn symmetric_size<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let KeyData::Secret(key) = key(scope, args)? else {
        return Err(invalid("this"));
    };
    let size = u32::try_from(key.len()).unwrap_or(u32::MAX);
    Ok(v8::Integer::new_from_unsigned(scope, size).into())
}

/// `export(format, encoding, cipher, passphrase)`
pub fn export<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let key = key(scope, args)?;
    if let KeyData::Secret(key) = key {
        return Ok(buffer_of(scope, &key)?.into());
    }
    if !args.get(2).is_null_or_undefined() {
        return Err(encoding::encrypted());
    }
    let format = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let structure = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    key.encoded(scope, format, Structure::from_number(structure))
}

/// `exportJwk(target)`
pub fn export_jwk<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("target"))?;
    key(scope, args)?.jwk(scope, target)
}

/// The bytes of a member of a JWK; `None` when it is no string.
fn member<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    jwk: v8::Local<'s, v8::Object>,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, Throw> {
    let name = v8::String::new(scope, name).ok_or(Throw::Pending)?;
    let value = jwk.get(scope, name.into()).ok_or(Throw::Pending)?;
    let text = v8::Local::<v8::String>::try_from(value).ok();
    Ok(text.map(|text| Zeroizing::new(text::encode(scope, text, Encoding::Base64Url))))
}

/// `initJwk(jwk, namedCurve)`: answers the type of the key.
pub fn init_jwk<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let refused = |text: &str| Throw::type_error("ERR_CRYPTO_INVALID_JWK", text);
    let jwk = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("jwk"))?;
    let name = v8::String::new(scope, "kty").ok_or(Throw::Pending)?;
    let kind = jwk.get(scope, name.into()).ok_or(Throw::Pending)?;
    let (key, kind) = match string(scope, kind, "kty")?.as_str() {
        "oct" => {
            let secret = member(scope, jwk, "k")?;
            let secret = secret.ok_or_else(|| refused("Invalid JWK secret key format"))?;
            (KeyData::Secret(secret.as_slice().into()), SECRET)
        }
        "RSA" => {
            let invalid = || refused("Invalid JWK RSA key");
            let modulus = member(scope, jwk, "n")?.ok_or_else(invalid)?;
            let exponent = member(scope, jwk, "e")?.ok_or_else(invalid)?;
            match member(scope, jwk, "d")? {
                None => {
                    let key = PublicKey::rsa(&modulus, &exponent).ok_or_else(invalid)?;
                    (KeyData::Public(key), PUBLIC)
                }
                Some(private) => {
                    let first = member(scope, jwk, "p")?.ok_or_else(invalid)?;
                    let second = member(scope, jwk, "q")?.ok_or_else(invalid)?;
                    for name in ["dp", "dq", "qi"] {
                        member(scope, jwk, name)?.ok_or_else(invalid)?;
                    }
                    let primes = [first.as_slice(), second.as_slice()];
                    let key = PrivateKey::rsa_from_parts(&modulus, &exponent, &private, primes);
                    (KeyData::Private(key.ok_or_else(invalid)?), PRIVATE)
                }
            }
        }
        "EC" => {
            let invalid = || refused("Invalid JWK EC key");
            let curve = string(scope, args.get(1), "namedCurve")?;
            let curve = Curve::from_name(&curve).ok_or_else(|| {
                Throw::type_error("ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name")
            })?;
            let mut point = vec![UNCOMPRESSED];
            for name in ["x", "y"] {
                let coordinate = member(scope, jwk, name)?.ok_or_else(invalid)?;
                let missing = curve.size().checked_sub(coordinate.len());
                point.resize(point.len() + missing.ok_or_else(invalid)?, 0);
                point.extend_from_slice(&coordinate);
            }
            let public = PublicKey::ec(curve, &point).ok_or_else(invalid)?;
            match member(scope, jwk, "d")? {
                None => (KeyData::Public(public), PUBLIC),
                Some(scalar) => {
                    let private = PrivateKey::ec(curve, &scalar).ok_or_else(invalid)?;
                    if private.public().as_ref() != Some(&public) {
                        return Err(invalid());
                    }
                    (KeyData::Private(private), PRIVATE)
                }
            }
        }
        _ => return Err(refused("Unsupported JWK asymmetric key type")),
    };
    handle.0.replace(Some(key));
    Ok(v8::Integer::new(scope, kind).into())
}

/// The first byte of a point with both coordinates.
const UNCOMPRESSED: u8 = 4;

/// `initECRaw(curve, point)`
pub fn init_ec_raw<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let name = string(scope, args.get(0), "curve")?;
    let point = bytes(scope, args.get(1), "key")?;
    let key = Curve::from_name(&name).and_then(|curve| PublicKey::ec(curve, &point));
    let taken = key.is_some();
    if let Some(key) = key {
        handle.0.replace(Some(KeyData::Public(key)));
    }
    Ok(v8::Boolean::new(scope, taken).into())
}

/// `initEDRaw(name, data, type)`
pub fn init_ed_raw<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let name = string(scope, args.get(0), "name")?;
    let data = Zeroizing::new(bytes(scope, args.get(1), "key")?);
    let private = args.get(2).int32_value(scope) == Some(PRIVATE);
    let raw = <[u8; 32]>::try_from(data.as_slice()).ok();
    let key = raw.and_then(|raw| match (name.as_str(), private) {
        ("Ed25519", false) => Some(KeyData::Public(PublicKey::Ed25519(raw))),
        ("X25519", false) => Some(KeyData::Public(PublicKey::X25519(raw))),
        ("Ed25519", true) => Some(KeyData::Private(PrivateKey::Ed25519(Arc::new(
            Zeroizing::new(raw),
        )))),
        ("X25519", true) => Some(KeyData::Private(PrivateKey::X25519(Arc::new(
            Zeroizing::new(raw),
        )))),
        _ => None,
    });
    let taken = key.is_some();
    if key.is_some() {
        handle.0.replace(key);
    }
    Ok(v8::Boolean::new(scope, taken).into())
}

/// `getAsymmetricKeyType()`
pub fn asymmetric_type<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = match key(scope, args)? {
        KeyData::Secret(_) => return Err(invalid("this")),
        KeyData::Public(key) => key.name(),
        KeyData::Private(key) => key.name(),
    };
    text::one_byte(scope, name.as_bytes())
}

/// `checkEcKeyData()`: a key that is not on its curve was not taken.
pub fn check_ec<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let ec = matches!(
        key(scope, args)?,
        KeyData::Public(PublicKey::Ec(..)) | KeyData::Private(PrivateKey::Ec(..))
    );
    Ok(v8::Boolean::new(scope, ec).into())
}

/// `keyDetail(target)`: the length in bits, the exponent, the curve.
pub fn key_detail<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("target"))?;
    let key = key(scope, args)?;
    if let KeyData::Secret(key) = &key {
        let bits = u32::try_from(key.len().saturating_mul(8)).unwrap_or(u32::MAX);
        let bits = v8::Integer::new_from_unsigned(scope, bits).into();
        set(scope, target, "length", bits);
        return Ok(target.into());
    }
    match key.public_half() {
        Some(PublicKey::Rsa(key)) => {
            let bits = v8::Integer::new_from_unsigned(scope, modulus_bits(&key)).into();
            set(scope, target, "modulusLength", bits);
            let exponent = array_buffer_of(scope, &key.e_bytes())?.into();
            set(scope, target, "publicExponent", exponent);
        }
        Some(PublicKey::Ec(curve, _)) => {
            let name = text::one_byte(scope, curve.name().as_bytes())?;
            set(scope, target, "namedCurve", name);
        }
        _ => {}
    }
    Ok(target.into())
}

/// `equals(other)`
pub fn equals<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let own = key(scope, args)?;
    let other = KeyData::of(scope, args.get(0)).ok_or_else(|| invalid("otherKeyObject"))?;
    let equal = match (&own, &other) {
        (KeyData::Secret(own), KeyData::Secret(other)) => bool::from(own.ct_eq(other)),
        (KeyData::Public(own), KeyData::Public(other)) => own == other,
        (KeyData::Private(_), KeyData::Private(_)) => own.public_half() == other.public_half(),
        _ => false,
    };
    Ok(v8::Boolean::new(scope, equal).into())
}

/// `new ECKeyExportJob(mode, format, handle)`, and the same for RSA: for `subtle.exportKey()`.
pub fn new_export_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// `kWebCryptoKeyFormatRaw`
    const RAW: i32 = 0;
    /// `kWebCryptoKeyFormatPKCS8`
    const PKCS8: i32 = 1;
    /// `kWebCryptoKeyFormatSPKI`
    const SPKI: i32 = 2;

    let format = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let key = KeyData::of(scope, args.get(2)).ok_or_else(|| invalid("key"))?;
    job::construct(
        scope,
        args,
        KEY_EXPORT_REQUEST,
        move |_| {
            let bytes = match (format, &key) {
                (RAW, KeyData::Public(PublicKey::Ec(_, point))) => Some(point.to_vec()),
                (RAW, KeyData::Public(PublicKey::Ed25519(raw) | PublicKey::X25519(raw))) => {
                    Some(raw.to_vec())
                }
                (PKCS8, KeyData::Private(_)) => key.der(Structure::Pkcs8).map(|der| der.to_vec()),
                (SPKI, KeyData::Public(_)) => key.der(Structure::Spki).map(|der| der.to_vec()),
                _ => None,
            };
            bytes.map_or_else(|| Outcome::Failed(invalid("format")), Outcome::Bytes)
        },
        job::outcome,
    )
}

/// `new SecretKeyGenJob(mode, bits)`
pub fn new_secret_key_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const MOST: u32 = i32::MAX as u32;
    let bits = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    if bits > MOST {
        return Err(invalid("length"));
    }
    let length = bits as usize / 8;
    let charge = super::random::charge(scope, length)?;
    job::construct(
        scope,
        args,
        KEYGEN_REQUEST,
        move |_| {
            let _charge = charge;
            random_bytes(length)
        },
        |scope, key| KeyData::Secret(key?.into()).into_handle(scope),
    )
}
