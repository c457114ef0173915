//! Modems that say anything at any time. Whatever they do, the driver neither panics nor spins, nor grows without bound, and every message that it
//! was given is answered for, once.

use proptest::prelude::*;
use rapidsms::backends::gsm::Rules;
use rapidsms::backends::gsm::driver::ussd::{Way, decode, encode};
use rapidsms::backends::gsm::driver::{Driver, Effect};
use rapidsms::message::{Connection, Ids, Origin, Outgoing, Wishes};
use rapidsms::modem::{Dialogue, Happening};
use rapidsms::router::{Refusal, Refused};
use rapidsms::time::Timestamp;
use std::time::Duration;

/// What strange modems like to say.
const WORDS: &[&str] = &[
    "OK",
    "ERROR",
    "> ",
    "+CMS ERROR: 500",
    "+CMS ERROR: 330",
    "+CMS ERROR: 310",
    "+CME ERROR: 14",
    "+CME ERROR: 11",
    "+CMTI: \"SM\",0",
    "+CMTI: \"ME\",4294967295",
    "+CMTI: \"\",1",
    "+CMTI: \"SM\",99999999999",
    "+CDSI: \"SR\",1",
    "+CMGL: 1,0,,20",
    "+CMGR: 0,,20",
    "07914400000000F0",
    "0006",
    "+CMGS: 7",
    "+CMGS: 300",
    "^SYSSTART",
    "SMS Ready",
    "+CPMS: 4294967295,4294967295",
    "+CPMS: 1,2",
    "+CPIN: SIM PIN",
    "+CPIN: READY",
    "+CNMI: 2,0,0,0,0",
    "+CMEE: 1",
    "+CMGF: 0",
    "+CSMS: 1,1,1",
    "+CREG: 0",
    "+CREG: 1",
    "+CREG: 0,1",
    "RING",
    "+CLIP: \"+1555\",145",
    "NO CARRIER",
    "+CUSD: 1,\"0041",
    "\"",
    "^SMMEMFULL",
    "+CMT: ,23",
    "+CMT: \"+1\",,\"x\"",
    "+CDS: 26",
    "+CFUN: 0",
    "\u{fffd}\u{0}",
    "00240BA1551510000000F000006211220111008005E8329BFD06",
    "0006070BA15515100000F0621122011100806211220111008000",
];

#[derive(Clone, Debug)]
enum Move {
    Says(usize),
    Octets(Vec<u8>),
    Answers,
    Waits(u64),
    Mail,
    Full(bool),
    Reopened,
    /// Another port of the same modem says something.
    Other(usize),
    /// The port is changed as soon as nothing is under way.
    Changes,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0..WORDS.len()).prop_map(Move::Says),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Move::Octets),
        24 => Just(Move::Answers),
        4 => (1u64..400_000).prop_map(Move::Waits),
        6 => Just(Move::Mail),
        1 => any::<bool>().prop_map(Move::Full),
        1 => Just(Move::Reopened),
        2 => (0..WORDS.len()).prop_map(Move::Other),
        1 => Just(Move::Changes),
    ];
    prop::collection::vec(one, 1..240)
}

struct Stage {
    driver: Driver,
    now: Duration,
    full: bool,
    ids: Ids,
    asked: Option<String>,
    taken: usize,
    answered: usize,
    over: bool,
}

impl Stage {
    fn drain(&mut self) {
        let mut effects = 0;
        while let Some(effect) = self.driver.take_effect() {
            effects += 1;
            assert!(effects < 10_000, "it never rests");
            match effect {
                Effect::Deliver(_, source) => {
                    let result = match self.full {
                        true => Err(Refused::new(Refusal::Store, "full")),
                        false => Ok(self.ids.next(Timestamp::default())),
                    };
                    self.driver.delivered(source, result, self.now);
                }
                Effect::Report(_, source) => self.driver.reported(source, Ok(()), self.now),
                Effect::Write(octets) => {
                    let said = String::from_utf8_lossy(&octets).into_owned();
                    let text = said.ends_with('\u{1a}');
                    self.asked = Some(if text { "text".into() } else { said.trim_end().to_string() });
                }
                Effect::Sent(..) => self.answered += 1,
                Effect::Reopen => self.driver.open(self.now),
                Effect::Over(_) => self.over = true,
                _ => {}
            }
        }
    }

