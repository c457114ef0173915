//! What Kannel's answers to sendsms mean. Pure: status and words in, what becomes of the message out.
//!
//! The words decide before the status, because Kannel has several sentences for one status and other programs put the sentences
//! under another one (its own `http` link answers `202 Authorization failed`). The user's guide does not list them; they are those of a
//! running Kannel 1.4.5, and `tests/kannel/answers.txt` holds each.
//!
//! What is every message's trouble (a wrong password, a wrong address, nobody there) is no message's fault: the message is kept, and the backend goes down with a
//! sentence, to try again after a growing wait.

use crate::http::client::Trouble;
use crate::message::SendFailure;
use std::time::Duration;

/// So long a message waits that Kannel refused for a reason which is not the message's. The backend waits longer each time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A peer that wants more patience is asked again all the same.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);
/// So many characters of an answer are shown.
const SHOWN: usize = 200;

/// What an attempt came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What becomes of the message; a note for people when it was taken.
    pub result: Result<String, SendFailure>,
    /// Why it is useless to go on with the next one at once.
    pub pause: Option<String>,
}

/// What comes of an answer.
pub fn of_answer(status: u16, retry_after: Option<Duration>, body: &str) -> Outcome {
    let words = body.trim();
    let said =
        if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {}", shown(words)) };
    let starts = |beginning: &str| {
        words.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    };
    let later = |why: String| match retry_after {
        Some(wait) => SendFailure::Throttled(wait.min(LONGEST_PATIENCE), why),
        None => SendFailure::Temporary(why),
    };
    let good = (200..300).contains(&status);
    // "0: Accepted for delivery", "3: Queued for later delivery"; "Sent." is what versions before 1.4 said.
    if good && (starts("0:") || starts("3:") || words == "Sent.") {
        return Outcome { result: Ok(shown(words)), pause: None };
    }
    if starts("Authorization failed") {
        return paused(format!(
            "Kannel refuses username and password of sendsms_params, or this machine's address (user-allow-ip) ({said})"
        ));
    }
    if starts("Not routable") {
        return failed(later(format!("Kannel has no link that takes it now ({said})")));
    }
    if starts("Temporal failure") {
        return failed(later(format!("Kannel is busy ({said})")));
    }
    if let Some(why) = REFUSALS.into_iter().find(|(beginning, _)| starts(beginning)).map(|(_, why)| why) {
        let why = if why.is_empty() { said } else { format!("{said}; {why}") };
        return failed(SendFailure::Permanent(format!("Kannel refuses it: {why}")));
    }
    match status {
        200..=299 => Outcome {
            result: Err(SendFailure::Unsure(format!("this is no answer of a Kannel ({said})"))),
            pause: Some(format!("what answers at sendsms_url does not answer as a Kannel does ({said})")),
        },
        300..=399 => paused(format!(
            "sendsms_url leads elsewhere, and a redirection is not followed: write the right address ({said})"
        )),
        400 | 413..=415 | 422 | 431 => failed(SendFailure::Permanent(format!("Kannel refuses it ({said})"))),
        408 | 425 | 429 | 500..=503 => failed(later(format!("Kannel cannot take it now ({said})"))),
        504 => {
            failed(SendFailure::Unsure(format!("something between here and Kannel waited in vain ({said})")))
        }
        401..=499 => {
            paused(format!("sendsms_url is not the address of Kannel's sendsms, or is closed to us ({said})"))
        }
        _ => failed(later(format!("Kannel cannot take it now ({said})"))),
    }
}

/// What comes of a call without an answer.
pub fn of_trouble(trouble: &Trouble) -> Outcome {
    match trouble {
        Trouble::Unreached(why) => {
            Outcome { result: Err(SendFailure::Temporary(why.clone())), pause: Some(why.clone()) }
        }
        // Kannel knows no name of ours for a message, so nobody can be asked whether it has this one.
        Trouble::Unanswered(why) => {
            Outcome { result: Err(SendFailure::Unsure(why.clone())), pause: Some(why.clone()) }
        }
    }
}

/// Refusals of one message: how each begins, and what a person may do about it.
const REFUSALS: [(&str, &str); 16] = [
    ("Missing receiver number", ""),
    ("Empty receiver number", ""),
    ("Number(s) has/have been denied", "it has letters, or stands in one of Kannel's lists"),
    ("Sender missing and no global set", "name the sender as from in sendsms_params"),
    (
        "Charset or body misformed",
        "if this Kannel was built without iconv, say iconv = false in the settings; else check charset",
    ),
    ("Coding field misformed", "check coding"),
    ("MClass field misformed", "check sendsms_params"),
    ("MWI field misformed", "check sendsms_params"),
    ("Priority field misformed", "check sendsms_params"),
    ("PID field misformed", "check sendsms_params"),
    ("RPI field misformed", "check sendsms_params"),
    ("Alt-DCS field misformed", "check sendsms_params"),
    ("DLR-Mask field misformed", "check delivery_report_mask"),
    ("Validity field misformed", "check sendsms_params"),
    ("Deferred field misformed", "check sendsms_params"),
    ("Invalid content-type", ""),
];

fn failed(failure: SendFailure) -> Outcome {
    Outcome { result: Err(failure), pause: None }
}

/// Kept, and not tried again before the backend is.
fn paused(why: String) -> Outcome {
    Outcome { result: Err(SendFailure::Throttled(PATIENCE, why.clone())), pause: Some(why) }
}

/// What a stranger said, on one line and not too long.
fn shown(words: &str) -> String {
    let line: String =
        words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SHOWN).collect();
    if words.chars().nth(SHOWN).is_some() { format!("{line}...") } else { line }
}
