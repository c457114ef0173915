//! Settings: one TOML file to plain data, with every fault at once and its place.
//!
//! ```toml
//! INSTALLED_APPS = ["handlers", "echo", "default"]
//!
//! [INSTALLED_BACKENDS.message_tester]
//! ENGINE = "bucket"
//! ```
//!
//! [`find`] says which file, [`load`] reads and checks it. The result is either [`Loaded`] (settings and warnings) or a
//! [`SettingsError`] with *all* faults, each with line, column and advice; nothing is ever half loaded. What may be set is the
//! [`Catalogue`]'s business; the shipped settings.toml shows all of it.
//!
//! This room depends on no other. It never opens a database, a socket or a device, starts nothing and keeps nothing; besides the
//! settings file it reads only the files and variables that the file names as the source of a secret, and follows links to devices. A secret is never part of a fault.
//!
//! Reading order: `catalogue` and `known` (what may be set), `source` and `tree` (text), `table` and `value` (one table), `read`, `apps`,
//! `limits`, `groups`, `kannel_server`, `network` and `unique` (the whole), `options` (what an engine gets), `fault` (what is wrong).

mod apps;
mod catalogue;
mod fault;
mod groups;
mod kannel_server;
mod known;
mod limits;
mod network;
mod options;
mod read;
mod secret;
mod source;
mod table;
mod tree;
mod unique;
mod value;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crate::retry::OnUncertain;
pub use catalogue::{AppSpec, Catalogue, EngineSpec, Key, Kind, Mapping, OldApp};
pub use fault::{Fault, SettingsError, Severity, Snippet};
pub use groups::{Balance, GroupSettings, MemberSettings};
pub use kannel_server::{KannelServer, KannelUser};
pub use limits::Limits;
pub use network::Network;
pub use options::{Digest, Options};
pub use secret::Secret;
pub use source::{LONGEST_FILE, Place};
pub use value::Value;

/// So many faults are reported; the rest is counted.
pub const MOST_FAULTS: usize = 100;

/// The name of the variable that may name the settings file.
pub const SETTINGS_VARIABLE: &str = "RAPIDSMS_SETTINGS";

/// Where the settings file is looked for when nobody named one.
const USUAL_PLACES: [&str; 2] = ["settings.toml", "/etc/rapidsms/settings.toml"];

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The settings file's folder, absolute: where relative paths start.
    pub directory: PathBuf,
    /// What `%(project_name)s` stands for.
    pub project_name: String,
    /// The answer when no app had one, with `%(project_name)s` in it; `None` for silence.
    pub default_response: Option<String>,
    /// The apps in the order in which they see a message. Those with `built: false` are to be left out.
    pub installed_apps: Vec<AppSettings>,
    /// The backends in the order of the file. Those with `built: false` are to be parked.
    pub backends: Vec<BackendSettings>,
    /// Backends that send from one queue, in the order of the file.
    pub groups: Vec<GroupSettings>,
    /// The store.
    pub database: Database,
    /// The web listener.
    pub web: Web,
    /// Kannel's own interface, when it is switched on.
    pub kannel_server: Option<KannelServer>,
    /// The router's rules.
    pub router: RouterSettings,
    /// Code and name of each language that people may choose; never empty unless set so.
    pub languages: Vec<(String, String)>,
    /// The language of people who have not chosen one.
    pub language_code: String,
    /// How much is logged, unless `RUST_LOG` says otherwise.
    pub log_level: log::LevelFilter,
    /// Secrets that are not kept well are errors.
    pub strict: bool,
}

/// One app.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// The short name of an app in the box, or the name of `[APPS.name]`.
    pub name: String,
    /// As `INSTALLED_APPS` has it.
    pub given_name: String,
    /// What runs an app of one's own (`python`, ...); `None` for an app in the box.
    pub host: Option<&'static str>,
    /// Is what it needs in this build?
    pub built: bool,
    /// Its own settings.
    pub options: Options,
    /// Changes when any of the above does.
    pub digest: Digest,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// As it was given, capitals too (`Zain`). No two differ by capitals only.
    pub name: String,
    /// The engine's short name.
    pub engine: &'static str,
    /// As `ENGINE` has it.
    pub given_engine: String,
    /// Is the engine in this build? If not, the backend is parked and its messages are held.
    pub built: bool,
    /// Does it reach nobody but a person at a tester page?
    pub tester: bool,
    /// How incoming messages are handled, when it was said.
    pub handler: Option<Handler>,
    /// Messages that are being sent at one time; `None` leaves it to the engine.
    pub window: Option<usize>,
    /// How long a message is tried.
    pub validity: Duration,
    /// What to do with a message that may or may not have gone out.
    pub on_uncertain: OnUncertain,
    /// How much and how fast it may send.
    pub limits: Limits,
    /// May a tester's message leave by this backend?
    pub allow_test_traffic: bool,
    /// Are loops of two machines stopped? On unless it is a tester.
    pub loop_guard: bool,
    /// A backend that is stuck so long is replaced.
    pub watchdog: Duration,
    /// The engine's own settings (and all of the above).
    pub options: Options,
    /// Changes when anything that concerns this backend does, a secret's value included.
    pub digest: Digest,
}

