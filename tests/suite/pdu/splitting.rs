//! Texts to parts and back: sizes, borders, culprits.

use rapidsms::pdu::concat::{Added, GAP, join};
use rapidsms::pdu::gsm7::{self, ESCAPE};
use rapidsms::pdu::{
    Address, Alphabet, Assembly, Concat, Language, Payload, Plan, Splitting, Submit, UserData, plan,
    plan_part,
};

fn planned(text: &str) -> Plan {
    plan(text, &Splitting::default()).unwrap()
}

fn texts(plan: &Plan) -> Vec<&str> {
    plan.parts.iter().map(|part| part.text.as_str()).collect()
}

/// 23.040 9.2.3.24.1: how much fits.
#[test]
fn sizes() {
    let wide = Splitting { wide_reference: true, ..Splitting::default() };
    for (letter, splitting, alone, part) in [
        ("a", Splitting::default(), 160, 153),
        ("a", wide.clone(), 160, 152),
        ("ж", Splitting::default(), 70, 67),
        ("ж", wide, 70, 66),
    ] {
        for (letters, parts, left) in [
            (0, 1, alone),
            (1, 1, alone - 1),
            (alone, 1, 0),
            (alone + 1, 2, 2 * part - alone - 1),
            (2 * part, 2, 0),
            (2 * part + 1, 3, part - 1),
            (255 * part, 255, 0),
        ] {
            let plan = plan(&letter.repeat(letters), &splitting).unwrap();
            if letters > 0 {
                assert_eq!((plan.parts.len(), plan.units_left), (parts, left), "{letters} times {letter}");
            } else {
                assert_eq!((plan.parts.len(), plan.units_left), (1, 160), "nothing is one empty part");
            }
            let octets = plan.user_data(7).into_iter().map(|part| part.payload.units().len());
            assert_eq!(octets.sum::<usize>(), letters * if letter == "a" { 1 } else { 2 });
        }
        assert!(plan(&letter.repeat(255 * part + 1), &splitting).is_err());
        let few = Splitting { most_parts: 2, ..splitting };
        assert!(plan(&letter.repeat(2 * part), &few).is_ok());
        assert!(plan(&letter.repeat(2 * part + 1), &few).is_err());
    }
}

/// 23.038 6.2.1.1: an escape and its septet stay together.
#[test]
fn a_border_never_cuts_an_escape() {
    for before in 140..153 {
        let plan = planned(&("a".repeat(before) + &"€".repeat(20)));
        assert_eq!(plan.parts.len(), 2);
        for part in &plan.parts {
            let Payload::Gsm7(septets) = &part.payload else { panic!("the GSM alphabet has it") };
            assert!(septets.len() <= 153);
            assert_ne!(septets.last(), Some(&ESCAPE), "cut at {before}");
        }
    }
}

/// 23.038 6.2.3: so do the halves of a pair.
#[test]
fn a_border_never_cuts_a_surrogate_pair() {
    for before in 0..3 {
        let text = "ж".repeat(before) + &"😀".repeat(80);
        let plan = planned(&text);
        assert_eq!(plan.parts.len(), 3, "33 pairs to a part");
        for part in &plan.parts {
            assert!(!part.text.is_empty() && part.payload.units().len() <= 134);
            assert_eq!(part.payload.text(plan.tables).unwrap(), part.text);
        }
        assert_eq!(texts(&plan).concat(), text);
    }
}

/// UAX #29: what is one character to a reader stays whole, unless that costs a part.
#[test]
fn graphemes_stay_whole_where_it_costs_nothing() {
    let family = "👨‍👩‍👧‍👦";
    assert_eq!(family.encode_utf16().count(), 11);
    let cheap = "ж".repeat(60) + family + &"ж".repeat(10);
    let plan = planned(&cheap);
    assert_eq!(texts(&plan), [&*"ж".repeat(60), &*(family.to_string() + &"ж".repeat(10))]);
    // 134 units in two parts: whole it would need three.
    let tight = "ж".repeat(61) + family + &"ж".repeat(62);
    let plan = planned(&tight);
    assert_eq!(plan.parts.len(), 2);
    assert_eq!(texts(&plan).concat(), tight);
    // A letter with its accent, and a flag of two letters.
    for cluster in ["e\u{301}", "🇪🇹", "नि"] {
        let plan = planned(&("ж".repeat(66) + cluster + "ж".repeat(20).as_str()));
        assert_eq!(texts(&plan)[0], "ж".repeat(66), "{cluster}");
    }
    // One that fits into no part at all is cut all the same.
    let endless = "ж".to_string() + &"\u{301}".repeat(200);
    assert_eq!(planned(&endless).parts.len(), 3);
    assert_eq!(texts(&planned(&endless)).concat(), endless);
}

#[test]
fn culprits_are_named_once_in_order() {
    let plan = planned("çay “ile” ş ç ok €");
    assert_eq!(plan.alphabet, Alphabet::Ucs2);
    assert_eq!(plan.culprits, ['ç', '“', '”', 'ş']);
    assert!(planned("Çà va? [€]").culprits.is_empty());
}

