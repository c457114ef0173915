//! Every integration test, in one binary: one module for each room or promise.

mod apps;
mod architecture;
mod cli;
mod crash;
mod daemon;
mod documents;
mod door;
mod faults;
mod idle;
mod lives;
mod modem;
mod pages;
mod pdu;
mod phases;
mod power_cut;
mod rig;
mod router;
mod settings;
mod simulator;
mod store;
mod store_model;
mod store_plans;
mod store_trouble;
mod systemd;
mod testscript;
