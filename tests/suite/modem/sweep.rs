//! Something unasked at every octet of every kind of answer: the answer stays what it is, and nothing unasked is lost.

use super::{in_step, milliseconds, shown};
use rapidsms::modem::{Command, Dialogue, Happening};

/// What the modem is asked and all that it answers; behind `~` what it says after the text of a message was written.
const EXCHANGES: &[(&str, &str)] = &[
    ("AT", "\r\nOK\r\n"),
    ("AT", "AT\r\r\nOK\r\n"),
    ("AT+CSQ", "\r\n+CSQ: 15,99\r\n\r\nOK\r\n"),
    ("AT+CSQ", "AT+CSQ\r\r\n+CSQ: 15,99\r\n\r\nOK\r\n"),
    ("AT+CPMS?", "\r\n+CPMS: \"SM\",10,20,\"ME\",3,99,\"SM\",10,20\r\n\r\nOK\r\n"),
    ("AT+CREG?", "\r\n+CREG: 2,1,\"00A1\",\"0000B2C3\",7\r\n\r\nOK\r\n"),
    ("AT+CSCA?", "\r\n+CSCA: \"+491710760000\",145\r\n\r\nOK\r\n"),
    ("AT+CGSN", "\r\n867123456789012\r\n\r\nOK\r\n"),
    ("AT+CGMI", "\r\nSIMCOM_Ltd\r\n\r\nOK\r\n"),
    ("AT+XYZ", "\r\nERROR\r\n"),
    ("AT+CMGR=7", "\r\n+CMS ERROR: 321\r\n"),
    ("AT+CPIN?", "\r\n+CME ERROR: 14\r\n"),
    ("AT+CPIN?", "\r\n+CME ERROR: SIM busy\r\n"),
    (
        "AT+CMGR=1",
        "\r\n+CMGR: 0,,24\r\n07911326040000F0040B911346610089F60000208062917314080CC8F71D14969741F977FD07\r\n\r\nOK\r\n",
    ),
    (
        "AT+CMGL=4",
        "\r\n+CMGL: 1,1,,24\r\n07911326040000F0040B911346610089F60000208062917314080CC8F71D14969741F977FD07\r\n+CMGL: 12,0,,5\r\n000102030405\r\n\r\nOK\r\n",
    ),
    ("AT+CMGS=4", "\r\n> ~\r\n+CMGS: 123\r\n\r\nOK\r\n"),
    ("AT+CMGS=4", "AT+CMGS=4\r\r\n> ~0011000A\u{1a}\r\n+CMGS: 123\r\n\r\nOK\r\n"),
    ("AT+CMGS=4", "\r\n> ~\r\n+CMS ERROR: 500\r\n"),
    ("ATD*99#;", "\r\nNO CARRIER\r\n"),
];

const UNASKED: &[&str] = &[
    "\r\n+CMTI: \"SM\",3\r\n",
    "\r\n+CDSI: \"SM\",3\r\n\r\n+CMTI: \"ME\",0\r\n",
    "\r\n+CMT: ,4\r\n0001020304\r\n",
    "\r\n+CDS: 4\r\n0001020304\r\n",
    "\r\nRING\r\n",
    "\r\n^RSSI: 18\r\n\r\n^MODE: 5,4\r\n\r\n^HCSQ: \"LTE\",46,46,30,20\r\n",
    "\r\n+CREG: 5\r\n",
    "\r\n+CUSD: 0,\"5 EUR\",15\r\n",
    "\r\n+CUSD: 0,\"1. Yes\r\nOK\r\n2. No\",15\r\n",
    "\r\n^SYSSTART\r\n",
];

#[test]
fn unasked_at_every_octet_of_every_answer() {
    let mut played = 0;
    for (command, said) in EXCHANGES {
        let expected = play(command, said);
        let [answer] = expected.iter().filter(|what| what.starts_with("answer")).collect::<Vec<_>>()[..]
        else {
            panic!("{command}: one answer, not {expected:?}");
        };
        for unasked in UNASKED {
            let mut dialogue = in_step();
            let alone: Vec<_> =
                dialogue.read(unasked.as_bytes(), milliseconds(300)).iter().map(shown).collect();
            assert!(!alone.is_empty() && alone.iter().all(|what| what.starts_with("urc ")), "{alone:?}");
            for at in 0..=said.len() {
                // Behind the prompt there are octets of ours, not of the modem.
                let with_unasked = format!("{}{unasked}{}", &said[..at], &said[at..]);
                let got = play(command, &with_unasked);
                let of = |kind: &str| got.iter().filter(|what| what.starts_with(kind)).collect::<Vec<_>>();
                let place = format!("{with_unasked:?}\n got {got:#?}\n expected {answer:?} and {alone:?}");
                assert_eq!(of("answer"), [answer], "{place}");
                assert_eq!(of("urc "), alone.iter().collect::<Vec<_>>(), "{place}");
                assert_eq!(got.len(), expected.len() + alone.len(), "nothing else happens: {place}");
                played += 1;
            }
        }
    }
    assert!(played > 5_000, "{played} are not all");
}

fn play(command: &str, said: &str) -> Vec<String> {
    let mut dialogue: Dialogue = in_step();
    let (before, behind) = said.split_once('~').unwrap_or((said, ""));
    let asked = match behind {
        "" => Command::new(command),
        _ => Command::send(4, "0011000A"),
    };
    let now = milliseconds(300);
    dialogue.send(asked, now).expect("it is in step");
    let mut happened = dialogue.read(before.as_bytes(), now);
    happened.extend(dialogue.read(behind.as_bytes(), now));
    while let Some(deadline) = dialogue.deadline().filter(|deadline| *deadline <= milliseconds(400)) {
        happened.extend(dialogue.tick(deadline));
    }
    assert!(dialogue.is_ready(), "{command}: {said:?}: {happened:?}");
    happened.iter().map(|happening: &Happening| shown(happening)).collect()
}
