//! Digest algorithms: their names, and how bytes run through them.

use digest::common::BlockSizeUser;
use digest::{Digest, ExtendableOutput, Update};
use hmac::{KeyInit, Mac, SimpleHmac};

use crate::throw::Throw;

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    /// MD5 and SHA-1, one after the other, as old TLS signs.
    Md5Sha1,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
    Shake128,
    Shake256,
    Ripemd160,
    Blake2b512,
    Blake2s256,
    Sm3,
}

/// What `crypto.getHashes()` lists.
pub const LISTED: &[(&str, Algorithm)] = &[
    ("RSA-MD5", Algorithm::Md5),
    ("RSA-RIPEMD160", Algorithm::Ripemd160),
    ("RSA-SHA1", Algorithm::Sha1),
    ("RSA-SHA1-2", Algorithm::Sha1),
    ("RSA-SHA224", Algorithm::Sha224),
    ("RSA-SHA256", Algorithm::Sha256),
    ("RSA-SHA3-224", Algorithm::Sha3_224),
    ("RSA-SHA3-256", Algorithm::Sha3_256),
    ("RSA-SHA3-384", Algorithm::Sha3_384),
    ("RSA-SHA3-512", Algorithm::Sha3_512),
    ("RSA-SHA384", Algorithm::Sha384),
    ("RSA-SHA512", Algorithm::Sha512),
    ("RSA-SHA512/224", Algorithm::Sha512_224),
    ("RSA-SHA512/256", Algorithm::Sha512_256),
    ("RSA-SM3", Algorithm::Sm3),
    ("blake2b512", Algorithm::Blake2b512),
    ("blake2s256", Algorithm::Blake2s256),
    ("id-rsassa-pkcs1-v1_5-with-sha3-224", Algorithm::Sha3_224),
    ("id-rsassa-pkcs1-v1_5-with-sha3-256", Algorithm::Sha3_256),
    ("id-rsassa-pkcs1-v1_5-with-sha3-384", Algorithm::Sha3_384),
    ("id-rsassa-pkcs1-v1_5-with-sha3-512", Algorithm::Sha3_512),
    ("md5", Algorithm::Md5),
    ("md5-sha1", Algorithm::Md5Sha1),
    ("md5WithRSAEncryption", Algorithm::Md5),
    ("ripemd", Algorithm::Ripemd160),
    ("ripemd160", Algorithm::Ripemd160),
    ("ripemd160WithRSA", Algorithm::Ripemd160),
    ("rmd160", Algorithm::Ripemd160),
    ("sha1", Algorithm::Sha1),
    ("sha1WithRSAEncryption", Algorithm::Sha1),
    ("sha224", Algorithm::Sha224),
    ("sha224WithRSAEncryption", Algorithm::Sha224),
    ("sha256", Algorithm::Sha256),
    ("sha256WithRSAEncryption", Algorithm::Sha256),
    ("sha3-224", Algorithm::Sha3_224),
    ("sha3-256", Algorithm::Sha3_256),
    ("sha3-384", Algorithm::Sha3_384),
    ("sha3-512", Algorithm::Sha3_512),
    ("sha384", Algorithm::Sha384),
    ("sha384WithRSAEncryption", Algorithm::Sha384),
    ("sha512", Algorithm::Sha512),
    ("sha512-224", Algorithm::Sha512_224),
    ("sha512-224WithRSAEncryption", Algorithm::Sha512_224),
    ("sha512-256", Algorithm::Sha512_256),
    ("sha512-256WithRSAEncryption", Algorithm::Sha512_256),
    ("sha512WithRSAEncryption", Algorithm::Sha512),
    ("shake128", Algorithm::Shake128),
    ("shake256", Algorithm::Shake256),
    ("sm3", Algorithm::Sm3),
    ("sm3WithRSAEncryption", Algorithm::Sm3),
    ("ssl3-md5", Algorithm::Md5),
    ("ssl3-sha1", Algorithm::Sha1),
];

