//! Modems that behave as badly as chance lets them: any octets in any pieces, and a modem that answers late, twice, torn or never. However
//! it behaved, an answer is never taken for that of another command, and the dialogue ends in step.

use super::{in_step, milliseconds};
use proptest::prelude::*;
use rapidsms::modem::{Command, Dialogue, Happening, Outcome};
use std::collections::VecDeque;
use std::time::Duration;

/// What modems say, to be put together in any order and cut anywhere.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"\r\n",
        b"\r",
        b"\n",
        b"OK",
        b"ERROR",
        b"> ",
        b">",
        b"\0",
        b"\x1a",
        b"\x1b",
        b"\xff\xfe",
        b"0",
        b"4",
        b"\"",
        b"\r\nOK\r\n",
        b"\r\nERROR\r\n",
        b"\r\n+CMS ERROR: 500\r\n",
        b"\r\n+CMTI: \"SM\",0\r\n",
        b"\r\n+CMT: ,4\r\n",
        b"0001020304",
        b"\r\n+CSQ: 1,2\r\n",
        b"AT+CSQ\r",
        b"\r\n+CUSD: 0,\"hello\r\n",
        b"\",15\r\n",
        b"\r\n+CREG: 1\r\n",
        b"\r\nRING\r\n",
        b"\r\n^RSSI:1\r\n",
        b"\r\n^BOOT: 1\r\n",
        b"\r\n+CMEE: 1\r\n",
        b"\r\n+CMGS: 12\r\n",
        b"\r\n+CMGF: 0\r\n",
    ];
    let scrap = prop_oneof![
        8 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..20),
        1 => (8000usize..9000, any::<u8>()).prop_map(|(length, octet)| vec![octet; length]),
    ];
    prop::collection::vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
}

/// In what the dialogue is when the octets come.
fn begin(kind: u8) -> Dialogue {
    let mut dialogue = in_step();
    let now = milliseconds(300);
    match kind {
        0 => {}
        1 => drop(dialogue.send(Command::new("AT+CSQ"), now)),
        2 => drop(dialogue.send(Command::new("ATI"), now)),
        3 => drop(dialogue.send(Command::new("AT+CREG?"), now)),
        4 => drop(dialogue.send(Command::send(4, "0011000A"), now)),
        5 => drop(dialogue.open(now)),
        _ => {
            drop(dialogue.open(now));
            drop(dialogue.tick(milliseconds(500)));
        }
    }
    dialogue
}

