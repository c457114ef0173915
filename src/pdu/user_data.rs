//! The text of a message with the header before it (3GPP TS 23.040 clauses 9.2.3.16, 9.2.3.23 and 9.2.3.24).

use super::data_coding::{Alphabet, DataCoding};
use super::gsm7::{self, Tables};
use super::reader::{DecodeError, EncodeError, Reader, Remark};
use super::ucs2;
use super::udh::Header;

/// The most octets, header and fill bits among them.
pub const MOST_OCTETS: usize = 140;
/// The most septets: what 140 octets hold.
pub const MOST_SEPTETS: usize = 160;

/// The text of one PDU, undecoded: what is cut by the border of two parts becomes whole only when all are joined.
#[doc(alias = "TP-UD")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UserData {
    /// The header, when there is one.
    pub header: Option<Header>,
    /// What follows it.
    pub payload: Payload,
}

/// The units of a text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Payload {
    /// Septets, one in each `u8`.
    Gsm7(Vec<u8>),
    /// Octets that are no text.
    Data8(Vec<u8>),
    /// The octets of UTF-16.
    Ucs2(Vec<u8>),
}

impl Payload {
    /// Its alphabet.
    pub fn alphabet(&self) -> Alphabet {
        match self {
            Payload::Gsm7(_) => Alphabet::Gsm7,
            Payload::Data8(_) => Alphabet::Data8,
            Payload::Ucs2(_) => Alphabet::Ucs2,
        }
    }

    /// Its septets or octets.
    pub fn units(&self) -> &[u8] {
        match self {
            Payload::Gsm7(units) | Payload::Data8(units) | Payload::Ucs2(units) => units,
        }
    }

    /// The text; `None` for octets that are none.
    pub fn text(&self, tables: Tables) -> Option<String> {
        match self {
            Payload::Gsm7(septets) => Some(gsm7::decode(septets, tables)),
            Payload::Ucs2(octets) => Some(ucs2::decode(octets)),
            Payload::Data8(_) => None,
        }
    }
}

impl UserData {
    /// A payload without a header.
    pub fn new(payload: Payload) -> UserData {
        UserData { header: None, payload }
    }

    /// The text of this PDU alone; `None` for octets that are none.
    pub fn text(&self) -> Option<String> {
        self.payload.text(self.tables())
    }

    /// The tables that its header asks for.
    pub fn tables(&self) -> Tables {
        self.header.as_ref().map(Header::tables).unwrap_or_default()
    }

    /// Reads the length and what it counts, as much as there is.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        coding: DataCoding,
        has_header: bool,
    ) -> Result<UserData, DecodeError> {
        let length = usize::from(reader.octet("the length of the text")?);
        if coding.is_compressed() {
            reader.remark(Remark::Compressed);
        } else if coding.is_reserved() {
            reader.remark(Remark::ReservedCoding(coding.0));
        }
        // Compressed text counts octets, and nobody can read it (clause 9.2.3.16).
        let alphabet = if coding.is_compressed() { Alphabet::Data8 } else { coding.alphabet() };
        let (wanted, most) = match alphabet {
            Alphabet::Gsm7 => ((length * 7).div_ceil(8), MOST_SEPTETS),
            _ => (length, MOST_OCTETS),
        };
        if length > most {
            reader.remark(Remark::TooLong(length));
        }
        let octets = reader.take_up_to(wanted);
        if octets.len() < wanted {
            let present = if alphabet == Alphabet::Gsm7 { octets.len() * 8 / 7 } else { octets.len() };
            reader.remark(Remark::Cut { promised: length, present });
        }
        let (header, header_octets) = if has_header { read_header(octets, reader) } else { (None, 0) };
        let payload = match alphabet {
            Alphabet::Gsm7 => {
                let header_septets = (header_octets * 8).div_ceil(7);
                // The text begins on a septet's border, behind fill bits.
                let rest = octets.get(header_octets..).unwrap_or(&[]);
                let fill_bits = header_septets * 7 - header_octets * 8;
                Payload::Gsm7(gsm7::unpack(rest, fill_bits, length.saturating_sub(header_septets)))
            }
            Alphabet::Data8 => Payload::Data8(octets.get(header_octets..).unwrap_or(&[]).to_vec()),
            Alphabet::Ucs2 => {
                let units = octets.get(header_octets..).unwrap_or(&[]);
                if units.len() % 2 == 1 {
                    reader.remark(Remark::OddOctet);
                }
                Payload::Ucs2(units.to_vec())
            }
        };
        Ok(UserData { header, payload })
    }

    /// Writes the length and what it counts.
    pub(super) fn write(&self, coding: DataCoding, octets: &mut Vec<u8>) -> Result<(), EncodeError> {
        let alphabet = if coding.is_compressed() { Alphabet::Data8 } else { coding.alphabet() };
        if alphabet != self.payload.alphabet() {
            let what = format!(
                "a text in {} cannot have the data coding 0x{:02X}",
                self.payload.alphabet().as_str(),
                coding.0
            );
            return Err(EncodeError(what));
        }
        let header = self.header.as_ref().map(Header::encode).transpose()?.unwrap_or_default();
        let units = self.payload.units();
        let (length, text) = match self.payload {
            Payload::Gsm7(_) => {
                let header_septets = (header.len() * 8).div_ceil(7);
                let fill_bits = header_septets * 7 - header.len() * 8;
                (header_septets + units.len(), gsm7::pack(units, fill_bits))
            }
            _ => (header.len() + units.len(), units.to_vec()),
        };
        if header.len() + text.len() > MOST_OCTETS {
            let what = format!(
                "a text of {} octets with its header: {MOST_OCTETS} are the most",
                header.len() + text.len()
            );
            return Err(EncodeError(what));
        }
        octets.push(
            u8::try_from(length).map_err(|_| EncodeError(format!("a text of {length} units is too long")))?,
        );
        octets.extend(header);
        octets.extend(text);
        Ok(())
    }
}

/// The header and how many octets it takes, its length octet among them.
fn read_header(octets: &[u8], reader: &mut Reader<'_>) -> (Option<Header>, usize) {
    let Some((length, rest)) = octets.split_first() else {
        reader.remark(Remark::HeaderBeyondText);
        return (None, 0);
    };
    let length = usize::from(*length);
    let Some(elements) = rest.get(..length) else {
        // Nothing is lost: a text whose header bit is wrong can be read, and the octets are all there.
        reader.remark(Remark::HeaderBeyondText);
        return (None, 0);
    };
    let header = Header::parse(elements);
    if header.is_none() {
        reader.remark(Remark::HeaderBroken);
    }
    (header, length + 1)
}
