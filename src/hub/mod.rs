//! What the threads of the daemon say to each other: the shared channel's [`event`]s, the notice [`board`] that shows how everything is, and
//! [`latency`], how long things take.

pub mod board;
pub mod event;
pub mod latency;
