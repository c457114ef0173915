//! A serial port for the time of an interview: opened alone, raw and without waiting, and left as it was found.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, Termios, ioctl_tiocexcl, ioctl_tiocnxcl, tcflush,
    tcgetattr, tcsetattr,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// An open port.
pub(super) struct Tty {
    descriptor: OwnedFd,
    before: Termios,
}

impl Tty {
    /// Opens it; refused when somebody has it to himself.
    pub(super) fn open(path: &Path, speed: u32) -> io::Result<Tty> {
        // Without NONBLOCK a line without a carrier would be waited for; without NOCTTY a hang-up would end this program.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let descriptor = open(path, flags, Mode::empty())?;
        let before = tcgetattr(&descriptor)?;
        match flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(Errno::BUSY.into()),
            other => other?,
        }
        ioctl_tiocexcl(&descriptor)?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        raw.control_modes -= ControlModes::CRTSCTS;
        raw.set_speed(speed)?;
        let tty = Tty { descriptor, before };
        tcsetattr(&tty.descriptor, OptionalActions::Now, &raw)?;
        tcflush(&tty.descriptor, QueueSelector::IFlush)?;
        Ok(tty)
    }

    /// For mio.
    pub(super) fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// What is there; `None` when there is nothing now. The other end being gone is an error.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.descriptor, buffer) {
            Ok(0) => Err(Errno::IO.into()),
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// As much as there is room for.
    pub(super) fn write(&self, octets: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.descriptor, octets) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // When the modem was pulled out meanwhile there is nothing to set back.
        let _ = tcsetattr(&self.descriptor, OptionalActions::Now, &self.before);
        let _ = ioctl_tiocnxcl(&self.descriptor);
    }
}
