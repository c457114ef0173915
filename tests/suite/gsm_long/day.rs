//! Days in seconds: the driver, the real router on a store in memory, and a simulated modem, without threads. Time is a number that
//! jumps to whatever comes next, so nothing that is due can be late, and what is never due again is found: no event may be
//! missing, and none may come for ever at one instant.

use super::books::{Account, Balance, Store};
use crate::rig::{Random, effort};
use rapidsms::apps::echo::Echo;
use rapidsms::apps::{Answers, Host, LateAnswer};
use rapidsms::backends::gsm::driver::{Driver, Effect};
use rapidsms::backends::gsm::{Balance as Question, Rules};
use rapidsms::message::{Connection, Draft, MessageId, Outgoing, SendFailure, Wishes};
use rapidsms::phases::Apps;
use rapidsms::router::{BackendPolicy, Policy, Router};
use rapidsms::simulator::personality::{self, Personality};
use rapidsms::simulator::script::{self, Line};
use rapidsms::simulator::{self, Modem, Subscriber, Timing};
use rapidsms::store::Reader;
use rapidsms::store::memory::Memory;
use rapidsms::time::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const START: Timestamp = Timestamp::from_seconds(1_795_337_735);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const LINE: &str = "zain";
/// So many turns at one instant are a loop that never ends.
const SPINS: usize = 20_000;

struct Nobody;

impl Answers for Nobody {
    fn answer(&self, _: MessageId, _: &str, _: LateAnswer) {}
}

struct World {
    now: Duration,
    modem: Modem,
    router: Router,
    reader: Option<Box<dyn Reader>>,
    rules: Rules,
    driver: Option<Driver>,
    /// The port is open, so what the modem says is heard.
    open: bool,
    open_at: Option<Duration>,
    start_at: Option<Duration>,
    started: Duration,
    failures: u32,
    mailbox: VecDeque<Outgoing>,
    in_hand: Vec<MessageId>,
    account: Account,
    random: Random,
    /// What each line of a bad modem was, for the person who looks at a failure.
    last: VecDeque<String>,
    wakes: u64,
    lives: u64,
    restarts: u64,
    number: u32,
    /// What is said twice by people is not stopped here: each text is used once.
    identities: u32,
}

impl World {
    fn new(kind: &'static Personality, policy: BackendPolicy, mut random: Random) -> World {
        let subscriber = Subscriber {
            number: "+254700000101".into(),
            imei: "490154203237518".into(),
            imsi: "639020000000001".into(),
            iccid: "89254020000000000012".into(),
            pin: None,
            service_center: "+254700000900".into(),
        };
        let timing = Timing { send: Duration::from_millis(random.below(4_000) as u64), ..Timing::default() };
        let apps = Apps::new().with("echo", Echo);
        let mut router = Router::new(Box::new(Memory::new()), apps, Policy::default(), 7);
        assert!(router.start_apps(&Host::new(Arc::new(Nobody))).is_empty());
        router.set_backend(&LINE.into(), policy);
        let reader = Some(router.store().reader().expect("a reader"));
        let mut rules = Rules::new(LINE.into());
        rules.service_center = Some("+254700000900".into());
        rules.balance = Some(Question { code: "*144#".into(), pattern: None, every: DAY });
        World {
            now: Duration::ZERO,
            modem: Modem::new(kind, subscriber, timing, START),
            router,
            reader,
            rules,
            driver: None,
            open: false,
            open_at: None,
            start_at: Some(Duration::ZERO),
            started: Duration::ZERO,
            failures: 0,
            mailbox: VecDeque::new(),
            in_hand: Vec::new(),
            account: Account::default(),
            random,
            last: VecDeque::new(),
            wakes: 0,
            lives: 0,
            restarts: 0,
            number: 0,
            identities: 40,
        }
    }

    fn wall(&self) -> Timestamp {
        START + self.now
    }

    fn says(&mut self, what: String) {
        if self.last.len() > 60 {
            self.last.pop_front();
        }
        self.last.push_back(format!("{:?} {what}", self.now));
    }

    fn story(&self) -> String {
        self.last.iter().map(|line| format!("\n{line}")).collect()
    }

    fn order(&mut self, line: &str) {
        self.says(format!("order {line}"));
        let Line::For { order, .. } = script::parse(&format!("m {line}")).expect("an order") else {
            panic!("{line}")
        };
        // What cannot be done now (a call to a modem that is away) is not done.
        let _ = self.modem.order(&order, START + self.now);
        self.settle();
    }

