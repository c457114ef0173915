//! A real Kannel on loopback, for tests: Debian's bearerbox and smsbox with free ports and a temporary folder, and the telephone network behind its `fake` link.
//!
//! Nothing sleeps: the programs say in their logs when they are ready, and what phones receive is waited for with a deadline. A Kannel can be killed and
//! started again in its folder, with its store and its ports. `bearerbox` and `smsbox` are in Debian's package `kannel`.

use super::daemon::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The ports of one Kannel, and one for who talks to it.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Where a person looks after it.
    pub admin: u16,
    /// Where smsbox connects to bearerbox.
    pub boxes: u16,
    /// Where sendsms is.
    pub sendsms: u16,
    /// Where the telephone network connects.
    pub link: u16,
    /// For the router under test, which must know it beforehand.
    pub router: u16,
}

impl Ports {
    /// Free ones.
    pub fn free() -> Ports {
        // All are held until all are known, so no two are the same.
        let held: Vec<TcpListener> =
            (0..5).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
        let port = |index: usize| held[index].local_addr().expect("an address").port();
        Ports { admin: port(0), boxes: port(1), sendsms: port(2), link: port(3), router: port(4) }
    }
}

/// A sendsms-user's name, and the passwords.
pub const USER: &str = "rapidsms";
/// The sendsms-user's password.
pub const PASSWORD: &str = "sesame-1";
/// The password of the admin port.
pub const ADMIN: &str = "sesame-2";
/// The smsc-id of the link.
pub const SMSC: &str = "FAKE";

/// A running Kannel.
pub struct Kannel {
    /// Its ports.
    pub ports: Ports,
    folder: TempDir,
    bearerbox: Program,
    smsbox: Program,
}

impl Kannel {
    /// Starts one. `services` are further groups of its configuration, such as those that [`service`] makes.
    pub fn start(ports: Ports, services: &str) -> Kannel {
        let folder = tempfile::tempdir().expect("a folder");
        let Ports { admin, boxes, sendsms, link, .. } = ports;
        let configuration = format!(
            "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = {ADMIN}\n\
             status-password = {ADMIN}\nsmsbox-port = {boxes}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\n\
             store-type = spool\nstore-location = {store}\nsms-resend-freq = 1\n\n\
             group = smsc\nsmsc = fake\nsmsc-id = {SMSC}\nport = {link}\nour-host = 127.0.0.1\nconnect-allow-ip = 127.0.0.1\n\n\
             group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {sendsms}\nsendsms-interface = 127.0.0.1\n\
             http-request-retry = 60\nhttp-queue-delay = 1\n\n\
             group = sendsms-user\nusername = {USER}\npassword = {PASSWORD}\nmax-messages = 20\nconcatenation = true\n\n\
             {services}\n",
            store = folder.path().join("store").display(),
        );
        std::fs::create_dir(folder.path().join("store")).expect("a folder");
        std::fs::write(folder.path().join("kannel.conf"), configuration).expect("a file");
        let (bearerbox, smsbox) = Kannel::run(folder.path());
        Kannel { ports, folder, bearerbox, smsbox }
    }

    /// Runs bearerbox and smsbox by the `kannel.conf` of a folder, until both are ready.
    pub fn run(folder: &Path) -> (Program, Program) {
        let bearerbox = Program::start("/usr/sbin/bearerbox", folder);
        bearerbox.wait_for("entering mainloop", 1);
        let smsbox = Program::start("/usr/sbin/smsbox", folder);
        // smsbox says that it is connected before it is, and dies of a request in between. Its heart beats when it really is.
        smsbox.wait_for("heartbeat.c", 1);
        (bearerbox, smsbox)
    }

    /// Kills both, as a power cut does.
    pub fn kill(&mut self) {
        self.smsbox.kill();
        self.bearerbox.kill();
    }

    /// Starts it again after it was killed, with what its store has.
    pub fn start_again(&mut self) {
        (self.bearerbox, self.smsbox) = Kannel::run(self.folder.path());
    }

    /// Connects the telephone network to its link.
    pub fn phones(&self) -> Phones {
        let before = self.bearerbox.count("Fakesmsc client connected");
        let phones = Phones::connect(self.ports.link);
        self.bearerbox.wait_for("Fakesmsc client connected", before + 1);
        phones
    }

    /// Gives an order at the admin port (`stop-smsc?smsc=FAKE`), and returns what it says.
    pub fn order(&self, order: &str) -> String {
        let joint = if order.contains('?') { '&' } else { '?' };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.admin)).expect("the admin port");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let request =
            format!("GET /{order}{joint}password={ADMIN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the admin port listens");
        let mut answer = Vec::new();
        // It closes without a word where it was told to stop.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What both programs wrote, for failures.
    pub fn log(&self) -> String {
        format!("bearerbox:\n{}\nsmsbox:\n{}", self.bearerbox.log(), self.smsbox.log())
    }

    /// Waits for a line of smsbox's log.
    pub fn smsbox_says(&self, part: &str) {
        self.smsbox.wait_for(part, 1);
    }
}

/// A service that hands messages to a get-url, and never sends what comes back to the phone.
pub fn service(get_url: &str) -> String {
    format!(
        "group = sms-service\nkeyword = default\nname = rapidsms\nget-url = \"{get_url}\"\nmax-messages = 0\n\
         catch-all = true\nomit-empty = true\n"
    )
}

/// One message as it arrives in the telephone network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sms {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// `text`, `ucs-2`, `data`; a part of a longer one is `udh`.
    pub kind: String,
    /// The header within the text; empty when there is none.
    pub udh: Vec<u8>,
    /// The octets.
    pub octets: Vec<u8>,
}

