//! The modem simulator: the model alone, as conversations in `tests/simulator/`, and the real program on pseudo-terminals.

mod program;

use rapidsms::simulator::ledger::Entry;
use rapidsms::simulator::script::{self, Line};
use rapidsms::simulator::{Effect, Modem, Subscriber, Timing, personality};
use rapidsms::time::Timestamp;
use std::fs;
use std::time::Duration;

/// 2026-11-22T09:00:00Z, which the network's clock shows as noon.
const BEGINNING: Timestamp = Timestamp::from_seconds(1_795_338_000);

macro_rules! conversations {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { play(stringify!($name)); })*

        #[test]
        fn every_conversation_is_played() {
            let mut there: Vec<String> = fs::read_dir("tests/simulator")
                .expect("the conversations")
                .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
                .collect();
            there.sort();
            let mut played = vec![$(concat!(stringify!($name), ".txt").to_string()),*];
            played.sort();
            assert_eq!(there, played);
        }
    };
}

conversations!(commands, misfortunes, personalities, routing, sending, services, slots);

/// One modem, and what it has said and done that no line has asked for yet.
struct Stage {
    modem: Modem,
    now: Timestamp,
    said: Vec<u8>,
    done: Vec<Entry>,
    shown: Vec<String>,
}

impl Stage {
    fn new(words: &str) -> Stage {
        let mut words = words.split_whitespace();
        let name = words.next().unwrap_or("generic");
        let subscriber = Subscriber {
            number: "+254700000101".into(),
            imei: "352001000000002".into(),
            imsi: "639020000000001".into(),
            iccid: "8925402000000000001".into(),
            pin: words.next().map(str::to_string),
            service_center: "+254700000009".into(),
        };
        let personality = personality::named(name).unwrap_or_else(|| panic!("no personality {name}"));
        let modem = Modem::new(personality, subscriber, Timing::default(), BEGINNING);
        let mut stage =
            Stage { modem, now: BEGINNING, said: Vec::new(), done: Vec::new(), shown: Vec::new() };
        stage.collect();
        stage
    }

