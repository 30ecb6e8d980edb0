//! One file of the plugin folder and what became of it: an old version serves on when a new one may not.

use std::sync::Arc;

use sawpit_model::Timestamp;

use crate::canary::Canary;
use crate::member::Member;
use crate::meter::{self, Refusals};
use crate::scan::Stamp;
use crate::trace::inset;
use crate::{LoadError, Mode, Plugin};

/// One file of the folder.
#[derive(Clone)]
pub(crate) struct Slot {
    pub file: String,
    pub stamp: Option<Stamp>,
    /// Hash of what was last read, whether it may serve or not.
    pub hash: Option<String>,
    pub mode: Mode,
    pub serving: Option<Arc<Plugin>>,
    /// A newer version on a part of the devices; only where one is serving.
    pub canary: Option<Canary>,
    pub refusal: Option<String>,
    pub since: Timestamp,
}

impl Slot {
    /// A file that was never loaded.
    pub fn new(file: &str, now: Timestamp) -> Self {
        Self {
            file: file.to_owned(),
            stamp: None,
            hash: None,
            mode: Mode::Active,
            serving: None,
            canary: None,
            refusal: None,
            since: now,
        }
    }

    pub fn accept(mut self, mode: Mode, serving: Option<Arc<Plugin>>, now: Timestamp) -> Self {
        if let Some(plugin) = &serving {
            let stages = meter::stages_text(plugin.stages());
            tracing::info!(file = self.file, plugin = plugin.id(), stages, "plugin serves");
            plugin.meter.loaded();
        }
        self.mode = mode;
        self.serving = serving;
        self.canary = None;
        self.refusal = None;
        self.since = now;
        self
    }

    /// Puts a version on trial beside the one that serves.
    pub fn try_out(mut self, stable: Arc<Plugin>, canary: Canary) -> Self {
        let (plugin, beside) = (canary.plugin.id(), stable.id());
        tracing::info!(
            file = self.file,
            plugin,
            percent = canary.limits.percent,
            beside,
            "plugin is a canary"
        );
        canary.plugin.meter.loaded();
        self.mode = Mode::Active;
        self.serving = Some(stable);
        self.since = canary.since;
        self.canary = Some(canary);
        self.refusal = None;
        self
    }

    /// As it stands in the chain.
    pub fn members(&self) -> Vec<Member> {
        match (&self.serving, &self.canary) {
            (Some(stable), Some(canary)) => Member::with_canary(stable, canary).to_vec(),
            (Some(stable), None) => vec![Member::from(Arc::clone(stable))],
            (None, _) => Vec::new(),
        }
    }

    pub fn refuse(mut self, error: &LoadError, refusals: &Refusals, now: Timestamp) -> Self {
        let serving = self.serving.as_ref().map(|plugin| plugin.id());
        tracing::warn!(file = self.file, serving, "plugin refused: {}", inset(&error.to_string()));
        refusals.count(&self.file);
        self.refusal = Some(error.to_string());
        self.since = now;
        self
    }
}
