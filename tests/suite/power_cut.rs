//! The power goes (P1): a disk that forgets what was not flushed, at any instant, and some of what was not in any order, down to half a
//! write.
//!
//! No device is needed for it. The real program runs under strace, which writes down each change of the store's files, each flush and
//! each acknowledgement in the order in which they happened. From that, [`Disk`] computes what a disk may hold after a cut at any line: all
//! that was flushed before, whatever the disk chose of the rest (whole writes or single sectors of 512 octets), and names only when
//! their folder was flushed, or in order. Each such store is opened by the store itself, and must hold all that was acknowledged before
//! that line. The index file `-shm` is left out: SQLite makes it anew.
//!
//! That the test can fail is tested too: a disk that takes every flush for nothing must lose something.

use super::daemon::{Daemon, PATIENCE, folder, program};
use super::rig::{self, Random, traced_to};
use rapidsms::message::MessageId;
use rapidsms::store::Store;
use rapidsms::store::sqlite::Sqlite;
use rapidsms::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

const SETTINGS: &str = "INSTALLED_APPS = [\"echo\", \"default\"]\n[web]\nlisten = \"127.0.0.1:0\"\n\
                        [INSTALLED_BACKENDS.well]\nENGINE = \"bucket\"\n";
/// The files that make up a store; what else lies beside them holds no messages.
const FILES: [&str; 3] = ["rapidsms.db", "rapidsms.db-wal", "rapidsms.db-journal"];
/// Everything by which a file can change, and by which an answer is sent; those with a question mark exist on some machines only.
const CALLS: &str = "trace=openat,?open,?creat,write,writev,pwrite64,pwritev,?pwritev2,ftruncate,fallocate,fsync,fdatasync,\
                     ?rename,renameat,?renameat2,?unlink,unlinkat,?sync_file_range,mmap,sendto,sendmsg";

#[test]
fn p1_no_loss_when_the_power_goes() {
    let mut random = Random::new();
    let home = folder(SETTINGS);
    // The reserve is there already: five megabytes less to be traced.
    reserve(home.path());
    let trace = home.path().join("trace");
    let mut router = program(home.path());
    router.arg("run_router");
    let command = traced_to(&trace, &router, &["-y", "-xx", "-s", "1000000", "-e", CALLS]);
    let daemon = Daemon::start_as(home, command);
    let acknowledged = talk(&daemon);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);

    let folder = ended.folder.path().canonicalize().expect("a folder");
    let events = read_trace(&trace, &folder);
    let answers: Vec<usize> = positions(&events, |event| matches!(event, Event::Acknowledged(_)));
    assert_eq!(answers.len(), acknowledged, "the answers in the trace are not those that the clients saw");
    let last = *answers.last().expect("some answers");

    // Half of the cuts follow an answer at once; the others may come at any time, the first start included.
    let mut cuts: BTreeMap<usize, Vec<How>> = BTreeMap::new();
    for number in 0..60 * rig::effort() {
        let at =
            if number % 2 == 0 { answers[random.below(answers.len())] } else { random.below(events.len()) };
        let how = [How::Nothing, How::Writes, How::Sectors, How::Everything][random.below(4)];
        cuts.entry(at).or_default().push(how);
    }
    let (mut disk, mut promised) = (Disk::default(), Vec::new());
    for (place, event) in events.iter().enumerate() {
        disk.happens(event, true);
        if let Event::Acknowledged(id) = event {
            promised.push(*id);
        }
        for how in cuts.get(&place).into_iter().flatten() {
            let lost = lost_on(&disk.after_the_cut(*how, &mut random), &promised);
            let lost = lost.unwrap_or_else(|why| panic!("cut at {place} ({event:?}), {how:?}: {why}"));
            assert!(lost.is_empty(), "P1: cut at {place}, {how:?}: acknowledged and lost: {lost:?}");
        }
    }

    let mut liar = Disk::default();
    events[..=last].iter().for_each(|event| liar.happens(event, false));
    let lost = lost_on(&liar.after_the_cut(How::Nothing, &mut random), &promised);
    assert!(lost.is_err() || lost.is_ok_and(|lost| !lost.is_empty()), "this test cannot fail");
}

