//! All metrics of all processes, in one table: what Prometheus is told of them, and what docs/metrics.md says.
//!
//! A test holds the table against the sources, so that a metric cannot be there without its line here. Names follow
//! <https://prometheus.io/docs/practices/naming/>: the unit last, `_total` for counters.

use std::fmt::Write as _;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As it is scraped.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, with their values where these are few.
    pub labels: &'static str,
    /// What it counts or measures.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

/// The labels of a version of a plugin.
const VERSION: &str = "plugin, version";

/// Every metric, by part and name.
pub const METRICS: &[Metric] = &[
    // The HTTP side.
    counter(
        "sawpit_http_requests_total",
        "route, method, status",
        "Requests answered, by the route's pattern",
    ),
    histogram(
        "sawpit_http_request_duration_seconds",
        "route",
        "From the head of a request to the head of its answer",
    ),
    gauge("sawpit_http_in_flight", "", "Requests that are being worked on"),
    counter(
        "sawpit_http_refused_total",
        "limit = backlog | in_flight_bytes | gather_waiting_logs | tail_clients | export_clients | query_timeout",
        "Requests answered 503 because a limit of the host was reached",
    ),
    counter(
        "sawpit_http_denied_total",
        "reason = missing | invalid | role | rate | unknown",
        "Requests without a token that covers them; unknown: the tokens were not read yet",
    ),
    counter(
        "sawpit_tls_handshake_errors_total",
        "reason = failed | header_timeout",
        "Connections that ended in the TLS handshake",
    ),
    counter(
        "sawpit_tls_reloads_total",
        "outcome = served | refused",
        "Times that the files of the certificate changed",
    ),
    counter(
        "sawpit_http_cut_total",
        "limit = header_timeout | idle_timeout | answer_timeout",
        "Connections cut because the client was too slow, by the limit",
    ),
    counter(
        "sawpit_http_idempotent_total",
        "outcome = replayed | reused",
        "Requests whose Idempotency-Key was known: answered as the first, or refused as another",
    ),
    histogram(
        "sawpit_host_plugin_call_logs",
        "",
        "Logs of several requests put into one call of the plugins",
    ),
    counter(
        "sawpit_host_siding_logs_total",
        "",
        "Logs taken apart from the others, as a plugin took too long for them or for others of their device",
    ),
    counter(
        "sawpit_host_shadow_skipped_logs_total",
        "",
        "Logs that plugins in shadow mode were not called with, for want of time",
    ),
    counter(
        "sawpit_host_quarantined_total",
        "plugin",
        "Logs queued to be dead letters, as a plugin failed on them",
    ),
    counter(
        "sawpit_query_cache_total",
        "query = logs | stats, outcome = hit | miss | bypass | away",
        "Questions that the cache could have answered",
    ),
    histogram(
        "sawpit_query_database_seconds",
        "query = logs | stats",
        "How long the database took for a question",
    ),
    counter("sawpit_cache_errors_total", "", "Times that the cache did not answer; the database did then"),
    // The queue.
    counter(
        "sawpit_queue_append_total",
        "outcome = queued | full | refused | unknown",
        "Messages that were to be appended",
    ),
    histogram("sawpit_queue_append_seconds", "", "How long an append took"),
    counter(
        "sawpit_queue_unreplicated_total",
        "",
        "Appends that too few replicas confirmed in time, with --min-replicas",
    ),
    gauge("sawpit_queue_backlog", "", "Messages that are not settled yet, those in work included"),
    gauge("sawpit_queue_dead_letters", "", "Dead letters there are"),
    counter("sawpit_queue_buried_total", "", "Messages moved to the dead letters"),
    histogram("sawpit_queue_group_logs", "", "Requests to the embedded queue that shared one durable write"),
    // The worker.
    histogram("sawpit_worker_batch_logs", "", "Messages that were read together"),
    counter(
        "sawpit_worker_batches_total",
        "outcome = committed | abandoned | panicked",
        "Batches that ended",
    ),
    counter(
        "sawpit_worker_logs_total",
        "outcome = committed | known | buried | untried",
        "Messages that were settled, or left to come again as plugins had no time for them",
    ),
    counter("sawpit_worker_rows_total", "", "Rows that were stored"),
    histogram("sawpit_worker_commit_seconds", "", "How long a commit took"),
    histogram("sawpit_worker_lag_seconds", "", "From the receipt of a batch's oldest log to its commit"),
    counter("sawpit_worker_retries_total", "", "Times that the database was away and waited for"),
    counter("sawpit_worker_read_errors_total", "", "Times that the queue could not be read"),
    counter("sawpit_worker_reclaimed_total", "", "Messages taken over from workers that died or stalled"),
    counter("sawpit_worker_dead_letters_total", "plugin", "Messages buried, by the plugin at fault, or none"),
    counter(
        "sawpit_worker_maintain_errors_total",
        "",
        "Times that the upkeep of the database failed, or that the clock could not be believed",
    ),
    counter("sawpit_worker_forgotten_logs_total", "", "Logs deleted because they were beyond the retention"),
    counter("sawpit_dropped_total", "plugin", "Logs that transform plugins dropped by their own verdict"),
    // Traces, in either process.
    counter("sawpit_trace_spans_sent_total", "", "Spans that the collector took"),
    counter(
        "sawpit_trace_spans_dropped_total",
        "reason = queue | export",
        "Spans dropped because the collector is slow (queue) or away (export)",
    ),
    // Plugins, in either process.
    gauge("sawpit_plugin_serving", "", "Plugins in the chain that serves"),
    gauge("sawpit_plugin_chain_id", "", "The chain's id as a number: processes that agree show the same"),
    counter("sawpit_plugin_reloads_total", "", "Times that another chain began to serve"),
    counter("sawpit_plugin_loads_total", VERSION, "Times that a version began to serve"),
    counter(
        "sawpit_plugin_refusals_total",
        "file",
        "Files that were refused; after 200 files the others count as other",
    ),
    gauge(
        "sawpit_plugin_refused",
        "file",
        "1 while the file, as it is, may not serve; other: how many others may not",
    ),
    counter("sawpit_plugin_rollbacks_total", VERSION, "Times that a canary was taken back"),
    counter("sawpit_plugin_calls_total", VERSION, "Calls"),
    counter("sawpit_plugin_logs_total", VERSION, "Logs that were handed over"),
    histogram("sawpit_plugin_call_seconds", VERSION, "How long a call took"),
    counter(
        "sawpit_plugin_verdicts_total",
        "plugin, version, verdict = accepted | dropped | rejected | changed",
        "What became of logs",
    ),
    counter(
        "sawpit_plugin_errors_total",
        "plugin, version, kind",
        "Failures, by kind: of calls trap, deadline, memory, output (a bad answer), configure, busy, bypassed, not_tried; of single logs log",
    ),
    counter(
        "sawpit_plugin_copied_bytes_total",
        "plugin, version, direction = in | out",
        "Bytes copied to and from it",
    ),
    counter(
        "sawpit_plugin_shadow_differences_total",
        VERSION,
        "Logs that a plugin in shadow mode would have changed",
    ),
    counter("sawpit_plugin_instances_started_total", VERSION, "Instances that were made"),
    gauge("sawpit_plugin_instances", VERSION, "Instances that live"),
    gauge("sawpit_plugin_memory_high_water_bytes", VERSION, "Most memory that one of its instances used"),
    gauge("sawpit_plugin_breaker_open", VERSION, "1 while it is bypassed because it failed too often"),
    counter("sawpit_plugin_breaker_opened_total", VERSION, "Times that it began to be bypassed"),
    counter("sawpit_plugin_bypassed_logs_total", VERSION, "Logs that went past it meanwhile"),
    counter(
        "sawpit_plugin_counter_total",
        "plugin, version, counter",
        "A plugin's own counters, where it is granted them",
    ),
];

