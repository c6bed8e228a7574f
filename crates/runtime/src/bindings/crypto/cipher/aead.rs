//! Ciphers with a tag beside GCM: CCM (RFC 3610), OCB (RFC 7253), ChaCha20-Poly1305 (RFC 8439).

use chacha20::cipher::{KeyInit, KeyIvInit, StreamCipher, StreamCipherSeek};
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;

use super::block::{Block, KeyStream, xor};
use super::modes::{BLOCK, Transform};

type Bytes = [u8; BLOCK];

/// CCM: all data at once, whose length must be known before the additional data.
pub struct Ccm {
    cipher: Box<dyn Block>,
    nonce: Vec<u8>,
    tag_length: usize,
    additional: Vec<u8>,
    tag: Option<Bytes>,
}

impl Ccm {
    pub fn new(cipher: Box<dyn Block>, nonce: &[u8], tag_length: usize) -> Self {
        Self {
            cipher,
            nonce: nonce.to_vec(),
            tag_length,
            additional: Vec::new(),
            tag: None,
        }
    }

    pub fn additional(&mut self, data: &[u8]) {
        self.additional.extend_from_slice(data);
    }

    /// The first block of a counter or of the MAC, which end with a number.
    fn first_block(&self, flags: usize, number: usize) -> Bytes {
        let mut block = [0; BLOCK];
        let width = BLOCK - 1 - self.nonce.len();
        let number = (number as u64).to_be_bytes();
        for (byte, digit) in block.iter_mut().rev().take(width).zip(number.iter().rev()) {
            *byte = *digit;
        }
        if let Some((first, rest)) = block.split_first_mut() {
            *first = u8::try_from(flags | (width - 1)).unwrap_or_default();
            if let Some(nonce) = rest.get_mut(..self.nonce.len()) {
                nonce.copy_from_slice(&self.nonce);
            }
        }
        block
    }

    fn mac(&self, data: &[u8]) -> Bytes {
        let flags =
            (8 * (self.tag_length - 2) / 2) | (usize::from(!self.additional.is_empty()) << 6);
        let mut state = self.first_block(flags, data.len());
        self.cipher.encrypt(&mut state);
        let mut framed = Vec::with_capacity(self.additional.len() + 10);
        if let Ok(length) = u16::try_from(self.additional.len())
            && length < 0xff00
        {
            if length > 0 {
                framed.extend_from_slice(&length.to_be_bytes());
            }
        } else {
            framed.extend_from_slice(&[0xff, 0xfe]);
            let length = u32::try_from(self.additional.len()).unwrap_or(u32::MAX);
            framed.extend_from_slice(&length.to_be_bytes());
        }
        framed.extend_from_slice(&self.additional);
        for block in framed.chunks(BLOCK).chain(data.chunks(BLOCK)) {
            xor(&mut state, block);
            self.cipher.encrypt(&mut state);
        }
        let mut mask = self.first_block(0, 0);
        self.cipher.encrypt(&mut mask);
        xor(&mut state, &mask);
        state
    }

    fn stream(&mut self, data: &mut [u8]) {
        let mut counter = self.first_block(0, 1);
        for piece in data.chunks_mut(BLOCK) {
            let mut stream = counter;
            self.cipher.encrypt(&mut stream);
            xor(piece, &stream);
            super::block::increment(&mut counter, BLOCK - 1 - self.nonce.len());
        }
    }

    /// Transforms all data in place.
    pub fn apply(&mut self, data: &mut [u8], encrypts: bool) {
        if encrypts {
            self.tag = Some(self.mac(data));
            self.stream(data);
        } else {
            self.stream(data);
            self.tag = Some(self.mac(data));
        }
    }

    /// Whether data came.
    pub fn done(&self) -> bool {
        self.tag.is_some()
    }

    /// The whole tag.
    pub fn tag(&self) -> Bytes {
        self.tag.unwrap_or_else(|| self.mac(&[]))
    }
}

