//! Bytes of a regular file.
//!
//! ```text
//!   Shared  Arc<[u8]>, many VMs look at it; costs the VM nothing until it writes
//!   Dense   Vec<u8>, the VM's own
//!   Sparse  chunks of 16 KiB by number; a missing chunk reads as zeros and costs nothing
//! ```
//!
//! A write first asks `fit` how much of it the byte quota allows, so that nothing is allocated that is not paid for.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest file; what ext4 allows.
pub(crate) const MAX_FILE_SIZE: u64 = 16 << 40;
const CHUNK: u64 = 16 << 10;
const CHUNK_LEN: usize = CHUNK as usize;
/// Sizes of memory that is kept for the next file: the system gives smaller pieces quickly, and larger ones are too much
/// to keep.
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=4 << 20;
/// A hole longer than this makes the file sparse; a shorter one is filled with zeros.
const HOLE_MIN: u64 = 64 << 10;

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Shared(Arc<[u8]>),
    Dense(Vec<u8>),
    Sparse(Sparse),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sparse {
    len: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

fn chunk_of(offset: u64) -> (u64, usize) {
    (offset / CHUNK, (offset % CHUNK) as usize)
}

fn chunks_covering(len: u64) -> u64 {
    len.div_ceil(CHUNK)
}

fn copy_at(source: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(source.len());
    let tail = source.get(start..).unwrap_or(&[]);
    let n = tail.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..n), tail.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Content {
        Content::Dense(bytes)
    }
}

impl Content {
    pub const fn empty() -> Content {
        Content::Dense(Vec::new())
    }

    pub fn len(&self) -> u64 {
        match self {
            Content::Shared(bytes) => bytes.len() as u64,
            Content::Dense(bytes) => bytes.len() as u64,
            Content::Sparse(sparse) => sparse.len,
        }
    }

    /// Bytes that count against the VM.
    pub fn charge(&self) -> u64 {
        match self {
            Content::Shared(_) => 0,
            Content::Dense(bytes) => bytes.len() as u64,
            Content::Sparse(sparse) => sparse.chunks.len() as u64 * CHUNK,
        }
    }

    /// Bytes that are there, for `st_blocks`.
    pub fn allocated(&self) -> u64 {
        match self {
            Content::Shared(_) | Content::Dense(_) => self.len(),
            Content::Sparse(_) => self.charge(),
        }
    }

    /// The memory of a file that is about to be cut to nothing, if it is large enough to be worth using again.
    pub fn take_memory(&mut self) -> Option<Vec<u8>> {
        match self {
            Content::Dense(bytes) if SPARE_BYTES.contains(&bytes.capacity()) => {
                let mut memory = std::mem::take(bytes);
                memory.clear();
                Some(memory)
            }
            _ => None,
        }
    }

    /// Gives a file without bytes memory for the `len` bytes to come, if `memory` is neither too small nor far too large.
    pub fn give_memory(&mut self, memory: &mut Option<Vec<u8>>, len: usize) {
        if let Content::Dense(bytes) = self
            && bytes.capacity() == 0
            && let Some(spare) = memory
            && (spare.capacity() / 2..=spare.capacity()).contains(&len)
        {
            *bytes = std::mem::take(spare);
            *memory = None;
        }
    }

    fn turns_sparse(&self, start: u64) -> bool {
        !matches!(self, Content::Sparse(_)) && start > self.len().saturating_add(HOLE_MIN)
    }

    /// How many of `len` bytes can be written at `offset` when the charge may grow to `limit`, and the charge then.
    pub fn fit(&self, offset: u64, len: usize, limit: u64) -> (usize, u64) {
        let len = len as u64;
        let (fits, charge) = match self {
            Content::Sparse(sparse) => fit_chunks(offset, len, limit, self.charge(), |n| {
                sparse.chunks.contains_key(&n)
            }),
            Content::Shared(_) | Content::Dense(_) if self.turns_sparse(offset) => {
                let mine = chunks_covering(self.len());
                fit_chunks(offset, len, limit, mine * CHUNK, |n| n < mine)
            }
            Content::Shared(_) | Content::Dense(_) => {
                let room = limit.saturating_sub(offset).min(len);
                let charge = self.len().max(offset + room);
                if charge > limit {
                    (0, self.charge())
                } else {
                    (room, charge)
                }
            }
        };
        (usize::try_from(fits).unwrap_or(usize::MAX), charge)
    }

