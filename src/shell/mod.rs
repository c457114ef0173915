//! The daemon around the router: threads, channels, the wall clock, signals. The only room that spawns threads.

pub mod board;
pub mod core;
pub mod event;
mod supervisor;
