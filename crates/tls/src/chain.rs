//! Whether a chain of certificates ends in one that is trusted, told as OpenSSL tells it: of several things that are wrong,
//! the one that it finds last.

use crate::certificate::{Certificate, Purpose};
use crate::revocation::RevocationList;
use crate::root;

/// The longest chain that is followed.
const MAX_DEPTH: usize = 100;

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `X509_V_ERR_*` without its prefix.
    pub code: &'static str,
    /// OpenSSL's words for it.
    pub reason: &'static str,
}

macro_rules! verdicts {
    ($($(#[$doc:meta])* $name:ident = $reason:literal,)*) => {
        impl Verdict {
            $($(#[$doc])* pub const $name: Self = Self { code: stringify!($name), reason: $reason };)*
        }
    };
}

verdicts! {
    /// The peer sent none, or an issuer is missing above a trusted certificate.
    UNABLE_TO_GET_ISSUER_CERT = "unable to get issuer certificate",
    /// An issuer is missing.
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY = "unable to get local issuer certificate",
    /// Nothing but the certificate itself is known.
    UNABLE_TO_VERIFY_LEAF_SIGNATURE = "unable to verify the first certificate",
    /// It vouches for itself.
    DEPTH_ZERO_SELF_SIGNED_CERT = "self-signed certificate",
    /// The last one vouches for itself.
    SELF_SIGNED_CERT_IN_CHAIN = "self-signed certificate in certificate chain",
    /// A signature is wrong.
    CERT_SIGNATURE_FAILURE = "certificate signature failure",
    /// Its time has not come.
    CERT_NOT_YET_VALID = "certificate is not yet valid",
    /// Its time is over.
    CERT_HAS_EXPIRED = "certificate has expired",
    /// It is on a list.
    CERT_REVOKED = "certificate revoked",
    /// There is no list of its issuer's.
    UNABLE_TO_GET_CRL = "unable to get certificate CRL",
    /// The list's signature is wrong.
    CRL_SIGNATURE_FAILURE = "CRL signature failure",
    /// The list is from the future.
    CRL_NOT_YET_VALID = "CRL is not yet valid",
    /// The list is old.
    CRL_HAS_EXPIRED = "CRL has expired",
    /// One that signed another may not.
    INVALID_CA = "invalid CA certificate",
    /// Too many stand below it.
    PATH_LENGTH_EXCEEDED = "path length constraint exceeded",
    /// It is for something else.
    INVALID_PURPOSE = "unsuitable certificate purpose",
    /// It must not be used by who does not know what it says.
    UNHANDLED_CRITICAL_EXTENSION = "unhandled critical extension",
    /// There are too many.
    CERT_CHAIN_TOO_LONG = "certificate chain too long",
}

/// Who is trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// These.
    pub authorities: Vec<Certificate>,
    /// And Mozilla's.
    pub bundled_roots: bool,
    /// Whether a chain may end in a trusted certificate that another signed.
    pub partial: bool,
    /// Lists of revoked certificates; if there is any, each issuer must have one.
    pub revoked: Vec<RevocationList>,
}

impl Trust {
    /// The trusted issuer of a certificate.
    pub fn issuer_of(&self, certificate: &Certificate) -> Option<&Certificate> {
        let issues = |candidate: &&Certificate| certificate.is_issued_by(candidate);
        let own = self.authorities.iter().find(issues);
        own.or_else(|| {
            let roots = if self.bundled_roots {
                root::with_subject(certificate.issuer_der())
            } else {
                &[]
            };
            roots.iter().find(issues)
        })
    }

    fn has(&self, certificate: &Certificate) -> bool {
        self.authorities.contains(certificate)
            || (self.bundled_roots
                && root::with_subject(certificate.subject_der()).contains(certificate))
    }

    /// A certificate and those above it, as far as they are known: what a server sends that was given no chain.
    pub fn complete(&self, mut chain: Vec<Certificate>) -> Vec<Certificate> {
        while let Some(last) = chain.last().filter(|last| !last.is_self_signed()) {
            match self.issuer_of(last) {
                Some(issuer) if chain.len() < MAX_DEPTH && !chain.contains(issuer) => {
                    chain.push(issuer.clone());
                }
                _ => break,
            }
        }
        chain
    }
}

/// Verifies what a peer sent, its own certificate first, at a time in seconds.
///
/// # Errors
/// What is wrong.
pub fn verify(
    sent: &[Certificate],
    trust: &Trust,
    purpose: Purpose,
    now: i64,
) -> Result<(), Verdict> {
    let Some((leaf, others)) = sent.split_first() else {
        return Err(Verdict::UNABLE_TO_GET_ISSUER_CERT);
    };
    let mut error = None;
    let mut chain = vec![leaf.clone()];
    let mut anchored = trust.has(leaf) && (trust.partial || leaf.is_self_signed());
    let mut trusted = usize::from(trust.has(leaf));
    while !anchored {
        let Some(last) = chain.last() else { break };
        if last.is_self_signed() {
            break;
        }
        if chain.len() >= MAX_DEPTH {
            error = Some(Verdict::CERT_CHAIN_TOO_LONG);
            break;
        }
        let next = if let Some(issuer) = trust.issuer_of(last) {
            trusted += 1;
            anchored = trust.partial || issuer.is_self_signed();
            issuer.clone()
        } else {
            let sent = others
                .iter()
                .find(|candidate| last.is_issued_by(candidate) && !chain.contains(candidate));
            match sent {
                Some(issuer) => issuer.clone(),
                None => break,
            }
        };
        if chain.contains(&next) {
            break;
        }
        chain.push(next);
    }
    let top_signs_itself = chain.last().is_some_and(Certificate::is_self_signed);
    if !anchored && error.is_none() {
        error = Some(match (top_signs_itself, chain.len()) {
            (true, 1) => Verdict::DEPTH_ZERO_SELF_SIGNED_CERT,
            (true, _) => Verdict::SELF_SIGNED_CERT_IN_CHAIN,
            (false, _) if trusted > 0 => Verdict::UNABLE_TO_GET_ISSUER_CERT,
            (false, _) => Verdict::UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        });
    }
    error = extension_error(&chain, purpose).or(error);
    error = revocation_error(&chain, trust, now).or(error);
    if !anchored && !top_signs_itself && chain.len() == 1 {
        error = Some(Verdict::UNABLE_TO_VERIFY_LEAF_SIGNATURE);
    }
    for (at, certificate) in chain.iter().enumerate().rev() {
        // Who vouches for himself is trusted for other reasons than his signature.
        if let Some(issuer) = chain.get(at + 1)
            && !certificate.is_signed_with(issuer.spki())
        {
            error = Some(Verdict::CERT_SIGNATURE_FAILURE);
        }
        if certificate.not_before() > now {
            error = Some(Verdict::CERT_NOT_YET_VALID);
        }
        if certificate.not_after() < now {
            error = Some(Verdict::CERT_HAS_EXPIRED);
        }
    }
    error.map_or(Ok(()), Err)
}

fn extension_error(chain: &[Certificate], purpose: Purpose) -> Option<Verdict> {
    let mut error = None;
    let mut below = 0_u32;
    for (depth, certificate) in chain.iter().enumerate() {
        if depth > 0 && !certificate.may_sign_certificates() {
            error = Some(Verdict::INVALID_CA);
        }
        if certificate.has_unknown_extension() {
            error = Some(Verdict::UNHANDLED_CRITICAL_EXTENSION);
        }
        if !certificate.allows(purpose) {
            error = Some(Verdict::INVALID_PURPOSE);
        }
        if depth > 0 && certificate.path_length().is_some_and(|most| below > most) {
            error = Some(Verdict::PATH_LENGTH_EXCEEDED);
        }
        if depth > 0 && !certificate.is_self_issued() {
            below += 1;
        }
    }
    error
}

fn revocation_error(chain: &[Certificate], trust: &Trust, now: i64) -> Option<Verdict> {
    if trust.revoked.is_empty() {
        return None;
    }
    let mut error = None;
    for (at, certificate) in chain.iter().enumerate() {
        let issuer = chain.get(at + 1).unwrap_or(certificate);
        let Some(list) = trust.revoked.iter().find(|list| list.is_for(certificate)) else {
            error = Some(Verdict::UNABLE_TO_GET_CRL);
            continue;
        };
        if !issuer.may_sign_lists() || !list.is_signed_with(issuer.spki()) {
            error = Some(Verdict::CRL_SIGNATURE_FAILURE);
        }
        if !list.has_begun(now) {
            error = Some(Verdict::CRL_NOT_YET_VALID);
        }
        if list.has_expired(now) {
            error = Some(Verdict::CRL_HAS_EXPIRED);
        }
        if list.revokes(certificate) {
            error = Some(Verdict::CERT_REVOKED);
        }
    }
    error
}
