//! PFX: a key and certificates under a passphrase (RFC 7292), as OpenSSL 3 reads it.
//!
//! No crate that reads it can be stopped: its files say how often a hash is repeated. Here each repetition is charged to
//! the process, as in `pbe.rs`, which decrypts.

use secure_exec_tls::certificate::Certificate;
use secure_exec_tls::der::{self, Element, Reader};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::pbe;
use crate::throw::Throw;
use crate::work::Meter;

/// A larger file is refused.
const MAX_BYTES: usize = 1 << 20;
/// Bags that are read.
const MAX_BAGS: usize = 256;

const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
const CERTIFICATE_BAG: &str = "1.2.840.113549.1.12.10.1.3";
const X509_CERTIFICATE: &str = "1.2.840.113549.1.9.22.1";
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_0_PRIMITIVE: u8 = 0x80;

/// The digests of MACs.
const DIGESTS: &[(&str, Algorithm)] = &[
    ("1.3.14.3.2.26", Algorithm::Sha1),
    ("2.16.840.1.101.3.4.2.4", Algorithm::Sha224),
    ("2.16.840.1.101.3.4.2.1", Algorithm::Sha256),
    ("2.16.840.1.101.3.4.2.2", Algorithm::Sha384),
    ("2.16.840.1.101.3.4.2.3", Algorithm::Sha512),
];

/// What derived bytes are for.
#[derive(Clone, Copy)]
pub enum Use {
    /// The key of a cipher.
    Key = 1,
    /// Its IV.
    Iv = 2,
    /// The key of a MAC.
    Mac = 3,
}

/// What a file holds.
pub struct Contents {
    /// `PrivateKeyInfo`
    pub key: Option<Zeroizing<Vec<u8>>>,
    /// In the file's order.
    pub certificates: Vec<Certificate>,
}

/// Why a file cannot be read.
pub enum Failure {
    /// It is no PFX.
    Malformed,
    /// The passphrase is another one.
    Mac,
    /// It uses what OpenSSL 3 does not know any more.
    Unsupported,
}

/// A passphrase as UTF-16 with an end, as the derivation takes it; `None` stands for none at all.
type Passphrase = Option<Zeroizing<Vec<u8>>>;

fn wide(passphrase: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = String::from_utf8_lossy(passphrase);
    let units = text.encode_utf16().chain([0]);
    Zeroizing::new(units.flat_map(u16::to_be_bytes).collect())
}

fn block_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Sha384 | Algorithm::Sha512 => 128,
        _ => 64,
    }
}

/// `data` over and over, up to a multiple of `length`.
fn repeated(data: &[u8], length: usize) -> Vec<u8> {
    let wanted = data.len().div_ceil(length) * length;
    data.iter().copied().cycle().take(wanted).collect()
}

/// Bytes from a passphrase, by appendix B of RFC 7292; `None` when the process is ending.
pub fn derive(
    algorithm: Algorithm,
    passphrase: &[u8],
    salt: &[u8],
    iterations: u32,
    what: Use,
    length: usize,
    meter: &mut Meter,
) -> Option<Zeroizing<Vec<u8>>> {
    /// Repetitions between two looks at the process.
    const STEP: u32 = 1024;
    let block = block_length(algorithm);
    let mut input = Zeroizing::new(repeated(salt, block));
    input.extend(repeated(passphrase, block));
    let mut output = Zeroizing::new(Vec::new());
    loop {
        let mut hash = Zeroizing::new([vec![what as u8; block].as_slice(), &input].concat());
        for iteration in 0..iterations.max(1) {
            if iteration % STEP == 0 && !meter.checkpoint() {
                return None;
            }
            *hash = algorithm.digest(&hash);
        }
        output.extend_from_slice(&hash);
        if output.len() >= length {
            output.truncate(length);
            return Some(output);
        }
        let addend: Vec<u8> = hash.iter().copied().cycle().take(block).collect();
        for chunk in input.chunks_mut(block) {
            // The sum of both numbers and 1, of which the highest carry is lost.
            let mut carry = 1_u16;
            for (byte, added) in chunk.iter_mut().zip(&addend).rev() {
                carry += u16::from(*byte) + u16::from(*added);
                let [high, low] = carry.to_be_bytes();
                *byte = low;
                carry = u16::from(high);
            }
        }
    }
}

