//! Names and values of a form or a query (WHATWG URL, application/x-www-form-urlencoded), read strictly.
//!
//! A text that is not UTF-8 is refused instead of being mended: what the sender meant cannot be known, and
//! the sender can still be told.

use std::borrow::Cow;

/// The pairs of a form, in order. `Err` is a sentence for the sender.
pub fn pairs(encoded: &[u8]) -> Result<Vec<(String, String)>, String> {
    let pieces = encoded.split(|octet| *octet == b'&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let cut = piece.iter().position(|octet| *octet == b'=').unwrap_or(piece.len());
            let name = decode(&piece[..cut]).ok_or("the name of a field is not UTF-8")?;
            let value = decode(piece.get(cut + 1..).unwrap_or_default())
                .ok_or_else(|| format!("the value of \"{}\" is not UTF-8", name.escape_debug()))?;
            Ok((name, value))
        })
        .collect()
}

/// The value of one field; the first, should there be several.
pub fn field<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
}

/// A segment of a path, so that it stays one: everything but letters, digits and `-._~` is encoded.
pub fn encode(segment: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(segment, KEPT).to_string()
}

fn decode(piece: &[u8]) -> Option<String> {
    let plus: Cow<'_, [u8]> = if piece.contains(&b'+') {
        piece.iter().map(|octet| if *octet == b'+' { b' ' } else { *octet }).collect::<Vec<u8>>().into()
    } else {
        piece.into()
    };
    String::from_utf8(percent_encoding::percent_decode(&plus).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_forms() {
        let cases: [(&str, Result<&[(&str, &str)], ()>); 7] = [
            ("", Ok(&[])),
            ("identity=1&text=echo+a%2Bb", Ok(&[("identity", "1"), ("text", "echo a+b")])),
            ("text", Ok(&[("text", "")])),
            ("text=a=b&&", Ok(&[("text", "a=b")])),
            ("text=%E1%8B%A8", Ok(&[("text", "የ")])),
            ("text=%zz%4", Ok(&[("text", "%zz%4")])),
            ("text=%FF", Err(())),
        ];
        for (encoded, expected) in cases {
            let got = pairs(encoded.as_bytes());
            let got = got.as_ref().map(|pairs| {
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>()
            });
            assert_eq!(got.map_err(|_| ()), expected.map(<[_]>::to_vec), "{encoded}");
        }
    }

    #[test]
    fn encodes_segments() {
        assert_eq!(encode("+1 555/a?b#c&d%"), "%2B1%20555%2Fa%3Fb%23c%26d%25");
        assert_eq!(encode("a@b.c"), "a%40b.c");
    }
}
