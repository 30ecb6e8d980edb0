//! A running system is broken at random, and every log that was answered is accounted for.
//!
//! The key decision: the judge is outside. Devices note the ids they were answered; afterwards the database, its
//! ledger and the dead letters are read directly. Nothing that the system counts of itself is believed.

mod account;
mod load;
mod plan;
mod proxy;
mod report;
mod system;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use account::Account;
pub use load::Answers;
pub use plan::{Fault, Link, Step, Target, steps};
pub use report::Report;
use system::System;

/// A run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `sawpit` program.
    pub sawpit: PathBuf,
    /// The folder with the compiled example plugins.
    pub plugins: PathBuf,
    /// How long things go wrong.
    pub duration: Duration,
    /// What the plan follows from.
    pub seed: u64,
}

/// Starts a system, breaks it for as long as told, lets it recover and accounts for every log. Servers and processes
/// end with the run, also with one that fails.
///
/// # Errors
/// The system does not start or does not recover.
pub async fn run(options: &Options) -> Result<Report> {
    let system = Arc::new(System::start(&options.sawpit, &options.plugins).await?);
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load::drive(system.urls(), options.seed, Arc::clone(&stop)));
    let (broken, seed, until) = (Arc::clone(&system), options.seed, Instant::now() + options.duration);
    let faults = tokio::task::spawn_blocking(move || break_until(&broken, seed, until)).await;
    stop.store(true, Ordering::Relaxed);
    let answers = load.await.context("the load broke")?;
    let faults = faults.context("breaking the system broke")??;
    let recovered = Arc::clone(&system);
    tokio::task::spawn_blocking(move || recovered.wait_ready())
        .await
        .context("the system did not recover")?;
    if let Err(error) = account::drained(&system).await {
        return Err(error.context(report::last_words(&system.outputs())));
    }
    let account = account::settle(&system, &answers.queued).await?;
    Ok(Report { seed, faults, answers, account })
}

/// How often each fault happened.
fn break_until(system: &System, seed: u64, until: Instant) -> Result<BTreeMap<Fault, u64>> {
    let mut counts = BTreeMap::new();
    for Step { rest, faults, lasts } in steps(seed) {
        std::thread::sleep(rest);
        if Instant::now() >= until {
            break;
        }
        for fault in &faults {
            system.inject(*fault)?;
            *counts.entry(*fault).or_default() += 1;
        }
        std::thread::sleep(lasts);
        faults.iter().for_each(|fault| system.heal(*fault));
    }
    Ok(counts)
}