proptest! {
    #[test]
    fn any_octets_in_any_pieces(
        octets in scraps(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        kind in 0u8..7,
    ) {
        let now = milliseconds(500);
        let whole = settle(begin(kind), |dialogue| dialogue.read(&octets, now));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
        cuts.extend([0, octets.len()]);
        cuts.sort_unstable();
        let in_pieces = settle(begin(kind), |dialogue| {
            cuts.windows(2).flat_map(|cut| dialogue.read(&octets[cut[0]..cut[1]], now)).collect()
        });
        prop_assert_eq!(&whole, &in_pieces);
        let one_by_one = settle(begin(kind), |dialogue| {
            octets.iter().flat_map(|octet| dialogue.read(&[*octet], now)).collect()
        });
        prop_assert_eq!(&whole, &one_by_one);
    }
}

/// Hears, then lets a minute pass. Every wait must end.
fn settle(mut dialogue: Dialogue, hear: impl FnOnce(&mut Dialogue) -> Vec<Happening>) -> Vec<Happening> {
    let mut happened = hear(&mut dialogue);
    let mut ticks = 0;
    while let Some(deadline) = dialogue.deadline().filter(|deadline| *deadline <= Duration::from_secs(1000)) {
        happened.extend(dialogue.tick(deadline));
        ticks += 1;
        assert!(ticks < 200, "it does not come to an end: {happened:?}");
    }
    assert_eq!(dialogue.deadline(), None, "nobody waits for ever");
    happened
}

/// What a modem does with one command.
#[derive(Clone, Debug)]
struct Whim {
    /// How long it takes.
    delay: u64,
    echo: bool,
    /// It never hears the command.
    deaf: bool,
    /// It does the command and says nothing.
    mute: bool,
    refuses: bool,
    ok_after_error: bool,
    ok_lacks: bool,
    lf_only: bool,
    /// Where in the answer something unasked is written, in percent.
    unasked: Option<u8>,
}

fn whim() -> impl Strategy<Value = Whim> {
    let often = || prop::bool::weighted(0.5);
    let rare = || prop::bool::weighted(0.1);
    let delay = prop_oneof![4 => 0u64..500, 1 => 500u64..30_000];
    let flags = (often(), rare(), rare(), rare(), often(), rare(), rare());
    (delay, flags, prop::option::weighted(0.3, 0u8..100)).prop_map(
        |(delay, (echo, deaf, mute, refuses, ok_after_error, ok_lacks, lf_only), unasked)| Whim {
            delay,
            echo,
            deaf,
            mute,
            refuses,
            ok_after_error,
            ok_lacks,
            lf_only,
            unasked,
        },
    )
}

/// A modem that does one command after the other, as all do, each by its whim.
struct Modem {
    whims: VecDeque<Whim>,
    /// What it has yet to do.
    inbox: Vec<u8>,
    /// What it will have said, and when. Times never go back: it is one after the other.
    to_say: VecDeque<(Duration, Vec<u8>, Option<usize>)>,
    at_prompt: Option<usize>,
    busy_until: Duration,
    /// Which commands' results have been said.
    said: Vec<usize>,
    unasked: usize,
}

impl Modem {
    fn hear(&mut self, octets: &[u8], now: Duration) {
        for octet in octets {
            match octet {
                0x1b => {
                    self.at_prompt = None;
                    self.inbox.clear();
                }
                0x1a => {
                    self.inbox.clear();
                    if let Some(number) = self.at_prompt.take() {
                        self.answer(&format!("+CMGS: {number}"), Some(number), now);
                    }
                }
                b'\r' if self.at_prompt.is_none() => {
                    let line = String::from_utf8(std::mem::take(&mut self.inbox)).expect("we write ASCII");
                    self.obey(line.trim(), now);
                }
                octet => self.inbox.push(*octet),
            }
        }
    }

    fn obey(&mut self, line: &str, now: Duration) {
        if line.is_empty() {
            return;
        }
        let number = line.strip_prefix("AT+T").and_then(|rest| rest.split(['=', '?']).next()?.parse().ok());
        if let Some(length) = line.strip_prefix("AT+CMGS=") {
            let number = length.parse().ok();
            if self.whims.front().is_some_and(|whim| whim.deaf) {
                self.whims.pop_front();
                return;
            }
            let at = self.busy_until.max(now);
            self.to_say.push_back((at, b"\r\n> ".to_vec(), None));
            self.at_prompt = number;
            return;
        }
        let data = match (number, line.ends_with('?')) {
            (Some(number), true) => format!("+T{number}: {number}"),
            (None, true) => format!("{}: 1", line.trim_start_matches("AT").trim_end_matches('?')),
            (_, false) => String::new(),
        };
        if self.whims.front().is_some_and(|whim| whim.echo && number.is_some()) {
            let at = self.busy_until.max(now);
            self.to_say.push_back((at, format!("{line}\r").into_bytes(), None));
        }
        self.answer(&data, number, now);
    }

    fn answer(&mut self, data: &str, number: Option<usize>, now: Duration) {
        let calm = Whim {
            delay: 1,
            echo: false,
            deaf: false,
            mute: false,
            refuses: false,
            ok_after_error: false,
            ok_lacks: false,
            lf_only: false,
            unasked: None,
        };
        // Its whims are for the program's own commands.
        let whim = match number {
            Some(_) => self.whims.pop_front().unwrap_or(calm),
            None => calm,
        };
        if whim.deaf || whim.mute {
            return;
        }
        let end = if whim.lf_only { "\n" } else { "\r\n" };
        let mut said = String::new();
        if whim.refuses {
            said = format!("{end}ERROR{end}");
            if whim.ok_after_error {
                said.push_str(&format!("{end}OK{end}"));
            }
        } else {
            if !data.is_empty() {
                said.push_str(&format!("{end}{data}{end}"));
            }
            if data.is_empty() || !whim.ok_lacks {
                said.push_str(&format!("{end}OK{end}"));
            }
        }
        if let Some(percent) = whim.unasked {
            let at = said.len() * usize::from(percent) / 100;
            said.insert_str(at, "\r\n+CMTI: \"SM\",7\r\n");
            self.unasked += 1;
        }
        self.busy_until = self.busy_until.max(now) + milliseconds(whim.delay);
        self.to_say.push_back((self.busy_until, said.into_bytes(), number));
    }

    fn next(&self) -> Option<Duration> {
        self.to_say.front().map(|(at, ..)| *at)
    }
}

proptest! {
    #[test]
    fn an_answer_is_never_taken_for_another(
        whims in prop::collection::vec(whim(), 1..12),
        kinds in prop::collection::vec(0u8..3, 12),
    ) {
        let commands = whims.len();
        let mut modem = Modem {
            whims: whims.into(),
            inbox: Vec::new(),
            to_say: VecDeque::new(),
            at_prompt: None,
            busy_until: Duration::ZERO,
            said: Vec::new(),
            unasked: 0,
        };
        let mut dialogue = in_step();
        let mut now = milliseconds(200);
        let (mut sent, mut answers, mut announced) = (0, Vec::new(), 0);
        let mut events = 0;
        loop {
            if dialogue.is_ready() && sent < commands + 1 {
                // The last one is sent when all whims are used up or forgotten: it must work.
                if sent == commands {
                    modem.whims.clear();
                }
                let command = match kinds.get(sent).copied().unwrap_or(0) {
                    0 => Command::new(format!("AT+T{sent}?")).ok_may_lack(milliseconds(2000)),
                    1 => Command::new(format!("AT+T{sent}=1")),
                    _ => Command::send(sent, "0011").within(Duration::from_secs(20)),
                };
                let octets = dialogue.send(command, now).expect("it is ready");
                modem.hear(&octets, now);
                sent += 1;
            }
            let next = [modem.next(), dialogue.deadline()].into_iter().flatten().min();
            let Some(next) = next else { break };
            now = now.max(next);
            let mut happened = Vec::new();
            if modem.next().is_some_and(|at| at <= now) {
                let (_, octets, number) = modem.to_say.pop_front().expect("it was there");
                modem.said.extend(number);
                happened.extend(dialogue.read(&octets, now));
            } else {
                happened.extend(dialogue.tick(now));
            }
            for what in happened {
                match what {
                    Happening::Write(octets) => modem.hear(&octets, now),
                    Happening::Answer(answer) => {
                        let number = answers.len();
                        for line in &answer.lines {
                            let own = [format!("+T{number}: {number}"), format!("+CMGS: {number}")];
                            prop_assert!(own.contains(line), "{:?} is not of {}", line, answer.command);
                        }
                        if matches!(answer.outcome, Outcome::Ok | Outcome::Error(_)) {
                            prop_assert!(modem.said.contains(&number), "{answer:?} came before the modem said it");
                        }
                        answers.push(answer);
                    }
                    Happening::Urc(_) => announced += 1,
                    Happening::Mute => prop_assert!(false, "it was given up"),
                    Happening::Late(_) | Happening::Ready | Happening::Garbage(_) => {}
                }
            }
            events += 1;
            prop_assert!(events < 2000, "it does not come to an end");
        }
        prop_assert_eq!(answers.len(), commands + 1, "each command was answered");
        prop_assert!(answers.last().is_some_and(|answer| answer.is_ok()), "in step in the end: {:?}", answers.last());
        prop_assert_eq!(announced, modem.unasked, "nothing unasked is lost");
    }
}

#[test]
fn a_port_without_a_modem_is_mute() {
    let mut dialogue = Dialogue::new();
    let mut happened = dialogue.open(Duration::ZERO);
    while let Some(deadline) = dialogue.deadline() {
        assert!(deadline < Duration::from_secs(60));
        happened.extend(dialogue.tick(deadline));
    }
    assert_eq!(happened.last(), Some(&Happening::Mute));
    assert!(dialogue.send(Command::new("AT"), Duration::from_secs(60)).is_err(), "it must be opened again");
}

#[test]
fn whatever_is_in_a_command_it_stays_one_command() {
    let mut dialogue = in_step();
    let octets = dialogue.send(Command::new("AT+CSQ\r\nAT+CMGD=1,4\u{1a}\u{1b}\0"), milliseconds(300));
    assert_eq!(octets.expect("it is ready"), b"AT+CSQAT+CMGD=1,4\r");
    let mut dialogue = in_step();
    dialogue.send(Command::send(1, "00\u{1a}11\r"), milliseconds(300)).expect("it is ready");
    assert_eq!(dialogue.read(b"> ", milliseconds(300)), [Happening::Write(b"0011\x1a".to_vec())]);
}

#[test]
fn an_endless_line_is_dropped_and_the_next_is_heard() {
    let mut dialogue = in_step();
    dialogue.send(Command::new("AT+CSQ"), milliseconds(300)).expect("it is ready");
    for _ in 0..1000 {
        let happened = dialogue.read(&[b'x'; 1024], milliseconds(300));
        assert!(happened.len() <= 1);
    }
    let happened = dialogue.read(b"\r\n+CSQ: 1,2\r\n\r\nOK\r\n", milliseconds(300));
    assert!(
        matches!(&happened[..], [Happening::Answer(answer)] if answer.lines == ["+CSQ: 1,2"]),
        "{happened:?}"
    );
}

#[test]
fn an_endless_answer_is_cut_and_ends() {
    let mut dialogue = in_step();
    dialogue.send(Command::new("AT+CMGL=4"), milliseconds(300)).expect("it is ready");
    let mut now = milliseconds(300);
    let mut answer = None;
    for _ in 0..10_000 {
        now += milliseconds(100);
        let mut happened = dialogue.read(b"+CMGL: 1,1,,5\r\n000102030405\r\n", now);
        happened.extend(dialogue.tick(now));
        answer = happened.into_iter().find_map(|what| match what {
            Happening::Answer(answer) => Some(answer),
            _ => None,
        });
        if answer.is_some() {
            break;
        }
    }
    let answer = answer.expect("it ends");
    assert_eq!(answer.outcome, Outcome::TimedOut);
    assert!(now <= Duration::from_secs(60), "{now:?}");

    let mut dialogue = in_step();
    dialogue.send(Command::new("AT+CMGL=4"), milliseconds(300)).expect("it is ready");
    let line = [b'A'; 8000];
    for _ in 0..200 {
        dialogue.read(&line, milliseconds(300));
        dialogue.read(b"\r\n", milliseconds(300));
    }
    let happened = dialogue.read(b"OK\r\n", milliseconds(300));
    let [Happening::Answer(answer)] = &happened[..] else { panic!("{} happenings", happened.len()) };
    assert!(answer.cut && answer.lines.iter().map(String::len).sum::<usize>() <= 1024 * 1024);
}
