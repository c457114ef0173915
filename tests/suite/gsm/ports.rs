//! A stick that shows several ports and that nobody knows: the real program listens to all of them, and uses the one that announces.

use super::found::{E173, STRANGER, Stage};
use super::live::FROM;
use std::fs;
use std::time::{Duration, Instant};

/// A message that nobody announces is found by a look through the storages after 15 s and more; this is less, also on a machine that has
/// much to do.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A stick with these ports, plugged in; the router is up.
fn stick(ports: &str, more: &str) -> Stage {
    let which = format!("usb = \"1-1.2\"\n{more}");
    let arguments = ["--commands", "--ports", ports];
    let stage = Stage::with(&[("zain", "generic")], &[("Zain", &which)], &arguments);
    stage.logs("waiting for it", 1);
    let names = ["zain", "zain.1", "zain.2"];
    let ttys: Vec<(&str, &str, &str)> = [("ttyUSB0", "00"), ("ttyUSB1", "01"), ("ttyUSB2", "02")]
        .into_iter()
        .zip(names)
        .take(ports.split(',').count())
        .map(|((tty, interface), name)| (tty, interface, name))
        .collect();
    stage.plug("1-1.2", STRANGER, &ttys);
    stage.logs("Zain is up", 1);
    // The first look through the storages is over, so what comes now is found by its announcement alone, or much later; and every port that
    // takes commands is listened to.
    let commands = ports.split(',').filter(|kind| *kind != "diagnosis").count();
    stage.daemon.wait_until("the first look has ended", |_| {
        let asked = stage.simulation.events("zain", "command");
        let times = |line: &str| asked.iter().filter(|asked| asked["line"] == line).count();
        (times("+CNMI?") >= 2 && times("+CGSN") >= commands).then_some(())
    });
    stage
}

impl Stage {
    /// The ports that the router has open, of those of this modem.
    fn open_ports(&self, names: &[&str]) -> Vec<String> {
        let folder = format!("/proc/{}/fd", self.daemon.pid().as_raw_nonzero());
        let files: Vec<_> = fs::read_dir(folder)
            .expect("it runs")
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        let open = |name: &&&str| {
            let port = fs::canonicalize(self.simulation.port(name)).expect("a port");
            files.contains(&port)
        };
        names.iter().filter(open).map(|name| (*name).to_string()).collect()
    }

    #[track_caller]
    fn uses(&self, wanted: &[&str]) {
        let names: Vec<&str> = ["zain", "zain.1", "zain.2"]
            .into_iter()
            .filter(|name| self.simulation.port(name).exists())
            .collect();
        self.daemon.wait_until(&format!("{wanted:?} are open"), |_| {
            (self.open_ports(&names) == wanted).then_some(())
        });
    }

    #[track_caller]
    fn remembers(&self, start: &str) {
        let file = self.daemon.folder().join(".port-of-Zain");
        self.daemon.wait_until(&format!("{} begins with {start}", file.display()), |_| {
            fs::read_to_string(&file).unwrap_or_default().starts_with(start).then_some(())
        });
    }

    /// A message and its answer, each time of another person, because nobody is answered all day long.
    #[track_caller]
    fn exchange_with_another(&mut self, number: u32) {
        let from = format!("+2547000{number:05}");
        self.simulation.order(&format!("zain < {from} echo n{number}"));
        self.simulation.shows(&format!("zain > {from} n{number}"));
    }

    /// A message and its answer, faster than any look through the storages.
    #[track_caller]
    fn exchanges_at_once(&mut self, text: &str) {
        let begun = Instant::now();
        self.exchange("zain", text);
        assert!(begun.elapsed() < AT_ONCE, "{text}: {:?}\n{}", begun.elapsed(), self.daemon.log());
        println!("{text}: {:?}", begun.elapsed());
    }
}

