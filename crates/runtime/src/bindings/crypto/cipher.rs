//! `CipherBase`: block ciphers in their modes, ChaCha20, with tags and without. Source: `src/crypto/crypto_cipher.cc`.

mod aead;
pub mod block;
pub mod modes;
pub mod table;
pub mod wrap;

use std::cell::RefCell;
use std::rc::Rc;

use subtle::ConstantTimeEq;

use self::aead::{Ccm, ChaChaPoly, Ocb};
use self::block::Block;
use self::modes::{BLOCK, Gcm, Mode, Transform, transform};
use self::table::{CIPHERS, Cipher, is_legacy};
use super::argument::{bytes, invalid, string, text_or_bytes};
use super::keys::KeyData;
use super::openssl::{self, failure};
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::env::Env;
use crate::memory::NativeCharge;
use crate::realm::set;
use crate::throw::{ErrorClass, Throw};

/// Bytes that a charge itself takes, at most.
const CHARGE_BYTES: usize = 64;

enum Engine {
    Plain {
        transform: Box<dyn Transform>,
        /// Bytes of a block that is not whole yet, or that may be the last.
        held: Vec<u8>,
        /// Bytes of the blocks that it works on; one for streams.
        block: usize,
        padded: bool,
    },
    Wrap {
        cipher: Box<dyn Block>,
        iv: Vec<u8>,
        padded: bool,
    },
    Gcm(Box<Gcm>),
    Ccm {
        ccm: Box<Ccm>,
        /// Bytes of the longest message.
        longest: usize,
        /// For the additional data that it keeps.
        charges: Vec<NativeCharge>,
    },
    Ocb(Box<Ocb>),
    Poly(Box<ChaChaPoly>),
}

struct State {
    /// Gone after `final`.
    engine: Option<Engine>,
    /// Bytes of a tag, if that was said.
    tag_length: Option<usize>,
    /// The tag that was made, or that is to be found.
    tag: Option<Vec<u8>>,
    tagged: bool,
    gcm: bool,
}

/// Bytes that a cipher's state takes, about: its round keys, and the tables of GCM.
const STATE_BYTES: usize = 2 << 10;

/// The Rust side of a `CipherBase`, empty until `initiv`.
struct CipherBase {
    encrypts: bool,
    state: RefCell<Option<State>>,
    _charge: Option<NativeCharge>,
}

fn plain(text: &str) -> Throw {
    Throw::Plain(ErrorClass::Error, text.to_owned())
}

/// What is thrown for a tag of another length.
pub fn invalid_tag(length: usize) -> Throw {
    Throw::type_error(
        "ERR_CRYPTO_INVALID_AUTH_TAG",
        format!("Invalid authentication tag length: {length}"),
    )
}

fn wrong_final_block() -> Throw {
    failure(openssl::WRONG_FINAL_BLOCK_LENGTH)
}

fn unknown_cipher(name: &str) -> Throw {
    if is_legacy(name) {
        return failure(openssl::EVP_UNSUPPORTED);
    }
    Throw::error("ERR_CRYPTO_UNKNOWN_CIPHER", "Unknown cipher")
}

fn unsupported_state() -> Throw {
    plain("Trying to add data in unsupported state")
}

/// Whether GCM may have a tag of this length.
pub fn is_tag_length(length: usize) -> bool {
    matches!(length, 4 | 8 | 12..=16)
}

/// `new CipherBase(encrypts)`
pub fn construct<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.is_construct_call() {
        return Err(constructor_call("CipherBase"));
    }
    let cipher = CipherBase {
        encrypts: args.get(0).is_true(),
        state: RefCell::default(),
        _charge: super::random::charge(scope, STATE_BYTES)?,
    };
    let env = Env::of(scope);
    env.objects.wrap(scope, args.this(), Rc::new(cipher));
    Ok(v8::undefined(scope).into())
}

fn this<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Result<Rc<CipherBase>, Throw> {
    let this = Env::of(scope)
        .objects
        .unwrap::<CipherBase>(scope, args.this());
    this.ok_or_else(|| {
        Throw::type_error("ERR_INVALID_THIS", "Value of \"this\" is of the wrong type")
    })
}

