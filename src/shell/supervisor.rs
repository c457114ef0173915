//! Keeps backends alive: one thread each, started again for ever after a growing wait; nothing that happens in one reaches another.

use super::listener::Listener;
use crate::backends::{self, Backend, BackendError, Engine, Line, Post};
use crate::hub::event::{Counter, Event, LineId, LineNews, Mouth};
use crate::message::Name;
use crate::settings::BackendSettings;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A backend that has worked so long is healthy: its next failure counts as the first.
const HEALTHY: Duration = Duration::from_secs(60);
/// The first and the longest wait before a backend is started again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A running backend, as the router's thread holds it.
pub struct Running {
    /// Which life of which backend.
    pub line: LineId,
    /// The way to it.
    pub post: Post,
    /// Its thread.
    pub thread: JoinHandle<()>,
    /// So long it may be at work without a sign.
    pub watchdog: Duration,
}

impl Running {
    /// How much longer it may go on without a sign. One that waits now may begin to work, and be stuck, without a word to anybody.
    pub fn patience(&self) -> Duration {
        self.watchdog.saturating_sub(self.post.busy_for().unwrap_or_default())
    }
}

/// A backend's thread that was told to stop and is not over yet.
pub struct Leaving {
    /// The backend.
    pub running: Running,
    since: Instant,
}

impl Leaving {
    /// Tells a backend to stop. Its thread says [`LineNews::Ended`] as its last act.
    pub fn tell(mut running: Running) -> Leaving {
        running.post.stop();
        Leaving { running, since: Instant::now() }
    }

    /// How much longer its thread may take. One that waits for something else all the time does not listen.
    pub fn patience(&self) -> Duration {
        let silent = self.running.post.busy_for().unwrap_or_else(|| self.since.elapsed());
        self.running.watchdog.saturating_sub(silent)
    }
}

/// Starts a backend's thread. `listener` opens the backend's own listener, if its settings ask for one; it listens as long as the backend works.
pub fn start(
    settings: BackendSettings,
    engine: Engine,
    life: u64,
    mouth: Mouth,
    listener: Option<Listener>,
) -> std::io::Result<Running> {
    let name: Name = settings.name.as_str().into();
    let id = LineId { name: name.clone(), life };
    let window = settings.window.unwrap_or(engine.window);
    let counter = Arc::new(Counter { line: id.clone(), mouth: mouth.clone() });
    let (post, line) = backends::line(name.clone(), window, counter);
    let (thread_line, watchdog) = (id.clone(), settings.watchdog);
    let thread = Builder::new().name(format!("backend/{name}")).spawn(move || {
        supervise(&settings, engine, &line, &thread_line, &mouth, listener.as_ref());
        mouth.say(Event::Line { line: thread_line, news: LineNews::Ended });
    })?;
    Ok(Running { line: id, post, thread, watchdog })
}

fn supervise(
    settings: &BackendSettings,
    engine: Engine,
    line: &Line,
    id: &LineId,
    mouth: &Mouth,
    listener: Option<&Listener>,
) {
    let say = |news| mouth.say(Event::Line { line: id.clone(), news });
    let mut failures: u32 = 0;
    loop {
        let started = Instant::now();
        line.working();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut backend: Box<dyn Backend> = (engine.build)(settings)?;
            match listener {
                Some(listener) => listener.open(&id.name, || backend.run(line)),
                None => backend.run(line),
            }
        }));
        let error = match ended {
            Ok(Ok(())) if line.is_stopping() => return line.give_back("the backend was told to stop first"),
            Ok(Ok(())) => BackendError::Lost("the engine ended by itself".into()),
            Ok(Err(error)) => error,
            Err(panic) => {
                BackendError::Lost(format!("the engine panicked: {}", crate::phases::said(&*panic)))
            }
        };
        line.give_back(&format!("the backend went down: {error}"));
        if line.is_stopping() {
            return;
        }
        let why = match error {
            BackendError::Refused(why) => {
                log::error!("backend {} is parked: {why}", id.name);
                say(LineNews::Parked(why));
                // Only a stop, or a reload that brings other settings, ends this.
                while line.rest(Duration::from_secs(3600)) {}
                return;
            }
            BackendError::Lost(why) => why,
        };
        if started.elapsed() >= HEALTHY {
            failures = 0;
        }
        let wait = backoff(failures);
        failures = failures.saturating_add(1);
        log::warn!("backend {} is down: {why}; trying again in {:.1} s", id.name, wait.as_secs_f32());
        say(LineNews::Down(why));
        if !line.rest(wait) {
            return;
        }
    }
}

/// 1, 2, 4 ... 60 seconds, each up to a fifth longer or shorter, so that several modems on one hub do not start together.
fn backoff(failures: u32) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << failures.min(6)).min(LONGEST_WAIT);
    let mut random = [0; 1];
    // Without randomness the waits are only less spread.
    let _ = getrandom::fill(&mut random);
    crate::retry::spread(wait, u64::from(random[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_restart_waits_grow_to_a_minute() {
        for (failures, seconds) in [(0, 1.0), (1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (4_000_000, 60.0)] {
            let wait = backoff(failures).as_secs_f64();
            assert!((seconds * 0.8..=seconds * 1.2).contains(&wait), "{failures} failures: {wait} s");
        }
    }
}
