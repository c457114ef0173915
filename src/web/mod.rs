//! The HTTP surface: everything that is spoken on `[web].listen`.
//!
//! In reading order: [`http`] holds the plain data (a request, a response), [`reader`] turns bytes into requests
//! and refuses what is malformed, [`door`] is the event loop with the sockets and the limits, [`guard`] decides
//! who may ask (pure functions on headers), [`form`] reads forms; [`site`] says which request means what, and [`pages`] answers
//! what has to read the store; `parts` counts a text.

pub mod door;
pub mod form;
pub mod guard;
pub mod http;
pub mod pages;
mod parts;
pub mod reader;
pub mod site;
