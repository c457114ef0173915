//! The threads behind services, alone.

use rapidsms::apps::Threads;
use rapidsms::hosts::pool::{Errand, Next, Pool};
use rapidsms::shell::Workforce;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Says its name at each try, and goes on by its plan.
struct Talker {
    name: &'static str,
    said: Sender<String>,
    plan: Vec<Next>,
    /// Waits for a word before the first try ends.
    gate: Option<Receiver<()>>,
}

impl Errand for Talker {
    fn run(&mut self) -> Next {
        assert!(self.name != "clumsy", "as the test asked for");
        let _ = self.said.send(self.name.to_string());
        if let Some(gate) = self.gate.take() {
            let _ = gate.recv();
        }
        if self.plan.is_empty() { Next::Over } else { self.plan.remove(0) }
    }
    fn broke(self, why: &str) {
        let _ = self.said.send(format!("{} broke: {why}", self.name));
    }
}

fn talker(name: &'static str, said: &Sender<String>, plan: &[Next]) -> Talker {
    Talker { name, said: said.clone(), plan: plan.to_vec(), gate: None }
}

#[test]
fn an_errand_that_waits_for_its_next_try_holds_no_thread() {
    let (said, heard) = channel();
    let (workforce, pool) = (Workforce::default(), Pool::new("test", 1));
    let again = Next::Again(Duration::from_secs(3600));
    pool.push(talker("late", &said, &[again]), &workforce).unwrap();
    pool.push(talker("quick", &said, &[]), &workforce).unwrap();
    let both: Vec<String> = (0..2).map(|_| heard.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(both, ["late", "quick"]);
    let soon = Next::Again(Duration::from_millis(20));
    pool.push(talker("three", &said, &[soon, soon]), &workforce).unwrap();
    for _ in 0..3 {
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "three");
    }
    assert_eq!(pool.waiting(), 1, "the late one");
    pool.close();
    assert_eq!(workforce.wait(PATIENCE), [] as [&str; 0], "a thread that waits ends at once");
    assert!(pool.push(talker("after", &said, &[]), &workforce).is_err());
}

#[test]
fn while_one_hangs_the_others_are_served_and_come_back_in_time() {
    let (said, heard) = channel();
    let (workforce, pool) = (Workforce::default(), Pool::new("test", 2));
    let (open, gate) = channel();
    pool.push(talker("again", &said, &[Next::Again(Duration::from_millis(300))]), &workforce).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "again");
    pool.push(Talker { gate: Some(gate), ..talker("hangs", &said, &[]) }, &workforce).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "hangs");
    let begun = Instant::now();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "again", "by the other thread");
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(open);
}

#[test]
fn a_panic_is_told_and_costs_nobody_else() {
    let (said, heard) = channel();
    let (workforce, pool) = (Workforce::default(), Pool::new("test", 1));
    pool.push(talker("clumsy", &said, &[]), &workforce).unwrap();
    pool.push(talker("next", &said, &[]), &workforce).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "clumsy broke: as the test asked for");
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "next");
}

#[test]
fn without_threads_an_errand_is_given_back() {
    struct None_;
    impl Threads for None_ {
        fn start(&self, _: &str, _: Box<dyn FnOnce() + Send>) -> Result<(), rapidsms::apps::AppError> {
            Err(rapidsms::apps::AppError("no more".into()))
        }
    }
    let (said, heard) = channel();
    let pool = Pool::new("test", 4);
    assert_eq!(pool.push(talker("x", &said, &[]), &None_).unwrap_err().0, "no more");
    assert_eq!(pool.waiting(), 0);
    drop(said);
    assert!(heard.recv().is_err());
}
