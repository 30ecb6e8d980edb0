//! The store on PostgreSQL: one server for the file, a database for each case.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]
#![allow(clippy::print_stderr, missing_docs)]

mod suite;

use std::time::{Duration, Instant};

use sawpit_model::{RawObject, Tally};
use sawpit_store::{
    Batch, CommitError, IndexSettings, LogQuery, OpenError, Outcome, Row, Search, Store, StoreError,
    StoreSettings,
};
use sawpit_testkit::Postgres;
use suite::kit::*;
use tokio::task::JoinHandle;

#[test]
fn contract() {
    // Durability is not at stake in these cases, and the machine's disk may be slow.
    let server = Postgres::with(&[("fsync", "off")]);
    suite::contract(|name| server.create_database(name));
    suite::run("refused by the server", || refused_by_the_server(server.create_database("refused")));
    suite::run("totals of older databases", || totals_of_older_databases(&server));
    suite::run("folding", || folding(&server));
    suite::run("days are forgotten whole", || days_are_forgotten_whole(&server));
    suite::run("a day is dropped by its totals", || a_day_is_dropped_by_its_totals(&server));
    suite::run("late rows of a dropped day", || late_rows_of_a_day_that_is_dropped(&server));
    suite::run("days of older databases", || days_of_older_databases(&server));
    suite::run("partitions", || partitions(&server));
    suite::run("rows in the default partition move", || rows_in_the_default_partition_move(&server));
    suite::run("partitions under load", || partitions_under_load(&server));
    suite::run("a fence waits", || a_fence_waits_for_commits_in_flight(&server));
    suite::run("unknown outcome", || an_unknown_outcome_is_resolved_by_the_next_try(&server));
    suite::run("terminated commit", || a_terminated_commit_is_unknown(&server));
    suite::run("reads outlive connections", || reads_outlive_their_connections(&server));
    suite::run("synchronous commit", || synchronous_commit(&server));
    suite::run("statement timeout", || statement_timeout(&server));
    suite::run("a search is ended", || a_search_is_ended_by_the_server(&server));
    suite::run("connect timeout", || connect_timeout(&server));
    suite::run("idle timeout", || idle_timeout(&server));
    suite::run("pool limit", || pool_limit(&server));
    suite::run("no password in errors", || no_password_in_errors(&server));
}

#[test]
fn survives_the_server() {
    let server = Postgres::start();
    suite::run("killed after a commit", || killed_after_a_commit(&server));
    suite::run("killed under load", || killed_under_load(&server));
}

async fn refused_by_the_server(url: String) {
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let good = row(id(0, 0), log("d", "good", now()));
    let mut not_json = row(id(0, 1), log("d", "not json", now()));
    not_json.log.log_data = RawObject::from_trusted("{broken");
    let mut json_nul = row(id(0, 1), log("d", "NUL in json", now()));
    json_nul.log.log_data = RawObject::from_trusted(r#"{"a":"\u0000"}"#);
    let long_key = row(id(0, 1), log(&random_text(8_000), "key too long for the index", now()));
    for bad in [row(id(0, 1), log("d", "a NUL\0", now())), not_json, json_nul, long_key] {
        let why = bad.log.message.clone();
        let refused = store.commit(&lease, &batch(vec![good.clone(), bad])).await;
        assert!(matches!(refused, Err(CommitError::Refused { .. })), "{why}: {refused:?}");
    }
    assert!(messages(&store, "d").await.is_empty());
    store.commit(&lease, &batch(vec![good])).await.unwrap();
}

/// Text that does not compress away.
fn random_text(len: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + (state >> 59) as u8 % 26)
    };
    (0..len).map(|_| next()).collect()
}

/// Rows from before there were totals: they are counted when the database is opened.
async fn totals_of_older_databases(server: &Postgres) {
    let url = server.create_database("older");
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1), id(0, 2)])).await.unwrap();
    store.close().await;
    for undo in [
        "DROP TABLE rollup_pending, level_totals, device_totals, second_totals, tokens, search_indexes, plugin_totals",
        "DROP TABLE day_totals, uncounted_days, verdict_writers, queue_servers",
        "DROP FUNCTION count_days, day_of_second",
        "ALTER TABLE logs DROP COLUMN terms",
        "DROP INDEX logs_by_device, logs_by_level, ledger_wide",
        "CREATE INDEX logs_by_device ON logs (device_id, received_at, ms, seq, part)",
        "DELETE FROM _sqlx_migrations WHERE version >= 3",
    ] {
        server.query("older", undo);
    }
    let store = open(&url).await;
    assert_eq!(messages(&store, "d").await.len(), 3);
    let stats = store.stats(now()).await.unwrap();
    assert_eq!((stats.total, stats.top_devices), (3, vec![("d".to_owned(), 3)]));
    store.commit(&lease, &batch_of("d", &[id(1, 0)])).await.unwrap();
    assert_eq!(store.stats(now()).await.unwrap().total, 4);
}

