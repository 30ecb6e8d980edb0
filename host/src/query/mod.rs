//! `GET /api/logs/{device_id}` and `GET /api/logs`.

mod cursor;
mod export;
mod pairs;
mod parse;

use std::time::Instant;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use sawpit_model::{Limits, Timestamp};
use sawpit_store::{Index, Indexed, LogQuery, StoreError, StoredRow, Total};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::{App, Shared};
use crate::cached::{self, Looked, OpenObject, Source};
use crate::problem::{FieldProblem, Kind, Problem};
use crate::query::parse::{Asked, Form, parse};

pub(crate) use pairs::pairs;
pub(crate) use parse::{levels, search};

/// The newest rows, without `source`, which is added where it is known.
#[derive(Serialize)]
struct Rows<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    total: u64,
    total_relation: Relation,
    count: usize,
    data: &'a [StoredRow],
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    indexed_since: Option<Timestamp>,
}

/// How `total` is meant.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Relation {
    /// So many match.
    Eq,
    /// At least so many do: counting stopped there.
    Gte,
}

/// As answered; only for the description of the API.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowsAnswer {
    /// The device; left out where all were asked for.
    #[schema(required = false)]
    device_id: String,
    /// How many rows match in all.
    total: u64,
    /// Whether `total` is exact (`eq`), or there are more than were counted (`gte`).
    total_relation: Relation,
    /// How many are in `data`.
    count: usize,
    /// Newest first.
    data: Vec<crate::openapi::Row>,
    /// Pass it as `cursor` for the rows after these; null at the end.
    next_cursor: Option<String>,
    /// Of a search: rows received from this time on are found; of older ones those that were stored after it.
    #[schema(required = false, format = DateTime)]
    indexed_since: String,
    /// Where the answer came from.
    source: Source,
}

/// What a query may ask for; only for the description of the API.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the derive only")]
pub(crate) struct Filters {
    /// Rows in the page: 1 to %query-limit-max%; %query-limit-default% when not given. Of an export: most rows; all when
    /// not given.
    #[param(minimum = 1)]
    limit: Option<u64>,
    /// Only these levels; repeated or separated by commas.
    log_level: Option<String>,
    /// Received at this RFC 3339 time or later.
    since: Option<String>,
    /// Received before this RFC 3339 time.
    until: Option<String>,
    /// Only logs that this plugin, or this version of it (NAME@VERSION), was in the chain of.
    plugin: Option<String>,
    /// Words of the message, all of which must be there, in any case; temp* is the beginning of a word. Workers index them
    /// when they run with --text-index.
    q: Option<String>,
    /// data.KEY=VALUE asks for equality in log_data, with dots between nested keys; several must all be so. Workers index
    /// them when they run with --data-index.
    #[param(value_type = crate::openapi::Members, inline, style = Form, explode, required = false)]
    members: crate::openapi::Members,
    /// next_cursor of the page before.
    cursor: Option<String>,
    /// json (a page), or ndjson or csv: all rows, as a stream.
    format: Option<String>,
}

