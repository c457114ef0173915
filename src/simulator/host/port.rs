//! A pseudo-terminal with a modem's end and a client's, and the link to it.

use super::HostError;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A port with both its ends.
pub(super) struct Port {
    pub master: File,
    pub other_end: OwnedFd,
    pub path: PathBuf,
    pub backlog: VecDeque<u8>,
    pub is_readable: bool,
    /// How many have it open, as far as the kernel's notices tell.
    pub listeners: u32,
    /// Somebody has closed it since it was read last.
    pub was_closed: bool,
}

/// Writes what there is room for.
pub(super) fn flush(port: &mut Port) {
    while !port.backlog.is_empty() {
        let (piece, _) = port.backlog.as_slices();
        match port.master.write(piece) {
            Ok(0) => return,
            Ok(count) => drop(port.backlog.drain(..count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

pub(super) fn open_port() -> Result<Port, HostError> {
    let failed = |error: rustix::io::Errno| HostError(format!("no pseudo-terminal can be opened: {error}"));
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).map_err(failed)?;
    grantpt(&master).and_then(|()| unlockpt(&master)).map_err(failed)?;
    let other_end = ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
    let mut mode = tcgetattr(&other_end).map_err(failed)?;
    mode.make_raw();
    tcsetattr(&other_end, OptionalActions::Now, &mode).map_err(failed)?;
    let name = ptsname(&master, Vec::new()).map_err(failed)?;
    rustix::io::ioctl_fionbio(&master, true).map_err(failed)?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
    Ok(Port {
        master: File::from(master),
        other_end,
        path,
        backlog: VecDeque::new(),
        is_readable: false,
        listeners: 0,
        was_closed: false,
    })
}

/// Puts a link there in one step. Only a link that leads to a terminal, or nowhere, is replaced.
pub(super) fn place_link(link: &Path, target: &Path) -> Result<(), HostError> {
    let failed = |error: io::Error| HostError(format!("no link can be made at {}: {error}", link.display()));
    match fs::symlink_metadata(link) {
        Err(_) => {}
        Ok(found) if found.file_type().is_symlink() => {
            let leads = fs::read_link(link).map_err(failed)?;
            if !leads.starts_with("/dev/pts") {
                let sentence =
                    format!("{} is a link to {}: choose another path", link.display(), leads.display());
                return Err(HostError(sentence));
            }
        }
        Ok(_) => {
            return Err(HostError(format!(
                "{} is there already, and no link: choose another path",
                link.display()
            )));
        }
    }
    let mut beside = link.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    symlink(target, &beside).map_err(failed)?;
    fs::rename(&beside, link).map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

/// Unless somebody has put another one there.
pub(super) fn remove_link(link: &Path, target: &Path) {
    if fs::read_link(link).is_ok_and(|leads| leads == target) {
        let _ = fs::remove_file(link);
    }
}