/// The contents of a `ContentInfo`: its type and what stands for it.
fn content(info: Element<'_>) -> Option<(String, Element<'_>)> {
    let mut parts = info.tagged(der::SEQUENCE)?.children();
    let kind = der::dotted(parts.next()?.tagged(der::OID)?.value);
    let content = parts.next()?.tagged(CONTEXT_0)?.children().next()?;
    Some((kind, content))
}

fn number(element: Element<'_>) -> Option<u32> {
    let bytes = element.tagged(der::INTEGER)?.value;
    let first = bytes.iter().position(|byte| *byte != 0);
    let bytes = bytes.get(first.unwrap_or(bytes.len())..)?;
    (bytes.len() <= 4).then(|| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
    })
}

/// Whether the MAC of `safe` is that of the passphrase; `None` when it cannot be told.
fn is_authentic(
    mac: Element<'_>,
    safe: &[u8],
    passphrase: &[u8],
    meter: &mut Meter,
) -> Option<bool> {
    let mut parts = mac.tagged(der::SEQUENCE)?.children();
    let mut digest_info = parts.next()?.tagged(der::SEQUENCE)?.children();
    let salt = parts.next()?.tagged(der::OCTET_STRING)?.value;
    let iterations = parts.next().map_or(Some(1), number)?;
    let algorithm = digest_info
        .next()?
        .tagged(der::SEQUENCE)?
        .children()
        .next()?;
    let digest = digest_info.next()?.tagged(der::OCTET_STRING)?.value;
    let oid = der::dotted(algorithm.tagged(der::OID)?.value);
    let (_, algorithm) = DIGESTS.iter().find(|(known, _)| *known == oid)?;
    let key = derive(
        *algorithm,
        passphrase,
        salt,
        iterations,
        Use::Mac,
        algorithm.length()?,
        meter,
    )?;
    let mut mac = algorithm.mac(&key)?;
    mac.update(safe);
    Some(mac.finish() == digest)
}

/// The passphrase in the form that the file's MAC was made with. An empty one may be none, or an empty text.
fn matching(
    mac: Option<Element<'_>>,
    safe: &[u8],
    passphrase: &[u8],
    meter: &mut Meter,
) -> Result<Passphrase, Failure> {
    let forms = match passphrase {
        [] => vec![None, Some(wide(b""))],
        passphrase => vec![Some(wide(passphrase))],
    };
    let Some(mac) = mac else {
        return Ok(forms.into_iter().next_back().flatten());
    };
    for form in forms {
        let bytes = form.as_ref().map_or(&[][..], |form| form.as_slice());
        match is_authentic(mac, safe, bytes, meter) {
            Some(true) => return Ok(form),
            Some(false) => {}
            None => return Err(Failure::Malformed),
        }
    }
    Err(Failure::Mac)
}

