//! `sawpit health`: for images without curl.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ArgMatches;
use sawpit_service::Exit;
use sawpit_service::http::{self, Trust};

use crate::settings::{self, health::Health};

/// Longer than a readiness check may take.
const TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(flags: &ArgMatches) -> Exit {
    let health = match settings::health::resolve(flags) {
        Ok(health) => health,
        Err(errors) => return settings::refuse(&errors),
    };
    match ask(&health) {
        Ok(()) => Exit::Done,
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            let _ = writeln!(std::io::stderr(), "{}: {error:#}", health.url);
            Exit::Failed
        }
    }
}

fn ask(health: &Health) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = http::client(&Trust::of(&health.url, health.ca.as_deref())).context("--ca")?;
        let answer = client.timeout(TIMEOUT).build()?.get(&health.url).send().await.context("no answer")?;
        let status = answer.status();
        anyhow::ensure!(
            status.is_success(),
            "answered {status}: {}",
            answer.text().await.unwrap_or_default()
        );
        Ok(())
    })
}
