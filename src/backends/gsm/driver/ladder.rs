//! From a port to a modem that receives and sends: the steps of the initialisation, in order, as data.
//!
//! Each step says what it asks, what the answers mean, and what becomes of it when it fails: go on without, try again, start
//! over (`Lost`), or wait for a person (`Refused`). A step that fails is named in the log with what the modem said, so nobody has to guess which.
//!
//! Commands are those of 3GPP TS 27.005 and 27.007; each step names its clause. What makes differ in is in the comments.

use super::super::rules::Rules;
use super::facts::{Facts, Routing};
use super::sim;
use crate::modem::answers;
use crate::modem::{Answer, Class, Command, ModemError, Outcome, storage};
use std::time::Duration;

/// One step.
pub struct Step {
    /// What it is about, for status and log.
    pub name: &'static str,
    /// What it asks; called again with the next number after [`Heard::Next`] and [`Heard::Wait`].
    pub ask: fn(&Rules, &Facts, u32) -> Ask,
    /// What an answer means.
    pub hear: fn(&Rules, &mut Facts, &Answer, u32) -> Heard,
}

/// What a step does.
#[derive(Debug)]
pub enum Ask {
    /// Nothing: on to the next step.
    Skip,
    /// Asks this.
    Command(Command),
    /// Gives the PIN, which is remembered before and never given twice.
    GivePin(Command),
    /// A person must act.
    Refused(String),
}

/// What came of it.
#[derive(Debug)]
pub enum Heard {
    /// On to the next step.
    Done,
    /// The same step once more, at once.
    Next,
    /// The same step after a while, because of this.
    Wait(Duration, String),
    /// On to the next step; this is missing.
    Without(String),
    /// The modem cannot be used now.
    Lost(String),
    /// A person must act.
    Refused(String),
}

/// All steps, in order.
pub const LADDER: &[Step] = &[
    Step { name: "echo off", ask: |_, _, _| ask("ATE0"), hear: |_, _, answer, _| optional(answer) },
    Step { name: "results in words", ask: |_, _, _| ask("ATV1"), hear: |_, _, answer, _| optional(answer) },
    // 27.007 9.1. Numbers, or at least words, instead of a bare ERROR.
    Step {
        name: "error codes",
        ask: error_codes,
        hear: |_, _, answer, nth| first_that_works(answer, nth, 2),
    },
    // 27.007 8.2. A modem that was put to sleep stays so over restarts.
    Step { name: "radio", ask: |_, _, _| ask("AT+CFUN?"), hear: radio_state },
    Step { name: "radio on", ask: radio_on, hear: |_, _, answer, _| optional(answer) },
    // 27.007 5.1 to 5.4: whom we talk to.
    Step { name: "make", ask: |_, _, _| ask("AT+CGMI"), hear: make },
    Step { name: "model", ask: |_, _, _| ask("AT+CGMM"), hear: model },
    Step { name: "IMEI", ask: imei_question, hear: imei },
    // 27.007 8.3: the SIM and its PIN.
    Step { name: "SIM", ask: |_, _, _| sim::ask_pin(), hear: sim::sim_state },
    Step { name: "PIN tries left", ask: sim::pin_tries_question, hear: sim::pin_tries },
    Step { name: "PIN", ask: sim::give_pin, hear: sim::pin_given },
    Step { name: "SIM unlocked", ask: sim::after_pin, hear: sim::sim_unlocked },
    Step { name: "IMSI", ask: |_, _, _| ask("AT+CIMI"), hear: sim::imsi },
    Step { name: "ICCID", ask: sim::iccid_question, hear: sim::iccid },
    // Huawei sticks chatter about their signal several times a second until this.
    Step { name: "chatter off", ask: chatter_off, hear: |_, _, answer, _| optional(answer) },
    Step { name: "init strings", ask: init_string, hear: init_answer },
    // 27.005 3.2.3: PDU mode. Without it nothing works.
    Step { name: "PDU mode", ask: |_, _, _| ask("AT+CMGF=0"), hear: pdu_mode },
    // 27.005 3.2.1: phase 2+, in which what comes directly is ours to acknowledge.
    Step { name: "message service", ask: |_, _, _| ask("AT+CSMS=1"), hear: message_service },
    // 27.005 3.2.2: where messages lie.
    Step { name: "storages", ask: |_, _, _| ask("AT+CPMS=?"), hear: storages },
    Step { name: "storage for new messages", ask: set_storages, hear: storages_set },
    // 27.005 3.4.1: how new messages are announced. Refused in many ways, so several are tried and the result is looked at.
    Step { name: "routings", ask: |_, _, _| ask("AT+CNMI=?"), hear: routing_choices },
    Step { name: "routing", ask: set_routing, hear: routing_set },
    Step { name: "routing in force", ask: routing_question, hear: routing_in_force },
    // 27.005 3.3.1: the service center, without which nothing can be sent.
    Step { name: "service center", ask: |_, _, _| ask("AT+CSCA?"), hear: service_center },
    Step { name: "service center of the settings", ask: set_service_center, hear: service_center_set },
    // 27.007 7.2 and 10.1.22: news of the network.
    Step { name: "network news", ask: |_, _, _| ask("AT+CREG=1"), hear: |_, _, answer, _| optional(answer) },
    Step { name: "LTE news", ask: |_, _, _| ask("AT+CEREG=1"), hear: |_, _, _, _| Heard::Done },
    // 27.007 7.6: who calls.
    Step { name: "callers", ask: callers, hear: |_, _, answer, _| optional(answer) },
];

