//! scripts/: what can be proven of the box without being root of one, in a temporary root.

use rapidsms::devices::known::{Kind, TABLE};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_rapidsms");

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// Runs a script of scripts/ below a root and gives what it said.
fn run(script: &str, root: &Path, more: &[&str]) -> String {
    let mut command = Command::new(scripts().join(script));
    command.arg("--root").arg(root).args(more).env_remove("DESTDIR");
    said(command.output().expect("the script runs"))
}

fn install(root: &Path) -> String {
    run("install", root, &["--binary", BINARY])
}

#[track_caller]
fn said(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Every file with its permissions and content. The user database is the system's, and locks are nobody's.
fn files(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = fs::symlink_metadata(&path).unwrap();
            let name = format!("/{}", path.strip_prefix(root).unwrap().display());
            if facts.is_dir() {
                folders.push(path);
            } else if !["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/.pwd.lock"]
                .contains(&name.trim_end_matches('-'))
            {
                found.insert(name, (facts.permissions().mode() & 0o7777, fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn installing_twice_is_installing_once() {
    let root = tempfile::tempdir().unwrap();
    let first = install(root.path());
    let once = files(root.path());
    for (path, mode) in [
        ("/usr/local/bin/rapidsms", 0o755),
        ("/etc/systemd/system/rapidsms.service", 0o644),
        ("/etc/udev/rules.d/78-rapidsms.rules", 0o644),
        ("/etc/sysusers.d/rapidsms.conf", 0o644),
        ("/etc/tmpfiles.d/rapidsms.conf", 0o644),
        ("/etc/modules-load.d/rapidsms.conf", 0o644),
        ("/etc/rapidsms/settings.toml", 0o640),
        ("/usr/local/share/man/man1/rapidsms-modems.1", 0o644),
        ("/usr/local/share/bash-completion/completions/rapidsms", 0o644),
    ] {
        assert_eq!(once.get(path).map(|(mode, _)| *mode), Some(mode), "{path}");
        assert!(first.contains(&format!("installed  {path}")), "{path}: {first}");
    }
    let folder = fs::metadata(root.path().join("etc/rapidsms")).unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o750, "settings may hold secrets");

    let second = install(root.path());
    assert_eq!(files(root.path()), once);
    assert!(!second.contains("installed ") && !second.contains("updated "), "{second}");
}

/// What is installed works: the settings load, and the store is where the service may write.
#[test]
fn what_is_installed_is_in_order() {
    let root = tempfile::tempdir().unwrap();
    install(root.path());
    let settings = root.path().join("etc/rapidsms/settings.toml");
    let mut check = Command::new(root.path().join("usr/local/bin/rapidsms"));
    let checked = check.args(["check", "--json", "--settings"]).arg(&settings).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    // The store's folder is made by systemd; nothing else may be amiss.
    let faults: Vec<&serde_json::Value> = found["faults"].as_array().unwrap().iter().collect();
    let about_the_store = |fault: &&&serde_json::Value| fault["file"] == "/var/lib/rapidsms/rapidsms.db";
    assert_eq!(faults.iter().filter(about_the_store).count(), faults.len(), "{faults:?}");
    assert_ne!(checked.status.code(), Some(3), "{found}");
}

#[test]
fn what_was_edited_stays() {
    let root = tempfile::tempdir().unwrap();
    install(root.path());
    let settings = root.path().join("etc/rapidsms/settings.toml");
    let unit = root.path().join("etc/systemd/system/rapidsms.service");
    let rules = root.path().join("etc/udev/rules.d/78-rapidsms.rules");
    fs::write(&settings, "# mine\n").unwrap();
    fs::write(&unit, "# mine\n").unwrap();
    // An older version that nobody edited: the list knows it.
    let list = root.path().join("usr/local/share/rapidsms/installed");
    fs::write(&rules, "# older\n").unwrap();
    let older = said(Command::new("sha256sum").arg(&rules).output().unwrap());
    let known: Vec<String> = fs::read_to_string(&list)
        .unwrap()
        .lines()
        .map(|line| match line.split_once("  ") {
            Some((_, path)) if path.ends_with(".rules") => format!("{}  {path}", &older[..64]),
            _ => line.to_string(),
        })
        .collect();
    fs::write(&list, known.join("\n") + "\n").unwrap();

    for _ in 0..2 {
        let told = install(root.path());
        assert!(told.contains("kept       /etc/systemd/system/rapidsms.service"), "{told}");
        assert_eq!(fs::read_to_string(&settings).unwrap(), "# mine\n");
        assert_eq!(fs::read_to_string(&unit).unwrap(), "# mine\n");
        let new = fs::read(unit.with_extension("service.new")).unwrap();
        assert_eq!(new, fs::read(scripts().join("rapidsms.service")).unwrap());
        assert_eq!(fs::read(&rules).unwrap(), fs::read(scripts().join("rapidsms.rules")).unwrap());
    }

    let told = run("uninstall", root.path(), &[]);
    assert!(told.contains("kept       /etc/systemd/system/rapidsms.service, which was edited"), "{told}");
    let left: Vec<String> = files(root.path()).into_keys().collect();
    assert_eq!(
        left,
        [
            "/etc/rapidsms/settings.toml",
            "/etc/systemd/system/rapidsms.service",
            "/usr/local/share/rapidsms/installed"
        ]
    );
}

#[test]
fn uninstalling_keeps_messages_until_it_is_told_to_purge() {
    let root = tempfile::tempdir().unwrap();
    install(root.path());
    let store = root.path().join("var/lib/rapidsms");
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join("rapidsms.db"), "messages").unwrap();
    for _ in 0..2 {
        run("uninstall", root.path(), &[]);
        let left: Vec<String> = files(root.path()).into_keys().collect();
        assert_eq!(left, ["/etc/rapidsms/settings.toml", "/var/lib/rapidsms/rapidsms.db"]);
    }
    install(root.path());
    assert_eq!(fs::read(store.join("rapidsms.db")).unwrap(), b"messages");
    let told = run("uninstall", root.path(), &["--purge"]);
    assert!(told.contains("settings and messages"), "{told}");
    assert_eq!(files(root.path()).into_keys().collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_cannot_be_installed_is_said() {
    let root = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (vec!["--binary", "/no/such/program"], 1, "build it first"),
        (vec!["--binary", "/bin/false"], 1, "does not run on this machine"),
        (vec!["--nonsense"], 2, "Usage:"),
    ] {
        let mut command = Command::new(scripts().join("install"));
        let output = command.arg("--root").arg(root.path()).args(&arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{told}");
    }
    assert!(files(root.path()).is_empty());
}

/// systemd itself reads the unit, with a program and a manual page that are there.
#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("rapidsms.service");
    let text = fs::read_to_string(scripts().join("rapidsms.service")).unwrap();
    let text = text.replace("/usr/local/bin/rapidsms", BINARY).replace("Documentation=man:rapidsms(1)\n", "");
    fs::write(&unit, &text).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&unit).output() {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !told.contains("rapidsms.service"), "{told}");
        }
        Err(error) => println!("not verified: systemd-analyze: {error}"),
    }
    for line in [
        "SupplementaryGroups=dialout",
        "DevicePolicy=closed",
        "DeviceAllow=char-ttyUSB rw",
        "DeviceAllow=char-ttyACM rw",
    ] {
        assert!(text.lines().any(|have| have == line), "without {line} no modem can be opened");
    }
    assert!(!text.lines().any(|line| line == "PrivateDevices=yes"), "that hides every modem");
}

#[test]
fn sysusers_and_tmpfiles_are_understood() {
    let checks: [(&str, &[&str], &str); 2] = [
        ("systemd-sysusers", &["--dry-run"], "rapidsms.sysusers"),
        ("systemd-tmpfiles", &["--create", "--prefix=/nowhere"], "rapidsms.tmpfiles"),
    ];
    for (program, arguments, file) in checks {
        match Command::new(program).args(arguments).arg(scripts().join(file)).output() {
            Ok(output) => {
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() && !told.contains(file), "{program}: {told}");
            }
            Err(error) => println!("not checked: {program}: {error}"),
        }
    }
}

