//! What rustls asks about certificates. Whom to trust is decided after the handshake, by whoever uses the connection, as with
//! Node; that a peer has the key of its certificate is made sure of here.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::certificate::Certificate;
use crate::signature;

/// The one verifier of clients: sessions are resumed only with the verifier that they began with.
pub static SERVERS: LazyLock<Arc<dyn ServerCertVerifier>> =
    LazyLock::new(|| Arc::new(ServerVerifier::default()));

/// For clients. Keeps the status of the certificate that the server sent.
#[derive(Debug, Default)]
pub struct ServerVerifier {
    status: Option<Arc<Mutex<Vec<u8>>>>,
}

impl ServerVerifier {
    /// One that keeps the status there.
    pub fn keeping(status: Arc<Mutex<Vec<u8>>>) -> Self {
        Self {
            status: Some(status),
        }
    }
}

/// For servers.
#[derive(Debug)]
pub struct ClientVerifier {
    /// Whether a client must have a certificate.
    pub mandatory: bool,
    /// The names of those who are trusted.
    pub hints: Vec<DistinguishedName>,
}

fn check(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    tls13: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = Certificate::from_der(certificate.to_vec())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let valid = signature::is_handshake_signed_with(
        certificate.spki(),
        signed.scheme,
        message,
        signed.signature(),
        tls13,
    );
    if valid {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(status) = &self.status {
            *status.lock().unwrap_or_else(PoisonError::into_inner) = ocsp_response.to_vec();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check(message, cert, dss, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check(message, cert, dss, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::supported().supported_schemes()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check(message, cert, dss, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check(message, cert, dss, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::supported().supported_schemes()
    }
}
