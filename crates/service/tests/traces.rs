//! Spans on their way to a real collector, one that is away, and one that says nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::time::{Duration, Instant};

use sawpit_service::trace::{Kind, OtlpEndpoint, Past, RemoteContext, TraceSettings};
use sawpit_service::{FromSetting, Metrics, TraceContext, Tracer};
use sawpit_testkit::{Collector, free_port};

const SOON: Duration = Duration::from_secs(30);

fn tracer(url: &str, more: impl FnOnce(&mut TraceSettings)) -> Tracer {
    let endpoint = Some(OtlpEndpoint::from_setting(url).unwrap());
    let mut settings =
        TraceSettings { service: "sawpit-test", endpoint, sample: 1.0, ..TraceSettings::default() };
    more(&mut settings);
    Tracer::start(&settings).unwrap()
}

fn remote(flags: &str) -> RemoteContext {
    RemoteContext::parse(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}")).unwrap()
}

fn dropped(reason: &str) -> u64 {
    let page = Metrics::install().unwrap().render();
    let start = format!("sawpit_trace_spans_dropped_total{{reason=\"{reason}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |count| count.parse().unwrap())
}

fn told(context: &TraceContext) {
    context.past(Past {
        name: "plugin".into(),
        kind: Kind::Internal,
        started: Instant::now().checked_sub(Duration::from_millis(3)).unwrap(),
        took: Duration::from_millis(2),
        attributes: vec![("sawpit.plugin.name", "geo".into())],
        error: Some("trap".into()),
    });
}

#[test]
fn spans_arrive_with_their_parents_times_and_links() {
    let collector = Collector::start();
    let tracer = tracer(&collector.url(), |_| {});
    let mut server = tracer.server(Some(&remote("01"))).unwrap();
    server.rename("POST /api/log");
    server.set("http.response.status_code", 202);
    told(server.context());
    let sent = server.context().child("send", Kind::Producer).unwrap();
    let carried = RemoteContext::parse(&sent.context().traceparent()).unwrap();
    drop(sent);
    let mut batch = tracer.batch_consumer("batch", &[carried.clone(), remote("00")]).unwrap();
    let mut process = tracer.consumer("process", &carried).unwrap();
    process.link(batch.context());
    batch.fail("abandoned");
    drop((process, batch, server));
    tracer.shutdown();
    let spans = collector.spans();
    let named =
        |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{spans:#?}"));
    let (server, send, plugin) = (named("POST /api/log"), named("send"), named("plugin"));
    let (process, batch) = (named("process"), named("batch"));
    assert_eq!(server.parent_id, "00f067aa0ba902b7");
    assert_eq!((&send.parent_id, &plugin.parent_id), (&server.span_id, &server.span_id));
    assert_eq!(process.parent_id, send.span_id);
    for span in [server, send, plugin, process] {
        assert_eq!(span.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736", "{}", span.name);
        assert_eq!(span.service, "sawpit-test");
    }
    assert_ne!(batch.trace_id, server.trace_id);
    let sent = (send.trace_id.clone(), send.span_id.clone());
    assert_eq!((batch.parent_id.as_str(), &batch.links[0]), ("", &sent));
    assert_eq!(process.links, [(batch.trace_id.clone(), batch.span_id.clone())]);
    assert_eq!([server.kind, plugin.kind, send.kind, process.kind], [2, 1, 4, 5]);
    assert_eq!(server.attributes["http.response.status_code"], "202");
    assert_eq!((plugin.failed, plugin.attributes["error.type"].as_str()), (true, "trap"));
    assert_eq!(plugin.end - plugin.start, 2_000_000);
    assert!(batch.failed && !server.failed);
}

#[test]
fn who_is_not_sampled_has_no_span() {
    let collector = Collector::start();
    let none = tracer(&collector.url(), |settings| settings.sample = 0.0);
    assert!(none.server(None).is_none());
    let all = tracer(&collector.url(), |_| {});
    assert!(all.server(Some(&remote("00"))).is_none());
    assert!(all.consumer("process", &remote("00")).is_none());
    assert!(all.batch_consumer("batch", &[remote("00")]).is_none());
    assert!(Tracer::off().server(Some(&remote("01"))).is_none());
    none.shutdown();
    all.shutdown();
    assert!(collector.spans().is_empty());
}

#[test]
fn a_collector_that_is_away_costs_nothing_but_the_spans() {
    let before = dropped("export");
    let tracer = tracer(&format!("http://127.0.0.1:{}", free_port()), |_| {});
    let server = tracer.server(None).unwrap();
    told(server.context());
    drop(server);
    let deadline = Instant::now() + SOON;
    while dropped("export") < before + 2 {
        assert!(Instant::now() < deadline, "nothing was counted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_queue_is_bounded_and_the_end_waits_no_longer_than_an_export() {
    let collector = Collector::start();
    collector.fall_silent();
    let tracer = tracer(&collector.url(), |settings| {
        settings.queue_spans = 10;
        settings.timeout = Duration::from_millis(500);
    });
    let before = dropped("queue");
    let server = tracer.server(None).unwrap();
    (0..10).for_each(|_| told(server.context()));
    assert_eq!(dropped("queue"), before, "ten have room");
    (0..5).for_each(|_| told(server.context()));
    assert_eq!(dropped("queue"), before + 5, "and no more");
    let started = Instant::now();
    tracer.shutdown();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(tracer.server(None).is_none(), "no span is made after the end");
}
