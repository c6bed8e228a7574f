//! Ciphers as OpenSSL names and numbers them.

use super::block::Algorithm::{self, Aes, Aria, Camellia, Des, Sm4};
use super::modes::BLOCK;
use super::modes::Mode::{
    self, Cbc, Ccm, Cfb, Cfb1, Cfb8, Ctr, Ecb, Gcm, Ocb, Ofb, Poly, Stream, Wrap, WrapPad, Xts,
};

/// A cipher.
#[derive(Debug)]
pub struct Cipher {
    /// What `getCiphers()` lists.
    pub name: &'static str,
    /// The name in `getCipherInfo()`; empty for the same.
    canonical: &'static str,
    /// OpenSSL's number.
    pub number: i32,
    /// The block cipher; of no meaning where there is none.
    pub algorithm: Algorithm,
    /// How it makes a stream.
    pub mode: Mode,
    /// Bytes of a key.
    pub key: usize,
}

const fn row(
    name: &'static str,
    canonical: &'static str,
    number: i32,
    algorithm: Algorithm,
    mode: Mode,
    key: usize,
) -> Cipher {
    Cipher {
        name,
        canonical,
        number,
        algorithm,
        mode,
        key,
    }
}

/// What `getCiphers()` lists.
pub const CIPHERS: &[Cipher] = &[
    row("aes-128-cbc", "", 419, Aes, Cbc, 16),
    row("aes-128-ccm", "id-aes128-ccm", 896, Aes, Ccm, 16),
    row("aes-128-cfb", "", 421, Aes, Cfb, 16),
    row("aes-128-cfb1", "", 650, Aes, Cfb1, 16),
    row("aes-128-cfb8", "", 653, Aes, Cfb8, 16),
    row("aes-128-ctr", "", 904, Aes, Ctr, 16),
    row("aes-128-ecb", "", 418, Aes, Ecb, 16),
    row("aes-128-gcm", "id-aes128-gcm", 895, Aes, Gcm, 16),
    row("aes-128-ocb", "", 958, Aes, Ocb, 16),
    row("aes-128-ofb", "", 420, Aes, Ofb, 16),
    row("aes-128-xts", "", 913, Aes, Xts, 32),
    row("aes-192-cbc", "", 423, Aes, Cbc, 24),
    row("aes-192-ccm", "id-aes192-ccm", 899, Aes, Ccm, 24),
    row("aes-192-cfb", "", 425, Aes, Cfb, 24),
    row("aes-192-cfb1", "", 651, Aes, Cfb1, 24),
    row("aes-192-cfb8", "", 654, Aes, Cfb8, 24),
    row("aes-192-ctr", "", 905, Aes, Ctr, 24),
    row("aes-192-ecb", "", 422, Aes, Ecb, 24),
    row("aes-192-gcm", "id-aes192-gcm", 898, Aes, Gcm, 24),
    row("aes-192-ocb", "", 959, Aes, Ocb, 24),
    row("aes-192-ofb", "", 424, Aes, Ofb, 24),
    row("aes-256-cbc", "", 427, Aes, Cbc, 32),
    row("aes-256-ccm", "id-aes256-ccm", 902, Aes, Ccm, 32),
    row("aes-256-cfb", "", 429, Aes, Cfb, 32),
    row("aes-256-cfb1", "", 652, Aes, Cfb1, 32),
    row("aes-256-cfb8", "", 655, Aes, Cfb8, 32),
    row("aes-256-ctr", "", 906, Aes, Ctr, 32),
    row("aes-256-ecb", "", 426, Aes, Ecb, 32),
    row("aes-256-gcm", "id-aes256-gcm", 901, Aes, Gcm, 32),
    row("aes-256-ocb", "", 960, Aes, Ocb, 32),
    row("aes-256-ofb", "", 428, Aes, Ofb, 32),
    row("aes-256-xts", "", 914, Aes, Xts, 64),
    row("aes128", "aes-128-cbc", 419, Aes, Cbc, 16),
    row("aes128-wrap", "id-aes128-wrap", 788, Aes, Wrap, 16),
    row(
        "aes128-wrap-pad",
        "id-aes128-wrap-pad",
        897,
        Aes,
        WrapPad,
        16,
    ),
    row("aes192", "aes-192-cbc", 423, Aes, Cbc, 24),
    row("aes192-wrap", "id-aes192-wrap", 789, Aes, Wrap, 24),
    row(
        "aes192-wrap-pad",
        "id-aes192-wrap-pad",
        900,
        Aes,
        WrapPad,
        24,
    ),
    row("aes256", "aes-256-cbc", 427, Aes, Cbc, 32),
    row("aes256-wrap", "id-aes256-wrap", 790, Aes, Wrap, 32),
    row(
        "aes256-wrap-pad",
        "id-aes256-wrap-pad",
        903,
        Aes,
        WrapPad,
        32,
    ),
    row("aria-128-cbc", "", 1066, Aria, Cbc, 16),
    row("aria-128-ccm", "", 1120, Aria, Ccm, 16),
    row("aria-128-cfb", "", 1067, Aria, Cfb, 16),
    row("aria-128-cfb1", "", 1080, Aria, Cfb1, 16),
    row("aria-128-cfb8", "", 1083, Aria, Cfb8, 16),
    row("aria-128-ctr", "", 1069, Aria, Ctr, 16),
    row("aria-128-ecb", "", 1065, Aria, Ecb, 16),
    row("aria-128-gcm", "", 1123, Aria, Gcm, 16),
    row("aria-128-ofb", "", 1068, Aria, Ofb, 16),
    row("aria-192-cbc", "", 1071, Aria, Cbc, 24),
    row("aria-192-ccm", "", 1121, Aria, Ccm, 24),
    row("aria-192-cfb", "", 1072, Aria, Cfb, 24),
    row("aria-192-cfb1", "", 1081, Aria, Cfb1, 24),
    row("aria-192-cfb8", "", 1084, Aria, Cfb8, 24),
    row("aria-192-ctr", "", 1074, Aria, Ctr, 24),
    row("aria-192-ecb", "", 1070, Aria, Ecb, 24),
    row("aria-192-gcm", "", 1124, Aria, Gcm, 24),
    row("aria-192-ofb", "", 1073, Aria, Ofb, 24),
    row("aria-256-cbc", "", 1076, Aria, Cbc, 32),
    row("aria-256-ccm", "", 1122, Aria, Ccm, 32),
    row("aria-256-cfb", "", 1077, Aria, Cfb, 32),
    row("aria-256-cfb1", "", 1082, Aria, Cfb1, 32),
    row("aria-256-cfb8", "", 1085, Aria, Cfb8, 32),
    row("aria-256-ctr", "", 1079, Aria, Ctr, 32),
    row("aria-256-ecb", "", 1075, Aria, Ecb, 32),
    row("aria-256-gcm", "", 1125, Aria, Gcm, 32),
    row("aria-256-ofb", "", 1078, Aria, Ofb, 32),
    row("aria128", "aria-128-cbc", 1066, Aria, Cbc, 16),
    row("aria192", "aria-192-cbc", 1071, Aria, Cbc, 24),
    row("aria256", "aria-256-cbc", 1076, Aria, Cbc, 32),
    row("camellia-128-cbc", "", 751, Camellia, Cbc, 16),
    row("camellia-128-cfb", "", 757, Camellia, Cfb, 16),
    row("camellia-128-cfb1", "", 760, Camellia, Cfb1, 16),
    row("camellia-128-cfb8", "", 763, Camellia, Cfb8, 16),
    row("camellia-128-ctr", "", 963, Camellia, Ctr, 16),
    row("camellia-128-ecb", "", 754, Camellia, Ecb, 16),
    row("camellia-128-ofb", "", 766, Camellia, Ofb, 16),
    row("camellia-192-cbc", "", 752, Camellia, Cbc, 24),
    row("camellia-192-cfb", "", 758, Camellia, Cfb, 24),
    row("camellia-192-cfb1", "", 761, Camellia, Cfb1, 24),
    row("camellia-192-cfb8", "", 764, Camellia, Cfb8, 24),
    row("camellia-192-ctr", "", 967, Camellia, Ctr, 24),
    row("camellia-192-ecb", "", 755, Camellia, Ecb, 24),
    row("camellia-192-ofb", "", 767, Camellia, Ofb, 24),
    row("camellia-256-cbc", "", 753, Camellia, Cbc, 32),
    row("camellia-256-cfb", "", 759, Camellia, Cfb, 32),
    row("camellia-256-cfb1", "", 762, Camellia, Cfb1, 32),
    row("camellia-256-cfb8", "", 765, Camellia, Cfb8, 32),
    row("camellia-256-ctr", "", 971, Camellia, Ctr, 32),
    row("camellia-256-ecb", "", 756, Camellia, Ecb, 32),
    row("camellia-256-ofb", "", 768, Camellia, Ofb, 32),
    row("camellia128", "camellia-128-cbc", 751, Camellia, Cbc, 16),
    row("camellia192", "camellia-192-cbc", 752, Camellia, Cbc, 24),
    row("camellia256", "camellia-256-cbc", 753, Camellia, Cbc, 32),
    row("chacha20", "", 1019, Aes, Stream, 32),
    row("chacha20-poly1305", "", 1018, Aes, Poly, 32),
    row("des-ede", "", 32, Des, Ecb, 16),
    row("des-ede-cbc", "", 43, Des, Cbc, 16),
    row("des-ede-cfb", "", 60, Des, Cfb, 16),
    row("des-ede-ecb", "des-ede", 32, Des, Ecb, 16),
    row("des-ede-ofb", "", 62, Des, Ofb, 16),
    row("des-ede3", "", 33, Des, Ecb, 24),
    row("des-ede3-cbc", "", 44, Des, Cbc, 24),
    row("des-ede3-cfb", "", 61, Des, Cfb, 24),
    row("des-ede3-cfb1", "", 658, Des, Cfb1, 24),
    row("des-ede3-cfb8", "", 659, Des, Cfb8, 24),
    row("des-ede3-ecb", "des-ede3", 33, Des, Ecb, 24),
    row("des-ede3-ofb", "", 63, Des, Ofb, 24),
    row("des3", "des-ede3-cbc", 44, Des, Cbc, 24),
    row("id-aes128-CCM", "", 896, Aes, Ccm, 16),
    row("id-aes128-GCM", "", 895, Aes, Gcm, 16),
    row("id-aes128-wrap", "", 788, Aes, Wrap, 16),
    row("id-aes128-wrap-pad", "", 897, Aes, WrapPad, 16),
    row("id-aes192-CCM", "", 899, Aes, Ccm, 24),
    row("id-aes192-GCM", "", 898, Aes, Gcm, 24),
    row("id-aes192-wrap", "", 789, Aes, Wrap, 24),
    row("id-aes192-wrap-pad", "", 900, Aes, WrapPad, 24),
    row("id-aes256-CCM", "", 902, Aes, Ccm, 32),
    row("id-aes256-GCM", "", 901, Aes, Gcm, 32),
    row("id-aes256-wrap", "", 790, Aes, Wrap, 32),
    row("id-aes256-wrap-pad", "", 903, Aes, WrapPad, 32),
    row("sm4", "sm4-cbc", 1134, Sm4, Cbc, 16),
    row("sm4-cbc", "", 1134, Sm4, Cbc, 16),
    row("sm4-cfb", "", 1137, Sm4, Cfb, 16),
    row("sm4-ctr", "", 1139, Sm4, Ctr, 16),
    row("sm4-ecb", "", 1133, Sm4, Ecb, 16),
    row("sm4-ofb", "", 1135, Sm4, Ofb, 16),
];

