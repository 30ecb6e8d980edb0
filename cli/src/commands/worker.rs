//! `sawpit worker`

use anyhow::Result;
use clap::ArgMatches;
use sawpit_host::access::Guard;
use sawpit_host::operator_routes;
use sawpit_service::{Exit, Process, boot, catalog};
use sawpit_worker::{WorkerParts, WorkerSettings};

use super::host::{Waited, bind, knows_tokens, ops};
use crate::parts::{self, Parts};
use crate::settings;
use crate::settings::worker_command::WorkerCommand;

pub fn run(flags: &ArgMatches) -> Exit {
    let command = match settings::worker_command::resolve(flags) {
        Ok(command) => command,
        Err(errors) => return settings::refuse(&errors),
    };
    let process = command.process.clone();
    boot::run(&process, |process| work(command, process))
}

async fn work(command: WorkerCommand, process: Process) -> Result<Exit> {
    let parts = parts::open(command.parts, &process.clock, &process.health).await?;
    if let Some(door) = command.door {
        let guard =
            Guard::new(door.access, parts.store.clone(), process.clock.clone(), command.token_refresh);
        if knows_tokens(&guard, &process).await == Waited::Interrupted {
            return Ok(Exit::Done);
        }
        let router = operator_routes(parts.registry.clone(), ops(&process), guard, process.clock.now());
        let shutdown = process.shutdown.clone();
        let shutdown = async move { shutdown.requested().await };
        tokio::spawn(sawpit_host::serve(bind(door).await?, router, command.serve, shutdown));
    }
    sawpit_worker::run(worker_parts(&parts, &process, command.worker), process.shutdown).await?;
    Ok(Exit::Done)
}

/// What the worker gets of the process's parts.
pub fn worker_parts(parts: &Parts, process: &Process, settings: WorkerSettings) -> WorkerParts {
    let Parts { queue, store, cache, registry } = parts.clone();
    let Process { clock, health, tracer, .. } = process.clone();
    catalog::start_at_zero(catalog::Side::Worker);
    WorkerParts { queue, store, cache: Some(cache), registry, clock, health, tracer, settings }
}
