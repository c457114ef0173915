//! A modem that is named by what it is and not by its port: a made-up machine (`sys`, `dev`), simulated modems behind its ports, the real program.

use super::live::{FROM, Simulation};
use crate::daemon::{Daemon, folder, program};
use crate::devices::tree::Tree;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A machine with nothing plugged in, and a router that looks for its modems there.
pub(super) struct Stage {
    pub(super) tree: Tree,
    pub(super) simulation: Simulation,
    pub(super) daemon: Daemon,
}

impl Stage {
    /// Backends by name with the line that says which modem.
    fn new(modems: &[(&str, &str)], backends: &[(&str, &str)]) -> Stage {
        Stage::with(modems, backends, &[])
    }

    /// The same with arguments for the simulator; `{root}` in the lines is the machine's.
    pub(super) fn with(modems: &[(&str, &str)], backends: &[(&str, &str)], arguments: &[&str]) -> Stage {
        let tree = Tree::new("board ttyS0 driver=port");
        let simulation = Simulation::start(modems, arguments);
        let mut text = "INSTALLED_APPS = [\"echo\"]\n[web]\nlisten = \"127.0.0.1:0\"\n".to_string();
        for (name, which) in backends {
            let which = which.replace("{root}", &tree.root().display().to_string());
            text += &format!("[INSTALLED_BACKENDS.{name}]\nENGINE = \"gsm\"\n{which}\n");
        }
        let daemon = Stage::daemon(folder(&text), &tree);
        Stage { tree, simulation, daemon }
    }

    fn daemon(home: TempDir, tree: &Tree) -> Daemon {
        let mut command = program(home.path());
        command.arg("run_router").env("RAPIDSMS_MACHINE_ROOT", tree.root());
        Daemon::start_as(home, command)
    }

    /// The router is killed, and started again.
    pub(super) fn killed(self) -> Stage {
        let Stage { tree, simulation, daemon } = self;
        let daemon = Stage::daemon(daemon.kill9().folder, &tree);
        Stage { tree, simulation, daemon }
    }

    /// A stick comes, as udev shows it: its ports in the order of its interfaces, and a simulated modem behind each.
    pub(super) fn plug(&self, place: &str, ids: &str, ports: &[(&str, &str, &str)]) {
        let mut text = format!("usb {place} {ids} serial=0123456789\n");
        for (tty, interface, _) in ports {
            text += &format!("tty {tty} interface={interface} driver=option\n");
        }
        self.tree.plug(&text);
        for (tty, _, modem) in ports {
            self.tree.connect(tty, &self.simulation.port(modem));
        }
    }

    pub(super) fn exchange(&mut self, modem: &str, text: &str) {
        self.simulation.order(&format!("{modem} < {FROM} echo {text}"));
        self.simulation.shows(&format!("{modem} > {FROM} {text}"));
    }

    /// Waits until the log has this so many times.
    pub(super) fn logs(&self, part: &str, times: usize) {
        let often = |daemon: &Daemon| (daemon.log().matches(part).count() >= times).then_some(());
        self.daemon.wait_until(part, often);
    }

    pub(super) fn ends(self) {
        assert_eq!(self.daemon.stop().code, 0);
    }
}

/// Of its ports the first takes commands and says nothing unasked, the second is for diagnosis, the third is the one.
pub(super) const E173: &str = "12d1:1436";
/// A model that nobody has heard of.
pub(super) const STRANGER: &str = "12d1:ffff";
/// A modem comes back within this, whatever its name is then.
const BACK: Duration = Duration::from_secs(5);

