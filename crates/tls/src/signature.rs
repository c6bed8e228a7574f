//! Signatures: those of certificates and those of handshakes.

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;

use crate::der::{Reader, SEQUENCE, Signed};

/// What is verified.
pub fn supported() -> WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}

/// The algorithm and the bits of a public key in `SubjectPublicKeyInfo`.
fn key_parts(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = Reader(spki).next()?.tagged(SEQUENCE)?.children();
    Some((parts.next()?.tagged(SEQUENCE)?.value, parts.next()?.bits()?))
}

/// Whether a certificate, or a list of revoked ones, was signed with a key.
pub fn is_signed_with(signed: &Signed<'_>, spki: &[u8]) -> bool {
    let Some((algorithm, key)) = key_parts(spki) else {
        return false;
    };
    supported().all.iter().any(|candidate| {
        candidate.signature_alg_id().as_ref() == signed.algorithm
            && candidate.public_key_alg_id().as_ref() == algorithm
            && candidate
                .verify_signature(key, signed.message.whole, signed.signature)
                .is_ok()
    })
}

/// Whether a message of a handshake was signed with a key. TLS 1.3 binds a scheme to a curve.
pub fn is_handshake_signed_with(
    spki: &[u8],
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
    tls13: bool,
) -> bool {
    let Some((algorithm, key)) = key_parts(spki) else {
        return false;
    };
    let supported = supported();
    let candidates = supported
        .mapping
        .iter()
        .find(|(known, _)| *known == scheme)
        .map(|(_, candidates)| *candidates)
        .unwrap_or_default();
    let tried = if tls13 { 1 } else { candidates.len() };
    candidates.iter().take(tried).any(|candidate| {
        candidate.public_key_alg_id().as_ref() == algorithm
            && candidate.verify_signature(key, message, signature).is_ok()
    })
}
