//! Keys as PEM and DER: PKCS#1, PKCS#8, SEC1, SPKI. Source: `src/crypto/crypto_keys.cc`.

use base64ct::{Base64, Encoding as _};
use pem_rfc7468::LineEnding;
use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use pkcs8::der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use rsa::pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey, RsaPublicKeyRef};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::asymmetric::{PrivateKey, PublicKey, Restriction, Use};
use super::cfrg::Cfrg;
use super::curve::{Curve, Group};
use super::modular::trimmed;
use super::openssl::{self, failure_after};
use super::pbe::{self, PemEncrypted};
use super::{curve_parameters, dh, dsa, rsa_padding};
use crate::throw::{ErrorClass, Throw};
use crate::work::Meter;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");
const DH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.3.1");

/// Bytes of the longest key that is parsed.
const MAX_BYTES: usize = 1 << 16;
/// Bytes of the longest passphrase, as in OpenSSL.
const MAX_PASSPHRASE: usize = 1024;

/// `kKeyEncoding*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    Pkcs1,
    Pkcs8,
    Spki,
    Sec1,
}

impl Structure {
    /// The structure of a number of the library's.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Pkcs1,
            1 => Self::Pkcs8,
            2 => Self::Spki,
            3 => Self::Sec1,
            _ => return None,
        })
    }
}

/// What OpenSSL answers for text that it has no decoder for.
fn unsupported() -> Throw {
    failure_after(openssl::UNSUPPORTED, &[openssl::UNSUPPORTED])
}

fn unreadable(what: &str) -> Throw {
    Throw::Plain(ErrorClass::Error, format!("Failed to read {what} key"))
}

/// What cannot be parsed as a private key.
fn not_private(der: &[u8]) -> Throw {
    let reason = match der {
        [] => return unreadable("private"),
        // A sequence, but of something else.
        [0x30, _, ..] => return unsupported(),
        [0, ..] => openssl::ASN1_WRONG_TAG,
        _ => openssl::ASN1_NOT_ENOUGH_DATA,
    };
    failure_after(reason, &[reason])
}

/// A passphrase for keys that are read.
pub struct Unlock<'a> {
    /// The passphrase, if there is one.
    pub passphrase: Option<&'a [u8]>,
    /// Deriving a key from it takes time.
    pub meter: &'a mut Meter,
}

impl Unlock<'_> {
    /// The passphrase, for a key that needs one.
    fn passphrase(&self) -> Result<&[u8], Throw> {
        let passphrase = self.passphrase;
        let passphrase = passphrase.filter(|passphrase| passphrase.len() <= MAX_PASSPHRASE);
        passphrase.ok_or_else(|| {
            failure_after(
                openssl::INTERRUPTED_OR_CANCELLED,
                &[openssl::INTERRUPTED_OR_CANCELLED],
            )
        })
    }
}

/// A block of PEM.
struct Block {
    label: String,
    der: Zeroizing<Vec<u8>>,
}

/// The first block of PEM whose label `wanted` takes.
fn block(
    text: &[u8],
    unlock: &mut Unlock<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Block, Throw> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    if text.len() > MAX_BYTES {
        return Err(unsupported());
    }
    let text = String::from_utf8_lossy(text);
    let mut rest = text.as_ref();
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((label, after)) = after.split_once(DASHES) else {
            break;
        };
        let end = format!("-----END {label}-----");
        let Some((body, after)) = after.split_once(&end) else {
            break;
        };
        rest = after;
        if !wanted(label) {
            continue;
        }
        let (headers, body) = match body.trim_start().split_once("\n\n") {
            Some((headers, body)) if headers.contains(':') => (headers.to_owned(), body.to_owned()),
            _ => match body.trim_start().split_once("\r\n\r\n") {
                Some((headers, body)) if headers.contains(':') => {
                    (headers.to_owned(), body.to_owned())
                }
                _ => (String::new(), body.to_owned()),
            },
        };
        let body: Zeroizing<String> =
            Zeroizing::new(body.chars().filter(|char| !char.is_whitespace()).collect());
        let data = Base64::decode_vec(&body).map_err(|_| unsupported())?;
        let data = Zeroizing::new(data);
        let der = match headers.split_once("DEK-Info:") {
            Some((_, info)) if headers.contains("ENCRYPTED") => {
                let (cipher, iv) = info
                    .lines()
                    .next()
                    .and_then(|info| info.trim().split_once(','))
                    .ok_or_else(unsupported)?;
                let encrypted = PemEncrypted {
                    cipher: cipher.to_owned(),
                    iv: iv.to_owned(),
                    data: data.to_vec(),
                };
                encrypted.decrypt(unlock.passphrase()?)?
            }
            _ => data,
        };
        let der = if label == "ENCRYPTED PRIVATE KEY" {
            if !pbe::is_encrypted(&der) {
                return Err(unsupported());
            }
            let passphrase = unlock.passphrase()?.to_vec();
            pbe::decrypt(&der, &Zeroizing::new(passphrase), unlock.meter)?
        } else {
            der
        };
        return Ok(Block {
            label: label.to_owned(),
            der,
        });
    }
    Err(unsupported())
}

