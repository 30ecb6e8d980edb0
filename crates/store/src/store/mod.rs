//! The store, whichever database it is.

use std::collections::HashSet;
use std::time::Duration;

use sawpit_model::{MessageId, Timestamp};

use crate::batch::{Batch, Lease};
use crate::error::{CommitError, OpenError, StoreError};
use crate::lookup::Forgettable;
use crate::page::{LogQuery, Page, Rows, Total};
use crate::postgres::Pg;
use crate::provenance::ChainMember;
use crate::retention::Forgotten;
use crate::server::{Met, QueueServer};
use crate::settings::{StoreSettings, shown};
use crate::sqlite::Lite;
use crate::stats::Stats;
use crate::token::{Revoked, Token};
use crate::verdict::VerdictWrite;

/// A database of logs. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Postgres(Pg),
    Sqlite(Lite),
}

/// Does the same on either backend.
macro_rules! on {
    ($store:expr, $backend:ident => $work:expr) => {
        match &$store.0 {
            Backend::Postgres($backend) => $work,
            Backend::Sqlite($backend) => $work,
        }
    };
}

mod searching;

impl Store {
    /// Connects, brings the tables up to date (safe when several processes start at once) and makes the
    /// partitions around `now`.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left half done.
    pub async fn open(settings: StoreSettings, now: Timestamp) -> Result<Self, OpenError> {
        let scheme = settings.url.split_once(':').map(|(scheme, _)| scheme);
        let backend = match scheme {
            Some("postgres" | "postgresql") => Backend::Postgres(Pg::open(&settings).await?),
            Some("sqlite") => Backend::Sqlite(Lite::open(&settings).await?),
            _ => {
                let why = "it starts with neither postgres: nor sqlite:".to_owned();
                return Err(OpenError::Url { url: shown(&settings.url), why });
            }
        };
        let mut store = Self(backend);
        let partitions = store.make_partitions(now).await;
        partitions.map_err(|e| OpenError::Migration { cause: e.to_string() })?;
        store.adopt(&settings.undecided).await.map_err(|e| OpenError::Migration { cause: e.to_string() })?;
        tracing::info!(store = %shown(&settings.url), "store is open");
        Ok(store)
    }

