//! Short runs of `cargo xtask chaos`, with faults that are always the same.
#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use sawpit_chaos::{Account, Broken, Outcome, Report, Settings, run};
use sawpit_testkit::{TempFolder, plugins_dir};
use tokio::sync::Mutex;

/// One at a time: the machine is to be busy with the faults of one run.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_log_is_accounted_for() {
    // Of the seeds whose first half minute has every kind of fault, one with many.
    let report = short_run(175, 30, None).await;
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    // Its plan swaps the enricher in the middle.
    assert!(report.account.versions > 1, "no swap changed what the chain does:\n{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_acknowledges_before_it_commits_is_found_out() {
    // One of the seeds that kill both workers within the first seconds, while PostgreSQL is away and Redis is not.
    is_found_out(16_226, 6, Broken::AckFirst, |account| account.lost.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_forgets_what_it_committed_is_found_out() {
    // One of the seeds that leave PostgreSQL alone, and often come between a commit and its acknowledgement: they cut and
    // stall the workers' connections to Redis, stop and kill it, and kill the workers.
    is_found_out(4_439, 8, Broken::NoLedger, |account| account.doubled.len()).await;
}

/// A fault may miss the moment in which the mistake shows, so it has some tries.
async fn is_found_out(seed: u64, seconds: u64, broken: Broken, shows: fn(&Account) -> usize) {
    for _ in 0..5 {
        let report = short_run(seed, seconds, Some(broken)).await;
        if shows(&report.account) > 0 {
            assert!(matches!(report.outcome(), Outcome::Wrong(_)), "{report}");
            return;
        }
    }
    panic!("{broken:?} did no harm, or nobody noticed");
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