/// A private key from PEM.
///
/// # Errors
/// There is none, or none that we know.
pub fn private_from_pem(text: &[u8], unlock: &mut Unlock<'_>) -> Result<PrivateKey, Throw> {
    let block = block(text, unlock, |label| label.ends_with("PRIVATE KEY"))?;
    private_of(&block).ok_or_else(unsupported)
}

fn private_of(block: &Block) -> Option<PrivateKey> {
    match block.label.as_str() {
        "RSA PRIVATE KEY" => PrivateKey::rsa_from_pkcs1(&block.der),
        "EC PRIVATE KEY" => sec1_private(&block.der, None),
        "DSA PRIVATE KEY" => traditional_dsa(&block.der),
        _ => pkcs8_private(&block.der),
    }
}

/// A public key from PEM: its own, or that of a private key.
///
/// # Errors
/// There is none, or none that we know.
pub fn public_from_pem(text: &[u8], unlock: &mut Unlock<'_>) -> Result<PublicKey, Throw> {
    let found = block(text, unlock, |label| {
        label.ends_with("PUBLIC KEY")
            || label.ends_with("PRIVATE KEY")
            || label.ends_with("CERTIFICATE")
    })?;
    let wrong = || failure_after(openssl::ASN1_WRONG_TAG, &[openssl::UNSUPPORTED]);
    match found.label.as_str() {
        "RSA PUBLIC KEY" => pkcs1_public(&found.der).ok_or_else(wrong),
        "PUBLIC KEY" => spki_public(&found.der).ok_or_else(wrong),
        label if label.ends_with("CERTIFICATE") => {
            certificate_public(&found.der).ok_or_else(unsupported)
        }
        _ => private_of(&found)
            .and_then(|key| key.public())
            .ok_or_else(unsupported),
    }
}

/// A private key from DER.
///
/// # Errors
/// It is not one of this structure.
pub fn private_from_der(
    der: &[u8],
    structure: Structure,
    unlock: &mut Unlock<'_>,
) -> Result<PrivateKey, Throw> {
    if der.len() > MAX_BYTES {
        return Err(unsupported());
    }
    let key = match structure {
        Structure::Pkcs1 => PrivateKey::rsa_from_pkcs1(der),
        Structure::Sec1 => sec1_private(der, None),
        Structure::Pkcs8 if pbe::is_encrypted(der) => {
            if unlock.passphrase.is_none() {
                return Err(Throw::type_error(
                    "ERR_MISSING_PASSPHRASE",
                    "Passphrase required for encrypted key",
                ));
            }
            let passphrase = Zeroizing::new(unlock.passphrase()?.to_vec());
            pkcs8_private(&pbe::decrypt(der, &passphrase, unlock.meter)?)
        }
        Structure::Pkcs8 => pkcs8_private(der),
        Structure::Spki => None,
    };
    key.ok_or_else(|| not_private(der))
}

/// A public key from DER: its own, or that of a private key.
///
/// # Errors
/// It is not one of this structure.
pub fn public_from_der(
    der: &[u8],
    structure: Structure,
    unlock: &mut Unlock<'_>,
) -> Result<PublicKey, Throw> {
    let unreadable = || unreadable("asymmetric");
    if der.len() > MAX_BYTES {
        return Err(unreadable());
    }
    match structure {
        Structure::Spki => spki_public(der).ok_or_else(unreadable),
        Structure::Pkcs1 => pkcs1_public(der)
            .or_else(|| PrivateKey::rsa_from_pkcs1(der)?.public())
            .ok_or_else(unreadable),
        Structure::Pkcs8 | Structure::Sec1 => private_from_der(der, structure, unlock)?
            .public()
            .ok_or_else(unreadable),
    }
}

