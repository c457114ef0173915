//! SMS-SUBMIT (3GPP TS 23.040 clause 9.2.2.2): a message from this mobile.

use super::address::Address;
use super::concat::Concat;
use super::data_coding::DataCoding;
use super::deliver::{HEADER, REPLY_PATH};
use super::reader::{DecodeError, EncodeError, Reader};
use super::split::Plan;
use super::user_data::UserData;
use super::validity::Validity;

const SUBMIT: u8 = 0b01;
/// First octet: no second one with this reference to this destination (TP-RD).
const REJECT_DUPLICATES: u8 = 0x04;
/// First octet: a status report is wanted (TP-SRR).
const REPORT_REQUEST: u8 = 0x20;

/// A message from this mobile.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Submit {
    /// The service center shall refuse a second one with the same reference and destination.
    pub reject_duplicates: bool,
    /// A status report is wanted.
    pub report_request: bool,
    /// An answer may go by the same service center.
    pub reply_path: bool,
    /// The number that reports will name; a modem puts its own in place of it.
    pub message_reference: u8,
    /// To whom.
    pub destination: Address,
    /// What it is, for service centers and phones (TP-PID).
    pub protocol: u8,
    /// Its alphabet and class.
    pub data_coding: DataCoding,
    /// How long the network shall try; it has its own idea when nothing is said.
    pub validity: Option<Validity>,
    /// Its text.
    pub user_data: UserData,
}

impl Submit {
    /// A message with nothing special about it.
    pub fn new(destination: Address, data_coding: DataCoding, user_data: UserData) -> Submit {
        Submit {
            reject_duplicates: false,
            report_request: false,
            reply_path: false,
            message_reference: 0,
            destination,
            protocol: 0,
            data_coding,
            validity: None,
            user_data,
        }
    }

    /// One message for each part of a plan. The reference ties the parts together, and must be another one for the next message to the same
    /// destination; of a class only 0 to 3 exist.
    pub fn of_plan(plan: &Plan, destination: &Address, reference: u16, class: Option<u8>) -> Vec<Submit> {
        let coding = coding(plan, class);
        let parts = plan.user_data(reference).into_iter();
        parts.map(|part| Submit::new(destination.clone(), coding, part)).collect()
    }

    /// The one message for a text that is itself a part of a longer one ([`plan_part`](super::plan_part)); none for a plan without parts.
    pub fn of_part(plan: &Plan, destination: &Address, concat: Concat, class: Option<u8>) -> Option<Submit> {
        let part = plan.user_data_as(concat)?;
        Some(Submit::new(destination.clone(), coding(plan, class), part))
    }

    pub(super) fn read(first: u8, reader: &mut Reader<'_>) -> Result<Submit, DecodeError> {
        let message_reference = reader.octet("the message reference")?;
        let destination = Address::read(reader, "the destination")?;
        let protocol = reader.octet("the protocol identifier")?;
        let data_coding = DataCoding(reader.octet("the data coding")?);
        let validity = Validity::read(first, reader)?;
        let user_data = UserData::read(reader, data_coding, first & HEADER != 0)?;
        Ok(Submit {
            reject_duplicates: first & REJECT_DUPLICATES != 0,
            report_request: first & REPORT_REQUEST != 0,
            reply_path: first & REPLY_PATH != 0,
            message_reference,
            destination,
            protocol,
            data_coding,
            validity,
            user_data,
        })
    }

    /// The octets, without a service center.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut first = SUBMIT | Validity::format(self.validity);
        for (bit, is_set) in [
            (REJECT_DUPLICATES, self.reject_duplicates),
            (REPORT_REQUEST, self.report_request),
            (HEADER, self.user_data.header.is_some()),
            (REPLY_PATH, self.reply_path),
        ] {
            first |= if is_set { bit } else { 0 };
        }
        let mut octets = vec![first, self.message_reference];
        self.destination.write(&mut octets)?;
        octets.extend([self.protocol, self.data_coding.0]);
        if let Some(validity) = self.validity {
            validity.write(&mut octets);
        }
        self.user_data.write(self.data_coding, &mut octets)?;
        Ok(octets)
    }
}

fn coding(plan: &Plan, class: Option<u8>) -> DataCoding {
    match class {
        None => DataCoding::of(plan.alphabet),
        Some(class) => DataCoding::with_class(plan.alphabet, class),
    }
}
