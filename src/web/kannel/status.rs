//! `/status.xml` and `/status.txt` in Kannel's form, for the monitors and programs that read it: the backends stand there as its smscs.
//!
//! What has no meaning here (WDP, boxes, rates) is there and is zero, so that a parser finds what it expects. Figures are those of the whole store, not since the start.

use crate::http::Response;
use crate::hub::board::{BackendNotice, BackendState, Board};
use crate::message::{Direction, State};
use crate::store::{Count, Reader, StoreError};
use crate::time::Timestamp;
use std::fmt::Write as _;
use std::time::Duration;

/// The form that a path asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Xml,
}

impl Form {
    /// `/status`, `/status.txt`, `/status.xml`, and the same below `/cgi-bin`.
    pub fn of(path: &str) -> Option<Form> {
        match path.strip_prefix("/cgi-bin").unwrap_or(path) {
            "/status" | "/status.txt" => Some(Form::Text),
            "/status.xml" => Some(Form::Xml),
            _ => None,
        }
    }
}

/// The answer to who does not know the password. As with Kannel its status is 200.
pub fn denied() -> Response {
    Response::bytes(200, "text/plain", b"Denied".as_slice())
}

/// The status, as the notice board and the store have it.
pub fn page(form: Form, board: &Board, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    let now = Timestamp(jiff::Timestamp::now().as_microsecond());
    let counts = reader.tally()?;
    let (lines, since, trouble, stopping, waiting) = {
        let notices = board.lock();
        let waiting = (notices.waiting_in, notices.waiting_out);
        (notices.in_order(), notices.started_at, notices.trouble.is_some(), notices.stopping, waiting)
    };
    let state = match (stopping, trouble) {
        (true, _) => "shutdown",
        (_, true) => "isolated",
        _ => "running",
    };
    let facts = Facts {
        state,
        uptime: since.map_or(Duration::ZERO, |since| now.since(since)),
        waiting,
        lines: lines.iter().map(|notice| Line::of(notice, &counts, now)).collect(),
    };
    Ok(match form {
        Form::Text => Response::bytes(200, "text/plain; charset=utf-8", facts.text().into_bytes()),
        Form::Xml => Response::bytes(200, "text/xml; charset=utf-8", facts.xml().into_bytes()),
    }
    .header("Cache-Control", "no-store"))
}

/// What is told.
struct Facts {
    state: &'static str,
    uptime: Duration,
    /// Received messages that wait for the apps, and messages that wait to be sent.
    waiting: (u64, u64),
    lines: Vec<Line>,
}

/// One backend as an smsc.
struct Line {
    name: String,
    engine: &'static str,
    status: String,
    sentence: String,
    received: u64,
    sent: u64,
    failed: u64,
    queued: u64,
    reports: u64,
}

impl Line {
    fn of(notice: &BackendNotice, counts: &[Count], now: Timestamp) -> Line {
        let sum = |direction: Direction, states: &[State]| {
            let own =
                counts.iter().filter(|count| count.backend == notice.name && count.direction == direction);
            own.filter(|count| states.is_empty() || states.contains(&count.state))
                .map(|count| count.count)
                .sum()
        };
        let status = match notice.state {
            BackendState::Up => format!("online {}s", now.since(notice.since).as_secs()),
            BackendState::Starting => "connecting".into(),
            BackendState::Down => "re-connecting".into(),
            BackendState::Parked => "dead".into(),
        };
        Line {
            name: notice.name.to_string(),
            engine: notice.engine,
            status,
            sentence: notice.sentence.clone(),
            received: sum(Direction::In, &[]),
            sent: sum(Direction::Out, &[State::Sent, State::Delivered]),
            failed: sum(Direction::Out, &[State::Failed, State::Expired]),
            queued: sum(Direction::Out, &[State::Queued, State::Sending, State::Uncertain, State::Held]),
            reports: sum(Direction::Out, &[State::Delivered]),
        }
    }
}

impl Facts {
    fn totals(&self) -> (u64, u64, u64) {
        let lines = &self.lines;
        (
            lines.iter().map(|line| line.received).sum(),
            lines.iter().map(|line| line.sent).sum(),
            lines.iter().map(|line| line.reports).sum(),
        )
    }

    /// `running, uptime 0d 1h 2m 3s`
    fn status(&self) -> String {
        let seconds = self.uptime.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        format!("{}, uptime {days}d {hours}h {minutes}m {}s", self.state, seconds % 60)
    }

