//! A connection to a mail server: TCP or TLS, with a deadline and a bound of octets for every step, and one place to wait for the server, the
//! clock and the stop alike.
//!
//! It looks like a blocking stream to those who read and write, but never waits without a deadline: a server that says one octet in a second gets no
//! further than one that says nothing. TLS checks the certificate and the name (RFC 8446; RFC 6125); there is no way to leave that out.

use super::rules::{Peer, Security};
use crate::backends::{BackendError, Line};
use imap::extensions::idle::SetReadTimeout;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOCKET: Token = Token(0);
const MAIL: Token = Token(1);
/// So many addresses of one name are tried.
const ADDRESSES: usize = 4;
/// The longest CA file.
const CA_FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// One place to wait: for the server, for the clock, and for a word from the router.
pub struct Wake<'a> {
    line: &'a Line,
    poll: RefCell<Poll>,
    /// After a stop, what is under way may take this much longer; `None`: nothing.
    grace: Option<Duration>,
    stopped_at: Cell<Option<Instant>>,
}

impl<'a> Wake<'a> {
    /// The place of one hand. With `grace`, a stop does not end what is under way, but shortens it.
    pub fn new(line: &'a Line, grace: Option<Duration>) -> Result<Wake<'a>, BackendError> {
        let broken = |error: io::Error| BackendError::Lost(format!("nothing can be waited for: {error}"));
        let poll = Poll::new().map_err(broken)?;
        let waker = Waker::new(poll.registry(), MAIL).map_err(broken)?;
        line.on_mail(move || {
            // It fails only when there is no poll any more, and then nobody waits.
            let _ = waker.wake();
        });
        Ok(Wake { line, poll: RefCell::new(poll), grace, stopped_at: Cell::new(None) })
    }

    /// Waits until something happens or the time is over. `Err`: it is time to stop.
    fn wait_until(&self, deadline: Instant) -> io::Result<()> {
        let mut deadline = deadline;
        if self.line.is_stopping() {
            let now = Instant::now();
            let since = self.stopped_at.get().unwrap_or(now);
            self.stopped_at.set(Some(since));
            match self.grace {
                Some(grace) if since + grace > now => deadline = deadline.min(since + grace),
                _ => return Err(io::Error::new(ErrorKind::ConnectionAborted, "it is time to stop")),
            }
        }
        let wait = deadline.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"));
        }
        let mut events = Events::with_capacity(4);
        self.line.waiting();
        let polled = self.poll.borrow_mut().poll(&mut events, Some(wait));
        self.line.working();
        match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for so long, or until it is time to stop.
    pub fn pause(&self, wait: Duration) {
        let end = Instant::now() + wait;
        while !self.line.is_stopping() && Instant::now() < end {
            if self.wait_until(end).is_err() {
                return;
            }
        }
    }
}

/// What one step may take: until when, and how many octets may come. Shared between a stream and who uses it through others.
#[derive(Clone, Debug)]
pub struct Leash {
    now: Rc<Cell<(Instant, u64)>>,
    step: Duration,
}

impl Leash {
    /// Steps of this length.
    pub fn new(step: Duration) -> Leash {
        Leash { now: Rc::new(Cell::new((Instant::now() + step, 0))), step }
    }

    /// A new step begins, in which no more than so many octets may come.
    pub fn step(&self, octets: u64) {
        self.lasting(self.step, octets);
    }

    /// The same with a length of its own.
    pub fn lasting(&self, step: Duration, octets: u64) {
        self.now.set((Instant::now() + step, octets));
    }

    /// How long an ordinary step may take.
    pub fn length(&self) -> Duration {
        self.step
    }

    fn deadline(&self) -> Instant {
        self.now.get().0
    }