/// The key in an X.509 certificate, which is not verified.
fn certificate_public(der: &[u8]) -> Option<PublicKey> {
    /// Version, serial number, algorithm, issuer, validity, subject.
    const BEFORE_KEY: usize = 6;
    /// `[0]`, where the version is written.
    const VERSION: u8 = 0xa0;

    let mut reader = SliceReader::new(der).ok()?;
    let certificate: AnyRef<'_> = reader.decode().ok()?;
    let mut reader = SliceReader::new(certificate.value()).ok()?;
    let signed: AnyRef<'_> = reader.decode().ok()?;
    let versioned = signed.value().first() == Some(&VERSION);
    let mut reader = SliceReader::new(signed.value()).ok()?;
    for _ in usize::from(!versioned)..BEFORE_KEY {
        let _: AnyRef<'_> = reader.decode().ok()?;
    }
    spki_public(reader.tlv_bytes().ok()?)
}

/// A public key from a `SubjectPublicKeyInfo`.
pub fn public_from_spki(der: &[u8]) -> Option<PublicKey> {
    if der.len() > MAX_BYTES {
        return None;
    }
    spki_public(der)
}

fn pkcs1_public(der: &[u8]) -> Option<PublicKey> {
    let key = RsaPublicKeyRef::from_der(der).ok()?;
    PublicKey::rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())
}

fn spki_public(der: &[u8]) -> Option<PublicKey> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    let parameters = info.algorithm.parameters;
    match info.algorithm.oid {
        RSA => pkcs1_public(key),
        RSA_PSS => pkcs1_public(key)?.for_use(Use::Pss(restriction(parameters)?)),
        EC => PublicKey::ec(group(parameters?)?, key),
        DSA => {
            let domain = dsa::Domain::from_der(&parameters?.decode_as().ok()?)?;
            let public = UintRef::from_der(key).ok()?;
            let public = trimmed(public.as_bytes());
            (public.len() <= domain.p.len()).then(|| PublicKey::Dsa(domain.into(), public.into()))
        }
        DH => {
            let domain = dh::Domain::from_der(parameters?)?;
            let public = UintRef::from_der(key).ok()?;
            let public = trimmed(public.as_bytes());
            (public.len() <= domain.p.len()).then(|| PublicKey::Dh(domain.into(), public.into()))
        }
        oid => PublicKey::cfrg(Cfrg::from_oid(oid)?, key),
    }
}

/// The curve that parameters name or write out.
fn group(parameters: AnyRef<'_>) -> Option<Group> {
    if let Ok(oid) = parameters.decode_as::<ObjectIdentifier>() {
        return Some(Curve::from_oid(oid)?.into());
    }
    let curve = curve_parameters::recognise(&parameters.to_der().ok()?)?;
    Some(Group {
        curve,
        explicit: true,
    })
}

/// The parameters of a curve as keys hold them.
fn group_der(group: Group) -> Option<Vec<u8>> {
    if group.explicit {
        return curve_parameters::explicit(group.curve);
    }
    group.curve.oid()?.to_der().ok()
}

fn sec1_private(der: &[u8], group: Option<Group>) -> Option<PrivateKey> {
    let any = AnyRef::from_der(der).ok()?;
    let (scalar, own) = any
        .sequence(|reader| {
            let _version = u8::decode(reader)?;
            let scalar = <&OctetStringRef>::decode(reader)?;
            let mut own = None;
            while !reader.is_finished() {
                let field: AnyRef<'_> = reader.decode()?;
                if let Tag::ContextSpecific { number, .. } = field.tag()
                    && number.value() == 0
                {
                    own = AnyRef::from_der(field.value()).ok();
                }
            }
            Ok::<_, pkcs8::der::Error>((scalar.as_bytes(), own))
        })
        .ok()?;
    let group = match group {
        Some(group) => group,
        None => self::group(own?)?,
    };
    PrivateKey::ec(group, scalar)
}