    fn text(&self) -> String {
        let (received, sent, reports) = self.totals();
        let mut text = format!(
            "{}\n\nStatus: {}\n\nWDP: received 0 (0 queued), sent 0 (0 queued)\n\n\
             SMS: received {received} ({} queued), sent {sent} ({} queued), store size {}\n\
             SMS: inbound (0.00,0.00,0.00) msg/sec, outbound (0.00,0.00,0.00) msg/sec\n\n\
             DLR: received {reports}, sent 0\n\nNo boxes connected\n\nSMSC connections:\n",
            version(),
            self.status(),
            self.waiting.0,
            self.waiting.1,
            self.waiting.0 + self.waiting.1,
        );
        for line in &self.lines {
            let Line { name, engine, status, sentence, received, sent, failed, queued, .. } = line;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "    {name}[{name}]    {engine} ({status}, rcvd: sms {received} / dlr {}, sent: sms {sent} / dlr 0, \
                 failed {failed}, queued {queued} msgs) {sentence}",
                line.reports
            );
        }
        if self.lines.is_empty() {
            text.push_str("    none\n");
        }
        text
    }

    fn xml(&self) -> String {
        const NO_RATE: &str = "0.00,0.00,0.00";
        let (received, sent, reports) = self.totals();
        let mut xml = String::from("<?xml version=\"1.0\"?>\n<gateway>\n");
        let mut line = |text: std::fmt::Arguments<'_>| {
            let _ = writeln!(xml, "{text}");
        };
        line(format_args!("<version>{}</version>", escaped(&version())));
        line(format_args!("<status>{}</status>", self.status()));
        line(format_args!("\t<wdp>"));
        line(format_args!("\t\t<received><total>0</total><queued>0</queued></received>"));
        line(format_args!("\t\t<sent><total>0</total><queued>0</queued></sent>"));
        line(format_args!("\t</wdp>\n\t<sms>"));
        let (waiting_in, waiting_out) = self.waiting;
        line(format_args!("\t\t<received><total>{received}</total><queued>{waiting_in}</queued></received>"));
        line(format_args!("\t\t<sent><total>{sent}</total><queued>{waiting_out}</queued></sent>"));
        line(format_args!("\t\t<storesize>{}</storesize>", waiting_in + waiting_out));
        line(format_args!("\t\t<inbound>{NO_RATE}</inbound>\n\t\t<outbound>{NO_RATE}</outbound>"));
        line(format_args!("\t</sms>\n\t<dlr>"));
        line(format_args!(
            "\t\t<received><total>{reports}</total></received>\n\t\t<sent><total>0</total></sent>"
        ));
        line(format_args!("\t\t<inbound>{NO_RATE}</inbound>\n\t\t<outbound>{NO_RATE}</outbound>"));
        line(format_args!("\t\t<queued>0</queued>\n\t\t<storage>sqlite</storage>\n\t</dlr>"));
        line(format_args!("<boxes>\n</boxes>\n<smscs><count>{}</count>", self.lines.len()));
        for smsc in &self.lines {
            let name = escaped(&smsc.name);
            line(format_args!("\t<smsc>\n\t\t<name>{}:{name}</name>", escaped(smsc.engine)));
            line(format_args!("\t\t<admin-id>{name}</admin-id>\n\t\t<id>{name}</id>"));
            line(format_args!("\t\t<status>{}</status>", escaped(&smsc.status)));
            line(format_args!("\t\t<failed>{}</failed>\n\t\t<queued>{}</queued>", smsc.failed, smsc.queued));
            line(format_args!("\t\t<sms>\n\t\t\t<received>{}</received>", smsc.received));
            line(format_args!("\t\t\t<sent>{}</sent>\n\t\t\t<inbound>{NO_RATE}</inbound>", smsc.sent));
            line(format_args!("\t\t\t<outbound>{NO_RATE}</outbound>\n\t\t</sms>\n\t\t<dlr>"));
            line(format_args!("\t\t\t<received>{}</received>\n\t\t\t<sent>0</sent>", smsc.reports));
            line(format_args!("\t\t\t<inbound>{NO_RATE}</inbound>\n\t\t\t<outbound>{NO_RATE}</outbound>"));
            line(format_args!("\t\t</dlr>\n\t</smsc>"));
        }
        line(format_args!("</smscs>\n</gateway>"));
        xml
    }
}

fn version() -> String {
    format!("rapidsms {} in place of Kannel bearerbox", env!("CARGO_PKG_VERSION"))
}

/// XML forbids most control characters altogether (XML 1.0, clause 2.2).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}
