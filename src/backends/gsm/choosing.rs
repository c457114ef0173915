//! Of a stick's several ports, the one that announces: while that is not known the others are listened to, and what they say is acted on;
//! then the port in use is changed for the one that announced, if it was another. [`Trial`] decides, [`Others`] listens, [`PortMemory`]
//! remembers; this file tells one what the other found.
//!
//! A port that is changed to is on probation until the modem is initialised there. When it is not, both are used from the next start of the
//! backend on: the first for commands, the other to be listened to.

use super::choice::{Finding, PortMemory, Stick};
use super::device::Device;
use super::driver::{Driver, is_announcement};
use super::others::{Others, Place, Who};
use super::rules::Port;
use super::search::Several;
use super::trial::{Trial, Unannounced, Verdict};
use crate::devices::{Machine, Role};
use crate::message::Name;
use mio::{Events, Registry};
use std::time::Duration;

/// The choice of a port, for as long as the backend runs.
pub struct Choosing<'r> {
    backend: &'r Name,
    memory: &'r PortMemory,
    /// `None` when there is nothing to choose.
    stick: Option<Stick>,
    trial: Trial,
    others: Others,
    /// How many looks through the storages had ended when all ports were listened to.
    settled_at: Option<u64>,
    /// The port will be changed for this one as soon as nothing is under way.
    moving: Option<usize>,
    on_probation: bool,
    /// The port in use has announced: what is found unannounced from now on was lost on its way.
    has_announced: bool,
    /// Advice was given about a port that the settings name.
    advised: bool,
}