/// A DSA key as OpenSSL wrote it once: version, domain, public and private number.
fn traditional_dsa(der: &[u8]) -> Option<PrivateKey> {
    let any = AnyRef::from_der(der).ok()?;
    let [p, q, g, _public, private] = any
        .sequence(|reader| {
            let _version = u8::decode(reader)?;
            let mut number = || UintRef::decode(reader);
            Ok::<_, pkcs8::der::Error>([number()?, number()?, number()?, number()?, number()?])
        })
        .ok()?;
    let domain = dsa::Domain::from_numbers([p, q, g].map(|number| number.as_bytes()))?;
    secret_below(private.as_bytes(), &domain.q.clone())
        .map(|private| PrivateKey::Dsa(domain.into(), private))
}

/// A secret number that is not longer than `limit`.
fn secret_below(number: &[u8], limit: &[u8]) -> Option<super::asymmetric::SecretBytes> {
    let number = trimmed(number);
    (number.len() <= limit.len()).then(|| Zeroizing::new(number.to_vec()).into())
}

fn pkcs8_private(der: &[u8]) -> Option<PrivateKey> {
    let info = PrivateKeyInfoRef::from_der(der).ok()?;
    let key = info.private_key.as_bytes();
    let parameters = info.algorithm.parameters;
    match info.algorithm.oid {
        RSA => PrivateKey::rsa_from_pkcs1(key),
        RSA_PSS => PrivateKey::rsa_from_pkcs1(key)?.for_use(Use::Pss(restriction(parameters)?)),
        EC => sec1_private(key, Some(group(parameters?)?)),
        DSA => {
            let domain = dsa::Domain::from_der(&parameters?.decode_as().ok()?)?;
            let private = secret_below(UintRef::from_der(key).ok()?.as_bytes(), &domain.q)?;
            Some(PrivateKey::Dsa(domain.into(), private))
        }
        DH => {
            let domain = dh::Domain::from_der(parameters?)?;
            let private = secret_below(UintRef::from_der(key).ok()?.as_bytes(), &domain.p)?;
            Some(PrivateKey::Dh(domain.into(), private))
        }
        oid => {
            let inner = <&OctetStringRef>::from_der(key).ok()?;
            PrivateKey::cfrg(Cfrg::from_oid(oid)?, inner.as_bytes())
        }
    }
}

/// The digests that parameters of PSS name.
const DIGESTS: [Algorithm; 11] = [
    Algorithm::Md5,
    Algorithm::Sha1,
    Algorithm::Sha224,
    Algorithm::Sha256,
    Algorithm::Sha384,
    Algorithm::Sha512,
    Algorithm::Sha512_224,
    Algorithm::Sha512_256,
    Algorithm::Sha3_256,
    Algorithm::Sha3_384,
    Algorithm::Sha3_512,
];
/// Bytes of the salt that parameters of PSS do not tell.
const DEFAULT_SALT: usize = 20;

fn digest_of(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<Algorithm> {
    DIGESTS.into_iter().find(|digest| {
        rsa_padding::identifier(*digest)
            .is_some_and(|oid| ObjectIdentifier::new(oid) == Ok(algorithm.oid))
    })
}

/// What `RSASSA-PSS-params` restrict a key to; the inner `None` when there are no parameters.
fn restriction(parameters: Option<AnyRef<'_>>) -> Option<Option<Restriction>> {
    let Some(parameters) = parameters else {
        return Some(None);
    };
    let mut restriction = Restriction {
        digest: Algorithm::Sha1,
        mask: Algorithm::Sha1,
        salt: DEFAULT_SALT,
    };
    let fields = parameters
        .sequence(|reader| {
            let mut fields: Vec<AnyRef<'_>> = Vec::new();
            while !reader.is_finished() {
                fields.push(reader.decode()?);
            }
            Ok::<_, pkcs8::der::Error>(fields)
        })
        .ok()?;
    for field in fields {
        let Tag::ContextSpecific { number, .. } = field.tag() else {
            return None;
        };
        let inner = field.value();
        match number.value() {
            0 => {
                restriction.digest = digest_of(&AlgorithmIdentifierRef::from_der(inner).ok()?)?;
            }
            1 => {
                let function = AlgorithmIdentifierRef::from_der(inner).ok()?;
                if function.oid != MGF1 {
                    return None;
                }
                restriction.mask = digest_of(&function.parameters?.decode_as().ok()?)?;
            }
            2 => restriction.salt = usize::from(u16::from_der(inner).ok()?),
            _ => {}
        }
    }
    Some(Some(restriction))
}

/// A value of DER with its tag and length.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    match content.len() {
        length @ 0..=0x7f => der.push(u8::try_from(length).unwrap_or_default()),
        length => {
            let bytes = length.to_be_bytes();
            let bytes = trimmed(&bytes);
            der.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            der.extend_from_slice(bytes);
        }
    }
    der.extend_from_slice(&content);
    der
}

