//! The description of the API against the running system: schemathesis makes requests of it, right ones and wrong ones,
//! and looks whether each answer is described.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

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

/// Who asks, and how many examples of each operation are made: most by who may do everything.
const CALLERS: [(Option<&str>, &str); 3] = [(Some("admin"), "25"), (Some("ingest"), "5"), (None, "5")];

#[tokio::test]
async fn every_answer_is_one_that_is_described_whoever_asks() {
    let tool =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/author-tools/schemathesis/bin/schemathesis");
    assert!(tool.exists(), "schemathesis is missing: run `cargo xtask tools`");
    let (folder, plugins, address) = (TempFolder::new("openapi"), example_plugins(), free_address());
    let data = folder.join("data");
    let (data, plugins) = (data.to_str().unwrap(), plugins.path().to_str().unwrap());
    std::fs::create_dir(data).unwrap();
    let listen = address.to_string();
    let flags =
        ["--require-token", "--token-refresh", "200ms", "--text-index", "--data-index", "--plugins", plugins];
    // A token that is made before the start is known from the first request on.
    let tokens = CALLERS.map(|(role, examples)| (role.map(|role| token(role, data)), examples));
    let up = sawpit(&[&["up", "--listen", &listen, "--data", data], &flags[..]].concat());
    up.wait_http(address, "/health/ready", SOON);
    for (token, examples) in tokens {
        let stats = format!("http://{address}/api/stats");
        let asked = support::client().build().unwrap().get(&stats);
        let asked = token.iter().fold(asked, |asked, token| asked.bearer_auth(token));
        assert_ne!(asked.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        conform(&tool, folder.path(), &format!("http://{address}/openapi.json"), token.as_deref(), examples);
    }
}

/// The text of a new token.
fn token(role: &str, data: &str) -> String {
    let made = run(&["token", "create", "--role", role, "--data", data]).stdout;
    String::from_utf8(made).unwrap().trim().to_owned()
}

fn conform(tool: &Path, folder: &Path, description: &str, token: Option<&str>, examples: &str) {
    let header = token.map(|token| format!("Authorization: Bearer {token}"));
    let output = Command::new("timeout")
        .current_dir(folder)
        .args([PATIENCE.as_ref(), tool.as_os_str()])
        .args(["run", description, "--exclude-path", ENDLESS, "--checks", CHECKS])
        .args(header.iter().flat_map(|header| ["--header", header]))
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", "1"])
        .args(["--generation-database", "none", "--no-color"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("11 selected"), "not every operation was tried:\n{said}");
}
