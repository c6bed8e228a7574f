//! The roots that browsers trust, as Mozilla lists them.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::certificate::Certificate;

/// The roots, by their subjects.
static ROOTS: LazyLock<HashMap<Vec<u8>, Vec<Certificate>>> = LazyLock::new(|| {
    let mut roots: HashMap<Vec<u8>, Vec<Certificate>> = HashMap::new();
    for der in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        if let Some(root) = Certificate::from_der(der.to_vec()) {
            roots
                .entry(root.subject_der().to_vec())
                .or_default()
                .push(root);
        }
    }
    roots
});

/// The roots with this subject.
pub fn with_subject(subject: &[u8]) -> &'static [Certificate] {
    ROOTS.get(subject).map(Vec::as_slice).unwrap_or_default()
}

/// All roots, in DER.
pub fn all() -> impl Iterator<Item = &'static [u8]> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(AsRef::as_ref)
}
