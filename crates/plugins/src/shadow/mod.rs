//! What a plugin in shadow mode would have done: the last few logs that would have come out otherwise.
//!
//! A shadow is called with copies of the logs as they stood at its place in the chain, once the chain is through with
//! them and the devices are answered: however slow it is, nobody waits for it. What it would make of a log is held
//! against the log as it found it and as the chain left it (`compare`), so that a version that does what another has
//! done, or does later, differs in nothing.

mod compare;
mod ingest;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sawpit_model::{Log, Timestamp};
use serde::Serialize;

use crate::Stage;

pub use compare::{differs, same_as_left};
pub use ingest::{Aside, run_ingest, run_step};

/// How many differences of a version are kept.
pub const DIFFERENCES_KEPT: usize = 20;
/// Shortest time between two that are kept, in microseconds: copying a log costs more than running most plugins.
const SPACING_MICROS: i64 = 50_000;

/// A log that a plugin in shadow mode would have treated otherwise than the chain without it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// When.
    pub at: Timestamp,
    /// In which stage.
    pub stage: Stage,
    /// The log as the plugin got it.
    pub log: Log,
    /// What the plugin would have made of it.
    pub instead: Instead,
}

/// What a plugin would have made of a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Instead {
    /// Not stored.
    Dropped {
        /// Why, in the plugin's words.
        reason: String,
    },
    /// Refused.
    Rejected {
        /// Why, in the plugin's words.
        reason: String,
    },
    /// These; several where it would have been split. One that it would have been merged into counts.
    Changed {
        /// As they would have gone on.
        logs: Vec<Log>,
    },
}

/// The last differences of one version.
#[derive(Default)]
pub(crate) struct Differences(Mutex<VecDeque<Difference>>);

impl Differences {
    /// Keeps one, made only if it is time for one.
    pub fn keep(&self, now: Timestamp, stage: Stage, make: impl FnOnce() -> Option<(Log, Instead)>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = kept.back().map(|last| now.as_micros().saturating_sub(last.at.as_micros()));
        if since.is_some_and(|since| (0..SPACING_MICROS).contains(&since)) {
            return;
        }
        let Some((log, instead)) = make() else { return };
        if kept.len() == DIFFERENCES_KEPT {
            kept.pop_front();
        }
        kept.push_back(Difference { at: now, stage, log, instead });
    }

    /// Oldest first.
    pub fn read(&self) -> Vec<Difference> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use sawpit_model::{Level, RawObject};

    use super::*;

    fn log(message: &str) -> Log {
        Log {
            device_id: "d".to_owned(),
            log_level: Level::Info,
            message: message.to_owned(),
            log_data: RawObject::default(),
            received_at: Timestamp::default(),
        }
    }

    #[test]
    fn the_last_ones_are_kept_and_none_is_made_in_between() {
        let differences = Differences::default();
        let keep = |number: i64, micros: i64| {
            let mut made = false;
            differences.keep(Timestamp::from_micros(micros), Stage::Filter, || {
                made = true;
                Some((log(&number.to_string()), Instead::Dropped { reason: String::new() }))
            });
            made
        };
        assert!(keep(0, 0));
        assert!(!keep(1, SPACING_MICROS - 1));
        let made = (1..=25).filter(|number| keep(*number, number * SPACING_MICROS)).count();
        assert_eq!(made, 25);
        let kept: Vec<_> = differences.read().into_iter().map(|kept| kept.log.message).collect();
        assert_eq!(kept, (6..=25).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