    fn submit(&mut self, identity: &str, text: String) {
        let mut draft = Draft::new(Connection::new(LINE, identity), text);
        draft.wishes = Wishes { flash: false, report: Some(true), part: None };
        self.router.submit(draft, "api", None, self.wall()).expect("it is taken");
        self.settle();
    }

    fn somebody(&mut self) -> String {
        format!("+2547000{:05}", self.random.below(self.identities as usize))
    }

    /// A text that was never used, so long.
    fn text(&mut self, length: usize, filling: &str) -> String {
        self.number += 1;
        let mut text = format!("{}", self.number);
        while text.chars().count() < length {
            text += &format!("{filling} {}", self.number);
        }
        text
    }

    // The thread of the modem, and the supervisor over it.

    fn start(&mut self) {
        self.start_at = None;
        if !self.modem.is_plugged() {
            return;
        }
        self.lives += 1;
        self.started = self.now;
        self.open = true;
        let mut driver = Driver::new(self.rules.clone());
        driver.open(self.now);
        self.driver = Some(driver);
    }

    fn ended(&mut self, why: &str) {
        self.says(format!("down: {why}"));
        self.driver = None;
        self.open = false;
        self.open_at = None;
        assert!(
            self.in_hand.is_empty(),
            "a message was forgotten by the driver: {:?}{}",
            self.in_hand,
            self.story()
        );
        while let Some(outgoing) = self.mailbox.pop_front() {
            self.router.sent(outgoing.id, Err(SendFailure::Untried("down".into())), START + self.now);
        }
        self.router.backend_down(LINE);
        if self.now.saturating_sub(self.started) >= MINUTE {
            self.failures = 0;
        }
        self.start_at = Some(self.now + SECOND * (1 << self.failures.min(6)).min(60));
        self.failures += 1;
    }

