//! What became of every answered log, read from the queue and the store themselves.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sawpit_model::{MessageId, Timestamp};
use sawpit_queue::{Queue, QueueSettings};
use sawpit_service::Clock;
use sawpit_store::{Store, StoreSettings};

use crate::load::{Answers, Queued};
use crate::logs::Fate;
use crate::system::System;

/// Time without a message settled after which the backlog counts as stuck.
const STUCK: Duration = Duration::from_secs(90);
/// Ids in one question to the store.
const IDS: usize = 50_000;
/// Dead letters in one question to the queue.
const LETTERS: usize = 1_000;

/// The end of all logs that were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In one row.
    pub stored: u64,
    /// Dropped by a transformer.
    pub dropped: u64,
    /// Among the dead letters.
    pub dead: u64,
    /// Nowhere.
    pub lost: Vec<String>,
    /// In more rows than one, or among the dead letters as well.
    pub doubled: Vec<String>,
    /// Stored, though it was said that they were not queued.
    pub denied: Vec<String>,
    /// Rows that a transformer made of several logs.
    pub merged: u64,
    /// Messages that nobody settled.
    pub stuck: u64,
}

/// Where one log was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    rows: u64,
    letters: u64,
    in_ledger: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stored,
    Dropped,
    Dead,
    Lost,
    Doubled,
}

/// Invariant 1: rows or a dead letter, exactly once; only a plugin's own verdict may drop it. A ledger that names a
/// log without a row says "dropped", which is true only of what the plugins of this run drop.
fn judge(found: Found, fate: Fate) -> End {
    match found {
        Found { rows: 0, letters: 0, in_ledger: true } if fate == Fate::Dropped => End::Dropped,
        Found { rows: 0, letters: 0, .. } => End::Lost,
        Found { rows: 1, letters: 0, .. } => End::Stored,
        Found { rows: 0, letters: 1, .. } => End::Dead,
        _ => End::Doubled,
    }
}

impl Account {
    /// Whether every log is where it belongs.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.denied.is_empty() && self.stuck == 0
    }

    /// Waits until the workers have nothing left, then looks for every answered log. `tend` is called while waiting.
    ///
    /// # Errors
    /// The queue or the store does not answer, though nothing disturbs it any more.
    pub async fn of(system: &System, answers: &Answers, tend: impl FnMut()) -> Result<Self> {
        let clock = Clock::system();
        let settings = QueueSettings { url: system.queue_url(), ..QueueSettings::default() };
        let queue = Queue::open(settings, clock.reader()).await?;
        let settings = StoreSettings {
            url: system.store_url(),
            statement_timeout: Duration::from_secs(300),
            ..StoreSettings::default()
        };
        let store = Store::open(settings, clock.now()).await?;
        let stuck = drain(&queue, tend).await?;
        let found = find(&queue, &store, &answers.queued).await?;
        let merged = system.sql("select count(*) from logs where cardinality(sources) > 1").parse();
        let merged = merged.context("psql did not answer a count")?;
        let mut account = Self { stuck, merged, ..Self::default() };
        account.judge_all(&answers.queued, &found);
        account.compare_numbers(answers, &numbers(system)?);
        store.close().await;
        Ok(account)
    }

    fn judge_all(&mut self, queued: &[Queued], found: &HashMap<MessageId, Found>) {
        let mut seen = HashSet::new();
        for log in queued {
            let here = found.get(&log.id).copied().unwrap_or_default();
            if !seen.insert(log.id) {
                self.doubled.push(format!("{} was answered to two logs", log.id));
                continue;
            }
            match judge(here, log.fate) {
                End::Stored => self.stored += 1,
                End::Dropped => self.dropped += 1,
                End::Dead => self.dead += 1,
                End::Lost => self.lost.push(described(log, here)),
                End::Doubled => self.doubled.push(described(log, here)),
            }
        }
    }

    /// By what the logs themselves carry: a log that is in the queue twice has two ids.
    fn compare_numbers(&mut self, answers: &Answers, rows: &HashMap<u64, u64>) {
        let mut numbers: Vec<_> = rows.iter().collect();
        numbers.sort_unstable();
        for (number, rows) in numbers {
            if *rows > 1 {
                self.doubled.push(format!("n={number} is in {rows} rows"));
            }
            if answers.refused.contains(number) {
                self.denied.push(format!("n={number}"));
            }
        }
    }
}

