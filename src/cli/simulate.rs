//! `rapidsms simulate`: modems without hardware. No settings and no store are touched.

use super::arguments::{Simulate as Wanted, SimulateCommand, SimulateModem};
use super::{Ended, Exit, Failure};
use crate::simulator::host::{self, MOST_MODEMS, Setting, Setup};
use crate::simulator::personality;
use crate::simulator::{Subscriber, Timing};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The number of the first modem; the others count up.
const FIRST_NUMBER: u64 = 254_700_000_101;
const SERVICE_CENTER: &str = "+254700000009";

pub(super) fn run(wanted: &Wanted) -> Ended {
    match &wanted.what {
        SimulateCommand::Modem(modem) => run_modems(modem),
    }
}

fn run_modems(wanted: &SimulateModem) -> Ended {
    let count = wanted.links.len().max(1);
    if count > MOST_MODEMS {
        return Err(Failure::usage(format!(
            "{count} modems are too many: {MOST_MODEMS} fit into one process"
        )));
    }
    let modems = (0..count).map(|index| setup(wanted, index)).collect::<Result<Vec<Setup>, Failure>>()?;
    let setting = Setting {
        modems,
        ledger: wanted.ledger.clone(),
        script: wanted.script.clone(),
        control: wanted.control.clone(),
        tell_commands: wanted.commands,
    };
    host::run(&setting, &mut io::stdout(), &mut io::stderr())
        .map_err(|error| Failure::failed(error.to_string()))?;
    Ok(Exit::Ok)
}

fn setup(wanted: &SimulateModem, index: usize) -> Result<Setup, Failure> {
    let link = wanted.links.get(index).cloned();
    let name = link.as_deref().map_or(Ok("modem".to_string()), name_of)?;
    let position = index as u64;
    let number = match wanted.numbers.get(index) {
        Some(number) => number.clone(),
        None => format!("+{}", FIRST_NUMBER + position),
    };
    let subscriber = Subscriber {
        number,
        imei: with_check_digit(35_200_100_000_000 + position),
        imsi: format!("{}", 639_020_000_000_001 + position),
        iccid: format!("{}", 8_925_402_000_000_000_001 + position),
        pin: wanted.pin.clone(),
        service_center: wanted.smsc.clone().unwrap_or_else(|| SERVICE_CENTER.to_string()),
    };
    let usual = Timing::default();
    let milliseconds = |given: Option<u64>, usual: Duration| given.map_or(usual, Duration::from_millis);
    let timing = Timing {
        latency: milliseconds(wanted.latency, usual.latency),
        send: milliseconds(wanted.send_time, usual.send),
        report: milliseconds(wanted.report_time, usual.report),
        retry: milliseconds(wanted.retry_time, usual.retry),
    };
    let named = wanted.personalities.get(index).or(wanted.personalities.last()).copied();
    let ports = wanted.ports.get(index).cloned().unwrap_or_default();
    Ok(Setup { name, link, personality: named.unwrap_or(&personality::GENERIC), subscriber, timing, ports })
}

/// A modem is called what its link is called.
fn name_of(link: &Path) -> Result<String, Failure> {
    let name = link.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let speakable = !name.is_empty() && !name.contains(char::is_whitespace) && name != "all";
    if speakable {
        return Ok(name.to_string());
    }
    Err(Failure::usage(format!(
        "{} gives a modem no name that orders could use",
        PathBuf::from(link).display()
    )))
}

/// An IMEI: fourteen digits and the check digit of Luhn (3GPP TS 23.003 annex B).
fn with_check_digit(digits: u64) -> String {
    let digits = format!("{digits:014}");
    let sum: u32 = digits
        .chars()
        .filter_map(|digit| digit.to_digit(10))
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}
