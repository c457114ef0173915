//! Other people's codecs about ours: four Python libraries read what we write, and write what we read. Where they disagree, somebody is
//! wrong; the cases in which it is known to be them stand in [`DEFECTS`] with the reason, and each of those must still happen.
//!
//! tests/python/requirements.txt pins them. They are installed once into target/second-opinion; without them this fails, for an opinion
//! that was not asked is none.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rapidsms::pdu::gsm7::{self, Tables};
use rapidsms::pdu::report::Parameters;
use rapidsms::pdu::{
    self, Address, DataCoding, Deliver, Header, NetworkTime, Payload, Pdu, Prefix, Splitting, Status,
    StatusReport, Submit, UserData, Validity, concat, plan,
};
use rapidsms::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A disagreement in which we are right: the library, the field, what tells such a case, and the reason.
type Defect = (&'static str, &'static str, fn(&Case) -> bool, &'static str);

const DEFECTS: &[Defect] = &[
    (
        "python-gsmmodem-new",
        "text",
        |case| case.text.contains('§'),
        "23.038 6.2.1: septet 0x5F is the sign of a section, and no backquote",
    ),
    (
        "python-gsmmodem-new",
        "text",
        |case| case.ours["concat"][0].as_u64() > Some(255) && septets(case).is_some(),
        "23.040 9.2.3.24: seven octets of header are eight septets without fill bits; it leaves out the first letter",
    ),
    (
        "smspdudecoder",
        "number",
        |case| has_seven_letters(case),
        "23.040 9.1.2.5: thirteen semi-octets are seven letters; it makes an eighth of the spare bits",
    ),
    (
        "python-messaging",
        "number",
        |case| has_seven_letters(case),
        "23.040 9.1.2.5: thirteen semi-octets are seven letters; it makes an eighth of the spare bits",
    ),
    (
        "smspdudecoder",
        "text",
        |case| septets(case).is_some_and(|count| count % 8 == 7 && count > case.text.chars().count()),
        "23.038 6.1.2.1.1: it counts characters where septets are told, so an escape lets the spare bits in",
    ),
    ("python-messaging", "error", |case| case.text.is_empty(), "23.040 9.2.3.16: a text may be empty"),
    (
        "python-gsmmodem-new",
        "encode",
        |case| case.text.chars().any(|character| character > '\u{ffff}'),
        "23.038 6.2.3: it has no surrogate pairs",
    ),
    (
        "python-messaging",
        "encode",
        |case| case.text.chars().any(|character| character > '\u{ffff}'),
        "23.038 6.2.3: it has no surrogate pairs",
    ),
];

/// The septets of a text in the default alphabet.
fn septets(case: &Case) -> Option<usize> {
    gsm7::encode(&case.text, Tables::default()).ok().map(|septets| septets.len())
}

fn has_seven_letters(case: &Case) -> bool {
    case.ours["number"].as_str().is_some_and(|name| name.len() == 7 && name.starts_with(char::is_alphabetic))
}

/// A question, and what we say.
struct Case {
    question: Value,
    /// The fields of which the library must say the same, as far as it names them.
    ours: Value,
    text: String,
}

/// The interpreter with the libraries. All tests of this binary share one installation.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(installed)
}

fn installed() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = root.join("target/second-opinion");
    let requirements = root.join("tests/python/requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let interpreter = place.join("bin/python");
    // Written last, so that what was interrupted is done again.
    let mark = place.join("installed.txt");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return interpreter;
    }
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; install python3"));
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{command:?} failed; this needs Debian's python3-venv, and once the network:\n{said}"
        );
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements));
    fs::write(&mark, wanted).unwrap();
    interpreter
}

