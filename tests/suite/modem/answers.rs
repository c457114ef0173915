//! What answers mean: `tests/modems/answers.txt`.

use proptest::prelude::*;
use rapidsms::modem::answers::{self, Domain, Registration};
use rapidsms::modem::storage::{self, Stored};
use rapidsms::modem::{Class, ModemError};

const ANSWERS: &str = include_str!("../../modems/answers.txt");

#[test]
fn meanings() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (index, case) in ANSWERS.lines().enumerate() {
        if case.is_empty() || case.starts_with('#') {
            continue;
        }
        let (asked, expected) = case.rsplit_once(" = ").or(case.rsplit_once("= ")).expect("a meaning");
        let (how, lines) = asked.split_once(" |").expect("how to read it");
        let lines: Vec<String> =
            lines.split(" / ").map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect();
        let got = meaning(how, &lines).unwrap_or("nothing".into());
        if got != expected.trim() {
            wrong.push(format!("tests/modems/answers.txt:{}: {case}\n  got {got}", index + 1));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "the cases are not read");
}

fn meaning(how: &str, lines: &[String]) -> Option<String> {
    Some(match how {
        "signal" => {
            let signal = answers::signal(lines)?;
            let dbm = signal.dbm.map_or("unknown".into(), |dbm| format!("{dbm} dBm"));
            let errors = signal.errors.map_or(String::new(), |errors| format!(", errors {errors}"));
            format!("{dbm}, {} bars{errors}", signal.bars)
        }
        "registration" => registration(answers::registration(lines)?),
        "operator" => {
            let operator = answers::operator(lines)?;
            let technology = operator.technology.map_or("-".into(), |technology| technology.to_string());
            format!("{} {} {technology}", operator.mode, operator.name.unwrap_or("-".into()))
        }
        "pin" => format!("{:?}", answers::pin(lines)?),
        "center" => answers::service_center(lines)?,
        "imei" => answers::imei(lines)?,
        "imsi" => answers::imsi(lines)?,
        "iccid" => answers::iccid(lines)?,
        "words" => answers::words(lines)?,
        "reference" => answers::reference(lines)?.to_string(),
        "storages" => {
            let shown = storage::storages(lines)?.into_iter().map(|storage| {
                format!("{} {}/{}", storage.name.unwrap_or("-".into()), storage.used, storage.total)
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        "choices" => {
            let lists: Vec<_> =
                storage::storage_choices(lines)?.into_iter().map(|names| names.join(" ")).collect();
            lists.join("; ").trim().to_string()
        }
        "listed" => {
            let listed: Vec<_> = storage::listed(lines)
                .iter()
                .map(|one| {
                    format!("{} {}", one.index.map_or("-".into(), |index| index.to_string()), stored(one))
                })
                .collect();
            if listed.is_empty() {
                return None;
            }
            listed.join("; ")
        }
        "read" => stored(&storage::read(lines)?),
        "cnmi" => {
            let lists = storage::routing_choices(lines)?;
            let lists: Vec<_> = lists.iter().map(|values| numbers(values)).collect();
            lists.join("; ")
        }
        "cnmi?" => numbers(&storage::routing(lines)?),
        "error" => {
            let error = ModemError::parse(lines.first()?)?;
            assert!(error.to_string().len() > 10);
            format!("{error:?} {:?}", error.class())
        }
        _ => panic!("no such way to read: {how}"),
    })
}

fn registration(registration: Registration) -> String {
    let domain = match registration.domain {
        Domain::Circuit => "circuit",
        Domain::Packet => "packet",
        Domain::Evolved => "evolved",
        Domain::FifthGeneration => "fifth",
    };
    let mut shown = format!("{domain} {}", registration.status);
    for (is, word) in [(registration.is_registered(), " registered"), (registration.is_roaming(), " roaming")]
    {
        shown.push_str(if is { word } else { "" });
    }
    for place in [&registration.area, &registration.cell].into_iter().flatten() {
        shown.push_str(&format!(" {place}"));
    }
    shown
}

fn stored(stored: &Stored) -> String {
    let number = |number: Option<usize>| number.map_or("-".into(), |number| number.to_string());
    let status = number(stored.status.map(usize::from));
    format!("status {status} length {} {}", number(stored.length), stored.pdu).trim_end().to_string()
}

fn numbers(values: &[u8]) -> String {
    values.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")
}

/// The classes that gateways learned, code by code (27.005 3.2.5, 24.011 annex E-2, 23.040 9.2.3.22).
#[test]
fn classes() {
    let cms = [
        (
            Class::Retry,
            vec![17, 22, 27, 38, 41, 42, 47, 98, 192, 194, 212, 300, 301, 314, 320, 331, 332, 500],
        ),
        (Class::Retry, vec![512, 513, 514, 515, 9999]),
        (Class::Sick, vec![310, 311, 312, 313, 315, 316, 317, 318, 322, 330, 340, 193, 208, 209]),
        (Class::OtherSim, vec![8, 10, 21, 28, 29, 30, 50, 69]),
        (Class::Permanent, vec![1, 81, 95, 96, 97, 99, 111, 127, 302, 303, 304, 305, 321]),
        (Class::Permanent, (128..=176).chain(195..=199).collect()),
    ];
    for (class, codes) in cms {
        for code in codes {
            assert_eq!(ModemError::Cms(code).class(), class, "CMS {code}");
        }
    }
    let cme = [(Class::Retry, vec![14, 30, 31, 32, 100, 515]), (Class::Sick, vec![10, 11, 12, 13, 15, 16])];
    for (class, codes) in cme {
        for code in codes {
            assert_eq!(ModemError::Cme(code).class(), class, "CME {code}");
        }
    }
    assert_eq!(ModemError::Plain.class(), Class::Retry);
}

proptest! {
    /// The modem is not trusted: no answer makes a reader panic, and what a reader gives is bounded.
    #[test]
    fn any_lines_are_read(lines in prop::collection::vec(
        prop_oneof![
            "(\\+CSQ|\\+CREG|\\+CEREG|\\+COPS|\\+CPIN|\\+CSCA|\\+CPMS|\\+CMGL|\\+CMGR|\\+CNMI|\\+CMGS|\\+CUSD|\\+CCID)[:= ]{0,2}[-0-9a-fA-F(),\" +:é\u{1f600}]{0,40}",
            "\\PC{0,40}",
            "[0-9A-F]{0,700}",
        ], 0..6)) {
        let ways = [
            "signal", "registration", "operator", "pin", "center", "imei", "imsi", "iccid", "words", "reference",
            "storages", "choices", "listed", "read", "cnmi", "cnmi?", "error",
        ];
        for how in ways {
            meaning(how, &lines);
        }
        for line in &lines {
            answers::ussd(line);
        }
        prop_assert!(storage::listed(&lines).iter().all(|stored| stored.pdu.len() <= 1024));
    }
}
