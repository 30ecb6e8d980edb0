//! The folder's watcher: a thread that looks when the system says that something moved, or when it is time.
//!
//! What it does is decided by looking (stat), never by what an event says: events are lost, doubled and
//! different on each system. They only wake it up. notify is named in this file alone.

use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::registry::{Watch, Watched};
use crate::scan::folder_identity;

/// How often a folder is looked at that is missing or cannot be watched.
pub(crate) const BLIND_POLL: Duration = Duration::from_millis(250);
/// How often a watched folder is asked whether it still is the one at its path, and is looked at if there are symbolic
/// links in it: one that is swapped, or what it leads to, sends no event.
pub(crate) const IDENTITY_POLL: Duration = Duration::from_millis(500);
/// Shortest time between two looks, so that a file that is being written does not keep a core busy.
const BREATH: Duration = Duration::from_millis(10);

/// Wakes the watcher's thread; a wake-up that is already waiting is enough.
#[derive(Clone, Debug)]
pub(crate) struct Waker(pub SyncSender<()>);

impl Waker {
    pub fn wake(&self) {
        match self.0.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Watches one folder, and again when it was removed and made anew.
pub(crate) struct FolderWatch {
    folder: PathBuf,
    waker: Waker,
    by: Watch,
    watcher: Option<RecommendedWatcher>,
    watched: Option<(u64, u64)>,
}

impl FolderWatch {
    pub const fn new(folder: PathBuf, waker: Waker, by: Watch) -> Self {
        Self { folder, waker, by, watcher: None, watched: None }
    }

    /// Whether another folder, or none, is at the path now.
    fn has_moved(&self) -> bool {
        folder_identity(&self.folder) != self.watched
    }

    /// Whether events will come from the folder as it is now.
    fn ensure(&mut self) -> bool {
        if self.by == Watch::Poll {
            return false;
        }
        let now = folder_identity(&self.folder);
        if now != self.watched || self.watcher.is_none() {
            self.watched = now;
            self.watcher = now.and_then(|_| start(&self.folder, self.waker.clone()));
        }
        self.watcher.is_some()
    }
}

fn start(folder: &Path, waker: Waker) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_change(event.kind)) {
            waker.wake();
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher
        .map_err(|error| tracing::warn!(folder = %folder.display(), "cannot watch the folder, polling it: {error}"))
        .ok()
}

/// Reading is none; our own would wake us.
const fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Looks and waits until the registry is gone.
pub(crate) fn run(
    watched: &Weak<Watched>,
    wakes: &Receiver<()>,
    mut watch: FolderWatch,
    poll: Option<Duration>,
) {
    loop {
        let sees = watch.ensure();
        let Some(registry) = watched.upgrade().filter(|registry| !registry.is_closed()) else { return };
        let again = registry.look();
        drop(registry);
        // A folder that should send events and does not is looked at as often as need be.
        let asked_for = poll.filter(|_| watch.by == Watch::Poll);
        let blind = (!sees).then_some(asked_for.unwrap_or(BLIND_POLL));
        let wait = [again, blind, poll].into_iter().flatten().min();
        match wait_for(wakes, &watch, wait) {
            Ok(()) => std::thread::sleep(BREATH),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Waits for an event, for `wait` if there is one, or until another folder is at the path that is watched.
fn wait_for(
    wakes: &Receiver<()>,
    watch: &FolderWatch,
    wait: Option<Duration>,
) -> Result<(), RecvTimeoutError> {
    let began = Instant::now();
    loop {
        let left = wait.map(|wait| wait.max(BREATH).saturating_sub(began.elapsed()));
        let step = if watch.by == Watch::Events { IDENTITY_POLL } else { Duration::MAX };
        match (wakes.recv_timeout(left.map_or(step, |left| left.min(step))), left) {
            (Err(RecvTimeoutError::Timeout), Some(left)) if left <= step => {
                return Err(RecvTimeoutError::Timeout);
            }
            (Err(RecvTimeoutError::Timeout), _) if !watch.has_moved() => {}
            (other, _) => return other,
        }
    }
}
