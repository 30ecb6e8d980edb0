//! The description of the API against the running system: schemathesis makes requests of it, right ones and wrong ones,
//! and looks whether each answer is described.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use sawpit_testkit::TempFolder;
use support::{SOON, example_plugins, free_address, run, sawpit};

/// No 5xx, and nothing that the description does not say. Not asked for: that a request is taken because its types are
/// right (an Idempotency-Key may be used once), and that GET is described at a path whose device is called "batch".
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                      unsupported_method";

/// Seconds after which the tool is ended; it needs about 30.
const PATIENCE: &str = "600";

/// An answer to /api/tail has no end.
const ENDLESS: &str = "/api/tail";

#[tokio::test]
async fn every_answer_is_one_that_is_described() {
    let tool =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/author-tools/schemathesis/bin/schemathesis");
    assert!(tool.exists(), "schemathesis is missing: run `cargo xtask tools`");
    let (folder, plugins, address) = (TempFolder::new("openapi"), example_plugins(), free_address());
    let data = folder.join("data");
    let (data, plugins) = (data.to_str().unwrap(), plugins.path().to_str().unwrap());
    let listen = address.to_string();
    let flags =
        ["--require-token", "--token-refresh", "200ms", "--text-index", "--data-index", "--plugins", plugins];
    let up = sawpit(&[&["up", "--listen", &listen, "--data", data], &flags[..]].concat());
    up.wait_http(address, "/health/ready", SOON);
    let made = run(&["token", "create", "--role", "admin", "--data", data]).stdout;
    let token = String::from_utf8(made).unwrap().trim().to_owned();
    let stats = format!("http://{address}/api/stats");
    let asks = || support::client().build().unwrap().get(&stats).bearer_auth(&token).send();
    while asks().await.unwrap().status() != StatusCode::OK {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let output = Command::new("timeout")
        .current_dir(folder.path())
        .args([PATIENCE.as_ref(), tool.as_os_str()])
        .args(["run", &format!("http://{address}/openapi.json"), "--exclude-path", ENDLESS])
        .args(["--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "1"])
        .args(["--generation-database", "none", "--no-color"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("11 selected"), "not every operation was tried:\n{said}");
}
