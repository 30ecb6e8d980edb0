//! Dependencies point one way, and each heavy library is named by one crate: a test over `cargo metadata`.
//!
//! `deny.toml` says the same of the heavy libraries; this also knows our own crates, and runs with the tests.

use serde_json::Value;

/// Of our crates, those that each may depend on. Dev-dependencies may add those of [`FOR_TESTS`].
const LAYERS: [(&str, &[&str]); 17] = [
    ("sawpit-model", &[]),
    ("sawpit-queue", &["sawpit-model"]),
    ("sawpit-store", &["sawpit-model"]),
    ("sawpit-plugins", &["sawpit-model"]),
    ("sawpit-service", &["sawpit-model"]),
    ("sawpit-testkit", &[]),
    ("sawpit-bench", &["sawpit-testkit", "sawpit-model", "sawpit-plugins", "sawpit-store"]),
    ("sawpit-chaos", &["sawpit-model", "sawpit-queue", "sawpit-service", "sawpit-store", "sawpit-testkit"]),
    ("sawpit-host", &SERVICES),
    ("sawpit-worker", &SERVICES),
    ("sawpit", &PROGRAM),
    ("sawpit-plugin", &[]),
    ("filter", &["sawpit-plugin"]),
    ("enrich", &["sawpit-plugin"]),
    ("transform", &["sawpit-plugin"]),
    ("scramble", &["sawpit-plugin"]),
    ("xtask", &[]),
];

/// What any crate may have as a dev-dependency.
const FOR_TESTS: [&str; 3] = ["sawpit-testkit", "sawpit-chaos", "sawpit-bench"];

const SERVICES: [&str; 5] =
    ["sawpit-model", "sawpit-queue", "sawpit-store", "sawpit-plugins", "sawpit-service"];

const PROGRAM: [&str; 7] = [
    "sawpit-model",
    "sawpit-queue",
    "sawpit-store",
    "sawpit-plugins",
    "sawpit-service",
    "sawpit-host",
    "sawpit-worker",
];

/// Each heavy library, which stands for `NAME-…` too, and who may name it: one crate, and where tests need the
/// very same library, the test kit.
const OWNERS: [(&str, &[&str]); 11] = [
    ("redis", &["sawpit-queue"]),
    ("redb", &["sawpit-queue"]),
    ("sqlx", &["sawpit-store"]),
    ("wasmtime", &["sawpit-plugins"]),
    ("wit-component", &["sawpit-plugins", "sawpit-testkit"]),
    ("notify", &["sawpit-plugins"]),
    ("opentelemetry", &["sawpit-service", "sawpit-testkit"]),
    ("opentelemetry_sdk", &["sawpit-service"]),
    // The first that fits counts: the generators before their family.
    ("wit-bindgen-c", &["sawpit"]),
    ("wit-bindgen-core", &["sawpit"]),
    ("wit-bindgen", &["sawpit-plugin"]),
];

/// What breaks the rules in the output of `cargo metadata --no-deps`, a sentence each.
fn violations(metadata: &Value) -> Vec<String> {
    let packages = list(metadata, "packages");
    packages.iter().flat_map(package_violations).collect()
}

fn package_violations(package: &Value) -> Vec<String> {
    let name = text(package, "name");
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!("{name} has no layer: say in xtask/src/layers.rs what it may depend on")];
    };
    let dependencies = list(package, "dependencies");
    dependencies.iter().filter_map(|dependency| violation(name, allowed, dependency)).collect()
}

fn violation(name: &str, allowed: &[&str], dependency: &Value) -> Option<String> {
    let on = text(dependency, "name");
    if LAYERS.iter().any(|(layer, _)| *layer == on) {
        let for_tests = text(dependency, "kind") == "dev" && FOR_TESTS.contains(&on);
        let fine = for_tests || allowed.contains(&on);
        return (!fine).then(|| format!("{name} must not depend on {on}"));
    }
    let (library, owners) = OWNERS.iter().find(|(library, _)| belongs(on, library))?;
    let refusal = || format!("{name} names {on}; only {} may name {library}", owners.join(" and "));
    (!owners.contains(&name)).then(refusal)
}

/// Whether `name` is the library or one of its family, such as `wasmtime-wasi` of `wasmtime`.
fn belongs(name: &str, library: &str) -> bool {
    name.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_workspace_keeps_the_layers() {
        let mut cargo = crate::cmd::cargo();
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(crate::paths::root());
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(list(&metadata, "packages").len(), LAYERS.len());
        assert_eq!(violations(&metadata), Vec::<String>::new());
    }

    #[track_caller]
    fn check(name: &str, kind: Option<&str>, on: &str, expected: Option<&str>) {
        let dependency = json!({ "name": on, "kind": kind });
        let metadata = json!({ "packages": [{ "name": name, "dependencies": [dependency] }] });
        assert_eq!(violations(&metadata), expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn each_kind_of_violation_is_seen() {
        check("sawpit-queue", None, "sawpit-store", Some("sawpit-queue must not depend on sawpit-store"));
        check(
            "sawpit-queue",
            Some("build"),
            "sawpit-testkit",
            Some("sawpit-queue must not depend on sawpit-testkit"),
        );
        check("sawpit-queue", Some("dev"), "sawpit-testkit", None);
        check("sawpit-host", None, "sawpit-queue", None);
        check("sawpit-host", None, "sawpit-worker", Some("sawpit-host must not depend on sawpit-worker"));
        check("sawpit-queue", None, "redis", None);
        check(
            "sawpit-host",
            None,
            "redis",
            Some("sawpit-host names redis; only sawpit-queue may name redis"),
        );
        check("sawpit", Some("dev"), "sqlx", Some("sawpit names sqlx; only sawpit-store may name sqlx"));
        check(
            "sawpit-worker",
            None,
            "wasmtime-wasi",
            Some("sawpit-worker names wasmtime-wasi; only sawpit-plugins may name wasmtime"),
        );
        check("sawpit", None, "wit-bindgen-c", None);
        check(
            "sawpit",
            None,
            "wit-bindgen",
            Some("sawpit names wit-bindgen; only sawpit-plugin may name wit-bindgen"),
        );
        check("filter", None, "sawpit-model", Some("filter must not depend on sawpit-model"));
        check("sawpit-host", None, "rediscover", None);
    }

    #[test]
    fn a_new_crate_must_be_given_a_layer() {
        let metadata = json!({ "packages": [{ "name": "extra", "dependencies": [] }] });
        assert_eq!(
            violations(&metadata),
            ["extra has no layer: say in xtask/src/layers.rs what it may depend on"]
        );
    }
}