fn described(log: &Queued, found: Found) -> String {
    let Found { rows, letters, in_ledger } = found;
    let number = log.number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    format!("{} (n={number}): rows {rows}, dead letters {letters}, in the ledger: {in_ledger}", log.id)
}

/// Waits while the backlog shrinks; how many messages are left when it does not.
async fn drain(queue: &Queue, mut tend: impl FnMut()) -> Result<u64> {
    let mut least = u64::MAX;
    let mut moved = Instant::now();
    loop {
        tend();
        let left = queue.backlog().await?;
        if left < least {
            (least, moved) = (left, Instant::now());
        }
        if left == 0 || moved.elapsed() > STUCK {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn find(queue: &Queue, store: &Store, queued: &[Queued]) -> Result<HashMap<MessageId, Found>> {
    let mut found: HashMap<MessageId, Found> = HashMap::new();
    let ids: Vec<_> = queued.iter().map(|log| log.id).collect();
    for ids in ids.chunks(IDS) {
        for (id, rows) in store.stored_ids(ids, Timestamp::from_micros(0)).await? {
            found.entry(id).or_default().rows = rows;
        }
    }
    let mut after = None;
    loop {
        let letters = queue.dead_list(after, LETTERS).await?;
        let Some(last) = letters.last() else { break };
        after = Some(last.id);
        letters.iter().for_each(|letter| found.entry(letter.message_id).or_default().letters += 1);
    }
    let nowhere = |id: &MessageId| found.get(id).is_none_or(|found| found.rows == 0 && found.letters == 0);
    let missing: Vec<_> = ids.into_iter().filter(nowhere).collect();
    for ids in missing.chunks(IDS) {
        for id in store.committed(ids).await? {
            found.entry(id).or_default().in_ledger = true;
        }
    }
    Ok(found)
}

/// The numbers that stored logs carry, each with its rows.
fn numbers(system: &System) -> Result<HashMap<u64, u64>> {
    let answer = system.sql("select log_data->>'n', count(*) from logs where log_data ? 'n' group by 1");
    let number = |line: &str| {
        let (number, rows) = line.split_once('|')?;
        Some((number.parse().ok()?, rows.parse().ok()?))
    };
    answer.lines().map(|line| number(line).with_context(|| format!("a line of psql: {line:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: u64, letters: u64, in_ledger: bool) -> Found {
        Found { rows, letters, in_ledger }
    }

    #[test]
    fn exactly_once_is_once_in_one_place() {
        for (found, fate, end) in [
            (found(1, 0, false), Fate::Kept, End::Stored),
            (found(0, 1, false), Fate::Kept, End::Dead),
            (found(0, 0, true), Fate::Dropped, End::Dropped),
            (found(0, 0, true), Fate::Kept, End::Lost),
            (found(0, 0, false), Fate::Dropped, End::Lost),
            (found(2, 0, false), Fate::Kept, End::Doubled),
            (found(1, 1, false), Fate::Kept, End::Doubled),
            (found(0, 2, false), Fate::Kept, End::Doubled),
        ] {
            assert_eq!(judge(found, fate), end, "{found:?} {fate:?}");
        }
    }

    #[test]
    fn every_answered_log_is_counted_once() {
        let log = |ms| Queued { id: MessageId { ms, seq: 0 }, number: Some(ms), fate: Fate::Kept };
        let found = HashMap::from([(log(1).id, found(1, 0, false)), (log(2).id, found(3, 0, false))]);
        let mut account = Account::default();
        account.judge_all(&[log(1), log(2), log(3), log(3)], &found);
        assert_eq!((account.stored, account.doubled.len(), account.lost.len()), (1, 2, 1), "{account:?}");
        assert!(!account.is_clean());
    }

    #[test]
    fn a_log_under_two_ids_and_a_refused_one_that_is_stored_are_seen() {
        let answers = Answers { refused: HashSet::from([7, 8]), ..Answers::default() };
        let mut account = Account::default();
        account.compare_numbers(&answers, &HashMap::from([(5, 1), (6, 2), (7, 1)]));
        assert_eq!(account.doubled, ["n=6 is in 2 rows"]);
        assert_eq!(account.denied, ["n=7"]);
    }
}
