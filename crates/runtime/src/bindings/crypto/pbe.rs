//! Keys under a passphrase: PKCS#8's `EncryptedPrivateKeyInfo` with PBES2 (RFC 8018), and what PEM had before it
//! (`Proc-Type: 4,ENCRYPTED`).

use pkcs8::ObjectIdentifier;
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{Decode, Encode, Reader, Sequence};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::cipher::modes::{Mode, transform};
use super::cipher::table::Cipher;
use super::kdf::pbkdf2;
use super::openssl::{self, failure};
use super::pkcs12;
use super::random::random_bytes;
use crate::throw::Throw;
use crate::work::Meter;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
/// `pbeWithSHA1And3-KeyTripleDES-CBC`
const SHA1_AND_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const SCRYPT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11591.4.11");
/// Bytes that one scrypt may move, and hold.
const MAX_SCRYPT_BYTES: u64 = 64 << 20;
/// OpenSSL's iterations for a new key.
const ITERATIONS: u32 = 2048;
/// Bytes of the salt of a new key.
const SALT: usize = 16;
/// Bytes of the salt where PEM encrypts, which are the first of the IV.
const PEM_SALT: usize = 8;

/// The MACs that derive keys.
const MACS: &[(&str, Algorithm)] = &[
    ("1.2.840.113549.2.7", Algorithm::Sha1),
    ("1.2.840.113549.2.8", Algorithm::Sha224),
    ("1.2.840.113549.2.9", Algorithm::Sha256),
    ("1.2.840.113549.2.10", Algorithm::Sha384),
    ("1.2.840.113549.2.11", Algorithm::Sha512),
    ("1.2.840.113549.2.12", Algorithm::Sha512_224),
    ("1.2.840.113549.2.13", Algorithm::Sha512_256),
    ("2.16.840.1.101.3.4.2.13", Algorithm::Sha3_224),
    ("2.16.840.1.101.3.4.2.14", Algorithm::Sha3_256),
    ("2.16.840.1.101.3.4.2.15", Algorithm::Sha3_384),
    ("2.16.840.1.101.3.4.2.16", Algorithm::Sha3_512),
];

/// The ciphers that have an identifier, by OpenSSL's name.
const CIPHERS: &[(&str, &str)] = &[
    ("aes-128-cbc", "2.16.840.1.101.3.4.1.2"),
    ("aes-128-ofb", "2.16.840.1.101.3.4.1.3"),
    ("aes-128-cfb", "2.16.840.1.101.3.4.1.4"),
    ("aes-192-cbc", "2.16.840.1.101.3.4.1.22"),
    ("aes-192-ofb", "2.16.840.1.101.3.4.1.23"),
    ("aes-192-cfb", "2.16.840.1.101.3.4.1.24"),
    ("aes-256-cbc", "2.16.840.1.101.3.4.1.42"),
    ("aes-256-ofb", "2.16.840.1.101.3.4.1.43"),
    ("aes-256-cfb", "2.16.840.1.101.3.4.1.44"),
    ("aria-128-cbc", "1.2.410.200046.1.1.2"),
    ("aria-192-cbc", "1.2.410.200046.1.1.7"),
    ("aria-256-cbc", "1.2.410.200046.1.1.12"),
    ("camellia-128-cbc", "1.2.392.200011.61.1.1.1.2"),
    ("camellia-192-cbc", "1.2.392.200011.61.1.1.1.3"),
    ("camellia-256-cbc", "1.2.392.200011.61.1.1.1.4"),
    ("des-ede3-cbc", "1.2.840.113549.3.7"),
    ("sm4-cbc", "1.2.156.10197.1.104.2"),
];

/// A passphrase with the cipher that it is to be used with.
pub struct Encryption {
    cipher: &'static Cipher,
    passphrase: Zeroizing<Vec<u8>>,
}

impl Encryption {
    /// # Errors
    /// There is no such cipher.
    pub fn new(name: &str, passphrase: Zeroizing<Vec<u8>>) -> Result<Self, Throw> {
        let cipher = Cipher::from_name(name)
            .ok_or_else(|| Throw::error("ERR_CRYPTO_UNKNOWN_CIPHER", "Unknown cipher"))?;
        Ok(Self { cipher, passphrase })
    }
}

