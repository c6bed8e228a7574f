//! RSA signatures: PKCS#1 v1.5 and PSS (RFC 8017). Private operations are blinded.

use std::fmt;

use crypto_bigint::Resize;
use pkcs8::ObjectIdentifier;
use pkcs8::der::Encode;
use pkcs8::der::asn1::OctetStringRef;
use rand_core::{TryCryptoRng, TryRng};
use rsa::hazmat::{rsa_decrypt_and_check, rsa_encrypt};
use rsa::traits::{PublicKeyParts, SignatureScheme};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use subtle::ConstantTimeEq;

use super::algorithm::Algorithm;
use super::asymmetric::{Restriction, Use};
use super::modular::{bytes_of, padded, uint};
use super::openssl::{self, failure, failure_after};
use super::random::random_bytes;
use crate::throw::Throw;

/// `RSA_PKCS1_PADDING`
pub const PKCS1: i32 = 1;
/// `RSA_NO_PADDING`
pub const NONE: i32 = 3;
/// `RSA_PKCS1_OAEP_PADDING`
pub const OAEP: i32 = 4;
/// `RSA_X931_PADDING`
pub const X931: i32 = 5;
/// `RSA_PKCS1_PSS_PADDING`
pub const PSS: i32 = 6;
/// `RSA_PSS_SALTLEN_DIGEST`
const SALT_OF_DIGEST: i32 = -1;
/// `RSA_PSS_SALTLEN_MAX_SIGN`, and `RSA_PSS_SALTLEN_AUTO` of verification.
const SALT_OF_ANY_LENGTH: i32 = -2;
/// `RSA_PSS_SALTLEN_MAX`
const LONGEST_SALT: i32 = -3;

/// The kernel's random bytes for RSA's arithmetic.
pub struct KernelRandom;

/// There are no random bytes.
#[derive(Debug)]
pub struct NoRandom;

impl fmt::Display for NoRandom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no random bytes")
    }
}

impl std::error::Error for NoRandom {}

impl TryRng for KernelRandom {
    type Error = NoRandom;

    fn try_next_u32(&mut self) -> Result<u32, NoRandom> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandom> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        secure_exec_kernel::fill_random(bytes).map_err(|_| NoRandom)
    }
}

impl TryCryptoRng for KernelRandom {}

/// The identifier that PKCS#1 v1.5 puts before a digest; MD5 with SHA-1 has none.
pub fn identifier(digest: Algorithm) -> Option<&'static str> {
    Some(match digest {
        Algorithm::Md5 => "1.2.840.113549.2.5",
        Algorithm::Sha1 => "1.3.14.3.2.26",
        Algorithm::Sha224 => "2.16.840.1.101.3.4.2.4",
        Algorithm::Sha256 => "2.16.840.1.101.3.4.2.1",
        Algorithm::Sha384 => "2.16.840.1.101.3.4.2.2",
        Algorithm::Sha512 => "2.16.840.1.101.3.4.2.3",
        Algorithm::Sha512_224 => "2.16.840.1.101.3.4.2.5",
        Algorithm::Sha512_256 => "2.16.840.1.101.3.4.2.6",
        Algorithm::Sha3_224 => "2.16.840.1.101.3.4.2.7",
        Algorithm::Sha3_256 => "2.16.840.1.101.3.4.2.8",
        Algorithm::Sha3_384 => "2.16.840.1.101.3.4.2.9",
        Algorithm::Sha3_512 => "2.16.840.1.101.3.4.2.10",
        Algorithm::Ripemd160 => "1.3.36.3.2.1",
        Algorithm::Sm3 => "1.2.156.10197.1.401",
        Algorithm::Md5Sha1
        | Algorithm::Shake128
        | Algorithm::Shake256
        | Algorithm::Blake2b512
        | Algorithm::Blake2s256 => return None,
    })
}

