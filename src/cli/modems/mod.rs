//! `rapidsms modems`: which modems are there, how they are, and the settings for them.
//!
//! It is polite. Without being told it asks known modems only, opens nothing that somebody else has open, changes nothing in a modem and
//! never tries a PIN. A modem that the running router uses is described by the router.
//!
//! | file | is |
//! |---|---|
//! | `interview` | the questions and what the answers mean: pure |
//! | `tty`, `rounds` | a port, and all of them side by side |
//! | `report` | what is told, as cards or JSON |
//! | `block` | the settings for a modem, and how they get into the file |

mod block;
mod interview;
mod report;
mod rounds;
mod tty;

use super::arguments::Modems;
use super::backends;
use super::print::{Out, say};
use super::{Ended, Exit, Failure, Place};
use crate::devices::{Device, Identity, Kind, Machine, Role};
use crate::settings::{BackendSettings, Settings};
use report::{Found, State, Used};
use serde_json::Value;
use std::path::PathBuf;

/// Runs the command.
pub(super) fn run(place: &Place, wanted: &Modems) -> Ended {
    let settings = settings(place, wanted)?;
    let machine = Machine::here();
    let mut found = look(&machine, wanted);
    if let Some(settings) = &settings {
        find_users(&machine, settings, &mut found);
    }
    let plans: Vec<Vec<usize>> = found.iter_mut().map(|one| plan(&machine, one, wanted)).collect();
    ask(&machine, &mut found, &plans, wanted.baud)?;
    if let Some(settings) = &settings {
        find_users_by_answers(settings, &mut found);
    }
    let engine = place.registry.catalogue().engine("gsm").copied();
    let taken: Vec<&str> =
        settings.iter().flat_map(|all| &all.backends).map(|one| one.name.as_str()).collect();
    block::propose(&mut found, engine.as_ref(), &taken, wanted.write.as_deref());

    let mut out = Out::new();
    if wanted.udev {
        report::udev_rules(&mut out, &found)?;
        out.end()?;
        return Ok(Exit::Ok);
    }
    if wanted.output.json {
        out.json(&found)?;
    } else {
        report::cards(&mut out, &found, wanted)?;
    }
    out.end()?;
    if !wanted.output.json {
        report::remarks(&found, wanted);
    }
    match &wanted.write {
        Some(name) => block::write(place, name, &found, engine.as_ref()),
        // Whoever names a port wants to know about it; a look around has no wrong answer.
        None if !wanted.ports.is_empty()
            && found.iter().any(|one| one.modem.is_none() && one.used.is_none()) =>
        {
            Ok(Exit::Failed)
        }
        None => Ok(Exit::Ok),
    }
}

/// The settings are of use here (who uses which modem), not needed: often there are none yet.
fn settings(place: &Place, wanted: &Modems) -> Result<Option<Settings>, Failure> {
    match place.load() {
        Ok((_, loaded)) => Ok(Some(loaded.settings)),
        Err(error) if wanted.write.is_some() => Err(error.into()),
        Err(error) if place.named.is_some() => Err(error.into()),
        Err(error) => {
            // That there is no file is usual; that one is wrong is worth a word.
            if error.faults.iter().any(|fault| fault.line.is_some()) {
                say("the settings have faults and were not looked at: see `rapidsms check`");
            }
            Ok(None)
        }
    }
}

/// What is there, or what was named.
fn look(machine: &Machine, wanted: &Modems) -> Vec<Found> {
    let all = machine.devices();
    // A name by serial number means one stick only if no other has the same.
    let twin = |device: &Device| {
        let same = all.iter().filter(|other| other.serial == device.serial && other.ids() == device.ids());
        same.count() > 1
    };
    let mut found: Vec<Device> = Vec::new();
    if wanted.ports.is_empty() {
        found.extend(all.iter().cloned().chain(machine.portless()));
    }
    for port in &wanted.ports {
        // What goes into a settings file must not depend on where this was typed.
        let port = std::path::absolute(port).unwrap_or_else(|_| port.clone());
        for device in machine.find(&Identity::Port(port)) {
            // Two ports of one stick are one modem: its card has both.
            match found.iter_mut().find(|other| device.usb.is_some() && other.usb == device.usb) {
                Some(other) => other.ports.extend(device.ports),
                None => found.push(device),
            }
        }
    }
    found.into_iter().map(|device| Found::new(twin(&device), device)).collect()
}

