//! Memories with slots, and the lock before them.

use super::personality::Personality;

/// The answers that a card gives to wrong PINs (3GPP TS 31.101 9.5).
pub(super) const PIN_TRIES: u8 = 3;
/// The same for unblocking codes.
pub(super) const PUK_TRIES: u8 = 10;
/// The code with which a blocked card is opened again.
pub(super) const PUK: &str = "12345678";

/// What keeps the card shut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lock {
    Open,
    Pin,
    Puk,
    /// Nothing opens it again.
    Dead,
}

/// The state of a slot's content (`<stat>`, TS 27.005 3.1), in the order of its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stat {
    Unread = 0,
    Read = 1,
    Unsent = 2,
    Sent = 3,
}

impl Stat {
    /// Its name in text mode.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Stat::Unread => "REC UNREAD",
            Stat::Read => "REC READ",
            Stat::Unsent => "STO UNSENT",
            Stat::Sent => "STO SENT",
        }
    }
}

/// Which message, and which part of it, for the ledger. What the other side wrote itself has no id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    pub id: Option<u64>,
    pub part: u64,
}

/// What lies in a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub stat: Stat,
    /// Behind the service center's address.
    pub octets: Vec<u8>,
    /// Without it.
    pub length: usize,
    pub origin: Origin,
}

/// Slots with a name, `SM` or `ME`.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub name: &'static str,
    pub slots: Vec<Option<Record>>,
}

impl Memory {
    pub(super) fn used(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Puts a record in the first free slot.
    pub(super) fn put(&mut self, record: Record) -> Option<usize> {
        let free = self.slots.iter().position(Option::is_none)?;
        self.slots[free] = Some(record);
        Some(free)
    }
}

/// The card, and what memory the modem has besides.
#[derive(Clone, Debug)]
pub(super) struct Sim {
    pub memories: Vec<Memory>,
    pub service_center: String,
    pub pin: Option<String>,
    pub lock: Lock,
    pub pin_tries: u8,
    pub puk_tries: u8,
}

impl Sim {
    pub(super) fn new(personality: &Personality, service_center: &str, pin: Option<String>) -> Sim {
        let memory = |(name, size): &(&'static str, usize)| Memory { name, slots: vec![None; *size] };
        Sim {
            memories: personality.memories.iter().map(memory).collect(),
            service_center: service_center.to_string(),
            lock: if pin.is_some() { Lock::Pin } else { Lock::Open },
            pin,
            pin_tries: PIN_TRIES,
            puk_tries: PUK_TRIES,
        }
    }

    /// Power was gone: the card asks again.
    pub(super) fn power_on(&mut self) {
        if self.lock == Lock::Open && self.pin.is_some() {
            self.lock = Lock::Pin;
        }
    }

    /// Whether the PIN was right, or was not needed.
    pub(super) fn enter_pin(&mut self, pin: &str) -> bool {
        if self.pin.as_deref() == Some(pin) {
            self.pin_tries = PIN_TRIES;
            self.lock = Lock::Open;
            return true;
        }
        self.pin_tries = self.pin_tries.saturating_sub(1);
        if self.pin_tries == 0 {
            self.lock = Lock::Puk;
        }
        false
    }

    /// Whether the unblocking code was right; the PIN is a new one then.
    pub(super) fn enter_puk(&mut self, puk: &str, new_pin: &str) -> bool {
        if puk == PUK {
            self.pin = Some(new_pin.to_string());
            self.pin_tries = PIN_TRIES;
            self.puk_tries = PUK_TRIES;
            self.lock = Lock::Open;
            return true;
        }
        self.puk_tries = self.puk_tries.saturating_sub(1);
        if self.puk_tries == 0 {
            self.lock = Lock::Dead;
        }
        false
    }
}
