//! `GET /openapi.json`, made from the types that are answered.
//!
//! The types here describe what other crates serialise (rows, statistics, plugins) or what a request may hold; a test
//! compares them with real answers.

#![allow(dead_code, reason = "the types and functions here only describe")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use crate::cached::Source;
use crate::problem::{FieldProblem, ProblemBody, Rejected};
use crate::{chain_page, ingest, plugins_page, query, stats, tail};

/// One log, as posted.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogBody {
    /// Who sends it; 1 to 64 bytes.
    #[schema(example = "sensor-001", min_length = 1, max_length = 64)]
    device_id: String,
    /// DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case.
    #[schema(example = "INFO")]
    log_level: String,
    /// What happened, for a person; 1 to 16,384 bytes.
    #[schema(example = "started", min_length = 1, max_length = 16384)]
    message: String,
    /// What happened, for a program; an object of 65,536 bytes at most.
    #[schema(required = false)]
    log_data: serde_json::Map<String, serde_json::Value>,
}

/// A batch, as posted.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchBody {
    /// 1 to 1,000 logs.
    #[schema(min_items = 1, max_items = 1000)]
    logs: Vec<LogBody>,
}

/// A stored log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Row {
    /// Id of the message that it came from.
    message_id: String,
    /// Ids of all messages that it came from, when a transform made it from several.
    #[schema(required = false)]
    sources: Vec<String>,
    /// Who sent it.
    device_id: String,
    /// How grave it is.
    log_level: String,
    /// For a person.
    message: String,
    /// For a program, as the plugins left it.
    log_data: serde_json::Map<String, serde_json::Value>,
    /// When the host took it.
    #[schema(format = DateTime)]
    received_at: String,
    /// Id of the plugin chain that it went through.
    chain: String,
}

/// Statistics over all that is stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatsAnswer {
    /// Rows in all.
    total: u64,
    /// Logs of each level; all five are there.
    per_level: BTreeMap<String, u64>,
    /// The ten devices with most logs, each a pair of device and count, most first.
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    top_devices: Vec<(String, u64)>,
    /// Logs received in the 60 seconds that end with the present one.
    last_minute: u64,
    /// The same per second.
    last_minute_rate: f64,
    /// Logs received in each of the last 180 minutes, oldest first; the last one is not over yet.
    per_minute: Vec<MinuteCount>,
    /// What each version of a plugin made of the logs that it was given, those with most logs first, at most 100.
    plugins: Vec<VerdictCounts>,
    /// Where the answer came from.
    source: Source,
}

/// How many logs a version of a plugin gave which verdict on.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictCounts {
    /// The plugin's name.
    plugin: String,
    /// The plugin's version.
    version: String,
    /// Logs that it let go on as they were.
    accepted: u64,
    /// Logs that it patched, edited, split or merged.
    changed: u64,
    /// Logs that it dropped.
    dropped: u64,
    /// Logs that it refused.
    rejected: u64,
}

/// The logs of a minute.
#[derive(Serialize, ToSchema)]
pub(crate) struct MinuteCount {
    /// When it began.
    #[schema(format = DateTime)]
    minute: String,
    /// Logs received in it.
    count: u64,
}

/// The plugins of this host.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginsPage {
    /// Id of the chain that serves now.
    chain: String,
    /// In the order they run: name, file, stages, version, hash, mode, state, since, calls, errors, cost, last error.
    plugins: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// What a plugin in shadow mode would have done.
#[derive(Serialize, ToSchema)]
pub(crate) struct DifferencesPage {
    /// The plugin's file.
    file: String,
    /// Oldest first: at, stage, log, and instead: dropped, rejected or changed.
    differences: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// One plugin of a chain.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChainPlugin {
    /// Its name.
    plugin: String,
    /// Its version.
    version: String,
    /// BLAKE3 of its wasm and manifest, 16 hexadecimal digits.
    hash: String,
    /// The share of the devices that it had as a canary; left out where it was none.
    percent: Option<u8>,
}

/// What a repeated `POST` is known by.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// Names the request, so that it can be sent again after a time-out, also to another host: a repeat with the same
    /// key, path and body is answered as the first was, and its logs are stored once. A string in quotes, of 1 to 255
    /// bytes. Answers other than 202 are not remembered.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        example = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""
    )]
    idempotency_key: String,
}

/// The errors of `POST`.
pub(crate) struct IngestErrors;

impl IntoResponses for IngestErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("400", "The body is not valid JSON, or broke off, or the Idempotency-Key is not valid"),
            ("408", "The body took too long to arrive"),
            ("401", "There is no valid token"),
            ("403", "The token does not cover this, or not this device"),
            ("413", "The body is too large"),
            ("415", "The body is not declared as JSON"),
            (
                "422",
                "A rule is broken, a filter refused, or the Idempotency-Key was used for another request",
            ),
            ("429", "The token was used too often; see Retry-After"),
            ("500", "The host failed"),
            (
                "503",
                "The backlog or the host is at its limit, a plugin failed, or the queue did not take it; see Retry-After",
            ),
        ])
    }
}

/// The errors of `GET`.
pub(crate) struct QueryErrors;

impl IntoResponses for QueryErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            ("400", "A parameter or the path is not valid"),
            ("401", "There is no valid token"),
            ("403", "The token does not cover this"),
            ("429", "The token was used too often; see Retry-After"),
            ("500", "The host failed"),
            ("503", "The database did not answer; see Retry-After"),
        ])
    }
}

fn problems(list: &[(&str, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let one = |description: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
        ResponseBuilder::new().description(description).content("application/problem+json", content).build()
    };
    list.iter().map(|(status, description)| ((*status).to_owned(), RefOr::T(one(description)))).collect()
}

#[utoipa::path(get, path = "/health/live", tag = "operation",
    responses((status = 200, description = "The process runs")))]
fn live() {}

#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses((status = 200, description = "Ready for requests"), (status = 503, description = "Not ready; says why")))]
fn ready() {}

#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
fn metrics_page() {}

#[derive(OpenApi)]
#[openapi(
    info(title = "Sawpit", description = "Log ingest with WebAssembly plugins."),
    paths(
        ingest::single::post_log,
        ingest::batch::post_batch,
        query::get_logs,
        query::get_all_logs,
        tail::get_tail,
        stats::get_stats,
        plugins_page::get_plugins,
        plugins_page::get_differences,
        chain_page::get_chain,
        live,
        ready,
        metrics_page,
    ),
    components(schemas(ProblemBody, FieldProblem, Rejected)),
    modifiers(&Tokens)
)]
struct Api;

/// Tokens may be asked for; by default they are not on a loopback address.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        const NAME: &str = "token";
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("As `sawpit token create` shows it. Only where tokens are asked for."));
        api.components
            .get_or_insert_default()
            .add_security_scheme(NAME, SecurityScheme::Http(scheme.build()));
        api.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new(NAME, [""; 0])]);
    }
}

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| Api::openapi().to_pretty_json().unwrap_or_else(|_| "{}".to_owned()).into());

/// The description of the API.
pub(crate) async fn get_openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}
