//! Kannel's own interface as this router serves it: tables of requests, conversations with the daemon as RapidSMS has them (K1 to K10 are the
//! promises of docs/kannel-server.md), and a real Kannel in front.

mod chained;
mod pool;
mod project;
mod sendsms;
mod served;
mod services;
