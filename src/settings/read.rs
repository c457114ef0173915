//! The whole file: from the tree to [`Settings`], with what concerns more than one key.

use std::net::SocketAddr;

use super::catalogue::{EngineSpec, Key};
use super::fault::{nearest, quote};
use super::known;
use super::options::{Digest, Options};
use super::source::{Place, Show};
use super::table::Reader;
use super::tree::{Entry, Node, Raw, Table, title_of};
use super::unique;
use super::value::Value;
use super::{BackendSettings, Database, Handler, OnUncertain, RouterSettings, Settings, Web};

/// A backend's or app's name is at most this long (in characters); it stands in addresses, logs and pages.
const LONGEST_NAME: usize = 64;

/// A token shorter than this can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Reads everything; faults are left in the reader, and the result counts only when none of them is an error.
pub(super) fn settings(reader: &mut Reader<'_>, root: &Table) -> Settings {
    let top_place = Place::new(&reader.source, 0..0, Show::Line);
    let top = reader.options("the settings", &top_place, root, &[known::TOP]);
    let router = router(reader, root, &top_place);
    let web = web(reader, root, &top_place);
    Settings {
        directory: reader.source.directory().to_path_buf(),
        project_name: top.text("PROJECT_NAME").unwrap_or_default().to_owned(),
        default_response: default_response(reader, &top),
        installed_apps: super::apps::installed(reader, root),
        backends: backends(reader, root, &router),
        groups: super::groups::groups(reader, root),
        database: database(reader, root, &top_place),
        kannel_server: super::kannel_server::kannel_server(
            reader,
            root,
            if web.enabled { &web.listen } else { &[] },
        ),
        web,
        languages: languages(reader, &top),
        language_code: top.text("LANGUAGE_CODE").unwrap_or_default().to_owned(),
        log_level: match top.text("LOG_LEVEL") {
            Some("trace") => log::LevelFilter::Trace,
            Some("debug") => log::LevelFilter::Debug,
            Some("warn" | "warning") => log::LevelFilter::Warn,
            Some("error" | "critical") => log::LevelFilter::Error,
            Some("off") => log::LevelFilter::Off,
            _ => log::LevelFilter::Info,
        },
        strict: top.boolean("STRICT").unwrap_or(false),
        router,
    }
}

/// A table of fixed name with fixed keys; all defaults when it is not there.
fn section(reader: &mut Reader<'_>, root: &Table, name: &str, keys: &[Key], top: &Place) -> Options {
    let title = title_of(name);
    let empty = Table::default();
    let (header, table) = match root.get(name) {
        Some(entry) => (reader.header(entry), reader.table(&title, entry).unwrap_or(&empty)),
        None => (top.clone(), &empty),
    };
    reader.options(&title, &header, table, &[keys])
}

/// `DEFAULT_RESPONSE`: `false` or an empty text for none; the one thing that it may name is the project.
fn default_response(reader: &mut Reader<'_>, top: &Options) -> Option<String> {
    let text = top.text("DEFAULT_RESPONSE").filter(|text| !text.is_empty())?;
    for (at, _) in text.match_indices("%(") {
        let Some((name, after)) = text[at + 2..].split_once(')') else { continue };
        if name != "project_name" || !after.starts_with('s') {
            let message =
                format!("DEFAULT_RESPONSE names {}, which is not known", quote(&format!("%({name})")));
            let place = top.place("DEFAULT_RESPONSE").clone();
            reader.error(
                &place,
                message,
                "the one name is %(project_name)s; leave other text as it is meant",
            );
        }
    }
    Some(text.to_owned())
}

fn languages(reader: &mut Reader<'_>, top: &Options) -> Vec<(String, String)> {
    let Some(pairs) = top.table("LANGUAGES") else { return vec![("en".into(), "English".into())] };
    let mut languages: Vec<(String, String)> = Vec::new();
    for (code, name) in pairs {
        let Value::Text(name) = name else { continue };
        if languages.iter().any(|(known, _)| known.eq_ignore_ascii_case(code)) {
            let place = top.place("LANGUAGES").clone();
            reader.error(&place, format!("LANGUAGES names {} twice", quote(code)), "keep one of them");
        }
        languages.push((code.clone(), name.clone()));
    }
    languages
}

