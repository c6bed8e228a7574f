//! RSA encryption: `publicEncrypt()` and its three relatives, `RSACipherJob`. Source: `src/crypto/crypto_cipher.cc`,
//! `crypto_rsa.cc`.
//!
//! What a wrong padding looks like is not told, by time neither: with PKCS#1 v1.5 a wrong message decrypts to a made-up
//! one, as OpenSSL makes it up (draft-irtf-cfrg-rsa-guidance).

use rsa::traits::PrivateKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::argument::{bytes, invalid, string};
use super::asymmetric::{PrivateKey, PublicKey, Use};
use super::job::{self, Outcome};
use super::keys::{CIPHER_REQUEST, KeyData};
use super::modular::padded;
use super::openssl::{self, Reason, failure, failure_after};
use super::random::random_bytes;
use super::rsa_padding::{
    NONE, OAEP, PKCS1, PSS, X931, mask, private_operation, public_operation, size,
};
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::throw::{ErrorClass, Throw};

/// Bytes that PKCS#1 v1.5 adds at least.
const PKCS1_BYTES: usize = 11;
/// What stands before the error of an operation like a signature.
const SIGNING: &[Reason] = &[openssl::EVP_SIGNATURE_FAILURE, openssl::PROVIDER_RSA_LIB];

/// How OAEP pads.
struct Label {
    digest: Algorithm,
    label: Vec<u8>,
}

impl Label {
    /// RFC 8017, 7.1.1
    fn encode(&self, data: &[u8], size: usize) -> Result<Vec<u8>, Throw> {
        let too_large = || failure(openssl::RSA_DATA_TOO_LARGE);
        let hash = self.digest.digest(&self.label);
        let zeros = size
            .checked_sub(2 * hash.len() + 2)
            .and_then(|room| room.checked_sub(data.len()))
            .ok_or_else(too_large)?;
        let mut block = hash;
        let length = block.len();
        block.resize(length + zeros, 0);
        block.push(1);
        block.extend_from_slice(data);
        let mut seed = random_bytes(length)?;
        mask(self.digest, &seed, &mut block);
        mask(self.digest, &block, &mut seed);
        let mut encoded = vec![0];
        encoded.append(&mut seed);
        encoded.append(&mut block);
        Ok(encoded)
    }

    /// RFC 8017, 7.1.2, in the same time for each kind of mistake.
    fn decode(&self, encoded: &[u8]) -> Option<Vec<u8>> {
        let hash = self.digest.digest(&self.label);
        let (first, rest) = encoded.split_first()?;
        let (seed, block) = rest.split_at_checked(hash.len())?;
        if block.len() <= hash.len() {
            return None;
        }
        let (mut seed, mut block) = (
            Zeroizing::new(seed.to_vec()),
            Zeroizing::new(block.to_vec()),
        );
        mask(self.digest, &block, &mut seed);
        mask(self.digest, &seed, &mut block);
        let (found, rest) = block.split_at_checked(hash.len())?;
        let mut good = first.ct_eq(&0) & found.ct_eq(&hash);
        let mut looking = Choice::from(1);
        let mut start = 0_u32;
        for (at, byte) in (1_u32..).zip(rest) {
            let one = byte.ct_eq(&1);
            start.conditional_assign(&at, looking & one);
            good &= !looking | one | byte.ct_eq(&0);
            looking &= !one;
        }
        good &= !looking;
        bool::from(good).then(|| rest.get(start as usize..).unwrap_or_default().to_vec())
    }
}

/// Bytes from a key and a label, as OpenSSL expands them.
fn expand(key: &[u8], label: &[u8], length: usize) -> Option<Vec<u8>> {
    let bits = u16::try_from(length * 8).ok()?.to_be_bytes();
    let mut output = Vec::with_capacity(length + 32);
    for index in 0_u16.. {
        if output.len() >= length {
            break;
        }
        let mut mac = Algorithm::Sha256.mac(key)?;
        mac.update(&index.to_be_bytes());
        mac.update(label);
        mac.update(&bits);
        output.extend_from_slice(&mac.finish());
    }
    output.truncate(length);
    Some(output)
}

