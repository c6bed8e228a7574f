//! Session tickets, sealed with keys that servers can share.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use sha2::{Digest, Sha256};

/// Bytes of the keys that Node shows.
pub const KEY_BYTES: usize = 48;
/// Bytes of the name that a ticket begins with.
const NAME_BYTES: usize = 16;
const TIME_BYTES: usize = 8;

/// New keys.
pub fn random_keys() -> Option<[u8; KEY_BYTES]> {
    let mut keys = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut keys).ok()?;
    Some(keys)
}

/// Seals tickets and opens them.
pub struct Ticketer {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
    lifetime: u32,
    clock: Arc<dyn TimeProvider>,
}

impl std::fmt::Debug for Ticketer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ticketer")
    }
}

impl Ticketer {
    /// With keys as Node gives them: a name and secrets.
    pub fn new(
        keys: &[u8; KEY_BYTES],
        lifetime: u32,
        clock: Arc<dyn TimeProvider>,
    ) -> Option<Self> {
        let (name, secret) = keys.split_at_checked(NAME_BYTES)?;
        let key = UnboundKey::new(&AES_256_GCM, &Sha256::digest(secret)).ok()?;
        Some(Self {
            name: name.try_into().ok()?,
            key: LessSafeKey::new(key),
            lifetime,
            clock,
        })
    }

    fn now(&self) -> Option<u64> {
        Some(self.clock.current_time()?.as_secs())
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = self.now()?.to_be_bytes().to_vec();
        sealed.extend_from_slice(plain);
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.name),
                &mut sealed,
            )
            .ok()?;
        let mut ticket = self.name.to_vec();
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        if name != self.name {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce.try_into().ok()?);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(self.name), &mut sealed)
            .ok()?;
        let (time, plain) = plain.split_at_checked(TIME_BYTES)?;
        let age = self
            .now()?
            .checked_sub(u64::from_be_bytes(time.try_into().ok()?))?;
        (age <= u64::from(self.lifetime)).then(|| plain.to_vec())
    }
}
