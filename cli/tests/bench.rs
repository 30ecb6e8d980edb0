//! Each measurement of `cargo xtask bench`, short: that it measures at all. Its figures are nobody's business here.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use sawpit_bench::{Settings, queries, rates, reload};
use sawpit_testkit::plugins_dir;

#[test]
fn every_measurement_of_the_bench_runs() {
    let settings = Settings {
        sawpit: env!("CARGO_BIN_EXE_sawpit").into(),
        plugins: plugins_dir(),
        duration: Duration::from_secs(1),
        worker_logs: 20_000,
    };
    println!("{}", rates(&settings).unwrap());
    println!("{}", queries(&settings).unwrap());
    println!("{}", reload(&settings).unwrap());
}
