//! Futures that are dropped at each of their awaits, after what they wait for was carried out.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sawpit_queue::Queue;

use crate::world::{World, clock, entries, ids, reclaim_some};

/// More awaits than a read or a reclaim has, connecting included.
const AWAITS: usize = 12;

/// Polls so many times, long enough apart that each await has its answer, then drops the future.
async fn cut_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(done) = poll {
            return Some(done);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

pub async fn no_read_that_is_cut_loses_a_message(world: World) {
    let queue = world.open().await;
    for polls in 0..AWAITS {
        let mut given = queue.producer().append_batch(entries(3)).await.unwrap();
        let mut consumer = queue.consumer("a").await.unwrap();
        let mut came = Vec::new();
        if let Some(read) = cut_after(polls, consumer.read()).await {
            came.extend(read.unwrap());
        }
        for _ in 0..100 {
            if came.len() == given.len() {
                break;
            }
            came.extend(consumer.reclaim().await.unwrap().deliveries);
            came.extend(consumer.read().await.unwrap());
        }
        let mut found = ids(&came);
        found.sort_unstable();
        given.sort_unstable();
        assert_eq!(found, given, "after {polls} polls");
        consumer.settler().ack(came).await.unwrap();
    }
}

/// The heir's first look is dropped on its way, perhaps after it took the messages. Whoever had them may still
/// wake up, so it must be named when they come at last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reclaim_that_is_cut_names_the_former_owner_all_the_same() {
    let mut world = World::redis();
    // However often they were taken over: they come together.
    world.settings.isolate_tries = u32::MAX;
    for polls in 0..AWAITS {
        world.settings.stream = format!("stream:{polls}");
        let queue = Queue::open(world.settings.clone(), clock()).await.unwrap();
        let given = queue.producer().append_batch(entries(3)).await.unwrap();
        let mut stalled = queue.consumer("stalled").await.unwrap();
        let held = stalled.read().await.unwrap();
        tokio::time::sleep(world.settings.reclaim_idle * 3 / 2).await;
        let mut heir = queue.consumer("heir").await.unwrap();
        let reclaimed = match cut_after(polls, heir.reclaim()).await {
            Some(reclaimed) => reclaimed.unwrap(),
            None => reclaim_some(&mut heir).await,
        };
        assert_eq!(ids(&reclaimed.deliveries), given, "after {polls} polls");
        let named = reclaimed.former_owners.iter().any(|owner| owner == "stalled");
        assert!(named, "after {polls} polls only {:?}", reclaimed.former_owners);
        drop(held);
    }
}
