//! The router's thread: drains the shared channel, drives the router, makes each batch durable with one commit, then
//! tells everybody who waited for it. What it does with the backends is in `backends`.

mod backends;

use super::callers::Callers;
use super::rules::policy;
use super::supervisor::{Leaving, Running};
use super::wall;
use super::workforce::Workforce;
use crate::apps::Host;
use crate::hub::board::Board;
use crate::hub::event::{Answered, Event};
use crate::message::{Direction, Name, Outgoing, SendFailure};
use crate::registry::Registry;
use crate::router::{CallOutcome, Refusal, Refused, Router};
use crate::settings::Settings;
use crate::store::StoreError;
use crate::time::{Clock, Timestamp};
use crate::web::intake::Gateways;
use crossbeam_channel::{Receiver, Sender};
use sd_notify::NotifyState;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many events make one batch at most.
const BATCH: usize = 1_024;
/// How often the store is looked after.
const UPKEEP: Duration = Duration::from_secs(60);
/// After so many commits a pause is used to keep the store tidy.
const TIDY_AFTER: u32 = 16;
/// How long a clean stop may take.
pub const STOP_TIME: Duration = Duration::from_secs(9);
/// How long the threads of apps may take to end at a clean stop.
const APPS_STOP_TIME: Duration = Duration::from_secs(2);
/// How long a clean stop waits for calls to programs that are under way.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// So many given-up threads are a reason to begin again with a new process.
const ABANDONED_LIMIT: u32 = 3;

/// Why the router's thread ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// Too many threads were given up: the process should begin again.
    Restart,
}

/// The thread that keeps the store tidy ([`Keeper`](crate::store::Keeper)).
#[derive(Debug)]
pub struct Keeping {
    /// Has room for one, so asking never waits.
    pub asked: Sender<()>,
    /// Ends when `asked` is dropped.
    pub thread: JoinHandle<()>,
}

/// The router's thread.
pub struct Core {
    router: Router,
    registry: Registry,
    settings: Settings,
    events: Receiver<Event>,
    gateways: Gateways,
    board: Board,
    clock: Clock,
    started: Instant,
    running: HashMap<Name, Running>,
    lives: u64,
    /// Backends that were told to stop and are not over yet. As long as one is, its successor of the same name waits.
    leaving: Vec<Leaving>,
    upkeep_at: Instant,
    /// There may be more to delete in a quiet moment.
    purging: bool,
    keeper: Option<Keeping>,
    /// The threads of the apps.
    workforce: Workforce,
    callers: Callers,
    watchdog: Option<Duration>,
    fed_at: Instant,
    stop_by: Option<Instant>,
    ending: Ending,
    /// What to tell after the commit.
    told: Vec<Box<dyn FnOnce(Option<&StoreError>) + Send>>,
}

impl Core {
    /// Prepares the router's thread. `newest` is the time of the newest stored message.
    pub fn new(
        router: Router,
        registry: Registry,
        settings: Settings,
        (gateways, events): (Gateways, Receiver<Event>),
        board: Board,
        newest: Timestamp,
    ) -> Core {
        let started = Instant::now();
        let callers = Callers::new(gateways.mouth.clone());
        Core {
            router,
            registry,
            settings,
            events,
            gateways,
            board,
            clock: Clock::new(wall(), Duration::ZERO, newest),
            started,
            running: HashMap::new(),
            lives: 0,
            leaving: Vec::new(),
            upkeep_at: started + UPKEEP,
            purging: false,
            keeper: None,
            workforce: Workforce::default(),
            callers,
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            fed_at: started,
            stop_by: None,
            ending: Ending::Stopped,
            told: Vec::new(),
        }
    }

    /// Has the store kept tidy by another thread.
    pub fn with_keeper(mut self, keeper: Keeping) -> Core {
        self.keeper = Some(keeper);
        self
    }

    /// Takes over what an earlier process left, starts the apps and the backends. After this the router accepts.
    pub fn start(&mut self) {
        let now = self.now();
        self.router.set_policy(policy(&self.settings));
        self.gateways.kannel.set(self.settings.kannel_server.as_ref());
        for failure in self.router.start_apps(&self.host()) {
            log::error!("{failure}");
        }
        for backend in self.settings.backends.clone() {
            self.start_backend(backend, now);
        }
        self.put_in_order();
        self.turn(now);
        self.board.lock().started_at = Some(now);
    }

