//! Calls to programs that want to hear what becomes of their messages ([`Callback`]). A call is owed from the transaction on in which
//! what it tells became true, is made at least once, and after a failure again, until it is answered or its time is over.
//!
//! Whoever makes the calls (the shell's callers) gets them by [`Router::calls`] after a commit and brings back what came of each by [`Router::called`].
//! Hosts are asked in turn, and none may have more than its share in hand. One that is not there, or says no again and again, is paused and then
//! asked by one call at a time, so it costs the others nothing.
//!
//! [`Callback`]: crate::message::Callback

use super::delivery::NextDue;
use super::durable::Change;
use super::{Refused, Router};
use crate::message::{Facts, MessageId, News, State, host_of};
use crate::retry::spread;
use crate::store::{Call, NewCall, StoreError, Wanted};
use crate::time::Timestamp;
use foldhash::HashMap;
use std::time::Duration;

/// A call is tried this long.
pub const CALL_TIME: Duration = Duration::from_secs(48 * 3600);
/// So many calls are in hand at most.
const WINDOW: usize = 128;
/// So many of one host.
const HOST_WINDOW: usize = 32;
/// So many hosts are looked at in one step.
const HOSTS_AT_ONCE: usize = 1_000;
/// How soon the others are looked at.
const NEXT_HOSTS: Duration = Duration::from_secs(1);
/// The wait after a call's first failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// The longest pause of a host: a minute after it is there again it is called.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long after its pause the trouble of a host is remembered.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// So many answers in a row that are no "yes" pause a host that is there.
const PATIENCE: u32 = 3;

/// What came of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallOutcome {
    /// The peer has heard it.
    Done,
    /// It has not, or did not say so.
    Failed {
        /// The peer answered something. Else whoever asks it next will fare no better.
        answered: bool,
        /// In a sentence, without the URL, which may hold a password.
        why: String,
    },
    /// Nobody tried.
    Untried,
}

/// What becomes of a call: a decision, complete in itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Ended,
    PutOff { attempts: u32, due: Timestamp },
    GivenUp { message: MessageId, why: String },
}

/// The calls that are under way, and the hosts that are in trouble.
pub(super) struct Calls {
    in_hand: HashMap<i64, Held>,
    hosts: HashMap<String, Host>,
    /// Taken in the open transaction; given out after its commit.
    taken: Vec<Call>,
    /// To be given out.
    ready: Vec<Call>,
    pub(super) next_due: NextDue,
    /// The host that was given something last.
    last: String,
}

/// A call in hand.
struct Held {
    host: String,
    message: MessageId,
    attempts: u32,
    at: Timestamp,
}

#[derive(Default)]
struct Host {
    in_hand: usize,
    /// In a row.
    failures: u32,
    /// It is paused, or was and has not answered since.
    until: Option<Timestamp>,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            in_hand: HashMap::default(),
            hosts: HashMap::default(),
            taken: Vec::new(),
            ready: Vec::new(),
            next_due: NextDue::Unknown,
            last: String::new(),
        }
    }
}

impl Host {
    /// How many more it may have in hand.
    fn room(&self, now: Timestamp) -> usize {
        let most = match self.until {
            Some(until) if until > now => 0,
            Some(_) => 1,
            None => HOST_WINDOW,
        };
        most.saturating_sub(self.in_hand)
    }

    fn is_idle(&self) -> bool {
        self.in_hand == 0 && self.failures == 0
    }
}

impl Calls {
    /// The commit holds: what was taken may be given out.
    pub(super) fn committed(&mut self) {
        self.ready.append(&mut self.taken);
    }

    /// The commit failed: nothing was taken.
    pub(super) fn undone(&mut self) {
        for call in std::mem::take(&mut self.taken) {
            self.take_back(call.number);
        }
        self.next_due = NextDue::Unknown;
    }

    /// The clock made a step.
    pub(super) fn shift(&mut self, step: Duration) {
        for held in self.in_hand.values_mut() {
            held.at = held.at + step;
        }
        for host in self.hosts.values_mut() {
            host.until = host.until.map(|until| until + step);
        }
        self.next_due = NextDue::Unknown;
    }

    fn hold(&mut self, call: Call) {
        let Call { number, message, attempts, at, .. } = call;
        let host = call.host.clone();
        self.hosts.entry(host.clone()).or_default().in_hand += 1;
        self.in_hand.insert(number, Held { host, message, attempts, at });
        self.taken.push(call);
    }

    fn take_back(&mut self, number: i64) -> Option<Held> {
        let held = self.in_hand.remove(&number)?;
        if let Some(host) = self.hosts.get_mut(&held.host) {
            host.in_hand = host.in_hand.saturating_sub(1);
            if host.is_idle() {
                self.hosts.remove(&held.host);
            }
        }
        self.next_due = NextDue::Unknown;
        Some(held)
    }

