//! Short runs of `cargo xtask chaos`, with faults that are always the same.
#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use sawpit_chaos::{Broken, Report, Settings, run};
use sawpit_testkit::{TempFolder, plugins_dir};
use tokio::sync::Mutex;

/// One at a time: the machine is to be busy with the faults of one run.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_log_is_accounted_for() {
    // Of the seeds whose first half minute has every kind of fault, one with many.
    let report = short_run(175, 30, None).await;
    assert!(report.account.is_clean(), "{report}");
    assert!(report.queued() > 500 && report.faults() > 20, "it proved nothing:\n{report}");
    let plugins_worked = report.account.dropped > 0 && report.account.merged > 0;
    assert!(plugins_worked, "no log was dropped or merged by a transformer:\n{report}");
    assert!(report.account.dead > 0, "a plugin failed on no log:\n{report}");
    assert!(report.account.versions > 1, "no swap changed what the chain does:\n{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_acknowledges_before_it_commits_is_found_out() {
    // One of the seeds that kill both workers within the first seconds, while PostgreSQL is away and Redis is not. A fault
    // may miss the moment between acknowledgement and commit, so it has some tries.
    for _ in 0..5 {
        let report = short_run(16_226, 6, Some(Broken::AckFirst)).await;
        if !report.account.lost.is_empty() {
            assert!(!report.account.is_clean(), "{report}");
            return;
        }
    }
    panic!("nothing was lost, or nobody noticed");
}

async fn short_run(seed: u64, seconds: u64, broken: Option<Broken>) -> Report {
    let _alone = ALONE.lock().await;
    let logs = TempFolder::new("chaos");
    let settings = Settings {
        sawpit: env!("CARGO_BIN_EXE_sawpit").into(),
        plugins: plugins_dir(),
        logs: logs.path().to_owned(),
        seed,
        lasting: Duration::from_secs(seconds),
        broken,
    };
    let report = run(&settings).await.unwrap();
    println!("{report}");
    report
}
