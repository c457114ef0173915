//! Settings: what loads and what it means, and every fault as a person sees it.
//!
//! A case is a file in tests/settings/: `bad/NAME.toml` must fail and `good/` and `old/` (blocks of the old systems' documents) must
//! load; beside each, `NAME.txt` says what comes out. After a wanted change run the tests with `BLESS=1` and read the difference.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rapidsms::registry::Registry;
use rapidsms::settings::{
    self, Fault, Handler, Kind, Limits, Loaded, MOST_FAULTS, Secret, SettingsError, Severity, Surroundings,
    Value,
};

fn variable(name: &str) -> Option<String> {
    match name {
        "TEST_SECRET" => Some("hunter2-hunter2-hunter2".into()),
        "TEST_EMPTY" => Some(String::new()),
        "CREDENTIALS_DIRECTORY" => Some("tests/settings/credentials".into()),
        _ => None,
    }
}

fn parse(text: &str, path: &Path) -> Result<Loaded, SettingsError> {
    let surroundings = Surroundings { variable: &variable, readable_by_others: false };
    settings::parse(text.as_bytes(), path, &Registry::standard().catalogue(), &surroundings)
}

fn parse_text(text: &str) -> Result<Loaded, SettingsError> {
    parse(text, Path::new("settings.toml"))
}

