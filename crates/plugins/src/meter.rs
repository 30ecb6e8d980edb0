//! What is counted of each version of a plugin: once for Prometheus, once for the status page.
//!
//! The handles are made when the version is loaded, so a call never looks one up; a recorder of `metrics`
//! must be installed before that. Until the version serves nothing is counted for Prometheus: that a trial or a
//! golden case fails is no news of the plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use sawpit_model::{Timestamp, Verdict};

use crate::histogram::Histogram;
use crate::scope::{Scope, Scopes};
use crate::{CallError, Stage};

/// Shortest time between two warnings of one plugin, in microseconds.
const WARNING_MICROS: i64 = 1_000_000;

/// All counters of one version of one plugin.
pub struct Meter {
    name: String,
    version: String,
    /// Where errors are counted; none: nowhere.
    scope: Option<Scope>,
    loads: Counter,
    rollbacks: Counter,
    calls: Counter,
    logs: Counter,
    seconds: metrics::Histogram,
    verdicts: [Counter; 4],
    row_errors: Counter,
    differences: Counter,
    started: Counter,
    alive: Gauge,
    copied: [Counter; 2],
    high_water: Gauge,
    call_nanos: Histogram,
    log_nanos: Histogram,
    totals: Totals,
    last_error: Mutex<Option<(String, Timestamp)>>,
    last_warning: AtomicI64,
    /// Errors since the last warning that none was given of.
    untold: AtomicU64,
}

/// A live instance, as counted.
pub struct Alive(Gauge);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[derive(Default)]
struct Totals {
    calls: AtomicU64,
    logs: AtomicU64,
    errors: AtomicU64,
    deadlines: AtomicU64,
    differences: AtomicU64,
}

/// The totals at one moment.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub calls: u64,
    pub logs: u64,
    pub errors: u64,
    pub differences: u64,
    pub mean_us: f64,
    pub p99_us: f64,
    pub log_mean_us: f64,
    pub log_p99_us: f64,
    pub last_error: Option<(String, Timestamp)>,
}

