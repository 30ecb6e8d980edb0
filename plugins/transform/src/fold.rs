//! Repeats of one log within a batch become one log with a count.

use std::collections::HashMap;

use sawpit_plugin::{Batch, Level, Outputs};

use crate::redact::Redacted;
use crate::stamp::Stamp;

/// When two logs are one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold {
    /// Longest time between the first and a repeat, in microseconds.
    pub(crate) window_us: i64,
    /// Whether their `log_data` may differ.
    pub(crate) ignores_data: bool,
}

/// What two logs must have in common.
type Key<'a> = (&'a str, Level, &'a str, &'a str);

/// The first of some repeats, and how they went on.
struct Group {
    first: usize,
    count: u32,
    first_at: i64,
    last_at: i64,
}

impl Fold {
    /// Merges each repeat into the first of its kind, and says there how many they are.
    pub(crate) fn apply(self, batch: &Batch, redacted: &[Redacted<'_>], outputs: &mut Outputs) {
        let mut open: HashMap<Key<'_>, Group> = HashMap::with_capacity(batch.len());
        for (log, text) in batch.iter().zip(redacted) {
            let data = if self.ignores_data { "" } else { &*text.data };
            let key = (log.device_id(), log.level(), &*text.message, data);
            let at = log.received_at();
            match open.get_mut(&key) {
                Some(group) if at.abs_diff(group.first_at) <= self.window_us.unsigned_abs() => {
                    group.count += 1;
                    group.last_at = group.last_at.max(at);
                    outputs.merge(group.first, log.index());
                }
                _ => {
                    let group = Group { first: log.index(), count: 1, first_at: at, last_at: at };
                    if let Some(before) = open.insert(key, group) {
                        before.write(outputs);
                    }
                }
            }
        }
        open.into_values().for_each(|group| group.write(outputs));
    }
}

impl Group {
    fn write(self, outputs: &mut Outputs) {
        if self.count > 1 {
            outputs
                .edit(self.first)
                .set("repeat_count", self.count)
                .set("repeat_first_at", Stamp(self.first_at).to_string())
                .set("repeat_last_at", Stamp(self.last_at).to_string());
        }
    }
}