/// `initiv(cipher, key, iv, authTagLength)`
pub fn init_iv<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let name = string(scope, args.get(0), "cipher")?;
    let key = KeyData::secret_argument(scope, args.get(1))?;
    let iv = match args.get(2) {
        value if value.is_null_or_undefined() => Vec::new(),
        value => bytes(scope, value, "iv")?,
    };
    let tag_length = args.get(3).int32_value(scope).ok_or(Throw::Pending)?;
    let base = this(scope, args)?;
    let cipher = Cipher::from_name(&name).ok_or_else(|| unknown_cipher(&name))?;
    let invalid_key = || Throw::range_error("ERR_CRYPTO_INVALID_KEYLEN", "Invalid key length");
    // In Node's order: a vector of a wrong length is told of before the key, but for modes that take many lengths.
    if !cipher.allows_iv(iv.len()) {
        return Err(Throw::type_error(
            "ERR_CRYPTO_INVALID_IV",
            "Invalid initialization vector",
        ));
    }
    if key.len() != cipher.key {
        return Err(invalid_key());
    }
    let tag_length = usize::try_from(tag_length).ok();
    let tag_length = match cipher.mode {
        Mode::Gcm => match tag_length {
            Some(length) if !is_tag_length(length) => return Err(invalid_tag(length)),
            length => length,
        },
        Mode::Poly => match tag_length.unwrap_or(BLOCK) {
            length @ 1..=BLOCK => Some(length),
            length => return Err(invalid_tag(length)),
        },
        Mode::Ccm | Mode::Ocb => {
            let length = tag_length.ok_or_else(|| {
                Throw::type_error(
                    "ERR_CRYPTO_INVALID_AUTH_TAG",
                    format!("authTagLength required for {name}"),
                )
            })?;
            let allowed = match cipher.mode {
                Mode::Ccm => (4..=BLOCK).contains(&length) && length.is_multiple_of(2),
                _ => (1..=BLOCK).contains(&length),
            };
            if !allowed {
                return Err(invalid_tag(length));
            }
            Some(length)
        }
        _ => None,
    };
    let duplicated = |key: &[u8]| {
        let (first, second) = key.split_at(key.len() / 2);
        bool::from(first.ct_eq(second))
    };
    if cipher.mode == Mode::Xts && base.encrypts && duplicated(&key) {
        return Err(failure(openssl::XTS_DUPLICATED_KEYS));
    }
    let engine = engine(cipher, &key, &iv, tag_length, base.encrypts).ok_or_else(invalid_key)?;
    base.state.replace(Some(State {
        engine: Some(engine),
        tag_length,
        tag: None,
        tagged: cipher.tagged(),
        gcm: cipher.mode == Mode::Gcm,
    }));
    Ok(v8::undefined(scope).into())
}

fn engine(
    cipher: &Cipher,
    key: &[u8],
    iv: &[u8],
    tag_length: Option<usize>,
    encrypts: bool,
) -> Option<Engine> {
    let tag_length = tag_length.unwrap_or(BLOCK);
    Some(match cipher.mode {
        Mode::Gcm => Engine::Gcm(Box::new(Gcm::new(cipher.algorithm, key, iv)?)),
        Mode::Ccm => Engine::Ccm {
            ccm: Box::new(Ccm::new(cipher.algorithm.with_key(key)?, iv, tag_length)),
            longest: match iv.len() {
                12 => (1 << 24) - 1,
                13 => (1 << 16) - 1,
                _ => i32::MAX as usize,
            },
            charges: Vec::new(),
        },
        Mode::Ocb => Engine::Ocb(Box::new(Ocb::new(
            cipher.algorithm.with_key(key)?,
            iv,
            tag_length,
        ))),
        Mode::Poly => Engine::Poly(Box::new(ChaChaPoly::new(key, iv)?)),
        Mode::Wrap | Mode::WrapPad => Engine::Wrap {
            cipher: cipher.algorithm.with_key(key)?,
            iv: iv.to_vec(),
            padded: cipher.mode == Mode::WrapPad,
        },
        mode => Engine::Plain {
            transform: transform(cipher.algorithm, mode, key, iv, encrypts)?,
            held: Vec::new(),
            block: match mode {
                Mode::Ecb | Mode::Cbc => cipher.block(),
                _ => 1,
            },
            padded: true,
        },
    })
}