/// The message in a block of PKCS#1 v1.5, or a made-up one that the key and the cipher text alone make up.
fn pkcs1_or_made_up(key: &RsaPrivateKey, cipher_text: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    /// Pairs of bytes that a made-up length is chosen from.
    const LENGTHS: usize = 128;

    let size = block.len();
    let longest = u32::try_from(size.checked_sub(PKCS1_BYTES - 1)?).ok()?;
    let private = Zeroizing::new(padded(&Zeroizing::new(key.d().to_be_bytes()), size));
    let mut mac = Algorithm::Sha256.mac(&Algorithm::Sha256.digest(&private))?;
    mac.update(&padded(cipher_text, size));
    let secret = Zeroizing::new(mac.finish());
    let made_up = Zeroizing::new(expand(&secret, b"message", size)?);
    let lengths = Zeroizing::new(expand(&secret, b"length", LENGTHS * 2)?);
    let low_bits = u32::MAX.checked_shr(longest.leading_zeros())?;
    let mut length = 0_u32;
    let (pairs, _) = lengths.as_chunks::<2>();
    for pair in pairs {
        let candidate = u32::from(u16::from_be_bytes(*pair)) & low_bits;
        length.conditional_assign(&candidate, longest.ct_gt(&candidate));
    }
    let made_up_start = u32::try_from(size).ok()?.checked_sub(length)?;

    let mut good = block.first()?.ct_eq(&0) & block.get(1)?.ct_eq(&2);
    let mut looking = Choice::from(1);
    let mut start = 0_u32;
    for (at, byte) in (0_u32..).zip(block).skip(2) {
        let zero = byte.ct_eq(&0);
        start.conditional_assign(&(at + 1), looking & zero);
        looking &= !zero;
    }
    good &= !looking & start.ct_gt(&(PKCS1_BYTES as u32 - 1));

    let start = u32::conditional_select(&made_up_start, &start, good);
    let chosen: Zeroizing<Vec<u8>> = Zeroizing::new(
        made_up
            .iter()
            .zip(block)
            .map(|(made_up, byte)| u8::conditional_select(made_up, byte, good))
            .collect(),
    );
    chosen.get(start as usize..).map(<[u8]>::to_vec)
}

/// The block of PKCS#1 v1.5 for a private operation (type 1).
fn pkcs1_private_block(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let filler = size.checked_sub(3)?.checked_sub(data.len())?;
    if filler < PKCS1_BYTES - 3 {
        return None;
    }
    let mut block = vec![0, 1];
    block.resize(filler + 2, 0xff);
    block.push(0);
    block.extend_from_slice(data);
    Some(block)
}

/// The message in such a block.
fn pkcs1_public_message(block: &[u8]) -> Option<&[u8]> {
    let rest = block.strip_prefix(&[0, 1])?;
    let filler = rest.iter().take_while(|byte| **byte == 0xff).count();
    let (zero, message) = rest.get(filler..)?.split_first()?;
    (*zero == 0 && filler >= PKCS1_BYTES - 3).then_some(message)
}

/// The block of PKCS#1 v1.5 for a public operation (type 2).
fn pkcs1_public_block(data: &[u8], size: usize) -> Result<Option<Vec<u8>>, Throw> {
    let filler = size
        .checked_sub(3)
        .and_then(|room| room.checked_sub(data.len()));
    let Some(filler) = filler.filter(|filler| *filler >= PKCS1_BYTES - 3) else {
        return Ok(None);
    };
    let mut block = vec![0, 2];
    while block.len() < filler + 2 {
        let missing = filler + 2 - block.len();
        block.extend(random_bytes(missing)?.into_iter().filter(|byte| *byte != 0));
    }
    block.push(0);
    block.extend_from_slice(data);
    Ok(Some(block))
}

/// As many bytes as the modulus has.
fn exactly(data: &[u8], size: usize, before: &[Reason]) -> Result<(), Throw> {
    match data.len() {
        length if length < size => Err(failure_after(openssl::RSA_DATA_TOO_SMALL, before)),
        length if length > size => Err(failure_after(openssl::RSA_DATA_TOO_LARGE, before)),
        _ => Ok(()),
    }
}

fn nothing() -> Throw {
    Throw::Plain(
        ErrorClass::Error,
        "error:00000000:lib(0)::reason(0)".to_owned(),
    )
}

fn too_large_for_modulus() -> Throw {
    failure(openssl::RSA_DATA_TOO_LARGE_FOR_MODULUS)
}

fn encrypt(key: &RsaPublicKey, padding: i32, label: &Label, data: &[u8]) -> Result<Vec<u8>, Throw> {
    let size = size(key);
    let block = match padding {
        PKCS1 => {
            let block = pkcs1_public_block(data, size)?;
            block.ok_or_else(|| failure(openssl::RSA_DATA_TOO_LARGE))?
        }
        OAEP => label.encode(data, size)?,
        NONE => {
            exactly(data, size, &[])?;
            data.to_vec()
        }
        PSS => return Err(nothing()),
        _ => return Err(failure(openssl::RSA_UNKNOWN_PADDING_TYPE)),
    };
    public_operation(key, &block).ok_or_else(too_large_for_modulus)
}

