//! The command line, end to end: the real program, asked as a person or a script would.

use super::daemon::{Daemon, ECHO};

#[test]
fn the_first_answer() {
    let daemon = Daemon::start(ECHO);
    daemon.says("1112223333", "echo hello");
    let reply = daemon.answers("1112223333", "hello");
    assert_eq!(reply["backend"], "message_tester");
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
}