fn reserve(folder: &Path) {
    let file = File::create(folder.join("rapidsms.db.ballast")).expect("a file");
    file.set_len(4 * 1024 * 1024).expect("a length");
}

/// Several people and a program, at the same time. Returns how many answers said that something is safe.
fn talk(daemon: &Daemon) -> usize {
    let deadline = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        let people: Vec<_> = (0..4)
            .map(|person| {
                scope.spawn(move || {
                    let mut taken = 0;
                    for number in 0..36 {
                        let text = format!("echo {person}-{number} {}", "and so on ".repeat(100));
                        // `page` is answered with the message's id.
                        let fields =
                            [("identity", format!("+{person}")), ("text", text), ("page", String::new())];
                        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
                        taken += usize::from(daemon.post("/httptester/well/", &fields).status == 303);
                        let body = serde_json::json!({"backend": "well", "identity": "+1", "text": "news"});
                        taken += usize::from(daemon.post_json("/api/v1/messages", &body).status == 202);
                        assert!(Instant::now() < deadline, "too slow");
                    }
                    taken
                })
            })
            .collect();
        people.into_iter().map(|person| person.join().expect("a person does not panic")).sum()
    })
}

/// Opens what the disk holds, and names what is missing of what was promised. `Err` when it cannot be used at all, or does not balance.
fn lost_on(image: &HashMap<&'static str, Vec<u8>>, promised: &[MessageId]) -> Result<Vec<MessageId>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    reserve(folder.path());
    for (name, octets) in image {
        std::fs::write(folder.path().join(name), octets).map_err(|error| error.to_string())?;
    }
    let path = folder.path().join(FILES[0]);
    let opened =
        Sqlite::open(&path, Timestamp::from_seconds(1_900_000_000)).map_err(|error| error.to_string())?;
    let faults = Sqlite::full_check(&path).map_err(|error| error.to_string())?;
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    let mut reader = opened.store.reader().map_err(|error| error.to_string())?;
    let (mut tally, mut recount) = (reader.tally().unwrap_or_default(), reader.recount().unwrap_or_default());
    tally.sort();
    recount.sort();
    if tally != recount {
        return Err(format!("P17: {tally:?} are {recount:?}"));
    }
    let missing = |id: &&MessageId| !matches!(reader.message(**id), Ok(Some(_)));
    Ok(promised.iter().filter(missing).copied().collect())
}

// The disk

/// What a disk keeps of what was not flushed.
#[derive(Clone, Copy, Debug)]
enum How {
    Nothing,
    /// Whole writes, in no order.
    Writes,
    /// Single sectors of writes, in no order.
    Sectors,
    Everything,
}

/// Files on a disk, as far as they are safe, and what is on its way to them.
#[derive(Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: HashMap<&'static str, usize>,
    safe_names: HashMap<&'static str, usize>,
    /// Changes of names since their folder was flushed.
    name_changes: Vec<(&'static str, Option<usize>)>,
}

#[derive(Default)]
struct Inode {
    safe: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    /// One line of the trace. A disk that is not honest takes flushes for nothing.
    fn happens(&mut self, event: &Event, honest: bool) {
        match event {
            Event::Acknowledged(_) => {}
            Event::Opened { file, emptied } => {
                if !self.names.contains_key(file) {
                    self.inodes.push(Inode::default());
                    self.rename(file, Some(self.inodes.len() - 1));
                }
                if *emptied {
                    self.change(file, Change::Length(0));
                }
            }
            Event::Removed(name) => self.rename(name, None),
            Event::Written { file, at, octets } => self.change(file, Change::Write(*at, octets.clone())),
            Event::Cut { file, length } => self.change(file, Change::Length(*length)),
            Event::Flushed(file) if honest => {
                if let Some(inode) = self.names.get(file) {
                    let Inode { safe, changes } = &mut self.inodes[*inode];
                    changes.drain(..).for_each(|change| change.apply(safe));
                }
            }
            Event::FolderFlushed if honest => {
                self.safe_names.clone_from(&self.names);
                self.name_changes.clear();
            }
            Event::Flushed(_) | Event::FolderFlushed => {}
        }
    }

