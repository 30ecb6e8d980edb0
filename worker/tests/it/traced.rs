//! What a worker tells of its batches, to a real collector.

use std::time::Duration;

use sawpit_model::Failure;
use sawpit_service::trace::{OtlpEndpoint, TraceSettings};
use sawpit_service::{FromSetting, Tracer};
use sawpit_testkit::Collector;
use sawpit_worker::WorkerSettings;
use tempfile::TempDir;

use crate::world::{World, entry};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_a_batch_has_a_span_of_its_own_and_what_is_buried_has_failed() {
    let (folder, collector) = (TempDir::new().unwrap(), Collector::start());
    let (queue, store) = (folder.path().join("queue"), folder.path().join("logs.db"));
    let store = format!("sqlite:{}", store.display());
    let world = World::open(queue.to_str().unwrap(), &store, folder.path()).await;
    let sent = |trace: u8, flags: &str| Some(format!("00-{trace:032x}-00f067aa0ba902b7-{flags}"));
    let mut entries: Vec<_> = (0..5).map(|number| entry(number, "{}")).collect();
    // Two of one request, one that a host's plugin failed on, one that is not sampled, one without a context.
    for (place, trace, flags) in [(0, 1, "01"), (1, 1, "01"), (2, 2, "01"), (3, 3, "00")] {
        entries[place].traceparent = sent(trace, flags);
    }
    entries[2].failure = Some(Failure { plugin: "geo@1.0.0#ab".to_owned(), error: "trap".to_owned() });
    world.queue.producer().append_batch(entries).await.unwrap();
    let endpoint = Some(OtlpEndpoint::from_setting(&collector.url()).unwrap());
    let settings = TraceSettings { endpoint, ..TraceSettings::default() };
    // A process starts it before it has a runtime.
    let tracer = tokio::task::block_in_place(|| Tracer::start(&settings)).unwrap();
    let worker = world.worker_traced(WorkerSettings::new("w1"), tracer);
    world.emptied().await;
    let spans = collector.wait(SOON, |spans| spans.iter().any(|span| span.name.starts_with("process_batch")));
    worker.drain().await;

    let trace = |trace: u8| {
        let id = format!("{trace:032x}");
        spans.iter().filter(move |span| span.trace_id == id).collect::<Vec<_>>()
    };
    let [commit, process] = trace(1)[..] else { panic!("{spans:#?}") };
    assert_eq!(
        (process.name.as_str(), process.parent_id.as_str()),
        ("process logs:stream", "00f067aa0ba902b7")
    );
    assert_eq!((commit.name.as_str(), &commit.parent_id), ("commit", &process.span_id));
    assert_eq!(process.attributes["messaging.batch.message_count"], "2");
    assert_eq!((process.attributes["sawpit.outcome"].as_str(), process.failed), ("committed", false));
    let [process] = trace(2)[..] else { panic!("{spans:#?}") };
    assert_eq!((process.attributes["sawpit.outcome"].as_str(), process.failed), ("buried", true));
    assert!(trace(3).is_empty(), "{spans:#?}");
    let batch = spans.iter().find(|span| span.name == "process_batch logs:stream").unwrap();
    assert_eq!((batch.links.len(), batch.attributes["messaging.batch.message_count"].as_str()), (2, "5"));
    assert_eq!(spans.len(), 5, "{spans:#?}");
}