fn router(reader: &mut Reader<'_>, root: &Table, top: &Place) -> RouterSettings {
    let options = section(reader, root, "router", known::ROUTER, top);
    let time = |key| options.duration(key).unwrap_or_default();
    let count = |key| options.count(key).unwrap_or_default();
    RouterSettings {
        validity: time("validity"),
        on_uncertain: on_uncertain(&options).unwrap_or_default(),
        app_timeout: time("app_timeout"),
        max_pending: count("max_pending"),
        join_within: time("join_within"),
        loop_repeats: count("loop_repeats"),
        loop_repeats_within: time("loop_repeats_within"),
        loop_replies: count("loop_replies"),
        loop_replies_within: time("loop_replies_within"),
    }
}

fn on_uncertain(options: &Options) -> Option<OnUncertain> {
    options.text("on_uncertain").map(|word| match word {
        "hold" => OnUncertain::Hold,
        _ => OnUncertain::Resend,
    })
}

/// The store: `sqlite:FILE`, relative to the settings file.
fn database(reader: &mut Reader<'_>, root: &Table, top: &Place) -> Database {
    let options = section(reader, root, "database", known::DATABASE, top);
    let place = options.place("url").clone();
    let url = options.text("url").unwrap_or_default();
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_lowercase());
    let file = match scheme.as_deref() {
        Some("sqlite") => {
            let file = &url["sqlite:".len()..];
            file.strip_prefix("//").unwrap_or(file)
        }
        Some(scheme @ ("postgres" | "postgresql")) => {
            let message = format!("a store at {scheme}: is not in this build");
            reader.error(&place, message, "use url = \"sqlite:rapidsms.db\"");
            ""
        }
        Some(scheme) => {
            let message = format!("no store is called {}", quote(scheme));
            reader.error(&place, message, "use url = \"sqlite:rapidsms.db\"");
            ""
        }
        None => {
            let file = if url.is_empty() { "rapidsms.db" } else { url };
            let help = format!("did you mean url = {}?", quote(&format!("sqlite:{file}")));
            reader.error(&place, "the store's url must say what it is: sqlite:FILE", help);
            ""
        }
    };
    if scheme.as_deref() == Some("sqlite") && (file.is_empty() || file.starts_with(':')) {
        let message = "the store must be a file: in memory, accepted messages would be lost at a stop";
        reader.error(&place, message, "use url = \"sqlite:rapidsms.db\"");
    }
    Database { path: reader.source.directory().join(file), purge_after: options.duration("purge_after") }
}

fn web(reader: &mut Reader<'_>, root: &Table, top: &Place) -> Web {
    let options = section(reader, root, "web", known::WEB, top);
    let entry = root.get("web").and_then(|entry| match &entry.node.value {
        Raw::Table(table) => table.get("listen"),
        _ => None,
    });
    let (listen, place) = match entry {
        Some(entry) => (listen(reader, entry, "[web]"), reader.place(&entry.node)),
        None => {
            (options.text("listen").and_then(|text| text.parse().ok()).into_iter().collect(), top.clone())
        }
    };
    let enabled = options.boolean("enabled").unwrap_or(true);
    let token = options.secret("token").cloned();
    if let Some(token) = &token {
        if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            reader.error(
                options.place("token"),
                "the token in [web] must be letters, digits and signs without blanks: it travels in an HTTP header",
                "for example 32 random letters and digits",
            );
        } else if token.expose().len() < SHORTEST_TOKEN {
            let message =
                format!("the token in [web] is shorter than {SHORTEST_TOKEN} characters and can be guessed");
            let fault =
                options.place("token").warning(message).help("for example 32 random letters and digits");
            reader.unsafe_secrets.push(fault);
        }
    }
    let beyond = listen.iter().find(|address: &&SocketAddr| !address.ip().is_loopback());
    if let (true, Some(address), false) = (enabled, beyond, options.is_given("token")) {
        let message = format!("{address} can be reached from other machines, so [web] needs a token");
        reader.error(
            &place,
            message,
            "add token = { env = \"RAPIDSMS_TOKEN\" }, or listen on 127.0.0.1 only",
        );
    }
    let time = |key| options.duration(key).unwrap_or_default();
    let (head_timeout, request_timeout) = (time("head_timeout"), time("request_timeout"));
    if head_timeout > request_timeout {
        let message =
            "head_timeout in [web] must not be longer than request_timeout, which covers the head too";
        let help = format!("request_timeout is {}", super::value::in_words(request_timeout));
        reader.error(options.place("head_timeout"), message, help);
    }
    Web {
        enabled,
        listen,
        token,
        hosts: options.list("hosts").unwrap_or_default().to_vec(),
        body_limit: options.count("body_limit").unwrap_or_default(),
        head_timeout,
        request_timeout,
        connections: options.count("connections").unwrap_or_default(),
        connections_per_address: options.count("connections_per_address").unwrap_or_default(),
    }
}

