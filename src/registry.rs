//! What this program is made of: the engines and apps that settings may name. An embedding program adds its own.
//!
//! ```no_run
//! use rapidsms::registry::Registry;
//!
//! // A program of one's own: the router with one more engine or app, and everything else as it is.
//! let registry = Registry::standard();
//! std::process::exit(rapidsms::cli::main_with(registry));
//! ```

use crate::apps::App;
use crate::apps::{echo::Echo, fallback::Fallback, handlers::Handlers, registration::Registration};
use crate::backends::{ENGINES, Engine};
use crate::hosts::{self, HOSTS};
use crate::phases::Apps;
use crate::settings::{AppSettings, AppSpec, Catalogue, Fault, Settings, SettingsError};

/// An app, as the settings know it.
#[derive(Clone, Copy)]
pub struct AppKind {
    /// Its name and its settings.
    pub spec: AppSpec,
    /// Makes an app of its settings; a fault names the setting that is wrong.
    pub build: fn(&AppSettings, &Settings) -> Result<Box<dyn App>, Fault>,
}

/// The engines and apps that settings may name.
#[derive(Clone)]
pub struct Registry {
    /// The engines.
    pub engines: Vec<Engine>,
    /// The apps.
    pub apps: Vec<AppKind>,
    /// The hosts of apps that are not in the program.
    pub hosts: Vec<hosts::Kind>,
}

/// The apps of this program.
pub const APPS: &[AppKind] = &[
    AppKind { spec: crate::apps::handlers::SPEC, build: |_, _| Ok(Box::new(Handlers::new())) },
    AppKind { spec: crate::apps::registration::SPEC, build: registration },
    AppKind { spec: crate::apps::echo::SPEC, build: |_, _| Ok(Box::new(Echo)) },
    AppKind { spec: crate::apps::fallback::SPEC, build: fallback },
];

impl Registry {
    /// What is in the box.
    pub fn standard() -> Registry {
        Registry { engines: ENGINES.to_vec(), apps: APPS.to_vec(), hosts: HOSTS.to_vec() }
    }

    /// Adds an engine, or replaces the one of the same name.
    pub fn with_engine(mut self, engine: Engine) -> Registry {
        self.engines.retain(|known| known.spec.name != engine.spec.name);
        self.engines.push(engine);
        self
    }

    /// Adds an app, or replaces the one of the same name.
    pub fn with_app(mut self, app: AppKind) -> Registry {
        self.apps.retain(|known| known.spec.name != app.spec.name);
        self.apps.push(app);
        self
    }

    /// What settings may say.
    pub fn catalogue(&self) -> Catalogue {
        let mut catalogue = Catalogue::recognised();
        catalogue.engines.retain(|known| self.engines.iter().all(|engine| engine.spec.name != known.name));
        let engines = self.engines.iter().map(|engine| engine.spec);
        catalogue.engines = engines.chain(catalogue.engines).collect();
        catalogue.apps.extend(self.apps.iter().map(|app| app.spec));
        catalogue.hosts.retain(|known| self.hosts.iter().all(|host| host.spec.name != known.name));
        let hosts = self.hosts.iter().map(|host| host.spec);
        catalogue.hosts = hosts.chain(catalogue.hosts).collect();
        catalogue
    }

    /// The engine of this name.
    pub fn engine(&self, name: &str) -> Option<Engine> {
        self.engines.iter().find(|engine| engine.spec.name == name).copied()
    }

    /// Makes the installed apps, in order. Those that need what is not in this build are left out; the settings have warned of them.
    pub fn build_apps(&self, settings: &Settings) -> Result<Apps, SettingsError> {
        let mut apps = Apps::new();
        let mut faults = Vec::new();
        for installed in settings.installed_apps.iter().filter(|app| app.built) {
            let build = match installed.host {
                Some(host) => self.hosts.iter().find(|kind| kind.spec.name == host).map(|kind| kind.build),
                None => self.apps.iter().find(|kind| kind.spec.name == installed.name).map(|kind| kind.build),
            };
            let Some(build) = build else { continue };
            match build(installed, settings) {
                Ok(app) => apps.push(installed.name.clone(), app),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(apps) } else { Err(SettingsError { faults }) }
    }
}

fn registration(app: &AppSettings, settings: &Settings) -> Result<Box<dyn App>, Fault> {
    let languages = &settings.languages;
    if languages.is_empty() {
        return Ok(Box::new(Registration::default()));
    }
    let names = languages.iter().map(|(code, name)| (code.as_str(), name.as_str()));
    match Registration::new(names) {
        Ok(registration) => Ok(Box::new(registration)),
        Err(error) => Err(app.options.fault("languages", format!("LANGUAGES cannot be used: {error}"))),
    }
}

fn fallback(app: &AppSettings, settings: &Settings) -> Result<Box<dyn App>, Fault> {
    match Fallback::new(settings.default_response.as_deref(), &settings.project_name) {
        Ok(fallback) => Ok(Box::new(fallback)),
        Err(error) => {
            let fault = app.options.fault("default_response", format!("DEFAULT_RESPONSE: {error}"));
            Err(fault.help(error.hint()))
        }
    }
}
