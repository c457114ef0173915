//! The daemon calls programs about their messages: over real sockets, to peers that are away, that hang and that say no, and through `kill -9`.

use crate::daemon::{Daemon, PATIENCE, folder};
use crate::rig::{self, start_rig};
use crossbeam_channel::{Receiver, unbounded};
use rapidsms::store::sqlite::Sqlite;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A program that wants to be called.
struct Peer {
    address: SocketAddr,
    /// The target of each request, in order.
    heard: Receiver<String>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Listens at a port (0: any), and answers a request for a target with this status; none: not at all.
    fn listen(port: u16, answer: impl Fn(&str) -> Option<u16> + Send + 'static) -> Peer {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (say, heard) = unbounded();
        let over = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            // Whoever gets no answer waits until the peer ends.
            let mut waiting = Vec::new();
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(mut stream) = stream else { continue };
                let Some(target) = target(&stream) else { continue };
                let status = answer(&target);
                let _ = say.send(target);
                match status {
                    Some(status) => {
                        let head = format!(
                            "HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
                        );
                        let _ = stream.write_all(head.as_bytes());
                    }
                    None => waiting.push(stream),
                }
            }
        });
        Peer { address, heard, over, thread: Some(thread) }
    }

    /// The next request.
    #[track_caller]
    fn hears(&self, daemon: &Daemon) -> String {
        self.heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nobody calls:\n{}", daemon.log()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads the head of a request.
fn target(stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let target = first.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?;
    Some(target.to_string())
}

/// Somebody asks for an answer about which this URL is called.
fn asks(daemon: &Daemon, identity: &str, url: &str) {
    let text = format!("call {url} hello");
    let answer = daemon.post("/httptester/well/", &[("identity", identity), ("text", &text)]);
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, daemon.log());
}

/// How many callbacks wait, as the router says.
fn waiting(daemon: &Daemon) -> u64 {
    daemon.get("/healthz").json()["waiting_callbacks"].as_u64().expect("a number")
}

fn none_waits(daemon: &Daemon) {
    daemon.wait_until("no callback waits", |daemon| (waiting(daemon) == 0).then_some(()));
}

#[test]
fn a_peer_that_is_away_or_says_no_is_called_again() {
    let daemon = start_rig(folder(rig::SETTINGS));
    let away = Peer::listen(0, |_| Some(200));
    let port = away.address.port();
    drop(away);
    let once = AtomicBool::new(true);
    let moody = Peer::listen(0, move |_| Some(if once.swap(false, Ordering::SeqCst) { 500 } else { 202 }));
    asks(&daemon, "+1", &format!("http://127.0.0.1:{port}/%d/%I/%p"));
    asks(&daemon, "+2", &format!("http://{}/%d/%I/%p", moody.address));
    let first = moody.hears(&daemon);
    assert!(first.starts_with("/8/") && first.ends_with("/%2B2"), "{first}");
    assert_eq!(moody.hears(&daemon), first, "the same by the same name");
    daemon.wait_until("one waits", |daemon| (waiting(daemon) == 1).then_some(()));
    assert_eq!(Sqlite::open_reader(&daemon.database()).unwrap().calls().unwrap(), 1);
    let back = Peer::listen(port, |_| Some(200));
    let told = back.hears(&daemon);
    assert!(told.starts_with("/8/") && told.ends_with("/%2B1"), "{told}");
    none_waits(&daemon);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
}

#[test]
fn p7_isolation_a_peer_that_hangs_delays_nobody_and_kill_9_loses_no_callback() {
    let daemon = start_rig(folder(rig::SETTINGS));
    let hangs = Peer::listen(0, |_| None);
    let well = Peer::listen(0, |_| Some(201));
    for n in 0..20 {
        asks(&daemon, &format!("+1{n}"), &format!("http://{}/%I/%p", hangs.address));
    }
    let mut begun = vec![hangs.hears(&daemon), hangs.hears(&daemon)];
    asks(&daemon, "+2", &format!("http://{}/%p", well.address));
    assert_eq!(well.hears(&daemon), "/%2B2");
    assert_eq!(hangs.heard.try_iter().count(), 0, "two at a time");
    daemon.wait_until("the others wait", |daemon| (waiting(daemon) == 20).then_some(()));
    let ended = daemon.kill9();
    let port = hangs.address.port();
    drop(hangs);
    let again = Peer::listen(port, |_| Some(200));
    let daemon = start_rig(ended.folder);
    let mut told: Vec<String> = (0..20).map(|_| again.hears(&daemon)).collect();
    none_waits(&daemon);
    told.sort();
    begun.sort();
    assert!(begun.iter().all(|begun| told.contains(begun)), "{begun:?} again by the same names: {told:?}");
    told.dedup_by_key(|target| target.rsplit('/').next().map(str::to_string));
    assert_eq!(told.len(), 20);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
}

#[test]
fn p16_stop_a_call_that_hangs_does_not_hold_the_stop_up() {
    let daemon = start_rig(folder(rig::SETTINGS));
    let hangs = Peer::listen(0, |_| None);
    for n in 0..5 {
        asks(&daemon, &format!("+1{n}"), &format!("http://{}/%p", hangs.address));
    }
    hangs.hears(&daemon);
    let begun = std::time::Instant::now();
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    // What was not answered is called again.
    let port = hangs.address.port();
    drop(hangs);
    let again = Peer::listen(port, |_| Some(200));
    let daemon = start_rig(ended.folder);
    for _ in 0..5 {
        again.hears(&daemon);
    }
    none_waits(&daemon);
    daemon.stop();
}
