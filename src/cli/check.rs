//! `rapidsms check`: everything that would keep the router from starting, all at once. It changes nothing.
//!
//! What is fine is said on standard output, faults on standard error as the router itself would tell them.

use super::arguments::Check;
use super::client::Client;
use super::modems;
use super::print::{Out, counted, say};
use super::{Ended, Exit, Place, reader};
use crate::devices::Machine;
use crate::settings::{self, Fault, Settings, SettingsError, Severity};
use crate::shell;
use crate::store::{Count, Reader, StoreError};
use rustix::fs::{Access, access};
use serde::Serialize;
use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything that was found.
#[derive(Default, Serialize)]
struct Findings {
    /// The settings file.
    file: Option<String>,
    /// Nothing keeps the router from starting.
    ok: bool,
    /// What is wrong or worth knowing.
    faults: Vec<Fault>,
    /// The store, when the settings could be read.
    store: Option<StoreFindings>,
    /// With `--ledger`: what does not agree.
    ledger: Option<Ledger>,
    /// What is fine, for people.
    #[serde(skip)]
    fine: Vec<(&'static str, String)>,
    #[serde(skip)]
    exit: Option<Exit>,
}

#[derive(Serialize)]
struct StoreFindings {
    path: PathBuf,
    exists: bool,
    /// A router has it open.
    in_use: bool,
    messages: u64,
}

#[derive(Serialize)]
struct Ledger {
    balanced: bool,
    /// Each count that the books and the rows do not share.
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Difference {
    #[serde(flatten)]
    of: Key,
    booked: u64,
    counted: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    backend: crate::message::Name,
    direction: crate::message::Direction,
    state: crate::message::State,
}

/// Checks everything and says what it found.
pub(super) fn run(place: &Place, wanted: &Check) -> Ended {
    if wanted.names {
        return names(place, wanted.output.json);
    }
    let mut findings = Findings::default();
    match settings::find(place.named.as_deref()) {
        Err(error) => findings.refuse(error),
        Ok(file) => {
            findings.file = Some(file.display().to_string());
            match settings::load(&file, &place.registry.catalogue()) {
                Err(error) => findings.refuse(error),
                Ok(loaded) => {
                    findings.faults = loaded.warnings;
                    everything_else(&mut findings, &file, &loaded.settings, place, wanted.ledger);
                }
            }
        }
    }
    let exit = findings.exit.unwrap_or(Exit::Ok);
    findings.ok = exit == Exit::Ok;
    let mut out = Out::new();
    if wanted.output.json {
        out.json(&findings)?;
    } else {
        for (what, how) in &findings.fine {
            out.line(format_args!("ok    {what:<9} {how}"))?;
        }
    }
    out.end()?;
    if !wanted.output.json {
        for fault in &findings.faults {
            say(format_args!("{fault}\n"));
        }
        let errors = findings.faults.iter().filter(|fault| fault.is_error()).count();
        if errors > 0 {
            say(format_args!("{}: the router would not start or not work", counted(errors as u64, "error")));
        }
    }
    Ok(exit)
}

fn names(place: &Place, json: bool) -> Ended {
    let catalogue = place.registry.catalogue();
    let mut out = Out::new();
    if json {
        out.json(&catalogue.mappings())?;
    } else {
        out.octets(catalogue.mappings_as_text().as_bytes())?;
    }
    out.end()?;
    Ok(Exit::Ok)
}

impl Findings {
    /// Wrong settings: what depends on them cannot be looked at.
    fn refuse(&mut self, error: SettingsError) {
        self.faults.extend(error.faults);
        self.exit = Some(Exit::Settings);
    }

    /// Something else is wrong. The first kind of fault decides the exit code, for it is the first to be mended.
    fn fault(&mut self, exit: Exit, about: impl std::fmt::Display, message: String, help: &str) {
        self.faults.push(Fault::about_file(about.to_string(), message).help(help));
        self.exit.get_or_insert(exit);
    }

