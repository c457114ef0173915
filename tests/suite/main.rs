//! Every integration test, in one binary: one module for each room or promise.

mod apps;
mod door;
mod settings;
mod phases;
mod router;
mod store;
mod testscript;
