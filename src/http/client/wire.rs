//! The connections of the client: names, sockets and TLS, all of it before a request is begun.
//!
//! ureq's own connections agree on TLS while the request is written, and then nobody can tell whether the peer saw any of it. Here
//! whatever fails until a [`Link`] is made is an [`Unreached`]. Each read and write ends when the time of its phase is over, however
//! often the peer sends an octet. What ureq calls unversioned is used here and nowhere else.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// A name that was resolved is believed for this long, so that a busy line does not ask for each message.
const RESOLVED: Duration = Duration::from_secs(5);
/// The longest file of certificates.
const LONGEST_CA_FILE: u64 = 1024 * 1024;
/// What is read and written at once.
pub(super) const BUFFER: usize = 16 * 1024;

/// An error of which it is certain that nothing of the request left.
#[derive(Debug)]
pub(super) struct Unreached(pub(super) String);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreached {}

pub(super) fn unreached(why: impl Into<String>) -> ureq::Error {
    ureq::Error::Other(Box::new(Unreached(why.into())))
}

/// Finds addresses: those that are written as numbers at once, names by the system, within the time-out.
#[derive(Debug, Default)]
pub(super) struct Names {
    system: DefaultResolver,
    /// The last that was asked for: a client talks to one peer.
    last: Mutex<Option<(String, Instant, ResolvedSocketAddrs)>>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let mut found = self.empty();
            found.push(SocketAddr::new(address, port));
            return Ok(found);
        }
        let name = format!("{host}:{port}");
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, at, found)) = &*last()
            && *known == name
            && at.elapsed() < RESOLVED
        {
            return Ok(found.clone());
        }
        let found = self.system.resolve(uri, config, timeout).map_err(|error| match error {
            ureq::Error::Timeout(_) => unreached(format!("the name {host} was not resolved in time")),
            ureq::Error::Io(error) => unreached(format!("the name {host} cannot be resolved ({error})")),
            _ => unreached(format!("the name {host} is not known")),
        })?;
        *last() = Some((name, Instant::now(), found.clone()));
        Ok(found)
    }
}

