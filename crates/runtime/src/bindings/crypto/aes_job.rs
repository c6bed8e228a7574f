//! `AESCipherJob`: AES as `subtle` uses it. Source: `src/crypto/crypto_aes.cc`.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::argument::{bytes, invalid, number};
use super::cipher::block::Algorithm;
use super::cipher::modes::{BLOCK, Gcm, Mode, transform};
use super::cipher::{self, wrap};
use super::job::{self, Outcome};
use super::keys::{CIPHER_REQUEST, KeyData};
use crate::binding::{Args, Ret};
use crate::throw::{ErrorClass, Throw};

/// Variants in the order of their numbers, one for each length of a key.
const VARIANTS: [&str; 4] = ["CTR", "CBC", "GCM", "KW"];
/// Lengths of keys.
const LENGTHS: [usize; 3] = [16, 24, 32];

enum Work {
    Cbc {
        iv: Vec<u8>,
    },
    Ctr {
        counter: [u8; BLOCK],
        bits: u32,
    },
    Gcm {
        nonce: Vec<u8>,
        additional: Vec<u8>,
        tag_length: usize,
        /// What the tag must be, for decryption.
        tag: Vec<u8>,
    },
    Wrap,
}

/// AES-CTR whose counter is the last `bits` of a block, and wraps there.
fn count(key: &[u8], counter: [u8; BLOCK], bits: u32, data: &mut [u8]) -> Option<()> {
    let whole = u128::from_be_bytes(counter);
    let mask = match bits {
        1..=127 => (1_u128 << bits) - 1,
        128 => u128::MAX,
        _ => return None,
    };
    let blocks = data.len().div_ceil(BLOCK) as u128;
    if blocks > 0 && blocks - 1 > mask {
        return None;
    }
    let before_wrap = (mask - (whole & mask)).saturating_add(1);
    let first = usize::try_from(before_wrap.saturating_mul(BLOCK as u128)).unwrap_or(usize::MAX);
    let (first, second) = data.split_at_mut(first.min(data.len()));
    let run = |counter: u128, data: &mut [u8]| {
        let stream = transform(Algorithm::Aes, Mode::Ctr, key, &counter.to_be_bytes(), true);
        stream?.apply(data).then_some(())
    };
    run(whole, first)?;
    run(whole & !mask, second)
}

impl Work {
    fn run(&self, encrypts: bool, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        let mut output = data.to_vec();
        match self {
            Self::Cbc { iv } => {
                let mut stream = transform(Algorithm::Aes, Mode::Cbc, key, iv, encrypts)?;
                if encrypts {
                    cipher::pad(&mut output, BLOCK);
                    stream.apply(&mut output);
                    return Some(output);
                }
                if output.is_empty() || !output.len().is_multiple_of(BLOCK) {
                    return None;
                }
                stream.apply(&mut output);
                let last = output.split_off(output.len() - BLOCK);
                output.append(&mut cipher::unpad(last).ok()?);
                Some(output)
            }
            Self::Ctr { counter, bits } => {
                count(key, *counter, *bits, &mut output)?;
                Some(output)
            }
            Self::Gcm {
                nonce,
                additional,
                tag_length,
                tag,
            } => {
                if nonce.is_empty() {
                    return None;
                }
                let mut gcm = Gcm::new(Algorithm::Aes, key, nonce)?;
                gcm.additional(additional);
                gcm.apply(&mut output, encrypts);
                let made = gcm.tag();
                let made = made.get(..*tag_length)?;
                if encrypts {
                    output.extend_from_slice(made);
                    return Some(output);
                }
                bool::from(made.ct_eq(tag)).then_some(output)
            }
            Self::Wrap => {
                let cipher = Algorithm::Aes.with_key(key)?;
                if encrypts {
                    wrap::wrap(&*cipher, &wrap::DEFAULT_IV, data)
                } else {
                    wrap::unwrap(&*cipher, &wrap::DEFAULT_IV, data)
                }
            }
        }
    }
}

/// `new AESCipherJob(mode, cipherMode, key, data, variant, iv, tag | length, additionalData)`
pub fn new_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let encrypts = args.get(1).int32_value(scope) == Some(0);
    let Some(KeyData::Secret(key)) = KeyData::of(scope, args.get(2)) else {
        return Err(invalid("key"));
    };
    let data = Zeroizing::new(bytes(scope, args.get(3), "data")?);
    let variant = usize::try_from(number(scope, args.get(4), "variant")?).unwrap_or(usize::MAX);
    let name = VARIANTS.get(variant / LENGTHS.len());
    if LENGTHS.get(variant % LENGTHS.len()) != Some(&key.len()) {
        return Err(Throw::range_error(
            "ERR_CRYPTO_INVALID_KEYLEN",
            "Invalid key length",
        ));
    }
    let invalid_iv = || Throw::type_error("ERR_CRYPTO_INVALID_IV", "Invalid initialization vector");
    let work = match name {
        Some(&"CTR") => {
            let counter = bytes(scope, args.get(5), "counter")?;
            let bits = number(scope, args.get(6), "length")?;
            Work::Ctr {
                counter: counter.try_into().map_err(|_| invalid_iv())?,
                bits: u32::try_from(bits).map_err(|_| invalid("length"))?,
            }
        }
        Some(&"CBC") => {
            let iv = bytes(scope, args.get(5), "iv")?;
            if iv.len() != BLOCK {
                return Err(invalid_iv());
            }
            Work::Cbc { iv }
        }
        Some(&"GCM") => {
            let nonce = bytes(scope, args.get(5), "iv")?;
            let (tag, tag_length) = if encrypts {
                let length = number(scope, args.get(6), "tagLength")?;
                (Vec::new(), usize::try_from(length).unwrap_or(usize::MAX))
            } else {
                let tag = bytes(scope, args.get(6), "tag")?;
                let length = tag.len();
                (tag, length)
            };
            if !cipher::is_tag_length(tag_length) {
                return Err(cipher::invalid_tag(tag_length));
            }
            let additional = match args.get(7) {
                value if value.is_undefined() => Vec::new(),
                value => bytes(scope, value, "additionalData")?,
            };
            Work::Gcm {
                nonce,
                additional,
                tag_length,
                tag,
            }
        }
        Some(&"KW") => Work::Wrap,
        _ => return Err(invalid("variant")),
    };
    let held = match &work {
        Work::Gcm {
            nonce, additional, ..
        } => nonce.len().saturating_add(additional.len()),
        _ => 0,
    };
    let held = data.len().saturating_mul(2).saturating_add(held);
    job::construct(
        scope,
        args,
        CIPHER_REQUEST,
        held,
        move |_| match work.run(encrypts, &key, &data) {
            Some(output) => Outcome::Bytes(output),
            None => Outcome::Failed(Throw::Plain(
                ErrorClass::Error,
                "Cipher job failed".to_owned(),
            )),
        },
        job::outcome,
    )
}
