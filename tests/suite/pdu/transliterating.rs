//! What a text costs, and how it would cost less.

use proptest::prelude::*;
use rapidsms::pdu::count::Culprit;
use rapidsms::pdu::gsm7::{self, Tables};
use rapidsms::pdu::{Language, Scope, Splitting, count, shortened, transliterate};

fn is_gsm(text: &str) -> bool {
    gsm7::encode(text, Tables::default()).is_ok()
}

#[test]
fn only_what_forces_ucs2_changes() {
    for (text, expected) in [
        // 23.038 6.2.1: the accents that the alphabet has stay.
        ("Ünïté à Ñandú: ça coûte 5 €", Some("Ünité à Ñandu: ca coute 5 €")),
        ("İyi günler, şimdi ığdır'a", Some("Iyi günler, simdi igdir'a")),
        ("Győrből jövő tűz", Some("Györböl jövö tüz")),
        ("Größe: ẞ", Some("Größe: Ss")),
        ("“Yes” – she said… ‘no’ « oui »", Some("\"Yes\" - she said... 'no' \" oui \"")),
        ("a\tb\u{a0}c\u{2009}d", Some("a b c d")),
        ("`id`", Some("'id'")),
        ("Cafe\u{301} e\u{302} n\u{303} x\u{301}", Some("Café e ñ x")),
        ("zero\u{200b}width\u{feff}\u{ad}", Some("zerowidth")),
        ("Łódź Œuvre đ þ", Some("Lodz Oeuvre d th")),
        ("ＡＢＣ １２！", Some("ABC 12!")),
        ("38 °C © ™ №5", Some("38 degC (C) TM No5")),
        // What is a number stays that number, and a sign keeps its meaning.
        ("take 1½ of ½, 10² m²", Some("take 1 1/2 of 1/2, 10^2 m2")),
        ("a ≠ b, 3×5, x → y, ≤ 2", Some("a <> b, 3x5, x -> y, <= 2")),
        // Nothing to do.
        ("", None),
        ("Hello, Ωmega [€]", None),
        // All or nothing.
        ("ş 😀", None),
        ("ş Привет", None),
        ("ş አማርኛ", None),
        ("ş \u{e000}", None),
        ("ş \u{1}", None),
        ("\u{301}x", None),
        ("∉", None),
    ] {
        assert_eq!(transliterate(text, Scope::Latin).as_deref(), expected, "{text:?}");
    }
}

#[test]
fn other_scripts_and_pictures_only_on_demand() {
    for (text, expected) in [
        ("Привет 😀", Some("Privet :grinning:")),
        ("Καλημέρα Ω", Some("Kalimera Ω")),
        ("ሰላም", Some("selam")),
        ("\u{e000}", None),
        ("plain", None),
    ] {
        assert_eq!(transliterate(text, Scope::All).as_deref(), expected, "{text:?}");
    }
}

#[test]
fn a_text_that_is_one_message_anyway_stays() {
    let splitting = Splitting::default();
    assert_eq!(shortened("Günaydın", Scope::Latin, &splitting), None);
    assert_eq!(shortened(&"ı".repeat(71), Scope::Latin, &splitting), Some("i".repeat(71)));
    // Also where it was too long to be sent at all.
    let long = "ı".repeat(67 * 255 + 1);
    assert_eq!(shortened(&long, Scope::Latin, &splitting).map(|plain| plain.len()), Some(67 * 255 + 1));
    let always = Splitting { always_ucs2: true, ..Splitting::default() };
    assert_eq!(shortened(&"ı".repeat(71), Scope::Latin, &always), None);
    let turkish = Splitting { languages: vec![Language::Turkish], ..Splitting::default() };
    assert_eq!(shortened(&"ı".repeat(71), Scope::Latin, &turkish), None, "the Turkish tables save as much");
}

#[test]
fn a_text_is_counted() {
    let counted = |text: &str| count(text, &Splitting::default()).unwrap();
    let plain = counted("price: 5 €");
    assert_eq!((plain.alphabet, plain.parts, plain.characters), ("gsm7", 1, 10));
    assert_eq!((plain.units, plain.units_in_last, plain.units_left), (11, 11, 149), "an escape is a unit");
    assert!(plain.culprits.is_empty() && plain.transliterated.is_none());

    let long = counted(&("ş".to_string() + &"a".repeat(149) + "ş😀"));
    assert_eq!((long.alphabet, long.parts, long.units), ("ucs2", 3, 153));
    assert_eq!((long.units_in_last, long.units_left), (19, 48));
    let culprit = |character, code: &str, times, places: &[usize]| Culprit {
        character,
        code: code.to_string(),
        times,
        places: places.to_vec(),
    };
    assert_eq!(long.culprits, [culprit('ş', "U+015F", 2, &[0, 150]), culprit('😀', "U+1F600", 1, &[151])]);
    assert_eq!(long.transliterated, None, "the picture would still need UCS-2");

    let curable = counted(&"ş".repeat(150));
    assert_eq!(curable.parts, 3);
    assert_eq!((curable.culprits[0].times, curable.culprits[0].places.len()), (150, 20), "bounded");
    let cure = curable.transliterated.unwrap();
    assert_eq!((cure.parts, cure.units, cure.units_left), (1, 150, 10));
    assert_eq!(cure.text, "s".repeat(150));

    let many: String = ('\u{4E00}'..).take(130).collect();
    let many = counted(&many);
    assert_eq!((many.culprits.len(), many.culprits_left_out), (100, 30));

    let turkish = Splitting { languages: vec![Language::Turkish], ..Splitting::default() };
    let shifted = count(&"ş".repeat(71), &turkish).unwrap();
    assert_eq!((shifted.alphabet, shifted.parts, shifted.single_language), ("gsm7", 1, "turkish"));
    assert_eq!(shifted.locking_language, "default", "the cheaper header");
    assert!(count(&"a".repeat(153 * 255 + 1), &turkish).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_fits(text in "\\PC{0,60}|[ -~ -ſ“”…\u{300}-\u{36f}\u{200d}]{0,60}", all in any::<bool>()) {
        let scope = if all { Scope::All } else { Scope::Latin };
        match transliterate(&text, scope) {
            None => {}
            Some(written) => {
                prop_assert!(!is_gsm(&text) && is_gsm(&written), "{written}");
                prop_assert_eq!(transliterate(&written, scope), None);
                // What the alphabet has is there, in its order, but for letters that took up their mark.
                let kept = text.chars().filter(|one| one.is_ascii_digit());
                let mut rest = written.chars();
                for digit in kept {
                    prop_assert!(rest.any(|there| there == digit), "{} lost {}", written, digit);
                }
            }
        }
    }

    /// Every text has a count, and its parts are those of the plan.
    #[test]
    fn any_text_is_counted(text in "\\PC{0,400}") {
        let counted = count(&text, &Splitting::default()).unwrap();
        prop_assert_eq!(counted.culprits.is_empty(), is_gsm(&text));
        prop_assert!(counted.units >= counted.units_in_last && counted.parts >= 1);
        for culprit in &counted.culprits {
            for place in &culprit.places {
                prop_assert_eq!(text.chars().nth(*place), Some(culprit.character));
            }
        }
    }
}
