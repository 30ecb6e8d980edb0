//! What projects of several languages have in common: a name, a WIT world, a result.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};

/// The manifest of another tool that may be beside the plugin's.
const NOT_OURS: &str = "pyproject.toml";

/// The files of the folder itself that end so, in the order of their names.
pub fn sources(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension) && path.is_file())
        .collect();
    found.sort();
    found
}

/// The plugin's name where no file of the toolchain holds one: that of its manifest.
pub fn name(folder: &Path) -> Result<String> {
    let manifests: Vec<_> =
        sources(folder, "toml").into_iter().filter(|path| !path.ends_with(NOT_OURS)).collect();
    let stem = |manifest: &Path| manifest.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    // The others are of tools, then.
    if let Some(manifest) = manifests.iter().find(|manifest| manifest.file_stem() == whole.file_name()) {
        return Ok(stem(manifest));
    }
    match manifests.as_slice() {
        [manifest] => Ok(stem(manifest)),
        [] => Err(anyhow!("{} holds no NAME.toml, after which the plugin is called", folder.display())),
        several => Err(anyhow!(
            "{} holds {} .toml files, none of which is called as the folder, and the plugin is called after its own: move \
             the others away",
            folder.display(),
            several.len()
        )),
    }
}

/// The interfaces in wit/, and which world there is the plugin's.
pub fn world(folder: &Path) -> Result<(Resolve, WorldId)> {
    let wit = folder.join("wit");
    ensure!(wit.is_dir(), "{} holds no wit folder: see what `sawpit plugin new` makes", folder.display());
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(&wit).with_context(|| wit.display().to_string())?;
    let world = resolve
        .select_world(&[package], None)
        .with_context(|| format!("{} must have one world, the plugin's", wit.display()))?;
    Ok((resolve, world))
}

/// Puts what a toolchain made beside the manifest, under the plugin's name, in one step.
pub fn take(folder: &Path, name: &str, made: &Path) -> Result<PathBuf> {
    let wasm = folder.join(format!("{name}.wasm"));
    fs::rename(made, &wasm).with_context(|| format!("cannot write {}", wasm.display()))?;
    Ok(wasm)
}

/// Where a toolchain puts what [`take`] takes. A host that watches the folder leaves it alone.
pub fn unfinished(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.wasm.new"))
}
