//! The SMS codec: octets to values and back (3GPP TS 23.040 clause 9, TS 23.038). Whatever octets come in, a value or a sentence comes out.
//!
//! It never reads a clock, opens anything or panics, and it holds nothing: time zones, references and deadlines are arguments. It keeps
//! what it cannot interpret: a message with a wrong time, a cut text or a reserved coding is decoded as far as possible, and what is
//! wrong with it is said as a [`Remark`]. Only what ends before the text begins is a [`DecodeError`].
//!
//! | file | what | clause |
//! |---|---|---|
//! | `reader` | octets one field after the other, errors, remarks, hex | |
//! | `gsm7`, `national` | the 7-bit alphabets, packing | 23.038 6.1.2, 6.2.1, annex A |
//! | `ucs2` | UTF-16 | 23.038 6.2.3 |
//! | `data_coding` | which alphabet, class, indication | 23.038 clause 4 |
//! | `address` | numbers and names | 23.040 9.1.2.5 |
//! | `timestamp`, `validity` | times of the network; how long to try | 23.040 9.2.3.11, 9.2.3.12 |
//! | `udh`, `user_data` | the header within the text, the text | 23.040 9.2.3.16, 9.2.3.24 |
//! | `deliver`, `submit`, `status_report`, `report`, `command` | one kind of message each | 23.040 9.2.2 |
//! | `status` | what a status report reports | 23.040 9.2.3.15 |
//! | `purpose` | whether a message is for people at all | 23.040 9.2.3.9, 9.2.3.24.2 |
//! | `concat`, `split` | parts to a text, a text to parts | 23.040 9.2.3.24.1 |
//! | `count`, `transliterate` | what a text costs and why; how it would cost less | 23.038 6.2.1 |
//!
//! ```
//! use rapidsms::pdu::{self, Pdu, Prefix};
//!
//! let octets = pdu::from_hex("0791448720003023240DD0E474D81C0EBB010000111011315214000BE474D81C0EBB5DE3771B").unwrap();
//! let decoded = pdu::decode(&octets, None, Prefix::Detect).unwrap();
//! assert_eq!(decoded.service_center.unwrap().to_string(), "+447802000332");
//! let Pdu::Deliver(deliver) = decoded.pdu else { panic!("it is a message for us") };
//! assert_eq!(deliver.originator.to_string(), "diafaan");
//! assert_eq!(deliver.user_data.text().as_deref(), Some("diafaan.com"));
//! ```

pub mod address;
pub mod command;
pub mod concat;
pub mod count;
pub mod data_coding;
pub mod deliver;
pub mod gsm7;
pub mod national;
pub mod purpose;
mod reader;
pub mod report;
pub mod split;
pub mod status;
pub mod status_report;
pub mod submit;
pub mod timestamp;
pub mod transliterate;
pub mod ucs2;
pub mod udh;
pub mod user_data;
pub mod validity;

pub use address::Address;
pub use command::CenterCommand;
pub use concat::{Assembly, Concat};
pub use count::{Count, count};
pub use data_coding::{Alphabet, DataCoding};
pub use deliver::Deliver;
pub use gsm7::Tables;
pub use national::Language;
pub use purpose::Purpose;
pub use reader::{DecodeError, EncodeError, Remark, from_hex, to_hex};
pub use report::{DeliverReport, SubmitReport};
pub use split::{Plan, Splitting, plan, plan_part};
pub use status::{Status, StatusClass};
pub use status_report::StatusReport;
pub use submit::Submit;
pub use timestamp::NetworkTime;
pub use transliterate::{Scope, shortened, transliterate};
pub use udh::{Element, Header, Ports};
pub use user_data::{Payload, UserData};
pub use validity::Validity;

use reader::Reader;

/// Who speaks. The two low bits of the first octet (TP-MTI, 23.040 9.2.3.1) mean different messages from either side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The network, towards a mobile ("mobile terminated"): DELIVER, SUBMIT-REPORT, STATUS-REPORT.
    Network,
    /// A mobile, towards the network ("mobile originated"): SUBMIT, DELIVER-REPORT, COMMAND.
    Mobile,
}

/// Whether the service center's address stands before the message, as it does in the commands of TS 27.005.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prefix {
    /// It does.
    Present,
    /// It does not.
    Absent,
    /// Whichever makes more sense.
    Detect,
}

/// One message of TS 23.040 clause 9.2.2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pdu {
    /// A message for this mobile.
    Deliver(Deliver),
    /// The mobile's answer to it.
    DeliverReport(DeliverReport),
    /// A message from this mobile.
    Submit(Submit),
    /// The network's answer to it.
    SubmitReport(SubmitReport),
    /// What became of a submitted message.
    StatusReport(StatusReport),
    /// What the service center shall do with a submitted message.
    CenterCommand(CenterCommand),
}

/// What came out of a PDU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The service center of the prefix, when there is one.
    pub service_center: Option<Address>,
    /// The message.
    pub pdu: Pdu,
    /// The octets without the prefix, which is what `+CMGS` and `+CMT` count.
    pub length: usize,
    /// What is wrong with it.
    pub remarks: Vec<Remark>,
}

/// The longest that is looked at: a SIM's record has 176 octets, a PDU with its prefix 12 less.
pub const LONGEST: usize = 512;

