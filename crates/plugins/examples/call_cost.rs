//! What a plugin costs per log: `cargo run --release -p sawpit-plugins --example call_cost -- FILE.wasm`.
//!
//! Prints one line per stage and batch size: the median over many calls, boundary, checks and patching
//! included, of the time per log, with a shared instance, with one for a request of all, and with one for each log.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sawpit_model::{Level, Log, RawObject, Timestamp};
use sawpit_plugins::{Chain, Plugin, Runtime, RuntimeSettings, Stage};

const BATCHES: [usize; 3] = [1, 100, 1_000];
const MEASURE: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args_os().nth(1).ok_or("usage: call_cost FILE.wasm")?;
    let runtime = Runtime::new(RuntimeSettings::new(Arc::new(Timestamp::default)))?;
    let folder = tempfile::tempdir()?;
    let shared = load(&runtime, Path::new(&file), folder.path(), "shared")?;
    let fresh = load(&runtime, Path::new(&file), folder.path(), "per-request")?;
    println!("{}", shared.id());
    for &stage in shared.stages() {
        for batch in BATCHES {
            let cost = |plugin: &Arc<Plugin>, tenants| {
                cost(&Chain::new(vec![Arc::clone(plugin)]), stage, batch, tenants)
            };
            let (shared, one, many) = (cost(&shared, 1), cost(&fresh, 1), cost(&fresh, batch));
            println!(
                "{stage}, {batch} logs a call: {shared:.0} ns per log; per-request {one:.0} ns, {:.1} times, and \
                 {many:.0} ns, {:.1} times, of as many tenants",
                one / shared,
                many / shared
            );
        }
    }
    Ok(())
}

/// Loads a copy of the file, with the mode in its manifest.
fn load(
    runtime: &Runtime,
    file: &Path,
    folder: &Path,
    instance: &str,
) -> Result<Arc<Plugin>, Box<dyn std::error::Error>> {
    let wasm = folder.join("measured.wasm");
    std::fs::copy(file, &wasm)?;
    std::fs::write(wasm.with_extension("toml"), format!("instance = \"{instance}\"\n"))?;
    Ok(runtime.load(&wasm)?)
}

fn cost(chain: &Chain, stage: Stage, batch: usize, tenants: usize) -> f64 {
    let logs: Vec<Log> = (0..batch).map(|number| sample(number, tenants)).collect();
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < MEASURE {
        let logs = logs.clone();
        let started = Instant::now();
        match stage {
            Stage::Filter | Stage::Enrich => drop(chain.ingest(logs)),
            Stage::Transform => drop(chain.transform(logs)),
        }
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    median.as_nanos() as f64 / batch as f64
}

fn sample(number: usize, tenants: usize) -> Log {
    Log {
        device_id: format!("sensor-{}", number % tenants),
        log_level: Level::Info,
        message: format!("temperature read number {number}"),
        log_data: RawObject::from_trusted(
            r#"{"temperature": 21.5, "unit": "C", "battery": 87, "site": "hall 4", "firmware": "2.4.1"}"#,
        ),
        received_at: Timestamp::from_micros(1_700_000_000_000_000),
    }
}
