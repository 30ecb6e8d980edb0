//! `sawpit host`

use anyhow::{Context, Result};
use clap::ArgMatches;
use sawpit_host::{Drained, Host, HostParts, HostSettings, ServeSettings};
use sawpit_service::{Exit, Process, boot, ops};
use tokio::net::TcpListener;

use crate::parts::{self, Parts};
use crate::settings;
use crate::settings::host_command::HostCommand;

pub fn run(flags: &ArgMatches) -> Exit {
    let command = match settings::host_command::resolve(flags) {
        Ok(command) => command,
        Err(errors) => return settings::refuse(&errors),
    };
    let process = command.process.clone();
    boot::run(&process, |process| serve(command, process))
}

async fn serve(command: HostCommand, process: Process) -> Result<Exit> {
    let parts = parts::open(command.parts, &process.clock, &process.health).await?;
    let router = router(&parts, &process, command.host)?;
    let listener = bind(command.listen).await?;
    tracing::info!(address = %command.listen, "serving");
    answer(listener, router, command.serve, &process).await;
    Ok(Exit::Done)
}

/// The whole HTTP side over `parts`.
pub fn router(parts: &Parts, process: &Process, settings: HostSettings) -> Result<axum::Router> {
    let Parts { queue, store, cache, registry } = parts.clone();
    let ops = ops::router(process.health.clone(), process.metrics.clone());
    let (clock, shutdown) = (process.clock.clone(), process.shutdown.clone());
    Ok(Host::router(HostParts { queue, store, cache, registry, clock, shutdown, ops, settings })?)
}

/// Binds the address.
pub async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    let hint = "is another process there? choose another with --listen";
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} ({hint})"))
}

/// Serves until the shutdown, then drains.
pub async fn answer(listener: TcpListener, router: axum::Router, settings: ServeSettings, process: &Process) {
    let shutdown = process.shutdown.clone();
    let drained =
        sawpit_host::serve(listener, router, settings, async move { shutdown.requested().await }).await;
    match drained {
        Drained::Clean => tracing::info!("every request in flight was answered"),
        Drained::Cut { connections } => {
            tracing::warn!(connections, "connections were cut at the drain timeout")
        }
    }
}