/// Which backends use which device, as far as that is known without asking it.
fn find_users(machine: &Machine, settings: &Settings, found: &mut [Found]) {
    let running = match backends::running(settings) {
        Ok(running) => running,
        Err(failure) => {
            say(format_args!("warning: {}", failure.sentence));
            None
        }
    };
    for backend in settings.backends.iter().filter(|backend| backend.engine == "gsm") {
        for identity in identities(backend).into_iter().filter(|identity| !identity.must_be_asked()) {
            for device in machine.find(&identity) {
                let same = |one: &&mut Found| {
                    let port =
                        |path: &PathBuf| one.device.ports.iter().any(|port| same_port(&port.path, path));
                    match (&device.usb, &one.device.usb) {
                        (Some(place), Some(other)) => place == other,
                        _ => device.ports.iter().any(|other| port(&other.path)),
                    }
                };
                if let Some(one) = found.iter_mut().find(same) {
                    one.used = Some(used(backend, running.as_deref()));
                }
            }
        }
    }
    // By its numbers a modem is known only to whoever has it open: the router says which backend that is.
    for one in found.iter_mut().filter(|one| one.used.is_none()) {
        let names: Vec<String> =
            one.device.ports.iter().map(|port| port.path.display().to_string()).collect();
        let user = running.iter().flatten().find(|state| {
            let sentence = state.get("sentence").and_then(Value::as_str).unwrap_or_default();
            let mut words = sentence.split(|letter: char| letter.is_whitespace() || ",:;()".contains(letter));
            words.any(|word| names.iter().any(|name| name == word))
        });
        let name = user.and_then(|state| state.get("name")).and_then(Value::as_str);
        let backend = settings.backends.iter().find(|backend| Some(backend.name.as_str()) == name);
        one.used = backend.map(|backend| used(backend, running.as_deref()));
    }
}

/// The same by IMEI, IMSI and ICCID, once they are known.
fn find_users_by_answers(settings: &Settings, found: &mut [Found]) {
    for one in found.iter_mut().filter(|one| one.used.is_none()) {
        let Some(facts) = &one.modem else { continue };
        let is = |identity: &Identity| match identity {
            Identity::Imei(imei) => facts.imei.as_ref() == Some(imei),
            Identity::Imsi(imsi) => facts.imsi.as_ref() == Some(imsi),
            Identity::Iccid(iccid) => facts.iccid.as_ref() == Some(iccid),
            Identity::Port(_) | Identity::Usb(_) | Identity::Serial(_) => false,
        };
        let backends = settings.backends.iter().filter(|backend| backend.engine == "gsm");
        let user = backends.into_iter().find(|backend| identities(backend).iter().any(is));
        one.used = user.map(|backend| used(backend, None));
    }
}

/// Backends that share a modem without having anything in common in the settings: two ports of one stick, or a port and the place of its
/// stick. As far as the modems are plugged in.
pub(super) fn shared(machine: &Machine, settings: &Settings) -> Vec<Shared> {
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut shared = Vec::new();
    for backend in settings.backends.iter().filter(|backend| backend.engine == "gsm") {
        let sure = identities(backend).into_iter().find(|identity| !identity.must_be_asked());
        let Some(device) = sure.and_then(|identity| <[Device; 1]>::try_from(machine.find(&identity)).ok())
        else {
            continue;
        };
        let [device] = device;
        let Some(place) = device.usb.clone().filter(|_| device.kind == Kind::Modem) else { continue };
        match seen.iter().find(|(other, _)| *other == place) {
            Some((_, first)) => shared.push(Shared {
                first: first.clone(),
                second: backend.name.clone(),
                modem: format!("{} at USB {place}", device.title()),
            }),
            None => seen.push((place, backend.name.clone())),
        }
    }
    shared
}

/// Two backends on one modem.
pub(super) struct Shared {
    /// The one that stands first in the settings.
    pub first: String,
    /// The other.
    pub second: String,
    /// The modem, for people.
    pub modem: String,
}

/// How a backend's settings name its modem.
fn identities(backend: &BackendSettings) -> Vec<Identity> {
    type Make = fn(&str) -> Identity;
    const KEYS: [(&str, Make); 6] = [
        ("PORT", |text| Identity::Port(text.into())),
        ("USB", |text| Identity::Usb(text.into())),
        ("USB_SERIAL", |text| Identity::Serial(text.into())),
        ("IMEI", |text| Identity::Imei(text.into())),
        ("IMSI", |text| Identity::Imsi(text.into())),
        ("ICCID", |text| Identity::Iccid(text.into())),
    ];
    let given = KEYS.iter().filter(|(key, _)| backend.options.is_given(key));
    given.filter_map(|(key, make)| backend.options.text(key).map(make)).collect()
}

