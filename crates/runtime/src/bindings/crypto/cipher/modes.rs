//! Modes of block ciphers as streams of bytes: AES in those that are used most, GCM of any.

use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
    StreamCipher,
};
use aes::{Aes128, Aes192, Aes256};
use ghash::{GHash, universal_hash::UniversalHash};

use super::aead::{ChaCha, counter_stream};
use super::block::{Algorithm, Cbc, Cfb, Ecb, KeyStream, Xts};

/// Bytes of a block, of a counter and of a whole tag.
pub const BLOCK: usize = 16;
/// The length of a nonce that needs no hashing.
const NONCE: usize = 12;

/// How a cipher makes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each block by itself.
    Ecb,
    /// Each block mixed with the one before.
    Cbc,
    /// A key stream from a counter.
    Ctr,
    /// The same, with a tag.
    Gcm,
    /// A key stream from the cipher text, block by block.
    Cfb,
    /// The same, byte by byte.
    Cfb8,
    /// The same, bit by bit.
    Cfb1,
    /// A key stream from itself.
    Ofb,
    /// A counter and a tag that covers the length.
    Ccm,
    /// Each block mixed with its place, with a tag.
    Ocb,
    /// Each block mixed with its place in a sector.
    Xts,
    /// A key in a cipher text.
    Wrap,
    /// The same, of any length.
    WrapPad,
    /// `ChaCha20`.
    Stream,
    /// The same, with a tag.
    Poly,
}

/// One direction of a cipher.
pub trait Transform {
    /// Transforms whole blocks in place; any bytes for the modes that are streams. Answers `false` for what it cannot
    /// transform.
    fn apply(&mut self, data: &mut [u8]) -> bool;
}

type Block = [u8; BLOCK];

struct Blocks<F>(F);

impl<F: FnMut(&mut [u8; BLOCK])> Transform for Blocks<F> {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        let (blocks, _) = data.as_chunks_mut::<BLOCK>();
        for block in blocks {
            (self.0)(block);
        }
        true
    }
}

struct Stream<C>(C);

impl<C: StreamCipher> Transform for Stream<C> {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        self.0.try_apply_keystream(data).is_ok()
    }
}

/// Runs `$body` with the type `$Aes` of a key's length.
macro_rules! with_aes {
    ($key:expr, $Aes:ident => $body:expr) => {
        match $key.len() {
            16 => {
                type $Aes = Aes128;
                $body
            }
            24 => {
                type $Aes = Aes192;
                $body
            }
            32 => {
                type $Aes = Aes256;
                $body
            }
            _ => None,
        }
    };
}

/// A cipher that works on the data as it comes; `None` for a key or an IV of the wrong length.
pub fn transform(
    algorithm: Algorithm,
    mode: Mode,
    key: &[u8],
    iv: &[u8],
    encrypts: bool,
) -> Option<Box<dyn Transform>> {
    if algorithm == Algorithm::Aes && matches!(mode, Mode::Ecb | Mode::Cbc | Mode::Ctr) {
        return fast(mode, key, iv, encrypts);
    }
    if mode == Mode::Stream {
        return Some(Box::new(ChaCha::new(key, iv)?));
    }
    if mode == Mode::Xts {
        let (first, second) = key.split_at_checked(key.len() / 2)?;
        return Some(Box::new(Xts {
            cipher: algorithm.with_key(first)?,
            tweaks: algorithm.with_key(second)?,
            encrypts,
            iv: iv.to_vec(),
        }));
    }
    let cipher = algorithm.with_key(key)?;
    let size = cipher.size();
    if mode != Mode::Ecb && iv.len() != size {
        return None;
    }
    let feedback = |cipher, step| Cfb {
        cipher,
        encrypts,
        register: iv.to_vec(),
        step,
        stream: Vec::new(),
        used: 0,
    };
    Some(match mode {
        Mode::Ecb => Box::new(Ecb { cipher, encrypts }),
        Mode::Cbc => Box::new(Cbc {
            cipher,
            encrypts,
            last: iv.to_vec(),
        }),
        Mode::Cfb => Box::new(feedback(cipher, size * 8)),
        Mode::Cfb8 => Box::new(feedback(cipher, 8)),
        Mode::Cfb1 => Box::new(feedback(cipher, 1)),
        Mode::Ofb => Box::new(KeyStream::new(cipher, iv, None)),
        Mode::Ctr => Box::new(KeyStream::new(cipher, iv, Some(size))),
        _ => return None,
    })
}

