//! What must hold for any octets from strangers: the bodies of the targets in fuzz/, which the suite calls as well.
//!
//! Each takes octets, and panics when something does not hold. Nothing here knows who calls it.

use rapidsms::backends::email::quote::Stripping;
use rapidsms::backends::email::read::{Fetched, Reading, SubjectAs, read};
use rapidsms::backends::email::write::thread_of;
use rapidsms::backends::http::template::{Place, Template, Value as Put, Values};
use rapidsms::backends::http::{ENGINE, call::Writer, given::Given, verdict::Judge};
use rapidsms::backends::kannel::{status::Standing, verdict};
use rapidsms::backends::{Heard, Intake};
use rapidsms::http::Request;
use rapidsms::http::charset::Charset;
use rapidsms::http::client::Answer;
use rapidsms::message::{About, IDENTITY_LIMIT, TEXT_LIMIT};
use rapidsms::modem::{Command, Dialogue, Happening, ModemError, answers, storage};
use rapidsms::numbers::{self, Answering, Destinations, Numbering};
use rapidsms::pdu::address::Value;
use rapidsms::pdu::concat::{Added, Concat};
use rapidsms::pdu::gsm7::{self, Tables};
use rapidsms::pdu::{
    self, Address, Assembly, DataCoding, Header, Language, NetworkTime, Payload, Pdu, Prefix, Scope, Side,
    Splitting, Submit, UserData, count, plan, transliterate,
};
use rapidsms::registry::Registry;
use rapidsms::settings::{self, BackendSettings, Surroundings};
use rapidsms::time::Timestamp;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A target: octets in, nothing out, a panic when something does not hold.
pub type Target = fn(&[u8]);

/// All of them, by the names of their files in fuzz/fuzz_targets and their folders in fuzz/corpus.
pub const ALL: [(&str, Target); 11] = [
    ("pdu_decode", pdu_decode),
    ("pdu_fixpoint", pdu_fixpoint),
    ("pdu_texts", pdu_texts),
    ("gsm7", gsm7_octets),
    ("modem_dialogue", modem_dialogue),
    ("modem_answers", modem_answers),
    ("numbers", numbers_any),
    ("kannel", kannel_says),
    ("http_texts", http_texts),
    ("http_requests", http_requests),
    ("mail_read", mail_read),
];

const SIDES: [Option<Side>; 3] = [None, Some(Side::Network), Some(Side::Mobile)];
const PREFIXES: [Prefix; 3] = [Prefix::Detect, Prefix::Present, Prefix::Absent];

/// Whatever comes in, a value or a sentence comes out, and the value can be looked at from all sides.
pub fn pdu_decode(octets: &[u8]) {
    for (side, prefix) in SIDES.into_iter().flat_map(|side| PREFIXES.map(|prefix| (side, prefix))) {
        match pdu::decode(octets, side, prefix) {
            Err(error) => {
                assert!(error.offset <= octets.len() && !error.what.is_empty() && error.what.len() < 300);
            }
            Ok(decoded) => {
                assert!(decoded.length <= octets.len() && octets.len() <= pdu::LONGEST);
                for remark in &decoded.remarks {
                    assert!(!remark.to_string().is_empty());
                }
                look(&decoded.pdu);
                if let Some(center) = &decoded.service_center {
                    assert!(center.to_string().len() <= 21);
                }
            }
        }
    }
}

