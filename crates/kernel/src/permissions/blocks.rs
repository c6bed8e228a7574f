//! Addresses and blocks of addresses, as rules about hosts name them: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.

use std::net::IpAddr;

use super::ConfigError;

/// Blocks that a rule names.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Vec<Block>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    base: IpAddr,
    prefix: u8,
}

impl Blocks {
    /// Takes what is an address or a block; the rest are names.
    pub fn new<'h>(
        hosts: impl Iterator<Item = &'h String>,
        option: &str,
    ) -> Result<Blocks, ConfigError> {
        let mut blocks = Vec::new();
        for (index, host) in hosts.enumerate() {
            let plain = host.trim_start_matches('[').trim_end_matches(']');
            if let Ok(ip) = plain.parse::<IpAddr>() {
                blocks.push(Block::single(ip));
            } else if let Some((base, prefix)) = host.split_once('/') {
                let block = Block::new(base, prefix).ok_or_else(|| {
                    let option = format!("{option}[{index}]");
                    ConfigError::new(option, "must be a host or a block such as 10.0.0.0/8", host)
                })?;
                blocks.push(block);
            }
        }
        Ok(Blocks(blocks))
    }

    /// Whether one of them has the address.
    pub fn have(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|block| block.has(ip))
    }

    /// Whether one of them that is less than everything has the address.
    pub fn name(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|block| block.prefix > 0 && block.has(ip))
    }
}

impl Block {
    fn single(ip: IpAddr) -> Block {
        let base = ip.to_canonical();
        let prefix = if base.is_ipv4() { 32 } else { 128 };
        Block { base, prefix }
    }

    fn new(base: &str, prefix: &str) -> Option<Block> {
        let base: IpAddr = base.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then_some(Block { base, prefix })
    }

    fn has(self, ip: IpAddr) -> bool {
        let same = |one: u128, two: u128, width: u32| {
            let shift = width - u32::from(self.prefix).min(width);
            one.checked_shr(shift) == two.checked_shr(shift)
        };
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                same(u32::from(base).into(), u32::from(ip).into(), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => same(base.into(), ip.into(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn blocks(hosts: &[&str]) -> Result<Blocks, ConfigError> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Blocks::new(hosts.iter(), "rule.hosts")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_have_what_begins_as_they_do() {
        let rule = blocks(&[
            "10.0.0.0/8",
            "fd00::/8",
            "192.0.2.7",
            "[fe80::1]",
            "example.com",
        ])
        .unwrap();
        for inside in [
            "10.255.0.1",
            "::ffff:10.0.0.1",
            "fd12::1",
            "192.0.2.7",
            "fe80::1",
        ] {
            assert!(rule.have(ip(inside)) && rule.name(ip(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "fc00::1", "192.0.2.8", "fe80::2", "::a00:1"] {
            assert!(!rule.have(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn everything_is_no_name() {
        let rule = blocks(&["0.0.0.0/0", "::/0"]).unwrap();
        assert!(rule.have(ip("10.0.0.1")) && !rule.name(ip("10.0.0.1")));
        assert!(rule.have(ip("fd00::1")) && !rule.name(ip("fd00::1")));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for wrong in [
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/",
            "example.com/8",
            "10.0.0/8",
        ] {
            assert!(blocks(&[wrong]).is_err(), "{wrong}");
        }
    }
}
