//! The page to read the API and try it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use common::{host, host_with};
use sawpit_host::HostSettings;
use sawpit_host::access::Access;
use tower::ServiceExt;

/// What an HTML page refers to by `src` and `href`.
fn referred(page: &str) -> Vec<&str> {
    let parts = page.split(['<', '>']);
    let attributes = parts.flat_map(|tag| ["src=\"", "href=\""].map(|name| tag.split_once(name)));
    attributes.flatten().filter_map(|(_, rest)| rest.split('"').next()).collect()
}

fn policy(headers: &HeaderMap) -> &str {
    headers["content-security-policy"].to_str().unwrap()
}

#[tokio::test]
async fn the_page_and_all_that_it_refers_to_are_served() {
    let host = host().await;
    let redirect = host.get("/docs").await;
    assert_eq!((redirect.status.as_u16(), redirect.headers["location"].to_str().unwrap()), (308, "docs/"));
    let page = host.get("/docs/").await.ok(200);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let files = referred(&page.text);
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let name = file.strip_prefix("./").unwrap_or(file);
        assert!(!name.contains('/'), "{file} is not beside the page");
        let request = Request::get(format!("/docs/{name}")).body(Body::empty()).unwrap();
        let answer = host.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{name}");
        assert!(policy(answer.headers()).contains("script-src 'self'"), "{name}");
    }
    let start = host.get("/docs/swagger-initializer.js").await.ok(200);
    assert!(start.text.contains("../openapi.json"), "{}", start.text);
    host.get("/docs/none.js").await.problem(404, "unknown-route");
    host.get("/docs/..%2Findex.html").await.problem(404, "unknown-route");
    assert!(
        policy(&host.get("/openapi.json").await.headers).contains("default-src 'none'; frame"),
        "of the page only"
    );
}

#[tokio::test]
async fn it_needs_no_token_and_knows_of_tokens() {
    let host = host_with(HostSettings { access: Access::Tokens, ..HostSettings::default() }).await;
    host.get("/api/stats").await.problem(401, "unauthorized");
    host.get("/docs/").await.ok(200);
    let document = host.get("/openapi.json").await.ok(200).json;
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    assert_eq!(document["openapi"], "3.1.0");
}
