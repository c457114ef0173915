//! Who may ask: pure decisions on headers and addresses. Nothing here answers, logs or remembers.
//!
//! Three questions, in the order in which a site asks them: was this sent to a name that is ours
//! ([`check_host`], against DNS rebinding), did another web site make the browser send it ([`check_same_origin`],
//! against cross-site requests), and does it carry the token ([`check_token`]). A client that is no browser (curl, an
//! SMS gateway) sends none of the headers of the second question and passes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;

use crate::http::reader::split_port;
use crate::http::{Request, Response, secret};

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The Host header names a machine that is not this one.
    ForeignHost,
    /// Another web site made the browser send this.
    CrossSite,
    /// The token is missing or wrong.
    Unauthorized,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::ForeignHost => {
                "this server is not known by that host name; use localhost, 127.0.0.1 or [::1], or configure the name"
            }
            Denied::CrossSite => "this request was made by another web site, and such requests may change nothing here",
            Denied::Unauthorized => {
                "a token is needed: send Authorization: Bearer TOKEN, or the token as password of Basic"
            }
        })
    }
}

impl std::error::Error for Denied {}

impl Denied {
    /// The answer to the client.
    pub fn response(self) -> Response {
        let sentence = self.to_string();
        match self {
            Denied::ForeignHost => Response::error(421, &sentence),
            Denied::CrossSite => Response::error(403, &sentence),
            // Basic makes a browser ask its user.
            Denied::Unauthorized => Response::error(401, &sentence)
                .header("WWW-Authenticate", "Basic realm=\"rapidsms\", charset=\"UTF-8\""),
        }
    }
}

/// Whether the address is this machine itself, written as IPv4, IPv6 or IPv4 within IPv6.
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether the request is addressed to this machine, for a server that listens on loopback.
///
/// A page of a hostile site can have its own name resolved to 127.0.0.1 and is then, for the browser, of the same
/// origin as we are; only the Host header still shows the hostile name. Allowed are `localhost`, loopback addresses
/// and the names in `also`, with any port; an absent host is fine, browsers always send one.
pub fn check_host(host: Option<&str>, also: &[String]) -> Result<(), Denied> {
    let Some(host) = host else { return Ok(()) };
    let (name, _) = split_port(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let allowed = name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        || also.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host));
    if allowed { Ok(()) } else { Err(Denied::ForeignHost) }
}

/// Whether a method is not supposed to change anything (RFC 9110 clause 9.2.1). A GET door of the old gateways does
/// change something and must be checked all the same.
pub fn is_safe_method(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

/// Whether a request that changes something comes from our own pages or from no web page at all. See
/// [`check_origin`].
pub fn check_same_origin(request: &Request) -> Result<(), Denied> {
    check_origin(request.header("sec-fetch-site"), request.header("origin"), request.host())
}

/// The rule behind [`check_same_origin`], on the three headers.
///
/// Sec-Fetch-Site decides where it is present, since a browser computes it from addresses that no proxy has
/// rewritten; `same-site` is refused, because two ports of one machine are one site and need not be one owner. Older
/// browsers send only Origin, which must then name the host and port of the Host header (the scheme is not
/// compared: behind a TLS proxy it differs).
pub fn check_origin(
    sec_fetch_site: Option<&str>,
    origin: Option<&str>,
    host: Option<&str>,
) -> Result<(), Denied> {
    match (sec_fetch_site, origin) {
        (Some("same-origin" | "none"), _) | (None, None) => Ok(()),
        (Some(_), _) => Err(Denied::CrossSite),
        (None, Some(origin)) => {
            let same = host.is_some_and(|host| is_origin_of(origin, host));
            if same { Ok(()) } else { Err(Denied::CrossSite) }
        }
    }
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => "80",
        _ if scheme.eq_ignore_ascii_case("https") => "443",
        _ => return false,
    };
    let (origin_name, origin_port) = split_port(authority);
    let (name, port) = split_port(host);
    let with_default = |port: Option<&str>| match port {
        None | Some("") => default_port.parse::<u16>().ok(),
        Some(port) => port.parse::<u16>().ok(),
    };
    let (origin_port, port) = (with_default(origin_port), with_default(port));
    !name.is_empty() && origin_name.eq_ignore_ascii_case(name) && port.is_some() && origin_port == port
}

/// Whether the request carries the token.
pub fn check_token(request: &Request, token: &str) -> Result<(), Denied> {
    if is_authorized(request.header("authorization"), token) { Ok(()) } else { Err(Denied::Unauthorized) }
}

/// The rule behind [`check_token`]: `Bearer TOKEN`, or `Basic` with the token as password of any user.
///
/// The comparison takes the same time wherever the first difference is and however long the guess is. An empty
/// token opens nothing.
pub fn is_authorized(authorization: Option<&str>, token: &str) -> bool {
    let Some((scheme, given)) = authorization.and_then(|value| value.trim().split_once(' ')) else {
        return false;
    };
    let given = given.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") {
        return secret::is_equal(given.as_bytes(), token);
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let Ok(pair) = base64::engine::general_purpose::STANDARD.decode(given) else { return false };
        return match pair.iter().position(|byte| *byte == b':') {
            Some(colon) => secret::is_equal(&pair[colon + 1..], token),
            None => false,
        };
    }
    false
}
