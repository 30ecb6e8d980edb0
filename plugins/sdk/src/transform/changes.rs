//! From what the author said about inputs to the outputs that the host is told of.

use super::{Changed, Fate, Outputs};
use crate::bindings::wire;

impl Outputs {
    /// The answer to the host.
    pub(super) fn into_wire(mut self) -> wire::Outcome {
        if self.fates.is_empty() && self.changed.is_empty() {
            return wire::Outcome::Unchanged;
        }
        self.fates.resize(self.len, Fate::Kept);
        self.fail_unwritable_patches();
        self.resolve_merges();
        self.changed.retain(|it| self.fates.get(it.origin) == Some(&Fate::Kept));
        // By input, its own output before its splits, splits in the order they were made.
        self.changed.sort_by_key(|it| (it.origin, it.split));
        wire::Outcome::Changed(Answer::new(self.len).fill(self.fates, self.changed))
    }

    /// A value that is no JSON fails its log, not the call.
    fn fail_unwritable_patches(&mut self) {
        for changed in &mut self.changed {
            let Some(error) = changed.set.as_mut().and_then(crate::Patch::take_error) else { continue };
            if let Some(fate) = self.fates.get_mut(changed.origin) {
                *fate = Fate::Failed { message: error };
            }
        }
    }

    /// Lets every merge name the input whose output it ends in; one that ends in none fails.
    fn resolve_merges(&mut self) {
        let ends: Vec<Option<usize>> = (0..self.len).map(|input| self.merge_end(input)).collect();
        for (input, (fate, end)) in self.fates.iter_mut().zip(ends).enumerate() {
            if let Fate::Merged { into } = fate {
                *fate = match end {
                    Some(end) => Fate::Merged { into: end },
                    None => Fate::Failed {
                        message: format!("log {input} was merged into log {into}, which is not kept"),
                    },
                };
            }
        }
    }

    /// Follows merges to a kept input; nothing when they end elsewhere or in a circle.
    fn merge_end(&self, input: usize) -> Option<usize> {
        let mut at = input;
        for _ in 0..=self.len {
            match self.fates.get(at)? {
                Fate::Kept => return Some(at),
                Fate::Merged { into } => at = *into,
                Fate::Dropped { .. } | Fate::Failed { .. } => return None,
            }
        }
        None
    }
}

/// The answer, as it grows.
struct Answer {
    wire: wire::Changes,
    /// Per input the output that continues it.
    output_of: Vec<Option<u32>>,
}

impl Answer {
    fn new(len: usize) -> Self {
        let edits = || wire::Edits {
            outputs: Vec::new(),
            texts: wire::Column { bytes: Vec::new(), ends: Vec::new() },
        };
        let wire = wire::Changes {
            origins: Vec::with_capacity(len),
            merged: Vec::new(),
            dropped: Vec::new(),
            levels: Vec::new(),
            messages: edits(),
            log_data: edits(),
            set: edits(),
            errors: Vec::new(),
        };
        Self { wire, output_of: vec![None; len] }
    }

    fn fill(mut self, fates: Vec<Fate>, changed: Vec<Changed>) -> wire::Changes {
        let mut changed = changed.into_iter().peekable();
        for (input, fate) in fates.iter().enumerate() {
            if *fate != Fate::Kept {
                continue;
            }
            if let Some(slot) = self.output_of.get_mut(input) {
                *slot = Some(self.wire.origins.len() as u32);
            }
            // The input's own output is there whether or not it was edited; splits follow it.
            if changed.peek().is_none_or(|it| it.origin != input || it.split) {
                self.wire.origins.push(input as u32);
            }
            while let Some(edit) = changed.next_if(|it| it.origin == input) {
                self.edited(edit);
            }
        }
        for (input, fate) in fates.into_iter().enumerate() {
            self.settle(input as u32, fate);
        }
        self.wire
    }

    fn edited(&mut self, changed: Changed) {
        let output = self.wire.origins.len() as u32;
        self.wire.origins.push(changed.origin as u32);
        if let Some(level) = changed.level {
            self.wire.levels.push(wire::LevelEdit { output, level });
        }
        if let Some(message) = changed.message {
            push(&mut self.wire.messages, output, message.as_bytes());
        }
        if let Some(data) = changed.data {
            push(&mut self.wire.log_data, output, data.as_bytes());
        }
        if let Some(patch) = changed.set.filter(|patch| !patch.is_empty()) {
            let edits = &mut self.wire.set;
            // Errors were taken out before.
            if patch.finish(&mut edits.texts.bytes).is_ok() {
                edits.outputs.push(output);
                edits.texts.ends.push(edits.texts.bytes.len() as u32);
            }
        }
    }

    fn settle(&mut self, input: u32, fate: Fate) {
        match fate {
            Fate::Kept => {}
            Fate::Merged { into } => {
                if let Some(output) = self.output_of.get(into).copied().flatten() {
                    self.wire.merged.push(wire::Merge { output, input });
                }
            }
            Fate::Dropped { reason } => self.wire.dropped.push(wire::Drop { input, reason }),
            Fate::Failed { message } => self.wire.errors.push(wire::RowError { row: input, message }),
        }
    }
}

fn push(edits: &mut wire::Edits, output: u32, text: &[u8]) {
    edits.outputs.push(output);
    edits.texts.bytes.extend_from_slice(text);
    edits.texts.ends.push(edits.texts.bytes.len() as u32);
}
