//! Remembers which port of a stick announces, over restarts of this process, so that the next start uses it from the beginning.
//!
//! One small file for each backend that had to find out, beside that of [`pins`](super::pins). It is a hint: of another stick it says nothing,
//! a wrong one is found out by the first message that nobody announces, and one that cannot be written costs a few seconds
//! of listening after the next start.

use super::pins::state_file;
use crate::devices::Device;
use crate::settings::BackendSettings;
use std::fs;
use std::path::PathBuf;

/// Longer than any line of ours.
const LONGEST: u64 = 512;

/// What was found out about a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// It announces, and takes commands.
    Announces,
    /// It announces, and is no good for commands.
    Avoid,
}

/// A stick, as far as it can be known without asking it: model and serial number. Cheap ones have all the same, but then they are of one
/// make and announce alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stick(String);

impl Stick {
    /// `None` for what is not on USB, and so has one port only.
    pub fn of(device: &Device) -> Option<Stick> {
        let serial: String = device.serial.iter().flat_map(|serial| serial.chars()).take(128).collect();
        Some(Stick(format!("{} {serial}", device.ids()?).trim().to_string()))
    }
}

/// The memory of one backend.
#[derive(Debug)]
pub struct PortMemory {
    file: PathBuf,
}

impl PortMemory {
    /// Where this backend remembers. Nothing is opened yet.
    pub fn of(settings: &BackendSettings) -> PortMemory {
        PortMemory { file: state_file(settings, "port-of") }
    }

    /// What is known about a port (the number of its USB interface) of this stick.
    pub fn recall(&self, stick: &Stick) -> Option<(u8, Finding)> {
        let small = fs::metadata(&self.file).is_ok_and(|file| file.is_file() && file.len() <= LONGEST);
        let text = small.then(|| fs::read_to_string(&self.file).ok()).flatten()?;
        let mut words = text.trim().splitn(3, ' ');
        let finding = match words.next()? {
            "announces" => Finding::Announces,
            "avoid" => Finding::Avoid,
            _ => return None,
        };
        let interface = u8::from_str_radix(words.next()?, 16).ok()?;
        (words.next()? == stick.0).then_some((interface, finding))
    }

    /// Remembers it, in one step: who is killed meanwhile finds the old hint or the new one.
    pub fn remember(&self, stick: &Stick, interface: u8, finding: Finding) {
        let word = match finding {
            Finding::Announces => "announces",
            Finding::Avoid => "avoid",
        };
        let mut beside = self.file.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let written = fs::write(&beside, format!("{word} {interface:02x} {}\n", stick.0));
        if let Err(error) = written.and_then(|()| fs::rename(&beside, &self.file)) {
            log::info!("which port announces is not remembered in {}: {error}", self.file.display());
        }
    }

    /// It was wrong.
    pub fn forget(&self) {
        // What was never written is not there; what cannot be removed is found wrong again.
        let _ = fs::remove_file(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_remembered_for_this_stick_alone_and_nonsense_is_nothing() {
        let folder = std::env::temp_dir().join(format!("rapidsms-choice-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let memory = PortMemory { file: folder.join(".port-of-Zain") };
        let (stick, other) = (Stick("12d1:ffff 01 23".into()), Stick("12d1:ffff".into()));
        assert_eq!(memory.recall(&stick), None);
        for finding in [Finding::Announces, Finding::Avoid] {
            memory.remember(&stick, 0x1f, finding);
            assert_eq!(memory.recall(&stick), Some((0x1f, finding)));
            assert_eq!(memory.recall(&other), None);
        }
        let long = format!("announces 1f 12d1:ffff 01 23{}", " ".repeat(600));
        for nonsense in ["", "announces", "announces zz 12d1:ffff 01 23", "perhaps 1f 12d1:ffff 01 23", &long]
        {
            fs::write(&memory.file, nonsense).unwrap();
            assert_eq!(memory.recall(&stick), None, "{nonsense}");
        }
        memory.forget();
        memory.forget();
        assert_eq!(memory.recall(&stick), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