    /// What the apps may ask of the daemon.
    fn host(&self) -> Host {
        Host::new(Arc::new(self.gateways.mouth.clone())).with_threads(Arc::new(self.workforce.clone()))
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) -> Ending {
        loop {
            let now = self.now();
            let first = self.wait(now);
            let now = self.now();
            if let Some(event) = first {
                self.apply(event, now);
                for _ in 1..BATCH {
                    match self.events.try_recv() {
                        Ok(event) => self.apply(event, now),
                        Err(_) => break,
                    }
                }
            }
            for Answered { id, app, answer } in self.gateways.mouth.answers() {
                self.router.answer(id, &app, answer, now);
            }
            self.turn(now);
            self.look_after_backends(now);
            self.look_after_store(now);
            self.feed_watchdog();
            if self.may_end() {
                break;
            }
        }
        self.end()
    }

    /// Waits for the first event of the next batch.
    fn wait(&mut self, now: Timestamp) -> Option<Event> {
        let moment = Instant::now();
        let mut until = if self.purging { moment } else { self.upkeep_at };
        if let Some(stop_by) = self.stop_by {
            // Neither upkeep nor stuck threads count any more.
            let last_calls = stop_by - STOP_TIME + LAST_CALLS;
            until = if last_calls > moment { last_calls } else { stop_by };
        }
        if let Some(due) = self.router.wake_at(now) {
            if due <= now {
                return self.events.try_recv().ok();
            }
            until = until.min(moment + due.since(now));
        }
        if let Some(interval) = self.watchdog {
            until = until.min(self.fed_at + interval);
        }
        if self.stop_by.is_none() {
            let running = self.running.values().map(Running::patience);
            for patience in running.chain(self.leaving.iter().map(Leaving::patience)) {
                until = until.min(moment + patience);
            }
        }
        if self.router.store().untidy() >= TIDY_AFTER {
            self.tidy();
        }
        self.events.recv_deadline(until).ok()
    }

    /// Steps, commits, tells, and hands over what is to be sent.
    fn turn(&mut self, now: Timestamp) {
        self.router.step(now);
        let committed = self.router.commit(now);
        let error = committed.as_ref().err();
        // Who is told that something was refused and then asks for the health gets the same answer.
        let trouble = self.router.trouble().map(ToString::to_string);
        self.board.lock().trouble = trouble;
        for told in self.told.drain(..) {
            told(error);
        }
        for outgoing in committed.unwrap_or_default() {
            self.hand_over(outgoing, now);
        }
        for call in self.router.calls() {
            let number = call.number;
            if let Err(why) = self.callers.call(call) {
                log::error!("nobody can call programs about their messages: {why}");
                self.router.called(number, CallOutcome::Failed { answered: false, why }, now);
            }
        }
        let store = self.router.store();
        let (waiting_in, waiting_out) = (store.waiting(Direction::In), store.waiting(Direction::Out));
        let waiting_callbacks = store.waiting_calls();
        let mut board = self.board.lock();
        board.progress_at = now;
        board.counters = self.router.counters();
        board.pending = self.router.pending();
        for (name, notice) in &mut board.backends {
            notice.in_flight = self.router.in_flight(name);
            let capped = self.router.capped(name);
            if notice.capped.as_deref() != capped {
                notice.capped = capped.map(str::to_string);
            }
        }
        (board.waiting_in, board.waiting_out) = (waiting_in, waiting_out);
        board.waiting_callbacks = waiting_callbacks;
    }

    /// Asks for housekeeping; a keeper that is at work already takes what came meanwhile along.
    fn tidy(&self) {
        if let Some(keeper) = &self.keeper {
            let _ = keeper.asked.try_send(());
        }
    }

    fn hand_over(&mut self, outgoing: Outgoing, now: Timestamp) {
        let id = outgoing.id;
        let name = outgoing.by.clone();
        if let (Some(question), 1) = (outgoing.in_response_to, outgoing.attempt) {
            self.board.lock().replied(&name, now.since(question.time()));
        }
        let handed = self.running.get(&name).is_some_and(|running| running.post.send(outgoing).is_ok());
        if !handed {
            // Its mailbox is not as the books say. A new life has an empty one.
            log::error!("backend {name} could not be handed message {id}; it is started again");
            self.router.backend_down(&name);
            self.leave(&name);
            let why = SendFailure::Untried("the backend was not there to take it".into());
            self.router.sent(id, Err(why), now);
        }
    }