/// Runs every case of a folder, and compares what comes out with the text beside it.
fn each_case(folder: &str, outcome: impl Fn(&str, Result<Loaded, SettingsError>) -> String) {
    let folder = Path::new("tests/settings").join(folder);
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("a case").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let mut wrong = String::new();
    for case in cases {
        let text = fs::read_to_string(&case).expect("a case is text");
        let here = std::env::current_dir().expect("a current folder");
        let found = outcome(&text, parse(&text, &case)).replace(&here.display().to_string(), "ROOT");
        assert!(!found.contains("hunter2"), "a secret is shown by {}:\n{found}", case.display());
        let golden = case.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &found).expect("the golden file can be written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            let _ = writeln!(wrong, "{}\n--- expected\n{expected}\n--- found\n{found}", case.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Everything that the settings say, for people to read.
fn describe(loaded: &Loaded) -> String {
    let Loaded { settings, warnings } = loaded;
    let mut text = String::new();
    let mut line = |what: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{what}");
    };
    line(format_args!(
        "project_name {:?}, default_response {:?}",
        settings.project_name, settings.default_response
    ));
    for app in &settings.installed_apps {
        let (name, given, host) = (&app.name, &app.given_name, app.host);
        line(format_args!(
            "app {name} ({given}), host {host:?}, built {}, options {:?}",
            app.built, app.options
        ));
    }
    for backend in &settings.backends {
        let (name, engine, built) = (&backend.name, backend.engine, backend.built);
        line(format_args!("backend {name} = {engine} ({}), built {built}", backend.given_engine));
        line(format_args!(
            "  tester {}, handler {:?}, window {:?}, validity {:?}, on_uncertain {:?}, allow_test_traffic {}, loop_guard {}, watchdog {:?}",
            backend.tester,
            backend.handler,
            backend.window,
            backend.validity,
            backend.on_uncertain,
            backend.allow_test_traffic,
            backend.loop_guard,
            backend.watchdog
        ));
        line(format_args!("  options {:?}", backend.options));
        if backend.limits != Limits::default() {
            line(format_args!("  {:?}", backend.limits));
        }
    }
    for group in &settings.groups {
        line(format_args!("{group:?}"));
    }
    line(format_args!("{:?}", settings.database));
    line(format_args!("{:?}", settings.web));
    if let Some(server) = &settings.kannel_server {
        line(format_args!("{server:?}"));
    }
    line(format_args!("{:?}", settings.router));
    line(format_args!("languages {:?}, language_code {:?}", settings.languages, settings.language_code));
    line(format_args!("log_level {:?}, strict {}", settings.log_level, settings.strict));
    for warning in warnings {
        line(format_args!("{warning}"));
    }
    text
}

#[test]
fn good_settings_load_and_mean_what_they_say() {
    each_case("good", |_, outcome| describe(&outcome.unwrap_or_else(|error| panic!("{error}"))));
}

#[test]
fn the_old_documents_load_and_mean_the_same() {
    each_case("old", |_, outcome| describe(&outcome.unwrap_or_else(|error| panic!("{error}"))));
}

#[test]
fn bad_settings_say_what_where_and_what_to_do() {
    each_case("bad", |text, outcome| {
        let error = outcome.err().unwrap_or_else(|| panic!("this should not load:\n{text}"));
        for fault in error.faults.iter().filter(|fault| fault.is_error()) {
            assert!(fault.line.is_some() && fault.column.is_some(), "no place: {fault}");
            let syntax = fault.message.starts_with("this is not valid TOML");
            assert!(syntax || fault.hint.is_some(), "no advice: {fault}");
        }
        format!("{error}\n")
    });
}

#[test]
fn faults_as_json_have_place_message_and_hint() {
    let error = parse_text("INSTALED_APPS = []\n").expect_err("a misspelt key");
    let json = serde_json::to_value(&error).expect("JSON");
    assert_eq!(
        json[0],
        serde_json::json!({
            "file": "settings.toml", "line": 1, "column": 1, "severity": "error",
            "message": "unknown key \"INSTALED_APPS\" in the settings", "hint": "did you mean \"INSTALLED_APPS\"?",
        })
    );
}

#[test]
fn the_order_of_backends_and_apps_is_that_of_the_file() {
    let text = "INSTALLED_APPS = [\"default\", \"echo\"]\n[INSTALLED_BACKENDS]\nz = { ENGINE = \"bucket\" }\na = { ENGINE = \"bucket\" }";
    let settings = parse_text(text).expect("loads").settings;
    assert_eq!(settings.backends.iter().map(|backend| backend.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(
        settings.installed_apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["default", "echo"]
    );
}

#[test]
fn options_have_kinds_defaults_and_places() {
    let text = fs::read_to_string("tests/settings/old/kannel.toml").expect("the case");
    let settings = parse_text(&text).expect("loads").settings;
    let kannel = &settings.backends[0];
    assert_eq!(kannel.options.text("SENDSMS_URL"), Some("http://127.0.0.1:13013/cgi-bin/sendsms"));
    assert_eq!(kannel.options.integer("coding"), Some(0));
    let params = kannel.options.table("sendsms_params").expect("a table");
    assert_eq!(params[0], ("smsc".to_owned(), Value::Text("usb0-modem".into())));
    assert_eq!(params[3], ("password".to_owned(), Value::Secret(Secret::new("CHANGE-ME"))));
    assert!(kannel.options.is_given("charset") && !kannel.options.is_given("timeout"));
    let fault = kannel.options.fault("charset", "no such charset");
    assert_eq!((fault.line, fault.column), (Some(10), Some(11)));
    assert_eq!(kannel.options.place("timeout").position().0, 5, "a default points at the header");
    assert_eq!(settings.backends[0].handler, None::<Handler>);
}

#[test]
fn a_reload_can_tell_what_changed() {
    let with = |body: &str| {
        let text = format!("INSTALLED_APPS = [\"echo\"]\n{body}");
        parse_text(&text).expect("loads").settings.backends.remove(0)
    };
    let first = with("[INSTALLED_BACKENDS.m]\nENGINE = \"email\"\nusername = \"u\"\npassword = \"one\"");
    let moved =
        with("# moved\n\n[installed_backends.m]\npassword = \"one\"\nusername = \"u\"\nengine = \"email\"");
    let other = with("[INSTALLED_BACKENDS.m]\nENGINE = \"email\"\nusername = \"u\"\npassword = \"two\"");
    let shorter = with(
        "[router]\nvalidity = \"1h\"\n[INSTALLED_BACKENDS.m]\nENGINE = \"email\"\nusername = \"u\"\npassword = \"one\"",
    );
    assert_eq!(first, moved);
    assert_ne!(first, other);
    assert_ne!(first, shorter);
}

#[test]
fn secrets_are_never_printed_and_can_be_compared() {
    let secret = Secret::new("hunter2");
    assert_eq!(
        format!("{secret} {secret:?} {}", serde_json::to_string(&secret).expect("JSON")),
        "*** *** \"***\""
    );
    assert!(secret.matches(b"hunter2") && !secret.matches(b"hunter3") && !secret.matches(b"hunter"));
}

#[test]
fn old_and_dotted_names_are_mapped() {
    let catalogue = Registry::standard().catalogue();
    let engine = |written: &str| catalogue.engine(written).map(|engine| engine.name);
    assert_eq!(engine("rapidsms.backends.gsm"), Some("gsm"));
    assert_eq!(engine("rapidsms.backends.kannel.outgoing.KannelBackend"), Some("kannel"));
    assert_eq!(engine("rapidsms.backends.database.DatabaseBackend"), Some("bucket"));
    assert_eq!(engine("rapidsms.backends.kannel.outgoing.kannelbackend"), None, "a class has a capital");
    assert_eq!(engine("gsm.GsmBackend"), None);
    assert_eq!(engine("rapidsms.backends.gms"), None);
    assert!(catalogue.old_app("django.contrib.auth").is_some() && catalogue.old_app("djangox").is_none());
    let names: Vec<_> = catalogue.mappings().into_iter().map(|row| row.written).collect();
    let different: BTreeSet<_> = names.iter().collect();
    assert!(names.iter().all(|name| *name == name.to_lowercase()), "names are compared in small letters");
    assert!(different.len() > 50);
    assert!(catalogue.mappings_as_text().contains("rapidsms.backends.gsm"));
}

/// The `#:` blocks of the shipped file, each as the whole file with that block switched on.
fn shipped_blocks(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let end = (at..lines.len()).find(|line| lines[*line].trim().is_empty()).unwrap_or(lines.len());
        if lines[at..end].iter().any(|line| line.starts_with("#:")) {
            let switched = lines.iter().enumerate().map(|(number, line)| match line.strip_prefix("#:") {
                Some(setting) if (at..end).contains(&number) => setting.trim_start(),
                _ => line,
            });
            blocks.push((at + 1, switched.collect::<Vec<_>>().join("\n")));
        }
        at = end + 1;
    }
    blocks
}

#[test]
fn the_shipped_settings_load_without_a_remark() {
    let text = fs::read_to_string("settings.toml").expect("settings.toml");
    let Loaded { settings, warnings } = parse_text(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings, []);
    assert_eq!(settings.web.listen, ["127.0.0.1:8000".parse().expect("an address")]);
    assert_eq!(
        settings.backends.iter().map(|backend| backend.name.as_str()).collect::<Vec<_>>(),
        ["message_tester"]
    );
    let apps: Vec<_> = settings.installed_apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(apps, ["handlers", "registration", "echo", "default"]);
}

#[test]
fn each_commented_block_of_the_shipped_settings_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("secrets")).expect("a folder");
    for secret in ["secrets/token", "token"] {
        fs::write(folder.path().join(secret), "0123456789abcdef0123456789abcdef\n").expect("a file");
        only_for_owner(&folder.path().join(secret));
    }
    let here = folder.path().display().to_string();
    let variable = move |name: &str| match name {
        "CREDENTIALS_DIRECTORY" => Some(here.clone()),
        _ => Some("0123456789abcdef0123456789abcdef".to_owned()),
    };
    let surroundings = Surroundings { variable: &variable, readable_by_others: true };
    let text = fs::read_to_string("settings.toml").expect("settings.toml");
    let blocks = shipped_blocks(&text);
    assert!(blocks.len() > 20, "only {} blocks", blocks.len());
    for (line, block) in blocks {
        let path = folder.path().join("settings.toml");
        let loaded =
            settings::parse(block.as_bytes(), &path, &Registry::standard().catalogue(), &surroundings)
                .unwrap_or_else(|error| panic!("the block at line {line} of settings.toml:\n{error}"));
        assert!(
            loaded.settings.installed_apps.len() == 4 && !loaded.settings.backends.is_empty(),
            "the block at line {line} of settings.toml takes something away"
        );
        let insecure =
            |fault: &&Fault| fault.severity == Severity::Warning && fault.message.contains("every user");
        assert_eq!(
            loaded.warnings.iter().find(insecure),
            None,
            "the block at line {line} teaches plain secrets"
        );
    }
}

