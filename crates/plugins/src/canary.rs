//! A new version on a part of the devices, and when it is taken back.
//!
//! What the canary does is held against the version before it on *as many* devices, in calls of their own, from
//! the same moment on. Holding it against all the others would be unfair: their calls carry more logs, so each
//! costs less. Cost is compared by the median, so that one slow call decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sawpit_model::Timestamp;
use serde::Serialize;

use crate::histogram::Histogram;
use crate::{BreakerState, Plugin};

/// A difference below this is within what clocks and caches do to a call, in nanoseconds per log.
const NOTICEABLE_NANOS: u64 = 1_000;

/// When a canary is taken back, from its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryLimits {
    /// Share of the devices that get the new version, 1 to 99 percent.
    pub percent: u8,
    /// It is not taken back for fewer failed logs than this, at least 1.
    pub errors: u64,
    /// It may fail on so much more of its logs than the version before it, 0 to 100 percentage points.
    pub error_percent: u8,
    /// Each log may take so much longer than with the version before it, in percent of that.
    pub cost_percent: u32,
    /// Cost is not judged before both versions had so many logs, at least 1.
    pub logs: u64,
}

impl CanaryLimits {
    /// The limits that hold where the manifest gives only the percentage: 5 failed logs which are one percentage
    /// point more than before; twice the time, over 1,000 logs.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        Self { percent, errors: 5, error_percent: 1, cost_percent: 100, logs: 1_000 }
    }

    /// The key and the rule of the first limit that does not hold.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(1..=99).contains(&self.percent) {
            let rule = format!("must be 1 to 99, not {}: leave canary out for all devices", self.percent);
            return Err(("canary.percent", rule));
        }
        if self.errors == 0 {
            return Err(("canary.errors", "must be at least 1".to_owned()));
        }
        if self.error_percent > 100 {
            return Err(("canary.error_percent", format!("must be 0 to 100, not {}", self.error_percent)));
        }
        if self.logs == 0 {
            return Err(("canary.logs", "must be at least 1".to_owned()));
        }
        Ok(())
    }
}

/// What one of the two versions did since the canary began.
pub(crate) struct Tally {
    logs: AtomicU64,
    failed: AtomicU64,
    nanos: Histogram,
}

impl Tally {
    fn new() -> Arc<Self> {
        Arc::new(Self { logs: AtomicU64::new(0), failed: AtomicU64::new(0), nanos: Histogram::new() })
    }

    /// Counts one pass of `logs` logs (at least one), of which the plugin failed on `failed`.
    pub fn pass(&self, logs: usize, failed: usize, took: Duration) {
        let (logs, nanos) = (logs as u64, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.logs.fetch_add(logs, Relaxed);
        self.failed.fetch_add(failed as u64, Relaxed);
        self.nanos.record(nanos / logs.max(1), logs);
    }

    fn read(&self) -> CanaryReading {
        CanaryReading {
            logs: self.logs.load(Relaxed),
            errors: self.failed.load(Relaxed),
            log_p50_us: self.nanos.quantile(0.5) as f64 / 1_000.0,
        }
    }
}

/// What a version did on its devices since the canary began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CanaryReading {
    /// Logs.
    pub logs: u64,
    /// Logs that it failed on.
    pub errors: u64,
    /// Median time per log, in microseconds (to within 6 %).
    pub log_p50_us: f64,
}

impl CanaryReading {
    fn error_percent(&self) -> f64 {
        self.errors as f64 * 100.0 / self.logs.max(1) as f64
    }
}

/// A version on trial.
#[derive(Clone)]
pub(crate) struct Canary {
    pub plugin: Arc<Plugin>,
    pub limits: CanaryLimits,
    pub since: Timestamp,
    pub tally: Arc<Tally>,
    /// Of the version before it, on as many devices.
    pub control: Arc<Tally>,
}

/// What the operator sees of a version on trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CanaryStatus {
    /// The version on trial.
    pub version: String,
    /// BLAKE3 of its wasm and manifest, 16 hexadecimal digits.
    pub hash: String,
    /// Share of the devices that get it.
    pub percent: u8,
    /// Since when.
    pub since: Timestamp,
    /// What it did.
    pub canary: CanaryReading,
    /// What the version before it did on as many devices.
    pub control: CanaryReading,
    /// Its last error.
    pub last_error: Option<String>,
}