impl Meter {
    /// Counts in `scope`, which must be the one of now: see [`Scope::run`].
    pub fn new(name: &str, version: &str, scope: &Scope) -> Self {
        let labels = [("plugin", name.to_owned()), ("version", version.to_owned())];
        let verdict = |verdict: &'static str| {
            let mut labels = labels.to_vec();
            labels.push(("verdict", verdict.to_owned()));
            counter!("sawpit_plugin_verdicts_total", &labels)
        };
        let copied = |direction: &'static str| {
            let mut labels = labels.to_vec();
            labels.push(("direction", direction.to_owned()));
            counter!("sawpit_plugin_copied_bytes_total", &labels)
        };
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            scope: Some(scope.clone()),
            loads: counter!("sawpit_plugin_loads_total", &labels),
            rollbacks: counter!("sawpit_plugin_rollbacks_total", &labels),
            calls: counter!("sawpit_plugin_calls_total", &labels),
            logs: counter!("sawpit_plugin_logs_total", &labels),
            seconds: metrics::histogram!("sawpit_plugin_call_seconds", &labels),
            verdicts: Verdict::ALL.map(|of| verdict(of.as_str())),
            row_errors: error_counter(name, version, "log"),
            differences: counter!("sawpit_plugin_shadow_differences_total", &labels),
            started: counter!("sawpit_plugin_instances_started_total", &labels),
            alive: gauge!("sawpit_plugin_instances", &labels),
            copied: ["in", "out"].map(copied),
            high_water: gauge!("sawpit_plugin_memory_high_water_bytes", &labels),
            ..Self::for_trial(name, version)
        }
    }

    /// Counts for nobody, so that a trial shows in no graph.
    pub fn for_trial(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            scope: None,
            loads: Counter::noop(),
            rollbacks: Counter::noop(),
            calls: Counter::noop(),
            logs: Counter::noop(),
            seconds: metrics::Histogram::noop(),
            verdicts: [(); 4].map(|()| Counter::noop()),
            row_errors: Counter::noop(),
            differences: Counter::noop(),
            started: Counter::noop(),
            alive: Gauge::noop(),
            copied: [Counter::noop(), Counter::noop()],
            high_water: Gauge::noop(),
            call_nanos: Histogram::new(),
            log_nanos: Histogram::new(),
            totals: Totals::default(),
            last_error: Mutex::new(None),
            last_warning: AtomicI64::new(i64::MIN),
            untold: AtomicU64::new(0),
        }
    }

    /// Counts that the version began to serve.
    pub fn loaded(&self) {
        self.loads.increment(1);
    }

    /// Counts that the version was taken back.
    pub fn rolled_back(&self) {
        self.rollbacks.increment(1);
    }

    /// Counts a call of `logs` logs that came back.
    pub fn call(&self, logs: usize, took: Duration) {
        let logs = logs as u64;
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.calls.increment(1);
        self.logs.increment(logs);
        self.seconds.record(took);
        self.call_nanos.record(nanos, 1);
        self.log_nanos.record(nanos / logs.max(1), logs);
        self.totals.calls.fetch_add(1, Relaxed);
        self.totals.logs.fetch_add(logs, Relaxed);
    }

    pub fn verdicts(&self, verdict: Verdict, logs: usize) {
        if logs > 0
            && let Some(counter) = self.verdicts.get(usize::from(verdict.code()))
        {
            counter.increment(logs as u64);
        }
    }

    pub fn differences(&self, logs: usize) {
        self.differences.increment(logs as u64);
        self.totals.differences.fetch_add(logs as u64, Relaxed);
    }

    /// Counts an instance that was started for a call, and that it lives for as long as the answer does.
    pub fn started(&self) -> Alive {
        self.started.increment(1);
        self.alive()
    }

    /// Counts that an instance lives, for as long as the answer does.
    pub fn alive(&self) -> Alive {
        self.alive.increment(1.0);
        Alive(self.alive.clone())
    }

    /// Counts bytes that were copied into a guest.
    pub fn copied_in(&self, bytes: usize) {
        self.copied[0].increment(bytes as u64);
    }

    /// Counts bytes that were copied out of a guest.
    pub fn copied_out(&self, bytes: usize) {
        self.copied[1].increment(bytes as u64);
    }

    /// Notes the most memory that an instance ever held, in bytes.
    pub fn held(&self, most: usize) {
        self.high_water.set(most as f64);
    }

    /// Counts one log that the plugin said it failed on.
    pub fn row_error(&self, message: &str, now: Timestamp) {
        self.row_errors.increment(1);
        self.failed_logs(1, message, now);
    }

    /// Counts a call that failed as a whole, by its kind. The logs are counted by [`Meter::failed_logs`], if
    /// they fail alone as well.
    pub fn call_error(&self, error: &CallError, now: Timestamp) {
        if let Some(scope) = &self.scope {
            scope.run(|| error_counter(&self.name, &self.version, error.kind())).increment(1);
        }
        if matches!(error, CallError::Deadline { .. }) {
            self.totals.deadlines.fetch_add(1, Relaxed);
        }
        self.show(&error.to_string(), now);
    }

    /// How many calls passed their deadline.
    pub fn deadlines(&self) -> u64 {
        self.totals.deadlines.load(Relaxed)
    }

    /// Counts logs that the plugin failed on.
    pub fn failed_logs(&self, logs: usize, message: &str, now: Timestamp) {
        self.totals.errors.fetch_add(logs as u64, Relaxed);
        self.show(message, now);
    }

    fn show(&self, message: &str, now: Timestamp) {
        if let Ok(mut last) = self.last_error.lock() {
            *last = Some((message.to_owned(), now));
        }
    }

    /// Whether an error may go to the log of the process: one a second, the rest is in the counters. If so, how many since
    /// the last one may not.
    pub fn may_warn(&self, now: Timestamp) -> Option<u64> {
        let (now, last) = (now.as_micros(), self.last_warning.load(Relaxed));
        let due = last == i64::MIN || now.saturating_sub(last) >= WARNING_MICROS || now < last;
        if due && self.last_warning.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            return Some(self.untold.swap(0, Relaxed));
        }
        self.untold.fetch_add(1, Relaxed);
        None
    }

    pub fn read(&self) -> Reading {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        Reading {
            calls: self.totals.calls.load(Relaxed),
            logs: self.totals.logs.load(Relaxed),
            errors: self.totals.errors.load(Relaxed),
            differences: self.totals.differences.load(Relaxed),
            mean_us: self.call_nanos.mean() / 1_000.0,
            p99_us: micros(self.call_nanos.quantile(0.99)),
            log_mean_us: self.log_nanos.mean() / 1_000.0,
            log_p99_us: micros(self.log_nanos.quantile(0.99)),
            last_error: self.last_error.lock().ok().and_then(|last| last.clone()),
        }
    }
}

