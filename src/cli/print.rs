//! How the commands speak: data to standard output, talk to standard error, and nothing that a message says reaches the terminal raw.

use super::Failure;
use crate::time::Timestamp;
use rustix::termios::tcgetwinsize;
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Standard output. Whoever stops reading it (`| head`) has enough: that is no error.
pub(super) struct Out(BufWriter<Stdout>);

impl Out {
    pub(super) fn new() -> Out {
        Out(BufWriter::new(io::stdout()))
    }

    /// One line.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(wrote)
    }

    /// A text as it is.
    pub(super) fn octets(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.0.write_all(octets).map_err(wrote)
    }

    /// One JSON document.
    pub(super) fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document).map_err(io::Error::from).map_err(wrote)?;
        self.line(text)
    }

    /// Nothing is said before this: call it last.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(wrote)
    }
}

fn wrote(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::nobody_reads();
    }
    Failure::failed(format!("standard output cannot be written: {error}"))
}

/// One line, or several, to standard error. When that is gone as well there is nobody to tell.
pub(super) fn say(talk: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{talk}");
}

/// A text that came from outside, on one line and harmless: control characters and those that turn the direction of
/// writing are shown as escapes, so that no message can repaint the terminal or pretend to say something else.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_invisible_guide(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The bidirectional controls of Unicode (UAX #9 clause 2) and the two line breaks that are no control characters.
fn is_invisible_guide(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// How many columns the terminal has; `None` when standard output is no terminal, so that nothing is cut.
pub(super) fn columns() -> Option<usize> {
    const LEAST: u16 = 40;
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let columns = tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    // A terminal that does not know is taken for a common one.
    Some(usize::from(if columns == 0 { 80 } else { columns.max(LEAST) }))
}

/// Lines up cells; the last column of each row takes what is left and is cut to the terminal.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles.
    pub(super) fn new(titles: &[&str]) -> Table {
        Table { rows: vec![titles.iter().map(|title| (*title).to_string()).collect()] }
    }

    /// Adds a row; cells are made harmless.
    pub(super) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| shown(cell)).collect());
    }

    /// The lines, fitted to so many columns.
    pub(super) fn lines(&self, columns: Option<usize>) -> Vec<String> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.width()).max().unwrap_or(0);
            // One long identity must not push everything else off the screen.
            if columns.is_some() { widest.min(LONGEST_CELL) } else { widest }
        };
        let widths: Vec<usize> = (0..count.saturating_sub(1)).map(width).collect();
        self.rows.iter().map(|row| line(row, &widths, columns)).collect()
    }
}

const LONGEST_CELL: usize = 36;

fn line(row: &[String], widths: &[usize], columns: Option<usize>) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (index, cell) in row.iter().enumerate() {
        match widths.get(index) {
            Some(&width) => {
                let cell = if columns.is_some() { cut(cell, width) } else { cell.clone() };
                let space = width.saturating_sub(cell.width()) + 2;
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', space));
                used += width + 2;
            }
            None => match columns {
                Some(columns) => line.push_str(&cut(cell, columns.saturating_sub(used).max(8))),
                None => line.push_str(cell),
            },
        }
    }
    line.trim_end().to_string()
}

/// At most so many columns of it; what is missing is marked.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_string();
    }
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if used + width > columns.saturating_sub(3) {
            break;
        }
        used += width;
        kept.push(character);
    }
    kept + "..."
}

/// A time for people: local with its offset, or UTC.
pub(super) fn moment(at: Timestamp, utc: bool) -> String {
    let Ok(time) = jiff::Timestamp::from_microsecond(at.0) else { return at.to_string() };
    if utc {
        return time.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    }
    let local = time.to_zoned(jiff::tz::TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// The same for a narrow column: without the year and the offset.
pub(super) fn short_moment(at: Timestamp, utc: bool) -> String {
    // YYYY-MM-DD hh:mm:ss: both ends are ASCII, and a time beyond that form is shown as it is.
    let moment = moment(at, utc);
    moment.get(5..19).map_or(moment.clone(), str::to_string)
}

/// `1 message`, `2 messages`.
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        let cases = [
            ("plain, é, አማርኛ, العربية", "plain, é, አማርኛ, العربية"),
            ("two\nlines\tand \x1b[31mred\x07", "two\\nlines\\tand \\u{1b}[31mred\\u{7}"),
            ("\u{202e}evil\u{202c} \u{2066}x\u{2069}", "\\u{202e}evil\\u{202c} \\u{2066}x\\u{2069}"),
            ("\u{9b}31m c1 \u{2028}", "\\u{9b}31m c1 \\u{2028}"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let mut table = Table::new(&["NAME", "TEXT"]);
        table.row(&["a", "short"]);
        table.row(&["wide 漢字", "a text that is much longer than there is room for it"]);
        let lines = table.lines(Some(40));
        assert_eq!(lines[0], "NAME       TEXT");
        assert_eq!(lines[1], "a          short");
        assert_eq!(lines[2], "wide 漢字  a text that is much longer...");
        assert!(lines.iter().all(|line| line.width() <= 40), "{lines:?}");
        assert!(table.lines(None)[2].ends_with("room for it"));
    }

    #[test]
    fn cutting_counts_columns_not_letters() {
        assert_eq!(cut("漢字漢字漢字", 9), "漢字漢...");
        assert_eq!(cut("e\u{301}e\u{301}", 2), "e\u{301}e\u{301}");
    }
}
