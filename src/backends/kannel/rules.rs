//! What the settings of a Kannel mean: the keys, and their values in the types of those who use them.

use super::alphabet::Alphabets;
use super::trust::Trust;
use crate::backends::BackendError;
use crate::http::charset::{Charset, Missing};
use crate::http::{client, form};
use crate::pdu::Splitting;
use crate::settings::{BackendSettings, Key, Kind, Secret, Value};
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Kind = Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(3600) };
/// The longest answer that is read: Kannel's have one line.
const ANSWER_LIMIT: usize = 16 * 1024;
/// The longest status page that is read: each link takes half a kilobyte.
const STATUS_LIMIT: usize = 512 * 1024;
/// How long the status page may take: nobody waits for it.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages in hand beyond this wait in the mailbox: each hand is a thread.
const MOST_HANDS: usize = 64;
/// Messages in hand when the settings do not say.
pub const WINDOW: usize = 4;

/// The keys of `ENGINE = "kannel"`, those of the older systems first.
pub const KEYS: &[Key] = &[
    Key::new("sendsms_url", Kind::Url, "Kannel's sendsms address")
        .also(&["url"])
        .or("http://127.0.0.1:13013/cgi-bin/sendsms"),
    Key::new("sendsms_params", Kind::Table, "smsc, from, username, password and what else Kannel takes"),
    Key::new(
        "coding",
        Kind::Integer { min: 0, max: 2 },
        "0 GSM alphabet, 1 octets, 2 Unicode; chosen for each text when not given",
    )
    .such_as("0"),
    Key::new("charset", Kind::Text, "how texts are encoded for Kannel; chosen when not given")
        .such_as("UTF-8"),
    Key::new(
        "encode_errors",
        Kind::OneOf(&["ignore", "replace", "strict", "backslashreplace", "xmlcharrefreplace"]),
        "what becomes of letters that the charset lacks; when not given, such texts are sent as Unicode",
    )
    .such_as("strict"),
    Key::new("iconv", Kind::Boolean, "false for a Kannel that was built without iconv").or("true"),
    Key::new(
        "max_messages",
        Kind::Integer { min: 1, max: 255 },
        "longer texts are refused: max-messages of the sendsms-user, beyond which Kannel cuts them off",
    )
    .such_as("10"),
    Key::new(
        "delivery_report_url",
        Kind::Url,
        "this router's address as Kannel sees it, for delivery reports; none when not given",
    )
    .such_as("http://127.0.0.1:8000"),
    Key::new(
        "delivery_report_mask",
        Kind::Integer { min: 1, max: 63 },
        "which reports: the sum of 1 delivered, 2 failed, 4 waiting, 8 sent, 16 refused",
    )
    .or("31"),
    Key::new("secret", Kind::Secret, "what Kannel must show when it calls us"),
    Key::new("incoming_addresses", Kind::TextList, "addresses and networks from which Kannel may call us")
        .such_as("127.0.0.1"),
    Key::new("status_url", Kind::Url, "Kannel's status page, which tells how its links are")
        .such_as("http://127.0.0.1:13000/status.xml"),
    Key::new("status_password", Kind::Secret, "the password of that page"),
    Key::new("timeout", TIMEOUT, "how long Kannel may take to answer").or("30 s"),
    Key::new("connect_timeout", TIMEOUT, "how long it may take to connect").or("10 s"),
    Key::new(
        "ca_file",
        Kind::Path,
        "certificates (PEM) that are trusted instead of the public ones, for https",
    )
    .also(&["ca", "cafile"]),
    Key::new("host", Kind::Text, "with port: address of a listener of its own").or("localhost"),
    Key::new(
        "port",
        Kind::Integer { min: 1, max: 65535 },
        "port of a listener of its own, as RapidSMS 0.9 had it; else messages come in at /backend/NAME/",
    )
    .such_as("13081"),
];

/// What the engine goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The backend's name.
    pub backend: String,
    /// Where messages go.
    pub sendsms_url: String,
    /// What goes with every message, in the order of the settings.
    pub params: Vec<(String, Value)>,
    /// How texts are written.
    pub alphabets: Alphabets,
    /// More messages than this are not one text; 255 when not said.
    pub most_parts: u8,
    /// How reports are asked for; `None`: not at all.
    pub reports: Option<Reports>,
    /// Who is believed.
    pub trust: Trust,
    /// Where Kannel tells how it is.
    pub status: Option<Status>,
    /// So many messages are sent side by side.
    pub hands: usize,
    /// How Kannel is called.
    pub client: client::Rules,
}

/// How delivery reports are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reports {
    /// Where Kannel is to call, percent-encoded, with a path.
    pub url: String,
    /// About what: the sum of Kannel's numbers.
    pub mask: u8,
}

/// The status page.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its address.
    pub url: String,
    /// Its password.
    pub password: Option<Secret>,
    /// How it is called.
    pub client: client::Rules,
}

