//! What has been found out about the modem and its SIM, and one sentence of it for people.

use crate::modem::answers::{Operator, Registration, Signal};

/// How new messages are announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Routing {
    /// 1: stored, then `+CMTI`. 2: handed over directly as `+CMT`. 3: by class.
    pub messages: u8,
    /// 0: no reports. 1: handed over directly as `+CDS`. 2: stored, then `+CDSI`.
    pub reports: u8,
}

/// What is known; unknown until asked.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Who made it.
    pub make: Option<String>,
    /// Which model.
    pub model: Option<String>,
    /// The device's number.
    pub imei: Option<String>,
    /// The subscriber's number.
    pub imsi: Option<String>,
    /// The card's number.
    pub iccid: Option<String>,
    /// The radio is off, or limited.
    pub radio_off: bool,
    /// The SIM said that it wants its PIN.
    pub pin_wanted: bool,
    /// The PIN was given, this time.
    pub pin_given: bool,
    /// How many wrong PINs the SIM would still take.
    pub pin_tries: Option<u8>,
    /// A message that comes directly waits for our acknowledgement (`+CNMA`, phase 2+).
    pub acknowledges: bool,
    /// Storages that messages can be read from.
    pub readable: Vec<String>,
    /// Storages that new messages may be put into.
    pub receiving: Vec<String>,
    /// The storage that reading and deleting refer to just now.
    pub current: Option<String>,
    /// The storage that messages are written to and sent from, where the modem took it together with the others.
    pub writing: Option<String>,
    /// Ways of announcing that are worth trying, best first, as the arguments of `AT+CNMI=`.
    pub routings: Vec<String>,
    /// The one that the modem took; without one the storages are looked through more often.
    pub routing: Option<Routing>,
    /// The arguments with which the modem took it.
    pub routing_arguments: Option<String>,
    /// The service center's number in the SIM.
    pub service_center: Option<String>,
    /// The last one that was in it: what a modem loses in mid-life is put back.
    pub known_center: Option<String>,
    /// Whether it is in a network; `None` also when the modem does not say.
    pub registration: Option<Registration>,
    /// How strong the signal is.
    pub signal: Option<Signal>,
    /// The network's name.
    pub operator: Option<Operator>,
    /// The card's balance, in the network's words.
    pub balance: Option<String>,
}

impl Facts {
    /// Whether messages can be sent: a modem that never says whether it is registered is believed to be.
    pub fn may_send(&self) -> bool {
        self.registration.as_ref().is_none_or(Registration::is_registered)
    }

    /// The state of the modem in a sentence: `registered, home network: Safaricom; signal 4 of 5 (-75 dBm); huawei E173`.
    pub fn sentence(&self) -> String {
        let mut words = match &self.registration {
            Some(registration) => registration.sentence().to_string(),
            None => "ready, the modem does not say in which network".to_string(),
        };
        if let Some(name) = self.operator.as_ref().and_then(|operator| operator.name.as_ref()) {
            words.push_str(&format!(": {name}"));
        }
        if let Some(signal) = &self.signal {
            match signal.dbm {
                Some(dbm) => words.push_str(&format!("; signal {} of 5 ({dbm} dBm)", signal.bars)),
                None => words.push_str("; signal unknown"),
            }
        }
        if let Some(balance) = &self.balance {
            words.push_str(&format!("; balance {balance}"));
        }
        if self.routing.is_none() {
            words.push_str("; the modem announces no messages, so they are looked for");
        }
        if let Some(name) = self.name() {
            words.push_str(&format!("; {name}"));
        }
        words
    }

    /// Make and model.
    pub fn name(&self) -> Option<String> {
        let words: Vec<&str> = [&self.make, &self.model].into_iter().flatten().map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}
