//! Random histories: people, programs, backends, crashes, a failing store, time; beside them a ledger that knows what was acknowledged,
//! what was given out and what backends said. At every moment the order holds, and at the end the books balance.

use super::stage::*;
use proptest::prelude::*;
use rapidsms::message::*;
use rapidsms::router::{Balance, GroupPolicy, Member};
use std::collections::{HashMap, HashSet};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    /// Somebody sends a text, of one of the kinds below.
    Says {
        who: usize,
        kind: usize,
    },
    /// One piece of one of a few messages in three pieces, perhaps not for the first time.
    Piece {
        message: usize,
        sequence: u16,
    },
    /// A program sends a message.
    Submits {
        who: usize,
    },
    Turn,
    /// A backend tells what became of one of the messages in its hands.
    Tells {
        which: usize,
        outcome: usize,
    },
    /// A carrier reports about any message that was ever given out.
    Reports {
        which: usize,
        delivered: bool,
    },
    /// The app answers one of the messages for which it asked for time.
    Answers {
        which: usize,
    },
    Waits {
        seconds: u64,
    },
    Down {
        backend: usize,
    },
    Up {
        backend: usize,
    },
    /// One of the next calls of the store fails.
    Fails {
        call: u64,
        all: bool,
        ill: u32,
    },
    Crash,
    Restart,
}

const KINDS: [&str; 8] =
    ["echo", "twice", "later", "panic", "cancel", "nothing", "to tnm +9", "to airtime +4"];
const BACKENDS: [&str; 3] = ["zain", "tnm", "tester"];
/// Where programs send to: the backends, and a group of the first two.
const GOALS: [&str; 4] = ["zain", "tnm", "tester", "airtime"];

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..6usize, 0..KINDS.len()).prop_map(|(who, kind)| Act::Says { who, kind }),
        4 => (0..4usize, 1..4u16).prop_map(|(message, sequence)| Act::Piece { message, sequence }),
        4 => (0..8usize).prop_map(|who| Act::Submits { who }),
        8 => Just(Act::Turn),
        6 => (any::<usize>(), 0..6usize).prop_map(|(which, outcome)| Act::Tells { which, outcome }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, delivered)| Act::Reports { which, delivered }),
        2 => any::<usize>().prop_map(|which| Act::Answers { which }),
        3 => (0..20u64).prop_map(|seconds| Act::Waits { seconds }),
        1 => (0..3usize).prop_map(|backend| Act::Down { backend }),
        2 => (0..3usize).prop_map(|backend| Act::Up { backend }),
        2 => (1..12u64, any::<bool>(), 1..4u32).prop_map(|(call, all, ill)| Act::Fails { call, all, ill }),
        1 => Just(Act::Crash),
        1 => Just(Act::Restart),
    ]
}

/// What is known outside of the router.
#[derive(Default)]
struct Ledger {
    /// Told to their sources as safe.
    acknowledged: HashSet<MessageId>,
    /// Taken in the open transaction.
    taken: Vec<MessageId>,
    /// Not acknowledged, but perhaps on disk.
    perhaps: HashSet<MessageId>,
    /// In the hands of backends.
    in_hand: Vec<Outgoing>,
    /// Everything that was ever given out.
    given: Vec<Outgoing>,
    /// Attempts after which a copy may exist.
    copies: HashMap<MessageId, u32>,
    /// What a carrier reported about: it may be in the hands of its backend and be over all the same.
    reported: HashSet<MessageId>,
    said: usize,
    /// What pieces said that were told to be safe, and those of the open transaction.
    pieces: HashSet<String>,
    pieces_taken: Vec<String>,
}