/// What is pending stays bounded while commits come, without anybody's call.
async fn folding(server: &Postgres) {
    let store = open(&server.create_database("folding")).await;
    let lease = store.lease("w").await.unwrap();
    for n in 0..64 {
        store.commit(&lease, &batch_of("d", &[id(n, 0)])).await.unwrap();
    }
    let until = Instant::now() + Duration::from_secs(20);
    while server.query("folding", "SELECT count(*) FROM rollup_pending") != "0" {
        assert!(Instant::now() < until, "nothing was folded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.query("folding", "SELECT n FROM device_totals WHERE device_id = 'd'"), "64");
    let dropped =
        Batch { ids: vec![id(100, 0)], rows: vec![], verdicts: Tally::default(), committed_at: now() };
    store.commit(&lease, &dropped).await.unwrap();
    assert_eq!(server.query("folding", "SELECT count(*) FROM rollup_pending"), "0");
    assert_eq!(store.stats(now()).await.unwrap().total, 64);
}

/// Of several workers that forget at once each day is dropped by one, while others commit; one that is in use is
/// put off.
async fn days_are_forgotten_whole(server: &Postgres) {
    let store = open(&server.create_database("days")).await;
    store.maintain(at(4 * DAY)).await.unwrap();
    let lease = store.lease("w").await.unwrap();
    let row_of = |day: i64, n: i64| row(id((day * 100 + n) as u64, 0), log("d", "m", at(day * DAY + n)));
    let rows: Vec<Row> =
        (0..4).flat_map(|day| (0..10).map(move |n| (day, n))).map(|(day, n)| row_of(day, n)).collect();
    store.commit(&lease, &batch(rows)).await.unwrap();

    let reading = sqlx::PgPool::connect(&server.url("days")).await.unwrap();
    let mut reader = reading.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM logs").execute(&mut *reader).await.unwrap();
    assert!(store.forget(at(2 * DAY)).await.is_err(), "a table in use was dropped");
    assert_eq!(messages(&store, "d").await.len(), 40);
    reader.rollback().await.unwrap();

    let stores: Vec<_> = (0..3).map(|_| store.clone()).collect();
    let forgetting: Vec<_> = stores
        .into_iter()
        .map(|store| tokio::spawn(async move { store.forget(at(2 * DAY)).await }))
        .collect();
    for n in 10..30 {
        commit_patiently(&store, &lease, &batch(vec![row_of(3, n)])).await;
    }
    let (mut days, mut rows) = (0, 0);
    for task in forgetting {
        let forgotten = task.await.unwrap().unwrap();
        (days, rows) = (days + forgotten.days, rows + forgotten.rows);
    }
    // Those of the day before the first and of the two that are over, of which one has no rows.
    assert_eq!((days, rows), (3, 20));
    assert_eq!(messages(&store, "d").await.len(), 40);
    assert_eq!(store.stats(at(4 * DAY)).await.unwrap().total, 40);
    let left = "SELECT count(*) FROM pg_class WHERE relname ~ '^logs_2026' AND relkind = 'r'";
    assert_eq!(server.query("days", left), "6");
}

/// Its rows are not looked at: some that are deleted behind the store's back are still counted.
async fn a_day_is_dropped_by_its_totals(server: &Postgres) {
    let store = open(&server.create_database("by_totals")).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1), id(0, 2)])).await.unwrap();
    let next = row(id(1, 0), log("d", "next day", at(DAY)));
    store.commit(&lease, &batch(vec![next])).await.unwrap();
    server.query("by_totals", "DELETE FROM logs_20261123");
    assert_eq!(store.forget(at(DAY)).await.unwrap().rows, 3);
    assert_eq!(messages(&store, "d").await, ["next day"]);
    let stats = store.stats(at(DAY)).await.unwrap();
    assert_eq!((stats.total, stats.top_devices), (1, vec![("d".to_owned(), 1)]));
    let kept = "SELECT string_agg(day || ' ' || n, ', ') FROM day_totals";
    assert_eq!(server.query("by_totals", kept), "2026-11-24 1");
}

