//! The books of both sides, and whether they balance: what a simulated modem wrote down, and what the router has stored.
//!
//! Every text is used once, so that a message is known by it. Texts are of two kinds: `echo X` comes in and is answered `X`;
//! what programs send says anything else.

use rapidsms::message::{Direction, MessageId, State};
use rapidsms::pdu::{self, Payload, Pdu, Prefix, Side};
use rapidsms::store::{Query, Reader, Row};
use rapidsms::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// The sender of what the order `fill` puts into slots.
const FILLING: &str = "1234";

/// Which part of what the network delivered to one modem.
type Origin = (u64, u64);

/// What the parts of one message say, and how often each left.
type Parts = BTreeMap<u64, (Vec<u16>, usize)>;

/// What one modem wrote down.
#[derive(Default)]
pub struct Account {
    /// What was sent to it: from whom, which text, in how many parts.
    pub injected: BTreeMap<u64, (String, String, u64)>,
    /// Lies in a slot.
    pub lying: BTreeSet<Origin>,
    acknowledged: HashSet<Origin>,
    /// What left it, by number and by what ties parts together; references come round, so one after the other.
    left: HashMap<(String, Option<u64>, u64), Vec<Parts>>,
    singles: HashMap<(String, String), usize>,
    lines: Vec<String>,
    /// How many messages left without the modem telling.
    pub lost_answers: usize,
    times: HashMap<String, (Timestamp, Option<Timestamp>)>,
    /// How often each event came.
    pub events: BTreeMap<String, usize>,
}

impl Account {
    /// Takes one line of the ledger.
    pub fn enter(&mut self, line: &Value) {
        self.lines.push(line.to_string());
        let event = line["event"].as_str().unwrap_or_default();
        *self.events.entry(event.to_string()).or_default() += 1;
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_string();
        let number = |name: &str| line[name].as_u64();
        let origin = number("id").zip(number("part"));
        let at = line["at"].as_str().and_then(Timestamp::parse).expect("a time");
        match event {
            "injected" => {
                if let Some(answer) = text("text").strip_prefix("echo ") {
                    self.times.insert(answer.to_string(), (at, None));
                }
            }
            "message" => {
                if let Some((_, answered)) = self.times.get_mut(&text("text")) {
                    answered.get_or_insert(at);
                }
            }
            "sent" if line["answer"] == "lost" => self.lost_answers += 1,
            _ => {}
        }
        match (event, origin) {
            ("injected", _) => {
                let id = number("id").expect("an id");
                self.injected.insert(id, (text("from"), text("text"), number("parts").unwrap_or(1)));
            }
            ("stored", Some(origin)) => drop(self.lying.insert(origin)),
            ("deleted", Some(origin)) => drop(self.lying.remove(&origin)),
            ("acknowledged", Some(origin)) => drop(self.acknowledged.insert(origin)),
            ("discarded", Some((id, _))) => {
                assert!(!self.injected.contains_key(&id), "a message was shown to nobody: {line}");
            }
            ("sent", _) => {
                let concat = &line["concat"];
                match concat["sequence"].as_u64() {
                    Some(sequence) => {
                        let total = concat["total"].as_u64().unwrap_or_default();
                        let set = (text("to"), concat["reference"].as_u64(), total);
                        count(self.left.entry(set).or_default(), sequence, units(&text("pdu")));
                    }
                    None => *self.singles.entry((text("to"), text("text"))).or_default() += 1,
                }
            }
            _ => {}
        }
    }

    /// Every part that was sent to this modem was stored in it or handed over, and nothing is left there.
    pub fn is_empty(&self) -> bool {
        self.lying.is_empty() && self.undelivered() == 0
    }

    /// How many parts the network still has.
    pub fn undelivered(&self) -> usize {
        let parts = self.injected.iter().flat_map(|(id, (_, _, parts))| (1..=*parts).map(|part| (*id, part)));
        parts.filter(|origin| !self.acknowledged.contains(origin)).count()
    }

