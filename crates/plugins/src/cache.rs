//! Compiled plugins on disk, so that a restart does not compile.
//!
//! A compiled file is machine code that runs unchecked. So the folder must be ours alone, files appear in it
//! complete (written aside, then renamed) and with a digest, and their names hold the engine's compatibility hash. It
//! may hold so many bytes: beyond that those files go that were not used for longest.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::EngineError;

/// The folder of compiled plugins.
pub(crate) struct Cache {
    folder: PathBuf,
    engine_hash: u64,
    limit_bytes: u64,
}

/// What follows the dot in the name of a compiled file.
const EXTENSION: &str = "cwasm";
/// The same of one that is being written.
const ASIDE: &str = "tmp";
/// How many names are tried for one that is being written.
const ASIDE_TRIES: usize = 1_000;

impl Cache {
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// A folder that another user owns, or may write.
    pub fn open(folder: &Path, engine: &Engine, limit_bytes: u64) -> Result<Self, EngineError> {
        let wrong = |cause| EngineError::Cache { path: folder.to_owned(), cause };
        make_private(folder).map_err(wrong)?;
        check_private(folder).map_err(wrong)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = Self { folder: folder.to_owned(), engine_hash: hasher.finish(), limit_bytes };
        cache.prune(None);
        Ok(cache)
    }

    fn path(&self, hash: &blake3::Hash) -> PathBuf {
        self.folder.join(format!("{}-{:016x}.{EXTENSION}", hash.to_hex(), self.engine_hash))
    }

    /// What was compiled before. A file that cannot be used is as good as none.
    pub fn get(&self, engine: &Engine, hash: &blake3::Hash) -> Option<Component> {
        let path = self.path(hash);
        if !path.exists() || check_private(&self.folder).is_err() || check_private(&path).is_err() {
            return None;
        }
        let file = fs::read(&path).ok()?;
        let component =
            checked(&file).ok_or_else(|| wasmtime::Error::msg("its digest does not fit")).and_then(|code| {
                // SAFETY: the file is in a folder that only this user may write, belongs to this user, and holds what `put`
                // wrote, as its digest says. wasmtime checks its header against this engine.
                unsafe { Component::deserialize(engine, code) }
            });
        match component {
            Ok(component) => {
                touch(&path);
                Some(component)
            }
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
            .and_then(|code| self.write(&self.path(hash), &with_digest(&code)));
        self.prune(Some(&self.path(hash)));
        if let Err(error) = kept {
            tracing::warn!(folder = %self.folder.display(), "cannot keep a compiled plugin: {error}");
        }
    }

    /// Removes files until what is left is within the limit, but never `newest`, which is about to be used. A file
    /// that another process has open stays readable for it.
    fn prune(&self, newest: Option<&Path>) {
        let mut files = self.files();
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        files.retain(|file| Some(file.path.as_path()) != newest);
        files.sort_by_key(|file| file.used);
        for file in files {
            if bytes <= self.limit_bytes {
                return;
            }
            if fs::remove_file(&file.path).is_ok() {
                bytes = bytes.saturating_sub(file.bytes);
            }
        }
    }

    fn files(&self) -> Vec<Compiled> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let compiled = |path: PathBuf| {
            let meta = fs::symlink_metadata(&path).ok()?;
            Some(Compiled { used: meta.modified().ok()?, bytes: meta.len(), path })
        };
        let paths = entries.map(|entry| entry.path());
        let is_ours = |path: &PathBuf| path.extension().is_some_and(|it| it == EXTENSION || it == ASIDE);
        paths.filter(is_ours).filter_map(compiled).collect()
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = || format!("{}-{}.{ASIDE}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        for _ in 0..ASIDE_TRIES {
            let aside = self.folder.join(name());
            match write_private(&aside, code) {
                // Another process's: in another container it may have our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let _ = fs::remove_file(&aside);
                    return Err(error);
                }
                Ok(()) => return fs::rename(&aside, path),
            }
        }
        Err(io::Error::other("it is full of files that were never finished: remove the .tmp files in it"))
    }
}

/// The code behind its digest: a file that a disk has spoilt must not be run.
fn with_digest(code: &[u8]) -> Vec<u8> {
    [blake3::hash(code).as_bytes(), code].concat()
}

/// The code of a file whose digest fits.
fn checked(file: &[u8]) -> Option<&[u8]> {
    let (digest, code) = file.split_at_checked(blake3::OUT_LEN)?;
    (blake3::hash(code).as_bytes() == digest).then_some(code)
}

/// A compiled file.
struct Compiled {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Notes that the file was used now, by the file system's own clock. That it cannot only makes it look older.
#[cfg(unix)]
fn touch(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _ = utimensat(CWD, path, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty());
}

#[cfg(not(unix))]
fn touch(_: &Path) {}

#[cfg(unix)]
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    // Before the rename: after a power loss the name must not stand for half of the code.
    file.sync_all()
}

#[cfg(not(unix))]
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    fn hash(number: u8) -> blake3::Hash {
        blake3::hash(&[number])
    }

    /// A cache of files of 100 bytes, the first used longest ago.
    fn filled(folder: &Path, files: u8, limit_bytes: u64) -> Cache {
        let cache = Cache { folder: folder.to_owned(), engine_hash: 7, limit_bytes };
        for number in 0..files {
            let path = cache.path(&hash(number));
            cache.write(&path, &[0; 100]).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + u64::from(number));
            fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        cache
    }

    fn kept(cache: &Cache, files: u8) -> Vec<u8> {
        (0..files).filter(|number| cache.path(&hash(*number)).exists()).collect()
    }

    #[test]
    fn what_is_within_the_limit_stays() {
        let folder = TempDir::new().unwrap();
        let cache = filled(folder.path(), 3, 300);
        cache.prune(None);
        assert_eq!(kept(&cache, 3), [0, 1, 2]);
    }

    #[test]
    fn over_the_limit_what_was_not_used_for_longest_goes() {
        let folder = TempDir::new().unwrap();
        let cache = filled(folder.path(), 4, 299);
        touch(&cache.path(&hash(0)));
        cache.prune(None);
        assert_eq!(kept(&cache, 4), [0, 3]);
        fs::write(folder.path().join("9-9.tmp"), [0; 200]).unwrap();
        fs::write(folder.path().join("notes.txt"), [0; 200]).unwrap();
        let cache = Cache { limit_bytes: 0, ..cache };
        cache.prune(Some(&cache.path(&hash(3))));
        assert_eq!(kept(&cache, 4), [3], "what is about to be used stays");
        assert!(!folder.path().join("9-9.tmp").exists() && folder.path().join("notes.txt").exists());
    }

    #[test]
    fn a_file_with_another_bit_or_length_is_not_used() {
        let file = with_digest(b"machine code");
        assert_eq!(checked(&file), Some(&b"machine code"[..]));
        for at in 0..file.len() {
            let mut spoilt = file.clone();
            spoilt[at] ^= 1;
            assert!(checked(&spoilt).is_none() && checked(&file[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn two_processes_of_one_number_do_not_write_one_file() {
        let folder = TempDir::new().unwrap();
        let cache = filled(folder.path(), 0, 0);
        for next in 0..50 {
            fs::write(folder.path().join(format!("{}-{next}.tmp", std::process::id())), "theirs").unwrap();
        }
        cache.write(&cache.path(&hash(1)), b"ours").unwrap();
        assert_eq!(fs::read(cache.path(&hash(1))).unwrap(), b"ours");
        assert_eq!(fs::read(folder.path().join(format!("{}-0.tmp", std::process::id()))).unwrap(), b"theirs");
    }
}
