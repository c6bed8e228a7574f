//! Prime numbers: `RandomPrimeJob`, `CheckPrimeJob`. Source: `src/crypto/crypto_random.cc`.
//!
//! Tests of one candidate cannot be stopped, so candidates have a greatest length; between candidates the process may
//! end.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use crypto_bigint::{BoxedUint, Limb, NonZero, Odd, Resize};
use crypto_primes::hazmat::{MillerRabin, SmallFactorsSieve};
use crypto_primes::{Flavor, is_prime};
use zeroize::Zeroizing;

use super::argument::{bytes, number};
use super::job::{self, Outcome};
use super::modular::{bytes_of, random_below, trimmed, uint, wide};
use super::openssl::{self, plain_failure};
use super::random::random_bytes;
use crate::binding::{Args, Ret};
use crate::bindings::fs::resource::Provider;
use crate::throw::Throw;
use crate::work::Meter;

const RANDOM_PRIME_REQUEST: Provider = Provider {
    name: "RANDOMPRIMEREQUEST",
    number: 61,
};
const CHECK_PRIME_REQUEST: Provider = Provider {
    name: "CHECKPRIMEREQUEST",
    number: 52,
};

/// Bits of the longest candidate.
const MAX_BITS: u64 = 16_384;
/// Bases that a number is tested with beside the deterministic tests.
const BASES: u64 = 8;
/// Primes that candidates are divided by before longer tests are less than this.
const SMALL: u64 = 1 << 14;
/// Bits of the shortest candidate that cannot be one of them, nor one of a safe prime's.
const DIVIDED_BITS: u32 = 17;

/// The odd primes that candidates are divided by.
static SMALL_PRIMES: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut primes: Vec<u64> = Vec::new();
    for number in (3..SMALL).step_by(2) {
        let mut below = primes.iter().take_while(|prime| *prime * *prime <= number);
        if below.all(|prime| number % prime != 0) {
            primes.push(number);
        }
    }
    primes
});

fn rest(number: &BoxedUint, prime: u64) -> u64 {
    NonZero::new(Limb(prime))
        .into_option()
        .map_or(0, |prime| number.rem_limb(prime).0)
}

/// What small primes leave over of the candidates of an arithmetic progression.
struct Sieve {
    /// Prime, what it leaves over of the first candidate, and of the difference.
    rows: Vec<(u64, u64, u64)>,
    index: u64,
    safe: bool,
}

impl Sieve {
    fn new(first: &BoxedUint, difference: &BoxedUint, safe: bool) -> Self {
        let long = first.bits_vartime() >= DIVIDED_BITS;
        let primes = SMALL_PRIMES.iter().filter(|_| long);
        Self {
            rows: primes
                .map(|prime| (*prime, rest(first, *prime), rest(difference, *prime)))
                .collect(),
            index: 0,
            safe,
        }
    }

    /// Whether no small prime divides the next candidate, nor half of it for safe ones.
    fn next_passes(&mut self) -> bool {
        let index = self.index;
        self.index = index.wrapping_add(1);
        let safe = self.safe;
        self.rows.iter().all(|(prime, first, difference)| {
            let rest = (first + index % prime * difference) % prime;
            rest != 0 && !(safe && rest == 1)
        })
    }
}

/// What primes are asked to be besides.
#[derive(Clone, Debug, Default)]
pub struct Congruence {
    /// The difference between candidates.
    pub add: Vec<u8>,
    /// What a prime leaves over, divided by `add`.
    pub rem: Option<Vec<u8>>,
}

/// Whether a small prime divides a number that is none itself.
pub fn divisible(candidate: &BoxedUint) -> bool {
    candidate.bits_vartime() >= DIVIDED_BITS
        && SMALL_PRIMES
            .iter()
            .any(|prime| rest(candidate, *prime) == 0)
}

/// Random bits, the highest one or two set.
pub fn random_number(bits: u32, two: bool) -> Result<BoxedUint, Throw> {
    let size = bits.div_ceil(8);
    let mut bytes = Zeroizing::new(random_bytes(size as usize)?);
    let spare = size * 8 - bits;
    for at in 0..=u32::from(two) {
        let bit = spare + at;
        if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
            *byte |= 0x80 >> (bit % 8);
        }
    }
    if let Some(first) = bytes.first_mut() {
        *first &= 0xff >> spare;
    }
    Ok(uint(&bytes))
}

/// A random prime of this length whose two highest bits are set.
///
/// # Errors
/// The process ended, or there are no random bytes.
pub fn random_prime(bits: u32, safe: bool, meter: &mut Meter) -> Result<BoxedUint, Throw> {
    let failed = || plain_failure(openssl::BITS_TOO_SMALL);
    let length = NonZeroU32::new(bits).ok_or_else(failed)?;
    let flavor = if safe { Flavor::Safe } else { Flavor::Any };
    loop {
        if !meter.checkpoint() {
            return Err(Throw::Pending);
        }
        let start = random_number(bits, true)?;
        let candidates = SmallFactorsSieve::new(start, length, safe).map_err(|_| failed())?;
        for candidate in candidates {
            if !meter.checkpoint() {
                return Err(Throw::Pending);
            }
            if is_prime(flavor, &candidate) {
                return Ok(candidate);
            }
        }
    }
}

