//! `cargo xtask bench`: prints what [`sawpit_bench`] measures.
//!
//! Arguments: the `sawpit` program, the program that measures single plugin calls, the folder with the
//! compiled example plugins, and optionally the seconds per measurement (5). Or `growth`, `postgres` or `sqlite`, and
//! counts of rows.
#![allow(clippy::print_stdout, reason = "the table is the product of this program")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sawpit_bench::{Database, Growth, Settings};
use sawpit_testkit::GUESTS;

/// Logs that wait for the worker when its measurement starts.
const WORKER_LOGS: u64 = 100_000;

/// Rows of each measurement of inserts, of `growth`.
const INSERTED: u64 = 100_000;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("growth") {
        return sawpit_bench::growth(&growth_args()?, &mut |line| println!("{line}"));
    }
    let (settings, call_cost) = parse_args()?;
    println!("{}", sawpit_bench::rates(&settings)?);
    println!("{}", sawpit_bench::queries(&settings)?);
    println!("{}", sawpit_bench::reload(&settings)?);
    measure_calls(&settings, &call_cost)
}

/// Nanoseconds per log of single plugin calls, in a process without servers.
fn measure_calls(settings: &Settings, call_cost: &PathBuf) -> Result<()> {
    for name in GUESTS {
        let file = settings.plugins.join(name).with_extension("wasm");
        let status = Command::new(call_cost).arg(&file).status();
        if !status.with_context(|| call_cost.display().to_string())?.success() {
            bail!("{} {} failed", call_cost.display(), file.display());
        }
    }
    Ok(())
}

fn growth_args() -> Result<Growth> {
    let mut words = std::env::args().skip(2);
    let database = match words.next().as_deref() {
        Some("postgres") => Database::Postgres,
        Some("sqlite") => Database::Sqlite,
        _ => bail!("say postgres or sqlite, then counts of rows"),
    };
    let rows = words.map(|word| word.parse::<u64>().context("counts of rows")).collect::<Result<_>>()?;
    Ok(Growth { database, inserted: INSERTED, rows })
}

fn parse_args() -> Result<(Settings, PathBuf)> {
    let mut words = std::env::args().skip(1);
    let mut path = |what: &str| words.next().map(PathBuf::from).with_context(|| format!("no path of {what}"));
    let (sawpit, call_cost, plugins) = (path("sawpit")?, path("call_cost")?, path("the plugins")?);
    let seconds = words.next().map_or(Ok(5), |text| text.parse()).context("seconds per measurement")?;
    let duration = Duration::from_secs(seconds);
    Ok((Settings { sawpit, plugins, duration, worker_logs: WORKER_LOGS }, call_cost))
}
