//! Where things are in the checkout.

use std::path::{Path, PathBuf};

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

/// The folder that `sawpit up` watches.
pub fn watched_plugins() -> PathBuf {
    root().join("plugins.d")
}

/// The build folder of the plugins: apart, because their compiler may be another than the program's.
pub fn guests_target() -> PathBuf {
    root().join("target/guests")
}