/// `AlgorithmIdentifier`
#[derive(Sequence)]
struct Identified<'a> {
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'a>>,
}

/// `PBES2-params`
#[derive(Sequence)]
struct Pbes2<'a> {
    derivation: Identified<'a>,
    cipher: Identified<'a>,
}

/// `EncryptedPrivateKeyInfo`
#[derive(Sequence)]
struct Encrypted<'a> {
    algorithm: Identified<'a>,
    data: &'a OctetStringRef,
}

/// `PBKDF2-params` as we write them.
#[derive(Sequence)]
struct Derivation<'a> {
    salt: &'a OctetStringRef,
    iterations: u32,
    mac: Identified<'a>,
}

/// Runs a cipher over all data, with padding where the mode has one.
fn run(cipher: &Cipher, key: &[u8], iv: &[u8], encrypts: bool, data: &[u8]) -> Option<Vec<u8>> {
    let mut stream = transform(cipher.algorithm, cipher.mode, key, iv, encrypts)?;
    let mut output = data.to_vec();
    let block = cipher.block();
    if !matches!(cipher.mode, Mode::Cbc | Mode::Ecb) {
        return stream.apply(&mut output).then_some(output);
    }
    if encrypts {
        super::cipher::pad(&mut output, block);
        return stream.apply(&mut output).then_some(output);
    }
    if output.is_empty() || !output.len().is_multiple_of(block) {
        return None;
    }
    stream.apply(&mut output);
    let last = output.split_off(output.len() - block);
    output.append(&mut super::cipher::unpad(last).ok()?);
    Some(output)
}

fn identified(oid: &str) -> Option<ObjectIdentifier> {
    ObjectIdentifier::new(oid).ok()
}

/// The key that a passphrase gives in the way that parameters say.
fn derived(
    derivation: &Identified<'_>,
    passphrase: &[u8],
    length: usize,
    meter: &mut Meter,
) -> Option<Zeroizing<Vec<u8>>> {
    let parameters = derivation.parameters?;
    if derivation.oid == PBKDF2 {
        let (salt, iterations, mac) = parameters
            .sequence(|reader| {
                let salt = <&OctetStringRef>::decode(reader)?;
                let iterations = u32::decode(reader)?;
                let mut mac = None;
                while !reader.is_finished() {
                    let any: AnyRef<'_> = reader.decode()?;
                    if let Ok(found) = any.decode_as::<Identified<'_>>() {
                        mac = Some(found.oid);
                    }
                }
                Ok::<_, pkcs8::der::Error>((salt.as_bytes().to_vec(), iterations, mac))
            })
            .ok()?;
        let mac = match mac {
            None => Algorithm::Sha1,
            Some(oid) => MACS
                .iter()
                .find(|(known, _)| identified(known) == Some(oid))
                .map(|(_, mac)| *mac)?,
        };
        let key = pbkdf2(mac, passphrase, &salt, u64::from(iterations), length, meter);
        return (key.len() == length).then(|| Zeroizing::new(key));
    }
    if derivation.oid != SCRYPT {
        return None;
    }
    let (salt, n, r, p) = parameters
        .sequence(|reader| {
            let salt = <&OctetStringRef>::decode(reader)?.as_bytes().to_vec();
            let numbers = (
                u64::decode(reader)?,
                u32::decode(reader)?,
                u32::decode(reader)?,
            );
            while !reader.is_finished() {
                let _length: AnyRef<'_> = reader.decode()?;
            }
            Ok::<_, pkcs8::der::Error>((salt, numbers.0, numbers.1, numbers.2))
        })
        .ok()?;
    let bytes = n.checked_mul(128)?.checked_mul(u64::from(r))?;
    if !n.is_power_of_two() || bytes.checked_mul(u64::from(p))? > MAX_SCRYPT_BYTES {
        return None;
    }
    let log_n = u8::try_from(n.trailing_zeros()).ok()?;
    let params = scrypt::Params::new(log_n, r, p).ok()?;
    let mut key = Zeroizing::new(vec![0; length]);
    scrypt::scrypt(passphrase, &salt, &params, &mut key).ok()?;
    Some(key)
}

/// Whether DER looks like a key under a passphrase.
pub fn is_encrypted(der: &[u8]) -> bool {
    Encrypted::from_der(der).is_ok_and(|encrypted| encrypted.algorithm.oid == PBES2)
}

