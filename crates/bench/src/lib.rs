//! `cargo xtask bench`: what the program does on this machine, in one run.
//!
//! The key decision: figures are compared with each other, never with a number written down somewhere. The
//! load generator (wrk) shares the machine with what it measures, so the absolute figures say what this
//! machine does, and the ratios say what a plugin or a batch costs.

mod growth;
mod reload;
mod system;
mod table;
mod wrk;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
pub use growth::{Database, Growth, growth};
use system::{Plugins, System};
pub use table::Table;
use wrk::{Answerer, Load, Measured, Shape};

/// What is measured, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program.
    pub sawpit: PathBuf,
    /// The folder with the compiled example plugins.
    pub plugins: PathBuf,
    /// Length of each measurement of the host.
    pub duration: Duration,
    /// Logs that wait for the worker when its measurement starts; enough that it needs more than some milliseconds.
    pub worker_logs: u64,
}

/// What a host and a worker do with and without the example plugins.
///
/// # Errors
/// A server or a process did not start, or not every request was answered.
pub fn rates(settings: &Settings) -> Result<Table> {
    let mut table = Table::default();
    measure_host(settings, &mut table)?;
    measure_worker(settings, &mut table)?;
    Ok(table)
}

/// How long the page of a device takes, from the cache and from the database. The latter is asked with `Cache-Control:
/// no-cache`: that looks into the cache as a miss does, and does not write the answer there, which a miss does after it has
/// asked.
///
/// # Errors
/// As [`rates`].
pub fn queries(settings: &Settings) -> Result<String> {
    let system = System::start(&settings.sawpit, &settings.plugins, Plugins::None)?;
    system.fill(settings.worker_logs)?;
    system.drain()?;
    let host = system.host()?;
    let mut baseline = None;
    let mut text = format!(
        "{:<44} {:>12} {:>8} {:>8} {:>6}\n",
        "query of one device", "requests/s", "p50 ms", "p99 ms", "ratio"
    );
    for (answerer, name) in
        [(Answerer::Database, "from the database (no-cache)"), (Answerer::Cache, "from the cache")]
    {
        let load = Load { address: host.address, shape: Shape::Query(answerer), duration: settings.duration };
        Load { duration: Duration::from_secs(1), ..load }.run()?;
        let Measured { requests_per_second, p50_ms, p99_ms, .. } = load.run()?;
        let ratio = *baseline.get_or_insert(p50_ms) / p50_ms;
        writeln!(text, "{name:<44} {requests_per_second:>12.0} {p50_ms:>8.2} {p99_ms:>8.2} {ratio:>6.1}")?;
    }
    Ok(text)
}

/// How long a new version of a plugin takes to serve.
///
/// # Errors
/// As [`rates`], or a version did not serve in time.
pub fn reload(settings: &Settings) -> Result<String> {
    let system = System::start(&settings.sawpit, &settings.plugins, Plugins::None)?;
    let reload::Reload { median, longest } = reload::measure(&system)?;
    let (median, longest) = (median.as_secs_f64() * 1e3, longest.as_secs_f64() * 1e3);
    Ok(format!(
        "mv of a new version to the first request served by it: median {median:.0} ms, longest {longest:.0} ms\n"
    ))
}

/// Requests and logs per second of one host, Redis behind it, nothing reading.
fn measure_host(settings: &Settings, table: &mut Table) -> Result<()> {
    for (shape, name) in [(Shape::Single, "single"), (Shape::Batch(100), "batches of 100")] {
        let mut baseline = None;
        for (plugins, with) in [(Plugins::None, "no plugins"), (Plugins::Examples, "filter and enrich")] {
            let system = System::start(&settings.sawpit, &settings.plugins, plugins)?;
            let host = system.host()?;
            let load = Load { address: host.address, shape, duration: settings.duration };
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
fn measure_worker(settings: &Settings, table: &mut Table) -> Result<()> {
    let mut baseline = None;
    for (plugins, with) in [(Plugins::None, "no plugins"), (Plugins::Examples, "transform")] {
        let system = System::start(&settings.sawpit, &settings.plugins, plugins)?;
        system.fill(settings.worker_logs)?;
        let rate = system.drain()?;
        let base = *baseline.get_or_insert(rate);
        table.rate(&format!("worker, {with}"), rate, rate / base);
    }
    Ok(())
}
