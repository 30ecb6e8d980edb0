//! `sawpit worker`

use anyhow::Result;
use clap::ArgMatches;
use sawpit_host::access::{Guard, guarded};
use sawpit_service::{Exit, Process, boot, ops};
use sawpit_worker::{WorkerParts, WorkerSettings};

use super::host::bind;
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
        let router = ops::router(process.health.clone(), process.metrics.clone())
            .merge(sawpit_host::plugin_routes(parts.registry.clone()));
        let guard =
            Guard::new(door.access, parts.store.clone(), process.clock.clone(), command.token_refresh);
        let router = guarded(router, guard);
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
    WorkerParts { queue, store, cache: Some(cache), registry, clock, health, tracer, settings }
}
