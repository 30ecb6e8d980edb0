//! A short run of `cargo xtask chaos`, with faults that are always the same.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use sawpit_chaos::{Settings, run};
use sawpit_testkit::{TempFolder, plugins_dir};

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_log_is_accounted_for() {
    let logs = TempFolder::new("chaos");
    let settings = Settings {
        sawpit: env!("CARGO_BIN_EXE_sawpit").into(),
        plugins: plugins_dir(),
        logs: logs.path().to_owned(),
        // Of the seeds whose first half minute has every kind of fault, one with many.
        seed: 175,
        lasting: Duration::from_secs(30),
    };
    let report = run(&settings).await.unwrap();
    println!("{report}");
    assert!(report.account.is_clean(), "{report}");
    assert!(report.queued() > 500 && report.faults() > 20, "it proved nothing:\n{report}");
    let plugins_worked = report.account.dropped > 0 && report.account.merged > 0;
    assert!(plugins_worked, "no log was dropped or merged by a transformer:\n{report}");
}
