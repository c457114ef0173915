//! What settings may say: the engines, the apps and the keys of each, as plain data.
//!
//! The reader (`read`) knows no engine and no app by name; it is given a [`Catalogue`]. The registry makes that of a program
//! from its engines and apps and from [`Catalogue::recognised`]: names of the older systems, so that their settings
//! work as they are, and engines that this build does not have. [`Catalogue::mappings`] prints them all.

use std::time::Duration;

use super::fault::nearest;
use super::known;

/// What a setting's value must be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// A time: text with units (`"48h"`, `"10 s"`, `"500ms"`, `"1h 30m"`) or a number of seconds.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A number of bytes: text with a unit (`"64 KiB"`, `"1 MB"`) or a number.
    Size {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A file; a relative path starts at the settings file's folder.
    Path,
    /// An http or https address; it may hold templates such as `%(text)s`.
    Url,
    /// See [`super::Secret`].
    Secret,
    /// One of these words; capitals do not matter.
    OneOf(&'static [&'static str]),
    /// A list of texts; a single text is a list of one.
    TextList,
    /// Pairs: `[["en", "English"], ["fr", "French"]]` or a table `{ en = "English" }`.
    Pairs,
    /// A table of names and plain values; secret references are allowed.
    Table,
    /// `false` for off, else the inner kind.
    OrOff(&'static Kind),
    /// Whatever it is, its reader looks at it.
    Any,
    /// A key of the older systems that is accepted and has no effect; the text says why.
    Ignored(&'static str),
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name, as the documents write it; compared without regard to case.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Must it be given?
    pub required: bool,
    /// The value when it is not given, as a person would write it.
    pub default: Option<&'static str>,
    /// What it does, in a few words.
    pub about: &'static str,
    /// A value to show as an example when there is no default.
    pub example: Option<&'static str>,
    /// Other words that people try for it; they are not accepted, but lead to the right one.
    pub also: &'static [&'static str],
    /// Keys of which one does instead, where it must be given.
    pub unless: &'static [&'static str],
    /// No two tables of one engine may have the same value. A text that is a path is compared by the file that it leads to.
    pub unique: bool,
}

impl Key {
    /// A key that may be left out and then has no value.
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Key {
        Key {
            name,
            kind,
            required: false,
            default: None,
            about,
            example: None,
            also: &[],
            unless: &[],
            unique: false,
        }
    }

    /// A key of the older systems that has no effect.
    pub const fn ignored(name: &'static str, why: &'static str) -> Key {
        Key::new(name, Kind::Ignored(why), why)
    }

    /// The same key, with the value that it has when it is left out.
    pub const fn or(self, default: &'static str) -> Key {
        Key { default: Some(default), ..self }
    }

    /// The same key, with a value to show as an example.
    pub const fn such_as(self, example: &'static str) -> Key {
        Key { example: Some(example), ..self }
    }

    /// The same key, with other words that people try for it.
    pub const fn also(self, also: &'static [&'static str]) -> Key {
        Key { also, ..self }
    }

    /// The same key, which may be left out when one of these is given.
    pub const fn unless(self, unless: &'static [&'static str]) -> Key {
        Key { unless, ..self }
    }

    /// The same key, whose value two tables of one engine may not share.
    pub const fn unique(self) -> Key {
        Key { unique: true, ..self }
    }

    /// The same key, which must be given.
    pub const fn required(self) -> Key {
        Key { required: true, ..self }
    }
}

/// A kind of line (`bucket`, `gsm`), or a host for apps in other languages (`python`).
#[derive(Clone, Copy, Debug)]
pub struct EngineSpec {
    /// The short name.
    pub name: &'static str,
    /// Dotted names of the older systems; a class name may follow each.
    pub aliases: &'static [&'static str],
    /// Its own keys, besides those that every backend has.
    pub keys: &'static [Key],
    /// Is it in this build? If not, its settings are checked and the backend is parked.
    pub built: bool,
    /// Does it reach nobody but a person at a tester page?
    pub tester: bool,
    /// What it is, in a few words.
    pub about: &'static str,
}

/// An app in the box.
#[derive(Clone, Copy, Debug)]
pub struct AppSpec {
    /// The short name.
    pub name: &'static str,
    /// Dotted names of the older systems; a class name may follow each.
    pub aliases: &'static [&'static str],
    /// What `[APPS.name]` may say.
    pub keys: &'static [Key],
    /// What it does, in a few words.
    pub about: &'static str,
}

/// An entry of an older `INSTALLED_APPS` that is no app here.
#[derive(Clone, Copy, Debug)]
pub struct OldApp {
    /// The dotted name; a last part `*` stands for any.
    pub name: &'static str,
    /// Why nothing is installed for it.
    pub why: &'static str,
    /// Did it do something for the people who send messages, which this build does not do?
    pub missed: bool,
}

/// All that settings may name.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The engines of backends.
    pub engines: Vec<EngineSpec>,
    /// The apps in the box.
    pub apps: Vec<AppSpec>,
    /// The hosts of apps in other languages, for `[APPS.name] ENGINE = ...`.
    pub hosts: Vec<EngineSpec>,
    /// Names that are accepted in INSTALLED_APPS without being apps here.
    pub old_apps: Vec<OldApp>,
}

