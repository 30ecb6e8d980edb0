//! `GET /api/logs/{device_id}`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use sawpit_model::{Level, Limits, Timestamp, UnknownLevel};
use sawpit_store::{Cursor, DeviceQuery, ParsePluginFilterError, StoreError, StoredRow};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, Shared};
use crate::cached::{self, Looked, OpenObject, Source};
use crate::problem::{FieldProblem, Kind, Problem};
use crate::settings::HostSettings;

/// The newest rows of a device, without `source`, which is added where it is known.
#[derive(Serialize)]
struct Rows<'a> {
    device_id: &'a str,
    total: u64,
    count: usize,
    data: &'a [StoredRow],
    next_cursor: Option<String>,
}

/// As answered; only for the description of the API.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowsAnswer {
    /// The device.
    device_id: String,
    /// How many rows match in all.
    total: u64,
    /// How many are in `data`.
    count: usize,
    /// Newest first.
    data: Vec<crate::openapi::Row>,
    /// Pass it as `cursor` for the rows after these; null at the end.
    next_cursor: Option<String>,
    /// Where the answer came from.
    source: Source,
}

/// The newest logs of a device.
#[utoipa::path(
    get, path = "/api/logs/{device_id}", tag = "query",
    params(
        ("device_id" = String, Path, description = "The device, percent-encoded"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 when not given"),
        ("log_level" = Option<String>, Query, description = "Only these levels; repeated or separated by commas"),
        ("since" = Option<String>, Query, description = "Received at this RFC 3339 time or later"),
        ("until" = Option<String>, Query, description = "Received before this RFC 3339 time"),
        ("plugin" = Option<String>, Query, description = "Only logs that this plugin, or this version of it (NAME@VERSION), was in the chain of"),
        ("cursor" = Option<String>, Query, description = "next_cursor of the page before"),
        ("Cache-Control" = Option<String>, Header, description = "no-cache asks the database"),
    ),
    responses(
        (status = 200, description = "The rows", body = RowsAnswer),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_logs(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(device_id) =
        path.map_err(|_| Problem::new(Kind::BadPath, "device_id must be UTF-8, percent-encoded."))?;
    rows(&app, device_id, query.as_deref().unwrap_or(""), &headers).await
}

/// The same for the one device whose path is also the route of batches.
pub(crate) async fn get_logs_of_batch(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    rows(&app, "batch".to_owned(), query.as_deref().unwrap_or(""), &headers).await
}

async fn rows(
    app: &Shared,
    device_id: String,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    check_device(&device_id, &app.settings.limits)?;
    let query = parse(device_id, query, &app.settings)?;
    let (generation_key, key) = (cached::generation_key(&query.device_id), key(&query));
    let ttl = app.settings.cache_ttl;
    let looked = cached::look(&app.cache, &generation_key, &key, fresh_generation(app), ttl).await;
    let generation = match looked {
        Looked::Hit(answer) if !cached::bypassed(headers) => return Ok(answer.respond(Source::Cache)),
        Looked::Hit(_) => None,
        Looked::Miss(generation) => Some(generation),
    };
    let answer = ask(app, &query).await?;
    if let Some(generation) = generation
        && answer.bytes().len() <= app.settings.cache_value_bytes
    {
        cached::keep(&app.cache, &key, &generation, &answer, ttl).await;
    }
    Ok(answer.respond(Source::Database))
}

async fn ask(app: &Shared, query: &DeviceQuery) -> Result<OpenObject, Problem> {
    let page = app.store.query(query).await.map_err(|error| store_problem(app, error))?;
    OpenObject::of(&Rows {
        device_id: &query.device_id,
        total: page.total,
        count: page.rows.len(),
        data: &page.rows,
        next_cursor: page.next_cursor.map(|cursor| cursor.to_string()),
    })
}

/// The store's message goes to the log only.
pub(crate) fn store_problem(app: &Shared, error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable { cause } => {
            tracing::warn!(cause, "the store is not available");
            app.come_back(Kind::StoreUnavailable, "The database did not answer; ask again.")
        }
        other => Problem::internal(other),
    }
}

/// Never used before by any host: the time, and a count of this process.
fn fresh_generation(app: &Shared) -> String {
    app.request_ids.text()
}

fn check_device(device_id: &str, limits: &Limits) -> Result<(), Problem> {
    let rule = if device_id.is_empty() || device_id.len() > limits.device_id_bytes {
        format!("must be 1 to {} bytes of UTF-8", limits.device_id_bytes)
    } else if device_id.contains('\0') {
        "must not contain NUL".to_owned()
    } else {
        return Ok(());
    };
    Err(Problem::fields(Kind::BadPath, vec![FieldProblem::new("device_id", rule)]))
}

/// The cache key: `cache:logs:{device_id}:{limit}`, and the filters in one order, however they were written.
fn key(query: &DeviceQuery) -> String {
    let mut key = format!("cache:logs:{}:{}", cached::key_part(&query.device_id), query.limit);
    if !query.levels.is_empty() {
        let levels: Vec<&str> = query.levels.iter().map(|level| level.as_str()).collect();
        key.push_str(&format!(":levels={}", levels.join(",")));
    }
    for (name, time) in [("since", query.since), ("until", query.until)] {
        if let Some(time) = time {
            key.push_str(&format!(":{name}={}", time.as_micros()));
        }
    }
    if let Some(plugin) = &query.plugin {
        key.push_str(&format!(":plugin={plugin}"));
    }
    if let Some(cursor) = &query.cursor {
        key.push_str(&format!(":cursor={cursor}"));
    }
    key
}

/// Reads the parameters, all mistakes at once.
fn parse(device_id: String, text: &str, settings: &HostSettings) -> Result<DeviceQuery, Problem> {
    let mut parser =
        Parser { settings, seen: Vec::new(), errors: Vec::new(), query: empty(device_id, settings) };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        parser.parameter(&name, &value);
    }
    parser.finish()
}