fn look(pdu: &Pdu) {
    if let Some(user_data) = pdu.user_data() {
        let text = user_data.text().unwrap_or_default();
        assert!(text.chars().count() <= 255, "no text is longer than its length can say");
        let has_escape = matches!(user_data.payload, Payload::Gsm7(_)) && text.contains('\u{1b}');
        assert!(!has_escape, "an escape is no character of these alphabets");
        let header = user_data.header.as_ref();
        if let Some(concat) = header.and_then(Header::concat) {
            assert!((1..=concat.total).contains(&concat.sequence));
        }
        let _ = header.and_then(Header::ports);
    }
    let (address, times) = match pdu {
        Pdu::Deliver(deliver) => {
            assert!(!deliver.purpose().sentence().is_empty());
            let _ = (deliver.replaces(), deliver.data_coding.class(), deliver.data_coding.is_reserved());
            (Some(&deliver.originator), vec![deliver.service_center_time])
        }
        Pdu::Submit(submit) => {
            let _ = submit.validity.and_then(pdu::Validity::lasts);
            (Some(&submit.destination), Vec::new())
        }
        Pdu::StatusReport(report) => {
            assert!(!report.status.sentence().is_empty());
            (Some(&report.recipient), vec![report.service_center_time, report.discharge_time])
        }
        Pdu::SubmitReport(report) => (None, vec![report.service_center_time]),
        Pdu::CenterCommand(command) => (Some(&command.destination), Vec::new()),
        Pdu::DeliverReport(_) => (None, Vec::new()),
    };
    assert!(address.is_none_or(|address| address.to_string().chars().count() <= 300));
    for time in times {
        assert_eq!(time.timestamp().is_some(), time.to_string().contains('T'), "{time}");
        if let (Some(at), Some(quarters)) = (time.timestamp(), time.quarters()) {
            assert_eq!(NetworkTime::new(at, quarters).and_then(NetworkTime::timestamp), Some(at));
        }
    }
}

/// What was read and can be written is read as the same.
pub fn pdu_fixpoint(octets: &[u8]) {
    for (side, prefix) in SIDES.into_iter().flat_map(|side| PREFIXES.map(|prefix| (side, prefix))) {
        let Ok(decoded) = pdu::decode(octets, side, prefix) else { continue };
        let Ok(written) = decoded.pdu.encode() else { continue };
        assert!(written.len() <= 200, "a TPDU of {} octets", written.len());
        let again = pdu::decode(&written, Some(side_of(&decoded.pdu)), Prefix::Absent);
        let again = again.unwrap_or_else(|error| panic!("{error}: {decoded:?}"));
        if has_ambiguous_name(&decoded.pdu) {
            continue;
        }
        assert_eq!(again.pdu, decoded.pdu, "{}", pdu::to_hex(&written));
        assert_eq!(again.length, written.len());
        if let Ok(whole) = pdu::with_service_center(decoded.service_center.as_ref(), &written) {
            let whole = pdu::decode(&whole, Some(side_of(&decoded.pdu)), Prefix::Present);
            let whole = whole.unwrap_or_else(|error| panic!("{error}: {decoded:?}"));
            assert_eq!(whole.pdu, decoded.pdu);
        }
    }
}

/// 23.040 9.1.2.5: eight letters of which the last is `@` are the same octets as seven, and read as those.
fn has_ambiguous_name(pdu: &Pdu) -> bool {
    let address = match pdu {
        Pdu::Deliver(deliver) => &deliver.originator,
        Pdu::Submit(submit) => &submit.destination,
        Pdu::StatusReport(report) => &report.recipient,
        Pdu::CenterCommand(command) => &command.destination,
        Pdu::DeliverReport(_) | Pdu::SubmitReport(_) => return false,
    };
    matches!(&address.value, Value::Name(name) if name.ends_with('@'))
}

fn side_of(pdu: &Pdu) -> Side {
    match pdu {
        Pdu::Deliver(_) | Pdu::SubmitReport(_) | Pdu::StatusReport(_) => Side::Network,
        Pdu::Submit(_) | Pdu::DeliverReport(_) | Pdu::CenterCommand(_) => Side::Mobile,
    }
}