/// What OpenSSL knows and has for old data only, not as Node builds it.
const LEGACY: &[&str] = &[
    "bf",
    "bf-cbc",
    "bf-cfb",
    "bf-ecb",
    "bf-ofb",
    "blowfish",
    "cast",
    "cast-cbc",
    "cast5-cbc",
    "cast5-cfb",
    "cast5-ecb",
    "cast5-ofb",
    "des",
    "des-cbc",
    "des-cfb",
    "des-cfb1",
    "des-cfb8",
    "des-ecb",
    "des-ofb",
    "desx",
    "desx-cbc",
    "idea",
    "idea-cbc",
    "idea-cfb",
    "idea-ecb",
    "idea-ofb",
    "rc2",
    "rc2-128",
    "rc2-40",
    "rc2-40-cbc",
    "rc2-64",
    "rc2-64-cbc",
    "rc2-cbc",
    "rc2-cfb",
    "rc2-ecb",
    "rc2-ofb",
    "rc4",
    "rc4-40",
    "rc4-hmac-md5",
    "seed",
    "seed-cbc",
    "seed-cfb",
    "seed-ecb",
    "seed-ofb",
];

/// Whether this is a name of a cipher for old data.
pub fn is_legacy(name: &str) -> bool {
    LEGACY.iter().any(|known| known.eq_ignore_ascii_case(name))
}

