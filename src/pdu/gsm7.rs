//! The GSM 7-bit alphabet (3GPP TS 23.038 clauses 6.1.2 and 6.2.1): characters to septets and back, septets to octets and back.
//!
//! A septet is one `u8` below 128 here. Joining the septets of several parts and decoding them last makes a character whose escape stands at the end of a
//! part whole again; nothing here needs to know about parts.

use super::national::{Language, Locking, NONE};

/// Switches to the single shift table for one septet.
pub const ESCAPE: u8 = 0x1B;

/// The filler of clause 6.1.2.3.1, which only USSD uses.
const CARRIAGE_RETURN: u8 = 0x0D;

/// Stands for a septet that no table gives a meaning.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// The tables in force: those of the header's national language elements, or the default ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tables {
    /// Replaces the default alphabet.
    pub locking: Language,
    /// Replaces its extension.
    pub single: Language,
}

/// How a character is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coded {
    /// One septet.
    Plain(u8),
    /// The escape and this septet.
    Escaped(u8),
}

impl Coded {
    /// How many septets.
    pub fn septets(self) -> usize {
        match self {
            Coded::Plain(_) => 1,
            Coded::Escaped(_) => 2,
        }
    }
}

/// How a character is written with these tables; `None` when they do not have it.
pub fn code(character: char, tables: Tables) -> Option<Coded> {
    let unit = u16::try_from(u32::from(character)).ok().filter(|unit| *unit != NONE)?;
    let plain = match tables.locking.locking() {
        None => default_septet(unit),
        Some(table) => position(table, unit),
    };
    plain.map(Coded::Plain).or_else(|| {
        let found = tables.single.single().iter().find(|(_, single)| *single == unit);
        found.map(|(septet, _)| Coded::Escaped(*septet))
    })
}

/// The septets of a text, or the first character that the tables do not have.
pub fn encode(text: &str, tables: Tables) -> Result<Vec<u8>, char> {
    let mut septets = Vec::with_capacity(text.len());
    for character in text.chars() {
        match code(character, tables).ok_or(character)? {
            Coded::Plain(septet) => septets.push(septet),
            Coded::Escaped(septet) => septets.extend([ESCAPE, septet]),
        }
    }
    Ok(septets)
}

/// The text of septets.
///
/// Behind an escape a septet that the single shift table does not have means what it means without (clause 6.2.1.1); two escapes, and one at
/// the very end, are a blank (note 1 there). What no table has becomes U+FFFD.
pub fn decode(septets: &[u8], tables: Tables) -> String {
    let locking = tables.locking.locking().unwrap_or(&DEFAULT);
    let single = tables.single.single();
    let mut text = String::with_capacity(septets.len());
    let mut septets = septets.iter().map(|septet| septet & 0x7F);
    while let Some(septet) = septets.next() {
        if septet != ESCAPE {
            text.push(character(locking, septet));
            continue;
        }
        let escaped = match septets.next() {
            None | Some(ESCAPE) => ' ',
            Some(septet) => match single.binary_search_by_key(&septet, |(septet, _)| *septet) {
                Ok(found) => known(single[found].1),
                Err(_) => character(locking, septet),
            },
        };
        text.push(escaped);
    }
    text
}

/// Packs septets into octets, the first bits last (clause 6.1.2.1.1), behind so many fill bits.
pub fn pack(septets: &[u8], fill_bits: usize) -> Vec<u8> {
    let mut octets = vec![0_u8; (fill_bits + septets.len() * 7).div_ceil(8)];
    for (index, septet) in septets.iter().enumerate() {
        let bit = fill_bits + index * 7;
        let bits = u16::from(septet & 0x7F) << (bit % 8);
        let [low, high] = bits.to_le_bytes();
        octets[bit / 8] |= low;
        if high != 0 {
            octets[bit / 8 + 1] |= high;
        }
    }
    octets
}

/// Takes up to `count` septets out of octets, behind so many fill bits; fewer when the octets have no more.
pub fn unpack(octets: &[u8], fill_bits: usize, count: usize) -> Vec<u8> {
    let there = (octets.len() * 8).saturating_sub(fill_bits) / 7;
    let septet = |index: usize| {
        let bit = fill_bits + index * 7;
        let low = octets.get(bit / 8).copied().unwrap_or(0);
        let high = octets.get(bit / 8 + 1).copied().unwrap_or(0);
        let bits = u16::from_le_bytes([low, high]) >> (bit % 8);
        // Seven bits are left of it, which always fit.
        (bits & 0x7F) as u8
    };
    (0..count.min(there)).map(septet).collect()
}

