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

    /// Runs `test` while no row can be stored; all else goes on. It ends that by [`Self::let_store`].
    async fn while_nothing_is_stored(&self, test: impl Future<Output = ()>) {
        const HELD: &str = "LOCK TABLE logs IN EXCLUSIVE MODE; \
             DO $$ BEGIN WHILE EXISTS (SELECT FROM held) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$";
        const LOCKED: &str = "SELECT count(*) FROM pg_locks WHERE relation = 'logs'::regclass AND granted \
             AND mode = 'ExclusiveLock'";
        let sql = |text: &str| self.postgres.query("postgres", text);
        sql("CREATE TABLE held AS SELECT 1");
        std::thread::scope(|scope| {
            scope.spawn(|| sql(HELD));
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    // A test that fails ends, too.
                    let _released = Released(self);
                    patient(async || (sql(LOCKED) == "1").then_some(())).await;
                    test.await;
                });
            });
        });
    }

    fn let_store(&self) {
        self.postgres.query("postgres", "DELETE FROM held");
    }

    /// Messages that workers have in hand; none before the first of them made the group.
    fn in_hand(&self) -> usize {
        let pending = self.redis.command(&["XPENDING", "logs:stream", "log_workers"]);
        if pending.starts_with("-NOGROUP") {
            return 0;
        }
        pending.lines().next().unwrap().trim_start_matches(':').parse().unwrap()
    }
}

/// Rows can be stored again once it is dropped.
struct Released<'a>(&'a Servers);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.let_store();
    }
}

