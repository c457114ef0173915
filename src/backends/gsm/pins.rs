//! Remembers that a PIN was given, over restarts of this process: a SIM blocks itself after three wrong ones, and a service that is
//! restarted all night tries more often than that.
//!
//! One small file for each backend that has a PIN, in the service manager's state folder or beside the settings. It holds a digest, so
//! that another PIN in the settings is known to be another; it is gone once a PIN has worked.

use crate::settings::{BackendSettings, Secret};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// The memory of one backend's PIN.
#[derive(Debug)]
pub struct PinMemory {
    file: PathBuf,
    digest: String,
}

impl PinMemory {
    /// Where the PIN of this backend is remembered. Nothing is opened yet.
    pub fn of(settings: &BackendSettings, pin: &Secret) -> PinMemory {
        let digest = Sha256::digest(format!("rapidsms pin\0{}\0{}", settings.name, pin.expose()));
        let digest = digest.iter().take(8).map(|octet| format!("{octet:02x}")).collect();
        PinMemory { file: state_file(settings, "pin-given"), digest }
    }

    /// Whether this very PIN was given before, and never found to be right.
    pub fn was_tried(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|known| known.trim() == self.digest)
    }

    /// Remembers it, durably, before it is given.
    pub fn remember(&self) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.file)?;
        writeln!(file, "{}", self.digest)?;
        file.sync_all()?;
        match self.file.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// It was right.
    pub fn forget(&self) {
        // What was never written is not there; what cannot be removed only makes the next wrong PIN known earlier.
        let _ = fs::remove_file(&self.file);
    }

    /// Where it is remembered, for people.
    pub fn path(&self) -> &std::path::Path {
        &self.file
    }
}

/// A file in which a backend remembers something: `.what-NAME` in the service manager's state folder, or beside the settings.
pub(super) fn state_file(settings: &BackendSettings, what: &str) -> PathBuf {
    let state =
        std::env::var_os("STATE_DIRECTORY").and_then(|folders| std::env::split_paths(&folders).next());
    let folder = state.unwrap_or_else(|| settings.options.header().folder().to_path_buf());
    let safe = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    let name: String = settings.name.chars().map(safe).take(64).collect();
    folder.join(format!(".{what}-{name}"))
}
