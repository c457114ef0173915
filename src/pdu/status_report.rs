//! SMS-STATUS-REPORT (3GPP TS 23.040 clause 9.2.2.3): what became of a message, or of a command.

use super::address::Address;
use super::reader::{DecodeError, EncodeError, Reader, Remark};
use super::report::Parameters;
use super::status::Status;
use super::timestamp::NetworkTime;

const STATUS_REPORT: u8 = 0b10;
/// First octet: 0 when more messages wait (TP-MMS).
const NO_MORE: u8 = 0x04;
/// First octet (TP-LP).
const LOOP_PREVENTION: u8 = 0x08;
/// First octet: it answers a command (TP-SRQ).
const OF_COMMAND: u8 = 0x20;

/// What became of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusReport {
    /// More messages wait at the service center.
    pub more_messages: bool,
    /// A service center forwarded it.
    pub loop_prevention: bool,
    /// It is about a command, not about a message.
    pub of_command: bool,
    /// The number that the modem gave the message.
    pub message_reference: u8,
    /// To whom the message went.
    pub recipient: Address,
    /// When the service center got the message.
    pub service_center_time: NetworkTime,
    /// When it was delivered, or tried last.
    pub discharge_time: NetworkTime,
    /// What became of it.
    pub status: Status,
    /// Optional fields.
    pub parameters: Parameters,
}

impl StatusReport {
    pub(super) fn read(first: u8, reader: &mut Reader<'_>) -> Result<StatusReport, DecodeError> {
        let message_reference = reader.octet("the message reference")?;
        let recipient = Address::read(reader, "the recipient")?;
        let service_center_time = NetworkTime::read(reader, "the service center's time")?;
        let discharge_time = NetworkTime::read(reader, "the discharge time")?;
        let status = Status(reader.octet("the status")?);
        let parameters = match reader.left() {
            0 => Parameters::default(),
            left => read_parameters(first, reader).unwrap_or_else(|_| {
                // What happened to the message is known by now; what stands behind it may be a record's filling.
                reader.take_up_to(left);
                reader.remark(Remark::Trailing(left));
                Parameters::default()
            }),
        };
        Ok(StatusReport {
            more_messages: first & NO_MORE == 0,
            loop_prevention: first & LOOP_PREVENTION != 0,
            of_command: first & OF_COMMAND != 0,
            message_reference,
            recipient,
            service_center_time,
            discharge_time,
            status,
            parameters,
        })
    }

    /// The octets, without a service center.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut first = STATUS_REPORT | self.parameters.header();
        for (bit, is_set) in [
            (NO_MORE, !self.more_messages),
            (LOOP_PREVENTION, self.loop_prevention),
            (OF_COMMAND, self.of_command),
        ] {
            first |= if is_set { bit } else { 0 };
        }
        let mut octets = vec![first, self.message_reference];
        self.recipient.write(&mut octets)?;
        octets.extend(self.service_center_time.0);
        octets.extend(self.discharge_time.0);
        octets.push(self.status.0);
        if self.parameters != Parameters::default() {
            octets.push(self.parameters.indicator());
            self.parameters.write(&mut octets)?;
        }
        Ok(octets)
    }
}

/// The header's bit says nothing while there is no text: only the indicator announces one.
fn read_parameters(first: u8, reader: &mut Reader<'_>) -> Result<Parameters, DecodeError> {
    let indicator = Parameters::read_indicator(reader)?;
    Parameters::read(first, indicator, reader)
}