/// What a worker reads at once.
const BATCH: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_batches_are_in_flight_as_may_be_and_no_more() {
    for in_flight in [1, 3] {
        let servers = Servers::start();
        let world = servers.world().await;
        let ids = world.append(6 * BATCH, &["{}"]).await;
        let settings = WorkerSettings { in_flight, ..WorkerSettings::new("w1") };
        let held = async {
            let worker = world.worker_with(settings);
            patient(async || (servers.in_hand() == in_flight * BATCH).then_some(())).await;
            tokio::time::sleep(IDLE * 3).await;
            assert_eq!(servers.in_hand(), in_flight * BATCH, "it reads on with {in_flight} in flight");
            servers.let_store();
            world.emptied().await;
            worker.drain().await;
        };
        servers.while_nothing_is_stored(held).await;
        World::assert_once(&world.rows_of(&ids).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_no_longer_than_its_deadline_and_leaves_the_rest_to_another() {
    let servers = Servers::start();
    let world = servers.world().await;
    let ids = world.append(3 * BATCH, &["{}"]).await;
    let deadline = Duration::from_millis(300);
    let settings = WorkerSettings { in_flight: 2, drain_deadline: deadline, ..WorkerSettings::new("w1") };
    let held = async {
        let worker = world.worker_with(settings);
        patient(async || (servers.in_hand() == 2 * BATCH).then_some(())).await;
        // It ends although nothing it has in hand can be stored.
        worker.drain().await;
        servers.let_store();
    };
    servers.while_nothing_is_stored(held).await;
    assert!(world.queue.backlog().await.unwrap() > BATCH as u64, "all was acknowledged");
    let other = world.worker("w2");
    world.emptied().await;
    other.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
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

/// A table that nobody can write to is nobody's fault, however long that lasts and however many workers pass the messages
/// on to each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_that_only_commits_notice_buries_nothing() {
    let servers = Servers::start();
    let world = servers.world().await;
    let first = world.append(10, &["{}"]).await;
    let workers = [world.worker("w1"), world.worker("w2"), world.worker("w3")];
    world.emptied().await;
    servers.postgres.query("postgres", "ALTER TABLE logs RENAME TO hidden");
    let ids = world.append(150, &["{}"]).await;
    // Longer than all tries would take if each taking over counted as one.
    tokio::time::sleep(IDLE * 16).await;
    assert_eq!(world.queue.dead_count().await.unwrap(), 0);
    servers.postgres.query("postgres", "ALTER TABLE hidden RENAME TO logs");
    world.emptied().await;
    for worker in workers {
        worker.drain().await;
    }
    assert_eq!(world.queue.dead_count().await.unwrap(), 0);
    World::assert_once(&world.rows_of(&[first, ids].concat()).await);
}

/// A replica that takes over before it heard of a delivery gives the message to another worker, while the first has it in
/// hand. Here the server comes back with its files of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_has_in_hand_when_redis_forgets_it_is_stored_once() {
    let redis = Redis::with(&[("appendfsync", "always")]);
    let servers = Servers { redis, postgres: Postgres::start(), folder: TempFolder::new("worker") };
    let world = servers.world().await;
    // This server is known.
    let known = world.worker("known");
    world.append(1, &["{}"]).await;
    world.emptied().await;
    known.drain().await;
    let ids = world.append(100, &["{}"]).await;
    let before = servers.redis.copy_of_files();
    let mut first = world.queue.consumer("first").await.unwrap();
    let lease = world.store.lease("first").await.unwrap();
    let deliveries = first.read().await.unwrap();
    assert_eq!(deliveries.len(), 100);
    servers.redis.kill();
    servers.redis.restart_with_files(&before);
    let pending = servers.redis.command(&["XLEN", "logs:stream"]);
    assert_eq!(pending, ":100", "the messages are there, and nobody has them");
    let worker = world.worker("second");
    world.emptied().await;
    let rows = deliveries.iter().map(|delivery| {
        let entry = delivery.body.clone().unwrap();
        Row { sources: vec![delivery.id], part: 0, log: entry.log, chain: entry.chain }
    });
    let committed_at = sawpit_service::Clock::system().now();
    // Cut otherwise than the second's, so that the ledger alone would not notice.
    let rows: Vec<_> = rows.take(99).collect();
    let batch = Batch { ids: ids[..99].to_vec(), rows, verdicts: Tally::default(), committed_at };
    assert_eq!(world.store.commit(&lease, &batch).await, Err(CommitError::Fenced));
    worker.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
}

/// The clock of the workers' machine steps forward by days while a message is stored and not acknowledged: the ledger
/// must not forget it, although its commit looks old and newer ones come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_forward_makes_the_ledger_forget_nothing_that_is_in_the_queue() {
    const LONG_IDLE: Duration = Duration::from_secs(3);
    let servers = Servers::start();
    let (redis, postgres) = (servers.redis.url(), servers.postgres.url("postgres"));
    let world = World::with_idle(&redis, &postgres, servers.folder.path(), LONG_IDLE).await;
    let mut ids = world.append(10, &["{}"]).await;
    let mut died = world.queue.consumer("died").await.unwrap();
    let lease = world.store.lease("died").await.unwrap();
    let rows = died.read().await.unwrap().into_iter().map(|delivery| {
        let entry = delivery.body.clone().unwrap();
        Row { sources: vec![delivery.id], part: 0, log: entry.log, chain: entry.chain }
    });
    let rows: Vec<Row> = rows.collect();
    assert_eq!(rows.len(), 10);
    let committed_at = sawpit_service::Clock::system().now();
    let batch = Batch { ids: ids.clone(), rows, verdicts: Tally::default(), committed_at };
    world.store.commit(&lease, &batch).await.unwrap();
    drop(died);

    let clock = sawpit_service::Clock::manual(committed_at);
    clock.advance(Duration::from_secs(3 * 24 * 3_600));
    let impatient =
        WorkerSettings { maintain_every: Duration::from_millis(10), ..WorkerSettings::new("stepped") };
    let worker = world.worker_at(impatient, clock);
    let more = world.append(100, &["{}"]).await;
    patient(async || (world.rows_of(&more).await == [1; 100]).then_some(())).await;
    // Long enough for many turns of its maintenance.
    tokio::time::sleep(LONG_IDLE / 10).await;
    let kept = servers.postgres.query("postgres", "SELECT count(*) FROM ledger WHERE owner = 'died'");
    let is_gone = world.queue.backlog().await.unwrap() == 0;
    assert!(kept == "1" || is_gone, "the ledger forgot what is in the queue");
    world.emptied().await;
    worker.drain().await;
    ids.extend(more);
    World::assert_once(&world.rows_of(&ids).await);
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
