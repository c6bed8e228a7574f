//! Which addresses are the VM's own, and how they meet.
//!
//! A VM has a loopback interface and nothing else: 127.0.0.0/8 and ::1. The unspecified addresses stand for all of its
//! own when a socket is bound, and for loopback when one connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The name of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketName {
    /// Of the internet families.
    Inet(SocketAddr),
    /// Of the local family: a path as it was bound, an abstract name (its first byte is NUL), or none.
    Local(Option<Vec<u8>>),
}

/// The address without the IPv4-mapped form of IPv6.
pub(crate) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Whether the VM itself answers at this address.
pub(crate) fn is_own(ip: IpAddr) -> bool {
    let ip = canonical(ip);
    ip.is_loopback() || ip.is_unspecified()
}

/// Whether an address is one of the public internet. Everything that is not is a way into somebody's own network: private
/// and shared ranges, link-local with the metadata services, multicast, and IPv6 forms that carry an IPv4 address.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match canonical(ip) {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let reserved = match (a, b, c) {
        // This network, shared (CGNAT), protocol assignments, benchmarks, 6to4 relays, reserved and broadcast.
        (0, _, _) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) | (192, 88, 99) => true,
        (240..=255, _, _) => true,
        _ => false,
    };
    !(reserved
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // Global unicast is 2000::/3; Teredo, 6to4, ORCHID, benchmarks and documentation lie in it.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002 | 0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Where a connection to `ip` really goes.
pub(crate) fn destination(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

/// An address as a socket of the given family shows it: IPv4 in its mapped form on an IPv6 socket.
pub(crate) fn shown_on(ip: IpAddr, v6_socket: bool) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v6_socket => IpAddr::V6(v4.to_ipv6_mapped()),
        other => other,
    }
}

/// The address and reach of a bound socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub ip: IpAddr,
    /// An IPv6 socket that does not take IPv4.
    pub only_v6: bool,
}

impl Reach {
    fn takes_all_v4(self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_unspecified(),
            IpAddr::V6(ip) => ip.is_unspecified() && !self.only_v6,
        }
    }

    fn takes_all_v6(self) -> bool {
        matches!(self.ip, IpAddr::V6(ip) if ip.is_unspecified())
    }

    /// Whether two sockets on one port would take the same traffic.
    pub fn meets(self, other: Reach) -> bool {
        let (one, two) = (canonical(self.ip), canonical(other.ip));
        one == two
            || (self.takes_all_v4() && (two.is_ipv4() || other.takes_all_v4()))
            || (other.takes_all_v4() && (one.is_ipv4() || self.takes_all_v4()))
            || (self.takes_all_v6() && two.is_ipv6())
            || (other.takes_all_v6() && one.is_ipv6())
    }

    /// How well it fits traffic to `ip`: exactly, as a wildcard of the family, or as a dual-stack wildcard.
    pub fn fits(self, ip: IpAddr) -> Option<u8> {
        if canonical(self.ip) == ip {
            return Some(2);
        }
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(_)) if own.is_unspecified() => Some(1),
            (IpAddr::V6(own), IpAddr::V6(_)) if own.is_unspecified() => Some(1),
            (IpAddr::V6(own), IpAddr::V4(_)) if own.is_unspecified() && !self.only_v6 => Some(0),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn reach(ip: &str, only_v6: bool) -> Reach {
        Reach {
            ip: ip.parse().unwrap(),
            only_v6,
        }
    }

    #[test]
    fn wildcards_meet_as_on_linux() {
        let any4 = reach("0.0.0.0", false);
        let any6 = reach("::", false);
        let only6 = reach("::", true);
        let local4 = reach("127.0.0.1", false);
        let local6 = reach("::1", false);
        assert!(any4.meets(any6) && any6.meets(any4));
        assert!(!any4.meets(only6) && !only6.meets(any4));
        assert!(any6.meets(local4) && local4.meets(any6));
        assert!(!only6.meets(local4));
        assert!(only6.meets(local6) && any6.meets(local6));
        assert!(!local4.meets(local6));
        assert!(!local4.meets(reach("127.0.0.2", false)));
        assert!(local4.meets(reach("::ffff:127.0.0.1", false)));
    }

    #[test]
    fn the_most_exact_socket_fits_best() {
        let to: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(reach("127.0.0.1", false).fits(to), Some(2));
        assert_eq!(reach("0.0.0.0", false).fits(to), Some(1));
        assert_eq!(reach("::", false).fits(to), Some(0));
        assert_eq!(reach("::", true).fits(to), None);
        assert_eq!(reach("127.0.0.2", false).fits(to), None);
    }

    #[test]
    fn what_is_not_public() {
        for public in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "2606:4700::1111",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn own_addresses() {
        for own in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_own(own.parse().unwrap()), "{own}");
        }
        for other in [
            "10.0.0.1",
            "169.254.169.254",
            "::ffff:10.0.0.1",
            "fe80::1",
            "8.8.8.8",
        ] {
            assert!(!is_own(other.parse().unwrap()), "{other}");
        }
    }
}
