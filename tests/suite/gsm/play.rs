//! Plays one file of cases against a driver. A case is a conversation; whatever the driver does must stand in it, in order.

use rapidsms::backends::gsm::driver::{Driver, Effect, Source};
use rapidsms::backends::gsm::{Balance, Rules};
use rapidsms::message::{
    About, Connection, Ids, Incoming, MessageId, Origin, Outgoing, Piece, Report, SendFailure, Wishes,
};
use rapidsms::modem::{Dialogue, Happening};
use rapidsms::numbers::{Destinations, Numbering};
use rapidsms::pdu::{
    self, Address, Alphabet, DataCoding, Deliver, NetworkTime, Pdu, Prefix, Side, Status, StatusReport,
    UserData,
};
use rapidsms::router::{Refusal, Refused};
use rapidsms::settings::Secret;
use rapidsms::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What a good modem says; the cases change it by `modem COMMAND = LINE / LINE`.
const GOOD: &[(&str, &str)] = &[
    ("AT+CFUN?", "+CFUN: 1 / OK"),
    ("AT+CGMI", "Maker / OK"),
    ("AT+CGMM", "M1 / OK"),
    ("AT+CGSN", "490154203237518 / OK"),
    ("AT+CIMI", "639020000000001 / OK"),
    ("AT+CCID", "+CCID: 89254020000000000012 / OK"),
    ("AT+CPIN?", "+CPIN: READY / OK"),
    ("AT+CSMS=1", "+CSMS: 1,1,1 / OK"),
    ("AT+CPMS=?", "+CPMS: (\"SM\",\"ME\"),(\"SM\",\"ME\"),(\"SM\",\"ME\") / OK"),
    ("AT+CNMI=?", "+CNMI: (0-2),(0-3),(0,2),(0-2),(0,1) / OK"),
    ("AT+CNMI?", "+CNMI: 2,1,0,2,0 / OK"),
    ("AT+CSCA?", "+CSCA: \"+15550100000\",145 / OK"),
    ("AT+CREG?", "+CREG: 1,1 / OK"),
    ("AT+CSQ", "+CSQ: 20,99 / OK"),
    ("AT+COPS?", "+COPS: 0,0,\"Net\",7 / OK"),
    ("AT+CMEE?", "+CMEE: 1 / OK"),
];

struct Play {
    driver: Driver,
    now: Duration,
    /// What happened and was not expected yet.
    log: VecDeque<String>,
    modem: HashMap<String, String>,
    /// Whether the modem answers by itself.
    auto: bool,
    /// The command that it answers next.
    asked: VecDeque<String>,
    refusing: bool,
    ids: Ids,
    /// The message that was received last.
    last: MessageId,
    sent: HashMap<String, MessageId>,
    place: String,
}

/// Plays every case of a file.
pub fn play_file(name: &str, text: &str) {
    let mut cases: Vec<(usize, &str, Vec<(usize, &str)>)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if let Some(title) = line.strip_prefix("== ") {
            cases.push((index + 1, title, Vec::new()));
        } else if let Some((_, _, steps)) = cases.last_mut()
            && !line.is_empty()
            && !line.starts_with('#')
        {
            steps.push((index + 1, line));
        }
    }
    assert!(cases.len() > 3, "{name}: the cases are not read");
    for (_, title, steps) in cases {
        let mut rules = Rules::new("Zain".into());
        let settings = steps.iter().filter_map(|(_, step)| step.strip_prefix("set "));
        settings.for_each(|setting| set(&mut rules, setting));
        let mut ids = Ids::new(None, 7);
        let mut play = Play {
            driver: Driver::new(rules),
            now: Duration::from_secs(1000),
            log: VecDeque::new(),
            modem: GOOD.iter().map(|(command, answer)| ((*command).into(), (*answer).into())).collect(),
            auto: false,
            asked: VecDeque::new(),
            refusing: false,
            last: ids.next(Timestamp::default()),
            ids,
            sent: HashMap::new(),
            place: String::new(),
        };
        for (line, step) in steps {
            play.place = format!("tests/gsm/{name}:{line}: {title}: {step}");
            play.step(step);
        }
        play.place = format!("tests/gsm/{name}: {title}: the end");
        play.expect_nothing();
    }
}

