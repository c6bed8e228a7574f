//! `CipherBase`: AES in ECB, CBC, CTR and GCM. Source: `src/crypto/crypto_cipher.cc`.

mod modes;

use std::cell::RefCell;
use std::rc::Rc;

use subtle::ConstantTimeEq;

use self::modes::{BLOCK, Gcm, Mode, Transform, transform};
use super::argument::{bytes, invalid, string, text_or_bytes};
use super::keys::KeyData;
use crate::array_buffer::buffer_of;
use crate::binding::{Args, Ret};
use crate::bindings::fs::answer::constructor_call;
use crate::env::Env;
use crate::realm::set;
use crate::throw::{ErrorClass, Throw};

/// A cipher as OpenSSL names it.
struct Cipher {
    name: &'static str,
    alias: &'static str,
    number: i32,
    mode: Mode,
    key: usize,
}

const fn cipher(
    name: &'static str,
    alias: &'static str,
    number: i32,
    mode: Mode,
    key: usize,
) -> Cipher {
    Cipher {
        name,
        alias,
        number,
        mode,
        key,
    }
}

const CIPHERS: &[Cipher] = &[
    cipher("aes-128-cbc", "aes128", 419, Mode::Cbc, 16),
    cipher("aes-128-ctr", "", 904, Mode::Ctr, 16),
    cipher("aes-128-ecb", "", 418, Mode::Ecb, 16),
    cipher("aes-128-gcm", "id-aes128-GCM", 895, Mode::Gcm, 16),
    cipher("aes-192-cbc", "aes192", 423, Mode::Cbc, 24),
    cipher("aes-192-ctr", "", 905, Mode::Ctr, 24),
    cipher("aes-192-ecb", "", 422, Mode::Ecb, 24),
    cipher("aes-192-gcm", "id-aes192-GCM", 898, Mode::Gcm, 24),
    cipher("aes-256-cbc", "aes256", 427, Mode::Cbc, 32),
    cipher("aes-256-ctr", "", 906, Mode::Ctr, 32),
    cipher("aes-256-ecb", "", 426, Mode::Ecb, 32),
    cipher("aes-256-gcm", "id-aes256-GCM", 901, Mode::Gcm, 32),
];

impl Cipher {
    fn from_name(name: &str) -> Option<&'static Self> {
        CIPHERS.iter().find(|cipher| {
            cipher.name.eq_ignore_ascii_case(name)
                || (!cipher.alias.is_empty() && cipher.alias.eq_ignore_ascii_case(name))
        })
    }

    /// Bytes of its IV; of the usual one for GCM, which takes others, too.
    fn iv(&self) -> usize {
        match self.mode {
            Mode::Ecb => 0,
            Mode::Cbc | Mode::Ctr => BLOCK,
            Mode::Gcm => 12,
        }
    }

    fn allows_iv(&self, length: usize) -> bool {
        match self.mode {
            Mode::Gcm => length > 0,
            _ => length == self.iv(),
        }
    }
}

enum Engine {
    Plain {
        transform: Box<dyn Transform>,
        /// Bytes of a block that is not whole yet, or that may be the last.
        held: Vec<u8>,
        /// Whether it works on whole blocks.
        blocks: bool,
        padded: bool,
    },
    Tagged(Box<Gcm>),
}

struct State {
    /// Gone after `final`.
    engine: Option<Engine>,
    tag_length: usize,
    /// The tag that was made, or that is to be found.
    tag: Option<Vec<u8>>,
    tagged: bool,
}

/// The Rust side of a `CipherBase`, empty until `initiv`.
struct CipherBase {
    encrypts: bool,
    state: RefCell<Option<State>>,
}

fn plain(text: &str) -> Throw {
    Throw::Plain(ErrorClass::Error, text.to_owned())
}

fn invalid_tag(length: usize) -> Throw {
    Throw::type_error(
        "ERR_CRYPTO_INVALID_AUTH_TAG",
        format!("Invalid authentication tag length: {length}"),
    )
}

fn wrong_final_block() -> Throw {
    Throw::error(
        "ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH",
        "error:1C80006B:Provider routines::wrong final block length",
    )
}

fn is_tag_length(length: usize) -> bool {
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
    let cipher = Cipher::from_name(&name)
        .ok_or_else(|| Throw::error("ERR_CRYPTO_UNKNOWN_CIPHER", "Unknown cipher"))?;
    let invalid_key = || Throw::range_error("ERR_CRYPTO_INVALID_KEYLEN", "Invalid key length");
    if key.len() != cipher.key {
        return Err(invalid_key());
    }
    if !cipher.allows_iv(iv.len()) {
        return Err(Throw::type_error(
            "ERR_CRYPTO_INVALID_IV",
            "Invalid initialization vector",
        ));
    }
    let tagged = cipher.mode == Mode::Gcm;
    let tag_length = match usize::try_from(tag_length) {
        Ok(length) if tagged && !is_tag_length(length) => return Err(invalid_tag(length)),
        Ok(length) => length,
        Err(_) => 0,
    };
    let engine = if tagged {
        Engine::Tagged(Box::new(Gcm::new(&key, &iv).ok_or_else(invalid_key)?))
    } else {
        let transform = transform(cipher.mode, &key, &iv, base.encrypts);
        Engine::Plain {
            transform: transform.ok_or_else(invalid_key)?,
            held: Vec::new(),
            blocks: matches!(cipher.mode, Mode::Ecb | Mode::Cbc),
            padded: true,
        }
    };
    base.state.replace(Some(State {
        engine: Some(engine),
        tag_length,
        tag: None,
        tagged,
    }));
    Ok(v8::undefined(scope).into())
}

