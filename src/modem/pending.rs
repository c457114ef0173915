//! Unsolicited result codes of more than one line, of which the first has come.

use super::dialogue::{Dialogue, Happening, State};
use super::line::Line;
use super::meaning::{SHORTEST_PDU, clean};
use super::urc::{self, Direct, Kind, Recognised, Urc};
use std::time::Duration;

/// So long the rest may take.
pub(super) const REST_OF_URC: Duration = Duration::from_secs(5);
/// No text of the network has more octets; 182 letters are what fits into one.
const QUOTE_LIMIT: usize = 4096;

/// An unsolicited result code whose rest has not come.
#[derive(Clone, Debug)]
pub(super) enum Open {
    Pdu { kind: Kind, header: String, length: Option<usize>, until: Duration },
    Text { header: String, until: Duration },
    Quote { text: String, until: Duration },
}

impl Open {
    pub(super) fn until(&self) -> Duration {
        match self {
            Open::Pdu { until, .. } | Open::Text { until, .. } | Open::Quote { until, .. } => *until,
        }
    }
}

impl Dialogue {
    /// Whether the line belongs to a text that has begun.
    pub(super) fn continues_text(&mut self, line: &Line, out: &mut Vec<Happening>) -> bool {
        match &mut self.open {
            Some(Open::Text { header, .. }) => {
                let (header, text) = (std::mem::take(header), line.text.trim().to_string());
                self.open = None;
                out.push(Happening::Urc(Urc::TextMessage { header, text }));
                true
            }
            Some(Open::Quote { text, .. }) => {
                let code = line.text.trim_start().starts_with(['+', '^']);
                if code && matches!(urc::recognise(clean(&line.text)), Some(Recognised::Whole(_))) {
                    return false;
                }
                text.push('\n');
                text.push_str(line.text.trim_end());
                if !urc::ussd_is_open(text) || text.len() > QUOTE_LIMIT {
                    self.give_up_open(out);
                }
                true
            }
            _ => false,
        }
    }

    /// Whether the line is the PDU that a header announced. While a command is under way, its length must tell: a number of the
    /// SIM has nothing but such digits, too.
    pub(super) fn is_second_half(&self, text: &str) -> bool {
        let Some(Open::Pdu { length, .. }) = &self.open else { return false };
        if !urc::is_hex(text) || self.is_echo(text) {
            return false;
        }
        let waiting = matches!(self.state, State::Waiting(_));
        match length {
            Some(length) if urc::fits(text, *length) => true,
            Some(_) if waiting => false,
            _ => text.len() >= SHORTEST_PDU,
        }
    }

    pub(super) fn take_pdu(&mut self, pdu: &str, out: &mut Vec<Happening>) {
        if let Some(Open::Pdu { kind, header, .. }) = self.open.take() {
            out.push(Happening::Urc(kind.urc(Direct { header, pdu: pdu.to_ascii_uppercase() })));
        }
    }

    /// The rest does not come. A text is given as far as it came.
    pub(super) fn give_up_open(&mut self, out: &mut Vec<Happening>) {
        match self.open.take() {
            Some(Open::Pdu { header, .. } | Open::Text { header, .. }) => {
                out.push(Happening::Urc(Urc::Torn(header)));
            }
            Some(Open::Quote { text, .. }) => out.push(Happening::Urc(urc::ussd(&text))),
            None => {}
        }
    }
}
