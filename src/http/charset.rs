//! Character sets by the names that Kannel, its C library, Python and the web have for them: a text to octets and back, without a loss.
//!
//! It guesses nothing: octets that are not in the set are `None`, a character that the set lacks is told. Three sets are done here because the
//! web's standard, which the library follows, means something else by their names (`ascii` and `iso-8859-1` are windows-1252 there, and
//! UTF-16 is never written); all others are the library's.

use encoding_rs::{Encoding, REPLACEMENT, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};
use std::fmt;

/// Why octets are no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoText {
    /// Nobody knows a charset of this name.
    UnknownCharset,
    /// The octets are not in the charset.
    NotInCharset,
}

/// Decodes octets by the name of their charset; capitals and blanks around the name do not matter.
pub fn decode(charset: &str, octets: &[u8]) -> Result<String, NoText> {
    Charset::named(charset).ok_or(NoText::UnknownCharset)?.decode(octets).ok_or(NoText::NotInCharset)
}

/// A character set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charset {
    /// 128 characters.
    Ascii,
    /// ISO 8859-1. What lies in its unused rows is read as windows-1252, and never written.
    Latin1,
    /// UTF-8.
    Utf8,
    /// UTF-16 with the high octet first; `true` writes a byte order mark.
    Utf16(bool),
    /// UTF-16 with the low octet first.
    Utf16LowFirst,
    /// One of the others.
    Other(&'static Encoding),
}

/// What becomes of characters that a set lacks: the words of Python's `str.encode`, as in the old settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// They are left out.
    Ignore,
    /// Each is a question mark.
    Replace,
    /// The text is not sent.
    Strict,
    /// `\xe9`, `\u1234`, `\U0001f600`.
    Backslash,
    /// `&#233;`.
    Xml,
}

impl Charset {
    /// The set of this name, in any capitals, with `-` or `_`.
    pub fn named(name: &str) -> Option<Charset> {
        let name = name.trim().to_ascii_lowercase();
        Some(match name.replace('_', "-").as_str() {
            "ascii" | "us-ascii" | "us" | "646" | "ansi-x3.4-1968" => Charset::Ascii,
            "iso-8859-1" | "iso8859-1" | "iso-88591" | "latin-1" | "latin1" | "l1" | "latin" => {
                Charset::Latin1
            }
            "utf-8" | "utf8" | "u8" => Charset::Utf8,
            "utf-16be" | "utf16be" | "utf-16-be" | "ucs-2" | "ucs2" | "ucs-2be" | "iso-10646-ucs-2" => {
                Charset::Utf16(false)
            }
            "utf-16" | "utf16" | "u16" => Charset::Utf16(true),
            "utf-16le" | "utf16le" | "utf-16-le" | "ucs-2le" => Charset::Utf16LowFirst,
            dashed => {
                let labels = [name.as_str(), dashed];
                let found = labels.into_iter().find_map(|label| Encoding::for_label(label.as_bytes()))?;
                match found {
                    found if found == REPLACEMENT || found == X_USER_DEFINED => return None,
                    found if found == UTF_16BE => Charset::Utf16(false),
                    found if found == UTF_16LE => Charset::Utf16LowFirst,
                    // The web's other names for ISO 8859-1, such as cp819.
                    found if found == WINDOWS_1252 && !dashed.contains("1252") => Charset::Latin1,
                    found => Charset::Other(found),
                }
            }
        })
    }

    /// The octets of a text, or the first character that the set lacks.
    pub fn encode(self, text: &str) -> Result<Vec<u8>, char> {
        if let Some(lacking) = text.chars().find(|character| !self.has(*character)) {
            return Err(lacking);
        }
        Ok(match self {
            Charset::Ascii | Charset::Utf8 => text.as_bytes().to_vec(),
            Charset::Latin1 => {
                text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b' ')).collect()
            }
            Charset::Utf16(mark) => {
                let mark: &[u8] = if mark { &[0xFE, 0xFF] } else { &[] };
                mark.iter().copied().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect()
            }
            Charset::Utf16LowFirst => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Charset::Other(encoding) => encoding.encode(text).0.into_owned(),
        })
    }

    /// The same text without the characters that the set lacks, or with something else in their place; with [`Missing::Strict`] the first of them.
    pub fn forced(self, text: &str, missing: Missing) -> Result<String, char> {
        let mut forced = String::with_capacity(text.len());
        for character in text.chars() {
            let code = u32::from(character);
            match missing {
                _ if self.has(character) => forced.push(character),
                Missing::Ignore => {}
                Missing::Replace => forced.push('?'),
                Missing::Strict => return Err(character),
                Missing::Backslash if code <= 0xFF => forced.push_str(&format!("\\x{code:02x}")),
                Missing::Backslash if code <= 0xFFFF => forced.push_str(&format!("\\u{code:04x}")),
                Missing::Backslash => forced.push_str(&format!("\\U{code:08x}")),
                Missing::Xml => forced.push_str(&format!("&#{code};")),
            }
        }
        Ok(forced)
    }

    /// The text of octets; `None` when they are not all in the set.
    pub fn decode(self, octets: &[u8]) -> Option<String> {
        match self {
            Charset::Ascii => octets.is_ascii().then(|| String::from_utf8_lossy(octets).into_owned()),
            Charset::Latin1 => decoded(WINDOWS_1252, octets),
            Charset::Utf8 => {
                let octets = octets.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(octets);
                String::from_utf8(octets.to_vec()).ok()
            }
            Charset::Utf16(_) => utf16(octets, u16::from_be_bytes),
            Charset::Utf16LowFirst => utf16(octets, u16::from_le_bytes),
            Charset::Other(encoding) => decoded(encoding, octets),
        }
    }

    fn has(self, character: char) -> bool {
        match self {
            Charset::Ascii => character.is_ascii(),
            Charset::Latin1 => character.is_ascii() || ('\u{A0}'..='\u{FF}').contains(&character),
            Charset::Utf8 | Charset::Utf16(_) | Charset::Utf16LowFirst => true,
            Charset::Other(encoding) => {
                let (_, _, lacking) = encoding.encode(character.encode_utf8(&mut [0; 4]));
                !lacking
            }
        }
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Charset::Ascii => "ascii",
            Charset::Latin1 => "ISO-8859-1",
            Charset::Utf8 => "UTF-8",
            Charset::Utf16(false) => "UTF-16BE",
            Charset::Utf16(true) => "UTF-16",
            Charset::Utf16LowFirst => "UTF-16LE",
            Charset::Other(encoding) => encoding.name(),
        })
    }
}

