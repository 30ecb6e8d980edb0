//! A guest as the Rust compiler makes it for wasm32-wasip2: a component that imports WASI, and gets an empty one. Source
//! and recipe: tests/wasip2.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use sawpit_plugins::{Chain, Ingested, inspect};
use support::*;

fn wasm() -> Vec<u8> {
    std::fs::read(sawpit_testkit::workspace_root().join("crates/plugins/tests/wasip2.wasm")).unwrap()
}

#[test]
fn a_component_of_wasm32_wasip2_serves_and_finds_nothing_of_the_system() {
    let runtime = runtime();
    let chain = Chain::new(vec![load_with(&runtime, &wasm(), "").unwrap()]);
    let asked = logs(&["files", "variables", "arguments", "network", "anything else"]);
    let out = chain.ingest(asked.clone());
    let fine: Vec<_> = asked.into_iter().map(Ingested::Accepted).collect();
    assert_eq!(out, fine, "what it finds it rejects");
}

#[test]
fn what_it_prints_and_where_it_panics_is_shown_with_its_error() {
    let chain = Chain::new(vec![load_with(&runtime(), &wasm(), "").unwrap()]);
    let out = chain.ingest(logs(&["panic"]));
    let Ingested::Failed { error, .. } = &out[0] else { panic!("{out:?}") };
    for said in ["printed by a guest of wasm32-wasip2", "this is the end", "src/lib.rs"] {
        assert!(error.contains(said), "{said} is not in {error}");
    }
}

#[test]
fn it_is_a_component_that_imports_wasi() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, wasm()).unwrap();
    let seen = inspect(&runtime(), &path);
    assert_eq!((seen.kind, seen.refusal), (Some("component"), None));
    assert!(seen.imports.iter().any(|name| name.starts_with("wasi:cli/")), "{:?}", seen.imports);
}
