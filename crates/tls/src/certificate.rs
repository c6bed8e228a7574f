//! X.509 certificates: what their fields say.

use std::sync::Arc;

use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha512};

use crate::alt_name::GeneralName;
use crate::der::{
    self, BIT_STRING, BOOLEAN, Element, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, Signed,
};
use crate::name::Name;
use crate::{pem, signature};

/// The longest certificate that is read.
const MAX_BYTES: usize = 1 << 17;

/// `keyUsage`'s bit for signing certificates.
const KEY_CERT_SIGN: u8 = 0x04;
/// `keyUsage`'s bit for signing lists of revoked certificates.
const CRL_SIGN: u8 = 0x02;

mod oid {
    pub const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
    pub const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
    pub const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];
    pub const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
    pub const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    const POLICIES: &[u8] = &[0x55, 0x1d, 32];
    const DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 31];
    /// Those that do not keep anybody from using a certificate. Constraints on names are not among them.
    pub const KNOWN: &[&[u8]] = &[
        AUTHORITY_INFO_ACCESS,
        SUBJECT_KEY_IDENTIFIER,
        AUTHORITY_KEY_IDENTIFIER,
        SUBJECT_ALT_NAME,
        EXTENDED_KEY_USAGE,
        BASIC_CONSTRAINTS,
        KEY_USAGE,
        POLICIES,
        DISTRIBUTION_POINTS,
    ];
}

/// A certificate. Cheap to clone; two are equal when their bytes are.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    spki: Vec<u8>,
    extensions: Vec<Extension>,
    serial: Vec<u8>,
    version: u32,
    not_before: i64,
    not_after: i64,
    ca: Option<bool>,
    path_length: Option<u32>,
    key_usage: Option<u8>,
    /// Whether it must not be used by who does not know all of its extensions, and we do not.
    has_unknown: bool,
}

/// What a public key is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyDetails {
    /// The modulus and the exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// The number of the curve, and the point.
    Ec(String, Vec<u8>),
    /// Something else.
    Other,
}

/// What an extended key usage allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be a server.
    Server,
    /// To be a client.
    Client,
}

/// An extension.
struct Extension {
    oid: Vec<u8>,
    critical: bool,
    value: Vec<u8>,
}

impl Extension {
    fn parse(element: Element<'_>) -> Option<Self> {
        let mut parts = element.tagged(SEQUENCE)?.children();
        let oid = parts.next()?.tagged(OID)?.value.to_vec();
        let mut value = parts.next()?;
        let critical = value.tag == BOOLEAN;
        let is_set = value.value.first().is_some_and(|byte| *byte != 0);
        if critical {
            value = parts.next()?;
        }
        Some(Self {
            oid,
            critical: critical && is_set,
            value: value.tagged(OCTET_STRING)?.value.to_vec(),
        })
    }
}

