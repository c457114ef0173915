//! A text that the GSM alphabet (3GPP TS 23.038 clause 6.2.1) has all characters of, made of one that needs UCS-2: 160 characters instead of 70.
//!
//! What the alphabet has is never touched, so `Ünïté` becomes `Ünité` and not `Unite`. It is all or nothing: a text that would still need UCS-2 stays
//! as it is, for then nothing is gained by spoiling it. Nothing is left out but what nobody sees (joiners, marks without a letter).

use super::gsm7::{self, Tables};
use super::split::{Splitting, plan};

/// What may be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// Latin letters, punctuation and signs, which stay readable: `“ş…”` becomes `"s..."`.
    #[default]
    Latin,
    /// Other scripts and emoji too, as they sound or are called: `Привет 😀` becomes `Privet :grinning:`.
    All,
}

/// The text in the GSM alphabet; `None` when it is already, or cannot be.
pub fn transliterate(text: &str, scope: Scope) -> Option<String> {
    let mut written = String::with_capacity(text.len());
    let mut has_changed = false;
    for character in text.chars() {
        if is_gsm(character) {
            written.push(character);
            continue;
        }
        has_changed = true;
        if is_mark(character) {
            let before = written.chars().next_back()?;
            if let Some(composed) = composed(before, character) {
                written.pop();
                written.push(composed);
            }
        } else if !is_invisible(character) {
            if scope == Scope::Latin && !is_latin_or_sign(character) {
                return None;
            }
            let replacement = replacement(character)?;
            written.push_str(joint(written.chars().next_back(), character));
            written.push_str(replacement);
        }
    }
    (has_changed && written.chars().all(is_gsm)).then_some(written)
}

/// The same, but only where it saves parts: a text that is one message either way is better left as its author wrote it.
pub fn shortened(text: &str, scope: Scope, splitting: &Splitting) -> Option<String> {
    let plain = transliterate(text, scope)?;
    let parts = |text: &str| plan(text, splitting).map_or(usize::MAX, |plan| plan.parts.len());
    (parts(&plain) < parts(text)).then_some(plain)
}

fn is_gsm(character: char) -> bool {
    gsm7::code(character, Tables::default()).is_some()
}

/// What stands for a character: its ASCII, except where the alphabet has something nearer or ASCII would say something else.
fn replacement(character: char) -> Option<&'static str> {
    Some(match character {
        'ő' => "ö",
        'Ő' => "Ö",
        'ű' => "ü",
        'Ű' => "Ü",
        '«' | '»' | '“' | '”' | '„' | '‟' => "\"",
        '`' | '´' | 'ʻ' | 'ʽ' | '‹' | '›' => "'",
        '\t' => " ",
        '\u{85}' | '\u{2028}' | '\u{2029}' => "\n",
        '₤' => "£",
        '×' => "x",
        '≠' => "<>",
        '→' => "->",
        '←' => "<-",
        '‰' => "o/oo",
        // Other controls mean something to machines, and private characters to their owners: those are not changed.
        _ => any_ascii::any_ascii_char(character),
    })
    .filter(|plain| !plain.is_empty() && plain.chars().all(is_gsm))
}

/// What keeps a number what it was: `1½` is not `11/2`, and `10²` is not `102`.
fn joint(before: Option<char>, character: char) -> &'static str {
    match (before, character) {
        (Some('0'..='9'), '¼'..='¾' | '⅐'..='⅞' | '↉') => " ",
        (Some('0'..='9'), '²' | '³' | '¹' | '⁰'..='⁹') => "^",
        _ => "",
    }
}

/// A mark that belongs to the letter before it.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36F}')
}

/// The letter of the alphabet that is this one with this mark.
fn composed(letter: char, mark: char) -> Option<char> {
    Some(match (letter, mark) {
        ('a', '\u{300}') => 'à',
        ('e', '\u{300}') => 'è',
        ('i', '\u{300}') => 'ì',
        ('o', '\u{300}') => 'ò',
        ('u', '\u{300}') => 'ù',
        ('e', '\u{301}') => 'é',
        ('E', '\u{301}') => 'É',
        ('a', '\u{308}') => 'ä',
        ('A', '\u{308}') => 'Ä',
        ('o', '\u{308}' | '\u{30B}') => 'ö',
        ('O', '\u{308}' | '\u{30B}') => 'Ö',
        ('u', '\u{308}' | '\u{30B}') => 'ü',
        ('U', '\u{308}' | '\u{30B}') => 'Ü',
        ('a', '\u{30A}') => 'å',
        ('A', '\u{30A}') => 'Å',
        ('n', '\u{303}') => 'ñ',
        ('N', '\u{303}') => 'Ñ',
        ('C', '\u{327}') => 'Ç',
        _ => return None,
    })
}

/// Joiners, marks of direction, hyphens that show at a line's end only, selectors of a style.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
    )
}

/// Blocks of Latin letters, of punctuation and of signs. Not those whose characters are pictures.
fn is_latin_or_sign(character: char) -> bool {
    matches!(character,
        '\0'..='\u{2FF}'
        | '\u{1D00}'..='\u{1DBF}' | '\u{1E00}'..='\u{1EFF}'
        // Punctuation, raised and lowered digits, currencies, signs made of letters, fractions.
        | '\u{2000}'..='\u{218F}'
        | '→' | '←' | '−' | '∕' | '∙' | '⋅' | '≈' | '≠' | '≤' | '≥' | '∞'
        | '\u{2C60}'..='\u{2C7F}' | '\u{A720}'..='\u{A7FF}' | '\u{AB30}'..='\u{AB6F}'
        // Ligatures, full-width ASCII.
        | '\u{FB00}'..='\u{FB06}' | '\u{3000}' | '\u{FF01}'..='\u{FF5E}'
    )
}