/// Errors are rare: this one is looked up when it is needed.
fn error_counter(name: &str, version: &str, kind: &'static str) -> Counter {
    let labels = [("plugin", name.to_owned()), ("version", version.to_owned()), ("kind", kind.to_owned())];
    counter!("sawpit_plugin_errors_total", &labels)
}

/// Most files that are refused at a time and counted by name.
const REFUSED_FILES: usize = 200;
/// What the others are counted as. No file is called so.
const OTHER_FILES: &str = "other";

/// Counts files that were refused. A file's series end some time after it is refused no more.
#[derive(Default)]
pub struct Refusals {
    scopes: Option<Scopes>,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    /// Those that are counted by name, and where.
    named: BTreeMap<String, Scope>,
    /// Others that are refused now.
    others: BTreeSet<String>,
}

impl Refusals {
    /// Counts in scopes of these.
    pub fn new(scopes: Option<Scopes>) -> Self {
        Self { scopes, files: Mutex::default() }
    }

    /// Counts a file that was refused, and says that it is.
    pub fn count(&self, file: &str) {
        let mut files = self.files();
        if files.named.len() < REFUSED_FILES && !files.named.contains_key(file) {
            files.forget_other(file);
            files.named.insert(file.to_owned(), Scope::open(self.scopes.as_ref(), "refused", file));
        }
        if let Some(scope) = files.named.get(file) {
            scope.run(|| refused(file, 1));
        } else {
            files.others.insert(file.to_owned());
            refused(OTHER_FILES, files.others.len());
        }
    }

    /// Says that a file is not refused: it serves, is off, or is gone.
    pub fn clear(&self, file: &str) {
        let mut files = self.files();
        if let Some(scope) = files.named.remove(file) {
            scope.run(|| gauge!("sawpit_plugin_refused", "file" => file.to_owned()).set(0.0));
        } else {
            files.forget_other(file);
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn forget_other(&mut self, file: &str) {
        if self.others.remove(file) {
            gauge!("sawpit_plugin_refused", "file" => OTHER_FILES).set(self.others.len() as f64);
        }
    }
}

/// One more refusal of a file, or of one of so many others.
fn refused(file: &str, files: usize) {
    counter!("sawpit_plugin_refusals_total", "file" => file.to_owned()).increment(1);
    gauge!("sawpit_plugin_refused", "file" => file.to_owned()).set(files as f64);
}

/// Counts a swap of the chain to the one with this id. The id is shown as a number, its first 48 bits: as a label it
/// would leave a series behind with each swap. Processes that agree on the chain show the same number.
pub fn swap(plugins: usize, chain: &str) {
    counter!("sawpit_plugin_reloads_total").increment(1);
    gauge!("sawpit_plugin_serving").set(plugins as f64);
    let id = chain.get(..12).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default();
    gauge!("sawpit_plugin_chain_id").set(id as f64);
}

/// The name that the metrics of a guest's own counters share.
pub fn guest_counter(plugin: &str, version: &str, name: &str) -> Counter {
    let of = [("plugin", plugin.to_owned()), ("version", version.to_owned()), ("counter", name.to_owned())];
    counter!("sawpit_plugin_counter_total", &of)
}

/// The stages as one word, for log lines.
pub fn stages_text(stages: &[Stage]) -> String {
    stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_refused_files_are_counted_by_name_and_one_that_is_refused_no_more_makes_room() {
        let refusals = Refusals::default();
        (0..=REFUSED_FILES).for_each(|number| refusals.count(&format!("{number}.wasm")));
        let last = format!("{REFUSED_FILES}.wasm");
        let is_named = |file: &str| refusals.files().named.contains_key(file);
        assert!(is_named("0.wasm") && !is_named(&last));
        refusals.clear("0.wasm");
        refusals.count(&last);
        assert!(is_named(&last) && !is_named("0.wasm"));
        assert!(refusals.files().others.is_empty());
    }

    #[test]
    fn a_plugin_warns_once_a_second() {
        let meter = Meter::for_trial("p", "1.0.0");
        let at = |micros| meter.may_warn(Timestamp::from_micros(micros));
        assert_eq!(
            [at(0), at(1), at(999_999), at(1_000_000), at(1_000_001)],
            [Some(0), None, None, Some(2), None]
        );
    }
}
