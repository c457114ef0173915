//! The HTTP surface: everything that is spoken on `[web].listen`.
//!
//! In reading order: [`door`] is the event loop with the sockets and the limits, [`guard`] decides who may ask (pure functions on headers);
//! [`site`] says which request means what, [`intake`] hands those of gateways to their backends, [`kannel`] answers as a Kannel would, and [`pages`] answers what has to read the store; `parts` counts a text, `metrics` is for monitoring. Requests and
//! responses themselves are [`crate::http`].

pub mod door;
pub mod guard;
pub mod intake;
pub mod kannel;
mod metrics;
pub mod pages;
mod parts;
pub mod site;