impl Sms {
    fn of_line(line: &[u8]) -> Sms {
        let mut words = line.splitn(4, |octet| *octet == b' ').map(<[u8]>::to_vec);
        let mut word = || String::from_utf8(words.next().unwrap_or_default()).expect("numbers are ASCII");
        let (from, to, kind) = (word(), word(), word());
        let rest = words.next().unwrap_or_default();
        let decode = |octets: &[u8]| {
            let blanks: Vec<u8> =
                octets.iter().map(|octet| if *octet == b'+' { b' ' } else { *octet }).collect();
            percent_encoding::percent_decode(&blanks).collect::<Vec<u8>>()
        };
        let (udh, octets) = match kind.as_str() {
            "udh" => {
                let text = String::from_utf8_lossy(&rest).into_owned();
                let (udh, data) = text.split_once(" data ").unwrap_or((&text, ""));
                (decode(udh.as_bytes()), decode(data.as_bytes()))
            }
            "text" => (Vec::new(), rest),
            _ => (Vec::new(), decode(&rest)),
        };
        Sms { from, to, kind, udh, octets }
    }

    /// The text of one that is whole.
    pub fn text(&self) -> String {
        match self.kind.as_str() {
            "ucs-2" => utf16(&self.octets),
            _ => String::from_utf8(self.octets.clone()).expect("Kannel's texts are UTF-8"),
        }
    }
}

/// The text of octets that are UTF-16 with the high octet first.
pub fn utf16(octets: &[u8]) -> String {
    let units: Vec<u16> = octets.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).expect("UTF-16")
}

/// Every telephone: the other side of the `fake` link, which speaks lines.
pub struct Phones {
    stream: TcpStream,
    received: Receiver<Sms>,
}

impl Phones {
    fn connect(port: u16) -> Phones {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the link listens");
        let mut reader = BufReader::new(stream.try_clone().expect("a second hand"));
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let ended = line.strip_suffix(b"\n").unwrap_or(&line);
                if sender.send(Sms::of_line(ended)).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Phones { stream, received }
    }

    /// A phone sends a text of the GSM alphabet.
    pub fn say(&mut self, from: &str, to: &str, text: &str) {
        self.line(&format!("{from} {to} text {text}"));
    }

    /// A phone sends a text in UCS-2.
    pub fn say_ucs2(&mut self, from: &str, to: &str, text: &str) {
        let octets: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let encoded: String = octets.iter().map(|octet| format!("%{octet:02x}")).collect();
        self.line(&format!("{from} {to} ucs2 {encoded}"));
    }

    /// A phone sends one part of a longer text of the GSM alphabet.
    pub fn say_part(&mut self, from: &str, to: &str, reference: u8, total: u8, sequence: u8, text: &str) {
        let udh = format!("%05%00%03%{reference:02x}%{total:02x}%{sequence:02x}");
        self.line(&format!("{from} {to} udh-text {udh} {text}"));
    }

    /// A phone sends octets.
    pub fn say_octets(&mut self, from: &str, to: &str, octets: &[u8]) {
        let encoded: String = octets.iter().map(|octet| format!("%{octet:02x}")).collect();
        self.line(&format!("{from} {to} data {encoded}"));
    }

    fn line(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).expect("the link is up");
    }

    /// The next message that arrives.
    #[track_caller]
    pub fn next(&self) -> Sms {
        self.received.recv_timeout(PATIENCE).expect("no message arrives")
    }

    /// The next message, if one arrives in this time.
    pub fn next_within(&self, patience: Duration) -> Option<Sms> {
        self.received.recv_timeout(patience).ok()
    }

    /// The next text that arrives, put together from its parts, of which it has so many.
    #[track_caller]
    pub fn next_text(&self) -> (String, usize) {
        let first = self.next();
        // 05 00 03 reference total sequence (TS 23.040 clause 9.2.3.24.1).
        let [5, 0, 3, _, total, _] = first.udh[..] else { return (first.text(), 1) };
        let mut parts = vec![first];
        while parts.len() < usize::from(total) {
            parts.push(self.next());
        }
        parts.sort_by_key(|part| part.udh[5]);
        let octets: Vec<u8> = parts.iter().flat_map(|part| part.octets.clone()).collect();
        // The line does not say which alphabet it is; UTF-16 has zero octets and high planes, UTF-8 never has them in this way.
        let text = match String::from_utf8(octets.clone()) {
            Ok(text) if !text.contains('\0') => text,
            _ => utf16(&octets),
        };
        (text, parts.len())
    }
}

impl Drop for Phones {
    fn drop(&mut self) {
        // The reader ends with it.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

type Lines = Arc<(Mutex<Vec<String>>, Condvar)>;

/// A program that says on standard error what it does. It is killed when it is dropped.
pub struct Program {
    child: Child,
    lines: Lines,
}

impl Program {
    /// Starts it in the folder of its `kannel.conf`.
    pub fn start(path: &str, folder: &Path) -> Program {
        let mut command = Command::new(path);
        command.args(["-v", "0", "kannel.conf"]).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{path} is needed for the tests with a real Kannel ({error}): apt-get install kannel")
        });
        let stderr = child.stderr.take().expect("a pipe");
        let lines = Lines::default();
        let written = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let (lines, news) = &*written;
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(String::from_utf8_lossy(&line).into_owned());
                news.notify_all();
            }
        });
        Program { child, lines }
    }

    /// Waits until so many of its lines have this in them.
    #[track_caller]
    pub fn wait_for(&self, part: &str, times: usize) {
        let (lines, news) = &*self.lines;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.iter().filter(|line| line.contains(part)).count() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {part:?} in:\n{}", lines.join("\n"));
            lines = news.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn count(&self, part: &str) -> usize {
        let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains(part)).count()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn kill(&mut self) {
        // Both fail when it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
