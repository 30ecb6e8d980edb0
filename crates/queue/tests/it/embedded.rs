//! What only the file can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sawpit_model::{Entry, Timestamp};
use sawpit_queue::{AppendError, OpenError, Queue};

use crate::world::{World, clock, entries, entry, ids, read_all};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn may_be_opened_again_as_soon_as_it_is_dropped() {
    let world = World::embedded();
    for round in 0..20 {
        let queue = world.open().await;
        queue.producer().append(entry(round)).await.unwrap();
        drop(queue);
    }
    assert_eq!(world.open().await.backlog().await.unwrap(), 20);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_is_made_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::embedded();
    let folder = std::path::Path::new(&world.settings.url).join("new");
    let settings =
        sawpit_queue::QueueSettings { url: folder.display().to_string(), ..world.settings.clone() };
    let _queue = Queue::open(settings, clock()).await.unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_opening_is_told_who_is_in_the_way() {
    let world = World::embedded();
    let _first = world.open().await;
    let second = Queue::open(world.settings.clone(), clock()).await.unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_settled_comes_again_in_order_after_a_restart() {
    let world = World::embedded();
    let given = {
        let queue = world.open().await;
        let given = queue.producer().append_batch(entries(150)).await.unwrap();
        let mut consumer = queue.consumer("a").await.unwrap();
        let first = consumer.read().await.unwrap();
        consumer.settler().ack(first.into_iter().take(10).collect()).await.unwrap();
        given
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let queue = world.open().await;
    assert_eq!(queue.backlog().await.unwrap(), 140);
    let mut consumer = queue.consumer("a").await.unwrap();
    let again = read_all(&mut consumer, 140).await;
    assert_eq!(ids(&again), given[10..]);
    assert!(again.iter().all(|one| one.redelivered && one.tries >= 2));
    let new = queue.producer().append(entry(0)).await.unwrap();
    assert!(new > given[149]);
    let new = consumer.read().await.unwrap();
    assert_eq!((new[0].tries, new[0].redelivered), (1, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_are_counted_over_restarts() {
    let world = World::embedded();
    world.open().await.producer().append(entry(1)).await.unwrap();
    for tries in 2..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut consumer = world.open().await.consumer("a").await.unwrap();
        assert_eq!(consumer.read().await.unwrap()[0].tries, tries);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_grow_over_restarts_although_the_clock_steps_back() {
    let world = World::embedded();
    let time = Arc::new(AtomicI64::new(2_000_000_000));
    let clock = {
        let time = Arc::clone(&time);
        Arc::new(move || Timestamp::from_micros(time.load(Ordering::SeqCst)))
    };
    let queue = Queue::open(world.settings.clone(), clock.clone()).await.unwrap();
    let first = queue.producer().append(entry(1)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = consumer.read().await.unwrap();
    consumer.settler().ack(read).await.unwrap();
    drop((queue, consumer));
    tokio::time::sleep(Duration::from_millis(300)).await;
    time.store(1_000_000_000, Ordering::SeqCst);
    let queue = Queue::open(world.settings.clone(), clock).await.unwrap();
    assert!(queue.producer().append(entry(2)).await.unwrap() > first, "not even when the file is empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_or_broken_file_is_left_as_it_is() {
    let foreign = vec![b"not a queue".to_vec(), b"x".to_vec(), vec![b'y'; 100_000], vec![0; 8192]];
    let (unclean, whole) = {
        let world = World::embedded();
        let path = std::path::Path::new(&world.settings.url).join("queue.redb");
        let queue = world.open().await;
        queue.producer().append_batch(entries(200)).await.unwrap();
        // As a kill would leave it: to be repaired at the next opening.
        let unclean = std::fs::read(&path).unwrap();
        drop(queue);
        tokio::time::sleep(Duration::from_millis(500)).await;
        (unclean, std::fs::read(&path).unwrap())
    };
    let mut noise = whole.clone();
    noise[64..4096].fill(0xa5);
    let cut = [whole[..whole.len() / 3].to_vec(), unclean[..unclean.len() / 3].to_vec()];
    let short = [unclean[..4096].to_vec(), unclean[..unclean.len() / 10].to_vec()];
    for (number, bytes) in foreign.into_iter().chain([noise]).chain(cut).chain(short).enumerate() {
        let world = World::embedded();
        let path = std::path::Path::new(&world.settings.url).join("queue.redb");
        std::fs::create_dir_all(&world.settings.url).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let opened = Queue::open(world.settings.clone(), clock()).await;
        let error = opened.err().unwrap_or_else(|| panic!("file {number} was opened"));
        assert!(matches!(error, OpenError::File { .. }), "{number}: {error}");
        assert!(std::fs::read(&path).unwrap() == bytes, "file {number} was changed");
    }
}

/// Many devices that hang up never make an empty queue look full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_appends_do_not_open_the_limit() {
    let mut world = World::embedded();
    world.settings.backlog_limit = 10;
    let queue = world.open().await;
    for number in 0..200 {
        let producer = queue.producer();
        let request = tokio::spawn(async move { producer.append(entry(number)).await });
        tokio::task::yield_now().await;
        request.abort();
        drop(request.await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut consumer = queue.consumer("a").await.unwrap();
    let mut there = 0;
    loop {
        let read = consumer.read().await.unwrap();
        if read.is_empty() {
            break;
        }
        there += read.len();
        std::mem::forget(read);
    }
    assert!(there <= 10, "{there} messages in a queue of at most 10");
    if there == 10 {
        assert_eq!(queue.producer().append(entry(1)).await, Err(AppendError::Full { limit: 10 }));
    }
}

/// A queue whose writer is held up inside its transaction while the gate is shut: a disk that does not answer, as seen
/// from outside.
async fn behind_a_gate(world: &World) -> (Queue, Arc<std::sync::Mutex<()>>) {
    let gate = Arc::new(std::sync::Mutex::new(()));
    let held_up = {
        let gate = Arc::clone(&gate);
        Arc::new(move || {
            drop(gate.lock().unwrap());
            clock()()
        })
    };
    (Queue::open(world.settings.clone(), held_up).await.unwrap(), gate)
}

/// An entry of a little over 10,000 bytes.
fn large(number: usize) -> Entry {
    let mut entry = entry(number);
    entry.log.message = "x".repeat(10_000);
    entry
}

/// A disk that stands still: what nobody waits for any more stays in memory, up to the limit and no further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_wait_for_the_disk_hold_so_many_bytes_and_no_more() {
    let mut world = World::embedded();
    world.settings.append_timeout = Duration::from_millis(30);
    world.settings.waiting_bytes = 100_000;
    let (queue, gate) = behind_a_gate(&world).await;
    let producer = queue.producer();
    let shut = gate.lock().unwrap();
    let wait = |number| {
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(producer.append(large(number)))
        })
    };
    let appended: Vec<_> = (0..20).map(wait).collect();
    let backlog = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(queue.backlog()));
    assert_eq!(backlog.unwrap(), 9, "what was refused takes no room in the backlog either");
    let (held, refused) = appended.split_at(9);
    assert!(held.iter().all(|one| matches!(one, Err(AppendError::Unknown { .. }))), "{held:?}");
    let names_it = |one: &Result<_, AppendError>| matches!(one, Err(AppendError::Refused { cause }) if cause.contains("--queue-waiting-bytes"));
    assert!(refused.iter().all(names_it), "{refused:?}");
    drop(shut);
    let mut consumer = queue.consumer("a").await.unwrap();
    assert_eq!(read_all(&mut consumer, 9).await.len(), 9);
    // The bytes are given back, also those of appends whose callers had gone.
    for number in 0..20 {
        producer.append(large(number)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_larger_than_may_wait_is_taken_when_no_other_waits() {
    let mut world = World::embedded();
    world.settings.waiting_bytes = 1;
    let queue = world.open().await;
    for number in 0..3 {
        queue.producer().append_batch(vec![large(number), large(number)]).await.unwrap();
    }
    assert_eq!(queue.backlog().await.unwrap(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_waits_no_longer_than_its_time_out() {
    let mut world = World::embedded();
    world.settings.append_timeout = Duration::from_millis(300);
    let (queue, gate) = behind_a_gate(&world).await;
    let started = Instant::now();
    let unanswered = {
        let shut = gate.lock().unwrap();
        let appending = tokio::spawn({
            let producer = queue.producer();
            async move { producer.append(entry(1)).await }
        });
        while !appending.is_finished() {
            assert!(started.elapsed() < Duration::from_secs(5), "it waits for ever");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(shut);
        appending.await.unwrap()
    };
    assert!(matches!(unanswered, Err(AppendError::Unknown { .. })), "{unanswered:?}");
    let second = queue.producer().append(entry(2)).await;
    assert!(second.is_ok() || matches!(second, Err(AppendError::Unknown { .. })), "{second:?}");
    let mut consumer = queue.consumer("a").await.unwrap();
    assert_eq!(read_all(&mut consumer, 2).await.len(), 2, "unknown: here both are there");
    assert_eq!(queue.backlog().await.unwrap(), 2);
}
