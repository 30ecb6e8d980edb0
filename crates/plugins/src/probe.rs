//! What the calls of one version cost beside time: bytes over the boundary, fuel, memory.
//!
//! It is written by the production call, so that a bench measures that call and no copy of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::bindings::{enrich, filter, transform, types};

/// Sums over all calls since the version was loaded.
#[derive(Default)]
pub struct Probe {
    fuel: AtomicU64,
    to_guest: AtomicU64,
    from_guest: AtomicU64,
    held: AtomicUsize,
}

/// The sums at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Fuel, on a runtime that meters it.
    pub fuel: u64,
    /// Bytes of columns sent.
    pub to_guest: u64,
    /// Bytes of answers taken.
    pub from_guest: u64,
    /// Most memory that an instance held, in bytes.
    pub held: usize,
}

impl Probe {
    pub fn sent(&self, bytes: usize) {
        self.to_guest.fetch_add(bytes as u64, Relaxed);
    }

    pub fn came_back(&self, bytes: usize, fuel: u64) {
        self.from_guest.fetch_add(bytes as u64, Relaxed);
        self.fuel.fetch_add(fuel, Relaxed);
    }

    /// Notes that an instance holds so many bytes. The most that one ever held.
    pub fn held(&self, bytes: usize) -> usize {
        self.held.fetch_max(bytes, Relaxed).max(bytes)
    }

    pub fn read(&self) -> Spent {
        Spent {
            fuel: self.fuel.load(Relaxed),
            to_guest: self.to_guest.load(Relaxed),
            from_guest: self.from_guest.load(Relaxed),
            held: self.held.load(Relaxed),
        }
    }
}

/// Something that is copied over the boundary: the bytes of its lists and texts, as the canonical ABI of the
/// component model lays them out.
pub trait Copied {
    fn copied_bytes(&self) -> usize;
}

impl Copied for types::Column {
    fn copied_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * 4
    }
}

impl Copied for types::Batch {
    fn copied_bytes(&self) -> usize {
        let texts = [&self.device_id, &self.message, &self.log_data];
        texts.into_iter().map(Copied::copied_bytes).sum::<usize>()
            + self.log_level.len()
            + self.received_at.len() * 8
    }
}

impl Copied for [types::RowError] {
    fn copied_bytes(&self) -> usize {
        self.iter().map(|error| 12 + error.message.len()).sum()
    }
}

impl Copied for filter::Verdicts {
    fn copied_bytes(&self) -> usize {
        self.verdicts.len() + self.reasons.copied_bytes() + self.errors.copied_bytes()
    }
}

impl Copied for enrich::Patches {
    fn copied_bytes(&self) -> usize {
        self.set.copied_bytes() + self.errors.copied_bytes()
    }
}

impl Copied for transform::Outcome {
    fn copied_bytes(&self) -> usize {
        let Self::Changed(changes) = self else { return 0 };
        let edits = [&changes.messages, &changes.log_data, &changes.set];
        edits.into_iter().map(|edits| edits.outputs.len() * 4 + edits.texts.copied_bytes()).sum::<usize>()
            + changes.origins.len() * 4
            + changes.merged.len() * 8
            + changes.levels.len() * 8
            + changes.dropped.iter().map(|drop| 12 + drop.reason.len()).sum::<usize>()
            + changes.errors.copied_bytes()
    }
}
