//! Who has a port open, and what to do about it.
//!
//! Processes are found by the descriptors in `/proc`, whose device numbers are compared: a link to the port is the port. Other
//! users' processes show theirs to root only; what could not be seen is said.

use super::{Device, Machine};
use rustix::fs::stat;
use rustix::process::geteuid;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// More processes are not looked into.
const MOST_PROCESSES: usize = 65_536;
/// More descriptors of one process are not looked at.
const MOST_DESCRIPTORS: usize = 65_536;
/// What a descriptor's `fdinfo` says that matters stands at its beginning.
const LONGEST_FACTS: u64 = 4096;
/// More holders are not listed.
const MOST_HOLDERS: usize = 16;

/// A process that has a port open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its program, as the kernel knows it: 15 letters at most.
    pub program: String,
    /// It is this process itself.
    pub ours: bool,
}

/// Who has a port open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Holders {
    /// Those that could be seen.
    pub seen: Vec<Holder>,
    /// There are processes that could not be looked into.
    pub blind: bool,
}

impl Holders {
    /// Who holds it, and the remedy; `None` when nobody was seen. With the device, the remedy is as exact as it can be.
    pub fn sentence(&self, path: &Path, device: Option<&Device>) -> Option<String> {
        let holder = self.seen.iter().find(|holder| !holder.ours).or(self.seen.first())?;
        let who = if holder.ours {
            "this router itself, for another backend,".to_string()
        } else {
            format!("{} (process {})", holder.program, holder.pid)
        };
        Some(format!("{who} has {} open; {}", path.display(), remedy(&holder.program, holder.ours, device)))
    }
}

/// See [`Machine::holders`].
pub(super) fn of(machine: &Machine, path: &Path) -> Holders {
    let mut holders = Holders::default();
    let Ok(port) = stat(path) else { return holders };
    let own = std::process::id();
    let terminal = pseudo_terminal(&port);
    let Ok(processes) = fs::read_dir(machine.folder("proc")) else {
        return Holders { blind: true, ..holders };
    };
    for process in processes.flatten().take(MOST_PROCESSES) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let descriptors = match fs::read_dir(process.path().join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                holders.blind |= error.kind() == io::ErrorKind::PermissionDenied;
                continue;
            }
        };
        let descriptors: Vec<_> = descriptors.flatten().take(MOST_DESCRIPTORS).collect();
        // Only what lies in /dev is asked for its number: that of a file on a dead network disk would never come.
        let holds = descriptors.iter().any(|descriptor| {
            let link = descriptor.path();
            let in_dev = fs::read_link(&link)
                .is_ok_and(|target| target.components().any(|part| part.as_os_str() == "dev"));
            in_dev && stat(&link).is_ok_and(|other| is_same(&port, &other))
        });
        // Whoever has the other end of a pseudo-terminal is what plays the modem.
        let plays = || {
            terminal.is_some_and(|number| {
                let ends = descriptors
                    .iter()
                    .map(|descriptor| process.path().join("fdinfo").join(descriptor.file_name()));
                ends.into_iter().any(|end| other_end(&end) == Some(number))
            })
        };
        if holds && !plays() && holders.seen.len() < MOST_HOLDERS {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let program: String = program.trim().chars().filter(|letter| !letter.is_control()).collect();
            let program = if program.is_empty() { "a program".into() } else { program };
            holders.seen.push(Holder { pid, program, ours: pid == own });
        }
    }
    holders.seen.sort_by_key(|holder| holder.pid);
    holders
}