/// One address with port, or a list of them. Names are not looked up: the answer could differ at the next start.
pub(super) fn listen(reader: &mut Reader<'_>, entry: &Entry, title: &str) -> Vec<SocketAddr> {
    const MOST: usize = 16;
    let items = match &entry.node.value {
        Raw::List(items) if !items.is_empty() && items.len() <= MOST => items.as_slice(),
        Raw::List(items) => {
            let message = format!("listen in {title} must name 1 to {MOST} addresses, not {}", items.len());
            let place = reader.place(&entry.node);
            reader.error(&place, message, "to have no listener, write enabled = false");
            return Vec::new();
        }
        _ => std::slice::from_ref(&entry.node),
    };
    let mut addresses: Vec<(SocketAddr, Place)> = Vec::new();
    for item in items {
        let text = match &item.value {
            Raw::Text(text) => text.trim().to_lowercase(),
            Raw::Integer(port) => port.to_string(),
            _ => String::new(),
        };
        match text.replacen("localhost:", "127.0.0.1:", 1).parse::<SocketAddr>() {
            Ok(address) => match addresses.iter().find(|(other, _)| is_covered(address, *other)) {
                None => addresses.push((address, reader.place(item))),
                Some((other, before)) => {
                    let (line, column) = before.position();
                    let message = format!(
                        "{address} is listened on already, by {other} in line {line}, column {column}"
                    );
                    let place = reader.place(item);
                    reader.error(&place, message, "take one of them out");
                }
            },
            Err(_) => wrong_address(reader, item, &text, title),
        }
    }
    addresses.into_iter().map(|(address, _)| address).collect()
}

/// Whether one listener leaves no room for the other: the same address, or one of them every address. Port 0 is any free port.
pub(super) fn is_covered(one: SocketAddr, other: SocketAddr) -> bool {
    let every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || (every && one.is_ipv4() == other.is_ipv4()))
}

fn wrong_address(reader: &mut Reader<'_>, item: &Node, text: &str, title: &str) {
    let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let help = match port {
        Some(port) if text.starts_with('*') || text.starts_with(':') => {
            format!("for every address of this machine write \"0.0.0.0:{port}\"; it needs a token")
        }
        Some(port) => format!("did you mean \"127.0.0.1:{port}\"?"),
        None => "for example: listen = \"127.0.0.1:8000\"".to_owned(),
    };
    let place = reader.place(item);
    reader.error(&place, format!("listen in {title} must be an IP address and a port, as text"), help);
}

fn backends(reader: &mut Reader<'_>, root: &Table, router: &RouterSettings) -> Vec<BackendSettings> {
    let Some(entry) = root.get("installed_backends") else { return Vec::new() };
    let Some(table) = reader.table("[INSTALLED_BACKENDS.name]", entry) else { return Vec::new() };
    let backends: Vec<BackendSettings> =
        table.entries.iter().filter_map(|entry| backend(reader, entry, router)).collect();
    unique::check(reader, &backends);
    backends
}