#[test]
fn a_stick_that_comes_back_as_another_port_is_found_again_at_the_port_that_announces() {
    let ways = [
        "usb = \"1-1.2\"",
        "usb_serial = \"0123456789\"",
        "imei = \"352001000000002\"",
        "imsi = \"639020000000001\"",
        "iccid = \"8925402000000000001\"",
    ];
    for which in ways {
        let modems = [("zain", "huawei-e173"), ("commands", "generic"), ("diagnosis", "generic")];
        let mut stage = Stage::new(&modems, &[("Zain", which)]);
        stage.simulation.order("diagnosis silence 1h");
        stage.logs("waiting for it", 1);
        let ports =
            [("ttyUSB0", "00", "commands"), ("ttyUSB1", "03", "diagnosis"), ("ttyUSB2", "04", "zain")];
        stage.plug("1-1.2", E173, &ports);
        stage.logs("Zain is up", 1);
        stage.exchange("zain", "one");
        stage.simulation.order("zain unplug");
        stage.tree.unplug("1-1.2");
        stage.logs("waiting for it", 2);
        stage.simulation.order("zain plug");
        stage.simulation.shows("zain: ready");
        let ports =
            [("ttyUSB7", "00", "commands"), ("ttyUSB6", "03", "diagnosis"), ("ttyUSB5", "04", "zain")];
        let plugged = Instant::now();
        stage.plug("1-1.2", E173, &ports);
        stage.logs("Zain is up", 2);
        assert!(plugged.elapsed() < BACK, "{which}: {:?}", plugged.elapsed());
        stage.exchange("zain", "two");
        stage.ends();
    }
}

#[test]
fn of_a_stick_that_nobody_knows_the_port_that_answers_is_picked() {
    let modems = [("zain", "generic"), ("mute", "generic")];
    let mut stage = Stage::new(&modems, &[("Zain", "usb = \"1-1.2\"")]);
    stage.simulation.order("mute silence 1h");
    stage.logs("waiting for it", 1);
    let plugged = Instant::now();
    stage.plug("1-1.2", STRANGER, &[("ttyUSB0", "00", "mute"), ("ttyUSB1", "01", "zain")]);
    stage.logs("Zain is up", 1);
    assert!(plugged.elapsed() < BACK, "{:?}", plugged.elapsed());
    stage.exchange("zain", "one");
    stage.ends();
}

#[test]
fn two_sticks_that_change_places_stay_with_their_backends() {
    let modems = [("zain", "huawei-e173"), ("mtn", "huawei-e173")];
    let backends = [("Zain", "imei = \"352001000000002\""), ("Mtn", "imsi = \"639020000000002\"")];
    let mut stage = Stage::new(&modems, &backends);
    for name in ["Zain", "Mtn"] {
        stage.logs(&format!("backend {name}: there is no modem with"), 1);
    }
    stage.plug("1-1.2", E173, &[("ttyUSB0", "04", "zain")]);
    stage.plug("1-1.3", E173, &[("ttyUSB1", "04", "mtn")]);
    for name in ["Zain", "Mtn"] {
        stage.logs(&format!("{name} is up"), 1);
    }
    stage.exchange("zain", "one");
    stage.exchange("mtn", "two");
    stage.simulation.order("all unplug");
    stage.tree.unplug("1-1.2");
    stage.tree.unplug("1-1.3");
    for name in ["Zain", "Mtn"] {
        stage.logs(&format!("backend {name}: there is no modem with"), 2);
    }
    stage.simulation.order("all plug");
    stage.simulation.shows("zain: ready");
    stage.simulation.shows("mtn: ready");
    stage.plug("1-1.2", E173, &[("ttyUSB0", "04", "mtn")]);
    stage.plug("1-1.3", E173, &[("ttyUSB1", "04", "zain")]);
    stage.exchange("zain", "three");
    stage.exchange("mtn", "four");
    for (backend, texts) in [("Zain", ["echo one", "echo three"]), ("Mtn", ["echo two", "echo four"])] {
        let came = stage.daemon.messages(&format!("backend={backend}&direction=in&order=asc"));
        let came: Vec<&str> = came.iter().filter_map(|message| message["text"].as_str()).collect();
        assert_eq!(came, texts, "{backend}");
    }
    stage.ends();
}