    fn warning(&mut self, about: impl std::fmt::Display, message: String, help: String) {
        let fault = Fault::about_file(about.to_string(), message).help(help);
        self.faults.push(Fault { severity: Severity::Warning, ..fault });
    }
}

fn everything_else(findings: &mut Findings, file: &Path, settings: &Settings, place: &Place, ledger: bool) {
    let backends = counted(settings.backends.len() as u64, "backend");
    let apps = counted(settings.installed_apps.len() as u64, "app");
    findings.fine.push(("settings", format!("{}: {backends}, {apps}", file.display())));
    match place.registry.build_apps(settings) {
        Ok(apps) => findings.fine.push(("apps", apps.names().collect::<Vec<_>>().join(", "))),
        Err(error) => findings.refuse(error),
    }
    backends_themselves(findings, file, settings, place);
    for shared in modems::shared(&Machine::here(), settings) {
        let message =
            format!("backends {} and {} share one modem: {}", shared.first, shared.second, shared.modem);
        let help = "two backends on one modem steal each other's answers: take one of them out";
        findings.fault(Exit::Failed, file.display(), message, help);
    }
    let running = match Client::reach(settings) {
        Ok(client) => client.is_some(),
        Err(failure) => {
            findings.warning(
                settings.database.path.display(),
                failure.sentence,
                failure.hint.unwrap_or_default(),
            );
            true
        }
    };
    if !running {
        addresses(findings, settings);
    }
    store(findings, settings, running, ledger);
}

/// What only an engine can know of its settings. Nothing is opened by asking.
fn backends_themselves(findings: &mut Findings, file: &Path, settings: &Settings, place: &Place) {
    for backend in settings.backends.iter().filter(|backend| backend.built) {
        let Some(engine) = place.registry.engine(backend.engine) else { continue };
        let built = (engine.build)(backend).map(drop);
        let built = built.and_then(|()| engine.intake.map_or(Ok(()), |build| build(backend).map(drop)));
        if let Err(error) = built {
            let message = format!("backend {} would be parked: {error}", backend.name);
            let help = "correct its settings; until then its messages are held";
            findings.fault(Exit::Settings, file.display(), message, help);
        }
    }
}

/// Whether each address could be listened on. A router that runs with these settings has them already.
fn addresses(findings: &mut Findings, settings: &Settings) {
    if !settings.web.enabled {
        return;
    }
    for address in &settings.web.listen {
        match TcpListener::bind(address) {
            Ok(_) => findings.fine.push(("web", format!("{address} can be listened on"))),
            Err(error) => findings.fault(
                Exit::Failed,
                "[web] listen",
                format!("{address} cannot be listened on: {error}"),
                "stop what listens there, or choose another address or port",
            ),
        }
    }
}

fn store(findings: &mut Findings, settings: &Settings, running: bool, ledger: bool) {
    let path = &settings.database.path;
    if !folder(findings, path) {
        return;
    }
    socket(findings, path);
    let exists = path.exists();
    if exists {
        permissions(findings, path);
    }
    let in_use = running || !is_free(findings, path);
    let mut messages = 0;
    match reader(settings) {
        Ok(None) => findings.fine.push(("store", format!("{} will be created", path.display()))),
        Ok(Some(mut reader)) => match reader.tally() {
            Ok(counts) => {
                messages = counts.iter().map(|count| count.count).sum();
                let user = if running { ", a router is running" } else { "" };
                let many = counted(messages, "message");
                findings.fine.push(("store", format!("{}: {many}{user}", path.display())));
                if ledger {
                    audit(findings, path, &mut *reader);
                }
            }
            Err(error) => unusable(findings, path, &error),
        },
        Err(failure) => findings.fault(
            Exit::Store,
            path.display(),
            failure.sentence,
            failure.hint.as_deref().unwrap_or_default(),
        ),
    }
    findings.store = Some(StoreFindings { path: path.clone(), exists, in_use, messages });
}

/// The folder must be there and writable: the store keeps a log, a lock and a reserve beside its file.
fn folder(findings: &mut Findings, path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let shown = folder.display();
    if !folder.is_dir() {
        let help = format!("create it (mkdir -p {shown}), or give [database] url another path");
        findings.fault(Exit::Store, path.display(), format!("the folder {shown} does not exist"), &help);
        return false;
    }
    if let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        let message = format!("the folder {shown} cannot be written: {error}");
        let help = "the store keeps files beside its own; let the user that runs the router write there";
        findings.fault(Exit::Store, path.display(), message, help);
        return false;
    }
    true
}

/// The command line's socket stands beside the store, and the system limits the length of its path (unix(7): 108 octets with the end mark).
fn socket(findings: &mut Findings, path: &Path) {
    let socket = shell::control_socket(path);
    if let Err(error) = SocketAddr::from_pathname(&socket) {
        let message =
            format!("the path of the socket beside it, {}, cannot be used: {error}", socket.display());
        findings.fault(Exit::Failed, path.display(), message, "give [database] url a shorter path");
    }
}

/// Messages are for the router's user only.
fn permissions(findings: &mut Findings, path: &Path) {
    if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK) {
        let message = format!("it cannot be read and written: {error}");
        findings.fault(
            Exit::Store,
            path.display(),
            message,
            "let the user that runs the router own the file",
        );
        return;
    }
    if std::fs::metadata(path).is_ok_and(|facts| facts.mode() & 0o077 != 0) {
        findings.warning(
            path.display(),
            "other users of this machine may read or change the messages in it".to_string(),
            format!("chmod 600 {}", path.display()),
        );
    }
}

