//! Several threads that work on one backend, such as one that receives and one that sends.
//!
//! The one place besides the shell where threads are made: they live within one run of a backend and are joined before it returns, so that
//! whoever started the backend, watches it and stops it sees one thread only.

use super::BackendError;
use super::line::{Line, lock};
use crossbeam_channel::{Receiver, Sender};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder};

/// One of several threads that work on one backend; see [`Line::together`].
pub type Hand<'a> = Box<dyn FnOnce(&Line) -> Result<(), BackendError> + Send + 'a>;

/// What the hands of one [`Line::together`] have in common.
#[derive(Clone)]
pub(super) struct Crew {
    pub(super) dismissed: Arc<AtomicBool>,
    /// Closed when they are dismissed; nothing is ever sent.
    pub(super) dismissal: Receiver<()>,
}

impl Line {
    /// Runs the hands side by side until all have returned, each on a thread of its own with a `Line` of its own: one
    /// mailbox, of which each message goes to one of them. As soon as one returns, fails or panics, the others are told to stop.
    pub fn together<'a>(&self, hands: Vec<(&'static str, Hand<'a>)>) -> Result<(), BackendError> {
        let (held, dismissal) = crossbeam_channel::bounded(0);
        let crew = Crew { dismissed: Arc::default(), dismissal };
        let held: Mutex<Option<Sender<()>>> = Mutex::new(Some(held));
        let dismiss = || {
            crew.dismissed.store(true, Ordering::Release);
            *lock(&held) = None;
            self.shared.wake();
        };
        self.waiting();
        let ended: Vec<_> = thread::scope(|scope| {
            let spawn = |(role, hand): (&'static str, Hand<'a>)| {
                let line = self.again(&crew);
                let builder = Builder::new().name(format!("backend/{}/{role}", self.name));
                let spawned = builder.spawn_scoped(scope, || {
                    let _others = Defer(&dismiss);
                    let line = line;
                    hand(&line)
                });
                if spawned.is_err() {
                    dismiss();
                }
                spawned
            };
            let spawned: Vec<_> = hands.into_iter().map(spawn).collect();
            let join = |spawned: std::io::Result<thread::ScopedJoinHandle<'_, _>>| match spawned {
                Ok(thread) => thread.join(),
                Err(error) => Ok(Err(BackendError::Lost(format!("no thread can be had: {error}")))),
            };
            spawned.into_iter().map(join).collect()
        });
        self.working();
        ended.into_iter().try_for_each(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }

    fn again(&self, crew: &Crew) -> Line {
        Line {
            name: self.name.clone(),
            exchange: self.exchange.clone(),
            mailbox: self.mailbox.clone(),
            questions: self.questions.clone(),
            shared: self.shared.clone(),
            sign: self.shared.sign(),
            crew: Some(crew.clone()),
        }
    }
}

/// Does it when it goes out of scope, after a panic too.
struct Defer<F: Fn()>(F);

impl<F: Fn()> Drop for Defer<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Mail, line};
    use super::*;
    use crate::message::{Connection, Ids, Incoming, MessageId, Outgoing, Receipt, Report, SendFailure};
    use crate::router::Refused;
    use crate::time::Timestamp;

    struct Silent;

    impl Exchange for Silent {
        fn deliver(&self, _: Incoming) -> Result<MessageId, Refused> {
            Ok(Ids::new(None, 1).next(Timestamp::default()))
        }
        fn report(&self, _: Report) -> Result<(), Refused> {
            Ok(())
        }
        fn sent(&self, _: MessageId, _: Result<Receipt, SendFailure>) {}
        fn up(&self, _: &str) {}
        fn note(&self, _: &str) {}
    }

    fn outgoing(number: u64) -> Outgoing {
        Outgoing {
            id: Ids::new(None, number).next(Timestamp::from_seconds(number as i64)),
            connection: Connection::new("zain", "+1"),
            by: "zain".into(),
            text: number.to_string(),
            in_response_to: None,
            answered: None,
            attempt: 1,
            expires_at: Timestamp::from_seconds(1_000_000),
            origin: crate::message::Origin::Real,
            wishes: crate::message::Wishes::default(),
        }
    }

    #[test]
    fn hands_share_the_mail_and_one_that_fails_ends_all() {
        let (post, line) = line("zain".into(), 8, Arc::new(Silent));
        for number in 1..=3 {
            post.send(outgoing(number)).unwrap();
        }
        // Each takes one and waits until all three have one: no hand waits behind another.
        let meet = std::sync::Barrier::new(3);
        let take = |line: &Line| {
            let Mail::Send(taken) = line.next(None) else { panic!("nothing to send") };
            meet.wait();
            assert!(post.busy_for().is_some(), "somebody is at work");
            if taken.text == "2" {
                return Err(BackendError::Lost("the second".into()));
            }
            assert_eq!(line.next(None), Mail::Stop, "dismissed");
            assert!(line.is_stopping());
            Ok(())
        };
        let hands = vec![("a", Box::new(take) as Hand<'_>), ("b", Box::new(take)), ("c", Box::new(take))];
        assert_eq!(line.together(hands), Err(BackendError::Lost("the second".into())));
        assert!(!line.is_stopping(), "the backend itself may begin again");
        assert_eq!(post.begun().len(), 3, "what they had in hand is still told of");
    }

    #[test]
    fn a_stuck_hand_is_seen_while_another_waits() {
        let (post, line) = line("zain".into(), 1, Arc::new(Silent));
        let (say, said) = crossbeam_channel::bounded::<&str>(2);
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        let hand = |role: &'static str| -> Hand<'static> {
            let (say, ended) = (say.clone(), ended.clone());
            Box::new(move |line: &Line| {
                if role == "waits" {
                    line.waiting();
                }
                say.send(role).unwrap();
                // Closed when the test has seen enough.
                let _ = ended.recv();
                Ok(())
            })
        };
        let both = vec![("stuck", hand("stuck")), ("waits", hand("waits"))];
        thread::scope(|scope| {
            let running = scope.spawn(|| line.together(both));
            let _ = (said.recv().unwrap(), said.recv().unwrap());
            assert!(post.busy_for().is_some());
            drop(end);
            assert_eq!(running.join().unwrap(), Ok(()));
        });
        line.waiting();
        assert_eq!(post.busy_for(), None, "hands that are gone count no more");
    }
}
