//! What an operator may drop into the folder.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use sawpit_model::Timestamp;
use sawpit_plugins::{Manifest, Runtime, RuntimeSettings, inspect};

fn settings() -> RuntimeSettings {
    RuntimeSettings { threads: 1, ..RuntimeSettings::new(Arc::new(|| Timestamp::from_micros(0))) }
}

/// A manifest's text.
pub fn manifest(data: &[u8]) {
    static SETTINGS: LazyLock<RuntimeSettings> = LazyLock::new(settings);
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Manifest::parse("x.toml", text, &SETTINGS) {
        Ok(manifest) => {
            assert!((1..=u128::from(Manifest::TIMEOUT_MS_MAX)).contains(&manifest.timeout.as_millis()))
        }
        Err(error) => assert!(error.to_string().contains("x.toml")),
    }
}

/// A plugin's file: it loads, or there is a reason.
pub fn loader(data: &[u8]) {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new(settings()).expect("a runtime"));
    static FILE: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::temp_dir().join(format!("sawpit-fuzz-{}.wasm", std::process::id())));
    std::fs::write(&*FILE, data).expect("the file is written");
    let seen = inspect(&RUNTIME, &FILE);
    assert_eq!(seen.size_bytes, Some(data.len() as u64));
    assert!(seen.refusal.is_none_or(|reason| !reason.is_empty()));
}