#[test]
fn the_port_that_announces_is_found_and_kept_over_a_death() {
    for (ports, at) in [
        ("commands,diagnosis,announces", "zain.2"),
        ("diagnosis,commands,announces", "zain.2"),
        ("commands,announces,diagnosis", "zain.1"),
    ] {
        let mut stage = stick(ports, "");
        // Already the first one: fetched where it was announced to be, not found by a look after the change of the port.
        stage.exchanges_at_once("one");
        let read = stage.simulation.events("zain", "read");
        assert_eq!(read[0]["by"], "+CMGR", "{read:?}");
        let tty = format!("ttyUSB{}", &at[5..]);
        stage.logs(&format!("{tty}, so it is used from now on instead of"), 1);
        stage.remembers(&format!("announces 0{} {STRANGER}", &at[5..]));
        stage.uses(&[at]);
        stage.exchanges_at_once("two");
        // Its receipt is on disk, so nothing is uncertain when the router dies.
        stage.daemon.answers(FROM, "two");
        stage = stage.killed();
        stage.logs("Zain is up", 1);
        stage.exchanges_at_once("three");
        stage.uses(&[at]);
        assert!(!stage.daemon.log().contains("so it is used"), "it was known:\n{}", stage.daemon.log());
        for text in ["one", "two", "three"] {
            assert_eq!(stage.simulation.copies("zain", text), 1, "{ports}: {text}");
        }
        stage.ends();
    }
}

#[test]
fn a_port_that_announces_stays_the_port_also_when_another_does() {
    for ports in ["announces,commands", "announces,announces", "own,own", "own,own,diagnosis"] {
        let mut stage = stick(ports, "");
        stage.exchanges_at_once("one");
        stage.logs("it stays the port", 1);
        stage.uses(&["zain"]);
        stage.remembers("announces 00");
        stage.exchanges_at_once("two");
        assert!(!stage.daemon.log().contains("so it is used"), "{ports}:\n{}", stage.daemon.log());
        stage.ends();
    }
}

#[test]
fn announcing_is_set_at_each_port_when_no_announcement_came() {
    let mut stage = stick("commands,own", "sweep = \"1 s\"");
    let mut number = 0;
    while !stage.daemon.log().contains("ttyUSB1, so it is used") {
        number += 1;
        assert!(number < 300, "{}", stage.daemon.log());
        stage.exchange_with_another(number);
    }
    stage.uses(&["zain.1"]);
    stage.exchange("zain", "last");
    stage.ends();
}

#[test]
fn a_stick_that_announces_nowhere_is_told_and_its_other_ports_are_closed() {
    let mut stage = stick("commands,commands,diagnosis", "sweep = \"1 s\"");
    let mut number = 0;
    while !stage.daemon.log().contains("no port of this stick announces messages") {
        number += 1;
        assert!(number < 60, "{}", stage.daemon.log());
        stage.exchange_with_another(number);
    }
    stage.uses(&["zain"]);
    stage.exchange("zain", "last");
    stage.ends();
}

/// The table of modems may be wrong about a stick, or its maker has changed it.
#[test]
fn a_port_of_the_table_that_never_announces_is_doubted() {
    let which = "usb = \"1-1.2\"\nsweep = \"1 s\"";
    let arguments = ["--ports", "commands,announces"];
    let mut stage = Stage::with(&[("zain", "generic")], &[("Zain", which)], &arguments);
    stage.logs("waiting for it", 1);
    stage.plug("1-1.2", E173, &[("ttyUSB0", "04", "zain"), ("ttyUSB1", "00", "zain.1")]);
    stage.logs("Zain is up", 1);
    stage.uses(&["zain"]);
    let mut number = 0;
    while !stage.daemon.log().contains("ttyUSB1, so it is used") {
        number += 1;
        assert!(number < 300, "{}", stage.daemon.log());
        stage.exchange_with_another(number);
    }
    stage.remembers(&format!("announces 00 {E173}"));
    stage = stage.killed();
    stage.logs("Zain is up", 1);
    stage.uses(&["zain.1"]);
    stage.exchange("zain", "last");
    stage.ends();
}

