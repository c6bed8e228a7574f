//! Pairs of keys. Sources: `src/crypto/crypto_keygen.cc`, `crypto_rsa.cc`, `crypto_ec.cc`.

use std::sync::Arc;

use rsa::{BoxedUint, RsaPrivateKey};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::argument::{bytes, invalid, string};
use super::asymmetric::{MAX_MODULUS_BITS, MIN_MODULUS_BITS, PrivateKey, Restriction, Use};
use super::cfrg::Cfrg;
use super::curve::{Curve, Group};
use super::encoding::Structure;
use super::job;
use super::keys::{self, KeyData, PAIR_REQUEST};
use super::openssl::{self, plain_failure};
use super::pbe::Encryption;
use super::prime::random_prime;
use super::random::random_bytes;
use super::{dh, dsa};
use crate::binding::{Args, Ret};
use crate::throw::{ErrorClass, Throw};
use crate::work::Meter;

/// `kKeyVariantRSA_PSS`
const PSS: i32 = 1;

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

    fn give<'s>(
        self,
        scope: &mut v8::PinScope<'s, '_>,
        key: KeyData,
        encryption: Option<&Encryption>,
    ) -> Ret<'s> {
        match self {
            Self::Object => key.into_handle(scope),
            Self::Encoded(format, structure) => key.encoded(scope, format, structure, encryption),
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
    let encryption = keys::encryption(scope, args, at + 4)?;
    job::construct(scope, args, PAIR_REQUEST, 0, make, move |scope, key| {
        let key = key?;
        let public = key.public().ok_or_else(|| invalid("key"))?;
        let public = public_form.give(scope, KeyData::Public(public), None)?;
        let private = private_form.give(scope, KeyData::Private(key), encryption.as_ref())?;
        Ok(v8::Array::new_with_elements(scope, &[public, private]).into())
    })
}

/// The digest in an argument, if there is one.
fn digest<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    what: &str,
) -> Result<Option<Algorithm>, Throw> {
    if !value.is_string() {
        return Ok(None);
    }
    let name = string(scope, value, "hash")?;
    let invalid = || {
        Throw::type_error(
            "ERR_CRYPTO_INVALID_DIGEST",
            format!("Invalid {what}: {name}"),
        )
    };
    Algorithm::from_name(&name).map(Some).ok_or_else(invalid)
}

/// `new RsaKeyPairGenJob(mode, variant, modulusLength, publicExponent, [hash, mgf1Hash, saltLength], ...encoding)`
pub fn new_rsa_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let pss = args.get(1).int32_value(scope) == Some(PSS);
    let bits = args.get(2).uint32_value(scope).ok_or(Throw::Pending)?;
    let exponent = args.get(3).uint32_value(scope).ok_or(Throw::Pending)?;
    if !pss {
        return pair(scope, args, 4, move |meter| {
            Ok(PrivateKey::Rsa(
                generate_rsa(bits, exponent, meter)?,
                Use::Any,
            ))
        });
    }
    let hash = digest(scope, args.get(4), "digest")?;
    let mask = digest(scope, args.get(5), "MGF1 digest")?;
    let salt = match args.get(6) {
        value if value.is_int32() => value.int32_value(scope),
        _ => None,
    };
    let salt = salt.and_then(|salt| usize::try_from(salt).ok());
    let restricted = hash.is_some() || mask.is_some() || salt.is_some();
    let digest = hash.unwrap_or(Algorithm::Sha1);
    let restriction = restricted.then_some(Restriction {
        digest,
        mask: mask.unwrap_or(digest),
        salt: salt.unwrap_or_else(|| match hash {
            Some(hash) => hash.length().unwrap_or_default(),
            None => 20,
        }),
    });
    pair(scope, args, 7, move |meter| {
        Ok(PrivateKey::Rsa(
            generate_rsa(bits, exponent, meter)?,
            Use::Pss(restriction),
        ))
    })
}

/// `new DsaKeyPairGenJob(mode, modulusLength, divisorLength, ...encoding)`
pub fn new_dsa_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// Bits of the shortest modulus that OpenSSL makes, and of the longest that we do.
    const BITS: std::ops::RangeInclusive<u32> = 1024..=4096;
    /// Bits of the shortest modulus that OpenSSL takes at all.
    const LEAST: u32 = 512;

    let bits = args.get(1).uint32_value(scope).ok_or(Throw::Pending)?;
    let order = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    let order_bits = match order {
        -1 => Some(224),
        0 if bits >= 2048 => Some(256),
        0 => Some(160),
        160 => Some(160),
        224 => Some(224),
        256 => Some(256),
        _ => None,
    };
    pair(scope, args, 3, move |meter| {
        let refused = || plain_failure(openssl::EVP_KEYMGMT_FAILURE);
        let order_bits = order_bits.filter(|_| bits >= LEAST).ok_or_else(refused)?;
        if !BITS.contains(&bits) {
            return Err(plain_failure(openssl::DSA_BAD_FFC_PARAMETERS));
        }
        let domain = dsa::Domain::generate(bits, order_bits, meter)?;
        let private = domain.generate_private()?;
        Ok(PrivateKey::Dsa(domain, Arc::new(private)))
    })
}