/// Workers commit rows of the very day that others drop, before, while and after it goes: what is counted is what there is.
async fn late_rows_of_a_day_that_is_dropped(server: &Postgres) {
    let store = open(&server.create_database("late")).await;
    let late = |w: u64, n: u64| {
        let device = format!("d{}", n % 3);
        row(id(w * 1_000 + n, 0), log(&device, "late", at((n % 2) as i64 * DAY + n as i64)))
    };
    let committing: Vec<_> = (0..3_u64)
        .map(|w| {
            let store = store.clone();
            tokio::spawn(async move {
                let lease = store.lease(&format!("w{w}")).await.unwrap();
                for n in 0..80 {
                    commit_patiently(&store, &lease, &batch(vec![late(w, n)])).await;
                }
            })
        })
        .collect();
    let mut forgotten = 0;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let forgetting = (0..2).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.forget(at(DAY)).await })
        });
        for task in forgetting.collect::<Vec<_>>() {
            // A day that is in use is put off.
            forgotten += task.await.unwrap().map_or(0, |gone| gone.rows);
        }
        assert_totals_are_rows(&store).await;
    }
    for task in committing {
        task.await.unwrap();
    }
    forgotten += store.forget(at(DAY)).await.unwrap().rows;
    assert_totals_are_rows(&store).await;
    let left = store.stats(at(DAY)).await.unwrap().total;
    assert_eq!(left, 120, "those of the second day");
    assert_eq!(forgotten, 120, "those of the first day");
    // Once all is folded, nothing is left of it.
    store.maintain(at(2 * DAY)).await.unwrap();
    store.forget(at(DAY)).await.unwrap();
    let days = "SELECT string_agg(DISTINCT day::text, ' ') FROM day_totals";
    assert_eq!(server.query("late", days), "2026-11-24");
}

/// Read one after the other while others commit, they may differ by what came in between: then it is looked at again.
async fn assert_totals_are_rows(store: &Store) {
    for _ in 0..100 {
        let before = store.stats(now()).await.unwrap().total;
        let rows = store.rows(&LogQuery { limit: 10_000, ..LogQuery::default() }).await.unwrap().rows.len();
        let after = store.stats(now()).await.unwrap();
        if before == after.total {
            assert_eq!(after.total, rows as u64);
            assert_eq!(after.top_devices.iter().map(|(_, n)| n).sum::<u64>(), after.total);
            return;
        }
    }
    panic!("the totals never stood still");
}

/// Days of which some rows were stored before their totals were kept, some after, and some are pending: counted once, and
/// exact.
async fn days_of_older_databases(server: &Postgres) {
    const BEFORE: &str = "DROP TRIGGER count_days ON rollup_pending; DROP FUNCTION count_days, day_of_second; \
                          DROP TABLE day_totals, uncounted_days, verdict_writers, queue_servers; DROP INDEX ledger_wide; DELETE FROM _sqlx_migrations WHERE version >= 7";
    let url = server.create_database("old_days");
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    let of = |n: u64, day: i64| row(id(n, 0), log(&format!("d{}", n % 4), "m", at(day * DAY + n as i64)));
    // Folded, and not folded; the days 1 and -200 have a partition and none.
    store
        .commit(&lease, &batch((0..40).map(|n| of(n, if n % 5 == 0 { -200 } else { 1 })).collect()))
        .await
        .unwrap();
    store.maintain(now()).await.unwrap();
    store
        .commit(&lease, &batch((40..60).map(|n| of(n, if n % 5 == 0 { -200 } else { 1 })).collect()))
        .await
        .unwrap();
    store.close().await;
    server.query("old_days", BEFORE);

    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch((60..80).map(|n| of(n, 1)).collect())).await.unwrap();
    store.maintain(now()).await.unwrap();
    store.commit(&lease, &batch((80..90).map(|n| of(n, 2)).collect())).await.unwrap();
    assert_eq!(server.query("old_days", "SELECT count(*) FROM uncounted_days"), "5");
    let committing = {
        let (store, lease) = (store.clone(), lease.clone());
        tokio::spawn(async move {
            for n in 90..140 {
                commit_patiently(&store, &lease, &batch(vec![of(n, 1)])).await;
            }
        })
    };
    let (mut forgotten, mut days) = (0, 0);
    while days < 3 {
        let (one, other) = tokio::join!(store.forget(at(2 * DAY)), store.forget(at(2 * DAY)));
        for gone in [one, other].into_iter().flatten() {
            (forgotten, days) = (forgotten + gone.rows, days + gone.days);
        }
    }
    committing.await.unwrap();
    forgotten += store.forget(at(2 * DAY)).await.unwrap().rows;
    assert_eq!(forgotten, 130);
    assert_totals_are_rows(&store).await;
    assert_eq!(store.stats(at(2 * DAY)).await.unwrap().total, 10);
    assert_eq!(server.query("old_days", "SELECT count(*) FROM uncounted_days"), "2");
    // Once all is folded.
    store.maintain(at(4 * DAY)).await.unwrap();
    store.forget(at(2 * DAY)).await.unwrap();
    let left = "SELECT sum(n) FROM day_totals WHERE day < '2026-11-25'";
    assert_eq!(server.query("old_days", left), "", "nothing of days that are gone");
}

