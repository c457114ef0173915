//! Addresses (3GPP TS 23.040 clause 9.1.2.5, and 3GPP TS 24.011 clause 8.2.5 for the service center): numbers of all types, short codes and names.

use super::gsm7::{self, Tables};
use super::reader::{DecodeError, EncodeError, Reader, Remark};
use std::fmt;

/// The most semi-octets of an address.
const MOST_DIGITS: usize = 20;
/// The most septets of a name: what 20 semi-octets hold.
const MOST_LETTERS: usize = 11;
/// The most octets of a service center, its type among them.
const LONGEST_SERVICE_CENTER: u8 = 11;
/// The end of the digits.
const FILLER: u8 = 0xF;

/// Number of a known country, or of ISDN at least: `+15550100001`.
const INTERNATIONAL: u8 = 0x91;
/// The network knows best: `1112`, `*123#`.
const UNKNOWN: u8 = 0x81;
/// A name in the default alphabet.
const ALPHANUMERIC: u8 = 0xD0;

/// A number or a name, with its type as it came.
#[doc(alias = "TP-OA")]
#[doc(alias = "TP-DA")]
#[doc(alias = "TP-RA")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// Type of number and numbering plan.
    pub kind: u8,
    /// The digits without a `+`, or the name.
    pub value: Value,
}

/// What stands in an address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// Digits and `*`, `#`, `a`, `b`, `c`.
    Number(String),
    /// A name.
    Name(String),
}

/// The type of number (bits 6 to 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberType {
    /// The network finds out.
    Unknown,
    /// With the country's code.
    International,
    /// Without it.
    National,
    /// Of the network itself.
    NetworkSpecific,
    /// Of a subscriber.
    Subscriber,
    /// A name.
    Alphanumeric,
    /// A short code.
    Abbreviated,
    /// For later.
    Reserved,
}

impl Address {
    /// A number as people write it: with a `+` it is international; blanks, `-`, `.`, `/` and parentheses do not matter.
    pub fn number(text: &str) -> Result<Address, EncodeError> {
        let (kind, rest) = match text.trim().strip_prefix('+') {
            Some(rest) => (INTERNATIONAL, rest),
            None => (UNKNOWN, text.trim()),
        };
        let is_between = |character: char| character.is_whitespace() || "-./()".contains(character);
        let digits: String = rest.chars().filter(|character| !is_between(*character)).collect();
        if let Some(wrong) = digits.chars().find(|character| !matches!(character, '0'..='9' | '*' | '#')) {
            return Err(EncodeError(format!("{text:?} is no number: {wrong:?} cannot be dialled")));
        }
        if digits.is_empty() {
            return Err(EncodeError(format!("{text:?} is no number: it has no digits")));
        }
        if digits.len() > MOST_DIGITS {
            return Err(EncodeError(format!(
                "{text:?} has {} digits: {MOST_DIGITS} are the most",
                digits.len()
            )));
        }
        Ok(Address { kind, value: Value::Number(digits) })
    }

    /// A name, of at most eleven characters of the default alphabet. Only a sender can have one.
    pub fn name(text: &str) -> Result<Address, EncodeError> {
        let address = Address { kind: ALPHANUMERIC, value: Value::Name(text.to_string()) };
        address.letters(text)?;
        Ok(address)
    }

    /// A number where it is one, else a name.
    pub fn parse(text: &str) -> Result<Address, EncodeError> {
        Address::number(text).or_else(|_| Address::name(text))
    }

    /// The type of number.
    pub fn number_type(&self) -> NumberType {
        match (self.kind >> 4) & 0b111 {
            0 => NumberType::Unknown,
            1 => NumberType::International,
            2 => NumberType::National,
            3 => NumberType::NetworkSpecific,
            4 => NumberType::Subscriber,
            5 => NumberType::Alphanumeric,
            6 => NumberType::Abbreviated,
            _ => NumberType::Reserved,
        }
    }

    /// Whether it is a name, which nobody can answer.
    pub fn is_name(&self) -> bool {
        matches!(self.value, Value::Name(_))
    }

    /// Reads an address of a message: its length in semi-octets, type, value.
    pub(super) fn read(reader: &mut Reader<'_>, what: &str) -> Result<Address, DecodeError> {
        let digits = usize::from(reader.octet(what)?);
        let kind = reader.octet(what)?;
        if kind & 0x80 == 0 {
            reader.remark(Remark::AddressType(kind));
        }
        if digits > MOST_DIGITS {
            reader.remark(Remark::AddressLength(digits));
        }
        let octets = reader.take(digits.div_ceil(2), what)?;
        let mut address = Address { kind, value: Value::Number(String::new()) };
        address.value = match address.number_type() {
            NumberType::Alphanumeric => Value::Name(name(octets, digits)),
            _ => Value::Number(number(octets, digits)),
        };
        Ok(address)
    }