    fn pay(&self, octets: usize) -> io::Result<()> {
        let (deadline, left) = self.now.get();
        match left.checked_sub(octets as u64) {
            Some(left) => self.now.set((deadline, left)),
            None => return Err(io::Error::new(ErrorKind::InvalidData, "it says more than it was asked for")),
        }
        Ok(())
    }
}

/// The connection below TLS.
pub struct Socket<'a> {
    wake: &'a Wake<'a>,
    leash: Leash,
    tcp: TcpStream,
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tcp.read(buffer) {
                Ok(count) => {
                    self.leash.pay(count)?;
                    // Who sends without end must not outrun the clock.
                    if Instant::now() > self.leash.deadline() {
                        return Err(io::Error::new(ErrorKind::TimedOut, "no complete answer in time"));
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wake.wait_until(self.leash.deadline())?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        loop {
            match self.tcp.write(octets) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wake.wait_until(self.leash.deadline())?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
        let _ = self.wake.poll.borrow_mut().registry().deregister(&mut self.tcp);
    }
}

/// A connection to a mail server.
pub enum Stream<'a> {
    /// In clear.
    Plain(Socket<'a>),
    /// Behind TLS.
    Tls(Box<StreamOwned<ClientConnection, Socket<'a>>>),
}

impl<'a> Stream<'a> {
    /// Connects. With [`Security::StartTls`] the stream is in clear until it is [secured](Stream::secure). An error is a sentence.
    pub fn connect(
        wake: &'a Wake<'a>,
        peer: &Peer,
        leash: &Leash,
        trust: &Arc<ClientConfig>,
    ) -> Result<Stream<'a>, String> {
        leash.step(1024 * 1024);
        let named = format!("{} port {}", peer.host, peer.port);
        let addresses: Vec<SocketAddr> = (peer.host.as_str(), peer.port)
            .to_socket_addrs()
            .map_err(|error| format!("the name {} cannot be looked up: {error}", peer.host))?
            .take(ADDRESSES)
            .collect();
        let mut last = format!("the name {} has no address", peer.host);
        for address in addresses {
            match Socket::connect(wake, leash, address) {
                Ok(socket) => {
                    let stream = Stream::Plain(socket);
                    return match peer.security {
                        Security::Tls => stream.secure(peer, trust),
                        Security::StartTls | Security::Plain => Ok(stream),
                    };
                }
                Err(error) => last = format!("{named} cannot be reached: {error}"),
            }
        }
        Err(last)
    }

    /// Goes on behind TLS. What the server said too early is taken for a part of the handshake, and so refused.
    pub fn secure(self, peer: &Peer, trust: &Arc<ClientConfig>) -> Result<Stream<'a>, String> {
        let Stream::Plain(mut socket) = self else { return Ok(self) };
        let host = peer.host.trim_matches(['[', ']']).to_string();
        let name = ServerName::try_from(host)
            .map_err(|error| format!("{} is no name that a certificate could have: {error}", peer.host))?;
        let mut connection = ClientConnection::new(trust.clone(), name)
            .map_err(|error| format!("TLS with {} cannot begin: {error}", peer.host))?;
        while connection.is_handshaking() {
            match connection.complete_io(&mut socket) {
                Ok((0, 0)) => return Err(format!("{} closed the connection during TLS", peer.host)),
                Ok(_) => {}
                Err(error) => return Err(tls_trouble(peer, &error)),
            }
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// Reads one line without its end, of so many octets at most.
    pub fn read_line(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut octet = [0; 1];
        loop {
            match self.read(&mut octet) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed")),
                Ok(_) if octet[0] == b'\n' => break,
                Ok(_) if line.len() >= limit => {
                    return Err(io::Error::new(ErrorKind::InvalidData, "a line without an end"));
                }
                Ok(_) => line.push(octet[0]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    fn socket(&self) -> &Socket<'a> {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

impl<'a> Socket<'a> {
    fn connect(wake: &'a Wake<'a>, leash: &Leash, address: SocketAddr) -> io::Result<Socket<'a>> {
        let tcp = TcpStream::connect(address)?;
        let mut socket = Socket { wake, leash: leash.clone(), tcp };
        let registry = wake.poll.borrow().registry().try_clone()?;
        registry.register(&mut socket.tcp, SOCKET, Interest::READABLE | Interest::WRITABLE)?;
        loop {
            wake.wait_until(leash.deadline())?;
            if let Some(error) = socket.tcp.take_error()? {
                return Err(error);
            }
            match socket.tcp.peer_addr() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::NotConnected => {}
                Err(error) => return Err(error),
            }
        }
        // Commands are short and each waits for its answer.
        socket.tcp.set_nodelay(true)?;
        Ok(socket)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(octets),
            Stream::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

impl SetReadTimeout for Stream<'_> {
    /// `None` asks for no time-out at all, after the server was listened to; it gets that of an ordinary step.
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> imap::error::Result<()> {
        let leash = &self.socket().leash;
        leash.lasting(timeout.unwrap_or(leash.step), 1024 * 1024);
        Ok(())
    }
}

/// Whom TLS believes: the public authorities, or those in `ca_file` alone.
pub fn trust(peer: &Peer) -> Result<Arc<ClientConfig>, BackendError> {
    let mut roots = RootCertStore::empty();
    match &peer.ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |why: String| {
                BackendError::Refused(format!("ca_file in the settings: {}: {why}", path.display()))
            };
            let mut octets = Vec::new();
            std::fs::File::open(path)
                .and_then(|file| file.take(CA_FILE_LIMIT).read_to_end(&mut octets))
                .map_err(|error| wrong(format!("it cannot be read: {error}")))?;
            for certificate in CertificateDer::pem_slice_iter(&octets) {
                let certificate =
                    certificate.map_err(|error| wrong(format!("it is no PEM file: {error}")))?;
                roots.add(certificate).map_err(|error| wrong(format!("a certificate in it: {error}")))?;
            }
            if roots.is_empty() {
                return Err(wrong("there is no certificate in it".into()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BackendError::Refused(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn tls_trouble(peer: &Peer, error: &io::Error) -> String {
    let said = error.to_string();
    let what_to_do = if said.contains("UnknownIssuer") || said.contains("CaUsedAsEndEntity") {
        "; nobody who is trusted here signed its certificate: if it is of your own authority, name that one's certificate in ca_file"
    } else if said.contains("NotValidForName") || said.contains("not valid for name") {
        "; its certificate is for another name: use the name that the certificate has"
    } else if said.contains("Expired") || said.contains("expired") {
        "; its certificate is too old, or this machine's clock is wrong"
    } else if said.contains("InvalidContentType") || said.contains("corrupt message") {
        "; it does not begin with TLS at this port: see imap_ssl, imap_port and smtp_port"
    } else {
        ""
    };
    format!("TLS with {} port {} failed: {said}{what_to_do}", peer.host, peer.port)
}
