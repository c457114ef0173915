//! SMS-DELIVER-REPORT and SMS-SUBMIT-REPORT (3GPP TS 23.040 clauses 9.2.2.1a and 9.2.2.2a): either side's answer, as a modem shows it in
//! `+CMGS: 12,"..."` or takes it behind `+CNMA`.

use super::data_coding::DataCoding;
use super::deliver::HEADER;
use super::reader::{DecodeError, EncodeError, Reader};
use super::timestamp::NetworkTime;
use super::user_data::UserData;

const SUBMIT_REPORT: u8 = 0b01;

/// Which optional fields follow (TP-PI, clause 9.2.3.27).
const PROTOCOL: u8 = 0x01;
const DATA_CODING: u8 = 0x02;
const USER_DATA: u8 = 0x04;
const EXTENSION: u8 = 0x80;

/// The fields that reports may have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// TP-PID.
    pub protocol: Option<u8>,
    /// TP-DCS.
    pub data_coding: Option<DataCoding>,
    /// TP-UD.
    pub user_data: Option<UserData>,
}

impl Parameters {
    /// Reads the indicator alone: in a SUBMIT-REPORT the time stands between it and what it announces.
    pub(super) fn read_indicator(reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
        let indicator = reader.octet("the parameter indicator")?;
        let mut extended = indicator;
        // An extension announces fields that this clause does not know yet; they would stand at the end.
        while extended & EXTENSION != 0 {
            extended = reader.octet("the parameter indicator's extension")?;
        }
        Ok(indicator)
    }

    /// Reads what the indicator announces.
    pub(super) fn read(first: u8, indicator: u8, reader: &mut Reader<'_>) -> Result<Parameters, DecodeError> {
        let mut parameters = Parameters::default();
        if indicator & PROTOCOL != 0 {
            parameters.protocol = Some(reader.octet("the protocol identifier")?);
        }
        if indicator & DATA_CODING != 0 {
            parameters.data_coding = Some(DataCoding(reader.octet("the data coding")?));
        }
        if indicator & USER_DATA != 0 {
            let coding = parameters.data_coding.unwrap_or_default();
            parameters.user_data = Some(UserData::read(reader, coding, first & HEADER != 0)?);
        }
        Ok(parameters)
    }

    /// The header's bit for the first octet.
    pub(super) fn header(&self) -> u8 {
        let has_header = self.user_data.as_ref().is_some_and(|user_data| user_data.header.is_some());
        if has_header { HEADER } else { 0 }
    }

    pub(super) fn indicator(&self) -> u8 {
        let mut indicator = 0;
        for (bit, is_there) in [
            (PROTOCOL, self.protocol.is_some()),
            (DATA_CODING, self.data_coding.is_some()),
            (USER_DATA, self.user_data.is_some()),
        ] {
            indicator |= if is_there { bit } else { 0 };
        }
        indicator
    }

    pub(super) fn write(&self, octets: &mut Vec<u8>) -> Result<(), EncodeError> {
        octets.extend(self.protocol);
        octets.extend(self.data_coding.map(|coding| coding.0));
        match &self.user_data {
            Some(user_data) => user_data.write(self.data_coding.unwrap_or_default(), octets),
            None => Ok(()),
        }
    }
}

/// The mobile's answer to a DELIVER.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeliverReport {
    /// Why it was refused (TP-FCS, clause 9.2.3.22); `None` when it was taken.
    pub failure: Option<u8>,
    /// Optional fields.
    pub parameters: Parameters,
}

impl DeliverReport {
    pub(super) fn read(first: u8, reader: &mut Reader<'_>) -> Result<DeliverReport, DecodeError> {
        let failure = read_failure(reader)?;
        let indicator = Parameters::read_indicator(reader)?;
        Ok(DeliverReport { failure, parameters: Parameters::read(first, indicator, reader)? })
    }

    /// The octets, without a service center.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut octets = vec![self.parameters.header()];
        octets.extend(self.failure);
        octets.push(self.parameters.indicator());
        self.parameters.write(&mut octets)?;
        Ok(octets)
    }
}

/// The network's answer to a SUBMIT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubmitReport {
    /// Why it was refused (TP-FCS, clause 9.2.3.22); `None` when it was taken.
    pub failure: Option<u8>,
    /// When the service center got it.
    pub service_center_time: NetworkTime,
    /// Optional fields.
    pub parameters: Parameters,
}

impl SubmitReport {
    pub(super) fn read(first: u8, reader: &mut Reader<'_>) -> Result<SubmitReport, DecodeError> {
        let failure = read_failure(reader)?;
        let indicator = Parameters::read_indicator(reader)?;
        let service_center_time = NetworkTime::read(reader, "the service center's time")?;
        let parameters = Parameters::read(first, indicator, reader)?;
        Ok(SubmitReport { failure, service_center_time, parameters })
    }

    /// The octets, without a service center.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut octets = vec![SUBMIT_REPORT | self.parameters.header()];
        octets.extend(self.failure);
        octets.push(self.parameters.indicator());
        octets.extend(self.service_center_time.0);
        self.parameters.write(&mut octets)?;
        Ok(octets)
    }
}

/// What a failure cause means (clause 9.2.3.22).
pub fn failure_sentence(cause: u8) -> &'static str {
    match cause {
        0x80 => "telematic interworking is not supported",
        0x81 => "messages of type 0 are not supported",
        0x82 => "a message cannot be replaced",
        0x8F | 0x9F | 0xAF => "refused because of a field that was not told",
        0x90 => "the data coding is not supported",
        0x91 => "the message class is not supported",
        0xA0 => "the command cannot be carried out",
        0xA1 => "the command is not supported",
        0xB0 => "this kind of PDU is not supported",
        0xC0 => "the service center is busy",
        0xC1 => "the service center does not know the subscriber",
        0xC2 => "the service center has failed",
        0xC3 => "the number is no subscriber of this service center",
        0xC4 => "the destination is barred",
        0xC5 => "refused as a duplicate",
        0xC6 => "the validity format is not supported",
        0xC7 => "the validity is not supported",
        0xD0 => "the SIM's storage is full",
        0xD1 => "the SIM has no storage for messages",
        0xD2 => "the phone has an error",
        0xD3 => "the phone's memory is full",
        0xD4 => "the SIM's application toolkit is busy",
        0xD5 => "the SIM could not take the data",
        0xE0..=0xFE => "a reason of this application's own",
        0xFF => "a reason that was not told",
        _ => "a reserved reason",
    }
}

/// A cause has its high bit set (clause 9.2.3.22); the parameter indicator, which stands there when all is well, only with an extension that does
/// not exist yet.
fn read_failure(reader: &mut Reader<'_>) -> Result<Option<u8>, DecodeError> {
    if reader.peek().is_some_and(|octet| octet & EXTENSION != 0) {
        return reader.octet("the failure cause").map(Some);
    }
    Ok(None)
}
