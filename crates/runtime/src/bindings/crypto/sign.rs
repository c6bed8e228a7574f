//! Signatures: `Sign`, `Verify` and `SignJob`. Source: `src/crypto/crypto_sig.cc`.

use std::cell::RefCell;
use std::rc::Rc;

use super::algorithm::{Algorithm, Hasher};
use super::argument::{bytes, invalid, string, text_or_bytes};
use super::asymmetric::{PrivateKey, PublicKey, Restriction, Use};
use super::job::{self, Outcome};
use super::keys::KeyData;
use super::openssl::{self, failure};
use super::rsa_padding;
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::bindings::fs::resource::Provider;
use crate::env::Env;
use crate::throw::Throw;

const SIGN_REQUEST: Provider = Provider {
    name: "SIGNREQUEST",
    number: 63,
};
/// `kSigEncP1363`
const P1363: i32 = 1;
/// `kSignJobModeVerify`
const VERIFY: i32 = 1;

/// How to sign.
#[derive(Clone, Copy, Debug)]
struct Scheme {
    rsa: rsa_padding::Scheme,
    der: bool,
}

impl Scheme {
    /// What three arguments say.
    fn of<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        padding: v8::Local<'s, v8::Value>,
        salt: v8::Local<'s, v8::Value>,
        encoding: v8::Local<'s, v8::Value>,
    ) -> Self {
        let number = |value: v8::Local<'s, v8::Value>| {
            value.is_int32().then(|| value.int32_value(scope)).flatten()
        };
        Self {
            rsa: rsa_padding::Scheme {
                padding: number(padding),
                salt: number(salt),
            },
            der: number(encoding) != Some(P1363),
        }
    }
}

/// The Rust side of a `Sign` or a `Verify`, empty until `init` and after its end.
#[derive(Default)]
struct Running(RefCell<Option<(Algorithm, Box<dyn Hasher>)>>);

fn wrong_key_type() -> Throw {
    failure(openssl::EVP_OPERATION_NOT_SUPPORTED)
}

/// What there is no digest of a fixed length for.
fn has_length(algorithm: Algorithm) -> Result<(), Throw> {
    match algorithm.length() {
        None if algorithm != Algorithm::Md5Sha1 => Err(failure(openssl::INVALID_DIGEST)),
        _ => Ok(()),
    }
}

/// What OpenSSL takes for DSA: the digests that standards approve.
fn for_dsa(algorithm: Algorithm) -> Result<(), Throw> {
    match algorithm {
        Algorithm::Md5
        | Algorithm::Md5Sha1
        | Algorithm::Ripemd160
        | Algorithm::Sm3
        | Algorithm::Blake2b512
        | Algorithm::Blake2s256
        | Algorithm::Shake128
        | Algorithm::Shake256 => Err(failure(openssl::DIGEST_NOT_ALLOWED)),
        _ => Ok(()),
    }
}

fn sign_digest(
    key: &PrivateKey,
    scheme: Scheme,
    algorithm: Algorithm,
    digest: &[u8],
) -> Result<Vec<u8>, Throw> {
    match key {
        PrivateKey::Rsa(key, usage) => {
            rsa_padding::sign((key, *usage), algorithm, digest, scheme.rsa)
        }
        PrivateKey::Ec(group, scalar) => {
            has_length(algorithm)?;
            let signature = group.curve.sign(scalar, digest, scheme.der);
            signature.ok_or_else(wrong_key_type)
        }
        PrivateKey::Dsa(domain, private) => {
            for_dsa(algorithm)?;
            let signature = domain.sign(private, digest, scheme.der)?;
            signature.ok_or_else(wrong_key_type)
        }
        PrivateKey::Cfrg(..) | PrivateKey::Dh(..) => Err(wrong_key_type()),
    }
}

