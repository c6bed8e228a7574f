//! DSA (FIPS 186-4): keys of its numbers, signatures, new keys.

use std::sync::Arc;

use crypto_bigint::{BoxedUint, NonZero, Resize};
use crypto_primes::{Flavor, is_prime};
use pkcs8::der::asn1::UintRef;
use pkcs8::der::{Decode, Encode, Sequence};
use zeroize::Zeroizing;

use super::keygen::failed;
use super::modular::{Modulus, bytes_of, padded, random_below, trimmed, uint, wide};
use super::prime::{divisible, random_number, random_prime};
use crate::throw::Throw;
use crate::work::Meter;

/// Bits of the longest modulus: a signature with it cannot be stopped. OpenSSL's limit.
pub const MAX_MODULUS_BITS: usize = 10_000;

/// Bytes of the longest order, which is the length of secret exponents.
const MAX_ORDER: usize = 64;

/// The numbers that keys share, big-endian, without zeros in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The modulus.
    pub p: Vec<u8>,
    /// The order of the group.
    pub q: Vec<u8>,
    /// What makes the group.
    pub g: Vec<u8>,
}

/// `Dss-Parms`
#[derive(Sequence)]
pub struct DomainDer<'a> {
    p: UintRef<'a>,
    q: UintRef<'a>,
    g: UintRef<'a>,
}

/// `Dss-Sig-Value`
#[derive(Sequence)]
struct SignatureDer<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl Domain {
    /// The numbers in DER; `None` for those that cannot be worked with.
    pub fn from_der(der: &DomainDer<'_>) -> Option<Self> {
        Self::from_numbers([der.p.as_bytes(), der.q.as_bytes(), der.g.as_bytes()])
    }

    /// The same from modulus, order and generator.
    pub fn from_numbers(numbers: [&[u8]; 3]) -> Option<Self> {
        let [p, q, g] = numbers.map(|number| trimmed(number).to_vec());
        let domain = Self { p, q, g };
        let sound = domain.p.len() * 8 <= MAX_MODULUS_BITS
            && domain.q.len() <= domain.p.len().min(MAX_ORDER)
            && domain.g.len() <= domain.p.len()
            && Modulus::new(&domain.p).is_some()
            && Modulus::new(&domain.q).is_some();
        sound.then_some(domain)
    }

    /// The numbers in DER.
    pub fn to_der(&self) -> Option<Vec<u8>> {
        let der = DomainDer {
            p: UintRef::new(&self.p).ok()?,
            q: UintRef::new(&self.q).ok()?,
            g: UintRef::new(&self.g).ok()?,
        };
        der.to_der().ok()
    }

    /// `g ^ x`, without zeros in front.
    pub fn public_of(&self, private: &[u8]) -> Option<Vec<u8>> {
        let public = Modulus::new(&self.p)?.power(&self.g, private);
        Some(trimmed(&public).to_vec())
    }