impl<'r> Choosing<'r> {
    /// The choice that this stick leaves, from now on.
    pub fn new(
        backend: &'r Name,
        memory: &'r PortMemory,
        several: Option<Several>,
        now: Duration,
    ) -> Choosing<'r> {
        let (stick, trial, mut others) = match several {
            None => (None, Trial::new(true, None), Others::default()),
            Some(several) => (
                Some(several.stick),
                Trial::new(several.is_known, several.avoided),
                Others::new(several.others, several.is_modem),
            ),
        };
        if trial.is_on() {
            others.listen(now);
        }
        Choosing {
            backend,
            memory,
            stick,
            trial,
            others,
            settled_at: None,
            moving: None,
            on_probation: false,
            has_announced: false,
            advised: false,
        }
    }

    /// When [`Choosing::work`] must be called.
    pub fn deadline(&self) -> Option<Duration> {
        self.others.deadline().into_iter().chain(self.trial.deadline()).min()
    }

    /// Whether there may be more to read, of which no poll tells.
    pub fn has_unread(&self) -> bool {
        self.others.have_unread()
    }

    /// Listens to the others, and acts on what they said and on what the driver has found out about `place`, the port in use.
    pub fn work(
        &mut self,
        driver: &mut Driver,
        place: &Place,
        settings: &Port,
        registry: &Registry,
        events: &Events,
        now: Duration,
    ) {
        if self.stick.is_none() {
            return self.advise(driver, place);
        }
        let who = match driver.works() {
            true => Who::Known(driver.facts().imei.as_deref()),
            false => Who::NotYet,
        };
        for (index, urc) in self.others.work(settings, registry, events, who, now) {
            if is_announcement(&urc) {
                self.trial.heard_at(index, now);
            }
            driver.overheard(urc, now);
        }
        if self.on_probation && driver.works() {
            self.on_probation = false;
            self.remember(place, Finding::Announces);
        }
        if self.trial.is_on() && self.settled_at.is_none() && self.others.are_settled() {
            self.settled_at = Some(driver.looks());
        }
        let is_announced = driver.take_announced_here();
        self.has_announced |= is_announced;
        let here = is_announced.then(|| self.trial.heard_here()).flatten();
        let unannounced = self.unannounced(driver);
        for verdict in [here, unannounced, self.trial.tick(now)].into_iter().flatten() {
            self.obey(verdict, driver, place, now);
        }
    }

    /// The port that is to be used instead of `place`, once nothing is under way. The driver is to be opened anew then.
    pub fn change(&mut self, driver: &mut Driver, place: &Place, now: Duration) -> Option<(Place, Device)> {
        if !driver.is_halted() {
            return None;
        }
        self.change_now(driver, place, now)
    }

    /// The same when the port in use is given up in any case.
    pub fn change_now(
        &mut self,
        driver: &mut Driver,
        place: &Place,
        now: Duration,
    ) -> Option<(Place, Device)> {
        let index = self.moving.take()?;
        let Some((new, device)) = self.others.exchange(index, place.clone()) else {
            // It has closed meanwhile; the next message that nobody announces begins the search anew.
            self.others.close_but(None);
            driver.resume(now);
            return None;
        };
        self.others.close_but(None);
        (self.on_probation, self.has_announced) = (true, false);
        log::info!(
            "backend {}: messages are announced at {}, so it is used from now on instead of {}",
            self.backend,
            new.path.display(),
            place.path.display()
        );
        Some((new, device))
    }

    /// The modem could not be initialised, or is mute. Gives why, if that is because the port was changed.
    pub fn was_wrong(&mut self, place: &Place) -> Option<String> {
        if !std::mem::take(&mut self.on_probation) {
            return None;
        }
        self.remember(place, Finding::Avoid);
        Some(format!(
            "{} announces messages, but is no good for commands: both ports will be used, each for what it can do",
            place.path.display()
        ))
    }

    /// The stick is gone: that says nothing about the port.
    pub fn is_gone(&mut self) {
        self.on_probation = false;
    }

    fn unannounced(&mut self, driver: &mut Driver) -> Option<Verdict> {
        if driver.announces() != Some(false) || self.moving.is_some() || self.has_announced {
            return None;
        }
        // One look was under way then, the next is the first that found only what came later.
        let surely = self.settled_at.is_some_and(|looks| driver.looks() >= looks.saturating_add(2));
        let verdict = self.trial.unannounced(if surely { Unannounced::Surely } else { Unannounced::Perhaps });
        if self.trial.is_on() {
            driver.forget_announcements();
        }
        verdict
    }

    fn obey(&mut self, verdict: Verdict, driver: &mut Driver, place: &Place, now: Duration) {
        let (backend, path) = (self.backend, place.path.display());
        match verdict {
            Verdict::Listen => {
                log::info!(
                    "backend {backend}: {path} announces nothing: the stick's other ports are listened to"
                );
                self.memory.forget();
                self.settled_at = None;
                self.others.listen(now);
            }
            Verdict::Stay => {
                log::info!("backend {backend}: {path} announces messages: it stays the port");
                self.others.close_but(None);
                self.remember(place, Finding::Announces);
            }
            Verdict::Move(index) => {
                self.moving = Some(index);
                driver.halt(now);
            }
            Verdict::Keep(index) => {
                log::info!(
                    "backend {backend}: messages are announced at another port than {path}, which is listened to"
                );
                self.others.close_but(Some(index));
            }
            Verdict::SetOnEach => {
                self.settled_at = None;
                if let Some(arguments) = &driver.facts().routing_arguments {
                    self.others.set_routing(arguments);
                }
            }
            Verdict::Nowhere => {
                log::warn!(
                    "backend {backend}: no port of this stick announces messages, so they are looked for; `cnmi` and `init` of the settings may help"
                );
                self.others.close_but(None);
                self.memory.forget();
            }
        }
    }

    fn remember(&self, place: &Place, finding: Finding) {
        if let (Some(stick), Some(interface)) = (&self.stick, place.interface) {
            self.memory.remember(stick, interface, finding);
        }
    }

    /// The settings name the port, so it is not changed; but a person may want to know.
    fn advise(&mut self, driver: &Driver, place: &Place) {
        if self.advised || driver.announces() != Some(false) {
            return;
        }
        self.advised = true;
        let found = Machine::here().device_of(&place.path);
        let several = found
            .filter(|(device, _)| device.ports.iter().filter(|port| port.role != Role::Silent).count() > 1);
        if let Some(usb) = several.and_then(|(device, _)| device.usb) {
            log::warn!(
                "backend {}: {} announces no messages; with usb = {usb:?} instead of PORT the port of this stick that does is found",
                self.backend,
                place.path.display()
            );
        }
    }
}
