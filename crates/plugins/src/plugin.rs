//! One version of one plugin: compiled, proved, with its warm instances and its counters.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use sawpit_model::{Log, Timestamp};
use serde::Serialize;

use crate::bindings::types;
use crate::breaker::Breaker;
use crate::instance::{Pool, Recipe};
use crate::meter::Meter;
use crate::probe::Probe;
use crate::shadow::Differences;
use crate::suspects::Suspects;
use crate::{BreakerStatus, Difference, Lifetime, Manifest, Mode, RuntimeSettings};

/// Where in the flow a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// In the host, first.
    Filter,
    /// In the host, after all filters.
    Enrich,
    /// In the worker.
    Transform,
}

impl Stage {
    /// In the order of the flow.
    pub const ALL: [Self; 3] = [Self::Filter, Self::Enrich, Self::Transform];

    /// As it is shown: `filter`, `enrich` or `transform`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Enrich => "enrich",
            Self::Transform => "transform",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// 1 to 64 lower-case letters, digits and hyphens.
    pub name: String,
    /// A semantic version.
    pub version: String,
    /// One line for the operator.
    pub help: String,
    /// The columns that its calls get, as named in the WIT.
    pub reads: Vec<&'static str>,
}

/// A version that was proved. It lives as long as a chain holds it.
pub struct Plugin {
    pub(crate) file: String,
    pub(crate) description: Description,
    pub(crate) reads: types::Fields,
    pub(crate) stages: Vec<Stage>,
    pub(crate) hash: String,
    /// Of the golden cases that it passed.
    pub(crate) cases: blake3::Hash,
    pub(crate) recipe: Recipe,
    pub(crate) pool: Pool,
    pub(crate) meter: Meter,
    pub(crate) probe: Probe,
    pub(crate) breaker: Breaker,
    pub(crate) suspects: Suspects,
    pub(crate) differences: Differences,
}

impl Plugin {
    /// What it says of itself.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// What it exports, in the order of the flow.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// How the operator wants it to run.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.recipe.manifest
    }

    /// BLAKE3 of the wasm and the manifest, 16 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The last logs that it would have treated otherwise, oldest first; empty unless it serves in shadow mode.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        self.differences.read()
    }

    /// `name@version#hash`, as it stands in the chain's id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}#{}", self.description.name, self.description.version, self.hash)
    }

    /// Whether it is called or bypassed because it kept failing.
    #[must_use]
    pub fn breaker(&self) -> BreakerStatus {
        self.breaker.status()
    }

    /// Calls it again, also with the logs of devices that it used up its deadline on, as if no call had failed: for who
    /// tries logs one by one, not for a plugin that serves.
    pub fn forget_failures(&self) {
        self.breaker.reset();
        self.suspects.forget();
    }

    pub(crate) fn name(&self) -> String {
        self.description.name.clone()
    }

    pub(crate) fn settings(&self) -> &RuntimeSettings {
        &self.recipe.runtime.settings
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.settings().clock)()
    }

    pub(crate) fn runs(&self, stage: Stage) -> bool {
        self.manifest().mode != Mode::Off && self.stages.contains(&stage)
    }

    pub(crate) fn is_shadow(&self) -> bool {
        self.manifest().mode == Mode::Shadow
    }

    /// Cuts a list into pieces that one call may take: each places in `logs`, ascending, none empty. Logs of a suspect
    /// device are in pieces of their own, behind the others; with an instance per request those of each owner are.
    /// `owner` tells whose a log is.
    pub(crate) fn pieces(&self, logs: &[&Log], owner: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
        let mut groups = self.without_suspects(logs);
        if self.manifest().instance == Lifetime::PerRequest {
            groups = groups.into_iter().flat_map(|group| grouped(&group, &owner)).collect();
        }
        let size = |place: &usize| logs.get(*place).map_or(0, |log| crate::convert::text_bytes(log));
        let cut = |group: Vec<usize>| {
            let pieces = cut_by(group.iter().map(size), self.settings());
            pieces.into_iter().map(move |piece| group.get(piece).unwrap_or_default().to_vec())
        };
        groups.into_iter().flat_map(cut).collect()
    }

    /// All places but those of suspect devices, and then those of each of these.
    fn without_suspects(&self, logs: &[&Log]) -> Vec<Vec<usize>> {
        if self.suspects.is_empty() {
            return vec![(0..logs.len()).collect()];
        }
        let is_suspect =
            |place: &usize| logs.get(*place).is_some_and(|log| self.suspects.has(&log.device_id));
        let (suspect, ordinary): (Vec<_>, Vec<_>) = (0..logs.len()).partition(is_suspect);
        let mut groups = vec![ordinary];
        groups.extend(grouped(&suspect, |place| logs.get(place).map(|log| log.device_id.as_str())));
        groups
    }
}

/// The places with the same key, in the order in which the keys first come.
fn grouped<K: Eq + Hash>(places: &[usize], key: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let mut index: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &place in places {
        let group = *index.entry(key(place)).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

fn cut_by(sizes: impl Iterator<Item = usize>, settings: &RuntimeSettings) -> Vec<std::ops::Range<usize>> {
    let mut pieces = Vec::with_capacity(1);
    let (mut start, mut end, mut bytes) = (0, 0, 0_usize);
    for size in sizes {
        let full = end - start == settings.call_logs || bytes.saturating_add(size) > settings.call_bytes;
        if full && end > start {
            pieces.push(start..end);
            (start, bytes) = (end, 0);
        }
        bytes = bytes.saturating_add(size);
        end += 1;
    }
    if end > start {
        pieces.push(start..end);
    }
    pieces
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("id", &self.id()).field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_list_is_cut_by_logs_and_by_bytes_and_one_log_always_fits() {
        let mut settings = RuntimeSettings::new(Arc::new(Timestamp::default));
        settings.call_logs = 3;
        settings.call_bytes = 10;
        let cut = |sizes: &[usize]| cut_by(sizes.iter().copied(), &settings);
        assert!(cut(&[]).is_empty());
        assert_eq!(cut(&[1, 1, 1]).first(), Some(&(0..3)));
        assert_eq!(cut(&[1, 1, 1, 1]), [0..3, 3..4]);
        assert_eq!(cut(&[5, 5, 5]), [0..2, 2..3]);
        assert_eq!(cut(&[50, 1, 50]), [0..1, 1..2, 2..3]);
    }

    #[test]
    fn places_are_grouped_in_the_order_of_their_first() {
        assert_eq!(grouped(&[0, 1, 2, 4], |place| place % 2), [vec![0, 2, 4], vec![1]]);
        assert!(grouped(&[], |place| place).is_empty());
    }
}