fn unsupported_digest() -> Throw {
    failure(openssl::DIGEST_NOT_ALLOWED)
}

/// RFC 8017, 9.2: a digest with what says of which algorithm it is.
fn pkcs1(algorithm: Algorithm, digest: &[u8]) -> Result<Pkcs1v15Sign, Throw> {
    /// `NULL`
    const NULL: [u8; 2] = [5, 0];
    /// `SEQUENCE`
    const SEQUENCE: u8 = 0x30;

    if algorithm == Algorithm::Md5Sha1 {
        return Ok(Pkcs1v15Sign {
            hash_len: Some(digest.len()),
            prefix: Box::default(),
        });
    }
    let oid = identifier(algorithm).ok_or_else(unsupported_digest)?;
    let parts = || {
        let oid = ObjectIdentifier::new(oid).ok()?.to_der().ok()?;
        let octets = OctetStringRef::new(digest).ok()?.to_der().ok()?;
        let mut prefix = vec![SEQUENCE, u8::try_from(oid.len() + NULL.len()).ok()?];
        prefix.extend_from_slice(&oid);
        prefix.extend_from_slice(&NULL);
        let header = octets.len().checked_sub(digest.len())?;
        let whole = u8::try_from(prefix.len() + octets.len()).ok()?;
        let mut framed = vec![SEQUENCE, whole];
        framed.append(&mut prefix);
        framed.extend_from_slice(octets.get(..header)?);
        Some(framed)
    };
    Ok(Pkcs1v15Sign {
        hash_len: Some(digest.len()),
        prefix: parts().ok_or_else(unsupported_digest)?.into_boxed_slice(),
    })
}

/// How to pad what is signed.
#[derive(Clone, Copy, Debug)]
pub struct Scheme {
    /// The padding that was asked for.
    pub padding: Option<i32>,
    /// The length of the salt that was asked for.
    pub salt: Option<i32>,
}

/// What an RSA signature is made with, once the key had its say.
enum Padding {
    Pkcs1,
    Pss(Pss),
}

struct Pss {
    digest: Algorithm,
    mask: Algorithm,
    salt: Salt,
}

#[derive(Clone, Copy)]
enum Salt {
    Digest,
    /// As long as fits; any length for verification.
    Any,
    Longest,
    /// As the digest, or what fits of it; any length for verification.
    DigestAtMost,
    Exactly(usize),
}

impl Scheme {
    fn padding(self, usage: Use, algorithm: Algorithm, verifies: bool) -> Result<Padding, Throw> {
        let default = match usage {
            Use::Any => PKCS1,
            Use::Pss(_) => PSS,
        };
        let padding = match self.padding.unwrap_or(default) {
            0 => default,
            padding => padding,
        };
        if identifier(algorithm).is_none() && algorithm != Algorithm::Md5Sha1 {
            return Err(unsupported_digest());
        }
        if let Use::Pss(Some(restriction)) = usage
            && restriction.digest != algorithm
        {
            return Err(unsupported_digest());
        }
        match (padding, usage) {
            (PKCS1, Use::Any) => return Ok(Padding::Pkcs1),
            (PSS, _) => {}
            (NONE, _) => return Err(failure(openssl::INVALID_PADDING_MODE)),
            (X931, Use::Any) => return Err(failure(openssl::INVALID_X931_DIGEST)),
            _ => return Err(failure(openssl::ILLEGAL_PADDING_MODE)),
        }
        let Use::Pss(Some(restriction)) = usage else {
            return Ok(Padding::Pss(Pss {
                digest: algorithm,
                mask: algorithm,
                salt: self.salt(None)?,
            }));
        };
        let salt = self.salt(Some(restriction))?;
        if verifies && matches!(salt, Salt::Any) {
            return Err(failure(openssl::INVALID_SALT_LENGTH));
        }
        if matches!(salt, Salt::Exactly(length) if length < restriction.salt) {
            return Err(failure(openssl::PSS_SALTLEN_TOO_SMALL));
        }
        Ok(Padding::Pss(Pss {
            digest: restriction.digest,
            mask: restriction.mask,
            salt,
        }))
    }

