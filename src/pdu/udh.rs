//! The header within a text (3GPP TS 23.040 clause 9.2.3.24): any elements, and the meaning of those for parts, ports and languages.

use super::concat::Concat;
use super::gsm7::Tables;
use super::national::Language;
use super::reader::EncodeError;

/// The identifiers of clause 9.2.3.24 that mean something here.
const CONCAT_8: u8 = 0x00;
const PORTS_8: u8 = 0x04;
const PORTS_16: u8 = 0x05;
const CONCAT_16: u8 = 0x08;
const SINGLE_SHIFT: u8 = 0x24;
const LOCKING_SHIFT: u8 = 0x25;

/// One element, whatever it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Element {
    /// What it is.
    #[doc(alias = "IEI")]
    pub id: u8,
    /// What it says.
    pub data: Vec<u8>,
}

/// Programs on a phone to which a message goes (clauses 9.2.3.24.3 and 9.2.3.24.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ports {
    /// To.
    pub destination: u16,
    /// From.
    pub source: u16,
    /// 8 or 16.
    pub bits: u8,
}

/// The elements, in their order.
#[doc(alias = "TP-UDH")]
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Header {
    /// Unknown ones too.
    pub elements: Vec<Element>,
}

impl Header {
    /// The octets of one header without its length; `None` when an element does not fit, for then all of it counts for nothing (clause 9.2.3.24).
    pub fn parse(mut octets: &[u8]) -> Option<Header> {
        let mut elements = Vec::new();
        while let [id, length, rest @ ..] = octets {
            let (data, rest) = rest.split_at_checked(usize::from(*length))?;
            elements.push(Element { id: *id, data: data.to_vec() });
            octets = rest;
        }
        octets.is_empty().then_some(Header { elements })
    }

    /// The octets with the length before them.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut octets = vec![0];
        for element in &self.elements {
            let length = u8::try_from(element.data.len());
            let length = length
                .map_err(|_| EncodeError(format!("the header's element 0x{:02X} is too long", element.id)))?;
            octets.extend([element.id, length]);
            octets.extend_from_slice(&element.data);
        }
        let length = octets.len() - 1;
        octets[0] = u8::try_from(length)
            .map_err(|_| EncodeError(format!("a header of {length} octets is too long")))?;
        Ok(octets)
    }

    /// Which part of which message this is. The last such element counts; one that contradicts itself counts for nothing (clause 9.2.3.24.1).
    pub fn concat(&self) -> Option<Concat> {
        let found =
            self.elements.iter().rev().find_map(|element| match (element.id, element.data.as_slice()) {
                (CONCAT_8, &[reference, total, sequence]) => {
                    Some(Concat { reference: u16::from(reference), total, sequence, bits: 8 })
                }
                (CONCAT_16, &[high, low, total, sequence]) => {
                    Some(Concat { reference: u16::from_be_bytes([high, low]), total, sequence, bits: 16 })
                }
                _ => None,
            });
        found.filter(|concat| concat.sequence >= 1 && concat.sequence <= concat.total)
    }

    /// The programs that talk.
    pub fn ports(&self) -> Option<Ports> {
        self.elements.iter().rev().find_map(|element| match (element.id, element.data.as_slice()) {
            (PORTS_8, &[destination, source]) => {
                Some(Ports { destination: u16::from(destination), source: u16::from(source), bits: 8 })
            }
            (PORTS_16, &[destination_high, destination_low, source_high, source_low]) => Some(Ports {
                destination: u16::from_be_bytes([destination_high, destination_low]),
                source: u16::from_be_bytes([source_high, source_low]),
                bits: 16,
            }),
            _ => None,
        })
    }

    /// The tables of its national languages; an unknown language changes nothing.
    pub fn tables(&self) -> Tables {
        let language = |id: u8| {
            let found = self.elements.iter().rev().find(|element| element.id == id);
            match found.map(|element| element.data.as_slice()) {
                Some(&[identifier]) => Language::from_identifier(identifier).unwrap_or_default(),
                _ => Language::Default,
            }
        };
        Tables { locking: language(LOCKING_SHIFT), single: language(SINGLE_SHIFT) }
    }

    /// The elements that these tables need; none for the default ones.
    pub fn of_tables(tables: Tables) -> Header {
        let mut elements = Vec::new();
        for (id, language) in [(SINGLE_SHIFT, tables.single), (LOCKING_SHIFT, tables.locking)] {
            if language != Language::Default {
                elements.push(Element { id, data: vec![language as u8] });
            }
        }
        Header { elements }
    }

    /// The same with the element of a part before the others.
    pub fn with_concat(mut self, concat: Concat) -> Header {
        let [high, low] = concat.reference.to_be_bytes();
        let element = if concat.bits == 16 {
            Element { id: CONCAT_16, data: vec![high, low, concat.total, concat.sequence] }
        } else {
            Element { id: CONCAT_8, data: vec![low, concat.total, concat.sequence] }
        };
        self.elements.insert(0, element);
        self
    }

    /// The same with ports behind the others.
    pub fn with_ports(mut self, ports: Ports) -> Header {
        let [destination_high, destination_low] = ports.destination.to_be_bytes();
        let [source_high, source_low] = ports.source.to_be_bytes();
        self.elements.push(if ports.bits == 16 {
            Element { id: PORTS_16, data: vec![destination_high, destination_low, source_high, source_low] }
        } else {
            Element { id: PORTS_8, data: vec![destination_low, source_low] }
        });
        self
    }
}
