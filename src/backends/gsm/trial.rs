//! Which port of a stick announces: decided by where announcements come, never by what a port is called.
//!
//! A stick shows several ports that take commands, and each make has its own way with announcements (3GPP TS 27.005 3.4.1 knows one line
//! only): always at one port, whichever asked for them (Huawei, ZTE); at a port that is configured (Quectel, SIMCom); at each port that asked (u-blox,
//! Cinterion, Telit); at all. No command makes every modem announce something without cost or harm, so nothing is provoked: every
//! port that answers is listened to until the first message comes, and a message that is announced at any of them is fetched at once.
//!
//! | what comes first | what it means |
//! |---|---|
//! | an announcement at the port in use | it is the port |
//! | an announcement at another one, and none at the port in use within [`GRACE`] | that one is the port |
//! | a message that nobody announced | announcing is set on each port: some makes want that |
//! | another one | this stick announces nowhere; the storages are looked through more often |
//!
//! This file is pure: times and observations in, a [`Verdict`] out.

use std::time::Duration;

/// A stick that announces at several ports does so at the same moment, and then nothing has to be changed.
pub const GRACE: Duration = Duration::from_millis(500);
/// A stick whose port stops announcing is tried again so often in one life of the backend.
const TRIALS: u32 = 3;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All other ports are opened and listened to.
    Listen,
    /// The port in use is the one: the others are closed.
    Stay,
    /// This other port is the one.
    Move(usize),
    /// This other port announces and is no good for commands: it stays open beside the port in use.
    Keep(usize),
    /// Announcing is set on every port.
    SetOnEach,
    /// No port announces: the others are closed.
    Nowhere,
}

/// Whether a message that nobody announced tells something about the ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unannounced {
    /// Every port was listened to while it came.
    Surely,
    /// It may have come before.
    Perhaps,
}

/// The search for the port that announces.
#[derive(Debug)]
pub struct Trial {
    stage: Stage,
    trials: u32,
    /// Of the other ports, the one that was tried for commands in vain.
    avoided: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The port in use is believed to be the one.
    Settled,
    /// All are listened to; announcing was set at the port in use.
    Listening,
    /// All are listened to; announcing was set at each.
    SetEverywhere,
    /// This one has announced; perhaps the port in use does as well.
    Heard(usize, Duration),
}

impl Trial {
    /// With a port of which nothing is known yet, or with one that is believed to announce.
    pub fn new(is_known: bool, avoided: Option<usize>) -> Trial {
        let stage = if is_known { Stage::Settled } else { Stage::Listening };
        Trial { stage, trials: u32::from(!is_known), avoided }
    }

    /// Whether the other ports are listened to.
    pub fn is_on(&self) -> bool {
        self.stage != Stage::Settled
    }

    /// An announcement came at the port in use.
    pub fn heard_here(&mut self) -> Option<Verdict> {
        self.ends(Verdict::Stay)
    }

    /// An announcement came at another port.
    pub fn heard_at(&mut self, port: usize, now: Duration) {
        if matches!(self.stage, Stage::Listening | Stage::SetEverywhere) {
            self.stage = Stage::Heard(port, now.saturating_add(GRACE));
        }
    }

    /// A message was found that nobody announced.
    pub fn unannounced(&mut self, how: Unannounced) -> Option<Verdict> {
        match (self.stage, how) {
            (Stage::Settled, _) if self.trials < TRIALS => {
                self.trials += 1;
                self.stage = Stage::Listening;
                Some(Verdict::Listen)
            }
            (Stage::Listening, Unannounced::Surely) => {
                self.stage = Stage::SetEverywhere;
                Some(Verdict::SetOnEach)
            }
            (Stage::SetEverywhere, Unannounced::Surely) => {
                self.trials = TRIALS;
                self.ends(Verdict::Nowhere)
            }
            _ => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Option<Verdict> {
        match self.stage {
            Stage::Heard(port, until) if until <= now => {
                let keep = self.avoided == Some(port);
                self.ends(if keep { Verdict::Keep(port) } else { Verdict::Move(port) })
            }
            _ => None,
        }
    }

    /// When [`Trial::tick`] must be called.
    pub fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Heard(_, until) => Some(until),
            _ => None,
        }
    }

    fn ends(&mut self, verdict: Verdict) -> Option<Verdict> {
        self.is_on().then(|| {
            self.stage = Stage::Settled;
            verdict
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Unannounced::{Perhaps, Surely};
    use super::Verdict::{Keep, Listen, Move, Nowhere, SetOnEach, Stay};
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    #[test]
    fn the_port_that_announces_is_the_port() {
        let mut here = Trial::new(false, None);
        assert_eq!((here.heard_here(), here.is_on()), (Some(Stay), false));
        assert_eq!(here.heard_here(), None, "once");

        let mut there = Trial::new(false, None);
        there.heard_at(1, NOW);
        assert_eq!(there.tick(NOW), None);
        there.heard_at(0, NOW + GRACE / 2);
        assert_eq!(there.deadline(), Some(NOW + GRACE));
        assert_eq!((there.tick(NOW + GRACE), there.is_on()), (Some(Move(1)), false));
    }

    #[test]
    fn where_all_announce_nothing_is_changed() {
        let mut everywhere = Trial::new(false, None);
        everywhere.heard_at(1, NOW);
        assert_eq!(everywhere.heard_here(), Some(Stay));
        assert_eq!(everywhere.tick(NOW + GRACE), None);
    }

    #[test]
    fn one_that_takes_no_commands_is_listened_to_for_good() {
        let mut trial = Trial::new(false, Some(1));
        trial.heard_at(1, NOW);
        assert_eq!(trial.tick(NOW + GRACE), Some(Keep(1)));
    }

    #[test]
    fn what_is_announced_nowhere_ends_the_search() {
        let mut trial = Trial::new(false, None);
        assert_eq!(trial.unannounced(Perhaps), None);
        assert_eq!(trial.unannounced(Surely), Some(SetOnEach));
        assert_eq!(trial.unannounced(Perhaps), None);
        assert_eq!((trial.unannounced(Surely), trial.is_on()), (Some(Nowhere), false));
        assert_eq!(trial.unannounced(Surely), None, "for good");
    }

    #[test]
    fn a_port_that_was_believed_is_doubted_when_it_keeps_silent_and_not_for_ever() {
        let mut trial = Trial::new(true, None);
        trial.heard_at(1, NOW);
        assert_eq!((trial.tick(NOW + GRACE), trial.is_on()), (None, false));
        for _ in 0..TRIALS {
            assert_eq!(trial.unannounced(Surely), Some(Listen));
            assert_eq!(trial.heard_here(), Some(Stay));
        }
        assert_eq!(trial.unannounced(Surely), None);
    }
}