    fn salt(self, restriction: Option<Restriction>) -> Result<Salt, Throw> {
        Ok(match (self.salt, restriction) {
            (None, _) if self.padding == Some(PSS) => Salt::Any,
            (None, Some(restriction)) => Salt::Exactly(restriction.salt),
            (None, None) => Salt::DigestAtMost,
            (Some(SALT_OF_DIGEST), _) => Salt::Digest,
            (Some(SALT_OF_ANY_LENGTH), _) => Salt::Any,
            (Some(LONGEST_SALT), _) => Salt::Longest,
            (Some(length), _) => Salt::Exactly(
                usize::try_from(length).map_err(|_| failure(openssl::INVALID_SALT_LENGTH))?,
            ),
        })
    }
}

impl Salt {
    /// The length of a new salt.
    fn of_new(self, digest: usize, longest: usize) -> usize {
        match self {
            Self::Digest => digest,
            Self::Any | Self::Longest => longest,
            Self::DigestAtMost => digest.min(longest),
            Self::Exactly(length) => length,
        }
    }

    /// Whether a salt that was found has a length that was asked for.
    fn allows(self, found: usize, digest: usize, longest: usize) -> bool {
        match self {
            Self::Digest => found == digest,
            Self::Any | Self::DigestAtMost => true,
            Self::Longest => found == longest,
            Self::Exactly(length) => found == length,
        }
    }
}

/// Xors a mask of `seed` into `target` (MGF1).
pub fn mask(algorithm: Algorithm, seed: &[u8], target: &mut [u8]) {
    let length = algorithm.length().unwrap_or(1).max(1);
    for (counter, piece) in (0_u32..).zip(target.chunks_mut(length)) {
        let mut hasher = algorithm.hasher();
        hasher.update(seed);
        hasher.update(&counter.to_be_bytes());
        for (byte, mask) in piece.iter_mut().zip(hasher.finish(None)) {
            *byte ^= mask;
        }
    }
}

/// The last byte of each encoded message of PSS.
const TRAILER: u8 = 0xbc;

impl Pss {
    fn hash(&self, digest: &[u8], salt: &[u8]) -> Vec<u8> {
        let mut hasher = self.digest.hasher();
        hasher.update(&[0; 8]);
        hasher.update(digest);
        hasher.update(salt);
        hasher.finish(None)
    }

    /// RFC 8017, 9.1.1
    fn encode(&self, digest: &[u8], bits: u32) -> Result<Vec<u8>, Throw> {
        let too_large = || {
            failure_after(
                openssl::RSA_DATA_TOO_LARGE,
                &[openssl::EVP_SIGNATURE_FAILURE, openssl::PROVIDER_RSA_LIB],
            )
        };
        let length = bits.div_ceil(8) as usize;
        let longest = length.checked_sub(digest.len() + 2).ok_or_else(too_large)?;
        let salt = self.salt.of_new(digest.len(), longest);
        if salt > longest {
            return Err(too_large());
        }
        let salt = random_bytes(salt)?;
        let hash = self.hash(digest, &salt);
        let mut encoded = vec![0; longest - salt.len()];
        encoded.push(1);
        encoded.extend_from_slice(&salt);
        mask(self.mask, &hash, &mut encoded);
        let spare = u32::try_from(length).unwrap_or_default() * 8 - bits;
        if let Some(first) = encoded.first_mut() {
            *first &= 0xff >> spare;
        }
        encoded.extend_from_slice(&hash);
        encoded.push(TRAILER);
        Ok(encoded)
    }