/// Who names the port has chosen it; but advice is given.
#[test]
fn a_port_that_the_settings_name_is_kept_and_advice_is_given() {
    let which = "PORT = \"{root}/dev/ttyUSB0\"\nsweep = \"1 s\"";
    let arguments = ["--ports", "commands,announces"];
    let mut stage = Stage::with(&[("zain", "generic")], &[("Zain", which)], &arguments);
    stage.logs("waiting for it", 1);
    stage.plug("1-1.2", STRANGER, &[("ttyUSB0", "00", "zain"), ("ttyUSB1", "01", "zain.1")]);
    stage.logs("Zain is up", 1);
    let mut number = 0;
    while !stage.daemon.log().contains("with usb = \"1-1.2\" instead of PORT") {
        number += 1;
        assert!(number < 60, "{}", stage.daemon.log());
        stage.exchange_with_another(number);
    }
    stage.uses(&["zain"]);
    stage.ends();
}

/// The port that announces answers, and refuses what is needed for messages.
#[test]
fn a_port_that_is_no_good_for_commands_is_listened_to_beside_the_other() {
    let mut stage = stick("commands,announces", "");
    // As often as the initialisation asks for it before it gives the port up.
    stage.simulation.order("zain refuse +CMGF=0 error x6");
    stage.exchanges_at_once("one");
    stage.logs("is no good for commands", 1);
    stage.remembers("avoid 01");
    stage.logs("Zain is up", 2);
    stage.exchanges_at_once("two");
    stage.logs("which is listened to", 1);
    stage.uses(&["zain", "zain.1"]);
    stage.exchanges_at_once("three");
    for text in ["one", "two", "three"] {
        assert_eq!(stage.simulation.copies("zain", text), 1, "{text}");
    }
    stage.ends();
}

/// Two modems behind the ports of one USB device of which nobody knows what it is.
#[test]
fn a_port_with_another_modem_is_left_alone() {
    let modems = [("zain", "generic"), ("mtn", "generic")];
    let mut stage = Stage::with(&modems, &[("Zain", "usb = \"1-1.2\"")], &[]);
    stage.logs("waiting for it", 1);
    stage.plug("1-1.2", "abcd:0001", &[("ttyUSB0", "00", "zain"), ("ttyUSB1", "01", "mtn")]);
    stage.logs("Zain is up", 1);
    stage.daemon.wait_until("the other is closed", |_| {
        (stage.open_ports(&["zain", "mtn"]) == ["zain"]).then_some(())
    });
    stage.simulation.order(&format!("mtn < {FROM} echo nobody"));
    stage.exchanges_at_once("one");
    stage.logs("it stays the port", 1);
    assert_eq!(stage.simulation.copies("mtn", "nobody") + stage.simulation.copies("zain", "nobody"), 0);
    stage.ends();
}

/// Killed when the message has come, when the port is about to be changed, and when it was.
#[test]
fn killed_around_the_change_of_the_port_nothing_is_lost() {
    for moment in ["stored", "sent", "so it is used from now on", "port-of"] {
        let mut stage = stick("commands,announces", "");
        stage.simulation.order(&format!("zain < {FROM} echo one"));
        match moment {
            "stored" | "sent" => stage
                .daemon
                .wait_until(moment, |_| (!stage.simulation.events("zain", moment).is_empty()).then_some(())),
            "port-of" => stage.remembers("announces 01"),
            log => stage.logs(log, 1),
        }
        stage = stage.killed();
        stage.logs("Zain is up", 1);
        stage.daemon.answers(FROM, "one");
        stage.exchanges_at_once("two");
        stage.uses(&["zain.1"]);
        stage
            .daemon
            .wait_until("the modem is empty", |_| (stage.simulation.lying("zain") == 0).then_some(()));
        let copies = stage.simulation.copies("zain", "one");
        assert!((1..=2).contains(&copies), "{moment}: {copies}");
        let sent = stage.daemon.messages("direction=out");
        assert_eq!(sent.len(), 2, "{moment}: {sent:?}");
        let attempts =
            sent.iter().find(|message| message["text"] == "one").map(|one| one["attempts"].as_u64());
        assert!(copies == 1 || attempts == Some(Some(2)), "{moment}: a copy that nobody counted: {sent:?}");
        stage.ends();
    }
}