async fn partitions(server: &Postgres) {
    let url = server.create_database("partitions");
    let store = open(&url).await;
    let made = "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits \
                WHERE inhparent = 'logs'::regclass";
    let days = "logs_20261122 logs_20261123 logs_20261124 logs_20261125 logs_20261126 logs_default";
    assert_eq!(server.query("partitions", made), days);
    let stores: Vec<_> = (0..4).map(|_| store.clone()).collect();
    let tasks: Vec<_> =
        stores.into_iter().map(|store| tokio::spawn(async move { store.maintain(at(DAY)).await })).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let days = days.replace(" logs_default", " logs_20261127 logs_default");
    assert_eq!(server.query("partitions", made), days);
    let lease = store.lease("w").await.unwrap();
    let rows = [-DAY, 0, 4 * DAY, 300 * DAY, -300 * DAY];
    let rows = rows.iter().enumerate().map(|(n, place)| row(id(n as u64, 0), log("d", "m", at(*place))));
    store.commit(&lease, &batch(rows.collect())).await.unwrap();
    assert_eq!(messages(&store, "d").await.len(), 5);
    let counts = "SELECT string_agg(t || ' ' || n, ', ' ORDER BY t) FROM \
                  (SELECT tableoid::regclass::text AS t, count(*) AS n FROM logs GROUP BY 1) counted";
    let expected = "logs_20261122 1, logs_20261123 1, logs_20261127 1, logs_default 2";
    assert_eq!(server.query("partitions", counts), expected);
    let index = "SELECT count(*) FROM pg_indexes WHERE tablename = 'logs_20261127'";
    assert_eq!(server.query("partitions", index), "4");
}

async fn rows_in_the_default_partition_move(server: &Postgres) {
    let store = open(&server.create_database("moving")).await;
    let lease = store.lease("w").await.unwrap();
    let early = |n: u64| row(id(n, 0), log("d", "early", at(10 * DAY + n as i64)));
    store.commit(&lease, &batch((0..50).map(early).collect())).await.unwrap();
    let in_default = "SELECT count(*) FROM logs_default";
    assert_eq!(server.query("moving", in_default), "50");
    store.maintain(at(9 * DAY)).await.unwrap();
    assert_eq!(server.query("moving", in_default), "0");
    assert_eq!(server.query("moving", "SELECT count(*) FROM logs_20261203"), "50");
    assert_eq!(messages(&store, "d").await.len(), 50);
}

/// Commits to the very days whose partitions are made meanwhile: held up or asked to try again, never lost,
/// doubled or refused.
async fn partitions_under_load(server: &Postgres) {
    let store = open(&server.create_database("load")).await;
    let commits: Vec<_> = (0..3_u64)
        .map(|w| {
            let store = store.clone();
            tokio::spawn(async move {
                let lease = store.lease(&format!("w{w}")).await.unwrap();
                for n in 0..40 {
                    let id = id(w * 1_000 + n, 0);
                    let batch = batch(vec![row(id, log("d", "m", at((4 + n as i64) * DAY)))]);
                    commit_patiently(&store, &lease, &batch).await;
                }
            })
        })
        .collect();
    for day in 1..40 {
        store.maintain(at(day * DAY)).await.unwrap();
    }
    for task in commits {
        task.await.unwrap();
    }
    assert_eq!(messages(&store, "d").await.len(), 120);
}

