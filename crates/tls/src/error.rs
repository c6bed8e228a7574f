//! What goes wrong, in OpenSSL's words.

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

/// An error of OpenSSL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Its packed number.
    pub number: u32,
    /// The part of OpenSSL that it is from.
    pub library: &'static str,
    /// What went wrong.
    pub reason: &'static str,
    /// What stands before the reason in Node's code.
    prefix: &'static str,
}

const SSL: u32 = 20 << 23;

const fn ssl(number: u32, reason: &'static str) -> TlsError {
    TlsError {
        number: SSL | number,
        library: "SSL routines",
        reason,
        prefix: "ERR_SSL_",
    }
}

const fn other(
    number: u32,
    library: &'static str,
    reason: &'static str,
    prefix: &'static str,
) -> TlsError {
    TlsError {
        number,
        library,
        reason,
        prefix,
    }
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        impl TlsError {
            $($(#[$doc])* pub const $name: Self = $value;)*
        }
    };
}

errors! {
    /// Text without a block of PEM.
    NO_START_LINE = other(0x0480_006C, "PEM routines", "no start line", "ERR_OSSL_PEM_");
    /// A block of PEM that holds no certificate.
    PEM_ASN1_LIB = other(0x0488_000D, "PEM routines", "ASN1 lib", "ERR_OSSL_PEM_");
    /// The key of a certificate that cannot be read.
    KEY_DECODE_ERROR = other(0x0600_0066, "public key routines", "decode error", "ERR_OSSL_EVP_");
    /// A certificate and a key that are not each other's.
    KEY_VALUES_MISMATCH = other(0x0580_0074, "x509 certificate routines", "key values mismatch", "ERR_OSSL_X509_");
    /// A list of revoked certificates that is none.
    BAD_CRL = other(0, "", "Failed to parse CRL", "");
    /// A list of ciphers that matches none.
    NO_CIPHER_MATCH = ssl(185, "no cipher match");
    /// No version is left.
    NO_PROTOCOLS_AVAILABLE = ssl(191, "no protocols available");
    /// No suite is left.
    NO_CIPHERS_AVAILABLE = ssl(181, "no ciphers available");
    /// The two have no suite in common.
    NO_SHARED_CIPHER = ssl(193, "no shared cipher");
    /// The two have no version in common.
    UNSUPPORTED_PROTOCOL = ssl(258, "unsupported protocol");
    /// What came is no TLS.
    WRONG_VERSION_NUMBER = ssl(267, "wrong version number");
    /// What came is longer than anything of TLS.
    PACKET_LENGTH_TOO_LONG = ssl(198, "packet length too long");
    /// There is no key to sign with.
    NO_SUITABLE_SIGNATURE_ALGORITHM = ssl(118, "no suitable signature algorithm");
    /// What came is HTTP.
    HTTP_REQUEST = ssl(156, "http request");
    /// What came is HTTP to a proxy.
    HTTPS_PROXY_REQUEST = ssl(155, "https proxy request");
    /// No certificate came.
    PEER_DID_NOT_RETURN_A_CERTIFICATE = ssl(199, "peer did not return a certificate");
    /// The two have no protocol in common.
    NO_APPLICATION_PROTOCOL = ssl(235, "no application protocol");
    /// More came than is kept.
    TOO_MUCH_DATA = ssl(146, "data length too long");
    /// It cannot be changed any more.
    WRONG_SSL_VERSION = ssl(266, "wrong ssl version");
    /// Nothing better is known.
    INTERNAL_ERROR = ssl(68, "internal error");
}

impl TlsError {
    /// Node's code.
    pub fn code(&self) -> String {
        let reason: String = self
            .reason
            .chars()
            .map(|char| match char {
                ' ' => '_',
                other => other.to_ascii_uppercase(),
            })
            .collect();
        format!("{}{reason}", self.prefix)
    }

    /// Whether Node has a code for it.
    pub fn is_coded(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// OpenSSL's line.
    pub fn message(&self) -> String {
        if self.is_coded() {
            format!(
                "error:{:08X}:{}::{}",
                self.number, self.library, self.reason
            )
        } else {
            self.reason.to_owned()
        }
    }

    /// What OpenSSL says to what rustls says.
    pub fn from_rustls(error: &Error) -> Self {
        match error {
            Error::AlertReceived(alert) => alert_received(*alert),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::WRONG_VERSION_NUMBER,
            Error::InvalidMessage(InvalidMessage::MessageTooLarge)
            | Error::PeerSentOversizedRecord => Self::PACKET_LENGTH_TOO_LONG,
            Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
                ssl(152, "excessive message size")
            }
            Error::InvalidMessage(_) => ssl(159, "length mismatch"),
            Error::NoCertificatesPresented => Self::PEER_DID_NOT_RETURN_A_CERTIFICATE,
            Error::NoApplicationProtocol => Self::NO_APPLICATION_PROTOCOL,
            Error::DecryptError => ssl(281, "decryption failed or bad record mac"),
            Error::PeerIncompatible(why) => incompatible(why),
            Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite) => {
                ssl(261, "wrong cipher returned")
            }
            Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
                ssl(370, "wrong signature type")
            }
            Error::PeerMisbehaved(
                PeerMisbehaved::AttemptedDowngradeToTls12WhenTls13IsSupported,
            ) => ssl(373, "inappropriate fallback"),
            Error::PeerMisbehaved(_) => ssl(244, "unexpected message"),
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                ssl(244, "unexpected message")
            }
            Error::InvalidCertificate(CertificateError::BadSignature) => ssl(123, "bad signature"),
            Error::InvalidCertificate(_) => ssl(134, "certificate verify failed"),
            _ => Self::INTERNAL_ERROR,
        }
    }
}

