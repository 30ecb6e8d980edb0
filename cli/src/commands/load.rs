//! `sawpit load`

use clap::ArgMatches;
use sawpit_service::{Exit, boot};

use crate::load::Outcome;
use crate::settings;

pub fn run(flags: &ArgMatches) -> Exit {
    let (process, load) = match settings::load::resolve(flags) {
        Ok(resolved) => resolved,
        Err(errors) => return settings::refuse(&errors),
    };
    boot::run(&process, |process| async move {
        let outcome = crate::load::run(load, process.shutdown.clone()).await?;
        anyhow::Ok(match outcome {
            _ if process.shutdown.is_requested() => Exit::Interrupted,
            Outcome::Clean => Exit::Done,
            Outcome::Faulty => Exit::Failed,
        })
    })
}
