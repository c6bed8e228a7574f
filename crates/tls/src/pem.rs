//! Certificates in PEM.

use base64ct::{Base64, Encoding};

use crate::certificate::Certificate;
use crate::error::TlsError;

/// The most text that is read at once.
const MAX_BYTES: usize = 8 << 20;

/// The blocks of PEM whose label `wanted` takes.
pub fn blocks(text: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if text.len() > MAX_BYTES {
        return found;
    }
    let text = String::from_utf8_lossy(text);
    let mut rest = text.as_ref();
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, after)) = after.split_once("-----") else {
            break;
        };
        let Some((body, after)) = after.split_once(&format!("-----END {label}-----")) else {
            break;
        };
        rest = after;
        if !wanted(label) {
            continue;
        }
        let body: String = body.chars().filter(|char| !char.is_whitespace()).collect();
        match Base64::decode_vec(&body) {
            Ok(der) => found.push(der),
            Err(_) => break,
        }
    }
    found
}

/// All certificates of some text.
///
/// # Errors
/// There is none.
pub fn certificates(text: &[u8]) -> Result<Vec<Certificate>, TlsError> {
    let is_certificate = |label: &str| {
        matches!(
            label,
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
        )
    };
    let certificates: Vec<Certificate> = blocks(text, is_certificate)
        .into_iter()
        .filter_map(Certificate::from_der)
        .collect();
    if certificates.is_empty() {
        return Err(TlsError::NO_START_LINE);
    }
    Ok(certificates)
}

/// A certificate as PEM.
pub fn certificate(der: &[u8]) -> String {
    pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, der).unwrap_or_default()
}

/// Bits of the prime in parameters of Diffie-Hellman.
///
/// # Errors
/// There are none.
pub fn dh_bits(text: &[u8]) -> Result<usize, TlsError> {
    let found = blocks(text, |label| {
        label == "DH PARAMETERS" || label == "X9.42 DH PARAMETERS"
    });
    let bits = found.first().and_then(|der| {
        let prime = crate::der::Reader(der).next()?.children().next()?.value;
        let zeros = prime.iter().take_while(|byte| **byte == 0).count();
        let prime = prime.get(zeros..)?;
        let first = prime.first()?;
        Some(prime.len() * 8 - first.leading_zeros() as usize)
    });
    bits.ok_or(TlsError::NO_START_LINE)
}
