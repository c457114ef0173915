//! What `+CMS ERROR` (3GPP TS 27.005 3.2.5) and `+CME ERROR` (27.007 9.2) mean, and what to do about it.
//!
//! Codes 0 to 127 of CMS are RP causes of the network (24.011 annex E-2), 128 to 255 are TP-FCS of the service center
//! (23.040 9.2.3.22), 300 and up come from the modem itself. The classes are what gateways learned, not what a
//! specification says. A code that nobody knows is tried again: tries are counted elsewhere.

use std::fmt;

/// What to do about a message that failed with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Again later, with the same modem or another.
    Retry,
    /// The modem or its SIM needs care first; the message may go by another modem.
    Sick,
    /// This SIM may not; another may, once.
    OtherSim,
    /// Nobody can send this message.
    Permanent,
    /// It may have been sent.
    Unsure,
}

/// A final result that is not `OK`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ModemError {
    /// `+CMS ERROR: <code>`: about messages.
    Cms(u32),
    /// `+CME ERROR: <code>`: about everything else.
    Cme(u32),
    /// `+CMS ERROR` or `+CME ERROR` with a text that no specification has, or with nothing.
    Text(String),
    /// `ERROR`.
    Plain,
    /// `COMMAND NOT SUPPORT`.
    NotSupported,
}

impl ModemError {
    /// Reads a final result of the error kind: `ERROR`, `+CMS ERROR: 500`, `+CME ERROR:14`, `+CME ERROR: SIM busy`,
    /// `COMMAND NOT SUPPORT`. Only whole lines count.
    pub fn parse(line: &str) -> Option<ModemError> {
        let line = line.trim();
        if line.eq_ignore_ascii_case("ERROR") {
            return Some(ModemError::Plain);
        }
        if ["COMMAND NOT SUPPORT", "COMMAND NOT SUPPORTED"].iter().any(|text| line.eq_ignore_ascii_case(text))
        {
            return Some(ModemError::NotSupported);
        }
        let start = line.get(..10)?.to_ascii_uppercase();
        let (table, make): (_, fn(u32) -> ModemError) = match start.as_str() {
            "+CMS ERROR" => (CMS, ModemError::Cms),
            "+CME ERROR" => (CME, ModemError::Cme),
            _ => return None,
        };
        let rest = line.get(10..).unwrap_or_default();
        if !rest.is_empty() && !rest.starts_with([':', ' ', '=']) {
            return None;
        }
        let value = rest.trim_start_matches([':', ' ', '=']).trim().trim_matches('"');
        if let Ok(code) = value.parse() {
            return Some(make(code));
        }
        let named = table.iter().find(|known| !value.is_empty() && same_words(known.name, value));
        Some(match named {
            Some(known) => make(known.code),
            None => ModemError::Text(value.chars().take(200).collect()),
        })
    }

    /// What to do about a message that failed with it.
    pub fn class(&self) -> Class {
        match self {
            ModemError::Cms(code) => find(CMS, *code).map_or_else(|| cms_range(*code).1, |known| known.class),
            ModemError::Cme(code) => find(CME, *code).map_or(Class::Retry, |known| known.class),
            ModemError::Text(_) | ModemError::Plain => Class::Retry,
            ModemError::NotSupported => Class::Permanent,
        }
    }

    /// What it means, in words a person can read.
    pub fn sentence(&self) -> String {
        match self {
            ModemError::Cms(code) => {
                find(CMS, *code).map_or_else(|| cms_range(*code).0, |known| known.sentence).to_string()
            }
            ModemError::Cme(code) => find(CME, *code)
                .map_or("an error that no specification names", |known| known.sentence)
                .to_string(),
            ModemError::Text(text) if text.is_empty() => "the modem refused and did not say why".into(),
            ModemError::Text(text) => format!("the modem said {text:?}"),
            ModemError::Plain => "the modem refused and did not say why".into(),
            ModemError::NotSupported => "the modem does not know this command".into(),
        }
    }

    /// The modem is not ready yet; the same command may work in a moment (`SIM busy` and its like).
    pub fn is_busy(&self) -> bool {
        matches!(self, ModemError::Cms(314 | 512 | 515) | ModemError::Cme(14 | 57 | 515))
    }
}

