//! What is sent twice under one key is appended once.

use std::time::Duration;

use sawpit_model::MessageId;
use sawpit_queue::{AppendError, Kept, Known, Once, OnceKey, Queue};

use crate::world::{World, clock, entries, ids, read_all};

pub fn key(name: &str) -> OnceKey {
    OnceKey { key: format!("/api/log {name}"), fingerprint: [7; 16] }
}

/// The ids of an append that is the first of its key.
#[track_caller]
fn first(once: Once) -> Vec<MessageId> {
    match once {
        Once::First(ids) => ids,
        Once::Known(known) => panic!("it was known: {known:?}"),
    }
}

fn same(note: &str, ids: &[MessageId]) -> Known {
    Known::Same(Kept { note: note.into(), ids: ids.to_vec() })
}

pub async fn a_repeat_gets_the_first_ids_and_note(world: World) {
    let queue = world.open().await;
    let producer = queue.producer();
    assert_eq!(producer.recall(&key("a")).await.unwrap(), None);
    let given = first(producer.append_once(&key("a"), "note\n1".into(), entries(3)).await.unwrap());
    assert_eq!(given.len(), 3);
    assert!(given.is_sorted_by(|a, b| a < b));
    for _ in 0..2 {
        let again = producer.append_once(&key("a"), "note 2".into(), entries(2)).await.unwrap();
        assert_eq!(again, Once::Known(same("note\n1", &given)));
        assert_eq!(producer.recall(&key("a")).await.unwrap(), Some(same("note\n1", &given)));
    }
    let other = first(producer.append_once(&key("b"), "".into(), entries(1)).await.unwrap());
    let mut consumer = queue.consumer("c").await.unwrap();
    let read = read_all(&mut consumer, 4).await;
    assert_eq!(ids(&read), [given, other].concat());
    assert!(read.iter().zip(entries(3)).all(|(one, entry)| one.body == Ok(entry)));
    assert_eq!(queue.backlog().await.unwrap(), 4);
}

/// The key outlives the messages: they are stored and gone when a slow device asks again.
pub async fn a_repeat_after_the_messages_left_appends_nothing(world: World) {
    let queue = world.open().await;
    let given =
        first(queue.producer().append_once(&key("a"), b"\0\xff".to_vec(), entries(250)).await.unwrap());
    let mut consumer = queue.consumer("c").await.unwrap();
    let read = read_all(&mut consumer, 250).await;
    consumer.settler().ack(read).await.unwrap();
    drop((consumer, queue));
    let queue = world.open().await;
    let again = queue.producer().append_once(&key("a"), Vec::new(), entries(250)).await.unwrap();
    let kept = Kept { note: b"\0\xff".to_vec(), ids: given };
    assert_eq!(again, Once::Known(Known::Same(kept)));
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

pub async fn a_key_that_was_used_for_something_else_is_told(world: World) {
    let queue = world.open().await;
    let producer = queue.producer();
    first(producer.append_once(&key("a"), Vec::new(), entries(1)).await.unwrap());
    let other = OnceKey { fingerprint: [8; 16], ..key("a") };
    let refused = producer.append_once(&other, Vec::new(), entries(1)).await.unwrap();
    assert_eq!(refused, Once::Known(Known::Other));
    assert_eq!(producer.recall(&other).await.unwrap(), Some(Known::Other));
    assert_eq!(queue.backlog().await.unwrap(), 1);
}

pub async fn a_note_is_kept_also_without_messages(world: World) {
    let queue = world.open().await;
    let producer = queue.producer();
    assert!(first(producer.append_once(&key("a"), "dropped".into(), Vec::new()).await.unwrap()).is_empty());
    let again = producer.append_once(&key("a"), Vec::new(), entries(1)).await.unwrap();
    assert_eq!(again, Once::Known(same("dropped", &[])));
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

pub async fn of_a_hundred_at_once_one_appends(world: World) {
    // Two producers, as two hosts have them; the file has but one process.
    let ours = world.open().await;
    let theirs = if world.server.is_some() { world.open().await } else { ours.clone() };
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let producer = if number % 2 == 0 { ours.producer() } else { theirs.producer() };
            tokio::spawn(async move {
                let note = number.to_string().into_bytes();
                (number, producer.append_once(&key("a"), note, entries(3)).await.unwrap())
            })
        })
        .collect();
    let (mut firsts, mut again) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            (number, Once::First(ids)) => firsts.push((number, ids)),
            (_, Once::Known(known)) => again.push(known),
        }
    }
    assert_eq!((firsts.len(), again.len()), (1, 99));
    let (number, ids) = &firsts[0];
    assert!(again.iter().all(|known| *known == same(&number.to_string(), ids)), "{again:?}");
    assert_eq!(ours.backlog().await.unwrap(), 3);
}

