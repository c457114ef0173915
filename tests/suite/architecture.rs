//! ARCHITECTURE.md says what is deliberately not there; here it is looked up in the sources. What comments, texts and tests say is left
//! out: only what the program does counts. That each engine and app stands in settings.toml is tested in `settings.rs`.

use rapidsms::registry::Registry;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every room, what it may know, and why no more. A room that is not here has no place in the house yet: say where it stands.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("time", &[], "a timestamp is a number"),
    ("message", &["time"], "the nouns know nobody who uses them"),
    ("pdu", &["message", "time"], "a codec is a pure function"),
    ("modem", &["pdu", "message", "time"], "a dialogue is a state machine without a port"),
    ("numbers", &[], "a number is a text, and what may be done with it is a rule"),
    ("retry", &["message"], "a failure in, a decision out"),
    ("guard", &["message", "time"], "it hears and allows; it sends nothing itself"),
    ("store", &["message", "time"], "a store decides nothing, so it knows nobody who decides"),
    ("settings", &["retry"], "what is typed becomes values; who uses them is not its business"),
    (
        "apps",
        &["message", "time", "store", "settings"],
        "an app sees messages, never a line; of the store it knows what a contact is",
    ),
    ("phases", &["message", "store", "apps"], "it runs apps over one message and hands back what came of it"),
    (
        "router",
        &["message", "time", "store", "apps", "phases", "retry", "guard"],
        "the core names no engine, no page and no setting",
    ),
    ("devices", &[], "it reads what the kernel says, and opens nothing"),
    ("http", &[], "requests and responses are octets, whoever they are for"),
    (
        "backends",
        &["message", "time", "settings", "router", "pdu", "modem", "devices", "numbers", "http"],
        "an engine never sees an app or the store; of the router it knows what a refusal is",
    ),
    (
        "hosts",
        &["message", "time", "settings", "apps", "phases", "pdu", "http"],
        "to the router a host is an app that answers later; how long it waits, and for whom, is its own business",
    ),
    ("registry", &["settings", "apps", "phases", "backends", "hosts"], "the list of what settings may name"),
    (
        "testing",
        &["message", "time", "store", "apps", "phases", "router"],
        "the router with a clock in the hand needs no daemon",
    ),
    (
        "hub",
        &["message", "time", "store", "settings", "apps", "router", "backends", "pdu"],
        "what threads say to each other is plain data and a channel",
    ),
    (
        "web",
        &["message", "time", "store", "settings", "router", "hub", "pdu", "http", "backends"],
        "a page reads, and hands events on; what a text costs is arithmetic; of the backends it knows who reads a gateway's requests",
    ),
    (
        "shell",
        &[
            "message", "time", "store", "settings", "apps", "phases", "retry", "guard", "router", "backends",
            "registry", "hub", "web", "http",
        ],
        "the daemon puts all the others on threads",
    ),
    ("simulator", &["pdu", "time"], "a second opinion on the AT dialogue shares no code with the first"),
    (
        "cli",
        &[
            "message",
            "time",
            "store",
            "settings",
            "apps",
            "phases",
            "router",
            "backends",
            "registry",
            "testing",
            "hub",
            "web",
            "shell",
            "pdu",
            "modem",
            "devices",
            "simulator",
        ],
        "the commands are on top of everything",
    ),
    ("bin", &["cli", "registry"], "a program is its exit code"),
];

/// Rooms whose every input is an argument and whose every effect is a value.
const PURE: &[&str] =
    &["time", "message", "retry", "guard", "apps", "phases", "router", "pdu", "modem", "numbers"];

/// A file of `src/` without comments, texts and tests.
struct Source {
    room: String,
    path: PathBuf,
    code: String,
    /// The same with its texts.
    spoken: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // A room's tests from within are no part of the program.
            if path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                let room = first.trim_end_matches(".rs").to_string();
                let path = Path::new("src").join(inside);
                found.push(Source { room, path, code: code_of(&text, false), spoken: code_of(&text, true) });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 30, "the sources are not read");
    found
}

