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
