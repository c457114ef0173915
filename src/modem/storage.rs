//! What answers about storages and stored messages mean: `+CPMS`, `+CMGL`, `+CMGR`, `+CNMI=?` (27.005 3.2.2, 3.4). Read tolerantly, as in
//! [`super::answers`].

use super::answers::{fields, value};
use super::command::begins_with_name;

/// How full a storage is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Storage {
    /// `SM`, `ME` ...; the answer that sets storages does not repeat it.
    pub name: Option<String>,
    /// Slots in use.
    pub used: u32,
    /// Slots there are.
    pub total: u32,
}

/// Reads an answer to `AT+CPMS?` or `AT+CPMS=...`: for reading, for sending, for what arrives; fewer when the modem has fewer.
pub fn storages(lines: &[String]) -> Option<Vec<Storage>> {
    let fields = fields(value(lines, "+CPMS")?);
    let named = fields.first()?.parse::<u32>().is_err();
    let width = if named { 3 } else { 2 };
    let storages: Vec<Storage> = fields
        .chunks_exact(width)
        .take(3)
        .map_while(|fields| {
            let (name, numbers) =
                if named { (fields.first().cloned(), &fields[1..]) } else { (None, fields) };
            let number = |index: usize| numbers.get(index).and_then(|number| number.parse().ok());
            Some(Storage { name: name.map(short), used: number(0)?, total: number(1)? })
        })
        .collect();
    (!storages.is_empty()).then_some(storages)
}

/// Reads the answer to `AT+CPMS=?`: the names that may be set for reading, for sending and for what arrives. Nested
/// brackets, no brackets, one list for all and empty lists have all been seen.
pub fn storage_choices(lines: &[String]) -> Option<Vec<Vec<String>>> {
    let mut text = value(lines, "+CPMS")?;
    while let Some(inner) = enclosed(text).filter(|inner| inner.contains('(')) {
        text = inner;
    }
    if !text.contains('(') {
        return Some(vec![names(text)]);
    }
    Some(fields(text).iter().take(3).map(|list| names(list.trim_matches(['(', ')']))).collect())
}

/// One stored message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its slot; `None` in an answer to `AT+CMGR`, which names none.
    pub index: Option<u32>,
    /// 0 unread, 1 read, 2 not sent, 3 sent; `None` when the modem does not say.
    pub status: Option<u8>,
    /// Its octets without the service center's address, as the modem counted them.
    pub length: Option<usize>,
    /// Its octets in hexadecimal digits; empty for an empty slot.
    pub pdu: String,
}

impl Stored {
    /// Whether this is an empty slot, which some modems list all the same: no octets, or filled with `00` or `FF`.
    pub fn is_empty(&self) -> bool {
        self.pdu.bytes().all(|digit| digit == b'0')
            || self.pdu.bytes().all(|digit| digit.eq_ignore_ascii_case(&b'f'))
    }

    /// Whether it is one that we wrote (not sent, sent), not one that arrived.
    pub fn is_ours(&self) -> bool {
        matches!(self.status, Some(2 | 3))
    }
}

/// Reads the answer to `AT+CMGL=4`, in PDU mode. Headers glued to the message before them are found; missing fields are missing.
pub fn listed(lines: &[String]) -> Vec<Stored> {
    let mut found: Vec<Stored> = Vec::new();
    for line in lines.iter().flat_map(|line| unglued(line, "+CMGL:")) {
        if let Some(header) = header_of(line, "+CMGL") {
            let fields = fields(header);
            let index = fields.first().and_then(|index| index.parse().ok());
            // A header whose slot cannot be read is of no use: its message could be neither fetched nor deleted.
            if index.is_some() {
                found.push(Stored {
                    index,
                    status: status_in(&fields, 1),
                    length: length_in(&fields, 2),
                    pdu: String::new(),
                });
            }
        } else if let Some(digits) = hexadecimal(line)
            && let Some(last) = found.last_mut().filter(|last| last.pdu.len() + digits.len() <= PDU_LIMIT)
        {
            last.pdu.push_str(&digits);
        }
    }
    found
}

