//! Lists of revoked certificates.

use crate::certificate::Certificate;
use crate::der::{self, INTEGER, Reader, SEQUENCE, Signed};
use crate::error::TlsError;
use crate::{pem, signature};

/// A list of revoked certificates.
#[derive(Clone, Debug)]
pub struct RevocationList {
    der: Vec<u8>,
    issuer: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
    serials: Vec<Vec<u8>>,
}

impl RevocationList {
    /// The list in PEM.
    ///
    /// # Errors
    /// There is none.
    pub fn from_pem(text: &[u8]) -> Result<Self, TlsError> {
        let der = pem::blocks(text, |label| label == "X509 CRL")
            .into_iter()
            .next();
        der.and_then(Self::from_der).ok_or(TlsError::BAD_CRL)
    }

    fn from_der(der: Vec<u8>) -> Option<Self> {
        let signed = Signed::parse(&der)?;
        let mut fields = signed.message.children().peekable();
        fields.next_if(|field| field.tag == INTEGER);
        fields
            .next()?
            .tagged(SEQUENCE)
            .filter(|algorithm| algorithm.value == signed.algorithm)?;
        let issuer = fields.next()?.tagged(SEQUENCE)?.whole.to_vec();
        let this_update = der::time(fields.next()?)?;
        let next_update = fields.peek().and_then(|field| der::time(*field));
        if next_update.is_some() {
            fields.next();
        }
        let revoked = fields.next().filter(|field| field.tag == SEQUENCE);
        let entries = revoked.map_or(Reader(&[]), |revoked| revoked.children());
        let serials = entries
            .map(|entry| Some(trimmed(entry.children().next()?.tagged(INTEGER)?.value).to_vec()));
        let serials = serials.collect::<Option<Vec<_>>>()?;
        Some(Self {
            der,
            issuer,
            this_update,
            next_update,
            serials,
        })
    }

    /// Whether it is a list of whoever signed `certificate`.
    pub fn is_for(&self, certificate: &Certificate) -> bool {
        self.issuer == certificate.issuer_der()
    }

    /// Whether it was signed with a key.
    pub fn is_signed_with(&self, spki: &[u8]) -> bool {
        Signed::parse(&self.der).is_some_and(|signed| signature::is_signed_with(&signed, spki))
    }

    /// Whether it is from before `now`.
    pub fn has_begun(&self, now: i64) -> bool {
        self.this_update <= now
    }

    /// Whether there should be a newer one.
    pub fn has_expired(&self, now: i64) -> bool {
        self.next_update.is_some_and(|next| next < now)
    }

    /// Whether `certificate` is on it.
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        let serial = trimmed(certificate.serial_bytes());
        self.serials.iter().any(|known| known == serial)
    }
}

fn trimmed(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}
