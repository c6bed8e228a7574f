//! Diffie-Hellman over prime fields: `DiffieHellman`, `DiffieHellmanGroup`, `statelessDH` and `DHBitsJob`.
//! Source: `src/crypto/crypto_dh.cc`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use pkcs8::der::asn1::{AnyRef, UintRef};
use pkcs8::der::{Decode, Encode, Reader, Sequence};
use zeroize::Zeroizing;

use super::argument::{bytes, invalid, string};
use super::asymmetric::{PrivateKey, PublicKey};
use super::dh_groups::GROUPS;
use super::job::{self, Outcome};
use super::keys::{DERIVE_REQUEST, KeyData};
use super::modular::{Modulus, bytes_of, padded, random_below, trimmed, uint};
use super::openssl::{self, failure, plain_failure};
use super::prime::{self, Congruence};
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::env::Env;
use crate::throw::Throw;
use crate::work::Meter;

/// Bits of the longest modulus: a power of it cannot be stopped. OpenSSL's limit.
pub const MAX_MODULUS_BITS: u32 = 10_000;
/// Bits of the shortest modulus that keys are made for.
const MIN_MODULUS_BITS: u32 = 512;

/// `DH_CHECK_P_NOT_PRIME`
const NOT_PRIME: i32 = 1;
/// `DH_CHECK_P_NOT_SAFE_PRIME`
const NOT_SAFE_PRIME: i32 = 2;
/// `DH_NOT_SUITABLE_GENERATOR`
const NOT_SUITABLE_GENERATOR: i32 = 8;
/// `DH_MODULUS_TOO_SMALL`
const MODULUS_TOO_SMALL: i32 = 0x80;
/// `DH_MODULUS_TOO_LARGE`
const MODULUS_TOO_LARGE: i32 = 0x100;

/// A group, big-endian, without zeros in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The modulus.
    pub p: Vec<u8>,
    /// The generator.
    pub g: Vec<u8>,
}

/// `DHParameter`
#[derive(Sequence)]
struct DomainDer<'a> {
    p: UintRef<'a>,
    g: UintRef<'a>,
}

impl Domain {
    /// A group of Node's names.
    pub fn named(name: &str) -> Option<Self> {
        let (_, _, modulus) = GROUPS
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
        let (pairs, _) = modulus.as_bytes().as_chunks::<2>();
        let p = pairs
            .iter()
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        Some(Self { p, g: vec![2] })
    }

    /// A group from two numbers; `None` if it is longer than what we take.
    pub fn new(p: &[u8], g: &[u8]) -> Option<Self> {
        let domain = Self {
            p: trimmed(p).to_vec(),
            g: trimmed(g).to_vec(),
        };
        let most = MAX_MODULUS_BITS as usize / 8;
        (domain.p.len() <= most && domain.g.len() <= most).then_some(domain)
    }

    /// A group in DER; `None` if it is longer than what we take.
    pub fn from_der(der: AnyRef<'_>) -> Option<Self> {
        let numbers = der.sequence(|reader| {
            let numbers = (UintRef::decode(reader)?, UintRef::decode(reader)?);
            while !reader.is_finished() {
                let _length: AnyRef<'_> = reader.decode()?;
            }
            Ok::<_, pkcs8::der::Error>(numbers)
        });
        let (p, g) = numbers.ok()?;
        Self::new(p.as_bytes(), g.as_bytes())
    }

    /// The group in DER.
    pub fn to_der(&self) -> Option<Vec<u8>> {
        let der = DomainDer {
            p: UintRef::new(&self.p).ok()?,
            g: UintRef::new(&self.g).ok()?,
        };
        der.to_der().ok()
    }

    fn bits(&self) -> u32 {
        uint(&self.p).bits_vartime()
    }

    fn size(&self) -> usize {
        self.p.len()
    }

    /// The modulus of a group that can be worked with.
    fn modulus(&self) -> Option<Modulus> {
        Modulus::new(&self.p)
    }

    /// `g ^ x`, without zeros in front.
    pub fn public_of(&self, private: &[u8]) -> Option<Vec<u8>> {
        let public = self.modulus()?.power(&self.g, private);
        Some(trimmed(&public).to_vec())
    }

    /// What two keys agree on, as long as the modulus.
    fn agree(&self, private: &[u8], public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let shared = Zeroizing::new(self.modulus()?.power(public, private));
        let trivial = matches!(trimmed(&shared), [] | [1]);
        (!trivial).then(|| Zeroizing::new(padded(&shared, self.size())))
    }

