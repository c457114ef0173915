//! Telephone numbers: the cases of tests/numbers/, and what holds for any text.

use proptest::prelude::*;
use rapidsms::numbers::{self, Answering, Destinations, Numbering, Sender};
use std::fs;
use std::ops::RangeInclusive;

/// The lines of a file with their places, without remarks.
fn lines(name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("tests/numbers/{name}")).unwrap();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let lines =
        lines.map(|(index, line)| (format!("{name}:{}: {line}", index + 1), line.replace("\\n", "\n")));
    let lines: Vec<_> = lines.collect();
    assert!(lines.len() > 10, "{name} is not read");
    lines
}

/// `CODE NATIONAL INTERNATIONAL [FROM-TO]`.
fn place(words: &str) -> Numbering {
    let words: Vec<&str> = words.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let (numbering, digits) = match words.as_slice() {
        [""] => return Numbering::default(),
        [country, national, international] => (Numbering::new(country, national, international), None),
        [country, national, international, digits] => {
            (Numbering::new(country, national, international), Some(*digits))
        }
        _ => panic!("{words:?} is no place"),
    };
    match digits {
        None => numbering.unwrap(),
        Some(digits) => {
            let (from, to) = digits.split_once('-').unwrap();
            numbering.unwrap().with_national_digits(from.parse().unwrap()..=to.parse().unwrap()).unwrap()
        }
    }
}

#[test]
fn numbers_have_one_spelling() {
    let mut numbering = Numbering::default();
    for (at, line) in lines("normalise.txt") {
        if let Some(words) = line.strip_prefix("country ") {
            numbering = place(words);
        } else if let Some((one, other)) = line.split_once(" !~ ") {
            assert!(!numbering.same(one, other) && !numbering.same(other, one), "{at}");
        } else if let Some((one, other)) = line.split_once(" ~ ") {
            assert!(numbering.same(one, other) && numbering.same(other, one), "{at}");
        } else {
            let (written, normal) = line.split_once(" =").unwrap_or_else(|| panic!("{at}: no case"));
            let normal = if normal.is_empty() { written } else { &normal[1..] };
            assert_eq!(numbering.normalise(written), normal, "{at}");
        }
    }
}

#[test]
fn the_longest_prefix_decides() {
    let mut numbering = Numbering::default();
    let (mut allowed, mut denied) = (Vec::new(), Vec::new());
    for (at, line) in lines("destinations.txt") {
        match line.split_once(' ') {
            Some(("country", words)) => numbering = place(words),
            None if line == "rules" => (allowed, denied) = (Vec::new(), Vec::new()),
            Some(("allow", prefix)) => allowed.push(prefix.to_string()),
            Some(("deny", prefix)) => denied.push(prefix.to_string()),
            _ => {
                let (number, answer) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{at}: no case"));
                let destinations = Destinations::new(&allowed, &denied).unwrap();
                let is_allowed = match answer {
                    "yes" => true,
                    "no" => false,
                    _ => panic!("{at}: yes or no"),
                };
                assert_eq!(destinations.check(number, &numbering).is_ok(), is_allowed, "{at}");
            }
        }
    }
}

#[test]
fn a_sender_is_a_number_a_short_code_or_a_name() {
    for (at, line) in lines("senders.txt") {
        let (address, kind) = line.rsplit_once("\" ").unwrap_or_else(|| panic!("{at}: no case"));
        let expected = match kind {
            "number" => Sender::Number,
            "short code" => Sender::ShortCode,
            "name" => Sender::Name,
            "nobody" => Sender::Nobody,
            _ => panic!("{at}: no kind"),
        };
        assert_eq!(numbers::sender(&address[1..]), expected, "{at}");
    }
    let strict = Answering::default();
    assert!(strict.answers("+254722123456") && !strict.answers("1112") && !strict.answers("M-PESA"));
    let short = Answering { short_codes: true, names: false };
    assert!(short.answers("1112") && !short.answers("M-PESA") && !short.answers(""));
    assert!(Answering { short_codes: false, names: true }.answers("M-PESA"));
}

/// A national number comes from the network without its prefix, and sometimes with it.
#[test]
fn an_address_of_the_national_type() {
    let kenya = Numbering::new("254", "0", "00").unwrap();
    for written in ["722123456", "0722123456"] {
        assert_eq!(kenya.normalise_national(written), "+254722123456");
    }
    assert_eq!(Numbering::default().normalise_national("722123456"), "722123456");
    assert_eq!(kenya.normalise_national("*123#"), "*123#");
    assert_eq!(kenya.normalise_national("123"), "123");
}

#[test]
fn wrong_settings_are_sentences() {
    for (country, national, international, word) in [
        ("", "0", "00", "no code of a country"),
        ("0254", "0", "00", "no code of a country"),
        ("2540", "0", "00", "no code of a country"),
        ("KE", "0", "00", "no code of a country"),
        ("254", "+", "00", "no national prefix"),
        ("254", "0", "123456", "no international prefix"),
        ("254", "0", "0", "must differ"),
    ] {
        let sentence = Numbering::new(country, national, international).unwrap_err();
        assert!(sentence.contains(word), "{sentence}");
    }
    let kenya = || Numbering::new("254", "0", "00").unwrap();
    for digits in [3..=9, 9..=13, RangeInclusive::new(10, 9)] {
        let sentence = kenya().with_national_digits(digits).unwrap_err();
        assert!(sentence.contains("4 to 12 are possible"), "{sentence}");
    }
    let none: [&str; 0] = [];
    assert!(Destinations::new(&["+254"], &["+ 254"]).unwrap_err().contains("both"));
    for prefix in ["", "+", "KE", "254*", "+12345678901234567"] {
        let sentence = Destinations::new(&[prefix], &none).unwrap_err();
        assert!(sentence.contains("no prefix"), "{prefix:?}: {sentence}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Normal is normal, and what was not understood is what it was.
    #[test]
    fn what_is_normal_stays(text in "[+0-9() *#a-z.-]{0,24}|\\PC{0,20}", country in "[1-9][0-9]{0,2}") {
        let numbering = Numbering::new(&country, "0", "00").unwrap();
        let normal = numbering.normalise(&text).into_owned();
        if normal != text {
            let digits = normal.strip_prefix('+').expect("only E.164 comes out");
            prop_assert!(digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.len() <= 15, "{normal}");
        }
        prop_assert_eq!(numbering.normalise(&normal), normal.as_str());
        prop_assert!(numbering.same(&text, &normal) && numbering.same(&normal, &text));
    }
}
