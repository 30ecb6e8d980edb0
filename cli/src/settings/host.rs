//! What a device may post and how queries are answered.

use std::time::Duration;

use axum::http::HeaderValue;
use sawpit_host::{CorsOrigins, HostSettings};
use sawpit_model::Limits;
use sawpit_queue::QueueSettings;
use sawpit_service::settings::Resolver;
use sawpit_service::{ByteSize, FromSetting, SettingSpec};

use super::access::Doors;

/// The largest limit on bytes that makes sense: what is in one request is held in memory.
const GIB: ByteSize = ByteSize(1 << 30);

/// Workers are given it as well.
pub const CACHE_TTL: SettingSpec = SettingSpec::new(
    "cache-ttl",
    "TIME",
    "How long a query's answer is cached; the same for hosts and workers",
)
.default("300s");

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new("device-id-bytes", "SIZE", "Longest device_id").default("64B"),
    SettingSpec::new("message-bytes", "SIZE", "Longest message").default("16KiB"),
    SettingSpec::new("log-data-bytes", "SIZE", "Longest log_data, as JSON text").default("64KiB"),
    SettingSpec::new("log-data-depth", "N", "Deepest nesting in log_data").default("64"),
    SettingSpec::new("number-bytes", "SIZE", "Longest number in log_data").default("1000B"),
    SettingSpec::new("batch-logs", "N", "Most logs in one batch").default("1000"),
    SettingSpec::new("body-bytes", "SIZE", "Largest request body").default("8MiB"),
    SettingSpec::new("in-flight-bytes", "SIZE", "Most bytes of bodies held at once; beyond it 503")
        .default("256MiB"),
    SettingSpec::new("body-timeout", "TIME", "Longest time a body may take to arrive").default("10s"),
    SettingSpec::new("request-timeout", "TIME", "Longest time from a request's head to its answer")
        .default("25s"),
    SettingSpec::new("idempotency-key-bytes", "SIZE", "Longest Idempotency-Key").default("255B"),
    SettingSpec::new(
        "idempotency-note-bytes",
        "SIZE",
        "Longest answer that is remembered whole; of a longer one the reasons are not",
    )
    .default("16KiB"),
    SettingSpec::new("backlog-poll", "TIME", "How often the queue is asked for its length").default("100ms"),
    SettingSpec::new("retry-after", "TIME", "What Retry-After says on a 503, up to twice as much")
        .default("2s"),
    SettingSpec::new(
        "retry-after-max",
        "TIME",
        "The most that Retry-After says; on a full backlog it is measured",
    )
    .default("60s"),
    SettingSpec::new(
        "plugin-threads",
        "N",
        "Threads that run plugins, and one more for slow ones; one per core unless given",
    ),
    SettingSpec::new("gather-logs", "N", "Most logs of several requests in one plugin call").default("256"),
    SettingSpec::new("gather-waiting-logs", "N", "Most logs waiting for a plugin call; beyond it 503")
        .default("65536"),
    SettingSpec::new("query-limit-default", "N", "Rows of a query that names no limit").default("100"),
    SettingSpec::new("query-limit-max", "N", "Most rows of a query").default("1000"),
    SettingSpec::new("query-terms", "N", "Most words and members of log_data that a query looks for")
        .default("16"),
    SettingSpec::new(
        "cors-origins",
        "LIST",
        "Sites whose pages may use the API, as in https://a.example,https://b.example; * for all",
    ),
    SettingSpec::new("query-timeout", "TIME", "Longest time of a search in the database; beyond it 503")
        .default("10s"),
    SettingSpec::new("export-clients", "N", "Most exports (format=ndjson or csv) at once; beyond it 503")
        .default("10"),
    SettingSpec::new("export-page-bytes", "SIZE", "Most bytes of rows that an export reads at a time")
        .default("1MiB"),
    SettingSpec::new("tail-clients", "N", "Most clients that follow new logs (GET /api/tail) at once")
        .default("100"),
    SettingSpec::new(
        "query-count-limit",
        "N",
        "Most rows counted for the total of a query, where no totals are kept",
    )
    .default("100000"),
    CACHE_TTL,
    SettingSpec::new("stats-ttl", "TIME", "How long statistics are cached").default("60s"),
    SettingSpec::new("cache-value-bytes", "SIZE", "Largest answer that is cached").default("1MiB"),
];

