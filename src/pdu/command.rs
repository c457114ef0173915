//! SMS-COMMAND (3GPP TS 23.040 clause 9.2.2.4): what the service center shall do with a submitted message.

use super::address::Address;
use super::deliver::HEADER;
use super::reader::{DecodeError, EncodeError, Reader, Remark};

const COMMAND: u8 = 0b10;
/// First octet: a status report is wanted (TP-SRR).
const REPORT_REQUEST: u8 = 0x20;
/// The most octets of its data: what TP-CDL may say of a TPDU.
const MOST_OCTETS: usize = 156;

/// What the service center shall do: SMS-COMMAND, which has nothing to do with the commands that a modem takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CenterCommand {
    /// A status report is wanted.
    pub report_request: bool,
    /// Its data begin with a header.
    pub has_header: bool,
    /// Its own number.
    pub message_reference: u8,
    /// TP-PID.
    pub protocol: u8,
    /// What to do (TP-CT, clause 9.2.3.19): 0 enquire, 1 cancel the report, 2 delete, 3 enable the report.
    pub kind: u8,
    /// The reference of the message that it is about (TP-MN).
    pub message_number: u8,
    /// To whom that message went.
    pub destination: Address,
    /// What else there is to say (TP-CD).
    pub data: Vec<u8>,
}

impl CenterCommand {
    pub(super) fn read(first: u8, reader: &mut Reader<'_>) -> Result<CenterCommand, DecodeError> {
        let message_reference = reader.octet("the message reference")?;
        let protocol = reader.octet("the protocol identifier")?;
        let kind = reader.octet("the command type")?;
        let message_number = reader.octet("the message number")?;
        let destination = Address::read(reader, "the destination")?;
        let promised = usize::from(reader.octet("the length of the command data")?);
        let data = reader.take_up_to(promised).to_vec();
        if data.len() < promised {
            reader.remark(Remark::Cut { promised, present: data.len() });
        }
        Ok(CenterCommand {
            report_request: first & REPORT_REQUEST != 0,
            has_header: first & HEADER != 0,
            message_reference,
            protocol,
            kind,
            message_number,
            destination,
            data,
        })
    }

    /// The octets, without a service center.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let report_request = if self.report_request { REPORT_REQUEST } else { 0 };
        let header = if self.has_header { HEADER } else { 0 };
        let first = COMMAND | report_request | header;
        let mut octets = vec![first, self.message_reference, self.protocol, self.kind, self.message_number];
        self.destination.write(&mut octets)?;
        let length = u8::try_from(self.data.len()).ok().filter(|length| usize::from(*length) <= MOST_OCTETS);
        octets.push(length.ok_or_else(|| {
            EncodeError(format!("command data of {} octets: {MOST_OCTETS} are the most", self.data.len()))
        })?);
        octets.extend_from_slice(&self.data);
        Ok(octets)
    }
}
