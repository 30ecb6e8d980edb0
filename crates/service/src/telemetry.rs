//! What the process tells its operator: tracing to standard error, metrics to Prometheus.
//!
//! Standard error only: standard output belongs to a command's result.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::Shutdown;
use crate::log_lines::JsonLines;
use crate::scopes::Scopes;
use crate::settings::{FromSetting, Resolver, SettingSpec, one_of};

/// The settings of this module, for every command: `--log` and `--log-format`.
pub const SETTINGS: &[SettingSpec] = &[
    SettingSpec::new(
        "log",
        "FILTER",
        "What to log: a level, or levels by module as in info,sawpit_queue=debug",
    )
    // The database driver tells at info what is of use only to its authors.
    .default("info,sqlx=warn"),
    SettingSpec::new("log-format", "FORMAT", "How to log: pretty, compact or json").default("compact"),
];

/// Upper bounds of the buckets of a histogram whose name ends in `_seconds`, in seconds: fine around the promised 5 ms,
/// coarse up to 10 s.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The same of what may take as long as an outage: up to an hour.
pub const OUTAGE_SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 1_800.0, 3_600.0,
];

/// The histograms with [`OUTAGE_SECONDS_BUCKETS`].
const OUTAGE_SECONDS: [&str; 2] = ["sawpit_worker_commit_seconds", "sawpit_worker_lag_seconds"];

/// Upper bounds of the buckets of every histogram whose name ends in `_logs`: how many at a time.
pub const LOGS_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 1_000.0];

/// Upper bounds of the buckets of every histogram whose name ends in `_bytes`: 256 B to 16 MiB by fours.
pub const BYTES_BUCKETS: &[f64] =
    &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// How often old histogram samples are folded into their buckets, so that memory stays bounded between
/// two scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Several lines an event, for a developer's eyes.
    Pretty,
    /// One line an event, for a terminal.
    #[default]
    Compact,
    /// One JSON object a line, for a log collector.
    Json,
}

impl FromSetting for LogFormat {
    fn from_setting(text: &str) -> Result<Self, String> {
        one_of(text, &[("pretty", Self::Pretty), ("compact", Self::Compact), ("json", Self::Json)])
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// A filter in the syntax of `tracing-subscriber`'s `EnvFilter`, already checked.
    pub filter: LogFilter,
    /// How the lines look.
    pub format: LogFormat,
}

/// A checked filter text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromSetting for LogFilter {
    fn from_setting(text: &str) -> Result<Self, String> {
        EnvFilter::try_new(text).map(|_| Self(text.to_owned())).map_err(|error| {
            format!("must be a level or module=level pairs, as in info,sawpit_queue=debug ({error})")
        })
    }
}

impl TelemetrySettings {
    /// Reads [`SETTINGS`]; `None` when a mistake was recorded.
    pub fn resolve(resolver: &mut Resolver) -> Option<Self> {
        let (filter, format) = (resolver.get("log"), resolver.get("log-format"));
        Some(Self { filter: filter?, format: format? })
    }
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { filter: LogFilter("info,sqlx=warn".to_owned()), format: LogFormat::default() }
    }
}

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Another subscriber is installed in this process.
    #[error("logging was already started in this process: {0}")]
    Logging(#[from] TryInitError),
    /// The metrics recorder was refused.
    #[error("metrics could not start: {0}")]
    Metrics(String),
}

/// Starts logging for the process, to standard error. Call once.
///
/// # Errors
/// When another subscriber was installed before.
pub fn init_logging(settings: &TelemetrySettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::new(&settings.filter.0);
    // Colours are for a person at a terminal, not for a file.
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Pretty => registry.with(lines.pretty()).try_init()?,
        LogFormat::Compact => registry.with(lines.compact()).try_init()?,
        LogFormat::Json => registry.with(lines.json().event_format(JsonLines::new())).try_init()?,
    }
    Ok(())
}

