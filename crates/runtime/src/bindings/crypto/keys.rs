//! Keys: what a `KeyObject` holds. Source: `src/crypto/crypto_keys.cc`.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use rsa::traits::PublicKeyParts;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::argument::{bytes, invalid, string};
use super::asymmetric::{PrivateKey, PublicKey, Use, modulus_bits};
use super::cfrg::Cfrg;
use super::curve::Curve;
use super::encoding::{self, Structure};
use super::job::{self, Outcome};
use super::modular::uint;
use super::pbe::{self, Encryption, PemEncrypted};
use super::random::{charge, random_bytes};
use crate::array_buffer::{array_buffer_of, buffer_of};
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::Provider;
use crate::env::Env;
use crate::memory::NativeCharge;
use crate::message::{HostType, TransferData};
use crate::realm::set;
use crate::text;
use crate::throw::Throw;
use crate::work::Meter;

/// The provider of jobs that encrypt and decrypt.
pub const CIPHER_REQUEST: Provider = Provider {
    name: "CIPHERREQUEST",
    number: 57,
};
/// The provider of jobs that derive secrets.
pub const DERIVE_REQUEST: Provider = Provider {
    name: "DERIVEBITSREQUEST",
    number: 58,
};
/// The provider of jobs that make pairs of keys.
pub const PAIR_REQUEST: Provider = Provider {
    name: "KEYPAIRGENREQUEST",
    number: 54,
};
/// The provider of jobs that make keys.
pub const KEYGEN_REQUEST: Provider = Provider {
    name: "KEYGENREQUEST",
    number: 55,
};

const KEY_EXPORT_REQUEST: Provider = Provider {
    name: "KEYEXPORTREQUEST",
    number: 56,
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
struct Handle {
    key: RefCell<Option<KeyData>>,
    /// What the key takes; several handles of one key share it.
    charge: RefCell<Option<Rc<NativeCharge>>>,
    /// Whether a `KeyObject` has it.
    of_object: bool,
}

impl Handle {
    /// Puts a key into it.
    fn put(&self, scope: &mut v8::PinScope<'_, '_>, key: KeyData) -> Result<(), Throw> {
        let charge = charge(scope, key.cost())?.map(Rc::new);
        self.charge.replace(charge);
        self.key.replace(Some(key));
        Ok(())
    }
}

/// Of a `KeyObject`.
pub static HOST_TYPE: HostType = HostType {
    clone_object: |host: &Rc<dyn Any>| {
        let handle = host
            .downcast_ref::<Handle>()
            .filter(|handle| handle.of_object)?;
        Some(Box::new(handle.key.borrow().clone()?))
    },
};

impl TransferData for KeyData {
    fn is_of_main_context(&self) -> bool {
        true
    }

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

/// Bytes that a key of two halves takes, about.
const PAIR_BYTES: usize = 4 << 10;
/// The same for what every handle takes.
const HANDLE_BYTES: usize = 512;

impl KeyData {
    /// Bytes that a handle of it takes.
    fn cost(&self) -> usize {
        match self {
            Self::Secret(bytes) => bytes.len().saturating_add(HANDLE_BYTES),
            Self::Public(_) | Self::Private(_) => PAIR_BYTES,
        }
    }

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
        let key = handle.key.borrow();
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
        let passphrase = passphrase(scope, args.get(at + 3))?;
        let unlock = &mut encoding::Unlock {
            passphrase: passphrase.as_ref().map(|passphrase| passphrase.as_slice()),
            meter: &mut Meter::on_own_thread(&Env::of(scope)),
        };
        match form(scope, args, at + 1)? {
            None => encoding::private_from_pem(&data, unlock),
            Some(structure) => encoding::private_from_der(&data, structure, unlock),
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
        let passphrase = passphrase(scope, args.get(at + 3))?;
        let unlock = &mut encoding::Unlock {
            passphrase: passphrase.as_ref().map(|passphrase| passphrase.as_slice()),
            meter: &mut Meter::on_own_thread(&Env::of(scope)),
        };
        match form(scope, args, at + 1)? {
            None => encoding::public_from_pem(&data, unlock),
            Some(structure) => encoding::public_from_der(&data, structure, unlock),
        }
    }

    /// The public half; `None` for a secret.
    pub fn public_half(&self) -> Option<PublicKey> {
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
        encryption: Option<&Encryption>,
    ) -> Ret<'s> {
        if format == JWK {
            let target = v8::Object::new(scope);
            return self.jwk(scope, target);
        }
        let structure = structure.ok_or_else(|| invalid("type"))?;
        let der = self.der(structure).ok_or_else(|| invalid("type"))?;
        if let Some(encryption) = encryption {
            if structure != Structure::Pkcs8 {
                let encrypted = PemEncrypted::encrypt(&der, encryption)?;
                let pem = encoding::encrypted_pem(&encrypted, structure);
                return text::one_byte(scope, pem.as_bytes());
            }
            let meter = &mut Meter::on_own_thread(&Env::of(scope));
            let der = pbe::encrypt(&der, encryption, meter)?;
            if format == DER {
                return Ok(buffer_of(scope, &der)?.into());
            }
            let pem = encoding::encrypted_pkcs8_pem(&der).ok_or_else(|| invalid("type"))?;
            return text::one_byte(scope, pem.as_bytes());
        }
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

    /// A new `KeyObjectHandle` for this key.
    pub fn into_handle<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
        let env = Env::of(scope);
        let object = env.new_instance(scope, "crypto.KeyObjectHandle")?;
        let handle = env.objects.unwrap::<Handle>(scope, object);
        handle.ok_or_else(|| invalid("handle"))?.put(scope, self)?;
        Ok(object.into())
    }
}

/// A passphrase in an argument.
fn passphrase<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Option<Zeroizing<Vec<u8>>>, Throw> {
    if value.is_null_or_undefined() {
        return Ok(None);
    }
    Ok(Some(Zeroizing::new(bytes(scope, value, "passphrase")?)))
}

/// The cipher and the passphrase in two arguments.
///
/// # Errors
/// There is no such cipher.
pub fn encryption<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    at: i32,
) -> Result<Option<Encryption>, Throw> {
    if args.get(at).is_null_or_undefined() {
        return Ok(None);
    }
    let name = string(scope, args.get(at), "cipher")?;
    let passphrase = passphrase(scope, args.get(at + 1))?.unwrap_or_default();
    Encryption::new(&name, passphrase).map(Some)
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
    let key = handle.key.borrow();
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
    let env = Env::of(scope);
    let original = v8::Local::<v8::Object>::try_from(args.get(0))
        .ok()
        .and_then(|object| env.objects.unwrap::<Handle>(scope, object));
    let charge = original.and_then(|handle| handle.charge.borrow().clone());
    let handle = Handle {
        key: RefCell::new(Some(key)),
        charge: RefCell::new(charge),
        of_object: true,
    };
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
    handle.put(scope, key)?;
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
    let encryption = encryption(scope, args, 2)?;
    let format = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    let structure = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let structure = Structure::from_number(structure);
    key.encoded(scope, format, structure, encryption.as_ref())
}

