//! Octets one field after the other, and the words for what is wrong with them.

use std::fmt;

/// Why there is no message in the octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeError {
    /// Where it became clear, counted from the first octet.
    pub offset: usize,
    /// A sentence.
    pub what: String,
}

impl DecodeError {
    pub(super) fn new(offset: usize, what: String) -> DecodeError {
        DecodeError { offset, what }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for DecodeError {}

/// Why a value cannot be written as octets: a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodeError(pub String);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncodeError {}

/// What is wrong with a message that was decoded all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remark {
    /// The reserved message type was taken for a DELIVER (23.040 9.2.3.1).
    ReservedType,
    /// The high bit of a type-of-address is 0 (23.040 9.1.2.5).
    AddressType(u8),
    /// An address of more than 20 semi-octets.
    AddressLength(usize),
    /// A service center with something else than digits.
    ServiceCenterDigits,
    /// A time that is none; the octets are kept.
    Time(&'static str),
    /// A data coding of a reserved group was read as the default alphabet (23.038 clause 4).
    ReservedCoding(u8),
    /// The text is compressed (23.042), and kept as octets.
    Compressed,
    /// The text says that it is longer than what is there.
    Cut {
        /// What it should have, in septets or octets.
        promised: usize,
        /// What it has.
        present: usize,
    },
    /// The text is longer than any can be (160 septets, 140 octets).
    TooLong(usize),
    /// Half a UTF-16 unit at the end was left out.
    OddOctet,
    /// The header is longer than the text that it should be part of; all of it was read as text.
    HeaderBeyondText,
    /// An element of the header is cut or has the wrong length, and the whole header counts for nothing (23.040 9.2.3.24).
    HeaderBroken,
    /// There are octets behind the end.
    Trailing(usize),
}

impl Remark {
    /// How much this speaks against the reading that found it.
    pub(super) fn weight(&self) -> u32 {
        match self {
            Remark::ReservedType => 4,
            Remark::AddressType(_) | Remark::AddressLength(_) | Remark::ServiceCenterDigits => 3,
            Remark::Time(_) | Remark::TooLong(_) | Remark::HeaderBroken | Remark::HeaderBeyondText => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::ReservedType => write!(f, "the message type 3 is reserved: read as a deliver"),
            Remark::AddressType(kind) => {
                write!(f, "0x{kind:02X} is no type of an address: its high bit is 0")
            }
            Remark::AddressLength(digits) => write!(f, "an address of {digits} semi-octets: there may be 20"),
            Remark::ServiceCenterDigits => write!(f, "the service center is no number"),
            Remark::Time(which) => write!(f, "{which} is no time"),
            Remark::ReservedCoding(coding) => {
                write!(f, "the data coding 0x{coding:02X} is reserved: read as the default alphabet")
            }
            Remark::Compressed => write!(f, "the text is compressed: kept as data"),
            Remark::Cut { promised, present } => {
                write!(f, "the text is cut: it says {promised} units, and {present} are there")
            }
            Remark::TooLong(units) => {
                write!(f, "a text of {units} units: 160 septets or 140 octets are the most")
            }
            Remark::OddOctet => write!(f, "half a UTF-16 unit at the end of the text is left out"),
            Remark::HeaderBeyondText => write!(f, "the header is longer than the text: read as text"),
            Remark::HeaderBroken => {
                write!(f, "an element of the header has a wrong length: the header is ignored")
            }
            Remark::Trailing(octets) => write!(f, "{octets} octets behind the end are ignored"),
        }
    }
}

/// The octets of a hexadecimal text; blanks between them do not matter.
pub fn from_hex(text: &str) -> Result<Vec<u8>, DecodeError> {
    let mut octets = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (at, character) in text.char_indices().filter(|(_, character)| !character.is_whitespace()) {
        let digit = character.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let Some(digit) = digit else {
            let what = format!("{:?} at position {} is no hexadecimal digit", character, at + 1);
            return Err(DecodeError::new(octets.len(), what));
        };
        match high.take() {
            None => high = Some(digit),
            Some(high) => octets.push(high << 4 | digit),
        }
    }
    if high.is_some() {
        let what =
            format!("an odd number of hexadecimal digits: half of octet {} is missing", octets.len() + 1);
        return Err(DecodeError::new(octets.len(), what));
    }
    Ok(octets)
}

/// Upper-case hexadecimal digits, as modems write them.
pub fn to_hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let nibbles = octets.iter().flat_map(|octet| [octet >> 4, octet & 0x0F]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// Reads octets; every step says what it is for, so that an error can.
pub(super) struct Reader<'o> {
    octets: &'o [u8],
    at: usize,
    pub(super) remarks: Vec<Remark>,
}

impl<'o> Reader<'o> {
    pub(super) fn new(octets: &'o [u8]) -> Reader<'o> {
        Reader { octets, at: 0, remarks: Vec::new() }
    }

    pub(super) fn left(&self) -> usize {
        self.octets.len() - self.at
    }

    pub(super) fn remark(&mut self, remark: Remark) {
        self.remarks.push(remark);
    }

    pub(super) fn octet(&mut self, what: &str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N, what)?;
        // `take` gives exactly N octets; the error branch keeps this free of panics.
        <[u8; N]>::try_from(taken).map_err(|_| self.ends(N, what))
    }

    pub(super) fn take(&mut self, count: usize, what: &str) -> Result<&'o [u8], DecodeError> {
        match self.octets.get(self.at..self.at.saturating_add(count)) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.ends(count, what)),
        }
    }

    /// As many as there are, but no more than `count`.
    pub(super) fn take_up_to(&mut self, count: usize) -> &'o [u8] {
        let count = count.min(self.left());
        let taken = &self.octets[self.at..self.at + count];
        self.at += count;
        taken
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    pub(super) fn error(&self, what: String) -> DecodeError {
        DecodeError::new(self.at, what)
    }

    fn ends(&self, count: usize, what: &str) -> DecodeError {
        let left = self.left();
        let wanted = if count == 1 { "1 octet".to_string() } else { format!("{count} octets") };
        let what = format!(
            "the PDU is cut: {what} needs {wanted} from octet {} on, and {left} are left",
            self.at + 1
        );
        DecodeError::new(self.at, what)
    }
}
