//! Compiled plugins on disk, so that a restart does not compile.
//!
//! A compiled file is machine code that runs unchecked. So the folder must be ours alone, files appear in it
//! complete (written aside, then renamed), and their names hold the engine's compatibility hash.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::EngineError;

/// The folder of compiled plugins.
pub(crate) struct Cache {
    folder: PathBuf,
    engine_hash: u64,
}

impl Cache {
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// A folder that another user owns, or may write.
    pub fn open(folder: &Path, engine: &Engine) -> Result<Self, EngineError> {
        let wrong = |cause| EngineError::Cache { path: folder.to_owned(), cause };
        make_private(folder).map_err(wrong)?;
        check_private(folder).map_err(wrong)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder: folder.to_owned(), engine_hash: hasher.finish() })
    }

    fn path(&self, hash: &blake3::Hash) -> PathBuf {
        self.folder.join(format!("{}-{:016x}.cwasm", hash.to_hex(), self.engine_hash))
    }

    /// What was compiled before. A file that cannot be used is as good as none.
    pub fn get(&self, engine: &Engine, hash: &blake3::Hash) -> Option<Component> {
        let path = self.path(hash);
        if !path.exists() || check_private(&self.folder).is_err() || check_private(&path).is_err() {
            return None;
        }
        // SAFETY: the file is in a folder that only this user may write, belongs to this user, and was
        // renamed there whole by `put`. wasmtime checks its header against this engine.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), "compiling again, the cached file is broken: {error:#}");
                None
            }
        }
    }

    /// Keeps a compiled component. That it cannot is only logged.
    pub fn put(&self, hash: &blake3::Hash, component: &Component) {
        let kept = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.write(&self.path(hash), &code));
        if let Err(error) = kept {
            tracing::warn!(folder = %self.folder.display(), "cannot keep a compiled plugin: {error}");
        }
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let aside =
            self.folder.join(format!("{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let written = write_private(&aside, code).and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }
}

#[cfg(unix)]
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    // Before the rename: after a power loss the name must not stand for half of the code.
    file.sync_all()
}

#[cfg(not(unix))]
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Ours, and nobody else may write it.
#[cfg(unix)]
fn check_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("another user owns it"));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write it: chmod 700"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(drop)
}