/// The newest logs of a device.
#[utoipa::path(
    get, path = "/api/logs/{device_id}", tag = "query",
    params(
        ("device_id" = String, Path, description = "The device, percent-encoded"),
        Filters,
        crate::openapi::Cached,
        crate::openapi::Known,
    ),
    responses(
        (status = 200, description = "The rows", content(
            (RowsAnswer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")),
            headers(("ETag" = String, description = "Of a page: names this answer, for If-None-Match"))),
        (status = 304, description = "The client has this page already",
            headers(("ETag" = String, description = "As it was sent"))),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_logs(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(device_id) =
        path.map_err(|_| Problem::new(Kind::BadPath, "device_id must be UTF-8, percent-encoded."))?;
    of_device(app, device_id, query.as_deref().unwrap_or(""), caller, &headers).await
}

/// The same for the one device whose path is also the route of batches.
pub(crate) async fn get_logs_of_batch(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    of_device(app, "batch".to_owned(), query.as_deref().unwrap_or(""), caller, &headers).await
}

/// The newest logs of all devices.
///
/// Never from the cache: each commit changes the answer.
#[utoipa::path(
    get, path = "/api/logs", tag = "query",
    params(Filters, crate::openapi::Known),
    responses(
        (status = 200, description = "The rows", content(
            (RowsAnswer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")),
            headers(("ETag" = String, description = "Of a page: names this answer, for If-None-Match"))),
        (status = 304, description = "The client has this page already",
            headers(("ETag" = String, description = "As it was sent"))),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_all_logs(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Asked { query, form } = parse(None, query.as_deref().unwrap_or(""), &app.settings)?;
    match form {
        Form::Page => Ok(ask(&app, &query).await?.respond(Source::Database, &headers)),
        Form::Export(export, limit) => export::respond(app, query, export, limit, caller).await,
    }
}

async fn of_device(
    app: App,
    device_id: String,
    query: &str,
    caller: Caller,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    check_device(&device_id, &app.settings.limits)?;
    let Asked { query, form } = parse(Some(device_id.clone()), query, &app.settings)?;
    match form {
        Form::Page => page(&app, &device_id, &query, headers).await,
        Form::Export(export, limit) => export::respond(app, query, export, limit, caller).await,
    }
}

async fn page(
    app: &Shared,
    device_id: &str,
    query: &LogQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (generation_key, key) = (cached::generation_key(device_id), key(device_id, query));
    let ttl = app.settings.cache_ttl;
    let looked = cached::look(&app.cache, &generation_key, &key, fresh_generation(app), ttl).await;
    match looked {
        Looked::Hit(answer) if !cached::bypassed(headers) => {
            cached::count("logs", "hit");
            Ok(answer.respond(Source::Cache, headers))
        }
        Looked::Hit(_) => {
            cached::count("logs", "bypass");
            Ok(ask(app, query).await?.respond(Source::Database, headers))
        }
        Looked::Miss(generation) => {
            cached::count("logs", "miss");
            let flight = format!("{key}\n{}", String::from_utf8_lossy(&generation));
            let answer = app.flights.share(flight, || ask_and_keep(app, query, &key, &generation)).await?;
            Ok(answer.respond(Source::Database, headers))
        }
        Looked::Away => {
            cached::count("logs", "away");
            // Nobody knows a generation, and the database has no time for everybody's question: who asks while the same
            // is being asked shares the answer, which is then as old as that question.
            Ok(app.flights.share(key, || ask(app, query)).await?.respond(Source::Database, headers))
        }
    }
}

async fn ask_and_keep(
    app: &Shared,
    query: &LogQuery,
    key: &str,
    generation: &[u8],
) -> Result<OpenObject, Problem> {
    let answer = ask(app, query).await?;
    if answer.bytes().len() <= app.settings.cache_value_bytes {
        cached::keep(&app.cache, key, generation, &answer, app.settings.cache_ttl).await;
    }
    Ok(answer)
}

async fn ask(app: &Shared, query: &LogQuery) -> Result<OpenObject, Problem> {
    let started = Instant::now();
    let indexed_since = indexed_since(app, query).await?;
    let page = app.store.query(query).await.map_err(|error| store_problem(app, error))?;
    metrics::histogram!("sawpit_query_database_seconds", "query" => "logs")
        .record(started.elapsed().as_secs_f64());
    let total_relation = match page.total {
        Total::Exact(_) => Relation::Eq,
        Total::AtLeast(_) => Relation::Gte,
    };
    OpenObject::of(&Rows {
        device_id: query.device_id.as_deref(),
        total: page.total.value(),
        total_relation,
        count: page.rows.len(),
        data: &page.rows,
        next_cursor: page.next_cursor.map(|place| cursor::write(query, place)),
        indexed_since,
    })
}

/// Refuses a search that nothing can be found by.
pub(super) async fn indexed_since(app: &Shared, query: &LogQuery) -> Result<Option<Timestamp>, Problem> {
    if query.search.is_empty() {
        return Ok(None);
    }
    match app.store.indexed(&query.search).await.map_err(|error| store_problem(app, error))? {
        Indexed::Since(time) => Ok(Some(time)),
        Indexed::Missing(index) => {
            let field = match index {
                Index::Text => "q",
                Index::Data => "data",
            };
            let rule = format!("needs the index that workers keep when they run with {}", index.setting());
            Err(Problem::fields(Kind::BadQuery, vec![FieldProblem::new(field, rule)]))
        }
    }
}

/// The store's message goes to the log only.
pub(crate) fn store_problem(app: &Shared, error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable { cause } => {
            tracing::warn!(cause, "the store is not available");
            app.come_back(Kind::StoreUnavailable, "The database did not answer; ask again.")
        }
        // Asked again it takes as long, so nobody is told to come back.
        StoreError::TooLong { limit } => {
            metrics::counter!("sawpit_http_refused_total", "limit" => "query_timeout").increment(1);
            let detail = format!(
                "The search took longer than {limit:?} (--query-timeout) and was ended: its words are in many logs, and \
                 hardly any has all of them. Narrow it by since and until, a device or a level."
            );
            Problem::new(Kind::QueryTooLong, detail)
        }
        other => Problem::internal(other),
    }
}

/// Never used before by any host: the time, and a count of this process.
fn fresh_generation(app: &Shared) -> String {
    app.request_ids.text()
}

fn check_device(device_id: &str, limits: &Limits) -> Result<(), Problem> {
    device(device_id, limits)
        .map_err(|rule| Problem::fields(Kind::BadPath, vec![FieldProblem::new("device_id", rule)]))
}

/// The rule that keeps any log from being of this device.
pub(crate) fn device(device_id: &str, limits: &Limits) -> Result<(), String> {
    if device_id.is_empty() || device_id.len() > limits.device_id_bytes {
        Err(format!("must be 1 to {} bytes of UTF-8", limits.device_id_bytes))
    } else if device_id.contains('\0') {
        Err("must not contain NUL".to_owned())
    } else {
        Ok(())
    }
}

/// The cache key: `cache:logs:{device_id}:{limit}`, and the filters in one order, however they were written.
fn key(device_id: &str, query: &LogQuery) -> String {
    let mut key = format!("cache:logs:{}:{}", cached::key_part(device_id), query.limit);
    filters(query, &mut key);
    if let Some(cursor) = &query.cursor {
        key.push_str(&format!(":cursor={cursor}"));
    }
    key
}

/// What tells the rows that are wanted, but for their device.
fn filters(query: &LogQuery, key: &mut String) {
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
    if !query.search.is_empty() {
        key.push_str(&format!(":search={}", query.search));
    }
}
