//! What answers mean: signal, network, SIM, identities, service center, USSD. Read tolerantly: quotes, blanks, brackets and missing
//! fields are as modems have them. What cannot be read is `None`, never a panic. Storages and messages are in
//! [`super::storage`].

use super::command::begins_with_name;

/// Fields separated by commas, without quotes; a comma within quotes or brackets separates nothing. Brackets stay.
pub fn fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let (mut field, mut quoted, mut depth) = (String::new(), false, 0u32);
    for letter in text.trim().chars() {
        match letter {
            '"' => quoted = !quoted,
            '(' if !quoted => depth = depth.saturating_add(1),
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if letter == ',' && !quoted && depth == 0 {
            fields.push(unquoted(&field));
            field.clear();
        } else {
            field.push(letter);
        }
    }
    if !fields.is_empty() || !field.trim().is_empty() {
        fields.push(unquoted(&field));
    }
    fields
}

/// What stands behind `name:` in the first line that has it. Some modems leave the name out, so a first line
/// without any is taken too.
pub fn value<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    let named = lines.iter().find(|line| begins_with_name(line, name));
    if let Some(line) = named {
        let rest = line.get(name.len()..).unwrap_or_default();
        return Some(rest.trim_start().trim_start_matches([':', '=']).trim());
    }
    let first = lines.first()?.trim();
    (!first.starts_with(['+', '^', '*', '#', '$', '%', '&'])).then_some(first)
}

/// The strength of the signal (`AT+CSQ`, 27.007 8.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal {
    /// In dBm; `None` when the modem does not know it.
    pub dbm: Option<i16>,
    /// 0 to 5, as a phone shows it.
    pub bars: u8,
    /// The bit error rate's class, 0 to 7.
    pub errors: Option<u8>,
}

/// Reads the answer to `AT+CSQ`. Besides 0 to 31, some modems say 100 to 191 (TD-SCDMA) or dBm.
pub fn signal(lines: &[String]) -> Option<Signal> {
    let fields = fields(value(lines, "+CSQ")?);
    let level: i32 = fields.first()?.parse().ok()?;
    let dbm = match level {
        0..=31 => Some(level * 2 - 113),
        100..=191 => Some(level - 216),
        -150..=-20 => Some(level),
        _ => None,
    };
    let bars = match dbm {
        None => 0,
        Some(dbm) if dbm >= -73 => 5,
        Some(dbm) if dbm >= -83 => 4,
        Some(dbm) if dbm >= -93 => 3,
        Some(dbm) if dbm >= -103 => 2,
        Some(dbm) if dbm > -113 => 1,
        Some(_) => 0,
    };
    let errors = fields.get(1).and_then(|errors| errors.parse().ok()).filter(|errors| *errors <= 7);
    Some(Signal { dbm: dbm.and_then(|dbm| i16::try_from(dbm).ok()), bars, errors })
}

/// Which network a registration is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Domain {
    /// `+CREG`: calls and messages.
    Circuit,
    /// `+CGREG`: GPRS.
    Packet,
    /// `+CEREG`: LTE.
    Evolved,
    /// `+C5GREG`.
    FifthGeneration,
}

/// Whether the modem is in a network (27.007 7.2, 10.1.20, 10.1.22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Which network.
    pub domain: Domain,
    /// 0 no, 1 home, 2 searching, 3 denied, 4 unknown, 5 roaming, 6 and 7 for messages only, 8 for emergencies only, 9 and 10 limited.
    pub status: u8,
    /// Location or tracking area, in hexadecimal digits.
    pub area: Option<String>,
    /// The cell, in hexadecimal digits.
    pub cell: Option<String>,
}

impl Registration {
    /// Whether messages can be sent.
    pub fn is_registered(&self) -> bool {
        matches!(self.status, 1 | 5 | 6 | 7 | 9 | 10)
    }

    /// Whether it is another operator's network.
    pub fn is_roaming(&self) -> bool {
        matches!(self.status, 5 | 7 | 10)
    }

    /// The status in words.
    pub fn sentence(&self) -> &'static str {
        match self.status {
            0 => "not registered, not searching",
            1 => "registered, home network",
            2 => "searching for a network",
            3 => "the network denied registration",
            5 => "registered, roaming",
            6 => "registered for messages only, home network",
            7 => "registered for messages only, roaming",
            8 => "emergency calls only",
            9 | 10 => "registered, limited",
            _ => "unknown",
        }
    }
}

/// Reads an answer to `AT+CREG?` and its kin: with the setting first, `0,1`, `2,1,"00A1","00B2",7`, or without it as some modems have it.
pub fn registration(lines: &[String]) -> Option<Registration> {
    let line = lines.iter().find(|line| domain_of(line).is_some())?;
    let fields = registration_fields(line);
    let skip = usize::from(has_setting_first(&fields));
    registration_from(domain_of(line)?, fields.get(skip..)?)
}