/// Unchanged at a reload?
impl PartialEq for BackendSettings {
    fn eq(&self, other: &BackendSettings) -> bool {
        self.digest == other.digest
    }
}

/// `HANDLER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The router's own durable queue.
    Queue,
}

/// `[database]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The SQLite file, absolute.
    pub path: PathBuf,
    /// Messages that were finished so long ago are deleted; `None` keeps all.
    pub purge_after: Option<Duration>,
}

/// `[web]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Is there a listener at all?
    pub enabled: bool,
    /// Where it listens; port 0 is any free port.
    pub listen: Vec<SocketAddr>,
    /// What callers must show; always there when an address can be reached from other machines.
    pub token: Option<Secret>,
    /// Names under which the listener may be called, besides its addresses.
    pub hosts: Vec<String>,
    /// The longest request body, in bytes.
    pub body_limit: usize,
    /// How long a request's head may take.
    pub head_timeout: Duration,
    /// How long a whole request may take.
    pub request_timeout: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address; loopback is not limited.
    pub connections_per_address: usize,
}

/// `[router]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterSettings {
    /// How long an outgoing message is tried before it is `expired`.
    pub validity: Duration,
    /// What to do with a message that may or may not have gone out.
    pub on_uncertain: OnUncertain,
    /// How long an app may take that answers later.
    pub app_timeout: Duration,
    /// Messages of one backend that wait for such apps.
    pub max_pending: usize,
    /// How long a longer message waits for its missing parts.
    pub join_within: Duration,
    /// The same text this often ...
    pub loop_repeats: usize,
    /// ... within this time is a loop.
    pub loop_repeats_within: Duration,
    /// So many replies to one connection ...
    pub loop_replies: usize,
    /// ... within this time are a loop.
    pub loop_replies_within: Duration,
}

/// Settings that may be used, and what is worth knowing about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Warnings and notes, in the order of the file.
    pub warnings: Vec<Fault>,
}

/// What reading depends on besides the file's text; tests bring their own.
pub struct Surroundings<'a> {
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Can every user of this machine read the settings file?
    pub readable_by_others: bool,
}

/// The settings file: the one that was named (`--settings`), else `$RAPIDSMS_SETTINGS`, else the first that exists of
/// `./settings.toml` and `/etc/rapidsms/settings.toml`. A file that was named and is not there is an error, not a reason to look on.
pub fn find(named: Option<&Path>) -> Result<PathBuf, SettingsError> {
    find_among(named, std::env::var_os(SETTINGS_VARIABLE), &USUAL_PLACES.map(Path::new))
}

/// [`find`] with the variable's value and the usual places as arguments.
pub fn find_among(
    named: Option<&Path>,
    variable: Option<OsString>,
    usual: &[&Path],
) -> Result<PathBuf, SettingsError> {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let missing = |path: &Path, by: &str| {
        let message = format!("there is no settings file here (named by {by})");
        let help = format!("mend the path, or leave {by} out to use {}", list(usual));
        SettingsError::one(Fault::about_file(path.display().to_string(), message).help(help))
    };
    if let Some(path) = named {
        return if exists(path) { Ok(path.to_path_buf()) } else { Err(missing(path, "--settings")) };
    }
    if let Some(path) = variable {
        return if exists(&path) { Ok(path) } else { Err(missing(&path, "$RAPIDSMS_SETTINGS")) };
    }
    usual.iter().find(|path| exists(path)).map(|path| path.to_path_buf()).ok_or_else(|| {
        let message = format!(
            "no settings file: --settings and ${SETTINGS_VARIABLE} name none, and there is no {}",
            list(usual)
        );
        SettingsError::one(Fault::about_file("", message).help("name one with --settings FILE"))
    })
}

