//! The backends' side of the router's thread: starting and stopping their threads, what they say about themselves, and giving up those that are stuck.

use super::{ABANDONED_LIMIT, Core, Ending, UPKEEP};
use crate::hub::board::{BackendNotice, BackendState, GroupNotice};
use crate::hub::event::{LineId, LineNews, Question};
use crate::hub::latency::Histogram;
use crate::message::Name;
use crate::router::BackendPolicy;
use crate::settings::{BackendSettings, GroupSettings, MemberSettings};
use crate::shell::limits;
use crate::shell::listener::Listener;
use crate::shell::rules::backend_policy;
use crate::shell::supervisor::{self, Leaving, Running};
use crate::time::Timestamp;

impl Core {
    /// Passes a question on. Whoever cannot take it says why.
    pub(super) fn ask(&self, name: &str, question: Question) {
        let engine = self.settings.backends.iter().find(|backend| backend.name == name);
        let asks = engine.and_then(|backend| self.registry.engine(backend.engine)).map(|engine| engine.asks);
        let why = match (asks, self.running.get(name), self.board.backend(name)) {
            (None, ..) => format!("no backend named \"{}\" is configured", name.escape_debug()),
            (Some(false), ..) => format!("backend {name} has no network that could be asked"),
            (_, Some(running), Some(notice)) if notice.state == BackendState::Up => {
                match running.post.ask(question) {
                    Ok(()) => return,
                    Err(question) => {
                        return question
                            .answer(Err(format!("backend {name} has too many questions to ask already")));
                    }
                }
            }
            (_, _, notice) => {
                let how = notice.map_or_else(|| "not there".to_string(), |notice| notice.sentence);
                format!("backend {name} does not work at the moment: {how}")
            }
        };
        question.answer(Err(why));
    }

    /// Makes a backend known and starts its thread, unless a former one has not left yet: then it is started when that is over.
    pub(super) fn start_backend(&mut self, settings: BackendSettings, now: Timestamp) {
        let name: Name = settings.name.as_str().into();
        let engine = self.registry.engine(settings.engine).filter(|_| settings.built);
        let window = settings.window.or(engine.map(|engine| engine.window)).unwrap_or(1);
        let shows_answered = engine.is_some_and(|engine| engine.shows_answered);
        let policy = BackendPolicy { shows_answered, ..backend_policy(&settings, window) };
        self.router.set_backend(&name, policy);
        let mut notice = BackendNotice {
            name: name.clone(),
            place: 0,
            engine: settings.engine,
            tester: settings.tester,
            splitting: engine.and_then(|engine| (engine.splitting)(&settings)),
            state: BackendState::Starting,
            sentence: "starting".into(),
            since: now,
            capped: None,
            in_flight: 0,
            failures: 0,
            abandoned: 0,
            last_in: None,
            last_out: None,
            reply_times: Histogram::default(),
            send_times: Histogram::default(),
        };
        if let Some(before) = self.board.backend(&name) {
            (notice.abandoned, notice.last_in, notice.last_out) =
                (before.abandoned, before.last_in, before.last_out);
            (notice.reply_times, notice.send_times) = (before.reply_times, before.send_times);
        }
        self.board.lock().backends.insert(name.clone(), notice);
        let Some(engine) = engine else {
            return self.park(&name, &format!("the engine {} is not in this build", settings.engine), now);
        };
        if let Err(error) = self.gateways.intakes.put(&engine, &settings) {
            log::error!("backend {name} can receive nothing: {error}");
        }
        if self.leaving.iter().any(|leaving| leaving.running.line.name == name) {
            let sentence = "waiting for its former thread to leave";
            return self.board.lock().change(&name, None, sentence, now);
        }
        self.lives += 1;
        let listener = (engine.listens)(&settings).map(|(host, port)| Listener {
            host,
            port,
            limits: limits(&self.settings),
            gateways: self.gateways.clone(),
        });
        let mouth = self.gateways.mouth.clone();
        match supervisor::start(settings, engine, self.lives, mouth, listener) {
            Ok(running) => {
                self.running.insert(name, running);
            }
            Err(error) => {
                let why = format!("its thread could not be started: {error}");
                log::error!("backend {name}: {why}; trying again within {} s", UPKEEP.as_secs());
                self.board.lock().change(&name, Some(BackendState::Down), &why, now);
            }
        }
    }