/// The settings among [`SPECS`] that say what a log may be; the worker's plugins are held to them as well.
pub fn limit_specs() -> Vec<SettingSpec> {
    SPECS.iter().filter(|spec| LIMITS.contains(&spec.name)).copied().collect()
}

const LIMITS: [&str; 7] = [
    "device-id-bytes",
    "message-bytes",
    "log-data-bytes",
    "log-data-depth",
    "number-bytes",
    "batch-logs",
    "body-bytes",
];

pub fn limits(resolver: &mut Resolver) -> Option<Limits> {
    let mut size = |name| resolver.get_in(name, ByteSize(1)..=GIB).map(ByteSize::as_usize);
    let device_id_bytes = size("device-id-bytes");
    let message_bytes = size("message-bytes");
    let log_data_bytes = size("log-data-bytes");
    let number_bytes = size("number-bytes");
    let body_bytes = size("body-bytes");
    let log_data_depth = resolver.get_in("log-data-depth", 1..=1_000);
    let batch_logs = resolver.get_in("batch-logs", 1..=100_000);
    if let (Some(body), Some(message), Some(data)) = (body_bytes, message_bytes, log_data_bytes) {
        let rule = "body-bytes must hold at least one log: message-bytes and log-data-bytes together";
        resolver.check(body >= message + data, &["body-bytes", "message-bytes", "log-data-bytes"], rule);
    }
    Some(Limits {
        device_id_bytes: device_id_bytes?,
        message_bytes: message_bytes?,
        log_data_bytes: log_data_bytes?,
        log_data_depth: log_data_depth?,
        number_bytes: number_bytes?,
        batch_logs: batch_logs?,
        body_bytes: body_bytes?,
    })
}

