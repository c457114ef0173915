//! `rapidsms pdu`: SMS PDUs to JSON and texts to PDUs. No settings, store or modem is touched.

use super::arguments::{Pdu as Wanted, PduCommand, PduDecode, PduEncode};
use super::print::{Out, counted, say, shown};
use super::{Ended, Exit, Failure, send};
use crate::pdu::report::failure_sentence;
use crate::pdu::split::Splitting;
use crate::pdu::{
    self, Address, Count, Decoded, Header, NetworkTime, Payload, Pdu, Prefix, Side, Submit, UserData,
    Validity,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, IsTerminal, Read};
use std::time::Duration;

/// The longest line that is read: an octet is two digits, perhaps with blanks between them.
const LONGEST_LINE: u64 = 4 * pdu::LONGEST as u64;

pub(super) fn run(wanted: &Wanted) -> Ended {
    match &wanted.what {
        PduCommand::Decode(decode) => run_decode(decode),
        PduCommand::Encode(encode) => run_encode(encode),
    }
}

fn run_decode(wanted: &PduDecode) -> Ended {
    let side = match wanted.direction.as_deref() {
        Some("mo") => Some(Side::Mobile),
        Some(_) => Some(Side::Network),
        None => None,
    };
    let prefix = match wanted.smsc.as_deref() {
        Some("yes") => Prefix::Present,
        Some(_) => Prefix::Absent,
        None => Prefix::Detect,
    };
    let for_people = !wanted.json && io::stdout().is_terminal();
    let mut out = Out::new();
    let mut all_well = true;
    let mut each = |hex: &str| -> Result<(), Failure> {
        let object = match pdu::from_hex(hex).and_then(|octets| pdu::decode(&octets, side, prefix)) {
            Ok(decoded) => described(&decoded),
            Err(error) => {
                all_well = false;
                Map::from_iter([
                    ("error".to_string(), json!(error.to_string())),
                    ("offset".to_string(), json!(error.offset)),
                ])
            }
        };
        if for_people { for_a_person(&mut out, &object) } else { out.line(Value::Object(object)) }
    };
    if wanted.pdus.is_empty() {
        each_line(&mut each)?;
    } else {
        wanted.pdus.iter().try_for_each(|hex| each(hex))?;
    }
    out.end()?;
    Ok(if all_well { Exit::Ok } else { Exit::Failed })
}

/// Blank lines are left out. What is no UTF-8 or too long is an error of its line like any other.
fn each_line(each: &mut dyn FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut input = io::stdin().lock();
    let unreadable = |error: io::Error| Failure::failed(format!("standard input cannot be read: {error}"));
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") {
            // The rest of an endless line is thrown away; what is left is too long for a PDU, and said to be.
            input.skip_until(b'\n').map_err(unreadable)?;
        }
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            each(line.trim())?;
        }
    }
}

/// The fields of the contract for one PDU; those that this kind has and this one has not are null.
fn described(decoded: &Decoded) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_string(), value);
    };
    let kind = match &decoded.pdu {
        Pdu::Deliver(_) => "deliver",
        Pdu::DeliverReport(_) => "deliver_report",
        Pdu::Submit(_) => "submit",
        Pdu::SubmitReport(_) => "submit_report",
        Pdu::StatusReport(_) => "status_report",
        Pdu::CenterCommand(_) => "command",
    };
    put("type", json!(kind));
    put("service_center", decoded.service_center.as_ref().map_or(Value::Null, address));
    put("length", json!(decoded.length));
    match &decoded.pdu {
        Pdu::Deliver(deliver) => {
            put("originator", address(&deliver.originator));
            put("service_center_time", time(deliver.service_center_time));
            put("protocol", json!(deliver.protocol));
            put("more_messages", json!(deliver.more_messages));
            put("class", json!(deliver.data_coding.class()));
            put("purpose", json!(deliver.purpose().as_str()));
            put("data_coding", json!(deliver.data_coding.0));
        }
        Pdu::Submit(submit) => {
            put("destination", address(&submit.destination));
            put("message_reference", json!(submit.message_reference));
            put("validity", submit.validity.map_or(Value::Null, validity));
            put("protocol", json!(submit.protocol));
            put("report_request", json!(submit.report_request));
            put("class", json!(submit.data_coding.class()));
            put("data_coding", json!(submit.data_coding.0));
        }
        Pdu::StatusReport(report) => {
            put("recipient", address(&report.recipient));
            put("message_reference", json!(report.message_reference));
            put("service_center_time", time(report.service_center_time));
            put("discharge_time", time(report.discharge_time));
            put("status", json!(report.status.0));
            put("status_class", json!(report.status.class().as_str()));
            put("status_text", json!(report.status.sentence()));
        }
        Pdu::DeliverReport(report) => {
            put("failure", json!(report.failure));
            put("failure_text", json!(report.failure.map(failure_sentence)));
        }
        Pdu::SubmitReport(report) => {
            put("failure", json!(report.failure));
            put("failure_text", json!(report.failure.map(failure_sentence)));
            put("service_center_time", time(report.service_center_time));
        }
        Pdu::CenterCommand(command) => {
            put("destination", address(&command.destination));
            put("message_reference", json!(command.message_reference));
            put("protocol", json!(command.protocol));
            put("command", json!(command.kind));
            put("message_number", json!(command.message_number));
            put("report_request", json!(command.report_request));
            put("data", json!(pdu::to_hex(&command.data)));
        }
    }
    if let Some(user_data) = decoded.pdu.user_data() {
        describe_user_data(user_data, &mut put);
    }
    if !decoded.remarks.is_empty() {
        let remarks: Vec<String> = decoded.remarks.iter().map(ToString::to_string).collect();
        put("remarks", json!(remarks));
    }
    fields
}

