//! `sawpit-chaos SAWPIT PLUGINS [--minutes N] [--seed S]`; `cargo xtask chaos` builds what it needs and calls it.
#![allow(clippy::print_stdout, reason = "the table is the product of this program")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sawpit_chaos::Options;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = parse(std::env::args().skip(1))?;
    println!("breaking the system for {} s, seed {}", options.duration.as_secs(), options.seed);
    let report = sawpit_chaos::run(&options).await?;
    println!("{report}");
    Ok(if report.account.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(words: impl Iterator<Item = String>) -> Result<Options> {
    let mut words = words;
    let mut path = |what: &str| words.next().map(PathBuf::from).with_context(|| format!("no path of {what}"));
    let (sawpit, plugins) = (path("sawpit")?, path("the plugins")?);
    let mut options =
        Options { sawpit, plugins, duration: Duration::from_secs(120), seed: fastrand::u64(..1_000_000) };
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--minutes" => {
                let minutes: f64 = value.parse().context("--minutes is a number")?;
                options.duration = Duration::try_from_secs_f64(minutes * 60.0).context("--minutes")?;
            }
            "--seed" => options.seed = value.parse().context("--seed is a whole number")?,
            _ => bail!("unknown argument {flag}: known are --minutes and --seed"),
        }
    }
    Ok(options)
}
