//! All plugins in folder order, as one request or batch sees them from start to end.

use std::sync::Arc;

use sawpit_model::Log;

use crate::transform::Batch;
use crate::{Ingested, Mode, Plugin, Stage, Transformed, ingest};

/// An unchanging list of plugins.
#[derive(Debug)]
pub struct Chain {
    plugins: Vec<Arc<Plugin>>,
    id: String,
}

impl Chain {
    /// A chain without plugins: every log goes on as it came.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    /// A chain of these, in this order; those that are off are left out.
    #[must_use]
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Self {
        let plugins: Vec<_> =
            plugins.into_iter().filter(|plugin| plugin.manifest().mode != Mode::Off).collect();
        let id = digest(&plugins);
        Self { plugins, id }
    }

    /// A digest of `name@version#hash` of each plugin, in order: 16 hexadecimal digits, the same in every
    /// process with the same folder. `none` for an empty chain.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The plugins, in order.
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// Whether no plugin has the stage, so that the caller can skip the way to a CPU thread.
    #[must_use]
    pub fn is_empty_for(&self, stage: Stage) -> bool {
        !self.plugins.iter().any(|plugin| plugin.runs(stage))
    }

    /// Runs all filters over the whole list, then all enrichers over what they accepted. The result has the
    /// same order and length. Blocks for as long as the plugins take: call it off the async threads.
    #[must_use]
    pub fn ingest(&self, logs: Vec<Log>) -> Vec<Ingested> {
        let mut list: Vec<_> = logs.into_iter().map(Ingested::Accepted).collect();
        self.with(Stage::Filter).for_each(|plugin| ingest::filter(plugin, &mut list));
        self.with(Stage::Enrich).for_each(|plugin| ingest::enrich(plugin, &mut list));
        list
    }

    /// Runs all transformers over the batch, each over the outputs of the one before. Blocks as
    /// [`Chain::ingest`] does.
    #[must_use]
    pub fn transform(&self, logs: Vec<Log>) -> Transformed {
        let mut batch = Batch::new(logs);
        self.with(Stage::Transform).for_each(|plugin| batch.run(plugin));
        batch.finish()
    }

    fn with(&self, stage: Stage) -> impl Iterator<Item = &Plugin> {
        self.plugins.iter().map(Arc::as_ref).filter(move |plugin| plugin.runs(stage))
    }
}

fn digest(plugins: &[Arc<Plugin>]) -> String {
    if plugins.is_empty() {
        return "none".to_owned();
    }
    let ids: Vec<_> = plugins.iter().map(|plugin| plugin.id()).collect();
    blake3::hash(ids.join("\n").as_bytes()).to_hex().chars().take(16).collect()
}