/// See [`Machine::why_not`].
pub(super) fn why_not(machine: &Machine, path: &Path, error: &io::Error) -> String {
    let name = path.display();
    let device = || machine.device_of(path).map(|(device, _)| device);
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    match (error.kind(), code) {
        (io::ErrorKind::NotFound, _) => {
            format!("there is no {name}: is the modem plugged in? `rapidsms modems` shows what is there")
        }
        (io::ErrorKind::PermissionDenied, _) => format!("{name} may not be opened: {}", permission(path)),
        (io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock, _) => {
            let holders = of(machine, path);
            holders.sentence(path, device().as_ref()).unwrap_or_else(|| {
                let look = if holders.blind { "; `sudo rapidsms modems` shows which" } else { "" };
                format!("another program has {name} to itself{look}")
            })
        }
        (_, Some(rustix::io::Errno::NXIO | rustix::io::Errno::NODEV | rustix::io::Errno::IO)) => {
            format!("{name} is there but nothing is behind it ({error}): plug the modem out and in again")
        }
        (_, Some(rustix::io::Errno::NOTTY)) => {
            format!("{name} is no serial port: PORT must be something like /dev/ttyUSB0")
        }
        _ => format!("{name} cannot be opened: {error}"),
    }
}

/// Who may open it, and how to become one of them.
fn permission(path: &Path) -> String {
    if geteuid().is_root() {
        // Root is refused only by a service's own fence.
        return "the service's unit does not allow it; it needs DeviceAllow=char-ttyUSB and DeviceAllow=char-ttyACM".into();
    }
    let group =
        stat(path).ok().and_then(|facts| group_name(facts.st_gid)).unwrap_or_else(|| "dialout".into());
    if group == "root" {
        return "only root may open it; a udev rule with GROUP=\"dialout\" changes that".into();
    }
    format!(
        "it belongs to the group {group}; `sudo usermod -aG {group} USER`, then log in again, or, for the service, \
         SupplementaryGroups={group} in its unit"
    )
}

fn group_name(gid: u32) -> Option<String> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse::<u32>().ok()?;
        (number == gid).then(|| name.to_string())
    })
}

/// The number of a pseudo-terminal (`Documentation/admin-guide/devices.txt`: majors 136 to 143).
fn pseudo_terminal(facts: &rustix::fs::Stat) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(facts.st_rdev), rustix::fs::minor(facts.st_rdev));
    (136..=143).contains(&major).then(|| (major - 136).saturating_mul(256).saturating_add(minor))
}

/// The number of the pseudo-terminal whose other end this descriptor is, by its `fdinfo`.
fn other_end(facts: &Path) -> Option<u32> {
    let mut text = String::new();
    fs::File::open(facts).ok()?.take(LONGEST_FACTS).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("tty-index:")?.trim().parse().ok())
}

fn is_same(one: &rustix::fs::Stat, other: &rustix::fs::Stat) -> bool {
    let character = |facts: &rustix::fs::Stat| {
        rustix::fs::FileType::from_raw_mode(facts.st_mode) == rustix::fs::FileType::CharacterDevice
    };
    if character(one) {
        return character(other) && one.st_rdev == other.st_rdev;
    }
    // A made-up tree has files in place of devices.
    !character(other) && one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

fn remedy(program: &str, ours: bool, device: Option<&Device>) -> String {
    if ours {
        return "two backends cannot share a modem: take one of them out of the settings".into();
    }
    match program {
        "ModemManager" => match device.and_then(Device::ignore_rule) {
            Some(rule) => format!(
                "tell it to leave this modem alone: put the line `{rule}` into /etc/udev/rules.d/78-rapidsms-own.rules, then \
                 `sudo udevadm control --reload && sudo udevadm trigger && sudo systemctl restart ModemManager`"
            ),
            None => "stop it: `sudo systemctl disable --now ModemManager`".into(),
        },
        "rapidsms" | "run_router" => "a running router uses it: `rapidsms backends` says as what".into(),
        "gammu-smsd" => "stop it: `sudo systemctl disable --now gammu-smsd`".into(),
        "smsd" => "stop it: `sudo systemctl disable --now smstools`".into(),
        "bearerbox" => "stop it: `sudo systemctl disable --now kannel`".into(),
        "brltty" => {
            "it takes some adapters for Braille displays: `sudo apt remove brltty` unless somebody needs it"
                .into()
        }
        "pppd" | "wvdial" => {
            "it dials with this modem: choose another port of it, or end the connection".into()
        }
        _ => "close it there first: two programs on one port steal each other's answers".into(),
    }
}