fn decrypt(
    key: &RsaPrivateKey,
    padding: i32,
    label: &Label,
    data: &[u8],
) -> Result<Vec<u8>, Throw> {
    if padding == PSS {
        return Err(nothing());
    }
    let before: &[Reason] = match padding {
        OAEP => &[openssl::FAILED_TO_DECRYPT],
        _ => &[],
    };
    let size = size(key);
    if data.len() > size {
        return Err(failure_after(
            openssl::RSA_DATA_GREATER_THAN_MODULUS,
            before,
        ));
    }
    let block = private_operation(key, data)
        .ok_or_else(|| failure_after(openssl::RSA_DATA_TOO_LARGE_FOR_MODULUS, before))?;
    let block = Zeroizing::new(block);
    match padding {
        PKCS1 => pkcs1_or_made_up(key, data, &block)
            .ok_or_else(|| failure(openssl::RSA_UNKNOWN_PADDING_TYPE)),
        OAEP => label
            .decode(&block)
            .ok_or_else(|| failure(openssl::RSA_OAEP_DECODING_ERROR)),
        NONE => Ok(block.to_vec()),
        _ => Err(failure(openssl::RSA_UNKNOWN_PADDING_TYPE)),
    }
}

/// The paddings of operations that are signatures but for the digest.
fn signing_padding(padding: i32, usage: Use) -> Result<i32, Throw> {
    match (padding, usage) {
        (PKCS1 | NONE, Use::Any) => Ok(padding),
        (X931, Use::Any) => Err(failure(openssl::INVALID_X931_DIGEST)),
        _ => Err(failure(openssl::ILLEGAL_PADDING_MODE)),
    }
}

fn private_encrypt(
    (key, usage): (&RsaPrivateKey, Use),
    padding: i32,
    data: &[u8],
) -> Result<Vec<u8>, Throw> {
    if padding == PSS {
        return Err(failure_after(
            openssl::INVALID_DIGEST_LENGTH,
            &[openssl::EVP_SIGNATURE_FAILURE],
        ));
    }
    let size = size(key);
    let block = match signing_padding(padding, usage)? {
        NONE => {
            exactly(data, size, SIGNING)?;
            data.to_vec()
        }
        _ => pkcs1_private_block(data, size)
            .ok_or_else(|| failure_after(openssl::RSA_DATA_TOO_LARGE, SIGNING))?,
    };
    private_operation(key, &block)
        .ok_or_else(|| failure_after(openssl::RSA_DATA_TOO_LARGE_FOR_MODULUS, SIGNING))
}

fn public_decrypt(
    (key, usage): (&RsaPublicKey, Use),
    padding: i32,
    data: &[u8],
) -> Result<Vec<u8>, Throw> {
    let padding = signing_padding(padding, usage)?;
    if data.len() > size(key) {
        return Err(failure_after(
            openssl::RSA_DATA_GREATER_THAN_MODULUS,
            SIGNING,
        ));
    }
    let block = public_operation(key, data)
        .ok_or_else(|| failure_after(openssl::RSA_DATA_TOO_LARGE_FOR_MODULUS, SIGNING))?;
    if padding == NONE {
        return Ok(block);
    }
    let message = pkcs1_public_message(&block).ok_or_else(|| {
        failure_after(
            openssl::RSA_INVALID_PADDING,
            &[
                openssl::EVP_SIGNATURE_FAILURE,
                openssl::PROVIDER_RSA_LIB,
                openssl::RSA_PADDING_CHECK_FAILED,
            ],
        )
    })?;
    Ok(message.to_vec())
}

/// Data, padding and label in the arguments after the key's.
fn options<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(Zeroizing<Vec<u8>>, i32, Label), Throw> {
    let data = Zeroizing::new(bytes(scope, args.get(4), "buffer")?);
    let padding = args.get(5).int32_value(scope).ok_or(Throw::Pending)?;
    let digest = match args.get(6) {
        value if value.is_string() => {
            let name = string(scope, value, "oaepHash")?;
            let digest = Algorithm::from_name(&name).ok_or_else(|| {
                Throw::error("ERR_OSSL_EVP_INVALID_DIGEST", "Invalid digest used")
            })?;
            if padding == OAEP && digest.length().is_none() {
                return Err(failure(openssl::RSA_INVALID_LENGTH));
            }
            digest
        }
        _ => Algorithm::Sha1,
    };
    let label = match args.get(7) {
        value if value.is_undefined() => Vec::new(),
        value => bytes(scope, value, "oaepLabel")?,
    };
    Ok((data, padding, Label { digest, label }))
}

