//! `[GROUPS.name]`: several backends that send from one queue.

use super::fault::{nearest, quote};
use super::known;
use super::read::name_is_usable;
use super::source::Place;
use super::table::Reader;
use super::tree::{Entry, Node, Raw, Table, title_of};

/// So many members a group has at most, and a member so many prefixes.
const MOST: usize = 256;
/// A number has no more digits (E.164).
const MOST_DIGITS: usize = 15;

/// Several backends that send from one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// As it was given. No backend has the same, capitals aside.
    pub name: String,
    /// The members, by the names of backends, in the order of the file.
    pub members: Vec<MemberSettings>,
    /// Who of them is next.
    pub balance: Balance,
    /// Do replies to what came in by a member leave by any of them?
    pub replies: bool,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSettings {
    /// The backend's name.
    pub backend: String,
    /// The first digits of the numbers that it sends to; none for all.
    pub prefixes: Vec<String>,
}

/// `BALANCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    InTurn,
    /// The one with the fewest messages in hand.
    LeastBusy,
    /// The first that works.
    First,
}

/// Reads all groups. Backends are known by their tables, whatever else is wrong with those.
pub(super) fn groups(reader: &mut Reader<'_>, root: &Table) -> Vec<GroupSettings> {
    let Some(entry) = root.get("groups") else { return Vec::new() };
    let Some(table) = reader.table("[GROUPS.name]", entry) else { return Vec::new() };
    let backends: Vec<&str> = match root.get("installed_backends").map(|entry| &entry.node.value) {
        Some(Raw::Table(table)) => table.entries.iter().map(|entry| entry.name.as_str()).collect(),
        _ => Vec::new(),
    };
    let mut groups: Vec<GroupSettings> = Vec::new();
    for entry in &table.entries {
        let Some(group) = group(reader, entry, &backends) else { continue };
        let takes = |one: &&GroupSettings| one.replies && group.replies;
        let mut shared = groups.iter().filter(takes).flat_map(|one| {
            let both =
                |member: &&MemberSettings| group.members.iter().any(|own| own.backend == member.backend);
            one.members.iter().find(both).map(|member| (one.name.clone(), member.backend.clone()))
        });
        if let Some((other, member)) = shared.next() {
            drop(shared);
            let message = format!(
                "groups {} and {} both want the replies of {}",
                quote(&other),
                quote(&group.name),
                quote(&member)
            );
            let place = reader.header(entry);
            reader.error(&place, message, "leave REPLIES = true in one of them only");
        }
        groups.push(group);
    }
    groups
}

fn group(reader: &mut Reader<'_>, entry: &Entry, backends: &[&str]) -> Option<GroupSettings> {
    let title = format!("[GROUPS.{}", &title_of(&entry.name)[1..]);
    name_is_usable(reader, "group", entry);
    if let Some(backend) = same(backends, &entry.name) {
        let place = reader.key_place(entry);
        let message = format!("group {} has the name of a backend, {}", quote(&entry.name), quote(backend));
        reader.error(&place, message, "messages are sent to either by name: give one of them another");
    }
    let table = reader.table(&title, entry)?;
    let header = reader.header(entry);
    let options = reader.options(&title, &header, table, &[known::GROUP]);
    let mut members = members(reader, &title, table, backends);
    if let Some(entry) = table.get("prefixes") {
        prefixes(reader, &title, entry, &mut members);
    }
    let balance = match options.text("BALANCE") {
        Some("least busy") => Balance::LeastBusy,
        Some("first") => Balance::First,
        _ => Balance::InTurn,
    };
    let replies = options.boolean("REPLIES").unwrap_or(false);
    Some(GroupSettings { name: entry.name.clone(), members, balance, replies })
}

