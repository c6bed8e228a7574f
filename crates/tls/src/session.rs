//! One connection: bytes of the network in and out, bytes of the program out and in, and what happens between.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::client::{ResolvesClientCert, Resumption as RustlsResumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{Accepted, Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, Connection, DistinguishedName, HandshakeKind, KeyLog,
    ProtocolVersion, ServerConfig, ServerConnection, SignatureScheme,
};

use crate::certificate::Certificate;
use crate::cipher;
use crate::context::{Context, Credentials};
use crate::error::TlsError;
use crate::session_store::{Resumption, SessionTable, Token, new_token};
use crate::verifier::{ClientVerifier, SERVERS, ServerVerifier};

/// What a peer may send while its first message waits for an answer.
const MAX_HELD_INPUT: usize = 256 << 10;
/// Names of trusted issuers that a server sends with its wish for a certificate.
const MAX_HINTS: usize = 64;
/// Bytes of what is decrypted at a time.
const PIECE: usize = 16 << 10;
/// Bytes of the header of a record.
const HEADER: usize = 5;
/// The longest record that is encrypted.
const MAX_RECORD: usize = (16 << 10) + 256;
/// Secrets for debugging that wait to be fetched.
const MAX_KEY_LINES: usize = 64;

/// What is spoken where the network ends TLS.
const PLAIN_PROTOCOL: &[u8] = b"http/1.1";

/// All clients without certificates have this one, so that sessions can be resumed.
static NO_CREDENTIALS: LazyLock<Arc<dyn ResolvesClientCert>> =
    LazyLock::new(|| Arc::new(Credentials::default()));

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client said hello; [`Session::accept`] answers it.
    Hello,
    /// Both sides have proved what they have to.
    HandshakeDone,
    /// The peer will send no more.
    Closed,
}

/// How a connection is to be made.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether the client is asked for a certificate.
    pub request_certificate: bool,
    /// Whether the handshake fails without one.
    pub require_certificate: bool,
    /// The name of the server that the client asks for.
    pub server_name: Option<String>,
    /// Protocols, the best first.
    pub protocols: Vec<Vec<u8>>,
    /// The session to resume.
    pub session: Option<Token>,
    /// The most bytes of one record.
    pub fragment: Option<usize>,
    /// Whether the client wants the status of the server's certificate.
    pub wants_status: bool,
    /// The status that the server gives.
    pub status: Option<Vec<u8>>,
    /// Whether secrets are told for debugging.
    pub keylog: bool,
}

enum State {
    New,
    Accepting(Box<Acceptor>),
    Held(Box<Accepted>),
    Running(Box<Connection>),
    /// The network ends TLS itself: bytes pass as they are.
    Plain,
    Failed,
}

/// Secrets, as lines of NSS's format.
#[derive(Debug, Default)]
struct KeyLines(Mutex<VecDeque<Vec<u8>>>);

impl KeyLog for KeyLines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        // Resumed sessions have a secret for early data, which nobody sends here: OpenSSL would not tell of it.
        if label == "CLIENT_EARLY_TRAFFIC_SECRET" {
            return;
        }
        let hex = |bytes: &[u8]| crate::der::hex(bytes).to_ascii_lowercase();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_KEY_LINES {
            lines.push_back(line.into_bytes());
        }
    }
}

/// See the module's text.
pub struct Session {
    state: State,
    is_server: bool,
    /// How it is to be made, until it is.
    pub settings: Settings,
    clock: Arc<dyn TimeProvider>,
    input: Vec<u8>,
    output: Vec<u8>,
    plaintext: Vec<u8>,
    hello_name: Option<String>,
    hello_protocols: Option<Vec<Vec<u8>>>,
    hello_schemes: Vec<SignatureScheme>,
    credentials: Option<Arc<Credentials>>,
    resumption: Option<Arc<Resumption>>,
    current_session: Option<Token>,
    key_lines: Arc<KeyLines>,
    status: Option<Arc<Mutex<Vec<u8>>>>,
    handshake_told: bool,
    closed: bool,
}

impl Session {
    /// A connection that [`Self::connect`] or a client's hello starts.
    pub fn new(is_server: bool, clock: Arc<dyn TimeProvider>) -> Self {
        Self {
            state: if is_server {
                State::Accepting(Box::default())
            } else {
                State::New
            },
            is_server,
            settings: Settings::default(),
            clock,
            input: Vec::new(),
            output: Vec::new(),
            plaintext: Vec::new(),
            hello_name: None,
            hello_protocols: None,
            hello_schemes: Vec::new(),
            credentials: None,
            resumption: None,
            current_session: None,
            key_lines: Arc::default(),
            status: None,
            handshake_told: false,
            closed: false,
        }
    }