    /// The leftmost bits of a digest.
    fn truncated<'a>(&self, digest: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        let bits = uint(&self.q).bits_vartime() as usize;
        let Some(spare) = (digest.len() * 8).checked_sub(bits) else {
            return digest.into();
        };
        let shift = u32::try_from(spare).unwrap_or_default();
        let shifted = uint(digest).unbounded_shr_vartime(shift);
        bytes_of(&shifted).into()
    }

    /// A signature of a digest, as DER or as two numbers.
    pub fn sign(&self, private: &[u8], digest: &[u8], der: bool) -> Result<Option<Vec<u8>>, Throw> {
        let (Some(p), Some(q)) = (Modulus::new(&self.p), Modulus::new(&self.q)) else {
            return Ok(None);
        };
        let order: Option<NonZero<BoxedUint>> = uint(&self.q).into_nz().into_option();
        let Some(order) = order else {
            return Ok(None);
        };
        let digest = self.truncated(digest);
        // A group that is none may never give a signature.
        for _ in 0..32 {
            let secret = random_below(&self.q)?;
            let r = uint(&p.power(&self.g, &secret)).rem(&order);
            let r = padded(&bytes_of(&r), q.size());
            let Some(inverse) = q.inverse(&secret).map(Zeroizing::new) else {
                continue;
            };
            let product = Zeroizing::new(q.product(private, &r));
            let s = q.product(&inverse, &Zeroizing::new(q.sum(&digest, &product)));
            if trimmed(&r).is_empty() || trimmed(&s).is_empty() {
                continue;
            }
            if !der {
                return Ok(Some([r, s].concat()));
            }
            let signature = UintRef::new(trimmed(&r)).and_then(|r| {
                SignatureDer {
                    r,
                    s: UintRef::new(trimmed(&s))?,
                }
                .to_der()
            });
            return Ok(signature.ok());
        }
        Ok(None)
    }

    /// Whether `signature` is one of `digest`.
    pub fn verify(&self, public: &[u8], digest: &[u8], signature: &[u8], der: bool) -> bool {
        self.verified(public, digest, signature, der) == Some(true)
    }

    fn verified(&self, public: &[u8], digest: &[u8], signature: &[u8], der: bool) -> Option<bool> {
        let (p, q) = (Modulus::new(&self.p)?, Modulus::new(&self.q)?);
        let (r, s) = if der {
            let signature = SignatureDer::from_der(signature).ok()?;
            (
                signature.r.as_bytes().to_vec(),
                signature.s.as_bytes().to_vec(),
            )
        } else {
            let (r, s) = signature.split_at_checked(q.size())?;
            if s.len() != q.size() {
                return None;
            }
            (r.to_vec(), s.to_vec())
        };
        let order = padded(&self.q, q.size());
        for number in [&r, &s] {
            let number = trimmed(number);
            if number.is_empty() || number.len() > q.size() || padded(number, q.size()) >= order {
                return None;
            }
        }
        let inverse = q.inverse(&s)?;
        let first = q.product(&self.truncated(digest), &inverse);
        let second = q.product(&r, &inverse);
        let product = p.product(&p.power(&self.g, &first), &p.power(public, &second));
        let order = uint(&self.q).into_nz().into_option()?;
        let found = uint(&product).rem(&order);
        Some(bytes_of(&found) == bytes_of(&uint(&r)))
    }

    /// New numbers: a prime order, and a prime modulus that is one more than a multiple of it.
    ///
    /// # Errors
    /// The process ended.
    pub fn generate(bits: u32, order_bits: u32, meter: &mut Meter) -> Result<Arc<Self>, Throw> {
        let q = random_prime(order_bits, false, meter)?;
        let double: Option<NonZero<BoxedUint>> =
            wide(&bytes_of(&q), bits + 8).shl(1).into_nz().into_option();
        let double = double.ok_or_else(failed)?;
        let one = BoxedUint::one_with_precision(double.bits_precision());
        loop {
            if !meter.checkpoint() {
                return Err(Throw::Pending);
            }
            let start = random_number(bits, false)?.resize(double.bits_precision());
            let p = start.wrapping_sub(start.rem(&double)).wrapping_add(&one);
            if p.bits_vartime() != bits || divisible(&p) || !is_prime(Flavor::Any, &p) {
                continue;
            }
            let q_bytes = bytes_of(&q);
            let p_bytes = bytes_of(&p);
            let cofactor = p.wrapping_sub(&one).wrapping_div_vartime(&double);
            let cofactor = bytes_of(&cofactor.shl(1));
            let modulus = Modulus::new(&p_bytes).ok_or_else(failed)?;
            for base in 2_u8..=u8::MAX {
                let g = modulus.power(&[base], &cofactor);
                if trimmed(&g) != [1] {
                    return Ok(Arc::new(Self {
                        p: p_bytes,
                        q: q_bytes,
                        g: trimmed(&g).to_vec(),
                    }));
                }
            }
        }
    }

    /// A new private key.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn generate_private(&self) -> Result<Zeroizing<Vec<u8>>, Throw> {
        random_below(&self.q)
    }
}
