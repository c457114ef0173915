//! What the settings of a modem mean: the keys, and their values in the types of those who use them.

use crate::backends::BackendError;
use crate::devices::Identity;
use crate::message::Name;
use crate::numbers::{Answering, Destinations, Numbering};
use crate::pdu::transliterate::Scope;
use crate::pdu::{Address, Language, Splitting};
use crate::settings::{BackendSettings, Key, Kind, Secret};
use regex::Regex;
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const TIMEOUT: Kind = Kind::Duration { min: Duration::from_millis(100), max: HOUR };

/// The keys of `ENGINE = "gsm"`, those of the older systems first.
pub const KEYS: &[Key] = &[
    Key::new(
        "transliterate",
        Kind::OneOf(&["no", "latin", "all"]),
        "write letters that SMS lacks as others, where that saves parts",
    )
    .or("no"),
    Key::new(
        "national_languages",
        Kind::TextList,
        "languages whose tables may be used where they save parts; phones must know them",
    )
    .such_as("turkish"),
    Key::new("wide_reference", Kind::Boolean, "references of 16 bits for messages in parts").or("false"),
    Key::new("PORT", Kind::Text, "the modem's serial port")
        .required()
        .unless(&["usb", "usb_serial", "imei", "imsi", "iccid"])
        .unique()
        .such_as("/dev/ttyUSB0")
        .also(&["device", "tty", "modem", "serial_port"]),
    Key::new("usb", Kind::Text, "instead of PORT: where the modem is plugged in").unique().such_as("1-1.2"),
    Key::new("usb_serial", Kind::Text, "instead of PORT: the modem's USB serial number")
        .unique()
        .such_as("867962041234567"),
    Key::new("baudrate", Kind::Integer { min: 300, max: 4_000_000 }, "speed of the line")
        .or("115200")
        .also(&["speed", "baud", "bps"]),
    Key::new("bytesize", Kind::Integer { min: 5, max: 8 }, "data bits").or("8"),
    Key::new("parity", Kind::OneOf(&["N", "E", "O", "M", "S"]), "parity bit").or("N"),
    Key::new("stopbits", Kind::Integer { min: 1, max: 2 }, "stop bits").or("1"),
    Key::new("rtscts", Kind::Boolean, "hardware flow control").or("false"),
    Key::new("xonxoff", Kind::Boolean, "software flow control").or("false"),
    Key::ignored("dsrdtr", "the modem is told to hang up by DTR, and asked nothing by it"),
    Key::new("timeout", TIMEOUT, "how long the modem may take to answer").or("10 s"),
    Key::new(
        "send_timeout",
        Kind::Duration { min: Duration::from_secs(30), max: HOUR },
        "how long the network may take over one part of a message",
    )
    .or("180 s"),
    Key::ignored("writetimeout", "what cannot be written is noticed by the answer that does not come"),
    Key::ignored("intercharTimeout", "answers are read line by line"),
    Key::new("pin", Kind::Secret, "the SIM's PIN; a wrong one is given once, never again"),
    Key::new("service_center", Kind::Text, "number of the message centre, when the SIM's is wrong")
        .such_as("+15550100000")
        .also(&["smsc", "service_centre"]),
    Key::new("max_csm", Kind::Integer { min: 1, max: 255 }, "the most parts of one message").or("10"),
    Key::new(
        "imei",
        Kind::Text,
        "the modem's number: the modem that must be at the port, or, without PORT, that is looked for",
    )
    .unique()
    .such_as("490154203237518"),
    Key::new("imsi", Kind::Text, "the subscriber's number on the SIM, in the same way")
        .unique()
        .such_as("639020000000001"),
    Key::new("iccid", Kind::Text, "the number printed on the SIM, in the same way")
        .unique()
        .such_as("89254020000000000012"),
    Key::new("init", Kind::TextList, "commands for the modem after those of the program")
        .such_as("AT^CURC=0")
        .also(&["init_string"]),
    Key::new("cnmi", Kind::Text, "how new messages are announced, when the program's own choice is wrong")
        .such_as("2,1,0,2,0"),
    Key::new("storages", Kind::TextList, "storages for new messages, best first; the program asks the modem")
        .such_as("SM"),
    Key::new(
        "sweep",
        Kind::Duration { min: SECOND, max: Duration::from_secs(24 * 3600) },
        "how often all storages are looked through",
    )
    .or("5 min"),
    Key::new("reports", Kind::Boolean, "ask the network whether each message arrived")
        .or("false")
        .also(&["delivery_reports"]),
    Key::new("flash", Kind::Boolean, "send messages that are shown at once and not stored").or("false"),
    Key::new(
        "country_code",
        Kind::Text,
        "the country's code: numbers that come and go are written as +CODE...",
    )
    .such_as("254"),
    Key::new("national_prefix", Kind::Text, "what is dialled before national numbers; \"\" where nothing is")
        .or("0")
        .also(&["trunk_prefix"]),
    Key::new("international_prefix", Kind::Text, "what is dialled before a country's code").or("00"),
    Key::new(
        "national_digits",
        Kind::Text,
        "how many digits national numbers have without any prefix: 9, or 8-10",
    )
    .such_as("9"),
    Key::new(
        "allowed_destinations",
        Kind::TextList,
        "numbers that begin so may be written to, and no others",
    )
    .such_as("+254"),
    Key::new("denied_destinations", Kind::TextList, "numbers that begin so are never written to")
        .such_as("+254900"),
    Key::new(
        "reply_to_short_codes",
        Kind::Boolean,
        "answer short codes too; mostly a machine is behind them",
    )
    .or("false"),
    Key::new("hang_up", Kind::Boolean, "hang up when somebody calls").or("false").also(&["hangup"]),
    Key::new("call_text", Kind::Text, "a call becomes a message with this text").such_as("missed call"),
    Key::new("balance_code", Kind::Text, "the code that asks the network for the balance").such_as("*144#"),
    Key::new("balance_pattern", Kind::Text, "what of the answer is the balance: a pattern, with one group")
        .such_as("balance is ([0-9.]+)"),
    Key::new(
        "balance_every",
        Kind::Duration { min: Duration::from_secs(300), max: Duration::from_secs(7 * 24 * 3600) },
        "how often it is asked for",
    )
    .or("24 h"),
];