fn verify_digest(
    key: &PublicKey,
    scheme: Scheme,
    algorithm: Algorithm,
    digest: &[u8],
    signature: &[u8],
) -> Result<bool, Throw> {
    match key {
        PublicKey::Rsa(key, usage) => {
            rsa_padding::verify((key, *usage), algorithm, digest, scheme.rsa, signature)
        }
        PublicKey::Ec(group, point) => {
            has_length(algorithm)?;
            Ok(group.curve.verify(point, digest, signature, scheme.der))
        }
        PublicKey::Dsa(domain, public) => {
            for_dsa(algorithm)?;
            Ok(domain.verify(public, digest, signature, scheme.der))
        }
        PublicKey::Cfrg(..) | PublicKey::Dh(..) => Err(wrong_key_type()),
    }
}

/// The digest that a key signs when none is named.
fn default_digest(restriction: Option<Restriction>) -> Algorithm {
    restriction.map_or(Algorithm::Sha256, |restriction| restriction.digest)
}

fn sign_data(
    key: &PrivateKey,
    scheme: Scheme,
    algorithm: Option<Algorithm>,
    data: &[u8],
) -> Result<Vec<u8>, Throw> {
    let restriction = match key {
        PrivateKey::Cfrg(curve, private) if curve.signs() => {
            if algorithm.is_some() {
                return Err(failure(openssl::INVALID_DIGEST));
            }
            return curve.sign(private, data).ok_or_else(wrong_key_type);
        }
        PrivateKey::Rsa(_, Use::Pss(restriction)) => *restriction,
        _ => None,
    };
    let algorithm = algorithm.unwrap_or_else(|| default_digest(restriction));
    sign_digest(key, scheme, algorithm, &algorithm.digest(data))
}

fn verify_data(
    key: &PublicKey,
    scheme: Scheme,
    algorithm: Option<Algorithm>,
    data: &[u8],
    signature: &[u8],
) -> Result<bool, Throw> {
    let restriction = match key {
        PublicKey::Cfrg(curve, public) if curve.signs() => {
            if algorithm.is_some() {
                return Err(failure(openssl::INVALID_DIGEST));
            }
            return Ok(curve.verify(public, data, signature));
        }
        PublicKey::Rsa(_, Use::Pss(restriction)) => *restriction,
        _ => None,
    };
    let algorithm = algorithm.unwrap_or_else(|| default_digest(restriction));
    verify_digest(key, scheme, algorithm, &algorithm.digest(data), signature)
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<Running>, Throw> {
    let this = Env::of(scope).objects.unwrap::<Running>(scope, args.this());
    this.ok_or_else(|| invalid("this"))
}

/// `new Sign()`, `new Verify()`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("Sign"));
    }
    let env = Env::of(scope);
    env.objects
        .wrap(scope, args.this(), Rc::new(Running::default()));
    Ok(v8::undefined(scope).into())
}

/// `init(algorithm)`
pub fn init<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let running = this(scope, args)?;
    let name = string(scope, args.get(0), "algorithm")?;
    // The name of old for what DSA signs.
    let name = match name.as_str() {
        "dss1" | "DSS1" => "SHA1",
        name => name,
    };
    let algorithm = Algorithm::from_name(name)
        .ok_or_else(|| Throw::type_error("ERR_CRYPTO_INVALID_DIGEST", "Invalid digest"))?;
    running.0.replace(Some((algorithm, algorithm.hasher())));
    Ok(v8::undefined(scope).into())
}

/// `update(data, encoding)`
pub fn update<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let running = this(scope, args)?;
    let data = text_or_bytes(scope, args.get(0), args.get(1), "data")?;
    let mut running = running.0.borrow_mut();
    let (_, hasher) = running.as_mut().ok_or_else(not_initialised)?;
    hasher.update(&data);
    Ok(v8::undefined(scope).into())
}

fn not_initialised() -> Throw {
    Throw::error("ERR_CRYPTO_INVALID_STATE", "Not initialised")
}

