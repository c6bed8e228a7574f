//! Keys as PEM and DER: PKCS#1, PKCS#8, SEC1, SPKI. Source: `src/crypto/crypto_keys.cc`.

use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use pem_rfc7468::LineEnding;
use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use pkcs8::der::{Decode, Encode};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use rsa::pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey, RsaPublicKeyRef};
use sec1::EcParameters;
use sec1::EcPrivateKey;
use zeroize::Zeroizing;

use super::asymmetric::{PrivateKey, PublicKey};
use super::curve::Curve;
use crate::throw::{ErrorClass, Throw};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// Bytes of the longest key that is parsed.
const MAX_BYTES: usize = 1 << 16;

/// `kKeyEncoding*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    Pkcs1,
    Pkcs8,
    Spki,
    Sec1,
}

impl Structure {
    /// The structure of a number of the library's.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Pkcs1,
            1 => Self::Pkcs8,
            2 => Self::Spki,
            3 => Self::Sec1,
            _ => return None,
        })
    }
}

/// What OpenSSL answers for text that it has no decoder for.
fn unsupported() -> Throw {
    Throw::error(
        "ERR_OSSL_UNSUPPORTED",
        "error:1E08010C:DECODER routines::unsupported",
    )
}

fn unreadable() -> Throw {
    Throw::Plain(
        ErrorClass::Error,
        "Failed to read asymmetric key".to_owned(),
    )
}

/// What cannot be parsed as a private key.
fn not_private() -> Throw {
    Throw::error(
        "ERR_OSSL_ASN1_NOT_ENOUGH_DATA",
        "error:0680008E:asn1 encoding routines::not enough data",
    )
}

/// A block of PEM.
struct Block {
    label: String,
    der: Zeroizing<Vec<u8>>,
}

/// The first block of PEM whose label `wanted` takes.
fn block(text: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Block, Throw> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    if text.len() > MAX_BYTES {
        return Err(unsupported());
    }
    let text = String::from_utf8_lossy(text);
    let mut rest = text.as_ref();
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((label, after)) = after.split_once(DASHES) else {
            break;
        };
        let end = format!("-----END {label}-----");
        let Some((body, after)) = after.split_once(&end) else {
            break;
        };
        rest = after;
        if !wanted(label) {
            continue;
        }
        if label == "ENCRYPTED PRIVATE KEY" || body.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(encrypted());
        }
        let body: Zeroizing<String> =
            Zeroizing::new(body.chars().filter(|char| !char.is_whitespace()).collect());
        let der = Base64::decode_vec(&body).map_err(|_| unsupported())?;
        return Ok(Block {
            label: label.to_owned(),
            der: Zeroizing::new(der),
        });
    }
    Err(unsupported())
}

/// Keys that a passphrase protects are not read.
pub fn encrypted() -> Throw {
    Throw::unavailable("encrypted keys")
}

/// A private key from PEM.
///
/// # Errors
/// There is none, or none that we know.
pub fn private_from_pem(text: &[u8]) -> Result<PrivateKey, Throw> {
    let block = block(text, |label| label.ends_with("PRIVATE KEY"))?;
    let key = match block.label.as_str() {
        "RSA PRIVATE KEY" => PrivateKey::rsa_from_pkcs1(&block.der),
        "EC PRIVATE KEY" => sec1_private(&block.der, None),
        _ => pkcs8_private(&block.der),
    };
    key.ok_or_else(unsupported)
}

/// A public key from PEM: its own, or that of a private key.
///
/// # Errors
/// There is none, or none that we know.
pub fn public_from_pem(text: &[u8]) -> Result<PublicKey, Throw> {
    let found = block(text, |label| {
        label.ends_with("PUBLIC KEY") || label.ends_with("PRIVATE KEY")
    })?;
    match found.label.as_str() {
        "RSA PUBLIC KEY" => pkcs1_public(&found.der).ok_or_else(unsupported),
        "PUBLIC KEY" => spki_public(&found.der).ok_or_else(unsupported),
        _ => private_from_pem(text)?.public().ok_or_else(unsupported),
    }
}

/// A private key from DER.
///
/// # Errors
/// It is not one of this structure.
pub fn private_from_der(der: &[u8], structure: Structure) -> Result<PrivateKey, Throw> {
    if der.len() > MAX_BYTES {
        return Err(not_private());
    }
    let key = match structure {
        Structure::Pkcs1 => PrivateKey::rsa_from_pkcs1(der),
        Structure::Sec1 => sec1_private(der, None),
        Structure::Pkcs8 => pkcs8_private(der),
        Structure::Spki => None,
    };
    key.ok_or_else(not_private)
}

/// A public key from DER: its own, or that of a private key.
///
/// # Errors
/// It is not one of this structure.
pub fn public_from_der(der: &[u8], structure: Structure) -> Result<PublicKey, Throw> {
    if der.len() > MAX_BYTES {
        return Err(unreadable());
    }
    let own = match structure {
        Structure::Pkcs1 => pkcs1_public(der),
        Structure::Spki => spki_public(der),
        Structure::Pkcs8 | Structure::Sec1 => None,
    };
    let of_private = || private_from_der(der, structure).ok()?.public();
    own.or_else(of_private).ok_or_else(unreadable)
}

fn pkcs1_public(der: &[u8]) -> Option<PublicKey> {
    let key = RsaPublicKeyRef::from_der(der).ok()?;
    PublicKey::rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())
}

