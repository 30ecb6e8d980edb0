//! What became of every answered log, read from the queue and the store themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sawpit_model::{MessageId, Timestamp};
use sawpit_queue::{DeadLetter, Queue, QueueSettings};
use sawpit_service::Clock;
use sawpit_store::{Store, StoreSettings};

use crate::load::{Answers, Queued};
use crate::logs::{Fate, number_in};
use crate::plugins::POISON;
use crate::quiet;
use crate::system::System;

/// Ids in one question to the store.
const IDS: usize = 50_000;
/// Dead letters in one question to the queue.
const LETTERS: usize = 1_000;
/// What the versions of the enricher set (see [`System::swap`]).
const VERSIONS: &str = "select count(distinct log_data->'device'->>'site') from logs";
/// What rows carry, for each log that they were made of.
const CARRIED: &str = "select coalesce(source.id, format('%s-%s', ms, seq)), log_data->>'n' \
                       from logs left join lateral unnest(sources) as source(id) on true where log_data ? 'n'";

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
    /// In one place, but not where it belongs: buried without its own fault, stored though it was to be dropped, or under
    /// the id of another.
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
    /// The number that the row or the letter carries.
    number: Option<u64>,
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
    /// How many logs are not where they belong, by what is wrong with them; nothing when all are.
    #[must_use]
    pub fn wrongs(&self) -> Vec<String> {
        let lists = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("misplaced", &self.misplaced),
            ("refused, yet stored", &self.denied),
        ];
        let counts = lists.into_iter().map(|(what, list)| (what, list.len() as u64));
        let counts = counts.chain([("never settled", self.stuck)]).filter(|(_, count)| *count > 0);
        counts.map(|(what, count)| format!("{count} {what}")).collect()
    }

    /// Waits until the workers have nothing left, ends them, and then looks for every answered log. `tend` is called while
    /// waiting.
    ///
    /// # Errors
    /// The queue or the store does not answer, though nothing disturbs it any more.
    pub async fn of(system: &Arc<System>, answers: &Answers, tend: impl FnMut()) -> Result<Self> {
        let clock = Clock::system();
        let settings = QueueSettings { url: system.queue_url(), ..QueueSettings::default() };
        let queue = Queue::open(settings, clock.reader()).await?;
        let stuck = quiet::wait(system, &queue, tend).await?;
        let settings = StoreSettings {
            url: system.store_url(),
            statement_timeout: Duration::from_secs(300),
            ..StoreSettings::default()
        };
        let store = Store::open(settings, clock.now()).await?;
        let letters = letters(&queue).await?;
        let mut found = find(&store, &answers.queued, &letters).await?;
        for (id, number) in carried(system)? {
            found.entry(id).or_default().number = Some(number);
        }
        let mut account = Self { stuck, ..Self::default() };
        account.merged = system.count("select count(*) from logs where cardinality(sources) > 1")?;
        account.versions = system.count(VERSIONS)?;
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
                // Another log was answered this id, or this one was stored under another's.
                End::Stored | End::Dead if here.number != log.number => {
                    self.misplaced.push(described(log, here));
                }
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
    let name = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let Found { rows, letters, in_ledger, number: carried } = found;
    let Queued { id, number, fate } = log;
    let (number, carried) = (name(*number), name(*carried));
    let found =
        format!("rows {rows}, dead letters {letters:?}, that carry n={carried}, in the ledger: {in_ledger}");
    format!("{id} (n={number}, {fate:?}): {found}")
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
        let here = found.entry(letter.message_id).or_default();
        here.letters.push(format!("{plugin}: {}", letter.reason));
        here.number = number_of(letter);
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

/// The number that a dead letter carries.
fn number_of(letter: &DeadLetter) -> Option<u64> {
    let (_, log_data) = letter.fields.iter().find(|(name, _)| name == "log_data")?;
    number_in(log_data)
}

/// The numbers that rows carry, under the ids of all logs that a row was made of. The plugins of a run keep the numbers, and
/// fold only logs that have none.
fn carried(system: &System) -> Result<HashMap<MessageId, u64>> {
    let answer = system.sql(CARRIED);
    let carried = |line: &str| {
        let (id, number) = line.split_once('|')?;
        Some((id.parse::<MessageId>().ok()?, number.parse::<u64>().ok()?))
    };
    answer.lines().map(|line| carried(line).with_context(|| format!("a line of psql: {line:?}"))).collect()
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
    for number in letters.iter().filter_map(number_of) {
        numbers.entry(number).or_default().letters += 1;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: u64, letters: &[&str], in_ledger: bool) -> Found {
        let letters = letters.iter().map(|reason| (*reason).to_owned()).collect();
        Found { rows, letters, in_ledger, number: None }
    }

    fn queued(ms: u64, number: Option<u64>, fate: Fate) -> Queued {
        Queued { id: MessageId { ms, seq: 0 }, number, fate }
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
        let log = |ms| queued(ms, None, Fate::Kept);
        let found = HashMap::from([(log(1).id, found(1, &[], false)), (log(2).id, found(3, &[], false))]);
        let mut account = Account::default();
        account.judge_all(&[log(1), log(2), log(3), log(3)], &found);
        assert_eq!((account.stored, account.doubled.len(), account.lost.len()), (1, 2, 1), "{account:?}");
        assert_eq!(account.wrongs(), ["1 lost", "2 doubled"]);
    }

    #[test]
    fn who_buries_everything_is_seen_and_told_the_reason() {
        let log = queued(1, Some(1), Fate::Kept);
        let found = HashMap::from([(log.id, found(0, &["a whim"], false))]);
        let mut account = Account::default();
        account.judge_all(&[log], &found);
        assert!(account.misplaced[0].contains("a whim"), "{account:?}");
        assert_eq!(account.wrongs(), ["1 misplaced"]);
    }

    #[test]
    fn what_lies_under_the_id_of_another_log_is_misplaced() {
        for (number, carried, is_right) in [
            (Some(1), Some(1), true),
            (None, None, true),
            (Some(1), Some(2), false),
            (Some(1), None, false),
            (None, Some(2), false),
        ] {
            for (fate, found) in
                [(Fate::Kept, found(1, &[], false)), (Fate::Dead, found(0, &["poison: trapped"], false))]
            {
                let log = queued(1, number, fate);
                let mut account = Account::default();
                account.judge_all(&[log], &HashMap::from([(log.id, Found { number: carried, ..found })]));
                assert_eq!(account.wrongs().is_empty(), is_right, "{account:?}");
                assert_eq!(account.misplaced.is_empty(), is_right, "{account:?}");
            }
        }
    }

    #[test]
    fn a_message_that_nobody_settled_is_wrong() {
        let account = Account { stuck: 2, ..Account::default() };
        assert_eq!(account.wrongs(), ["2 never settled"]);
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
