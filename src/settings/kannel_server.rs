//! `[kannel_server]`: who may use this router as if it were a Kannel, and by which backends their messages leave.

use std::net::SocketAddr;

use super::fault::{nearest, quote};
use super::known;
use super::network::Network;
use super::options::Options;
use super::read::{is_covered, listen, name_is_usable};
use super::secret::Secret;
use super::table::Reader;
use super::tree::{Entry, Node, Raw, Table, title_of};
use super::value::Value;

/// So many users there are at most, and a user has so many addresses.
const MOST: usize = 1000;

/// `[kannel_server]`, when it is switched on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KannelServer {
    /// Listeners of its own, which serve nothing else; none where `[web]` listens only.
    pub listen: Vec<SocketAddr>,
    /// The backend or group of requests that name none.
    pub backend: Option<String>,
    /// Kannel's names of lines (`smsc=`), and the backend or group that each means.
    pub smscs: Vec<(String, String)>,
    /// What counts as the sender of requests that name none (Kannel's `global-sender`).
    pub sender: Option<String>,
    /// What must be shown for the status; without one the rules of `[web]` hold.
    pub status_password: Option<Secret>,
    /// Who may send.
    pub users: Vec<KannelUser>,
}

/// `[kannel_server.users.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KannelUser {
    /// `username=`, letter by letter.
    pub name: String,
    /// `password=`.
    pub password: Secret,
    /// The backend or group of requests that name none; that of the table above when not said.
    pub backend: Option<String>,
    /// From where they may ask; from anywhere when empty.
    pub allow: Vec<Network>,
    /// A text of more parts is refused.
    pub max_messages: u8,
    /// As [`KannelServer::sender`], for this user.
    pub sender: Option<String>,
}

/// Reads the table; `None` when there is none, or when it is switched off. `web` is what `[web]` listens on.
pub(super) fn kannel_server(
    reader: &mut Reader<'_>,
    root: &Table,
    web: &[SocketAddr],
) -> Option<KannelServer> {
    let entry = root.get("kannel_server")?;
    let table = reader.table("[kannel_server]", entry)?;
    let header = reader.header(entry);
    let options = reader.options("[kannel_server]", &header, table, &[known::KANNEL_SERVER]);
    let names = names(root);
    let backend = backend(reader, &options, &names);
    let users = users(reader, table, &names);
    // A user who is there and wrong was told of already.
    let named = matches!(table.get("users"), Some(Entry { node: Node { value: Raw::Table(users), .. }, .. }) if !users.entries.is_empty());
    if !named {
        let message = "[kannel_server] has no users, so nobody could send";
        let help = "add [kannel_server.users.NAME] with a password below it, or take the table out";
        reader.error(&header, message, help);
    }
    let server = KannelServer {
        listen: own_listeners(reader, table, web),
        smscs: smscs(reader, &options, &names),
        sender: sender(&options),
        status_password: options.secret("status_password").cloned(),
        backend,
        users,
    };
    options.boolean("enabled").unwrap_or(true).then_some(server)
}

/// The names of backends and groups, whatever else is wrong with those.
fn names(root: &Table) -> Vec<&str> {
    let tables = ["installed_backends", "groups"].into_iter().filter_map(|name| root.get(name));
    let tables = tables.filter_map(|entry| match &entry.node.value {
        Raw::Table(table) => Some(table),
        _ => None,
    });
    tables.flat_map(|table| &table.entries).map(|entry| entry.name.as_str()).collect()
}

fn own_listeners(reader: &mut Reader<'_>, table: &Table, web: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(entry) = table.get("listen") else { return Vec::new() };
    let addresses = listen(reader, entry, "[kannel_server]");
    if let Some(both) = addresses.iter().find(|own| web.iter().any(|other| is_covered(**own, *other))) {
        let place = reader.place(&entry.node);
        let message = format!("{both} is listened on already, by [web]");
        let help = "Kannel's paths are served there anyway: leave listen out of [kannel_server]";
        reader.error(&place, message, help);
    }
    addresses
}

