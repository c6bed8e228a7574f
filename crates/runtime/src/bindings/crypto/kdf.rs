//! Keys from passwords and from other keys. Sources: `src/crypto/crypto_pbkdf2.cc`, `crypto_scrypt.cc`,
//! `crypto_hkdf.cc`.

use super::algorithm::{Algorithm, with_digest};
use super::argument::{bytes, number, string};
use super::job::{self, Outcome};
use super::keys::{DERIVE_REQUEST, KeyData};
use crate::binding::{Args, Ret};
use crate::bindings::fs::resource::Provider;
use crate::throw::Throw;
use crate::work::Meter;

const PBKDF2_REQUEST: Provider = Provider {
    name: "PBKDF2REQUEST",
    number: 53,
};
const SCRYPT_REQUEST: Provider = Provider {
    name: "SCRYPTREQUEST",
    number: 62,
};

/// How many iterations run between two looks at the process.
const ITERATIONS: u64 = 4096;
/// Bytes that one scrypt may move: it cannot be stopped in between.
const MAX_SCRYPT_WORK: u128 = 16 << 30;

fn length<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<usize, Throw> {
    const MOST: u64 = i32::MAX as u64;
    let length = number(scope, value, "keylen")?;
    if length > MOST {
        return Err(invalid_length());
    }
    usize::try_from(length).map_err(|_| invalid_length())
}

fn invalid_length() -> Throw {
    Throw::range_error("ERR_CRYPTO_INVALID_KEYLEN", "Invalid key length")
}

/// `new PBKDF2Job(mode, password, salt, iterations, keylen, digest)`
pub fn new_pbkdf2_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let password = KeyData::secret_argument(scope, args.get(1))?;
    let salt = bytes(scope, args.get(2), "salt")?;
    let iterations = number(scope, args.get(3), "iterations")?;
    let length = length(scope, args.get(4))?;
    let name = string(scope, args.get(5), "digest")?;
    let algorithm = Algorithm::for_mac(&name)?;
    let held = length + password.len() + salt.len();
    job::construct(
        scope,
        args,
        PBKDF2_REQUEST,
        held,
        move |meter| {
            Outcome::Bytes(pbkdf2(
                algorithm, &password, &salt, iterations, length, meter,
            ))
        },
        job::outcome,
    )
}

/// RFC 8018, 5.2; a shorter answer when the process ended. The library's own loop cannot be stopped.
pub fn pbkdf2(
    algorithm: Algorithm,
    password: &[u8],
    salt: &[u8],
    iterations: u64,
    length: usize,
    meter: &mut Meter,
) -> Vec<u8> {
    let mut output = Vec::with_capacity(length);
    let Some(keyed) = algorithm.mac(password) else {
        return output;
    };
    for index in 1_u32.. {
        if output.len() >= length {
            break;
        }
        let mut mac = keyed.copy();
        mac.update(salt);
        mac.update(&index.to_be_bytes());
        let mut last = mac.finish();
        let mut block = last.clone();
        for iteration in 1..iterations {
            let mut mac = keyed.copy();
            mac.update(&last);
            last = mac.finish();
            for (sum, byte) in block.iter_mut().zip(&last) {
                *sum ^= byte;
            }
            if iteration % ITERATIONS == 0 && !meter.checkpoint() {
                return output;
            }
        }
        output.extend_from_slice(&block);
        if index % 1024 == 0 && !meter.checkpoint() {
            break;
        }
    }
    output.truncate(length);
    output
}

/// `new ScryptJob(mode, password, salt, N, r, p, maxmem, keylen)`
pub fn new_scrypt_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let password = KeyData::secret_argument(scope, args.get(1))?;
    let salt = bytes(scope, args.get(2), "salt")?;
    let n = number(scope, args.get(3), "N")?;
    let r = number(scope, args.get(4), "r")?;
    let p = number(scope, args.get(5), "p")?;
    let maxmem = number(scope, args.get(6), "maxmem")?;
    let length = length(scope, args.get(7))?;
    let refused = || {
        Throw::range_error(
            "ERR_CRYPTO_INVALID_SCRYPT_PARAMS",
            "Invalid scrypt params: error:030000AC:digital envelope routines::memory limit exceeded",
        )
    };
    let (wide_n, wide_r, wide_p) = (u128::from(n), u128::from(r), u128::from(p));
    // As OpenSSL counts: the blocks of all lanes, and the table of one.
    let memory = 128 * wide_r * wide_p + 32 * wide_r * (wide_n + 2) * 4;
    if !n.is_power_of_two()
        || n < 2
        || memory > u128::from(maxmem)
        || 128 * wide_n * wide_r * wide_p > MAX_SCRYPT_WORK
    {
        return Err(refused());
    }
    let (r, p) = (
        u32::try_from(r).map_err(|_| refused())?,
        u32::try_from(p).map_err(|_| refused())?,
    );
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| refused())?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| refused())?;
    let memory = usize::try_from(memory).map_err(|_| refused())?;
    let held = memory.saturating_add(length + password.len() + salt.len());
    job::construct(
        scope,
        args,
        SCRYPT_REQUEST,
        held,
        move |_| {
            let mut output = vec![0; length];
            // Fails for an empty output only, which stays empty.
            let _ = scrypt::scrypt(&password, &salt, &params, &mut output);
            Outcome::Bytes(output)
        },
        job::outcome,
    )
}

/// `new HKDFJob(mode, digest, key, salt, info, length)`
pub fn new_hkdf_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = string(scope, args.get(1), "digest")?;
    let algorithm = Algorithm::for_mac(&name)?;
    let key = KeyData::secret_argument(scope, args.get(2))?;
    let salt = bytes(scope, args.get(3), "salt")?;
    let info = bytes(scope, args.get(4), "info")?;
    let length = length(scope, args.get(5))?;
    if length > algorithm.length().unwrap_or_default() * 255 {
        return Err(invalid_length());
    }
    let held = length + key.len() + salt.len() + info.len();
    job::construct(
        scope,
        args,
        DERIVE_REQUEST,
        held,
        move |_| {
            let mut output = vec![0; length];
            let expanded = with_digest!(
                algorithm,
                D => hkdf::SimpleHkdf::<D>::new(Some(&salt), &key).expand(&info, &mut output).is_ok(),
                else false
            );
            if expanded {
                Outcome::Bytes(output)
            } else {
                Outcome::Failed(invalid_length())
            }
        },
        job::outcome,
    )
}