impl Ledger {
    fn apply(&mut self, act: &Act, stage: &mut Stage) {
        let now = stage.now;
        match *act {
            Act::Says { who, kind } => {
                self.said += 1;
                let text = format!("{} text {}", KINDS[kind], self.said);
                let from = Connection::new(BACKENDS[who % 3], format!("+{who}"));
                self.taken.extend(stage.hears(&Incoming::new(from, text)).ok());
            }
            Act::Submits { who } => {
                self.said += 1;
                let to = Connection::new(GOALS[who % 4], format!("+{who}"));
                let draft = Draft::new(to, format!("text {}", self.said));
                self.taken.extend(stage.submit(draft, "api", None, now).ok());
            }
            Act::Piece { message, sequence } => {
                let text = format!("<{message}.{sequence}>");
                let units = text.encode_utf16().collect();
                let piece = Incoming {
                    part: Some(Part { set: message.to_string(), total: 3, sequence, units }),
                    redelivery_key: Some(text.clone()),
                    ..Incoming::new(Connection::new("zain", "+0"), "")
                };
                self.pieces_taken.extend(stage.hears(&piece).ok().map(|_| text));
            }
            Act::Turn => self.turn(stage),
            Act::Tells { which, outcome } if !self.in_hand.is_empty() => {
                let outgoing = self.in_hand.swap_remove(which % self.in_hand.len());
                self.tell(stage, &outgoing, outcome);
            }
            Act::Reports { which, delivered } if !self.given.is_empty() => {
                let outgoing = &self.given[which % self.given.len()];
                let (id, backend) = (outgoing.id, outgoing.by.clone());
                self.reported.insert(id);
                let about = About::Id(id);
                let verdict = if delivered { Verdict::Delivered } else { Verdict::Failed };
                // A carrier that is refused tells it again; here it may as well be lost.
                let _ = stage.report(&Report { backend, about, verdict, note: None }, now);
            }
            Act::Answers { which } => {
                let owed: Vec<_> = stage
                    .journal()
                    .seen
                    .iter()
                    .filter(|seen| seen.text.starts_with("later"))
                    .cloned()
                    .collect();
                if let Some(seen) = owed.get(which % owed.len().max(1)) {
                    stage.answers(seen.id, "obedient", &format!("answer to {}", seen.text));
                }
            }
            Act::Waits { seconds: time } => drop(stage.wait(seconds(time))),
            Act::Down { backend } => stage.backend_down(BACKENDS[backend]),
            Act::Up { backend } => stage.backend_up(BACKENDS[backend]),
            // What is in memory cannot be undone, so there only commits fail, and only seemingly.
            Act::Fails { ill, .. } if !stage.forgets() => stage.store.fail_commit(Leaves::All, ill),
            Act::Fails { call, all, ill } => {
                stage.store.fail(call, if all { Leaves::All } else { Leaves::Nothing }, ill)
            }
            Act::Crash => {
                if !stage.forgets() {
                    self.turn(stage);
                }
                stage.store.fail_never();
                stage.crash();
                self.perhaps.extend(self.taken.drain(..));
                self.pieces_taken.clear();
                self.in_hand.clear();
            }
            Act::Restart if stage.trouble().is_none() => {
                stage.store.fail_never();
                self.turn(stage);
                // It waits for its backends, as a clean stop does.
                for outgoing in std::mem::take(&mut self.in_hand) {
                    self.tell(stage, &outgoing, 0);
                }
                stage.restart();
            }
            _ => {}
        }
    }

    fn turn(&mut self, stage: &mut Stage) {
        let now = stage.now;
        stage.step(now);
        match stage.commit(now) {
            Ok(given) => {
                self.acknowledged.extend(self.taken.drain(..));
                self.pieces.extend(self.pieces_taken.drain(..));
                for outgoing in given {
                    *self.copies.entry(outgoing.id).or_default() += 1;
                    self.in_hand.push(outgoing.clone());
                    self.given.push(outgoing);
                }
            }
            Err(_) => {
                self.perhaps.extend(self.taken.drain(..));
                self.pieces_taken.clear();
            }
        }
    }

    fn tell(&mut self, stage: &mut Stage, outgoing: &Outgoing, outcome: usize) {
        let result = match outcome {
            0 | 1 => Ok(Receipt::default()),
            2 => temporary(),
            3 => unsure(),
            4 => Err(SendFailure::Untried("not now".into())),
            _ => Err(SendFailure::Throttled(seconds(5), "slowly".into())),
        };
        if matches!(&result, Err(failure) if !matches!(failure, SendFailure::Unsure(_))) {
            *self.copies.entry(outgoing.id).or_default() -= 1;
        }
        if matches!(&result, Err(SendFailure::Untried(_))) {
            stage.backend_down(&outgoing.by);
        }
        stage.tells(outgoing, result);
    }

    /// All is well from now on: the store works, the backends are up, the apps answer, time goes by.
    fn ends(&mut self, stage: &mut Stage) {
        stage.store.fail_never();
        for _ in 0..2_000 {
            BACKENDS.iter().for_each(|name| stage.backend_up(name));
            self.turn(stage);
            for outgoing in std::mem::take(&mut self.in_hand) {
                self.tell(stage, &outgoing, 0);
            }
            let now = stage.now;
            match stage.wake_at(now) {
                Some(at) => stage.now = at.max(now),
                None if stage.is_quiet() => return,
                None => {}
            }
        }
        panic!("it never ends: {:?}", stage.out());
    }

