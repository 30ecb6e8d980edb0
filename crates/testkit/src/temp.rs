//! Temporary folders that are swept even after a test process was killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use tempfile::TempDir;

const PREFIX: &str = "sawpit-test-";

/// A folder that is removed when dropped, or by a later test run when its process was killed.
#[derive(Debug)]
pub struct TempFolder(TempDir);

impl TempFolder {
    /// Creates an empty folder that every user may enter (nginx and PostgreSQL drop root's rights).
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    pub fn new(what: &str) -> Self {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let name = format!("{PREFIX}{}-{what}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&name).tempdir();
        let folder = folder.unwrap_or_else(|e| panic!("cannot create a temporary folder: {e}"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        Self(folder)
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path inside the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Removes the folders of test processes that no longer run. Best effort: what cannot be removed stays.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process id in a folder's name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_the_folders_of_dead_processes_only() {
        let mine = TempFolder::new("mine");
        // No process has this id: the kernel's limit is 2^22.
        let dead = std::env::temp_dir().join(format!("{PREFIX}4194999-redis-x"));
        fs::create_dir_all(dead.join("inner")).unwrap();
        sweep();
        assert!(mine.path().exists());
        assert!(!dead.exists());
    }

    #[test]
    fn reads_the_owner_from_the_name() {
        assert_eq!(owner("sawpit-test-12-redis-ab"), Some(12));
        assert_eq!(owner("sawpit-test-x-redis-ab"), None);
        assert_eq!(owner("other-12"), None);
    }
}