/// Decodes one PDU. Without a side it is taken for a DELIVER, a SUBMIT or a STATUS-REPORT, whatever its type says.
pub fn decode(octets: &[u8], side: Option<Side>, prefix: Prefix) -> Result<Decoded, DecodeError> {
    if octets.len() > LONGEST {
        return Err(DecodeError::new(
            0,
            format!("a PDU of {} octets: {LONGEST} are looked at at most", octets.len()),
        ));
    }
    match prefix {
        Prefix::Present => decode_as(octets, side, true),
        Prefix::Absent => decode_as(octets, side, false),
        Prefix::Detect => detect(octets, side),
    }
}

/// The PDU as a modem takes it: behind the service center's address, or behind a zero octet for "the one on the SIM".
pub fn with_service_center(service_center: Option<&Address>, tpdu: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut octets = Vec::with_capacity(tpdu.len() + 12);
    match service_center {
        None => octets.push(0),
        Some(address) => address.write_service_center(&mut octets)?,
    }
    octets.extend_from_slice(tpdu);
    Ok(octets)
}

impl Pdu {
    /// The octets, without a service center.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match self {
            Pdu::Deliver(deliver) => deliver.encode(),
            Pdu::DeliverReport(report) => report.encode(),
            Pdu::Submit(submit) => submit.encode(),
            Pdu::SubmitReport(report) => report.encode(),
            Pdu::StatusReport(report) => report.encode(),
            Pdu::CenterCommand(command) => command.encode(),
        }
    }

    /// The text with its header, if this message can have one and has.
    pub fn user_data(&self) -> Option<&UserData> {
        match self {
            Pdu::Deliver(deliver) => Some(&deliver.user_data),
            Pdu::Submit(submit) => Some(&submit.user_data),
            Pdu::StatusReport(report) => report.parameters.user_data.as_ref(),
            Pdu::DeliverReport(report) => report.parameters.user_data.as_ref(),
            Pdu::SubmitReport(report) => report.parameters.user_data.as_ref(),
            Pdu::CenterCommand(_) => None,
        }
    }
}

/// Both readings are tried, and the one with less to complain about is right. A modem's commands have the prefix, so it wins a draw. When
/// only the unlikely reading is possible at all, and doubtful, it is more probable that the likely one was cut.
fn detect(octets: &[u8], side: Option<Side>) -> Result<Decoded, DecodeError> {
    const TOO_DOUBTFUL: u32 = 3;
    let with = decode_as(octets, side, true);
    let without = decode_as(octets, side, false);
    let prefixed = looks_like_a_prefix(octets);
    match (with, without) {
        (Ok(with), Ok(without)) => Ok(if doubts(&without) < doubts(&with) { without } else { with }),
        (Err(with), Ok(without)) if prefixed && doubts(&without) >= TOO_DOUBTFUL => Err(with),
        (Ok(with), Err(without)) if !prefixed && doubts(&with) >= TOO_DOUBTFUL => Err(without),
        (Ok(decoded), Err(_)) | (Err(_), Ok(decoded)) => Ok(decoded),
        // The error of the likelier reading teaches more.
        (Err(with), Err(without)) => Err(if prefixed { with } else { without }),
    }
}

fn doubts(decoded: &Decoded) -> u32 {
    decoded.remarks.iter().map(Remark::weight).sum()
}

/// The type of an address has its high bit set, the first octet behind any other beginning (an address's length, a reference) rarely.
fn looks_like_a_prefix(octets: &[u8]) -> bool {
    match octets {
        [0, ..] => true,
        [2..=11, kind, ..] => kind & 0x80 != 0,
        _ => false,
    }
}

fn decode_as(octets: &[u8], side: Option<Side>, prefixed: bool) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(octets);
    let service_center = if prefixed { Address::read_service_center(&mut reader)? } else { None };
    let length = reader.left();
    let pdu = decode_message(&mut reader, side)?;
    if reader.left() > 0 {
        reader.remark(Remark::Trailing(reader.left()));
    }
    Ok(Decoded { service_center, pdu, length, remarks: reader.remarks })
}

fn decode_message(reader: &mut Reader<'_>, side: Option<Side>) -> Result<Pdu, DecodeError> {
    let first = reader.octet("the message type")?;
    Ok(match (first & 0b11, side) {
        (0b00, Some(Side::Mobile)) => Pdu::DeliverReport(DeliverReport::read(first, reader)?),
        (0b00, _) => Pdu::Deliver(Deliver::read(first, reader)?),
        (0b01, Some(Side::Network)) => Pdu::SubmitReport(SubmitReport::read(first, reader)?),
        (0b01, _) => Pdu::Submit(Submit::read(first, reader)?),
        (0b10, Some(Side::Mobile)) => Pdu::CenterCommand(CenterCommand::read(first, reader)?),
        (0b10, _) => Pdu::StatusReport(StatusReport::read(first, reader)?),
        // Clause 9.2.3.1: a mobile takes the reserved type for a DELIVER.
        (_, Some(Side::Mobile)) => {
            return Err(DecodeError::new(
                0,
                "the message type 3 is reserved, and no mobile may send it".to_string(),
            ));
        }
        _ => {
            reader.remark(Remark::ReservedType);
            Pdu::Deliver(Deliver::read(first, reader)?)
        }
    })
}