fn message_too_long() -> Throw {
    Throw::range_error("ERR_CRYPTO_INVALID_MESSAGELEN", "Invalid message length")
}

impl CipherBase {
    fn update(&self, data: &mut Vec<u8>) -> Result<(), Throw> {
        let mut state = self.state.borrow_mut();
        let state = state.as_mut().ok_or_else(unsupported_state)?;
        let expected = state.tag.as_deref().unwrap_or_default();
        let engine = state.engine.as_mut();
        let done = match engine.ok_or_else(unsupported_state)? {
            Engine::Gcm(gcm) => gcm.apply(data, self.encrypts),
            Engine::Poly(poly) => poly.apply(data, self.encrypts),
            Engine::Ocb(ocb) => {
                ocb.apply(data, self.encrypts);
                true
            }
            Engine::Ccm { ccm, longest, .. } => {
                if data.len() > *longest {
                    return Err(message_too_long());
                }
                let first = !ccm.done();
                if first {
                    ccm.apply(data, self.encrypts);
                    let tag = ccm.tag();
                    let own = tag.get(..expected.len()).unwrap_or_default();
                    // Data that was changed is not told; `final` throws then.
                    if !self.encrypts && (expected.is_empty() || !bool::from(own.ct_eq(expected))) {
                        data.clear();
                    }
                }
                first
            }
            Engine::Wrap { cipher, iv, padded } => {
                let output = match (self.encrypts, *padded) {
                    (true, false) => wrap::wrap(&**cipher, iv, data),
                    (false, false) => wrap::unwrap(&**cipher, iv, data),
                    (true, true) => wrap::wrap_padded(&**cipher, iv, data),
                    (false, true) => wrap::unwrap_padded(&**cipher, iv, data),
                };
                match output {
                    Some(output) => {
                        *data = output;
                        true
                    }
                    None => data.is_empty(),
                }
            }
            Engine::Plain {
                transform,
                held,
                block,
                padded,
            } => {
                let block = *block;
                if block == 1 {
                    transform.apply(data)
                } else {
                    let mut whole = std::mem::take(held);
                    whole.append(data);
                    let mut rest = whole.len() % block;
                    // The last block may be padding, which is not known before the end.
                    if rest == 0 && !self.encrypts && *padded && !whole.is_empty() {
                        rest = block;
                    }
                    *held = whole.split_off(whole.len() - rest);
                    let done = transform.apply(&mut whole);
                    *data = whole;
                    done
                }
            }
        };
        if done {
            Ok(())
        } else {
            Err(unsupported_state())
        }
    }

