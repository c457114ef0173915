//! Octets to text by the name of a charset (WHATWG Encoding, "names and labels"), strictly: what is not in the charset is an error and not `?`.

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

/// Why octets are no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoText {
    /// Nobody knows a charset of this name.
    UnknownCharset,
    /// The octets are not in the charset.
    NotInCharset,
}

/// Decodes octets by the name of their charset; capitals and blanks around the name do not matter.
///
/// A mark at the beginning that only says which UTF it is, is no part of the text. `ISO-8859-1` is read as windows-1252,
/// which has letters where the other has nothing that could be shown, and `ASCII` as what it is: seven bits.
pub fn decode(charset: &str, octets: &[u8]) -> Result<String, NoText> {
    let name = charset.trim().to_ascii_lowercase();
    let octets = match name.as_str() {
        "ascii" | "us-ascii" | "ansi_x3.4-1968" if !octets.is_ascii() => return Err(NoText::NotInCharset),
        // Without a byte order in the name it is big-endian unless a mark says otherwise (RFC 2781 clause 4.3); so are UCS-2's names.
        "utf-16" | "utf16" | "ucs-2" | "ucs2" | "iso-10646-ucs-2" => {
            return match octets {
                [0xFF, 0xFE, rest @ ..] => strictly(UTF_16LE, rest),
                [0xFE, 0xFF, rest @ ..] => strictly(UTF_16BE, rest),
                _ => strictly(UTF_16BE, octets),
            };
        }
        "ucs-2be" | "utf-16be" | "utf16be" | "unicodebig" => {
            return strictly(UTF_16BE, octets.strip_prefix(&[0xFE, 0xFF]).unwrap_or(octets));
        }
        "utf-8" | "utf8" => octets.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(octets),
        _ => octets,
    };
    match Encoding::for_label(name.as_bytes()) {
        // For WHATWG some old charsets are one replacement character, whatever they hold.
        Some(encoding) if encoding.name() != "replacement" => strictly(encoding, octets),
        _ => Err(NoText::UnknownCharset),
    }
}

fn strictly(encoding: &'static Encoding, octets: &[u8]) -> Result<String, NoText> {
    let decoded = encoding.decode_without_bom_handling_and_without_replacement(octets);
    decoded.map(std::borrow::Cow::into_owned).ok_or(NoText::NotInCharset)
}

/// UTF-16 with the high octet first, where a border may have cut a character: half of one becomes U+FFFD. `None` for an odd octet.
pub fn decode_piece_of_utf16(octets: &[u8]) -> Option<String> {
    let units: Vec<u16> = octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    octets.len().is_multiple_of(2).then(|| String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_become_text_or_nothing() {
        let cases: [(&str, &[u8], Result<&str, NoText>); 16] = [
            ("UTF-8", "caf\u{e9} \u{1221}".as_bytes(), Ok("caf\u{e9} \u{1221}")),
            (" utf8 ", b"\xef\xbb\xbfhi", Ok("hi")),
            ("utf-8", b"caf\xe9", Err(NoText::NotInCharset)),
            ("ascii", b"hello", Ok("hello")),
            ("ascii", b"caf\xe9", Err(NoText::NotInCharset)),
            ("ISO-8859-1", b"caf\xe9", Ok("caf\u{e9}")),
            ("windows-1251", b"\xcf\xf0", Ok("\u{41f}\u{440}")),
            ("UTF-16BE", b"\x00h\x00i", Ok("hi")),
            ("UTF-16BE", b"\x00h\x00", Err(NoText::NotInCharset)),
            ("UTF-16BE", b"\xd8\x3d", Err(NoText::NotInCharset)),
            ("UCS-2", b"\x12\x21", Ok("\u{1221}")),
            ("UTF-16", b"\xff\xfeh\x00", Ok("h")),
            ("UTF-16LE", b"h\x00", Ok("h")),
            ("koi8-r", b"\xf0", Ok("\u{41f}")),
            ("klingon", b"x", Err(NoText::UnknownCharset)),
            ("", b"x", Err(NoText::UnknownCharset)),
        ];
        for (charset, octets, expected) in cases {
            let got = decode(charset, octets);
            assert_eq!(got.as_deref().map_err(|error| *error), expected, "{charset} {octets:?}");
        }
        assert_eq!(decode_piece_of_utf16(b"\x00h\xd8\x3d").as_deref(), Some("h\u{fffd}"));
        assert_eq!(decode_piece_of_utf16(b"\x00"), None);
    }
}
