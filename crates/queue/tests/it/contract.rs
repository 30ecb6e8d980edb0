//! What every backend promises.

use std::time::{Duration, Instant};

use sawpit_model::{Entry, Failure};
use sawpit_queue::{AppendError, DeadReason, Delivery, QueueError};

pub use crate::cut::no_read_that_is_cut_loses_a_message;
pub use crate::once::{
    a_key_is_forgotten_after_its_time, a_key_that_was_used_for_something_else_is_told,
    a_note_is_kept_also_without_messages, a_repeat_after_the_messages_left_appends_nothing,
    a_repeat_gets_the_first_ids_and_note, a_repeat_needs_no_room_and_a_first_does,
    of_a_hundred_at_once_one_appends,
};
use crate::world::{World, distinct, entries, entry, ids, read_all, reclaim_some};

fn reason() -> DeadReason {
    DeadReason { reason: "it broke".to_owned(), plugin: Some("transform".to_owned()) }
}

pub async fn what_is_appended_is_read_and_acknowledged_once(world: World) {
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    let id = queue.producer().append(entry(1)).await.unwrap();
    let read = consumer.read().await.unwrap();
    assert_eq!(ids(&read), [id]);
    assert_eq!((read[0].tries, read[0].redelivered), (1, false));
    assert_eq!(read[0].body, Ok(entry(1)));
    consumer.settler().ack(read).await.unwrap();
    assert!(consumer.read().await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(consumer.reclaim().await.unwrap().deliveries.is_empty());
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

pub async fn ids_increase_and_order_is_kept(world: World) {
    let queue = world.open().await;
    let producer = queue.producer();
    let mut given = Vec::new();
    for number in 0..30 {
        given.push(producer.append(entry(number)).await.unwrap());
    }
    assert!(given.is_sorted_by(|a, b| a < b));
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = read_all(&mut consumer, 30).await;
    assert_eq!(ids(&read), given);
    assert!(read.iter().enumerate().all(|(number, one)| one.body == Ok(entry(number))));
}

pub async fn a_batch_is_appended_in_order(world: World) {
    let queue = world.open().await;
    let given = queue.producer().append_batch(entries(250)).await.unwrap();
    assert_eq!(distinct(&given), 250);
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = read_all(&mut consumer, 250).await;
    assert_eq!(ids(&read), given);
    assert!(queue.producer().append_batch(Vec::new()).await.unwrap().is_empty());
}

pub async fn a_batch_over_the_limit_is_refused_whole(mut world: World) {
    world.settings.backlog_limit = 10;
    let queue = world.open().await;
    let refused = queue.producer().append_batch(entries(11)).await;
    assert_eq!(refused, Err(AppendError::Full { limit: 10 }));
    assert_eq!(queue.backlog().await.unwrap(), 0);
    assert_eq!(queue.producer().append_batch(entries(10)).await.unwrap().len(), 10);
}

pub async fn an_empty_read_waits_and_ends(world: World) {
    let mut consumer = world.open().await.consumer("a").await.unwrap();
    let started = Instant::now();
    assert!(consumer.read().await.unwrap().is_empty());
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(300) && waited < Duration::from_secs(3), "{waited:?}");
}

pub async fn a_read_wakes_on_an_append(mut world: World) {
    world.settings.block = Duration::from_secs(20);
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    let reading = tokio::spawn(async move { consumer.read().await.unwrap().len() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    queue.producer().append(entry(1)).await.unwrap();
    assert_eq!(reading.await.unwrap(), 1);
    assert!(started.elapsed() < Duration::from_secs(5));
}

pub async fn a_read_takes_at_most_a_batch(world: World) {
    let queue = world.open().await;
    queue.producer().append_batch(entries(130)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    assert_eq!(consumer.read().await.unwrap().len(), 100);
    assert_eq!(consumer.read().await.unwrap().len(), 30);
}

pub async fn two_consumers_share_without_overlap(world: World) {
    let queue = world.open().await;
    let given = queue.producer().append_batch(entries(200)).await.unwrap();
    let (mut a, mut b) = (queue.consumer("a").await.unwrap(), queue.consumer("b").await.unwrap());
    let (a, b) = tokio::join!(a.read(), b.read());
    let (a, b) = (a.unwrap(), b.unwrap());
    let mut all = [ids(&a), ids(&b)].concat();
    all.sort_unstable();
    assert_eq!(all, given);
}

pub async fn what_is_dropped_is_delivered_again_with_its_tries(world: World) {
    let queue = world.open().await;
    let id = queue.producer().append(entry(1)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    drop(consumer.read().await.unwrap());
    for tries in 2..=5 {
        let again = reclaim_some(&mut consumer).await.deliveries;
        assert_eq!(ids(&again), [id]);
        assert_eq!((again[0].tries, again[0].redelivered), (tries, true));
        assert_eq!(again[0].body, Ok(entry(1)));
    }
}

/// What is put back is delivered again, and that it was delivered before does not count.
pub async fn what_is_put_back_is_delivered_again_as_often_as_need_be(world: World) {
    let queue = world.open().await;
    let id = queue.producer().append(entry(1)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let mut read = consumer.read().await.unwrap();
    for _ in 0..5 {
        assert_eq!((ids(&read), read[0].tries, read[0].suspect), (vec![id], 1, false));
        read.into_iter().for_each(Delivery::put_back);
        read = reclaim_some(&mut consumer).await.deliveries;
        assert!(read[0].redelivered, "it may have been stored before");
    }
    drop(read);
    assert_eq!(reclaim_some(&mut consumer).await.deliveries[0].tries, 2);
}

/// From some delivery on each comes alone, and those that were delivered least often come first.
pub async fn a_message_that_was_delivered_too_often_comes_alone(mut world: World) {
    world.settings.isolate_tries = 3;
    let queue = world.open().await;
    let mut given = queue.producer().append_batch(entries(5)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    drop(read_all(&mut consumer, 5).await);
    let second = reclaim_some(&mut consumer).await.deliveries;
    assert_eq!((ids(&second), second[0].tries), (given.clone(), 2), "below the limit all come together");
    drop(second);
    let first = reclaim_some(&mut consumer).await.deliveries;
    assert_eq!((first.len(), first[0].tries, first[0].suspect), (1, 3, true));
    let culprit = first[0].id;
    drop(first);
    given.retain(|id| *id != culprit);
    for _ in 0..4 {
        let next = reclaim_some(&mut consumer).await.deliveries;
        assert_eq!((next.len(), next[0].tries), (1, 3));
        given.retain(|id| *id != next[0].id);
        consumer.settler().ack(next).await.unwrap();
    }
    assert!(given.is_empty(), "the culprit came before {given:?}");
    let last = reclaim_some(&mut consumer).await.deliveries;
    assert_eq!((ids(&last), last[0].tries), (vec![culprit], 4));
}

pub async fn a_dead_consumer_is_named(world: World) {
    let queue = world.open().await;
    queue.producer().append_batch(entries(3)).await.unwrap();
    let mut dead = queue.consumer("dead").await.unwrap();
    let read = dead.read().await.unwrap();
    let given = ids(&read);
    drop((read, dead));
    let mut heir = queue.consumer("heir").await.unwrap();
    let reclaimed = reclaim_some(&mut heir).await;
    assert_eq!(ids(&reclaimed.deliveries), given);
    assert_eq!(reclaimed.former_owners, ["dead"]);
    assert!(reclaimed.deliveries.iter().all(|one| one.redelivered && one.tries == 2));
}

pub async fn what_is_in_hand_is_not_taken_twice(world: World) {
    let queue = world.open().await;
    queue.producer().append_batch(entries(3)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let held = consumer.read().await.unwrap();
    assert_eq!(held.len(), 3);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(consumer.reclaim().await.unwrap().deliveries.is_empty());
    assert!(consumer.read().await.unwrap().is_empty());
    consumer.settler().ack(held).await.unwrap();
}

pub async fn a_read_may_be_cancelled(mut world: World) {
    world.settings.block = Duration::from_secs(20);
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    for _ in 0..5 {
        let cut = tokio::time::timeout(Duration::from_millis(50), consumer.read()).await;
        assert!(cut.is_err());
    }
    let id = queue.producer().append(entry(1)).await.unwrap();
    let found = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let new = tokio::time::timeout(Duration::from_millis(300), consumer.read()).await;
            let new = new.map(Result::unwrap).unwrap_or_default();
            let found = if new.is_empty() { consumer.reclaim().await.unwrap().deliveries } else { new };
            if !found.is_empty() {
                return found;
            }
        }
    });
    assert_eq!(ids(&found.await.expect("it comes although reads were cancelled")), [id]);
}

pub async fn what_is_buried_is_kept_shown_replayed_and_purged(world: World) {
    let queue = world.open().await;
    let given = queue.producer().append_batch(entries(3)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = consumer.read().await.unwrap();
    consumer.settler().bury(read.into_iter().map(|one| (one, reason())).collect()).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 0);
    let letters = queue.dead_list(None, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.message_id).collect::<Vec<_>>(), given);
    let first = &letters[0];
    assert_eq!(
        (first.reason.as_str(), first.plugin.as_deref(), first.tries),
        ("it broke", Some("transform"), 1)
    );
    assert!(first.fields.contains(&("device_id".to_owned(), "sensor-0".to_owned())));
    assert_eq!(queue.dead_list(Some(first.id), 1).await.unwrap(), letters[1..2]);
    assert_eq!(&queue.dead_show(first.id).await.unwrap(), first);
    let new = queue.dead_replay(first.id).await.unwrap();
    assert!(given.iter().all(|old| *old < new));
    let again = consumer.read().await.unwrap();
    assert_eq!((ids(&again), &again[0].body), (vec![new], &Ok(entry(0))));
    queue.dead_purge(letters[1].id).await.unwrap();
    assert_eq!(queue.dead_list(None, 10).await.unwrap(), letters[2..]);
}

pub async fn the_limit_of_letters_is_obeyed_and_violated(mut world: World) {
    world.settings.dead_limit = 2;
    let queue = world.open().await;
    queue.producer().append_batch(entries(3)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let settler = consumer.settler();
    let with_reason = |read: Vec<Delivery>| read.into_iter().map(|one| (one, reason())).collect::<Vec<_>>();
    let all = with_reason(consumer.read().await.unwrap());
    assert_eq!(settler.bury(all).await.unwrap_err(), QueueError::DeadFull { limit: 2 });
    assert_eq!((queue.dead_count().await.unwrap(), queue.backlog().await.unwrap()), (0, 3), "all or none");
    let mut back = with_reason(reclaim_some(&mut consumer).await.deliveries);
    let last = back.split_off(2);
    settler.bury(back).await.unwrap();
    assert_eq!((queue.dead_count().await.unwrap(), queue.backlog().await.unwrap()), (2, 1));
    assert!(settler.bury(last).await.is_err());
    let last = with_reason(reclaim_some(&mut consumer).await.deliveries);
    queue.dead_purge(queue.dead_list(None, 1).await.unwrap()[0].id).await.unwrap();
    settler.bury(last).await.unwrap();
    assert_eq!((queue.dead_count().await.unwrap(), queue.backlog().await.unwrap()), (2, 0));
}

pub async fn a_failure_is_told_beside_the_letter_and_not_replayed(world: World) {
    let queue = world.open().await;
    let failure = Some(Failure { plugin: "geo@1.0.0#ab".to_owned(), error: "trap".to_owned() });
    let failed = Entry { failure, ..entry(0) };
    queue.producer().append(failed.clone()).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = consumer.read().await.unwrap();
    assert_eq!(read[0].body, Ok(failed));
    consumer.settler().bury(read.into_iter().map(|one| (one, reason())).collect()).await.unwrap();
    let letter = queue.dead_list(None, 1).await.unwrap().remove(0);
    assert!(letter.fields.iter().all(|(name, _)| !name.starts_with("failed")), "{letter:?}");
    queue.dead_replay(letter.id).await.unwrap();
    assert_eq!(consumer.read().await.unwrap()[0].body, Ok(entry(0)));
}

pub async fn a_letter_is_replayed_once(world: World) {
    let queue = world.open().await;
    queue.producer().append(entry(0)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = consumer.read().await.unwrap();
    consumer.settler().bury(read.into_iter().map(|one| (one, reason())).collect()).await.unwrap();
    let id = queue.dead_list(None, 1).await.unwrap()[0].id;
    let (one, two) = tokio::join!(queue.dead_replay(id), queue.dead_replay(id));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    assert_eq!(queue.backlog().await.unwrap(), 1);
}

pub async fn unknown_letters_are_told(world: World) {
    let queue = world.open().await;
    let id = "1-1".parse().unwrap();
    let none = QueueError::NoSuchLetter { id };
    assert_eq!(queue.dead_show(id).await.unwrap_err(), none);
    assert_eq!(queue.dead_replay(id).await.unwrap_err(), none);
    assert_eq!(queue.dead_purge(id).await.unwrap_err(), none);
    assert!(queue.dead_list(None, 10).await.unwrap().is_empty());
}

pub async fn the_backlog_is_what_is_not_settled(world: World) {
    let queue = world.open().await;
    queue.producer().append_batch(entries(5)).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 5);
    let mut consumer = queue.consumer("a").await.unwrap();
    let mut read = consumer.read().await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 5);
    let rest = read.split_off(2);
    consumer.settler().ack(read).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 3);
    consumer.settler().ack(rest).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

/// Delivered or not: what is older than it is settled.
pub async fn the_oldest_is_the_first_that_is_not_settled(world: World) {
    let queue = world.open().await;
    assert_eq!(queue.oldest().await.unwrap(), None);
    let mut ids = queue.producer().append_batch(entries(4)).await.unwrap();
    ids.sort_unstable();
    assert_eq!(queue.oldest().await.unwrap(), Some(ids[0]));
    let mut consumer = queue.consumer("a").await.unwrap();
    let mut read = read_all(&mut consumer, 4).await;
    read.sort_unstable_by_key(|delivery| delivery.id);
    assert_eq!(queue.oldest().await.unwrap(), Some(ids[0]), "delivered is not settled");
    let last = read.pop().unwrap();
    let third = read.pop().unwrap();
    consumer.settler().ack(read).await.unwrap();
    assert_eq!(queue.oldest().await.unwrap(), Some(ids[2]));
    consumer.settler().bury(vec![(third, reason())]).await.unwrap();
    assert_eq!(queue.oldest().await.unwrap(), Some(ids[3]));
    consumer.settler().ack(vec![last]).await.unwrap();
    assert_eq!(queue.oldest().await.unwrap(), None);
}

pub async fn what_left_is_counted(world: World) {
    let queue = world.open().await;
    queue.producer().append_batch(entries(7)).await.unwrap();
    let before = queue.left().await.unwrap().unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let mut read = read_all(&mut consumer, 7).await;
    assert_eq!(queue.left().await.unwrap(), Some(before), "delivered is not gone");
    let rest = read.split_off(4);
    consumer.settler().ack(read).await.unwrap();
    assert_eq!(queue.left().await.unwrap(), Some(before + 4));
    queue.producer().append_batch(entries(9)).await.unwrap();
    consumer.settler().bury(rest.into_iter().map(|one| (one, reason())).collect()).await.unwrap();
    assert_eq!(queue.left().await.unwrap(), Some(before + 7));
}

pub async fn the_limit_is_obeyed_and_violated(mut world: World) {
    world.settings.backlog_limit = 5;
    let queue = world.open().await;
    for number in 0..5 {
        queue.producer().append(entry(number)).await.unwrap();
    }
    let full = Err(AppendError::Full { limit: 5 });
    assert_eq!(queue.producer().append(entry(5)).await, full);
    assert_eq!(queue.backlog().await.unwrap(), 5, "nothing is trimmed, nothing is added");
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = consumer.read().await.unwrap();
    assert_eq!(queue.producer().append(entry(5)).await, full, "what is delivered still counts");
    consumer.settler().ack(read).await.unwrap();
    queue.producer().append(entry(6)).await.unwrap();
}

/// A device that hangs up in the middle of its request.
pub async fn a_cancelled_append_keeps_the_count_right(world: World) {
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    for number in 0..20 {
        let producer = queue.producer();
        let request = tokio::spawn(async move { producer.append(entry(number)).await });
        tokio::task::yield_now().await;
        request.abort();
        drop(request.await);
    }
    loop {
        let read = consumer.read().await.unwrap();
        if read.is_empty() {
            break;
        }
        consumer.settler().ack(read).await.unwrap();
    }
    assert_eq!(queue.backlog().await.unwrap(), 0);
    queue.producer().append(entry(99)).await.expect("an empty queue takes a message");
}

pub async fn concurrent_appends_get_ids_of_their_own(world: World) {
    let queue = world.open().await;
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let producer = queue.producer();
            tokio::spawn(async move { producer.append(entry(number)).await.unwrap() })
        })
        .collect();
    let mut given = Vec::new();
    for task in tasks {
        given.push(task.await.unwrap());
    }
    assert_eq!(distinct(&given), 200);
    assert_eq!(queue.backlog().await.unwrap(), 200);
}

/// A worker that has long been running drops the same message again and again.
pub async fn tries_count_on_in_a_settled_worker(mut world: World) {
    world.settings.reclaim_idle = Duration::from_secs(600);
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    assert!(consumer.reclaim().await.unwrap().deliveries.is_empty());
    queue.producer().append(entry(1)).await.unwrap();
    drop(consumer.read().await.unwrap());
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(reclaim_some(&mut consumer).await.deliveries[0].tries);
    }
    assert_eq!(counts, [2, 3, 4, 5]);
}

pub async fn the_limit_holds_for_appends_that_come_together(mut world: World) {
    world.settings.backlog_limit = 50;
    let queue = world.open().await;
    for round in 0..4 {
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let producer = queue.producer();
                tokio::spawn(async move { producer.append(entry(number)).await })
            })
            .collect();
        let mut taken = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => taken += 1,
                Err(error) => assert_eq!(error, AppendError::Full { limit: 50 }),
            }
        }
        let waiting = queue.backlog().await.unwrap();
        assert!(waiting <= 50, "{waiting} messages under a limit of 50");
        assert!(round > 0 || waiting == taken, "{taken} answered, {waiting} there");
    }
    while queue.producer().append(entry(0)).await.is_ok() {}
    assert_eq!(queue.backlog().await.unwrap(), 50, "one after the other, all the room is used");
}