/// `exportJwk(target)`
pub fn export_jwk<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("target"))?;
    key(scope, args)?.jwk(scope, target)
}

/// `initJwk(jwk, namedCurve)`: answers the type of the key.
pub fn init_jwk<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let jwk = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("jwk"))?;
    let key = KeyData::from_jwk(scope, jwk, args.get(1))?;
    let kind = match &key {
        KeyData::Secret(_) => SECRET,
        KeyData::Public(_) => PUBLIC,
        KeyData::Private(_) => PRIVATE,
    };
    handle.put(scope, key)?;
    Ok(v8::Integer::new(scope, kind).into())
}

/// `initECRaw(curve, point)`
pub fn init_ec_raw<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let name = string(scope, args.get(0), "curve")?;
    let point = bytes(scope, args.get(1), "key")?;
    let key = Curve::from_name(&name).and_then(|curve| PublicKey::ec(curve.into(), &point));
    let taken = key.is_some();
    if let Some(key) = key {
        handle.put(scope, KeyData::Public(key))?;
    }
    Ok(v8::Boolean::new(scope, taken).into())
}

/// `initEDRaw(name, data, type)`
pub fn init_ed_raw<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let name = string(scope, args.get(0), "name")?;
    let data = Zeroizing::new(bytes(scope, args.get(1), "key")?);
    let private = args.get(2).int32_value(scope) == Some(PRIVATE);
    let key = Cfrg::from_name(&name).and_then(|curve| {
        if private {
            PrivateKey::cfrg(curve, &data).map(KeyData::Private)
        } else {
            PublicKey::cfrg(curve, &data).map(KeyData::Public)
        }
    });
    let taken = key.is_some();
    if let Some(key) = key {
        handle.put(scope, key)?;
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
        Some(PublicKey::Rsa(key, usage)) => {
            let bits = v8::Integer::new_from_unsigned(scope, modulus_bits(&key)).into();
            set(scope, target, "modulusLength", bits);
            let exponent = array_buffer_of(scope, &key.e_bytes())?.into();
            set(scope, target, "publicExponent", exponent);
            if let Use::Pss(Some(restriction)) = usage {
                for (key, digest) in [
                    ("hashAlgorithm", restriction.digest),
                    ("mgf1HashAlgorithm", restriction.mask),
                ] {
                    let name = text::one_byte(scope, digest.name().as_bytes())?;
                    set(scope, target, key, name);
                }
                let salt = u32::try_from(restriction.salt).unwrap_or(u32::MAX);
                let salt = v8::Integer::new_from_unsigned(scope, salt).into();
                set(scope, target, "saltLength", salt);
            }
        }
        Some(PublicKey::Dsa(domain, _)) => {
            for (key, number) in [("modulusLength", &domain.p), ("divisorLength", &domain.q)] {
                let bits = uint(number).bits_vartime();
                let bits = v8::Integer::new_from_unsigned(scope, bits).into();
                set(scope, target, key, bits);
            }
        }
        Some(PublicKey::Ec(group, _)) => {
            let name = text::one_byte(scope, group.curve.name().as_bytes())?;
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
        0,
        move |_| {
            let bytes = match (format, &key) {
                (RAW, KeyData::Public(PublicKey::Ec(_, point))) => Some(point.to_vec()),
                (RAW, KeyData::Public(PublicKey::Cfrg(_, raw))) => Some(raw.to_vec()),
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
    job::construct(
        scope,
        args,
        KEYGEN_REQUEST,
        length,
        move |_| random_bytes(length),
        |scope, key| KeyData::Secret(key?.into()).into_handle(scope),
    )
}
