//! Watching a modem that works: is it in a network, how strong is the signal, does it still have its settings?
//!
//! A question now and then is also the sign of life: a port that stays open while nothing comes back is found out by it.

use super::{Driver, Effect, Job};
use crate::modem::answers::{self, Registration};
use crate::modem::{Answer, Command, storage};
use std::collections::VecDeque;
use std::time::Duration;

/// How often network and signal are asked for.
const USUAL: Duration = Duration::from_secs(60);
/// The same while it is in no network.
const SEARCHING: Duration = Duration::from_secs(5);
/// `AT+COPS?` asks the network on some modems.
const OPERATOR_TIME: Duration = Duration::from_secs(30);

/// One question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// `AT+CREG?`, `AT+CEREG?`, `AT+CGREG?`: by turns until one says that it is registered.
    Network(usize),
    Signal,
    Operator,
    /// Is the routing of messages still as it was set?
    Routing,
}

/// LTE modems say 0 or 3 to the first and the truth to the second.
const NETWORKS: [&str; 3] = ["AT+CREG?", "AT+CEREG?", "AT+CGREG?"];

/// What is asked, and when.
#[derive(Debug, Default)]
pub(super) struct Watch {
    questions: VecDeque<Look>,
    next: Option<Duration>,
    /// The best of this round's answers about networks.
    found: Option<Registration>,
    said: String,
}

impl Watch {
    /// The modem has started anew.
    pub(super) fn forget(&mut self) {
        *self = Watch::default();
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }
}

impl Driver {
    /// Asks for network and signal now.
    pub(super) fn look_at_network(&mut self) {
        self.watch.next = Some(self.now);
    }

    /// Asks, after all else, whether the modem still announces messages.
    pub(super) fn verify(&mut self) {
        if self.facts.routing.is_some() && !self.watch.questions.contains(&Look::Routing) {
            self.watch.questions.push_back(Look::Routing);
        }
    }

    pub(super) fn next_look_at_network(&mut self) -> Option<(Command, Job)> {
        if self.watch.next.is_some_and(|next| next <= self.now) {
            self.watch.next = None;
            self.watch.found = None;
            let asked = [Look::Network(0), Look::Signal, Look::Operator];
            self.watch.questions.retain(|look| *look == Look::Routing);
            self.watch.questions.extend(asked);
        }
        let Some(look) = self.watch.questions.pop_front() else {
            if self.watch.next.is_none() {
                self.round_over();
            }
            return None;
        };
        let command = match look {
            Look::Network(nth) => Command::new(NETWORKS.get(nth).copied().unwrap_or("AT+CREG?")),
            Look::Signal => Command::new("AT+CSQ"),
            Look::Operator => Command::new("AT+COPS?").within(OPERATOR_TIME),
            Look::Routing => Command::new("AT+CNMI?"),
        };
        Some((command, Job::Look(look)))
    }

    pub(super) fn looked(&mut self, look: Look, answer: &Answer) {
        match look {
            Look::Network(nth) => self.network_answer(nth, answer),
            Look::Signal => self.facts.signal = answers::signal(&answer.lines).filter(|_| answer.is_ok()),
            Look::Operator => {
                self.facts.operator = answers::operator(&answer.lines).filter(|_| answer.is_ok())
            }
            Look::Routing => {
                let in_force = storage::routing(&answer.lines).filter(|_| answer.is_ok());
                let set = self.facts.routing;
                if let (Some(set), Some(messages)) = (set, in_force.and_then(|fields| fields.get(1).copied()))
                    && set.messages != messages
                {
                    self.start_over("it does not announce messages any more");
                }
            }
        }
    }

    fn network_answer(&mut self, nth: usize, answer: &Answer) {
        let registration = answers::registration(&answer.lines).filter(|_| answer.is_ok());
        let registered = registration.as_ref().is_some_and(Registration::is_registered);
        if registered || self.watch.found.is_none() {
            self.watch.found = registration.or_else(|| self.watch.found.take());
        }
        if !registered && nth + 1 < NETWORKS.len() {
            self.watch.questions.push_front(Look::Network(nth + 1));
            return;
        }
        self.facts.registration = self.watch.found.take();
        self.come_up();
    }

    /// Something about a network came unasked.
    pub(super) fn registration_news(&mut self, registration: Registration) {
        let registered = registration.is_registered();
        let same = self.facts.registration.as_ref().is_some_and(Registration::is_registered) == registered;
        if registered {
            self.facts.registration = Some(registration);
            self.come_up();
        }
        // Another domain may still be registered, so a loss is asked about, not believed.
        if !same {
            self.look_at_network();
        }
    }

    fn come_up(&mut self) {
        if !self.up && self.facts.may_send() && self.phase == super::Phase::Working {
            self.up = true;
            let sentence = self.facts.sentence();
            self.watch.said.clone_from(&sentence);
            self.effects.push_back(Effect::Up(sentence));
        }
    }

    fn round_over(&mut self) {
        let searching = !self.facts.may_send();
        self.watch.next = Some(self.now.saturating_add(if searching { SEARCHING } else { USUAL }));
        let sentence = self.facts.sentence();
        if sentence != self.watch.said {
            self.watch.said.clone_from(&sentence);
            self.note(&sentence);
        }
    }
}