/// Reads the answer to `AT+CMGR=n`, in PDU mode. `None` when there is nothing in the slot, however the modem says so.
pub fn read(lines: &[String]) -> Option<Stored> {
    let mut found: Option<Stored> = None;
    for line in lines.iter().flat_map(|line| unglued(line, "+CMGR:")) {
        if let Some(header) = header_of(line, "+CMGR") {
            let fields = fields(header);
            // Some modems have no status: `+CMGR: ,25` or `+CMGR: 25`.
            let status = if fields.len() >= 2 { status_in(&fields, 0) } else { None };
            found = Some(Stored { index: None, status, length: length_in(&fields, 0), pdu: String::new() });
        } else if let Some(digits) = hexadecimal(line)
            && let Some(found) = found.as_mut().filter(|found| found.pdu.len() + digits.len() <= PDU_LIMIT)
        {
            found.pdu.push_str(&digits);
        }
    }
    found.filter(|found| !found.is_empty())
}

/// Which routings of new messages the modem claims to support (`AT+CNMI=?`): for each of `mode`, `mt`, `bm`, `ds`, `bfr` the values.
pub fn routing_choices(lines: &[String]) -> Option<Vec<Vec<u8>>> {
    let text = value(lines, "+CNMI")?;
    let choices: Vec<Vec<u8>> = fields(text).iter().take(5).map(|list| numbers(list)).collect();
    (!choices.is_empty()).then_some(choices)
}

/// The routing in force (`AT+CNMI?`).
pub fn routing(lines: &[String]) -> Option<Vec<u8>> {
    fields(value(lines, "+CNMI")?).iter().take(5).map(|field| field.parse().ok()).collect()
}

/// A message and its service center's address have 176 octets at most; whoever claims more is not believed.
const PDU_LIMIT: usize = 2 * 512;

fn short(name: String) -> String {
    name.chars().take(16).collect()
}

fn enclosed(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    // `("SM"),("ME")` begins and ends with brackets that do not belong together.
    let mut depth = 0i32;
    let together = inner.chars().all(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth >= 0
    });
    together.then_some(inner)
}

fn names(list: &str) -> Vec<String> {
    fields(list).into_iter().filter(|name| !name.is_empty()).map(short).collect()
}

/// `(0,1)`, `(0-2)`, `(2)` or `2`.
fn numbers(list: &str) -> Vec<u8> {
    let list = list.trim_matches(['(', ')', ' ']);
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse::<u8>().ok()?..=last.trim().parse::<u8>().ok()?.min(15))
    });
    ranges.flatten().take(16).collect()
}

fn header_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim();
    if !begins_with_name(line, name) {
        return None;
    }
    Some(line.get(name.len()..)?.trim_start().trim_start_matches([':', '=']))
}

/// A status as a number, or in the words of text mode.
fn status_in(fields: &[String], at: usize) -> Option<u8> {
    let field = fields.get(at)?;
    match field.as_str() {
        "REC UNREAD" => Some(0),
        "REC READ" => Some(1),
        "STO UNSENT" => Some(2),
        "STO SENT" => Some(3),
        _ => field.parse().ok().filter(|status| *status <= 4),
    }
}

/// The length is the last field; there may be a name before it or not.
fn length_in(fields: &[String], at_least: usize) -> Option<usize> {
    let last = fields.len().checked_sub(1).filter(|last| *last >= at_least)?;
    fields.get(last)?.parse().ok()
}

/// Cuts a line before each header that is glued to what stands before it.
fn unglued<'a>(line: &'a str, header: &str) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some((at, _)) = rest.match_indices(header).find(|(at, _)| *at > 0) {
        let (piece, tail) = rest.split_at(at);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

/// The digits of a line that has nothing else. Whether they make whole octets is for the decoder to say.
fn hexadecimal(line: &str) -> Option<String> {
    let line = line.trim().trim_matches('"');
    let digits = !line.is_empty() && line.bytes().all(|octet| octet.is_ascii_hexdigit());
    digits.then(|| line.to_ascii_uppercase())
}