impl Cipher {
    /// The cipher of this name, in any case.
    pub fn from_name(name: &str) -> Option<&'static Self> {
        CIPHERS
            .iter()
            .find(|cipher| cipher.name.eq_ignore_ascii_case(name))
    }

    /// The cipher of this number.
    pub fn from_number(number: i32) -> Option<&'static Self> {
        CIPHERS.iter().find(|cipher| cipher.number == number)
    }

    /// The name in `getCipherInfo()`.
    pub fn canonical(&self) -> &'static str {
        match self.canonical {
            "" => self.name,
            name => name,
        }
    }

    /// Bytes of a block of the block cipher.
    pub fn block(&self) -> usize {
        match self.algorithm {
            Des => 8,
            _ => BLOCK,
        }
    }

    /// Bytes of a piece that it works on, as OpenSSL tells it.
    pub fn granularity(&self) -> usize {
        match self.mode {
            Ecb | Cbc | Ocb => self.block(),
            Wrap | WrapPad => 8,
            _ => 1,
        }
    }

    /// Bytes of its IV; of the usual one for those that take others, too.
    pub fn iv(&self) -> usize {
        match self.mode {
            Ecb => 0,
            Gcm | Ccm | Ocb | Poly => 12,
            Wrap => 8,
            WrapPad => 4,
            _ => self.block(),
        }
    }

    /// Whether an IV may have this length.
    pub fn allows_iv(&self, length: usize) -> bool {
        match self.mode {
            Gcm => (1..=128).contains(&length),
            Ccm => (7..=13).contains(&length),
            Ocb => (1..=15).contains(&length),
            _ => length == self.iv(),
        }
    }

    /// Whether it makes and checks a tag.
    pub fn tagged(&self) -> bool {
        matches!(self.mode, Gcm | Ccm | Ocb | Poly)
    }
}
