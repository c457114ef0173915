//! Threads for apps that wait for somebody: given out by name, counted, and waited for at the end, but not for ever.

use crate::apps::{AppError, Threads};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// So many threads the apps have at most, all together.
const MOST: usize = 256;

/// Gives threads to apps. A clone counts the same threads.
#[derive(Clone, Default)]
pub struct Workforce {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    at_work: Mutex<Vec<String>>,
    left: Condvar,
}

/// One thread's place, given back however the thread ends.
struct Place {
    shared: Arc<Shared>,
    name: String,
}

impl Workforce {
    /// Waits until all have ended, for `patience` at most. Returns the names of those that still work; the process ends without them.
    pub fn wait(&self, patience: Duration) -> Vec<String> {
        let at_work = self.shared.at_work();
        let waited = self.shared.left.wait_timeout_while(at_work, patience, |at_work| !at_work.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Threads for Workforce {
    fn start(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> Result<(), AppError> {
        let place = {
            let mut at_work = self.shared.at_work();
            if at_work.len() >= MOST {
                return Err(AppError(format!(
                    "{name} needs a thread, and the apps have {MOST} already; lower \"workers\" in their settings"
                )));
            }
            at_work.push(name.to_string());
            Place { shared: Arc::clone(&self.shared), name: name.to_string() }
        };
        let run = move || {
            let place = place;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                log::error!("{}: its thread panicked: {}", place.name, crate::phases::said(&*panic));
            }
        };
        // A thread that cannot be had drops `run`, and its place with it.
        let started = Builder::new().name(name.to_string()).spawn(run);
        started.map(drop).map_err(|error| AppError(format!("no thread can be had for {name}: {error}")))
    }
}

impl Shared {
    fn at_work(&self) -> MutexGuard<'_, Vec<String>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut at_work = self.shared.at_work();
        if let Some(place) = at_work.iter().position(|name| *name == self.name) {
            at_work.swap_remove(place);
        }
        self.shared.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_end_are_waited_for_and_those_that_do_not_are_named() {
        let workforce = Workforce::default();
        let (end, told) = crossbeam_channel::bounded::<()>(0);
        for name in ["app/quick/1", "app/broken/1"] {
            let work = move || assert!(name != "app/broken/1", "as the test asked for");
            workforce.start(name, Box::new(work)).unwrap();
        }
        let waits = Box::new(move || assert!(told.recv().is_err()));
        workforce.start("app/stuck/1", waits).unwrap();
        assert_eq!(workforce.wait(Duration::from_millis(200)), ["app/stuck/1"]);
        drop(end);
        assert_eq!(workforce.wait(Duration::from_secs(30)), [] as [&str; 0]);
    }

    #[test]
    fn they_are_bounded() {
        let workforce = Workforce::default();
        let (end, told) = crossbeam_channel::bounded::<()>(0);
        for number in 0..MOST {
            let told = told.clone();
            workforce
                .start(&format!("app/{number}"), Box::new(move || assert!(told.recv().is_err())))
                .unwrap();
        }
        assert!(workforce.start("app/more", Box::new(|| {})).unwrap_err().0.contains("256 already"));
        drop(end);
        assert_eq!(workforce.wait(Duration::from_secs(30)).len(), 0);
    }
}