pub fn resolve(
    resolver: &mut Resolver,
    limits: Option<Limits>,
    queue: Option<&QueueSettings>,
    doors: Option<Doors>,
) -> Option<HostSettings> {
    let in_flight_bytes =
        resolver.get_in("in-flight-bytes", ByteSize(1)..=ByteSize(1 << 40)).map(ByteSize::as_usize);
    let idempotency_key_bytes =
        resolver.get_in("idempotency-key-bytes", ByteSize(1)..=ByteSize(4096)).map(ByteSize::as_usize);
    let idempotency_note_bytes =
        resolver.get_in("idempotency-note-bytes", ByteSize(0)..=GIB).map(ByteSize::as_usize);
    let mut time = |name| resolver.get_time(name, super::TIMES);
    let (body_timeout, request_timeout) = (time("body-timeout"), time("request-timeout"));
    let (backlog_poll, retry_after) = (time("backlog-poll"), time("retry-after"));
    let stats_ttl = time("stats-ttl");
    let cache_ttl = cache_ttl(resolver);
    let retry_after_max = resolver.get_time("retry-after-max", Duration::from_secs(1)..=*super::TIMES.end());
    let plugin_threads = super::threads(resolver, "plugin-threads");
    let gather_logs = resolver.get_in("gather-logs", 1..=100_000);
    let gather_waiting_logs = resolver.get_in("gather-waiting-logs", 1..=100_000_000);
    let query_limit_max = resolver.get_in("query-limit-max", 1..=100_000);
    let query_terms = resolver.get_in("query-terms", 1..=1_000);
    let cors_origins = resolver.optional::<Origins>("cors-origins");
    let query_timeout = query_timeout(resolver, request_timeout);
    let export_clients = resolver.get_in("export-clients", 0..=10_000);
    let export_page_bytes = resolver.get_in("export-page-bytes", ByteSize(1024)..=GIB);
    let tail_clients = resolver.get_in("tail-clients", 0..=100_000);
    let query_count_limit = resolver.get_in("query-count-limit", 0..=u64::MAX);
    let query_limit_default = resolver.get_in("query-limit-default", 1..=100_000);
    let cache_value_bytes = resolver.get_in("cache-value-bytes", ByteSize(0)..=GIB).map(ByteSize::as_usize);
    if let (Some(body), Some(request), Some(queue)) = (body_timeout, request_timeout, queue) {
        let rule =
            "a request must last longer than its body may take to arrive and its append to be answered";
        let names = ["request-timeout", "body-timeout", "append-timeout"];
        resolver.check(request > body.saturating_add(queue.append_timeout), &names, rule);
    }
    if let (Some(most), Some(default)) = (query_limit_max, query_limit_default) {
        resolver.check(
            default <= most,
            &["query-limit-default", "query-limit-max"],
            "the default is over the maximum",
        );
    }
    if let (Some(limits), Some(in_flight)) = (limits, in_flight_bytes) {
        let rule = "in-flight-bytes must hold at least one body of body-bytes";
        resolver.check(in_flight >= limits.body_bytes, &["in-flight-bytes", "body-bytes"], rule);
    }
    let doors = doors?;
    Some(HostSettings {
        cors_origins: cors_origins?.map(|origins| origins.0).unwrap_or_default(),
        token_refresh: doors.refresh,
        access: doors.api.access,
        admin: doors.admin.map(|door| door.access),
        limits: limits?,
        in_flight_bytes: in_flight_bytes?,
        body_timeout: body_timeout?,
        request_timeout: request_timeout?,
        idempotency_key_bytes: idempotency_key_bytes?,
        idempotency_note_bytes: idempotency_note_bytes?,
        backlog_limit: queue?.backlog_limit,
        backlog_poll: backlog_poll?,
        retry_after: retry_after?,
        retry_after_max: retry_after_max?,
        plugin_threads: plugin_threads?.unwrap_or_else(super::plugins::cores),
        gather_logs: gather_logs?,
        gather_waiting_logs: gather_waiting_logs?,
        query_limit_default: query_limit_default?,
        query_limit_max: query_limit_max?,
        query_terms: query_terms?,
        query_timeout: query_timeout?,
        export_clients: export_clients?,
        export_page_bytes: export_page_bytes?.0,
        tail_clients: tail_clients?,
        query_count_limit: query_count_limit?,
        cache_ttl: cache_ttl?,
        stats_ttl: stats_ttl?,
        cache_value_bytes: cache_value_bytes?,
    })
}

fn query_timeout(resolver: &mut Resolver, request_timeout: Option<Duration>) -> Option<Duration> {
    let least = Duration::from_millis(1);
    let timeout = resolver.get_if("query-timeout", |time| *time >= least, "must be 1ms at least");
    if let (Some(query), Some(request)) = (timeout, request_timeout) {
        let rule = "a query must end before its request does, or nobody is told why";
        resolver.check(query < request, &["query-timeout", "request-timeout"], rule);
    }
    timeout
}

/// How long answers to queries are cached.
pub fn cache_ttl(resolver: &mut Resolver) -> Option<Duration> {
    resolver.get_time("cache-ttl", super::TIMES)
}

/// As `cors-origins` is written.
struct Origins(CorsOrigins);

impl FromSetting for Origins {
    fn from_setting(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self(CorsOrigins::Any));
        }
        let origin = |text: &str| {
            // Scheme, host and port, and nothing after them: as browsers send it (RFC 6454, section 6.2).
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            let is_origin =
                host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '*', ' ']));
            let value = if is_origin { HeaderValue::try_from(text).ok() } else { None };
            value.ok_or_else(|| {
                format!("must be a list of origins as in https://example.com, or *; not {text:?}")
            })
        };
        let origins: Result<Vec<_>, _> = text.split(',').map(|one| origin(one.trim())).collect();
        Ok(Self(CorsOrigins::These(origins?)))
    }
}
