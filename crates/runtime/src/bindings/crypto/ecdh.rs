//! `ECDH` and `ECDHConvertKey`. Source: `src/crypto/crypto_ec.cc`.

use std::cell::RefCell;
use std::rc::Rc;

use zeroize::Zeroizing;

use super::argument::{bytes, invalid, string};
use super::curve::{Curve, Form};
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::env::Env;
use crate::throw::Throw;

/// The Rust side of an `ECDH`.
struct Ecdh {
    curve: Curve,
    private: RefCell<Option<Zeroizing<Vec<u8>>>>,
    public: RefCell<Option<Vec<u8>>>,
}

fn operation_failed(text: &str) -> Throw {
    Throw::error("ERR_CRYPTO_OPERATION_FAILED", text)
}

fn curve<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Curve, Throw> {
    let name = string(scope, value, "curve")?;
    Curve::from_openssl_name(&name)
        .ok_or_else(|| Throw::type_error("ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name"))
}

/// What both keys may take.
const KEYS_BYTES: usize = 256;

/// `new ECDH(curve)`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("ECDH"));
    }
    let curve = curve(scope, args.get(0))?;
    let ecdh = Ecdh {
        curve,
        private: RefCell::default(),
        public: RefCell::default(),
    };
    let env = Env::of(scope);
    env.objects
        .wrap_with(scope, args.this(), Rc::new(ecdh), KEYS_BYTES);
    Ok(v8::undefined(scope).into())
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Ecdh>, Throw> {
    let this = Env::of(scope).objects.unwrap::<Ecdh>(scope, args.this());
    this.ok_or_else(|| invalid("this"))
}

/// `generateKeys()`
pub fn generate_keys<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let this = this(scope, args)?;
    let private = this.curve.generate()?;
    this.public.replace(this.curve.public_of(&private));
    this.private.replace(Some(private));
    Ok(v8::undefined(scope).into())
}

/// `computeSecret(otherPublicKey)`: an empty string for what is no point.
pub fn compute_secret<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let other = bytes(scope, args.get(0), "otherPublicKey")?;
    let this = this(scope, args)?;
    let (private, public) = (this.private.borrow(), this.public.borrow());
    let private = private
        .as_ref()
        .filter(|private| this.curve.public_of(private) == *public)
        .ok_or_else(|| Throw::range_error("ERR_CRYPTO_INVALID_KEYPAIR", "Invalid key pair"))?;
    let Some(point) = this.curve.point(&other) else {
        return Ok(v8::String::empty(scope).into());
    };
    let shared = this.curve.agree(private, &point);
    let shared = shared.ok_or_else(|| operation_failed("Failed to compute ECDH key"))?;
    Ok(buffer_of(scope, &shared)?.into())
}

fn form<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Form, Throw> {
    let number = value.int32_value(scope).ok_or(Throw::Pending)?;
    Form::from_number(number).ok_or_else(|| invalid("form"))
}

/// `getPublicKey(form)`
pub fn get_public_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let form = form(scope, args.get(0))?;
    let this = this(scope, args)?;
    let public = this.public.borrow();
    let public = public
        .as_ref()
        .ok_or_else(|| operation_failed("Failed to get ECDH public key"))?;
    Ok(buffer_of(scope, &form.of(public))?.into())
}

/// `getPrivateKey()`
pub fn get_private_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let this = this(scope, args)?;
    let private = this.private.borrow();
    let private = private
        .as_ref()
        .ok_or_else(|| operation_failed("Failed to get ECDH private key"))?;
    Ok(buffer_of(scope, private)?.into())
}

/// `setPrivateKey(key)`, which replaces the public key, too.
pub fn set_private_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let key = Zeroizing::new(bytes(scope, args.get(0), "privateKey")?);
    let this = this(scope, args)?;
    let private = this.curve.scalar(&key).ok_or_else(|| {
        Throw::range_error(
            "ERR_CRYPTO_INVALID_KEYTYPE",
            "Private key is not valid for specified curve.",
        )
    })?;
    this.public.replace(this.curve.public_of(&private));
    this.private.replace(Some(private));
    Ok(v8::undefined(scope).into())
}

fn no_point() -> Throw {
    operation_failed("Failed to convert Buffer to EC_POINT")
}

/// `setPublicKey(key)`
pub fn set_public_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let key = bytes(scope, args.get(0), "publicKey")?;
    let this = this(scope, args)?;
    let point = this.curve.point(&key).ok_or_else(no_point)?;
    this.public.replace(Some(point));
    Ok(v8::undefined(scope).into())
}

/// `ECDHConvertKey(key, curve, form)`
pub fn convert_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let key = bytes(scope, args.get(0), "key")?;
    if key.is_empty() {
        return Ok(v8::String::empty(scope).into());
    }
    let curve = curve(scope, args.get(1))?;
    let form = form(scope, args.get(2))?;
    let point = curve.point(&key).ok_or_else(no_point)?;
    Ok(buffer_of(scope, &form.of(&point))?.into())
}