/// `SEQUENCE`
const SEQUENCE: u8 = 0x30;
/// The first of the constructed tags that a structure numbers.
const CONTEXT: u8 = 0xa0;

fn digest_der(digest: Algorithm) -> Option<Vec<u8>> {
    let oid = ObjectIdentifier::new(rsa_padding::identifier(digest)?).ok()?;
    let algorithm = AlgorithmIdentifierRef {
        oid,
        parameters: Some(AnyRef::NULL),
    };
    algorithm.to_der().ok()
}

/// `RSASSA-PSS-params`
fn restriction_der(restriction: Restriction) -> Option<Vec<u8>> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    if restriction.digest != Algorithm::Sha1 {
        fields.push(tagged(CONTEXT, &[&digest_der(restriction.digest)?]));
    }
    if restriction.mask != Algorithm::Sha1 {
        let function = tagged(
            SEQUENCE,
            &[&MGF1.to_der().ok()?, &digest_der(restriction.mask)?],
        );
        fields.push(tagged(CONTEXT | 1, &[&function]));
    }
    if restriction.salt != DEFAULT_SALT {
        let salt = u32::try_from(restriction.salt).ok()?.to_der().ok()?;
        fields.push(tagged(CONTEXT | 2, &[&salt]));
    }
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    Some(tagged(SEQUENCE, &fields))
}

/// The identifier and the parameters of an RSA key.
fn rsa_algorithm(usage: Use) -> Option<(ObjectIdentifier, Option<Vec<u8>>)> {
    Some(match usage {
        Use::Any => (RSA, Some(AnyRef::NULL.to_der().ok()?)),
        Use::Pss(None) => (RSA_PSS, None),
        Use::Pss(Some(restriction)) => (RSA_PSS, Some(restriction_der(restriction)?)),
    })
}

/// The label of a structure in PEM.
fn label(structure: Structure, private: bool) -> &'static str {
    match structure {
        Structure::Pkcs1 if private => "RSA PRIVATE KEY",
        Structure::Pkcs1 => "RSA PUBLIC KEY",
        Structure::Sec1 => "EC PRIVATE KEY",
        Structure::Pkcs8 => "PRIVATE KEY",
        Structure::Spki => "PUBLIC KEY",
    }
}

/// `der` as PEM, with the line ends of OpenSSL.
pub fn pem(der: &[u8], structure: Structure, private: bool) -> Option<Zeroizing<String>> {
    pem_rfc7468::encode_string(label(structure, private), LineEnding::LF, der)
        .ok()
        .map(Zeroizing::new)
}

