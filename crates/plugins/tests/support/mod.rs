//! Guests for the tests, as inline text: a core module is written in WAT against the canonical ABI, gets the
//! types of a world of the `wit` folder, and is encoded as a component by the same library as in production.
#![allow(
    dead_code,
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sawpit_model::{Level, Log, RawObject, Timestamp};
use sawpit_plugins::{Chain, LoadError, Plugin, Runtime, RuntimeSettings};
use tempfile::TempDir;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where the answers are put; zeroed memory, so that an untouched one is an empty answer.
pub const ANSWER: u32 = 1024;

pub fn wit_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

/// A guest of a world. `body` are the instructions of its stage, with `$logs` as the batch's address, and
/// leave the answer's address; [`Guest::wasm`] makes a core module with the types of the world.
#[derive(Clone)]
pub struct Guest {
    pub world: &'static str,
    pub name: &'static str,
    pub version: &'static str,
    pub imports: String,
    pub items: String,
    pub describe: String,
    pub configure: String,
    pub body: String,
    pub reads: u8,
    pub package: &'static str,
    pub extra_wit: Option<(&'static str, &'static str)>,
}

impl Guest {
    pub fn new(stage: &'static str, body: impl Into<String>) -> Self {
        let world = match stage {
            "filter" => "filter-plugin",
            "enrich" => "enrich-plugin",
            _ => "transform-plugin",
        };
        Self {
            world,
            name: "guest",
            version: "1.0.0",
            imports: String::new(),
            items: String::new(),
            describe: String::new(),
            configure: format!("i32.const {ANSWER}"),
            body: body.into(),
            reads: 0b1_1111,
            package: "0.1.0",
            extra_wit: None,
        }
    }

    pub fn named(self, name: &'static str, version: &'static str) -> Self {
        Self { name, version, ..self }
    }

    fn stage(&self) -> &'static str {
        self.world.strip_suffix("-plugin").unwrap()
    }

    /// The core module's text.
    pub fn wat(&self) -> String {
        let Self { imports, items, describe, configure, body, reads, name, version, package, .. } = self;
        let (stage, name_len, version_len) = (self.stage(), name.len(), version.len());
        format!(
            r#"(module
  {imports}
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $calls (mut i32) (i32.const 0))
  (data (i32.const 16) "{name}")
  (data (i32.const 128) "{version}")
  (data (i32.const 256) "a guest of the tests")
  {items}
  ;; Whether the byte is in any message of the batch.
  (func $has (param $logs i32) (param $byte i32) (result i32)
    (local $at i32) (local $end i32)
    (local.set $at (i32.load offset=28 (local.get $logs)))
    (local.set $end (i32.add (local.get $at) (i32.load offset=32 (local.get $logs))))
    (block $no
      (loop $next
        (br_if $no (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.eq (i32.load8_u (local.get $at)) (local.get $byte)) (then (return (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (block $done
      (loop $more
        (br_if $done (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))
  (func (export "sawpit:plugin/meta@{package}#describe") (result i32)
    {describe}
    (i32.store (i32.const 512) (i32.const 16)) (i32.store (i32.const 516) (i32.const {name_len}))
    (i32.store (i32.const 520) (i32.const 128)) (i32.store (i32.const 524) (i32.const {version_len}))
    (i32.store (i32.const 528) (i32.const 256)) (i32.store (i32.const 532) (i32.const 20))
    (i32.store8 (i32.const 536) (i32.const {reads}))
    (i32.const 512))
  (func (export "sawpit:plugin/configuration@{package}#configure") (param $config i32) (param $len i32) (result i32)
    {configure})
  (func $body (param $logs i32) (result i32)
    {body})
  (func (export "sawpit:plugin/{stage}@{package}#{stage}") (param $logs i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (memory.fill (i32.const {ANSWER}) (i32.const 0) (i32.const 256))
    (call $body (local.get $logs))
    (global.set $heap (i32.const 65536))))"#
        )
    }

    /// A core module with the section that names its types, as the SDK's are.
    pub fn wasm(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let folder = wit_folder();
        let mut text = String::new();
        for file in ["types", "host", "plugin", "worlds"] {
            let part = std::fs::read_to_string(folder.join(file).with_extension("wit")).unwrap();
            text.push_str(&part.replace("package sawpit:plugin@0.1.0;", ""));
        }
        if let Some((_, import)) = self.extra_wit {
            text = text.replace("    export meta;", &format!("    import {import};\n    export meta;"));
        }
        let mut group = format!("package sawpit:plugin@{};\n{text}", self.package);
        if let Some((packages, _)) = self.extra_wit {
            group.push_str(packages);
        }
        let package = resolve.push_str("test.wit", &group).unwrap();
        let world = resolve.select_world(&[package], Some(self.world)).unwrap();
        let mut module = wat::parse_str(self.wat()).unwrap_or_else(|error| panic!("{error}\n{}", self.wat()));
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        module
    }
}

/// Instructions that store `value` in the answer.
pub fn put(offset: u32, value: u32) -> String {
    format!("(i32.store (i32.const {}) (i32.const {value}))", ANSWER + offset)
}

/// Instructions that leave the answer.
pub fn answer() -> String {
    format!("(i32.const {ANSWER})")
}

/// Does `then` when a message holds the letter, and answers as an untouched batch is answered.
pub fn on_letter(letter: char, then: &str) -> String {
    format!(
        "(if (call $has (local.get $logs) (i32.const {})) (then {then})) (i32.const {ANSWER})",
        u32::from(letter)
    )
}

pub const ENDLESS: &str = "(loop $forever (br $forever))";
pub const TRAP: &str = "unreachable";

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
