//! `Hash`, `Hmac` and what belongs to them. Sources: `src/crypto/crypto_hash.cc`, `src/crypto/crypto_hmac.cc`.

use std::cell::RefCell;
use std::rc::Rc;

use subtle::ConstantTimeEq;

use super::algorithm::{Algorithm, AnyMac, Hasher, LISTED};
use super::argument::{bytes, invalid, string, text_or_bytes};
use super::job::{self, Outcome};
use super::keys::KeyData;
use super::openssl::{self, failure, failure_after};
use super::random::charge;
use crate::array_buffer::{Contents, allocation_failed, array_buffer_of, buffer_of};
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::Provider;
use crate::env::Env;
use crate::memory::NativeCharge;
use crate::text::{self, Encoding};
use crate::throw::Throw;

const HASH_REQUEST: Provider = Provider {
    name: "HASHREQUEST",
    number: 59,
};
const SIGN_REQUEST: Provider = Provider {
    name: "SIGNREQUEST",
    number: 63,
};

/// The Rust side of a `Hash`.
struct Hash {
    state: RefCell<Box<dyn Hasher>>,
    length: Option<usize>,
    /// A digest that was handed out, which is handed out again.
    done: RefCell<Option<(Vec<u8>, Option<NativeCharge>)>>,
}

/// Bytes of the longest digest that is made, whatever the memory limit is.
const LONGEST_DIGEST: usize = 1 << 30;

/// What OpenSSL has for old data only, not as Node builds it.
const LEGACY: &[&str] = &["md4", "rsa-md4", "whirlpool", "mdc2", "rsa-mdc2"];

fn not_supported(name: &str) -> Throw {
    if LEGACY.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return failure_after(
            openssl::EVP_UNSUPPORTED,
            &[openssl::EVP_INITIALIZATION_ERROR, openssl::EVP_UNSUPPORTED],
        );
    }
    Throw::Plain(
        crate::throw::ErrorClass::Error,
        "Digest method not supported".into(),
    )
}

fn wrong_length() -> Throw {
    failure(openssl::EVP_NOT_XOF)
}

fn this<'s, T: 'static>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<T>, Throw> {
    let this = Env::of(scope).objects.unwrap::<T>(scope, args.this());
    this.ok_or_else(|| {
        Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
    })
}

/// `new Hash(algorithm | hash, outputLength, algorithmId, cache)`
pub fn new_hash<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Hash"));
    }
    let length = match args.get(1) {
        value if value.is_undefined() => None,
        value => Some(value.uint32_value(scope).ok_or(Throw::Pending)? as usize),
    };
    let env = Env::of(scope);
    let state = if let Ok(object) = v8::Local::<v8::Object>::try_from(args.get(0)) {
        let original = env.objects.unwrap::<Hash>(scope, object);
        let original = original.ok_or_else(|| invalid("algorithm"))?;
        original.state.borrow().copy()
    } else {
        let name = string(scope, args.get(0), "algorithm")?;
        Algorithm::from_name(&name)
            .map(Algorithm::hasher)
            .ok_or_else(|| not_supported(&name))?
    };
    if length.is_some_and(|length| !state.allows(length)) {
        return Err(wrong_length());
    }
    let hash = Hash {
        state: RefCell::new(state),
        length,
        done: RefCell::default(),
    };
    let held = size_of_val(&**hash.state.borrow());
    env.objects
        .wrap_with(scope, args.this(), Rc::new(hash), held);
    Ok(v8::undefined(scope).into())
}

/// `hash.update(data, encoding)`
pub fn update_hash<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let hash = this::<Hash>(scope, args)?;
    feed(scope, args, |bytes| hash.state.borrow_mut().update(bytes))?;
    Ok(v8::Boolean::new(scope, true).into())
}

/// Hands the data in the first argument to `sink`, without a copy where it can.
fn feed<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    sink: impl FnOnce(&[u8]),
) -> Result<(), Throw> {
    if args.get(0).is_string() {
        sink(&text_or_bytes(scope, args.get(0), args.get(1), "data")?);
        return Ok(());
    }
    let mut contents = Contents::default();
    sink(
        contents
            .of_value(scope, args.get(0))
            .ok_or_else(|| invalid("data"))?,
    );
    Ok(())
}

/// `digest` as the caller wants it: text in an encoding, or a buffer.
fn encoded<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    digest: &[u8],
    encoding: v8::Local<'s, v8::Value>,
) -> Ret<'s> {
    match Encoding::from_value(scope, encoding, Encoding::Buffer) {
        Encoding::Buffer => Ok(buffer_of(scope, digest)?.into()),
        encoding => text::decode(scope, digest, encoding),
    }
}

/// `hash.digest(encoding)`
pub fn digest_hash<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let hash = this::<Hash>(scope, args)?;
    if hash.done.borrow().is_none() {
        let length = hash.length.unwrap_or_default();
        if length > LONGEST_DIGEST {
            return Err(allocation_failed());
        }
        let charge = charge(scope, length)?;
        let digest = hash.state.borrow().finish(hash.length);
        hash.done.replace(Some((digest, charge)));
    }
    let done = hash.done.borrow();
    let digest = done.as_ref().map_or(&[][..], |(digest, _)| digest);
    encoded(scope, digest, args.get(0))
}