fn spki_public(der: &[u8]) -> Option<PublicKey> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    match info.algorithm.oid {
        RSA => pkcs1_public(key),
        EC => PublicKey::ec(Curve::from_oid(info.algorithm.parameters_oid().ok()?)?, key),
        ED25519 => Some(PublicKey::Ed25519(key.try_into().ok()?)),
        X25519 => Some(PublicKey::X25519(key.try_into().ok()?)),
        _ => None,
    }
}

fn sec1_private(der: &[u8], curve: Option<Curve>) -> Option<PrivateKey> {
    let key = EcPrivateKey::from_der(der).ok()?;
    let named = key
        .parameters
        .and_then(|parameters| parameters.named_curve());
    let curve = curve.or_else(|| named.and_then(Curve::from_oid))?;
    PrivateKey::ec(curve, key.private_key)
}

fn pkcs8_private(der: &[u8]) -> Option<PrivateKey> {
    let info = PrivateKeyInfoRef::from_der(der).ok()?;
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        RSA => PrivateKey::rsa_from_pkcs1(key),
        EC => sec1_private(
            key,
            Some(Curve::from_oid(info.algorithm.parameters_oid().ok()?)?),
        ),
        ED25519 => Some(PrivateKey::Ed25519(seed(key)?)),
        X25519 => Some(PrivateKey::X25519(seed(key)?)),
        _ => None,
    }
}

fn seed(der: &[u8]) -> Option<Arc<Zeroizing<[u8; 32]>>> {
    let inner = <&OctetStringRef>::from_der(der).ok()?;
    Some(Arc::new(Zeroizing::new(inner.as_bytes().try_into().ok()?)))
}

/// The label of a structure in PEM.
fn label(structure: Structure, private: bool) -> &'static str {
    match structure {
        Structure::Pkcs1 if private => "RSA PRIVATE KEY",
        Structure::Pkcs1 => "RSA PUBLIC KEY",
        Structure::Sec1 => "EC PRIVATE KEY",
        Structure::Pkcs8 => "PRIVATE KEY",
        Structure::Spki => "PUBLIC KEY",
    }
}

/// `der` as PEM, with the line ends of OpenSSL.
pub fn pem(der: &[u8], structure: Structure, private: bool) -> Option<Zeroizing<String>> {
    pem_rfc7468::encode_string(label(structure, private), LineEnding::LF, der)
        .ok()
        .map(Zeroizing::new)
}

/// A private key in a structure; `None` for one that has no such keys.
pub fn private_to_der(key: &PrivateKey, structure: Structure) -> Option<Zeroizing<Vec<u8>>> {
    let der = match (structure, key) {
        (Structure::Pkcs1, PrivateKey::Rsa(key)) => key.to_pkcs1_der().ok()?.as_bytes().to_vec(),
        (Structure::Sec1, PrivateKey::Ec(curve, scalar)) => sec1_der(*curve, scalar, true)?,
        (Structure::Pkcs8, PrivateKey::Rsa(key)) => {
            let inner = key.to_pkcs1_der().ok()?;
            pkcs8_der(RSA, Some(AnyRef::NULL), inner.as_bytes())?
        }
        (Structure::Pkcs8, PrivateKey::Ec(curve, scalar)) => {
            let inner = Zeroizing::new(sec1_der(*curve, scalar, false)?);
            let oid = curve.oid()?;
            pkcs8_der(EC, Some(AnyRef::from(&oid)), &inner)?
        }
        (Structure::Pkcs8, PrivateKey::Ed25519(seed)) => seed_der(ED25519, seed)?,
        (Structure::Pkcs8, PrivateKey::X25519(seed)) => seed_der(X25519, seed)?,
        _ => return None,
    };
    Some(Zeroizing::new(der))
}

fn seed_der(oid: ObjectIdentifier, seed: &[u8; 32]) -> Option<Vec<u8>> {
    let inner = OctetStringRef::new(seed).ok()?.to_der().ok()?;
    pkcs8_der(oid, None, &Zeroizing::new(inner))
}

fn pkcs8_der(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Option<Vec<u8>> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters };
    PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key).ok()?)
        .to_der()
        .ok()
}

fn sec1_der(curve: Curve, scalar: &[u8], named: bool) -> Option<Vec<u8>> {
    let point = curve.public_of(scalar)?;
    let oid = curve.oid()?;
    let key = EcPrivateKey {
        private_key: scalar,
        parameters: named.then_some(EcParameters::NamedCurve(oid)),
        public_key: Some(&point),
    };
    key.to_der().ok()
}

/// A public key in a structure; `None` for one that has no such keys.
pub fn public_to_der(key: &PublicKey, structure: Structure) -> Option<Vec<u8>> {
    match (structure, key) {
        (Structure::Pkcs1, PublicKey::Rsa(key)) => Some(key.to_pkcs1_der().ok()?.into_vec()),
        (Structure::Spki, PublicKey::Rsa(key)) => {
            spki_der(RSA, Some(AnyRef::NULL), key.to_pkcs1_der().ok()?.as_bytes())
        }
        (Structure::Spki, PublicKey::Ec(curve, point)) => {
            let oid = curve.oid()?;
            spki_der(EC, Some(AnyRef::from(&oid)), point)
        }
        (Structure::Spki, PublicKey::Ed25519(point)) => spki_der(ED25519, None, point),
        (Structure::Spki, PublicKey::X25519(point)) => spki_der(X25519, None, point),
        _ => None,
    }
}

fn spki_der(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Option<Vec<u8>> {
    let info = SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        subject_public_key: BitStringRef::from_bytes(key).ok()?,
    };
    info.to_der().ok()
}
