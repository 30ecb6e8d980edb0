//! The example plugins as they are built, through the whole runtime.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sawpit_model::{Level, RawObject};
use sawpit_plugins::{Chain, Ingested, Plugin, Stage};
use support::*;

/// The built file of an example.
fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("SAWPIT_TEST_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"), PathBuf::from);
    let file = folder.join(name).with_extension("wasm");
    assert!(file.is_file(), "{} is missing: run `cargo xtask plugins`", file.display());
    file
}

fn example(name: &str, manifest: &str) -> Arc<Plugin> {
    let wasm = std::fs::read(built(name)).unwrap();
    load_with(&runtime(), &wasm, manifest).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn each_loads_without_grants_and_says_who_it_is() {
    for (name, stage) in
        [("filter", Stage::Filter), ("enrich", Stage::Enrich), ("transform", Stage::Transform)]
    {
        let plugin = example(name, "");
        assert_eq!(plugin.stages(), [stage]);
        assert!(!plugin.description().help.is_empty());
        assert!(!Chain::new(vec![plugin]).is_empty_for(stage));
    }
}

#[test]
fn the_filter_refuses_a_log_that_breaks_a_rule() {
    let rule = "[[config.rules]]\nfield = \"a\"\ntype = \"number\"\nmax = 5";
    let mut batch = logs(&["good", "bad"]);
    batch[1].log_data = RawObject::from_trusted(r#"{"a":6}"#);
    let results = Chain::new(vec![example("filter", rule)]).ingest(batch);
    assert!(matches!(&results[0], Ingested::Accepted(log) if log.message == "good"), "{results:?}");
    assert!(
        matches!(&results[1], Ingested::Rejected { reason, .. } if reason.contains("log_data.a")),
        "{results:?}"
    );
}

#[test]
fn the_enricher_patches_the_text_of_log_data() {
    let results = Chain::new(vec![example("enrich", "")]).ingest(logs(&["one"; 300]));
    assert_eq!(results.len(), 300);
    for result in results {
        let Ingested::Accepted(log) = result else { panic!("{result:?}") };
        assert_eq!(log.log_data.get("severity_text"), Some(r#""INFO""#));
        assert_eq!(log.log_data.get("a"), Some("1"));
    }
}

#[test]
fn the_transformer_accounts_for_every_log() {
    let mut batch = logs(&["mail to bob@example.com"; 20]);
    batch[3].log_level = Level::Error;
    let result = Chain::new(vec![example("transform", "")]).transform(batch);
    let mut sources: Vec<usize> = result.outputs.iter().flat_map(|output| output.sources.clone()).collect();
    sources.extend(result.dropped.iter().map(|dropped| dropped.input));
    sources.sort_unstable();
    assert_eq!(sources, (0..20).collect::<Vec<_>>(), "{result:?}");
    assert!(result.outputs.iter().all(|output| !output.log.message.contains("bob@")), "{result:?}");
    assert!(result.failed.is_empty());
}

#[test]
fn settings_that_the_plugin_refuses_are_told_in_its_words() {
    let wasm = std::fs::read(built("filter")).unwrap();
    let error = load_with(&runtime(), &wasm, "config = { debug_keep = 2.5 }").expect_err("must be refused");
    assert!(error.to_string().contains("debug_keep is 2.5"), "{error}");
}
