//! What became of every answered log, read from the queue and the store themselves.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sawpit_model::{MessageId, Timestamp};
use sawpit_queue::{DeadLetter, Queue, QueueSettings};
use sawpit_service::Clock;
use sawpit_store::{Store, StoreSettings};

use crate::load::{Answers, Queued};
use crate::logs::{Fate, number_in};
use crate::system::{POISON, System};

/// Time without a message settled after which the backlog counts as stuck.
const STUCK: Duration = Duration::from_secs(90);
/// Ids in one question to the store.
const IDS: usize = 50_000;
/// Dead letters in one question to the queue.
const LETTERS: usize = 1_000;
/// What the versions of the enricher set (see [`System::swap`]).
const VERSIONS: &str = "select count(distinct log_data->'device'->>'site') from logs";

/// The end of all logs that were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In one row.
    pub stored: u64,
    /// Dropped by a transformer.
    pub dropped: u64,
    /// Among the dead letters, because a transformer failed on it.
    pub dead: u64,
    /// Nowhere.
    pub lost: Vec<String>,
    /// In one place, but not where it belongs: buried without its own fault, or stored though it was to be dropped.
    pub misplaced: Vec<String>,
    /// In more rows than one, or among the dead letters as well.
    pub doubled: Vec<String>,
    /// Stored, though it was said that they were not queued.
    pub denied: Vec<String>,
    /// Rows that a transformer made of several logs.
    pub merged: u64,
    /// Versions of a plugin that left their mark in rows.
    pub versions: u64,
    /// Messages that nobody settled.
    pub stuck: u64,
}

/// Where one log was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    rows: u64,
    /// The plugin at fault and why it was buried, for each time.
    letters: Vec<String>,
    in_ledger: bool,
}

/// How often a number was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    rows: u64,
    letters: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stored,
    Dropped,
    Dead,
    Lost,
    Doubled,
    Misplaced,
}

/// Invariant 1: rows or a dead letter, exactly once; only a plugin's own verdict may drop it. A ledger that names a
/// log without a row says "dropped", which is true only of what the plugins of this run drop. A letter is right only
/// where a plugin of this run fails on the log: else who buried everything would have lost nothing.
fn judge(found: &Found, fate: Fate) -> End {
    match (found.rows, &*found.letters, fate) {
        (0, [], Fate::Dropped) if found.in_ledger => End::Dropped,
        (0, [], _) => End::Lost,
        (1, [], Fate::Kept) => End::Stored,
        (0, [why], Fate::Dead) if why.starts_with(POISON) => End::Dead,
        (1, [], _) | (0, [_], _) => End::Misplaced,
        _ => End::Doubled,
    }
}

impl Account {
    /// Whether every log is where it belongs.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let wrong = [&self.lost, &self.doubled, &self.misplaced, &self.denied];
        wrong.iter().all(|list| list.is_empty()) && self.stuck == 0
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
        let letters = letters(&queue).await?;
        let found = find(&store, &answers.queued, &letters).await?;
        let mut account = Self { stuck, ..Self::default() };
        account.merged = count(system, "select count(*) from logs where cardinality(sources) > 1")?;
        account.versions = count(system, VERSIONS)?;
        account.judge_all(&answers.queued, &found);
        account.compare_numbers(answers, &numbers(system, &letters)?);
        store.close().await;
        Ok(account)
    }

    fn judge_all(&mut self, queued: &[Queued], found: &HashMap<MessageId, Found>) {
        let mut seen = HashSet::new();
        for log in queued {
            let nowhere = Found::default();
            let here = found.get(&log.id).unwrap_or(&nowhere);
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
                End::Misplaced => self.misplaced.push(described(log, here)),
            }
        }
    }

    /// By what the logs themselves carry: a log that is in the queue twice has two ids.
    fn compare_numbers(&mut self, answers: &Answers, found: &HashMap<u64, Times>) {
        let mut numbers: Vec<_> = found.iter().collect();
        numbers.sort_unstable_by_key(|(number, _)| **number);
        for (number, Times { rows, letters }) in numbers {
            if rows + letters > 1 {
                self.doubled.push(format!("n={number} is in {rows} rows and {letters} dead letters"));
            }
            if answers.refused.contains(number) {
                self.denied.push(format!("n={number}"));
            }
        }
    }
}

fn described(log: &Queued, found: &Found) -> String {
    let Found { rows, letters, in_ledger } = found;
    let number = log.number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let Queued { id, fate, .. } = log;
    format!("{id} (n={number}, {fate:?}): rows {rows}, dead letters {letters:?}, in the ledger: {in_ledger}")
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

/// All dead letters.
async fn letters(queue: &Queue) -> Result<Vec<DeadLetter>> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    loop {
        let page = queue.dead_list(letters.last().map(|letter| letter.id), LETTERS).await?;
        if page.is_empty() {
            return Ok(letters);
        }
        letters.extend(page);
    }
}