impl Inner {
    /// Reads all but `der`.
    fn parse(der: &[u8]) -> Option<Self> {
        const VERSION: u8 = 0xa0;
        const EXTENSIONS: u8 = 0xa3;
        let signed = Signed::parse(der)?;
        let mut fields = signed.message.children();
        let mut field = fields.next()?;
        let mut version = 0;
        if field.tag == VERSION {
            let number = field.children().next()?.tagged(INTEGER)?;
            version = u32::from(*number.value.first()?);
            field = fields.next()?;
        }
        let serial = field.tagged(INTEGER)?.value.to_vec();
        // What is signed has to name the algorithm that it is signed with.
        fields
            .next()?
            .tagged(SEQUENCE)
            .filter(|algorithm| algorithm.value == signed.algorithm)?;
        let issuer = fields.next()?.tagged(SEQUENCE)?.whole.to_vec();
        let mut validity = fields.next()?.tagged(SEQUENCE)?.children();
        let not_before = der::time(validity.next()?)?;
        let not_after = der::time(validity.next()?)?;
        let subject = fields.next()?.tagged(SEQUENCE)?.whole.to_vec();
        let spki = fields.next()?.tagged(SEQUENCE)?.whole.to_vec();
        let mut extensions: Vec<Extension> = Vec::new();
        for field in fields.filter(|field| field.tag == EXTENSIONS) {
            for element in field.children().next()?.tagged(SEQUENCE)?.children() {
                let extension = Extension::parse(element)?;
                if extensions.iter().any(|known| known.oid == extension.oid) {
                    return None;
                }
                extensions.push(extension);
            }
        }
        let mut inner = Self {
            der: Vec::new(),
            subject,
            issuer,
            spki,
            serial,
            version,
            not_before,
            not_after,
            ca: None,
            path_length: None,
            key_usage: None,
            has_unknown: extensions.iter().any(|extension| {
                extension.critical && !oid::KNOWN.contains(&extension.oid.as_slice())
            }),
            extensions,
        };
        if let Some(value) = inner.extension(oid::BASIC_CONSTRAINTS) {
            let mut parts = Reader(value).next()?.tagged(SEQUENCE)?.children();
            let mut part = parts.next();
            let ca = part.filter(|part| part.tag == BOOLEAN);
            if ca.is_some() {
                part = parts.next();
            }
            let length = part.and_then(|part| part.tagged(INTEGER)).map(|length| {
                let bytes = length.value.iter().take(4);
                bytes.fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
            });
            inner.ca = Some(
                ca.and_then(|ca| ca.value.first())
                    .is_some_and(|byte| *byte != 0),
            );
            inner.path_length = length;
        }
        if let Some(value) = inner.extension(oid::KEY_USAGE) {
            let bits = Reader(value).next()?.tagged(BIT_STRING)?.value;
            inner.key_usage = Some(bits.get(1).copied().unwrap_or(0));
        }
        Some(inner)
    }

    fn extension(&self, oid: &[u8]) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|known| known.oid == oid);
        found.map(|known| known.value.as_slice())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Certificate")
    }
}

impl Certificate {
    /// A certificate from DER.
    pub fn from_der(mut der: Vec<u8>) -> Option<Self> {
        if der.len() > MAX_BYTES {
            return None;
        }
        let length = Reader(&der).next()?.whole.len();
        der.truncate(length);
        let inner = Inner::parse(&der)?;
        Some(Self(Arc::new(Inner { der, ..inner })))
    }

    /// A certificate from PEM or DER.
    pub fn from_any(bytes: &[u8]) -> Option<Self> {
        match pem::certificates(bytes) {
            Ok(found) => found.into_iter().next(),
            Err(_) => Self::from_der(bytes.to_vec()),
        }
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Its text.
    pub fn pem(&self) -> String {
        pem::certificate(&self.0.der)
    }

    /// Whom it is for.
    pub fn subject(&self) -> Name {
        Name::parse(contents(&self.0.subject))
    }

    /// The same, in DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject
    }

    /// Who signed it.
    pub fn issuer(&self) -> Name {
        Name::parse(contents(&self.0.issuer))
    }

