//! The threads that call programs about their messages: a small pool, begun with the first call. Which call is due is the router's business; here it is made,
//! and what came of it goes back by the shared channel.
//!
//! One host never has all threads: one that hangs keeps some of them until the time-out, and the others call the others. When a host cannot be reached,
//! what else lies here for it goes back untried, and the router waits.

use crate::http::client::{self, Client, Rules};
use crate::hub::event::{Event, Mouth};
use crate::router::CallOutcome;
use crate::store::Call;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How many threads call.
const THREADS: usize = 4;
/// How many of them may call one host.
const THREADS_OF_A_HOST: usize = 2;
/// How long a whole call may take; about as long as a clean stop.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Nobody reads what is answered; so much of it is taken, so that the connection can be kept.
const ANSWER_LIMIT: usize = 4_096;

/// Makes one call.
type Ask = dyn Fn(&Call) -> CallOutcome + Send + Sync;

/// The pool. It begins with the first call, and ends when it is dropped; a thread in the middle of a call ends after that.
pub(super) struct Callers {
    mouth: Mouth,
    ask: Option<Arc<Ask>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    news: Condvar,
}

/// What lies here.
#[derive(Default)]
struct Desk {
    /// Hosts in the order of their turns, each once.
    turns: VecDeque<String>,
    /// The calls of each.
    calls: HashMap<String, VecDeque<Call>>,
    /// How many threads call each.
    busy: HashMap<String, usize>,
    over: bool,
}

impl Callers {
    pub(super) fn new(mouth: Mouth) -> Callers {
        Callers { mouth, ask: None, shared: Arc::default(), threads: Vec::new() }
    }

    /// The same with something else than the network at the other end.
    #[cfg(test)]
    fn asking(mouth: Mouth, ask: impl Fn(&Call) -> CallOutcome + Send + Sync + 'static) -> Callers {
        let mut callers = Callers::new(mouth);
        callers.ask = Some(Arc::new(ask));
        callers
    }

    /// Has a call made; never waits. Gives the reason when there is nobody who could.
    pub(super) fn call(&mut self, call: Call) -> Result<(), String> {
        if self.threads.is_empty() {
            self.begin()?;
        }
        let mut desk = self.shared.lock();
        desk.add(call);
        drop(desk);
        self.shared.news.notify_one();
        Ok(())
    }

    /// Makes no more calls; what lies here is not tried, and what is being called may end.
    pub(super) fn stop(&self) {
        let mut desk = self.shared.lock();
        desk.over = true;
        let left: Vec<Call> = desk.calls.drain().flat_map(|(_, calls)| calls).collect();
        desk.turns.clear();
        drop(desk);
        self.shared.news.notify_all();
        // The caller of this is the router's own thread, which must not wait for itself: whoever is not heard is simply forgotten, and called by the next process.
        for Call { number, .. } in left {
            let _ = self.mouth.try_say(Event::Called { number, outcome: CallOutcome::Untried });
        }
    }

