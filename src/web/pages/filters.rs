//! Filters for the templates: how times, states and what strangers wrote look on a page. Whatever comes out is escaped by the template afterwards.

use crate::http::form;
use crate::message::{Direction, Priority, State};
use crate::time::Timestamp;

/// So much of a text stands in a list; the whole is one click away.
const LISTED: usize = 140;

/// A segment of a path.
#[askama::filter_fn]
pub fn segment(text: &str, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(form::encode(text))
}

/// The address of a conversation.
#[askama::filter_fn]
pub fn conversation(identity: &str, _: &dyn askama::Values, backend: &str) -> askama::Result<String> {
    Ok(super::address(backend, identity))
}

/// A time for people: the day and the second, in UTC.
#[askama::filter_fn]
pub fn moment(at: &Timestamp, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(at.to_string().chars().take(19).map(|sign| if sign == 'T' { ' ' } else { sign }).collect())
}

/// The same to the millisecond.
#[askama::filter_fn]
pub fn exact(at: &Timestamp, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(at.to_string().replace('T', " ").replace('Z', ""))
}

/// How long ago it was.
#[askama::filter_fn]
pub fn ago(at: &Timestamp, _: &dyn askama::Values, now: &Timestamp) -> askama::Result<String> {
    Ok(age(*at, *now))
}

/// Which side of the page a message stands on.
#[askama::filter_fn]
pub fn side(direction: &Direction, _: &dyn askama::Values) -> askama::Result<&'static str> {
    Ok(direction.as_str())
}

/// When its turn comes.
#[askama::filter_fn]
pub fn turn(priority: &Priority, _: &dyn askama::Values) -> askama::Result<&'static str> {
    Ok(match priority {
        Priority::Reply => "as a reply, first",
        Priority::Single => "as a single message, behind replies",
        Priority::Bulk => "as one of many, last",
    })
}

/// How a state looks. The word itself always stands beside the colour.
#[askama::filter_fn]
pub fn tone(state: &State, _: &dyn askama::Values) -> askama::Result<&'static str> {
    Ok(match state {
        State::Handled | State::Sent | State::Delivered => "good",
        State::Received | State::Queued | State::Sending | State::Uncertain | State::Held => "wait",
        State::Duplicate | State::Cancelled => "soft",
        State::Failed | State::Quarantined | State::Expired => "bad",
    })
}

/// A text that somebody wrote, with what has no picture made visible.
#[askama::filter_fn]
pub fn shown(text: &str, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(visible(text))
}

/// The same, cut for a list.
#[askama::filter_fn]
pub fn listed(text: &str, _: &dyn askama::Values) -> askama::Result<String> {
    let mut signs = text.chars();
    let mut listed = visible(&signs.by_ref().take(LISTED).collect::<String>());
    if signs.next().is_some() {
        listed.push('…');
    }
    Ok(listed)
}

/// A number, an address or a name. Signs that turn the direction of writing round have no business in one, and could make it look like another's.
#[askama::filter_fn]
pub fn named(text: &str, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(unturned(text))
}

/// Control characters become their pictures: a page with a raw one is no right HTML, and nobody could see it.
pub(super) fn visible(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let picture = |sign: char| match sign {
        '\n' | '\t' => sign,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(sign)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        _ => sign,
    };
    text.chars().map(picture).collect()
}

/// The same, and what turns the direction of writing or takes no room is written out (Unicode annex 9, clause 2).
fn unturned(text: &str) -> String {
    let mut named = String::with_capacity(text.len());
    for sign in visible(text).chars() {
        match sign {
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
            | '\u{61c}' => {
                named.push_str(&format!("[U+{:04X}]", u32::from(sign)));
            }
            _ => named.push(sign),
        }
    }
    named
}

/// The time between in words, one unit of them.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    let (count, unit) = match seconds {
        0..10 => return "just now".to_string(),
        10..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_picture_gets_one() {
        assert_eq!(visible("a\0\u{1b}[31m\u{7f}\u{9b}\r\nb\tc"), "a␀␛[31m␡\u{fffd}\nb\tc");
        assert_eq!(unturned("\u{202e}1\u{200b}2"), "[U+202E]1[U+200B]2");
        assert_eq!(visible("\u{202e}የ"), "\u{202e}የ", "a text may turn; it is isolated");
    }

    #[test]
    fn an_age_is_said_in_one_unit() {
        let now = Timestamp::from_seconds(1_000_000);
        for (seconds, expected) in [
            (0, "just now"),
            (9, "just now"),
            (10, "10 seconds ago"),
            (60, "1 minute ago"),
            (3_599, "59 minutes ago"),
            (7_200, "2 hours ago"),
            (86_400, "1 day ago"),
            (-50, "just now"),
        ] {
            assert_eq!(age(Timestamp::from_seconds(1_000_000 - seconds), now), expected);
        }
    }
}