    /// P5: at most one copy more than one. P6: what goes to one person in one priority goes in order.
    fn assert_order(&self, stage: &Stage) {
        for (id, copies) in &self.copies {
            assert!(*copies <= 2, "{copies} copies of {id}");
        }
        let mut last: HashMap<(Connection, bool), MessageId> = HashMap::new();
        for outgoing in &self.given {
            let lane = (outgoing.connection.clone(), outgoing.in_response_to.is_some());
            let before = last.insert(lane, outgoing.id);
            assert!(before.is_none_or(|before| before <= outgoing.id), "{} went too late", outgoing.text);
        }
        let mut last: HashMap<Connection, MessageId> = HashMap::new();
        for seen in &stage.journal().seen {
            let before = last.insert(seen.from.clone(), seen.id);
            assert!(before.is_none_or(|before| before <= seen.id), "{} came too late", seen.text);
        }
        let mut hands = HashSet::new();
        for outgoing in self.in_hand.iter().filter(|outgoing| !self.reported.contains(&outgoing.id)) {
            let lane = (&outgoing.connection, outgoing.in_response_to.is_some());
            assert!(hands.insert(lane), "two at once to {}", outgoing.connection);
        }
    }

    /// P1, P3, P4, P17: what was acknowledged is there and has ended, what is there was heard, and every reply exists once.
    fn assert_balance(&self, stage: &Stage) {
        stage.assert_conserved();
        let (received, sent) = (stage.rows(Direction::In), stage.rows(Direction::Out));
        let known: HashSet<_> = received.iter().chain(&sent).map(|row| row.id).collect();
        for id in &self.acknowledged {
            assert!(known.contains(id), "{id} was acknowledged and is lost");
        }
        let joined: String =
            received.iter().filter(|row| row.parts.is_some()).map(|row| row.text.as_str()).collect();
        for piece in &self.pieces {
            assert_eq!(joined.matches(piece).count(), 1, "{piece} was acknowledged; there is {joined}");
        }
        let mut replies: HashMap<MessageId, usize> = HashMap::new();
        for row in received.iter().chain(&sent) {
            assert!(!row.state.is_open(), "{} is still {}", row.text, row.state);
            match row.in_response_to {
                Some(question) => *replies.entry(question).or_default() += 1,
                None if row.parts.is_some() => {}
                None => assert!(
                    self.acknowledged.contains(&row.id) || self.perhaps.contains(&row.id),
                    "{} came from nowhere",
                    row.text
                ),
            }
            let ends = self.history(stage, row.id);
            assert_eq!(ends, 1, "{} ended {ends} times", row.text);
        }
        for row in received {
            let count = replies.remove(&row.id).unwrap_or(0);
            let kind = row.text.split(' ').next().unwrap_or_default();
            let expected = match (row.state, kind) {
                (State::Handled, "echo" | "cancel" | "to") => 1..=1,
                (State::Handled, "twice") => 2..=2,
                (State::Handled, "later") => 1..=1,
                _ => 0..=0,
            };
            assert!(expected.contains(&count), "{}: {} with {count} replies", row.text, row.state);
        }
        assert!(replies.is_empty(), "replies to nothing: {replies:?}");
    }

    /// How often a message went from an open state to an ended one.
    fn history(&self, stage: &Stage, id: MessageId) -> usize {
        let states: Vec<_> = stage.detail(id).history.iter().map(|entry| entry.state).collect();
        let ends = states.windows(2).filter(|pair| pair[0].is_open() && !pair[1].is_open()).count();
        ends + usize::from(!states[0].is_open())
    }
}

fn live(stage: &mut Stage, acts: &[Act]) {
    let mut ledger = Ledger::default();
    let member = |backend: &str, prefixes: &[&str]| Member {
        backend: backend.into(),
        prefixes: prefixes.iter().map(|prefix| (*prefix).to_string()).collect(),
    };
    stage.policy.groups = vec![GroupPolicy {
        name: "airtime".into(),
        members: vec![member("zain", &["+4"]), member("tnm", &[])],
        balance: Balance::InTurn,
        replies: acts.len().is_multiple_of(2),
    }];
    let policy = stage.policy.clone();
    stage.set_policy(policy);
    for act in acts {
        ledger.apply(act, stage);
        ledger.assert_order(stage);
    }
    ledger.ends(stage);
    ledger.assert_order(stage);
    ledger.assert_balance(stage);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn p17_any_history_in_memory(acts in prop::collection::vec(acts(), 0..80)) {
        live(&mut Stage::memory(), &acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn p17_any_history_on_disk(acts in prop::collection::vec(acts(), 0..80)) {
        live(&mut Stage::sqlite(), &acts);
    }
}