#[cfg(unix)]
fn only_for_owner(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

/// A new engine, app or key that is not in the manual fails here.
#[test]
fn every_engine_app_and_key_is_in_the_shipped_settings() {
    let text = fs::read_to_string("settings.toml").expect("settings.toml");
    let catalogue = Registry::standard().catalogue();
    let blocks: Vec<String> = text.split("\n\n").map(str::to_lowercase).collect();
    for engine in catalogue.engines.iter().chain(&catalogue.hosts) {
        let names = || std::iter::once(engine.name).chain(engine.aliases.iter().copied());
        let own: Vec<&String> = blocks
            .iter()
            .filter(|block| names().any(|name| block.contains(&format!("engine = \"{name}\""))))
            .collect();
        assert!(!own.is_empty(), "settings.toml has no block for the engine {}", engine.name);
        for key in engine.keys.iter().filter(|key| !matches!(key.kind, Kind::Ignored(_))) {
            let wanted = format!("{} = ", key.name.to_lowercase());
            assert!(
                own.iter().any(|block| block.contains(&wanted)),
                "{} of {} is missing",
                key.name,
                engine.name
            );
        }
    }
    for app in &catalogue.apps {
        assert!(
            text.contains(&format!("#   {} ", app.name)),
            "settings.toml does not explain the app {}",
            app.name
        );
    }
    for (title, keys) in catalogue.fixed_tables() {
        for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Ignored(_) | Kind::Any)) {
            let wanted = format!("{} = ", key.name.to_lowercase());
            assert!(
                text.to_lowercase().contains(&wanted),
                "{} of {title} is missing in settings.toml",
                key.name
            );
        }
    }
}

