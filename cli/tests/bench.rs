//! Each measurement of `cargo xtask bench`, short: that it measures at all. Its figures are nobody's business here.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use sawpit_bench::{Database, Growth, Settings, growth, queries, rates, reload};
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
    for database in [Database::Postgres, Database::Sqlite] {
        let mut lines = Vec::new();
        let short = Growth { database, inserted: 500, rows: vec![500, 1_000] };
        growth(&short, &mut |line| lines.push(line.to_owned())).unwrap();
        println!("{}", lines.join("\n"));
        // Both counts of rows, each with all queries, and the inserts with each index.
        let rows = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!((rows("query of"), rows("statistics"), rows("never meet"), rows("both")), (2, 2, 2, 1));
    }
}