    fn is_paused(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|host| host.until.is_some())
    }
}

impl Router {
    /// The calls that the last commits gave out, to be made now. Each comes back by [`called`](Router::called).
    pub fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls.ready)
    }

    /// How many calls are in hand.
    pub fn calls_in_hand(&self) -> usize {
        self.calls.in_hand.len()
    }

    /// Tells what came of a call.
    pub fn called(&mut self, number: i64, outcome: CallOutcome, now: Timestamp) {
        let Some(Held { host, message, attempts, at }) = self.calls.take_back(number) else { return };
        let fate = match outcome {
            CallOutcome::Untried => return,
            CallOutcome::Done => {
                if let Some(host) = self.calls.hosts.get_mut(&host) {
                    (host.failures, host.until) = (0, None);
                }
                if self.calls.hosts.get(&host).is_some_and(Host::is_idle) {
                    self.calls.hosts.remove(&host);
                }
                Fate::Ended
            }
            CallOutcome::Failed { answered, why } => {
                let jitter = (number as u64).wrapping_mul(0x9e37_79b9) ^ u64::from(attempts);
                let peer = self.calls.hosts.entry(host.clone()).or_default();
                peer.failures = peer.failures.saturating_add(1);
                if !answered || peer.failures >= PATIENCE {
                    let pause = wait_after(peer.failures).min(LONGEST_PAUSE);
                    peer.until = Some(now + spread(pause, jitter));
                }
                let attempts = attempts.saturating_add(1);
                let due = now + spread(wait_after(attempts), jitter);
                log::debug!("call {number} to {host} about message {message} failed: {why}");
                if due > at + CALL_TIME && !self.clock_behind {
                    let why = format!("the callback to {host} was given up after {attempts} attempts: {why}");
                    Fate::GivenUp { message, why }
                } else {
                    Fate::PutOff { attempts, due }
                }
            }
        };
        self.record(Change::Call { number, fate, at: now });
    }

    /// Writes what becomes of a call. Written twice it is the same: numbers are never given twice.
    pub(super) fn write_fate(&mut self, number: i64, fate: &Fate, now: Timestamp) -> Result<(), StoreError> {
        match fate {
            Fate::Ended => self.store.end_call(number, now),
            Fate::PutOff { attempts, due } => self.store.put_off_call(number, *attempts, *due),
            Fate::GivenUp { message, why } => {
                log::warn!("message {message}: {why}");
                self.store.note(*message, "router", why, now)?;
                self.store.end_call(number, now)
            }
        }
    }

    /// Something happened to a message: whoever wants to hear it is owed a call, once for each kind of news. `over`: nothing more can happen.
    pub(super) fn tell(
        &mut self,
        id: MessageId,
        news: News,
        reason: Option<&str>,
        over: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(wanted) = self.store.callback(id)? else { return Ok(()) };
        let Wanted { callback, happened, identity, backend, remote_id } = wanted;
        let is_first = happened & news as u8 == 0;
        if !is_first && !over {
            return Ok(());
        }
        let happened = happened | news as u8;
        let host = host_of(&callback.url).filter(|_| is_first && callback.wants(news));
        let Some(host) = host else { return self.store.tell(id, happened, over, None, now) };
        let url = callback.fill(&Facts {
            news: news as u8,
            words: &news.words(reason),
            // A message that was refused has no name there; an earlier attempt may have had one.
            remote_id: remote_id.as_deref().filter(|_| news != News::Refused).unwrap_or_default(),
            id: &name_of(id, news).to_string(),
            backend: &backend,
            identity: &identity,
            seconds: now.0.div_euclid(1_000_000),
        });
        self.make_room_for_a_call(now)?;
        let call = NewCall { host: &host, method: "GET", url: &url, headers: "", body: None };
        self.store.tell(id, happened, over, Some(&call), now)?;
        self.calls.next_due = NextDue::Unknown;
        Ok(())
    }

    /// When too many calls wait, the one that has waited longest makes room. A program that does not listen must keep nobody's message from being accepted.
    fn make_room_for_a_call(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let waiting = self.store.waiting_calls();
        if waiting < self.policy.max_calls {
            return Ok(());
        }
        for Call { number, message, host, .. } in self.store.oldest_calls(1)? {
            let why = format!("the callback to {host} was given up, for {waiting} wait already");
            self.write_fate(number, &Fate::GivenUp { message, why }, now)?;
        }
        Ok(())
    }

    /// Takes the calls that are due, as many as may be in hand.
    pub(super) fn take_calls(&mut self, now: Timestamp) {
        let due = match self.calls.next_due {
            NextDue::Unknown => true,
            NextDue::At(at) => at <= now,
            NextDue::Never => false,
        };
        if due && !self.stopping && self.doomed.is_none() {
            let taken = self.find_calls(now);
            let _: Result<(), Refused> = self.written(taken);
        }
    }

    fn find_calls(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Router { calls, store, .. } = self;
        let mut left = WINDOW.saturating_sub(calls.in_hand.len());
        let mut hosts = Vec::new();
        if left > 0 && store.waiting_calls() > 0 {
            let last = calls.last.clone();
            hosts = store.call_hosts(&last, HOSTS_AT_ONCE)?;
            let others = store.call_hosts("", HOSTS_AT_ONCE - hosts.len())?;
            hosts.extend(others.into_iter().filter(|host| *host <= last));
        }
        for host in &hosts {
            let (room, in_hand) =
                calls.hosts.get(host).map_or((HOST_WINDOW, 0), |host| (host.room(now), host.in_hand));
            let room = room.min(left);
            if room == 0 {
                continue;
            }
            // Those in hand are due as well, and the earliest of all.
            let due = store.due_calls(host, room + in_hand, now)?;
            for call in due
                .into_iter()
                .filter(|call| !calls.in_hand.contains_key(&call.number))
                .take(room)
                .collect::<Vec<_>>()
            {
                calls.last.clone_from(host);
                calls.hold(call);
                left -= 1;
            }
        }
        calls.next_due = if left == 0 {
            // Until one comes back.
            NextDue::Never
        } else if hosts.len() >= HOSTS_AT_ONCE {
            NextDue::At(now + NEXT_HOSTS)
        } else {
            let pauses = calls.hosts.values().filter_map(|host| host.until).filter(|until| *until > now);
            match store.next_call(now)?.into_iter().chain(pauses).min() {
                Some(next) => NextDue::At(next),
                None => NextDue::Never,
            }
        };
        Ok(())
    }

    /// Gives up what has waited too long for a host that is not there.
    pub(super) fn sweep_calls(&mut self, now: Timestamp) -> Result<(), StoreError> {
        const AT_ONCE: usize = 1_000;
        // A host that nobody has called since is forgotten, or there would be more and more of them.
        self.calls
            .hosts
            .retain(|_, host| host.in_hand > 0 || host.until.is_some_and(|until| until + FORGOTTEN > now));
        if self.store.waiting_calls() == 0 {
            return Ok(());
        }
        for Call { number, message, host, attempts, at, .. } in self.store.oldest_calls(AT_ONCE)? {
            let is_old = at + CALL_TIME <= now && !self.calls.in_hand.contains_key(&number);
            // Who was not asked yet, because no router ran, is asked once.
            if is_old && (attempts > 0 || self.calls.is_paused(&host)) {
                let why = format!(
                    "the callback to {host} was given up after {attempts} attempts: its time is over"
                );
                self.write_fate(number, &Fate::GivenUp { message, why }, now)?;
                self.calls.next_due = NextDue::Unknown;
            }
        }
        Ok(())
    }
}

