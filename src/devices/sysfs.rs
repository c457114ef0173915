//! Reads the kernel's own account of what is plugged in (`Documentation/ABI/testing/sysfs-tty`, `sysfs-bus-usb`).
//!
//! `class/tty/ttyUSB2/device` leads to the port; a folder above it is the USB interface (it has `bInterfaceNumber`), and one above that
//! the device (it has `idVendor`), whose folder's name is the place where it is plugged in.

use super::known::{self, Kind};
use super::{Device, Machine, Port, Role};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A machine with more ports is not read to the end.
const MOST_PORTS: usize = 1024;
/// So many folders above a port its USB device is looked for.
const LEVELS: usize = 12;
/// The longest content of a sysfs file that is read: the longest USB text has 126 letters.
const LONGEST: u64 = 512;

/// See [`Machine::devices`].
pub(super) fn devices(machine: &Machine) -> Vec<Device> {
    let Ok(sys) = fs::canonicalize(machine.folder("sys")) else { return Vec::new() };
    let names = Names::read(machine);
    let consoles = text(&sys.join("class/tty/console/active")).unwrap_or_default();
    // By folder, so that the ports of one device come together.
    let mut found: BTreeMap<PathBuf, Device> = BTreeMap::new();
    for tty in entries(&sys.join("class/tty")) {
        let Some(tty) = tty.to_str() else { continue };
        let Some((at, device, port)) = port(machine, &sys, tty, &names) else { continue };
        let console = consoles.split_whitespace().any(|console| console == tty);
        let device = found.entry(at).or_insert(device);
        if console {
            device.kind = Kind::Console;
        }
        device.ports.push(port);
    }
    let mut devices: Vec<Device> = found.into_values().collect();
    for device in &mut devices {
        device.ports.sort_by_cached_key(|port| (port.role, port.interface, natural(&port.short_name())));
    }
    devices.sort_by_cached_key(|device| {
        let first = device.ports.first().map(Port::short_name).unwrap_or_default();
        (device.usb.is_none(), natural(device.usb.as_deref().unwrap_or_default()), natural(&first))
    });
    devices
}

/// See [`Machine::portless`].
pub(super) fn portless(machine: &Machine) -> Vec<Device> {
    let with_ports = devices(machine);
    let bus = machine.folder("sys/bus/usb/devices");
    let modems = entries(&bus).into_iter().filter_map(|name| {
        let device = usb_device(&bus.join(&name))?;
        let seen = with_ports.iter().any(|other| other.usb == device.usb);
        (device.kind == Kind::Modem && !seen).then_some(device)
    });
    let mut modems: Vec<Device> = modems.collect();
    modems.sort_by_cached_key(|device| natural(device.usb.as_deref().unwrap_or_default()));
    modems
}

/// One port, the device it belongs to (without ports), and that device's folder.
fn port(machine: &Machine, sys: &Path, tty: &str, names: &Names) -> Option<(PathBuf, Device, Port)> {
    let class = sys.join("class/tty").join(tty);
    // What has no device is a virtual console or a pseudo-terminal; ttyGS is this machine playing a USB device for another one.
    let own = fs::canonicalize(class.join("device")).ok().filter(|own| own.starts_with(sys))?;
    if tty.starts_with("ttyGS") || tty.contains(['/', '\0']) {
        return None;
    }
    let mut above = own.ancestors().take(LEVELS).take_while(|folder| *folder != sys);
    let interface = above.clone().find(|folder| folder.join("bInterfaceNumber").exists());
    let device_folder = above.find(|folder| folder.join("idVendor").exists());
    let driver = |folder: &Path| {
        let driver = fs::read_link(folder.join("driver")).ok()?;
        driver.file_name().map(|name| printable(&name.to_string_lossy()))
    };
    let path = machine.folder("dev").join(tty);
    let others = names.of(&path, tty);
    match device_folder.and_then(|folder| Some((folder, usb_device(folder)?))) {
        Some((folder, device)) => {
            let byte = |name: &str| {
                let text = text(&interface?.join(name))?;
                u8::from_str_radix(&text, 16).ok()
            };
            let number = byte("bInterfaceNumber");
            let class =
                byte("bInterfaceClass").zip(byte("bInterfaceSubClass")).zip(byte("bInterfaceProtocol"));
            let class = class.map(|((class, subclass), protocol)| (class, subclass, protocol));
            let row = device.vendor.zip(device.product_id).and_then(|(v, p)| known::known(v, p));
            let port = Port {
                path,
                interface: number,
                driver: interface.and_then(driver).or_else(|| driver(&own)),
                names: others,
                role: known::role(row, number, class),
            };
            Some((folder.to_path_buf(), device, port))
        }
        None => {
            // 0 is PORT_UNKNOWN: a place for a chip that is not there.
            if text(&class.join("type")).is_some_and(|kind| kind == "0") {
                return None;
            }
            let device = Device::unknown();
            let driver = driver(&own);
            // Ports of the board share their chip and nothing else: each is a device of its own.
            let at = own.join(tty);
            Some((at, device, Port { path, interface: None, driver, names: others, role: Role::Unknown }))
        }
    }
}

