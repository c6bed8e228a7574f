//! General names, as Node prints them: what could be taken for two names stands in quotes.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::der::{self, Element, OID, Reader};
use crate::name::{self, Name};

const UTF8_STRING: u8 = 0x0c;
const IA5_STRING: u8 = 0x16;

/// One general name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GeneralName {
    /// `otherName`: its type, the tag and the contents of its value.
    Other(Vec<u8>, u8, Vec<u8>),
    /// `rfc822Name`
    Email(Vec<u8>),
    /// `dNSName`
    Dns(Vec<u8>),
    /// `x400Address`
    X400,
    /// `directoryName`, the contents of its sequence.
    Directory(Vec<u8>),
    /// `ediPartyName`
    Edi,
    /// `uniformResourceIdentifier`
    Uri(Vec<u8>),
    /// `iPAddress`
    Ip(Vec<u8>),
    /// `registeredID`
    Registered(Vec<u8>),
}

impl GeneralName {
    /// The name in an element.
    pub fn parse(element: Element<'_>) -> Option<Self> {
        let value = element.value.to_vec();
        Some(match element.tag & 0x1f {
            0 => {
                let mut parts = element.children();
                let kind = parts.next()?.tagged(OID)?.value.to_vec();
                let inner = parts.next()?.children().next()?;
                Self::Other(kind, inner.tag, inner.value.to_vec())
            }
            1 => Self::Email(value),
            2 => Self::Dns(value),
            3 => Self::X400,
            4 => Self::Directory(element.children().next()?.value.to_vec()),
            5 => Self::Edi,
            6 => Self::Uri(value),
            7 => Self::Ip(value),
            8 => Self::Registered(value),
            _ => return None,
        })
    }

    /// The names in a sequence.
    pub fn parse_all(der: &[u8]) -> Option<Vec<Self>> {
        let sequence = Reader(der).next()?.tagged(der::SEQUENCE)?;
        sequence.children().map(Self::parse).collect()
    }

    /// Appends what Node prints.
    pub fn print(&self, out: &mut String) {
        match self {
            Self::Dns(name) => {
                out.push_str("DNS:");
                print_bytes(out, name, false, None);
            }
            Self::Email(name) => {
                out.push_str("email:");
                print_bytes(out, name, false, None);
            }
            Self::Uri(name) => {
                out.push_str("URI:");
                print_bytes(out, name, false, None);
            }
            Self::Directory(name) => {
                out.push_str("DirName:");
                let text = Name::parse(name).rfc2253();
                print_bytes(out, text.as_bytes(), true, None);
            }
            Self::Ip(address) => {
                out.push_str("IP Address:");
                out.push_str(&ip_text(address));
            }
            Self::Registered(oid) => {
                out.push_str("Registered ID:");
                out.push_str(&der::dotted(oid));
            }
            Self::X400 => out.push_str("X400Name:<unsupported>"),
            Self::Edi => out.push_str("EdiPartyName:<unsupported>"),
            Self::Other(kind, tag, value) => {
                let known = other_prefix(kind).filter(|(_, wanted)| wanted == tag);
                match known {
                    Some((prefix, _)) => {
                        out.push_str("othername:");
                        print_bytes(out, value, *tag == UTF8_STRING, Some(prefix));
                    }
                    None => out.push_str("othername:<unsupported>"),
                }
            }
        }
    }
}

/// The kinds of `otherName` that are printed, and the string that each has to hold.
fn other_prefix(kind: &[u8]) -> Option<(&'static str, u8)> {
    Some(match der::dotted(kind).as_str() {
        "1.3.6.1.5.5.7.8.9" => ("SmtpUTF8Mailbox", UTF8_STRING),
        "1.3.6.1.5.5.7.8.5" => ("XmppAddr", UTF8_STRING),
        "1.3.6.1.5.5.7.8.7" => ("SRVName", IA5_STRING),
        "1.3.6.1.5.5.7.8.8" => ("NAIRealm", UTF8_STRING),
        "1.3.6.1.4.1.311.20.2.3" => ("UPN", UTF8_STRING),
        _ => return None,
    })
}

/// An address; IPv6 with all its groups.
pub fn ip_text(address: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(address) {
        return Ipv4Addr::from(four).to_string();
    }
    match <[u8; 16]>::try_from(address) {
        Ok(sixteen) => {
            let groups = Ipv6Addr::from(sixteen).segments();
            let groups: Vec<String> = groups.iter().map(|group| format!("{group:X}")).collect();
            groups.join(":")
        }
        Err(_) => "<invalid>".to_owned(),
    }
}

fn is_safe(bytes: &[u8], utf8: bool) -> bool {
    bytes.iter().all(|byte| match byte {
        b'"' | b'\\' | b',' | b'\'' => false,
        _ if utf8 => *byte >= b' ' && *byte != 0x7f,
        _ => (b' '..=b'~').contains(byte),
    })
}

fn print_bytes(out: &mut String, bytes: &[u8], utf8: bool, prefix: Option<&str>) {
    let text = if utf8 {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        name::text(0, bytes)
    };
    let prefix = prefix
        .map(|prefix| format!("{prefix}:"))
        .unwrap_or_default();
    if is_safe(bytes, utf8) {
        out.push_str(&prefix);
        out.push_str(&text);
        return;
    }
    out.push('"');
    out.push_str(&prefix);
    let chars: Vec<char> = if utf8 {
        text.chars().collect()
    } else {
        bytes.iter().copied().map(char::from).collect()
    };
    for char in chars {
        match char {
            '"' | '\\' => {
                out.push('\\');
                out.push(char);
            }
            ' '..='~' => out.push(char),
            _ if utf8 && char >= '\u{80}' => out.push(char),
            _ => out.push_str(&format!("\\u{:04x}", u32::from(char))),
        }
    }
    out.push('"');
}
