//! Secrets that somebody shows to us.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Compares two secrets by their digests, so that not even their lengths show. An empty secret opens nothing.
pub fn is_equal(given: &[u8], secret: &str) -> bool {
    let equal = Sha256::digest(given).as_slice().ct_eq(Sha256::digest(secret.as_bytes()).as_slice());
    bool::from(equal) && !secret.is_empty()
}
