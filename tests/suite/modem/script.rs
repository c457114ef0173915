//! Plays `tests/modems/dialogues.txt`.

use super::{in_step, milliseconds, shown};
use rapidsms::modem::{Command, Dialogue, Happening};
use std::time::Duration;

const DIALOGUES: &str = include_str!("../../modems/dialogues.txt");

#[derive(Default)]
struct Case<'a> {
    title: &'a str,
    line: usize,
    steps: Vec<&'a str>,
}

#[test]
fn dialogues() {
    let cases = read(DIALOGUES);
    assert!(cases.len() > 60, "the cases are not read");
    for case in &cases {
        let expected: Vec<_> = case.steps.iter().filter_map(|step| step.strip_prefix("= ")).collect();
        for pieces in [usize::MAX, 1, 2, 3, 7] {
            let got = play(case, pieces);
            assert_eq!(
                got, expected,
                "tests/modems/dialogues.txt:{}: {} (in pieces of {pieces})\n got {got:#?}\n expected {expected:#?}",
                case.line, case.title
            );
        }
    }
}

fn read(text: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("== ") {
            cases.push(Case { title, line: index + 1, steps: Vec::new() });
        } else if let Some(case) = cases.last_mut().filter(|_| !line.is_empty() && !line.starts_with('#')) {
            case.steps.push(line);
        }
    }
    cases
}

/// Every step in turn; what happens by itself while time passes happens at its own time.
fn play(case: &Case<'_>, pieces: usize) -> Vec<String> {
    let mut dialogue = in_step();
    let mut now = milliseconds(200);
    let mut got = Vec::new();
    for (at, step) in case.steps.iter().enumerate() {
        let happened = match step.split_once(' ').unwrap_or((step, "")) {
            ("open", _) => dialogue.open(now),
            ("<", line) => hear(&mut dialogue, format!("\r\n{line}\r\n").as_bytes(), pieces, now),
            ("<<", octets) => hear(&mut dialogue, &unescaped(octets), pieces, now),
            ("wait", time) => {
                now += milliseconds(time.parse().expect("a number of milliseconds"));
                pass(&mut dialogue, now)
            }
            (sign @ (">" | ">?"), text) => {
                let (text, body) =
                    text.split_once(" | ").map_or((text, None), |(text, body)| (text, Some(body)));
                let length = text.strip_prefix("AT+CMGS=").map(|length| length.parse().expect("a length"));
                let mut command = match (body, length) {
                    (Some(body), Some(length)) => Command::send(length, body),
                    _ => Command::new(text),
                };
                if sign == ">?" {
                    command = command.ok_may_lack(milliseconds(500));
                }
                let octets = dialogue.send(command, now).unwrap_or_else(|busy| {
                    panic!("tests/modems/dialogues.txt:{}: {}: {busy:?}", case.line, case.title)
                });
                assert_eq!(octets, format!("{text}\r").as_bytes());
                Vec::new()
            }
            ("=", _) => {
                // What is expected must have happened by now, not only by the end.
                let so_far = case.steps[..=at].iter().filter(|step| step.starts_with("= ")).count();
                let followed_by_more = case.steps.get(at + 1).is_some_and(|step| step.starts_with("= "));
                assert!(
                    followed_by_more || got.len() == so_far,
                    "tests/modems/dialogues.txt:{}: {}: {got:#?}",
                    case.line,
                    case.title
                );
                Vec::new()
            }
            _ => panic!("tests/modems/dialogues.txt:{}: no such step: {step}", case.line),
        };
        got.extend(happened.iter().map(shown));
    }
    got
}

fn hear(dialogue: &mut Dialogue, octets: &[u8], pieces: usize, now: Duration) -> Vec<Happening> {
    octets.chunks(pieces.min(octets.len())).flat_map(|piece| dialogue.read(piece, now)).collect()
}

fn pass(dialogue: &mut Dialogue, now: Duration) -> Vec<Happening> {
    let mut happened = Vec::new();
    while let Some(deadline) = dialogue.deadline().filter(|deadline| *deadline <= now) {
        happened.extend(dialogue.tick(deadline));
    }
    happened
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            octets.extend(letter.to_string().as_bytes());
            continue;
        }
        match letters.next() {
            Some('r') => octets.push(b'\r'),
            Some('n') => octets.push(b'\n'),
            Some('0') => octets.push(0),
            Some('z') => octets.push(0x1a),
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                octets.push(u8::from_str_radix(&digits, 16).expect("two digits"));
            }
            other => panic!("no such escape: {other:?}"),
        }
    }
    octets
}
