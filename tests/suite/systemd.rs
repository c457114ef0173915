//! What the daemon tells systemd: ready, alive, reloading, stopping (sd_notify(3)).

use super::daemon::{Daemon, ECHO, folder, program};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Waits for the next message that is not the watchdog's.
fn told(socket: &UnixDatagram) -> String {
    loop {
        let message = next(socket);
        if message != "WATCHDOG=1" {
            return message;
        }
    }
}

fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let count = socket.recv(&mut buffer).expect("the daemon tells something in time");
    String::from_utf8_lossy(&buffer[..count]).trim().to_string()
}

#[test]
fn systemd_is_told_of_each_step_and_fed_while_there_is_progress() {
    let folder = folder(ECHO);
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = program(folder.path());
    command.arg("run_router").env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let daemon = Daemon::start_as(folder, command);

    assert_eq!(told(&socket), "READY=1");
    assert_eq!(next(&socket), "WATCHDOG=1");
    assert_eq!(
        next(&socket),
        "WATCHDOG=1",
        "an idle router makes progress too: it looks whether there is work"
    );
    daemon.signal(Signal::HUP);
    assert!(told(&socket).starts_with("RELOADING=1"));
    assert_eq!(told(&socket), "READY=1");
    daemon.signal(Signal::TERM);
    assert_eq!(told(&socket), "STOPPING=1");
    assert_eq!(daemon.ends().code, 0);
}
