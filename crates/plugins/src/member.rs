//! A version of a plugin in a chain, and which devices it gets while a newer version of it is a canary.
//!
//! The choice is by device, so that one device's logs go the same way through every process and do not change
//! from log to log. The plugin's file is hashed in as well: the canaries of two plugins meet different devices.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sawpit_model::Log;

use crate::Plugin;
use crate::canary::{Canary, Tally};

/// A plugin as it stands in a chain.
#[derive(Clone)]
pub struct Member {
    plugin: Arc<Plugin>,
    share: Share,
    tally: Option<Arc<Tally>>,
}

/// Which devices, of 100 equal parts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Share {
    /// All of them.
    All,
    /// Those before this part: a version on trial.
    Canary(u8),
    /// As many beside it, for comparison.
    Control(Range<u8>),
    /// All parts from this one on.
    Rest(u8),
}

impl Member {
    /// The version on trial, its control group, and all others, of one file.
    pub(crate) fn with_canary(stable: &Arc<Plugin>, canary: &Canary) -> [Self; 3] {
        let end = canary.limits.percent;
        let control_end = end.saturating_mul(2).min(100);
        let member = |plugin, share, tally| Self { plugin: Arc::clone(plugin), share, tally };
        [
            member(&canary.plugin, Share::Canary(end), Some(Arc::clone(&canary.tally))),
            member(stable, Share::Control(end..control_end), Some(Arc::clone(&canary.control))),
            member(stable, Share::Rest(control_end), None),
        ]
    }

    /// The version.
    #[must_use]
    pub const fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Whether it gets the log: by its manifest's `match`, and by the device where there is a canary.
    #[must_use]
    pub fn takes(&self, log: &Log) -> bool {
        let part = || part_of(&self.plugin.file, &log.device_id);
        let shared = match &self.share {
            Share::All => true,
            Share::Canary(end) => part() < *end,
            Share::Control(parts) => parts.contains(&part()),
            Share::Rest(from) => part() >= *from,
        };
        shared && self.plugin.manifest().matches.takes(log)
    }

    /// Counts a pass of `logs` logs, where that is of interest.
    pub(crate) fn passed(&self, logs: usize, failed: usize, took: Duration) {
        if let Some(tally) = &self.tally
            && logs > 0
        {
            tally.pass(logs, failed, took);
        }
    }

    /// Whether the other is the same version on the same devices, counted in the same place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let counted = match (&self.tally, &other.tally) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        counted && Arc::ptr_eq(&self.plugin, &other.plugin) && self.share == other.share
    }

    /// Whether it is a control group, which is the same version as the rest.
    pub(crate) const fn is_control(&self) -> bool {
        matches!(self.share, Share::Control(_))
    }

    /// The share of the devices that a canary has.
    pub(crate) const fn percent(&self) -> Option<u8> {
        match self.share {
            Share::Canary(percent) => Some(percent),
            _ => None,
        }
    }
}

impl From<Arc<Plugin>> for Member {
    /// For all devices.
    fn from(plugin: Arc<Plugin>) -> Self {
        Self { plugin, share: Share::All, tally: None }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("plugin", &self.plugin.id()).field("share", &self.share).finish()
    }
}

/// 0 to 99, evenly. FNV-1a of 64 bits (draft-eastlake-fnv): short keys, and the same in every process.
fn part_of(file: &str, device_id: &str) -> u8 {
    let bytes = file.bytes().chain([0]).chain(device_id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The high bits of FNV mix poorly for the last bytes, so they are folded into the low ones.
    ((hash ^ (hash >> 32)) % 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_spread_evenly_and_differently_for_each_plugin() {
        let share = |name: &str| -> Vec<u32> {
            (0..20_000).filter(|n| part_of(name, &format!("sensor-{n}")) < 5).collect()
        };
        let (one, other) = (share("geo"), share("redact"));
        assert!((850..=1_150).contains(&one.len()), "{}", one.len());
        assert!((850..=1_150).contains(&other.len()), "{}", other.len());
        let both = one.iter().filter(|n| other.contains(n)).count();
        assert!(both < 120, "{both} devices meet both canaries");
    }
}
