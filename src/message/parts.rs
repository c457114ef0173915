//! Messages that come in several pieces (TS 23.040, 9.2.3.24.1 and 9.2.3.24.8): the pieces, and what they say together. It keeps nothing
//! and waits for nothing; the router does that.

/// The longest piece that is put together with others, in UTF-16 units. An SMS has room for 160 characters (TS 23.040, 9.2.3.16).
pub const PART_LIMIT: usize = 1_024;
/// The most pieces that one message may have: they are counted in one octet (TS 23.040, 9.2.3.24.1).
pub const PARTS_LIMIT: u16 = 255;
/// The longest [`Part::set`], in octets.
const SET_LIMIT: usize = 256;
/// The last unit of a piece that ends in the midst of a character: the escape of the GSM alphabet, whose letter begins the next piece
/// (TS 23.038, 6.2.1). No letter of that alphabet is this unit.
pub const CUT_ESCAPE: u16 = 0x1B;
/// What stands where pieces are missing.
const GAP: &str = "[...]";

/// One piece of a message that comes in several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What the pieces of one message have in common besides their connection: the reference with its width, the SIM.
    pub set: String,
    /// How many pieces there are.
    pub total: u16,
    /// Which piece this is, from 1.
    pub sequence: u16,
    /// What it says, as UTF-16 units and not as text: a border may cut a surrogate pair.
    pub units: Vec<u16>,
}

impl Part {
    /// Whether it is worth waiting for others: a piece that contradicts itself, or is the only one, is a message of its own
    /// (TS 23.040, 9.2.3.24.1: a header with such numbers is to be ignored).
    pub fn is_one_of_several(&self) -> bool {
        (2..=PARTS_LIMIT).contains(&self.total)
            && (1..=self.total).contains(&self.sequence)
            && self.units.len() <= PART_LIMIT
            && self.set.len() <= SET_LIMIT
    }
}

/// What the pieces of a message say together, in order of their numbers. Where some of the `total` are missing, `[...]` stands instead. Units
/// that are no text become U+FFFD.
pub fn joined_text<'a>(total: u16, pieces: impl IntoIterator<Item = (u16, &'a [u16])>) -> String {
    let mut text = String::new();
    let mut run: Vec<u16> = Vec::new();
    let mut next = 1;
    for (sequence, units) in pieces {
        let mut units = units;
        if sequence > next {
            end_run(&mut run);
            text.push_str(&String::from_utf16_lossy(&std::mem::take(&mut run)));
            let before = if text.is_empty() { "" } else { " " };
            text.extend([before, GAP, " "]);
        }
        if run.last() == Some(&CUT_ESCAPE)
            && let Some((letter, rest)) = units.split_first()
        {
            run.pop();
            run.push(escaped(*letter));
            units = rest;
        }
        run.extend_from_slice(units);
        next = sequence.saturating_add(1);
    }
    end_run(&mut run);
    text.push_str(&String::from_utf16_lossy(&run));
    if next <= total {
        text.extend([" ", GAP]);
    }
    text
}

/// An escape without its letter is a blank (TS 23.038, 6.2.1.1).
fn end_run(run: &mut [u16]) {
    if let Some(last) = run.last_mut().filter(|last| **last == CUT_ESCAPE) {
        *last = u16::from(b' ');
    }
}

/// What a letter of the default alphabet means behind an escape (TS 23.038, 6.2.1.1); itself where it means nothing.
fn escaped(letter: u16) -> u16 {
    const MEANINGS: [(char, char); 10] = [
        ('\n', '\u{C}'),
        ('\u{39B}', '^'),
        ('(', '{'),
        (')', '}'),
        ('/', '\\'),
        ('<', '['),
        ('=', '~'),
        ('>', ']'),
        ('\u{A1}', '|'),
        ('e', '\u{20AC}'),
    ];
    let units = |letter: char| u16::try_from(u32::from(letter)).unwrap_or(0xFFFD);
    let meaning = MEANINGS.into_iter().find(|(plain, _)| units(*plain) == letter);
    meaning.map_or(letter, |(_, escaped)| units(escaped))
}

/// The raw octets of several pieces as those of one message: for each piece its number in two octets, how many octets follow in four (both
/// with the highest first), and the octets.
pub fn pack_raw<'a>(pieces: impl IntoIterator<Item = (u16, &'a [u8])>) -> Vec<u8> {
    let mut packed = Vec::new();
    for (sequence, raw) in pieces {
        packed.extend(sequence.to_be_bytes());
        packed.extend(u32::try_from(raw.len()).unwrap_or(u32::MAX).to_be_bytes());
        packed.extend(raw);
    }
    packed
}

