//! Elliptic curves with ECDSA: a scalar is the private key, an uncompressed point the public one.

use ecdsa_traits::{PrehashVerifier, RandomizedPrehashSigner};
use p256::ecdsa::signature::hazmat as ecdsa_traits;
use p256::elliptic_curve::sec1::ToSec1Point;
use pkcs8::ObjectIdentifier;
use zeroize::Zeroizing;

use super::random::random_bytes;
use super::rsa_padding::KernelRandom;
use crate::throw::Throw;

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
    P521,
    Secp256k1,
}

/// A curve, and how keys on it name it.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The curve.
    pub curve: Curve,
    /// Whether keys hold all its parameters instead of its identifier.
    pub explicit: bool,
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.curve == other.curve
    }
}

impl Eq for Group {}

impl From<Curve> for Group {
    fn from(curve: Curve) -> Self {
        Self {
            curve,
            explicit: false,
        }
    }
}

/// How a point is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `POINT_CONVERSION_COMPRESSED`
    Compressed,
    /// `POINT_CONVERSION_UNCOMPRESSED`
    Uncompressed,
    /// `POINT_CONVERSION_HYBRID`
    Hybrid,
}

impl Form {
    /// The form of a number of OpenSSL's.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            2 => Self::Compressed,
            4 => Self::Uncompressed,
            6 => Self::Hybrid,
            _ => return None,
        })
    }

    /// An uncompressed point in this form.
    pub fn of(self, point: &[u8]) -> Vec<u8> {
        let mut point = point.to_vec();
        let odd = point.last().copied().unwrap_or_default() & 1;
        let tag = match self {
            Self::Compressed => {
                point.truncate(point.len() / 2 + 1);
                2 | odd
            }
            Self::Uncompressed => return point,
            Self::Hybrid => 6 | odd,
        };
        if let Some(first) = point.first_mut() {
            *first = tag;
        }
        point
    }
}

/// The curves with their name in OpenSSL, in JWK, their identifier and the bytes of a scalar.
const CURVES: [(Curve, &str, &str, &str, usize); 4] = [
    (Curve::P384, "secp384r1", "P-384", "1.3.132.0.34", 48),
    (Curve::P521, "secp521r1", "P-521", "1.3.132.0.35", 66),
    (
        Curve::P256,
        "prime256v1",
        "P-256",
        "1.2.840.10045.3.1.7",
        32,
    ),
    (
        Curve::Secp256k1,
        "secp256k1",
        "secp256k1",
        "1.3.132.0.10",
        32,
    ),
];

/// Runs `$body` with the crate of a curve as `$module`.
macro_rules! with_curve {
    ($curve:expr, $module:ident => $body:expr) => {
        match $curve {
            Curve::P256 => {
                use p256 as $module;
                $body
            }
            Curve::P384 => {
                use p384 as $module;
                $body
            }
            Curve::P521 => {
                use p521 as $module;
                $body
            }
            Curve::Secp256k1 => {
                use k256 as $module;
                $body
            }
        }
    };
}