fn empty(device_id: String, settings: &HostSettings) -> DeviceQuery {
    DeviceQuery {
        device_id,
        levels: Vec::new(),
        since: None,
        until: None,
        plugin: None,
        cursor: None,
        limit: settings.query_limit_default,
    }
}

struct Parser<'a> {
    settings: &'a HostSettings,
    /// Parameters that may come once and did.
    seen: Vec<&'static str>,
    errors: Vec<FieldProblem>,
    query: DeviceQuery,
}

impl Parser<'_> {
    fn parameter(&mut self, name: &str, value: &str) {
        match name {
            "log_level" => self.levels(value),
            "limit" => self.limit(value),
            "since" => self.query.since = self.time("since", value),
            "until" => self.query.until = self.time("until", value),
            "plugin" => self.plugin(value),
            "cursor" => self.cursor(value),
            _ => self.errors.push(FieldProblem::new(
                name.chars().take(64).collect::<String>(),
                "is not a parameter; known are limit, log_level, since, until, plugin and cursor",
            )),
        }
    }

    fn once(&mut self, name: &'static str) {
        if self.seen.contains(&name) {
            self.errors.push(FieldProblem::new(name, "must be given once"));
        }
        self.seen.push(name);
    }

    fn limit(&mut self, value: &str) {
        self.once("limit");
        match value.parse() {
            Ok(limit) if (1..=self.settings.query_limit_max).contains(&limit) => self.query.limit = limit,
            _ => {
                let rule = format!("must be a whole number from 1 to {}", self.settings.query_limit_max);
                self.errors.push(FieldProblem::new("limit", rule));
            }
        }
    }

    fn levels(&mut self, value: &str) {
        // `log_level=` is no filter, as a form sends it.
        for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name.parse::<Level>() {
                Ok(level) => self.query.levels.push(level),
                Err(UnknownLevel(name)) => {
                    let rule =
                        format!("must be DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case, not {name:?}");
                    self.errors.push(FieldProblem::new("log_level", rule));
                }
            }
        }
    }

    fn time(&mut self, name: &'static str, value: &str) -> Option<Timestamp> {
        self.once(name);
        // In a query a "+" that is not percent-encoded means a space; no RFC 3339 time has one at the offset.
        match value.replace(' ', "+").parse() {
            Ok(time) => Some(time),
            Err(_) => {
                self.errors
                    .push(FieldProblem::new(name, "must be an RFC 3339 time, as in 2026-11-23T01:02:03Z"));
                None
            }
        }
    }

    fn plugin(&mut self, value: &str) {
        self.once("plugin");
        match value.parse() {
            Ok(plugin) => self.query.plugin = Some(plugin),
            Err(ParsePluginFilterError) => {
                self.errors.push(FieldProblem::new("plugin", ParsePluginFilterError.to_string()));
            }
        }
    }

    fn cursor(&mut self, value: &str) {
        self.once("cursor");
        match value.parse::<Cursor>() {
            Ok(cursor) => self.query.cursor = Some(cursor),
            Err(_) => {
                self.errors.push(FieldProblem::new("cursor", "must be the next_cursor of a page before"))
            }
        }
    }

    fn finish(mut self) -> Result<DeviceQuery, Problem> {
        if let (Some(since), Some(until)) = (self.query.since, self.query.until)
            && since >= until
        {
            self.errors.push(FieldProblem::new("until", "must be after since"));
        }
        if !self.errors.is_empty() {
            return Err(Problem::fields(Kind::BadQuery, self.errors));
        }
        self.query.levels.sort_unstable();
        self.query.levels.dedup();
        Ok(self.query)
    }
}
