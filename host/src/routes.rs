//! All routes on one screen.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::ingest::{batch, single};
use crate::observe::observe;
use crate::problem::{Kind, Problem};
use crate::{chain_page, openapi, plugins_page, query, stats, tail};

pub(crate) const LOG: &str = "/api/log";
pub(crate) const BATCH: &str = "/api/logs/batch";
pub(crate) const LOGS: &str = "/api/logs";
pub(crate) const DEVICE: &str = "/api/logs/{device_id}";
pub(crate) const TAIL: &str = "/api/tail";
pub(crate) const STATS: &str = "/api/stats";
pub(crate) const PLUGINS: &str = "/api/plugins";
pub(crate) const DIFFERENCES: &str = "/api/plugins/{file}/differences";
pub(crate) const CHAIN: &str = "/api/chains/{id}";
pub(crate) const OPENAPI: &str = "/openapi.json";
const OPS: [&str; 3] = ["/health/live", "/health/ready", "/metrics"];

pub(crate) fn routes(app: App, ops: Router) -> Router {
    Router::new()
        .route(LOG, post(single::post_log))
        // A device may be called "batch", and can then be read as any other.
        .route(BATCH, post(batch::post_batch).get(query::get_logs_of_batch))
        .route(LOGS, get(query::get_all_logs))
        .route(DEVICE, get(query::get_logs))
        .route(TAIL, get(tail::get_tail))
        .route(STATS, get(stats::get_stats))
        .route(CHAIN, get(chain_page::get_chain))
        .route(OPENAPI, get(openapi::get_openapi))
        .with_state(app.clone())
        .merge(plugins_page::plugin_routes(app.registry.clone()))
        .merge(ops)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app, observe))
}

/// The pattern as a label that lives for ever.
pub(crate) fn pattern(matched: &str) -> &'static str {
    let known = [LOG, BATCH, LOGS, DEVICE, TAIL, STATS, PLUGINS, DIFFERENCES, CHAIN, OPENAPI];
    known.into_iter().chain(OPS).find(|pattern| *pattern == matched).unwrap_or("other")
}

async fn unknown_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(Kind::UnknownRoute, format!("{path} is not a route; /openapi.json lists them."))
}

/// `Allow` is added by the router, to the answer of OPTIONS as well.
async fn wrong_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Kind::WrongMethod, "The Allow header names the methods that this path takes.")
        .into_response()
}
