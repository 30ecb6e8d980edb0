//! What queries cost while the table grows, and what the search indexes cost a commit: `cargo xtask bench growth [ROWS...]`.
//!
//! A million logs a day come in from 1,000 devices, in batches of 100 through the store itself, four at once. At each
//! count of rows each query is asked in turn with ever other devices and words; the table shows the median.

use std::time::{Duration, Instant};

use anyhow::Result;
use sawpit_model::{Level, Log, MessageId, RawObject, Tally, Timestamp};
use sawpit_store::{Batch, IndexSettings, LogQuery, Row, Search, Store, StoreSettings};
use sawpit_testkit::{Postgres, TempFolder};

/// 2026-11-01T00:00:00Z, in microseconds.
const START: i64 = 1_793_491_200_000_000;
/// Between two logs: a million a day.
const STEP: i64 = 86_400;
const DEVICES: u64 = 1_000;
const BATCH: u64 = 100;
const IN_FLIGHT: u64 = 4;
/// Times that each query is asked.
const TURNS: u64 = 41;
/// Longest time of one query: more than any is to take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Which database is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A server of its own.
    Postgres,
    /// A file in a folder of its own.
    Sqlite,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Where.
    pub database: Database,
    /// Rows of each measurement of inserts.
    pub inserted: u64,
    /// Counts of rows at which the queries are asked, each larger than the one before.
    pub rows: Vec<u64>,
}

/// Measures inserts and queries; `print` is given each line as soon as it is known.
///
/// # Errors
/// The server did not start, or the database refused something.
pub fn growth(growth: &Growth, print: &mut dyn FnMut(&str)) -> Result<()> {
    let place = match growth.database {
        Database::Postgres => Place::Postgres(Box::new(Postgres::start())),
        Database::Sqlite => Place::Sqlite(TempFolder::new("growth")),
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        inserts(&place, growth.inserted, print).await?;
        queries(&place, &growth.rows, print).await
    })
}

/// Where the databases are made.
enum Place {
    Postgres(Box<Postgres>),
    Sqlite(TempFolder),
}

impl Place {
    fn url(&self, name: &str) -> String {
        match self {
            Self::Postgres(server) => server.create_database(name),
            Self::Sqlite(folder) => format!("sqlite:{}", folder.join(name).display()),
        }
    }

    /// What autovacuum does within minutes: without statistics PostgreSQL's planner guesses.
    fn settle(&self, name: &str) {
        if let Self::Postgres(server) = self {
            server.query(name, "VACUUM ANALYZE");
        }
    }
}

/// What each index costs.
async fn inserts(place: &Place, rows: u64, print: &mut dyn FnMut(&str)) -> Result<()> {
    print(&format!("\n{:<28} {:>10} {:>7}", "inserts, with", "rows/s", "ratio"));
    let mut baseline = None;
    for (name, text, data) in [
        ("no index", false, false),
        ("text-index", true, false),
        ("data-index", false, true),
        ("both", true, true),
    ] {
        let store = open(place, &format!("inserts_{text}_{data}"), text, data).await?;
        let started = Instant::now();
        insert(&store, 0, rows).await?;
        let rate = rows as f64 / started.elapsed().as_secs_f64();
        print(&format!("{name:<28} {rate:>10.0} {:>7.2}", rate / *baseline.get_or_insert(rate)));
        store.close().await;
    }
    Ok(())
}

