//! `--otlp-endpoint` and what belongs to it.

use std::time::Duration;

use axum::http::Uri;

use crate::settings::{FromSetting, Resolver, SettingSpec};

/// The settings of this module, for the commands that handle logs.
pub const SETTINGS: &[SettingSpec] = &[
    SettingSpec::new(
        "otlp-endpoint",
        "URL",
        "OpenTelemetry collector to send traces to, as in http://127.0.0.1:4318 (/v1/traces is appended); none unless given",
    ),
    SettingSpec::new(
        "trace-sample",
        "RATIO",
        "Share of the requests without a traceparent that are traced, 0 to 1; with one, its sampled flag decides",
    )
    .default("0.01"),
    SettingSpec::new("trace-queue-spans", "N", "Most spans waiting for the collector; further ones are dropped")
        .default("8192"),
    SettingSpec::new("otlp-timeout", "TIME", "Longest time that an export may take, also the last, at the end")
        .default("5s"),
];

/// An export that takes longer holds up the end of the process beyond what supervisors grant.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// What the process is called in traces, as in `sawpit-host`.
    pub service: &'static str,
    /// The collector; without one there are no traces.
    pub endpoint: Option<OtlpEndpoint>,
    /// The share of the traces that begin here which are kept, 0 to 1.
    pub sample: f64,
    /// Most spans that wait for the collector or are on their way to it; further ones are dropped.
    pub queue_spans: usize,
    /// Longest time that an export may take.
    pub timeout: Duration,
}

impl Default for TraceSettings {
    /// No traces.
    fn default() -> Self {
        let timeout = Duration::from_secs(5);
        Self { service: "sawpit", endpoint: None, sample: 0.01, queue_spans: 8_192, timeout }
    }
}

impl TraceSettings {
    /// Reads [`SETTINGS`]; `None` when a mistake was recorded.
    pub fn resolve(resolver: &mut Resolver, service: &'static str) -> Option<Self> {
        let endpoint = resolver.optional("otlp-endpoint");
        let sample = resolver.get_in("trace-sample", 0.0..=1.0);
        let queue_spans = resolver.get_in("trace-queue-spans", 1..=1_000_000);
        let within = |timeout: &Duration| !timeout.is_zero() && *timeout <= LONGEST_TIMEOUT;
        let timeout = resolver.get_if("otlp-timeout", within, "must be more than 0s and at most 60s");
        Some(Self {
            service,
            endpoint: endpoint?,
            sample: sample?,
            queue_spans: queue_spans?,
            timeout: timeout?,
        })
    }
}

/// The base URL of a collector, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint(String);

impl OtlpEndpoint {
    /// Where traces are posted (OTLP exporter specification, "Endpoint URLs for OTLP/HTTP").
    pub(super) fn traces(&self) -> String {
        format!("{}/v1/traces", self.0)
    }
}

impl FromSetting for OtlpEndpoint {
    fn from_setting(text: &str) -> Result<Self, String> {
        let rule = "must be the base URL of a collector as in http://127.0.0.1:4318: http or https, a host, perhaps a port and a path";
        let uri: Uri = text.parse().map_err(|_| rule.to_owned())?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err(rule.to_owned()),
        }
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if authority.contains('@') {
            return Err("must not hold a password; give headers in OTEL_EXPORTER_OTLP_HEADERS".to_owned());
        }
        if uri.query().is_some() || uri.host().is_none_or(str::is_empty) {
            return Err(rule.to_owned());
        }
        if uri.path().trim_end_matches('/').ends_with("/v1/traces") {
            return Err("must be the base URL: /v1/traces is appended to it".to_owned());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_appended_to_the_base_url() {
        for (given, posted) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector", "http://collector/v1/traces"),
            ("https://collector:4318", "https://collector:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("http://gateway:80/otlp/", "http://gateway:80/otlp/v1/traces"),
        ] {
            assert_eq!(OtlpEndpoint::from_setting(given).map(|it| it.traces()).as_deref(), Ok(posted));
        }
    }

    #[test]
    fn what_is_no_collector_is_refused_with_the_reason() {
        for (given, reason) in [
            ("", "base URL"),
            ("collector:4318", "base URL"),
            ("ftp://collector", "base URL"),
            ("http://", "base URL"),
            ("http://collector/?a=b", "base URL"),
            ("http://me:secret@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("http://collector:4318/v1/traces", "is appended"),
        ] {
            let rule = OtlpEndpoint::from_setting(given).unwrap_err();
            assert!(rule.contains(reason) && !rule.contains("secret"), "{given}: {rule}");
        }
    }
}