/// Makes connections; whatever fails here failed before the request was begun.
pub(super) struct Door {
    pub(super) tls: Arc<ClientConfig>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

impl Connector<()> for Door {
    type Out = Link;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Link>, ureq::Error> {
        let until = Instant::now().checked_add(*details.timeout.after);
        let stream = connect(details, until).map_err(unreached)?;
        let wire = Wire { stream, until };
        let stream = if details.needs_tls() {
            let host = details.uri.host().unwrap_or_default();
            Stream::Sealed(Box::new(seal(wire, host, &self.tls).map_err(unreached)?))
        } else {
            Stream::Plain(wire)
        };
        Ok(Some(Link { buffers: LazyBuffers::new(BUFFER, BUFFER), stream }))
    }
}

/// Tries the addresses in turn; each gets a fair share of what time is left.
fn connect(details: &ConnectionDetails<'_>, until: Option<Instant>) -> Result<TcpStream, String> {
    let mut why = "its name has no address".to_string();
    let count = details.addrs.len();
    for (index, address) in details.addrs.iter().enumerate() {
        let left = left(until).map_err(|_| format!("no connection in time; {why}"))?;
        let share = left / u32::try_from(count - index).unwrap_or(1);
        let share = share.max(Duration::from_millis(1));
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if is_timeout(&error) => why = format!("{address} does not answer"),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

/// Agrees on TLS with the peer, all of it before the request.
fn seal(
    mut wire: Wire,
    host: &str,
    config: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, Wire>, String> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(bare.to_string())
        .map_err(|_| format!("{bare} is no name that TLS can check"))?;
    let broken = |error: io::Error| match error.kind() {
        _ if is_timeout(&error) => "TLS was not agreed on in time".to_string(),
        io::ErrorKind::UnexpectedEof => "it closed the connection before TLS was agreed on".into(),
        _ => format!("TLS was not agreed on: {error}"),
    };
    let mut connection =
        ClientConnection::new(Arc::clone(config), name).map_err(|error| format!("TLS: {error}"))?;
    while connection.is_handshaking() {
        while connection.wants_write() {
            connection.write_tls(&mut wire).map_err(broken)?;
        }
        if connection.is_handshaking() && connection.wants_read() {
            if connection.read_tls(&mut wire).map_err(broken)? == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Err(error) = connection.process_new_packets() {
                // The peer is told why, if it still listens.
                let _ = connection.write_tls(&mut wire);
                return Err(distrust(&error));
            }
        }
    }
    Ok(StreamOwned::new(connection, wire))
}

/// What is wrong with the peer's TLS, and what to do about it.
fn distrust(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        return format!("TLS was not agreed on: {error}");
    };
    match bad {
        Bad::UnknownIssuer => {
            "its certificate is signed by nobody who is trusted; name the signer's certificate in ca_file"
                .into()
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "its certificate is for another name than the one in the address".into()
        }
        Bad::Expired | Bad::ExpiredContext { .. } => {
            "its certificate has expired (or this machine's clock is wrong)".into()
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "its certificate is not valid yet (or this machine's clock is wrong)".into()
        }
        _ => format!("its certificate is not good: {error}"),
    }
}

pub(super) fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let shown = path.display();
            let unreadable =
                |error: io::Error| format!("the certificates in {shown} cannot be read: {error}");
            let mut text = Vec::new();
            let file = std::fs::File::open(path).map_err(unreadable)?;
            file.take(LONGEST_CA_FILE).read_to_end(&mut text).map_err(unreadable)?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate =
                    certificate.map_err(|error| format!("{shown} is no PEM file: {error:?}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("a certificate in {shown} is not usable: {error}"))?;
            }
            if roots.is_empty() {
                return Err(format!("there is no certificate (PEM) in {shown}"));
            }
        }
    }
    // Named here and not as the process's default: a library must not decide that for the whole program.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A socket of which each read and write ends when the time is over.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    until: Option<Instant>,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(into).map_err(as_timeout)
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(octets).map_err(as_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    /// Whether it can carry another request: nothing to read, not even an end.
    fn is_open(&self) -> bool {
        let probed = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let quiet = matches!(probed, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        quiet && self.stream.set_nonblocking(false).is_ok()
    }
}

/// The time that is left; an error when there is none.
fn left(until: Option<Instant>) -> io::Result<Duration> {
    let Some(until) = until else { return Err(io::ErrorKind::TimedOut.into()) };
    match until.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn as_timeout(error: io::Error) -> io::Error {
    if is_timeout(&error) { io::ErrorKind::TimedOut.into() } else { error }
}

#[derive(Debug)]
enum Stream {
    Plain(Wire),
    Sealed(Box<StreamOwned<ClientConnection, Wire>>),
}

impl Stream {
    fn wire(&mut self) -> &mut Wire {
        match self {
            Stream::Plain(wire) => wire,
            Stream::Sealed(sealed) => &mut sealed.sock,
        }
    }
}

/// A connection as ureq wants it.
pub(super) struct Link {
    buffers: LazyBuffers,
    stream: Stream,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.stream).finish()
    }
}

impl Link {
    /// However often the peer sends an octet, the time goes on from here.
    fn begin(&mut self, timeout: NextTimeout) {
        self.stream.wire().until = Instant::now().checked_add(*timeout.after);
    }
}

impl Transport for Link {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.begin(timeout);
        let octets = &self.buffers.output()[..amount];
        let written = match &mut self.stream {
            Stream::Plain(wire) => wire.write_all(octets),
            Stream::Sealed(sealed) => sealed.write_all(octets).and_then(|()| sealed.flush()),
        };
        written.map_err(|error| late(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.begin(timeout);
        let into = self.buffers.input_append_buf();
        let read = match &mut self.stream {
            Stream::Plain(wire) => wire.read(into),
            Stream::Sealed(sealed) => sealed.read(into),
        };
        let count = read.map_err(|error| late(error, timeout))?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.wire().is_open()
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Sealed(_))
    }
}

fn late(error: io::Error, timeout: NextTimeout) -> ureq::Error {
    if is_timeout(&error) { ureq::Error::Timeout(timeout.reason) } else { ureq::Error::Io(error) }
}
