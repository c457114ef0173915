//! `GET /metrics`: figures for Prometheus and what reads the same form (text exposition format 0.0.4).
//!
//! Counts of messages come from the store's own books in one snapshot, so that what was accepted is always the sum over the states; the rest
//! stands on the notice board and counts from the start of the process. Written by hand: every figure is a line that is made of a name, names
//! of labels that are constants, and a number.

use crate::http::Response;
use crate::hub::board::{BackendNotice, BackendState, Board};
use crate::hub::latency::Histogram;
use crate::store::{Reader, StoreError};
use crate::time::Timestamp;
use std::fmt::Display;
use std::fmt::Write as _;

/// What the answer is labelled with.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures of this moment.
pub(super) fn answer(board: &Board, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    // A copy, so that nobody waits for the board while the store is read.
    let notices = board.lock().clone();
    let backends = notices.in_order();
    let mut text = Text::default();

    text.kind("rapidsms_info", "gauge", "The version of this program.");
    text.line("rapidsms_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.kind("rapidsms_health", "gauge", "0 ok, 1 degraded, 2 failing; /healthz says why.");
    let health = notices.health();
    let level = ["ok", "degraded", "failing"].iter().position(|word| *word == health.status).unwrap_or(2);
    text.line("rapidsms_health", &[], level);
    if let Some(started_at) = notices.started_at {
        text.kind("rapidsms_start_time_seconds", "gauge", "When the router began to accept, in Unix time.");
        text.line("rapidsms_start_time_seconds", &[], seconds(started_at));
    }

    text.kind("rapidsms_messages", "gauge", "Stored messages by backend, direction and state.");
    let tally = reader.tally()?;
    let mut accepted: Vec<(&str, &str, u64)> = Vec::new();
    for count in &tally {
        let (backend, direction) = (&*count.backend, count.direction.as_str());
        let labels = [("backend", backend), ("direction", direction), ("state", count.state.as_str())];
        text.line("rapidsms_messages", &labels, count.count);
        match accepted.iter_mut().find(|it| it.0 == backend && it.1 == direction) {
            Some(sum) => sum.2 += count.count,
            None => accepted.push((backend, direction, count.count)),
        }
    }
    text.kind(
        "rapidsms_stored_messages",
        "gauge",
        "Stored messages: the sum of rapidsms_messages over the states.",
    );
    for (backend, direction, count) in accepted {
        text.line("rapidsms_stored_messages", &[("backend", backend), ("direction", direction)], count);
    }

    text.kind(
        "rapidsms_oldest_waiting_seconds",
        "gauge",
        "How long the oldest message waits to be sent; 0 when none does.",
    );
    for backend in &backends {
        let oldest = reader.oldest_waiting(&backend.name)?;
        let age = oldest.map_or(0.0, |oldest| notices.progress_at.since(oldest).as_secs_f64());
        text.line("rapidsms_oldest_waiting_seconds", &[("backend", &backend.name)], age);
    }
    text.kind("rapidsms_waiting_parts", "gauge", "Parts of longer messages that wait for the others.");
    for (backend, count) in reader.pieces()? {
        text.line("rapidsms_waiting_parts", &[("backend", &backend)], count);
    }
    text.kind("rapidsms_waiting_in", "gauge", "Received messages that wait for the apps.");
    text.line("rapidsms_waiting_in", &[], notices.waiting_in);
    text.kind("rapidsms_waiting_out", "gauge", "Messages that wait to be sent.");
    text.line("rapidsms_waiting_out", &[], notices.waiting_out);
    text.kind("rapidsms_waiting_callbacks", "gauge", "Calls to programs about their messages that wait.");
    text.line("rapidsms_waiting_callbacks", &[], notices.waiting_callbacks);
    text.kind("rapidsms_pending", "gauge", "Messages whose app answers later.");
    text.line("rapidsms_pending", &[], notices.pending);

    let counters = notices.counters;
    for (name, help, value) in [
        (
            "rapidsms_accepted_total",
            "Messages accepted from sources, repetitions included.",
            counters.accepted,
        ),
        ("rapidsms_duplicates_total", "Repetitions among them.", counters.duplicates),
        ("rapidsms_quarantined_total", "Messages set aside.", counters.quarantined),
        ("rapidsms_uncertain_total", "Attempts whose outcome is unknown.", counters.uncertain),
        ("rapidsms_app_failures_total", "Calls into apps that failed.", counters.app_failures),
        (
            "rapidsms_late_answers_total",
            "Late answers that nobody waited for any more.",
            counters.late_answers,
        ),
        ("rapidsms_loops_total", "Replies stopped by the loop guard.", counters.loops),
        ("rapidsms_failed_commits_total", "Commits that failed.", counters.failed_commits),
        (
            "rapidsms_unknown_reports_total",
            "Reports about messages that nobody knows.",
            counters.unknown_reports,
        ),
        (
            "rapidsms_abandoned_threads_total",
            "Backend threads that were given up.",
            u64::from(notices.abandoned),
        ),
    ] {
        text.kind(name, "counter", help);
        text.line(name, &[], value);
    }
    of_backends(&mut text, &backends);
    Ok(Response::bytes(200, MEDIA_TYPE, text.0.into_bytes()).header("Cache-Control", "no-store"))
}

fn of_backends(text: &mut Text, backends: &[BackendNotice]) {
    type Figure = (&'static str, &'static str, &'static str, fn(&BackendNotice) -> Option<f64>);
    let figures: [Figure; 6] = [
        ("rapidsms_backend_in_flight", "gauge", "Messages that a backend has in hand.", |it| {
            Some(it.in_flight as f64)
        }),
        ("rapidsms_backend_capped", "gauge", "1 while a cap keeps a backend from sending.", |it| {
            Some(f64::from(u8::from(it.capped.is_some())))
        }),
        ("rapidsms_backend_failures_total", "counter", "How often a backend went down.", |it| {
            Some(it.failures as f64)
        }),
        ("rapidsms_backend_abandoned_total", "counter", "Threads of a backend that were given up.", |it| {
            Some(f64::from(it.abandoned))
        }),
        (
            "rapidsms_backend_last_in_seconds",
            "gauge",
            "When a backend last brought a message, in Unix time.",
            |it| it.last_in.map(seconds),
        ),
        ("rapidsms_backend_last_out_seconds", "gauge", "When a backend last sent one, in Unix time.", |it| {
            it.last_out.map(seconds)
        }),
    ];
    text.kind("rapidsms_backend_state", "gauge", "1 for the state that a backend is in.");
    for backend in backends {
        let states = [BackendState::Starting, BackendState::Up, BackendState::Down, BackendState::Parked];
        for state in states {
            let labels = [("backend", &*backend.name), ("engine", backend.engine), ("state", state.as_str())];
            text.line("rapidsms_backend_state", &labels, u8::from(backend.state == state));
        }
    }
    for (name, kind, help, value) in figures {
        text.kind(name, kind, help);
        for backend in backends {
            if let Some(value) = value(backend) {
                text.line(name, &[("backend", &backend.name)], value);
            }
        }
    }
    text.kind(
        "rapidsms_reply_seconds",
        "histogram",
        "From accepting a message to handing the first reply to its backend.",
    );
    for backend in backends {
        text.histogram("rapidsms_reply_seconds", &backend.name, &backend.reply_times);
    }
    text.kind(
        "rapidsms_send_seconds",
        "histogram",
        "From accepting a message for sending until the carrier took it.",
    );
    for backend in backends {
        text.histogram("rapidsms_send_seconds", &backend.name, &backend.send_times);
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.since(Timestamp::default()).as_secs_f64()
}

#[derive(Default)]
struct Text(String);

impl Text {
    /// What the lines that follow are.
    fn kind(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let joint = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{joint}{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn histogram(&mut self, name: &str, backend: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            let bound = bound.map_or_else(|| "+Inf".to_string(), |bound| bound.to_string());
            self.line(&bucket, &[("backend", backend), ("le", &bound)], count);
        }
        self.line(&format!("{name}_sum"), &[("backend", backend)], histogram.sum());
        self.line(&format!("{name}_count"), &[("backend", backend)], histogram.count());
    }
}

/// A label's value may be any text; these three characters would end it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