/// Packs the septets of a USSD string (clause 6.1.2.3.1): seven spare bits would read as `@`, so they are a carriage return, and a text
/// that ends in one on an octet's border gets a second.
pub fn pack_ussd(septets: &[u8]) -> Vec<u8> {
    let mut septets = septets.to_vec();
    let ends_on_border = septets.len().is_multiple_of(8) && septets.last() == Some(&CARRIAGE_RETURN);
    if septets.len() % 8 == 7 || ends_on_border {
        septets.push(CARRIAGE_RETURN);
    }
    pack(&septets, 0)
}

/// The septets of a USSD string, whose length is known in octets only.
pub fn unpack_ussd(octets: &[u8]) -> Vec<u8> {
    let mut septets = unpack(octets, 0, usize::MAX);
    if septets.len().is_multiple_of(8) && septets.last() == Some(&CARRIAGE_RETURN) {
        septets.pop();
    }
    septets
}

fn character(locking: &Locking, septet: u8) -> char {
    known(locking[usize::from(septet & 0x7F)])
}

fn known(unit: u16) -> char {
    if unit == NONE { UNKNOWN } else { char::from_u32(u32::from(unit)).unwrap_or(UNKNOWN) }
}

fn position(table: &Locking, unit: u16) -> Option<u8> {
    let found = table.iter().position(|there| *there == unit)?;
    u8::try_from(found).ok()
}

/// Most texts are ASCII in the default alphabet: those characters are not searched for.
fn default_septet(unit: u16) -> Option<u8> {
    match ASCII.get(usize::from(unit)) {
        Some(&NOT_THERE) => None,
        Some(&septet) => Some(septet),
        None => position(&DEFAULT, unit),
    }
}

const NOT_THERE: u8 = 0xFF;

/// The septet of each ASCII character in the default alphabet.
const ASCII: [u8; 128] = {
    let mut septets = [NOT_THERE; 128];
    let mut septet = 0;
    while septet < 128_u8 {
        let unit = DEFAULT[septet as usize];
        if unit < 128 {
            septets[unit as usize] = septet;
        }
        septet += 1;
    }
    septets
};

/// Clause 6.2.1, the default alphabet.
#[rustfmt::skip]
const DEFAULT: Locking = [
    0x0040, 0x00A3, 0x0024, 0x00A5, 0x00E8, 0x00E9, 0x00F9, 0x00EC, 0x00F2, 0x00C7, 0x000A, 0x00D8, 0x00F8, 0x000D, 0x00C5, 0x00E5,
    0x0394, 0x005F, 0x03A6, 0x0393, 0x039B, 0x03A9, 0x03A0, 0x03A8, 0x03A3, 0x0398, 0x039E,   NONE, 0x00C6, 0x00E6, 0x00DF, 0x00C9,
    0x0020, 0x0021, 0x0022, 0x0023, 0x00A4, 0x0025, 0x0026, 0x0027, 0x0028, 0x0029, 0x002A, 0x002B, 0x002C, 0x002D, 0x002E, 0x002F,
    0x0030, 0x0031, 0x0032, 0x0033, 0x0034, 0x0035, 0x0036, 0x0037, 0x0038, 0x0039, 0x003A, 0x003B, 0x003C, 0x003D, 0x003E, 0x003F,
    0x00A1, 0x0041, 0x0042, 0x0043, 0x0044, 0x0045, 0x0046, 0x0047, 0x0048, 0x0049, 0x004A, 0x004B, 0x004C, 0x004D, 0x004E, 0x004F,
    0x0050, 0x0051, 0x0052, 0x0053, 0x0054, 0x0055, 0x0056, 0x0057, 0x0058, 0x0059, 0x005A, 0x00C4, 0x00D6, 0x00D1, 0x00DC, 0x00A7,
    0x00BF, 0x0061, 0x0062, 0x0063, 0x0064, 0x0065, 0x0066, 0x0067, 0x0068, 0x0069, 0x006A, 0x006B, 0x006C, 0x006D, 0x006E, 0x006F,
    0x0070, 0x0071, 0x0072, 0x0073, 0x0074, 0x0075, 0x0076, 0x0077, 0x0078, 0x0079, 0x007A, 0x00E4, 0x00F6, 0x00F1, 0x00FC, 0x00E0,
];
