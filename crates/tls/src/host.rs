//! Which hosts, addresses and mailboxes a certificate is for. Source of the rules: `X509_check_host` and its kin.

use std::net::IpAddr;

use crate::alt_name::GeneralName;
use crate::certificate::Certificate;

/// `X509_CHECK_FLAG_*`
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags(pub u32);

impl Flags {
    const ALWAYS_SUBJECT: u32 = 0x1;
    const NO_WILDCARDS: u32 = 0x2;
    const NO_PARTIAL_WILDCARDS: u32 = 0x4;
    const MULTI_LABEL_WILDCARDS: u32 = 0x8;
    const SINGLE_LABEL_SUBDOMAINS: u32 = 0x10;
    const NEVER_SUBJECT: u32 = 0x20;

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// The name of the certificate's that matches a host.
pub fn check_host(certificate: &Certificate, host: &str, flags: Flags) -> Option<String> {
    let names = certificate.alt_names().unwrap_or_default();
    let mut has_names = false;
    for name in &names {
        if let GeneralName::Dns(pattern) = name {
            has_names = true;
            if matches_host(pattern, host.as_bytes(), flags) {
                return Some(String::from_utf8_lossy(pattern).into_owned());
            }
        }
    }
    if flags.has(Flags::NEVER_SUBJECT) || (has_names && !flags.has(Flags::ALWAYS_SUBJECT)) {
        return None;
    }
    subject_values(certificate, "CN")
        .find(|name| matches_host(name.as_bytes(), host.as_bytes(), flags))
}

/// The mailbox of the certificate's that is this one.
pub fn check_email(certificate: &Certificate, email: &str, flags: Flags) -> Option<String> {
    let names = certificate.alt_names().unwrap_or_default();
    let mut has_names = false;
    for name in &names {
        if let GeneralName::Email(known) = name {
            has_names = true;
            if same_mailbox(known, email.as_bytes()) {
                return Some(email.to_owned());
            }
        }
    }
    if flags.has(Flags::NEVER_SUBJECT) || (has_names && !flags.has(Flags::ALWAYS_SUBJECT)) {
        return None;
    }
    subject_values(certificate, "emailAddress")
        .find(|known| same_mailbox(known.as_bytes(), email.as_bytes()))
}

/// Whether the certificate is for an address; `None` when the text is no address.
pub fn check_ip(certificate: &Certificate, address: &str) -> Option<bool> {
    let address = match address.parse().ok()? {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let names = certificate.alt_names().unwrap_or_default();
    Some(names.contains(&GeneralName::Ip(address)))
}

fn subject_values(certificate: &Certificate, key: &str) -> impl Iterator<Item = String> {
    let subject = certificate.subject();
    let values: Vec<String> = subject
        .attributes()
        .filter(|attribute| attribute.key == key)
        .map(|attribute| attribute.value.clone())
        .collect();
    values.into_iter()
}

/// The part before the last `@` counts letters' case, the host does not.
fn same_mailbox(one: &[u8], other: &[u8]) -> bool {
    let at = |text: &[u8]| text.iter().rposition(|byte| *byte == b'@');
    match (at(one), at(other)) {
        (Some(first), Some(second)) if first == second => {
            one.get(..first) == other.get(..first)
                && one
                    .get(first..)
                    .zip(other.get(first..))
                    .is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
        }
        _ => one == other,
    }
}

fn matches_host(pattern: &[u8], host: &[u8], flags: Flags) -> bool {
    if host.contains(&0) || pattern.contains(&0) {
        return false;
    }
    // A host that begins with a dot stands for everything below it.
    if host.len() > 1 && host.first() == Some(&b'.') {
        let Some(prefix) = pattern.len().checked_sub(host.len()) else {
            return false;
        };
        let (labels, tail) = pattern.split_at_checked(prefix).unwrap_or_default();
        return !labels.is_empty()
            && tail.eq_ignore_ascii_case(host)
            && !(flags.has(Flags::SINGLE_LABEL_SUBDOMAINS) && labels.contains(&b'.'));
    }
    match valid_star(pattern, flags) {
        Some(star) if !flags.has(Flags::NO_WILDCARDS) => {
            let (before, after) = pattern.split_at_checked(star).unwrap_or_default();
            wildcard_matches(before, after.get(1..).unwrap_or_default(), host, flags)
        }
        _ => pattern.eq_ignore_ascii_case(host),
    }
}

/// Where the one star of a pattern is, if it stands where it may.
fn valid_star(pattern: &[u8], flags: Flags) -> Option<usize> {
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (before, after) = (pattern.get(..star)?, pattern.get(star + 1..)?);
    let label_end = after
        .iter()
        .position(|byte| *byte == b'.')
        .unwrap_or(after.len());
    let whole_label = before.is_empty() && label_end == 0;
    let partial = flags.has(Flags::NO_PARTIAL_WILDCARDS) && !whole_label;
    let idna = before
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"));
    let inner = !before.is_empty() && label_end > 0;
    let ok = !after.contains(&b'*')
        && !before.contains(&b'.')
        && !partial
        && !idna
        && !inner
        && after.iter().filter(|byte| **byte == b'.').count() >= 2
        && after
            .iter()
            .chain(before)
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !after.ends_with(b".")
        && !after.windows(2).any(|pair| pair == b"..");
    ok.then_some(star)
}

fn wildcard_matches(before: &[u8], after: &[u8], host: &[u8], flags: Flags) -> bool {
    let Some(length) = host.len().checked_sub(before.len() + after.len()) else {
        return false;
    };
    let (head, rest) = host.split_at_checked(before.len()).unwrap_or_default();
    let (matched, tail) = rest.split_at_checked(length).unwrap_or_default();
    if !head.eq_ignore_ascii_case(before) || !tail.eq_ignore_ascii_case(after) {
        return false;
    }
    let whole_label = before.is_empty() && after.first() == Some(&b'.');
    if whole_label && matched.is_empty() {
        return false;
    }
    // A part of a label must not stand for a part of an encoded one.
    if !whole_label
        && host
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"))
    {
        return false;
    }
    let dots = whole_label && flags.has(Flags::MULTI_LABEL_WILDCARDS);
    matched
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || (dots && *byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::{Flags, matches_host};

    #[test]
    fn a_star_stands_for_one_label() {
        let matches =
            |pattern: &str, host: &str| matches_host(pattern.as_bytes(), host.as_bytes(), Flags(0));
        assert!(matches("*.example.com", "a.example.com"));
        assert!(matches("A.example.com", "a.EXAMPLE.com"));
        assert!(matches("f*.example.com", "foo.example.com"));
        assert!(!matches("*.example.com", "a.b.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.com", "example.com"));
        assert!(!matches("f*.example.com", "xn--foo.example.com"));
        assert!(!matches("a.*.example.com", "a.b.example.com"));
    }
}
