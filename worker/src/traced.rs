//! What a batch tells of itself in traces.
//!
//! A batch holds messages of many traces, so it has a trace of its own, with every plugin's call and the commit, linked to
//! where each sampled message was sent. And each of these traces gets a span of the worker's, a child of the one that
//! sent, with the calls and the commit that its messages were in: a log is followed from its request to its row without
//! knowing its batch. Messages that one request sent share one.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use sawpit_model::MessageId;
use sawpit_plugins::{CallVerdict, RecordedCall};
use sawpit_queue::Delivery;
use sawpit_service::trace::{Kind, Past, RemoteContext, Span};

use crate::settle::Decision;
use crate::work::Shared;

/// The stream, as OpenTelemetry's conventions for messaging call it: the destination.
const DESTINATION: &str = "logs:stream";
const GROUP: &str = "log_workers";

/// The spans of one batch; none unless one of its messages is sampled.
pub(crate) struct BatchTrace(Option<Spans>);

struct Spans {
    batch: Span,
    processes: Vec<Process>,
    /// Which of the processes a message belongs to.
    of: HashMap<MessageId, usize>,
    database: &'static str,
}

/// What is done with the messages that one request sent.
struct Process {
    span: Span,
    outcome: Option<&'static str>,
    failed: bool,
}

impl BatchTrace {
    pub(crate) fn begin(shared: &Shared, deliveries: &[Delivery]) -> Self {
        if !shared.parts.tracer.is_on() {
            return Self(None);
        }
        let sent = sent(deliveries);
        let contexts: Vec<_> = sent.iter().map(|(context, _)| context.clone()).collect();
        let tracer = &shared.parts.tracer;
        let Some(mut batch) = tracer.batch_consumer(format!("process_batch {DESTINATION}"), &contexts) else {
            return Self(None);
        };
        let system = shared.parts.queue.kind();
        describe(&mut batch, system, "process_batch");
        batch.set("messaging.batch.message_count", deliveries.len() as i64);
        let (mut processes, mut of) = (Vec::with_capacity(sent.len()), HashMap::new());
        for (context, ids) in sent {
            let Some(mut span) = tracer.consumer(format!("process {DESTINATION}"), &context) else {
                continue;
            };
            describe(&mut span, system, "process");
            match ids.as_slice() {
                [id] => span.set("messaging.message.id", id.to_string()),
                ids => span.set("messaging.batch.message_count", ids.len() as i64),
            }
            span.link(batch.context());
            of.extend(ids.into_iter().map(|id| (id, processes.len())));
            processes.push(Process { span, outcome: None, failed: false });
        }
        Self(Some(Spans { batch, processes, of, database: database(shared) }))
    }

    /// Whether calls are to be recorded.
    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Plugins were called; `ids` are the messages that the calls' logs are of.
    pub(crate) fn calls(&self, ids: &[MessageId], calls: Vec<RecordedCall>) {
        let Some(spans) = &self.0 else { return };
        for call in calls {
            let mut parts: BTreeMap<usize, Vec<(usize, CallVerdict)>> = BTreeMap::new();
            for (log, verdict) in &call.logs {
                if let Some(at) = ids.get(*log).and_then(|id| spans.of.get(id)) {
                    parts.entry(*at).or_default().push((*log, *verdict));
                }
            }
            for (at, logs) in parts {
                if let Some(process) = spans.processes.get(at) {
                    process.span.context().past(told(RecordedCall { logs, ..call.clone() }));
                }
            }
            spans.batch.context().past(told(call));
        }
    }

    /// A commit of these messages was tried, which began then and has ended now.
    pub(crate) fn commit(&self, ids: &[MessageId], rows: usize, started: Instant, decision: &Decision) {
        let Some(spans) = &self.0 else { return };
        let past = Past::new("commit", Kind::Client, started, started.elapsed())
            .with("db.system.name", spans.database)
            .with("db.operation.name", "COMMIT")
            .with("sawpit.batch.rows", rows as i64);
        let past = Past { error: error_of(decision).map(Into::into), ..past };
        let mut there: Vec<_> = ids.iter().filter_map(|id| spans.of.get(id)).collect();
        there.sort_unstable();
        there.dedup();
        for process in there.into_iter().filter_map(|at| spans.processes.get(*at)) {
            process.span.context().past(past.clone());
        }
        spans.batch.context().past(past);
    }

    /// These messages are done with: `committed`, `known` (committed before) or `buried`.
    pub(crate) fn settled(&mut self, ids: impl Iterator<Item = MessageId>, outcome: &'static str) {
        let Some(Spans { processes, of, .. }) = &mut self.0 else { return };
        for id in ids {
            let Some(process) = of.get(&id).and_then(|at| processes.get_mut(*at)) else { continue };
            process.failed |= outcome == "buried";
            process.outcome = match process.outcome {
                None => Some(outcome),
                Some(before) if before == outcome => Some(outcome),
                Some(_) => Some("mixed"),
            };
        }
    }

    /// The batch has come to its end. What it has not settled comes again.
    pub(crate) fn end(self) {
        let Some(spans) = self.0 else { return };
        for Process { mut span, outcome, failed } in spans.processes {
            let known = outcome.unwrap_or("abandoned");
            span.set("sawpit.outcome", known);
            if failed || outcome.is_none() {
                span.fail(known);
            }
        }
    }
}

/// The sampled contexts, each with the messages that were sent under it, in their order.
fn sent(deliveries: &[Delivery]) -> Vec<(RemoteContext, Vec<MessageId>)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut sent: Vec<(RemoteContext, Vec<MessageId>)> = Vec::new();
    for delivery in deliveries {
        let Some(text) = delivery.body.as_ref().ok().and_then(|entry| entry.traceparent.as_deref()) else {
            continue;
        };
        if let Some((_, ids)) = places.get(text).and_then(|at| sent.get_mut(*at)) {
            ids.push(delivery.id);
        } else if let Some(context) = RemoteContext::parse(text).filter(RemoteContext::is_sampled) {
            places.insert(text, sent.len());
            sent.push((context, vec![delivery.id]));
        }
    }
    sent
}

fn describe(span: &mut Span, system: &'static str, operation: &'static str) {
    span.set("messaging.system", system);
    span.set("messaging.destination.name", DESTINATION);
    span.set("messaging.consumer.group.name", GROUP);
    span.set("messaging.operation.name", operation);
    span.set("messaging.operation.type", "process");
}

/// As the conventions for databases name it.
fn database(shared: &Shared) -> &'static str {
    match shared.parts.store.kind() {
        "postgres" => "postgresql",
        other => other,
    }
}

const fn error_of(decision: &Decision) -> Option<&'static str> {
    match decision {
        Decision::Ack => None,
        Decision::Bury { .. } | Decision::Bisect | Decision::Recheck => Some("refused"),
        Decision::Compare => Some("known"),
        Decision::Abandon => Some("fenced"),
        Decision::Retry { .. } => Some("unavailable"),
    }
}

fn told(call: RecordedCall) -> Past {
    let (verdict, logs) = (call.verdict(), call.logs.len() as i64);
    let past = Past::new(format!("plugin {}", call.plugin), Kind::Internal, call.started, call.took)
        .with("sawpit.plugin.name", call.plugin)
        .with("sawpit.plugin.version", call.version)
        .with("sawpit.plugin.stage", call.stage.as_str())
        .with("sawpit.plugin.verdict", verdict)
        .with("sawpit.plugin.logs", logs)
        .with("sawpit.plugin.call.logs", call.size as i64);
    Past { error: call.error.map(Into::into), ..past }
}
