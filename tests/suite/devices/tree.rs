//! A made-up machine: `sys` and `dev` as the kernel and udev make them, from a few lines of text.
//!
//! ```text
//! usb 1-1.2 12d1:1436 manufacturer="HUAWEI" product="HUAWEI Mobile" serial=0123
//!   tty ttyUSB0 interface=00 class=ff/ff/ff driver=option
//!   name by-id usb-HUAWEI-if00-port0 ttyUSB0
//! acm 1-1.4 1546:1102 ...          its ttys hang on the interface itself, as those of cdc_acm do
//! board ttyS0 type=4 driver=port
//! virtual tty0
//! console ttyS0
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const BUS: &str = "sys/devices/pci0000:00/0000:00:14.0/usb1";

pub struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    pub fn new(text: &str) -> Tree {
        let tree = Tree { folder: tempfile::tempdir().unwrap() };
        for folder in ["sys/class/tty", "sys/bus/usb/devices", "sys/bus/usb/drivers", "dev", "proc", BUS] {
            fs::create_dir_all(tree.at(folder)).unwrap();
        }
        tree.plug(text);
        tree
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn at(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Adds what the lines say.
    pub fn plug(&self, text: &str) {
        let mut usb = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words = words(line);
            let word = |index: usize| words.get(index).map_or("", String::as_str);
            let value = |name: &str| {
                words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(str::to_string))
            };
            match word(0) {
                kind @ ("usb" | "acm") => {
                    let folder = self.at(BUS).join(word(1));
                    let (vendor, product) = word(2).split_once(':').expect("VENDOR:PRODUCT");
                    self.write(&folder.join("idVendor"), vendor);
                    self.write(&folder.join("idProduct"), product);
                    for name in ["manufacturer", "product", "serial"] {
                        value(name).iter().for_each(|value| self.write(&folder.join(name), value));
                    }
                    symlink(&folder, self.at("sys/bus/usb/devices").join(word(1))).unwrap();
                    usb = Some((word(1).to_string(), folder, kind == "acm"));
                }
                "tty" => {
                    let (place, folder, acm) = usb.as_ref().expect("a tty belongs to a device");
                    let number = value("interface").unwrap();
                    let interface =
                        folder.join(format!("{place}:1.{}", u8::from_str_radix(&number, 16).unwrap()));
                    self.write(&interface.join("bInterfaceNumber"), &number);
                    let class = value("class").unwrap_or_else(|| "ff/ff/ff".into());
                    for (name, value) in ["bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"]
                        .into_iter()
                        .zip(class.split('/'))
                    {
                        self.write(&interface.join(name), value);
                    }
                    self.driver(&interface, value("driver"));
                    let own = if *acm { interface } else { interface.join(word(1)) };
                    self.tty(word(1), &own.join("tty").join(word(1)), Some(&own));
                }
                "name" => {
                    let folder = match word(1) {
                        "modems" => self.at("dev/modems"),
                        other => self.at("dev/serial").join(other),
                    };
                    fs::create_dir_all(&folder).unwrap();
                    let up = if word(1) == "modems" { ".." } else { "../.." };
                    symlink(Path::new(up).join(word(3)), folder.join(word(2))).unwrap();
                }
                "board" => {
                    let own = self.at("sys/devices/platform/serial8250").join(format!("{}-port", word(1)));
                    fs::create_dir_all(&own).unwrap();
                    self.driver(&own, value("driver"));
                    let tty = own.join("tty").join(word(1));
                    self.tty(word(1), &tty, Some(&own));
                    self.write(&tty.join("type"), &value("type").unwrap_or_else(|| "4".into()));
                }
                "virtual" => self.tty(word(1), &self.at("sys/devices/virtual/tty").join(word(1)), None),
                "console" => self.write(&self.at("sys/devices/virtual/tty/console/active"), &line[8..]),
                other => panic!("no such line: {other}"),
            }
        }
        if self.at("sys/devices/virtual/tty/console").exists() {
            let _ = symlink(self.at("sys/devices/virtual/tty/console"), self.at("sys/class/tty/console"));
        }
    }

    /// Takes a device out, as the kernel does: all of it is gone.
    pub fn unplug(&self, place: &str) {
        let folder = self.at(BUS).join(place);
        for entry in fs::read_dir(self.at("sys/class/tty")).unwrap() {
            let link = entry.unwrap().path();
            if fs::canonicalize(&link).is_ok_and(|target| target.starts_with(&folder)) {
                fs::remove_file(&link).unwrap();
                fs::remove_file(self.at("dev").join(link.file_name().unwrap())).unwrap();
            }
        }
        fs::remove_file(self.at("sys/bus/usb/devices").join(place)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    /// Puts something that can be opened behind a port.
    pub fn connect(&self, tty: &str, target: &Path) {
        let path = self.at("dev").join(tty);
        fs::remove_file(&path).unwrap();
        symlink(target, path).unwrap();
    }

    fn tty(&self, name: &str, folder: &Path, device: Option<&Path>) {
        fs::create_dir_all(folder).unwrap();
        device.iter().for_each(|device| symlink(device, folder.join("device")).unwrap());
        symlink(folder, self.at("sys/class/tty").join(name)).unwrap();
        fs::write(self.at("dev").join(name), "").unwrap();
    }

    fn driver(&self, folder: &Path, name: Option<String>) {
        let Some(name) = name else { return };
        let driver = self.at("sys/bus/usb/drivers").join(name);
        fs::create_dir_all(&driver).unwrap();
        let link = folder.join("driver");
        if !link.exists() {
            symlink(driver, link).unwrap();
        }
    }

    fn write(&self, file: &Path, text: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("{text}\n")).unwrap();
    }
}

/// Words separated by blanks; a part in quotes is one word with what stands before it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
