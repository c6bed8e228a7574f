//! What connections are made with: certificates and keys, whom to trust, versions, suites. Node's `SecureContext`.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions,
};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion};

use crate::certificate::Certificate;
use crate::chain::Trust;
use crate::cipher;
use crate::error::TlsError;
use crate::ticket::{KEY_BYTES, Ticketer, random_keys};

/// `TLS1_2_VERSION`
pub const TLS1_2: i32 = 0x0303;
/// `TLS1_3_VERSION`
pub const TLS1_3: i32 = 0x0304;
/// Seconds that a session can be resumed, as in OpenSSL.
const SESSION_SECONDS: u32 = 300;
/// Sessions that a server keeps.
const SERVER_SESSIONS: usize = 256;
/// Certificates and keys of one context, of each kind.
const MAX_CERTIFICATES: usize = 4096;

/// A certificate with those above it, and its key once that is known.
#[derive(Clone, Debug)]
struct Identity {
    chain: Vec<Certificate>,
    key: Option<Arc<dyn SigningKey>>,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Context {
    identities: Vec<Identity>,
    /// Whom to trust.
    pub trust: Trust,
    /// The lowest version; 0 is any.
    pub min_version: i32,
    /// The highest version; 0 is any.
    pub max_version: i32,
    suites: Vec<SupportedCipherSuite>,
    suites_13: Vec<SupportedCipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
    /// Seconds that a session can be resumed.
    pub session_timeout: u32,
    /// The keys of tickets.
    pub ticket_keys: [u8; KEY_BYTES],
    /// Whether tickets are given.
    pub tickets: bool,
    sessions: Arc<dyn StoresServerSessions>,
    credentials: Option<Arc<Credentials>>,
}

impl Context {
    /// One with OpenSSL's defaults; `None` without random bytes.
    pub fn new() -> Option<Self> {
        Some(Self {
            identities: Vec::new(),
            trust: Trust::default(),
            min_version: 0,
            max_version: 0,
            suites: cipher::parse_list("DEFAULT").ok()?,
            suites_13: cipher::default_suites(),
            groups: cipher::parse_groups("auto")?,
            session_timeout: SESSION_SECONDS,
            ticket_keys: random_keys()?,
            tickets: true,
            sessions: ServerSessionMemoryCache::new(SERVER_SESSIONS),
            credentials: None,
        })
    }

    /// Whether nothing more may be added.
    pub fn is_full(&self) -> bool {
        self.identities.len() + self.trust.authorities.len() + self.trust.revoked.len()
            >= MAX_CERTIFICATES
    }

    /// Adds a certificate, with those above it.
    pub fn add_certificate(&mut self, chain: Vec<Certificate>) {
        self.credentials = None;
        // OpenSSL has one place for each kind of key.
        let kind = |chain: &[Certificate]| chain.first().map(|first| key_kind(first.spki()));
        self.identities
            .retain(|known| kind(&known.chain) != kind(&chain));
        self.identities.push(Identity { chain, key: None });
    }

    /// Gives the certificate with this public key its private key, as PKCS#8.
    ///
    /// # Errors
    /// There is none, or no connection can be made with such a key.
    pub fn add_key(&mut self, spki: &[u8], pkcs8: Vec<u8>) -> Result<(), TlsError> {
        self.credentials = None;
        let holds = |identity: &&mut Identity| {
            identity
                .chain
                .first()
                .is_some_and(|first| first.spki() == spki)
        };
        let Some(identity) = self.identities.iter_mut().find(holds) else {
            let kind = key_kind(spki);
            let same_kind = self.identities.iter().any(|identity| {
                identity
                    .chain
                    .first()
                    .is_some_and(|first| key_kind(first.spki()) == kind)
            });
            return if same_kind || !self.identities.is_empty() {
                Err(TlsError::KEY_VALUES_MISMATCH)
            } else {
                Ok(())
            };
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        // What ring cannot sign with stays without a key: the two then have no suite in common.
        identity.key = rustls::crypto::ring::sign::any_supported_type(&key).ok();
        Ok(())
    }

    /// The certificate that was added last.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.identities.last()?.chain.first()
    }

    /// Its issuer.
    pub fn issuer(&self) -> Option<&Certificate> {
        let chain = &self.identities.last()?.chain;
        let first = chain.first()?;
        let above = chain.get(1).filter(|above| first.is_issued_by(above));
        above.or_else(|| self.trust.issuer_of(first))
    }

