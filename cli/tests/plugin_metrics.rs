//! What `/metrics` tells of plugins, each series provoked in a running system; and that what a plugin is granted works,
//! what it is not does not, and nothing of it shows while it is proved.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use sawpit_testkit::{ENDLESS, Guest, Process, TRAP, TempFolder, answer, on_letter, put};
use support::{Api, SOON, deploy, free_address, sawpit, text};

struct System {
    process: Process,
    address: SocketAddr,
    api: Api,
    plugins: TempFolder,
    _data: TempFolder,
}

impl System {
    /// With these plugins, their manifests and their golden cases.
    fn start(plugins: &[(&str, &Guest, &str, &str)]) -> Self {
        let (data, folder, address) = (TempFolder::new("data"), TempFolder::new("plugins"), free_address());
        for (name, guest, manifest, cases) in plugins {
            let path = folder.join(&format!("{name}.wasm"));
            fs::write(path.with_extension("toml"), manifest).unwrap();
            fs::write(path.with_extension("cases.ndjson"), cases).unwrap();
            fs::write(&path, guest.wasm()).unwrap();
        }
        let paths = [data.path(), folder.path()].map(|path| path.to_str().unwrap().to_owned());
        let listen = address.to_string();
        let process = sawpit(&["up", "--listen", &listen, "--data", &paths[0], "--plugins", &paths[1]]);
        process.wait_http(address, "/health/ready", SOON);
        Self { process, address, api: Api::new(format!("http://{address}")), plugins: folder, _data: data }
    }

    async fn post(&self, message: &str) {
        let log = format!(r#"{{"device_id":"d","log_level":"INFO","message":"{message}"}}"#);
        self.api.post("/api/log", log).await;
    }

    async fn metrics(&self) -> Metrics {
        let page = text(&format!("http://{}/metrics", self.address)).await;
        // Of a series that is there twice Prometheus takes either.
        let mut series = HashSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.rsplit_once(' ').unwrap().0;
            assert!(series.insert(name), "{name} is there twice");
        }
        Metrics(page)
    }

