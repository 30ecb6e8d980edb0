//! The store on SQLite.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]
#![allow(clippy::print_stderr, missing_docs)]

mod suite;

use std::time::Duration;

use sawpit_store::{IndexSettings, LogQuery, OpenError, Search, Store, StoreError, StoreSettings};
use suite::kit::{batch, batch_of, id, log, messages, now, open, row, settings};

fn file(folder: &tempfile::TempDir, name: &str) -> String {
    format!("sqlite:{}", folder.path().join(name).display())
}

#[test]
fn contract() {
    let folder = tempfile::tempdir().unwrap();
    suite::contract(|name| file(&folder, name));
}

#[tokio::test]
async fn refuses_urls_that_name_no_file() {
    for url in ["sqlite::memory:", "sqlite://x?mode=memory", "mysql://me:secret@host/db", "nonsense"] {
        let error = Store::open(settings(url), now()).await.unwrap_err();
        assert!(matches!(error, OpenError::Url { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = Store::open(settings("sqlite:/no/such/folder/logs.db"), now()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("logs.db"), "not a database, but 16 bytes and more\n".repeat(100))
        .unwrap();
    assert!(Store::open(settings(&file(&folder, "logs.db")), now()).await.is_err());
    let text = std::fs::read_to_string(folder.path().join("logs.db")).unwrap();
    assert!(text.starts_with("not a database"));
}

/// A copy of the files, taken while the store is open, is what a power cut leaves behind.
#[tokio::test]
async fn what_is_committed_is_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&file(&folder, "a.db")).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1)])).await.unwrap();
    for end in ["", "-wal"] {
        let name = |stem: &str| folder.path().join(format!("{stem}.db{end}"));
        std::fs::copy(name("a"), name("b")).unwrap();
    }
    let copy = open(&file(&folder, "b.db")).await;
    assert_eq!(messages(&copy, "d").await.len(), 2);
    assert_eq!(copy.committed(&[id(0, 1)]).await.unwrap().len(), 1);
}

/// A file that was written before there were totals: they are counted when it is opened.
#[tokio::test]
async fn totals_of_older_files_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = file(&folder, "old.db");
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1), id(0, 2)])).await.unwrap();
    store.close().await;
    let undo =
        "DROP TABLE level_totals; DROP TABLE device_totals; DROP TABLE second_totals; DROP TABLE tokens;
                DROP TABLE search; DROP TABLE search_minutes; DROP TABLE search_indexes; DROP TABLE plugin_totals;
                DROP TABLE verdict_writers; DROP TABLE queue_servers; DROP INDEX ledger_wide;
                CREATE TABLE old AS SELECT received_at, ms, seq, part, chain_id, log_level, device_id, message,
                    log_data, sources FROM logs;
                DROP TABLE logs;
                ALTER TABLE old RENAME TO logs;
                CREATE INDEX logs_by_device ON logs (device_id, received_at, ms, seq, part);
                DELETE FROM _sqlx_migrations WHERE version >= 3;";
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::raw_sql(undo).execute(&pool).await.unwrap();
    pool.close().await;
    let store = open(&url).await;
    assert_eq!(messages(&store, "d").await.len(), 3);
    let stats = store.stats(now()).await.unwrap();
    assert_eq!((stats.total, stats.top_devices), (3, vec![("d".to_owned(), 3)]));
    store.commit(&lease, &batch_of("d", &[id(1, 0)])).await.unwrap();
    assert_eq!(store.stats(now()).await.unwrap().total, 4);
}

/// SQLite goes on after we stop waiting: it must be told to end, and the next search is not to be ended by that.
#[tokio::test]
async fn a_search_that_takes_too_long_is_ended_within_sqlite() {
    const WORDS: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let index = IndexSettings { text: true, ..IndexSettings::default() };
    let settings = StoreSettings { index, pool: 1, ..settings(&file(&folder, "a.db")) };
    let store = Store::open(settings, now()).await.unwrap();
    let lease = store.lease("w").await.unwrap();
    let message = |n: u64| {
        let word = |place: u64| format!("w{:x}", (n * WORDS + place).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..WORDS).map(word).collect::<Vec<_>>().join(" ")
    };
    for first in (0..1_000).step_by(100) {
        let rows = (first..first + 100).map(|n| row(id(n, 0), log("d", &message(n), now())));
        store.commit(&lease, &batch(rows.collect())).await.unwrap();
    }
    // All words of all rows begin with this; none is the other.
    let mut search = Search::default();
    search.words("w* nowhere").unwrap();
    let limit = Duration::from_millis(2);
    let query = LogQuery { search, ..LogQuery::default() };
    let ended = store.rows(&LogQuery { time_limit: limit, ..query.clone() }).await;
    assert_eq!(ended, Err(StoreError::TooLong { limit }));
    assert!(store.rows(&query).await.unwrap().rows.is_empty());
    // Whoever left before the end of a search leaves no end behind.
    let left = tokio::time::timeout(Duration::from_millis(1), store.rows(&query)).await;
    drop(left);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(
        store.rows(&LogQuery { time_limit: Duration::from_secs(60), ..query }).await.unwrap().rows.is_empty()
    );
}
