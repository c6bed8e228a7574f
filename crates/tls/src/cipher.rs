//! Cipher suites and groups by OpenSSL's names, and OpenSSL's lists of them.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::{cipher_suite as ring, kx_group};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite};

use crate::error::TlsError;

/// A suite that OpenSSL knows.
struct Known {
    /// OpenSSL's name.
    name: &'static str,
    /// What it is put together from.
    tags: &'static str,
    /// Ours, if there is one.
    suite: Option<SupportedCipherSuite>,
}

const fn known(name: &'static str, tags: &'static str) -> Known {
    Known {
        name,
        tags,
        suite: None,
    }
}

const fn ours(name: &'static str, tags: &'static str, suite: SupportedCipherSuite) -> Known {
    Known {
        name,
        tags,
        suite: Some(suite),
    }
}

/// Suites of TLS 1.2 and before, in OpenSSL's order.
static SUITES: &[Known] = &[
    ours(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE aECDSA ECDSA AES AES256 AESGCM SHA384 HIGH",
        ring::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    ours(
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE aRSA AES AES256 AESGCM SHA384 HIGH",
        ring::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    known(
        "DHE-RSA-AES256-GCM-SHA384",
        "DHE aRSA AES AES256 AESGCM SHA384 HIGH",
    ),
    ours(
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE aECDSA ECDSA CHACHA20 HIGH",
        ring::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ours(
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE aRSA CHACHA20 HIGH",
        ring::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    known("DHE-RSA-CHACHA20-POLY1305", "DHE aRSA CHACHA20 HIGH"),
    ours(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE aECDSA ECDSA AES AES128 AESGCM SHA256 HIGH",
        ring::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    ours(
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE aRSA AES AES128 AESGCM SHA256 HIGH",
        ring::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    known(
        "DHE-RSA-AES128-GCM-SHA256",
        "DHE aRSA AES AES128 AESGCM SHA256 HIGH",
    ),
    known(
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE aECDSA ECDSA AES AES256 SHA384 HIGH",
    ),
    known(
        "ECDHE-RSA-AES256-SHA384",
        "ECDHE aRSA AES AES256 SHA384 HIGH",
    ),
    known("DHE-RSA-AES256-SHA256", "DHE aRSA AES AES256 SHA256 HIGH"),
    known(
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE aECDSA ECDSA AES AES128 SHA256 HIGH",
    ),
    known(
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE aRSA AES AES128 SHA256 HIGH",
    ),
    known("DHE-RSA-AES128-SHA256", "DHE aRSA AES AES128 SHA256 HIGH"),
    known(
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE aECDSA ECDSA AES AES256 SHA SHA1 HIGH",
    ),
    known(
        "ECDHE-RSA-AES256-SHA",
        "ECDHE aRSA AES AES256 SHA SHA1 HIGH",
    ),
    known("DHE-RSA-AES256-SHA", "DHE aRSA AES AES256 SHA SHA1 HIGH"),
    known(
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE aECDSA ECDSA AES AES128 SHA SHA1 HIGH",
    ),
    known(
        "ECDHE-RSA-AES128-SHA",
        "ECDHE aRSA AES AES128 SHA SHA1 HIGH",
    ),
    known("DHE-RSA-AES128-SHA", "DHE aRSA AES AES128 SHA SHA1 HIGH"),
    known(
        "DHE-PSK-AES256-GCM-SHA384",
        "DHEPSK PSK AES AES256 AESGCM SHA384 HIGH",
    ),
    known(
        "DHE-PSK-AES128-GCM-SHA256",
        "DHEPSK PSK AES AES128 AESGCM SHA256 HIGH",
    ),
    known("PSK-AES256-GCM-SHA384", "PSK AES AES256 AESGCM SHA384 HIGH"),
    known("PSK-AES128-GCM-SHA256", "PSK AES AES128 AESGCM SHA256 HIGH"),
    known("PSK-AES256-CBC-SHA", "PSK AES AES256 SHA SHA1 HIGH"),
    known("PSK-AES128-CBC-SHA", "PSK AES AES128 SHA SHA1 HIGH"),
    known(
        "AES256-GCM-SHA384",
        "RSA kRSA aRSA AES AES256 AESGCM SHA384 HIGH",
    ),
    known(
        "AES128-GCM-SHA256",
        "RSA kRSA aRSA AES AES128 AESGCM SHA256 HIGH",
    ),
    known("AES256-SHA256", "RSA kRSA aRSA AES AES256 SHA256 HIGH"),
    known("AES128-SHA256", "RSA kRSA aRSA AES AES128 SHA256 HIGH"),
    known("AES256-SHA", "RSA kRSA aRSA AES AES256 SHA SHA1 HIGH"),
    known("AES128-SHA", "RSA kRSA aRSA AES AES128 SHA SHA1 HIGH"),
    known("AECDH-AES128-SHA", "aNULL AES AES128 SHA SHA1"),
    known("AECDH-NULL-SHA", "aNULL eNULL NULL SHA SHA1"),
    known("NULL-SHA256", "eNULL NULL SHA256"),
];

/// Suites of TLS 1.3.
static SUITES_13: &[Known] = &[
    ours("TLS_AES_256_GCM_SHA384", "", ring::TLS13_AES_256_GCM_SHA384),
    ours(
        "TLS_CHACHA20_POLY1305_SHA256",
        "",
        ring::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    ours("TLS_AES_128_GCM_SHA256", "", ring::TLS13_AES_128_GCM_SHA256),
    known("TLS_AES_128_CCM_SHA256", ""),
    known("TLS_AES_128_CCM_8_SHA256", ""),
];

impl Known {
    fn is(&self, alias: &str) -> bool {
        match alias {
            "ALL" | "DEFAULT" => !self.has("aNULL") && !self.has("eNULL"),
            "TLSv1.2" => !self.has("SHA1"),
            "TLSv1" | "TLSv1.0" | "SSLv3" => self.has("SHA1"),
            "EECDH" | "kECDHE" | "kEECDH" => self.has("ECDHE"),
            "EDH" | "kDHE" | "kEDH" | "DH" => self.has("DHE"),
            "ECDH" => self.has("ECDHE"),
            _ => self.name == alias || self.has(alias),
        }
    }

    fn has(&self, tag: &str) -> bool {
        self.tags.split(' ').any(|known| known == tag)
    }
}

/// The suites of TLS 1.2 that a list names, in its order.
///
/// # Errors
/// It names none that OpenSSL has.
pub fn parse_list(list: &str) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut killed: Vec<usize> = Vec::new();
    for item in list
        .split([':', ',', ' ', ';'])
        .filter(|item| !item.is_empty())
    {
        // What begins with `@` is about levels of security.
        let item = item.split('@').next().unwrap_or_default();
        if item.is_empty() {
            continue;
        }
        let (action, aliases) = match item.strip_prefix(['!', '-', '+']) {
            Some(rest) => (item.chars().next(), rest),
            None => (None, item),
        };
        let matching: Vec<usize> = SUITES
            .iter()
            .enumerate()
            .filter(|(_, suite)| aliases.split('+').all(|alias| suite.is(alias)))
            .map(|(at, _)| at)
            .collect();
        match action {
            Some('!') => {
                chosen.retain(|at| !matching.contains(at));
                killed.extend(matching);
            }
            Some('-') => chosen.retain(|at| !matching.contains(at)),
            Some(_) => {
                let (moved, kept) = chosen.into_iter().partition(|at| matching.contains(at));
                chosen = kept;
                let moved: Vec<usize> = moved;
                chosen.extend(moved);
            }
            None => {
                for at in matching {
                    if !chosen.contains(&at) && !killed.contains(&at) {
                        chosen.push(at);
                    }
                }
            }
        }
    }
    if chosen.is_empty() && !list.is_empty() {
        return Err(TlsError::NO_CIPHER_MATCH);
    }
    Ok(chosen
        .into_iter()
        .filter_map(|at| SUITES.get(at)?.suite)
        .collect())
}

/// The suites of TLS 1.3 that a list names.
///
/// # Errors
/// It names one that OpenSSL has not.
pub fn parse_suites(list: &str) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let mut chosen = Vec::new();
    for name in list.split(':').filter(|name| !name.is_empty()) {
        let known = SUITES_13.iter().find(|known| known.name == name);
        chosen.extend(known.ok_or(TlsError::NO_CIPHER_MATCH)?.suite);
    }
    Ok(chosen)
}

/// The suites of TLS 1.3 where no list names them.
pub fn default_suites() -> Vec<SupportedCipherSuite> {
    SUITES_13.iter().filter_map(|known| known.suite).collect()
}

/// The names of all suites that connections can have.
pub fn names() -> impl Iterator<Item = &'static str> {
    let all = SUITES_13.iter().chain(SUITES);
    all.filter(|known| known.suite.is_some())
        .map(|known| known.name)
}

/// OpenSSL's name and the standard's name of a suite.
pub fn name_of(suite: CipherSuite) -> Option<(&'static str, String)> {
    let known = SUITES_13
        .iter()
        .chain(SUITES)
        .find(|known| known.suite.is_some_and(|known| known.suite() == suite))?;
    let standard = suite.as_str()?.replacen("TLS13_", "TLS_", 1);
    Some((known.name, standard))
}

/// The groups that a list names; `auto` is all.
pub fn parse_groups(list: &str) -> Option<Vec<&'static dyn SupportedKxGroup>> {
    let all = [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    if list == "auto" {
        return Some(all.to_vec());
    }
    let mut groups: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for name in list.split(':') {
        match name.to_ascii_lowercase().as_str() {
            "x25519" => groups.push(kx_group::X25519),
            "p-256" | "prime256v1" | "secp256r1" => groups.push(kx_group::SECP256R1),
            "p-384" | "secp384r1" => groups.push(kx_group::SECP384R1),
            // These are OpenSSL's and not ours.
            "p-521" | "secp521r1" | "x448" | "secp256k1" | "ffdhe2048" | "ffdhe3072"
            | "brainpoolp256r1" | "brainpoolp384r1" | "brainpoolp512r1" | "secp224r1" => {}
            _ => return None,
        }
    }
    Some(groups)
}

/// OpenSSL's name and the bits of a group.
pub fn group_of(group: NamedGroup) -> Option<(&'static str, i32)> {
    Some(match group {
        NamedGroup::X25519 => ("X25519", 253),
        NamedGroup::secp256r1 => ("prime256v1", 256),
        NamedGroup::secp384r1 => ("secp384r1", 384),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{name_of, names, parse_list};

    fn list(list: &str) -> Vec<&'static str> {
        let suites = parse_list(list).unwrap_or_default();
        suites
            .iter()
            .filter_map(|suite| Some(name_of(suite.suite())?.0))
            .collect()
    }

    #[test]
    fn lists_are_openssls() {
        assert_eq!(
            list("ECDHE-RSA-AES128-GCM-SHA256:HIGH:!aECDSA:!CHACHA20:@SECLEVEL=0"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(list("ECDHE+AES128+aRSA"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(list("AES128-SHA"), [""; 0]);
        assert!(parse_list("AES128-SHA").is_ok());
        assert!(parse_list("not-a-cipher").is_err());
        assert_eq!(names().count(), 9);
    }
}
