//! Signatures: an HMAC (RFC 2104) over what both sides know. Pure.

use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};

use super::given::{Given, wrong};
use super::template::hex;
use crate::backends::BackendError;

/// How a signature is made and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    long: bool,
    base64: bool,
}

impl Manner {
    /// As two keys of the settings have it.
    pub fn of(given: &Given<'_>, algorithm: &str, encoding: &str) -> Result<Manner, BackendError> {
        let long = match given.text(algorithm) {
            None | Some("sha256") => false,
            Some("sha512") => true,
            Some(other) => {
                return Err(wrong(algorithm, format!("{other:?} is not known here: sha256 or sha512")));
            }
        };
        Ok(Manner { long, base64: given.text(encoding) == Some("base64") })
    }

    /// The signature of these octets.
    pub fn sign(self, key: &str, octets: &[u8]) -> String {
        let code =
            if self.long { code::<Hmac<Sha512>>(key, octets) } else { code::<Hmac<Sha256>>(key, octets) };
        if self.base64 { base64::engine::general_purpose::STANDARD.encode(code) } else { hex(&code) }
    }

    /// The octets of a signature as it was sent, perhaps with the name of its algorithm before it (`sha256=...`).
    pub fn is_signature(self, given: &str, key: &str, octets: &[u8]) -> bool {
        let given = given.trim();
        let given = given.strip_prefix("sha256=").or_else(|| given.strip_prefix("sha512=")).unwrap_or(given);
        let expected = self.sign(key, octets);
        // Hexadecimal digits have two spellings.
        let given = if self.base64 { given.to_string() } else { given.to_ascii_lowercase() };
        crate::http::secret::is_equal(given.as_bytes(), &expected)
    }
}

fn code<M: Mac + KeyInit>(key: &str, octets: &[u8]) -> Vec<u8> {
    // Any length of a key is right (RFC 2104, clause 3).
    match <M as KeyInit>::new_from_slice(key.as_bytes()) {
        Ok(mut code) => {
            code.update(octets);
            code.finalize().into_bytes().to_vec()
        }
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_rfc_4231_says() {
        // Test case 2.
        let (key, text) = ("Jefe", b"what do ya want for nothing?");
        let short = Manner { long: false, base64: false };
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(short.sign(key, text), expected);
        assert!(short.is_signature(&format!("sha256={}", expected.to_uppercase()), key, text));
        assert!(!short.is_signature("", key, text) && !short.is_signature(expected, "jefe", text));
        let long = Manner { long: true, base64: true }.sign(key, text);
        assert!(long.starts_with("Fkt6fnv") || long.len() == 88, "{long}");
    }
}
