//! Tokens as an operator makes and ends them, and what they open.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{Launch, TempFolder};
use support::{SOON, client, free_address, run, sawpit};

const LOG: &str = r#"{"device_id":"sensor-1","log_level":"info","message":"m"}"#;

fn sawpit_token(data: &TempFolder, args: &[&str]) -> (Option<i32>, String, String) {
    let data = data.path().to_str().unwrap();
    let output = run(&[&["token"], args, &["--data", data]].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

async fn post(url: &str, token: &str) -> StatusCode {
    let request =
        client().build().unwrap().post(format!("{url}/api/log")).header("content-type", "application/json");
    request.bearer_auth(token).body(LOG).send().await.unwrap().status()
}

async fn wait(url: &str, token: &str, status: StatusCode) {
    let deadline = Instant::now() + SOON;
    while post(url, token).await != status {
        assert!(Instant::now() < deadline, "{status} was not answered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_token_opens_the_running_system_until_it_is_revoked() {
    let (data, plugins, address) = (TempFolder::new("data"), TempFolder::new("plugins"), free_address());
    let admin = free_address();
    let process = Launch::new(env!("CARGO_BIN_EXE_sawpit"))
        .args([
            "up",
            "--listen",
            &address.to_string(),
            "--require-token",
            "--admin-listen",
            &admin.to_string(),
        ])
        .args(["--data", data.path().to_str().unwrap(), "--plugins", plugins.path().to_str().unwrap()])
        .start();
    process.wait_http(address, "/health/ready", SOON);
    let url = format!("http://{address}");
    assert_eq!(post(&url, "none").await, StatusCode::UNAUTHORIZED);

    let (code, token, hint) =
        sawpit_token(&data, &["create", "--role", "ingest", "--note", "gateway 7", "--devices", "sensor-*"]);
    assert_eq!((code, token.lines().count()), (Some(0), 1), "{hint}");
    assert!(hint.contains("shown once"), "{hint}");
    wait(&url, &token, StatusCode::ACCEPTED).await;
    let id = token.split('_').nth(1).unwrap().to_owned();
    let (_, list, _) = sawpit_token(&data, &["list"]);
    assert!(list.starts_with(&id) && list.contains("ingest") && list.ends_with("gateway 7"), "{list}");
    assert!(!list.contains(token.rsplit('_').next().unwrap()), "the secret is shown");
    assert_eq!(sawpit_token(&data, &["revoke", &id]).0, Some(0));
    wait(&url, &token, StatusCode::UNAUTHORIZED).await;
    let (code, out, err) = sawpit_token(&data, &["revoke", &token]);
    assert_eq!(code, Some(1), "it is known by its id, and that it is revoked already");
    assert!(err.contains(&id) && !format!("{out}{err}").contains(&token), "{out}{err}");

    for path in ["metrics", "api/plugins"] {
        let status =
            |at: String| async move { client().build().unwrap().get(at).send().await.unwrap().status() };
        assert_eq!(status(format!("http://{address}/{path}")).await, StatusCode::NOT_FOUND);
        assert_eq!(status(format!("http://{admin}/{path}")).await, StatusCode::UNAUTHORIZED);
    }
    let (_, token, _) = sawpit_token(&data, &["create", "--role", "admin"]);
    wait(&url, &token, StatusCode::ACCEPTED).await;
    let load = ["load", "--url", &url, "--seconds", "1", "--rate", "50", "--verify", "--token", &token];
    let output = run(&load);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let said = [process.output(), String::from_utf8_lossy(&output.stdout).into_owned()].concat();
    assert!(!said.contains(token.rsplit('_').next().unwrap()), "a log shows the token: {said}");
}

#[tokio::test]
async fn a_worker_asks_for_a_token_and_answers_as_a_host_does() {
    let (data, plugins, address) = (TempFolder::new("data"), TempFolder::new("plugins"), free_address());
    let database = format!("sqlite:{}", data.join("sawpit.db").display());
    let (_, token, _) = sawpit_token(&data, &["create", "--role", "admin"]);
    let (queue, listen) = (data.join("queue").display().to_string(), address.to_string());
    let worker = sawpit(
        &[
            &["worker", "--listen", &listen, "--require-token", "--queue", &queue, "--store", &database][..],
            &["--plugins", plugins.path().to_str().unwrap()],
        ]
        .concat(),
    );
    worker.wait_http(address, "/health/ready", SOON);
    let ask = async |path: &str, token: Option<&str>| {
        let request = client().build().unwrap().get(format!("http://{address}{path}"));
        let request = request.header("x-request-id", "asked-1");
        let answer = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = answer.send().await.unwrap();
        for (name, value) in [("x-request-id", "asked-1"), ("x-content-type-options", "nosniff")] {
            assert_eq!(answer.headers()[name], value, "{path}");
        }
        (answer.status(), answer.headers()["content-type"].to_str().unwrap().to_owned())
    };
    // It serves from the moment when it knows the tokens, so the first answer is right.
    for path in ["/metrics", "/api/plugins"] {
        assert_eq!(ask(path, Some(&token)).await.0, StatusCode::OK, "{path}");
        for wrong in [None, Some("sawpit_none_none")] {
            let (status, kind) = ask(path, wrong).await;
            assert_eq!(
                (status, kind.as_str()),
                (StatusCode::UNAUTHORIZED, "application/problem+json"),
                "{path}"
            );
        }
    }
    assert_eq!(ask("/health/live", None).await.0, StatusCode::OK);
    let (status, kind) = ask("/nothing", None).await;
    assert_eq!((status, kind.as_str()), (StatusCode::NOT_FOUND, "application/problem+json"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let data = TempFolder::new("data");
    for (args, why) in [
        (&["create"][..], "--role"),
        (&["create", "--role", "boss"], "ingest, read or admin"),
        (&["create", "--role", "ingest", "--devices", "["], "pattern"),
        (&["create", "--role", "ingest", "--devices", ""], "an empty one fits no device"),
        (&["create", "--role", "ingest", "--rate", "0"], "rate"),
        (&["create", "--role", "ingest", "--expires", "soon"], "expires"),
        (&["create", "--role", "ingest", "--note", "two\nlines"], "a line"),
        (&["create", "--role", "read", "--devices", "a*"], "--role ingest only"),
    ] {
        let (code, out, said) = sawpit_token(&data, args);
        assert!(code != Some(0) && said.contains(why) && out.is_empty(), "{args:?}: {said}");
    }
    let both = run(&["up", "--require-token", "--insecure", "--admin-listen", "127.0.0.1:8000"]);
    let said = String::from_utf8_lossy(&both.stderr);
    assert!(said.contains("exclude each other") && said.contains("must be two addresses"), "{said}");
}
