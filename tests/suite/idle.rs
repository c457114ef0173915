//! What the daemon does while there is nothing to do (P11): nothing.

use super::daemon::{Daemon, ECHO};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How often each thread of the daemon was put back to work so far.
fn wakeups(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks
        .map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        })
        .sum()
}

#[test]
fn p11_idle_wakes_nobody_and_writes_nothing() {
    let daemon = Daemon::start(ECHO);
    daemon.says("1", "echo hello");
    daemon.answers("1", "hello");
    let mut connection = TcpStream::connect(&daemon.address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    assert!(connection.read(&mut answer).unwrap() > 0);
    let log = daemon.database().with_extension("db-wal");
    let (woken, written) = (wakeups(daemon.child.id()), std::fs::metadata(&log).unwrap().modified().unwrap());

    // The daemon closes the idle connection after 15 seconds of its own; that is all it does in this time.
    assert_eq!(connection.read(&mut answer).unwrap(), 0, "the idle connection is closed");

    let woken = wakeups(daemon.child.id()) - woken;
    assert!(woken <= 30, "{woken} wake-ups in 15 idle seconds");
    assert_eq!(std::fs::metadata(&log).unwrap().modified().unwrap(), written, "an idle store is not written");
    assert_eq!(daemon.stop().code, 0);
}
