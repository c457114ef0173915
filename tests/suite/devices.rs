//! What is plugged in, by a made-up machine; who holds a port, by this one. The cases are `tests/devices/*.txt`: a machine, `---`, what
//! is seen of it.

pub mod tree;

use rapidsms::devices::{Device, Identity, Machine};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tree::Tree;

/// As the cases have it: a device, then its ports in probing order with their names.
fn shown(devices: &[Device], root: &Path) -> String {
    let mut lines = Vec::new();
    for device in devices {
        let place = device.usb.as_deref().unwrap_or("-");
        let ids = device.ids().unwrap_or_else(|| "-".into());
        let serial = device.serial.as_deref().unwrap_or("-");
        lines.push(format!("{place} {ids} {:?} {:?} serial={serial}", device.kind, device.title()));
        for port in &device.ports {
            let interface = port.interface.map_or("-".into(), |number| format!("{number:02x}"));
            let driver = port.driver.as_deref().unwrap_or("-");
            lines.push(format!("  {} {interface} {driver} {:?}", inside(&port.path, root), port.role));
            lines.extend(port.names.iter().map(|name| format!("    {}", inside(name, root))));
        }
    }
    lines.join("\n")
}

fn inside(path: &Path, root: &Path) -> String {
    format!("/{}", path.strip_prefix(root).expect("below the root").display())
}

#[test]
fn machines_are_seen_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/devices");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let (machine, expected) = text.split_once("\n---\n").expect("a machine, ---, what is seen");
        let tree = Tree::new(machine);
        let machine = Machine::below(tree.root());
        let mut seen = shown(&machine.devices(), tree.root());
        for device in machine.portless() {
            seen.push_str(&format!("\nno port: {}", shown(&[device], tree.root())));
        }
        assert_eq!(seen.trim(), expected.trim(), "{}: left is what was seen", file.display());
        count += 1;
    }
    assert!(count >= 3, "only {count} cases were found");
}

const TWO: &str = "
usb 1-1.2 12d1:1436 product=\"HUAWEI Mobile\" serial=0123456789ABCDEF
tty ttyUSB0 interface=00 driver=option
tty ttyUSB1 interface=03 driver=option
tty ttyUSB2 interface=04 driver=option
name by-id usb-HUAWEI-if00 ttyUSB0
name by-id usb-HUAWEI-if04 ttyUSB2
usb 1-1.3 2c7c:0125 serial=867962041234567
tty ttyUSB3 interface=02 driver=option
usb 1-1.4 0403:6001 serial=FT0001
tty ttyUSB4 interface=00 driver=ftdi_sio
usb 1-1.5 2341:0043 serial=558
tty ttyACM0 interface=00 driver=cdc_acm class=02/02/01
board ttyS0 driver=port
";

fn found(tree: &Tree, identity: Identity) -> Vec<String> {
    let devices = Machine::below(tree.root()).find(&identity);
    let ports = devices.iter().map(|device| {
        let ports: Vec<String> = device.ports.iter().map(|port| inside(&port.path, tree.root())).collect();
        format!("{}: {}", device.usb.as_deref().unwrap_or("-"), ports.join(" "))
    });
    ports.collect()
}

#[test]
fn a_modem_is_found_by_what_settings_say() {
    let tree = Tree::new(TWO);
    assert_eq!(
        found(&tree, Identity::Usb("1-1.2".into())),
        ["1-1.2: /dev/ttyUSB2 /dev/ttyUSB0 /dev/ttyUSB1"],
        "the port that says what comes unasked is the first"
    );
    assert_eq!(found(&tree, Identity::Usb("1-1".into())), [""; 0], "a hub is not what hangs on it");
    assert_eq!(found(&tree, Identity::Serial("ft0001 ".into())), ["1-1.4: /dev/ttyUSB4"]);
    assert_eq!(found(&tree, Identity::Serial("none".into())), [""; 0]);
    assert_eq!(
        found(&tree, Identity::Imei("867962041234567".into())),
        ["1-1.3: /dev/ttyUSB3", "1-1.2: /dev/ttyUSB2 /dev/ttyUSB0", "1-1.4: /dev/ttyUSB4"],
        "the one that has it as its serial number, then modems, then adapters; no board, no console, no mute port"
    );
    assert_eq!(
        found(&tree, Identity::Iccid("89".into())),
        ["1-1.2: /dev/ttyUSB2 /dev/ttyUSB0", "1-1.3: /dev/ttyUSB3", "1-1.4: /dev/ttyUSB4"]
    );
    let by_id = tree.at("dev/serial/by-id/usb-HUAWEI-if04");
    assert_eq!(
        found(&tree, Identity::Port(by_id)),
        ["1-1.2: /dev/serial/by-id/usb-HUAWEI-if04"],
        "a link goes on meaning what it means, so it stays a link"
    );
    assert_eq!(found(&tree, Identity::Port(tree.at("dev/ttyS7"))), ["-: /dev/ttyS7"], "there or not");
}

#[test]
fn a_stick_that_comes_back_under_another_name_is_the_same() {
    let tree = Tree::new(TWO);
    tree.unplug("1-1.2");
    assert_eq!(found(&tree, Identity::Usb("1-1.2".into())), [""; 0]);
    tree.plug(
        "usb 1-1.2 12d1:1436 serial=0123456789ABCDEF
         tty ttyUSB7 interface=00 driver=option
         tty ttyUSB5 interface=04 driver=option",
    );
    assert_eq!(found(&tree, Identity::Usb("1-1.2".into())), ["1-1.2: /dev/ttyUSB5 /dev/ttyUSB7"]);
}

