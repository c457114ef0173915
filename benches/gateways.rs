//! A gateway's call in, an app's answer, a call out to the gateway: this daemon beside Debian's Kannel, with the same clients and the same peer
//! in one run. Ours keeps every message on disk before it answers the gateway; Kannel asks no disk to keep anything, and has the app behind
//! HTTP, since it has no apps of its own.

mod common;

use common::{launch, median, p99, processes};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
const MESSAGES: usize = 20_000;
/// Sent one after the other, each when the answer to the one before has left.
const LONE: usize = 100;
/// Nobody takes so long for one message, or to begin.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let (middle, slow) = common::sync_times(folder.path());
    println!("fdatasync of 4 KiB after a pause: median {middle:.2?}, p99 {slow:.2?}");
    println!("{MESSAGES} messages by {CLIENTS} connections, then {LONE} one by one");
    let ours = measure("rapidsms, on disk", &rapidsms);
    println!("{ours}");
    if !["bearerbox", "smsbox"].iter().all(|program| is_installed(program)) {
        return println!("kannel is left out: it is not installed");
    }
    let kannel = measure("kannel, nothing synced", &kannel);
    println!("{kannel}");
    println!(
        "so rapidsms answers {:.1} times as many (wanted 2), a lone one in 1/{:.0} of the time, with {:.2} of the CPU time and {:.2} of the memory",
        ours.rate / kannel.rate,
        kannel.lone.as_secs_f64() / ours.lone.as_secs_f64(),
        ours.cpu.as_secs_f64() / kannel.cpu.as_secs_f64(),
        ours.memory / kannel.memory,
    );
}

/// What one of them did.
struct Figures {
    name: &'static str,
    /// Answers that left, per second, from the first call in to the last call out.
    rate: f64,
    answered: u64,
    /// From the call in to the call out, one message at a time: in the middle, and the slowest but one in a hundred.
    lone: Duration,
    lone_p99: Duration,
    /// For 1,000 messages.
    cpu: Duration,
    /// MiB, pages that are shared counted once.
    memory: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { name, rate, answered, lone, lone_p99, cpu, memory } = self;
        write!(
            f,
            "{name:<24} {rate:>7.0}/s ({answered} answered)   lone: median {lone:>8.2?} p99 {lone_p99:>8.2?}   {cpu:>7.1?} CPU for 1,000   {memory:>5.1} MiB"
        )
    }
}

/// A running contestant: its processes, where the gateway calls, and what that call begins with.
struct Running {
    children: Vec<Child>,
    address: String,
    path: &'static str,
}

impl Running {
    fn roots(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    fn request(&self, number: usize) -> Vec<u8> {
        let path = self.path;
        format!(
            "GET {path}&from=%2B1555{number:07}&text=echo+hello+{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        )
        .into_bytes()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            // They are ours.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn measure(name: &'static str, start: &dyn Fn(&Path, u16) -> Running) -> Figures {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start();
    let running = start(folder.path(), gateway.port);
    let mut connection = connect(&running.address);
    // The first one may find things that are still being opened.
    call(&mut connection, &running.request(0));
    gateway.wait_for(1);
    let before = processes::cost(&running.roots());
    let begin = Instant::now();
    let mut connections: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(&running.address)).collect();
    for round in 0..MESSAGES / CLIENTS {
        for (client, connection) in connections.iter_mut().enumerate() {
            connection.write_all(&running.request(1 + round * CLIENTS + client)).expect("a call");
        }
        connections.iter_mut().for_each(taken);
    }
    let sent = MESSAGES / CLIENTS * CLIENTS;
    let took = gateway.wait_for(1 + sent as u64).duration_since(begin);
    let answered = gateway.answers.load(Ordering::Relaxed) - 1;
    let cost = processes::cost(&running.roots()) - before;
    let (_, memory) = processes::memory(&running.roots());
    let mut times: Vec<Duration> = (0..LONE)
        .map(|number| {
            let (wanted, begin) = (gateway.answers.load(Ordering::Relaxed) + 1, Instant::now());
            call(&mut connection, &running.request(MESSAGES + number));
            gateway.wait_for(wanted).duration_since(begin)
        })
        .collect();
    Figures {
        name,
        rate: answered as f64 / took.as_secs_f64(),
        answered,
        lone: median(&mut times),
        lone_p99: p99(&mut times),
        cpu: cost.cpu * 1000 / u32::try_from(sent).unwrap_or(u32::MAX),
        memory,
    }
}

fn connect(address: &str) -> TcpStream {
    let connection = TcpStream::connect(address).expect("a connection");
    connection.set_nodelay(true).expect("an option");
    connection.set_read_timeout(Some(PATIENCE)).expect("an option");
    connection
}

fn call(connection: &mut TcpStream, request: &[u8]) {
    connection.write_all(request).expect("a call");
    taken(connection);
}

/// Reads one answer to the gateway; these are small and come in one piece.
fn taken(connection: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let count = connection.read(&mut buffer).expect("an answer");
    let text = String::from_utf8_lossy(&buffer[..count]);
    assert!(text.starts_with("HTTP/1.1 20"), "the call was answered {text:?}");
}

/// The other side: takes what is sent, and is the app of those who have none.
struct Gateway {
    port: u16,
    answers: Arc<AtomicU64>,
    arrived: Receiver<Instant>,
}

impl Gateway {
    fn start() -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answers = Arc::new(AtomicU64::new(0));
        let (tell, arrived) = channel();
        let counter = answers.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (counter, tell) = (counter.clone(), tell.clone());
                std::thread::spawn(move || serve(connection, &counter, &tell));
            }
        });
        Gateway { port, answers, arrived }
    }

    /// When so many have left, or when nothing has moved for long.
    fn wait_for(&self, wanted: u64) -> Instant {
        let mut last = Instant::now();
        while self.answers.load(Ordering::Acquire) < wanted {
            match self.arrived.recv_timeout(PATIENCE) {
                Ok(at) => last = at,
                Err(_) => return last,
            }
        }
        // The last ones are told after they are counted.
        while let Ok(at) = self.arrived.try_recv() {
            last = last.max(at);
        }
        last
    }
}

