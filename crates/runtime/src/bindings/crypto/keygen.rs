//! Pairs of keys. Sources: `src/crypto/crypto_keygen.cc`, `crypto_rsa.cc`, `crypto_ec.cc`.

use std::num::NonZeroU32;
use std::sync::Arc;

use crypto_primes::hazmat::SmallFactorsSieve;
use crypto_primes::{Flavor, is_prime};
use rsa::{BoxedUint, RsaPrivateKey};
use zeroize::Zeroizing;

use super::argument::{invalid, string};
use super::asymmetric::{MAX_MODULUS_BITS, MIN_MODULUS_BITS, PrivateKey};
use super::curve::Curve;
use super::encoding::{self, Structure};
use super::job;
use super::keys::{KEYGEN_REQUEST, KeyData};
use super::random::random_bytes;
use crate::binding::{Args, Ret};
use crate::throw::{ErrorClass, Throw};
use crate::work::Meter;

/// `kKeyVariantRSA_SSA_PKCS1_v1_5`
const RSA: i32 = 0;
/// `EVP_PKEY_ED25519`
const ED25519: i32 = 1087;
/// `EVP_PKEY_X25519`
const X25519: i32 = 1034;

/// How the caller wants a key.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// As a handle.
    Object,
    /// Encoded, in a format of the library's.
    Encoded(i32, Option<Structure>),
}

impl Form {
    fn of<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, at: i32) -> Result<Self, Throw> {
        let format = args.get(at);
        if format.is_undefined() {
            return Ok(Self::Object);
        }
        let format = format.int32_value(scope).ok_or(Throw::Pending)?;
        let structure = args.get(at + 1).int32_value(scope);
        Ok(Self::Encoded(
            format,
            structure.and_then(Structure::from_number),
        ))
    }

    fn give<'s>(self, scope: &mut v8::PinScope<'s, '_>, key: KeyData) -> Ret<'s> {
        match self {
            Self::Object => key.into_handle(scope),
            Self::Encoded(format, structure) => key.encoded(scope, format, structure),
        }
    }
}

/// A job that makes a pair; how to encode it is said from argument `at` on.
fn pair<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
    at: i32,
    make: impl FnOnce(&mut Meter) -> Result<PrivateKey, Throw> + Send + 'static,
) -> Ret<'s> {
    let public_form = Form::of(scope, args, at)?;
    let private_form = Form::of(scope, args, at + 2)?;
    if !args.get(at + 4).is_null_or_undefined() {
        return Err(encoding::encrypted());
    }
    job::construct(scope, args, KEYGEN_REQUEST, make, move |scope, key| {
        let key = key?;
        let public = key.public().ok_or_else(|| invalid("key"))?;
        let public = public_form.give(scope, KeyData::Public(public))?;
        let private = private_form.give(scope, KeyData::Private(key))?;
        Ok(v8::Array::new_with_elements(scope, &[public, private]).into())
    })
}

/// `new RsaKeyPairGenJob(mode, variant, modulusLength, publicExponent, ...encoding)`
pub fn new_rsa_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if args.get(1).int32_value(scope) != Some(RSA) {
        return Err(Throw::unavailable("RSA-PSS keys"));
    }
    let bits = args.get(2).uint32_value(scope).ok_or(Throw::Pending)?;
    let exponent = args.get(3).uint32_value(scope).ok_or(Throw::Pending)?;
    pair(scope, args, 4, move |meter| {
        generate_rsa(bits, exponent, meter)
    })
}

/// `new EcKeyPairGenJob(mode, namedCurve, paramEncoding, ...encoding)`
pub fn new_ec_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// `OPENSSL_EC_NAMED_CURVE`
    const NAMED: i32 = 1;

    let name = string(scope, args.get(1), "namedCurve")?;
    let curve = Curve::from_name(&name)
        .ok_or_else(|| Throw::type_error("ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name"))?;
    if args.get(2).int32_value(scope) != Some(NAMED) {
        return Err(Throw::unavailable("explicit curve parameters"));
    }
    pair(scope, args, 3, move |_| {
        Ok(PrivateKey::Ec(curve, Arc::new(curve.generate()?)))
    })
}

/// `new NidKeyPairGenJob(mode, id, ...encoding)`
pub fn new_nid_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let wrap = match id {
        ED25519 => PrivateKey::Ed25519,
        X25519 => PrivateKey::X25519,
        _ => return Err(Throw::unavailable("Ed448 and X448")),
    };
    pair(scope, args, 2, move |_| {
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&Zeroizing::new(random_bytes(32)?));
        Ok(wrap(Arc::new(seed)))
    })
}

fn plain(text: &str) -> Throw {
    Throw::Plain(ErrorClass::Error, text.to_owned())
}

/// Two primes of half the length each, between whose tests the process may end.
fn generate_rsa(bits: u32, exponent: u32, meter: &mut Meter) -> Result<PrivateKey, Throw> {
    if (bits as usize) < MIN_MODULUS_BITS {
        return Err(plain(
            "error:1C8000AB:Provider routines::key size too small",
        ));
    }
    if bits as usize > MAX_MODULUS_BITS {
        return Err(plain("error:02000069:rsa routines::modulus too large"));
    }
    if exponent < 3 || exponent.is_multiple_of(2) {
        return Err(plain(
            "error:020000B2:rsa routines::pub exponent out of range",
        ));
    }
    let upper = bits.div_ceil(2);
    loop {
        let (first, second) = (prime(upper, meter)?, prime(bits - upper, meter)?);
        let (first, second) = if first < second {
            (second, first)
        } else {
            (first, second)
        };
        // Fails when the exponent divides one of the primes less one: two others then.
        if let Ok(key) = RsaPrivateKey::from_p_q(first, second, BoxedUint::from(exponent)) {
            return Ok(PrivateKey::Rsa(Arc::new(key)));
        }
    }
}

/// A prime whose two highest bits are set.
fn prime(bits: u32, meter: &mut Meter) -> Result<BoxedUint, Throw> {
    let failed = || plain("error:02000000:rsa routines::key generation failed");
    let length = NonZeroU32::new(bits).ok_or_else(failed)?;
    loop {
        let size = bits.div_ceil(8);
        let mut bytes = Zeroizing::new(random_bytes(size as usize)?);
        // Of the first two bytes, the bits above the highest are cleared.
        let spare = size * 8 - bits;
        let (set, kept) = (0xc000_u16 >> spare, 0xffff_u16 >> spare);
        let [first, second, ..] = bytes.as_mut_slice() else {
            return Err(failed());
        };
        let top = u16::from_be_bytes([*first, *second]) & kept | set;
        [*first, *second] = top.to_be_bytes();
        let start = BoxedUint::from_be_slice(&bytes, bits).map_err(|_| failed())?;
        let candidates = SmallFactorsSieve::new(start, length, false).map_err(|_| failed())?;
        for candidate in candidates {
            if !meter.checkpoint() {
                return Err(Throw::Pending);
            }
            if is_prime(Flavor::Any, &candidate) {
                return Ok(candidate);
            }
        }
    }
}