    /// A new private key; `None` for a group that OpenSSL makes none for.
    fn generate(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Throw> {
        if self.bits() < MIN_MODULUS_BITS || self.modulus().is_none() {
            return Ok(None);
        }
        let named = GROUPS.iter().find(|(name, ..)| {
            Self::named(name).is_some_and(|group| group.p == self.p && group.g == self.g)
        });
        let limit = if let Some((_, bits, _)) = named {
            let mut limit = vec![0; *bits as usize / 8 + 1];
            if let Some(first) = limit.first_mut() {
                *first = 1 << (bits % 8);
            }
            limit
        } else {
            let half = uint(&self.p).unbounded_shr_vartime(1);
            bytes_of(&half)
        };
        let mut private = random_below(&limit)?;
        let zeros = private.len() - trimmed(&private).len();
        private.drain(..zeros);
        Ok(Some(private))
    }

    /// A new group.
    ///
    /// # Errors
    /// The process ended, or the numbers cannot be had.
    pub fn generate_group(bits: u32, generator: u32, meter: &mut Meter) -> Result<Self, Throw> {
        let (add, rem) = match generator {
            2 => (24, 23),
            5 => (60, 59),
            _ => (12, 11),
        };
        let congruence = Congruence {
            add: vec![add],
            rem: Some(vec![rem]),
        };
        let prime = prime::random_prime_in(bits, true, &congruence, meter)?;
        Ok(Self {
            p: bytes_of(&prime),
            g: trimmed(&generator.to_be_bytes()).to_vec(),
        })
    }

    /// The bits of what is wrong with the group.
    fn check(&self, meter: &mut Meter) -> Result<i32, Throw> {
        let well_known = GROUPS.iter().any(|(name, ..)| {
            Self::named(name).is_some_and(|group| group.p == self.p && group.g == self.g)
        });
        if well_known {
            return Ok(0);
        }
        let mut wrong = 0;
        let p = uint(&self.p);
        if self.p.last().is_none_or(|last| last % 2 == 0) {
            wrong |= NOT_PRIME;
        }
        let below = p.wrapping_sub(crypto_bigint::BoxedUint::one());
        if matches!(self.g.as_slice(), [] | [1]) || uint(&self.g) >= below {
            wrong |= NOT_SUITABLE_GENERATOR;
        }
        if self.bits() < MIN_MODULUS_BITS {
            wrong |= MODULUS_TOO_SMALL;
        }
        if self.bits() > MAX_MODULUS_BITS {
            return Ok(wrong | MODULUS_TOO_LARGE);
        }
        if !prime::check(&self.p, 0, meter)? {
            wrong |= NOT_PRIME;
        } else if !prime::check(&bytes_of(&p.unbounded_shr_vartime(1)), 0, meter)? {
            wrong |= NOT_SAFE_PRIME;
        }
        Ok(wrong)
    }
}

/// A new key of a group.
///
/// # Errors
/// The group is too small.
pub fn generate_key(domain: Arc<Domain>) -> Result<PrivateKey, Throw> {
    let private = domain.generate()?;
    let private = private.ok_or_else(|| plain_failure(openssl::DH_MODULUS_TOO_SMALL))?;
    Ok(PrivateKey::Dh(domain, Arc::new(private)))
}

/// What two keys agree on.
///
/// # Errors
/// They are of different kinds, or there is nothing to agree on.
pub fn agree(private: &PrivateKey, public: &PublicKey) -> Result<Zeroizing<Vec<u8>>, Throw> {
    let mismatch = || failure(openssl::MISMATCHING_DOMAIN_PARAMETERS);
    let underived = || failure(openssl::FAILED_DURING_DERIVATION);
    match (private, public) {
        (PrivateKey::Ec(own, scalar), PublicKey::Ec(other, point)) => {
            if own != other {
                return Err(mismatch());
            }
            own.curve.agree(scalar, point).ok_or_else(underived)
        }
        (PrivateKey::Cfrg(own, private), PublicKey::Cfrg(other, public)) if own == other => {
            own.agree(private, public).ok_or_else(underived)
        }
        (PrivateKey::Dh(own, private), PublicKey::Dh(other, public)) => {
            if own != other {
                return Err(mismatch());
            }
            own.agree(private, public).ok_or_else(underived)
        }
        _ => Err(failure(openssl::EVP_OPERATION_NOT_SUPPORTED)),
    }
}

/// The keys in two arguments, the public one first or second.
fn keys<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    private: v8::Local<'s, v8::Value>,
    public: v8::Local<'s, v8::Value>,
) -> Result<(PrivateKey, PublicKey), Throw> {
    let Some(KeyData::Private(private)) = KeyData::of(scope, private) else {
        return Err(invalid("privateKey"));
    };
    let public = KeyData::of(scope, public).and_then(|key| key.public_half());
    Ok((private, public.ok_or_else(|| invalid("publicKey"))?))
}

