//! RSA with its paddings: PKCS#1 v1.5, PSS, OAEP. Private operations are blinded.

use std::fmt;

use pkcs8::ObjectIdentifier;
use pkcs8::der::Encode;
use pkcs8::der::asn1::OctetStringRef;
use rand_core::{TryCryptoRng, TryRng};
use rsa::traits::{PublicKeyParts, SignatureScheme};
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey};

use super::algorithm::{Algorithm, with_digest};
use crate::throw::Throw;

/// `RSA_PKCS1_PADDING`
pub const PKCS1: i32 = 1;
/// `RSA_PKCS1_PSS_PADDING`
pub const PSS: i32 = 6;
/// `RSA_PSS_SALTLEN_DIGEST`
const SALT_OF_DIGEST: i32 = -1;
/// `RSA_PSS_SALTLEN_MAX_SIGN`, and `RSA_PSS_SALTLEN_AUTO` of verification.
const SALT_OF_ANY_LENGTH: i32 = -2;

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
fn identifier(digest: Algorithm) -> Option<&'static str> {
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
        Algorithm::Md5Sha1
        | Algorithm::Shake128
        | Algorithm::Shake256
        | Algorithm::Blake2b512
        | Algorithm::Blake2s256 => return None,
    })
}

fn unsupported_digest() -> Throw {
    Throw::error(
        "ERR_OSSL_INVALID_DIGEST",
        "error:1C80007A:Provider routines::invalid digest",
    )
}

/// RFC 8017, 9.2: a digest with what says of which algorithm it is.
fn pkcs1(algorithm: Algorithm, digest: &[u8]) -> Result<Pkcs1v15Sign, Throw> {
    /// `NULL`
    const NULL: [u8; 2] = [5, 0];
    /// `SEQUENCE`
    const SEQUENCE: u8 = 0x30;

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

/// The padding that was asked for.
fn padding(asked: Option<i32>) -> Result<i32, Throw> {
    match asked.unwrap_or(PKCS1) {
        known @ (PKCS1 | PSS) => Ok(known),
        _ => Err(Throw::error(
            "ERR_OSSL_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE",
            "error:1C8000A5:Provider routines::illegal or unsupported padding mode",
        )),
    }
}

fn too_large() -> Throw {
    Throw::error(
        "ERR_OSSL_RSA_DATA_TOO_LARGE_FOR_KEY_SIZE",
        "error:0200006E:rsa routines::data too large for key size",
    )
}

/// Bytes of the longest salt that fits.
fn longest_salt(key: &RsaPublicKey, digest: usize) -> Option<usize> {
    let encoded = (key.n().bits() as usize).checked_sub(1)?.div_ceil(8);
    encoded.checked_sub(digest)?.checked_sub(2)
}

/// A signature of a digest.
///
/// # Errors
/// The key is too short, or the padding is none of ours.
pub fn sign(
    key: &RsaPrivateKey,
    algorithm: Algorithm,
    digest: &[u8],
    asked: Option<i32>,
    salt: Option<i32>,
) -> Result<Vec<u8>, Throw> {
    let random = Some(&mut KernelRandom);
    if padding(asked)? == PKCS1 {
        let scheme = pkcs1(algorithm, digest)?;
        return scheme.sign(random, key, digest).map_err(|_| {
            Throw::error(
                "ERR_OSSL_RSA_DIGEST_TOO_BIG_FOR_RSA_KEY",
                "error:02000070:rsa routines::digest too big for rsa key",
            )
        });
    }
    let longest = longest_salt(key.as_public_key(), digest.len()).ok_or_else(too_large)?;
    let salt = match salt.unwrap_or(SALT_OF_ANY_LENGTH) {
        SALT_OF_DIGEST => digest.len(),
        SALT_OF_ANY_LENGTH => longest,
        length => usize::try_from(length).map_err(|_| too_large())?,
    };
    if salt > longest {
        return Err(too_large());
    }
    with_digest!(
        algorithm,
        D => Pss::<D>::new_blinded_with_salt(salt)
            .sign(random, key, digest)
            .map_err(|_| too_large()),
        else Err(unsupported_digest())
    )
}

/// Whether `signature` is one of `digest`.
///
/// # Errors
/// The padding is none of ours.
pub fn verify(
    key: &RsaPublicKey,
    algorithm: Algorithm,
    digest: &[u8],
    asked: Option<i32>,
    salt: Option<i32>,
    signature: &[u8],
) -> Result<bool, Throw> {
    if padding(asked)? == PKCS1 {
        return Ok(key
            .verify(pkcs1(algorithm, digest)?, digest, signature)
            .is_ok());
    }
    let salt = match salt.unwrap_or(SALT_OF_ANY_LENGTH) {
        SALT_OF_DIGEST => Some(digest.len()),
        SALT_OF_ANY_LENGTH => None,
        length => Some(usize::try_from(length).map_err(|_| too_large())?),
    };
    with_digest!(
        algorithm,
        D => {
            let mut scheme = Pss::<D>::new();
            scheme.salt_len = salt;
            Ok(key.verify(scheme, digest, signature).is_ok())
        },
        else Err(unsupported_digest())
    )
}
