//! What a host holds in memory while large rows are exported, from either database.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use sawpit_model::{Level, Log, MessageId, RawObject, Tally, Timestamp};
use sawpit_store::{Batch, Row, Store, StoreSettings};
use sawpit_testkit::{Postgres, Process, Redis, TempFolder};
use support::{SOON, free_address, sawpit};

const MIB: usize = 1 << 20;
/// 2026-11-23T12:00:00Z, in microseconds.
const NOW: i64 = 1_795_435_200_000_000;
/// Each of 80 KB: more in all than the host may grow by for all readers together.
const ROWS: u64 = 3_200;
const BATCH: u64 = 40;
const READERS: usize = 4;
/// Rows, their text and what waits in the connections, of each reader; and what the allocator keeps for a while, which is
/// more than glibc's does.
const GROWTH: usize = READERS * 40 * MIB;

/// Resident memory, in bytes.
fn memory(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn row(n: u64) -> Row {
    let received_at = Timestamp::from_micros(NOW + i64::try_from(n).unwrap());
    let log = Log {
        device_id: "d".to_owned(),
        log_level: Level::Info,
        message: format!("{n} {}", "m".repeat(16_000)),
        log_data: RawObject::from_trusted(format!(r#"{{"n":{n},"text":"{}"}}"#, "t".repeat(64_000))),
        received_at,
    };
    Row {
        sources: vec![MessageId { ms: received_at.as_millis(), seq: n }],
        part: 0,
        log,
        chain: String::new(),
    }
}

async fn fill(url: &str) {
    let settings = StoreSettings { url: url.to_owned(), pool: 1, ..StoreSettings::default() };
    let committed_at = Timestamp::from_micros(NOW);
    let store = Store::open(settings, committed_at).await.unwrap();
    let lease = store.lease("w").await.unwrap();
    for first in (0..ROWS).step_by(usize::try_from(BATCH).unwrap()) {
        let rows: Vec<Row> = (first..first + BATCH).map(row).collect();
        let ids = rows.iter().flat_map(|row| row.sources.clone()).collect();
        let batch = Batch { ids, rows, verdicts: Tally::default(), committed_at };
        store.commit(&lease, &batch).await.unwrap();
    }
    store.close().await;
}

/// Reads an export to its end, not as fast as it comes; how many lines and bytes it had.
async fn read(url: String) -> (usize, usize) {
    let client = support::client().timeout(Duration::from_secs(300)).build().unwrap();
    let mut answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let (mut lines, mut bytes) = (0, 0);
    while let Some(chunk) = answer.chunk().await.unwrap() {
        bytes += chunk.len();
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    (lines, bytes)
}

async fn exported_in_bounded_memory(store: &str) {
    fill(store).await;
    let (redis, folder, address) = (Redis::start(), TempFolder::new("export"), free_address());
    let (listen, queue, plugins) = (address.to_string(), redis.url(), folder.path().to_str().unwrap());
    let host =
        sawpit(&["host", "--listen", &listen, "--queue", &queue, "--store", store, "--plugins", plugins]);
    host.wait_http(address, "/health/ready", SOON);
    let before = memory(&host);
    let readers = (0..READERS).map(|n| {
        let format = if n % 2 == 0 { "ndjson" } else { "csv" };
        tokio::spawn(read(format!("http://{address}/api/logs?format={format}")))
    });
    let readers: Vec<_> = readers.collect();
    let mut most = 0;
    while !readers.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(memory(&host));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (n, reader) in readers.into_iter().enumerate() {
        let (lines, bytes) = reader.await.unwrap();
        let head = n % 2;
        assert_eq!(lines, usize::try_from(ROWS).unwrap() + head);
        assert!(bytes > GROWTH, "{bytes} bytes would fit into memory");
    }
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH, "grown by {} MiB", grown / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_large_rows_from_sqlite_takes_no_more_memory_than_its_pages() {
    let folder = TempFolder::new("export-store");
    exported_in_bounded_memory(&format!("sqlite:{}", folder.join("logs.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_large_rows_from_postgresql_takes_no_more_memory_than_its_pages() {
    let server = Postgres::with(&[("fsync", "off")]);
    exported_in_bounded_memory(&server.url("postgres")).await;
}
