//! The message log as CSV (RFC 4180), as it is filtered, for spreadsheets: UTF-8 with a byte order mark, CRLF, every cell quoted.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and whoever sends an SMS would have written it. Such a cell, and a
//! number that would lose its zeros, gets an apostrophe in front, which is how spreadsheets write "this is text". The store is read in pieces, so
//! nobody waits for it; at most [`ROWS`] messages are looked at and [`OCTETS`] written, and the last line says when there is more.

use super::filters::visible;
use super::messages::Filter;
use super::notice;
use crate::http::{Request, Response};
use crate::hub::board::Board;
use crate::message::MessageId;
use crate::store::{PAGE_LIMIT, Reader, Row, StoreError};

/// So many messages are looked at.
const ROWS: usize = 100_000;
/// So large a table may become.
const OCTETS: usize = 32 * 1024 * 1024;
const HEAD: &str = "id,direction,backend,identity,text,state,reason,created_at,updated_at,attempts,parts,in_response_to,duplicate_of,remote_id\r\n";

/// `/messages/export.csv`
pub(super) fn answer(
    request: &Request,
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    let filter = match Filter::of(request) {
        Ok(filter) => filter,
        Err(sentence) => return Ok(notice(board, 400, "Nothing to export", &sentence)),
    };
    Ok(Response::bytes(200, "text/csv; charset=utf-8", table(&filter, reader, ROWS, OCTETS)?.into_bytes())
        .header("Content-Disposition", "attachment; filename=\"messages.csv\"")
        .header("Cache-Control", "no-store"))
}

fn table(filter: &Filter, reader: &mut dyn Reader, rows: usize, octets: usize) -> Result<String, StoreError> {
    let mut table = format!("\u{feff}{HEAD}");
    let mut query = filter.query();
    let fits = filter.test();
    let mut looked = 0;
    loop {
        query.limit = PAGE_LIMIT.min(rows - looked);
        let page = reader.messages(&query)?;
        looked += page.messages.len();
        for row in page.messages.iter().filter(|row| fits(row)) {
            line(&mut table, row);
        }
        match page.next {
            Some(next) if looked >= rows || table.len() >= octets => {
                cell(&mut table, &format!("There are more messages: ask again with after={next}"));
                table.push_str("\r\n");
                return Ok(table);
            }
            Some(next) => query.after = Some(next),
            None => return Ok(table),
        }
    }
}

fn line(table: &mut String, row: &Row) {
    let id = |id: Option<MessageId>| id.map(|id| id.to_string()).unwrap_or_default();
    let cells = [
        &row.id.to_string(),
        row.direction.as_str(),
        &row.backend,
        &row.identity,
        &row.text,
        row.state.as_str(),
        row.reason.as_deref().unwrap_or_default(),
        &row.created_at.to_string(),
        &row.updated_at.to_string(),
    ];
    for text in cells {
        cell(table, text);
        table.push(',');
    }
    // These are numbers, and shall be some.
    let parts = row.parts.map(|parts| parts.to_string()).unwrap_or_default();
    table.push_str(&format!("{},{parts},", row.attempts));
    cell(table, &id(row.in_response_to));
    table.push(',');
    cell(table, &id(row.duplicate_of));
    table.push(',');
    cell(table, row.remote_id.as_deref().unwrap_or_default());
    table.push_str("\r\n");
}

/// One cell, quoted, whose text stays a text.
fn cell(table: &mut String, text: &str) {
    table.push('"');
    if is_number(text) {
        table.push('\'');
    }
    // Where the list separator is a semicolon, what follows one may be a cell of its own, quotes or not; and so may a new line.
    let mut begins = true;
    for sign in visible(text).chars() {
        if begins && is_formula(sign) {
            table.push('\'');
        }
        begins = matches!(sign, ';' | '\t' | '\n') || (begins && (sign.is_whitespace() || sign == '"'));
        table.push(sign);
        if sign == '"' {
            table.push('"');
        }
    }
    table.push('"');
}

/// What begins a formula; the full-width forms as well.
fn is_formula(sign: char) -> bool {
    matches!(sign, '=' | '+' | '-' | '@' | '\t' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}')
}

/// What a spreadsheet takes for a number: zeros in front, and digits beyond the fifteenth, would be lost.
fn is_number(text: &str) -> bool {
    text.starts_with(|sign: char| sign.is_ascii_digit())
        && text.bytes().all(|octet| octet.is_ascii_digit() || b".,eE+- /:".contains(&octet))
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Haystack;
    use super::*;

    fn cell_of(text: &str) -> String {
        let mut table = String::new();
        cell(&mut table, text);
        table
    }

    #[test]
    fn a_cell_stays_a_text() {
        for (text, expected) in [
            ("", r#""""#),
            ("hello", r#""hello""#),
            ("say \"hi\", please", r#""say ""hi"", please""#),
            ("=1+1", r#""'=1+1""#),
            ("  =1+1", r#""  '=1+1""#),
            ("+254700000001", r#""'+254700000001""#),
            ("0712345678", r#""'0712345678""#),
            ("-1", r#""'-1""#),
            ("@SUM(A1)", r#""'@SUM(A1)""#),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("\t=1", "\"'\t'=1\""),
            ("\"=1", r#""""'=1""#),
            ("a;=1", r#""a;'=1""#),
            ("a\r\n=1", "\"a\n'=1\""),
            ("a\r=1", r#""a␍=1""#),
            ("\0=1", r#""␀=1""#),
            ("a=b, c-d", r#""a=b, c-d""#),
            ("01926f00-1234-7abc", r#""01926f00-1234-7abc""#),
        ] {
            assert_eq!(cell_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_table_is_bounded_and_says_where_it_goes_on() {
        let filter = Filter::default();
        let mut reader = Haystack::of(5_500);
        let whole = table(&filter, &mut reader, ROWS, OCTETS).expect("a table");
        assert_eq!(whole.lines().count(), 5_501);
        let cut = table(&filter, &mut reader, 2_500, OCTETS).expect("a table");
        let last = MessageId::from_parts(3_000, 0);
        assert_eq!(cut.lines().count(), 2_502);
        assert!(
            cut.ends_with(&format!("ask again with after={last}\"\r\n")),
            "{}",
            cut.lines().last().unwrap_or_default()
        );
        assert_eq!(table(&filter, &mut reader, ROWS, 1).expect("a table").lines().count(), 1_002);
        assert!(
            table(&filter, &mut Haystack::of(2_500), 2_500, 1 << 30)
                .is_ok_and(|table| !table.contains("ask again"))
        );
    }
}