/// PEM that is encrypted itself.
pub fn encrypted_pem(encrypted: &PemEncrypted, structure: Structure) -> String {
    /// Digits of a line.
    const LINE: usize = 64;

    let label = label(structure, true);
    let mut pem = format!(
        "-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: {},{}\n\n",
        encrypted.cipher, encrypted.iv
    );
    let digits = Base64::encode_string(&encrypted.data);
    for line in digits.as_bytes().chunks(LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// `EncryptedPrivateKeyInfo` as PEM.
pub fn encrypted_pkcs8_pem(der: &[u8]) -> Option<String> {
    pem_rfc7468::encode_string("ENCRYPTED PRIVATE KEY", LineEnding::LF, der).ok()
}

/// A private key in a structure; `None` for one that has no such keys.
pub fn private_to_der(key: &PrivateKey, structure: Structure) -> Option<Zeroizing<Vec<u8>>> {
    let der = match (structure, key) {
        (Structure::Pkcs1, PrivateKey::Rsa(key, _)) => key.to_pkcs1_der().ok()?.as_bytes().to_vec(),
        (Structure::Sec1, PrivateKey::Ec(group, scalar)) => sec1_der(*group, scalar, true)?,
        (Structure::Pkcs8, PrivateKey::Rsa(key, usage)) => {
            let inner = key.to_pkcs1_der().ok()?;
            let (oid, parameters) = rsa_algorithm(*usage)?;
            pkcs8_der(oid, parameters.as_deref(), inner.as_bytes())?
        }
        (Structure::Pkcs8, PrivateKey::Ec(group, scalar)) => {
            let inner = Zeroizing::new(sec1_der(*group, scalar, false)?);
            pkcs8_der(EC, Some(&group_der(*group)?), &inner)?
        }
        (Structure::Pkcs8, PrivateKey::Cfrg(curve, private)) => {
            let inner = OctetStringRef::new(private).ok()?.to_der().ok()?;
            pkcs8_der(curve.oid()?, None, &Zeroizing::new(inner))?
        }
        (Structure::Pkcs8, PrivateKey::Dsa(domain, private)) => {
            let inner = Zeroizing::new(UintRef::new(private).ok()?.to_der().ok()?);
            pkcs8_der(DSA, Some(&domain.to_der()?), &inner)?
        }
        (Structure::Pkcs8, PrivateKey::Dh(domain, private)) => {
            let inner = Zeroizing::new(UintRef::new(private).ok()?.to_der().ok()?);
            pkcs8_der(DH, Some(&domain.to_der()?), &inner)?
        }
        _ => return None,
    };
    Some(Zeroizing::new(der))
}

fn parsed(parameters: Option<&[u8]>) -> Option<Option<AnyRef<'_>>> {
    match parameters {
        None => Some(None),
        Some(der) => Some(Some(AnyRef::from_der(der).ok()?)),
    }
}

fn pkcs8_der(oid: ObjectIdentifier, parameters: Option<&[u8]>, key: &[u8]) -> Option<Vec<u8>> {
    let algorithm = AlgorithmIdentifierRef {
        oid,
        parameters: parsed(parameters)?,
    };
    PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key).ok()?)
        .to_der()
        .ok()
}

/// `ECPrivateKey`
fn sec1_der(group: Group, scalar: &[u8], named: bool) -> Option<Vec<u8>> {
    let point = group.curve.public_of(scalar)?;
    let scalar = Zeroizing::new(OctetStringRef::new(scalar).ok()?.to_der().ok()?);
    let parameters = if named {
        tagged(CONTEXT, &[&group_der(group)?])
    } else {
        Vec::new()
    };
    let point = BitStringRef::from_bytes(&point).ok()?.to_der().ok()?;
    let point = tagged(CONTEXT | 1, &[&point]);
    let version = 1_u8.to_der().ok()?;
    Some(tagged(SEQUENCE, &[&version, &scalar, &parameters, &point]))
}

/// A public key in a structure; `None` for one that has no such keys.
pub fn public_to_der(key: &PublicKey, structure: Structure) -> Option<Vec<u8>> {
    match (structure, key) {
        (Structure::Pkcs1, PublicKey::Rsa(key, _)) => Some(key.to_pkcs1_der().ok()?.into_vec()),
        (Structure::Spki, PublicKey::Rsa(key, usage)) => {
            let (oid, parameters) = rsa_algorithm(*usage)?;
            spki_der(
                oid,
                parameters.as_deref(),
                key.to_pkcs1_der().ok()?.as_bytes(),
            )
        }
        (Structure::Spki, PublicKey::Ec(group, point)) => {
            spki_der(EC, Some(&group_der(*group)?), point)
        }
        (Structure::Spki, PublicKey::Cfrg(curve, point)) => spki_der(curve.oid()?, None, point),
        (Structure::Spki, PublicKey::Dsa(domain, public)) => {
            let inner = UintRef::new(public).ok()?.to_der().ok()?;
            spki_der(DSA, Some(&domain.to_der()?), &inner)
        }
        (Structure::Spki, PublicKey::Dh(domain, public)) => {
            let inner = UintRef::new(public).ok()?.to_der().ok()?;
            spki_der(DH, Some(&domain.to_der()?), &inner)
        }
        _ => None,
    }
}

fn spki_der(oid: ObjectIdentifier, parameters: Option<&[u8]>, key: &[u8]) -> Option<Vec<u8>> {
    let info = SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef {
            oid,
            parameters: parsed(parameters)?,
        },
        subject_public_key: BitStringRef::from_bytes(key).ok()?,
    };
    info.to_der().ok()
}
