//! The database: PostgreSQL or SQLite. The only crate that names sqlx.
//!
//! # Exactly once
//! The key decision: rows are made unique by a *ledger* and a *lease*, not by a unique index over the rows. A
//! commit is one transaction that (1) locks its worker's row in `leases` against change and compares the epoch,
//! (2) inserts the rows, (3) inserts one ledger row with the ids of all messages that the batch settles. Only a
//! message that the queue delivers twice can be stored twice, and there are two ways to that:
//!
//! - **Another worker reclaims it**, because its owner died or stalled. It calls [`Store::fence`] with the former
//!   owner's name, then [`Store::committed`]. The fence changes the owner's row. A commit of the former owner
//!   that locked the row first makes the fence wait, so its ledger row is visible afterwards; one that comes
//!   later sees the new epoch and inserts nothing. There is no third order, because both touch the same row:
//!   PostgreSQL reads a locked row's newest version after the wait (`FOR SHARE`, read committed), and SQLite
//!   has one writer. So what `committed` says is final, even if the former owner wakes up hours later, and
//!   even if its statement was still in a network buffer when it was fenced.
//! - **The same worker tries again**, after a commit whose answer was lost ([`Outcome::Unknown`]). The first try
//!   may still be running in the server. The ledger is unique on a batch's last id, so the second try of the
//!   same batch waits for the first to end, and then either commits or finds the first's ledger row with
//!   the same ids, which is answered as success.
//!
//! Nothing here depends on time: not on time-outs being long enough, nor on clocks that agree. The ledger remembers
//! what may be delivered again, which is what is in the queue, and besides for a time what is not ([`Store::trim_ledger`]).
//!
//! A commit is synchronous (`synchronous_commit = on`, SQLite `synchronous = FULL`): the worker acknowledges on it.
//! Throughput comes from several batches in flight, whose flushes PostgreSQL groups.

mod batch;
mod chains;
mod days;
mod error;
mod ids;
mod lookup;
mod page;
mod postgres;
mod provenance;
mod retention;
mod rollup;
mod room;
mod search;
mod server;
mod settings;
mod sqlite;
mod stats;
mod store;
mod token;
mod verdict;

pub use batch::{Batch, Lease, Row};
pub use error::{CommitError, OpenError, Outcome, StoreError};
pub use page::{COUNT_LIMIT, Cursor, LogQuery, Page, ParseCursorError, Rows, StoredRow, Total};
pub use provenance::{ChainMember, ParsePluginFilterError, PluginFilter};
pub use retention::Forgotten;
pub use search::{Index, IndexSettings, Indexed, IndexedRows, NoPathError, NoWordError, OlderRows, Search};
pub use server::{Met, QueueServer};
pub use settings::StoreSettings;
pub use stats::{Minute, STATS_MINUTES, Stats, TOP_DEVICES};
pub use store::Store;
pub use token::{ParseRoleError, Revoked, Role, Token};
pub use verdict::VerdictWrite;
