//! A GSM modem on a serial port: SMS in and out by AT commands in PDU mode.
//!
//! ```toml
//! [INSTALLED_BACKENDS.Zain]
//! ENGINE = "rapidsms.backends.gsm"
//! PORT = "/dev/ttyUSB1"
//! ```
//!
//! - `rules`: what the settings mean.
//! - [`driver`]: everything that is known about modems, without a port: octets, mail and times in, effects out.
//! - `search`, `device`: which port, and the port itself.
//! - `trial`, `others`: of a stick's several ports, the one that announces; `choosing` brings them together, `choice` remembers.
//! - `port`: the thread between the port, the router and the driver.
//! - `pins`: that a PIN was given is remembered, so that it is given once.
//!
//! It never acknowledges or deletes a message before the router has it on disk, never takes the lack of an answer for an
//! answer, and never gives a wrong PIN twice. `docs/gsm.md` is for people who have modems; 3GPP TS 27.005, 27.007 and 23.040 are what it follows.

mod choice;
mod choosing;
mod device;
pub mod driver;
mod others;
mod pins;
mod port;
mod rules;
mod search;
mod trial;

pub use rules::{Balance, Port, Rules};

use super::{Backend, BackendError, Engine, Line};
use crate::message::{Outgoing, Receipt, SendFailure};
use crate::settings::{BackendSettings, EngineSpec};
use choice::PortMemory;
use pins::PinMemory;

/// What the settings know of this engine.
pub const ENGINE: Engine = Engine {
    // One on its way and one at hand, so that the modem never waits for the disk.
    window: 2,
    asks: true,
    splitting: |settings| Rules::of(settings).ok().map(|rules| rules.splitting),
    ..Engine::plain(SPEC, build)
};

const SPEC: EngineSpec = EngineSpec {
    name: "gsm",
    aliases: &["rapidsms.backends.gsm"],
    keys: rules::KEYS,
    built: true,
    tester: false,
    about: "a GSM modem on a serial port",
};

struct Gsm {
    rules: Rules,
    port: Port,
    pins: Option<PinMemory>,
    memory: PortMemory,
}

fn build(settings: &BackendSettings) -> Result<Box<dyn Backend>, BackendError> {
    let mut rules = Rules::of(settings)?;
    let pins = rules.pin.as_ref().map(|pin| PinMemory::of(settings, pin));
    rules.pin_was_tried = pins.as_ref().is_some_and(PinMemory::was_tried);
    let memory = PortMemory::of(settings);
    Ok(Box::new(Gsm { rules, port: Port::of(settings)?, pins, memory }))
}

impl Backend for Gsm {
    fn run(&mut self, line: &Line) -> Result<(), BackendError> {
        port::run(line, self.rules.clone(), &self.port, self.pins.as_ref(), &self.memory)
    }

    fn send(&mut self, _: &Outgoing) -> Result<Receipt, SendFailure> {
        Err(SendFailure::Untried("a modem sends while it runs, and it does not run".into()))
    }
}
