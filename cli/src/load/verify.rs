//! Whether what was answered `queued` is stored, once.
//!
//! Asks as a device's owner would, through `GET /api/logs/{device_id}`, past the cache. A row counts for
//! its own id and for every id in its `sources`, so a transform that merges logs loses none. Several rows
//! of one log (a split) differ in `part`; the same part twice is a double.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::header;
use sawpit_model::MessageId;
use serde::Deserialize;

use super::post::Poster;
use super::report::{Answered, print_lines};
use super::{LoadSettings, Outcome};

/// Rows per query, the most that a host answers by default.
const PAGE: usize = 1_000;
/// Time between two looks at devices with missing rows.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How many ids of each fault are printed.
const SHOWN: usize = 10;

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
pub async fn run(
    settings: &LoadSettings,
    poster: &Poster,
    answered: Answered,
    patience: Duration,
) -> Result<Outcome> {
    let total: usize = answered.values().map(Vec::len).sum();
    let mut faults = look(settings, poster, &answered).await?;
    let mut last_progress = Instant::now();
    while !faults.missing.is_empty() && last_progress.elapsed() < patience {
        tokio::time::sleep(LOOK_AGAIN).await;
        let before = faults.missing.len();
        faults = look_again(settings, poster, &answered, faults).await?;
        if faults.missing.len() < before {
            last_progress = Instant::now();
        }
    }
    print_faults(total, &faults);
    let clean = faults.missing.is_empty() && faults.doubled.is_empty();
    Ok(if clean { Outcome::Clean } else { Outcome::Faulty })
}

async fn look(settings: &LoadSettings, poster: &Poster, answered: &Answered) -> Result<Faults> {
    let mut faults = Faults::default();
    for (device_id, ids) in answered {
        let found = rows_per_id(settings, poster, device_id).await?;
        compare(device_id, ids, &found, &mut faults);
    }
    Ok(faults)
}

/// Only devices with something missing are asked again; a double once seen stays.
async fn look_again(
    settings: &LoadSettings,
    poster: &Poster,
    answered: &Answered,
    earlier: Faults,
) -> Result<Faults> {
    let devices: HashSet<_> = earlier.missing.iter().map(|(device_id, _)| device_id).collect();
    let again = answered.iter().filter(|(device_id, _)| devices.contains(device_id));
    let again = again.map(|(device_id, ids)| (device_id.clone(), ids.clone())).collect();
    let mut faults = look(settings, poster, &again).await?;
    faults.doubled.extend(earlier.doubled);
    faults.doubled.sort();
    faults.doubled.dedup();
    Ok(faults)
}

async fn rows_per_id(
    settings: &LoadSettings,
    poster: &Poster,
    device_id: &str,
) -> Result<HashMap<MessageId, Vec<u32>>> {
    let mut found: HashMap<MessageId, Vec<u32>> = HashMap::new();
    let mut cursor = None;
    loop {
        let page = page(settings, poster, device_id, cursor.as_deref()).await?;
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

async fn page(
    settings: &LoadSettings,
    poster: &Poster,
    device_id: &str,
    cursor: Option<&str>,
) -> Result<Page> {
    let mut url = poster.address(&["api", "logs", device_id])?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("limit", &PAGE.to_string());
        query.append_pair("since", &settings.started_at.to_string());
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
    }
    let answer = poster.client().get(url).header(header::CACHE_CONTROL, "no-cache").send().await?;
    let answer = answer.error_for_status().context("could not read the stored logs back")?;
    serde_json::from_slice(&answer.bytes().await?).context("unexpected answer to the query")
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
