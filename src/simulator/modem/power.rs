//! A modem is switched on, forgets its settings, goes and comes back.

use super::{Modem, unacknowledged_entry};
use crate::simulator::Effect;
use crate::simulator::ledger::Entry;
use crate::simulator::state::{Job, Mode, Profile, Timer};
use crate::time::Timestamp;
use std::time::Duration;

impl Modem {
    pub(super) fn start(&mut self, now: Timestamp) {
        let mut ready = now;
        for (milliseconds, line) in self.personality.boot {
            ready = ready.max(now + Duration::from_millis(*milliseconds));
            self.at(now + Duration::from_millis(*milliseconds), Timer::Boot(line));
        }
        self.ready_at = ready;
        if self.profile.noise {
            self.at(now + Duration::from_secs(self.personality.noise_seconds), Timer::Noise);
        }
        self.at(ready, Timer::Network);
    }

    /// All settings are what they were when it was new; the card and the service center remember.
    pub(in crate::simulator) fn reset(&mut self, now: Timestamp) {
        self.record(Entry::new(now, "reset"));
        self.power_off(now);
        self.start(now);
    }

    fn power_off(&mut self, now: Timestamp) {
        if let Some(mut item) = self.pushed.take() {
            self.record(unacknowledged_entry(&item, "the modem was switched off", now));
            item.not_before = now;
            self.network.put_back(item);
        }
        if let Mode::Busy(Job::Transmit(submission)) = std::mem::replace(&mut self.mode, Mode::Command) {
            self.record(submission.refused(
                now,
                "none",
                "the modem was switched off before the network took it",
            ));
        }
        self.call = None;
        self.held.clear();
        self.unsaid.clear();
        self.ussd_at = None;
        self.line.clear();
        self.waiting.clear();
        self.output.clear();
        self.profile = Profile::new(self.personality);
        self.sim.power_on();
        self.faults.silent_until = None;
        // What is beyond the aerial goes on.
        self.timers.retain(|(_, timer)| matches!(timer, Timer::Report { .. } | Timer::Repeat(_)));
    }

    /// Gone from the machine, for so long.
    pub(in crate::simulator) fn unplug(
        &mut self,
        away: Option<Duration>,
        link: Option<String>,
        now: Timestamp,
    ) {
        if self.plugged {
            self.record(Entry::new(now, "unplugged"));
            self.power_off(now);
            self.plugged = false;
            self.effects.push(Effect::Unplugged);
        }
        self.timers.retain(|(_, timer)| !matches!(timer, Timer::Plug { .. }));
        if let Some(away) = away {
            self.at(now + away, Timer::Plug { link });
        }
    }

    /// Back again.
    pub(in crate::simulator) fn plug(&mut self, link: Option<String>, now: Timestamp) {
        if !self.plugged {
            self.plugged = true;
            self.effects.push(Effect::Plugged { link });
            self.start(now);
        }
    }
}
