//! One open port: set up, locked, and never waited for.
//!
//! It is opened twice: by `serialport`, which sets it up, locks it and holds DTR, and once more for reading and writing without
//! waiting, because one poll has to wake for octets, mail, timers and the stop alike.

use super::rules::Port;
use crate::devices::Machine;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serialport::{DataBits, ErrorKind, FlowControl, Parity, SerialPort, StopBits, TTYPort};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The poll's name for the port that is opened first.
pub const DEVICE: Token = Token(0);
/// What a device does not take is dropped beyond this; its answers fail to come, and that is acted on.
const UNWRITTEN: usize = 64 * 1024;
/// Octets that are read before anything else has its turn: a device that never pauses does not keep the mail waiting.
const READ_AT_ONCE: usize = 64 * 1024;

/// The open port.
#[derive(Debug)]
pub struct Device {
    file: File,
    port: TTYPort,
    registry: Registry,
    token: Token,
    unwritten: Vec<u8>,
    /// The poll tells when more can be written. Only then: otherwise each write would wake the thread for nothing.
    is_blocked: bool,
    unread: bool,
}

/// Why a port cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// There is no such device now.
    Missing(String),
    /// It is there.
    Locked(String),
}

impl Device {
    /// Opens it and shows it to the poll by this name.
    pub fn open(settings: &Port, path: &Path, registry: &Registry, token: Token) -> Result<Device, Closed> {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| closed(path, &error))?;
        let port = set_up(settings, path)?;
        let registry = registry.try_clone().map_err(|error| closed(path, &error))?;
        let registered = registry.register(&mut SourceFd(&file.as_raw_fd()), token, Interest::READABLE);
        registered.map_err(|error| closed(path, &error))?;
        // What came before the poll knew of the port wakes nobody.
        let unwritten = Vec::new();
        Ok(Device { file, port, registry, token, unwritten, is_blocked: false, unread: true })
    }

    /// The poll's name for it.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Whether there may be more to read, of which no poll tells.
    pub fn has_unread(&self) -> bool {
        self.unread
    }

    /// Closes the port, and leaves DTR to the kernel.
    pub fn close(self) {
        // Closing ends it in any case.
        let _ = self.registry.deregister(&mut SourceFd(&self.file.as_raw_fd()));
    }

    /// Lets DTR fall, which makes a modem end what it is doing, and closes the port.
    pub fn hang_up(mut self) {
        // Ports without such a wire refuse; closing does the same for those that have one.
        let _ = self.port.write_data_terminal_ready(false);
        self.close();
    }

    /// Puts octets behind what is to be written.
    pub fn put(&mut self, octets: &[u8]) {
        if self.unwritten.len() + octets.len() <= UNWRITTEN {
            self.unwritten.extend_from_slice(octets);
        }
    }

    /// Writes what the device takes now; the poll says when it takes more.
    pub fn write(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match self.file.write(&self.unwritten) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.unwritten.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.is_to_be_told(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.is_to_be_told(false)
    }

    /// Whether the poll tells when more can be written.
    fn is_to_be_told(&mut self, wanted: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.is_blocked, wanted) == wanted {
            return Ok(());
        }
        let readable = Interest::READABLE;
        let interest = if wanted { readable.add(Interest::WRITABLE) } else { readable };
        self.registry.reregister(&mut SourceFd(&self.file.as_raw_fd()), self.token, interest)
    }

    /// Reads what there is. Gives why there will be no more, if so.
    pub fn read(&mut self, octets: &mut Vec<u8>) -> Option<String> {
        self.unread = false;
        let mut buffer = [0; 4096];
        while octets.len() < READ_AT_ONCE {
            match self.file.read(&mut buffer) {
                Ok(0) => return Some("the modem hung up".into()),
                Ok(count) => octets.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(error.to_string()),
            }
        }
        self.unread = true;
        None
    }
}

fn set_up(settings: &Port, path: &Path) -> Result<TTYPort, Closed> {
    let flow = match (settings.hardware_flow, settings.software_flow) {
        (true, _) => FlowControl::Hardware,
        (false, true) => FlowControl::Software,
        (false, false) => FlowControl::None,
    };
    let data_bits = match settings.data_bits {
        5 => DataBits::Five,
        6 => DataBits::Six,
        7 => DataBits::Seven,
        _ => DataBits::Eight,
    };
    let parity = match settings.parity {
        'E' => Parity::Even,
        'O' => Parity::Odd,
        _ => Parity::None,
    };
    let stop_bits = if settings.stop_bits == 2 { StopBits::Two } else { StopBits::One };
    let builder = serialport::new(path.to_string_lossy(), settings.speed)
        .data_bits(data_bits)
        .parity(parity)
        .stop_bits(stop_bits)
        .flow_control(flow);
    let mut port = builder.open_native().map_err(|error| {
        let kind = match error.kind() {
            ErrorKind::Io(kind) => kind,
            ErrorKind::NoDevice => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::Other,
        };
        closed(path, &io::Error::new(kind, error.to_string()))
    })?;
    // Modems with such wires listen only while they stand high; USB sticks and pseudo-terminals have none and refuse.
    let _ = port.write_data_terminal_ready(true);
    let _ = port.write_request_to_send(true);
    Ok(port)
}

/// What is wrong with a port that cannot be opened, and what to do about it.
fn closed(path: &Path, error: &io::Error) -> Closed {
    let why = Machine::here().why_not(path, error);
    let gone = error.raw_os_error().map(Errno::from_raw_os_error);
    match (error.kind(), gone) {
        (io::ErrorKind::NotFound, _) | (_, Some(Errno::NXIO | Errno::NODEV | Errno::IO)) => {
            Closed::Missing(why)
        }
        _ => Closed::Locked(why),
    }
}
