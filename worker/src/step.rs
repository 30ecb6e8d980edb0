//! A batch's logs to rows: the transform plugins, then who came from what. No I/O; runs on the CPU pool.

use std::collections::HashMap;

use sawpit_model::{Entry, Log, MessageId, Tally};
use sawpit_plugins::{Cause, Chain, Ingested, RecordedCall, Recorder, Transformed};
use sawpit_store::Row;

/// One message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its id in the queue.
    pub id: MessageId,
    /// What it carries.
    pub entry: Entry,
}

/// What became of a batch's messages. Each is in exactly one of `settled`, `failed` and `untried`.
#[derive(Debug, Default)]
pub struct Stepped {
    /// The rows to store.
    pub rows: Vec<Row>,
    /// The messages that the commit of `rows` settles: also those that plugins merged or dropped.
    pub settled: Vec<MessageId>,
    /// How many messages each plugin dropped.
    pub dropped: HashMap<String, u64>,
    /// All verdicts of the plugins that ran.
    pub verdicts: Tally,
    /// The messages that a plugin failed on: to be buried.
    pub failed: Vec<FailedInput>,
    /// The messages that a plugin was not called with, for want of time or instances: to be delivered again.
    pub untried: Vec<MessageId>,
    /// The plugins' calls, where they are recorded; their logs are places among the inputs.
    pub calls: Vec<RecordedCall>,
}

/// Whether the plugins' calls are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A message of the batch is traced.
    Calls,
    /// None is.
    Nothing,
}

/// A message that a plugin could not handle, under the policy `on_error = "reject"` or `"quarantine"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedInput {
    /// The message.
    pub id: MessageId,
    /// `name@version#hash` of the plugin that failed; `None` when the chain as a whole lost the message.
    pub plugin: Option<String>,
    /// How.
    pub error: String,
}

/// Runs the chain over a batch and accounts for each of its messages.
#[must_use]
pub fn step(chain: &Chain, mut inputs: Vec<Input>, record: Record) -> Stepped {
    let recorder = || if record == Record::Calls { Recorder::all() } else { Recorder::off() };
    let mut places: Vec<usize> = (0..inputs.len()).collect();
    let before = ingest(chain, &mut inputs, &mut places, recorder());
    let logs: Vec<Log> = inputs.iter().map(|input| input.entry.log.clone()).collect();
    let mut recorder = recorder();
    let mut stepped = account(chain.id(), &inputs, chain.transform_recorded(logs, &mut recorder));
    stepped.verdicts = before.verdicts;
    stepped.verdicts.merge(&recorder.take_verdicts());
    stepped.calls = before.calls;
    stepped.calls.extend(among(recorder.into_calls(), &places));
    stepped.settled.extend(before.settled);
    stepped.failed.extend(before.failed);
    for (plugin, logs) in before.dropped {
        *stepped.dropped.entry(plugin).or_default() += logs;
    }
    stepped
}

/// Runs the host's stages over logs that no host's plugins have seen to the end: dead letters that are replayed, and
/// what others wrote to the stream. Leaves the logs that go on, and
/// in `left` the places that they had.
fn ingest(chain: &Chain, inputs: &mut Vec<Input>, left: &mut Vec<usize>, mut recorder: Recorder) -> Stepped {
    let mut stepped = Stepped::default();
    let places: Vec<usize> =
        inputs.iter().enumerate().filter(|(_, it)| it.entry.chain.is_empty()).map(|(at, _)| at).collect();
    let logs = places.iter().filter_map(|&at| inputs.get(at)).map(|it| it.entry.log.clone()).collect();
    let mut ended = vec![false; inputs.len()];
    for (&at, outcome) in places.iter().zip(chain.ingest_recorded(logs, &mut recorder)) {
        let (Some(input), Some(ended)) = (inputs.get_mut(at), ended.get_mut(at)) else { continue };
        *ended = !matches!(outcome, Ingested::Accepted(_));
        let failed = |plugin, error| FailedInput { id: input.id, plugin: Some(plugin), error };
        match outcome {
            Ingested::Accepted(log) => input.entry.log = log,
            Ingested::Dropped { plugin, .. } => {
                stepped.settled.push(input.id);
                *stepped.dropped.entry(plugin).or_default() += 1;
            }
            Ingested::Rejected { plugin, reason } => {
                stepped.failed.push(failed(plugin, format!("the filter refused it: {reason}")));
            }
            Ingested::Failed { plugin, error } | Ingested::Quarantined { plugin, error, .. } => {
                stepped.failed.push(failed(plugin, error));
            }
        }
    }
    let goes_on = |at: &usize| ended.get(*at) == Some(&false);
    left.retain(goes_on);
    let mut at = 0..;
    inputs.retain(|_| at.next().is_some_and(|at| goes_on(&at)));
    stepped.verdicts = recorder.take_verdicts();
    stepped.calls = among(recorder.into_calls(), &places);
    stepped
}