#[test]
fn files_that_are_no_settings_are_refused_with_a_reason() {
    let surroundings = Surroundings { variable: &variable, readable_by_others: false };
    let refused = |bytes: &[u8]| {
        let outcome =
            settings::parse(bytes, Path::new("s.toml"), &Registry::standard().catalogue(), &surroundings);
        outcome.expect_err("refused").to_string()
    };
    assert!(refused(b"\xff\xfeP\0").contains("UTF-16"));
    assert!(
        refused(b"A = 1\nPROJECT_NAME = \"caf\xe9\"\n")
            .starts_with("s.toml:2:20: error: the file is not UTF-8")
    );
    assert!(refused(b"PROJECT_NAME = \"a\0b\"\n").starts_with("s.toml:1:18: error: there is a NUL"));
    assert!(refused(&vec![b'#'; 10 * 1024 * 1024]).contains("longer than 1 MiB"));
    for deep in
        ["[".repeat(100_000), "a={".repeat(10_000), format!("{} = 1", "a.".repeat(1000)), "x = ".repeat(9)]
    {
        refused(deep.as_bytes());
    }
    let nested = format!("{}b=1{}", format!("{}={{", ["a"; 79].join(".")).repeat(79), "}".repeat(79));
    assert!(refused(nested.as_bytes()).contains("nested too deeply"));
    let disguised = format!("x = 1 # \r{}b=1", "a.a.a.a.a.a.a.a={".repeat(79));
    assert!(
        refused(disguised.as_bytes()).contains("nested too deeply"),
        "a lone CR ends a comment for the parser"
    );
    let marked = settings::parse(
        b"\xef\xbb\xbfSTRICT = true",
        Path::new("s"),
        &Registry::standard().catalogue(),
        &surroundings,
    );
    assert!(marked.expect("a byte-order mark is harmless").settings.strict);
    let windows =
        parse_text("STRICT = true\r\nPROJECT_NAM = \"x\"\r\n").expect_err("a misspelt key").to_string();
    assert!(windows.contains("PROJECT_NAM = ...\n"), "{windows:?}");
}

#[test]
fn dots_and_brackets_in_text_and_comments_are_not_depth() {
    let text = format!(
        "# {}\nPROJECT_NAME = \"{}\"\n{}[INSTALLED_BACKENDS.a] # {}\nENGINE = \"bucket\"\n",
        "[".repeat(100),
        "[.".repeat(100),
        "# a.b.c. \"\n".repeat(40),
        "...".repeat(40)
    );
    parse_text(&text).expect("loads");
}

#[test]
fn a_hostile_file_costs_no_more_than_a_bad_one() {
    let many: String = (0..60_000).map(|number| format!("k{number}=1\n")).collect();
    let error = parse_text(&many).expect_err("unknown keys");
    assert!(error.faults.len() <= MOST_FAULTS + 4, "{}", error.faults.len());
    assert!(error.to_string().contains("and 59900 more errors"));
    let one_line: String = (0..60_000).map(|number| format!("k{number}=1,")).collect();
    let error = parse_text(&format!("INSTALLED_BACKENDS = {{{one_line}}}")).expect_err("not tables");
    assert!(error.faults.len() <= MOST_FAULTS + 4);
    let notes: String = (0..500).map(|number| format!("\"django.a{number}\",")).collect();
    let text = format!("INSTALLED_APPS = [{notes} \"echo\"]\nPROJECT_NAM = 1");
    let error = parse_text(&text).expect_err("the error is not lost behind the notes");
    assert_eq!(error.errors(), 1, "{error}");
}

