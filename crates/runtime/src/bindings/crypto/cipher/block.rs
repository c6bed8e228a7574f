//! Block ciphers behind one interface, and the modes that need no more of them than that.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};

use super::modes::Transform;

/// A block cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Aes,
    Aria,
    Camellia,
    Sm4,
    /// Triple DES with two or three keys.
    Des,
}

/// A block cipher with its key.
pub trait Block: Send {
    /// Bytes of a block.
    fn size(&self) -> usize;
    /// Encrypts one block; bytes beyond it stay.
    fn encrypt(&self, block: &mut [u8]);
    /// Decrypts one block; bytes beyond it stay.
    fn decrypt(&self, block: &mut [u8]);
}

impl<C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser + Send> Block for C {
    fn size(&self) -> usize {
        C::block_size()
    }

    fn encrypt(&self, block: &mut [u8]) {
        if let Some(block) = block.get_mut(..C::block_size())
            && let Ok(block) = block.try_into()
        {
            self.encrypt_block(block);
        }
    }

    fn decrypt(&self, block: &mut [u8]) {
        if let Some(block) = block.get_mut(..C::block_size())
            && let Ok(block) = block.try_into()
        {
            self.decrypt_block(block);
        }
    }
}

fn keyed<C: Block + KeyInit + 'static>(key: &[u8]) -> Option<Box<dyn Block>> {
    Some(Box::new(C::new_from_slice(key).ok()?))
}

impl Algorithm {
    /// The cipher with a key; `None` for one of a wrong length.
    pub fn with_key(self, key: &[u8]) -> Option<Box<dyn Block>> {
        match (self, key.len()) {
            (Self::Aes, 16) => keyed::<aes::Aes128>(key),
            (Self::Aes, 24) => keyed::<aes::Aes192>(key),
            (Self::Aes, 32) => keyed::<aes::Aes256>(key),
            (Self::Aria, 16) => keyed::<aria::Aria128>(key),
            (Self::Aria, 24) => keyed::<aria::Aria192>(key),
            (Self::Aria, 32) => keyed::<aria::Aria256>(key),
            (Self::Camellia, 16) => keyed::<camellia::Camellia128>(key),
            (Self::Camellia, 24) => keyed::<camellia::Camellia192>(key),
            (Self::Camellia, 32) => keyed::<camellia::Camellia256>(key),
            (Self::Sm4, 16) => keyed::<sm4::Sm4>(key),
            (Self::Des, 16) => keyed::<des::TdesEde2>(key),
            (Self::Des, 24) => keyed::<des::TdesEde3>(key),
            _ => None,
        }
    }
}

/// Xors as many bytes as both have.
pub fn xor(target: &mut [u8], other: &[u8]) {
    for (byte, other) in target.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// Each block by itself.
pub struct Ecb {
    pub cipher: Box<dyn Block>,
    pub encrypts: bool,
}

impl Transform for Ecb {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        for block in data.chunks_exact_mut(self.cipher.size()) {
            if self.encrypts {
                self.cipher.encrypt(block);
            } else {
                self.cipher.decrypt(block);
            }
        }
        true
    }
}

/// Each block mixed with the one before.
pub struct Cbc {
    pub cipher: Box<dyn Block>,
    pub encrypts: bool,
    pub last: Vec<u8>,
}

impl Transform for Cbc {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        for block in data.chunks_exact_mut(self.cipher.size()) {
            if self.encrypts {
                xor(block, &self.last);
                self.cipher.encrypt(block);
                self.last.copy_from_slice(block);
            } else {
                let next = block.to_vec();
                self.cipher.decrypt(block);
                xor(block, &self.last);
                self.last = next;
            }
        }
        true
    }
}

/// A key stream from the cipher text before it: of a block, a byte or a bit.
pub struct Cfb {
    pub cipher: Box<dyn Block>,
    pub encrypts: bool,
    /// The last block of cipher text.
    pub register: Vec<u8>,
    /// Bits of a step: those of a block, eight or one.
    pub step: usize,
    /// What is left of the key stream of a block, and how many bytes of it are used up.
    pub stream: Vec<u8>,
    pub used: usize,
}

impl Cfb {
    fn key_stream(&self) -> Vec<u8> {
        let mut stream = self.register.clone();
        self.cipher.encrypt(&mut stream);
        stream
    }

    fn shift_byte(&mut self, byte: u8) {
        self.register.rotate_left(1);
        if let Some(last) = self.register.last_mut() {
            *last = byte;
        }
    }

    fn shift_bit(&mut self, bit: u8) {
        let mut carry = bit;
        for byte in self.register.iter_mut().rev() {
            let next = *byte >> 7;
            *byte = *byte << 1 | carry;
            carry = next;
        }
    }