/// What the driver goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The backend's name.
    pub backend: Name,
    /// The SIM's PIN.
    pub pin: Option<Secret>,
    /// This PIN was given before, and it is not known that it worked.
    pub pin_was_tried: bool,
    /// The service center, instead of the SIM's.
    pub service_center: Option<String>,
    /// The device that it must be.
    pub imei: Option<String>,
    /// The subscriber that it must be.
    pub imsi: Option<String>,
    /// The card that it must be.
    pub iccid: Option<String>,
    /// Commands of the settings.
    pub init: Vec<String>,
    /// The argument of `AT+CNMI=` to be tried first.
    pub routing: Option<String>,
    /// Storages for new messages, best first; empty: whatever the modem has.
    pub storages: Vec<String>,
    /// How often all storages are looked through.
    pub sweep: Duration,
    /// How long the modem may take to answer.
    pub answer_time: Duration,
    /// How long the network may take over one part of a message.
    pub send_time: Duration,
    /// The network is never asked to try longer than this.
    pub validity: Duration,
    /// Whether reports are asked for, when a message does not say.
    pub report: bool,
    /// Whether messages are shown at once and not stored.
    pub flash: bool,
    /// How texts are cut into parts.
    pub splitting: Splitting,
    /// Which letters may be written as others, where that saves parts.
    pub transliterate: Option<Scope>,
    /// How numbers are written here; `None`: they stay as they are.
    pub numbering: Option<Numbering>,
    /// Where messages may go.
    pub destinations: Destinations,
    /// Which senders that are no telephones are answered.
    pub answering: Answering,
    /// Whether calls are hung up.
    pub hang_up: bool,
    /// The text of the message that a call becomes.
    pub call_text: Option<String>,
    /// How the balance is asked for.
    pub balance: Option<Balance>,
}

/// A question to the network that is asked now and then.
#[derive(Clone, Debug)]
pub struct Balance {
    /// What is dialled.
    pub code: String,
    /// What of the answer counts.
    pub pattern: Option<Regex>,
    /// How often.
    pub every: Duration,
}

/// How the port is opened.
#[derive(Clone, Debug)]
pub struct Port {
    /// Which port, or which modem behind whatever port.
    pub identity: Identity,
    /// Octets of ten bits per second, so to say.
    pub speed: u32,
    /// 5 to 8.
    pub data_bits: u8,
    /// `N`, `E` or `O`.
    pub parity: char,
    /// 1 or 2.
    pub stop_bits: u8,
    /// RTS/CTS.
    pub hardware_flow: bool,
    /// XON/XOFF.
    pub software_flow: bool,
}

