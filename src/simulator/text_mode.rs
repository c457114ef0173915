//! What differs in text mode (3GPP TS 27.005 clause 3): for people with a terminal program, and for clients that know no PDUs.

use super::sim::Record;
use crate::pdu::{self, Address, Decoded, Pdu, Prefix, Splitting, Submit};

/// An entry of `+CMGL`.
pub(super) fn listed(number: usize, record: &Record) -> Vec<String> {
    let (address, time, text) = parts(&record.octets);
    let stat = record.stat.as_str();
    let header = match time {
        Some(time) => format!("+CMGL: {number},\"{stat}\",\"{address}\",,\"{time}\""),
        None => format!("+CMGL: {number},\"{stat}\",\"{address}\",,"),
    };
    vec![header, text]
}

/// The answer to `+CMGR`.
pub(super) fn read(record: &Record, details: bool) -> Vec<String> {
    let (address, time, text) = parts(&record.octets);
    let mut header = format!("+CMGR: \"{}\",\"{address}\",", record.stat.as_str());
    if let Some(time) = time {
        header.push_str(&format!(",\"{time}\""));
    }
    if details {
        header.push_str(&format!(",145,4,0,0,\"\",145,{}", text.chars().count()));
    }
    vec![header, text]
}

/// A message or a report that is written to the port.
pub(super) fn pushed(is_report: bool, octets: &[u8]) -> Vec<String> {
    let (address, time, text) = parts(octets);
    let time = time.unwrap_or_default();
    if !is_report {
        return vec![format!("+CMT: \"{address}\",,\"{time}\""), text];
    }
    match decoded(octets).map(|decoded| decoded.pdu) {
        Some(Pdu::StatusReport(report)) => vec![format!(
            "+CDS: 6,{},\"{address}\",145,\"{time}\",\"{time}\",{}",
            report.message_reference, report.status.0
        )],
        _ => Vec::new(),
    }
}

/// A text of one part to this number.
pub(super) fn submission(to: &str, text: &[u8], report: bool) -> Result<(Submit, Vec<u8>), String> {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n");
    let destination = Address::number(to).map_err(|error| error.to_string())?;
    let splitting = Splitting { most_parts: 1, ..Splitting::default() };
    let plan = pdu::plan(text.trim_start_matches('\n'), &splitting).map_err(|error| error.to_string())?;
    let mut submit = Submit::of_plan(&plan, &destination, 0, None).into_iter().next().ok_or("no part")?;
    submit.report_request = report;
    let tpdu = submit.encode().map_err(|error| error.to_string())?;
    let octets = pdu::with_service_center(None, &tpdu).map_err(|error| error.to_string())?;
    Ok((submit, octets))
}

fn decoded(octets: &[u8]) -> Option<Decoded> {
    pdu::decode(octets, None, Prefix::Present).ok()
}

/// Address, time and text of a record.
fn parts(octets: &[u8]) -> (String, Option<String>, String) {
    let Some(decoded) = decoded(octets) else { return (String::new(), None, pdu::to_hex(octets)) };
    let text = decoded.pdu.user_data().map(super::network::shown).unwrap_or_default();
    match &decoded.pdu {
        Pdu::Deliver(deliver) => {
            (deliver.originator.to_string(), Some(time(deliver.service_center_time)), text)
        }
        Pdu::Submit(submit) => (submit.destination.to_string(), None, text),
        Pdu::StatusReport(report) => {
            (report.recipient.to_string(), Some(time(report.service_center_time)), text)
        }
        _ => (String::new(), None, text),
    }
}

/// `26/11/22,14:55:35+12`: the digits as they are in the octets.
fn time(time: pdu::NetworkTime) -> String {
    let [year, month, day, hour, minute, second, zone] = time.0.map(|octet| octet.rotate_left(4));
    let sign = if zone & 0x80 == 0 { '+' } else { '-' };
    format!("{year:02X}/{month:02X}/{day:02X},{hour:02X}:{minute:02X}:{second:02X}{sign}{:02X}", zone & 0x7F)
}