/// The libraries' answers, one for each question.
fn ask(questions: &[&Value]) -> Vec<Value> {
    let mut child = Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/second_opinion.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    let feeder = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    feeder.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

/// The same values at each run: what was never seen before is the job of the property tests.
fn generated<S: Strategy>(count: usize, strategy: S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn texts() -> impl Strategy<Value = String> {
    proptest::prop_oneof![
        4 => "[A-Za-z0-9 .,?!@$_£¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉäöñüà§¿¡-]{0,170}",
        2 => "[a-z{}\\[\\]~|^€\\\\]{0,90}",
        2 => "[A-Za-z ]{161,460}",
        3 => "[ሀ-ቆअ-ह а-я]{1,160}",
        2 => "[a-z😀-😏]{1,80}",
    ]
}

fn numbers() -> impl Strategy<Value = String> {
    proptest::prop_oneof![3 => "\\+[1-9][0-9]{6,14}", 1 => "[1-9][0-9]{2,11}"]
}

fn names() -> impl Strategy<Value = String> {
    "[A-Za-z][A-Za-z0-9 -]{0,9}[A-Za-z]"
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// What a library must say of a part.
fn ours(number: &Address, part: &UserData) -> Value {
    let mut ours = json!({ "number": number.to_string() });
    match part.text() {
        Some(text) => ours["text"] = json!(text),
        None => ours["data"] = json!(pdu::to_hex(part.payload.units())),
    }
    if let Some(concat) = part.header.as_ref().and_then(Header::concat) {
        ours["concat"] = json!([concat.reference, concat.total, concat.sequence]);
    }
    ours
}

fn whole(tpdu: &[u8]) -> String {
    pdu::to_hex(&pdu::with_service_center(Some(&address("+31624000000")), tpdu).unwrap())
}

fn submits() -> Vec<Case> {
    let mut cases = Vec::new();
    let given = (texts(), numbers(), 1..=600_u64, proptest::bool::ANY);
    for (text, number, hours, wide_reference) in generated(200, given) {
        let number = address(&number);
        let splitting = Splitting { wide_reference, ..Splitting::default() };
        let plan = plan(&text, &splitting).unwrap();
        for mut submit in Submit::of_plan(&plan, &number, 0xC9C9, None) {
            let validity = Validity::at_least(Duration::from_secs(hours * 3600));
            submit.validity = Some(validity);
            let tpdu = submit.encode().unwrap();
            let mut ours = ours(&number, &submit.user_data);
            ours["validity"] = json!(validity.lasts().unwrap().as_secs());
            ours["length"] = json!(tpdu.len());
            let text = submit.user_data.text().unwrap();
            cases.push(Case { question: json!({ "ask": "submit", "pdu": whole(&tpdu) }), ours, text });
        }
    }
    cases
}

fn delivers() -> Vec<Case> {
    let mut cases = Vec::new();
    let sender = proptest::prop_oneof![3 => numbers(), 1 => names()];
    let moment = (946_684_800_i64..3_124_000_000, -48..=56_i8);
    for (index, (text, sender, (seconds, quarters))) in
        generated(200, (texts(), sender, moment)).into_iter().enumerate()
    {
        let originator = address(&sender);
        let plan = plan(&text, &Splitting::default()).unwrap();
        let mut parts: Vec<(UserData, DataCoding)> =
            plan.user_data(9).into_iter().map(|part| (part, DataCoding::of(plan.alphabet))).collect();
        if index % 20 == 0 {
            parts.push((UserData::new(Payload::Data8(sender.clone().into_bytes())), DataCoding(0x04)));
        }
        for (user_data, data_coding) in parts {
            let mut ours = ours(&originator, &user_data);
            ours["at"] = json!(seconds);
            let text = user_data.text().unwrap_or_default();
            let deliver = Deliver {
                more_messages: false,
                loop_prevention: false,
                report_wanted: false,
                reply_path: false,
                originator: originator.clone(),
                protocol: 0,
                data_coding,
                service_center_time: NetworkTime::new(Timestamp::from_seconds(seconds), quarters).unwrap(),
                user_data,
            };
            let question = json!({ "ask": "deliver", "pdu": whole(&deliver.encode().unwrap()) });
            cases.push(Case { question, ours, text });
        }
    }
    cases
}

fn reports() -> Vec<Case> {
    let given = (numbers(), 0..=255_u8, 0..0x70_u8, 946_684_800_i64..3_124_000_000, -48..=56_i8);
    let case = |(number, message_reference, status, seconds, quarters): (String, u8, u8, i64, i8)| {
        let time = |seconds| NetworkTime::new(Timestamp::from_seconds(seconds), quarters).unwrap();
        let recipient = address(&number);
        let ours = json!({
            "number": recipient.to_string(), "reference": message_reference, "status": status,
            "at": seconds, "discharged": seconds + 60,
        });
        let report = StatusReport {
            more_messages: false,
            loop_prevention: false,
            of_command: false,
            message_reference,
            recipient,
            service_center_time: time(seconds),
            discharge_time: time(seconds + 60),
            status: Status(status),
            parameters: Parameters::default(),
        };
        let question = json!({ "ask": "report", "pdu": whole(&report.encode().unwrap()) });
        Case { question, ours, text: String::new() }
    };
    generated(60, given).into_iter().map(case).collect()
}

/// Disagreements that no known defect explains, and the defects that showed.
#[derive(Default)]
struct Verdict {
    wrong: String,
    shown: BTreeSet<usize>,
    agreed: BTreeMap<(String, &'static str), usize>,
}

impl Verdict {
    fn disagree(&mut self, library: &str, field: &str, case: &Case, what: &str) {
        let known = DEFECTS
            .iter()
            .position(|(who, which, happens, _)| *who == library && *which == field && happens(case));
        match known {
            Some(defect) => drop(self.shown.insert(defect)),
            None => self.wrong += &format!("{library}: {field}: {what}\n  of {}\n", case.question),
        }
    }

    fn agree(&mut self, library: &str, what: &'static str) {
        *self.agreed.entry((library.to_string(), what)).or_default() += 1;
    }

    /// What we wrote: do they read the same?
    fn of_reading(&mut self, cases: &[Case], what: &'static str) {
        let questions: Vec<&Value> = cases.iter().map(|case| &case.question).collect();
        for (case, answers) in cases.iter().zip(ask(&questions)) {
            for (library, theirs) in answers.as_object().unwrap() {
                if theirs.get("error").is_some() {
                    self.disagree(library, "error", case, &theirs.to_string());
                    continue;
                }
                for (field, ours) in case.ours.as_object().unwrap() {
                    match theirs.get(field) {
                        None => {}
                        Some(theirs) if theirs == ours => self.agree(library, what),
                        Some(theirs) => {
                            self.disagree(
                                library,
                                field,
                                case,
                                &format!("\n  ours   {ours}\n  theirs {theirs}"),
                            );
                        }
                    }
                }
            }
        }
    }

    /// What they wrote: do we read what they meant?
    fn of_writing(&mut self, cases: &[Case]) {
        let questions: Vec<&Value> = cases.iter().map(|case| &case.question).collect();
        for (case, answers) in cases.iter().zip(ask(&questions)) {
            for (library, theirs) in answers.as_object().unwrap() {
                match read(theirs, case) {
                    Ok(()) => self.agree(library, "encode"),
                    Err(what) => self.disagree(library, "encode", case, &format!("{what}\n  {theirs}")),
                }
            }
        }
    }
}

/// Their PDUs, read by us.
fn read(theirs: &Value, case: &Case) -> Result<(), String> {
    let pdus = theirs.as_array().ok_or("no PDUs")?;
    let mut submits = Vec::new();
    for hex in pdus {
        let octets = pdu::from_hex(hex.as_str().unwrap_or_default()).map_err(|error| error.what)?;
        match pdu::decode(&octets, None, Prefix::Present).map_err(|error| error.what)?.pdu {
            Pdu::Submit(submit) => submits.push(submit),
            other => return Err(format!("{other:?}")),
        }
    }
    let joined = concat::join(submits.iter().map(|submit| Some(&submit.user_data))).unwrap_or_default();
    if joined != case.text {
        return Err(format!("read as {joined:?}"));
    }
    let wanted = Duration::from_secs(case.question["hours"].as_u64().unwrap() * 3600);
    for submit in &submits {
        // They round to whole days and weeks, up or down.
        let lasts = submit.validity.and_then(Validity::lasts).ok_or("no validity")?;
        if lasts.abs_diff(wanted) >= Duration::from_secs(7 * 86_400) {
            return Err(format!("it lasts {lasts:?}"));
        }
        if submit.destination.to_string() != case.question["number"].as_str().unwrap()
            || !submit.report_request
        {
            return Err(format!("{submit:?}"));
        }
    }
    Ok(())
}

fn encodings() -> Vec<Case> {
    let given = (texts(), numbers(), 0..=255_u8, 1..=600_u64);
    let case = |(text, number, reference, hours): (String, String, u8, u64)| Case {
        question: json!({ "ask": "encode", "text": text, "number": number, "reference": reference, "hours": hours }),
        ours: json!({}),
        text,
    };
    generated(200, given).into_iter().map(case).collect()
}

#[test]
fn they_read_what_we_write_and_we_what_they_write() {
    let mut verdict = Verdict::default();
    verdict.of_reading(&submits(), "submit");
    verdict.of_reading(&delivers(), "deliver");
    verdict.of_reading(&reports(), "report");
    verdict.of_writing(&encodings());
    assert!(verdict.wrong.is_empty(), "{}", verdict.wrong);
    for (index, (library, field, _, reason)) in DEFECTS.iter().enumerate() {
        assert!(verdict.shown.contains(&index), "{library}: {field}: repaired? {reason}");
    }
    // Nobody was asked in vain.
    let libraries = |what| verdict.agreed.keys().filter(|(_, asked)| *asked == what).count();
    assert_eq!(
        ["submit", "deliver", "report", "encode"].map(libraries),
        [2, 3, 2, 2],
        "{:?}",
        verdict.agreed
    );
    assert!(verdict.agreed.values().all(|times| *times > 100), "{:?}", verdict.agreed);
}

#[test]
fn we_split_where_they_split() {
    let texts = generated(300, texts());
    let questions: Vec<Value> = texts.iter().map(|text| json!({ "ask": "split", "text": text })).collect();
    let asked: Vec<&Value> = questions.iter().collect();
    for (text, answer) in texts.iter().zip(ask(&asked)) {
        let plan = plan(text, &Splitting::default()).unwrap();
        let parts: Vec<&str> = plan.parts.iter().map(|part| part.text.as_str()).collect();
        let theirs = &answer["smsutil"];
        if text.is_empty() {
            // They make UCS-2 of nothing, and no part.
            continue;
        }
        assert_eq!(theirs["ucs2"], plan.alphabet == pdu::Alphabet::Ucs2, "{text}");
        let theirs: Vec<&str> =
            theirs["parts"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
        assert_eq!(parts.len(), theirs.len(), "{text}");
        // They cut what a reader sees as one character; we do not.
        if !text.chars().any(|character| ('\u{900}'..'\u{980}').contains(&character)) {
            assert_eq!(parts, theirs);
        }
    }
}