fn backend(reader: &mut Reader<'_>, entry: &Entry, router: &RouterSettings) -> Option<BackendSettings> {
    let title = format!("[INSTALLED_BACKENDS.{}", &title_of(&entry.name)[1..]);
    name_is_usable(reader, "backend", entry);
    let table = reader.table(&title, entry)?;
    let header = reader.header(entry);
    let (engine, given_engine) = engine(reader, &title, &header, table)?;
    let options = reader.options(&title, &header, table, &[known::BACKEND, engine.keys]);
    if !engine.built {
        let message = format!(
            "backend {} is parked: its engine {} is not in this build",
            quote(&entry.name),
            quote(engine.name)
        );
        let help =
            "its settings were checked; messages for it are held until a build that has the engine runs";
        reader.warning(options.place("ENGINE"), message, help);
    }
    let handler = handler(reader, &title, &options);
    let limits = super::limits::read(reader, &title, &options);
    let inherited = (router.validity, router.on_uncertain);
    let digest = Digest::of(&format!("{} {} {inherited:?}", entry.name, engine.name), &options);
    Some(BackendSettings {
        name: entry.name.clone(),
        engine: engine.name,
        given_engine,
        built: engine.built,
        tester: engine.tester,
        handler,
        window: options.count("window"),
        validity: options.duration("validity").unwrap_or(router.validity),
        on_uncertain: on_uncertain(&options).unwrap_or(router.on_uncertain),
        limits,
        allow_test_traffic: options.boolean("allow_test_traffic").unwrap_or(false),
        loop_guard: options.boolean("loop_guard").unwrap_or(!engine.tester),
        watchdog: options.duration("watchdog").unwrap_or_default(),
        options,
        digest,
    })
}

/// The engine of a backend. Without it nothing else in the table can be judged, so the one fault is all that is said.
fn engine(
    reader: &mut Reader<'_>,
    title: &str,
    header: &Place,
    table: &Table,
) -> Option<(EngineSpec, String)> {
    let catalogue = reader.catalogue;
    let names = || catalogue.engines.iter().map(|engine| engine.name).collect::<Vec<_>>().join(", ");
    let Some(entry) = table.get("engine") else {
        let message = format!("{title} needs the key \"ENGINE\": the kind of line");
        reader.error(
            header,
            message,
            format!("for example: ENGINE = \"bucket\"; the engines are {}", names()),
        );
        return None;
    };
    let place = reader.place(&entry.node);
    let Raw::Text(given) = &entry.node.value else {
        let message = format!("\"ENGINE\" in {title} must be text, not {}", entry.node.value.what());
        reader.error(&place, message, format!("the engines are {}", names()));
        return None;
    };
    if let Some(engine) = catalogue.engine(given) {
        return Some((*engine, given.clone()));
    }
    let help = match catalogue.nearest_engine(given) {
        Some(name) => format!("did you mean {}?", quote(name)),
        None => format!("the engines are {}", names()),
    };
    reader.error(&place, format!("no engine is called {}", quote(given)), help);
    None
}

/// `HANDLER`, the old way to have a task queue take the messages: the router's own queue does.
fn handler(reader: &mut Reader<'_>, title: &str, options: &Options) -> Option<Handler> {
    const NAMES: [&str; 2] = ["queue", "threadless_router.celery.handler"];
    let given = options.text("HANDLER")?;
    let place = options.place("HANDLER");
    if NAMES.contains(&given.to_lowercase().as_str()) {
        reader.note(
            place,
            "HANDLER is understood as the router's own durable queue, which handles messages in order",
        );
        return Some(Handler::Queue);
    }
    let help = match nearest(given, NAMES) {
        Some(name) => format!("did you mean {}?", quote(name)),
        None => "the one handler is \"queue\"; without HANDLER the messages are handled in the same way"
            .to_owned(),
    };
    reader.error(place, format!("no handler is called {} in {title}", quote(given)), help);
    None
}

/// A name stands in addresses (`/http/NAME/`), transcripts (`NAME/identity`), logs and pages.
pub(super) fn name_is_usable(reader: &mut Reader<'_>, of: &str, entry: &Entry) {
    let name = entry.name.as_str();
    let unseen =
        |c: char| c != ' ' && (c.is_whitespace() || (c.escape_debug().count() > 1 && !"\"'\\".contains(c)));
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.chars().count() > LONGEST_NAME {
        format!("is longer than {LONGEST_NAME} characters")
    } else if name.contains('/') {
        "holds a slash, which divides the parts of an address".to_owned()
    } else if name == "." || name == ".." {
        "means a folder in an address".to_owned()
    } else if name.trim() != name || name.chars().any(unseen) {
        "holds characters that cannot be seen".to_owned()
    } else {
        return;
    };
    let place = reader.key_place(entry);
    let message = format!("the {of} name {} {problem}", quote(name));
    reader.error(&place, message, "use letters, digits, - and _");
}
