//! The modem's side of things without a modem. `tests/modems/dialogues.txt` has the dialogues and says how to read them; here are
//! also the sweep of unsolicited codes over every octet of every answer, and modems that behave as badly as chance lets them.

mod answers;
mod script;
mod strangers;
mod sweep;

use rapidsms::modem::{Answer, Dialogue, Happening, Outcome, Urc};
use std::time::Duration;

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A dialogue that is in step.
fn in_step() -> Dialogue {
    let mut dialogue = Dialogue::new();
    dialogue.open(Duration::ZERO);
    dialogue.tick(milliseconds(200));
    let happened = dialogue.read(b"\r\n+CMEE: 1\r\n\r\nOK\r\n", milliseconds(200));
    assert_eq!(happened, [Happening::Ready]);
    dialogue
}

/// A happening as the cases write it.
fn shown(happening: &Happening) -> String {
    match happening {
        Happening::Write(octets) => format!("write {}", escaped(octets)),
        Happening::Answer(answer) => shown_answer(answer),
        Happening::Late(line) => format!("late {line}"),
        Happening::Urc(urc) => format!("urc {}", shown_urc(urc)),
        Happening::Ready => "ready".into(),
        Happening::Mute => "mute".into(),
        Happening::Garbage(text) => format!("garbage {text}"),
    }
}

fn shown_answer(answer: &Answer) -> String {
    let (word, detail) = match &answer.outcome {
        Outcome::Ok => ("ok", String::new()),
        Outcome::Assumed => ("assumed", String::new()),
        Outcome::Error(error) => ("error", format!(" {error}")),
        Outcome::Call(text) => ("call", format!(" {text}")),
        Outcome::NoPrompt => ("no-prompt", String::new()),
        Outcome::TimedOut => ("timed-out", String::new()),
    };
    let body = if answer.body_written { " body" } else { "" };
    let lines =
        if answer.lines.is_empty() { String::new() } else { format!(": {}", answer.lines.join(" / ")) };
    format!("answer {word}{body}{detail}{lines}")
}

fn shown_urc(urc: &Urc) -> String {
    match urc {
        Urc::Stored { storage, index } => format!("stored {storage} {index}"),
        Urc::ReportStored { storage, index } => format!("report-stored {storage} {index}"),
        Urc::Message(direct) => format!("message ({}) {}", direct.header, direct.pdu),
        Urc::Report(direct) => format!("report ({}) {}", direct.header, direct.pdu),
        Urc::Broadcast(direct) => format!("broadcast ({}) {}", direct.header, direct.pdu),
        Urc::TextMessage { header, text } => format!("text-message ({header}) {text}"),
        Urc::Torn(header) => format!("torn {header}"),
        Urc::Ring(text) => format!("ring {text}"),
        Urc::Caller(number) => format!("caller {number}"),
        Urc::CallEnded(text) => format!("call-ended {text}"),
        Urc::Ussd(ussd) => {
            let coding = ussd.coding.map_or("-".into(), |coding| coding.to_string());
            let text = ussd.text.as_deref().unwrap_or("").replace('\n', "|");
            format!("ussd {} {coding} {text}", ussd.status).trim_end().to_string()
        }
        Urc::Registration(registration) => {
            let place = [&registration.area, &registration.cell];
            let place: String = place.into_iter().flatten().map(|part| format!(" {part}")).collect();
            format!("registered {}{place}", registration.status)
        }
        Urc::Pin(text) => format!("pin {text}"),
        Urc::Started(text) => format!("started {text}"),
        Urc::StorageFull(text) => format!("full {text}"),
        Urc::Noise(text) => format!("noise {text}"),
        Urc::Other(text) => format!("other {text}"),
    }
}

fn escaped(octets: &[u8]) -> String {
    let letter = |octet: &u8| match octet {
        b'\r' => "\\r".into(),
        0x1a => "\\z".into(),
        0x1b => "\\x1b".into(),
        octet => char::from(*octet).to_string(),
    };
    octets.iter().map(letter).collect()
}
