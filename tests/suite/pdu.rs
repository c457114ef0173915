//! The SMS codec: vectors from tests/vectors/ through the real program, and properties. A vector names the clause that it proves.

mod properties;
mod splitting;
mod transliterating;

use super::daemon::{folder, rapidsms, rapidsms_with};
use rapidsms::pdu::{self, Alphabet, DataCoding, Prefix, Side};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;

/// One case of a file in tests/vectors/: what it proves, the words behind `rapidsms pdu decode`, and the fields that come out. A case without
/// `remarks` has none; one with `rewritten` says why its octets come back otherwise.
struct Vector {
    place: String,
    options: Vec<String>,
    hex: String,
    expected: Map<String, Value>,
}

fn vectors() -> Vec<Vector> {
    let mut files: Vec<_> =
        fs::read_dir("tests/vectors").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut vectors: Vec<Vector> = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let mut proves = String::new();
        for (index, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let place = format!("{name}:{}: {proves}", index + 1);
            match line.split_once(' ') {
                None => assert!(line.is_empty(), "{place}: {line:?} is no line of a vector"),
                Some(("#", text)) => {
                    let clauses = ["23.038 ", "23.040 ", "24.011 ", "27.005 "];
                    let named = clauses.iter().any(|specification| text.starts_with(specification));
                    assert!(named && text.contains(": "), "{place}: {text:?} names no clause");
                    proves = text.to_string();
                }
                Some(("decode", words)) => {
                    let mut options: Vec<String> = words.split(' ').map(str::to_string).collect();
                    let hex = options.pop().unwrap();
                    vectors.push(Vector { place, options, hex, expected: Map::new() });
                }
                Some((field, value)) => {
                    let value = serde_json::from_str(value)
                        .unwrap_or_else(|error| panic!("{place}: {value}: {error}"));
                    vectors.last_mut().unwrap().expected.insert(field.to_string(), value);
                }
            }
        }
    }
    assert!(vectors.len() > 120, "only {} vectors", vectors.len());
    vectors
}

