//! What processes cost, by the kernel's own books: a process, everything it started, and what it started and has ended since.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// `/proc/PID/stat` counts in hundredths of a second, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// What a tree of processes has cost so far.
#[derive(Clone, Copy)]
pub struct Cost {
    pub cpu: Duration,
    /// How often any thread was put back to work after it had waited.
    pub wakeups: u64,
}

impl Sub for Cost {
    type Output = Cost;

    fn sub(self, before: Cost) -> Cost {
        Cost {
            cpu: self.cpu.saturating_sub(before.cpu),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
        }
    }
}

/// These processes and all that come from them, as far as they live.
pub fn tree(roots: &[u32]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat(pid).get(1) {
            children.entry(u32::try_from(*parent).unwrap_or(0)).or_default().push(pid);
        }
    }
    let mut tree = roots.to_vec();
    let mut at = 0;
    while let Some(pid) = tree.get(at) {
        tree.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    tree
}

pub fn cost(roots: &[u32]) -> Cost {
    let mut cost = Cost { cpu: Duration::ZERO, wakeups: 0 };
    for pid in tree(roots) {
        let stat = stat(pid);
        let ticks = |fields: [usize; 2]| -> Duration {
            let sum: u64 = fields.iter().filter_map(|field| stat.get(*field)).sum();
            TICK * u32::try_from(sum).unwrap_or(u32::MAX)
        };
        let (mut threads, mut wakeups) = (Duration::ZERO, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let nanoseconds = read("schedstat").split_whitespace().next().and_then(|it| it.parse().ok());
            threads += Duration::from_nanos(nanoseconds.unwrap_or(0));
            wakeups += field(&read("status"), "voluntary_ctxt_switches:");
        }
        // Threads are counted to the nanosecond while they live, in ticks for ever; children in ticks once they have ended.
        cost.cpu += threads.max(ticks([11, 12])) + ticks([13, 14]);
        cost.wakeups += wakeups;
    }
    cost
}

/// Memory in MiB: what is resident, and the same with shared pages divided among those who share them.
pub fn memory(roots: &[u32]) -> (f64, f64) {
    let (mut resident, mut shared_out) = (0, 0);
    for pid in tree(roots) {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        resident += field(&rollup, "Rss:");
        shared_out += field(&rollup, "Pss:");
    }
    (resident as f64 / 1024.0, shared_out as f64 / 1024.0)
}

/// The numbers behind the name and the state: the parent is field 1.
fn stat(pid: u32) -> Vec<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
