//! A reader of DER, for the parts that are needed as they stand.

/// One element.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// Its tag byte.
    pub tag: u8,
    /// Its contents.
    pub value: &'a [u8],
    /// All of it.
    pub whole: &'a [u8],
}

/// `true` or `false`.
pub const BOOLEAN: u8 = 0x01;
/// A number.
pub const INTEGER: u8 = 0x02;
/// Bytes.
pub const OCTET_STRING: u8 = 0x04;
/// Bits.
pub const BIT_STRING: u8 = 0x03;
/// An object identifier.
pub const OID: u8 = 0x06;
/// A sequence.
pub const SEQUENCE: u8 = 0x30;

/// Seconds since the epoch of a `UTCTime` or a `GeneralizedTime`.
pub fn time(element: Element<'_>) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = std::str::from_utf8(element.value).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let mut parts = [0_i64; 5];
    if rest.len() != parts.len() * 2 {
        return None;
    }
    for (at, part) in parts.iter_mut().enumerate() {
        *part = rest.get(at * 2..at * 2 + 2)?.parse().ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    // Days since 1970-01-01, counted in eras of 400 years that begin in March.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The elements of some bytes; it ends where they are no DER.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (length, rest) = rest.split_at_checked(count)?;
            let length = length
                .iter()
                .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        };
        let (value, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some(Element {
            tag: *tag,
            value,
            whole,
        })
    }
}

impl<'a> Element<'a> {
    /// What it is made of.
    pub fn children(&self) -> Reader<'a> {
        Reader(self.value)
    }

    /// Itself, if it has this tag.
    pub fn tagged(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }

    /// The bytes of a bit string with no unused bits.
    pub fn bits(&self) -> Option<&'a [u8]> {
        match self.value.split_first() {
            Some((0, bits)) if self.tag == BIT_STRING => Some(bits),
            _ => None,
        }
    }
}

/// The parts of what is signed: the signed bytes, the algorithm, the signature.
pub struct Signed<'a> {
    /// What is signed.
    pub message: Element<'a>,
    /// The contents of the algorithm's identifier.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// The parts of a certificate or a list of revoked ones.
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        let mut parts = Reader(der).next()?.tagged(SEQUENCE)?.children();
        Some(Self {
            message: parts.next()?.tagged(SEQUENCE)?,
            algorithm: parts.next()?.tagged(SEQUENCE)?.value,
            signature: parts.next()?.bits()?,
        })
    }
}

/// An object identifier with dots.
pub fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut number = 0_u64;
    let mut first = true;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if first {
            let root = (number / 40).min(2);
            text.push_str(&format!("{root}.{}", number - root * 40));
            first = false;
        } else {
            text.push_str(&format!(".{number}"));
        }
        number = 0;
    }
    text
}

/// Bytes as upper-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Reader, time};

    #[test]
    fn times_are_seconds() {
        let seconds = |tag: u8, text: &str| {
            let mut der = vec![tag, text.len() as u8];
            der.extend_from_slice(text.as_bytes());
            time(Reader(&der).next()?)
        };
        assert_eq!(seconds(0x17, "181116184221Z"), Some(1_542_393_741));
        assert_eq!(seconds(0x18, "20000229000000Z"), Some(951_782_400));
        assert_eq!(seconds(0x17, "700101000000Z"), Some(0));
        assert_eq!(seconds(0x17, "700101000000"), None);
        assert_eq!(seconds(0x17, "701301000000Z"), None);
    }
}
