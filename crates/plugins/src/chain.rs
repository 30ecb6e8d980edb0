//! All plugins in folder order, as one request or batch sees them from start to end.

use std::sync::Arc;

use sawpit_model::Log;

use crate::member::Member;
use crate::transform::Batch;
use crate::{Ingested, Mode, OnError, Plugin, Recorder, Stage, Transformed, ingest};

/// An unchanging list of plugins.
#[derive(Debug)]
pub struct Chain {
    members: Vec<Member>,
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
        Self::of(plugins.into_iter().map(Member::from).collect())
    }

    /// The same of versions that may share a file's devices.
    pub(crate) fn of(mut members: Vec<Member>) -> Self {
        members.retain(|member| member.plugin().manifest().mode != Mode::Off);
        let mut chain = Self { members, id: String::new() };
        chain.id = digest(&chain);
        chain
    }

    /// A digest of `name@version#hash` of each plugin, in order: 16 hexadecimal digits, the same in every
    /// process with the same folder. `none` for an empty chain.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The plugins, in order. Where one is a canary, the version before it follows twice: for the devices that it
    /// is compared on, and for all others.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Each version in it once, in order, and the percentage of the devices that it has as a canary.
    pub fn versions(&self) -> impl Iterator<Item = (&Plugin, Option<u8>)> {
        self.members
            .iter()
            .filter(|member| !member.is_control())
            .map(|it| (it.plugin().as_ref(), it.percent()))
    }

    /// Whether no plugin has the stage, so that the caller can skip the way to a CPU thread.
    #[must_use]
    pub fn is_empty_for(&self, stage: Stage) -> bool {
        !self.members.iter().any(|member| member.plugin().runs(stage))
    }

    /// Runs all filters over the whole list, then all enrichers over what they accepted. The result has the
    /// same order and length. Blocks for as long as the plugins take: call it off the async threads.
    #[must_use]
    pub fn ingest(&self, logs: Vec<Log>) -> Vec<Ingested> {
        self.ingest_recorded(logs, &mut Recorder::off())
    }

    /// The same, with the calls noted.
    #[must_use]
    pub fn ingest_recorded(&self, logs: Vec<Log>, recorder: &mut Recorder) -> Vec<Ingested> {
        let quarantines = |member: &Member| member.plugin().manifest().on_error == OnError::Quarantine;
        let ingests =
            |member: &&Member| [Stage::Filter, Stage::Enrich].iter().any(|it| member.plugin().runs(*it));
        let originals = self.members.iter().filter(ingests).any(quarantines).then(|| logs.clone());
        let mut list: Vec<_> = logs.into_iter().map(Ingested::Accepted).collect();
        self.with(Stage::Filter).for_each(|member| ingest::filter(member, &mut list, recorder));
        self.with(Stage::Enrich).for_each(|member| ingest::enrich(member, &mut list, recorder));
        for (item, original) in list.iter_mut().zip(originals.into_iter().flatten()) {
            if let Ingested::Quarantined { log, .. } = item {
                *log = original;
            }
        }
        list
    }

    /// Runs all transformers over the batch, each over the outputs of the one before. Blocks as
    /// [`Chain::ingest`] does.
    #[must_use]
    pub fn transform(&self, logs: Vec<Log>) -> Transformed {
        self.transform_recorded(logs, &mut Recorder::off())
    }

    /// The same, with the calls noted.
    #[must_use]
    pub fn transform_recorded(&self, logs: Vec<Log>, recorder: &mut Recorder) -> Transformed {
        let mut batch = Batch::new(logs);
        self.with(Stage::Transform).for_each(|member| batch.run(member, recorder));
        batch.finish()
    }

    fn with(&self, stage: Stage) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.plugin().runs(stage))
    }
}

fn digest(chain: &Chain) -> String {
    if chain.members.is_empty() {
        return "none".to_owned();
    }
    let line = |(plugin, percent): (&Plugin, Option<u8>)| match percent {
        None => plugin.id(),
        Some(percent) => format!("{} on {percent} % of the devices", plugin.id()),
    };
    let lines: Vec<_> = chain.versions().map(line).collect();
    blake3::hash(lines.join("\n").as_bytes()).to_hex().chars().take(16).collect()
}
