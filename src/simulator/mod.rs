//! Simulated GSM modems: AT commands in, answers out, with a SIM, a network and misfortunes behind them.
//!
//! For demonstrations without hardware, and for tests: it is a second opinion on the AT dialogue, so it shares no code with
//! [`crate::modem`], the client's side. Only the codec of [`crate::pdu`] is the same.
//!
//! Everything but [`host`] is pure: time is an argument, and whatever a modem does comes out as an [`Effect`]. A modem is never
//! in two minds about what it did: each [`ledger::Entry`] precedes the octets that show it to the other side.
//!
//! | file | what | clause |
//! |---|---|---|
//! | `state` | what a modem can be, do and wait for | |
//! | `modem` | the line: echo, command lines, the prompt, what waits for its time | V.250 5.2, 5.7 |
//! | `syntax` | a command line to commands, arguments to values | V.250 5.3, 5.4 |
//! | `general` | commands about the modem, the SIM and the network | 3GPP TS 27.007 |
//! | `messages`, `slots`, `sending`, `text_mode` | commands about messages | 3GPP TS 27.005 clauses 3 and 4 |
//! | `routing` | where a message of the network goes: memory, `+CMTI`, `+CMT`, `+CDS` | 3GPP TS 27.005 3.4 |
//! | `services` | calls and USSD | 3GPP TS 27.007 6, 7.15 |
//! | `sim`, `network` | what is in the slots; what waits at the service center, references, reports | |
//! | `ports` | several ports of one modem: who is heard, and where unasked things go | |
//! | `personality` | how the modems of vendors differ, as data | |
//! | `faults`, `script` | misfortunes, and the language in which people ask for them | |
//! | `ledger` | what happened, for whoever judges it | |
//! | `host` | the modems of one process on pseudo-terminals: the one file here with a poll and a clock | |

pub mod faults;
mod general;
pub mod host;
pub mod ledger;
mod messages;
mod modem;
mod network;
pub mod personality;
mod ports;
mod routing;
pub mod script;
mod sending;
mod services;
mod sim;
mod slots;
mod state;
mod syntax;
mod text_mode;

pub use modem::Modem;
pub use network::Carried;
pub use ports::{MOST_PORTS, PortKind};
pub use state::{Subscriber, Timing};

use ledger::Entry;

/// What a modem does to the world, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Octets for whoever has the port open; of several ports, for the one whose command is answered.
    Write(Vec<u8>),
    /// What comes unasked, of a modem that [tells it apart](Modem::tell_apart).
    Announce(Vec<u8>),
    /// Something for the ledger; write it before any later effect.
    Record(Entry),
    /// It is gone from the machine, and its port with it.
    Unplugged,
    /// It is back, on another port; under another path, if one is given.
    Plugged {
        /// The new path of its link.
        link: Option<String>,
    },
    /// A message from it is on its way to this number.
    Carried(Carried),
    /// A line for the person who watches.
    Show(String),
}
