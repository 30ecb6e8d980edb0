//! A file that is not written before it is known to be good.
//!
//! Opening a file that was not closed well repairs it, and the library writes into it before it knows whether that can
//! work: a file that was cut off comes out changed, and with it what a person might have mended. So all that is written
//! while the file is opened stays in memory, in order, and goes to the file, in that order, once it is open.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// A file; a handle of it is with the library, another with who opens it.
#[derive(Clone, Debug)]
pub(super) struct Careful(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: FileBackend,
    /// None once the file is open.
    held_back: Mutex<Option<Vec<Change>>>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl Careful {
    /// Opens the file, or makes an empty one.
    pub(super) fn open(path: &Path) -> std::result::Result<Self, DatabaseError> {
        let file: File = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let held_back = Mutex::new(Some(Vec::new()));
        Ok(Self(Arc::new(Inner { file: FileBackend::new(file)?, held_back })))
    }

    /// Writes what was held back; from now on all is written at once.
    pub(super) fn release(&self) -> Result<()> {
        let mut held_back = self.held_back();
        for change in held_back.take().unwrap_or_default() {
            match change {
                Change::Write(at, bytes) => self.0.file.write(at, &bytes)?,
                Change::Length(length) => self.0.file.set_len(length)?,
                Change::Sync => self.0.file.sync_data()?,
            }
        }
        self.0.file.sync_data()
    }

    fn held_back(&self) -> MutexGuard<'_, Option<Vec<Change>>> {
        self.0.held_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a change back, or gives it back to be made.
    fn hold_back(&self, change: Change) -> Option<Change> {
        match &mut *self.held_back() {
            Some(changes) => {
                changes.push(change);
                None
            }
            None => Some(change),
        }
    }
}

fn length(on_disk: u64, changes: &[Change]) -> u64 {
    changes.iter().fold(on_disk, |length, change| match change {
        Change::Write(at, bytes) => length.max(at.saturating_add(bytes.len() as u64)),
        Change::Length(length) => *length,
        Change::Sync => length,
    })
}

/// The part of `out`, which begins at `offset`, that lies from `from` to `to`, and where in it that part begins.
fn part(out: &mut [u8], offset: u64, from: u64, to: u64) -> Option<(&mut [u8], u64)> {
    let end = offset.saturating_add(out.len() as u64);
    let (from, to) = (from.clamp(offset, end), to.clamp(offset, end));
    let range = usize::try_from(from - offset).ok()?..usize::try_from(to.max(from) - offset).ok()?;
    out.get_mut(range).filter(|part| !part.is_empty()).map(|part| (part, from))
}

/// What is in the file, changed by what is held back.
fn read(file: &FileBackend, changes: &[Change], offset: u64, out: &mut [u8]) -> Result<()> {
    let on_disk = file.len()?;
    if offset.saturating_add(out.len() as u64) > length(on_disk, changes) {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the file is shorter than it says"));
    }
    out.fill(0);
    if let Some((part, from)) = part(out, offset, 0, on_disk) {
        file.read(from, part)?;
    }
    for change in changes {
        match change {
            Change::Write(at, bytes) => {
                let Some((part, from)) = part(out, offset, *at, at.saturating_add(bytes.len() as u64)) else {
                    continue;
                };
                let skip = usize::try_from(from - at).unwrap_or(usize::MAX);
                part.iter_mut().zip(bytes.iter().skip(skip)).for_each(|(byte, new)| *byte = *new);
            }
            Change::Length(length) => {
                if let Some((cut, _)) = part(out, offset, *length, u64::MAX) {
                    cut.fill(0);
                }
            }
            Change::Sync => {}
        }
    }
    Ok(())
}

impl StorageBackend for Careful {
    fn len(&self) -> Result<u64> {
        let on_disk = self.0.file.len()?;
        Ok(self.held_back().as_ref().map_or(on_disk, |changes| length(on_disk, changes)))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        if let Some(changes) = &*self.held_back() {
            return read(&self.0.file, changes, offset, out);
        }
        self.0.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.hold_back(Change::Length(len)).map_or(Ok(()), |_| self.0.file.set_len(len))
    }

    fn sync_data(&self) -> Result<()> {
        self.hold_back(Change::Sync).map_or(Ok(()), |_| self.0.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        if let Some(changes) = &mut *self.held_back() {
            changes.push(Change::Write(offset, data.to_vec()));
            return Ok(());
        }
        self.0.file.write(offset, data)
    }

    fn close(&self) -> Result<()> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> std::result::Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same calls on a file and on one whose changes are held back read the same, before and after.
    #[test]
    fn what_is_held_back_reads_as_if_it_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let (held, plain) = (folder.path().join("held"), folder.path().join("plain"));
        for path in [&held, &plain] {
            std::fs::write(path, b"0123456789").unwrap();
        }
        let (careful, direct) = (Careful::open(&held).unwrap(), Careful::open(&plain).unwrap());
        direct.release().unwrap();
        let compare = |what: &str| {
            let length = direct.len().unwrap();
            assert_eq!(careful.len().unwrap(), length, "{what}");
            for offset in 0..length {
                for end in offset + 1..=length {
                    let mut both = [vec![0xff; (end - offset) as usize], vec![0xee; (end - offset) as usize]];
                    let [one, other] = &mut both;
                    careful.read(offset, one).unwrap();
                    direct.read(offset, other).unwrap();
                    assert_eq!(one, other, "{what}: {offset} to {end}");
                }
            }
            assert!(careful.read(length, &mut [0]).is_err());
        };
        compare("untouched");
        for file in [&careful, &direct] {
            file.write(2, b"abc").unwrap();
            file.set_len(8).unwrap();
            file.set_len(14).unwrap();
            file.write(4, b"xyz").unwrap();
            file.write(12, b"EN").unwrap();
            file.sync_data().unwrap();
        }
        compare("changed");
        assert_eq!(std::fs::read(&held).unwrap(), b"0123456789", "nothing is written yet");
        careful.release().unwrap();
        compare("released");
        assert_eq!(std::fs::read(&held).unwrap(), std::fs::read(&plain).unwrap());
        careful.write(0, b"!").unwrap();
        assert_eq!(std::fs::read(&held).unwrap()[0], b'!', "from now on at once");
    }
}
