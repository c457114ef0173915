//! A backend that cannot work until somebody does something: its messages are held, and go once it is up after all.

use rapidsms::message::{Connection, Draft, Outgoing, State};
use rapidsms::phases::Apps;
use rapidsms::router::{BackendPolicy, Policy, Router};
use rapidsms::store::Query;
use rapidsms::store::sqlite::Sqlite;
use rapidsms::testing::START;

#[test]
fn what_was_held_for_a_parked_backend_goes_when_it_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rapidsms.db");
    let held_by_hand;
    {
        let store = Sqlite::open(&path, START).unwrap().store;
        let mut router = Router::new(Box::new(store), Apps::new(), Policy::default(), 1);
        router.set_backend(&"zain".into(), BackendPolicy::real());
        held_by_hand = submit(&mut router, "wait for me");
        router.commit(START).unwrap();
        assert_eq!(router.decide_by_hand(held_by_hand, State::Held, "person", START), Ok(true));
        router.backend_parked("zain", "the engine gsm is not in this build");
        submit(&mut router, "hello");
        router.step(START);
        assert_eq!(router.commit(START).unwrap(), []);
        let mut reader = router.store().reader().unwrap();
        let page = reader.messages(&Query { state: Some(State::Held), ..Query::default() }).unwrap();
        let reasons: Vec<_> = page.messages.iter().map(|row| row.reason.as_deref().unwrap()).collect();
        assert_eq!(
            reasons,
            ["backend zain is parked: the engine gsm is not in this build", "decided by hand"],
            "newest first"
        );
    }

    // Another build, which has the engine.
    let store = Sqlite::open(&path, START).unwrap().store;
    let mut router = Router::new(Box::new(store), Apps::new(), Policy::default(), 2);
    router.set_backend(&"zain".into(), BackendPolicy::real());
    router.step(START);
    router.commit(START).unwrap();
    router.backend_up("zain");
    router.release_parked("zain");
    let taken = turns(&mut router);
    assert_eq!(taken.iter().map(|outgoing| outgoing.text.as_str()).collect::<Vec<_>>(), ["hello"]);
    let mut reader = router.store().reader().unwrap();
    assert_eq!(
        reader.message(held_by_hand).unwrap().unwrap().row.state,
        State::Held,
        "a person's word stands"
    );
}

/// However many there are, and those that were decided in the very transaction in which the backend came up.
#[test]
fn everything_that_was_held_for_a_parked_backend_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("rapidsms.db"), START).unwrap().store;
    let mut router = Router::new(Box::new(store), Apps::new(), Policy::default(), 1);
    router.set_backend(&"zain".into(), BackendPolicy { window: 5_000, ..BackendPolicy::real() });
    router.backend_parked("zain", "a wrong PIN");
    for number in 0..2_500 {
        let draft = Draft::new(Connection::new("zain", format!("+{number}")), "hello");
        router.submit(draft, "api", None, START).unwrap();
    }
    router.backend_up("zain");
    router.release_parked("zain");
    assert_eq!(turns(&mut router).len(), 2_500);
}

/// Turns until the router wants to wait; returns what was given out.
fn turns(router: &mut Router) -> Vec<Outgoing> {
    let mut given = Vec::new();
    loop {
        router.step(START);
        given.extend(router.commit(START).unwrap());
        if router.wake_at(START).is_none_or(|at| at > START) {
            return given;
        }
    }
}

fn submit(router: &mut Router, text: &str) -> rapidsms::message::MessageId {
    let draft = Draft::new(Connection::new("zain", "+15550001"), text);
    router.submit(draft, "api", None, START).unwrap()
}