    /// For once it does as it is told, so that most of them come through the initialisation.
    fn behaves(&mut self) {
        self.pass(Duration::from_millis(250));
        for _ in 0..12 {
            let answer = match std::mem::take(&mut self.asked).as_deref() {
                Some("AT+CMEE?") => "+CMEE: 1\r\n\r\nOK",
                Some("AT+CMGF?") => "+CMGF: 0\r\n\r\nOK",
                Some("AT+CSMS?") => "+CSMS: 1,1,1\r\n\r\nOK",
                Some(command) if command.starts_with("AT+CMGS=") => "> ",
                Some("text") => "+CMGS: 5\r\n\r\nOK",
                Some(_) => "OK",
                None => return,
            };
            self.driver.read(format!("\r\n{answer}\r\n").as_bytes(), self.now);
            self.drain();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut ticks = 0;
        while let Some(deadline) = self.driver.deadline().filter(|deadline| *deadline <= end && !self.over) {
            self.now = self.now.max(deadline);
            self.driver.tick(self.now);
            self.drain();
            ticks += 1;
            assert!(ticks < 5_000, "it never rests: {deadline:?} {:?}", self.driver);
        }
        self.now = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_modem_says_breaks_the_driver(moves in moves()) {
        let driver = Driver::new(Rules::new("Zain".into()));
        let ids = Ids::new(None, 7);
        let mut stage = Stage { driver, now: Duration::ZERO, full: false, ids, asked: None, taken: 0, answered: 0, over: false };
        stage.driver.open(Duration::ZERO);
        stage.drain();
        for step in moves {
            if stage.over {
                break;
            }
            match step {
                Move::Says(at) => stage.driver.read(format!("\r\n{}\r\n", WORDS[at]).as_bytes(), stage.now),
                Move::Octets(octets) => stage.driver.read(&octets, stage.now),
                Move::Answers => stage.behaves(),
                Move::Waits(time) => stage.pass(Duration::from_millis(time)),
                Move::Mail if stage.driver.wants_mail() => {
                    let outgoing = Outgoing {
                        id: stage.ids.next(Timestamp::default()),
                        connection: Connection::new("Zain", "+15550100001"),
                        by: "Zain".into(),
                        text: "long ".repeat(stage.taken % 80),
                        in_response_to: None,
                        answered: None,
                        attempt: 1,
                        expires_at: Timestamp::from_seconds(60),
                        origin: Origin::Real,
                        wishes: Wishes::default(),
                    };
                    stage.taken += 1;
                    stage.driver.send(&outgoing, Timestamp::default(), stage.now);
                }
                Move::Mail => {}
                Move::Full(full) => stage.full = full,
                Move::Reopened => stage.driver.open(stage.now),
                Move::Other(at) => {
                    let mut other = Dialogue::new();
                    let mut said = other.read(format!("\r\n{}\r\n{}\r\n", WORDS[at], WORDS[at]).as_bytes(), stage.now);
                    said.extend(other.tick(stage.now + Duration::from_secs(60)));
                    for happening in said {
                        if let Happening::Urc(urc) = happening {
                            stage.driver.overheard(urc, stage.now);
                        }
                    }
                }
                Move::Changes => stage.driver.halt(stage.now),
            }
            stage.drain();
            if stage.driver.is_halted() {
                stage.driver.open(stage.now);
                stage.drain();
            }
        }
        if !stage.over {
            stage.driver.stop(stage.now);
            stage.drain();
            stage.pass(Duration::from_secs(11));
        }
        prop_assert!(stage.over, "it does not stop");
        prop_assert_eq!(stage.taken, stage.answered);
        prop_assert!(stage.driver.deadline().is_none());
    }

    #[test]
    fn what_a_network_says_is_read_whatever_it_is(text in ".{0,200}", coding in any::<Option<u8>>()) {
        decode(&text, coding);
    }
}

#[test]
fn balances_are_read_in_every_disguise() {
    for (text, coding, meant) in [
        ("Balance: 12.50", Some(15), "Balance: 12.50"),
        ("00420061006C0061006E006300650020003100320020", Some(72), "Balance 12"),
        ("00420061006C0061006E006300650020003100320020", Some(15), "Balance 12"),
        ("004D0069007A0061006E", None, "Mizan"),
        ("12", Some(15), "12"),
        ("", None, ""),
    ] {
        assert_eq!(decode(text, coding), meant, "{text}");
    }
    for way in [Way::Plain, Way::Packed, Way::Ucs2] {
        let answer = encode("You have 12.50 left", way);
        assert_eq!(decode(&answer, Some(15)), "You have 12.50 left", "{way:?}");
    }
    assert_eq!(encode("*100#", Way::Packed), "AA180C3602");
}
