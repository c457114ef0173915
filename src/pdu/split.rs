//! A text to parts (3GPP TS 23.040 clause 9.2.3.24.1): which alphabet, how many parts, where the borders are, and who is to blame.
//!
//! | | alone | 8-bit reference | 16-bit reference |
//! |---|---|---|---|
//! | GSM alphabet, septets | 160 | 153 | 152 |
//! | UCS-2, units of 16 bits | 70 | 67 | 66 |
//!
//! A border never cuts an escape from its septet or a surrogate pair. It does not cut what a reader sees as one character (a grapheme cluster, UAX #29)
//! either, unless keeping that whole would cost one more part.

use super::concat::Concat;
use super::data_coding::Alphabet;
use super::gsm7::{self, Tables};
use super::national::Language;
use super::ucs2;
use super::udh::Header;
use super::user_data::{MOST_OCTETS, Payload, UserData};
use std::collections::BTreeSet;
use std::fmt;
use unicode_segmentation::UnicodeSegmentation;

/// What is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Splitting {
    /// UCS-2 even where the GSM alphabet would do.
    pub always_ucs2: bool,
    /// References of 16 bits, which cost one septet or unit of each part and do not come around again so soon.
    pub wide_reference: bool,
    /// National languages whose tables may be used where they save parts; phones that do not know them show something else. None by default.
    pub languages: Vec<Language>,
    /// More parts than this are too many.
    pub most_parts: u8,
}

impl Default for Splitting {
    fn default() -> Splitting {
        Splitting { always_ucs2: false, wide_reference: false, languages: Vec::new(), most_parts: u8::MAX }
    }
}

/// How a text is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The alphabet of all parts.
    pub alphabet: Alphabet,
    /// The tables of all parts.
    pub tables: Tables,
    /// The parts; an empty text is one.
    pub parts: Vec<Part>,
    /// How many septets, or units of 16 bits, the last part still has room for.
    pub units_left: usize,
    /// The characters that the GSM alphabet does not have, each once, in order of their first appearance: those that force UCS-2.
    pub culprits: Vec<char>,
    /// References of 16 bits.
    pub wide_reference: bool,
}

/// One part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its text.
    pub text: String,
    /// The same in its alphabet.
    pub payload: Payload,
}

/// A text needs more parts than allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong {
    /// How many parts are allowed.
    pub most_parts: u8,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the text is too long: it needs more than {} parts", self.most_parts)
    }
}

impl std::error::Error for TooLong {}

impl Plan {
    /// The user data of a text that is one part of a message that somebody else has cut ([`plan_part`]).
    pub fn user_data_as(&self, concat: Concat) -> Option<UserData> {
        let part = self.parts.first()?;
        let header = Header::of_tables(self.tables).with_concat(concat);
        Some(UserData { header: Some(header), payload: part.payload.clone() })
    }

    /// The user data of each part. The reference ties them together; only 8 bits of it count without [`Plan::wide_reference`].
    pub fn user_data(&self, reference: u16) -> Vec<UserData> {
        let total = u8::try_from(self.parts.len()).unwrap_or(u8::MAX);
        let (reference, bits) = if self.wide_reference { (reference, 16) } else { (reference & 0xFF, 8) };
        let part = |(sequence, part): (u8, &Part)| {
            let mut header = Header::of_tables(self.tables);
            if total > 1 {
                header = header.with_concat(Concat { reference, total, sequence, bits });
            }
            UserData {
                header: (!header.elements.is_empty()).then_some(header),
                payload: part.payload.clone(),
            }
        };
        (1..=u8::MAX).zip(&self.parts).map(part).collect()
    }
}

/// Plans the parts of a text: the GSM alphabet where it has all characters, a national language where one is allowed and saves parts, else UCS-2.
pub fn plan(text: &str, splitting: &Splitting) -> Result<Plan, TooLong> {
    let culprits = culprits(text);
    if culprits.is_empty() && !splitting.always_ucs2 {
        let way = Way { alphabet: Alphabet::Gsm7, tables: Tables::default() };
        let cut = way.cut(text, splitting).ok_or(TooLong { most_parts: splitting.most_parts })?;
        return Ok(way.plan(cut, culprits, splitting));
    }
    let ucs2 = Way { alphabet: Alphabet::Ucs2, tables: Tables::default() };
    let mut best = ucs2.cut(text, splitting).map(|cut| (ucs2, cut));
    if !splitting.always_ucs2 {
        for tables in splitting.languages.iter().flat_map(|language| ways_of(*language)) {
            let way = Way { alphabet: Alphabet::Gsm7, tables };
            let Some(cut) = way.cut(text, splitting) else { continue };
            if best.as_ref().is_none_or(|(_, best)| cut.len() < best.len()) {
                best = Some((way, cut));
            }
        }
    }
    let (way, cut) = best.ok_or(TooLong { most_parts: splitting.most_parts })?;
    Ok(way.plan(cut, culprits, splitting))
}

