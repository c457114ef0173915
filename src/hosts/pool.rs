//! A few threads that run errands, each a try at a time. An errand that wants another try waits without holding a thread, so one that fails
//! delays no other. The pool remembers nothing over its end; whoever gives an errand has it on disk.

use crate::apps::{AppError, Threads};
use crate::phases::said;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something to be done, in one try or several.
pub trait Errand: Send + 'static {
    /// One try. It may wait for somebody, within a bound of its own.
    fn run(&mut self) -> Next;
    /// A try panicked: whoever waits for the errand must be told.
    fn broke(self, why: &str);
}

/// What comes after a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing: it is over, and whoever waits for it was told.
    Over,
    /// Another try, after this long.
    Again(Duration),
}

/// The pool. Dropping it closes it.
pub struct Pool<E: Errand> {
    name: String,
    most: usize,
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    state: Mutex<State<E>>,
    news: Condvar,
}

struct State<E> {
    ready: VecDeque<E>,
    /// By the time of the next try, and a number that keeps those of one instant apart.
    later: BTreeMap<(Instant, u64), E>,
    number: u64,
    workers: usize,
    closed: bool,
}

impl<E: Errand> Pool<E> {
    /// A pool whose threads are called `NAME/1` and so on; it has `most` of them at most, and none before there is something to do.
    pub fn new(name: impl Into<String>, most: usize) -> Pool<E> {
        let state =
            State { ready: VecDeque::new(), later: BTreeMap::new(), number: 0, workers: 0, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new() });
        Pool { name: name.into(), most: most.max(1), shared }
    }

    /// Takes an errand. `Err` when no thread can be had at all; then it is not run.
    pub fn push(&self, errand: E, threads: &dyn Threads) -> Result<(), AppError> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(AppError("it was stopped".into()));
        }
        while state.workers < self.most {
            let shared = Arc::clone(&self.shared);
            let name = format!("{}/{}", self.name, state.workers + 1);
            match threads.start(&name, Box::new(move || shared.work())) {
                Ok(()) => state.workers += 1,
                Err(why) if state.workers == 0 => return Err(why),
                // Those that are there do it.
                Err(why) => {
                    log::warn!("{why}");
                    break;
                }
            }
        }
        state.ready.push_back(errand);
        drop(state);
        self.shared.news.notify_one();
        Ok(())
    }

    /// How many errands are not over and not being tried at the moment.
    pub fn waiting(&self) -> usize {
        let state = self.shared.lock();
        state.ready.len() + state.later.len()
    }

    /// Drops what waits, and tells the threads to end after the try that they are in. It does not wait for them.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let dropped = (std::mem::take(&mut state.ready), std::mem::take(&mut state.later));
        drop(state);
        drop(dropped);
        self.shared.news.notify_all();
    }
}

impl<E: Errand> Drop for Pool<E> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<E: Errand> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Each holder changes plain fields only, so a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(mut errand) = self.next() {
            match catch_unwind(AssertUnwindSafe(|| errand.run())) {
                Ok(Next::Over) => {}
                Ok(Next::Again(wait)) => self.again(errand, wait),
                Err(panic) => errand.broke(said(&*panic)),
            }
        }
    }

    /// Waits for an errand whose time has come; `None` when the pool is closed.
    fn next(&self) -> Option<E> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            let due = state.later.keys().next().map(|(at, _)| *at);
            if due.is_some_and(|at| at <= now)
                && let Some((_, errand)) = state.later.pop_first()
            {
                return Some(self.taken(&state, errand));
            }
            if let Some(errand) = state.ready.pop_front() {
                return Some(self.taken(&state, errand));
            }
            state = match due {
                None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    self.news.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Whoever takes an errand is busy from now on; another one looks after the rest.
    fn taken(&self, state: &State<E>, errand: E) -> E {
        if !state.ready.is_empty() || !state.later.is_empty() {
            self.news.notify_one();
        }
        errand
    }

    fn again(&self, errand: E, wait: Duration) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let at = Instant::now().checked_add(wait).unwrap_or_else(Instant::now);
        state.number += 1;
        let number = state.number;
        state.later.insert((at, number), errand);
        drop(state);
        // Others may be waiting for a later time.
        self.news.notify_one();
    }
}