    fn collect(&mut self) {
        for effect in self.modem.effects() {
            match effect {
                Effect::Write(octets) | Effect::Announce(octets) => self.said.extend(octets),
                Effect::Record(entry) => self.done.push(entry),
                Effect::Show(line) => self.shown.push(line),
                Effect::Unplugged => self.shown.push("unplugged".into()),
                Effect::Plugged { link } => self.shown.push(format!("plugged {}", link.unwrap_or_default())),
                Effect::Carried(_) => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.modem.tick(self.now);
    }

    /// The lines that it said, without blank ones.
    fn lines(&mut self) -> Vec<String> {
        let said = std::mem::take(&mut self.said);
        let text = said.iter().map(|octet| match octet {
            0x20..=0x7E | b'\r' | b'\n' => char::from(*octet).to_string(),
            other => format!("\\x{other:02x}"),
        });
        let text: String = text.collect();
        text.split(['\r', '\n'])
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .map(str::to_string)
            .collect()
    }
}

/// Plays the cases of one file. The signs:
///
/// - `== TITLE` begins a case; `modem PERSONALITY [PIN]` chooses another modem than the generic one, without echo
/// - `> AT...` is a line for the modem, `>> octets` is octets for it (`\r`, `\z` Ctrl-Z, `\e` escape)
/// - `< line` is what it says, all of it and in order; `<` alone: nothing; `...` at its end stands for anything
/// - `! order` is an order as at the prompt; `!x order` is one that is refused; `wait 100ms` lets time pass
/// - `= event words` is the next entry of the ledger of this kind, with these words in it; `=! event`: no such entry is left
/// - `% line` is what a person sees
fn play(name: &str) {
    let path = format!("tests/simulator/{name}.txt");
    let text = fs::read_to_string(&path).expect("the conversation");
    let mut stage = Stage::new("generic");
    let lines: Vec<&str> = text.lines().collect();
    let mut cases = 0;
    for (index, line) in lines.iter().enumerate() {
        let place = format!("{path}:{}: {line}", index + 1);
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            "" | "#" => continue,
            "==" => {
                cases += 1;
                stage = Stage::new("generic");
                stage.modem.read(b"ATE0\r", stage.now);
                stage.collect();
                stage.said.clear();
            }
            "modem" => {
                stage = Stage::new(rest);
            }
            ">" => stage.modem.read(format!("{rest}\r").as_bytes(), stage.now),
            ">>" => stage.modem.read(&unescaped(rest), stage.now),
            "!" | "!x" => {
                let parsed = script::parse(&format!("zain {rest}"));
                let done = parsed.and_then(|line| match line {
                    Line::For { order, .. } => stage.modem.order(&order, stage.now),
                    other => panic!("{place}: {other:?}"),
                });
                assert_eq!(done.is_err(), sign == "!x", "{place}: {done:?}");
            }
            "wait" => stage.pass(script::duration(rest).expect(&place)),
            "<" => {}
            "=" | "=!" => {
                let (event, words) = rest.split_once(' ').unwrap_or((rest, ""));
                let found = stage.done.iter().position(|entry| entry.event() == event);
                match (sign, found) {
                    ("=!", found) => assert_eq!(found, None, "{place}\n{:#?}", stage.done),
                    (_, Some(found)) => {
                        let line = stage.done[found].line("zain");
                        assert!(line.contains(words), "{place}\nfound: {line}");
                        stage.done.drain(..=found);
                    }
                    (_, None) => panic!("{place}\nthere is only: {:#?}", stage.done),
                }
                continue;
            }
            "%" => {
                assert_eq!(stage.shown.first().map(String::as_str), Some(rest), "{place}");
                stage.shown.remove(0);
                continue;
            }
            _ => panic!("{place}: no such sign"),
        }
        stage.collect();
        // What follows is what it says now, unless more happens first.
        let expected: Vec<&str> = lines[index + usize::from(sign != "<")..]
            .iter()
            .take_while(|line| line.starts_with('<'))
            .map(|line| line.strip_prefix("< ").unwrap_or(""))
            .filter(|line| !line.is_empty())
            .collect();
        let is_asked = lines.get(index + 1).is_some_and(|line| line.starts_with('<'));
        if sign == "<" || !is_asked {
            continue;
        }
        let lines = stage.lines();
        let alike = lines.len() == expected.len()
            && lines.iter().zip(&expected).all(|(line, expected)| match expected.strip_suffix("...") {
                Some(beginning) => line.starts_with(beginning),
                None => line == expected,
            });
        assert!(alike, "{place}\nexpected: {expected:#?}\nfound: {lines:#?}");
    }
    assert!(cases > 2, "{path} is not read");
}

fn unescaped(text: &str) -> Vec<u8> {
    let replaced =
        text.replace("\\r", "\r").replace("\\n", "\n").replace("\\z", "\x1A").replace("\\e", "\x1B");
    replaced.into_bytes()
}

/// Whatever comes in, it neither panics nor grows, and the ledger's lines are JSON.
#[test]
fn any_octets_are_taken() {
    let mut state: u64 = 7;
    let mut next = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let words = [
        "AT",
        "+CMGS=",
        "+CMGL=4",
        "+CMGR=",
        "+CMGD=1,4",
        "+CNMI=2,2",
        "+CSMS=1",
        "\r",
        "\r",
        "\r",
        "1",
        "23",
        "\"",
        ",",
        ";",
        "\x1A",
        "\x1B",
        "\n",
        "0011",
        "FF",
        "=?",
        "?",
        "+CUSD=1,\"*144#\"",
        "+CMGW=20",
        "+CPMS=\"ME\"",
        "\u{e9}",
        "&F",
        "D1;",
    ];
    for personality in personality::PERSONALITIES {
        let mut stage = Stage::new(personality.name);
        for _ in 0..2_000 {
            let word = words[next(words.len() as u64) as usize];
            let mut octets = word.as_bytes().to_vec();
            if next(20) == 0 {
                octets.push(next(256) as u8);
            }
            stage.modem.read(&octets, stage.now);
            if next(10) == 0 {
                let _ = script::parse("zain < +254700000001 hello {n} and more").map(|line| match line {
                    Line::For { order, .. } => stage.modem.order(&order, stage.now),
                    _ => Ok(()),
                });
            }
            stage.pass(Duration::from_millis(next(50)));
            stage.collect();
        }
        for entry in &stage.done {
            let line: serde_json::Value = serde_json::from_str(&entry.line("zain")).expect("JSON");
            assert_eq!(line["event"], entry.event());
        }
        assert!(stage.said.len() < 4_000_000, "{}", stage.said.len());
    }
}

#[test]
fn orders_that_cannot_be_read_say_why() {
    for (line, word) in [
        ("zain", "what shall zain do"),
        ("zain frobnicate", "no order"),
        ("zain < ", "from whom"),
        ("zain silence 5", "write 100ms"),
        ("zain signal 100", "0 to 99"),
        ("zain error 5x", "cms 500"),
        ("zain lose at x", "no number"),
        ("zain report maybe", "ok, fail"),
        ("wait long", "write 100ms"),
        ("zain pdu 0G", "hex"),
    ] {
        let error = script::parse(line).expect_err(line);
        assert!(error.contains(word), "{line}: {error}");
    }
    for line in script::HELP.lines().filter(|line| line.starts_with("MODEM ")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

/// Each order and each personality stands in the help, and in the document.
#[test]
fn everything_is_documented() {
    let document = fs::read_to_string("docs/simulator.md").expect("the document");
    let help = fs::read_to_string("tests/cli/help/simulate_modem.txt").expect("the help");
    for personality in personality::PERSONALITIES {
        assert!(help.contains(personality.name), "the help lacks {}", personality.name);
        assert!(
            document.contains(&format!("| `{}` |", personality.name)),
            "the document lacks {}",
            personality.name
        );
    }
    for line in script::HELP.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let verb = if words[0] == "MODEM" { format!("zain {}", words[1]) } else { words[0].to_string() };
        assert!(document.contains(&format!("`{verb}")), "the document lacks {verb}");
    }
    // What the document shows as an order is one.
    for cell in document.lines().filter(|line| line.starts_with("| `zain ")) {
        for order in
            cell.split('|').nth(1).unwrap_or_default().split('`').filter(|cell| cell.starts_with("zain "))
        {
            let order = order.replace("NUMBER", "+254700000001").replace("HEX", "00");
            assert!(script::parse(&order).is_ok(), "{order}: {:?}", script::parse(&order));
        }
    }
}

#[test]
fn the_settings_of_the_demonstration_are_right() {
    let ran = crate::daemon::rapidsms(
        std::path::Path::new("."),
        &["check", "--settings", "examples/two_modems.toml"],
    );
    assert!(!ran.err.contains("error"), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("2 backends"), "{}{}", ran.out, ran.err);
}