/// Leaves out comments, tests at the end of a file and, unless they are wanted, texts. Lines stay where they are.
fn code_of(text: &str, with_texts: bool) -> String {
    let code = match text.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => &text[..tests],
        None => text,
    };
    let token = r##"(?s)//[^\n]*|/\*.*?\*/|b?r#"(?:.*?)"#|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^\n]{1,8}?|[^'\\])'"##;
    let token = Regex::new(token).unwrap();
    let replaced = token.replace_all(code, |found: &regex::Captures<'_>| {
        let token = &found[0];
        if with_texts && !token.starts_with('/') {
            return token.to_string();
        }
        let lines = "\n".repeat(token.matches('\n').count());
        if token.starts_with('/') { lines } else { format!("\"\"{lines}") }
    });
    replaced.into_owned()
}

/// Each place where one of these words stands, as `path:line: the line`.
fn places(source: &Source, code: &str, words: &Regex) -> Vec<String> {
    let lines = code.lines().enumerate().filter(|(_, line)| words.is_match(line));
    lines.map(|(index, line)| format!("{}:{}: {}", source.path.display(), index + 1, line.trim())).collect()
}

fn assert_none(found: Vec<String>, reason: &str) {
    assert!(found.is_empty(), "{reason}\n{}", found.join("\n"));
}

fn all(words: &str, concerns: impl Fn(&Source) -> bool) -> Vec<String> {
    let words = Regex::new(words).unwrap();
    let sources = sources().into_iter().filter(|source| concerns(source));
    sources.flat_map(|source| places(&source, &source.code, &words)).collect()
}

/// The rooms that each room names, with one place for each.
fn arrows() -> BTreeMap<(String, String), String> {
    let path = Regex::new(r"\b(?:crate|rapidsms)::(?:([a-z_]+)|\{([^}]*)\})").unwrap();
    let mut arrows = BTreeMap::new();
    for source in sources().into_iter().filter(|source| source.path != Path::new("src/lib.rs")) {
        for (index, line) in source.code.lines().enumerate() {
            for found in path.captures_iter(line) {
                let named = found.get(1).or(found.get(2)).map_or("", |names| names.as_str());
                for name in named.split(',') {
                    let name: String = name
                        .trim()
                        .chars()
                        .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
                        .collect();
                    if name != source.room && !name.is_empty() {
                        let place = format!("{}:{}", source.path.display(), index + 1);
                        arrows.entry((source.room.clone(), name)).or_insert(place);
                    }
                }
            }
        }
    }
    assert!(arrows.len() > 30, "the arrows are not found");
    arrows
}

#[test]
fn every_room_has_its_place() {
    let known: BTreeSet<&str> = ROOMS.iter().map(|(room, ..)| *room).collect();
    let there: BTreeSet<String> =
        sources().into_iter().map(|source| source.room).filter(|room| room != "lib").collect();
    let unknown: Vec<_> = there.iter().filter(|room| !known.contains(room.as_str())).collect();
    assert!(unknown.is_empty(), "say in ROOMS what {unknown:?} may know, and why no more");
}

#[test]
fn arrows_point_down_only() {
    let mut wrong = Vec::new();
    for ((from, to), place) in arrows() {
        let (_, allowed, reason) =
            ROOMS.iter().find(|(room, ..)| *room == from).expect("every room has its place");
        if !allowed.contains(&to.as_str()) {
            wrong.push(format!("{place}: {from} names {to}, but: {reason}"));
        }
    }
    assert_none(wrong, "arrows point down only; put what both need further down, or hand it over as a value");
}

/// The list itself has an order: whoever may be known stands above.
#[test]
fn no_arrow_of_the_list_points_up() {
    for (index, (room, allowed, _)) in ROOMS.iter().enumerate() {
        for other in *allowed {
            let above = ROOMS[..index].iter().any(|(known, ..)| known == other);
            assert!(above, "{room} may know {other}, which does not stand before it in ROOMS");
        }
    }
}

#[test]
fn the_core_reads_no_clock_and_opens_nothing() {
    let words = [
        r"\b(Instant|SystemTime|UNIX_EPOCH|thread|thread_local|sleep|park|getrandom|RandomState)\b",
        r"\b(File|TcpStream|UnixStream)\b|\bstd::(fs|net|env|process|thread|io|os)\b",
        r"\b(crossbeam_channel|mio|rustix|rusqlite)::|\bjiff::Zoned\b|Timestamp::now|\be?println!",
    ];
    let host = ["src/simulator/host.rs", "src/simulator/host"].map(Path::new);
    let model = |source: &Source| {
        let driver = source.path.starts_with("src/backends/gsm/driver");
        let http = source.path.starts_with("src/backends/http") && !source.path.ends_with("mod.rs");
        driver
            || http
            || (source.room == "simulator" && !host.iter().any(|host| source.path.starts_with(host)))
    };
    let found = all(&words.join("|"), |source| PURE.contains(&source.room.as_str()) || model(source));
    assert_none(
        found,
        "time is an argument and effects are values in these rooms, or no test can play what happens at night",
    );
}