    /// Ends a cipher with a tag: makes it, or finds that it is the one that was given.
    fn finish_tagged(&self, state: &mut State, whole: [u8; BLOCK]) -> Result<(), Throw> {
        if self.encrypts {
            let length = state.tag_length.unwrap_or(BLOCK);
            state.tag = whole.get(..length).map(<[u8]>::to_vec);
            return Ok(());
        }
        let expected = state.tag.take().unwrap_or_default();
        let own = whole.get(..expected.len()).unwrap_or_default();
        if expected.is_empty() || !bool::from(own.ct_eq(&expected)) {
            return Err(plain("Unsupported state or unable to authenticate data"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<Vec<u8>, Throw> {
        let mut state = self.state.borrow_mut();
        let invalid = || Throw::error("ERR_CRYPTO_INVALID_STATE", "Invalid state");
        let state = state.as_mut().ok_or_else(invalid)?;
        match state.engine.take().ok_or_else(invalid)? {
            Engine::Gcm(gcm) => {
                self.finish_tagged(state, gcm.tag())?;
                Ok(Vec::new())
            }
            Engine::Poly(poly) => {
                self.finish_tagged(state, poly.tag())?;
                Ok(Vec::new())
            }
            Engine::Ocb(ocb) => {
                let (rest, tag) = ocb.finish(self.encrypts);
                self.finish_tagged(state, tag)?;
                Ok(rest)
            }
            Engine::Ccm { ccm, .. } => {
                // Without any data there is nothing whose tag could be wrong, as in OpenSSL.
                if self.encrypts || ccm.done() {
                    self.finish_tagged(state, ccm.tag())?;
                }
                Ok(Vec::new())
            }
            Engine::Wrap { .. } => Ok(Vec::new()),
            Engine::Plain { block: 1, .. } => Ok(Vec::new()),
            Engine::Plain {
                mut transform,
                mut held,
                padded,
                block,
            } => {
                if !padded {
                    return if held.is_empty() {
                        Ok(held)
                    } else {
                        Err(wrong_final_block())
                    };
                }
                if self.encrypts {
                    pad(&mut held, block);
                    transform.apply(&mut held);
                    return Ok(held);
                }
                if held.len() != block {
                    return Err(wrong_final_block());
                }
                transform.apply(&mut held);
                unpad(held)
            }
        }
    }
}

/// Adds PKCS#7's padding.
pub fn pad(data: &mut Vec<u8>, block: usize) {
    let padding = block - data.len() % block;
    let byte = u8::try_from(padding).unwrap_or_default();
    data.resize(data.len() + padding, byte);
}

/// Takes PKCS#7's padding off the last block.
pub fn unpad(mut block: Vec<u8>) -> Result<Vec<u8>, Throw> {
    let bad = || failure(openssl::BAD_DECRYPT);
    let byte = block.last().copied().ok_or_else(bad)?;
    let padding = usize::from(byte);
    let start = block
        .len()
        .checked_sub(padding)
        .filter(|_| padding > 0)
        .ok_or_else(bad)?;
    let tail = block.get(start..).unwrap_or_default();
    if tail.iter().any(|other| *other != byte) {
        return Err(bad());
    }
    block.truncate(start);
    Ok(block)
}

/// `update(data, encoding)`
pub fn update<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut data = text_or_bytes(scope, args.get(0), args.get(1), "data")?;
    let _charge = super::random::charge(scope, data.len())?;
    this(scope, args)?.update(&mut data)?;
    Ok(buffer_of(scope, &data)?.into())
}

/// `final()`
pub fn finish<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let rest = this(scope, args)?.finish()?;
    Ok(buffer_of(scope, &rest)?.into())
}

/// `setAutoPadding(padded)`
pub fn set_auto_padding<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let wanted = args.get(0).is_true();
    let base = this(scope, args)?;
    let mut state = base.state.borrow_mut();
    let engine = state.as_mut().and_then(|state| state.engine.as_mut());
    if let Some(Engine::Plain { padded, .. }) = engine {
        *padded = wanted;
        return Ok(v8::Boolean::new(scope, true).into());
    }
    Ok(v8::Boolean::new(scope, engine.is_some()).into())
}

/// `getAuthTag()`, after `final` of a cipher that encrypts.
pub fn get_auth_tag<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let base = this(scope, args)?;
    let state = base.state.borrow();
    let tag = state
        .as_ref()
        .filter(|state| base.encrypts && state.engine.is_none())
        .and_then(|state| state.tag.as_deref());
    match tag {
        Some(tag) => Ok(buffer_of(scope, tag)?.into()),
        None => Ok(v8::undefined(scope).into()),
    }
}

/// `setAuthTag(tag)`, once, for a cipher that decrypts.
pub fn set_auth_tag<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let tag = bytes(scope, args.get(0), "buffer")?;
    let base = this(scope, args)?;
    let mut state = base.state.borrow_mut();
    let state = state.as_mut().filter(|state| {
        state.tagged && state.engine.is_some() && !base.encrypts && state.tag.is_none()
    });
    let Some(state) = state else {
        return Ok(v8::Boolean::new(scope, false).into());
    };
    let wanted = state.tag_length;
    let allowed = match wanted {
        Some(length) => tag.len() == length,
        None => state.gcm && is_tag_length(tag.len()),
    };
    if !allowed {
        return Err(invalid_tag(tag.len()));
    }
    state.tag = Some(tag);
    Ok(v8::Boolean::new(scope, true).into())
}