fn users(reader: &mut Reader<'_>, table: &Table, names: &[&str]) -> Vec<KannelUser> {
    let Some(entry) = table.get("users") else { return Vec::new() };
    let Some(users) = reader.table("[kannel_server.users.NAME]", entry) else { return Vec::new() };
    if users.entries.len() > MOST {
        let place = reader.key_place(entry);
        reader.error(&place, format!("there are more than {MOST} users"), "share one among programs");
    }
    users.entries.iter().take(MOST).filter_map(|entry| user(reader, entry, names)).collect()
}

fn user(reader: &mut Reader<'_>, entry: &Entry, names: &[&str]) -> Option<KannelUser> {
    let title = format!("[kannel_server.users.{}", &title_of(&entry.name)[1..]);
    name_is_usable(reader, "user", entry);
    let table = reader.table(&title, entry)?;
    let header = reader.header(entry);
    let options = reader.options(&title, &header, table, &[known::KANNEL_USER]);
    let backend = backend(reader, &options, names);
    let allow = networks(reader, &options, &title);
    Some(KannelUser {
        name: entry.name.clone(),
        password: options.secret("password").cloned()?,
        backend,
        allow,
        max_messages: options
            .count("max_messages")
            .and_then(|most| u8::try_from(most).ok())
            .unwrap_or(u8::MAX),
        sender: sender(&options),
    })
}

fn sender(options: &Options) -> Option<String> {
    options.text("sender").filter(|sender| !sender.is_empty()).map(str::to_owned)
}

fn networks(reader: &mut Reader<'_>, options: &Options, title: &str) -> Vec<Network> {
    let given = options.list("allow").unwrap_or_default();
    let place = options.place("allow").clone();
    if options.is_given("allow") && (given.is_empty() || given.len() > MOST) {
        let message = format!("\"allow\" in {title} must name 1 to {MOST} addresses");
        reader.error(&place, message, "leave it out to let this user ask from anywhere");
    }
    let mut networks = Vec::new();
    for text in given {
        match Network::parse(text) {
            Some(network) => networks.push(network),
            None => {
                let message = format!("{} in {title} is neither an address nor a network", quote(text));
                reader.error(&place, message, "for example: allow = [\"127.0.0.1\", \"10.0.0.0/8\"]");
            }
        }
    }
    networks
}

fn smscs(reader: &mut Reader<'_>, options: &Options, names: &[&str]) -> Vec<(String, String)> {
    let place = options.place("smscs").clone();
    let mut smscs = Vec::new();
    for (smsc, value) in options.table("smscs").unwrap_or_default() {
        let Value::Text(name) = value else {
            let message =
                format!("{} in smscs of [kannel_server] must be the name of a backend", quote(smsc));
            reader.error(&place, message, "for example: smscs = { usb0-modem = \"Zain\" }");
            continue;
        };
        match same(names, name) {
            Some(name) => smscs.push((smsc.clone(), name.to_owned())),
            None => unknown(reader, &place, name, names),
        }
    }
    smscs
}

fn backend(reader: &mut Reader<'_>, options: &Options, names: &[&str]) -> Option<String> {
    let given = options.text("backend")?;
    let found = same(names, given).map(str::to_owned);
    if found.is_none() {
        let place = options.place("backend").clone();
        unknown(reader, &place, given, names);
    }
    found
}

fn unknown(reader: &mut Reader<'_>, place: &super::source::Place, name: &str, names: &[&str]) {
    let help = match nearest(name, names.iter().copied()) {
        Some(name) => format!("did you mean {}?", quote(name)),
        None if names.is_empty() => "there is none".to_owned(),
        None => format!("possible: {}", names.join(", ")),
    };
    reader.error(place, format!("no backend or group named {} is configured", quote(name)), help);
}

/// The name that is the same but for capitals.
fn same<'a>(names: &[&'a str], name: &str) -> Option<&'a str> {
    names.iter().copied().find(|known| known.to_lowercase() == name.to_lowercase())
}