/// Reads a file.
pub fn read(file: &[u8], passphrase: &[u8], meter: &mut Meter) -> Result<Contents, Failure> {
    if file.len() > MAX_BYTES {
        return Err(Failure::Malformed);
    }
    let parts = || {
        let mut parts = Reader(file).next()?.tagged(der::SEQUENCE)?.children();
        number(parts.next()?)?;
        let (kind, safe) = content(parts.next()?)?;
        let safe = safe.tagged(der::OCTET_STRING).filter(|_| kind == DATA)?;
        Some((safe.value, parts.next()))
    };
    let (safe, mac) = parts().ok_or(Failure::Malformed)?;
    let wide = matching(mac, safe, passphrase, meter)?;
    let secret = pbe::Secret {
        plain: passphrase,
        wide: wide.as_ref().map_or(&[], |wide| wide.as_slice()),
    };
    let mut contents = Contents {
        key: None,
        certificates: Vec::new(),
    };
    let safe = Reader(safe).next().ok_or(Failure::Malformed)?;
    for info in safe.children().take(MAX_BAGS) {
        let (kind, inner) = content(info).ok_or(Failure::Malformed)?;
        match kind.as_str() {
            DATA => {
                let bags = inner.tagged(der::OCTET_STRING).ok_or(Failure::Malformed)?;
                contents.add(bags.value, &secret, meter)?;
            }
            ENCRYPTED_DATA => {
                let bags = decrypted(inner, &secret, meter)?;
                contents.add(&bags, &secret, meter)?;
            }
            // What is under somebody's public key.
            _ => {}
        }
    }
    Ok(contents)
}

/// What an `EncryptedData` holds.
fn decrypted(
    data: Element<'_>,
    secret: &pbe::Secret<'_>,
    meter: &mut Meter,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let parts = || {
        let mut parts = data.tagged(der::SEQUENCE)?.children();
        number(parts.next()?)?;
        let mut content = parts.next()?.tagged(der::SEQUENCE)?.children();
        content.next()?.tagged(der::OID)?;
        let algorithm = content.next()?.tagged(der::SEQUENCE)?;
        let bytes = content.next()?.tagged(CONTEXT_0_PRIMITIVE)?;
        Some((algorithm.whole, bytes.value))
    };
    let (algorithm, bytes) = parts().ok_or(Failure::Malformed)?;
    unlocked(pbe::decrypt_with(algorithm, bytes, secret, meter))
}

fn unlocked(plain: Result<Zeroizing<Vec<u8>>, Throw>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    plain.map_err(|_| Failure::Unsupported)
}

impl Contents {
    /// Takes what is of use in `SafeContents`.
    fn add(
        &mut self,
        bags: &[u8],
        secret: &pbe::Secret<'_>,
        meter: &mut Meter,
    ) -> Result<(), Failure> {
        let bags = Reader(bags)
            .next()
            .and_then(|bags| bags.tagged(der::SEQUENCE));
        for bag in bags.ok_or(Failure::Malformed)?.children().take(MAX_BAGS) {
            let (kind, value) = content(bag).ok_or(Failure::Malformed)?;
            match kind.as_str() {
                KEY_BAG if self.key.is_none() => {
                    self.key = Some(Zeroizing::new(value.whole.to_vec()));
                }
                SHROUDED_KEY_BAG if self.key.is_none() => {
                    let parts = || {
                        let mut parts = value.tagged(der::SEQUENCE)?.children();
                        let algorithm = parts.next()?.tagged(der::SEQUENCE)?;
                        let bytes = parts.next()?.tagged(der::OCTET_STRING)?;
                        Some((algorithm.whole, bytes.value))
                    };
                    let (algorithm, bytes) = parts().ok_or(Failure::Malformed)?;
                    let key = pbe::decrypt_with(algorithm, bytes, secret, meter);
                    self.key = Some(unlocked(key)?);
                }
                CERTIFICATE_BAG if self.certificates.len() < MAX_BAGS => {
                    self.certificates.extend(certificate(value));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The certificate of a `CertBag`.
fn certificate(bag: Element<'_>) -> Option<Certificate> {
    let mut parts = bag.tagged(der::SEQUENCE)?.children();
    let kind = der::dotted(parts.next()?.tagged(der::OID)?.value);
    let bytes = parts.next()?.tagged(CONTEXT_0)?.children().next()?;
    let bytes = bytes.tagged(der::OCTET_STRING)?.value;
    (kind == X509_CERTIFICATE).then(|| Certificate::from_der(bytes.to_vec()))?
}
