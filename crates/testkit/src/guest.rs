//! Guests for tests, as inline text: a core module is written in WAT against the canonical ABI and gets the
//! types of a world of the `wit` folder, so that it loads as the SDK's modules do. The guests of hostile tests
//! must do what no compiler lets one do.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::workspace_root;

/// Where the answers are put; zeroed memory, so that an untouched one is an empty answer.
pub const ANSWER: u32 = 1024;

/// A guest of a world. `body` are the instructions of its stage, with `$logs` as the batch's address, and
/// leave the answer's address; [`Guest::wasm`] makes a core module with the types of the world.
#[derive(Clone)]
pub struct Guest {
    /// One of `wit/worlds.wit`.
    pub world: &'static str,
    /// What it calls itself.
    pub name: &'static str,
    /// A semantic version, if it behaves.
    pub version: &'static str,
    /// Imports of the core module, as WAT.
    pub imports: String,
    /// More items of the core module: data, globals, functions.
    pub items: String,
    /// Instructions before it describes itself.
    pub describe: String,
    /// Instructions of `configure`, with `$config` and `$len`; leave the answer's address.
    pub configure: String,
    /// Instructions of its stage.
    pub body: String,
    /// The columns it reads, a bit each.
    pub reads: u8,
    /// The version of `sawpit:plugin` that it is built for.
    pub package: &'static str,
    /// Packages to add to the WIT, and what the world imports of them.
    pub extra_wit: Option<(&'static str, &'static str)>,
}

impl Guest {
    /// One of the stage `filter`, `enrich` or `transform` that takes any settings.
    #[must_use]
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

    /// With another name and version.
    #[must_use]
    pub fn named(self, name: &'static str, version: &'static str) -> Self {
        Self { name, version, ..self }
    }

    /// With what the host grants a plugin to speak: `$write` writes to the log, `$add` counts. At 3000 stands `hello`, at 3010
    /// `seen`, and at 3020 `Seen`, which is no name of a counter.
    #[must_use]
    pub fn speaking(self) -> Self {
        let imports = r#"(import "sawpit:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
            (import "sawpit:plugin/counters@0.1.0" "add" (func $add (param i32 i32 i64)))"#;
        let items = r#"(data (i32.const 3000) "hello") (data (i32.const 3010) "seen") (data (i32.const 3020) "Seen")"#;
        Self { imports: imports.to_owned(), items: items.to_owned(), ..self }
    }

    fn stage(&self) -> &'static str {
        self.world.strip_suffix("-plugin").unwrap()
    }

    /// The core module's text.
    #[must_use]
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
    #[must_use]
    pub fn wasm(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let folder = workspace_root().join("wit");
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
#[must_use]
pub fn put(offset: u32, value: u32) -> String {
    format!("(i32.store (i32.const {}) (i32.const {value}))", ANSWER + offset)
}

/// Instructions that leave the answer.
#[must_use]
pub fn answer() -> String {
    format!("(i32.const {ANSWER})")
}

/// Does `then` when a message holds the letter, and answers as an untouched batch is answered.
#[must_use]
pub fn on_letter(letter: char, then: &str) -> String {
    format!(
        "(if (call $has (local.get $logs) (i32.const {})) (then {then})) (i32.const {ANSWER})",
        u32::from(letter)
    )
}

/// Instructions that never end.
pub const ENDLESS: &str = "(loop $forever (br $forever))";
/// Instructions that trap.
pub const TRAP: &str = "unreachable";
