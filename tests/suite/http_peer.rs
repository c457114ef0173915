//! A gateway's side of HTTP for tests: it keeps what it was asked, and does to each request what the test says, however badly it behaves.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is slower than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `POST /send HTTP/1.1`.
    pub line: String,
    /// All of the head.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Both directions of a connection.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// Whether the connection goes on.
pub type Goes = bool;

type Behaviour = dyn Fn(&Asked, &mut dyn Wire) -> Goes + Send + Sync;

/// A peer. It ends when it is dropped.
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    asked: crossbeam_channel::Receiver<Asked>,
    /// Told after a connection was closed by this side.
    pub closed: crossbeam_channel::Receiver<()>,
    over: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// A peer that answers each request with this: `200 OK` and a body.
    pub fn saying(status: &'static str, body: &'static str) -> Peer {
        Peer::start(move |_, wire| answer(wire, status, body))
    }

    /// A peer that does this with each request.
    pub fn start(behaviour: impl Fn(&Asked, &mut dyn Wire) -> Goes + Send + Sync + 'static) -> Peer {
        Peer::listen(None, behaviour)
    }

    /// The same behind TLS, with one of the certificates in tests/http/tls.
    pub fn sealed(
        certificate: &str,
        behaviour: impl Fn(&Asked, &mut dyn Wire) -> Goes + Send + Sync + 'static,
    ) -> Peer {
        Peer::listen(Some(Arc::new(server(certificate))), behaviour)
    }

    fn listen(
        tls: Option<Arc<rustls::ServerConfig>>,
        behaviour: impl Fn(&Asked, &mut dyn Wire) -> Goes + Send + Sync + 'static,
    ) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (told, asked) = crossbeam_channel::unbounded();
        let (ending, closed) = crossbeam_channel::unbounded();
        let over = Arc::new(AtomicBool::new(false));
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let (ended, streams) = (Arc::clone(&over), Arc::clone(&open));
        let thread = std::thread::spawn(move || {
            let mut hands = Vec::new();
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                let (Ok(copy), Ok(end)) = (stream.try_clone(), stream.try_clone()) else { continue };
                streams.lock().expect("a list").push(copy);
                let (behaviour, told, ending, tls) =
                    (Arc::clone(&behaviour), told.clone(), ending.clone(), tls.clone());
                hands.push(std::thread::spawn(move || {
                    match tls {
                        None => talk(&mut { stream }, &*behaviour, &told),
                        Some(tls) => {
                            let connection = rustls::ServerConnection::new(tls).expect("TLS");
                            talk(&mut rustls::StreamOwned::new(connection, stream), &*behaviour, &told);
                        }
                    }
                    let _ = end.shutdown(Shutdown::Both);
                    let _ = ending.send(());
                }));
            }
            for hand in hands {
                let _ = hand.join();
            }
        });
        Peer { address, asked, closed, over, open, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT` and this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    #[track_caller]
    pub fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("the peer is asked")
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.open.lock().expect("a list").len()
    }

    /// What it was asked since.
    pub fn rest(&self) -> Vec<Asked> {
        self.asked.try_iter().collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        for stream in self.open.lock().expect("a list").iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A whole answer.
pub fn answer(wire: &mut dyn Wire, status: &str, body: &str) -> Goes {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    wire.write_all(text.as_bytes()).and_then(|()| wire.flush()).is_ok()
}

/// One of the files in tests/http/tls.
pub fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/tls").join(name)
}

/// Whatever the test process has, the provider is named here.
fn server(certificate: &str) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(tls_file(&format!("{certificate}.pem"))).expect("a file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(tls_file(&format!("{certificate}.key"))).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    config.expect("protocols").with_no_client_auth().with_single_cert(chain, key).expect("a certificate")
}

fn talk(wire: &mut dyn Wire, behaviour: &Behaviour, told: &crossbeam_channel::Sender<Asked>) {
    while let Some(asked) = read(wire) {
        let _ = told.send(asked.clone());
        if !behaviour(&asked, wire) {
            return;
        }
    }
}

fn read(wire: &mut dyn Wire) -> Option<Asked> {
    let mut octets = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        if let Some(at) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match wire.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => octets.extend_from_slice(&piece[..count]),
        }
    };
    let head = String::from_utf8_lossy(&octets[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().to_string())
    });
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    while octets.len() < end + length {
        match wire.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => octets.extend_from_slice(&piece[..count]),
        }
    }
    let line = head.lines().next().unwrap_or_default().to_string();
    Some(Asked { line, head, body: String::from_utf8_lossy(&octets[end..end + length]).into_owned() })
}
