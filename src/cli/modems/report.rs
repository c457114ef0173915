//! What is told of each device: a card for people, an object for programs.

use super::super::Failure;
use super::super::arguments::Modems;
use super::super::print::{Out, say, shown};
use super::interview::{Facts, READY};
use super::kind_word;
use crate::devices::{Device, Kind, Role};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::path::Path;

/// How a port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nobody asked it.
    NotAsked,
    /// A modem answers.
    Answers,
    /// Nothing sensible comes.
    Mute,
    /// Somebody has it open.
    Held,
    /// The running router has it open.
    Ours,
    /// It could not be opened, or was pulled out.
    Closed,
}

/// Who uses it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Used {
    /// The backend of the settings.
    pub backend: String,
    /// As the running router says, or `not running`.
    pub state: String,
    /// The same, in a sentence.
    pub sentence: String,
}

/// A device and what was found out about it.
#[derive(Debug)]
pub(super) struct Found {
    pub device: Device,
    /// Another one calls itself the same, so a name by serial number may mean either.
    pub twin: bool,
    /// How each of its ports is.
    pub ports: Vec<State>,
    /// Which of them said something unasked.
    pub unasked: Vec<usize>,
    /// Which of them told the facts.
    pub answered_by: Option<usize>,
    pub modem: Option<Facts>,
    pub used: Option<Used>,
    /// The settings for it, under a name that is free.
    pub settings: Option<String>,
    pub advice: Vec<String>,
}

impl Found {
    pub(super) fn new(twin: bool, device: Device) -> Found {
        let ports = vec![State::NotAsked; device.ports.len()];
        let mut found = Found {
            device,
            twin,
            ports,
            unasked: Vec::new(),
            answered_by: None,
            modem: None,
            used: None,
            settings: None,
            advice: Vec::new(),
        };
        if found.device.ports.is_empty() {
            found.advice.push(
                "it shows no serial port: sticks that play a disk need the package usb-modeswitch, those that play a \
                 network card (HiLink) need another mode or firmware"
                    .into(),
            );
        }
        found
    }

    /// The port to use: the one that says what comes unasked, as far as that is known, else the first that answers.
    pub(super) fn best_port(&self) -> Option<usize> {
        let answers = |index: &usize| self.ports.get(*index) == Some(&State::Answers);
        let main = |index: &usize| self.device.ports.get(*index).is_some_and(|port| port.role == Role::Main);
        let spoke = self.unasked.iter().copied().find(answers);
        let all = || 0..self.ports.len();
        all().find(|index| answers(index) && main(index)).or(spoke).or_else(|| all().find(answers))
    }

    /// Whether a port says what comes unasked.
    fn events(&self, index: usize) -> &'static str {
        match self.device.ports.get(index).map(|port| port.role) {
            _ if self.unasked.contains(&index) => "seen",
            Some(Role::Main) => "likely",
            Some(Role::Silent) => "none",
            _ => "unknown",
        }
    }
}

impl Serialize for Found {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |path: &Path| path.display().to_string();
        let device = &self.device;
        let ports: Vec<Value> = device
            .ports
            .iter()
            .zip(&self.ports)
            .enumerate()
            .map(|(index, (port, state))| {
                json!({
                    "path": text(&port.path),
                    "names": port.names.iter().map(|name| text(name)).collect::<Vec<_>>(),
                    "interface": port.interface,
                    "driver": port.driver,
                    "state": state_word(*state),
                    "events": self.events(index),
                })
            })
            .collect();
        json!({
            "title": device.title(),
            "kind": kind_word(device),
            "usb": device.usb,
            "ids": device.ids(),
            "serial": device.serial,
            "ports": ports,
            "port": self.best_port().and_then(|index| device.ports.get(index)).map(|port| text(&port.path)),
            "modem": self.modem,
            "used_by": self.used,
            "settings": self.settings,
            "advice": self.advice,
        })
        .serialize(serializer)
    }
}

/// A card for each modem, and a line for each of the rest.
pub(super) fn cards(out: &mut Out, found: &[Found], wanted: &Modems) -> Result<(), Failure> {
    let named = !wanted.ports.is_empty();
    let (cards, rest): (Vec<&Found>, Vec<&Found>) = found.iter().partition(|one| {
        named || one.device.kind == Kind::Modem || one.modem.is_some() || one.used.is_some()
    });
    for (index, one) in cards.iter().enumerate() {
        if index > 0 {
            out.line("")?;
        }
        card(out, one)?;
    }
    for (index, one) in rest.iter().enumerate() {
        if index == 0 {
            out.line(if cards.is_empty() { "Not asked:" } else { "\nNot asked:" })?;
        }
        let ports: Vec<String> =
            one.device.ports.iter().map(|port| port.path.display().to_string()).collect();
        let states = one.ports.iter().map(|state| state_word(*state));
        let state = states.into_iter().find(|state| *state != "not asked");
        let why = match one.device.kind {
            Kind::Other => "no modem",
            Kind::Console => "the machine's console",
            _ => state.unwrap_or("perhaps a modem: --probe asks it"),
        };
        out.line(shown(&format!("  {}  {}: {why}", ports.join(" "), one.device.title())))?;
    }
    Ok(())
}

