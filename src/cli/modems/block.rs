//! The settings for a modem that was found, and how they get into the settings file: the file's own bytes stay as they are, the block goes
//! behind them, and the file is replaced in one step or not at all.

use super::super::print::say;
use super::super::{Ended, Exit, Failure, Place};
use super::interview::READY;
use super::report::Found;
use crate::settings::{self, EngineSpec, Fault, Surroundings};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Puts a block of settings beside each modem that answered and that no backend uses. The name that was asked for is for the only one.
pub(super) fn propose(
    found: &mut [Found],
    engine: Option<&EngineSpec>,
    taken: &[&str],
    wanted: Option<&str>,
) {
    let mut taken: Vec<String> = taken.iter().map(|name| name.to_lowercase()).collect();
    let alone = found.iter().filter(|one| is_free(one)).count() == 1;
    for one in found.iter_mut().filter(|one| is_free(one)) {
        let operator = one.modem.as_ref().and_then(|facts| facts.operator.as_deref());
        let name = match wanted {
            Some(name) if alone => name.to_string(),
            _ => free_name(operator, &taken),
        };
        one.settings = block(one, &name, engine);
        taken.push(name);
    }
}

/// It answered, and no backend uses it.
fn is_free(one: &Found) -> bool {
    one.modem.is_some() && one.used.is_none()
}

/// Appends the block of the one modem that is meant to the settings file.
pub(super) fn write(place: &Place, name: &str, found: &[Found], engine: Option<&EngineSpec>) -> Ended {
    let file = settings::find(place.named.as_deref())?;
    let free: Vec<&Found> = found.iter().filter(|one| is_free(one)).collect();
    let one = match free.as_slice() {
        [one] => one,
        [] => return Err(nothing_to_write(found)),
        several => {
            let ports = several.iter().filter_map(|one| best_path(one));
            let ports: Vec<String> = ports.map(|path| path.display().to_string()).collect();
            let sentence = format!("{} modems could be meant by --write {name}", several.len());
            return Err(Failure::failed(sentence).hint(format!(
                "name the port: rapidsms modems PORT --write {name}, with one of {}",
                ports.join(", ")
            )));
        }
    };
    let Some(block) = block(one, name, engine) else {
        return Err(Failure::failed("this modem has no port that answers"));
    };
    append(place, &file, name, &block)?;
    say(format_args!("[INSTALLED_BACKENDS.{}] was added to {}", key(name), file.display()));
    say("a running router takes it up by SIGHUP: systemctl reload rapidsms");
    Ok(Exit::Ok)
}

fn nothing_to_write(found: &[Found]) -> Failure {
    match found.iter().find_map(|one| one.used.as_ref()) {
        Some(used) => {
            Failure::failed(format!("the modem stands in the settings already, as {}", used.backend))
        }
        None => Failure::failed("no modem answered, so there is nothing to write")
            .hint("`rapidsms modems` says which ports there are, and who has them open"),
    }
}

/// The settings of a modem; `None` when none of its ports answers.
fn block(one: &Found, name: &str, engine: Option<&EngineSpec>) -> Option<String> {
    let facts = one.modem.as_ref()?;
    let best = one.device.ports.get(one.best_port()?)?;
    let has = |key: &str| {
        engine.is_some_and(|engine| engine.keys.iter().any(|known| known.name.eq_ignore_ascii_case(key)))
    };
    // An engine that finds modems by their place finds them by their numbers too.
    let finds = has("USB");
    let mut lines = Vec::new();
    let about = [facts.make.as_deref(), facts.model.as_deref(), facts.operator.as_deref()];
    let about: Vec<&str> = about.into_iter().flatten().collect();
    if !about.is_empty() {
        let about = about.join(", ");
        lines.push(format!("# {}", about.chars().filter(|letter| !letter.is_control()).collect::<String>()));
    }
    lines.push(format!("[INSTALLED_BACKENDS.{}]", key(name)));
    lines.push("ENGINE = \"gsm\"".into());
    let by_id = best.stable_name().filter(|_| one.device.serial.is_some() && !one.twin);
    match (by_id, &facts.imei, &one.device.usb) {
        (Some(path), _, _) => lines.push(setting("PORT", &path.display().to_string())),
        (None, Some(imei), _) if finds && has("IMEI") => lines.push(setting("IMEI", imei)),
        (None, _, Some(place)) if finds && has("USB") => lines.push(setting("USB", place)),
        _ => {
            let stays =
                best.names.iter().find(|name| Some(name.as_path()) != best.stable_name() || !one.twin);
            lines.push(setting("PORT", &stays.unwrap_or(&best.path).display().to_string()));
            if stays.is_none() && one.device.usb.is_some() {
                lines.push("# This name may change when it is plugged in again.".into());
            }
        }
    }
    match facts.sim.as_deref() {
        Some(READY) if facts.service_center.is_none() && has("service_center") => {
            lines.push("# The SIM has no service center: ask the operator for its number.".into());
            lines.push("# service_center = \"+...\"".into());
        }
        Some(sim) if sim.contains("PIN") && has("PIN") => {
            lines.push("# The SIM wants its PIN. It is tried once; a wrong one is never tried again.".into());
            lines.push("# PIN = { file = \"/etc/rapidsms/pin\" }".into());
        }
        _ => {}
    }
    Some(lines.join("\n") + "\n")
}