/// `statelessDH(privateKey, publicKey)`
pub fn stateless<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (private, public) = keys(scope, args.get(0), args.get(1))?;
    let shared = agree(&private, &public)?;
    Ok(buffer_of(scope, &shared)?.into())
}

/// `new DHBitsJob(mode, publicKey, privateKey)`, and the same for curves.
pub fn new_bits_job<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let (private, public) = keys(scope, args.get(2), args.get(1))?;
    job::construct(
        scope,
        args,
        DERIVE_REQUEST,
        0,
        move |_| match agree(&private, &public) {
            Ok(shared) => Outcome::Bytes(shared.to_vec()),
            Err(throw) => Outcome::Failed(throw),
        },
        job::outcome,
    )
}

/// The Rust side of a `DiffieHellman` or a `DiffieHellmanGroup`.
struct DiffieHellman {
    domain: Domain,
    public: RefCell<Option<Vec<u8>>>,
    private: RefCell<Option<Zeroizing<Vec<u8>>>>,
    wrong: i32,
}

fn wrap<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>, domain: Domain) -> Ret<'s> {
    let env = Env::of(scope);
    let wrong = domain.check(&mut Meter::on_own_thread(&env))?;
    // Two keys of the modulus' size may follow.
    let held = domain.g.len() + domain.p.len().saturating_mul(3);
    let value = DiffieHellman {
        domain,
        public: RefCell::default(),
        private: RefCell::default(),
        wrong,
    };
    env.objects
        .wrap_with(scope, args.this(), Rc::new(value), held);
    Ok(v8::undefined(scope).into())
}

/// `new DiffieHellman(sizeOrKey, generator)`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("DiffieHellman"));
    }
    let bad_generator = || failure(openssl::DH_BAD_GENERATOR);
    let (size, generator) = (args.get(0), args.get(1));
    if size.is_int32() {
        let bits = size.int32_value(scope).ok_or(Throw::Pending)?;
        let generator = generator.int32_value(scope).ok_or(Throw::Pending)?;
        if bits < 2 {
            return Err(failure(openssl::DH_MODULUS_TOO_SMALL));
        }
        let generator = u32::try_from(generator).ok().filter(|number| *number > 1);
        let generator = generator.ok_or_else(bad_generator)?;
        let bits = u32::try_from(bits).unwrap_or(u32::MAX);
        if bits > MAX_MODULUS_BITS {
            return Err(failure(openssl::DH_MODULUS_TOO_LARGE));
        }
        if bits < MIN_MODULUS_BITS {
            return Err(Throw::type_error(
                "ERR_INVALID_ARG_VALUE",
                "Invalid DH parameters",
            ));
        }
        let mut meter = Meter::on_own_thread(&Env::of(scope));
        let domain = Domain::generate_group(bits, generator, &mut meter)?;
        return wrap(scope, args, domain);
    }
    let p = bytes(scope, size, "sizeOrKey")?;
    let g = if generator.is_int32() {
        let generator = generator.int32_value(scope).ok_or(Throw::Pending)?;
        if generator < 2 {
            return Err(bad_generator());
        }
        generator.to_be_bytes().to_vec()
    } else {
        let generator = bytes(scope, generator, "generator")?;
        if matches!(trimmed(&generator), [] | [1]) {
            return Err(bad_generator());
        }
        generator
    };
    let domain = Domain::new(&p, &g).ok_or_else(|| failure(openssl::DH_MODULUS_TOO_LARGE))?;
    wrap(scope, args, domain)
}

fn unknown_group() -> Throw {
    Throw::error("ERR_CRYPTO_UNKNOWN_DH_GROUP", "Unknown DH group")
}

/// `new DiffieHellmanGroup(name)`
pub fn construct_group<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("DiffieHellmanGroup"));
    }
    let value = args.get(0);
    if !value.is_string() {
        return Err(Throw::type_error(
            "ERR_INVALID_ARG_TYPE",
            "Group name must be a string",
        ));
    }
    let name = string(scope, value, "group")?;
    let domain = Domain::named(&name).ok_or_else(unknown_group)?;
    wrap(scope, args, domain)
}

