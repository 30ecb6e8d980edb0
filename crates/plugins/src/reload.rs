//! One file that was added or changed: proved, then put into its slot, whatever comes of it. The first takes as
//! long as it takes and touches nothing; the second is quick.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::canary::Canary;
use crate::registry::Watched;
use crate::scan::Stamp;
use crate::slot::Slot;
use crate::source::Source;
use crate::trace::inset;
use crate::{LoadError, Manifest, Mode, Plugin, load, rollback};

/// A file that was looked at, and what came of it.
pub(crate) struct Attempt {
    pub file: String,
    stamp: Stamp,
    outcome: Outcome,
}

enum Outcome {
    /// It is what was in the slot, with this hash.
    Same(String),
    /// It could not be read, or is not signed as it must be; with what served before, at the first sight of the file.
    Unread(LoadError, Option<Arc<Plugin>>),
    /// It was proved, or may not serve.
    Tried(Box<Tried>),
}

struct Tried {
    source: Source,
    hash: String,
    proved: Result<Proved, LoadError>,
    restored: Option<Arc<Plugin>>,
}

impl Watched {
    /// Reads and proves a file that was added or changed. Takes long; `before` is its slot at the beginning.
    pub(crate) fn attempt(&self, file: &str, stamp: Stamp, before: Option<&Slot>) -> Attempt {
        // A file that breaks a library must not end the thread that proves it.
        let tried = catch_unwind(AssertUnwindSafe(|| self.outcome(file, stamp, before)));
        let outcome = tried.unwrap_or_else(|panic| Outcome::Unread(panicked(panic.as_ref()), None));
        Attempt { file: file.to_owned(), stamp, outcome }
    }

    fn outcome(&self, file: &str, stamp: Stamp, before: Option<&Slot>) -> Outcome {
        if let Some(fault) = stamp.fault {
            return Outcome::Unread(fault.into(), None);
        }
        let source = match Source::read(&self.folder.join(file), self.runtime.settings()) {
            Ok(source) => source,
            Err(error) => return Outcome::Unread(error, self.former(file, before)),
        };
        let note = rollback::read(&self.folder, file);
        let hash = format!("{}{}{note}", source.hash(), source.cases_hash());
        // A refusal may have had a cause that passed, so the same file gets another trial when it is touched.
        let is_same = |slot: &Slot| slot.hash.as_ref() == Some(&hash) && slot.refusal.is_none();
        if before.is_some_and(is_same) {
            return Outcome::Same(hash);
        }
        let proved = catch_unwind(AssertUnwindSafe(|| self.prove(&source, &note, before)));
        let proved = proved.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        let needs_former = match &proved {
            Ok(Proved::Serves(plugin)) => plugin.manifest().canary.is_some(),
            Ok(Proved::Off(_) | Proved::Canary(_)) => false,
            Err(_) => true,
        };
        let restored = if needs_former { self.former(file, before) } else { None };
        Outcome::Tried(Box::new(Tried { source, hash, proved, restored }))
    }

    /// What becomes of the slot of a file that was looked at; `before` is the slot as it is now.
    pub(crate) fn settled(&self, before: Option<Slot>, attempt: Attempt) -> Slot {
        let now = (self.runtime.settings().clock)();
        let mut slot = before.unwrap_or_else(|| Slot::new(&attempt.file, now));
        if matches!(&attempt.outcome, Outcome::Same(hash) if slot.hash.as_ref() != Some(hash)) {
            // Of two proofs at a time the other has put something else there since. With its stamp the slot is looked at again.
            return slot;
        }
        slot.stamp = Some(attempt.stamp);
        let slot = match attempt.outcome {
            Outcome::Same(_) => slot,
            Outcome::Unread(error, restored) => {
                slot.serving = slot.serving.or(restored);
                slot.refuse(&error, &self.refusals, now)
            }
            Outcome::Tried(tried) => {
                let Tried { source, hash, proved, restored } = *tried;
                slot.hash = Some(hash);
                slot.serving = slot.serving.or(restored);
                self.placed(slot, &source, proved)
            }
        };
        if slot.refusal.is_none() {
            self.refusals.clear(&slot.file);
        }
        slot
    }

    fn placed(&self, mut slot: Slot, source: &Source, proved: Result<Proved, LoadError>) -> Slot {
        let now = (self.runtime.settings().clock)();
        match proved {
            Ok(Proved::Off(manifest)) => slot.accept(manifest.mode, None, now),
            Ok(Proved::Canary(canary)) => match slot.serving.clone() {
                Some(stable) => slot.try_out(stable, canary),
                None => slot.accept(canary.plugin.manifest().mode, Some(canary.plugin), now),
            },
            Ok(Proved::Serves(plugin)) => {
                let stable = slot.serving.clone().filter(|stable| stable.hash() != plugin.hash());
                match plugin.manifest().canary.zip(stable) {
                    Some((limits, stable)) => slot.try_out(stable, Canary::new(plugin, limits, now)),
                    None => {
                        self.kept.iter().for_each(|kept| kept.save(source));
                        slot.accept(plugin.manifest().mode, Some(plugin), now)
                    }
                }
            }
            Err(error) => {
                if matches!(error, LoadError::RolledBack { .. }) {
                    slot.canary = None;
                }
                slot.refuse(&error, &self.refusals, now)
            }
        }
    }

    /// At the first sight of a file: the version of it that served in a process before this one.
    fn former(&self, file: &str, before: Option<&Slot>) -> Option<Arc<Plugin>> {
        if before.is_some() {
            return None;
        }
        let settings = self.runtime.settings();
        let load = |kept: Source| load::load(&self.runtime, &kept, kept.manifest(settings)?);
        match self.kept.as_ref()?.read(file, settings)?.and_then(load) {
            Ok(plugin) => {
                tracing::info!(file, plugin = plugin.id(), "the version that served before serves on");
                Some(plugin)
            }
            Err(error) => {
                let error = inset(&error.to_string());
                tracing::warn!(file, "the version that served before may not serve: {error}");
                None
            }
        }
    }

    fn prove(&self, source: &Source, note: &str, before: Option<&Slot>) -> Result<Proved, LoadError> {
        let manifest = source.manifest(self.runtime.settings())?;
        if manifest.mode == Mode::Off {
            return Ok(Proved::Off(manifest));
        }
        rollback::check(note, &source.file, &source.hash())?;
        let is_this = |plugin: &Plugin| plugin.hash() == source.hash() && plugin.cases == source.cases_hash();
        let serving = before.and_then(|slot| slot.serving.clone());
        let canary = before.and_then(|slot| slot.canary.clone());
        match (serving.filter(|plugin| is_this(plugin)), canary.filter(|canary| is_this(&canary.plugin))) {
            (Some(plugin), _) => Ok(Proved::Serves(plugin)),
            (None, Some(canary)) => Ok(Proved::Canary(canary)),
            (None, None) => load::load(&self.runtime, source, manifest).map(Proved::Serves),
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> LoadError {
    let text = panic.downcast_ref::<&str>().copied();
    let cause = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    LoadError::Panicked { cause: cause.to_owned() }
}

enum Proved {
    Off(Manifest),
    /// It is on trial as it was.
    Canary(Canary),
    Serves(Arc<Plugin>),
}