/// Further names that OpenSSL knows.
const ALIASES: &[(&str, Algorithm)] = &[
    ("sha-1", Algorithm::Sha1),
    ("sha-224", Algorithm::Sha224),
    ("sha-256", Algorithm::Sha256),
    ("sha-384", Algorithm::Sha384),
    ("sha-512", Algorithm::Sha512),
    ("sha-512/224", Algorithm::Sha512_224),
    ("sha-512/256", Algorithm::Sha512_256),
    ("sha2-224", Algorithm::Sha224),
    ("sha2-256", Algorithm::Sha256),
    ("sha2-384", Algorithm::Sha384),
    ("sha2-512", Algorithm::Sha512),
    ("sha2-512/224", Algorithm::Sha512_224),
    ("sha2-512/256", Algorithm::Sha512_256),
    ("sha512/224", Algorithm::Sha512_224),
    ("sha512/256", Algorithm::Sha512_256),
    ("shake-128", Algorithm::Shake128),
    ("shake-256", Algorithm::Shake256),
    ("ripemd-160", Algorithm::Ripemd160),
    ("blake2b-512", Algorithm::Blake2b512),
    ("blake2s-256", Algorithm::Blake2s256),
];

/// Runs `$body` with the type `$Digest` of a fixed-length algorithm; `$other` for the rest.
macro_rules! with_digest {
    ($algorithm:expr, $Digest:ident => $body:expr, else $other:expr) => {{
        use $crate::bindings::crypto::algorithm::Algorithm as A;
        macro_rules! run {
            ($Type:ty) => {{
                type $Digest = $Type;
                $body
            }};
        }
        match $algorithm {
            A::Md5 => run!(md5::Md5),
            A::Sha1 => run!(sha1::Sha1),
            A::Sha224 => run!(sha2::Sha224),
            A::Sha256 => run!(sha2::Sha256),
            A::Sha384 => run!(sha2::Sha384),
            A::Sha512 => run!(sha2::Sha512),
            A::Sha512_224 => run!(sha2::Sha512_224),
            A::Sha512_256 => run!(sha2::Sha512_256),
            A::Sha3_224 => run!(sha3::Sha3_224),
            A::Sha3_256 => run!(sha3::Sha3_256),
            A::Sha3_384 => run!(sha3::Sha3_384),
            A::Sha3_512 => run!(sha3::Sha3_512),
            A::Ripemd160 => run!(ripemd::Ripemd160),
            A::Blake2b512 => run!(blake2::Blake2b512),
            A::Blake2s256 => run!(blake2::Blake2s256),
            A::Sm3 => run!(sm3::Sm3),
            A::Md5Sha1 | A::Shake128 | A::Shake256 => $other,
        }
    }};
}
pub(crate) use with_digest;

impl Algorithm {
    /// The algorithm of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut known = LISTED.iter().chain(ALIASES);
        known
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, algorithm)| *algorithm)
    }

    /// The name in the details of keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Md5Sha1 => "md5-sha1",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha512_224 => "sha512-224",
            Self::Sha512_256 => "sha512-256",
            Self::Sha3_224 => "sha3-224",
            Self::Sha3_256 => "sha3-256",
            Self::Sha3_384 => "sha3-384",
            Self::Sha3_512 => "sha3-512",
            Self::Shake128 => "shake128",
            Self::Shake256 => "shake256",
            Self::Ripemd160 => "ripemd160",
            Self::Blake2b512 => "blake2b512",
            Self::Blake2s256 => "blake2s256",
            Self::Sm3 => "sm3",
        }
    }

    /// The algorithm of this name, or Node's error.
    ///
    /// # Errors
    /// There is none, or none of a fixed length.
    pub fn for_mac(name: &str) -> Result<Self, Throw> {
        let invalid = || {
            Throw::type_error(
                "ERR_CRYPTO_INVALID_DIGEST",
                format!("Invalid digest: {name}"),
            )
        };
        let algorithm = Self::from_name(name).ok_or_else(invalid)?;
        if algorithm.length().is_none() {
            return Err(invalid());
        }
        Ok(algorithm)
    }

    /// Bytes of a digest that can be asked for a MAC.
    pub fn length(self) -> Option<usize> {
        with_digest!(self, D => Some(<D as Digest>::output_size()), else None)
    }

    /// A new hash.
    pub fn hasher(self) -> Box<dyn Hasher> {
        match self {
            Self::Md5Sha1 => Box::new(Both::default()),
            Self::Shake128 => Box::new(Extendable::<shake::Shake128, 16>::default()),
            Self::Shake256 => Box::new(Extendable::<shake::Shake256, 32>::default()),
            fixed => with_digest!(
                fixed,
                D => Box::new(Fixed(D::new())),
                else Box::new(Both::default())
            ),
        }
    }

    /// A new MAC; `None` for an algorithm that has none.
    pub fn mac(self, key: &[u8]) -> Option<Box<dyn AnyMac>> {
        with_digest!(
            self,
            D => SimpleHmac::<D>::new_from_slice(key)
                .ok()
                .map(|mac| Box::new(mac) as Box<dyn AnyMac>),
            else None
        )
    }

    /// The digest of `data`, in one go.
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        let mut hasher = self.hasher();
        hasher.update(data);
        hasher.finish(None)
    }
}

