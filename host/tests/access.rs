//! Who is let in, and to what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request};
use bytes::Bytes;
use common::{Answer, Hosted, answer, host, host_with};
use futures_util::StreamExt;
use sawpit_host::access::{Guard, Secret};
use sawpit_host::{Access, HostSettings, Ops, operator_routes};
use sawpit_model::Level;
use sawpit_store::{Role, Store, StoreSettings, Token};
use tower::ServiceExt;

const LOG: &str = r#"{"device_id":"sensor-1","log_level":"info","message":"m"}"#;

fn tokens() -> HostSettings {
    HostSettings {
        access: Access::Tokens,
        token_refresh: Duration::from_millis(20),
        ..HostSettings::default()
    }
}

/// Makes a token as `sawpit token create` does, and waits until the host knows it.
async fn token(host: &Hosted, number: u8, change: impl FnOnce(&mut Token)) -> String {
    let secret = Secret::from_random(&[number; 55]);
    let mut token = Token {
        id: secret.id().to_owned(),
        digest: secret.digest(),
        role: Role::Ingest,
        note: String::new(),
        devices: None,
        rate: None,
        created_at: host.clock.now(),
        expires_at: None,
    };
    change(&mut token);
    host.store.add_token(&token).await.unwrap();
    wait(host, &secret.text(), |status| status != 401).await;
    secret.text()
}