/// AES in the modes that there is special code for.
fn fast(mode: Mode, key: &[u8], iv: &[u8], encrypts: bool) -> Option<Box<dyn Transform>> {
    with_aes!(key, Aes => {
        match (mode, encrypts) {
            (Mode::Ecb, true) => {
                let aes = Aes::new_from_slice(key).ok()?;
                let run = move |block: &mut Block| aes.encrypt_block(block.into());
                Some(Box::new(Blocks(run)) as Box<dyn Transform>)
            }
            (Mode::Ecb, false) => {
                let aes = Aes::new_from_slice(key).ok()?;
                let run = move |block: &mut Block| aes.decrypt_block(block.into());
                Some(Box::new(Blocks(run)) as Box<dyn Transform>)
            }
            (Mode::Cbc, true) => {
                let mut cbc = cbc::Encryptor::<Aes>::new_from_slices(key, iv).ok()?;
                let run = move |block: &mut Block| cbc.encrypt_block(block.into());
                Some(Box::new(Blocks(run)) as Box<dyn Transform>)
            }
            (Mode::Cbc, false) => {
                let mut cbc = cbc::Decryptor::<Aes>::new_from_slices(key, iv).ok()?;
                let run = move |block: &mut Block| cbc.decrypt_block(block.into());
                Some(Box::new(Blocks(run)) as Box<dyn Transform>)
            }
            (Mode::Ctr, _) => {
                let ctr = ctr::Ctr128BE::<Aes>::new_from_slices(key, iv).ok()?;
                Some(Box::new(Stream(ctr)) as Box<dyn Transform>)
            }
            _ => None,
        }
    })
}

/// GCM (NIST SP 800-38D), piece by piece: its parts are RustCrypto's, whose own interface wants all data at once.
pub struct Gcm {
    stream: Box<dyn Transform>,
    hash: GHash,
    /// What the hash becomes the tag with.
    mask: Block,
    /// Bytes that the hash still waits for a block's rest of.
    pending: Vec<u8>,
    additional: u64,
    length: u64,
    started: bool,
}

impl Gcm {
    /// A new stream; `None` for a key of the wrong length.
    pub fn new(algorithm: Algorithm, key: &[u8], nonce: &[u8]) -> Option<Self> {
        let mut zero = [0; BLOCK];
        algorithm.with_key(key)?.encrypt(&mut zero);
        let hash = GHash::new(&zero.into());
        let mut counter = [0; BLOCK];
        if nonce.len() == NONCE {
            counter.get_mut(..NONCE)?.copy_from_slice(nonce);
            *counter.last_mut()? = 1;
        } else {
            let mut hash = hash.clone();
            hash.update_padded(nonce);
            let mut lengths = [0; BLOCK];
            let bits = u64::try_from(nonce.len()).ok()?.checked_mul(8)?;
            lengths.get_mut(8..)?.copy_from_slice(&bits.to_be_bytes());
            hash.update(&[lengths.into()]);
            counter = hash.finalize().into();
        }
        let mut mask = [0; BLOCK];
        let stream = match algorithm {
            Algorithm::Aes => with_aes!(key, Aes => {
                let ctr = ctr::Ctr32BE::<Aes>::new_from_slices(key, &counter).ok()?;
                Some(Box::new(Stream(ctr)) as Box<dyn Transform>)
            }),
            _ => Some(counter_stream(algorithm.with_key(key)?, &counter)),
        };
        let mut stream = stream?;
        stream.apply(&mut mask);
        Some(Self {
            stream,
            hash,
            mask,
            pending: Vec::new(),
            additional: 0,
            length: 0,
            started: false,
        })
    }

    fn absorb(&mut self, data: &[u8]) {
        self.pending.extend_from_slice(data);
        let (blocks, rest) = self.pending.as_chunks::<BLOCK>();
        for block in blocks {
            self.hash.update(&[(*block).into()]);
        }
        self.pending = rest.to_vec();
    }

    fn pad(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.hash.update_padded(&pending);
    }

    /// Takes additional data. Answers `false` once there was other data.
    pub fn additional(&mut self, data: &[u8]) -> bool {
        if self.started {
            return false;
        }
        self.additional += data.len() as u64;
        self.absorb(data);
        true
    }

    /// Transforms `data` in place.
    pub fn apply(&mut self, data: &mut [u8], encrypts: bool) -> bool {
        if !self.started {
            self.pad();
            self.started = true;
        }
        self.length += data.len() as u64;
        if !encrypts {
            self.absorb(data);
        }
        let applied = self.stream.apply(data);
        if encrypts {
            self.absorb(data);
        }
        applied
    }

    /// The whole tag.
    pub fn tag(mut self) -> Block {
        self.pad();
        let mut lengths = [0; BLOCK];
        let (first, second) = lengths.split_at_mut(8);
        first.copy_from_slice(&self.additional.wrapping_mul(8).to_be_bytes());
        second.copy_from_slice(&self.length.wrapping_mul(8).to_be_bytes());
        self.hash.update(&[lengths.into()]);
        let mut tag: Block = self.hash.finalize().into();
        for (byte, mask) in tag.iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        tag
    }
}
