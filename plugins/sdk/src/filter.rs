//! Plugins that decide whether a log is taken.

use std::borrow::Cow;

use crate::bindings::wire;
use crate::{Batch, Log, Plugin};

/// What becomes of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Accept,
    /// Do not store it; the device is answered `dropped` with this reason.
    Drop(Cow<'static, str>),
    /// Refuse it; the device is answered 422 with this reason.
    Reject(Cow<'static, str>),
}

impl Verdict {
    /// [`Verdict::Drop`] of any text.
    pub fn drop(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Drop(reason.into())
    }

    /// [`Verdict::Reject`] of any text.
    pub fn reject(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Reject(reason.into())
    }
}

/// A plugin that looks at one log and says whether it is taken. Runs in the host, before the answer.
pub trait Filter: Plugin {
    /// Judges one log.
    ///
    /// # Errors
    ///
    /// The plugin could not judge this log, and says why; its `on_error` then decides. For a log that is
    /// wrong, answer [`Verdict::Reject`] instead.
    fn filter(&self, log: &Log<'_>) -> Result<Verdict, String>;
}

/// One call of the host.
pub fn filter<P: Filter>(plugin: Option<&P>, batch: wire::Batch) -> wire::Verdicts {
    let batch = Batch::new(batch);
    let mut answer = Answer::with_capacity(batch.len());
    for log in batch.iter() {
        let verdict = plugin.ok_or_else(crate::export::not_configured).and_then(|it| it.filter(&log));
        answer.push(log.index(), verdict);
    }
    answer.finish()
}

/// The columns of the answer, as they grow.
struct Answer {
    wire: wire::Verdicts,
    all_accepted: bool,
}

impl Answer {
    fn with_capacity(len: usize) -> Self {
        let reasons = wire::Column { bytes: Vec::new(), ends: Vec::with_capacity(len) };
        let wire = wire::Verdicts { verdicts: Vec::with_capacity(len), reasons, errors: Vec::new() };
        Self { wire, all_accepted: true }
    }

    fn push(&mut self, row: usize, verdict: Result<Verdict, String>) {
        let (verdict, reason) = match verdict {
            Ok(Verdict::Accept) => (wire::Verdict::Accept, Cow::Borrowed("")),
            Ok(Verdict::Drop(reason)) => (wire::Verdict::Drop, reason),
            Ok(Verdict::Reject(reason)) => (wire::Verdict::Reject, reason),
            Err(message) => {
                self.wire.errors.push(wire::RowError { row: row as u32, message });
                (wire::Verdict::Accept, Cow::Borrowed(""))
            }
        };
        self.all_accepted &= verdict == wire::Verdict::Accept;
        self.wire.verdicts.push(verdict);
        self.wire.reasons.bytes.extend_from_slice(reason.as_bytes());
        self.wire.reasons.ends.push(self.wire.reasons.bytes.len() as u32);
    }

    fn finish(mut self) -> wire::Verdicts {
        if self.all_accepted {
            self.wire.verdicts.clear();
            self.wire.reasons.ends.clear();
        }
        self.wire
    }
}