    async fn wait_plugin(&self, file: &str, key: &str, value: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let (_, page) = self.api.get("/api/plugins").await;
            let plugins = page["plugins"].as_array().unwrap();
            if plugins.iter().any(|plugin| plugin["file"] == file && plugin[key] == value) {
                return;
            }
            assert!(Instant::now() < deadline, "{file} never had {key} {value}: {page}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

struct Metrics(String);

impl Metrics {
    /// The value of the series of the metric that has all these labels; none: there is none.
    fn get(&self, metric: &str, labels: &[&str]) -> Option<f64> {
        let is_it = |line: &&str| {
            let rest = line.strip_prefix(metric).filter(|rest| rest.starts_with(['{', ' ']));
            rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
        };
        self.0.lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
    }

    /// The same of a plugin at version 1.0.0.
    fn of(&self, plugin: &str, metric: &str, label: &str) -> Option<f64> {
        let metric = format!("sawpit_plugin_{metric}");
        self.get(&metric, &[&format!("plugin=\"{plugin}\""), "version=\"1.0.0\"", label])
    }
}

fn filter(name: &'static str, letter: char, then: &str) -> Guest {
    Guest::new("filter", on_letter(letter, then)).named(name, "1.0.0")
}

/// A case in which the plugin fails on purpose.
fn fails(message: &str) -> String {
    let log = format!(r#"{{"device_id":"d","log_level":"INFO","message":"{message}"}}"#);
    format!("{{\"name\":\"it fails\",\"log\":{log},\"expect\":{{\"verdict\":\"fail\"}}}}\n")
}

#[tokio::test]
async fn what_plugins_do_is_counted_by_plugin_and_version() {
    let grows = "(drop (memory.grow (i32.const 10)))
        (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))";
    // Verdict 1: drop.
    let drops = "(i32.store8 (i32.const 2048) (i32.const 1))".to_owned() + &put(0, 2048) + &put(4, 1);
    let system = System::start(&[
        ("calm", &filter("calm", 'Z', TRAP), "budget.fuel_per_log = 1000000", ""),
        ("endless", &filter("endless", 'E', ENDLESS), "on_error = \"pass\"", ""),
        ("grows", &filter("grows", 'M', grows), "on_error = \"pass\"\nmemory_mib = 2", ""),
        ("shadow", &filter("shadow", 'S', &drops), "mode = \"shadow\"", ""),
        ("traps", &filter("traps", 'T', TRAP), "on_error = \"pass\"\nbreaker.failures = 2", &fails("T")),
    ]);
    for message in ["fine", "E", "M", "S", "T", "T", "T"] {
        system.post(message).await;
    }
    fs::write(system.plugins.join("junk.wasm"), "junk").unwrap();
    system.wait_plugin("junk.wasm", "state", "refused").await;
    let page = system.metrics().await;
    assert_eq!(page.of("calm", "calls_total", ""), Some(7.0), "{}", page.0);
    assert_eq!(page.of("calm", "logs_total", ""), Some(7.0));
    assert_eq!(page.of("calm", "verdicts_total", "verdict=\"accepted\""), Some(7.0));
    assert_eq!(page.of("calm", "call_seconds_count", ""), Some(7.0));
    assert_eq!(page.of("calm", "loads_total", ""), Some(1.0));
    assert!(page.of("calm", "copied_bytes_total", "direction=\"in\"").unwrap() > 0.0);
    assert!(page.of("calm", "instances", "").unwrap() >= 1.0);
    assert_eq!(page.of("calm", "errors_total", "kind=\"log\""), Some(0.0));
    assert_eq!(page.of("calm", "errors_total", "kind=\"trap\""), None);
    assert_eq!(page.of("endless", "errors_total", "kind=\"deadline\""), Some(1.0));
    assert_eq!(page.of("grows", "errors_total", "kind=\"memory\""), Some(1.0));
    let held = page.of("grows", "memory_high_water_bytes", "").unwrap();
    assert!(held >= f64::from(12 * 65_536), "{held} bytes, and it was refused above that");
    assert_eq!(page.of("traps", "errors_total", "kind=\"trap\""), Some(2.0), "not those of its cases");
    assert_eq!(page.of("traps", "breaker_open", ""), Some(1.0));
    assert_eq!(page.of("traps", "breaker_opened_total", ""), Some(1.0));
    assert_eq!(page.of("traps", "bypassed_logs_total", ""), Some(1.0));
    assert_eq!(page.of("shadow", "shadow_differences_total", ""), Some(1.0));
    assert_eq!(page.get("sawpit_plugin_refusals_total", &["file=\"junk.wasm\""]), Some(1.0));
    assert_eq!(page.get("sawpit_plugin_serving", &[]), Some(5.0));
    assert!(page.get("sawpit_plugin_reloads_total", &[]).unwrap() >= 1.0);
    // Each metric stands on the page once, with its help.
    let mut types: Vec<_> = page.0.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    assert!(
        types
            .iter()
            .all(|line| page.0.contains(line.replace("# TYPE", "# HELP").rsplit_once(' ').unwrap().0))
    );
    let all = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), all);
    assert!(page.0.contains("# HELP sawpit_plugin_calls_total Calls\n"));
}

/// Counts its calls, reads the clock and writes a line, in each call.
fn busybody(name: &'static str) -> Guest {
    let body = format!(
        "(call $add (i32.const 3000) (i32.const 5) (i64.const 1))
         (call $add (i32.const 3005) (i32.const 5) (call $now))
         (call $write (i32.const 1) (i32.const 3010) (i32.const 18)) {}",
        answer()
    );
    let mut guest = Guest::new("filter", body).named(name, "1.0.0");
    guest.imports = r#"(import "sawpit:plugin/counters@0.1.0" "add" (func $add (param i32 i32 i64)))
        (import "sawpit:plugin/clock@0.1.0" "now" (func $now (result i64)))
        (import "sawpit:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#
        .to_owned();
    guest.items = r#"(data (i32.const 3000) "callsmicrohello from a guest")"#.to_owned();
    guest
}

#[tokio::test]
async fn what_is_granted_works_and_nothing_of_it_shows_while_a_plugin_is_proved() {
    let all = "grants = [\"log\", \"clock\", \"counters\"]";
    let system = System::start(&[
        ("loud", &busybody("loud"), all, ""),
        ("quiet", &busybody("quiet"), "grants = [\"clock\", \"counters\"]", ""),
    ]);
    let page = system.metrics().await;
    assert_eq!(page.of("loud", "counter_total", ""), None, "the trial counts nothing");
    assert!(!system.process.output().contains("hello from a guest"), "the trial writes nothing");
    system.post("one").await;
    system.post("two").await;
    let page = system.metrics().await;
    for plugin in ["loud", "quiet"] {
        assert_eq!(page.of(plugin, "counter_total", "counter=\"calls\""), Some(2.0), "{}", page.0);
        let micros = page.of(plugin, "counter_total", "counter=\"micro\"").unwrap();
        assert!(micros > 2.0 * 1.6e15, "{micros} is no sum of two times of now");
    }
    system.process.wait_line("hello from a guest", SOON);
    let lines = system.process.output();
    let said = |plugin: &str| {
        let lines = lines.lines().filter(|line| line.contains("hello from a guest"));
        lines.filter(|line| line.contains(plugin)).count()
    };
    assert_eq!((said("loud"), said("quiet")), (2, 0), "{lines}");
}

/// A version that is gone leaves its metrics for a while, so that they are scraped; the next has its own.
#[tokio::test]
async fn a_new_version_is_counted_apart() {
    let system = System::start(&[("a", &filter("a", 'X', TRAP), "", "")]);
    system.post("one").await;
    let next = Guest { version: "2.0.0", ..filter("a", 'X', TRAP) };
    deploy(&system.plugins.join("a.wasm"), &next.wasm());
    system.wait_plugin("a.wasm", "version", "2.0.0").await;
    system.post("two").await;
    let page = system.metrics().await;
    let calls = |version: &str| page.get("sawpit_plugin_calls_total", &["plugin=\"a\"", version]);
    assert_eq!(
        (calls("version=\"1.0.0\""), calls("version=\"2.0.0\"")),
        (Some(1.0), Some(1.0)),
        "{}",
        page.0
    );
}

/// Series of versions that are gone do not pile up, however often a plugin is replaced.
#[tokio::test]
async fn a_plugin_that_is_replaced_often_leaves_the_metrics_of_its_last_versions() {
    let system = System::start(&[("a", &filter("a", 'X', TRAP), "", "")]);
    for number in 1..=130 {
        let version: &'static str = Box::leak(format!("1.0.{number}").into_boxed_str());
        deploy(&system.plugins.join("a.wasm"), &Guest { version, ..filter("a", 'X', TRAP) }.wasm());
        system.wait_plugin("a.wasm", "version", version).await;
    }
    let page = system.metrics().await;
    let series = page.0.lines().filter(|line| line.starts_with("sawpit_plugin_loads_total{")).count();
    // The one that serves and 100 others; one more may be on its way out.
    assert!((100..=102).contains(&series), "{series} versions are shown");
    assert_eq!(page.get("sawpit_plugin_loads_total", &["version=\"1.0.130\""]), Some(1.0));
}