/// `setAAD(data, plaintextLength)`
pub fn set_aad<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let data = bytes(scope, args.get(0), "aadbuf")?;
    let length = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
    let charge = super::random::charge(scope, data.len().saturating_add(CHARGE_BYTES))?;
    let base = this(scope, args)?;
    let mut state = base.state.borrow_mut();
    let engine = state.as_mut().and_then(|state| state.engine.as_mut());
    let taken = match engine {
        Some(Engine::Gcm(gcm)) => gcm.additional(&data),
        Some(Engine::Poly(poly)) => poly.additional(&data),
        Some(Engine::Ocb(ocb)) => {
            ocb.additional(&data);
            true
        }
        Some(Engine::Ccm {
            ccm,
            longest,
            charges,
        }) => {
            let Ok(length) = usize::try_from(length) else {
                return Err(Throw::type_error(
                    "ERR_MISSING_ARGS",
                    "options.plaintextLength required for CCM mode with AAD",
                ));
            };
            if length > *longest {
                return Err(message_too_long());
            }
            ccm.additional(&data);
            charges.extend(charge);
            true
        }
        _ => false,
    };
    Ok(v8::Boolean::new(scope, taken).into())
}

/// `getCiphers()`
pub fn get_ciphers<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    super::names(scope, CIPHERS.iter().map(|cipher| cipher.name))
}

/// `getCipherInfo(target, nameOrNid, keyLength, ivLength)`
pub fn get_cipher_info<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    let target = v8::Local::<v8::Object>::try_from(args.get(0)).map_err(|_| invalid("target"))?;
    let cipher = if args.get(1).is_string() {
        let name = string(scope, args.get(1), "nameOrNid")?;
        Cipher::from_name(&name)
    } else {
        let number = args.get(1).int32_value(scope).ok_or(Throw::Pending)?;
        Cipher::from_number(number)
    };
    let Some(cipher) = cipher else {
        return Ok(undefined);
    };
    let wanted = |index| {
        let value = args.get(index);
        (!value.is_undefined())
            .then(|| value.int32_value(scope))
            .flatten()
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX))
    };
    if wanted(2).is_some_and(|length| length != cipher.key)
        || wanted(3).is_some_and(|length| !cipher.allows_iv(length))
    {
        return Ok(undefined);
    }
    let iv = match wanted(3) {
        Some(length) => length,
        None => cipher.iv(),
    };
    let mode = match cipher.mode {
        Mode::Ecb => Some("ecb"),
        Mode::Cbc => Some("cbc"),
        Mode::Ctr => Some("ctr"),
        Mode::Gcm => Some("gcm"),
        Mode::Cfb | Mode::Cfb8 | Mode::Cfb1 => Some("cfb"),
        Mode::Ofb => Some("ofb"),
        Mode::Ccm => Some("ccm"),
        Mode::Ocb => Some("ocb"),
        Mode::Xts => Some("xts"),
        Mode::Wrap | Mode::WrapPad => Some("wrap"),
        Mode::Stream | Mode::Poly => Some("stream"),
    };
    // OpenSSL's name of streams' mode says nothing of a block, so Node has no block size for them.
    let stream = matches!(cipher.mode, Mode::Stream | Mode::Poly);
    for (key, text) in [("mode", mode), ("name", Some(cipher.canonical()))] {
        let Some(text) = text else { continue };
        let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
        set(scope, target, key, text.into());
    }
    let number = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    for (key, value) in [
        ("nid", Some(cipher.number)),
        ("blockSize", (!stream).then(|| number(cipher.granularity()))),
        ("ivLength", (iv > 0).then(|| number(iv))),
        ("keyLength", Some(number(cipher.key))),
    ] {
        if let Some(value) = value {
            let value = v8::Integer::new(scope, value).into();
            set(scope, target, key, value);
        }
    }
    Ok(target.into())
}
