//! All routes on one screen.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::access::{Guard, guard};
use crate::app::App;
use crate::host::Ops;
use crate::ingest::{batch, single};
use crate::manners::mannerly;
use crate::observe::observe;
use crate::problem::{Kind, Problem};
use crate::verdicts::Verdicts;
use crate::{chain_page, docs, openapi, plugins_page, query, stats, tail};

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
pub(crate) const DOCS: &str = "/docs";
pub(crate) const DOCS_PAGE: &str = "/docs/";
pub(crate) const DOCS_FILE: &str = "/docs/{file}";
pub(crate) const LIVE: &str = "/health/live";
pub(crate) const READY: &str = "/health/ready";
pub(crate) const METRICS: &str = "/metrics";

/// The routes of each listener.
pub struct Routers {
    /// What devices and their owners use, and what operators use unless that is apart.
    pub api: Router,
    /// What operators use, where it is apart.
    pub admin: Option<Router>,
    /// What the plugins made of logs, which is to be written a last time when all is answered.
    pub verdicts: Verdicts,
}

pub(crate) fn routes(app: &App, ops: Ops, guard: &Guard) -> Routers {
    let api = Router::new()
        .route(LOG, post(single::post_log))
        // A device may be called "batch", and can then be read as any other.
        .route(BATCH, post(batch::post_batch).get(query::get_logs_of_batch))
        .route(LOGS, get(query::get_all_logs))
        .route(DEVICE, get(query::get_logs))
        .route(TAIL, get(tail::get_tail))
        .route(STATS, get(stats::get_stats))
        .route(CHAIN, get(chain_page::get_chain))
        .route(OPENAPI, get(openapi::get_openapi).with_state(openapi::document(&app.settings)))
        .route(DOCS, get(docs::go_to_page))
        .route(DOCS_PAGE, get(docs::get_page))
        .route(DOCS_FILE, get(docs::get_file))
        .with_state(Arc::clone(app))
        .merge(ops.health.clone());
    let plugins = plugins_page::plugin_routes(app.registry.clone());
    let (api, admin) = match app.settings.admin {
        None => (api.merge(plugins).merge(ops.metrics), None),
        Some(access) => {
            let admin = plugins.merge(ops.metrics).merge(ops.health);
            (api, Some(finish(admin, app, guard.with(access))))
        }
    };
    Routers { api: finish(api, app, guard.clone()), admin, verdicts: app.verdicts.clone() }
}

/// What is around every route. What is added last is outermost.
fn finish(router: Router, app: &App, of_listener: Guard) -> Router {
    let router = router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(of_listener, guard));
    mannerly(router, &app.settings.cors_origins).layer(from_fn_with_state(Arc::clone(app), observe))
}

/// The pattern as a label that lives for ever.
pub(crate) fn pattern(matched: &str) -> &'static str {
    let api = [LOG, BATCH, LOGS, DEVICE, TAIL, STATS, CHAIN, OPENAPI, DOCS, DOCS_PAGE, DOCS_FILE];
    let admin = [PLUGINS, DIFFERENCES, METRICS, LIVE, READY];
    api.into_iter().chain(admin).find(|pattern| *pattern == matched).unwrap_or("other")
}

async fn unknown_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(Kind::UnknownRoute, format!("{path} is not a route; /docs/ lists them."))
}

/// `Allow` is added by the router, to the answer of OPTIONS as well.
async fn wrong_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Kind::WrongMethod, "The Allow header names the methods that this path takes.")
        .into_response()
}
