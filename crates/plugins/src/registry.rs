//! The plugin folder: prove, then swap.
//!
//! One thread looks at the folder, loads what changed and swaps the whole chain at once. A file that may not
//! serve leaves the version before it in place; a file that did not change keeps its instances warm; a
//! folder that is missing altogether is taken for a mishap and changes nothing until it is back.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::kept::Kept;
use crate::member::Member;
use crate::scan::{self, Stamp};
use crate::slot::Slot;
use crate::watch::{self, FolderWatch, Waker};
use crate::{Chain, Difference, PluginStatus, RegistryError, Runtime, meter, status};

/// How the folder is watched.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Look this often as well, at least 10 ms; for network file systems, which send no events.
    pub poll: Option<Duration>,
    /// A file is loaded once it has not changed for this long, so that a copy in progress is not read. One whose
    /// modification time is as old already (it was moved in) is loaded at once.
    pub settle: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { poll: None, settle: Duration::from_millis(75) }
    }
}

/// The plugins of a folder, always up to date. Cheap to clone; the watcher's thread ends with the last one.
#[derive(Clone)]
pub struct Registry(Arc<Handle>);

struct Handle {
    watched: Arc<Watched>,
    waker: Waker,
}

/// What the watcher's thread works on.
pub(crate) struct Watched {
    pub(crate) runtime: Runtime,
    pub(crate) folder: PathBuf,
    settle: Duration,
    chain: ArcSwap<Chain>,
    generation: AtomicU64,
    closed: AtomicBool,
    slots: Mutex<BTreeMap<String, Slot>>,
    unsettled: Mutex<HashMap<String, (Option<Stamp>, Instant)>>,
    pub(crate) kept: Option<Kept>,
}

/// How often a version on trial is held against the one before it.
const JUDGE_EVERY: Duration = Duration::from_millis(250);

impl Registry {
    /// Loads what is in the folder (made where it is missing) and watches it from then on. A file that may
    /// not serve is listed as refused, the others serve.
    ///
    /// # Errors
    /// A folder that cannot be made or read, or no thread for the watcher.
    pub fn open(
        runtime: Runtime,
        folder: PathBuf,
        settings: RegistrySettings,
    ) -> Result<Self, RegistryError> {
        let wrong = |cause| RegistryError::Folder { path: folder.clone(), cause };
        fs::create_dir_all(&folder).map_err(wrong)?;
        let found = scan::scan(&folder).map_err(wrong)?;
        let kept = Kept::open(runtime.settings(), &folder);
        if let Some(kept) = &kept {
            kept.retain(|file| found.contains_key(file));
        }
        let watched = Arc::new(Watched {
            kept,
            runtime,
            folder: folder.clone(),
            settle: settings.settle,
            chain: ArcSwap::from_pointee(Chain::empty()),
            generation: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            slots: Mutex::default(),
            unsettled: Mutex::default(),
        });
        watched.update(found.into_iter().map(|(file, stamp)| (file, Some(stamp))).collect());
        let (sender, wakes) = sync_channel(1);
        let waker = Waker(sender);
        let folder_watch = FolderWatch::new(folder, waker.clone());
        let weak = Arc::downgrade(&watched);
        std::thread::Builder::new()
            .name("plugin-watch".to_owned())
            .spawn(move || watch::run(&weak, &wakes, folder_watch, settings.poll))
            .map_err(RegistryError::Thread)?;
        Ok(Self(Arc::new(Handle { watched, waker })))
    }

    /// The chain of now. Keep it for the whole request or batch.
    #[must_use]
    pub fn chain(&self) -> Arc<Chain> {
        self.0.watched.chain.load_full()
    }

    /// Every file of the folder, in order.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        self.0.watched.slots().values().map(status::of).collect()
    }

    /// The last logs that the plugin of this file would have treated otherwise, oldest first, where it serves in shadow
    /// mode or did; none for a file that does not serve.
    #[must_use]
    pub fn differences(&self, file: &str) -> Option<Vec<Difference>> {
        let slots = self.0.watched.slots();
        slots.get(file)?.serving.as_ref().map(|plugin| plugin.differences())
    }

    /// How often the chain was swapped; it grows by one with each change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.watched.generation.load(Ordering::Acquire)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0.watched.folder
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("folder", &self.folder()).field("chain", &self.chain().id()).finish()
    }
}