/// Calls with logs of a list, whose places in another list these are.
fn among(calls: Vec<RecordedCall>, places: &[usize]) -> Vec<RecordedCall> {
    calls.into_iter().filter_map(|call| call.of(|log| places.get(log).copied())).collect()
}

/// From places in the batch to message ids.
fn account(chain: &str, inputs: &[Input], transformed: Transformed) -> Stepped {
    let mut ends = vec![End::Lost; inputs.len()];
    let mut stepped = Stepped::default();
    for dropped in transformed.dropped {
        set(&mut ends, dropped.input, End::Settled);
        *stepped.dropped.entry(dropped.plugin).or_default() += 1;
    }
    for failed in transformed.failed {
        let end = match failed.cause {
            Cause::Log => End::Failed { plugin: Some(failed.plugin), error: failed.error },
            Cause::Circumstances => End::Untried,
        };
        set(&mut ends, failed.input, end);
    }
    stepped.rows = rows(chain, inputs, transformed.outputs, &mut ends);
    for (input, end) in inputs.iter().zip(ends) {
        match end {
            End::Settled => stepped.settled.push(input.id),
            End::Failed { plugin, error } => stepped.failed.push(FailedInput { id: input.id, plugin, error }),
            End::Untried => stepped.untried.push(input.id),
            End::Lost => stepped.failed.push(lost(input.id)),
        }
    }
    stepped
}

/// How a message left the chain.
#[derive(Clone, Debug)]
enum End {
    /// In a row, or dropped by a plugin's own verdict.
    Settled,
    /// A plugin failed on it.
    Failed { plugin: Option<String>, error: String },
    /// A plugin was not called with it.
    Untried,
    /// The chain accounted for it nowhere; never silently (invariant 1).
    Lost,
}

fn set(ends: &mut [End], place: usize, end: End) {
    if let Some(slot) = ends.get_mut(place) {
        *slot = end;
    }
}

fn lost(id: MessageId) -> FailedInput {
    let error = "the transform plugins returned neither a row nor a verdict for this log".to_owned();
    FailedInput { id, plugin: None, error }
}

fn rows(chain: &str, inputs: &[Input], outputs: Vec<sawpit_plugins::Output>, ends: &mut [End]) -> Vec<Row> {
    let mut parts: HashMap<MessageId, u32> = HashMap::new();
    let mut rows = Vec::with_capacity(outputs.len());
    for output in outputs {
        let sources: Vec<_> = output.sources.iter().filter_map(|place| inputs.get(*place)).collect();
        let Some(origin) = sources.first() else { continue };
        let part = parts.entry(origin.id).or_default();
        rows.push(Row {
            sources: sources.iter().map(|input| input.id).collect(),
            part: *part,
            log: output.log,
            chain: joined(&origin.entry.chain, chain),
        });
        *part += 1;
        // The plugins make no row of a log that one of them failed on. Were they to, it must not be buried as well.
        output.sources.iter().for_each(|place| set(ends, *place, End::Settled));
    }
    rows
}

/// The chains that made a row: the host's, and the worker's when it is another.
fn joined(host: &str, worker: &str) -> String {
    match (host, worker) {
        (host, worker) if host == worker || worker.is_empty() => host.to_owned(),
        ("", worker) => worker.to_owned(),
        (host, worker) => format!("{host}+{worker}"),
    }
}

#[cfg(test)]
mod tests {
    use sawpit_model::{Level, RawObject, Timestamp};
    use sawpit_plugins::{Dropped, Failed, Output};

    use super::*;

    fn id(seq: u64) -> MessageId {
        MessageId { ms: 1, seq }
    }

