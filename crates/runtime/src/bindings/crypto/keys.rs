//! Keys: what a `KeyObject` holds. Source: `src/crypto/crypto_keys.cc`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::argument::{bytes, invalid};
use super::job;
use super::random::random_bytes;
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::Provider;
use crate::env::Env;
use crate::realm::set;
use crate::text::{self, Encoding};
use crate::throw::Throw;

const KEYGEN_REQUEST: Provider = Provider {
    name: "KEYGENREQUEST",
    number: 55,
};

/// `kKeyTypeSecret`
const SECRET: i32 = 0;

/// A key; any thread may use it.
#[derive(Clone)]
pub enum KeyData {
    /// Bytes that two sides share.
    Secret(Arc<[u8]>),
}

/// The Rust side of a `KeyObjectHandle`, empty until `init`.
#[derive(Default)]
struct Handle(RefCell<Option<KeyData>>);

impl KeyData {
    /// The key behind a `KeyObjectHandle`.
    pub fn of<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
    ) -> Option<Self> {
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
            None => Ok(bytes(scope, value, "key")?.into()),
        }
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
    let handle = Handle(RefCell::new(Some(key)));
    let env = Env::of(scope);
    env.objects.wrap(scope, args.this(), Rc::new(handle));
    Ok(v8::undefined(scope).into())
}

/// `init(type, data, format, encoding, passphrase)`
pub fn init<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let handle = this(scope, args)?;
    let kind = args.get(0).int32_value(scope).ok_or(Throw::Pending)?;
    if kind != SECRET {
        return Err(no_asymmetric_keys());
    }
    let data = bytes(scope, args.get(1), "key")?;
    handle.0.replace(Some(KeyData::Secret(data.into())));
    Ok(v8::undefined(scope).into())
}

/// `getSymmetricKeySize()`
pub fn symmetric_size<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let KeyData::Secret(key) = key(scope, args)?;
    let size = u32::try_from(key.len()).unwrap_or(u32::MAX);
    Ok(v8::Integer::new_from_unsigned(scope, size).into())
}

/// `export(format, encoding, cipher, passphrase)`
pub fn export<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let KeyData::Secret(key) = key(scope, args)?;
    Ok(buffer_of(scope, &key)?.into())
}

/// `exportJwk(target)`
pub fn export_jwk<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("target"))?;
    let KeyData::Secret(key) = key(scope, args)?;
    let kind = text::one_byte(scope, b"oct")?;
    set(scope, target, "kty", kind);
    let value = text::decode(scope, &key, Encoding::Base64Url)?;
    set(scope, target, "k", value);
    Ok(target.into())
}

/// `keyDetail(target)`: the length in bits.
pub fn key_detail<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("target"))?;
    let KeyData::Secret(key) = key(scope, args)?;
    let bits = u32::try_from(key.len().saturating_mul(8)).unwrap_or(u32::MAX);
    let bits = v8::Integer::new_from_unsigned(scope, bits).into();
    set(scope, target, "length", bits);
    Ok(target.into())
}

/// A method of asymmetric keys, which we do not have.
pub fn asymmetric<'s>(_scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    Err(no_asymmetric_keys())
}

fn no_asymmetric_keys() -> Throw {
    Throw::unavailable("asymmetric keys")
}

/// `equals(other)`
pub fn equals<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let KeyData::Secret(own) = key(scope, args)?;
    let other = KeyData::of(scope, args.get(0)).ok_or_else(|| invalid("otherKeyObject"))?;
    let KeyData::Secret(other) = other;
    let equal = bool::from(own.ct_eq(&other));
    Ok(v8::Boolean::new(scope, equal).into())
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