/// OCB: block by block.
pub struct Ocb {
    cipher: Box<dyn Block>,
    /// `L_*`, `L_$`, `L_0` and so on.
    star: Bytes,
    dollar: Bytes,
    doubles: Vec<Bytes>,
    offset: Bytes,
    checksum: Bytes,
    blocks: u64,
    held: Vec<u8>,
    additional: Vec<u8>,
    additional_offset: Bytes,
    additional_sum: Bytes,
    additional_blocks: u64,
}

fn double(mut block: Bytes) -> Bytes {
    let carry = block.first().copied().unwrap_or_default() >> 7;
    let value = (u128::from_be_bytes(block) << 1) ^ (u128::from(carry) * 0x87);
    block.copy_from_slice(&value.to_be_bytes());
    block
}

impl Ocb {
    pub fn new(cipher: Box<dyn Block>, nonce: &[u8], tag_length: usize) -> Self {
        let mut star = [0; BLOCK];
        cipher.encrypt(&mut star);
        let dollar = double(star);
        let mut top = [0; BLOCK];
        if let Some(place) = top.get_mut(BLOCK - nonce.len()..) {
            place.copy_from_slice(nonce);
        }
        if let Some(byte) = top.get_mut(BLOCK - 1 - nonce.len()) {
            *byte |= 1;
        }
        if let Some(first) = top.first_mut() {
            *first |= u8::try_from(tag_length * 8 % 128).unwrap_or_default() << 1;
        }
        let bottom = top.last().copied().unwrap_or_default() & 0x3f;
        if let Some(last) = top.last_mut() {
            *last &= 0xc0;
        }
        cipher.encrypt(&mut top);
        let whole = u128::from_be_bytes(top);
        let mixed = (whole >> 64) ^ (whole >> 56 & u128::from(u64::MAX));
        let low = u64::try_from(mixed & u128::from(u64::MAX)).unwrap_or_default();
        let offset = match u32::from(bottom) {
            0 => whole,
            bottom => whole << bottom | u128::from(low) >> (64 - bottom),
        };
        Self {
            cipher,
            star,
            dollar,
            doubles: Vec::new(),
            offset: offset.to_be_bytes(),
            checksum: [0; BLOCK],
            blocks: 0,
            held: Vec::new(),
            additional: Vec::new(),
            additional_offset: [0; BLOCK],
            additional_sum: [0; BLOCK],
            additional_blocks: 0,
        }
    }

    /// `L` of as many zeros as a number ends with.
    fn l(&mut self, number: u64) -> Bytes {
        let zeros = number.trailing_zeros() as usize;
        while self.doubles.len() <= zeros {
            let last = self.doubles.last().copied().unwrap_or(self.dollar);
            self.doubles.push(double(last));
        }
        self.doubles.get(zeros).copied().unwrap_or_default()
    }

    pub fn additional(&mut self, data: &[u8]) {
        self.additional.extend_from_slice(data);
        let all = std::mem::take(&mut self.additional);
        let (blocks, rest) = all.as_chunks::<BLOCK>();
        for block in blocks {
            self.additional_blocks += 1;
            let l = self.l(self.additional_blocks);
            xor(&mut self.additional_offset, &l);
            let mut block = *block;
            xor(&mut block, &self.additional_offset);
            self.cipher.encrypt(&mut block);
            xor(&mut self.additional_sum, &block);
        }
        self.additional = rest.to_vec();
    }

    /// Takes data, and leaves there what is whole by now.
    pub fn apply(&mut self, data: &mut Vec<u8>, encrypts: bool) {
        let mut whole = std::mem::take(&mut self.held);
        whole.append(data);
        self.held = whole.split_off(whole.len() - whole.len() % BLOCK);
        let (blocks, _) = whole.as_chunks_mut::<BLOCK>();
        for block in blocks {
            self.blocks += 1;
            let l = self.l(self.blocks);
            xor(&mut self.offset, &l);
            if encrypts {
                xor(&mut self.checksum, block);
                xor(block, &self.offset);
                self.cipher.encrypt(block);
                xor(block, &self.offset);
            } else {
                xor(block, &self.offset);
                self.cipher.decrypt(block);
                xor(block, &self.offset);
                xor(&mut self.checksum, block);
            }
        }
        *data = whole;
    }