/// Reads and checks a settings file.
pub fn load(path: &Path, catalogue: &Catalogue) -> Result<Loaded, SettingsError> {
    let source = source::read(path)?;
    let readable_by_others = std::fs::metadata(path).is_ok_and(|facts| table::readable_by_others(&facts));
    let variable = |name: &str| std::env::var(name).ok();
    check(source, catalogue, &Surroundings { variable: &variable, readable_by_others })
}

/// Checks the bytes of a settings file; `path` is its name in faults, and its folder is where relative paths start.
pub fn parse(
    bytes: &[u8],
    path: &Path,
    catalogue: &Catalogue,
    surroundings: &Surroundings<'_>,
) -> Result<Loaded, SettingsError> {
    let source = source::decode(path, bytes.to_vec())?;
    check(source, catalogue, surroundings)
}

fn check(
    source: source::Source,
    catalogue: &Catalogue,
    surroundings: &Surroundings<'_>,
) -> Result<Loaded, SettingsError> {
    let source = Arc::new(source);
    let mut faults = Vec::new();
    let root = tree::parse(&source, &mut faults);
    let mut reader = table::Reader {
        source: Arc::clone(&source),
        catalogue,
        surroundings,
        faults,
        errors_beyond: 0,
        remarks_beyond: 0,
        plain_secrets: Vec::new(),
        unsafe_secrets: Vec::new(),
    };
    let settings = root.map(|root| read::settings(&mut reader, &root));
    if let Some(settings) = &settings {
        judge_secrets(&mut reader, settings.strict);
        // Beside errors these would mislead: what is missing may be what could not be read.
        if !reader.faults.iter().any(Fault::is_error) {
            remark_on_emptiness(&mut reader, settings);
        }
    }
    let table::Reader { mut faults, errors_beyond, remarks_beyond, .. } = reader;
    faults.sort_by_key(|fault| (fault.line.unwrap_or(usize::MAX), fault.column));
    // A table that is named twice is checked twice.
    faults.dedup();
    for (severity, beyond) in [(Severity::Error, errors_beyond), (Severity::Note, remarks_beyond)] {
        if beyond > 0 {
            let what = if severity == Severity::Error { "errors" } else { "remarks" };
            let fault = Fault::about_file(source.name(), format!("and {beyond} more {what}"));
            faults.push(Fault { severity, ..fault });
        }
    }
    match settings {
        Some(settings) if !faults.iter().any(Fault::is_error) => Ok(Loaded { settings, warnings: faults }),
        _ => Err(SettingsError { faults }),
    }
}

/// Secrets that other users of the machine could read: a warning, and with `STRICT` an error.
fn judge_secrets(reader: &mut table::Reader<'_>, strict: bool) {
    let mut found = std::mem::take(&mut reader.unsafe_secrets);
    if let (true, Some((key, place))) = (reader.surroundings.readable_by_others, reader.plain_secrets.first())
    {
        let name = reader.source.name();
        let message = match reader.plain_secrets.len() {
            1 => format!("every user of this machine can read {name}, which holds a secret ({key})"),
            many => {
                format!("every user of this machine can read {name}, which holds {many} secrets ({key}, ...)")
            }
        };
        let help = format!("chmod o-r {name}, or name another source: {key} = {{ file = \"PATH\" }}");
        found.push(place.warning(message).help(help));
    }
    if strict {
        found.iter_mut().for_each(|fault| fault.severity = Severity::Error);
    }
    reader.faults.extend(found);
}

/// A router that cannot do anything yet starts all the same, and says what is missing.
fn remark_on_emptiness(reader: &mut table::Reader<'_>, settings: &Settings) {
    let warn = |message: &str, help: &str| {
        let fault = Fault::about_file(reader.source.name(), message).help(help);
        Fault { severity: Severity::Warning, ..fault }
    };
    let mut warnings = Vec::new();
    if settings.backends.is_empty() {
        warnings.push(warn(
            "no backend is configured, so no message can come in",
            "to try the router add two lines: [INSTALLED_BACKENDS.message_tester] and ENGINE = \"bucket\"",
        ));
    }
    if !settings.installed_apps.iter().any(|app| app.built) {
        warnings.push(warn(
            "no app is installed, so nobody answers",
            "for example: INSTALLED_APPS = [\"handlers\", \"echo\", \"default\"]",
        ));
    }
    reader.faults.extend(warnings);
}

fn exists(path: &Path) -> bool {
    // What is there but may not be looked at is for `load` to report.
    !matches!(path.metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn list(paths: &[&Path]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
}
