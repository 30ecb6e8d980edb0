//! Ports that two tests never get at once.
//!
//! Binding port 0 and letting go of it is a race: the kernel may hand the same port to an outgoing connection
//! before the server binds it. So ports come from below the kernel's own range (32768 on Linux), and each is
//! held by a locked file until this process ends, which keeps test binaries that run side by side apart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

/// Above the ports that services and this project use, below the kernel's ephemeral ports.
const RANGE: Range<u16> = 20_000..32_000;

/// The ports handed out by this process, each with the locked file that reserves it.
static HELD: Mutex<BTreeMap<u16, File>> = Mutex::new(BTreeMap::new());

/// A TCP port of 127.0.0.1 that nothing listens on and that no other test is given while this process lives.
///
/// # Panics
/// When all 12,000 ports are taken, or the temporary folder cannot be written.
pub fn free_port() -> u16 {
    let folder = lock_folder();
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot create {}: {e}", folder.display()));
    let mut held = HELD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for port in candidates(held.len()) {
        if held.contains_key(&port) {
            continue;
        }
        let Some(lock) = reserve(&folder.join(port.to_string())) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            held.insert(port, lock);
            return port;
        }
    }
    panic!("no free port in {RANGE:?}: too many servers are running; end some and try again");
}

/// All ports of the range, from a place that differs from process to process so that they seldom collide.
fn candidates(taken: usize) -> impl Iterator<Item = u16> {
    let size = usize::from(RANGE.end - RANGE.start);
    let first = (std::process::id() as usize * 61 + taken) % size;
    (0..size)
        .filter_map(move |step| u16::try_from((first + step) % size).ok())
        .map(|offset| RANGE.start + offset)
}

/// One folder per user, because a user cannot open the lock files of another.
fn lock_folder() -> PathBuf {
    std::env::temp_dir().join(format!("sawpit-ports-{}", rustix::process::getuid().as_raw()))
}

fn reserve(path: &std::path::Path) -> Option<File> {
    let file = File::create(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_free_and_never_given_twice() {
        let ports: Vec<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }

    #[test]
    fn a_port_reserved_elsewhere_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("20000");
        let held = reserve(&path).unwrap();
        assert!(reserve(&path).is_none());
        drop(held);
        assert!(reserve(&path).is_some());
    }
}
