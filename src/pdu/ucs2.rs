//! UCS-2 (3GPP TS 23.038 clause 6.2.3), which all phones take for UTF-16 with the high octet first.
//!
//! A surrogate pair may be cut by the border of two parts: join the octets first, decode last.

/// The octets of a text.
pub fn encode(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// The text of octets. A byte order mark is left out, and obeyed when it says that the low octet comes first; half a pair becomes
/// U+FFFD, half a unit at the end is left out.
pub fn decode(octets: &[u8]) -> String {
    let (pairs, _) = octets.as_chunks::<2>();
    let (units, low_first) = match pairs {
        [[0xFE, 0xFF], rest @ ..] => (rest, false),
        [[0xFF, 0xFE], rest @ ..] => (rest, true),
        _ => (pairs, false),
    };
    let units = units
        .iter()
        .map(|pair| if low_first { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) });
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