/// Setting the radio to full function makes some modems log in anew before they answer.
const RADIO_TIME: Duration = Duration::from_secs(60);
/// A SIM is busy for seconds after the start of its modem, rarely for a minute.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(2);
pub(super) const BUSY_TRIES: u32 = 30;

pub(super) fn ask(text: &str) -> Ask {
    Ask::Command(Command::new(text))
}

/// What the modem said, for people.
pub(super) fn said(answer: &Answer) -> String {
    match &answer.outcome {
        Outcome::Ok | Outcome::Assumed if answer.lines.is_empty() => "OK and nothing else".into(),
        Outcome::Ok | Outcome::Assumed => answer.lines.join(" / ").chars().take(200).collect(),
        Outcome::Error(error) => error.to_string(),
        Outcome::Call(text) => text.clone(),
        Outcome::NoPrompt | Outcome::TimedOut => "no answer".into(),
    }
}

fn optional(answer: &Answer) -> Heard {
    if answer.is_ok() { Heard::Done } else { Heard::Without(said(answer)) }
}

fn first_that_works(answer: &Answer, nth: u32, ways: u32) -> Heard {
    if answer.is_ok() {
        Heard::Done
    } else if nth + 1 < ways {
        Heard::Next
    } else {
        Heard::Without(said(answer))
    }
}

/// Waits while the SIM is busy; `None` when it is not, or has been for too long.
pub(super) fn busy(answer: &Answer, nth: u32) -> Option<Heard> {
    let busy = matches!(&answer.outcome, Outcome::Error(error) if error.is_busy());
    (busy && nth < BUSY_TRIES).then(|| Heard::Wait(BUSY_WAIT, said(answer)))
}

fn error_codes(_: &Rules, _: &Facts, nth: u32) -> Ask {
    ask(if nth == 0 { "AT+CMEE=1" } else { "AT+CMEE=2" })
}

fn radio_state(_: &Rules, facts: &mut Facts, answer: &Answer, _: u32) -> Heard {
    let state = answers::value(&answer.lines, "+CFUN").and_then(|value| value.split(',').next());
    facts.radio_off = answer.is_ok() && state.is_some_and(|state| state.trim() != "1");
    optional(answer)
}

fn radio_on(_: &Rules, facts: &Facts, _: u32) -> Ask {
    if !facts.radio_off {
        return Ask::Skip;
    }
    Ask::Command(Command::new("AT+CFUN=1").within(RADIO_TIME))
}

fn make(_: &Rules, facts: &mut Facts, answer: &Answer, _: u32) -> Heard {
    facts.make = answers::words(&answer.lines).filter(|_| answer.is_ok());
    Heard::Done
}

fn model(_: &Rules, facts: &mut Facts, answer: &Answer, _: u32) -> Heard {
    facts.model = answers::words(&answer.lines).filter(|_| answer.is_ok());
    Heard::Done
}

fn imei_question(_: &Rules, _: &Facts, nth: u32) -> Ask {
    ask(if nth == 0 { "AT+CGSN" } else { "AT+GSN" })
}

fn imei(rules: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    facts.imei = answers::imei(&answer.lines).filter(|_| answer.is_ok());
    if facts.imei.is_none() && nth == 0 {
        return Heard::Next;
    }
    is_the_one("IMEI", rules.imei.as_deref(), facts.imei.as_deref())
}

/// The port may lead to another modem than the settings mean, because sticks changed places.
pub(super) fn is_the_one(what: &str, wanted: Option<&str>, found: Option<&str>) -> Heard {
    match (wanted, found) {
        (Some(wanted), Some(found)) if wanted != found => {
            Heard::Lost(format!("another one is at this port: its {what} is {found}, not {wanted}"))
        }
        (Some(wanted), None) => {
            Heard::Lost(format!("the modem does not tell its {what}, so it may not be {wanted}"))
        }
        _ => Heard::Done,
    }
}