    /// The rest of the data, and the whole tag.
    pub fn finish(mut self, encrypts: bool) -> (Vec<u8>, Bytes) {
        /// What follows the end of data.
        fn pad(sum: &mut Bytes, rest: &[u8]) {
            xor(sum, rest);
            if let Some(byte) = sum.get_mut(rest.len()) {
                *byte ^= 0x80;
            }
        }
        let mut rest = std::mem::take(&mut self.held);
        if !rest.is_empty() {
            xor(&mut self.offset, &self.star);
            let mut stream = self.offset;
            self.cipher.encrypt(&mut stream);
            if encrypts {
                pad(&mut self.checksum, &rest);
            }
            xor(&mut rest, &stream);
            if !encrypts {
                pad(&mut self.checksum, &rest);
            }
        }
        if !self.additional.is_empty() {
            xor(&mut self.additional_offset, &self.star);
            let mut block = self.additional_offset;
            pad(&mut block, &self.additional);
            self.cipher.encrypt(&mut block);
            xor(&mut self.additional_sum, &block);
        }
        let mut tag = self.checksum;
        xor(&mut tag, &self.offset);
        xor(&mut tag, &self.dollar);
        self.cipher.encrypt(&mut tag);
        xor(&mut tag, &self.additional_sum);
        (rest, tag)
    }
}

/// ChaCha20 with a counter before the nonce, as OpenSSL's IV has it.
pub struct ChaCha {
    stream: chacha20::ChaCha20,
}

impl ChaCha {
    /// `None` for a key or an IV of a wrong length.
    pub fn new(key: &[u8], iv: &[u8]) -> Option<Self> {
        let (counter, nonce) = iv.split_first_chunk::<4>()?;
        let mut stream = chacha20::ChaCha20::new_from_slices(key, nonce).ok()?;
        let counter = u64::from(u32::from_le_bytes(*counter));
        stream.try_seek(counter * 64).ok()?;
        Some(Self { stream })
    }
}

impl Transform for ChaCha {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        self.stream.try_apply_keystream(data).is_ok()
    }
}

/// ChaCha20-Poly1305: a stream.
pub struct ChaChaPoly {
    stream: ChaCha,
    hash: Poly1305,
    pending: Vec<u8>,
    additional: u64,
    length: u64,
    started: bool,
}

impl ChaChaPoly {
    /// `None` for a key or a nonce of a wrong length.
    pub fn new(key: &[u8], nonce: &[u8]) -> Option<Self> {
        let mut iv = vec![0; 4];
        iv.extend_from_slice(nonce);
        let mut stream = ChaCha::new(key, &iv)?;
        let mut first = [0; 64];
        stream.apply(&mut first);
        let hash = Poly1305::new_from_slice(first.get(..32)?).ok()?;
        Some(Self {
            stream,
            hash,
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
    pub fn tag(mut self) -> Bytes {
        self.pad();
        let mut lengths = [0; BLOCK];
        let (first, second) = lengths.split_at_mut(8);
        first.copy_from_slice(&self.additional.to_le_bytes());
        second.copy_from_slice(&self.length.to_le_bytes());
        self.hash.update(&[lengths.into()]);
        self.hash.finalize().into()
    }
}

/// The counter of GCM for ciphers that have no faster one.
pub fn counter_stream(cipher: Box<dyn Block>, counter: &[u8]) -> Box<dyn Transform> {
    Box::new(KeyStream::new(cipher, counter, Some(4)))
}