    /// RFC 8017, 9.1.2
    fn verify(&self, digest: &[u8], bits: u32, encoded: &[u8]) -> Option<bool> {
        let length = bits.div_ceil(8) as usize;
        let longest = length.checked_sub(digest.len() + 2)?;
        let (trailer, rest) = encoded.split_last()?;
        let (masked, hash) = rest.split_at_checked(longest + 1)?;
        let spare = u32::try_from(length).ok()? * 8 - bits;
        if *trailer != TRAILER || masked.first()? & !(0xff >> spare) != 0 {
            return None;
        }
        let mut plain = masked.to_vec();
        mask(self.mask, hash, &mut plain);
        *plain.first_mut()? &= 0xff >> spare;
        let start = plain.iter().position(|byte| *byte != 0)?;
        let (one, salt) = plain.get(start..)?.split_first()?;
        if *one != 1 || !self.salt.allows(salt.len(), digest.len(), longest) {
            return None;
        }
        Some(bool::from(self.hash(digest, salt).ct_eq(hash)))
    }
}

/// Bytes of a modulus.
pub fn size(key: &impl PublicKeyParts) -> usize {
    (key.n().bits() as usize).div_ceil(8)
}

/// The private operation on a number less than the modulus; `None` for a greater one.
pub fn private_operation(key: &RsaPrivateKey, number: &[u8]) -> Option<Vec<u8>> {
    let number = uint(number).try_resize(key.n().bits_precision())?;
    if number >= **key.n() {
        return None;
    }
    let number = rsa_decrypt_and_check(key, Some(&mut KernelRandom), &number).ok()?;
    Some(padded(&number.to_be_bytes(), size(key)))
}

/// The public operation on a number less than the modulus; `None` for a greater one.
pub fn public_operation(key: &RsaPublicKey, number: &[u8]) -> Option<Vec<u8>> {
    let number = uint(number).try_resize(key.n().bits_precision())?;
    if number >= **key.n() {
        return None;
    }
    let number = rsa_encrypt(key, &number).ok()?;
    Some(padded(&bytes_of(&number), size(key)))
}

/// A signature of a digest.
///
/// # Errors
/// The key is too short, or for something else.
pub fn sign(
    (key, usage): (&RsaPrivateKey, Use),
    algorithm: Algorithm,
    digest: &[u8],
    scheme: Scheme,
) -> Result<Vec<u8>, Throw> {
    match scheme.padding(usage, algorithm, false)? {
        Padding::Pkcs1 => {
            let scheme = pkcs1(algorithm, digest)?;
            scheme
                .sign(Some(&mut KernelRandom), key, digest)
                .map_err(|_| {
                    failure_after(
                        openssl::RSA_DIGEST_TOO_BIG,
                        &[openssl::EVP_SIGNATURE_FAILURE, openssl::PROVIDER_RSA_LIB],
                    )
                })
        }
        Padding::Pss(pss) => {
            let encoded = pss.encode(digest, key.n().bits() - 1)?;
            private_operation(key, &encoded).ok_or_else(|| failure(openssl::RSA_DATA_TOO_LARGE))
        }
    }
}

/// Whether `signature` is one of `digest`.
///
/// # Errors
/// The key is for something else.
pub fn verify(
    (key, usage): (&RsaPublicKey, Use),
    algorithm: Algorithm,
    digest: &[u8],
    scheme: Scheme,
    signature: &[u8],
) -> Result<bool, Throw> {
    match scheme.padding(usage, algorithm, true)? {
        Padding::Pkcs1 => Ok(key
            .verify(pkcs1(algorithm, digest)?, digest, signature)
            .is_ok()),
        Padding::Pss(pss) => {
            if signature.len() != size(key) {
                return Ok(false);
            }
            let bits = key.n().bits() - 1;
            let encoded = public_operation(key, signature);
            let encoded = encoded.map(|encoded| padded(&encoded, bits.div_ceil(8) as usize));
            Ok(encoded.and_then(|encoded| pss.verify(digest, bits, &encoded)) == Some(true))
        }
    }
}