/// One run of the program for each set of options; each line of its input becomes a line of its output.
#[test]
fn vectors_are_decoded() {
    let mut groups: BTreeMap<Vec<String>, Vec<Vector>> = BTreeMap::new();
    for vector in vectors() {
        groups.entry(vector.options.clone()).or_default().push(vector);
    }
    let place = folder("");
    let mut wrong = String::new();
    for (options, vectors) in groups {
        let arguments = [&["pdu".to_string(), "decode".to_string()], options.as_slice()].concat();
        let input: String = vectors.iter().map(|vector| format!("{}\n", vector.hex)).collect();
        let ran = rapidsms_with(place.path(), &arguments, input.as_bytes());
        let fails = vectors.iter().any(|vector| vector.expected.contains_key("error"));
        let ran = ran.exits(i32::from(fails));
        let lines: Vec<&str> = ran.out.lines().collect();
        assert_eq!(lines.len(), vectors.len(), "a line for each");
        for (vector, line) in vectors.iter().zip(lines) {
            let found: Map<String, Value> = serde_json::from_str(line).unwrap();
            let mut expected = vector.expected.clone();
            expected.remove("rewritten");
            expected.entry("remarks").or_insert(Value::Null);
            for (field, value) in &expected {
                let there = found.get(field).unwrap_or(&Value::Null);
                if there != value {
                    wrong += &format!("{}\n  {field}\n  - {value}\n  + {there}\n", vector.place);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What has nothing wrong with it is written as it was read.
#[test]
fn vectors_are_written_as_they_were_read() {
    let mut written = 0;
    for vector in vectors() {
        if ["remarks", "rewritten", "error"].iter().any(|field| vector.expected.contains_key(*field)) {
            continue;
        }
        let side = match vector.options.iter().position(|word| word == "--direction") {
            Some(at) if vector.options[at + 1] == "mo" => Some(Side::Mobile),
            Some(_) => Some(Side::Network),
            None => None,
        };
        let octets = pdu::from_hex(&vector.hex).unwrap();
        let without = vector.options.windows(2).any(|words| words == ["--smsc", "no"]);
        let prefix = if without { Prefix::Absent } else { Prefix::Detect };
        let decoded = pdu::decode(&octets, side, prefix).unwrap();
        let encoded = decoded.pdu.encode().unwrap_or_else(|error| panic!("{}: {error}", vector.place));
        let message = &octets[octets.len() - decoded.length..];
        assert_eq!(pdu::to_hex(&encoded), pdu::to_hex(message), "{}", vector.place);
        if message.len() < octets.len() {
            let whole = pdu::with_service_center(decoded.service_center.as_ref(), &encoded).unwrap();
            assert_eq!(pdu::to_hex(&whole), vector.hex, "{}", vector.place);
        }
        written += 1;
    }
    assert!(written > 90, "{written}");
}

/// 23.038 clause 4, each group.
#[test]
fn data_codings() {
    use Alphabet::{Data8, Gsm7, Ucs2};
    let cases = [
        (0x00, Gsm7, None),
        (0x04, Data8, None),
        (0x08, Ucs2, None),
        (0x0C, Gsm7, None),
        (0x01, Gsm7, None),
        (0x10, Gsm7, Some(0)),
        (0x11, Gsm7, Some(1)),
        (0x18, Ucs2, Some(0)),
        (0x16, Data8, Some(2)),
        (0x40, Gsm7, None),
        (0x5B, Ucs2, Some(3)),
        (0x80, Gsm7, None),
        (0xBF, Gsm7, None),
        (0xC8, Gsm7, None),
        (0xD1, Gsm7, None),
        (0xE0, Ucs2, None),
        (0xF0, Gsm7, Some(0)),
        (0xF1, Gsm7, Some(1)),
        (0xF5, Data8, Some(1)),
        (0xF9, Gsm7, Some(1)),
        (0xFF, Data8, Some(3)),
    ];
    for (coding, alphabet, class) in cases {
        assert_eq!(DataCoding(coding).alphabet(), alphabet, "0x{coding:02X}");
        assert_eq!(DataCoding(coding).class(), class, "0x{coding:02X}");
    }
    let compressed = (0..=u8::MAX).filter(|coding| DataCoding(*coding).is_compressed()).count();
    assert_eq!(compressed, 64, "bit 5 of the groups 00xx and 01xx");
    let voicemail = DataCoding(0xC8).indication().unwrap();
    assert!(voicemail.active && voicemail.discard && voicemail.kind == pdu::data_coding::Waiting::Voicemail);
    let mail = DataCoding(0xE2).indication().unwrap();
    assert!(!mail.active && !mail.discard && mail.kind == pdu::data_coding::Waiting::Email);
    assert_eq!(DataCoding(0x00).indication(), None);
    assert!(DataCoding(0x48).is_deleted_when_read() && !DataCoding(0x88).is_deleted_when_read());
}

/// Whatever `encode` prints, `decode` reads, and says what was meant.
#[test]
fn the_program_reads_what_it_writes() {
    let place = folder("");
    let long = "€ price ".repeat(40);
    let cases: &[(&[&str], &str, &str, usize)] = &[
        (&[], "Hello", "gsm7", 1),
        (&[], &long, "gsm7", 3),
        (&["--ucs2"], "Hello", "ucs2", 1),
        (&[], "እንኳን ደህና መጡ 😀", "ucs2", 1),
        (&["--wide-reference", "--reference", "4660"], &long, "gsm7", 3),
        (
            &["--language", "turkish"],
            "Şişe şurada ve ışık burada; bu cümle yetmiş birimden biraz daha uzun olsun.",
            "gsm7",
            1,
        ),
        (&["--class", "0", "--report", "--validity", "24", "--smsc", "+31624000000"], "now", "gsm7", 1),
    ];
    for (options, text, alphabet, parts) in cases {
        let arguments = [&["pdu", "encode", "--to", "+1 555 010-0001"], *options].concat();
        let with_json = [arguments.as_slice(), &["--json", "--", text]].concat();
        let document = rapidsms(place.path(), &with_json).exits(0).json();
        assert_eq!(document["alphabet"], *alphabet, "{text}");
        assert_eq!(document["parts"], *parts, "{text}");
        assert_eq!(document["characters"], text.chars().count(), "{text}");
        assert_eq!(document["destination"], "+15550100001");
        let plain = [arguments.as_slice(), &["--", text]].concat();
        let lines = rapidsms(place.path(), &plain).exits(0).out;
        let decoded = rapidsms_with(place.path(), &["pdu", "decode"], lines.as_bytes()).exits(0).out;
        let mut joined = String::new();
        for (index, line) in decoded.lines().enumerate() {
            let fields: Value = serde_json::from_str(line).unwrap();
            assert_eq!(fields["type"], "submit");
            assert_eq!(fields["destination"], "+15550100001");
            assert_eq!(fields["length"], document["pdus"][index]["length"]);
            assert_eq!(lines.lines().nth(index).unwrap(), document["pdus"][index]["pdu"]);
            if *parts > 1 {
                let (reference, bits) = if options.is_empty() { (1, 8) } else { (4660, 16) };
                let concat =
                    json!({ "reference": reference, "total": parts, "sequence": index + 1, "bits": bits });
                assert_eq!(fields["concat"], concat);
            }
            if options.contains(&"--report") {
                assert_eq!(fields["report_request"], true);
                assert_eq!(fields["class"], 0);
                assert_eq!(fields["validity"], 86_400);
                assert_eq!(fields["service_center"], "+31624000000");
            }
            joined += fields["text"].as_str().unwrap();
        }
        assert_eq!(joined, *text);
    }
}

#[test]
fn what_cannot_be_sent_is_said() {
    let place = folder("");
    for (to, text, exit, word) in [
        ("clinic", "hi", 2, "cannot be dialled"),
        ("+", "hi", 2, "no digits"),
        ("123456789012345678901", "hi", 2, "20 are the most"),
        ("1", "x".repeat(153 * 255 + 1).as_str(), 1, "more than 255 parts"),
    ] {
        let ran = rapidsms(place.path(), &["pdu", "encode", "--to", to, text]).exits(exit);
        assert!(ran.err.contains(word), "{}", ran.err);
        assert_eq!(ran.out, "");
    }
}

/// One bad line costs only itself, however long it is.
#[test]
fn a_bad_line_is_an_error_of_that_line() {
    let place = folder("");
    let good = "07916407058099F9040B916407950303F100008921222140140004D4E2940A";
    let blanks =
        good.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap()).collect::<Vec<_>>().join(" ");
    let endless = "A".repeat(100_000);
    let input =
        [good.as_bytes(), b"\n\n\xFF\xFE\n", endless.as_bytes(), b"\r\n  ", blanks.as_bytes(), b"\r\n"]
            .concat();
    let out = rapidsms_with(place.path(), &["pdu", "decode", "--json"], &input).exits(1).out;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert_eq!(lines[0]["text"], "TEST");
    assert!(lines[1]["error"].as_str().unwrap().contains("no hexadecimal digit"), "{}", lines[1]);
    assert!(lines[2]["error"].as_str().unwrap().contains("512 are looked at"), "{}", lines[2]);
    assert_eq!(lines[3], lines[0]);
}