fn serve(connection: TcpStream, answers: &AtomicU64, arrived: &Sender<Instant>) {
    let _ = connection.set_nodelay(true);
    let Ok(reading) = connection.try_clone() else { return };
    let (mut lines, mut writing) = (BufReader::new(reading), connection);
    let mut line = String::new();
    loop {
        let mut is_answer = false;
        let mut first = true;
        loop {
            line.clear();
            match lines.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) if first => is_answer = line.contains(" /out"),
                Ok(_) => {}
            }
            first = false;
        }
        let body = if is_answer { "0: Accepted for delivery" } else { "hello" };
        let status = if is_answer { "202 Accepted" } else { "200 OK" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if is_answer {
            let at = Instant::now();
            answers.fetch_add(1, Ordering::Release);
            // Nobody listens any more only when all is over.
            let _ = arrived.send(at);
        }
        if writing.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn rapidsms(folder: &Path, gateway: u16) -> Running {
    let settings = format!(
        "INSTALLED_APPS = [\"echo\"]\nLOG_LEVEL = \"ERROR\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
         [INSTALLED_BACKENDS.message_tester]\nENGINE = \"bucket\"\n\
         [INSTALLED_BACKENDS.gateway]\nENGINE = \"http\"\nloop_guard = false\n\
         gateway_url = \"http://127.0.0.1:{gateway}/out\"\n\
         params_outgoing = \"to=%(phone_number)s&text=%(message)s\"\n\
         params_incoming = \"from=%(phone_number)s&text=%(message)s\"\n"
    );
    let (child, address) = launch(folder, &settings);
    Running { children: vec![child], address, path: "/http/gateway/?x=y" }
}

fn kannel(folder: &Path, gateway: u16) -> Running {
    let ports: Vec<u16> = {
        let held: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        held.iter().map(|it| it.local_addr().expect("an address").port()).collect()
    };
    let mut text = include_str!("peers/kannel-gateway").replace("{peer}", &gateway.to_string());
    for (number, port) in ports.iter().enumerate() {
        text = text.replace(&format!("{{port{}}}", number + 1), &port.to_string());
    }
    let settings = folder.join("kannel.conf");
    fs::write(&settings, text.replace("{folder}", &folder.display().to_string())).expect("settings");
    let start = |program: &str| {
        let mut command = Command::new(program);
        command.arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
    };
    let mut running = Running {
        children: vec![start("bearerbox")],
        address: format!("127.0.0.1:{}", ports[3]),
        path: "/?username=bench&password=bench&to=123",
    };
    wait_until(|| TcpStream::connect(("127.0.0.1", ports[1])).is_ok(), "bearerbox");
    running.children.push(start("smsbox"));
    wait_until(|| status(ports[0]).contains("smsbox"), "smsbox");
    running
}

fn status(port: u16) -> String {
    let mut text = String::new();
    if let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) {
        let request = "GET /status.txt?password=bench HTTP/1.0\r\n\r\n";
        let _ = connection
            .write_all(request.as_bytes())
            .and_then(|()| connection.read_to_string(&mut text).map(drop));
    }
    text
}

/// Nothing tells when another program is ready, so it is asked until it answers.
fn wait_until(ready: impl Fn() -> bool, who: &str) {
    let until = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < until, "{who} does not begin");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
