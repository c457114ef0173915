//! The ports of a modem that shows several, as sticks do: each has its own input, one of them has the floor, and what comes unasked goes to
//! some of them only.
//!
//! Real modems differ in where unsolicited codes go: always to the same port, to all, or to that at which they were asked for (3GPP TS
//! 27.005 3.4.1 speaks of one line and leaves it open). One port of many a stick is for the maker's tools and answers with octets that are no
//! text. It is pure: octets in, octets out.

use std::collections::VecDeque;

/// So many ports a modem has at most.
pub const MOST_PORTS: usize = 8;
/// So many octets wait at one port; further ones are lost, as on a real line.
const MOST_WAITING: usize = 8_192;
/// What a port for the maker's tools says to whatever it hears.
const NO_TEXT: [u8; 12] = [0x7E, 0x13, 0x80, 0xFF, 0x0D, 0x00, 0x91, 0x7D, 0x5E, 0x0A, 0xB6, 0x7E];

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortKind {
    /// It takes commands, and all that comes unasked.
    Announces,
    /// It takes commands; nothing comes there unasked.
    Commands,
    /// It takes commands; unasked things come there if `AT+CNMI` was set there last.
    Own,
    /// It is for the maker's tools: whatever it hears, it answers with octets that are no text.
    Diagnosis,
}

impl PortKind {
    /// All of them.
    pub const ALL: [PortKind; 4] =
        [PortKind::Announces, PortKind::Commands, PortKind::Own, PortKind::Diagnosis];

    /// Its word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            PortKind::Announces => "announces",
            PortKind::Commands => "commands",
            PortKind::Own => "own",
            PortKind::Diagnosis => "diagnosis",
        }
    }

    /// Reads a list: `commands,diagnosis,announces`; the error is a sentence.
    pub fn list(text: &str) -> Result<Vec<PortKind>, String> {
        let kinds: Result<Vec<PortKind>, String> = text
            .split(',')
            .map(|word| {
                let found = PortKind::ALL.into_iter().find(|kind| kind.as_str() == word.trim());
                let words = PortKind::ALL.map(PortKind::as_str).join(", ");
                found.ok_or_else(|| format!("{word:?} is no kind of port: {words}"))
            })
            .collect();
        let kinds = kinds?;
        if kinds.len() > MOST_PORTS {
            return Err(format!("{} ports are too many: a modem has {MOST_PORTS} at most", kinds.len()));
        }
        if !kinds.iter().any(|kind| *kind != PortKind::Diagnosis) {
            return Err("one port at least has to take commands".into());
        }
        Ok(kinds)
    }
}

/// The ports of one modem.
#[derive(Debug)]
pub(super) struct Ports {
    kinds: Vec<PortKind>,
    waiting: Vec<VecDeque<u8>>,
    /// Whose words the modem hears, and who hears its answers.
    floor: usize,
    /// Where `AT+CNMI` was set last.
    set_at: Option<usize>,
}

impl Ports {
    pub(super) fn new(kinds: &[PortKind]) -> Ports {
        let kinds = if kinds.is_empty() { vec![PortKind::Announces] } else { kinds.to_vec() };
        let floor = kinds.iter().position(|kind| *kind != PortKind::Diagnosis).unwrap_or_default();
        let waiting = vec![VecDeque::new(); kinds.len()];
        Ports { kinds, waiting, floor, set_at: None }
    }

    pub(super) fn count(&self) -> usize {
        self.kinds.len()
    }

    /// Who hears answers.
    pub(super) fn floor(&self) -> usize {
        self.floor
    }

    /// Who hears what comes unasked.
    pub(super) fn announced_at(&self) -> Vec<usize> {
        let hears = |at: &usize| match self.kinds.get(*at) {
            Some(PortKind::Announces) => true,
            Some(PortKind::Own) => self.set_at == Some(*at),
            _ => false,
        };
        (0..self.kinds.len()).filter(hears).collect()
    }

    /// Octets came at a port. Gives what that port says to it by itself.
    pub(super) fn put(&mut self, port: usize, octets: &[u8]) -> &'static [u8] {
        if self.kinds.get(port) == Some(&PortKind::Diagnosis) {
            return &NO_TEXT;
        }
        if let Some(waiting) = self.waiting.get_mut(port) {
            let room = MOST_WAITING.saturating_sub(waiting.len());
            waiting.extend(octets.iter().take(room));
        }
        &[]
    }

    /// What the modem hears next: a line of whoever has the floor; another port gets it when the modem is at rest.
    pub(super) fn next(&mut self, at_rest: bool) -> Option<Vec<u8>> {
        if at_rest {
            let count = self.kinds.len();
            let turns = (0..count).map(|step| (self.floor + step) % count);
            let waits = |at: &usize| self.waiting.get(*at).is_some_and(|waiting| !waiting.is_empty());
            self.floor = turns.into_iter().find(waits).unwrap_or(self.floor);
        }
        let waiting = self.waiting.get_mut(self.floor)?;
        let ends = |octet: &u8| matches!(octet, b'\r' | 0x1A | 0x1B);
        let end = waiting.iter().position(ends).map_or(waiting.len(), |end| end + 1);
        let piece: Vec<u8> = waiting.drain(..end).collect();
        let text = String::from_utf8_lossy(&piece).to_ascii_uppercase();
        if text.contains("+CNMI=") && !text.contains("+CNMI=?") {
            self.set_at = Some(self.floor);
        }
        (!piece.is_empty()).then_some(piece)
    }

    /// Nobody has this port open any more. Gives whether what it began has to be forgotten.
    pub(super) fn closed(&mut self, port: usize) -> bool {
        self.waiting.get_mut(port).into_iter().for_each(VecDeque::clear);
        self.count() > 1 && port == self.floor
    }

    /// The modem has started anew.
    pub(super) fn forget(&mut self) {
        self.waiting.iter_mut().for_each(VecDeque::clear);
        self.set_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_wrong_ones_refused() {
        use PortKind::{Announces, Commands, Diagnosis};
        assert_eq!(PortKind::list("commands,diagnosis,announces"), Ok(vec![Commands, Diagnosis, Announces]));
        for wrong in ["", "diagnosis", "command", "own,own,own,own,own,own,own,own,own"] {
            assert!(PortKind::list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_port_after_the_other_is_heard_and_announcements_go_where_they_belong() {
        let mut ports = Ports::new(&PortKind::list("own,announces,own,diagnosis").unwrap());
        assert_eq!(ports.announced_at(), [1]);
        assert!(ports.put(0, b"AT+CN").is_empty() && ports.put(2, b"AT\rATE0\r").is_empty());
        assert_eq!(ports.next(true).as_deref(), Some(&b"AT+CN"[..]));
        // The line of the first is not at its end.
        assert_eq!(ports.next(false), None);
        ports.put(0, b"MI=2,1\r");
        assert_eq!(ports.next(false).as_deref(), Some(&b"MI=2,1\r"[..]));
        assert_eq!((ports.next(true).as_deref(), ports.floor()), (Some(&b"AT\r"[..]), 2));
        assert_eq!((ports.next(true).as_deref(), ports.floor()), (Some(&b"ATE0\r"[..]), 2));
        assert_eq!(ports.next(true), None);
        ports.put(2, b"AT+CNMI=2,1\r");
        ports.next(true);
        assert_eq!(ports.announced_at(), [1, 2]);
        assert!(!ports.put(3, b"AT\r").is_empty(), "it answers, and with no text");
    }
}
