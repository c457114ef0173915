//! Parts to a text (3GPP TS 23.040 clause 9.2.3.24.1): in any order, twice, with one missing.
//!
//! Only the arithmetic: which parts belong together (same sender, reference, total and line), how long one waits for the rest, and where they
//! are kept until then is decided by whoever owns a store.

use super::data_coding::Alphabet;
use super::gsm7::Tables;
use super::user_data::{Payload, UserData};

/// Stands where a part is missing.
pub const GAP: &str = "[...]";

/// Which part of which message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Concat {
    /// The same for all parts of a message.
    pub reference: u16,
    /// How many parts there are.
    pub total: u8,
    /// Which one this is, from 1.
    pub sequence: u8,
    /// 8 or 16, the width of the reference: two widths are two messages.
    pub bits: u8,
}

/// The parts of one message so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembly {
    parts: Vec<Option<UserData>>,
}

/// What a part was good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It was missing, and others still are.
    Waiting,
    /// It was the last that was missing.
    Complete,
    /// It is there already, octet by octet.
    Duplicate,
    /// Another one stands in its place: the sender used its reference again, and this is the first part of another message. Nothing
    /// was changed.
    Conflict,
    /// There is no such place.
    Outside,
}

impl Assembly {
    /// A message of so many parts, none of which is there.
    pub fn new(total: u8) -> Assembly {
        Assembly { parts: vec![None; usize::from(total)] }
    }

    /// Puts a part in its place.
    pub fn add(&mut self, sequence: u8, part: UserData) -> Added {
        let place = usize::from(sequence).checked_sub(1).and_then(|index| self.parts.get_mut(index));
        match place {
            None => return Added::Outside,
            Some(Some(there)) if *there == part => return Added::Duplicate,
            Some(Some(_)) => return Added::Conflict,
            Some(place) => *place = Some(part),
        }
        if self.parts.iter().all(Option::is_some) { Added::Complete } else { Added::Waiting }
    }

    /// The places that are still empty, from 1.
    pub fn missing(&self) -> impl Iterator<Item = u8> {
        let places = (1..=u8::MAX).zip(&self.parts);
        places.filter(|(_, part)| part.is_none()).map(|(sequence, _)| sequence)
    }

    /// What is there, with [`GAP`] for what is not; `None` when all of it is data and not text.
    pub fn text(&self) -> Option<String> {
        join(self.parts.iter().map(Option::as_ref))
    }

    /// The octets of what is there, for a message that is no text.
    pub fn data(&self) -> Vec<u8> {
        self.parts.iter().flatten().flat_map(|part| part.payload.units()).copied().collect()
    }
}

/// The text of parts in their order; `None` stands for a missing one. Units are joined first and decoded last, so that an escape or a surrogate pair that
/// a border cut is whole again. `None` when no part is text.
pub fn join<'p>(parts: impl IntoIterator<Item = Option<&'p UserData>>) -> Option<String> {
    let mut text: Option<String> = None;
    let mut run: Option<(Alphabet, Tables, Vec<u8>)> = None;
    for part in parts {
        let Some(part) = part else {
            finish(run.take(), &mut text);
            text.get_or_insert_default().push_str(GAP);
            continue;
        };
        let (alphabet, tables) = (part.payload.alphabet(), part.tables());
        match &mut run {
            Some((same, also, units)) if (*same, *also) == (alphabet, tables) => {
                units.extend_from_slice(part.payload.units());
            }
            _ => {
                finish(run.take(), &mut text);
                run = Some((alphabet, tables, part.payload.units().to_vec()));
            }
        }
    }
    finish(run, &mut text);
    text
}

/// Decodes parts that follow one another in one alphabet.
fn finish(run: Option<(Alphabet, Tables, Vec<u8>)>, text: &mut Option<String>) {
    let Some((alphabet, tables, units)) = run else { return };
    let payload = match alphabet {
        Alphabet::Gsm7 => Payload::Gsm7(units),
        Alphabet::Ucs2 => Payload::Ucs2(units),
        Alphabet::Data8 => Payload::Data8(units),
    };
    if let Some(decoded) = payload.text(tables) {
        text.get_or_insert_default().push_str(&decoded);
    }
}