/// `oneShotDigest(algorithm, algorithmId, cache, input, encoding, encodingNumber)`
pub fn one_shot<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = string(scope, args.get(0), "algorithm")?;
    let algorithm = Algorithm::from_name(&name).ok_or_else(|| {
        Throw::Plain(
            crate::throw::ErrorClass::Error,
            format!("Digest method {name} is not supported"),
        )
    })?;
    let mut hasher = algorithm.hasher();
    if args.get(3).is_string() {
        let undefined = v8::undefined(scope).into();
        hasher.update(&text_or_bytes(scope, args.get(3), undefined, "input")?);
    } else {
        let mut contents = Contents::default();
        let input = contents.of_value(scope, args.get(3));
        hasher.update(input.ok_or_else(|| invalid("input"))?);
    }
    encoded(scope, &hasher.finish(None), args.get(4))
}

/// `getHashes()`
pub fn get_hashes<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    super::names(scope, LISTED.iter().map(|(name, _)| *name))
}

/// `new HashJob(mode, algorithm, data, length)`, for `subtle.digest()`.
pub fn new_hash_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = string(scope, args.get(1), "algorithm")?;
    let algorithm = Algorithm::for_mac(&name)?;
    let data = bytes(scope, args.get(2), "data")?;
    job::construct(
        scope,
        args,
        HASH_REQUEST,
        data.len(),
        move |_| algorithm.digest(&data),
        |scope, digest| Ok(array_buffer_of(scope, &digest)?.into()),
    )
}

/// The Rust side of an `Hmac`, empty until `init`.
#[derive(Default)]
struct Hmac(RefCell<Option<Box<dyn AnyMac>>>);

/// `new Hmac()`
pub fn new_hmac<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Hmac"));
    }
    let env = Env::of(scope);
    env.objects
        .wrap(scope, args.this(), Rc::new(Hmac::default()));
    Ok(v8::undefined(scope).into())
}

/// `hmac.init(algorithm, key)`
pub fn init_hmac<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = string(scope, args.get(0), "hmac")?;
    let key = KeyData::secret_argument(scope, args.get(1))?;
    let hmac = this::<Hmac>(scope, args)?;
    let mac = Algorithm::for_mac(&name)?.mac(&key);
    hmac.0.replace(mac);
    Ok(v8::undefined(scope).into())
}

/// `hmac.update(data, encoding)`
pub fn update_hmac<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let hmac = this::<Hmac>(scope, args)?;
    let mut taken = false;
    feed(scope, args, |bytes| {
        if let Some(mac) = hmac.0.borrow_mut().as_mut() {
            mac.update(bytes);
            taken = true;
        }
    })?;
    Ok(v8::Boolean::new(scope, taken).into())
}

/// `hmac.digest(encoding)`
pub fn digest_hmac<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let hmac = this::<Hmac>(scope, args)?;
    let digest = hmac.0.take().map(|mac| mac.finish()).unwrap_or_default();
    encoded(scope, &digest, args.get(0))
}

/// `new HmacJob(mode, signMode, algorithm, key, data, signature)`
pub fn new_hmac_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = string(scope, args.get(2), "algorithm")?;
    let algorithm = Algorithm::for_mac(&name)?;
    let key = KeyData::secret_argument(scope, args.get(3))?;
    let data = bytes(scope, args.get(4), "data")?;
    let signature = match args.get(5) {
        value if value.is_undefined() => None,
        value => Some(bytes(scope, value, "signature")?),
    };
    let held = key.len() + data.len() + signature.as_ref().map_or(0, Vec::len);
    job::construct(
        scope,
        args,
        SIGN_REQUEST,
        held,
        move |_| {
            let mac = algorithm.mac(&key).map(|mut mac| {
                mac.update(&data);
                mac.finish()
            });
            let mac = mac.unwrap_or_default();
            match signature {
                None => Outcome::Bytes(mac),
                Some(signature) => Outcome::Bool(bool::from(mac.ct_eq(&signature))),
            }
        },
        job::outcome,
    )
}

/// `timingSafeEqual(first, second)`
pub fn timing_safe_equal<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let refused = |name| {
        Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            format!(
                "The \"{name}\" argument must be an instance of ArrayBuffer, Buffer, TypedArray, or DataView."
            ),
        )
    };
    let (mut first, mut second) = (Contents::default(), Contents::default());
    let first = first.of_value(scope, args.get(0));
    let first = first.ok_or_else(|| refused("buf1"))?;
    let second = second.of_value(scope, args.get(1));
    let second = second.ok_or_else(|| refused("buf2"))?;
    if first.len() != second.len() {
        return Err(Throw::range_error(
            "ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH",
            "Input buffers must have the same byte length",
        ));
    }
    let equal = bool::from(first.ct_eq(second));
    Ok(v8::Boolean::new(scope, equal).into())
}