/// What the metric with this name says.
pub(crate) fn help(name: &str) -> Option<&'static str> {
    METRICS.iter().find(|metric| metric.name == name).map(|metric| metric.help)
}

/// Tells the recorder what each metric is, for the HELP lines.
pub(crate) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// The two sides of the system, which `sawpit up` has both of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What answers devices.
    Host,
    /// What stores.
    Worker,
}

impl Side {
    /// Whether this side counts a metric: the queue, plugins and traces belong to both.
    fn has(self, metric: &Metric) -> bool {
        let of_host = ["sawpit_http_", "sawpit_tls_", "sawpit_host_", "sawpit_query_"];
        match self {
            Self::Host => !metric.name.starts_with("sawpit_worker_"),
            Self::Worker => !of_host.iter().any(|start| metric.name.starts_with(start)),
        }
    }
}

impl Metric {
    /// Every combination of its labels' values; one without labels has one. None where a label's values are not few.
    fn series(&self) -> Vec<Vec<(&'static str, &'static str)>> {
        let mut series = vec![Vec::new()];
        for label in self.labels.split(", ").filter(|label| !label.is_empty()) {
            let Some((name, values)) = label.split_once(" = ") else { return Vec::new() };
            let with = |known: Vec<(&'static str, &'static str)>| {
                values.split(" | ").map(move |value| [known.clone(), vec![(name, value)]].concat())
            };
            series = series.into_iter().flat_map(with).collect();
        }
        series
    }
}

/// Shows what a side counts at 0 before it counts: to Prometheus a series that begins at 1 has never risen.
pub fn start_at_zero(side: Side) {
    for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Counter && side.has(metric)) {
        for labels in metric.series() {
            metrics::counter!(metric.name, &labels).increment(0);
        }
    }
}

/// The page docs/metrics.md.
#[must_use]
pub fn page() -> String {
    let mut page = "# Metrics\n\n\
        What `/metrics` of hosts and workers shows. This page is made from `crates/service/src/catalog.rs`; a test tells\n\
        how when it is out of date. Histograms have `_bucket`, `_sum` and `_count`.\n\n\
        | metric | kind | labels | what it says |\n|---|---|---|---|\n"
        .to_owned();
    for Metric { name, kind, labels, help } in METRICS {
        let labels = labels.replace('|', "\\|");
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{name}` | {} | {labels} | {help} |", kind.as_str());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_metric_has_a_series_for_each_of_its_labels_values() {
        let of = |labels| counter("sawpit_a_total", labels, "").series();
        assert_eq!(of(""), [vec![]]);
        assert_eq!(of("a = x | y"), [[("a", "x")], [("a", "y")]]);
        assert_eq!(of("a = x | y, b = z"), [[("a", "x"), ("b", "z")], [("a", "y"), ("b", "z")]]);
        assert!(of("plugin").is_empty() && of("a = x, plugin").is_empty());
    }

    #[test]
    fn what_a_side_counts_is_there_before_it_counts() {
        let metrics = Metrics::install().unwrap();
        start_at_zero(Side::Worker);
        let page = metrics.render();
        for line in
            ["sawpit_worker_maintain_errors_total 0", "sawpit_worker_logs_total{outcome=\"untried\"} 0"]
        {
            assert!(page.lines().any(|shown| shown == line), "no {line} in {page}");
        }
        assert!(!page.contains("sawpit_http_refused_total{"), "{page}");
    }
}