    /// How long each answer took, from the network to the network, the shortest first.
    pub fn answer_times(&self) -> Vec<Duration> {
        let answered =
            self.times.values().filter_map(|(asked, answered)| Some(answered.as_ref()?.since(*asked)));
        let mut times: Vec<Duration> = answered.collect();
        times.sort();
        times
    }

    /// What the ledger says about one message that was sent to the modem.
    fn about(&self, id: u64) -> String {
        let id = format!("\"id\":{id},");
        self.lines.iter().filter(|line| line.contains(&id)).map(|line| format!("{line}\n")).collect()
    }

    /// How often each whole message left, and how often its most frequent part.
    fn copies(&self) -> HashMap<(String, String), (usize, usize)> {
        let mut copies: HashMap<(String, String), (usize, usize)> = HashMap::new();
        for (message, count) in &self.singles {
            copies.insert(message.clone(), (*count, *count));
        }
        let sets = self.left.iter().flat_map(|(set, all)| all.iter().map(move |parts| (set, parts)));
        for ((to, _, total), parts) in sets {
            let units: Vec<u16> = parts.values().flat_map(|(units, _)| units).copied().collect();
            let text = String::from_utf16_lossy(&units);
            let counts = parts.values().map(|(_, count)| *count);
            let whole = if parts.len() as u64 == *total { counts.clone().min() } else { None };
            copies.insert((to.clone(), text), (whole.unwrap_or(0), counts.max().unwrap_or(0)));
        }
        copies
    }
}

/// A part belongs to the newest message that has it already, else to the newest that lacks it.
fn count(messages: &mut Vec<Parts>, sequence: u64, units: Vec<u16>) {
    let has = |parts: &Parts| parts.get(&sequence).is_some_and(|(known, _)| *known == units);
    let place = messages.iter().rposition(has);
    let place = place.or_else(|| messages.iter().rposition(|parts| !parts.contains_key(&sequence)));
    let place = place.unwrap_or_else(|| {
        messages.push(Parts::new());
        messages.len() - 1
    });
    messages[place].entry(sequence).or_insert((units, 0)).1 += 1;
}

/// The UTF-16 units of a part: a border may cut a surrogate pair.
fn units(digits: &str) -> Vec<u16> {
    let octets = pdu::from_hex(digits).expect("digits");
    let decoded = pdu::decode(&octets, Some(Side::Mobile), Prefix::Present).expect("the simulator took it");
    let Pdu::Submit(submit) = decoded.pdu else { panic!("no SUBMIT: {digits}") };
    match &submit.user_data.payload {
        Payload::Ucs2(octets) => {
            octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
        }
        _ => submit.user_data.text().unwrap_or_default().encode_utf16().collect(),
    }
}

/// What the router's store holds about one backend.
pub struct Store {
    rows: Vec<Row>,
    reader: Box<dyn Reader>,
}

/// What balanced.
#[derive(Default, Debug)]
pub struct Balance {
    pub received: usize,
    pub duplicates: usize,
    pub sent: usize,
    pub delivered: usize,
    pub uncertain: usize,
    pub second_copies: usize,
}

