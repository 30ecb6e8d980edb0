//! Where things are in the checkout.

use std::path::{Path, PathBuf};

use crate::cmd::{self, Outcome};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where the compiled example plugins go, and where the tests look for them. Not below CARGO_TARGET_DIR:
/// whoever sets that must not have to tell the tests as well.
pub fn built_plugins() -> PathBuf {
    root().join("target/plugins")
}

/// Where the tools are that the tests build plugins of other languages with; the tests look here.
pub fn author_tools() -> PathBuf {
    root().join("target/author-tools")
}

/// The folder that `sawpit up` watches.
pub fn watched_plugins() -> PathBuf {
    root().join("plugins.d")
}

/// The build folder of the plugins: apart, because their compiler may be another than the program's.
pub fn guests_target() -> PathBuf {
    root().join("target/guests")
}

/// Where cargo puts what it builds: `profile` is `debug` or `release`.
///
/// # Errors
/// Cargo does not say.
pub fn target(profile: &str) -> Outcome<PathBuf> {
    let mut metadata = cmd::cargo();
    metadata.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(root());
    let text = cmd::output(&mut metadata).ok_or("`cargo metadata` failed")?;
    // The one field that is wanted, without a JSON library: a path holds no quote unless somebody tries hard.
    let folder = text.split("\"target_directory\":\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(Path::new(folder.ok_or("`cargo metadata` names no target directory")?).join(profile))
}
