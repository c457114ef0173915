//! What a status report reports (3GPP TS 23.040 clause 9.2.3.15).

/// The octet, kept as it came.
#[doc(alias = "TP-ST")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Status(pub u8);

/// What it means for the message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StatusClass {
    /// It arrived, as far as the service center can know.
    Delivered,
    /// Not yet, and the service center goes on trying: another report will follow.
    StillTrying,
    /// It never will.
    Permanent,
    /// Not yet, and the service center has given up: sent again it may arrive.
    Ended,
}

impl StatusClass {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            StatusClass::Delivered => "delivered",
            StatusClass::StillTrying => "still_trying",
            StatusClass::Permanent => "permanent",
            StatusClass::Ended => "ended",
        }
    }
}

/// "Service rejected", which stands for all reserved values.
const REJECTED: u8 = 0x63;

impl Status {
    /// What it means for the message.
    pub fn class(self) -> StatusClass {
        match self.meant() >> 5 {
            0b00 => StatusClass::Delivered,
            0b01 => StatusClass::StillTrying,
            0b10 => StatusClass::Permanent,
            _ => StatusClass::Ended,
        }
    }

    /// The same in words.
    pub fn sentence(self) -> &'static str {
        match self.meant() {
            0x00 => "received by the phone",
            0x01 => "forwarded to the phone, but the service center cannot confirm it",
            0x02 => "replaced by the service center",
            0x10..=0x1F => "completed, in a way of this service center's own",
            0x20 => "still trying: congestion",
            0x21 => "still trying: the phone is busy",
            0x22 => "still trying: the phone does not answer",
            0x23 => "still trying: the service was refused",
            0x24 => "still trying: the quality of service is not available",
            0x25 => "still trying: an error in the phone",
            0x30..=0x3F => "still trying, for a reason of this service center's own",
            0x40 => "failed: an error of a remote procedure",
            0x41 => "failed: the destination is incompatible",
            0x42 => "failed: the phone refused the connection",
            0x43 => "failed: the number cannot be reached",
            0x44 => "failed: the quality of service is not available",
            0x45 => "failed: the networks do not work together",
            0x46 => "failed: the validity of the message is over",
            0x47 => "failed: deleted by its sender",
            0x48 => "failed: deleted by the service center's staff",
            0x49 => "failed: the service center does not know the message",
            0x50..=0x5F => "failed, for a reason of this service center's own",
            0x60 => "given up: congestion",
            0x61 => "given up: the phone is busy",
            0x62 => "given up: the phone does not answer",
            0x63 => "given up: the service was refused",
            0x64 => "given up: the quality of service is not available",
            0x65 => "given up: an error in the phone",
            _ => "given up, for a reason of this service center's own",
        }
    }

    /// Reserved values mean "service rejected" (clause 9.2.3.15).
    fn meant(self) -> u8 {
        match self.0 {
            0x00..=0x02 | 0x10..=0x25 | 0x30..=0x49 | 0x50..=0x65 | 0x70..=0x7F => self.0,
            _ => REJECTED,
        }
    }
}
