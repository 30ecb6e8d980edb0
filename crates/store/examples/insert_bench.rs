//! Rows per second into PostgreSQL, stored with UNNEST (what the store does) and with COPY:
//! `cargo run --release -p sawpit-store --example insert_bench [URL of an empty database]`.
//! Without a URL it starts a server of its own, with the default settings, fsync included.
//!
//! Both do the same: check the lease, insert the rows, insert the ledger row, commit durably. 1 and 4 batches in
//! flight, 100 and 1,000 rows each.
#![allow(clippy::print_stdout, reason = "prints its results")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sawpit_model::{Level, Log, MessageId, RawObject, Tally, Timestamp};
use sawpit_store::{Batch, Row, Store, StoreSettings};
use sawpit_testkit::Postgres;
use sqlx::postgres::{PgPool, PgPoolOptions};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SPAN: Duration = Duration::from_secs(3);
/// 2026-11-23T12:00:00Z, in milliseconds.
const START_MS: u64 = 1_795_435_200_000;

#[derive(Clone, Copy, Debug)]
enum Way {
    Unnest,
    Copy,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::args().nth(1).is_none().then(Postgres::start);
    let url = server.as_ref().map(by_socket);
    let url = url.or_else(|| std::env::args().nth(1)).unwrap_or_default();
    let now = Timestamp::from_micros(START_MS.cast_signed() * 1_000);
    let store = Store::open(StoreSettings { url: url.clone(), ..StoreSettings::default() }, now).await?;
    let pool = PgPoolOptions::new().max_connections(4).test_before_acquire(false).connect(&url).await?;
    let mut next = 0;
    println!("way      rows  in flight    rows/s");
    for (rows, in_flight) in [(100, 1), (100, 4), (1_000, 1), (1_000, 4)] {
        for way in [Way::Unnest, Way::Copy, Way::Unnest, Way::Copy] {
            next += 1;
            let rate = measure(&store, &pool, way, rows, in_flight, next * 100_000_000).await?;
            println!("{:8} {rows:4}  {in_flight:9}  {rate:8.0}", format!("{way:?}"));
        }
    }
    Ok(())
}

/// A new database's URL through the server's Unix socket. sqlx does not set TCP_NODELAY, so over TCP the two
/// packets that end a COPY wait for a delayed acknowledgement (40 ms), which would decide the comparison.
fn by_socket(server: &Postgres) -> String {
    server.create_database("bench");
    let folder = server.query("postgres", "SHOW unix_socket_directories");
    format!("postgres://postgres@localhost:{}/bench?host={folder}", server.port())
}

async fn measure(
    store: &Store,
    pool: &PgPool,
    way: Way,
    rows: u64,
    in_flight: u64,
    first: u64,
) -> Result<f64, Failure> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|n| tokio::spawn(insert(store.clone(), pool.clone(), way, rows, first + n * 10_000_000)))
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += task.await??;
    }
    Ok(stored as f64 / started.elapsed().as_secs_f64())
}

async fn insert(store: Store, pool: PgPool, way: Way, rows: u64, first: u64) -> Result<u64, Failure> {
    let lease = store.lease(&format!("bench-{first}")).await?;
    let (started, mut stored) = (Instant::now(), 0);
    while started.elapsed() < SPAN {
        let batch = batch(rows, first + stored);
        match way {
            Way::Unnest => store.commit(&lease, &batch).await?,
            Way::Copy => copy(&pool, lease.owner(), &batch).await?,
        }
        stored += rows;
    }
    Ok(stored)
}

fn batch(rows: u64, first: u64) -> Batch {
    let ids: Vec<MessageId> = (0..rows).map(|n| MessageId { ms: START_MS + first + n, seq: 0 }).collect();
    let row = |id: &MessageId| Row { sources: vec![*id], part: 0, log: log(*id), chain: "bench".to_owned() };
    let rows = ids.iter().map(row).collect();
    Batch {
        ids,
        rows,
        verdicts: Tally::default(),
        committed_at: Timestamp::from_micros(START_MS.cast_signed() * 1_000),
    }
}

fn log(id: MessageId) -> Log {
    let n = id.ms % 100_000_000;
    Log {
        device_id: format!("sensor-{:03}", n % 100),
        log_level: Level::Info,
        message: format!("temperature of unit {n} read, next reading in 60 seconds"),
        log_data: RawObject::from_trusted(format!(
            r#"{{"temperature":21.5,"unit":"C","seq":{n},"site":"north"}}"#
        )),
        // Within one day, whatever the number.
        received_at: Timestamp::from_micros(
            (START_MS.cast_signed() + (n % 10_000_000).cast_signed()) * 1_000,
        ),
    }
}

async fn copy(pool: &PgPool, owner: &str, batch: &Batch) -> Result<(), Failure> {
    let mut tx = pool.begin().await?;
    let held = sqlx::query("SELECT 1 FROM leases WHERE owner = $1 FOR SHARE").bind(owner);
    held.fetch_one(&mut *tx).await?;
    let into = "COPY logs (received_at, ms, seq, part, chain_id, log_level, device_id, message, log_data) FROM STDIN";
    let mut sink = tx.copy_in_raw(into).await?;
    sink.send(text(batch)?.as_bytes()).await?;
    sink.finish().await?;
    let ledger = "INSERT INTO ledger (max_ms, max_seq, min_ms, committed_at, owner, ids) VALUES ($1,$2,$3,now(),$4,$5)";
    let (first, last) =
        (batch.ids.first().copied().unwrap_or_default(), batch.ids.last().copied().unwrap_or_default());
    let ledger = sqlx::query(ledger).bind(last.ms.cast_signed()).bind(last.seq.cast_signed());
    let ids = vec![1_u8; batch.ids.len() * 2 + 5]; // as large as the real list
    ledger.bind(first.ms.cast_signed()).bind(owner).bind(ids).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// COPY's text form. The bench's values need no escape.
fn text(batch: &Batch) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for row in &batch.rows {
        let (log, id) = (&row.log, row.sources.first().copied().unwrap_or_default());
        write!(text, "{}\t{}\t{}\t0\t1\t{}\t", log.received_at, id.ms, id.seq, log.log_level.code())?;
        writeln!(text, "{}\t{}\t{}", log.device_id, log.message, log.log_data.as_str())?;
    }
    Ok(text)
}