fn set(rules: &mut Rules, setting: &str) {
    let (key, value) = setting.split_once(" = ").expect("set KEY = VALUE");
    let seconds = || Duration::from_secs(value.parse().expect("seconds"));
    match key {
        "pin" => rules.pin = Some(Secret::new(value)),
        "pin_was_tried" => rules.pin_was_tried = value == "true",
        "service_center" => rules.service_center = Some(value.into()),
        "imei" => rules.imei = Some(value.into()),
        "init" => rules.init.push(value.into()),
        "cnmi" => rules.routing = Some(value.into()),
        "storages" => rules.storages = value.split(' ').map(str::to_string).collect(),
        "sweep" => rules.sweep = seconds(),
        "report" => rules.report = value == "true",
        "country" => {
            let words: Vec<&str> = value.split(' ').collect();
            let [code, national, international] = words[..] else {
                panic!("country CODE NATIONAL INTERNATIONAL")
            };
            rules.numbering = Some(Numbering::new(code, national, international).expect("a country"));
        }
        "destinations" => {
            let (allowed, denied) = value.split_once(" not ").unwrap_or((value, ""));
            let words = |words: &str| words.split_whitespace().map(str::to_string).collect::<Vec<_>>();
            rules.destinations = Destinations::new(&words(allowed), &words(denied)).expect("prefixes");
        }
        "reply_to_short_codes" => rules.answering.short_codes = value == "true",
        "hang_up" => rules.hang_up = value == "true",
        "call_text" => rules.call_text = Some(value.into()),
        "most_parts" => rules.splitting.most_parts = value.parse().expect("a number"),
        "transliterate" => rules.transliterate = Some(pdu::transliterate::Scope::Latin),
        "balance" => {
            let (code, pattern) = value.split_once(' ').expect("CODE PATTERN");
            let pattern = Some(regex::Regex::new(pattern).expect("a pattern"));
            rules.balance = Some(Balance { code: code.into(), pattern, every: Duration::from_secs(86400) });
        }
        _ => panic!("no such setting: {key}"),
    }
}