#[test]
#[cfg(unix)]
fn plain_secrets_that_everybody_can_read_are_a_warning_and_an_error_when_strict() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("settings.toml");
    let text = "INSTALLED_APPS = [\"echo\"]\n#STRICT\n[web]\ntoken = \"0123456789abcdef\"\n[INSTALLED_BACKENDS.t]\nENGINE = \"bucket\"\n";
    let catalogue = Registry::standard().catalogue();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
    fs::write(&path, text).expect("a file");
    mode(0o644);
    let loaded = settings::load(&path, &catalogue).expect("a warning only");
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert_eq!((warning.severity, warning.line), (Severity::Warning, Some(4)));
    assert!(warning.message.starts_with("every user of this machine can read"), "{warning}");
    assert!(!warning.to_string().contains("0123"), "{warning}");
    mode(0o600);
    assert_eq!(settings::load(&path, &catalogue).expect("loads").warnings, []);
    fs::write(&path, text.replace("#STRICT", "STRICT = true")).expect("a file");
    settings::load(&path, &catalogue).expect("safe, so strict is content");
    mode(0o644);
    assert_eq!(settings::load(&path, &catalogue).expect_err("strict").errors(), 1);
    fs::write(
        &path,
        text.replace("#STRICT", "STRICT = true").replace("\"0123456789abcdef\"", "{ file = \"t\" }"),
    )
    .expect("a file");
    fs::write(folder.path().join("t"), "0123456789abcdef").expect("a file");
    fs::set_permissions(folder.path().join("t"), fs::Permissions::from_mode(0o644)).expect("permissions");
    let error = settings::load(&path, &catalogue).expect_err("the other file is as open").to_string();
    assert!(error.contains("holds \"token\""), "{error}");
}

#[test]
fn a_missing_file_says_which_places_were_tried() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, etc) = (folder.path().join("settings.toml"), folder.path().join("etc.toml"));
    let usual = [here.as_path(), etc.as_path()];
    let named = folder.path().join("other.toml");
    let error = settings::find_among(None, None, &usual).expect_err("nothing there").to_string();
    for part in ["--settings", "$RAPIDSMS_SETTINGS", "settings.toml", "etc.toml"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    fs::write(&etc, "").expect("a file");
    assert_eq!(settings::find_among(None, None, &usual).expect("the last"), etc);
    fs::write(&here, "").expect("a file");
    assert_eq!(settings::find_among(None, None, &usual).expect("the first"), here);
    assert_eq!(settings::find_among(None, Some(etc.clone().into()), &usual).expect("the variable's"), etc);
    assert_eq!(
        settings::find_among(Some(&here), Some(etc.clone().into()), &usual).expect("the named one"),
        here
    );
    let error = settings::find_among(Some(&named), None, &usual).expect_err("it is not there").to_string();
    assert!(
        error.contains("other.toml: error: there is no settings file here (named by --settings)"),
        "{error}"
    );
    let error =
        settings::find_among(None, Some(named.into()), &usual).expect_err("it is not there").to_string();
    assert!(error.contains("named by $RAPIDSMS_SETTINGS"), "{error}");
    let error =
        settings::load(folder.path(), &Registry::standard().catalogue()).expect_err("a folder").to_string();
    assert!(error.contains("must be a file, and this is a folder"), "{error}");
    let error = settings::load(&folder.path().join("gone"), &Registry::standard().catalogue())
        .expect_err("gone")
        .to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

/// Pieces of settings in any order: nearer to the reader's corners than random characters.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[INSTALLED_BACKENDS.x]\n"),
        Just("[installed_backends]\n"),
        Just("[APPS.x]\n"),
        Just("[web]\n"),
        Just("ENGINE"),
        Just("token"),
        Just("listen"),
        Just("INSTALLED_APPS"),
        Just("sendsms_params"),
        Just("LANGUAGES"),
        Just(" = "),
        Just("\"gsm\""),
        Just("\"é\u{202e}%(\""),
        Just("\"\"\""),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just("."),
        Just(","),
        Just("\n"),
        Just("\r\n"),
        Just("1"),
        Just("1e999"),
        Just("true"),
        Just("#"),
        Just("\\"),
        Just("1979-05-27"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn never_panics(bytes: &[u8]) {
    let surroundings = Surroundings { variable: &variable, readable_by_others: true };
    match settings::parse(bytes, Path::new("settings.toml"), &Registry::standard().catalogue(), &surroundings)
    {
        Ok(loaded) => assert!(!loaded.warnings.iter().any(Fault::is_error) && !describe(&loaded).is_empty()),
        Err(error) => assert!(error.errors() > 0 && !error.to_string().is_empty(), "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        never_panics(text.as_bytes());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        never_panics(&bytes);
    }

    #[test]
    fn no_pieces_of_settings_panic(text in pieces()) {
        never_panics(text.as_bytes());
    }

    #[test]
    fn no_cut_or_changed_manual_panics(at in 0_usize..12_000, byte in any::<u8>(), cut in any::<bool>()) {
        let mut manual = fs::read("settings.toml").expect("settings.toml");
        let at = at.min(manual.len() - 1);
        manual[at] = byte;
        if cut {
            manual.truncate(at + 1);
        }
        never_panics(&manual);
    }
}