fn incompatible(why: &PeerIncompatible) -> TlsError {
    match why {
        PeerIncompatible::NoCipherSuitesInCommon => TlsError::NO_SHARED_CIPHER,
        PeerIncompatible::NoKxGroupsInCommon => ssl(101, "no suitable key share"),
        PeerIncompatible::NoSignatureSchemesInCommon => TlsError::NO_SUITABLE_SIGNATURE_ALGORITHM,
        PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            TlsError::NO_SUITABLE_SIGNATURE_ALGORITHM
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => TlsError::UNSUPPORTED_PROTOCOL,
        _ => ssl(47, "no shared signature algorithms"),
    }
}

/// The reason for each alert that a peer may send.
fn alert_received(alert: AlertDescription) -> TlsError {
    let number = u32::from(u8::from(alert));
    let reason = match number {
        10 => "ssl/tls alert unexpected message",
        20 => "ssl/tls alert bad record mac",
        21 => "tlsv1 alert decryption failed",
        22 => "tlsv1 alert record overflow",
        30 => "ssl/tls alert decompression failure",
        40 => "ssl/tls alert handshake failure",
        41 => "ssl/tls alert no certificate",
        42 => "ssl/tls alert bad certificate",
        43 => "ssl/tls alert unsupported certificate",
        44 => "ssl/tls alert certificate revoked",
        45 => "ssl/tls alert certificate expired",
        46 => "ssl/tls alert certificate unknown",
        47 => "ssl/tls alert illegal parameter",
        48 => "tlsv1 alert unknown ca",
        49 => "tlsv1 alert access denied",
        50 => "tlsv1 alert decode error",
        51 => "tlsv1 alert decrypt error",
        60 => "tlsv1 alert export restriction",
        70 => "tlsv1 alert protocol version",
        71 => "tlsv1 alert insufficient security",
        80 => "tlsv1 alert internal error",
        86 => "tlsv1 alert inappropriate fallback",
        90 => "tlsv1 alert user cancelled",
        100 => "tlsv1 alert no renegotiation",
        109 => "tlsv13 alert missing extension",
        110 => "tlsv1 unsupported extension",
        111 => "tlsv1 certificate unobtainable",
        112 => "tlsv1 unrecognized name",
        113 => "tlsv1 bad certificate status response",
        114 => "tlsv1 bad certificate hash value",
        115 => "tlsv1 unknown psk identity",
        116 => "tlsv13 alert certificate required",
        120 => "tlsv1 alert no application protocol",
        _ => "unknown alert type",
    };
    ssl(1000 + number, reason)
}

#[cfg(test)]
mod tests {
    use super::TlsError;

    #[test]
    fn codes_and_messages_are_nodes() {
        let error = TlsError::WRONG_VERSION_NUMBER;
        assert_eq!(error.code(), "ERR_SSL_WRONG_VERSION_NUMBER");
        assert_eq!(
            error.message(),
            "error:0A00010B:SSL routines::wrong version number"
        );
        assert_eq!(TlsError::NO_START_LINE.code(), "ERR_OSSL_PEM_NO_START_LINE");
    }
}
