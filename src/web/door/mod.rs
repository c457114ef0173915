//! The front door: a small HTTP/1.1 server as one event loop on one thread (RFC 9110, RFC 9112).
//!
//! [`Door::run`] reads whole requests under [`Limits`] and hands each to a [`Site`]; the answer may come at once or
//! later from any thread through [`Reply`]. An intake request therefore costs no thread while its message goes to
//! disk, and a page may stay open as an [`EventStream`].
//!
//! What it never does: it spawns no thread, blocks on nothing but its own poll, does not wake up when there is
//! nothing to do, reads no body that it would refuse, holds no more connections than it was told to, and does not
//! end because descriptors ran out: it makes room or pauses, then goes on.
//!
//! Who may ask what is not decided here: see [`super::guard`]. There is no TLS; put a reverse proxy in front.

mod answers;
mod connection;
mod event_loop;
mod newcomers;
mod reply;
mod socket;

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Poll, Waker};

pub use reply::{EventStream, Gone, Reply};

use crate::http::Request;
use crate::http::reader::Sizes;
use event_loop::EventLoop;
use reply::Shared;
use socket::Listener;

/// What answers the requests. Called on the door's thread, so it must not block: it answers, or passes the
/// [`Reply`] on to whoever will. A panic in here costs that one request a 500, nothing else.
pub trait Site {
    /// One whole request. Dropping `reply` without an answer is a 500.
    fn serve(&mut self, request: Request, reply: Reply);
}

impl<F: FnMut(Request, Reply)> Site for F {
    fn serve(&mut self, request: Request, reply: Reply) {
        self(request, reply);
    }
}

/// Every bound of the door. The defaults are what the daemon runs with.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sizes of one request.
    pub sizes: Sizes,
    /// From the first byte of a request (or the connect) to the end of its head.
    pub head_time: Duration,
    /// From the first byte of a request to its last.
    pub whole_time: Duration,
    /// How long a connection may rest between two requests.
    pub keep_alive: Duration,
    /// How long the site may take; then the client is told 504 and the late answer is dropped.
    pub answer_time: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_time: Duration,
    /// How long and how much is read and thrown away after an early refusal, so that the client can see it.
    pub drain_time: Duration,
    /// See `drain_time`.
    pub drain_bytes: usize,
    /// How long answers on their way may take to finish after [`DoorHandle::stop`].
    pub stop_time: Duration,
    /// Connections in all, event streams apart.
    pub connections: usize,
    /// Connections of one address (an IPv6 /64 counts as one), event streams apart.
    pub per_address: usize,
    /// Whether loopback is exempt from `per_address`: a proxy on this machine speaks for many clients.
    pub loopback_exempt: bool,
    /// Event streams in all.
    pub event_streams: usize,
    /// Bytes that may wait for a slow reader of an event stream before it is cut off.
    pub stream_buffer: usize,
    /// How often event streams get a comment line, which keeps proxies from closing them and finds dead clients.
    pub heartbeat: Duration,
    /// How long accepting rests when no descriptor can be had and none can be freed.
    pub accept_pause: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sizes: Sizes::default(),
            head_time: Duration::from_secs(10),
            whole_time: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            answer_time: Duration::from_secs(60),
            write_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(2),
            drain_bytes: 256 * 1024,
            stop_time: Duration::from_secs(5),
            connections: 1024,
            per_address: 256,
            loopback_exempt: true,
            event_streams: 64,
            stream_buffer: 256 * 1024,
            heartbeat: Duration::from_secs(15),
            accept_pause: Duration::from_millis(100),
        }
    }
}

/// A bound listener that is not yet served. Clients may connect already; they wait.
pub struct Door {
    poll: Poll,
    listener: Listener,
    address: Option<SocketAddr>,
    limits: Limits,
    shared: Arc<Shared>,
}

impl Door {
    /// Listens on `address`; port 0 takes any free port.
    pub fn bind(address: SocketAddr, limits: Limits) -> io::Result<Door> {
        let explain = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => "; another program (or a second router) listens there already",
                io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege, take a higher one",
                io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
                _ => "",
            };
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
        };
        let listener = TcpListener::bind(address).map_err(explain)?;
        let address = listener.local_addr()?;
        Door::around(Listener::Tcp(listener), Some(address), limits)
    }

    /// Listens on a Unix socket at `path` that only this user can open. A socket that an earlier process left there is
    /// removed: the caller knows that it is alone. Its requests are [`Request::is_local`].
    pub fn bind_unix(path: &Path, limits: Limits) -> io::Result<Door> {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
        };
        if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
            std::fs::remove_file(path).map_err(explain)?;
        }
        let listener = UnixListener::bind(path).map_err(explain)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(explain)?;
        Door::around(Listener::Unix(listener), None, limits)
    }

    fn around(mut listener: Listener, address: Option<SocketAddr>, limits: Limits) -> io::Result<Door> {
        let poll = Poll::new()?;
        poll.registry().register(listener.source(), event_loop::LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), event_loop::WAKER)?;
        let shared = Arc::new(Shared::new(waker, limits.stream_buffer));
        Ok(Door { poll, listener, address, limits, shared })
    }

    /// The address really bound, with the port that was chosen; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// A handle for other threads.
    pub fn handle(&self) -> DoorHandle {
        DoorHandle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until [`DoorHandle::stop`]. Then accepting ends at once, connections without a whole request are
    /// closed, answers on their way are finished within [`Limits::stop_time`], and this returns.
    ///
    /// An error means that the poll itself failed, which no retry can mend.
    pub fn run(self, mut site: impl Site) -> io::Result<()> {
        EventLoop::new(self.poll, self.listener, self.limits, self.shared, &mut site).run()
    }
}

/// Stops a running door and tells its figures, from any thread.
#[derive(Clone)]
pub struct DoorHandle {
    shared: Arc<Shared>,
}

impl DoorHandle {
    /// Asks the door to stop; returns at once. May be called again, and before the door runs.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// The figures so far.
    pub fn stats(&self) -> Stats {
        self.shared.figures.snapshot()
    }
}

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Figures of a door since its start, for metrics and tests.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same as counters that the loop writes and anybody reads.
        #[derive(Debug, Default)]
        pub(super) struct Figures {
            $(pub(super) $name: std::sync::atomic::AtomicU64,)*
        }

        impl Figures {
            fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.load(std::sync::atomic::Ordering::Relaxed),)* }
            }
        }
    };
}

figures! {
    /// Connections open now, event streams apart.
    connections,
    /// Event streams open now.
    streams,
    /// Connections accepted.
    accepted,
    /// Whole requests handed to the site.
    requests,
    /// Requests refused by the door itself: malformed, too large, too slow.
    refused,
    /// Connections closed to make room for a newcomer.
    evicted,
    /// Newcomers turned away because too many requests, of their address or in all, were under way.
    turned_away,
    /// Requests that the site did not answer in time.
    unanswered,
    /// Event streams cut off because their reader was too slow.
    overflowed,
    /// Failures of accept, among them times without a free descriptor.
    accept_failures,
    /// Times that the loop woke up.
    wakeups,
}
