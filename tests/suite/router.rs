//! The router alone: no thread, no sleep, a clock in the hand. Each case runs over the store in memory and over SQLite.
//!
//! - `intake`: what is accepted, refused, known already; what apps see of it and in which order;
//! - `joining`: messages that come in pieces;
//! - `later`: apps that answer later;
//! - `sending`: windows, retries, doubt, reports, validity, appointments;
//! - `calls`: programs that want to hear what becomes of their messages;
//! - `quotas`: caps by day and month, and the rate;
//! - `groups`: several backends that send from one queue;
//! - `reports`: what carriers tell about messages in several parts, and who may tell;
//! - `restart`: a router that ends in the middle and the one that follows it;
//! - `failing`: a store that fails at every single call, and heals;
//! - `model`: random histories against a ledger outside the router.

/// Makes one test for each case and each kind of store.
macro_rules! cases {
    ($($(#[$doc:meta])* fn $name:ident($stage:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($stage: &mut crate::router::stage::Stage) $body)*
        mod memory { $(#[test] fn $name() { super::$name(&mut crate::router::stage::Stage::memory()) })* }
        mod sqlite { $(#[test] fn $name() { super::$name(&mut crate::router::stage::Stage::sqlite()) })* }
    };
}

mod calls;
mod failing;
mod groups;
mod intake;
mod joining;
mod later;
mod model;
mod parked;
mod quotas;
mod reports;
mod restart;
mod sending;
mod stage;
mod staged;