#[test]
fn only_the_shell_spawns_threads() {
    // The hands of a backend live within one run of it, on a thread of the shell.
    let may = |source: &Source| source.room == "shell" || source.path == Path::new("src/backends/hands.rs");
    let found = all(r"\bspawn\w*\(|\bthread::(spawn|scope|Builder)|\bthread::\{", |source| !may(source));
    assert_none(found, "threads are spawned, named, watched and joined in src/shell alone");
}

#[test]
fn nobody_sleeps() {
    let found = all(r"\bsleep\w*\(|\bpark_timeout\(|\byield_now\(|\bspin_loop\(", |_| true);
    // `may_sleep` of the web's door asks whether its poll may wait, and is no sleep.
    let found = found.into_iter().filter(|place| !place.contains("may_sleep(")).collect();
    assert_none(found, "wait for one thing that wakes you, with a deadline; never for time to pass");
}

#[test]
fn nothing_is_global_and_nothing_unsafe() {
    let found =
        all(r"\bstatic\s+mut\b|\bunsafe\s*(\{|fn|impl|trait|extern)|\blazy_static!|\bthread_local!", |_| {
            true
        });
    assert_none(found, "the one router of the daemon is a local variable of the shell");
    let found = all(
        r"\bstatic\s+\w+\s*:.*\b(Mutex|RwLock|OnceLock|OnceCell|LazyLock|Atomic\w+|Cell|RefCell)\b",
        |_| true,
    );
    assert_none(found, "what changes belongs to somebody; a static that changes belongs to nobody");
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""), "Cargo.toml must forbid unsafe code");
}

#[test]
fn the_core_names_no_engine_and_no_app() {
    let catalogue = Registry::standard().catalogue();
    let engines = catalogue.engines.iter().map(|engine| engine.name);
    let apps = catalogue.apps.iter().map(|app| app.name).filter(|name| *name != "default");
    let names: Vec<_> = engines.chain(apps).map(regex::escape).collect();
    assert!(names.len() > 5, "{names:?}");
    let words = Regex::new(&format!(r"\b({})\b", names.join("|"))).unwrap();
    // Texts count here: a name within quotes is a name.
    let rooms = ["router", "phases", "retry", "guard", "store", "message"];
    let sources = sources().into_iter().filter(|source| rooms.contains(&source.room.as_str()));
    let found = sources.flat_map(|source| places(&source, &source.spoken, &words)).collect();
    assert_none(
        found,
        "the core treats all engines and apps alike: a difference is a rule in BackendPolicy or a flow of the app",
    );
}

/// What a stranger may meet cannot be unwrapped. A lock that is poisoned and a pattern that is a constant are no strangers, but
/// they can be written without it.
#[test]
fn nothing_is_unwrapped() {
    let found = all(r"\.unwrap\(\)|\.unwrap_err\(\)|\btodo!|\bunimplemented!|\bdbg!", |_| true);
    assert_none(found, "an error from outside is answered, never unwrapped; and nothing is left to do later");
}

/// The scanner that all of this stands on.
#[test]
fn the_scanner_sees_code_only() {
    let text = r##"
        let a = "thread::spawn"; // thread::spawn
        /* sleep( */ let b = 'x'; let c: &'static str = r#"unsafe { "quoted" }"#; let d = '"'; spawn(b'\'');
        let e = "one \" two
        three"; real();
        let f = "http";
#[cfg(test)]
mod tests {
    fn x() { y.unwrap() }
}
"##;
    let code = code_of(text, false);
    for word in ["thread::spawn", "sleep", "unsafe", "quoted", "three", "unwrap", "http"] {
        assert!(!code.contains(word), "{word} in {code}");
    }
    assert!(code.contains("spawn(") && code.contains("real();") && code.contains("&'static str"), "{code}");
    assert_eq!(code.lines().position(|line| line.contains("real()")), Some(4), "lines stay where they are");
    assert!(code_of(text, true).contains("\"http\""));
}
