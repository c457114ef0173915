//! What a person wrote, without what their mail program put around it: the mail that is answered, and the signature. Pure and linear.
//!
//! Nothing marks these for certain but `>` and the line `-- ` (RFC 3676, 4.3 and 4.5); the rest are habits of common mail programs. A letter that is not
//! recognised stays whole: an app sees too much rather than too little.

/// What to leave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stripping {
    /// The mail that is answered.
    pub quotes: bool,
    /// The signature.
    pub signature: bool,
}

/// The last lines that telephones add, by their beginnings.
const DEVICES: &[&str] = &[
    "sent from my ",
    "sent from mail for windows",
    "sent from yahoo mail",
    "sent from outlook",
    "get outlook for ",
    "von meinem ",
    "gesendet von ",
    "envoy\u{e9} de mon ",
    "enviado desde mi ",
    "enviado do meu ",
    "inviato da ",
];

/// Lines above a mail that is answered, as whole lines without the dashes around them.
const ORIGINALS: &[&str] = &[
    "original message",
    "original appointment",
    "urspr\u{fc}ngliche nachricht",
    "message d'origine",
    "message original",
    "mensaje original",
    "mensagem original",
    "messaggio originale",
    "forwarded message",
];

/// Ends of the line that says who wrote what follows: `On Monday, Ada wrote:`.
const WROTE: &[&str] =
    &["wrote:", "schrieb:", "a \u{e9}crit:", "a \u{e9}crit :", "escribi\u{f3}:", "escreveu:", "ha scritto:"];

/// The text that was written.
pub fn strip(text: &str, stripping: Stripping) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if stripping.quotes {
        cut_original(&mut lines);
        drop_quoted(&mut lines);
    }
    if stripping.signature {
        cut_signature(&mut lines);
    }
    lines.join("\n").trim().to_string()
}

/// Cuts where another mail begins that is not marked line by line.
fn cut_original(lines: &mut Vec<&str>) {
    let begins = (0..lines.len()).find(|&index| {
        let line = lines[index].trim();
        let bare = line.trim_matches(['-', '_', ' ', '*']).to_lowercase();
        let dashed = line.starts_with("--") || line.starts_with("__");
        if dashed && ORIGINALS.contains(&bare.as_str()) {
            return true;
        }
        if dashed && bare.is_empty() && line.len() >= 20 {
            return is_head(&lines[index + 1..]);
        }
        // The line that says who wrote it, and then no mark on what follows.
        (ends_attribution(line) && starts_attribution(lines, index))
            && !next_words(&lines[index + 1..]).is_some_and(|next| next.starts_with('>'))
            && next_words(&lines[index + 1..]).is_some()
            || (index > 0 && lines[index - 1].is_empty() && is_head(&lines[index..]))
    });
    if let Some(begins) = begins {
        // A line that is wrapped after the date begins one higher.
        let wrapped = begins > 0
            && ends_attribution(lines[begins])
            && !begins_like_attribution(lines[begins])
            && begins_like_attribution(lines[begins - 1]);
        lines.truncate(if wrapped { begins - 1 } else { begins });
    }
}

/// Leaves out the lines that begin with `>`, and the one above that says whose they are.
fn drop_quoted(lines: &mut Vec<&str>) {
    let quoted = |line: &str| line.trim_start().starts_with('>');
    if !lines.iter().any(|line| quoted(line)) {
        return;
    }
    let mut kept: Vec<&str> = Vec::with_capacity(lines.len());
    let mut within = false;
    for line in lines.iter() {
        if !quoted(line) {
            within = false;
            kept.push(line);
            continue;
        }
        if !within {
            within = true;
            let blanks = kept.iter().rev().take_while(|line| line.is_empty()).count();
            let above = kept.len() - blanks;
            if above > 0 && (ends_attribution(kept[above - 1]) || is_plain_attribution(kept[above - 1])) {
                let wrapped = above > 1
                    && !begins_like_attribution(kept[above - 1])
                    && begins_like_attribution(kept[above - 2]);
                kept.truncate(if wrapped { above - 2 } else { above - 1 });
            }
        }
    }
    *lines = kept;
}

fn cut_signature(lines: &mut Vec<&str>) {
    // Trailing blanks are gone, so the line `-- ` has two letters left.
    if let Some(begins) = lines.iter().position(|line| *line == "--") {
        lines.truncate(begins);
    }
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if let Some(last) = lines.last() {
        let last = last.trim().to_lowercase();
        if DEVICES.iter().any(|device| last.starts_with(device)) {
            lines.pop();
        }
    }
}

/// `From:` and three more header lines, as some programs put them above the mail that is answered.
fn is_head(lines: &[&str]) -> bool {
    let names = ["from:", "sent:", "date:", "to:", "subject:", "cc:"];
    let local = ["von:", "gesendet:", "an:", "betreff:", "de :", "envoy\u{e9} :", "\u{e0} :", "objet :"];
    let mut found = 0;
    for line in lines.iter().filter(|line| !line.is_empty()).take(4) {
        let line = line.trim_start_matches('*').trim().to_lowercase();
        if names.iter().chain(&local).any(|name| line.starts_with(name)) {
            found += 1;
        }
    }
    found >= 3
}

fn next_words<'a>(lines: &[&'a str]) -> Option<&'a str> {
    lines.iter().map(|line| line.trim_start()).find(|line| !line.is_empty())
}

fn ends_attribution(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    WROTE.iter().any(|wrote| line.ends_with(wrote))
}

/// `Ada Lovelace <ada@example.org>, 3 May:` and the like, which counts only right above a quotation.
fn is_plain_attribution(line: &str) -> bool {
    let line = line.trim();
    line.ends_with(':')
        && line.len() < 200
        && (line.contains('@') || line.contains(|l: char| l.is_ascii_digit()))
}

fn begins_like_attribution(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    ["on ", "am ", "le ", "el ", "em ", "il "].iter().any(|word| line.starts_with(word))
}

fn starts_attribution(lines: &[&str], index: usize) -> bool {
    begins_like_attribution(lines[index]) || index > 0 && begins_like_attribution(lines[index - 1])
}