impl Drop for Handle {
    /// The thread holds the watched part only while it looks; it ends when it finds the flag.
    fn drop(&mut self) {
        self.watched.closed.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Watched {
    /// Whether nobody is left who asks for the chain.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Compares the folder with what was loaded, and loads what has settled. When to look again, if
    /// something has not settled yet.
    pub fn look(&self) -> Option<Duration> {
        let found = match scan::scan(&self.folder) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(folder = %self.folder.display(), "cannot read the plugin folder, nothing changes: {error}");
                return Some(Duration::from_millis(250));
            }
        };
        let (ready, again) = self.settle(&found);
        if !ready.is_empty() {
            self.update(ready);
        }
        self.judge();
        let has_canary = self.slots().values().any(|slot| slot.canary.is_some());
        [again, has_canary.then_some(JUDGE_EVERY)].into_iter().flatten().min()
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> SystemTime {
        let micros = (self.runtime.settings().clock)().as_micros();
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    /// The files whose change is as old as the settling time, and how long until the next one is.
    fn settle(&self, found: &BTreeMap<String, Stamp>) -> (Vec<(String, Option<Stamp>)>, Option<Duration>) {
        let known: BTreeMap<String, Option<Stamp>> =
            self.slots().iter().map(|(file, slot)| (file.clone(), slot.stamp)).collect();
        let clock = self.clock();
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut ready, mut again) = (Vec::new(), None::<Duration>);
        let files = found.keys().chain(known.keys().filter(|file| !found.contains_key(*file)));
        for file in files {
            let now = found.get(file).copied();
            if known.contains_key(file) && known.get(file).copied().flatten() == now {
                unsettled.remove(file);
                continue;
            }
            let (stamp, since) = unsettled.entry(file.clone()).or_insert_with(|| (now, Instant::now()));
            if *stamp != now {
                (*stamp, *since) = (now, Instant::now());
            }
            let is_whole = now.is_some_and(|stamp| stamp.is_older(self.settle, clock));
            match self.settle.checked_sub(since.elapsed()).filter(|left| !left.is_zero() && !is_whole) {
                None => ready.push((file.clone(), now)),
                Some(left) => again = Some(again.map_or(left, |again| again.min(left))),
            }
        }
        for (file, _) in &ready {
            unsettled.remove(file);
        }
        unsettled.retain(|file, _| found.contains_key(file) || known.contains_key(file));
        (ready, again)
    }

    /// Loads the files (all at once, on as many threads as there are), then swaps the chain if it differs.
    fn update(&self, files: Vec<(String, Option<Stamp>)>) {
        let before = self.slots().clone();
        let after: Vec<(String, Option<Slot>)> = files
            .into_par_iter()
            .map(|(file, stamp)| {
                let slot = stamp.map(|stamp| self.reload(&file, stamp, before.get(&file)));
                (file, slot)
            })
            .collect();
        let mut slots = self.slots();
        for (file, slot) in after {
            match slot {
                Some(slot) => drop(slots.insert(file, slot)),
                None => {
                    tracing::info!(file, "plugin removed");
                    meter::no_refusal(&file);
                    slots.remove(&file);
                }
            }
        }
        let members = slots.values().flat_map(Slot::members).collect();
        if let Some(kept) = &self.kept {
            kept.retain(|file| slots.contains_key(file));
        }
        drop(slots);
        self.swap(members);
    }

    /// Makes these the chain, if they are not.
    pub(crate) fn swap(&self, members: Vec<Member>) {
        let now = self.chain.load();
        let same = now.members().len() == members.len()
            && now.members().iter().zip(&members).all(|(one, other)| one.is(other));
        if same {
            return;
        }
        let chain = Chain::of(members);
        let plugins: std::collections::BTreeSet<_> =
            chain.members().iter().map(|member| member.plugin().id()).collect();
        meter::swap(plugins.len(), chain.id());
        tracing::info!(chain = chain.id(), plugins = plugins.len(), "plugin chain swapped");
        self.chain.store(Arc::new(chain));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
