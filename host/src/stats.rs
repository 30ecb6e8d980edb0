//! `GET /api/stats`.

use std::time::Instant;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::app::{App, Shared};
use crate::cached::{self, OpenObject, Source};
use crate::no_parameters::NoParameters;
use crate::problem::Problem;
use crate::query::store_problem;

const KEY: &str = "cache:stats";

/// Totals, per level, per device and rate.
///
/// Cached for a minute; `Cache-Control: no-cache` asks the database.
#[utoipa::path(
    get, path = "/api/stats", tag = "query",
    params(crate::openapi::Cached, crate::openapi::Known),
    responses(
        (status = 200, description = "The statistics", body = crate::openapi::StatsAnswer,
            headers(("ETag" = String, description = "Names this answer, for If-None-Match"))),
        (status = 304, description = "The client has these already",
            headers(("ETag" = String, description = "As it was sent"))),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_stats(
    _: NoParameters,
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if cached::bypassed(&headers) {
        cached::count("stats", "bypass");
        return Ok(ask_and_keep(&app).await?.respond(Source::Database, &headers));
    }
    if let Some(bytes) = app.cache.get(KEY).await {
        cached::count("stats", "hit");
        return Ok(OpenObject::from_cache(bytes).respond(Source::Cache, &headers));
    }
    cached::count("stats", "miss");
    // The cached answer may be a minute old: one that is asked for already is fresh enough.
    let answer = app.flights.share(KEY.to_owned(), || ask_and_keep(&app)).await?;
    Ok(answer.respond(Source::Database, &headers))
}

async fn ask_and_keep(app: &Shared) -> Result<OpenObject, Problem> {
    let started = Instant::now();
    let stats = app.store.stats(app.clock.now()).await.map_err(|error| store_problem(app, error))?;
    metrics::histogram!("sawpit_query_database_seconds", "query" => "stats")
        .record(started.elapsed().as_secs_f64());
    let answer = OpenObject::of(&stats)?;
    app.cache.set(KEY, answer.bytes(), app.settings.stats_ttl).await;
    Ok(answer)
}
