//! Public and private keys.

use std::sync::Arc;

use rsa::pkcs1::{self, DecodeRsaPrivateKey};
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::cfrg::Cfrg;
use super::curve::Group;
use super::dh;
use super::dsa;
use super::modular::trimmed;

/// Bits of the longest RSA modulus: an operation with it cannot be stopped.
pub const MAX_MODULUS_BITS: usize = 8192;
/// Bits of the shortest, as in OpenSSL.
pub const MIN_MODULUS_BITS: usize = 512;
/// Bytes of the longest public exponent.
const MAX_EXPONENT_BYTES: usize = 5;

/// What an RSA-PSS key is restricted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The digest of what is signed.
    pub digest: Algorithm,
    /// The digest of the mask.
    pub mask: Algorithm,
    /// Bytes of the shortest salt.
    pub salt: usize,
}

/// What an RSA key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Anything.
    Any,
    /// PSS alone, in one way or in all.
    Pss(Option<Restriction>),
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa(Arc<RsaPublicKey>, Use),
    /// A point, uncompressed.
    Ec(Group, Arc<[u8]>),
    /// A point of the curves that have one encoding.
    Cfrg(Cfrg, Arc<[u8]>),
    /// DSA: the domain, and a power of its generator.
    Dsa(Arc<dsa::Domain>, Arc<[u8]>),
    /// Diffie-Hellman: the group, and a power of its generator.
    Dh(Arc<dh::Domain>, Arc<[u8]>),
}

/// A secret number or text of bytes.
pub type SecretBytes = Arc<Zeroizing<Vec<u8>>>;

/// A private key.
#[derive(Clone)]
pub enum PrivateKey {
    /// RSA.
    Rsa(Arc<RsaPrivateKey>, Use),
    /// A scalar, in its full length.
    Ec(Group, SecretBytes),
    /// A seed or a scalar, as it is encoded.
    Cfrg(Cfrg, SecretBytes),
    /// DSA: the domain, and the exponent.
    Dsa(Arc<dsa::Domain>, SecretBytes),
    /// Diffie-Hellman: the group, and the exponent.
    Dh(Arc<dh::Domain>, SecretBytes),
}

impl Use {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "rsa",
            Self::Pss(_) => "rsa-pss",
        }
    }
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
        Some(Self::Rsa(Arc::new(key.ok()?), Use::Any))
    }

    /// A key on a curve, from any form of a point.
    pub fn ec(group: Group, point: &[u8]) -> Option<Self> {
        Some(Self::Ec(group, group.curve.point(point)?.into()))
    }

    /// A key of a curve of RFC 7748 or RFC 8032; `None` for one of another length.
    pub fn cfrg(curve: Cfrg, point: &[u8]) -> Option<Self> {
        (point.len() == curve.size()).then(|| Self::Cfrg(curve, point.into()))
    }

    /// The same key, for PSS alone if it is RSA.
    pub fn for_use(self, usage: Use) -> Option<Self> {
        match self {
            Self::Rsa(key, _) => Some(Self::Rsa(key, usage)),
            _ => None,
        }
    }

    /// `asymmetricKeyType`
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_, usage) => usage.name(),
            Self::Ec(..) => "ec",
            Self::Cfrg(curve, _) => curve.key_type(),
            Self::Dsa(..) => "dsa",
            Self::Dh(..) => "dh",
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
        Some(Self::Rsa(Arc::new(key), Use::Any))
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
        Some(Self::Rsa(Arc::new(key.ok()?), Use::Any))
    }

    /// A key on a curve.
    pub fn ec(group: Group, scalar: &[u8]) -> Option<Self> {
        Some(Self::Ec(group, Arc::new(group.curve.scalar(scalar)?)))
    }

    /// A key of a curve of RFC 7748 or RFC 8032; `None` for one of another length.
    pub fn cfrg(curve: Cfrg, private: &[u8]) -> Option<Self> {
        (private.len() == curve.size())
            .then(|| Self::Cfrg(curve, Arc::new(Zeroizing::new(private.to_vec()))))
    }

    /// The same key, for PSS alone if it is RSA.
    pub fn for_use(self, usage: Use) -> Option<Self> {
        match self {
            Self::Rsa(key, _) => Some(Self::Rsa(key, usage)),
            _ => None,
        }
    }

    /// The public half.
    pub fn public(&self) -> Option<PublicKey> {
        Some(match self {
            Self::Rsa(key, usage) => PublicKey::Rsa(Arc::new(key.to_public_key()), *usage),
            Self::Ec(group, scalar) => PublicKey::Ec(*group, group.curve.public_of(scalar)?.into()),
            Self::Cfrg(curve, private) => PublicKey::Cfrg(*curve, curve.public_of(private)?.into()),
            Self::Dsa(domain, private) => {
                PublicKey::Dsa(domain.clone(), domain.public_of(private)?.into())
            }
            Self::Dh(domain, private) => {
                PublicKey::Dh(domain.clone(), domain.public_of(private)?.into())
            }
        })
    }

    /// `asymmetricKeyType`
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_, usage) => usage.name(),
            Self::Ec(..) => "ec",
            Self::Cfrg(curve, _) => curve.key_type(),
            Self::Dsa(..) => "dsa",
            Self::Dh(..) => "dh",
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

fn uint(bytes: &[u8]) -> Option<BoxedUint> {
    let bits = u32::try_from(bytes.len().checked_mul(8)?).ok()?;
    BoxedUint::from_be_slice(bytes, bits.max(8)).ok()
}
