//! The request that hands one message to Kannel: `GET sendsms_url?sendsms_params&to=..&text=..&coding=..&charset=..`.
//!
//! The order is that of the older systems, every value is percent-encoded, and there are two spellings of the same request: the one that
//! leaves, and one for people, in which secrets are `***`. Nothing here opens anything.

use super::alphabet::Written;
use super::rules::{Reports, Rules};
use crate::http::client::Call;
use crate::http::form;
use crate::message::{Outgoing, SendFailure};
use crate::pdu::plan;
use crate::settings::{Secret, Value};

/// What stands for a secret.
const MASK: &str = "***";
/// What the backend says itself. The same among `sendsms_params` would be a second value, of which Kannel takes the first.
const OURS: [&str; 4] = ["to", "text", "coding", "charset"];

/// A request, and what is known of its message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sendsms {
    /// What leaves.
    pub call: Call,
    /// The same for people.
    pub shown: String,
    /// Into how many messages Kannel cuts it.
    pub parts: u32,
    /// How the text is written.
    pub written: Written,
}

/// The request for a message.
pub fn sendsms(rules: &Rules, outgoing: &Outgoing) -> Result<Sendsms, SendFailure> {
    // To Kannel a blank divides receivers: a number with blanks in it would become several.
    let to: String = outgoing.connection.identity.chars().filter(|letter| !letter.is_whitespace()).collect();
    if to.is_empty() {
        return Err(SendFailure::Permanent("there is no number to send it to".into()));
    }
    let written = rules.alphabets.write(&outgoing.text).map_err(SendFailure::Permanent)?;
    let mut splitting = rules.splitting();
    splitting.always_ucs2 |= written.coding == 2;
    let plan = plan(&outgoing.text, &splitting).map_err(|too_long| {
        SendFailure::Permanent(format!("{too_long} (max_messages), and Kannel would cut off what is beyond"))
    })?;
    let reports = rules.reports.as_ref().filter(|_| outgoing.wishes.report.unwrap_or(true));

    let mut query = Query::default();
    for (name, value) in &rules.params {
        let lower = name.to_ascii_lowercase();
        let replaced = OURS.contains(&lower.as_str())
            || (reports.is_some() && matches!(lower.as_str(), "dlr-mask" | "dlr-url" | "dlrmask" | "dlrurl"))
            || (outgoing.wishes.flash && lower == "mclass");
        if replaced {
            continue;
        }
        match value {
            Value::Text(text) => query.add(name, text.as_bytes()),
            Value::Integer(number) => query.add(name, number.to_string().as_bytes()),
            Value::Boolean(truth) => query.add(name, if *truth { b"1" } else { b"0" }),
            Value::Secret(secret) => query.add_masked(name, secret.expose().as_bytes(), MASK),
            // A table of settings holds nothing else.
            _ => {}
        }
    }
    query.add("to", to.as_bytes());
    query.add("text", &written.octets);
    query.add("coding", written.coding.to_string().as_bytes());
    if let Some(charset) = &written.charset {
        query.add("charset", charset.as_bytes());
    }
    if outgoing.wishes.flash {
        query.add("mclass", b"0");
    }
    if let Some(reports) = reports {
        let id = outgoing.id.to_string();
        query.add("dlr-mask", reports.mask.to_string().as_bytes());
        let secret = rules.trust.secret();
        let shown = report_url(reports, &id, secret.map(|_| MASK));
        query.add_masked("dlr-url", report_url(reports, &id, secret.map(Secret::expose)).as_bytes(), &shown);
    }

    let (address, own) = match rules.sendsms_url.split_once('?') {
        Some((address, own)) => (address, own),
        None => (rules.sendsms_url.as_str(), ""),
    };
    let own_query = own.trim_matches('&');
    let call = Call::new("GET", format!("{address}?{}", joined(own_query, &query.sent)));
    call.check().map_err(SendFailure::Permanent)?;
    Ok(Sendsms {
        call,
        shown: format!("{}?{}", without_login(address), joined(&masked(own_query), &query.shown)),
        parts: u32::try_from(plan.parts.len()).unwrap_or(u32::MAX),
        written,
    })
}

/// Where Kannel is to report, as it fills it in: `%d` and its like are its escapes, every other percent sign is doubled.
fn report_url(reports: &Reports, id: &str, secret: Option<&str>) -> String {
    let joint = if reports.url.contains('?') { '&' } else { '?' };
    let url = reports.url.replace('%', "%%");
    // The names are those of RapidSMS 2, whose view reads them as well.
    let mut url = format!(
        "{url}{joint}message_id={id}&status=%d&status_text=%A&smsc=%i&sms_id=%I&date_sent=%t&identity=%p"
    );
    if let Some(secret) = secret {
        url.push_str("&secret=");
        url.push_str(&if secret == MASK {
            MASK.to_string()
        } else {
            form::encode(secret).replace('%', "%%")
        });
    }
    url
}

/// A query in both spellings.
#[derive(Default)]
struct Query {
    sent: String,
    shown: String,
}

impl Query {
    fn add(&mut self, name: &str, value: &[u8]) {
        let pair = pair(name, value);
        push(&mut self.shown, &pair);
        push(&mut self.sent, &pair);
    }

    fn add_masked(&mut self, name: &str, value: &[u8], shown: &str) {
        push(&mut self.sent, &pair(name, value));
        // The mask stays readable.
        push(&mut self.shown, &pair(name, shown.as_bytes()).replace("%2A", "*"));
    }
}

/// As a form is encoded: a blank is "+", everything but letters, digits and `*-._` is encoded.
fn pair(name: &str, value: &[u8]) -> String {
    let encoded = |octets: &[u8]| form_urlencoded::byte_serialize(octets).collect::<String>();
    format!("{}={}", encoded(name.as_bytes()), encoded(value))
}

fn push(query: &mut String, pair: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(pair);
}

fn joined(one: &str, other: &str) -> String {
    if one.is_empty() { other.to_string() } else { format!("{one}&{other}") }
}

/// Nobody knows what stands in a query that was written into the address.
fn masked(query: &str) -> String {
    let names = query.split('&').filter(|pair| !pair.is_empty());
    let names = names.map(|pair| format!("{}={MASK}", pair.split('=').next().unwrap_or_default()));
    names.collect::<Vec<_>>().join("&")
}

fn without_login(address: &str) -> String {
    let start = address.find("://").map_or(0, |colon| colon + 3);
    let end = address[start..].find('/').map_or(address.len(), |slash| start + slash);
    match address[start..end].rfind('@') {
        Some(at) => format!("{}{MASK}@{}", &address[..start], &address[start + at + 1..]),
        None => address.to_string(),
    }
}