    /// Writes; the caller has asked `fit`.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if self.turns_sparse(offset) {
            self.make_sparse();
        }
        if let Content::Sparse(sparse) = self {
            sparse.write(offset, data);
            return;
        }
        let Some(bytes) = self.make_dense() else {
            return;
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(data.len());
        reserve(bytes, end);
        if start >= bytes.len() {
            bytes.resize(start, 0);
            bytes.extend_from_slice(data);
            return;
        }
        let inside = bytes.len().min(end) - start;
        let (over, rest) = data.split_at(inside.min(data.len()));
        if let Some(to) = bytes.get_mut(start..start + over.len()) {
            to.copy_from_slice(over);
        }
        bytes.extend_from_slice(rest);
    }

    /// The charge after `truncate`.
    pub fn charge_of_truncate(&self, len: u64) -> u64 {
        match self {
            Content::Shared(_) if len == self.len() => 0,
            Content::Shared(_) | Content::Dense(_) if self.turns_sparse(len) => {
                chunks_covering(self.len()) * CHUNK
            }
            Content::Shared(_) | Content::Dense(_) => len,
            Content::Sparse(sparse) => {
                sparse.chunks.range(..chunks_covering(len)).count() as u64 * CHUNK
            }
        }
    }

    /// Cuts or extends with zeros.
    pub fn truncate(&mut self, len: u64) {
        if len == self.len() {
            return;
        }
        if len == 0 {
            *self = Content::empty();
            return;
        }
        if self.turns_sparse(len) {
            self.make_sparse();
        }
        if let Content::Sparse(sparse) = self {
            sparse.truncate(len);
            return;
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if let Content::Shared(bytes) = self {
            let keep = bytes.get(..len.min(bytes.len())).unwrap_or(&[]);
            *self = Content::Dense(keep.to_vec());
        }
        let Some(bytes) = self.make_dense() else {
            return;
        };
        if len < bytes.len() {
            bytes.truncate(len);
            if bytes.capacity() > len.saturating_mul(2).max(4096) {
                bytes.shrink_to_fit();
            }
        } else {
            reserve(bytes, len);
            bytes.resize(len, 0);
        }
    }

    /// Copies what is at `offset` into `buf`; 0 at or after the end.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        match self {
            Content::Shared(bytes) => copy_at(bytes, offset, buf),
            Content::Dense(bytes) => copy_at(bytes, offset, buf),
            Content::Sparse(sparse) => sparse.read(offset, buf),
        }
    }

    /// The bytes as the VM's own, unless the contents are sparse.
    fn make_dense(&mut self) -> Option<&mut Vec<u8>> {
        if let Content::Shared(bytes) = self {
            *self = Content::Dense(bytes.to_vec());
        }
        match self {
            Content::Dense(bytes) => Some(bytes),
            Content::Shared(_) | Content::Sparse(_) => None,
        }
    }

    fn make_sparse(&mut self) {
        let bytes: &[u8] = match self {
            Content::Shared(bytes) => bytes,
            Content::Dense(bytes) => bytes,
            Content::Sparse(_) => return,
        };
        let mut sparse = Sparse {
            len: bytes.len() as u64,
            chunks: BTreeMap::new(),
        };
        for (number, part) in (0u64..).zip(bytes.chunks(CHUNK_LEN)) {
            sparse.write_in_chunk(number, 0, part);
        }
        *self = Content::Sparse(sparse);
    }
}

/// Room for `end` bytes with at most an eighth of slack, so that appends stay cheap and memory near what is charged.
fn reserve(bytes: &mut Vec<u8>, end: usize) {
    if end > bytes.capacity() {
        let target = if bytes.is_empty() {
            end
        } else {
            end.saturating_add(end / 8)
        };
        bytes.reserve_exact(target - bytes.len());
    }
}

fn fit_chunks(
    offset: u64,
    len: u64,
    limit: u64,
    mut charge: u64,
    present: impl Fn(u64) -> bool,
) -> (u64, u64) {
    if charge > limit {
        return (0, charge);
    }
    let end = offset.saturating_add(len);
    let mut at = offset;
    while at < end {
        let (number, _) = chunk_of(at);
        if !present(number) {
            if charge.saturating_add(CHUNK) > limit {
                break;
            }
            charge += CHUNK;
        }
        at = ((number + 1) * CHUNK).min(end);
    }
    (at - offset, charge)
}

impl Sparse {
    fn write_in_chunk(&mut self, number: u64, within: usize, data: &[u8]) {
        let chunk = self
            .chunks
            .entry(number)
            .or_insert_with(|| vec![0; CHUNK_LEN].into_boxed_slice());
        if let Some(to) = chunk.get_mut(within..within + data.len()) {
            to.copy_from_slice(data);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let (number, within) = chunk_of(at);
            let (now, later) = rest.split_at(rest.len().min(CHUNK_LEN - within));
            self.write_in_chunk(number, within, now);
            at += now.len() as u64;
            rest = later;
        }
        self.len = self.len.max(at);
    }

