//! One message: all that is known, everything that happened to it, the octets it was, and what a person may decide about it.

use super::{Frame, filters, html, notice};
use crate::http::{Request, Response, form};
use crate::hub::board::Board;
use crate::message::{Direction, MessageId, Origin, State, unpack_raw};
use crate::store::{Detail, Query, Reader, Row, StoreError};
use askama::Template;

/// So many octets are shown of what was received, of each part.
const SHOWN: usize = 2_048;
/// So many octets stand on a line.
const LINE: usize = 16;
/// Answers follow their question soon: they are looked for among so many messages to the same person.
const FOLLOWING: usize = 100;

/// What became of a person's decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is on disk.
    Done,
    /// The message had gone too far.
    TooLate,
    /// The router could not take it just now.
    Refused,
}

const OUTCOMES: [(Outcome, &str, &str); 3] = [
    (Outcome::Done, "done", "Done: it is as you decided."),
    (
        Outcome::TooLate,
        "late",
        "Too late: the message had gone too far for that, and nothing was changed. This is where it stands now.",
    ),
    (
        Outcome::Refused,
        "refused",
        "Nothing was changed: the router is too busy, stopping, or cannot write to its disk. Try again soon.",
    ),
];

/// The page of a message, which says what became of a decision about it.
pub fn decided(id: MessageId, outcome: Outcome) -> String {
    let word = OUTCOMES.iter().find(|(known, ..)| *known == outcome).map_or("", |(_, word, _)| word);
    format!("/messages/{id}/?outcome={word}")
}

/// Something that a person may decide.
struct Choice {
    state: State,
    name: &'static str,
    meaning: &'static str,
}

const CHOICES: [Choice; 3] = [
    Choice { state: State::Queued, name: "Release", meaning: "send it now" },
    Choice { state: State::Held, name: "Hold", meaning: "keep it until it is released" },
    Choice { state: State::Cancelled, name: "Cancel", meaning: "never send it" },
];

/// What may be decided about a message in this state. One that is in its backend's hands is nobody's to decide about.
fn choices(state: State) -> impl Iterator<Item = &'static Choice> {
    CHOICES.iter().filter(move |choice| state != State::Sending && state.may_become(choice.state))
}

/// A state in a sentence, and what to do.
fn meaning(row: &Row) -> &'static str {
    match (row.state, row.direction) {
        (State::Received, _) => "It is safe on disk; the apps have not finished with it.",
        (State::Handled, _) => "The apps are done with it.",
        (State::Failed, Direction::In) => "No app could handle it, because one failed. The log says more.",
        (State::Failed, Direction::Out) => {
            "It was given up and will not be tried again. If it still matters, send it anew."
        }
        (State::Quarantined, _) => {
            "It was set aside, for it could not be read, or the program died of it. What came is kept below."
        }
        (State::Duplicate, _) => "The same message came before. It is counted, and not handled again.",
        (State::Queued, _) => "It waits for its turn, its time, or the next attempt.",
        (State::Sending, _) => "It is in its backend's hands.",
        (State::Sent, _) => "The carrier took it. Whether it arrived is not known yet, or never will be.",
        (State::Delivered, _) => "The carrier says that it arrived.",
        (State::Expired, _) => "It could not be sent while it was worth sending.",
        (State::Cancelled, _) => "It was stopped and will not be sent.",
        (State::Uncertain, _) => "An attempt may have left or not. It is tried once more.",
        (State::Held, _) => "It waits for a person: release it or cancel it. It delays nobody else.",
    }
}

/// Octets as they came.
struct Octets {
    /// Which part of the message; none when there is but one.
    part: Option<u16>,
    length: usize,
    dump: String,
}

impl Octets {
    fn of(part: Option<u16>, raw: &[u8]) -> Octets {
        let mut dump = String::new();
        for (index, line) in raw.get(..SHOWN.min(raw.len())).unwrap_or_default().chunks(LINE).enumerate() {
            let hex: Vec<_> = line.iter().map(|octet| format!("{octet:02x}")).collect();
            let signs = line.iter().map(|octet| match octet {
                b' '..=b'~' => char::from(*octet),
                _ => '.',
            });
            let signs: String = signs.collect();
            dump.push_str(&format!("{:04x}  {:<47}  {signs}\n", index * LINE, hex.join(" ")));
        }
        Octets { part, length: raw.len(), dump }
    }

