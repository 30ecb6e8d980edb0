//! Redis and PostgreSQL, that fail while the workers run.

use std::time::Duration;

use sawpit_model::Tally;
use sawpit_store::{Batch, CommitError, Row};
use sawpit_testkit::{Postgres, Redis, TempFolder};
use sawpit_worker::WorkerSettings;

use crate::world::{IDLE, World, entry, patient};

/// A number that is valid JSON, and that PostgreSQL's `jsonb` refuses.
const CULPRIT: &str = r#"{"huge":1e999999}"#;

struct Servers {
    redis: Redis,
    postgres: Postgres,
    folder: TempFolder,
}

impl Servers {
    fn start() -> Self {
        Self { redis: Redis::start(), postgres: Postgres::start(), folder: TempFolder::new("worker") }
    }

    async fn world(&self) -> World {
        World::open(&self.redis.url(), &self.postgres.url("postgres"), self.folder.path()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_the_store_refuses_is_buried_and_the_others_are_stored() {
    let servers = Servers::start();
    let world = servers.world().await;
    let good = world.append(60, &["{}"]).await;
    let bad = world.append(1, &[CULPRIT]).await;
    let more = world.append(60, &[r#"{"a":"b"}"#]).await;
    servers.redis.command(&["XADD", "logs:stream", "*", "device_id", "no-other-field"]);
    let worker = world.worker("w1");
    world.emptied().await;
    worker.drain().await;
    World::assert_once(&world.rows_of(&[good, more].concat()).await);
    assert_eq!(world.rows_of(&bad).await, [0]);
    let dead = world.queue.dead_list(None, 10).await.unwrap();
    assert_eq!(dead.len(), 2, "{dead:?}");
    let refused = dead.iter().find(|letter| letter.message_id == bad[0]).unwrap();
    assert!(refused.reason.starts_with("the store refused it: "), "{}", refused.reason);
    let corrupt = dead.iter().find(|letter| letter.message_id != bad[0]).unwrap();
    assert!(corrupt.reason.starts_with("not a log: "), "{}", corrupt.reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_and_workers_that_die_lose_and_double_nothing() {
    let servers = Servers::start();
    let world = servers.world().await;
    let mut ids = world.append(3_000, &["{}"]).await;
    let (first, second) = (world.worker("w1"), world.worker("w2"));
    patient(async || (world.queue.backlog().await.unwrap() < 2_900).then_some(())).await;
    servers.postgres.kill();
    ids.extend(world.append(500, &["{}"]).await);
    tokio::time::sleep(IDLE * 2).await;
    servers.postgres.restart();
    first.kill().await;
    ids.extend(world.append(500, &["{}"]).await);
    world.emptied().await;
    second.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
    assert!(world.queue.dead_list(None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_worker_that_wakes_up_cannot_store_a_second_time() {
    let servers = Servers::start();
    let world = servers.world().await;
    let ids = world.append(100, &["{}"]).await;
    let mut stalled = world.queue.consumer("stalled").await.unwrap();
    let lease = world.store.lease("stalled").await.unwrap();
    let deliveries = stalled.read().await.unwrap();
    assert_eq!(deliveries.len(), 100);
    let worker = world.worker("w1");
    world.emptied().await;
    let rows = deliveries.iter().map(|delivery| {
        let entry = delivery.body.clone().unwrap();
        Row { sources: vec![delivery.id], part: 0, log: entry.log, chain: entry.chain }
    });
    let committed_at = sawpit_service::Clock::system().now();
    let batch = Batch { ids: ids.clone(), rows: rows.collect(), verdicts: Tally::default(), committed_at };
    assert_eq!(world.store.commit(&lease, &batch).await, Err(CommitError::Fenced));
    worker.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
}

/// Messages change hands only once their owner is fenced: who dies before that has changed nothing, and who dies
/// after it leaves nobody behind that could store a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_fence_takes_nothing_over() {
    const LOCK: &str = "SELECT 1 FROM leases WHERE owner = 'stalled' FOR UPDATE; SELECT pg_sleep(2)";
    let servers = Servers::start();
    let world = servers.world().await;
    let ids = world.append(10, &["{}"]).await;
    let mut stalled = world.queue.consumer("stalled").await.unwrap();
    world.store.lease("stalled").await.unwrap();
    let deliveries = stalled.read().await.unwrap();
    assert_eq!(deliveries.len(), 10);
    std::thread::scope(|scope| {
        scope.spawn(|| servers.postgres.query("postgres", LOCK));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                tokio::time::sleep(IDLE).await;
                let worker = world.worker("killed");
                tokio::time::sleep(IDLE * 3).await;
                worker.kill().await;
            });
        });
    });
    let owners = servers.redis.command(&["XPENDING", "logs:stream", "log_workers"]);
    assert!(owners.contains("stalled") && !owners.contains("killed"), "{owners}");
    let worker = world.worker("w1");
    world.emptied().await;
    worker.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
}

/// A replica that took over, or a file whose end was lost, knows nothing of deliveries that the old one had: it gives
/// as new what is stored already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgot_what_was_settled_doubles_nothing() {
    let servers = Servers::start();
    let world = servers.world().await;
    let ids = world.append(300, &["{}"]).await;
    let worker = world.worker("w1");
    world.emptied().await;
    World::assert_once(&world.rows_of(&ids).await);
    for (number, id) in ids.iter().enumerate() {
        let entry = entry(number, "{}");
        let id = id.to_string();
        let fields: Vec<_> = entry.to_fields().collect();
        let mut command = vec!["XADD", "before", &id];
        command.extend(fields.iter().flat_map(|(name, value)| [*name, value.as_ref()]));
        servers.redis.command(&command);
    }
    servers.redis.command(&["RENAME", "before", "logs:stream"]);
    let more = world.append(100, &["{}"]).await;
    world.emptied().await;
    worker.drain().await;
    World::assert_once(&world.rows_of(&[ids, more].concat()).await);
}

/// A database that refuses for good is no data's fault: nothing is buried, somebody is told, and once it is mended all
/// goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_a_person_must_mend_is_told_and_waited_for() {
    let servers = Servers::start();
    let world = servers.world().await;
    let settings = WorkerSettings { unready_after: Duration::from_millis(300), ..WorkerSettings::new("w") };
    let worker = world.worker_with(settings);
    let first = world.append(10, &["{}"]).await;
    world.emptied().await;
    World::assert_once(&world.rows_of(&first).await);
    assert!(world.health.ready().await.is_ready());
    servers.postgres.query("postgres", "ALTER TABLE ledger RENAME TO hidden");
    let ids = world.append(250, &["{}"]).await;
    let told = patient(async || {
        let ready = world.health.ready().await;
        ready.checks.into_iter().find_map(|check| check.error)
    })
    .await;
    assert!(told.contains("no batch could be stored for") && told.contains("ledger"), "{told}");
    servers.postgres.query("postgres", "ALTER TABLE hidden RENAME TO ledger");
    world.emptied().await;
    assert!(world.health.ready().await.is_ready());
    worker.drain().await;
    assert_eq!(world.queue.dead_count().await.unwrap(), 0);
    World::assert_once(&world.rows_of(&ids).await);
}

/// The clock of the database is another machine's: days are dropped only when they are over by both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_day_is_dropped_by_a_clock_that_is_ahead_of_the_database() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let servers = Servers::start();
    let world = servers.world().await;
    let now = sawpit_service::Clock::system().now();
    world.store_received(&[0, 30, 24 * 10], now).await;
    let clock = sawpit_service::Clock::manual(now);
    clock.advance(400 * DAY);
    // By a clock that is ahead from the start, and with rows as new as it is: only the database knows better.
    world.store_received(&[-24 * 400], now).await;
    let settings = WorkerSettings { retention: Some(5 * DAY), ..WorkerSettings::new("ahead") };
    let worker = world.worker_at(settings, clock);
    let left = ["-9600 hours old", "0 hours old", "30 hours old"];
    patient(async || (world.messages().await == left).then_some(())).await;
    worker.drain().await;
    assert_eq!(world.messages().await, left);
}

/// While the store refuses, batches wait in hand up to their limit, and no more is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_stops_at_the_limit_of_batches_in_hand() {
    let servers = Servers::start();
    let world = servers.world().await;
    servers.postgres.query("postgres", "ALTER TABLE ledger RENAME TO hidden");
    let ids = world.append(1_000, &["{}"]).await;
    let worker = world.worker_with(WorkerSettings { in_flight: 2, ..WorkerSettings::new("w") });
    let in_hand = || {
        let pending = servers.redis.command(&["XPENDING", "logs:stream", "log_workers"]);
        // Nothing before the worker has made its group.
        pending.lines().next()?.trim_start_matches(':').parse::<u64>().ok()
    };
    patient(async || (in_hand() == Some(200)).then_some(())).await;
    // Longer than several reads would take.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(in_hand(), Some(200), "two batches of 100");
    servers.postgres.query("postgres", "ALTER TABLE hidden RENAME TO ledger");
    world.emptied().await;
    worker.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
}