/// Any text arrives: to parts, to octets, and back, in any order. The first three octets say how.
pub fn pdu_texts(octets: &[u8]) {
    let Some(([how, language, turn], text)) = octets.split_first_chunk::<3>() else { return };
    let text = String::from_utf8_lossy(text);
    // Who begins with a byte order mark has it obeyed (23.038 6.2.3).
    if text.starts_with(['\u{feff}', '\u{fffe}']) {
        return;
    }
    let splitting = Splitting {
        always_ucs2: how & 1 != 0,
        wide_reference: how & 2 != 0,
        languages: Language::from_identifier(language & 0x0F).into_iter().collect(),
        most_parts: u8::MAX,
    };
    for scope in [Scope::Latin, Scope::All] {
        if let Some(plain) = transliterate(&text, scope) {
            assert!(gsm7::encode(&plain, Tables::default()).is_ok(), "{plain:?}");
        }
    }
    let Ok(plan) = plan(&text, &splitting) else {
        assert!(text.len() > 66 * 255, "a short text has a plan");
        return;
    };
    let counted = count(&text, &splitting).expect("what has a plan has a count");
    assert_eq!((counted.parts, counted.units_left), (plan.parts.len(), plan.units_left));
    let to = Address::number("+15550100001").expect("it is one");
    let mut parts = Submit::of_plan(&plan, &to, u16::from_be_bytes([*how, *language]), None);
    let (total, turn) = (parts.len(), usize::from(*turn) % parts.len());
    parts.rotate_left(turn);
    let mut assembly = Assembly::new(u8::try_from(total).expect("255 at most"));
    for (index, part) in parts.iter().enumerate() {
        let written = part.encode().expect("a part fits");
        let decoded = pdu::decode(&written, Some(Side::Mobile), Prefix::Absent).expect("it is whole");
        assert!(decoded.remarks.is_empty(), "{:?}", decoded.remarks);
        let Pdu::Submit(read) = decoded.pdu else { panic!("it was a submit") };
        let concat = read.user_data.header.as_ref().and_then(Header::concat);
        let Concat { sequence, .. } =
            concat.unwrap_or(Concat { reference: 0, total: 1, sequence: 1, bits: 8 });
        let expected = if index + 1 == total { Added::Complete } else { Added::Waiting };
        assert_eq!(assembly.add(sequence, read.user_data), expected);
    }
    assert_eq!(assembly.text().as_deref(), Some(&*text));
}

/// Packing, all tables, USSD. The first three octets say which tables and how many fill bits.
pub fn gsm7_octets(octets: &[u8]) {
    let Some(([locking, single, fill], packed)) = octets.split_first_chunk::<3>() else { return };
    let tables = Tables {
        locking: Language::from_identifier(locking & 0x0F).unwrap_or_default(),
        single: Language::from_identifier(single & 0x0F).unwrap_or_default(),
    };
    let fill_bits = usize::from(fill % 7);
    let septets = gsm7::unpack(packed, fill_bits, usize::MAX);
    assert_eq!(gsm7::unpack(&gsm7::pack(&septets, fill_bits), fill_bits, septets.len()), septets);
    let text = gsm7::decode(&septets, tables);
    if let Ok(again) = gsm7::encode(&text, tables) {
        assert_eq!(gsm7::decode(&again, tables), text);
        assert!(again.len() <= septets.len(), "what is written is no longer than what was read");
    }
    let ussd = gsm7::unpack_ussd(packed);
    let again = gsm7::unpack_ussd(&gsm7::pack_ussd(&ussd));
    assert!(again.starts_with(&ussd) && again.len() <= ussd.len() + 1);
    let user_data = UserData::new(Payload::Ucs2(packed.to_vec()));
    assert!(user_data.text().is_some_and(|text| text.chars().count() <= packed.len()));
    let coding = DataCoding(*fill);
    let _ = (
        coding.alphabet(),
        coding.class(),
        coding.indication(),
        coding.is_compressed(),
        coding.is_reserved(),
    );
}

/// However the octets of a modem are cut into reads, the same happens; and every wait ends. The first two octets say what the dialogue
/// is in the midst of, and how to cut.
pub fn modem_dialogue(octets: &[u8]) {
    let Some(([kind, cut], said)) = octets.split_first_chunk::<2>() else { return };
    let now = Duration::from_millis(500);
    let whole = settled(begun(*kind), |dialogue| dialogue.read(said, now));
    let size = usize::from(*cut % 32) + 1;
    let in_pieces = settled(begun(*kind), |dialogue| {
        said.chunks(size).flat_map(|piece| dialogue.read(piece, now)).collect()
    });
    assert_eq!(whole, in_pieces, "cut into pieces of {size}");
    for happening in &whole {
        let _ = format!("{happening:?}");
        if let Happening::Answer(answer) = happening {
            assert!(
                answer.lines.iter().map(String::len).sum::<usize>() <= 2 * 1024 * 1024,
                "an answer is bounded"
            );
            every_reading(&answer.lines);
        }
    }
}