/// The process's metrics, to be rendered. Clones are one.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    scopes: Scopes,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the recorder that the `metrics` macros write to; later calls give the same one, because
    /// those macros know only one per process.
    ///
    /// # Errors
    /// When another recorder was installed before.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: OnceLock<Result<Metrics, String>> = OnceLock::new();
        INSTALLED.get_or_init(install_recorder).clone().map_err(TelemetryError::Metrics)
    }

    /// All metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.scopes.add_to(self.handle.render())
    }

    /// Where metrics are kept that end with `of`: a short while after the last clone of the answer, its series are
    /// gone. The same name gives the same place, so its labels must tell it from all others.
    #[must_use]
    pub fn scope(&self, of: &str) -> Arc<dyn metrics::Recorder + Send + Sync> {
        // The same settings made the process's own recorder.
        self.scopes.open(of, Instant::now(), || builder().unwrap_or_default().build_recorder())
    }

    /// Folds histogram samples into buckets every few seconds until `shutdown`; spawn it once.
    pub async fn upkeep(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(UPKEEP_EVERY) => {
                    self.handle.run_upkeep();
                    self.scopes.upkeep(Instant::now());
                }
            }
        }
    }
}

fn install_recorder() -> Result<Metrics, String> {
    let recorder = builder().map_err(|error| error.to_string())?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    crate::catalog::describe();
    Ok(Metrics { handle, scopes: Scopes::default() })
}

/// Upper bounds of the buckets of a histogram, in its unit; empty for a name without a unit.
#[must_use]
pub fn buckets_of(histogram: &str) -> &'static [f64] {
    let suffix = |suffix: &str| histogram.ends_with(suffix);
    match histogram {
        name if OUTAGE_SECONDS.contains(&name) => OUTAGE_SECONDS_BUCKETS,
        _ if suffix("_seconds") => SECONDS_BUCKETS,
        _ if suffix("_logs") => LOGS_BUCKETS,
        _ if suffix("_bytes") => BYTES_BUCKETS,
        _ => &[],
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let suffixes = ["_seconds", "_logs", "_bytes"].map(|suffix| Matcher::Suffix(suffix.to_owned()));
    // A full name comes before a suffix.
    let names = OUTAGE_SECONDS.map(|name| Matcher::Full(name.to_owned()));
    suffixes.into_iter().chain(names).try_fold(PrometheusBuilder::new(), |builder, matcher| {
        let (Matcher::Full(name) | Matcher::Prefix(name) | Matcher::Suffix(name)) = &matcher;
        let buckets = buckets_of(name);
        builder.set_buckets_for_metric(matcher, buckets)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_land_in_buckets_around_the_promised_5_ms() {
        let metrics = Metrics::install().unwrap();
        ::metrics::histogram!("sawpit_telemetry_test_seconds").record(0.004);
        let text = metrics.render();
        assert!(text.contains("sawpit_telemetry_test_seconds_bucket{le=\"0.0025\"} 0"), "{text}");
        assert!(text.contains("sawpit_telemetry_test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    }

    #[test]
    fn what_may_take_as_long_as_an_outage_is_told_up_to_an_hour() {
        let metrics = Metrics::install().unwrap();
        ::metrics::histogram!("sawpit_worker_lag_seconds").record(90.0);
        let text = metrics.render();
        for bucket in ["{le=\"60\"} 0", "{le=\"120\"} 1", "{le=\"3600\"} 1"] {
            assert!(text.contains(&format!("sawpit_worker_lag_seconds_bucket{bucket}")), "{text}");
        }
    }

    #[test]
    fn formats_and_filters_are_checked() {
        assert_eq!(LogFormat::from_setting("json"), Ok(LogFormat::Json));
        assert_eq!(LogFormat::from_setting("xml").unwrap_err(), "must be one of pretty, compact, json");
        assert!(LogFilter::from_setting("info,sawpit_queue=debug").is_ok());
        assert!(LogFilter::from_setting("sawpit_queue=loudly").is_err());
    }
}
