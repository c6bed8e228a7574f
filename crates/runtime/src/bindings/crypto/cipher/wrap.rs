//! Key wrapping with a block cipher (RFC 3394), also of keys of any length (RFC 5649).

use subtle::ConstantTimeEq;

use super::block::Block;

/// Bytes of a half of a block.
const HALF: usize = 8;
/// The IV where none is given.
pub const DEFAULT_IV: [u8; HALF] = [0xa6; HALF];

/// `data` behind the IV, six times over.
fn wrap_halves(cipher: &dyn Block, iv: [u8; HALF], data: &[u8]) -> Vec<u8> {
    let (halves, _) = data.as_chunks::<HALF>();
    let mut halves = halves.to_vec();
    let mut state = iv;
    let mut count = 0_u64;
    for _ in 0..6 {
        for half in &mut halves {
            count += 1;
            let mut block = [state, *half].concat();
            cipher.encrypt(&mut block);
            if let Some((first, second)) = block.split_first_chunk::<HALF>()
                && let Ok(second) = second.try_into()
            {
                state = (u64::from_be_bytes(*first) ^ count).to_be_bytes();
                *half = second;
            }
        }
    }
    [state.to_vec(), halves.concat()].concat()
}

/// The IV and the data in what [`wrap_halves`] made.
fn unwrap_halves(cipher: &dyn Block, data: &[u8]) -> Option<([u8; HALF], Vec<u8>)> {
    let (halves, _) = data.as_chunks::<HALF>();
    let (state, halves) = halves.split_first()?;
    let (mut state, mut halves) = (*state, halves.to_vec());
    let mut count = u64::try_from(halves.len() * 6).ok()?;
    for _ in 0..6 {
        for half in halves.iter_mut().rev() {
            let first = (u64::from_be_bytes(state) ^ count).to_be_bytes();
            let mut block = [first, *half].concat();
            cipher.decrypt(&mut block);
            let (first, second) = block.split_first_chunk::<HALF>()?;
            state = *first;
            *half = second.try_into().ok()?;
            count -= 1;
        }
    }
    Some((state, halves.concat()))
}

/// A wrapped key; `None` for one that is not made of at least two halves.
pub fn wrap(cipher: &dyn Block, iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    if !data.len().is_multiple_of(HALF) || data.len() < 2 * HALF {
        return None;
    }
    Some(wrap_halves(cipher, iv.try_into().ok()?, data))
}

/// The key in a wrapped one; `None` if it was changed.
pub fn unwrap(cipher: &dyn Block, iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    if !data.len().is_multiple_of(HALF) || data.len() < 3 * HALF {
        return None;
    }
    let (found, key) = unwrap_halves(cipher, data)?;
    bool::from(found.ct_eq(iv)).then_some(key)
}

/// A wrapped key of any length but none.
pub fn wrap_padded(cipher: &dyn Block, iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    if data.is_empty() {
        return None;
    }
    let length = u32::try_from(data.len()).ok()?.to_be_bytes();
    let first: [u8; HALF] = [iv, &length].concat().try_into().ok()?;
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(HALF), 0);
    if padded.len() == HALF {
        let mut block = [first.to_vec(), padded].concat();
        cipher.encrypt(&mut block);
        return Some(block);
    }
    Some(wrap_halves(cipher, first, &padded))
}

/// The key of any length in a wrapped one; `None` if it was changed.
pub fn unwrap_padded(cipher: &dyn Block, iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    if !data.len().is_multiple_of(HALF) || data.len() < 2 * HALF {
        return None;
    }
    let (first, mut key) = if data.len() == 2 * HALF {
        let mut block = data.to_vec();
        cipher.decrypt(&mut block);
        let (first, key) = block.split_first_chunk::<HALF>()?;
        (*first, key.to_vec())
    } else {
        unwrap_halves(cipher, data)?
    };
    let (found, length) = first.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let padding = key.get(length..)?;
    let good = bool::from(found.ct_eq(iv))
        && padding.len() < HALF
        && padding.iter().all(|byte| *byte == 0);
    key.truncate(length);
    good.then_some(key)
}