    /// The same, in DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer
    }

    /// Its public key, as `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// What its public key is made of.
    pub fn key_details(&self) -> KeyDetails {
        self.read_key().unwrap_or(KeyDetails::Other)
    }

    fn read_key(&self) -> Option<KeyDetails> {
        let mut parts = Reader(&self.0.spki).next()?.children();
        let mut algorithm = parts.next()?.children();
        let key = parts.next()?.bits()?;
        let kind = der::dotted(algorithm.next()?.tagged(OID)?.value);
        Some(match kind.as_str() {
            "1.2.840.113549.1.1.1" => {
                let mut numbers = Reader(key).next()?.children();
                let mut number = || {
                    let value = numbers.next()?.value;
                    let zeros = value.iter().take_while(|byte| **byte == 0).count();
                    Some(value.get(zeros..)?.to_vec())
                };
                KeyDetails::Rsa(number()?, number()?)
            }
            "1.2.840.10045.2.1" => {
                let curve = algorithm.next()?.tagged(OID)?;
                KeyDetails::Ec(der::dotted(curve.value), key.to_vec())
            }
            _ => KeyDetails::Other,
        })
    }

    /// Its serial number, as bytes.
    pub fn serial_bytes(&self) -> &[u8] {
        &self.0.serial
    }

    /// Its serial number.
    pub fn serial_number(&self) -> String {
        let serial = self.0.serial.as_slice();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        match serial.get(zeros..) {
            Some([]) | None => "00".to_owned(),
            Some(serial) => der::hex(serial),
        }
    }

    /// From when it is valid, in seconds.
    pub fn not_before(&self) -> i64 {
        self.0.not_before
    }

    /// Until when it is valid, in seconds.
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// From when it is valid, as text.
    pub fn valid_from(&self) -> String {
        time_text(self.0.not_before)
    }

    /// Until when it is valid, as text.
    pub fn valid_to(&self) -> String {
        time_text(self.0.not_after)
    }

    /// SHA-1 of it.
    pub fn fingerprint(&self) -> String {
        colons(&Sha1::digest(&self.0.der))
    }

    /// SHA-256 of it.
    pub fn fingerprint256(&self) -> String {
        colons(&Sha256::digest(&self.0.der))
    }

    /// SHA-512 of it.
    pub fn fingerprint512(&self) -> String {
        colons(&Sha512::digest(&self.0.der))
    }

    fn extension(&self, oid: &[u8]) -> Option<&[u8]> {
        self.0.extension(oid)
    }

    /// Whether it says that it must not be used by who does not know all of its extensions, and we do not.
    pub fn has_unknown_extension(&self) -> bool {
        self.0.has_unknown
    }

    /// Other names that it is for.
    pub fn alt_names(&self) -> Option<Vec<GeneralName>> {
        GeneralName::parse_all(self.extension(oid::SUBJECT_ALT_NAME)?)
    }

    /// The same, as text.
    pub fn subject_alt_name(&self) -> Option<String> {
        let mut text = String::new();
        for (at, name) in self.alt_names()?.iter().enumerate() {
            if at > 0 {
                text.push_str(", ");
            }
            name.print(&mut text);
        }
        Some(text)
    }

    /// Where to ask about its issuer, as text.
    pub fn info_access(&self) -> Option<String> {
        let value = self.extension(oid::AUTHORITY_INFO_ACCESS)?;
        let sequence = Reader(value).next()?.tagged(SEQUENCE)?;
        let mut text = String::new();
        for (at, access) in sequence.children().enumerate() {
            let mut parts = access.children();
            let method = parts.next()?.tagged(OID)?;
            let location = GeneralName::parse(parts.next()?)?;
            if at > 0 {
                text.push('\n');
            }
            let method = der::dotted(method.value);
            text.push_str(match method.as_str() {
                "1.3.6.1.5.5.7.48.1" => "OCSP",
                "1.3.6.1.5.5.7.48.2" => "CA Issuers",
                other => other,
            });
            text.push_str(" - ");
            location.print(&mut text);
        }
        Some(text)
    }

    /// The numbers of what its key may be used for.
    pub fn extended_key_usage(&self) -> Option<Vec<String>> {
        let value = self.extension(oid::EXTENDED_KEY_USAGE)?;
        let sequence = Reader(value).next()?.tagged(SEQUENCE)?;
        Some(
            sequence
                .children()
                .map(|oid| der::dotted(oid.value))
                .collect(),
        )
    }

    /// Whether its key may be used for this.
    pub fn allows(&self, purpose: Purpose) -> bool {
        self.extended_key_usage().is_none_or(|usages| {
            usages.iter().any(|usage| {
                matches!(
                    (usage.as_str(), purpose),
                    ("1.3.6.1.5.5.7.3.1", Purpose::Server)
                        | ("1.3.6.1.5.5.7.3.2", Purpose::Client)
                        | ("2.5.29.37.0", _)
                )
            })
        })
    }

    /// `X509_check_ca() == 1`: it says of itself that it may sign others.
    pub fn is_ca(&self) -> bool {
        self.may_sign(KEY_CERT_SIGN) && self.0.ca == Some(true)
    }

    /// Whether others may be signed with it; old certificates do not say.
    pub fn may_sign_certificates(&self) -> bool {
        self.may_sign(KEY_CERT_SIGN)
            && self.0.ca.unwrap_or_else(|| {
                (self.0.version == 0 && self.is_self_issued()) || self.0.key_usage.is_some()
            })
    }

    /// Whether lists of revoked certificates may be signed with it.
    pub fn may_sign_lists(&self) -> bool {
        self.may_sign(CRL_SIGN)
    }

    fn may_sign(&self, bit: u8) -> bool {
        self.0.key_usage.is_none_or(|usage| usage & bit != 0)
    }

    /// How many others may stand between it and the last.
    pub fn path_length(&self) -> Option<u32> {
        self.0.path_length.filter(|_| self.0.ca == Some(true))
    }

    /// Whether its issuer has the name of its subject.
    pub fn is_self_issued(&self) -> bool {
        self.0.subject == self.0.issuer
    }

    /// Whether it seems to be its own issuer.
    pub fn is_self_signed(&self) -> bool {
        self.seems_issued_by(self)
    }

    /// Whether names and key identifiers say that `issuer` signed it.
    pub fn seems_issued_by(&self, issuer: &Self) -> bool {
        if self.0.issuer != issuer.0.subject {
            return false;
        }
        let Some(authority) = self.extension(oid::AUTHORITY_KEY_IDENTIFIER) else {
            return true;
        };
        let parts = Reader(authority).next().map(|sequence| sequence.children());
        for part in parts.into_iter().flatten() {
            let matches = match part.tag & 0x1f {
                0 => issuer.key_identifier().is_none_or(|id| id == part.value),
                2 => part.value == issuer.0.serial,
                _ => true,
            };
            if !matches {
                return false;
            }
        }
        true
    }

    /// `X509_check_issued`, which asks too whether the issuer may sign.
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        self.seems_issued_by(issuer) && issuer.may_sign(KEY_CERT_SIGN)
    }

    fn key_identifier(&self) -> Option<&[u8]> {
        let value = self.extension(oid::SUBJECT_KEY_IDENTIFIER)?;
        Reader(value).next().map(|id| id.value)
    }

    /// Whether it was signed with the key in a `SubjectPublicKeyInfo`.
    pub fn is_signed_with(&self, spki: &[u8]) -> bool {
        Signed::parse(&self.0.der).is_some_and(|signed| signature::is_signed_with(&signed, spki))
    }
}

/// The contents of a name's sequence.
fn contents(der: &[u8]) -> &[u8] {
    Reader(der)
        .next()
        .map(|element: Element<'_>| element.value)
        .unwrap_or_default()
}

fn colons(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// A time as `ASN1_TIME_print` has it.
fn time_text(seconds: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAY: i64 = 86_400;
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Days since 1970-01-01 to a date, counted from March of year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let name = usize::try_from(month - 1)
        .ok()
        .and_then(|month| MONTHS.get(month))
        .unwrap_or(&"Bad");
    format!(
        "{name} {day:2} {:02}:{:02}:{:02} {year} GMT",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_read_as_openssl_prints_them() {
        assert_eq!(super::time_text(0), "Jan  1 00:00:00 1970 GMT");
        assert_eq!(super::time_text(1_542_393_741), "Nov 16 18:42:21 2018 GMT");
        assert_eq!(super::time_text(951_782_400), "Feb 29 00:00:00 2000 GMT");
        assert_eq!(super::time_text(-1), "Dec 31 23:59:59 1969 GMT");
    }
}