fn members(reader: &mut Reader<'_>, title: &str, table: &Table, backends: &[&str]) -> Vec<MemberSettings> {
    let mut members: Vec<MemberSettings> = Vec::new();
    let Some(entry) = table.get("members") else { return members };
    let place = reader.place(&entry.node);
    let named = texts(&entry.node);
    if named.is_empty() || named.len() > MOST {
        let message = format!("\"MEMBERS\" in {title} must name 1 to {MOST} backends");
        reader.error(&place, message, "for example: MEMBERS = [\"Zain\", \"Vodacom\"]");
    }
    for (name, node) in named.into_iter().take(MOST) {
        let place = reader.place(node);
        let Some(backend) = same(backends, name) else {
            unknown(
                reader,
                &place,
                &format!("no backend named {} is configured", quote(name)),
                name,
                backends,
            );
            continue;
        };
        if members.iter().any(|member| member.backend == backend) {
            let message = format!("{} is a member of {title} twice", quote(backend));
            reader.error(&place, message, "take one of them out");
            continue;
        }
        members.push(MemberSettings { backend: backend.to_owned(), prefixes: Vec::new() });
    }
    members
}

/// `{ Zain = ["+25677", "+25678"], Vodacom = "+25575" }`.
fn prefixes(reader: &mut Reader<'_>, title: &str, entry: &Entry, members: &mut [MemberSettings]) {
    let Raw::Table(table) = &entry.node.value else {
        let message = format!(
            "\"PREFIXES\" in {title} must be a table of members and their prefixes, not {}",
            entry.node.value.what()
        );
        let place = reader.place(&entry.node);
        return reader.error(&place, message, "for example: PREFIXES = { Zain = [\"+25677\", \"+25678\"] }");
    };
    for entry in &table.entries {
        let names: Vec<&str> = members.iter().map(|member| member.backend.as_str()).collect();
        let Some(name) = same(&names, &entry.name).map(str::to_owned) else {
            let place = reader.key_place(entry);
            let message = format!("{} is no member of {title}", quote(&entry.name));
            unknown(reader, &place, &message, &entry.name, &names);
            continue;
        };
        let texts = texts(&entry.node);
        if texts.is_empty() || texts.len() > MOST {
            let place = reader.place(&entry.node);
            let message = format!("the prefixes of {} in {title} must be 1 to {MOST} texts", quote(&name));
            let help =
                format!("for example: {name} = [\"+25677\", \"+25678\"]; a member without any sends to all");
            reader.error(&place, message, help);
        }
        for (prefix, node) in texts.into_iter().take(MOST) {
            let digits = prefix.strip_prefix('+').unwrap_or(prefix);
            let fits = (1..=MOST_DIGITS).contains(&digits.len())
                && digits.bytes().all(|digit| digit.is_ascii_digit());
            if !fits {
                let place = reader.place(node);
                let message = format!("{} is not the beginning of a number", quote(prefix));
                reader.error(
                    &place,
                    message,
                    "write digits, as the numbers themselves are written: \"+25677\"",
                );
                continue;
            }
            let member = members.iter_mut().filter(|member| member.backend == name);
            member.for_each(|member| member.prefixes.push(prefix.to_owned()));
        }
    }
}

fn unknown(reader: &mut Reader<'_>, place: &Place, message: &str, name: &str, candidates: &[&str]) {
    let help = match nearest(name, candidates.iter().copied()) {
        Some(name) => format!("did you mean {}?", quote(name)),
        None if candidates.is_empty() => "there is none".to_owned(),
        None => format!("there are {}", candidates.join(", ")),
    };
    reader.error(place, message, help);
}

/// The name that is the same but for capitals.
fn same<'a>(names: &[&'a str], name: &str) -> Option<&'a str> {
    names.iter().copied().find(|known| known.to_lowercase() == name.to_lowercase())
}

/// The texts of a list, or the one text. What is no text is left to the check of the kind, or makes the list empty.
fn texts(node: &Node) -> Vec<(&str, &Node)> {
    let nodes = match &node.value {
        Raw::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let texts: Option<Vec<_>> = nodes
        .iter()
        .map(|node| match &node.value {
            Raw::Text(text) => Some((text.as_str(), node)),
            _ => None,
        })
        .collect();
    texts.unwrap_or_default()
}