async fn commit_patiently(store: &Store, lease: &sawpit_store::Lease, batch: &Batch) {
    loop {
        match store.commit(lease, batch).await {
            Ok(()) => return,
            Err(CommitError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Makes each commit in `database` take a second, in which it holds its lease.
fn slow_commits(server: &Postgres, database: &str) {
    let sql = "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS \
               $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$; \
               CREATE TRIGGER dawdle AFTER INSERT ON ledger FOR EACH STATEMENT EXECUTE FUNCTION dawdle()";
    server.query(database, sql);
}

/// Starts to commit in the background, and returns once the server is at it.
async fn commit_in_flight(
    server: &Postgres,
    database: &str,
    store: &Store,
    batch: &Batch,
) -> JoinHandle<Result<(), CommitError>> {
    let lease = store.lease("w").await.unwrap();
    let (store, batch) = (store.clone(), batch.clone());
    let commit = tokio::spawn(async move { store.commit(&lease, &batch).await });
    let ask = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event = 'PgSleep'"
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.query("postgres", &ask) != "1" {
        assert!(Instant::now() < deadline && !commit.is_finished());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    commit
}

async fn a_fence_waits_for_commits_in_flight(server: &Postgres) {
    let store = open(&server.create_database("fence")).await;
    slow_commits(server, "fence");
    let commit = commit_in_flight(server, "fence", &store, &batch_of("d", &[id(0, 0)])).await;
    assert!(store.committed(&[id(0, 0)]).await.unwrap().is_empty());
    store.fence(&["w".to_owned()]).await.unwrap();
    assert_eq!(store.committed(&[id(0, 0)]).await.unwrap().len(), 1);
    assert_eq!(commit.await.unwrap(), Ok(()));
}

/// The caller went away while the server was at it, and tries again: the second try waits for the first.
async fn an_unknown_outcome_is_resolved_by_the_next_try(server: &Postgres) {
    let store = open(&server.create_database("unknown")).await;
    slow_commits(server, "unknown");
    let batch = batch_of("d", &[id(0, 0), id(0, 1)]);
    let commit = commit_in_flight(server, "unknown", &store, &batch).await;
    commit.abort();
    assert!(commit.await.unwrap_err().is_cancelled());
    let lease = store.lease("other").await.unwrap();
    assert_eq!(store.commit(&lease, &batch).await, Ok(()));
    assert_eq!(messages(&store, "d").await.len(), 2);
}

async fn a_terminated_commit_is_unknown(server: &Postgres) {
    let store = open(&server.create_database("terminated")).await;
    slow_commits(server, "terminated");
    let batch = batch_of("d", &[id(0, 0)]);
    let commit = commit_in_flight(server, "terminated", &store, &batch).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = 'terminated' AND wait_event = 'PgSleep'";
    assert_eq!(server.query("postgres", end), "1");
    let Err(CommitError::Unavailable { outcome, .. }) = commit.await.unwrap() else {
        panic!("not unavailable")
    };
    assert_eq!(outcome, Outcome::Unknown);
    let lease = store.lease("w").await.unwrap();
    assert!(store.committed(&batch.ids).await.unwrap().is_empty());
    assert_eq!(store.commit(&lease, &batch).await, Ok(()));
    assert_eq!(messages(&store, "d").await.len(), 1);
}

/// What a restarted server leaves behind: a pool full of connections of which none works.
/// All connections that the pool may have are open, and the server ends all of them.
async fn reads_outlive_their_connections(server: &Postgres) {
    let settings = settings(&server.create_database("hung_up"));
    let store = Store::open(StoreSettings { pool: 3, pool_extra: 0, ..settings }, now()).await.unwrap();
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0)])).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = 'hung_up'";
    let ended: u32 = server.query("postgres", end).parse().unwrap();
    assert_eq!(ended, 3);
    assert_eq!(messages(&store, "d").await, ["message 0"]);
    assert_eq!(store.committed(&[id(0, 0)]).await.unwrap().len(), 1);
}

async fn synchronous_commit(server: &Postgres) {
    let url = server.create_database("sync");
    server.query("sync", "ALTER DATABASE sync SET synchronous_commit = off");
    assert_eq!(server.query("sync", "SHOW synchronous_commit"), "off");
    let store = open(&url).await;
    let lease = store.lease("w").await.unwrap();
    // A trigger tells what the store's own connection has.
    server.query(
        "sync",
        "CREATE TABLE seen (setting text); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
         CREATE TRIGGER note AFTER INSERT ON ledger FOR EACH STATEMENT EXECUTE FUNCTION note()",
    );
    store.commit(&lease, &batch_of("d", &[id(0, 0)])).await.unwrap();
    assert_eq!(server.query("sync", "SELECT setting FROM seen"), "on");
}

async fn statement_timeout(server: &Postgres) {
    let url = server.create_database("slow");
    let timeout = Duration::from_millis(200);
    let store =
        Store::open(StoreSettings { statement_timeout: timeout, ..settings(&url) }, now()).await.unwrap();
    let lease = store.lease("w").await.unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            server.query(
                "slow",
                "BEGIN; LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1.5); COMMIT",
            )
        });
        std::thread::sleep(Duration::from_millis(400));
        let (store, lease) = (store.clone(), lease.clone());
        let late = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(async move { store.commit(&lease, &batch_of("d", &[id(0, 0)])).await })
        });
        let Err(CommitError::Unavailable { outcome, .. }) = late else { panic!("{late:?}") };
        assert_eq!(outcome, Outcome::NotCommitted);
    });
    store.commit(&lease, &batch_of("d", &[id(0, 0)])).await.unwrap();
}