/// The `PrivateKeyInfo` under a passphrase.
///
/// # Errors
/// The passphrase is another one, or the algorithms are none of ours.
pub fn decrypt(
    der: &[u8],
    passphrase: &[u8],
    meter: &mut Meter,
) -> Result<Zeroizing<Vec<u8>>, Throw> {
    let unsupported = || failure(openssl::UNSUPPORTED);
    let encrypted = Encrypted::from_der(der).map_err(|_| unsupported())?;
    if encrypted.algorithm.oid != PBES2 {
        return Err(unsupported());
    }
    decrypt_by(
        &encrypted.algorithm,
        encrypted.data.as_bytes(),
        passphrase,
        meter,
    )
}

/// A passphrase in the forms that derivations take.
pub struct Secret<'a> {
    /// As it is.
    pub plain: &'a [u8],
    /// As PKCS#12 has it.
    pub wide: &'a [u8],
}

/// What is encrypted as an `AlgorithmIdentifier` says: PBES2, or the one cipher of PKCS#12's own that OpenSSL 3 still
/// has.
///
/// # Errors
/// The passphrase is another one, or the algorithms are none of ours.
pub fn decrypt_with(
    algorithm: &[u8],
    data: &[u8],
    secret: &Secret<'_>,
    meter: &mut Meter,
) -> Result<Zeroizing<Vec<u8>>, Throw> {
    let unsupported = || failure(openssl::UNSUPPORTED);
    let algorithm = Identified::from_der(algorithm).map_err(|_| unsupported())?;
    if algorithm.oid == PBES2 {
        return decrypt_by(&algorithm, data, secret.plain, meter);
    }
    if algorithm.oid != SHA1_AND_3DES {
        return Err(unsupported());
    }
    let parameters = algorithm.parameters.ok_or_else(unsupported)?;
    let (salt, iterations) = parameters
        .sequence(|reader| {
            let salt = <&OctetStringRef>::decode(reader)?.as_bytes().to_vec();
            Ok::<_, pkcs8::der::Error>((salt, u32::decode(reader)?))
        })
        .map_err(|_| unsupported())?;
    let cipher = Cipher::from_name("des-ede3-cbc").ok_or_else(unsupported)?;
    let mut derive = |what, length| {
        pkcs12::derive(
            Algorithm::Sha1,
            secret.wide,
            &salt,
            iterations,
            what,
            length,
            meter,
        )
        .ok_or_else(unsupported)
    };
    let key = derive(pkcs12::Use::Key, cipher.key)?;
    let iv = derive(pkcs12::Use::Iv, cipher.iv())?;
    run(cipher, &key, &iv, false, data)
        .map(Zeroizing::new)
        .ok_or_else(|| failure(openssl::BAD_DECRYPT))
}

/// What is encrypted by PBES2.
fn decrypt_by(
    algorithm: &Identified<'_>,
    data: &[u8],
    passphrase: &[u8],
    meter: &mut Meter,
) -> Result<Zeroizing<Vec<u8>>, Throw> {
    let unsupported = || failure(openssl::UNSUPPORTED);
    let parameters = algorithm.parameters.ok_or_else(unsupported)?;
    let parameters: Pbes2<'_> = parameters.decode_as().map_err(|_| unsupported())?;
    let (name, _) = CIPHERS
        .iter()
        .find(|(_, oid)| identified(oid) == Some(parameters.cipher.oid))
        .ok_or_else(unsupported)?;
    let cipher = Cipher::from_name(name).ok_or_else(unsupported)?;
    let iv = parameters.cipher.parameters.ok_or_else(unsupported)?;
    let iv: &OctetStringRef = iv.decode_as().map_err(|_| unsupported())?;
    let key = derived(&parameters.derivation, passphrase, cipher.key, meter);
    let key = key.ok_or_else(unsupported)?;
    run(cipher, &key, iv.as_bytes(), false, data)
        .map(Zeroizing::new)
        .ok_or_else(|| failure(openssl::BAD_DECRYPT))
}