/// udev has no check of rules on every Debian, so the shape is checked here: known keys, operators, labels that are there.
#[test]
fn the_rules_for_udev_are_whole_and_name_every_maker() {
    let text = fs::read_to_string(scripts().join("rapidsms.rules")).unwrap();
    let rule = regex::Regex::new(
        r#"^(?:(?:ACTION|SUBSYSTEMS?|KERNELS|ATTRS?\{\w+(?:/\w+)*\}|ENV\{\w+\}|TEST|GOTO|LABEL|SYMLINK|GROUP|MODE)(?:==|!=|\+=|=)"[^"]*"(?:, |$))+$"#,
    )
    .unwrap();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(rule.is_match(line), "no rule for udev: {line}");
    }
    let goto = regex::Regex::new(r#"GOTO="(\w+)""#).unwrap();
    for found in goto.captures_iter(&text) {
        assert!(text.contains(&format!("LABEL=\"{}\"", &found[1])), "no label {}", &found[1]);
    }
    let mut makers: Vec<u16> =
        TABLE.iter().filter(|row| row.kind == Kind::Modem).map(|row| row.vendor).collect();
    makers.dedup();
    for maker in makers {
        assert!(
            text.contains(&format!("{maker:04x}|")) || text.contains(&format!("{maker:04x}\"")),
            "{maker:04x}"
        );
    }
    // Where udev can check rules, it does (systemd 254 and later).
    let mut verify = Command::new("udevadm");
    match verify.arg("verify").arg(scripts().join("rapidsms.rules")).output() {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("Unknown command") => {
            println!("not verified: this udevadm cannot");
        }
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("not verified: udevadm: {error}"),
    }
}

#[test]
fn the_scripts_are_clean_shell() {
    for script in ["install", "uninstall", "test", "bench"] {
        let path = scripts().join(script);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0o111, "{script} can be run");
        said(Command::new("sh").arg("-n").arg(&path).output().unwrap());
        match Command::new("shellcheck").arg(&path).output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            }
            Err(error) => println!("not checked: shellcheck: {error}"),
        }
    }
}