fn chatter_off(_: &Rules, facts: &Facts, _: u32) -> Ask {
    let huawei = facts.make.as_ref().is_some_and(|make| make.to_ascii_lowercase().contains("huawei"));
    if huawei { ask("AT^CURC=0") } else { Ask::Skip }
}

fn init_string(rules: &Rules, _: &Facts, nth: u32) -> Ask {
    let string = usize::try_from(nth).ok().and_then(|nth| rules.init.get(nth));
    string.map_or(Ask::Skip, |string| ask(string))
}

fn init_answer(rules: &Rules, _: &mut Facts, answer: &Answer, _: u32) -> Heard {
    if !answer.is_ok() {
        log::warn!(
            "backend {}: the modem did not take {:?} of init: {}",
            rules.backend,
            answer.command,
            said(answer)
        );
    }
    Heard::Next
}

fn pdu_mode(_: &Rules, _: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    match busy(answer, nth) {
        Some(wait) => wait,
        None if answer.is_ok() => Heard::Done,
        // Some modems refuse everything about messages until their SIM is read.
        None if nth < 5 => Heard::Wait(BUSY_WAIT, said(answer)),
        None => Heard::Lost(format!("the modem does not take AT+CMGF=0 (PDU mode): {}", said(answer))),
    }
}

fn message_service(_: &Rules, facts: &mut Facts, answer: &Answer, _: u32) -> Heard {
    facts.acknowledges = answer.is_ok();
    optional(answer)
}

/// Broadcasts and what only names others are no storages of messages.
fn is_storage(name: &str) -> bool {
    !matches!(name, "BM" | "TA" | "MT" | "DM" | "")
}

fn storages(rules: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    if let Some(wait) = busy(answer, nth) {
        return wait;
    }
    let choices = storage::storage_choices(&answer.lines).filter(|_| answer.is_ok()).unwrap_or_default();
    let known = |list: Option<&Vec<String>>| {
        let names = list.into_iter().flatten().map(|name| name.to_ascii_uppercase());
        let mut known: Vec<String> = Vec::new();
        for name in names.filter(|name| is_storage(name)).take(8) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        known
    };
    facts.readable = known(choices.first());
    facts.receiving = known(choices.last()).into_iter().filter(|name| name != "SR").collect();
    if !rules.storages.is_empty() {
        facts.receiving = rules.storages.clone();
        for name in &rules.storages {
            if !facts.readable.contains(name) {
                facts.readable.push(name.clone());
            }
        }
    }
    // The SIM first: it stays with its messages when the modem is replaced.
    facts.receiving.sort_by_key(|name| if rules.storages.is_empty() && name != "SM" { 1 } else { 0 });
    if facts.readable.is_empty() {
        facts.readable = vec!["SM".into(), "ME".into()];
        facts.receiving = vec!["SM".into(), "ME".into()];
        return Heard::Without(said(answer));
    }
    Heard::Done
}

/// Three storages at once, two, or one: modems differ in how many they take.
fn set_storages(_: &Rules, facts: &Facts, nth: u32) -> Ask {
    let (storage, width) = (nth / 3, nth % 3);
    let Some(name) = usize::try_from(storage).ok().and_then(|at| facts.receiving.get(at)) else {
        return Ask::Skip;
    };
    let quoted = format!("\"{name}\"");
    let arguments = match width {
        0 => format!("{quoted},{quoted},{quoted}"),
        1 => format!("{quoted},{quoted}"),
        _ => quoted,
    };
    Ask::Command(Command::new(format!("AT+CPMS={arguments}")).ok_may_lack(Duration::from_secs(3)))
}

fn storages_set(_: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    let at = usize::try_from(nth / 3).unwrap_or(usize::MAX);
    if answer.is_ok() {
        facts.current = facts.receiving.get(at).cloned();
        facts.writing = facts.current.clone().filter(|_| nth % 3 < 2);
        return Heard::Done;
    }
    if at + 1 >= facts.receiving.len() && nth % 3 == 2 {
        return Heard::Without(said(answer));
    }
    Heard::Next
}