/// The group of an argument of key generation.
///
/// # Errors
/// There is none of this name.
pub fn named_group(name: &str) -> Result<Domain, Throw> {
    Domain::named(name).ok_or_else(unknown_group)
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<DiffieHellman>, Throw> {
    let this = Env::of(scope)
        .objects
        .unwrap::<DiffieHellman>(scope, args.this());
    this.ok_or_else(|| invalid("this"))
}

/// `verifyError`
pub fn verify_error<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wrong = this(scope, args)?.wrong;
    Ok(v8::Integer::new(scope, wrong).into())
}

/// `generateKeys()`
pub fn generate_keys<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let failed = || Throw::error("ERR_CRYPTO_OPERATION_FAILED", "Key generation failed");
    let this = this(scope, args)?;
    if this.domain.p.is_empty() {
        return Err(Throw::error("ERR_CRYPTO_INVALID_STATE", "p is null"));
    }
    if this.domain.bits() < MIN_MODULUS_BITS {
        return Err(failed());
    }
    let mut private = this.private.borrow_mut();
    if private.is_none() {
        *private = Some(this.domain.generate()?.ok_or_else(failed)?);
    }
    let own = private.as_ref().ok_or_else(failed)?;
    let public = this.domain.public_of(own).ok_or_else(failed)?;
    let whole = padded(&public, this.domain.size());
    this.public.replace(Some(public));
    Ok(buffer_of(scope, &whole)?.into())
}

/// `computeSecret(otherPublicKey)`
pub fn compute_secret<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let other = bytes(scope, args.get(0), "otherPublicKey")?;
    let this = this(scope, args)?;
    let other = trimmed(&other);
    if matches!(other, [] | [1]) {
        return Err(Throw::range_error(
            "ERR_CRYPTO_INVALID_KEYLEN",
            "Supplied key is too small",
        ));
    }
    let below = uint(&this.domain.p).wrapping_sub(crypto_bigint::BoxedUint::one());
    if uint(other) >= below {
        return Err(Throw::range_error(
            "ERR_CRYPTO_INVALID_KEYTYPE",
            "Unspecified validation error",
        ));
    }
    let private = this.private.borrow();
    let shared = private
        .as_ref()
        .and_then(|private| this.domain.agree(private, other))
        .unwrap_or_default();
    Ok(buffer_of(scope, &shared)?.into())
}

/// `getPrime()`
pub fn get_prime<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let this = this(scope, args)?;
    if this.domain.p.is_empty() {
        return Err(Throw::error("ERR_CRYPTO_INVALID_STATE", "p is null"));
    }
    Ok(buffer_of(scope, &this.domain.p)?.into())
}

/// `getGenerator()`
pub fn get_generator<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let this = this(scope, args)?;
    Ok(buffer_of(scope, &this.domain.g)?.into())
}

fn missing(text: &str) -> Throw {
    Throw::error("ERR_CRYPTO_INVALID_STATE", text)
}

/// `getPublicKey()`
pub fn get_public_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let this = this(scope, args)?;
    let public = this.public.borrow();
    let public = public
        .as_ref()
        .ok_or_else(|| missing("No public key - did you forget to generate one?"))?;
    Ok(buffer_of(scope, public)?.into())
}

/// `getPrivateKey()`
pub fn get_private_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let this = this(scope, args)?;
    let private = this.private.borrow();
    let private = private
        .as_ref()
        .ok_or_else(|| missing("No private key - did you forget to generate one?"))?;
    Ok(buffer_of(scope, private)?.into())
}

/// A number that is not longer than a modulus may be.
fn exponent<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Vec<u8>, Throw> {
    let number = Zeroizing::new(bytes(scope, args.get(0), "buffer")?);
    let number = trimmed(&number);
    if number.len() > MAX_MODULUS_BITS as usize / 8 {
        return Err(failure(openssl::DH_MODULUS_TOO_LARGE));
    }
    Ok(number.to_vec())
}

/// `setPublicKey(key)`
pub fn set_public_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let number = exponent(scope, args)?;
    this(scope, args)?.public.replace(Some(number));
    Ok(v8::undefined(scope).into())
}

/// `setPrivateKey(key)`
pub fn set_private_key<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let number = Zeroizing::new(exponent(scope, args)?);
    this(scope, args)?.private.replace(Some(number));
    Ok(v8::undefined(scope).into())
}
