//! A backend that cannot work until somebody does something: its messages are held, and go once it is up after all.

use rapidsms::message::{Connection, Draft, State};
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
    router.release_parked("zain", START);
    router.step(START);
    let taken = router.commit(START).unwrap();
    assert_eq!(taken.iter().map(|outgoing| outgoing.text.as_str()).collect::<Vec<_>>(), ["hello"]);
    let mut reader = router.store().reader().unwrap();
    assert_eq!(
        reader.message(held_by_hand).unwrap().unwrap().row.state,
        State::Held,
        "a person's word stands"
    );
}

fn submit(router: &mut Router, text: &str) -> rapidsms::message::MessageId {
    let draft = Draft::new(Connection::new("zain", "+15550001"), text);
    router.submit(draft, "api", None, START).unwrap()
}
