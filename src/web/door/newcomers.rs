//! Accepting, and making room: the part of the loop that decides who may come in.
//!
//! At a limit the connection that has waited longest without a whole request is closed and the newcomer is served:
//! idle browsers and half-sent requests never keep anybody out. Running out of descriptors is treated the same
//! way, and if nobody can be closed, accepting pauses and goes on later, for ever.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use mio::{Interest, Token};

use super::connection::Connection;
use super::event_loop::{EventLoop, count};
use super::socket::Socket;
use crate::web::guard::is_loopback;

/// How many newcomers are taken before the others have their turn.
const ACCEPT_BUDGET: usize = 64;

/// Sent to a newcomer for whom there is no room, because all the others have requests under way.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

impl EventLoop<'_> {
    /// Whether a newcomer could be taken; if not, it waits in the listener's own queue.
    pub(super) fn can_admit(&self) -> bool {
        self.open < self.limits.connections || !self.evictable.is_empty()
    }

    /// Takes newcomers, as many as wait and this round allows.
    pub(super) fn accept(&mut self) {
        if self.accept_paused.is_some_and(|until| until > self.now) {
            return;
        }
        self.accept_paused = None;
        self.keep_spare();
        for _ in 0..ACCEPT_BUDGET {
            if !self.accept_ready || !self.can_admit() {
                return;
            }
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((socket, peer)) => {
                    self.accept_complained = false;
                    self.keep_spare();
                    // This newcomer came in by the last descriptor: whoever has waited longest gives its own for it.
                    if self.spare.is_none() && self.evict_one(None) {
                        self.keep_spare();
                    }
                    self.admit(socket, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accept_ready = false,
                Err(error) if concerns_one_newcomer(&error) => count(&self.shared.figures.accept_failures),
                Err(error) => {
                    count(&self.shared.figures.accept_failures);
                    if is_out_of_descriptors(&error) && self.spare.take().is_some() {
                        continue;
                    }
                    if !std::mem::replace(&mut self.accept_complained, true) {
                        let pause = self.limits.accept_pause;
                        log::warn!(
                            "web listener: no connection can be taken, trying again every {pause:?}: {error}"
                        );
                    }
                    self.accept_paused = Some(self.now + self.limits.accept_pause);
                    return;
                }
            }
        }
    }

    /// Holds one descriptor in reserve. Without a free descriptor accept fails even when nobody waits; giving up the
    /// reserve shows whether somebody does, before anybody is closed for it.
    fn keep_spare(&mut self) {
        if self.spare.is_none() {
            // A second descriptor of the listener: it needs no file, and goes when the listener goes.
            self.spare =
                self.listener.as_ref().and_then(|listener| listener.as_fd().try_clone_to_owned().ok());
        }
    }

    fn turn_away(&self, mut socket: Socket) {
        count(&self.shared.figures.turned_away);
        let _ = socket.write(TURNED_AWAY);
    }

    fn admit(&mut self, mut socket: Socket, peer: Option<SocketAddr>) {
        count(&self.shared.figures.accepted);
        let address = peer.and_then(|peer| counted_address(peer, self.limits.loopback_exempt));
        if let Some(address) = address
            && self.per_address.get(&address).is_some_and(|count| *count >= self.limits.per_address)
            && !self.evict_one(Some(address))
        {
            return self.turn_away(socket);
        }
        if self.open >= self.limits.connections && !self.evict_one(None) {
            return self.turn_away(socket);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        // Both directions are registered once: an edge that is not needed costs nothing, a second call would.
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(slot), interest) {
            log::warn!("a web connection could not be watched and was dropped: {error}");
            self.free.push(slot);
            return;
        }
        socket.do_not_wait();
        if let Some(address) = address {
            *self.per_address.entry(address).or_default() += 1;
        }
        self.open += 1;
        self.shared.figures.connections.store(self.open as u64, Relaxed);
        let mut connection = Box::new(Connection::new(socket, peer, address, &self.limits, self.now));
        // The request is often here already, and then it is served before the next newcomer wants room.
        connection.readable = true;
        self.drive(slot, connection);
    }

    /// Closes the connection (of that address) that has waited longest without a whole request; failing that, the
    /// one that has longest not taken its answer. False when there is none.
    fn evict_one(&mut self, address: Option<IpAddr>) -> bool {
        loop {
            let found = self.evictable.iter().find_map(|(ticket, slot)| {
                let connection = self.slots[*slot].as_mut()?;
                if address.is_some() && connection.address != address {
                    return None;
                }
                // Its edge may not have been seen yet.
                connection.readable = true;
                Some((*ticket, *slot))
            });
            let Some((ticket, slot)) = found else { return false };
            // A last chance: what it waits for may have come. Each turn of this loop closes a connection or hands a
            // whole request to the site.
            self.go_on(slot);
            let Some(connection) = self.slots[slot].take() else { return true };
            if connection.ticket == Some(ticket) {
                count(&self.shared.figures.evicted);
                self.forget(slot, connection);
                return true;
            }
            self.slots[slot] = Some(connection);
        }
    }
}

/// What the limit per address counts: nothing for loopback when exempt; an IPv6 client commands a whole /64.
fn counted_address(peer: SocketAddr, loopback_exempt: bool) -> Option<IpAddr> {
    if loopback_exempt && is_loopback(&peer) {
        return None;
    }
    Some(match peer.ip().to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    })
}

/// Failures of accept that are about the one connection it would have returned (accept(2), "Error handling").
fn concerns_one_newcomer(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::Interrupted
            | Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::TimedOut
    )
}

/// ENFILE and EMFILE, which have these numbers on every Unix.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}
