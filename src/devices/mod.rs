//! Which serial devices are plugged in, what they are, and who has them open. Nothing here opens a serial device.
//!
//! ```no_run
//! use rapidsms::devices::{Identity, Machine};
//!
//! let machine = Machine::here();
//! for device in machine.find(&Identity::Usb("1-1.2".into())) {
//!     for port in &device.ports { // in the order in which they are worth asking
//!         let holders = machine.holders(&port.path);
//!         match holders.sentence(&port.path, Some(&device)) {
//!             Some(sentence) => eprintln!("{sentence}"),
//!             None => println!("{} may be opened", port.path.display()),
//!         }
//!     }
//! }
//! ```
//!
//! - [`Machine::devices`]: every device with a serial port, its ports in probing order. A *device* is what one plugs in: a stick
//!   has up to five ports, of which one or two take commands.
//! - [`Machine::find`]: the devices that an [`Identity`] may mean. A path, a USB place and a serial number are looked up here; an IMEI,
//!   IMSI or ICCID only the modem knows, so the candidates come back, the likely ones first, and whoever asked
//!   asks each of them.
//! - [`Machine::holders`]: the processes that have a port open, and what to do about them.
//! - [`Machine::why_not`]: why a port could not be opened, with the remedy.
//! - [`Machine::portless`]: modems that show no port at all, because they play a disk or a network card.
//! - [`known`]: the table of modems: which interface of which model takes commands and says what comes unasked.
//!
//! Everything is read from `/sys`, `/dev`, `/proc` and `/run/lock`, which may stand below another folder (a made-up tree in a
//! test, the host's in a container). What they hold is not trusted: reads are bounded, odd contents are left out, nothing panics.
//! Linux only; elsewhere the lists are empty.

mod find;
mod holders;
pub mod known;
mod sysfs;

pub use find::Identity;
pub use holders::{Holder, Holders};
pub use known::{Kind, Role};

use std::path::{Path, PathBuf};

/// The variable that may name another folder than `/` to find `sys`, `dev`, `proc` and `run` in.
pub const ROOT_VARIABLE: &str = "RAPIDSMS_MACHINE_ROOT";

/// Where to look.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

/// Something with serial ports that is plugged in: a stick, an adapter, a port of the board.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Where it is plugged in (`1-1.2`: bus 1, port 1 of its root, port 2 of that hub); `None` when it is not on USB.
    pub usb: Option<String>,
    /// The USB vendor's number.
    pub vendor: Option<u16>,
    /// The product's number, as the vendor counts.
    pub product_id: Option<u16>,
    /// The maker, as the device says.
    pub manufacturer: Option<String>,
    /// The product, as the device says.
    pub product: Option<String>,
    /// The serial number, if it has one. Cheap sticks all have the same.
    pub serial: Option<String>,
    /// Whether it is a modem.
    pub kind: Kind,
    /// What the table calls it.
    pub model: Option<&'static str>,
    /// Its ports, those first that are worth asking first.
    pub ports: Vec<Port>,
}

impl Device {
    /// A device of which nothing is known yet.
    fn unknown() -> Device {
        Device {
            usb: None,
            vendor: None,
            product_id: None,
            manufacturer: None,
            product: None,
            serial: None,
            kind: Kind::Unknown,
            model: None,
            ports: Vec::new(),
        }
    }
}

/// One tty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its path now, such as `/dev/ttyUSB2`. It may be another after the device was plugged in again.
    pub path: PathBuf,
    /// Its USB interface.
    pub interface: Option<u8>,
    /// The driver (`option`, `cdc_acm`, `ftdi_sio` ...).
    pub driver: Option<String>,
    /// Its other names: those of `/dev/serial/by-id` first, which stay the same wherever the device is plugged in, then `/dev/modems`, then
    /// those of `/dev/serial/by-path`, which stay the same while it stays where it is.
    pub names: Vec<PathBuf>,
    /// What the table says it is for.
    pub role: Role,
}

impl Machine {
    /// This machine, or what [`ROOT_VARIABLE`] names in its place.
    pub fn here() -> Machine {
        let root = std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty());
        Machine::below(root.map_or_else(|| PathBuf::from("/"), PathBuf::from))
    }

    /// The machine whose `sys`, `dev`, `proc` and `run` stand in this folder.
    pub fn below(root: impl Into<PathBuf>) -> Machine {
        Machine { root: root.into() }
    }

    /// The folder in which ports come and go.
    pub fn ports_folder(&self) -> PathBuf {
        self.folder("dev")
    }

    /// Every device that has a serial port, in the order of their places.
    pub fn devices(&self) -> Vec<Device> {
        sysfs::devices(self)
    }

    /// Known modems that show no serial port, in the order of their places.
    pub fn portless(&self) -> Vec<Device> {
        sysfs::portless(self)
    }

    /// The devices that may be meant. See [`Identity`] for how sure that is.
    pub fn find(&self, identity: &Identity) -> Vec<Device> {
        find::find(self, identity)
    }

    /// The device that this path (or a link to it) belongs to, and which of its ports it is.
    pub fn device_of(&self, path: &Path) -> Option<(Device, usize)> {
        find::device_of(&self.devices(), path)
    }

    /// Who has this port open.
    pub fn holders(&self, path: &Path) -> Holders {
        holders::of(self, path)
    }

    /// Why this port could not be opened, in a sentence with the remedy.
    pub fn why_not(&self, path: &Path, error: &std::io::Error) -> String {
        holders::why_not(self, path, error)
    }

    /// A folder below the root; `inside` is relative.
    fn folder(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }
}

impl Device {
    /// Maker and model, as well as they are known without asking.
    pub fn title(&self) -> String {
        let own = match (&self.manufacturer, &self.product) {
            (Some(maker), Some(product)) if product.contains(maker.as_str()) => Some(product.clone()),
            (Some(maker), Some(product)) => Some(format!("{maker} {product}")),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        };
        match (self.model, own) {
            (Some(model), _) => model.to_string(),
            (None, Some(own)) => own,
            (None, None) => match self.ids() {
                Some(ids) => format!("USB device {ids}"),
                None => "serial port".to_string(),
            },
        }
    }

    /// `12d1:1436`.
    pub fn ids(&self) -> Option<String> {
        Some(format!("{:04x}:{:04x}", self.vendor?, self.product_id?))
    }

    /// The name that stays: of the first port that has one in `/dev/serial/by-id`.
    pub fn stable_name(&self) -> Option<&Path> {
        self.ports.iter().find_map(Port::stable_name)
    }

    /// The line for udev that makes ModemManager leave this device alone; `None` when it is not on USB.
    pub fn ignore_rule(&self) -> Option<String> {
        let place = self.usb.as_ref()?;
        // The place alone would also hit whatever else is plugged in there later.
        let ids = match (self.vendor, self.product_id) {
            (Some(vendor), Some(product)) => {
                format!(", ATTRS{{idVendor}}==\"{vendor:04x}\", ATTRS{{idProduct}}==\"{product:04x}\"")
            }
            _ => String::new(),
        };
        Some(format!(
            "ACTION!=\"remove\", SUBSYSTEMS==\"usb\", KERNELS==\"{place}\"{ids}, ENV{{ID_MM_DEVICE_IGNORE}}=\"1\""
        ))
    }
}

impl Port {
    /// Its name in `/dev/serial/by-id`.
    pub fn stable_name(&self) -> Option<&Path> {
        let by_id = |name: &&PathBuf| name.parent().is_some_and(|folder| folder.ends_with("by-id"));
        self.names.iter().find(by_id).map(PathBuf::as_path)
    }

    /// `ttyUSB2`.
    pub fn short_name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}