pub async fn a_key_is_forgotten_after_its_time(mut world: World) {
    world.settings.once_ttl = Duration::from_millis(300);
    let queue = world.open().await;
    let producer = queue.producer();
    let given = first(producer.append_once(&key("a"), Vec::new(), entries(1)).await.unwrap());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(producer.recall(&key("a")).await.unwrap(), None);
    let other = OnceKey { fingerprint: [9; 16], ..key("a") };
    let anew = first(producer.append_once(&other, "new".into(), entries(1)).await.unwrap());
    assert!(anew > given);
    assert_eq!(producer.recall(&other).await.unwrap(), Some(same("new", &anew)));
}

pub async fn a_repeat_needs_no_room_and_a_first_does(mut world: World) {
    world.settings.backlog_limit = 3;
    let queue = world.open().await;
    let producer = queue.producer();
    let given = first(producer.append_once(&key("a"), Vec::new(), entries(3)).await.unwrap());
    let again = producer.append_once(&key("a"), Vec::new(), entries(3)).await.unwrap();
    assert_eq!(again, Once::Known(same("", &given)));
    let full = producer.append_once(&key("b"), Vec::new(), entries(1)).await;
    assert_eq!(full, Err(AppendError::Full { limit: 3 }));
    assert_eq!(producer.recall(&key("b")).await.unwrap(), None, "what was refused is not remembered");
    let mut consumer = queue.consumer("c").await.unwrap();
    let read = read_all(&mut consumer, 3).await;
    consumer.settler().ack(read).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    first(producer.append_once(&key("b"), Vec::new(), entries(1)).await.unwrap());
    assert_eq!(queue.backlog().await.unwrap(), 1);
}