impl Canary {
    pub fn new(plugin: Arc<Plugin>, limits: CanaryLimits, since: Timestamp) -> Self {
        Self { plugin, limits, since, tally: Tally::new(), control: Tally::new() }
    }

    pub fn status(&self) -> CanaryStatus {
        CanaryStatus {
            version: self.plugin.description().version.clone(),
            hash: self.plugin.hash().to_owned(),
            percent: self.limits.percent,
            since: self.since,
            canary: self.tally.read(),
            control: self.control.read(),
            last_error: self.plugin.meter.read().last_error.map(|(error, _)| error),
        }
    }

    /// Why it must be taken back, if it must.
    pub fn fault(&self) -> Option<String> {
        let open = self.plugin.breaker.status().state != BreakerState::Closed;
        let last = || self.plugin.meter.read().last_error.map(|(error, _)| error).unwrap_or_default();
        if open {
            return Some(format!("it kept failing: {}", last()));
        }
        let fault = fault(&self.limits, self.tally.read(), self.control.read())?;
        Some(match fault {
            Fault::Errors(text) => format!("{text}; the last error: {}", last()),
            Fault::Cost(text) => text,
        })
    }
}

#[derive(Debug, PartialEq)]
enum Fault {
    Errors(String),
    Cost(String),
}

fn fault(limits: &CanaryLimits, canary: CanaryReading, control: CanaryReading) -> Option<Fault> {
    let (found, usual) = (canary.error_percent(), control.error_percent());
    if canary.errors >= limits.errors && found > usual + f64::from(limits.error_percent) {
        return Some(Fault::Errors(format!(
            "it failed on {} of {} logs ({found:.1} %), the version before it on {usual:.1} %",
            canary.errors, canary.logs
        )));
    }
    let enough = canary.logs.min(control.logs) >= limits.logs;
    let allowed = (control.log_p50_us * (1.0 + f64::from(limits.cost_percent) / 100.0))
        .max(control.log_p50_us + NOTICEABLE_NANOS as f64 / 1_000.0);
    (enough && canary.log_p50_us > allowed).then(|| {
        Fault::Cost(format!(
            "a log took it {:.1} µs, the version before it {:.1} µs (medians over {} and {} logs)",
            canary.log_p50_us, control.log_p50_us, canary.logs, control.logs
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(logs: u64, errors: u64, log_p50_us: f64) -> CanaryReading {
        CanaryReading { logs, errors, log_p50_us }
    }

    #[test]
    fn errors_count_when_they_are_many_and_more_than_before() {
        let limits = CanaryLimits::new(5);
        let control = reading(1_000, 20, 1.0);
        for (logs, errors, is_fault) in
            [(4, 4, false), (5, 5, true), (1_000, 29, false), (1_000, 31, true), (100_000, 900, false)]
        {
            let found = fault(&limits, reading(logs, errors, 1.0), control);
            assert_eq!(matches!(found, Some(Fault::Errors(_))), is_fault, "{errors} of {logs}: {found:?}");
        }
    }

    #[test]
    fn cost_counts_after_enough_logs_of_both_and_above_what_is_noticeable() {
        let limits = CanaryLimits::new(5);
        for (canary, control, is_fault) in [
            (reading(1_000, 0, 41.0), reading(1_000, 0, 20.0), true),
            (reading(1_000, 0, 39.0), reading(1_000, 0, 20.0), false),
            (reading(999, 0, 90.0), reading(1_000, 0, 20.0), false),
            (reading(1_000, 0, 90.0), reading(999, 0, 20.0), false),
            (reading(1_000, 0, 0.9), reading(1_000, 0, 0.1), false),
            (reading(1_000, 0, 1.2), reading(1_000, 0, 0.1), true),
        ] {
            let found = fault(&limits, canary, control);
            assert_eq!(matches!(found, Some(Fault::Cost(_))), is_fault, "{canary:?} {control:?}");
        }
    }
}
