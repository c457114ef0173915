//! How a text is written for Kannel: which `coding`, which `charset`, which octets.
//!
//! Kannel never chooses an alphabet. What `coding=0` (the GSM alphabet, TS 23.038 clause 6.2.1) does not have, it turns into "?" and answers that all is
//! well, so the choice is made here. Settings of the older systems pin it; then it is theirs as far as the text fits, and no letter is
//! lost where it does not, unless `encode_errors` says so in so many words.

use crate::http::charset::{Charset, Missing};
use crate::pdu::{Tables, gsm7};

/// What the settings say about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alphabets {
    /// `coding`, when it is pinned.
    pub coding: Option<u8>,
    /// `charset`, when it is pinned: the name as it was given, and what it is.
    pub charset: Option<(String, Charset)>,
    /// `encode_errors`, when it was given: then texts are forced into the charset.
    pub missing: Option<Missing>,
    /// Whether that Kannel can convert between charsets; without, it knows its own two only, and refuses to be told one.
    pub iconv: bool,
}

impl Default for Alphabets {
    fn default() -> Alphabets {
        Alphabets { coding: None, charset: None, missing: None, iconv: true }
    }
}

/// A text as it goes to Kannel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// 0: GSM alphabet, 1: octets, 2: UCS-2.
    pub coding: u8,
    /// How `octets` are to be read; `None`: as Kannel reads this coding by itself (UTF-8, UTF-16BE).
    pub charset: Option<String>,
    /// The text.
    pub octets: Vec<u8>,
    /// Why it is not what the settings pin.
    pub note: Option<String>,
}

impl Alphabets {
    /// Writes a text. The error is a sentence: `encode_errors = "strict"` does not let it out.
    pub fn write(&self, text: &str) -> Result<Written, String> {
        // The old defaults were those of one call of `encode`, so they belong to its `errors` and are nobody's wish without it.
        let old = self.missing.is_some();
        let coding = self.coding.or(old.then_some(0));
        let charset = self.charset.clone().or_else(|| old.then(|| ("ascii".to_string(), Charset::Ascii)));
        let mut sent = text.to_string();
        if let Some((name, charset)) = &charset {
            let lacks = |character: char| format!("\"{character}\" is not in {name}");
            match (charset.encode(text), self.missing) {
                (Ok(_), _) => {}
                (Err(character), None) => return Ok(self.ucs2(text, Some(lacks(character)))),
                (Err(_), Some(missing)) => {
                    sent = charset.forced(text, missing).map_err(|character| {
                        format!("{}, and encode_errors is \"strict\" in the settings", lacks(character))
                    })?;
                }
            }
        }
        let foreign = sent.chars().find(|character| gsm7::code(*character, Tables::default()).is_none());
        let coding = match (coding, foreign) {
            (Some(0), Some(character)) => {
                return Ok(self.ucs2(text, Some(format!("\"{character}\" is not in the GSM alphabet"))));
            }
            (Some(coding), _) => coding,
            (None, None) => 0,
            (None, Some(_)) => 2,
        };
        match charset {
            // It was encoded a moment ago; should it fail now, UCS-2 has everything.
            Some((name, charset)) => Ok(match charset.encode(&sent) {
                Ok(octets) => Written { coding, charset: Some(name), octets, note: None },
                Err(_) => self.ucs2(text, None),
            }),
            None if coding == 2 => Ok(self.ucs2(text, None)),
            None => Ok(Written { coding, charset: self.utf8(), octets: sent.into_bytes(), note: None }),
        }
    }

    fn ucs2(&self, text: &str, why: Option<String>) -> Written {
        let octets = if self.iconv {
            text.as_bytes().to_vec()
        } else {
            text.encode_utf16().flat_map(u16::to_be_bytes).collect()
        };
        let note = why.map(|why| format!("sent as UCS-2: {why}"));
        Written { coding: 2, charset: self.utf8(), octets, note }
    }

    fn utf8(&self) -> Option<String> {
        self.iconv.then(|| "UTF-8".to_string())
    }
}
