//! SMS-DELIVER (3GPP TS 23.040 clause 9.2.2.1): a message for this mobile.

use super::address::Address;
use super::data_coding::DataCoding;
use super::reader::{DecodeError, EncodeError, Reader};
use super::timestamp::NetworkTime;
use super::user_data::UserData;

/// First octet: 0 when more messages wait (TP-MMS).
const NO_MORE: u8 = 0x04;
/// First octet: set by a service center that forwarded it (TP-LP).
const LOOP_PREVENTION: u8 = 0x08;
/// First octet: somebody wants a report (TP-SRI).
const REPORT_WANTED: u8 = 0x20;
/// First octet: the text begins with a header (TP-UDHI).
pub(super) const HEADER: u8 = 0x40;
/// First octet: an answer may go by the same service center (TP-RP).
pub(super) const REPLY_PATH: u8 = 0x80;

/// A message for this mobile.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Deliver {
    /// More messages wait at the service center.
    pub more_messages: bool,
    /// A service center forwarded it, or made it itself: never answer it automatically.
    pub loop_prevention: bool,
    /// The sender asked for a report, which the phone gives by itself.
    pub report_wanted: bool,
    /// An answer may go by the same service center.
    pub reply_path: bool,
    /// Who sent it.
    pub originator: Address,
    /// What it is, for phones (TP-PID, clause 9.2.3.9).
    pub protocol: u8,
    /// Its alphabet and class.
    pub data_coding: DataCoding,
    /// When the service center got it.
    pub service_center_time: NetworkTime,
    /// Its text.
    pub user_data: UserData,
}

impl Deliver {
    /// A "silent" message, to be acknowledged and thrown away (type 0, clause 9.2.3.9).
    pub fn is_silent(&self) -> bool {
        self.protocol == 0x40
    }

    /// The number, 1 to 7, of the earlier message of this sender that it shall replace (clause 9.2.3.9).
    pub fn replaces(&self) -> Option<u8> {
        matches!(self.protocol, 0x41..=0x47).then_some(self.protocol & 0b111)
    }

    pub(super) fn read(first: u8, reader: &mut Reader<'_>) -> Result<Deliver, DecodeError> {
        let originator = Address::read(reader, "the originator")?;
        let protocol = reader.octet("the protocol identifier")?;
        let data_coding = DataCoding(reader.octet("the data coding")?);
        let service_center_time = NetworkTime::read(reader, "the service center's time")?;
        let user_data = UserData::read(reader, data_coding, first & HEADER != 0)?;
        Ok(Deliver {
            more_messages: first & NO_MORE == 0,
            loop_prevention: first & LOOP_PREVENTION != 0,
            report_wanted: first & REPORT_WANTED != 0,
            reply_path: first & REPLY_PATH != 0,
            originator,
            protocol,
            data_coding,
            service_center_time,
            user_data,
        })
    }

    /// The octets, without a service center.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut first = 0;
        for (bit, is_set) in [
            (NO_MORE, !self.more_messages),
            (LOOP_PREVENTION, self.loop_prevention),
            (REPORT_WANTED, self.report_wanted),
            (HEADER, self.user_data.header.is_some()),
            (REPLY_PATH, self.reply_path),
        ] {
            first |= if is_set { bit } else { 0 };
        }
        let mut octets = vec![first];
        self.originator.write(&mut octets)?;
        octets.extend([self.protocol, self.data_coding.0]);
        octets.extend(self.service_center_time.0);
        self.user_data.write(self.data_coding, &mut octets)?;
        Ok(octets)
    }
}