impl Play {
    fn step(&mut self, step: &str) {
        let (sign, rest) = step.split_once(' ').unwrap_or((step, ""));
        match sign {
            "set" => {}
            "modem" => {
                let (command, answer) = rest.split_once(" = ").expect("modem COMMAND = ANSWER");
                self.modem.insert(command.into(), answer.into());
            }
            // The port was opened; the modem answers by itself until it rests.
            "works" => {
                self.auto = true;
                self.driver.open(self.now);
                self.drain();
                self.pass(Duration::from_secs(1));
                self.auto = false;
                let up = self.log.iter().any(|said| said.starts_with("! up"));
                assert!(up, "{}: it is not up: {:#?}", self.place, self.log);
                self.log.clear();
            }
            "open" => {
                self.driver.open(self.now);
                self.drain();
            }
            "auto" => {
                self.auto = true;
                self.answer_all();
            }
            "manual" => self.auto = false,
            // The driver is told; nothing that happened before may be left unsaid.
            "<" => {
                let text = self.filled(rest);
                let lines: String = text.split(" / ").map(|line| format!("\r\n{line}\r\n")).collect();
                self.hear(lines.as_bytes());
            }
            "<<" => {
                let text = rest.replace("\\r", "\r").replace("\\n", "\n");
                self.hear(text.as_bytes());
            }
            "wait" => self.pass(Duration::from_millis(rest.parse().expect("milliseconds"))),
            "send" | "reply" => {
                let words: Vec<&str> = rest.splitn(3, ' ').collect();
                let [name, to, text] = words[..] else { panic!("send NAME TO TEXT") };
                let wishes = Wishes {
                    flash: name.ends_with('!'),
                    report: name.ends_with('?').then_some(true),
                    part: name.split_once('@').map(|(_, part)| {
                        let number = |text: &str| text.parse().expect("a number");
                        let (sequence, total) = part.split_once('/').expect("@SEQUENCE/TOTAL");
                        Piece { reference: 7, bits: 8, total: number(total), sequence: number(sequence) }
                    }),
                };
                let name = name.split('@').next().unwrap_or(name);
                let name = name.trim_end_matches(['!', '?']);
                let next = self.ids.next(Timestamp::from_seconds(1_795_337_735));
                let id = *self.sent.entry(name.into()).or_insert(next);
                let text = text.replace("{160}", &"x".repeat(160));
                let outgoing = Outgoing {
                    id,
                    connection: Connection::new("Zain", to),
                    by: "Zain".into(),
                    text,
                    in_response_to: (sign == "reply").then_some(self.last),
                    answered: None,
                    attempt: 1,
                    expires_at: Timestamp::from_seconds(3600),
                    origin: Origin::Real,
                    wishes,
                };
                assert!(self.driver.wants_mail(), "{}: it takes no mail", self.place);
                self.driver.send(&outgoing, Timestamp::default(), self.now);
                self.drain();
            }
            // Another port of the same modem.
            "other" => {
                let text = self.filled(rest);
                let lines: String = text.split(" / ").map(|line| format!("\r\n{line}\r\n")).collect();
                for happening in Dialogue::new().read(lines.as_bytes(), self.now) {
                    let Happening::Urc(urc) = happening else { panic!("{}: {happening:?}", self.place) };
                    self.driver.overheard(urc, self.now);
                }
                self.drain();
            }
            "halt" => {
                self.driver.halt(self.now);
                self.drain();
            }
            "changed" => {
                assert!(self.driver.is_halted(), "{}: something is under way", self.place);
                self.driver.open(self.now);
                self.drain();
            }
            "takes-no-mail" => assert!(!self.driver.wants_mail(), "{}", self.place),
            "takes-mail" => assert!(self.driver.wants_mail(), "{}", self.place),
            "store" => self.refusing = rest == "full",
            "stop" => {
                self.driver.stop(self.now);
                self.drain();
            }
            "ask" => {
                assert!(self.driver.wants_question(), "{}: it takes no question", self.place);
                self.driver.ask(rest, self.now);
                self.drain();
            }
            "lost" => {
                self.driver.lost(rest, self.now);
                self.drain();
            }
            "nothing" => self.expect_nothing(),
            ">" | "!" => {
                let wanted = format!("{sign} {rest}");
                let got = self.log.pop_front().unwrap_or_else(|| "nothing".into());
                let same = match wanted.strip_suffix("...") {
                    Some(start) => got.starts_with(start),
                    None => got == wanted,
                };
                assert!(same, "{}\n happened: {got}\n then: {:#?}", self.place, self.log);
            }
            _ => panic!("{}: no such step", self.place),
        }
    }

    fn expect_nothing(&self) {
        assert!(self.log.is_empty(), "{}: this happened as well: {:#?}", self.place, self.log);
    }

    fn hear(&mut self, octets: &[u8]) {
        self.driver.read(octets, self.now);
        self.drain();
    }