    /// Starts a configured backend that has no thread, if there is nothing in the way.
    pub(super) fn start_idle(&mut self, name: &str, now: Timestamp) {
        let idle = self.stop_by.is_none()
            && !self.running.contains_key(name)
            && self.leaving.iter().all(|leaving| &*leaving.running.line.name != name);
        let configured = self.settings.backends.iter().find(|backend| backend.name == name && backend.built);
        if let (true, Some(backend)) = (idle, configured) {
            self.start_backend(backend.clone(), now);
            self.put_in_order();
        }
    }

    /// Notes the places of the backends in the settings file, and the groups.
    pub(super) fn put_in_order(&self) {
        let mut board = self.board.lock();
        let member = |member: &MemberSettings| member.backend.as_str().into();
        let group = |group: &GroupSettings| GroupNotice {
            name: group.name.as_str().into(),
            members: group.members.iter().map(member).collect(),
        };
        board.groups = self.settings.groups.iter().map(group).collect();
        for (place, backend) in self.settings.backends.iter().enumerate() {
            if let Some(notice) = board.backends.get_mut(backend.name.as_str()) {
                notice.place = place;
            }
        }
    }

    fn park(&mut self, name: &Name, why: &str, now: Timestamp) {
        self.router.backend_parked(name, why);
        self.board.lock().change(name, Some(BackendState::Parked), why, now);
    }

    /// Tells a backend to stop. It still tells what becomes of what it has in hand.
    pub(super) fn leave(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            self.router.backend_down(name);
            self.leaving.push(Leaving::tell(running));
        }
    }

    pub(super) fn is_current(&self, line: &LineId) -> bool {
        self.running.get(&line.name).is_some_and(|running| running.line == *line)
    }

    pub(super) fn is_leaving(&self, line: &LineId) -> bool {
        self.leaving.iter().any(|leaving| leaving.running.line == *line)
    }

    pub(super) fn news(&mut self, line: &LineId, news: LineNews, now: Timestamp) {
        if news == LineNews::Ended {
            if let Some(place) = self.leaving.iter().position(|leaving| leaving.running.line == *line) {
                // It said so as its last act, so this does not wait.
                let _ = self.leaving.swap_remove(place).running.thread.join();
                self.start_idle(&line.name, now);
            }
            return;
        }
        if !self.is_current(line) {
            return;
        }
        let name = &line.name;
        let (state, sentence) = match news {
            LineNews::Up(sentence) => {
                self.router.backend_up(name);
                if self.board.backend(name).is_some_and(|before| before.state != BackendState::Up) {
                    self.router.release_parked(name);
                }
                log::info!("backend {name} is up: {sentence}");
                (Some(BackendState::Up), sentence)
            }
            LineNews::Note(sentence) => (None, sentence),
            LineNews::Down(why) => {
                self.router.backend_down(name);
                (Some(BackendState::Down), why)
            }
            LineNews::Parked(why) => return self.park(name, &why, now),
            LineNews::Ended => return,
        };
        self.board.lock().change(name, state, &sentence, now);
    }

    /// Gives up threads that are stuck, and replaces them.
    pub(super) fn look_after_backends(&mut self, now: Timestamp) {
        if self.stop_by.is_some() {
            return;
        }
        let stuck = self.running.values().filter(|running| running.patience().is_zero());
        for name in stuck.map(|running| running.line.name.clone()).collect::<Vec<_>>() {
            self.leave(&name);
        }
        while let Some(place) = self.leaving.iter().position(|leaving| leaving.patience().is_zero()) {
            // The thread is not joined: it may never end.
            let Running { line: LineId { name, .. }, post, watchdog, .. } =
                self.leaving.swap_remove(place).running;
            log::error!("backend {name}: its thread gave no sign for {watchdog:?} and was given up");
            self.router.backend_abandoned(&name, &post.begun(), now);
            let total = {
                let mut board = self.board.lock();
                board.abandoned += 1;
                if let Some(notice) = board.backends.get_mut(&name) {
                    notice.abandoned += 1;
                }
                board.abandoned
            };
            if total >= ABANDONED_LIMIT {
                log::error!("{total} threads were given up: this process ends and begins again");
                self.ending = Ending::Restart;
                return self.stop();
            }
            self.start_idle(&name, now);
        }
    }
}