fn rsa_public<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(std::sync::Arc<RsaPublicKey>, Use), Throw> {
    match KeyData::public_argument(scope, args, 0)? {
        PublicKey::Rsa(key, usage) => Ok((key, usage)),
        _ => Err(failure(openssl::EVP_OPERATION_NOT_SUPPORTED)),
    }
}

fn rsa_private<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &Args<'s>,
) -> Result<(std::sync::Arc<RsaPrivateKey>, Use), Throw> {
    match KeyData::private_argument(scope, args, 0)? {
        PrivateKey::Rsa(key, usage) => Ok((key, usage)),
        _ => Err(failure(openssl::EVP_OPERATION_NOT_SUPPORTED)),
    }
}

fn for_encryption(usage: Use) -> Result<(), Throw> {
    match usage {
        Use::Any => Ok(()),
        Use::Pss(_) => Err(failure(openssl::PROVIDER_OPERATION_NOT_SUPPORTED)),
    }
}

/// `publicEncrypt(key, format, type, passphrase, buffer, padding, oaepHash, oaepLabel)`
pub fn public_encrypt_call<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (key, usage) = rsa_public(scope, args)?;
    for_encryption(usage)?;
    let (data, padding, label) = options(scope, args)?;
    let output = encrypt(&key, padding, &label, &data)?;
    Ok(buffer_of(scope, &output)?.into())
}

/// `privateDecrypt(...)`
pub fn private_decrypt_call<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    // A digest that there is none of is told before a key that is not private.
    let key = match rsa_private(scope, args) {
        Err(Throw::Pending) => return Err(Throw::Pending),
        key => key,
    };
    let (data, padding, label) = options(scope, args)?;
    let (key, usage) = key?;
    for_encryption(usage)?;
    let output = Zeroizing::new(decrypt(&key, padding, &label, &data)?);
    Ok(buffer_of(scope, &output)?.into())
}

/// `privateEncrypt(...)`
pub fn private_encrypt_call<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (key, usage) = rsa_private(scope, args)?;
    let (data, padding, _) = options(scope, args)?;
    let output = private_encrypt((&key, usage), padding, &data)?;
    Ok(buffer_of(scope, &output)?.into())
}

/// `publicDecrypt(...)`
pub fn public_decrypt_call<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (key, usage) = rsa_public(scope, args)?;
    let (data, padding, _) = options(scope, args)?;
    let output = public_decrypt((&key, usage), padding, &data)?;
    Ok(buffer_of(scope, &output)?.into())
}

/// `new RSACipherJob(mode, cipherMode, key, data, variant, hash, label)`: OAEP for `subtle`.
pub fn new_cipher_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    /// `kKeyVariantRSA_OAEP`
    const VARIANT: i32 = 2;

    let encrypts = args.get(1).int32_value(scope) == Some(0);
    let key = KeyData::of(scope, args.get(2)).ok_or_else(|| invalid("key"))?;
    let data = Zeroizing::new(bytes(scope, args.get(3), "data")?);
    if args.get(4).int32_value(scope) != Some(VARIANT) {
        return Err(invalid("variant"));
    }
    let name = string(scope, args.get(5), "hash")?;
    let digest = Algorithm::for_mac(&name)?;
    let label = match args.get(6) {
        value if value.is_undefined() => Vec::new(),
        value => bytes(scope, value, "label")?,
    };
    let held = data.len() + label.len();
    job::construct(
        scope,
        args,
        CIPHER_REQUEST,
        held,
        move |_| {
            let label = Label { digest, label };
            let output = match (&key, encrypts) {
                (KeyData::Private(PrivateKey::Rsa(key, _)), false) => {
                    decrypt(key, OAEP, &label, &data)
                }
                (key, true) => match key.public_half() {
                    Some(PublicKey::Rsa(key, _)) => encrypt(&key, OAEP, &label, &data),
                    _ => Err(invalid("key")),
                },
                _ => Err(invalid("key")),
            };
            match output {
                Ok(output) => Outcome::Bytes(output),
                Err(throw) => Outcome::Failed(throw),
            }
        },
        job::outcome,
    )
}