    /// Time passes; what is due meanwhile is done at its own time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut ticks = 0;
        while let Some(deadline) = self.driver.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.driver.tick(self.now);
            self.drain();
            ticks += 1;
            assert!(ticks < 10_000, "{}: the driver never rests", self.place);
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(effect) = self.driver.take_effect() {
            let said = match effect {
                Effect::Write(octets) => {
                    for said in written(&octets) {
                        if self.auto && said.starts_with("> AT") {
                            self.asked.push_back(said[2..].to_string());
                        } else {
                            self.log.push_back(said);
                        }
                    }
                    continue;
                }
                Effect::Deliver(incoming, source) => {
                    self.log.push_back(self.delivered(&incoming));
                    let result = match self.refusing {
                        true => Err(Refused::new(Refusal::Store, "the disk is full")),
                        false => {
                            self.last = self.ids.next(Timestamp::default());
                            Ok(self.last)
                        }
                    };
                    self.driver.delivered(source, result, self.now);
                    continue;
                }
                Effect::Report(report, source) => {
                    self.log.push_back(reported(&report));
                    let result = match self.refusing {
                        true => Err(Refused::new(Refusal::Store, "the disk is full")),
                        false => Ok(()),
                    };
                    assert!(!(self.refusing && source == Source::Elsewhere), "it could not be offered again");
                    self.driver.reported(source, result, self.now);
                    continue;
                }
                Effect::Sent(id, result) => {
                    let name =
                        self.sent.iter().find(|(_, known)| **known == id).map_or("?", |(name, _)| name);
                    match result {
                        Ok(receipt) => {
                            format!("! sent {name} {} {:?}", receipt.parts.unwrap_or(0), receipt.remote_ids)
                        }
                        Err(SendFailure::Temporary(why)) => format!("! temporary {name} {why}"),
                        Err(SendFailure::Permanent(why)) => format!("! permanent {name} {why}"),
                        Err(SendFailure::Unsure(why)) => format!("! unsure {name} {why}"),
                        Err(SendFailure::Untried(why)) => format!("! untried {name} {why}"),
                        Err(SendFailure::Throttled(wait, why)) => {
                            format!("! throttled {name} {wait:?} {why}")
                        }
                    }
                }
                Effect::Up(sentence) => format!("! up {sentence}"),
                Effect::Note(sentence) => format!("! note {sentence}"),
                Effect::Answered(Ok(text)) => format!("! answered {text}"),
                Effect::Answered(Err(why)) => format!("! unanswered {why}"),
                Effect::PinTried => "! pin tried".into(),
                Effect::PinWorked => "! pin worked".into(),
                Effect::Reopen => "! reopen".into(),
                Effect::Over(Ok(())) => "! over".into(),
                Effect::Over(Err(rapidsms::backends::BackendError::Lost(why))) => format!("! lost {why}"),
                Effect::Over(Err(rapidsms::backends::BackendError::Refused(why))) => {
                    format!("! refused {why}")
                }
            };
            self.log.push_back(said);
        }
        self.answer_all();
    }

    fn answer_all(&mut self) {
        while self.auto
            && let Some(command) = self.asked.pop_front()
        {
            let answer = self.modem.get(&command).cloned().unwrap_or_else(|| "OK".into());
            let answer = match self.modem.get(command.split('=').next().unwrap_or_default()) {
                Some(any) if command.contains('=') && !self.modem.contains_key(&command) => any.clone(),
                _ => answer,
            };
            if answer == "silence" {
                continue;
            }
            let answer = self.filled(&answer);
            let lines: String = answer.split(" / ").map(|line| format!("\r\n{line}\r\n")).collect();
            self.driver.read(lines.as_bytes(), self.now);
            self.drain();
        }
    }

    fn delivered(&self, incoming: &Incoming) -> String {
        let key = if incoming.redelivery_key.is_some() { "" } else { " (no key)" };
        let what = match (&incoming.undecodable, &incoming.part) {
            (Some(why), _) => format!("aside: {why}"),
            (None, Some(part)) => {
                let text = String::from_utf16_lossy(&part.units).replace('\u{1B}', "␛");
                format!("{}/{} of {}: {text}", part.sequence, part.total, part.set)
            }
            (None, None) => incoming.text.clone(),
        };
        format!("! deliver {}{key}: {what}", incoming.connection.identity)
    }

    /// `{deliver FROM TEXT}`, `{part FROM SEQUENCE TOTAL TEXT}`, `{report REFERENCE TO STATUS}` are the digits of such a message; `{cmt ...}` and `{cds ...}` the
    /// header with its length as well.
    fn filled(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once('{') else { return text.to_string() };
        let (inside, after) = rest.split_once('}').expect("a closing brace");
        let words: Vec<&str> = inside.splitn(3, ' ').collect();
        let filling = match words[..] {
            ["deliver", from, text] => deliver(from, text, None),
            ["cmt", from, text] => {
                let digits = deliver(from, text, None);
                format!("+CMT: ,{} / {digits}", digits.len() / 2 - 1)
            }
            ["part", from, rest] => {
                let words: Vec<&str> = rest.splitn(3, ' ').collect();
                let number = |at: usize| words[at].parse().expect("a number");
                deliver(from, words[2], Some((number(0), number(1))))
            }
            [kind @ ("report" | "cds"), reference, rest] => {
                let (to, status) = rest.split_once(' ').expect("a status");
                let digits =
                    report(reference.parse().expect("a reference"), to, status.parse().expect("a status"));
                match kind {
                    "cds" => format!("+CDS: {} / {digits}", digits.len() / 2 - 1),
                    _ => digits,
                }
            }
            _ => panic!("{}: no such filling", self.place),
        };
        format!("{before}{filling}{}", self.filled(after))
    }
}

