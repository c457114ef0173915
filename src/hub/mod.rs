//! What the threads of the daemon say to each other: the shared channel's [`event`]s, and the notice [`board`] that shows how everything is.

pub mod board;
pub mod event;
