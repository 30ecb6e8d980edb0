//! Messages that break whoever takes them: the worker's own code, or its whole process.
//!
//! The plugin of these tests asks for the time again and again when a log holds a tilde, and the clock is the test's: then
//! it panics, or stands still until the worker is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sawpit_model::{Entry, MessageId};
use sawpit_plugins::{Registry, RegistrySettings, Runtime, RuntimeSettings};
use sawpit_service::Clock;
use sawpit_testkit::{Guest, Redis, TempFolder, on_letter};
use sawpit_worker::WorkerSettings;

use crate::world::{World, entry};

const TILDE: char = '~';

/// So often the plugin asks for the time, and others do not.
const ASKS: usize = 100_000;

/// A registry whose plugin runs `on_tilde`, on the thread that the plugin is called on, when a log holds a tilde.
fn registry(folder: &TempFolder, on_tilde: impl Fn() + Send + Sync + 'static) -> Registry {
    let plugins = folder.join("poisoned");
    std::fs::create_dir_all(&plugins).unwrap();
    let mut guest = Guest::new("transform", on_letter(TILDE, "(call $ask)"));
    guest.imports = r#"(import "sawpit:plugin/clock@0.1.0" "now" (func $now (result i64)))"#.to_owned();
    guest.items = format!(
        "(func $ask (local $n i32) (loop $again (drop (call $now))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $n) (i32.const {ASKS})))))"
    );
    std::fs::write(plugins.join("guest.wasm"), guest.wasm()).unwrap();
    std::fs::write(plugins.join("guest.toml"), "grants = [\"clock\"]\ntimeout_ms = 60000\n").unwrap();
    let asked = AtomicUsize::new(0);
    let clock = move || {
        if asked.fetch_add(1, Ordering::Relaxed) + 1 == ASKS {
            asked.store(0, Ordering::Relaxed);
            on_tilde();
        }
        Clock::system().now()
    };
    let settings = RuntimeSettings { threads: 1, ..RuntimeSettings::new(Arc::new(clock)) };
    let registry =
        Registry::open(Runtime::new(settings).unwrap(), plugins, RegistrySettings::default()).unwrap();
    let status = registry.status();
    assert!(status.iter().all(|plugin| plugin.last_error.is_none()), "{status:?}");
    registry
}

/// So many logs, of which the one in this place holds a tilde; in one request.
async fn append(world: &World, count: usize, culprit: usize) -> (Vec<MessageId>, MessageId) {
    let poisoned = |n: usize| {
        let mut entry: Entry = entry(n, "{}");
        if n == culprit {
            entry.log.message.push(TILDE);
        }
        entry
    };
    let mut ids = world.queue.producer().append_batch((0..count).map(poisoned).collect()).await.unwrap();
    let id = ids.remove(culprit);
    (ids, id)
}

async fn assert_buried_alone(world: &World, good: &[MessageId], bad: MessageId, why: &str) {
    World::assert_once(&world.rows_of(good).await);
    assert_eq!(world.rows_of(&[bad]).await, [0]);
    let dead = world.queue.dead_list(None, 1_000).await.unwrap();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].message_id, bad);
    assert!(dead[0].reason.contains(why), "{}", dead[0].reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_step_panics_on_is_buried_and_the_others_are_stored() {
    let folder = TempFolder::new("poison");
    let store = format!("sqlite:{}", folder.join("logs.db").display());
    let world = World::open(&folder.join("queue").display().to_string(), &store, folder.path()).await;
    let world = world.with_registry(registry(&folder, || panic!("the clock broke")));
    let (good, bad) = append(&world, 100, 37).await;
    let worker = world.worker("w");
    world.emptied().await;
    worker.drain().await;
    assert_buried_alone(&world, &good, bad, "the clock broke").await;
}

/// Kills the worker each time that it has met the culprit, until it is buried; how often that was.
async fn kill_until_emptied(world: &World, met: &Receiver<()>, max_tries: u32) -> u32 {
    for kills in 0..20 {
        let worker = world.worker_with(WorkerSettings { max_tries, ..WorkerSettings::new("w") });
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if met.try_recv().is_ok() {
                worker.kill().await;
                break;
            }
            if world.queue.backlog().await == Ok(0) {
                worker.drain().await;
                return kills;
            }
        }
    }
    panic!("it is never buried");
}

/// It takes down with it what it was delivered with only as long as nobody can know which of them it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_ends_its_workers_is_buried_and_the_others_are_stored() {
    let (folder, redis) = (TempFolder::new("poison"), Redis::start());
    let store = format!("sqlite:{}", folder.join("logs.db").display());
    let world = World::open(&redis.url(), &store, folder.path()).await;
    let (tell, met) = channel();
    let world = world.with_registry(registry(&folder, move || {
        tell.send(()).unwrap();
        loop {
            std::thread::park();
        }
    }));
    let (mut good, bad) = append(&world, 60, 37).await;
    let kills = kill_until_emptied(&world, &met, 5).await;
    good.extend(world.append(40, &["{}"]).await);
    let worker = world.worker("w");
    world.emptied().await;
    worker.drain().await;
    assert_eq!(kills, 5, "tried as often as it may be");
    assert_buried_alone(&world, &good, bad, "delivered 5 times").await;
}
