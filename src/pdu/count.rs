//! What a text costs and why (3GPP TS 23.038 clause 6.2, 3GPP TS 23.040 clause 9.2.3.24.1): for people and programs that write messages.
//!
//! Nothing is sent or changed; how the text would be sent is what [`plan`] says. Lists are bounded, whatever the text.

use super::data_coding::Alphabet;
use super::gsm7::{self, Tables};
use super::split::{Plan, Splitting, TooLong, plan};
use super::transliterate::{Scope, transliterate};
use serde::Serialize;

/// The most characters that are named.
const MOST_CULPRITS: usize = 100;
/// The most places that are told of one.
const MOST_PLACES: usize = 20;

/// What a text costs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Count {
    /// `gsm7` or `ucs2`.
    pub alphabet: &'static str,
    /// How many messages it is.
    pub parts: usize,
    /// Its characters.
    pub characters: usize,
    /// Septets, or units of 16 bits, in all parts together.
    pub units: usize,
    /// Those in the last part.
    pub units_in_last: usize,
    /// Those that the last part still has room for.
    pub units_left: usize,
    /// National language whose locking table is used, or `default`.
    pub locking_language: &'static str,
    /// National language whose single shift table is used, or `default`.
    pub single_language: &'static str,
    /// The characters that the GSM alphabet does not have, in order of their first appearance.
    pub culprits: Vec<Culprit>,
    /// How many more of them there are, beyond those that are named.
    pub culprits_left_out: usize,
    /// The text in the GSM alphabet, where that is possible by changing letters and punctuation alone.
    pub transliterated: Option<Transliterated>,
}

/// A character that the GSM alphabet does not have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Culprit {
    /// The character.
    pub character: char,
    /// Its number, as `U+015F`: some are invisible.
    pub code: String,
    /// How often it is there.
    pub times: usize,
    /// Where: how many characters stand before it. The first places only, when it is there often.
    pub places: Vec<usize>,
}

/// What transliteration would make of a text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Transliterated {
    /// The text.
    pub text: String,
    /// How many messages it would be.
    pub parts: usize,
    /// Septets in all parts together.
    pub units: usize,
    /// Those that the last part would still have room for.
    pub units_left: usize,
}

/// Counts a text as it would be sent.
pub fn count(text: &str, splitting: &Splitting) -> Result<Count, TooLong> {
    Ok(of_plan(text, &plan(text, splitting)?, splitting))
}

/// The same of a text that is planned already.
pub fn of_plan(text: &str, plan: &Plan, splitting: &Splitting) -> Count {
    let units = units_of_parts(plan);
    let (culprits, culprits_left_out) = culprits(text, plan);
    let transliterated = transliterate(text, Scope::Latin).and_then(|text| {
        let shorter = super::plan(&text, &Splitting { languages: Vec::new(), ..splitting.clone() }).ok()?;
        Some(Transliterated {
            parts: shorter.parts.len(),
            units: units_of_parts(&shorter).iter().sum(),
            units_left: shorter.units_left,
            text,
        })
    });
    Count {
        alphabet: plan.alphabet.as_str(),
        parts: plan.parts.len(),
        characters: text.chars().count(),
        units: units.iter().sum(),
        units_in_last: units.last().copied().unwrap_or_default(),
        units_left: plan.units_left,
        locking_language: plan.tables.locking.as_str(),
        single_language: plan.tables.single.as_str(),
        culprits,
        culprits_left_out,
        transliterated,
    }
}

/// Septets, or units of 16 bits.
fn units_of_parts(plan: &Plan) -> Vec<usize> {
    let width = if plan.alphabet == Alphabet::Ucs2 { 2 } else { 1 };
    plan.parts.iter().map(|part| part.payload.units().len() / width).collect()
}

fn culprits(text: &str, plan: &Plan) -> (Vec<Culprit>, usize) {
    let named = plan.culprits.iter().take(MOST_CULPRITS);
    let mut culprits: Vec<Culprit> = named
        .map(|character| Culprit {
            character: *character,
            code: format!("U+{:04X}", u32::from(*character)),
            times: 0,
            places: Vec::new(),
        })
        .collect();
    for (place, character) in text.chars().enumerate() {
        if gsm7::code(character, Tables::default()).is_some() {
            continue;
        }
        if let Some(culprit) = culprits.iter_mut().find(|culprit| culprit.character == character) {
            culprit.times += 1;
            if culprit.places.len() < MOST_PLACES {
                culprit.places.push(place);
            }
        }
    }
    (culprits, plan.culprits.len().saturating_sub(MOST_CULPRITS))
}
