//! A listener of a backend's own, as RapidSMS 0.9 had: the address in the backend's settings, its gateway the only one who is meant to call.

use crate::backends::BackendError;
use crate::message::Name;
use crate::web::door::{Door, DoorHandle, Limits};
use crate::web::intake::{Gateways, Own};
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread::{self, Builder};

/// What is needed to open one.
pub struct Listener {
    /// A name or an address.
    pub host: String,
    /// Port 0 takes any free one.
    pub port: u16,
    /// The same bounds as `[web]` has.
    pub limits: Limits,
    /// Where its requests go.
    pub gateways: Gateways,
}

impl Listener {
    /// Listens on behalf of a backend for as long as `work` takes. An address that cannot be had, now or later, is as good a reason to begin again
    /// as a device that is gone.
    pub fn open(
        &self,
        name: &Name,
        work: impl FnOnce() -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let lost = |why: String| BackendError::Lost(why);
        let door =
            Door::bind(self.address()?, self.limits.clone()).map_err(|error| lost(error.to_string()))?;
        if let Some(address) = door.local_addr() {
            log::info!("backend {name} listens on {address}");
        }
        let handle = door.handle();
        let site = Own { backend: name.clone(), gateways: self.gateways.clone() };
        thread::scope(|scope| {
            let builder = Builder::new().name(format!("web/{name}"));
            let thread = builder
                .spawn_scoped(scope, || door.run(site))
                .map_err(|error| lost(format!("no thread can be had: {error}")))?;
            let worked = {
                let _stop = Stop(handle);
                work()
            };
            match thread.join() {
                Ok(Ok(())) => worked,
                Ok(Err(error)) => worked.and(Err(lost(format!("its listener failed: {error}")))),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn address(&self) -> Result<SocketAddr, BackendError> {
        let host = if self.host.is_empty() { "localhost" } else { &self.host };
        let found = (host, self.port).to_socket_addrs();
        let mut found =
            found.map_err(|error| BackendError::Lost(format!("host {host:?} is not known: {error}")))?;
        found.next().ok_or_else(|| BackendError::Lost(format!("host {host:?} has no address")))
    }
}

/// Stops the listener, after a panic too: its thread is waited for.
struct Stop(DoorHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