fn begun(kind: u8) -> Dialogue {
    let at = Duration::from_millis;
    let mut dialogue = Dialogue::new();
    dialogue.open(Duration::ZERO);
    dialogue.tick(at(200));
    dialogue.read(b"\r\n+CMEE: 1\r\n\r\nOK\r\n", at(200));
    let command = match kind % 7 {
        0 => None,
        1 => Some(Command::new("AT+CSQ")),
        2 => Some(Command::new("ATI")),
        3 => Some(Command::new("AT+CMGL=4")),
        4 => Some(Command::send(4, "0011000A")),
        5 => Some(Command::new("AT+CREG?")),
        _ => {
            dialogue.open(at(300));
            None
        }
    };
    if let Some(command) = command {
        assert!(dialogue.send(command, at(300)).is_ok(), "it is ready");
    }
    dialogue
}

/// Hears, then lets time pass until nobody waits any more.
fn settled(mut dialogue: Dialogue, hear: impl FnOnce(&mut Dialogue) -> Vec<Happening>) -> Vec<Happening> {
    let mut happened = hear(&mut dialogue);
    for _ in 0..200 {
        let Some(deadline) = dialogue.deadline() else { return happened };
        assert!(deadline < Duration::from_secs(1000), "nobody waits for ever");
        happened.extend(dialogue.tick(deadline));
    }
    panic!("it does not come to an end: {happened:?}");
}

/// Every way to read an answer, whatever the modem said.
pub fn modem_answers(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    every_reading(&text.lines().map(str::to_string).collect::<Vec<_>>());
}

fn every_reading(lines: &[String]) {
    let _ = (
        answers::signal(lines),
        answers::operator(lines),
        answers::pin(lines),
        answers::service_center(lines),
    );
    let _ = (answers::imei(lines), answers::imsi(lines), answers::iccid(lines), answers::words(lines));
    let _ = (answers::reference(lines), storage::storages(lines), storage::storage_choices(lines));
    let _ = (storage::routing(lines), storage::read(lines));
    if let Some(registration) = answers::registration(lines) {
        assert!(!registration.sentence().is_empty());
    }
    if let Some(choices) = storage::routing_choices(lines) {
        let choices: usize = choices.iter().map(Vec::len).sum();
        assert!(choices <= 10_000, "{choices} choices: a range is bounded");
    }
    let octets: usize = lines.iter().map(String::len).sum();
    assert!(storage::listed(lines).len() <= octets);
    for line in lines {
        assert!(answers::fields(line).len() <= line.len() + 1);
        let _ = answers::ussd(line);
        if let Some(error) = ModemError::parse(line) {
            assert!(!error.sentence().is_empty() && !error.to_string().is_empty());
            let _ = (error.class(), error.is_busy());
        }
    }
}

/// Numbers have one spelling, and what is not understood stays. Three lines: a number, another one, a prefix.
pub fn numbers_any(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let mut lines = text.splitn(3, '\n');
    let [number, other, prefix] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let places = [
        Numbering::default(),
        Numbering::new("254", "0", "00").expect("it is right"),
        Numbering::new("1", "1", "011")
            .and_then(|place| place.with_national_digits(10..=10))
            .expect("it is right"),
    ];
    for place in places {
        let normal = place.normalise(number).into_owned();
        if normal != number {
            let digits = normal.strip_prefix('+').expect("only E.164 comes out of a change");
            assert!(digits.bytes().all(|digit| digit.is_ascii_digit()) && (7..=15).contains(&digits.len()));
        }
        assert_eq!(place.normalise(&normal), normal.as_str());
        assert!(place.same(number, &normal));
        assert_eq!(place.same(number, other), place.same(other, number));
        let _ = place.normalise_national(number);
        if let Ok(destinations) = Destinations::new(&[prefix], &[other]) {
            assert_eq!(destinations.check(number, &place), destinations.check(&normal, &place));
        }
    }
    let _ = (numbers::sender(number), Answering::default().answers(number));
    let _ = (Address::parse(number), Numbering::new(number, other, prefix));
}

/// A backend of the http engine with these keys.
fn gateway(keys: &str) -> BackendSettings {
    let text =
        format!("INSTALLED_APPS = [\"echo\"]\n[INSTALLED_BACKENDS.gateway]\nENGINE = \"http\"\n{keys}\n");
    let surroundings = Surroundings { variable: &|_| None, readable_by_others: false };
    let catalogue = Registry::standard().catalogue();
    let loaded = settings::parse(text.as_bytes(), Path::new("settings.toml"), &catalogue, &surroundings);
    loaded.expect("they are right").settings.backends.remove(0)
}

