//! Whether what was answered `queued` is stored, once.
//!
//! Asks as a device's owner would, through `GET /api/logs/{device_id}`, past the cache. A row counts for
//! its own id and for every id in its `sources`, so a transform that merges logs loses none. Several rows
//! of one log (a split) differ in `part`; the same part twice is a double.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::{Response, StatusCode, header};
use sawpit_model::{MessageId, Timestamp};
use serde::Deserialize;

use super::Outcome;
use super::post::Poster;
use super::report::{Answered, print_lines};

/// Rows per query, the most that a host answers by default.
const PAGE: u32 = 1_000;
/// A row that was made of several logs has the time of the first of them, which may be of another run shortly before.
const EARLIER_MICROS: i64 = 60_000_000;
/// Time between two looks at devices with missing rows.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How many ids of each fault are printed.
const SHOWN: usize = 10;

/// Reads the rows of a device.
struct Reader<'a> {
    poster: &'a Poster,
    /// Rows before this are not of the run, by the hosts' clocks: ours may tell another time.
    since: Option<Timestamp>,
    /// Rows per query; none for as many as the host gives who does not ask.
    page: Cell<Option<u32>>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Row>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    message_id: MessageId,
    #[serde(default)]
    sources: Vec<MessageId>,
    #[serde(default)]
    part: u32,
}

/// What is wrong with the rows of the devices.
#[derive(Default)]
struct Faults {
    missing: Vec<(String, MessageId)>,
    doubled: Vec<(String, MessageId)>,
}

/// Looks until every id is found, or no further one appeared for `patience`; prints what it found.
pub async fn run(poster: &Poster, answered: Answered, patience: Duration) -> Result<Outcome> {
    let Answered { ids, since } = answered;
    let since = since.map(|first| Timestamp::from_micros(first.as_micros() - EARLIER_MICROS));
    let reader = Reader { poster, since, page: Cell::new(Some(PAGE)) };
    let total: usize = ids.values().map(Vec::len).sum();
    let mut faults = look(&reader, &ids).await?;
    let mut last_progress = Instant::now();
    while !faults.missing.is_empty() && last_progress.elapsed() < patience {
        tokio::time::sleep(LOOK_AGAIN).await;
        let before = faults.missing.len();
        faults = look_again(&reader, &ids, faults).await?;
        if faults.missing.len() < before {
            last_progress = Instant::now();
        }
    }
    print_faults(total, &faults);
    let clean = faults.missing.is_empty() && faults.doubled.is_empty();
    Ok(if clean { Outcome::Clean } else { Outcome::Faulty })
}

async fn look(reader: &Reader<'_>, answered: &HashMap<String, Vec<MessageId>>) -> Result<Faults> {
    let mut faults = Faults::default();
    for (device_id, ids) in answered {
        let found = reader.rows_per_id(device_id).await?;
        compare(device_id, ids, &found, &mut faults);
    }
    Ok(faults)
}

/// Only devices with something missing are asked again; a double once seen stays.
async fn look_again(
    reader: &Reader<'_>,
    answered: &HashMap<String, Vec<MessageId>>,
    earlier: Faults,
) -> Result<Faults> {
    let devices: HashSet<_> = earlier.missing.iter().map(|(device_id, _)| device_id).collect();
    let again = answered.iter().filter(|(device_id, _)| devices.contains(device_id));
    let again = again.map(|(device_id, ids)| (device_id.clone(), ids.clone())).collect();
    let mut faults = look(reader, &again).await?;
    faults.doubled.extend(earlier.doubled);
    faults.doubled.sort();
    faults.doubled.dedup();
    Ok(faults)
}

impl Reader<'_> {
    async fn rows_per_id(&self, device_id: &str) -> Result<HashMap<MessageId, Vec<u32>>> {
        let mut found: HashMap<MessageId, Vec<u32>> = HashMap::new();
        let mut cursor = None;
        loop {
            let page = self.page(device_id, cursor.as_deref()).await?;
            for row in page.data {
                let also = row.sources.into_iter().filter(|id| *id != row.message_id);
                for id in std::iter::once(row.message_id).chain(also) {
                    found.entry(id).or_default().push(row.part);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// A host that gives fewer rows at once than we ask for says so, and is asked for what it gives.
    async fn page(&self, device_id: &str, cursor: Option<&str>) -> Result<Page> {
        let mut answer = self.ask(device_id, cursor).await?;
        if answer.status() == StatusCode::BAD_REQUEST && self.page.take().is_some() {
            answer = self.ask(device_id, cursor).await?;
        }
        let answer = answer.error_for_status().context("could not read the stored logs back")?;
        serde_json::from_slice(&answer.bytes().await?).context("unexpected answer to the query")
    }

    async fn ask(&self, device_id: &str, cursor: Option<&str>) -> Result<Response> {
        let mut url = self.poster.address(&["api", "logs", device_id])?;
        let parameters = [
            ("limit", self.page.get().map(|rows| rows.to_string())),
            ("since", self.since.map(|since| since.to_string())),
            ("cursor", cursor.map(str::to_owned)),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let query = self.poster.client().get(url).header(header::CACHE_CONTROL, "no-cache");
        Ok(query.send().await?)
    }
}

fn compare(device_id: &str, ids: &[MessageId], found: &HashMap<MessageId, Vec<u32>>, faults: &mut Faults) {
    for id in ids {
        let fault = (device_id.to_owned(), *id);
        match found.get(id) {
            None => faults.missing.push(fault),
            Some(parts) if parts.iter().collect::<HashSet<_>>().len() < parts.len() => {
                faults.doubled.push(fault)
            }
            Some(_) => {}
        }
    }
}

fn print_faults(total: usize, faults: &Faults) {
    let (missing, doubled) = (faults.missing.len(), faults.doubled.len());
    let stored = total.saturating_sub(missing);
    print_lines([
        format!("verified: {stored} of {total} stored, {missing} missing, {doubled} doubled").as_str()
    ]);
    for (name, ids) in [("missing", &faults.missing), ("doubled", &faults.doubled)] {
        for (device_id, id) in ids.iter().take(SHOWN) {
            print_lines([format!("  {name}: {id} of {device_id}").as_str()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> MessageId {
        MessageId { ms, seq: 0 }
    }

    #[test]
    fn missing_and_doubled_ids_are_told_apart_from_splits() {
        let found = HashMap::from([(id(1), vec![0]), (id(2), vec![0, 0]), (id(3), vec![0, 1])]);
        let mut faults = Faults::default();
        compare("d", &[id(1), id(2), id(3), id(4)], &found, &mut faults);
        assert_eq!(faults.missing, [("d".to_owned(), id(4))]);
        assert_eq!(faults.doubled, [("d".to_owned(), id(2))]);
    }
}