async fn find(store: &Store, queued: &[Queued], letters: &[DeadLetter]) -> Result<HashMap<MessageId, Found>> {
    let mut found: HashMap<MessageId, Found> = HashMap::new();
    let ids: Vec<_> = queued.iter().map(|log| log.id).collect();
    for ids in ids.chunks(IDS) {
        for (id, rows) in store.stored_ids(ids, Timestamp::from_micros(0)).await? {
            found.entry(id).or_default().rows = rows;
        }
    }
    for letter in letters {
        let plugin = letter.plugin.as_deref().unwrap_or("no plugin");
        found.entry(letter.message_id).or_default().letters.push(format!("{plugin}: {}", letter.reason));
    }
    let nowhere =
        |id: &MessageId| found.get(id).is_none_or(|found| found.rows == 0 && found.letters.is_empty());
    let missing: Vec<_> = ids.into_iter().filter(nowhere).collect();
    for ids in missing.chunks(IDS) {
        for id in store.committed(ids).await? {
            found.entry(id).or_default().in_ledger = true;
        }
    }
    Ok(found)
}

fn count(system: &System, query: &str) -> Result<u64> {
    system.sql(query).parse().context("psql did not answer a count")
}

/// The numbers that stored and buried logs carry.
fn numbers(system: &System, letters: &[DeadLetter]) -> Result<HashMap<u64, Times>> {
    let answer = system.sql("select log_data->>'n', count(*) from logs where log_data ? 'n' group by 1");
    let number = |line: &str| {
        let (number, rows) = line.split_once('|')?;
        Some((number.parse().ok()?, Times { rows: rows.parse().ok()?, letters: 0 }))
    };
    let stored = answer.lines().map(|line| number(line).with_context(|| format!("a line of psql: {line:?}")));
    let mut numbers: HashMap<u64, Times> = stored.collect::<Result<_>>()?;
    let log_data = letters.iter().flat_map(|letter| &letter.fields).filter(|(name, _)| name == "log_data");
    for number in log_data.filter_map(|(_, value)| number_in(value)) {
        numbers.entry(number).or_default().letters += 1;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: u64, letters: &[&str], in_ledger: bool) -> Found {
        Found { rows, letters: letters.iter().map(|reason| (*reason).to_owned()).collect(), in_ledger }
    }

    #[test]
    fn exactly_once_is_once_in_one_place() {
        let failed = "poison 1.0.0: trapped";
        for (found, fate, end) in [
            (found(1, &[], false), Fate::Kept, End::Stored),
            (found(0, &[failed], false), Fate::Dead, End::Dead),
            (found(0, &[], true), Fate::Dropped, End::Dropped),
            (found(0, &[], true), Fate::Kept, End::Lost),
            (found(0, &[], true), Fate::Dead, End::Lost),
            (found(0, &[], false), Fate::Dropped, End::Lost),
            (found(2, &[], false), Fate::Kept, End::Doubled),
            (found(1, &[failed], false), Fate::Dead, End::Doubled),
            (found(0, &[failed, failed], false), Fate::Dead, End::Doubled),
        ] {
            assert_eq!(judge(&found, fate), end, "{found:?} {fate:?}");
        }
    }

    #[test]
    fn what_lies_in_one_place_that_is_not_its_own_is_misplaced() {
        let failed = "poison 1.0.0: trapped";
        for (found, fate) in [
            (found(0, &[failed], false), Fate::Kept),
            (found(0, &[failed], false), Fate::Dropped),
            (found(0, &["no plugin: given up after 10 tries"], false), Fate::Dead),
            (found(1, &[], false), Fate::Dropped),
            (found(1, &[], false), Fate::Dead),
        ] {
            assert_eq!(judge(&found, fate), End::Misplaced, "{found:?} {fate:?}");
        }
    }

    #[test]
    fn every_answered_log_is_counted_once() {
        let log = |ms| Queued { id: MessageId { ms, seq: 0 }, number: Some(ms), fate: Fate::Kept };
        let found = HashMap::from([(log(1).id, found(1, &[], false)), (log(2).id, found(3, &[], false))]);
        let mut account = Account::default();
        account.judge_all(&[log(1), log(2), log(3), log(3)], &found);
        assert_eq!((account.stored, account.doubled.len(), account.lost.len()), (1, 2, 1), "{account:?}");
        assert!(!account.is_clean());
    }

    #[test]
    fn who_buries_everything_is_seen_and_told_the_reason() {
        let log = |ms| Queued { id: MessageId { ms, seq: 0 }, number: Some(ms), fate: Fate::Kept };
        let found = HashMap::from([(log(1).id, found(0, &["a whim"], false))]);
        let mut account = Account::default();
        account.judge_all(&[log(1)], &found);
        assert!(account.misplaced[0].contains("a whim"), "{account:?}");
        assert!(!account.is_clean());
    }

    #[test]
    fn a_log_under_two_ids_and_a_refused_one_that_is_stored_are_seen() {
        let answers = Answers { refused: HashSet::from([7, 8]), ..Answers::default() };
        let mut account = Account::default();
        let times = |rows, letters| Times { rows, letters };
        let found =
            [(4, times(0, 1)), (5, times(1, 0)), (6, times(2, 0)), (7, times(1, 0)), (9, times(1, 1))];
        account.compare_numbers(&answers, &HashMap::from(found));
        let doubled = ["n=6 is in 2 rows and 0 dead letters", "n=9 is in 1 rows and 1 dead letters"];
        assert_eq!(account.doubled, doubled);
        assert_eq!(account.denied, ["n=7"]);
    }
}
