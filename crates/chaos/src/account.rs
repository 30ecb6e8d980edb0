//! What became of every log that was answered as queued.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sawpit_model::{MessageId, Timestamp};
use sawpit_queue::{Queue, QueueSettings};
use sawpit_store::{Store, StoreSettings};

use crate::system::System;

/// How long the system may take to work off what waits once all is well.
const PATIENCE: Duration = Duration::from_secs(180);
/// Ids that are looked up at once; each lookup scans the rows.
const AT_ONCE: usize = 50_000;

/// Where the logs are.
#[derive(Debug, Default)]
pub struct Account {
    /// In exactly one row.
    pub stored: u64,
    /// In no row, by a plugin's verdict in the worker: the ledger has them.
    pub dropped: u64,
    /// Among the dead letters.
    pub dead: u64,
    /// Nowhere.
    pub lost: Vec<MessageId>,
    /// In several rows, or in a row and among the dead letters.
    pub doubled: Vec<MessageId>,
}

impl Account {
    /// Whether every log is in exactly one place.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty()
    }
}

/// Looks for each id in the database and among the dead letters.
///
/// # Errors
/// A server does not answer.
pub async fn settle(system: &System, ids: &[MessageId]) -> Result<Account> {
    let dead = dead(&open(system).await?).await?;
    let settings = StoreSettings { url: system.store_url().to_owned(), ..StoreSettings::default() };
    let store = Store::open(settings, newest(ids)).await?;
    let mut account = Account::default();
    for some in ids.chunks(AT_ONCE) {
        sort(&store, some, &dead, &mut account).await?;
    }
    let distinct: HashSet<_> = ids.iter().collect();
    if distinct.len() != ids.len() {
        bail!("{} logs were answered with an id that another had", ids.len() - distinct.len());
    }
    Ok(account)
}

async fn open(system: &System) -> Result<Queue> {
    let settings = QueueSettings { url: system.queue_url(), ..QueueSettings::default() };
    Ok(Queue::open(settings, std::sync::Arc::new(Timestamp::default)).await?)
}

/// Waits until nothing is in the queue.
///
/// # Errors
/// It is not worked off in time.
pub async fn drained(system: &System) -> Result<()> {
    let queue = open(system).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let waiting = queue.backlog().await.context("the backlog is not known")?;
        if waiting == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{waiting} messages are still in the queue {} s after all was well again",
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// How often each id is among the dead letters.
async fn dead(queue: &Queue) -> Result<HashMap<MessageId, u64>> {
    let (mut found, mut after) = (HashMap::new(), None);
    loop {
        let page = queue.dead_list(after, 1_000).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.id);
        for letter in page {
            *found.entry(letter.message_id).or_default() += 1;
        }
    }
}

async fn sort(
    store: &Store,
    ids: &[MessageId],
    dead: &HashMap<MessageId, u64>,
    account: &mut Account,
) -> Result<()> {
    let stored = store.stored_ids(ids, Timestamp::default()).await?;
    let committed = store.committed(ids).await?;
    for (id, rows) in stored {
        match (rows, dead.get(&id).copied().unwrap_or_default()) {
            (1, 0) => account.stored += 1,
            (0, 1) => account.dead += 1,
            (0, 0) if committed.contains(&id) => account.dropped += 1,
            (0, 0) => account.lost.push(id),
            _ => account.doubled.push(id),
        }
    }
    Ok(())
}

/// Partitions are made around this time.
fn newest(ids: &[MessageId]) -> Timestamp {
    let ms = ids.iter().map(|id| id.ms).max().unwrap_or_default();
    Timestamp::from_micros(i64::try_from(ms.saturating_mul(1_000)).unwrap_or_default())
}