/// What the driver wrote, one line for each command; the text of a message is decoded.
fn written(octets: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(octets);
    if let Some(digits) = text.strip_suffix('\u{1a}') {
        let octets = pdu::from_hex(digits).expect("digits");
        let decoded = pdu::decode(&octets, Some(Side::Mobile), Prefix::Present).expect("a message");
        let Pdu::Submit(submit) = decoded.pdu else { panic!("no SUBMIT: {digits}") };
        let mut said = format!("> submit {}", submit.destination);
        if let Some(concat) = submit.user_data.header.as_ref().and_then(pdu::Header::concat) {
            said += &format!(" {}/{}", concat.sequence, concat.total);
        }
        if submit.report_request {
            said += " report";
        }
        if let Some(class) = submit.data_coding.class() {
            said += &format!(" class {class}");
        }
        if let Some(center) = decoded.service_center {
            said += &format!(" center {center}");
        }
        return vec![format!("{said}: {}", submit.user_data.text().unwrap_or_default())];
    }
    let commands = text.split('\r').filter(|command| !command.is_empty());
    commands.map(|command| format!("> {}", command.replace('\u{1b}', "ESC"))).collect()
}

fn reported(report: &Report) -> String {
    let About::Remote(name) = &report.about else { panic!("a report by our id") };
    format!("! report {name} {:?}", report.verdict)
}

fn time() -> NetworkTime {
    NetworkTime::new(Timestamp::from_seconds(1_795_337_735), 12).expect("a time")
}

fn deliver(from: &str, text: &str, part: Option<(u8, u8)>) -> String {
    let whole = text.trim_end_matches('␛');
    let plan = pdu::plan(whole, &pdu::Splitting::default()).expect("a short text");
    let mut user_data = UserData { header: None, payload: plan.parts[0].payload.clone() };
    if let pdu::Payload::Gsm7(septets) = &mut user_data.payload {
        septets.extend(text.chars().skip(whole.chars().count()).map(|_| pdu::gsm7::ESCAPE));
    }
    if let Some((sequence, total)) = part {
        let concat = pdu::Concat { reference: 77, total, sequence, bits: 8 };
        let mut header = pdu::Header { elements: Vec::new() };
        if text.starts_with("ported") {
            header = header.with_ports(pdu::Ports { destination: 9204, source: 0, bits: 16 });
        }
        user_data.header = Some(header.with_concat(concat));
    }
    let deliver = Deliver {
        more_messages: false,
        loop_prevention: text.starts_with("forwarded"),
        report_wanted: false,
        reply_path: false,
        originator: address(from),
        protocol: if text.starts_with("silent") { 0x40 } else { 0 },
        data_coding: DataCoding::of(plan.alphabet),
        service_center_time: time(),
        user_data,
    };
    assert!(plan.alphabet != Alphabet::Data8);
    pdu::to_hex(&pdu::with_service_center(None, &deliver.encode().expect("octets")).expect("octets"))
}

/// A number or a name; `national:` before a number gives it that type.
fn address(text: &str) -> Address {
    match text.strip_prefix("national:") {
        Some(number) => Address { kind: 0xA1, ..Address::number(number).expect("a number") },
        None => Address::parse(text).expect("an address"),
    }
}

fn report(reference: u8, to: &str, status: u8) -> String {
    let report = StatusReport {
        more_messages: false,
        loop_prevention: false,
        of_command: false,
        message_reference: reference,
        recipient: address(to),
        service_center_time: time(),
        discharge_time: time(),
        status: Status(status),
        parameters: Default::default(),
    };
    pdu::to_hex(&pdu::with_service_center(None, &report.encode().expect("octets")).expect("octets"))
}