    fn apply(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Accept { incoming, told } => {
                let accepted = self.router.accept(&incoming, now);
                if accepted.is_ok() {
                    self.board.lock().came_in(&incoming.connection.backend, now);
                }
                self.tell_after_commit(accepted, told);
            }
            Event::Submit { draft, actor, key, told } => {
                let key = key.as_ref().map(|(key, digest)| (key.as_str(), digest.as_slice()));
                let submitted = self.router.submit(draft, actor, key, now);
                self.tell_after_commit(submitted, told);
            }
            Event::Report { report, told } => {
                let reported = self.router.report(&report, now);
                self.tell_after_commit(reported, told);
            }
            Event::Decide { id, state, actor, told } => {
                let decided = self.router.decide_by_hand(id, state, &actor, now);
                self.tell_after_commit(decided, told);
            }
            Event::Sent { line, id, result } => {
                if result.is_ok() {
                    self.board.lock().left(&line.name, now.since(id.time()), now);
                }
                match result {
                    result if self.is_current(&line) || self.is_leaving(&line) => {
                        self.router.sent(id, result, now);
                    }
                    // What a thread that was given up had in hand is decided already; but that it left is news.
                    Ok(receipt) => self.router.sent_after_all(id, receipt, now),
                    Err(_) => {}
                }
            }
            Event::Called { number, outcome } => self.router.called(number, outcome, now),
            // It only wakes: the answers are taken after each batch.
            Event::Answered => {}
            Event::Ask { backend, question } => self.ask(&backend, question),
            Event::Line { line, news } => self.news(&line, news, now),
            Event::Reload(settings) => self.reload(*settings, now),
            Event::Damaged(what) => {
                log::error!("the store is damaged: {what}; nothing is accepted any more");
                self.router.store_mut().mark_damaged(&what);
            }
            Event::Stop => self.stop(),
            Event::Restart => {
                self.ending = Ending::Restart;
                self.stop();
            }
        }
    }

    fn tell_after_commit<T: Send + 'static>(
        &mut self,
        result: Result<T, Refused>,
        told: crate::hub::event::Told<T>,
    ) {
        self.told.push(Box::new(move |error| match error {
            Some(error) => {
                let refused = Refused::new(Refusal::Store, error.to_string());
                told(result.and(Err(refused)));
            }
            None => told(result),
        }));
    }

    // Upkeep

    fn look_after_store(&mut self, now: Timestamp) {
        if self.stop_by.is_some() {
            return;
        }
        if Instant::now() >= self.upkeep_at {
            self.upkeep_at = Instant::now() + UPKEEP;
            if let Err(error) = self.router.store_mut().still_there() {
                log::error!("{error}");
            }
            for name in self.settings.backends.iter().map(|backend| backend.name.clone()).collect::<Vec<_>>()
            {
                self.start_idle(&name, now);
            }
            self.purging = true;
        }
        if !self.purging || !self.events.is_empty() {
            return;
        }
        // A little in each round, so that nothing that is due waits for the rest.
        self.purging = self.router.purge(now);
        if let Err(error) = self.router.commit(now) {
            log::debug!("nothing was deleted: {error}");
        }
    }

    /// Tells systemd that the router makes progress: only this thread does, and only after a whole round.
    fn feed_watchdog(&mut self) {
        if let Some(interval) = self.watchdog
            && self.fed_at.elapsed() >= interval
        {
            self.fed_at = Instant::now();
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Changes to other settings, all or nothing: whatever can be wrong with them is found before anything changes.
    fn reload(&mut self, settings: Settings, now: Timestamp) {
        if self.stop_by.is_some() {
            return log::warn!("the settings were not reloaded: the router is stopping");
        }
        notify(&[NotifyState::Reloading]);
        let mut apps = match self.registry.build_apps(&settings) {
            Ok(apps) => apps,
            Err(error) => {
                log::error!("the settings were not reloaded, the old ones stay: {error}");
                return notify(&[NotifyState::Ready]);
            }
        };
        for failure in apps.start(&self.host()) {
            log::error!("{failure}");
        }
        let mut old = self.router.set_apps(apps, now);
        for failure in old.stop() {
            log::error!("{failure}");
        }
        self.router.set_policy(policy(&settings));
        self.gateways.kannel.set(settings.kannel_server.as_ref());
        let before = std::mem::replace(&mut self.settings, settings.clone());
        let mut changes = Vec::new();
        for gone in &before.backends {
            if settings.backends.iter().all(|backend| backend.name != gone.name) {
                self.leave(&gone.name);
                self.router.remove_backend(&gone.name);
                self.gateways.intakes.forget(&gone.name);
                self.board.lock().backends.remove(gone.name.as_str());
                changes.push(format!("-{}", gone.name));
            }
        }
        for backend in settings.backends {
            match before.backends.iter().find(|old| old.name == backend.name) {
                Some(old) if *old == backend => {}
                Some(_) => {
                    self.leave(&backend.name);
                    changes.push(format!("~{}", backend.name));
                    self.start_backend(backend, now);
                }
                None => {
                    changes.push(format!("+{}", backend.name));
                    self.start_backend(backend, now);
                }
            }
        }
        self.put_in_order();
        let changes = if changes.is_empty() { "no backend changed".to_string() } else { changes.join(" ") };
        log::info!("the settings were reloaded: {changes}");
        notify(&[NotifyState::Ready]);
    }

    // The end

    fn stop(&mut self) {
        if self.stop_by.is_some() {
            return;
        }
        log::info!("stopping");
        notify(&[NotifyState::Stopping]);
        self.stop_by = Some(Instant::now() + STOP_TIME);
        self.board.lock().stopping = true;
        self.router.stop_intake();
        self.callers.stop();
        for name in self.running.keys().cloned().collect::<Vec<_>>() {
            self.leave(&name);
        }
    }

    fn may_end(&self) -> bool {
        match self.stop_by {
            None => false,
            Some(stop_by) => {
                let quiet = self.leaving.is_empty() && self.router.is_quiet() && self.events.is_empty();
                let now = Instant::now();
                // A call whose answer comes too late is made again by the next process.
                let called = self.router.calls_in_hand() == 0 || now >= stop_by - STOP_TIME + LAST_CALLS;
                quiet && called || now >= stop_by
            }
        }
    }

    fn end(mut self) -> Ending {
        let now = self.now();
        for Leaving { running: Running { line, post, .. }, .. } in std::mem::take(&mut self.leaving) {
            log::error!("backend {} did not stop in time", line.name);
            self.router.backend_abandoned(&line.name, &post.begun(), now);
        }
        for failure in self.router.close(now) {
            log::error!("{failure}");
        }
        self.turn(now);
        // Whoever still waits for an answer gets one.
        self.refuse_the_rest(now);
        self.turn(now);
        // They were told when their apps were stopped; what they have in hand is on disk, and asked for again after the next start.
        for name in self.workforce.wait(APPS_STOP_TIME) {
            log::warn!("{name} is still waiting for somebody; the process ends without it");
        }
        if let Some(Keeping { asked, thread }) = self.keeper.take() {
            drop(asked);
            let _ = thread.join();
        }
        if let Err(error) = self.router.store_mut().close() {
            log::error!("{error}");
        }
        // Closing took a while, and somebody may have asked meanwhile. Nothing is written any more.
        self.refuse_the_rest(now);
        for told in self.told.drain(..) {
            told(None);
        }
        log::info!("stopped");
        self.ending
    }

    /// Takes what lies in the channel; the router refuses it, for it is stopping.
    fn refuse_the_rest(&mut self, now: Timestamp) {
        while let Ok(event) = self.events.try_recv() {
            self.apply(event, now);
        }
    }

    fn now(&mut self) -> Timestamp {
        let reading = self.clock.read(wall(), self.started.elapsed());
        let behind = reading.behind > Duration::ZERO;
        self.router.clock(reading.step, behind);
        let mut board = self.board.lock();
        if behind != (board.clock_behind > Duration::ZERO) && behind {
            log::warn!("the clock lies {:?} behind the newest message; nothing expires", reading.behind);
        }
        board.clock_behind = reading.behind;
        reading.now
    }
}

/// Tells systemd, if there is one; without it nobody misses anything.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd was not told: {error}");
    }
}