    fn rename(&mut self, name: &'static str, inode: Option<usize>) {
        match inode {
            Some(inode) => self.names.insert(name, inode),
            None => self.names.remove(name),
        };
        self.name_changes.push((name, inode));
    }

    fn change(&mut self, file: &'static str, change: Change) {
        let inode = self.names.get(file).unwrap_or_else(|| panic!("{file} is written before it exists"));
        self.inodes[*inode].changes.push(change);
    }

    /// The files that may be found after a cut at this moment.
    fn after_the_cut(&self, how: How, random: &mut Random) -> HashMap<&'static str, Vec<u8>> {
        let mut names = self.safe_names.clone();
        let kept = match how {
            How::Nothing => 0,
            How::Everything => self.name_changes.len(),
            How::Writes | How::Sectors => random.below(self.name_changes.len() + 1),
        };
        for (name, inode) in &self.name_changes[..kept] {
            match inode {
                Some(inode) => names.insert(name, *inode),
                None => names.remove(name),
            };
        }
        let mut content = |inode: usize| {
            let mut octets = self.inodes[inode].safe.clone();
            for change in &self.inodes[inode].changes {
                let mut coin = || random.below(2) == 0;
                match (how, change) {
                    (How::Everything, change) => change.clone().apply(&mut octets),
                    (How::Sectors, Change::Write(at, written)) => {
                        let sectors = cut_at_sectors(*at, written);
                        sectors.filter(|_| coin()).for_each(|sector| sector.apply(&mut octets));
                    }
                    (How::Writes | How::Sectors, change) if coin() => change.clone().apply(&mut octets),
                    _ => {}
                }
            }
            octets
        };
        names.into_iter().map(|(name, inode)| (name, content(inode))).collect()
    }
}

impl Change {
    fn apply(self, octets: &mut Vec<u8>) {
        match self {
            Change::Length(length) => octets.resize(length, 0),
            Change::Write(at, written) => {
                let end = at + written.len();
                if octets.len() < end {
                    octets.resize(end, 0);
                }
                octets[at..end].copy_from_slice(&written);
            }
        }
    }
}

fn cut_at_sectors(at: usize, octets: &[u8]) -> impl Iterator<Item = Change> {
    const SECTOR: usize = 512;
    let end = at + octets.len();
    (at / SECTOR..end.div_ceil(SECTOR)).map(move |sector| {
        let (from, to) = ((sector * SECTOR).max(at), ((sector + 1) * SECTOR).min(end));
        Change::Write(from, octets[from - at..to - at].to_vec())
    })
}

// The trace

/// What matters of one line.
enum Event {
    /// Opened, and made where it was not there.
    Opened {
        file: &'static str,
        emptied: bool,
    },
    Removed(&'static str),
    Written {
        file: &'static str,
        at: usize,
        octets: Vec<u8>,
    },
    Cut {
        file: &'static str,
        length: usize,
    },
    Flushed(&'static str),
    FolderFlushed,
    Acknowledged(MessageId),
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Opened { file, emptied } => write!(f, "{file} opened (emptied: {emptied})"),
            Event::Removed(file) => write!(f, "{file} removed"),
            Event::Written { file, at, octets } => write!(f, "{} octets at {at} of {file}", octets.len()),
            Event::Cut { file, length } => write!(f, "{file} cut to {length}"),
            Event::Flushed(file) => write!(f, "{file} flushed"),
            Event::FolderFlushed => f.write_str("folder flushed"),
            Event::Acknowledged(id) => write!(f, "{id} acknowledged"),
        }
    }
}

fn positions(events: &[Event], which: impl Fn(&Event) -> bool) -> Vec<usize> {
    (0..events.len()).filter(|place| which(&events[*place])).collect()
}

/// Reads a trace. A change counts when its call has ended, for before that the disk owes nothing; an answer when its call begins, for
/// it may have arrived. The router's thread is the only one that changes the store, so no flush overtakes a change.
fn read_trace(path: &Path, folder: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    let mut begun: HashMap<String, String> = HashMap::new();
    for line in BufReader::new(File::open(path).expect("a trace")).lines() {
        let line = line.expect("the trace is text");
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let mut call = call.trim_start().to_string();
        if let Some(part) = call.strip_suffix("<unfinished ...>") {
            events.extend(acknowledged(part));
            begun.insert(thread.to_string(), part.trim_end().to_string());
            continue;
        }
        let mut told = false;
        if call.starts_with("<...") {
            let rest = call.split_once("resumed>").map_or("", |(_, rest)| rest);
            call = begun.remove(thread).unwrap_or_default() + rest;
            told = true;
        }
        if !told {
            events.extend(acknowledged(&call));
        }
        events.extend(change(&call, folder));
    }
    events
}

