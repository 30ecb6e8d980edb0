//! A process and all that descend from it, as the kernel lists them.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The ids of `root`'s children, their children, and so on; without `root`.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|p| p.parent == parent).map(|p| p.id));
        next += 1;
    }
    found.split_off(1)
}

/// Sends `signal`; a process that is gone is no error.
pub(crate) fn signal(id: u32, signal: Signal) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until none of `ids` runs any more; false when some still do after `limit`.
pub(crate) fn wait_gone(ids: &[u32], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while ids.iter().any(|id| runs(*id)) {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
    true
}

struct Running {
    id: u32,
    parent: u32,
    state: char,
}

fn runs(id: u32) -> bool {
    stat(id).is_some_and(|process| process.state != 'Z')
}

fn processes() -> Vec<Running> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(stat).collect()
}

/// Reads `/proc/ID/stat`: `ID (name) state parent …`, where the name may hold spaces and brackets (proc(5)).
fn stat(id: u32) -> Option<Running> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Running { id, parent, state })
}