    /// Those of a message that was one, or was put together from several parts.
    fn all(row: &Row, raw: Option<&[u8]>) -> Vec<Octets> {
        let Some(raw) = raw else { return Vec::new() };
        let several =
            row.direction == Direction::In && (row.partial || row.parts.is_some_and(|parts| parts > 1));
        match unpack_raw(raw).filter(|_| several) {
            Some(pieces) => pieces.into_iter().map(|(part, raw)| Octets::of(Some(part), raw)).collect(),
            None => vec![Octets::of(None, raw)],
        }
    }

    fn left_out(&self) -> usize {
        self.length.saturating_sub(SHOWN)
    }
}

#[derive(Template)]
#[template(path = "detail.html")]
struct Message<'a> {
    frame: Frame,
    detail: &'a Detail,
    row: &'a Row,
    meaning: &'static str,
    outcome: &'static str,
    done: bool,
    choices: Vec<&'static Choice>,
    answers: &'a [Row],
    octets: Vec<Octets>,
    tester: bool,
    test: bool,
}

/// `/messages/<id>/`
pub(super) fn page(
    request: &Request,
    id: &str,
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    let detail = match id.parse::<MessageId>() {
        Ok(id) => reader.message(id)?,
        Err(()) => None,
    };
    let Some(detail) = detail else {
        let sentence = "There is no message with this id. It may be so old that it was deleted.";
        return Ok(notice(board, 404, "No such message", sentence));
    };
    let answers = answers(&detail.row, reader)?;
    let pairs = form::pairs(request.query().as_bytes()).unwrap_or_default();
    let word = form::field(&pairs, "outcome").unwrap_or_default();
    Ok(html(&Message {
        frame: Frame::of(board, "/messages/"),
        row: &detail.row,
        meaning: meaning(&detail.row),
        outcome: OUTCOMES.iter().find(|(_, known, _)| *known == word).map_or("", |(.., sentence)| sentence),
        done: word == "done",
        choices: choices(detail.row.state).collect(),
        answers: &answers,
        octets: Octets::all(&detail.row, detail.raw.as_deref()),
        tester: board.backend(&detail.row.backend).is_some_and(|notice| notice.tester),
        test: detail.row.origin == Origin::Test,
        detail: &detail,
    }))
}

/// The answers to a received message among the next ones to the same person, on whatever backend.
fn answers(row: &Row, reader: &mut dyn Reader) -> Result<Vec<Row>, StoreError> {
    if row.direction == Direction::Out {
        return Ok(Vec::new());
    }
    let following = Query {
        identity: Some(row.identity.clone()),
        direction: Some(Direction::Out),
        after: Some(row.id),
        ascending: true,
        limit: FOLLOWING,
        ..Query::default()
    };
    let mut rows = reader.messages(&following)?.messages;
    rows.retain(|answer| answer.in_response_to == Some(row.id));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::row;
    use super::*;
    use crate::message::pack_raw;

    #[test]
    fn only_what_can_become_something_can_be_decided_about() {
        for (state, expected) in [
            (State::Queued, vec!["Hold", "Cancel"]),
            (State::Held, vec!["Release", "Cancel"]),
            (State::Uncertain, vec!["Hold", "Cancel"]),
            (State::Sending, vec![]),
            (State::Sent, vec![]),
            (State::Received, vec![]),
            (State::Cancelled, vec![]),
        ] {
            assert_eq!(choices(state).map(|choice| choice.name).collect::<Vec<_>>(), expected, "{state}");
        }
    }

    #[test]
    fn octets_are_shown_up_to_a_bound() {
        let few = Octets::of(None, b"AT\r\n<b>");
        assert_eq!(few.dump, "0000  41 54 0d 0a 3c 62 3e                             AT..<b>\n");
        let many = Octets::of(Some(2), &[0; 5_000]);
        assert_eq!((many.dump.lines().count(), many.left_out()), (SHOWN / LINE, 5_000 - SHOWN));
    }

    #[test]
    fn octets_of_several_parts_are_told_apart() {
        let packed = pack_raw([(1, &b"one"[..]), (2, &b"two"[..])]);
        let mut row = row(1, "onetwo");
        row.parts = Some(2);
        let parts: Vec<_> =
            Octets::all(&row, Some(&packed)).iter().map(|octets| (octets.part, octets.length)).collect();
        assert_eq!(parts, [(Some(1), 3), (Some(2), 3)]);
        row.parts = None;
        assert_eq!(Octets::all(&row, Some(b"plain")).len(), 1);
        assert!(Octets::all(&row, None).is_empty());
    }
}
