//! Octets to lines.
//!
//! A line ends at CR, LF or Ctrl-Z, in any number and order; what is empty is no line. NULs and other control characters are
//! dropped, octets above 127 stay. A line that does not end within [`LINE_LIMIT`] is dropped up to its end. The `> ` prompt is no
//! line, because nothing ends it; it is looked for only while [`Assembler::watch`] says that one may come, so that a `>` in a text is
//! never taken for it.
//!
//! Works octet by octet: how the octets were cut into reads makes no difference.

/// Longer lines are dropped. The longest that a modem has reason to send, a message with its header glued to it, is under 500.
pub const LINE_LIMIT: usize = 8 * 1024;

/// What a run of octets turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A line that is not empty.
    Line(Line),
    /// The modem waits for the text of a message.
    Prompt,
    /// A line without an end; the rest of it will be dropped.
    TooLong,
}

/// One line as it came, blanks included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its text. Octets that are not UTF-8 are read as Latin-1, so none is lost.
    pub text: String,
    /// How many line ends stood before it since the last line: two when both that line and this one brought their own. One
    /// means that they may be halves of a line that something else was written into.
    pub endings: u32,
}

/// Where a prompt may come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Watch {
    #[default]
    Nowhere,
    /// At the start of a line, or directly after the echo of this command.
    After(Vec<u8>),
}

/// Makes lines of octets.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    buffer: Vec<u8>,
    dropping: bool,
    returns: u32,
    feeds: u32,
    watch: Watch,
}

impl Assembler {
    /// Looks for the prompt from now on: at the start of a line, or right behind `echo`.
    pub fn watch(&mut self, echo: &str) {
        self.watch = Watch::After(echo.as_bytes().to_vec());
    }

    /// Looks for no prompt any more.
    pub fn unwatch(&mut self) {
        self.watch = Watch::Nowhere;
    }

    /// Takes one octet, and gives what ends with it.
    pub fn push(&mut self, octet: u8) -> Option<Piece> {
        match octet {
            b'\r' | b'\n' | CTRL_Z => self.end(octet),
            b'\t' => self.keep(b' '),
            0..=0x1f | 0x7f => None,
            b'>' if self.prompt_may_stand_here() => {
                self.buffer.clear();
                (self.returns, self.feeds) = (0, 0);
                Some(Piece::Prompt)
            }
            _ => self.keep(octet),
        }
    }

    fn end(&mut self, octet: u8) -> Option<Piece> {
        let full = !self.dropping && self.buffer.iter().any(|octet| *octet != b' ');
        let line = full.then(|| Line { text: text_of(&self.buffer), endings: self.returns.max(self.feeds) });
        if line.is_some() || self.dropping {
            (self.returns, self.feeds) = (0, 0);
        }
        self.buffer.clear();
        self.dropping = false;
        let count = if octet == b'\n' { &mut self.feeds } else { &mut self.returns };
        *count = count.saturating_add(1);
        line.map(Piece::Line)
    }

    fn keep(&mut self, octet: u8) -> Option<Piece> {
        if self.dropping {
            return None;
        }
        if self.buffer.len() >= LINE_LIMIT {
            self.buffer.clear();
            self.dropping = true;
            return Some(Piece::TooLong);
        }
        self.buffer.push(octet);
        None
    }

    fn prompt_may_stand_here(&self) -> bool {
        match &self.watch {
            Watch::Nowhere => false,
            // Behind an endless line the start of a line is not known.
            Watch::After(_) if self.dropping => false,
            Watch::After(echo) => {
                let so_far = self.buffer.trim_ascii();
                so_far.iter().all(|octet| *octet >= 0x80) || so_far == echo.as_slice()
            }
        }
    }
}

/// Ends the text of a message (27.005 3.5.1).
pub const CTRL_Z: u8 = 0x1a;
/// Gives up the text of a message.
pub const ESCAPE: u8 = 0x1b;

fn text_of(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_string(),
        Err(_) => octets.iter().map(|octet| char::from(*octet)).collect(),
    }
}