    fn log(message: &str) -> Log {
        Log {
            device_id: "d".to_owned(),
            log_level: Level::Info,
            message: message.to_owned(),
            log_data: RawObject::default(),
            received_at: Timestamp::from_micros(7),
        }
    }

    fn inputs(count: u64) -> Vec<Input> {
        let entry =
            |seq| Entry { log: log(&seq_text(seq)), chain: "h".to_owned(), traceparent: None, failure: None };
        (0..count).map(|seq| Input { id: id(seq), entry: entry(seq) }).collect()
    }

    fn failed(input: usize, plugin: &str, cause: Cause) -> Failed {
        Failed { input, plugin: plugin.to_owned(), error: "trap".to_owned(), cause }
    }

    #[test]
    fn what_a_plugin_was_not_called_with_is_neither_settled_nor_buried() {
        let both = vec![failed(0, "p", Cause::Log), failed(1, "p", Cause::Circumstances)];
        let result = Transformed { failed: both, ..Transformed::default() };
        let stepped = account("w", &inputs(2), result);
        assert_eq!((stepped.settled.len(), stepped.failed.len()), (0, 1));
        assert_eq!(stepped.untried, [id(1)]);
    }

    fn seq_text(seq: u64) -> String {
        format!("log {seq}")
    }

    fn output(message: &str, sources: &[usize]) -> Output {
        Output { log: log(message), sources: sources.to_vec() }
    }

    fn transformed(outputs: Vec<Output>) -> Transformed {
        Transformed { outputs, dropped: Vec::new(), failed: Vec::new() }
    }

    #[test]
    fn a_merged_row_names_all_its_sources_and_settles_them() {
        let stepped = account("w", &inputs(3), transformed(vec![output("folded", &[2, 0, 1])]));
        assert_eq!(stepped.rows.len(), 1);
        assert_eq!(stepped.rows[0].sources, [id(2), id(0), id(1)]);
        assert_eq!(stepped.rows[0].chain, "h+w");
        assert_eq!(stepped.settled, [id(0), id(1), id(2)]);
        assert!(stepped.failed.is_empty());
    }

    #[test]
    fn parts_of_a_split_log_are_counted_from_0() {
        let outputs = vec![output("a", &[0]), output("x", &[1]), output("b", &[0])];
        let stepped = account("w", &inputs(2), transformed(outputs));
        let parts: Vec<_> = stepped.rows.iter().map(|row| (row.sources[0].seq, row.part)).collect();
        assert_eq!(parts, [(0, 0), (1, 0), (0, 1)]);
    }

    #[test]
    fn dropped_logs_are_settled_and_counted_failed_ones_are_not_settled() {
        let mut result = transformed(vec![output("kept", &[0])]);
        result.dropped.push(Dropped { input: 1, plugin: "sample".to_owned(), reason: "debug".to_owned() });
        result.failed.push(failed(2, "redact", Cause::Log));
        let stepped = account("w", &inputs(3), result);
        assert_eq!(stepped.settled, [id(0), id(1)]);
        assert_eq!(stepped.dropped["sample"], 1);
        let plugin = Some("redact".to_owned());
        assert_eq!(stepped.failed, [FailedInput { id: id(2), plugin, error: "trap".to_owned() }]);
    }

    #[test]
    fn a_log_that_the_chain_accounts_for_nowhere_has_failed() {
        let stepped = account("w", &inputs(2), transformed(vec![output("kept", &[1])]));
        assert_eq!(stepped.settled, [id(1)]);
        assert_eq!(stepped.failed, [lost(id(0))]);
    }

    #[test]
    fn a_row_wins_over_a_failure_of_the_same_log() {
        let mut result = transformed(vec![output("half", &[0])]);
        result.failed.push(failed(0, "late", Cause::Log));
        let stepped = account("w", &inputs(1), result);
        assert_eq!(stepped.settled, [id(0)]);
        assert!(stepped.failed.is_empty());
    }

    #[test]
    fn chains_are_named_once() {
        assert_eq!(joined("a", "a"), "a");
        assert_eq!(joined("a", "b"), "a+b");
        assert_eq!(joined("", "b"), "b");
        assert_eq!(joined("a", ""), "a");
    }
}