/// The USB device of this folder, without its ports.
fn usb_device(folder: &Path) -> Option<Device> {
    let number = |name: &str| u16::from_str_radix(&text(&folder.join(name))?, 16).ok();
    let vendor = number("idVendor")?;
    let product_id = number("idProduct");
    let row = product_id.and_then(|product| known::known(vendor, product));
    Some(Device {
        usb: Some(printable(&folder.file_name()?.to_string_lossy())),
        vendor: Some(vendor),
        product_id,
        manufacturer: text(&folder.join("manufacturer")),
        product: text(&folder.join("product")),
        serial: text(&folder.join("serial")),
        kind: row.map_or(Kind::Unknown, |row| row.kind),
        model: row.map(|row| row.name),
        ports: Vec::new(),
    })
}

/// The other names of ports: links that udev made.
struct Names {
    links: Vec<(PathBuf, PathBuf)>,
}

impl Names {
    fn read(machine: &Machine) -> Names {
        let folders = ["dev/serial/by-id", "dev/modems", "dev/serial/by-path"];
        let mut links = Vec::new();
        for folder in folders.map(|folder| machine.folder(folder)) {
            let mut names = entries(&folder);
            names.sort();
            for name in names {
                let link = folder.join(name);
                let Ok(target) = fs::read_link(&link) else { continue };
                links.push((link, folder.join(target)));
            }
        }
        Names { links }
    }

    fn of(&self, path: &Path, tty: &str) -> Vec<PathBuf> {
        let same = |target: &Path| {
            target.file_name().is_some_and(|name| name == tty)
                && match (target.parent().map(fs::canonicalize), path.parent().map(fs::canonicalize)) {
                    (Some(Ok(one)), Some(Ok(other))) => one == other,
                    _ => false,
                }
        };
        self.links.iter().filter(|(_, target)| same(target)).map(|(link, _)| link.clone()).collect()
    }
}

/// The names in a folder; none when it cannot be read.
fn entries(folder: &Path) -> Vec<OsString> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name()).take(MOST_PORTS).collect()
}

/// A sysfs file's content; `None` when it is empty or cannot be read.
fn text(file: &Path) -> Option<String> {
    let mut octets = Vec::new();
    fs::File::open(file).ok()?.take(LONGEST).read_to_end(&mut octets).ok()?;
    let text = printable(&String::from_utf8_lossy(&octets));
    (!text.is_empty()).then_some(text)
}

/// A device says of itself what it likes: one line, without control characters.
fn printable(text: &str) -> String {
    let line: String =
        text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    line.trim().to_string()
}

/// `ttyUSB10` after `ttyUSB9`, `1-1.10` after `1-1.9`.
pub(super) fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let word = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(word);
        let digits = tail.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(tail.len());
        let (digits, tail) = tail.split_at(digits);
        parts.push((word.to_string(), digits.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["ttyUSB10", "ttyUSB9", "ttyACM1", "1-1.10", "1-1.9", "1-1", ""];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["", "1-1", "1-1.9", "1-1.10", "ttyACM1", "ttyUSB9", "ttyUSB10"]);
    }
}
