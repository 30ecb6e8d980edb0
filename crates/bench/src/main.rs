//! `cargo xtask bench`: what the program does on this machine, in one run.
//!
//! The key decision: figures are compared with each other, never with a number written down somewhere. The
//! load generator (wrk) shares the machine with what it measures, so the absolute figures say what this
//! machine does, and the ratios say what a plugin or a batch costs.
//!
//! Arguments: the `sawpit` program, the program that measures single plugin calls, the folder with the
//! compiled example plugins, and optionally the seconds per measurement (5).
#![allow(clippy::print_stdout, reason = "the table is the product of this program")]

mod reload;
mod system;
mod table;
mod wrk;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use sawpit_testkit::GUESTS;
use system::{Plugins, System};
use table::Table;
use wrk::{Answerer, Load, Measured, Shape};

/// Logs that wait for the worker when its measurement starts.
const WORKER_LOGS: u64 = 100_000;

struct Args {
    sawpit: PathBuf,
    call_cost: PathBuf,
    plugins: PathBuf,
    duration: Duration,
}

fn main() -> Result<()> {
    let args = parse_args()?;
    let mut table = Table::default();
    measure_host(&args, &mut table)?;
    measure_worker(&args, &mut table)?;
    println!("{table}");
    measure_queries(&args)?;
    measure_reload(&args)?;
    measure_calls(&args)
}

/// How long the page of a device takes, from the cache and from the database.
fn measure_queries(args: &Args) -> Result<()> {
    let system = System::start(&args.sawpit, &args.plugins, Plugins::None)?;
    system.fill(WORKER_LOGS)?;
    system.drain()?;
    let host = system.host()?;
    let mut baseline = None;
    println!(
        "{:<44} {:>12} {:>8} {:>8} {:>6}",
        "query of one device", "requests/s", "p50 ms", "p99 ms", "ratio"
    );
    for (answerer, name) in [(Answerer::Database, "from the database"), (Answerer::Cache, "from the cache")] {
        let load = Load { address: host.address, shape: Shape::Query(answerer), duration: args.duration };
        Load { duration: Duration::from_secs(1), ..load }.run()?;
        let Measured { requests_per_second, p50_ms, p99_ms, .. } = load.run()?;
        let ratio = *baseline.get_or_insert(p50_ms) / p50_ms;
        println!("{name:<44} {requests_per_second:>12.0} {p50_ms:>8.2} {p99_ms:>8.2} {ratio:>6.1}");
    }
    println!();
    Ok(())
}

/// How long a new version of a plugin takes to serve.
fn measure_reload(args: &Args) -> Result<()> {
    let system = System::start(&args.sawpit, &args.plugins, Plugins::None)?;
    let reload::Reload { median, longest } = reload::measure(&system)?;
    let (median, longest) = (median.as_secs_f64() * 1e3, longest.as_secs_f64() * 1e3);
    println!(
        "mv of a new version to the first request served by it: median {median:.0} ms, longest {longest:.0} ms\n"
    );
    Ok(())
}

/// Nanoseconds per log of single plugin calls, in a process without servers.
fn measure_calls(args: &Args) -> Result<()> {
    for name in GUESTS {
        let file = args.plugins.join(name).with_extension("wasm");
        let status = Command::new(&args.call_cost).arg(&file).status();
        if !status.with_context(|| args.call_cost.display().to_string())?.success() {
            bail!("{} {} failed", args.call_cost.display(), file.display());
        }
    }
    Ok(())
}

fn parse_args() -> Result<Args> {
    let mut words = std::env::args().skip(1);
    let mut path = |what: &str| words.next().map(PathBuf::from).with_context(|| format!("no path of {what}"));
    let (sawpit, call_cost, plugins) = (path("sawpit")?, path("call_cost")?, path("the plugins")?);
    let seconds = words.next().map_or(Ok(5), |text| text.parse()).context("seconds per measurement")?;
    Ok(Args { sawpit, call_cost, plugins, duration: Duration::from_secs(seconds) })
}

/// Requests and logs per second of one host, Redis behind it, nothing reading.
fn measure_host(args: &Args, table: &mut Table) -> Result<()> {
    for (shape, name) in [(Shape::Single, "single"), (Shape::Batch(100), "batches of 100")] {
        let mut baseline = None;
        for (plugins, with) in [(Plugins::None, "no plugins"), (Plugins::Examples, "filter and enrich")] {
            let system = System::start(&args.sawpit, &args.plugins, plugins)?;
            let host = system.host()?;
            let load = Load { address: host.address, shape, duration: args.duration };
            let warm_up = Load { duration: Duration::from_secs(1), ..load };
            warm_up.run()?;
            let result = load.run()?;
            let base = *baseline.get_or_insert(result.logs_per_second);
            table.row(&format!("host, {name}, {with}"), &result, result.logs_per_second / base);
        }
    }
    Ok(())
}

/// Logs per second of one worker with a full stream before it, PostgreSQL behind it.
fn measure_worker(args: &Args, table: &mut Table) -> Result<()> {
    let mut baseline = None;
    for (plugins, with) in [(Plugins::None, "no plugins"), (Plugins::Examples, "transform")] {
        let system = System::start(&args.sawpit, &args.plugins, plugins)?;
        system.fill(WORKER_LOGS)?;
        let rate = system.drain()?;
        let base = *baseline.get_or_insert(rate);
        table.rate(&format!("worker, {with}"), rate, rate / base);
    }
    Ok(())
}
