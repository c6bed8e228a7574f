//! The curves of RFC 7748 and RFC 8032: Ed25519 and Ed448 sign, X25519 and X448 agree on secrets.

use ed25519_dalek::{Signer, Verifier};
use pkcs8::ObjectIdentifier;
use zeroize::Zeroizing;

/// A curve with what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cfrg {
    Ed25519,
    Ed448,
    X25519,
    X448,
}

/// Each with its name in JWK, `asymmetricKeyType`, OpenSSL's number, its identifier, and the bytes of a key.
const ALL: [(Cfrg, &str, &str, i32, &str, usize); 4] = [
    (Cfrg::X25519, "X25519", "x25519", 1034, "1.3.101.110", 32),
    (Cfrg::X448, "X448", "x448", 1035, "1.3.101.111", 56),
    (Cfrg::Ed25519, "Ed25519", "ed25519", 1087, "1.3.101.112", 32),
    (Cfrg::Ed448, "Ed448", "ed448", 1088, "1.3.101.113", 57),
];

impl Cfrg {
    fn row(self) -> Option<&'static (Self, &'static str, &'static str, i32, &'static str, usize)> {
        ALL.iter().find(|(curve, ..)| *curve == self)
    }

    /// The curve of a name in JWK.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.iter()
            .find(|(_, known, ..)| *known == name)
            .map(|(curve, ..)| *curve)
    }

    /// The curve of a number of OpenSSL's.
    pub fn from_number(number: i32) -> Option<Self> {
        ALL.iter()
            .find(|(_, _, _, known, ..)| *known == number)
            .map(|(curve, ..)| *curve)
    }

    /// The curve of an identifier.
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        ALL.iter()
            .find(|(_, _, _, _, known, _)| ObjectIdentifier::new(known) == Ok(oid))
            .map(|(curve, ..)| *curve)
    }

    /// The identifier.
    pub fn oid(self) -> Option<ObjectIdentifier> {
        self.row()
            .and_then(|(_, _, _, _, oid, _)| ObjectIdentifier::new(oid).ok())
    }

    /// The name in a JWK.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |(_, name, ..)| *name)
    }

    /// `asymmetricKeyType`
    pub fn key_type(self) -> &'static str {
        self.row().map_or("", |(_, _, name, ..)| *name)
    }

    /// Bytes of either half of a key.
    pub fn size(self) -> usize {
        self.row().map_or(0, |(.., size)| *size)
    }

    /// Whether it signs.
    pub fn signs(self) -> bool {
        matches!(self, Self::Ed25519 | Self::Ed448)
    }

    /// Sets the bits that a new scalar has set and cleared.
    pub fn clamp(self, scalar: &mut [u8]) {
        let (low, high) = match self {
            Self::X25519 => (0xf8, (0x7f, 0x40)),
            Self::X448 => (0xfc, (0xff, 0x80)),
            Self::Ed25519 | Self::Ed448 => return,
        };
        if let Some(first) = scalar.first_mut() {
            *first &= low;
        }
        if let Some(last) = scalar.last_mut() {
            *last = *last & high.0 | high.1;
        }
    }

    /// The public half of a private key.
    pub fn public_of(self, private: &[u8]) -> Option<Vec<u8>> {
        Some(match self {
            Self::Ed25519 => {
                let key = ed25519_dalek::SigningKey::from_bytes(private.try_into().ok()?);
                key.verifying_key().to_bytes().to_vec()
            }
            Self::Ed448 => {
                let key = ed448_goldilocks::SigningKey::try_from(private).ok()?;
                key.verifying_key().to_bytes().to_vec()
            }
            Self::X25519 => {
                let secret = x25519_dalek::StaticSecret::from(<[u8; 32]>::try_from(private).ok()?);
                x25519_dalek::PublicKey::from(&secret).to_bytes().to_vec()
            }
            Self::X448 => {
                x448::x448(private.try_into().ok()?, x448::X448_BASEPOINT_BYTES)?.to_vec()
            }
        })
    }

    /// A signature; `None` for a curve that does not sign.
    pub fn sign(self, private: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519 => {
                let key = ed25519_dalek::SigningKey::from_bytes(private.try_into().ok()?);
                Some(key.sign(data).to_bytes().to_vec())
            }
            Self::Ed448 => {
                let key = ed448_goldilocks::SigningKey::try_from(private).ok()?;
                Some(key.sign_raw(data).to_bytes().to_vec())
            }
            Self::X25519 | Self::X448 => None,
        }
    }

    /// Whether `signature` is one of `data`.
    pub fn verify(self, public: &[u8], data: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Ed25519 => public.try_into().ok().and_then(|public| {
                let key = ed25519_dalek::VerifyingKey::from_bytes(public).ok()?;
                let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
                key.verify(data, &signature).ok()
            }),
            Self::Ed448 => <[u8; 57]>::try_from(public).ok().and_then(|public| {
                let key = ed448_goldilocks::VerifyingKey::from_bytes(&public).ok()?;
                let signature = ed448_goldilocks::Signature::from_slice(signature).ok()?;
                key.verify_raw(&signature, data).ok()
            }),
            Self::X25519 | Self::X448 => None,
        };
        verified.is_some()
    }

    /// What two keys agree on; `None` for points of a low order, and curves that sign.
    pub fn agree(self, private: &[u8], public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::X25519 => {
                let secret = x25519_dalek::StaticSecret::from(<[u8; 32]>::try_from(private).ok()?);
                let public = x25519_dalek::PublicKey::from(<[u8; 32]>::try_from(public).ok()?);
                let shared = secret.diffie_hellman(&public);
                shared
                    .was_contributory()
                    .then(|| Zeroizing::new(shared.to_bytes().to_vec()))
            }
            Self::X448 => {
                let shared = x448::x448(private.try_into().ok()?, public.try_into().ok()?)?;
                let shared = Zeroizing::new(shared);
                let some = shared.iter().fold(0, |all, byte| all | byte) != 0;
                some.then(|| Zeroizing::new(shared.to_vec()))
            }
            Self::Ed25519 | Self::Ed448 => None,
        }
    }
}