    fn byte(&mut self, byte: &mut u8) {
        let stream = self.key_stream();
        let input = *byte;
        *byte ^= stream.first().copied().unwrap_or_default();
        self.shift_byte(if self.encrypts { *byte } else { input });
    }

    fn bits(&mut self, byte: &mut u8) {
        let input = *byte;
        let mut output = 0;
        for at in (0..8).rev() {
            let stream = self.key_stream().first().copied().unwrap_or_default() >> 7;
            let bit = input >> at & 1;
            let result = bit ^ stream;
            output |= result << at;
            self.shift_bit(if self.encrypts { result } else { bit });
        }
        *byte = output;
    }

    fn block(&mut self, byte: &mut u8) {
        if self.used == self.stream.len() {
            self.stream = self.key_stream();
            self.used = 0;
        }
        let input = *byte;
        *byte ^= self.stream.get(self.used).copied().unwrap_or_default();
        if let Some(register) = self.register.get_mut(self.used) {
            *register = if self.encrypts { *byte } else { input };
        }
        self.used += 1;
    }
}

impl Transform for Cfb {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        for byte in data {
            match self.step {
                1 => self.bits(byte),
                8 => self.byte(byte),
                _ => self.block(byte),
            }
        }
        true
    }
}

/// A key stream of the cipher alone: from a counter, or from itself.
pub struct KeyStream {
    pub cipher: Box<dyn Block>,
    /// The counter, or the last piece of the stream.
    pub state: Vec<u8>,
    /// Bytes of the counter; `None` for a stream from itself.
    pub counter: Option<usize>,
    /// What is left of the stream, and how many bytes of it are used up.
    pub stream: Vec<u8>,
    pub used: usize,
}

impl KeyStream {
    pub fn new(cipher: Box<dyn Block>, iv: &[u8], counter: Option<usize>) -> Self {
        Self {
            cipher,
            state: iv.to_vec(),
            counter,
            stream: Vec::new(),
            used: 0,
        }
    }

    fn next(&mut self) {
        self.stream.clone_from(&self.state);
        self.cipher.encrypt(&mut self.stream);
        self.used = 0;
        match self.counter {
            None => self.state.clone_from(&self.stream),
            Some(width) => increment(&mut self.state, width),
        }
    }
}

/// Adds one to the last bytes of a block.
pub fn increment(block: &mut [u8], width: usize) {
    for byte in block.iter_mut().rev().take(width) {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
}

impl Transform for KeyStream {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        for byte in data {
            if self.used == self.stream.len() {
                self.next();
            }
            *byte ^= self.stream.get(self.used).copied().unwrap_or_default();
            self.used += 1;
        }
        true
    }
}

/// XTS (IEEE 1619): each piece of data is a unit of its own.
pub struct Xts {
    pub cipher: Box<dyn Block>,
    pub tweaks: Box<dyn Block>,
    pub encrypts: bool,
    pub iv: Vec<u8>,
}

/// Doubles a number of GF(2^128) whose lowest byte comes first.
fn double_little(tweak: &mut [u8]) {
    let mut carry = 0;
    for byte in tweak.iter_mut() {
        let next = *byte >> 7;
        *byte = *byte << 1 | carry;
        carry = next;
    }
    if let Some(first) = tweak.first_mut() {
        *first ^= 0x87 * carry;
    }
}

impl Xts {
    fn one(&self, block: &mut [u8], tweak: &[u8]) {
        xor(block, tweak);
        if self.encrypts {
            self.cipher.encrypt(block);
        } else {
            self.cipher.decrypt(block);
        }
        xor(block, tweak);
    }
}

impl Transform for Xts {
    fn apply(&mut self, data: &mut [u8]) -> bool {
        let size = self.cipher.size();
        if data.is_empty() {
            return true;
        }
        if data.len() < size {
            return false;
        }
        let rest = data.len() % size;
        let mut tweak = self.iv.clone();
        self.tweaks.encrypt(&mut tweak);
        // With a rest, the last whole block is the rest's.
        let whole = data.len() / size - usize::from(rest != 0);
        let (blocks, tail) = data.split_at_mut(whole * size);
        for block in blocks.chunks_exact_mut(size) {
            self.one(block, &tweak);
            double_little(&mut tweak);
        }
        if tail.len() <= size {
            return true;
        }
        let mut next = tweak.clone();
        double_little(&mut next);
        let (first, second) = if self.encrypts {
            (tweak, next)
        } else {
            (next, tweak)
        };
        let (block, rest) = tail.split_at_mut(size);
        self.one(block, &first);
        for (byte, other) in block.iter_mut().zip(rest.iter_mut()) {
            std::mem::swap(byte, other);
        }
        self.one(block, &second);
        true
    }
}