/// A hash of any algorithm.
pub trait Hasher {
    /// Takes more bytes.
    fn update(&mut self, bytes: &[u8]);
    /// The digest of what came so far, in a length that [`Self::allows`].
    fn finish(&self, length: Option<usize>) -> Vec<u8>;
    /// Whether a digest may have this length.
    fn allows(&self, length: usize) -> bool;
    /// The same state once more.
    fn copy(&self) -> Box<dyn Hasher>;
}

#[derive(Clone)]
struct Fixed<D>(D);

impl<D: Digest + Clone + 'static> Hasher for Fixed<D> {
    fn update(&mut self, bytes: &[u8]) {
        Digest::update(&mut self.0, bytes);
    }

    fn finish(&self, _length: Option<usize>) -> Vec<u8> {
        self.0.clone().finalize().to_vec()
    }

    fn allows(&self, length: usize) -> bool {
        length == <D as Digest>::output_size()
    }

    fn copy(&self) -> Box<dyn Hasher> {
        Box::new(self.clone())
    }
}

/// An algorithm whose output has any length; `DEFAULT` when none is asked for.
#[derive(Clone, Default)]
struct Extendable<D, const DEFAULT: usize>(D);

impl<D: Update + ExtendableOutput + Clone + 'static, const DEFAULT: usize> Hasher
    for Extendable<D, DEFAULT>
{
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self, length: Option<usize>) -> Vec<u8> {
        let mut output = vec![0; length.unwrap_or(DEFAULT)];
        self.0.clone().finalize_xof_into(&mut output);
        output
    }

    fn allows(&self, _length: usize) -> bool {
        true
    }

    fn copy(&self) -> Box<dyn Hasher> {
        Box::new(self.clone())
    }
}

#[derive(Clone, Default)]
struct Both(md5::Md5, sha1::Sha1);

impl Hasher for Both {
    fn update(&mut self, bytes: &[u8]) {
        Digest::update(&mut self.0, bytes);
        Digest::update(&mut self.1, bytes);
    }

    fn finish(&self, _length: Option<usize>) -> Vec<u8> {
        let mut output = self.0.clone().finalize().to_vec();
        output.extend_from_slice(&self.1.clone().finalize());
        output
    }

    fn allows(&self, length: usize) -> bool {
        length == <md5::Md5 as Digest>::output_size() + <sha1::Sha1 as Digest>::output_size()
    }

    fn copy(&self) -> Box<dyn Hasher> {
        Box::new(self.clone())
    }
}

/// An HMAC of any algorithm.
pub trait AnyMac: Send {
    /// Takes more bytes.
    fn update(&mut self, bytes: &[u8]);
    /// The MAC of what came so far.
    fn finish(&self) -> Vec<u8>;
    /// The same state once more.
    fn copy(&self) -> Box<dyn AnyMac>;
}

impl<D: Digest + BlockSizeUser + Clone + Send + 'static> AnyMac for SimpleHmac<D> {
    fn update(&mut self, bytes: &[u8]) {
        Mac::update(self, bytes);
    }

    fn finish(&self) -> Vec<u8> {
        self.clone().finalize().into_bytes().to_vec()
    }

    fn copy(&self) -> Box<dyn AnyMac> {
        Box::new(self.clone())
    }
}