impl Rules {
    /// Those of the settings.
    pub fn of(settings: &BackendSettings) -> Result<Rules, BackendError> {
        let options = &settings.options;
        let text =
            |key: &str| options.text(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_string);
        let timeout = options.duration("timeout").unwrap_or(Duration::from_secs(30));
        if timeout >= settings.watchdog {
            return Err(BackendError::Refused(format!(
                "timeout in the settings must be shorter than watchdog, which is {:?}: a call that takes so long would \
                 be taken for a backend that is stuck",
                settings.watchdog
            )));
        }
        let client = client::Rules {
            timeout,
            connect_timeout: options
                .duration("connect_timeout")
                .unwrap_or(Duration::from_secs(10))
                .min(timeout),
            ca_file: options.path("ca_file").map(PathBuf::from),
            answer_limit: ANSWER_LIMIT,
        };
        let status_client = client::Rules {
            timeout: client.timeout.min(STATUS_TIMEOUT),
            connect_timeout: client.connect_timeout.min(STATUS_TIMEOUT),
            answer_limit: STATUS_LIMIT,
            ..client.clone()
        };
        let secret = options.secret("secret").cloned();
        Ok(Rules {
            backend: settings.name.clone(),
            sendsms_url: address("sendsms_url", text("sendsms_url").unwrap_or_default())?,
            params: options.table("sendsms_params").unwrap_or_default().to_vec(),
            alphabets: alphabets(settings)?,
            most_parts: options
                .count("max_messages")
                .and_then(|most| u8::try_from(most).ok())
                .unwrap_or(u8::MAX),
            reports: match text("delivery_report_url") {
                None => None,
                Some(url) => Some(Reports {
                    url: report_address(address("delivery_report_url", url)?, &settings.name),
                    mask: options
                        .integer("delivery_report_mask")
                        .and_then(|mask| u8::try_from(mask).ok())
                        .unwrap_or(31),
                }),
            },
            trust: Trust::new(secret, options.list("incoming_addresses").unwrap_or_default())
                .map_err(|why| BackendError::Refused(format!("incoming_addresses in the settings: {why}")))?,
            status: match text("status_url") {
                None => None,
                Some(url) => Some(Status {
                    url: address("status_url", url)?,
                    password: options.secret("status_password").cloned(),
                    client: status_client,
                }),
            },
            hands: settings.window.unwrap_or(WINDOW).clamp(1, MOST_HANDS),
            client,
        })
    }

    /// How Kannel will cut texts into parts, as far as it can be known from here.
    pub fn splitting(&self) -> Splitting {
        Splitting {
            always_ucs2: self.alphabets.coding == Some(2),
            most_parts: self.most_parts,
            ..Splitting::default()
        }
    }
}

/// The address and the port of a listener of its own, if there is to be one.
pub fn listener(settings: &BackendSettings) -> Option<(String, u16)> {
    let port = settings.options.integer("port").and_then(|port| u16::try_from(port).ok())?;
    let host = settings.options.text("host").map(str::trim).filter(|host| !host.is_empty());
    Some((host.unwrap_or("localhost").to_string(), port))
}

fn alphabets(settings: &BackendSettings) -> Result<Alphabets, BackendError> {
    let options = &settings.options;
    let charset = match options.text("charset").map(str::trim) {
        None | Some("") => None,
        Some(name) => match Charset::named(name) {
            Some(charset) => Some((name.to_string(), charset)),
            None => {
                return Err(BackendError::Refused(format!(
                    "charset in the settings: there is no character set \"{}\" here; leave it out, and each text is \
                     sent as it needs",
                    name.escape_debug()
                )));
            }
        },
    };
    Ok(Alphabets {
        coding: options.integer("coding").and_then(|coding| u8::try_from(coding).ok()),
        charset,
        missing: options.text("encode_errors").and_then(|word| match word {
            "ignore" => Some(Missing::Ignore),
            "replace" => Some(Missing::Replace),
            "strict" => Some(Missing::Strict),
            "backslashreplace" => Some(Missing::Backslash),
            "xmlcharrefreplace" => Some(Missing::Xml),
            _ => None,
        }),
        iconv: options.boolean("iconv").unwrap_or(true),
    })
}

/// What goes into a request line must be so written already; and a fragment stays at home.
fn address(key: &str, url: String) -> Result<String, BackendError> {
    match url.chars().find(|letter| !letter.is_ascii_graphic() || *letter == '#') {
        None => Ok(url),
        Some(letter) => Err(BackendError::Refused(format!(
            "{key} in the settings: an address cannot have {letter:?} in it; percent-encode it"
        ))),
    }
}

/// RapidSMS 2 had the site's address here and added the path itself; both are understood.
fn report_address(url: String, backend: &str) -> String {
    let authority = url.find("://").map_or(0, |colon| colon + 3);
    let path = url[authority..].find(['/', '?']).map_or(url.len(), |slash| authority + slash);
    let (site, rest) = url.split_at(path);
    let (path, query) = rest.split_once('?').map_or((rest, ""), |(path, query)| (path, query));
    if !matches!(path, "" | "/") {
        return url;
    }
    let joint = if query.is_empty() { "" } else { "?" };
    format!("{site}/backend/{}/delivery-report/{joint}{query}", form::encode(backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_gets_the_path_of_its_reports() {
        for (given, meant) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/backend/my%20line/delivery-report/"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/backend/my%20line/delivery-report/"),
            ("https://sms.example.org?a=b", "https://sms.example.org/backend/my%20line/delivery-report/?a=b"),
            ("http://proxy/sms/delivery-report/", "http://proxy/sms/delivery-report/"),
            ("http://proxy/dlr?line=1", "http://proxy/dlr?line=1"),
        ] {
            assert_eq!(report_address(given.to_string(), "my line"), meant, "{given}");
        }
    }

    #[test]
    fn what_breaks_a_request_line_is_no_address() {
        assert!(address("sendsms_url", "http://127.0.0.1/a b".into()).is_err());
        assert!(address("sendsms_url", "http://127.0.0.1/\r\nX: y".into()).is_err());
        assert!(address("sendsms_url", "http://127.0.0.1/#a".into()).is_err());
        assert!(address("sendsms_url", "http://127.0.0.1/cgi-bin/sendsms?a=%20b".into()).is_ok());
    }
}
