//! The operator's three pages, the same on every process: `/health/live`, `/health/ready`, `/metrics`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::{Health, Metrics};

/// The content type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes of the health.
pub fn health_router<S: Clone + Send + Sync + 'static>(health: Health) -> Router<S> {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready)).with_state(health)
}

/// That of the metrics.
pub fn metrics_router<S: Clone + Send + Sync + 'static>(metrics: Metrics) -> Router<S> {
    Router::new().route("/metrics", get(render)).with_state(metrics)
}

async fn live(State(health): State<Health>) -> Response {
    Json(health.live()).into_response()
}

async fn ready(State(health): State<Health>) -> Response {
    let ready = health.ready().await;
    let status = if ready.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ready)).into_response()
}

async fn render(State(metrics): State<Metrics>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn get_page(health: Health, path: &str) -> (StatusCode, String) {
        let router: Router = health_router(health).merge(metrics_router(Metrics::install().unwrap()));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn health() -> Health {
        Health::new(Duration::from_secs(5))
    }

    #[tokio::test]
    async fn ready_is_200_or_503_and_names_the_checks() {
        let (status, body) = get_page(health(), "/health/ready").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"status":"ready","checks":[]}"#));

        let broken = health();
        broken.register("store", || async { Err("away".to_owned()) });
        let (status, body) = get_page(broken, "/health/ready").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["status"], "not_ready");
        assert_eq!(body["checks"][0]["name"], "store");
        assert_eq!(body["checks"][0]["error"], "away");
    }

    #[tokio::test]
    async fn live_looks_at_no_check() {
        let broken = health();
        broken.register("store", || async { Err("away".to_owned()) });
        let (status, body) = get_page(broken, "/health/live").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"status":"live"}"#));
    }

    #[tokio::test]
    async fn metrics_are_in_the_prometheus_text_format() {
        Metrics::install().unwrap();
        metrics::counter!("sawpit_ops_test_total").increment(3);
        let (status, body) = get_page(health(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.lines().any(|line| line == "sawpit_ops_test_total 3"), "{body}");
    }
}