/// The raw octets of each piece, with its number, of a message that was put together from several ([`pack_raw`]); none when they are not such octets.
pub fn unpack_raw(mut packed: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut pieces = Vec::new();
    while !packed.is_empty() {
        let (sequence, rest) = packed.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (raw, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        pieces.push((u16::from_be_bytes(*sequence), raw));
        packed = rest;
    }
    Some(pieces)
}

/// Some numbers of pieces for people: `part 2`, `parts 1 to 3 and 7`. They are in order.
pub fn part_numbers(sequences: &[u16]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &sequence in sequences {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(sequence) => *last = sequence,
            _ => ranges.push((sequence, sequence)),
        }
    }
    let mut words: Vec<String> = Vec::new();
    for (first, last) in ranges {
        match last - first {
            0 => words.push(first.to_string()),
            1 => words.extend([first.to_string(), last.to_string()]),
            _ => words.push(format!("{first} to {last}")),
        }
    }
    let end = words.pop().unwrap_or_default();
    let all = if words.is_empty() { end } else { format!("{} and {end}", words.join(", ")) };
    if sequences.len() == 1 { format!("part {all}") } else { format!("parts {all}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(total: u16, pieces: &[(u16, &str)]) -> String {
        let units: Vec<(u16, Vec<u16>)> =
            pieces.iter().map(|(sequence, text)| (*sequence, text.encode_utf16().collect())).collect();
        joined_text(total, units.iter().map(|(sequence, units)| (*sequence, &units[..])))
    }

    #[test]
    fn gaps_are_marked_where_they_are() {
        assert_eq!(text(2, &[(1, " one "), (2, "two ")]), " one two ");
        assert_eq!(text(3, &[(1, "one"), (3, "three")]), "one [...] three");
        assert_eq!(text(3, &[(2, "two")]), "[...] two [...]");
        assert_eq!(text(9, &[(1, "one "), (2, "two"), (7, "seven")]), "one two [...] seven [...]");
    }

    #[test]
    fn a_border_may_cut_a_surrogate_pair() {
        let smile: Vec<u16> = "\u{1F600}".encode_utf16().collect();
        assert_eq!(joined_text(2, [(1, &smile[..1]), (2, &smile[1..])]), "\u{1F600}");
        assert_eq!(joined_text(3, [(1, &smile[..1]), (3, &smile[1..])]), "\u{FFFD} [...] \u{FFFD}");
    }

    #[test]
    fn a_border_may_cut_an_escape_from_its_letter() {
        for (letter, whole) in
            ["\n\u{C}", "\u{39B}^", "({", ")}", "/\\", "<[", "=~", ">]", "\u{A1}|", "e\u{20AC}", "xx"].map(
                |pair| {
                    let mut letters = pair.chars();
                    (letters.next().unwrap(), letters.next().unwrap())
                },
            )
        {
            assert_eq!(text(2, &[(1, "one\u{1B}"), (2, &format!("{letter}e"))]), format!("one{whole}e"));
        }
        assert_eq!(text(3, &[(1, "one\u{1B}"), (2, ""), (3, "e")]), "one\u{20AC}");
        assert_eq!(text(3, &[(1, "one\u{1B}"), (3, "e")]), "one  [...] e");
        assert_eq!(text(2, &[(1, "one\u{1B}")]), "one  [...]");
    }

    #[test]
    fn raw_octets_come_apart_again() {
        let pieces: [(u16, &[u8]); 3] = [(1, &[1, 2, 3]), (2, &[]), (300, &[0; 70_000])];
        let packed = pack_raw(pieces);
        assert_eq!(unpack_raw(&packed).unwrap(), pieces);
        assert_eq!(unpack_raw(&packed[..packed.len() - 1]), None);
        assert_eq!(unpack_raw(&[0]), None);
        assert_eq!(unpack_raw(&[0, 1, 255, 255, 255, 255, 7]), None);
        assert_eq!(unpack_raw(&[]), Some(vec![]));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(part_numbers(&[2]), "part 2");
        assert_eq!(part_numbers(&[1, 3]), "parts 1 and 3");
        assert_eq!(part_numbers(&[1, 2, 3, 7]), "parts 1 to 3 and 7");
        assert_eq!(part_numbers(&[1, 2, 5, 9, 10, 11, 12]), "parts 1, 2, 5 and 9 to 12");
    }

    #[test]
    fn only_sound_numbers_make_a_piece() {
        let part = |total, sequence| Part { set: "8/1".into(), total, sequence, units: vec![] };
        for (total, sequence, sound) in [
            (2, 1, true),
            (255, 255, true),
            (0, 0, false),
            (0, 1, false),
            (1, 1, false),
            (3, 0, false),
            (3, 4, false),
            (256, 1, false),
        ] {
            assert_eq!(part(total, sequence).is_one_of_several(), sound, "{sequence} of {total}");
        }
        assert!(!Part { units: vec![0; PART_LIMIT + 1], ..part(2, 1) }.is_one_of_several());
        assert!(!Part { set: "x".repeat(257), ..part(2, 1) }.is_one_of_several());
    }
}