/// The code first, for whoever looks it up: `CMS 500: ...`.
impl fmt::Display for ModemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModemError::Cms(code) => write!(f, "CMS {code}: {}", self.sentence()),
            ModemError::Cme(code) => write!(f, "CME {code}: {}", self.sentence()),
            _ => write!(f, "ERROR: {}", self.sentence()),
        }
    }
}

impl std::error::Error for ModemError {}

/// One row of a table.
#[derive(Debug)]
struct Known {
    code: u32,
    /// What a modem says for it when it was told to use words (`CMEE=2`).
    name: &'static str,
    sentence: &'static str,
    class: Class,
}

fn find(table: &'static [Known], code: u32) -> Option<&'static Known> {
    table.binary_search_by_key(&code, |known| known.code).ok().and_then(|index| table.get(index))
}

/// `(U)SIM PIN required`, `USIM PIN required` and `sim pin  required` are the same.
fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| {
        let text = text.to_ascii_lowercase().replace("(u)sim", "sim").replace("usim", "sim");
        text.split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    words(one) == words(other)
}

/// What is known of codes without a row of their own.
fn cms_range(code: u32) -> (&'static str, Class) {
    match code {
        0..=127 => ("the network refused for a cause without a name", Class::Retry),
        128..=143 => ("the service center does not support this protocol identifier", Class::Permanent),
        144..=159 => ("the service center does not support this coding or class", Class::Permanent),
        160..=175 => ("the service center does not do this SMS command", Class::Permanent),
        176..=191 => ("the service center refused for a cause without a name", Class::Permanent),
        192..=207 => ("the service center refused for a cause without a name", Class::Retry),
        208..=223 => ("the receiving phone refused for a cause without a name", Class::Retry),
        224..=254 => ("an application at the other end refused for a cause of its own", Class::Retry),
        512.. => ("an error that only the modem's maker can name", Class::Retry),
        _ => ("an error that no specification names", Class::Retry),
    }
}

const fn row(code: u32, class: Class, name: &'static str, sentence: &'static str) -> Known {
    Known { code, name, sentence, class }
}

use Class::{OtherSim, Permanent, Retry, Sick};

/// Sorted by code.
#[rustfmt::skip]
const CMS: &[Known] = &[
    row(1, Permanent, "Unassigned number", "the number does not exist"),
    row(8, OtherSim, "Operator determined barring", "the operator has barred this SIM from sending"),
    row(10, OtherSim, "Call barred", "sending is barred for this SIM"),
    row(17, Retry, "Network failure", "the network failed"),
    row(21, OtherSim, "Short message transfer rejected", "the network rejected the message: often no credit, a barred number or a spam filter"),
    row(22, Retry, "Congestion", "the network or the receiver has no room just now"),
    row(27, Retry, "Destination out of service", "the receiver is out of reach"),
    row(28, OtherSim, "Unidentified subscriber", "the network does not know this SIM"),
    row(29, OtherSim, "Facility rejected", "the network refuses this service to this SIM"),
    row(30, OtherSim, "Unknown subscriber", "the network does not know this SIM's subscriber"),
    row(38, Retry, "Network out of order", "the network is out of order"),
    row(41, Retry, "Temporary failure", "a passing failure of the network"),
    row(42, Retry, "Congestion", "the network is congested"),
    row(47, Retry, "Resources unavailable, unspecified", "the network has no resources just now"),
    row(50, OtherSim, "Requested facility not subscribed", "this SIM's contract does not include sending messages"),
    row(69, OtherSim, "Requested facility not implemented", "this network does not do what was asked for"),
    row(81, Permanent, "Invalid short message transfer reference value", "the network did not accept the transfer's reference"),
    row(95, Permanent, "Invalid message, unspecified", "the network calls the message invalid"),
    row(96, Permanent, "Invalid mandatory information", "the network misses something in the message"),
    row(97, Permanent, "Message type non-existent or not implemented", "the network does not know this type of message"),
    row(98, Retry, "Message not compatible with short message protocol state", "the message came at the wrong moment of the protocol"),
    row(99, Permanent, "Information element non-existent or not implemented", "the network does not know an element of the message"),
    row(111, Permanent, "Protocol error, unspecified", "the network calls it a protocol error"),
    row(127, Permanent, "Interworking, unspecified", "another network on the way refused"),
    row(128, Permanent, "Telematic interworking not supported", "the service center cannot hand it over to this kind of device"),
    row(129, Permanent, "Short message Type 0 not supported", "the service center does not take silent messages"),
    row(130, Permanent, "Cannot replace short message", "the service center cannot replace the earlier message"),
    row(143, Permanent, "Unspecified TP-PID error", "the service center does not support this protocol identifier"),
    row(144, Permanent, "Data coding scheme (alphabet) not supported", "the service center does not support this alphabet"),
    row(145, Permanent, "Message class not supported", "the service center does not support this message class"),
    row(159, Permanent, "Unspecified TP-DCS error", "the service center does not support this coding"),
    row(160, Permanent, "Command cannot be actioned", "the service center cannot do the SMS command"),
    row(161, Permanent, "Command unsupported", "the service center does not know the SMS command"),
    row(175, Permanent, "Unspecified TP-Command error", "the service center refused the SMS command"),
    row(176, Permanent, "TPDU not supported", "the service center does not support this kind of message"),
    row(192, Retry, "SC busy", "the service center is busy"),
    row(193, Sick, "No SC subscription", "this SIM has no contract with the service center: check its number"),
    row(194, Retry, "SC system failure", "the service center has failed"),
    row(195, Permanent, "Invalid SME address", "the service center calls the number invalid"),
    row(196, Permanent, "Destination SME barred", "the service center has barred the number"),
    row(197, Permanent, "SM Rejected-Duplicate SM", "the service center has this message already"),
    row(198, Permanent, "TP-VPF not supported", "the service center does not support this form of validity"),
    row(199, Permanent, "TP-VP not supported", "the service center does not support this validity"),
    row(208, Sick, "SIM SMS storage full", "the SIM's message storage is full"),
    row(209, Sick, "No SMS storage capability in SIM", "the SIM cannot store messages"),
    row(210, Retry, "Error in MS", "the receiving phone has failed"),
    row(211, Retry, "Memory capacity exceeded", "the receiving phone is full"),
    row(212, Retry, "SIM application toolkit busy", "the SIM's toolkit is busy"),
    row(213, Retry, "SIM data download error", "the SIM could not load data"),
    row(255, Retry, "Unspecified error cause", "the network did not say why"),
    row(300, Retry, "ME failure", "the modem failed"),
    row(301, Retry, "SMS service of ME reserved", "something else uses the modem's message service"),
    row(302, Permanent, "Operation not allowed", "the modem does not allow this"),
    row(303, Permanent, "Operation not supported", "the modem does not support this"),
    row(304, Permanent, "Invalid PDU mode parameter", "the modem calls the message malformed: report this as a bug"),
    row(305, Permanent, "Invalid text mode parameter", "the modem is in text mode or calls a parameter wrong"),
    row(310, Sick, "SIM not inserted", "there is no SIM in the modem"),
    row(311, Sick, "SIM PIN required", "the SIM wants its PIN: set PIN in the settings"),
    row(312, Sick, "PH-SIM PIN required", "the modem is locked to another SIM"),
    row(313, Sick, "SIM failure", "the SIM has failed"),
    row(314, Retry, "SIM busy", "the SIM is busy, as it is for a while after every start"),
    row(315, Sick, "SIM wrong", "the modem does not accept this SIM"),
    row(316, Sick, "SIM PUK required", "the SIM is blocked and wants its PUK: unblock it in a phone"),
    row(317, Sick, "SIM PIN2 required", "the SIM wants its PIN2"),
    row(318, Sick, "SIM PUK2 required", "the SIM wants its PUK2"),
    row(320, Retry, "Memory failure", "the message storage failed"),
    row(321, Permanent, "Invalid memory index", "there is no message in this slot"),
    row(322, Sick, "Memory full", "the message storage is full"),
    row(330, Sick, "SMSC address unknown", "the service center's number is missing: check SMSC in the settings"),
    row(331, Retry, "No network service", "the modem has no network"),
    row(332, Retry, "Network timeout", "the network did not answer in time"),
    row(340, Sick, "No +CNMA acknowledgement expected", "the acknowledgement came too late or was not wanted"),
    row(500, Retry, "Unknown error", "the modem does not know why: often weak signal or no credit, or it has just started"),
    row(512, Retry, "User abort", "a message came in at the same moment, or the signal is weak"),
    row(513, Retry, "Unable to store", "the radio link was lost"),
    row(514, Retry, "Invalid status", "the network is congested"),
    row(515, Retry, "Device busy or invalid character in string", "the modem is still starting"),
];

/// Sorted by code.
#[rustfmt::skip]
const CME: &[Known] = &[
    row(0, Retry, "phone failure", "the modem failed"),
    row(1, Retry, "no connection to phone", "there is no connection to the phone behind this port"),
    row(2, Retry, "phone-adaptor link reserved", "something else uses the link to the phone"),
    row(3, Permanent, "operation not allowed", "the modem does not allow this, at least not now"),
    row(4, Permanent, "operation not supported", "the modem does not support this"),
    row(5, Sick, "PH-SIM PIN required", "the modem is locked to another SIM"),
    row(6, Sick, "PH-FSIM PIN required", "the modem is locked to its first SIM"),
    row(7, Sick, "PH-FSIM PUK required", "the modem is locked to its first SIM and blocked"),
    row(10, Sick, "SIM not inserted", "there is no SIM in the modem"),
    row(11, Sick, "SIM PIN required", "the SIM wants its PIN: set PIN in the settings"),
    row(12, Sick, "SIM PUK required", "the SIM is blocked and wants its PUK: unblock it in a phone"),
    row(13, Sick, "SIM failure", "the SIM has failed"),
    row(14, Retry, "SIM busy", "the SIM is busy, as it is for a while after every start"),
    row(15, Sick, "SIM wrong", "the modem does not accept this SIM"),
    row(16, Sick, "incorrect password", "the PIN was wrong: correct it before the SIM blocks itself"),
    row(17, Sick, "SIM PIN2 required", "the SIM wants its PIN2"),
    row(18, Sick, "SIM PUK2 required", "the SIM wants its PUK2"),
    row(20, Sick, "memory full", "the storage is full"),
    row(21, Permanent, "invalid index", "there is nothing in this slot"),
    row(22, Permanent, "not found", "what was asked for is not there"),
    row(23, Retry, "memory failure", "the storage failed"),
    row(24, Permanent, "text string too long", "the text is too long"),
    row(25, Permanent, "invalid characters in text string", "the text has characters that the modem does not take"),
    row(26, Permanent, "dial string too long", "the number is too long"),
    row(27, Permanent, "invalid characters in dial string", "the number has characters that the modem does not take"),
    row(30, Retry, "no network service", "the modem has no network"),
    row(31, Retry, "network timeout", "the network did not answer in time"),
    row(32, Retry, "network not allowed - emergency calls only", "the network allows emergency calls only"),
    row(40, Sick, "network personalization PIN required", "the modem is locked to a network and wants the unlocking code"),
    row(41, Sick, "network personalization PUK required", "the modem is locked to a network and blocked"),
    row(42, Sick, "network subset personalization PIN required", "the modem is locked to a part of a network"),
    row(43, Sick, "network subset personalization PUK required", "the modem is locked to a part of a network and blocked"),
    row(44, Sick, "service provider personalization PIN required", "the modem is locked to a provider"),
    row(45, Sick, "service provider personalization PUK required", "the modem is locked to a provider and blocked"),
    row(46, Sick, "corporate personalization PIN required", "the modem is locked to a company"),
    row(47, Sick, "corporate personalization PUK required", "the modem is locked to a company and blocked"),
    row(48, Sick, "hidden key required", "the modem wants a hidden key"),
    row(49, Permanent, "EAP method not supported", "the modem does not support this way of proving who it is"),
    row(50, Permanent, "Incorrect parameters", "the modem does not take these parameters"),
    row(51, Permanent, "command implemented but currently disabled", "the modem has switched this command off"),
    row(52, Retry, "command aborted by user", "the command was broken off"),
    row(53, Sick, "not attached to network due to MT functionality restrictions", "the modem's radio is off or limited: CFUN"),
    row(54, Sick, "modem not allowed - MT restricted to emergency calls only", "the modem is restricted to emergency calls"),
    row(55, Sick, "operation not allowed because of MT functionality restrictions", "the modem's radio is off or limited: CFUN"),
    row(56, Permanent, "fixed dial number only allowed - called number is not a fixed dial number", "the SIM allows only its fixed list of numbers"),
    row(57, Retry, "temporarily out of service due to other MT usage", "the modem is busy with something else"),
    row(58, Permanent, "language/alphabet not supported", "the modem does not support this alphabet"),
    row(59, Permanent, "unexpected data value", "the modem did not expect this value"),
    row(60, Retry, "system failure", "the modem's system failed"),
    row(61, Permanent, "data missing", "the modem misses a value"),
    row(62, OtherSim, "call barred", "calls are barred for this SIM"),
    row(63, Retry, "message waiting indication subscription failure", "the network did not accept the subscription to waiting messages"),
    row(100, Retry, "unknown", "the modem does not know why"),
    row(103, Sick, "Illegal MS", "the network does not accept this SIM"),
    row(106, Sick, "Illegal ME", "the network does not accept this modem: is its IMEI barred?"),
    row(107, OtherSim, "GPRS services not allowed", "the network allows this SIM no data"),
    row(108, OtherSim, "GPRS services and non-GPRS services not allowed", "the network allows this SIM nothing"),
    row(111, OtherSim, "PLMN not allowed", "this network does not allow this SIM"),
    row(112, OtherSim, "Location area not allowed", "this SIM is not allowed in this area"),
    row(113, OtherSim, "Roaming not allowed in this location area", "this SIM may not roam in this area"),
    row(114, OtherSim, "GPRS services not allowed in this PLMN", "this network allows this SIM no data"),
    row(115, Retry, "No suitable cells in location area", "no cell of this area takes the modem"),
    row(122, Retry, "Congestion", "the network is congested"),
    row(126, Retry, "Insufficient resources", "the network has no resources just now"),
    row(127, Permanent, "Missing or unknown APN", "the data access point is missing or unknown"),
    row(128, Permanent, "Unknown PDP address or PDP type", "the type of data connection is unknown"),
    row(129, OtherSim, "User authentication or authorization failed", "the network did not accept the data login"),
    row(130, Retry, "Request rejected by Serving GW or PDN GW", "the network's gateway rejected the data connection"),
    row(131, Retry, "Request rejected, unspecified", "the network rejected it and did not say why"),
    row(132, Permanent, "service option not supported", "the network does not support the service"),
    row(133, OtherSim, "requested service option not subscribed", "this SIM's contract does not include the service"),
    row(134, Retry, "service option temporarily out of order", "the service is out of order for a while"),
    row(140, Permanent, "Feature not supported", "the network does not support the feature"),
    row(148, Retry, "unspecified GPRS error", "the data service failed and did not say why"),
    row(149, OtherSim, "PDP authentication failure", "the network did not accept the data login"),
    row(150, Sick, "invalid mobile class", "the modem's mobile class is set wrong"),
    row(171, Retry, "Last PDN disconnection not allowed", "the last data connection may not be closed"),
    row(172, Permanent, "Semantically incorrect message", "the network calls the request senseless"),
    row(173, Permanent, "Invalid mandatory information", "the network misses something in the request"),
    row(174, Permanent, "Message type non-existent or not implemented", "the network does not know this type of request"),
    row(175, Permanent, "Conditional IE error", "the network calls a part of the request wrong"),
    row(176, Permanent, "Protocol error, unspecified", "the network calls it a protocol error"),
    row(177, OtherSim, "Operator determined barring", "the operator has barred this SIM"),
    row(178, Retry, "Maximum number of bearers reached", "the network allows no further data connection"),
    row(179, Permanent, "Requested APN not supported in current RAT and PLMN combination", "the data access point does not work in this network"),
    row(180, Retry, "Request rejected, bearer control mode violation", "the network rejected the data connection's mode"),
    row(181, Permanent, "Unsupported QCI value", "the network does not support this quality of service"),
    row(182, Retry, "User data transmission via control plane is congested", "the network's control channel is congested"),
    row(515, Retry, "Please wait, init or command processing in progress", "the modem is still starting"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_say_something() {
        for table in [CMS, CME] {
            assert!(table.windows(2).all(|pair| pair[0].code < pair[1].code));
            for known in table {
                assert!(known.sentence.len() > 10 && !known.sentence.ends_with('.'), "{}", known.code);
                assert!(!known.name.is_empty(), "{}", known.code);
            }
        }
    }
}
