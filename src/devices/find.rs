//! Which device is meant.

use super::{Device, Kind, Machine, Port, Role};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// How settings name a modem.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// A path. Found: that port alone, whatever it is (a pseudo-terminal too), also when it is not there just now.
    Port(PathBuf),
    /// The place where it is plugged in, `1-1.2`. Found: what is plugged in there.
    Usb(String),
    /// Its USB serial number. Found: every device that has it; more than one means that it does not tell them apart.
    Serial(String),
    /// The modem's number. Found: candidates, to be asked `AT+CGSN`.
    Imei(String),
    /// The subscriber's number, on the SIM. Found: candidates, to be asked `AT+CIMI`.
    Imsi(String),
    /// The SIM's number. Found: candidates, to be asked `AT+CCID`.
    Iccid(String),
}

impl Identity {
    /// Whether what [`Machine::find`] gives has to be asked before it is taken.
    pub fn must_be_asked(&self) -> bool {
        matches!(self, Identity::Imei(_) | Identity::Imsi(_) | Identity::Iccid(_))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Port(path) => write!(f, "port {}", path.display()),
            Identity::Usb(place) => write!(f, "USB place {place}"),
            Identity::Serial(serial) => write!(f, "serial number {serial}"),
            Identity::Imei(imei) => write!(f, "IMEI {imei}"),
            Identity::Imsi(imsi) => write!(f, "IMSI {imsi}"),
            Identity::Iccid(iccid) => write!(f, "ICCID {iccid}"),
        }
    }
}

/// See [`Machine::find`].
pub(super) fn find(machine: &Machine, identity: &Identity) -> Vec<Device> {
    let devices = machine.devices();
    match identity {
        Identity::Port(path) => vec![by_path(&devices, path)],
        Identity::Usb(place) => {
            let place = place.trim();
            devices.into_iter().filter(|device| device.usb.as_deref() == Some(place)).collect()
        }
        Identity::Serial(serial) => devices.into_iter().filter(|device| has_serial(device, serial)).collect(),
        Identity::Imei(imei) => {
            let mut candidates = candidates(devices);
            // Some sticks have their IMEI as their serial number.
            candidates.sort_by_key(|device| !has_serial(device, imei));
            candidates
        }
        Identity::Imsi(_) | Identity::Iccid(_) => candidates(devices),
    }
}

/// See [`Machine::device_of`].
pub(super) fn device_of(devices: &[Device], path: &Path) -> Option<(Device, usize)> {
    let real = fs::canonicalize(path).ok();
    let same = |port: &Port| {
        port.path == path
            || port.names.iter().any(|name| name == path)
            || (real.is_some() && fs::canonicalize(&port.path).ok() == real)
    };
    devices.iter().find_map(|device| Some((device.clone(), device.ports.iter().position(same)?)))
}

fn by_path(devices: &[Device], path: &Path) -> Device {
    match device_of(devices, path) {
        Some((device, index)) => Device {
            // The path as it was given: a link goes on meaning the same port when the tty has another number.
            ports: device
                .ports
                .get(index)
                .map(|port| Port { path: path.into(), ..port.clone() })
                .into_iter()
                .collect(),
            ..device
        },
        None => Device {
            ports: vec![Port {
                path: path.to_path_buf(),
                interface: None,
                driver: None,
                names: Vec::new(),
                role: Role::Unknown,
            }],
            ..Device::unknown()
        },
    }
}

fn has_serial(device: &Device, serial: &str) -> bool {
    device.serial.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(serial.trim()))
}

/// Whatever may be asked: modems, then adapters, then the rest. Ports that are known to be mute are left out.
fn candidates(devices: Vec<Device>) -> Vec<Device> {
    let rank = |device: &Device| match device.kind {
        Kind::Modem => Some(0),
        Kind::Adapter => Some(1),
        Kind::Unknown if device.usb.is_some() => Some(2),
        Kind::Unknown | Kind::Other | Kind::Console => None,
    };
    let mut ranked: Vec<(u8, Device)> =
        devices.into_iter().filter_map(|device| Some((rank(&device)?, device))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let without_mute = |mut device: Device| {
        device.ports.retain(|port| port.role != Role::Silent);
        device
    };
    ranked.into_iter().map(|(_, device)| without_mute(device)).collect()
}
