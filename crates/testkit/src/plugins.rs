//! The example plugins, compiled, that the tests load into the real runtime.

use std::path::{Path, PathBuf};

/// The example plugins, in the order of their names in the folder.
pub const GUESTS: [&str; 3] = ["enrich", "filter", "transform"];

/// The folder with the compiled example plugins: `$SAWPIT_TEST_PLUGINS`, else `target/plugins` of the workspace.
///
/// # Panics
/// When one of the three is missing: a test that skipped them would prove nothing.
pub fn plugins_dir() -> PathBuf {
    let given = std::env::var_os("SAWPIT_TEST_PLUGINS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| workspace_root().join("target/plugins"));
    if let Some(missing) = missing_guest(&folder) {
        panic!("{} is missing: run `cargo xtask plugins`", missing.display());
    }
    folder
}

/// The transformer that does to each log what the log asks for (crates/testkit/scramble), compiled.
///
/// # Panics
/// When it is missing.
pub fn scramble() -> PathBuf {
    let file = plugins_dir().join("test/scramble.wasm");
    assert!(file.is_file(), "{} is missing: run `cargo xtask plugins`", file.display());
    file
}

/// The root of this workspace's source.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the kit is two folders below the root").to_owned()
}

fn missing_guest(folder: &Path) -> Option<PathBuf> {
    GUESTS.iter().map(|name| folder.join(name).with_extension("wasm")).find(|file| !file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_plugin_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        for name in GUESTS {
            assert!(missing_guest(folder.path()).is_some_and(|file| file.ends_with(format!("{name}.wasm"))));
            std::fs::write(folder.path().join(format!("{name}.wasm")), "").unwrap();
        }
        assert_eq!(missing_guest(folder.path()), None);
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(workspace_root().join("Cargo.lock").exists());
    }
}