impl CipherBase {
    fn update(&self, data: &mut Vec<u8>) -> Result<(), Throw> {
        let mut state = self.state.borrow_mut();
        let engine = state.as_mut().and_then(|state| state.engine.as_mut());
        match engine {
            None => Err(plain("Trying to add data in unsupported state")),
            Some(Engine::Tagged(gcm)) => {
                gcm.apply(data, self.encrypts);
                Ok(())
            }
            Some(Engine::Plain {
                transform,
                held,
                blocks,
                padded,
            }) => {
                if !*blocks {
                    transform.apply(data);
                    return Ok(());
                }
                let mut whole = std::mem::take(held);
                whole.append(data);
                let mut rest = whole.len() % BLOCK;
                // The last block may be padding, which is not known before the end.
                if rest == 0 && !self.encrypts && *padded && !whole.is_empty() {
                    rest = BLOCK;
                }
                *held = whole.split_off(whole.len() - rest);
                transform.apply(&mut whole);
                *data = whole;
                Ok(())
            }
        }
    }

    fn finish(&self) -> Result<Vec<u8>, Throw> {
        let mut state = self.state.borrow_mut();
        let invalid = || Throw::error("ERR_CRYPTO_INVALID_STATE", "Invalid state");
        let state = state.as_mut().ok_or_else(invalid)?;
        match state.engine.take().ok_or_else(invalid)? {
            Engine::Tagged(gcm) => {
                let whole = gcm.tag();
                if self.encrypts {
                    let length = match state.tag_length {
                        0 => BLOCK,
                        length => length,
                    };
                    state.tag = whole.get(..length).map(<[u8]>::to_vec);
                    return Ok(Vec::new());
                }
                let expected = state.tag.take().unwrap_or_default();
                let own = whole.get(..expected.len()).unwrap_or_default();
                if expected.is_empty() || !bool::from(own.ct_eq(&expected)) {
                    return Err(plain("Unsupported state or unable to authenticate data"));
                }
                Ok(Vec::new())
            }
            Engine::Plain { blocks: false, .. } => Ok(Vec::new()),
            Engine::Plain {
                mut transform,
                mut held,
                padded,
                ..
            } => {
                if !padded {
                    return if held.is_empty() {
                        Ok(held)
                    } else {
                        Err(wrong_final_block())
                    };
                }
                if self.encrypts {
                    let padding = BLOCK - held.len() % BLOCK;
                    let byte = u8::try_from(padding).unwrap_or_default();
                    held.resize(held.len() + padding, byte);
                    transform.apply(&mut held);
                    return Ok(held);
                }
                if held.len() != BLOCK {
                    return Err(wrong_final_block());
                }
                transform.apply(&mut held);
                unpad(held)
            }
        }
    }
}

/// Takes PKCS#7's padding off the last block.
fn unpad(mut block: Vec<u8>) -> Result<Vec<u8>, Throw> {
    let bad = || {
        Throw::error(
            "ERR_OSSL_BAD_DECRYPT",
            "error:1C800064:Provider routines::bad decrypt",
        )
    };
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
    if !is_tag_length(tag.len()) || (wanted != 0 && wanted != tag.len()) {
        return Err(invalid_tag(tag.len()));
    }
    state.tag = Some(tag);
    Ok(v8::Boolean::new(scope, true).into())
}

/// `setAAD(data, plaintextLength)`
pub fn set_aad<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let data = bytes(scope, args.get(0), "aadbuf")?;
    let base = this(scope, args)?;
    let mut state = base.state.borrow_mut();
    let engine = state.as_mut().and_then(|state| state.engine.as_mut());
    let taken = match engine {
        Some(Engine::Tagged(gcm)) => gcm.additional(&data),
        _ => false,
    };
    Ok(v8::Boolean::new(scope, taken).into())
}

/// `getCiphers()`
pub fn get_ciphers<'s>(scope: &mut v8::PinScope<'s, '_>, _args: &Args<'s>) -> Ret<'s> {
    let names = CIPHERS.iter().map(|cipher| cipher.name);
    let aliases = CIPHERS.iter().map(|cipher| cipher.alias);
    super::names(
        scope,
        names.chain(aliases.filter(|alias| !alias.is_empty())),
    )
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
        CIPHERS.iter().find(|cipher| cipher.number == number)
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
    let (mode, name, block) = match cipher.mode {
        Mode::Ecb => ("ecb", cipher.name, BLOCK),
        Mode::Cbc => ("cbc", cipher.name, BLOCK),
        Mode::Ctr => ("ctr", cipher.name, 1),
        Mode::Gcm => ("gcm", cipher.alias, 1),
    };
    for (key, text) in [("mode", mode), ("name", name)] {
        let text = v8::String::new(scope, text).ok_or(Throw::Pending)?;
        set(scope, target, key, text.into());
    }
    let number = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    for (key, value) in [
        ("nid", Some(cipher.number)),
        ("blockSize", Some(number(block))),
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