async fn wait(host: &Hosted, token: &str, fits: impl Fn(u16) -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    // No role covers this one but admin's, so that it is refused without being counted.
    while !fits(call(&host.router, Method::GET, "/metrics", Some(token), "").await.status.as_u16()) {
        assert!(Instant::now() < until, "the change was not noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn call(router: &Router, method: Method, path: &str, token: Option<&str>, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    answer(router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()).await
}

async fn status(host: &Hosted, method: Method, path: &str, token: Option<&str>, body: &str) -> u16 {
    call(&host.router, method, path, token, body).await.status.as_u16()
}

#[tokio::test]
async fn without_tokens_everybody_may_do_everything() {
    let host = host().await;
    assert_eq!(status(&host, Method::POST, "/api/log", None, LOG).await, 202);
    assert_eq!(status(&host, Method::GET, "/metrics", None, "").await, 200);
    assert_eq!(status(&host, Method::GET, "/api/stats", Some("nonsense"), "").await, 200);
}

#[tokio::test]
async fn each_role_may_do_its_own_and_nobody_nothing() {
    let host = host_with(tokens()).await;
    let ingest = token(&host, 1, |_| ()).await;
    let read = token(&host, 2, |token| token.role = Role::Read).await;
    let admin = token(&host, 3, |token| token.role = Role::Admin).await;
    let post = (Method::POST, "/api/log", LOG);
    let batch = (Method::POST, "/api/logs/batch", &*format!(r#"{{"logs":[{LOG}]}}"#));
    let asks = ["/api/logs", "/api/logs/d", "/api/logs/batch", "/api/stats", "/api/chains/none"];
    let operates = ["/api/plugins", "/api/plugins/x.wasm/differences", "/metrics"];
    let allowed = async |token: Option<&str>, (method, path, body): (Method, &str, &str)| {
        let status = status(&host, method, path, token, body).await;
        assert!([200, 202, 404, 401, 403].contains(&status), "{path}: {status}");
        assert!(token.is_some() || status == 401, "{path}: {status}");
        ![401, 403].contains(&status)
    };
    for (who, may) in [
        (Some(&ingest), [true, false, false]),
        (Some(&read), [false, true, false]),
        (Some(&admin), [true, true, true]),
        (None, [false, false, false]),
    ] {
        let who = who.map(String::as_str);
        assert_eq!(allowed(who, post.clone()).await, may[0], "{who:?} posts");
        assert_eq!(allowed(who, batch.clone()).await, may[0], "{who:?} posts a batch");
        for path in asks {
            assert_eq!(allowed(who, (Method::GET, path, "")).await, may[1], "{who:?} {path}");
        }
        for path in operates {
            assert_eq!(allowed(who, (Method::GET, path, "")).await, may[2], "{who:?} {path}");
        }
    }
    for path in ["/health/live", "/openapi.json"] {
        assert_eq!(status(&host, Method::GET, path, None, "").await, 200, "{path}");
    }
    assert_eq!(status(&host, Method::OPTIONS, "/api/log", None, "").await, 204);
    assert_eq!(status(&host, Method::GET, "/api/nothing", None, "").await, 404);
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_not_more() {
    let host = host_with(tokens()).await;
    let good = token(&host, 1, |_| ()).await;
    let answer = call(&host.router, Method::POST, "/api/log", None, LOG).await.problem(401, "unauthorized");
    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"sawpit\"");
    let (wrong, unknown) = (format!("{}a", &good[..good.len() - 1]), Secret::from_random(&[9; 55]).text());
    let mut said = Vec::new();
    for token in [wrong.as_str(), &unknown, "nonsense"] {
        let answer = call(&host.router, Method::POST, "/api/log", Some(token), LOG).await;
        said.push(answer.problem(401, "unauthorized").json["detail"].clone());
    }
    assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
    let answer =
        call(&host.router, Method::GET, "/api/stats", Some(&good), "").await.problem(403, "forbidden");
    assert!(answer.text.contains("role read"), "{}", answer.text);
    // In the URL it would be logged.
    assert_eq!(status(&host, Method::GET, &format!("/api/stats?token={good}"), None, "").await, 401);
}

#[tokio::test]
async fn a_token_that_is_bound_to_devices_posts_for_no_others() {
    let host = host_with(tokens()).await;
    let bound = token(&host, 1, |token| token.devices = Some("sensor-*".to_owned())).await;
    assert_eq!(status(&host, Method::POST, "/api/log", Some(&bound), LOG).await, 202);
    let other = LOG.replace("sensor-1", "door-1");
    let refused = call(&host.router, Method::POST, "/api/log", Some(&bound), &other).await;
    refused.problem(403, "forbidden").field("device_id", "this token may post for");
    let batch = format!(r#"{{"logs":[{LOG},{other},{LOG}]}}"#);
    let part = call(&host.router, Method::POST, "/api/logs/batch", Some(&bound), &batch).await.ok(202).json;
    assert_eq!((part["count"].as_u64(), part["rejected"][0]["index"].as_u64()), (Some(2), Some(1)));
    assert_eq!(part["rejected"][0]["errors"][0]["field"], "logs[1].device_id");
    assert_eq!(host.queue.backlog().await.unwrap(), 3);
    let broken = token(&host, 2, |token| token.devices = Some("[".to_owned())).await;
    assert_eq!(status(&host, Method::POST, "/api/log", Some(&broken), LOG).await, 403);
}

#[tokio::test]
async fn a_token_is_used_no_more_often_than_its_rate() {
    let host = host_with(tokens()).await;
    let slow = token(&host, 1, |token| token.rate = Some(5)).await;
    let free = token(&host, 2, |_| ()).await;
    let batch = format!(r#"{{"logs":[{}]}}"#, vec![LOG; 500].join(","));
    call(&host.router, Method::POST, "/api/logs/batch", Some(&slow), &batch).await.ok(202);
    let refused = call(&host.router, Method::POST, "/api/log", Some(&slow), LOG).await;
    let wait: u64 =
        refused.problem(429, "rate-limited").headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((95..=100).contains(&wait), "{wait}");
    for _ in 0..20 {
        assert_eq!(status(&host, Method::POST, "/api/log", Some(&free), LOG).await, 202);
    }
    let few = token(&host, 3, |token| token.rate = Some(5)).await;
    let mut taken = 0;
    while status(&host, Method::POST, "/api/log", Some(&few), LOG).await == 202 {
        taken += 1;
    }
    assert!((5..=7).contains(&taken), "{taken}");
}

#[tokio::test]
async fn changes_take_effect_while_the_host_runs() {
    let host = host_with(tokens()).await;
    let soon = host.clock.now().as_micros() + 3_600_000_000;
    let ends = token(&host, 1, |token| {
        token.expires_at = Some(sawpit_model::Timestamp::from_micros(soon));
    })
    .await;
    assert_eq!(status(&host, Method::POST, "/api/log", Some(&ends), LOG).await, 202);
    host.clock.advance(Duration::from_secs(3_600));
    assert_eq!(status(&host, Method::POST, "/api/log", Some(&ends), LOG).await, 401);
    let other = token(&host, 2, |_| ()).await;
    assert_eq!(status(&host, Method::POST, "/api/log", Some(&other), LOG).await, 202);
    host.store.revoke_token(Secret::from_random(&[2; 55]).id()).await.unwrap();
    wait(&host, &other, |status| status == 401).await;
    assert_eq!(status(&host, Method::POST, "/api/log", Some(&other), LOG).await, 401);
}

#[tokio::test]
async fn a_database_that_is_away_locks_nobody_out() {
    let host = host_with(tokens()).await;
    let ingest = token(&host, 1, |_| ()).await;
    host.store.close().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(status(&host, Method::POST, "/api/log", Some(&ingest), LOG).await, 202);
}

/// Follows new logs; the answer's body.
async fn follow(host: &Hosted, token: &str) -> BodyDataStream {
    let request = Request::get("/api/tail").header("authorization", format!("Bearer {token}"));
    let response = host.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().into_data_stream()
}

/// A row, as a worker tells it.
async fn tell(host: &Hosted) {
    let row = r#"{"message_id":"1-0","device_id":"d","log_level":"INFO","message":"m","log_data":{}}"#;
    host.cache.feed().publish(|| row.into()).await;
}

async fn next(stream: &mut BodyDataStream) -> Option<Result<Bytes, axum::Error>> {
    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("an event, or the end")
}

#[tokio::test]
async fn who_follows_is_cut_when_the_token_is_revoked_or_expires() {
    let host = host_with(tokens()).await;
    let soon = host.clock.now().as_micros() + 60_000_000;
    let read = |token: &mut Token| token.role = Role::Read;
    let revoked = token(&host, 1, read).await;
    let expires = token(&host, 2, |token| {
        read(token);
        token.expires_at = Some(sawpit_model::Timestamp::from_micros(soon));
    })
    .await;
    let stays = token(&host, 3, read).await;
    let mut streams =
        [follow(&host, &revoked).await, follow(&host, &expires).await, follow(&host, &stays).await];
    tell(&host).await;
    for stream in &mut streams {
        assert!(next(stream).await.is_some());
    }
    let [revoked, expires, stays] = &mut streams;
    host.store.revoke_token(Secret::from_random(&[1; 55]).id()).await.unwrap();
    assert!(next(revoked).await.is_none(), "nothing comes meanwhile, and the stream ends all the same");
    host.clock.advance(Duration::from_secs(60));
    tell(&host).await;
    assert!(next(expires).await.is_none(), "a row that comes after its end is not shown");
    assert!(next(stays).await.is_some());
}

#[tokio::test]
async fn an_export_breaks_off_when_its_token_is_revoked() {
    let host = host_with(tokens()).await;
    host.store_rows("d", 1..=500, Level::Info).await;
    let reader = token(&host, 1, |token| token.role = Role::Read).await;
    let request = Request::get("/api/logs?format=ndjson").header("authorization", format!("Bearer {reader}"));
    let response = host.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut pages = response.into_body().into_data_stream();
    assert!(next(&mut pages).await.unwrap().is_ok());
    host.store.revoke_token(Secret::from_random(&[1; 55]).id()).await.unwrap();
    wait(&host, &reader, |status| status == 401).await;
    assert!(next(&mut pages).await.unwrap().is_err(), "not an end that looks as if all had come");
}

#[tokio::test]
async fn of_two_tokens_none_is_taken() {
    let host = host_with(tokens()).await;
    let reader = token(&host, 1, |token| token.role = Role::Read).await;
    let request = Request::get("/api/stats").header("authorization", format!("Bearer {reader}"));
    let request = request.header("authorization", "Bearer other").body(Body::empty()).unwrap();
    answer(host.router.clone().oneshot(request).await.unwrap()).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn nobody_is_refused_before_the_tokens_were_read() {
    let host = host_with(tokens()).await;
    let good = token(&host, 1, |_| ()).await;
    let store = StoreSettings {
        url: format!("sqlite:{}", host.folder.join("other.db").display()),
        ..StoreSettings::default()
    };
    let away = Store::open(store, host.clock.now()).await.unwrap();
    away.close().await;
    let guard = Guard::new(Access::Tokens, away, host.clock.clone(), Duration::from_millis(20));
    let router = operator_routes(host.registry.clone(), Ops::default(), guard.clone(), host.clock.now());
    let answer = call(&router, Method::GET, "/api/plugins", Some(&good), "").await;
    assert_eq!(answer.problem(503, "store-unavailable").retry_after(), 1);
    call(&router, Method::GET, "/api/plugins", None, "").await.problem(401, "unauthorized");
    assert!(tokio::time::timeout(Duration::from_millis(200), guard.knows_tokens()).await.is_err());
    let guard =
        Guard::new(Access::Tokens, host.store.clone(), host.clock.clone(), Duration::from_secs(3_600));
    tokio::time::timeout(Duration::from_secs(20), guard.knows_tokens())
        .await
        .expect("the tokens can be read");
    let router = operator_routes(host.registry.clone(), Ops::default(), guard, host.clock.now());
    assert_eq!(call(&router, Method::GET, "/api/plugins", Some(&good), "").await.status, 403);
}

#[tokio::test]
async fn two_owners_with_the_same_idempotency_key_do_not_meet() {
    let host = host_with(tokens()).await;
    let (one, two) = (token(&host, 1, |_| ()).await, token(&host, 2, |_| ()).await);
    let post = async |token: &str| {
        let request = Request::post("/api/log")
            .header("content-type", "application/json")
            .header("idempotency-key", "\"k\"")
            .header("authorization", format!("Bearer {token}"));
        let answered = host.send(request.body(Body::from(LOG)).unwrap()).await.ok(202);
        answered.json["message_id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (post(&one).await, post(&two).await);
    assert_ne!(first, second);
    assert_eq!((post(&one).await, post(&two).await), (first, second));
}

#[tokio::test]
async fn operators_can_have_a_listener_of_their_own() {
    let host = host_with(HostSettings { admin: Some(Access::Open), ..tokens() }).await;
    let admin = host.admin.clone().unwrap();
    for path in ["/metrics", "/api/plugins"] {
        assert_eq!(call(&admin, Method::GET, path, None, "").await.status, 200, "{path}");
        assert_eq!(status(&host, Method::GET, path, None, "").await, 404, "{path}");
    }
    for router in [&admin, &host.router] {
        assert_eq!(call(router, Method::GET, "/health/live", None, "").await.status, 200);
    }
    let unknown = call(&admin, Method::POST, "/api/log", None, LOG).await.problem(404, "unknown-route");
    assert!(!unknown.text.contains("/docs/") && unknown.text.contains("/metrics"), "{}", unknown.text);
    let closed = host_with(HostSettings { admin: Some(Access::Tokens), ..HostSettings::default() }).await;
    assert_eq!(call(&closed.admin.unwrap(), Method::GET, "/metrics", None, "").await.status, 401);
}
