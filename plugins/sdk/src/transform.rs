//! Plugins that change the logs of a batch.
//!
//! Key decision: a log that the plugin does not mention goes on as it came. Forgetting one cannot lose it.

use crate::bindings::wire;
use crate::{Batch, Level, Log, Patch, Plugin};

mod changes;

/// A plugin that looks at a whole batch: it may edit, drop, merge and split. Runs in the worker, before the
/// store. For one that looks at one log at a time, implement [`Rewrite`] instead.
pub trait Transform: Plugin {
    /// Starts from [`Batch::outputs`] and changes what is to change.
    fn transform(&self, batch: &Batch) -> Outputs;
}

/// A plugin that edits or drops one log at a time; it is a [`Transform`] by that.
pub trait Rewrite: Plugin {
    /// Edits one log; leaving `edit` alone lets the log go on as it came.
    ///
    /// # Errors
    ///
    /// The plugin failed on this log, and says why; its edits are forgotten and its `on_error` decides.
    fn rewrite(&self, log: &Log<'_>, edit: &mut Edit<'_>) -> Result<(), String>;
}

impl<P: Rewrite> Transform for P {
    fn transform(&self, batch: &Batch) -> Outputs {
        let mut outputs = batch.outputs();
        for log in batch.iter() {
            let mut edit = outputs.edit(log.index());
            if let Err(message) = self.rewrite(&log, &mut edit) {
                outputs.fail(log.index(), message);
            }
        }
        outputs
    }
}

/// What becomes of the logs of a batch. Methods that take an input's index panic when the batch has no
/// such log, as slices do, at the caller's line.
#[derive(Debug)]
pub struct Outputs {
    len: usize,
    /// What becomes of each input, once one is not simply kept; empty until then.
    fates: Vec<Fate>,
    /// What replaces inherited fields: of kept inputs, and of the further outputs that splits made.
    changed: Vec<Changed>,
}

/// What becomes of one input.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Kept,
    Merged { into: usize },
    Dropped { reason: String },
    Failed { message: String },
}

/// The new fields of one output.
#[derive(Debug)]
struct Changed {
    origin: usize,
    /// Whether this is a further output of its origin rather than the origin's own.
    split: bool,
    level: Option<Level>,
    message: Option<String>,
    data: Option<String>,
    set: Option<Patch>,
}

impl Outputs {
    pub(crate) fn new(len: usize) -> Self {
        Self { len, fates: Vec::new(), changed: Vec::new() }
    }

    /// Lets an input go on after all: undoes [`Outputs::drop`], [`Outputs::merge`] and [`Outputs::fail`].
    #[track_caller]
    pub fn keep(&mut self, input: usize) {
        self.decide(input, Fate::Kept);
    }

    /// Edits an input's own output. Edits of one log add up.
    #[track_caller]
    pub fn edit(&mut self, input: usize) -> Edit<'_> {
        self.check(input);
        // Edits mostly come in the order of the logs, so an earlier one of this log is near the end.
        let slot = self.changed.iter().rposition(|it| it.origin == input && !it.split);
        Edit { outputs: self, input, slot, split: false }
    }

    /// Adds one more output that continues an input, after the input's own: of three parts the first is
    /// [`Outputs::edit`], and there are two splits. Gone again if the input is dropped, merged or failed.
    #[track_caller]
    pub fn split(&mut self, input: usize) -> Edit<'_> {
        self.check(input);
        self.changed.push(Changed::new(input, true));
        let slot = Some(self.changed.len() - 1);
        Edit { outputs: self, input, slot, split: true }
    }

    /// Lets one input end in another's output, which then names both as its sources. Its own text is gone:
    /// put into the other what should be seen of it.
    #[track_caller]
    pub fn merge(&mut self, into: usize, input: usize) {
        self.check(into);
        self.decide(input, Fate::Merged { into });
    }

    /// Does not store an input; counted and shown with its reason.
    #[track_caller]
    pub fn drop(&mut self, input: usize, reason: impl Into<String>) {
        self.decide(input, Fate::Dropped { reason: reason.into() });
    }

    /// Tells that the plugin failed on an input; its `on_error` decides what becomes of it.
    #[track_caller]
    pub fn fail(&mut self, input: usize, message: impl Into<String>) {
        self.decide(input, Fate::Failed { message: message.into() });
    }

    #[track_caller]
    fn decide(&mut self, input: usize, fate: Fate) {
        self.check(input);
        if self.fates.is_empty() {
            self.fates.resize(self.len, Fate::Kept);
        }
        if let Some(slot) = self.fates.get_mut(input) {
            *slot = fate;
        }
    }

    #[track_caller]
    fn check(&self, input: usize) {
        assert!(input < self.len, "the batch has {} logs, there is no log {input}", self.len);
    }
}

impl Changed {
    fn new(origin: usize, split: bool) -> Self {
        Self { origin, split, level: None, message: None, data: None, set: None }
    }
}

/// Edits one output. Fields that are not edited are inherited from the input; device and time always are.
#[derive(Debug)]
pub struct Edit<'a> {
    outputs: &'a mut Outputs,
    input: usize,
    slot: Option<usize>,
    split: bool,
}

impl Edit<'_> {
    /// Replaces the message.
    pub fn message(&mut self, message: impl Into<String>) -> &mut Self {
        self.changed(|it| it.message = Some(message.into()))
    }

    /// Replaces the level.
    pub fn level(&mut self, level: Level) -> &mut Self {
        self.changed(|it| it.level = Some(level))
    }

    /// Replaces `log_data` by the text of a JSON object. It is not checked here; the host refuses what is none.
    pub fn data(&mut self, object: impl Into<String>) -> &mut Self {
        self.changed(|it| it.data = Some(object.into()))
    }

    /// Sets one member of `log_data`, on top of [`Edit::data`]; values as in [`Patch::set`].
    pub fn set(&mut self, key: &str, value: impl serde::Serialize) -> &mut Self {
        self.changed(|it| it.set.get_or_insert_default().put(key, value))
    }

    /// Does not store the input (with all its outputs); counted and shown with its reason.
    pub fn drop(&mut self, reason: impl Into<String>) {
        self.outputs.drop(self.input, reason);
    }

    fn changed(&mut self, change: impl FnOnce(&mut Changed)) -> &mut Self {
        let slot = *self.slot.get_or_insert_with(|| {
            self.outputs.changed.push(Changed::new(self.input, self.split));
            self.outputs.changed.len() - 1
        });
        if let Some(changed) = self.outputs.changed.get_mut(slot) {
            change(changed);
        }
        self
    }
}

/// One call of the host.
pub fn transform<P: Transform>(plugin: Option<&P>, batch: wire::Batch) -> wire::Outcome {
    let batch = Batch::new(batch);
    let outputs = match plugin {
        Some(plugin) => plugin.transform(&batch),
        None => {
            let mut outputs = batch.outputs();
            batch.iter().for_each(|log| outputs.fail(log.index(), crate::export::not_configured()));
            outputs
        }
    };
    outputs.into_wire()
}