/// A random prime of this length in a residue class.
///
/// # Errors
/// The process ended, or there are no random bytes.
pub fn random_prime_in(
    bits: u32,
    safe: bool,
    congruence: &Congruence,
    meter: &mut Meter,
) -> Result<BoxedUint, Throw> {
    let add: NonZero<BoxedUint> = wide(trimmed(&congruence.add), bits + 1)
        .into_nz()
        .into_option()
        .ok_or_else(|| plain_failure(openssl::BN_DIV_BY_ZERO))?;
    let precision = add.bits_precision();
    let rem = match &congruence.rem {
        Some(rem) => wide(trimmed(rem), precision),
        None => wide(&[if safe { 3 } else { 1 }], precision),
    };
    let least = wide(&[if safe { 5 } else { 3 }], precision);
    let flavor = if safe { Flavor::Safe } else { Flavor::Any };
    loop {
        let start = random_number(bits, false)?.resize(precision);
        let mut candidate = start.wrapping_sub(start.rem(&add)).wrapping_add(&rem);
        if candidate.bits_vartime() < bits || candidate < least {
            candidate.wrapping_add_assign(&*add);
        }
        let mut sieve = Sieve::new(&candidate, &add, safe);
        while candidate.bits_vartime() == bits {
            if !meter.checkpoint() {
                return Err(Throw::Pending);
            }
            if sieve.next_passes() && is_prime(flavor, &candidate) {
                return Ok(candidate);
            }
            candidate.wrapping_add_assign(&*add);
        }
        if !meter.checkpoint() {
            return Err(Throw::Pending);
        }
    }
}

/// Whether a number is prime; with as many random bases as asked for, at least.
///
/// # Errors
/// The process ended, or there are no random bytes.
pub fn check(candidate: &[u8], bases: u64, meter: &mut Meter) -> Result<bool, Throw> {
    let candidate = trimmed(candidate);
    let value = uint(candidate);
    if value.bits_vartime() < 8 {
        let small = candidate.first().copied().unwrap_or_default();
        return Ok(small > 1 && (2..small).take(16).all(|factor| small % factor != 0));
    }
    if divisible(&value) || !is_prime(Flavor::Any, &value) {
        return Ok(false);
    }
    let odd: Option<Odd<BoxedUint>> = value.into_odd().into_option();
    let Some(odd) = odd else {
        return Ok(false);
    };
    let precision = odd.bits_precision();
    let test = MillerRabin::new(odd);
    for _ in 0..bases.max(BASES) {
        if !meter.checkpoint() {
            return Err(Throw::Pending);
        }
        let base = wide(&random_below(candidate)?, precision);
        if !test.test(&base).is_probably_prime() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn too_long(name: &str) -> Throw {
    Throw::range_error(
        "ERR_OUT_OF_RANGE",
        format!("The value of \"{name}\" is out of range. It must be <= {MAX_BITS} bits."),
    )
}

/// `new RandomPrimeJob(mode, size, safe, add, rem)`
pub fn new_random_prime_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let out_of_range = |text: &str| Throw::range_error("ERR_OUT_OF_RANGE", text);
    let size = number(scope, args.get(1), "size")?;
    let safe = args.get(2).is_true();
    let add = match args.get(3) {
        value if value.is_undefined() => None,
        value => Some(trimmed(&bytes(scope, value, "add")?).to_vec()),
    };
    let rem = match args.get(4) {
        value if value.is_undefined() => None,
        value => Some(trimmed(&bytes(scope, value, "rem")?).to_vec()),
    };
    if size > MAX_BITS {
        return Err(too_long("size"));
    }
    let bits = u32::try_from(size).map_err(|_| too_long("size"))?;
    if let Some(add) = &add {
        if add.len() as u64 > MAX_BITS / 8 || uint(add).bits_vartime() > bits {
            return Err(out_of_range("invalid options.add"));
        }
        if let Some(rem) = &rem
            && (rem.len() > add.len() || uint(rem) >= uint(add))
        {
            return Err(out_of_range("invalid options.rem"));
        }
    }
    let congruence = add.map(|add| Congruence { add, rem });
    job::construct(
        scope,
        args,
        RANDOM_PRIME_REQUEST,
        0,
        move |meter| {
            let tiny = bits < 2 || (congruence.is_none() && safe && bits < 6 && bits != 3);
            let prime = match &congruence {
                _ if tiny => Err(plain_failure(openssl::BITS_TOO_SMALL)),
                Some(congruence) => random_prime_in(bits, safe, congruence, meter),
                None => random_prime(bits, safe, meter),
            };
            match prime {
                Ok(prime) => Outcome::Bytes(bytes_of(&prime)),
                Err(throw) => Outcome::Failed(throw),
            }
        },
        job::outcome,
    )
}

/// `new CheckPrimeJob(mode, candidate, checks)`
pub fn new_check_prime_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let candidate = trimmed(&bytes(scope, args.get(1), "candidate")?).to_vec();
    let checks = number(scope, args.get(2), "checks")?;
    if candidate.len() as u64 > MAX_BITS / 8 {
        return Err(too_long("candidate"));
    }
    job::construct(
        scope,
        args,
        CHECK_PRIME_REQUEST,
        candidate.len(),
        move |meter| match check(&candidate, checks, meter) {
            Ok(prime) => Outcome::Bool(prime),
            Err(throw) => Outcome::Failed(throw),
        },
        job::outcome,
    )
}