/// Digests of any length do not end in one that could be signed; Node words it as what failed then.
fn finishes(algorithm: Algorithm, text: &str) -> Result<(), Throw> {
    has_length(algorithm).map_err(|_| Throw::error("ERR_CRYPTO_OPERATION_FAILED", text))
}

fn unsupported() -> Throw {
    Throw::error(
        "ERR_CRYPTO_UNSUPPORTED_OPERATION",
        "Unsupported crypto operation",
    )
}

/// `sign(key, format, type, passphrase, padding, saltLength, encoding)`
pub fn sign<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let running = this(scope, args)?;
    let key = KeyData::private_argument(scope, args, 0)?;
    let scheme = Scheme::of(scope, args.get(4), args.get(5), args.get(6));
    if matches!(&key, PrivateKey::Cfrg(curve, _) if curve.signs()) {
        return Err(unsupported());
    }
    let (algorithm, hasher) = running.0.take().ok_or_else(not_initialised)?;
    finishes(algorithm, "PEM_read_bio_PrivateKey failed")?;
    let signature = sign_digest(&key, scheme, algorithm, &hasher.finish(None))?;
    Ok(buffer_of(scope, &signature)?.into())
}

/// `verify(key, format, type, passphrase, signature, padding, saltLength, encoding)`
pub fn verify<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let running = this(scope, args)?;
    let key = KeyData::public_argument(scope, args, 0)?;
    let signature = bytes(scope, args.get(4), "signature")?;
    let scheme = Scheme::of(scope, args.get(5), args.get(6), args.get(7));
    if matches!(&key, PublicKey::Cfrg(curve, _) if curve.signs()) {
        return Err(unsupported());
    }
    let (algorithm, hasher) = running.0.take().ok_or_else(not_initialised)?;
    finishes(algorithm, "PEM_read_bio_PUBKEY failed")?;
    let verified = verify_digest(&key, scheme, algorithm, &hasher.finish(None), &signature);
    // For a key that signs, OpenSSL's reasons are not told here.
    let signs = matches!(
        key,
        PublicKey::Rsa(..) | PublicKey::Ec(..) | PublicKey::Dsa(..)
    );
    let verified = verified.or_else(|throw| if signs { Ok(false) } else { Err(throw) })?;
    Ok(v8::Boolean::new(scope, verified).into())
}

/// `new SignJob(mode, signMode, key, format, type, passphrase, data, digest, saltLength, padding, encoding, signature)`
pub fn new_sign_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let verifies = args.get(1).int32_value(scope) == Some(VERIFY);
    let data = bytes(scope, args.get(6), "data")?;
    let algorithm = match args.get(7) {
        value if value.is_string() => {
            let name = string(scope, value, "algorithm")?;
            let algorithm = Algorithm::from_name(&name).ok_or_else(|| {
                Throw::type_error(
                    "ERR_CRYPTO_INVALID_DIGEST",
                    format!("Invalid digest: {name}"),
                )
            })?;
            Some(algorithm)
        }
        _ => None,
    };
    let scheme = Scheme::of(scope, args.get(9), args.get(8), args.get(10));
    if verifies {
        let key = KeyData::public_argument(scope, args, 2)?;
        let signature = bytes(scope, args.get(11), "signature")?;
        let held = data.len() + signature.len();
        return job::construct(
            scope,
            args,
            SIGN_REQUEST,
            held,
            move |_| match verify_data(&key, scheme, algorithm, &data, &signature) {
                Ok(verified) => Outcome::Bool(verified),
                Err(throw) => Outcome::Failed(throw),
            },
            job::outcome,
        );
    }
    let key = KeyData::private_argument(scope, args, 2)?;
    let held = data.len();
    job::construct(
        scope,
        args,
        SIGN_REQUEST,
        held,
        move |_| match sign_data(&key, scheme, algorithm, &data) {
            Ok(signature) => Outcome::Bytes(signature),
            Err(throw) => Outcome::Failed(throw),
        },
        job::outcome,
    )
}