/// Plans a text that is itself one part of a message that somebody else has cut: one part, with room for the element that says so. `bits`: the width of the
/// reference, 8 or 16.
pub fn plan_part(text: &str, bits: u8, splitting: &Splitting) -> Result<Plan, TooLong> {
    let splitting = Splitting { wide_reference: bits == 16, most_parts: 1, ..splitting.clone() };
    let plan = plan(text, &splitting)?;
    let way = Way { alphabet: plan.alphabet, tables: plan.tables };
    let used: usize = text.chars().filter_map(|character| way.cost(character)).sum();
    match way.capacity(true, &splitting).checked_sub(used) {
        Some(units_left) => Ok(Plan { units_left, ..plan }),
        None => Err(TooLong { most_parts: 1 }),
    }
}

/// The cheapest headers first.
fn ways_of(language: Language) -> impl Iterator<Item = Tables> {
    let single = Tables { locking: Language::Default, single: language };
    let locking = Tables { locking: language, single: Language::Default };
    let both = Tables { locking: language, single: language };
    let has_locking = language.has_locking();
    [single, locking, both]
        .into_iter()
        .filter(move |tables| has_locking || tables.locking == Language::Default)
}

fn culprits(text: &str) -> Vec<char> {
    let mut seen = BTreeSet::new();
    let foreign = text.chars().filter(|character| gsm7::code(*character, Tables::default()).is_none());
    foreign.filter(|character| seen.insert(*character)).collect()
}

/// One way to write a text.
#[derive(Clone, Copy)]
struct Way {
    alphabet: Alphabet,
    tables: Tables,
}

impl Way {
    /// Units that a character takes; `None` when it cannot be written this way.
    fn cost(self, character: char) -> Option<usize> {
        match self.alphabet {
            Alphabet::Ucs2 => Some(character.len_utf16()),
            _ => gsm7::code(character, self.tables).map(gsm7::Coded::septets),
        }
    }

    /// Units that one part has room for.
    fn capacity(self, several: bool, splitting: &Splitting) -> usize {
        const CONCAT_8: usize = 5;
        const CONCAT_16: usize = 6;
        const LANGUAGE: usize = 3;
        let languages = [self.tables.locking, self.tables.single];
        let mut header =
            LANGUAGE * languages.iter().filter(|language| **language != Language::Default).count();
        if several {
            header += if splitting.wide_reference { CONCAT_16 } else { CONCAT_8 };
        }
        // The header's length is an octet too.
        let octets = MOST_OCTETS - if header > 0 { header + 1 } else { 0 };
        if self.alphabet == Alphabet::Ucs2 { octets / 2 } else { octets * 8 / 7 }
    }

    /// The parts; `None` when a character cannot be written, or when they are too many.
    fn cut<'t>(self, text: &'t str, splitting: &Splitting) -> Option<Vec<&'t str>> {
        let mut units = 0;
        for character in text.chars() {
            units += self.cost(character)?;
        }
        if units <= self.capacity(false, splitting) {
            return Some(vec![text]);
        }
        let capacity = self.capacity(true, splitting);
        let most = usize::from(splitting.most_parts);
        let needed = self.count(text, capacity, most)?;
        let mut parts = Vec::with_capacity(needed);
        let mut rest = text;
        while !rest.is_empty() {
            let mut end = self.fitting(rest, capacity);
            if end < rest.len() {
                let borders = rest.grapheme_indices(true).map(|(at, _)| at);
                let whole = borders.take_while(|at| *at <= end).last().unwrap_or(0);
                let allowed = needed.saturating_sub(parts.len() + 1);
                if whole > 0 && whole < end && self.count(&rest[whole..], capacity, allowed).is_some() {
                    end = whole;
                }
            }
            let (part, behind) = rest.split_at(end);
            parts.push(part);
            rest = behind;
        }
        Some(parts)
    }

    /// How many parts there are when characters are the only thing that is kept whole; `None` when more than `most`.
    fn count(self, text: &str, capacity: usize, most: usize) -> Option<usize> {
        let (mut parts, mut rest) = (0, text);
        while !rest.is_empty() {
            parts += 1;
            if parts > most {
                return None;
            }
            rest = &rest[self.fitting(rest, capacity)..];
        }
        Some(parts)
    }

    /// How many octets of UTF-8 fit into one part; always at least one character.
    fn fitting(self, text: &str, capacity: usize) -> usize {
        let mut units = 0;
        for (at, character) in text.char_indices() {
            units += self.cost(character).unwrap_or(1);
            if units > capacity && at > 0 {
                return at;
            }
        }
        text.len()
    }

    fn plan(self, cut: Vec<&str>, culprits: Vec<char>, splitting: &Splitting) -> Plan {
        let capacity = self.capacity(cut.len() > 1, splitting);
        let last = cut.last().copied().unwrap_or_default();
        let used: usize = last.chars().filter_map(|character| self.cost(character)).sum();
        let parts = cut
            .into_iter()
            .map(|text| Part { text: text.to_string(), payload: self.payload(text) })
            .collect();
        Plan {
            alphabet: self.alphabet,
            tables: self.tables,
            parts,
            units_left: capacity.saturating_sub(used),
            culprits,
            wide_reference: splitting.wide_reference,
        }
    }

    fn payload(self, text: &str) -> Payload {
        match self.alphabet {
            Alphabet::Ucs2 => Payload::Ucs2(ucs2::encode(text)),
            // Every character has been costed, so each can be written.
            _ => Payload::Gsm7(gsm7::encode(text, self.tables).unwrap_or_default()),
        }
    }
}
