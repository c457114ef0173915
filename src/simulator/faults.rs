//! Misfortunes that wait for their moment.

use super::state::Failure;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// So many misfortunes are remembered at most.
const MOST: usize = 1_000;

/// What happens to a message that is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SendFault {
    /// It is refused.
    Refuse(Failure),
    /// It leaves, and nobody is told.
    LoseAnswer,
    /// It leaves, and is answered without its reference.
    Bare,
    /// It leaves, and the answer takes so much longer.
    Late(Duration),
}

/// What happens to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CommandFault {
    /// It is answered like this, and not done.
    Refuse(Failure),
    /// It is not heard at all.
    Ignore,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// For the messages to come, in their order.
    sends: VecDeque<Option<SendFault>>,
    /// For commands that begin so, so many times.
    commands: Vec<(String, CommandFault, u32)>,
    /// It neither hears nor speaks until then.
    pub silent_until: Option<Timestamp>,
    /// Every answer takes so much longer.
    pub slow: Duration,
    /// Octets leave one by one, so far apart.
    pub chop: Option<Duration>,
    /// The lines of its noise come in the middle of answers.
    pub interrupt: u32,
}

impl Faults {
    /// The message at this place, 1 for the next, has this fate; `count` of them in a row.
    pub(super) fn at_send(&mut self, place: usize, count: usize, fault: &SendFault) {
        let end = place.saturating_sub(1).saturating_add(count).min(MOST);
        while self.sends.len() < end {
            self.sends.push_back(None);
        }
        for index in place.saturating_sub(1)..end {
            self.sends[index] = Some(fault.clone());
        }
    }

    /// The fate of the message that is sent now.
    pub(super) fn next_send(&mut self) -> Option<SendFault> {
        self.sends.pop_front().flatten()
    }

    /// The next `count` commands that begin so have this fate.
    pub(super) fn at_command(&mut self, prefix: &str, count: u32, fault: CommandFault) {
        if self.commands.len() < MOST {
            self.commands.push((prefix.to_ascii_uppercase(), fault, count));
        }
    }

    /// The fate of this command, which is written as typed behind `AT`.
    pub(super) fn next_command(&mut self, line: &str) -> Option<CommandFault> {
        let line = line.to_ascii_uppercase();
        let found = self.commands.iter().position(|(prefix, ..)| line.starts_with(prefix.as_str()))?;
        let (_, fault, left) = &mut self.commands[found];
        let fault = fault.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.commands.remove(found);
        }
        Some(fault)
    }

    /// All is well again.
    pub(super) fn clear(&mut self) {
        *self = Faults::default();
    }
}
