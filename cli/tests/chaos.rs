//! A short run of `cargo xtask chaos`, with a plan of its own: whatever breaks, every answered log is in one place.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::PathBuf;
use std::time::Duration;

use sawpit_chaos::Options;
use sawpit_testkit::plugins_dir;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_every_answered_log_is_stored_once_or_dead() {
    let options = Options {
        sawpit: PathBuf::from(env!("CARGO_BIN_EXE_sawpit")),
        plugins: plugins_dir(),
        duration: Duration::from_secs(30),
        seed: 5,
    };
    let report = sawpit_chaos::run(&options).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.account.is_whole(), "{report}");
    assert!(report.faults.values().sum::<u64>() >= 5, "little went wrong: {report}");
    assert!(report.account.stored > 500, "little was stored: {report}");
}
