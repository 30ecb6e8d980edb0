//! The plugin folder: prove, then swap.
//!
//! One thread looks at the folder and judges canaries; what changed is proved on other threads, each file apart
//! (see [`crate::proving`]), and whoever is done swaps the whole chain at once. A file that may not serve leaves
//! the version before it in place; a file that did not change keeps its instances warm; a folder that is missing
//! altogether is taken for a mishap and changes nothing until it is back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::history::{History, PastChain};
use crate::kept::Kept;
use crate::meter::{self, Refusals};
use crate::proving::Proving;
use crate::scan::{self, Stamp};
use crate::slot::Slot;
use crate::watch::{self, BLIND_POLL, FolderWatch, IDENTITY_POLL, Waker};
use crate::{Chain, Difference, PluginStatus, RegistryError, Runtime, status};

/// How the folder is watched.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// What tells that something changed.
    pub watch: Watch,
    /// Look this often as well, at least 10 ms; for network file systems, which send no events.
    pub poll: Option<Duration>,
    /// A file is loaded once it has not changed for this long, so that a copy in progress is not read. One whose
    /// modification time is as old already (it was moved in) is loaded at once.
    pub settle: Duration,
    /// Most `.wasm` files that are looked at, at least 1. Of a fuller folder those that serve are, and the first of
    /// the others by name.
    pub files: usize,
    /// Most files that are proved at once, at least 1. Each may take `RuntimeSettings::proving_timeout`, and its
    /// bytes are in memory meanwhile.
    pub proving: usize,
}

/// What tells that something in the folder changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// The system's events, and looking where it sends none.
    #[default]
    Events,
    /// Looking alone, every `poll`, or four times a second unless that is given.
    Poll,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            watch: Watch::default(),
            poll: None,
            settle: Duration::from_millis(75),
            files: 20_000,
            proving: 16,
        }
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
    pub(crate) settings: RegistrySettings,
    pub(crate) waker: Waker,
    chain: ArcSwap<Chain>,
    history: History,
    generation: AtomicU64,
    closed: AtomicBool,
    /// Whether the folder could not be read when it was last looked at.
    is_lost: AtomicBool,
    /// Held by whoever changes slots and chain, from what is read until what is swapped.
    change: Mutex<()>,
    slots: Mutex<BTreeMap<String, Slot>>,
    proving: Mutex<Proving>,
    unsettled: Mutex<HashMap<String, (Option<Stamp>, Instant)>>,
    pub(crate) kept: Option<Kept>,
    pub(crate) refusals: Refusals,
}

/// How often a version on trial is held against the one before it.
const JUDGE_EVERY: Duration = Duration::from_millis(250);