/// 23.038 annex A: a language's tables are used where one is allowed and a part is saved, not else.
#[test]
fn national_languages() {
    let turkish = Splitting { languages: vec![Language::Turkish], ..Splitting::default() };
    let text = "ığış ".repeat(30);
    assert_eq!(planned(&text).parts.len(), 3);
    let with = plan(&text, &turkish).unwrap();
    assert_eq!((with.alphabet, with.parts.len()), (Alphabet::Gsm7, 1));
    assert_eq!(with.tables.locking, Language::Turkish);
    assert_eq!(plan("ığış", &turkish).unwrap().alphabet, Alphabet::Ucs2, "one part either way: the safe one");
    assert_eq!(plan("plain", &turkish).unwrap().tables, gsm7::Tables::default());
    for (language, text) in [
        (Language::Spanish, "El camión pasó. "),
        (Language::Portuguese, "ãõçâ"),
        (Language::Bengali, "বাংলা"),
        (Language::Gujarati, "ગુજરાતી"),
        (Language::Hindi, "हिन्दी"),
        (Language::Kannada, "ಕನ್ನಡ"),
        (Language::Malayalam, "മലയാളം"),
        (Language::Oriya, "ଓଡ଼ିଆ"),
        (Language::Punjabi, "ਪੰਜਾਬੀ"),
        (Language::Tamil, "தமிழ்"),
        (Language::Telugu, "తెలుగు"),
        (Language::Urdu, "اردو"),
    ] {
        let text = text.repeat(20);
        let splitting = Splitting { languages: vec![language], ..Splitting::default() };
        let plan = plan(&text, &splitting).unwrap();
        assert_eq!(plan.alphabet, Alphabet::Gsm7, "{language:?}");
        assert!(plan.parts.len() < planned(&text).parts.len());
        let parts = plan.user_data(1);
        assert_eq!(join(parts.iter().map(Some)).unwrap(), text);
    }
}

fn assembled(total: u8) -> (Assembly, Vec<UserData>) {
    let parts = planned(&"0123456789".repeat(40)).user_data(9);
    assert_eq!(parts.len(), 3);
    (Assembly::new(total), parts)
}

/// Out of order, twice, contradictory, out of range.
#[test]
fn parts_are_put_together() {
    let (mut assembly, parts) = assembled(3);
    assert_eq!(assembly.add(3, parts[2].clone()), Added::Waiting);
    assert_eq!(assembly.add(1, parts[0].clone()), Added::Waiting);
    assert_eq!(assembly.add(1, parts[0].clone()), Added::Duplicate);
    assert_eq!(assembly.add(1, parts[1].clone()), Added::Conflict);
    assert_eq!(assembly.add(0, parts[1].clone()), Added::Outside);
    assert_eq!(assembly.add(4, parts[1].clone()), Added::Outside);
    assert_eq!(assembly.missing().collect::<Vec<_>>(), [2]);
    let partial = assembly.text().unwrap();
    assert!(partial.starts_with("0123") && partial.contains(GAP) && partial.ends_with("6789"), "{partial}");
    assert_eq!(assembly.add(2, parts[1].clone()), Added::Complete);
    assert_eq!(assembly.text().unwrap(), "0123456789".repeat(40));
    assert_eq!(Assembly::new(0).add(1, parts[0].clone()), Added::Outside);
}

/// Home-made senders cut anywhere: units are joined first and decoded last.
#[test]
fn what_a_border_cut_is_whole_again() {
    let gsm7 = |septets: &[u8]| UserData::new(Payload::Gsm7(septets.to_vec()));
    let ucs2 = |octets: &[u8]| UserData::new(Payload::Ucs2(octets.to_vec()));
    let data = UserData::new(Payload::Data8(vec![1, 2]));
    let escape = [gsm7(&[0x61, ESCAPE]), gsm7(&[0x65, 0x62])];
    assert_eq!(join(escape.iter().map(Some)).unwrap(), "a€b");
    let pair = [ucs2(&[0x00, 0x61, 0xD8, 0x3D]), ucs2(&[0xDE, 0x00])];
    assert_eq!(join(pair.iter().map(Some)).unwrap(), "a😀");
    let unit = [ucs2(&[0x00, 0x61, 0x00]), ucs2(&[0x62])];
    assert_eq!(join(unit.iter().map(Some)).unwrap(), "ab");
    let mixed = [gsm7(&[0x61]), ucs2(&[0x04, 0x36])];
    assert_eq!(join(mixed.iter().map(Some)).unwrap(), "aж", "part by part in its own alphabet");
    assert_eq!(join([Some(&data), Some(&data)]), None);
    // A gap ends what stands before it: half a pair does not reach across.
    assert_eq!(join([Some(&pair[0]), None, Some(&pair[1])]).unwrap(), "a\u{fffd}[...]\u{fffd}");
}

/// A text that is one part of a message which somebody else has cut says so with that one's reference, and fits whole or not at all.
#[test]
fn a_part_of_somebody_elses_message_stays_one_message() {
    let number = Address::number("+25761000001").unwrap();
    let splitting = Splitting::default();
    for (letter, bits, most) in [("a", 8, 153), ("a", 16, 152), ("ж", 8, 67), ("ж", 16, 66)] {
        let plan = plan_part(&letter.repeat(most), bits, &splitting).unwrap();
        assert_eq!((plan.parts.len(), plan.units_left), (1, 0), "{letter} {bits}");
        assert!(plan_part(&letter.repeat(most + 1), bits, &splitting).is_err(), "{letter} {bits}");
        let concat = Concat { reference: 0x7b, total: 3, sequence: 2, bits };
        let submit = Submit::of_part(&plan, &number, concat, Some(0)).unwrap();
        assert_eq!(submit.user_data.header.as_ref().unwrap().concat(), Some(concat));
        assert_eq!(submit.data_coding, Submit::of_plan(&plan, &number, 1, Some(0))[0].data_coding);
        submit.encode().unwrap();
    }
    assert_eq!(plan_part("", 8, &splitting).unwrap().parts.len(), 1);
}