impl Rules {
    /// Those of a modem about which the settings say nothing.
    pub fn new(backend: Name) -> Rules {
        Rules {
            backend,
            pin: None,
            pin_was_tried: false,
            service_center: None,
            imei: None,
            imsi: None,
            iccid: None,
            init: Vec::new(),
            routing: None,
            storages: Vec::new(),
            sweep: Duration::from_secs(300),
            answer_time: Duration::from_secs(10),
            send_time: Duration::from_secs(180),
            validity: Duration::from_secs(48 * 3600),
            report: false,
            flash: false,
            splitting: Splitting { most_parts: 10, ..Splitting::default() },
            transliterate: None,
            numbering: None,
            destinations: Destinations::default(),
            answering: Answering::default(),
            hang_up: false,
            call_text: None,
            balance: None,
        }
    }

    /// Those of the settings.
    pub fn of(settings: &BackendSettings) -> Result<Rules, BackendError> {
        let options = &settings.options;
        let text =
            |key: &str| options.text(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_string);
        let list = |key: &str| options.list(key).unwrap_or_default().to_vec();
        let usual = Rules::new(settings.name.as_str().into());
        let most_parts = options.count("max_csm").and_then(|most| u8::try_from(most).ok());
        Ok(Rules {
            pin: pin(settings)?,
            service_center: service_center(settings)?,
            imei: text("imei"),
            imsi: text("imsi"),
            iccid: text("iccid"),
            init: list("init").into_iter().filter(|command| !command.trim().is_empty()).take(64).collect(),
            routing: text("cnmi").map(|routing| routing.trim_start_matches("AT+CNMI=").to_string()),
            storages: list("storages")
                .into_iter()
                .map(|name| name.trim().to_ascii_uppercase())
                .take(8)
                .collect(),
            sweep: options.duration("sweep").unwrap_or(usual.sweep),
            answer_time: options.duration("timeout").unwrap_or(usual.answer_time).max(SECOND),
            send_time: options.duration("send_timeout").unwrap_or(usual.send_time),
            validity: settings.validity,
            report: options.boolean("reports").unwrap_or(usual.report),
            flash: options.boolean("flash").unwrap_or(usual.flash),
            splitting: Splitting {
                most_parts: most_parts.unwrap_or(usual.splitting.most_parts),
                wide_reference: options.boolean("wide_reference").unwrap_or(false),
                languages: languages(settings)?,
                ..usual.splitting
            },
            transliterate: match options.text("transliterate") {
                Some("latin") => Some(Scope::Latin),
                Some("all") => Some(Scope::All),
                _ => None,
            },
            numbering: numbering(settings)?,
            destinations: destinations(settings)?,
            answering: Answering {
                short_codes: options.boolean("reply_to_short_codes").unwrap_or(false),
                // No network can dial a name.
                names: false,
            },
            hang_up: options.boolean("hang_up").unwrap_or(usual.hang_up),
            call_text: text("call_text"),
            balance: balance(settings)?,
            ..usual
        })
    }

    /// Whether it matters who calls.
    pub fn watches_calls(&self) -> bool {
        self.hang_up || self.call_text.is_some()
    }
}

impl Port {
    /// The port of the settings.
    pub fn of(settings: &BackendSettings) -> Result<Port, BackendError> {
        let options = &settings.options;
        let number = |key: &str, usual: i64| options.integer(key).unwrap_or(usual);
        let parity = options.text("parity").and_then(|parity| parity.chars().next()).unwrap_or('N');
        if !matches!(parity, 'N' | 'E' | 'O') {
            let why = format!("parity = \"{parity}\" in the settings: no modem needs it; write N, E or O");
            return Err(BackendError::Refused(why));
        }
        Ok(Port {
            identity: identity(settings)?,
            speed: u32::try_from(number("baudrate", 115_200)).unwrap_or(115_200),
            data_bits: u8::try_from(number("bytesize", 8)).unwrap_or(8),
            parity,
            stop_bits: u8::try_from(number("stopbits", 1)).unwrap_or(1),
            hardware_flow: options.boolean("rtscts").unwrap_or(false),
            software_flow: options.boolean("xonxoff").unwrap_or(false),
        })
    }
}

/// A path is taken as it is; otherwise the first of the other names.
fn identity(settings: &BackendSettings) -> Result<Identity, BackendError> {
    let names: [(&str, fn(String) -> Identity); 6] = [
        ("PORT", |path| Identity::Port(PathBuf::from(path))),
        ("usb", Identity::Usb),
        ("usb_serial", Identity::Serial),
        ("imei", Identity::Imei),
        ("iccid", Identity::Iccid),
        ("imsi", Identity::Imsi),
    ];
    let given = names.into_iter().find_map(|(key, make)| {
        let value = settings.options.text(key).map(str::trim).filter(|value| !value.is_empty())?;
        Some(make(value.to_string()))
    });
    given.ok_or_else(|| {
        BackendError::Refused(
            "the settings do not say which modem: PORT = \"/dev/ttyUSB0\", usb, imei ...".into(),
        )
    })
}

