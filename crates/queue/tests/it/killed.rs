//! kill -9 in the middle of appends: every id that was answered is there.
//!
//! The test binary runs itself again as the child, with the folder in an environment variable.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use sawpit_model::MessageId;
use sawpit_queue::{Queue, QueueSettings};

use crate::world::{World, clock, entry, ids, read_all};

const FOLDER: &str = "SAWPIT_QUEUE_TEST_CHILD";

/// The child: appends from many tasks until it is killed. Without the variable it is an ordinary, empty run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(url) = std::env::var(FOLDER) else { return };
    let queue = Queue::open(QueueSettings { url, ..QueueSettings::default() }, clock()).await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let producer = queue.producer();
            tokio::spawn(async move {
                for _ in 0..u64::MAX {
                    let id = producer.append(entry(number)).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\nid {id}").and_then(|()| out.flush()).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answered_id_survives() {
    let world = World::embedded();
    let mut answered: Vec<MessageId> = Vec::new();
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--nocapture"])
            .env(FOLDER, &world.settings.url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let before = answered.len();
        for line in lines.map_while(Result::ok) {
            let Some(id) = line.strip_prefix("id ") else { continue };
            answered.push(id.parse().unwrap());
            if answered.len() - before == 300 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(answered.len() - before >= 300, "round {round}");
    }
    let queue = world.open().await;
    let there = usize::try_from(queue.backlog().await.unwrap()).unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let there = ids(&read_all(&mut consumer, there).await);
    let lost: Vec<_> = answered.iter().filter(|id| there.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
}
