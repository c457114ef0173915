//! Every integration test, in one binary: one module for each room or promise.

mod apps;
mod cli;
mod daemon;
mod documents;
mod door;
mod settings;
mod store;
mod store_speed;