/// Rules for udev about the modems that backends use: ModemManager leaves them alone, and their ports have the backends' names.
pub(super) fn udev_rules(out: &mut Out, found: &[Found]) -> Result<(), Failure> {
    let mut any = false;
    for one in found {
        let (Some(used), Some(ignore)) = (&one.used, one.device.ignore_rule()) else { continue };
        let name: String = used
            .backend
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter))
            .collect();
        any = true;
        out.line(shown(&format!("# {}: {}", used.backend, one.device.title())))?;
        out.line(ignore)?;
        let port = one.best_port().or((!one.device.ports.is_empty()).then_some(0));
        let interface = port.and_then(|index| one.device.ports.get(index)?.interface);
        if let (Some(place), Some(interface), false) = (&one.device.usb, interface, name.is_empty()) {
            out.line(format_args!(
                "ACTION!=\"remove\", SUBSYSTEM==\"tty\", SUBSYSTEMS==\"usb\", KERNELS==\"{place}\", \
                 ENV{{ID_USB_INTERFACE_NUM}}==\"{interface:02x}\", SYMLINK+=\"modems/{name}\""
            ))?;
        }
    }
    if any {
        say(
            "save this as /etc/udev/rules.d/78-rapidsms-own.rules, then: udevadm control --reload && udevadm trigger",
        );
    } else {
        say(
            "none of the modems that are plugged in stands in the settings: `rapidsms modems --write NAME` puts one there",
        );
    }
    Ok(())
}

/// What is worth saying besides, to standard error.
pub(super) fn remarks(found: &[Found], wanted: &Modems) {
    for (one, advice) in found.iter().flat_map(|one| one.advice.iter().map(move |advice| (one, advice))) {
        say(shown(&format!("{}: {advice}", one.device.title())));
    }
    if found.is_empty() && wanted.ports.is_empty() {
        say("no serial device is plugged in");
    } else if wanted.ports.is_empty()
        && found.iter().all(|one| one.device.kind != Kind::Modem && one.modem.is_none())
    {
        let probe = if wanted.probe {
            ""
        } else {
            "; `rapidsms modems --probe` asks adapters and unknown devices too"
        };
        say(format_args!("no modem was found{probe}"));
    }
}

fn card(out: &mut Out, one: &Found) -> Result<(), Failure> {
    let device = &one.device;
    let place = device.usb.as_ref().map(|place| format!(" at USB {place}")).unwrap_or_default();
    let ids = device.ids().map(|ids| format!(" ({ids})")).unwrap_or_default();
    out.line(shown(&format!("{}{place}{ids}", device.title())))?;
    let mut row = |title: &str, text: &str| out.line(format!("  {title:<9} {}", shown(text)).trim_end());
    for (index, (port, state)) in device.ports.iter().zip(&one.ports).enumerate() {
        let mut text = format!("{}  {}", port.path.display(), state_word(*state));
        let events = match one.events(index) {
            "seen" => ", says what comes unasked",
            "likely" if *state == State::Answers => ", probably says what comes unasked",
            "none" => " (for diagnosis or positions)",
            _ => "",
        };
        text.push_str(events);
        if let Some(name) = port.names.first() {
            text.push_str(&format!("  = {}", name.display()));
        }
        row(if index == 0 { "ports" } else { "" }, &text)?;
    }
    if let Some(serial) = &device.serial {
        row("serial", serial)?;
    }
    if let Some(facts) = &one.modem {
        row(
            "modem",
            &line([
                facts.make.as_deref(),
                facts.model.as_deref(),
                facts.version.as_deref(),
                facts.imei.as_ref().map(|imei| format!("IMEI {imei}")).as_deref(),
            ]),
        )?;
        row(
            "SIM",
            &line([
                facts.sim.as_deref(),
                facts.number.as_ref().map(|number| format!("number {number}")).as_deref(),
                facts.imsi.as_ref().map(|imsi| format!("IMSI {imsi}")).as_deref(),
                facts.iccid.as_ref().map(|iccid| format!("ICCID {iccid}")).as_deref(),
            ]),
        )?;
        if facts.sim.as_deref() == Some(READY) {
            row(
                "network",
                &line([
                    facts.operator.as_deref(),
                    facts.registration.as_deref(),
                    facts.service_center.as_ref().map(|center| format!("service center {center}")).as_deref(),
                ]),
            )?;
        }
        let signal = match (facts.bars, facts.dbm) {
            (Some(bars), Some(dbm)) => format!("{bars} of 5 bars, {dbm} dBm"),
            _ => "unknown".into(),
        };
        row("signal", &signal)?;
        let storages = facts.storages.iter().map(|one| format!("{} {} of {}", one.name, one.used, one.total));
        let storages: Vec<String> = storages.collect();
        if !storages.is_empty() {
            row("messages", &storages.join(", "))?;
        }
    }
    if let Some(used) = &one.used {
        let colon = if used.sentence.is_empty() { "" } else { ": " };
        row("used by", &format!("backend {}, {}{colon}{}", used.backend, used.state, used.sentence))?;
    }
    if let Some(settings) = &one.settings {
        row("settings", "")?;
        for line in settings.lines() {
            out.line(format_args!("    {}", shown(line)))?;
        }
    }
    Ok(())
}

fn line<'a>(parts: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "unknown".into() } else { parts.join(", ") }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::NotAsked => "not asked",
        State::Answers => "answers",
        State::Mute => "mute",
        State::Held => "held by another program",
        State::Ours => "held by the router",
        State::Closed => "cannot be opened",
    }
}