/// The name of a call: that of its message with another random part, so no other call and no message has it, in whatever process it is made.
fn name_of(id: MessageId, news: News) -> MessageId {
    MessageId::from_parts(id.key(), id.tail() ^ (news as i64).wrapping_mul(0x1e37_79b9_7f4a_7c15))
}

/// Whether nothing more can happen to a message in this state.
pub(super) fn is_over(state: State) -> bool {
    matches!(state, State::Delivered | State::Failed | State::Expired | State::Cancelled)
}

/// The wait after so many failures in a row.
fn wait_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_an_hour() {
        let waits: Vec<u64> = (1..=12).map(|failures| wait_after(failures).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn each_call_about_a_message_has_a_name_of_its_own() {
        let id = MessageId::from_parts(7, 9);
        let news = [News::Delivered, News::Failed, News::Buffered, News::Taken, News::Refused];
        let mut names: Vec<_> = news.map(|news| name_of(id, news)).into();
        names.push(id);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6);
    }

    #[test]
    fn a_host_in_trouble_has_room_for_one() {
        let now = Timestamp::from_seconds(100);
        let mut host = Host::default();
        assert_eq!(host.room(now), HOST_WINDOW);
        host.until = Some(Timestamp::from_seconds(101));
        assert_eq!(host.room(now), 0);
        host.until = Some(now);
        assert_eq!(host.room(now), 1);
        host.in_hand = 1;
        assert_eq!(host.room(now), 0);
    }
}