/// The server itself ends a search that takes longer, so that its connection is free again.
async fn a_search_is_ended_by_the_server(server: &Postgres) {
    // An operator that comes before the server's own, and takes its time.
    const SLOW: &str = "CREATE SCHEMA slow; CREATE FUNCTION slow.meets(tsvector, tsquery) RETURNS boolean LANGUAGE plpgsql \
                        AS $$ BEGIN PERFORM pg_sleep(20); RETURN true; END $$; \
                        CREATE OPERATOR slow.@@ (LEFTARG = tsvector, RIGHTARG = tsquery, FUNCTION = slow.meets); \
                        ALTER DATABASE ended SET search_path = slow, pg_catalog, public";
    let url = server.create_database("ended");
    let index = IndexSettings { text: true, ..IndexSettings::default() };
    let store = Store::open(StoreSettings { index, ..settings(&url) }, now()).await.unwrap();
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0)])).await.unwrap();
    server.query("ended", SLOW);
    // New connections have the path.
    server.query(
        "postgres",
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = 'ended'",
    );
    let mut search = Search::default();
    search.words("message").unwrap();
    let limit = Duration::from_millis(300);
    let query = LogQuery { search, time_limit: limit, ..LogQuery::default() };
    assert_eq!(store.rows(&query).await, Err(StoreError::TooLong { limit }));
    let at_it = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ended' AND wait_event = 'PgSleep'";
    assert_eq!(server.query("postgres", at_it), "0");
    assert_eq!(messages(&store, "d").await, ["message 0"]);
}

