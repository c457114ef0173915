//! The data coding scheme (3GPP TS 23.038 clause 4): which alphabet a text has, where it shall be shown or kept, and what waits elsewhere.

/// How the units of a text are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Alphabet {
    /// Septets.
    Gsm7,
    /// Octets that are no text, or one of a kind that only sender and receiver know.
    Data8,
    /// UTF-16.
    Ucs2,
}

impl Alphabet {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Alphabet::Gsm7 => "gsm7",
            Alphabet::Data8 => "data8",
            Alphabet::Ucs2 => "ucs2",
        }
    }
}

/// The octet, kept as it came.
#[doc(alias = "TP-DCS")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DataCoding(pub u8);

/// Something waits for the subscriber elsewhere (groups 1100, 1101 and 1110).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Indication {
    /// Switch the sign on; else off.
    pub active: bool,
    /// What waits.
    pub kind: Waiting,
    /// The message itself may be thrown away (group 1100).
    pub discard: bool,
}

/// What waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Voice mail.
    Voicemail,
    /// A fax.
    Fax,
    /// A mail.
    Email,
    /// Something else.
    Other,
}

impl DataCoding {
    /// The coding of a text without class.
    pub fn of(alphabet: Alphabet) -> DataCoding {
        DataCoding(match alphabet {
            Alphabet::Gsm7 => 0x00,
            Alphabet::Data8 => 0x04,
            Alphabet::Ucs2 => 0x08,
        })
    }

    /// The same with a class from 0 (shown at once, "flash") to 3. Higher bits of the class count for nothing.
    pub fn with_class(alphabet: Alphabet, class: u8) -> DataCoding {
        DataCoding(DataCoding::of(alphabet).0 | 0x10 | (class & 0b11))
    }

    /// The alphabet. What is reserved is read as the default alphabet, as clause 4 demands.
    pub fn alphabet(self) -> Alphabet {
        match self.0 >> 4 {
            0b0000..=0b0111 => match (self.0 >> 2) & 0b11 {
                0b01 => Alphabet::Data8,
                0b10 => Alphabet::Ucs2,
                _ => Alphabet::Gsm7,
            },
            0b1110 => Alphabet::Ucs2,
            0b1111 if self.0 & 0b100 != 0 => Alphabet::Data8,
            _ => Alphabet::Gsm7,
        }
    }

    /// The message class, when there is one: 0 shown at once, 1 for the phone, 2 for the SIM, 3 for a terminal.
    pub fn class(self) -> Option<u8> {
        let has_class = match self.0 >> 4 {
            0b0000..=0b0111 => self.0 & 0x10 != 0,
            group => group == 0b1111,
        };
        has_class.then_some(self.0 & 0b11)
    }

    /// Whether the text is compressed by the rules of TS 23.042, which nobody uses.
    pub fn is_compressed(self) -> bool {
        self.0 & 0x80 == 0 && self.0 & 0x20 != 0
    }

    /// Whether the phone shall delete it once it was read (groups 0100 to 0111).
    pub fn is_deleted_when_read(self) -> bool {
        self.0 >> 6 == 0b01
    }

    /// What waits elsewhere.
    pub fn indication(self) -> Option<Indication> {
        if !matches!(self.0 >> 4, 0b1100..=0b1110) {
            return None;
        }
        let kind = match self.0 & 0b11 {
            0b00 => Waiting::Voicemail,
            0b01 => Waiting::Fax,
            0b10 => Waiting::Email,
            _ => Waiting::Other,
        };
        Some(Indication { active: self.0 & 0b1000 != 0, kind, discard: self.0 >> 4 == 0b1100 })
    }

    /// Whether clause 4 leaves this coding for later.
    pub fn is_reserved(self) -> bool {
        match self.0 >> 4 {
            0b0000..=0b0111 => (self.0 >> 2) & 0b11 == 0b11,
            0b1000..=0b1011 => true,
            0b1111 => self.0 & 0b1000 != 0,
            _ => self.0 & 0b100 != 0,
        }
    }
}