/// `new EcKeyPairGenJob(mode, namedCurve, paramEncoding, ...encoding)`
pub fn new_ec_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// `OPENSSL_EC_NAMED_CURVE`
    const NAMED: i32 = 1;

    let name = string(scope, args.get(1), "namedCurve")?;
    let curve = Curve::from_name(&name)
        .ok_or_else(|| Throw::type_error("ERR_CRYPTO_INVALID_CURVE", "Invalid EC curve name"))?;
    let group = Group {
        curve,
        explicit: args.get(2).int32_value(scope) != Some(NAMED),
    };
    pair(scope, args, 3, move |_| {
        Ok(PrivateKey::Ec(group, Arc::new(curve.generate()?)))
    })
}

/// `new NidKeyPairGenJob(mode, id, ...encoding)`
pub fn new_nid_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let id = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let curve = Cfrg::from_number(id).ok_or_else(|| invalid("id"))?;
    pair(scope, args, 2, move |_| {
        let mut private = Zeroizing::new(random_bytes(curve.size())?);
        curve.clamp(&mut private);
        PrivateKey::cfrg(curve, &private).ok_or_else(failed)
    })
}

/// `new DhKeyPairGenJob(mode, group, ...encoding)`, or with a prime or its length and a generator.
pub fn new_dh_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let value = args.get(1);
    if value.is_string() {
        let name = string(scope, value, "group")?;
        let domain = Arc::new(dh::named_group(&name)?);
        return pair(scope, args, 2, move |_| dh::generate_key(domain));
    }
    let generator = args.get(2).int32_value(scope).ok_or(Throw::Pending)?;
    let generator = u32::try_from(generator).unwrap_or_default();
    if value.is_int32() {
        let bits = value.int32_value(scope).ok_or(Throw::Pending)?;
        let bits = u32::try_from(bits).unwrap_or_default();
        return pair(scope, args, 3, move |meter| {
            if bits < MIN_MODULUS_BITS as u32 {
                return Err(plain_failure(openssl::DH_MODULUS_TOO_SMALL));
            }
            if bits > dh::MAX_MODULUS_BITS {
                return Err(plain_failure(openssl::DH_MODULUS_TOO_LARGE));
            }
            if generator < 2 {
                return Err(plain_failure(openssl::DH_BAD_GENERATOR));
            }
            let domain = dh::Domain::generate_group(bits, generator, meter)?;
            dh::generate_key(Arc::new(domain))
        });
    }
    let prime = bytes(scope, value, "prime")?;
    let domain = dh::Domain::new(&prime, &generator.to_be_bytes());
    pair(scope, args, 3, move |_| {
        let domain = domain.ok_or_else(|| plain_failure(openssl::DH_MODULUS_TOO_LARGE))?;
        dh::generate_key(Arc::new(domain))
    })
}

/// What Node says when nothing better is known.
pub fn failed() -> Throw {
    Throw::Plain(ErrorClass::Error, "Key generation job failed".to_owned())
}

/// Two primes of half the length each, between whose tests the process may end.
fn generate_rsa(bits: u32, exponent: u32, meter: &mut Meter) -> Result<Arc<RsaPrivateKey>, Throw> {
    if (bits as usize) < MIN_MODULUS_BITS {
        return Err(plain_failure(openssl::PROVIDER_KEY_SIZE_TOO_SMALL));
    }
    if bits as usize > MAX_MODULUS_BITS {
        return Err(plain_failure(openssl::RSA_MODULUS_TOO_LARGE));
    }
    if exponent == 0 {
        return Err(failed());
    }
    if exponent < 3 || exponent.is_multiple_of(2) {
        return Err(plain_failure(openssl::RSA_PUBLIC_EXPONENT));
    }
    let upper = bits.div_ceil(2);
    loop {
        let first = random_prime(upper, false, meter)?;
        let second = random_prime(bits - upper, false, meter)?;
        let (first, second) = if first < second {
            (second, first)
        } else {
            (first, second)
        };
        // Fails when the exponent divides one of the primes less one: two others then.
        if let Ok(key) = RsaPrivateKey::from_p_q(first, second, BoxedUint::from(exponent)) {
            return Ok(Arc::new(key));
        }
    }
}
