//! Every integration test, in one binary.

mod store;
mod store_model;
mod store_plans;
mod store_speed;
mod store_trouble;
