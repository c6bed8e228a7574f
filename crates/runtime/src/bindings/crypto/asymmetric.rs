//! Public and private keys.

use std::sync::Arc;

use rsa::pkcs1::{self, DecodeRsaPrivateKey};
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use super::curve::Curve;

/// Bits of the longest RSA modulus: an operation with it cannot be stopped.
pub const MAX_MODULUS_BITS: usize = 8192;
/// Bits of the shortest, as in OpenSSL.
pub const MIN_MODULUS_BITS: usize = 512;
/// Bytes of the longest public exponent.
const MAX_EXPONENT_BYTES: usize = 5;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa(Arc<RsaPublicKey>),
    /// A point, uncompressed.
    Ec(Curve, Arc<[u8]>),
    /// An encoded point of Ed25519.
    Ed25519([u8; 32]),
    /// An X25519 coordinate.
    X25519([u8; 32]),
}

/// A private key.
#[derive(Clone)]
pub enum PrivateKey {
    /// RSA.
    Rsa(Arc<RsaPrivateKey>),
    /// A scalar, in its full length.
    Ec(Curve, Arc<Zeroizing<Vec<u8>>>),
    /// The seed of an Ed25519 key.
    Ed25519(Arc<Zeroizing<[u8; 32]>>),
    /// An X25519 scalar.
    X25519(Arc<Zeroizing<[u8; 32]>>),
}

/// The parts of an RSA private key, big-endian, in PKCS#1's order after the public ones.
pub struct RsaParts {
    /// `d`, `p`, `q`, `dp`, `dq`, `qi`
    pub parts: [Zeroizing<Vec<u8>>; 6],
}

impl PublicKey {
    /// An RSA key; `None` if it is none, or longer than what we take.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (trimmed(modulus), trimmed(exponent));
        if modulus.len() > MAX_MODULUS_BITS / 8 || exponent.len() > MAX_EXPONENT_BYTES {
            return None;
        }
        let key = RsaPublicKey::new_with_size_limits(
            uint(modulus)?,
            uint(exponent)?,
            MIN_MODULUS_BITS..=MAX_MODULUS_BITS,
        );
        Some(Self::Rsa(Arc::new(key.ok()?)))
    }

    /// A key on a curve, from any form of a point.
    pub fn ec(curve: Curve, point: &[u8]) -> Option<Self> {
        Some(Self::Ec(curve, curve.point(point)?.into()))
    }

    /// `asymmetricKeyType`
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa",
            Self::Ec(..) => "ec",
            Self::Ed25519(_) => "ed25519",
            Self::X25519(_) => "x25519",
        }
    }
}

impl PrivateKey {
    /// An RSA key from PKCS#1; `None` if it is none, or longer than what we take.
    pub fn rsa_from_pkcs1(der: &[u8]) -> Option<Self> {
        use pkcs8::der::Decode;
        let key = pkcs1::RsaPrivateKeyRef::from_der(der).ok()?;
        PublicKey::rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())?;
        let modulus = trimmed(key.modulus.as_bytes()).len();
        if [&key.private_exponent, &key.prime1, &key.prime2]
            .iter()
            .any(|part| part.as_bytes().len() > modulus)
        {
            return None;
        }
        let key = RsaPrivateKey::from_pkcs1_der(der).ok()?;
        Some(Self::Rsa(Arc::new(key)))
    }

    /// An RSA key from its numbers.
    pub fn rsa_from_parts(
        modulus: &[u8],
        exponent: &[u8],
        private: &[u8],
        primes: [&[u8]; 2],
    ) -> Option<Self> {
        PublicKey::rsa(modulus, exponent)?;
        let size = trimmed(modulus).len();
        if [private, primes[0], primes[1]]
            .iter()
            .any(|part| trimmed(part).len() > size)
        {
            return None;
        }
        let wide = |bytes: &[u8]| {
            let bits = u32::try_from(size.saturating_mul(8)).ok()?;
            BoxedUint::from_be_slice(trimmed(bytes), bits).ok()
        };
        let key = RsaPrivateKey::from_components(
            wide(modulus)?,
            uint(trimmed(exponent))?,
            wide(private)?,
            vec![wide(primes[0])?, wide(primes[1])?],
        );
        Some(Self::Rsa(Arc::new(key.ok()?)))
    }

    /// A key on a curve.
    pub fn ec(curve: Curve, scalar: &[u8]) -> Option<Self> {
        Some(Self::Ec(curve, Arc::new(curve.scalar(scalar)?)))
    }

    /// The public half.
    pub fn public(&self) -> Option<PublicKey> {
        Some(match self {
            Self::Rsa(key) => PublicKey::Rsa(Arc::new(key.to_public_key())),
            Self::Ec(curve, scalar) => PublicKey::Ec(*curve, curve.public_of(scalar)?.into()),
            Self::Ed25519(seed) => {
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                PublicKey::Ed25519(key.verifying_key().to_bytes())
            }
            Self::X25519(scalar) => {
                let secret = x25519_dalek::StaticSecret::from(***scalar);
                PublicKey::X25519(x25519_dalek::PublicKey::from(&secret).to_bytes())
            }
        })
    }

    /// `asymmetricKeyType`
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa",
            Self::Ec(..) => "ec",
            Self::Ed25519(_) => "ed25519",
            Self::X25519(_) => "x25519",
        }
    }

    /// The private parts of an RSA key.
    pub fn rsa_parts(key: &RsaPrivateKey) -> Option<RsaParts> {
        use pkcs8::der::Decode;
        use rsa::pkcs1::EncodeRsaPrivateKey;
        let document = key.to_pkcs1_der().ok()?;
        let key = pkcs1::RsaPrivateKeyRef::from_der(document.as_bytes()).ok()?;
        let parts = [
            key.private_exponent,
            key.prime1,
            key.prime2,
            key.exponent1,
            key.exponent2,
            key.coefficient,
        ];
        Some(RsaParts {
            parts: parts.map(|part| Zeroizing::new(part.as_bytes().to_vec())),
        })
    }
}

/// Bits of a modulus.
pub fn modulus_bits(key: &RsaPublicKey) -> u32 {
    key.n().bits()
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn uint(bytes: &[u8]) -> Option<BoxedUint> {
    let bits = u32::try_from(bytes.len().checked_mul(8)?).ok()?;
    BoxedUint::from_be_slice(bytes, bits.max(8)).ok()
}