/// Whether nobody holds the store's lock. A shared lock, taken for an instant on a file that is already there, tells.
fn is_free(findings: &mut Findings, path: &Path) -> bool {
    let mut lock = path.as_os_str().to_os_string();
    lock.push(".lock");
    let Ok(lock) = File::open(&lock) else { return true };
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            use std::io::Read;
            let _ = (&lock).take(200).read_to_string(&mut holder);
            let holder = holder.lines().next().unwrap_or("another process");
            let message = format!("it is held by {holder}, which is no router that answers here");
            findings.fault(
                Exit::Store,
                path.display(),
                message,
                "stop that process, or wait until it has started",
            );
            false
        }
        // The lock ends with the file's handle, here and now.
        _ => true,
    }
}

fn unusable(findings: &mut Findings, path: &Path, error: &StoreError) {
    findings.fault(Exit::Store, path.display(), error.to_string(), "");
}

/// Conservation (P17): every accepted message stands in exactly one state, in the books and in the rows.
fn audit(findings: &mut Findings, path: &Path, reader: &mut dyn Reader) {
    let (booked, counted_again) = match reader.audit() {
        Ok(both) => both,
        Err(error) => return unusable(findings, path, &error),
    };
    let differences = compare(&booked, &counted_again);
    let balanced = differences.is_empty();
    if balanced {
        let total: u64 = counted_again.iter().map(|count| count.count).sum();
        findings.fine.push(("ledger", format!("{} in the books and in the rows", counted(total, "message"))));
    }
    for Difference { of, booked, counted } in &differences {
        let (backend, direction, state) = (&of.backend, of.direction.as_str(), of.state);
        let message = format!("{backend}, {direction}, {state}: the books say {booked}, the rows {counted}");
        let help = "the file was changed by something else than this program; keep a copy and report it";
        findings.fault(Exit::Store, path.display(), message, help);
    }
    findings.ledger = Some(Ledger { balanced, differences });
}

fn compare(booked: &[Count], counted: &[Count]) -> Vec<Difference> {
    use std::collections::BTreeMap;
    let mut both: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    let key = |count: &Count| Key {
        backend: count.backend.clone(),
        direction: count.direction,
        state: count.state,
    };
    for count in booked {
        both.entry(key(count)).or_default().0 = count.count;
    }
    for count in counted {
        both.entry(key(count)).or_default().1 = count.count;
    }
    let unequal = both.into_iter().filter(|(_, (booked, counted))| booked != counted);
    unequal.map(|(of, (booked, counted))| Difference { of, booked, counted }).collect()
}