fn intake(keys: &str) -> Arc<dyn Intake> {
    let build = ENGINE.intake.expect("it takes messages in");
    build(&gateway(keys)).expect("they are right")
}

fn hear(intake: &Arc<dyn Intake>, head: &str, body: &[u8]) -> Option<Heard> {
    let head = format!("{head}\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let peer = "127.0.0.1:1".parse().ok();
    // What is too long for a request is none.
    let request = Request::parse(&[head.as_bytes(), body].concat(), peer).ok()?;
    Some(intake.hear(&request, &["one", "status"][..1], Timestamp::default()))
}

struct Text<'t>(&'t str);

impl Values for Text<'_> {
    fn value(&self, name: &str) -> Option<Put<'_>> {
        match name {
            "text" => Some(Put::text(self.0)),
            "parts" => Some(Put::number(3)),
            _ => None,
        }
    }
}

/// What is put into an address, a form or JSON comes out of it again, whatever it is, and breaks nothing. As a template it is read or refused.
pub fn http_texts(octets: &[u8]) {
    static PLAIN: OnceLock<Arc<dyn Intake>> = OnceLock::new();
    let plain = PLAIN.get_or_init(|| intake(""));
    let text = String::from_utf8_lossy(octets).into_owned();
    let fill = |template: &str, place| {
        Template::read(template, place, &|_| true).expect("it is right").fill(&Text(&text))
    };
    let heard = [
        hear(plain, &format!("GET {} HTTP/1.1", fill("/?identity=a%20b&text={text}", Place::Url)), b""),
        hear(plain, "POST / HTTP/1.1", fill("text={text}&identity=a+b", Place::Url).as_bytes()),
        hear(
            plain,
            "POST / HTTP/1.1\r\nContent-Type: application/json",
            fill(r#"{"x":["{text}",{parts}],"identity":"a b","text":{text}}"#, Place::Json).as_bytes(),
        ),
    ];
    for heard in heard.into_iter().flatten() {
        assert_eq!(heard.answer.status(), 200, "{text:?}");
        assert_eq!((&*heard.messages[0].connection.identity, &heard.messages[0].text), ("a b", &text));
    }
    assert!(!fill("{text}", Place::Header).chars().any(char::is_control));
    let xml = fill("{text}", Place::Xml);
    assert!(!xml.contains(['<', '>', '"', '\'', '\n']), "{xml:?}");
    for place in [Place::Url, Place::Header, Place::Json, Place::Xml, Place::Text] {
        if let Ok(template) = Template::read(&text, place, &|name| ["text", "parts", "from"].contains(&name))
        {
            assert!(template.fill(&Text("x")).len() <= text.len() * 4 + 16);
            let _ =
                (template.lacks(&Text("")), template.sole_value(&Text("")), template.fill_plain(&Text("y")));
        }
    }
}

/// Whatever a gateway sends is read or refused with a reason, and whatever it answers means something.
pub fn http_requests(octets: &[u8]) {
    static INTAKES: OnceLock<Vec<Arc<dyn Intake>>> = OnceLock::new();
    static JUDGE: OnceLock<Judge> = OnceLock::new();
    let intakes = INTAKES.get_or_init(|| {
        [
            "incoming_charset = \"field charset\"\nincoming_time = \"time\"\nincoming_id = \"id\"",
            "incoming_list = \"/messages\"\nincoming_identity = \"/from\"\nincoming_text = \"/text\"\ncountry_code = \"254\"",
            "incoming_encoding = \"hex\"\nincoming_charset = \"utf-16be\"\nincoming_identity = \"regex from=([^&]*)\"",
            "incoming_encoding = \"base64\"\nincoming_time = \"time\"\nincoming_time_format = \"%d/%m/%Y\"",
            "status_when = [\"/event\", \"header X-A != b\"]\nstatus_error = \"whole body\"\nincoming_signing_secret = \"key\"",
            "status_when = [\"status matches .\"]\nstatus_id = \"path 0\"",
        ]
        .map(intake)
        .into()
    });
    let whole = Request::parse(octets, None).ok();
    for intake in intakes {
        let mut heard: Vec<Heard> = Vec::new();
        heard.extend(whole.as_ref().map(|request| intake.hear(request, &["status"], Timestamp::default())));
        heard.extend(hear(intake, "POST / HTTP/1.1\r\nContent-Type: application/json", octets));
        heard.extend(hear(
            intake,
            "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded",
            octets,
        ));
        for heard in heard {
            assert!((200..500).contains(&heard.answer.status()) && heard.answer.fault().is_none());
            let refused = heard.answer.status() >= 400;
            assert!(!refused || heard.messages.is_empty() && heard.reports.is_empty());
            assert!(heard.messages.len() <= 1_000);
            for message in heard.messages {
                assert!(!message.connection.identity.is_empty());
                assert_eq!(message.undecodable.is_some(), message.raw.is_some());
            }
            for report in heard.reports {
                assert!(!matches!(report.about, About::Remote(name) if name.is_empty()));
                assert!(report.note.is_none_or(|note| !note.contains('\n')));
            }
        }
    }
    let judge = JUDGE.get_or_init(|| {
        let settings = gateway(
            "outgoing_url = \"http://gateway.example/{text}\"\nremote_id = \"/id\"\n\
             answers = [\"retry: contains busy\", \"refused: json /error != 0\", \"pause: header x matches y\", \"sent: matches ok\"]",
        );
        let given = Given::of(&settings).expect("they are right");
        assert!(Writer::of(&settings, &given).expect("they are right").is_some());
        Judge::of(&given, Vec::new()).expect("they are right")
    });
    for status in [100, 200, 204, 301, 400, 429, 503, 599] {
        let header = String::from_utf8_lossy(octets).into_owned();
        let answer = Answer {
            status,
            headers: vec![("retry-after".into(), header.clone()), ("location".into(), header)],
            body: octets.to_vec(),
            cut: octets.len() % 2 == 1,
        };
        let (_, by) = judge.answer(&answer, Timestamp::default());
        assert!(!by.is_empty());
    }
}

/// What a Kannel answers, its status page and its texts: a sentence that is not too long, and no octet that is lost. The first line is the name of a charset.
pub fn kannel_says(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    for status in [0, 200, 202, 301, 400, 403, 404, 503, 504, u16::MAX] {
        let outcome = verdict::of_answer(status, None, &text);
        let sentence = outcome.pause.unwrap_or_default();
        assert!(sentence.len() < 2_000 && !sentence.contains(char::is_control), "{sentence:?}");
    }
    match Standing::read(&text) {
        Ok(standing) => {
            assert!(standing.sentence(None).len() < 4_000 && standing.sentence(Some("FAKE")).len() < 4_000);
        }
        Err(why) => assert!(!why.is_empty()),
    }
    let cut = octets.iter().position(|octet| *octet == b'\n').unwrap_or(octets.len());
    let Some(charset) = Charset::named(&String::from_utf8_lossy(&octets[..cut])) else { return };
    let rest = octets.get(cut + 1..).unwrap_or_default();
    if let Some(text) = charset.decode(rest)
        && let Ok(written) = charset.encode(&text)
    {
        // Some sets have a character twice, so it need not be the very same text.
        assert!(charset.decode(&written).is_some(), "{charset}: what was written cannot be read");
    }
}

/// A mail from whomever is one message that the router can take.
pub fn mail_read(octets: &[u8]) {
    let rules = Reading {
        backend: "mail".into(),
        own: vec!["sms@example.org".into()],
        domain: "example.org".into(),
        stripping: Stripping { quotes: true, signature: true },
        text_limit: 4000,
        name_attachments: true,
        subject: SubjectAs::FirstLine,
        allowed: Vec::new(),
        denied: Vec::new(),
    };
    for size in [octets.len(), octets.len() + 1_000_000] {
        let letter = read(Fetched { octets, size, place: (1, 1) }, &rules);
        let incoming = letter.incoming;
        assert!(incoming.text.len() <= TEXT_LIMIT && incoming.redelivery_key.is_some());
        let identity = &incoming.connection.identity;
        assert!(!identity.is_empty() && identity.chars().count() <= IDENTITY_LIMIT);
        assert!(!identity.chars().any(char::is_control));
        assert!(!incoming.text.chars().any(|letter| letter.is_control() && !"\n\t".contains(letter)));
        if let (Some(raw), None) = (&incoming.raw, &incoming.undecodable) {
            assert!(thread_of(raw, identity).is_some(), "what can be answered has a thread");
        }
    }
}