#[test]
fn a_link_leads_to_its_device() {
    let tree = Tree::new(TWO);
    let machine = Machine::below(tree.root());
    let (device, port) = machine.device_of(&tree.at("dev/serial/by-id/usb-HUAWEI-if00")).unwrap();
    assert_eq!((device.usb.as_deref(), device.ports[port].short_name()), (Some("1-1.2"), "ttyUSB0".into()));
    assert_eq!(device.stable_name(), Some(tree.at("dev/serial/by-id/usb-HUAWEI-if04").as_path()));
    assert!(machine.device_of(&tree.at("dev/null")).is_none());
}

/// Whatever the tree is: a machine without serial ports, or one that lies.
#[test]
fn odd_trees_are_read_without_harm() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(Machine::below(empty.path()).devices(), []);
    assert_eq!(Machine::below(empty.path().join("none")).portless(), []);
    let tree = Tree::new("usb 1-1.2 zzzz:1436\ntty ttyUSB0 interface=00\nvirtual tty1");
    let sys = tree.at("sys/class/tty");
    fs::create_dir_all(sys.join("ttyX0/device")).unwrap();
    std::os::unix::fs::symlink("loop", sys.join("loop")).unwrap();
    std::os::unix::fs::symlink("/etc", sys.join("ttyUSB9")).unwrap();
    let folder = fs::canonicalize(sys.join("ttyUSB0/device")).unwrap();
    fs::write(folder.parent().unwrap().join("bInterfaceNumber"), vec![b'f'; 1 << 20]).unwrap();
    let devices = Machine::below(tree.root()).devices();
    let ttys: Vec<String> = devices.iter().flat_map(|one| &one.ports).map(|port| port.short_name()).collect();
    assert_eq!(ttys, ["ttyUSB0", "ttyX0"]);
    assert!(devices.iter().all(|device| device.vendor.is_none()));
}

#[test]
fn who_holds_a_port_is_seen_and_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("dev")).unwrap();
    let path = folder.path().join("dev/ttyUSB0");
    let _held = fs::File::create(&path).unwrap();
    let machine = Machine::below("/");
    let link = folder.path().join("by-another-name");
    std::os::unix::fs::symlink(&path, &link).unwrap();

    let holders = machine.holders(&link);
    assert_eq!(holders.seen.len(), 1, "{holders:?}");
    assert!(holders.seen[0].ours, "{holders:?}");
    assert!(holders.sentence(&path, None).unwrap().contains("two backends"), "{holders:?}");

    // It waits for its standard input, with the port as its standard error.
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stderr(fs::File::open(&path).unwrap()).spawn().unwrap();
    let holders = machine.holders(&link);
    assert_eq!(holders.seen.len(), 2, "{holders:?}");
    let sentence = holders.sentence(&path, None).unwrap();
    assert!(sentence.contains(&format!("(process {})", child.id())), "{sentence}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(machine.holders(Path::new("/no/such/port")).seen, []);
}

#[test]
fn who_is_in_the_way_comes_with_the_remedy() {
    let tree = Tree::new(TWO);
    let machine = Machine::below(tree.root());
    let port = tree.at("dev/ttyUSB2");
    let device = machine.device_of(&port).unwrap().0;
    for (program, remedy) in [
        (
            "ModemManager",
            "KERNELS==\"1-1.2\", ATTRS{idVendor}==\"12d1\", ATTRS{idProduct}==\"1436\", ENV{ID_MM_DEVICE_IGNORE}=\"1\"",
        ),
        ("gammu-smsd", "systemctl disable --now gammu-smsd"),
        ("minicom", "close it there first"),
    ] {
        let process = tree.at("proc/612");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::write(process.join("comm"), format!("{program}\n")).unwrap();
        let _ = std::os::unix::fs::symlink(&port, process.join("fd/7"));
        let sentence = machine.holders(&port).sentence(&port, Some(&device)).unwrap();
        assert!(sentence.starts_with(&format!("{program} (process 612) has ")), "{sentence}");
        assert!(sentence.contains(remedy), "{sentence}");
    }
    assert_eq!(machine.holders(&tree.at("dev/ttyUSB0")).sentence(&port, None), None);
}

#[test]
fn a_port_that_does_not_open_is_explained() {
    let machine = Machine::below("/");
    let why = |code: rustix::io::Errno| {
        machine.why_not(Path::new("/dev/null"), &std::io::Error::from_raw_os_error(code.raw_os_error()))
    };
    for (code, part) in [
        (rustix::io::Errno::NOENT, "there is no /dev/null"),
        (rustix::io::Errno::BUSY, "/dev/null"),
        (rustix::io::Errno::NODEV, "plug the modem out"),
        (rustix::io::Errno::NOTTY, "no serial port"),
        (rustix::io::Errno::ACCESS, "may not be opened"),
        (rustix::io::Errno::TOOBIG, "cannot be opened"),
    ] {
        let sentence = why(code);
        assert!(sentence.contains(part) && sentence.contains("/dev/null"), "{code}: {sentence}");
    }
}