    /// `"postgres"` or `"sqlite"`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.0 {
            Backend::Postgres(_) => "postgres",
            Backend::Sqlite(_) => "sqlite",
        }
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// When there is none within the time limits.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on!(self, backend => backend.ping().await)
    }

    /// Gives `owner` (a worker's name, as the queue knows it) the right to commit, and takes it from whoever
    /// held it under that name: waits for their commits in flight, and fences later ones.
    ///
    /// # Errors
    /// When the database does not answer; take the lease again.
    pub async fn lease(&self, owner: &str) -> Result<Lease, StoreError> {
        on!(self, backend => backend.lease(owner).await)
    }

    /// Takes the right to commit from `owners`, whose messages were reclaimed. Waits for their commits in
    /// flight; later ones fail with [`CommitError::Fenced`]. What [`Store::committed`] says afterwards is
    /// therefore final. A name that never held a lease is no error.
    ///
    /// # Errors
    /// When the database does not answer: fence again before you go on.
    pub async fn fence(&self, owners: &[String]) -> Result<(), StoreError> {
        on!(self, backend => backend.fence(owners).await)
    }

    /// Notes which server serves each stream of the queue now. When one is another than was noted before, all leases are
    /// taken from their owners, in the same step and waiting for their commits in flight: the new server may not know what
    /// the old one had given them, and give it to others. Call it before anything is read from a server.
    ///
    /// # Errors
    /// When the database does not answer: read nothing yet, and call again.
    pub async fn meet(&self, servers: &[QueueServer]) -> Result<Met, StoreError> {
        on!(self, backend => backend.meet(servers).await)
    }

    /// Which of these redelivered messages are settled already, be it as rows, merged or dropped. For messages
    /// of another owner call [`Store::fence`] first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn committed(&self, ids: &[MessageId]) -> Result<HashSet<MessageId>, StoreError> {
        on!(self, backend => backend.committed(ids).await)
    }

    /// Stores a batch in one transaction that is on disk when this returns. Storing the *same* ids again is
    /// `Ok` and stores nothing, so an unknown outcome is resolved by trying again. A batch without ids and
    /// rows is nothing to do.
    ///
    /// # Errors
    /// Each says what to do with the batch: see [`CommitError`].
    ///
    /// # Cancellation
    /// Dropping the future leaves the outcome unknown.
    pub async fn commit(&self, lease: &Lease, batch: &Batch) -> Result<(), CommitError> {
        if batch.ids.is_empty() && batch.rows.is_empty() {
            return Ok(());
        }
        on!(self, backend => backend.commit(lease, batch).await)
    }

    /// One page of logs, newest first; and how many there are on all pages.
    ///
    /// Costs the same at any number of logs, with two exceptions: counting for the total stops at
    /// [`LogQuery::count_limit`], and where the filter on plugins finds few logs, many are looked at. What a search
    /// finds is not counted beyond the page; where its terms are in many rows each and in few together, it costs what the
    /// rarest of them has.
    ///
    /// # Errors
    /// When the database does not answer, or a search takes longer than [`LogQuery::time_limit`].
    pub async fn query(&self, query: &LogQuery) -> Result<Page, StoreError> {
        if !query.search.is_empty() {
            let Rows { rows, next_cursor } = self.rows(query).await?;
            let whole = query.cursor.is_none() && next_cursor.is_none();
            let count = rows.len() as u64;
            let total = if whole { Total::Exact(count) } else { Total::AtLeast(count) };
            return Ok(Page { total, rows, next_cursor });
        }
        let total = on!(self, backend => backend.total(query).await)?;
        let Rows { rows, next_cursor } = self.rows(query).await?;
        Ok(Page { total, rows, next_cursor })
    }

    /// The same without the total.
    ///
    /// # Errors
    /// When the database does not answer, or a search takes longer than [`LogQuery::time_limit`].
    pub async fn rows(&self, query: &LogQuery) -> Result<Rows, StoreError> {
        if query.search.is_empty() {
            return on!(self, backend => backend.rows(query).await);
        }
        self.found(query).await
    }

    /// Notes what a chain was made of, for [`Store::explain_chain`]. Noting it again changes nothing.
    ///
    /// # Errors
    /// When the database does not answer: note it again.
    pub async fn describe_chain(&self, id: &str, members: &[ChainMember]) -> Result<(), StoreError> {
        on!(self, backend => backend.describe_chain(id, members).await)
    }

    /// The plugins of a chain, in order; empty for a chain that nobody described.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn explain_chain(&self, id: &str) -> Result<Vec<ChainMember>, StoreError> {
        on!(self, backend => backend.chain_members(id).await)
    }

    /// Counts over all logs, exact at one moment. They are kept with each commit, so the cost depends on the number
    /// of devices and not of logs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        on!(self, backend => backend.stats(now).await)
    }

    /// How many rows received since `since` name each id among their sources; in the order of `ids`, 0 for an
    /// id that no row names. A scan of the rows since then: ask for many ids at once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn stored_ids(
        &self,
        ids: &[MessageId],
        since: Timestamp,
    ) -> Result<Vec<(MessageId, u64)>, StoreError> {
        let counts = on!(self, backend => backend.stored_ids(ids, since).await)?;
        Ok(ids.iter().map(|id| (*id, counts.get(id).copied().unwrap_or(0))).collect())
    }

    /// Makes the partitions that are missing from yesterday to three days ahead, and forgets the seconds that the
    /// statistics no longer show, and who wrote verdicts long ago. Call it every hour or so.
    ///
    /// # Errors
    /// When the database does not answer; the next call does what was missed.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        self.make_partitions(now).await?;
        on!(self, backend => backend.trim_rollups(now).await)
    }

    /// Forgets which batches were committed longer than `keep` ago, but none with a message that may be delivered again:
    /// `oldest` is the oldest that is in the queue, delivered or not, and none when the queue is empty. Ask the queue first,
    /// then call this. Of what is forgotten a message that is delivered all the same, by a queue that lost what it was
    /// told, is stored again: so `keep` must be longer than such a loss reaches back.
    ///
    /// # Errors
    /// When the database does not answer; the next call does what was missed.
    pub async fn trim_ledger(
        &self,
        now: Timestamp,
        keep: Duration,
        oldest: Option<MessageId>,
    ) -> Result<(), StoreError> {
        let forgettable = Forgettable::of(now, keep, oldest);
        on!(self, backend => backend.trim_ledger(forgettable).await)
    }

    /// Deletes logs that were received before this time, and takes them out of the totals. PostgreSQL drops the days
    /// that are over by then, whole: what is of the same day stays until that is over, too. SQLite deletes rows, and
    /// so does PostgreSQL with those that came too late for their day.
    ///
    /// `before` must be a day ago at least: the statistics show the last hours.
    ///
    /// # Errors
    /// When the database does not answer, or long reads are in the way: what was deleted is, the rest goes at the next
    /// call.
    pub async fn forget(&self, before: Timestamp) -> Result<Forgotten, StoreError> {
        on!(self, backend => backend.forget(before).await)
    }

    /// This time, or the database's where that is earlier: what is deleted because it is old must be so by both. SQLite has
    /// no clock of its own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn not_ahead(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        match &self.0 {
            Backend::Postgres(pg) => pg.not_ahead(now).await,
            Backend::Sqlite(_) => Ok(now),
        }
    }

    /// Adds to what the statistics say of plugins. A batch brings its own.
    ///
    /// # Errors
    /// When the database does not answer: it may be counted or not, so try the same write again.
    pub async fn add_verdicts(&self, write: &VerdictWrite) -> Result<(), StoreError> {
        if write.tally.is_empty() {
            return Ok(());
        }
        on!(self, backend => backend.add_verdicts(write).await)
    }

    /// Keeps a token, whose id must be new.
    ///
    /// # Errors
    /// When the database does not answer or knows the id.
    pub async fn add_token(&self, token: &Token) -> Result<(), StoreError> {
        on!(self, backend => backend.add_token(token).await)
    }

    /// All tokens, oldest first, also those that have expired.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        on!(self, backend => backend.tokens().await)
    }

    /// Deletes a token.
    ///
    /// # Errors
    /// When the database does not answer: it may be deleted or not.
    pub async fn revoke_token(&self, id: &str) -> Result<Revoked, StoreError> {
        on!(self, backend => backend.revoke_token(id).await)
    }

    /// Closes all connections, once those in use are given back. For an orderly end; afterwards every call
    /// fails as unavailable.
    pub async fn close(&self) {
        on!(self, backend => backend.close().await)
    }

    /// SQLite has no partitions, and at its size does not need them.
    async fn make_partitions(&self, now: Timestamp) -> Result<(), StoreError> {
        match &self.0 {
            Backend::Postgres(pg) => pg.make_partitions(now).await,
            Backend::Sqlite(_) => Ok(()),
        }
    }
}
