//! Lists of addresses that may ask: `"127.0.0.1"`, `"10.0.0.0/8"`, `"10.0.*.*"` as Kannel writes it, `"fd00::/8"`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Addresses that begin alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads one; `None` when it is none. Bits behind the prefix do not matter.
    pub fn parse(text: &str) -> Option<Network> {
        let text = text.trim();
        if text.contains('*') {
            return Network::with_stars(text);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = width(address);
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= width)?,
            None => width,
        };
        Some(Network { address, prefix })
    }

    /// Why a text is none, and what to write.
    pub fn explain(text: &str) -> String {
        format!("\"{}\" is no address and no network: write 192.0.2.7 or 192.0.2.0/24", text.escape_debug())
    }

    /// `10.0.*.*`: stars at the end stand for whole octets.
    fn with_stars(text: &str) -> Option<Network> {
        let pieces: Vec<&str> = text.split('.').collect();
        let known = pieces.iter().position(|piece| *piece == "*")?;
        if pieces.len() != 4 || pieces[known..].iter().any(|piece| *piece != "*") {
            return None;
        }
        let mut octets = [0; 4];
        for (octet, piece) in octets.iter_mut().zip(&pieces[..known]) {
            *octet = piece.parse().ok()?;
        }
        Some(Network { address: IpAddr::V4(Ipv4Addr::from(octets)), prefix: 8 * u8::try_from(known).ok()? })
    }

    /// Is the address one of them? IPv4 within IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                begins_alike(u128::from(own.to_bits()) << 96, u128::from(other.to_bits()) << 96, self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => begins_alike(own.to_bits(), other.to_bits(), self.prefix),
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.address) {
            self.address.fmt(f)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn begins_alike(one: u128, other: u128, bits: u8) -> bool {
    let differing = (one ^ other).leading_zeros();
    differing >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_networks() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.1.2.3/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.*.*", "10.0.255.7", true),
            ("10.0.*.*", "10.1.0.7", false),
            ("*.*.*.*", "192.0.2.1", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
        ];
        for (network, address, expected) in cases {
            let read = Network::parse(network).unwrap();
            assert_eq!(read.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for wrong in ["", "localhost", "10.0.0.0/33", "10.*.0.1", "1.2.3.4.*", "::1/129", "10.0.0.0/", "*"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Network::parse(" 10.0.*.* ").unwrap().to_string(), "10.0.0.0/16");
        assert_eq!(Network::parse("::1").unwrap().to_string(), "::1");
    }
}