    /// Whether it is the server's side.
    pub fn is_server(&self) -> bool {
        self.is_server
    }

    fn key_log(&self) -> Arc<dyn KeyLog> {
        self.key_lines.clone()
    }

    /// Starts a client's handshake.
    ///
    /// # Errors
    /// What it is to be made with leaves nothing.
    pub fn connect(
        &mut self,
        context: &mut Context,
        sessions: &Arc<SessionTable>,
    ) -> Result<(), TlsError> {
        if !matches!(self.state, State::New) {
            return Ok(());
        }
        self.state = State::Failed;
        let versions = context.versions();
        if versions.is_empty() {
            return Err(if context.has_versions() {
                TlsError::NO_CIPHERS_AVAILABLE
            } else {
                TlsError::NO_PROTOCOLS_AVAILABLE
            });
        }
        let credentials = context.credentials();
        let resolver: Arc<dyn ResolvesClientCert> = if credentials.is_empty() {
            NO_CREDENTIALS.clone()
        } else {
            credentials.clone()
        };
        let verifier = if self.settings.wants_status {
            let status = Arc::<Mutex<Vec<u8>>>::default();
            self.status = Some(status.clone());
            Arc::new(ServerVerifier::keeping(status))
        } else {
            SERVERS.clone()
        };
        let resumption = Arc::new(Resumption::new(sessions.clone(), self.settings.session));
        let mut config = ClientConfig::builder_with_details(context.provider(), self.clock.clone())
            .with_protocol_versions(&versions)
            .map_err(|_| TlsError::NO_CIPHERS_AVAILABLE)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&self.settings.protocols);
        config.resumption = RustlsResumption::store(resumption.clone());
        config.key_log = self.key_log();
        config.max_fragment_size = None;
        let named = self
            .settings
            .server_name
            .as_deref()
            .and_then(|name| ServerName::try_from(name.to_owned()).ok())
            .filter(|name| matches!(name, ServerName::DnsName(_)));
        config.enable_sni = named.is_some();
        let name = match named {
            Some(name) => name,
            None => ServerName::from(std::net::IpAddr::from([0, 0, 0, 0])),
        };
        let connection = ClientConnection::new(Arc::new(config), name)
            .map_err(|error| TlsError::from_rustls(&error))?;
        self.credentials = Some(credentials);
        self.resumption = Some(resumption);
        self.run(connection.into());
        Ok(())
    }

    /// Starts a client's connection over a network that ends TLS itself: it vouches for the server, and there is no
    /// certificate to look at.
    pub fn connect_plain(&mut self) {
        if matches!(self.state, State::New) {
            self.state = State::Plain;
        }
    }

    /// Whether the network ends TLS.
    pub fn is_plain(&self) -> bool {
        matches!(self.state, State::Plain)
    }

    fn run(&mut self, mut connection: Connection) {
        connection.set_buffer_limit(None);
        self.state = State::Running(Box::new(connection));
        self.collect_output();
    }

    /// Takes bytes of the network.
    ///
    /// # Errors
    /// They are too many to keep.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if matches!(self.state, State::Failed) {
            return Ok(());
        }
        if self.input.len() + bytes.len() > MAX_HELD_INPUT + bytes.len().min(PIECE * 4) {
            self.state = State::Failed;
            return Err(TlsError::TOO_MUCH_DATA);
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// Goes on with what was fed, up to the next event.
    ///
    /// # Errors
    /// The connection failed; what it has to say about it is in the output.
    pub fn advance(&mut self) -> Result<Option<Event>, TlsError> {
        let advanced = match &self.state {
            State::Accepting(_) => self.advance_acceptor(),
            State::Running(_) => self.advance_connection(),
            State::Plain => Ok(self.advance_plain()),
            State::New | State::Held(_) | State::Failed => return Ok(None),
        };
        self.collect_output();
        if advanced.is_err() {
            self.state = State::Failed;
        }
        advanced
    }

    fn advance_plain(&mut self) -> Option<Event> {
        self.plaintext.append(&mut self.input);
        let is_first = !std::mem::replace(&mut self.handshake_told, true);
        is_first.then_some(Event::HandshakeDone)
    }

    fn advance_acceptor(&mut self) -> Result<Option<Event>, TlsError> {
        let State::Accepting(acceptor) = &mut self.state else {
            return Ok(None);
        };
        if let Some(error) = not_tls(&self.input) {
            return Err(error);
        }
        while !self.input.is_empty() {
            let mut rest = self.input.as_slice();
            let read = acceptor
                .read_tls(&mut rest)
                .map_err(|_| TlsError::INTERNAL_ERROR)?;
            self.input.drain(..read);
            match acceptor.accept() {
                Ok(None) if read > 0 => {}
                Ok(None) => return Ok(None),
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    self.hello_name = hello.server_name().map(str::to_owned);
                    self.hello_protocols = hello
                        .alpn()
                        .map(|protocols| protocols.map(<[u8]>::to_vec).collect());
                    self.hello_schemes = hello.signature_schemes().to_vec();
                    self.state = State::Held(Box::new(accepted));
                    return Ok(Some(Event::Hello));
                }
                Err((error, mut alert)) => {
                    // Writing to a vector does not fail.
                    let _ = alert.write_all(&mut self.output);
                    return Err(TlsError::from_rustls(&error));
                }
            }
        }
        Ok(None)
    }

    /// Answers a client's hello.
    ///
    /// # Errors
    /// What it is to be made with does not do.
    pub fn accept(&mut self, context: &mut Context) -> Result<(), TlsError> {
        const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
        const PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];
        let State::Held(accepted) = std::mem::replace(&mut self.state, State::Failed) else {
            return Ok(());
        };
        let versions = context.versions();
        let mut credentials = context.credentials();
        if versions.is_empty() && !context.has_versions() {
            self.output.extend_from_slice(&PROTOCOL_VERSION);
            return Err(TlsError::UNSUPPORTED_PROTOCOL);
        }
        if versions.is_empty() || credentials.chain_for(&self.hello_schemes).is_none() {
            self.output.extend_from_slice(&HANDSHAKE_FAILURE);
            let tls13 = versions.contains(&&rustls::version::TLS13);
            return Err(if tls13 && credentials.is_empty() {
                TlsError::NO_SUITABLE_SIGNATURE_ALGORITHM
            } else {
                TlsError::NO_SHARED_CIPHER
            });
        }
        if let Some(status) = &self.settings.status {
            credentials = Arc::new(credentials.with_status(status));
        }
        let verifier = if self.settings.request_certificate {
            Arc::new(ClientVerifier {
                mandatory: self.settings.require_certificate,
                hints: hints(context),
            })
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let mut config = ServerConfig::builder_with_details(context.provider(), self.clock.clone())
            .with_protocol_versions(&versions)
            .map_err(|_| TlsError::NO_CIPHERS_AVAILABLE)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(credentials.clone());
        config.alpn_protocols.clone_from(&self.settings.protocols);
        config.key_log = self.key_log();
        config.session_storage = if context.session_timeout == 0 {
            Arc::new(NoServerSessionStorage {})
        } else {
            context.sessions()
        };
        if let Some(ticketer) = context.ticketer(&self.clock) {
            config.ticketer = ticketer;
        }
        self.credentials = Some(credentials);
        match accepted.into_connection(Arc::new(config)) {
            Ok(connection) => {
                self.run(ServerConnection::into(connection));
                Ok(())
            }
            Err((error, mut alert)) => {
                // Writing to a vector does not fail.
                let _ = alert.write_all(&mut self.output);
                Err(TlsError::from_rustls(&error))
            }
        }
    }

    fn advance_connection(&mut self) -> Result<Option<Event>, TlsError> {
        let State::Running(connection) = &mut self.state else {
            return Ok(None);
        };
        loop {
            let mut rest = self.input.as_slice();
            let read = if rest.is_empty() {
                0
            } else {
                connection
                    .read_tls(&mut rest)
                    .map_err(|_| TlsError::INTERNAL_ERROR)?
            };
            let header: Vec<u8> = self.input.iter().take(HEADER).copied().collect();
            self.input.drain(..read);
            let processed = connection
                .process_new_packets()
                .map_err(|error| refine(TlsError::from_rustls(&error), &header))?;
            let mut waiting = processed.plaintext_bytes_to_read();
            while waiting > 0 {
                let start = self.plaintext.len();
                self.plaintext.resize(start + waiting.min(PIECE), 0);
                let target = self.plaintext.get_mut(start..).unwrap_or_default();
                let read = connection.reader().read(target).unwrap_or(0);
                self.plaintext.truncate(start + read);
                waiting = if read == 0 {
                    0
                } else {
                    waiting - read.min(waiting)
                };
            }
            if !self.handshake_told && !connection.is_handshaking() {
                self.handshake_told = true;
                return Ok(Some(Event::HandshakeDone));
            }
            if processed.peer_has_closed() && !self.closed && self.plaintext.is_empty() {
                self.closed = true;
                return Ok(Some(Event::Closed));
            }
            // Piece by piece, so that what is decrypted is never much more than what came.
            if read == 0 || !self.plaintext.is_empty() {
                return Ok(None);
            }
        }
    }

    fn collect_output(&mut self) {
        if let State::Running(connection) = &mut self.state {
            while connection.wants_write() {
                // Writing to a vector does not fail; nothing written means nothing is left.
                if !matches!(connection.write_tls(&mut self.output), Ok(1..)) {
                    break;
                }
            }
        }
    }

    /// Bytes for the network.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.collect_output();
        std::mem::take(&mut self.output)
    }

    /// Bytes for the program.
    pub fn take_plaintext(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plaintext)
    }

    /// Whether bytes of the program can be sent.
    pub fn can_write(&self) -> bool {
        self.handshake_told && matches!(self.state, State::Running(_) | State::Plain)
    }

    /// Whether it failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// Whether a client's hello waits for [`Self::accept`].
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    /// Whether [`Self::connect`] was not called yet.
    pub fn is_new(&self) -> bool {
        matches!(self.state, State::New)
    }

    /// Encrypts bytes of the program.
    pub fn write(&mut self, bytes: &[u8]) {
        let fragment = self.settings.fragment.unwrap_or(usize::MAX).max(1);
        match &mut self.state {
            State::Running(connection) => {
                for piece in bytes.chunks(fragment) {
                    // Its buffers have no limit; the caller waits for what it wrote.
                    let _ = connection.writer().write_all(piece);
                }
            }
            State::Plain => self.output.extend_from_slice(bytes),
            State::New | State::Accepting(_) | State::Held(_) | State::Failed => {}
        }
        self.collect_output();
    }

    /// Tells the peer that nothing more comes.
    pub fn close(&mut self) {
        if let State::Running(connection) = &mut self.state {
            connection.send_close_notify();
        }
        self.collect_output();
    }

    // ---- what is known about it ------------------------------------------------------------------------------------

    fn connection(&self) -> Option<&Connection> {
        match &self.state {
            State::Running(connection) => Some(connection),
            _ => None,
        }
    }

    /// The name that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        if self.is_server {
            self.hello_name.as_deref()
        } else {
            self.settings.server_name.as_deref()
        }
    }

    /// The protocols that the client offers, in the form of the wire.
    pub fn offered_protocols(&self) -> Option<Vec<u8>> {
        let mut wire = Vec::new();
        for protocol in self.hello_protocols.as_ref()? {
            wire.push(u8::try_from(protocol.len()).ok()?);
            wire.extend_from_slice(protocol);
        }
        Some(wire)
    }

    /// Signature schemes that the client offers.
    pub fn offered_schemes(&self) -> &[SignatureScheme] {
        &self.hello_schemes
    }

    /// The protocol that the two speak.
    pub fn protocol(&self) -> Option<&[u8]> {
        if self.is_plain() {
            let offered = self.settings.protocols.iter().map(Vec::as_slice);
            return offered
                .into_iter()
                .find(|protocol| *protocol == PLAIN_PROTOCOL);
        }
        self.connection()?.alpn_protocol()
    }

    /// The peer's certificates, its own first.
    pub fn peer_certificates(&self) -> Vec<Certificate> {
        let sent = self
            .connection()
            .and_then(|connection| connection.peer_certificates());
        sent.unwrap_or_default()
            .iter()
            .filter_map(|der: &CertificateDer<'_>| Certificate::from_der(der.to_vec()))
            .collect()
    }

    /// The certificate that this side showed.
    pub fn own_certificate(&self) -> Option<Certificate> {
        Certificate::from_der(self.credentials.as_ref()?.first()?)
    }

    /// OpenSSL's and the standard's name of the suite, and its version.
    pub fn cipher(&self) -> Option<(&'static str, String, &'static str)> {
        if self.is_plain() {
            // What a server with TLS 1.3 would choose first.
            const SUITE: &str = "TLS_AES_256_GCM_SHA384";
            return Some((SUITE, SUITE.to_owned(), "TLSv1.3"));
        }
        let suite = self.connection()?.negotiated_cipher_suite()?;
        let (name, standard) = cipher::name_of(suite.suite())?;
        let version = if suite.tls13().is_some() {
            "TLSv1.3"
        } else {
            "TLSv1.2"
        };
        Some((name, standard, version))
    }

    /// The version.
    pub fn version(&self) -> Option<&'static str> {
        if self.is_plain() {
            return Some("TLSv1.3");
        }
        Some(match self.connection()?.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "unknown",
        })
    }

    /// The name and the bits of the group that the keys are from.
    pub fn key_exchange(&self) -> Option<(&'static str, i32)> {
        cipher::group_of(self.connection()?.negotiated_key_exchange_group()?.name())
    }

    /// Whether an earlier session goes on: no certificate is shown then, as there is none when the network ends TLS.
    pub fn is_resumed(&self) -> bool {
        let resumed = Some(HandshakeKind::Resumed);
        let connection = self.connection();
        self.is_plain() || connection.is_some_and(|it| it.handshake_kind() == resumed)
    }

    /// Secrets for other protocols.
    pub fn export_keying_material(
        &self,
        label: &[u8],
        context: Option<&[u8]>,
        length: usize,
    ) -> Option<Vec<u8>> {
        let output = vec![0; length];
        self.connection()?
            .export_keying_material(output, label, context)
            .ok()
    }

    /// A session that the server gave, which can be resumed.
    pub fn next_session(&mut self) -> Option<Token> {
        let token = self.resumption.as_ref()?.next_received()?;
        self.current_session = Some(token);
        Some(token)
    }

    /// What stands for the session of now.
    pub fn current_session(&mut self) -> Option<Token> {
        if !self.handshake_told {
            return None;
        }
        if self.current_session.is_none() {
            self.current_session = self
                .settings
                .session
                .filter(|_| self.is_resumed())
                .or_else(new_token);
        }
        self.current_session
    }

    /// A line of secrets for debugging.
    pub fn next_key_line(&self) -> Option<Vec<u8>> {
        let mut lines = self
            .key_lines
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lines.pop_front()
    }

    /// The status of the server's certificate, if that was asked for and the handshake is done.
    pub fn take_status(&mut self) -> Option<Vec<u8>> {
        let status = self.status.take()?;
        let status = std::mem::take(&mut *status.lock().unwrap_or_else(PoisonError::into_inner));
        Some(status)
    }
}

