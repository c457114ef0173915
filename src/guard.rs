//! The loop guard: ends the conversation of two machines that answer each other.
//!
//! It trips when the text of a connection repeats our last reply or itself, by default three times within a minute, or
//! when so many replies went to one connection as no person reads, by default 30 within five minutes. It forgets by itself: once the other side is quiet for the same
//! time, it is answered again. It remembers digests, not texts, and is bounded.

use crate::message::Connection;
use crate::time::Timestamp;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// What trips the guard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// So many repetitions ...
    pub repetitions: usize,
    /// ... within this time.
    pub repetition_time: Duration,
    /// So many replies to one connection ...
    pub replies: usize,
    /// ... within this time.
    pub reply_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            repetitions: 3,
            repetition_time: Duration::from_secs(60),
            replies: 30,
            reply_time: Duration::from_secs(300),
        }
    }
}

/// Beyond so many connections the quiet ones are forgotten.
const CONNECTIONS: usize = 20_000;

/// Remembers what was said lately, connection by connection.
#[derive(Debug, Default)]
pub struct LoopGuard {
    limits: Limits,
    talks: HashMap<Connection, Talk>,
}

#[derive(Debug, Default)]
struct Talk {
    last_in: Option<u64>,
    last_out: Option<u64>,
    repetitions: VecDeque<Timestamp>,
    replies: VecDeque<Timestamp>,
    seen: Timestamp,
}

impl LoopGuard {
    /// Changes the limits from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A message came in.
    pub fn heard(&mut self, connection: &Connection, text: &str, now: Timestamp) {
        if self.talks.len() >= CONNECTIONS && !self.talks.contains_key(connection) {
            self.forget(now);
        }
        let talk = self.talks.entry(connection.clone()).or_default();
        let digest = Some(digest(text));
        if talk.last_in == digest || talk.last_out == digest {
            talk.repetitions.push_back(now);
            if talk.repetitions.len() > self.limits.repetitions {
                talk.repetitions.pop_front();
            }
        }
        talk.last_in = digest;
        talk.seen = now;
    }

    /// A reply wants to go out. `Err` says why it must not.
    pub fn may_reply(&mut self, connection: &Connection, text: &str, now: Timestamp) -> Result<(), String> {
        let Some(talk) = self.talks.get_mut(connection) else {
            return Ok(());
        };
        let limits = &self.limits;
        drop_before(&mut talk.repetitions, now - limits.repetition_time);
        drop_before(&mut talk.replies, now - limits.reply_time);
        if talk.repetitions.len() >= limits.repetitions {
            return Err(format!(
                "loop guard: the other side repeats us or itself, {} times within {} s",
                limits.repetitions,
                limits.repetition_time.as_secs()
            ));
        }
        if talk.replies.len() >= limits.replies {
            return Err(format!(
                "loop guard: {} replies to this connection within {} s",
                limits.replies,
                limits.reply_time.as_secs()
            ));
        }
        talk.replies.push_back(now);
        talk.last_out = Some(digest(text));
        Ok(())
    }

    fn forget(&mut self, now: Timestamp) {
        let quiet = now - self.limits.reply_time.max(self.limits.repetition_time);
        self.talks.retain(|_, talk| talk.seen > quiet);
        if self.talks.len() >= CONNECTIONS {
            // A flood from more numbers than can be remembered is no conversation of two machines.
            self.talks.clear();
        }
    }
}

fn drop_before(times: &mut VecDeque<Timestamp>, limit: Timestamp) {
    while times.front().is_some_and(|at| *at <= limit) {
        times.pop_front();
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.trim().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(lines: &[(&str, &str, i64)]) -> Vec<bool> {
        let mut guard = LoopGuard::default();
        let peer = Connection::new("zain", "+1");
        lines
            .iter()
            .map(|(text, reply, at)| {
                let now = Timestamp::from_seconds(*at);
                guard.heard(&peer, text, now);
                guard.may_reply(&peer, reply, now).is_ok()
            })
            .collect()
    }

    #[test]
    fn a_machine_that_repeats_itself_is_answered_three_times() {
        let lines: Vec<_> = (0..6).map(|n| ("I am away", "Sorry", n)).collect();
        assert_eq!(talk(&lines), [true, true, true, false, false, false]);
    }

    #[test]
    fn a_machine_that_repeats_our_reply_is_stopped() {
        let lines = [("hi", "a", 0), ("a", "b", 1), ("b", "c", 2), ("c", "d", 3), ("d", "e", 4)];
        assert_eq!(talk(&lines), [true, true, true, false, false]);
    }

    #[test]
    fn slow_repetition_is_a_person() {
        let lines: Vec<_> = (0..10).map(|n| ("ping", "pong", n * 31)).collect();
        assert!(talk(&lines).into_iter().all(|answered| answered));
    }

    #[test]
    fn thirty_replies_in_five_minutes_are_enough() {
        let texts: Vec<String> = (0..40).map(|n| format!("text {n}")).collect();
        let lines: Vec<_> = texts.iter().map(|text| (text.as_str(), "Sorry", 5)).collect();
        let answered = talk(&lines);
        assert_eq!(answered.iter().filter(|answered| **answered).count(), 30);
        assert!(!answered[30]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut guard = LoopGuard::default();
        for n in 0..(CONNECTIONS as i64 * 2) {
            let peer = Connection::new("zain", format!("+{n}"));
            guard.heard(&peer, "x", Timestamp::from_seconds(0));
            assert!(guard.talks.len() <= CONNECTIONS);
        }
    }
}
