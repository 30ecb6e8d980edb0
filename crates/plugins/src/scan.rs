//! What is in the folder, by stat alone: no file is opened to find out that nothing changed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::golden::CASES_EXTENSION;
use crate::{LoadError, rollback};

/// What changes whenever a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    len: u64,
    modified: Option<SystemTime>,
    identity: Identity,
}

/// A plugin's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    wasm: FileStamp,
    toml: Option<FileStamp>,
    cases: Option<FileStamp>,
    /// Of the wasm and of the toml.
    signatures: [Option<FileStamp>; 2],
    rolled_back: Option<FileStamp>,
    /// Why it is not even read.
    pub fault: Option<FileFault>,
}

/// What keeps a file from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFault {
    /// Its name is not text.
    NotUtf8,
    /// Its name ends in another spelling of `.wasm`.
    NotLowerCase,
    /// The folder holds too many.
    TooMany { found: usize, limit: usize },
}

impl From<FileFault> for LoadError {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::NotUtf8 => Self::Name { rule: "must be UTF-8" },
            FileFault::NotLowerCase => Self::Name { rule: "must end in .wasm, in lower case" },
            FileFault::TooMany { found, limit } => Self::TooMany { found, limit },
        }
    }
}

impl Stamp {
    /// Whether nothing was written to any of the files for `quiet`: they were moved in whole, or made with an
    /// older time once they were (`cp -p`, `tar`, `rsync`). A time after `now` tells nothing.
    pub fn is_older(&self, quiet: Duration, now: SystemTime) -> bool {
        let others = [self.toml, self.cases, self.rolled_back].into_iter().chain(self.signatures).flatten();
        let is_old = |file: FileStamp| {
            file.modified.and_then(|at| now.duration_since(at).ok()).is_some_and(|age| age >= quiet)
        };
        others.chain([self.wasm]).all(is_old)
    }

    /// The same, with the note of a rollback as it is now.
    pub fn with_note(self, wasm: &Path) -> Self {
        Self { rolled_back: FileStamp::of(&wasm.with_extension(rollback::EXTENSION)), ..self }
    }
}

/// Which file it is, and when it was last touched in any way.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

#[cfg(unix)]
fn identity(meta: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity { device: meta.dev(), inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) }
}

#[cfg(not(unix))]
pub(crate) type Identity = ();

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {}

/// Which folder it is: another one after it was removed and made again.
#[cfg(unix)]
pub(crate) fn folder_identity(folder: &Path) -> Option<(u64, u64)> {
    let identity = identity(&fs::metadata(folder).ok().filter(Metadata::is_dir)?);
    Some((identity.device, identity.inode))
}

#[cfg(not(unix))]
pub(crate) fn folder_identity(folder: &Path) -> Option<(u64, u64)> {
    folder.is_dir().then_some((0, 0))
}

impl FileStamp {
    /// Of whatever is there, so that its replacement is seen; of a link that leads nowhere, the link's own.
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).or_else(|_| fs::symlink_metadata(path)).ok()?;
        Some(Self { len: meta.len(), modified: meta.modified().ok(), identity: identity(&meta) })
    }
}

/// What is in the folder.
pub(crate) struct Found {
    /// By file name, which is their order.
    pub files: BTreeMap<String, Stamp>,
    /// Whether anything is a link: what happens to its target elsewhere, the folder's events do not tell.
    pub has_links: bool,
}

/// All plugins in the folder. Hidden files, as editors and copying tools
/// make them, are left out; what looks like a plugin and cannot be one is in it, to be refused.
pub(crate) fn scan(folder: &Path) -> io::Result<Found> {
    let mut found = Found { files: BTreeMap::new(), has_links: false };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.has_links |= entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let path = entry.path();
        let name = path.file_name().unwrap_or_default();
        let (text, shown) = (name.to_str(), name.to_string_lossy());
        let is_wasm = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm"));
        if !is_wasm || shown.starts_with('.') {
            continue;
        }
        let fault = match text {
            None => Some(FileFault::NotUtf8),
            Some(name) if !name.ends_with(".wasm") => Some(FileFault::NotLowerCase),
            Some(_) => None,
        };
        if let Some(wasm) = FileStamp::of(&path) {
            found.files.insert(shown.into_owned(), stamp(&path, wasm, fault));
        }
    }
    Ok(found)
}

fn stamp(path: &Path, wasm: FileStamp, fault: Option<FileFault>) -> Stamp {
    let beside = |extension| FileStamp::of(&path.with_extension(extension));
    Stamp {
        wasm,
        toml: beside("toml"),
        cases: beside(CASES_EXTENSION),
        signatures: ["wasm.minisig", "toml.minisig"].map(beside),
        rolled_back: beside(rollback::EXTENSION),
        fault,
    }
}

/// At most `limit` of the files, those that serve first. The first that is left out stands for all that are.
pub(crate) fn limited(
    found: BTreeMap<String, Stamp>,
    limit: usize,
    serves: impl Fn(&str) -> bool,
) -> BTreeMap<String, Stamp> {
    if found.len() <= limit {
        return found;
    }
    let fault = Some(FileFault::TooMany { found: found.len(), limit });
    let (serving, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(file, _)| serves(file));
    let mut files = serving.into_iter().chain(others);
    let mut kept: BTreeMap<_, _> = files.by_ref().take(limit).collect();
    kept.extend(files.next().map(|(file, stamp)| (file, Stamp { fault, ..stamp })));
    kept
}