    /// Sets the suites of TLS 1.2 by a list of OpenSSL's.
    ///
    /// # Errors
    /// It matches none.
    pub fn set_ciphers(&mut self, list: &str) -> Result<(), TlsError> {
        self.suites = cipher::parse_list(list)?;
        Ok(())
    }

    /// Sets the suites of TLS 1.3.
    ///
    /// # Errors
    /// One is unknown.
    pub fn set_suites(&mut self, list: &str) -> Result<(), TlsError> {
        self.suites_13 = cipher::parse_suites(list)?;
        Ok(())
    }

    /// Sets the groups; whether all are known.
    pub fn set_groups(&mut self, list: &str) -> bool {
        match cipher::parse_groups(list) {
            Some(groups) => {
                self.groups = groups;
                true
            }
            None => false,
        }
    }

    /// The versions that connections may have.
    pub fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let allowed = |version: i32| {
            (self.min_version == 0 || self.min_version <= version)
                && (self.max_version == 0 || version <= self.max_version)
        };
        let mut versions = Vec::new();
        if allowed(TLS1_3) && !self.suites_13.is_empty() {
            versions.push(&rustls::version::TLS13);
        }
        if allowed(TLS1_2) && !self.suites.is_empty() {
            versions.push(&rustls::version::TLS12);
        }
        versions
    }

    /// Whether the versions alone leave something.
    pub fn has_versions(&self) -> bool {
        (self.min_version <= TLS1_3) && (self.max_version == 0 || self.max_version >= TLS1_2)
    }

    /// What rustls computes with.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = self.suites_13.iter().chain(&self.suites).copied().collect();
        provider.kx_groups.clone_from(&self.groups);
        Arc::new(provider)
    }

    /// What proves who this side is. The same as long as nothing is added, so that sessions can be resumed.
    pub fn credentials(&mut self) -> Arc<Credentials> {
        if let Some(known) = &self.credentials {
            return known.clone();
        }
        let keys = self.identities.iter().filter_map(|identity| {
            let key = identity.key.clone()?;
            let chain = match identity.chain.as_slice() {
                [alone] => self.trust.complete(vec![alone.clone()]),
                chain => chain.to_vec(),
            };
            let chain = chain
                .iter()
                .map(|certificate| CertificateDer::from(certificate.der().to_vec()));
            Some(Arc::new(CertifiedKey::new(chain.collect(), key)))
        });
        let credentials = Arc::new(Credentials {
            keys: keys.rev().collect(),
        });
        self.credentials = Some(credentials.clone());
        credentials
    }

    /// What seals tickets, unless none are given.
    pub fn ticketer(&self, clock: &Arc<dyn TimeProvider>) -> Option<Arc<dyn ProducesTickets>> {
        if !self.tickets {
            return None;
        }
        let ticketer = Ticketer::new(&self.ticket_keys, self.session_timeout, clock.clone())?;
        Some(Arc::new(ticketer))
    }

    /// The sessions that a server keeps.
    pub fn sessions(&self) -> Arc<dyn StoresServerSessions> {
        self.sessions.clone()
    }
}

/// The algorithm of a public key, as bytes to compare.
fn key_kind(spki: &[u8]) -> Vec<u8> {
    let algorithm = || {
        crate::der::Reader(spki)
            .next()?
            .children()
            .next()?
            .children()
            .next()
    };
    algorithm()
        .map(|oid| oid.value.to_vec())
        .unwrap_or_default()
}

/// Certificates with their keys.
#[derive(Debug, Default)]
pub struct Credentials {
    keys: Vec<Arc<CertifiedKey>>,
}

impl Credentials {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The certificates that are shown to whoever knows these schemes.
    pub fn chain_for(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.keys
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .cloned()
    }

    /// The same with the status of the certificates.
    #[must_use]
    pub fn with_status(&self, status: &[u8]) -> Self {
        let keys = self.keys.iter().map(|key| {
            let mut key = CertifiedKey::clone(key);
            key.ocsp = Some(status.to_vec());
            Arc::new(key)
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// The certificate that is shown first.
    pub fn first(&self) -> Option<Vec<u8>> {
        Some(self.keys.first()?.cert.first()?.to_vec())
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.chain_for(client_hello.signature_schemes())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.chain_for(schemes)
    }

    fn has_certs(&self) -> bool {
        !self.is_empty()
    }
}
