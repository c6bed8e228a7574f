//! Distinguished names, as OpenSSL prints them.

use crate::der::{self, OID, Reader};

/// An attribute of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The short name that OpenSSL has for its type, or the type's number.
    pub key: String,
    /// Its text.
    pub value: String,
}

/// A name: sets of attributes.
#[derive(Clone, Debug, Default)]
pub struct Name(pub Vec<Vec<Attribute>>);

const UTF8_STRING: u8 = 0x0c;
const BMP_STRING: u8 = 0x1e;
const UNIVERSAL_STRING: u8 = 0x1c;
const T61_STRING: u8 = 0x14;

/// The short name of a type of attribute.
fn short_name(oid: &[u8]) -> String {
    let known = match oid {
        [0x55, 0x04, last] => match last {
            3 => "CN",
            4 => "SN",
            5 => "serialNumber",
            6 => "C",
            7 => "L",
            8 => "ST",
            9 => "street",
            10 => "O",
            11 => "OU",
            12 => "title",
            13 => "description",
            15 => "businessCategory",
            17 => "postalCode",
            42 => "GN",
            43 => "initials",
            44 => "generationQualifier",
            46 => "dnQualifier",
            65 => "pseudonym",
            97 => "organizationIdentifier",
            _ => "",
        },
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x02] => "unstructuredName",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        [
            0x2b,
            0x06,
            0x01,
            0x04,
            0x01,
            0x82,
            0x37,
            0x3c,
            0x02,
            0x01,
            last,
        ] => match last {
            1 => "jurisdictionL",
            2 => "jurisdictionST",
            3 => "jurisdictionC",
            _ => "",
        },
        _ => "",
    };
    match known {
        "" => der::dotted(oid),
        known => known.to_owned(),
    }
}

/// The text of a string of any of ASN.1's kinds.
pub fn text(tag: u8, value: &[u8]) -> String {
    match tag {
        BMP_STRING => {
            let units = value.chunks_exact(2).map(|pair| {
                pair.iter()
                    .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
            });
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        UNIVERSAL_STRING => value
            .chunks_exact(4)
            .map(|four| {
                four.iter()
                    .fold(0, |unit, byte| unit << 8 | u32::from(*byte))
            })
            .map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
        UTF8_STRING => String::from_utf8_lossy(value).into_owned(),
        T61_STRING => value.iter().copied().map(char::from).collect(),
        _ => match std::str::from_utf8(value) {
            Ok(text) => text.to_owned(),
            Err(_) => value.iter().copied().map(char::from).collect(),
        },
    }
}

impl Name {
    /// A name from the contents of its sequence.
    pub fn parse(contents: &[u8]) -> Self {
        let sets = Reader(contents).map(|set| {
            let attributes = set.children().filter_map(|attribute| {
                let mut parts = attribute.children();
                let key = parts.next()?.tagged(OID)?;
                let value = parts.next()?;
                Some(Attribute {
                    key: short_name(key.value),
                    value: text(value.tag, value.value),
                })
            });
            attributes.collect()
        });
        Self(sets.collect())
    }

    /// All attributes.
    pub fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        self.0.iter().flatten()
    }

    /// One line for each set, as `X509Certificate.subject` has it.
    pub fn lines(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(|set| joined(set, " + ", true)).collect();
        lines.join("\n")
    }

    /// RFC 2253's order, with commas.
    pub fn rfc2253(&self) -> String {
        let sets: Vec<String> = self
            .0
            .iter()
            .rev()
            .map(|set| joined(set, "+", false))
            .collect();
        sets.join(",")
    }
}

fn joined(set: &[Attribute], separator: &str, escape_controls: bool) -> String {
    let attributes: Vec<String> = set
        .iter()
        .map(|attribute| {
            format!(
                "{}={}",
                attribute.key,
                escaped(&attribute.value, escape_controls)
            )
        })
        .collect();
    attributes.join(separator)
}

fn escaped(value: &str, escape_controls: bool) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, char) in value.chars().enumerate() {
        let special = matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (at == 0 && matches!(char, '#' | ' '))
            || (at == last && char == ' ');
        if special {
            text.push('\\');
            text.push(char);
        } else if escape_controls && (char < ' ' || char == '\x7f') {
            text.push_str(&format!("\\{:02X}", u32::from(char)));
        } else {
            text.push(char);
        }
    }
    text
}
