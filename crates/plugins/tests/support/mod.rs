//! Loading and calling the guests of the test kit.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use sawpit_model::{Level, Log, RawObject, Timestamp};
use sawpit_plugins::{Chain, LoadError, Plugin, Runtime, RuntimeSettings};
pub use sawpit_testkit::{ANSWER, ENDLESS, Guest, TRAP, answer, on_letter, put};
use tempfile::TempDir;

pub fn settings() -> RuntimeSettings {
    let mut settings = RuntimeSettings::new(Arc::new(|| Timestamp::from_micros(1_700_000_000_000_000)));
    settings.threads = 4;
    settings.instances = 64;
    settings
}

pub fn runtime() -> Runtime {
    Runtime::new(settings()).unwrap()
}

/// Writes files into a new folder and loads the plugin in it.
pub fn load_with(runtime: &Runtime, wasm: &[u8], manifest: &str) -> Result<Arc<Plugin>, LoadError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, wasm).unwrap();
    if !manifest.is_empty() {
        std::fs::write(folder.path().join("guest.toml"), manifest).unwrap();
    }
    runtime.load(&path)
}

pub fn load(guest: &Guest, manifest: &str) -> Result<Arc<Plugin>, LoadError> {
    load_with(&runtime(), &guest.wasm(), manifest)
}

pub fn chain(guest: &Guest, manifest: &str) -> Chain {
    Chain::new(vec![load(guest, manifest).unwrap_or_else(|error| panic!("{error}"))])
}

pub fn refusal(guest: &Guest, manifest: &str) -> String {
    load(guest, manifest).expect_err("must be refused").to_string()
}

pub fn log(message: &str) -> Log {
    Log {
        device_id: "sensor-1".to_owned(),
        log_level: Level::Info,
        message: message.to_owned(),
        log_data: RawObject::from_trusted(r#"{"a":1}"#),
        received_at: Timestamp::from_micros(1_700_000_000_000_000),
    }
}

pub fn logs(messages: &[&str]) -> Vec<Log> {
    messages.iter().map(|message| log(message)).collect()
}

/// Waits until it holds, or fails after ten seconds. How long it took.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}