impl Curve {
    /// What `getCurves()` lists.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CURVES.iter().map(|(_, name, ..)| *name)
    }

    fn row(self) -> Option<&'static (Self, &'static str, &'static str, &'static str, usize)> {
        CURVES.iter().find(|(curve, ..)| *curve == self)
    }

    /// The curve of a name of OpenSSL's, NIST's or JWK's.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut known = CURVES.iter();
        known
            .find(|(_, openssl, jwk, ..)| name == *openssl || name == *jwk)
            .map(|(curve, ..)| *curve)
    }

    /// The curve of a name of OpenSSL's alone.
    pub fn from_openssl_name(name: &str) -> Option<Self> {
        let mut known = CURVES.iter();
        known
            .find(|(_, openssl, ..)| name == *openssl)
            .map(|(curve, ..)| *curve)
    }

    /// The curve of an identifier.
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        let mut known = CURVES.iter();
        known
            .find(|(_, _, _, id, _)| ObjectIdentifier::new(id) == Ok(oid))
            .map(|(curve, ..)| *curve)
    }

    /// The identifier.
    pub fn oid(self) -> Option<ObjectIdentifier> {
        self.row()
            .and_then(|(_, _, _, id, _)| ObjectIdentifier::new(id).ok())
    }

    /// OpenSSL's name.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |(_, name, ..)| *name)
    }

    /// The name in a JWK.
    pub fn jwk_name(self) -> &'static str {
        self.row().map_or("", |(_, _, name, ..)| *name)
    }

    /// Bytes of a scalar, and of a coordinate.
    pub fn size(self) -> usize {
        self.row().map_or(0, |(.., size)| *size)
    }

    /// A scalar in its full length, if it is one of this curve.
    pub fn scalar(self, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let size = self.size();
        let significant = bytes.iter().position(|byte| *byte != 0)?;
        let bytes = bytes.get(significant..)?;
        let mut scalar = Zeroizing::new(vec![0; size.checked_sub(bytes.len())?]);
        scalar.reserve_exact(bytes.len());
        scalar.extend_from_slice(bytes);
        with_curve!(self, curve => curve::SecretKey::from_slice(&scalar).is_ok()).then_some(scalar)
    }

    /// The uncompressed form of a point, if it is one of this curve.
    pub fn point(self, bytes: &[u8]) -> Option<Vec<u8>> {
        if let Some((&tag @ (6 | 7), coordinates)) = bytes.split_first() {
            let mut uncompressed = vec![4];
            uncompressed.extend_from_slice(coordinates);
            let point = self.point(&uncompressed)?;
            return (coordinates.last()? & 1 == tag & 1).then_some(point);
        }
        with_curve!(self, curve => {
            let key = curve::PublicKey::from_sec1_bytes(bytes).ok()?;
            Some(key.to_sec1_point(false).as_bytes().to_vec())
        })
    }

    /// The public key of a scalar.
    pub fn public_of(self, scalar: &[u8]) -> Option<Vec<u8>> {
        with_curve!(self, curve => {
            let key = curve::SecretKey::from_slice(scalar).ok()?;
            Some(key.public_key().to_sec1_point(false).as_bytes().to_vec())
        })
    }

    /// A new scalar.
    pub fn generate(self) -> Result<Zeroizing<Vec<u8>>, Throw> {
        loop {
            let mut bytes = Zeroizing::new(random_bytes(self.size())?);
            if self == Self::P521
                && let Some(first) = bytes.first_mut()
            {
                // The order has 521 bits.
                *first &= 1;
            }
            if let Some(scalar) = self.scalar(&bytes) {
                return Ok(scalar);
            }
        }
    }

    /// What a scalar and a point agree on: a coordinate.
    pub fn agree(self, scalar: &[u8], point: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        with_curve!(self, curve => {
            let secret = curve::SecretKey::from_slice(scalar).ok()?;
            let public = curve::PublicKey::from_sec1_bytes(point).ok()?;
            let shared = curve::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
            Some(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
        })
    }

    /// A digest as long as a scalar at least, which is the same number.
    fn prehash(self, digest: &[u8]) -> Vec<u8> {
        let mut whole = vec![0; self.size().saturating_sub(digest.len())];
        whole.extend_from_slice(digest);
        whole
    }

    /// A signature of a digest, as DER or as two numbers; another one each time.
    pub fn sign(self, scalar: &[u8], digest: &[u8], der: bool) -> Option<Vec<u8>> {
        let digest = self.prehash(digest);
        with_curve!(self, curve => {
            let key = curve::ecdsa::SigningKey::from_slice(scalar).ok()?;
            let signature: curve::ecdsa::Signature =
                key.sign_prehash_with_rng(&mut KernelRandom, &digest).ok()?;
            Some(if der {
                signature.to_der().as_bytes().to_vec()
            } else {
                signature.to_bytes().to_vec()
            })
        })
    }

    /// Whether `signature` is one of `digest`.
    pub fn verify(self, point: &[u8], digest: &[u8], signature: &[u8], der: bool) -> bool {
        let digest = self.prehash(digest);
        with_curve!(self, curve => {
            let signature = if der {
                curve::ecdsa::Signature::from_der(signature)
            } else {
                curve::ecdsa::Signature::from_slice(signature)
            };
            let key = curve::ecdsa::VerifyingKey::from_sec1_bytes(point);
            // OpenSSL takes both of the two values that `s` can have; so do we.
            key.ok()
                .zip(signature.ok())
                .is_some_and(|(key, signature)| key.verify_prehash(&digest, &signature.normalize_s()).is_ok())
        })
    }
}