/// The message whose acknowledgement is sent by this call, if it is one.
fn acknowledged(call: &str) -> Option<Event> {
    if !call.starts_with("sendto(") && !call.starts_with("sendmsg(") {
        return None;
    }
    let answer = String::from_utf8(quoted(call)?).ok()?;
    let mark = match answer.get(..12)? {
        "HTTP/1.1 303" => "?sent=",
        "HTTP/1.1 202" => "{\"id\":\"",
        _ => return None,
    };
    let id = answer.split_once(mark)?.1.get(..36)?;
    id.parse().ok().map(Event::Acknowledged)
}

/// What a call that has ended did to the store's files or their folder.
fn change(call: &str, folder: &Path) -> Option<Event> {
    let (name, arguments) = call.split_once('(')?;
    let result: i64 = {
        let result = call.rsplit_once(" = ")?.1;
        result.split([' ', '<']).next()?.parse().ok()?
    };
    if result < 0 {
        return None;
    }
    let ours = |path: &[u8]| {
        let path = Path::new(std::str::from_utf8(path).ok()?);
        let here = path.parent() == Some(folder) || path.parent() == Some(Path::new(""));
        FILES.into_iter().find(|file| here && path.file_name().is_some_and(|name| name == *file))
    };
    let descriptor =
        || arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| hex(path));
    match name {
        "openat" | "open" | "creat" => {
            let file = ours(&quoted(call)?)?;
            let emptied = arguments.contains("O_TRUNC");
            (emptied || arguments.contains("O_CREAT")).then_some(Event::Opened { file, emptied })
        }
        "unlink" | "unlinkat" => Some(Event::Removed(ours(&quoted(call)?)?)),
        "fsync" | "fdatasync" => {
            let path = descriptor()?;
            if Path::new(std::str::from_utf8(&path).ok()?) == folder {
                return Some(Event::FolderFlushed);
            }
            ours(&path).map(Event::Flushed)
        }
        "pwrite64" => {
            let file = ours(&descriptor()?)?;
            let mut octets = quoted(call)?;
            octets.truncate(usize::try_from(result).ok()?);
            let numbers = arguments.rsplit_once(')')?.0;
            let at = numbers.rsplit_once(", ")?.1.parse().expect("a place");
            Some(Event::Written { file, at, octets })
        }
        "ftruncate" => {
            let file = ours(&descriptor()?)?;
            let numbers = arguments.rsplit_once(')')?.0;
            Some(Event::Cut { file, length: numbers.rsplit_once(", ")?.1.parse().expect("a length") })
        }
        "mmap" => {
            let changes = arguments.contains("PROT_WRITE") && arguments.contains("MAP_SHARED");
            let file = descriptor().and_then(|path| ours(&path));
            assert!(!changes || file.is_none(), "{file:?} is written through memory, which no trace shows");
            None
        }
        "rename" | "renameat" | "renameat2" => {
            assert!(
                ours(&quoted(call)?).is_none(),
                "a store's file is renamed, which this test does not follow"
            );
            None
        }
        _ => {
            let file = descriptor().and_then(|path| ours(&path));
            assert!(file.is_none(), "{name} on {file:?}: a way of writing that this test does not follow");
            None
        }
    }
}

/// The first quoted text of a call.
fn quoted(call: &str) -> Option<Vec<u8>> {
    let (text, rest) = call.split_once('"')?.1.split_once('"')?;
    assert!(!rest.starts_with("..."), "strace cut an argument short");
    Some(hex(text))
}

/// Octets that strace wrote as `\x2f`.
fn hex(text: &str) -> Vec<u8> {
    let octets = text.split("\\x").skip(1);
    octets.map(|octet| u8::from_str_radix(&octet[..2], 16).expect("two hexadecimal digits")).collect()
}
