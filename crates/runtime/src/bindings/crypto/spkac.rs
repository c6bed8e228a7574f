//! `Certificate`: a public key with a challenge, signed (SPKAC). Source: `src/crypto/crypto_spkac.cc`.

use base64ct::{Base64, Encoding as _};
use pkcs8::ObjectIdentifier;
use pkcs8::der::asn1::{AnyRef, BitStringRef};
use pkcs8::der::{Decode, Encode, Sequence};

use super::algorithm::Algorithm;
use super::argument::bytes;
use super::asymmetric::PublicKey;
use super::encoding::{self, Structure};
use super::rsa_padding::{self, Scheme};
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::throw::Throw;

/// Bytes of the longest text that is read.
const MAX_BYTES: usize = 1 << 16;

/// The algorithms that sign it.
const SIGNATURES: &[(&str, Algorithm)] = &[
    ("1.2.840.113549.1.1.4", Algorithm::Md5),
    ("1.2.840.113549.1.1.5", Algorithm::Sha1),
    ("1.2.840.113549.1.1.14", Algorithm::Sha224),
    ("1.2.840.113549.1.1.11", Algorithm::Sha256),
    ("1.2.840.113549.1.1.12", Algorithm::Sha384),
    ("1.2.840.113549.1.1.13", Algorithm::Sha512),
    ("1.2.840.10045.4.1", Algorithm::Sha1),
    ("1.2.840.10045.4.3.2", Algorithm::Sha256),
    ("1.2.840.10045.4.3.3", Algorithm::Sha384),
    ("1.2.840.10045.4.3.4", Algorithm::Sha512),
];

/// `AlgorithmIdentifier`
#[derive(Sequence)]
struct Identified<'a> {
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'a>>,
}

/// `PublicKeyAndChallenge`
#[derive(Sequence)]
struct Signed<'a> {
    key: AnyRef<'a>,
    challenge: AnyRef<'a>,
}

/// `SignedPublicKeyAndChallenge`
#[derive(Sequence)]
struct Spkac<'a> {
    signed: AnyRef<'a>,
    algorithm: Identified<'a>,
    signature: BitStringRef<'a>,
}

/// The DER in an argument's Base64.
fn decoded<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<Option<Vec<u8>>, Throw> {
    let text = bytes(scope, args.get(0), "spkac")?;
    if text.len() > MAX_BYTES {
        return Ok(None);
    }
    let text: String = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| char::from(*byte))
        .collect();
    Ok(Base64::decode_vec(&text).ok())
}

fn key_of(signed: &Signed<'_>) -> Option<PublicKey> {
    encoding::public_from_spki(&signed.key.to_der().ok()?)
}

fn verified(der: &[u8]) -> Option<bool> {
    let spkac = Spkac::from_der(der).ok()?;
    let signed: Signed<'_> = spkac.signed.decode_as().ok()?;
    let (_, algorithm) = SIGNATURES
        .iter()
        .find(|(oid, _)| ObjectIdentifier::new(oid) == Ok(spkac.algorithm.oid))?;
    let digest = algorithm.digest(&spkac.signed.to_der().ok()?);
    let signature = spkac.signature.as_bytes()?;
    match key_of(&signed)? {
        PublicKey::Rsa(key, usage) => {
            let scheme = Scheme {
                padding: None,
                salt: None,
            };
            rsa_padding::verify((&key, usage), *algorithm, &digest, scheme, signature).ok()
        }
        PublicKey::Ec(group, point) => Some(group.curve.verify(&point, &digest, signature, true)),
        _ => None,
    }
}

/// `certVerifySpkac(spkac)`
pub fn verify<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let der = decoded(scope, args)?;
    let verified = der.and_then(|der| verified(&der)) == Some(true);
    Ok(v8::Boolean::new(scope, verified).into())
}

/// `certExportPublicKey(spkac)`: an empty string for what is none.
pub fn export_public_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let pem = decoded(scope, args)?.and_then(|der| {
        let spkac = Spkac::from_der(&der).ok()?;
        let signed: Signed<'_> = spkac.signed.decode_as().ok()?;
        let der = encoding::public_to_der(&key_of(&signed)?, Structure::Spki)?;
        encoding::pem(&der, Structure::Spki, false)
    });
    match pem {
        Some(pem) => Ok(buffer_of(scope, pem.as_bytes())?.into()),
        None => Ok(v8::String::empty(scope).into()),
    }
}

/// `certExportChallenge(spkac)`: an empty string for what is none.
pub fn export_challenge<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let challenge = decoded(scope, args)?.and_then(|der| {
        let spkac = Spkac::from_der(&der).ok()?;
        let signed: Signed<'_> = spkac.signed.decode_as().ok()?;
        Some(signed.challenge.value().to_vec())
    });
    match challenge {
        Some(challenge) => Ok(buffer_of(scope, &challenge)?.into()),
        None => Ok(v8::String::empty(scope).into()),
    }
}