    /// Reads the service center before a message: its length in octets with the type, type, digits. Length 0 is none.
    pub(super) fn read_service_center(reader: &mut Reader<'_>) -> Result<Option<Address>, DecodeError> {
        const WHAT: &str = "the service center";
        let length = reader.octet(WHAT)?;
        if length == 0 {
            return Ok(None);
        }
        if length > LONGEST_SERVICE_CENTER {
            return Err(reader.error(format!(
                "{length} is no length of a service center: {LONGEST_SERVICE_CENTER} is the most"
            )));
        }
        let kind = reader.octet(WHAT)?;
        let octets = reader.take(usize::from(length) - 1, WHAT)?;
        if kind & 0x80 == 0 {
            reader.remark(Remark::AddressType(kind));
        }
        let digits = number(octets, octets.len() * 2);
        // One semi-octet may be the filler of an odd number.
        if digits.len() + 1 < octets.len() * 2 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            reader.remark(Remark::ServiceCenterDigits);
        }
        Ok(Some(Address { kind, value: Value::Number(digits) }))
    }

    /// Writes an address of a message.
    pub(super) fn write(&self, octets: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (digits, value) = match &self.value {
            Value::Number(digits) => (digits.len(), semi_octets(digits)?),
            // Networks send empty names too, and what was read can be written.
            Value::Name(name) if name.is_empty() => (0, Vec::new()),
            Value::Name(name) => {
                let septets = self.letters(name)?;
                ((septets.len() * 7).div_ceil(4), gsm7::pack(&septets, 0))
            }
        };
        if digits > MOST_DIGITS {
            return Err(EncodeError(format!(
                "the address {self} has {digits} digits: {MOST_DIGITS} are the most"
            )));
        }
        octets.extend([narrow(digits), self.kind]);
        octets.extend(value);
        Ok(())
    }

    /// Writes a service center.
    pub(super) fn write_service_center(&self, octets: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Value::Number(digits) = &self.value else {
            return Err(EncodeError(format!("the service center {self} is a name: it must be a number")));
        };
        if digits.len() > MOST_DIGITS {
            return Err(EncodeError(format!("the service center {self} has more than {MOST_DIGITS} digits")));
        }
        let value = semi_octets(digits)?;
        octets.extend([narrow(value.len() + 1), self.kind]);
        octets.extend(value);
        Ok(())
    }

    fn letters(&self, name: &str) -> Result<Vec<u8>, EncodeError> {
        let septets = gsm7::encode(name, Tables::default()).map_err(|character| {
            EncodeError(format!(
                "the name {name:?} cannot be written: {character:?} is not in the GSM alphabet"
            ))
        })?;
        if septets.is_empty() || septets.len() > MOST_LETTERS {
            let what = format!(
                "the name {name:?} has {} characters: 1 to {MOST_LETTERS} are possible",
                septets.len()
            );
            return Err(EncodeError(what));
        }
        Ok(septets)
    }
}

/// A number as E.164 with its `+` where it is international, as it came elsewhere; a name as it is.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Number(digits)
                if self.number_type() == NumberType::International && !digits.is_empty() =>
            {
                write!(f, "+{digits}")
            }
            Value::Number(digits) => f.write_str(digits),
            Value::Name(name) => f.write_str(name),
        }
    }
}

/// Clause 9.1.2.3. A filler ends the number, also where the length counts it.
fn number(octets: &[u8], digits: usize) -> String {
    let semi_octets = octets.iter().flat_map(|octet| [octet & 0x0F, octet >> 4]);
    semi_octets
        .take(digits)
        .take_while(|digit| *digit != FILLER)
        .map(|digit| match digit {
            0..=9 => char::from(b'0' + digit),
            10 => '*',
            11 => '#',
            12 => 'a',
            13 => 'b',
            _ => 'c',
        })
        .collect()
}

/// A name's length is in semi-octets. Seven letters leave seven spare bits in seven octets, and senders that count whole octets make
/// an eighth letter `@` of them; it is left out.
fn name(octets: &[u8], digits: usize) -> String {
    let mut septets = gsm7::unpack(octets, 0, digits * 4 / 7);
    if !septets.is_empty() && septets.len().is_multiple_of(8) && septets.last() == Some(&0) {
        septets.pop();
    }
    gsm7::decode(&septets, Tables::default())
}

fn semi_octets(digits: &str) -> Result<Vec<u8>, EncodeError> {
    let mut values = Vec::with_capacity(digits.len() + 1);
    for digit in digits.chars() {
        values.push(match digit {
            '0'..='9' => digit as u8 - b'0',
            '*' => 10,
            '#' => 11,
            'a' => 12,
            'b' => 13,
            'c' => 14,
            _ => return Err(EncodeError(format!("{digit:?} in {digits:?} cannot be dialled"))),
        });
    }
    if values.len() % 2 == 1 {
        values.push(FILLER);
    }
    let (pairs, _) = values.as_chunks::<2>();
    Ok(pairs.iter().map(|[low, high]| high << 4 | low).collect())
}

/// Lengths here are checked to be far below 256.
fn narrow(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}
