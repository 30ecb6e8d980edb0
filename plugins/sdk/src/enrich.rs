//! Plugins that add to a log.

use crate::bindings::wire;
use crate::{Batch, Log, Patch, Plugin};

/// A plugin that looks at one log and adds to its `log_data`. Runs in the host, after all filters.
pub trait Enrich: Plugin {
    /// Says what to set; an empty [`Patch`] for nothing.
    ///
    /// # Errors
    ///
    /// The plugin failed on this log, and says why; its `on_error` then decides.
    fn enrich(&self, log: &Log<'_>) -> Result<Patch, String>;
}

/// One call of the host.
pub fn enrich<P: Enrich>(plugin: Option<&P>, batch: wire::Batch) -> wire::Patches {
    let batch = Batch::new(batch);
    let mut set = wire::Column { bytes: Vec::new(), ends: Vec::with_capacity(batch.len()) };
    let mut errors = Vec::new();
    for log in batch.iter() {
        let patch = plugin.ok_or_else(crate::export::not_configured).and_then(|it| it.enrich(&log));
        if let Err(message) = patch.and_then(|patch| patch.finish(&mut set.bytes)) {
            errors.push(wire::RowError { row: log.index() as u32, message });
        }
        set.ends.push(set.bytes.len() as u32);
    }
    if set.bytes.is_empty() {
        set.ends.clear();
    }
    wire::Patches { set, errors }
}