    /// Everything that happens at this instant.
    fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < SPINS, "it never rests at {:?}:{}", self.now, self.story());
            let moved = self.modem_turn() | self.driver_turn() | self.router_turn();
            if !moved {
                return;
            }
        }
    }

    fn modem_turn(&mut self) -> bool {
        let effects = self.modem.effects();
        let moved = !effects.is_empty();
        for effect in effects {
            match effect {
                simulator::Effect::Write(octets) | simulator::Effect::Announce(octets) => self.hear(&octets),
                simulator::Effect::Record(entry) => {
                    let line = entry.line(LINE);
                    self.says(line.trim_end().to_string());
                    self.account.enter(&serde_json::from_str(&line).expect("a line"));
                }
                simulator::Effect::Unplugged => {
                    self.open = false;
                    self.open_at = None;
                    if let Some(driver) = &mut self.driver {
                        driver.lost("unplugged", self.now);
                    }
                }
                simulator::Effect::Plugged { .. } => {
                    if self.driver.is_none() {
                        self.start_at = Some(self.now + SECOND);
                    }
                }
                simulator::Effect::Carried(_) | simulator::Effect::Show(_) => {}
            }
        }
        moved
    }

    fn hear(&mut self, octets: &[u8]) {
        let Some(driver) = self.driver.as_mut().filter(|_| self.open) else { return };
        // However the line cuts it.
        let at = self.random.below(octets.len() + 1);
        for piece in [&octets[..at], &octets[at..]] {
            if !piece.is_empty() {
                driver.read(piece, self.now);
            }
        }
    }

    fn driver_turn(&mut self) -> bool {
        let mut moved = false;
        while let Some(effect) = self.driver.as_mut().and_then(Driver::take_effect) {
            moved = true;
            let wall = self.wall();
            match effect {
                Effect::Write(octets) => {
                    if self.open && self.modem.is_plugged() {
                        self.says(format!("> {}", String::from_utf8_lossy(&octets).escape_debug()));
                        self.modem.read(&octets, wall);
                    }
                }
                Effect::Deliver(incoming, source) => {
                    let result = self.router.accept(&incoming, wall);
                    self.commit();
                    self.driver().delivered(source, result, wall.since(START));
                }
                Effect::Report(report, source) => {
                    let result = self.router.report(&report, wall);
                    self.commit();
                    self.driver().reported(source, result, wall.since(START));
                }
                Effect::Sent(id, result) => {
                    let place = self.in_hand.iter().position(|known| *known == id);
                    self.in_hand.remove(place.expect("told twice, or of a message that it was not given"));
                    self.router.sent(id, result, wall);
                }
                Effect::Up(_) => self.router.backend_up(LINE),
                Effect::Note(_) | Effect::Answered(_) | Effect::PinTried | Effect::PinWorked => {}
                Effect::Reopen => {
                    self.says("reopen".into());
                    self.open = false;
                    self.open_at = Some(self.now + Duration::from_millis(500));
                }
                Effect::Over(result) => {
                    let why = format!("{result:?}");
                    assert!(why.contains("Lost"), "nobody but a person can help: {why}{}", self.story());
                    self.restarts += 1;
                    self.ended(&why);
                }
            }
        }
        if self.open
            && let Some(driver) = self.driver.as_mut().filter(|driver| driver.wants_mail())
            && let Some(outgoing) = self.mailbox.pop_front()
        {
            self.in_hand.push(outgoing.id);
            driver.send(&outgoing, START + self.now, self.now);
            moved = true;
        }
        moved
    }

    fn driver(&mut self) -> &mut Driver {
        self.driver.as_mut().expect("it asked")
    }

    fn router_turn(&mut self) -> bool {
        let wall = self.wall();
        if self.router.wake_at(wall).is_none_or(|at| at > wall) && self.router.is_quiet() {
            return false;
        }
        let before = self.mailbox.len();
        self.commit();
        self.mailbox.len() != before || self.router.wake_at(wall).is_some_and(|at| at <= wall)
    }

    fn commit(&mut self) {
        let wall = self.wall();
        self.router.step(wall);
        self.mailbox.extend(self.router.commit(wall).expect("memory does not fail"));
    }

    /// Lets time pass. Whatever is due meanwhile is done at its own time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut spins = 0;
        self.settle();
        loop {
            let wall = self.wall();
            let free = self.driver.as_ref().filter(|_| self.open);
            let deadline = free.and_then(Driver::deadline);
            if self.open {
                assert!(deadline.is_some(), "nothing will ever wake it: {:?}{}", self.driver, self.story());
            }
            let modem = self.modem.deadline().map(|at| at.since(START));
            let router = self.router.wake_at(wall).map(|at| at.since(START));
            let next = [deadline, modem, router, self.open_at, self.start_at].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            if next > self.now {
                (self.now, spins) = (next, 0);
            }
            spins += 1;
            assert!(spins < SPINS, "it never rests at {:?}: {:?}{}", self.now, self.driver, self.story());
            self.modem.tick(START + self.now);
            if self.start_at.is_some_and(|at| at <= self.now) {
                self.start();
            }
            if self.open_at.is_some_and(|at| at <= self.now) {
                self.open_at = None;
                self.open = self.modem.is_plugged();
                let now = self.now;
                match self.open {
                    true => self.driver().open(now),
                    false => self.driver().lost("it is away", now),
                }
            }
            if let Some(driver) = self.driver.as_mut()
                && deadline.is_some_and(|at| at <= self.now)
            {
                self.wakes += 1;
                driver.tick(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    // A life.

    /// Somebody says something, or a program does.
    fn traffic(&mut self) {
        let who = self.somebody();
        match self.random.below(12) {
            0 => {
                let text = self.text(350, " long words");
                self.order(&format!("< {who} echo {text}"));
            }
            1 => {
                let text = self.text(150, " ünïcödé 😀");
                self.order(&format!("< {who} echo {text}"));
            }
            2 | 3 => {
                let text = self.text(400, " from a program");
                self.submit(&who, format!("P{text}"));
            }
            4 => {
                let text = self.text(0, "");
                self.submit(&who, format!("P{text}"));
            }
            _ => {
                let text = self.text(0, "");
                self.order(&format!("< {who} echo {text}"));
            }
        }
    }

    fn misfortune(&mut self) {
        const KINDS: &[&str] = &[
            "reset",
            "silence 4s",
            "silence 30s",
            "silence 200s",
            "storm 50",
            "garbage 300",
            "endless 20000",
            "stuck",
            "lose",
            "lose x2",
            "lose at 2",
            "late 4s",
            "late 100s",
            "late 200s",
            "error cms 500",
            "error cms 500 x3",
            "error cms 331 x2",
            "error cms 38 x9",
            "error error",
            "refuse +CMGD cms 500 x2",
            "refuse +CMGD cms 321",
            "refuse +CMGR cms 500",
            "refuse +CMGL cms 500 x2",
            "refuse +CPMS cms 500 x3",
            "refuse +CNMI cms 303 x6",
            "mute +CMGL",
            "mute +CMGR",
            "mute +CMGS",
            "mute +CMGD x2",
            "mute +C x3",
            "mute +CNMA",
            "refuse +CNMA cms 340",
            "fill",
            "fill 2",
            "smsc none",
            "slow 500ms",
            "slow 12s",
            "chop 1ms",
            "interrupt 5",
            "network searching",
            "network denied",
            "unplug 3s",
            "unplug 10m",
            "ring +254700000009",
            "signal 3",
            "report later",
            "report fail",
            "report never",
            "report ok",
            "push hello",
            "say RING",
            "say +CMTI: \"SM\",999",
            "say +CMTI: \"XX\",4294967296",
            "reference 250",
            "ussd *144# Balance 5",
        ];
        let kind = KINDS[self.random.below(KINDS.len())];
        self.order(kind);
        // Its consequences last a while, and other things happen meanwhile.
        for _ in 0..self.random.below(4) {
            self.traffic();
            let pause = Duration::from_millis(self.random.below(90_000) as u64);
            self.pass(pause);
        }
        if self.random.below(3) > 0 {
            self.heal();
        }
    }

    fn heal(&mut self) {
        for order in ["well", "chop off", "network home", "report ok", "smsc +254700000900", "plug"] {
            self.order(order);
        }
    }

    /// All is well again, long enough for everything to end, and the books are read.
    fn demand(&mut self) -> Balance {
        self.heal();
        self.pass(3 * HOUR);
        assert!(
            self.driver.as_ref().is_some_and(Driver::is_up),
            "it is not up again: {:?}{}",
            self.driver,
            self.story()
        );
        let account = &self.account;
        assert!(
            account.is_empty(),
            "left: {:?}, {} with the network{}",
            account.lying,
            account.undelivered(),
            self.story()
        );
        assert!(self.mailbox.is_empty() && self.in_hand.is_empty(), "{:?}{}", self.in_hand, self.story());
        let mut store = Store::read(self.reader.take().expect("a reader"), LINE);
        let balance = store.demand(&self.account);
        self.reader = Some(self.router.store().reader().expect("a reader"));
        balance
    }

    /// How much the driver remembers, by what it takes to write it down.
    fn memory(&self) -> usize {
        format!("{:?}", self.driver).len()
    }

    /// How often it wakes in an hour in which nothing happens.
    fn idle_wakes(&mut self) -> u64 {
        self.pass(10 * MINUTE);
        let before = self.wakes;
        self.pass(HOUR);
        self.wakes - before
    }
}

#[test]
fn days_of_misfortunes_lose_nothing_and_leave_nothing_behind() {
    let mut random = Random::new();
    for round in 0..3 * effort() {
        let kinds = personality::PERSONALITIES;
        let kind = &kinds[random.below(kinds.len())];
        let seed = random.below(usize::MAX) as u64;
        let mut world =
            World::new(kind, BackendPolicy { window: 2, ..BackendPolicy::real() }, Random::of(seed));
        world.pass(10 * MINUTE);
        let fresh = world.memory();
        while world.now < DAY {
            let wait = Duration::from_millis(world.random.below(600_000) as u64);
            world.pass(wait);
            match world.random.below(3) {
                0 => world.misfortune(),
                _ => world.traffic(),
            }
        }
        let balance = world.demand();
        let wakes = world.idle_wakes();
        eprintln!(
            "round {round}, {}: {balance:?}, {} lives, {} wakes, {wakes} in an idle hour, {fresh} -> {} octets",
            kind.name,
            world.lives,
            world.wakes,
            world.memory()
        );
        assert!(wakes < 3_600, "{}: {wakes} wakes in an idle hour", kind.name);
        assert!(world.memory() < fresh + 20_000, "{}: it remembers too much: {:?}", kind.name, world.driver);
    }
}

/// The answer to `AT+CMGR` does not name its slot: a late one must not be taken for that of the next slot, which would be deleted unread.
#[test]
fn a_modem_that_catches_up_late_loses_nothing() {
    for moment in (10..160).step_by(3) {
        let kind = personality::named("generic").expect("it is there");
        let policy = BackendPolicy { window: 2, ..BackendPolicy::real() };
        let mut world = World::new(kind, policy, Random::of(moment));
        world.pass(10 * MINUTE);
        world.order("slow 12s");
        for number in 0..4 {
            world.order(&format!("< +25470000000{number} echo text {number} of {moment}"));
        }
        world.pass(SECOND * moment as u32);
        world.demand();
    }
}