impl Registry {
    /// Loads what is in the folder (made where it is missing) and watches it from then on. A file that may
    /// not serve is listed as refused, the others serve. Returns when every file was proved or refused, so that no
    /// log goes past a plugin that was there from the start; no file takes longer than its compilation and
    /// `RuntimeSettings::proving_timeout`.
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
        let found = scan::limited(scan::scan(&folder).map_err(wrong)?.files, settings.files, |_| false);
        let kept = Kept::open(runtime.settings(), &folder);
        if let Some(kept) = &kept {
            kept.retain(|file| found.contains_key(file));
        }
        let (sender, wakes) = sync_channel(1);
        let waker = Waker(sender);
        let folder_watch = FolderWatch::new(folder.clone(), waker.clone(), settings.watch);
        let poll = settings.poll;
        let watched = Arc::new(Watched {
            kept,
            refusals: Refusals::new(runtime.settings().scopes.clone()),
            runtime,
            folder,
            settings,
            waker: waker.clone(),
            chain: ArcSwap::from_pointee(Chain::empty()),
            history: History::default(),
            generation: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            change: Mutex::default(),
            slots: Mutex::default(),
            proving: Mutex::default(),
            unsettled: Mutex::default(),
        });
        watched.begin(found);
        let weak = Arc::downgrade(&watched);
        std::thread::Builder::new()
            .name("plugin-watch".to_owned())
            .spawn(move || watch::run(&weak, &wakes, folder_watch, poll))
            .map_err(RegistryError::Thread)?;
        Ok(Self(Arc::new(Handle { watched, waker })))
    }

    /// The chain of now. Keep it for the whole request or batch.
    #[must_use]
    pub fn chain(&self) -> Arc<Chain> {
        self.0.watched.chain.load_full()
    }

    /// Every file of the folder, in the order in which logs run through them: by the first stage, then by file name.
    /// Those of which no stage is known come last.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        let mut all: Vec<_> = self.0.watched.slots().values().map(status::of).collect();
        // Stable: the slots are in the order of file names.
        all.sort_by_key(|status| (status.stages.is_empty(), status.stages.first().copied()));
        all
    }

    /// The last logs that the plugin of this file would have treated otherwise, oldest first, where it serves in shadow
    /// mode or did; none for a file that does not serve.
    #[must_use]
    pub fn differences(&self, file: &str) -> Option<Vec<Difference>> {
        let slots = self.0.watched.slots();
        slots.get(file)?.serving.as_ref().map(|plugin| plugin.differences())
    }

    /// The chains that began to serve after that of this number, oldest first, the last few hundred of them; for none from the
    /// start. A chain is among them before any log runs through it.
    #[must_use]
    pub fn chains_after(&self, number: Option<u64>) -> Vec<PastChain> {
        self.0.watched.history.after(number)
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

    /// Compares the folder with what was loaded, and has proved what has settled. When to look again, if
    /// something has not settled yet.
    pub fn look(self: &Arc<Self>) -> Option<Duration> {
        let found = match scan::scan(&self.folder) {
            Ok(found) => found,
            Err(error) => {
                if !self.is_lost.swap(true, Ordering::Relaxed) {
                    tracing::warn!(folder = %self.folder.display(), "cannot read the plugin folder, what serves goes on: {error}");
                }
                self.judge();
                return Some(BLIND_POLL);
            }
        };
        if self.is_lost.swap(false, Ordering::Relaxed) {
            tracing::info!(folder = %self.folder.display(), files = found.files.len(), "the plugin folder is back");
        }
        let links = (found.has_links && self.settings.watch == Watch::Events).then_some(IDENTITY_POLL);
        let found = self.limited(found.files);
        let (ready, again) = self.settle(&found);
        self.take_up(ready);
        self.prove_waiting();
        self.judge();
        let has_canary = self.slots().values().any(|slot| slot.canary.is_some());
        let (judge, retry) = (has_canary.then_some(JUDGE_EVERY), self.is_stuck().then_some(BLIND_POLL));
        [again, judge, links, retry].into_iter().flatten().min()
    }

    /// As many files as may be; those that serve before those that do not.
    fn limited(&self, found: BTreeMap<String, Stamp>) -> BTreeMap<String, Stamp> {
        let slots = self.slots();
        let serves = |file: &str| slots.get(file).is_some_and(|slot| slot.serving.is_some());
        scan::limited(found, self.settings.files, serves)
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn proving(&self) -> MutexGuard<'_, Proving> {
        self.proving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever has this changes slots and chain, and nobody else does.
    pub(crate) fn changing(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> SystemTime {
        let micros = (self.runtime.settings().clock)().as_micros();
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    /// Of each file what it was when it was last read, or asked for to be.
    fn known(&self, found: &BTreeMap<String, Stamp>) -> BTreeMap<String, Option<Stamp>> {
        let (slots, proving) = (self.slots(), self.proving());
        let mut known: BTreeMap<String, Option<Stamp>> =
            slots.iter().map(|(file, slot)| (file.clone(), slot.stamp)).collect();
        let files = proving.files().chain(found.keys().map(String::as_str));
        known.extend(files.filter_map(|file| Some((file.to_owned(), Some(proving.newest(file)?)))));
        known
    }

    /// The files whose change is as old as the settling time, and how long until the next one is.
    fn settle(&self, found: &BTreeMap<String, Stamp>) -> (Vec<(String, Option<Stamp>)>, Option<Duration>) {
        let known = self.known(found);
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
            let is_whole = now.is_some_and(|stamp| stamp.is_older(self.settings.settle, clock));
            match self
                .settings
                .settle
                .checked_sub(since.elapsed())
                .filter(|left| !left.is_zero() && !is_whole)
            {
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

    /// The first look: all files are proved before anything serves.
    fn begin(&self, found: BTreeMap<String, Stamp>) {
        let attempts = self.prove_all(found.into_iter().collect());
        let _one_at_a_time = self.changing();
        let settled = attempts.into_iter().map(|attempt| self.settled(None, attempt));
        let slots = settled.map(|slot| (slot.file.clone(), slot)).collect();
        *self.slots() = slots;
        self.swap();
        if self.generation.load(Ordering::Acquire) == 0 {
            self.history.add(&self.chain.load());
        }
    }

    /// Asks for a proof of what changed, and takes out what is gone.
    fn take_up(&self, files: Vec<(String, Option<Stamp>)>) {
        let mut gone = Vec::new();
        for (file, stamp) in files {
            match stamp {
                Some(stamp) => self.proving().ask(&file, stamp),
                None => gone.push(file),
            }
        }
        if gone.is_empty() {
            return;
        }
        let _one_at_a_time = self.changing();
        for file in gone {
            self.proving().forget(&file);
            if self.slots().remove(&file).is_some() {
                tracing::info!(file, "plugin removed");
                self.refusals.clear(&file);
            }
        }
        if let Some(kept) = &self.kept {
            let slots = self.slots();
            kept.retain(|file| slots.contains_key(file));
        }
        self.swap();
    }

    /// Makes what serves in the slots the chain, if it is not. Only for who is [`Watched::changing`].
    pub(crate) fn swap(&self) {
        let members: Vec<_> = self.slots().values().flat_map(Slot::members).collect();
        let now = self.chain.load();
        let same = now.members().len() == members.len()
            && now.members().iter().zip(&members).all(|(one, other)| one.is(other));
        if same {
            return;
        }
        let chain = Chain::of(members);
        let plugins: BTreeSet<_> = chain.members().iter().map(|member| member.plugin().id()).collect();
        meter::swap(plugins.len(), chain.id());
        tracing::info!(chain = chain.id(), plugins = plugins.len(), "plugin chain swapped");
        tell_of_twins(&now, &chain);
        self.history.add(&chain);
        self.chain.store(Arc::new(chain));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// Says which plugins run more than once because several files hold them, as a new version does that was copied beside the
/// old one. It may be meant, with other settings. What was so before is not told again.
fn tell_of_twins(before: &Chain, chain: &Chain) {
    let told = twins(before);
    for (plugin, files) in twins(chain).into_iter().filter(|(plugin, _)| !told.contains_key(plugin)) {
        tracing::warn!(plugin, ?files, "these files hold the same plugin, and logs run through each of them");
    }
}

/// Plugins of several files; those in shadow mode are meant to stand beside others.
fn twins(chain: &Chain) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = BTreeMap::<_, BTreeSet<_>>::new();
    for member in chain.members().iter().filter(|member| !member.plugin().is_shadow()) {
        files.entry(member.plugin().name()).or_default().insert(member.plugin().file.clone());
    }
    files.retain(|_, files| files.len() > 1);
    files
}
