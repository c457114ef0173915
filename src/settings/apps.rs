//! `INSTALLED_APPS` and `[APPS.name]`: the apps in the box, apps of one's own, and names of older systems.

use super::AppSettings;
use super::fault::quote;
use super::known;
use super::options::Digest;
use super::read::name_is_usable;
use super::table::Reader;
use super::tree::{Entry, Node, Raw, Table, title_of};

/// The apps in the order of `INSTALLED_APPS`, which is the order in which they see a message.
pub(super) fn installed(reader: &mut Reader<'_>, root: &Table) -> Vec<AppSettings> {
    let empty = Table::default();
    let tables = match root.get("apps") {
        Some(entry) => reader.table("[APPS.name]", entry).unwrap_or(&empty),
        None => &empty,
    };
    let mut apps: Vec<AppSettings> = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    for item in named(reader, root) {
        let Raw::Text(given) = &item.value else {
            let place = reader.place(item);
            let message =
                format!("INSTALLED_APPS must be a list of names; one item is {}", item.value.what());
            reader.error(&place, message, "for example: INSTALLED_APPS = [\"echo\", \"default\"]");
            continue;
        };
        let Some(app) = app(reader, item, given, tables, &mut used) else { continue };
        if let Some(first) = apps.iter().find(|known| known.name.eq_ignore_ascii_case(&app.name)) {
            let place = reader.place(item);
            let message = format!("the app {} is in INSTALLED_APPS twice", quote(&first.name));
            reader.error(&place, message, "keep the place where it is to see a message");
            continue;
        }
        apps.push(app);
    }
    for entry in &tables.entries {
        if !used.contains(&entry.key.as_str()) {
            let place = reader.header(entry);
            let message =
                format!("the app {} is not in INSTALLED_APPS and so does nothing", quote(&entry.name));
            reader.warning(
                &place,
                message,
                "name it in INSTALLED_APPS, at the place where it is to see a message",
            );
            let _ = configured(reader, entry, &entry.name);
        }
    }
    apps
}

fn named<'t>(reader: &mut Reader<'_>, root: &'t Table) -> &'t [Node] {
    let Some(entry) = root.get("installed_apps") else { return &[] };
    if let Raw::List(items) = &entry.node.value {
        return items;
    }
    let place = reader.place(&entry.node);
    let message = format!("INSTALLED_APPS must be a list of names, not {}", entry.node.value.what());
    reader.error(&place, message, "for example: INSTALLED_APPS = [\"echo\", \"default\"]");
    &[]
}

/// One entry of `INSTALLED_APPS`. An app of one's own comes before an older system's name, which may be the same.
fn app<'t>(
    reader: &mut Reader<'_>,
    item: &Node,
    given: &str,
    tables: &'t Table,
    used: &mut Vec<&'t str>,
) -> Option<AppSettings> {
    let catalogue = reader.catalogue;
    let place = reader.place(item);
    let lower = given.trim().to_lowercase();
    let in_box = catalogue.app(given);
    let own = tables.entries.iter().find(|entry| {
        entry.key == lower
            || in_box.is_some_and(|spec| catalogue.app(&entry.name).is_some_and(|app| app.name == spec.name))
    });
    if let Some(entry) = own {
        if !used.contains(&entry.key.as_str()) {
            used.push(&entry.key);
        }
        let app = configured(reader, entry, given)?;
        if !app.built {
            let message = format!(
                "the app {} is left out: its engine {} is not in this build",
                quote(&app.name),
                quote(app.host.unwrap_or_default())
            );
            reader.warning(&place, message, "its settings were checked; the other apps run");
        }
        return Some(app);
    }
    if let Some(spec) = in_box {
        let options = reader.options(&title_of(spec.name), &place, &Table::default(), &[spec.keys]);
        let digest = Digest::of(spec.name, &options);
        let (name, given_name) = (spec.name.to_owned(), given.to_owned());
        return Some(AppSettings { name, given_name, host: None, built: true, options, digest });
    }
    if let Some(old) = catalogue.old_app(given.trim()) {
        let (name, why) = (quote(given), old.why);
        if old.missed {
            reader.warning(&place, format!("{name} is left out: {why}"), "");
        } else {
            reader.note(&place, format!("{name} is not needed here: {why}"));
        }
        return None;
    }
    let help = match catalogue.nearest_app(given, tables.entries.iter().map(|entry| entry.name.as_str())) {
        Some(name) => format!("did you mean {}?", quote(name)),
        None => {
            let names: Vec<_> = catalogue.apps.iter().map(|app| app.name).collect();
            format!(
                "the apps in the box are {}; an app of your own needs a table {}",
                names.join(", "),
                title_of(&format!("APPS.{given}"))
            )
        }
    };
    reader.error(&place, format!("no app is called {}", quote(given)), help);
    None
}

/// `[APPS.name]`: settings of an app in the box, or an app of one's own with its ENGINE.
fn configured(reader: &mut Reader<'_>, entry: &Entry, given: &str) -> Option<AppSettings> {
    let catalogue = reader.catalogue;
    let title = format!("[APPS.{}", &title_of(&entry.name)[1..]);
    let table = reader.table(&title, entry)?;
    let header = reader.header(entry);
    let engine = table.get("engine");
    if let Some(spec) = catalogue.app(&entry.name) {
        if let Some(engine) = engine {
            let place = reader.key_place(engine);
            let message = format!("{} is an app in the box and takes no ENGINE", quote(spec.name));
            reader.error(&place, message, "give an app of your own another name");
            return None;
        }
        let options = reader.options(&title, &header, table, &[spec.keys]);
        let digest = Digest::of(spec.name, &options);
        let (name, given_name) = (spec.name.to_owned(), given.to_owned());
        return Some(AppSettings { name, given_name, host: None, built: true, options, digest });
    }
    name_is_usable(reader, "app", entry);
    let names = catalogue.hosts.iter().map(|host| host.name).collect::<Vec<_>>().join(", ");
    let Some(engine) = engine else {
        let message = format!("{title} needs the key \"ENGINE\": what runs the app");
        reader.error(&header, message, format!("one of {names}"));
        return None;
    };
    let place = reader.place(&engine.node);
    let Raw::Text(written) = &engine.node.value else {
        let message = format!("\"ENGINE\" in {title} must be text, not {}", engine.node.value.what());
        reader.error(&place, message, format!("one of {names}"));
        return None;
    };
    let host = match catalogue.host(written) {
        Some(host) => host,
        None => {
            let help = match super::fault::nearest(written, catalogue.hosts.iter().map(|host| host.name)) {
                Some(name) => format!("did you mean {}?", quote(name)),
                None => format!("one of {names}"),
            };
            reader.error(&place, format!("no engine for apps is called {}", quote(written)), help);
            return None;
        }
    };
    let options = reader.options(&title, &header, table, &[known::HOSTED_APP, host.keys]);
    let digest = Digest::of(&format!("{} {}", entry.name, host.name), &options);
    Some(AppSettings {
        name: entry.name.clone(),
        given_name: given.to_owned(),
        host: Some(host.name),
        built: host.built,
        options,
        digest,
    })
}
