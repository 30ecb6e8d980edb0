//! The whole system under load while its processes are killed, stopped and frozen, its connections cut and delayed,
//! its plugins swapped; then the account of every log that was answered.
//!
//! The key decision: nothing is simulated. The processes are the real ones, the faults are signals and closed
//! sockets, and what is counted is read from the queue and the store, past the program. The plan of the faults is a
//! pure function of a seed. What the machine makes of the plan is not: the same seed repeats the faults, not the
//! microsecond in which they meet a commit.

mod account;
mod client;
mod faults;
mod load;
mod logs;
mod outcome;
mod plan;
mod plugins;
mod proxy;
mod quiet;
mod report;
mod system;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use account::Account;
pub use outcome::Outcome;
pub use proxy::{Proxy, Weather};
pub use report::Report;

use faults::Done;
use load::Load;
use outcome::Counts;
use sawpit_service::http::{self, Trust};
use system::System;

/// How long hosts and workers may take to be ready once nothing disturbs them any more.
const RECOVERY: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `sawpit` program.
    pub sawpit: PathBuf,
    /// The folder with the compiled example plugins and their manifests.
    pub plugins: PathBuf,
    /// Where the output of hosts and workers goes.
    pub logs: PathBuf,
    /// Of the plan and of the logs.
    pub seed: u64,
    /// How long faults happen.
    pub lasting: Duration,
    /// What is broken on purpose: then the outcome must be [`Outcome::Wrong`].
    pub broken: Option<Broken>,
}

/// A mistake that debug builds of `sawpit` make when they are told to, so that a run can show that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Workers acknowledge before they commit, against invariant 2.
    AckFirst,
    /// Workers take every message that is delivered again for one that was never committed, against invariant 1.
    NoLedger,
}

impl Broken {
    /// The name and value of the variable that makes a process do so.
    pub(crate) const fn variable(self) -> (&'static str, &'static str) {
        match self {
            Self::AckFirst => ("SAWPIT_BREAK", "ack-first"),
            Self::NoLedger => ("SAWPIT_BREAK", "no-ledger"),
        }
    }
}

impl std::str::FromStr for Broken {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "ack-first" => Ok(Self::AckFirst),
            "no-ledger" => Ok(Self::NoLedger),
            other => anyhow::bail!("{other:?} cannot be broken; ack-first and no-ledger can"),
        }
    }
}

/// Runs it; everything that was started has ended when this returns, and when the caller's process dies.
///
/// # Errors
/// The system cannot be started, or does not answer once nothing disturbs it any more.
pub async fn run(settings: &Settings) -> Result<Report> {
    let system = Arc::new(System::start(settings).await?);
    let load = Load::start(&system.doors(), settings.seed)?;
    let plan = plan::plan(settings.seed, settings.lasting);
    let floors = Counts::floors(&plan, settings.lasting);
    let (broken, lasting) = (Arc::clone(&system), settings.lasting);
    let done = tokio::task::spawn_blocking(move || faults::carry_out(&broken, &plan, lasting));
    let mut done = done.await.context("a fault could not be put right; its words are above")?;
    let answers = load.end().await;
    recover(&system, &mut done).await?;
    let account = Account::of(&system, &answers, || faults::tend(&system, &mut done)).await?;
    Ok(Report { seed: settings.seed, answers, done, floors, account })
}

/// Waits until all are ready again, by themselves.
async fn recover(system: &System, done: &mut Done) -> Result<()> {
    let client = http::client(&Trust::Nobody)?.timeout(Duration::from_secs(2)).build()?;
    let deadline = Instant::now() + RECOVERY;
    for (name, url) in system.health() {
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            faults::tend(system, done);
            anyhow::ensure!(
                Instant::now() < deadline,
                "{name} is not ready {RECOVERY:?} after the last fault"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
