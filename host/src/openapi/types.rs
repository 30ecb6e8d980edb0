//! What other crates serialise, and what a request may hold: types that only describe. A test compares them with real
//! answers. `%name%` stands for a limit that is a setting.

#![allow(dead_code, reason = "the types here only describe")]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::cached::Source;

/// One log, as posted.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogBody {
    /// Who sends it; 1 to %device-id-bytes% bytes.
    #[schema(example = "sensor-001", min_length = 1)]
    device_id: String,
    /// DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case.
    #[schema(example = "INFO")]
    log_level: String,
    /// What happened, for a person; 1 to %message-bytes% bytes.
    #[schema(example = "started", min_length = 1)]
    message: String,
    /// What happened, for a program; an object of %log-data-bytes% bytes at most.
    #[schema(required = false)]
    log_data: Map<String, Value>,
}

/// A batch, as posted.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchBody {
    /// 1 to %batch-logs% logs.
    #[schema(min_items = 1)]
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
    /// Tells the rows apart that a transform split one message into, from 0; left out where it is 0.
    #[schema(required = false)]
    part: u32,
    /// Who sent it.
    device_id: String,
    /// How grave it is.
    log_level: String,
    /// For a person.
    message: String,
    /// For a program, as the plugins left it.
    log_data: Map<String, Value>,
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
    #[schema(value_type = Vec<Vec<Value>>)]
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

/// The plugins of a process.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginsPage {
    /// Id of the chain that serves now.
    chain: String,
    /// In the order they run.
    plugins: Vec<PluginRow>,
}

/// A file of the plugin folder.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginRow {
    /// What the plugin calls itself; the file's stem where it could not be asked.
    name: String,
    /// The file's name.
    file: String,
    /// filter, enrich and transform, as far as it has them.
    stages: Vec<String>,
    /// Of the version that serves.
    version: Option<String>,
    /// BLAKE3 of the wasm and the manifest that serve, 16 hexadecimal digits.
    hash: Option<String>,
    /// The plugin's own line of help.
    help: String,
    /// active, shadow or off, as the manifest asks.
    mode: String,
    /// active, canary, shadow, off or refused.
    state: String,
    /// Whether some version of it is called.
    serving: bool,
    /// Why the file as it is now may not serve.
    refusal: Option<String>,
    /// Since when it is in this state and version.
    #[schema(format = DateTime)]
    since: String,
    /// Calls of this version.
    calls: u64,
    /// Logs in these calls.
    logs: u64,
    /// Logs that this version failed on.
    errors: u64,
    /// In shadow mode: logs that would have come out otherwise.
    differences: u64,
    /// Mean time of a call, in microseconds.
    mean_us: f64,
    /// 99th percentile of it.
    p99_us: f64,
    /// Mean time of a log, in microseconds.
    log_mean_us: f64,
    /// 99th percentile of it over calls.
    log_p99_us: f64,
    /// The last error, in one line or with the guest's trace.
    last_error: Option<String>,
    /// When that was.
    #[schema(format = DateTime)]
    last_error_at: Option<String>,
    /// Whether it is bypassed because it kept failing: state, opened (how often) and since.
    breaker: Option<Map<String, Value>>,
    /// The version on trial: version, hash, percent, since, what it did and what the one before it did meanwhile.
    canary: Option<Map<String, Value>>,
}

/// What a plugin in shadow mode would have done.
#[derive(Serialize, ToSchema)]
pub(crate) struct DifferencesPage {
    /// The plugin's file.
    file: String,
    /// Oldest first.
    differences: Vec<DifferenceRow>,
}

/// A log that it would have treated otherwise.
#[derive(Serialize, ToSchema)]
pub(crate) struct DifferenceRow {
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// filter, enrich or transform.
    stage: String,
    /// The log as it went on.
    log: Map<String, Value>,
    /// What the plugin would have made of it: dropped, rejected or changed.
    instead: Map<String, Value>,
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
    /// key, path and body is answered as the first was, and its logs are stored once. A string in quotes, of 1 to
    /// %idempotency-key-bytes% bytes. Answers other than 202 are not remembered.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        example = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""
    )]
    idempotency_key: String,
}

/// Whether the answer may come from the cache.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Cached {
    /// no-cache asks the database.
    #[param(rename = "Cache-Control", required = false, example = "no-cache")]
    cache_control: String,
}

/// What the client has already.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Known {
    /// The ETag of an earlier answer, or several of them, or *: answered 304 where nothing changed since.
    #[param(rename = "If-None-Match", required = false)]
    if_none_match: String,
}

/// What was followed before.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Resumed {
    /// The id of the last event before the connection broke, as browsers send it: then the first event is gap, since rows
    /// may have been missed.
    #[param(rename = "Last-Event-ID", required = false)]
    last_event_id: String,
}

/// The parameters data.KEY: OpenAPI has no names that are not known, so these are the members of an object.
pub(crate) struct Members;

impl PartialSchema for Members {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^data\..+")).build();
        let members = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property_names(Some(name))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
        members.into()
    }
}

impl ToSchema for Members {}
