//! The files around the database: the lock that keeps a second daemon out, with a note of what its holder does, the ballast that is given up when the disk is full (P12), and
//! the test that the database is still the file that was opened.

use super::StoreError;
use crate::message::MessageId;
use crate::time::Timestamp;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// So much disk is kept in reserve for the outcomes of what is in flight when the disk fills up.
const BALLAST: u64 = 4 * 1024 * 1024;
/// So much more must be free before the reserve is taken back, or it would be given up again at once.
const MARGIN: u64 = 1024 * 1024;

/// Held as long as the store is open.
#[derive(Debug)]
pub(super) struct Guard {
    path: PathBuf,
    lock: File,
    database: Option<(u64, u64)>,
    /// What the apps see, or saw when the holder before died.
    running: Option<MessageId>,
}

// The lock file has lines of fixed length: who holds it, in which boot of the machine, and which message the apps see. So the last one is
// changed by one small write, which the kernel keeps when the process dies; and after a power cut the boot is another one.
const HOLDER: std::ops::Range<usize> = 0..127;
const BOOT: std::ops::Range<usize> = 133..169;
const RUNNING: std::ops::Range<usize> = 178..214;
const LOCK_FILE: usize = 215;
const HOLDING: usize = HOLDER.end;
const NOBODY: &str = "------------------------------------";

