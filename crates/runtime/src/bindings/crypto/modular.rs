//! Big numbers: conversions, powers modulo an odd number, random numbers.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use zeroize::Zeroizing;

use super::random::random_bytes;
use crate::throw::Throw;

/// Bytes without the zeros in front.
pub fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// A number, as wide as its bytes are.
pub fn uint(bytes: &[u8]) -> BoxedUint {
    let bits = u32::try_from(bytes.len().saturating_mul(8)).unwrap_or(u32::MAX);
    BoxedUint::from_be_slice_truncated(bytes, bits.max(8))
}

/// A number in at least `bits` of precision.
pub fn wide(bytes: &[u8], bits: u32) -> BoxedUint {
    let own = u32::try_from(bytes.len().saturating_mul(8)).unwrap_or(u32::MAX);
    BoxedUint::from_be_slice_truncated(bytes, own.max(bits).max(8))
}

/// The bytes of a number, without zeros in front.
pub fn bytes_of(number: &BoxedUint) -> Vec<u8> {
    number.to_be_bytes_trimmed_vartime().into_vec()
}

/// The bytes of a number, with zeros in front up to `length`.
pub fn padded(number: &[u8], length: usize) -> Vec<u8> {
    let number = trimmed(number);
    let mut bytes = vec![0; length.saturating_sub(number.len())];
    bytes.extend_from_slice(number);
    bytes
}

/// Arithmetic modulo an odd number.
#[derive(Clone)]
pub struct Modulus {
    params: BoxedMontyParams,
}

impl Modulus {
    /// `None` for a number that is even, or less than three.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bytes = trimmed(bytes);
        if bytes.is_empty() || bytes == [1] {
            return None;
        }
        let odd: Odd<BoxedUint> = uint(bytes).into_odd().into_option()?;
        Some(Self {
            params: BoxedMontyParams::new_vartime(odd),
        })
    }

    /// Bytes of the modulus.
    pub fn size(&self) -> usize {
        (self.params.modulus().bits_vartime() as usize).div_ceil(8)
    }

    fn form(&self, number: &[u8]) -> BoxedMontyForm {
        let precision = self.params.bits_precision();
        let number = wide(number, precision);
        let modulus = self.params.modulus().as_nz_ref();
        let reduced = number.rem(modulus).resize(precision);
        BoxedMontyForm::new(reduced, &self.params)
    }

    fn bytes(&self, form: &BoxedMontyForm) -> Vec<u8> {
        let bytes = Zeroizing::new(form.retrieve().to_be_bytes());
        padded(&bytes, self.size())
    }

    /// `base ^ exponent`, in the modulus's length. Its time tells the exponent's length only.
    pub fn power(&self, base: &[u8], exponent: &[u8]) -> Vec<u8> {
        if exponent.is_empty() {
            return padded(&[1], self.size());
        }
        self.bytes(&self.form(base).pow(&uint(exponent)))
    }

    /// `first * second`
    pub fn product(&self, first: &[u8], second: &[u8]) -> Vec<u8> {
        self.bytes(&self.form(first).mul(&self.form(second)))
    }

    /// `first + second`
    pub fn sum(&self, first: &[u8], second: &[u8]) -> Vec<u8> {
        self.bytes(&self.form(first).add(&self.form(second)))
    }

    /// `1 / number`; `None` when there is none.
    pub fn inverse(&self, number: &[u8]) -> Option<Vec<u8>> {
        let inverse = self.form(number).invert().into_option()?;
        Some(self.bytes(&inverse))
    }
}

/// A number from 1 to `limit - 1`, in the limit's length.
///
/// # Errors
/// There are no random bytes.
pub fn random_below(limit: &[u8]) -> Result<Zeroizing<Vec<u8>>, Throw> {
    let limit = trimmed(limit);
    let Some(first) = limit.first() else {
        return Ok(Zeroizing::default());
    };
    let mask = u8::MAX >> first.leading_zeros();
    loop {
        let mut bytes = Zeroizing::new(random_bytes(limit.len())?);
        if let Some(first) = bytes.first_mut() {
            *first &= mask;
        }
        if bytes.as_slice() < limit && bytes.iter().any(|byte| *byte != 0) {
            return Ok(bytes);
        }
    }
}