fn pin(settings: &BackendSettings) -> Result<Option<Secret>, BackendError> {
    let Some(pin) = settings.options.secret("pin") else { return Ok(None) };
    let digits = pin.expose().trim();
    if !(4..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(BackendError::Refused("pin in the settings is no PIN: a PIN has 4 to 8 digits".into()));
    }
    Ok(Some(Secret::new(digits)))
}

fn languages(settings: &BackendSettings) -> Result<Vec<Language>, BackendError> {
    let named = |name: &String| {
        let wanted = name.trim().to_ascii_lowercase();
        Language::ALL.into_iter().find(|language| language.as_str() == wanted).ok_or_else(|| {
            let all: Vec<&str> = Language::ALL.iter().map(|language| language.as_str()).collect();
            BackendError::Refused(format!(
                "national_languages in the settings: there are no tables for {name:?}, but for {}",
                all.join(", ")
            ))
        })
    };
    settings.options.list("national_languages").unwrap_or_default().iter().map(named).collect()
}

fn service_center(settings: &BackendSettings) -> Result<Option<String>, BackendError> {
    let Some(number) = settings.options.text("service_center") else { return Ok(None) };
    match Address::number(number) {
        Ok(number) => Ok(Some(number.to_string())),
        Err(error) => Err(BackendError::Refused(format!("service_center in the settings: {error}"))),
    }
}

fn balance(settings: &BackendSettings) -> Result<Option<Balance>, BackendError> {
    let options = &settings.options;
    let Some(code) = options.text("balance_code") else { return Ok(None) };
    if code.is_empty() || !code.bytes().all(|letter| letter.is_ascii_digit() || b"*#+".contains(&letter)) {
        return Err(BackendError::Refused(format!(
            "balance_code in the settings: {code:?} cannot be dialled; write a code such as \"*144#\""
        )));
    }
    let pattern = match options.text("balance_pattern") {
        None => None,
        Some(pattern) => match Regex::new(pattern) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                return Err(BackendError::Refused(format!("balance_pattern in the settings: {error}")));
            }
        },
    };
    let every = options.duration("balance_every").unwrap_or(Duration::from_secs(24 * 3600));
    Ok(Some(Balance { code: code.to_string(), pattern, every }))
}

/// `None` without a country: then numbers stay as they are.
fn numbering(settings: &BackendSettings) -> Result<Option<Numbering>, BackendError> {
    let options = &settings.options;
    let wrong = |key: &str, why: &str| BackendError::Refused(format!("{key} in the settings: {why}"));
    let Some(country_code) = options.text("country_code").map(str::trim) else {
        return match options.text("national_digits") {
            None => Ok(None),
            Some(_) => Err(wrong(
                "national_digits",
                "it says nothing without country_code beside it, such as \"254\"",
            )),
        };
    };
    let prefix = |key: &str, usual: &'static str| options.text(key).map_or(usual, str::trim).to_string();
    let (national, international) = (prefix("national_prefix", "0"), prefix("international_prefix", "00"));
    let numbering =
        Numbering::new(country_code, &national, &international).map_err(|why| wrong("country_code", &why))?;
    let Some(digits) = options.text("national_digits").map(str::trim) else { return Ok(Some(numbering)) };
    let (least, most) = digits.split_once('-').unwrap_or((digits, digits));
    let (Ok(least), Ok(most)) = (least.trim().parse::<usize>(), most.trim().parse::<usize>()) else {
        return Err(wrong(
            "national_digits",
            &format!("{digits:?} is no number of digits: write \"9\" or \"8-10\""),
        ));
    };
    let numbering =
        numbering.with_national_digits(least..=most).map_err(|why| wrong("national_digits", &why))?;
    Ok(Some(numbering))
}

fn destinations(settings: &BackendSettings) -> Result<Destinations, BackendError> {
    let list = |key: &str| settings.options.list(key).unwrap_or_default();
    Destinations::new(list("allowed_destinations"), list("denied_destinations")).map_err(|why| {
        BackendError::Refused(format!("allowed_destinations and denied_destinations in the settings: {why}"))
    })
}
