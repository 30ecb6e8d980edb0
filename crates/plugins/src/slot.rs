//! One file of the plugin folder and what became of it: an old version serves on when a new one may not.

use std::sync::Arc;

use sawpit_model::Timestamp;

use crate::scan::Stamp;
use crate::{LoadError, Mode, Plugin, meter};

/// One file of the folder.
#[derive(Clone)]
pub(crate) struct Slot {
    pub file: String,
    pub stamp: Option<Stamp>,
    /// Hash of what was last read, whether it may serve or not.
    pub hash: Option<String>,
    pub mode: Mode,
    pub serving: Option<Arc<Plugin>>,
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
            refusal: None,
            since: now,
        }
    }

    pub fn accept(mut self, mode: Mode, serving: Option<Arc<Plugin>>, now: Timestamp) -> Self {
        if let Some(plugin) = &serving {
            let stages = meter::stages_text(plugin.stages());
            tracing::info!(file = self.file, plugin = plugin.id(), stages, "plugin serves");
        }
        self.mode = mode;
        self.serving = serving;
        self.refusal = None;
        self.since = now;
        self
    }

    pub fn refuse(mut self, error: &LoadError, now: Timestamp) -> Self {
        let serving = self.serving.as_ref().map(|plugin| plugin.id());
        tracing::warn!(file = self.file, serving, "plugin refused: {error}");
        meter::refusal(&self.file);
        self.refusal = Some(error.to_string());
        self.since = now;
        self
    }
}