fn used(backend: &BackendSettings, running: Option<&[Value]>) -> Used {
    let state = running.into_iter().flatten().find(|state| state["name"] == backend.name.as_str());
    let word = |key: &str| state.and_then(|state| state.get(key)).and_then(Value::as_str);
    Used {
        backend: backend.name.clone(),
        state: word("state").unwrap_or("not running").to_string(),
        sentence: word("sentence").unwrap_or_default().to_string(),
    }
}

fn same_port(one: &PathBuf, other: &PathBuf) -> bool {
    one == other
        || matches!((std::fs::canonicalize(one), std::fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// Which ports of it to ask, in order. Why the others are not asked is noted beside them.
fn plan(machine: &Machine, one: &mut Found, wanted: &Modems) -> Vec<usize> {
    let named = !wanted.ports.is_empty();
    let may = match one.device.kind {
        _ if named => true,
        Kind::Modem => true,
        Kind::Adapter | Kind::Unknown => wanted.probe,
        Kind::Other | Kind::Console => false,
    };
    if !may {
        return Vec::new();
    }
    // Whoever holds one port of a stick talks to its modem; talking to it from the side would disturb.
    let whole = one
        .device
        .usb
        .as_ref()
        .and_then(|place| machine.find(&Identity::Usb(place.clone())).into_iter().next());
    let ports = whole.as_ref().map_or(&one.device.ports, |device| &device.ports);
    for port in ports {
        let holders = machine.holders(&port.path);
        let Some(holder) = holders.seen.first() else { continue };
        let router = one.used.is_some() && ["rapidsms", "run_router"].contains(&holder.program.as_str());
        for (own, state) in one.device.ports.iter().zip(&mut one.ports) {
            if same_port(&own.path, &port.path) {
                *state = if router { State::Ours } else { State::Held };
            }
        }
        if !router {
            one.advice.extend(holders.sentence(&port.path, whole.as_ref().or(Some(&one.device))));
        }
        return Vec::new();
    }
    let worth =
        |index: &usize| named || one.device.ports.get(*index).is_some_and(|port| port.role != Role::Silent);
    (0..one.device.ports.len()).filter(worth).collect()
}

fn ask(machine: &Machine, found: &mut [Found], plans: &[Vec<usize>], speed: u32) -> Result<(), Failure> {
    let paths = |(one, plan): (&Found, &Vec<usize>)| -> Vec<PathBuf> {
        plan.iter().filter_map(|index| one.device.ports.get(*index)).map(|port| port.path.clone()).collect()
    };
    let paths: Vec<Vec<PathBuf>> = found.iter().zip(plans).map(paths).collect();
    let answers = rounds::ask(&paths, speed)
        .map_err(|error| Failure::failed(format!("the system gives no way to wait for ports: {error}")))?;
    for ((one, plan), answers) in found.iter_mut().zip(plans).zip(answers) {
        for (index, answer) in plan.iter().zip(answers) {
            take(machine, one, *index, answer);
        }
    }
    Ok(())
}

/// Notes what came of asking a port.
fn take(machine: &Machine, one: &mut Found, index: usize, answer: rounds::Asked) {
    let Some(state) = one.ports.get_mut(index) else { return };
    match answer {
        Err(error) => {
            *state = State::Closed;
            if let Some(port) = one.device.ports.get(index) {
                one.advice.push(machine.why_not(&port.path, &error));
            }
        }
        Ok(heard) => {
            *state = if heard.answers { State::Answers } else { State::Mute };
            if heard.unasked {
                one.unasked.push(index);
            }
            for message in heard.messages {
                one.advice.push(format!(
                    "a message arrived meanwhile that the modem does not keep; read it by `rapidsms pdu decode {message}`"
                ));
            }
            if heard.answers && one.modem.is_none() {
                (one.modem, one.answered_by) = (Some(heard.facts), Some(index));
            }
        }
    }
}

/// The kind as JSON has it.
fn kind_word(device: &Device) -> &'static str {
    match device.kind {
        Kind::Modem => "modem",
        Kind::Adapter => "adapter",
        Kind::Other => "other",
        Kind::Console => "console",
        Kind::Unknown => "unknown",
    }
}
