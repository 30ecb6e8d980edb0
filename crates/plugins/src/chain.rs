//! All plugins in folder order, as one request or batch sees them from start to end.

use std::collections::HashMap;
use std::sync::Arc;

use sawpit_model::Log;

use crate::ingest::Step;
use crate::member::Member;
use crate::passage::Effort;
use crate::rows::Rows;
use crate::transform::{self, Batch};
use crate::{Ingested, Mode, OnError, Plugin, Recorder, Stage, Transformed, passage, shadow};

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
    /// same order and length. The logs of each device are taken for a request of their own. Blocks for as long as the
    /// plugins take: call it off the async threads, and where others wait, use a [`Passage`](crate::Passage).
    #[must_use]
    pub fn ingest(&self, logs: Vec<Log>) -> Vec<Ingested> {
        self.ingest_recorded(logs, &mut Recorder::off())
    }

    /// The same, with the calls noted.
    #[must_use]
    pub fn ingest_recorded(&self, logs: Vec<Log>, recorder: &mut Recorder) -> Vec<Ingested> {
        let owners = devices(logs.iter());
        let mut rows = Rows::new(logs, owners, self.keeps_originals());
        // The last effort never stops.
        passage::through(self, &mut rows, Effort::Last, recorder);
        let outcomes = rows.finish();
        shadow::run_ingest(self, rows.asides, &outcomes);
        outcomes
    }

    /// The turns of the host's stages, in order.
    pub(crate) fn ingest_steps(&self) -> impl Iterator<Item = Step<'_>> {
        let of = |stage| self.with(stage).map(move |member| (stage, member));
        let turns = of(Stage::Filter).chain(of(Stage::Enrich)).enumerate();
        turns.map(|(number, (stage, member))| Step { number, stage, member })
    }

    /// Whether a log may have to be kept as it came.
    pub(crate) fn keeps_originals(&self) -> bool {
        self.ingest_steps().any(|step| step.member.plugin().manifest().on_error == OnError::Quarantine)
    }

    /// Whether a plugin of the host's stages used up its deadline on logs of one of these devices before: then take them
    /// where nobody else waits.
    #[must_use]
    pub fn suspects<'a>(&self, mut logs: impl Iterator<Item = &'a Log>) -> bool {
        let wary: Vec<_> = self
            .ingest_steps()
            .map(|step| step.member)
            .filter(|member| !member.plugin().is_shadow() && !member.plugin().suspects.is_empty())
            .collect();
        let is_suspect =
            |member: &&Member, log: &Log| member.plugin().suspects.has(&log.device_id) && member.takes(log);
        !wary.is_empty() && logs.any(|log| wary.iter().any(|member| is_suspect(member, log)))
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
        let mut asides = Vec::new();
        for member in self.with(Stage::Transform) {
            if member.plugin().is_shadow() {
                asides.push((member, batch.set_aside(member)));
            } else {
                batch.run(member, recorder);
            }
        }
        let done = batch.finish();
        asides.into_iter().for_each(|(member, aside)| transform::run_shadow(member, aside, &done));
        done
    }

    fn with(&self, stage: Stage) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.plugin().runs(stage))
    }
}

/// Numbers the devices of the logs: the same one, the same number.
pub fn devices<'a>(logs: impl Iterator<Item = &'a Log>) -> Vec<usize> {
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let number = |log: &'a Log| {
        let next = numbers.len();
        *numbers.entry(log.device_id.as_str()).or_insert(next)
    };
    logs.map(number).collect()
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