/// Best first: stored and announced, for what is stored survives everything. Mode 2 keeps what comes while the line is busy; modems
/// that advertise it and refuse it take 1.
fn routing_choices(rules: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    if let Some(wait) = busy(answer, nth) {
        return wait;
    }
    let choices = storage::routing_choices(&answer.lines).filter(|_| answer.is_ok());
    let may = |at: usize, value: u8| {
        choices.as_ref().and_then(|all| all.get(at)).is_none_or(|some| some.contains(&value))
    };
    facts.routings = rules.routing.iter().cloned().collect();
    for messages in [1, 2] {
        // Directly only where we can acknowledge: otherwise a crash loses what the network believes to be delivered.
        if messages == 2 && !facts.acknowledges {
            continue;
        }
        for reports in [2, 1, 0] {
            for mode in [2, 1, 3, 0] {
                for flush in [0, 1] {
                    if may(0, mode) && may(1, messages) && may(3, reports) && may(4, flush) {
                        facts.routings.push(format!("{mode},{messages},0,{reports},{flush}"));
                    }
                }
            }
        }
    }
    facts.routings.truncate(24);
    Heard::Done
}

fn set_routing(_: &Rules, facts: &Facts, nth: u32) -> Ask {
    let routing = usize::try_from(nth).ok().and_then(|nth| facts.routings.get(nth));
    routing.map_or(Ask::Skip, |routing| ask(&format!("AT+CNMI={routing}")))
}

fn routing_set(_: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    // A busy SIM refuses this one, too: the same again.
    let busy = matches!(&answer.outcome, Outcome::Error(error) if error.is_busy());
    let at = usize::try_from(nth).unwrap_or(usize::MAX);
    if busy && facts.routings.len() < 64 {
        if let Some(routing) = facts.routings.get(at).cloned() {
            facts.routings.insert(at, routing);
        }
        return Heard::Wait(BUSY_WAIT, said(answer));
    }
    facts.routing = None;
    if answer.is_ok() {
        facts.routing = facts.routings.get(at).map(|routing| routing_of(routing));
        facts.routing_arguments = facts.routings.get(at).cloned();
        return Heard::Done;
    }
    if at + 1 < facts.routings.len() { Heard::Next } else { Heard::Without(said(answer)) }
}

fn routing_of(arguments: &str) -> Routing {
    let fields = answers::fields(arguments);
    let field = |at: usize| fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0);
    Routing { messages: field(1), reports: field(3) }
}

fn routing_question(_: &Rules, facts: &Facts, _: u32) -> Ask {
    if facts.routing.is_some() { ask("AT+CNMI?") } else { Ask::Skip }
}

fn routing_in_force(_: &Rules, facts: &mut Facts, answer: &Answer, _: u32) -> Heard {
    match storage::routing(&answer.lines).filter(|_| answer.is_ok()) {
        Some(in_force) if in_force.get(1) == Some(&0) => {
            facts.routing = None;
            Heard::Without(format!("AT+CNMI was taken and has no effect: {}", said(answer)))
        }
        _ => Heard::Done,
    }
}

fn service_center(_: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    if let Some(wait) = busy(answer, nth) {
        return wait;
    }
    facts.service_center = answers::service_center(&answer.lines).filter(|_| answer.is_ok());
    match &facts.service_center {
        Some(center) => {
            facts.known_center = Some(center.clone());
            Heard::Done
        }
        None if facts.known_center.is_some() => Heard::Done,
        None => Heard::Without(format!("the SIM has no service center: {}", said(answer))),
    }
}

fn set_service_center(rules: &Rules, facts: &Facts, _: u32) -> Ask {
    match wanted_center(rules, facts) {
        Some(wanted) if facts.service_center.as_ref() != Some(wanted) => Ask::Command(center_command(wanted)),
        _ => Ask::Skip,
    }
}

/// The settings' own, else the one that was in the SIM.
pub fn wanted_center<'a>(rules: &'a Rules, facts: &'a Facts) -> Option<&'a String> {
    rules.service_center.as_ref().or(facts.known_center.as_ref())
}

/// `AT+CSCA` with the type of number behind it, which some modems demand.
pub fn center_command(number: &str) -> Command {
    let kind = if number.starts_with('+') { 145 } else { 129 };
    Command::new(format!("AT+CSCA=\"{number}\",{kind}"))
}

fn service_center_set(rules: &Rules, facts: &mut Facts, answer: &Answer, _: u32) -> Heard {
    if answer.is_ok() {
        facts.service_center = wanted_center(rules, facts).cloned();
        return Heard::Done;
    }
    Heard::Without(said(answer))
}

fn callers(rules: &Rules, _: &Facts, _: u32) -> Ask {
    if rules.watches_calls() { ask("AT+CLIP=1") } else { Ask::Skip }
}

/// Whether an error says that the modem or its SIM has lost what the ladder set.
pub fn needs_ladder(error: &ModemError) -> bool {
    error.class() == Class::Sick
        && !matches!(error, ModemError::Cms(193 | 208 | 209 | 322 | 330 | 340) | ModemError::Cme(20))
}