    fn begin(&mut self) -> Result<(), String> {
        let ask = match &self.ask {
            Some(ask) => Arc::clone(ask),
            None => {
                let rules = Rules {
                    timeout: CALL_TIMEOUT,
                    connect_timeout: CONNECT_TIMEOUT,
                    ca_file: None,
                    answer_limit: ANSWER_LIMIT,
                };
                let client = Client::new(&rules)?;
                let ask: Arc<Ask> = Arc::new(move |call| make(&client, call));
                self.ask.insert(ask).clone()
            }
        };
        for number in 1..=THREADS {
            let (shared, mouth, ask) = (Arc::clone(&self.shared), self.mouth.clone(), Arc::clone(&ask));
            let thread = Builder::new().name(format!("caller/{number}"));
            match thread.spawn(move || shared.serve(&mouth, &*ask)) {
                Ok(thread) => self.threads.push(thread),
                // Fewer do it as well.
                Err(error) if self.threads.is_empty() => {
                    return Err(format!("no thread can be had: {error}"));
                }
                Err(_) => break,
            }
        }
        Ok(())
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls until it is over.
    fn serve(&self, mouth: &Mouth, ask: &Ask) {
        while let Some(call) = self.next() {
            let outcome = catch_unwind(AssertUnwindSafe(|| ask(&call))).unwrap_or_else(|panic| {
                let why = format!("the call panicked: {}", crate::phases::said(&*panic));
                CallOutcome::Failed { answered: true, why }
            });
            let is_there = !matches!(outcome, CallOutcome::Failed { answered: false, .. });
            let others = self.done(&call.host, is_there);
            mouth.say(Event::Called { number: call.number, outcome });
            for Call { number, .. } in others {
                mouth.say(Event::Called { number, outcome: CallOutcome::Untried });
            }
        }
    }

    /// Waits for a call that may be made now.
    fn next(&self) -> Option<Call> {
        let mut desk = self.lock();
        loop {
            if desk.over {
                return None;
            }
            if let Some(call) = desk.take() {
                return Some(call);
            }
            desk = self.news.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A call has ended. Gives back what else lies here for a host that is not there.
    fn done(&self, host: &str, is_there: bool) -> VecDeque<Call> {
        let mut desk = self.lock();
        if let Some(busy) = desk.busy.get_mut(host) {
            *busy -= 1;
            if *busy == 0 {
                desk.busy.remove(host);
            }
        }
        let others = if is_there { VecDeque::new() } else { desk.calls.remove(host).unwrap_or_default() };
        if !others.is_empty() {
            desk.turns.retain(|other| other != host);
        }
        drop(desk);
        // Whoever waited because this host had its share may go on.
        self.news.notify_one();
        others
    }
}

impl Desk {
    fn add(&mut self, call: Call) {
        let calls = self.calls.entry(call.host.clone()).or_default();
        if calls.is_empty() {
            self.turns.push_back(call.host.clone());
        }
        calls.push_back(call);
    }

    /// The next call of the first host that has not its share of the threads. That host is the last from then on.
    fn take(&mut self) -> Option<Call> {
        let busy = |host: &String| self.busy.get(host).copied().unwrap_or(0);
        let place = self.turns.iter().position(|host| busy(host) < THREADS_OF_A_HOST)?;
        let host = self.turns.remove(place)?;
        let calls = self.calls.get_mut(&host)?;
        let call = calls.pop_front();
        if calls.is_empty() {
            self.calls.remove(&host);
        } else {
            self.turns.push_back(host.clone());
        }
        *self.busy.entry(host).or_default() += 1;
        call
    }
}

/// One call over the network. Any answer that begins with a 2 is a "yes".
fn make(client: &Client, call: &Call) -> CallOutcome {
    let headers = call.headers.lines().filter_map(|line| line.split_once(": "));
    let request = client::Call {
        method: call.method.clone(),
        url: call.url.clone(),
        headers: headers.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        body: call.body.clone(),
    };
    // What cannot be asked is no fault of the host.
    if let Err(why) = request.check() {
        return CallOutcome::Failed { answered: true, why };
    }
    match client.ask(&request) {
        Ok(answer) if (200..300).contains(&answer.status) => CallOutcome::Done,
        Ok(answer) => CallOutcome::Failed { answered: true, why: format!("it answered {}", answer.status) },
        Err(trouble) => CallOutcome::Failed { answered: false, why: trouble.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::event;
    use crate::message::MessageId;
    use crate::time::Timestamp;
    use crossbeam_channel::{Receiver, bounded, unbounded};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn call(number: i64, host: &str) -> Call {
        Call {
            number,
            message: MessageId::from_parts(number, 0),
            host: host.into(),
            method: "GET".into(),
            url: format!("http://{host}/"),
            headers: String::new(),
            body: None,
            attempts: 0,
            at: Timestamp(0),
        }
    }

    fn called(events: &Receiver<Event>) -> (i64, CallOutcome) {
        match events.recv_timeout(PATIENCE) {
            Ok(Event::Called { number, outcome }) => (number, outcome),
            Ok(_) => panic!("something else"),
            Err(_) => panic!("no call ends"),
        }
    }

    #[test]
    fn a_host_that_hangs_leaves_threads_for_the_others() {
        let (mouth, events) = event::channel();
        let (open, gate) = bounded::<()>(0);
        let mut callers = Callers::asking(mouth, move |call| {
            if call.host == "hangs" {
                let _ = gate.recv();
            }
            CallOutcome::Done
        });
        for number in 0..20 {
            callers.call(call(number, "hangs")).unwrap();
        }
        for number in 20..40 {
            callers.call(call(number, "well")).unwrap();
        }
        let mut ended: Vec<i64> = (0..20).map(|_| called(&events).0).collect();
        ended.sort_unstable();
        assert_eq!(ended, (20..40).collect::<Vec<_>>());
        drop(open);
        for _ in 0..20 {
            assert!(called(&events).0 < 20);
        }
    }

    #[test]
    fn what_lies_here_for_a_host_that_is_not_there_goes_back_untried() {
        let (mouth, events) = event::channel();
        let (asked, tried) = unbounded();
        let (open, gate) = bounded::<()>(0);
        let mut callers = Callers::asking(mouth, move |call| {
            let _ = asked.send(call.number);
            let _ = gate.recv();
            CallOutcome::Failed { answered: false, why: "nobody is there".into() }
        });
        for number in 0..10 {
            callers.call(call(number, "gone")).unwrap();
        }
        // Both threads that may are at it, so the others lie there.
        for _ in 0..THREADS_OF_A_HOST {
            tried.recv_timeout(PATIENCE).unwrap();
        }
        drop(open);
        let outcomes: Vec<_> = (0..10).map(|_| called(&events).1).collect();
        let untried = outcomes.iter().filter(|outcome| **outcome == CallOutcome::Untried).count();
        assert_eq!(untried, 10 - THREADS_OF_A_HOST);
        assert_eq!(tried.try_iter().count(), 0);
    }

    #[test]
    fn a_stop_drops_what_was_not_begun() {
        let (mouth, events) = event::channel();
        let (asked, tried) = unbounded();
        let (open, gate) = bounded::<()>(0);
        let mut callers = Callers::asking(mouth, move |call| {
            let _ = asked.send(call.number);
            let _ = gate.recv();
            CallOutcome::Done
        });
        for number in 0..5 {
            callers.call(call(number, "slow")).unwrap();
        }
        for _ in 0..THREADS_OF_A_HOST {
            tried.recv_timeout(PATIENCE).unwrap();
        }
        callers.stop();
        for _ in 0..5 - THREADS_OF_A_HOST {
            assert_eq!(called(&events).1, CallOutcome::Untried);
        }
        drop(open);
        for _ in 0..THREADS_OF_A_HOST {
            assert_eq!(called(&events).1, CallOutcome::Done);
        }
    }
}