impl Store {
    pub fn read(mut reader: Box<dyn Reader>, backend: &str) -> Store {
        let mut rows = Vec::new();
        let mut query =
            Query { backend: Some(backend.into()), ascending: true, limit: 1_000, ..Query::default() };
        loop {
            let page = reader.messages(&query).expect("a page");
            rows.extend(page.messages);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Store { rows, reader },
            }
        }
    }

    fn uncertain(&mut self, id: MessageId) -> usize {
        let detail = self.reader.message(id).expect("it can be read").expect("it is there");
        let doubts = detail.history.iter().filter(|entry| {
            let reason = entry.reason.as_deref().unwrap_or_default();
            entry.state == State::Uncertain || reason.starts_with("uncertain twice")
        });
        doubts.count()
    }

    /// Whether its end is what the network said of it.
    fn was_reported(&mut self, id: MessageId) -> bool {
        let detail = self.reader.message(id).expect("it can be read").expect("it is there");
        detail.history.last().is_some_and(|entry| entry.actor.starts_with("report "))
    }

    fn told(&mut self, id: MessageId) -> String {
        let detail = self.reader.message(id).expect("it can be read").expect("it is there");
        let history = detail.history.iter().map(|entry| {
            format!(
                "\n  {} {} {}: {}",
                entry.at,
                entry.state,
                entry.actor,
                entry.reason.as_deref().unwrap_or("-")
            )
        });
        format!("{:?}{}", detail.row, history.collect::<String>())
    }

    /// Demands that everything which was sent to the modem is stored once and answered once, that all has ended, and that nothing left more often
    /// than the store knows of.
    pub fn demand(&mut self, account: &Account) -> Balance {
        let mut balance = Balance::default();
        let mut received: HashMap<(&str, &str), Vec<&Row>> = HashMap::new();
        let mut answers: HashMap<MessageId, Vec<Row>> = HashMap::new();
        for row in &self.rows {
            assert!(!row.state.is_open(), "it has not ended: {row:?}");
            match (row.direction, row.state) {
                (Direction::In, State::Duplicate) => balance.duplicates += 1,
                (Direction::In, _) => {
                    received.entry((&row.identity, &row.text)).or_default().push(row);
                }
                (Direction::Out, _) => {
                    if let Some(question) = row.in_response_to {
                        answers.entry(question).or_default().push(row.clone());
                    }
                }
            }
        }
        for (id, (from, text, _)) in &account.injected {
            let found = received.remove(&(from.as_str(), text.as_str())).unwrap_or_default();
            let strange = || -> Vec<_> {
                self.rows.iter().filter(|row| row.state == State::Quarantined || row.partial).collect()
            };
            assert_eq!(
                found.len(),
                1,
                "{from} {text:?} is stored {} times: {found:#?}\nthe ledger:\n{}\nwhat was set aside: {:#?}",
                found.len(),
                account.about(*id),
                strange()
            );
            assert_eq!((found[0].state, found[0].partial), (State::Handled, false), "{:?}", found[0]);
            let replies = answers.get(&found[0].id).map_or(&[][..], Vec::as_slice);
            let texts: Vec<&str> = replies.iter().map(|reply| reply.text.as_str()).collect();
            assert_eq!(
                Some(&texts[..]),
                text.strip_prefix("echo ").map(|text| vec![text]).as_deref(),
                "{text:?}"
            );
            balance.received += 1;
        }
        // What the order `fill` puts into the slots was never sent by anybody.
        received.retain(|(from, _), _| *from != FILLING);
        assert!(received.is_empty(), "nobody sent this: {received:#?}");
        self.demand_sent(account, &mut balance);
        balance
    }

    fn demand_sent(&mut self, account: &Account, balance: &mut Balance) {
        let mut copies = account.copies();
        for row in self.rows.clone().into_iter().filter(|row| row.direction == Direction::Out) {
            let (whole, most) = copies.remove(&(row.identity.clone(), row.text.clone())).unwrap_or_default();
            let doubts = self.uncertain(row.id);
            let reported = self.was_reported(row.id);
            let told =
                |store: &mut Store| format!("{whole} copies, {most} of a part: {}", store.told(row.id));
            assert!(whole <= 2 && whole <= 1 + doubts, "more copies than anybody counted: {}", told(self));
            assert!(most <= row.attempts as usize, "more of a part than attempts: {}", told(self));
            let doubtful = row.reason.as_deref().is_some_and(|reason| reason.starts_with("uncertain"));
            let gone = matches!(row.state, State::Sent | State::Delivered) || reported;
            assert!(gone || doubtful, "not sent although all is well: {}", told(self));
            assert!(whole > 0 || !gone, "`sent`, and it never left: {}", told(self));
            balance.sent += 1;
            balance.delivered += usize::from(row.state == State::Delivered);
            balance.uncertain += usize::from(doubts > 0);
            balance.second_copies += usize::from(whole > 1);
        }
        copies.retain(|_, (whole, _)| *whole > 0);
        assert!(copies.is_empty(), "this left and is not stored: {copies:#?}");
    }
}
