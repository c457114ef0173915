//! Conversations with the program as text files: tests/cli/NAME.txt.
//!
//! A line that begins with `$` is what somebody does; the lines below it are what they see: standard output as it is, standard error
//! behind `! `, an empty line as `(empty)`, and an exit code other than 0 as `= N`. `#` begins a comment. The folder starts with the settings of [`SETTINGS`].
//!
//! | line | does |
//! |---|---|
//! | `$ rapidsms ...` | runs a command; words may stand in single quotes; `< FILE` at the end is its standard input |
//! | `$ write FILE` | writes the lines below that begin with <code>\| </code> to a file |
//! | `$ chmod MODE FILE` | changes who may read a file or a folder |
//! | `$ router starts`, `$ router stops`, `$ router is killed` | with everything that this needs to be over |
//! | `$ IDENTITY says TEXT` | one message by the Message Tester |
//! | `$ IDENTITY is sent TEXT` | waits until such a message was sent |
//!
//! Ids are called `ID1`, `ID2` ... in the order of their appearance (and `ID1~` when shortened), and may be used so in commands; times are
//! `TIME`, the folder is `FOLDER`. After a wanted change run the tests with `BLESS=1` and read the difference.

use crate::daemon::{Daemon, Ended, Ran, folder, rapidsms_with};
use regex::{Captures, Regex};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One tester, one line to real people that is parked because somebody must mend its settings, every app.
pub const SETTINGS: &str = r#"
INSTALLED_APPS = ["handlers", "registration", "echo", "default"]

[web]
listen = "127.0.0.1:0"

[INSTALLED_BACKENDS.message_tester]
ENGINE = "bucket"

[INSTALLED_BACKENDS.Zain]
ENGINE = "kannel"
charset = "klingon"
"#;

/// Plays tests/cli/NAME.txt.
pub fn play(name: &str) {
    let path = PathBuf::from("tests/cli").join(format!("{name}.txt"));
    let expected = fs::read_to_string(&path).expect("a transcript");
    let found = Stage::new().play(&expected);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &found).expect("the transcript can be written");
    } else if found != expected {
        let mut pairs = expected.lines().zip(found.lines()).enumerate();
        let apart = pairs.find(|(_, (expected, found))| expected != found);
        let (line, (wanted, got)) = apart.unwrap_or((0, ("one length", "another")));
        panic!("{}:{}\n  expected {wanted}\n  found    {got}\n\n{found}", path.display(), line + 1);
    }
}

struct Stage {
    folder: Option<TempDir>,
    daemon: Option<Daemon>,
    place: PathBuf,
    ids: Vec<String>,
    /// A full id or its unique beginning; a time in one of its forms.
    id: Regex,
    time: Regex,
    process: Regex,
}

impl Stage {
    fn new() -> Stage {
        let folder = folder(SETTINGS);
        let place = folder.path().canonicalize().expect("the folder is there");
        let regex = |pattern| Regex::new(pattern).expect("a pattern");
        Stage {
            folder: Some(folder),
            daemon: None,
            place,
            ids: Vec::new(),
            id: regex("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}(-[0-9a-f]{4}-[0-9a-f]{12})?"),
            time: regex(r"(\d{4}-)?\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d\d:\d\d)?"),
            process: regex(r"process \d+"),
        }
    }

    fn play(mut self, script: &str) -> String {
        let mut played = String::new();
        let lines: Vec<&str> = script.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if let Some(deed) = line.strip_prefix("$ ") {
                let _ = writeln!(played, "{line}");
                let content = lines[index + 1..].iter().map_while(|line| line.strip_prefix("| "));
                let content: Vec<&str> = content.collect();
                for line in &content {
                    let _ = writeln!(played, "| {line}");
                }
                let seen = self.act(deed, &content);
                played.push_str(&seen);
            } else if line.is_empty() || line.starts_with('#') {
                let _ = writeln!(played, "{line}");
            }
        }
        played
    }

    fn act(&mut self, deed: &str, content: &[&str]) -> String {
        let words = words(deed);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["rapidsms", arguments @ ..] => return self.run(arguments),
            ["write", file] => {
                let text: String = content.iter().map(|line| format!("{line}\n")).collect();
                fs::write(self.place.join(file), text).expect("a file is written");
            }
            ["chmod", mode, file] => {
                let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
                fs::set_permissions(self.place.join(file), fs::Permissions::from_mode(mode)).expect("chmod");
            }
            ["router", "starts"] => {
                self.daemon = self.folder.take().map(Daemon::start_in);
                self.router().wait_until("every backend has said how it is", |daemon| {
                    let backends = daemon.get("/api/v1/backends").body;
                    (!backends.contains("\"starting\"")).then_some(())
                });
            }
            ["router", "stops"] => self.ends(0, Daemon::stop),
            ["router", "is", "killed"] => self.ends(137, Daemon::kill9),
            [identity, "says", text] => self.router().says(identity, text),
            [identity, "is", "sent", text] => {
                self.router().answers(identity, text);
            }
            _ => panic!("nobody knows how to do this: {deed}"),
        }
        String::new()
    }

    fn router(&self) -> &Daemon {
        self.daemon.as_ref().expect("the router runs")
    }

    fn ends(&mut self, code: i32, end: impl FnOnce(Daemon) -> Ended) {
        let ended = end(self.daemon.take().expect("the router runs"));
        assert_eq!(ended.code, code, "{}", ended.log);
        self.folder = Some(ended.folder);
    }

    fn run(&mut self, arguments: &[&str]) -> String {
        let (arguments, input) = match arguments {
            [arguments @ .., "<", file] => (arguments, fs::read(self.place.join(file)).expect("the input")),
            arguments => (arguments, Vec::new()),
        };
        let mut arguments: Vec<String> = arguments.iter().map(|word| (*word).to_string()).collect();
        for argument in &mut arguments {
            for (index, id) in self.ids.iter().enumerate().rev() {
                let name = format!("ID{}", index + 1);
                *argument = argument.replace(&format!("{name}~"), &id[..18]).replace(&name, id);
            }
        }
        let Ran { code, out, err } = rapidsms_with(&self.place, &arguments, &input);
        let mut seen = String::new();
        for line in self.tidy(&out).lines() {
            let _ = writeln!(seen, "{}", if line.is_empty() { "(empty)" } else { line });
        }
        for line in self.tidy(&err).lines() {
            let _ = writeln!(seen, "{}", format!("! {line}").trim_end());
        }
        if code != 0 {
            let _ = writeln!(seen, "= {code}");
        }
        seen
    }

    /// What differs from run to run gets a name.
    fn tidy(&mut self, text: &str) -> String {
        let ids = &mut self.ids;
        let named = self.id.replace_all(text, |found: &Captures<'_>| {
            let found = &found[0];
            // The first sight may be of a shortened id.
            let known = ids.iter().position(|id| id.starts_with(found) || found.starts_with(id.as_str()));
            let index = known.unwrap_or_else(|| {
                ids.push(String::new());
                ids.len() - 1
            });
            if ids[index].len() < found.len() {
                ids[index] = found.to_string();
            }
            format!("ID{}{}", index + 1, if found.len() < 36 { "~" } else { "" })
        });
        let timed = self.time.replace_all(&named, "TIME");
        let timed = self.process.replace_all(&timed, "process N");
        timed.replace(&shown(&self.place), "FOLDER")
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Cuts at spaces, outside of single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, piece) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(piece.to_string());
        } else {
            words.extend(piece.split_whitespace().map(str::to_string));
        }
    }
    words
}
