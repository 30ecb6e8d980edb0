//! `NAME.rolled-back` beside `NAME.wasm`: which version was taken back, and why.
//!
//! It is written by the process that found the version wanting, and obeyed by all that share the folder, also
//! after a restart. Another version of the file makes it void; the operator removes it to try the same again.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::LoadError;
use crate::canary::Canary;
use crate::files::open_regular;
use crate::registry::Watched;
use crate::slot::Slot;

/// The file's extension.
pub(crate) const EXTENSION: &str = "rolled-back";
/// More than this is not read, in bytes.
const BYTES: u64 = 8_192;
/// The reason is cut to this many characters, which fit into it whatever they are.
const REASON_CHARS: usize = 1_000;

fn path_of(folder: &Path, file: &str) -> PathBuf {
    folder.join(file).with_extension(EXTENSION)
}

/// Notes that the version with this hash was taken back from the file.
pub(crate) fn note(folder: &Path, file: &str, hash: &str, reason: &str) -> io::Result<()> {
    let path = path_of(folder, file);
    let next = folder.join(format!(".{file}.{EXTENSION}"));
    let line: String =
        reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARS).collect();
    // What lies there may be a link or a pipe of somebody else's.
    let _ = fs::remove_file(&next);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&next)?;
    file.write_all(format!("{hash}\n{line}\n").as_bytes())?;
    fs::rename(&next, &path)
}

/// The text of the note beside the file, or nothing.
pub(crate) fn read(folder: &Path, file: &str) -> String {
    let mut text = String::new();
    let read =
        open_regular(&path_of(folder, file)).and_then(|note| note.take(BYTES).read_to_string(&mut text));
    // A note that is not there or cannot be read notes nothing.
    read.map_or_else(|_| String::new(), |_| text)
}

/// # Errors
/// When `note` is about the version with this hash.
pub(crate) fn check(note: &str, file: &str, hash: &str) -> Result<(), LoadError> {
    match note.split_once('\n') {
        Some((noted, reason)) if noted == hash => Err(error(file, reason.trim_end().to_owned())),
        _ => Ok(()),
    }
}

/// Why a version of the file that was taken back may not serve.
pub(crate) fn error(file: &str, reason: String) -> LoadError {
    LoadError::RolledBack { reason, note: Path::new(file).with_extension(EXTENSION).display().to_string() }
}

impl Watched {
    /// Takes versions on trial back that fail or cost more than the one before them.
    pub(crate) fn judge(&self) {
        let _one_at_a_time = self.changing();
        let fault = |slot: &Slot| Some((slot.clone(), slot.canary.clone()?, slot.canary.as_ref()?.fault()?));
        let faults: Vec<_> = self.slots().values().filter_map(fault).collect();
        if faults.is_empty() {
            return;
        }
        for (slot, canary, reason) in faults {
            let slot = self.take_back(slot, &canary, reason);
            self.slots().insert(slot.file.clone(), slot);
        }
        self.swap();
    }

    fn take_back(&self, mut slot: Slot, canary: &Canary, reason: String) -> Slot {
        canary.plugin.meter.rolled_back();
        if let Err(error) = note(&self.folder, &slot.file, canary.plugin.hash(), &reason) {
            let file = &slot.file;
            tracing::warn!(
                file,
                "the rollback cannot be noted in the folder, so this process alone knows: {error}"
            );
        }
        slot.canary = None;
        // Our own note is no news, and its removal is.
        slot.stamp = slot.stamp.map(|stamp| stamp.with_note(&self.folder.join(&slot.file)));
        let error = error(&slot.file, reason);
        slot.refuse(&error, &self.refusals, (self.runtime.settings().clock)())
    }
}
