//! One file that was added or changed: proved, then put into its slot, whatever comes of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::canary::Canary;
use crate::load::{self, Source};
use crate::registry::Watched;
use crate::scan::Stamp;
use crate::slot::Slot;
use crate::{LoadError, Manifest, Mode, Plugin, rollback};

impl Watched {
    /// The slot of a file that was added or changed.
    pub(crate) fn reload(&self, file: &str, stamp: Stamp, before: Option<&Slot>) -> Slot {
        let now = (self.runtime.settings().clock)();
        let mut slot = before.cloned().unwrap_or_else(|| Slot::new(file, now));
        slot.stamp = Some(stamp);
        let source = match Source::read(&self.folder.join(file), self.runtime.settings()) {
            Ok(source) => source,
            Err(error) => return slot.refuse(&error, now),
        };
        let note = rollback::read(&self.folder, file);
        let hash = format!("{}{}{note}", source.hash(), source.cases_hash());
        // A refusal may have had a cause that passed, so the same file gets another trial when it is touched.
        if slot.hash.as_ref() == Some(&hash) && slot.refusal.is_none() {
            return slot;
        }
        slot.hash = Some(hash);
        // A file that breaks a library must not end the thread that watches the folder.
        let proved = catch_unwind(AssertUnwindSafe(|| self.prove(&source, &note, before)));
        self.settled(slot, &source, proved.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))), before)
    }

    /// What becomes of a slot whose file was proved, or not.
    fn settled(
        &self,
        mut slot: Slot,
        source: &Source,
        proved: Result<Proved, LoadError>,
        before: Option<&Slot>,
    ) -> Slot {
        let now = (self.runtime.settings().clock)();
        match proved {
            Ok(Proved::Off(manifest)) => slot.accept(manifest.mode, None, now),
            Ok(Proved::Canary(canary)) => match slot.serving.clone() {
                Some(stable) => slot.try_out(stable, canary),
                None => slot.accept(canary.plugin.manifest().mode, Some(canary.plugin), now),
            },
            Ok(Proved::Serves(plugin)) => {
                let stable = slot.serving.clone().or_else(|| self.restore(source, before));
                let limits = plugin.manifest().canary;
                match limits.zip(stable.filter(|stable| stable.hash() != plugin.hash())) {
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
                slot.serving = slot.serving.or_else(|| self.restore(source, before));
                slot.refuse(&error, now)
            }
        }
    }

    /// At the first sight of a file: the version of it that served in a process before this one.
    fn restore(&self, source: &Source, before: Option<&Slot>) -> Option<Arc<Plugin>> {
        if before.is_some() {
            return None;
        }
        let settings = self.runtime.settings();
        let load = |kept: Source| load::load(&self.runtime, &kept, kept.manifest(settings)?);
        match self.kept.as_ref()?.read(&source.file, settings)?.and_then(load) {
            Ok(plugin) => {
                tracing::info!(
                    file = source.file,
                    plugin = plugin.id(),
                    "the version that served before serves on"
                );
                Some(plugin)
            }
            Err(error) => {
                tracing::warn!(file = source.file, "the version that served before may not serve: {error}");
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