/// pool + pool_extra connections and not one more.
async fn pool_limit(server: &Postgres) {
    let url = server.create_database("pool");
    let store = Store::open(StoreSettings { pool: 1, pool_extra: 2, ..settings(&url) }, now()).await.unwrap();
    let tasks: Vec<_> = (0..30_u64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let lease = store.lease(&format!("w{n}")).await.unwrap();
                store.commit(&lease, &batch_of("d", &[id(n, 0)])).await.unwrap();
            })
        })
        .collect();
    // Of those at work, as one that was closed may take a moment to be gone; there is one all the time.
    let connections = "SELECT count(*) FILTER (WHERE state <> 'idle') <= 3 AND count(*) >= 1, array_agg(state) \
                       FROM pg_stat_activity WHERE datname = 'pool' AND application_name = 'sawpit'";
    for _ in 0..5 {
        let found = server.query("postgres", connections);
        assert!(found.starts_with('t'), "{found}");
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// A server that takes connections and says nothing, and a pool that is used up: each is waited for so long.
async fn connect_timeout(server: &Postgres) {
    const LIMIT: Duration = Duration::from_millis(300);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u@{}/db", silent.local_addr().unwrap());
    let started = Instant::now();
    let error =
        Store::open(StoreSettings { connect_timeout: LIMIT, ..settings(&url) }, now()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert!((LIMIT..Duration::from_secs(20)).contains(&started.elapsed()), "{:?}", started.elapsed());

    let url = server.create_database("waiting");
    let settings = StoreSettings { connect_timeout: LIMIT, pool: 1, pool_extra: 0, ..settings(&url) };
    let store = Store::open(settings, now()).await.unwrap();
    slow_commits(server, "waiting");
    let commit = commit_in_flight(server, "waiting", &store, &batch_of("d", &[id(0, 0)])).await;
    assert!(
        matches!(store.ping().await, Err(StoreError::Unavailable { .. })),
        "no connection is free for a second"
    );
    commit.await.unwrap().unwrap();
    store.ping().await.unwrap();
}

/// Connections beyond the pool are closed when they are idle for so long, and those of the pool stay.
async fn idle_timeout(server: &Postgres) {
    let url = server.create_database("idle");
    let open = || server.query("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'idle'");
    for (idle, closed) in [(Duration::from_millis(200), true), (Duration::from_secs(3_600), false)] {
        let settings = StoreSettings { idle_timeout: idle, pool: 1, pool_extra: 3, ..settings(&url) };
        let store = Store::open(settings, now()).await.unwrap();
        let asked = (0..40).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.stats(now()).await.unwrap() })
        });
        for task in asked.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let until = Instant::now() + Duration::from_secs(if closed { 20 } else { 2 });
        while open() != "1" && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(open() == "1", closed, "{} connections are open", open());
        store.close().await;
    }
}

async fn no_password_in_errors(server: &Postgres) {
    let refused = format!("postgres://postgres:s3cret@127.0.0.1:{}/no_such_database", server.port());
    let closed = format!("postgres://me:s3cret@127.0.0.1:{}/db", sawpit_testkit::free_port());
    for url in
        [&refused, &closed, "postgres://me:s3cret@host:port/db", "postgres://me:s3/cret@h/?port=s3cret"]
    {
        let settings = settings(url);
        assert!(!format!("{settings:?}").contains("s3"), "{settings:?}");
        let error = Store::open(settings, now()).await.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. } | OpenError::Url { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3"), "{error}");
    }
}

async fn killed_after_a_commit(server: &Postgres) {
    let store = open(&server.create_database("killed")).await;
    let lease = store.lease("w").await.unwrap();
    store.commit(&lease, &batch_of("d", &[id(0, 0), id(0, 1)])).await.unwrap();
    server.kill();
    let away = store.commit(&lease, &batch_of("d", &[id(1, 0)])).await;
    assert!(matches!(away, Err(CommitError::Unavailable { .. })), "{away:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));
    server.restart();
    // The same store, without being opened again.
    wait_for(&store).await;
    assert_eq!(messages(&store, "d").await, ["message 1", "message 0"]);
    assert_eq!(store.committed(&[id(0, 0), id(0, 1), id(1, 0)]).await.unwrap().len(), 2);
    store.commit(&lease, &batch_of("d", &[id(1, 0)])).await.unwrap();
}

async fn wait_for(store: &Store) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.ping().await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Workers commit and, as told, try the same batch again, while the server is killed twice.
async fn killed_under_load(server: &Postgres) {
    let store = open(&server.create_database("under_load")).await;
    let leases = [
        store.lease("w0").await.unwrap(),
        store.lease("w1").await.unwrap(),
        store.lease("w2").await.unwrap(),
    ];
    let workers: Vec<_> = (0..3_u64)
        .zip(leases)
        .map(|(w, lease)| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..300 {
                    let ids = [id(w * 100_000 + n, 0), id(w * 100_000 + n, 1)];
                    commit_patiently(&store, &lease, &batch_of(&format!("d{w}"), &ids)).await;
                }
            })
        })
        .collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.kill();
        server.restart();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let ids: Vec<_> = (0..3).flat_map(|w| (0..300).map(move |n| id(w * 100_000 + n, 1))).collect();
    let stored = store.stored_ids(&ids, at(-SECOND)).await.unwrap();
    let wrong: Vec<_> = stored.iter().filter(|(_, count)| *count != 1).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