/// Reads the unsolicited form, which has no setting in front.
pub(super) fn registration_urc(line: &str) -> Option<Registration> {
    registration_from(domain_of(line)?, &registration_fields(line))
}

/// Whether this line is the unsolicited form. An answer has the setting in front, so its second field is a single digit of status.
pub(super) fn is_registration_urc(line: &str) -> bool {
    domain_of(line).is_some() && !has_setting_first(&registration_fields(line))
}

fn registration_fields(line: &str) -> Vec<String> {
    line.split_once([':', '=']).map(|(_, rest)| fields(rest)).unwrap_or_default()
}

/// `0,1` has the setting in front, and so has `2,1,"00A1"`. `1,"00A1","00B2"` has not; a location area has four digits, quoted
/// or not, where `000,001` has three.
fn has_setting_first(fields: &[String]) -> bool {
    let small = |field: &String| field.parse::<u8>().is_ok_and(|number| number <= 15) && field.len() <= 3;
    fields.len() >= 2 && fields.iter().take(2).all(small)
}

fn registration_from(domain: Domain, fields: &[String]) -> Option<Registration> {
    let status = fields.first()?.parse().ok()?;
    let hex = |index: usize| {
        let field: &String = fields.get(index)?;
        let hex =
            !field.is_empty() && field.len() <= 9 && field.bytes().all(|octet| octet.is_ascii_hexdigit());
        hex.then(|| field.to_ascii_uppercase())
    };
    Some(Registration { domain, status, area: hex(1), cell: hex(2) })
}

fn domain_of(line: &str) -> Option<Domain> {
    let names = [
        ("+CREG", Domain::Circuit),
        ("+CGREG", Domain::Packet),
        ("+CEREG", Domain::Evolved),
        ("+C5GREG", Domain::FifthGeneration),
    ];
    names.iter().find(|(name, _)| begins_with_name(line, name)).map(|(_, domain)| *domain)
}

/// The network in use (`AT+COPS?`, 27.007 7.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operator {
    /// 0 automatic, 1 by hand, 2 deregistered ...
    pub mode: u8,
    /// Its name, or its number when the modem gives that.
    pub name: Option<String>,
    /// 0 GSM, 2 UTRAN, 7 LTE ...
    pub technology: Option<u8>,
}

/// Reads the answer to `AT+COPS?`.
pub fn operator(lines: &[String]) -> Option<Operator> {
    let fields = fields(value(lines, "+COPS")?);
    let mode = fields.first()?.parse().ok()?;
    let name = fields.get(2).map(|name| from_ucs2_digits(name).unwrap_or_else(|| name.clone()));
    let technology = fields.get(3).and_then(|technology| technology.parse().ok());
    Some(Operator { mode, name: name.filter(|name| !name.trim().is_empty()), technology })
}

/// What the SIM waits for (`AT+CPIN?`, 27.007 8.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pin {
    /// Nothing.
    Ready,
    /// Its PIN.
    Pin,
    /// It is blocked and wants its PUK.
    Puk,
    /// PIN2 or PUK2: messages work without.
    Second,
    /// The unlocking code of a phone, network or provider lock, or something newer.
    Other(String),
}

/// Reads the answer to `AT+CPIN?`: `READY`, `"READY"`, or nothing but `OK`, which some modems say when nothing is wanted.
pub fn pin(lines: &[String]) -> Option<Pin> {
    if lines.is_empty() {
        return Some(Pin::Ready);
    }
    let wanted = value(lines, "+CPIN")?.trim_matches(['"', ' ']).to_ascii_uppercase();
    Some(match wanted.as_str() {
        "READY" => Pin::Ready,
        "SIM PIN" => Pin::Pin,
        "SIM PUK" => Pin::Puk,
        "SIM PIN2" | "SIM PUK2" => Pin::Second,
        // A lock is a matter for a person. A line that does not name itself may as well be the late answer to another question.
        _ if !lines.iter().any(|line| line.starts_with("+CPIN")) => return None,
        _ => Pin::Other(wanted.chars().take(64).collect()),
    })
}

/// Reads the answer to `AT+CSCA?`: the number, with `+` when it is international; `None` when there is none. Understands
/// UCS-2 digits, which modems use after `CSCS="UCS2"`.
pub fn service_center(lines: &[String]) -> Option<String> {
    let fields = fields(value(lines, "+CSCA")?);
    let number = fields.first()?;
    let number = from_ucs2_digits(number).unwrap_or_else(|| number.clone());
    let number: String = number.chars().filter(|letter| !letter.is_whitespace()).collect();
    let digits = number.trim_start_matches('+');
    let valid = (1..=20).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
    let international = number.starts_with('+') || fields.get(1).is_some_and(|kind| kind == "145");
    valid.then(|| if international { format!("+{digits}") } else { digits.to_string() })
}

/// The IMEI in an answer to `AT+CGSN` or `AT+GSN`: 14 to 16 digits, whatever stands around them.
pub fn imei(lines: &[String]) -> Option<String> {
    longest_digits(lines, 14, 16)
}