impl Guard {
    /// Locks the store at `path` for this process. The lock ends with the process, however that ends.
    pub(super) fn lock(path: &Path, now: Timestamp) -> Result<Guard, StoreError> {
        let lock_path = beside(path, ".lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| explain_io(&error, &lock_path))?;
        let locked = lock.try_lock();
        let mut before = [0; LOCK_FILE];
        // Fewer octets than that are a file that was not written yet.
        let _ = lock.read_at(&mut before, 0);
        let before = |place: std::ops::Range<usize>| std::str::from_utf8(&before[place]).unwrap_or("");
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = before(HOLDER).trim_matches([' ', '\n', '\0']);
                // The holder writes the file right after it locked it; an empty one means that we were in between.
                let holder = Some(holder).filter(|holder| !holder.is_empty()).unwrap_or("another process");
                return Err(StoreError::InUse(format!(
                    "{} is held by {holder}; stop that first, or give this one another [database] url",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(explain_io(&error, &lock_path)),
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim();
        let running = (before(BOOT) == boot).then(|| before(RUNNING).parse().ok()).flatten();
        let holder = format!("process {}, since {now}", std::process::id());
        let noted = running.map_or(NOBODY.to_string(), |id: MessageId| id.to_string());
        let text = format!("{holder:HOLDING$.HOLDING$}\nboot {boot:36.36}\nhandling {noted}\n");
        // The lock is held with or without its text; a full disk must not keep us out.
        let _ = lock.write_all_at(text.as_bytes(), 0).and_then(|()| lock.set_len(LOCK_FILE as u64));
        Ok(Guard { path: path.to_owned(), lock, database: None, running })
    }

    /// Which message the apps see, or saw when the holder before died.
    pub(super) fn running(&self) -> Option<MessageId> {
        self.running
    }

    /// Notes which message the apps see from now on.
    pub(super) fn note(&mut self, id: Option<MessageId>) {
        if std::mem::replace(&mut self.running, id) != id {
            let text = id.map_or(NOBODY.to_string(), |id| id.to_string());
            // Without the note a text that kills is tried more often, which is no reason to handle none.
            let _ = self.lock.write_all_at(text.as_bytes(), RUNNING.start as u64);
        }
    }

    /// Refuses a database that has a second name. A lock and a write-ahead log belong to a name, so that a router at each name would keep
    /// messages from the other and destroy its pages, and a start by the other name would miss what the log holds.
    pub(super) fn refuse_second_name(&self) -> Result<(), StoreError> {
        let Ok(metadata) = fs::metadata(&self.path) else { return Ok(()) };
        if metadata.nlink() < 2 {
            return Ok(());
        }
        // What a crash in the middle of saving a damaged file leaves: its copy is the file itself, and no router runs on that.
        let database = (metadata.dev(), metadata.ino());
        let aside = beside(&self.path, ".damaged-");
        let is_aside = |entry: &fs::DirEntry| {
            let named = aside.file_name().is_some_and(|aside| {
                entry.file_name().as_encoded_bytes().starts_with(aside.as_encoded_bytes())
            });
            named && entry.metadata().is_ok_and(|found| (found.dev(), found.ino()) == database)
        };
        let folder = self.path.parent().and_then(|folder| fs::read_dir(folder).ok());
        let known = folder.map_or(0, |entries| entries.flatten().filter(is_aside).count() as u64);
        if metadata.nlink() - known < 2 {
            return Ok(());
        }
        Err(StoreError::Broken(format!(
            "{} has a second name (a hard link), and messages would be lost between the two: remove the other one, which \
             `find / -xdev -samefile {}` shows, or make it a copy while no router runs",
            self.path.display(),
            self.path.display()
        )))
    }

    /// From now on the file at the path is the one to watch.
    pub(super) fn watch(&mut self) {
        self.database = fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    }

    /// Whether the database and the lock are still the files that were opened.
    pub(super) fn still_there(&self) -> Result<(), StoreError> {
        let shown = self.path.display();
        let gone = |what: &str| {
            StoreError::Damaged(format!(
                "{shown} {what} while it was open; what it would take in could not be found again. \
                 Put the file back and restart the router"
            ))
        };
        match fs::metadata(&self.path) {
            Ok(metadata)
                if self.database.is_none_or(|watched| watched == (metadata.dev(), metadata.ino())) => {}
            Ok(_) => return Err(gone("was replaced by another file")),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(gone("was deleted or moved")),
            Err(error) => return Err(explain_io(&error, &self.path)),
        }
        let ours = self.lock.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        let theirs =
            fs::metadata(beside(&self.path, ".lock")).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        if ours != theirs {
            return Err(gone("lost its lock file, so a second router could open it"));
        }
        Ok(())
    }

    /// Sets the reserve aside, if it is not there already. It is written, not just declared, so that it occupies real blocks.
    pub(super) fn take_ballast(&self) -> Result<(), StoreError> {
        let ballast = beside(&self.path, ".ballast");
        if fs::metadata(&ballast).is_ok_and(|metadata| metadata.len() >= BALLAST) {
            return Ok(());
        }
        let unfinished = beside(&ballast, ".part");
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            // Not zeros: some file systems store those without using any block.
            let chunk = [0x5a_u8; 64 * 1024];
            for _ in 0..(BALLAST + MARGIN) / chunk.len() as u64 {
                file.write_all(&chunk)?;
            }
            file.sync_all()?;
            file.set_len(BALLAST)?;
            fs::rename(&unfinished, &ballast)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            explain_io(&error, &ballast)
        })
    }

    /// Gives the reserve up.
    pub(super) fn release_ballast(&self) {
        let _ = fs::remove_file(beside(&self.path, ".ballast"));
    }

    /// Asks the file system itself why a write failed: SQLite tells an I/O error, but not which.
    pub(super) fn diagnose(&self) -> Option<StoreError> {
        let trial = beside(&self.path, ".trial");
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&trial)?;
            file.write_all(&[0x5a; 4096])?;
            file.sync_all()
        };
        let result = write();
        let _ = fs::remove_file(&trial);
        match result.err().map(|error| explain_io(&error, &self.path)) {
            Some(error @ (StoreError::Full(_) | StoreError::ReadOnly(_))) => Some(error),
            _ => None,
        }
    }
}

impl Drop for Guard {
    /// Closing the file is not enough while another thread starts a process: until that has become its own program it holds the file too.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// `path` with something appended to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes an empty file that only its owner can read; an existing one is emptied.
pub(super) fn create_private(path: &Path) -> Result<(), StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| explain_io(&error, path))
}

/// Gives a finished file its name, both safe on disk.
pub(super) fn settle_file(unfinished: &Path, path: &Path) -> Result<(), StoreError> {
    let settle = || -> std::io::Result<()> {
        File::open(unfinished)?.sync_all()?;
        fs::rename(unfinished, path)?;
        sync_folder(path)
    };
    settle().map_err(|error| explain_io(&error, path))
}

/// Makes a new or changed name safe on disk.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// An error of the file system as one of the store.
pub(super) fn explain_io(error: &std::io::Error, path: &Path) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(text),
        ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(text),
        ErrorKind::PermissionDenied => {
            StoreError::ReadOnly(format!("{text}; the user that runs the router must be able to write there"))
        }
        _ => StoreError::Broken(text),
    }
}
