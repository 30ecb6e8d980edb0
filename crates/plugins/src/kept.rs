//! The last version of each file that served, on disk: a file that is refused after a restart, or that is a canary
//! then, still has the version before it.
//!
//! It is kept with its manifest, cases and signatures, and proved like any file before it serves again. The folder
//! is in the compile cache's, which only this user may write.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::source::Source;
use crate::{LoadError, RuntimeSettings};

/// The kept versions of one plugin folder.
pub(crate) struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// None where there is no cache folder, or it cannot be used; then versions are kept in memory only.
    pub fn open(settings: &RuntimeSettings, plugins: &Path) -> Option<Self> {
        let cache = settings.cache_dir.as_deref()?;
        let plugins = fs::canonicalize(plugins).ok()?;
        let name = blake3::hash(plugins.as_os_str().as_encoded_bytes()).to_hex();
        let folder = cache.join(format!("kept-{}", name.get(..16).unwrap_or_default()));
        match fs::create_dir_all(&folder) {
            Ok(()) => Some(Self { folder }),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), "versions are not kept for the next start: {error}");
                None
            }
        }
    }

    /// Keeps what serves now in the place of what was kept of the file before. That it cannot is only logged.
    pub fn save(&self, source: &Source) {
        if let Err(error) = self.replace(source) {
            tracing::warn!(file = source.file, "the version is not kept for the next start: {error}");
        }
    }

    /// Whatever ends the process in between, no wasm is there beside the manifest of another version.
    fn replace(&self, source: &Source) -> io::Result<()> {
        let files = source.files();
        let is_kept = |(name, bytes): &(String, Option<&[u8]>)| {
            fs::read(self.folder.join(name)).ok().as_deref() == *bytes
        };
        if files.iter().all(is_kept) {
            return Ok(());
        }
        self.put(&source.file, None)?;
        files.iter().try_for_each(|(name, bytes)| self.put(name, *bytes))
    }

    /// Written aside, then renamed; nothing to keep: removed.
    fn put(&self, name: &str, bytes: Option<&[u8]>) -> io::Result<()> {
        let path = self.folder.join(name);
        match bytes {
            Some(bytes) => {
                let next = self.folder.join(format!(".{name}.{}", std::process::id()));
                fs::write(&next, bytes)?;
                fs::rename(&next, &path)
            }
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// What was kept of the file, if anything was.
    pub fn read(&self, file: &str, settings: &RuntimeSettings) -> Option<Result<Source, LoadError>> {
        let path = self.folder.join(file);
        path.exists().then(|| Source::read(&path, settings))
    }

    /// Forgets every file but these: what was taken out of the folder must not come back.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let stem = Source::stem_of(&name.to_string_lossy()).map(|stem| format!("{stem}.wasm"));
            if !stem.is_some_and(|file| is_there(&file)) {
                let _ = fs::remove_file(entry.path()); // It is tried again at the next change.
            }
        }
    }
}
