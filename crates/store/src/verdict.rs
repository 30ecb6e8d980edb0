//! What plugins made of logs, as both databases keep it.

use std::time::Duration;

use sawpit_model::{PluginVerdicts, Tally, Timestamp, Verdict};

/// Most versions of plugins that the statistics name.
pub(crate) const PLUGINS_SHOWN: i64 = 100;

/// How long it is known which write of a process was its last: longer than one is tried again.
pub(crate) const WRITERS_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What plugins made of logs that are in no batch, as one process counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerdictWrite {
    /// Names the process, and no other ever.
    pub writer: String,
    /// Larger than that of its writes before. Tried again under the same number it is counted once.
    pub number: i64,
    /// The time.
    pub written_at: Timestamp,
    /// What is added.
    pub tally: Tally,
}

/// So many logs got this verdict of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) version: &'a str,
    pub(crate) verdict: u8,
    pub(crate) n: i64,
}

/// The verdicts that were given at all.
pub(crate) fn lines(tally: &Tally) -> impl Iterator<Item = Line<'_>> {
    let of_plugin = |counted: &PluginVerdicts| {
        Verdict::ALL.map(|verdict| (verdict.code(), i64::try_from(counted.of(verdict)).unwrap_or(i64::MAX)))
    };
    tally.plugins().iter().flat_map(move |counted| {
        let given = of_plugin(counted).into_iter().filter(|(_, n)| *n > 0);
        given.map(|(verdict, n)| Line { plugin: &counted.plugin, version: &counted.version, verdict, n })
    })
}

/// A version and its counts, in the order of the verdicts' codes.
pub(crate) type VerdictRow = (String, String, i64, i64, i64, i64);

pub(crate) fn shown((plugin, version, accepted, changed, dropped, rejected): VerdictRow) -> PluginVerdicts {
    let [accepted, changed, dropped, rejected] =
        [accepted, changed, dropped, rejected].map(|n| u64::try_from(n).unwrap_or(0));
    PluginVerdicts { plugin, version, accepted, changed, dropped, rejected }
}
