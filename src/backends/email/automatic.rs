//! Which mails are never answered (RFC 3834, 2): those that a machine sent, those of lists, bounces, and our own. Pure: headers in, a reason out.
//!
//! A mail that is taken for one of these reaches no app. It is kept and shown, with the reason, so that nothing disappears.

use super::headers::Headers;

/// Header lines that only machines write.
const MACHINES: &[&str] = &[
    "x-autoreply",
    "x-auto-reply",
    "x-autorespond",
    "x-autoresponder",
    "x-autoreply-from",
    "x-mail-autoreply",
    "x-loop",
    "x-failed-recipients",
    "feedback-id",
];

/// Names before the `@` behind which nobody reads.
const NOBODY: &[&str] = &[
    "mailer-daemon",
    "mailerdaemon",
    "postmaster",
    "noreply",
    "no-reply",
    "no_reply",
    "donotreply",
    "do-not-reply",
    "do_not_reply",
    "bounce",
    "bounces",
    "listserv",
    "majordomo",
];

/// Beginnings of subjects that mail programs give to answers of absent people.
const SUBJECTS: &[&str] = &[
    "automatic reply:",
    "auto reply:",
    "auto-reply:",
    "autoreply:",
    "out of office",
    "auto:",
    "automatische antwort",
    "abwesenheitsnotiz",
    "r\u{e9}ponse automatique",
    "respuesta autom\u{e1}tica",
    "resposta autom\u{e1}tica",
];

/// Why this mail is not answered, if so. `sender` is its address, `own` are the addresses of this line, `subject` is decoded.
pub fn reason(headers: &Headers, sender: &str, subject: &str, own: &[&str]) -> Option<String> {
    if let Some(value) = headers.get("auto-submitted") {
        let word = first_word(value);
        if !word.eq_ignore_ascii_case("no") {
            return Some(format!("its header says Auto-Submitted: {}", shown(value)));
        }
    }
    for value in headers.all("precedence") {
        let word = first_word(value).to_ascii_lowercase();
        if ["bulk", "list", "junk", "auto_reply"].contains(&word.as_str()) {
            return Some(format!("its header says Precedence: {word}"));
        }
    }
    if let Some(name) = headers.names().find(|name| name.starts_with("list-")) {
        return Some(format!("it comes from a mailing list (header {name})"));
    }
    if headers.all("return-path").any(|path| path.split_whitespace().collect::<String>() == "<>") {
        return Some("its envelope has no sender, as bounces have".into());
    }
    if let Some(kind) = headers.get("content-type").filter(|kind| starts(kind, "multipart/report")) {
        return Some(format!("it is a report ({})", shown(kind)));
    }
    if let Some(name) = headers.names().find(|name| MACHINES.contains(name)) {
        return Some(format!("only machines write the header {name}"));
    }
    for value in headers.all("x-auto-response-suppress") {
        let asks = |word: &str| {
            ["all", "autoreply", "oof"].iter().any(|known| word.trim().eq_ignore_ascii_case(known))
        };
        if value.split(',').any(asks) {
            return Some("it asks for no automatic answer (X-Auto-Response-Suppress)".into());
        }
    }
    if own.iter().any(|address| address.eq_ignore_ascii_case(sender)) {
        return Some(format!("it comes from this line's own address, {}", shown(sender)));
    }
    let local = sender.rsplit_once('@').map_or(sender, |(local, _)| local).to_ascii_lowercase();
    let list = local.starts_with("owner-") || local.ends_with("-request") || local.ends_with("-owner");
    if list || NOBODY.contains(&local.as_str()) {
        return Some(format!("nobody reads what is sent to {}", shown(sender)));
    }
    let subject = subject.trim().to_lowercase();
    SUBJECTS
        .iter()
        .find(|beginning| subject.starts_with(**beginning))
        .map(|beginning| format!("its subject begins with \"{beginning}\""))
}

fn first_word(value: &str) -> &str {
    value.split([';', ' ', '\t', '(']).next().unwrap_or_default()
}

fn starts(value: &str, beginning: &str) -> bool {
    value.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
}

/// A stranger's words, short and on one line.
fn shown(value: &str) -> String {
    let short: String = value.chars().filter(|letter| !letter.is_control()).take(80).collect();
    if short.len() < value.len() { format!("{short}...") } else { short }
}
