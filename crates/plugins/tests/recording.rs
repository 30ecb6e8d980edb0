//! Which calls are recorded of logs that are watched, and that the others' are not.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::single_range_in_vec_init,
    clippy::unwrap_used
)]

mod support;

use sawpit_model::PluginVerdicts;
use sawpit_plugins::{CallVerdict, Recorder};
use support::*;

#[test]
fn a_call_that_fails_and_those_log_by_log_are_recorded_for_who_is_watched() {
    let chain = chain(&Guest::new("filter", on_letter('X', TRAP)), "");
    let mut recorder = Recorder::of(vec![1..3]);
    let list = chain.ingest_recorded(logs(&["a", "X", "b", "c"]), &mut recorder);
    assert_eq!(list.len(), 4);
    let calls: Vec<_> =
        recorder.into_calls().into_iter().map(|call| (call.size, call.error, call.logs)).collect();
    let (failed, accepted) = (CallVerdict::Failed, CallVerdict::Accepted);
    assert_eq!(
        calls,
        [
            (4, Some("trap"), vec![(1, failed), (2, failed)]),
            (1, Some("trap"), vec![(1, failed)]),
            (1, None, vec![(2, accepted)]),
        ]
    );
}

#[test]
fn verdicts_are_counted_whether_or_not_a_log_is_watched() {
    let given = |guest: &Guest, manifest: &str, messages: &[&str]| {
        let mut recorder = Recorder::off();
        let _ = chain(guest, manifest).ingest_recorded(logs(messages), &mut recorder);
        let tally = recorder.take_verdicts();
        assert!(recorder.take_verdicts().is_empty());
        let counts = |it: &PluginVerdicts| [it.accepted, it.changed, it.dropped, it.rejected];
        tally.plugins().iter().map(|it| (it.version.clone(), counts(it))).collect::<Vec<_>>()
    };
    let trapping = Guest::new("filter", on_letter('X', TRAP));
    // The call of all fails, then each is called alone: none is counted twice, and a failure is no verdict.
    assert_eq!(given(&trapping, "", &["a", "X", "b"]), [("1.0.0".to_owned(), [2, 0, 0, 0])]);
    let reject = put(0, 2048) + &put(4, 1) + "(i32.store8 (i32.const 2048) (i32.const 2))";
    let rejecting = Guest::new("filter", on_letter('R', &reject));
    assert_eq!(given(&rejecting, "", &["R"]), [("1.0.0".to_owned(), [0, 0, 0, 1])]);
    assert!(given(&rejecting, "mode = \"shadow\"", &["R"]).is_empty());
}

#[test]
fn nothing_is_recorded_where_nobody_is_watched() {
    let chain = chain(&Guest::new("enrich", answer()), "match = {device_id = \"sensor-*\"}");
    for mut recorder in [Recorder::off(), Recorder::of(vec![5..9])] {
        assert_eq!(chain.ingest_recorded(logs(&["a"]), &mut recorder).len(), 1);
        assert!(recorder.into_calls().is_empty());
    }
    let mut recorder = Recorder::all();
    assert_eq!(chain.ingest_recorded(logs(&["a"]), &mut recorder).len(), 1);
    assert_eq!(recorder.into_calls()[0].logs, [(0, CallVerdict::Accepted)]);
}