    fn truncate(&mut self, len: u64) {
        if len < self.len {
            self.chunks.split_off(&chunks_covering(len));
            let (number, within) = chunk_of(len);
            if let Some(tail) = self
                .chunks
                .get_mut(&number)
                .and_then(|c| c.get_mut(within..))
            {
                tail.fill(0);
            }
        }
        self.len = len;
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let n = usize::try_from(self.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let mut rest = buf.get_mut(..n).unwrap_or(&mut []);
        let mut at = offset;
        while !rest.is_empty() {
            let (number, within) = chunk_of(at);
            let take = rest.len().min(CHUNK_LEN - within);
            let (now, later) = rest.split_at_mut(take);
            match self
                .chunks
                .get(&number)
                .and_then(|c| c.get(within..within + take))
            {
                Some(from) => now.copy_from_slice(from),
                None => now.fill(0),
            }
            at += take as u64;
            rest = later;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: &Content) -> Vec<u8> {
        let mut out = vec![0; content.len() as usize];
        assert_eq!(content.read(0, &mut out), out.len());
        out
    }

    #[test]
    fn memory_is_used_again_where_it_fits() {
        let mut file = Content::empty();
        file.write(0, &[7; 100 << 10]);
        let mut spare = file.take_memory();
        assert_eq!(file.len(), 0);
        let capacity = spare.as_ref().map(Vec::capacity);
        assert!(capacity >= Some(100 << 10));

        let mut other = Content::empty();
        other.give_memory(&mut spare, 10);
        assert!(spare.is_some(), "ten bytes do not need it");
        other.give_memory(&mut spare, 90 << 10);
        assert!(spare.is_none());
        other.write(0, &[1; 90 << 10]);
        let mut bytes = vec![0; 100 << 10];
        assert_eq!(other.read(0, &mut bytes), 90 << 10);
        assert!(bytes[..90 << 10].iter().all(|byte| *byte == 1));
        other.write(95 << 10, b"x");
        assert_eq!(other.read(90 << 10, &mut bytes[..5 << 10]), 5 << 10);
        assert!(bytes[..5 << 10].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn writes_leave_the_shared_bytes_alone() {
        let shared: Arc<[u8]> = Arc::from(&b"hello"[..]);
        let mut content = Content::Shared(shared.clone());
        assert_eq!(content.charge(), 0);
        assert_eq!(content.fit(1, 3, 100), (3, 5));
        content.write(1, b"ipp");
        assert_eq!(all(&content), b"hippo");
        assert_eq!(&*shared, b"hello");
        content.truncate(2);
        assert_eq!(all(&content), b"hi");
    }

    #[test]
    fn holes() {
        let mut content = Content::empty();
        content.write(0, b"a");
        content.write(10, b"b");
        assert_eq!(all(&content), b"a\0\0\0\0\0\0\0\0\0b");
        content.write(1 << 40, b"far");
        assert_eq!(content.len(), (1 << 40) + 3);
        assert_eq!(content.charge(), 2 * CHUNK);
        let mut buf = [9; 5];
        assert_eq!(content.read((1 << 40) - 2, &mut buf), 5);
        assert_eq!(&buf, b"\0\0far");
        assert_eq!(content.read(10, &mut buf), 5);
        assert_eq!(&buf, b"b\0\0\0\0");
        assert_eq!(content.charge_of_truncate(5), CHUNK);
        content.truncate(5);
        assert_eq!(content.charge(), CHUNK);
        content.truncate(12);
        assert_eq!(all(&content), b"a\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn fit_tells_the_charge_that_write_makes() {
        for first in [0u64, 10, 70_000, 1 << 30] {
            for second in [0u64, 5, 40_000, 200_000, 1 << 33] {
                let mut content = Content::empty();
                for offset in [first, second] {
                    let data = vec![1; 50_000];
                    let (n, charge) = content.fit(offset, data.len(), u64::MAX);
                    assert_eq!(n, data.len());
                    content.write(offset, &data);
                    assert_eq!(content.charge(), charge, "{first} {second}");
                }
                for len in [0, 3, 50_000, 100_000, 1 << 31] {
                    let mut cut = content.clone();
                    let charge = cut.charge_of_truncate(len);
                    cut.truncate(len);
                    assert_eq!((cut.charge(), cut.len()), (charge, len));
                }
            }
        }
    }

    #[test]
    fn partial_fit() {
        let content = Content::empty();
        assert_eq!(content.fit(0, 10, 4), (4, 4));
        assert_eq!(content.fit(5, 10, 4), (0, 0));
        let mut sparse = Content::empty();
        sparse.truncate(1 << 30);
        assert_eq!(sparse.charge(), 0);
        assert_eq!(sparse.fit(CHUNK - 1, 100, CHUNK), (1, CHUNK));
        assert_eq!(sparse.fit(0, 100, CHUNK - 1), (0, 0));
    }
}
