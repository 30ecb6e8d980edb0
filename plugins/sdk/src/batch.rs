//! The logs of one call, as rows that borrow from the columns they came in.

use std::borrow::Cow;

use serde::Deserialize;

use crate::bindings::wire;
use crate::{Level, json};

/// The logs of one call, in the order they came; never empty.
#[derive(Debug)]
pub struct Batch {
    len: usize,
    device_id: Column,
    log_level: Vec<Level>,
    message: Column,
    log_data: Column,
    received_at: Vec<i64>,
}

/// One log of a [`Batch`]. It is two words, so copy it freely.
///
/// A getter of a column that [`Plugin::READS`](crate::Plugin::READS) leaves out panics: the host did not
/// send it, and an empty text would be a quiet lie.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    batch: &'a Batch,
    index: usize,
}

/// One text per log, all joined; no rows when the column was not sent.
#[derive(Debug)]
struct Column {
    text: String,
    ends: Vec<u32>,
}

impl Column {
    fn row(&self, index: usize) -> Option<&str> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start as usize..*self.ends.get(index)? as usize)
    }
}

impl From<wire::Column> for Column {
    #[cfg(target_arch = "wasm32")]
    fn from(column: wire::Column) -> Self {
        // SAFETY: the contract (`column` in wit/types.wit) is that every row is whole UTF-8, as with a
        // `string`, and the host is trusted with far more than that. Measured, the check of a batch costs
        // about as much as the copy over the boundary.
        let text = unsafe { String::from_utf8_unchecked(column.bytes) };
        Self { text, ends: column.ends }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn from(column: wire::Column) -> Self {
        Self { text: String::from_utf8_lossy(&column.bytes).into_owned(), ends: column.ends }
    }
}

impl Batch {
    pub(crate) fn new(batch: wire::Batch) -> Self {
        Self {
            len: batch.len as usize,
            device_id: batch.device_id.into(),
            log_level: batch.log_level,
            message: batch.message.into(),
            log_data: batch.log_data.into(),
            received_at: batch.received_at,
        }
    }

    /// How many logs there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The log at `index`, which counts from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Log<'_>> {
        (index < self.len).then_some(Log { batch: self, index })
    }

    /// The logs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Log<'_>> {
        (0..self.len).map(|index| Log { batch: self, index })
    }

    /// The outcome of a transform, to be changed where something is to change: so far every log goes on as
    /// it came.
    #[must_use]
    pub fn outputs(&self) -> crate::Outputs {
        crate::Outputs::new(self.len)
    }
}

impl<'a> Log<'a> {
    /// Where the log stands in its batch, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Who sent it. Reads `Fields::DEVICE_ID`.
    #[must_use]
    #[track_caller]
    pub fn device_id(&self) -> &'a str {
        let Some(text) = self.batch.device_id.row(self.index) else { not_read("DEVICE_ID") };
        text
    }

    /// How grave it is. Reads `Fields::LOG_LEVEL`.
    #[must_use]
    #[track_caller]
    pub fn level(&self) -> Level {
        let Some(level) = self.batch.log_level.get(self.index) else { not_read("LOG_LEVEL") };
        *level
    }

    /// What happened, for a person to read. Reads `Fields::MESSAGE`.
    #[must_use]
    #[track_caller]
    pub fn message(&self) -> &'a str {
        let Some(text) = self.batch.message.row(self.index) else { not_read("MESSAGE") };
        text
    }

    /// `log_data`: the text of one JSON object. Reads `Fields::LOG_DATA`.
    #[must_use]
    #[track_caller]
    pub fn data(&self) -> &'a str {
        let Some(text) = self.batch.log_data.row(self.index) else { not_read("LOG_DATA") };
        text
    }

    /// When the host took it, in microseconds since the Unix epoch, UTC. Reads `Fields::RECEIVED_AT`.
    #[must_use]
    #[track_caller]
    pub fn received_at(&self) -> i64 {
        let Some(time) = self.batch.received_at.get(self.index) else { not_read("RECEIVED_AT") };
        *time
    }

    /// The JSON text of a field of `log_data`, found as [`json::get`] does: `"a.b"` is the member `b` of
    /// the object `a`, or the member `a.b`.
    #[must_use]
    #[track_caller]
    pub fn field(&self, path: &str) -> Option<&'a str> {
        json::get(self.data(), path)
    }

    /// A field of `log_data` that is a number.
    #[must_use]
    #[track_caller]
    pub fn number(&self, path: &str) -> Option<f64> {
        json::number(self.field(path)?)
    }

    /// A field of `log_data` that is a string, borrowed when it has no escapes.
    #[must_use]
    #[track_caller]
    pub fn text(&self, path: &str) -> Option<Cow<'a, str>> {
        json::string(self.field(path)?)
    }

    /// A field of `log_data` as any type that serde reads.
    #[must_use]
    #[track_caller]
    pub fn parse<T: Deserialize<'a>>(&self, path: &str) -> Option<T> {
        serde_json::from_str(self.field(path)?).ok()
    }
}

/// The author forgot a column in `READS`: said at once, in the plugin's trial or its first test, with the line that reads.
#[cold]
#[track_caller]
#[expect(clippy::panic, reason = "a mistake in the plugin's source, not in its input")]
fn not_read(field: &str) -> ! {
    panic!("the plugin reads a column that it did not ask for: add Fields::{field} to READS")
}