/// The IMSI in an answer to `AT+CIMI`.
pub fn imsi(lines: &[String]) -> Option<String> {
    longest_digits(lines, 6, 15)
}

/// The ICCID in an answer to `AT+CCID`, `AT+ICCID` or `AT^ICCID?`, without the filling `F`. Starts with 89 (ITU-T E.118), so digits whose
/// halves were swapped are seen and put right.
pub fn iccid(lines: &[String]) -> Option<String> {
    let digits = lines.iter().find_map(|line| {
        let line = line.rsplit(':').next().unwrap_or_default();
        let text: String = line.chars().filter(|letter| !"\" ,".contains(*letter)).collect();
        let text = text.trim_end_matches(['F', 'f']).to_string();
        let digits = text
            .bytes()
            .filter(|octet| !octet.eq_ignore_ascii_case(&b'f'))
            .all(|octet| octet.is_ascii_digit());
        ((18..=20).contains(&text.len()) && digits).then_some(text)
    })?;
    if digits.starts_with("98") {
        let swapped: Vec<u8> =
            digits.as_bytes().chunks(2).flat_map(|pair| pair.iter().rev().copied()).collect();
        return String::from_utf8(swapped).ok().map(|digits| digits.trim_end_matches(['F', 'f']).to_string());
    }
    Some(digits)
}

/// Make, model or version: the first line without its name.
pub fn words(lines: &[String]) -> Option<String> {
    let line = lines.first()?;
    let text = match super::urc::looks_like_a_code(line) {
        true => line.split_once(':').map_or("", |(_, rest)| rest),
        false => line,
    };
    let text = text.trim().trim_matches('"').trim();
    (!text.is_empty()).then(|| text.chars().take(128).collect())
}

/// The message reference of `+CMGS: 12`, also of `+CMGS: 12,"26/11/22,10:00:00+04"`.
pub fn reference(lines: &[String]) -> Option<u8> {
    let line =
        lines.iter().find(|line| ["+CMGS", "+CMSS"].iter().any(|name| begins_with_name(line, name)))?;
    fields(line.split_once([':', '='])?.1).first()?.parse().ok()
}

/// The slot that a message was written to (`+CMGW: <index>`, 27.005 3.5.3).
pub fn written_to(lines: &[String]) -> Option<u32> {
    fields(value(lines, "+CMGW")?).first()?.parse().ok()
}

/// `+CUSD` (27.007 7.15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ussd {
    /// 0 final, 1 an answer is wanted, 2 ended by the network, 3 answered by another, 4 not supported, 5 timed out.
    pub status: u8,
    /// The text as the modem gave it: plain, or digits in a coding that differs by model.
    pub text: Option<String>,
    /// The data coding scheme (23.038 5).
    pub coding: Option<u8>,
}

/// Reads a whole `+CUSD: 0,"text",15`, line ends in the text included.
pub fn ussd(text: &str) -> Option<Ussd> {
    let (_, rest) = text.split_once(':')?;
    let rest = rest.trim();
    let (status, rest) = rest.split_once(',').unwrap_or((rest, ""));
    let status = status.trim().parse().ok()?;
    let rest = rest.trim();
    if rest.is_empty() {
        return Some(Ussd { status, text: None, coding: None });
    }
    let (text, coding) = match (rest.find('"'), rest.rfind('"')) {
        (Some(start), Some(end)) if start < end => {
            (rest.get(start + 1..end), rest.get(end + 1..).unwrap_or_default())
        }
        (Some(start), _) => (rest.get(start + 1..), ""),
        _ => rest.rsplit_once(',').map_or((Some(rest), ""), |(text, coding)| (Some(text), coding)),
    };
    let coding = coding.trim().trim_start_matches(',').trim().parse().ok();
    Some(Ussd { status, text: text.map(str::to_string).filter(|text| !text.is_empty()), coding })
}

fn unquoted(field: &str) -> String {
    let field = field.trim();
    let inner = field.strip_prefix('"').map(|rest| rest.strip_suffix('"').unwrap_or(rest));
    inner.unwrap_or(field).trim().to_string()
}

/// `002B0034003400` ... as text; only what can be nothing else: whole quartets of hexadecimal digits, all of them printable, the first
/// of them ASCII.
fn from_ucs2_digits(text: &str) -> Option<String> {
    let digits = text.len() >= 8 && text.len().is_multiple_of(4) && text.starts_with("00");
    if !digits || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    let units = (0..text.len()).step_by(4).map(|at| u16::from_str_radix(text.get(at..at + 4)?, 16).ok());
    let units: Option<Vec<u16>> = units.collect();
    let text = String::from_utf16(&units?).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

fn longest_digits(lines: &[String], least: usize, most: usize) -> Option<String> {
    lines.iter().find_map(|line| {
        let mut runs = line.split(|letter: char| !letter.is_ascii_digit());
        runs.find(|run| (least..=most).contains(&run.len())).map(str::to_string)
    })
}