/// A `PrivateKeyInfo` under a passphrase.
///
/// # Errors
/// The cipher has no identifier.
pub fn encrypt(der: &[u8], with: &Encryption, meter: &mut Meter) -> Result<Vec<u8>, Throw> {
    let no_identifier = || failure(openssl::ASN1_NO_OBJECT_IDENTIFIER);
    let (_, oid) = CIPHERS
        .iter()
        .find(|(name, _)| *name == with.cipher.canonical())
        .ok_or_else(no_identifier)?;
    let oid = identified(oid).ok_or_else(no_identifier)?;
    let mac = identified("1.2.840.113549.2.9").ok_or_else(no_identifier)?;
    let salt = random_bytes(SALT)?;
    let iv = random_bytes(with.cipher.iv())?;
    let key = Zeroizing::new(pbkdf2(
        Algorithm::Sha256,
        &with.passphrase,
        &salt,
        u64::from(ITERATIONS),
        with.cipher.key,
        meter,
    ));
    let data = run(with.cipher, &key, &iv, true, der).ok_or_else(no_identifier)?;
    let framed = || {
        let derivation = Derivation {
            salt: OctetStringRef::new(&salt)?,
            iterations: ITERATIONS,
            mac: Identified {
                oid: mac,
                parameters: Some(AnyRef::NULL),
            },
        }
        .to_der()?;
        let parameters = Pbes2 {
            derivation: Identified {
                oid: PBKDF2,
                parameters: Some(AnyRef::from_der(&derivation)?),
            },
            cipher: Identified {
                oid,
                parameters: Some(AnyRef::from(OctetStringRef::new(&iv)?)),
            },
        }
        .to_der()?;
        Encrypted {
            algorithm: Identified {
                oid: PBES2,
                parameters: Some(AnyRef::from_der(&parameters)?),
            },
            data: OctetStringRef::new(&data)?,
        }
        .to_der()
    };
    framed().map_err(|_| no_identifier())
}

/// The key that PEM makes of a passphrase.
fn pem_key(passphrase: &[u8], salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key: Zeroizing<Vec<u8>> = Zeroizing::default();
    let mut last: Vec<u8> = Vec::new();
    while key.len() < length {
        let input = Zeroizing::new([last.as_slice(), passphrase, salt].concat());
        last = Algorithm::Md5.digest(&input);
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

/// What PEM says of how it is encrypted, and the encrypted bytes.
pub struct PemEncrypted {
    /// The cipher's name in `DEK-Info`.
    pub cipher: String,
    /// The IV there, as hexadecimal digits.
    pub iv: String,
    /// What is encrypted.
    pub data: Vec<u8>,
}

impl PemEncrypted {
    /// What is encrypted, as plain DER.
    ///
    /// # Errors
    /// The passphrase is another one, or the cipher is none of ours.
    pub fn decrypt(&self, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, Throw> {
        let unsupported = || failure(openssl::PEM_UNSUPPORTED_ENCRYPTION);
        let cipher = Cipher::from_name(&self.cipher).ok_or_else(unsupported)?;
        let (pairs, _) = self.iv.as_bytes().as_chunks::<2>();
        let iv: Option<Vec<u8>> = pairs
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let iv = iv.filter(|iv| iv.len() == cipher.iv() && iv.len() >= PEM_SALT);
        let iv = iv.ok_or_else(unsupported)?;
        let salt = iv.get(..PEM_SALT).unwrap_or_default();
        let key = pem_key(passphrase, salt, cipher.key);
        run(cipher, &key, &iv, false, &self.data)
            .map(Zeroizing::new)
            .ok_or_else(|| failure(openssl::BAD_DECRYPT))
    }

    /// # Errors
    /// PEM cannot have this cipher.
    pub fn encrypt(der: &[u8], with: &Encryption) -> Result<Self, Throw> {
        let unsupported = || failure(openssl::PEM_UNSUPPORTED_CIPHER);
        let iv = random_bytes(with.cipher.iv())?;
        let salt = iv.get(..PEM_SALT).ok_or_else(unsupported)?;
        let key = pem_key(&with.passphrase, salt, with.cipher.key);
        let data = run(with.cipher, &key, &iv, true, der).ok_or_else(unsupported)?;
        Ok(Self {
            cipher: with.cipher.canonical().to_ascii_uppercase(),
            iv: iv.iter().map(|byte| format!("{byte:02X}")).collect(),
            data,
        })
    }
}
