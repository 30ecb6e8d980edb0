//! The plugin folder of a run, and the versions that are swapped into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use sawpit_testkit::{ANSWER, GUESTS, Guest, TRAP, TempFolder, answer, on_letter, put};

/// The name of the transformer that fails.
pub const POISON: &str = "poison";

/// The folder that all hosts and workers of a run watch.
pub struct Plugins {
    folder: TempFolder,
    swaps: Mutex<u8>,
}

impl Plugins {
    /// A copy of the compiled examples, changed, and two of chaos's own.
    ///
    /// # Errors
    /// The examples cannot be copied.
    pub fn new(examples: &Path) -> Result<Self> {
        Ok(Self { folder: folder_of(examples)?, swaps: Mutex::new(0) })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts another version of a plugin in place of it, which does other things with logs: the enricher sets another
    /// value, the transformer folds or does not, the filter keeps more or fewer. All of them keep the numbers of logs.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn swap(&self, plugin: usize) -> Result<()> {
        let name = GUESTS.get(plugin).context("no such plugin")?;
        let [wasm, manifest] = ["wasm", "toml"].map(|ending| self.folder.join(&format!("{name}.{ending}")));
        let mut number = self.swaps.lock().unwrap_or_else(PoisonError::into_inner);
        *number = number.wrapping_add(1);
        replace(&wasm, &another_build(fs::read(&wasm)?, *number))?;
        replace(&manifest, another_manifest(&fs::read_to_string(&manifest)?, *number)?.as_bytes())
    }
}

/// The examples with their manifests, the filter told to drop half of what is DEBUG, a transformer that drops all logs of
/// devices called `unwanted-…`, and one that fails on those called `poison-…`, and is called nevertheless.
fn folder_of(examples: &Path) -> Result<TempFolder> {
    let folder = TempFolder::new("plugins");
    for name in GUESTS {
        for ending in ["wasm", "toml"] {
            let file = PathBuf::from(format!("{name}.{ending}"));
            let from = examples.join(&file);
            fs::copy(&from, folder.path().join(&file)).with_context(|| from.display().to_string())?;
        }
    }
    let edit = |file: &str, from: &str, to: &str| -> Result<()> {
        let path = folder.join(file);
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "plugins/{file} has no line {from:?}: change chaos with it");
        Ok(fs::write(path, text.replace(from, to))?)
    };
    edit("filter.toml", "debug_keep = 1.0", "debug_keep = 0.5")?;
    fs::write(folder.join("unwanted.wasm"), dropper().wasm())?;
    fs::write(folder.join("unwanted.toml"), "match = { device_id = \"unwanted-*\" }\n")?;
    // Not on the sample logs of the trial: else it would not serve.
    let poison = Guest::new("transform", on_letter('X', TRAP)).named(POISON, "1.0.0");
    fs::write(folder.join("poison.wasm"), poison.wasm())?;
    let manifest =
        "on_error = \"reject\"\nmatch = { device_id = \"poison-*\" }\nbreaker = { failures = 0 }\n";
    fs::write(folder.join("poison.toml"), manifest)?;
    Ok(folder)
}

/// A transformer that drops every log that it is given.
fn dropper() -> Guest {
    // An entry is the input's place, and the reason's address and length: the guest's name. (wit/plugin.wit)
    let entries = "(local $i i32) (local $to i32)
        (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $i) (i32.load (local.get $logs))))
            (local.set $to (i32.add (i32.const 32768) (i32.mul (local.get $i) (i32.const 12))))
            (i32.store (local.get $to) (local.get $i))
            (i32.store offset=4 (local.get $to) (i32.const 16))
            (i32.store offset=8 (local.get $to) (i32.const 8))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next)))";
    let length = format!("(i32.store (i32.const {}) (i32.load (local.get $logs)))", ANSWER + 24);
    let body = [entries, &put(0, 1), &put(20, 32_768), &length, &answer()].concat();
    Guest::new("transform", body).named("unwanted", "1.0.0")
}

/// By rename, so that nobody reads half of it.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, bytes)?;
    Ok(fs::rename(next, file)?)
}

/// The manifest of another version: one setting of each plugin is changed.
fn another_manifest(text: &str, number: u8) -> Result<String> {
    let another = |line: &str| {
        let (key, value) = line.split_once(" = ")?;
        let value = match (key, value) {
            ("site", _) => &format!("\"version-{number}\""),
            ("debug_keep", "0.5") => "0.75",
            ("debug_keep", _) => "0.5",
            ("fold_seconds", "0") => "60",
            ("fold_seconds", _) => "0",
            _ => return None,
        };
        Some(format!("{key} = {value}"))
    };
    let lines: Vec<_> = text.lines().map(|line| another(line).unwrap_or_else(|| line.to_owned())).collect();
    let changed = lines.join("\n") + "\n";
    anyhow::ensure!(changed != text, "a manifest has no setting that a swap changes: change chaos with it");
    Ok(changed)
}

/// Appends a custom section: another file, the same plugin.
fn another_build(mut wasm: Vec<u8>, number: u8) -> Vec<u8> {
    // Section 0 of 7 bytes: a name of 5, and one byte. (WebAssembly core specification, 5.5.3)
    wasm.extend(*b"\0\x07\x05build");
    wasm.push(number);
    wasm
}

#[cfg(test)]
mod tests {
    use sawpit_testkit::workspace_root;

    use super::*;

    #[test]
    fn each_version_of_each_plugin_is_set_otherwise() {
        for name in GUESTS {
            let file = workspace_root().join("plugins").join(name).join(format!("{name}.toml"));
            let first = fs::read_to_string(file).unwrap();
            let second = another_manifest(&first, 1).unwrap();
            let third = another_manifest(&second, 2).unwrap();
            assert!(first != second && second != third, "{name}");
        }
        assert!(another_manifest("on_error = \"pass\"\n", 1).is_err());
    }
}
