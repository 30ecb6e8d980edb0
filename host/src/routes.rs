//! All routes on one screen.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sawpit_model::Timestamp;
use sawpit_plugins::Registry;
use sawpit_service::{Throttle, Tracer};
use tower::ServiceBuilder;

use crate::access::{Guard, guard};
use crate::app::App;
use crate::come_back::ComeBack;
use crate::host::Ops;
use crate::ingest::{batch, single};
use crate::manners::{CorsOrigins, compression, cross_origin, usual};
use crate::observe::{Around, ERRORS_EVERY, RequestIds, observe};
use crate::problem::{Kind, Problem};
use crate::settings::HostSettings;
use crate::unpack::unpack;
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
    /// Who is let in by either; to be waited for ([`Guard::knows_tokens`]) before anything is served.
    pub guard: Guard,
}

pub(crate) fn routes(app: &App, ops: Ops, guard: &Guard, strictest: Guard) -> Routers {
    let finish = |router, guard| finish(router, &app.settings.cors_origins, guard, Around::of(app));
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
            (api, Some(finish(admin.fallback(unknown_operator_route), guard.with(access))))
        }
    };
    let api = finish(api.fallback(unknown_route), guard.clone());
    Routers { api, admin, verdicts: app.verdicts.clone(), guard: strictest }
}

/// The pages that operators ask a process for that has no API: health, metrics and plugins. They are answered as a host's
/// are. `started` makes the ids of requests differ from those of another process.
pub fn operator_routes(registry: Registry, ops: Ops, of_listener: Guard, started: Timestamp) -> Router {
    let settings = HostSettings::default();
    let around = Around {
        request_ids: Arc::new(RequestIds::new(started)),
        tracer: Tracer::off(),
        limit: settings.request_timeout,
        come_back: Arc::new(ComeBack::new(&settings)),
        errors: Throttle::new(ERRORS_EVERY),
    };
    let router = plugins_page::plugin_routes(registry).merge(ops.metrics).merge(ops.health);
    finish(router.fallback(unknown_operator_route), &settings.cors_origins, of_listener, Arc::new(around))
}

/// What is around every route, the outermost first. All of it is one layer of the router: each layer of its own would be
/// boxed, and cloned with all within it, for every request.
fn finish(router: Router, origins: &CorsOrigins, of_listener: Guard, around: Arc<Around>) -> Router {
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(around, observe))
        .option_layer(cross_origin(origins))
        .map_response(usual)
        .layer(from_fn_with_state(of_listener, guard))
        .layer(compression())
        .map_request(unpack);
    router.method_not_allowed_fallback(wrong_method).layer(layers)
}

/// The pattern as a label that lives for ever. Who reads at the path of batches reads the device of that name.
pub(crate) fn pattern(matched: &str, method: &Method) -> &'static str {
    if matched == BATCH && matches!(*method, Method::GET | Method::HEAD) {
        return DEVICE;
    }
    let api = [LOG, BATCH, LOGS, DEVICE, TAIL, STATS, CHAIN, OPENAPI, DOCS, DOCS_PAGE, DOCS_FILE];
    let admin = [PLUGINS, DIFFERENCES, METRICS, LIVE, READY];
    api.into_iter().chain(admin).find(|pattern| *pattern == matched).unwrap_or("other")
}

/// The methods that a route takes. The router knows them too, but for OPTIONS, which is answered everywhere.
pub(crate) fn methods(matched: &str) -> &'static str {
    match matched {
        LOG => "POST,OPTIONS",
        BATCH => "GET,HEAD,POST,OPTIONS",
        _ => "GET,HEAD,OPTIONS",
    }
}

async fn unknown_route(uri: Uri) -> Problem {
    no_route(&uri, "/docs/ lists them")
}

async fn unknown_operator_route(uri: Uri) -> Problem {
    no_route(&uri, "there are /health/live, /health/ready, /metrics and /api/plugins here")
}

fn no_route(uri: &Uri, instead: &str) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(Kind::UnknownRoute, format!("{path} is not a route; {instead}."))
}

/// `Allow` is added to the answer, of OPTIONS as well, where the path is known.
async fn wrong_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Kind::WrongMethod, "The Allow header names the methods that this path takes.")
        .into_response()
}