/// A name that is understood, and what it means here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mapping {
    /// `engine` or `app`.
    pub of: &'static str,
    /// The name as it may be written.
    pub written: String,
    /// What it stands for: a short name, or the reason why it is not needed.
    pub means: String,
    /// Is that in this build?
    pub built: bool,
}

impl Catalogue {
    /// What is known without any engine or app of this build: old names, and engines that are recognised only.
    pub fn recognised() -> Catalogue {
        Catalogue {
            engines: known::ENGINES.to_vec(),
            apps: Vec::new(),
            hosts: known::HOSTS.to_vec(),
            old_apps: known::OLD_APPS.to_vec(),
        }
    }

    /// The tables with fixed keys, each with its title: what every file may say.
    pub fn fixed_tables(&self) -> [(&'static str, &'static [Key]); 9] {
        [
            ("the settings", known::TOP),
            ("[database]", known::DATABASE),
            ("[web]", known::WEB),
            ("[router]", known::ROUTER),
            ("[INSTALLED_BACKENDS.name]", known::BACKEND),
            ("[GROUPS.name]", known::GROUP),
            ("[kannel_server]", known::KANNEL_SERVER),
            ("[kannel_server.users.name]", known::KANNEL_USER),
            ("[APPS.name]", known::HOSTED_APP),
        ]
    }

    /// The engine that is meant by a short or dotted name.
    pub fn engine(&self, written: &str) -> Option<&EngineSpec> {
        find(&self.engines, written, |engine| (engine.name, engine.aliases))
    }

    /// The host that is meant by the ENGINE of an app.
    pub fn host(&self, written: &str) -> Option<&EngineSpec> {
        find(&self.hosts, written, |host| (host.name, host.aliases))
    }

    /// The app in the box that is meant by a short or dotted name.
    pub fn app(&self, written: &str) -> Option<&AppSpec> {
        find(&self.apps, written, |app| (app.name, app.aliases))
    }

    /// The entry for a name that is accepted although it is no app here.
    pub fn old_app(&self, written: &str) -> Option<&OldApp> {
        let written = written.to_lowercase();
        let exact = self.old_apps.iter().find(|old| old.name == written);
        exact.or_else(|| {
            self.old_apps.iter().find(|old| {
                let stem = old.name.strip_suffix(".*");
                stem.and_then(|stem| written.strip_prefix(stem)).is_some_and(|rest| rest.starts_with('.'))
            })
        })
    }

    /// The engine's name that a misspelt one probably meant.
    pub fn nearest_engine(&self, written: &str) -> Option<&'static str> {
        nearest(
            written,
            self.engines.iter().flat_map(|e| std::iter::once(e.name).chain(e.aliases.iter().copied())),
        )
    }

    /// The app's name that a misspelt one probably meant.
    pub fn nearest_app<'a>(&self, written: &str, own: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let names =
            self.apps.iter().flat_map(|app| std::iter::once(app.name).chain(app.aliases.iter().copied()));
        let old = self.old_apps.iter().map(|old| old.name);
        nearest(written, names.chain(own).chain(old))
    }

    /// Every name that is understood, for `rapidsms check` to print.
    pub fn mappings(&self) -> Vec<Mapping> {
        let row = |of, written: &str, means: &str, built| Mapping {
            of,
            written: written.to_owned(),
            means: means.to_owned(),
            built,
        };
        let mut rows = Vec::new();
        for engine in &self.engines {
            let names = std::iter::once(&engine.name).chain(engine.aliases);
            rows.extend(names.map(|name| row("engine", name, engine.name, engine.built)));
        }
        for app in &self.apps {
            let names = std::iter::once(&app.name).chain(app.aliases);
            rows.extend(names.map(|name| row("app", name, app.name, true)));
        }
        rows.extend(self.old_apps.iter().map(|old| row("app", old.name, old.why, false)));
        rows
    }

    /// [`Catalogue::mappings`] as a table for people.
    pub fn mappings_as_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from(
            "The names that ENGINE and INSTALLED_APPS understand. Capitals do not matter, and a class\nname may follow a dotted name (rapidsms.backends.gsm.GsmBackend).\n\n",
        );
        for Mapping { of, written, means, built } in self.mappings() {
            let known = self.engine(&means).is_some() || self.app(&means).is_some();
            let remark = match (known, built) {
                (true, false) => " (not in this build)",
                _ => "",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{of:<7} {written:<52} {means}{remark}");
        }
        text
    }
}

fn find<'a, T>(
    list: &'a [T],
    written: &str,
    names: impl Fn(&T) -> (&'static str, &'static [&'static str]),
) -> Option<&'a T> {
    let lower = written.trim().to_lowercase();
    let exact = |wanted: &str| {
        list.iter().find(|item| {
            let (name, aliases) = names(item);
            name == wanted || aliases.contains(&wanted)
        })
    };
    exact(&lower).or_else(|| {
        let (module, class) = written.trim().rsplit_once('.')?;
        let is_class = class.starts_with(|first: char| first.is_ascii_uppercase());
        let found = is_class.then(|| exact(&module.to_lowercase())).flatten()?;
        let dotted = module.contains('.');
        dotted.then_some(found)
    })
}