fn describe_user_data(user_data: &UserData, put: &mut dyn FnMut(&str, Value)) {
    put("alphabet", json!(user_data.payload.alphabet().as_str()));
    put("text", json!(user_data.text()));
    put(
        "data",
        match &user_data.payload {
            Payload::Data8(octets) => json!(pdu::to_hex(octets)),
            _ => Value::Null,
        },
    );
    let header = user_data.header.as_ref();
    put(
        "concat",
        header.and_then(Header::concat).map_or(Value::Null, |concat| {
            let pdu::Concat { reference, total, sequence, bits } = concat;
            json!({ "reference": reference, "total": total, "sequence": sequence, "bits": bits })
        }),
    );
    put(
        "ports",
        header.and_then(Header::ports).map_or(
            Value::Null,
            |ports| json!({ "destination": ports.destination, "source": ports.source, "bits": ports.bits }),
        ),
    );
    if let Some(header) = header {
        let element =
            |element: &pdu::Element| json!({ "id": element.id, "data": pdu::to_hex(&element.data) });
        put("header", header.elements.iter().map(element).collect());
        let tables = header.tables();
        if tables != pdu::Tables::default() {
            put("locking_language", json!(tables.locking.as_str()));
            put("single_language", json!(tables.single.as_str()));
        }
    }
}

fn address(address: &Address) -> Value {
    json!(address.to_string())
}

/// A time that is none is not told, only remarked upon.
fn time(time: NetworkTime) -> Value {
    time.timestamp().map_or(Value::Null, |_| json!(time.to_string()))
}

/// Seconds, or the time until which.
fn validity(validity: Validity) -> Value {
    match validity {
        Validity::Absolute(until) => time(until),
        other => json!(other.lasts().map(|lasts| lasts.as_secs())),
    }
}

/// The same on a terminal: a line for each field that says something, and an empty one behind them.
fn for_a_person(out: &mut Out, object: &Map<String, Value>) -> Result<(), Failure> {
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let value = match value {
            Value::String(text) => shown(text),
            other => shown(&other.to_string()),
        };
        out.line(format_args!("{:<20} {value}", name.replace('_', " ")))?;
    }
    out.line("")
}

/// The document of `encode --json`.
#[derive(Serialize)]
struct Encoded {
    destination: String,
    #[serde(flatten)]
    count: Count,
    pdus: Vec<Value>,
}

fn run_encode(wanted: &PduEncode) -> Ended {
    let text = send::text(&wanted.text)?;
    let refused = |error: pdu::EncodeError| Failure::usage(error.to_string());
    let destination = Address::number(&wanted.to).map_err(refused)?;
    let service_center = wanted.smsc.as_deref().map(Address::number).transpose().map_err(refused)?;
    let splitting = Splitting {
        always_ucs2: wanted.ucs2,
        wide_reference: wanted.wide_reference,
        languages: wanted.languages.clone(),
        ..Splitting::default()
    };
    let plan = pdu::plan(&text, &splitting).map_err(|error| Failure::failed(error.to_string()))?;
    let validity = wanted.validity.map(|hours| Validity::at_least(Duration::from_secs(hours * 3600)));
    let mut pdus = Vec::new();
    for (mut submit, part) in
        Submit::of_plan(&plan, &destination, wanted.reference, wanted.class).into_iter().zip(&plan.parts)
    {
        submit.report_request = wanted.report;
        submit.validity = validity;
        let tpdu = submit.encode().map_err(refused)?;
        let whole = pdu::with_service_center(service_center.as_ref(), &tpdu).map_err(refused)?;
        pdus.push(json!({ "pdu": pdu::to_hex(&whole), "length": tpdu.len(), "text": part.text }));
    }
    let mut out = Out::new();
    if wanted.output.json {
        let encoded = Encoded {
            destination: destination.to_string(),
            count: pdu::count::of_plan(&text, &plan, &splitting),
            pdus,
        };
        out.json(&json!(encoded))?;
        out.end()?;
        return Ok(Exit::Ok);
    }
    for pdu in &pdus {
        out.line(pdu["pdu"].as_str().unwrap_or_default())?;
    }
    out.end()?;
    let parts = counted(plan.parts.len() as u64, "part");
    say(format_args!("{}, {parts}, {} left in the last", plan.alphabet.as_str(), plan.units_left));
    if plan.alphabet == pdu::Alphabet::Ucs2 && !plan.culprits.is_empty() {
        let culprits: Vec<String> = plan.culprits.iter().map(ToString::to_string).collect();
        say(format_args!("not in the GSM alphabet: {}", shown(&culprits.join(" "))));
    }
    Ok(Exit::Ok)
}
