//! Talking to a modem, without a modem: octets in, happenings out.
//!
//! - [`mod@line`]: octets to lines, whatever the modem does to its line ends; the `> ` prompt.
//! - [`command`]: one command and its answer.
//! - [`dialogue`]: one command at a time, its answer, and what comes unasked in between.
//! - [`urc`]: what modems say unasked (unsolicited result codes).
//! - [`answers`], [`storage`]: what answers mean, read tolerantly.
//! - [`errors`]: every `+CMS ERROR` and `+CME ERROR` with a sentence, and what to do about it.
//!
//! This room has no port, no clock and no thread: octets and times are arguments, what is to be written comes out as a
//! value. The modem is not trusted: everything is bounded, and no octets make it panic. It knows the commands of
//! 3GPP TS 27.005 and 27.007 in PDU mode and ITU-T V.250's line discipline, and what real modems make of them.
//!
//! ```
//! use rapidsms::modem::{Command, Dialogue, Happening, answers};
//! use std::time::Duration;
//!
//! let mut dialogue = Dialogue::new();
//! let start = Duration::ZERO; // of any clock that does not jump
//! dialogue.open(start); // says what to write: ESC, in case the modem was left waiting for a text
//! let quiet = dialogue.deadline().unwrap_or(start);
//! dialogue.tick(quiet); // a question: is anybody there?
//! assert_eq!(dialogue.read(b"\r\n+CMEE: 0\r\n\r\nOK\r\n", quiet), [Happening::Ready]);
//!
//! let octets = dialogue.send(Command::new("AT+CSQ"), quiet).expect("it is ready");
//! assert_eq!(octets, b"AT+CSQ\r");
//! let happened = dialogue.read(b"\r\n+CSQ: 15,99\r\n\r\nOK\r\n", quiet);
//! let [Happening::Answer(answer)] = &happened[..] else { panic!("{happened:?}") };
//! assert_eq!(answers::signal(&answer.lines).and_then(|signal| signal.dbm), Some(-83));
//! ```

pub mod answers;
pub mod command;
pub mod dialogue;
pub mod errors;
pub mod line;
pub mod storage;
pub mod urc;

mod meaning;
mod pending;
mod regain;
mod waiting;

pub use command::{Answer, Command, Outcome};
pub use dialogue::{Busy, Dialogue, Happening};
pub use errors::{Class, ModemError};
pub use urc::Urc;