/// OpenSSL looks at the length before it looks at the version.
fn refine(error: TlsError, header: &[u8]) -> TlsError {
    match header {
        [_, _, _, high, low]
            if error == TlsError::WRONG_VERSION_NUMBER
                && usize::from(u16::from_be_bytes([*high, *low])) > MAX_RECORD =>
        {
            TlsError::PACKET_LENGTH_TOO_LONG
        }
        _ => error,
    }
}

/// What came instead of TLS.
fn not_tls(input: &[u8]) -> Option<TlsError> {
    const HANDSHAKE: u8 = 22;
    const METHODS: [&[u8]; 4] = [b"GET ", b"POST", b"HEAD", b"PUT "];
    let start = input.get(..4).unwrap_or(input);
    if input.first().is_none_or(|first| *first == HANDSHAKE) {
        return None;
    }
    Some(if METHODS.contains(&start) {
        TlsError::HTTP_REQUEST
    } else if start == b"CONN" {
        TlsError::HTTPS_PROXY_REQUEST
    } else {
        TlsError::WRONG_VERSION_NUMBER
    })
}

fn hints(context: &Context) -> Vec<DistinguishedName> {
    let subjects = context.trust.authorities.iter().take(MAX_HINTS);
    subjects
        .map(|authority| DistinguishedName::from(authority.subject_der().to_vec()))
        .collect()
}

impl Session {
    /// OpenSSL's names of the signature schemes that the client offers and we have.
    pub fn offered_scheme_names(&self) -> Vec<&'static str> {
        self.hello_schemes
            .iter()
            .filter_map(|scheme| scheme_name(*scheme))
            .collect()
    }
}

fn scheme_name(scheme: SignatureScheme) -> Option<&'static str> {
    Some(match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ECDSA+SHA256",
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ECDSA+SHA384",
        SignatureScheme::ED25519 => "Ed25519",
        SignatureScheme::RSA_PSS_SHA256 => "RSA-PSS+SHA256",
        SignatureScheme::RSA_PSS_SHA384 => "RSA-PSS+SHA384",
        SignatureScheme::RSA_PSS_SHA512 => "RSA-PSS+SHA512",
        SignatureScheme::RSA_PKCS1_SHA256 => "RSA+SHA256",
        SignatureScheme::RSA_PKCS1_SHA384 => "RSA+SHA384",
        SignatureScheme::RSA_PKCS1_SHA512 => "RSA+SHA512",
        _ => return None,
    })
}
