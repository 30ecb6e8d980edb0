//! What was forgotten because it is old.

/// Rows deleted in one transaction, where rows are deleted: commits of workers wait no longer than that takes.
pub(crate) const STEP_ROWS: u64 = 1_000;

/// The same, as databases take it.
pub(crate) const STEP_ROWS_SIGNED: i64 = 1_000;

/// What [`crate::Store::forget`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Whole days, each a partition that was dropped. PostgreSQL only.
    pub days: u64,
    /// Rows, those of the days included.
    pub rows: u64,
}