fn decoded(encoding: &'static Encoding, octets: &[u8]) -> Option<String> {
    encoding.decode_without_bom_handling_and_without_replacement(octets).map(|text| text.into_owned())
}

/// A byte order mark is obeyed and left out. Half a unit and half a pair are not text.
fn utf16(octets: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = octets.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let (pairs, unit): (_, fn([u8; 2]) -> u16) = match pairs {
        [[0xFE, 0xFF], rest @ ..] => (rest, u16::from_be_bytes),
        [[0xFF, 0xFE], rest @ ..] => (rest, u16::from_le_bytes),
        _ => (pairs, unit),
    };
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect::<Result<String, _>>().ok()
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
    fn names_are_those_of_kannel_and_of_the_old_documents() {
        for (name, charset) in [
            ("ascii", Charset::Ascii),
            ("US-ASCII", Charset::Ascii),
            ("utf-8", Charset::Utf8),
            ("UTF8", Charset::Utf8),
            ("UTF-16BE", Charset::Utf16(false)),
            ("utf_16_be", Charset::Utf16(false)),
            ("UCS-2", Charset::Utf16(false)),
            ("utf-16", Charset::Utf16(true)),
            ("UTF-16LE", Charset::Utf16LowFirst),
            ("ISO-8859-1", Charset::Latin1),
            ("iso8859_1", Charset::Latin1),
            ("latin-1", Charset::Latin1),
            ("cp819", Charset::Latin1),
            ("unicode", Charset::Utf16LowFirst),
            ("cp1252", Charset::Other(encoding_rs::WINDOWS_1252)),
            ("windows-1251", Charset::Other(encoding_rs::WINDOWS_1251)),
            ("ISO-8859-15", Charset::Other(encoding_rs::ISO_8859_15)),
            ("iso8859_7", Charset::Other(encoding_rs::ISO_8859_7)),
            ("shift_jis", Charset::Other(encoding_rs::SHIFT_JIS)),
            ("KOI8-R", Charset::Other(encoding_rs::KOI8_R)),
        ] {
            assert_eq!(Charset::named(name), Some(charset), "{name}");
        }
        for name in ["", "8-BIT", "utf-7", "klingon", "x-user-defined", "iso-2022-kr", "none"] {
            assert_eq!(Charset::named(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let all = [
            "ascii",
            "utf-8",
            "utf-16be",
            "utf-16",
            "utf-16le",
            "iso-8859-1",
            "iso-8859-15",
            "cp1251",
            "gb18030",
        ];
        for name in all {
            let charset = Charset::named(name).unwrap();
            for text in ["", "hello @ £", "naïve €", "привет", "ሰላም", "😀"] {
                if let Ok(octets) = charset.encode(text) {
                    assert_eq!(charset.decode(&octets).as_deref(), Some(text), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_set_has_what_it_has_and_no_more() {
        let lacks = |name: &str, text: &str| Charset::named(name).unwrap().encode(text).err();
        assert_eq!(lacks("ascii", "aé"), Some('é'));
        assert_eq!(lacks("latin-1", "é€"), Some('€'), "the euro is in windows-1252, which is another set");
        assert_eq!(lacks("cp1252", "é€"), None);
        assert_eq!(lacks("cp1251", "приветé"), Some('é'));
        assert_eq!(lacks("utf-16be", "😀"), None);
    }

    #[test]
    fn octets_that_are_not_in_the_set_are_no_text() {
        let decoded = |name: &str, octets: &[u8]| Charset::named(name).unwrap().decode(octets);
        assert_eq!(decoded("ascii", b"\xe9"), None);
        assert_eq!(decoded("utf-8", b"\xe9t\xe9"), None);
        assert_eq!(decoded("utf-8", b"\xEF\xBB\xBFhi").as_deref(), Some("hi"));
        assert_eq!(decoded("utf-16be", b"\0h\0"), None, "half a unit");
        assert_eq!(decoded("utf-16be", b"\xd8\x3d"), None, "half a pair");
        assert_eq!(decoded("utf-16be", b"\xff\xfeh\0").as_deref(), Some("h"), "its mark says so");
        assert_eq!(decoded("iso-8859-1", b"\x80\xe9").as_deref(), Some("€é"));
        assert_eq!(decoded("shift_jis", b"\x81"), None);
    }

    #[test]
    fn missing_characters_are_treated_as_python_does() {
        let forced = |missing| Charset::Ascii.forced("aéሰ😀b", missing);
        assert_eq!(forced(Missing::Ignore).as_deref(), Ok("ab"));
        assert_eq!(forced(Missing::Replace).as_deref(), Ok("a???b"));
        assert_eq!(forced(Missing::Strict), Err('é'));
        assert_eq!(forced(Missing::Backslash).as_deref(), Ok(r"a\xe9\u1230\U0001f600b"));
        assert_eq!(forced(Missing::Xml).as_deref(), Ok("a&#233;&#4656;&#128512;b"));
    }

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