/// The server holds still: nobody knows whether the append arrived. It is sent again until there is an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_silence_a_repeat_appends_nothing_more() {
    let mut world = World::redis();
    world.settings.append_timeout = Duration::from_millis(300);
    let (ours, theirs) = (world.open().await, world.open().await);
    // So that neither has to load the script once the server is silent.
    for (queue, name) in [(&ours, "x"), (&theirs, "y")] {
        first(queue.producer().append_once(&key(name), Vec::new(), entries(1)).await.unwrap());
    }
    let server = world.server.as_ref().unwrap();
    server.pause();
    let appends: Vec<_> = (0..8)
        .map(|number| {
            let producer = if number % 2 == 0 { ours.producer() } else { theirs.producer() };
            tokio::spawn(async move { producer.append_once(&key("a"), Vec::new(), entries(5)).await })
        })
        .collect();
    let mut unknown = 0;
    for append in appends {
        match append.await.unwrap() {
            Err(AppendError::Unknown { .. }) => unknown += 1,
            // The look at the backlog got no answer, so nothing was sent.
            Err(AppendError::Refused { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(unknown >= 2, "{unknown} of 8 were sent");
    server.resume();
    let answered = loop {
        match theirs.producer().append_once(&key("a"), Vec::new(), entries(5)).await {
            Ok(Once::First(ids)) => break ids,
            Ok(Once::Known(Known::Same(kept))) => break kept.ids,
            Ok(other) => panic!("{other:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ours.backlog().await.unwrap(), 7);
    let mut consumer = ours.consumer("c").await.unwrap();
    assert_eq!(ids(&read_all(&mut consumer, 7).await)[2..], answered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_redis_forgot_is_loaded_again() {
    let world = World::redis();
    let queue = world.open().await;
    for name in ["a", "b"] {
        world.server.as_ref().unwrap().command(&["SCRIPT", "FLUSH"]);
        first(queue.producer().append_once(&key(name), Vec::new(), entries(1)).await.unwrap());
    }
    assert_eq!(queue.backlog().await.unwrap(), 2);
}

/// Whatever stops the script, it has appended nothing, and the same key may try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_appends_and_remembers_nothing() {
    let world = World::with(&[("maxmemory-policy", "noeviction")]);
    let queue = world.open().await;
    let (producer, server) = (queue.producer(), world.server.as_ref().unwrap());
    let refused = async |why: &str| {
        let refused = producer.append_once(&key("a"), Vec::new(), entries(3)).await;
        assert!(matches!(refused, Err(AppendError::Refused { .. })), "{why}: {refused:?}");
    };
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    refused("no memory").await;
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["ACL", "SETUSER", "default", "-set"]);
    refused("no right to write the record").await;
    server.command(&["ACL", "SETUSER", "default", "+set", "-xadd"]);
    refused("no right to append").await;
    server.command(&["ACL", "SETUSER", "default", "+xadd"]);
    assert_eq!(producer.recall(&key("a")).await.unwrap(), None);
    assert_eq!(queue.backlog().await.unwrap(), 0);
    first(producer.append_once(&key("a"), Vec::new(), entries(3)).await.unwrap());
    assert_eq!(queue.backlog().await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_form_is_told_and_nothing_appended() {
    let world = World::redis();
    let queue = world.open().await;
    world.server.as_ref().unwrap().command(&["SET", "idempotency:{logs:stream}:/api/log a", "x"]);
    let odd = queue.producer().append_once(&key("a"), Vec::new(), entries(1)).await;
    assert!(matches!(odd, Err(AppendError::Unknown { .. })), "{odd:?}");
    assert!(queue.producer().recall(&key("a")).await.is_err());
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

/// A full memory costs keys, never messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_evicts_keys_and_not_messages() {
    let world = World::with(&[("maxmemory", "5mb"), ("maxmemory-policy", "volatile-lru")]);
    let queue = world.open().await;
    let producer = queue.producer();
    for number in 0..500 {
        let name = format!("{number}");
        first(producer.append_once(&key(&name), vec![b'x'; 20_000], entries(1)).await.unwrap());
    }
    assert_eq!(queue.backlog().await.unwrap(), 500);
    let mut known = 0;
    for number in 0..500 {
        known += usize::from(producer.recall(&key(&format!("{number}"))).await.unwrap().is_some());
    }
    assert!(known > 10 && known < 400, "{known} of 500 keys are left");
}

/// At the limit the oldest go first, and so does what is past its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_remembers_so_many_keys() {
    let mut world = World::embedded();
    world.settings.once_limit = 10;
    let queue = world.open().await;
    let producer = queue.producer();
    for number in 0..25 {
        first(producer.append_once(&key(&number.to_string()), Vec::new(), entries(1)).await.unwrap());
    }
    for number in 0..25 {
        let known = producer.recall(&key(&number.to_string())).await.unwrap().is_some();
        assert_eq!(known, number >= 15, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_makes_no_key_vanish_from_a_file_early() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    let world = World::embedded();
    let hour = 3_600_000_000;
    let time = Arc::new(AtomicI64::new(100 * hour));
    let steps = {
        let time = Arc::clone(&time);
        Arc::new(move || sawpit_model::Timestamp::from_micros(time.load(Ordering::SeqCst)))
    };
    let queue = Queue::open(world.settings.clone(), steps).await.unwrap();
    let producer = queue.producer();
    let mut given: Vec<MessageId> = Vec::new();
    // Forwards and backwards; each less than the 24 hours of a key.
    for (number, at) in [100, 110, 90, 105, 104].into_iter().enumerate() {
        time.store(at * hour, Ordering::SeqCst);
        let name = number.to_string();
        let new = first(producer.append_once(&key(&name), Vec::new(), entries(1)).await.unwrap());
        assert!(given.iter().all(|old| *old < new[0]), "ids ascend");
        given.extend(new);
        for (known, id) in given.iter().enumerate() {
            let kept = producer.recall(&key(&known.to_string())).await.unwrap();
            assert_eq!(kept, Some(same("", &[*id])), "{known} at {at} h");
        }
    }
    time.store(140 * hour, Ordering::SeqCst);
    assert_eq!(producer.recall(&key("0")).await.unwrap(), None);
    drop((queue, producer));
    // Opened by a clock that is back, it goes on.
    let queue = Queue::open(world.settings.clone(), clock()).await.unwrap();
    first(queue.producer().append_once(&key("new"), Vec::new(), entries(1)).await.unwrap());
}
