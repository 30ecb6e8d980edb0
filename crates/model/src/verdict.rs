//! What plugins made of logs, in numbers.

use serde::{Deserialize, Serialize};

/// What a plugin made of a log that it did not fail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went on unchanged.
    Accepted,
    /// It was patched, edited, split or merged.
    Changed,
    /// It was dropped.
    Dropped,
    /// It was refused.
    Rejected,
}

impl Verdict {
    /// All four, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Changed, Self::Dropped, Self::Rejected];

    /// From 0 to 3, as stores keep it.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// As the metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Changed => "changed",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
        }
    }
}

/// How many logs one version of a plugin gave which verdict on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVerdicts {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Logs that it let go on as they were.
    pub accepted: u64,
    /// Logs that it patched, edited, split or merged.
    pub changed: u64,
    /// Logs that it dropped.
    pub dropped: u64,
    /// Logs that it refused.
    pub rejected: u64,
}

impl PluginVerdicts {
    /// How many logs got this verdict.
    #[must_use]
    pub const fn of(&self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Accepted => self.accepted,
            Verdict::Changed => self.changed,
            Verdict::Dropped => self.dropped,
            Verdict::Rejected => self.rejected,
        }
    }

    fn first(plugin: &str, version: &str, verdict: Verdict, logs: u64) -> Self {
        let (plugin, version) = (plugin.to_owned(), version.to_owned());
        let mut counted = Self { plugin, version, ..Self::default() };
        *counted.slot(verdict) = logs;
        counted
    }

    const fn slot(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Accepted => &mut self.accepted,
            Verdict::Changed => &mut self.changed,
            Verdict::Dropped => &mut self.dropped,
            Verdict::Rejected => &mut self.rejected,
        }
    }
}

/// The verdicts of several plugins, each version once. There are few, so they are a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<PluginVerdicts>);

impl Tally {
    /// Counts a verdict on this many logs.
    pub fn count(&mut self, plugin: &str, version: &str, verdict: Verdict, logs: u64) {
        if logs > 0 {
            let known = self.0.iter_mut().find(|it| it.plugin == plugin && it.version == version);
            match known {
                Some(known) => *known.slot(verdict) += logs,
                None => self.0.push(PluginVerdicts::first(plugin, version, verdict, logs)),
            }
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for counted in &other.0 {
            for verdict in Verdict::ALL {
                self.count(&counted.plugin, &counted.version, verdict, counted.of(verdict));
            }
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each version, in the order in which they were first counted.
    #[must_use]
    pub fn plugins(&self) -> &[PluginVerdicts] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_version_are_added_up() {
        let mut one = Tally::default();
        one.count("geo", "1.0.0", Verdict::Changed, 3);
        one.count("geo", "1.0.0", Verdict::Accepted, 0);
        one.count("geo", "1.1.0", Verdict::Rejected, 1);
        let mut both = one.clone();
        both.merge(&one);
        let shown: Vec<_> =
            both.plugins().iter().map(|it| (it.version.as_str(), Verdict::ALL.map(|of| it.of(of)))).collect();
        assert_eq!(shown, [("1.0.0", [0, 6, 0, 0]), ("1.1.0", [0, 0, 0, 2])]);
        assert!(!both.is_empty() && Tally::default().is_empty());
    }

    #[test]
    fn nothing_counted_names_no_plugin() {
        let mut tally = Tally::default();
        tally.count("geo", "1.0.0", Verdict::Dropped, 0);
        assert!(tally.is_empty());
    }
}
