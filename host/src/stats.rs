//! `GET /api/stats`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::app::App;
use crate::cached::{self, OpenObject, Source};
use crate::problem::Problem;
use crate::query::store_problem;

const KEY: &str = "cache:stats";

/// Totals, per level, per device and rate.
///
/// Cached for a minute; `Cache-Control: no-cache` asks the database.
#[utoipa::path(
    get, path = "/api/stats", tag = "query",
    responses(
        (status = 200, description = "The statistics", body = crate::openapi::StatsAnswer),
        crate::openapi::QueryErrors,
    ),
)]
pub(crate) async fn get_stats(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    if !cached::bypassed(&headers)
        && let Some(bytes) = app.cache.get(KEY).await
    {
        return Ok(OpenObject::from_cache(bytes).respond(Source::Cache));
    }
    let stats = app.store.stats(app.clock.now()).await.map_err(|error| store_problem(&app, error))?;
    let answer = OpenObject::of(&stats)?;
    app.cache.set(KEY, answer.bytes(), app.settings.stats_ttl).await;
    Ok(answer.respond(Source::Database))
}
