//! `cargo xtask chaos`: one run, its table, and an exit code that says whether it proves that every log is where it
//! belongs.
//!
//! Arguments: the `sawpit` program, the folder with the compiled example plugins, the folder for the output of hosts
//! and workers, the seconds that faults happen, the seed, and, if something is to be broken on purpose, what.
#![allow(clippy::print_stdout, reason = "the table is the product of this program")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use sawpit_chaos::{Outcome, Settings, run};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let settings = parse_args()?;
    println!("seed {}: faults for {} s", settings.seed, settings.lasting.as_secs());
    let report = run(&settings).await?;
    println!("{report}");
    if report.outcome() == Outcome::Clean {
        return Ok(ExitCode::SUCCESS);
    }
    println!("FAILED; what hosts and workers said is in {}", settings.logs.display());
    Ok(ExitCode::FAILURE)
}

fn parse_args() -> Result<Settings> {
    let mut words = std::env::args().skip(1);
    let mut word = |what: &str| words.next().with_context(|| format!("no {what}; run `cargo xtask chaos`"));
    let (sawpit, plugins, logs) = (word("program")?, word("plugin folder")?, word("log folder")?);
    let seconds = word("seconds")?.parse().context("the seconds are not a number")?;
    let seed = word("seed")?.parse().context("the seed is not a number")?;
    let broken = words.next().map(|word| word.parse()).transpose()?;
    Ok(Settings {
        sawpit: sawpit.into(),
        plugins: plugins.into(),
        logs: logs.into(),
        seed,
        lasting: Duration::from_secs(seconds),
        broken,
    })
}