fn best_path(one: &Found) -> Option<&Path> {
    Some(one.device.ports.get(one.best_port()?)?.path.as_path())
}

/// The operator's name, or `modem`; with a number when it is taken.
fn free_name(operator: Option<&str>, taken: &[String]) -> String {
    let written = operator.unwrap_or_default().split_whitespace().next().unwrap_or_default().to_lowercase();
    let word: String = written.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    let usable = written.is_ascii() && word.starts_with(|first: char| first.is_ascii_alphabetic());
    let word = if usable { word } else { "modem".into() };
    let mut name = word.clone();
    let mut number = 2;
    while taken.contains(&name) {
        name = format!("{word}{number}");
        number += 1;
    }
    name
}

/// Appends a block, after it was made sure that the whole is right.
fn append(place: &Place, file: &Path, name: &str, block: &str) -> Result<(), Failure> {
    let cannot = |what: &str, error: io::Error| {
        Failure::failed(format!("{}: {what}: {error}; it is as it was", file.display()))
    };
    // A link stays a link: what it leads to is replaced.
    let real = fs::canonicalize(file).map_err(|error| cannot("it cannot be read", error))?;
    let before = fs::read(&real).map_err(|error| cannot("it cannot be read", error))?;
    let catalogue = place.registry.catalogue();
    let settings = settings::load(file, &catalogue)?.settings;
    if let Some(other) = settings.backends.iter().find(|other| other.name.eq_ignore_ascii_case(name)) {
        return Err(Failure::failed(format!(
            "there is a backend {} in {} already",
            other.name,
            file.display()
        ))
        .hint("choose another name"));
    }
    let line_end = if before.windows(2).any(|pair| pair == b"\r\n") { "\r\n" } else { "\n" };
    let mut after = before.clone();
    if !before.is_empty() {
        let ended = before.ends_with(b"\n");
        after.extend(
            if ended {
                line_end
            } else if line_end == "\n" {
                "\n\n"
            } else {
                "\r\n\r\n"
            }
            .bytes(),
        );
    }
    after.extend(block.replace('\n', line_end).bytes());
    let variable = |name: &str| std::env::var(name).ok();
    let surroundings = Surroundings { variable: &variable, readable_by_others: false };
    if let Err(error) = settings::parse(&after, file, &catalogue, &surroundings) {
        let fault = error.faults.iter().find(|fault| fault.is_error());
        let why = fault.map_or_else(String::new, |fault: &Fault| fault.message.clone());
        return Err(Failure::new(
            Exit::Settings,
            format!("with this block the settings would be wrong: {why}"),
        )
        .hint(format!("{} is as it was; add the block by hand:\n\n{block}", file.display())));
    }
    replace(&real, &before, &after).map_err(|error| cannot("it cannot be replaced", error))
}

/// Puts the new content in the place of the old one, which must be the same as it was: on disk before it has the name, with the same owner
/// and permissions.
fn replace(file: &Path, before: &[u8], after: &[u8]) -> io::Result<()> {
    let facts = fs::metadata(file)?;
    let mut beside = file.as_os_str().to_os_string();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = Beside(PathBuf::from(beside));
    let mut new = File::options().write(true).create_new(true).open(&beside.0)?;
    new.set_permissions(Permissions::from_mode(0o600))?;
    new.write_all(after)?;
    // Giving it to its owner needs root; without, it must be ours already.
    let own = new.metadata()?;
    if (own.uid(), own.gid()) != (facts.uid(), facts.gid()) {
        fchown(&new, Some(facts.uid()), Some(facts.gid()))?;
    }
    new.set_permissions(Permissions::from_mode(facts.mode() & 0o7777))?;
    new.sync_all()?;
    if fs::read(file)? != before {
        return Err(io::Error::other("somebody else changed it meanwhile"));
    }
    fs::rename(&beside.0, file)?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// A file that is gone again unless it was renamed.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        // After the renaming there is nothing left to remove.
        let _ = fs::remove_file(&self.0);
    }
}

fn setting(key: &str, value: &str) -> String {
    format!("{key} = {}", toml::Value::String(value.to_string()))
}

/// A table's name: bare when it can be (TOML 1.1, keys), else quoted.
fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-".contains(&octet));
    if bare { name.to_string() } else { toml::Value::String(name.to_string()).to_string() }
}
