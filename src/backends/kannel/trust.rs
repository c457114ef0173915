//! Who may hand in messages and reports: whoever comes from an allowed address and shows the secret, as far as the settings name either.

use super::fields::Fields;
use crate::http::{Request, secret};
use crate::settings::{Network, Secret};

/// Whom a backend believes.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    secret: Option<Secret>,
    networks: Vec<Network>,
}

impl Trust {
    /// `addresses` are those of machines (`10.0.0.7`) and networks (`10.0.0.0/8`).
    pub fn new(secret: Option<Secret>, addresses: &[String]) -> Result<Trust, String> {
        let networks = addresses
            .iter()
            .map(|text| Network::parse(text).ok_or_else(|| Network::explain(text)))
            .collect::<Result<_, _>>()?;
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
            || request
                .peer()
                .is_none_or(|peer| self.networks.iter().any(|network| network.contains(peer.ip())));
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
