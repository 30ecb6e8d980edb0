//! `sawpit health`: for images without curl.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ArgMatches;
use sawpit_service::Exit;

use crate::settings;

/// Longer than a readiness check may take.
const TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(flags: &ArgMatches) -> Exit {
    let url = match settings::health::resolve(flags) {
        Ok(url) => url,
        Err(errors) => return settings::refuse(&errors),
    };
    match ask(&url) {
        Ok(()) => Exit::Done,
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            let _ = writeln!(std::io::stderr(), "{url}: {error:#}");
            Exit::Failed
        }
    }
}

fn ask(url: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let answer = client.get(url).send().await.context("no answer")?;
        let status = answer.status();
        anyhow::ensure!(
            status.is_success(),
            "answered {status}: {}",
            answer.text().await.unwrap_or_default()
        );
        Ok(())
    })
}