/// What each query costs at each count of rows.
async fn queries(place: &Place, sizes: &[u64], print: &mut dyn FnMut(&str)) -> Result<()> {
    let store = open(place, "growth", true, true).await?;
    let mut stored = 0;
    for size in sizes {
        insert(&store, stored, *size).await?;
        stored = (*size).max(stored);
        place.settle("growth");
        let head = format!("query of {stored} rows");
        print(&format!("\n{head:<44} {:>10} {:>10}", "median ms", "longest"));
        for (name, query) in QUERIES {
            let mut took = Vec::new();
            for turn in 0..TURNS {
                let started = Instant::now();
                query.ask(&store, stored, turn).await?;
                took.push(started.elapsed());
            }
            took.sort_unstable();
            let ms = |place: usize| took.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3;
            print(&format!("{name:<44} {:>10.2} {:>10.2}", ms(took.len() / 2), ms(took.len() - 1)));
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Query {
    Device,
    DeviceLevel,
    DeviceOld,
    All,
    Rare,
    Words(fn(u64, u64) -> String),
    DeviceWords(fn(u64, u64) -> String),
    LevelWords(&'static str),
    Data(fn(u64, u64) -> String),
    Stats,
}

const QUERIES: [(&str, Query); 15] = [
    ("page of a device, with its total", Query::Device),
    ("page of a device and a rare level", Query::DeviceLevel),
    ("page of a device, half way back", Query::DeviceOld),
    ("page of all devices", Query::All),
    ("page of all devices, a rare level", Query::Rare),
    ("q: a word in every log", Query::Words(|_, _| "temperature".to_owned())),
    ("q: a word in 1 of 100", Query::Words(|_, turn| format!("site{}", turn % 100))),
    ("q: a word in 1 of 10,000", Query::Words(|_, turn| format!("unit{}", turn * 7))),
    ("q: a word in one log", Query::Words(|rows, turn| format!("serial{}", turn * rows / TURNS))),
    ("q: a word in 1 of 100, of a device", Query::DeviceWords(|_, turn| format!("site{}", turn % 100))),
    ("q: a word in every log, of a rare level", Query::LevelWords("temperature")),
    ("q: a word in half of them, never in that level", Query::LevelWords("odd")),
    ("q: two words in half of them, that never meet", Query::Words(|_, _| "even odd".to_owned())),
    ("data.seq=, in one log", Query::Data(|rows, turn| (turn * rows / TURNS).to_string())),
    ("statistics", Query::Stats),
];

impl Query {
    async fn ask(self, store: &Store, rows: u64, turn: u64) -> Result<()> {
        let mut query = LogQuery { time_limit: PATIENCE, ..LogQuery::default() };
        let device = format!("device-{}", turn * 37 % DEVICES);
        match self {
            Self::Device => query.device_id = Some(device),
            Self::DeviceLevel => {
                query.device_id = Some(device);
                query.levels = vec![Level::Critical];
            }
            Self::DeviceOld => {
                query.device_id = Some(device);
                query.until = Some(Timestamp::from_micros(START + STEP * i64::try_from(rows / 2)?));
                // Not to measure the counting, which is bounded.
                query.count_limit = 0;
            }
            Self::All => {}
            Self::Rare => query.levels = vec![Level::Critical],
            Self::Words(words) => query.search = words_of(&words(rows, turn))?,
            Self::DeviceWords(words) => {
                query.search = words_of(&words(rows, turn))?;
                query.device_id = Some(device);
            }
            Self::LevelWords(words) => {
                query.search = words_of(words)?;
                query.levels = vec![Level::Critical];
            }
            Self::Data(value) => {
                let mut search = Search::default();
                search.data("seq", &value(rows, turn))?;
                query.search = search;
            }
            Self::Stats => {
                store.stats(Timestamp::from_micros(START + STEP * i64::try_from(rows)?)).await?;
                return Ok(());
            }
        }
        store.query(&query).await?;
        Ok(())
    }
}

fn words_of(text: &str) -> Result<Search> {
    let mut search = Search::default();
    search.words(text)?;
    Ok(search)
}

async fn open(place: &Place, name: &str, text: bool, data: bool) -> Result<Store> {
    let settings = StoreSettings {
        url: place.url(name),
        index: IndexSettings { text, data, ..IndexSettings::default() },
        statement_timeout: PATIENCE,
        ..StoreSettings::default()
    };
    let store = Store::open(settings, Timestamp::from_micros(START)).await?;
    store.note_indexes(Timestamp::from_micros(START)).await?;
    Ok(store)
}

/// Stores the rows from `first` up to `end`.
async fn insert(store: &Store, first: u64, end: u64) -> Result<()> {
    let mut next = first;
    while next < end {
        // A few days at a time, so that each has its partition.
        let until = end.min((next / 1_000_000 + 1) * 1_000_000);
        store.maintain(Timestamp::from_micros(START + STEP * i64::try_from(next)?)).await?;
        let batches: Vec<u64> = (next..until).step_by(usize::try_from(BATCH)?).collect();
        let mut tasks = Vec::new();
        for task in 0..IN_FLIGHT {
            let of_task = batches.iter().skip(usize::try_from(task)?).step_by(usize::try_from(IN_FLIGHT)?);
            tasks.push(tokio::spawn(commit(
                store.clone(),
                format!("bench-{task}"),
                of_task.copied().collect(),
                until,
            )));
        }
        for task in tasks {
            task.await??;
        }
        next = until;
    }
    Ok(())
}

async fn commit(store: Store, name: String, batches: Vec<u64>, end: u64) -> Result<()> {
    let lease = store.lease(&name).await?;
    for first in batches {
        let rows: Vec<Row> = (first..end.min(first + BATCH)).map(row).collect::<Result<_, _>>()?;
        let ids = rows.iter().flat_map(|row| row.sources.clone()).collect();
        let committed_at = Timestamp::from_micros(START + STEP * i64::try_from(first)?);
        store.commit(&lease, &Batch { ids, rows, verdicts: Tally::default(), committed_at }).await?;
    }
    Ok(())
}

fn row(n: u64) -> Result<Row> {
    let received_at = Timestamp::from_micros(START + STEP * i64::try_from(n)?);
    let level = match n % 1_000 {
        0 => Level::Critical,
        1..=20 => Level::Error,
        21..=100 => Level::Warning,
        _ => Level::Info,
    };
    // Numbers that follow each other in no order that an index could use.
    let odd = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let log = Log {
        device_id: format!("device-{}", odd % DEVICES),
        log_level: level,
        message: format!(
            "temperature of unit{} at site{} read, serial{n}, {} turn, next reading in 60 seconds",
            odd % 10_000,
            odd % 100,
            if n.is_multiple_of(2) { "even" } else { "odd" }
        ),
        log_data: RawObject::from_trusted(format!(
            r#"{{"temperature":{}.5,"unit":"C","seq":{n},"site":"s{}"}}"#,
            odd % 90,
            odd % 100
        )),
        received_at,
    };
    let id = MessageId { ms: received_at.as_millis(), seq: n };
    Ok(Row { sources: vec![id], part: 0, log, chain: "bench".to_owned() })
}
