//! Who may hand in messages and reports: whoever comes from an allowed address and shows the secret, as far as the settings name either.

use super::fields::Fields;
use crate::http::{Request, secret};
use crate::settings::Secret;
use std::net::IpAddr;

/// Whom a backend believes.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    secret: Option<Secret>,
    networks: Vec<Network>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Trust {
    /// `addresses` are those of machines (`10.0.0.7`) and networks (`10.0.0.0/8`).
    pub fn new(secret: Option<Secret>, addresses: &[String]) -> Result<Trust, String> {
        let networks = addresses.iter().map(|text| Network::parse(text.trim())).collect::<Result<_, _>>()?;
        Ok(Trust { secret, networks })
    }

    /// Whether the settings say anything about it; otherwise it is the listener's business.
    pub fn is_set(&self) -> bool {
        self.secret.is_some() || !self.networks.is_empty()
    }

    /// The secret, for the address that Kannel is told to call.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// Whether a request may come in. The error is for the log and for whoever asked; it repeats nothing of the request.
    pub fn check(&self, request: &Request, fields: &Fields) -> Result<(), &'static str> {
        let from_here = self.networks.is_empty()
            || request.peer().is_none_or(|peer| self.networks.iter().any(|network| network.has(peer.ip())));
        if !from_here {
            return Err("requests from this address are not allowed (incoming_addresses)");
        }
        let Some(expected) = &self.secret else { return Ok(()) };
        match fields.one("secret") {
            Ok(Some(given)) if secret::is_equal(given, expected.expose()) => Ok(()),
            Ok(None) => Err("the field secret is missing"),
            _ => Err("the field secret is wrong"),
        }
    }
}

impl Network {
    fn parse(text: &str) -> Result<Network, String> {
        let wrong = || {
            format!("\"{}\" is no address and no network; write 10.0.0.7 or 10.0.0.0/8", text.escape_debug())
        };
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
        };
        Ok(Network { address, bits })
    }

    fn has(self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u32| {
            // A shift by the whole width would be none at all.
            self.bits == 0 || (one ^ other) >> (width - self.bits) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => same(u32::from(one).into(), u32::from(other).into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.into(), other.into(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_what_is_in_them() {
        for (network, address, inside) in [
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "fe80::1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.has(address.parse().unwrap()), inside, "{network:?} {address}");
        }
        for wrong in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0", "10.0.0.0/-1"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
